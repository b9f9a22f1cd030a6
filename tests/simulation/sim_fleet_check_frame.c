/* What must hold of the frames between orchestrator and agents. */
#include "simulation/sim_fleet.h"

#include "common/base/cleanup.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* ---- Frames to agents ------------------------------------------------------------------------ */

/* Nothing goes out before what caused it is durable, and nothing forward after a stop. */
static void check_execute(struct sim *sim, uint32_t rollout, uint32_t server)
{
    const struct sim_rollout *r = &sim->rollouts[rollout];
    const struct sim_fact *f = &r->facts[server];
    uint32_t node = r->node_of[server];
    if (r->stopped)
        sim_fail(sim, "%s is sent to server %u after it was stopped", r->id, server);
    if (server >= r->opened)
        sim_fail(sim, "%s is sent to server %u before its batch", r->id, server);
    if (f->ended || sim_given_up(f))
        sim_fail(sim, "%s is sent to server %u, which is settled", r->id, server);
    if (sim_is_locked(sim, node))
        sim_fail(sim, "%s is sent to %s, which is locked", r->id, sim->nodes[node].id);
    for (uint32_t i = 0; i < sim->rollout_count; i++) {
        const struct sim_rollout *other = &sim->rollouts[i];
        uint32_t number = 0;
        if (i == rollout || !other->created || !sim_rollout_server(sim, i, node, &number))
            continue;
        if (other->facts[number].held)
            sim_fail(sim, "%s is sent to %s, which %s is undoing", r->id, sim->nodes[node].id,
                     other->id);
        if (other->place > r->place)
            continue;
        if (!other->closed)
            sim_fail(sim, "%s is sent to %s, which %s holds", r->id, sim->nodes[node].id,
                     other->id);
        sim_hit(sim, PATH_QUEUE_WAIT);
    }
    if (sim->nodes[node].traces[rollout].heard)
        sim_hit(sim, PATH_EXECUTE_AGAIN);
    sim->nodes[node].traces[rollout].sent = true;
}

/* Undo goes out in the round that comes next, as far as is durable, and for a reason. */
static void check_rollback(struct sim *sim, uint32_t rollout, uint32_t server, int64_t round,
                           bool force)
{
    const struct sim_rollout *r = &sim->rollouts[rollout];
    const struct sim_fact *f = &r->facts[server];
    bool wanted = (r->stopped && r->scope != SCOPE_NONE) || sim_given_up(f) || f->ordered;
    if (!wanted || r->check)
        sim_fail(sim, "server %u is told to undo %s, which nobody wanted", server, r->id);
    if (round < 1 || round > f->rounds + 1)
        sim_fail(sim, "server %u is told to undo %s in round %" PRId64 " after %" PRId64, server,
                 r->id, round, f->rounds);
    if (force && !f->forced)
        sim_fail(sim, "server %u is told to undo %s by force, which nobody wanted", server, r->id);
    if (f->resolved)
        sim_fail(sim, "server %u is told to undo %s, and is settled by hand", server, r->id);
}

static int64_t number_after(const char *text, const char *what)
{
    const char *at = strstr(text, what);
    return at == NULL ? -1 : strtoll(at + strlen(what), NULL, 10);
}

static bool text_after(const char *text, const char *what, char ret[SIM_NAME_MAX])
{
    const char *at = strstr(text, what);
    if (at == NULL)
        return false;
    at += strlen(what);
    size_t len = strcspn(at, "\"");
    if (len >= SIM_NAME_MAX)
        return false;
    memcpy(ret, at, len);
    ret[len] = '\0';
    return true;
}

void sim_check_frame(struct sim *sim, const struct sim_node *n, const char *data, size_t len)
{
    char type[SIM_NAME_MAX];
    char id[SIM_NAME_MAX];
    uint32_t server = 0;
    (void)len;
    if (!text_after(data, "\"type\":\"", type) || !text_after(data, "\"rollout\":\"", id))
        return;
    uint32_t rollout = sim_rollout_find(sim, id);
    if (rollout == SIM_MAX_ROLLOUTS || !sim_rollout_server(sim, rollout, n->index, &server)) {
        sim_fail(sim, "%s is told of %s, which has no part for it", n->id, id);
        return;
    }
    const struct sim_rollout *r = &sim->rollouts[rollout];
    const struct sim_fact *f = &r->facts[server];
    bool may_stop = r->stopped || sim_given_up(f) || f->ordered || f->resolved;
    if (!r->created)
        sim_fail(sim, "%s is told of %s before that is durable", n->id, id);
    if (strcmp(type, "execute") == 0 && (strstr(data, "\"check\":true") != NULL) != r->check)
        sim_fail(sim, "%s is to %s %s", n->id, r->check ? "execute the check" : "check", id);
    if (strcmp(type, "execute") == 0)
        check_execute(sim, rollout, server);
    else if (strcmp(type, "cancel") == 0 && !may_stop)
        sim_fail(sim, "%s is told to stop %s, which nobody stopped", n->id, id);
    else if (strcmp(type, "rollback") == 0)
        check_rollback(sim, rollout, server, number_after(data, "\"round\":"),
                       strstr(data, "\"force\":true") != NULL);
    else if (strcmp(type, "ack") == 0 && number_after(data, "\"seq\":") > f->agent_seq &&
             !n->traces[rollout].amnesia)
        sim_fail(sim, "%s: entry %" PRId64 " of %s is acknowledged, durable is %" PRId64, n->id,
                 number_after(data, "\"seq\":"), id, f->agent_seq);
}

void sim_check_arrival(struct sim *sim, const struct sim_node *n, const char *data)
{
    char type[SIM_NAME_MAX];
    char id[SIM_NAME_MAX];
    uint32_t server = 0;
    if (!text_after(data, "\"type\":\"", type) || strcmp(type, "report") != 0 ||
        !text_after(data, "\"rollout\":\"", id))
        return;
    uint32_t rollout = sim_rollout_find(sim, id);
    if (rollout < SIM_MAX_ROLLOUTS && sim_rollout_server(sim, rollout, n->index, &server) &&
        number_after(data, "\"seq\":") <= sim->rollouts[rollout].facts[server].agent_seq)
        sim_hit(sim, PATH_RESENT);
}

/* What an agent is told of makes it one that can forget it, and can confirm what it did. */
void sim_check_delivery(struct sim *sim, const struct net_conn *c, const char *data)
{
    char type[SIM_NAME_MAX];
    char id[SIM_NAME_MAX];
    if (!text_after(data, "\"type\":\"", type) || !text_after(data, "\"rollout\":\"", id))
        return;
    uint32_t rollout = sim_rollout_find(sim, id);
    if (rollout == SIM_MAX_ROLLOUTS)
        return;
    struct sim_trace *t = &c->node->traces[rollout];
    if (strcmp(type, "ack") != 0)
        t->heard = true;
    else if (t->confirm_seq > 0 && c->id >= t->confirm_from &&
             number_after(data, "\"seq\":") >= t->confirm_seq)
        t->confirmed = true;
}
