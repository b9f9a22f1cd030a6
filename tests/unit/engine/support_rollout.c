#include "unit/engine/support_rollout.h"

#include "common/base/alloc.h"
#include "unit/engine/support_plan.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { TEXT_SIZE = 4096, MAX_EVENTS = 1024 };

struct rollout {
    struct plan *plan;
    struct engine *engine;
    struct event events[MAX_EVENTS]; /* accepted */
    size_t event_count;
    struct error refusal;
    char text[TEXT_SIZE];
};

struct rollout *rollout_of(struct plan *plan)
{
    struct rollout *r = MEM_NEW(struct rollout);
    assert_non_null(r);
    r->plan = plan;
    assert_int_equal(engine_new(plan, &r->engine, NULL), ERR_OK);
    return r;
}

struct engine *rollout_engine(struct rollout *r)
{
    return r->engine;
}

const char *rollout_refusal(const struct rollout *r)
{
    return r->refusal.message;
}

/* ---- Decisions as text --------------------------------------------------------------------- */

static void add(char *text, size_t size, const char *fmt, ...) PRINTF_LIKE(3, 4);
static void add(char *text, size_t size, const char *fmt, ...)
{
    size_t len = strlen(text);
    if (len > 0 && len + 1 < size)
        text[len++] = ' ';
    va_list args;
    va_start(args, fmt);
    int wrote = vsnprintf(text + len, size - len, fmt, args);
    va_end(args);
    assert_true(wrote >= 0 && (size_t)wrote < size - len);
}

static void add_note(const struct event *note, char *text, size_t size)
{
    const char *name = event_type_names[note->type];
    assert_false(event_is_input(note->type));
    if (note->type == EVENT_BATCH_STARTED || note->type == EVENT_BATCH_ENDED)
        add(text, size, "%s(%u,%u)", name, note->batch, note->count);
    else if (note->type == EVENT_ROLLOUT_ENDED)
        add(text, size, "%s(%s)", name, rollout_state_names[note->rollout_state]);
    else if (note->type == EVENT_CANARY_PASSED || note->type == EVENT_THRESHOLD_EXCEEDED ||
             note->type == EVENT_ROLLBACK_STARTED)
        add(text, size, "%s(%u)", name, note->count);
    else
        add(text, size, "%s", name);
}

static void add_rollback(const struct execution *x, uint32_t server, char *text, size_t size)
{
    if (x->undo_round == 1 && !x->undo_force)
        add(text, size, "rollback(%u)", server);
    else
        add(text, size, "rollback%s(%u,%" PRId64 ")", x->undo_force ? "!" : "", server,
            x->undo_round);
}

void take_decisions(struct engine *e, char *text, size_t size)
{
    struct decision d;
    while (engine_next(e, &d)) {
        switch (d.type) {
        case DECISION_START:
            add(text, size, "start(%u)", d.server);
            break;
        case DECISION_CANCEL:
            add(text, size, "%s(%u)", d.now ? "cancel_now" : "cancel", d.server);
            break;
        case DECISION_ROLLBACK:
            add_rollback(engine_execution(e, d.server), d.server, text, size);
            break;
        case DECISION_BATCH_DELAY:
            add(text, size, "delay(%u,%" PRId64 ")", d.batch, d.delay_ms);
            break;
        case DECISION_NOTE:
            add_note(&d.note, text, size);
            break;
        case DECISION_END:
            add(text, size, "end");
            break;
        }
    }
}

/* ---- Looking ------------------------------------------------------------------------------- */

static void assert_executions_equal(const struct execution *a, const struct execution *b)
{
    assert_int_equal(a->state, b->state);
    assert_int_equal(a->outcome, b->outcome);
    assert_int_equal(a->started, b->started);
    assert_int_equal(a->touched, b->touched);
    assert_int_equal(a->undoing, b->undoing);
    assert_int_equal(a->undo_force, b->undo_force);
    assert_int_equal(a->undo_round, b->undo_round);
    assert_int_equal(a->conflict, b->conflict);
    assert_int_equal(a->resolved, b->resolved);
    assert_int_equal(a->unchanged, b->unchanged);
    assert_int_equal(a->step, b->step);
    assert_int_equal(a->last_agent_seq, b->last_agent_seq);
    assert_int_equal(a->started_ms, b->started_ms);
    assert_int_equal(a->ended_ms, b->ended_ms);
    assert_int_equal(a->reason_seq, b->reason_seq);
}

static void assert_steps_equal(const struct step_record *a, const struct step_record *b)
{
    assert_int_equal(a->state, b->state);
    assert_int_equal(a->attempt, b->attempt);
    assert_int_equal(a->changed, b->changed);
    assert_int_equal(a->conflict, b->conflict);
    assert_int_equal(a->has_exit_code, b->has_exit_code);
    assert_int_equal(a->exit_code, b->exit_code);
    assert_int_equal(a->duration_ms, b->duration_ms);
    assert_int_equal(a->reason_seq, b->reason_seq);
}

void assert_engines_equal(const struct engine *a, const struct engine *b)
{
    const struct plan *plan = engine_plan(a);
    struct engine_counts ca = engine_counts(a);
    struct engine_counts cb = engine_counts(b);
    assert_int_equal(engine_state(a), engine_state(b));
    assert_int_equal(engine_is_check(a), engine_is_check(b));
    assert_memory_equal(&ca, &cb, sizeof(ca));
    assert_int_equal(engine_batch(a), engine_batch(b));
    assert_int_equal(engine_batch_count(a), engine_batch_count(b));
    assert_string_equal(engine_reason(a), engine_reason(b));
    for (uint32_t i = 0; i < plan_server_count(plan); i++) {
        assert_executions_equal(engine_execution(a, i), engine_execution(b, i));
        assert_int_equal(engine_needs_undo(a, i), engine_needs_undo(b, i));
        assert_int_equal(engine_left_nothing(a, i), engine_left_nothing(b, i));
        for (uint32_t k = 0; k < plan_step_count(plan); k++)
            assert_steps_equal(engine_step(a, i, k), engine_step(b, i, k));
    }
}

static struct engine *replayed(const struct rollout *r)
{
    struct engine *fresh = NULL;
    assert_int_equal(engine_new(r->plan, &fresh, NULL), ERR_OK);
    for (size_t i = 0; i < r->event_count; i++) {
        struct decision dropped;
        assert_int_equal(engine_apply(fresh, &r->events[i], NULL), ERR_OK);
        while (engine_next(fresh, &dropped))
            continue;
    }
    return fresh;
}

void rollout_free(struct rollout *r)
{
    struct engine *fresh = replayed(r);
    char again[TEXT_SIZE] = "";
    assert_engines_equal(r->engine, fresh);
    engine_resume(fresh);
    take_decisions(fresh, again, sizeof(again));
    assert_string_equal(standing(r), again);
    engine_free(fresh);
    engine_free(r->engine);
    plan_free(r->plan);
    mem_free(r);
}

const char *standing(struct rollout *r)
{
    r->text[0] = '\0';
    engine_resume(r->engine);
    take_decisions(r->engine, r->text, sizeof(r->text));
    return r->text;
}

const char *counts(struct rollout *r)
{
    struct engine_counts c = engine_counts(r->engine);
    r->text[0] = '\0';
    add(r->text, sizeof(r->text), "%u %u %u %u %u %u %u %u / %u %u", c.pending, c.in_flight,
        c.succeeded, c.failed, c.unreachable, c.unknown, c.cancelled, c.skipped, c.rolled_back,
        c.rollback_failed);
    return r->text;
}

const char *server_is(struct rollout *r, uint32_t server)
{
    const struct execution *x = engine_execution(r->engine, server);
    r->text[0] = '\0';
    if (x->state == x->outcome || x->outcome == EXECUTION_PENDING)
        add(r->text, sizeof(r->text), "%s", execution_state_names[x->state]);
    else
        add(r->text, sizeof(r->text), "%s/%s", execution_state_names[x->state],
            execution_state_names[x->outcome]);
    return r->text;
}

static void assert_counts_add_up(const struct rollout *r)
{
    struct engine_counts c = engine_counts(r->engine);
    assert_int_equal(c.pending + c.in_flight + c.succeeded + c.failed + c.unreachable + c.unknown +
                         c.cancelled + c.skipped,
                     plan_server_count(r->plan));
}

/* ---- Events -------------------------------------------------------------------------------- */

/* Applies and adds to the text that is there. */
static const char *go_on(struct rollout *r, struct event event)
{
    event.seq = r->event_count + 1;
    event.time_ms = (int64_t)event.seq * 1000;
    enum error_code code = engine_apply(r->engine, &event, &r->refusal);
    if (code == ERR_OK) {
        assert_true(r->event_count < MAX_EVENTS);
        r->events[r->event_count++] = event;
        take_decisions(r->engine, r->text, sizeof(r->text));
    } else {
        struct engine *fresh = replayed(r);
        assert_engines_equal(r->engine, fresh);
        engine_free(fresh);
        struct decision d;
        assert_false(engine_next(r->engine, &d));
        add(r->text, sizeof(r->text), "refused: %s", error_code_name(code));
    }
    assert_counts_add_up(r);
    return r->text;
}

const char *apply(struct rollout *r, struct event event)
{
    r->text[0] = '\0';
    return go_on(r, event);
}

struct event entry(enum event_type type, uint32_t server, int32_t step)
{
    return (struct event){.type = type, .server = server, .step = step};
}

static struct event numbered(struct rollout *r, struct event event)
{
    event.agent_seq = engine_execution(r->engine, event.server)->last_agent_seq + 1;
    return event;
}

const char *reports(struct rollout *r, struct event event)
{
    return apply(r, numbered(r, event));
}

const char *created(struct rollout *r)
{
    return apply(r, entry(EVENT_ROLLOUT_CREATED, EVENT_NO_SERVER, EVENT_NO_STEP));
}

const char *begins(struct rollout *r, uint32_t server)
{
    return reports(r, entry(EVENT_EXECUTION_STARTED, server, EVENT_NO_STEP));
}

static struct event ended(uint32_t server, enum execution_state state, bool undoing)
{
    struct event event = entry(EVENT_EXECUTION_ENDED, server, EVENT_NO_STEP);
    event.state = state;
    event.undoing = undoing;
    return event;
}

const char *ends(struct rollout *r, uint32_t server, enum execution_state state)
{
    return reports(r, ended(server, state, false));
}

static const char *begins_and_ends(struct rollout *r, struct event end)
{
    (void)begins(r, end.server);
    return go_on(r, numbered(r, end));
}

const char *succeeds(struct rollout *r, uint32_t server)
{
    return begins_and_ends(r, ended(server, EXECUTION_SUCCEEDED, false));
}

const char *fails(struct rollout *r, uint32_t server)
{
    return begins_and_ends(r, ended(server, EXECUTION_FAILED, false));
}

const char *fails_and_undoes(struct rollout *r, uint32_t server)
{
    return begins_and_ends(r, ended(server, EXECUTION_FAILED, true));
}

static struct event undo_ended(uint32_t server, enum execution_state state)
{
    struct event event = entry(EVENT_EXECUTION_ROLLED_BACK, server, EVENT_NO_STEP);
    event.state = state;
    return event;
}

const char *undo_begins(struct rollout *r, uint32_t server)
{
    return reports(r, entry(EVENT_EXECUTION_ROLLBACK_STARTED, server, EVENT_NO_STEP));
}

const char *undone(struct rollout *r, uint32_t server)
{
    return reports(r, undo_ended(server, EXECUTION_ROLLED_BACK));
}

const char *undo_fails(struct rollout *r, uint32_t server)
{
    return reports(r, undo_ended(server, EXECUTION_ROLLBACK_FAILED));
}

const char *unreachable(struct rollout *r, uint32_t server)
{
    return apply(r, entry(EVENT_EXECUTION_UNREACHABLE, server, EVENT_NO_STEP));
}

const char *unknown(struct rollout *r, uint32_t server)
{
    return apply(r, entry(EVENT_EXECUTION_UNKNOWN, server, EVENT_NO_STEP));
}

const char *withdrawn(struct rollout *r, uint32_t server)
{
    return apply(r, entry(EVENT_EXECUTION_WITHDRAWN, server, EVENT_NO_STEP));
}

const char *batch_due(struct rollout *r, uint32_t batch)
{
    struct event event = entry(EVENT_BATCH_DUE, EVENT_NO_SERVER, EVENT_NO_STEP);
    event.batch = batch;
    return apply(r, event);
}

const char *paused(struct rollout *r)
{
    return apply(r, entry(EVENT_PAUSE_REQUESTED, EVENT_NO_SERVER, EVENT_NO_STEP));
}

const char *resumed(struct rollout *r)
{
    return apply(r, entry(EVENT_RESUME_REQUESTED, EVENT_NO_SERVER, EVENT_NO_STEP));
}

const char *cancelled(struct rollout *r, bool now, bool undoing)
{
    struct event event = entry(EVENT_CANCEL_REQUESTED, EVENT_NO_SERVER, EVENT_NO_STEP);
    event.now = now;
    event.undoing = undoing;
    event.by = "alice";
    return apply(r, event);
}

static const char *orders(struct rollout *r, uint32_t server, bool force)
{
    struct event event = entry(EVENT_ROLLBACK_REQUESTED, server, EVENT_NO_STEP);
    event.force = force;
    event.by = "bob";
    return apply(r, event);
}

const char *rollback_ordered(struct rollout *r)
{
    return orders(r, EVENT_NO_SERVER, false);
}

const char *server_ordered(struct rollout *r, uint32_t server)
{
    return orders(r, server, false);
}

const char *server_forced(struct rollout *r, uint32_t server)
{
    return orders(r, server, true);
}

const char *resolved(struct rollout *r, uint32_t server, enum execution_state state)
{
    struct event event = entry(EVENT_EXECUTION_RESOLVED, server, EVENT_NO_STEP);
    event.state = state;
    event.by = "bob";
    event.message = "looked at it";
    return apply(r, event);
}

/* ---- For orders about what was done --------------------------------------------------------- */

enum rollout_state state_of(struct rollout *r)
{
    return engine_state(rollout_engine(r));
}

const char *reason_of(struct rollout *r)
{
    return engine_reason(rollout_engine(r));
}

const char *undoes_step(struct rollout *r, uint32_t server, int32_t step, enum step_state state,
                        bool conflict)
{
    struct event event = entry(EVENT_STEP_ROLLED_BACK, server, step);
    event.step_state = state;
    event.conflict = conflict;
    return reports(r, event);
}

void works(struct rollout *r, uint32_t server)
{
    (void)begins(r, server);
    (void)reports(r, entry(EVENT_STEP_STARTED, server, 0));
    struct event event = entry(EVENT_STEP_ENDED, server, 0);
    event.step_state = STEP_SUCCEEDED;
    event.changed = true;
    (void)reports(r, event);
}

struct rollout *succeeded(struct plan *plan)
{
    struct rollout *r = rollout_of(plan);
    (void)created(r);
    for (uint32_t i = 0; i < plan_server_count(plan); i++) {
        works(r, i);
        (void)ends(r, i, EXECUTION_SUCCEEDED);
    }
    assert_int_equal(state_of(r), ROLLOUT_SUCCEEDED);
    return r;
}

struct rollout *succeeded_with_unknown(uint32_t servers)
{
    struct plan *plan = parallel_of(servers);
    plan->strategy.max_failures = limit_of(1);
    struct rollout *r = rollout_of(plan);
    (void)created(r);
    (void)begins(r, 0);
    (void)unknown(r, 0);
    for (uint32_t i = 1; i < servers; i++)
        (void)succeeds(r, i);
    return r;
}
