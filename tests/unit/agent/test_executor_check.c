/* A check, and what changed nothing. */
#include "unit/agent/support_executor.h"

#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void check_init(struct rig *r, size_t count)
{
    rig_init(r, count);
    r->check = true;
}

/* ---- Checks -------------------------------------------------------------------------------- */

static void each_step_is_checked_in_turn_and_nothing_else(void **state)
{
    struct rig r;
    (void)state;
    check_init(&r, 3);
    EXPECT(rig_begin(&r), "started check0.1");
    EXPECT(rig_unchanged(&r), "0=succeeded- check1.1");
    EXPECT(rig_ok(&r), "1=succeeded check2.1(1)");
    EXPECT(rig_unchanged(&r), "2=succeeded- ended=succeeded finished");
    EXPECT(rig_rollback(&r), "undoing over=rolled_back finished");
    rig_done(&r);
}

static void one_that_cannot_be_done_is_a_failure_and_nothing_is_undone(void **state)
{
    struct rig r;
    (void)state;
    check_init(&r, 2);
    (void)rig_begin(&r);
    (void)rig_unchanged(&r);
    EXPECT(rig_fails(&r, false), "1=failed ended=failed finished");
    EXPECT(rig_last(&r)->message, "step 2 (b): it broke");
    rig_done(&r);
}

static void after_a_change_that_is_only_planned_a_failure_is_none(void **state)
{
    struct rig r;
    (void)state;
    check_init(&r, 3);
    (void)rig_begin(&r);
    (void)rig_unchanged(&r);
    EXPECT(rig_ok(&r), "1=succeeded check2.1(1)");
    EXPECT(rig_fails(&r, true), "2=succeeded ended=succeeded finished");
    EXPECT(r.records[r.record_count - 2].message, "depends on a change of step 2 (b): it broke");
    rig_done(&r);
}

static void one_that_may_pass_is_tried_again(void **state)
{
    struct rig r;
    (void)state;
    check_init(&r, 1);
    (void)rig_begin(&r);
    EXPECT(rig_fails(&r, true), "retrying0.1 wait1000");
    EXPECT(rig_timer(&r), "check0.2");
    EXPECT(rig_fails(&r, true), "retrying0.2 wait2000");
    EXPECT(rig_timer(&r), "check0.3");
    EXPECT(rig_fails(&r, true), "0=failed ended=failed finished");
    rig_done(&r);
}

static void one_that_takes_too_long_has_timed_out_whatever_it_depends_on(void **state)
{
    struct rig r;
    (void)state;
    check_init(&r, 2);
    (void)rig_begin(&r);
    (void)rig_ok(&r);
    EXPECT(rig_timer(&r), "stop");
    EXPECT(rig_stopped(&r), "retrying1.1 wait1000");
    rig_done(&r);
}

static void it_is_cancelled_at_once(void **state)
{
    struct rig r;
    (void)state;
    check_init(&r, 2);
    (void)rig_begin(&r);
    EXPECT(rig_cancel(&r, false), "stop");
    EXPECT(rig_stopped(&r), "ended=cancelled finished");
    rig_done(&r);
}

static void after_a_restart_it_goes_on_with_the_step_that_has_no_end(void **state)
{
    struct rig r;
    (void)state;
    check_init(&r, 3);
    (void)rig_begin(&r);
    (void)rig_ok(&r);
    EXPECT(rig_restart(&r, 2, 1), "check1.1!(0)");
    EXPECT(rig_unchanged(&r), "1=succeeded- check2.1(0)");
    /* What kills its agent each time is given up. */
    EXPECT(rig_restart(&r, 3, EXECUTOR_MAX_INTERRUPTED), "2=failed ended=failed finished");
    EXPECT(rig_last(&r)->message, "step 3 (c): the agent died 3 times while checking this step");
    rig_done(&r);
}

static void an_executed_step_has_no_place_in_its_record(void **state)
{
    struct rig r;
    struct error err = {0};
    (void)state;
    check_init(&r, 1);
    rig_make(&r);
    const struct executor_record record = {.type = REPORT_STEP_STARTED, .state = STEP_RUNNING};
    assert_int_equal(executor_replay(r.x, &record, &err), ERR_CORRUPT);
    rig_done(&r);
}

/* ---- What changed nothing ------------------------------------------------------------------ */

static void a_step_that_changed_nothing_is_not_undone(void **state)
{
    struct rig r;
    (void)state;
    rig_init(&r, 3);
    (void)rig_begin(&r);
    (void)rig_ok(&r);
    EXPECT(rig_ok(&r), "0=succeeded prepare1.1");
    (void)rig_ok(&r);
    EXPECT(rig_unchanged(&r), "1=succeeded- prepare2.1");
    (void)rig_ok(&r);
    EXPECT(rig_fails(&r, false), "2=failed ended=failed+undo undoing undo2.1!");
    EXPECT(rig_ok(&r), "2=rolled_back undo0.1!");
    EXPECT(rig_restart(&r, r.record_count, 1), "undo0.1!");
    EXPECT(rig_ok(&r), "0=rolled_back over=rolled_back finished");
    rig_done(&r);
}

static void an_attempt_that_failed_may_have_changed_what_the_next_finds_done(void **state)
{
    struct rig r;
    (void)state;
    rig_init(&r, 1);
    r.traits[0].idempotent = true;
    (void)rig_begin(&r);
    (void)rig_ok(&r);
    EXPECT(rig_fails(&r, true), "retrying0.1 wait1000");
    EXPECT(rig_timer(&r), "begun0.2 execute0.2!");
    EXPECT(rig_unchanged(&r), "0=succeeded ended=succeeded finished");
    size_t all = r.record_count;
    EXPECT(rig_rollback(&r), "undoing undo0.1!");
    EXPECT(rig_restart(&r, all, 1), "finished");
    EXPECT(rig_rollback(&r), "undoing undo0.1!");
    rig_done(&r);
}

static void so_may_one_that_the_agents_death_cut_off(void **state)
{
    struct rig r;
    (void)state;
    rig_init(&r, 1);
    r.traits[0].idempotent = true;
    (void)rig_begin(&r);
    (void)rig_ok(&r);
    EXPECT(rig_restart(&r, 2, 1), "begun0.2 execute0.2!");
    EXPECT(rig_unchanged(&r), "0=succeeded ended=succeeded finished");
    size_t all = r.record_count;
    EXPECT(rig_rollback(&r), "undoing undo0.1!");
    /* An older agent did not put the two together. */
    assert_int_equal(r.records[3].type, REPORT_STEP_ENDED);
    r.records[3].changed = false;
    EXPECT(rig_restart(&r, all, 1), "finished");
    EXPECT(rig_rollback(&r), "undoing undo0.1!");
    rig_done(&r);
}

static void a_prepare_that_failed_changed_nothing(void **state)
{
    struct rig r;
    (void)state;
    rig_init(&r, 1);
    r.traits[0].idempotent = true;
    (void)rig_begin(&r);
    EXPECT(rig_fails(&r, true), "retrying0.1 wait1000");
    EXPECT(rig_timer(&r), "prepare0.2");
    EXPECT(rig_ok(&r), "begun0.2 execute0.2!");
    EXPECT(rig_unchanged(&r), "0=succeeded- ended=succeeded finished");
    EXPECT(rig_rollback(&r), "undoing over=rolled_back finished");
    rig_done(&r);
}

static void a_step_of_a_type_that_changes_nothing_is_not_undone_when_it_fails(void **state)
{
    struct rig r;
    (void)state;
    rig_init(&r, 2);
    r.traits[1].inert = true;
    (void)rig_begin(&r);
    (void)rig_ok(&r);
    (void)rig_ok(&r);
    EXPECT(rig_unchanged(&r), "begun1.1 execute1.1!");
    EXPECT(rig_fails(&r, false), "1=failed ended=failed+undo undoing undo0.1!");
    rig_done(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_step_is_checked_in_turn_and_nothing_else),
        cmocka_unit_test(one_that_cannot_be_done_is_a_failure_and_nothing_is_undone),
        cmocka_unit_test(after_a_change_that_is_only_planned_a_failure_is_none),
        cmocka_unit_test(one_that_may_pass_is_tried_again),
        cmocka_unit_test(one_that_takes_too_long_has_timed_out_whatever_it_depends_on),
        cmocka_unit_test(it_is_cancelled_at_once),
        cmocka_unit_test(after_a_restart_it_goes_on_with_the_step_that_has_no_end),
        cmocka_unit_test(an_executed_step_has_no_place_in_its_record),
        cmocka_unit_test(a_step_that_changed_nothing_is_not_undone),
        cmocka_unit_test(an_attempt_that_failed_may_have_changed_what_the_next_finds_done),
        cmocka_unit_test(so_may_one_that_the_agents_death_cut_off),
        cmocka_unit_test(a_prepare_that_failed_changed_nothing),
        cmocka_unit_test(a_step_of_a_type_that_changes_nothing_is_not_undone_when_it_fails),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
