#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "unit/engine/support_plan.h"
#include "unit/engine/support_rollout.h"

static void servers_are_undone_latest_first_and_the_failed_one_too(void **state)
{
    (void)state;
    struct rollout *r = rollout_of(rolling_of(6, 2));
    (void)created(r);
    (void)succeeds(r, 0);
    (void)succeeds(r, 1);
    (void)succeeds(r, 2);
    assert_string_equal(fails(r, 3), "threshold_exceeded(1) batch_ended(2,2) rollback_started(4) "
                                     "rollback(3) rollback(2)");
    assert_int_equal(engine_state(rollout_engine(r)), ROLLOUT_ROLLING_BACK);
    assert_string_equal(server_is(r, 2), "rolling_back/succeeded");
    assert_string_equal(standing(r), "rollback(2) rollback(3)");
    assert_string_equal(undo_begins(r, 2), "");
    assert_string_equal(undone(r, 2), "rollback(1)");
    assert_string_equal(undone(r, 1), "rollback(0)");
    assert_string_equal(undone(r, 3), "");
    assert_string_equal(undone(r, 0), "rollout_ended(rolled_back) end");
    assert_string_equal(counts(r), "0 0 3 1 0 0 0 2 / 4 0");
    assert_string_equal(engine_reason(rollout_engine(r)), "1 of 6 servers failed, 0 allowed");
    rollout_free(r);
}

static void a_server_that_has_undone_itself_is_not_undone_again(void **state)
{
    (void)state;
    struct rollout *r = rollout_of(sequential_of(3));
    (void)created(r);
    (void)succeeds(r, 0);
    assert_string_equal(fails_and_undoes(r, 1), "threshold_exceeded(1)");
    assert_string_equal(undone(r, 1), "batch_ended(2,1) rollback_started(1) rollback(0)");
    assert_string_equal(undone(r, 0), "rollout_ended(rolled_back) end");
    rollout_free(r);
}

static void undoing_waits_until_all_in_flight_have_settled(void **state)
{
    (void)state;
    struct rollout *r = rollout_of(parallel_of(3));
    (void)created(r);
    (void)begins(r, 1);
    assert_string_equal(fails_and_undoes(r, 0), "threshold_exceeded(1) cancel(1) cancel(2)");
    assert_string_equal(withdrawn(r, 2), "");
    assert_string_equal(ends(r, 1, EXECUTION_CANCELLED), "");
    assert_string_equal(undone(r, 0), "batch_ended(1,3) rollback_started(1) rollback(1)");
    assert_string_equal(undone(r, 1), "rollout_ended(rolled_back) end");
    rollout_free(r);
}

static void scope_failed_undoes_those_that_failed_and_have_not_undone_themselves(void **state)
{
    (void)state;
    struct plan *plan = parallel_of(4);
    plan->rollback_scope = SCOPE_FAILED;
    plan->strategy.max_failures = limit_of(1);
    struct rollout *r = rollout_of(plan);
    (void)created(r);
    (void)succeeds(r, 0);
    (void)succeeds(r, 1);
    (void)fails(r, 2);
    (void)fails_and_undoes(r, 3);
    assert_string_equal(undone(r, 3), "batch_ended(1,4) rollback_started(1) rollback(2)");
    assert_string_equal(undone(r, 2), "rollout_ended(rolled_back) end");
    assert_string_equal(server_is(r, 0), "succeeded");
    rollout_free(r);
}

static void scope_none_undoes_nothing_and_ends_failed(void **state)
{
    (void)state;
    struct plan *plan = sequential_of(2);
    plan->rollback_scope = SCOPE_NONE;
    struct rollout *r = rollout_of(plan);
    (void)created(r);
    assert_string_equal(fails(r, 0),
                        "threshold_exceeded(1) batch_ended(1,1) rollout_ended(failed) end");
    assert_string_equal(engine_reason(rollout_engine(r)), "1 of 2 servers failed, 0 allowed");
    rollout_free(r);
}

static void a_rollback_that_fails_does_not_hold_up_the_others(void **state)
{
    (void)state;
    struct rollout *r = rollout_of(sequential_of(3));
    (void)created(r);
    (void)succeeds(r, 0);
    (void)succeeds(r, 1);
    (void)fails(r, 2);
    assert_string_equal(undo_fails(r, 2), "rollback(1)");
    assert_string_equal(undone(r, 1), "rollback(0)");
    assert_string_equal(undone(r, 0), "rollout_ended(rollback_failed) end");
    assert_string_equal(engine_reason(rollout_engine(r)),
                        "1 of 3 servers failed, 0 allowed; rollback failed on 1 of 3 servers");
    assert_string_equal(server_is(r, 2), "rollback_failed/failed");
    rollout_free(r);
}

static void a_server_whose_own_undo_failed_is_not_asked_again(void **state)
{
    (void)state;
    struct rollout *r = rollout_of(sequential_of(2));
    (void)created(r);
    (void)succeeds(r, 0);
    (void)fails_and_undoes(r, 1);
    assert_string_equal(undo_fails(r, 1), "batch_ended(2,1) rollback_started(1) rollback(0)");
    assert_string_equal(undone(r, 0), "rollout_ended(rollback_failed) end");
    rollout_free(r);
}

static void a_tolerated_failure_whose_undo_failed_is_loud(void **state)
{
    (void)state;
    struct plan *plan = sequential_of(2);
    plan->strategy.max_failures = limit_of(1);
    struct rollout *r = rollout_of(plan);
    (void)created(r);
    (void)fails_and_undoes(r, 0);
    assert_string_equal(undo_fails(r, 0), "batch_ended(1,1) batch_started(2,1) start(1)");
    assert_string_equal(succeeds(r, 1), "batch_ended(2,1) rollout_ended(rollback_failed) end");
    assert_string_equal(engine_reason(rollout_engine(r)), "rollback failed on 1 of 2 servers");
    rollout_free(r);
}

static void a_silent_server_that_needs_undoing_counts_as_failed_without_a_wait(void **state)
{
    (void)state;
    struct rollout *r = rollout_of(parallel_of(2));
    (void)created(r);
    (void)succeeds(r, 0);
    (void)begins(r, 1);
    assert_string_equal(unknown(r, 1),
                        "threshold_exceeded(1) batch_ended(1,2) rollback_started(2) rollback(0)");
    assert_string_equal(server_is(r, 1), "rollback_failed/unknown");
    assert_string_equal(counts(r), "0 0 1 0 0 1 0 0 / 0 1");
    assert_string_equal(undone(r, 0), "rollout_ended(rollback_failed) end");
    rollout_free(r);
}

static void a_server_that_falls_silent_while_undoing_has_failed_to(void **state)
{
    (void)state;
    struct rollout *r = rollout_of(sequential_of(1));
    (void)created(r);
    (void)fails(r, 0);
    assert_string_equal(unknown(r, 0), "rollout_ended(rollback_failed) end");
    assert_string_equal(server_is(r, 0), "rollback_failed/failed");
    /* It still owes its undo, and is asked again after a restart. */
    assert_string_equal(standing(r), "rollback(0)");
    assert_string_equal(unknown(r, 0), "refused: stale");
    assert_string_equal(undo_begins(r, 0), "");
    assert_string_equal(server_is(r, 0), "rolling_back/failed");
    assert_string_equal(undone(r, 0), "");
    assert_string_equal(server_is(r, 0), "rolled_back/failed");
    assert_int_equal(engine_state(rollout_engine(r)), ROLLOUT_ROLLBACK_FAILED);
    assert_string_equal(standing(r), "");
    rollout_free(r);
}

static void a_server_that_falls_silent_in_its_own_undo_frees_its_slot(void **state)
{
    (void)state;
    struct plan *plan = sequential_of(2);
    plan->strategy.max_failures = limit_of(1);
    struct rollout *r = rollout_of(plan);
    (void)created(r);
    (void)fails_and_undoes(r, 0);
    assert_string_equal(unknown(r, 0), "batch_ended(1,1) batch_started(2,1) start(1)");
    assert_string_equal(server_is(r, 0), "rollback_failed/failed");
    assert_string_equal(undone(r, 0), "");
    assert_string_equal(succeeds(r, 1), "batch_ended(2,1) rollout_ended(succeeded) end");
    rollout_free(r);
}

static void unknown_that_returns_while_others_are_undone_is_undone_too(void **state)
{
    (void)state;
    struct rollout *r = rollout_of(parallel_of(2));
    (void)created(r);
    (void)succeeds(r, 0);
    (void)begins(r, 1);
    (void)unknown(r, 1);
    assert_string_equal(reports(r, entry(EVENT_STEP_STARTED, 1, 0)), "cancel(1)");
    assert_string_equal(server_is(r, 1), "running/unknown");
    assert_string_equal(counts(r), "0 0 1 0 0 1 0 0 / 0 0");
    assert_string_equal(ends(r, 1, EXECUTION_SUCCEEDED), "rollback(1)");
    assert_string_equal(counts(r), "0 0 2 0 0 0 0 0 / 0 0");
    assert_string_equal(undone(r, 0), "");
    assert_string_equal(undone(r, 1), "rollout_ended(rolled_back) end");
    rollout_free(r);
}

static void unknown_that_returns_after_the_end_is_undone_and_the_end_stays(void **state)
{
    (void)state;
    struct rollout *r = rollout_of(parallel_of(1));
    (void)created(r);
    (void)begins(r, 0);
    assert_string_equal(unknown(r, 0), "threshold_exceeded(1) batch_ended(1,1) rollback_started(1) "
                                       "rollout_ended(rollback_failed) end");
    assert_string_equal(ends(r, 0, EXECUTION_SUCCEEDED), "rollback(0)");
    assert_string_equal(standing(r), "rollback(0)");
    assert_string_equal(undone(r, 0), "");
    assert_string_equal(server_is(r, 0), "rolled_back/unknown");
    assert_int_equal(engine_state(rollout_engine(r)), ROLLOUT_ROLLBACK_FAILED);
    assert_string_equal(counts(r), "0 0 0 0 0 1 0 0 / 1 0");
    rollout_free(r);
}

static void many_that_return_late_are_undone_no_more_at_once_than_went_forward(void **state)
{
    (void)state;
    struct plan *plan = sequential_of(3);
    plan->strategy.max_failures = limit_of(2);
    struct rollout *r = rollout_of(plan);
    (void)created(r);
    for (uint32_t i = 0; i < 3; i++) {
        (void)begins(r, i);
        (void)unknown(r, i);
    }
    assert_int_equal(engine_state(rollout_engine(r)), ROLLOUT_ROLLBACK_FAILED);
    assert_string_equal(ends(r, 0, EXECUTION_SUCCEEDED), "rollback(0)");
    assert_string_equal(ends(r, 1, EXECUTION_SUCCEEDED), "");
    assert_string_equal(ends(r, 2, EXECUTION_FAILED), "");
    assert_string_equal(undone(r, 0), "rollback(1)");
    assert_string_equal(undone(r, 1), "rollback(2)");
    assert_string_equal(undo_fails(r, 2), "");
    rollout_free(r);
}

static void a_server_in_the_list_that_undoes_unasked_is_not_asked(void **state)
{
    (void)state;
    struct plan *plan = sequential_of(2);
    plan->strategy.max_failures = limit_of(1);
    struct rollout *r = rollout_of(plan);
    (void)created(r);
    for (uint32_t i = 0; i < 2; i++) {
        (void)begins(r, i);
        (void)unknown(r, i);
    }
    assert_string_equal(ends(r, 0, EXECUTION_FAILED), "rollback(0)");
    assert_string_equal(ends(r, 1, EXECUTION_FAILED), "");
    assert_string_equal(undo_begins(r, 1), "");
    assert_string_equal(undone(r, 1), "");
    assert_string_equal(undone(r, 0), "");
    rollout_free(r);
}

static void under_scope_failed_an_unknown_that_proves_well_is_left_alone(void **state)
{
    (void)state;
    struct plan *plan = parallel_of(2);
    plan->rollback_scope = SCOPE_FAILED;
    struct rollout *r = rollout_of(plan);
    (void)created(r);
    (void)begins(r, 0);
    (void)begins(r, 1);
    assert_string_equal(unknown(r, 0), "threshold_exceeded(1) cancel(1)");
    assert_string_equal(ends(r, 0, EXECUTION_SUCCEEDED), "");
    assert_string_equal(ends(r, 1, EXECUTION_SUCCEEDED), "batch_ended(1,2) rollback_started(0) "
                                                         "rollout_ended(rolled_back) end");
    assert_string_equal(counts(r), "0 0 2 0 0 0 0 0 / 0 0");
    rollout_free(r);
}

static void under_scope_failed_a_silent_server_is_in_doubt(void **state)
{
    (void)state;
    struct plan *plan = sequential_of(2);
    plan->rollback_scope = SCOPE_FAILED;
    struct rollout *r = rollout_of(plan);
    (void)created(r);
    (void)begins(r, 0);
    assert_string_equal(unknown(r, 0), "threshold_exceeded(1) batch_ended(1,1) rollback_started(1) "
                                       "rollout_ended(rollback_failed) end");
    rollout_free(r);
}

static void a_server_that_returns_before_its_turn_is_undone_in_its_turn(void **state)
{
    (void)state;
    struct plan *plan = sequential_of(4);
    plan->strategy.max_failures = limit_of(1);
    struct rollout *r = rollout_of(plan);
    (void)created(r);
    (void)begins(r, 0);
    (void)unknown(r, 0);
    (void)succeeds(r, 1);
    (void)succeeds(r, 2);
    assert_string_equal(fails(r, 3), "threshold_exceeded(2) batch_ended(4,1) rollback_started(4) "
                                     "rollback(3)");
    assert_string_equal(ends(r, 0, EXECUTION_SUCCEEDED), "");
    assert_string_equal(undone(r, 3), "rollback(2)");
    assert_string_equal(undone(r, 2), "rollback(1)");
    assert_string_equal(undone(r, 1), "rollback(0)");
    assert_string_equal(undone(r, 0), "rollout_ended(rolled_back) end");
    rollout_free(r);
}

static void a_server_that_is_still_at_work_in_its_turn_is_undone_when_it_ends(void **state)
{
    (void)state;
    struct plan *plan = sequential_of(2);
    plan->strategy.max_failures = limit_of(1);
    struct rollout *r = rollout_of(plan);
    (void)created(r);
    (void)begins(r, 0);
    (void)unknown(r, 0);
    (void)reports(r, entry(EVENT_STEP_STARTED, 0, 0));
    assert_string_equal(fails(r, 1), "threshold_exceeded(2) batch_ended(2,1) rollback_started(2) "
                                     "cancel(0) rollback(1)");
    assert_string_equal(undone(r, 1), "");
    assert_string_equal(server_is(r, 0), "running/unknown");
    assert_string_equal(ends(r, 0, EXECUTION_CANCELLED), "rollback(0)");
    assert_string_equal(undone(r, 0), "rollout_ended(rolled_back) end");
    rollout_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(servers_are_undone_latest_first_and_the_failed_one_too),
        cmocka_unit_test(a_server_that_has_undone_itself_is_not_undone_again),
        cmocka_unit_test(undoing_waits_until_all_in_flight_have_settled),
        cmocka_unit_test(scope_failed_undoes_those_that_failed_and_have_not_undone_themselves),
        cmocka_unit_test(scope_none_undoes_nothing_and_ends_failed),
        cmocka_unit_test(a_rollback_that_fails_does_not_hold_up_the_others),
        cmocka_unit_test(a_server_whose_own_undo_failed_is_not_asked_again),
        cmocka_unit_test(a_tolerated_failure_whose_undo_failed_is_loud),
        cmocka_unit_test(a_silent_server_that_needs_undoing_counts_as_failed_without_a_wait),
        cmocka_unit_test(a_server_that_falls_silent_while_undoing_has_failed_to),
        cmocka_unit_test(a_server_that_falls_silent_in_its_own_undo_frees_its_slot),
        cmocka_unit_test(unknown_that_returns_while_others_are_undone_is_undone_too),
        cmocka_unit_test(unknown_that_returns_after_the_end_is_undone_and_the_end_stays),
        cmocka_unit_test(many_that_return_late_are_undone_no_more_at_once_than_went_forward),
        cmocka_unit_test(a_server_in_the_list_that_undoes_unasked_is_not_asked),
        cmocka_unit_test(under_scope_failed_an_unknown_that_proves_well_is_left_alone),
        cmocka_unit_test(under_scope_failed_a_silent_server_is_in_doubt),
        cmocka_unit_test(a_server_that_returns_before_its_turn_is_undone_in_its_turn),
        cmocka_unit_test(a_server_that_is_still_at_work_in_its_turn_is_undone_when_it_ends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
