/* Servers that a step has rebooted: how long they may be away, and who may come back as one. */
#include "unit/dispatch/support_dispatch.h"

#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static const char plan[] =
    "{\"servers\":[\"a\"],\"steps\":[{\"name\":\"one\",\"type\":\"reboot\",\"params\":{}}],"
    "\"rolloutStrategy\":{\"type\":\"Parallel\",\"reconnectTimeoutSeconds\":7},"
    "\"rollback\":{\"scope\":\"none\"}}";

enum { AWAY_MS = 20000 };

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

/* Rollout r1 up to the word that its server is to be rebooted, for so long. */
static void reboot(struct bench *b, struct fake_conn *c, int64_t away_ms)
{
    conn_connect(b, c, "a", "i1", NULL);
    bench_submit(b, "r1", plan);
    bench_settle(b);
    assert_true(conn_last(c, WIRE_EXECUTE)->execute.reboots);
    conn_touched(b, c, "r1");
    conn_report(c, "r1",
                ENTRY(3, REPORT_STEP_REBOOTING, 0, .attempt = 1, .state = STEP_RUNNING,
                      .away_ms = away_ms));
    bench_settle(b);
}

static enum execution_state state_of(struct bench *b)
{
    return bench_execution(b, "r1", 0)->state;
}

static void a_server_is_away_as_long_as_its_step_says(void **state)
{
    struct bench *b = *state;
    struct fake_conn c;
    reboot(b, &c, AWAY_MS);
    conn_drop(&c);
    bench_pass(b, AWAY_MS - 1);
    assert_int_equal(state_of(b), EXECUTION_RUNNING);
    assert_int_equal(bench_execution(b, "r1", 0)->away_ms, AWAY_MS);
    bench_pass(b, 1);
    assert_int_equal(state_of(b), EXECUTION_UNKNOWN);
    assert_int_equal(bench_execution(b, "r1", 0)->away_ms, 0);
}

static void a_time_shorter_than_the_strategys_changes_nothing(void **state)
{
    struct bench *b = *state;
    struct fake_conn c;
    reboot(b, &c, 1000);
    conn_drop(&c);
    bench_pass(b, 6999);
    assert_int_equal(state_of(b), EXECUTION_RUNNING);
    bench_pass(b, 1);
    assert_int_equal(state_of(b), EXECUTION_UNKNOWN);
}

static void once_it_is_back_it_is_as_any_other(void **state)
{
    struct bench *b = *state;
    struct fake_conn c;
    reboot(b, &c, AWAY_MS);
    conn_drop(&c);
    conn_connect(b, &c, "a", "i1", "r1");
    conn_report(&c, "r1", ENTRY(4, REPORT_STEP_REBOOTED, 0, .attempt = 1, .state = STEP_RUNNING));
    bench_settle(b);
    assert_int_equal(bench_execution(b, "r1", 0)->away_ms, 0);
    conn_drop(&c);
    bench_pass(b, 7000);
    assert_int_equal(state_of(b), EXECUTION_UNKNOWN);
}

static void another_orchestrator_waits_as_long(void **state)
{
    struct bench *b = *state;
    struct fake_conn c;
    reboot(b, &c, AWAY_MS);
    conn_drop(&c);
    bench_restart(b);
    bench_pass(b, AWAY_MS - 1);
    assert_int_equal(state_of(b), EXECUTION_RUNNING);
    bench_pass(b, 1);
    assert_int_equal(state_of(b), EXECUTION_UNKNOWN);
}

/* The machine went down without a word: its old connection seems to live. */
static void another_boot_takes_its_place_at_once_while_it_is_expected(void **state)
{
    struct bench *b = *state;
    struct fake_conn c, back = {0}, stranger = {0};
    reboot(b, &c, AWAY_MS);
    assert_int_equal(
        dispatcher_session_open(b->dispatcher, &stranger, "127.0.0.1:1", &stranger.session, NULL),
        ERR_OK);
    conn_say(&stranger, "{\"v\":1,\"type\":\"hello\",\"id\":\"a\",\"instance\":\"i2\","
                        "\"version\":\"1\",\"bootId\":\"2\",\"handlers\":[],\"executions\":[]}");
    assert_true(stranger.closed);
    assert_int_equal(
        dispatcher_session_open(b->dispatcher, &back, "127.0.0.1:1", &back.session, NULL), ERR_OK);
    conn_say(&back,
             "{\"v\":1,\"type\":\"hello\",\"id\":\"a\",\"instance\":\"i1\",\"version\":\"1\","
             "\"bootId\":\"2\",\"handlers\":[],"
             "\"executions\":[{\"rollout\":\"r1\",\"lastSeq\":3}]}");
    assert_int_equal(conn_count(&back, WIRE_WELCOME), 1);
    assert_true(c.closed);
    assert_int_equal(b->alarms, 1); /* the stranger's */
    conn_drop(&c);
    conn_drop(&stranger);
    conn_drop(&back);
}

static void facts_that_come_with_a_report_are_the_servers(void **state)
{
    struct bench *b = *state;
    struct fake_conn c;
    struct server_view view = {0};
    reboot(b, &c, AWAY_MS);
    conn_say(&c, "{\"v\":1,\"type\":\"report\",\"rollout\":\"r1\","
                 "\"facts\":{\"rebootRequired\":true},\"entries\":[{\"seq\":4,"
                 "\"type\":\"step_rebooted\",\"timeMs\":1,\"step\":0,\"attempt\":1,"
                 "\"state\":\"running\"}]}");
    bench_settle(b);
    assert_int_equal(dispatcher_server(b->dispatcher, "a", &view, NULL), ERR_OK);
    assert_string_equal(view.facts, "{\"rebootRequired\":true}");
    conn_drop(&c);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_server_is_away_as_long_as_its_step_says),
        TEST(a_time_shorter_than_the_strategys_changes_nothing),
        TEST(once_it_is_back_it_is_as_any_other),
        TEST(another_orchestrator_waits_as_long),
        TEST(facts_that_come_with_a_report_are_the_servers),
        TEST(another_boot_takes_its_place_at_once_while_it_is_expected),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
