#include "agent/executor_internal.h"

#include <assert.h>
#include <inttypes.h>

/* The attempt cannot go on; another one would come to the same. */
static void give_up(struct executor *x, int64_t time_ms, const struct executor_result *result)
{
    struct executor_result failed = *result;
    failed.outcome = EXECUTOR_FAILED;
    failed.retryable = false;
    x->stop = STOP_NONE;
    executor_attempt_failed(x, time_ms, &failed);
}

void executor_reboot_ask(struct executor *x)
{
    x->phase = PHASE_REBOOTING;
    x->stop = STOP_NONE;
    struct executor_action *action = executor_emit(x, EXECUTOR_REBOOT);
    action->attempt = x->track[x->step].attempt;
    action->durable_first = true;
}

void executor_reboot_wanted(struct executor *x, const struct executor_event *event)
{
    const struct executor_result *result = &event->result;
    struct track *t = &x->track[x->step];
    if (x->stop == STOP_CANCEL) {
        executor_step_cancelled(x, event->time_ms, result);
        return;
    }
    if (t->reboots >= EXECUTOR_MAX_REBOOTS) {
        executor_say(x->step_message,
                     "it wants another reboot, and the server was rebooted %d times for it",
                     EXECUTOR_MAX_REBOOTS);
        give_up(x, event->time_ms, result);
        return;
    }
    executor_say(x->step_message, "%s", result->message ? result->message : "");
    t->changed = t->changed || (result->changed && !x->traits[x->step].inert);
    t->rebooting = true;
    struct executor_record *r =
        executor_note_step(x, REPORT_STEP_REBOOTING, event->time_ms, t->attempt, STEP_RUNNING);
    executor_note_result(r, result);
    r->away_ms = result->away_ms > 0 ? result->away_ms : EXECUTOR_REBOOT_AWAY_MS;
    r->message = text_or_null(x->step_message);
    x->asks = 0;
    executor_reboot_ask(x);
}

static void stays_up(struct executor *x, int64_t time_ms, const struct executor_result *result)
{
    executor_say(x->step_message, "the server was asked to reboot %d times, and did not: %s",
                 EXECUTOR_MAX_REBOOT_ASKS,
                 result->message ? result->message : "it is still the same boot");
    give_up(x, time_ms, result);
}

void executor_reboot_stayed(struct executor *x, const struct executor_event *event)
{
    assert(event->result.outcome != EXECUTOR_OK);
    if (x->stop == STOP_CANCEL) {
        executor_step_cancelled(x, event->time_ms, &event->result);
    } else if (++x->asks >= EXECUTOR_MAX_REBOOT_ASKS) {
        stays_up(x, event->time_ms, &event->result);
    } else {
        x->phase = PHASE_REBOOT_WAITING;
        executor_emit(x, EXECUTOR_TIMER_START)->delay_ms = EXECUTOR_REBOOT_WAIT_MS;
    }
}

void executor_reboot_over(struct executor *x, int64_t time_ms)
{
    struct track *t = &x->track[x->step];
    t->rebooting = false;
    t->reboots++;
    (void)executor_note_step(x, REPORT_STEP_REBOOTED, time_ms, t->attempt, STEP_RUNNING);
    executor_attempt_run(x);
}

void executor_reboot_resume(struct executor *x, int64_t time_ms, bool rebooted)
{
    static const struct executor_result none = {.outcome = EXECUTOR_FAILED};
    x->stop = STOP_NONE;
    x->asks = x->restarts;
    if (!rebooted && x->asks >= EXECUTOR_MAX_REBOOT_ASKS) {
        stays_up(x, time_ms, &none);
    } else if (!rebooted) {
        executor_reboot_ask(x);
    } else if (x->restarts >= EXECUTOR_MAX_CONFIRM_RESTARTS) {
        /* Something else kills the agent: what is on record then bounds it. */
        executor_reboot_over(x, time_ms);
    } else {
        /* What was ordered while it was away is not known to this agent. */
        x->phase = PHASE_RETURNING;
        struct executor_action *action = executor_emit(x, EXECUTOR_CONFIRM);
        action->delay_ms = EXECUTOR_RETURN_WAIT_MS;
        action->durable_first = true;
    }
}
