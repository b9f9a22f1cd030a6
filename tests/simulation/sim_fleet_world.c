/* Makes a world, lets its time pass until all is quiet, and takes it apart. */
#include "simulation/sim_fleet.h"

#include "common/base/cleanup.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    FAULTS_MAX_MS = 120000,
    AFTERWARDS_MS = 20000,
    OPERATION_MAX_MS = 6000,
    COMMIT_MAX_MS = 20,
    COMMIT_SLOW_MS = 600,
    CALM_ONCE_IN = 8, /* worlds */
    QUIET_MS = 3 * SIM_HEARTBEAT_MS,
    START_MAX_MS = 3000,
    END_MS = 8 * 3600 * 1000, /* after the last fault: by then everything has ended */
    REPLAY_ONCE_IN = 1500     /* events */
};

static const int64_t wall_start_ms = INT64_C(1700000000000);

const char *const sim_path_names[SIM_PATH_COUNT] = {
#define X(value, name) [value] = (name),
    SIM_PATHS(X)
#undef X
};

/* ---- For the others -------------------------------------------------------------------------- */

void *sim_checked(void *p)
{
    if (p == NULL)
        abort();
    return p;
}

int64_t sim_wall_ms(const struct sim *sim)
{
    return wall_start_ms + sim->now_ms + sim->wall_offset_ms;
}

void sim_fail(struct sim *sim, const char *fmt, ...)
{
    va_list args;
    if (sim->failure[0] != '\0' || !sim->watching)
        return;
    va_start(args, fmt);
    (void)vsnprintf(sim->failure, sizeof(sim->failure), fmt, args);
    va_end(args);
    sim_trace(sim, "FAILURE: %s", sim->failure);
}

void sim_trace(const struct sim *sim, const char *fmt, ...)
{
    va_list args;
    if (!sim->verbose)
        return;
    (void)printf("%9" PRId64 "  ", sim->now_ms);
    va_start(args, fmt);
    (void)vprintf(fmt, args);
    va_end(args);
    (void)putchar('\n');
}

uint32_t sim_rollout_find(const struct sim *sim, const char *id)
{
    for (uint32_t i = 0; i < sim->rollout_count; i++)
        if (strcmp(sim->rollouts[i].id, id) == 0)
            return i;
    return SIM_MAX_ROLLOUTS;
}

uint32_t sim_node_find(const struct sim *sim, const char *id)
{
    uint32_t i = 0;
    while (i < sim->node_count && strcmp(sim->nodes[i].id, id) != 0)
        i++;
    return i;
}

bool sim_rollout_server(const struct sim *sim, uint32_t rollout, uint32_t node, uint32_t *ret)
{
    const struct sim_rollout *r = &sim->rollouts[rollout];
    for (uint32_t i = 0; r->plan != NULL && i < plan_server_count(r->plan); i++) {
        if (r->node_of[i] == node) {
            *ret = i;
            return true;
        }
    }
    return false;
}

/* ---- Making ---------------------------------------------------------------------------------- */

static void make_profile(struct sim *sim)
{
    struct rng *rng = &sim->rng;
    struct sim_profile *p = &sim->profile;
    p->calm = rng_once_in(rng, CALM_ONCE_IN);
    p->fault_every_ms = rng_between(rng, 300, 8000);
    p->trouble = rng_chance(rng, 20) ? 0 : rng_between(rng, 2, 30);
    p->long_ms = rng_between(rng, 200, OPERATION_MAX_MS);
    p->commit_ms = rng_chance(rng, 70) ? COMMIT_MAX_MS : COMMIT_SLOW_MS;
    p->orchestrator = rng_between(rng, 1, 6);
    p->agents = rng_between(rng, 1, 10);
    p->network = rng_between(rng, 1, 10);
    p->disks = rng_between(rng, 1, 3);
    p->confirms = rng_chance(rng, 35);
    p->meddling = rng_chance(rng, 30);
    p->locking = rng_chance(rng, 35);
    p->reboots = rng_chance(rng, 50);
    if (rng_chance(rng, 15)) { /* and clocks jump, so that some of it goes */
        p->captures = rng_between(rng, 1, 6);
        p->disks *= 4;
    }
    sim->faults_until_ms = rng_between(rng, 10000, FAULTS_MAX_MS);
    if (p->calm)
        sim_hit(sim, PATH_CALM);
    else
        sim_after(sim, rng_below(rng, START_MAX_MS), EV_FAULT, 0, 0);
}

static void make_node(struct sim *sim, uint32_t index)
{
    struct sim_node *n = &sim->nodes[index];
    n->sim = sim;
    n->index = index;
    (void)snprintf(n->id, sizeof(n->id), "s-%u", index + 1);
    sim_store_wipe(n);
    n->holder = SIM_MAX_ROLLOUTS;
    n->boot = 1;
    for (uint32_t i = 0; i < SIM_KEYS; i++)
        n->values[i] = i + 1;
    for (uint32_t i = 0; i < SIM_MAX_ROLLOUTS; i++)
        n->traces[i].undo_at = SIM_MAX_STEPS;
    n->gone = !sim->profile.calm && rng_once_in(&sim->rng, 25);
    sim_after(sim, rng_below(&sim->rng, START_MAX_MS), EV_AGENT_START, index, 0);
}

static void make(struct sim *sim, uint64_t seed, bool verbose)
{
    uint64_t *paths = sim->paths;
    uint64_t ended = sim->ended;
    memset(sim, 0, sizeof(*sim));
    sim->paths = paths;
    sim->ended = ended;
    sim->seed = seed;
    sim->verbose = verbose;
    sim->watching = true;
    sim->quiet_since_ms = -1;
    sim->now_ms = 1000;
    rng_init(&sim->rng, seed);
    sim_net_use(sim);
    make_profile(sim);
    sim->node_count = rng_between(&sim->rng, 1, SIM_MAX_SERVERS);
    for (uint32_t i = 0; i < sim->node_count; i++)
        make_node(sim, i);
    sim_people_init(sim);
    sim_after(sim, rng_below(&sim->rng, START_MAX_MS), EV_ORCHESTRATOR_START, 0, 0);
}

/* ---- Time ------------------------------------------------------------------------------------ */

static void settle(struct sim *sim)
{
    sim_orchestrator_settle(sim);
    for (uint32_t i = 0; i < sim->node_count; i++)
        sim_agent_settle(&sim->nodes[i]);
}

static bool node_is_quiet(const struct sim_node *n)
{
    if (n->gone)
        return true;
    if (!n->running || n->operation.active || !sim_store_idle(n) || !link_up(n->link))
        return false;
    const struct net_conn *c = sim_net_of(n->sim, n);
    if (c == NULL || c->session == NULL || c->broken)
        return false;
    for (uint32_t i = 0; i < n->store.count; i++) {
        const struct sim_store_execution *x = &n->store.executions[i];
        if (!x->settled || x->acked_seq < x->last_seq)
            return false;
    }
    return true;
}

static bool all_ended(const struct sim *sim)
{
    for (uint32_t i = 0; i < sim->rollout_count; i++) {
        const struct sim_rollout *r = &sim->rollouts[i];
        if (r->asked != ASK_REFUSED && !(r->asked == ASK_ANSWERED && r->ended))
            return false;
    }
    return true;
}

/* Nothing is left to do: it stays so from now on. */
static bool is_quiet(const struct sim *sim)
{
    if (sim_faulty(sim) || !sim->orchestrator.running ||
        !sim_journal_idle(sim->orchestrator.journal) || !all_ended(sim))
        return false;
    for (uint32_t i = 0; i < sim->node_count; i++)
        if (!node_is_quiet(&sim->nodes[i]))
            return false;
    return true;
}

/* Where there is nothing left that could go wrong, faults cease before their time. */
static void shorten(struct sim *sim)
{
    int64_t until_ms = sim->now_ms + rng_below(&sim->rng, AFTERWARDS_MS);
    if (sim->faults_until_ms > until_ms && all_ended(sim))
        sim->faults_until_ms = until_ms;
}

/* Says what is not over. */
static void fail_endless(struct sim *sim)
{
    for (uint32_t i = 0; i < sim->rollout_count; i++) {
        const struct sim_rollout *r = &sim->rollouts[i];
        if (r->asked != ASK_REFUSED && !r->ended)
            sim_fail(sim, "%s does not end", r->id);
    }
    for (uint32_t i = 0; i < sim->node_count; i++)
        if (!node_is_quiet(&sim->nodes[i]))
            sim_fail(sim, "%s comes to no rest", sim->nodes[i].id);
    sim_fail(sim, "the orchestrator comes to no rest");
}

static bool is_over(struct sim *sim)
{
    if (sim->failure[0] != '\0')
        return true;
    if (!is_quiet(sim)) {
        sim->quiet_since_ms = -1;
        if (sim->now_ms > sim->faults_until_ms + END_MS)
            fail_endless(sim);
        return false;
    }
    if (sim->quiet_since_ms < 0)
        sim->quiet_since_ms = sim->now_ms;
    return sim->now_ms - sim->quiet_since_ms >= QUIET_MS;
}

static void handle(struct sim *sim, const struct sim_event *event)
{
    static void (*const handlers[SIM_EVENT_COUNT])(struct sim *, uint32_t, uint64_t) = {
#define X(kind, handler) [kind] = (handler),
        SIM_EVENTS(X)
#undef X
    };
    sim->now_ms = event->at_ms;
    handlers[event->kind](sim, event->who, event->token);
    settle(sim);
    if (event->kind == EV_PEOPLE)
        shorten(sim);
}

static void take_apart(struct sim *sim)
{
    sim->watching = false;
    for (uint32_t i = 0; i < sim->node_count; i++) {
        sim->nodes[i].gone = true;
        if (sim->nodes[i].running)
            sim_agent_kill(&sim->nodes[i]);
        sim_store_wipe(&sim->nodes[i]);
    }
    sim_orchestrator_free(sim);
    sim_net_done(sim);
    sim_people_free(sim);
    sim_queue_done(&sim->queue);
}

bool sim_run(struct sim *sim, uint64_t seed, bool verbose)
{
    struct sim_event event;
    uint64_t events = 0;
    make(sim, seed, verbose);
    while (!is_over(sim) && sim_queue_pop(&sim->queue, &event)) {
        handle(sim, &event);
        if (++events % REPLAY_ONCE_IN == 0 && sim->failure[0] == '\0')
            sim_check_replay(sim);
    }
    if (sim->failure[0] == '\0')
        sim_check_end(sim);
    take_apart(sim);
    return sim->failure[0] == '\0';
}
