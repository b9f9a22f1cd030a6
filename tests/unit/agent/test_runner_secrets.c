/* Secrets in a step: found last, and in nothing that the runner hands on. */
#include "agent/runner.h"
#include "common/base/buf.h"
#include "common/base/cleanup.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { GUARD_MS = 60000, PATH_BYTES = 256 };
#define VARIABLE "TEST_RUNNER_SECRET"
#define SECRET "tiger\"42\\"
#define REFS "{\"pw\":{\"env\":\"" VARIABLE "\"},\"other\":{\"env\":\"TEST_RUNNER_OTHER\"}}"

struct rig {
    uv_loop_t loop;
    uv_timer_t guard;
    struct ticker *ticker;
    char server[32];
    struct handler_host host;
    struct runner *runner;
    int done;
    struct handler_result result;
    struct buf outputs, output, live;
    char folder[PATH_BYTES];
};

static void guard_fired(uv_timer_t *guard)
{
    (void)guard;
    fail_msg("the operation did not end");
}

static void over(void *ctx, const struct handler_result *result, const char *output)
{
    struct rig *r = ctx;
    r->done++;
    r->result = *result;
    r->result.undo = r->result.outputs = NULL;
    buf_puts(&r->outputs, result->outputs ? result->outputs : "");
    buf_puts(&r->output, output ? output : "");
}

static void live(void *ctx, int64_t offset, const char *text)
{
    struct rig *r = ctx;
    assert_int_equal(offset, (int64_t)r->live.len);
    buf_puts(&r->live, text);
}

static int set_up(void **state)
{
    struct error err = {0};
    struct rig *r = MEM_NEW(struct rig);
    assert_non_null(r);
    assert_int_equal(setenv(VARIABLE, SECRET, 1), 0);
    assert_int_equal(unsetenv("TEST_RUNNER_OTHER"), 0);
    assert_int_equal(uv_loop_init(&r->loop), 0);
    assert_int_equal(uv_timer_init(&r->loop, &r->guard), 0);
    assert_int_equal(uv_timer_start(&r->guard, guard_fired, GUARD_MS, 0), 0);
    assert_int_equal(ticker_new(&r->loop, &r->ticker, &err), ERR_OK);
    assert_int_equal(ticker_reserve(r->ticker, 1, &err), ERR_OK);
    /* Of this process alone, so that its marks are too. */
    (void)snprintf(r->server, sizeof(r->server), "s%d", (int)getpid());
    r->host = (struct handler_host){.loop = &r->loop, .server_id = r->server, .kill_grace_ms = 100};
    const struct runner_config config = {&r->host, r->ticker, r, over, live};
    assert_int_equal(runner_new(&config, &r->runner, &err), ERR_OK);
    (void)snprintf(r->folder, sizeof(r->folder), "/tmp/kitsune-runner-XXXXXX");
    assert_non_null(mkdtemp(r->folder));
    *state = r;
    return 0;
}

static int tear_down(void **state)
{
    struct rig *r = *state;
    char command[PATH_BYTES + 16];
    runner_free(r->runner);
    ticker_close(r->ticker, NULL, NULL);
    uv_close((uv_handle_t *)&r->guard, NULL);
    (void)uv_run(&r->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&r->loop), 0);
    buf_done(&r->outputs);
    buf_done(&r->output);
    buf_done(&r->live);
    (void)snprintf(command, sizeof(command), "rm -rf '%s'", r->folder);
    assert_int_equal(system(command), 0);
    mem_free(r);
    /* Else what looks for leaks at the end may not look. */
    return prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
}

/* A step as the agent hands it over: `planned` became `params`. */
struct given {
    const char *type, *planned, *params, *values, *refs;
    enum handler_operation operation;
};

static void run(struct rig *r, const struct given *g)
{
    const char *params = g->params ? g->params : g->planned;
    const struct plan_step step = {.name = (char *)(uintptr_t) "a",
                                   .type = (char *)(uintptr_t)g->type,
                                   .params_json = (char *)(uintptr_t)params};
    const struct runner_operation operation = {.operation = g->operation,
                                               .rollout = "r1",
                                               .step = &step,
                                               .attempt = 1,
                                               .undo_dir = r->folder,
                                               .planned = g->planned,
                                               .values = g->values,
                                               .secrets = g->refs ? g->refs : REFS};
    r->done = 0;
    buf_clear(&r->outputs);
    buf_clear(&r->output);
    buf_clear(&r->live);
    runner_start(r->runner, &operation);
    while (r->done == 0)
        (void)uv_run(&r->loop, UV_RUN_ONCE);
    assert_false(runner_busy(r->runner));
    assert_null(strstr(r->result.message, "tiger"));
    assert_true(!r->output.data || !strstr(r->output.data, "tiger"));
    assert_true(!r->outputs.data || !strstr(r->outputs.data, "tiger"));
    assert_true(!r->live.data || !strstr(r->live.data, "tiger"));
}

#define SCRIPT(line, more)                                                                         \
    "{\"script\":\"/bin/sh\",\"args\":[\"-c\",\"" line                                             \
    "\"],\"env\":{\"PW\":\"${secrets.pw}\"}" more "}"

static void what_a_script_prints_is_masked_whole_and_in_pieces(void **state)
{
    struct rig *r = *state;
    const struct given g = {
        .type = "script",
        .operation = HANDLER_EXECUTE,
        .planned = SCRIPT(
            "test \\\"$PW\\\" = 'tiger\\\"42\\\\' && printf '%s|tig' \\\"$PW\\\"; sleep 0.3; "
            "printf 'er\\\"4'; sleep 0.3; printf '2'; printf '\\\\\\\\|'; sleep 0.3; "
            "printf 'tig'",
            "")};
    run(r, &g);
    assert_int_equal(r->result.outcome, HANDLER_OK);
    assert_string_equal(r->output.data, "***|***|tig");
    assert_string_equal(r->live.data, "***|***|tig");
}

static void what_a_script_puts_out_and_says_is_masked(void **state)
{
    struct rig *r = *state;
    struct given g = {
        .type = "script",
        .operation = HANDLER_EXECUTE,
        .planned =
            SCRIPT("printf 'a=x%sx\\\\nb=2\\\\n' \\\"$PW\\\" >>\\\"$KITSUNE_OUTPUT\\\"", "")};
    run(r, &g);
    assert_string_equal(r->outputs.data, "{\"a\":\"x***x\",\"b\":\"2\"}");
    g.planned = SCRIPT("printf 'no value of %s\\\\n' \\\"$PW\\\" >>\\\"$KITSUNE_OUTPUT\\\"", "");
    run(r, &g);
    assert_int_equal(r->result.outcome, HANDLER_FAILED);
    assert_int_equal(setenv(VARIABLE, "tiger_name", 1), 0);
    g.planned = SCRIPT("printf 'tiger_name=1\\\\n' >>\\\"$KITSUNE_OUTPUT\\\"", "");
    run(r, &g);
    assert_int_equal(r->result.outcome, HANDLER_FAILED);
    assert_string_equal(r->result.message, "the name of an output has a secret in it");
}

static void a_step_that_names_no_secret_is_masked_too(void **state)
{
    struct rig *r = *state;
    const struct given g = {.type = "script",
                            .operation = HANDLER_EXECUTE,
                            .planned = "{\"script\":\"printenv\",\"args\":[\"" VARIABLE "\"]}"};
    run(r, &g);
    assert_int_equal(r->result.outcome, HANDLER_OK);
    assert_string_equal(r->output.data, "***\n");
}

static void a_message_is_masked(void **state)
{
    struct rig *r = *state;
    const struct given g = {.type = "script",
                            .operation = HANDLER_EXECUTE,
                            .planned = "{\"script\":\"/no/tiger\\\"42\\\\/there\"}"};
    run(r, &g);
    assert_int_equal(r->result.outcome, HANDLER_FAILED);
    assert_non_null(strstr(r->result.message, "/no/***/there"));
}

static void values_beside_a_secret_are_those_that_were_kept(void **state)
{
    struct rig *r = *state;
    const struct given g = {
        .type = "script",
        .operation = HANDLER_EXECUTE,
        .planned = "{\"inline\":\"cat <<E\\n${vars.a} ${secrets.pw} ${vars.b}\\nE\\n\",\"args\":"
                   "[\"${vars.b}\"]}",
        .params = "{\"inline\":\"cat <<E\\n${vars.a} ${secrets.pw} ${vars.b}\\nE\\n\",\"args\":"
                  "[\"${secrets.pw}\"]}",
        .values = "{\"vars.a\":7,\"vars.b\":\"+{secrets.pw}\"}"};
    run(r, &g);
    assert_int_equal(r->result.outcome, HANDLER_OK);
    assert_string_equal(r->output.data, "7 *** +{secrets.pw}\n");
}

static void one_that_is_missing_fails_the_step_before_it_begins(void **state)
{
    struct rig *r = *state;
    struct given g = {.type = "script",
                      .operation = HANDLER_PREPARE,
                      .planned = "{\"inline\":\"echo ${secrets.other}\"}"};
    run(r, &g);
    assert_int_equal(r->result.outcome, HANDLER_FAILED);
    assert_false(r->result.retryable);
    assert_string_equal(r->result.message,
                        "secrets.other: the agent's environment has no TEST_RUNNER_OTHER");
    g.operation = HANDLER_ROLLBACK;
    run(r, &g);
    assert_int_equal(r->result.outcome, HANDLER_FAILED);
    assert_string_equal(r->result.message,
                        "secrets.other: the agent's environment has no TEST_RUNNER_OTHER; nothing "
                        "was undone: see to it that it can be had, then undo again");
}

static void params_that_are_not_right_with_a_secret_are_told_without_it(void **state)
{
    struct rig *r = *state;
    const struct given g = {
        .type = "http_check",
        .operation = HANDLER_PREPARE,
        .planned = "{\"url\":\"http://127.0.0.1/\",\"headers\":{\"A\":\"${secrets.pw}\"}}"};
    assert_int_equal(setenv(VARIABLE, "tiger\ntiger", 1), 0);
    run(r, &g);
    assert_int_equal(r->result.outcome, HANDLER_FAILED);
    assert_string_equal(r->result.message, "params.headers: not right with its secrets filled in");
}

static void a_check_tells_no_diff_and_no_sum_of_a_content_with_secrets(void **state)
{
    struct rig *r = *state;
    char planned[2 * PATH_BYTES], path[PATH_BYTES + 8];
    (void)snprintf(path, sizeof(path), "%s/conf", r->folder);
    (void)snprintf(planned, sizeof(planned),
                   "{\"path\":\"%s\",\"content\":\"pw ${secrets.pw}\\n\"}", path);
    const struct given g = {.type = "file_write", .operation = HANDLER_CHECK, .planned = planned};
    run(r, &g);
    assert_non_null(strstr(r->result.message, "which has secrets and is not shown; mode 0600"));
    assert_int_equal(r->output.len, 0);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs("pw tiger-of-yesterday\n", file) >= 0);
    assert_int_equal(fclose(file), 0);
    run(r, &g);
    assert_non_null(strstr(r->result.message, "which has secrets and is not shown"));
    assert_null(strstr(r->result.message, "sha256"));
    assert_null(strstr(r->result.message, "diff"));
    assert_int_equal(r->output.len, 0);
}

/* ---- Files -------------------------------------------------------------------------------------
 */

static void file_make(const struct rig *r, const char *text, size_t len, mode_t mode)
{
    char path[PATH_BYTES + 8];
    (void)snprintf(path, sizeof(path), "%s/token", r->folder);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, len, file), len);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(chmod(path, mode), 0);
}

static void file_run(struct rig *r)
{
    char refs[2 * PATH_BYTES];
    (void)snprintf(refs, sizeof(refs), "{\"t\":{\"file\":\"%s/token\"}}", r->folder);
    const struct given g = {.type = "script",
                            .operation = HANDLER_EXECUTE,
                            .planned = "{\"script\":\"wc\",\"args\":[\"-c\"],\"stdin\":"
                                       "\"${secrets.t}\"}",
                            .refs = refs};
    run(r, &g);
}

static void one_newline_at_the_end_of_a_file_is_not_part_of_the_secret(void **state)
{
    struct rig *r = *state;
    file_make(r, "abcd\n\n", 6, 0400);
    file_run(r);
    assert_int_equal(r->result.outcome, HANDLER_OK);
    assert_string_equal(r->output.data, "5\n");
}

static void a_file_that_is_no_place_for_a_secret_is_refused(void **state)
{
    struct rig *r = *state;
    static char large[64 * 1024 + 2];
    memset(large, 'x', sizeof(large));
    const struct {
        const char *text;
        size_t len;
        mode_t mode;
        const char *why;
    } wrong[] = {
        {"", 0, 0600, "it is empty"},
        {"\n", 1, 0600, "it is empty"},
        {"abc\n", 4, 0600, "it is shorter than 4 bytes"},
        {"ab\0cd", 5, 0600, "it is not UTF-8 text without NUL"},
        {"ab\xFF\xFE"
         "cd",
         6, 0600, "it is not UTF-8 text without NUL"},
        {large, sizeof(large), 0600, "it is longer than 65536 bytes"},
        {"abcd", 4, 0620, "may be written by others (mode 0620)"},
        {"abcd", 4, 0602, "may be written by others (mode 0602)"},
    };
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        file_make(r, wrong[i].text, wrong[i].len, wrong[i].mode);
        file_run(r);
        assert_int_equal(r->result.outcome, HANDLER_FAILED);
        if (!strstr(r->result.message, wrong[i].why))
            fail_msg("%s, not %s", r->result.message, wrong[i].why);
    }
    file_make(r, large, 64 * 1024, 0600);
    file_run(r);
    assert_string_equal(r->output.data, "65536\n");
}

static void what_is_no_regular_file_is_refused(void **state)
{
    struct rig *r = *state;
    char path[PATH_BYTES + 8];
    (void)snprintf(path, sizeof(path), "%s/token", r->folder);
    assert_int_equal(mkfifo(path, 0600), 0);
    file_run(r);
    assert_non_null(strstr(r->result.message, "is not a regular file"));
    assert_int_equal(remove(path), 0);
    file_run(r);
    assert_non_null(strstr(r->result.message, "secrets.t: "));
    assert_non_null(strstr(r->result.message, "No such file"));
}

/* ---- Traces ------------------------------------------------------------------------------------
 */

static void no_core_is_written_once_there_was_a_secret(void **state)
{
    struct rig *r = *state;
    const struct given g = {
        .type = "echo", .operation = HANDLER_EXECUTE, .planned = "{\"message\":\"of no secret\"}"};
    run(r, &g);
    assert_int_equal(prctl(PR_GET_DUMPABLE, 0, 0, 0, 0), 0);
}

static void want_of_memory_fails_the_step_and_gives_nothing_away(void **state)
{
    struct rig *r = *state;
    const struct given g = {.type = "file_write",
                            .operation = HANDLER_PREPARE,
                            .planned = "{\"path\":\"rel\",\"content\":\"${secrets.pw}\"}"};
    uint64_t failed = 1;
    for (uint64_t n = 0; failed > 0; n++) {
        assert_true(n < 1000);
        mem_fail_once(n);
        run(r, &g);
        failed = mem_fail_count();
        mem_fail_never();
        assert_int_equal(r->result.outcome, HANDLER_FAILED);
    }
    assert_string_equal(r->result.message, "params.path: not right with its secrets filled in");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_a_script_prints_is_masked_whole_and_in_pieces),
        TEST(what_a_script_puts_out_and_says_is_masked),
        TEST(a_step_that_names_no_secret_is_masked_too),
        TEST(a_message_is_masked),
        TEST(values_beside_a_secret_are_those_that_were_kept),
        TEST(one_that_is_missing_fails_the_step_before_it_begins),
        TEST(params_that_are_not_right_with_a_secret_are_told_without_it),
        TEST(a_check_tells_no_diff_and_no_sum_of_a_content_with_secrets),
        TEST(one_newline_at_the_end_of_a_file_is_not_part_of_the_secret),
        TEST(a_file_that_is_no_place_for_a_secret_is_refused),
        TEST(what_is_no_regular_file_is_refused),
        TEST(no_core_is_written_once_there_was_a_secret),
        TEST(want_of_memory_fails_the_step_and_gives_nothing_away),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
