#include "agent/executor_internal.h"

#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* ---- Life -------------------------------------------------------------------------------- */

enum error_code executor_new(const struct executor_config *config, struct executor **ret_executor,
                             struct error *err)
{
    assert(config->count <= PLAN_MAX_STEPS);
    size_t size = sizeof(struct executor) +
                  config->count * (sizeof(struct track) + sizeof(struct executor_traits));
    struct executor *x = mem_zalloc(size);
    if (!x)
        return error_set(err, ERR_NO_MEMORY, NULL);
    x->steps = config->steps;
    x->count = (uint32_t)config->count;
    x->rollback_on_failure = config->rollback_on_failure;
    x->traits = (struct executor_traits *)(void *)&x->track[config->count];
    if (config->count > 0)
        memcpy(x->traits, config->traits, config->count * sizeof(*x->traits));
    *ret_executor = x;
    return ERR_OK;
}

void executor_free(struct executor *x)
{
    mem_free(x);
}

bool executor_next(struct executor *x, struct executor_action *ret_action)
{
    if (x->queue_head == x->queue_count) {
        x->queue_head = x->queue_count = 0;
        return false;
    }
    *ret_action = x->queue[x->queue_head++];
    return true;
}

bool executor_undoing(const struct executor *x)
{
    return x->undo_began && x->phase != PHASE_ROLLED_BACK;
}

/* ---- Actions ----------------------------------------------------------------------------- */

struct executor_action *executor_emit(struct executor *x, enum executor_action_type type)
{
    assert(x->queue_count < QUEUE_MAX);
    struct executor_action *action = &x->queue[x->queue_count++];
    *action = (struct executor_action){.type = type, .step = x->step};
    return action;
}

struct executor_record *executor_note(struct executor *x, enum report_type type, int64_t time_ms)
{
    struct executor_record *r = &executor_emit(x, EXECUTOR_RECORD)->record;
    r->type = type;
    r->time_ms = time_ms;
    r->step = EXECUTOR_NO_STEP;
    return r;
}

struct executor_record *executor_note_step(struct executor *x, enum report_type type,
                                           int64_t time_ms, int64_t attempt, enum step_state state)
{
    struct executor_record *r = executor_note(x, type, time_ms);
    r->step = (int32_t)x->step;
    r->attempt = attempt;
    r->state = (int)state;
    return r;
}

void executor_note_result(struct executor_record *r, const struct executor_result *result)
{
    r->changed = result->changed;
    r->has_exit_code = result->has_exit_code;
    r->exit_code = result->exit_code;
    r->duration_ms = result->duration_ms;
}

void executor_say(char text[EXECUTOR_MESSAGE_MAX], const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(text, EXECUTOR_MESSAGE_MAX, fmt, args);
    va_end(args);
}

/* "step 2 (upgrade): what went wrong", counted from 1 as people do. */
void executor_say_step(const struct executor *x, char text[EXECUTOR_MESSAGE_MAX], const char *what)
{
    executor_say(text, "step %" PRIu32 " (%s): %s", x->step + 1, x->steps[x->step].name, what);
}

/* ---- Going forward ----------------------------------------------------------------------- */

static void end(struct executor *x, int64_t time_ms, enum execution_state outcome,
                const char *message)
{
    bool failed = outcome == EXECUTION_FAILED || outcome == EXECUTION_TIMED_OUT;
    bool undo = x->rollback || (failed && x->rollback_on_failure);
    struct executor_record *r = executor_note(x, REPORT_ENDED, time_ms);
    r->state = (int)outcome;
    r->undoing = undo && outcome != EXECUTION_SUCCEEDED;
    r->message = message;
    r->duration_ms = x->began ? since(x->begun_ms, time_ms) : 0;
    x->phase = PHASE_ENDED;
    x->ended = true;
    if (undo)
        executor_undo_begin(x, time_ms);
    else
        (void)executor_emit(x, EXECUTOR_FINISHED);
}

bool executor_tolerates(const struct plan_step *step)
{
    return step->continue_on_failure || !step->required;
}

void executor_attempt_begin(struct executor *x, int64_t time_ms, const char *message)
{
    struct track *t = &x->track[x->step];
    t->attempt++;
    t->state = STEP_RUNNING;
    t->executed = true;
    if (!x->traits[x->step].instant) {
        t->open = true;
        executor_note_step(x, REPORT_STEP_STARTED, time_ms, t->attempt, STEP_RUNNING)->message =
            message;
    }
    x->phase = PHASE_EXECUTING;
    x->stop = STOP_NONE;
    struct executor_action *action = executor_emit(x, EXECUTOR_EXECUTE);
    action->attempt = t->attempt;
    action->timeout_ms = x->steps[x->step].timeout_ms;
    action->durable_first = !x->traits[x->step].instant;
}

static void step_begin(struct executor *x, int64_t time_ms)
{
    const struct track *t = &x->track[x->step];
    if (t->captured) {
        executor_attempt_begin(x, time_ms, NULL);
        return;
    }
    x->phase = PHASE_PREPARING;
    x->stop = STOP_NONE;
    struct executor_action *action = executor_emit(x, EXECUTOR_PREPARE);
    action->attempt = t->attempt + 1;
    action->timeout_ms = x->steps[x->step].timeout_ms;
}

void executor_forward(struct executor *x, int64_t time_ms)
{
    if (x->step == x->count)
        end(x, time_ms, EXECUTION_SUCCEEDED, NULL);
    else if (x->cancelled)
        end(x, time_ms, EXECUTION_CANCELLED, "cancelled");
    else
        step_begin(x, time_ms);
}

void executor_step_failed(struct executor *x, int64_t time_ms)
{
    const struct track *t = &x->track[x->step];
    if (executor_tolerates(&x->steps[x->step])) {
        x->step++;
        executor_forward(x, time_ms);
        return;
    }
    executor_say_step(x, x->end_message, x->step_message);
    end(x, time_ms, t->state == STEP_TIMED_OUT ? EXECUTION_TIMED_OUT : EXECUTION_FAILED,
        x->end_message);
}

/* An attempt has ended, and that is on record. An instant step, which has no record of its
 * beginning, counts as executed from here on: as it would after a replay. */
void executor_attempt_over(const struct executor *x, struct track *t)
{
    t->open = false;
    if (x->traits[t - x->track].instant)
        t->executed = true;
}

void executor_step_end(struct executor *x, int64_t time_ms, enum step_state state,
                       const struct executor_result *result)
{
    struct track *t = &x->track[x->step];
    executor_attempt_over(x, t);
    t->state = state;
    struct executor_record *r =
        executor_note_step(x, REPORT_STEP_ENDED, time_ms, t->attempt, state);
    executor_note_result(r, result);
    r->message = text_or_null(x->step_message);
}

static int64_t attempts_allowed(const struct executor *x)
{
    int64_t given = x->steps[x->step].retry.maximum_attempts;
    if (given > 0)
        return given;
    return x->traits[x->step].idempotent ? EXECUTOR_DEFAULT_ATTEMPTS : 1;
}

static bool exit_code_is_final(const struct plan_retry *retry, const struct executor_result *result)
{
    const struct array *codes = &retry->non_retryable_exit_codes;
    for (size_t i = 0; result->has_exit_code && i < codes->count; i++) {
        if (*ARRAY_AT(codes, int64_t, i) == result->exit_code)
            return true;
    }
    return false;
}

static int64_t backoff_ms(const struct plan_retry *retry, int32_t failures)
{
    double wait = (double)retry->initial_interval_ms;
    double most = (double)retry->maximum_interval_ms;
    for (int32_t i = 1; i < failures && wait < most; i++)
        wait *= retry->backoff_coefficient;
    return (int64_t)(wait < most ? wait : most);
}

/* An attempt (or its prepare) has failed; step_message says why. */
static void attempt_failed(struct executor *x, int64_t time_ms,
                           const struct executor_result *result)
{
    struct track *t = &x->track[x->step];
    const struct plan_retry *retry = &x->steps[x->step].retry;
    bool timed_out = x->stop == STOP_TIMEOUT;
    bool again = (timed_out || result->retryable) && !x->cancelled &&
                 t->failures + 1 < attempts_allowed(x) && !exit_code_is_final(retry, result);
    if (!again) {
        executor_step_end(x, time_ms, timed_out ? STEP_TIMED_OUT : STEP_FAILED, result);
        executor_step_failed(x, time_ms);
        return;
    }
    executor_attempt_over(x, t);
    t->state = STEP_RUNNING;
    t->failures++;
    struct executor_record *r =
        executor_note_step(x, REPORT_STEP_RETRYING, time_ms, t->attempt, STEP_RUNNING);
    executor_note_result(r, result);
    r->message = text_or_null(x->step_message);
    x->phase = PHASE_WAITING;
    executor_emit(x, EXECUTOR_TIMER_START)->delay_ms = backoff_ms(retry, t->failures);
}

/* The step will not go on: it ends by the cancelling, if it had begun at all. */
static void step_cancelled(struct executor *x, int64_t time_ms,
                           const struct executor_result *result)
{
    if (x->track[x->step].attempt > 0) {
        executor_say(x->step_message, "stopped: the rollout was cancelled");
        executor_step_end(x, time_ms, STEP_FAILED, result);
    }
    end(x, time_ms, EXECUTION_CANCELLED, "cancelled");
}

/* Says why an operation of the step did not succeed. */
static void explain(struct executor *x, const struct executor_result *result)
{
    double limit = (double)x->steps[x->step].timeout_ms / 1000.0;
    if (x->stop == STOP_TIMEOUT)
        executor_say(x->step_message, "not done within its time limit of %g s", limit);
    else if (result->message && result->message[0] != '\0')
        executor_say(x->step_message, "%s", result->message);
    else
        executor_say(x->step_message, "failed without a message");
}

static void prepared(struct executor *x, const struct executor_event *event)
{
    struct track *t = &x->track[x->step];
    bool ok = event->result.outcome == EXECUTOR_OK;
    t->captured = ok;
    if (x->stop == STOP_CANCEL) {
        step_cancelled(x, event->time_ms, &event->result);
    } else if (ok) {
        executor_attempt_begin(x, event->time_ms, NULL);
    } else {
        t->attempt++;
        explain(x, &event->result);
        attempt_failed(x, event->time_ms, &event->result);
    }
}

static void executed(struct executor *x, const struct executor_event *event)
{
    if (event->result.outcome == EXECUTOR_OK) {
        executor_say(x->step_message, "%s", event->result.message ? event->result.message : "");
        executor_step_end(x, event->time_ms, STEP_SUCCEEDED, &event->result);
        x->step++;
        executor_forward(x, event->time_ms);
    } else if (x->stop == STOP_CANCEL) {
        step_cancelled(x, event->time_ms, &event->result);
    } else {
        explain(x, &event->result);
        attempt_failed(x, event->time_ms, &event->result);
    }
}

/* ---- Events ------------------------------------------------------------------------------ */

static void start(struct executor *x, int64_t time_ms)
{
    assert(x->phase == PHASE_NEW && !x->began);
    x->began = true;
    x->begun_ms = time_ms;
    executor_note(x, REPORT_STARTED, time_ms)->state = EXECUTION_RUNNING;
}

void executor_begin(struct executor *x, int64_t time_ms)
{
    start(x, time_ms);
    executor_forward(x, time_ms);
}

static void stop_operation(struct executor *x, enum stop why)
{
    if (x->stop == STOP_CANCEL)
        return;
    /* One that is being stopped for its time limit is not asked twice, but ends as cancelled. */
    if (x->stop == STOP_NONE)
        (void)executor_emit(x, EXECUTOR_STOP);
    x->stop = why;
}

static void timer(struct executor *x, int64_t time_ms)
{
    switch (x->phase) {
    case PHASE_PREPARING:
    case PHASE_EXECUTING:
    case PHASE_UNDOING:
        if (x->stop == STOP_NONE)
            stop_operation(x, STOP_TIMEOUT);
        break;
    case PHASE_WAITING:
        step_begin(x, time_ms);
        break;
    case PHASE_UNDO_WAITING:
        executor_undo_attempt(x);
        break;
    case PHASE_NEW:
    case PHASE_ENDED:
    case PHASE_ROLLED_BACK:
        break;
    }
}

static void cancel(struct executor *x, int64_t time_ms, bool now)
{
    static const struct executor_result none = {.outcome = EXECUTOR_STOPPED};
    switch (x->phase) {
    case PHASE_NEW:
        start(x, time_ms);
        end(x, time_ms, EXECUTION_CANCELLED, "cancelled before it began");
        break;
    case PHASE_PREPARING: /* changes nothing, so there is nothing to wait for */
        x->cancelled = true;
        stop_operation(x, STOP_CANCEL);
        break;
    case PHASE_EXECUTING:
        x->cancelled = true;
        if (now)
            stop_operation(x, STOP_CANCEL);
        break;
    case PHASE_WAITING:
        x->cancelled = true;
        (void)executor_emit(x, EXECUTOR_TIMER_STOP);
        step_cancelled(x, time_ms, &none);
        break;
    case PHASE_UNDOING:
    case PHASE_UNDO_WAITING:
    case PHASE_ENDED:
    case PHASE_ROLLED_BACK:
        break;
    }
}

static void rollback(struct executor *x, int64_t time_ms)
{
    if (x->undo_began)
        return;
    if (x->ended) {
        executor_undo_begin(x, time_ms);
        return;
    }
    x->rollback = true;
    cancel(x, time_ms, true);
}

void executor_step(struct executor *x, const struct executor_event *event)
{
    assert(x->queue_head == x->queue_count);
    x->queue_head = x->queue_count = 0;
    switch (event->type) {
    case EXECUTOR_BEGIN:
        executor_begin(x, event->time_ms);
        break;
    case EXECUTOR_PREPARED:
        assert(x->phase == PHASE_PREPARING);
        prepared(x, event);
        break;
    case EXECUTOR_EXECUTED:
        assert(x->phase == PHASE_EXECUTING);
        executed(x, event);
        break;
    case EXECUTOR_UNDONE:
        assert(x->phase == PHASE_UNDOING);
        executor_undo_over(x, event);
        break;
    case EXECUTOR_TIMER:
        timer(x, event->time_ms);
        break;
    case EXECUTOR_CANCEL:
        cancel(x, event->time_ms, event->now);
        break;
    case EXECUTOR_ROLLBACK:
        rollback(x, event->time_ms);
        break;
    }
}
