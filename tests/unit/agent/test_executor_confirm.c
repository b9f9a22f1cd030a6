#include "unit/agent/support_executor.h"

#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* ---- Confirmation ------------------------------------------------------------------------ */

static void reach_confirmation(struct rig *r)
{
    rig_init(r, 1);
    r->confirm_ms = 5000;
    r->rollback_on_failure = false;
    (void)rig_begin(r);
    (void)rig_ok(r);
    EXPECT(rig_ok(r), "0=succeeded confirming confirm5000!");
    assert_int_equal(rig_last(r)->state, EXECUTION_RUNNING);
}

static void what_is_to_be_confirmed_succeeds_only_then(void **state)
{
    (void)state;
    struct rig r;
    reach_confirmation(&r);
    EXPECT(rig_confirmed(&r), "nowait ended=succeeded finished");
    EXPECT(rig_confirmed(&r), "");
    EXPECT(rig_rollback(&r), "undoing undo0.1!");
    rig_done(&r);
}

static void what_is_not_confirmed_in_time_is_undone_whatever_the_plan_says(void **state)
{
    (void)state;
    struct rig r;
    reach_confirmation(&r);
    EXPECT(rig_timer(&r), "ended=failed+undo undoing undo0.1!");
    assert_string_equal(
        r.records[r.record_count - 2].message,
        "not confirmed within 5 s: the orchestrator's answer did not come over a new connection");
    EXPECT(rig_confirmed(&r), ""); /* too late */
    EXPECT(rig_ok(&r), "0=rolled_back over=rolled_back finished");
    rig_done(&r);
}

static void a_cancel_ends_the_wait_for_the_confirmation(void **state)
{
    (void)state;
    struct rig r;
    reach_confirmation(&r);
    EXPECT(rig_cancel(&r, false), "nowait ended=cancelled finished");
    assert_string_equal(rig_last(&r)->message, "cancelled before it was confirmed");
    rig_done(&r);
}

static void a_rollback_ends_the_wait_for_the_confirmation(void **state)
{
    (void)state;
    struct rig r;
    reach_confirmation(&r);
    EXPECT(rig_order(&r, 1, true), "nowait ended=cancelled+undo undoing+force undo0.1!+force");
    EXPECT(rig_ok(&r), "0=rolled_back over=rolled_back finished");
    rig_done(&r);
}

static void the_wait_for_the_confirmation_begins_anew_after_a_restart(void **state)
{
    (void)state;
    struct rig r;
    uint32_t step;
    reach_confirmation(&r);
    EXPECT(rig_restart(&r, r.record_count, 1), "confirm5000!");
    assert_false(executor_interrupted(r.x, &step));
    EXPECT(rig_restart(&r, r.record_count, EXECUTOR_MAX_CONFIRM_RESTARTS - 1), "confirm5000!");
    EXPECT(rig_confirmed(&r), "nowait ended=succeeded finished");
    rig_done(&r);
    /* The end of the last step alone was durable. */
    reach_confirmation(&r);
    EXPECT(rig_restart(&r, r.record_count - 1, 1), "confirming confirm5000!");
    rig_done(&r);
}

static void a_server_that_restarts_again_and_again_does_not_wait_for_ever(void **state)
{
    (void)state;
    struct rig r;
    reach_confirmation(&r);
    EXPECT(rig_restart(&r, r.record_count, EXECUTOR_MAX_CONFIRM_RESTARTS),
           "ended=failed+undo undoing undo0.1!");
    assert_string_equal(r.records[r.record_count - 2].message,
                        "not confirmed: the agent was started 10 times while it waited");
    rig_done(&r);
}

static void what_is_to_be_undone_anyway_need_not_be_confirmed(void **state)
{
    (void)state;
    struct rig r;
    rig_init(&r, 1);
    r.confirm_ms = 5000;
    (void)rig_begin(&r);
    (void)rig_ok(&r);
    (void)rig_rollback(&r);
    EXPECT(rig_ok(&r), "0=succeeded ended=succeeded undoing undo0.1!");
    rig_done(&r);
}

static void what_failed_is_not_to_be_confirmed(void **state)
{
    (void)state;
    struct rig r;
    rig_init(&r, 1);
    r.confirm_ms = 5000;
    (void)rig_begin(&r);
    (void)rig_ok(&r);
    EXPECT(rig_fails(&r, false), "0=failed ended=failed+undo undoing undo0.1!");
    rig_done(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_to_be_confirmed_succeeds_only_then),
        cmocka_unit_test(what_is_not_confirmed_in_time_is_undone_whatever_the_plan_says),
        cmocka_unit_test(a_cancel_ends_the_wait_for_the_confirmation),
        cmocka_unit_test(a_rollback_ends_the_wait_for_the_confirmation),
        cmocka_unit_test(the_wait_for_the_confirmation_begins_anew_after_a_restart),
        cmocka_unit_test(a_server_that_restarts_again_and_again_does_not_wait_for_ever),
        cmocka_unit_test(what_is_to_be_undone_anyway_need_not_be_confirmed),
        cmocka_unit_test(what_failed_is_not_to_be_confirmed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
