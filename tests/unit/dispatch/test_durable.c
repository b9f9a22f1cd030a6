/* What is shown while the journal cannot be written: somebody else writes in it. That it stalls,
 * which it would find out for itself after a while, is said by the test: the linker puts the
 * function here in the journal's place. */
#include "common/db/db.h"
#include "orchestrator/journal/journal_schema.h"
#include "unit/dispatch/support_dispatch.h"

#include <stdio.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static const char plan[] =
    "{\"servers\":[\"a\"],"
    "\"steps\":[{\"name\":\"s\",\"type\":\"sleep\",\"params\":{\"duration\":1}}],"
    "\"rolloutStrategy\":{\"type\":\"Sequential\"}}";

static bool stalled;

bool __wrap_journal_stalled(struct journal *j, bool *ret_final, struct error *ret_why);
bool __wrap_journal_stalled(struct journal *j, bool *ret_final, struct error *ret_why)
{
    (void)j;
    (void)ret_why;
    if (ret_final != NULL)
        *ret_final = false;
    return stalled;
}

/* The one who writes in it meanwhile: until then nothing more becomes durable. */
static struct db *intruder;

static void stall_begin(const struct bench *b)
{
    char path[sizeof(b->dir) + 16];
    (void)snprintf(path, sizeof(path), "%s/journal.db", b->dir);
    assert_int_equal(db_open(path, DB_READ_WRITE, &journal_schema, &intruder, NULL), ERR_OK);
    assert_int_equal(db_begin(intruder, NULL), ERR_OK);
}

static void stall_end(void)
{
    stalled = false;
    db_rollback(intruder);
    db_close(intruder);
}

static int setup(void **state)
{
    static struct bench bench;
    stalled = false;
    bench_open(&bench);
    *state = &bench;
    return 0;
}

static int teardown(void **state)
{
    bench_close(*state);
    return 0;
}

/* Runs on its server; that it has ended was reported, and is on its way to the disk. */
static void report_end(struct bench *b, struct fake_conn *c)
{
    conn_connect(b, c, "a", "i1", NULL);
    bench_submit(b, "r1", plan);
    bench_settle(b);
    conn_touched(b, c, "r1");
    stall_begin(b);
    conn_report(c, "r1", ENTRY(3, REPORT_STEP_ENDED, 0, .attempt = 1, .state = STEP_SUCCEEDED));
    conn_report(c, "r1", ENTRY(4, REPORT_ENDED, -1, .state = EXECUTION_SUCCEEDED));
}

static void an_end_that_is_not_durable_is_not_shown_in_a_stall(void **state)
{
    struct bench *b = *state;
    struct fake_conn c;
    struct rollout_view view;
    struct error err = {0};
    report_end(b, &c);
    stalled = true;
    assert_int_equal(dispatcher_rollout(b->dispatcher, "r1", &view, &err), ERR_OK);
    assert_int_equal(engine_state(view.engine), ROLLOUT_RUNNING);
    assert_int_equal(engine_execution(view.engine, 0)->state, EXECUTION_RUNNING);
    assert_int_equal(view.ended_ms, 0);
    uint64_t shown_seq = view.last_seq;
    stall_end();
    bench_settle(b);
    assert_int_equal(dispatcher_rollout(b->dispatcher, "r1", &view, &err), ERR_OK);
    assert_int_equal(engine_state(view.engine), ROLLOUT_SUCCEEDED);
    assert_true(view.last_seq > shown_seq);
    assert_true(view.ended_ms > 0);
    conn_drop(&c);
}

static void what_is_durable_is_shown_from_memory_in_a_stall_too(void **state)
{
    struct bench *b = *state;
    struct fake_conn c;
    report_end(b, &c);
    stall_end();
    bench_settle(b);
    stalled = true;
    assert_int_equal(bench_state(b, "r1"), ROLLOUT_SUCCEEDED);
    conn_drop(&c);
}

static void a_rollout_that_is_not_durable_at_all_is_not_found_in_a_stall(void **state)
{
    struct bench *b = *state;
    struct rollout_view view;
    struct error err = {0};
    stall_begin(b);
    bench_submit(b, "r1", plan);
    stalled = true;
    assert_int_equal(dispatcher_rollout(b->dispatcher, "r1", &view, &err), ERR_NOT_FOUND);
    stall_end();
    bench_settle(b);
    assert_int_equal(bench_state(b, "r1"), ROLLOUT_RUNNING);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(an_end_that_is_not_durable_is_not_shown_in_a_stall, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(what_is_durable_is_shown_from_memory_in_a_stall_too, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(
            a_rollout_that_is_not_durable_at_all_is_not_found_in_a_stall, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
