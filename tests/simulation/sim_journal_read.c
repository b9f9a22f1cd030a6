/* What is durable of rollouts on the simulated disk, as the dispatcher reads it. */
#include "simulation/sim_journal_internal.h"

#include "common/base/cleanup.h"
#include "common/plan/plan_json.h"
#include "orchestrator/journal/event_json.h"

DEFINE_CLEANUP(event_hold_free, struct event_doc)

static struct journal_rollout record_of(const struct journal *j, const struct sim_disk_rollout *r)
{
    struct journal_rollout record = {
        .id = j->sim->rollouts[r->number].id,
        .by = r->by,
        .retry_of = r->retry_of,
        .summary = r->summary,
        .last_seq = r->event_count,
    };
    return record;
}

enum error_code journal_scan_open(struct journal *j,
                                  bool (*each)(void *ctx, const struct journal_rollout *r),
                                  void *ctx, struct error *err)
{
    const struct sim_disk *disk = &j->sim->orchestrator.disk;
    (void)err;
    for (uint32_t i = 0; i < disk->count; i++) {
        struct journal_rollout record = record_of(j, &disk->rollouts[i]);
        bool final = rollout_state_final(record.summary.state);
        bool owed = record.summary.state == ROLLOUT_ROLLBACK_FAILED || record.summary.undo_owed;
        if (final && !owed)
            continue;
        if (!each(ctx, &record))
            break;
    }
    return ERR_OK;
}

enum error_code journal_get(struct journal *j, const char *id,
                            bool (*each)(void *ctx, const struct journal_rollout *r), void *ctx,
                            struct error *err)
{
    const struct sim_disk_rollout *r = sim_disk_find(j, id);
    if (r == NULL)
        return error_set(err, ERR_NOT_FOUND, "no rollout \"%s\"", id);
    struct journal_rollout record = record_of(j, r);
    (void)each(ctx, &record);
    return ERR_OK;
}

static enum error_code replay_event(struct engine *engine, const struct plan *plan,
                                    const struct sim_disk_event *stored, struct error *err)
{
    struct event event;
    struct decision decision;
    AUTO(event_hold_free) struct event_doc *hold = NULL;
    enum error_code code = event_read(stored->json, stored->len, plan, &event, &hold, err);
    if (code == ERR_OK)
        code = engine_apply(engine, &event, err);
    while (code == ERR_OK && engine_next(engine, &decision))
        continue;
    return code;
}

enum error_code journal_load(struct journal *j, const char *id, struct plan **ret_plan,
                             struct engine **ret_engine, uint64_t *ret_last_seq, struct error *err)
{
    const struct sim_disk_rollout *r = sim_disk_find(j, id);
    AUTO(plan_free) struct plan *plan = NULL;
    AUTO(engine_free) struct engine *engine = NULL;
    if (r == NULL)
        return error_set(err, ERR_NOT_FOUND, "no rollout \"%s\"", id);
    enum error_code code = plan_read(r->plan_text, r->plan_len, &plan, err);
    if (code == ERR_OK)
        code = engine_new(plan, &engine, err);
    for (size_t i = 0; i < r->event_count && code == ERR_OK; i++) {
        code = replay_event(engine, plan, &r->events[i], err);
        if (code != ERR_OK)
            sim_fail(j->sim, "%s cannot be replayed: event %zu, %s: %s", id, i + 1,
                     r->events[i].json, err->message);
    }
    if (code != ERR_OK)
        return code;
    *ret_last_seq = r->event_count;
    *ret_engine = TAKE(engine);
    *ret_plan = TAKE(plan);
    return ERR_OK;
}
