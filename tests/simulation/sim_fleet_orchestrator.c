/* The orchestrator's process: the dispatcher on a simulated journal, and how it comes and goes. */
#include "simulation/sim_fleet.h"

#include "common/base/cleanup.h"

#include <string.h>

enum { RESTART_MAX_MS = 4000, RESTART_LONG_MS = 70000 };

/* ---- Hooks ----------------------------------------------------------------------------------- */

static struct sim_orchestrator *process(void *ctx)
{
    return &((struct sim *)ctx)->orchestrator;
}

static int64_t hook_mono(void *ctx)
{
    return ((const struct sim *)ctx)->now_ms;
}

static int64_t hook_wall(void *ctx)
{
    return sim_wall_ms(ctx);
}

static void hook_rearm(void *ctx)
{
    struct sim *sim = ctx;
    struct sim_orchestrator *o = process(ctx);
    int64_t due = 0;
    if (!o->running || o->dispatcher == NULL || !dispatcher_next_deadline(o->dispatcher, &due))
        return;
    if (o->tick_at_ms <= due && o->tick_at_ms >= sim->now_ms)
        return;
    o->tick_at_ms = due;
    sim_after(sim, due > sim->now_ms ? due - sim->now_ms : 0, EV_TICK, 0, ++o->tick_token);
}

static bool hook_send(void *conn, const char *data, size_t len)
{
    struct net_conn *c = conn;
    struct sim_orchestrator *o = &c->sim->orchestrator;
    if (!o->running || o->dying)
        return false;
    if (o->sends_to_live > 0 && --o->sends_to_live == 0) {
        sim_hit(c->sim, PATH_ORCHESTRATOR_MID_SEND);
        o->dying = true;
        return false;
    }
    sim_check_frame(c->sim, c->node, data, len);
    return sim_net_send(c, data, len);
}

static void hook_close(void *conn, uint16_t code, const char *reason)
{
    struct net_conn *c = conn;
    sim_trace(c->sim, "%s is closed: %u %s", c->node->id, code, reason);
    if (c->sim->orchestrator.running && !c->sim->orchestrator.dying)
        sim_net_close(c);
}

static void hook_changed(void *ctx, const char *rollout, uint64_t last_seq)
{
    struct sim *sim = ctx;
    const struct sim_disk *disk = &sim->orchestrator.disk;
    uint32_t number = sim_rollout_find(sim, rollout);
    for (uint32_t i = 0; i < disk->count; i++) {
        const struct sim_disk_rollout *r = &disk->rollouts[i];
        if (r->number != number || r->event_count < last_seq)
            continue;
        sim->rollouts[number].released = sim->rollouts[number].ended && r->event_count == last_seq;
        return;
    }
    sim_fail(sim, "%s: readers are told of an event that is not durable", rollout);
}

static void hook_output(void *ctx, const char *rollout, const char *json, size_t len)
{
    (void)ctx;
    (void)rollout;
    (void)json;
    (void)len;
}

static void hook_fatal(void *ctx, const struct error *err)
{
    struct sim *sim = ctx;
    struct sim_orchestrator *o = process(ctx);
    if (o->running && !o->dying)
        sim_fail(sim, "the dispatcher gives up: %s", err == NULL ? "?" : err->message);
    o->dying = true;
}

static void hook_note(void *ctx, const char *what, const char *server, const char *detail)
{
    struct sim *sim = ctx;
    sim_trace(sim, "note: %s: %s (%s)", server, what, detail);
    if (strcmp(what, "agent refused") == 0)
        sim_fail(sim, "%s: an agent is refused: %s", server, detail);
}

/* ---- Coming ---------------------------------------------------------------------------------- */

void sim_orchestrator_start(struct sim *sim, uint32_t who, uint64_t token)
{
    struct sim_orchestrator *o = &sim->orchestrator;
    struct error err = {0};
    (void)who;
    (void)token;
    sim_trace(sim, "the orchestrator starts");
    o->journal = sim_journal_open(sim);
    o->running = true;
    o->writable_ms = sim->now_ms;
    o->dying = o->power = false;
    o->sends_to_live = 0;
    memset(sim->people.locking, 0, sizeof(sim->people.locking));
    for (uint32_t i = 0; i < sim->rollout_count; i++)
        sim->rollouts[i].released = sim->rollouts[i].ended;
    o->tick_at_ms = -1;
    const struct dispatcher_config config = {
        .journal = o->journal,
        .heartbeat_ms = SIM_HEARTBEAT_MS,
        .ctx = sim,
        .now_mono_ms = hook_mono,
        .now_wall_ms = hook_wall,
        .rearm = hook_rearm,
        .send = hook_send,
        .close = hook_close,
        .changed = hook_changed,
        .output = hook_output,
        .fatal = hook_fatal,
        .note = hook_note,
    };
    if (dispatcher_new(&config, &o->dispatcher, &err) != ERR_OK) {
        sim_fail(sim, "the orchestrator does not start: %s", err.message);
        o->dying = true;
        return;
    }
    sim_check_locks(sim);
    if (dispatcher_stats(o->dispatcher).open > 0)
        sim_hit(sim, PATH_RESUMED_ROLLOUT);
    hook_rearm(sim);
}

void sim_orchestrator_tick(struct sim *sim, uint32_t who, uint64_t token)
{
    struct sim_orchestrator *o = &sim->orchestrator;
    (void)who;
    if (!o->running || token != o->tick_token)
        return;
    o->tick_at_ms = -1;
    dispatcher_tick(o->dispatcher);
    hook_rearm(sim);
}

void sim_orchestrator_collect(struct sim *sim, uint32_t who, uint64_t token)
{
    struct sim_orchestrator *o = &sim->orchestrator;
    (void)who;
    if (o->running && token == (uint64_t)journal_epoch(o->journal))
        journal_collect(o->journal);
}

/* ---- Going ----------------------------------------------------------------------------------- */

static void come_back(struct sim *sim)
{
    uint32_t most = rng_chance(&sim->rng, 85) ? RESTART_MAX_MS : RESTART_LONG_MS;
    sim_after(sim, sim_faulty(sim) ? rng_between(&sim->rng, 1, most) : 1, EV_ORCHESTRATOR_START, 0,
              0);
}

static void free_parts(struct sim *sim)
{
    struct sim_orchestrator *o = &sim->orchestrator;
    o->running = false;
    for (uint32_t i = 0; i < SIM_MAX_CONNS; i++) {
        struct net_conn *c = sim->net.conns[i];
        if (c != NULL && c->open[TO_ORCHESTRATOR])
            sim_net_end_died(c, TO_ORCHESTRATOR, o->power);
    }
    sim_journal_kill(o->journal);
    dispatcher_free(o->dispatcher);
    o->journal = NULL;
    o->dispatcher = NULL;
}

void sim_orchestrator_settle(struct sim *sim)
{
    struct sim_orchestrator *o = &sim->orchestrator;
    if (!o->running || !o->dying)
        return;
    sim_trace(sim, "the orchestrator dies");
    sim_hit(sim, o->power ? PATH_ORCHESTRATOR_POWER : PATH_ORCHESTRATOR_KILLED);
    free_parts(sim);
    come_back(sim);
}

/* In the order that the program does it: connections, journal, dispatcher. */
void sim_orchestrator_stop(struct sim *sim)
{
    struct sim_orchestrator *o = &sim->orchestrator;
    sim_trace(sim, "the orchestrator stops");
    sim_hit(sim, PATH_ORCHESTRATOR_STOPPED);
    for (uint32_t i = 0; i < SIM_MAX_CONNS; i++) {
        struct net_conn *c = sim->net.conns[i];
        if (c == NULL || !c->open[TO_ORCHESTRATOR])
            continue;
        if (c->session != NULL)
            dispatcher_session_closed(TAKE(c->session), "gone");
        sim_net_end_died(c, TO_ORCHESTRATOR, false);
    }
    sim_journal_drain(o->journal);
    free_parts(sim);
    come_back(sim);
}

void sim_orchestrator_free(struct sim *sim)
{
    struct sim_orchestrator *o = &sim->orchestrator;
    o->dying = true;
    if (o->running)
        free_parts(sim);
    sim_disk_done(&o->disk);
}
