/* Steps that are not to be carried out on this server. */
#include "unit/agent/support_executor.h"

#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static const char *skips(struct rig *r)
{
    return rig_over(r, (struct executor_result){
                           .outcome = EXECUTOR_OK, .skipped = true, .message = "not here"});
}

static void the_next_step_begins_and_the_execution_succeeds(void **state)
{
    struct rig r;
    (void)state;
    rig_init(&r, 3);
    EXPECT(rig_begin(&r), "started prepare0.1");
    EXPECT(skips(&r), "0=skipped prepare1.1");
    EXPECT(r.records[1].message, "not here");
    assert_int_equal(r.records[1].attempt, 0);
    EXPECT(rig_ok(&r), "begun1.1 execute1.1!");
    EXPECT(rig_ok(&r), "1=succeeded prepare2.1");
    EXPECT(skips(&r), "2=skipped ended=succeeded finished");
    rig_done(&r);
}

static void there_is_nothing_of_it_to_undo(void **state)
{
    struct rig r;
    (void)state;
    rig_init(&r, 3);
    (void)rig_begin(&r);
    (void)skips(&r);
    (void)rig_ok(&r);
    (void)rig_ok(&r);
    (void)skips(&r);
    EXPECT(rig_rollback(&r), "undoing undo1.1!");
    EXPECT(rig_ok(&r), "1=rolled_back over=rolled_back finished");
    rig_done(&r);
}

static void it_stays_skipped_after_a_restart(void **state)
{
    struct rig r;
    (void)state;
    rig_init(&r, 2);
    (void)rig_begin(&r);
    (void)skips(&r);
    EXPECT(rig_restart(&r, 2, 1), "prepare1.1!");
    EXPECT(rig_ok(&r), "begun1.1 execute1.1!");
    EXPECT(rig_ok(&r), "1=succeeded ended=succeeded finished");
    rig_done(&r);
}

static void a_check_skips_it_too_and_nothing_depends_on_it(void **state)
{
    struct rig r;
    (void)state;
    rig_init(&r, 2);
    r.check = true;
    EXPECT(rig_begin(&r), "started check0.1");
    EXPECT(skips(&r), "0=skipped check1.1");
    EXPECT(rig_fails(&r, false), "1=failed ended=failed finished");
    rig_done(&r);
}

static void cancelled_meanwhile_the_execution_is_cancelled(void **state)
{
    struct rig r;
    (void)state;
    rig_init(&r, 2);
    (void)rig_begin(&r);
    (void)rig_cancel(&r, false);
    EXPECT(skips(&r), "ended=cancelled finished");
    rig_done(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_next_step_begins_and_the_execution_succeeds),
        cmocka_unit_test(there_is_nothing_of_it_to_undo),
        cmocka_unit_test(it_stays_skipped_after_a_restart),
        cmocka_unit_test(a_check_skips_it_too_and_nothing_depends_on_it),
        cmocka_unit_test(cancelled_meanwhile_the_execution_is_cancelled),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
