#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/base/alloc.h"
#include "common/base/clock.h"
#include "unit/engine/support_plan.h"
#include "unit/engine/support_rollout.h"

#include <stdio.h>

static void memory_that_runs_out_makes_no_engine(void **state)
{
    (void)state;
    struct plan *plan = parallel_of(3);
    uint64_t allocations = 0;
    for (;; allocations++) {
        struct engine *e = NULL;
        struct error err = {0};
        mem_fail_after(allocations);
        enum error_code code = engine_new(plan, &e, &err);
        mem_fail_never();
        if (code == ERR_OK) {
            engine_free(e);
            break;
        }
        assert_int_equal(code, ERR_NO_MEMORY);
        assert_int_equal(err.code, ERR_NO_MEMORY);
        assert_null(e);
    }
    assert_int_equal(allocations, 3);
    plan_free(plan);
    engine_free(NULL);
}

static void nothing_is_allocated_after_the_beginning(void **state)
{
    (void)state;
    struct plan *plan = rolling_of(3, 2);
    struct engine *e = NULL;
    assert_int_equal(engine_new(plan, &e, NULL), ERR_OK);
    mem_fail_after(0);
    struct decision d;
    const struct event script[] = {
        {.type = EVENT_ROLLOUT_CREATED},
        {.type = EVENT_EXECUTION_STARTED, .server = 0, .agent_seq = 1},
        {.type = EVENT_EXECUTION_ENDED, .server = 0, .agent_seq = 2, .state = EXECUTION_FAILED},
        {.type = EVENT_EXECUTION_WITHDRAWN, .server = 1},
    };
    for (size_t i = 0; i < sizeof(script) / sizeof(script[0]); i++) {
        assert_int_equal(engine_apply(e, &script[i], NULL), ERR_OK);
        while (engine_next(e, &d))
            continue;
    }
    engine_resume(e);
    assert_true(engine_next(e, &d));
    assert_int_equal(mem_fail_count(), 0);
    mem_fail_never();
    engine_free(e);
    plan_free(plan);
}

static void a_note_is_passed_over(void **state)
{
    (void)state;
    struct rollout *r = rollout_of(sequential_of(1));
    (void)created(r);
    for (int type = 0; type < EVENT_TYPE_COUNT; type++) {
        if (!event_is_input((enum event_type)type))
            assert_string_equal(apply(r, entry((enum event_type)type, 0, 0)), "");
    }
    assert_string_equal(counts(r), "0 1 0 0 0 0 0 0 / 0 0");
    rollout_free(r);
}

static void a_note_bears_the_time_and_the_words_of_what_happened(void **state)
{
    (void)state;
    struct plan *plan = sequential_of(1);
    struct engine *e = NULL;
    assert_int_equal(engine_new(plan, &e, NULL), ERR_OK);
    struct event event = {.type = EVENT_ROLLOUT_CREATED, .time_ms = 10};
    struct decision d;
    assert_int_equal(engine_apply(e, &event, NULL), ERR_OK);
    assert_true(engine_next(e, &d));
    assert_int_equal(d.type, DECISION_NOTE);
    assert_int_equal(d.note.time_ms, 10);
    assert_int_equal(d.note.server, EVENT_NO_SERVER);
    assert_int_equal(d.note.step, EVENT_NO_STEP);
    assert_null(d.note.message);
    while (engine_next(e, &d))
        continue;
    event = (struct event){.type = EVENT_EXECUTION_UNREACHABLE, .time_ms = 20};
    assert_int_equal(engine_apply(e, &event, NULL), ERR_OK);
    assert_true(engine_next(e, &d));
    assert_int_equal(d.note.type, EVENT_THRESHOLD_EXCEEDED);
    assert_string_equal(d.note.message, "1 of 1 servers failed, 0 allowed");
    engine_free(e);
    plan_free(plan);
}

static void the_standing_decisions_come_again_as_often_as_asked(void **state)
{
    (void)state;
    struct rollout *r = rollout_of(parallel_of(3));
    (void)created(r);
    (void)begins(r, 1);
    assert_string_equal(standing(r), "start(0) start(2)");
    assert_string_equal(standing(r), "start(0) start(2)");
    (void)cancelled(r, false, true);
    assert_string_equal(standing(r), "cancel(0) cancel(1) cancel(2)");
    (void)withdrawn(r, 0);
    (void)withdrawn(r, 2);
    (void)ends(r, 1, EXECUTION_CANCELLED);
    assert_string_equal(standing(r), "rollback(1)");
    (void)undone(r, 1);
    assert_string_equal(standing(r), "");
    rollout_free(r);
}

static void a_start_that_was_not_taken_gives_way_to_a_cancel(void **state)
{
    (void)state;
    struct plan *plan = parallel_of(2);
    struct engine *e = NULL;
    char text[256] = "";
    assert_int_equal(engine_new(plan, &e, NULL), ERR_OK);
    struct decision d;
    const struct event begin = {.type = EVENT_ROLLOUT_CREATED};
    const struct event cancel = {.type = EVENT_CANCEL_REQUESTED};
    assert_int_equal(engine_apply(e, &begin, NULL), ERR_OK);
    for (int notes = 0; notes < 2; notes++)
        assert_true(engine_next(e, &d));
    assert_int_equal(engine_apply(e, &cancel, NULL), ERR_OK);
    take_decisions(e, text, sizeof(text));
    assert_string_equal(text, "cancel(0) cancel(1)");
    engine_free(e);
    plan_free(plan);
}

static void what_has_been_overtaken_is_not_decided(void **state)
{
    (void)state;
    struct plan *plan = parallel_of(3);
    plan->strategy.max_failures = limit_of(1);
    struct rollout *r = rollout_of(plan);
    struct engine *e = rollout_engine(r);
    (void)created(r);
    engine_resume(e);
    assert_string_equal(begins(r, 1), "start(0) start(2)");
    engine_resume(e);
    assert_string_equal(unreachable(r, 2), "start(0)");
    (void)begins(r, 0);
    (void)cancelled(r, false, true);
    engine_resume(e);
    assert_string_equal(ends(r, 0, EXECUTION_CANCELLED), "cancel(1)");
    (void)ends(r, 1, EXECUTION_CANCELLED);
    assert_string_equal(standing(r), "rollback(0) rollback(1)");
    engine_resume(e);
    assert_string_equal(undone(r, 0), "rollback(1)");
    engine_resume(e);
    assert_string_equal(unknown(r, 1), "rollout_ended(rollback_failed) end");
    rollout_free(r);
}

/* ---- Scale: work is counted, since time says little on a busy machine -------------------- */

enum { MANY = 100000 };

static uint64_t take_counting(struct engine *e, uint64_t *ret_starts, uint64_t *ret_rollbacks)
{
    struct decision d;
    uint64_t calls = 1;
    for (; engine_next(e, &d); calls++) {
        *ret_starts += d.type == DECISION_START;
        *ret_rollbacks += d.type == DECISION_ROLLBACK;
    }
    return calls;
}

/* Runs a rollout of MANY servers in which the last one fails; gives the calls of engine_next. */
static uint64_t run_many(struct plan *plan, const char *what)
{
    struct engine *e = NULL;
    uint64_t calls = 0;
    uint64_t starts = 0;
    uint64_t rollbacks = 0;
    int64_t began_us = clock_mono_us();
    assert_int_equal(engine_new(plan, &e, NULL), ERR_OK);
    struct event event = {.type = EVENT_ROLLOUT_CREATED};
    assert_int_equal(engine_apply(e, &event, NULL), ERR_OK);
    calls += take_counting(e, &starts, &rollbacks);
    for (uint32_t i = 0; i < MANY; i++) {
        event = (struct event){.type = EVENT_EXECUTION_STARTED, .server = i, .agent_seq = 1};
        assert_int_equal(engine_apply(e, &event, NULL), ERR_OK);
        calls += take_counting(e, &starts, &rollbacks);
        event.type = EVENT_EXECUTION_ENDED;
        event.agent_seq = 2;
        event.state = i == MANY - 1 ? EXECUTION_FAILED : EXECUTION_SUCCEEDED;
        assert_int_equal(engine_apply(e, &event, NULL), ERR_OK);
        calls += take_counting(e, &starts, &rollbacks);
    }
    for (uint32_t i = MANY; i-- > 0;) {
        event = (struct event){.type = EVENT_EXECUTION_ROLLED_BACK,
                               .server = i,
                               .agent_seq = 3,
                               .state = EXECUTION_ROLLED_BACK};
        assert_int_equal(engine_apply(e, &event, NULL), ERR_OK);
        calls += take_counting(e, &starts, &rollbacks);
    }
    assert_int_equal(engine_state(e), ROLLOUT_ROLLED_BACK);
    assert_int_equal(starts, MANY);
    assert_int_equal(rollbacks, MANY);
    (void)printf("%s: %d servers, %llu calls of engine_next, %.1f ms\n", what, MANY,
                 (unsigned long long)calls, (double)(clock_mono_us() - began_us) / 1000);
    engine_free(e);
    plan_free(plan);
    return calls;
}

static void a_hundred_thousand_servers_in_parallel_are_linear_work(void **state)
{
    (void)state;
    /* 3 events and 2 decisions each, and a few notes. */
    assert_in_range(run_many(parallel_of(MANY), "Parallel"), 5 * MANY, 5 * MANY + 10);
}

static void a_hundred_thousand_batches_of_one_are_linear_work(void **state)
{
    (void)state;
    /* And two notes for each batch. */
    assert_in_range(run_many(rolling_of(MANY, 1), "Rolling 1"), 7 * MANY, 7 * MANY + 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_that_runs_out_makes_no_engine),
        cmocka_unit_test(nothing_is_allocated_after_the_beginning),
        cmocka_unit_test(a_note_is_passed_over),
        cmocka_unit_test(a_note_bears_the_time_and_the_words_of_what_happened),
        cmocka_unit_test(the_standing_decisions_come_again_as_often_as_asked),
        cmocka_unit_test(a_start_that_was_not_taken_gives_way_to_a_cancel),
        cmocka_unit_test(what_has_been_overtaken_is_not_decided),
        cmocka_unit_test(a_hundred_thousand_servers_in_parallel_are_linear_work),
        cmocka_unit_test(a_hundred_thousand_batches_of_one_are_linear_work),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
