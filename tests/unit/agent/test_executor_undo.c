#include "unit/agent/support_executor.h"

#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* ---- Undoing ----------------------------------------------------------------------------- */

static void a_failing_execution_undoes_itself_in_reverse_the_failed_step_included(void **state)
{
    (void)state;
    struct rig r;
    rig_init(&r, 3);
    (void)rig_begin(&r);
    (void)rig_ok(&r);
    (void)rig_ok(&r);
    (void)rig_ok(&r);
    EXPECT(rig_fails(&r, false), "1=failed ended=failed+undo undoing undo1.1!");
    EXPECT(rig_ok(&r), "1=rolled_back undo0.1!");
    EXPECT(rig_ok(&r), "0=rolled_back over=rolled_back finished");
    rig_done(&r);
}

static void an_undo_is_tried_three_times_and_its_failure_stops_no_other(void **state)
{
    (void)state;
    struct rig r;
    rig_init(&r, 2);
    (void)rig_begin(&r);
    (void)rig_ok(&r);
    (void)rig_ok(&r);
    (void)rig_ok(&r);
    (void)rig_fails(&r, false);
    EXPECT(rig_fails(&r, true), "wait1000");
    EXPECT(rig_timer(&r), "undo1.2!");
    EXPECT(rig_fails(&r, true), "wait2000");
    EXPECT(rig_timer(&r), "undo1.3!");
    EXPECT(rig_fails(&r, true), "1=rollback_failed undo0.1!");
    assert_string_equal(rig_last(&r)->message, "it broke");
    EXPECT(rig_ok(&r), "0=rolled_back over=rollback_failed finished");
    assert_string_equal(rig_last(&r)->message, "step 2 (b): it broke");
    rig_done(&r);
}

static void an_undo_that_cannot_succeed_is_not_tried_again(void **state)
{
    (void)state;
    struct rig r;
    rig_init(&r, 1);
    (void)rig_begin(&r);
    (void)rig_ok(&r);
    (void)rig_fails(&r, false);
    EXPECT(rig_fails(&r, false), "0=rollback_failed over=rollback_failed finished");
    rig_done(&r);
}

static void an_undo_that_takes_too_long_is_stopped_and_tried_again(void **state)
{
    (void)state;
    struct rig r;
    rig_init(&r, 1);
    (void)rig_begin(&r);
    (void)rig_ok(&r);
    (void)rig_fails(&r, false);
    EXPECT(rig_timer(&r), "stop");
    EXPECT(rig_stopped(&r), "wait1000");
    EXPECT(rig_timer(&r), "undo0.2!");
    EXPECT(rig_ok(&r), "0=rolled_back over=rolled_back finished");
    rig_done(&r);
}

static void a_rollback_of_what_succeeded_undoes_every_step(void **state)
{
    (void)state;
    struct rig r;
    rig_init(&r, 1);
    (void)rig_begin(&r);
    (void)rig_ok(&r);
    (void)rig_ok(&r);
    EXPECT(rig_rollback(&r), "undoing undo0.1!");
    EXPECT(rig_rollback(&r), "");
    EXPECT(rig_cancel(&r, true), "");
    EXPECT(rig_ok(&r), "0=rolled_back over=rolled_back finished");
    EXPECT(rig_rollback(&r), "");
    rig_done(&r);
}

static void a_rollback_of_what_runs_stops_the_step_and_undoes_it(void **state)
{
    (void)state;
    struct rig r;
    rig_init(&r, 2);
    r.rollback_on_failure = false;
    (void)rig_begin(&r);
    (void)rig_ok(&r);
    EXPECT(rig_rollback(&r), "stop");
    EXPECT(rig_stopped(&r), "0=failed ended=cancelled+undo undoing undo0.1!");
    EXPECT(rig_ok(&r), "0=rolled_back over=rolled_back finished");
    rig_done(&r);
}

static void a_rollback_of_what_has_not_begun_has_nothing_to_undo(void **state)
{
    (void)state;
    struct rig r;
    rig_init(&r, 2);
    rig_make(&r);
    EXPECT(rig_rollback(&r), "started ended=cancelled+undo undoing over=rolled_back finished");
    rig_done(&r);
}

static void a_rollback_that_meets_success_undoes_it_all_the_same(void **state)
{
    (void)state;
    struct rig r;
    rig_init(&r, 1);
    (void)rig_begin(&r);
    (void)rig_ok(&r);
    (void)rig_rollback(&r);
    EXPECT(rig_ok(&r), "0=succeeded ended=succeeded undoing undo0.1!");
    rig_done(&r);
}

/* ---- Rounds of undo ------------------------------------------------------------------------ */

/* Three steps done, and undone but for the second one. */
static void fail_first_round(struct rig *r)
{
    rig_init(r, 3);
    (void)rig_begin(r);
    for (int i = 0; i < 6; i++)
        (void)rig_ok(r);
    EXPECT(rig_rollback(r), "undoing undo2.1!");
    EXPECT(rig_ok(r), "2=rolled_back undo1.1!");
    EXPECT(rig_fails(r, false), "1=rollback_failed undo0.1!");
    EXPECT(rig_ok(r), "0=rolled_back over=rollback_failed finished");
}

static void a_further_round_undoes_only_what_is_left(void **state)
{
    (void)state;
    struct rig r;
    fail_first_round(&r);
    EXPECT(rig_rollback(&r), "");
    EXPECT(rig_order(&r, 2, false), "undoing undo1.1!");
    EXPECT(rig_ok(&r), "1=rolled_back over=rolled_back finished");
    assert_null(rig_last(&r)->message);
    EXPECT(rig_order(&r, 2, true), "");
    EXPECT(rig_order(&r, 3, false), "undoing over=rolled_back finished");
    rig_done(&r);
}

static void a_round_tells_of_its_own_failures(void **state)
{
    (void)state;
    struct rig r;
    rig_init(&r, 2);
    (void)rig_begin(&r);
    for (int i = 0; i < 4; i++)
        (void)rig_ok(&r);
    (void)rig_rollback(&r);
    (void)rig_fails(&r, false);
    EXPECT(rig_fails(&r, false), "0=rollback_failed over=rollback_failed finished");
    assert_string_equal(rig_last(&r)->message, "step 2 (b): it broke");
    EXPECT(rig_order(&r, 2, false), "undoing undo1.1!");
    EXPECT(rig_ok(&r), "1=rolled_back undo0.1!");
    EXPECT(rig_fails(&r, true), "wait1000"); /* its attempts are counted anew */
    EXPECT(rig_timer(&r), "undo0.2!");
    EXPECT(rig_fails(&r, false), "0=rollback_failed over=rollback_failed finished");
    assert_string_equal(rig_last(&r)->message, "step 1 (a): it broke");
    rig_done(&r);
}

static void a_conflict_is_on_record_and_never_tried_again(void **state)
{
    (void)state;
    struct rig r;
    rig_init(&r, 2);
    (void)rig_begin(&r);
    for (int i = 0; i < 4; i++)
        (void)rig_ok(&r);
    (void)rig_rollback(&r);
    EXPECT(rig_conflicts(&r), "1=rollback_failed+conflict undo0.1!");
    EXPECT(rig_ok(&r), "0=rolled_back over=rollback_failed finished");
    assert_string_equal(rig_last(&r)->message, "step 2 (b): theirs");
    EXPECT(rig_order(&r, 2, true), "undoing+force undo1.1!+force");
    EXPECT(rig_ok(&r), "1=rolled_back undo0.1!+force");
    EXPECT(rig_ok(&r), "0=rolled_back over=rolled_back finished");
    rig_done(&r);
}

static void force_undoes_once_more_what_comes_before_a_step_that_is_left(void **state)
{
    (void)state;
    struct rig r;
    rig_init(&r, 3);
    (void)rig_begin(&r);
    for (int i = 0; i < 6; i++)
        (void)rig_ok(&r);
    (void)rig_rollback(&r);
    EXPECT(rig_ok(&r), "2=rolled_back undo1.1!");
    EXPECT(rig_fails(&r, false), "1=rollback_failed undo0.1!");
    EXPECT(rig_ok(&r), "0=rolled_back over=rollback_failed finished");
    /* It brings back what step 0 had left, which is therefore undone after it; step 2 is not. */
    EXPECT(rig_order(&r, 2, true), "undoing+force undo1.1!+force");
    EXPECT(rig_restart(&r, r.record_count, 1), "undo1.1!+force");
    EXPECT(rig_ok(&r), "1=rolled_back undo0.1!+force");
    EXPECT(rig_restart(&r, r.record_count, 1), "undo0.1!+force");
    EXPECT(rig_fails(&r, false), "0=rollback_failed over=rollback_failed finished");
    EXPECT(rig_order(&r, 3, false), "undoing undo0.1!");
    EXPECT(rig_ok(&r), "0=rolled_back over=rolled_back finished");
    EXPECT(rig_order(&r, 4, true), "undoing+force over=rolled_back finished");
    rig_done(&r);
}

static void a_conflict_that_took_its_time_is_not_tried_again_either(void **state)
{
    (void)state;
    struct rig r;
    rig_init(&r, 1);
    (void)rig_begin(&r);
    (void)rig_ok(&r);
    (void)rig_ok(&r);
    (void)rig_rollback(&r);
    EXPECT(rig_timer(&r), "stop");
    EXPECT(rig_conflicts(&r), "0=rollback_failed+conflict over=rollback_failed finished");
    rig_done(&r);
}

static void a_round_ordered_in_the_middle_of_one_follows_it(void **state)
{
    (void)state;
    struct rig r;
    rig_init(&r, 2);
    (void)rig_begin(&r);
    for (int i = 0; i < 4; i++)
        (void)rig_ok(&r);
    (void)rig_rollback(&r);
    EXPECT(rig_order(&r, 3, false), "");
    EXPECT(rig_order(&r, 3, true), "");
    EXPECT(rig_order(&r, 2, false), ""); /* an older one that comes late */
    EXPECT(rig_conflicts(&r), "1=rollback_failed+conflict undo0.1!");
    EXPECT(rig_ok(&r), "0=rolled_back over=rollback_failed undoing+force undo1.1!+force");
    assert_string_equal(r.records[r.record_count - 2].message, "step 2 (b): theirs");
    EXPECT(rig_ok(&r), "1=rolled_back undo0.1!+force");
    EXPECT(rig_ok(&r), "0=rolled_back over=rolled_back finished");
    rig_done(&r);
}

static void orders_that_meet_a_running_step_are_obeyed_in_turn(void **state)
{
    (void)state;
    struct rig r;
    rig_init(&r, 1);
    (void)rig_begin(&r);
    (void)rig_ok(&r);
    EXPECT(rig_order(&r, 1, false), "stop");
    EXPECT(rig_order(&r, 1, true), ""); /* the same, and it may be forced */
    EXPECT(rig_order(&r, 2, false), "");
    EXPECT(rig_stopped(&r), "0=failed ended=cancelled+undo undoing+force undo0.1!+force");
    EXPECT(rig_ok(&r), "0=rolled_back over=rolled_back undoing over=rolled_back finished");
    rig_done(&r);
}

static void an_undo_of_its_own_counts_as_a_round(void **state)
{
    (void)state;
    struct rig r;
    rig_init(&r, 1);
    (void)rig_begin(&r);
    (void)rig_ok(&r);
    EXPECT(rig_fails(&r, false), "0=failed ended=failed+undo undoing undo0.1!");
    EXPECT(rig_order(&r, 1, true), "");
    EXPECT(rig_fails(&r, false), "0=rollback_failed over=rollback_failed finished");
    EXPECT(rig_order(&r, 1, true), "");
    EXPECT(rig_order(&r, 2, false), "undoing undo0.1!");
    rig_done(&r);
}

static void a_round_goes_on_after_a_restart_as_it_was_ordered(void **state)
{
    (void)state;
    struct rig r;
    rig_init(&r, 2);
    (void)rig_begin(&r);
    for (int i = 0; i < 4; i++)
        (void)rig_ok(&r);
    (void)rig_rollback(&r);
    (void)rig_conflicts(&r);
    EXPECT(rig_conflicts(&r), "0=rollback_failed+conflict over=rollback_failed finished");
    EXPECT(rig_order(&r, 2, true), "undoing+force undo1.1!+force");
    EXPECT(rig_restart(&r, r.record_count, 1), "undo1.1!+force");
    EXPECT(rig_order(&r, 2, true), "");
    EXPECT(rig_ok(&r), "1=rolled_back undo0.1!+force");
    EXPECT(rig_restart(&r, r.record_count, 1), "undo0.1!+force");
    EXPECT(rig_ok(&r), "0=rolled_back over=rolled_back finished");
    EXPECT(rig_restart(&r, r.record_count, 0), "finished");
    EXPECT(rig_order(&r, 2, true), "");
    EXPECT(rig_order(&r, 3, false), "undoing over=rolled_back finished");
    rig_done(&r);
}

static void what_is_not_known_cannot_be_undone_however_often_it_is_ordered(void **state)
{
    (void)state;
    struct rig r;
    struct error err;
    const struct executor_record no_record = {
        .type = REPORT_ROLLED_BACK, .step = EXECUTOR_NO_STEP, .state = EXECUTION_ROLLBACK_FAILED};
    rig_init(&r, 0);
    rig_make(&r);
    assert_int_equal(executor_replay(r.x, &no_record, &err), ERR_OK);
    executor_resume(r.x, 1, 0, false);
    rig_take_actions(&r);
    EXPECT(rig_trace(&r), "finished");
    EXPECT(rig_order(&r, 1, false), "");
    EXPECT(rig_order(&r, 2, true), "undoing+force over=rollback_failed finished");
    assert_string_equal(rig_last(&r)->message, EXECUTOR_NO_RECORD);
    rig_done(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_failing_execution_undoes_itself_in_reverse_the_failed_step_included),
        cmocka_unit_test(an_undo_is_tried_three_times_and_its_failure_stops_no_other),
        cmocka_unit_test(an_undo_that_cannot_succeed_is_not_tried_again),
        cmocka_unit_test(an_undo_that_takes_too_long_is_stopped_and_tried_again),
        cmocka_unit_test(a_rollback_of_what_succeeded_undoes_every_step),
        cmocka_unit_test(a_rollback_of_what_runs_stops_the_step_and_undoes_it),
        cmocka_unit_test(a_rollback_of_what_has_not_begun_has_nothing_to_undo),
        cmocka_unit_test(a_rollback_that_meets_success_undoes_it_all_the_same),
        cmocka_unit_test(a_further_round_undoes_only_what_is_left),
        cmocka_unit_test(a_round_tells_of_its_own_failures),
        cmocka_unit_test(a_conflict_is_on_record_and_never_tried_again),
        cmocka_unit_test(force_undoes_once_more_what_comes_before_a_step_that_is_left),
        cmocka_unit_test(a_conflict_that_took_its_time_is_not_tried_again_either),
        cmocka_unit_test(a_round_ordered_in_the_middle_of_one_follows_it),
        cmocka_unit_test(orders_that_meet_a_running_step_are_obeyed_in_turn),
        cmocka_unit_test(an_undo_of_its_own_counts_as_a_round),
        cmocka_unit_test(a_round_goes_on_after_a_restart_as_it_was_ordered),
        cmocka_unit_test(what_is_not_known_cannot_be_undone_however_often_it_is_ordered),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
