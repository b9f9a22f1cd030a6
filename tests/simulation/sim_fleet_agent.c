/* An agent's process: agent and link as agent/host_agent.c puts them together, on simulated parts.
 */
#include "simulation/sim_fleet.h"

#include "agent/carrier_net.h"
#include "common/base/cleanup.h"

#include <stdio.h>
#include <string.h>

enum {
    CUTS_OFF_PERCENT = 12,
    RESTART_QUICK_MS = 30,
    RESTART_MAX_MS = 4000,
    RESTART_LONG_MS = 70000,
    GRACE_MAX_MS = 400,
    REBOOT_MAX_MS = 3000,
    REBOOT_REFUSED_PERCENT = 12,
    REBOOT_NEVER_PERCENT = 4,     /* it stays away */
    REBOOT_DIES_PERCENT = 12,     /* the agent alone goes down */
    REBOOT_WITHDRAWN_PERCENT = 50 /* when it is not wanted any more, of those still to be had */
};

/* ---- Seams ----------------------------------------------------------------------------------- */

static bool seam_send(void *ctx, const char *data, size_t len, bool droppable)
{
    const struct sim_node *n = ctx;
    return n->running && link_send(n->link, data, len, droppable);
}

/* What was done may have cut the server off. */
static void seam_renew(void *ctx)
{
    struct sim_node *n = ctx;
    if (!n->running)
        return;
    if (!n->sim->profile.calm && sim_faulty(n->sim) && rng_chance(&n->sim->rng, CUTS_OFF_PERCENT))
        sim_faults_cut_off(n);
    link_renew(n->link);
}

static int64_t seam_wall(void *ctx)
{
    return sim_wall_ms(((const struct sim_node *)ctx)->sim);
}

static int64_t seam_mono(void *ctx)
{
    return ((const struct sim_node *)ctx)->sim->now_ms;
}

static void seam_alarm_set(void *ctx, int64_t delay_ms)
{
    struct sim_node *n = ctx;
    sim_after(n->sim, delay_ms, EV_AGENT_ALARM, n->index, ++n->alarm_token);
}

static void seam_alarm_stop(void *ctx)
{
    ((struct sim_node *)ctx)->alarm_token++;
}

static void seam_failed(void *ctx, const struct error *err)
{
    struct sim_node *n = ctx;
    if (n->running && !n->dying)
        sim_fail(n->sim, "%s: the agent gives up: %s", n->id, err->message);
    n->dying = true;
}

static void seam_quiet(void *ctx)
{
    struct sim_node *n = ctx;
    if (n->running && !n->dying)
        sim_hit(n->sim, PATH_AGENT_STOPPED);
    n->dying = true;
}

/* Only what is on record is asked for, and nothing else is done meanwhile. */
static void seam_reboot(void *ctx)
{
    struct sim_node *n = ctx;
    struct sim *sim = n->sim;
    const struct sim_operation *op = &n->operation;
    sim_trace(sim, "%s asks for a reboot", n->id);
    if (op->active || (!n->traces[op->rollout].amnesia &&
                       !sim_store_says(n, op->rollout, REPORT_STEP_REBOOTING, op->step)))
        sim_fail(sim, "%s: a reboot is asked for, and that is not durable", n->id);
    if (n->traces[op->rollout].reboot_life[op->step] != n->life)
        sim_hit(sim, PATH_REBOOT_AGAIN);
    n->reboot_asked = true;
    sim_after(sim, rng_between(&sim->rng, 1, REBOOT_MAX_MS), EV_AGENT_REBOOT, n->index,
              ++n->reboot_token);
}

static bool seam_reboot_withdraw(void *ctx)
{
    struct sim_node *n = ctx;
    if (!rng_chance(&n->sim->rng, REBOOT_WITHDRAWN_PERCENT))
        return false;
    sim_hit(n->sim, PATH_REBOOT_WITHDRAWN);
    n->reboot_asked = false;
    n->reboot_token++;
    return true;
}

static void reboot_refused(struct sim_node *n)
{
    const struct error why = {ERR_UNAVAILABLE, "the machine does not want to"};
    sim_hit(n->sim, PATH_REBOOT_REFUSED);
    n->traces[n->operation.rollout].bad++;
    n->reboot_asked = false;
    agent_stayed_up(n->agent, &why);
}

void sim_agent_reboot(struct sim *sim, uint32_t who, uint64_t token)
{
    struct sim_node *n = &sim->nodes[who];
    uint32_t chance = rng_below(&sim->rng, 100);
    bool faulty = !sim->profile.calm && sim_faulty(sim);
    if (!n->running || n->dying || token != n->reboot_token)
        return;
    if (faulty && chance < REBOOT_REFUSED_PERCENT) {
        reboot_refused(n);
        return;
    }
    chance -= REBOOT_REFUSED_PERCENT;
    n->dying = true;
    n->reboot = !faulty || chance >= REBOOT_DIES_PERCENT;
    n->gone = faulty && n->reboot && chance - REBOOT_DIES_PERCENT < REBOOT_NEVER_PERCENT;
    if (n->gone)
        sim_hit(sim, PATH_REBOOT_NEVER);
    else
        sim_hit(sim, n->reboot ? PATH_REBOOT : PATH_REBOOT_SAME_BOOT);
}

static void link_hello(void *ctx, struct buf *b)
{
    agent_hello(((struct sim_node *)ctx)->agent, b);
}

static enum error_code link_welcome(void *ctx, const struct wire_welcome *welcome,
                                    struct error *err)
{
    struct sim_node *n = ctx;
    enum error_code code = agent_welcome(n->agent, welcome, err);
    n->reachable_ms = n->sim->now_ms;
    if (code != ERR_OK)
        sim_fail(n->sim, "%s refuses the orchestrator: %s", n->id, err->message);
    return code;
}

static enum error_code link_frame(void *ctx, struct wire_frame *frame, const char *text, size_t len,
                                  struct error *err)
{
    struct sim_node *n = ctx;
    enum error_code code = agent_receive(n->agent, frame, text, len, err);
    if (code != ERR_OK)
        sim_fail(n->sim, "%s refuses a command: %s", n->id, err->message);
    return code;
}

static void link_lost(void *ctx, const char *reason)
{
    (void)reason;
    agent_disconnected(((struct sim_node *)ctx)->agent);
}

/* ---- Coming ---------------------------------------------------------------------------------- */

static enum error_code make_parts(struct sim_node *n, struct error *err)
{
    struct agent_config config = {
        .identity = {.server = n->id,
                     .instance = n->store.instance,
                     .version = (char *)(uintptr_t)KITSUNE_VERSION,
                     .boot_id = n->boot_id},
        .catalog = &sim_catalog,
        .after_death = n->died,
        .link = {n, seam_send, seam_renew},
        .clock = {n, seam_wall, seam_mono, seam_alarm_set, seam_alarm_stop},
        .owner = {n, seam_failed, seam_quiet, seam_reboot, seam_reboot_withdraw},
    };
    enum error_code code = carrier_net_new((struct net *)(void *)n, &n->carrier, err);
    if (code != ERR_OK)
        return code;
    const struct link_config link = {
        .carrier = n->carrier,
        .ticker = &n->ticker,
        .url = "http://orchestrator:7233",
        .server = n->id,
        .events = {.ctx = n,
                   .hello = link_hello,
                   .welcome = link_welcome,
                   .frame = link_frame,
                   .lost = link_lost},
    };
    sim_store_seam(n, &config.store);
    sim_host_seam(n, &config.runner);
    code = link_new(&link, &n->link, err);
    return code == ERR_OK ? agent_new(&config, &n->agent, err) : code;
}

void sim_agent_start(struct sim *sim, uint32_t who, uint64_t token)
{
    struct sim_node *n = &sim->nodes[who];
    struct error err = {0};
    (void)token;
    if (n->running || n->gone)
        return;
    (void)snprintf(n->boot_id, sizeof(n->boot_id), "boot-%u", n->boot);
    sim_trace(sim, "%s starts in %s", n->id, n->boot_id);
    n->running = true;
    n->dying = n->stopping = n->reboot = false;
    n->sends_to_live = n->appends_to_live = n->operations_to_live = 0;
    n->life++;
    n->reachable_ms = sim->now_ms;
    n->ticker.node = n;
    if (make_parts(n, &err) != ERR_OK) {
        sim_fail(sim, "%s does not start: %s", n->id, err.message);
        return;
    }
    agent_start(n->agent);
    link_start(n->link);
}

void sim_agent_collect(struct sim *sim, uint32_t who, uint64_t token)
{
    struct sim_node *n = &sim->nodes[who];
    if (n->running && token == n->life)
        sim_store_collect(n);
}

void sim_agent_alarm(struct sim *sim, uint32_t who, uint64_t token)
{
    struct sim_node *n = &sim->nodes[who];
    if (n->running && token == n->alarm_token)
        agent_alarm(n->agent);
}

void sim_agent_link_alarm(struct sim *sim, uint32_t who, uint64_t token)
{
    struct sim_node *n = &sim->nodes[who];
    if (n->running && token == n->link_token)
        n->link_alarm->fired(n->link_alarm->ctx);
}

/* ---- Going ----------------------------------------------------------------------------------- */

void sim_agent_kill(struct sim_node *n)
{
    struct sim *sim = n->sim;
    n->running = false;
    /* Whoever was asked for a reboot may come to it without the agent. */
    n->reboot = n->reboot || (n->reboot_asked && rng_chance(&sim->rng, 50));
    n->boot += n->reboot;
    n->reboot_asked = false;
    n->reboot_token++;
    n->life++;
    n->link_token++;
    n->alarm_token++;
    for (uint32_t i = 0; i < SIM_MAX_CONNS; i++) {
        struct net_conn *c = sim->net.conns[i];
        if (c == NULL || c->node != n || !c->open[TO_AGENT])
            continue;
        c->config.events.closed(c->config.ctx, c, "the agent has died");
        sim_net_end_died(c, TO_AGENT, n->reboot || n->gone);
    }
    sim_store_kill(n);
    sim_host_abandon(n);
    agent_free(n->agent);
    link_free(n->link);
    carrier_end(TAKE(n->carrier), NULL, NULL);
    n->agent = NULL;
    n->link = NULL;
}

void sim_agent_settle(struct sim_node *n)
{
    struct sim *sim = n->sim;
    if (!n->running || !n->dying)
        return;
    sim_trace(sim, "%s dies", n->id);
    n->died = !n->stopping;
    sim_hit(sim, PATH_AGENT_KILLED);
    sim_agent_kill(n);
    uint32_t most = rng_chance(&sim->rng, 80) ? RESTART_MAX_MS : RESTART_LONG_MS;
    if (rng_chance(&sim->rng, 30))
        most = RESTART_QUICK_MS;
    if (!n->gone)
        sim_after(sim, sim_faulty(sim) ? rng_between(&sim->rng, 1, most) : 1, EV_AGENT_START,
                  n->index, 0);
}

/* As at SIGTERM: what is under way may end for a while. */
void sim_agent_stop(struct sim_node *n)
{
    if (n->stopping)
        return;
    sim_trace(n->sim, "%s is to stop", n->id);
    n->stopping = true;
    sim_after(n->sim, rng_between(&n->sim->rng, 1, GRACE_MAX_MS), EV_AGENT_INTERRUPT, n->index,
              n->life);
    agent_stop(n->agent);
}

void sim_agent_interrupt(struct sim *sim, uint32_t who, uint64_t token)
{
    struct sim_node *n = &sim->nodes[who];
    if (n->running && !n->dying && token == n->life)
        agent_interrupt(n->agent);
}
