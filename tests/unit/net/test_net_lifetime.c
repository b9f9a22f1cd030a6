#include "common/base/alloc.h"
#include "unit/net/support_net.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { BUSY_TURNS = 50 }; /* more in some tenths of a second: the loop goes round for nothing */

static void answer_ok(struct fixture *f, struct net_request *req)
{
    (void)f;
    net_respond(req, 200, "text/plain", NULL, "fine\n", 5);
}

static void on_done(void *ctx)
{
    struct fixture *f = ctx;
    f->closed = true;
    f->net = NULL;
}

static unsigned open_descriptors(void)
{
    unsigned count = 0;
    DIR *dir = opendir("/proc/self/fd");
    assert_non_null(dir);
    while (readdir(dir) != NULL)
        count++;
    (void)closedir(dir);
    return count;
}

/* ---- Listening --------------------------------------------------------------------------------
 */

static enum error_code listen_on(struct fixture *f, const char *host, uint16_t port,
                                 struct error *err)
{
    struct net_server_config config = fixture_config(f);
    config.host = host;
    config.port = port;
    struct net_server *server = NULL;
    return net_server_new(f->net, &config, &server, err);
}

static void a_port_in_use_is_refused(void **state)
{
    (void)state;
    struct fixture f;
    struct fixture other;
    struct error err = {0};
    fixture_start(&f, NULL);
    uint16_t port = net_server_port(f.server);
    assert_int_equal(listen_on(&f, "127.0.0.1", port, &err), ERR_BUSY);
    char where[32];
    (void)snprintf(where, sizeof(where), "127.0.0.1:%u is in use", port);
    assert_non_null(strstr(err.message, where));
    assert_non_null(strstr(err.message, "choose another port"));
    fixture_start(&other, NULL); /* nor by a net of its own */
    assert_int_equal(listen_on(&other, "127.0.0.1", port, &err), ERR_BUSY);
    fixture_stop(&other);
    fixture_stop(&f);
    fixture_start(&f, NULL); /* and it is free again afterwards */
    assert_int_equal(listen_on(&f, "127.0.0.1", port, &err), ERR_OK);
    fixture_stop(&f);
}

static void an_address_that_is_none_is_refused(void **state)
{
    (void)state;
    static const char *const hosts[] = {"",      "nonsense", "256.0.0.1", "127.0.0.1:80",
                                        "[::1]", "192.0.2.1"};
    struct fixture f;
    struct error err = {0};
    fixture_start(&f, NULL);
    for (size_t i = 0; i < sizeof(hosts) / sizeof(hosts[0]); i++)
        assert_int_equal(listen_on(&f, hosts[i], 0, &err), ERR_INVALID);
    fixture_stop(&f);
}

static void two_servers_are_kept_apart(void **state)
{
    (void)state;
    struct fixture f;
    struct fixture seen = {0};
    struct net_server_config config = fixture_config(&seen);
    config.websocket_path = "/second";
    config.websocket_protocol = "second.1";
    struct net_server *second = NULL;
    fixture_start(&f, NULL);
    assert_int_equal(net_server_new(f.net, &config, &second, NULL), ERR_OK);
    assert_int_not_equal(net_server_port(second), net_server_port(f.server));

    char url[64];
    struct client c = {.f = &f};
    (void)snprintf(url, sizeof(url), "ws://127.0.0.1:%u", net_server_port(second));
    struct net_client_config client = client_config(&c, url);
    client.websocket_path = "/second";
    client.websocket_protocol = "second.1";
    assert_int_equal(net_connect(f.net, &client, &c.conn, NULL), ERR_OK);
    run_until(&f, &c.opened, 1);
    assert_int_equal(seen.conns, 1);
    assert_int_equal(f.conns, 0);

    /* The second's subprotocol is not the first's. */
    struct client wrong = {.f = &f};
    (void)snprintf(url, sizeof(url), "ws://127.0.0.1:%u", net_server_port(f.server));
    client = client_config(&wrong, url);
    client.websocket_protocol = "second.1";
    assert_int_equal(net_connect(f.net, &client, &wrong.conn, NULL), ERR_OK);
    run_until(&f, &wrong.closed, 1);
    assert_int_equal(f.conns, 0);

    f.answer = answer_ok;
    struct raw r;
    raw_connect(&r, &f, net_server_port(f.server));
    raw_puts(&r, "GET / HTTP/1.1\r\nHost: t\r\n\r\n");
    raw_expect(&r, "fine\n");
    assert_int_equal(f.requests, 1);
    assert_int_equal(seen.requests, 0);
    raw_close(&r);
    fixture_stop(&f);
}

/* ---- Many -------------------------------------------------------------------------------------
 */

static void a_thousand_connections_come_and_go(void **state)
{
    (void)state;
    enum { MANY = 1000 };
    struct rlimit limit;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    if (limit.rlim_cur < 2 * MANY + 200) {
        limit.rlim_cur = limit.rlim_max < 4096 ? limit.rlim_max : 4096;
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    }
    if (limit.rlim_cur < 2 * MANY + 200)
        skip();
    unsigned before = open_descriptors();
    struct fixture f;
    struct client *clients = calloc(MANY, sizeof(*clients));
    assert_non_null(clients);
    char url[64];
    fixture_start(&f, NULL);
    (void)snprintf(url, sizeof(url), "ws://127.0.0.1:%u", net_server_port(f.server));
    for (size_t i = 0; i < MANY; i++)
        client_connect_url(&clients[i], &f, url, 15000);
    run_until(&f, &f.conns, MANY);
    for (size_t i = 0; i < MANY; i++)
        run_until(&f, &clients[i].opened, 1);
    for (size_t i = 0; i < MANY; i++)
        assert_int_equal(net_conn_send(clients[i].conn, "hi", 2, NULL), ERR_OK);
    for (size_t i = 0; i < MANY; i++)
        run_until(&f, &clients[i].messages, 1);
    for (size_t i = 0; i < MANY; i += 2)
        net_conn_close(clients[i].conn, 1000, "half of them");
    run_until(&f, &f.conns_closed, MANY / 2);
    fixture_stop(&f);
    for (size_t i = 0; i < MANY; i++) {
        assert_int_equal(clients[i].closed, 1);
        client_done(&clients[i]);
    }
    assert_int_equal(f.conns_closed, MANY);
    free(clients);
    assert_int_equal(open_descriptors(), before);
}

static void over_the_limit_connections_wait_for_others_to_go(void **state)
{
    (void)state;
    enum { LIMIT = 16, MORE = 24 };
    struct fixture f;
    struct net *small = NULL;
    struct net_server *server = NULL;
    fixture_start(&f, NULL);
    f.answer = answer_ok;
    assert_int_equal(net_new(&f.loop, LIMIT, &small, NULL), ERR_OK);
    struct net_server_config config = fixture_config(&f);
    assert_int_equal(net_server_new(small, &config, &server, NULL), ERR_OK);
    struct raw peers[MORE];
    for (unsigned i = 0; i < 3 * LIMIT; i++) { /* one after the other there may be any number */
        raw_connect(&peers[0], &f, net_server_port(server));
        raw_puts(&peers[0], "GET / HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n");
        raw_expect(&peers[0], "fine\n");
        raw_close(&peers[0]);
    }
    unsigned before = f.requests;
    for (size_t i = 0; i < MORE; i++) {
        raw_connect(&peers[i], &f, net_server_port(server));
        raw_puts(&peers[i], "GET / HTTP/1.1\r\nHost: t\r\n\r\n");
    }
    run_for(&f, 200);
    assert_true(f.requests > before);
    assert_true(f.requests - before < LIMIT);
    for (size_t i = 0; i < MORE; i++) {
        raw_expect(&peers[i], "fine\n");
        raw_close(&peers[i]);
    }
    assert_int_equal(f.requests - before, MORE);
    struct fixture done = {0};
    net_close(small, on_done, &done);
    run_until_true(&f, &done.closed);
    fixture_stop(&f);
}

/* In a process of its own, whose descriptors are few; the peers are the parent's. */
static void out_of_descriptors(int report_port, int go_on)
{
    struct rlimit limit = {.rlim_cur = 64, .rlim_max = 64};
    (void)setenv("CMOCKA_TEST_ABORT", "1", 1); /* a failure must not go on with the other tests */
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    struct fixture f;
    struct raw old;
    fixture_start(&f, NULL);
    f.answer = answer_ok;
    raw_connect(&old, &f, net_server_port(f.server));
    raw_puts(&old, "GET / HTTP/1.1\r\nHost: t\r\n\r\n");
    raw_expect(&old, "fine\n");
    buf_clear(&old.in);
    int hog[64]; /* others in the process take what is left: accept has none */
    int hogs = 0;
    while ((hog[hogs] = dup(2)) >= 0 && hogs < 63)
        hogs++;
    assert_int_equal(errno, EMFILE);
    uint16_t port = net_server_port(f.server);
    assert_int_equal(write(report_port, &port, sizeof(port)), sizeof(port));
    char byte;
    while (read(go_on, &byte, 1) < 0) /* the parent has connected */
        run_for(&f, 10);
    f.turns = 0;
    run_for(&f, 600);
    assert_in_range(f.turns, 1, BUSY_TURNS);
    raw_puts(&old, "GET / HTTP/1.1\r\nHost: t\r\n\r\n");
    raw_expect(&old, "fine\n");
    while (hogs > 0)
        (void)close(hog[--hogs]);
    run_until(&f, &f.requests, 3); /* the old one's two, and one of those who waited */
    raw_close(&old);
    fixture_stop(&f);
}

static void running_out_of_descriptors_is_survived(void **state)
{
    (void)state;
    int port_pipe[2];
    int go_pipe[2];
    assert_int_equal(pipe2(port_pipe, O_CLOEXEC), 0);
    assert_int_equal(pipe2(go_pipe, O_CLOEXEC | O_NONBLOCK), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        (void)close(go_pipe[1]);
        out_of_descriptors(port_pipe[1], go_pipe[0]);
        _exit(0);
    }
    (void)close(port_pipe[1]);
    uint16_t port = 0;
    assert_int_equal(read(port_pipe[0], &port, sizeof(port)), sizeof(port));
    struct sockaddr_in address;
    assert_int_equal(uv_ip4_addr("127.0.0.1", port, &address), 0);
    int peers[100];
    for (int i = 0; i < 100; i++) {
        peers[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        assert_true(peers[i] >= 0);
        assert_int_equal(connect(peers[i], (struct sockaddr *)&address, sizeof(address)), 0);
        static const char request[] = "GET /waiting HTTP/1.1\r\nHost: t\r\n\r\n";
        assert_true(send(peers[i], request, sizeof(request) - 1, MSG_NOSIGNAL) > 0);
    }
    assert_int_equal(write(go_pipe[1], "x", 1), 1);
    int status = -1;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    for (int i = 0; i < 100; i++)
        (void)close(peers[i]);
    (void)close(port_pipe[0]);
    (void)close(go_pipe[0]);
    (void)close(go_pipe[1]);
}

static void a_slow_head_ends_the_connection(void **state)
{
    (void)state;
    struct fixture f;
    struct raw silent;
    struct raw slow;
    fixture_start(&f, NULL);
    f.answer = answer_ok;
    raw_connect(&silent, &f, net_server_port(f.server));
    raw_connect(&slow, &f, net_server_port(f.server));
    uint64_t before = uv_hrtime();
    for (int i = 0; i < 200 && !(slow.eof && silent.eof); i++) {
        (void)send(slow.fd, i == 0 ? "GET / HTTP/1.1\r\nX: " : "y", i == 0 ? 19 : 1, MSG_NOSIGNAL);
        run_for(&f, 100);
    }
    uint64_t took_s = (uv_hrtime() - before) / 1000000000;
    assert_true(slow.eof);
    assert_true(silent.eof);
    assert_true(took_s >= NET_HANDSHAKE_SECONDS - 1 && took_s <= NET_HANDSHAKE_SECONDS + 3);
    assert_int_equal(f.requests, 0);
    raw_close(&silent);
    raw_close(&slow);
    fixture_stop(&f);
}

/* ---- Ending -----------------------------------------------------------------------------------
 */

static void answer_stream(struct fixture *f, struct net_request *req)
{
    (void)f;
    if (strcmp(net_request_path(req), "/stream") == 0)
        net_stream_begin(req, 200, "text/event-stream", NULL);
}

static void closing_ends_everything_that_lives(void **state)
{
    (void)state;
    unsigned before = open_descriptors();
    struct fixture f;
    struct client c;
    struct client dialling;
    struct raw ws;
    struct raw pending;
    struct raw stream;
    struct raw body;
    struct raw idle;
    char url[64];
    fixture_start(&f, NULL);
    f.answer = answer_stream;
    uint16_t port = net_server_port(f.server);
    client_connect(&c, &f);
    assert_int_equal(net_conn_send(c.conn, "unsent", 6, NULL), ERR_OK);
    raw_connect(&ws, &f, port);
    raw_upgrade(&ws);
    raw_connect(&pending, &f, port);
    raw_puts(&pending, "GET /pending HTTP/1.1\r\nHost: t\r\n\r\n");
    raw_connect(&stream, &f, port);
    raw_puts(&stream, "GET /stream HTTP/1.1\r\nHost: t\r\n\r\n");
    raw_expect(&stream, "\r\n\r\n");
    raw_connect(&body, &f, port);
    raw_puts(&body, "POST /body HTTP/1.1\r\nHost: t\r\nContent-Length: 10\r\n\r\nhalf");
    raw_connect(&idle, &f, port);
    run_until(&f, &f.requests, 2);
    run_for(&f, 20);
    (void)snprintf(url, sizeof(url), "ws://127.0.0.1:%u", port);
    client_connect_url(&dialling, &f, url, 5000);
    net_conn_close(f.last_conn, 1000, "closing already");
    raw_pause(&ws);
    raw_pause(&pending);
    raw_pause(&stream);
    raw_pause(&body);
    raw_pause(&idle);
    /* The raw peers are the test's own handles; they go first, their sockets stay open. */
    struct raw *peers[] = {&ws, &pending, &stream, &body, &idle};
    for (size_t i = 0; i < 5; i++)
        uv_close((uv_handle_t *)&peers[i]->poll, NULL);
    fixture_stop(&f);
    assert_int_equal(f.conns_closed, f.conns);
    assert_int_equal(f.requests_closed, 2); /* the half one was never announced */
    assert_int_equal(c.closed, 1);
    assert_int_equal(dialling.closed, 1);
    for (size_t i = 0; i < 5; i++) {
        (void)close(peers[i]->fd);
        buf_done(&peers[i]->in);
    }
    client_done(&c);
    client_done(&dialling);
    assert_int_equal(open_descriptors(), before);
}

static void close_net_in_message(struct client *c, const char *data, size_t len)
{
    (void)data;
    (void)len;
    net_close(c->f->net, on_done, c->f);
    assert_int_equal(c->closed, 0); /* never from within */
}

static void it_may_be_closed_from_within_a_callback(void **state)
{
    (void)state;
    struct fixture f;
    struct client c;
    fixture_start(&f, NULL);
    client_connect(&c, &f);
    c.on_message = close_net_in_message;
    assert_int_equal(net_conn_send(c.conn, "go", 2, NULL), ERR_OK);
    run_until_true(&f, &f.closed);
    assert_int_equal(c.closed, 1);
    assert_string_equal(c.reason, "shutting down");
    fixture_stop(&f);
    client_done(&c);
}

static void nothing_new_begins_while_it_closes(void **state)
{
    (void)state;
    struct fixture f;
    struct error err = {0};
    fixture_start(&f, NULL);
    net_close(f.net, on_done, &f);
    struct net_conn *conn = NULL;
    struct client c = {.f = &f};
    struct net_client_config config = client_config(&c, "ws://127.0.0.1:1");
    assert_int_equal(net_connect(f.net, &config, &conn, &err), ERR_UNAVAILABLE);
    assert_int_equal(listen_on(&f, "127.0.0.1", 0, &err), ERR_UNAVAILABLE);
    run_until_true(&f, &f.closed);
    fixture_stop(&f);
}

static void several_share_a_loop(void **state)
{
    (void)state;
    enum { MANY = 20 };
    struct fixture f;
    struct net *nets[MANY];
    struct fixture closed[MANY];
    fixture_start(&f, NULL);
    for (size_t i = 0; i < MANY; i++)
        assert_int_equal(net_new(&f.loop, 16, &nets[i], NULL), ERR_OK);
    char url[64];
    (void)snprintf(url, sizeof(url), "ws://127.0.0.1:%u", net_server_port(f.server));
    struct client clients[MANY];
    for (size_t i = 0; i < MANY; i++) {
        clients[i] = (struct client){.f = &f};
        struct net_client_config config = client_config(&clients[i], url);
        assert_int_equal(net_connect(nets[i], &config, &clients[i].conn, NULL), ERR_OK);
    }
    run_until(&f, &f.conns, MANY);
    for (size_t i = 0; i < MANY; i++) {
        run_until(&f, &clients[i].opened, 1);
        closed[i] = (struct fixture){0};
        net_close(nets[i], on_done, &closed[i]);
    }
    for (size_t i = 0; i < MANY; i++)
        run_until_true(&f, &closed[i].closed);
    run_until(&f, &f.conns_closed, MANY);
    fixture_stop(&f);
}

/* ---- Memory -----------------------------------------------------------------------------------
 */

static void whatever_allocation_fails_nothing_leaks(void **state)
{
    (void)state;
    for (uint64_t n = 0;; n++) {
        struct fixture f;
        struct raw ws;
        struct raw http;
        struct client c = {.f = &f};
        char url[64];
        fixture_start(&f, NULL);
        f.answer = answer_ok;
        f.echo = false;
        raw_connect(&ws, &f, net_server_port(f.server));
        raw_connect(&http, &f, net_server_port(f.server));
        raw_pause(&ws); /* the peers' own buffers must not use up the count */
        raw_pause(&http);
        raw_puts(&http, "POST /x?a=b HTTP/1.1\r\nHost: t\r\nContent-Length: 3\r\n\r\nabc");
        raw_puts(&ws, "GET /ws HTTP/1.1\r\nHost: t\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                      "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
                      "Sec-WebSocket-Version: 13\r\n\r\n");
        static const unsigned char parts[] = {0x01, 0x81, 0, 0, 0, 0, 'a',
                                              0x80, 0x81, 0, 0, 0, 0, 'b'};
        raw_send(&ws, parts, sizeof(parts));
        (void)snprintf(url, sizeof(url), "ws://127.0.0.1:%u", net_server_port(f.server));
        struct net_client_config config = client_config(&c, url);
        config.events.message = NULL;
        mem_fail_after(n);
        struct net *second = NULL;
        enum error_code made = net_new(&f.loop, 8, &second, NULL);
        enum error_code listened = listen_on(&f, "127.0.0.1", 0, NULL);
        enum error_code dialled = net_connect(f.net, &config, &c.conn, NULL);
        assert_true(dialled == ERR_OK || dialled == ERR_NO_MEMORY);
        assert_true(listened == ERR_OK || listened == ERR_NO_MEMORY);
        assert_true(made == ERR_OK || made == ERR_NO_MEMORY);
        if (dialled == ERR_OK)
            error_ignore(net_conn_send(c.conn, "x", 1, NULL));
        run_for(&f, 20);
        uint64_t failed = mem_fail_count();
        mem_fail_never();
        bool gone = made != ERR_OK;
        struct fixture done = {0};
        if (!gone) {
            net_close(second, on_done, &done);
            run_until_true(&f, &done.closed);
        }
        raw_close(&ws);
        raw_close(&http);
        fixture_stop(&f);
        assert_int_equal(f.conns, f.conns_closed);
        assert_int_equal(f.requests, f.requests_closed);
        assert_int_equal(c.closed, dialled == ERR_OK ? 1 : 0);
        client_done(&c);
        if (failed == 0)
            break;
        assert_true(n < 500);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_port_in_use_is_refused),
        cmocka_unit_test(an_address_that_is_none_is_refused),
        cmocka_unit_test(two_servers_are_kept_apart),
        cmocka_unit_test(a_thousand_connections_come_and_go),
        cmocka_unit_test(over_the_limit_connections_wait_for_others_to_go),
        cmocka_unit_test(running_out_of_descriptors_is_survived),
        cmocka_unit_test(a_slow_head_ends_the_connection),
        cmocka_unit_test(closing_ends_everything_that_lives),
        cmocka_unit_test(it_may_be_closed_from_within_a_callback),
        cmocka_unit_test(nothing_new_begins_while_it_closes),
        cmocka_unit_test(several_share_a_loop),
        cmocka_unit_test(whatever_allocation_fails_nothing_leaks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
