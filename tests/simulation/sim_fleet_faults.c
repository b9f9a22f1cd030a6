/* What goes wrong: processes, disks, connections, clocks. */
#include "simulation/sim_fleet.h"

#include "common/base/cleanup.h"

enum {
    FEW = 6, /* sends, appends or operations until a process dies in mid-work */
    TRIES = 3,
    HEAL_MAX_MS = 15000,
    HEAL_LONG_MS = 90000,
    CLOCK_MAX_DAYS = 40, /* more than agents keep what is over */
    DAY_MS = 24 * 3600 * 1000,
    ORCHESTRATOR_WHO = SIM_MAX_SERVERS /* in EV_HEAL: its disk */
};

/* More often than not one that is at work. */
static struct sim_node *some_agent(struct sim *sim)
{
    struct sim_node *n = NULL;
    for (uint32_t i = 0; i < TRIES; i++) {
        n = &sim->nodes[rng_below(&sim->rng, sim->node_count)];
        if (n->operation.active || n->confirming)
            break;
    }
    return n->running && !n->dying ? n : NULL;
}

static void heal_later(struct sim *sim, uint32_t who)
{
    uint32_t most = rng_chance(&sim->rng, 70) ? HEAL_MAX_MS : HEAL_LONG_MS;
    uint64_t token = who < SIM_MAX_SERVERS ? ++sim->nodes[who].heal_token : 0;
    sim_after(sim, rng_between(&sim->rng, 1, most), EV_HEAL, who, token);
}

/* ---- The orchestrator ------------------------------------------------------------------------ */

static void orchestrator_fault(struct sim *sim)
{
    struct sim_orchestrator *o = &sim->orchestrator;
    if (!o->running || o->dying)
        return;
    switch (rng_below(&sim->rng, 6)) {
    case 0:
    case 1:
        o->dying = true;
        return;
    case 2:
    case 3:
        o->sends_to_live = rng_between(&sim->rng, 1, FEW);
        return;
    case 4:
        o->power = o->dying = true;
        return;
    default:
        sim_orchestrator_stop(sim);
        return;
    }
}

/* ---- Agents ---------------------------------------------------------------------------------- */

static void lose_data(struct sim_node *n)
{
    sim_trace(n->sim, "%s loses its data", n->id);
    sim_hit(n->sim, PATH_AGENT_LOST_DATA);
    n->reboot = true;
    sim_agent_kill(n);
    sim_store_wipe(n);
    n->holder = SIM_MAX_ROLLOUTS;
    for (uint32_t i = 0; i < SIM_MAX_ROLLOUTS; i++)
        n->traces[i].amnesia = n->traces[i].amnesia || n->traces[i].heard;
    sim_after(n->sim, rng_between(&n->sim->rng, 1, HEAL_MAX_MS), EV_AGENT_START, n->index, 0);
}

static void agent_fault(struct sim *sim)
{
    struct sim_node *n = some_agent(sim);
    if (n == NULL)
        return;
    switch (rng_below(&sim->rng, 24)) {
    case 0:
        lose_data(n);
        return;
    case 1:
        if (rng_chance(&sim->rng, 50)) {
            sim_hit(sim, PATH_AGENT_GONE);
            n->gone = n->dying = true;
        }
        return;
    case 2:
    case 3:
    case 4:
        sim_agent_stop(n);
        return;
    case 5:
    case 6:
    case 7:
    case 8:
        n->sends_to_live = rng_between(&sim->rng, 1, FEW);
        return;
    case 9:
    case 10:
    case 11:
    case 12:
        n->appends_to_live = rng_between(&sim->rng, 1, FEW);
        return;
    case 13:
    case 14:
    case 15:
        n->operations_to_live = rng_between(&sim->rng, 1, FEW);
        return;
    case 16:
    case 17:
        n->reboot = n->dying = true;
        return;
    default:
        n->dying = true;
        return;
    }
}

/* ---- Connections ----------------------------------------------------------------------------- */

void sim_faults_cut_off(struct sim_node *n)
{
    struct sim *sim = n->sim;
    struct net_conn *c = sim_net_of(sim, n);
    sim_trace(sim, "%s is cut off", n->id);
    sim_hit(sim, PATH_PARTITION);
    if (n->confirming)
        sim_hit(sim, PATH_CONFIRM_PARTITION);
    n->partitioned = true;
    if (c != NULL)
        sim_net_block(c, true, true);
    heal_later(sim, n->index);
}

static void network_fault(struct sim *sim)
{
    struct sim_node *n = some_agent(sim);
    struct net_conn *c = n == NULL ? NULL : sim_net_of(sim, n);
    if (c == NULL || c->broken)
        return;
    switch (rng_below(&sim->rng, 8)) {
    case 0:
    case 1:
        sim_faults_cut_off(n);
        return;
    case 2:
        sim_trace(sim, "%s: one way is cut", n->id);
        sim_hit(sim, PATH_ONE_WAY);
        sim_net_block(c, rng_chance(&sim->rng, 50), false);
        sim_net_block(c, c->blocked[TO_ORCHESTRATOR], !c->blocked[TO_ORCHESTRATOR]);
        heal_later(sim, n->index);
        return;
    case 3:
        sim_trace(sim, "%s: the connection is half open", n->id);
        sim_hit(sim, PATH_HALF_OPEN);
        c->broken = true;
        return;
    default:
        sim_trace(sim, "%s: the connection breaks", n->id);
        sim_hit(sim, PATH_BROKEN);
        sim_net_break(c);
        return;
    }
}

/* ---- Disks and clocks ------------------------------------------------------------------------ */

/* Where there is little room for undo, what is over is left to be removed when room is wanted. */
static void clock_fault(struct sim *sim, struct sim_node *n)
{
    int64_t days = (int64_t)rng_below(&sim->rng, 2 * CLOCK_MAX_DAYS) - CLOCK_MAX_DAYS;
    sim_hit(sim, PATH_CLOCK);
    if (sim->profile.captures > 0) {
        sim->wall_offset_ms += CLOCK_MAX_DAYS * (int64_t)DAY_MS;
        return;
    }
    sim->wall_offset_ms = days * DAY_MS;
    if (n != NULL && rng_chance(&sim->rng, 50))
        sim_store_expire(n);
}

static void disk_fault(struct sim *sim)
{
    struct sim_node *n = some_agent(sim);
    switch (rng_below(&sim->rng, 6)) {
    case 0:
    case 1:
        sim_trace(sim, "the orchestrator's disk is full");
        if (!sim->orchestrator.disk.full)
            sim->orchestrator.full_ms = sim->now_ms;
        sim->orchestrator.disk.full = true;
        heal_later(sim, ORCHESTRATOR_WHO);
        return;
    case 2:
        sim->orchestrator.disk.broken = sim->orchestrator.running;
        return;
    case 3:
        if (n != NULL)
            n->store.broken = true;
        return;
    case 4:
        if (n != NULL) {
            sim_trace(sim, "%s: its disk is full", n->id);
            n->store.full = true;
            heal_later(sim, n->index);
        }
        return;
    default:
        clock_fault(sim, n);
        return;
    }
}

static void heal_agent(struct sim *sim, struct sim_node *n)
{
    struct net_conn *c = sim_net_of(sim, n);
    n->partitioned = false;
    n->store.full = false;
    n->reachable_ms = sim->now_ms;
    if (c != NULL)
        sim_net_block(c, false, false);
}

void sim_faults_heal(struct sim *sim, uint32_t who, uint64_t token)
{
    if (who == ORCHESTRATOR_WHO) {
        sim->orchestrator.disk.full = false;
        sim->orchestrator.writable_ms = sim->now_ms;
    } else if (token == sim->nodes[who].heal_token) {
        sim_trace(sim, "%s is healed", sim->nodes[who].id);
        heal_agent(sim, &sim->nodes[who]);
    }
}

static void heal_all(struct sim *sim)
{
    sim_trace(sim, "faults cease");
    sim->orchestrator.disk.full = sim->orchestrator.disk.broken = false;
    sim->orchestrator.sends_to_live = 0;
    sim->orchestrator.writable_ms = sim->now_ms;
    for (uint32_t i = 0; i < sim->node_count; i++) {
        struct sim_node *n = &sim->nodes[i];
        heal_agent(sim, n);
        n->store.broken = false;
        n->sends_to_live = n->appends_to_live = n->operations_to_live = 0;
    }
}

void sim_faults_next(struct sim *sim, uint32_t who, uint64_t token)
{
    const struct sim_profile *p = &sim->profile;
    (void)who;
    (void)token;
    if (!sim_faulty(sim)) {
        heal_all(sim);
        return;
    }
    uint32_t choice = rng_below(&sim->rng, p->orchestrator + p->agents + p->network + p->disks);
    if (choice < p->orchestrator)
        orchestrator_fault(sim);
    else if (choice < p->orchestrator + p->agents)
        agent_fault(sim);
    else if (choice < p->orchestrator + p->agents + p->network)
        network_fault(sim);
    else
        disk_fault(sim);
    sim_after(sim, 1 + (int64_t)(rng_next(&sim->rng) % (uint64_t)(2 * p->fault_every_ms)), EV_FAULT,
              0, 0);
}
