#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "unit/engine/support_plan.h"
#include "unit/engine/support_rollout.h"

/* ---- While it goes forward ----------------------------------------------------------------- */

static void a_rollout_that_is_ordered_back_stops_and_undoes_all(void **state)
{
    (void)state;
    struct plan *plan = rolling_of(4, 2);
    plan->rollback_scope = SCOPE_NONE;
    struct rollout *r = rollout_of(plan);
    (void)created(r);
    (void)succeeds(r, 0);
    (void)begins(r, 1);
    (void)paused(r);
    assert_string_equal(rollback_ordered(r), "cancel(1)");
    assert_string_equal(reason_of(r), "rollback ordered by bob");
    assert_string_equal(rollback_ordered(r), "refused: conflict");
    assert_string_equal(
        rollout_refusal(r),
        "the rollout is stopping already (rollback ordered by bob) and is undone then");
    assert_string_equal(ends(r, 1, EXECUTION_CANCELLED),
                        "batch_ended(1,2) rollback_started(2) rollback(1) rollback(0)");
    assert_string_equal(rollback_ordered(r), "refused: conflict");
    assert_string_equal(rollout_refusal(r), "the rollout is rolling back already: wait for its "
                                            "end, or order servers one by one");
    (void)undone(r, 0);
    assert_string_equal(undone(r, 1), "rollout_ended(rolled_back) end");
    assert_string_equal(reason_of(r), "rollback ordered by bob");
    rollout_free(r);
}

static void an_order_back_can_end_running_steps(void **state)
{
    (void)state;
    struct rollout *r = rollout_of(parallel_of(1));
    (void)created(r);
    (void)begins(r, 0);
    struct event event = entry(EVENT_ROLLBACK_REQUESTED, EVENT_NO_SERVER, EVENT_NO_STEP);
    assert_string_equal(rollback_ordered(r), "cancel(0)");
    event.now = true;
    assert_string_equal(apply(r, event), "cancel_now(0)");
    assert_string_equal(ends(r, 0, EXECUTION_CANCELLED),
                        "batch_ended(1,1) rollback_started(1) rollback(0)");
    rollout_free(r);

    r = rollout_of(parallel_of(1));
    (void)created(r);
    (void)begins(r, 0);
    assert_string_equal(apply(r, event), "cancel_now(0)");
    assert_string_equal(reason_of(r), "rollback ordered");
    rollout_free(r);
}

static void an_order_back_widens_a_stop_that_undoes_less(void **state)
{
    (void)state;
    struct plan *plan = parallel_of(3);
    plan->rollback_scope = SCOPE_FAILED;
    struct rollout *r = rollout_of(plan);
    (void)created(r);
    (void)succeeds(r, 0);
    (void)begins(r, 1);
    assert_string_equal(fails(r, 2), "threshold_exceeded(1) cancel(1)");
    assert_string_equal(rollback_ordered(r), "");
    assert_string_equal(ends(r, 1, EXECUTION_SUCCEEDED),
                        "batch_ended(1,3) rollback_started(3) rollback(2) rollback(1) rollback(0)");
    rollout_free(r);
}

static void an_order_back_comes_in_time_until_the_last_server_rests(void **state)
{
    (void)state;
    struct plan *plan = parallel_of(2);
    plan->rollback_scope = SCOPE_NONE;
    plan->strategy.max_failures = limit_of(1);
    struct rollout *r = rollout_of(plan);
    (void)created(r);
    (void)begins(r, 0);
    (void)unknown(r, 0);
    assert_string_equal(reports(r, entry(EVENT_STEP_STARTED, 0, 0)), "");
    (void)begins(r, 1);
    assert_string_equal(cancelled(r, false, false), "cancel(0) cancel(1)");
    assert_string_equal(ends(r, 1, EXECUTION_SUCCEEDED), "batch_ended(1,2)");
    assert_string_equal(rollback_ordered(r), "rollback_started(2) rollback(1)");
    assert_string_equal(ends(r, 0, EXECUTION_CANCELLED), "rollback(0)");
    (void)undone(r, 0);
    assert_string_equal(undone(r, 1), "rollout_ended(rolled_back) end");
    rollout_free(r);
}

static void a_rollout_that_has_not_begun_takes_no_order(void **state)
{
    (void)state;
    struct rollout *r = rollout_of(sequential_of(1));
    assert_string_equal(rollback_ordered(r), "refused: conflict");
    assert_string_equal(server_ordered(r, 0), "refused: conflict");
    assert_string_equal(resolved(r, 0, EXECUTION_FAILED), "refused: conflict");
    rollout_free(r);
}

static void a_server_is_undone_while_the_others_go_on(void **state)
{
    (void)state;
    struct rollout *r = rollout_of(sequential_of(3));
    (void)created(r);
    works(r, 0);
    (void)ends(r, 0, EXECUTION_SUCCEEDED);
    assert_string_equal(server_ordered(r, 0), "rollback(0)");
    assert_int_equal(state_of(r), ROLLOUT_RUNNING);
    assert_string_equal(server_is(r, 0), "rolling_back/succeeded");
    assert_string_equal(succeeds(r, 1), "batch_ended(2,1) batch_started(3,1) start(2)");
    assert_string_equal(standing(r), "rollback(0) start(2)");
    assert_string_equal(succeeds(r, 2), "batch_ended(3,1)");
    assert_string_equal(undone(r, 0), "rollout_ended(succeeded) end");
    assert_string_equal(server_is(r, 0), "rolled_back/succeeded");
    assert_string_equal(counts(r), "0 0 3 0 0 0 0 0 / 1 0");
    assert_string_equal(reason_of(r), "1 of 3 servers rolled back");
    rollout_free(r);
}

static void a_server_whose_ordered_undo_fails_is_loud_in_the_end(void **state)
{
    (void)state;
    struct rollout *r = rollout_of(sequential_of(2));
    (void)created(r);
    (void)succeeds(r, 0);
    (void)server_ordered(r, 0);
    assert_string_equal(undo_fails(r, 0), "");
    assert_string_equal(succeeds(r, 1), "batch_ended(2,1) rollout_ended(rollback_failed) end");
    assert_string_equal(reason_of(r), "rollback failed on 1 of 2 servers");
    rollout_free(r);
}

static void a_server_ordered_ahead_of_its_turn_is_undone_once(void **state)
{
    (void)state;
    struct plan *plan = rolling_of(4, 2);
    struct rollout *r = rollout_of(plan);
    (void)created(r);
    for (uint32_t i = 0; i < 3; i++)
        (void)succeeds(r, i);
    assert_string_equal(fails(r, 3), "threshold_exceeded(1) batch_ended(2,2) rollback_started(4) "
                                     "rollback(3) rollback(2)");
    assert_string_equal(server_forced(r, 0), "");
    assert_string_equal(server_ordered(r, 0), "refused: conflict");
    assert_string_equal(rollout_refusal(r), "web-1 (succeeded) is to be undone already: wait "
                                            "until others are, it is next");
    assert_string_equal(undone(r, 3), "rollback!(0,1)");
    assert_string_equal(undone(r, 2), "rollback(1)");
    (void)undone(r, 1);
    assert_string_equal(undone(r, 0), "rollout_ended(rolled_back) end");
    rollout_free(r);
}

static void a_server_beyond_the_scope_is_undone_when_ordered(void **state)
{
    (void)state;
    struct plan *plan = parallel_of(2);
    plan->rollback_scope = SCOPE_FAILED;
    struct rollout *r = rollout_of(plan);
    (void)created(r);
    (void)succeeds(r, 0);
    (void)begins(r, 1);
    (void)cancelled(r, false, false);
    assert_string_equal(server_ordered(r, 0), "rollback(0)");
    assert_string_equal(ends(r, 1, EXECUTION_CANCELLED), "batch_ended(1,2)");
    assert_string_equal(undone(r, 0), "rollout_ended(cancelled) end");
    rollout_free(r);
}

static void only_what_was_changed_and_rests_can_be_ordered(void **state)
{
    (void)state;
    struct plan *plan = parallel_of(4);
    plan->strategy.max_parallel = 3;
    plan->strategy.max_failures = limit_of(2);
    struct rollout *r = rollout_of(plan);
    (void)created(r);
    (void)begins(r, 0);
    (void)unreachable(r, 1);
    assert_string_equal(server_ordered(r, 0), "refused: conflict");
    assert_string_equal(rollout_refusal(r), "web-1 is at work (running): wait until it is at rest, "
                                            "or roll the whole rollout back");
    assert_string_equal(server_ordered(r, 1), "refused: conflict");
    assert_string_equal(rollout_refusal(r),
                        "web-2 was not started (unreachable): there is nothing to undo");
    assert_string_equal(server_ordered(r, 2), "refused: conflict");
    assert_string_equal(rollout_refusal(r), "web-3 is at work (queued): wait until it is at rest, "
                                            "or roll the whole rollout back");
    assert_string_equal(server_ordered(r, 4), "refused: invalid");
    (void)ends(r, 0, EXECUTION_SUCCEEDED);
    assert_string_equal(server_ordered(r, 0), "rollback(0)");
    assert_string_equal(server_ordered(r, 0), "refused: conflict");
    assert_string_equal(rollout_refusal(r), "web-1 is rolling back already: wait for how it ends");
    (void)undone(r, 0);
    assert_string_equal(server_ordered(r, 0), "refused: conflict");
    assert_string_equal(rollout_refusal(r),
                        "web-1 is rolled back already: there is nothing to undo");
    (void)cancelled(r, true, false);
    (void)withdrawn(r, 2);
    (void)withdrawn(r, 3);
    assert_string_equal(server_ordered(r, 3), "refused: conflict");
    assert_string_equal(rollout_refusal(r),
                        "web-4 was not started (skipped): there is nothing to undo");
    rollout_free(r);
}

static void a_rollback_is_forced_server_by_server(void **state)
{
    (void)state;
    struct rollout *r = succeeded(parallel_of(1));
    struct event event = entry(EVENT_ROLLBACK_REQUESTED, EVENT_NO_SERVER, EVENT_NO_STEP);
    event.force = true;
    assert_string_equal(apply(r, event), "refused: invalid");
    rollout_free(r);
}

/* ---- After the end ------------------------------------------------------------------------- */

static void an_ended_rollout_is_undone_latest_first_as_many_at_once_as_went_forward(void **state)
{
    (void)state;
    struct rollout *r = succeeded(rolling_of(4, 2));
    assert_string_equal(rollback_ordered(r), "rollback_started(4) rollback(3) rollback(2)");
    assert_int_equal(state_of(r), ROLLOUT_ROLLING_BACK);
    assert_string_equal(reason_of(r), "rollback ordered by bob");
    assert_string_equal(standing(r), "rollback(2) rollback(3)");
    assert_string_equal(rollback_ordered(r), "refused: conflict");
    assert_string_equal(paused(r), "refused: conflict");
    assert_string_equal(cancelled(r, true, true), "refused: conflict");
    assert_string_equal(undone(r, 3), "rollback(1)");
    assert_string_equal(undone(r, 2), "rollback(0)");
    assert_string_equal(undone(r, 1), "");
    assert_string_equal(undone(r, 0), "rollout_ended(rolled_back) end");
    assert_string_equal(counts(r), "0 0 4 0 0 0 0 0 / 4 0");
    assert_string_equal(reason_of(r), "rollback ordered by bob");
    assert_string_equal(rollback_ordered(r), "refused: conflict");
    assert_string_equal(rollout_refusal(r),
                        "the rollout has ended (rolled_back) and nothing is left to undo: every "
                        "server is rolled back, was never started, or is undone when its agent "
                        "comes back");
    rollout_free(r);
}

static void a_rollout_that_failed_and_undid_nothing_can_be_undone(void **state)
{
    (void)state;
    struct plan *plan = sequential_of(3);
    plan->rollback_scope = SCOPE_NONE;
    struct rollout *r = rollout_of(plan);
    (void)created(r);
    (void)succeeds(r, 0);
    assert_string_equal(fails(r, 1),
                        "threshold_exceeded(1) batch_ended(2,1) rollout_ended(failed) end");
    assert_string_equal(rollback_ordered(r), "rollback_started(2) rollback(1)");
    assert_string_equal(undone(r, 1), "rollback(0)");
    assert_string_equal(undone(r, 0), "rollout_ended(rolled_back) end");
    assert_string_equal(reason_of(r), "1 of 3 servers failed, 0 allowed; rollback ordered by bob");
    rollout_free(r);
}

static void what_is_undone_already_is_left_out(void **state)
{
    (void)state;
    struct plan *plan = sequential_of(3);
    plan->strategy.max_failures = limit_of(2);
    struct rollout *r = rollout_of(plan);
    (void)created(r);
    (void)succeeds(r, 0);
    (void)fails_and_undoes(r, 1);
    (void)undone(r, 1);
    assert_string_equal(unreachable(r, 2), "batch_ended(3,1) rollout_ended(succeeded) end");
    assert_true(engine_needs_undo(rollout_engine(r), 0));
    assert_false(engine_needs_undo(rollout_engine(r), 1));
    assert_false(engine_needs_undo(rollout_engine(r), 2));
    assert_string_equal(rollback_ordered(r), "rollback_started(1) rollback(0)");
    assert_false(engine_needs_undo(rollout_engine(r), 0));
    assert_string_equal(undone(r, 0), "rollout_ended(rolled_back) end");
    rollout_free(r);
}

static void undone_server_by_server_it_is_rolled_back_with_the_last(void **state)
{
    (void)state;
    struct rollout *r = succeeded(parallel_of(3));
    assert_string_equal(server_ordered(r, 1), "rollback_started(1) rollback(1)");
    assert_string_equal(server_ordered(r, 2), "rollback(2)");
    (void)undone(r, 1);
    assert_string_equal(undone(r, 2), "rollout_ended(succeeded) end");
    assert_string_equal(reason_of(r), "2 of 3 servers rolled back");
    assert_string_equal(server_ordered(r, 0), "rollback_started(1) rollback(0)");
    assert_string_equal(undone(r, 0), "rollout_ended(rolled_back) end");
    assert_string_equal(reason_of(r), "3 of 3 servers rolled back");
    rollout_free(r);
}

static void a_server_that_was_not_changed_does_not_keep_it_from_being_rolled_back(void **state)
{
    (void)state;
    struct rollout *r = rollout_of(parallel_of(2));
    (void)created(r);
    works(r, 0);
    (void)ends(r, 0, EXECUTION_SUCCEEDED);
    (void)begins(r, 1);
    (void)reports(r, entry(EVENT_STEP_RETRYING, 1, 0));
    struct event instant = entry(EVENT_STEP_ENDED, 1, 0);
    instant.step_state = STEP_SUCCEEDED;
    (void)reports(r, instant);
    assert_false(engine_execution(rollout_engine(r), 1)->touched);
    (void)ends(r, 1, EXECUTION_SUCCEEDED);
    (void)server_ordered(r, 0);
    assert_string_equal(undone(r, 0), "rollout_ended(rolled_back) end");
    rollout_free(r);
}

static void a_silent_server_keeps_it_from_being_rolled_back(void **state)
{
    (void)state;
    struct plan *plan = parallel_of(2);
    plan->strategy.max_failures = limit_of(1);
    struct rollout *r = rollout_of(plan);
    (void)created(r);
    works(r, 0);
    (void)ends(r, 0, EXECUTION_SUCCEEDED);
    (void)begins(r, 1);
    assert_string_equal(unknown(r, 1), "batch_ended(1,2) rollout_ended(succeeded) end");
    (void)server_ordered(r, 0);
    assert_string_equal(undone(r, 0), "rollout_ended(succeeded) end");
    assert_string_equal(
        reason_of(r),
        "1 of 2 servers did not succeed, as the plan allows; 1 of 2 servers rolled back");
    rollout_free(r);
}

static void the_outcomes_of_an_ended_rollout_stay_when_it_is_undone(void **state)
{
    (void)state;
    struct plan *plan = parallel_of(2);
    plan->strategy.max_failures = limit_of(1);
    struct rollout *r = rollout_of(plan);
    (void)created(r);
    (void)succeeds(r, 0);
    (void)begins(r, 1);
    assert_string_equal(unknown(r, 1), "batch_ended(1,2) rollout_ended(succeeded) end");
    assert_string_equal(rollback_ordered(r), "rollback_started(2) rollback(0)");
    assert_string_equal(server_is(r, 1), "rollback_failed/unknown");
    assert_string_equal(reports(r, entry(EVENT_STEP_STARTED, 1, 0)), "cancel(1)");
    assert_string_equal(standing(r), "rollback(0) cancel(1)");
    assert_string_equal(ends(r, 1, EXECUTION_FAILED), "rollback(1)");
    assert_string_equal(counts(r), "0 0 1 0 0 1 0 0 / 0 0");
    (void)undone(r, 0);
    assert_string_equal(undone(r, 1), "rollout_ended(rolled_back) end");
    rollout_free(r);
}

static void a_server_that_is_at_work_after_the_end_is_stopped_and_undone_too(void **state)
{
    (void)state;
    struct plan *plan = parallel_of(2);
    plan->strategy.max_failures = limit_of(1);
    struct rollout *r = rollout_of(plan);
    (void)created(r);
    (void)succeeds(r, 0);
    (void)begins(r, 1);
    (void)unknown(r, 1);
    assert_string_equal(reports(r, entry(EVENT_STEP_STARTED, 1, 0)), "");
    assert_int_equal(state_of(r), ROLLOUT_SUCCEEDED);
    assert_string_equal(server_ordered(r, 1), "refused: conflict");
    assert_string_equal(rollback_ordered(r), "rollback_started(2) cancel(1) rollback(0)");
    assert_string_equal(undone(r, 0), "");
    assert_string_equal(ends(r, 1, EXECUTION_SUCCEEDED), "rollback(1)");
    assert_string_equal(undone(r, 1), "rollout_ended(rolled_back) end");
    rollout_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_rollout_that_is_ordered_back_stops_and_undoes_all),
        cmocka_unit_test(an_order_back_can_end_running_steps),
        cmocka_unit_test(an_order_back_widens_a_stop_that_undoes_less),
        cmocka_unit_test(an_order_back_comes_in_time_until_the_last_server_rests),
        cmocka_unit_test(a_rollout_that_has_not_begun_takes_no_order),
        cmocka_unit_test(a_server_is_undone_while_the_others_go_on),
        cmocka_unit_test(a_server_whose_ordered_undo_fails_is_loud_in_the_end),
        cmocka_unit_test(a_server_ordered_ahead_of_its_turn_is_undone_once),
        cmocka_unit_test(a_server_beyond_the_scope_is_undone_when_ordered),
        cmocka_unit_test(only_what_was_changed_and_rests_can_be_ordered),
        cmocka_unit_test(a_rollback_is_forced_server_by_server),
        cmocka_unit_test(an_ended_rollout_is_undone_latest_first_as_many_at_once_as_went_forward),
        cmocka_unit_test(a_rollout_that_failed_and_undid_nothing_can_be_undone),
        cmocka_unit_test(what_is_undone_already_is_left_out),
        cmocka_unit_test(undone_server_by_server_it_is_rolled_back_with_the_last),
        cmocka_unit_test(a_server_that_was_not_changed_does_not_keep_it_from_being_rolled_back),
        cmocka_unit_test(a_silent_server_keeps_it_from_being_rolled_back),
        cmocka_unit_test(the_outcomes_of_an_ended_rollout_stay_when_it_is_undone),
        cmocka_unit_test(a_server_that_is_at_work_after_the_end_is_stopped_and_undone_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
