#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "orchestrator/cli/install/child.h"
#include "orchestrator/cli/install/ssh_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

static void addresses_free_auto(struct addrinfo **list)
{
    if (*list)
        freeaddrinfo(*list);
}

static int64_t left_ms(int64_t deadline_ms)
{
    int64_t left = deadline_ms - clock_mono_ms();
    return left > 0 ? left : 0;
}

/* Waits for a connection that is being made; 0 or an errno value. */
static int finish_connect(int fd, int64_t deadline_ms)
{
    struct pollfd poller = {.fd = fd, .events = POLLOUT};
    int number = 0;
    socklen_t len = sizeof(number);
    int ready = 0;
    while ((ready = poll(&poller, 1, (int)left_ms(deadline_ms))) < 0 && errno == EINTR)
        ;
    if (ready == 0)
        return ETIMEDOUT;
    if (ready < 0 || getsockopt(fd, SOL_SOCKET, SO_ERROR, &number, &len) != 0)
        return errno;
    return number;
}

static int connect_one(const struct addrinfo *address, int64_t deadline_ms, int *ret_fd)
{
    const int on = 1;
    int number = 0;
    int fd = socket(address->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return errno;
    if (connect(fd, address->ai_addr, address->ai_addrlen) != 0) {
        number = errno == EINPROGRESS ? finish_connect(fd, deadline_ms) : errno;
        if (number != 0) {
            (void)close(fd);
            return number;
        }
    }
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    (void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
    *ret_fd = fd;
    return 0;
}

static enum error_code connect_direct(struct ssh *ssh, struct error *err)
{
    const struct ssh_config *c = ssh->config;
    __attribute__((cleanup(addresses_free_auto))) struct addrinfo *list = NULL;
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
    char port[16];
    char why[128];
    hints.ai_family = c->ipv4_only ? AF_INET : c->ipv6_only ? AF_INET6 : AF_UNSPEC;
    (void)snprintf(port, sizeof(port), "%d", c->port);
    int number = getaddrinfo(c->host, port, &hints, &list);
    if (number != 0)
        return error_set(err, ERR_UNAVAILABLE, "cannot find the host %.128s: %s", c->host,
                         gai_strerror(number));
    int64_t deadline_ms = ssh_deadline(ssh);
    number = ETIMEDOUT;
    for (const struct addrinfo *a = list; a && number != 0; a = a->ai_next)
        number = connect_one(a, deadline_ms, &ssh->fd);
    if (number != 0)
        return error_set(err, ERR_UNAVAILABLE, "cannot connect to %.128s port %d: %s", c->host,
                         c->port, strerror_r(number, why, sizeof(why)));
    return ERR_OK;
}

/* ---- Through others ----------------------------------------------------------------------------
 */

static enum error_code connect_child(struct ssh *ssh, const char *const argv[], struct error *err)
{
    enum error_code code = child_connect(argv, &ssh->fd, &ssh->jump, err);
    if (code != ERR_OK)
        return code;
    if (fcntl(ssh->fd, F_SETFL, O_NONBLOCK) != 0)
        return error_errno(err, errno, "cannot set up a socket");
    return ERR_OK;
}

/* "a,b,c": c forwards, reached through a and b. OpenSSH's client does all of it, with the jump's
 * own configuration, keys and known_hosts; it may not ask anything, as many run side by side. */
static enum error_code connect_jump(struct ssh *ssh, struct error *err)
{
    const struct ssh_config *c = ssh->config;
    const char *argv[16];
    char jumps[SSH_CONFIG_TEXT_MAX];
    char to[TARGET_NAME_MAX + 16];
    size_t n = 0;
    (void)snprintf(jumps, sizeof(jumps), "%s", c->jump);
    (void)snprintf(to, sizeof(to), "[%s]:%d", c->host, c->port);
    char *last = strrchr(jumps, ',');
    argv[n++] = "ssh";
    if (ssh->options.config_file) {
        argv[n++] = "-F";
        argv[n++] = ssh->options.config_file;
    }
    argv[n++] = "-o";
    argv[n++] = "BatchMode=yes";
    if (last) {
        *last++ = '\0';
        argv[n++] = "-J";
        argv[n++] = jumps;
    }
    argv[n++] = "-W";
    argv[n++] = to;
    argv[n++] = "--";
    /* A jump may carry its user and port: ssh takes that as an address. */
    char uri[SSH_CONFIG_TEXT_MAX + 8];
    (void)snprintf(uri, sizeof(uri), "%s%s", strstr(last ? last : jumps, "://") ? "" : "ssh://",
                   last ? last : jumps);
    argv[n++] = uri;
    argv[n] = NULL;
    return connect_child(ssh, argv, err);
}

static enum error_code connect_proxy(struct ssh *ssh, struct error *err)
{
    char command[SSH_CONFIG_TEXT_MAX * 2];
    char full[sizeof(command) + 8];
    const struct ssh_self none = {"", ""};
    if (!ssh_config_expand(ssh->config->proxy, ssh->config, &none, command, sizeof(command)))
        return error_set(err, ERR_INVALID,
                         "ssh's configuration: ProxyCommand \"%.128s\" cannot be "
                         "filled in",
                         ssh->config->proxy);
    (void)snprintf(full, sizeof(full), "exec %s", command);
    const char *const argv[] = {"/bin/sh", "-c", full, NULL};
    return connect_child(ssh, argv, err);
}

enum error_code ssh_connect(struct ssh *ssh, struct error *err)
{
    if (ssh->config->jump[0])
        return connect_jump(ssh, err);
    return ssh->config->proxy[0] ? connect_proxy(ssh, err) : connect_direct(ssh, err);
}
