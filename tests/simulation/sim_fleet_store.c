/* An agent's disk, by the rules of agent/undo_journal.h: what was handed in becomes durable in
 * order, in groups, after a while; reading shows what is durable; a crash loses the rest. */
#include "simulation/sim_fleet.h"

#include "common/base/alloc.h"
#include "common/base/cleanup.h"
#include "common/json/json.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

enum { WAKE_MAX_MS = 2, STALL_RETRY_MS = 500 };

enum op_kind { OP_APPEND, OP_ACK, OP_EPOCH, OP_EXPIRE };

struct sim_store_op {
    struct sim_store_op *next;
    enum op_kind kind;
    uint32_t rollout;
    int64_t number; /* acknowledged entry, epoch, or the time before which all may go */
    char *spec;
    size_t spec_len;
    struct sim_store_entry *entries;
    size_t entry_count;
    char *captures[SIM_MAX_STEPS];
    bool settled, replaces;
    int64_t restarts, time_ms;
    void (*done)(void *ctx, enum error_code result);
    void *ctx;
};

static void op_free(struct sim_store_op *op)
{
    for (size_t i = 0; i < op->entry_count; i++)
        mem_free(op->entries[i].json);
    for (size_t i = 0; i < SIM_MAX_STEPS; i++)
        mem_free(op->captures[i]);
    mem_free(op->entries);
    mem_free(op->spec);
    mem_free(op);
}

/* ---- Handing in ------------------------------------------------------------------------------ */

static void group_begin(struct sim_node *n, size_t works)
{
    struct sim *sim = n->sim;
    n->store.writing = works;
    if (works > 0)
        sim_after(sim, rng_between(&sim->rng, 1, sim->profile.commit_ms), EV_STORE_COMMIT, n->index,
                  n->life);
}

void sim_store_begin(struct sim *sim, uint32_t who, uint64_t token)
{
    struct sim_node *n = &sim->nodes[who];
    if (n->running && token == n->life && n->store.writing == 0)
        group_begin(n, n->store.pending);
}

/* The writer may be quick and take the first alone, or find all that comes with it. */
static void submit(struct sim_node *n, struct sim_store_op *op)
{
    struct sim_store *s = &n->store;
    if (n->appends_to_live > 0 && --n->appends_to_live == 0)
        n->dying = true;
    if (s->last != NULL)
        s->last->next = op;
    else
        s->first = op;
    s->last = op;
    s->pending++;
    if (n->dying || s->writing > 0)
        return;
    if (rng_chance(&n->sim->rng, 50))
        group_begin(n, s->pending);
    else
        sim_after(n->sim, 0, EV_STORE_BEGIN, n->index, n->life);
}

static struct sim_store_op *op_new(struct sim_node *n, enum op_kind kind, const char *rollout)
{
    struct sim_store_op *op = sim_checked(MEM_NEW(struct sim_store_op));
    op->kind = kind;
    op->rollout = rollout == NULL ? SIM_MAX_ROLLOUTS : sim_rollout_find(n->sim, rollout);
    if (rollout != NULL && op->rollout == SIM_MAX_ROLLOUTS)
        sim_fail(n->sim, "%s records a rollout that there is not: %s", n->id, rollout);
    return op;
}

static void op_take_entries(struct sim_store_op *op, const struct undo_append *append)
{
    op->entries = sim_checked(mem_array(append->entry_count, sizeof(*op->entries)));
    op->entry_count = append->entry_count;
    for (size_t i = 0; i < append->entry_count; i++) {
        const struct wire_entry *entry = &append->entries[i];
        AUTO_BUF struct buf text = BUF_INIT;
        json_encode(&text, &wire_entry_table, entry);
        op->entries[i] = (struct sim_store_entry){.seq = entry->seq,
                                                  .type = entry->type,
                                                  .state = entry->state,
                                                  .changed = entry->changed,
                                                  .step = entry->step};
        op->entries[i].json = sim_checked(buf_take(&text, &op->entries[i].len));
    }
}

static enum error_code store_append(void *ctx, const struct undo_append *append, struct error *err)
{
    struct sim_node *n = ctx;
    struct sim_store_op *op = op_new(n, OP_APPEND, append->rollout);
    (void)err;
    sim_check_append(n, op->rollout, append);
    if (append->spec != NULL) {
        op->spec = sim_checked(mem_strndup(append->spec, append->spec_len));
        op->spec_len = append->spec_len;
    }
    op_take_entries(op, append);
    for (size_t i = 0; i < append->capture_count; i++)
        op->captures[append->captures[i].step] = sim_checked(mem_strdup(append->captures[i].undo));
    op->settled = append->settled;
    op->replaces = append->replaces;
    op->restarts = append->restarts;
    op->time_ms = append->time_ms;
    op->done = append->done;
    op->ctx = append->ctx;
    submit(n, op);
    return ERR_OK;
}

static enum error_code store_ack(void *ctx, const char *server, const char *rollout, int64_t seq,
                                 struct error *err)
{
    struct sim_node *n = ctx;
    struct sim_store_op *op = op_new(n, OP_ACK, rollout);
    (void)server;
    (void)err;
    op->number = seq;
    submit(n, op);
    return ERR_OK;
}

static enum error_code store_save_epoch(void *ctx, const char *server, const char *orchestrator,
                                        int64_t epoch, struct error *err)
{
    struct sim_node *n = ctx;
    struct sim_store_op *op = op_new(n, OP_EPOCH, NULL);
    (void)server;
    (void)orchestrator;
    (void)err;
    op->number = epoch;
    submit(n, op);
    return ERR_OK;
}

/* ---- Becoming durable ------------------------------------------------------------------------ */

static struct sim_store_execution *find(struct sim_store *s, uint32_t rollout)
{
    for (uint32_t i = 0; i < s->count; i++)
        if (s->executions[i].rollout == rollout)
            return &s->executions[i];
    return NULL;
}

static void execution_done(struct sim_store_execution *x)
{
    for (size_t i = 0; i < x->entry_count; i++)
        mem_free(x->entries[i].json);
    for (size_t i = 0; i < SIM_MAX_STEPS; i++)
        mem_free(x->captures[i]);
    mem_free(x->entries);
    mem_free(x->spec);
}

/* What is past its time goes, and nothing can be asked of it any more. */
static void forget(struct sim_node *n, struct sim_store_execution *x)
{
    struct sim_store *s = &n->store;
    struct sim_trace *t = &n->traces[x->rollout];
    sim_trace(n->sim, "%s: the record of %s is past its time", n->id,
              n->sim->rollouts[x->rollout].id);
    sim_hit(n->sim, PATH_EXPIRED);
    if (!x->settled || x->acked_seq < x->last_seq)
        sim_fail(n->sim, "%s forgets %s, which is not over", n->id,
                 n->sim->rollouts[x->rollout].id);
    t->amnesia = t->expired = true;
    execution_done(x);
    *x = s->executions[--s->count];
}

bool sim_store_may_go(const struct sim_store_execution *x, int64_t before_ms)
{
    return x->settled && x->acked_seq >= x->last_seq && x->time_ms < before_ms;
}

static void apply_expire(struct sim_node *n, const struct sim_store_op *op)
{
    for (uint32_t i = n->store.count; i-- > 0;)
        if (sim_store_may_go(&n->store.executions[i], op->number))
            forget(n, &n->store.executions[i]);
}

static void apply_append(struct sim_node *n, struct sim_store_op *op)
{
    struct sim_store *s = &n->store;
    struct sim_store_execution *x = find(s, op->rollout);
    if (x != NULL && op->replaces) {
        forget(n, x);
        x = NULL;
    }
    if (x == NULL) {
        assert(s->count < SIM_MAX_ROLLOUTS);
        x = &s->executions[s->count++];
        *x = (struct sim_store_execution){.rollout = op->rollout};
    }
    if (x->spec == NULL) {
        x->spec = TAKE(op->spec);
        x->spec_len = op->spec_len;
    }
    for (size_t i = 0; i < op->entry_count; i++) {
        if (sim_store_entry(x, op->entries[i].seq) != NULL)
            continue;
        if (x->entry_count == x->entry_capacity) {
            x->entry_capacity = x->entry_capacity == 0 ? 16 : x->entry_capacity * 2;
            x->entries =
                sim_checked(mem_realloc(x->entries, x->entry_capacity * sizeof(*x->entries)));
        }
        x->entries[x->entry_count++] = op->entries[i];
        op->entries[i].json = NULL;
        if (op->entries[i].seq > x->last_seq)
            x->last_seq = op->entries[i].seq;
    }
    for (size_t i = 0; i < SIM_MAX_STEPS; i++)
        if (x->captures[i] == NULL)
            x->captures[i] = TAKE(op->captures[i]);
    x->settled = op->settled;
    x->restarts = op->restarts;
    x->time_ms = op->time_ms;
}

static void op_apply(struct sim_node *n, struct sim_store_op *op)
{
    struct sim_store *s = &n->store;
    struct sim_store_execution *x = find(s, op->rollout);
    switch (op->kind) {
    case OP_APPEND:
        apply_append(n, op);
        return;
    case OP_ACK:
        if (x != NULL && op->number > x->acked_seq)
            x->acked_seq = op->number;
        return;
    case OP_EPOCH:
        if (op->number > s->epoch)
            s->epoch = op->number;
        return;
    case OP_EXPIRE:
        apply_expire(n, op);
        return;
    }
}

static void group_apply(struct sim_node *n)
{
    struct sim_store *s = &n->store;
    for (; s->writing > 0; s->writing--) {
        struct sim_store_op *op = s->first;
        assert(op != NULL);
        s->first = op->next;
        if (s->first == NULL)
            s->last = NULL;
        s->pending--;
        op->next = NULL;
        op_apply(n, op);
        if (s->written_last != NULL)
            s->written_last->next = op;
        else
            s->written = op;
        s->written_last = op;
    }
}

void sim_store_commit(struct sim *sim, uint32_t who, uint64_t token)
{
    struct sim_node *n = &sim->nodes[who];
    struct sim_store *s = &n->store;
    if (!n->running || token != n->life)
        return;
    if (s->broken) {
        sim_hit(sim, PATH_AGENT_FSYNC);
        if (rng_chance(&sim->rng, 50))
            group_apply(n);
        n->dying = true;
        return;
    }
    if (s->full) {
        sim_hit(sim, PATH_AGENT_STALL);
        s->stalled = true;
        sim_after(sim, STALL_RETRY_MS, EV_STORE_COMMIT, who, token);
        return;
    }
    s->stalled = false;
    group_apply(n);
    sim_after(sim, rng_below(&sim->rng, WAKE_MAX_MS + 1), EV_STORE_COLLECT, who, token);
    group_begin(n, s->pending);
}

static struct sim_store_op *take(struct sim_store_op **first)
{
    struct sim_store_op *op = *first;
    *first = op->next;
    return op;
}

/* A process that dies is not told that it may go on. */
static void settle(struct sim_store_op *op, enum error_code result)
{
    if (op->done != NULL && (result == ERR_OK || op->kind != OP_EXPIRE))
        op->done(op->ctx, result);
    op_free(op);
}

void sim_store_collect(struct sim_node *n)
{
    struct sim_store_op *works = TAKE(n->store.written);
    n->store.written_last = NULL;
    while (works != NULL)
        settle(take(&works), ERR_OK);
}

void sim_store_kill(struct sim_node *n)
{
    struct sim_store *s = &n->store;
    struct sim *sim = n->sim;
    if (s->writing > 0 && sim->watching) {
        bool kept = !s->full && rng_chance(&sim->rng, 50);
        sim_hit(sim, kept ? PATH_AGENT_MID_COMMIT_KEPT : PATH_AGENT_MID_COMMIT);
        if (kept)
            group_apply(n);
    }
    if (s->written != NULL)
        sim_hit(sim, PATH_AGENT_UNTOLD);
    s->writing = s->pending = 0;
    while (s->written != NULL)
        settle(take(&s->written), ERR_IO);
    while (s->first != NULL)
        settle(take(&s->first), ERR_IO);
    s->last = s->written_last = NULL;
    s->broken = s->stalled = false;
}

bool sim_store_idle(const struct sim_node *n)
{
    return n->store.first == NULL && n->store.written == NULL;
}

void sim_store_wipe(struct sim_node *n)
{
    struct sim_store *s = &n->store;
    for (uint32_t i = 0; i < s->count; i++)
        execution_done(&s->executions[i]);
    *s = (struct sim_store){.instances = s->instances + 1};
    (void)snprintf(s->instance, sizeof(s->instance), "i%u-%u", n->index, s->instances);
}

/* ---- The seam -------------------------------------------------------------------------------- */

static enum error_code store_expire(void *ctx, int64_t time_ms,
                                    void (*done)(void *done_ctx, enum error_code result),
                                    void *done_ctx, struct error *err)
{
    struct sim_node *n = ctx;
    struct sim_store_op *op = op_new(n, OP_EXPIRE, NULL);
    (void)err;
    op->number = time_ms - UNDO_RETENTION_DEFAULT_MS;
    op->done = done;
    op->ctx = done_ctx;
    submit(n, op);
    return ERR_OK;
}

void sim_store_expire(struct sim_node *n)
{
    struct error err = {0};
    error_ignore(store_expire(n, sim_wall_ms(n->sim), NULL, NULL, &err));
}

void sim_store_seam(struct sim_node *n, struct agent_store *ret_store)
{
    *ret_store = (struct agent_store){.ctx = n,
                                      .append = store_append,
                                      .ack = store_ack,
                                      .save_epoch = store_save_epoch,
                                      .expire = store_expire};
    sim_store_seam_read(ret_store);
}
