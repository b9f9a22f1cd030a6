/* What net promises of its connections holds over TLS as well, where what is there to be read is
 * partly in OpenSSL's hands. */
#include "unit/net/support_tls.h"

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

static void start(struct fixture *f, struct tls_raw *t)
{
    tls_start(f, &world);
    tls_raw_connect(t, f);
    assert_true(tls_raw_handshake(t));
}

static void stop(struct fixture *f, struct tls_raw *t)
{
    tls_raw_close(t);
    fixture_stop(f);
}

static char *pattern(size_t len)
{
    char *text = malloc(len + 1);
    assert_non_null(text);
    for (size_t i = 0; i < len; i++)
        text[i] = (char)('a' + (i * 7 + i / 251) % 26);
    text[len] = '\0';
    return text;
}

/* ---- WebSockets -------------------------------------------------------------------------------
 */

static void big_messages_arrive_whole_both_ways(void **state)
{
    (void)state;
    /* Around the sizes of TLS records and of what is read and written at once. */
    static const size_t sizes[] = {1,     1023,      1024,          1025,    16383,           16384,
                                   16385, 64 * 1024, 64 * 1024 + 1, 1000003, TEST_MAX_MESSAGE};
    struct fixture f;
    struct client c;
    const struct net_tls_client tls = tls_client_config(&world, true);
    tls_start(&f, &world);
    tls_connect(&c, &f, &tls);
    char *text = pattern(TEST_MAX_MESSAGE);
    for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        assert_int_equal(net_conn_send(c.conn, text, sizes[i], NULL), ERR_OK);
        run_until(&f, &c.messages, i + 1);
        assert_int_equal(c.last_message.len, sizes[i]);
        assert_memory_equal(c.last_message.data, text, sizes[i]);
    }
    free(text);
    fixture_stop(&f);
    client_done(&c);
}

static unsigned next_expected;

static void check_order(struct client *c, const char *data, size_t len)
{
    (void)c;
    char expected[16];
    (void)snprintf(expected, sizeof(expected), "%u", next_expected++);
    assert_int_equal(len, strlen(expected));
    assert_memory_equal(data, expected, len);
}

static void many_messages_keep_their_order(void **state)
{
    (void)state;
    enum { MANY = 20000 };
    struct fixture f;
    struct client c;
    const struct net_tls_client tls = tls_client_config(&world, true);
    tls_start(&f, &world);
    tls_connect(&c, &f, &tls);
    next_expected = 0;
    c.on_message = check_order;
    for (unsigned i = 0; i < MANY; i++) {
        char text[16];
        (void)snprintf(text, sizeof(text), "%u", i);
        assert_int_equal(net_conn_send(c.conn, text, strlen(text), NULL), ERR_OK);
    }
    run_until(&f, &c.messages, MANY);
    fixture_stop(&f);
    client_done(&c);
}

static void the_close_reason_reaches_the_other_end(void **state)
{
    (void)state;
    struct fixture f;
    struct client c;
    const struct net_tls_client tls = tls_client_config(&world, true);
    tls_start(&f, &world);
    tls_connect(&c, &f, &tls);
    assert_int_equal(net_conn_send(f.last_conn, "last words", 10, NULL), ERR_OK);
    net_conn_close(f.last_conn, 1001, "revoked");
    run_until(&f, &c.closed, 1);
    assert_int_equal(c.messages, 1);
    assert_string_equal(c.reason, "closed by the peer: 1001 revoked");
    run_until(&f, &f.conns_closed, 1);
    fixture_stop(&f);
    client_done(&c);
}

static void upgrade(struct tls_raw *t)
{
    tls_raw_puts(t, "GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
                    "Sec-WebSocket-Version: 13\r\n\r\n");
    tls_raw_expect(t, "101 Switching Protocols");
}

static void a_peer_that_does_not_read_is_dropped_and_harms_nobody(void **state)
{
    (void)state;
    struct fixture f;
    struct client c;
    struct tls_raw t;
    const struct net_tls_client tls = tls_client_config(&world, true);
    start(&f, &t);
    upgrade(&t);
    raw_pause(&t.r);
    struct net_conn *stuck = f.last_conn;
    tls_connect(&c, &f, &tls);
    enum { PIECE = 512 * 1024 };
    char *text = pattern(PIECE);
    enum error_code code = ERR_OK;
    for (unsigned i = 0; code == ERR_OK && i < 1000; i++) {
        assert_true(net_conn_queued(stuck) <= NET_CONN_QUEUE_MAX);
        code = net_conn_send(stuck, text, PIECE, NULL);
        if (i == 20) {
            assert_int_equal(net_conn_send(c.conn, "still here", 10, NULL), ERR_OK);
            run_until(&f, &c.messages, 1);
        }
    }
    free(text);
    assert_int_equal(code, ERR_LIMIT);
    run_until(&f, &f.conns_closed, 1);
    assert_string_equal(f.last_reason, "send queue is full: the peer does not read");
    assert_int_equal(net_conn_send(c.conn, "and now", 7, NULL), ERR_OK);
    run_until(&f, &c.messages, 2);
    stop(&f, &t);
    client_done(&c);
}

/* It reads again after a while: what was written in part goes on where it was. */
static void a_peer_that_pauses_gets_all_of_it(void **state)
{
    (void)state;
    struct fixture f;
    struct tls_raw t;
    start(&f, &t);
    upgrade(&t);
    raw_pause(&t.r);
    char *text = pattern(BIG);
    assert_int_equal(net_conn_send(f.last_conn, text, BIG, NULL), ERR_OK);
    assert_int_equal(net_conn_send(f.last_conn, "the end", 7, NULL), ERR_OK);
    run_for(&f, 100);
    assert_true(net_conn_queued(f.last_conn) > 0);
    f.turns = 0;
    run_for(&f, 300);
    assert_in_range(f.turns, 1, BUSY_TURNS);
    raw_go_on(&t.r);
    tls_raw_expect(&t, "the end");
    assert_true(t.in.len > BIG);
    assert_int_equal(net_conn_queued(f.last_conn), 0);
    free(text);
    stop(&f, &t);
}

static void a_lost_connection_is_told(void **state)
{
    (void)state;
    struct fixture f;
    struct tls_raw t;
    start(&f, &t);
    upgrade(&t);
    assert_int_equal(shutdown(t.r.fd, SHUT_RDWR), 0); /* without a word of TLS */
    run_until(&f, &f.conns_closed, 1);
    assert_string_equal(f.last_reason, "connection lost");
    stop(&f, &t);
}

static void altered_bytes_end_the_connection(void **state)
{
    (void)state;
    struct fixture f;
    struct tls_raw t;
    start(&f, &t);
    upgrade(&t);
    static const unsigned char forged[] = {0x17, 3, 3, 0, 20, 1, 2, 3, 4, 5, 6, 7, 8,
                                           9,    1, 2, 3, 4,  5, 6, 7, 8, 9, 1, 2};
    raw_send(&t.r, forged, sizeof(forged));
    run_until(&f, &f.conns_closed, 1);
    assert_int_equal(f.messages, 0);
    stop(&f, &t);
}

/* ---- HTTP -------------------------------------------------------------------------------------
 */

static void answer_body(struct fixture *f, struct net_request *req)
{
    (void)f;
    size_t len = 0;
    const char *body = net_request_body(req, &len);
    net_respond(req, 200, "application/octet-stream", NULL, body, len);
}

/* The answer has this body, and nothing comes behind it. */
static void assert_answer(struct tls_raw *t, const char *body, size_t len)
{
    char length[64];
    (void)snprintf(length, sizeof(length), "Content-Length: %zu\r\nConnection: keep-alive\r\n\r\n",
                   len);
    tls_raw_expect(t, length);
    const char *found = memmem(t->in.data, t->in.len, length, strlen(length));
    size_t head = (size_t)(found - t->in.data) + strlen(length);
    while (t->in.len < head + len)
        tls_raw_expect(t, "");
    assert_int_equal(t->in.len, head + len);
    assert_memory_equal(t->in.data + head, body, len);
    buf_clear(&t->in);
}

static void bodies_of_all_sizes_come_back(void **state)
{
    (void)state;
    static const size_t sizes[] = {0,     1,     100,   16000, 16100, 16200,        16300,
                                   16384, 16400, 32768, 65536, 65537, TEST_MAX_BODY};
    struct fixture f;
    struct tls_raw t;
    start(&f, &t);
    f.answer = answer_body;
    char *text = pattern(TEST_MAX_BODY);
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        char head[128];
        (void)snprintf(head, sizeof(head),
                       "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %zu\r\n\r\n", sizes[i]);
        struct buf request = BUF_INIT;
        buf_puts(&request, head);
        buf_append(&request, text, sizes[i]);
        tls_raw_send(&t, request.data, request.len);
        buf_done(&request);
        assert_answer(&t, text, sizes[i]);
    }
    free(text);
    stop(&f, &t);
}

static char *big;

static void answer_big(struct fixture *f, struct net_request *req)
{
    (void)f;
    net_respond(req, 200, "application/octet-stream", NULL, big, BIG);
}

static void a_large_answer_to_a_slow_reader_arrives_whole(void **state)
{
    (void)state;
    struct fixture f;
    struct tls_raw t;
    big = pattern(BIG);
    memcpy(big + BIG - 8, "the end.", 8);
    start(&f, &t);
    f.answer = answer_big;
    tls_raw_puts(&t, "GET /big HTTP/1.1\r\nHost: x\r\n\r\n");
    raw_pause(&t.r);
    run_for(&f, 50);
    assert_int_equal(f.requests_closed, 0);
    f.turns = 0;
    run_for(&f, 300);
    assert_in_range(f.turns, 1, BUSY_TURNS);
    raw_go_on(&t.r);
    tls_raw_expect(&t, "the end.");
    run_until(&f, &f.requests_closed, 1);
    assert_true(t.in.len > BIG);
    free(big);
    stop(&f, &t);
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
    struct tls_raw t;
    start(&f, &t);
    f.answer = answer_path;
    tls_raw_puts(&t, "GET /one HTTP/1.1\r\nHost: x\r\n\r\nGET /two HTTP/1.1\r\nHost: x\r\n\r\n"
                     "GET /three HTTP/1.1\r\nHost: x\r\n\r\n");
    tls_raw_expect(&t, "/three");
    const char *one = memmem(t.in.data, t.in.len, "/one", 4);
    const char *two = memmem(t.in.data, t.in.len, "/two", 4);
    assert_non_null(one);
    assert_non_null(two);
    assert_true(one < two);
    stop(&f, &t);
}

static void answer_stream(struct fixture *f, struct net_request *req)
{
    (void)f;
    net_stream_begin(req, 200, "text/event-stream", NULL);
}

static void a_stream_is_sent_piece_by_piece(void **state)
{
    (void)state;
    struct fixture f;
    struct tls_raw t;
    start(&f, &t);
    f.answer = answer_stream;
    tls_raw_puts(&t, "GET /events HTTP/1.1\r\nHost: x\r\n\r\n");
    tls_raw_expect(&t, "Transfer-Encoding: chunked");
    for (unsigned i = 0; i < 3; i++) {
        char text[32];
        (void)snprintf(text, sizeof(text), "data: %u\n\n", i);
        assert_int_equal(net_stream_send(f.last_request, text, strlen(text), NULL), ERR_OK);
        tls_raw_expect(&t, text);
    }
    net_stream_end(f.last_request);
    tls_raw_expect(&t, "0\r\n\r\n");
    run_until(&f, &f.requests_closed, 1);
    stop(&f, &t);
}

static void a_streams_client_that_goes_is_noticed(void **state)
{
    (void)state;
    struct fixture f;
    struct tls_raw t;
    start(&f, &t);
    f.answer = answer_stream;
    tls_raw_puts(&t, "GET /events HTTP/1.1\r\nHost: x\r\n\r\n");
    tls_raw_expect(&t, "chunked");
    assert_int_equal(SSL_shutdown(t.ssl), 0);
    tls_raw_flush(&t);
    run_until(&f, &f.requests_closed, 1);
    stop(&f, &t);
}

/* Its second request may be in OpenSSL's hands already, where no socket tells of it. */
static void a_client_that_sends_on_does_not_keep_the_loop_busy(void **state)
{
    (void)state;
    struct fixture f;
    struct tls_raw t;
    char padding[16384];
    start(&f, &t);
    memset(padding, 'p', sizeof(padding));
    tls_raw_puts(&t, "GET /slow HTTP/1.1\r\nHost: x\r\n\r\nGET /next HTTP/1.1\r\n");
    run_until(&f, &f.requests, 1); /* an answer that does not come */
    tls_raw_send(&t, padding, sizeof(padding));
    f.turns = 0;
    run_for(&f, 400);
    assert_in_range(f.turns, 1, BUSY_TURNS);
    stop(&f, &t);
    assert_int_equal(f.requests_closed, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(big_messages_arrive_whole_both_ways),
        cmocka_unit_test(many_messages_keep_their_order),
        cmocka_unit_test(the_close_reason_reaches_the_other_end),
        cmocka_unit_test(a_peer_that_does_not_read_is_dropped_and_harms_nobody),
        cmocka_unit_test(a_peer_that_pauses_gets_all_of_it),
        cmocka_unit_test(a_lost_connection_is_told),
        cmocka_unit_test(altered_bytes_end_the_connection),
        cmocka_unit_test(bodies_of_all_sizes_come_back),
        cmocka_unit_test(a_large_answer_to_a_slow_reader_arrives_whole),
        cmocka_unit_test(requests_sent_together_are_answered_in_order),
        cmocka_unit_test(a_stream_is_sent_piece_by_piece),
        cmocka_unit_test(a_streams_client_that_goes_is_noticed),
        cmocka_unit_test(a_client_that_sends_on_does_not_keep_the_loop_busy),
    };
    return cmocka_run_group_tests(tests, make_world, free_world);
}
