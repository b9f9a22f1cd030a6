#include "simulation/engine_world.h"

#include <assert.h>
#include <inttypes.h>

bool connected(const struct world *w, const struct agent *a)
{
    bool away =
        a->comes_and_goes > 0 && w->tick < FAULTS_UNTIL && (w->tick / a->comes_and_goes) % 2 == 1;
    return !away && w->tick >= a->answers_from &&
           (w->tick < a->silent_from || w->tick >= a->silent_until);
}

/* ---- Agents -------------------------------------------------------------------------------- */

static struct event *record(struct world *w, uint32_t i, enum event_type type, int32_t step)
{
    struct agent *a = &w->agents[i];
    assert(a->entry_count < MAX_ENTRIES);
    struct event *entry = &a->entries[a->entry_count++];
    *entry = event_about(type, i);
    entry->step = step;
    entry->agent_seq = a->entry_count;
    entry->attempt = (int32_t)a->attempt;
    return entry;
}

static void agent_ends(struct world *w, uint32_t i, enum execution_state state, bool undoing)
{
    struct agent *a = &w->agents[i];
    struct event *entry = record(w, i, EVENT_EXECUTION_ENDED, EVENT_NO_STEP);
    entry->state = state;
    entry->undoing = undoing;
    a->phase = undoing ? AGENT_UNDOING : AGENT_AT_REST;
}

/* Its steps are done: it has succeeded, when that need not be confirmed, or is. */
static void agent_finishes(struct world *w, uint32_t i)
{
    struct agent *a = &w->agents[i];
    if (w->plan->confirm_timeout_ms > 0 && !w->check && !a->confirming) {
        a->confirming = true;
        (void)record(w, i, EVENT_EXECUTION_CONFIRMING, EVENT_NO_STEP);
    } else if (a->confirming && rng_chance(&w->rng, 10)) {
        agent_ends(w, i, EXECUTION_FAILED, true);
        hit(w, PATH_NOT_CONFIRMED);
    } else {
        agent_ends(w, i, EXECUTION_SUCCEEDED, false);
    }
}

static void agent_runs(struct world *w, uint32_t i)
{
    struct agent *a = &w->agents[i];
    int32_t step = (int32_t)a->step;
    if (!a->in_step && a->stop) {
        agent_ends(w, i, EXECUTION_CANCELLED, false);
    } else if (!a->in_step && a->step == w->steps) {
        agent_finishes(w, i);
    } else if (!a->in_step) {
        a->attempt = 1;
        a->in_step = true;
        a->rebooting = false;
        a->begun[a->step] = !w->check;
        if (!w->check) /* a check has no beginning on record */
            (void)record(w, i, EVENT_STEP_STARTED, step);
    } else if (a->stop_now) {
        a->in_step = false;
        record(w, i, EVENT_STEP_ENDED, step)->step_state = STEP_FAILED;
    } else if (!w->check && rng_chance(&w->rng, 8)) {
        struct event *entry =
            record(w, i, a->rebooting ? EVENT_STEP_REBOOTED : EVENT_STEP_REBOOTING, step);
        entry->away_ms = a->rebooting ? 0 : 1 + (int64_t)rng_below(&w->rng, 1000);
        a->rebooting = !a->rebooting;
    } else if (a->attempt == 1 && rng_chance(&w->rng, 10)) {
        (void)record(w, i, EVENT_STEP_RETRYING, step);
        a->attempt = 2;
    } else if (a->step == a->fails_at) {
        record(w, i, EVENT_STEP_ENDED, step)->step_state =
            a->failure == EXECUTION_FAILED ? STEP_FAILED : STEP_TIMED_OUT;
        agent_ends(w, i, a->failure, a->undoes_itself);
    } else {
        struct event *entry = record(w, i, EVENT_STEP_ENDED, step);
        entry->step_state = STEP_SUCCEEDED;
        entry->changed = !a->idle && rng_chance(&w->rng, 70);
        a->in_step = false;
        a->step++;
    }
}

/* How many steps are to be looked at by a round of undo: the half-done one included. */
static uint32_t steps_to_undo(const struct world *w, const struct agent *a)
{
    uint32_t n = w->steps;
    while (n > 0 && (!a->begun[n - 1] || a->undone[n - 1]))
        n--;
    return n;
}

static void step_undone(struct world *w, uint32_t i, uint32_t step, bool fails)
{
    struct agent *a = &w->agents[i];
    struct event *entry = record(w, i, EVENT_STEP_ROLLED_BACK, (int32_t)step);
    entry->step_state = fails ? STEP_ROLLBACK_FAILED : STEP_ROLLED_BACK;
    entry->conflict = fails && a->undo_conflicts;
    a->undone[step] = !fails;
    a->round_failed = a->round_failed || fails;
}

/* Steps are undone last first, also when one of them cannot be. */
static void agent_undoes(struct world *w, uint32_t i)
{
    struct agent *a = &w->agents[i];
    if (!a->round_begun) {
        a->round_begun = true;
        a->round_failed = false;
        a->rounds++;
        a->undo_left = steps_to_undo(w, a);
        record(w, i, EVENT_EXECUTION_ROLLBACK_STARTED, EVENT_NO_STEP)->force = a->force;
        return;
    }
    while (a->undo_left > 0 && (!a->begun[a->undo_left - 1] || a->undone[a->undo_left - 1]))
        a->undo_left--;
    if (a->undo_left > 0) {
        uint32_t step = --a->undo_left;
        bool fails = a->rounds <= a->undo_failures && step % w->steps == a->undo_fails_at;
        step_undone(w, i, step, fails && !(a->undo_conflicts && a->force));
        return;
    }
    record(w, i, EVENT_EXECUTION_ROLLED_BACK, EVENT_NO_STEP)->state =
        a->round_failed ? EXECUTION_ROLLBACK_FAILED : EXECUTION_ROLLED_BACK;
    a->phase = AGENT_UNDONE;
    if (!a->round_failed && a->rounds > 1)
        hit(w, PATH_RETRIED);
    if (!a->round_failed && a->undo_conflicts && a->force)
        hit(w, PATH_FORCED);
}

static void agent_acts(struct world *w, uint32_t i)
{
    struct agent *a = &w->agents[i];
    if (a->phase == AGENT_RUNNING)
        agent_runs(w, i);
    else if (a->phase == AGENT_UNDOING)
        agent_undoes(w, i);
}

/* An order whose round has begun is known already. */
static void told_to_undo(struct world *w, uint32_t i)
{
    const struct line *line = &w->lines[i];
    struct agent *a = &w->agents[i];
    if (w->check)
        model_fail(&w->model, "server %u is to undo a check", i);
    if (a->phase == AGENT_RUNNING || a->phase == AGENT_IDLE)
        model_fail(&w->model, "server %u is to undo while it runs", i);
    if (a->phase == AGENT_UNDOING ? line->round > a->rounds + !a->round_begun
                                  : line->round > a->rounds + 1)
        model_fail(&w->model, "server %u is to undo more often than it can have", i);
    if (a->phase == AGENT_UNDOING || line->round <= a->rounds)
        return;
    a->phase = AGENT_UNDOING;
    a->round_begun = false;
    a->force = line->force;
}

/* Delivers what waits for this agent. A repeat is taken for what it is. */
static void deliver(struct world *w, uint32_t i)
{
    struct line *line = &w->lines[i];
    struct agent *a = &w->agents[i];
    if (line->execute) {
        line->execute = rng_chance(&w->rng, w->repeat_percent);
        line->sent = true;
        if (a->phase == AGENT_IDLE) {
            a->phase = AGENT_RUNNING;
            (void)record(w, i, EVENT_EXECUTION_STARTED, EVENT_NO_STEP);
        }
    } else if (line->cancel) {
        line->cancel = false;
        a->stop = true;
        a->stop_now = a->stop_now || line->cancel_now;
    } else if (line->rollback) {
        line->rollback = rng_chance(&w->rng, w->repeat_percent);
        told_to_undo(w, i);
    }
}

static void report(struct world *w, uint32_t i)
{
    struct agent *a = &w->agents[i];
    if (a->acked > 0 && rng_chance(&w->rng, w->repeat_percent)) {
        int64_t old = rng_below(&w->rng, (uint32_t)a->acked);
        if (offer(w, a->entries[old]) != ERR_STALE)
            model_fail(&w->model, "a repeated entry of server %u was taken for new", i);
        hit(w, PATH_REPEAT);
    }
    if (a->acked + 1 < a->entry_count && rng_chance(&w->rng, 5)) {
        int64_t seen = engine_execution(w->engine, i)->last_agent_seq;
        if (seen == a->acked && offer(w, a->entries[a->acked + 1]) != ERR_INVALID)
            model_fail(&w->model, "a gap in the entries of server %u was not seen", i);
        hit(w, PATH_GAP);
    }
    if (a->acked == a->entry_count)
        return;
    enum error_code code = offer(w, a->entries[a->acked]);
    if (code != ERR_OK && code != ERR_STALE)
        model_fail(&w->model, "entry %" PRId64 " of server %u was refused: %s", a->acked + 1, i,
                   error_code_name(code));
    if (rng_chance(&w->rng, 90) || code == ERR_STALE) /* else the acknowledgement is lost */
        a->acked++;
    w->lines[i].deadline = 0;
}

/* ---- Silence ------------------------------------------------------------------------------- */

/* An agent that does not answer for too long is given up; one that answers has its time again. */
static void watch(struct world *w, uint32_t i)
{
    struct line *line = &w->lines[i];
    const struct model_server *s = &w->model.servers[i];
    if (line->cancel && s->slot && !s->started && !line->sent) {
        line->execute = false;
        line->cancel = false;
        line->deadline = 0;
        send_event(w, event_about(EVENT_EXECUTION_WITHDRAWN, i));
        return;
    }
    if (!model_busy(s))
        return;
    if (line->deadline == 0 || connected(w, &w->agents[i])) {
        line->deadline = w->tick + (s->started ? SILENCE_TIMEOUT : START_TIMEOUT);
        return;
    }
    if (w->tick < line->deadline)
        return;
    line->deadline = 0;
    if (!s->started && !line->sent && rng_chance(&w->rng, 50))
        line->execute = false; /* taken out of the queue; else it may have gone out just now */
    if (!s->started) {
        send_event(w, event_about(EVENT_EXECUTION_UNREACHABLE, i));
        return;
    }
    send_event(w, event_about(EVENT_EXECUTION_UNKNOWN, i));
    if (w->orders_left > 0 && !w->model.failure[0] && rng_chance(&w->rng, 30))
        people_see_silence(w, i);
}

void tick_server(struct world *w, uint32_t i)
{
    struct agent *a = &w->agents[i];
    if (rng_once_in(&w->rng, 1 + a->slowness))
        agent_acts(w, i);
    if (connected(w, a) && rng_chance(&w->rng, 50))
        deliver(w, i);
    if (connected(w, a) && a->acked < a->entry_count && rng_chance(&w->rng, 50))
        report(w, i);
    watch(w, i);
}
