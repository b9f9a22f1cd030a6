#include "unit/agent/support_content.h"

#include "common/base/alloc.h"
#include "handlers/fileio.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { HEAD_MAX = 4096 };

struct content_peer {
    struct content_server *server;
    struct content_peer *next;
    uv_tcp_t tcp;
    char head[HEAD_MAX], answer[512];
    size_t len;
    char *body; /* its own; NULL: the content's */
    uv_write_t write;
};

static void peer_closed(uv_handle_t *handle)
{
    struct content_peer *peer = handle->data;
    struct content_peer **at = &peer->server->peers;
    while (*at != peer)
        at = &(*at)->next;
    *at = peer->next;
    mem_free(peer->body);
    mem_free(peer);
}

static void peer_close(struct content_peer *peer)
{
    if (!uv_is_closing((uv_handle_t *)&peer->tcp))
        uv_close((uv_handle_t *)&peer->tcp, peer_closed);
}

static void on_written(uv_write_t *write, int status)
{
    (void)status;
    peer_close(write->handle->data);
}

/* ---- Answers ------------------------------------------------------------------------------ */

static const struct content *find(const struct content_server *s, const char *path)
{
    for (size_t i = 0; i < s->count; i++) {
        if (strstr(path, s->contents[i].digest))
            return &s->contents[i];
    }
    return NULL;
}

static void reply(struct content_peer *peer, const char *body, size_t len)
{
    const uv_buf_t parts[] = {uv_buf_init(peer->answer, (unsigned)strlen(peer->answer)),
                              uv_buf_init((char *)(uintptr_t)body, (unsigned)len)};
    assert_int_equal(uv_write(&peer->write, (uv_stream_t *)&peer->tcp, parts, 2, on_written), 0);
}

static void refuse(struct content_peer *peer, int status)
{
    (void)snprintf(peer->answer, sizeof(peer->answer),
                   "HTTP/1.1 %d No\r\nContent-Length: 2\r\nConnection: close\r\n\r\n", status);
    reply(peer, "{}", 2);
}

static void give(struct content_peer *peer, const struct content *content, int64_t offset)
{
    struct content_server *s = peer->server;
    const char *body = content->data + offset;
    size_t len = content->len - (size_t)offset;
    int at = snprintf(peer->answer, sizeof(peer->answer),
                      "HTTP/1.1 %s\r\nContent-Length: %zu\r\nConnection: close\r\n",
                      offset > 0 ? "206 Partial Content" : "200 OK", len);
    if (offset > 0)
        at += snprintf(peer->answer + at, sizeof(peer->answer) - (size_t)at,
                       "Content-Range: bytes %" PRId64 "-%zu/%zu\r\n", offset, content->len - 1,
                       content->len);
    (void)snprintf(peer->answer + at, sizeof(peer->answer) - (size_t)at, "\r\n");
    if (s->other_bytes) {
        peer->body = mem_alloc(len);
        assert_non_null(peer->body);
        memset(peer->body, 'w', len);
        body = peer->body;
    }
    if (s->cut_bytes > 0 && s->cut_bytes < len) {
        len = s->cut_bytes;
        if (s->cuts > 0 && --s->cuts == 0)
            s->cut_bytes = 0;
    }
    reply(peer, body, len);
}

static void answer(struct content_peer *peer)
{
    struct content_server *s = peer->server;
    const char *range = strcasestr(peer->head, "\r\nrange: bytes=");
    int64_t offset = range ? strtoll(range + strlen("\r\nrange: bytes="), NULL, 10) : 0;
    if (sscanf(peer->head, "GET %255s", s->path) != 1) {
        refuse(peer, 405);
        return;
    }
    assert_true(s->requests < CONTENT_SEEN_MAX);
    s->offsets[s->requests++] = offset;
    const struct content *content = find(s, s->path);
    if (s->silent)
        return;
    int status = s->status;
    if (s->statuses > 0 && --s->statuses == 0)
        s->status = 0;
    if (status == 0 && !content)
        status = 404;
    if (s->no_ranges)
        offset = 0;
    if (status == 0 && offset > 0 && (size_t)offset >= content->len)
        status = 416;
    if (status != 0)
        refuse(peer, status);
    else
        give(peer, content, offset);
}

/* ---- Connections -------------------------------------------------------------------------- */

static void on_alloc(uv_handle_t *handle, size_t size, uv_buf_t *ret)
{
    struct content_peer *peer = handle->data;
    (void)size;
    *ret = uv_buf_init(peer->head + peer->len, (unsigned)(HEAD_MAX - 1 - peer->len));
}

static void on_read(uv_stream_t *stream, ssize_t len, const uv_buf_t *data)
{
    struct content_peer *peer = stream->data;
    (void)data;
    if (len < 0) {
        peer_close(peer);
        return;
    }
    peer->len += (size_t)len;
    peer->head[peer->len] = '\0';
    if (!strstr(peer->head, "\r\n\r\n"))
        return;
    peer->len = 0;
    answer(peer);
}

static void on_connection(uv_stream_t *stream, int status)
{
    struct content_server *s = stream->data;
    struct content_peer *peer = MEM_NEW(struct content_peer);
    assert_int_equal(status, 0);
    assert_non_null(peer);
    peer->server = s;
    peer->next = s->peers;
    s->peers = peer;
    assert_int_equal(uv_tcp_init(s->loop, &peer->tcp), 0);
    peer->tcp.data = peer;
    assert_int_equal(uv_accept(stream, (uv_stream_t *)&peer->tcp), 0);
    assert_int_equal(uv_read_start((uv_stream_t *)&peer->tcp, on_alloc, on_read), 0);
}

/* ---- Life --------------------------------------------------------------------------------- */

void content_start(struct content_server *s, uv_loop_t *loop)
{
    struct sockaddr_in address;
    int len = sizeof(address);
    *s = (struct content_server){.loop = loop};
    assert_int_equal(uv_tcp_init(loop, &s->listening), 0);
    s->listening.data = s;
    assert_int_equal(uv_ip4_addr("127.0.0.1", 0, &address), 0);
    assert_int_equal(uv_tcp_bind(&s->listening, (const struct sockaddr *)&address, 0), 0);
    assert_int_equal(uv_listen((uv_stream_t *)&s->listening, 8, on_connection), 0);
    assert_int_equal(uv_tcp_getsockname(&s->listening, (struct sockaddr *)&address, &len), 0);
    (void)snprintf(s->url, sizeof(s->url), "http://127.0.0.1:%u", ntohs(address.sin_port));
}

const struct content *content_add(struct content_server *s, size_t len, uint32_t seed)
{
    struct error err = {0};
    assert_true(s->count < CONTENT_MAX);
    struct content *content = &s->contents[s->count++];
    content->data = mem_alloc(len + 1);
    assert_non_null(content->data);
    content->len = len;
    for (uint32_t i = 0; i < len; i++)
        content->data[i] = (char)(((i + seed) * 2654435761U) >> 23);
    assert_int_equal(data_digest(content->data, len, content->digest, &err), ERR_OK);
    return content;
}

size_t content_unsent(const struct content_server *s)
{
    size_t bytes = 0;
    for (const struct content_peer *peer = s->peers; peer; peer = peer->next)
        bytes += uv_stream_get_write_queue_size((const uv_stream_t *)&peer->tcp);
    return bytes;
}

void content_stop(struct content_server *s)
{
    for (struct content_peer *peer = s->peers; peer; peer = peer->next)
        peer_close(peer);
    uv_close((uv_handle_t *)&s->listening, NULL);
}

void content_free(struct content_server *s)
{
    assert_null(s->peers);
    for (size_t i = 0; i < s->count; i++)
        mem_free(s->contents[i].data);
}
