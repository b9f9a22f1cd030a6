#include "simulation/engine_model.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void model_fail(struct model *m, const char *fmt, ...)
{
    if (m->failure[0])
        return;
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(m->failure, sizeof(m->failure), fmt, args);
    va_end(args);
}

/* ---- The plan's arithmetic, from its words ------------------------------------------------- */

static uint32_t at_least_one(uint32_t count)
{
    return count < 1 ? 1 : count;
}

/* Percentages are whole here, so integers give the exact share, rounded up. */
static uint32_t percent_of(double percent, uint32_t all)
{
    return ((uint32_t)percent * all + 99) / 100;
}

static uint32_t planned_size(const struct plan *plan, uint32_t batch, uint32_t all)
{
    const struct plan_strategy *s = &plan->strategy;
    bool canary = s->type == STRATEGY_CANARY;
    if (s->type == STRATEGY_PARALLEL || (canary && batch > 0 && s->batch_sizes.count == 0))
        return all;
    if (canary && batch == 0)
        return at_least_one(percent_of(s->canary_percentage, all));
    if (s->type == STRATEGY_SEQUENTIAL || s->batch_sizes.count == 0)
        return 1;
    uint32_t i = canary ? batch - 1 : batch;
    if (i >= s->batch_sizes.count)
        i = (uint32_t)s->batch_sizes.count - 1;
    const struct plan_size *size = ARRAY_AT(&s->batch_sizes, struct plan_size, i);
    return at_least_one(size->percent ? percent_of(size->value, all) : (uint32_t)size->value);
}

static bool is_beyond(uint32_t count, const struct plan_limit *limit, uint32_t all)
{
    switch (limit->kind) {
    case LIMIT_NONE:
        return false;
    case LIMIT_ABSENT:
        return count > 0;
    case LIMIT_SIZE:
        break;
    }
    double value = limit->size.value;
    return count > (limit->size.percent ? (uint32_t)value * all / 100 : (uint32_t)value);
}

void model_init(struct model *m, const struct plan *plan)
{
    memset(m, 0, sizeof(*m));
    m->plan = plan;
    m->count = plan_server_count(plan);
    m->scope = (enum plan_scope)plan->rollback_scope;
    m->batch_due = 1;
    for (uint32_t first = 0; first < m->count;) {
        uint32_t size = planned_size(plan, m->batch_count, m->count);
        if (size > m->count - first)
            size = m->count - first;
        for (uint32_t i = first; i < first + size; i++)
            m->servers[i].batch = m->batch_count;
        m->batch_size[m->batch_count++] = size;
        first += size;
    }
}

/* ---- Facts about servers ------------------------------------------------------------------- */

bool model_busy(const struct model_server *s)
{
    return s->slot || (s->started && !s->silent && (!s->ended || s->undoing));
}

static uint32_t with_outcome(const struct model *m, enum execution_state outcome)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < m->count; i++)
        n += m->servers[i].queued && m->servers[i].outcome == outcome;
    return n;
}

static uint32_t slots_held(const struct model *m)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < m->count; i++)
        n += m->servers[i].slot;
    return n;
}

static bool any_busy(const struct model *m)
{
    for (uint32_t i = 0; i < m->count; i++)
        if (model_busy(&m->servers[i]))
            return true;
    return false;
}

/* Belongs to what is undone, whether it was already or not. */
static bool is_affected(const struct model *m, const struct model_server *s)
{
    bool failed = s->outcome == EXECUTION_FAILED || s->outcome == EXECUTION_TIMED_OUT ||
                  s->outcome == EXECUTION_UNKNOWN;
    if (!s->started)
        return false;
    return s->stray ||
           (m->stopped && (m->scope == SCOPE_ALL || (m->scope == SCOPE_FAILED && failed)));
}

static bool is_untouched_by_undo(const struct model_server *s)
{
    return !s->undoing && !s->undone && !s->undo_failed;
}

/* Could be told to undo now. */
static bool is_eligible(const struct model *m, const struct model_server *s)
{
    return is_affected(m, s) && s->ended && is_untouched_by_undo(s) && (s->stray || m->undo_begun);
}

/* Needs undoing and cannot be asked. */
static bool is_given_up(const struct model *m, const struct model_server *s)
{
    return is_affected(m, s) && s->silent && !s->ended && (s->stray || m->undo_begun);
}

static bool has_failed_undo(const struct model *m, const struct model_server *s)
{
    return s->undo_failed || (s->undoing && s->silent) || is_given_up(m, s);
}

/* ---- Events -------------------------------------------------------------------------------- */

static void settle(struct model_server *s)
{
    s->slot = false;
}

static void model_report(struct model *m, const struct event *event)
{
    struct model_server *s = &m->servers[event->server];
    bool back = s->silent;
    s->silent = false;
    s->told = s->told && !back;
    s->told_now = s->told_now && !back;
    if (event->type == EVENT_EXECUTION_STARTED) {
        s->started = true;
        s->stray = s->outcome != EXECUTION_PENDING;
    } else if (event->type == EVENT_EXECUTION_ENDED) {
        s->ended = true;
        s->ended_as = event->state;
        s->undoing = event->undoing;
        s->came_late = m->undo_begun || s->stray;
        if (s->outcome == EXECUTION_PENDING || (s->outcome == EXECUTION_UNKNOWN && !m->over))
            s->outcome = event->state;
        if (!event->undoing)
            settle(s);
    } else if (event->type == EVENT_EXECUTION_ROLLBACK_STARTED) {
        s->undoing = true;
    } else if (event->type == EVENT_EXECUTION_ROLLED_BACK) {
        s->undoing = false;
        s->undo_asked = false;
        s->undone = event->state == EXECUTION_ROLLED_BACK;
        s->undo_failed = !s->undone;
        settle(s);
    } else if (event->type == EVENT_STEP_ENDED || event->type == EVENT_STEP_ROLLED_BACK) {
        s->steps[event->step] = event->step_state;
    } else if (event->type == EVENT_STEP_STARTED) {
        s->steps[event->step] = STEP_RUNNING;
    }
}

static void model_said(struct model *m, const struct event *event)
{
    struct model_server *s = &m->servers[event->server];
    enum execution_state outcome = event->type == EVENT_EXECUTION_UNREACHABLE
                                       ? EXECUTION_UNREACHABLE
                                   : event->type == EVENT_EXECUTION_UNKNOWN ? EXECUTION_UNKNOWN
                                                                            : EXECUTION_SKIPPED;
    s->silent = true;
    s->undo_asked = false;
    if (s->outcome == EXECUTION_PENDING)
        s->outcome = outcome;
    settle(s);
}

static void weigh_results(struct model *m)
{
    if (m->stopped || m->over)
        return;
    uint32_t unreachable = with_outcome(m, EXECUTION_UNREACHABLE);
    uint32_t failures = with_outcome(m, EXECUTION_FAILED) + with_outcome(m, EXECUTION_TIMED_OUT) +
                        with_outcome(m, EXECUTION_UNKNOWN) + with_outcome(m, EXECUTION_CANCELLED);
    const struct plan_strategy *strategy = &m->plan->strategy;
    bool apart = strategy->max_unreachable.kind != LIMIT_ABSENT;
    bool canary = strategy->type == STRATEGY_CANARY && !m->canary_passed;
    uint32_t counted = failures + (apart ? 0 : unreachable);
    if (canary && failures + unreachable > 0)
        m->trip_count = failures + unreachable;
    else if (is_beyond(counted, &strategy->max_failures, m->count))
        m->trip_count = counted;
    else if (apart && is_beyond(unreachable, &strategy->max_unreachable, m->count))
        m->trip_count = unreachable;
    if (m->trip_count > 0) {
        m->tripped = true;
        m->stopped = true;
        m->paused = false;
        return;
    }
    bool verdict = canary;
    for (uint32_t i = 0; i < m->batch_size[0]; i++)
        verdict = verdict && m->servers[i].outcome == EXECUTION_SUCCEEDED;
    m->canary_passed = m->canary_passed || verdict;
}

static void begin_undo_when_drained(struct model *m)
{
    if (!m->stopped || m->undo_begun || m->scope == SCOPE_NONE || slots_held(m) > 0)
        return;
    for (uint32_t i = 0; i < m->count; i++) {
        const struct model_server *s = &m->servers[i];
        m->undo_planned += is_affected(m, s) && is_untouched_by_undo(s) && !is_given_up(m, s);
    }
    m->undo_begun = true;
}

static void model_command(struct model *m, const struct event *event)
{
    if (event->type == EVENT_PAUSE_REQUESTED || event->type == EVENT_RESUME_REQUESTED) {
        if (m->stopped || m->over || m->paused == (event->type == EVENT_PAUSE_REQUESTED))
            model_fail(m, "%s was accepted", event_type_names[event->type]);
        m->paused = event->type == EVENT_PAUSE_REQUESTED;
        return;
    }
    if (m->over || m->undo_begun)
        model_fail(m, "cancel was accepted after undoing had begun");
    if (!m->stopped)
        m->scope = SCOPE_NONE;
    m->stopped = true;
    m->paused = false;
    m->stop_now = m->stop_now || event->now;
    if (event->undoing)
        m->scope = SCOPE_ALL;
}

void model_event(struct model *m, const struct event *event)
{
    if (event->type == EVENT_ROLLOUT_CREATED)
        m->created = true;
    else if (event->type == EVENT_BATCH_DUE)
        m->batch_due = event->batch;
    else if (event->type == EVENT_PAUSE_REQUESTED || event->type == EVENT_RESUME_REQUESTED ||
             event->type == EVENT_CANCEL_REQUESTED)
        model_command(m, event);
    else if (event->agent_seq > 0)
        model_report(m, event);
    else
        model_said(m, event);
    weigh_results(m);
    begin_undo_when_drained(m);
}

/* ---- Decisions ----------------------------------------------------------------------------- */

static uint32_t cap_of(const struct model *m, uint32_t batch)
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
    uint32_t held = slots_held(m);
    if (held > cap_of(m, s->batch))
        model_fail(m, "%u servers in flight", held);
    m->most_slots = held > m->most_slots ? held : m->most_slots;
}

static void check_cancel(struct model *m, const struct decision *d, bool again)
{
    struct model_server *s = &m->servers[d->server];
    if (!m->stopped && !s->stray)
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

static uint32_t undos_asked(const struct model *m)
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
    if (!is_eligible(m, s))
        model_fail(m, "server %u was told to undo and should not be", i);
    for (uint32_t k = i + 1; k < m->count && !s->came_late; k++) {
        const struct model_server *later = &m->servers[k];
        if (!later->came_late && is_eligible(m, later))
            model_fail(m, "server %u was told to undo before server %u", i, k);
    }
    s->undoing = true;
    s->undo_asked = true;
    if (undos_asked(m) > m->most_slots)
        model_fail(m, "more servers undo at once than went forward");
}

static void check_ended(struct model *m, const struct event *note)
{
    uint32_t failed = 0;
    for (uint32_t i = 0; i < m->count; i++)
        failed += has_failed_undo(m, &m->servers[i]);
    enum rollout_state expected = ROLLOUT_SUCCEEDED;
    if (failed > 0)
        expected = ROLLOUT_ROLLBACK_FAILED;
    else if (m->tripped)
        expected = m->scope == SCOPE_NONE ? ROLLOUT_FAILED : ROLLOUT_ROLLED_BACK;
    else if (m->stopped)
        expected = m->undo_planned > 0 ? ROLLOUT_ROLLED_BACK : ROLLOUT_CANCELLED;
    if (note->rollout_state != expected)
        model_fail(m, "ended %s, not %s", rollout_state_names[note->rollout_state],
                   rollout_state_names[expected]);
    if (m->note_end)
        model_fail(m, "ended twice");
    m->note_end = true;
    m->over = true;
    m->final_state = expected;
    for (uint32_t i = 0; i < m->count && expected == ROLLOUT_ROLLED_BACK; i++)
        if (is_affected(m, &m->servers[i]) && !m->servers[i].undone)
            model_fail(m, "rolled_back, and server %u is not", i);
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
        if (m->paused || m->stopped || slots_held(m) > 0)
            model_fail(m, "batch %u began before its time", note->batch);
    } else if (note->type == EVENT_ROLLBACK_STARTED) {
        if (m->note_undo || !m->undo_begun || note->count != m->undo_planned)
            model_fail(m, "rollback_started(%u), and %u are to be", note->count, m->undo_planned);
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

/* ---- What is seen -------------------------------------------------------------------------- */

static enum execution_state expected_state(const struct model *m, const struct model_server *s)
{
    if (!s->queued)
        return m->stopped ? EXECUTION_SKIPPED : EXECUTION_PENDING;
    if (s->undone)
        return EXECUTION_ROLLED_BACK;
    if (has_failed_undo(m, s))
        return EXECUTION_ROLLBACK_FAILED;
    if (s->undoing)
        return EXECUTION_ROLLING_BACK;
    if (s->ended)
        return s->ended_as;
    if (s->started)
        return s->silent ? EXECUTION_UNKNOWN : EXECUTION_RUNNING;
    return s->outcome == EXECUTION_PENDING ? EXECUTION_QUEUED : s->outcome;
}

static void check_server(struct model *m, const struct engine *e, uint32_t i)
{
    const struct model_server *s = &m->servers[i];
    const struct execution *x = engine_execution(e, i);
    enum execution_state state = expected_state(m, s);
    /* Giving up on the silent happens in its turn. */
    bool in_turn = !m->over && is_given_up(m, s) && x->state == EXECUTION_UNKNOWN;
    if (x->state != state && !in_turn)
        model_fail(m, "server %u is %s, not %s", i, execution_state_names[x->state],
                   execution_state_names[state]);
    enum execution_state outcome = s->outcome;
    if (!s->queued && m->stopped)
        outcome = EXECUTION_SKIPPED;
    if (x->outcome != outcome)
        model_fail(m, "server %u has ended %s, not %s", i, execution_state_names[x->outcome],
                   execution_state_names[outcome]);
    if (x->started != s->started || x->undoing != (s->undoing && !s->silent))
        model_fail(m, "server %u is seen wrongly", i);
    for (uint32_t k = 0; k < plan_step_count(m->plan); k++)
        if (engine_step(e, i, k)->state != s->steps[k])
            model_fail(m, "server %u, step %u is seen wrongly", i, k);
}

static void check_counts(struct model *m, const struct engine *e)
{
    struct engine_counts c = engine_counts(e);
    uint32_t waiting = 0;
    uint32_t undone = 0;
    uint32_t undo_failed = 0;
    for (uint32_t i = 0; i < m->count; i++) {
        waiting += !m->servers[i].queued;
        undone += engine_execution(e, i)->state == EXECUTION_ROLLED_BACK;
        undo_failed += engine_execution(e, i)->state == EXECUTION_ROLLBACK_FAILED;
    }
    bool right =
        c.pending == (m->stopped ? 0 : waiting) &&
        c.skipped == with_outcome(m, EXECUTION_SKIPPED) + (m->stopped ? waiting : 0) &&
        c.in_flight == with_outcome(m, EXECUTION_PENDING) &&
        c.succeeded == with_outcome(m, EXECUTION_SUCCEEDED) &&
        c.failed == with_outcome(m, EXECUTION_FAILED) + with_outcome(m, EXECUTION_TIMED_OUT) &&
        c.unreachable == with_outcome(m, EXECUTION_UNREACHABLE) &&
        c.unknown == with_outcome(m, EXECUTION_UNKNOWN) &&
        c.cancelled == with_outcome(m, EXECUTION_CANCELLED) && c.rolled_back == undone &&
        c.rollback_failed == undo_failed;
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
    uint32_t held = slots_held(m);
    uint32_t batch = m->servers[next].batch;
    bool due = m->plan->strategy.batch_delay_ms == 0 || batch < m->batch_due;
    bool same = next > 0 && m->servers[next - 1].batch == batch;
    if ((same && held < cap_of(m, batch)) || (!same && held == 0 && due))
        model_fail(m, "server %u waits for nothing", next);
}

static void check_all_told(struct model *m)
{
    for (uint32_t i = 0; i < m->count; i++) {
        const struct model_server *s = &m->servers[i];
        bool at_work = model_busy(s) && !s->ended;
        if (at_work && (m->stopped || s->stray) && (!s->told || s->told_now < m->stop_now))
            model_fail(m, "server %u was not told to stop", i);
        if (is_eligible(m, s) && undos_asked(m) < m->most_slots)
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
    bool done = m->created && !any_busy(m) && (m->stopped || next == m->count);
    if (done && !m->end)
        model_fail(m, "nothing is left to do, and no end");
    if (!done && m->end && !m->end_checked)
        model_fail(m, "an end before its time");
    m->end_checked = m->end; /* after the end, some may come back to work */
    if (m->tripped && !m->note_trip)
        model_fail(m, "threshold_exceeded is missing");
    if (m->undo_begun && !m->note_undo && (m->tripped || m->undo_planned > 0))
        model_fail(m, "rollback_started is missing");
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
    check_nothing_idles(m);
    check_state(m, e);
}
