/* What the stand-in for the journal keeps of servers: locks, and which rollouts touched them. */
#include "tests/fuzz/stand_in_journal_internal.h"

#include "common/base/alloc.h"

#include <assert.h>
#include <string.h>

static enum error_code no_memory(struct error *err)
{
    return error_set(err, ERR_NO_MEMORY, NULL);
}

/* ---- Touches --------------------------------------------------------------------------------- */

static struct stored_touch *touch_find(const struct journal_append *a, uint32_t server)
{
    for (struct stored_touch *t = a->touches; t != NULL; t = t->next)
        if (t->server == server)
            return t;
    return NULL;
}

enum error_code journal_append_touch(struct journal_append *a, const struct plan *plan,
                                     uint32_t server, bool undone, struct error *err)
{
    struct stored_touch *t = touch_find(a, server);
    if (t == NULL) {
        const char *name = plan_server(plan, server);
        size_t size = strlen(name) + 1;
        t = mem_alloc(sizeof(*t) + size);
        if (t == NULL)
            return no_memory(err);
        *t = (struct stored_touch){.next = a->touches, .server = server};
        memcpy(t->name, name, size);
        a->touches = t;
    }
    t->undone = undone;
    return ERR_OK;
}

void stand_touches_free(struct stored_touch *list)
{
    while (list != NULL) {
        struct stored_touch *next = list->next;
        mem_free(list);
        list = next;
    }
}

void stand_touches_apply(struct journal_append *rollout, struct journal_append *a)
{
    while (a->touches != NULL) {
        struct stored_touch *t = a->touches, *known = touch_find(rollout, t->server);
        a->touches = t->next;
        if (known == NULL) {
            t->next = rollout->touches;
            rollout->touches = t;
            continue;
        }
        known->undone = t->undone;
        mem_free(t);
    }
}

static const struct stored_touch *touch_of(const struct journal_append *r, const char *server)
{
    for (const struct stored_touch *t = r->touches; t != NULL; t = t->next)
        if (strcmp(t->name, server) == 0)
            return t;
    return NULL;
}

enum error_code journal_touches(struct journal *j, const char *server, uint32_t limit,
                                bool (*each)(void *ctx, const struct journal_touch *touch),
                                void *ctx, struct error *err)
{
    const struct journal_append *before = NULL;
    (void)err;
    while (limit > 0) {
        const struct journal_append *last = NULL;
        for (const struct journal_append *r = j->rollouts; r != before; r = r->next)
            if (touch_of(r, server) != NULL)
                last = r;
        if (last == NULL)
            break;
        const struct journal_touch touch = {.rollout = last->id,
                                            .created_ms = last->summary.created_ms,
                                            .undone = touch_of(last, server)->undone};
        if (!each(ctx, &touch))
            break;
        before = last;
        limit--;
    }
    return ERR_OK;
}

enum error_code journal_later_touch(struct journal *j, const char *rollout, const char *server,
                                    char ret_id[129], struct error *err)
{
    const struct journal_append *r = stand_find(j, rollout), *later = NULL;
    if (r == NULL)
        return error_set(err, ERR_NOT_FOUND, "no rollout %s", rollout);
    for (r = r->next; r != NULL; r = r->next)
        if (touch_of(r, server) != NULL && !touch_of(r, server)->undone)
            later = r;
    memcpy(ret_id, later == NULL ? "" : later->id, later == NULL ? 1 : strlen(later->id) + 1);
    return ERR_OK;
}

/* ---- Locks ----------------------------------------------------------------------------------- */

void stand_lock_free(struct stored_lock *lock)
{
    if (lock == NULL)
        return;
    mem_free(lock->server);
    mem_free(lock->by);
    mem_free(lock->reason);
    mem_free(lock->unlocked_by);
    mem_free(lock);
}

/* NULL stays NULL. */
static bool copy_text(const char *text, char **ret_copy)
{
    *ret_copy = text == NULL ? NULL : mem_strdup(text);
    return text == NULL || *ret_copy != NULL;
}

static bool lock_copy(struct stored_lock *l, const struct journal_server_lock *row)
{
    if (!copy_text(row->server, &l->server) || !copy_text(row->by, &l->by) ||
        !copy_text(row->reason, &l->reason) || !copy_text(row->unlocked_by, &l->unlocked_by))
        return false;
    l->row = *row;
    l->row.server = l->server;
    l->row.by = l->by;
    l->row.reason = l->reason;
    l->row.unlocked_by = l->unlocked_by;
    return true;
}

enum error_code journal_put_lock(struct journal *j, const struct journal_server_lock *lock,
                                 void (*done)(void *ctx, enum error_code result,
                                              const struct error *err),
                                 void *ctx, struct error *err)
{
    struct journal_append *a = MEM_NEW(struct journal_append);
    if (a == NULL)
        return no_memory(err);
    a->lock = MEM_NEW(struct stored_lock);
    if (a->lock == NULL || !lock_copy(a->lock, lock)) {
        journal_append_free(a);
        return no_memory(err);
    }
    assert(lock->reason != NULL);
    a->done = done;
    a->ctx = ctx;
    stand_wait(j, a);
    return ERR_OK;
}

void stand_lock_apply(struct journal *j, struct journal_append *a)
{
    struct stored_lock **at = &j->locks, *lock = a->lock;
    a->lock = NULL;
    while (*at != NULL && strcmp((*at)->server, lock->server) < 0)
        at = &(*at)->next;
    struct stored_lock *known = *at;
    if (known != NULL && strcmp(known->server, lock->server) == 0) {
        *at = known->next;
        stand_lock_free(known);
    }
    lock->next = *at;
    *at = lock;
}

enum error_code journal_locks(struct journal *j,
                              bool (*each)(void *ctx, const struct journal_server_lock *lock),
                              void *ctx, struct error *err)
{
    (void)err;
    for (const struct stored_lock *l = j->locks; l != NULL; l = l->next)
        if (l->row.locked && !each(ctx, &l->row))
            break;
    return ERR_OK;
}

enum error_code journal_get_lock(struct journal *j, const char *server,
                                 bool (*each)(void *ctx, const struct journal_server_lock *lock),
                                 void *ctx, struct error *err)
{
    for (const struct stored_lock *l = j->locks; l != NULL; l = l->next) {
        if (strcmp(l->server, server) != 0)
            continue;
        (void)each(ctx, &l->row);
        return ERR_OK;
    }
    return error_set(err, ERR_NOT_FOUND, "server \"%s\" was never locked", server);
}
