#include "orchestrator/cli/follow.h"

#include "common/base/clock.h"
#include "orchestrator/api/api_doc.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

enum { FIRST_PAUSE_MS = 250, LAST_PAUSE_MS = 5000, SERVER_ERRORS = 500 };

int follow_open(struct follow *f, struct cli *cli, const char *id, int64_t last_seq)
{
    sigset_t interrupt;
    int status = CLI_OK;
    *f = (struct follow){
        .cli = cli, .id = id, .last_seq = last_seq, .pause_ms = FIRST_PAUSE_MS, .signal_fd = -1};
    (void)sigemptyset(&interrupt);
    (void)sigaddset(&interrupt, SIGINT);
    if (pthread_sigmask(SIG_BLOCK, &interrupt, &f->old_mask) != 0)
        (void)sigemptyset(&f->old_mask);
    f->signal_fd = signalfd(-1, &interrupt, SFD_CLOEXEC | SFD_NONBLOCK);
    if (f->signal_fd < 0) {
        cli_say(cli, "cannot watch for Ctrl-C: %s", strerror(errno));
        return CLI_USAGE;
    }
    return cli_client(cli, &status) ? CLI_OK : status;
}

void follow_close(struct follow *f)
{
    stream_free(f->stream);
    f->stream = NULL;
    if (f->signal_fd >= 0)
        (void)close(f->signal_fd);
    f->signal_fd = -1;
    (void)pthread_sigmask(SIG_SETMASK, &f->old_mask, NULL);
}

static enum follow_result failed(struct follow *f, int status)
{
    f->status = status;
    return FOLLOW_FAILED;
}

static void announce(struct follow *f)
{
    if (f->before_message)
        f->before_message(f->ctx);
}

/* The signal is taken, so that it does not end the program when it is let through again. */
static enum follow_result interrupted(struct follow *f)
{
    struct signalfd_siginfo info;
    while (read(f->signal_fd, &info, sizeof(info)) == (ssize_t)sizeof(info))
        ;
    return FOLLOW_INTERRUPTED;
}

/* ---- Connecting --------------------------------------------------------------------------------
 */

static int64_t give_up_ms(const struct follow *f)
{
    return f->cli->io->give_up_ms > 0 ? f->cli->io->give_up_ms : CLI_GIVE_UP_MS;
}

/* Remembers the loss and plans the next attempt, not before `least_ms`. FOLLOW_CONNECTED: go on. */
static enum follow_result lost_for(struct follow *f, int64_t least_ms, const char *why)
{
    int64_t give_up = give_up_ms(f);
    int64_t now = clock_mono_ms();
    stream_free(f->stream);
    f->stream = NULL;
    if (f->lost_ms == 0) {
        f->lost_ms = now;
        announce(f);
        cli_say(f->cli, "the connection to the orchestrator is lost (%s); trying again", why);
    } else if (now - f->lost_ms >= give_up) {
        announce(f);
        return failed(f, cli_unreachable(f->cli, why));
    }
    f->attempt_ms = now + (f->pause_ms > least_ms ? f->pause_ms : least_ms);
    f->pause_ms = f->pause_ms * 2 < LAST_PAUSE_MS ? f->pause_ms * 2 : LAST_PAUSE_MS;
    return FOLLOW_CONNECTED;
}

static enum follow_result lost(struct follow *f, const struct error *err)
{
    if (err->code != ERR_DENIED)
        return lost_for(f, 0, err->message);
    announce(f);
    return failed(f, cli_distrusted(f->cli, err->message));
}

/* The orchestrator has answered with something else than what was asked for. */
static enum follow_result refused(struct follow *f, const struct answer *answer)
{
    if (answer->status >= SERVER_ERRORS)
        return lost_for(f, 0, "it is not ready");
    int64_t asked_ms = answer->retry_after_s * 1000;
    if (answer->status == API_TOO_MANY && asked_ms < give_up_ms(f))
        return lost_for(f, asked_ms, "it has too many requests");
    announce(f);
    return failed(f, cli_refused(f->cli, answer));
}

/* Waits for the next attempt's time. FOLLOW_CONNECTED: it has come. */
static enum follow_result wait_attempt(struct follow *f, int64_t deadline_ms)
{
    struct pollfd woken = {.fd = f->signal_fd, .events = POLLIN};
    for (;;) {
        int64_t now = clock_mono_ms();
        int64_t until = f->attempt_ms < deadline_ms ? f->attempt_ms : deadline_ms;
        if (now >= f->attempt_ms)
            return FOLLOW_CONNECTED;
        if (now >= deadline_ms)
            return FOLLOW_DEADLINE;
        if (poll(&woken, 1, (int)(until - now)) == 1)
            return interrupted(f);
    }
}

/* Before connecting again: a rollout whose end was seen has no more events. FOLLOW_CONNECTED: go
 * on. */
static enum follow_result look(struct follow *f)
{
    AUTO_BUF struct buf path = BUF_INIT;
    AUTO_ANSWER struct answer answer = {0};
    struct error err = {0};
    struct api_rollout rollout = {0};
    buf_puts(&path, "/v1/rollouts/");
    url_put(&path, f->id);
    buf_puts(&path, "?limit=1");
    if (buf_check(&path, &err) != ERR_OK)
        return failed(f, cli_fail(f->cli, &err));
    struct request request = {.method = "GET", .path = path.data};
    if (client_call(f->cli->client, &request, &answer, &err) != ERR_OK)
        return lost(f, &err);
    if (answer.status >= API_REFUSED)
        return refused(f, &answer);
    int status = cli_decode(f->cli, &answer, &api_rollout_table, &rollout);
    bool over = status == CLI_OK && rollout_state_final((enum rollout_state)rollout.state) &&
                rollout.last_seq <= f->last_seq;
    json_release(&api_rollout_table, &rollout);
    if (status != CLI_OK)
        return failed(f, status);
    return over ? FOLLOW_ENDED : FOLLOW_CONNECTED;
}

/* FOLLOW_CONNECTED: a stream is being opened, or another attempt is planned. */
static enum follow_result connect_stream(struct follow *f, int64_t deadline_ms)
{
    AUTO_BUF struct buf path = BUF_INIT;
    struct error err = {0};
    if (f->lost_ms != 0) {
        enum follow_result r = wait_attempt(f, deadline_ms);
        if (r == FOLLOW_CONNECTED)
            r = look(f);
        if (r != FOLLOW_CONNECTED || f->attempt_ms > clock_mono_ms())
            return r;
    }
    buf_puts(&path, "/v1/rollouts/");
    url_put(&path, f->id);
    buf_printf(&path, "/events?follow=true&after=%lld", (long long)f->last_seq);
    if (buf_check(&path, &err) != ERR_OK ||
        stream_open(f->cli->client, path.data, f->last_seq, &f->stream, &err) != ERR_OK)
        return failed(f, cli_fail(f->cli, &err));
    return FOLLOW_CONNECTED;
}

/* ---- Events ------------------------------------------------------------------------------------
 */

static void found_again(struct follow *f)
{
    if (f->lost_ms != 0 && f->connected) {
        announce(f);
        cli_say(f->cli, "connected again");
    }
    f->connected = true;
    f->lost_ms = 0;
}

/* False: a repeat of what was seen before. */
static bool take_event(struct follow *f, const struct sse_event *event)
{
    f->pause_ms = FIRST_PAUSE_MS;
    if (!event->has_id)
        return true;
    long long seq = strtoll(event->id, NULL, 10);
    if (seq <= f->last_seq)
        return false;
    f->last_seq = seq;
    return true;
}

enum follow_result follow_next(struct follow *f, int64_t deadline_ms, struct sse_event *ret_event)
{
    struct error err = {0};
    for (;;) {
        enum follow_result r = f->stream ? FOLLOW_CONNECTED : connect_stream(f, deadline_ms);
        if (r != FOLLOW_CONNECTED)
            return r;
        if (!f->stream)
            continue;
        switch (stream_next(f->stream, deadline_ms, f->signal_fd, ret_event, &err)) {
        case STREAM_CONNECTED:
            found_again(f);
            return FOLLOW_CONNECTED;
        case STREAM_EVENT:
            if (take_event(f, ret_event))
                return FOLLOW_EVENT;
            break;
        case STREAM_DEADLINE:
            return FOLLOW_DEADLINE;
        case STREAM_WOKEN:
            return interrupted(f);
        case STREAM_REFUSED:
            r = refused(f, stream_answer(f->stream));
            break;
        case STREAM_CLOSED:
            r = lost(f, &err);
            break;
        }
        if (r != FOLLOW_CONNECTED)
            return r;
    }
}
