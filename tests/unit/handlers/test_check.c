/* The check of each handler says what its execute then does, and leaves everything as it was: that
 * is asserted by bed_run. yum_upgrade's and service's are with their other tests. */
#include "unit/handlers/support_run.h"

#include "common/base/alloc.h"
#include "common/base/cleanup.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static const char *printed(const struct bed *bed)
{
    return bed->output.data ? bed->output.data : "";
}

/* Checks, then does it; both must agree on whether anything changes, and after it nothing is left
 * to change. */
static void expect_truth(struct bed *bed, const char *type, const char *params, bool changes)
{
    bed_run(bed, type, HANDLER_CHECK, params);
    assert_int_equal(bed->result.outcome, HANDLER_OK);
    assert_int_equal(bed->result.changed, changes);
    bed_run(bed, type, HANDLER_PREPARE, params);
    assert_int_equal(bed->result.outcome, HANDLER_OK);
    bed_run(bed, type, HANDLER_EXECUTE, params);
    assert_int_equal(bed->result.outcome, HANDLER_OK);
    assert_int_equal(bed->result.changed, changes);
    bed_run(bed, type, HANDLER_CHECK, params);
    assert_int_equal(bed->result.outcome, HANDLER_OK);
    assert_false(bed->result.changed);
}

/* ---- file_write ---------------------------------------------------------------------------- */

static const char *write_params(const struct bed *bed, const char *content, const char *more)
{
    static char text[2048];
    (void)snprintf(text, sizeof(text), "{\"path\":\"%s\",\"content\":\"%s\"%s}",
                   bed_path(bed, "file"), content, more);
    return text;
}

static void file_write_shows_the_diff(void **state)
{
    char expected[1024];
    (void)state;
    struct bed bed;
    bed_open(&bed);
    bed_write(bed_path(&bed, "file"), "one\ntwo\n");
    bed_run(&bed, "file_write", HANDLER_CHECK, write_params(&bed, "one\\n2\\n", ""));
    (void)snprintf(expected, sizeof(expected), "--- %s\n+++ %s\n@@ -1,2 +1,2 @@\n one\n-two\n+2\n",
                   bed_path(&bed, "file"), bed_path(&bed, "file"));
    assert_string_equal(printed(&bed), expected);
    (void)snprintf(expected, sizeof(expected), "would change %s: 1 line added, 1 removed (diff ",
                   bed_path(&bed, "file"));
    assert_int_equal(strncmp(bed.result.message, expected, strlen(expected)), 0);
    bed_close(&bed);
}

static void file_write_tells_the_truth(void **state)
{
    (void)state;
    struct bed bed;
    bed_open(&bed);
    expect_truth(&bed, "file_write", write_params(&bed, "new\\n", ""), true);
    expect_truth(&bed, "file_write", write_params(&bed, "new\\n", ""), false);
    expect_truth(&bed, "file_write", write_params(&bed, "new\\n", ",\"mode\":\"0600\""), true);
    assert_non_null(strstr(bed.result.message, "is so already"));
    expect_truth(&bed, "file_write", write_params(&bed, "", ""), true);
    if (geteuid() == 0)
        expect_truth(&bed, "file_write", write_params(&bed, "", ",\"owner\":\"7\""), true);
    bed_close(&bed);
}

static void file_write_names_what_else_would_change(void **state)
{
    (void)state;
    struct bed bed;
    bed_open(&bed);
    bed_write(bed_path(&bed, "file"), "x\n");
    assert_int_equal(chmod(bed_path(&bed, "file"), 0640), 0);
    bed_run(&bed, "file_write", HANDLER_CHECK,
            write_params(&bed, "x\\n", ",\"mode\":\"0755\",\"group\":\"12\""));
    assert_non_null(strstr(bed.result.message, ": mode 0640 -> 0755; group "));
    assert_string_equal(printed(&bed), "");
    bed_close(&bed);
}

static void a_file_that_is_no_text_is_told_by_size_and_hash(void **state)
{
    static const char binary[] = {'a', '\0', 'b'};
    (void)state;
    struct bed bed;
    bed_open(&bed);
    int fd = open(bed_path(&bed, "file"), O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    assert_int_equal(write(fd, binary, sizeof(binary)), sizeof(binary));
    assert_int_equal(close(fd), 0);
    bed_run(&bed, "file_write", HANDLER_CHECK, write_params(&bed, "text\\n", ""));
    assert_true(bed.result.changed);
    assert_non_null(strstr(bed.result.message, ": 3 bytes (sha256 "));
    assert_non_null(strstr(bed.result.message, ") -> 5 bytes (sha256 "));
    assert_string_equal(printed(&bed), "");
    assert_int_equal(truncate(bed_path(&bed, "file"), 3 * 1024 * 1024), 0);
    bed_run(&bed, "file_write", HANDLER_CHECK, write_params(&bed, "text\\n", ""));
    assert_non_null(strstr(bed.result.message, ": 3145728 bytes (sha256 "));
    bed_close(&bed);
}

static void a_long_diff_is_cut_after_a_line_and_says_so(void **state)
{
    (void)state;
    struct bed bed;
    struct buf text = BUF_INIT;
    bed_open(&bed);
    for (int i = 0; i < 20000; i++)
        buf_printf(&text, "line %d\n", i);
    bed_write(bed_path(&bed, "file"), text.data);
    bed_run(&bed, "file_write", HANDLER_CHECK, write_params(&bed, "short\\n", ""));
    assert_non_null(strstr(bed.result.message, ": 1 line added, 20000 removed (diff "));
    assert_true(bed.output.len < 70 * 1024);
    const char *end = strstr(printed(&bed), "more bytes of this diff are not shown]\n");
    assert_non_null(end);
    while (end[-1] != '[')
        end--;
    assert_int_equal(end[-2], '\n');
    buf_done(&text);
    bed_close(&bed);
}

static void what_file_write_would_refuse_fails_the_check(void **state)
{
    (void)state;
    struct bed bed;
    char params[512];
    bed_open(&bed);
    (void)snprintf(params, sizeof(params), "{\"path\":\"%s\",\"content\":\"\"}",
                   bed_path(&bed, "no/file"));
    bed_run(&bed, "file_write", HANDLER_CHECK, params);
    assert_int_equal(bed.result.outcome, HANDLER_FAILED);
    assert_non_null(strstr(bed.result.message, "does not exist"));
    bed_run(&bed, "file_write", HANDLER_CHECK,
            write_params(&bed, "", ",\"owner\":\"kitsune-nobody-of-that-name\""));
    assert_int_equal(bed.result.outcome, HANDLER_FAILED);
    assert_int_equal(symlink("target", bed_path(&bed, "file")), 0);
    bed_run(&bed, "file_write", HANDLER_CHECK, write_params(&bed, "", ""));
    assert_int_equal(bed.result.outcome, HANDLER_FAILED);
    assert_non_null(strstr(bed.result.message, "is a symbolic link"));
    bed_close(&bed);
}

/* ---- script -------------------------------------------------------------------------------- */

static const char *script_params(const char *line, const char *more)
{
    static char text[2048];
    (void)snprintf(text, sizeof(text), "{\"script\":\"sh\",\"args\":[\"-c\",\"%s\"]%s}", line,
                   more);
    return text;
}

static void a_script_without_a_check_is_told_as_what_would_run(void **state)
{
    (void)state;
    struct bed bed;
    bed_open(&bed);
    bed_run(&bed, "script", HANDLER_CHECK, script_params("echo it's >x", ""));
    assert_int_equal(bed.result.outcome, HANDLER_OK);
    assert_true(bed.result.changed);
    assert_string_equal(bed.result.message,
                        "would run: sh -c 'echo it'\\''s >x' (what it changes is not known: no "
                        "check_script)");
    assert_string_equal(printed(&bed), "");
    bed_close(&bed);
}

/* The program that checks is the same as the one that runs; KITSUNE_PHASE tells them apart. */
static void its_check_script_decides(void **state)
{
    static const char both[] = ",\"check_script\":\"sh\"";
    char line[1024];
    (void)state;
    struct bed bed;
    bed_open(&bed);
    (void)snprintf(line, sizeof(line),
                   "echo $KITSUNE_PHASE; if [ $KITSUNE_PHASE = check ]; then test -e %s; else "
                   "echo x >%s; fi",
                   bed_path(&bed, "file"), bed_path(&bed, "file"));
    bed_run(&bed, "script", HANDLER_CHECK, script_params(line, both));
    assert_string_equal(printed(&bed), "check\n");
    assert_int_equal(strncmp(bed.result.message, "would run: sh -c 'echo ", 23), 0);
    expect_truth(&bed, "script", script_params(line, both), true);
    expect_truth(&bed, "script", script_params(line, both), false);
    bed_run(&bed, "script", HANDLER_EXECUTE, script_params(line, both));
    assert_string_equal(printed(&bed), "check\n");
    assert_string_equal(bed.result.message, "nothing to do: check_script: exit status 0");
    bed_close(&bed);
}

static void a_check_script_that_tells_nothing_fails_the_step(void **state)
{
    (void)state;
    struct bed bed;
    bed_open(&bed);
    for (int i = 0; i < 2; i++) {
        enum handler_operation operation = i == 0 ? HANDLER_CHECK : HANDLER_EXECUTE;
        bed_run(&bed, "script", operation, script_params("kill -9 $$", ",\"check_script\":\"sh\""));
        assert_int_equal(bed.result.outcome, HANDLER_FAILED);
        assert_string_equal(bed.result.message, "check_script: killed by signal 9 (KILL)");
        bed_run(&bed, "script", operation,
                script_params("true", ",\"check_script\":\"/no/such/program\""));
        assert_int_equal(bed.result.outcome, HANDLER_FAILED);
        assert_int_equal(strncmp(bed.result.message, "check_script: ", 14), 0);
    }
    bed_close(&bed);
}

static void a_check_script_is_cancelled(void **state)
{
    (void)state;
    struct bed bed;
    bed_open(&bed);
    bed.cancel_at = "go";
    bed_run(&bed, "script", HANDLER_CHECK,
            script_params("echo go; sleep 100", ",\"check_script\":\"sh\""));
    assert_int_equal(bed.result.outcome, HANDLER_CANCELLED);
    bed_close(&bed);
}

static void a_long_command_is_printed_in_whole(void **state)
{
    static char line[1400];
    (void)state;
    struct bed bed;
    bed_open(&bed);
    memset(line, 'x', sizeof(line) - 1);
    bed_run(&bed, "script", HANDLER_CHECK, script_params(line, ""));
    assert_non_null(strstr(bed.result.message, "xxx... (what"));
    assert_int_equal(bed.output.len, strlen("sh -c \n") + strlen(line));
    bed_close(&bed);
}

/* ---- The others ---------------------------------------------------------------------------- */

static void what_changes_nothing_says_so(void **state)
{
    (void)state;
    struct bed bed;
    bed_open(&bed);
    expect_truth(&bed, "echo", "{\"message\":\"hello\"}", false);
    assert_string_equal(printed(&bed), "");
    bed_run(&bed, "sleep", HANDLER_CHECK, "{\"duration\":100}");
    assert_false(bed.result.changed);
    assert_true(bed.duration_ms < 50000);
    bed_close(&bed);
}

static void a_gate_is_probed_unless_what_it_looks_at_is_to_change(void **state)
{
    static const char *const gates[][2] = {
        {"command_check", "{\"command\":\"false\",\"failureThreshold\":1}"},
        {"tcp_check", "{\"host\":\"127.0.0.1\",\"port\":1,\"failureThreshold\":1}"},
        {"http_check", "{\"url\":\"http://127.0.0.1:1/\",\"failureThreshold\":1}"},
    };
    (void)state;
    struct bed bed;
    bed_open(&bed);
    for (size_t i = 0; i < ARRAY_LEN(gates); i++) {
        bed.depends_name = NULL;
        bed_run(&bed, gates[i][0], HANDLER_CHECK, gates[i][1]);
        assert_int_equal(bed.result.outcome, HANDLER_FAILED);
        bed.depends_name = "configure";
        bed_run(&bed, gates[i][0], HANDLER_CHECK, gates[i][1]);
        assert_int_equal(bed.result.outcome, HANDLER_OK);
        assert_false(bed.result.changed);
        assert_string_equal(bed.result.message,
                            "not probed: depends on a change of step 2 (configure)");
    }
    bed.depends_name = NULL;
    bed_run(&bed, "command_check", HANDLER_CHECK, "{\"command\":\"true\"}");
    assert_string_equal(bed.result.message, "healthy: exit status 0");
    bed_run(&bed, "http_check", HANDLER_CHECK,
            "{\"url\":\"http://127.0.0.1:1/\",\"method\":\"POST\"}");
    assert_string_equal(bed.result.message, "not probed: a POST may change something");
    bed_close(&bed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(file_write_shows_the_diff),
        cmocka_unit_test(file_write_tells_the_truth),
        cmocka_unit_test(file_write_names_what_else_would_change),
        cmocka_unit_test(a_file_that_is_no_text_is_told_by_size_and_hash),
        cmocka_unit_test(a_long_diff_is_cut_after_a_line_and_says_so),
        cmocka_unit_test(what_file_write_would_refuse_fails_the_check),
        cmocka_unit_test(a_script_without_a_check_is_told_as_what_would_run),
        cmocka_unit_test(its_check_script_decides),
        cmocka_unit_test(a_check_script_that_tells_nothing_fails_the_step),
        cmocka_unit_test(a_check_script_is_cancelled),
        cmocka_unit_test(a_long_command_is_printed_in_whole),
        cmocka_unit_test(what_changes_nothing_says_so),
        cmocka_unit_test(a_gate_is_probed_unless_what_it_looks_at_is_to_change),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
