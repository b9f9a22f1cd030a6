#include "agent/channel_pipe.h"

#include "common/base/alloc.h"
#include "common/base/cleanup.h"

#include <string.h>

enum { READ_BYTES = 64 * 1024, RX_MAX = CHANNEL_FRAME_MAX + CHANNEL_HEADER + 2 * READ_BYTES };

struct write {
    uv_write_t req;
    struct buf data;
};

/* Keys and tickets are in these; and only these are small enough to be wiped each time. */
static bool is_secret(enum channel_type type)
{
    return type == CHANNEL_CONNECT || type == CHANNEL_POST || type == CHANNEL_FETCH;
}

static void write_free(struct write *w)
{
    if (w->data.data && w->data.len > CHANNEL_HEADER &&
        is_secret((enum channel_type)w->data.data[CHANNEL_HEADER]))
        explicit_bzero(w->data.data, w->data.len);
    buf_done(&w->data);
    mem_free(w);
}

/* ---- Writing ----------------------------------------------------------------------------------
 */

static void on_written(uv_write_t *req, int status)
{
    (void)status; /* that nobody reads is noticed by reading */
    write_free((struct write *)req);
}

enum error_code channel_pipe_send(struct channel_pipe *p, const struct channel_frame *frame,
                                  struct error *err)
{
    if (p->closing)
        return error_set(err, ERR_UNAVAILABLE, "the channel is closed");
    if (uv_stream_get_write_queue_size((uv_stream_t *)&p->handle) > CHANNEL_QUEUE_MAX)
        return error_set(err, ERR_LIMIT, "more than %d bytes wait in the channel",
                         CHANNEL_QUEUE_MAX);
    struct write *w = MEM_NEW(struct write);
    if (!w)
        return error_set(err, ERR_NO_MEMORY, NULL);
    channel_encode(&w->data, frame);
    enum error_code code = buf_check(&w->data, err);
    if (code == ERR_OK) {
        const uv_buf_t data = uv_buf_init(w->data.data, (unsigned)w->data.len);
        int failed = uv_write(&w->req, (uv_stream_t *)&p->handle, &data, 1, on_written);
        if (failed != 0)
            code = error_errno(err, -failed, "the channel");
    }
    if (code != ERR_OK)
        write_free(w);
    return code;
}

/* ---- Reading ----------------------------------------------------------------------------------
 */

static void end(struct channel_pipe *p, const char *reason)
{
    (void)uv_read_stop((uv_stream_t *)&p->handle);
    p->ended(p->ctx, reason);
}

static void on_alloc(uv_handle_t *handle, size_t size, uv_buf_t *ret)
{
    struct channel_pipe *p = handle->data;
    (void)size;
    bool room = buf_reserve(&p->rx, READ_BYTES, NULL) == ERR_OK;
    /* Without memory libuv reports UV_ENOBUFS. */
    *ret = room ? uv_buf_init(p->rx.data + p->rx.len, READ_BYTES) : uv_buf_init(NULL, 0);
}

/* Takes what is whole. */
static void take(struct channel_pipe *p)
{
    size_t at = 0;
    size_t used = 1;
    struct error err = {0};
    while (used > 0 && !p->closing) {
        struct channel_frame frame;
        enum error_code code =
            channel_decode(p->rx.data + at, p->rx.len - at, p->inside, &frame, &used, &err);
        if (code != ERR_OK) {
            end(p, err.message);
            return;
        }
        if (used == 0)
            break;
        p->frame(p->ctx, &frame);
        if (is_secret(frame.type))
            explicit_bzero(p->rx.data + at, used);
        at += used;
    }
    buf_consume(&p->rx, at);
    if (p->rx.len == 0 && p->rx.capacity > CHANNEL_KEEP_MAX)
        buf_done(&p->rx);
}

static void on_read(uv_stream_t *stream, ssize_t len, const uv_buf_t *data)
{
    struct channel_pipe *p = stream->data;
    (void)data;
    if (len < 0) {
        /* One that ended before it had read all leaves a reset. */
        bool gone = len == UV_EOF || len == UV_ECONNRESET;
        end(p, gone ? NULL : uv_strerror((int)len));
        return;
    }
    p->rx.len += (size_t)len;
    take(p);
}

/* ---- Life -------------------------------------------------------------------------------------
 */

void channel_pipe_init(struct channel_pipe *p, uv_loop_t *loop)
{
    (void)uv_pipe_init(loop, &p->handle, 0);
    p->handle.data = p;
    p->closing = false;
    p->rx = (struct buf){.max = RX_MAX};
}

enum error_code channel_pipe_start(struct channel_pipe *p, struct error *err)
{
    int failed = uv_read_start((uv_stream_t *)&p->handle, on_alloc, on_read);
    return failed == 0 ? ERR_OK : error_errno(err, -failed, "the channel");
}

static void on_closed(uv_handle_t *handle)
{
    struct channel_pipe *p = handle->data;
    if (p->rx.data)
        explicit_bzero(p->rx.data, p->rx.capacity);
    buf_done(&p->rx);
    p->closed(p->ctx);
}

void channel_pipe_close(struct channel_pipe *p)
{
    if (p->closing)
        return;
    p->closing = true;
    uv_close((uv_handle_t *)&p->handle, on_closed);
}
