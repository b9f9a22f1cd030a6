#include "orchestrator/engine/engine_internal.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* True when the server may have been changed, belongs to what is to be undone, and nobody undid it
 * yet. One that is silent belongs to the failed ones: it is in doubt. */
static bool needs_undo(const struct engine *e, const struct server *s)
{
    if (e->check || !s->x.started || s->x.resolved || (s->undo != UNDO_NONE && s->undo != UNDO_DUE))
        return false;
    if (s->stray || s->ordered)
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
    s->held = false;
    s->x.undoing = false;
    server_set_state(e, s, undo == UNDO_DONE ? EXECUTION_ROLLED_BACK : EXECUTION_ROLLBACK_FAILED);
    server_settle(e, s);
}

static void ask_rollback(struct engine *e, uint32_t server)
{
    struct server *s = &e->servers[server];
    s->undo = UNDO_ASKED;
    s->ordered = false;
    s->x.undo_round = s->rounds + 1;
    s->x.undoing = true;
    e->undo_running++;
    server_set_busy(e, s, true);
    server_set_state(e, s, EXECUTION_ROLLING_BACK);
    engine_ask(e, server, ASK_ROLLBACK);
}

void rollback_consider(struct engine *e, uint32_t server)
{
    struct server *s = &e->servers[server];
    bool has_turn = !e->undo_begun || server < e->undo_cursor;
    bool out_of_turn = s->stray || s->ordered;
    if (s->busy || s->undo == UNDO_DUE || !needs_undo(e, s) || (has_turn && !out_of_turn))
        return;
    if (!s->ended) {
        rollback_settle(e, s, UNDO_SILENT);
        return;
    }
    rollback_put_due(e, server);
}

void rollback_put_due(struct engine *e, uint32_t server)
{
    struct server *s = &e->servers[server];
    s->undo = UNDO_DUE;
    if (!s->in_due)
        engine_list_push(e, LIST_DUE, server);
    s->in_due = true;
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
            e->servers[due].in_due = false;
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
    /* Ordered server by server it is rolled back once nothing that was changed is left. */
    if (e->reopened && (e->whole_ordered || e->changed == 0))
        return ROLLOUT_ROLLED_BACK;
    if (e->stop == STOP_NONE)
        return ROLLOUT_SUCCEEDED;
    if (e->tripped)
        return e->undo_begun ? ROLLOUT_ROLLED_BACK : ROLLOUT_FAILED;
    return e->undo_planned > 0 ? ROLLOUT_ROLLED_BACK : ROLLOUT_CANCELLED;
}

static void add_clause(struct engine *e, const char *fmt, ...) PRINTF_LIKE(2, 3);
static void add_clause(struct engine *e, const char *fmt, ...)
{
    size_t len = strlen(e->verdict);
    if (len > 0 && len + 2 < sizeof(e->verdict)) {
        memcpy(e->verdict + len, "; ", 3);
        len += 2;
    }
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(e->verdict + len, sizeof(e->verdict) - len, fmt, args);
    va_end(args);
}

static void compose_verdict(struct engine *e)
{
    uint32_t all = e->server_count;
    uint32_t bad = all - e->outcomes[EXECUTION_SUCCEEDED];
    e->verdict[0] = '\0';
    if (e->cause[0])
        add_clause(e, "%s", e->cause);
    if (e->order[0])
        add_clause(e, "%s", e->order);
    if (e->phase != PHASE_OVER)
        return;
    if (e->check)
        add_clause(e, "%" PRIu32 " of %" PRIu32 " servers would change",
                   e->outcomes[EXECUTION_SUCCEEDED] - e->unchanged, all);
    if (e->state == ROLLOUT_SUCCEEDED && bad > 0)
        add_clause(e, "%" PRIu32 " of %" PRIu32 " servers did not succeed, as the plan allows", bad,
                   all);
    if (e->single_ordered && e->rolled_back > 0)
        add_clause(e, "%" PRIu32 " of %" PRIu32 " servers rolled back", e->rolled_back, all);
    if (e->rollback_failed > 0)
        add_clause(e, "rollback failed on %" PRIu32 " of %" PRIu32 " servers", e->rollback_failed,
                   all);
    if (e->resolved > 0)
        add_clause(e, "%" PRIu32 " of %" PRIu32 " servers settled by hand", e->resolved, all);
}

static void note_end(struct engine *e)
{
    struct event *note = engine_note(e, EVENT_ROLLOUT_ENDED);
    note->rollout_state = e->state;
    note->message = e->verdict[0] ? e->verdict : NULL;
}

void engine_finish(struct engine *e)
{
    e->state = final_state(e);
    e->phase = PHASE_OVER;
    e->closed = true;
    compose_verdict(e);
    e->ask_end = true;
    note_end(e);
}

void engine_reopen(struct engine *e, uint32_t count)
{
    e->state = ROLLOUT_ROLLING_BACK;
    e->phase = PHASE_UNDOING;
    e->reopened = true;
    compose_verdict(e);
    engine_note(e, EVENT_ROLLBACK_STARTED)->count = count;
}

void engine_conclude_again(struct engine *e)
{
    enum rollout_state state = final_state(e);
    bool otherwise = state != e->state;
    e->conclude_due = false;
    e->state = state;
    compose_verdict(e);
    if (otherwise)
        note_end(e);
}
