#include "agent/runner.h"
#include "common/base/buf.h"
#include "common/base/cleanup.h"
#include "common/base/output.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { GUARD_MS = 60000 };

struct rig {
    uv_loop_t loop;
    uv_timer_t guard;
    struct ticker *ticker;
    char server[32];
    struct handler_host host;
    struct runner *runner;
    int done;
    struct handler_result result;
    struct buf output; /* what was kept */
    struct buf live;
    int64_t live_end; /* offset behind the last live text */
    int gaps, chunks;
    size_t largest;
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
    r->result.undo = NULL;
    buf_clear(&r->output);
    if (output)
        buf_puts(&r->output, output);
}

static void live(void *ctx, int64_t offset, const char *text)
{
    struct rig *r = ctx;
    r->chunks++;
    r->gaps += offset != r->live_end;
    assert_true(offset >= r->live_end);
    r->live_end = offset + (int64_t)strlen(text);
    if (strlen(text) > r->largest)
        r->largest = strlen(text);
    if (r->live.len < 4096)
        buf_puts(&r->live, text);
}

static int set_up(void **state)
{
    struct error err = {0};
    struct rig *r = MEM_NEW(struct rig);
    assert_non_null(r);
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
    *state = r;
    return 0;
}

static int tear_down(void **state)
{
    struct rig *r = *state;
    runner_free(r->runner);
    ticker_close(r->ticker, NULL, NULL);
    uv_close((uv_handle_t *)&r->guard, NULL);
    (void)uv_run(&r->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&r->loop), 0);
    buf_done(&r->output);
    buf_done(&r->live);
    mem_free(r);
    return 0;
}

static void start(struct rig *r, const char *type, const char *params)
{
    const struct plan_step step = {.name = (char *)(uintptr_t) "a",
                                   .type = (char *)(uintptr_t)type,
                                   .params_json = (char *)(uintptr_t)params};
    const struct runner_operation operation = {
        .operation = HANDLER_EXECUTE, .rollout = "r1", .step = &step, .attempt = 1};
    runner_start(r->runner, &operation);
}

static void await(struct rig *r)
{
    while (r->done == 0)
        (void)uv_run(&r->loop, UV_RUN_ONCE);
    assert_false(runner_busy(r->runner));
}

#define SHELL(text) "{\"script\":\"/bin/sh\",\"args\":[\"-c\",\"" text "\"]}"

static void an_instant_step_is_over_at_once_and_says_nothing_live(void **state)
{
    struct rig *r = *state;
    start(r, "echo", "{\"message\":\"hello\"}");
    assert_int_equal(r->done, 1);
    assert_int_equal(r->result.outcome, HANDLER_OK);
    assert_non_null(strstr(r->output.data, "hello"));
    assert_int_equal(r->chunks, 0);
}

static void params_are_checked_again(void **state)
{
    struct rig *r = *state;
    start(r, "echo", "{\"message\":1}");
    assert_int_equal(r->done, 1);
    assert_int_equal(r->result.outcome, HANDLER_FAILED);
    assert_false(r->result.retryable);
    assert_non_null(strstr(r->result.message, "params.message"));
    assert_false(runner_busy(r->runner));
}

static void a_type_without_a_handler_fails(void **state)
{
    struct rig *r = *state;
    start(r, "teleport", "{}");
    assert_int_equal(r->result.outcome, HANDLER_FAILED);
    assert_string_equal(r->result.message, "this agent has no step type \"teleport\"");
}

static void a_flood_of_output_is_kept_in_part_and_thinned_out_live(void **state)
{
    struct rig *r = *state;
    start(r, "script", SHELL("head -c 20000000 /dev/zero | tr '\\\\000' x; sleep 0.3; echo end"));
    await(r);
    assert_int_equal(r->result.outcome, HANDLER_OK);
    assert_true(r->output.len < OUTPUT_HEAD_MAX + OUTPUT_TAIL_MAX + 256);
    assert_string_equal(r->output.data + r->output.len - 4, "end\n");
    assert_true(r->chunks > 0);
    assert_true(r->gaps > 0);
    assert_true(r->largest <= RUNNER_LIVE_MAX);
}

static void live_output_does_not_tear_characters_apart(void **state)
{
    struct rig *r = *state;
    /* The two bytes of an umlaut come apart by more than a live interval. */
    start(r, "script", SHELL("printf 'a\\\\303'; sleep 0.3; printf '\\\\274b'; sleep 0.3"));
    await(r);
    assert_string_equal(r->live.data, "a\xC3\xBC"
                                      "b");
    assert_string_equal(r->output.data, "a\xC3\xBC"
                                        "b");
    assert_int_equal(r->gaps, 0);
}

static void bytes_that_are_no_text_come_out_as_replacements(void **state)
{
    struct rig *r = *state;
    start(r, "script", SHELL("printf '\\\\377\\\\000x'; sleep 0.3"));
    await(r);
    assert_string_equal(r->output.data, "\xEF\xBF\xBD\xEF\xBF\xBDx");
    assert_string_equal(r->live.data, "\xEF\xBF\xBD\xEF\xBF\xBDx");
}

static void a_cancelled_operation_ends(void **state)
{
    struct rig *r = *state;
    start(r, "script", SHELL("sleep 600"));
    assert_true(runner_busy(r->runner));
    runner_cancel(r->runner);
    await(r);
    assert_int_equal(r->result.outcome, HANDLER_CANCELLED);
    runner_cancel(r->runner);
}

static void want_of_memory_fails_the_step_and_may_pass(void **state)
{
    struct rig *r = *state;
    uint64_t n = 0;
    for (;; n++) {
        r->done = 0;
        mem_fail_after(n);
        start(r, "echo", "{\"message\":\"hello\"}");
        mem_fail_never();
        assert_int_equal(r->done, 1);
        if (r->result.outcome == HANDLER_OK && r->output.len > 0 &&
            strcmp(r->output.data, "hello\n") == 0)
            break;
        if (r->result.outcome == HANDLER_FAILED)
            assert_true(r->result.retryable);
        assert_true(n < 100);
    }
    assert_true(n > 0);
}

static void an_output_that_cannot_be_kept_is_said_to_be_lost(void **state)
{
    struct rig *r = *state;
    bool lost = false;
    uint64_t failed = 1;
    assert_int_equal(buf_reserve(&r->output, 256, NULL), ERR_OK);
    for (uint64_t n = 0; failed > 0; n++) {
        assert_true(n < 100);
        r->done = 0;
        mem_fail_once(n);
        start(r, "echo", "{\"message\":\"hello\"}");
        failed = mem_fail_count();
        mem_fail_never();
        assert_int_equal(r->done, 1);
        if (r->result.outcome != HANDLER_OK)
            continue;
        bool said = strstr(r->output.data, "output was lost") != NULL;
        assert_true(said || strcmp(r->output.data, "hello\n") == 0);
        lost = lost || said;
    }
    assert_true(lost);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(an_instant_step_is_over_at_once_and_says_nothing_live),
        TEST(params_are_checked_again),
        TEST(a_type_without_a_handler_fails),
        TEST(a_flood_of_output_is_kept_in_part_and_thinned_out_live),
        TEST(live_output_does_not_tear_characters_apart),
        TEST(bytes_that_are_no_text_come_out_as_replacements),
        TEST(a_cancelled_operation_ends),
        TEST(want_of_memory_fails_the_step_and_may_pass),
        TEST(an_output_that_cannot_be_kept_is_said_to_be_lost),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
