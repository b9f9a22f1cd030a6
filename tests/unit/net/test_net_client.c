#include "unit/net/support_net.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void url_rules(void **state)
{
    (void)state;
    static const char *const good[] = {
        "http://127.0.0.1:7233", "ws://localhost",        "HTTP://a-b.example.org:1/",
        "ws://[::1]:7233/x/y",   "http://host/base",      "https://host",
        "wss://host:7233/base",  "HTTPS://[2001:db8::7]",
    };
    static const char *const bad[] = {
        "",
        "127.0.0.1:7233",
        "ftp://host",
        "http://",
        "http://:80",
        "http://host:",
        "http://host:0",
        "http://host:65536",
        "http://host:80x",
        "http://user:password@host",
        "http://host/?q",
        "http://host/#f",
        "http://host/a b",
        "http://host?x",
        "http://::1:80",
        "http://[::1",
        "http://[127.0.0.1]",
        "http://host name",
        "http://host\r\nX: y",
    };
    struct error err = {0};
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        if (net_url_check(good[i], &err) != ERR_OK)
            fail_msg("%s: %s", good[i], err.message);
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        if (net_url_check(bad[i], &err) != ERR_INVALID)
            fail_msg("%s is taken", bad[i]);
        assert_non_null(strstr(err.message, "URL"));
    }
}

static void a_url_says_whether_it_is_tls_and_whether_it_stays_here(void **state)
{
    (void)state;
    static const struct {
        const char *url;
        bool tls;
        bool loopback;
    } cases[] = {
        {"https://host", true, false},          {"wss://127.0.0.1", true, true},
        {"http://127.9.9.9:1", false, true},    {"ws://[::1]", false, true},
        {"ws://LocalHost:7233", false, true},   {"http://128.0.0.1", false, false},
        {"http://[::2]", false, false},         {"http://localhost.example.org", false, false},
        {"http://127.0.0.1.nip", false, false}, {"http://0.0.0.0", false, false},
        {"ftp://127.0.0.1", false, false},      {"", false, false},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        if (net_url_tls(cases[i].url) != cases[i].tls ||
            net_url_loopback(cases[i].url) != cases[i].loopback)
            fail_msg("%s", cases[i].url);
    }
}

static void a_refused_connection_is_told(void **state)
{
    (void)state;
    struct fixture f;
    struct client c;
    uint16_t port = 0;
    char url[64];
    fixture_start(&f, NULL);
    int fd = bound_socket(false, &port);
    (void)snprintf(url, sizeof(url), "ws://127.0.0.1:%u", port);
    client_connect_url(&c, &f, url, 5000);
    run_until(&f, &c.closed, 1);
    assert_string_equal(c.reason, "connection refused");
    assert_int_equal(c.opened, 0);
    (void)close(fd);
    fixture_stop(&f);
}

static void a_server_that_does_not_answer_times_out(void **state)
{
    (void)state;
    struct fixture f;
    struct client c;
    uint16_t port = 0;
    char url[64];
    fixture_start(&f, NULL);
    int fd = bound_socket(true, &port); /* the kernel accepts; nobody answers the upgrade */
    (void)snprintf(url, sizeof(url), "ws://127.0.0.1:%u", port);
    uint64_t before = uv_hrtime();
    client_connect_url(&c, &f, url, 300);
    run_until(&f, &c.closed, 1);
    uint64_t took_ms = (uv_hrtime() - before) / 1000000;
    assert_string_equal(c.reason, "timed out after 300 ms");
    assert_true(took_ms >= 290 && took_ms < 5000);
    (void)close(fd);
    fixture_stop(&f);
}

static void an_unreachable_address_times_out(void **state)
{
    (void)state;
    struct fixture f;
    struct client c;
    uint16_t port = 0;
    char url[64];
    fixture_start(&f, NULL);
    int fd = bound_socket(true, &port);
    assert_int_equal(listen(fd, 0), 0); /* its backlog is one: further connections hang */
    int fds[4];
    for (size_t i = 0; i < 4; i++) {
        struct sockaddr_in address;
        assert_int_equal(uv_ip4_addr("127.0.0.1", port, &address), 0);
        fds[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        assert_true(fds[i] >= 0);
        (void)connect(fds[i], (struct sockaddr *)&address, sizeof(address));
    }
    (void)snprintf(url, sizeof(url), "ws://127.0.0.1:%u", port);
    client_connect_url(&c, &f, url, 300);
    run_until(&f, &c.closed, 1);
    assert_string_equal(c.reason, "timed out after 300 ms");
    for (size_t i = 0; i < 4; i++)
        (void)close(fds[i]);
    (void)close(fd);
    fixture_stop(&f);
}

static void a_name_that_does_not_exist_is_told(void **state)
{
    (void)state;
    struct fixture f;
    struct client c;
    fixture_start(&f, NULL);
    client_connect_url(&c, &f, "ws://no-such-host.invalid:1", 15000);
    run_until(&f, &c.closed, 1);
    assert_memory_equal(c.reason, "cannot resolve no-such-host.invalid: ", 37);
    fixture_stop(&f);
}

static void an_http_server_that_does_not_upgrade_is_told(void **state)
{
    (void)state;
    struct fixture f;
    struct client c;
    char url[64];
    fixture_start(&f, NULL);
    (void)snprintf(url, sizeof(url), "ws://127.0.0.1:%u/elsewhere", net_server_port(f.server));
    client_connect_url(&c, &f, url, 5000);
    run_until(&f, &c.closed, 1);
    assert_int_equal(c.opened, 0);
    assert_true(strlen(c.reason) > 0);
    fixture_stop(&f);
}

static void a_url_with_a_path_puts_it_in_front(void **state)
{
    (void)state;
    struct fixture f;
    struct net_server_config config = fixture_config(&f);
    config.websocket_path = "/base/deep/ws";
    struct client c;
    char url[64];
    fixture_start(&f, &config);
    (void)snprintf(url, sizeof(url), "http://127.0.0.1:%u/base/deep/", net_server_port(f.server));
    client_connect_url(&c, &f, url, 5000);
    run_until(&f, &c.opened, 1);
    fixture_stop(&f);
}

static void ipv6_works_in_brackets(void **state)
{
    (void)state;
    struct fixture f;
    struct net_server_config config = fixture_config(&f);
    config.host = "::1";
    struct client c;
    char url[64];
    int probe = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in6 address;
    assert_int_equal(uv_ip6_addr("::1", 0, &address), 0);
    bool available = probe >= 0 && bind(probe, (struct sockaddr *)&address, sizeof(address)) == 0;
    if (probe >= 0)
        (void)close(probe);
    if (!available)
        skip();
    fixture_start(&f, &config);
    (void)snprintf(url, sizeof(url), "ws://[::1]:%u", net_server_port(f.server));
    client_connect_url(&c, &f, url, 5000);
    run_until(&f, &c.opened, 1);
    assert_memory_equal(net_conn_peer(f.last_conn), "[::1]:", 6);
    fixture_stop(&f);
}

static void closing_before_it_is_open_is_told_later(void **state)
{
    (void)state;
    struct fixture f;
    struct client c;
    char url[64];
    fixture_start(&f, NULL);
    (void)snprintf(url, sizeof(url), "ws://127.0.0.1:%u", net_server_port(f.server));
    client_connect_url(&c, &f, url, 5000);
    net_conn_close(c.conn, 1000, "changed my mind");
    assert_int_equal(c.closed, 0);
    run_until(&f, &c.closed, 1);
    assert_string_equal(c.reason, "changed my mind");
    fixture_stop(&f);
    assert_int_equal(c.opened, 0);
    assert_int_equal(c.closed, 1);
}

static void garbage_instead_of_an_answer_is_told(void **state)
{
    (void)state;
    static const char *const answers[] = {
        "\x16\x03\x01garbage\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Accept: wrong\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 301 Moved Permanently\r\nLocation: http://127.0.0.1:1/\r\n"
        "Content-Length: 0\r\n\r\n",
    };
    for (size_t i = 0; i < sizeof(answers) / sizeof(answers[0]); i++) {
        struct fixture f;
        struct client c;
        uint16_t port = 0;
        char url[64];
        fixture_start(&f, NULL);
        int fd = bound_socket(true, &port);
        (void)snprintf(url, sizeof(url), "ws://127.0.0.1:%u", port);
        client_connect_url(&c, &f, url, 3000);
        run_for(&f, 50);
        int peer = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
        assert_true(peer >= 0);
        char request[4096];
        assert_true(recv(peer, request, sizeof(request), 0) > 0);
        assert_memory_equal(request, "GET /ws HTTP/1.1\r\n", 18);
        assert_non_null(strstr(request, strchr(url + 5, '1'))); /* Host: 127.0.0.1:PORT */
        assert_int_equal(send(peer, answers[i], strlen(answers[i]), MSG_NOSIGNAL),
                         (ssize_t)strlen(answers[i]));
        run_until(&f, &c.closed, 1);
        assert_int_equal(c.opened, 0);
        (void)close(peer);
        (void)close(fd);
        fixture_stop(&f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(url_rules),
        cmocka_unit_test(a_url_says_whether_it_is_tls_and_whether_it_stays_here),
        cmocka_unit_test(a_refused_connection_is_told),
        cmocka_unit_test(a_server_that_does_not_answer_times_out),
        cmocka_unit_test(an_unreachable_address_times_out),
        cmocka_unit_test(a_name_that_does_not_exist_is_told),
        cmocka_unit_test(an_http_server_that_does_not_upgrade_is_told),
        cmocka_unit_test(a_url_with_a_path_puts_it_in_front),
        cmocka_unit_test(ipv6_works_in_brackets),
        cmocka_unit_test(closing_before_it_is_open_is_told_later),
        cmocka_unit_test(garbage_instead_of_an_answer_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
