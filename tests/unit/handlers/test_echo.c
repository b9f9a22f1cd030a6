#include "unit/handlers/support_run.h"

#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void echo_prints_its_message_and_a_newline(void **state)
{
    (void)state;
    struct bed bed;
    bed_open(&bed);
    bed_run(&bed, "echo", HANDLER_EXECUTE, "{\"message\":\"hello\\nthere\"}");
    assert_int_equal(bed.result.outcome, HANDLER_OK);
    assert_false(bed.result.changed);
    assert_string_equal(bed.output.data, "hello\nthere\n");
    bed_run(&bed, "echo", HANDLER_PREPARE, "{\"message\":\"x\"}");
    assert_int_equal(bed.result.outcome, HANDLER_OK);
    bed_run(&bed, "echo", HANDLER_ROLLBACK, "{\"message\":\"x\"}");
    assert_int_equal(bed.result.outcome, HANDLER_OK);
    assert_int_equal(bed.output.len, 0);
    bed_close(&bed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(echo_prints_its_message_and_a_newline),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
