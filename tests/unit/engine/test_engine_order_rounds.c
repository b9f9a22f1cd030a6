#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "unit/engine/support_plan.h"
#include "unit/engine/support_rollout.h"

/* ---- Rounds -------------------------------------------------------------------------------- */

static void an_undo_that_failed_is_tried_again_in_another_round(void **state)
{
    (void)state;
    struct rollout *r = succeeded(parallel_of(1));
    const struct execution *x = engine_execution(rollout_engine(r), 0);
    const struct step_record *step = engine_step(rollout_engine(r), 0, 0);
    assert_int_equal(x->undo_round, 0);
    (void)rollback_ordered(r);
    assert_int_equal(x->undo_round, 1);
    (void)undo_begins(r, 0);
    (void)undoes_step(r, 0, 0, STEP_ROLLBACK_FAILED, true);
    assert_true(x->conflict && step->conflict);
    assert_string_equal(undo_fails(r, 0), "rollout_ended(rollback_failed) end");
    assert_string_equal(reason_of(r), "rollback ordered by bob; rollback failed on 1 of 1 servers");
    assert_string_equal(rollback_ordered(r), "rollback_started(1) rollback(0,2)");
    assert_string_equal(standing(r), "rollback(0,2)");
    assert_true(x->conflict);
    assert_string_equal(undo_begins(r, 0), "");
    assert_false(x->conflict);
    assert_string_equal(standing(r), "rollback(0,2)");
    (void)undoes_step(r, 0, 0, STEP_ROLLED_BACK, false);
    assert_int_equal(step->state, STEP_ROLLED_BACK);
    assert_false(step->conflict);
    assert_string_equal(undone(r, 0), "rollout_ended(rolled_back) end");
    assert_string_equal(counts(r), "0 0 1 0 0 0 0 0 / 1 0");
    rollout_free(r);
}

static void force_stands_for_the_order_it_came_with(void **state)
{
    (void)state;
    struct rollout *r = succeeded(parallel_of(1));
    assert_string_equal(server_forced(r, 0), "rollback_started(1) rollback!(0,1)");
    assert_string_equal(standing(r), "rollback!(0,1)");
    (void)undo_begins(r, 0);
    assert_string_equal(undo_fails(r, 0), "rollout_ended(rollback_failed) end");
    assert_string_equal(server_ordered(r, 0), "rollback_started(1) rollback(0,2)");
    (void)undo_begins(r, 0);
    (void)undo_fails(r, 0);
    assert_string_equal(server_forced(r, 0), "rollback_started(1) rollback!(0,3)");
    rollout_free(r);
}

static void a_server_that_undid_itself_in_vain_is_ordered_in_its_second_round(void **state)
{
    (void)state;
    struct rollout *r = rollout_of(parallel_of(1));
    (void)created(r);
    (void)fails_and_undoes(r, 0);
    (void)undo_begins(r, 0);
    assert_string_equal(undo_fails(r, 0),
                        "batch_ended(1,1) rollback_started(0) rollout_ended(rollback_failed) end");
    assert_string_equal(server_ordered(r, 0), "rollback_started(1) rollback(0,2)");
    (void)undo_begins(r, 0);
    assert_string_equal(undone(r, 0), "rollout_ended(rolled_back) end");
    assert_string_equal(reason_of(r),
                        "1 of 1 servers failed, 0 allowed; 1 of 1 servers rolled back");
    rollout_free(r);
}

static void an_agent_undoes_no_more_often_than_it_was_told(void **state)
{
    (void)state;
    struct rollout *r = succeeded(parallel_of(1));
    (void)rollback_ordered(r);
    (void)undo_begins(r, 0);
    assert_string_equal(undo_begins(r, 0), "refused: conflict");
    (void)undo_fails(r, 0);
    assert_string_equal(undo_begins(r, 0), "refused: conflict");
    (void)rollback_ordered(r);
    (void)undo_begins(r, 0);
    (void)undone(r, 0);
    assert_string_equal(undo_begins(r, 0), "refused: conflict");
    rollout_free(r);

    r = succeeded_with_unknown(1);
    (void)resolved(r, 0, EXECUTION_FAILED);
    (void)ends(r, 0, EXECUTION_SUCCEEDED);
    (void)undo_begins(r, 0);
    assert_string_equal(undo_begins(r, 0), "refused: conflict");
    (void)undone(r, 0);
    assert_string_equal(undo_begins(r, 0), "refused: conflict");
    rollout_free(r);
}

static void in_a_round_steps_are_undone_once_and_last_first(void **state)
{
    (void)state;
    struct rollout *r = rollout_of(plan_of(1, 3));
    (void)created(r);
    (void)succeeds(r, 0);
    (void)rollback_ordered(r);
    assert_string_equal(undoes_step(r, 0, 2, STEP_ROLLED_BACK, false), "refused: conflict");
    (void)undo_begins(r, 0);
    assert_string_equal(undoes_step(r, 0, 2, STEP_ROLLED_BACK, false), "");
    assert_string_equal(undoes_step(r, 0, 1, STEP_ROLLBACK_FAILED, false), "");
    assert_string_equal(undoes_step(r, 0, 1, STEP_ROLLED_BACK, false), "refused: conflict");
    assert_string_equal(undoes_step(r, 0, 2, STEP_ROLLED_BACK, false), "refused: conflict");
    assert_string_equal(undoes_step(r, 0, 0, STEP_ROLLED_BACK, false), "");
    (void)undo_fails(r, 0);
    (void)rollback_ordered(r);
    (void)undo_begins(r, 0);
    assert_string_equal(undoes_step(r, 0, 2, STEP_ROLLED_BACK, false), "refused: conflict");
    assert_string_equal(undoes_step(r, 0, 1, STEP_ROLLED_BACK, false), "");
    rollout_free(r);
}

static void by_force_a_step_can_be_undone_once_more(void **state)
{
    (void)state;
    struct rollout *r = rollout_of(plan_of(1, 2));
    struct event forced = {.type = EVENT_EXECUTION_ROLLBACK_STARTED,
                           .server = 0,
                           .step = EVENT_NO_STEP,
                           .force = true};
    (void)created(r);
    (void)succeeds(r, 0);
    (void)rollback_ordered(r);
    (void)undo_begins(r, 0);
    (void)undoes_step(r, 0, 1, STEP_ROLLBACK_FAILED, false);
    (void)undoes_step(r, 0, 0, STEP_ROLLED_BACK, false);
    (void)undo_fails(r, 0);
    (void)server_forced(r, 0);
    (void)reports(r, forced);
    assert_string_equal(undoes_step(r, 0, 1, STEP_ROLLED_BACK, false), "");
    assert_string_equal(undoes_step(r, 0, 0, STEP_ROLLBACK_FAILED, false), "");
    assert_string_equal(undoes_step(r, 0, 0, STEP_ROLLED_BACK, false), "refused: conflict");
    (void)undo_fails(r, 0);
    (void)rollback_ordered(r);
    (void)undo_begins(r, 0);
    assert_string_equal(undoes_step(r, 0, 1, STEP_ROLLED_BACK, false), "refused: conflict");
    assert_string_equal(undoes_step(r, 0, 0, STEP_ROLLED_BACK, false), "");
    rollout_free(r);
}

/* ---- Silent servers ------------------------------------------------------------------------ */

static void a_silent_server_that_is_ordered_is_undone_when_it_comes_back(void **state)
{
    (void)state;
    struct rollout *r = succeeded_with_unknown(2);
    assert_string_equal(server_ordered(r, 0),
                        "rollback_started(1) rollout_ended(rollback_failed) end");
    assert_string_equal(server_is(r, 0), "rollback_failed/unknown");
    assert_string_equal(server_ordered(r, 0), "refused: conflict");
    assert_string_equal(rollout_refusal(r), "web-1 (rollback_failed) is to be undone already: that "
                                            "begins when its agent comes back, or settle it by "
                                            "hand");
    assert_string_equal(server_forced(r, 0),
                        "rollback_started(1) rollout_ended(rollback_failed) end");
    assert_string_equal(server_forced(r, 0), "refused: conflict");
    assert_string_equal(standing(r), "");
    assert_string_equal(reports(r, entry(EVENT_STEP_STARTED, 0, 0)), "cancel(0)");
    assert_string_equal(ends(r, 0, EXECUTION_CANCELLED), "rollback!(0,1)");
    assert_string_equal(undone(r, 0), "");
    assert_string_equal(server_is(r, 0), "rolled_back/unknown");
    assert_int_equal(state_of(r), ROLLOUT_ROLLBACK_FAILED);
    rollout_free(r);
}

static void a_silent_server_can_be_ordered_while_the_others_go_forward(void **state)
{
    (void)state;
    struct plan *plan = sequential_of(2);
    plan->strategy.max_failures = limit_of(1);
    struct rollout *r = rollout_of(plan);
    (void)created(r);
    (void)begins(r, 0);
    (void)unknown(r, 0);
    assert_string_equal(server_ordered(r, 0), "");
    assert_string_equal(server_is(r, 0), "rollback_failed/unknown");
    assert_string_equal(reports(r, entry(EVENT_STEP_STARTED, 0, 0)), "cancel(0)");
    assert_string_equal(standing(r), "cancel(0) start(1)");
    assert_string_equal(ends(r, 0, EXECUTION_CANCELLED), "rollback(0)");
    assert_string_equal(counts(r), "0 1 0 0 0 0 1 0 / 0 0");
    assert_string_equal(undone(r, 0), "");
    assert_string_equal(succeeds(r, 1), "batch_ended(2,1) rollout_ended(succeeded) end");
    rollout_free(r);
}

static void the_end_of_the_rollback_waits_for_a_server_that_came_back(void **state)
{
    (void)state;
    struct rollout *r = succeeded_with_unknown(2);
    (void)rollback_ordered(r);
    (void)reports(r, entry(EVENT_STEP_STARTED, 0, 0));
    assert_string_equal(undone(r, 1), "");
    assert_string_equal(unknown(r, 0), "rollout_ended(rollback_failed) end");
    assert_string_equal(rollback_ordered(r), "refused: conflict");
    rollout_free(r);
}

static void a_server_that_falls_silent_when_ordered_owes_its_undo(void **state)
{
    (void)state;
    struct rollout *r = succeeded(parallel_of(1));
    (void)rollback_ordered(r);
    assert_string_equal(unknown(r, 0), "rollout_ended(rollback_failed) end");
    assert_string_equal(standing(r), "rollback(0)");
    assert_true(engine_needs_undo(rollout_engine(r), 0));
    assert_string_equal(server_forced(r, 0),
                        "rollback_started(1) rollout_ended(rollback_failed) end");
    assert_string_equal(standing(r), "rollback!(0,1)");
    (void)undo_begins(r, 0);
    assert_string_equal(undone(r, 0), "");
    assert_string_equal(server_is(r, 0), "rolled_back/succeeded");
    assert_string_equal(standing(r), "");
    rollout_free(r);
}

static void an_order_outlives_the_failure_of_a_round_that_began_before_it(void **state)
{
    (void)state;
    struct rollout *r = succeeded(parallel_of(1));
    (void)rollback_ordered(r);
    (void)undo_begins(r, 0);
    (void)unknown(r, 0);
    (void)server_forced(r, 0);
    assert_string_equal(standing(r), "rollback!(0,1)");
    assert_string_equal(undo_fails(r, 0), "rollback!(0,2)");
    (void)undo_begins(r, 0);
    assert_string_equal(undo_fails(r, 0), "");
    assert_string_equal(standing(r), "");
    rollout_free(r);
}

static void an_order_for_a_server_that_is_silent_in_its_own_undo_outlives_its_failure(void **state)
{
    (void)state;
    struct plan *plan = parallel_of(1);
    plan->strategy.max_failures = limit_of(1);
    struct rollout *r = rollout_of(plan);
    (void)created(r);
    (void)fails_and_undoes(r, 0);
    assert_string_equal(unknown(r, 0), "batch_ended(1,1) rollout_ended(rollback_failed) end");
    assert_string_equal(server_ordered(r, 0),
                        "rollback_started(1) rollout_ended(rollback_failed) end");
    assert_string_equal(standing(r), "");
    (void)undo_begins(r, 0);
    assert_string_equal(undo_fails(r, 0), "rollback(0,2)");
    rollout_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_undo_that_failed_is_tried_again_in_another_round),
        cmocka_unit_test(force_stands_for_the_order_it_came_with),
        cmocka_unit_test(a_server_that_undid_itself_in_vain_is_ordered_in_its_second_round),
        cmocka_unit_test(an_agent_undoes_no_more_often_than_it_was_told),
        cmocka_unit_test(in_a_round_steps_are_undone_once_and_last_first),
        cmocka_unit_test(by_force_a_step_can_be_undone_once_more),
        cmocka_unit_test(a_silent_server_that_is_ordered_is_undone_when_it_comes_back),
        cmocka_unit_test(a_silent_server_can_be_ordered_while_the_others_go_forward),
        cmocka_unit_test(the_end_of_the_rollback_waits_for_a_server_that_came_back),
        cmocka_unit_test(a_server_that_falls_silent_when_ordered_owes_its_undo),
        cmocka_unit_test(an_order_outlives_the_failure_of_a_round_that_began_before_it),
        cmocka_unit_test(an_order_for_a_server_that_is_silent_in_its_own_undo_outlives_its_failure),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
