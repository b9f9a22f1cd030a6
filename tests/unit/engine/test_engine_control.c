#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "unit/engine/support_plan.h"
#include "unit/engine/support_rollout.h"

static void a_rollout_begins_once(void **state)
{
    (void)state;
    struct rollout *r = rollout_of(sequential_of(1));
    assert_int_equal(engine_state(rollout_engine(r)), ROLLOUT_PENDING);
    assert_string_equal(paused(r), "refused: conflict");
    assert_string_equal(resumed(r), "refused: conflict");
    assert_string_equal(cancelled(r, true, true), "refused: conflict");
    assert_string_equal(rollout_refusal(r), "the rollout has not begun");
    assert_string_equal(begins(r, 0), "refused: conflict");
    assert_string_equal(counts(r), "1 0 0 0 0 0 0 0 / 0 0");
    (void)created(r);
    assert_string_equal(created(r), "refused: stale");
    rollout_free(r);
}

static void a_pause_holds_new_servers_and_lets_those_in_flight_go_on(void **state)
{
    (void)state;
    struct plan *plan = parallel_of(3);
    plan->strategy.max_parallel = 1;
    struct rollout *r = rollout_of(plan);
    (void)created(r);
    assert_string_equal(paused(r), "rollout_paused");
    assert_int_equal(engine_state(rollout_engine(r)), ROLLOUT_PAUSED);
    assert_string_equal(paused(r), "refused: conflict");
    assert_string_equal(rollout_refusal(r), "the rollout is paused already");
    assert_string_equal(succeeds(r, 0), "");
    assert_string_equal(resumed(r), "rollout_resumed start(1)");
    assert_string_equal(resumed(r), "refused: conflict");
    assert_string_equal(rollout_refusal(r), "the rollout is not paused");
    rollout_free(r);
}

static void a_pause_holds_the_next_batch(void **state)
{
    (void)state;
    struct rollout *r = rollout_of(rolling_of(2, 1));
    (void)created(r);
    (void)paused(r);
    assert_string_equal(succeeds(r, 0), "batch_ended(1,1)");
    assert_string_equal(standing(r), "");
    assert_string_equal(resumed(r), "rollout_resumed batch_started(2,1) start(1)");
    rollout_free(r);
}

static void a_delay_that_passes_in_a_pause_is_remembered(void **state)
{
    (void)state;
    struct plan *plan = rolling_of(2, 1);
    plan->strategy.batch_delay_ms = 5;
    struct rollout *r = rollout_of(plan);
    (void)created(r);
    (void)paused(r);
    assert_string_equal(succeeds(r, 0), "batch_ended(1,1) delay(2,5)");
    assert_string_equal(batch_due(r, 2), "");
    assert_string_equal(batch_due(r, 2), "refused: stale");
    assert_string_equal(standing(r), "");
    assert_string_equal(resumed(r), "rollout_resumed batch_started(2,1) start(1)");
    rollout_free(r);
}

static void a_resume_before_the_delay_has_passed_waits_on(void **state)
{
    (void)state;
    struct plan *plan = rolling_of(2, 1);
    plan->strategy.batch_delay_ms = 5;
    struct rollout *r = rollout_of(plan);
    (void)created(r);
    (void)succeeds(r, 0);
    (void)paused(r);
    assert_string_equal(resumed(r), "rollout_resumed");
    assert_string_equal(batch_due(r, 2), "batch_started(2,1) start(1)");
    rollout_free(r);
}

static void a_paused_rollout_still_ends_and_still_aborts(void **state)
{
    (void)state;
    struct rollout *r = rollout_of(parallel_of(1));
    (void)created(r);
    (void)paused(r);
    assert_string_equal(succeeds(r, 0), "batch_ended(1,1) rollout_ended(succeeded) end");
    rollout_free(r);

    r = rollout_of(parallel_of(2));
    (void)created(r);
    (void)paused(r);
    assert_string_equal(fails(r, 0), "threshold_exceeded(1) cancel(1)");
    assert_int_equal(engine_state(rollout_engine(r)), ROLLOUT_RUNNING);
    assert_string_equal(resumed(r), "refused: conflict");
    assert_string_equal(rollout_refusal(r),
                        "the rollout is stopping (1 of 2 servers failed, 0 allowed)");
    rollout_free(r);
}

static void a_cancel_stops_what_runs_and_skips_the_rest(void **state)
{
    (void)state;
    struct rollout *r = rollout_of(rolling_of(3, 2));
    (void)created(r);
    (void)begins(r, 0);
    assert_string_equal(cancelled(r, false, false), "cancel(0) cancel(1)");
    assert_string_equal(counts(r), "0 2 0 0 0 0 0 1 / 0 0");
    assert_string_equal(standing(r), "cancel(0) cancel(1)");
    assert_string_equal(withdrawn(r, 1), "");
    assert_string_equal(server_is(r, 1), "skipped");
    assert_string_equal(ends(r, 0, EXECUTION_CANCELLED),
                        "batch_ended(1,2) rollout_ended(cancelled) end");
    assert_string_equal(engine_reason(rollout_engine(r)), "cancelled by alice");
    assert_string_equal(counts(r), "0 0 0 0 0 0 1 2 / 0 0");
    rollout_free(r);
}

static void a_cancel_can_undo_what_was_done(void **state)
{
    (void)state;
    struct plan *plan = rolling_of(4, 2);
    plan->rollback_scope = SCOPE_NONE;
    struct rollout *r = rollout_of(plan);
    (void)created(r);
    (void)succeeds(r, 0);
    (void)begins(r, 1);
    assert_string_equal(cancelled(r, true, true), "cancel_now(1)");
    assert_string_equal(ends(r, 1, EXECUTION_CANCELLED),
                        "batch_ended(1,2) rollback_started(2) rollback(1) rollback(0)");
    assert_int_equal(engine_state(rollout_engine(r)), ROLLOUT_ROLLING_BACK);
    assert_string_equal(undone(r, 0), "");
    assert_string_equal(undone(r, 1), "rollout_ended(rolled_back) end");
    rollout_free(r);
}

static void a_cancel_with_undo_that_came_before_any_change_ends_cancelled(void **state)
{
    (void)state;
    struct rollout *r = rollout_of(sequential_of(2));
    (void)created(r);
    (void)cancelled(r, false, true);
    assert_string_equal(withdrawn(r, 0), "batch_ended(1,1) rollout_ended(cancelled) end");
    rollout_free(r);
}

static void a_second_cancel_can_be_firmer(void **state)
{
    (void)state;
    struct rollout *r = rollout_of(parallel_of(3));
    (void)created(r);
    (void)begins(r, 0);
    (void)succeeds(r, 1);
    assert_string_equal(cancelled(r, false, false), "cancel(0) cancel(2)");
    assert_string_equal(cancelled(r, false, false), "refused: conflict");
    assert_string_equal(rollout_refusal(r), "the rollout is stopping already (cancelled by alice)");
    assert_string_equal(withdrawn(r, 2), "");
    assert_string_equal(cancelled(r, true, false), "cancel_now(0)");
    assert_string_equal(standing(r), "cancel_now(0)");
    assert_string_equal(cancelled(r, true, false), "refused: conflict");
    assert_string_equal(cancelled(r, true, true), "");
    assert_string_equal(ends(r, 0, EXECUTION_CANCELLED),
                        "batch_ended(1,3) rollback_started(2) rollback(1) rollback(0)");
    rollout_free(r);
}

static void a_cancel_ends_a_delay_and_a_pause(void **state)
{
    (void)state;
    struct plan *plan = rolling_of(2, 1);
    plan->strategy.batch_delay_ms = 1000;
    struct rollout *r = rollout_of(plan);
    (void)created(r);
    (void)succeeds(r, 0);
    (void)paused(r);
    assert_string_equal(cancelled(r, false, false), "rollout_ended(cancelled) end");
    assert_string_equal(batch_due(r, 2), "refused: stale");
    rollout_free(r);
}

static void a_rollout_that_rolls_back_or_has_ended_takes_no_commands(void **state)
{
    (void)state;
    struct rollout *r = rollout_of(sequential_of(1));
    (void)created(r);
    (void)fails(r, 0);
    assert_string_equal(cancelled(r, true, true), "refused: conflict");
    assert_string_equal(rollout_refusal(r), "the rollout is rolling back");
    assert_string_equal(paused(r), "refused: conflict");
    (void)undone(r, 0);
    assert_string_equal(cancelled(r, true, true), "refused: conflict");
    assert_string_equal(rollout_refusal(r), "the rollout has ended (rolled_back)");
    assert_string_equal(resumed(r), "refused: conflict");
    rollout_free(r);
}

static void an_abort_can_be_made_firmer_by_a_person(void **state)
{
    (void)state;
    struct plan *plan = parallel_of(2);
    plan->rollback_scope = SCOPE_NONE;
    struct rollout *r = rollout_of(plan);
    (void)created(r);
    (void)begins(r, 1);
    assert_string_equal(fails(r, 0), "threshold_exceeded(1) cancel(1)");
    assert_string_equal(cancelled(r, true, true), "cancel_now(1)");
    assert_string_equal(ends(r, 1, EXECUTION_CANCELLED),
                        "batch_ended(1,2) rollback_started(2) rollback(1) rollback(0)");
    rollout_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_rollout_begins_once),
        cmocka_unit_test(a_pause_holds_new_servers_and_lets_those_in_flight_go_on),
        cmocka_unit_test(a_pause_holds_the_next_batch),
        cmocka_unit_test(a_delay_that_passes_in_a_pause_is_remembered),
        cmocka_unit_test(a_resume_before_the_delay_has_passed_waits_on),
        cmocka_unit_test(a_paused_rollout_still_ends_and_still_aborts),
        cmocka_unit_test(a_cancel_stops_what_runs_and_skips_the_rest),
        cmocka_unit_test(a_cancel_can_undo_what_was_done),
        cmocka_unit_test(a_cancel_with_undo_that_came_before_any_change_ends_cancelled),
        cmocka_unit_test(a_second_cancel_can_be_firmer),
        cmocka_unit_test(a_cancel_ends_a_delay_and_a_pause),
        cmocka_unit_test(a_rollout_that_rolls_back_or_has_ended_takes_no_commands),
        cmocka_unit_test(an_abort_can_be_made_firmer_by_a_person),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
