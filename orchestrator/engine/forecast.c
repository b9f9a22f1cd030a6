#include "orchestrator/engine/forecast.h"

#include "common/base/alloc.h"
#include "common/base/cleanup.h"

#include <assert.h>
#include <stdio.h>

/* What an agent does when its time has come. */
enum agent_phase {
    AGENT_IDLE,        /* nothing: it has no work, or is at rest */
    AGENT_UNREACHABLE, /* it is given up */
    AGENT_WITHDRAWN,   /* its work is taken back before it was taken on */
    AGENT_BEGINNING,
    AGENT_STEPPING, /* its step is over */
    AGENT_UNDO_BEGINNING,
    AGENT_UNDOING /* its undo of a step is over */
};

struct agent {
    uint64_t order; /* of what it waits for in the queue; others of its name are void */
    int64_t entries;
    uint32_t step;      /* under way */
    uint32_t fails_at;  /* that step; none: the number of steps */
    uint32_t undo_left; /* steps that were begun and not undone */
    uint8_t phase;      /* enum agent_phase */
    bool unreachable;
    bool cancelled;
};

/* A server's agent acts, or (EVENT_NO_SERVER) the next batch is due. */
struct due {
    int64_t at_ms;
    uint64_t order; /* what is due at the same time comes in the order in which it was put in */
    uint32_t server;
};

struct run {
    const struct plan *plan;
    const struct forecast_odds *odds;
    struct engine *engine;
    struct agent *agents;
    struct due *heap; /* the earliest is the first; the children of i are 2i + 1 and 2i + 2 */
    size_t due_count, due_max;
    uint64_t orders;
    int64_t now_ms;
    uint64_t seq;
    uint32_t batch_due;
    uint32_t peak;
    bool over;
    forecast_trace trace;
    void *ctx;
};

static void run_done(struct run *r)
{
    engine_free(r->engine);
    mem_free(r->agents);
    mem_free(r->heap);
}
#define AUTO_RUN __attribute__((cleanup(run_done)))

/* ---- The queue ----------------------------------------------------------------------------- */

static bool earlier(const struct due *a, const struct due *b)
{
    return a->at_ms != b->at_ms ? a->at_ms < b->at_ms : a->order < b->order;
}

static uint64_t queue_put(struct run *r, uint32_t server, int64_t delay_ms)
{
    struct due due = {.at_ms = r->now_ms + delay_ms, .order = ++r->orders, .server = server};
    assert(r->due_count < r->due_max);
    size_t at = r->due_count++;
    while (at > 0 && earlier(&due, &r->heap[(at - 1) / 2])) {
        r->heap[at] = r->heap[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    r->heap[at] = due;
    return due.order;
}

static bool queue_take(struct run *r, struct due *ret)
{
    if (r->due_count == 0)
        return false;
    *ret = r->heap[0];
    struct due last = r->heap[--r->due_count];
    size_t at = 0;
    for (;;) {
        size_t child = at * 2 + 1;
        if (child + 1 < r->due_count && earlier(&r->heap[child + 1], &r->heap[child]))
            child++;
        if (child >= r->due_count || !earlier(&r->heap[child], &last))
            break;
        r->heap[at] = r->heap[child];
        at = child;
    }
    r->heap[at] = last;
    return true;
}

static void agent_wait(struct run *r, uint32_t server, enum agent_phase phase, int64_t delay_ms)
{
    struct agent *a = &r->agents[server];
    a->phase = (uint8_t)phase;
    a->order = queue_put(r, server, delay_ms);
}

/* ---- The engine ---------------------------------------------------------------------------- */

static void tell(struct run *r, struct event *event)
{
    event->seq = ++r->seq;
    if (r->trace)
        r->trace(r->ctx, event);
}

static void agent_called(struct run *r, uint32_t server)
{
    int64_t patience_ms = r->plan->strategy.start_timeout_ms;
    if (r->agents[server].unreachable)
        agent_wait(r, server, AGENT_UNREACHABLE, patience_ms);
    else
        agent_wait(r, server, AGENT_BEGINNING, 0);
}

static void agent_cancelled(struct run *r, uint32_t server)
{
    struct agent *a = &r->agents[server];
    a->cancelled = true;
    if (a->phase == AGENT_UNREACHABLE || a->phase == AGENT_BEGINNING)
        agent_wait(r, server, AGENT_WITHDRAWN, 0);
}

static void decide(struct run *r, struct decision *d)
{
    switch (d->type) {
    case DECISION_START:
        agent_called(r, d->server);
        break;
    case DECISION_CANCEL:
        agent_cancelled(r, d->server);
        break;
    case DECISION_ROLLBACK:
        agent_wait(r, d->server, AGENT_UNDO_BEGINNING, 0);
        break;
    case DECISION_BATCH_DELAY:
        r->batch_due = d->batch;
        (void)queue_put(r, EVENT_NO_SERVER, d->delay_ms);
        break;
    case DECISION_NOTE:
        tell(r, &d->note);
        break;
    case DECISION_END:
        r->over = true;
        break;
    }
}

static enum error_code apply(struct run *r, struct event event, struct error *err)
{
    struct decision d;
    event.time_ms = r->now_ms;
    tell(r, &event);
    enum error_code code = engine_apply(r->engine, &event, err);
    if (code != ERR_OK)
        return code;
    while (engine_next(r->engine, &d))
        decide(r, &d);
    uint32_t in_flight = engine_counts(r->engine).in_flight;
    if (in_flight > r->peak)
        r->peak = in_flight;
    return ERR_OK;
}

static struct event about(enum event_type type, uint32_t server)
{
    return (struct event){.type = type, .server = server, .step = EVENT_NO_STEP};
}

/* ---- Agents -------------------------------------------------------------------------------- */

static enum error_code report(struct run *r, struct event event, struct error *err)
{
    event.agent_seq = ++r->agents[event.server].entries;
    event.agent_time_ms = r->now_ms;
    return apply(r, event, err);
}

static enum error_code step_begin(struct run *r, uint32_t server, struct error *err)
{
    struct agent *a = &r->agents[server];
    struct event event = about(EVENT_STEP_STARTED, server);
    event.step = (int32_t)a->step;
    event.attempt = 1;
    a->undo_left = a->step + 1;
    agent_wait(r, server, AGENT_STEPPING, r->odds->step_ms);
    return report(r, event, err);
}

static enum error_code execution_begin(struct run *r, uint32_t server, struct error *err)
{
    enum error_code code = report(r, about(EVENT_EXECUTION_STARTED, server), err);
    return code == ERR_OK ? step_begin(r, server, err) : code;
}

static enum error_code execution_end(struct run *r, uint32_t server, enum execution_state state,
                                     struct error *err)
{
    struct event event = about(EVENT_EXECUTION_ENDED, server);
    event.state = state;
    event.undoing = state == EXECUTION_FAILED && r->plan->rollback_scope != SCOPE_NONE;
    r->agents[server].phase = AGENT_IDLE;
    if (event.undoing)
        agent_wait(r, server, AGENT_UNDO_BEGINNING, 0);
    return report(r, event, err);
}

/* A server that was cancelled finishes the step it is in; after its last one it has succeeded. */
static enum error_code step_end(struct run *r, uint32_t server, struct error *err)
{
    struct agent *a = &r->agents[server];
    bool failed = a->step == a->fails_at;
    struct event event = about(EVENT_STEP_ENDED, server);
    event.step = (int32_t)a->step;
    event.attempt = 1;
    event.step_state = failed ? STEP_FAILED : STEP_SUCCEEDED;
    event.changed = !failed;
    event.duration_ms = r->odds->step_ms;
    enum error_code code = report(r, event, err);
    if (code != ERR_OK)
        return code;
    if (failed)
        return execution_end(r, server, EXECUTION_FAILED, err);
    if (++a->step == plan_step_count(r->plan))
        return execution_end(r, server, EXECUTION_SUCCEEDED, err);
    if (a->cancelled)
        return execution_end(r, server, EXECUTION_CANCELLED, err);
    return step_begin(r, server, err);
}

static enum error_code undo_begin(struct run *r, uint32_t server, struct error *err)
{
    agent_wait(r, server, AGENT_UNDOING, r->odds->undo_ms);
    return report(r, about(EVENT_EXECUTION_ROLLBACK_STARTED, server), err);
}

static enum error_code undo_step(struct run *r, uint32_t server, struct error *err)
{
    struct agent *a = &r->agents[server];
    struct event event = about(EVENT_STEP_ROLLED_BACK, server);
    event.step = (int32_t)--a->undo_left;
    event.step_state = STEP_ROLLED_BACK;
    enum error_code code = report(r, event, err);
    if (code != ERR_OK)
        return code;
    if (a->undo_left > 0) {
        agent_wait(r, server, AGENT_UNDOING, r->odds->undo_ms);
        return ERR_OK;
    }
    a->phase = AGENT_IDLE;
    event = about(EVENT_EXECUTION_ROLLED_BACK, server);
    event.state = EXECUTION_ROLLED_BACK;
    return report(r, event, err);
}

static enum error_code agent_act(struct run *r, uint32_t server, struct error *err)
{
    struct agent *a = &r->agents[server];
    switch ((enum agent_phase)a->phase) {
    case AGENT_IDLE:
        break;
    case AGENT_UNREACHABLE:
        a->phase = AGENT_IDLE;
        return apply(r, about(EVENT_EXECUTION_UNREACHABLE, server), err);
    case AGENT_WITHDRAWN:
        a->phase = AGENT_IDLE;
        return apply(r, about(EVENT_EXECUTION_WITHDRAWN, server), err);
    case AGENT_BEGINNING:
        return execution_begin(r, server, err);
    case AGENT_STEPPING:
        return step_end(r, server, err);
    case AGENT_UNDO_BEGINNING:
        return undo_begin(r, server, err);
    case AGENT_UNDOING:
        return undo_step(r, server, err);
    }
    return ERR_OK;
}

/* ---- Chance -------------------------------------------------------------------------------- */

/* splitmix64 (Steele, Lea, Flood): the same numbers everywhere. */
static uint64_t draw(uint64_t *state)
{
    *state += UINT64_C(0x9e3779b97f4a7c15);
    uint64_t z = *state;
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

/* 0 up to, but not, 100: 53 bits, as many as a double holds. */
static double draw_percent(uint64_t *state)
{
    return (double)(draw(state) >> 11) * (100.0 / 9007199254740992.0);
}

static bool decides(const struct plan_step *step)
{
    return step->required && !step->continue_on_failure;
}

static uint32_t count_deciding(const struct plan *plan)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < plan_step_count(plan); i++)
        count += decides(plan_step(plan, i));
    return count;
}

/* The step number `nth` of those whose failure is the server's. */
static uint32_t deciding_step(const struct plan *plan, uint32_t nth)
{
    uint32_t step = 0;
    while (!decides(plan_step(plan, step)) || nth-- > 0)
        step++;
    return step;
}

/* What will become of each server is drawn in the plan's order, before anything happens: it does
 * not depend on the strategy, so that strategies can be compared under one seed. */
static void draw_fates(struct run *r)
{
    uint64_t state = r->odds->seed;
    uint32_t deciding = count_deciding(r->plan);
    double unreachable = r->odds->unreachable_percent;
    for (uint32_t i = 0; i < plan_server_count(r->plan); i++) {
        struct agent *a = &r->agents[i];
        double percent = draw_percent(&state);
        uint64_t place = draw(&state);
        a->unreachable = percent < unreachable;
        a->fails_at = plan_step_count(r->plan);
        if (!a->unreachable && percent < unreachable + r->odds->failing_percent && deciding > 0)
            a->fails_at = deciding_step(r->plan, (uint32_t)(place % deciding));
    }
}

/* ---- The run ------------------------------------------------------------------------------- */

static enum error_code run_init(struct run *r, struct error *err)
{
    uint32_t servers = plan_server_count(r->plan);
    /* A server waits for one thing at a time. One that is withdrawn leaves a void one behind. */
    r->due_max = (size_t)servers * 2 + 1;
    r->agents = mem_array(servers, sizeof(*r->agents));
    r->heap = mem_array(r->due_max, sizeof(*r->heap));
    if (!r->agents || !r->heap)
        return error_set(err, ERR_NO_MEMORY, NULL);
    draw_fates(r);
    return engine_new(r->plan, &r->engine, err);
}

static void sum_up(const struct run *r, struct forecast *ret)
{
    *ret = (struct forecast){
        .state = engine_state(r->engine),
        .duration_ms = r->now_ms,
        .counts = engine_counts(r->engine),
        .servers = plan_server_count(r->plan),
        .batches = engine_batch(r->engine),
        .batch_count = engine_batch_count(r->engine),
        .peak_in_flight = r->peak,
    };
    for (uint32_t i = 0; i < ret->servers; i++)
        ret->touched += engine_execution(r->engine, i)->started;
    (void)snprintf(ret->reason, sizeof(ret->reason), "%s", engine_reason(r->engine));
}

static enum error_code act(struct run *r, const struct due *due, struct error *err)
{
    if (due->server == EVENT_NO_SERVER) {
        struct event event = about(EVENT_BATCH_DUE, EVENT_NO_SERVER);
        event.batch = r->batch_due;
        return apply(r, event, err);
    }
    return r->agents[due->server].order == due->order ? agent_act(r, due->server, err) : ERR_OK;
}

enum error_code forecast_run(const struct plan *plan, const struct forecast_odds *odds,
                             forecast_trace trace, void *ctx, struct forecast *ret_forecast,
                             struct error *err)
{
    const int64_t longest_ms = (int64_t)PLAN_MAX_SECONDS * 1000;
    assert(odds->failing_percent >= 0 && odds->unreachable_percent >= 0);
    assert(odds->step_ms >= 0 && odds->step_ms <= longest_ms);
    assert(odds->undo_ms >= 0 && odds->undo_ms <= longest_ms);
    AUTO_RUN struct run r = {.plan = plan, .odds = odds, .trace = trace, .ctx = ctx};
    enum error_code code = run_init(&r, err);
    if (code == ERR_OK)
        code = apply(&r, about(EVENT_ROLLOUT_CREATED, EVENT_NO_SERVER), err);
    struct due due;
    while (code == ERR_OK && !r.over && queue_take(&r, &due)) {
        r.now_ms = due.at_ms;
        code = act(&r, &due, err);
    }
    if (code != ERR_OK)
        return code;
    assert(r.over);
    sum_up(&r, ret_forecast);
    return ERR_OK;
}

/* ---- The blast radius ---------------------------------------------------------------------- */

bool forecast_can_fail(const struct plan *plan)
{
    return count_deciding(plan) > 0;
}

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

uint32_t forecast_blast_radius(const struct plan *plan)
{
    uint32_t servers = plan_server_count(plan);
    uint64_t failures = plan_failures_allowed(plan);
    uint32_t unreachable = 0;
    if (!forecast_can_fail(plan))
        return servers;
    if (plan->strategy.type == STRATEGY_CANARY)
        return plan_parallel(plan, plan_batch_size(plan, 0, servers));
    if (failures >= servers)
        return servers;
    (void)plan_unreachable_allowed(plan, &unreachable);
    uint64_t radius = 0;
    uint32_t first = 0;
    for (uint32_t batch = 0; first < servers && first <= failures + unreachable; batch++) {
        uint32_t size = plan_batch_size(plan, batch, servers - first);
        uint64_t end = (uint64_t)first + size;
        /* When more servers than `failures` come before this batch, the others could not be
         * reached, and it is whole when the failures in it begin: its end is no bound then. */
        uint64_t reach = least(end, failures + plan_parallel(plan, size));
        if (end > failures && reach > radius)
            radius = reach;
        first += size;
    }
    return (uint32_t)radius;
}
