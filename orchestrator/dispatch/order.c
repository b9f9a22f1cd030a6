/* order: what people order of a rollout. */
#include "orchestrator/dispatch/dispatch_internal.h"

#include <string.h>

/* Ends an order's transaction: its answer comes once what was applied is durable. */
static void order_commit(struct tx *tx, dispatcher_done done, void *ctx)
{
    tx->effect->done = done;
    tx->effect->done_ctx = ctx;
    (void)tx_commit(tx);
}

/* The rollout, with a transaction begun. */
static enum error_code order_begin(struct dispatcher *d, const char *id, struct tx *tx,
                                   struct rollout **ret_rollout, struct error *err)
{
    struct rollout *r = NULL;
    enum error_code code = dispatcher_writable(d, err);
    if (code == ERR_OK)
        code = rollout_get(d, id, &r, err);
    if (code == ERR_OK)
        code = tx_begin(tx, r, err);
    if (code == ERR_OK)
        *ret_rollout = r;
    return code;
}

/* An order of one event. */
static enum error_code order_apply(struct tx *tx, struct event *event, dispatcher_done done,
                                   void *ctx, struct error *err)
{
    enum error_code code = tx_apply(tx, event, err);
    if (code != ERR_OK) {
        tx_abandon(tx);
        return code;
    }
    order_commit(tx, done, ctx);
    return ERR_OK;
}

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
    enum error_code code = order_begin(d, id, &tx, &r, err);
    if (code != ERR_OK)
        return code;
    struct event event = rollout_event(events[order->command], EVENT_NO_SERVER);
    event.now = order->now;
    event.undoing = order->rollback;
    event.by = order->by;
    event.message = order->reason;
    return order_apply(&tx, &event, done, ctx, err);
}

static enum error_code order_find_server(const struct rollout *r, const char *server,
                                         uint32_t *ret_index, struct error *err)
{
    if (plan_server_find(r->plan, server, ret_index))
        return ERR_OK;
    return error_set(err, ERR_NOT_FOUND, "rollout \"%s\" has no server \"%s\"", r->id, server);
}

enum error_code dispatcher_resolve(struct dispatcher *d, const char *id,
                                   const struct dispatcher_resolve *resolve, dispatcher_done done,
                                   void *ctx, struct error *err)
{
    struct rollout *r = NULL;
    struct tx tx;
    uint32_t index = 0;
    enum error_code code = order_begin(d, id, &tx, &r, err);
    if (code != ERR_OK)
        return code;
    code = order_find_server(r, resolve->server, &index, err);
    if (code != ERR_OK) {
        tx_abandon(&tx);
        return code;
    }
    struct event event = rollout_event(EVENT_EXECUTION_RESOLVED, index);
    event.state = resolve->as;
    event.by = resolve->by;
    event.message = resolve->reason;
    return order_apply(&tx, &event, done, ctx, err);
}

/* ---- Rolling back ---------------------------------------------------------------------------- */

/* What a rollback is about. */
struct undoing {
    struct rollout *r;
    const struct dispatcher_rollback *order;
    bool *chosen; /* by server: it is to be undone */
    uint32_t count;
};

/* Without names: all that there is to undo. */
static enum error_code undoing_choose(struct undoing *u, struct error *err)
{
    const struct dispatcher_rollback *order = u->order;
    if (order->server_count == 0 && order->force)
        return error_set(err, ERR_INVALID,
                         "a rollback is forced server by server: name the servers");
    if (order->server_count > 0 && order->now)
        return error_set(err, ERR_INVALID,
                         "steps are ended (now) with the whole rollout alone: name no servers");
    for (size_t i = 0; i < order->server_count; i++) {
        uint32_t index = 0;
        enum error_code code = order_find_server(u->r, order->servers[i], &index, err);
        if (code != ERR_OK)
            return code;
        u->count += !u->chosen[index]; /* named twice is named */
        u->chosen[index] = true;
    }
    if (order->server_count > 0)
        return ERR_OK;
    for (uint32_t i = 0; i < u->r->slot_count; i++) {
        u->chosen[i] = engine_needs_undo(u->r->engine, i);
        u->count += u->chosen[i];
    }
    return ERR_OK;
}

static struct event undoing_event(const struct undoing *u, uint32_t server)
{
    struct event event = rollout_event(EVENT_ROLLBACK_REQUESTED, server);
    event.now = u->order->now;
    event.force = u->order->force;
    event.by = u->order->by;
    event.message = u->order->reason;
    return event;
}

/* A server that this rollout does not hold any more may have gone on without it. */
static enum error_code undoing_check_free(const struct undoing *u, const struct slot *slot,
                                          struct error *err)
{
    char later[ID_BUFFER] = "";
    const struct server *server = slot->server;
    if (server->lock.set) {
        AUTO_BUF struct buf why = BUF_INIT;
        lock_describe(&server->lock, &why);
        return error_set(err, ERR_CONFLICT, "server \"%s\" is %s", server->id,
                         why.data == NULL ? "locked" : why.data);
    }
    if (server->head != NULL)
        return error_set(err, ERR_CONFLICT,
                         "server \"%s\" is held by rollout \"%s\": wait for its end, or cancel it",
                         server->id, server->head->rollout->id);
    if (u->order->force || !slot->touched)
        return ERR_OK;
    enum error_code code =
        journal_later_touch(u->r->d->config.journal, u->r->id, server->id, later, err);
    if (code == ERR_OK && later[0] != '\0')
        code = error_set(err, ERR_CONFLICT,
                         "rollout \"%s\" touched server \"%s\" later and is not undone there: undo "
                         "it first, or force this one on that server",
                         later, server->id);
    return code;
}

/* All that can be said against it is said before anything is changed. */
static enum error_code undoing_check(const struct undoing *u, struct error *err)
{
    struct rollout *r = u->r;
    enum error_code code = ERR_OK;
    for (uint32_t i = 0; i < r->slot_count && code == ERR_OK; i++) {
        if (!u->chosen[i])
            continue;
        if (u->order->server_count > 0) {
            struct event event = undoing_event(u, i);
            code = engine_check_rollback(r->engine, &event, err);
        }
        if (code == ERR_OK && !r->slots[i].queued)
            code = undoing_check_free(u, &r->slots[i], err);
    }
    if (code == ERR_OK && !r->open && u->count > 0 && r->d->stats.open >= DISPATCH_MAX_OPEN)
        code = error_set(err, ERR_LIMIT,
                         "%d rollouts are open already; wait for some to end, or cancel them",
                         DISPATCH_MAX_OPEN);
    return code;
}

/* One event for the whole, or one for each server that is named. */
static enum error_code undoing_apply(const struct undoing *u, struct tx *tx, struct error *err)
{
    if (u->order->server_count == 0) {
        struct event event = undoing_event(u, EVENT_NO_SERVER);
        return tx_apply(tx, &event, err);
    }
    for (uint32_t i = 0; i < u->r->slot_count; i++) {
        if (!u->chosen[i])
            continue;
        struct event event = undoing_event(u, i);
        enum error_code code = tx_apply(tx, &event, err);
        if (code == ERR_OK)
            code = tx_tell_undo(tx, i, err);
        if (code != ERR_OK)
            return code;
    }
    return ERR_OK;
}

enum error_code dispatcher_rollback(struct dispatcher *d, const char *id,
                                    const struct dispatcher_rollback *order, dispatcher_done done,
                                    void *ctx, struct error *err)
{
    struct undoing u = {.order = order};
    struct tx tx;
    enum error_code code = order_begin(d, id, &tx, &u.r, err);
    if (code != ERR_OK)
        return code;
    u.chosen = mem_array(u.r->slot_count, sizeof(bool));
    if (u.chosen == NULL) {
        tx_abandon(&tx);
        return error_set(err, ERR_NO_MEMORY, NULL);
    }
    code = undoing_choose(&u, err);
    if (code == ERR_OK)
        code = undoing_check(&u, err);
    if (code == ERR_OK)
        code = undoing_apply(&u, &tx, err);
    mem_free(u.chosen);
    if (code != ERR_OK && (tx.applied == 0 || d->failed)) {
        tx_abandon(&tx);
        return code;
    }
    /* What goes out waits until this is durable, so the servers are held in time. */
    rollout_open(u.r);
    order_commit(&tx, done, ctx);
    return ERR_OK;
}
