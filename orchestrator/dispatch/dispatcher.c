/* dispatcher: commands, deadlines, views; see dispatch_internal.h for the other rooms. */
#include "orchestrator/dispatch/dispatch_internal.h"

#include "common/plan/plan_json.h"

#include <assert.h>
#include <string.h>

/* ---- Lifetime -------------------------------------------------------------------------------- */

struct id_list {
    char (*ids)[ID_BUFFER];
    size_t count, capacity;
    bool no_memory;
};

static bool dispatcher_take_id(void *ctx, const struct journal_rollout *record)
{
    struct id_list *list = ctx;
    /* Ended ones come into memory when an agent, or a reader, speaks of them. */
    if (rollout_state_final(record->summary.state))
        return true;
    if (list->count == list->capacity) {
        size_t capacity = list->capacity == 0 ? 16 : list->capacity * 2;
        void *grown = mem_realloc(list->ids, capacity * sizeof(*list->ids));
        if (grown == NULL) {
            list->no_memory = true;
            return false;
        }
        list->ids = grown;
        list->capacity = capacity;
    }
    memset(list->ids[list->count], 0, ID_BUFFER);
    memcpy(list->ids[list->count++], record->id, strnlen(record->id, ID_MAX));
    return true;
}

static void rollout_open(struct rollout *r)
{
    struct dispatcher *d = r->d;
    r->open = true;
    r->queued = true;
    d->stats.open++;
    for (uint32_t i = 0; i < r->slot_count; i++)
        queue_enter(&r->slots[i]);
}

/* All queues are filled, oldest rollout first, before any decision is given again. */
static enum error_code dispatcher_restore(struct dispatcher *d, struct error *err)
{
    struct id_list list = {0};
    enum error_code code = journal_scan_open(d->config.journal, dispatcher_take_id, &list, err);
    if (code == ERR_OK && list.no_memory)
        code = error_set(err, ERR_NO_MEMORY, NULL);
    for (size_t i = 0; i < list.count && code == ERR_OK; i++) {
        struct rollout *r = NULL;
        code = rollout_get(d, list.ids[i], &r, err);
        if (code == ERR_OK)
            rollout_open(r);
    }
    for (size_t i = 0; i < list.count && code == ERR_OK && d->config.held == NULL; i++) {
        struct rollout *r = rollout_find(d, list.ids[i]);
        struct decision decision;
        if (r == NULL)
            continue;
        queue_resume(r);
        engine_resume(r->engine);
        while (engine_next(r->engine, &decision))
            queue_decide(r, &decision);
    }
    mem_free(list.ids);
    return code;
}

enum error_code dispatcher_new(const struct dispatcher_config *config,
                               struct dispatcher **ret_dispatcher, struct error *err)
{
    struct dispatcher *d = MEM_NEW(struct dispatcher);
    if (d == NULL)
        return error_set(err, ERR_NO_MEMORY, NULL);
    d->config = *config;
    enum error_code code = dispatcher_restore(d, err);
    if (code != ERR_OK) {
        dispatcher_free(d);
        return code;
    }
    *ret_dispatcher = d;
    return ERR_OK;
}

void dispatcher_free(struct dispatcher *d)
{
    if (d == NULL)
        return;
    while (d->rollouts != NULL)
        rollout_free(d->rollouts);
    session_free_all(d);
    fleet_free(d);
    timers_done(&d->timers);
    buf_done(&d->frame);
    mem_free(d);
}

/* ---- Deadlines ------------------------------------------------------------------------------- */

bool dispatcher_next_deadline(const struct dispatcher *d, int64_t *ret_mono_ms)
{
    return timers_next(&d->timers, ret_mono_ms);
}

static void rollout_batch_due(struct rollout *r)
{
    struct event event = rollout_event(EVENT_BATCH_DUE, EVENT_NO_SERVER);
    event.batch = r->batch_due;
    rollout_apply(r, &event);
}

void dispatcher_tick(struct dispatcher *d)
{
    int64_t now = d->config.now_mono_ms(d->config.ctx);
    struct timer *timer = NULL;
    while (!d->failed && (timer = timers_pop(&d->timers, now)) != NULL) {
        /* What is due waits for the start after this one. */
        if (d->config.held != NULL && timer->kind != TIMER_SILENCE)
            continue;
        switch ((enum timer_kind)timer->kind) {
        case TIMER_START:
        case TIMER_RECONNECT:
            queue_timer(timer->owner, (enum timer_kind)timer->kind);
            break;
        case TIMER_BATCH:
            rollout_batch_due(timer->owner);
            break;
        case TIMER_SILENCE:
            session_timer(timer->owner);
            break;
        }
    }
}

/* ---- Submitting ------------------------------------------------------------------------------ */

/* Whether a rollout with that id is of the same plan. */
static enum error_code submit_compare(struct rollout *r, const struct plan *plan, struct error *err)
{
    AUTO_BUF struct buf there = BUF_INIT;
    AUTO_BUF struct buf here = BUF_INIT;
    plan_write(&there, r->plan);
    plan_write(&here, plan);
    enum error_code code = buf_check(&there, err);
    if (code == ERR_OK)
        code = buf_check(&here, err);
    if (code != ERR_OK)
        return code;
    if (there.len != here.len || memcmp(there.data, here.data, here.len) != 0)
        return error_set(err, ERR_EXISTS,
                         "rollout \"%s\" exists with another plan; choose another id", r->id);
    return ERR_OK;
}

static enum error_code submit_repeat(struct rollout *r, struct plan *plan,
                                     const struct dispatcher_submit *request, bool *ret_repeat,
                                     struct error *err)
{
    struct tx tx;
    enum error_code code = submit_compare(r, plan, err);
    if (code == ERR_OK)
        code = tx_begin(&tx, r, err);
    if (code != ERR_OK)
        return code;
    tx.effect->done = request->done;
    tx.effect->done_ctx = request->ctx;
    *ret_repeat = true;
    plan_free(plan);
    (void)tx_commit(&tx);
    return ERR_OK;
}

static enum error_code submit_no_wait(struct dispatcher *d, const struct plan *plan,
                                      struct error *err)
{
    for (uint32_t i = 0; i < plan_server_count(plan); i++) {
        const struct server *server = fleet_find(d, plan_server(plan, i));
        if (server != NULL && server->head != NULL)
            return error_set(err, ERR_BUSY, "server \"%s\" is held by rollout \"%s\"", server->id,
                             server->head->rollout->id);
    }
    return ERR_OK;
}

static enum error_code submit_record(struct rollout *r, const struct dispatcher_submit *request,
                                     struct error *err)
{
    AUTO_BUF struct buf text = BUF_INIT;
    struct tx tx;
    plan_write(&text, r->plan);
    enum error_code code = buf_check(&text, err);
    if (code == ERR_OK)
        code = tx_begin(&tx, r, err);
    if (code != ERR_OK)
        return code;
    code = journal_append_create(tx.append, r->plan, text.data, text.len, request->by, err);
    if (code == ERR_OK) {
        struct event event = rollout_event(EVENT_ROLLOUT_CREATED, EVENT_NO_SERVER);
        event.by = request->by;
        code = tx_apply(&tx, &event, err);
    }
    if (code != ERR_OK) {
        tx_abandon(&tx);
        return code;
    }
    tx.effect->done = request->done;
    tx.effect->done_ctx = request->ctx;
    (void)tx_commit(&tx);
    return ERR_OK;
}

static enum error_code submit_new(struct dispatcher *d, const char *id, struct plan *plan,
                                  const struct dispatcher_submit *request,
                                  struct rollout **ret_rollout, struct error *err)
{
    if (d->stats.open >= DISPATCH_MAX_OPEN)
        return error_set(err, ERR_LIMIT,
                         "%d rollouts are open already; wait for some to end, or cancel them",
                         DISPATCH_MAX_OPEN);
    enum error_code code = request->no_wait ? submit_no_wait(d, plan, err) : ERR_OK;
    AUTO(engine_free) struct engine *engine = NULL;
    if (code == ERR_OK)
        code = engine_new(plan, &engine, err);
    if (code == ERR_OK)
        code = rollout_new(d, id, plan, engine, ret_rollout, err);
    if (code == ERR_OK)
        (void)TAKE(engine);
    return code;
}

/* A command that cannot be made durable now is refused at once, rather than left to hang. */
static enum error_code dispatcher_writable(struct dispatcher *d, struct error *err)
{
    struct error why = {0};
    if (d->failed)
        return error_set(err, ERR_UNAVAILABLE, "the journal has failed");
    if (journal_stalled(d->config.journal, NULL, &why))
        return error_set(err, ERR_NO_SPACE, "nothing can be recorded now: %.200s", why.message);
    return ERR_OK;
}

/* The rollout with the wanted id, when there is one; a random id when none is wanted. */
static enum error_code submit_find(struct dispatcher *d, const char *wanted, char id[ID_BUFFER],
                                   struct rollout **ret_rollout, struct error *err)
{
    *ret_rollout = NULL;
    if (d->config.held != NULL)
        return error_set(err, ERR_UNAVAILABLE, "%s", d->config.held);
    enum error_code code = dispatcher_writable(d, err);
    if (code != ERR_OK)
        return code;
    if (wanted == NULL)
        return id_random(id, err);
    memset(id, 0, ID_BUFFER);
    memcpy(id, wanted, strnlen(wanted, ID_MAX));
    code = rollout_get(d, id, ret_rollout, err);
    return code == ERR_NOT_FOUND ? ERR_OK : code;
}

enum error_code dispatcher_submit(struct dispatcher *d, struct plan *plan,
                                  const struct dispatcher_submit *request, bool *ret_repeat,
                                  struct error *err)
{
    char id[ID_BUFFER];
    struct rollout *r = NULL;
    enum error_code code = submit_find(d, request->id, id, &r, err);
    if (code != ERR_OK)
        return code;
    if (r != NULL)
        return submit_repeat(r, plan, request, ret_repeat, err);
    code = submit_new(d, id, plan, request, &r, err);
    if (code != ERR_OK)
        return code;
    assert(r != NULL);
    *ret_repeat = false;
    r->created_ms = d->config.now_wall_ms(d->config.ctx);
    if (request->by != NULL)
        memcpy(r->by, request->by, strnlen(request->by, ID_MAX));
    rollout_open(r);
    code = submit_record(r, request, err);
    if (code != ERR_OK) {
        queue_release(r);
        d->ended_loaded--;
        r->plan = NULL; /* stays the caller's */
        rollout_free(r);
    }
    return code;
}

/* ---- Other commands -------------------------------------------------------------------------- */

enum error_code dispatcher_order(struct dispatcher *d, const char *id,
                                 const struct dispatcher_order *order, dispatcher_done done,
                                 void *ctx, struct error *err)
{
    static const enum event_type events[] = {
        [COMMAND_PAUSE] = EVENT_PAUSE_REQUESTED,
        [COMMAND_RESUME] = EVENT_RESUME_REQUESTED,
        [COMMAND_CANCEL] = EVENT_CANCEL_REQUESTED,
    };
    struct rollout *r = NULL;
    struct tx tx;
    enum error_code code = dispatcher_writable(d, err);
    if (code == ERR_OK)
        code = rollout_get(d, id, &r, err);
    if (code == ERR_OK)
        code = tx_begin(&tx, r, err);
    if (code != ERR_OK)
        return code;
    struct event event = rollout_event(events[order->command], EVENT_NO_SERVER);
    event.now = order->now;
    event.undoing = order->rollback;
    event.by = order->by;
    event.message = order->reason;
    code = tx_apply(&tx, &event, err);
    if (code != ERR_OK) {
        tx_abandon(&tx);
        return code;
    }
    tx.effect->done = done;
    tx.effect->done_ctx = ctx;
    (void)tx_commit(&tx);
    return ERR_OK;
}

/* ---- Views ----------------------------------------------------------------------------------- */

enum error_code dispatcher_rollout(struct dispatcher *d, const char *id,
                                   struct rollout_view *ret_view, struct error *err)
{
    struct rollout *r = NULL;
    enum error_code code = rollout_get(d, id, &r, err);
    if (code != ERR_OK)
        return code;
    *ret_view = (struct rollout_view){
        .id = r->id,
        .by = r->by[0] == '\0' ? NULL : r->by,
        .plan = r->plan,
        .engine = r->engine,
        .last_seq = r->last_seq,
        .created_ms = r->created_ms,
        .ended_ms = r->ended_ms,
    };
    return ERR_OK;
}

bool dispatcher_forget(struct dispatcher *d, const char *id)
{
    struct rollout *r = rollout_find(d, id);
    return r == NULL || rollout_forget(r);
}

const char *dispatcher_waiting_for(struct dispatcher *d, const char *id, uint32_t server)
{
    const struct rollout *r = rollout_find(d, id);
    if (r == NULL || server >= r->slot_count || !r->slots[server].queued)
        return NULL;
    const struct slot *head = r->slots[server].server->head;
    return head->rollout == r ? NULL : head->rollout->id;
}

bool dispatcher_live_output(struct dispatcher *d, const char *id, uint32_t server, uint32_t step,
                            struct buf *b, int32_t *ret_attempt)
{
    const struct rollout *r = rollout_find(d, id);
    if (r == NULL || server >= r->slot_count)
        return false;
    const struct slot *slot = &r->slots[server];
    if (slot->live == NULL || slot->live_step != (int32_t)step)
        return false;
    output_text(slot->live, b);
    *ret_attempt = slot->live_attempt;
    return true;
}

struct dispatcher_stats dispatcher_stats(const struct dispatcher *d)
{
    return d->stats;
}
