#include "agent/network.h"

#include "agent/carrier_net.h"
#include "agent/channel_pipe.h"
#include "agent/sandbox.h"
#include "common/base/alloc.h"
#include "common/base/cleanup.h"
#include "common/base/log.h"
#include "common/wire/wire.h"

#include <assert.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#define uthash_malloc(size_bytes) mem_alloc(size_bytes)
#define uthash_free(ptr, size_bytes) mem_free(ptr)
#define HASH_NONFATAL_OOM 1
#include <uthash.h>

enum { CLOSE_PROTOCOL = 1002, ARGUMENTS = 7, DECIMAL = 10 };

/* A connection, a request, or a download. */
struct reached {
    struct network *network;
    uint32_t id;
    struct carrier_conn *conn; /* one of these three */
    struct carrier_post *post;
    struct carrier_fetch *fetch;
    size_t unsent; /* bytes of which it was not yet told that they are sent */
    UT_hash_handle hh;
};

struct network {
    uv_loop_t loop;
    struct channel_pipe pipe;
    struct carrier *carrier;
    struct reached *all;
};

/* The agent starts another one. */
static _Noreturn void network_end(const char *reason)
{
    log_error("the network process ends", LOG_STR("reason", reason), LOG_END);
    _exit(EXIT_FAILURE);
}

static void tell(struct network *n, const struct channel_frame *frame)
{
    struct error err = {0};
    if (channel_pipe_send(&n->pipe, frame, &err) != ERR_OK)
        network_end(err.message);
}

/* ---- What is under way ------------------------------------------------------------------------
 */

/* NOLINTNEXTLINE(readability-function-size): uthash's macro */
static struct reached *reached_new(struct network *n, uint32_t id)
{
    struct reached *x = MEM_NEW(struct reached);
    if (!x)
        network_end("out of memory");
    x->network = n;
    x->id = id;
    HASH_ADD(hh, n->all, id, sizeof(x->id), x);
    if (!x->hh.tbl)
        network_end("out of memory");
    return x;
}

/* NOLINTNEXTLINE(readability-function-size): uthash's macro */
static struct reached *reached_find(const struct network *n, uint32_t id)
{
    struct reached *x = NULL;
    HASH_FIND(hh, n->all, &id, sizeof(id), x);
    return x;
}

/* NOLINTNEXTLINE(readability-function-size): uthash's macro */
static void reached_free(struct reached *x)
{
    HASH_DELETE(hh, x->network->all, x);
    mem_free(x);
}

static void tell_text(const struct reached *x, enum channel_type type, uint32_t number,
                      struct channel_text text)
{
    struct channel_frame frame = {.type = type, .id = x->id, .numbers = {number}};
    frame.texts[0] = text;
    tell(x->network, &frame);
}

static struct channel_text reason_text(const char *reason)
{
    return channel_text(reason, strnlen(reason, ERROR_MESSAGE_MAX));
}

/* ---- From the orchestrator --------------------------------------------------------------------
 */

static void on_opened(void *ctx, struct carrier_conn *conn)
{
    const struct reached *x = ctx;
    (void)conn;
    const struct channel_frame frame = {.type = CHANNEL_OPENED, .id = x->id};
    tell(x->network, &frame);
}

/* What is no message of the protocol is not handed on. */
static void on_message(void *ctx, struct carrier_conn *conn, const char *data, size_t len)
{
    const struct reached *x = ctx;
    struct wire_frame message = {0};
    struct error err = {0};
    if (wire_decode(data, len, &message, &err) != ERR_OK) {
        carrier_close(conn, CLOSE_PROTOCOL, err.message);
        return;
    }
    wire_frame_done(&message);
    tell_text(x, CHANNEL_MESSAGE, 0, channel_text(data, len));
}

static void on_drained(void *ctx, struct carrier_conn *conn)
{
    struct reached *x = ctx;
    (void)conn;
    const struct channel_frame frame = {
        .type = CHANNEL_SENT, .id = x->id, .numbers = {(uint32_t)x->unsent}};
    x->unsent = 0;
    tell(x->network, &frame);
}

static void on_closed(void *ctx, struct carrier_conn *conn, enum net_end end, const char *reason)
{
    struct reached *x = ctx;
    (void)conn;
    tell_text(x, CHANNEL_CLOSED, end, reason_text(reason));
    reached_free(x);
}

static void on_answer(void *ctx, int status, const char *body, size_t len, const char *failure)
{
    struct reached *x = ctx;
    bool clean = status != 0 && strlen(body) == len; /* a NUL is in no JSON */
    if (clean)
        tell_text(x, CHANNEL_ANSWERED, (uint32_t)status, channel_text(body, len));
    else
        tell_text(x, CHANNEL_FAILED, 0,
                  reason_text(status == 0 ? failure : "the answer is no text"));
    reached_free(x);
}

static void on_began(void *ctx, struct carrier_fetch *fetch, int64_t offset, int64_t total_bytes)
{
    const struct reached *x = ctx;
    struct channel_frame frame = {.type = CHANNEL_BEGAN, .id = x->id};
    (void)fetch;
    channel_put64(&frame, 0, offset);
    channel_put64(&frame, 2, total_bytes);
    tell(x->network, &frame);
}

static void on_data(void *ctx, struct carrier_fetch *fetch, const char *data, size_t len)
{
    const struct reached *x = ctx;
    (void)fetch;
    for (size_t at = 0; at < len; at += CHANNEL_DATA_MAX) {
        size_t part = len - at < CHANNEL_DATA_MAX ? len - at : CHANNEL_DATA_MAX;
        tell_text(x, CHANNEL_DATA, 0, channel_text(data + at, part));
    }
}

static void on_fetched(void *ctx, int status, const char *failure)
{
    struct reached *x = ctx;
    tell_text(x, CHANNEL_FETCHED, (uint32_t)status,
              failure ? reason_text(failure) : channel_text(NULL, 0));
    reached_free(x);
}

/* ---- From the agent ---------------------------------------------------------------------------
 */

static struct carrier_peer peer_of(const struct channel_frame *frame)
{
    return (struct carrier_peer){
        .url = frame->texts[CHANNEL_URL].data,
        .ca = frame->texts[CHANNEL_CA].data,
        .ca_fingerprint = frame->texts[CHANNEL_FINGERPRINT].data,
        .pair = frame->texts[CHANNEL_PAIR].data,
    };
}

static void take_connect(struct network *n, const struct channel_frame *frame)
{
    struct reached *x = reached_new(n, frame->id);
    struct error err = {0};
    const struct carrier_conn_config config = {
        .peer = peer_of(frame),
        .path = frame->texts[CHANNEL_PATH].data,
        .protocol = frame->texts[CHANNEL_LAST].data,
        .max_message = frame->numbers[0],
        .timeout_ms = frame->numbers[1],
        .events = {.opened = on_opened,
                   .message = on_message,
                   .drained = on_drained,
                   .closed = on_closed},
        .ctx = x,
    };
    if (carrier_connect(n->carrier, &config, &x->conn, &err) == ERR_OK)
        return;
    tell_text(x, CHANNEL_CLOSED, NET_END_LOST, reason_text(err.message));
    reached_free(x);
}

static void take_post(struct network *n, const struct channel_frame *frame)
{
    struct reached *x = reached_new(n, frame->id);
    struct error err = {0};
    const struct carrier_post_config config = {
        .peer = peer_of(frame),
        .path = frame->texts[CHANNEL_PATH].data,
        .body = frame->texts[CHANNEL_LAST].data,
        .len = frame->texts[CHANNEL_LAST].len,
        .timeout_ms = frame->numbers[0],
        .done = on_answer,
        .ctx = x,
    };
    if (carrier_post(n->carrier, &config, &x->post, &err) == ERR_OK)
        return;
    tell_text(x, CHANNEL_FAILED, 0, reason_text(err.message));
    reached_free(x);
}

static void take_fetch(struct network *n, const struct channel_frame *frame)
{
    struct reached *x = reached_new(n, frame->id);
    struct error err = {0};
    struct carrier_fetch_config config = {
        .peer = peer_of(frame),
        .path = frame->texts[CHANNEL_PATH].data,
        .silence_ms = frame->numbers[0],
        .began = on_began,
        .data = on_data,
        .done = on_fetched,
        .ctx = x,
    };
    enum error_code code = channel_get64(frame, 1, &config.offset)
                               ? carrier_fetch(n->carrier, &config, &x->fetch, &err)
                               : error_set(&err, ERR_INVALID, "the offset");
    if (code == ERR_OK)
        return;
    tell_text(x, CHANNEL_FETCHED, 0, reason_text(err.message));
    reached_free(x);
}

static void take_cancel(struct reached *x)
{
    if (x->post)
        carrier_post_cancel(x->post);
    else if (x->fetch)
        carrier_fetch_cancel(x->fetch);
    else
        return;
    reached_free(x);
}

/* That it fails is told by its end. */
static void take_send(struct reached *x, const struct channel_text *message)
{
    struct error err = {0};
    x->unsent += message->len;
    if (carrier_send(x->conn, message->data, message->len, &err) != ERR_OK)
        log_debug("not sent", LOG_STR("reason", err.message), LOG_END);
}

/* Frames about what has ended meanwhile are passed over. */
static void on_frame(void *ctx, const struct channel_frame *frame)
{
    struct network *n = ctx;
    struct reached *x = reached_find(n, frame->id);
    switch (frame->type) {
    case CHANNEL_CONNECT:
        take_connect(n, frame);
        return;
    case CHANNEL_POST:
        take_post(n, frame);
        return;
    case CHANNEL_SEND:
        if (x && x->conn)
            take_send(x, &frame->texts[0]);
        return;
    case CHANNEL_CLOSE:
        if (x && x->conn)
            carrier_close(x->conn, (uint16_t)frame->numbers[0], frame->texts[0].data);
        return;
    case CHANNEL_CANCEL:
        if (x)
            take_cancel(x);
        return;
    case CHANNEL_FETCH:
        take_fetch(n, frame);
        return;
    case CHANNEL_MORE:
        if (x && x->fetch)
            carrier_fetch_more(x->fetch, frame->numbers[0]);
        return;
    case CHANNEL_READY: /* the decoder lets none of these through */
    case CHANNEL_OPENED:
    case CHANNEL_MESSAGE:
    case CHANNEL_SENT:
    case CHANNEL_CLOSED:
    case CHANNEL_ANSWERED:
    case CHANNEL_FAILED:
    case CHANNEL_BEGAN:
    case CHANNEL_DATA:
    case CHANNEL_FETCHED:
    case CHANNEL_TYPE_COUNT:
        return;
    }
}

/* The agent has ended, or wants this to. */
static void on_ended(void *ctx, const char *reason)
{
    (void)ctx;
    (void)reason;
    _exit(EXIT_SUCCESS);
}

/* ---- Life -------------------------------------------------------------------------------------
 */

static uint32_t number(const char *text)
{
    return (uint32_t)strtoul(text, NULL, DECIMAL);
}

static enum error_code rights_drop(char **argv, struct error *err)
{
    const struct sandbox_user user = {number(argv[2]), number(argv[3])};
    bool other = strcmp(argv[2], "-") != 0;
    if (other && user.uid == 0)
        return error_set(err, ERR_INVALID, "it is to have no privileges");
    return sandbox_enter(other ? &user : NULL, number(argv[4]), err);
}

static enum error_code parts_open(struct network *n, struct error *err)
{
    struct net *net = NULL;
    if (uv_loop_init(&n->loop) != 0)
        return error_set(err, ERR_UNAVAILABLE, "the event loop cannot be set up");
    n->pipe.ctx = n;
    n->pipe.frame = on_frame;
    n->pipe.ended = on_ended;
    channel_pipe_init(&n->pipe, &n->loop);
    int failed = uv_pipe_open(&n->pipe.handle, STDIN_FILENO);
    if (failed != 0)
        return error_errno(err, -failed, "the channel");
    enum error_code code = net_new(&n->loop, 0, &net, err);
    if (code == ERR_OK)
        code = carrier_net_new(net, &n->carrier, err);
    return code;
}

void network_main(int argc, char **argv)
{
    static const int ignored[] = {SIGPIPE, SIGINT, SIGTERM, SIGHUP, SIGQUIT};
    static struct network network;
    struct error err = {0};
    (void)prctl(PR_SET_NAME, "kitsune-network", 0, 0, 0);
    if (argc != ARGUMENTS)
        network_end("it is not for people to start");
    /* Its end is the agent's to say, who may have steps to end first. */
    for (size_t i = 0; i < ARRAY_LEN(ignored); i++)
        (void)signal(ignored[i], SIG_IGN);
    log_setup((enum log_format)number(argv[5]), (enum log_level)number(argv[6]));
    enum error_code code = rights_drop(argv, &err);
    if (code == ERR_OK)
        code = parts_open(&network, &err);
    if (code == ERR_OK)
        code = sandbox_close(&err);
    /* Nothing has been read from anybody before this. */
    if (code == ERR_OK)
        code = channel_pipe_start(&network.pipe, &err);
    if (code != ERR_OK)
        network_end(err.message);
    const struct channel_frame ready = {.type = CHANNEL_READY};
    tell(&network, &ready);
    (void)uv_run(&network.loop, UV_RUN_DEFAULT);
    network_end("nothing is left to do");
}
