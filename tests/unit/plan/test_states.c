#include "common/plan/states.h"

#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void assert_names(const char *const *names, int count)
{
    for (int i = 0; i < count; i++) {
        assert_non_null(names[i]);
        for (int before = 0; before < i; before++)
            assert_string_not_equal(names[before], names[i]);
    }
}

static void every_state_has_a_name_of_its_own(void **state)
{
    (void)state;
    assert_names(rollout_state_names, ROLLOUT_STATE_COUNT);
    assert_names(execution_state_names, EXECUTION_STATE_COUNT);
    assert_names(step_state_names, STEP_STATE_COUNT);
    assert_names(report_type_names, REPORT_TYPE_COUNT);
}

static void names_stand_at_their_states(void **state)
{
    (void)state;
    assert_string_equal(rollout_state_names[ROLLOUT_ROLLING_BACK], "rolling_back");
    assert_string_equal(execution_state_names[EXECUTION_UNREACHABLE], "unreachable");
    assert_string_equal(step_state_names[STEP_TIMED_OUT], "timed_out");
    assert_string_equal(report_type_names[REPORT_STEP_ROLLED_BACK], "step_rolled_back");
}

static void only_ended_rollouts_are_final(void **state)
{
    (void)state;
    static const char *const ended[] = {"succeeded", "failed", "cancelled", "rolled_back",
                                        "rollback_failed"};
    for (int i = 0; i < ROLLOUT_STATE_COUNT; i++) {
        bool expected = false;
        for (size_t j = 0; j < sizeof(ended) / sizeof(ended[0]); j++)
            expected = expected || strcmp(rollout_state_names[i], ended[j]) == 0;
        assert_int_equal(rollout_state_final((enum rollout_state)i), expected);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_state_has_a_name_of_its_own),
        cmocka_unit_test(names_stand_at_their_states),
        cmocka_unit_test(only_ended_rollouts_are_final),
    };
    return cmocka_run_group_tests_name("states", tests, NULL, NULL);
}
