#include "agent/executor.h"
#include "common/base/buf.h"

#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { STEPS_MAX = 8, RECORDS_MAX = 512, TIMEOUT_MS = 90000 };

/* An executor, what it was asked to run, and a text of all that it did. */
struct rig {
    struct plan_step steps[STEPS_MAX];
    struct executor_traits traits[STEPS_MAX];
    size_t count;
    bool rollback_on_failure, cautious;
    int64_t confirm_ms;
    struct executor *x;
    struct buf trace;
    struct executor_record records[RECORDS_MAX]; /* their messages are owned */
    size_t record_count;
    struct executor_action operation; /* the last one begun */
    bool under_way, waiting, finished;
    int64_t now_ms;
};

static char names[STEPS_MAX][4] = {"a", "b", "c", "d", "e", "f", "g", "h"};

static void rig_init(struct rig *r, size_t count)
{
    memset(r, 0, sizeof(*r));
    r->count = count;
    r->now_ms = 1000;
    r->rollback_on_failure = true;
    for (size_t i = 0; i < count; i++) {
        r->steps[i] = (struct plan_step){
            .name = names[i],
            .required = true,
            .timeout_ms = TIMEOUT_MS,
            .retry = {.initial_interval_ms = 1000,
                      .backoff_coefficient = 2.0,
                      .maximum_interval_ms = 3000},
        };
    }
}

static void rig_done(struct rig *r)
{
    for (size_t i = 0; i < r->record_count; i++)
        mem_free((char *)(uintptr_t)r->records[i].message);
    executor_free(r->x);
    buf_done(&r->trace);
}

static void make(struct rig *r)
{
    struct error err;
    const struct executor_config config = {
        .steps = r->steps,
        .traits = r->traits,
        .count = r->count,
        .rollback_on_failure = r->rollback_on_failure,
        .cautious = r->cautious,
        .confirm_ms = r->confirm_ms,
    };
    executor_free(r->x);
    r->x = NULL;
    assert_int_equal(executor_new(&config, &r->x, &err), ERR_OK);
    r->under_way = r->waiting = r->finished = false;
}

static void write_record(struct rig *r, const struct executor_record *e)
{
    struct buf *b = &r->trace;
    switch (e->type) {
    case REPORT_STARTED:
        buf_puts(b, "started ");
        break;
    case REPORT_STEP_STARTED:
        buf_printf(b, "begun%d.%d ", e->step, (int)e->attempt);
        break;
    case REPORT_STEP_RETRYING:
        buf_printf(b, "retrying%d.%d ", e->step, (int)e->attempt);
        break;
    case REPORT_STEP_ENDED:
        buf_printf(b, "%d=%s ", e->step, step_state_names[e->state]);
        break;
    case REPORT_CONFIRMING:
        buf_puts(b, "confirming ");
        break;
    case REPORT_ENDED:
        buf_printf(b, "ended=%s%s ", execution_state_names[e->state], e->undoing ? "+undo" : "");
        break;
    case REPORT_ROLLBACK_STARTED:
        buf_puts(b, "undoing ");
        break;
    case REPORT_STEP_ROLLED_BACK:
        buf_printf(b, "%d=%s ", e->step, step_state_names[e->state]);
        break;
    case REPORT_ROLLED_BACK:
        buf_printf(b, "over=%s ", execution_state_names[e->state]);
        break;
    case REPORT_TYPE_COUNT:
        break;
    }
}

static void keep_record(struct rig *r, const struct executor_record *record)
{
    assert_true(r->record_count < RECORDS_MAX);
    struct executor_record *kept = &r->records[r->record_count++];
    *kept = *record;
    if (record->message) {
        kept->message = mem_strdup(record->message);
        assert_non_null(kept->message);
    }
}

static void write_operation(struct rig *r, const char *name, const struct executor_action *action)
{
    assert_false(r->under_way);
    r->under_way = true;
    r->operation = *action;
    buf_printf(&r->trace, "%s%u.%d%s ", name, action->step, (int)action->attempt,
               action->durable_first ? "!" : "");
}

static void take_actions(struct rig *r)
{
    struct executor_action action;
    while (executor_next(r->x, &action)) {
        switch (action.type) {
        case EXECUTOR_RECORD:
            r->finished = false;
            write_record(r, &action.record);
            keep_record(r, &action.record);
            break;
        case EXECUTOR_PREPARE:
            write_operation(r, "prepare", &action);
            break;
        case EXECUTOR_EXECUTE:
            write_operation(r, "execute", &action);
            break;
        case EXECUTOR_UNDO:
            write_operation(r, "undo", &action);
            break;
        case EXECUTOR_STOP:
            assert_true(r->under_way);
            buf_puts(&r->trace, "stop ");
            break;
        case EXECUTOR_TIMER_START:
            r->waiting = true;
            buf_printf(&r->trace, "wait%d ", (int)action.delay_ms);
            break;
        case EXECUTOR_CONFIRM:
            r->waiting = true;
            buf_printf(&r->trace, "confirm%d%s ", (int)action.delay_ms,
                       action.durable_first ? "!" : "");
            break;
        case EXECUTOR_TIMER_STOP:
            r->waiting = false;
            buf_puts(&r->trace, "nowait ");
            break;
        case EXECUTOR_FINISHED:
            r->finished = true;
            buf_puts(&r->trace, "finished ");
            break;
        }
    }
}

/* What was done since the last call, without the space at the end. */
static const char *done(struct rig *r)
{
    static char text[4096];
    size_t len = r->trace.len > 0 ? r->trace.len - 1 : 0;
    assert_true(len < sizeof(text));
    if (len > 0)
        memcpy(text, r->trace.data, len);
    text[len] = '\0';
    buf_clear(&r->trace);
    return text;
}

static const char *event(struct rig *r, struct executor_event e)
{
    e.time_ms = r->now_ms++;
    executor_step(r->x, &e);
    take_actions(r);
    return done(r);
}

static const char *begin(struct rig *r)
{
    make(r);
    return event(r, (struct executor_event){.type = EXECUTOR_BEGIN});
}

static const char *over(struct rig *r, struct executor_result result)
{
    static const enum executor_event_type events[] = {
        [EXECUTOR_PREPARE] = EXECUTOR_PREPARED,
        [EXECUTOR_EXECUTE] = EXECUTOR_EXECUTED,
        [EXECUTOR_UNDO] = EXECUTOR_UNDONE,
    };
    assert_true(r->under_way);
    r->under_way = false;
    return event(r, (struct executor_event){.type = events[r->operation.type], .result = result});
}

static const char *ok(struct rig *r)
{
    return over(r, (struct executor_result){.outcome = EXECUTOR_OK, .changed = true});
}

static const char *fails(struct rig *r, bool retryable)
{
    return over(r, (struct executor_result){
                       .outcome = EXECUTOR_FAILED, .retryable = retryable, .message = "it broke"});
}

static const char *stopped(struct rig *r)
{
    return over(r, (struct executor_result){.outcome = EXECUTOR_STOPPED, .message = "killed"});
}

static const char *timer(struct rig *r)
{
    r->waiting = false;
    return event(r, (struct executor_event){.type = EXECUTOR_TIMER});
}

static const char *cancel(struct rig *r, bool now)
{
    return event(r, (struct executor_event){.type = EXECUTOR_CANCEL, .now = now});
}

static const char *order(struct rig *r, int64_t round, bool force)
{
    return event(
        r, (struct executor_event){.type = EXECUTOR_ROLLBACK, .round = round, .force = force});
}

static const char *rollback(struct rig *r)
{
    return order(r, 1, false);
}

static const struct executor_record *last(const struct rig *r)
{
    return &r->records[r->record_count - 1];
}

/* Replays the first `count` records into a fresh executor, as a restarted agent does. A capture is
 * on disk with the record that the step began. */
static const char *restart(struct rig *r, size_t count, int64_t restarts)
{
    struct error err;
    make(r);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(executor_replay(r->x, &r->records[i], &err), ERR_OK);
        if (r->records[i].type == REPORT_STEP_STARTED)
            executor_captured(r->x, (uint32_t)r->records[i].step);
    }
    while (r->record_count > count)
        mem_free((char *)(uintptr_t)r->records[--r->record_count].message);
    executor_resume(r->x, r->now_ms++, restarts);
    take_actions(r);
    return done(r);
}

#define EXPECT(got, want) assert_string_equal((got), (want))

/* ---- Going forward ----------------------------------------------------------------------- */

static void steps_run_in_order_each_prepared_first(void **state)
{
    (void)state;
    struct rig r;
    rig_init(&r, 2);
    EXPECT(begin(&r), "started prepare0.1");
    EXPECT(ok(&r), "begun0.1 execute0.1!");
    EXPECT(ok(&r), "0=succeeded prepare1.1");
    assert_true(last(&r)->changed);
    EXPECT(ok(&r), "begun1.1 execute1.1!");
    EXPECT(ok(&r), "1=succeeded ended=succeeded finished");
    assert_false(last(&r)->undoing);
    rig_done(&r);
}

static void an_instant_step_needs_no_record_that_it_began(void **state)
{
    (void)state;
    struct rig r;
    rig_init(&r, 1);
    r.traits[0].instant = true;
    EXPECT(begin(&r), "started prepare0.1");
    EXPECT(ok(&r), "execute0.1");
    EXPECT(ok(&r), "0=succeeded ended=succeeded finished");
    rig_done(&r);
}

static void an_operation_carries_the_steps_time_limit(void **state)
{
    (void)state;
    struct rig r;
    rig_init(&r, 1);
    (void)begin(&r);
    assert_int_equal(r.operation.timeout_ms, TIMEOUT_MS);
    (void)ok(&r);
    assert_int_equal(r.operation.timeout_ms, TIMEOUT_MS);
    (void)ok(&r);
    r.steps[0].timeout_ms = 5;
    EXPECT(rollback(&r), "undoing undo0.1!");
    assert_int_equal(r.operation.timeout_ms, EXECUTOR_UNDO_TIMEOUT_MIN_MS);
    rig_done(&r);
}

static void a_step_that_is_not_idempotent_gets_one_attempt(void **state)
{
    (void)state;
    struct rig r;
    rig_init(&r, 1);
    r.rollback_on_failure = false;
    (void)begin(&r);
    (void)ok(&r);
    EXPECT(fails(&r, true), "0=failed ended=failed finished");
    assert_string_equal(last(&r)->message, "step 1 (a): it broke");
    rig_done(&r);
}

static void an_idempotent_step_gets_three_attempts_with_growing_waits(void **state)
{
    (void)state;
    struct rig r;
    rig_init(&r, 1);
    r.traits[0].idempotent = true;
    r.rollback_on_failure = false;
    (void)begin(&r);
    (void)ok(&r);
    EXPECT(fails(&r, true), "retrying0.1 wait1000");
    assert_string_equal(last(&r)->message, "it broke");
    EXPECT(timer(&r), "begun0.2 execute0.2!");
    EXPECT(fails(&r, true), "retrying0.2 wait2000");
    EXPECT(timer(&r), "begun0.3 execute0.3!");
    EXPECT(fails(&r, true), "0=failed ended=failed finished");
    rig_done(&r);
}

static void the_wait_between_attempts_is_capped(void **state)
{
    (void)state;
    struct rig r;
    rig_init(&r, 1);
    r.steps[0].retry.maximum_attempts = 5;
    (void)begin(&r);
    (void)ok(&r);
    const char *const waits[] = {"retrying0.1 wait1000", "retrying0.2 wait2000",
                                 "retrying0.3 wait3000", "retrying0.4 wait3000"};
    for (size_t i = 0; i < ARRAY_LEN(waits); i++) {
        EXPECT(fails(&r, true), waits[i]);
        (void)timer(&r);
    }
    EXPECT(ok(&r), "0=succeeded ended=succeeded finished");
    assert_int_equal(r.records[r.record_count - 2].attempt, 5);
    rig_done(&r);
}

static void a_failure_that_is_not_retryable_ends_at_once(void **state)
{
    (void)state;
    struct rig r;
    rig_init(&r, 1);
    r.traits[0].idempotent = true;
    (void)begin(&r);
    (void)ok(&r);
    EXPECT(fails(&r, false), "0=failed ended=failed+undo undoing undo0.1!");
    rig_done(&r);
}

static void an_exit_code_that_the_plan_calls_final_ends_at_once(void **state)
{
    (void)state;
    struct rig r;
    int64_t codes[] = {64, 65};
    rig_init(&r, 1);
    r.traits[0].idempotent = true;
    r.rollback_on_failure = false;
    r.steps[0].retry.non_retryable_exit_codes = (struct array){codes, 2};
    (void)begin(&r);
    (void)ok(&r);
    struct executor_result result = {
        .outcome = EXECUTOR_FAILED, .retryable = true, .has_exit_code = true, .exit_code = 1};
    EXPECT(over(&r, result), "retrying0.1 wait1000");
    assert_int_equal(last(&r)->exit_code, 1);
    (void)timer(&r);
    result.exit_code = 65;
    EXPECT(over(&r, result), "0=failed ended=failed finished");
    rig_done(&r);
}

static void a_failed_prepare_is_an_attempt_and_leaves_nothing_to_undo(void **state)
{
    (void)state;
    struct rig r;
    rig_init(&r, 2);
    r.traits[1].idempotent = true;
    (void)begin(&r);
    (void)ok(&r);
    EXPECT(ok(&r), "0=succeeded prepare1.1");
    EXPECT(fails(&r, true), "retrying1.1 wait1000");
    EXPECT(timer(&r), "prepare1.2");
    EXPECT(fails(&r, false), "1=failed ended=failed+undo undoing undo0.1!");
    EXPECT(ok(&r), "0=rolled_back over=rolled_back finished");
    rig_done(&r);
}

static void a_retry_uses_the_first_capture(void **state)
{
    (void)state;
    struct rig r;
    rig_init(&r, 1);
    r.steps[0].retry.maximum_attempts = 2;
    (void)begin(&r);
    (void)ok(&r);
    (void)fails(&r, true);
    EXPECT(timer(&r), "begun0.2 execute0.2!");
    rig_done(&r);
}

static void a_step_that_takes_too_long_is_stopped_and_timed_out(void **state)
{
    (void)state;
    struct rig r;
    rig_init(&r, 1);
    r.rollback_on_failure = false;
    (void)begin(&r);
    (void)ok(&r);
    EXPECT(timer(&r), "stop");
    EXPECT(timer(&r), "");
    EXPECT(stopped(&r), "0=timed_out ended=timed_out finished");
    assert_string_equal(last(&r)->message, "step 1 (a): not done within its time limit of 90 s");
    rig_done(&r);
}

static void a_timed_out_attempt_of_an_idempotent_step_is_followed_by_another(void **state)
{
    (void)state;
    struct rig r;
    rig_init(&r, 1);
    r.traits[0].idempotent = true;
    (void)begin(&r);
    (void)ok(&r);
    (void)timer(&r);
    EXPECT(stopped(&r), "retrying0.1 wait1000");
    (void)timer(&r);
    EXPECT(ok(&r), "0=succeeded ended=succeeded finished");
    rig_done(&r);
}

static void a_step_that_ends_well_while_it_is_stopped_succeeded(void **state)
{
    (void)state;
    struct rig r;
    rig_init(&r, 1);
    (void)begin(&r);
    (void)ok(&r);
    EXPECT(timer(&r), "stop");
    EXPECT(ok(&r), "0=succeeded ended=succeeded finished");
    rig_done(&r);
}

static void a_step_that_may_fail_does_not_end_the_execution(void **state)
{
    (void)state;
    for (int way = 0; way < 2; way++) {
        struct rig r;
        rig_init(&r, 2);
        r.steps[0].required = way == 0;
        r.steps[0].continue_on_failure = way == 0;
        (void)begin(&r);
        (void)ok(&r);
        EXPECT(fails(&r, false), "0=failed prepare1.1");
        (void)ok(&r);
        EXPECT(ok(&r), "1=succeeded ended=succeeded finished");
        /* Half done, it is undone with the rest. */
        EXPECT(rollback(&r), "undoing undo1.1!");
        EXPECT(ok(&r), "1=rolled_back undo0.1!");
        EXPECT(ok(&r), "0=rolled_back over=rolled_back finished");
        rig_done(&r);
    }
}

/* ---- Undoing ----------------------------------------------------------------------------- */

static void a_failing_execution_undoes_itself_in_reverse_the_failed_step_included(void **state)
{
    (void)state;
    struct rig r;
    rig_init(&r, 3);
    (void)begin(&r);
    (void)ok(&r);
    (void)ok(&r);
    (void)ok(&r);
    EXPECT(fails(&r, false), "1=failed ended=failed+undo undoing undo1.1!");
    EXPECT(ok(&r), "1=rolled_back undo0.1!");
    EXPECT(ok(&r), "0=rolled_back over=rolled_back finished");
    rig_done(&r);
}

static void an_undo_is_tried_three_times_and_its_failure_stops_no_other(void **state)
{
    (void)state;
    struct rig r;
    rig_init(&r, 2);
    (void)begin(&r);
    (void)ok(&r);
    (void)ok(&r);
    (void)ok(&r);
    (void)fails(&r, false);
    EXPECT(fails(&r, true), "wait1000");
    EXPECT(timer(&r), "undo1.2!");
    EXPECT(fails(&r, true), "wait2000");
    EXPECT(timer(&r), "undo1.3!");
    EXPECT(fails(&r, true), "1=rollback_failed undo0.1!");
    assert_string_equal(last(&r)->message, "it broke");
    EXPECT(ok(&r), "0=rolled_back over=rollback_failed finished");
    assert_string_equal(last(&r)->message, "step 2 (b): it broke");
    rig_done(&r);
}

static void an_undo_that_cannot_succeed_is_not_tried_again(void **state)
{
    (void)state;
    struct rig r;
    rig_init(&r, 1);
    (void)begin(&r);
    (void)ok(&r);
    (void)fails(&r, false);
    EXPECT(fails(&r, false), "0=rollback_failed over=rollback_failed finished");
    rig_done(&r);
}

static void an_undo_that_takes_too_long_is_stopped_and_tried_again(void **state)
{
    (void)state;
    struct rig r;
    rig_init(&r, 1);
    (void)begin(&r);
    (void)ok(&r);
    (void)fails(&r, false);
    EXPECT(timer(&r), "stop");
    EXPECT(stopped(&r), "wait1000");
    EXPECT(timer(&r), "undo0.2!");
    EXPECT(ok(&r), "0=rolled_back over=rolled_back finished");
    rig_done(&r);
}

static void a_rollback_of_what_succeeded_undoes_every_step(void **state)
{
    (void)state;
    struct rig r;
    rig_init(&r, 1);
    (void)begin(&r);
    (void)ok(&r);
    (void)ok(&r);
    EXPECT(rollback(&r), "undoing undo0.1!");
    EXPECT(rollback(&r), "");
    EXPECT(cancel(&r, true), "");
    EXPECT(ok(&r), "0=rolled_back over=rolled_back finished");
    EXPECT(rollback(&r), "");
    rig_done(&r);
}

static void a_rollback_of_what_runs_stops_the_step_and_undoes_it(void **state)
{
    (void)state;
    struct rig r;
    rig_init(&r, 2);
    r.rollback_on_failure = false;
    (void)begin(&r);
    (void)ok(&r);
    EXPECT(rollback(&r), "stop");
    EXPECT(stopped(&r), "0=failed ended=cancelled+undo undoing undo0.1!");
    EXPECT(ok(&r), "0=rolled_back over=rolled_back finished");
    rig_done(&r);
}

static void a_rollback_of_what_has_not_begun_has_nothing_to_undo(void **state)
{
    (void)state;
    struct rig r;
    rig_init(&r, 2);
    make(&r);
    EXPECT(rollback(&r), "started ended=cancelled+undo undoing over=rolled_back finished");
    rig_done(&r);
}

static void a_rollback_that_meets_success_undoes_it_all_the_same(void **state)
{
    (void)state;
    struct rig r;
    rig_init(&r, 1);
    (void)begin(&r);
    (void)ok(&r);
    (void)rollback(&r);
    EXPECT(ok(&r), "0=succeeded ended=succeeded undoing undo0.1!");
    rig_done(&r);
}

/* ---- Cancelling -------------------------------------------------------------------------- */

static void a_cancel_lets_the_running_step_finish(void **state)
{
    (void)state;
    struct rig r;
    rig_init(&r, 2);
    (void)begin(&r);
    (void)ok(&r);
    EXPECT(cancel(&r, false), "");
    EXPECT(ok(&r), "0=succeeded ended=cancelled finished");
    assert_false(last(&r)->undoing);
    rig_done(&r);
}

static void a_cancel_that_meets_the_last_step_changes_nothing(void **state)
{
    (void)state;
    struct rig r;
    rig_init(&r, 1);
    (void)begin(&r);
    (void)ok(&r);
    (void)cancel(&r, false);
    EXPECT(ok(&r), "0=succeeded ended=succeeded finished");
    rig_done(&r);
}

static void a_cancelled_execution_tries_no_further_attempt(void **state)
{
    (void)state;
    struct rig r;
    rig_init(&r, 1);
    r.traits[0].idempotent = true;
    r.rollback_on_failure = false;
    (void)begin(&r);
    (void)ok(&r);
    (void)cancel(&r, false);
    EXPECT(fails(&r, true), "0=failed ended=failed finished");
    rig_done(&r);
}

static void a_cancel_at_once_stops_the_running_step(void **state)
{
    (void)state;
    struct rig r;
    rig_init(&r, 2);
    (void)begin(&r);
    (void)ok(&r);
    EXPECT(cancel(&r, false), "");
    EXPECT(cancel(&r, true), "stop");
    EXPECT(cancel(&r, true), "");
    EXPECT(stopped(&r), "0=failed ended=cancelled finished");
    assert_string_equal(r.records[r.record_count - 2].message,
                        "stopped: the rollout was cancelled");
    EXPECT(rollback(&r), "undoing undo0.1!");
    rig_done(&r);
}

static void a_cancel_ends_a_prepare_at_once(void **state)
{
    (void)state;
    struct rig r;
    rig_init(&r, 1);
    (void)begin(&r);
    EXPECT(cancel(&r, false), "stop");
    EXPECT(ok(&r), "ended=cancelled finished");
    EXPECT(rollback(&r), "undoing over=rolled_back finished");
    rig_done(&r);
}

static void a_cancel_ends_a_wait_at_once(void **state)
{
    (void)state;
    struct rig r;
    rig_init(&r, 1);
    r.traits[0].idempotent = true;
    (void)begin(&r);
    (void)ok(&r);
    (void)fails(&r, true);
    EXPECT(cancel(&r, false), "nowait 0=failed ended=cancelled finished");
    rig_done(&r);
}

static void what_is_cancelled_before_it_begins_ends_so(void **state)
{
    (void)state;
    struct rig r;
    rig_init(&r, 1);
    make(&r);
    EXPECT(cancel(&r, true), "started ended=cancelled finished");
    EXPECT(cancel(&r, true), "");
    rig_done(&r);
}

/* ---- After a restart --------------------------------------------------------------------- */

static void an_interrupted_idempotent_step_is_tried_again(void **state)
{
    (void)state;
    struct rig r;
    rig_init(&r, 2);
    r.traits[0].idempotent = true;
    (void)begin(&r);
    (void)ok(&r);
    EXPECT(restart(&r, r.record_count, 0), "begun0.2 execute0.2!");
    EXPECT(ok(&r), "0=succeeded prepare1.1");
    rig_done(&r);
}

static void an_interrupted_step_that_is_not_idempotent_has_failed(void **state)
{
    (void)state;
    struct rig r;
    rig_init(&r, 2);
    (void)begin(&r);
    (void)ok(&r);
    EXPECT(restart(&r, r.record_count, 0), "0=failed ended=failed+undo undoing undo0.1!");
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
    (void)begin(&r);
    (void)ok(&r);
    EXPECT(restart(&r, r.record_count, 0), "0=failed ended=failed+undo undoing undo0.1!");
    rig_done(&r);
    rig_init(&r, 1);
    r.steps[0].on_interrupt = INTERRUPT_RETRY;
    (void)begin(&r);
    (void)ok(&r);
    EXPECT(restart(&r, r.record_count, 0), "begun0.2 execute0.2!");
    rig_done(&r);
}

static void a_step_that_kills_its_agent_every_time_is_given_up(void **state)
{
    (void)state;
    struct rig r;
    rig_init(&r, 1);
    r.traits[0].idempotent = true;
    (void)begin(&r);
    (void)ok(&r);
    EXPECT(restart(&r, r.record_count, 0), "begun0.2 execute0.2!");
    EXPECT(restart(&r, r.record_count, 0), "begun0.3 execute0.3!");
    EXPECT(restart(&r, r.record_count, 0), "0=failed ended=failed+undo undoing undo0.1!");
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
    (void)begin(&r);
    (void)ok(&r);
    (void)fails(&r, true);
    EXPECT(restart(&r, r.record_count, 0), "begun0.2 execute0.2!");
    EXPECT(fails(&r, true), "0=failed ended=failed+undo undoing undo0.1!");
    rig_done(&r);
}

static void a_step_that_was_recorded_as_done_is_not_run_again(void **state)
{
    (void)state;
    struct rig r;
    rig_init(&r, 2);
    (void)begin(&r);
    (void)ok(&r);
    (void)ok(&r);
    EXPECT(restart(&r, r.record_count, 0), "prepare1.1");
    rig_done(&r);
}

static void a_prepared_step_that_did_not_begin_is_prepared_again(void **state)
{
    (void)state;
    struct rig r;
    rig_init(&r, 1);
    (void)begin(&r);
    EXPECT(restart(&r, 1, 0), "prepare0.1");
    rig_done(&r);
}

static void an_interrupted_rollback_goes_on_with_the_next_step(void **state)
{
    (void)state;
    struct rig r;
    rig_init(&r, 2);
    (void)begin(&r);
    (void)ok(&r);
    (void)ok(&r);
    (void)ok(&r);
    (void)fails(&r, false);
    EXPECT(restart(&r, r.record_count, 1), "undo1.1!");
    EXPECT(ok(&r), "1=rolled_back undo0.1!");
    EXPECT(restart(&r, r.record_count, 1), "undo0.1!");
    EXPECT(ok(&r), "0=rolled_back over=rolled_back finished");
    EXPECT(restart(&r, r.record_count, 1), "finished");
    EXPECT(rollback(&r), "");
    rig_done(&r);
}

static void an_undo_failure_before_the_restart_is_not_forgotten(void **state)
{
    (void)state;
    struct rig r;
    rig_init(&r, 2);
    (void)begin(&r);
    (void)ok(&r);
    (void)ok(&r);
    (void)ok(&r);
    (void)fails(&r, false);
    EXPECT(fails(&r, false), "1=rollback_failed undo0.1!");
    EXPECT(restart(&r, r.record_count, 1), "undo0.1!");
    EXPECT(ok(&r), "0=rolled_back over=rollback_failed finished");
    assert_string_equal(last(&r)->message, "step 2 (b): it broke");
    rig_done(&r);
}

static void an_undo_that_kills_its_agent_every_time_is_given_up(void **state)
{
    (void)state;
    struct rig r;
    rig_init(&r, 2);
    (void)begin(&r);
    (void)ok(&r);
    (void)ok(&r);
    (void)ok(&r);
    (void)fails(&r, false);
    EXPECT(restart(&r, r.record_count, 2), "undo1.1!");
    EXPECT(restart(&r, r.record_count, 3), "1=rollback_failed undo0.1!");
    EXPECT(ok(&r), "0=rolled_back over=rollback_failed finished");
    assert_string_equal(last(&r)->message,
                        "step 2 (b): the agent died 3 times while undoing this step");
    rig_done(&r);
}

static void what_ended_stays_so_and_can_still_be_undone(void **state)
{
    (void)state;
    struct rig r;
    rig_init(&r, 1);
    (void)begin(&r);
    (void)ok(&r);
    (void)ok(&r);
    EXPECT(restart(&r, r.record_count, 0), "finished");
    EXPECT(rollback(&r), "undoing undo0.1!");
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
    rig_init(&r, 1);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        make(&r);
        assert_int_equal(executor_replay(r.x, &bad[i], &err), ERR_CORRUPT);
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
    (void)begin(&r);
    (void)ok(&r);
    (void)ok(&r);
    (void)ok(&r);
    make(&r);
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
    for (size_t i = 0; i < r->count; i++) {
        r->traits[i].idempotent = chance(2) == 0;
        r->traits[i].instant = chance(4) == 0;
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
        (void)cancel(r, chance(2) == 0);
    else if (what < 6)
        (void)rollback(r);
    else if (r->waiting || (r->under_way && what < 10))
        (void)timer(r);
    else if (what < trouble)
        (void)fails(r, chance(3) > 0);
    else
        (void)ok(r);
}

static void run_to_the_end(struct rig *r, uint32_t trouble)
{
    for (int i = 0; !r->finished; i++) {
        assert_true(i < 500);
        assert_true(r->under_way || r->waiting);
        happen(r, trouble);
    }
}

/* What must hold of any record of an execution, from its first entry on. */
static void check_history(const struct rig *r)
{
    enum step_state ended[STEPS_MAX] = {0};
    bool executed[STEPS_MAX] = {false};
    bool undone[STEPS_MAX] = {false};
    bool over = false;
    bool undoing = false;
    bool undo_over = false;
    int32_t at = 0;
    assert_int_equal(r->records[0].type, REPORT_STARTED);
    for (size_t i = 1; i < r->record_count; i++) {
        const struct executor_record *e = &r->records[i];
        assert_false(undo_over);
        if (e->type == REPORT_STEP_STARTED || e->type == REPORT_STEP_RETRYING ||
            e->type == REPORT_STEP_ENDED) {
            assert_false(over);
            assert_true(e->step >= at);
            assert_int_equal(ended[e->step], STEP_PENDING);
            at = e->step;
            executed[e->step] |= e->type == REPORT_STEP_STARTED || r->traits[e->step].instant;
            if (e->type == REPORT_STEP_ENDED)
                ended[e->step] = (enum step_state)e->state;
        } else if (e->type == REPORT_ENDED) {
            assert_false(over);
            over = true;
        } else if (e->type == REPORT_ROLLBACK_STARTED) {
            assert_true(over && !undoing);
            undoing = true;
            at = (int32_t)r->count;
        } else if (e->type == REPORT_STEP_ROLLED_BACK) {
            assert_true(undoing && executed[e->step] && e->step < at);
            at = e->step;
            undone[e->step] = true;
        } else {
            assert_int_equal(e->type, REPORT_ROLLED_BACK);
            undo_over = true;
        }
    }
    assert_true(over && undoing == undo_over);
    for (size_t i = 0; undoing && i < r->count; i++)
        assert_int_equal(executed[i], undone[i]);
}

static void a_history_cut_anywhere_goes_on_to_a_proper_end(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 400; seed++) {
        struct rig whole;
        seed_state = seed;
        rig_random(&whole);
        (void)begin(&whole);
        run_to_the_end(&whole, 40);
        check_history(&whole);
        for (size_t cut = 1; cut <= whole.record_count; cut++) {
            struct rig part = whole;
            part.x = NULL;
            part.trace = BUF_INIT;
            part.record_count = 0;
            for (size_t i = 0; i < cut; i++)
                keep_record(&part, &whole.records[i]);
            (void)restart(&part, cut, 1);
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
        cmocka_unit_test(steps_run_in_order_each_prepared_first),
        cmocka_unit_test(an_instant_step_needs_no_record_that_it_began),
        cmocka_unit_test(an_operation_carries_the_steps_time_limit),
        cmocka_unit_test(a_step_that_is_not_idempotent_gets_one_attempt),
        cmocka_unit_test(an_idempotent_step_gets_three_attempts_with_growing_waits),
        cmocka_unit_test(the_wait_between_attempts_is_capped),
        cmocka_unit_test(a_failure_that_is_not_retryable_ends_at_once),
        cmocka_unit_test(an_exit_code_that_the_plan_calls_final_ends_at_once),
        cmocka_unit_test(a_failed_prepare_is_an_attempt_and_leaves_nothing_to_undo),
        cmocka_unit_test(a_retry_uses_the_first_capture),
        cmocka_unit_test(a_step_that_takes_too_long_is_stopped_and_timed_out),
        cmocka_unit_test(a_timed_out_attempt_of_an_idempotent_step_is_followed_by_another),
        cmocka_unit_test(a_step_that_ends_well_while_it_is_stopped_succeeded),
        cmocka_unit_test(a_step_that_may_fail_does_not_end_the_execution),
        cmocka_unit_test(a_failing_execution_undoes_itself_in_reverse_the_failed_step_included),
        cmocka_unit_test(an_undo_is_tried_three_times_and_its_failure_stops_no_other),
        cmocka_unit_test(an_undo_that_cannot_succeed_is_not_tried_again),
        cmocka_unit_test(an_undo_that_takes_too_long_is_stopped_and_tried_again),
        cmocka_unit_test(a_rollback_of_what_succeeded_undoes_every_step),
        cmocka_unit_test(a_rollback_of_what_runs_stops_the_step_and_undoes_it),
        cmocka_unit_test(a_rollback_of_what_has_not_begun_has_nothing_to_undo),
        cmocka_unit_test(a_rollback_that_meets_success_undoes_it_all_the_same),
        cmocka_unit_test(a_cancel_lets_the_running_step_finish),
        cmocka_unit_test(a_cancel_that_meets_the_last_step_changes_nothing),
        cmocka_unit_test(a_cancelled_execution_tries_no_further_attempt),
        cmocka_unit_test(a_cancel_at_once_stops_the_running_step),
        cmocka_unit_test(a_cancel_ends_a_prepare_at_once),
        cmocka_unit_test(a_cancel_ends_a_wait_at_once),
        cmocka_unit_test(what_is_cancelled_before_it_begins_ends_so),
        cmocka_unit_test(an_interrupted_idempotent_step_is_tried_again),
        cmocka_unit_test(an_interrupted_step_that_is_not_idempotent_has_failed),
        cmocka_unit_test(the_plan_decides_on_an_interrupted_step),
        cmocka_unit_test(a_step_that_kills_its_agent_every_time_is_given_up),
        cmocka_unit_test(an_interrupted_wait_is_followed_by_the_next_attempt),
        cmocka_unit_test(a_step_that_was_recorded_as_done_is_not_run_again),
        cmocka_unit_test(a_prepared_step_that_did_not_begin_is_prepared_again),
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
