#include "agent/carrier_process.h"

#include "agent/channel_pipe.h"
#include "agent/network.h"
#include "agent/network_environment.h"
#include "common/base/alloc.h"
#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/failpoint.h"

#include <assert.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define uthash_malloc(size_bytes) mem_alloc(size_bytes)
#define uthash_free(ptr, size_bytes) mem_free(ptr)
#define HASH_NONFATAL_OOM 1
#include <uthash.h>

enum { NUMBER_TEXT_MAX = 16, ARGUMENTS_MAX = 9 };

/* A connection, or a request. */
struct carried {
    struct carrier_conn conn; /* first: what the others get is its address */
    struct carrier_post post;
    uint32_t id;
    bool is_post, open, closing;
    size_t queued; /* bytes that are not known to be sent */
    size_t max_message;
    int64_t deadline_ms; /* monotonic: something must have come until then; 0: nothing has to */
    bool overdue;        /* it was so when it was looked at last */
    struct carrier_conn_events events;
    void (*done)(void *ctx, int status, const char *body, size_t len, const char *failure);
    void *ctx;
    UT_hash_handle hh;
};

struct carrier_process {
    struct carrier base;
    struct carrier_process_config config;
    struct sandbox_user user;
    struct channel_pipe pipe;
    uv_process_t process;
    uv_timer_t timer; /* of restarts, and of what is overdue */
    struct carried *all;
    uint32_t last_id;
    bool up;                      /* there is a process, and it is talked to */
    bool untold;                  /* it has gone away by itself, and that was not logged yet */
    bool pipe_open, process_open; /* handles */
    int64_t since_ms;
    uint32_t deaths; /* in a row */
    bool ending;
    void (*done)(void *ctx);
    void *done_ctx;
};

static struct carrier_process *process_of(const struct carrier *c)
{
    return (struct carrier_process *)(uintptr_t)c;
}

static struct carried *carried_of_post(struct carrier_post *post)
{
    return (struct carried *)(void *)((char *)post - offsetof(struct carried, post));
}

/* ---- What is under way ------------------------------------------------------------------------
 */

/* NOLINTNEXTLINE(readability-function-size): uthash's macro */
static bool carried_add(struct carrier_process *cp, struct carried *x)
{
    x->id = ++cp->last_id;
    x->conn.carrier = x->post.carrier = &cp->base;
    HASH_ADD(hh, cp->all, id, sizeof(x->id), x);
    return x->hh.tbl != NULL;
}

/* NOLINTNEXTLINE(readability-function-size): uthash's macro */
static struct carried *carried_find(const struct carrier_process *cp, uint32_t id)
{
    struct carried *x = NULL;
    HASH_FIND(hh, cp->all, &id, sizeof(id), x);
    return x;
}

/* NOLINTNEXTLINE(readability-function-size): uthash's macro */
static void carried_remove(struct carrier_process *cp, struct carried *x)
{
    HASH_DELETE(hh, cp->all, x);
}

static void watch_start(struct carrier_process *cp);

static void expect(struct carrier_process *cp, struct carried *x, int64_t within_ms)
{
    x->deadline_ms = within_ms > 0 ? clock_mono_ms() + within_ms : 0;
    x->overdue = false;
    if (within_ms > 0)
        watch_start(cp);
}

/* Tells its owner that it is over, and frees it. */
static void carried_end(struct carrier_process *cp, struct carried *x, enum net_end end,
                        const char *reason)
{
    carried_remove(cp, x);
    if (x->is_post)
        x->done(x->ctx, 0, NULL, 0, reason);
    else
        x->events.closed(x->ctx, &x->conn, end, reason);
    mem_free(x);
}

/* ---- The process's end ------------------------------------------------------------------------
 */

static void restart(uv_timer_t *timer);
static void watch(uv_timer_t *timer);

static void finish(uv_handle_t *timer)
{
    struct carrier_process *cp = timer->data;
    void (*done)(void *) = cp->done;
    void *ctx = cp->done_ctx;
    mem_free(cp);
    if (done)
        done(ctx);
}

static void handles_check(struct carrier_process *cp)
{
    if (cp->pipe_open || cp->process_open)
        return;
    if (cp->ending) {
        uv_close((uv_handle_t *)&cp->timer, finish);
        return;
    }
    int64_t pause_ms = CARRIER_RESTART_FIRST_MS;
    for (uint32_t i = 0; i < cp->deaths && pause_ms < CARRIER_RESTART_MAX_MS; i++)
        pause_ms *= 2;
    if (pause_ms > CARRIER_RESTART_MAX_MS)
        pause_ms = CARRIER_RESTART_MAX_MS;
    cp->deaths++;
    (void)uv_timer_start(&cp->timer, restart, (uint64_t)pause_ms, 0);
}

static void on_pipe_closed(void *ctx)
{
    struct carrier_process *cp = ctx;
    cp->pipe_open = false;
    handles_check(cp);
}

static void on_process_closed(uv_handle_t *handle)
{
    struct carrier_process *cp = handle->data;
    cp->process_open = false;
    handles_check(cp);
}

/* Nothing more is expected of it; it is killed, and everything under way is over. */
static void down(struct carrier_process *cp, const char *reason)
{
    if (!cp->up)
        return;
    cp->up = false;
    (void)uv_timer_stop(&cp->timer);
    if (clock_mono_ms() - cp->since_ms >= CARRIER_LIVED_MS)
        cp->deaths = 0;
    channel_pipe_close(&cp->pipe);
    if (uv_is_active((uv_handle_t *)&cp->process))
        (void)uv_process_kill(&cp->process, SIGKILL);
    char why[ERROR_MESSAGE_MAX];
    (void)snprintf(why, sizeof(why), "the agent's network process is gone: %.180s", reason);
    while (cp->all)
        carried_end(cp, cp->all, NET_END_LOST, why);
}

static void on_process_exit(uv_process_t *process, int64_t status, int signum)
{
    struct carrier_process *cp = process->data;
    char reason[ERROR_MESSAGE_MAX];
    if (signum == SIGSYS)
        (void)snprintf(reason, sizeof(reason), "it tried what it may not do, and was ended");
    else if (signum != 0)
        (void)snprintf(reason, sizeof(reason), "ended by signal %d (%s)", signum,
                       strsignal(signum));
    else
        (void)snprintf(reason, sizeof(reason), "it ended with status %d", (int)status);
    if (cp->up || cp->untold)
        log_error("the network process is gone; it is started again", LOG_STR("reason", reason),
                  LOG_END);
    cp->untold = false;
    down(cp, reason);
    uv_close((uv_handle_t *)process, on_process_closed);
}

/* It breaks the rules, or hangs. */
static void give_up(struct carrier_process *cp, const char *reason)
{
    if (!cp->up)
        return;
    if (!cp->ending)
        log_error("the network process is ended; it is started again", LOG_STR("reason", reason),
                  LOG_END);
    down(cp, reason);
}

static void on_ended(void *ctx, const char *reason)
{
    struct carrier_process *cp = ctx;
    if (reason) {
        give_up(cp, reason);
        return;
    }
    cp->untold = cp->up && !cp->ending; /* how it ended is known in a moment */
    down(cp, "it has ended");
}

/* ---- What is overdue --------------------------------------------------------------------------
 */

/* Late twice: between the two what has come was read, so it is not this process that was late. */
static void watch(uv_timer_t *timer)
{
    struct carrier_process *cp = timer->data;
    int64_t now_ms = clock_mono_ms();
    bool waits = false;
    for (struct carried *x = cp->all; x; x = x->hh.next) {
        bool late = x->deadline_ms > 0 && now_ms >= x->deadline_ms;
        if (late && x->overdue) {
            give_up(cp, "it does not answer");
            return;
        }
        x->overdue = late;
        waits = waits || x->deadline_ms > 0;
    }
    if (!waits)
        (void)uv_timer_stop(timer);
}

static void watch_start(struct carrier_process *cp)
{
    if (cp->up && !uv_is_active((uv_handle_t *)&cp->timer))
        (void)uv_timer_start(&cp->timer, watch, (uint64_t)cp->config.patience_ms / 2,
                             (uint64_t)cp->config.patience_ms / 2);
}

/* ---- What comes -------------------------------------------------------------------------------
 */

/* False: it breaks the rules. */
static bool conn_frame(struct carrier_process *cp, struct carried *x,
                       const struct channel_frame *frame)
{
    if (frame->type == CHANNEL_OPENED) {
        if (x->open)
            return false;
        x->open = true;
        if (x->closing)
            return true;
        expect(cp, x, 0);
        x->events.opened(x->ctx, &x->conn);
        return true;
    }
    if (frame->type == CHANNEL_MESSAGE) {
        if (!x->open || !frame->texts[0].data || frame->texts[0].len > x->max_message)
            return false;
        if (!x->closing)
            x->events.message(x->ctx, &x->conn, frame->texts[0].data, frame->texts[0].len);
        return true;
    }
    if (frame->type == CHANNEL_SENT) {
        if (frame->numbers[0] > x->queued)
            return false;
        x->queued -= frame->numbers[0];
        return true;
    }
    if (frame->type != CHANNEL_CLOSED || frame->numbers[0] > NET_END_NOT_ADMITTED ||
        !frame->texts[0].data)
        return false;
    carried_end(cp, x, (enum net_end)frame->numbers[0], frame->texts[0].data);
    return true;
}

static bool post_frame(struct carrier_process *cp, struct carried *x,
                       const struct channel_frame *frame)
{
    if ((frame->type != CHANNEL_ANSWERED && frame->type != CHANNEL_FAILED) || !frame->texts[0].data)
        return false;
    if (frame->type == CHANNEL_FAILED) {
        carried_end(cp, x, NET_END_LOST, frame->texts[0].data);
        return true;
    }
    if (frame->numbers[0] < 100 || frame->numbers[0] > 599)
        return false;
    carried_remove(cp, x);
    x->done(x->ctx, (int)frame->numbers[0], frame->texts[0].data, frame->texts[0].len, NULL);
    mem_free(x);
    return true;
}

static void on_frame(void *ctx, const struct channel_frame *frame)
{
    struct carrier_process *cp = ctx;
    if (!cp->up || frame->type == CHANNEL_READY)
        return;
    struct carried *x = carried_find(cp, frame->id);
    if (!x)
        return; /* forgotten, as it crossed what told so */
    if (!(x->is_post ? post_frame(cp, x, frame) : conn_frame(cp, x, frame)))
        give_up(cp, "it breaks the rules of the channel");
}

/* ---- Starting ---------------------------------------------------------------------------------
 */

static int spawn(struct carrier_process *cp)
{
    char uid[NUMBER_TEXT_MAX], gid[NUMBER_TEXT_MAX], files[NUMBER_TEXT_MAX];
    char format[NUMBER_TEXT_MAX], level[NUMBER_TEXT_MAX];
    static char name[] = "kitsune-agent: network", mode[] = NETWORK_MODE, same[] = "-";
    (void)snprintf(uid, sizeof(uid), "%u", (unsigned)cp->user.uid);
    (void)snprintf(gid, sizeof(gid), "%u", (unsigned)cp->user.gid);
    (void)snprintf(files, sizeof(files), "%u", (unsigned)cp->config.files);
    (void)snprintf(format, sizeof(format), "%d", (int)cp->config.log_format);
    (void)snprintf(level, sizeof(level), "%d", (int)cp->config.log_level);
    char *arguments[ARGUMENTS_MAX] = {
        name,  mode, cp->config.user ? uid : same, cp->config.user ? gid : same, files, format,
        level, NULL};
    uv_stdio_container_t stdio[3] = {
        {.flags = UV_CREATE_PIPE | UV_READABLE_PIPE | UV_WRITABLE_PIPE,
         .data.stream = (uv_stream_t *)&cp->pipe.handle},
        {.flags = UV_IGNORE},
        {.flags = UV_INHERIT_FD, .data.fd = STDERR_FILENO},
    };
    AUTO_FREE char **environment = network_environment();
    if (!environment)
        return UV_ENOMEM;
    const uv_process_options_t options = {
        .file = "/proc/self/exe",
        .args = arguments,
        .env = environment,
        .stdio = stdio,
        .stdio_count = 3,
        .exit_cb = on_process_exit,
    };
    return uv_spawn(cp->config.loop, &cp->process, &options);
}

static enum error_code start(struct carrier_process *cp, struct error *err)
{
    cp->pipe.inside = true;
    cp->pipe.ctx = cp;
    cp->pipe.frame = on_frame;
    cp->pipe.ended = on_ended;
    cp->pipe.closed = on_pipe_closed;
    channel_pipe_init(&cp->pipe, cp->config.loop);
    cp->pipe_open = cp->process_open = true;
    cp->process.data = cp;
    cp->since_ms = clock_mono_ms();
    int failed = spawn(cp);
    cp->up = failed == 0;
    enum error_code code = failed == 0 ? channel_pipe_start(&cp->pipe, err)
                                       : error_errno(err, -failed, "starting the network process");
    if (code == ERR_OK)
        return code;
    if (cp->up) {
        give_up(cp, err->message);
    } else {
        channel_pipe_close(&cp->pipe);
        uv_close((uv_handle_t *)&cp->process, on_process_closed);
    }
    return code;
}

static void restart(uv_timer_t *timer)
{
    struct carrier_process *cp = timer->data;
    struct error err = {0};
    if (start(cp, &err) != ERR_OK)
        log_error("the network process does not start", LOG_STR("reason", err.message), LOG_END);
}

/* ---- Connections ------------------------------------------------------------------------------
 */

static enum error_code tell(struct carrier_process *cp, const struct channel_frame *frame,
                            struct error *err)
{
    enum error_code code = channel_pipe_send(&cp->pipe, frame, err);
    /* Its end is noticed by the loop, so that nobody is called back from here. */
    if (code != ERR_OK && uv_is_active((uv_handle_t *)&cp->process))
        (void)uv_process_kill(&cp->process, SIGKILL);
    return code;
}

static struct channel_frame peer_frame(enum channel_type type, uint32_t id,
                                       const struct carrier_peer *peer, const char *path)
{
    struct channel_frame frame = {.type = type, .id = id};
    frame.texts[CHANNEL_URL] = channel_string(peer->url);
    frame.texts[CHANNEL_CA] = channel_string(peer->ca);
    frame.texts[CHANNEL_FINGERPRINT] = channel_string(peer->ca_fingerprint);
    frame.texts[CHANNEL_PAIR] = channel_string(peer->pair);
    frame.texts[CHANNEL_PATH] = channel_string(path);
    return frame;
}

/* Adds it, and sends the frame with its id. Takes ownership on success only. */
static enum error_code begin(struct carrier_process *cp, struct carried *x,
                             struct channel_frame *frame, uint32_t timeout_ms, struct error *err)
{
    if (!cp->up || cp->ending)
        return error_set(err, ERR_UNAVAILABLE, "the network process is being started again");
    if (!carried_add(cp, x))
        return error_set(err, ERR_NO_MEMORY, NULL);
    frame->id = x->id;
    enum error_code code = tell(cp, frame, err);
    if (code != ERR_OK)
        carried_remove(cp, x);
    else
        expect(cp, x, (int64_t)timeout_ms + cp->config.patience_ms);
    return code;
}

static enum error_code on_connect(struct carrier *c, const struct carrier_conn_config *config,
                                  struct carrier_conn **ret_conn, struct error *err)
{
    struct carrier_process *cp = process_of(c);
    AUTO_FREE struct carried *x = MEM_NEW(struct carried);
    enum error_code code = net_url_check(config->peer.url, err);
    if (code != ERR_OK)
        return code;
    if (!x)
        return error_set(err, ERR_NO_MEMORY, NULL);
    x->events = config->events;
    x->ctx = config->ctx;
    x->max_message = config->max_message;
    struct channel_frame frame = peer_frame(CHANNEL_CONNECT, 0, &config->peer, config->path);
    frame.numbers[0] = (uint32_t)config->max_message;
    frame.numbers[1] = config->timeout_ms;
    frame.texts[CHANNEL_LAST] = channel_string(config->protocol);
    code = begin(cp, x, &frame, config->timeout_ms, err);
    if (code == ERR_OK)
        *ret_conn = &TAKE(x)->conn;
    return code;
}

static enum error_code on_send(struct carrier_conn *conn, const char *data, size_t len,
                               struct error *err)
{
    struct carried *x = (struct carried *)conn;
    struct carrier_process *cp = process_of(conn->carrier);
    if (x->closing)
        return error_set(err, ERR_UNAVAILABLE, "the connection is closing");
    if (len > WIRE_MAX_BYTES)
        return error_set(err, ERR_LIMIT, "a message of %zu bytes", len);
    struct channel_frame frame = {.type = CHANNEL_SEND, .id = x->id};
    frame.texts[0] = channel_text(data, len);
    enum error_code code = tell(cp, &frame, err);
    if (code != ERR_OK)
        return code;
    x->queued += len;
    FAILPOINT(FAIL_NET_SENT);
    return ERR_OK;
}

static size_t on_queued(const struct carrier_conn *conn)
{
    return ((const struct carried *)conn)->queued;
}

static void tell_close(struct carried *x, uint16_t code, const char *reason)
{
    struct channel_frame frame = {.type = CHANNEL_CLOSE, .id = x->id, .numbers = {code}};
    frame.texts[0] = channel_text(reason, strnlen(reason, ERROR_MESSAGE_MAX));
    error_ignore(tell(process_of(x->conn.carrier), &frame, NULL));
}

static void on_close(struct carrier_conn *conn, uint16_t code, const char *reason)
{
    struct carried *x = (struct carried *)conn;
    struct carrier_process *cp = process_of(conn->carrier);
    if (x->closing)
        return;
    x->closing = true;
    tell_close(x, code, reason);
    expect(cp, x, cp->config.patience_ms);
}

static void on_forget(struct carrier_conn *conn, uint16_t code, const char *reason)
{
    struct carried *x = (struct carried *)conn;
    if (!x->closing)
        tell_close(x, code, reason);
    carried_remove(process_of(conn->carrier), x);
    mem_free(x);
}

/* ---- Requests ---------------------------------------------------------------------------------
 */

static enum error_code on_post(struct carrier *c, const struct carrier_post_config *config,
                               struct carrier_post **ret_post, struct error *err)
{
    struct carrier_process *cp = process_of(c);
    AUTO_FREE struct carried *x = MEM_NEW(struct carried);
    if (!x)
        return error_set(err, ERR_NO_MEMORY, NULL);
    if (config->len > CARRIER_POST_MAX)
        return error_set(err, ERR_LIMIT, "a request of more than %d bytes", CARRIER_POST_MAX);
    x->is_post = true;
    x->done = config->done;
    x->ctx = config->ctx;
    struct channel_frame frame = peer_frame(CHANNEL_POST, 0, &config->peer, config->path);
    frame.numbers[0] = config->timeout_ms;
    frame.texts[CHANNEL_LAST] = channel_text(config->body, config->len);
    enum error_code code = begin(cp, x, &frame, config->timeout_ms, err);
    if (code == ERR_OK)
        *ret_post = &TAKE(x)->post;
    return code;
}

static void on_post_cancel(struct carrier_post *post)
{
    struct carried *x = carried_of_post(post);
    struct carrier_process *cp = process_of(post->carrier);
    const struct channel_frame frame = {.type = CHANNEL_CANCEL, .id = x->id};
    error_ignore(tell(cp, &frame, NULL));
    carried_remove(cp, x);
    mem_free(x);
}

/* ---- Life -------------------------------------------------------------------------------------
 */

static void end_overdue(uv_timer_t *timer)
{
    struct carrier_process *cp = timer->data;
    if (uv_is_active((uv_handle_t *)&cp->process))
        (void)uv_process_kill(&cp->process, SIGKILL);
}

/* It ends by itself when its end of the channel is closed. */
static void on_end(struct carrier *c, void (*done)(void *ctx), void *ctx)
{
    struct carrier_process *cp = process_of(c);
    cp->ending = true;
    cp->done = done;
    cp->done_ctx = ctx;
    if (!cp->up) {
        (void)uv_timer_stop(&cp->timer);
        handles_check(cp);
        return;
    }
    while (cp->all)
        carried_end(cp, cp->all, NET_END_LOST, "the agent stops");
    cp->up = false;
    channel_pipe_close(&cp->pipe);
    (void)uv_timer_start(&cp->timer, end_overdue, CARRIER_END_MS, 0);
}

static const struct carrier_ops ops = {
    .connect = on_connect,
    .send = on_send,
    .queued = on_queued,
    .close = on_close,
    .forget = on_forget,
    .post = on_post,
    .post_cancel = on_post_cancel,
    .end = on_end,
};

enum error_code carrier_process_new(const struct carrier_process_config *config,
                                    struct carrier **ret_carrier, struct error *err)
{
    struct carrier_process *cp = MEM_NEW(struct carrier_process);
    if (!cp)
        return error_set(err, ERR_NO_MEMORY, NULL);
    cp->base.ops = &ops;
    cp->config = *config;
    if (config->user)
        cp->user = *config->user;
    if (cp->config.patience_ms == 0)
        cp->config.patience_ms = CARRIER_PATIENCE_MS;
    (void)uv_timer_init(config->loop, &cp->timer);
    cp->timer.data = cp;
    enum error_code code = start(cp, err);
    if (code != ERR_OK) {
        cp->ending = true;
        handles_check(cp);
        return code;
    }
    *ret_carrier = &cp->base;
    return ERR_OK;
}

int carrier_process_pid(const struct carrier *c)
{
    const struct carrier_process *cp = process_of(c);
    return cp->up ? cp->process.pid : 0;
}
