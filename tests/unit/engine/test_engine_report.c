#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "unit/engine/support_plan.h"
#include "unit/engine/support_rollout.h"

static struct event step_ended(uint32_t server, int32_t step, enum step_state state)
{
    struct event event = entry(EVENT_STEP_ENDED, server, step);
    event.step_state = state;
    event.attempt = 1;
    return event;
}

static void an_entry_that_is_known_changes_nothing(void **state)
{
    (void)state;
    struct rollout *r = rollout_of(sequential_of(1));
    (void)created(r);
    (void)begins(r, 0);
    struct event again = entry(EVENT_EXECUTION_STARTED, 0, EVENT_NO_STEP);
    again.agent_seq = 1;
    assert_string_equal(apply(r, again), "refused: stale");
    rollout_free(r);
}

static void a_gap_in_the_numbering_is_refused(void **state)
{
    (void)state;
    struct rollout *r = rollout_of(sequential_of(1));
    (void)created(r);
    (void)begins(r, 0);
    struct event later = entry(EVENT_STEP_STARTED, 0, 0);
    later.agent_seq = 3;
    assert_string_equal(apply(r, later), "refused: invalid");
    later.agent_seq = 0;
    assert_string_equal(apply(r, later), "refused: invalid");
    later.agent_seq = 2;
    assert_string_equal(apply(r, later), "");
    rollout_free(r);
}

static void no_such_server_or_step_is_refused(void **state)
{
    (void)state;
    struct rollout *r = rollout_of(sequential_of(2));
    (void)created(r);
    struct event event = entry(EVENT_EXECUTION_STARTED, 2, EVENT_NO_STEP);
    event.agent_seq = 1;
    assert_string_equal(apply(r, event), "refused: invalid");
    event.server = EVENT_NO_SERVER;
    assert_string_equal(apply(r, event), "refused: invalid");
    assert_string_equal(unreachable(r, 7), "refused: invalid");
    assert_string_equal(begins(r, 1), "refused: conflict");
    assert_string_equal(rollout_refusal(r), "web-2 was not started");
    (void)begins(r, 0);
    assert_string_equal(reports(r, entry(EVENT_STEP_STARTED, 0, 1)), "refused: invalid");
    assert_string_equal(reports(r, entry(EVENT_STEP_STARTED, 0, EVENT_NO_STEP)),
                        "refused: invalid");
    rollout_free(r);
}

static void a_state_that_the_entry_cannot_have_is_refused(void **state)
{
    (void)state;
    struct rollout *r = rollout_of(sequential_of(1));
    (void)created(r);
    (void)begins(r, 0);
    assert_string_equal(reports(r, step_ended(0, 0, STEP_RUNNING)), "refused: invalid");
    assert_string_equal(ends(r, 0, EXECUTION_UNREACHABLE), "refused: invalid");
    struct event end = entry(EVENT_EXECUTION_ENDED, 0, EVENT_NO_STEP);
    end.state = EXECUTION_SUCCEEDED;
    end.undoing = true;
    assert_string_equal(reports(r, end), "refused: invalid");
    (void)ends(r, 0, EXECUTION_FAILED);
    struct event undo = entry(EVENT_EXECUTION_ROLLED_BACK, 0, EVENT_NO_STEP);
    undo.state = EXECUTION_FAILED;
    assert_string_equal(reports(r, undo), "refused: invalid");
    undo = entry(EVENT_STEP_ROLLED_BACK, 0, 0);
    undo.step_state = STEP_SUCCEEDED;
    assert_string_equal(reports(r, undo), "refused: invalid");
    rollout_free(r);
}

static void everything_happens_once_and_in_order(void **state)
{
    (void)state;
    struct rollout *r = rollout_of(sequential_of(2));
    (void)created(r);
    assert_string_equal(reports(r, entry(EVENT_STEP_STARTED, 0, 0)), "refused: conflict");
    assert_string_equal(ends(r, 0, EXECUTION_SUCCEEDED), "refused: conflict");
    (void)begins(r, 0);
    assert_string_equal(begins(r, 0), "refused: conflict");
    assert_string_equal(undone(r, 0), "refused: conflict");
    (void)reports(r, step_ended(0, 0, STEP_SUCCEEDED));
    assert_string_equal(reports(r, step_ended(0, 0, STEP_FAILED)), "refused: conflict");
    assert_string_equal(reports(r, entry(EVENT_STEP_STARTED, 0, 0)), "refused: conflict");
    (void)ends(r, 0, EXECUTION_SUCCEEDED);
    assert_string_equal(ends(r, 0, EXECUTION_FAILED), "refused: conflict");
    assert_string_equal(reports(r, entry(EVENT_STEP_RETRYING, 0, 0)), "refused: conflict");
    assert_string_equal(undone(r, 0), "refused: conflict");
    (void)fails(r, 1);
    (void)undone(r, 1);
    assert_string_equal(undone(r, 1), "refused: conflict");
    rollout_free(r);
}

static void what_is_known_of_a_step_is_kept(void **state)
{
    (void)state;
    struct rollout *r = rollout_of(plan_of(1, 3));
    const struct engine *e = rollout_engine(r);
    (void)created(r);
    (void)begins(r, 0);
    assert_int_equal(engine_execution(e, 0)->step, EVENT_NO_STEP);
    struct event event = entry(EVENT_STEP_STARTED, 0, 1);
    event.attempt = 1;
    (void)reports(r, event);
    assert_int_equal(engine_execution(e, 0)->step, 1);
    assert_int_equal(engine_step(e, 0, 1)->state, STEP_RUNNING);

    event = entry(EVENT_STEP_RETRYING, 0, 1);
    event.attempt = 1;
    event.message = "exit status 3";
    (void)reports(r, event);
    assert_int_equal(engine_step(e, 0, 1)->reason_seq, 4);

    event = step_ended(0, 1, STEP_SUCCEEDED);
    event.attempt = 2;
    event.changed = true;
    event.has_exit_code = true;
    event.exit_code = 7;
    event.duration_ms = 1234;
    (void)reports(r, event);
    const struct step_record *step = engine_step(e, 0, 1);
    assert_int_equal(step->state, STEP_SUCCEEDED);
    assert_int_equal(step->attempt, 2);
    assert_true(step->changed && step->has_exit_code);
    assert_int_equal(step->exit_code, 7);
    assert_int_equal(step->duration_ms, 1234);
    assert_int_equal(engine_execution(e, 0)->step, EVENT_NO_STEP);
    assert_int_equal(engine_step(e, 0, 0)->state, STEP_PENDING);
    rollout_free(r);
}

static void what_waits_to_be_confirmed_runs_until_it_says_how_that_ended(void **state)
{
    (void)state;
    struct rollout *r = rollout_of(parallel_of(2));
    const struct execution *x = engine_execution(rollout_engine(r), 0);
    const struct event confirming = entry(EVENT_EXECUTION_CONFIRMING, 0, EVENT_NO_STEP);
    (void)created(r);
    assert_string_equal(reports(r, confirming), "refused: conflict");
    (void)begins(r, 0);
    (void)reports(r, entry(EVENT_STEP_STARTED, 0, 0));
    (void)reports(r, step_ended(0, 0, STEP_SUCCEEDED));
    assert_string_equal(reports(r, confirming), "");
    assert_string_equal(server_is(r, 0), "running");
    assert_int_equal(x->step, EVENT_NO_STEP);
    assert_string_equal(succeeds(r, 1), "");
    struct event end = entry(EVENT_EXECUTION_ENDED, 0, EVENT_NO_STEP);
    end.state = EXECUTION_FAILED;
    end.undoing = true;
    end.message = "not confirmed within 30s";
    assert_string_equal(reports(r, end), "threshold_exceeded(1)");
    assert_string_equal(reports(r, confirming), "refused: conflict");
    assert_string_equal(undone(r, 0), "batch_ended(1,2) rollback_started(1) rollback(1)");
    rollout_free(r);
}

static void only_a_step_that_takes_time_touches_a_server(void **state)
{
    (void)state;
    struct rollout *r = rollout_of(plan_of(1, 2));
    const struct execution *x = engine_execution(rollout_engine(r), 0);
    (void)created(r);
    (void)begins(r, 0);
    (void)reports(r, step_ended(0, 0, STEP_SUCCEEDED));
    assert_false(x->touched);
    (void)reports(r, entry(EVENT_STEP_STARTED, 0, 1));
    assert_true(x->touched);
    rollout_free(r);
}

static void why_a_server_failed_is_found_by_its_event(void **state)
{
    (void)state;
    struct rollout *r = rollout_of(plan_of(1, 2));
    const struct execution *x = engine_execution(rollout_engine(r), 0);
    (void)created(r);
    (void)begins(r, 0);
    struct event event = step_ended(0, 1, STEP_TIMED_OUT);
    event.message = "after 300 seconds";
    (void)reports(r, event);
    (void)ends(r, 0, EXECUTION_TIMED_OUT);
    assert_int_equal(x->reason_seq, 3);
    assert_int_equal(x->step, 1);
    assert_int_equal(x->started_ms, 2000);
    assert_int_equal(x->ended_ms, 4000);

    (void)undo_begins(r, 0);
    event = entry(EVENT_STEP_ROLLED_BACK, 0, 0);
    event.step_state = STEP_ROLLBACK_FAILED;
    event.message = "the file was changed since";
    (void)reports(r, event);
    assert_int_equal(x->reason_seq, 6);
    assert_int_equal(x->step, 0);
    assert_int_equal(engine_step(rollout_engine(r), 0, 0)->state, STEP_ROLLBACK_FAILED);
    assert_string_equal(reports(r, event), "refused: conflict");
    (void)undo_fails(r, 0);
    rollout_free(r);
}

static void only_a_server_that_has_not_started_is_unreachable(void **state)
{
    (void)state;
    struct plan *plan = parallel_of(2);
    plan->strategy.max_failures = limit_of(2);
    struct rollout *r = rollout_of(plan);
    (void)created(r);
    (void)begins(r, 0);
    assert_string_equal(unreachable(r, 0), "refused: conflict");
    assert_string_equal(unknown(r, 1), "refused: conflict");
    assert_string_equal(unreachable(r, 1), "");
    assert_string_equal(server_is(r, 1), "unreachable");
    assert_string_equal(unreachable(r, 1), "refused: stale");
    assert_string_equal(unknown(r, 1), "refused: stale");
    (void)ends(r, 0, EXECUTION_SUCCEEDED);
    assert_string_equal(unreachable(r, 0), "refused: stale");
    assert_string_equal(unknown(r, 0), "refused: stale");
    rollout_free(r);
}

static void only_a_rollout_that_stops_withdraws_servers(void **state)
{
    (void)state;
    struct rollout *r = rollout_of(parallel_of(2));
    (void)created(r);
    assert_string_equal(withdrawn(r, 0), "refused: conflict");
    (void)begins(r, 0);
    (void)cancelled(r, false, false);
    assert_string_equal(withdrawn(r, 0), "refused: conflict");
    assert_string_equal(withdrawn(r, 1), "");
    assert_string_equal(withdrawn(r, 1), "refused: stale");
    rollout_free(r);
}

static void an_unknown_that_proves_well_takes_its_failure_back(void **state)
{
    (void)state;
    struct plan *plan = sequential_of(3);
    plan->strategy.max_failures = limit_of(1);
    struct rollout *r = rollout_of(plan);
    (void)created(r);
    (void)begins(r, 0);
    (void)unknown(r, 0);
    assert_string_equal(counts(r), "1 1 0 0 0 1 0 0 / 0 0");
    assert_string_equal(ends(r, 0, EXECUTION_SUCCEEDED), "");
    assert_string_equal(counts(r), "1 1 1 0 0 0 0 0 / 0 0");
    assert_string_equal(fails(r, 1), "batch_ended(2,1) batch_started(3,1) start(2)");
    (void)succeeds(r, 2);
    assert_int_equal(engine_state(rollout_engine(r)), ROLLOUT_SUCCEEDED);
    rollout_free(r);
}

static void an_unknown_that_proves_failed_is_not_counted_twice(void **state)
{
    (void)state;
    struct plan *plan = sequential_of(2);
    plan->strategy.max_failures = limit_of(1);
    struct rollout *r = rollout_of(plan);
    (void)created(r);
    (void)begins(r, 0);
    (void)unknown(r, 0);
    assert_string_equal(ends(r, 0, EXECUTION_FAILED), "");
    assert_string_equal(counts(r), "0 1 0 1 0 0 0 0 / 0 0");
    rollout_free(r);
}

static void an_abort_that_was_decided_stays(void **state)
{
    (void)state;
    struct rollout *r = rollout_of(parallel_of(2));
    (void)created(r);
    (void)begins(r, 0);
    (void)begins(r, 1);
    (void)unknown(r, 0);
    assert_string_equal(ends(r, 0, EXECUTION_SUCCEEDED), "");
    assert_string_equal(counts(r), "0 1 1 0 0 0 0 0 / 0 0");
    assert_string_equal(ends(r, 1, EXECUTION_CANCELLED),
                        "batch_ended(1,2) rollback_started(2) rollback(1) rollback(0)");
    rollout_free(r);
}

static void the_end_waits_for_a_server_that_came_back(void **state)
{
    (void)state;
    struct plan *plan = sequential_of(2);
    plan->strategy.max_failures = limit_of(1);
    struct rollout *r = rollout_of(plan);
    (void)created(r);
    (void)begins(r, 0);
    (void)unknown(r, 0);
    (void)reports(r, entry(EVENT_STEP_STARTED, 0, 0));
    assert_string_equal(server_is(r, 0), "running/unknown");
    assert_string_equal(succeeds(r, 1), "batch_ended(2,1)");
    assert_string_equal(unknown(r, 0), "rollout_ended(succeeded) end");
    assert_string_equal(server_is(r, 0), "unknown");
    assert_string_equal(ends(r, 0, EXECUTION_SUCCEEDED), "");
    assert_string_equal(server_is(r, 0), "succeeded/unknown");
    assert_string_equal(counts(r), "0 0 1 0 0 1 0 0 / 0 0");
    rollout_free(r);
}

static void an_unreachable_server_that_starts_late_is_stopped_and_undone(void **state)
{
    (void)state;
    struct plan *plan = sequential_of(2);
    plan->strategy.max_failures = limit_of(1);
    plan->rollback_scope = SCOPE_NONE;
    struct rollout *r = rollout_of(plan);
    (void)created(r);
    assert_string_equal(unreachable(r, 0), "batch_ended(1,1) batch_started(2,1) start(1)");
    assert_string_equal(begins(r, 0), "cancel(0)");
    assert_string_equal(standing(r), "cancel(0) start(1)");
    assert_string_equal(succeeds(r, 1), "batch_ended(2,1)");
    assert_string_equal(ends(r, 0, EXECUTION_CANCELLED), "rollback(0)");
    assert_string_equal(undone(r, 0), "rollout_ended(succeeded) end");
    assert_string_equal(server_is(r, 0), "rolled_back/unreachable");
    assert_string_equal(counts(r), "0 0 1 0 1 0 0 0 / 1 0");
    rollout_free(r);
}

static void a_server_that_starts_after_the_end_is_stopped_and_undone(void **state)
{
    (void)state;
    struct rollout *r = rollout_of(sequential_of(1));
    (void)created(r);
    (void)cancelled(r, true, false);
    assert_string_equal(withdrawn(r, 0), "batch_ended(1,1) rollout_ended(cancelled) end");
    assert_string_equal(begins(r, 0), "cancel_now(0)");
    assert_string_equal(standing(r), "cancel_now(0)");
    assert_string_equal(ends(r, 0, EXECUTION_SUCCEEDED), "rollback(0)");
    assert_string_equal(undone(r, 0), "");
    assert_string_equal(server_is(r, 0), "rolled_back/skipped");
    assert_int_equal(engine_state(rollout_engine(r)), ROLLOUT_CANCELLED);
    rollout_free(r);
}

static void a_late_starter_that_falls_silent_is_in_doubt(void **state)
{
    (void)state;
    struct plan *plan = sequential_of(1);
    plan->strategy.max_failures = limit_of(1);
    struct rollout *r = rollout_of(plan);
    (void)created(r);
    (void)unreachable(r, 0);
    (void)begins(r, 0);
    assert_string_equal(unknown(r, 0), "");
    assert_string_equal(server_is(r, 0), "rollback_failed/unreachable");
    assert_string_equal(reports(r, entry(EVENT_STEP_STARTED, 0, 0)), "cancel(0)");
    assert_string_equal(ends(r, 0, EXECUTION_CANCELLED), "rollback(0)");
    rollout_free(r);
}

static void a_stop_tells_a_late_starter_once(void **state)
{
    (void)state;
    struct plan *plan = parallel_of(2);
    plan->strategy.max_failures = limit_of(1);
    struct rollout *r = rollout_of(plan);
    (void)created(r);
    (void)unreachable(r, 0);
    assert_string_equal(begins(r, 0), "cancel(0)");
    assert_string_equal(cancelled(r, false, false), "cancel(1)");
    assert_string_equal(cancelled(r, true, false), "cancel_now(0) cancel_now(1)");
    rollout_free(r);
}

static void what_is_said_on_behalf_of_an_agent_leaves_its_numbering_alone(void **state)
{
    (void)state;
    struct rollout *r = rollout_of(sequential_of(1));
    (void)created(r);
    (void)begins(r, 0);
    (void)reports(r, entry(EVENT_STEP_STARTED, 0, 0));
    struct event event = entry(EVENT_EXECUTION_ENDED, 0, EVENT_NO_STEP);
    event.state = EXECUTION_FAILED;
    assert_string_equal(apply(r, event), "threshold_exceeded(1) batch_ended(1,1) "
                                         "rollback_started(1) rollback(0)");
    assert_int_equal(engine_execution(rollout_engine(r), 0)->last_agent_seq, 2);
    event = entry(EVENT_EXECUTION_ROLLED_BACK, 0, EVENT_NO_STEP);
    event.state = EXECUTION_ROLLBACK_FAILED;
    assert_string_equal(apply(r, event), "rollout_ended(rollback_failed) end");
    assert_int_equal(engine_execution(rollout_engine(r), 0)->last_agent_seq, 2);
    event = entry(EVENT_STEP_STARTED, 0, 0);
    event.agent_seq = 2;
    assert_string_equal(apply(r, event), "refused: stale");
    rollout_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_entry_that_is_known_changes_nothing),
        cmocka_unit_test(a_gap_in_the_numbering_is_refused),
        cmocka_unit_test(what_is_said_on_behalf_of_an_agent_leaves_its_numbering_alone),
        cmocka_unit_test(no_such_server_or_step_is_refused),
        cmocka_unit_test(a_state_that_the_entry_cannot_have_is_refused),
        cmocka_unit_test(everything_happens_once_and_in_order),
        cmocka_unit_test(what_is_known_of_a_step_is_kept),
        cmocka_unit_test(what_waits_to_be_confirmed_runs_until_it_says_how_that_ended),
        cmocka_unit_test(only_a_step_that_takes_time_touches_a_server),
        cmocka_unit_test(why_a_server_failed_is_found_by_its_event),
        cmocka_unit_test(only_a_server_that_has_not_started_is_unreachable),
        cmocka_unit_test(only_a_rollout_that_stops_withdraws_servers),
        cmocka_unit_test(an_unknown_that_proves_well_takes_its_failure_back),
        cmocka_unit_test(an_unknown_that_proves_failed_is_not_counted_twice),
        cmocka_unit_test(an_abort_that_was_decided_stays),
        cmocka_unit_test(the_end_waits_for_a_server_that_came_back),
        cmocka_unit_test(an_unreachable_server_that_starts_late_is_stopped_and_undone),
        cmocka_unit_test(a_server_that_starts_after_the_end_is_stopped_and_undone),
        cmocka_unit_test(a_late_starter_that_falls_silent_is_in_doubt),
        cmocka_unit_test(a_stop_tells_a_late_starter_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
