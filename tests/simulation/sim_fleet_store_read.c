/* What is durable on an agent's disk: for the agent, and for checks. */
#include "simulation/sim_fleet.h"

#include "common/base/alloc.h"
#include "common/json/json.h"

#include <stdio.h>
#include <string.h>

enum { CAPTURE_BYTES = 100 };

/* ---- For checks ------------------------------------------------------------------------------ */

const struct sim_store_execution *sim_store_find(const struct sim_node *n, uint32_t rollout)
{
    for (uint32_t i = 0; i < n->store.count; i++)
        if (n->store.executions[i].rollout == rollout)
            return &n->store.executions[i];
    return NULL;
}

const struct sim_store_entry *sim_store_entry(const struct sim_store_execution *x, int64_t seq)
{
    for (size_t i = 0; i < x->entry_count; i++)
        if (x->entries[i].seq == seq)
            return &x->entries[i];
    return NULL;
}

const struct sim_store_entry *sim_store_last(const struct sim_node *n, uint32_t rollout,
                                             enum report_type type)
{
    const struct sim_store_execution *x = sim_store_find(n, rollout);
    for (size_t i = x == NULL ? 0 : x->entry_count; i-- > 0;)
        if (x->entries[i].type == (int)type)
            return &x->entries[i];
    return NULL;
}

int64_t sim_store_count(const struct sim_node *n, uint32_t rollout, enum report_type type)
{
    const struct sim_store_execution *x = sim_store_find(n, rollout);
    int64_t count = 0;
    for (size_t i = 0; x != NULL && i < x->entry_count; i++)
        count += x->entries[i].type == (int)type;
    return count;
}

bool sim_store_says(const struct sim_node *n, uint32_t rollout, enum report_type type, int64_t step)
{
    const struct sim_store_execution *x = sim_store_find(n, rollout);
    for (size_t i = 0; x != NULL && i < x->entry_count; i++)
        if (x->entries[i].type == (int)type && x->entries[i].step == step)
            return true;
    return false;
}

/* ---- For the agent
 * --------------------------------------------------------------------------------- */

static struct undo_status status_of(const struct sim_store_execution *x)
{
    return (struct undo_status){.last_seq = x->last_seq,
                                .acked_seq = x->acked_seq,
                                .settled = x->settled,
                                .restarts = x->restarts};
}

static enum error_code store_epoch(void *ctx, const char *server, const char *orchestrator,
                                   int64_t *ret_epoch, struct error *err)
{
    const struct sim_node *n = ctx;
    (void)server;
    (void)orchestrator;
    (void)err;
    *ret_epoch = n->store.epoch;
    return ERR_OK;
}

static enum error_code
store_open_executions(void *ctx, const char *server,
                      enum error_code (*each)(void *each_ctx, const char *rollout,
                                              const struct undo_status *status, struct error *err),
                      void *each_ctx, struct error *err)
{
    const struct sim_node *n = ctx;
    (void)server;
    for (uint32_t i = 0; i < n->store.count; i++) {
        const struct sim_store_execution *x = &n->store.executions[i];
        struct undo_status status = status_of(x);
        if (x->settled && x->acked_seq >= x->last_seq)
            continue;
        enum error_code code = each(each_ctx, n->sim->rollouts[x->rollout].id, &status, err);
        if (code != ERR_OK)
            return code;
    }
    return ERR_OK;
}

/* NULL, and why, when there is none. */
static const struct sim_store_execution *known(const struct sim_node *n, const char *rollout,
                                               struct error *err)
{
    const struct sim_store_execution *x = sim_store_find(n, sim_rollout_find(n->sim, rollout));
    if (x == NULL)
        error_ignore(error_set(err, ERR_NOT_FOUND, "no record of this rollout on this server"));
    return x;
}

static enum error_code store_find(void *ctx, const char *server, const char *rollout,
                                  int64_t time_ms, struct undo_status *ret_status,
                                  struct error *err)
{
    struct sim_node *n = ctx;
    const struct sim_store_execution *x = known(n, rollout, err);
    (void)server;
    if (x == NULL)
        return ERR_NOT_FOUND;
    if (sim_store_may_go(x, time_ms - UNDO_RETENTION_DEFAULT_MS)) {
        sim_hit(n->sim, PATH_EXPIRED_UNDO);
        n->traces[x->rollout].amnesia = n->traces[x->rollout].expired = true;
        return error_set(err, ERR_STALE, "the record of this rollout is past its retention");
    }
    *ret_status = status_of(x);
    return ERR_OK;
}

static enum error_code store_entries(void *ctx, const char *server, const char *rollout,
                                     const struct undo_portion *portion, struct array *ret_entries,
                                     struct error *err)
{
    const struct sim_store_execution *x = known(ctx, rollout, err);
    enum error_code code = ERR_OK;
    (void)server;
    *ret_entries = (struct array){0};
    if (x == NULL || x->entry_count == 0)
        return ERR_OK;
    struct wire_entry *entries = sim_checked(mem_array(x->entry_count, sizeof(*entries)));
    size_t bytes = 0;
    for (size_t i = 0; i < x->entry_count && code == ERR_OK; i++) {
        const struct sim_store_entry *stored = &x->entries[i];
        if (stored->seq <= portion->after_seq)
            continue;
        bytes += stored->len;
        if (ret_entries->count > 0 &&
            (bytes > portion->max_bytes || ret_entries->count == portion->max_count))
            break;
        code = json_read(stored->json, stored->len, WIRE_MAX_BYTES, &wire_entry_table,
                         &entries[ret_entries->count++], err);
    }
    ret_entries->items = entries;
    if (code != ERR_OK)
        undo_entries_done(ret_entries);
    return code;
}

static enum error_code store_load(void *ctx, const char *server, const char *rollout,
                                  struct undo_image *ret_image, struct error *err)
{
    static const struct undo_portion all = {.max_bytes = SIZE_MAX, .max_count = SIZE_MAX};
    const struct sim_store_execution *x = known(ctx, rollout, err);
    struct undo_image image = {0};
    if (x == NULL)
        return ERR_NOT_FOUND;
    enum error_code code = store_entries(ctx, server, rollout, &all, &image.entries, err);
    if (code != ERR_OK)
        return code;
    image.status = status_of(x);
    if (x->spec != NULL) {
        image.spec = sim_checked(mem_strndup(x->spec, x->spec_len));
        image.spec_len = x->spec_len;
    }
    int64_t *steps = sim_checked(mem_array(SIM_MAX_STEPS, sizeof(*steps)));
    image.captured.items = steps;
    for (size_t i = 0; i < SIM_MAX_STEPS; i++)
        if (x->captures[i] != NULL)
            steps[image.captured.count++] = (int64_t)i;
    *ret_image = image;
    return ERR_OK;
}

static enum error_code store_capture(void *ctx, const char *server, const char *rollout,
                                     uint32_t step, char **ret_undo, struct error *err)
{
    const struct sim_store_execution *x = known(ctx, rollout, err);
    (void)server;
    if (x == NULL)
        return ERR_NOT_FOUND;
    if (x->captures[step] == NULL)
        return error_set(err, ERR_NOT_FOUND, "nothing was captured for this step");
    *ret_undo = sim_checked(mem_strdup(x->captures[step]));
    return ERR_OK;
}

static enum error_code store_folder(void *ctx, const char *server, const char *rollout,
                                    uint32_t step, char ret_path[UNDO_FILES_PATH_MAX],
                                    struct error *err)
{
    (void)ctx;
    (void)err;
    (void)snprintf(ret_path, UNDO_FILES_PATH_MAX, "/undo/%s/%s/%u", server, rollout, step);
    return ERR_OK;
}

static struct undo_usage store_usage(void *ctx)
{
    const struct sim_node *n = ctx;
    int64_t captures = 0;
    for (uint32_t i = 0; i < n->store.count; i++)
        for (size_t k = 0; k < SIM_MAX_STEPS; k++)
            captures += n->store.executions[i].captures[k] != NULL;
    return (struct undo_usage){.used_bytes = captures * CAPTURE_BYTES,
                               .max_bytes = (int64_t)n->sim->profile.captures * CAPTURE_BYTES};
}

static bool store_stalled(void *ctx)
{
    const struct sim_node *n = ctx;
    return n->store.stalled;
}

void sim_store_seam_read(struct agent_store *ret_store)
{
    ret_store->epoch = store_epoch;
    ret_store->open_executions = store_open_executions;
    ret_store->find = store_find;
    ret_store->load = store_load;
    ret_store->entries = store_entries;
    ret_store->capture = store_capture;
    ret_store->folder = store_folder;
    ret_store->usage = store_usage;
    ret_store->stalled = store_stalled;
}
