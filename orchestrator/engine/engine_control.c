#include "orchestrator/engine/engine_internal.h"

enum error_code control_created(struct engine *e, const struct event *event, struct error *err)
{
    if (e->phase != PHASE_NEW)
        return error_set(err, ERR_STALE, "the rollout has begun already");
    e->state = ROLLOUT_RUNNING;
    e->check = event->check;
    if (e->check)
        e->undo_scope = SCOPE_NONE;
    (void)engine_note(e, EVENT_ROLLOUT_STARTED);
    batch_begin(e);
    return ERR_OK;
}

enum error_code control_batch_due(struct engine *e, const struct event *event, struct error *err)
{
    if (event->batch <= e->batch || e->stop != STOP_NONE)
        return error_set(err, ERR_STALE, "batch %u is no longer waited for", event->batch);
    if (e->phase != PHASE_BETWEEN || event->batch != e->batch + 1)
        return error_set(err, ERR_INVALID, "batch %u is not waited for", event->batch);
    if (e->batch_due)
        return error_set(err, ERR_STALE, "batch %u is due already", event->batch);
    e->batch_due = true;
    e->ask_delay = false;
    return ERR_OK;
}

/* Refuses what only a rollout that goes forward can do. */
static enum error_code require_forward(const struct engine *e, struct error *err)
{
    switch (e->phase) {
    case PHASE_NEW:
        return error_set(err, ERR_CONFLICT, "the rollout has not begun");
    case PHASE_OVER:
        return error_set(err, ERR_CONFLICT, "the rollout has ended (%s)",
                         rollout_state_names[e->state]);
    case PHASE_BATCH:
    case PHASE_BETWEEN:
    case PHASE_DRAINING:
    case PHASE_UNDOING:
    case PHASE_CLOSING:
        break;
    }
    if (e->state == ROLLOUT_ROLLING_BACK)
        return error_set(err, ERR_CONFLICT, "the rollout is rolling back");
    if (e->stop != STOP_NONE)
        return error_set(err, ERR_CONFLICT, "the rollout is stopping (%s)", e->cause);
    return ERR_OK;
}

enum error_code control_pause(struct engine *e, struct error *err)
{
    enum error_code code = require_forward(e, err);
    if (code != ERR_OK)
        return code;
    if (e->state == ROLLOUT_PAUSED)
        return error_set(err, ERR_CONFLICT, "the rollout is paused already");
    e->state = ROLLOUT_PAUSED;
    (void)engine_note(e, EVENT_ROLLOUT_PAUSED);
    return ERR_OK;
}

enum error_code control_resume(struct engine *e, struct error *err)
{
    enum error_code code = require_forward(e, err);
    if (code != ERR_OK)
        return code;
    if (e->state != ROLLOUT_PAUSED)
        return error_set(err, ERR_CONFLICT, "the rollout is not paused");
    e->state = ROLLOUT_RUNNING;
    (void)engine_note(e, EVENT_ROLLOUT_RESUMED);
    return ERR_OK;
}

static void undo_all(struct engine *e)
{
    e->undo_scope = SCOPE_ALL;
    order_release_resolved(e);
}

/* A stop that is under way can be made firmer: end running steps too, undo afterwards. */
static enum error_code escalate(struct engine *e, const struct event *event, bool undoing,
                                struct error *err)
{
    bool firmer = event->now && e->stop != STOP_NOW;
    bool further = undoing && e->undo_scope != SCOPE_ALL;
    if (!firmer && !further)
        return error_set(err, ERR_CONFLICT, "the rollout is stopping already (%s)%s", e->cause,
                         undoing ? " and is undone then" : "");
    if (further) {
        undo_all(e);
        e->phase = PHASE_DRAINING; /* also when it had come as far as to wait for the last ones */
    }
    if (firmer) {
        e->stop = STOP_NOW;
        engine_cancel_servers(e);
    }
    return ERR_OK;
}

static enum error_code stop(struct engine *e, const struct event *event, bool undoing,
                            struct error *err)
{
    if (e->phase == PHASE_DRAINING || (e->phase == PHASE_CLOSING && e->stop != STOP_NONE))
        return escalate(e, event, undoing, err);
    enum error_code code = require_forward(e, err);
    if (code != ERR_OK)
        return code;
    bool cancel = event->type == EVENT_CANCEL_REQUESTED;
    order_name(e->cause, sizeof(e->cause), cancel ? "cancelled" : "rollback ordered", event);
    e->undo_scope = SCOPE_NONE;
    if (undoing)
        undo_all(e);
    engine_stop(e, event->now ? STOP_NOW : STOP_GRACEFUL);
    return ERR_OK;
}

enum error_code control_cancel(struct engine *e, const struct event *event, struct error *err)
{
    return stop(e, event, event->undoing && !e->check, err);
}

enum error_code control_rollback(struct engine *e, const struct event *event, struct error *err)
{
    if (e->state == ROLLOUT_ROLLING_BACK)
        return error_set(err, ERR_CONFLICT,
                         "the rollout is rolling back already: wait for its end, or order servers "
                         "one by one");
    return stop(e, event, true, err);
}
