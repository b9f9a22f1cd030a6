/* sim_journal: orchestrator/journal/journal.h on a simulated disk. Appends become durable in order,
 * in groups, after a while; a crash loses those that are not, or that were being written and did
 * not make it. Events are kept as the text that the real journal keeps, and replayed from it. */
#include "simulation/sim_journal_internal.h"

#include "common/base/alloc.h"
#include "common/base/cleanup.h"
#include "orchestrator/journal/event_json.h"

#include <assert.h>
#include <string.h>

enum { WAKE_MAX_MS = 3, STALL_RETRY_MS = 500 };

static const char identity[] = "sim-journal";

/* ---- Life ------------------------------------------------------------------------------------ */

struct journal *sim_journal_open(struct sim *sim)
{
    struct journal *j = sim_checked(MEM_NEW(struct journal));
    j->sim = sim;
    j->epoch = ++sim->orchestrator.disk.epoch;
    sim->orchestrator.disk.broken = false;
    return j;
}

const char *journal_identity(const struct journal *j)
{
    (void)j;
    return identity;
}

int64_t journal_epoch(const struct journal *j)
{
    return j->epoch;
}

bool sim_journal_idle(const struct journal *j)
{
    return j->settled == j->appended;
}

void sim_disk_done(struct sim_disk *disk)
{
    for (uint32_t i = 0; i < disk->count; i++) {
        struct sim_disk_rollout *r = &disk->rollouts[i];
        for (size_t k = 0; k < r->event_count; k++)
            mem_free(r->events[k].json);
        mem_free(r->events);
        mem_free(r->by);
        mem_free(r->retry_of);
        mem_free(r->plan_text);
    }
    for (uint32_t i = 0; i < SIM_MAX_SERVERS; i++)
        sim_lock_done(&disk->locks[i]);
    *disk = (struct sim_disk){0};
}

/* ---- Filling --------------------------------------------------------------------------------- */

enum error_code journal_append_new(const char *rollout, uint64_t expected_seq,
                                   struct journal_append **ret_append, struct error *err)
{
    (void)err;
    struct journal_append *a = sim_checked(MEM_NEW(struct journal_append));
    memcpy(a->rollout, rollout, strlen(rollout) + 1);
    a->expected_seq = expected_seq;
    *ret_append = a;
    return ERR_OK;
}

void journal_append_free(struct journal_append *a)
{
    if (a == NULL)
        return;
    for (size_t i = 0; i < a->event_count; i++) {
        mem_free((void *)(uintptr_t)a->events[i].event.message);
        mem_free(a->events[i].json);
    }
    mem_free(a->events);
    mem_free(a->by);
    mem_free(a->retry_of);
    mem_free(a->plan_text);
    sim_journal_lock_free(a);
    mem_free(a);
}

enum error_code journal_append_create(struct journal_append *a, const struct plan *plan,
                                      const char *plan_json, size_t plan_len, const char *by,
                                      struct error *err)
{
    (void)plan;
    (void)err;
    assert(a->expected_seq == 1 && !a->create);
    a->create = true;
    a->by = by == NULL ? NULL : sim_checked(mem_strdup(by));
    a->plan_text = sim_checked(mem_strndup(plan_json, plan_len));
    a->plan_len = plan_len;
    return ERR_OK;
}

uint64_t journal_append_last_seq(const struct journal_append *a)
{
    return a->expected_seq - 1 + a->event_count;
}

static void *grown(void *items, size_t count, size_t *capacity, size_t size)
{
    if (count < *capacity)
        return items;
    *capacity = *capacity == 0 ? 8 : *capacity * 2;
    return sim_checked(mem_realloc(items, *capacity * size));
}

enum error_code journal_append_event(struct journal_append *a, const struct plan *plan,
                                     const struct event *event, struct error *err)
{
    AUTO_BUF struct buf text = BUF_INIT;
    struct event numbered = *event;
    numbered.seq = journal_append_last_seq(a) + 1;
    event_write(&text, plan, &numbered);
    enum error_code code = buf_check(&text, err);
    if (code != ERR_OK)
        return code;
    a->events = grown(a->events, a->event_count, &a->event_capacity, sizeof(*a->events));
    struct append_event *copy = &a->events[a->event_count++];
    *copy = (struct append_event){.event = numbered};
    copy->event.message = event->message == NULL ? NULL : sim_checked(mem_strdup(event->message));
    copy->event.by = NULL;
    copy->json = sim_checked(buf_take(&text, &copy->len));
    return ERR_OK;
}

enum error_code journal_append_output(struct journal_append *a, const struct journal_output *output,
                                      struct error *err)
{
    (void)a;
    (void)output;
    (void)err;
    return ERR_OK;
}

enum error_code journal_append_retry_of(struct journal_append *a, const char *rollout,
                                        struct error *err)
{
    (void)err;
    assert(a->create);
    a->retry_of = sim_checked(mem_strdup(rollout));
    return ERR_OK;
}

enum error_code journal_append_touch(struct journal_append *a, const struct plan *plan,
                                     uint32_t server, bool undone, struct error *err)
{
    (void)err;
    assert(server < plan_server_count(plan) && server < SIM_MAX_SERVERS);
    a->touches[server] = undone ? TOUCH_UNDONE : TOUCH_STANDS;
    return ERR_OK;
}

void journal_append_summary(struct journal_append *a, const struct journal_summary *summary)
{
    a->summary = *summary;
}

/* ---- Writing --------------------------------------------------------------------------------- */

static void commit_begin(struct journal *j, size_t works)
{
    struct sim *sim = j->sim;
    j->writing = works;
    if (works > 0)
        sim_after(sim, rng_between(&sim->rng, 1, sim->profile.commit_ms), EV_COMMIT, 0,
                  (uint64_t)j->epoch);
}

void journal_append(struct journal *j, struct journal_append *a,
                    void (*done)(void *ctx, enum error_code result, const struct error *err),
                    void *ctx)
{
    a->done = done;
    a->ctx = ctx;
    sim_journal_submit(j, a);
}

void sim_journal_submit(struct journal *j, struct journal_append *a)
{
    j->appended++;
    if (j->last != NULL)
        j->last->next = a;
    else
        j->first = a;
    j->last = a;
    j->pending++;
    if (j->writing == 0)
        commit_begin(j, j->pending);
}

struct sim_disk_rollout *sim_disk_find(const struct journal *j, const char *id)
{
    struct sim_disk *disk = &j->sim->orchestrator.disk;
    for (uint32_t i = 0; i < disk->count; i++)
        if (strcmp(j->sim->rollouts[disk->rollouts[i].number].id, id) == 0)
            return &disk->rollouts[i];
    return NULL;
}

static struct sim_disk_rollout *disk_create(struct journal *j, struct journal_append *a)
{
    struct sim_disk *disk = &j->sim->orchestrator.disk;
    uint32_t number = sim_rollout_find(j->sim, a->rollout);
    assert(number < SIM_MAX_ROLLOUTS && disk->count < SIM_MAX_ROLLOUTS);
    struct sim_disk_rollout *r = &disk->rollouts[disk->count++];
    *r = (struct sim_disk_rollout){.number = number, .plan_len = a->plan_len};
    r->by = TAKE(a->by);
    r->retry_of = TAKE(a->retry_of);
    r->plan_text = TAKE(a->plan_text);
    if (r->retry_of != NULL)
        sim_check_retry(j->sim, number, r->retry_of, r->plan_text);
    return r;
}

/* What the real one does in a transaction. Dispatch never gives it cause to refuse. */
static void append_apply(struct journal *j, struct journal_append *a)
{
    struct sim_disk_rollout *r = sim_disk_find(j, a->rollout);
    if (a->create ? r != NULL : r == NULL) {
        sim_fail(j->sim, "an append to %s, which %s", a->rollout,
                 r == NULL ? "does not exist" : "exists already");
        return;
    }
    if (r == NULL)
        r = disk_create(j, a);
    if (r->event_count + 1 != a->expected_seq) {
        sim_fail(j->sim, "%s: the next event is number %zu, not %llu", a->rollout,
                 r->event_count + 1, (unsigned long long)a->expected_seq);
        return;
    }
    for (size_t i = 0; i < a->event_count; i++) {
        struct append_event *event = &a->events[i];
        r->events = grown(r->events, r->event_count, &r->event_capacity, sizeof(*r->events));
        r->events[r->event_count++] =
            (struct sim_disk_event){event->event.type, TAKE(event->json), event->len};
        sim_check_event(j->sim, r->number, &event->event);
    }
    r->summary = a->summary;
    for (uint32_t i = 0; i < SIM_MAX_SERVERS; i++)
        if (a->touches[i] != TOUCH_NONE)
            r->touches[i] = a->touches[i];
    sim_check_touches(j->sim, r);
    sim_check_summary(j->sim, r->number, &a->summary);
}

/* The group that is being written becomes durable as a whole. */
static void group_apply(struct journal *j)
{
    for (; j->writing > 0; j->writing--) {
        struct journal_append *a = j->first;
        assert(a != NULL);
        j->first = a->next;
        if (j->first == NULL)
            j->last = NULL;
        j->pending--;
        a->next = NULL;
        if (a->lock)
            sim_journal_lock_apply(j, a);
        else
            append_apply(j, a);
        if (j->written_last != NULL)
            j->written_last->next = a;
        else
            j->written = a;
        j->written_last = a;
    }
}

void sim_journal_commit(struct sim *sim, uint32_t who, uint64_t token)
{
    struct journal *j = sim->orchestrator.journal;
    (void)who;
    if (j == NULL || token != (uint64_t)j->epoch)
        return;
    if (sim->orchestrator.disk.broken) {
        sim_hit(sim, PATH_ORCHESTRATOR_FSYNC);
        if (rng_chance(&sim->rng, 50))
            group_apply(j); /* it did reach the disk, and nobody knows */
        sim->orchestrator.dying = true;
        return;
    }
    if (sim->orchestrator.disk.full) {
        sim_hit(sim, PATH_ORCHESTRATOR_STALL);
        sim_after(sim, STALL_RETRY_MS, EV_COMMIT, 0, token);
        return;
    }
    group_apply(j);
    sim_after(sim, rng_below(&sim->rng, WAKE_MAX_MS + 1), EV_COLLECT, 0, token);
    commit_begin(j, j->pending);
}

static void barriers_fire(struct journal *j)
{
    size_t due = 0;
    while (due < j->barrier_count && j->barriers[due].after <= j->settled) {
        struct barrier b = j->barriers[due++];
        b.done(b.ctx);
    }
    j->barrier_count -= due;
    memmove(j->barriers, j->barriers + due, j->barrier_count * sizeof(*j->barriers));
}

static void settle(struct journal *j, struct journal_append *a, enum error_code result,
                   const struct error *err)
{
    j->settled++;
    a->done(a->ctx, result, err);
    journal_append_free(a);
    barriers_fire(j);
}

static struct journal_append *take(struct journal_append **first)
{
    struct journal_append *a = *first;
    *first = a->next;
    return a;
}

void journal_collect(struct journal *j)
{
    struct journal_append *works = TAKE(j->written);
    j->written_last = NULL;
    while (works != NULL)
        settle(j, take(&works), ERR_OK, NULL);
}

bool journal_barrier(struct journal *j, void (*done)(void *ctx), void *ctx)
{
    if (j->settled == j->appended) {
        done(ctx);
        return true;
    }
    if (j->barrier_count == MAX_BARRIERS)
        return false;
    j->barriers[j->barrier_count++] = (struct barrier){j->appended, done, ctx};
    return true;
}

bool journal_stalled(struct journal *j, bool *ret_final, struct error *ret_why)
{
    if (ret_final != NULL)
        *ret_final = false;
    if (ret_why != NULL)
        error_ignore(error_set(ret_why, ERR_NO_SPACE, NULL));
    return j->sim->orchestrator.disk.full && j->writing > 0;
}

void sim_journal_drain(struct journal *j)
{
    while (j->settled < j->appended) {
        j->writing = j->pending;
        group_apply(j);
        journal_collect(j);
    }
}

void sim_journal_kill(struct journal *j)
{
    struct sim *sim = j->sim;
    struct error gone = {ERR_UNAVAILABLE, "the process has died"};
    if (j->writing > 0 && sim->watching) {
        bool kept = !sim->orchestrator.disk.full && rng_chance(&sim->rng, 50);
        sim_hit(sim, kept ? PATH_ORCHESTRATOR_MID_COMMIT_KEPT : PATH_ORCHESTRATOR_MID_COMMIT);
        if (kept)
            group_apply(j);
    }
    if (j->written != NULL)
        sim_hit(sim, PATH_ORCHESTRATOR_UNTOLD);
    while (j->written != NULL)
        settle(j, take(&j->written), ERR_UNAVAILABLE, &gone);
    while (j->first != NULL)
        settle(j, take(&j->first), ERR_UNAVAILABLE, &gone);
    mem_free(j);
}
