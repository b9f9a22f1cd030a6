#include "unit/dispatch/support_dispatch.h"

#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define STEPS "\"steps\":[{\"name\":\"s\",\"type\":\"echo\",\"params\":{\"message\":\"m\"}}]"
static const char one_server[] = "{\"servers\":[\"a\"]," STEPS "}";
static const char two_servers[] =
    "{\"servers\":[\"a\",\"b\"]," STEPS ",\"rolloutStrategy\":{\"type\":\"Sequential\","
    "\"startTimeoutSeconds\":5,\"reconnectTimeoutSeconds\":7}}";

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

/* Takes an execution of one step through to its end. */
static void succeed(struct bench *b, struct fake_conn *c, const char *rollout)
{
    conn_report(c, rollout, ENTRY(1, REPORT_STARTED, -1, .state = EXECUTION_RUNNING));
    conn_report(c, rollout, ENTRY(2, REPORT_STEP_ENDED, 0, .attempt = 1, .state = STEP_SUCCEEDED));
    conn_report(c, rollout, ENTRY(3, REPORT_ENDED, -1, .state = EXECUTION_SUCCEEDED));
    bench_settle(b);
}

static void nothing_leaves_before_it_is_durable(void **state)
{
    struct bench *b = *state;
    struct fake_conn c;
    conn_connect(b, &c, "a", "i1", NULL);
    bench_submit(b, "r1", one_server);
    assert_int_equal(conn_count(&c, WIRE_EXECUTE), 0);
    assert_int_equal(b->answers, 0);
    bench_settle(b);
    assert_int_equal(conn_count(&c, WIRE_EXECUTE), 1);
    assert_int_equal(b->answers, 1);
    assert_string_equal(b->last_id, "r1");
    conn_report(&c, "r1", ENTRY(1, REPORT_STARTED, -1, .state = EXECUTION_RUNNING));
    assert_int_equal(conn_count(&c, WIRE_ACK), 0);
    bench_settle(b);
    assert_int_equal(conn_last(&c, WIRE_ACK)->ack.seq, 1);
    conn_drop(&c);
}

static void a_rollout_runs_to_its_end(void **state)
{
    struct bench *b = *state;
    struct fake_conn a, c;
    conn_connect(b, &a, "a", "i1", NULL);
    conn_connect(b, &c, "b", "i2", NULL);
    bench_submit(b, "r1", two_servers);
    bench_settle(b);
    assert_int_equal(conn_count(&c, WIRE_EXECUTE), 0);
    succeed(b, &a, "r1");
    assert_int_equal(conn_count(&c, WIRE_EXECUTE), 1);
    succeed(b, &c, "r1");
    assert_int_equal(bench_state(b, "r1"), ROLLOUT_SUCCEEDED);
    conn_drop(&a);
    conn_drop(&c);
}

static void a_repeated_report_is_acknowledged_and_changes_nothing(void **state)
{
    struct bench *b = *state;
    struct fake_conn c;
    conn_connect(b, &c, "a", "i1", NULL);
    bench_submit(b, "r1", one_server);
    bench_settle(b);
    conn_report(&c, "r1", ENTRY(1, REPORT_STARTED, -1, .state = EXECUTION_RUNNING));
    bench_settle(b);
    uint64_t before = b->last_changed;
    conn_report(&c, "r1", ENTRY(1, REPORT_STARTED, -1, .state = EXECUTION_RUNNING));
    bench_settle(b);
    assert_int_equal(conn_count(&c, WIRE_ACK), 2);
    assert_int_equal(b->last_changed, before);
    assert_false(c.closed);
    conn_drop(&c);
}

static void a_gap_in_the_numbering_ends_the_connection(void **state)
{
    struct bench *b = *state;
    struct fake_conn c;
    conn_connect(b, &c, "a", "i1", NULL);
    bench_submit(b, "r1", one_server);
    bench_settle(b);
    conn_report(&c, "r1", ENTRY(2, REPORT_STARTED, -1, .state = EXECUTION_RUNNING));
    bench_settle(b);
    assert_true(c.closed);
    assert_int_equal(conn_count(&c, WIRE_ACK), 0);
    conn_drop(&c);
}

static void a_second_rollout_waits_until_the_first_has_ended(void **state)
{
    struct bench *b = *state;
    struct fake_conn c;
    conn_connect(b, &c, "a", "i1", NULL);
    bench_submit(b, "r1", one_server);
    bench_submit(b, "r2", one_server);
    bench_settle(b);
    assert_int_equal(conn_count(&c, WIRE_EXECUTE), 1);
    assert_string_equal(dispatcher_waiting_for(b->dispatcher, "r2", 0), "r1");
    /* It waits for the server, so its own deadline has not begun. */
    bench_pass(b, 1000);
    succeed(b, &c, "r1");
    assert_int_equal(conn_count(&c, WIRE_EXECUTE), 2);
    assert_string_equal(conn_last(&c, WIRE_EXECUTE)->execute.rollout, "r2");
    assert_null(dispatcher_waiting_for(b->dispatcher, "r2", 0));
    conn_drop(&c);
}

static void no_wait_refuses_a_held_server(void **state)
{
    struct bench *b = *state;
    struct error err = {0};
    bench_submit(b, "r1", one_server);
    assert_int_equal(bench_try_submit(b, "r2", one_server, true, &err), ERR_BUSY);
    assert_non_null(strstr(err.message, "r1"));
    bench_settle(b);
}

static void the_same_id_and_plan_are_the_same_rollout(void **state)
{
    struct bench *b = *state;
    struct error err = {0};
    struct fake_conn c;
    conn_connect(b, &c, "a", "i1", NULL);
    bench_submit(b, "r1", one_server);
    bench_submit(b, "r1", one_server);
    bench_settle(b);
    assert_int_equal(b->answers, 2);
    assert_int_equal(conn_count(&c, WIRE_EXECUTE), 1);
    assert_int_equal(bench_try_submit(b, "r1", two_servers, false, &err), ERR_EXISTS);
    bench_restart(b);
    bench_submit(b, "r1", one_server);
    bench_settle(b);
    assert_int_equal(b->answers, 3);
    for (size_t i = 0; i < c.frame_count; i++)
        wire_frame_done(&c.frames[i]);
}

static void a_server_that_never_comes_is_unreachable(void **state)
{
    struct bench *b = *state;
    bench_submit(b, "r1", two_servers);
    bench_settle(b);
    bench_pass(b, 4999);
    assert_int_equal(bench_execution(b, "r1", 0)->state, EXECUTION_QUEUED);
    bench_pass(b, 1);
    assert_int_equal(bench_execution(b, "r1", 0)->state, EXECUTION_UNREACHABLE);
    assert_int_equal(bench_execution(b, "r1", 1)->state, EXECUTION_SKIPPED);
    assert_int_equal(bench_state(b, "r1"), ROLLOUT_ROLLED_BACK);
}

static void a_server_that_began_and_stays_away_is_unknown(void **state)
{
    struct bench *b = *state;
    struct fake_conn c;
    conn_connect(b, &c, "a", "i1", NULL);
    bench_submit(b, "r1", two_servers);
    bench_settle(b);
    conn_report(&c, "r1", ENTRY(1, REPORT_STARTED, -1, .state = EXECUTION_RUNNING));
    bench_settle(b);
    conn_drop(&c);
    bench_pass(b, 6999);
    assert_int_equal(bench_execution(b, "r1", 0)->state, EXECUTION_RUNNING);
    bench_pass(b, 1);
    bench_settle(b);
    assert_int_equal(bench_execution(b, "r1", 0)->outcome, EXECUTION_UNKNOWN);
    assert_int_equal(bench_state(b, "r1"), ROLLOUT_ROLLBACK_FAILED);
}

static void a_server_that_comes_back_in_time_goes_on(void **state)
{
    struct bench *b = *state;
    struct fake_conn c;
    conn_connect(b, &c, "a", "i1", NULL);
    bench_submit(b, "r1", one_server);
    bench_settle(b);
    conn_report(&c, "r1", ENTRY(1, REPORT_STARTED, -1, .state = EXECUTION_RUNNING));
    bench_settle(b);
    conn_drop(&c);
    bench_pass(b, 5000);
    conn_connect(b, &c, "a", "i1", "r1");
    bench_pass(b, 2500);
    conn_say(&c, "{\"v\":1,\"type\":\"heartbeat\"}");
    assert_false(c.closed);
    conn_report(&c, "r1", ENTRY(2, REPORT_STEP_ENDED, 0, .attempt = 1, .state = STEP_SUCCEEDED));
    conn_report(&c, "r1", ENTRY(3, REPORT_ENDED, -1, .state = EXECUTION_SUCCEEDED));
    bench_settle(b);
    assert_int_equal(bench_state(b, "r1"), ROLLOUT_SUCCEEDED);
    conn_drop(&c);
}

static void a_silent_session_is_dropped_after_three_heartbeats(void **state)
{
    struct bench *b = *state;
    struct fake_conn c;
    conn_connect(b, &c, "a", "i1", NULL);
    bench_pass(b, 2000);
    conn_say(&c, "{\"v\":1,\"type\":\"heartbeat\"}");
    assert_null(conn_last(&c, WIRE_ACK)->ack.rollout);
    bench_pass(b, 2900);
    assert_false(c.closed);
    bench_pass(b, 200);
    assert_true(c.closed);
    assert_false(dispatcher_connected(b->dispatcher, "a"));
    conn_drop(&c);
}

static void another_agent_with_a_live_id_is_refused_and_the_same_one_replaces(void **state)
{
    struct bench *b = *state;
    struct fake_conn first, other, again;
    conn_connect(b, &first, "a", "i1", NULL);
    conn_connect(b, &other, "a", "i2", NULL);
    assert_true(other.closed);
    assert_false(first.closed);
    assert_int_equal(conn_count(&other, WIRE_WELCOME), 0);
    conn_connect(b, &again, "a", "i1", NULL);
    assert_true(first.closed);
    assert_int_equal(conn_count(&again, WIRE_WELCOME), 1);
    conn_drop(&other);
    conn_drop(&first);
    assert_true(dispatcher_connected(b->dispatcher, "a"));
    conn_drop(&again);
    assert_false(dispatcher_connected(b->dispatcher, "a"));
}

/* The copy of a data directory says the same instance; two machines never say the same boot. */
static void connect_copy(struct bench *b, struct fake_conn *c)
{
    *c = (struct fake_conn){0};
    assert_int_equal(dispatcher_session_open(b->dispatcher, c, "127.0.0.1:1", &c->session, NULL),
                     ERR_OK);
    conn_say(c, "{\"v\":1,\"type\":\"hello\",\"id\":\"a\",\"instance\":\"i1\",\"version\":\"1\","
                "\"bootId\":\"another\",\"handlers\":[],\"executions\":[]}");
}

static void a_copy_of_an_agent_is_refused_while_the_first_is_heard_of(void **state)
{
    struct bench *b = *state;
    struct fake_conn first, copy;
    conn_connect(b, &first, "a", "i1", NULL);
    connect_copy(b, &copy);
    assert_true(copy.closed);
    assert_int_equal(conn_count(&copy, WIRE_WELCOME), 0);
    assert_false(first.closed);
    conn_drop(&copy);
    /* The same machine after a restart gets in when its old connection is found to be silent. */
    bench_pass(b, 3001);
    assert_true(first.closed);
    connect_copy(b, &copy);
    assert_int_equal(conn_count(&copy, WIRE_WELCOME), 1);
    conn_drop(&first);
    conn_drop(&copy);
}

static void after_a_restart_what_was_decided_is_said_again(void **state)
{
    struct bench *b = *state;
    struct fake_conn c;
    bench_submit(b, "r1", one_server);
    bench_settle(b);
    bench_restart(b);
    conn_connect(b, &c, "a", "i1", NULL);
    assert_int_equal(conn_count(&c, WIRE_EXECUTE), 1);
    assert_int_equal(conn_last(&c, WIRE_WELCOME)->welcome.epoch, 2);
    succeed(b, &c, "r1");
    assert_int_equal(bench_state(b, "r1"), ROLLOUT_SUCCEEDED);
    conn_drop(&c);
    bench_restart(b);
    assert_int_equal(bench_state(b, "r1"), ROLLOUT_SUCCEEDED);
    assert_int_equal(dispatcher_stats(b->dispatcher).open, 0);
}

static void an_agent_without_any_record_of_its_execution_has_failed(void **state)
{
    struct bench *b = *state;
    struct fake_conn c;
    conn_connect(b, &c, "a", "i1", NULL);
    bench_submit(b, "r1", one_server);
    bench_settle(b);
    conn_report(&c, "r1", ENTRY(1, REPORT_STARTED, -1, .state = EXECUTION_RUNNING));
    bench_settle(b);
    conn_drop(&c);
    conn_connect(b, &c, "a", "i2", NULL);
    conn_say(&c, "{\"v\":1,\"type\":\"heartbeat\"}");
    bench_settle(b);
    assert_int_equal(bench_execution(b, "r1", 0)->outcome, EXECUTION_FAILED);
    assert_int_equal(bench_state(b, "r1"), ROLLOUT_ROLLBACK_FAILED);
    conn_drop(&c);
}

static void a_cancel_withdraws_what_was_never_sent(void **state)
{
    struct bench *b = *state;
    struct error err = {0};
    bench_submit(b, "r1", one_server);
    bench_settle(b);
    struct dispatcher_order order = {.command = COMMAND_CANCEL};
    b->answers = 0;
    assert_int_equal(dispatcher_order(b->dispatcher, "r1", &order, NULL, NULL, &err), ERR_OK);
    bench_settle(b);
    assert_int_equal(bench_state(b, "r1"), ROLLOUT_CANCELLED);
    assert_int_equal(dispatcher_order(b->dispatcher, "r1", &order, NULL, NULL, &err), ERR_CONFLICT);
    assert_int_equal(dispatcher_order(b->dispatcher, "nope", &order, NULL, NULL, &err),
                     ERR_NOT_FOUND);
}

static void what_is_not_said_in_turn_ends_the_connection(void **state)
{
    struct bench *b = *state;
    struct error err = {0};
    static const char *const wrong[] = {
        "{\"v\":1,\"type\":\"heartbeat\"}", /* before hello */
        "{\"v\":1,\"type\":\"ack\",\"seq\":1}", "not json", "{\"v\":9,\"type\":\"hello\"}", "",
    };
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        struct fake_conn c = {0};
        assert_int_equal(dispatcher_session_open(b->dispatcher, &c, "peer", &c.session, &err),
                         ERR_OK);
        conn_say(&c, wrong[i]);
        assert_true(c.closed);
        conn_drop(&c);
    }
    struct fake_conn c;
    conn_connect(b, &c, "a", "i1", NULL);
    conn_say(&c,
             "{\"v\":1,\"type\":\"welcome\",\"orchestrator\":\"x\",\"epoch\":1,\"heartbeatMs\":5}");
    assert_true(c.closed);
    conn_drop(&c);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(nothing_leaves_before_it_is_durable),
        T(a_rollout_runs_to_its_end),
        T(a_repeated_report_is_acknowledged_and_changes_nothing),
        T(a_gap_in_the_numbering_ends_the_connection),
        T(a_second_rollout_waits_until_the_first_has_ended),
        T(no_wait_refuses_a_held_server),
        T(the_same_id_and_plan_are_the_same_rollout),
        T(a_server_that_never_comes_is_unreachable),
        T(a_server_that_began_and_stays_away_is_unknown),
        T(a_server_that_comes_back_in_time_goes_on),
        T(a_silent_session_is_dropped_after_three_heartbeats),
        T(another_agent_with_a_live_id_is_refused_and_the_same_one_replaces),
        T(a_copy_of_an_agent_is_refused_while_the_first_is_heard_of),
        T(after_a_restart_what_was_decided_is_said_again),
        T(an_agent_without_any_record_of_its_execution_has_failed),
        T(a_cancel_withdraws_what_was_never_sent),
        T(what_is_not_said_in_turn_ends_the_connection),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
