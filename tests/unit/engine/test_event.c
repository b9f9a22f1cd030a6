#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "orchestrator/engine/event.h"

#include <string.h>

static void every_type_has_a_name_of_its_own(void **state)
{
    (void)state;
    for (int a = 0; a < EVENT_TYPE_COUNT; a++) {
        assert_non_null(event_type_names[a]);
        for (int b = 0; b < a; b++)
            assert_string_not_equal(event_type_names[a], event_type_names[b]);
    }
    assert_string_equal(event_type_names[EVENT_STEP_ENDED], "step_ended");
}

static void commands_reports_and_timers_are_inputs_and_notes_are_not(void **state)
{
    (void)state;
    for (int type = 0; type < EVENT_TYPE_COUNT; type++)
        assert_int_equal(event_is_input((enum event_type)type), type < EVENT_ROLLOUT_STARTED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_type_has_a_name_of_its_own),
        cmocka_unit_test(commands_reports_and_timers_are_inputs_and_notes_are_not),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
