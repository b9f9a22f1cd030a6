#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/id.h"
#include "orchestrator/cli/install/ssh_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { COMMAND_MAX = 512, CHUNK = 32 * 1024, WORD_MAX = 64 };

/*
 * What goes over standard input: sudo's password when sudo asks, then, once the shell has said that
 * it is there, the script, and behind it the data. The script is taken byte by byte, so that the
 * data are left to what the script runs.
 */
enum phase { PHASE_START, PHASE_SCRIPT, PHASE_DATA, PHASE_FED };

struct run {
    struct ssh *ssh;
    LIBSSH2_CHANNEL *channel;
    const struct ssh_job *job;
    struct ssh_result *result;
    char mark[WORD_MAX];   /* the shell says it, and nobody else can */
    char prompt[WORD_MAX]; /* sudo says it */
    size_t prompts_seen;   /* bytes of standard error that were searched for it */
    bool answered;         /* the password was sent */
    enum phase phase;
    size_t sent; /* bytes of what the phase sends */
};

static void channel_free_auto(LIBSSH2_CHANNEL **channel)
{
    if (*channel)
        (void)libssh2_channel_free(*channel);
}

static enum error_code start(struct ssh *ssh, const char *command, LIBSSH2_CHANNEL **ret_channel,
                             struct error *err)
{
    int rc = 0;
    int64_t deadline = ssh_deadline(ssh);
    enum error_code code = ERR_OK;
    LIBSSH2_CHANNEL *channel = NULL;
    while (!(channel = libssh2_channel_open_session(ssh->session))) {
        if (libssh2_session_last_errno(ssh->session) != LIBSSH2_ERROR_EAGAIN)
            return ssh_failure(ssh, ERR_IO, "cannot start a command", err);
        code = ssh_wait(ssh, deadline, err);
        if (code != ERR_OK)
            return code;
    }
    code = SSH_REPEAT(ssh, rc, libssh2_channel_exec(channel, command), err);
    if (code == ERR_OK && rc != 0)
        code = ssh_failure(ssh, ERR_IO, "cannot start a command", err);
    if (code == ERR_OK)
        *ret_channel = channel;
    else
        (void)libssh2_channel_free(channel);
    return code;
}

/* ---- Reading -----------------------------------------------------------------------------------
 */

/* Takes what is there of one stream; what is past the bound is read and let go. */
static enum error_code take_output(struct run *r, int stream, struct buf *to, bool *ret_progress,
                                   struct error *err)
{
    char data[4096];
    for (;;) {
        ssize_t len = libssh2_channel_read_ex(r->channel, stream, data, sizeof(data));
        if (len == LIBSSH2_ERROR_EAGAIN || len == 0)
            return ERR_OK;
        if (len < 0)
            return ssh_failure(r->ssh, ERR_IO, "the command's output", err);
        *ret_progress = true;
        size_t room = to->len < SSH_OUTPUT_MAX ? SSH_OUTPUT_MAX - to->len : 0;
        buf_append(to, data, (size_t)len < room ? (size_t)len : room);
        if (to->failed != ERR_OK)
            return buf_check(to, err);
    }
}

/* ---- Becoming root -----------------------------------------------------------------------------
 */

static void secret_name(const struct ssh *ssh, char *ret, size_t size)
{
    (void)snprintf(ret, size, "sudo password of %s", ssh->config->user);
}

static enum error_code write_all(struct run *r, const char *data, size_t len, struct error *err)
{
    size_t sent = 0;
    while (sent < len) {
        ssize_t n = 0;
        enum error_code code =
            SSH_REPEAT(r->ssh, n, libssh2_channel_write(r->channel, data + sent, len - sent), err);
        if (code != ERR_OK)
            return code;
        if (n < 0)
            return ssh_failure(r->ssh, ERR_IO, "the command's input", err);
        sent += (size_t)n;
    }
    return ERR_OK;
}

static enum error_code answer_sudo(struct run *r, struct error *err)
{
    AUTO_WIPED char password[SECRET_MAX] = "";
    char name[TARGET_USER_MAX + 32];
    secret_name(r->ssh, name, sizeof(name));
    if (r->answered) {
        secrets_used(r->ssh->options.secrets, name, false);
        return error_set(err, ERR_DENIED, "sudo refuses the password of %.64s",
                         r->ssh->config->user);
    }
    enum error_code code = secrets_get(r->ssh->options.secrets, name, password, err);
    if (code != ERR_OK)
        return code;
    size_t len = strlen(password);
    if (len + 1 >= sizeof(password))
        return error_set(err, ERR_LIMIT, "the password is too long");
    password[len] = '\n';
    r->answered = true;
    return write_all(r, password, len + 1, err);
}

/* Looks for sudo's question, and for the shell's word that it is there. */
static enum error_code take_start(struct run *r, bool *ret_progress, struct error *err)
{
    struct ssh_result *result = r->result;
    char *mark = result->out.len > 0 ? strstr(result->out.data, r->mark) : NULL;
    if (mark) {
        size_t end = (size_t)(mark - result->out.data) + strlen(r->mark);
        if (end >= result->out.len)
            return ERR_OK; /* its newline is still to come */
        buf_consume(&result->out, end + 1);
        buf_clear(&result->err); /* of sudo and the log-in; nothing of the script */
        if (r->answered) {
            char name[TARGET_USER_MAX + 32];
            secret_name(r->ssh, name, sizeof(name));
            secrets_used(r->ssh->options.secrets, name, true);
        }
        r->phase = PHASE_SCRIPT;
        *ret_progress = true;
        return ERR_OK;
    }
    if (result->err.len <= r->prompts_seen)
        return ERR_OK;
    char *prompt = strstr(result->err.data + r->prompts_seen, r->prompt);
    if (!prompt)
        return ERR_OK;
    r->prompts_seen = (size_t)(prompt - result->err.data) + strlen(r->prompt);
    *ret_progress = true;
    return answer_sudo(r, err);
}

/* ---- Writing -----------------------------------------------------------------------------------
 */

/* Sends on; what the other side does not take any more is not sent: its exit status tells why. */
static enum error_code feed(struct run *r, bool *ret_progress, struct error *err)
{
    bool script = r->phase == PHASE_SCRIPT;
    const char *data = script ? r->job->script : r->job->data;
    size_t len = script ? r->job->script_len : r->job->data_len;
    if (r->sent < len) {
        size_t chunk = len - r->sent < CHUNK ? len - r->sent : CHUNK;
        ssize_t n = libssh2_channel_write(r->channel, data + r->sent, chunk);
        if (n == LIBSSH2_ERROR_EAGAIN)
            return ERR_OK;
        if (n == LIBSSH2_ERROR_SOCKET_SEND || n == LIBSSH2_ERROR_SOCKET_DISCONNECT)
            return ssh_failure(r->ssh, ERR_IO, "the command's input", err);
        *ret_progress = true;
        if (n < 0)
            r->phase = PHASE_FED;
        else
            r->sent += (size_t)n;
        return ERR_OK;
    }
    *ret_progress = true;
    r->sent = 0;
    r->phase = script ? PHASE_DATA : PHASE_FED;
    if (script)
        return ERR_OK;
    int rc = 0;
    return SSH_REPEAT(r->ssh, rc, libssh2_channel_send_eof(r->channel), err);
}

/* ---- A run -------------------------------------------------------------------------------------
 */

static enum error_code pump(struct run *r, struct error *err)
{
    int64_t silence_ms = r->job->silence_ms > 0 ? r->job->silence_ms : SSH_SILENCE_MS;
    int64_t deadline = clock_mono_ms() + silence_ms;
    for (;;) {
        bool progress = false;
        enum error_code code = take_output(r, 0, &r->result->out, &progress, err);
        if (code == ERR_OK)
            code = take_output(r, SSH_EXTENDED_DATA_STDERR, &r->result->err, &progress, err);
        if (code == ERR_OK && r->phase == PHASE_START)
            code = take_start(r, &progress, err);
        else if (code == ERR_OK && r->phase != PHASE_FED)
            code = feed(r, &progress, err);
        if (code != ERR_OK)
            return code;
        if (progress)
            deadline = clock_mono_ms() + silence_ms;
        else if (libssh2_channel_eof(r->channel))
            return ERR_OK;
        else
            code = ssh_wait(r->ssh, deadline, err);
        if (code != ERR_OK)
            return code;
    }
}

static enum error_code take_status(struct run *r, struct error *err)
{
    char *signal = NULL;
    int rc = 0;
    enum error_code code = SSH_REPEAT(r->ssh, rc, libssh2_channel_close(r->channel), err);
    if (code == ERR_OK)
        code = SSH_REPEAT(r->ssh, rc, libssh2_channel_wait_closed(r->channel), err);
    if (code != ERR_OK)
        return code;
    r->result->status = libssh2_channel_get_exit_status(r->channel);
    if (libssh2_channel_get_exit_signal(r->channel, &signal, NULL, NULL, NULL, NULL, NULL) == 0 &&
        signal) {
        r->result->status = -1;
        libssh2_free(r->ssh->session, signal);
    }
    return ERR_OK;
}

/* The last line that is not empty, for a message. */
static const char *last_words(struct buf *text)
{
    while (text->len > 0 && strchr("\r\n ", text->data[text->len - 1]))
        text->data[--text->len] = '\0';
    if (text->len == 0)
        return "it says nothing";
    const char *start = strrchr(text->data, '\n');
    return start ? start + 1 : text->data;
}

static enum error_code run_command(struct run *r, const char *command, struct error *err)
{
    __attribute__((cleanup(channel_free_auto))) LIBSSH2_CHANNEL *channel = NULL;
    enum error_code code = start(r->ssh, command, &channel, err);
    r->channel = channel;
    if (code == ERR_OK)
        code = pump(r, err);
    return code == ERR_OK ? take_status(r, err) : code;
}

/* Whether the user is root already. */
static enum error_code look_who(struct ssh *ssh, struct error *err)
{
    AUTO_SSH_RESULT struct ssh_result result = {0};
    struct ssh_job nothing = {0};
    struct run r = {.ssh = ssh, .job = &nothing, .result = &result, .phase = PHASE_FED};
    enum error_code code = run_command(&r, "id -u", err);
    if (code != ERR_OK)
        return code;
    if (result.status != 0 || result.out.len == 0)
        return error_set(err, ERR_PROTOCOL, "no command can be run: %.180s",
                         last_words(&result.err));
    /* Its last line: a log-in may print something first. */
    ssh->root = strcmp(last_words(&result.out), "0") == 0 ? 1 : 0;
    return ERR_OK;
}

static enum error_code put_command(struct run *r, char *ret, size_t size, struct error *err)
{
    char random[ID_RANDOM_LEN + 1];
    char sudo[WORD_MAX * 2] = "";
    enum error_code code = id_random(random, err);
    if (code != ERR_OK)
        return code;
    (void)snprintf(r->mark, sizeof(r->mark), "kitsune-root-%s", random);
    (void)snprintf(r->prompt, sizeof(r->prompt), "kitsune-sudo-%s:", random);
    if (!r->ssh->root)
        (void)snprintf(sudo, sizeof(sudo), "env LC_ALL=C sudo -S -p %s -- ", r->prompt);
    (void)snprintf(ret, size, "%s/bin/sh -c 'echo %s; eval \"$(dd bs=1 count=%zu 2>/dev/null)\"'",
                   sudo, r->mark, r->job->script_len);
    return ERR_OK;
}

enum error_code ssh_run(struct ssh *ssh, const struct ssh_job *job, struct ssh_result *ret_result,
                        struct error *err)
{
    AUTO_SSH_RESULT struct ssh_result result = {0};
    struct run r = {.ssh = ssh, .job = job, .result = &result};
    char command[COMMAND_MAX];
    enum error_code code = ssh->root < 0 ? look_who(ssh, err) : ERR_OK;
    if (code == ERR_OK)
        code = put_command(&r, command, sizeof(command), err);
    if (code == ERR_OK)
        code = run_command(&r, command, err);
    if (code != ERR_OK)
        return code;
    if (r.phase == PHASE_START && !ssh->root)
        return error_set(err, ERR_DENIED, "%.64s cannot become root: %.160s", ssh->config->user,
                         last_words(&result.err));
    if (r.phase == PHASE_START)
        return error_set(err, ERR_PROTOCOL, "no shell can be started: %.180s",
                         last_words(&result.err));
    *ret_result = result;
    result = (struct ssh_result){0};
    return ERR_OK;
}
