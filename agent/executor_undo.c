#include "agent/executor_internal.h"

void executor_undo_attempt(struct executor *x)
{
    int64_t limit = x->steps[x->step].timeout_ms;
    x->phase = PHASE_UNDOING;
    x->stop = STOP_NONE;
    struct executor_action *action = executor_emit(x, EXECUTOR_UNDO);
    action->attempt = x->undo_attempt;
    action->timeout_ms =
        limit > EXECUTOR_UNDO_TIMEOUT_MIN_MS ? limit : EXECUTOR_UNDO_TIMEOUT_MIN_MS;
    /* That this execution is being undone must be on record before it is: after a crash, half of it
     * undone, it would otherwise go forward again. */
    action->durable_first = true;
    action->force = x->undo_force;
}

bool executor_undo_find(const struct executor *x, uint32_t *ret_step)
{
    for (uint32_t i = x->step; i > 0; i--) {
        const struct track *t = &x->track[i - 1];
        if (t->executed && !t->undone) {
            *ret_step = i - 1;
            return true;
        }
    }
    return false;
}

/* The round is over; one that was ordered meanwhile follows. */
static void undo_end(struct executor *x, int64_t time_ms)
{
    int64_t next = x->next_round;
    x->next_round = 0;
    if (!x->began) {
        x->undo_failures = 1;
        executor_say(x->undo_message, EXECUTOR_NO_RECORD);
    }
    x->undoing = false;
    x->phase = PHASE_ENDED;
    struct executor_record *r = executor_note(x, REPORT_ROLLED_BACK, time_ms);
    r->state = x->undo_failures > 0 ? EXECUTION_ROLLBACK_FAILED : EXECUTION_ROLLED_BACK;
    r->message = x->undo_failures > 0 ? x->undo_message : NULL;
    r->duration_ms = since(x->undo_began_ms, time_ms);
    if (next <= x->undo_round) {
        (void)executor_emit(x, EXECUTOR_FINISHED);
        return;
    }
    x->undo_force = x->next_force;
    executor_undo_begin(x, time_ms);
}

void executor_undo_next(struct executor *x, int64_t time_ms)
{
    uint32_t step;
    if (executor_undo_find(x, &step)) {
        x->step = step;
        x->undo_attempt = 1;
        executor_undo_attempt(x);
        return;
    }
    undo_end(x, time_ms);
}

/* By force a step brings back what it found, whatever is there: also what an earlier step had left
 * when that is undone already. So the earlier ones are undone once more after it. */
void executor_undo_began(struct executor *x, int64_t time_ms, bool force)
{
    x->undo_round++;
    x->undoing = true;
    x->undo_force = force;
    x->undo_began_ms = time_ms;
    x->undo_failures = 0; /* the message stays: the record before may borrow it still */
    x->step = x->count;
    bool above = false; /* a later step is still to be undone */
    for (uint32_t i = x->count; i-- > 0;) {
        struct track *t = &x->track[i];
        t->undone = t->rolled_back && !(force && above);
        above = above || (t->executed && !t->undone);
    }
}

void executor_undo_begin(struct executor *x, int64_t time_ms)
{
    executor_undo_began(x, time_ms, x->undo_force);
    struct executor_record *r = executor_note(x, REPORT_ROLLBACK_STARTED, time_ms);
    r->state = EXECUTION_ROLLING_BACK;
    r->force = x->undo_force;
    executor_undo_next(x, time_ms);
}

void executor_undo_count(struct executor *x, const char *what)
{
    if (x->undo_failures++ == 0)
        executor_say_step(x, x->undo_message, what);
}

void executor_undo_failed(struct executor *x, int64_t time_ms, const struct executor_result *result)
{
    struct executor_record *r = executor_note_step(x, REPORT_STEP_ROLLED_BACK, time_ms,
                                                   x->undo_attempt, STEP_ROLLBACK_FAILED);
    executor_note_result(r, result);
    r->conflict = result->conflict;
    r->message = text_or_null(x->step_message);
    x->track[x->step].undone = true;
    x->track[x->step].rolled_back = false;
    executor_undo_count(x, x->step_message);
    executor_undo_next(x, time_ms);
}

void executor_undo_over(struct executor *x, const struct executor_event *event)
{
    const struct executor_result *result = &event->result;
    bool timed_out = x->stop == STOP_TIMEOUT;
    executor_say(x->step_message, "%s", result->message ? result->message : "");
    if (result->outcome == EXECUTOR_OK) {
        struct executor_record *r = executor_note_step(x, REPORT_STEP_ROLLED_BACK, event->time_ms,
                                                       x->undo_attempt, STEP_ROLLED_BACK);
        executor_note_result(r, result);
        r->message = text_or_null(x->step_message);
        x->track[x->step].undone = x->track[x->step].rolled_back = true;
        executor_undo_next(x, event->time_ms);
        return;
    }
    if (timed_out)
        executor_say(x->step_message, "undoing it took longer than its time limit");
    else if (!result->message)
        executor_say(x->step_message, "undoing it failed");
    /* What somebody else has changed stays so: another attempt would find the same. */
    bool again = !result->conflict && (timed_out || result->retryable);
    if (again && x->undo_attempt < EXECUTOR_UNDO_ATTEMPTS) {
        x->phase = PHASE_UNDO_WAITING;
        executor_emit(x, EXECUTOR_TIMER_START)->delay_ms = (int64_t)EXECUTOR_UNDO_WAIT_MS
                                                           << (x->undo_attempt - 1);
        x->undo_attempt++;
        return;
    }
    executor_undo_failed(x, event->time_ms, result);
}
