#include "unit/net/support_net.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { WATCHDOG_MS = 20000, CONNECT_MS = 10000 };

/* ---- The server -------------------------------------------------------------------------------
 */

static void on_request(void *ctx, struct net_request *req)
{
    struct fixture *f = ctx;
    f->requests++;
    f->last_request = req;
    if (f->answer != NULL)
        f->answer(f, req);
}

static void on_request_closed(void *ctx, struct net_request *req)
{
    struct fixture *f = ctx;
    f->requests_closed++;
    if (f->last_request == req)
        f->last_request = NULL;
}

static bool on_websocket(void *ctx, struct net_conn *conn, void **ret_ctx)
{
    struct fixture *f = ctx;
    if (f->refuse)
        return false;
    f->conns++;
    f->last_conn = conn;
    *ret_ctx = f;
    return true;
}

static void on_server_message(void *ctx, struct net_conn *conn, const char *data, size_t len)
{
    struct fixture *f = ctx;
    f->messages++;
    buf_clear(&f->last_message);
    buf_append(&f->last_message, data, len);
    buf_putc(&f->last_message, '\0');
    if (f->echo)
        assert_int_equal(net_conn_send(conn, data, len, NULL), ERR_OK);
}

static void on_server_closed(void *ctx, struct net_conn *conn, const char *reason)
{
    struct fixture *f = ctx;
    f->conns_closed++;
    if (f->last_conn == conn)
        f->last_conn = NULL;
    (void)snprintf(f->last_reason, sizeof(f->last_reason), "%s", reason);
}

static void on_refused(void *ctx, const char *peer, const char *reason)
{
    struct fixture *f = ctx;
    f->refusals++;
    (void)snprintf(f->last_refusal, sizeof(f->last_refusal), "%s", reason);
    (void)snprintf(f->last_refused_peer, sizeof(f->last_refused_peer), "%s", peer);
}

struct net_server_config fixture_config(struct fixture *f)
{
    return (struct net_server_config){
        .host = "127.0.0.1",
        .max_body = TEST_MAX_BODY,
        .max_message = TEST_MAX_MESSAGE,
        .websocket_path = "/ws",
        .ctx = f,
        .request = on_request,
        .request_closed = on_request_closed,
        .websocket = on_websocket,
        .events = {.message = on_server_message, .closed = on_server_closed},
        .refused = on_refused,
    };
}

static void on_watchdog(uv_timer_t *timer)
{
    struct fixture *f = timer->data;
    f->late = true;
}

void fixture_start_without_server(struct fixture *f)
{
    struct error err = {0};
    *f = (struct fixture){.echo = true};
    assert_int_equal(uv_loop_init(&f->loop), 0);
    assert_int_equal(uv_timer_init(&f->loop, &f->watchdog), 0);
    f->watchdog.data = f;
    assert_int_equal(uv_timer_start(&f->watchdog, on_watchdog, WATCHDOG_MS, 0), 0);
    uv_unref((uv_handle_t *)&f->watchdog);
    assert_int_equal(net_new(&f->loop, 0, &f->net, &err), ERR_OK);
}

void fixture_start(struct fixture *f, const struct net_server_config *changes)
{
    struct error err = {0};
    fixture_start_without_server(f);
    struct net_server_config config = fixture_config(f);
    if (changes != NULL) {
        config = *changes;
        config.ctx = f;
    }
    assert_int_equal(net_server_new(f->net, &config, &f->server, &err), ERR_OK);
    assert_int_not_equal(net_server_port(f->server), 0);
}

void fixture_patience(struct fixture *f, unsigned ms)
{
    assert_int_equal(uv_timer_start(&f->watchdog, on_watchdog, ms, 0), 0);
    uv_unref((uv_handle_t *)&f->watchdog);
}

static void on_net_closed(void *ctx)
{
    struct fixture *f = ctx;
    f->closed = true;
}

void fixture_stop(struct fixture *f)
{
    if (f->net != NULL) {
        net_close(f->net, on_net_closed, f);
        run_until_true(f, &f->closed);
    }
    uv_close((uv_handle_t *)&f->watchdog, NULL);
    while (uv_run(&f->loop, UV_RUN_DEFAULT) != 0)
        ;
    assert_int_equal(uv_loop_close(&f->loop), 0);
    buf_done(&f->last_message);
}

void run_turn(struct fixture *f)
{
    uv_ref((uv_handle_t *)&f->watchdog);
    (void)uv_run(&f->loop, UV_RUN_ONCE);
    f->turns++;
    uv_unref((uv_handle_t *)&f->watchdog);
    if (f->late)
        fail_msg("the test takes too long");
}

void run_until(struct fixture *f, const unsigned *value, unsigned wanted)
{
    while (*value < wanted)
        run_turn(f);
}

void run_until_true(struct fixture *f, const bool *value)
{
    while (!*value)
        run_turn(f);
}

static void on_pause_over(uv_timer_t *timer)
{
    *(bool *)timer->data = true;
    uv_close((uv_handle_t *)timer, NULL);
}

void run_for(struct fixture *f, unsigned ms)
{
    bool over = false;
    uv_timer_t timer;
    assert_int_equal(uv_timer_init(&f->loop, &timer), 0);
    timer.data = &over;
    assert_int_equal(uv_timer_start(&timer, on_pause_over, ms, 0), 0);
    run_until_true(f, &over);
    (void)uv_run(&f->loop, UV_RUN_NOWAIT);
}

/* ---- Clients ----------------------------------------------------------------------------------
 */

static void on_opened(void *ctx, struct net_conn *conn)
{
    struct client *c = ctx;
    assert_ptr_equal(conn, c->conn);
    c->opened++;
}

static void on_message(void *ctx, struct net_conn *conn, const char *data, size_t len)
{
    struct client *c = ctx;
    assert_ptr_equal(conn, c->conn);
    c->messages++;
    buf_clear(&c->last_message);
    buf_append(&c->last_message, data, len);
    if (c->on_message != NULL)
        c->on_message(c, data, len);
}

static void on_closed(void *ctx, struct net_conn *conn, const char *reason)
{
    struct client *c = ctx;
    assert_ptr_equal(conn, c->conn);
    c->closed++;
    c->conn = NULL;
    (void)snprintf(c->reason, sizeof(c->reason), "%s", reason);
}

static void on_drained(void *ctx, struct net_conn *conn)
{
    struct client *c = ctx;
    assert_ptr_equal(conn, c->conn);
    c->drained++;
}

struct net_client_config client_config(struct client *c, const char *url)
{
    return (struct net_client_config){
        .url = url,
        .websocket_path = "/ws",
        .max_message = TEST_MAX_MESSAGE,
        .connect_timeout_ms = CONNECT_MS,
        .ctx = c,
        .events = {.message = on_message,
                   .closed = on_closed,
                   .drained = on_drained,
                   .opened = on_opened},
    };
}

enum error_code client_begin(struct client *c, struct fixture *f,
                             const struct net_client_config *config)
{
    struct error err = {0};
    *c = (struct client){.f = f};
    enum error_code code = net_connect(f->net, config, &c->conn, &err);
    (void)snprintf(c->reason, sizeof(c->reason), "%s", err.message);
    assert_int_equal(c->closed, 0);
    return code;
}

void client_connect_url(struct client *c, struct fixture *f, const char *url, unsigned timeout_ms)
{
    struct error err = {0};
    *c = (struct client){.f = f};
    struct net_client_config config = client_config(c, url);
    config.connect_timeout_ms = timeout_ms;
    assert_int_equal(net_connect(f->net, &config, &c->conn, &err), ERR_OK);
    assert_int_equal(c->closed, 0);
}

void client_connect(struct client *c, struct fixture *f)
{
    char url[64];
    (void)snprintf(url, sizeof(url), "ws://127.0.0.1:%u", net_server_port(f->server));
    client_connect_url(c, f, url, CONNECT_MS);
    run_until(f, &c->opened, 1);
}

void client_done(struct client *c)
{
    buf_done(&c->last_message);
}

/* ---- Raw peers --------------------------------------------------------------------------------
 */

static void on_raw_readable(uv_poll_t *poll, int status, int events)
{
    (void)status;
    (void)events;
    struct raw *r = poll->data;
    char piece[65536];
    ssize_t n = recv(r->fd, piece, sizeof(piece), MSG_DONTWAIT);
    if (n > 0) {
        buf_append(&r->in, piece, (size_t)n);
        return;
    }
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    r->eof = true;
    (void)uv_poll_stop(poll);
}

void raw_connect(struct raw *r, struct fixture *f, uint16_t port)
{
    struct sockaddr_in address;
    assert_int_equal(uv_ip4_addr("127.0.0.1", port, &address), 0);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    raw_adopt(r, f, fd);
}

void raw_adopt(struct raw *r, struct fixture *f, int fd)
{
    *r = (struct raw){.f = f, .fd = fd};
    assert_int_equal(uv_poll_init_socket(&f->loop, &r->poll, r->fd), 0);
    r->poll.data = r;
    assert_int_equal(uv_poll_start(&r->poll, UV_READABLE, on_raw_readable), 0);
}

void raw_send(struct raw *r, const void *data, size_t len)
{
    assert_int_equal(send(r->fd, data, len, MSG_NOSIGNAL), (ssize_t)len);
}

void raw_puts(struct raw *r, const char *text)
{
    raw_send(r, text, strlen(text));
}

void raw_expect(struct raw *r, const char *text)
{
    while (r->in.len == 0 || memmem(r->in.data, r->in.len, text, strlen(text)) == NULL) {
        if (r->eof)
            fail_msg("closed before \"%s\"; received: %.1000s", text,
                     r->in.data == NULL ? "" : r->in.data);
        run_turn(r->f);
    }
}

void raw_expect_end(struct raw *r)
{
    run_until_true(r->f, &r->eof);
}

void raw_wait(struct raw *r)
{
    size_t before = r->in.len;
    while (r->in.len == before && !r->eof)
        run_turn(r->f);
}

void raw_pause(struct raw *r)
{
    (void)uv_poll_stop(&r->poll);
}

void raw_go_on(struct raw *r)
{
    assert_int_equal(uv_poll_start(&r->poll, UV_READABLE, on_raw_readable), 0);
}

static void on_raw_closed(uv_handle_t *handle)
{
    struct raw *r = handle->data;
    r->closed = true;
}

void raw_close(struct raw *r)
{
    uv_close((uv_handle_t *)&r->poll, on_raw_closed);
    run_until_true(r->f, &r->closed);
    (void)close(r->fd);
    buf_done(&r->in);
}

void raw_upgrade(struct raw *r)
{
    raw_puts(r, "GET /ws HTTP/1.1\r\nHost: test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n");
    raw_expect(r, "\r\n\r\n");
    raw_expect(r, "101 Switching Protocols");
}

void raw_start(struct fixture *f, struct raw *r,
               void (*answer)(struct fixture *f, struct net_request *req))
{
    fixture_start(f, NULL);
    f->answer = answer;
    raw_connect(r, f, net_server_port(f->server));
}

void raw_stop(struct fixture *f, struct raw *r)
{
    raw_close(r);
    fixture_stop(f);
}

void answer_fine(struct fixture *f, struct net_request *req)
{
    (void)f;
    net_respond(req, 200, "text/plain", NULL, "fine\n", 5);
}

/* ---- A port -----------------------------------------------------------------------------------
 */

int bound_socket(bool listening, uint16_t *ret_port)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    struct sockaddr_in address;
    socklen_t len = sizeof(address);
    assert_int_equal(uv_ip4_addr("127.0.0.1", 0, &address), 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, len), 0);
    if (listening)
        assert_int_equal(listen(fd, 8), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &len), 0);
    *ret_port = ntohs(address.sin_port);
    return fd;
}
