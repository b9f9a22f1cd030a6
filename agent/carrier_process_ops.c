#include "agent/carrier_process_internal.h"

#include "common/base/cleanup.h"
#include "common/base/failpoint.h"

#include <assert.h>
#include <signal.h>
#include <string.h>

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
    x->conn.carrier = x->post.carrier = x->fetch.carrier = &cp->base;
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

void carried_end(struct carrier_process *cp, struct carried *x, enum net_end end,
                 const char *reason)
{
    carried_remove(cp, x);
    switch (x->kind) {
    case CARRIED_CONN:
        x->events.closed(x->ctx, &x->conn, end, reason);
        break;
    case CARRIED_POST:
        x->done(x->ctx, 0, NULL, 0, reason);
        break;
    case CARRIED_FETCH:
        x->fetched(x->ctx, 0, reason);
        break;
    }
    mem_free(x);
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
        carrier_process_expect(cp, x, 0);
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

static void fetch_expect(struct carrier_process *cp, struct carried *x)
{
    carrier_process_expect(cp, x,
                           x->credit > 0 ? (int64_t)x->silence_ms + cp->config.patience_ms : 0);
}

static bool fetch_began(struct carrier_process *cp, struct carried *x,
                        const struct channel_frame *frame)
{
    int64_t offset = 0, total = 0;
    if (x->open || !channel_get64(frame, 0, &offset) || !channel_get64(frame, 2, &total) ||
        (offset != 0 && offset != x->offset) || total < offset)
        return false;
    x->open = true;
    x->offset = offset;
    x->total_bytes = total;
    fetch_expect(cp, x);
    x->began(x->ctx, &x->fetch, offset, total);
    return true;
}

static bool fetch_data(struct carrier_process *cp, struct carried *x,
                       const struct channel_text *data)
{
    if (!x->open || !data->data || data->len == 0 || data->len > x->credit ||
        (int64_t)data->len > x->total_bytes - x->offset)
        return false;
    x->credit -= data->len;
    x->offset += (int64_t)data->len;
    fetch_expect(cp, x);
    x->data(x->ctx, &x->fetch, data->data, data->len);
    return true;
}

static bool fetch_frame(struct carrier_process *cp, struct carried *x,
                        const struct channel_frame *frame)
{
    uint32_t status = frame->numbers[0];
    if (frame->type == CHANNEL_BEGAN)
        return fetch_began(cp, x, frame);
    if (frame->type == CHANNEL_DATA)
        return fetch_data(cp, x, &frame->texts[0]);
    bool whole = x->open && x->offset == x->total_bytes;
    if (frame->type != CHANNEL_FETCHED || (status != 0 && (status < 100 || status > 599)) ||
        (!frame->texts[0].data && !whole))
        return false;
    carried_remove(cp, x);
    x->fetched(x->ctx, (int)status, frame->texts[0].data);
    mem_free(x);
    return true;
}

bool carried_frame(struct carrier_process *cp, const struct channel_frame *frame)
{
    struct carried *x = carried_find(cp, frame->id);
    if (!x)
        return true; /* forgotten, as it crossed what told so */
    switch (x->kind) {
    case CARRIED_CONN:
        return conn_frame(cp, x, frame);
    case CARRIED_POST:
        return post_frame(cp, x, frame);
    case CARRIED_FETCH:
        return fetch_frame(cp, x, frame);
    }
    return false;
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
        carrier_process_expect(cp, x, (int64_t)timeout_ms + cp->config.patience_ms);
    return code;
}

static enum error_code on_connect(struct carrier *c, const struct carrier_conn_config *config,
                                  struct carrier_conn **ret_conn, struct error *err)
{
    struct carrier_process *cp = carrier_process_of(c);
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
    struct carrier_process *cp = carrier_process_of(conn->carrier);
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
    error_ignore(tell(carrier_process_of(x->conn.carrier), &frame, NULL));
}

static void on_close(struct carrier_conn *conn, uint16_t code, const char *reason)
{
    struct carried *x = (struct carried *)conn;
    struct carrier_process *cp = carrier_process_of(conn->carrier);
    if (x->closing)
        return;
    x->closing = true;
    tell_close(x, code, reason);
    carrier_process_expect(cp, x, cp->config.patience_ms);
}

static void on_forget(struct carrier_conn *conn, uint16_t code, const char *reason)
{
    struct carried *x = (struct carried *)conn;
    if (!x->closing)
        tell_close(x, code, reason);
    carried_remove(carrier_process_of(conn->carrier), x);
    mem_free(x);
}

/* ---- Requests ---------------------------------------------------------------------------------
 */

/* Of one that is begun and not over. */
static void cancel(struct carrier_process *cp, struct carried *x)
{
    const struct channel_frame frame = {.type = CHANNEL_CANCEL, .id = x->id};
    error_ignore(tell(cp, &frame, NULL));
    carried_remove(cp, x);
    mem_free(x);
}

static enum error_code on_post(struct carrier *c, const struct carrier_post_config *config,
                               struct carrier_post **ret_post, struct error *err)
{
    struct carrier_process *cp = carrier_process_of(c);
    AUTO_FREE struct carried *x = MEM_NEW(struct carried);
    if (!x)
        return error_set(err, ERR_NO_MEMORY, NULL);
    if (config->len > CARRIER_POST_MAX)
        return error_set(err, ERR_LIMIT, "a request of more than %d bytes", CARRIER_POST_MAX);
    x->kind = CARRIED_POST;
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
    cancel(carrier_process_of(post->carrier), carried_of_post(post));
}

/* ---- Downloads --------------------------------------------------------------------------------
 */

static struct carried *carried_of_fetch(struct carrier_fetch *fetch)
{
    return (struct carried *)(void *)((char *)fetch - offsetof(struct carried, fetch));
}

static enum error_code on_fetch(struct carrier *c, const struct carrier_fetch_config *config,
                                struct carrier_fetch **ret_fetch, struct error *err)
{
    struct carrier_process *cp = carrier_process_of(c);
    AUTO_FREE struct carried *x = MEM_NEW(struct carried);
    if (!x)
        return error_set(err, ERR_NO_MEMORY, NULL);
    x->kind = CARRIED_FETCH;
    x->began = config->began;
    x->data = config->data;
    x->fetched = config->done;
    x->ctx = config->ctx;
    x->offset = config->offset;
    x->credit = CARRIER_FETCH_WINDOW;
    x->silence_ms = config->silence_ms;
    struct channel_frame frame = peer_frame(CHANNEL_FETCH, 0, &config->peer, config->path);
    frame.numbers[0] = config->silence_ms;
    channel_put64(&frame, 1, config->offset);
    enum error_code code = begin(cp, x, &frame, config->silence_ms, err);
    if (code == ERR_OK)
        *ret_fetch = &TAKE(x)->fetch;
    return code;
}

static void on_fetch_more(struct carrier_fetch *fetch, size_t bytes)
{
    struct carried *x = carried_of_fetch(fetch);
    struct carrier_process *cp = carrier_process_of(fetch->carrier);
    const struct channel_frame frame = {
        .type = CHANNEL_MORE, .id = x->id, .numbers = {(uint32_t)bytes}};
    bool waited = x->credit == 0;
    assert(bytes <= CARRIER_FETCH_WINDOW - x->credit);
    x->credit += bytes;
    if (waited)
        fetch_expect(cp, x);
    error_ignore(tell(cp, &frame, NULL));
}

static void on_fetch_cancel(struct carrier_fetch *fetch)
{
    cancel(carrier_process_of(fetch->carrier), carried_of_fetch(fetch));
}

const struct carrier_ops carrier_process_ops = {
    .connect = on_connect,
    .send = on_send,
    .queued = on_queued,
    .close = on_close,
    .forget = on_forget,
    .post = on_post,
    .post_cancel = on_post_cancel,
    .fetch = on_fetch,
    .fetch_more = on_fetch_more,
    .fetch_cancel = on_fetch_cancel,
    .end = carrier_process_end,
};
