#include "orchestrator/engine/engine_internal.h"

#include "common/base/text.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

void order_name(char *text, size_t size, const char *what, const struct event *event)
{
    const char *by = event->by ? event->by : "";
    size_t len = text_utf8_cut(by, strlen(by), ENGINE_MAX_BY);
    (void)snprintf(text, size, "%s%s%.*s", what, len > 0 ? " by " : "", (int)len, by);
}

static enum error_code check_server(const struct engine *e, const struct event *event,
                                    struct error *err)
{
    if (event->server >= e->server_count)
        return error_set(err, ERR_INVALID, "the plan has no server number %" PRIu32, event->server);
    return ERR_OK;
}

/* ---- Undoing what is ordered --------------------------------------------------------------- */

/* Refuses what cannot be undone, or is undone anyhow. A silent server whose undo stands can still
 * be ordered with more force. */
static enum error_code check_undo(const struct engine *e, const struct event *event,
                                  struct error *err)
{
    const struct server *s = &e->servers[event->server];
    const char *name = plan_server(e->plan, event->server);
    const char *state = execution_state_names[engine_execution(e, event->server)->state];
    if (s->x.state == EXECUTION_ROLLING_BACK)
        return error_set(err, ERR_CONFLICT, "%s is rolling back already: wait for how it ends",
                         name);
    if (s->busy)
        return error_set(err, ERR_CONFLICT,
                         "%s is at work (%s): wait until it is at rest, or roll the whole rollout "
                         "back",
                         name, state);
    if (!s->x.started)
        return error_set(err, ERR_CONFLICT, "%s was not started (%s): there is nothing to undo",
                         name, state);
    if (s->undo == UNDO_DONE)
        return error_set(err, ERR_CONFLICT, "%s is rolled back already: there is nothing to undo",
                         name);
    if (s->undo == UNDO_DUE)
        return error_set(err, ERR_CONFLICT,
                         "%s (%s) is to be undone already: wait until others are, it is next", name,
                         state);
    if (s->ordered && (s->x.undo_force || !event->force))
        return error_set(err, ERR_CONFLICT,
                         "%s (%s) is to be undone already: that begins when its agent comes back, "
                         "or settle it by hand",
                         name, state);
    return ERR_OK;
}

/* One that cannot be told now, since it is silent or an earlier round has no known end, counts as
 * not undone until it is heard of. One that is at work came back after the end; it is stopped. */
static void order_undo(struct engine *e, uint32_t server, bool force)
{
    struct server *s = &e->servers[server];
    e->resolved -= s->x.resolved;
    s->x.resolved = false;
    s->ordered = true;
    s->x.undo_force = force;
    if (s->busy && e->stop == STOP_NONE && !s->stray)
        server_cancel(e, server);
    if (s->busy || s->undo == UNDO_OWED)
        return;
    if (!s->ended || s->round_open || s->undo == UNDO_SILENT)
        rollback_settle(e, s, UNDO_SILENT);
    else {
        s->held = true;
        rollback_put_due(e, server);
    }
}

bool engine_holds(const struct engine *e, uint32_t server)
{
    assert(server < e->server_count);
    return !e->closed || e->servers[server].held;
}

/* What is to be true of the rollout for anything of it to be undone. */
static enum error_code check_undoable(const struct engine *e, struct error *err)
{
    if (e->phase == PHASE_NEW)
        return error_set(err, ERR_CONFLICT, "the rollout has not begun");
    if (e->check)
        return error_set(err, ERR_CONFLICT,
                         "the rollout is a check, which changes nothing: there is nothing to undo");
    return ERR_OK;
}

enum error_code engine_check_rollback(const struct engine *e, const struct event *event,
                                      struct error *err)
{
    enum error_code code = check_undoable(e, err);
    if (code == ERR_OK)
        code = check_server(e, event, err);
    return code == ERR_OK ? check_undo(e, event, err) : code;
}

static enum error_code order_server(struct engine *e, const struct event *event, struct error *err)
{
    enum error_code code = check_server(e, event, err);
    if (code == ERR_OK)
        code = check_undo(e, event, err);
    if (code != ERR_OK)
        return code;
    e->single_ordered = true;
    order_undo(e, event->server, event->force);
    if (e->phase == PHASE_OVER)
        engine_reopen(e, 1);
    return ERR_OK;
}

/* Latest start first: the list keeps the order in which they are put there. */
static enum error_code order_whole(struct engine *e, const struct event *event, struct error *err)
{
    uint32_t count = 0;
    for (uint32_t i = e->next; i-- > 0;) {
        if (!engine_needs_undo(e, i))
            continue;
        order_undo(e, i, false);
        count++;
    }
    if (count == 0)
        return error_set(err, ERR_CONFLICT,
                         "the rollout has ended (%s) and nothing is left to undo: every server is "
                         "rolled back, was never started, or is undone when its agent comes back",
                         rollout_state_names[e->state]);
    e->whole_ordered = true;
    order_name(e->order, sizeof(e->order), "rollback ordered", event);
    engine_reopen(e, count);
    return ERR_OK;
}

enum error_code order_rollback(struct engine *e, const struct event *event, struct error *err)
{
    enum error_code code = check_undoable(e, err);
    if (code != ERR_OK)
        return code;
    if (event->server != EVENT_NO_SERVER)
        return order_server(e, event, err);
    if (event->force)
        return error_set(err, ERR_INVALID,
                         "a rollback is forced server by server: name the servers");
    return e->phase == PHASE_OVER ? order_whole(e, event, err) : control_rollback(e, event, err);
}

/* ---- Settling by hand ---------------------------------------------------------------------- */

static enum error_code check_resolve(const struct engine *e, const struct event *event,
                                     struct error *err)
{
    const struct server *s = &e->servers[event->server];
    const char *name = plan_server(e->plan, event->server);
    enum execution_state state = engine_execution(e, event->server)->state;
    if (event->state != EXECUTION_SUCCEEDED && event->state != EXECUTION_FAILED &&
        event->state != EXECUTION_ROLLED_BACK)
        return error_set(err, ERR_INVALID,
                         "a server is settled as succeeded, failed or rolled_back");
    if (e->check && event->state == EXECUTION_ROLLED_BACK)
        return error_set(err, ERR_CONFLICT,
                         "the rollout is a check, which changes nothing: settle %s as succeeded or "
                         "failed",
                         name);
    if (s->x.resolved)
        return error_set(err, ERR_CONFLICT,
                         "%s is settled already (%s): to change it, order its rollback", name,
                         execution_state_names[state]);
    if (s->busy)
        return error_set(err, ERR_CONFLICT, "%s is %s: wait until it is at rest", name,
                         execution_state_names[state]);
    if (state != EXECUTION_UNKNOWN && state != EXECUTION_ROLLBACK_FAILED)
        return error_set(err, ERR_CONFLICT,
                         "%s is %s, which leaves nothing to settle: only a server that is unknown "
                         "or rollback_failed is settled by hand",
                         name, execution_state_names[state]);
    return ERR_OK;
}

enum error_code order_resolve(struct engine *e, const struct event *event, struct error *err)
{
    enum error_code code = check_server(e, event, err);
    if (code == ERR_OK)
        code = check_resolve(e, event, err);
    if (code != ERR_OK)
        return code;
    struct server *s = &e->servers[event->server];
    s->x.resolved = true;
    e->resolved++;
    s->asks = 0;
    s->undo = UNDO_NONE;
    s->ordered = false;
    s->held = false;
    s->x.undo_force = false;
    s->x.conflict = false;
    if (event->message)
        s->x.reason_seq = event->seq;
    bool good = event->state == EXECUTION_SUCCEEDED;
    if (s->x.outcome == EXECUTION_UNKNOWN)
        server_set_outcome(e, s, good ? EXECUTION_SUCCEEDED : EXECUTION_FAILED);
    server_set_state(e, s, event->state);
    threshold_check(e);
    e->conclude_due = e->phase == PHASE_OVER;
    return ERR_OK;
}

void order_release_resolved(struct engine *e)
{
    for (uint32_t i = 0; i < e->next; i++) {
        struct server *s = &e->servers[i];
        if (!s->x.resolved || s->x.state == EXECUTION_ROLLED_BACK)
            continue;
        e->resolved--;
        s->x.resolved = false;
        if (s->round_open) /* its end is still to come, and is awaited as any other's */
            rollback_settle(e, s, UNDO_SILENT);
        else
            rollback_consider(e, i);
    }
}
