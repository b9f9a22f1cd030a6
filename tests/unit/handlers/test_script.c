#include "unit/handlers/support_run.h"

#include "common/base/alloc.h"
#include "common/base/cleanup.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* Runs `sh -c TEXT`; the text may hold no quotes of JSON's. */
static void run_shell(struct bed *bed, const char *text)
{
    struct buf params = BUF_INIT;
    buf_printf(&params, "{\"script\":\"sh\",\"args\":[\"-c\",\"%s\"]}", text);
    assert_int_equal(buf_check(&params, NULL), ERR_OK);
    bed_run(bed, "script", HANDLER_EXECUTE, params.data);
    buf_done(&params);
}

static void both_streams_come_in_the_order_written(void **state)
{
    (void)state;
    struct bed bed;
    bed_open(&bed);
    run_shell(&bed, "echo 1; echo 2 >&2; echo 3; echo 4 >&2; printf 5");
    assert_int_equal(bed.result.outcome, HANDLER_OK);
    assert_true(bed.result.changed);
    assert_true(bed.result.has_exit_code);
    assert_int_equal(bed.result.exit_code, 0);
    assert_string_equal(bed.output.data, "1\n2\n3\n4\n5");
    bed_close(&bed);
}

static void arguments_arrive_as_they_are(void **state)
{
    (void)state;
    struct bed bed;
    bed_open(&bed);
    bed_run(&bed, "script", HANDLER_EXECUTE,
            "{\"script\":\"printf\",\"args\":[\"<%s>\",\"a b\",\"\",\"$HOME\",\"*\",\"\\\"\"]}");
    assert_int_equal(bed.result.outcome, HANDLER_OK);
    assert_string_equal(bed.output.data, "<a b><><$HOME><*><\">");
    bed_close(&bed);
}

static void the_environment_says_what_runs(void **state)
{
    (void)state;
    struct bed bed;
    struct buf expected = BUF_INIT;
    bed_open(&bed);
    bed.step = "the step's name";
    bed.attempt = 3;
    run_shell(&bed, "echo $KITSUNE_SERVER_ID; echo $KITSUNE_ROLLOUT; echo $KITSUNE_STEP;"
                    "echo $KITSUNE_ATTEMPT; echo $KITSUNE_PHASE; pwd");
    buf_printf(&expected, "%s\nrollout-1\nthe step's name\n3\nexecute\n/\n", bed.host.server_id);
    assert_string_equal(bed.output.data, expected.data);
    buf_done(&expected);
    bed_close(&bed);
}

static void standard_input_is_empty(void **state)
{
    (void)state;
    struct bed bed;
    bed_open(&bed);
    run_shell(&bed, "cat; echo over");
    assert_string_equal(bed.output.data, "over\n");
    bed_close(&bed);
}

static void no_descriptor_of_the_agent_is_inherited(void **state)
{
    (void)state;
    struct bed bed;
    bed_open(&bed);
    int careless = dup(STDIN_FILENO);
    assert_true(careless > STDERR_FILENO);
    /* The fourth is the folder that ls itself reads. */
    bed_run(&bed, "script", HANDLER_EXECUTE, "{\"script\":\"ls\",\"args\":[\"/proc/self/fd\"]}");
    assert_string_equal(bed.output.data, "0\n1\n2\n3\n");
    assert_int_equal(close(careless), 0);
    bed_close(&bed);
}

static void another_exit_status_than_zero_fails(void **state)
{
    (void)state;
    struct bed bed;
    bed_open(&bed);
    run_shell(&bed, "exit 3");
    assert_int_equal(bed.result.outcome, HANDLER_FAILED);
    assert_true(bed.result.has_exit_code);
    assert_int_equal(bed.result.exit_code, 3);
    assert_string_equal(bed.result.message, "exit status 3");
    assert_true(bed.result.retryable);
    bed_close(&bed);
}

static void exit_status_194_wants_a_reboot_and_says_how_many_there_were(void **state)
{
    (void)state;
    struct bed bed;
    bed_open(&bed);
    bed.reboots = 2;
    run_shell(&bed, "echo $KITSUNE_REBOOTS; exit 194");
    assert_int_equal(bed.result.outcome, HANDLER_OK);
    assert_true(bed.result.reboot);
    assert_true(bed.result.changed);
    assert_int_equal(bed.result.exit_code, 194);
    assert_string_equal(bed.output.data, "2\n");
    run_shell(&bed, "exit 0");
    assert_false(bed.result.reboot);
    bed_close(&bed);
}

static void exit_status_194_is_another_matter_elsewhere(void **state)
{
    (void)state;
    struct bed bed;
    bed_open(&bed);
    bed_run(&bed, "script", HANDLER_EXECUTE,
            "{\"inline\":\"exit 194\",\"successExitCodes\":[0,194]}");
    assert_int_equal(bed.result.outcome, HANDLER_OK);
    assert_false(bed.result.reboot);
    bed_run(&bed, "script", HANDLER_ROLLBACK,
            "{\"inline\":\"true\",\"rollbackInline\":\"exit 194\"}");
    assert_int_equal(bed.result.outcome, HANDLER_FAILED);
    assert_false(bed.result.reboot);
    bed_run(&bed, "script", HANDLER_CHECK, "{\"inline\":\"true\",\"checkInline\":\"exit 194\"}");
    assert_int_equal(bed.result.outcome, HANDLER_OK);
    assert_false(bed.result.reboot);
    bed_close(&bed);
}

static void a_signal_fails_and_is_named(void **state)
{
    (void)state;
    struct bed bed;
    bed_open(&bed);
    run_shell(&bed, "kill -9 $$");
    assert_int_equal(bed.result.outcome, HANDLER_FAILED);
    assert_false(bed.result.has_exit_code);
    assert_string_equal(bed.result.message, "killed by signal 9 (KILL)");
    bed_close(&bed);
}

static void a_missing_program_fails_for_good(void **state)
{
    (void)state;
    struct bed bed;
    bed_open(&bed);
    bed_run(&bed, "script", HANDLER_EXECUTE, "{\"script\":\"/no/such/program\"}");
    assert_int_equal(bed.result.outcome, HANDLER_FAILED);
    assert_false(bed.result.retryable);
    assert_string_equal(bed.result.message, "/no/such/program: no such program");
    bed_close(&bed);
}

static void what_is_no_program_is_said_to_be_none(void **state)
{
    (void)state;
    struct bed bed;
    char params[PATH_MAX];
    bed_open(&bed);
    const char *path = bed_path(&bed, "text");
    bed_write(path, "just a text\n");
    (void)snprintf(params, sizeof(params), "{\"script\":\"%s\"}", path);
    bed_run(&bed, "script", HANDLER_EXECUTE, params);
    assert_int_equal(bed.result.outcome, HANDLER_FAILED);
    assert_non_null(strstr(bed.result.message, "not allowed to run it"));
    assert_int_equal(chmod(path, 0755), 0);
    bed_run(&bed, "script", HANDLER_EXECUTE, params);
    assert_int_equal(bed.result.outcome, HANDLER_FAILED);
    assert_non_null(strstr(bed.result.message, "not a program"));
    bed_write(path, "#!/no/such/interpreter\n");
    bed_run(&bed, "script", HANDLER_EXECUTE, params);
    assert_int_equal(bed.result.outcome, HANDLER_FAILED);
    assert_non_null(strstr(bed.result.message, "interpreter"));
    bed_close(&bed);
}

static void a_cancelled_script_is_ended(void **state)
{
    (void)state;
    struct bed bed;
    bed_open(&bed);
    bed.cancel_at = "ready";
    run_shell(&bed, "echo ready; sleep 1000");
    assert_int_equal(bed.result.outcome, HANDLER_CANCELLED);
    assert_true(bed.duration_ms < 10000);
    bed_close(&bed);
}

static void cancelling_before_the_program_does_anything_ends_it(void **state)
{
    (void)state;
    struct bed bed;
    bed_open(&bed);
    bed.cancel_at = "";
    run_shell(&bed, "sleep 1000");
    assert_int_equal(bed.result.outcome, HANDLER_CANCELLED);
    assert_true(bed.duration_ms < 10000);
    bed_close(&bed);
}

static void a_script_that_ignores_term_is_killed_after_the_grace_time(void **state)
{
    (void)state;
    struct bed bed;
    bed_open(&bed);
    bed.cancel_at = "ready";
    run_shell(&bed, "trap '' TERM; echo ready; while :; do sleep 1000; done");
    assert_int_equal(bed.result.outcome, HANDLER_CANCELLED);
    assert_true(bed.duration_ms >= bed.host.kill_grace_ms);
    assert_true(bed.duration_ms < 10000);
    bed_close(&bed);
}

static void a_script_may_tidy_up_on_term(void **state)
{
    (void)state;
    struct bed bed;
    bed_open(&bed);
    bed.host.kill_grace_ms = 60000;
    bed.cancel_at = "ready";
    run_shell(&bed, "trap 'echo tidied; exit 0' TERM; echo ready; while :; do sleep 0.01; done");
    assert_int_equal(bed.result.outcome, HANDLER_CANCELLED);
    assert_non_null(strstr(bed.output.data, "\ntidied\n"));
    assert_true(bed.duration_ms < 10000);
    bed_close(&bed);
}

static void a_stopped_script_is_ended(void **state)
{
    (void)state;
    struct bed bed;
    bed_open(&bed);
    bed.host.kill_grace_ms = 60000;
    bed.cancel_at = "ready";
    run_shell(&bed, "echo ready; kill -STOP $$; echo went on");
    assert_int_equal(bed.result.outcome, HANDLER_CANCELLED);
    assert_true(bed.duration_ms < 10000);
    bed_close(&bed);
}

/* The grandchild is in a session of its own, its parent is gone, and it holds the output open. */
static void a_grandchild_that_got_away_and_holds_the_output_is_gone(void **state)
{
    (void)state;
    struct bed bed;
    bed_open(&bed);
    run_shell(&bed, "(setsid sh -c 'trap : TERM; while :; do sleep 1000; done' &) ; echo left");
    assert_int_equal(bed.result.outcome, HANDLER_OK);
    assert_memory_equal(bed.output.data, "left\n", strlen("left\n"));
    assert_true(bed.duration_ms >= bed.host.kill_grace_ms);
    assert_true(bed.duration_ms < 10000);
    bed_close(&bed);
}

static void a_grandchild_that_closed_its_output_is_gone(void **state)
{
    (void)state;
    struct bed bed;
    bed_open(&bed);
    run_shell(&bed, "setsid sleep 1000 >/dev/null 2>&1 & exit 7");
    assert_int_equal(bed.result.outcome, HANDLER_FAILED);
    assert_int_equal(bed.result.exit_code, 7);
    assert_true(bed.duration_ms < 10000);
    bed_close(&bed);
}

/* A zombie that its new parent has yet to reap does not live. */
static bool lives(long pid)
{
    char path[64];
    (void)snprintf(path, sizeof(path), "/proc/%ld/stat", pid);
    AUTO_FREE char *text = bed_read(path);
    if (!text || text[0] == '\0')
        return false;
    const char *process = strrchr(text, ')');
    return process[2] != 'Z' && process[2] != 'X'; /* one that is reaped, or just being reaped */
}

/* It keeps neither the mark nor the session; what its parent is tells that it belongs. */
static void a_child_that_dropped_the_mark_is_gone(void **state)
{
    (void)state;
    struct bed bed;
    char pid_path[PATH_MAX], text[PATH_MAX + 200];
    bed_open(&bed);
    bed.cancel_at = "ready";
    (void)snprintf(pid_path, sizeof(pid_path), "%s/pid", bed.dir);
    (void)snprintf(text, sizeof(text),
                   "setsid -f sh -c 'env -i setsid sh -c \\\"echo \\\\$\\\\$ >%s; echo ready;"
                   " exec sleep 1000\\\"; :' ; exec sleep 1000",
                   pid_path);
    run_shell(&bed, text);
    assert_int_equal(bed.result.outcome, HANDLER_CANCELLED);
    char *pid = bed_read(pid_path);
    assert_non_null(pid);
    assert_false(lives(strtol(pid, NULL, 10)));
    mem_free(pid);
    bed_close(&bed);
}

static void what_a_short_lived_helper_prints_late_is_kept(void **state)
{
    (void)state;
    struct bed bed;
    bed_open(&bed);
    bed.host.kill_grace_ms = 60000;
    run_shell(&bed, "(sleep 0.1; echo late) & echo early");
    assert_int_equal(bed.result.outcome, HANDLER_OK);
    assert_string_equal(bed.output.data, "early\nlate\n");
    assert_true(bed.duration_ms < 30000);
    bed_close(&bed);
}

static void a_tree_that_keeps_forking_is_ended(void **state)
{
    (void)state;
    struct bed bed;
    bed_open(&bed);
    bed.cancel_at = "ready";
    /* Each hands over to a fresh one in a session of its own, ten at a time; TERM is ignored.
     * Bounded, so that a failure of this test leaves no storm behind. */
    bed_write(bed_path(&bed, "hop"), "trap '' TERM\nsleep 0.02\n"
                                     "[ $1 -lt 1000 ] && exec setsid -f sh \"$0\" $(($1 + 1))\n");
    char text[PATH_MAX];
    (void)snprintf(text, sizeof(text),
                   "for i in 1 2 3 4 5 6 7 8 9 10; do setsid -f sh %s/hop 0; done; echo ready;"
                   " sleep 1000",
                   bed.dir);
    run_shell(&bed, text);
    assert_int_equal(bed.result.outcome, HANDLER_CANCELLED);
    assert_true(bed.duration_ms < 30000);
    bed_close(&bed);
}

static long peak_memory_kib(void)
{
    char *status = bed_read("/proc/self/status");
    const char *line = strstr(status, "VmHWM:");
    assert_non_null(line);
    long kib = strtol(line + 6, NULL, 10);
    mem_free(status);
    return kib;
}

static void much_output_takes_no_memory(void **state)
{
    (void)state;
    struct bed bed;
    bed_open(&bed);
    run_shell(&bed, "head -c 4000000 /dev/zero");
    long before = peak_memory_kib();
    run_shell(&bed, "head -c 100000000 /dev/zero");
    assert_int_equal(bed.result.outcome, HANDLER_OK);
    assert_int_equal(bed.output_bytes, 100000000);
    assert_true(peak_memory_kib() - before < 16L * 1024);
    bed_close(&bed);
}

static size_t open_descriptors(void)
{
    size_t count = 0;
    DIR *dir = opendir("/proc/self/fd");
    assert_non_null(dir);
    while (readdir(dir))
        count++;
    assert_int_equal(closedir(dir), 0);
    return count;
}

static void many_runs_leave_no_descriptor_open(void **state)
{
    (void)state;
    struct bed bed;
    bed_open(&bed);
    run_shell(&bed, "(sleep 0.01 &); true");
    bed_run(&bed, "script", HANDLER_EXECUTE, "{\"script\":\"/no/such/program\"}");
    size_t before = open_descriptors();
    for (int i = 0; i < 20; i++) {
        run_shell(&bed, "(sleep 0.01 &); true");
        bed_run(&bed, "script", HANDLER_EXECUTE, "{\"script\":\"/no/such/program\"}");
    }
    assert_int_equal(open_descriptors(), before);
    bed_close(&bed);
}

static void rollback_runs_the_rollback_script_with_the_same_arguments(void **state)
{
    (void)state;
    struct bed bed;
    bed_open(&bed);
    const char *path = bed_path(&bed, "undo.sh");
    char params[PATH_MAX];
    bed_write(path, "#!/bin/sh\necho \"$KITSUNE_PHASE $#: $1 $2\"\nexit 4\n");
    assert_int_equal(chmod(path, 0755), 0);
    (void)snprintf(params, sizeof(params),
                   "{\"script\":\"true\",\"args\":[\"x y\",\"z\"],\"rollback_script\":\"%s\"}",
                   path);
    bed_run(&bed, "script", HANDLER_ROLLBACK, params);
    assert_string_equal(bed.output.data, "rollback 2: x y z\n");
    assert_int_equal(bed.result.outcome, HANDLER_FAILED);
    assert_int_equal(bed.result.exit_code, 4);
    bed_close(&bed);
}

static void rollback_without_a_script_says_that_nothing_is_undone(void **state)
{
    (void)state;
    struct bed bed;
    bed_open(&bed);
    bed_run(&bed, "script", HANDLER_ROLLBACK, "{\"script\":\"true\"}");
    assert_int_equal(bed.result.outcome, HANDLER_OK);
    assert_string_equal(bed.result.message,
                        "nothing to undo with: the step has no rollback_script");
    bed_close(&bed);
}

static void keep_result(struct handler_run *run, const struct handler_result *result)
{
    struct bed *bed = run->ctx;
    bed->result = *result;
    bed->done_count++;
}

static void drop_output(struct handler_run *run, const char *data, size_t len)
{
    (void)run;
    (void)data;
    (void)len;
}

static void memory_running_out_at_any_point_fails_the_step(void **state)
{
    (void)state;
    struct bed bed;
    bed_open(&bed);
    char *args[] = {(char[]){"-c"}, (char[]){"true"}};
    struct script_params params = {.script = (char[]){"sh"}, .args = {.items = args, .count = 2}};
    bool failed = true;
    for (uint64_t n = 0; failed; n++) {
        struct handler_run run = {
            .host = &bed.host,
            .handler = handler_find("script"),
            .operation = HANDLER_EXECUTE,
            .rollout = "rollout-1",
            .step = "one",
            .attempt = 1,
            .params = &params,
            .output = drop_output,
            .done = keep_result,
            .ctx = &bed,
        };
        assert_true(n < 100);
        bed.done_count = 0;
        mem_fail_after(n);
        handler_start(&run);
        failed = mem_fail_count() > 0;
        mem_fail_never();
        assert_int_equal(uv_run(&bed.loop, UV_RUN_DEFAULT), 0);
        assert_int_equal(bed.done_count, 1);
        assert_int_equal(bed.result.outcome, failed ? HANDLER_FAILED : HANDLER_OK);
        assert_true(!failed || bed.result.retryable);
    }
    bed_close(&bed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_streams_come_in_the_order_written),
        cmocka_unit_test(arguments_arrive_as_they_are),
        cmocka_unit_test(the_environment_says_what_runs),
        cmocka_unit_test(standard_input_is_empty),
        cmocka_unit_test(no_descriptor_of_the_agent_is_inherited),
        cmocka_unit_test(another_exit_status_than_zero_fails),
        cmocka_unit_test(exit_status_194_wants_a_reboot_and_says_how_many_there_were),
        cmocka_unit_test(exit_status_194_is_another_matter_elsewhere),
        cmocka_unit_test(a_signal_fails_and_is_named),
        cmocka_unit_test(a_missing_program_fails_for_good),
        cmocka_unit_test(what_is_no_program_is_said_to_be_none),
        cmocka_unit_test(a_cancelled_script_is_ended),
        cmocka_unit_test(cancelling_before_the_program_does_anything_ends_it),
        cmocka_unit_test(a_script_that_ignores_term_is_killed_after_the_grace_time),
        cmocka_unit_test(a_script_may_tidy_up_on_term),
        cmocka_unit_test(a_stopped_script_is_ended),
        cmocka_unit_test(a_grandchild_that_got_away_and_holds_the_output_is_gone),
        cmocka_unit_test(a_grandchild_that_closed_its_output_is_gone),
        cmocka_unit_test(a_child_that_dropped_the_mark_is_gone),
        cmocka_unit_test(what_a_short_lived_helper_prints_late_is_kept),
        cmocka_unit_test(a_tree_that_keeps_forking_is_ended),
        cmocka_unit_test(much_output_takes_no_memory),
        cmocka_unit_test(many_runs_leave_no_descriptor_open),
        cmocka_unit_test(rollback_runs_the_rollback_script_with_the_same_arguments),
        cmocka_unit_test(rollback_without_a_script_says_that_nothing_is_undone),
        cmocka_unit_test(memory_running_out_at_any_point_fails_the_step),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
