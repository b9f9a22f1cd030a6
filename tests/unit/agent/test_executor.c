#include "unit/agent/support_executor.h"

#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* ---- Going forward ----------------------------------------------------------------------- */

static void steps_run_in_order_each_prepared_first(void **state)
{
    (void)state;
    struct rig r;
    rig_init(&r, 2);
    EXPECT(rig_begin(&r), "started prepare0.1");
    EXPECT(rig_ok(&r), "begun0.1 execute0.1!");
    EXPECT(rig_ok(&r), "0=succeeded prepare1.1");
    assert_true(rig_last(&r)->changed);
    EXPECT(rig_ok(&r), "begun1.1 execute1.1!");
    EXPECT(rig_ok(&r), "1=succeeded ended=succeeded finished");
    assert_false(rig_last(&r)->undoing);
    rig_done(&r);
}

static void an_instant_step_needs_no_record_that_it_began(void **state)
{
    (void)state;
    struct rig r;
    rig_init(&r, 1);
    r.traits[0].instant = true;
    EXPECT(rig_begin(&r), "started prepare0.1");
    EXPECT(rig_ok(&r), "execute0.1");
    EXPECT(rig_ok(&r), "0=succeeded- ended=succeeded finished");
    rig_done(&r);
}

static void an_operation_carries_the_steps_time_limit(void **state)
{
    (void)state;
    struct rig r;
    rig_init(&r, 1);
    (void)rig_begin(&r);
    assert_int_equal(r.operation.timeout_ms, TIMEOUT_MS);
    (void)rig_ok(&r);
    assert_int_equal(r.operation.timeout_ms, TIMEOUT_MS);
    (void)rig_ok(&r);
    r.steps[0].timeout_ms = 5;
    EXPECT(rig_rollback(&r), "undoing undo0.1!");
    assert_int_equal(r.operation.timeout_ms, EXECUTOR_UNDO_TIMEOUT_MIN_MS);
    rig_done(&r);
}

static void a_step_that_is_not_idempotent_gets_one_attempt(void **state)
{
    (void)state;
    struct rig r;
    rig_init(&r, 1);
    r.rollback_on_failure = false;
    (void)rig_begin(&r);
    (void)rig_ok(&r);
    EXPECT(rig_fails(&r, true), "0=failed ended=failed finished");
    assert_string_equal(rig_last(&r)->message, "step 1 (a): it broke");
    rig_done(&r);
}

static void an_idempotent_step_gets_three_attempts_with_growing_waits(void **state)
{
    (void)state;
    struct rig r;
    rig_init(&r, 1);
    r.traits[0].idempotent = true;
    r.rollback_on_failure = false;
    (void)rig_begin(&r);
    (void)rig_ok(&r);
    EXPECT(rig_fails(&r, true), "retrying0.1 wait1000");
    assert_string_equal(rig_last(&r)->message, "it broke");
    EXPECT(rig_timer(&r), "begun0.2 execute0.2!");
    EXPECT(rig_fails(&r, true), "retrying0.2 wait2000");
    EXPECT(rig_timer(&r), "begun0.3 execute0.3!");
    EXPECT(rig_fails(&r, true), "0=failed ended=failed finished");
    rig_done(&r);
}

static void the_wait_between_attempts_is_capped(void **state)
{
    (void)state;
    struct rig r;
    rig_init(&r, 1);
    r.steps[0].retry.maximum_attempts = 5;
    (void)rig_begin(&r);
    (void)rig_ok(&r);
    const char *const waits[] = {"retrying0.1 wait1000", "retrying0.2 wait2000",
                                 "retrying0.3 wait3000", "retrying0.4 wait3000"};
    for (size_t i = 0; i < ARRAY_LEN(waits); i++) {
        EXPECT(rig_fails(&r, true), waits[i]);
        (void)rig_timer(&r);
    }
    EXPECT(rig_ok(&r), "0=succeeded ended=succeeded finished");
    assert_int_equal(r.records[r.record_count - 2].attempt, 5);
    rig_done(&r);
}

static void a_failure_that_is_not_retryable_ends_at_once(void **state)
{
    (void)state;
    struct rig r;
    rig_init(&r, 1);
    r.traits[0].idempotent = true;
    (void)rig_begin(&r);
    (void)rig_ok(&r);
    EXPECT(rig_fails(&r, false), "0=failed ended=failed+undo undoing undo0.1!");
    rig_done(&r);
}

static void an_exit_code_that_the_plan_calls_final_ends_at_once(void **state)
{
    (void)state;
    struct rig r;
    int64_t codes[] = {64, 65};
    rig_init(&r, 1);
    r.traits[0].idempotent = true;
    r.rollback_on_failure = false;
    r.steps[0].retry.non_retryable_exit_codes = (struct array){codes, 2};
    (void)rig_begin(&r);
    (void)rig_ok(&r);
    struct executor_result result = {
        .outcome = EXECUTOR_FAILED, .retryable = true, .has_exit_code = true, .exit_code = 1};
    EXPECT(rig_over(&r, result), "retrying0.1 wait1000");
    assert_int_equal(rig_last(&r)->exit_code, 1);
    (void)rig_timer(&r);
    result.exit_code = 65;
    EXPECT(rig_over(&r, result), "0=failed ended=failed finished");
    rig_done(&r);
}

static void a_failed_prepare_is_an_attempt_and_leaves_nothing_to_undo(void **state)
{
    (void)state;
    struct rig r;
    rig_init(&r, 2);
    r.traits[1].idempotent = true;
    (void)rig_begin(&r);
    (void)rig_ok(&r);
    EXPECT(rig_ok(&r), "0=succeeded prepare1.1");
    EXPECT(rig_fails(&r, true), "retrying1.1 wait1000");
    EXPECT(rig_timer(&r), "prepare1.2");
    EXPECT(rig_fails(&r, false), "1=failed ended=failed+undo undoing undo0.1!");
    EXPECT(rig_ok(&r), "0=rolled_back over=rolled_back finished");
    rig_done(&r);
}

static void a_retry_uses_the_first_capture(void **state)
{
    (void)state;
    struct rig r;
    rig_init(&r, 1);
    r.steps[0].retry.maximum_attempts = 2;
    (void)rig_begin(&r);
    (void)rig_ok(&r);
    (void)rig_fails(&r, true);
    EXPECT(rig_timer(&r), "begun0.2 execute0.2!");
    rig_done(&r);
}

static void a_step_that_takes_too_long_is_stopped_and_timed_out(void **state)
{
    (void)state;
    struct rig r;
    rig_init(&r, 1);
    r.rollback_on_failure = false;
    (void)rig_begin(&r);
    (void)rig_ok(&r);
    EXPECT(rig_timer(&r), "stop");
    EXPECT(rig_timer(&r), "");
    EXPECT(rig_stopped(&r), "0=timed_out ended=timed_out finished");
    assert_string_equal(rig_last(&r)->message,
                        "step 1 (a): not done within its time limit of 90 s");
    rig_done(&r);
}

static void a_timed_out_attempt_of_an_idempotent_step_is_followed_by_another(void **state)
{
    (void)state;
    struct rig r;
    rig_init(&r, 1);
    r.traits[0].idempotent = true;
    (void)rig_begin(&r);
    (void)rig_ok(&r);
    (void)rig_timer(&r);
    EXPECT(rig_stopped(&r), "retrying0.1 wait1000");
    (void)rig_timer(&r);
    EXPECT(rig_ok(&r), "0=succeeded ended=succeeded finished");
    rig_done(&r);
}

static void a_step_that_ends_well_while_it_is_stopped_succeeded(void **state)
{
    (void)state;
    struct rig r;
    rig_init(&r, 1);
    (void)rig_begin(&r);
    (void)rig_ok(&r);
    EXPECT(rig_timer(&r), "stop");
    EXPECT(rig_ok(&r), "0=succeeded ended=succeeded finished");
    rig_done(&r);
}

static void a_step_that_may_fail_does_not_end_the_execution(void **state)
{
    (void)state;
    for (int way = 0; way < 2; way++) {
        struct rig r;
        rig_init(&r, 2);
        r.steps[0].required = way == 0;
        r.steps[0].continue_on_failure = way == 0;
        (void)rig_begin(&r);
        (void)rig_ok(&r);
        EXPECT(rig_fails(&r, false), "0=failed prepare1.1");
        (void)rig_ok(&r);
        EXPECT(rig_ok(&r), "1=succeeded ended=succeeded finished");
        /* Half done, it is undone with the rest. */
        EXPECT(rig_rollback(&r), "undoing undo1.1!");
        EXPECT(rig_ok(&r), "1=rolled_back undo0.1!");
        EXPECT(rig_ok(&r), "0=rolled_back over=rolled_back finished");
        rig_done(&r);
    }
}

/* ---- Cancelling -------------------------------------------------------------------------- */

static void a_cancel_lets_the_running_step_finish(void **state)
{
    (void)state;
    struct rig r;
    rig_init(&r, 2);
    (void)rig_begin(&r);
    (void)rig_ok(&r);
    EXPECT(rig_cancel(&r, false), "");
    EXPECT(rig_ok(&r), "0=succeeded ended=cancelled finished");
    assert_false(rig_last(&r)->undoing);
    rig_done(&r);
}

static void a_cancel_that_meets_the_last_step_changes_nothing(void **state)
{
    (void)state;
    struct rig r;
    rig_init(&r, 1);
    (void)rig_begin(&r);
    (void)rig_ok(&r);
    (void)rig_cancel(&r, false);
    EXPECT(rig_ok(&r), "0=succeeded ended=succeeded finished");
    rig_done(&r);
}

static void a_cancelled_execution_tries_no_further_attempt(void **state)
{
    (void)state;
    struct rig r;
    rig_init(&r, 1);
    r.traits[0].idempotent = true;
    r.rollback_on_failure = false;
    (void)rig_begin(&r);
    (void)rig_ok(&r);
    (void)rig_cancel(&r, false);
    EXPECT(rig_fails(&r, true), "0=failed ended=failed finished");
    rig_done(&r);
}

static void a_cancel_at_once_stops_the_running_step(void **state)
{
    (void)state;
    struct rig r;
    rig_init(&r, 2);
    (void)rig_begin(&r);
    (void)rig_ok(&r);
    EXPECT(rig_cancel(&r, false), "");
    EXPECT(rig_cancel(&r, true), "stop");
    EXPECT(rig_cancel(&r, true), "");
    EXPECT(rig_stopped(&r), "0=failed ended=cancelled finished");
    assert_string_equal(r.records[r.record_count - 2].message,
                        "stopped: the rollout was cancelled");
    EXPECT(rig_rollback(&r), "undoing undo0.1!");
    rig_done(&r);
}

static void a_cancel_ends_a_prepare_at_once(void **state)
{
    (void)state;
    struct rig r;
    rig_init(&r, 1);
    (void)rig_begin(&r);
    EXPECT(rig_cancel(&r, false), "stop");
    EXPECT(rig_ok(&r), "ended=cancelled finished");
    EXPECT(rig_rollback(&r), "undoing over=rolled_back finished");
    rig_done(&r);
}

static void a_cancel_ends_a_wait_at_once(void **state)
{
    (void)state;
    struct rig r;
    rig_init(&r, 1);
    r.traits[0].idempotent = true;
    (void)rig_begin(&r);
    (void)rig_ok(&r);
    (void)rig_fails(&r, true);
    EXPECT(rig_cancel(&r, false), "nowait 0=failed ended=cancelled finished");
    rig_done(&r);
}

static void what_is_cancelled_before_it_begins_ends_so(void **state)
{
    (void)state;
    struct rig r;
    rig_init(&r, 1);
    rig_make(&r);
    EXPECT(rig_cancel(&r, true), "started ended=cancelled finished");
    EXPECT(rig_cancel(&r, true), "");
    rig_done(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(steps_run_in_order_each_prepared_first),
        cmocka_unit_test(an_instant_step_needs_no_record_that_it_began),
        cmocka_unit_test(an_operation_carries_the_steps_time_limit),
        cmocka_unit_test(a_step_that_is_not_idempotent_gets_one_attempt),
        cmocka_unit_test(an_idempotent_step_gets_three_attempts_with_growing_waits),
        cmocka_unit_test(the_wait_between_attempts_is_capped),
        cmocka_unit_test(a_failure_that_is_not_retryable_ends_at_once),
        cmocka_unit_test(an_exit_code_that_the_plan_calls_final_ends_at_once),
        cmocka_unit_test(a_failed_prepare_is_an_attempt_and_leaves_nothing_to_undo),
        cmocka_unit_test(a_retry_uses_the_first_capture),
        cmocka_unit_test(a_step_that_takes_too_long_is_stopped_and_timed_out),
        cmocka_unit_test(a_timed_out_attempt_of_an_idempotent_step_is_followed_by_another),
        cmocka_unit_test(a_step_that_ends_well_while_it_is_stopped_succeeded),
        cmocka_unit_test(a_step_that_may_fail_does_not_end_the_execution),
        cmocka_unit_test(a_cancel_lets_the_running_step_finish),
        cmocka_unit_test(a_cancel_that_meets_the_last_step_changes_nothing),
        cmocka_unit_test(a_cancelled_execution_tries_no_further_attempt),
        cmocka_unit_test(a_cancel_at_once_stops_the_running_step),
        cmocka_unit_test(a_cancel_ends_a_prepare_at_once),
        cmocka_unit_test(a_cancel_ends_a_wait_at_once),
        cmocka_unit_test(what_is_cancelled_before_it_begins_ends_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
