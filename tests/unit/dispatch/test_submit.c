/* Retries of what a rollout left undone. */
#include "unit/dispatch/support_dispatch.h"

#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define STEPS "\"steps\":[{\"name\":\"s\",\"type\":\"script\",\"params\":{\"script\":\"x\"}}]"
/* Limits that fewer servers do not reach. */
static const char three_servers[] =
    "{\"name\":\"n\",\"servers\":[\"a\",\"b\",\"c\"]," STEPS
    ",\"rolloutStrategy\":{\"type\":\"Rolling\",\"batchSize\":3,\"maxFailures\":3,"
    "\"maxTouched\":3},\"rollback\":{\"scope\":\"none\"}}";

static int setup(void **state)
{
    static struct bench b;
    bench_open(&b);
    *state = &b;
    return 0;
}

static int teardown(void **state)
{
    bench_close(*state);
    return 0;
}

struct agents {
    struct fake_conn a, b, c;
};

static void connect_all(struct bench *b, struct agents *agents)
{
    conn_connect(b, &agents->a, "a", "i1", NULL);
    conn_connect(b, &agents->b, "b", "i2", NULL);
    conn_connect(b, &agents->c, "c", "i3", NULL);
}

static void drop_all(struct agents *agents)
{
    conn_drop(&agents->a);
    conn_drop(&agents->b);
    conn_drop(&agents->c);
}

/* r1: "b" succeeds, "a" and "c" fail. */
static void fail_on_two(struct bench *b, struct agents *agents)
{
    connect_all(b, agents);
    bench_submit(b, "r1", three_servers);
    bench_settle(b);
    conn_ended(b, &agents->a, "r1", EXECUTION_FAILED);
    conn_ended(b, &agents->b, "r1", EXECUTION_SUCCEEDED);
    conn_ended(b, &agents->c, "r1", EXECUTION_FAILED);
    assert_int_equal(bench_state(b, "r1"), ROLLOUT_SUCCEEDED);
}

static struct rollout_view view_of(struct bench *b, const char *id)
{
    struct rollout_view view = {0};
    assert_int_equal(dispatcher_rollout(b->dispatcher, id, &view, NULL), ERR_OK);
    return view;
}

static void a_retry_is_over_what_did_not_succeed_in_the_plans_order(void **state)
{
    struct bench *b = *state;
    struct agents agents;
    struct error err = {0};
    fail_on_two(b, &agents);
    b->answers = 0;
    assert_int_equal(bench_retry(b, "r1", "r2", &err), ERR_OK);
    bench_settle(b);
    assert_int_equal(b->answers, 1);
    assert_string_equal(b->last_id, "r2");
    struct rollout_view view = view_of(b, "r2");
    assert_string_equal(view.retry_of, "r1");
    assert_string_equal(view.by, "tester");
    assert_string_equal(view.plan->name, "n");
    assert_int_equal(plan_server_count(view.plan), 2);
    assert_string_equal(plan_server(view.plan, 0), "a");
    assert_string_equal(plan_server(view.plan, 1), "c");
    assert_string_equal(plan_step(view.plan, 0)->name, "s");
    assert_null(view_of(b, "r1").retry_of);
    assert_int_equal(conn_count(&agents.b, WIRE_EXECUTE), 1);
    conn_ended(b, &agents.a, "r2", EXECUTION_SUCCEEDED);
    conn_ended(b, &agents.c, "r2", EXECUTION_SUCCEEDED);
    assert_int_equal(bench_state(b, "r2"), ROLLOUT_SUCCEEDED);
    drop_all(&agents);
    bench_restart(b);
    assert_string_equal(view_of(b, "r2").retry_of, "r1");
}

static void a_server_that_was_rolled_back_is_retried(void **state)
{
    struct bench *b = *state;
    struct agents agents;
    struct error err = {0};
    fail_on_two(b, &agents);
    assert_int_equal(bench_rollback(b, "r1", "b", false, &err), ERR_OK);
    bench_settle(b);
    assert_int_equal(bench_retry(b, "r1", "r2", &err), ERR_CONFLICT);
    assert_non_null(strstr(err.message, "has not ended"));
    conn_undone(b, &agents.b, "r1", 5, EXECUTION_ROLLED_BACK);
    assert_int_equal(bench_retry(b, "r1", "r2", &err), ERR_OK);
    bench_settle(b);
    assert_int_equal(plan_server_count(view_of(b, "r2").plan), 3);
    drop_all(&agents);
}

static void a_retry_is_refused_when_there_is_nothing_to_do(void **state)
{
    struct bench *b = *state;
    struct agents agents;
    struct error err = {0};
    assert_int_equal(bench_retry(b, "r1", NULL, &err), ERR_NOT_FOUND);
    connect_all(b, &agents);
    bench_submit(b, "r1", three_servers);
    bench_settle(b);
    assert_int_equal(bench_retry(b, "r1", NULL, &err), ERR_CONFLICT);
    assert_non_null(strstr(err.message, "has not ended"));
    conn_ended(b, &agents.a, "r1", EXECUTION_SUCCEEDED);
    conn_ended(b, &agents.b, "r1", EXECUTION_SUCCEEDED);
    conn_ended(b, &agents.c, "r1", EXECUTION_SUCCEEDED);
    assert_int_equal(bench_retry(b, "r1", NULL, &err), ERR_CONFLICT);
    assert_non_null(strstr(err.message, "nothing of rollout \"r1\" is left to do"));
    drop_all(&agents);
}

static void the_same_retry_is_the_same_rollout(void **state)
{
    struct bench *b = *state;
    struct agents agents;
    struct error err = {0};
    fail_on_two(b, &agents);
    assert_int_equal(bench_retry(b, "r1", "r2", &err), ERR_OK);
    bench_settle(b);
    conn_ended(b, &agents.a, "r2", EXECUTION_SUCCEEDED);
    /* What r1 leaves to do is another set of servers by now, and r2 is the retry all the same. */
    assert_int_equal(bench_rollback(b, "r1", "b", false, &err), ERR_OK);
    bench_settle(b);
    b->answers = 0;
    assert_int_equal(bench_retry(b, "r1", "r2", &err), ERR_OK);
    bench_settle(b);
    assert_int_equal(b->answers, 1);
    assert_int_equal(conn_count(&agents.a, WIRE_EXECUTE), 2);
    assert_int_equal(bench_retry(b, "r2", "r1", &err), ERR_EXISTS);
    assert_non_null(strstr(err.message, "no retry of \"r2\""));
    drop_all(&agents);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(a_retry_is_over_what_did_not_succeed_in_the_plans_order),
        T(a_server_that_was_rolled_back_is_retried),
        T(a_retry_is_refused_when_there_is_nothing_to_do),
        T(the_same_retry_is_the_same_rollout),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
