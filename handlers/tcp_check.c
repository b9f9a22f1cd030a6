#include "common/base/alloc.h"
#include "common/base/buf.h"
#include "handlers/builtin.h"
#include "handlers/gate.h"
#include "handlers/resolve.h"

#include <assert.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/*
 * The addresses of a name are tried in their order, each a little after the one before it or as
 * soon as that one has failed, so that one that swallows everything does not use up the probe's
 * time. The first that does what is expected decides.
 */

enum {
    NEXT_ADDRESS_MS = 250,
    RECEIVED_MAX = 64 * 1024,
    CHUNK_BYTES = 16 * 1024,
    OUTCOME_MAX = 256,
    PLACE_MAX = INET6_ADDRSTRLEN + 16
};

struct tcp_check;

struct attempt {
    struct tcp_check *check;
    uv_tcp_t tcp;
    uv_connect_t connect;
    uv_write_t write;
    struct buf received;
    char place[PLACE_MAX]; /* for messages */
    bool open;
};

struct tcp_check {
    struct gate gate; /* first */
    struct resolve *resolve;
    struct resolved addresses;
    size_t next; /* the address to try next */
    struct attempt attempts[RESOLVE_MAX];
    size_t open; /* attempts under way */
    int handles; /* that libuv has yet to close */
    uv_timer_t timer;
    bool ending, success;
    char outcome[OUTCOME_MAX];
    char chunk[CHUNK_BYTES];
};

static struct tcp_check *tcp_of(struct gate *g)
{
    return (struct tcp_check *)(void *)g;
}

static const struct tcp_check_params *params_of(const struct tcp_check *c)
{
    return c->gate.run->params;
}

static const char *host_of(const struct tcp_check *c)
{
    return params_of(c)->host ? params_of(c)->host : "localhost";
}

/* ---- The end of a probe ------------------------------------------------------------------ */

static PRINTF_LIKE(2, 3) void outcome_set(struct tcp_check *c, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(c->outcome, sizeof(c->outcome), fmt, args);
    va_end(args);
}

static void handle_gone(struct tcp_check *c)
{
    if (--c->handles == 0 && c->ending)
        gate_probed(&c->gate, c->success, "%s", c->outcome);
}

static void timer_closed(uv_handle_t *handle)
{
    handle_gone(handle->data);
}

static void attempt_closed(uv_handle_t *handle)
{
    struct attempt *a = handle->data;
    buf_done(&a->received);
    handle_gone(a->check);
}

static void attempt_close(struct attempt *a)
{
    a->open = false;
    a->check->open--;
    uv_close((uv_handle_t *)&a->tcp, attempt_closed);
}

/* With the outcome as it is. */
static void probe_end(struct tcp_check *c, bool success)
{
    if (c->ending)
        return;
    c->ending = true;
    c->success = success;
    for (size_t i = 0; i < c->next; i++) {
        if (c->attempts[i].open)
            attempt_close(&c->attempts[i]);
    }
    uv_close((uv_handle_t *)&c->timer, timer_closed);
}

/* ---- One address ------------------------------------------------------------------------- */

static void address_next(struct tcp_check *c);

static void attempt_failed(struct attempt *a, const char *why)
{
    struct tcp_check *c = a->check;
    outcome_set(c, "%s: %s", a->place, why);
    attempt_close(a);
    if (c->next < c->addresses.count)
        address_next(c);
    else if (c->open == 0)
        probe_end(c, false);
}

static void attempt_succeeded(struct attempt *a, const char *what)
{
    outcome_set(a->check, "%s %s", a->place, what);
    probe_end(a->check, true);
}

static void received_buffer(uv_handle_t *handle, size_t suggested, uv_buf_t *ret)
{
    struct attempt *a = handle->data;
    (void)suggested;
    *ret = uv_buf_init(a->check->chunk, sizeof(a->check->chunk));
}

/* Looks at what came past the first `before` bytes, in which it was not. */
static bool expected_came(const struct attempt *a, size_t before)
{
    const char *expect = params_of(a->check)->expect;
    size_t len = strlen(expect);
    size_t from = before >= len ? before - len + 1 : 0;
    return a->received.len > from &&
           memmem(a->received.data + from, a->received.len - from, expect, len);
}

static void received(uv_stream_t *stream, ssize_t len, const uv_buf_t *buffer)
{
    struct attempt *a = stream->data;
    char why[OUTCOME_MAX];
    if (len == 0 || !a->open)
        return;
    size_t before = a->received.len;
    if (len > 0)
        buf_append(&a->received, buffer->base, (size_t)len);
    if (expected_came(a, before)) {
        attempt_succeeded(a, "sent what was expected");
    } else if (a->received.failed == ERR_LIMIT) {
        attempt_failed(a, "sent 64 KiB without what was expected");
    } else if (a->received.failed != ERR_OK) {
        attempt_failed(a, "out of memory");
    } else if (len < 0) {
        (void)snprintf(why, sizeof(why), "%s after %zu bytes without what was expected",
                       len == UV_EOF ? "ended the connection" : uv_strerror((int)len),
                       a->received.len);
        attempt_failed(a, why);
    }
}

/* A failure shows in what is read, or does not matter. */
static void written(uv_write_t *write, int status)
{
    (void)write;
    (void)status;
}

static void connected(uv_connect_t *connect, int status)
{
    struct attempt *a = connect->data;
    const struct tcp_check_params *params = params_of(a->check);
    if (!a->open)
        return;
    if (status == 0 && params->send) {
        /* libuv takes the text as one that it might change, and does not. */
        union {
            const char *text;
            char *base;
        } send = {.text = params->send};
        uv_buf_t data = uv_buf_init(send.base, (unsigned)strlen(params->send));
        status = uv_write(&a->write, (uv_stream_t *)&a->tcp, &data, 1, written);
    }
    if (status == 0 && params->expect)
        status = uv_read_start((uv_stream_t *)&a->tcp, received_buffer, received);
    if (status != 0)
        attempt_failed(a, uv_strerror(status));
    else if (!params->expect)
        attempt_succeeded(a, "takes connections");
}

static void place_write(const struct sockaddr *address, char ret_place[PLACE_MAX])
{
    char text[INET6_ADDRSTRLEN] = "?";
    bool six = address->sa_family == AF_INET6;
    /* The port is at the same place in both. */
    uint16_t port = ntohs(((const struct sockaddr_in *)(const void *)address)->sin_port);
    (void)uv_ip_name(address, text, sizeof(text));
    (void)snprintf(ret_place, PLACE_MAX, six ? "[%s]:%u" : "%s:%u", text, port);
}

/* ---- All of them ------------------------------------------------------------------------- */

static void timer_fired(uv_timer_t *timer)
{
    struct tcp_check *c = timer->data;
    if (!c->ending && c->next < c->addresses.count)
        address_next(c);
}

static void address_next(struct tcp_check *c)
{
    struct attempt *a = &c->attempts[c->next];
    const void *address = &c->addresses.addresses[c->next++];
    *a = (struct attempt){.check = c, .open = true, .received = {.max = RECEIVED_MAX}};
    place_write(address, a->place);
    int rc = uv_tcp_init(c->gate.run->host->loop, &a->tcp);
    assert(rc == 0);
    c->open++;
    c->handles++;
    a->tcp.data = a->connect.data = a;
    rc = uv_timer_start(&c->timer, timer_fired, NEXT_ADDRESS_MS, 0);
    assert(rc == 0);
    rc = uv_tcp_connect(&a->connect, &a->tcp, address, connected);
    if (rc != 0)
        attempt_failed(a, uv_strerror(rc));
}

static void addresses_found(void *ctx, const struct resolved *resolved)
{
    struct tcp_check *c = ctx;
    c->resolve = NULL;
    c->addresses = *resolved;
    if (resolved->count > 0) {
        address_next(c);
        return;
    }
    outcome_set(c, "no address is known of %s: %s", host_of(c), resolved->failure);
    probe_end(c, false);
}

static void tcp_probe(struct gate *g)
{
    struct tcp_check *c = tcp_of(g);
    const struct tcp_check_params *params = params_of(c);
    struct error err = {0};
    c->addresses.count = c->next = c->open = 0;
    c->ending = c->success = false;
    c->handles = 1;
    int rc = uv_timer_init(g->run->host->loop, &c->timer);
    assert(rc == 0);
    c->timer.data = c;
    const struct resolve_reply reply = {addresses_found, c};
    if (resolve_start(g->run->host->loop, host_of(c), (uint16_t)params->port, reply, &c->resolve,
                      &err) != ERR_OK) {
        outcome_set(c, "%s", err.message);
        probe_end(c, false);
    }
}

static void tcp_stop(struct gate *g)
{
    struct tcp_check *c = tcp_of(g);
    if (c->resolve)
        resolve_abandon(c->resolve);
    c->resolve = NULL;
    probe_end(c, false);
}

static void tcp_free(struct gate *g)
{
    mem_free(tcp_of(g));
}

static void tcp_execute(struct handler_run *run)
{
    static const struct gate_prober prober = {tcp_probe, tcp_stop, tcp_free};
    const struct tcp_check_params *params = run->params;
    struct tcp_check *c = MEM_NEW(struct tcp_check);
    if (c)
        gate_start(&c->gate, &prober, &params->gate, run);
    else
        handler_fail(run, true, "out of memory");
}

static void tcp_check(struct handler_run *run)
{
    gate_check(run, tcp_execute);
}

static void tcp_cancel(struct handler_run *run)
{
    gate_cancel(run->state);
}

const struct handler tcp_check_handler = {
    .type = &tcp_check_type,
    .prepare = handler_nothing,
    .execute = tcp_execute,
    .rollback = handler_nothing,
    .check = tcp_check,
    .cancel = tcp_cancel,
};
