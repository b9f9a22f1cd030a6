#include "simulation/engine_model_internal.h"

/* ---- What is seen -------------------------------------------------------------------------- */

static void check_server(struct model *m, const struct engine *e, uint32_t i)
{
    const struct model_server *s = &m->servers[i];
    const struct execution *x = engine_execution(e, i);
    enum execution_state state = model_state(m, s);
    /* Giving up on the silent happens in its turn. */
    bool in_turn = !m->over && model_given_up(m, s) && x->state == s->rest_state;
    if (x->state != state && !in_turn)
        model_fail(m, "server %u is %s, not %s", i, execution_state_names[x->state],
                   execution_state_names[state]);
    enum execution_state outcome = s->outcome;
    if (!s->queued && m->stopped)
        outcome = EXECUTION_SKIPPED;
    if (x->outcome != outcome)
        model_fail(m, "server %u has ended %s, not %s", i, execution_state_names[x->outcome],
                   execution_state_names[outcome]);
    if (x->started != s->started || x->undoing != (s->undoing && !s->silent) ||
        x->away_ms != s->away_ms || x->touched != s->touched || x->resolved != s->resolved ||
        x->unchanged != s->unchanged)
        model_fail(m, "server %u is seen wrongly", i);
    if (x->conflict != s->conflict || x->undo_force != s->force || x->undo_round != s->undo_round)
        model_fail(m, "the undo of server %u is seen wrongly", i);
    bool ambiguous = model_waits(m, s) == MODEL_EITHER;
    if (!ambiguous && engine_needs_undo(e, i) != model_needs_undo(m, s))
        model_fail(m, "whether server %u needs undo is seen wrongly", i);
    for (uint32_t k = 0; k < plan_step_count(m->plan); k++) {
        const struct step_record *step = engine_step(e, i, k);
        if (step->state != s->steps[k] || step->conflict != s->step_conflicts[k])
            model_fail(m, "server %u, step %u is seen wrongly", i, k);
    }
}

static void check_counts(struct model *m, const struct engine *e)
{
    struct engine_counts c = engine_counts(e);
    uint32_t waiting = 0;
    uint32_t undone = 0;
    uint32_t undo_failed = 0;
    uint32_t unchanged = 0;
    for (uint32_t i = 0; i < m->count; i++) {
        waiting += !m->servers[i].queued;
        unchanged += m->servers[i].unchanged;
        undone += engine_execution(e, i)->state == EXECUTION_ROLLED_BACK;
        undo_failed += engine_execution(e, i)->state == EXECUTION_ROLLBACK_FAILED;
    }
    bool right =
        c.pending == (m->stopped ? 0 : waiting) &&
        c.skipped == model_with_outcome(m, EXECUTION_SKIPPED) + (m->stopped ? waiting : 0) &&
        c.in_flight == model_with_outcome(m, EXECUTION_PENDING) &&
        c.succeeded == model_with_outcome(m, EXECUTION_SUCCEEDED) &&
        c.failed ==
            model_with_outcome(m, EXECUTION_FAILED) + model_with_outcome(m, EXECUTION_TIMED_OUT) &&
        c.unreachable == model_with_outcome(m, EXECUTION_UNREACHABLE) &&
        c.unknown == model_with_outcome(m, EXECUTION_UNKNOWN) &&
        c.cancelled == model_with_outcome(m, EXECUTION_CANCELLED) && c.rolled_back == undone &&
        c.rollback_failed == undo_failed && c.unchanged == unchanged;
    if (!right)
        model_fail(m, "the counts are wrong");
    if (c.pending + c.in_flight + c.succeeded + c.failed + c.unreachable + c.unknown + c.cancelled +
            c.skipped !=
        m->count)
        model_fail(m, "the counts do not add up");
}

/* What could go forward must have. */
static void check_none_waits(struct model *m, uint32_t next)
{
    if (m->stopped || m->paused || next == m->count)
        return;
    uint32_t held = model_slots_held(m);
    uint32_t batch = m->servers[next].batch;
    bool due = m->plan->strategy.batch_delay_ms == 0 || batch < m->batch_due;
    bool same = next > 0 && m->servers[next - 1].batch == batch;
    if ((same && held < model_cap(m, batch)) || (!same && held == 0 && due))
        model_fail(m, "server %u waits for nothing", next);
}

static void check_all_told(struct model *m)
{
    for (uint32_t i = 0; i < m->count; i++) {
        const struct model_server *s = &m->servers[i];
        bool at_work = model_busy(s) && !s->ended;
        bool unwanted = m->stopped || s->stray || s->ordered;
        if (at_work && unwanted && (!s->told || s->told_now < m->stop_now))
            model_fail(m, "server %u was not told to stop", i);
        if (model_eligible(m, s) && model_undos_asked(m) < m->most_slots)
            model_fail(m, "server %u was not told to undo", i);
    }
}

static void check_nothing_idles(struct model *m)
{
    uint32_t next = 0;
    while (next < m->count && m->servers[next].queued)
        next++;
    check_none_waits(m, next);
    check_all_told(m);
    bool done = m->created && !model_any_busy(m) && (m->stopped || next == m->count);
    if (done && !m->end)
        model_fail(m, "nothing is left to do, and no end");
    if (!done && m->end && !m->end_checked)
        model_fail(m, "an end before its time");
    m->end_checked = m->end; /* after the end, some may come back to work */
    if (m->tripped && !m->note_trip)
        model_fail(m, "threshold_exceeded is missing");
    if (m->undo_begun && !m->note_undo && (m->tripped || m->undo_planned > 0))
        model_fail(m, "rollback_started is missing");
    if (m->reopened && !m->note_undo)
        model_fail(m, "rollback_started is missing, and it was opened again");
    if (m->over && !m->note_end)
        model_fail(m, "rollout_ended is missing");
}

static void check_state(struct model *m, const struct engine *e)
{
    enum rollout_state expected = ROLLOUT_RUNNING;
    if (m->over)
        expected = m->final_state;
    else if (m->note_undo)
        expected = ROLLOUT_ROLLING_BACK;
    else if (m->paused)
        expected = ROLLOUT_PAUSED;
    if (engine_state(e) != expected)
        model_fail(m, "the rollout is %s, not %s", rollout_state_names[engine_state(e)],
                   rollout_state_names[expected]);
}

void model_check(struct model *m, const struct engine *e)
{
    for (uint32_t i = 0; i < m->count; i++)
        check_server(m, e, i);
    check_counts(m, e);
    if (engine_is_check(e) != m->check)
        model_fail(m, "whether it is a check is seen wrongly");
    check_nothing_idles(m);
    check_state(m, e);
}
