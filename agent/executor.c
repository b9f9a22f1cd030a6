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
    x->rollback_on_failure = config->rollback_on_failure && !config->check;
    x->cautious = config->cautious;
    x->check = config->check;
    x->confirm_ms = config->confirm_ms;
    x->traits = (struct executor_traits *)(void *)&x->track[config->count];
    if (config->count > 0)
        memcpy(x->traits, config->traits, config->count * sizeof(*x->traits));
    for (uint32_t i = 0; i < x->count; i++)
        x->traits[i].inert = x->traits[i].inert || x->traits[i].instant;
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

/* ---- Actions ----------------------------------------------------------------------------- */

struct executor_action *executor_emit(struct executor *x, enum executor_action_type type)
{
    assert(x->queue_count < QUEUE_MAX);
    struct executor_action *action = &x->queue[x->queue_count++];
    *action = (struct executor_action){.type = type, .step = x->step, .depends = EXECUTOR_NO_STEP};
    return action;
}

struct executor_record *executor_note(struct executor *x, enum report_type type, int64_t time_ms)
{
    struct executor_record *r = &executor_emit(x, EXECUTOR_RECORD)->record;
    x->restarts = 0;
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

/* ---- Events ------------------------------------------------------------------------------ */

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
    case PHASE_CHECKING:
    case PHASE_UNDOING:
        if (x->stop == STOP_NONE)
            stop_operation(x, STOP_TIMEOUT);
        break;
    case PHASE_REBOOT_WAITING:
        executor_reboot_ask(x);
        break;
    case PHASE_RETURNING:
        executor_reboot_over(x, time_ms);
        break;
    case PHASE_WAITING:
        executor_step_begin(x, time_ms);
        break;
    case PHASE_CONFIRMING:
        executor_confirm_failed(x, time_ms);
        break;
    case PHASE_UNDO_WAITING:
        executor_undo_attempt(x);
        break;
    case PHASE_NEW:
    case PHASE_REBOOTING: /* whoever was asked for it has the limit */
    case PHASE_ENDED:
        break;
    }
}

static void cancel(struct executor *x, int64_t time_ms, bool now)
{
    static const struct executor_result none = {.outcome = EXECUTOR_STOPPED};
    switch (x->phase) {
    case PHASE_NEW:
        executor_start(x, time_ms);
        executor_end(x, time_ms, EXECUTION_CANCELLED, "cancelled before it began");
        break;
    case PHASE_PREPARING: /* change nothing, so there is nothing to wait for */
    case PHASE_CHECKING:
        x->cancelled = true;
        stop_operation(x, STOP_CANCEL);
        break;
    case PHASE_EXECUTING:
    case PHASE_REBOOTING:
        x->cancelled = true;
        if (now)
            stop_operation(x, STOP_CANCEL);
        break;
    case PHASE_RETURNING: /* the step that is under way goes on to its end, unless now */
        x->cancelled = true;
        if (!now)
            break;
        (void)executor_emit(x, EXECUTOR_TIMER_STOP);
        executor_step_cancelled(x, time_ms, &none);
        break;
    case PHASE_REBOOT_WAITING:
    case PHASE_WAITING:
        x->cancelled = true;
        (void)executor_emit(x, EXECUTOR_TIMER_STOP);
        executor_step_cancelled(x, time_ms, &none);
        break;
    case PHASE_CONFIRMING:
        (void)executor_emit(x, EXECUTOR_TIMER_STOP);
        executor_end(x, time_ms, EXECUTION_CANCELLED, "cancelled before it was confirmed");
        break;
    case PHASE_UNDOING:
    case PHASE_UNDO_WAITING:
    case PHASE_ENDED:
        break;
    }
}

/* Ordered while the execution ends, or while a round is under way: what is to come anyway may be
 * the one that is meant. */
static void rollback_later(struct executor *x, int64_t round, bool force)
{
    if (!x->ended && round == x->undo_round + 1) {
        x->undo_force = x->undo_force || force;
        return;
    }
    x->next_force = force || (round == x->next_round && x->next_force);
    x->next_round = round;
}

static void rollback(struct executor *x, const struct executor_event *event)
{
    if (event->round <= x->undo_round || event->round < x->next_round)
        return;
    if (x->undoing || (x->rollback && !x->ended)) {
        rollback_later(x, event->round, event->force);
        return;
    }
    x->undo_force = event->force;
    if (x->ended) {
        executor_undo_begin(x, event->time_ms);
        return;
    }
    x->rollback = true;
    cancel(x, event->time_ms, true);
}

static void confirmed(struct executor *x, int64_t time_ms)
{
    if (x->phase != PHASE_CONFIRMING && x->phase != PHASE_RETURNING)
        return;
    (void)executor_emit(x, EXECUTOR_TIMER_STOP);
    if (x->phase == PHASE_CONFIRMING)
        executor_end(x, time_ms, EXECUTION_SUCCEEDED, NULL);
    else
        executor_reboot_over(x, time_ms);
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
        executor_prepared(x, event);
        break;
    case EXECUTOR_EXECUTED:
        assert(x->phase == PHASE_EXECUTING);
        executor_executed(x, event);
        break;
    case EXECUTOR_CHECKED:
        assert(x->phase == PHASE_CHECKING);
        executor_checked(x, event);
        break;
    case EXECUTOR_STAYED:
        assert(x->phase == PHASE_REBOOTING);
        executor_reboot_stayed(x, event);
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
        rollback(x, event);
        break;
    case EXECUTOR_CONFIRMED:
        confirmed(x, event->time_ms);
        break;
    }
}
