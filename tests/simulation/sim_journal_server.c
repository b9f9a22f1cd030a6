/* What the simulated disk keeps of servers: which rollouts touched them, and people's locks. */
#include "simulation/sim_journal_internal.h"

#include "common/base/alloc.h"
#include "common/base/cleanup.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

/* ---- Touches --------------------------------------------------------------------------------- */

enum error_code journal_later_touch(struct journal *j, const char *rollout, const char *server,
                                    char ret_id[129], struct error *err)
{
    const struct sim *sim = j->sim;
    const struct sim_disk *disk = &sim->orchestrator.disk;
    const struct sim_disk_rollout *r = sim_disk_find(j, rollout);
    if (r == NULL)
        return error_set(err, ERR_NOT_FOUND, "no rollout \"%s\"", rollout);
    ret_id[0] = '\0';
    for (const struct sim_disk_rollout *later = disk->rollouts + disk->count - 1; later > r;
         later--) {
        uint32_t index = 0;
        const struct sim_rollout *other = &sim->rollouts[later->number];
        if (plan_server_find(other->plan, server, &index) &&
            later->touches[index] == TOUCH_STANDS) {
            (void)snprintf(ret_id, 129, "%s", other->id);
            return ERR_OK;
        }
    }
    return ERR_OK;
}

/* ---- Locks ----------------------------------------------------------------------------------- */

static char *copy(const char *text)
{
    return text == NULL ? NULL : sim_checked(mem_strdup(text));
}

void sim_lock_done(struct sim_lock *lock)
{
    mem_free(lock->by);
    mem_free(lock->reason);
    mem_free(lock->unlocked_by);
    *lock = (struct sim_lock){0};
}

void sim_journal_lock_free(struct journal_append *a)
{
    sim_lock_done(&a->locked);
}

void sim_journal_lock_apply(struct journal *j, const struct journal_append *a)
{
    struct sim *sim = j->sim;
    struct sim_lock *lock = &sim->orchestrator.disk.locks[a->node];
    sim_trace(sim, "durable: %s is %s", sim->nodes[a->node].id,
              a->locked.locked ? "locked" : "unlocked");
    if (lock->locked == a->locked.locked)
        sim_fail(sim, "%s: the lock is written as it is", sim->nodes[a->node].id);
    sim_lock_done(lock);
    *lock = (struct sim_lock){.locked = a->locked.locked,
                              .time_ms = a->locked.time_ms,
                              .by = copy(a->locked.by),
                              .reason = copy(a->locked.reason),
                              .unlocked_by = copy(a->locked.unlocked_by)};
    sim_check_command(sim, lock->locked ? lock->reason : lock->unlocked_by);
}

enum error_code journal_put_lock(struct journal *j, const struct journal_server_lock *lock,
                                 void (*done)(void *ctx, enum error_code result,
                                              const struct error *err),
                                 void *ctx, struct error *err)
{
    struct journal_append *a = sim_checked(MEM_NEW(struct journal_append));
    (void)err;
    a->lock = true;
    a->node = sim_node_find(j->sim, lock->server);
    assert(a->node < j->sim->node_count);
    a->locked = (struct sim_lock){.locked = lock->locked,
                                  .time_ms = lock->time_ms,
                                  .by = copy(lock->by),
                                  .reason = copy(lock->reason),
                                  .unlocked_by = copy(lock->unlocked_by)};
    a->done = done;
    a->ctx = ctx;
    sim_journal_submit(j, a);
    return ERR_OK;
}

enum error_code journal_locks(struct journal *j,
                              bool (*each)(void *ctx, const struct journal_server_lock *lock),
                              void *ctx, struct error *err)
{
    const struct sim *sim = j->sim;
    (void)err;
    for (uint32_t i = 0; i < sim->node_count; i++) {
        const struct sim_lock *lock = &sim->orchestrator.disk.locks[i];
        const struct journal_server_lock row = {.server = sim->nodes[i].id,
                                                .locked = true,
                                                .by = lock->by,
                                                .reason = lock->reason,
                                                .time_ms = lock->time_ms};
        if (lock->locked && !each(ctx, &row))
            break;
    }
    return ERR_OK;
}
