#include "simulation/engine_world.h"

#include <string.h>

const char *const path_names[PATH_COUNT] = {
#define X(value, name) [value] = (name),
    PATHS(X)
#undef X
};

void hit(struct world *w, enum path path)
{
    w->paths[path]++;
}

/* ---- What the engine says ------------------------------------------------------------------ */

static enum path reopened_end(enum rollout_state state)
{
    if (state == ROLLOUT_ROLLBACK_FAILED)
        return PATH_REOPENED_FAILED;
    return state == ROLLOUT_ROLLED_BACK ? PATH_REOPENED_ROLLED_BACK : PATH_REOPENED_PARTLY;
}

void paths_note(struct world *w, const struct event *note)
{
    if (note->type == EVENT_THRESHOLD_EXCEEDED)
        hit(w, strstr(note->message, "canary") ? PATH_CANARY_FAILED : PATH_THRESHOLD);
    else if (note->type == EVENT_CANARY_PASSED)
        hit(w, PATH_CANARY_PASSED);
    else if (note->type == EVENT_ROLLOUT_ENDED) {
        static const enum path ends[ROLLOUT_STATE_COUNT] = {
            [ROLLOUT_SUCCEEDED] = PATH_SUCCEEDED,
            [ROLLOUT_FAILED] = PATH_FAILED,
            [ROLLOUT_CANCELLED] = PATH_CANCELLED,
            [ROLLOUT_ROLLED_BACK] = PATH_ROLLED_BACK,
            [ROLLOUT_ROLLBACK_FAILED] = PATH_ROLLBACK_FAILED};
        hit(w, ends[note->rollout_state]);
        if (w->check)
            hit(w, note->rollout_state == ROLLOUT_SUCCEEDED ? PATH_CHECK_SUCCEEDED
                                                            : PATH_CHECK_FAILED);
        if (world_over(w))
            hit(w, PATH_RESOLVED_END);
        else if (w->model.reopened)
            hit(w, reopened_end(note->rollout_state));
        if (note->rollout_state == ROLLOUT_SUCCEEDED && note->message && !w->check)
            hit(w, PATH_TOLERATED);
    }
}

/* ---- What it is told ----------------------------------------------------------------------- */

/* Before the model takes the event in: it then still knows how things were. */
static void count_report(struct world *w, const struct event *event)
{
    const struct model *m = &w->model;
    const struct model_server *s = &m->servers[event->server];
    if (s->silent && s->started)
        hit(w, world_over(w) ? PATH_RETURN_OVER
                             : (m->stopped ? PATH_RETURN_STOPPED : PATH_RETURN_RUNNING));
    if (s->resolved)
        hit(w, PATH_RESOLVED_LATE);
    if (s->ordered && s->silent && !s->ended)
        hit(w, PATH_ORDER_RETURNED);
    if (event->conflict)
        hit(w, PATH_CONFLICT);
    if (event->type == EVENT_EXECUTION_ENDED && event->state == EXECUTION_SUCCEEDED && !s->changed)
        hit(w, PATH_UNCHANGED);
    if (event->type == EVENT_EXECUTION_STARTED && s->outcome != EXECUTION_PENDING)
        hit(w, PATH_STRAY);
    if (event->type == EVENT_EXECUTION_ENDED && s->outcome == EXECUTION_UNKNOWN &&
        event->state == EXECUTION_SUCCEEDED)
        hit(w, PATH_RETURN_WELL);
    if (event->type != EVENT_EXECUTION_ROLLED_BACK || s->resolved)
        return;
    if (event->state == EXECUTION_ROLLBACK_FAILED && s->ordered)
        hit(w, PATH_ORDER_OUTLIVED);
    if (event->state == EXECUTION_ROLLED_BACK && !s->undo_asked)
        hit(w, PATH_OWN_UNDO);
    else if (event->state == EXECUTION_ROLLBACK_FAILED)
        hit(w, s->undo_asked ? PATH_UNDO_FAILED : PATH_OWN_UNDO_FAILED);
}

static void count_cancel(struct world *w, const struct event *event)
{
    hit(w, w->model.stopped ? PATH_CANCEL_FIRMER : PATH_CANCEL_GRACEFUL);
    if (w->model.paused)
        hit(w, PATH_CANCEL_IN_PAUSE);
    if (event->undoing)
        hit(w, PATH_CANCEL_UNDOING);
}

static void count_order_for_all(struct world *w)
{
    if (world_over(w))
        hit(w, PATH_REOPENED);
    else
        hit(w, w->model.stopped ? PATH_ORDER_WIDENS : PATH_ORDER_FORWARD);
}

static void count_order(struct world *w, const struct event *event)
{
    const struct model *m = &w->model;
    if (event->server == EVENT_NO_SERVER) {
        count_order_for_all(w);
        return;
    }
    const struct model_server *s = &m->servers[event->server];
    if (world_over(w))
        hit(w, PATH_SINGLE_OVER);
    else
        hit(w, m->note_undo ? PATH_SINGLE_UNDOING : PATH_SINGLE_FORWARD);
    if (s->resolved)
        hit(w, PATH_RESOLVED_ORDERED);
    else if (s->silent)
        hit(w, s->ended ? PATH_ORDER_OWED : PATH_ORDER_SILENT);
}

static void count_resolve(struct world *w, const struct event *event)
{
    const struct model_server *s = &w->model.servers[event->server];
    if (event->state == EXECUTION_SUCCEEDED)
        hit(w, PATH_RESOLVED_SUCCEEDED);
    else
        hit(w, event->state == EXECUTION_FAILED ? PATH_RESOLVED_FAILED : PATH_RESOLVED_ROLLED_BACK);
    if (model_state(&w->model, s) == EXECUTION_UNKNOWN)
        hit(w, PATH_RESOLVED_UNKNOWN);
}

void paths_event(struct world *w, const struct event *event)
{
    if (event->agent_seq > 0)
        count_report(w, event);
    else if (event->type == EVENT_EXECUTION_UNREACHABLE)
        hit(w, PATH_UNREACHABLE);
    else if (event->type == EVENT_EXECUTION_UNKNOWN)
        hit(w, w->model.servers[event->server].ended ? PATH_SILENT_UNDO : PATH_UNKNOWN);
    else if (event->type == EVENT_EXECUTION_WITHDRAWN)
        hit(w, PATH_WITHDRAWN);
    else if (event->type == EVENT_BATCH_DUE && w->model.paused)
        hit(w, PATH_DUE_IN_PAUSE);
    else if (event->type == EVENT_PAUSE_REQUESTED)
        hit(w, PATH_PAUSED);
    else if (event->type == EVENT_CANCEL_REQUESTED)
        count_cancel(w, event);
    else if (event->type == EVENT_ROLLBACK_REQUESTED)
        count_order(w, event);
    else if (event->type == EVENT_EXECUTION_RESOLVED)
        count_resolve(w, event);
}
