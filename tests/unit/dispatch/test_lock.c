/* Servers that people lock. */
#include "unit/dispatch/support_dispatch.h"

#include "common/base/alloc.h"

#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define STEPS "\"steps\":[{\"name\":\"s\",\"type\":\"echo\",\"params\":{\"message\":\"m\"}}]"
static const char one_server[] =
    "{\"servers\":[\"a\"]," STEPS
    ",\"rolloutStrategy\":{\"type\":\"Parallel\",\"startTimeoutSeconds\":5}}";

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

static void lock(struct bench *b, const char *server)
{
    struct error err = {0};
    if (bench_lock(b, server, &err) != ERR_OK)
        fail_msg("lock: %s", err.message);
    bench_settle(b);
}

static void unlock(struct bench *b, const char *server)
{
    struct error err = {0};
    if (bench_unlock(b, server, &err) != ERR_OK)
        fail_msg("unlock: %s", err.message);
}

/* Lets time pass while the agent is heard. */
static void pass_connected(struct bench *b, struct fake_conn *c, int seconds)
{
    for (int i = 0; i < seconds; i++) {
        conn_say(c, "{\"v\":1,\"type\":\"heartbeat\"}");
        bench_pass(b, 1000);
    }
}

static void a_locked_server_begins_nothing_until_it_is_unlocked(void **state)
{
    struct bench *b = *state;
    struct fake_conn c;
    conn_connect(b, &c, "a", "i1", NULL);
    lock(b, "a");
    assert_int_equal(b->answers, 1);
    assert_string_equal(b->last_id, "a");
    bench_submit(b, "r1", one_server);
    bench_settle(b);
    /* Longer than it may take to start: that is not what it waits for. */
    pass_connected(b, &c, 7);
    assert_int_equal(conn_count(&c, WIRE_EXECUTE), 0);
    assert_int_equal(bench_execution(b, "r1", 0)->state, EXECUTION_QUEUED);
    unlock(b, "a");
    assert_int_equal(conn_count(&c, WIRE_EXECUTE), 0);
    bench_settle(b);
    assert_int_equal(conn_count(&c, WIRE_EXECUTE), 1);
    /* And from now on its time runs. */
    pass_connected(b, &c, 6);
    assert_int_equal(bench_execution(b, "r1", 0)->state, EXECUTION_UNREACHABLE);
    conn_drop(&c);
}

static void what_is_under_way_goes_on_and_is_undone(void **state)
{
    struct bench *b = *state;
    struct fake_conn c;
    struct error err = {0};
    static const struct dispatcher_order cancel = {
        .command = COMMAND_CANCEL, .now = true, .rollback = true};
    conn_connect(b, &c, "a", "i1", NULL);
    bench_submit(b, "r1", one_server);
    bench_submit(b, "r2", one_server);
    bench_settle(b);
    conn_touched(b, &c, "r1");
    lock(b, "a");
    assert_int_equal(dispatcher_order(b->dispatcher, "r1", &cancel, NULL, NULL, &err), ERR_OK);
    bench_settle(b);
    assert_int_equal(conn_count(&c, WIRE_CANCEL), 1);
    conn_report(&c, "r1", ENTRY(3, REPORT_STEP_ENDED, 0, .attempt = 1, .state = STEP_FAILED));
    conn_report(&c, "r1", ENTRY(4, REPORT_ENDED, -1, .state = EXECUTION_CANCELLED));
    bench_settle(b);
    assert_int_equal(conn_count(&c, WIRE_ROLLBACK), 1);
    conn_undone(b, &c, "r1", 5, EXECUTION_ROLLED_BACK);
    assert_int_equal(bench_state(b, "r1"), ROLLOUT_ROLLED_BACK);
    /* The next one is first now, and waits for the lock alone. */
    assert_null(dispatcher_waiting_for(b->dispatcher, "r2", 0));
    assert_int_equal(conn_count(&c, WIRE_EXECUTE), 1);
    unlock(b, "a");
    bench_settle(b);
    assert_int_equal(conn_count(&c, WIRE_EXECUTE), 2);
    conn_drop(&c);
}

static void a_lock_stands_after_a_restart_and_nothing_is_sent(void **state)
{
    struct bench *b = *state;
    struct fake_conn c;
    lock(b, "a");
    bench_submit(b, "r1", one_server);
    bench_settle(b);
    bench_restart(b);
    conn_connect(b, &c, "a", "i1", NULL);
    pass_connected(b, &c, 7);
    assert_int_equal(conn_count(&c, WIRE_EXECUTE), 0);
    assert_int_equal(bench_execution(b, "r1", 0)->state, EXECUTION_QUEUED);
    unlock(b, "a");
    bench_settle(b);
    assert_int_equal(conn_count(&c, WIRE_EXECUTE), 1);
    conn_drop(&c);
    bench_restart(b);
    conn_connect(b, &c, "a", "i1", NULL);
    assert_int_equal(conn_count(&c, WIRE_EXECUTE), 1);
    conn_drop(&c);
}

static void a_server_that_is_awaited_is_not_given_up_once_it_is_locked(void **state)
{
    struct bench *b = *state;
    bench_submit(b, "r1", one_server);
    bench_settle(b);
    bench_pass(b, 4000);
    lock(b, "a");
    bench_pass(b, 4000);
    assert_int_equal(bench_execution(b, "r1", 0)->state, EXECUTION_QUEUED);
}

static void a_lock_is_refused_with_who_holds_it(void **state)
{
    struct bench *b = *state;
    struct error err = {0};
    assert_int_equal(bench_unlock(b, "a", &err), ERR_CONFLICT);
    assert_non_null(strstr(err.message, "not locked"));
    lock(b, "a");
    assert_int_equal(bench_lock(b, "a", &err), ERR_CONFLICT);
    assert_non_null(strstr(err.message, "locked by me: disk swap"));
    unlock(b, "a");
    /* It is locked until that is durable, and can be neither locked nor unlocked meanwhile. */
    assert_int_equal(bench_unlock(b, "a", &err), ERR_CONFLICT);
    assert_int_equal(bench_lock(b, "a", &err), ERR_CONFLICT);
    bench_settle(b);
    assert_int_equal(bench_unlock(b, "a", &err), ERR_CONFLICT);
    lock(b, "a");
}

static void no_wait_is_refused_with_the_reason(void **state)
{
    struct bench *b = *state;
    struct error err = {0};
    lock(b, "a");
    assert_int_equal(bench_try_submit(b, "r1", one_server, true, &err), ERR_BUSY);
    assert_non_null(strstr(err.message, "server \"a\" is locked by me: disk swap"));
    unlock(b, "a");
    bench_settle(b);
    assert_int_equal(bench_try_submit(b, "r1", one_server, true, &err), ERR_OK);
    bench_settle(b);
}

static void a_server_that_nobody_has_seen_can_be_locked(void **state)
{
    struct bench *b = *state;
    struct server_view view;
    struct error err = {0};
    lock(b, "new");
    assert_int_equal(dispatcher_server(b->dispatcher, "new", &view, &err), ERR_OK);
    assert_true(view.locked);
    assert_string_equal(view.locked_by, "me");
    assert_string_equal(view.lock_reason, "disk swap");
    assert_int_equal(view.locked_ms, b->wall_ms);
    assert_int_equal(dispatcher_stats(b->dispatcher).locked, 1);
    bench_restart(b);
    assert_int_equal(dispatcher_stats(b->dispatcher).locked, 1);
    unlock(b, "new");
    bench_settle(b);
    assert_int_equal(dispatcher_stats(b->dispatcher).locked, 0);
}

static void a_lock_without_memory_changes_nothing(void **state)
{
    struct bench *b = *state;
    struct error err = {0};
    enum error_code code = ERR_NO_MEMORY;
    uint64_t n = 0;
    for (; code != ERR_OK; n++) {
        mem_fail_after(n);
        code = bench_lock(b, "a", &err);
        mem_fail_never();
        assert_true(code == ERR_OK || code == ERR_NO_MEMORY);
        assert_int_equal(dispatcher_stats(b->dispatcher).locked, code == ERR_OK);
    }
    assert_true(n > 4);
    bench_settle(b);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(a_locked_server_begins_nothing_until_it_is_unlocked),
        T(what_is_under_way_goes_on_and_is_undone),
        T(a_lock_stands_after_a_restart_and_nothing_is_sent),
        T(a_server_that_is_awaited_is_not_given_up_once_it_is_locked),
        T(a_lock_is_refused_with_who_holds_it),
        T(no_wait_is_refused_with_the_reason),
        T(a_server_that_nobody_has_seen_can_be_locked),
        T(a_lock_without_memory_changes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
