#include "unit/dispatch/support_dispatch.h"

#include <stdio.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define STEPS "\"steps\":[{\"name\":\"one\",\"type\":\"echo\",\"params\":{\"message\":\"m\"}}]"

static const char one_server[] = "{\"servers\":[\"a\"]," STEPS "}";
static const char two_servers[] =
    "{\"servers\":[\"a\",\"b\"]," STEPS ",\"rolloutStrategy\":{\"type\":\"Parallel\"}}";
static const char impatient[] =
    "{\"servers\":[\"a\"]," STEPS
    ",\"rolloutStrategy\":{\"type\":\"Parallel\",\"startTimeoutSeconds\":4}}";
static const char forgetful[] =
    "{\"servers\":[\"a\"]," STEPS
    ",\"rolloutStrategy\":{\"type\":\"Parallel\",\"reconnectTimeoutSeconds\":7}}";
static const char heartbeat[] = "{\"v\":1,\"type\":\"heartbeat\"}";

static int setup(void **state)
{
    static struct bench b;
    bench_open(&b);
    *state = &b;
    return 0;
}

static int teardown(void **state)
{
    bench_close(*state);
    return 0;
}

static void cancel(struct bench *b, const char *id)
{
    static const struct dispatcher_order order = {.command = COMMAND_CANCEL};
    struct error err = {0};
    assert_int_equal(dispatcher_order(b->dispatcher, id, &order, NULL, NULL, &err), ERR_OK);
}

static void report_started(struct fake_conn *c, const char *rollout)
{
    conn_report(c, rollout, ENTRY(1, REPORT_STARTED, -1, .state = EXECUTION_RUNNING));
}

static void a_rollout_that_is_being_stopped_is_not_sent(void **state)
{
    struct bench *b = *state;
    struct fake_conn c;
    conn_connect(b, &c, "a", "i1", NULL);
    /* Its start is not durable yet, and neither is the stop. */
    bench_submit(b, "r1", one_server);
    cancel(b, "r1");
    bench_settle(b);
    assert_int_equal(conn_count(&c, WIRE_EXECUTE), 0);
    assert_int_equal(bench_state(b, "r1"), ROLLOUT_CANCELLED);
    conn_drop(&c);
}

static void after_a_restart_one_that_waits_for_its_turn_was_never_sent(void **state)
{
    struct bench *b = *state;
    struct fake_conn c;
    bench_submit(b, "r1", one_server);
    bench_submit(b, "r2", one_server);
    bench_settle(b);
    bench_restart(b);
    conn_connect(b, &c, "a", "i1", NULL);
    cancel(b, "r2");
    bench_settle(b);
    assert_int_equal(conn_count(&c, WIRE_CANCEL), 0);
    assert_int_equal(bench_execution(b, "r2", 0)->outcome, EXECUTION_SKIPPED);
    assert_int_equal(bench_state(b, "r2"), ROLLOUT_CANCELLED);
    conn_drop(&c);
}

static void a_server_that_has_ended_meanwhile_is_not_told_to_stop(void **state)
{
    struct bench *b = *state;
    struct fake_conn a, other;
    conn_connect(b, &a, "a", "i1", NULL);
    conn_connect(b, &other, "b", "i2", NULL);
    bench_submit(b, "r1", two_servers);
    bench_settle(b);
    report_started(&a, "r1");
    report_started(&other, "r1");
    bench_settle(b);
    /* The failure stops the rollout; before that is durable the other one has ended. */
    conn_report(&a, "r1", ENTRY(2, REPORT_ENDED, -1, .state = EXECUTION_FAILED));
    conn_report(&other, "r1", ENTRY(2, REPORT_ENDED, -1, .state = EXECUTION_SUCCEEDED));
    bench_settle(b);
    assert_int_equal(conn_count(&other, WIRE_CANCEL), 0);
    assert_int_equal(conn_count(&other, WIRE_ROLLBACK), 1);
    conn_drop(&a);
    conn_drop(&other);
}

static void a_late_hello_of_a_dead_connection_makes_nothing_lost(void **state)
{
    struct bench *b = *state;
    struct fake_conn alive, late, again;
    conn_connect(b, &alive, "a", "i1", NULL);
    bench_submit(b, "r1", one_server);
    bench_settle(b);
    report_started(&alive, "r1");
    bench_settle(b);
    /* It was sent before the execution began, and lists nothing. */
    conn_connect(b, &late, "a", "i1", NULL);
    conn_drop(&alive);
    conn_drop(&late);
    bench_settle(b);
    assert_int_equal(bench_execution(b, "r1", 0)->state, EXECUTION_RUNNING);
    conn_connect(b, &again, "a", "i1", "r1");
    conn_say(&again, heartbeat);
    bench_settle(b);
    assert_int_equal(bench_execution(b, "r1", 0)->state, EXECUTION_RUNNING);
    conn_drop(&again);
}

static void an_agent_whose_record_is_missing_is_not_told_to_stop(void **state)
{
    struct bench *b = *state;
    struct fake_conn c, back;
    conn_connect(b, &c, "a", "i1", NULL);
    bench_submit(b, "r1", one_server);
    bench_settle(b);
    report_started(&c, "r1");
    bench_settle(b);
    conn_drop(&c);
    conn_connect(b, &back, "a", "i2", NULL);
    cancel(b, "r1");
    bench_settle(b);
    assert_int_equal(conn_count(&back, WIRE_CANCEL), 0);
    conn_say(&back, heartbeat);
    bench_settle(b);
    assert_int_equal(bench_execution(b, "r1", 0)->outcome, EXECUTION_FAILED);
    conn_drop(&back);
}

static void an_agent_that_lost_its_record_while_it_undid_itself_is_not_waited_for(void **state)
{
    struct bench *b = *state;
    struct fake_conn c, back;
    conn_connect(b, &c, "a", "i1", NULL);
    bench_submit(b, "r1", one_server);
    bench_settle(b);
    report_started(&c, "r1");
    conn_report(&c, "r1", ENTRY(2, REPORT_ENDED, -1, .state = EXECUTION_FAILED, .undoing = true));
    bench_settle(b);
    assert_int_equal(bench_execution(b, "r1", 0)->state, EXECUTION_ROLLING_BACK);
    conn_drop(&c);
    conn_connect(b, &back, "a", "i2", NULL);
    conn_say(&back, heartbeat);
    bench_settle(b);
    assert_int_equal(bench_execution(b, "r1", 0)->state, EXECUTION_ROLLBACK_FAILED);
    assert_int_equal(bench_state(b, "r1"), ROLLOUT_ROLLBACK_FAILED);
    conn_drop(&back);
}

static void an_agent_that_comes_while_its_undo_becomes_durable_has_lost_nothing(void **state)
{
    static const char hello[] = "{\"v\":1,\"type\":\"hello\",\"id\":\"a\",\"instance\":\"i1\","
                                "\"version\":\"1\",\"handlers\":[\"echo\"],\"executions\":[]}";
    struct bench *b = *state;
    struct fake_conn c, again = {0};
    struct error err = {0};
    conn_connect(b, &c, "a", "i1", NULL);
    bench_submit(b, "r1", one_server);
    bench_settle(b);
    conn_ended(b, &c, "r1", EXECUTION_SUCCEEDED);
    /* It has nothing more to say of it, and was not told yet to undo it. */
    assert_int_equal(
        dispatcher_session_open(b->dispatcher, &again, "127.0.0.1:9", &again.session, &err),
        ERR_OK);
    assert_int_equal(bench_rollback(b, "r1", NULL, false, &err), ERR_OK);
    conn_say(&again, hello);
    conn_say(&again, heartbeat);
    bench_settle(b);
    assert_int_equal(bench_execution(b, "r1", 0)->state, EXECUTION_ROLLING_BACK);
    assert_int_equal(conn_count(&again, WIRE_ROLLBACK), 1);
    conn_drop(&c);
    conn_drop(&again);
}

static void a_server_that_did_not_begin_in_time_is_told_to_drop_it(void **state)
{
    struct bench *b = *state;
    struct fake_conn c;
    conn_connect(b, &c, "a", "i1", NULL);
    bench_submit(b, "r1", impatient);
    bench_settle(b);
    for (int second = 0; second < 5; second++) {
        assert_int_equal(conn_count(&c, WIRE_CANCEL), 0);
        conn_say(&c, heartbeat);
        bench_pass(b, 1000);
        if (bench_execution(b, "r1", 0)->outcome == EXECUTION_UNREACHABLE)
            break;
    }
    assert_int_equal(bench_execution(b, "r1", 0)->outcome, EXECUTION_UNREACHABLE);
    assert_int_equal(conn_count(&c, WIRE_CANCEL), 1);
    assert_true(conn_last(&c, WIRE_CANCEL)->cancel.now);
    conn_drop(&c);
}

static void what_is_ordered_after_the_end_is_said_until_it_is_done(void **state)
{
    struct bench *b = *state;
    struct fake_conn c;
    conn_connect(b, &c, "a", "i1", NULL);
    bench_submit(b, "r1", forgetful);
    bench_settle(b);
    report_started(&c, "r1");
    bench_settle(b);
    conn_drop(&c);
    bench_pass(b, 8000);
    assert_int_equal(bench_state(b, "r1"), ROLLOUT_ROLLBACK_FAILED);
    /* It comes back at work: it is stopped, again with each connection, also after a restart. */
    conn_connect(b, &c, "a", "i1", "r1");
    conn_report(&c, "r1", ENTRY(2, REPORT_STEP_STARTED, 0, .attempt = 1, .state = STEP_RUNNING));
    bench_settle(b);
    assert_int_equal(conn_count(&c, WIRE_CANCEL), 1);
    conn_drop(&c);
    conn_connect(b, &c, "a", "i1", "r1");
    assert_int_equal(conn_count(&c, WIRE_CANCEL), 1);
    conn_drop(&c);
    bench_restart(b);
    conn_connect(b, &c, "a", "i1", "r1");
    assert_int_equal(conn_count(&c, WIRE_CANCEL), 1);
    /* Then it is undone, and told so also when it has nothing more to say. */
    conn_report(&c, "r1", ENTRY(3, REPORT_STEP_ENDED, 0, .attempt = 1, .state = STEP_FAILED));
    conn_report(&c, "r1", ENTRY(4, REPORT_ENDED, -1, .state = EXECUTION_CANCELLED));
    bench_settle(b);
    assert_int_equal(conn_count(&c, WIRE_ROLLBACK), 1);
    conn_drop(&c);
    conn_connect(b, &c, "a", "i1", NULL);
    assert_int_equal(conn_count(&c, WIRE_ROLLBACK), 1);
    assert_int_equal(conn_count(&c, WIRE_CANCEL), 0);
    conn_drop(&c);
}

static void
an_agent_that_does_not_answer_a_cancel_is_given_up_though_its_server_is_locked(void **state)
{
    struct bench *b = *state;
    struct fake_conn c;
    struct error err = {0};
    assert_int_equal(bench_lock(b, "a", &err), ERR_OK);
    bench_submit(b, "r1", impatient);
    bench_settle(b);
    /* The former process may have sent it before the lock, as far as this one knows. */
    bench_restart(b);
    conn_connect(b, &c, "a", "i1", NULL);
    cancel(b, "r1");
    bench_settle(b);
    assert_int_equal(conn_count(&c, WIRE_CANCEL), 1);
    assert_int_equal(bench_state(b, "r1"), ROLLOUT_RUNNING);
    conn_drop(&c);
    bench_pass(b, 5000);
    assert_int_equal(bench_state(b, "r1"), ROLLOUT_CANCELLED);
}

static void force_is_told_once_it_is_durable_also_of_an_undo_that_stands(void **state)
{
    static const char hello[] = "{\"v\":1,\"type\":\"hello\",\"id\":\"a\",\"instance\":\"i1\","
                                "\"version\":\"1\",\"handlers\":[\"echo\"],\"executions\":[]}";
    struct bench *b = *state;
    struct fake_conn c, back = {0};
    struct error err = {0};
    conn_connect(b, &c, "a", "i1", NULL);
    bench_submit(b, "r1", forgetful);
    bench_settle(b);
    conn_ended(b, &c, "r1", EXECUTION_SUCCEEDED);
    assert_int_equal(bench_rollback(b, "r1", NULL, false, &err), ERR_OK);
    bench_settle(b);
    conn_drop(&c);
    bench_pass(b, 8000);
    assert_int_equal(bench_state(b, "r1"), ROLLOUT_ROLLBACK_FAILED);
    assert_int_equal(
        dispatcher_session_open(b->dispatcher, &back, "127.0.0.1:9", &back.session, &err), ERR_OK);
    assert_int_equal(bench_rollback(b, "r1", "a", true, &err), ERR_OK);
    conn_say(&back, hello);
    assert_int_equal(conn_count(&back, WIRE_ROLLBACK), 1);
    assert_false(conn_last(&back, WIRE_ROLLBACK)->rollback.force);
    bench_settle(b);
    assert_int_equal(conn_count(&back, WIRE_ROLLBACK), 2);
    assert_true(conn_last(&back, WIRE_ROLLBACK)->rollback.force);
    assert_int_equal(conn_last(&back, WIRE_ROLLBACK)->rollback.round, 1);
    conn_drop(&back);
    bench_restart(b);
    conn_connect(b, &c, "a", "i1", NULL);
    assert_true(conn_last(&c, WIRE_ROLLBACK)->rollback.force);
    conn_drop(&c);
}

/* r1 ends with server "a" silent; it comes back at its end, is told to undo, and is gone. */
static void end_with_an_order(struct bench *b)
{
    struct fake_conn c;
    conn_connect(b, &c, "a", "i1", NULL);
    bench_submit(b, "r1", forgetful);
    bench_settle(b);
    report_started(&c, "r1");
    bench_settle(b);
    conn_drop(&c);
    bench_pass(b, 8000);
    assert_int_equal(bench_state(b, "r1"), ROLLOUT_ROLLBACK_FAILED);
    conn_connect(b, &c, "a", "i1", "r1");
    conn_report(&c, "r1", ENTRY(2, REPORT_ENDED, -1, .state = EXECUTION_SUCCEEDED));
    bench_settle(b);
    assert_int_equal(conn_count(&c, WIRE_ROLLBACK), 1);
    conn_drop(&c);
}

/* More ended rollouts than are kept in memory. */
static void look_at_many(struct bench *b, bool make)
{
    char id[32];
    for (int i = 0; i < 2 * DISPATCH_ENDED_KEPT; i++) {
        (void)snprintf(id, sizeof(id), "other-%d", i);
        if (make) {
            bench_submit(b, id, "{\"servers\":[\"z\"]," STEPS "}");
            cancel(b, id);
            bench_settle(b);
        }
        assert_int_equal(bench_state(b, id), ROLLOUT_CANCELLED);
    }
}

static void what_an_ended_rollout_owes_is_said_though_nobody_speaks_of_it(void **state)
{
    struct bench *b = *state;
    struct fake_conn c;
    end_with_an_order(b);
    look_at_many(b, true);
    conn_connect(b, &c, "a", "i1", NULL);
    assert_int_equal(conn_count(&c, WIRE_ROLLBACK), 1);
    conn_drop(&c);
    for (int i = 0; i < 2; i++) {
        bench_restart(b);
        look_at_many(b, false);
        conn_connect(b, &c, "a", "i1", NULL);
        assert_int_equal(conn_count(&c, WIRE_ROLLBACK), 1);
        assert_string_equal(conn_last(&c, WIRE_ROLLBACK)->rollback.rollout, "r1");
        conn_drop(&c);
    }
    conn_connect(b, &c, "a", "i1", NULL);
    conn_undone(b, &c, "r1", 3, EXECUTION_ROLLED_BACK);
    conn_drop(&c);
    /* It is settled, and may be forgotten. */
    conn_connect(b, &c, "a", "i1", NULL);
    assert_int_equal(conn_count(&c, WIRE_ROLLBACK), 0);
    conn_drop(&c);
    assert_true(dispatcher_forget(b->dispatcher, "r1"));
}

static void what_is_owed_keeps_a_rollout_from_being_removed(void **state)
{
    struct bench *b = *state;
    struct error err = {0};
    end_with_an_order(b);
    assert_false(dispatcher_forget(b->dispatcher, "r1"));
    bench_restart(b);
    assert_false(dispatcher_forget(b->dispatcher, "r1"));
    /* The server never comes back: a person says how it was left. */
    assert_int_equal(bench_resolve(b, "r1", "a", EXECUTION_ROLLED_BACK, &err), ERR_CONFLICT);
    bench_pass(b, 8000);
    assert_int_equal(bench_execution(b, "r1", 0)->state, EXECUTION_ROLLBACK_FAILED);
    assert_false(dispatcher_forget(b->dispatcher, "r1"));
    assert_int_equal(bench_resolve(b, "r1", "a", EXECUTION_ROLLED_BACK, &err), ERR_OK);
    bench_settle(b);
    assert_true(dispatcher_forget(b->dispatcher, "r1"));
}

static void one_that_goes_away_in_its_undo_after_the_end_can_be_settled(void **state)
{
    struct bench *b = *state;
    struct error err = {0};
    end_with_an_order(b);
    bench_pass(b, 6000);
    assert_int_equal(bench_execution(b, "r1", 0)->state, EXECUTION_ROLLING_BACK);
    bench_pass(b, 2000);
    assert_int_equal(bench_execution(b, "r1", 0)->state, EXECUTION_ROLLBACK_FAILED);
    assert_int_equal(bench_resolve(b, "r1", "a", EXECUTION_ROLLED_BACK, &err), ERR_OK);
    bench_settle(b);
    assert_int_equal(bench_state(b, "r1"), ROLLOUT_ROLLED_BACK);
}

static void an_agent_that_lost_its_record_after_the_end_is_not_told_for_ever(void **state)
{
    struct bench *b = *state;
    struct fake_conn c;
    conn_connect(b, &c, "a", "i1", NULL);
    bench_submit(b, "r1", forgetful);
    bench_settle(b);
    report_started(&c, "r1");
    bench_settle(b);
    conn_drop(&c);
    bench_pass(b, 8000);
    /* It comes back at work and is to stop; then it has lost everything. */
    conn_connect(b, &c, "a", "i1", "r1");
    conn_report(&c, "r1", ENTRY(2, REPORT_STEP_STARTED, 0, .attempt = 1, .state = STEP_RUNNING));
    bench_settle(b);
    assert_int_equal(conn_count(&c, WIRE_CANCEL), 1);
    conn_drop(&c);
    conn_connect(b, &c, "a", "i2", NULL);
    assert_int_equal(conn_count(&c, WIRE_CANCEL), 0);
    conn_say(&c, heartbeat);
    bench_settle(b);
    assert_int_equal(bench_execution(b, "r1", 0)->state, EXECUTION_ROLLBACK_FAILED);
    assert_true(dispatcher_forget(b->dispatcher, "r1"));
    conn_drop(&c);
}

static void what_agents_keep_for_undo_is_summed_up(void **state)
{
    struct bench *b = *state;
    struct fake_conn c;
    struct server_view view;
    memset(&c, 0, sizeof(c));
    assert_int_equal(dispatcher_session_open(b->dispatcher, &c, "p", &c.session, NULL), ERR_OK);
    conn_say(&c, "{\"v\":1,\"type\":\"hello\",\"id\":\"a\",\"instance\":\"i1\",\"version\":\"1\","
                 "\"hostname\":\"h\",\"bootId\":\"b\",\"undoBytes\":81,\"undoMaxBytes\":100,"
                 "\"handlers\":[],\"executions\":[]}");
    assert_int_equal(dispatcher_server(b->dispatcher, "a", &view, NULL), ERR_OK);
    assert_int_equal(view.undo_bytes, 81);
    assert_int_equal(view.undo_max_bytes, 100);
    assert_int_equal(dispatcher_stats(b->dispatcher).undo_bytes, 81);
    assert_int_equal(dispatcher_stats(b->dispatcher).undo_high, 1);
    conn_drop(&c);
    /* What it said last counts. */
    conn_connect(b, &c, "a", "i1", NULL);
    assert_int_equal(dispatcher_stats(b->dispatcher).undo_bytes, 0);
    assert_int_equal(dispatcher_stats(b->dispatcher).undo_high, 0);
    conn_drop(&c);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(a_rollout_that_is_being_stopped_is_not_sent),
        T(after_a_restart_one_that_waits_for_its_turn_was_never_sent),
        T(a_server_that_has_ended_meanwhile_is_not_told_to_stop),
        T(a_late_hello_of_a_dead_connection_makes_nothing_lost),
        T(an_agent_whose_record_is_missing_is_not_told_to_stop),
        T(a_server_that_did_not_begin_in_time_is_told_to_drop_it),
        T(what_is_ordered_after_the_end_is_said_until_it_is_done),
        T(what_an_ended_rollout_owes_is_said_though_nobody_speaks_of_it),
        T(an_agent_that_does_not_answer_a_cancel_is_given_up_though_its_server_is_locked),
        T(force_is_told_once_it_is_durable_also_of_an_undo_that_stands),
        T(what_is_owed_keeps_a_rollout_from_being_removed),
        T(one_that_goes_away_in_its_undo_after_the_end_can_be_settled),
        T(an_agent_that_lost_its_record_after_the_end_is_not_told_for_ever),
        T(what_agents_keep_for_undo_is_summed_up),
        T(an_agent_that_lost_its_record_while_it_undid_itself_is_not_waited_for),
        T(an_agent_that_comes_while_its_undo_becomes_durable_has_lost_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
