#include "simulation/engine_model_internal.h"

#include <stdio.h>

/* ---- What can be ordered ------------------------------------------------------------------- */

/* Before its turn has come it need not wait, and whether it has is not known here. */
enum model_opinion model_waits(const struct model *m, const struct model_server *s)
{
    if (!model_eligible(m, s))
        return MODEL_REFUSES;
    if (s->ordered || s->stray || (s->out_of_turn && m->over))
        return MODEL_TAKES;
    return s->out_of_turn ? MODEL_EITHER : MODEL_REFUSES;
}

bool model_needs_undo(const struct model *m, const struct model_server *s)
{
    bool settled_undone = s->resolved && s->rest_state == EXECUTION_ROLLED_BACK;
    bool undoes = s->undoing && !s->silent;
    return !m->check && s->started && !undoes && !s->undone && !s->ordered && !settled_undone &&
           model_waits(m, s) != MODEL_TAKES;
}

static uint32_t count_undo(const struct model *m)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < m->count; i++)
        n += model_needs_undo(m, &m->servers[i]);
    return n;
}

static enum model_opinion opinion_on_all(const struct model *m, const struct event *event)
{
    bool takes;
    if (event->force)
        takes = false;
    else if (m->over)
        takes = count_undo(m) > 0;
    else if (m->reopened || m->undo_begun)
        takes = false;
    else
        takes = !m->stopped || (event->now && !m->stop_now) || m->scope != SCOPE_ALL;
    return takes ? MODEL_TAKES : MODEL_REFUSES;
}

static enum model_opinion opinion_on_server(const struct model *m, const struct event *event)
{
    const struct model_server *s = &m->servers[event->server];
    if (!s->started || model_busy(s) || s->undone)
        return MODEL_REFUSES;
    if (model_waits(m, s) != MODEL_REFUSES)
        return model_waits(m, s) == MODEL_TAKES ? MODEL_REFUSES : MODEL_EITHER;
    return s->ordered && (s->force || !event->force) ? MODEL_REFUSES : MODEL_TAKES;
}

static bool can_be_resolved(const struct model *m, const struct model_server *s)
{
    enum execution_state state = model_state(m, s);
    return (state == EXECUTION_UNKNOWN || state == EXECUTION_ROLLBACK_FAILED) && !s->resolved;
}

enum model_opinion model_opinion(const struct model *m, const struct event *event)
{
    bool undoes = event->type == EVENT_ROLLBACK_REQUESTED || event->state == EXECUTION_ROLLED_BACK;
    if (m->check && undoes)
        return MODEL_REFUSES;
    if (event->type == EVENT_EXECUTION_RESOLVED)
        return can_be_resolved(m, &m->servers[event->server]) ? MODEL_TAKES : MODEL_REFUSES;
    return event->server == EVENT_NO_SERVER ? opinion_on_all(m, event)
                                            : opinion_on_server(m, event);
}

/* ---- What follows -------------------------------------------------------------------------- */

/* Gives a settled server back: one whose round has no known end is waited for. */
static void unsettle(struct model_server *s)
{
    s->resolved = false;
    s->undoing = s->round_open;
    s->silent = !s->ended || s->round_open;
}

static void order_server(struct model_server *s, bool force)
{
    if (s->resolved)
        unsettle(s);
    s->ordered = true;
    s->force = force;
}

void model_ordered(struct model *m, const struct event *event)
{
    uint32_t count = 1;
    if (event->server != EVENT_NO_SERVER) {
        order_server(&m->servers[event->server], event->force);
        m->servers[event->server].out_of_turn = true;
    } else {
        count = count_undo(m);
        for (uint32_t i = 0; i < m->count; i++) {
            struct model_server *s = &m->servers[i];
            if (!model_needs_undo(m, s))
                continue;
            order_server(s, false);
            s->out_of_turn = s->keeps_place;
        }
        m->whole_ordered = true;
    }
    if (!m->over)
        return;
    m->over = m->end = m->end_checked = m->note_end = m->note_undo = false;
    m->reopened = true;
    m->conclude_due = false;
    m->undo_noted = count;
}

void model_resolved(struct model *m, const struct event *event)
{
    struct model_server *s = &m->servers[event->server];
    s->keeps_place = s->keeps_place || model_waits(m, s) != MODEL_REFUSES;
    s->resolved = s->was_resolved = true;
    s->undoing = s->undo_asked = s->undo_failed = s->ordered = false;
    s->force = s->conflict = false;
    s->rest_state = event->state;
    if (s->outcome == EXECUTION_UNKNOWN)
        s->outcome = event->state == EXECUTION_SUCCEEDED ? EXECUTION_SUCCEEDED : EXECUTION_FAILED;
    m->conclude_due = m->over;
}

/* How it ended is looked at again when nobody who came late is at work, or is about to be. */
void model_conclude(struct model *m)
{
    bool waits = model_any_busy(m);
    for (uint32_t i = 0; i < m->count; i++)
        waits = waits || model_eligible(m, &m->servers[i]);
    if (!m->conclude_due || waits)
        return;
    m->conclude_due = false;
    if (model_end(m) == m->final_state)
        return;
    m->final_state = model_end(m);
    m->note_end = false;
}

void model_release(struct model *m)
{
    for (uint32_t i = 0; i < m->count; i++) {
        struct model_server *s = &m->servers[i];
        if (s->resolved && s->rest_state != EXECUTION_ROLLED_BACK)
            unsettle(s);
    }
}
