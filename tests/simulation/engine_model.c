#include "simulation/engine_model_internal.h"

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
    bool at_work = !s->ended || s->undoing;
    return s->slot || (s->started && !s->resolved && !s->silent && at_work);
}

uint32_t model_with_outcome(const struct model *m, enum execution_state outcome)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < m->count; i++)
        n += m->servers[i].queued && m->servers[i].outcome == outcome;
    return n;
}

uint32_t model_slots_held(const struct model *m)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < m->count; i++)
        n += m->servers[i].slot;
    return n;
}

bool model_any_busy(const struct model *m)
{
    for (uint32_t i = 0; i < m->count; i++)
        if (model_busy(&m->servers[i]))
            return true;
    return false;
}

bool model_affected(const struct model *m, const struct model_server *s)
{
    bool failed = s->outcome == EXECUTION_FAILED || s->outcome == EXECUTION_TIMED_OUT ||
                  s->outcome == EXECUTION_UNKNOWN;
    if (m->check || !s->started || s->resolved)
        return false;
    return s->stray || s->ordered ||
           (m->stopped && (m->scope == SCOPE_ALL || (m->scope == SCOPE_FAILED && failed)));
}

static bool is_untouched_by_undo(const struct model_server *s)
{
    return !s->undoing && !s->undone && (!s->undo_failed || s->ordered);
}

bool model_eligible(const struct model *m, const struct model_server *s)
{
    return model_affected(m, s) && s->ended && is_untouched_by_undo(s) &&
           (s->stray || s->ordered || m->undo_begun);
}

bool model_given_up(const struct model *m, const struct model_server *s)
{
    return model_affected(m, s) && s->silent && !s->ended &&
           (s->stray || s->ordered || m->undo_begun);
}

bool model_failed_undo(const struct model *m, const struct model_server *s)
{
    return !s->resolved && (s->undo_failed || (s->undoing && s->silent) || model_given_up(m, s));
}

enum execution_state model_state(const struct model *m, const struct model_server *s)
{
    if (!s->queued)
        return m->stopped ? EXECUTION_SKIPPED : EXECUTION_PENDING;
    if (s->resolved)
        return s->rest_state;
    if (s->undone)
        return EXECUTION_ROLLED_BACK;
    if (model_failed_undo(m, s))
        return EXECUTION_ROLLBACK_FAILED;
    if (s->undoing)
        return EXECUTION_ROLLING_BACK;
    if (s->ended)
        return s->rest_state;
    if (s->started)
        return s->silent ? s->rest_state : EXECUTION_RUNNING;
    return s->outcome == EXECUTION_PENDING ? EXECUTION_QUEUED : s->outcome;
}

/* Nothing that was changed, or may have been, is left. */
static bool all_is_undone(const struct model *m)
{
    for (uint32_t i = 0; i < m->count; i++) {
        const struct model_server *s = &m->servers[i];
        bool changed = s->touched || (s->started && !s->ended);
        if (changed && !s->unchanged && model_state(m, s) != EXECUTION_ROLLED_BACK)
            return false;
    }
    return true;
}

enum rollout_state model_end(const struct model *m)
{
    for (uint32_t i = 0; i < m->count; i++)
        if (model_failed_undo(m, &m->servers[i]))
            return ROLLOUT_ROLLBACK_FAILED;
    if (m->whole_ordered || (m->reopened && all_is_undone(m)))
        return ROLLOUT_ROLLED_BACK;
    if (m->tripped)
        return m->scope == SCOPE_NONE ? ROLLOUT_FAILED : ROLLOUT_ROLLED_BACK;
    if (m->stopped)
        return m->undo_planned > 0 ? ROLLOUT_ROLLED_BACK : ROLLOUT_CANCELLED;
    return ROLLOUT_SUCCEEDED;
}

/* ---- Events -------------------------------------------------------------------------------- */

/* What a server did, whoever listens. */
static void record_report(const struct model *m, struct model_server *s, const struct event *event)
{
    s->away_ms = event->type == EVENT_STEP_REBOOTING ? event->away_ms : 0;
    if (event->type == EVENT_EXECUTION_STARTED) {
        s->started = true;
    } else if (event->type == EVENT_EXECUTION_ENDED) {
        s->ended = true;
    } else if (event->type == EVENT_EXECUTION_ROLLBACK_STARTED) {
        s->rounds++;
        s->round_open = true;
    } else if (event->type == EVENT_EXECUTION_ROLLED_BACK) {
        s->round_open = false;
    } else if (event->type == EVENT_STEP_STARTED || event->type == EVENT_STEP_RETRYING ||
               event->type == EVENT_STEP_REBOOTING || event->type == EVENT_STEP_REBOOTED) {
        s->touched = !m->check;
        s->steps[event->step] = STEP_RUNNING;
    } else if (event->type == EVENT_STEP_ENDED) {
        s->steps[event->step] = event->step_state;
        s->changed = s->changed || event->changed || event->step_state != STEP_SUCCEEDED;
    } else if (event->type == EVENT_STEP_ROLLED_BACK) {
        s->steps[event->step] = event->step_state;
        s->step_conflicts[event->step] = event->conflict;
    }
}

static void model_report(struct model *m, const struct event *event)
{
    struct model_server *s = &m->servers[event->server];
    bool back = s->silent;
    record_report(m, s, event);
    if (s->resolved)
        return;
    s->silent = false;
    s->told = s->told && !back;
    s->told_now = s->told_now && !back;
    if (event->type == EVENT_EXECUTION_STARTED) {
        s->stray = s->outcome != EXECUTION_PENDING;
    } else if (event->type == EVENT_EXECUTION_ENDED) {
        s->rest_state = event->state;
        s->undoing = event->undoing;
        s->out_of_turn = m->undo_begun || s->stray || s->ordered;
        if (s->outcome == EXECUTION_PENDING || (s->outcome == EXECUTION_UNKNOWN && !m->closed))
            s->outcome = event->state;
        /* Not one that a person has said to have succeeded. */
        s->unchanged =
            event->state == EXECUTION_SUCCEEDED && s->outcome == EXECUTION_SUCCEEDED && !s->changed;
        if (!event->undoing)
            s->slot = false;
    } else if (event->type == EVENT_EXECUTION_ROLLBACK_STARTED) {
        s->undoing = true;
        s->conflict = false;
    } else if (event->type == EVENT_STEP_ROLLED_BACK) {
        s->conflict = s->conflict || event->conflict;
    } else if (event->type == EVENT_EXECUTION_ROLLED_BACK) {
        s->undoing = false;
        s->undo_asked = false;
        s->undone = event->state == EXECUTION_ROLLED_BACK;
        s->undo_failed = !s->undone;
        s->ordered = s->ordered && !s->undone;
        s->out_of_turn = s->out_of_turn || s->ordered;
        s->slot = false;
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
    s->away_ms = 0;
    s->undo_asked = false;
    if (!s->ended)
        s->rest_state = EXECUTION_UNKNOWN;
    if (s->outcome == EXECUTION_PENDING)
        s->outcome = outcome;
    s->slot = false;
}

static void weigh_results(struct model *m)
{
    if (m->stopped || m->closed)
        return;
    uint32_t unreachable = model_with_outcome(m, EXECUTION_UNREACHABLE);
    uint32_t failures =
        model_with_outcome(m, EXECUTION_FAILED) + model_with_outcome(m, EXECUTION_TIMED_OUT) +
        model_with_outcome(m, EXECUTION_UNKNOWN) + model_with_outcome(m, EXECUTION_CANCELLED);
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
    if (!m->stopped || m->undo_begun || m->scope == SCOPE_NONE || model_slots_held(m) > 0)
        return;
    for (uint32_t i = 0; i < m->count; i++) {
        const struct model_server *s = &m->servers[i];
        m->undo_planned += model_affected(m, s) && is_untouched_by_undo(s) && !model_given_up(m, s);
    }
    m->undo_begun = true;
    m->undo_noted = m->undo_planned;
}

static void model_stop(struct model *m, const struct event *event, bool undoing)
{
    if (m->over || m->undo_begun)
        model_fail(m, "%s was accepted after undoing had begun", event_type_names[event->type]);
    if (!m->stopped)
        m->scope = SCOPE_NONE;
    m->stopped = true;
    m->paused = false;
    m->stop_now = m->stop_now || event->now;
    if (undoing && m->scope != SCOPE_ALL) {
        m->scope = SCOPE_ALL;
        model_release(m);
    }
}

static void model_pause(struct model *m, bool pause)
{
    if (m->stopped || m->closed || m->paused == pause)
        model_fail(m, "%s was accepted", pause ? "a pause" : "a resume");
    m->paused = pause;
}

void model_event(struct model *m, const struct event *event)
{
    if (event->type == EVENT_ROLLOUT_CREATED)
        m->created = true;
    else if (event->type == EVENT_BATCH_DUE)
        m->batch_due = event->batch;
    else if (event->type == EVENT_PAUSE_REQUESTED || event->type == EVENT_RESUME_REQUESTED)
        model_pause(m, event->type == EVENT_PAUSE_REQUESTED);
    else if (event->type == EVENT_CANCEL_REQUESTED)
        model_stop(m, event, event->undoing && !m->check);
    else if (event->type == EVENT_ROLLBACK_REQUESTED && event->server == EVENT_NO_SERVER &&
             !m->over)
        model_stop(m, event, true);
    else if (event->type == EVENT_ROLLBACK_REQUESTED)
        model_ordered(m, event);
    else if (event->type == EVENT_EXECUTION_RESOLVED)
        model_resolved(m, event);
    else if (event->agent_seq > 0)
        model_report(m, event);
    else
        model_said(m, event);
    if (event->check) {
        m->check = true;
        m->scope = SCOPE_NONE;
    }
    weigh_results(m);
    begin_undo_when_drained(m);
    model_conclude(m);
}
