/* A dispatcher that is held, and rollouts that the journal is about to remove. */
#include "unit/dispatch/support_dispatch.h"

#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define STEPS "\"steps\":[{\"name\":\"s\",\"type\":\"echo\",\"params\":{\"message\":\"m\"}}]"
static const char two_servers[] =
    "{\"servers\":[\"a\",\"b\"]," STEPS ",\"rolloutStrategy\":{\"type\":\"Sequential\","
    "\"startTimeoutSeconds\":5,\"reconnectTimeoutSeconds\":7}}";

static int setup(void **state)
{
    static struct bench bench;
    bench_open(&bench);
    *state = &bench;
    return 0;
}

static int teardown(void **state)
{
    bench_close(*state);
    return 0;
}

/* A rollout that runs on its first server, and a dispatcher that finds it when it is held. */
static void hold_running(struct bench *b)
{
    struct fake_conn c;
    conn_connect(b, &c, "a", "i1", NULL);
    bench_submit(b, "r1", two_servers);
    bench_settle(b);
    conn_report(&c, "r1", ENTRY(1, REPORT_STARTED, -1, .state = EXECUTION_RUNNING));
    bench_settle(b);
    conn_drop(&c);
    b->held = "held, as the test says";
    bench_restart(b);
}

static void a_held_dispatcher_takes_no_submit(void **state)
{
    struct bench *b = *state;
    struct error err = {0};
    hold_running(b);
    assert_int_equal(bench_try_submit(b, "r2", two_servers, false, &err), ERR_UNAVAILABLE);
    assert_string_equal(err.message, b->held);
    assert_int_equal(bench_state(b, "r1"), ROLLOUT_RUNNING);
}

static void a_held_dispatcher_welcomes_nobody(void **state)
{
    static const char hello[] = "{\"v\":1,\"type\":\"hello\",\"id\":\"a\",\"instance\":\"i1\","
                                "\"version\":\"1\",\"hostname\":\"h\",\"bootId\":\"b\","
                                "\"handlers\":[],\"executions\":[]}";
    struct bench *b = *state;
    struct fake_conn c = {0};
    hold_running(b);
    assert_int_equal(dispatcher_session_open(b->dispatcher, &c, "127.0.0.1:1", &c.session, NULL),
                     ERR_OK);
    conn_say(&c, hello);
    assert_true(c.closed);
    assert_non_null(strstr(c.reason, "held"));
    assert_int_equal(c.frame_count, 0);
    conn_drop(&c);
}

static void no_deadline_passes_while_it_is_held(void **state)
{
    struct bench *b = *state;
    hold_running(b);
    bench_pass(b, 1000 * 1000);
    assert_int_equal(bench_state(b, "r1"), ROLLOUT_RUNNING);
    assert_int_equal(bench_execution(b, "r1", 0)->state, EXECUTION_RUNNING);
    /* It does, from the start after this one on. */
    b->held = NULL;
    bench_restart(b);
    bench_pass(b, 8 * 1000);
    assert_int_equal(bench_execution(b, "r1", 0)->outcome, EXECUTION_UNKNOWN);
}

static void done_nothing(void *ctx, enum error_code result, const struct error *err, const char *id)
{
    (void)err;
    (void)id;
    *(enum error_code *)ctx = result;
}

static void what_is_open_can_be_cancelled_while_it_is_held(void **state)
{
    struct bench *b = *state;
    enum error_code answer = ERR_INTERNAL;
    const struct dispatcher_order order = {.command = COMMAND_CANCEL, .by = "me"};
    hold_running(b);
    assert_int_equal(dispatcher_order(b->dispatcher, "r1", &order, done_nothing, &answer, NULL),
                     ERR_OK);
    bench_settle(b);
    assert_int_equal(answer, ERR_OK);
    b->held = NULL;
    bench_restart(b);
    struct fake_conn c;
    conn_connect(b, &c, "a", "i1", NULL);
    conn_say(&c, "{\"v\":1,\"type\":\"heartbeat\"}");
    bench_settle(b);
    assert_int_equal(bench_state(b, "r1"), ROLLOUT_CANCELLED);
    assert_int_equal(conn_count(&c, WIRE_EXECUTE), 0);
    conn_drop(&c);
}

static void only_what_is_over_is_forgotten(void **state)
{
    struct bench *b = *state;
    hold_running(b);
    assert_false(dispatcher_forget(b->dispatcher, "r1"));
    b->held = NULL;
    bench_restart(b);
    bench_pass(b, 8 * 1000);
    bench_settle(b);
    bench_pass(b, 8 * 1000);
    bench_settle(b);
    assert_true(rollout_state_final(bench_state(b, "r1")));
    assert_true(dispatcher_forget(b->dispatcher, "r1"));
    assert_true(dispatcher_forget(b->dispatcher, "r1"));    /* not in memory: nothing to forget */
    assert_true(rollout_state_final(bench_state(b, "r1"))); /* read again */
    assert_int_equal(b->fatal, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_held_dispatcher_takes_no_submit),
        TEST(a_held_dispatcher_welcomes_nobody),
        TEST(no_deadline_passes_while_it_is_held),
        TEST(what_is_open_can_be_cancelled_while_it_is_held),
        TEST(only_what_is_over_is_forgotten),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
