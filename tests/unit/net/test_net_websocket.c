#include "unit/net/support_net.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void send_text(struct net_conn *conn, const char *text)
{
    struct error err = {0};
    if (net_conn_send(conn, text, strlen(text), &err) != ERR_OK)
        fail_msg("%s", err.message);
}

static char *text_of(size_t len)
{
    char *text = malloc(len);
    assert_non_null(text);
    for (size_t i = 0; i < len; i++)
        text[i] = (char)('a' + i % 23);
    return text;
}

static void a_message_comes_back(void **state)
{
    (void)state;
    struct fixture f;
    struct client c;
    fixture_start(&f, NULL);
    client_connect(&c, &f);
    send_text(c.conn, "hello");
    run_until(&f, &c.messages, 1);
    assert_string_equal(c.last_message.data, "hello");
    assert_int_equal(f.conns, 1);
    assert_memory_equal(net_conn_peer(f.last_conn), "127.0.0.1:", 10);
    run_until(&f, &c.drained, 1);
    assert_int_equal(net_conn_queued(c.conn), 0);
    fixture_stop(&f);
    assert_int_equal(c.closed, 1);
    assert_int_equal(f.conns_closed, 1);
    client_done(&c);
}

static void an_empty_message_is_a_message(void **state)
{
    (void)state;
    struct fixture f;
    struct client c;
    fixture_start(&f, NULL);
    client_connect(&c, &f);
    send_text(c.conn, "");
    run_until(&f, &c.messages, 1);
    assert_int_equal(c.last_message.len, 0);
    fixture_stop(&f);
    client_done(&c);
}

static void what_is_sent_before_it_is_open_goes_out_then(void **state)
{
    (void)state;
    struct fixture f;
    struct client c;
    char url[64];
    fixture_start(&f, NULL);
    (void)snprintf(url, sizeof(url), "http://127.0.0.1:%u/", net_server_port(f.server));
    client_connect_url(&c, &f, url, 5000);
    send_text(c.conn, "early");
    run_until(&f, &c.messages, 1);
    assert_string_equal(c.last_message.data, "early");
    fixture_stop(&f);
    client_done(&c);
}

static void a_big_message_is_put_together(void **state)
{
    (void)state;
    struct fixture f;
    struct client c;
    fixture_start(&f, NULL);
    client_connect(&c, &f);
    char *text = text_of(TEST_MAX_MESSAGE);
    assert_int_equal(net_conn_send(c.conn, text, TEST_MAX_MESSAGE, NULL), ERR_OK);
    run_until(&f, &c.messages, 1);
    assert_int_equal(c.last_message.len, TEST_MAX_MESSAGE);
    assert_memory_equal(c.last_message.data, text, TEST_MAX_MESSAGE);
    free(text);
    fixture_stop(&f);
    client_done(&c);
}

static void many_messages_keep_their_order(void **state)
{
    (void)state;
    enum { MANY = 20000 };
    struct fixture f;
    struct client c;
    fixture_start(&f, NULL);
    client_connect(&c, &f);
    f.echo = false;
    for (unsigned i = 0; i < MANY; i++) {
        char text[32];
        (void)snprintf(text, sizeof(text), "message %u", i);
        send_text(c.conn, text);
    }
    for (unsigned i = 0; i < MANY; i++) {
        char text[32];
        (void)snprintf(text, sizeof(text), "message %u", i);
        if (f.messages < i + 1)
            run_until(&f, &f.messages, i + 1);
        if (f.messages == i + 1)
            assert_string_equal(f.last_message.data, text);
    }
    assert_int_equal(f.messages, MANY);
    assert_string_equal(f.last_message.data, "message 19999");
    fixture_stop(&f);
    client_done(&c);
}

static void a_message_over_the_bound_ends_the_connection(void **state)
{
    (void)state;
    struct fixture f;
    struct client c;
    fixture_start(&f, NULL);
    client_connect(&c, &f);
    char *text = text_of(TEST_MAX_MESSAGE + 1);
    assert_int_equal(net_conn_send(c.conn, text, TEST_MAX_MESSAGE + 1, NULL), ERR_OK);
    free(text);
    run_until(&f, &f.conns_closed, 1);
    run_until(&f, &c.closed, 1);
    assert_int_equal(f.messages, 0);
    assert_string_equal(f.last_reason, "message too big");
    fixture_stop(&f);
    client_done(&c);
}

static void the_peer_is_told_1009_for_a_message_over_the_bound(void **state)
{
    (void)state;
    struct fixture f;
    struct raw r;
    fixture_start(&f, NULL);
    raw_connect(&r, &f, net_server_port(f.server));
    raw_upgrade(&r);
    /* A text frame that announces 16 MiB. */
    static const unsigned char frame[] = {0x81, 0xff, 0, 0, 0, 0, 1, 0, 0, 0, 1, 2, 3, 4, 'x', 'y'};
    raw_send(&r, frame, sizeof(frame));
    raw_expect(&r, "\x03\xf1message too big");
    raw_close(&r);
    fixture_stop(&f);
    assert_int_equal(f.conns_closed, 1);
}

static void binary_is_refused_with_1003(void **state)
{
    (void)state;
    struct fixture f;
    struct raw r;
    fixture_start(&f, NULL);
    raw_connect(&r, &f, net_server_port(f.server));
    raw_upgrade(&r);
    static const unsigned char frame[] = {0x82, 0x82, 0, 0, 0, 0, 1, 2};
    raw_send(&r, frame, sizeof(frame));
    raw_expect(&r, "\x03\xebonly text messages are understood");
    raw_close(&r);
    fixture_stop(&f);
    assert_int_equal(f.messages, 0);
}

static void fragments_are_put_together(void **state)
{
    (void)state;
    struct fixture f;
    struct raw r;
    fixture_start(&f, NULL);
    raw_connect(&r, &f, net_server_port(f.server));
    raw_upgrade(&r);
    static const unsigned char frames[] = {0x01, 0x82, 0, 0, 0, 0, 'a', 'b',  /* text, not final */
                                           0x89, 0x80, 0, 0, 0, 0,            /* a ping between */
                                           0x00, 0x81, 0, 0, 0, 0, 'c',       /* goes on */
                                           0x80, 0x82, 0, 0, 0, 0, 'd', 'e'}; /* ends */
    raw_send(&r, frames, sizeof(frames));
    raw_expect(&r, "abcde");
    assert_int_equal(f.messages, 1);
    raw_close(&r);
    fixture_stop(&f);
}

static void the_close_reason_reaches_the_other_end(void **state)
{
    (void)state;
    struct fixture f;
    struct client c;
    fixture_start(&f, NULL);
    client_connect(&c, &f);
    send_text(f.last_conn, "last words");
    net_conn_close(f.last_conn, 4001, "replaced by a newer session");
    assert_int_equal(net_conn_send(f.last_conn, "x", 1, NULL), ERR_UNAVAILABLE);
    run_until(&f, &c.closed, 1);
    run_until(&f, &f.conns_closed, 1);
    assert_int_equal(c.messages, 1);
    assert_string_equal(c.last_message.data, "last words");
    assert_string_equal(c.reason, "closed by the peer: 4001 replaced by a newer session");
    assert_string_equal(f.last_reason, "replaced by a newer session");
    fixture_stop(&f);
    client_done(&c);
}

static void a_client_can_close(void **state)
{
    (void)state;
    struct fixture f;
    struct client c;
    fixture_start(&f, NULL);
    client_connect(&c, &f);
    net_conn_close(c.conn, 1000, "done");
    run_until(&f, &c.closed, 1);
    run_until(&f, &f.conns_closed, 1);
    assert_string_equal(c.reason, "done");
    assert_string_equal(f.last_reason, "closed by the peer: 1000 done");
    fixture_stop(&f);
    client_done(&c);
}

static void close_in_message(struct client *c, const char *data, size_t len)
{
    (void)data;
    (void)len;
    net_conn_close(c->conn, 1000, "enough");
}

static void no_message_comes_after_closing(void **state)
{
    (void)state;
    struct fixture f;
    struct client c;
    fixture_start(&f, NULL);
    client_connect(&c, &f);
    c.on_message = close_in_message;
    for (int i = 0; i < 100; i++)
        send_text(f.last_conn, "again");
    run_until(&f, &c.closed, 1);
    assert_int_equal(c.messages, 1);
    fixture_stop(&f);
    client_done(&c);
}

static void send_in_message(struct client *c, const char *data, size_t len)
{
    if (c->messages < 50)
        assert_int_equal(net_conn_send(c->conn, data, len, NULL), ERR_OK);
}

static void a_message_may_be_answered_from_within(void **state)
{
    (void)state;
    struct fixture f;
    struct client c;
    fixture_start(&f, NULL);
    client_connect(&c, &f);
    c.on_message = send_in_message;
    send_text(c.conn, "ball");
    run_until(&f, &c.messages, 50);
    fixture_stop(&f);
    client_done(&c);
}

static void a_peer_that_does_not_read_is_dropped_and_harms_nobody(void **state)
{
    (void)state;
    struct fixture f;
    struct client c;
    struct raw r;
    fixture_start(&f, NULL);
    raw_connect(&r, &f, net_server_port(f.server));
    raw_upgrade(&r);
    raw_pause(&r);
    struct net_conn *stuck = f.last_conn;
    client_connect(&c, &f);

    enum { PIECE = 512 * 1024 };
    char *text = text_of(PIECE);
    struct error err = {0};
    enum error_code code = ERR_OK;
    for (unsigned i = 0; code == ERR_OK && i < 1000; i++) {
        assert_true(net_conn_queued(stuck) <= NET_CONN_QUEUE_MAX);
        code = net_conn_send(stuck, text, PIECE, &err);
        if (i == 20) { /* in the middle of it, the other one works */
            send_text(c.conn, "still here");
            run_until(&f, &c.messages, 1);
        }
    }
    free(text);
    assert_int_equal(code, ERR_LIMIT);
    assert_int_equal(f.conns_closed, 0); /* never from within */
    assert_int_equal(net_conn_send(stuck, "x", 1, NULL), ERR_UNAVAILABLE);
    run_until(&f, &f.conns_closed, 1);
    assert_string_equal(f.last_reason, "send queue is full: the peer does not read");
    send_text(c.conn, "and now");
    run_until(&f, &c.messages, 2);
    raw_close(&r);
    fixture_stop(&f);
    client_done(&c);
}

static void small_messages_count_with_what_they_take(void **state)
{
    (void)state;
    struct fixture f;
    struct raw r;
    fixture_start(&f, NULL);
    raw_connect(&r, &f, net_server_port(f.server));
    raw_upgrade(&r);
    raw_pause(&r);
    unsigned sent = 0;
    while (net_conn_send(f.last_conn, "x", 1, NULL) == ERR_OK)
        sent++;
    assert_true(sent < NET_CONN_QUEUE_MAX / 16);
    run_until(&f, &f.conns_closed, 1);
    raw_close(&r);
    fixture_stop(&f);
}

static void a_closing_peer_that_does_not_read_is_given_up(void **state)
{
    (void)state;
    struct fixture f;
    struct raw r;
    fixture_start(&f, NULL);
    raw_connect(&r, &f, net_server_port(f.server));
    raw_upgrade(&r);
    raw_pause(&r);
    char *text = text_of(TEST_MAX_MESSAGE);
    for (int i = 0; i < 8; i++)
        assert_int_equal(net_conn_send(f.last_conn, text, TEST_MAX_MESSAGE, NULL), ERR_OK);
    free(text);
    net_conn_close(f.last_conn, 1001, "going away");
    run_until(&f, &f.conns_closed, 1);
    assert_string_equal(f.last_reason, "going away");
    raw_close(&r);
    fixture_stop(&f);
}

static void a_lost_connection_is_told(void **state)
{
    (void)state;
    struct fixture f;
    struct raw r;
    fixture_start(&f, NULL);
    raw_connect(&r, &f, net_server_port(f.server));
    raw_upgrade(&r);
    raw_close(&r);
    run_until(&f, &f.conns_closed, 1);
    assert_string_equal(f.last_reason, "connection lost");
    fixture_stop(&f);
}

static void a_refused_websocket_is_closed_and_not_told_of(void **state)
{
    (void)state;
    struct fixture f;
    struct client c;
    char url[64];
    fixture_start(&f, NULL);
    f.refuse = true;
    (void)snprintf(url, sizeof(url), "ws://127.0.0.1:%u", net_server_port(f.server));
    client_connect_url(&c, &f, url, 5000);
    run_until(&f, &c.closed, 1);
    assert_int_equal(f.conns, 0);
    fixture_stop(&f);
    assert_int_equal(f.conns_closed, 0);
    client_done(&c);
}

static void a_subprotocol_is_agreed_on(void **state)
{
    (void)state;
    struct fixture f;
    struct net_server_config config = fixture_config(&f);
    config.websocket_protocol = "kitsune.agent.1";
    fixture_start(&f, &config);

    char url[64];
    (void)snprintf(url, sizeof(url), "ws://127.0.0.1:%u", net_server_port(f.server));
    struct client with = {.f = &f};
    struct net_client_config client = client_config(&with, url);
    client.websocket_protocol = "kitsune.agent.1";
    assert_int_equal(net_connect(f.net, &client, &with.conn, NULL), ERR_OK);
    run_until(&f, &with.opened, 1);

    struct client without;
    client_connect_url(&without, &f, url, 5000);
    run_until(&f, &without.closed, 1);
    assert_int_equal(without.opened, 0);

    struct client other = {.f = &f};
    client = client_config(&other, url);
    client.websocket_protocol = "something.else";
    assert_int_equal(net_connect(f.net, &client, &other.conn, NULL), ERR_OK);
    run_until(&f, &other.closed, 1);
    assert_int_equal(other.opened, 0);
    assert_int_equal(f.conns, 1);
    fixture_stop(&f);
    client_done(&with);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_message_comes_back),
        cmocka_unit_test(an_empty_message_is_a_message),
        cmocka_unit_test(what_is_sent_before_it_is_open_goes_out_then),
        cmocka_unit_test(a_big_message_is_put_together),
        cmocka_unit_test(many_messages_keep_their_order),
        cmocka_unit_test(a_message_over_the_bound_ends_the_connection),
        cmocka_unit_test(the_peer_is_told_1009_for_a_message_over_the_bound),
        cmocka_unit_test(binary_is_refused_with_1003),
        cmocka_unit_test(fragments_are_put_together),
        cmocka_unit_test(the_close_reason_reaches_the_other_end),
        cmocka_unit_test(a_client_can_close),
        cmocka_unit_test(no_message_comes_after_closing),
        cmocka_unit_test(a_message_may_be_answered_from_within),
        cmocka_unit_test(a_peer_that_does_not_read_is_dropped_and_harms_nobody),
        cmocka_unit_test(small_messages_count_with_what_they_take),
        cmocka_unit_test(a_closing_peer_that_does_not_read_is_given_up),
        cmocka_unit_test(a_lost_connection_is_told),
        cmocka_unit_test(a_refused_websocket_is_closed_and_not_told_of),
        cmocka_unit_test(a_subprotocol_is_agreed_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
