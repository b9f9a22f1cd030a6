#include "orchestrator/cli/install/ssh.h"

#include "common/base/clock.h"
#include "orchestrator/cli/install/child.h"
#include "orchestrator/cli/install/known_hosts.h"
#include "orchestrator/cli/install/ssh_internal.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

enum { CLOSE_MS = 1000 };

enum error_code ssh_global_init(struct error *err)
{
    if (libssh2_init(0) != 0)
        return error_set(err, ERR_INTERNAL, "libssh2 cannot be initialised");
    return ERR_OK;
}

void ssh_global_done(void)
{
    libssh2_exit();
}

int64_t ssh_deadline(const struct ssh *ssh)
{
    return clock_mono_ms() + ssh->options.timeout_ms;
}

enum error_code ssh_wait(struct ssh *ssh, int64_t deadline_ms, struct error *err)
{
    int wanted = libssh2_session_block_directions(ssh->session);
    struct pollfd poller = {.fd = ssh->fd};
    int64_t left = deadline_ms - clock_mono_ms();
    poller.events |= wanted & LIBSSH2_SESSION_BLOCK_INBOUND ? POLLIN : 0;
    poller.events |= wanted & LIBSSH2_SESSION_BLOCK_OUTBOUND ? POLLOUT : 0;
    if (poller.events == 0)
        poller.events = POLLIN;
    int ready = left > 0 ? poll(&poller, 1, left > INT32_MAX ? INT32_MAX : (int)left) : 0;
    if (ready == 0)
        return error_set(err, ERR_TIMEOUT, "the host does not answer");
    if (ready < 0 && errno != EINTR)
        return error_errno(err, errno, "cannot wait for the host");
    return ERR_OK;
}

enum error_code ssh_failure(struct ssh *ssh, enum error_code code, const char *what,
                            struct error *err)
{
    char *text = NULL;
    int number = libssh2_session_last_error(ssh->session, &text, NULL, 0);
    if (number == LIBSSH2_ERROR_ALLOC)
        return error_set(err, ERR_NO_MEMORY, NULL);
    if (number == LIBSSH2_ERROR_SOCKET_DISCONNECT || number == LIBSSH2_ERROR_SOCKET_RECV ||
        number == LIBSSH2_ERROR_SOCKET_SEND)
        return error_set(err, ERR_IO, "%s: the connection was lost", what);
    return error_set(err, code, "%s: %s", what, text && *text ? text : "unknown reason");
}

/* ---- The host's key ----------------------------------------------------------------------------
 */

static enum error_code refuse_new(struct ssh *ssh, struct error *err)
{
    char name[KNOWN_NAME_MAX];
    known_hosts_name(ssh->config, name);
    return error_set(err, ERR_CONFLICT,
                     "the host key of %.100s is not known: connect to it once with ssh and compare "
                     "the key, or accept new ones with --accept-new",
                     name);
}

static enum error_code check_key(struct ssh *ssh, struct error *err)
{
    enum known_result result = KNOWN_NEW;
    struct known_place place = {0};
    enum error_code code = known_hosts_check(ssh->session, ssh->config, &result, &place, err);
    if (code != ERR_OK)
        return code;
    switch (result) {
    case KNOWN_MATCH:
        return ERR_OK;
    case KNOWN_NEW:
        if (!ssh->options.accept_new && !ssh->config->accept_new)
            return refuse_new(ssh, err);
        return known_hosts_add(ssh->session, ssh->config, err);
    case KNOWN_CHANGED:
        return error_set(err, ERR_CONFLICT,
                         "the host's key is another than the one known from %.120s line %d: either "
                         "the host was set up anew, or somebody stands in between",
                         place.file, place.line);
    case KNOWN_REVOKED:
        break;
    }
    return error_set(err, ERR_CONFLICT, "the host's key is marked as revoked in %.120s line %d",
                     place.file, place.line);
}

/* ---- A connection ------------------------------------------------------------------------------
 */

static enum error_code shake_hands(struct ssh *ssh, struct error *err)
{
    int rc = 0;
    ssh->session = libssh2_session_init_ex(NULL, NULL, NULL, ssh);
    if (!ssh->session)
        return error_set(err, ERR_NO_MEMORY, NULL);
    libssh2_session_set_blocking(ssh->session, 0);
    known_hosts_prefer(ssh->session, ssh->config);
    enum error_code code =
        SSH_REPEAT(ssh, rc, libssh2_session_handshake(ssh->session, ssh->fd), err);
    if (code != ERR_OK)
        return code;
    if (rc != 0)
        return ssh_failure(ssh, ERR_PROTOCOL, "no SSH connection comes about", err);
    return ERR_OK;
}

enum error_code ssh_open(const struct ssh_config *config, const struct ssh_options *options,
                         struct ssh **ret_ssh, struct error *err)
{
    AUTO(ssh_close) struct ssh *ssh = MEM_NEW(struct ssh);
    if (!ssh)
        return error_set(err, ERR_NO_MEMORY, NULL);
    *ssh = (struct ssh){.fd = -1, .config = config, .options = *options, .root = -1};
    if (ssh->options.timeout_ms <= 0)
        ssh->options.timeout_ms = config->timeout_ms > 0 ? config->timeout_ms : SSH_CONNECT_MS;
    enum error_code code = ssh_connect(ssh, err);
    if (code == ERR_OK)
        code = shake_hands(ssh, err);
    if (code == ERR_OK)
        code = check_key(ssh, err);
    if (code == ERR_OK)
        code = ssh_login(ssh, err);
    if (code != ERR_OK)
        return code;
    /* A short ConnectTimeout says nothing of a busy host that is reached. */
    if (ssh->options.timeout_ms < SSH_CONNECT_MS)
        ssh->options.timeout_ms = SSH_CONNECT_MS;
    *ret_ssh = TAKE(ssh);
    return ERR_OK;
}

void ssh_close(struct ssh *ssh)
{
    if (!ssh)
        return;
    if (ssh->session) {
        /* What is not blocking may be left unfreed; the other side may be dead. */
        libssh2_session_set_blocking(ssh->session, 1);
        libssh2_session_set_timeout(ssh->session, CLOSE_MS);
        (void)libssh2_session_disconnect(ssh->session, "done");
        (void)libssh2_session_free(ssh->session);
    }
    if (ssh->fd >= 0)
        (void)close(ssh->fd);
    if (ssh->jump > 0)
        child_end(ssh->jump);
    mem_free(ssh);
}

void ssh_result_done(struct ssh_result *result)
{
    buf_done(&result->out);
    buf_done(&result->err);
}
