#include "unit/net/support_tls.h"

#include "common/base/alloc.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static struct tls_world world;

static int make_world(void **state)
{
    (void)state;
    tls_world_make(&world);
    return 0;
}

static int free_world(void **state)
{
    (void)state;
    tls_world_free(&world);
    return 0;
}

static void answer_ok(struct fixture *f, struct net_request *req)
{
    (void)f;
    net_respond(req, 200, "text/plain", NULL, "fine\n", 5);
}

static bool descriptors_wanted(rlim_t wanted)
{
    struct rlimit limit;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    if (limit.rlim_cur < wanted) {
        limit.rlim_cur = limit.rlim_max < wanted ? limit.rlim_max : wanted;
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    }
    return limit.rlim_cur >= wanted;
}

static unsigned open_descriptors(void)
{
    DIR *dir = opendir("/proc/self/fd");
    assert_non_null(dir);
    unsigned count = 0;
    while (readdir(dir) != NULL)
        count++;
    (void)closedir(dir);
    return count;
}

/* ---- Slow peers -------------------------------------------------------------------------------
 */

/* A whole ClientHello of a decent client, to be sent in pieces. */
static void client_hello(struct fixture *f, struct buf *ret_bytes)
{
    struct tls_raw t;
    tls_raw_connect(&t, f);
    assert_int_equal(SSL_do_handshake(t.ssl), -1);
    char *data = NULL;
    long len = BIO_get_mem_data(SSL_get_wbio(t.ssl), &data);
    buf_append(ret_bytes, data, (size_t)len);
    tls_raw_close(&t);
}

static void a_slow_peer_is_dropped_in_time_wherever_it_stops(void **state)
{
    (void)state;
    struct fixture f;
    struct raw silent;   /* says nothing */
    struct raw slow;     /* a ClientHello, byte by byte */
    struct raw half;     /* a ClientHello, and then nothing */
    struct tls_raw idle; /* the handshake, and then nothing */
    struct tls_raw head; /* the handshake, and then a request's head byte by byte */
    struct tls_raw used; /* a request; then it may be idle */
    struct buf hello = BUF_INIT;
    tls_start(&f, &world);
    fixture_patience(&f, 60000);
    f.answer = answer_ok;
    client_hello(&f, &hello);
    raw_connect(&silent, &f, net_server_port(f.server));
    raw_connect(&slow, &f, net_server_port(f.server));
    raw_connect(&half, &f, net_server_port(f.server));
    raw_send(&half, hello.data, hello.len);
    tls_raw_connect(&idle, &f);
    assert_true(tls_raw_handshake(&idle));
    tls_raw_connect(&head, &f);
    assert_true(tls_raw_handshake(&head));
    tls_raw_connect(&used, &f);
    assert_true(tls_raw_handshake(&used));
    tls_raw_puts(&used, "GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    tls_raw_expect(&used, "fine\n");

    uint64_t before = uv_hrtime();
    bool open = true;
    for (size_t i = 0; i < 200 && open; i++) {
        (void)send(slow.fd, hello.data + i, 1, MSG_NOSIGNAL);
        if (!head.r.eof)
            (void)tls_raw_try(&head, i == 0 ? "GET / HTTP/1.1\r\nX: " : "y");
        run_for(&f, 100);
        open = !(silent.eof && slow.eof && half.eof && idle.r.eof && head.r.eof);
    }
    uint64_t took_s = (uv_hrtime() - before) / 1000000000;
    assert_true(silent.eof);
    assert_true(slow.eof);
    assert_true(half.eof);
    assert_true(idle.r.eof);
    assert_true(head.r.eof);
    assert_in_range(took_s, NET_HANDSHAKE_SECONDS - 2, NET_HANDSHAKE_SECONDS + 10);
    assert_int_equal(f.refusals, 3); /* the other two had done their handshake */
    assert_string_equal(f.last_refusal, "TLS handshake not done in time");
    buf_clear(&used.in);
    tls_raw_puts(&used, "GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    tls_raw_expect(&used, "fine\n");
    assert_int_equal(f.requests, 2);
    buf_done(&hello);
    raw_close(&silent);
    raw_close(&slow);
    raw_close(&half);
    tls_raw_close(&idle);
    tls_raw_close(&head);
    tls_raw_close(&used);
    fixture_stop(&f);
}

static void silent_peers_do_not_keep_others_out(void **state)
{
    (void)state;
    enum { MANY = 300 }; /* more than there may be handshakes at once */
    if (!descriptors_wanted(2 * MANY + 200))
        skip();
    struct fixture f;
    struct client c;
    const struct net_tls_client tls = tls_client_config(&world, true);
    tls_start(&f, &world);
    struct raw *silent = calloc(MANY, sizeof(*silent));
    assert_non_null(silent);
    for (size_t i = 0; i < MANY; i++)
        raw_connect(&silent[i], &f, net_server_port(f.server));
    run_for(&f, 50);
    uint64_t before = uv_hrtime();
    tls_connect(&c, &f, &tls);
    uint64_t took_s = (uv_hrtime() - before) / 1000000000;
    assert_in_range(took_s, 0, NET_HANDSHAKE_SECONDS - 1);
    assert_true(f.refusals > 0);
    assert_string_equal(f.last_refusal, "TLS handshake too slow, and others are waiting");
    for (size_t i = 0; i < MANY; i++)
        raw_close(&silent[i]);
    free(silent);
    fixture_stop(&f);
}

static void begin_again(struct client *c, struct fixture *f, const struct net_tls_client *tls)
{
    assert_string_equal(f->last_refusal, "TLS handshake too slow, and others are waiting");
    struct net_client_config config = client_config(c, tls_url(f, "127.0.0.1"));
    config.tls = tls;
    config.connect_timeout_ms = 60000;
    assert_int_equal(client_begin(c, f, &config), ERR_OK);
}

static void when_many_come_at_once_all_get_in(void **state)
{
    (void)state;
    enum { MANY = 300 };
    if (!descriptors_wanted(2 * MANY + 200))
        skip();
    unsigned before = open_descriptors();
    struct fixture f;
    const struct net_tls_client tls = tls_client_config(&world, true);
    tls_start(&f, &world);
    fixture_patience(&f, 90000);
    struct client *clients = calloc(MANY, sizeof(*clients));
    assert_non_null(clients);
    for (size_t i = 0; i < MANY; i++) {
        struct net_client_config config = client_config(&clients[i], tls_url(&f, "127.0.0.1"));
        config.tls = &tls;
        config.connect_timeout_ms = 60000;
        assert_int_equal(client_begin(&clients[i], &f, &config), ERR_OK);
    }
    for (size_t i = 0; i < MANY; i++) {
        while (clients[i].opened == 0) {
            /* On a machine that is too busy one may be turned away: it comes again. */
            if (clients[i].closed == 1)
                begin_again(&clients[i], &f, &tls);
            run_turn(&f);
        }
    }
    fixture_stop(&f);
    for (size_t i = 0; i < MANY; i++)
        assert_int_equal(clients[i].closed, 1);
    free(clients);
    assert_int_equal(open_descriptors(), before);
}

static void on_closed(void *ctx)
{
    *(bool *)ctx = true;
}

/* However a connection ends, its place is free again. */
static void over_the_limit_connections_wait_for_others_to_go(void **state)
{
    (void)state;
    enum { LIMIT = 16, ROUNDS = 2 * LIMIT };
    struct fixture f;
    struct net *small = NULL;
    struct net_server *server = NULL;
    const struct net_tls_server tls = tls_server_config(&world);
    fixture_start(&f, NULL);
    fixture_patience(&f, 60000);
    f.answer = answer_ok;
    assert_int_equal(net_new(&f.loop, LIMIT, &small, NULL), ERR_OK);
    struct net_server_config config = fixture_config(&f);
    config.tls = &tls;
    assert_int_equal(net_server_new(small, &config, &server, NULL), ERR_OK);
    struct net_server *other = f.server;
    f.server = server;
    for (unsigned i = 0; i < ROUNDS; i++) {
        struct raw plain;
        struct raw gone;
        struct tls_raw old;
        struct tls_raw idle;
        struct tls_raw good;
        raw_connect(&plain, &f, net_server_port(server));
        raw_puts(&plain, "GET / HTTP/1.1\r\n\r\n");
        raw_expect_end(&plain);
        raw_connect(&gone, &f, net_server_port(server));
        tls_raw_connect(&old, &f);
        assert_int_equal(SSL_set_max_proto_version(old.ssl, TLS1_2_VERSION), 1);
        assert_false(tls_raw_handshake(&old));
        tls_raw_connect(&idle, &f);
        assert_true(tls_raw_handshake(&idle));
        tls_raw_connect(&good, &f);
        assert_true(tls_raw_handshake(&good));
        tls_raw_puts(&good, "GET / HTTP/1.1\r\nHost: x\r\n\r\n");
        tls_raw_expect(&good, "fine\n");
        raw_close(&plain);
        raw_close(&gone);
        tls_raw_close(&old);
        tls_raw_close(&idle);
        tls_raw_close(&good);
    }
    f.server = other;
    bool closed = false;
    net_close(small, on_closed, &closed);
    run_until_true(&f, &closed);
    fixture_stop(&f);
}

/* ---- A client's patience ----------------------------------------------------------------------
 */

static void a_server_that_does_not_answer_times_out(void **state)
{
    (void)state;
    struct fixture f;
    struct client c;
    uint16_t port = 0;
    char url[64];
    const struct net_tls_client tls = tls_client_config(&world, true);
    fixture_start(&f, NULL);
    int fd = bound_socket(true, &port); /* the kernel accepts; nobody answers the ClientHello */
    (void)snprintf(url, sizeof(url), "https://127.0.0.1:%u", port);
    struct net_client_config config = client_config(&c, url);
    config.tls = &tls;
    config.connect_timeout_ms = 300;
    assert_int_equal(client_begin(&c, &f, &config), ERR_OK);
    run_until(&f, &c.closed, 1);
    assert_string_equal(c.reason, "timed out after 300 ms");
    (void)close(fd);
    fixture_stop(&f);
}

static void a_server_that_hangs_up_in_the_handshake_is_told(void **state)
{
    (void)state;
    struct fixture f;
    struct client c;
    uint16_t port = 0;
    char url[64];
    const struct net_tls_client tls = tls_client_config(&world, true);
    fixture_start(&f, NULL);
    int fd = bound_socket(true, &port);
    (void)snprintf(url, sizeof(url), "https://127.0.0.1:%u", port);
    struct net_client_config config = client_config(&c, url);
    config.tls = &tls;
    assert_int_equal(client_begin(&c, &f, &config), ERR_OK);
    run_for(&f, 50);
    int peer = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
    assert_true(peer >= 0);
    (void)close(peer);
    run_until(&f, &c.closed, 1);
    assert_string_equal(c.reason, "the server closed the connection in the TLS handshake");
    (void)close(fd);
    fixture_stop(&f);
}

static void a_refused_connection_is_told_as_ever(void **state)
{
    (void)state;
    struct fixture f;
    struct client c;
    uint16_t port = 0;
    char url[64];
    const struct net_tls_client tls = tls_client_config(&world, true);
    fixture_start(&f, NULL);
    int fd = bound_socket(false, &port);
    (void)snprintf(url, sizeof(url), "https://127.0.0.1:%u", port);
    struct net_client_config config = client_config(&c, url);
    config.tls = &tls;
    assert_int_equal(client_begin(&c, &f, &config), ERR_OK);
    run_until(&f, &c.closed, 1);
    assert_string_equal(c.reason, "connection refused");
    (void)close(fd);
    fixture_stop(&f);
}

/* ---- Ending -----------------------------------------------------------------------------------
 */

static void closing_before_it_is_open_is_told_later(void **state)
{
    (void)state;
    struct fixture f;
    const struct net_tls_client tls = tls_client_config(&world, true);
    tls_start(&f, &world);
    /* At whatever moment of the handshake that is. */
    for (unsigned turns = 0; turns < 12; turns++) {
        struct client c;
        struct net_client_config config = client_config(&c, tls_url(&f, "127.0.0.1"));
        config.tls = &tls;
        assert_int_equal(client_begin(&c, &f, &config), ERR_OK);
        for (unsigned i = 0; i < turns && c.opened == 0; i++)
            (void)uv_run(&f.loop, UV_RUN_ONCE);
        net_conn_close(c.conn, 1000, "changed my mind");
        run_until(&f, &c.closed, 1);
        assert_string_equal(c.reason, "changed my mind");
    }
    fixture_stop(&f);
}

/* What the server has sent is read when nobody waits for it any more. */
static void an_answer_that_comes_too_late_is_not_looked_at(void **state)
{
    (void)state;
    struct fixture f;
    struct client c;
    uint16_t port = 0;
    char url[64];
    char hello[4096];
    const struct net_tls_client tls = tls_client_config(&world, true);
    fixture_start(&f, NULL);
    int fd = bound_socket(true, &port);
    (void)snprintf(url, sizeof(url), "https://127.0.0.1:%u", port);
    struct net_client_config config = client_config(&c, url);
    config.tls = &tls;
    assert_int_equal(client_begin(&c, &f, &config), ERR_OK);
    run_for(&f, 50);
    int peer = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
    assert_true(peer >= 0);
    assert_true(recv(peer, hello, sizeof(hello), 0) > 0);
    static const char answer[] = "\x15\x03\x03\x00\x02\x02\x28"; /* an alert */
    assert_int_equal(send(peer, answer, 7, MSG_NOSIGNAL), 7);
    net_conn_close(c.conn, 1000, "changed my mind");
    run_until(&f, &c.closed, 1);
    assert_string_equal(c.reason, "changed my mind");
    run_for(&f, 20);
    (void)close(peer);
    (void)close(fd);
    fixture_stop(&f);
}

static void everything_is_closed_in_mid_handshake(void **state)
{
    (void)state;
    const struct net_tls_client good = tls_client_config(&world, true);
    struct net_tls_client bad = good;
    bad.ca = pki_ca_certs(world.other_ca);
    unsigned before = open_descriptors();
    for (unsigned turns = 0; turns < 12; turns++) {
        struct fixture f;
        struct client clients[2];
        struct raw plain;
        struct raw silent;
        tls_start(&f, &world);
        for (size_t i = 0; i < 2; i++) {
            struct net_client_config config = client_config(&clients[i], tls_url(&f, "127.0.0.1"));
            config.tls = i == 0 ? &good : &bad;
            assert_int_equal(client_begin(&clients[i], &f, &config), ERR_OK);
        }
        raw_connect(&silent, &f, net_server_port(f.server));
        raw_connect(&plain, &f, net_server_port(f.server));
        raw_puts(&plain, "GET / HTTP/1.1\r\n\r\n");
        for (unsigned i = 0; i < turns; i++)
            (void)uv_run(&f.loop, UV_RUN_NOWAIT);
        raw_close(&plain);
        raw_close(&silent);
        fixture_stop(&f);
        for (size_t i = 0; i < 2; i++)
            assert_int_equal(clients[i].closed, 1);
        assert_int_equal(f.conns, f.conns_closed);
    }
    assert_int_equal(open_descriptors(), before);
}

/* libwebsockets has variables that all contexts of a process share. */
static void a_second_net_does_not_disturb_a_handshake(void **state)
{
    (void)state;
    struct fixture f;
    struct client c;
    const struct net_tls_client tls = tls_client_config(&world, true);
    tls_start(&f, &world);
    for (unsigned turns = 1; turns < 8; turns++) {
        struct net_client_config config = client_config(&c, tls_url(&f, "127.0.0.1"));
        struct net *second = NULL;
        bool closed = false;
        config.tls = &tls;
        assert_int_equal(client_begin(&c, &f, &config), ERR_OK);
        for (unsigned i = 0; i < turns && c.opened == 0; i++)
            (void)uv_run(&f.loop, UV_RUN_ONCE);
        assert_int_equal(net_new(&f.loop, 8, &second, NULL), ERR_OK);
        while (c.opened == 0 && c.closed == 0)
            run_turn(&f);
        assert_int_equal(c.opened, 1);
        assert_string_equal(net_conn_identity(f.last_conn)->identity, "kitsune:agent:web-1");
        net_conn_close(c.conn, 1000, "done");
        run_until(&f, &c.closed, 1);
        net_close(second, on_closed, &closed);
        run_until_true(&f, &closed);
    }
    fixture_stop(&f);
}

/* ---- Memory -----------------------------------------------------------------------------------
 */

static void whatever_allocation_fails_nothing_leaks(void **state)
{
    (void)state;
    const struct net_tls_client tls = tls_client_config(&world, true);
    const struct net_tls_server server_tls = tls_server_config(&world);
    for (uint64_t n = 0;; n++) {
        struct fixture f;
        struct raw plain;
        struct client c = {.f = &f};
        tls_start(&f, &world);
        f.echo = false;
        raw_connect(&plain, &f, net_server_port(f.server));
        raw_pause(&plain);
        raw_puts(&plain, "GET / HTTP/1.1\r\n\r\n");
        struct net_client_config config = client_config(&c, tls_url(&f, "127.0.0.1"));
        config.events.message = NULL;
        config.tls = &tls;
        struct net_server_config second_config = fixture_config(&f);
        struct net_server *second = NULL;
        second_config.tls = &server_tls;
        mem_fail_after(n);
        enum error_code listened = net_server_new(f.net, &second_config, &second, NULL);
        enum error_code renewed = net_server_set_tls(f.server, &server_tls, NULL);
        enum error_code dialled = net_connect(f.net, &config, &c.conn, NULL);
        assert_true(listened == ERR_OK || listened == ERR_NO_MEMORY);
        assert_true(renewed == ERR_OK || renewed == ERR_NO_MEMORY);
        assert_true(dialled == ERR_OK || dialled == ERR_NO_MEMORY);
        for (unsigned i = 0; i < 50 && dialled == ERR_OK && c.opened == 0 && c.closed == 0; i++)
            run_for(&f, 10);
        if (f.last_conn != NULL) {
            const struct pki_facts *facts = net_conn_identity(f.last_conn);
            assert_true(facts != NULL || mem_fail_count() > 0);
        }
        uint64_t failed = mem_fail_count();
        mem_fail_never();
        raw_close(&plain);
        fixture_stop(&f);
        assert_int_equal(f.conns, f.conns_closed);
        assert_int_equal(c.closed, dialled == ERR_OK ? 1 : 0);
        client_done(&c);
        if (failed == 0) {
            assert_int_equal(c.opened, 1);
            break;
        }
        assert_true(n < 500);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_slow_peer_is_dropped_in_time_wherever_it_stops),
        cmocka_unit_test(silent_peers_do_not_keep_others_out),
        cmocka_unit_test(when_many_come_at_once_all_get_in),
        cmocka_unit_test(over_the_limit_connections_wait_for_others_to_go),
        cmocka_unit_test(a_server_that_does_not_answer_times_out),
        cmocka_unit_test(a_server_that_hangs_up_in_the_handshake_is_told),
        cmocka_unit_test(a_refused_connection_is_told_as_ever),
        cmocka_unit_test(closing_before_it_is_open_is_told_later),
        cmocka_unit_test(an_answer_that_comes_too_late_is_not_looked_at),
        cmocka_unit_test(everything_is_closed_in_mid_handshake),
        cmocka_unit_test(a_second_net_does_not_disturb_a_handshake),
        cmocka_unit_test(whatever_allocation_fails_nothing_leaks),
    };
    return cmocka_run_group_tests(tests, make_world, free_world);
}
