#include "common/base/alloc.h"
#include "unit/handlers/support_run.h"

#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static bool required;

static void need_add(void *ctx, const char *what)
{
    (void)ctx;
    (void)what;
}

static bool need_get(void *ctx, struct buf *why)
{
    (void)ctx;
    if (required)
        buf_puts(why, "glibc, kernel");
    return required;
}

static const struct reboot_need need = {NULL, need_add, need_get};

static void it_is_wanted_with_its_time_and_its_reason(void **state)
{
    (void)state;
    struct bed bed;
    bed_open(&bed);
    bed_run(&bed, "reboot", HANDLER_PREPARE, "{}");
    bed_run(&bed, "reboot", HANDLER_EXECUTE, "{\"timeout\":\"15m\",\"message\":\"a new kernel\"}");
    assert_int_equal(bed.result.outcome, HANDLER_OK);
    assert_true(bed.result.reboot);
    assert_int_equal(bed.result.away_ms, 15 * 60 * 1000);
    assert_string_equal(bed.result.message, "a new kernel");
    bed_run(&bed, "reboot", HANDLER_EXECUTE, "{}");
    assert_int_equal(bed.result.away_ms, 10 * 60 * 1000);
    bed_close(&bed);
}

static void after_it_there_is_nothing_left_to_do(void **state)
{
    (void)state;
    struct bed bed;
    bed_open(&bed);
    bed.reboots = 1;
    bed_run(&bed, "reboot", HANDLER_EXECUTE, "{\"delay\":\"1h\"}");
    assert_int_equal(bed.result.outcome, HANDLER_OK);
    assert_false(bed.result.reboot);
    assert_true(bed.result.changed);
    bed_run(&bed, "reboot", HANDLER_ROLLBACK, "{}");
    assert_int_equal(bed.result.outcome, HANDLER_OK);
    assert_false(bed.result.reboot);
    assert_non_null(strstr(bed.result.message, "nothing to undo"));
    bed_close(&bed);
}

static void a_delay_comes_first_and_can_be_cut_short(void **state)
{
    (void)state;
    struct bed bed;
    bed_open(&bed);
    bed_run(&bed, "reboot", HANDLER_EXECUTE, "{\"delay\":0.15}");
    assert_true(bed.result.reboot);
    assert_true(bed.duration_ms >= 149);
    bed.cancel_at = "";
    bed_run(&bed, "reboot", HANDLER_EXECUTE, "{\"delay\":\"1h\"}");
    assert_int_equal(bed.result.outcome, HANDLER_CANCELLED);
    assert_false(bed.result.reboot);
    bed_close(&bed);
}

static void only_if_required_it_is_left_out_otherwise(void **state)
{
    (void)state;
    struct bed bed;
    bed_open(&bed);
    bed_run(&bed, "reboot", HANDLER_EXECUTE, "{\"onlyIfRequired\":true}"); /* nobody knows */
    assert_false(bed.result.reboot);
    bed.host.reboot_need = &need;
    required = false;
    bed_run(&bed, "reboot", HANDLER_EXECUTE, "{\"onlyIfRequired\":true}");
    assert_int_equal(bed.result.outcome, HANDLER_OK);
    assert_false(bed.result.reboot);
    assert_false(bed.result.changed);
    assert_string_equal(bed.result.message, "no reboot is required");
    required = true;
    bed_run(&bed, "reboot", HANDLER_EXECUTE, "{\"onlyIfRequired\":true}");
    assert_true(bed.result.reboot);
    bed_close(&bed);
}

static void a_check_says_whether_it_would(void **state)
{
    (void)state;
    struct bed bed;
    bed_open(&bed);
    bed.host.reboot_need = &need;
    bed_run(&bed, "reboot", HANDLER_CHECK, "{}");
    assert_true(bed.result.changed);
    assert_string_equal(bed.result.message, "would reboot the server");
    required = false;
    bed_run(&bed, "reboot", HANDLER_CHECK, "{\"onlyIfRequired\":true}");
    assert_false(bed.result.changed);
    bed.depends_name = "patch";
    bed_run(&bed, "reboot", HANDLER_CHECK, "{\"onlyIfRequired\":true}");
    assert_true(bed.result.changed);
    assert_non_null(strstr(bed.result.message, "step patch"));
    required = true;
    bed_run(&bed, "reboot", HANDLER_CHECK, "{\"onlyIfRequired\":true}");
    assert_string_equal(bed.result.message, "would reboot the server: glibc, kernel");
    bed_close(&bed);
}

static void keep_result(struct handler_run *run, const struct handler_result *result)
{
    struct bed *bed = run->ctx;
    bed->result = *result;
}

static void memory_running_out_fails_the_delay(void **state)
{
    (void)state;
    struct bed bed;
    bed_open(&bed);
    struct reboot_params params = {.delay_ms = 1};
    struct handler_run run = {.host = &bed.host,
                              .handler = handler_find("reboot"),
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
        cmocka_unit_test(it_is_wanted_with_its_time_and_its_reason),
        cmocka_unit_test(after_it_there_is_nothing_left_to_do),
        cmocka_unit_test(a_delay_comes_first_and_can_be_cut_short),
        cmocka_unit_test(only_if_required_it_is_left_out_otherwise),
        cmocka_unit_test(a_check_says_whether_it_would),
        cmocka_unit_test(memory_running_out_fails_the_delay),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
