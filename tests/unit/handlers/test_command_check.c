#include "unit/handlers/support_run.h"

#include "common/base/alloc.h"

#include <stdio.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* Runs `sh -c TEXT`; the text may hold no quotes of JSON's. */
static void check(struct bed *bed, const char *text, const char *params)
{
    struct buf b = BUF_INIT;
    buf_printf(&b, "{\"command\":\"sh\",\"args\":[\"-c\",\"%s\"],\"interval\":0.05%s}", text,
               params);
    assert_int_equal(buf_check(&b, NULL), ERR_OK);
    bed_run(bed, "command_check", HANDLER_EXECUTE, b.data);
    buf_done(&b);
}

static void exit_status_0_is_healthy(void **state)
{
    (void)state;
    struct bed bed;
    bed_open(&bed);
    check(&bed, "echo all is well", "");
    assert_int_equal(bed.result.outcome, HANDLER_OK);
    assert_false(bed.result.changed);
    assert_string_equal(bed.result.message, "healthy: exit status 0");
    assert_ptr_equal(strstr(bed.output.data, "all is well\nprobe 1: healthy: exit status 0 ("),
                     bed.output.data);
    bed_close(&bed);
}

static void another_exit_status_is_unhealthy(void **state)
{
    (void)state;
    struct bed bed;
    bed_open(&bed);
    check(&bed, "exit 2", "");
    assert_int_equal(bed.result.outcome, HANDLER_FAILED);
    assert_false(bed.result.retryable);
    assert_string_equal(bed.result.message,
                        "unhealthy: 3 probes in a row failed, the last: exit status 2");
    check(&bed, "kill -9 $$", ",\"failureThreshold\":1");
    assert_string_equal(bed.result.message, "unhealthy: killed by signal 9 (KILL)");
    bed_close(&bed);
}

static void it_is_run_until_it_is_healthy(void **state)
{
    (void)state;
    struct bed bed;
    char text[PATH_MAX];
    bed_open(&bed);
    (void)snprintf(text, sizeof(text), "echo x >> %s; [ $(wc -l < %s) -ge 3 ]", bed_path(&bed, "n"),
                   bed_path(&bed, "n"));
    check(&bed, text, ",\"successThreshold\":2");
    assert_int_equal(bed.result.outcome, HANDLER_OK);
    assert_string_equal(bed.result.message, "healthy after 4 probes: exit status 0");
    bed_close(&bed);
}

static void the_environment_says_what_runs(void **state)
{
    (void)state;
    struct bed bed;
    bed_open(&bed);
    check(&bed, "echo $KITSUNE_ROLLOUT $KITSUNE_STEP $KITSUNE_PHASE", "");
    assert_ptr_equal(strstr(bed.output.data, "rollout-1 one execute\n"), bed.output.data);
    bed_close(&bed);
}

/* support_run sees to it that nothing is left of what it started. */
static void a_command_that_hangs_is_ended_and_unhealthy(void **state)
{
    (void)state;
    struct bed bed;
    bed_open(&bed);
    check(&bed, "setsid sleep 1000 & sleep 1000", ",\"timeout\":0.3,\"failureThreshold\":2");
    assert_int_equal(bed.result.outcome, HANDLER_FAILED);
    assert_string_equal(bed.result.message,
                        "unhealthy: 2 probes in a row failed, the last: no answer within 300ms");
    assert_true(bed.duration_ms >= 600);
    assert_true(bed.duration_ms < 20000);
    bed_close(&bed);
}

static void cancelling_ends_the_command(void **state)
{
    (void)state;
    struct bed bed;
    bed_open(&bed);
    bed.cancel_at = "ready";
    check(&bed, "echo ready; sleep 1000", ",\"timeout\":3600");
    assert_int_equal(bed.result.outcome, HANDLER_CANCELLED);
    assert_true(bed.duration_ms < 20000);
    bed.cancel_at = "probe 1";
    check(&bed, "true", ",\"successThreshold\":1000");
    assert_int_equal(bed.result.outcome, HANDLER_CANCELLED);
    bed.cancel_at = "";
    check(&bed, "sleep 1000", ",\"timeout\":3600");
    assert_int_equal(bed.result.outcome, HANDLER_CANCELLED);
    bed_close(&bed);
}

static void a_missing_program_fails_for_good(void **state)
{
    (void)state;
    struct bed bed;
    bed_open(&bed);
    bed_run(&bed, "command_check", HANDLER_EXECUTE, "{\"command\":\"/no/such/program\"}");
    assert_int_equal(bed.result.outcome, HANDLER_FAILED);
    assert_false(bed.result.retryable);
    assert_string_equal(bed.result.message, "/no/such/program: no such program");
    bed_close(&bed);
}

static void there_is_nothing_to_prepare_or_undo(void **state)
{
    (void)state;
    static const enum handler_operation operations[] = {HANDLER_PREPARE, HANDLER_ROLLBACK};
    struct bed bed;
    bed_open(&bed);
    for (size_t i = 0; i < 2; i++) {
        bed_run(&bed, "command_check", operations[i], "{\"command\":\"false\"}");
        assert_int_equal(bed.result.outcome, HANDLER_OK);
    }
    bed_close(&bed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(exit_status_0_is_healthy),
        cmocka_unit_test(another_exit_status_is_unhealthy),
        cmocka_unit_test(it_is_run_until_it_is_healthy),
        cmocka_unit_test(the_environment_says_what_runs),
        cmocka_unit_test(a_command_that_hangs_is_ended_and_unhealthy),
        cmocka_unit_test(cancelling_ends_the_command),
        cmocka_unit_test(a_missing_program_fails_for_good),
        cmocka_unit_test(there_is_nothing_to_prepare_or_undo),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
