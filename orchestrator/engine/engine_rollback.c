#include "orchestrator/engine/engine_internal.h"

#include <inttypes.h>
#include <stdio.h>

/* True when the server may have been changed, belongs to what is to be undone, and nobody undid it
 * yet. One that is silent belongs to the failed ones: it is in doubt. */
static bool needs_undo(const struct engine *e, const struct server *s)
{
    if (!s->x.started || (s->undo != UNDO_NONE && s->undo != UNDO_DUE))
        return false;
    if (s->stray)
        return true;
    if (e->stop == STOP_NONE)
        return false;
    switch ((enum plan_scope)e->undo_scope) {
    case SCOPE_ALL:
        return true;
    case SCOPE_FAILED:
        return s->x.outcome == EXECUTION_FAILED || s->x.outcome == EXECUTION_TIMED_OUT ||
               s->x.outcome == EXECUTION_UNKNOWN;
    case SCOPE_NONE:
    case SCOPE_COUNT:
        break;
    }
    return false;
}

void rollback_settle(struct engine *e, struct server *s, enum undo undo)
{
    e->undo_running -= s->undo == UNDO_ASKED;
    s->undo = (uint8_t)undo;
    s->x.undoing = false;
    server_set_state(e, s, undo == UNDO_DONE ? EXECUTION_ROLLED_BACK : EXECUTION_ROLLBACK_FAILED);
    server_settle(e, s);
}

static void ask_rollback(struct engine *e, uint32_t server)
{
    struct server *s = &e->servers[server];
    s->undo = UNDO_ASKED;
    s->x.undoing = true;
    e->undo_running++;
    server_set_busy(e, s, true);
    server_set_state(e, s, EXECUTION_ROLLING_BACK);
    engine_ask(e, server, ASK_ROLLBACK);
}

void rollback_consider(struct engine *e, uint32_t server)
{
    struct server *s = &e->servers[server];
    bool in_turn = !e->undo_begun || server < e->undo_cursor;
    if (s->busy || s->undo == UNDO_DUE || !needs_undo(e, s) || (in_turn && !s->stray))
        return;
    if (!s->ended) {
        rollback_settle(e, s, UNDO_SILENT);
        return;
    }
    s->undo = UNDO_DUE;
    engine_list_push(e, LIST_DUE, server);
}

/* Its turn has come, latest start first. */
static void undo_in_turn(struct engine *e, uint32_t server)
{
    struct server *s = &e->servers[server];
    if (s->busy || s->undo == UNDO_DUE || !needs_undo(e, s))
        return; /* one that is still at work is considered when it comes to rest */
    if (s->ended)
        ask_rollback(e, server);
    else
        rollback_settle(e, s, UNDO_SILENT);
}

void rollback_ask_servers(struct engine *e)
{
    while (e->undo_running < e->most_slots) {
        uint32_t due = engine_list_pop(e, LIST_DUE);
        if (due != LIST_END) {
            if (e->servers[due].undo == UNDO_DUE)
                ask_rollback(e, due);
        } else if (e->undo_cursor > 0) {
            undo_in_turn(e, --e->undo_cursor);
        } else {
            return;
        }
    }
}

void rollback_begin(struct engine *e)
{
    batch_note_ended(e);
    if (e->undo_scope == SCOPE_NONE) {
        e->phase = PHASE_CLOSING;
        return;
    }
    for (uint32_t i = 0; i < e->next; i++)
        e->undo_planned += needs_undo(e, &e->servers[i]);
    e->phase = PHASE_UNDOING;
    e->undo_begun = true;
    e->undo_cursor = e->next;
    if (!e->tripped && e->undo_planned == 0)
        return; /* cancelled before anything was changed */
    e->state = ROLLOUT_ROLLING_BACK;
    engine_note(e, EVENT_ROLLBACK_STARTED)->count = e->undo_planned;
}

/* ---- The end ------------------------------------------------------------------------------- */

static enum rollout_state final_state(const struct engine *e)
{
    if (e->rollback_failed > 0)
        return ROLLOUT_ROLLBACK_FAILED;
    if (e->stop == STOP_NONE)
        return ROLLOUT_SUCCEEDED;
    if (e->tripped)
        return e->undo_begun ? ROLLOUT_ROLLED_BACK : ROLLOUT_FAILED;
    return e->undo_planned > 0 ? ROLLOUT_ROLLED_BACK : ROLLOUT_CANCELLED;
}

static void compose_verdict(struct engine *e)
{
    uint32_t bad = e->server_count - e->outcomes[EXECUTION_SUCCEEDED];
    if (e->state == ROLLOUT_ROLLBACK_FAILED)
        (void)snprintf(e->verdict, sizeof(e->verdict),
                       "%s%srollback failed on %" PRIu32 " of %" PRIu32 " servers", e->cause,
                       e->cause[0] ? "; " : "", e->rollback_failed, e->server_count);
    else if (e->stop != STOP_NONE)
        (void)snprintf(e->verdict, sizeof(e->verdict), "%s", e->cause);
    else if (bad > 0)
        (void)snprintf(e->verdict, sizeof(e->verdict),
                       "%" PRIu32 " of %" PRIu32 " servers did not succeed, as the plan allows",
                       bad, e->server_count);
}

void engine_finish(struct engine *e)
{
    e->state = final_state(e);
    e->phase = PHASE_OVER;
    compose_verdict(e);
    e->ask_end = true;
    struct event *note = engine_note(e, EVENT_ROLLOUT_ENDED);
    note->rollout_state = e->state;
    note->message = e->verdict[0] ? e->verdict : NULL;
}
