#include "unit/net/support_net.h"

#include <string.h>
#include <sys/socket.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void garbage_ends_the_connection_and_harms_nobody(void **state)
{
    (void)state;
    struct fixture f;
    struct raw r;
    raw_start(&f, &r, answer_fine);
    unsigned seed = 1;
    for (int i = 0; i < 200; i++) {
        struct raw other;
        raw_connect(&other, &f, net_server_port(f.server));
        unsigned char bytes[512];
        for (size_t k = 0; k < sizeof(bytes); k++) {
            seed = seed * 1103515245U + 12345U;
            bytes[k] = (unsigned char)(seed >> 16);
        }
        raw_send(&other, bytes, sizeof(bytes));
        raw_puts(&other, "\r\n\r\n");
        (void)uv_run(&f.loop, UV_RUN_NOWAIT);
        raw_close(&other);
    }
    raw_puts(&r, "GET / HTTP/1.1\r\nHost: t\r\n\r\n");
    raw_expect(&r, "fine\n");
    raw_stop(&f, &r);
}

static void a_head_over_the_bound_ends_the_connection(void **state)
{
    (void)state;
    struct fixture f;
    struct raw r;
    raw_start(&f, &r, answer_fine);
    raw_puts(&r, "GET / HTTP/1.1\r\nHost: t\r\n");
    char line[1024];
    memset(line, 'x', sizeof(line));
    memcpy(line, "X-Long: ", 8);
    memcpy(line + sizeof(line) - 2, "\r\n", 2);
    for (int i = 0; i < 20 && !r.eof; i++) {
        if (send(r.fd, line, sizeof(line), MSG_NOSIGNAL) < 0)
            break;
        run_for(&f, 5);
    }
    raw_expect_end(&r);
    assert_int_equal(f.requests, 0);
    raw_stop(&f, &r);
}

static void a_path_over_the_bound_is_refused(void **state)
{
    (void)state;
    struct fixture f;
    struct raw r;
    raw_start(&f, &r, answer_fine);
    char path[NET_MAX_PATH + 2];
    memset(path, 'p', sizeof(path));
    path[0] = '/';
    path[sizeof(path) - 1] = '\0';
    raw_puts(&r, "GET ");
    raw_puts(&r, path);
    raw_puts(&r, " HTTP/1.1\r\nHost: t\r\n\r\n");
    raw_expect(&r, "HTTP/1.1 414 URI Too Long\r\n");
    assert_int_equal(f.requests, 0);
    raw_stop(&f, &r);
}

static void an_upgrade_elsewhere_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *request;
        const char *answer;
    } cases[] = {
        {"GET /other HTTP/1.1\r\nHost: t\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
         "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
         "HTTP/1.1 404 Not Found\r\n"},
        {"POST /ws HTTP/1.1\r\nHost: t\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
         "Content-Length: 0\r\n\r\n",
         "HTTP/1.1 405 Method Not Allowed\r\n"},
        {"GET /ws HTTP/1.1\r\nHost: t\r\nOrigin: http://evil.example\r\nUpgrade: websocket\r\n"
         "Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
         "Sec-WebSocket-Version: 13\r\n\r\n",
         "HTTP/1.1 403 Forbidden\r\n"},
        {"GET / HTTP/1.1\r\nHost: t\r\nUpgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\n"
         "HTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n",
         "HTTP/1.1 400 Bad Request\r\n"},
        {"GET /ws HTTP/1.1\r\nHost: t\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
         "Sec-WebSocket-Protocol: mine\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
         "Sec-WebSocket-Version: 13\r\n\r\n",
         "HTTP/1.1 400 Bad Request\r\n"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct fixture f;
        struct raw r;
        raw_start(&f, &r, answer_fine);
        raw_puts(&r, cases[i].request);
        raw_expect(&r, cases[i].answer);
        raw_expect_end(&r);
        assert_int_equal(f.conns, 0);
        assert_int_equal(f.requests, 0);
        raw_stop(&f, &r);
    }
}

static void a_plain_get_of_the_websocket_path_is_a_request(void **state)
{
    (void)state;
    struct fixture f;
    struct raw r;
    raw_start(&f, &r, answer_fine);
    raw_puts(&r, "GET /ws HTTP/1.1\r\nHost: t\r\n\r\n");
    raw_expect(&r, "fine\n");
    assert_int_equal(f.requests, 1);
    raw_stop(&f, &r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(garbage_ends_the_connection_and_harms_nobody),
        cmocka_unit_test(a_head_over_the_bound_ends_the_connection),
        cmocka_unit_test(a_path_over_the_bound_is_refused),
        cmocka_unit_test(an_upgrade_elsewhere_is_refused),
        cmocka_unit_test(a_plain_get_of_the_websocket_path_is_a_request),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
