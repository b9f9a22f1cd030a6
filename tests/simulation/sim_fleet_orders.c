/* People who order that what was done be undone, again too where it failed, who settle servers by
 * hand, lock them, and retry rollouts; in every phase, and again where the answer was lost. */
#include "simulation/sim_fleet.h"

#include "common/base/alloc.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { ALL_SERVERS = (1 << SIM_MAX_SERVERS) - 1 };

/* ---- Giving orders --------------------------------------------------------------------------- */

static void give_rollback(struct sim_command *c, const char *token)
{
    struct sim *sim = c->sim;
    const struct sim_rollout *r = &sim->rollouts[c->rollout];
    const char *servers[SIM_MAX_SERVERS];
    struct dispatcher_rollback order = {
        .servers = servers, .now = c->now, .force = c->force, .by = "somebody", .reason = token};
    struct error err = {0};
    for (uint32_t i = 0; i < plan_server_count(r->plan); i++)
        if ((c->servers & (1U << i)) != 0)
            servers[order.server_count++] = plan_server(r->plan, i);
    enum error_code code = dispatcher_rollback(sim->orchestrator.dispatcher, r->id, &order,
                                               sim_command_answered, c, &err);
    sim_trace(sim, "%s: command %u: rollback of %zu servers%s%s %s", r->id, c->token,
              order.server_count, c->now ? ", now" : "", c->force ? ", by force" : "",
              code == ERR_OK ? "" : err.message);
    sim_check_ordered(sim, c, code, &err);
}

static void give_resolve(struct sim_command *c, const char *token)
{
    struct sim *sim = c->sim;
    const struct sim_rollout *r = &sim->rollouts[c->rollout];
    const struct dispatcher_resolve order = {
        .server = plan_server(r->plan, c->server), .as = c->as, .by = "somebody", .reason = token};
    struct error err = {0};
    enum error_code code = dispatcher_resolve(sim->orchestrator.dispatcher, r->id, &order,
                                              sim_command_answered, c, &err);
    sim_trace(sim, "%s: command %u: %s is settled as %s %s", r->id, c->token, order.server,
              execution_state_names[c->as], code == ERR_OK ? "" : err.message);
    sim_check_ordered(sim, c, code, &err);
}

/* The command's text is the reason of a lock, and the person of an unlock, which has no reason. */
static void give_lock(struct sim_command *c, const char *token)
{
    struct sim *sim = c->sim;
    const struct sim_node *n = &sim->nodes[c->server];
    const struct dispatcher_lock lock = {.server = n->id, .by = token, .reason = token};
    struct error err = {0};
    enum error_code code = (c->locks ? dispatcher_lock : dispatcher_unlock)(
        sim->orchestrator.dispatcher, &lock, sim_command_answered, c, &err);
    sim_trace(sim, "%s: command %u: %s %s", n->id, c->token, c->locks ? "lock" : "unlock",
              code == ERR_OK ? "" : err.message);
    sim_check_ordered(sim, c, code, &err);
    if (code == ERR_OK && c->locks && !sim->orchestrator.disk.locks[c->server].locked)
        sim->people.locking[c->server] = true;
}

static void give(struct sim *sim, const struct sim_command *command)
{
    struct sim_command *c = sim_command_new(sim, command);
    char token[SIM_NAME_MAX];
    if (c == NULL)
        return;
    (void)snprintf(token, sizeof(token), "#%u", c->token);
    switch (c->kind) {
    case SIM_ROLLBACK:
        give_rollback(c, token);
        return;
    case SIM_RESOLVE:
        give_resolve(c, token);
        return;
    case SIM_LOCK:
        give_lock(c, token);
        return;
    case SIM_SUBMIT:
    case SIM_ORDER:
        return; /* sim_fleet_people.c */
    }
}

void sim_order_again(struct sim *sim)
{
    struct sim_command lost = sim->people.lost;
    sim->people.lost.sim = NULL;
    if (lost.sim == NULL || lost.kind == SIM_SUBMIT || lost.kind == SIM_ORDER ||
        !rng_chance(&sim->rng, 70))
        return;
    sim_hit(sim, PATH_ORDER_REPEATED);
    if (sim->people.durable[lost.token])
        sim_hit(sim, PATH_ORDER_REPEATED_KEPT);
    give(sim, &lost);
}

/* ---- Choosing them --------------------------------------------------------------------------- */

static bool wants_undo(const struct sim_fact *f)
{
    return f->started && !sim_is_undone(f);
}

static bool is_doubtful(const struct sim_fact *f)
{
    return !f->resolved && (f->silent || (f->undone && !sim_is_undone(f)));
}

/* Mostly one that it makes sense for. */
static uint32_t choose(struct sim *sim, const struct sim_rollout *r,
                       bool (*fits)(const struct sim_fact *f))
{
    uint32_t count = plan_server_count(r->plan);
    uint32_t first = rng_below(&sim->rng, count);
    bool any = rng_chance(&sim->rng, 10);
    for (uint32_t i = 0; i < count && !any; i++)
        if (fits(&r->facts[(first + i) % count]))
            return (first + i) % count;
    return first;
}

/* One whose undo met with what somebody else wrote is rather forced. */
static void order_rollback(struct sim *sim, uint32_t rollout)
{
    const struct sim_rollout *r = &sim->rollouts[rollout];
    struct sim_command command = {.kind = SIM_ROLLBACK, .rollout = rollout};
    if (rng_chance(&sim->rng, r->ended ? 30 : 20)) {
        command.now = rng_chance(&sim->rng, 40);
        give(sim, &command);
        return;
    }
    uint32_t server = choose(sim, r, wants_undo);
    bool conflict = sim->nodes[r->node_of[server]].traces[rollout].conflict;
    command.servers = 1U << server;
    if (rng_chance(&sim->rng, 20))
        command.servers |=
            rng_below(&sim->rng, ALL_SERVERS + 1) & ((1U << plan_server_count(r->plan)) - 1);
    command.force = rng_chance(&sim->rng, conflict ? 70 : 25);
    give(sim, &command);
}

static void order_resolve(struct sim *sim, uint32_t rollout)
{
    static const enum execution_state states[] = {EXECUTION_SUCCEEDED, EXECUTION_FAILED,
                                                  EXECUTION_ROLLED_BACK};
    const struct sim_command command = {.kind = SIM_RESOLVE,
                                        .rollout = rollout,
                                        .server = choose(sim, &sim->rollouts[rollout], is_doubtful),
                                        .as = states[rng_below(&sim->rng, ARRAY_LEN(states))]};
    give(sim, &command);
}

static bool has_doubtful(const struct sim_rollout *r)
{
    for (uint32_t i = 0; i < plan_server_count(r->plan); i++)
        if (is_doubtful(&r->facts[i]))
            return true;
    return false;
}

void sim_order_something(struct sim *sim, uint32_t rollout)
{
    if (rng_chance(&sim->rng, has_doubtful(&sim->rollouts[rollout]) ? 40 : 5))
        order_resolve(sim, rollout);
    else
        order_rollback(sim, rollout);
}

/* ---- Locks ----------------------------------------------------------------------------------- */

bool sim_is_locked(const struct sim *sim, uint32_t node)
{
    return sim->orchestrator.disk.locks[node].locked || sim->people.locking[node];
}

void sim_order_lock(struct sim *sim, uint32_t node, bool locks)
{
    const struct sim_command command = {.kind = SIM_LOCK, .server = node, .locks = locks};
    give(sim, &command);
}

void sim_order_lock_something(struct sim *sim)
{
    uint32_t node = rng_below(&sim->rng, sim->node_count);
    bool locked = sim_is_locked(sim, node);
    if (!locked && rng_chance(&sim->rng, 60))
        return; /* most of the time they are not */
    sim_order_lock(sim, node, rng_chance(&sim->rng, 10) ? locked : !locked);
}

/* ---- Retries --------------------------------------------------------------------------------- */

static void retry_refused(struct sim *sim, struct sim_rollout *r, enum error_code code,
                          const struct error *err)
{
    const struct sim_rollout *of = &sim->rollouts[r->retry_of];
    if (code == ERR_CONFLICT && strstr(err->message, "has not ended") != NULL) {
        sim_hit(sim, PATH_RETRY_EARLY);
        if (of->released && sim_journal_idle(sim->orchestrator.journal))
            sim_fail(sim, "%s: %s has ended and is not retried", r->id, of->id);
    } else if (code == ERR_CONFLICT && strstr(err->message, "is left to do") != NULL) {
        sim_hit(sim, PATH_RETRY_NOTHING);
        r->asked = ASK_REFUSED;
    } else if (code == ERR_BUSY && r->no_wait) {
        r->asked = ASK_REFUSED;
    } else if (code != ERR_NO_SPACE && code != ERR_UNAVAILABLE) {
        sim_fail(sim, "%s: retrying %s: %s", r->id, of->id, err->message);
    }
}

void sim_order_retry(struct sim *sim, uint32_t rollout)
{
    struct sim_rollout *r = &sim->rollouts[rollout];
    const struct sim_rollout *of = &sim->rollouts[r->retry_of];
    const struct sim_command command = {.kind = SIM_SUBMIT, .rollout = rollout};
    struct error err = {0};
    bool repeat = false;
    bool created = r->created;
    if (of->asked == ASK_REFUSED)
        r->asked = ASK_REFUSED;
    if (r->asked == ASK_REFUSED || !of->created || (!of->ended && !sim_faulty(sim)))
        return;
    struct sim_command *c = sim_command_new(sim, &command);
    const struct dispatcher_submit request = {.id = r->id,
                                              .by = "somebody",
                                              .no_wait = r->no_wait,
                                              .done = sim_command_answered,
                                              .ctx = c};
    if (c == NULL)
        return;
    enum error_code code =
        dispatcher_retry(sim->orchestrator.dispatcher, of->id, &request, &repeat, &err);
    sim_trace(sim, "%s is to retry %s: %s", r->id, of->id, code == ERR_OK ? "" : err.message);
    if (code != ERR_OK) {
        retry_refused(sim, r, code, &err);
        return;
    }
    sim_hit(sim, repeat ? PATH_RETRY_REPEATED : PATH_RETRY);
    if (created && !repeat)
        sim_fail(sim, "%s: the same id gave another rollout", r->id);
    if (r->asked == ASK_NOT_YET)
        r->asked = ASK_SENT;
}
