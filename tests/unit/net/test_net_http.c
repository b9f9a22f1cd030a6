#include "unit/net/support_net.h"

#include "common/base/alloc.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum {
    BIG = 8 * 1024 * 1024,
    BUSY_TURNS = 50 /* more in some tenths of a second: the loop goes round for nothing */
};

static void answer_body(struct fixture *f, struct net_request *req)
{
    (void)f;
    size_t len = 0;
    const char *body = net_request_body(req, &len);
    net_respond(req, 200, "application/octet-stream", "X-Kind: echo\r\n", body, len);
}

static void a_request_is_answered(void **state)
{
    (void)state;
    struct fixture f;
    struct raw r;
    raw_start(&f, &r, answer_fine);
    raw_puts(&r, "GET /v1/things HTTP/1.1\r\nHost: test\r\n\r\n");
    raw_expect(&r, "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n"
                   "Connection: keep-alive\r\n\r\nfine\n");
    run_until(&f, &f.requests_closed, 1);
    raw_stop(&f, &r);
}

static void answer_checking(struct fixture *f, struct net_request *req)
{
    (void)f;
    assert_int_equal(net_request_method(req), NET_POST);
    assert_string_equal(net_request_path(req), "/v1/a b");
    assert_string_equal(net_request_query(req, "q"), "1&2=3 4");
    assert_string_equal(net_request_query(req, "empty"), "");
    assert_string_equal(net_request_query(req, "bare"), "");
    assert_string_equal(net_request_query(req, "last"), "z");
    assert_null(net_request_query(req, "las"));
    assert_null(net_request_query(req, "lastly"));
    assert_string_equal(net_request_header(req, "accept"), "text/event-stream");
    assert_string_equal(net_request_header(req, "last-event-id"), "42");
    assert_string_equal(net_request_header(req, "authorization"), "Bearer x y");
    assert_string_equal(net_request_header(req, "content-type"), "application/json");
    assert_string_equal(net_request_header(req, "host"), "example:80");
    assert_string_equal(net_request_header(req, "user-agent"), "tester");
    assert_string_equal(net_request_header(req, "x-kitsune-token"), "secret");
    assert_null(net_request_header(req, "x-kitsune-toke"));
    assert_null(net_request_header(req, "cookie"));
    assert_memory_equal(net_request_peer(req), "127.0.0.1:", 10);
    size_t len = 0;
    const char *body = net_request_body(req, &len);
    assert_int_equal(len, 5);
    assert_memory_equal(body, "hello", 5);
    assert_null(net_request_data(req));
    net_request_set_data(req, f);
    assert_ptr_equal(net_request_data(req), f);
    net_respond(req, 201, "text/plain", "Location: /v1/1\r\n", "", 0);
}

static void everything_of_a_request_can_be_asked(void **state)
{
    (void)state;
    struct fixture f;
    struct raw r;
    raw_start(&f, &r, answer_checking);
    raw_puts(&r,
             "POST /v1/%61%20b?q=1%262%3D3+4&empty=&bare&last=z HTTP/1.1\r\nHost: example:80\r\n"
             "Accept: text/event-stream\r\nLast-Event-ID: 42\r\nAuthorization: Bearer x y\r\n"
             "Content-Type: application/json\r\nUser-Agent: tester\r\n"
             "X-Kitsune-Token: secret\r\nContent-Length: 5\r\n\r\nhel");
    run_for(&f, 20);
    assert_int_equal(f.requests, 0); /* not before the body is complete */
    raw_puts(&r, "lo");
    raw_expect(&r, "HTTP/1.1 201 Created\r\n");
    raw_expect(&r, "Location: /v1/1\r\n");
    raw_stop(&f, &r);
}

static void a_body_comes_back(void **state)
{
    (void)state;
    struct fixture f;
    struct raw r;
    raw_start(&f, &r, answer_body);
    char *body = malloc(TEST_MAX_BODY);
    assert_non_null(body);
    for (size_t i = 0; i < TEST_MAX_BODY; i++)
        body[i] = (char)(i * 7 + i / 251);
    char head[128];
    (void)snprintf(head, sizeof(head), "PUT /x HTTP/1.1\r\nHost: t\r\nContent-Length: %d\r\n\r\n",
                   TEST_MAX_BODY);
    raw_puts(&r, head);
    for (size_t sent = 0; sent < TEST_MAX_BODY; sent += 65536) {
        raw_send(&r, body + sent, 65536);
        (void)uv_run(&f.loop, UV_RUN_NOWAIT);
    }
    raw_expect(&r, "\r\n\r\n");
    const char *end = memmem(r.in.data, r.in.len, "\r\n\r\n", 4);
    size_t head_len = (size_t)(end + 4 - r.in.data);
    while (r.in.len < head_len + TEST_MAX_BODY)
        run_for(&f, 1);
    assert_int_equal(r.in.len, head_len + TEST_MAX_BODY);
    assert_memory_equal(r.in.data + head_len, body, TEST_MAX_BODY);
    free(body);
    raw_stop(&f, &r);
}

static void one_who_waits_to_send_a_body_is_told_to_go_on(void **state)
{
    (void)state;
    struct fixture f;
    struct raw r;
    raw_start(&f, &r, answer_body);
    raw_puts(&r, "POST /x HTTP/1.1\r\nHost: t\r\nContent-Length: 5\r\n"
                 "Expect: 100-continue\r\n\r\n");
    raw_expect(&r, "HTTP/1.1 100 Continue\r\n\r\n");
    assert_int_equal(f.requests, 0);
    raw_puts(&r, "hello");
    raw_expect(&r, "HTTP/1.1 200 OK\r\n");
    raw_expect(&r, "\r\n\r\nhello");
    raw_stop(&f, &r);
}

static void answer_with_taken_body(struct fixture *f, struct net_request *req)
{
    size_t len = 0;
    size_t left = 0;
    (void)f;
    char *body = net_request_take_body(req, &len);
    (void)net_request_body(req, &left);
    assert_int_equal(left, 0);
    char none[] = "none";
    net_respond(req, 200, "text/plain", NULL, body == NULL ? none : body, body == NULL ? 4 : len);
    mem_free(body);
}

static void a_body_can_be_taken_over(void **state)
{
    (void)state;
    struct fixture f;
    struct raw r;
    raw_start(&f, &r, answer_with_taken_body);
    raw_puts(&r, "PUT /x HTTP/1.1\r\nHost: t\r\nContent-Length: 5\r\n\r\nhello");
    raw_expect(&r, "\r\n\r\nhello");
    buf_clear(&r.in);
    raw_puts(&r, "PUT /x HTTP/1.1\r\nHost: t\r\nContent-Length: 0\r\n\r\n");
    raw_expect(&r, "\r\n\r\nnone");
    raw_stop(&f, &r);
}

static void a_body_over_the_bound_is_refused_at_once(void **state)
{
    (void)state;
    struct fixture f;
    struct raw r;
    raw_start(&f, &r, answer_fine);
    char head[128];
    (void)snprintf(head, sizeof(head), "POST /x HTTP/1.1\r\nHost: t\r\nContent-Length: %d\r\n\r\n",
                   TEST_MAX_BODY + 1);
    raw_puts(&r, head);
    raw_expect(&r, "HTTP/1.1 413 Content Too Large\r\nContent-Type: application/problem+json\r\n");
    raw_expect(&r, "Connection: close\r\n");
    raw_expect(&r, "\"status\":413");
    raw_puts(&r, "some of it all the same");
    raw_expect_end(&r);
    assert_int_equal(f.requests, 0);
    assert_int_equal(f.requests_closed, 0);
    raw_stop(&f, &r);
}

static void a_length_that_is_no_number_is_refused(void **state)
{
    (void)state;
    static const char *const lengths[] = {"5x", "-5", "+5", "5, 5", "99999999999999999999", "0x5"};
    for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
        struct fixture f;
        struct raw r;
        raw_start(&f, &r, answer_fine);
        char head[128];
        (void)snprintf(head, sizeof(head),
                       "POST /x HTTP/1.1\r\nHost: t\r\nContent-Length: %s\r\n\r\nhello",
                       lengths[i]);
        raw_puts(&r, head);
        raw_expect(&r, "HTTP/1.1 400 ");
        raw_expect_end(&r);
        assert_int_equal(f.requests, 0);
        raw_stop(&f, &r);
    }
}

static void a_chunked_body_is_refused(void **state)
{
    (void)state;
    struct fixture f;
    struct raw r;
    raw_start(&f, &r, answer_fine);
    raw_puts(&r, "POST /x HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n"
                 "5\r\nhello\r\n0\r\n\r\n");
    raw_expect(&r, "HTTP/1.1 411 Length Required\r\n");
    raw_expect_end(&r);
    assert_int_equal(f.requests, 0);
    raw_stop(&f, &r);
}

static void a_post_without_length_has_no_body(void **state)
{
    (void)state;
    struct fixture f;
    struct raw r;
    raw_start(&f, &r, answer_body);
    raw_puts(&r, "POST /pause HTTP/1.1\r\nHost: t\r\n\r\n");
    raw_expect(&r, "Content-Length: 0\r\nConnection: close\r\n");
    raw_expect_end(&r);
    assert_int_equal(f.requests, 1);
    raw_stop(&f, &r);
}

static void an_explicitly_empty_body_keeps_the_connection(void **state)
{
    (void)state;
    static const char *const methods[] = {"POST", "PUT", "DELETE", "GET"};
    struct fixture f;
    struct raw r;
    raw_start(&f, &r, answer_body);
    for (unsigned i = 0; i < 4; i++) {
        char head[128];
        (void)snprintf(head, sizeof(head),
                       "%s /%u HTTP/1.1\r\nHost: t\r\nContent-Length: 0\r\n\r\n", methods[i], i);
        raw_puts(&r, head);
        run_until(&f, &f.requests_closed, i + 1);
    }
    assert_int_equal(f.requests, 4);
    assert_false(r.eof);
    raw_stop(&f, &r);
}

static void requests_follow_each_other_on_a_connection(void **state)
{
    (void)state;
    struct fixture f;
    struct raw r;
    raw_start(&f, &r, answer_body);
    for (unsigned i = 0; i < 20; i++) {
        char text[128];
        (void)snprintf(text, sizeof(text),
                       i % 2 == 0 ? "POST /a HTTP/1.1\r\nHost: t\r\nContent-Length: 4\r\n\r\n%04u"
                                  : "GET /b%u HTTP/1.1\r\nHost: t\r\n\r\n",
                       i);
        raw_puts(&r, text);
        run_until(&f, &f.requests_closed, i + 1);
    }
    raw_expect(&r, "0018");
    assert_false(r.eof);
    raw_stop(&f, &r);
}

static void answer_path(struct fixture *f, struct net_request *req)
{
    (void)f;
    const char *path = net_request_path(req);
    net_respond(req, 200, "text/plain", NULL, path, strlen(path));
}

static void requests_sent_together_are_answered_in_order(void **state)
{
    (void)state;
    struct fixture f;
    struct raw r;
    raw_start(&f, &r, answer_path);
    raw_puts(&r, "POST /one HTTP/1.1\r\nHost: t\r\nContent-Length: 3\r\n\r\nabc"
                 "GET /two HTTP/1.1\r\nHost: t\r\n\r\n"
                 "GET /three HTTP/1.1\r\nHost: t\r\n\r\n"
                 "GET /four HTTP/1.1\r\nHost: t\r\n\r\n");
    raw_expect(&r, "/four");
    const char *one = memmem(r.in.data, r.in.len, "/one", 4);
    const char *two = memmem(r.in.data, r.in.len, "/two", 4);
    const char *three = memmem(r.in.data, r.in.len, "/three", 6);
    assert_true(one != NULL && two != NULL && three != NULL);
    assert_true(one < two && two < three);
    assert_int_equal(f.requests, 4);
    raw_stop(&f, &r);
}

static void a_body_sent_behind_another_request_ends_the_connection(void **state)
{
    (void)state;
    static const char *const behind[] = {
        "POST /2 HTTP/1.1\r\nHost: t\r\nContent-Length: 3\r\n\r\ntwoGET /3 HTTP/1.1\r\n\r\n",
        "POST /2 HTTP/1.1\r\nHost: t\r\n\r\nGET /3 HTTP/1.1\r\n\r\n",
        "GET /2 HTTP/1.1\r\nHost: t\r\nContent-Length: 3\r\n\r\ntwoGET /3 HTTP/1.1\r\n\r\n",
    };
    for (size_t i = 0; i < sizeof(behind) / sizeof(behind[0]); i++) {
        struct fixture f;
        struct raw r;
        raw_start(&f, &r, answer_path);
        char text[512];
        (void)snprintf(text, sizeof(text), "GET /1 HTTP/1.1\r\nHost: t\r\n\r\n%s", behind[i]);
        raw_puts(&r, text);
        raw_expect_end(&r);
        assert_int_equal(f.requests, 1);
        assert_int_equal(f.requests_closed, 1);
        raw_stop(&f, &r);
    }
}

static void the_connection_is_closed_when_asked_for(void **state)
{
    (void)state;
    static const char *const requests[] = {
        "GET / HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: t\r\nConnection: Close, TE\r\n\r\n",
        "GET / HTTP/1.0\r\n\r\n",
    };
    for (size_t i = 0; i < 3; i++) {
        struct fixture f;
        struct raw r;
        raw_start(&f, &r, answer_fine);
        raw_puts(&r, requests[i]);
        raw_expect(&r, "Connection: close\r\n\r\nfine\n");
        raw_expect_end(&r);
        raw_stop(&f, &r);
    }
}

static void head_has_the_length_and_no_body(void **state)
{
    (void)state;
    struct fixture f;
    struct raw r;
    raw_start(&f, &r, answer_fine);
    raw_puts(&r, "HEAD / HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n");
    raw_expect(&r, "Content-Length: 5\r\n");
    raw_expect_end(&r);
    assert_memory_equal(r.in.data + r.in.len - 4, "\r\n\r\n", 4);
    raw_stop(&f, &r);
}

static void answer_method(struct fixture *f, struct net_request *req)
{
    (void)f;
    if (net_request_method(req) == NET_OTHER_METHOD)
        net_respond(req, 405, "text/plain", "Allow: GET\r\n", "no", 2);
    else
        net_respond(req, 200, "text/plain", NULL, "yes", 3);
}

static void other_methods_reach_the_user_or_end_the_connection(void **state)
{
    (void)state;
    struct fixture f;
    struct raw r;
    raw_start(&f, &r, answer_method);
    raw_puts(&r, "OPTIONS / HTTP/1.1\r\nHost: t\r\n\r\n");
    raw_expect(&r, "HTTP/1.1 405 Method Not Allowed\r\n");
    raw_puts(&r, "PATCH / HTTP/1.1\r\nHost: t\r\nContent-Length: 1\r\n\r\nx");
    run_until(&f, &f.requests_closed, 2);
    raw_close(&r);
    static const char *const bad[] = {"BREW / HTTP/1.1\r\nHost: t\r\n\r\n",
                                      "CONNECT a:1 HTTP/1.1\r\nHost: t\r\n\r\n"};
    for (size_t i = 0; i < 2; i++) {
        raw_connect(&r, &f, net_server_port(f.server));
        raw_puts(&r, bad[i]);
        raw_expect_end(&r);
        raw_close(&r);
    }
    assert_int_equal(f.requests, 2);
    fixture_stop(&f);
}

static char *big;

static void answer_big(struct fixture *f, struct net_request *req)
{
    (void)f;
    net_respond(req, 200, "application/octet-stream", NULL, big, BIG);
}

static void a_large_answer_arrives_whole(void **state)
{
    (void)state;
    struct fixture f;
    struct raw r;
    big = malloc(BIG);
    assert_non_null(big);
    for (size_t i = 0; i < BIG; i++)
        big[i] = (char)(i * 31 + i / 1021);
    raw_start(&f, &r, answer_big);
    for (unsigned i = 0; i < 2; i++) { /* and the connection can be used again */
        raw_puts(&r, "GET /big HTTP/1.1\r\nHost: t\r\n\r\n");
        raw_pause(&r);
        run_for(&f, 50); /* it has to stop in the middle */
        assert_int_equal(f.requests_closed, i);
        assert_int_equal(uv_poll_start(&r.poll, UV_READABLE, r.poll.poll_cb), 0);
        run_until(&f, &f.requests_closed, i + 1);
        raw_expect(&r, "\r\n\r\n");
        const char *end = memmem(r.in.data, r.in.len, "\r\n\r\n", 4);
        size_t head_len = (size_t)(end + 4 - r.in.data);
        while (r.in.len < head_len + BIG)
            run_for(&f, 1);
        assert_int_equal(r.in.len, head_len + BIG);
        assert_memory_equal(r.in.data + head_len, big, BIG);
        buf_clear(&r.in);
    }
    free(big);
    raw_stop(&f, &r);
}

static void a_client_that_half_closes_or_sends_on_does_not_keep_the_loop_busy(void **state)
{
    (void)state;
    struct fixture f;
    struct raw waiting;
    struct raw half;
    raw_start(&f, &waiting, NULL); /* an answer that does not come */
    raw_puts(&waiting, "GET /slow HTTP/1.1\r\nHost: t\r\n\r\nGET /next HTTP/1.1\r\n");
    raw_connect(&half, &f, net_server_port(f.server));
    raw_puts(&half, "GET /slow HTTP/1.1\r\nHost: t\r\n\r\n");
    assert_int_equal(shutdown(half.fd, SHUT_WR), 0);
    run_until(&f, &f.requests, 2);
    raw_puts(&waiting, "more of it");
    f.turns = 0;
    run_for(&f, 400);
    assert_in_range(f.turns, 1, BUSY_TURNS);
    answer_fine(&f, f.last_request);
    raw_expect(&half, "fine\n");
    raw_close(&half);
    raw_stop(&f, &waiting);
    assert_int_equal(f.requests_closed, 2);
}

static void a_blocked_answer_whose_client_sends_on_is_given_up(void **state)
{
    (void)state;
    struct fixture f;
    struct raw r;
    big = calloc(1, BIG);
    assert_non_null(big);
    raw_start(&f, &r, answer_big);
    raw_puts(&r, "GET /big HTTP/1.1\r\nHost: t\r\n\r\n");
    raw_pause(&r);
    run_for(&f, 50);
    assert_int_equal(f.requests_closed, 0);
    raw_puts(&r, "GET /big HTTP/1.1\r\nHost: t\r\n\r\n");
    f.turns = 0;
    run_until(&f, &f.requests_closed, 1);
    run_for(&f, 300);
    assert_in_range(f.turns, 1, BUSY_TURNS);
    free(big);
    raw_stop(&f, &r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_request_is_answered),
        cmocka_unit_test(everything_of_a_request_can_be_asked),
        cmocka_unit_test(a_body_comes_back),
        cmocka_unit_test(one_who_waits_to_send_a_body_is_told_to_go_on),
        cmocka_unit_test(a_body_can_be_taken_over),
        cmocka_unit_test(a_body_over_the_bound_is_refused_at_once),
        cmocka_unit_test(a_length_that_is_no_number_is_refused),
        cmocka_unit_test(a_chunked_body_is_refused),
        cmocka_unit_test(a_post_without_length_has_no_body),
        cmocka_unit_test(an_explicitly_empty_body_keeps_the_connection),
        cmocka_unit_test(requests_follow_each_other_on_a_connection),
        cmocka_unit_test(requests_sent_together_are_answered_in_order),
        cmocka_unit_test(a_body_sent_behind_another_request_ends_the_connection),
        cmocka_unit_test(the_connection_is_closed_when_asked_for),
        cmocka_unit_test(head_has_the_length_and_no_body),
        cmocka_unit_test(other_methods_reach_the_user_or_end_the_connection),
        cmocka_unit_test(a_large_answer_arrives_whole),
        cmocka_unit_test(a_client_that_half_closes_or_sends_on_does_not_keep_the_loop_busy),
        cmocka_unit_test(a_blocked_answer_whose_client_sends_on_is_given_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
