/* dispatcher: commands, deadlines, views; see dispatch_internal.h for the other rooms. */
#include "orchestrator/dispatch/dispatch_internal.h"

#include "common/base/failpoint.h"

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
    /* Ended ones come into memory when an agent, or a reader, speaks of them, but for those that
     * have something to say themselves. */
    if (rollout_state_final(record->summary.state) && !record->summary.undo_owed)
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

static enum error_code dispatcher_load(struct dispatcher *d, struct id_list *list,
                                       struct error *err)
{
    enum error_code code = journal_scan_open(d->config.journal, dispatcher_take_id, list, err);
    if (code == ERR_OK && list->no_memory)
        code = error_set(err, ERR_NO_MEMORY, NULL);
    for (size_t i = 0; i < list->count && code == ERR_OK; i++) {
        struct rollout *r = NULL;
        code = rollout_get(d, list->ids[i], &r, err);
        if (code == ERR_OK && !rollout_state_final(engine_state(r->engine)))
            rollout_open(r);
    }
    return code;
}

/* The locks stand and all queues are filled, oldest rollout first, before any decision is given
 * again. */
static enum error_code dispatcher_restore(struct dispatcher *d, struct error *err)
{
    struct id_list list = {0};
    enum error_code code = lock_restore(d, err);
    if (code == ERR_OK)
        code = dispatcher_load(d, &list, err);
    for (size_t i = 0; i < list.count && code == ERR_OK && d->config.held == NULL; i++) {
        struct rollout *r = rollout_find(d, list.ids[i]);
        struct decision decision;
        if (r == NULL || !r->open)
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
    FAILPOINT(FAIL_RESTORED);
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
    durable_forget(d);
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
        if (timer->kind != TIMER_SILENCE)
            FAILPOINT(FAIL_DEADLINE_BEFORE);
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

/* ---- Commands -------------------------------------------------------------------------------- */

enum error_code dispatcher_writable(struct dispatcher *d, struct error *err)
{
    struct error why = {0};
    if (d->failed)
        return error_set(err, ERR_UNAVAILABLE, "the journal has failed");
    if (journal_stalled(d->config.journal, NULL, &why))
        return error_set(err, ERR_NO_SPACE, "nothing can be recorded now: %.200s", why.message);
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
        .retry_of = r->retry_of[0] == '\0' ? NULL : r->retry_of,
        .plan = r->plan,
        .engine = r->engine,
        .last_seq = r->last_seq,
        .created_ms = r->created_ms,
        .ended_ms = r->ended_ms,
    };
    return durable_is_behind(r) ? durable_view(r, ret_view, err) : ERR_OK;
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
