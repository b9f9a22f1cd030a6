/* Agents that have shown who they are, and what they are then held to. */
#include "unit/dispatch/support_dispatch.h"

#include <stdio.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static const char plan_of_b[] = "{\"servers\":[\"b\"],\"steps\":[{\"name\":\"s\",\"type\":\"echo\","
                                "\"params\":{\"message\":\"m\"}}]}";

static int setup(void **state)
{
    static struct bench bench;
    bench_open(&bench);
    *state = &bench;
    return 0;
}

static int teardown(void **state)
{
    bench_close(*state);
    return 0;
}

/* A connection that has shown to be "a", and has said nothing yet. */
static void connect_bound(struct bench *b, struct fake_conn *c, int64_t not_after_ms)
{
    *c = (struct fake_conn){0};
    assert_int_equal(dispatcher_session_open(b->dispatcher, c, "127.0.0.1:1", &c->session, NULL),
                     ERR_OK);
    assert_int_equal(dispatcher_session_bind(c->session, "a", not_after_ms, NULL), ERR_OK);
}

static void say_hello(struct fake_conn *c, const char *server)
{
    char text[256];
    (void)snprintf(
        text, sizeof(text),
        "{\"v\":1,\"type\":\"hello\",\"id\":\"%s\",\"instance\":\"i1\",\"version\":\"1\","
        "\"handlers\":[],\"executions\":[]}",
        server);
    conn_say(c, text);
}

static void one_is_who_he_has_shown_to_be(void **state)
{
    struct bench *b = *state;
    struct fake_conn c;
    connect_bound(b, &c, INT64_MAX);
    say_hello(&c, "a");
    assert_int_equal(conn_count(&c, WIRE_WELCOME), 1);
    assert_int_equal(b->alarms, 0);
    conn_drop(&c);
}

static void who_says_to_be_another_is_refused_and_an_alarm_is_raised(void **state)
{
    struct bench *b = *state;
    struct fake_conn c;
    connect_bound(b, &c, INT64_MAX);
    say_hello(&c, "b");
    assert_true(c.closed);
    assert_int_equal(conn_count(&c, WIRE_WELCOME), 0);
    assert_false(dispatcher_connected(b->dispatcher, "b"));
    assert_int_equal(b->alarms, 1);
    assert_string_equal(b->last_alarm, "agent.hello a: its certificate is another server's");
    say_hello(&c, "a"); /* too late */
    assert_false(dispatcher_connected(b->dispatcher, "a"));
    conn_drop(&c);
}

static void what_only_an_orchestrator_says_raises_an_alarm(void **state)
{
    struct bench *b = *state;
    struct fake_conn c;
    connect_bound(b, &c, INT64_MAX);
    say_hello(&c, "a");
    conn_say(&c, "{\"v\":1,\"type\":\"cancel\",\"rollout\":\"r\",\"epoch\":1,\"now\":true}");
    assert_true(c.closed);
    assert_string_equal(b->last_alarm, "agent.frame a: a frame that only an orchestrator sends");
    conn_drop(&c);
}

static void a_report_of_anothers_rollout_raises_an_alarm_and_changes_nothing(void **state)
{
    struct bench *b = *state;
    struct fake_conn c;
    bench_submit(b, "r", plan_of_b);
    connect_bound(b, &c, INT64_MAX);
    say_hello(&c, "a");
    conn_report(&c, "r", ENTRY(1, REPORT_STARTED, -1, .state = EXECUTION_RUNNING));
    assert_true(c.closed);
    assert_int_equal(b->alarms, 1);
    bench_settle(b);
    assert_int_equal(bench_execution(b, "r", 0)->state, EXECUTION_QUEUED);
    conn_drop(&c);
}

static void a_second_live_agent_is_refused_with_an_alarm(void **state)
{
    struct bench *b = *state;
    struct fake_conn first, second;
    conn_connect(b, &first, "a", "i1", NULL);
    conn_connect(b, &second, "a", "i2", NULL);
    assert_true(second.closed);
    assert_false(first.closed);
    assert_string_equal(b->last_alarm, "agent.hello a: another agent with this id is connected");
    conn_drop(&second);
    conn_drop(&first);
}

static void the_sessions_of_a_revoked_server_end_at_once_and_no_others(void **state)
{
    struct bench *b = *state;
    struct fake_conn live, silent, other;
    connect_bound(b, &silent, INT64_MAX); /* no hello yet */
    conn_connect(b, &live, "a", "i1", NULL);
    conn_connect(b, &other, "b", "i2", NULL);
    bench_submit(b, "r", plan_of_b);
    dispatcher_server_end(b->dispatcher, "a", "revoked");
    assert_true(live.closed);
    assert_true(silent.closed);
    assert_false(other.closed);
    assert_false(dispatcher_connected(b->dispatcher, "a"));
    assert_true(dispatcher_connected(b->dispatcher, "b"));
    /* What was in its socket is not taken any more. */
    say_hello(&silent, "a");
    assert_false(dispatcher_connected(b->dispatcher, "a"));
    conn_drop(&live);
    conn_drop(&silent);
    conn_drop(&other);
}

static void a_session_ends_with_its_certificate(void **state)
{
    struct bench *b = *state;
    struct fake_conn c;
    connect_bound(b, &c, b->wall_ms + 7000);
    say_hello(&c, "a");
    for (int i = 0; i < 6; i++) {
        bench_pass(b, 1000);
        conn_say(&c, "{\"v\":1,\"type\":\"heartbeat\"}");
    }
    assert_false(c.closed);
    for (int i = 0; i < 4; i++) {
        bench_pass(b, 1000);
        if (!c.closed)
            conn_say(&c, "{\"v\":1,\"type\":\"heartbeat\"}");
    }
    assert_true(c.closed);
    assert_false(dispatcher_connected(b->dispatcher, "a"));
    conn_drop(&c);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(one_is_who_he_has_shown_to_be),
        T(who_says_to_be_another_is_refused_and_an_alarm_is_raised),
        T(what_only_an_orchestrator_says_raises_an_alarm),
        T(a_report_of_anothers_rollout_raises_an_alarm_and_changes_nothing),
        T(a_second_live_agent_is_refused_with_an_alarm),
        T(the_sessions_of_a_revoked_server_end_at_once_and_no_others),
        T(a_session_ends_with_its_certificate),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
