#include "simulation/engine_model_internal.h"

/* ---- Decisions ----------------------------------------------------------------------------- */

uint32_t model_cap(const struct model *m, uint32_t batch)
{
    uint32_t size = m->batch_size[batch];
    int64_t cap = m->plan->strategy.max_parallel;
    return cap > 0 && cap < size ? (uint32_t)cap : size;
}

static void check_start(struct model *m, uint32_t i, bool again)
{
    struct model_server *s = &m->servers[i];
    if (m->stopped || m->over)
        model_fail(m, "server %u was started after the stop", i);
    if (again) {
        if (!s->slot || s->started)
            model_fail(m, "server %u was started again", i);
        return;
    }
    if (m->paused)
        model_fail(m, "server %u was started in a pause", i);
    if (s->queued)
        model_fail(m, "server %u was started twice", i);
    for (uint32_t k = 0; k < m->count; k++) {
        const struct model_server *other = &m->servers[k];
        if (k < i && !other->queued)
            model_fail(m, "server %u was started before server %u", i, k);
        if (other->batch < s->batch && (!other->queued || other->slot))
            model_fail(m, "server %u was started before batch %u had settled", i, other->batch + 1);
    }
    if (s->batch > 0 && m->plan->strategy.type == STRATEGY_CANARY && !m->canary_passed)
        model_fail(m, "server %u was started before the canary's verdict", i);
    if (m->plan->strategy.batch_delay_ms > 0 && s->batch >= m->batch_due)
        model_fail(m, "server %u was started before its batch was due", i);
    s->queued = true;
    s->slot = true;
    uint32_t held = model_slots_held(m);
    if (held > model_cap(m, s->batch))
        model_fail(m, "%u servers in flight", held);
    m->most_slots = held > m->most_slots ? held : m->most_slots;
}

static void check_cancel(struct model *m, const struct decision *d, bool again)
{
    struct model_server *s = &m->servers[d->server];
    if (!m->stopped && !s->stray && !s->ordered)
        model_fail(m, "server %u was cancelled without a reason", d->server);
    if (!model_busy(s) || s->ended)
        model_fail(m, "server %u was cancelled, and was not at work", d->server);
    if (!again && s->told && (s->told_now || !d->now))
        model_fail(m, "server %u was cancelled twice", d->server);
    if (d->now != m->stop_now)
        model_fail(m, "server %u was cancelled %s", d->server, d->now ? "too hard" : "too softly");
    s->told = true;
    s->told_now = d->now;
}

uint32_t model_undos_asked(const struct model *m)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < m->count; i++)
        n += m->servers[i].undo_asked;
    return n;
}

static void check_rollback(struct model *m, uint32_t i, bool again)
{
    struct model_server *s = &m->servers[i];
    if (again) {
        if (!s->undoing)
            model_fail(m, "server %u was told to undo again", i);
        return;
    }
    if (!model_eligible(m, s))
        model_fail(m, "server %u was told to undo and should not be", i);
    if (s->round_open)
        model_fail(m, "server %u was told to undo while it does", i);
    for (uint32_t k = i + 1; k < m->count && !s->out_of_turn; k++) {
        const struct model_server *later = &m->servers[k];
        if (!later->out_of_turn && model_eligible(m, later))
            model_fail(m, "server %u was told to undo before server %u", i, k);
    }
    s->undoing = true;
    s->undo_asked = true;
    s->undo_failed = false;
    s->ordered = false;
    s->undo_round = s->rounds + 1;
    if (model_undos_asked(m) > m->most_slots)
        model_fail(m, "more servers undo at once than went forward");
}

static void check_ended(struct model *m, const struct event *note)
{
    enum rollout_state expected = m->over ? m->final_state : model_end(m);
    if (note->rollout_state != expected)
        model_fail(m, "ended %s, not %s", rollout_state_names[note->rollout_state],
                   rollout_state_names[expected]);
    if (m->note_end)
        model_fail(m, "ended twice");
    m->note_end = true;
    m->over = true;
    m->closed = true;
    m->final_state = expected;
    for (uint32_t i = 0; i < m->count && expected == ROLLOUT_ROLLED_BACK; i++) {
        const struct model_server *s = &m->servers[i];
        bool affected = model_affected(m, s) || (m->whole_ordered && s->started && !s->resolved);
        if (affected && !s->undone)
            model_fail(m, "rolled_back, and server %u is not", i);
    }
}

static void check_note(struct model *m, const struct event *note)
{
    if (note->type == EVENT_THRESHOLD_EXCEEDED) {
        if (m->note_trip || !m->tripped || note->count != m->trip_count)
            model_fail(m, "threshold_exceeded(%u), and %u failed", note->count, m->trip_count);
        m->note_trip = true;
    } else if (note->type == EVENT_CANARY_PASSED) {
        if (!m->canary_passed)
            model_fail(m, "canary_passed, and it has not");
    } else if (note->type == EVENT_BATCH_STARTED) {
        if (note->batch < 1 || note->batch > m->batch_count ||
            note->count != m->batch_size[note->batch - 1])
            model_fail(m, "batch_started(%u,%u)", note->batch, note->count);
        if (m->paused || m->stopped || model_slots_held(m) > 0)
            model_fail(m, "batch %u began before its time", note->batch);
    } else if (note->type == EVENT_ROLLBACK_STARTED) {
        if (m->note_undo || !(m->undo_begun || m->reopened) || note->count != m->undo_noted)
            model_fail(m, "rollback_started(%u), and %u are to be", note->count, m->undo_noted);
        m->note_undo = true;
    } else if (note->type == EVENT_ROLLOUT_ENDED) {
        check_ended(m, note);
    }
}

void model_decision(struct model *m, const struct decision *d, bool again)
{
    switch (d->type) {
    case DECISION_START:
        check_start(m, d->server, again);
        break;
    case DECISION_CANCEL:
        check_cancel(m, d, again);
        break;
    case DECISION_ROLLBACK:
        check_rollback(m, d->server, again);
        break;
    case DECISION_BATCH_DELAY:
        if (d->delay_ms != m->plan->strategy.batch_delay_ms || m->stopped)
            model_fail(m, "a delay that the plan does not have");
        break;
    case DECISION_NOTE:
        if (again)
            model_fail(m, "%s was noted again", event_type_names[d->note.type]);
        check_note(m, &d->note);
        break;
    case DECISION_END:
        if (m->end || !m->note_end || again)
            model_fail(m, "an end out of place");
        m->end = true;
        break;
    }
}
