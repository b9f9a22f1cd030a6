/* Rollbacks that people order, also of ended rollouts, and servers that they settle by hand. */
#include "unit/dispatch/support_dispatch.h"

#include "common/base/alloc.h"

#include <stdio.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define STEPS "\"steps\":[{\"name\":\"s\",\"type\":\"script\",\"params\":{\"script\":\"x\"}}]"
#define STRATEGY                                                                                   \
    "\"rolloutStrategy\":{\"type\":\"Parallel\",\"maxFailures\":-1,\"reconnectTimeoutSeconds\":7}"
static const char one_server[] = "{\"servers\":[\"a\"]," STEPS "," STRATEGY "}";
static const char two_servers[] = "{\"servers\":[\"a\",\"b\"]," STEPS "," STRATEGY "}";

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

static void roll_back(struct bench *b, const char *id, const char *server, bool force)
{
    struct error err = {0};
    if (bench_rollback(b, id, server, force, &err) != ERR_OK)
        fail_msg("rollback: %s", err.message);
    bench_settle(b);
}

static void refused(struct bench *b, const char *id, const char *server, enum error_code wanted,
                    const char *words)
{
    struct error err = {0};
    enum error_code code = bench_rollback(b, id, server, false, &err);
    assert_int_equal(code, wanted);
    if (strstr(err.message, words) == NULL)
        fail_msg("\"%s\" has no \"%s\"", err.message, words);
}

/* Takes a rollout of server "a" through to its end. */
static void succeed(struct bench *b, struct fake_conn *a, const char *id)
{
    bench_submit(b, id, one_server);
    bench_settle(b);
    conn_ended(b, a, id, EXECUTION_SUCCEEDED);
    assert_int_equal(bench_state(b, id), ROLLOUT_SUCCEEDED);
}

static int64_t ended_ms(struct bench *b, const char *id)
{
    struct rollout_view view;
    assert_int_equal(dispatcher_rollout(b->dispatcher, id, &view, NULL), ERR_OK);
    return view.ended_ms;
}

static void an_ended_rollout_is_opened_again_and_undone(void **state)
{
    struct bench *b = *state;
    struct fake_conn a;
    conn_connect(b, &a, "a", "i1", NULL);
    succeed(b, &a, "r1");
    int64_t first_end = ended_ms(b, "r1");
    assert_int_not_equal(first_end, 0);
    b->wall_ms += 1000;
    b->answers = 0;
    struct error err = {0};
    assert_int_equal(bench_rollback(b, "r1", NULL, false, &err), ERR_OK);
    /* Nothing leaves before it is durable, but the server is held from now on. */
    assert_int_equal(conn_count(&a, WIRE_ROLLBACK), 0);
    assert_int_equal(b->answers, 0);
    assert_int_equal(bench_try_submit(b, "r2", one_server, true, &err), ERR_BUSY);
    bench_settle(b);
    assert_int_equal(b->answers, 1);
    assert_int_equal(conn_count(&a, WIRE_ROLLBACK), 1);
    assert_int_equal(conn_last(&a, WIRE_ROLLBACK)->rollback.round, 1);
    assert_false(conn_last(&a, WIRE_ROLLBACK)->rollback.force);
    assert_int_equal(bench_state(b, "r1"), ROLLOUT_ROLLING_BACK);
    assert_int_equal(ended_ms(b, "r1"), 0);
    assert_int_equal(dispatcher_stats(b->dispatcher).open, 1);
    refused(b, "r1", NULL, ERR_CONFLICT, "rolling back");
    conn_undone(b, &a, "r1", 5, EXECUTION_ROLLED_BACK);
    assert_int_equal(bench_state(b, "r1"), ROLLOUT_ROLLED_BACK);
    assert_int_equal(ended_ms(b, "r1"), first_end + 1000);
    assert_int_equal(dispatcher_stats(b->dispatcher).open, 0);
    refused(b, "r1", NULL, ERR_CONFLICT, "nothing is left to undo");
    assert_int_equal(bench_try_submit(b, "r2", one_server, true, &err), ERR_OK);
    bench_settle(b);
    conn_drop(&a);
}

static void one_server_of_an_ended_rollout_is_undone_and_it_alone_is_held(void **state)
{
    struct bench *b = *state;
    struct fake_conn a, other;
    struct server_view view;
    conn_connect(b, &a, "a", "i1", NULL);
    conn_connect(b, &other, "b", "i2", NULL);
    bench_submit(b, "r1", two_servers);
    bench_settle(b);
    conn_ended(b, &a, "r1", EXECUTION_SUCCEEDED);
    conn_ended(b, &other, "r1", EXECUTION_SUCCEEDED);
    roll_back(b, "r1", "b", false);
    assert_int_equal(conn_count(&a, WIRE_ROLLBACK), 0);
    assert_int_equal(conn_count(&other, WIRE_ROLLBACK), 1);
    assert_int_equal(dispatcher_server(b->dispatcher, "a", &view, NULL), ERR_OK);
    assert_null(view.rollout);
    assert_int_equal(dispatcher_server(b->dispatcher, "b", &view, NULL), ERR_OK);
    assert_string_equal(view.rollout, "r1");
    /* Another of its servers may follow while it is open. */
    roll_back(b, "r1", "a", false);
    assert_int_equal(conn_count(&a, WIRE_ROLLBACK), 1);
    assert_int_equal(dispatcher_stats(b->dispatcher).open, 1);
    conn_undone(b, &a, "r1", 5, EXECUTION_ROLLED_BACK);
    assert_int_equal(bench_state(b, "r1"), ROLLOUT_ROLLING_BACK);
    conn_undone(b, &other, "r1", 5, EXECUTION_ROLLED_BACK);
    assert_int_equal(bench_state(b, "r1"), ROLLOUT_ROLLED_BACK);
    conn_drop(&a);
    conn_drop(&other);
}

static void the_newest_is_undone_first_unless_it_is_forced(void **state)
{
    struct bench *b = *state;
    struct fake_conn a;
    conn_connect(b, &a, "a", "i1", NULL);
    succeed(b, &a, "r1");
    succeed(b, &a, "r2");
    refused(b, "r1", NULL, ERR_CONFLICT, "rollout \"r2\" touched server \"a\" later");
    refused(b, "r1", "a", ERR_CONFLICT, "rollout \"r2\"");
    /* A restart knows it, too. */
    conn_drop(&a);
    bench_restart(b);
    conn_connect(b, &a, "a", "i1", NULL);
    refused(b, "r1", NULL, ERR_CONFLICT, "rollout \"r2\"");
    roll_back(b, "r2", NULL, false);
    refused(b, "r1", NULL, ERR_CONFLICT, "held by rollout \"r2\"");
    conn_undone(b, &a, "r2", 5, EXECUTION_ROLLED_BACK);
    roll_back(b, "r1", NULL, false);
    conn_undone(b, &a, "r1", 5, EXECUTION_ROLLED_BACK);
    assert_int_equal(bench_state(b, "r1"), ROLLOUT_ROLLED_BACK);
    succeed(b, &a, "r3");
    succeed(b, &a, "r4");
    roll_back(b, "r3", "a", true);
    assert_string_equal(conn_last(&a, WIRE_ROLLBACK)->rollback.rollout, "r3");
    assert_true(conn_last(&a, WIRE_ROLLBACK)->rollback.force);
    conn_drop(&a);
}

static void a_server_that_is_locked_or_not_free_is_left_alone(void **state)
{
    struct bench *b = *state;
    struct fake_conn a;
    struct error err = {0};
    conn_connect(b, &a, "a", "i1", NULL);
    succeed(b, &a, "r1");
    assert_int_equal(bench_lock(b, "a", &err), ERR_OK);
    refused(b, "r1", NULL, ERR_CONFLICT, "locked by me");
    bench_settle(b);
    assert_int_equal(bench_unlock(b, "a", &err), ERR_OK);
    bench_settle(b);
    bench_submit(b, "r2", one_server);
    bench_settle(b);
    refused(b, "r1", "a", ERR_CONFLICT, "held by rollout \"r2\"");
    /* Force is about what was changed, not about who is at work. */
    assert_int_equal(bench_rollback(b, "r1", "a", true, &err), ERR_CONFLICT);
    assert_int_equal(bench_state(b, "r1"), ROLLOUT_SUCCEEDED);
    conn_drop(&a);
}

static void an_order_that_makes_no_sense_is_refused(void **state)
{
    struct bench *b = *state;
    struct fake_conn a;
    struct error err = {0};
    conn_connect(b, &a, "a", "i1", NULL);
    succeed(b, &a, "r1");
    assert_int_equal(bench_rollback(b, "r1", NULL, true, &err), ERR_INVALID);
    assert_non_null(strstr(err.message, "name the servers"));
    refused(b, "nope", NULL, ERR_NOT_FOUND, "nope");
    refused(b, "r1", "b", ERR_NOT_FOUND, "no server \"b\"");
    const char *name = "a";
    const struct dispatcher_rollback now = {.servers = &name, .server_count = 1, .now = true};
    assert_int_equal(dispatcher_rollback(b->dispatcher, "r1", &now, NULL, NULL, &err), ERR_INVALID);
    conn_drop(&a);
}

static void several_servers_are_undone_by_one_order_or_none_is(void **state)
{
    struct bench *b = *state;
    struct fake_conn a, other;
    struct error err = {0};
    struct rollout_view view;
    conn_connect(b, &a, "a", "i1", NULL);
    conn_connect(b, &other, "b", "i2", NULL);
    bench_submit(b, "r1", two_servers);
    bench_settle(b);
    conn_ended(b, &a, "r1", EXECUTION_SUCCEEDED);
    conn_touched(b, &other, "r1");
    const char *const names[] = {"a", "b", "a"};
    const struct dispatcher_rollback order = {.servers = names, .server_count = 3};
    assert_int_equal(dispatcher_rollout(b->dispatcher, "r1", &view, NULL), ERR_OK);
    uint64_t before = view.last_seq;
    assert_int_equal(dispatcher_rollback(b->dispatcher, "r1", &order, NULL, NULL, &err),
                     ERR_CONFLICT);
    assert_non_null(strstr(err.message, "b is at work"));
    bench_settle(b);
    assert_int_equal(conn_count(&a, WIRE_ROLLBACK), 0);
    assert_int_equal(dispatcher_rollout(b->dispatcher, "r1", &view, NULL), ERR_OK);
    assert_int_equal(view.last_seq, before);
    conn_report(&other, "r1",
                ENTRY(3, REPORT_STEP_ENDED, 0, .attempt = 1, .state = STEP_SUCCEEDED));
    conn_report(&other, "r1", ENTRY(4, REPORT_ENDED, -1, .state = EXECUTION_SUCCEEDED));
    bench_settle(b);
    assert_int_equal(dispatcher_rollback(b->dispatcher, "r1", &order, NULL, NULL, &err), ERR_OK);
    bench_settle(b);
    assert_int_equal(conn_count(&a, WIRE_ROLLBACK), 1);
    assert_int_equal(conn_count(&other, WIRE_ROLLBACK), 1);
    conn_drop(&a);
    conn_drop(&other);
}

static void a_running_rollout_is_stopped_and_undone(void **state)
{
    struct bench *b = *state;
    struct fake_conn a;
    conn_connect(b, &a, "a", "i1", NULL);
    bench_submit(b, "r1", one_server);
    bench_settle(b);
    conn_touched(b, &a, "r1");
    roll_back(b, "r1", NULL, false);
    assert_int_equal(conn_count(&a, WIRE_CANCEL), 1);
    conn_report(&a, "r1", ENTRY(3, REPORT_STEP_ENDED, 0, .attempt = 1, .state = STEP_SUCCEEDED));
    conn_report(&a, "r1", ENTRY(4, REPORT_ENDED, -1, .state = EXECUTION_CANCELLED));
    bench_settle(b);
    conn_undone(b, &a, "r1", 5, EXECUTION_ROLLED_BACK);
    assert_int_equal(bench_state(b, "r1"), ROLLOUT_ROLLED_BACK);
    conn_drop(&a);
}

static void an_undo_that_failed_is_ordered_again_as_a_further_round(void **state)
{
    struct bench *b = *state;
    struct fake_conn a;
    conn_connect(b, &a, "a", "i1", NULL);
    succeed(b, &a, "r1");
    roll_back(b, "r1", NULL, false);
    conn_undone(b, &a, "r1", 5, EXECUTION_ROLLBACK_FAILED);
    assert_int_equal(bench_state(b, "r1"), ROLLOUT_ROLLBACK_FAILED);
    roll_back(b, "r1", "a", true);
    assert_int_equal(conn_last(&a, WIRE_ROLLBACK)->rollback.round, 2);
    assert_true(conn_last(&a, WIRE_ROLLBACK)->rollback.force);
    /* The same order, with the same number, is given again after a restart. */
    conn_drop(&a);
    bench_restart(b);
    conn_connect(b, &a, "a", "i1", NULL);
    assert_int_equal(conn_count(&a, WIRE_ROLLBACK), 1);
    assert_int_equal(conn_last(&a, WIRE_ROLLBACK)->rollback.round, 2);
    assert_true(conn_last(&a, WIRE_ROLLBACK)->rollback.force);
    conn_undone(b, &a, "r1", 8, EXECUTION_ROLLED_BACK);
    assert_int_equal(bench_state(b, "r1"), ROLLOUT_ROLLED_BACK);
    conn_drop(&a);
}

static void a_restart_holds_what_is_being_undone_and_nothing_else(void **state)
{
    struct bench *b = *state;
    struct fake_conn a, other;
    struct server_view view;
    conn_connect(b, &a, "a", "i1", NULL);
    conn_connect(b, &other, "b", "i2", NULL);
    bench_submit(b, "r1", two_servers);
    bench_settle(b);
    conn_ended(b, &a, "r1", EXECUTION_SUCCEEDED);
    conn_ended(b, &other, "r1", EXECUTION_SUCCEEDED);
    /* r2 changes b, r1 is undone on a, r3 waits for a. */
    bench_submit(b, "r2", "{\"servers\":[\"b\"]," STEPS "," STRATEGY "}");
    bench_settle(b);
    conn_touched(b, &other, "r2");
    roll_back(b, "r1", "a", false);
    bench_submit(b, "r3", one_server);
    bench_settle(b);
    conn_drop(&a);
    conn_drop(&other);
    bench_restart(b);
    assert_int_equal(dispatcher_stats(b->dispatcher).open, 3);
    assert_int_equal(dispatcher_server(b->dispatcher, "a", &view, NULL), ERR_OK);
    assert_string_equal(view.rollout, "r1");
    assert_int_equal(view.waiting, 1);
    assert_int_equal(dispatcher_server(b->dispatcher, "b", &view, NULL), ERR_OK);
    assert_string_equal(view.rollout, "r2");
    conn_connect(b, &a, "a", "i1", NULL);
    assert_int_equal(conn_count(&a, WIRE_ROLLBACK), 1);
    assert_int_equal(conn_count(&a, WIRE_EXECUTE), 0);
    conn_undone(b, &a, "r1", 5, EXECUTION_ROLLED_BACK);
    assert_int_equal(conn_count(&a, WIRE_EXECUTE), 1);
    assert_string_equal(conn_last(&a, WIRE_EXECUTE)->execute.rollout, "r3");
    conn_drop(&a);
}

static void a_server_that_is_away_is_given_time_and_told_when_it_comes(void **state)
{
    struct bench *b = *state;
    struct fake_conn a;
    conn_connect(b, &a, "a", "i1", NULL);
    succeed(b, &a, "r1");
    conn_drop(&a);
    roll_back(b, "r1", NULL, false);
    assert_int_equal(bench_state(b, "r1"), ROLLOUT_ROLLING_BACK);
    bench_pass(b, 6000);
    assert_int_equal(bench_state(b, "r1"), ROLLOUT_ROLLING_BACK);
    bench_pass(b, 2000);
    assert_int_equal(bench_state(b, "r1"), ROLLOUT_ROLLBACK_FAILED);
    assert_int_equal(dispatcher_stats(b->dispatcher).open, 0);
    conn_connect(b, &a, "a", "i1", NULL);
    assert_int_equal(conn_count(&a, WIRE_ROLLBACK), 1);
    conn_undone(b, &a, "r1", 5, EXECUTION_ROLLED_BACK);
    assert_int_equal(bench_execution(b, "r1", 0)->state, EXECUTION_ROLLED_BACK);
    conn_drop(&a);
}

/* Takes server "a" to silence in the middle of r1. */
static void fall_silent(struct bench *b, struct fake_conn *a)
{
    conn_connect(b, a, "a", "i1", NULL);
    bench_submit(b, "r1", one_server);
    bench_settle(b);
    conn_touched(b, a, "r1");
    conn_drop(a);
    bench_pass(b, 8000);
    assert_int_equal(bench_execution(b, "r1", 0)->state, EXECUTION_UNKNOWN);
    assert_int_equal(bench_state(b, "r1"), ROLLOUT_SUCCEEDED);
}

static void a_silent_server_that_is_ordered_holds_nothing_up(void **state)
{
    struct bench *b = *state;
    struct fake_conn a;
    fall_silent(b, &a);
    roll_back(b, "r1", "a", false);
    assert_int_equal(bench_state(b, "r1"), ROLLOUT_ROLLBACK_FAILED);
    assert_int_equal(dispatcher_stats(b->dispatcher).open, 0);
    refused(b, "r1", "a", ERR_CONFLICT, "to be undone already");
    /* It comes back at work: it is stopped, and undone. */
    conn_connect(b, &a, "a", "i1", "r1");
    conn_report(&a, "r1", ENTRY(3, REPORT_STEP_ENDED, 0, .attempt = 1, .state = STEP_SUCCEEDED));
    bench_settle(b);
    assert_int_equal(conn_count(&a, WIRE_CANCEL), 1);
    conn_report(&a, "r1", ENTRY(4, REPORT_ENDED, -1, .state = EXECUTION_CANCELLED));
    bench_settle(b);
    assert_int_equal(conn_count(&a, WIRE_ROLLBACK), 1);
    conn_undone(b, &a, "r1", 5, EXECUTION_ROLLED_BACK);
    assert_int_equal(bench_execution(b, "r1", 0)->state, EXECUTION_ROLLED_BACK);
    conn_drop(&a);
}

static void what_is_owed_there_is_undone_before_a_later_rollout_begins(void **state)
{
    struct bench *b = *state;
    struct fake_conn a;
    fall_silent(b, &a);
    roll_back(b, "r1", "a", false);
    bench_submit(b, "r2", one_server);
    bench_settle(b);
    /* The undo goes out first, and nothing goes forward until it is done. */
    conn_connect(b, &a, "a", "i1", "r1");
    assert_int_equal(conn_count(&a, WIRE_EXECUTE), 0);
    conn_report(&a, "r1", ENTRY(3, REPORT_STEP_ENDED, 0, .attempt = 1, .state = STEP_SUCCEEDED));
    conn_report(&a, "r1", ENTRY(4, REPORT_ENDED, -1, .state = EXECUTION_CANCELLED));
    bench_settle(b);
    assert_int_equal(conn_count(&a, WIRE_ROLLBACK), 1);
    assert_int_equal(conn_count(&a, WIRE_EXECUTE), 0);
    conn_undone(b, &a, "r1", 5, EXECUTION_ROLLED_BACK);
    assert_int_equal(conn_count(&a, WIRE_EXECUTE), 1);
    assert_string_equal(conn_last(&a, WIRE_EXECUTE)->execute.rollout, "r2");
    conn_drop(&a);
}

static void an_agent_at_work_on_what_a_person_settled_is_told_to_stop(void **state)
{
    struct bench *b = *state;
    struct fake_conn a;
    struct error err = {0};
    fall_silent(b, &a);
    assert_int_equal(bench_resolve(b, "r1", "a", EXECUTION_FAILED, &err), ERR_OK);
    bench_settle(b);
    conn_connect(b, &a, "a", "i1", "r1");
    conn_report(&a, "r1", ENTRY(3, REPORT_STEP_ENDED, 0, .attempt = 1, .state = STEP_SUCCEEDED));
    bench_settle(b);
    assert_int_equal(conn_count(&a, WIRE_CANCEL), 1);
    assert_false(conn_last(&a, WIRE_CANCEL)->cancel.now);
    /* And not once it has ended. */
    conn_report(&a, "r1", ENTRY(4, REPORT_ENDED, -1, .state = EXECUTION_CANCELLED));
    bench_settle(b);
    assert_int_equal(conn_count(&a, WIRE_CANCEL), 1);
    assert_int_equal(bench_execution(b, "r1", 0)->state, EXECUTION_FAILED);
    conn_drop(&a);
}

/* One that nobody ordered comes back while the rollout is open, and goes away again. */
static void an_open_rollout_waits_for_those_that_came_back_but_not_for_ever(void **state)
{
    struct bench *b = *state;
    struct fake_conn a, other;
    struct server_view view;
    conn_connect(b, &other, "b", "i2", NULL);
    conn_connect(b, &a, "a", "i1", NULL);
    bench_submit(b, "r1", two_servers);
    bench_settle(b);
    conn_ended(b, &other, "r1", EXECUTION_SUCCEEDED);
    conn_touched(b, &a, "r1");
    conn_drop(&a);
    for (int second = 0; second < 8; second++) {
        conn_say(&other, "{\"v\":1,\"type\":\"heartbeat\"}");
        bench_pass(b, 1000);
    }
    assert_int_equal(bench_execution(b, "r1", 0)->state, EXECUTION_UNKNOWN);
    roll_back(b, "r1", "b", false);
    conn_connect(b, &a, "a", "i1", "r1");
    conn_report(&a, "r1", ENTRY(3, REPORT_STEP_ENDED, 0, .attempt = 1, .state = STEP_SUCCEEDED));
    bench_settle(b);
    assert_int_equal(dispatcher_server(b->dispatcher, "a", &view, NULL), ERR_OK);
    assert_null(view.rollout);
    conn_drop(&a);
    conn_undone(b, &other, "r1", 5, EXECUTION_ROLLED_BACK);
    assert_int_equal(bench_state(b, "r1"), ROLLOUT_ROLLING_BACK);
    assert_false(dispatcher_forget(b->dispatcher, "r1"));
    conn_drop(&other);
    bench_pass(b, 8000);
    assert_int_equal(bench_execution(b, "r1", 0)->state, EXECUTION_UNKNOWN);
    assert_true(rollout_state_final(bench_state(b, "r1")));
    assert_int_equal(dispatcher_stats(b->dispatcher).open, 0);
}

static void a_server_that_is_settled_by_hand_is_owed_nothing(void **state)
{
    struct bench *b = *state;
    struct fake_conn a;
    struct error err = {0};
    conn_connect(b, &a, "a", "i1", NULL);
    succeed(b, &a, "r1");
    assert_int_equal(bench_resolve(b, "r1", "a", EXECUTION_SUCCEEDED, &err), ERR_CONFLICT);
    assert_int_equal(bench_resolve(b, "r1", "b", EXECUTION_SUCCEEDED, &err), ERR_NOT_FOUND);
    conn_drop(&a);
    roll_back(b, "r1", NULL, false);
    bench_pass(b, 8000);
    assert_int_equal(bench_state(b, "r1"), ROLLOUT_ROLLBACK_FAILED);
    b->answers = 0;
    assert_int_equal(bench_resolve(b, "r1", "a", EXECUTION_ROLLED_BACK, &err), ERR_OK);
    bench_settle(b);
    assert_int_equal(b->answers, 1);
    assert_int_equal(bench_state(b, "r1"), ROLLOUT_ROLLED_BACK);
    assert_int_equal(bench_resolve(b, "r1", "a", EXECUTION_FAILED, &err), ERR_CONFLICT);
    conn_connect(b, &a, "a", "i1", NULL);
    assert_int_equal(conn_count(&a, WIRE_ROLLBACK), 0);
    conn_drop(&a);
    /* What counts as undone does not stand in the way of what came before it. */
    bench_restart(b);
    conn_connect(b, &a, "a", "i1", NULL);
    assert_int_equal(conn_count(&a, WIRE_ROLLBACK), 0);
    conn_drop(&a);
}

static void an_order_without_memory_changes_nothing(void **state)
{
    struct bench *b = *state;
    struct fake_conn a;
    struct error err = {0};
    struct rollout_view view;
    conn_connect(b, &a, "a", "i1", NULL);
    succeed(b, &a, "r1");
    assert_int_equal(dispatcher_rollout(b->dispatcher, "r1", &view, NULL), ERR_OK);
    uint64_t before = view.last_seq;
    for (uint64_t n = 0; n < 3; n++) {
        mem_fail_after(n);
        enum error_code code = bench_rollback(b, "r1", NULL, false, &err);
        mem_fail_never();
        assert_int_equal(code, ERR_NO_MEMORY);
        assert_int_equal(b->fatal, 0);
        assert_int_equal(dispatcher_rollout(b->dispatcher, "r1", &view, NULL), ERR_OK);
        assert_int_equal(view.last_seq, before);
        assert_int_equal(dispatcher_stats(b->dispatcher).open, 0);
    }
    roll_back(b, "r1", NULL, false);
    conn_drop(&a);
}

static void an_end_that_is_not_durable_yet_can_be_followed_by_an_order(void **state)
{
    struct bench *b = *state;
    struct fake_conn a;
    struct error err = {0};
    conn_connect(b, &a, "a", "i1", NULL);
    bench_submit(b, "r1", one_server);
    bench_settle(b);
    conn_touched(b, &a, "r1");
    conn_report(&a, "r1", ENTRY(3, REPORT_STEP_ENDED, 0, .attempt = 1, .state = STEP_SUCCEEDED));
    conn_report(&a, "r1", ENTRY(4, REPORT_ENDED, -1, .state = EXECUTION_SUCCEEDED));
    assert_int_equal(bench_rollback(b, "r1", NULL, false, &err), ERR_OK);
    bench_settle(b);
    /* The end that came first does not give its server away. */
    assert_int_equal(bench_try_submit(b, "r2", one_server, true, &err), ERR_BUSY);
    assert_int_equal(conn_count(&a, WIRE_ROLLBACK), 1);
    conn_undone(b, &a, "r1", 5, EXECUTION_ROLLED_BACK);
    assert_int_equal(bench_state(b, "r1"), ROLLOUT_ROLLED_BACK);
    assert_int_equal(dispatcher_stats(b->dispatcher).open, 0);
    conn_drop(&a);
}

static void no_more_are_opened_again_than_may_be_open(void **state)
{
    struct bench *b = *state;
    struct fake_conn a;
    conn_connect(b, &a, "a", "i1", NULL);
    succeed(b, &a, "r1");
    for (int i = 0; i < DISPATCH_MAX_OPEN; i++) {
        char id[32];
        (void)snprintf(id, sizeof(id), "open-%d", i);
        bench_submit(b, id, "{\"servers\":[\"z\"]," STEPS "}");
    }
    bench_settle(b);
    refused(b, "r1", NULL, ERR_LIMIT, "open already");
    conn_drop(&a);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(an_ended_rollout_is_opened_again_and_undone),
        T(one_server_of_an_ended_rollout_is_undone_and_it_alone_is_held),
        T(the_newest_is_undone_first_unless_it_is_forced),
        T(a_server_that_is_locked_or_not_free_is_left_alone),
        T(an_order_that_makes_no_sense_is_refused),
        T(several_servers_are_undone_by_one_order_or_none_is),
        T(a_running_rollout_is_stopped_and_undone),
        T(an_undo_that_failed_is_ordered_again_as_a_further_round),
        T(a_restart_holds_what_is_being_undone_and_nothing_else),
        T(a_server_that_is_away_is_given_time_and_told_when_it_comes),
        T(a_silent_server_that_is_ordered_holds_nothing_up),
        T(what_is_owed_there_is_undone_before_a_later_rollout_begins),
        T(an_agent_at_work_on_what_a_person_settled_is_told_to_stop),
        T(an_open_rollout_waits_for_those_that_came_back_but_not_for_ever),
        T(a_server_that_is_settled_by_hand_is_owed_nothing),
        T(an_order_without_memory_changes_nothing),
        T(an_end_that_is_not_durable_yet_can_be_followed_by_an_order),
        T(no_more_are_opened_again_than_may_be_open),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
