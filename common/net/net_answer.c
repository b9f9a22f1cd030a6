#include "common/net/net_internal.h"

#include "common/base/cleanup.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const struct {
    int status;
    const char *phrase;
} phrases[] = {
    {200, "OK"},
    {201, "Created"},
    {202, "Accepted"},
    {204, "No Content"},
    {206, "Partial Content"},
    {301, "Moved Permanently"},
    {302, "Found"},
    {303, "See Other"},
    {304, "Not Modified"},
    {307, "Temporary Redirect"},
    {308, "Permanent Redirect"},
    {400, "Bad Request"},
    {401, "Unauthorized"},
    {403, "Forbidden"},
    {404, "Not Found"},
    {405, "Method Not Allowed"},
    {406, "Not Acceptable"},
    {409, "Conflict"},
    {410, "Gone"},
    {411, "Length Required"},
    {412, "Precondition Failed"},
    {413, "Content Too Large"},
    {414, "URI Too Long"},
    {415, "Unsupported Media Type"},
    {416, "Range Not Satisfiable"},
    {422, "Unprocessable Content"},
    {429, "Too Many Requests"},
    {431, "Request Header Fields Too Large"},
    {500, "Internal Server Error"},
    {501, "Not Implemented"},
    {503, "Service Unavailable"},
    {504, "Gateway Timeout"},
    {507, "Insufficient Storage"},
};

const char *net_status_phrase(int status)
{
    for (size_t i = 0; i < ARRAY_LEN(phrases); i++) {
        if (phrases[i].status == status)
            return phrases[i].phrase;
    }
    return "Status";
}

static void request_drop(struct net_request *req)
{
    req->dropping = true;
    net_queue_done(&req->queue);
    net_kill(req->net, req->wsi);
}

void net_request_writable(struct net_request *req)
{
    lws_rx_flow_control(req->wsi, 1); /* lws does not write on a connection that it may not read */
    if (lws_send_pipe_choked(req->wsi))
        net_watch_start(req);
    lws_callback_on_writable(req->wsi);
}

static void head_begin(struct buf *head, int status, const char *content_type, const char *headers)
{
    buf_printf(head, "HTTP/1.1 %d %s\r\n", status, net_status_phrase(status));
    if (content_type != NULL)
        buf_printf(head, "Content-Type: %s\r\n", content_type);
    if (headers != NULL)
        buf_puts(head, headers);
}

/* Queues the head and the body behind it as one run of bytes. */
static bool answer_push(struct net_request *req, const struct buf *head, const char *body,
                        size_t len)
{
    if (buf_check(head, NULL) != ERR_OK || len > SIZE_MAX - head->len)
        return false;
    struct net_segment *segment = net_segment_new(head->len + len);
    if (segment == NULL)
        return false;
    unsigned char *to = net_segment_data(segment);
    memcpy(to, head->data, head->len);
    if (len > 0)
        memcpy(to + head->len, body, len);
    net_queue_push(&req->queue, segment);
    return true;
}

void net_respond(struct net_request *req, int status, const char *content_type, const char *headers,
                 const char *body, size_t len)
{
    assert(!req->answered);
    req->answered = true;
    if (req->dropping)
        return;
    bool bodiless = status == 204 || status == 304;
    req->keep_alive = req->keep_alive && req->body_complete;
    AUTO_BUF struct buf head = BUF_INIT;
    head_begin(&head, status, content_type, headers);
    if (!bodiless)
        buf_printf(&head, "Content-Length: %zu\r\n", len);
    buf_printf(&head, "Connection: %s\r\n\r\n", req->keep_alive ? "keep-alive" : "close");
    if (!answer_push(req, &head, body, bodiless || req->method == NET_HEAD ? 0 : len)) {
        request_drop(req);
        return;
    }
    req->ended = true;
    net_request_writable(req);
}

/* `framing` tells where the answer ends. */
static void stream_begin(struct net_request *req, const struct net_stream_head *how,
                         const char *framing, void (*writable)(void *ctx, struct net_request *req))
{
    assert(!req->answered);
    req->answered = true;
    req->streaming = true;
    req->writable = writable;
    if (req->dropping)
        return;
    req->keep_alive = req->keep_alive && req->body_complete && req->http_1_1;
    AUTO_BUF struct buf head = BUF_INIT;
    head_begin(&head, how->status, how->content_type, "Cache-Control: no-store\r\n");
    if (how->headers != NULL)
        buf_puts(&head, how->headers);
    buf_puts(&head, framing);
    buf_printf(&head, "Connection: %s\r\n\r\n", req->keep_alive ? "keep-alive" : "close");
    if (!answer_push(req, &head, NULL, 0)) {
        request_drop(req);
        return;
    }
    req->want = true;
    lws_http_headers_detach(req->wsi); /* lws has few of them, and a stream may last */
    net_watch_start(req);
    net_request_writable(req);
}

void net_stream_begin(struct net_request *req, int status, const char *content_type,
                      void (*writable)(void *ctx, struct net_request *req))
{
    const struct net_stream_head head = {.status = status, .content_type = content_type};
    req->chunked = req->http_1_1 && req->method != NET_HEAD;
    stream_begin(req, &head, req->http_1_1 ? "Transfer-Encoding: chunked\r\n" : "", writable);
}

void net_stream_begin_sized(struct net_request *req, const struct net_stream_head *head,
                            void (*writable)(void *ctx, struct net_request *req))
{
    char framing[64];
    req->sized = true;
    req->sized_bytes = req->method == NET_HEAD ? 0 : head->length_bytes;
    (void)snprintf(framing, sizeof(framing), "Content-Length: %" PRId64 "\r\n", head->length_bytes);
    stream_begin(req, head, framing, writable);
}

enum error_code net_stream_send(struct net_request *req, const char *data, size_t len,
                                struct error *err)
{
    assert(req->streaming);
    if (req->dropping || req->ended)
        return error_set(err, ERR_UNAVAILABLE, "the answer has ended");
    if (len == 0 || req->method == NET_HEAD)
        return ERR_OK;
    assert(!req->sized || (int64_t)len <= req->sized_bytes);
    char size[24]; /* a chunk is its length in hexadecimal, the bytes, and an empty line */
    int size_len = req->chunked ? snprintf(size, sizeof(size), "%zx\r\n", len) : 0;
    size_t before = size_len > 0 ? (size_t)size_len : 0;
    size_t after = req->chunked ? 2 : 0;
    if (!net_queue_fits(&req->queue, len)) {
        request_drop(req);
        return error_set(err, ERR_LIMIT, "more than %d bytes wait to be sent to %s: it is dropped",
                         NET_CONN_QUEUE_MAX, req->peer);
    }
    struct net_segment *segment = net_segment_new(before + len + after);
    if (segment == NULL)
        return error_set(err, ERR_NO_MEMORY, NULL);
    unsigned char *to = net_segment_data(segment);
    memcpy(to, size, before);
    memcpy(to + before, data, len);
    if (req->chunked) {
        to[before + len] = '\r';
        to[before + len + 1] = '\n';
    }
    req->sized_bytes -= (int64_t)len;
    net_queue_push(&req->queue, segment);
    net_request_writable(req);
    return ERR_OK;
}

size_t net_stream_queued(const struct net_request *req)
{
    return req->queue.bytes;
}

void net_stream_want(struct net_request *req)
{
    assert(req->streaming);
    if (req->dropping || req->ended)
        return;
    req->want = true;
    net_request_writable(req);
}

void net_stream_end(struct net_request *req)
{
    assert(req->streaming);
    if (req->dropping || req->ended)
        return;
    if (req->sized && req->sized_bytes > 0) { /* the peer would wait for the rest */
        request_drop(req);
        return;
    }
    req->ended = true;
    if (req->chunked) {
        static const char last[] = "0\r\n\r\n";
        struct net_segment *segment = net_segment_new(sizeof(last) - 1);
        if (segment == NULL) {
            request_drop(req);
            return;
        }
        memcpy(net_segment_data(segment), last, sizeof(last) - 1);
        net_queue_push(&req->queue, segment);
    }
    net_request_writable(req);
}

void net_stream_break(struct net_request *req)
{
    assert(req->streaming);
    if (!req->dropping && !req->ended)
        request_drop(req);
}
