/* A step that has the server rebooted, in each order of what can happen meanwhile. */
#include "unit/agent/support_executor.h"

#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* Up to a first step whose reboot was asked for. */
static void rig_down(struct rig *r, size_t count)
{
    rig_init(r, count);
    EXPECT(rig_begin(r), "started prepare0.1");
    EXPECT(rig_unchanged(r), "begun0.1 execute0.1!");
    EXPECT(rig_wants_reboot(r), "rebooting0.1 reboot0.1!");
}

static void after_a_reboot_the_same_attempt_runs_again_once_orders_can_be_heard(void **state)
{
    struct rig r;
    (void)state;
    rig_down(&r, 2);
    assert_int_equal(rig_last(&r)->away_ms, 7000);
    assert_int_equal(rig_last(&r)->state, STEP_RUNNING);
    EXPECT(rig_reboot(&r, r.record_count, 1), "hear30000!");
    EXPECT(rig_confirmed(&r), "nowait rebooted0.1 execute0.1!~1");
    EXPECT(rig_ok(&r), "0=succeeded prepare1.1");
    rig_done(&r);
}

static void a_server_that_hears_nobody_goes_on_after_a_while(void **state)
{
    struct rig r;
    (void)state;
    rig_down(&r, 1);
    EXPECT(rig_reboot(&r, r.record_count, 1), "hear30000!");
    EXPECT(rig_timer(&r), "rebooted0.1 execute0.1!~1");
    EXPECT(rig_unchanged(&r), "0=succeeded ended=succeeded finished"); /* it had changed before */
    rig_done(&r);
}

static void each_reboot_is_counted_and_the_eleventh_is_refused(void **state)
{
    struct rig r;
    (void)state;
    rig_init(&r, 1);
    (void)rig_begin(&r);
    (void)rig_unchanged(&r);
    for (int i = 0; i < EXECUTOR_MAX_REBOOTS; i++) {
        EXPECT(rig_wants_reboot(&r), "rebooting0.1 reboot0.1!");
        EXPECT(rig_reboot(&r, r.record_count, 1), "hear30000!");
        (void)rig_confirmed(&r);
        assert_int_equal(r.operation.reboots, i + 1);
    }
    EXPECT(rig_wants_reboot(&r), "0=failed ended=failed+undo undoing undo0.1!");
    rig_done(&r);
}

static void a_server_in_the_same_boot_is_asked_again_and_in_the_end_the_step_fails(void **state)
{
    struct rig r;
    (void)state;
    rig_down(&r, 1);
    EXPECT(rig_restart(&r, r.record_count, 1), "reboot0.1!");
    EXPECT(rig_restart(&r, r.record_count, 2), "reboot0.1!");
    EXPECT(rig_restart(&r, r.record_count, 3), "0=failed ended=failed+undo undoing undo0.1!");
    assert_non_null(strstr(r.records[3].message, "asked to reboot 3 times"));
    rig_done(&r);
}

static void a_reboot_that_is_refused_is_asked_for_again_and_then_the_step_fails(void **state)
{
    struct rig r;
    (void)state;
    rig_down(&r, 1);
    EXPECT(rig_fails(&r, false), "wait10000");
    EXPECT(rig_timer(&r), "reboot0.1!");
    EXPECT(rig_fails(&r, false), "wait10000");
    EXPECT(rig_timer(&r), "reboot0.1!");
    EXPECT(rig_fails(&r, true), "0=failed ended=failed+undo undoing undo0.1!");
    assert_non_null(strstr(r.records[3].message, "it broke"));
    rig_done(&r);
}

static void asks_of_agents_and_of_refusals_count_together(void **state)
{
    struct rig r;
    (void)state;
    rig_down(&r, 1);
    EXPECT(rig_restart(&r, r.record_count, 2), "reboot0.1!");
    EXPECT(rig_fails(&r, false), "0=failed ended=failed+undo undoing undo0.1!");
    rig_done(&r);
}

static void
a_cancel_before_it_goes_down_lets_the_step_end_after_the_reboot_and_no_other_begin(void **state)
{
    struct rig r;
    (void)state;
    rig_down(&r, 2);
    EXPECT(rig_cancel(&r, false), "");
    EXPECT(rig_reboot(&r, r.record_count, 1), "hear30000!");
    EXPECT(rig_cancel(&r, false), ""); /* ordered again, as soon as there is a connection */
    EXPECT(rig_confirmed(&r), "nowait rebooted0.1 execute0.1!~1");
    EXPECT(rig_ok(&r), "0=succeeded ended=cancelled finished");
    rig_done(&r);
}

static void a_cancel_now_calls_the_reboot_off_when_it_still_can_be(void **state)
{
    struct rig r;
    (void)state;
    rig_down(&r, 2);
    EXPECT(rig_cancel(&r, true), "stop");
    EXPECT(rig_stopped(&r), "0=failed ended=cancelled finished");
    rig_done(&r);
}

static void a_cancel_now_that_comes_too_late_is_obeyed_on_return(void **state)
{
    struct rig r;
    (void)state;
    rig_down(&r, 2);
    EXPECT(rig_cancel(&r, true), "stop");
    EXPECT(rig_reboot(&r, r.record_count, 1), "hear30000!");
    EXPECT(rig_cancel(&r, true), "nowait 0=failed ended=cancelled finished");
    rig_done(&r);
}

static void a_refusal_after_a_cancel_now_is_the_end(void **state)
{
    struct rig r;
    (void)state;
    rig_down(&r, 2);
    EXPECT(rig_cancel(&r, true), "stop");
    EXPECT(rig_fails(&r, true), "0=failed ended=cancelled finished");
    rig_done(&r);
}

static void a_cancel_between_two_requests_ends_the_step(void **state)
{
    struct rig r;
    (void)state;
    rig_down(&r, 2);
    EXPECT(rig_fails(&r, false), "wait10000");
    EXPECT(rig_cancel(&r, false), "nowait 0=failed ended=cancelled finished");
    rig_done(&r);
}

static void an_undo_that_is_ordered_while_it_is_away_comes_after_the_return(void **state)
{
    struct rig r;
    (void)state;
    rig_down(&r, 2);
    EXPECT(rig_rollback(&r), "stop");
    EXPECT(rig_reboot(&r, r.record_count, 1), "hear30000!");
    EXPECT(rig_rollback(&r), "nowait 0=failed ended=cancelled+undo undoing undo0.1!");
    EXPECT(rig_ok(&r), "0=rolled_back over=rolled_back finished");
    rig_done(&r);
}

static void a_step_that_was_stopped_reboots_nothing(void **state)
{
    struct rig r;
    (void)state;
    rig_init(&r, 1);
    (void)rig_begin(&r);
    (void)rig_unchanged(&r);
    EXPECT(rig_cancel(&r, true), "stop");
    EXPECT(rig_wants_reboot(&r), "0=failed ended=cancelled finished");
    rig_done(&r);
}

static void an_agent_that_dies_before_the_return_is_on_record_is_back_still(void **state)
{
    struct rig r;
    (void)state;
    rig_down(&r, 1);
    EXPECT(rig_reboot(&r, r.record_count, 1), "hear30000!");
    EXPECT(rig_reboot(&r, r.record_count, 2), "hear30000!");
    EXPECT(rig_reboot(&r, r.record_count, EXECUTOR_MAX_CONFIRM_RESTARTS),
           "rebooted0.1 execute0.1!~1");
    rig_done(&r);
}

static void an_agent_that_dies_after_the_return_leaves_the_step_in_doubt(void **state)
{
    struct rig r;
    (void)state;
    rig_down(&r, 1);
    (void)rig_reboot(&r, r.record_count, 1);
    (void)rig_confirmed(&r);
    EXPECT(rig_reboot(&r, r.record_count, 1),
           "0=failed ended=failed+undo undoing undo0.1!"); /* not idempotent */
    rig_done(&r);
}

static void a_further_attempt_knows_of_the_reboots_before_it(void **state)
{
    struct rig r;
    (void)state;
    rig_init(&r, 1);
    r.traits[0].idempotent = true;
    (void)rig_begin(&r);
    (void)rig_unchanged(&r);
    EXPECT(rig_wants_reboot(&r), "rebooting0.1 reboot0.1!");
    (void)rig_reboot(&r, r.record_count, 1);
    (void)rig_confirmed(&r);
    EXPECT(rig_fails(&r, true), "retrying0.1 wait1000");
    EXPECT(rig_timer(&r), "begun0.2 execute0.2!~1");
    rig_done(&r);
}

static void records_that_make_no_sense_are_corrupt(void **state)
{
    static const struct executor_record records[][2] = {
        {{.type = REPORT_STARTED}, {.type = REPORT_STEP_REBOOTING, .attempt = 1}},
        {{.type = REPORT_STEP_STARTED, .attempt = 1}, {.type = REPORT_STEP_REBOOTED, .attempt = 1}},
        {{.type = REPORT_STEP_STARTED, .attempt = 1}, {.type = REPORT_STEP_REBOOTING, .step = 9}},
    };
    struct rig r;
    struct error err;
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        rig_init(&r, 1);
        rig_make(&r);
        assert_int_equal(executor_replay(r.x, &records[i][0], &err), ERR_OK);
        assert_int_equal(executor_replay(r.x, &records[i][1], &err), ERR_CORRUPT);
        rig_done(&r);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(after_a_reboot_the_same_attempt_runs_again_once_orders_can_be_heard),
        cmocka_unit_test(a_server_that_hears_nobody_goes_on_after_a_while),
        cmocka_unit_test(each_reboot_is_counted_and_the_eleventh_is_refused),
        cmocka_unit_test(a_server_in_the_same_boot_is_asked_again_and_in_the_end_the_step_fails),
        cmocka_unit_test(a_reboot_that_is_refused_is_asked_for_again_and_then_the_step_fails),
        cmocka_unit_test(asks_of_agents_and_of_refusals_count_together),
        cmocka_unit_test(
            a_cancel_before_it_goes_down_lets_the_step_end_after_the_reboot_and_no_other_begin),
        cmocka_unit_test(a_cancel_now_calls_the_reboot_off_when_it_still_can_be),
        cmocka_unit_test(a_cancel_now_that_comes_too_late_is_obeyed_on_return),
        cmocka_unit_test(a_refusal_after_a_cancel_now_is_the_end),
        cmocka_unit_test(a_cancel_between_two_requests_ends_the_step),
        cmocka_unit_test(an_undo_that_is_ordered_while_it_is_away_comes_after_the_return),
        cmocka_unit_test(a_step_that_was_stopped_reboots_nothing),
        cmocka_unit_test(an_agent_that_dies_before_the_return_is_on_record_is_back_still),
        cmocka_unit_test(an_agent_that_dies_after_the_return_leaves_the_step_in_doubt),
        cmocka_unit_test(a_further_attempt_knows_of_the_reboots_before_it),
        cmocka_unit_test(records_that_make_no_sense_are_corrupt),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
