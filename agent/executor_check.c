#include "agent/executor_internal.h"

#include <inttypes.h>

/* The first step before this one that would change something; x->step when there is none. */
static uint32_t depends_on(const struct executor *x)
{
    uint32_t i = 0;
    while (i < x->step && !x->track[i].changed)
        i++;
    return i;
}

/* Nothing of a check is on record before its end: it changes nothing, so it can be done again. */
void executor_check_begin(struct executor *x)
{
    x->phase = PHASE_CHECKING;
    x->stop = STOP_NONE;
    struct executor_action *action = executor_emit(x, EXECUTOR_CHECK);
    action->attempt = x->track[x->step].attempt + 1;
    action->timeout_ms = x->steps[x->step].timeout_ms;
    action->durable_first = x->cautious || x->restarts > 0;
    uint32_t on = depends_on(x);
    action->depends = on < x->step ? (int32_t)on : EXECUTOR_NO_STEP;
}

static void check_over(struct executor *x, int64_t time_ms, const struct executor_result *result)
{
    executor_step_end(x, time_ms, STEP_SUCCEEDED, result);
    x->step++;
    executor_forward(x, time_ms);
}

/* What it found missing may be what an earlier step makes: whether the run would fail is not known.
 */
static void check_depends(struct executor *x, const struct executor_event *event, uint32_t on)
{
    struct executor_result result = event->result;
    result.changed = true;
    executor_say(x->step_message, "depends on a change of step %" PRIu32 " (%s): %s", on + 1,
                 x->steps[on].name, result.message ? result.message : "it cannot be checked");
    check_over(x, event->time_ms, &result);
}

void executor_checked(struct executor *x, const struct executor_event *event)
{
    const struct executor_result *result = &event->result;
    uint32_t on = depends_on(x);
    if (x->stop == STOP_CANCEL) {
        executor_step_cancelled(x, event->time_ms, result);
        return;
    }
    if (result->outcome == EXECUTOR_OK && result->skipped) {
        executor_step_skipped(x, event->time_ms, result);
        return;
    }
    x->track[x->step].attempt++;
    if (result->outcome == EXECUTOR_OK) {
        executor_say(x->step_message, "%s", result->message ? result->message : "");
        check_over(x, event->time_ms, result);
    } else if (x->stop == STOP_NONE && on < x->step) {
        check_depends(x, event, on);
    } else {
        executor_explain(x, result);
        executor_attempt_failed(x, event->time_ms, result);
    }
}
