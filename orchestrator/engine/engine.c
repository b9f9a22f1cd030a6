#include "orchestrator/engine/engine_internal.h"

#include "common/base/alloc.h"
#include "common/base/cleanup.h"

#include <assert.h>

/* What is seen of a server that was not started when the rollout stopped. */
static const struct execution skipped_execution = {
    .state = EXECUTION_SKIPPED, .outcome = EXECUTION_SKIPPED, .step = EVENT_NO_STEP};

static uint32_t count_batches(const struct plan *plan)
{
    uint32_t left = plan_server_count(plan);
    uint32_t count = 0;
    while (left > 0) {
        uint32_t size = plan_batch_size(plan, count, left);
        left -= size < left ? size : left;
        count++;
    }
    return count;
}

enum error_code engine_new(const struct plan *plan, struct engine **ret_engine, struct error *err)
{
    AUTO(engine_free) struct engine *e = MEM_NEW(struct engine);
    if (!e)
        return error_set(err, ERR_NO_MEMORY, NULL);
    e->plan = plan;
    e->server_count = plan_server_count(plan);
    e->step_count = plan_step_count(plan);
    e->servers = mem_array(e->server_count, sizeof(*e->servers));
    e->steps = mem_array((size_t)e->server_count * e->step_count, sizeof(*e->steps));
    if (!e->servers || !e->steps)
        return error_set(err, ERR_NO_MEMORY, NULL);
    for (uint32_t i = 0; i < e->server_count; i++)
        e->servers[i].x.step = EVENT_NO_STEP;
    for (size_t i = 0; i < LIST_COUNT; i++)
        e->lists[i] = (struct server_list){LIST_END, LIST_END};
    e->failures_allowed = plan_failures_allowed(plan);
    e->unreachable_apart = plan_unreachable_allowed(plan, &e->unreachable_allowed);
    e->batch_count = count_batches(plan);
    e->undo_scope = plan->rollback_scope;
    *ret_engine = TAKE(e);
    return ERR_OK;
}

void engine_free(struct engine *e)
{
    if (!e)
        return;
    mem_free(e->servers);
    mem_free(e->steps);
    mem_free(e);
}

/* ---- Lists --------------------------------------------------------------------------------- */

void engine_list_push(struct engine *e, enum list list, uint32_t server)
{
    struct server_list *l = &e->lists[list];
    e->servers[server].link[list] = LIST_END;
    if (l->last == LIST_END)
        l->first = server;
    else
        e->servers[l->last].link[list] = server;
    l->last = server;
}

uint32_t engine_list_pop(struct engine *e, enum list list)
{
    struct server_list *l = &e->lists[list];
    uint32_t server = l->first;
    if (server == LIST_END)
        return LIST_END;
    l->first = e->servers[server].link[list];
    if (l->first == LIST_END)
        l->last = LIST_END;
    return server;
}

/* ---- A server's state, with the counters that follow it ------------------------------------ */

void server_set_outcome(struct engine *e, struct server *s, enum execution_state outcome)
{
    e->outcomes[s->x.outcome]--;
    e->outcomes[outcome]++;
    s->x.outcome = outcome;
}

void server_set_state(struct engine *e, struct server *s, enum execution_state state)
{
    e->rolled_back -= s->x.state == EXECUTION_ROLLED_BACK;
    e->rollback_failed -= s->x.state == EXECUTION_ROLLBACK_FAILED;
    s->x.state = state;
    e->rolled_back += state == EXECUTION_ROLLED_BACK;
    e->rollback_failed += state == EXECUTION_ROLLBACK_FAILED;
    server_weigh_change(e, s);
}

/* One whose end is not known may be changed although no step of it was heard of. */
void server_weigh_change(struct engine *e, struct server *s)
{
    bool may_be = !e->check && !s->x.unchanged && (s->x.touched || (s->x.started && !s->ended));
    e->changed -= s->changed;
    s->changed = may_be && s->x.state != EXECUTION_ROLLED_BACK;
    e->changed += s->changed;
}

void server_set_busy(struct engine *e, struct server *s, bool busy)
{
    e->busy -= s->busy;
    e->busy += busy;
    s->busy = busy;
}

void server_settle(struct engine *e, struct server *s)
{
    e->slots -= s->slot;
    s->slot = false;
    server_set_busy(e, s, false);
}

/* ---- Events in ----------------------------------------------------------------------------- */

static enum error_code apply_input(struct engine *e, const struct event *event, struct error *err)
{
    switch (event->type) {
    case EVENT_ROLLOUT_CREATED:
        return control_created(e, event, err);
    case EVENT_EXECUTION_STARTED:
    case EVENT_STEP_STARTED:
    case EVENT_STEP_RETRYING:
    case EVENT_STEP_REBOOTING:
    case EVENT_STEP_REBOOTED:
    case EVENT_STEP_ENDED:
    case EVENT_EXECUTION_CONFIRMING:
    case EVENT_EXECUTION_ENDED:
    case EVENT_EXECUTION_ROLLBACK_STARTED:
    case EVENT_STEP_ROLLED_BACK:
    case EVENT_EXECUTION_ROLLED_BACK:
        return report_apply(e, event, err);
    case EVENT_EXECUTION_UNREACHABLE:
        return report_unreachable(e, event, err);
    case EVENT_EXECUTION_UNKNOWN:
        return report_unknown(e, event, err);
    case EVENT_EXECUTION_WITHDRAWN:
        return report_withdrawn(e, event, err);
    case EVENT_BATCH_DUE:
        return control_batch_due(e, event, err);
    case EVENT_PAUSE_REQUESTED:
        return control_pause(e, err);
    case EVENT_RESUME_REQUESTED:
        return control_resume(e, err);
    case EVENT_CANCEL_REQUESTED:
        return control_cancel(e, event, err);
    case EVENT_ROLLBACK_REQUESTED:
        return order_rollback(e, event, err);
    case EVENT_EXECUTION_RESOLVED:
        return order_resolve(e, event, err);
    case EVENT_ROLLOUT_STARTED:
    case EVENT_BATCH_STARTED:
    case EVENT_BATCH_ENDED:
    case EVENT_CANARY_PASSED:
    case EVENT_THRESHOLD_EXCEEDED:
    case EVENT_ROLLBACK_STARTED:
    case EVENT_ROLLOUT_PAUSED:
    case EVENT_ROLLOUT_RESUMED:
    case EVENT_ROLLOUT_ENDED:
    case EVENT_TYPE_COUNT:
        break;
    }
    return ERR_OK;
}

/* Does all that the event has made possible. */
static void advance(struct engine *e)
{
    bool paused = e->state == ROLLOUT_PAUSED;
    if (e->phase == PHASE_BATCH && e->next == e->batch_end && e->slots == 0)
        batch_over(e);
    if (e->phase == PHASE_BETWEEN && e->batch_due && !paused)
        batch_begin(e);
    if (e->phase == PHASE_BATCH && !paused)
        batch_start_servers(e);
    if (e->phase == PHASE_DRAINING && e->slots == 0)
        rollback_begin(e);
    rollback_ask_servers(e);
    /* While servers wait for their turn to be undone the window is full, so some are busy. */
    if ((e->phase == PHASE_UNDOING || e->phase == PHASE_CLOSING) && e->busy == 0)
        engine_finish(e);
    if (e->phase == PHASE_OVER && e->conclude_due && e->busy == 0)
        engine_conclude_again(e);
}

enum error_code engine_apply(struct engine *e, const struct event *event, struct error *err)
{
    if (!event_is_input(event->type))
        return ERR_OK;
    /* A note belongs to the event it came from, and is journalled with it. */
    assert(e->notes_taken == e->note_count);
    e->notes_taken = 0;
    e->note_count = 0;
    e->now_ms = event->time_ms;
    enum error_code code = apply_input(e, event, err);
    if (code == ERR_OK)
        advance(e);
    return code;
}

/* ---- Decisions out ------------------------------------------------------------------------- */

struct event *engine_note(struct engine *e, enum event_type type)
{
    assert(e->note_count < ENGINE_MAX_NOTES);
    struct event *note = &e->notes[e->note_count++];
    *note = (struct event){
        .type = type, .time_ms = e->now_ms, .server = EVENT_NO_SERVER, .step = EVENT_NO_STEP};
    return note;
}

void engine_ask(struct engine *e, uint32_t server, enum ask ask)
{
    struct server *s = &e->servers[server];
    s->asks |= (uint8_t)ask;
    if (!s->asking)
        engine_list_push(e, LIST_ASKS, server);
    s->asking = true;
}

/* Takes one decision of the first server that has any; what was withdrawn meanwhile is passed. */
static bool next_server_decision(struct engine *e, struct decision *ret)
{
    static const struct {
        enum ask ask;
        enum decision_type type;
        bool now;
    } kinds[] = {{ASK_START, DECISION_START, false},
                 {ASK_CANCEL, DECISION_CANCEL, false},
                 {ASK_CANCEL_NOW, DECISION_CANCEL, true},
                 {ASK_ROLLBACK, DECISION_ROLLBACK, false}};

    for (;;) {
        uint32_t server = e->lists[LIST_ASKS].first;
        if (server == LIST_END)
            return false;
        struct server *s = &e->servers[server];
        for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
            if (s->asks & kinds[i].ask) {
                s->asks &= (uint8_t)~kinds[i].ask;
                ret->type = kinds[i].type;
                ret->server = server;
                ret->now = kinds[i].now;
                ret->undo_round = s->x.undo_round;
                ret->undo_force = s->x.undo_force;
                return true;
            }
        }
        (void)engine_list_pop(e, LIST_ASKS);
        s->asking = false;
    }
}

bool engine_next(struct engine *e, struct decision *ret_decision)
{
    struct decision d = {.server = EVENT_NO_SERVER};
    if (e->notes_taken < e->note_count) {
        d.type = DECISION_NOTE;
        d.note = e->notes[e->notes_taken++];
    } else if (e->ask_delay) {
        e->ask_delay = false;
        d.type = DECISION_BATCH_DELAY;
        d.batch = e->batch + 1;
        d.delay_ms = e->plan->strategy.batch_delay_ms;
    } else if (!next_server_decision(e, &d)) {
        if (!e->ask_end)
            return false;
        e->ask_end = false;
        d.type = DECISION_END;
    }
    *ret_decision = d;
    return true;
}

unsigned engine_standing(const struct engine *e, uint32_t server)
{
    const struct server *s = &e->servers[server];
    unsigned orders = 0;
    assert(server < e->server_count);
    if (s->busy && !s->ended && s->cancel != STOP_NONE)
        orders |= s->cancel == STOP_NOW ? ORDER_CANCEL_NOW : ORDER_CANCEL;
    if (s->undo == UNDO_ASKED || s->undo == UNDO_OWED)
        orders |= ORDER_ROLLBACK;
    return orders;
}

/* A server whose agent has not taken it on is not sent out again once the rollout stops: the cancel
 * alone stands, and an agent that did get it before is stopped when it reports. */
static void resume_server(struct engine *e, uint32_t server)
{
    const struct server *s = &e->servers[server];
    unsigned orders = engine_standing(e, server);
    if (orders & (ORDER_CANCEL | ORDER_CANCEL_NOW))
        engine_ask(e, server, orders & ORDER_CANCEL_NOW ? ASK_CANCEL_NOW : ASK_CANCEL);
    else if (s->slot && !s->x.started)
        engine_ask(e, server, ASK_START);
    if (orders & ORDER_ROLLBACK)
        engine_ask(e, server, ASK_ROLLBACK);
}

void engine_resume(struct engine *e)
{
    for (uint32_t i = 0; i < e->next; i++)
        resume_server(e, i);
    e->ask_delay = e->phase == PHASE_BETWEEN && !e->batch_due;
}

/* ---- What is known ------------------------------------------------------------------------- */

enum rollout_state engine_state(const struct engine *e)
{
    return e->state;
}

bool engine_is_check(const struct engine *e)
{
    return e->check;
}

bool engine_stopping(const struct engine *e)
{
    return e->stop != STOP_NONE;
}

struct engine_counts engine_counts(const struct engine *e)
{
    uint32_t waiting = e->server_count - e->next;
    bool stopped = e->stop != STOP_NONE;
    return (struct engine_counts){
        .pending = stopped ? 0 : waiting,
        .in_flight = e->outcomes[EXECUTION_PENDING],
        .succeeded = e->outcomes[EXECUTION_SUCCEEDED],
        .failed = e->outcomes[EXECUTION_FAILED] + e->outcomes[EXECUTION_TIMED_OUT],
        .unreachable = e->outcomes[EXECUTION_UNREACHABLE],
        .unknown = e->outcomes[EXECUTION_UNKNOWN],
        .cancelled = e->outcomes[EXECUTION_CANCELLED],
        .skipped = e->outcomes[EXECUTION_SKIPPED] + (stopped ? waiting : 0),
        .unchanged = e->unchanged,
        .rolled_back = e->rolled_back,
        .rollback_failed = e->rollback_failed,
    };
}

const struct plan *engine_plan(const struct engine *e)
{
    return e->plan;
}

const struct execution *engine_execution(const struct engine *e, uint32_t server)
{
    assert(server < e->server_count);
    if (e->stop != STOP_NONE && server >= e->next)
        return &skipped_execution;
    return &e->servers[server].x;
}

bool engine_left_nothing(const struct engine *e, uint32_t server)
{
    const struct execution *x = engine_execution(e, server);
    return x->state == EXECUTION_ROLLED_BACK || x->unchanged;
}

bool engine_needs_undo(const struct engine *e, uint32_t server)
{
    assert(server < e->server_count);
    const struct server *s = &e->servers[server];
    bool under_way = s->x.state == EXECUTION_ROLLING_BACK || s->undo == UNDO_DUE || s->ordered;
    bool undone = s->undo == UNDO_DONE || (s->x.resolved && s->x.state == EXECUTION_ROLLED_BACK);
    return !e->check && s->x.started && !under_way && !undone;
}

const struct step_record *engine_step(const struct engine *e, uint32_t server, uint32_t step)
{
    assert(server < e->server_count && step < e->step_count);
    return &e->steps[(size_t)server * e->step_count + step];
}

uint32_t engine_batch(const struct engine *e)
{
    return e->batch;
}

uint32_t engine_batch_count(const struct engine *e)
{
    return e->batch_count;
}

const char *engine_reason(const struct engine *e)
{
    return e->closed ? e->verdict : e->cause;
}
