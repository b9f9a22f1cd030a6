#include "unit/handlers/support_run.h"

#include "common/base/alloc.h"

#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void a_fraction_of_a_second_is_slept(void **state)
{
    (void)state;
    struct bed bed;
    bed_open(&bed);
    bed_run(&bed, "sleep", HANDLER_EXECUTE, "{\"duration\":0.15}");
    assert_int_equal(bed.result.outcome, HANDLER_OK);
    assert_false(bed.result.changed);
    assert_true(bed.duration_ms >= 149);
    assert_true(bed.duration_ms < 5000);
    bed_close(&bed);
}

static void sleeping_for_no_time_ends(void **state)
{
    (void)state;
    struct bed bed;
    bed_open(&bed);
    bed_run(&bed, "sleep", HANDLER_EXECUTE, "{\"duration\":0}");
    assert_int_equal(bed.result.outcome, HANDLER_OK);
    bed_close(&bed);
}

static void a_cancelled_sleep_ends_at_once(void **state)
{
    (void)state;
    struct bed bed;
    bed_open(&bed);
    bed.cancel_at = "";
    bed_run(&bed, "sleep", HANDLER_EXECUTE, "{\"duration\":\"1h\"}");
    assert_int_equal(bed.result.outcome, HANDLER_CANCELLED);
    assert_true(bed.duration_ms < 5000);
    bed_close(&bed);
}

static void keep_result(struct handler_run *run, const struct handler_result *result)
{
    struct bed *bed = run->ctx;
    bed->result = *result;
}

static void memory_running_out_fails_the_sleep(void **state)
{
    (void)state;
    struct bed bed;
    bed_open(&bed);
    struct sleep_params params = {.duration_ms = 1};
    struct handler_run run = {.host = &bed.host,
                              .handler = handler_find("sleep"),
                              .operation = HANDLER_EXECUTE,
                              .params = &params,
                              .done = keep_result,
                              .ctx = &bed};
    mem_fail_after(0);
    handler_start(&run);
    mem_fail_never();
    assert_int_equal(bed.result.outcome, HANDLER_FAILED);
    assert_true(bed.result.retryable);
    bed_close(&bed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_fraction_of_a_second_is_slept),
        cmocka_unit_test(sleeping_for_no_time_ends),
        cmocka_unit_test(a_cancelled_sleep_ends_at_once),
        cmocka_unit_test(memory_running_out_fails_the_sleep),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
