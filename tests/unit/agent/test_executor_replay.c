#include "unit/agent/support_executor.h"

#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* ---- After a restart --------------------------------------------------------------------- */

static void an_interrupted_idempotent_step_is_tried_again(void **state)
{
    (void)state;
    struct rig r;
    rig_init(&r, 2);
    r.traits[0].idempotent = true;
    (void)rig_begin(&r);
    (void)rig_ok(&r);
    EXPECT(rig_restart(&r, r.record_count, 0), "begun0.2 execute0.2!");
    EXPECT(rig_ok(&r), "0=succeeded prepare1.1");
    rig_done(&r);
}

static void an_interrupted_step_that_is_not_idempotent_has_failed(void **state)
{
    (void)state;
    struct rig r;
    rig_init(&r, 2);
    (void)rig_begin(&r);
    (void)rig_ok(&r);
    EXPECT(rig_restart(&r, r.record_count, 0), "0=failed ended=failed+undo undoing undo0.1!");
    assert_string_equal(
        r.records[r.record_count - 3].message,
        "the agent stopped while this step ran; whether it took effect is not known");
    rig_done(&r);
}

static void the_plan_decides_on_an_interrupted_step(void **state)
{
    (void)state;
    struct rig r;
    rig_init(&r, 1);
    r.traits[0].idempotent = true;
    r.steps[0].on_interrupt = INTERRUPT_FAIL;
    (void)rig_begin(&r);
    (void)rig_ok(&r);
    EXPECT(rig_restart(&r, r.record_count, 0), "0=failed ended=failed+undo undoing undo0.1!");
    rig_done(&r);
    rig_init(&r, 1);
    r.steps[0].on_interrupt = INTERRUPT_RETRY;
    (void)rig_begin(&r);
    (void)rig_ok(&r);
    EXPECT(rig_restart(&r, r.record_count, 0), "begun0.2 execute0.2!");
    rig_done(&r);
}

static void a_step_that_kills_its_agent_every_time_is_given_up(void **state)
{
    (void)state;
    struct rig r;
    rig_init(&r, 1);
    r.traits[0].idempotent = true;
    (void)rig_begin(&r);
    (void)rig_ok(&r);
    EXPECT(rig_restart(&r, r.record_count, 0), "begun0.2 execute0.2!");
    EXPECT(rig_restart(&r, r.record_count, 0), "begun0.3 execute0.3!");
    EXPECT(rig_restart(&r, r.record_count, 0), "0=failed ended=failed+undo undoing undo0.1!");
    assert_string_equal(r.records[r.record_count - 3].message,
                        "the agent died during this step 3 times");
    rig_done(&r);
}

static void an_interrupted_wait_is_followed_by_the_next_attempt(void **state)
{
    (void)state;
    struct rig r;
    rig_init(&r, 1);
    r.steps[0].retry.maximum_attempts = 2;
    (void)rig_begin(&r);
    (void)rig_ok(&r);
    (void)rig_fails(&r, true);
    EXPECT(rig_restart(&r, r.record_count, 0), "begun0.2 execute0.2!");
    EXPECT(rig_fails(&r, true), "0=failed ended=failed+undo undoing undo0.1!");
    rig_done(&r);
}

static void a_step_that_was_recorded_as_done_is_not_run_again(void **state)
{
    (void)state;
    struct rig r;
    rig_init(&r, 2);
    (void)rig_begin(&r);
    (void)rig_ok(&r);
    (void)rig_ok(&r);
    EXPECT(rig_restart(&r, r.record_count, 0), "prepare1.1");
    rig_done(&r);
}

static void a_prepared_step_that_did_not_begin_is_prepared_again(void **state)
{
    (void)state;
    struct rig r;
    rig_init(&r, 1);
    (void)rig_begin(&r);
    EXPECT(rig_restart(&r, 1, 0), "prepare0.1");
    rig_done(&r);
}

static void a_prepare_that_kills_its_agent_every_time_is_given_up(void **state)
{
    (void)state;
    struct rig r;
    rig_init(&r, 2);
    r.traits[1].idempotent = true;
    (void)rig_begin(&r);
    (void)rig_ok(&r);
    EXPECT(rig_ok(&r), "0=succeeded prepare1.1");
    /* How often it was is on disk before it begins again. */
    EXPECT(rig_restart(&r, r.record_count, 1), "prepare1.1!");
    EXPECT(rig_restart(&r, r.record_count, 2), "prepare1.1!");
    EXPECT(rig_restart(&r, r.record_count, 3), "1=failed ended=failed+undo undoing undo0.1!");
    assert_string_equal(r.records[r.record_count - 3].message,
                        "the agent died 3 times while preparing this step");
    assert_int_equal(r.records[r.record_count - 3].attempt, 1);
    EXPECT(rig_ok(&r), "0=rolled_back over=rolled_back finished");
    rig_done(&r);
}

static void
after_a_prepare_that_is_given_up_a_step_that_may_fail_is_followed_by_the_next(void **state)
{
    (void)state;
    struct rig r;
    rig_init(&r, 2);
    r.steps[0].required = false;
    (void)rig_begin(&r);
    EXPECT(rig_restart(&r, 1, 3), "0=failed prepare1.1");
    rig_done(&r);
}

static void the_deaths_are_those_since_the_last_entry(void **state)
{
    (void)state;
    struct rig r;
    rig_init(&r, 1);
    r.traits[0].idempotent = true;
    (void)rig_begin(&r);
    EXPECT(rig_restart(&r, 1, 2), "prepare0.1!");
    EXPECT(rig_fails(&r, true), "retrying0.1 wait1000");
    EXPECT(rig_timer(&r), "prepare0.2");
    rig_done(&r);
}

static void a_cautious_executor_prepares_nothing_that_is_not_on_record(void **state)
{
    (void)state;
    struct rig r;
    rig_init(&r, 2);
    r.cautious = true;
    EXPECT(rig_begin(&r), "started prepare0.1!");
    (void)rig_ok(&r);
    EXPECT(rig_ok(&r), "0=succeeded prepare1.1!");
    rig_done(&r);
}

static void an_interrupted_rollback_goes_on_with_the_next_step(void **state)
{
    (void)state;
    struct rig r;
    rig_init(&r, 2);
    (void)rig_begin(&r);
    (void)rig_ok(&r);
    (void)rig_ok(&r);
    (void)rig_ok(&r);
    (void)rig_fails(&r, false);
    EXPECT(rig_restart(&r, r.record_count, 1), "undo1.1!");
    EXPECT(rig_ok(&r), "1=rolled_back undo0.1!");
    EXPECT(rig_restart(&r, r.record_count, 1), "undo0.1!");
    EXPECT(rig_ok(&r), "0=rolled_back over=rolled_back finished");
    EXPECT(rig_restart(&r, r.record_count, 1), "finished");
    EXPECT(rig_rollback(&r), "");
    rig_done(&r);
}

static void an_undo_failure_before_the_restart_is_not_forgotten(void **state)
{
    (void)state;
    struct rig r;
    rig_init(&r, 2);
    (void)rig_begin(&r);
    (void)rig_ok(&r);
    (void)rig_ok(&r);
    (void)rig_ok(&r);
    (void)rig_fails(&r, false);
    EXPECT(rig_fails(&r, false), "1=rollback_failed undo0.1!");
    EXPECT(rig_restart(&r, r.record_count, 1), "undo0.1!");
    EXPECT(rig_ok(&r), "0=rolled_back over=rollback_failed finished");
    assert_string_equal(rig_last(&r)->message, "step 2 (b): it broke");
    rig_done(&r);
}

static void an_undo_that_kills_its_agent_every_time_is_given_up(void **state)
{
    (void)state;
    struct rig r;
    rig_init(&r, 2);
    (void)rig_begin(&r);
    (void)rig_ok(&r);
    (void)rig_ok(&r);
    (void)rig_ok(&r);
    (void)rig_fails(&r, false);
    EXPECT(rig_restart(&r, r.record_count, 2), "undo1.1!");
    EXPECT(rig_restart(&r, r.record_count, 3), "1=rollback_failed undo0.1!");
    EXPECT(rig_ok(&r), "0=rolled_back over=rollback_failed finished");
    assert_string_equal(rig_last(&r)->message,
                        "step 2 (b): the agent died 3 times while undoing this step");
    rig_done(&r);
}

static void what_ended_stays_so_and_can_still_be_undone(void **state)
{
    (void)state;
    struct rig r;
    rig_init(&r, 1);
    (void)rig_begin(&r);
    (void)rig_ok(&r);
    (void)rig_ok(&r);
    EXPECT(rig_restart(&r, r.record_count, 0), "finished");
    EXPECT(rig_rollback(&r), "undoing undo0.1!");
    rig_done(&r);
}

static void entries_that_make_no_sense_are_refused(void **state)
{
    (void)state;
    struct rig r;
    struct error err;
    const struct executor_record bad[] = {
        {.type = REPORT_STEP_STARTED, .step = 1},
        {.type = REPORT_STEP_ENDED, .step = -1},
        {.type = REPORT_STEP_ROLLED_BACK, .step = 0, .state = STEP_ROLLED_BACK},
    };
    const struct executor_record after[][2] = {
        {{.type = REPORT_CONFIRMING}, {.type = REPORT_STEP_STARTED, .step = 0}},
        {{.type = REPORT_ROLLBACK_STARTED}, {.type = REPORT_ROLLBACK_STARTED}},
        {{.type = REPORT_ROLLED_BACK}, {.type = REPORT_STEP_ROLLED_BACK, .step = 0}},
    };
    rig_init(&r, 1);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        rig_make(&r);
        assert_int_equal(executor_replay(r.x, &bad[i], &err), ERR_CORRUPT);
    }
    for (size_t i = 0; i < ARRAY_LEN(after); i++) {
        rig_make(&r);
        assert_int_equal(executor_replay(r.x, &after[i][0], &err), ERR_OK);
        assert_int_equal(executor_replay(r.x, &after[i][1], &err), ERR_CORRUPT);
    }
    rig_done(&r);
}

static void the_step_that_was_under_way_is_known_after_a_restart(void **state)
{
    (void)state;
    struct rig r;
    struct error err;
    uint32_t step = 99;
    rig_init(&r, 2);
    (void)rig_begin(&r);
    (void)rig_ok(&r);
    (void)rig_ok(&r);
    (void)rig_ok(&r);
    rig_make(&r);
    for (size_t i = 0; i < r.record_count; i++)
        assert_int_equal(executor_replay(r.x, &r.records[i], &err), ERR_OK);
    assert_true(executor_interrupted(r.x, &step));
    assert_int_equal(step, 1);
    rig_done(&r);
}

/* ---- Any history, cut anywhere ------------------------------------------------------------- */

static uint64_t seed_state;
static uint32_t chance(uint32_t bound)
{
    seed_state = seed_state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)((seed_state >> 33) % bound);
}

static void rig_random(struct rig *r)
{
    rig_init(r, 1 + chance(4));
    r->rollback_on_failure = chance(2) == 0;
    r->cautious = chance(4) == 0;
    r->confirm_ms = chance(3) == 0 ? 5000 : 0;
    for (size_t i = 0; i < r->count; i++) {
        r->traits[i].idempotent = chance(2) == 0;
        r->traits[i].instant = chance(4) == 0;
        r->traits[i].inert = chance(6) == 0;
        r->steps[i].required = chance(4) != 0;
        r->steps[i].continue_on_failure = chance(6) == 0;
        r->steps[i].retry.maximum_attempts = chance(4);
        r->steps[i].on_interrupt = (int)chance(INTERRUPT_COUNT);
    }
}

/* Lets something happen that can happen now. With `trouble` 0 everything succeeds. */
static void happen(struct rig *r, uint32_t trouble)
{
    uint32_t what = trouble > 0 ? chance(100) : 100;
    if (what < 3)
        (void)rig_cancel(r, chance(2) == 0);
    else if (what < 8)
        (void)rig_order(r, 1 + chance(3), chance(2) == 0);
    else if (r->confirming)
        (void)(what < trouble ? rig_timer(r) : rig_confirmed(r));
    else if (r->waiting || (r->under_way && what < 12))
        (void)rig_timer(r);
    else if (what < trouble && r->operation.type == EXECUTOR_UNDO && chance(4) == 0)
        (void)rig_conflicts(r);
    else if (what < trouble)
        (void)rig_fails(r, chance(3) > 0);
    else if (r->operation.type == EXECUTOR_EXECUTE && chance(4) == 0)
        (void)rig_unchanged(r);
    else
        (void)rig_ok(r);
}

static void run_to_the_end(struct rig *r, uint32_t trouble)
{
    for (int i = 0; !r->finished; i++) {
        assert_true(i < 500);
        assert_true(r->under_way || r->waiting || r->confirming);
        happen(r, trouble);
    }
}

/* What was seen of a history up to some entry. */
struct seen {
    enum step_state ended[STEPS_MAX];
    bool executed[STEPS_MAX], doubt[STEPS_MAX], rolled_back[STEPS_MAX], dealt_with[STEPS_MAX];
    bool confirming, over, undoing, undo_failed;
    int32_t at;
};

static void check_forward(const struct rig *r, const struct executor_record *e, struct seen *seen)
{
    assert_false(seen->over || seen->confirming);
    assert_true(e->step >= seen->at);
    assert_int_equal(seen->ended[e->step], STEP_PENDING);
    seen->at = e->step;
    bool inert = r->traits[e->step].instant || r->traits[e->step].inert;
    seen->doubt[e->step] |= e->type == REPORT_STEP_STARTED && seen->executed[e->step] && !inert;
    seen->executed[e->step] |= e->type == REPORT_STEP_STARTED;
    if (e->type != REPORT_STEP_ENDED)
        return;
    seen->ended[e->step] = (enum step_state)e->state;
    /* What changed nothing is not undone; but after an attempt that did not succeed nobody knows.
     */
    if (e->state == STEP_SUCCEEDED && !e->changed) {
        assert_false(seen->doubt[e->step]);
        seen->executed[e->step] = false;
    }
    if (inert)
        seen->executed[e->step] = false;
}

static void check_undo(const struct rig *r, const struct executor_record *e, struct seen *seen)
{
    if (e->type == REPORT_ROLLBACK_STARTED) {
        assert_true(seen->over && !seen->undoing);
        seen->undoing = true;
        seen->undo_failed = false;
        seen->at = (int32_t)r->count;
        /* By force a step before one that is left is undone once more. */
        for (size_t i = r->count, left = 0; i-- > 0;) {
            seen->dealt_with[i] = seen->rolled_back[i] && !(e->force && left > 0);
            left += seen->executed[i] && !seen->dealt_with[i];
        }
        return;
    }
    assert_true(seen->undoing);
    if (e->type == REPORT_STEP_ROLLED_BACK) {
        assert_true(seen->executed[e->step] && !seen->dealt_with[e->step] && e->step < seen->at);
        seen->at = e->step;
        seen->dealt_with[e->step] = true;
        seen->rolled_back[e->step] = e->state == STEP_ROLLED_BACK;
        seen->undo_failed |= e->state != STEP_ROLLED_BACK;
        return;
    }
    assert_int_equal(e->type, REPORT_ROLLED_BACK);
    seen->undoing = false;
    assert_int_equal(e->state,
                     seen->undo_failed ? EXECUTION_ROLLBACK_FAILED : EXECUTION_ROLLED_BACK);
    for (size_t i = 0; i < r->count; i++)
        assert_int_equal(seen->executed[i], seen->dealt_with[i]);
}

/* What must hold of any record of an execution, from its first entry on. */
static void check_history(const struct rig *r)
{
    struct seen seen = {0};
    assert_int_equal(r->records[0].type, REPORT_STARTED);
    for (size_t i = 1; i < r->record_count; i++) {
        const struct executor_record *e = &r->records[i];
        if (e->type == REPORT_STEP_STARTED || e->type == REPORT_STEP_RETRYING ||
            e->type == REPORT_STEP_ENDED) {
            check_forward(r, e, &seen);
        } else if (e->type == REPORT_CONFIRMING) {
            assert_false(seen.over || seen.confirming);
            seen.confirming = true;
        } else if (e->type == REPORT_ENDED) {
            assert_false(seen.over);
            seen.over = true;
            /* Without the confirmation that the plan wants there is success only to be undone. */
            if (e->state == EXECUTION_SUCCEEDED && r->confirm_ms > 0 && !seen.confirming)
                assert_int_equal(r->records[i + 1].type, REPORT_ROLLBACK_STARTED);
        } else {
            check_undo(r, e, &seen);
        }
    }
    assert_true(seen.over && !seen.undoing);
}

static void a_history_cut_anywhere_goes_on_to_a_proper_end(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 400; seed++) {
        struct rig whole;
        seed_state = seed;
        rig_random(&whole);
        (void)rig_begin(&whole);
        run_to_the_end(&whole, 40);
        for (int64_t rounds = chance(3); rounds > 0; rounds--) {
            (void)rig_order(&whole, 4 - rounds, chance(2) == 0);
            run_to_the_end(&whole, 40);
        }
        check_history(&whole);
        for (size_t cut = 1; cut <= whole.record_count; cut++) {
            struct rig part = whole;
            part.x = NULL;
            part.trace = BUF_INIT;
            part.record_count = 0;
            for (size_t i = 0; i < cut; i++)
                rig_keep(&part, &whole.records[i]);
            (void)rig_restart(&part, cut, 1);
            run_to_the_end(&part, 0);
            check_history(&part);
            rig_done(&part);
        }
        rig_done(&whole);
    }
}

static void want_of_memory_is_an_error(void **state)
{
    (void)state;
    struct error err;
    struct executor *x = NULL;
    const struct executor_config config = {0};
    mem_fail_after(0);
    assert_int_equal(executor_new(&config, &x, &err), ERR_NO_MEMORY);
    mem_fail_never();
    assert_null(x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_interrupted_idempotent_step_is_tried_again),
        cmocka_unit_test(an_interrupted_step_that_is_not_idempotent_has_failed),
        cmocka_unit_test(the_plan_decides_on_an_interrupted_step),
        cmocka_unit_test(a_step_that_kills_its_agent_every_time_is_given_up),
        cmocka_unit_test(an_interrupted_wait_is_followed_by_the_next_attempt),
        cmocka_unit_test(a_step_that_was_recorded_as_done_is_not_run_again),
        cmocka_unit_test(a_prepared_step_that_did_not_begin_is_prepared_again),
        cmocka_unit_test(a_prepare_that_kills_its_agent_every_time_is_given_up),
        cmocka_unit_test(
            after_a_prepare_that_is_given_up_a_step_that_may_fail_is_followed_by_the_next),
        cmocka_unit_test(the_deaths_are_those_since_the_last_entry),
        cmocka_unit_test(a_cautious_executor_prepares_nothing_that_is_not_on_record),
        cmocka_unit_test(an_interrupted_rollback_goes_on_with_the_next_step),
        cmocka_unit_test(an_undo_failure_before_the_restart_is_not_forgotten),
        cmocka_unit_test(an_undo_that_kills_its_agent_every_time_is_given_up),
        cmocka_unit_test(what_ended_stays_so_and_can_still_be_undone),
        cmocka_unit_test(entries_that_make_no_sense_are_refused),
        cmocka_unit_test(the_step_that_was_under_way_is_known_after_a_restart),
        cmocka_unit_test(a_history_cut_anywhere_goes_on_to_a_proper_end),
        cmocka_unit_test(want_of_memory_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
