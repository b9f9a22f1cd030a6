#include "agent/executor_internal.h"

#include <assert.h>
#include <inttypes.h>

/* ---- The execution ----------------------------------------------------------------------- */

void executor_start(struct executor *x, int64_t time_ms)
{
    assert(x->phase == PHASE_NEW && !x->began);
    x->began = true;
    x->begun_ms = time_ms;
    executor_note(x, REPORT_STARTED, time_ms)->state = EXECUTION_RUNNING;
}

void executor_begin(struct executor *x, int64_t time_ms)
{
    executor_start(x, time_ms);
    executor_forward(x, time_ms);
}

void executor_end(struct executor *x, int64_t time_ms, enum execution_state outcome,
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

/* All steps are done: it succeeds, at once or when that is confirmed. What is to be undone anyway
 * need not be. */
static void steps_done(struct executor *x, int64_t time_ms)
{
    if (x->confirm_ms == 0 || x->rollback) {
        executor_end(x, time_ms, EXECUTION_SUCCEEDED, NULL);
        return;
    }
    executor_note(x, REPORT_CONFIRMING, time_ms)->state = EXECUTION_RUNNING;
    executor_confirm_wait(x);
}

void executor_confirm_wait(struct executor *x)
{
    x->phase = PHASE_CONFIRMING;
    struct executor_action *action = executor_emit(x, EXECUTOR_CONFIRM);
    action->delay_ms = x->confirm_ms;
    action->durable_first = true;
    action->fresh = true;
}

/* Undone whatever the plan says of failures: nobody may be able to ask for it any more. */
void executor_confirm_failed(struct executor *x, int64_t time_ms)
{
    if (x->restarts >= EXECUTOR_MAX_CONFIRM_RESTARTS)
        executor_say(x->end_message,
                     "not confirmed: the agent was started %d times while it waited",
                     EXECUTOR_MAX_CONFIRM_RESTARTS);
    else
        executor_say(x->end_message,
                     "not confirmed within %g s: the orchestrator's answer did not come over a new "
                     "connection",
                     (double)x->confirm_ms / 1000.0);
    x->rollback = true;
    executor_end(x, time_ms, EXECUTION_FAILED, x->end_message);
}

/* ---- Steps ------------------------------------------------------------------------------- */

bool executor_tolerates(const struct plan_step *step)
{
    return step->continue_on_failure || !step->required;
}

void executor_attempt_run(struct executor *x)
{
    const struct track *t = &x->track[x->step];
    x->phase = PHASE_EXECUTING;
    x->stop = STOP_NONE;
    struct executor_action *action = executor_emit(x, EXECUTOR_EXECUTE);
    action->attempt = t->attempt;
    action->reboots = t->reboots;
    action->timeout_ms = x->steps[x->step].timeout_ms;
    action->durable_first = !x->traits[x->step].instant;
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
    executor_attempt_run(x);
}

static void prepare_given_up(struct executor *x, int64_t time_ms)
{
    static const struct executor_result none = {.outcome = EXECUTOR_FAILED};
    x->track[x->step].attempt++;
    executor_say(x->step_message, "the agent died %d times while %s this step",
                 EXECUTOR_MAX_INTERRUPTED, x->check ? "checking" : "preparing");
    executor_step_end(x, time_ms, STEP_FAILED, &none);
    executor_step_failed(x, time_ms);
}

void executor_step_begin(struct executor *x, int64_t time_ms)
{
    const struct track *t = &x->track[x->step];
    if (t->captured && !x->check) {
        executor_attempt_begin(x, time_ms, NULL);
        return;
    }
    if (x->restarts >= EXECUTOR_MAX_INTERRUPTED) {
        prepare_given_up(x, time_ms);
        return;
    }
    if (x->check) {
        executor_check_begin(x);
        return;
    }
    x->phase = PHASE_PREPARING;
    x->stop = STOP_NONE;
    struct executor_action *action = executor_emit(x, EXECUTOR_PREPARE);
    action->attempt = t->attempt + 1;
    action->timeout_ms = x->steps[x->step].timeout_ms;
    action->durable_first = x->cautious || x->restarts > 0;
}

void executor_forward(struct executor *x, int64_t time_ms)
{
    if (x->step == x->count)
        steps_done(x, time_ms);
    else if (x->cancelled)
        executor_end(x, time_ms, EXECUTION_CANCELLED, "cancelled");
    else
        executor_step_begin(x, time_ms);
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
    executor_end(x, time_ms, t->state == STEP_TIMED_OUT ? EXECUTION_TIMED_OUT : EXECUTION_FAILED,
                 x->end_message);
}

/* Of an attempt that did not succeed nobody can say that it changed nothing, and neither can one
 * that comes after it. */
bool executor_attempt_over(const struct executor *x, struct track *t, enum step_state state,
                           bool changed)
{
    bool doubt = t->open && state != STEP_SUCCEEDED;
    t->open = t->rebooting = false;
    t->changed = t->changed || ((changed || doubt) && !x->traits[t - x->track].inert);
    t->executed = t->executed && t->changed;
    return t->changed;
}

void executor_step_end(struct executor *x, int64_t time_ms, enum step_state state,
                       const struct executor_result *result)
{
    struct track *t = &x->track[x->step];
    bool changed = executor_attempt_over(x, t, state, result->changed);
    t->state = state;
    struct executor_record *r =
        executor_note_step(x, REPORT_STEP_ENDED, time_ms, t->attempt, state);
    executor_note_result(r, result);
    r->changed = changed && (state == STEP_SUCCEEDED || result->changed);
    r->message = text_or_null(x->step_message);
}

static int64_t attempts_allowed(const struct executor *x)
{
    int64_t given = x->steps[x->step].retry.maximum_attempts;
    if (given > 0)
        return given;
    return x->check || x->traits[x->step].idempotent ? EXECUTOR_DEFAULT_ATTEMPTS : 1;
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

void executor_attempt_failed(struct executor *x, int64_t time_ms,
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
    (void)executor_attempt_over(x, t, STEP_RUNNING, result->changed);
    t->state = STEP_RUNNING;
    t->failures++;
    struct executor_record *r =
        executor_note_step(x, REPORT_STEP_RETRYING, time_ms, t->attempt, STEP_RUNNING);
    executor_note_result(r, result);
    r->message = text_or_null(x->step_message);
    x->phase = PHASE_WAITING;
    executor_emit(x, EXECUTOR_TIMER_START)->delay_ms = backoff_ms(retry, t->failures);
}

void executor_step_cancelled(struct executor *x, int64_t time_ms,
                             const struct executor_result *result)
{
    if (x->track[x->step].attempt > 0) {
        executor_say(x->step_message, "stopped: the rollout was cancelled");
        executor_step_end(x, time_ms, STEP_FAILED, result);
    }
    executor_end(x, time_ms, EXECUTION_CANCELLED, "cancelled");
}

void executor_explain(struct executor *x, const struct executor_result *result)
{
    double limit = (double)x->steps[x->step].timeout_ms / 1000.0;
    if (x->stop == STOP_TIMEOUT)
        executor_say(x->step_message, "not done within its time limit of %g s", limit);
    else if (result->message && result->message[0] != '\0')
        executor_say(x->step_message, "%s", result->message);
    else
        executor_say(x->step_message, "failed without a message");
}

void executor_step_skipped(struct executor *x, int64_t time_ms,
                           const struct executor_result *result)
{
    executor_say(x->step_message, "%s", result->message ? result->message : "");
    executor_step_end(x, time_ms, STEP_SKIPPED, result);
    x->step++;
    executor_forward(x, time_ms);
}

void executor_prepared(struct executor *x, const struct executor_event *event)
{
    struct track *t = &x->track[x->step];
    bool ok = event->result.outcome == EXECUTOR_OK;
    t->captured = ok && !event->result.skipped;
    if (x->stop == STOP_CANCEL) {
        executor_step_cancelled(x, event->time_ms, &event->result);
    } else if (ok && event->result.skipped) {
        executor_step_skipped(x, event->time_ms, &event->result);
    } else if (ok) {
        executor_attempt_begin(x, event->time_ms, NULL);
    } else {
        t->attempt++;
        executor_explain(x, &event->result);
        executor_attempt_failed(x, event->time_ms, &event->result);
    }
}

void executor_executed(struct executor *x, const struct executor_event *event)
{
    if (event->result.outcome == EXECUTOR_OK && event->result.reboot) {
        executor_reboot_wanted(x, event);
    } else if (event->result.outcome == EXECUTOR_OK) {
        executor_say(x->step_message, "%s", event->result.message ? event->result.message : "");
        executor_step_end(x, event->time_ms, STEP_SUCCEEDED, &event->result);
        x->step++;
        executor_forward(x, event->time_ms);
    } else if (x->stop == STOP_CANCEL) {
        executor_step_cancelled(x, event->time_ms, &event->result);
    } else {
        executor_explain(x, &event->result);
        executor_attempt_failed(x, event->time_ms, &event->result);
    }
}
