/* journal_server: what is kept of servers: locks, and which rollouts touched them. */
#include "common/base/alloc.h"
#include "common/base/cleanup.h"
#include "orchestrator/journal/journal_internal.h"
#include "orchestrator/journal/journal_schema.h"
#include "orchestrator/journal/journal_sum.h"

#include <string.h>

static void bind_string(struct db_stmt *s, int index, const char *text)
{
    db_bind_text(s, index, text, text == NULL ? 0 : strlen(text));
}

/* ---- Touches ---------------------------------------------------------------------------- */

bool touch_of(const struct engine *engine, uint32_t server, struct touch *ret_touch)
{
    const struct execution *x = engine_execution(engine, server);
    if (!x->touched)
        return false;
    *ret_touch = (struct touch){.server = server,
                                .name = plan_server(engine_plan(engine), server),
                                .undone = engine_left_nothing(engine, server)};
    return true;
}

enum error_code touch_put(struct db *db, int64_t num, const struct touch *touch, struct error *err)
{
    struct db_stmt *s = NULL;
    enum error_code code = db_use(db, JOURNAL_TOUCH_PUT, &s, err);
    if (code != ERR_OK)
        return code;
    int64_t key = touch_key(num, touch->server);
    db_bind_int(s, 1, key);
    bind_string(s, 2, touch->name);
    db_bind_int(s, 3, touch->undone);
    db_bind_int(s, 4, sum_touch(key, touch->name, touch->undone));
    return db_run(s, err);
}

enum error_code touch_read(struct db_stmt *s, struct touch *ret_touch, struct error *err)
{
    int64_t key = db_column_int(s, TOUCH_COLUMN_KEY);
    int64_t undone = db_column_int(s, TOUCH_COLUMN_UNDONE);
    const char *name = db_column_text(s, TOUCH_COLUMN_SERVER, NULL);
    if (name == NULL && !db_column_null(s, TOUCH_COLUMN_SERVER))
        return error_set(err, ERR_NO_MEMORY, NULL);
    if (name == NULL || db_column_int(s, TOUCH_COLUMN_SUM) != sum_touch(key, name, undone))
        return error_set(err, ERR_CORRUPT, "journal: the record of a touched server is damaged");
    *ret_touch = (struct touch){
        .server = (uint32_t)key & TOUCH_SERVER_MASK, .name = name, .undone = undone != 0};
    return ERR_OK;
}

/* Of JOURNAL_TOUCH_LATER. */
struct touch_query {
    const char *server;
    int64_t after; /* key */
    bool standing; /* those that are not undone alone */
    uint32_t limit;
};

static enum error_code touches_each(struct journal *j, const struct touch_query *query,
                                    bool (*each)(void *ctx, const struct journal_touch *touch),
                                    void *ctx, struct error *err)
{
    struct db_stmt *s = NULL;
    enum error_code code = db_use(j->reader, JOURNAL_TOUCH_LATER, &s, err);
    if (code != ERR_OK)
        return code;
    bind_string(s, 1, query->server);
    db_bind_int(s, 2, query->after);
    db_bind_int(s, 3, query->standing ? 0 : 1);
    db_bind_int(s, 4, query->limit);
    bool more = true;
    while ((code = db_step(s, &more, err)) == ERR_OK && more) {
        struct touch touch;
        code = touch_read(s, &touch, err);
        if (code != ERR_OK)
            break;
        const struct journal_touch found = {
            .rollout = db_column_text(s, TOUCH_COLUMN_ROLLOUT, NULL),
            .created_ms = db_column_int(s, TOUCH_COLUMN_CREATED_MS),
            .undone = touch.undone,
        };
        if (found.rollout == NULL) {
            code = error_set(err, ERR_NO_MEMORY, NULL);
            break;
        }
        if (!retain_hides(j, found.rollout) && !each(ctx, &found))
            break;
    }
    db_reset(s);
    return code;
}

enum error_code journal_touches(struct journal *j, const char *server, uint32_t limit,
                                bool (*each)(void *ctx, const struct journal_touch *touch),
                                void *ctx, struct error *err)
{
    const struct touch_query query = {.server = server,
                                      .after = INT64_MIN,
                                      .limit = limit < JOURNAL_MAX_READ ? limit : JOURNAL_MAX_READ};
    return touches_each(j, &query, each, ctx, err);
}

static bool touch_take_id(void *ctx, const struct journal_touch *touch)
{
    char *id = ctx;
    memcpy(id, touch->rollout, strnlen(touch->rollout, ID_MAX));
    return false;
}

enum error_code journal_later_touch(struct journal *j, const char *rollout, const char *server,
                                    char ret_id[129], struct error *err)
{
    int64_t num = 0;
    uint64_t last_seq = 0;
    char id[ID_BUFFER] = "";
    enum error_code code = rollout_find_num(j->reader, rollout, &num, &last_seq, err);
    if (code != ERR_OK)
        return code;
    const struct touch_query query = {.server = server,
                                      .after = touch_key(num + 1, 0) - 1,
                                      .standing = true,
                                      .limit = JOURNAL_MAX_READ};
    code = touches_each(j, &query, touch_take_id, id, err);
    if (code == ERR_OK)
        memcpy(ret_id, id, sizeof(id));
    return code;
}

/* ---- Locks ------------------------------------------------------------------------------ */

struct lock_work {
    struct journal_work w; /* first */
    struct journal_server_lock lock;
    char *server, *by, *reason, *unlocked_by; /* what `lock` points to */
};

static void lock_free(struct journal_work *w)
{
    struct lock_work *l = (struct lock_work *)w;
    if (l == NULL)
        return;
    mem_free(l->server);
    mem_free(l->by);
    mem_free(l->reason);
    mem_free(l->unlocked_by);
    mem_free(l);
}

static enum error_code lock_apply(struct db *db, struct writer_work *work, struct error *err)
{
    struct lock_work *l = (struct lock_work *)work;
    struct db_stmt *s = NULL;
    l->w.why = (struct error){0};
    enum error_code code = db_use(db, JOURNAL_LOCK_PUT, &s, &l->w.why);
    if (code == ERR_OK) {
        bind_string(s, 1 + LOCK_COLUMN_SERVER, l->lock.server);
        db_bind_int(s, 1 + LOCK_COLUMN_LOCKED, l->lock.locked);
        bind_string(s, 1 + LOCK_COLUMN_BY, l->lock.by);
        bind_string(s, 1 + LOCK_COLUMN_REASON, l->lock.reason);
        db_bind_int(s, 1 + LOCK_COLUMN_TIME_MS, l->lock.time_ms);
        bind_string(s, 1 + LOCK_COLUMN_UNLOCKED_BY, l->lock.unlocked_by);
        db_bind_int(s, 1 + LOCK_COLUMN_UNLOCKED_MS, l->lock.unlocked_ms);
        db_bind_int(s, 1 + LOCK_COLUMN_SUM, sum_lock(&l->lock));
        code = db_run(s, &l->w.why);
    }
    if (code != ERR_OK && err != NULL)
        *err = l->w.why;
    return code;
}

/* NULL stays NULL. */
static bool copy_text(const char *text, char **ret_copy)
{
    *ret_copy = text == NULL ? NULL : mem_strdup(text);
    return text == NULL || *ret_copy != NULL;
}

enum error_code journal_put_lock(struct journal *j, const struct journal_server_lock *lock,
                                 void (*done)(void *ctx, enum error_code result,
                                              const struct error *err),
                                 void *ctx, struct error *err)
{
    struct lock_work *l = MEM_NEW(struct lock_work);
    if (l == NULL)
        return error_set(err, ERR_NO_MEMORY, NULL);
    l->w.work.apply = lock_apply;
    l->w.free = lock_free;
    if (!copy_text(lock->server, &l->server) || !copy_text(lock->by, &l->by) ||
        !copy_text(lock->reason, &l->reason) || !copy_text(lock->unlocked_by, &l->unlocked_by)) {
        lock_free(&l->w);
        return error_set(err, ERR_NO_MEMORY, NULL);
    }
    l->lock = *lock;
    l->lock.server = l->server;
    l->lock.by = l->by;
    l->lock.reason = l->reason;
    l->lock.unlocked_by = l->unlocked_by;
    work_submit(j, &l->w, done, ctx);
    return ERR_OK;
}

enum error_code lock_read(struct db_stmt *s, struct journal_server_lock *ret_lock,
                          struct error *err)
{
    struct journal_server_lock lock = {
        .server = db_column_text(s, LOCK_COLUMN_SERVER, NULL),
        .locked = db_column_int(s, LOCK_COLUMN_LOCKED) != 0,
        .by = db_column_text(s, LOCK_COLUMN_BY, NULL),
        .reason = db_column_text(s, LOCK_COLUMN_REASON, NULL),
        .time_ms = db_column_int(s, LOCK_COLUMN_TIME_MS),
        .unlocked_by = db_column_text(s, LOCK_COLUMN_UNLOCKED_BY, NULL),
        .unlocked_ms = db_column_int(s, LOCK_COLUMN_UNLOCKED_MS),
    };
    bool missing = lock.server == NULL || lock.reason == NULL;
    if (missing && !db_column_null(s, LOCK_COLUMN_SERVER) && !db_column_null(s, LOCK_COLUMN_REASON))
        return error_set(err, ERR_NO_MEMORY, NULL);
    if (missing || db_column_int(s, LOCK_COLUMN_SUM) != sum_lock(&lock))
        return error_set(err, ERR_CORRUPT, "journal: the lock of server %.128s is damaged",
                         lock.server == NULL ? "" : lock.server);
    *ret_lock = lock;
    return ERR_OK;
}

/* Gives the rows of a bound statement; resets it. */
static enum error_code locks_each(struct db_stmt *s,
                                  bool (*each)(void *ctx, const struct journal_server_lock *lock),
                                  void *ctx, size_t *ret_count, struct error *err)
{
    enum error_code code = ERR_OK;
    bool more = true;
    while (more && (code = db_step(s, &more, err)) == ERR_OK && more) {
        struct journal_server_lock lock;
        code = lock_read(s, &lock, err);
        if (code != ERR_OK)
            break;
        ++*ret_count;
        more = each(ctx, &lock);
    }
    db_reset(s);
    return code;
}

enum error_code journal_locks(struct journal *j,
                              bool (*each)(void *ctx, const struct journal_server_lock *lock),
                              void *ctx, struct error *err)
{
    struct db_stmt *s = NULL;
    size_t count = 0;
    enum error_code code = db_use(j->reader, JOURNAL_LOCKS, &s, err);
    if (code != ERR_OK)
        return code;
    db_bind_int(s, 1, 1);
    return locks_each(s, each, ctx, &count, err);
}

enum error_code journal_get_lock(struct journal *j, const char *server,
                                 bool (*each)(void *ctx, const struct journal_server_lock *lock),
                                 void *ctx, struct error *err)
{
    struct db_stmt *s = NULL;
    size_t count = 0;
    enum error_code code = db_use(j->reader, JOURNAL_LOCK_GET, &s, err);
    if (code != ERR_OK)
        return code;
    bind_string(s, 1, server);
    code = locks_each(s, each, ctx, &count, err);
    if (code == ERR_OK && count == 0)
        code = error_set(err, ERR_NOT_FOUND, "server \"%s\" was never locked", server);
    return code;
}
