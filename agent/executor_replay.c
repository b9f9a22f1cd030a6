#include "agent/executor_internal.h"

#include <assert.h>
#include <inttypes.h>

static void replay_step(struct executor *x, const struct executor_record *r)
{
    struct track *t = &x->track[r->step];
    t->attempt = (int32_t)r->attempt;
    t->state = (enum step_state)r->state;
    if (r->type == REPORT_STEP_STARTED) {
        t->interrupted += t->open; /* the attempt before this one has no end */
        t->changed = t->changed || (t->open && !x->traits[r->step].inert);
        t->open = true;
        t->executed = true;
        t->rebooting = false;
        return;
    }
    if (r->type == REPORT_STEP_REBOOTING || r->type == REPORT_STEP_REBOOTED) {
        t->rebooting = r->type == REPORT_STEP_REBOOTING;
        t->reboots += r->type == REPORT_STEP_REBOOTED;
        t->changed = t->changed || (r->changed && !x->traits[r->step].inert);
        return;
    }
    (void)executor_attempt_over(x, t, t->state, r->changed);
    t->failures += r->type == REPORT_STEP_RETRYING;
    executor_say(x->step_message, "%s", r->message ? r->message : "");
}

static void replay_undone(struct executor *x, const struct executor_record *r)
{
    x->step = (uint32_t)r->step;
    x->track[r->step].undone = true;
    x->track[r->step].rolled_back = r->state == STEP_ROLLED_BACK;
    if (r->state == STEP_ROLLBACK_FAILED)
        executor_undo_count(x, r->message ? r->message : "");
}

static bool is_reboot(enum report_type type)
{
    return type == REPORT_STEP_REBOOTING || type == REPORT_STEP_REBOOTED;
}

/* What goes beyond the order of the entries. */
static enum error_code replay_check(const struct executor *x, const struct executor_record *r,
                                    struct error *err)
{
    bool about_step = r->type == REPORT_STEP_STARTED || r->type == REPORT_STEP_RETRYING ||
                      r->type == REPORT_STEP_ENDED || r->type == REPORT_STEP_ROLLED_BACK ||
                      is_reboot(r->type);
    if (about_step && (r->step < 0 || (uint32_t)r->step >= x->count))
        return error_set(err, ERR_CORRUPT, "an entry is about step %" PRId32 " of %" PRIu32,
                         r->step, x->count);
    if (x->check && (r->type == REPORT_STEP_STARTED || is_reboot(r->type)))
        return error_set(err, ERR_CORRUPT, "a step was executed in a check");
    if (is_reboot(r->type) && !x->track[r->step].open)
        return error_set(err, ERR_CORRUPT, "a step reboots the server that has not begun");
    if (r->type == REPORT_STEP_REBOOTED && !x->track[r->step].rebooting)
        return error_set(err, ERR_CORRUPT, "a step goes on after a reboot that it had not wanted");
    return ERR_OK;
}

enum error_code executor_replay(struct executor *x, const struct executor_record *r,
                                struct error *err)
{
    enum error_code code = replay_check(x, r, err);
    if (code != ERR_OK)
        return code;
    switch (r->type) {
    case REPORT_STARTED:
        x->began = true;
        x->begun_ms = r->time_ms;
        break;
    case REPORT_STEP_STARTED:
    case REPORT_STEP_RETRYING:
    case REPORT_STEP_REBOOTING:
    case REPORT_STEP_REBOOTED:
    case REPORT_STEP_ENDED:
        if (x->ended || x->confirming)
            return error_set(err, ERR_CORRUPT, "a step's entry comes after the execution's end");
        replay_step(x, r);
        break;
    case REPORT_CONFIRMING:
        x->confirming = true;
        break;
    case REPORT_ENDED:
        x->ended = true;
        x->undo_wanted = r->undoing;
        break;
    case REPORT_ROLLBACK_STARTED:
        if (x->undoing)
            return error_set(err, ERR_CORRUPT, "a rollback begins in the middle of one");
        executor_undo_began(x, r->time_ms, r->force);
        break;
    case REPORT_STEP_ROLLED_BACK:
        if (!x->undoing)
            return error_set(err, ERR_CORRUPT, "a step was undone before the rollback began");
        replay_undone(x, r);
        break;
    case REPORT_ROLLED_BACK:
        if (!x->undoing) /* of what is not known there is no more than this */
            executor_undo_began(x, r->time_ms, false);
        x->undoing = false;
        x->ended = true;
        break;
    case REPORT_TYPE_COUNT:
        return error_set(err, ERR_CORRUPT, "an entry of no known type");
    }
    return ERR_OK;
}

void executor_captured(struct executor *x, uint32_t step)
{
    if (step < x->count)
        x->track[step].captured = true;
}

static bool is_over(const struct track *t)
{
    return !t->open && (t->state == STEP_SUCCEEDED || t->state == STEP_FAILED ||
                        t->state == STEP_TIMED_OUT || t->state == STEP_SKIPPED);
}

bool executor_interrupted(const struct executor *x, uint32_t *ret_step)
{
    if (x->undoing)
        return executor_undo_find(x, ret_step);
    if (x->ended)
        return false;
    for (uint32_t i = 0; i < x->count; i++) {
        if (!is_over(&x->track[i])) {
            *ret_step = i;
            return x->began;
        }
    }
    return false;
}

static void resume_undo(struct executor *x, int64_t time_ms)
{
    static const struct executor_result none = {.outcome = EXECUTOR_FAILED};
    uint32_t step;
    x->step = x->count;
    if (x->restarts < EXECUTOR_MAX_INTERRUPTED || !executor_undo_find(x, &step)) {
        executor_undo_next(x, time_ms);
        return;
    }
    x->step = step;
    x->undo_attempt = 1;
    executor_say(x->step_message, "the agent died %d times while undoing this step",
                 EXECUTOR_MAX_INTERRUPTED);
    executor_undo_failed(x, time_ms, &none);
}

/* A step that began and has no recorded end. */
static void resume_in_doubt(struct executor *x, int64_t time_ms)
{
    static const struct executor_result none = {.outcome = EXECUTOR_FAILED};
    struct track *t = &x->track[x->step];
    int policy = x->steps[x->step].on_interrupt;
    bool again =
        policy == INTERRUPT_RETRY || (policy == INTERRUPT_DEFAULT && x->traits[x->step].idempotent);
    t->interrupted++;
    t->changed = !x->traits[x->step].inert;
    if (again && t->interrupted < EXECUTOR_MAX_INTERRUPTED) {
        executor_attempt_begin(x, time_ms, "the agent stopped during the attempt before this one");
        return;
    }
    if (again)
        executor_say(x->step_message, "the agent died during this step %d times",
                     EXECUTOR_MAX_INTERRUPTED);
    else
        executor_say(x->step_message,
                     "the agent stopped while this step ran; whether it took effect is not known");
    executor_step_end(x, time_ms, STEP_FAILED, &none);
    executor_step_failed(x, time_ms);
}

static void resume_forward(struct executor *x, int64_t time_ms, bool rebooted)
{
    for (x->step = 0; x->step < x->count; x->step++) {
        const struct track *t = &x->track[x->step];
        bool failed = t->state == STEP_FAILED || t->state == STEP_TIMED_OUT;
        if (t->open) {
            if (t->rebooting)
                executor_reboot_resume(x, time_ms, rebooted);
            else
                resume_in_doubt(x, time_ms);
            return;
        }
        if (failed && !executor_tolerates(&x->steps[x->step])) {
            executor_step_failed(x, time_ms);
            return;
        }
        if (!is_over(t))
            break;
    }
    executor_forward(x, time_ms);
}

/* The wait begins anew: how long the agent was gone nobody can say for sure. A server that comes up
 * and goes down again and again, perhaps by what was changed, must not wait for ever. */
static void resume_confirm(struct executor *x, int64_t time_ms)
{
    x->step = x->count;
    if (x->restarts < EXECUTOR_MAX_CONFIRM_RESTARTS)
        executor_confirm_wait(x);
    else
        executor_confirm_failed(x, time_ms);
}

void executor_resume(struct executor *x, int64_t time_ms, int64_t restarts, bool rebooted)
{
    assert(x->queue_head == x->queue_count);
    x->queue_head = x->queue_count = 0;
    x->restarts = restarts;
    if (x->undoing) {
        resume_undo(x, time_ms);
    } else if (x->ended) {
        x->phase = PHASE_ENDED;
        if (x->undo_wanted && x->undo_round == 0)
            executor_undo_begin(x, time_ms);
        else
            (void)executor_emit(x, EXECUTOR_FINISHED);
    } else if (x->confirming) {
        resume_confirm(x, time_ms);
    } else if (x->began) {
        resume_forward(x, time_ms, rebooted);
    } else {
        executor_begin(x, time_ms);
    }
}
