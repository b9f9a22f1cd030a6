/* lock: servers that people lock. A lock holds from the moment that it is asked for, and is over
 * only when that is durable, so nothing begins on a server that a journal calls locked. */
#include "orchestrator/dispatch/dispatch_internal.h"

#include <string.h>

void lock_done(struct lock *lock)
{
    mem_free(lock->by);
    mem_free(lock->reason);
    *lock = (struct lock){0};
}

void lock_describe(const struct lock *lock, struct buf *b)
{
    buf_puts(b, "locked");
    if (lock->by != NULL)
        buf_printf(b, " by %s", lock->by);
    buf_printf(b, ": %s", lock->reason);
}

static enum error_code lock_set(struct dispatcher *d, struct server *server,
                                const struct journal_server_lock *lock, struct error *err)
{
    AUTO_FREE char *by = lock->by == NULL ? NULL : mem_strdup(lock->by);
    AUTO_FREE char *reason = mem_strdup(lock->reason);
    if (reason == NULL || (lock->by != NULL && by == NULL))
        return error_set(err, ERR_NO_MEMORY, NULL);
    server->lock = (struct lock){
        .set = true, .time_ms = lock->time_ms, .by = TAKE(by), .reason = TAKE(reason)};
    d->stats.locked++;
    return ERR_OK;
}

static void lock_unset(struct dispatcher *d, struct server *server)
{
    lock_done(&server->lock);
    d->stats.locked--;
}

/* ---- At the start ---------------------------------------------------------------------------- */

struct lock_scan {
    struct dispatcher *d;
    struct error *err;
    enum error_code code;
};

static bool lock_take(void *ctx, const struct journal_server_lock *lock)
{
    struct lock_scan *scan = ctx;
    struct server *server = NULL;
    scan->code = fleet_get(scan->d, lock->server, &server, scan->err);
    if (scan->code == ERR_OK)
        scan->code = lock_set(scan->d, server, lock, scan->err);
    return scan->code == ERR_OK;
}

enum error_code lock_restore(struct dispatcher *d, struct error *err)
{
    struct lock_scan scan = {.d = d, .err = err};
    enum error_code code = journal_locks(d->config.journal, lock_take, &scan, err);
    return code == ERR_OK ? scan.code : code;
}

/* ---- Commands -------------------------------------------------------------------------------- */

/* One that is being made durable. */
struct lock_change {
    struct dispatcher *d;
    struct server *server; /* servers stay as long as the dispatcher */
    bool locks;
    char by[ID_BUFFER]; /* "": not said */
    dispatcher_done done;
    void *ctx;
};

static void lock_note(const struct lock_change *change)
{
    AUTO_BUF struct buf detail = BUF_INIT;
    const struct dispatcher_config *config = &change->d->config;
    if (change->locks)
        lock_describe(&change->server->lock, &detail);
    else
        buf_printf(&detail, "by %s", change->by[0] == '\0' ? "somebody" : change->by);
    config->note(config->ctx, change->locks ? "server locked" : "server unlocked",
                 change->server->id, detail.data == NULL ? "" : detail.data);
}

static void lock_durable(void *ctx, enum error_code result, const struct error *err)
{
    struct lock_change change = *(struct lock_change *)ctx;
    struct dispatcher *d = change.d;
    struct server *server = change.server;
    mem_free(ctx);
    server->lock.changing = false;
    if (result != ERR_OK)
        dispatch_fatal(d, err);
    if (result == ERR_OK && d->failed)
        result = ERR_UNAVAILABLE;
    if (result == ERR_OK)
        lock_note(&change);
    if (result == ERR_OK && !change.locks) {
        lock_unset(d, server);
        queue_pump(server);
    }
    if (change.done != NULL)
        change.done(change.ctx, result, err, server->id);
}

static enum error_code lock_record(const struct lock_change *change,
                                   const struct journal_server_lock *row, struct error *err)
{
    struct lock_change *kept = MEM_NEW(struct lock_change);
    if (kept == NULL)
        return error_set(err, ERR_NO_MEMORY, NULL);
    *kept = *change;
    const char *by = row->locked ? row->by : row->unlocked_by;
    if (by != NULL)
        memcpy(kept->by, by, strnlen(by, ID_MAX));
    /* It may be durable before this returns. */
    change->server->lock.changing = true;
    enum error_code code =
        journal_put_lock(change->d->config.journal, row, lock_durable, kept, err);
    if (code != ERR_OK) {
        change->server->lock.changing = false;
        mem_free(kept);
    }
    return code;
}

enum error_code dispatcher_lock(struct dispatcher *d, const struct dispatcher_lock *lock,
                                dispatcher_done done, void *ctx, struct error *err)
{
    struct server *server = NULL;
    const struct journal_server_lock row = {.server = lock->server,
                                            .locked = true,
                                            .by = lock->by,
                                            .reason = lock->reason,
                                            .time_ms = d->config.now_wall_ms(d->config.ctx)};
    enum error_code code = dispatcher_writable(d, err);
    if (code == ERR_OK)
        code = fleet_get(d, lock->server, &server, err);
    if (code != ERR_OK)
        return code;
    if (server->lock.set) {
        AUTO_BUF struct buf why = BUF_INIT;
        lock_describe(&server->lock, &why);
        return error_set(err, ERR_CONFLICT, "server \"%s\" is %s", server->id,
                         why.data == NULL ? "locked" : why.data);
    }
    const struct lock_change change = {
        .d = d, .server = server, .locks = true, .done = done, .ctx = ctx};
    code = lock_set(d, server, &row, err);
    if (code != ERR_OK)
        return code;
    code = lock_record(&change, &row, err);
    if (code != ERR_OK)
        lock_unset(d, server);
    else
        queue_locked(server);
    return code;
}

enum error_code dispatcher_unlock(struct dispatcher *d, const struct dispatcher_lock *lock,
                                  dispatcher_done done, void *ctx, struct error *err)
{
    struct server *server = fleet_find(d, lock->server);
    enum error_code code = dispatcher_writable(d, err);
    if (code != ERR_OK)
        return code;
    if (server == NULL || !server->lock.set)
        return error_set(err, ERR_CONFLICT, "server \"%s\" is not locked", lock->server);
    if (server->lock.changing)
        return error_set(err, ERR_CONFLICT, "server \"%s\" is just being locked or unlocked",
                         server->id);
    const struct journal_server_lock row = {.server = server->id,
                                            .by = server->lock.by,
                                            .reason = server->lock.reason,
                                            .time_ms = server->lock.time_ms,
                                            .unlocked_by = lock->by,
                                            .unlocked_ms = d->config.now_wall_ms(d->config.ctx)};
    const struct lock_change change = {.d = d, .server = server, .done = done, .ctx = ctx};
    return lock_record(&change, &row, err);
}
