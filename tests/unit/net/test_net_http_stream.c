#include "unit/net/support_net.h"

#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static unsigned asked;

static void on_writable(void *ctx, struct net_request *req)
{
    (void)ctx;
    (void)req;
    asked++;
}

static void answer_stream(struct fixture *f, struct net_request *req)
{
    (void)f;
    assert_string_equal(net_request_header(req, "host"), "t");
    net_stream_begin(req, 200, "text/event-stream", on_writable);
    assert_string_equal(net_request_header(req, "host"), "t"); /* was asked for before */
    assert_null(net_request_header(req, "user-agent"));
}

static void stream_start(struct fixture *f, struct raw *r, const char *request)
{
    asked = 0;
    raw_start(f, r, answer_stream);
    raw_puts(r, request);
    raw_expect(r, "\r\n\r\n");
    run_until(f, &asked, 1);
}

static void send_event(struct fixture *f, const char *text)
{
    assert_int_equal(net_stream_send(f->last_request, text, strlen(text), NULL), ERR_OK);
}

static void a_stream_is_sent_piece_by_piece(void **state)
{
    (void)state;
    struct fixture f;
    struct raw r;
    stream_start(&f, &r, "GET /events HTTP/1.1\r\nHost: t\r\n\r\n");
    raw_expect(&r, "Transfer-Encoding: chunked\r\n");
    send_event(&f, "data: 1\n\n");
    raw_expect(&r, "9\r\ndata: 1\n\n\r\n");
    run_until(&f, &asked, 2);
    send_event(&f, "");
    send_event(&f, "data: 2, a longer one\n\n");
    raw_expect(&r, "17\r\ndata: 2, a longer one\n\n\r\n");
    unsigned before = asked;
    net_stream_want(f.last_request);
    assert_int_equal(asked, before); /* never from within */
    run_until(&f, &asked, before + 1);
    assert_int_equal(f.requests_closed, 0);
    net_stream_end(f.last_request);
    raw_expect(&r, "0\r\n\r\n");
    run_until(&f, &f.requests_closed, 1);
    buf_clear(&r.in); /* the connection goes on */
    raw_puts(&r, "GET /events HTTP/1.1\r\nHost: t\r\n\r\n");
    raw_expect(&r, "200 OK");
    raw_stop(&f, &r);
    assert_int_equal(f.requests_closed, 2);
}

static void answer_sized(struct fixture *f, struct net_request *req)
{
    (void)f;
    const struct net_stream_head head = {.status = 206,
                                         .content_type = "application/octet-stream",
                                         .headers = "Content-Range: bytes 5-13/14\r\n",
                                         .length_bytes = 9};
    net_stream_begin_sized(req, &head, on_writable);
}

static void sized_start(struct fixture *f, struct raw *r, const char *request)
{
    asked = 0;
    raw_start(f, r, answer_sized);
    raw_puts(r, request);
    raw_expect(r, "HTTP/1.1 206 Partial Content\r\n");
    raw_expect(r, "Content-Range: bytes 5-13/14\r\n");
    raw_expect(r, "Content-Length: 9\r\n");
    raw_expect(r, "\r\n\r\n");
    run_until(f, &asked, 1);
}

static void a_stream_of_a_known_length_has_it_in_its_head_and_no_chunks(void **state)
{
    (void)state;
    struct fixture f;
    struct raw r;
    sized_start(&f, &r, "GET /events HTTP/1.1\r\nHost: t\r\n\r\n");
    send_event(&f, "12345");
    run_until(&f, &asked, 2);
    send_event(&f, "6789");
    net_stream_end(f.last_request);
    raw_expect(&r, "\r\n\r\n123456789");
    run_until(&f, &f.requests_closed, 1);
    assert_null(memmem(r.in.data, r.in.len, "chunked", 7));
    buf_clear(&r.in); /* the connection goes on */
    raw_puts(&r, "HEAD /events HTTP/1.1\r\nHost: t\r\n\r\n");
    raw_expect(&r, "Content-Length: 9\r\n");
    run_until(&f, &f.requests, 2);
    net_stream_end(f.last_request);
    run_until(&f, &f.requests_closed, 2);
    raw_puts(&r, "GET /events HTTP/1.1\r\nHost: t\r\n\r\n");
    run_until(&f, &f.requests, 3);
    raw_stop(&f, &r);
}

static void a_stream_that_ends_before_its_length_is_broken_off(void **state)
{
    (void)state;
    struct fixture f;
    struct raw r;
    sized_start(&f, &r, "GET /events HTTP/1.1\r\nHost: t\r\n\r\n");
    send_event(&f, "12345");
    run_until(&f, &asked, 2);
    net_stream_end(f.last_request);
    run_until(&f, &f.requests_closed, 1);
    raw_expect_end(&r);
    raw_stop(&f, &r);
}

static void an_old_client_gets_a_stream_that_ends_with_the_connection(void **state)
{
    (void)state;
    struct fixture f;
    struct raw r;
    stream_start(&f, &r, "GET /events HTTP/1.0\r\nHost: t\r\n\r\n");
    send_event(&f, "data: 1\n\n");
    net_stream_end(f.last_request);
    raw_expect(&r, "Connection: close\r\n\r\ndata: 1\n\n");
    raw_expect_end(&r);
    raw_stop(&f, &r);
}

static void a_streams_client_that_goes_is_noticed(void **state)
{
    (void)state;
    struct fixture f;
    struct raw r;
    stream_start(&f, &r, "GET /events HTTP/1.1\r\nHost: t\r\n\r\n");
    raw_close(&r);
    run_until(&f, &f.requests_closed, 1);
    fixture_stop(&f);
}

static void a_stream_that_is_not_read_is_dropped(void **state)
{
    (void)state;
    struct fixture f;
    struct raw r;
    stream_start(&f, &r, "GET /events HTTP/1.1\r\nHost: t\r\n\r\n");
    raw_pause(&r);
    enum { PIECE = 1024 * 1024 };
    char *piece = calloc(1, PIECE);
    assert_non_null(piece);
    enum error_code code = ERR_OK;
    for (unsigned i = 0; i < 100 && code == ERR_OK; i++) {
        code = net_stream_send(f.last_request, piece, PIECE, NULL);
        (void)uv_run(&f.loop, UV_RUN_NOWAIT);
    }
    free(piece);
    assert_int_equal(code, ERR_LIMIT);
    run_until(&f, &f.requests_closed, 1);
    raw_stop(&f, &r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_stream_is_sent_piece_by_piece),
        cmocka_unit_test(a_stream_of_a_known_length_has_it_in_its_head_and_no_chunks),
        cmocka_unit_test(a_stream_that_ends_before_its_length_is_broken_off),
        cmocka_unit_test(an_old_client_gets_a_stream_that_ends_with_the_connection),
        cmocka_unit_test(a_streams_client_that_goes_is_noticed),
        cmocka_unit_test(a_stream_that_is_not_read_is_dropped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
