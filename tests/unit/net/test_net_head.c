/* Requests whose head is looked at before their body comes, and secrets that are wiped. */
#include "unit/net/support_net.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static unsigned heads;
static bool refuse;

static void head(void *ctx, struct net_request *req)
{
    (void)ctx;
    size_t len = 0;
    heads++;
    (void)net_request_body(req, &len);
    assert_int_equal(len, 0);
    if (refuse)
        net_respond(req, 401, "text/plain", NULL, "no\n", 3);
}

static void answer_body(struct fixture *f, struct net_request *req)
{
    (void)f;
    size_t len = 0;
    const char *body = net_request_body(req, &len);
    net_respond(req, 200, "text/plain", NULL, body, len);
}

static void start(struct fixture *f, struct raw *r, bool refused)
{
    struct net_server_config config = fixture_config(f);
    config.head = head;
    heads = 0;
    refuse = refused;
    fixture_start(f, &config);
    f->answer = answer_body;
    raw_connect(r, f, net_server_port(f->server));
}

static void stop(struct fixture *f, struct raw *r)
{
    raw_close(r);
    fixture_stop(f);
}

static void who_is_refused_by_his_head_is_not_asked_for_his_body(void **state)
{
    (void)state;
    struct fixture f;
    struct raw r;
    start(&f, &r, true);
    raw_puts(&r,
             "POST /x HTTP/1.1\r\nHost: t\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n");
    raw_expect(&r, "HTTP/1.1 401 Unauthorized\r\n");
    raw_expect(&r, "Connection: close\r\n");
    raw_expect(&r, "\r\n\r\nno\n");
    raw_puts(&r, "hello"); /* all the same, and not taken for a request */
    raw_expect_end(&r);
    assert_int_equal(heads, 1);
    assert_int_equal(f.requests, 0);
    assert_int_equal(f.requests_closed, 1);
    stop(&f, &r);
}

static void who_is_let_in_is_heard_and_his_connection_kept(void **state)
{
    (void)state;
    struct fixture f;
    struct raw r;
    start(&f, &r, false);
    raw_puts(&r, "POST /x HTTP/1.1\r\nHost: t\r\nContent-Length: 5\r\n\r\n");
    run_until(&f, &heads, 1);
    assert_int_equal(f.requests, 0);
    raw_puts(&r, "hello");
    raw_expect(&r, "Connection: keep-alive\r\n\r\nhello");
    run_until(&f, &f.requests_closed, 1);
    /* One without a body has no head apart. */
    raw_puts(&r, "GET /x HTTP/1.1\r\nHost: t\r\n\r\n");
    run_until(&f, &f.requests_closed, 2);
    assert_int_equal(heads, 1);
    stop(&f, &r);
}

static void one_that_goes_away_before_its_body_is_told_as_closed_once(void **state)
{
    (void)state;
    struct fixture f;
    struct raw r;
    start(&f, &r, false);
    raw_puts(&r, "POST /x HTTP/1.1\r\nHost: t\r\nContent-Length: 5\r\n\r\nhe");
    run_until(&f, &heads, 1);
    raw_close(&r);
    run_until(&f, &f.requests_closed, 1);
    assert_int_equal(f.requests, 0);
    fixture_stop(&f);
    assert_int_equal(f.requests_closed, 1);
}

static void answer_wiped(struct fixture *f, struct net_request *req)
{
    (void)f;
    size_t len = 0;
    const char *secret = net_request_header(req, "authorization");
    assert_string_equal(secret, "Bearer secret");
    net_request_wipe(req, "authorization");
    assert_null(net_request_header(req, "authorization"));
    const char *body = net_request_body(req, &len);
    assert_memory_equal(body, "hello", 5);
    net_request_wipe(req, NULL);
    assert_memory_equal(body, "\0\0\0\0\0", 5);
    (void)net_request_body(req, &len);
    net_respond(req, len == 0 ? 200 : 500, "text/plain", NULL, "fine\n", 5);
}

static void what_was_secret_is_wiped_once_it_was_looked_at(void **state)
{
    (void)state;
    struct fixture f;
    struct raw r;
    start(&f, &r, false);
    f.answer = answer_wiped;
    raw_puts(&r, "POST /x HTTP/1.1\r\nHost: t\r\nAuthorization: Bearer secret\r\n"
                 "Content-Length: 5\r\n\r\nhello");
    raw_expect(&r, "HTTP/1.1 200 OK\r\n");
    run_until(&f, &f.requests_closed, 1);
    stop(&f, &r);
}

static void answer_group(struct fixture *f, struct net_request *req)
{
    (void)f;
    assert_false(net_request_peer_in_group(req, getegid()));
    net_respond(req, 200, "text/plain", NULL, "fine\n", 5);
}

static void over_tcp_nobody_is_in_a_group(void **state)
{
    (void)state;
    struct fixture f;
    struct raw r;
    start(&f, &r, false);
    f.answer = answer_group;
    raw_puts(&r, "GET /x HTTP/1.1\r\nHost: t\r\n\r\n");
    raw_expect(&r, "HTTP/1.1 200 OK\r\n");
    run_until(&f, &f.requests_closed, 1);
    stop(&f, &r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_is_refused_by_his_head_is_not_asked_for_his_body),
        cmocka_unit_test(who_is_let_in_is_heard_and_his_connection_kept),
        cmocka_unit_test(one_that_goes_away_before_its_body_is_told_as_closed_once),
        cmocka_unit_test(what_was_secret_is_wiped_once_it_was_looked_at),
        cmocka_unit_test(over_tcp_nobody_is_in_a_group),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
