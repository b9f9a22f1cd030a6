/* rollout: a rollout in memory, and the transactions that carry its events to the journal. */
#include "orchestrator/dispatch/dispatch_internal.h"

#include "common/base/failpoint.h"

#include <assert.h>
#include <string.h>

/* ---- Life in memory -------------------------------------------------------------------------- */

/* uthash's macros unfold into more than a function may hold; these are all there is of them here.
 */
/* NOLINTBEGIN(readability-function-size) */
struct rollout *rollout_find(struct dispatcher *d, const char *id)
{
    struct rollout *r = NULL;
    HASH_FIND_STR(d->rollouts, id, r);
    return r;
}

static bool rollout_add(struct rollout *r)
{
    HASH_ADD_STR(r->d->rollouts, id, r);
    return r->hh.tbl != NULL;
}

static void rollout_remove(struct rollout *r)
{
    HASH_DEL(r->d->rollouts, r);
}
/* NOLINTEND(readability-function-size) */

static enum error_code rollout_attach(struct rollout *r, struct error *err)
{
    for (uint32_t i = 0; i < r->slot_count; i++) {
        struct slot *slot = &r->slots[i];
        slot->rollout = r;
        slot->index = i;
        enum error_code code = fleet_get(r->d, plan_server(r->plan, i), &slot->server, err);
        if (code != ERR_OK)
            return code;
    }
    return ERR_OK;
}

enum error_code rollout_new(struct dispatcher *d, const char *id, struct plan *plan,
                            struct engine *engine, struct rollout **ret_rollout, struct error *err)
{
    struct rollout *r = MEM_NEW(struct rollout);
    if (r == NULL)
        return error_set(err, ERR_NO_MEMORY, NULL);
    r->d = d;
    r->plan = plan;
    r->engine = engine;
    memcpy(r->id, id, strnlen(id, ID_MAX));
    r->slot_count = plan_server_count(plan);
    r->slots = mem_array(r->slot_count, sizeof(struct slot));
    enum error_code code =
        r->slots == NULL ? error_set(err, ERR_NO_MEMORY, NULL) : rollout_attach(r, err);
    if (code == ERR_OK && !rollout_add(r))
        code = error_set(err, ERR_NO_MEMORY, NULL);
    if (code != ERR_OK) {
        mem_free(r->slots);
        mem_free(r);
        return code;
    }
    *ret_rollout = r;
    return ERR_OK;
}

void rollout_free(struct rollout *r)
{
    struct dispatcher *d = r->d;
    rollout_remove(r);
    timers_disarm(&d->timers, &r->batch_timer);
    for (uint32_t i = 0; i < r->slot_count; i++) {
        struct slot *slot = &r->slots[i];
        timers_disarm(&d->timers, &slot->timer);
        slot->queued = true; /* belongs into no list any more */
        queue_sort(slot);
        if (slot->live != NULL)
            output_done(slot->live);
        mem_free(slot->live);
    }
    engine_free(r->engine);
    plan_free(r->plan);
    mem_free(r->slots);
    mem_free(r->steps_json);
    sealed_free(r->sealed);
    mentions_free(r->mentions);
    mem_free(r);
}

/* What the journal's record of a rollout adds to its plan and events. */
struct rollout_record {
    char by[ID_BUFFER], retry_of[ID_BUFFER];
    int64_t created_ms, ended_ms;
};

static bool rollout_take_record(void *ctx, const struct journal_rollout *record)
{
    struct rollout_record *taken = ctx;
    taken->created_ms = record->summary.created_ms;
    taken->ended_ms = record->summary.ended_ms;
    if (record->by != NULL)
        memcpy(taken->by, record->by, strnlen(record->by, ID_MAX));
    if (record->retry_of != NULL)
        memcpy(taken->retry_of, record->retry_of, strnlen(record->retry_of, ID_MAX));
    return false;
}

/* Keeps count of the orders that stand. */
static void slot_follow(struct slot *slot)
{
    struct rollout *r = slot->rollout;
    bool standing = engine_standing(r->engine, slot->index) != 0;
    r->standing -= slot->standing;
    r->standing += standing;
    slot->standing = standing;
}

static bool slot_undone(const struct slot *slot)
{
    return engine_left_nothing(slot->rollout->engine, slot->index);
}

/* What the journal has of it. Of one that has ended: what was ordered of servers that came back
 * after the end, or never did, stands, and is said when they come again. */
static void rollout_recall(struct rollout *r)
{
    bool final = rollout_state_final(engine_state(r->engine));
    for (uint32_t i = 0; i < r->slot_count; i++) {
        struct slot *slot = &r->slots[i];
        slot->touched = engine_execution(r->engine, i)->touched;
        slot->undone = slot->touched && slot_undone(slot);
        slot_follow(slot);
        if (!final)
            continue;
        unsigned orders = engine_standing(r->engine, i);
        if ((orders & (ORDER_CANCEL | ORDER_CANCEL_NOW)) != 0)
            slot->cancel = (orders & ORDER_CANCEL_NOW) != 0 ? 2 : 1;
        slot->rollback = (orders & ORDER_ROLLBACK) != 0;
        slot->undo_round = engine_execution(r->engine, i)->undo_round;
        slot->undo_force = engine_execution(r->engine, i)->undo_force;
        queue_await(slot);
    }
}

static enum error_code rollout_load(struct dispatcher *d, const char *id,
                                    struct rollout **ret_rollout, struct error *err)
{
    struct rollout_record record = {0};
    enum error_code code = journal_get(d->config.journal, id, rollout_take_record, &record, err);
    if (code != ERR_OK)
        return code;
    AUTO(plan_free) struct plan *plan = NULL;
    AUTO(engine_free) struct engine *engine = NULL;
    uint64_t last_seq = 0;
    code = journal_load(d->config.journal, id, &plan, &engine, &last_seq, err);
    if (code != ERR_OK)
        return code;
    struct rollout *r = NULL;
    code = rollout_new(d, id, plan, engine, &r, err);
    if (code != ERR_OK)
        return code;
    (void)TAKE(plan);
    (void)TAKE(engine);
    assert(r != NULL);
    memcpy(r->by, record.by, sizeof(r->by));
    memcpy(r->retry_of, record.retry_of, sizeof(r->retry_of));
    r->last_seq = last_seq;
    r->created_ms = record.created_ms;
    r->ended_ms = record.ended_ms;
    rollout_recall(r);
    *ret_rollout = r;
    return ERR_OK;
}

enum error_code rollout_get(struct dispatcher *d, const char *id, struct rollout **ret_rollout,
                            struct error *err)
{
    struct rollout *r = rollout_find(d, id);
    if (r == NULL) {
        rollout_evict(d);
        enum error_code code = rollout_load(d, id, &r, err);
        if (code != ERR_OK)
            return code;
    }
    r->used = ++d->uses;
    *ret_rollout = r;
    return ERR_OK;
}

void rollout_open(struct rollout *r)
{
    struct dispatcher *d = r->d;
    if (rollout_state_final(engine_state(r->engine)))
        return;
    if (!r->open) {
        r->open = true;
        d->stats.open++;
    }
    for (uint32_t i = 0; i < r->slot_count; i++) {
        struct slot *slot = &r->slots[i];
        if (!slot->queued && engine_holds(r->engine, i))
            queue_enter(slot);
        else
            queue_await(slot);
    }
}

/* An ended rollout may leave memory when nothing of it is under way, or owed. */
static bool rollout_idle(const struct rollout *r)
{
    return !r->open && r->appends == 0 && r->standing == 0;
}

bool rollout_forget(struct rollout *r)
{
    if (!rollout_idle(r))
        return false;
    rollout_free(r);
    return true;
}

void rollout_evict(struct dispatcher *d)
{
    for (;;) {
        struct rollout *oldest = NULL;
        size_t idle = 0;
        for (struct rollout *r = d->rollouts; r != NULL; r = r->hh.next) {
            if (!rollout_idle(r))
                continue;
            idle++;
            if (oldest == NULL || r->used < oldest->used)
                oldest = r;
        }
        if (idle <= DISPATCH_ENDED_KEPT)
            return;
        rollout_free(oldest);
    }
}

/* ---- Transactions ---------------------------------------------------------------------------- */

void dispatch_fatal(struct dispatcher *d, const struct error *err)
{
    if (d->failed)
        return;
    d->failed = true;
    d->config.fatal(d->config.ctx, err);
}

struct event rollout_event(enum event_type type, uint32_t server)
{
    return (struct event){.type = type, .server = server, .step = EVENT_NO_STEP};
}

enum error_code tx_begin(struct tx *tx, struct rollout *r, struct error *err)
{
    *tx = (struct tx){.rollout = r};
    tx->effect = MEM_NEW(struct effect);
    if (tx->effect == NULL)
        return error_set(err, ERR_NO_MEMORY, NULL);
    enum error_code code = journal_append_new(r->id, r->last_seq + 1, &tx->append, err);
    if (code != ERR_OK) {
        mem_free(tx->effect);
        return code;
    }
    tx->effect->rollout = r;
    return ERR_OK;
}

static void effect_free(struct effect *effect)
{
    mem_free(effect->decisions);
    mem_free(effect);
}

void tx_abandon(struct tx *tx)
{
    assert(tx->applied == 0 || tx->rollout->d->failed);
    journal_append_free(tx->append);
    effect_free(tx->effect);
}

static enum error_code effect_add(struct effect *effect, const struct decision *decision,
                                  struct error *err)
{
    if (effect->count == effect->capacity) {
        size_t capacity = effect->capacity == 0 ? 4 : effect->capacity * 2;
        struct decision *grown = mem_realloc(effect->decisions, capacity * sizeof(*grown));
        if (grown == NULL)
            return error_set(err, ERR_NO_MEMORY, NULL);
        effect->decisions = grown;
        effect->capacity = capacity;
    }
    effect->decisions[effect->count++] = *decision;
    return ERR_OK;
}

static enum error_code tx_record(struct tx *tx, struct event *event, struct error *err)
{
    struct rollout *r = tx->rollout;
    event->seq = r->last_seq + 1;
    enum error_code code = journal_append_event(tx->append, r->plan, event, err);
    if (code == ERR_OK) {
        r->last_seq++;
        r->d->stats.events++;
        if (event->type == EVENT_ROLLOUT_ENDED)
            r->ended_ms = event->time_ms;
        else if (!rollout_state_final(engine_state(r->engine)))
            r->ended_ms = 0; /* also when it was opened again */
    }
    return code;
}

static enum error_code tx_decide(struct tx *tx, int64_t time_ms, struct error *err)
{
    struct decision decision;
    enum error_code code = ERR_OK;
    while (code == ERR_OK && engine_next(tx->rollout->engine, &decision)) {
        if (decision.type == DECISION_NOTE) {
            decision.note.time_ms = time_ms;
            code = tx_record(tx, &decision.note, err);
        } else {
            code = effect_add(tx->effect, &decision, err);
            if (decision.server < tx->rollout->slot_count)
                slot_follow(&tx->rollout->slots[decision.server]);
        }
    }
    return code;
}

enum error_code tx_tell_undo(struct tx *tx, uint32_t server, struct error *err)
{
    const struct rollout *r = tx->rollout;
    const struct execution *x = engine_execution(r->engine, server);
    const struct decision decision = {.type = DECISION_ROLLBACK,
                                      .server = server,
                                      .undo_round = x->undo_round,
                                      .undo_force = x->undo_force};
    const struct effect *effect = tx->effect;
    if ((engine_standing(r->engine, server) & ORDER_ROLLBACK) == 0)
        return ERR_OK;
    for (size_t i = 0; i < effect->count; i++)
        if (effect->decisions[i].type == DECISION_ROLLBACK && effect->decisions[i].server == server)
            return ERR_OK; /* it is told already */
    struct error failure = {0};
    enum error_code code = effect_add(tx->effect, &decision, &failure);
    if (code != ERR_OK) {
        dispatch_fatal(r->d, &failure);
        return error_set(err, code, "%s", failure.message);
    }
    return ERR_OK;
}

/* Which servers a rollout has touched, and where that is undone, is recorded with the event that
 * made it so. */
static enum error_code tx_touch(struct tx *tx, struct slot *slot, struct error *err)
{
    bool undone = slot_undone(slot);
    if (!engine_execution(tx->rollout->engine, slot->index)->touched ||
        (slot->touched && slot->undone == undone))
        return ERR_OK;
    slot->touched = true;
    slot->undone = undone;
    return journal_append_touch(tx->append, tx->rollout->plan, slot->index, undone, err);
}

enum error_code tx_apply(struct tx *tx, struct event *event, struct error *err)
{
    struct rollout *r = tx->rollout;
    struct dispatcher *d = r->d;
    event->seq = r->last_seq + 1;
    event->time_ms = d->config.now_wall_ms(d->config.ctx);
    enum error_code code = engine_apply(r->engine, event, err);
    if (code != ERR_OK)
        return code;
    tx->applied++;
    struct error failure = {0};
    code = tx_record(tx, event, &failure);
    if (code == ERR_OK)
        code = tx_decide(tx, event->time_ms, &failure);
    struct slot *slot = event->server == EVENT_NO_SERVER ? NULL : &r->slots[event->server];
    if (code == ERR_OK && slot != NULL)
        code = tx_touch(tx, slot, &failure);
    if (code != ERR_OK) {
        /* The engine has moved on and the journal cannot follow: only a restart puts them right. */
        dispatch_fatal(d, &failure);
        return error_set(err, code, "%s", failure.message);
    }
    if (slot != NULL) {
        slot_follow(slot);
        queue_settle(slot);
    }
    return ERR_OK;
}

enum error_code tx_output(struct tx *tx, uint32_t server, uint32_t step, int32_t attempt,
                          const char *text, struct error *err)
{
    struct journal_output output = {
        .server = server, .step = step, .attempt = attempt, .text = text, .len = strlen(text)};
    return journal_append_output(tx->append, &output, err);
}

static void effect_acknowledge(const struct effect *effect)
{
    struct dispatcher *d = effect->rollout->d;
    struct server *server = fleet_find(d, effect->server);
    if (server == NULL)
        return;
    struct wire_frame frame = {
        .type = WIRE_ACK,
        .ack = {.rollout = effect->rollout->id, .seq = effect->agent_seq},
    };
    FAILPOINT(FAIL_ACK_BEFORE);
    (void)queue_send(server, &frame);
    FAILPOINT(FAIL_ACK_AFTER);
}

/* Everything in the append is durable: now it may be seen and acted upon. */
static void effect_run(struct effect *effect)
{
    struct rollout *r = effect->rollout;
    struct dispatcher *d = r->d;
    FAILPOINT(FAIL_EFFECT_BEFORE);
    if (effect->server[0] != '\0')
        effect_acknowledge(effect);
    for (size_t i = 0; i < effect->count && !d->failed; i++)
        queue_decide(r, &effect->decisions[i]);
    if (effect->settled != NULL && !d->failed)
        queue_stop_settled(effect->settled);
    if (effect->last_seq != 0)
        d->config.changed(d->config.ctx, r->id, effect->last_seq);
    if (effect->done == NULL)
        return;
    FAILPOINT(FAIL_ANSWER_BEFORE);
    effect->done(effect->done_ctx, ERR_OK, NULL, r->id);
    FAILPOINT(FAIL_ANSWER_AFTER);
}

static void effect_finish(void *ctx, enum error_code result, const struct error *err)
{
    struct effect *effect = ctx;
    struct rollout *r = effect->rollout;
    struct dispatcher *d = r->d;
    if (result != ERR_OK)
        dispatch_fatal(d, err);
    if (d->failed) {
        if (effect->done != NULL)
            effect->done(effect->done_ctx, result == ERR_OK ? ERR_UNAVAILABLE : result, err, r->id);
    } else {
        effect_run(effect);
    }
    r->appends--;
    effect_free(effect);
}

static void effect_barrier(void *ctx)
{
    effect_finish(ctx, ERR_OK, NULL);
}

bool tx_commit(struct tx *tx)
{
    struct rollout *r = tx->rollout;
    struct dispatcher *d = r->d;
    struct effect *effect = tx->effect;
    if (tx->applied == 0) {
        journal_append_free(tx->append);
        /* A repeat is acknowledged too, but not before what it repeats is durable. */
        if (effect->server[0] != '\0' || effect->done != NULL) {
            r->appends++;
            if (!journal_barrier(d->config.journal, effect_barrier, effect))
                effect_finish(effect, ERR_NO_MEMORY, NULL);
        } else {
            effect_free(effect);
        }
        return false;
    }
    struct journal_summary summary = {
        .state = engine_state(r->engine),
        .counts = engine_counts(r->engine),
        .servers = plan_server_count(r->plan),
        .check = engine_is_check(r->engine),
        .created_ms = r->created_ms,
        .ended_ms = r->ended_ms,
        .undo_owed = r->standing > 0 && rollout_state_final(engine_state(r->engine)),
    };
    journal_append_summary(tx->append, &summary);
    effect->last_seq = r->last_seq;
    r->appends++;
    FAILPOINT(FAIL_APPEND_BEFORE);
    journal_append(d->config.journal, tx->append, effect_finish, effect);
    return true;
}

void rollout_apply(struct rollout *r, struct event *event)
{
    rollout_apply_then(r, event, NULL, NULL);
}

void rollout_apply_then(struct rollout *r, struct event *event, dispatcher_done done, void *ctx)
{
    struct error err = {0};
    struct tx tx;
    if (r->d->failed)
        return;
    if (tx_begin(&tx, r, &err) != ERR_OK) {
        dispatch_fatal(r->d, &err);
        return;
    }
    if (tx_apply(&tx, event, &err) != ERR_OK) {
        tx_abandon(&tx);
        return;
    }
    tx.effect->done = done;
    tx.effect->done_ctx = ctx;
    (void)tx_commit(&tx);
}
