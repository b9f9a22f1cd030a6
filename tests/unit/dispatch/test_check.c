/* Checks: what goes out, to whom, and what is made of their ids. */
#include "unit/dispatch/support_dispatch.h"

#include "common/plan/plan_json.h"

#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static const char plan_text[] =
    "{\"servers\":[\"a\",\"b\"],\"steps\":[{\"name\":\"s\",\"type\":\"script\",\"params\":{"
    "\"script\":\"x\"}}],\"rolloutStrategy\":{\"type\":\"Parallel\",\"maxFailures\":2},"
    "\"rollback\":{\"scope\":\"all\",\"confirmTimeoutSeconds\":5}}";

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

static enum error_code submit_check(struct bench *b, const char *id, struct error *err)
{
    struct plan *plan = NULL;
    assert_int_equal(plan_read(plan_text, strlen(plan_text), &plan, err), ERR_OK);
    const struct dispatcher_submit request = {.id = id, .by = "tester", .check = true};
    bool repeat = false;
    enum error_code code = dispatcher_submit(b->dispatcher, plan, &request, &repeat, err);
    if (code != ERR_OK)
        plan_free(plan);
    bench_settle(b);
    return code;
}

static const struct wire_execute *sent_to(const struct fake_conn *c)
{
    const struct wire_frame *frame = conn_last(c, WIRE_EXECUTE);
    assert_non_null(frame);
    return &frame->execute;
}

static bool is_check(struct bench *b, const char *id)
{
    struct rollout_view view;
    assert_int_equal(dispatcher_rollout(b->dispatcher, id, &view, NULL), ERR_OK);
    return engine_is_check(view.engine);
}

static void its_execute_says_so_and_asks_for_no_undo(void **state)
{
    struct bench *b = *state;
    struct fake_conn a, other;
    struct error err = {0};
    conn_connect(b, &a, "a", "i1", NULL);
    conn_connect(b, &other, "b", "i2", NULL);
    assert_int_equal(submit_check(b, "r1", &err), ERR_OK);
    assert_true(sent_to(&a)->check);
    assert_false(sent_to(&a)->rollback_on_failure);
    assert_int_equal(sent_to(&a)->confirm_ms, 0);
    conn_ended(b, &a, "r1", EXECUTION_FAILED);
    conn_ended(b, &other, "r1", EXECUTION_SUCCEEDED);
    assert_int_equal(bench_state(b, "r1"), ROLLOUT_SUCCEEDED);
    /* As a rollout it is sent whole. */
    bench_submit(b, "r2", plan_text);
    bench_settle(b);
    assert_false(sent_to(&a)->check);
    assert_true(sent_to(&a)->rollback_on_failure);
    assert_int_equal(sent_to(&a)->confirm_ms, 5000);
    conn_drop(&a);
    conn_drop(&other);
    bench_restart(b);
    assert_true(is_check(b, "r1"));
    assert_false(is_check(b, "r2"));
}

static void it_waits_in_the_queue_as_any_other(void **state)
{
    struct bench *b = *state;
    struct fake_conn a;
    struct error err = {0};
    conn_connect(b, &a, "a", "i1", NULL);
    bench_submit(b, "r1", plan_text);
    assert_int_equal(submit_check(b, "r2", &err), ERR_OK);
    assert_int_equal(conn_count(&a, WIRE_EXECUTE), 1);
    assert_string_equal(dispatcher_waiting_for(b->dispatcher, "r2", 0), "r1");
    conn_drop(&a);
}

/* It would pass over what it does not know, and carry the plan out. */
static void an_agent_that_knows_no_checks_is_sent_none(void **state)
{
    struct bench *b = *state;
    struct fake_conn a, other;
    struct error err = {0};
    a.frame_count = 0;
    bench_old_agents(true);
    conn_connect(b, &a, "a", "i1", NULL);
    bench_old_agents(false);
    assert_int_equal(submit_check(b, "r1", &err), ERR_OK);
    bench_pass(b, 1);
    assert_int_equal(conn_count(&a, WIRE_EXECUTE), 0);
    assert_int_equal(bench_execution(b, "r1", 0)->state, EXECUTION_UNREACHABLE);
    /* Nor one that comes while it is waited for. */
    bench_old_agents(true);
    conn_connect(b, &other, "b", "i2", NULL);
    bench_old_agents(false);
    bench_pass(b, 1);
    assert_int_equal(conn_count(&other, WIRE_EXECUTE), 0);
    assert_int_equal(bench_execution(b, "r1", 1)->state, EXECUTION_UNREACHABLE);
    assert_int_equal(bench_state(b, "r1"), ROLLOUT_SUCCEEDED);
    /* A rollout goes to them. */
    bench_submit(b, "r2", plan_text);
    bench_settle(b);
    assert_int_equal(conn_count(&a, WIRE_EXECUTE), 1);
    conn_drop(&a);
    conn_drop(&other);
}

static void an_id_stands_for_one_of_both(void **state)
{
    struct bench *b = *state;
    struct error err = {0};
    assert_int_equal(submit_check(b, "r1", &err), ERR_OK);
    assert_int_equal(submit_check(b, "r1", &err), ERR_OK);
    assert_int_equal(bench_try_submit(b, "r1", plan_text, false, &err), ERR_EXISTS);
    assert_string_equal(err.message, "rollout \"r1\" exists and is a check; choose another id");
    bench_submit(b, "r2", plan_text);
    bench_settle(b);
    assert_int_equal(submit_check(b, "r2", &err), ERR_EXISTS);
    assert_string_equal(err.message, "rollout \"r2\" exists and is no check; choose another id");
}

static void the_retry_of_a_check_is_a_check(void **state)
{
    struct bench *b = *state;
    struct fake_conn a, other;
    struct error err = {0};
    conn_connect(b, &a, "a", "i1", NULL);
    conn_connect(b, &other, "b", "i2", NULL);
    assert_int_equal(submit_check(b, "r1", &err), ERR_OK);
    conn_ended(b, &a, "r1", EXECUTION_FAILED);
    conn_ended(b, &other, "r1", EXECUTION_SUCCEEDED);
    assert_int_equal(bench_retry(b, "r1", "r2", &err), ERR_OK);
    bench_settle(b);
    assert_true(is_check(b, "r2"));
    assert_true(sent_to(&a)->check);
    assert_string_equal(sent_to(&a)->rollout, "r2");
    conn_drop(&a);
    conn_drop(&other);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

/* Nor a plan with secrets one that would write out their names; whoever knows them gets the
 * references. */
static void an_agent_that_knows_no_secrets_is_sent_no_plan_with_some(void **state)
{
    static const char with_secrets[] =
        "{\"servers\":[\"a\",\"b\"],\"secrets\":{\"t\":{\"env\":\"T\"}},\"steps\":[{\"name\":\"s\","
        "\"type\":\"script\",\"params\":{\"script\":\"x\",\"stdin\":\"${secrets.t}\"}}],"
        "\"rolloutStrategy\":{\"type\":\"Parallel\",\"maxFailures\":2}}";
    struct bench *b = *state;
    struct fake_conn old, a;
    bench_agents_before_secrets(true);
    conn_connect(b, &old, "a", "i1", NULL);
    bench_agents_before_secrets(false);
    conn_connect(b, &a, "b", "i2", NULL);
    bench_submit(b, "r1", with_secrets);
    bench_settle(b);
    bench_pass(b, 1);
    assert_int_equal(conn_count(&old, WIRE_EXECUTE), 0);
    assert_int_equal(bench_execution(b, "r1", 0)->state, EXECUTION_UNREACHABLE);
    assert_string_equal(sent_to(&a)->secrets, "{\"t\":{\"env\":\"T\"}}");
    conn_ended(b, &a, "r1", EXECUTION_SUCCEEDED);
    conn_drop(&old);
    conn_drop(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(its_execute_says_so_and_asks_for_no_undo),
        TEST(it_waits_in_the_queue_as_any_other),
        TEST(an_agent_that_knows_no_checks_is_sent_none),
        TEST(an_agent_that_knows_no_secrets_is_sent_no_plan_with_some),
        TEST(an_id_stands_for_one_of_both),
        TEST(the_retry_of_a_check_is_a_check),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
