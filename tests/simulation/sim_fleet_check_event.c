/* What must hold of the events that become durable on the orchestrator's disk, and what is known of
 * rollouts from them. */
#include "simulation/sim_fleet.h"

#include "common/base/cleanup.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* ---- Events that have become durable --------------------------------------------------------- */

static const enum report_type report_of[EVENT_TYPE_COUNT] = {
    [EVENT_EXECUTION_STARTED] = REPORT_STARTED,
    [EVENT_STEP_STARTED] = REPORT_STEP_STARTED,
    [EVENT_STEP_RETRYING] = REPORT_STEP_RETRYING,
    [EVENT_STEP_REBOOTING] = REPORT_STEP_REBOOTING,
    [EVENT_STEP_REBOOTED] = REPORT_STEP_REBOOTED,
    [EVENT_STEP_ENDED] = REPORT_STEP_ENDED,
    [EVENT_EXECUTION_CONFIRMING] = REPORT_CONFIRMING,
    [EVENT_EXECUTION_ENDED] = REPORT_ENDED,
    [EVENT_EXECUTION_ROLLBACK_STARTED] = REPORT_ROLLBACK_STARTED,
    [EVENT_STEP_ROLLED_BACK] = REPORT_STEP_ROLLED_BACK,
    [EVENT_EXECUTION_ROLLED_BACK] = REPORT_ROLLED_BACK,
};

/* What is recorded of an agent is what the agent has on its own disk, once and in order. */
static void check_reported(struct sim *sim, uint32_t rollout, const struct event *event)
{
    struct sim_rollout *r = &sim->rollouts[rollout];
    struct sim_fact *f = &r->facts[event->server];
    const struct sim_node *n = &sim->nodes[r->node_of[event->server]];
    const struct sim_store_execution *x = sim_store_find(n, rollout);
    const struct sim_store_entry *entry = NULL;
    if (event->agent_seq == 0)
        return;
    if (event->agent_seq != f->agent_seq + 1)
        sim_fail(sim, "%s: entry %" PRId64 " of %s is recorded after entry %" PRId64, r->id,
                 event->agent_seq, n->id, f->agent_seq);
    f->agent_seq = event->agent_seq;
    if (n->traces[rollout].amnesia)
        return;
    entry = x == NULL ? NULL : sim_store_entry(x, event->agent_seq);
    if (entry == NULL) {
        sim_fail(sim, "%s: entry %" PRId64 " of %s is recorded, and the server has none", r->id,
                 event->agent_seq, n->id);
        return;
    }
    bool about_step = event->step != EVENT_NO_STEP;
    bool about_end =
        event->type == EVENT_EXECUTION_ENDED || event->type == EVENT_EXECUTION_ROLLED_BACK;
    int state = about_step ? (int)event->step_state : (int)event->state;
    if (entry->type != (int)report_of[event->type] || entry->step != event->step ||
        ((about_end || event->type == EVENT_STEP_ENDED) && entry->state != state))
        sim_fail(sim, "%s: entry %" PRId64 " of %s is recorded otherwise than the server has it",
                 r->id, event->agent_seq, n->id);
}

/* ---- Of one server --------------------------------------------------------------------------- */

static void fact_started(struct sim *sim, struct sim_rollout *r, struct sim_fact *f)
{
    if (f->started)
        sim_fail(sim, "%s: a server starts twice", r->id);
    f->started = true;
    if (sim_given_up(f))
        sim_hit(sim, PATH_STRAY);
}

static bool is_on_behalf(struct sim *sim, const struct sim_rollout *r, const struct event *event)
{
    const struct sim_trace *t = &sim->nodes[r->node_of[event->server]].traces[r - sim->rollouts];
    if (event->agent_seq != 0)
        return false;
    if (!t->amnesia)
        sim_fail(sim, "%s: server %u is said to have lost its record, and has not", r->id,
                 event->server);
    return true;
}

static void fact_ended(struct sim *sim, struct sim_rollout *r, struct sim_fact *f,
                       const struct event *event)
{
    if (f->ended)
        sim_fail(sim, "%s: a server ends twice", r->id);
    f->ended = true;
    f->ended_as = event->state;
    if (f->outcome == EXECUTION_PENDING || (f->outcome == EXECUTION_UNKNOWN && !r->closed))
        f->outcome = event->state;
    /* Not one that a person has said to have succeeded. */
    f->unchanged = event->state == EXECUTION_SUCCEEDED && f->outcome == EXECUTION_SUCCEEDED &&
                   !f->changed && !f->resolved;
    if (f->unchanged)
        sim_hit(sim, PATH_UNCHANGED);
    if (is_on_behalf(sim, r, event)) {
        f->on_behalf = true;
        sim_hit(sim, PATH_LOST_RECORD);
    }
    if (f->unknown)
        sim_hit(sim, r->ended ? PATH_LATE_RETURN_OVER : PATH_LATE_RETURN);
}

static void fact_undo_began(struct sim *sim, struct sim_rollout *r, struct sim_fact *f)
{
    if (f->round_open)
        sim_fail(sim, "%s: a server begins to undo in the midst of it", r->id);
    if (sim_is_undone(f) && !f->resolved)
        sim_fail(sim, "%s: a server begins to undo what is undone", r->id);
    if (f->rounds > 0)
        sim_hit(sim, PATH_ROUND_AGAIN);
    f->undoing = f->round_open = true;
    f->rounds++;
}

static void fact_undone(struct sim *sim, struct sim_rollout *r, struct sim_fact *f,
                        const struct event *event)
{
    bool done = event->state == EXECUTION_ROLLED_BACK;
    if (f->undone && f->undone_as == EXECUTION_ROLLED_BACK)
        sim_fail(sim, "%s: a server is undone twice", r->id);
    if (!f->round_open)
        (void)is_on_behalf(sim, r, event);
    if (done && f->undone)
        sim_hit(sim, PATH_ROUND_BETTER);
    if (done && f->standing && f->unknown)
        sim_hit(sim, PATH_ROLLBACK_SILENT_DONE);
    if (done && r->ended)
        sim_hit(sim, PATH_LATE_ROLLED_BACK);
    f->round_open = f->held = false;
    f->undone = true;
    f->undone_as = event->state;
    f->standing = f->standing && f->again && !done;
    f->again = false;
}

/* When it may have been reported that is durable only now: what waited for a full disk counts from
 * when it came. */
static int64_t reported_ms(const struct sim *sim)
{
    enum { TRIED_AGAIN_MS = 10000 }; /* the disk, by then */
    const struct sim_orchestrator *o = &sim->orchestrator;
    bool waited = o->full_ms > 0 && sim->now_ms - o->writable_ms < TRIED_AGAIN_MS;
    return waited ? o->full_ms : sim->now_ms;
}

/* A server that a step reboots is not missed before its time. */
static void fact_silent(struct sim *sim, struct sim_fact *f)
{
    int64_t longest_ms = 4 * (int64_t)sim->profile.commit_ms; /* from the report to the disk */
    sim_hit(sim, PATH_UNKNOWN);
    if (f->away_from_ms > 0) {
        sim_hit(sim, PATH_REBOOT_UNKNOWN);
        if (sim->now_ms - f->away_from_ms < f->away_ms - longest_ms)
            sim_fail(sim, "a server is said to be silent %" PRId64 " ms after it was to reboot",
                     sim->now_ms - f->away_from_ms);
    }
    f->away_from_ms = 0;
    f->unknown = f->silent = true;
    f->undoing = f->undoing || f->ended; /* that is given up */
    f->held = false;
    if (f->outcome == EXECUTION_PENDING)
        f->outcome = EXECUTION_UNKNOWN;
}

/* Its place is given away: its agent is stopped and undone if it began all the same. */
static void fact_given_up(struct sim *sim, struct sim_rollout *r, struct sim_fact *f,
                          bool withdrawn)
{
    if (f->outcome != EXECUTION_PENDING)
        sim_fail(sim, "%s: a server's place is given away that is settled", r->id);
    sim_hit(sim, withdrawn ? PATH_WITHDRAWN : PATH_UNREACHABLE);
    f->withdrawn = f->withdrawn || withdrawn;
    f->unreachable = f->unreachable || !withdrawn;
    f->outcome = withdrawn ? EXECUTION_SKIPPED : EXECUTION_UNREACHABLE;
}

static void fact_resolved(struct sim *sim, struct sim_rollout *r, struct sim_fact *f,
                          const struct event *event)
{
    static const enum sim_path paths[EXECUTION_STATE_COUNT] = {
        [EXECUTION_SUCCEEDED] = PATH_RESOLVED_SUCCEEDED,
        [EXECUTION_FAILED] = PATH_RESOLVED_FAILED,
        [EXECUTION_ROLLED_BACK] = PATH_RESOLVED_ROLLED_BACK,
    };
    bool doubted = f->silent || (f->undone && f->undone_as == EXECUTION_ROLLBACK_FAILED) ||
                   (f->standing && f->unknown);
    if (f->resolved || !f->started || !doubted)
        sim_fail(sim, "%s: a server is settled by hand that needs none", r->id);
    sim_hit(sim, paths[event->state]);
    f->resolved = f->settled = true;
    f->resolved_as = event->state;
    f->standing = f->again = f->held = false;
    r->settled_since = r->settled_since || r->ended;
    if (f->outcome == EXECUTION_UNKNOWN)
        f->outcome = event->state == EXECUTION_SUCCEEDED ? EXECUTION_SUCCEEDED : EXECUTION_FAILED;
}

/* A person wants it undone. */
static void fact_ordered(struct sim *sim, const struct sim_rollout *r, struct sim_fact *f,
                         bool force)
{
    if (f->resolved)
        sim_hit(sim, PATH_RESOLVED_ORDERED);
    /* What was heard of it meanwhile, or not, changed nothing; it is asked again. */
    f->undone = f->undone && !f->resolved;
    f->silent = f->silent && !(f->resolved && f->ended && !f->round_open);
    if (f->silent)
        sim_hit(sim, PATH_ROLLBACK_SILENT);
    f->resolved = false;
    f->ordered = f->standing = true;
    f->again = f->round_open || f->silent;
    f->forced = f->forced || force;
    f->held = r->closed && f->ended && !f->round_open && !f->silent;
}

static void take_server_event(struct sim *sim, uint32_t rollout, const struct event *event)
{
    struct sim_rollout *r = &sim->rollouts[rollout];
    struct sim_fact *f = &r->facts[event->server];
    check_reported(sim, rollout, event);
    if (event->agent_seq != 0) {
        if (f->resolved)
            sim_hit(sim, PATH_RESOLVED_HEARD);
        if (f->away_from_ms > 0 && event->type == EVENT_STEP_ENDED)
            sim_hit(sim, PATH_REBOOT_ENDED);
        f->silent = false;
        f->away_ms = event->away_ms;
        f->away_from_ms = event->type == EVENT_STEP_REBOOTING ? reported_ms(sim) : 0;
    }
    if (event->type == EVENT_EXECUTION_STARTED)
        fact_started(sim, r, f);
    else if (event->type == EVENT_STEP_STARTED)
        f->touched = true;
    else if (event->type == EVENT_STEP_ENDED)
        f->changed = f->changed || event->changed || event->step_state != STEP_SUCCEEDED;
    else if (event->type == EVENT_EXECUTION_ENDED)
        fact_ended(sim, r, f, event);
    else if (event->type == EVENT_EXECUTION_ROLLBACK_STARTED)
        fact_undo_began(sim, r, f);
    else if (event->type == EVENT_EXECUTION_ROLLED_BACK)
        fact_undone(sim, r, f, event);
    else if (event->type == EVENT_EXECUTION_UNREACHABLE || event->type == EVENT_EXECUTION_WITHDRAWN)
        fact_given_up(sim, r, f, event->type == EVENT_EXECUTION_WITHDRAWN);
    else if (event->type == EVENT_EXECUTION_UNKNOWN)
        fact_silent(sim, f);
    else if (event->type == EVENT_EXECUTION_RESOLVED)
        fact_resolved(sim, r, f, event);
}

/* ---- Of a rollout ---------------------------------------------------------------------------- */

/* How it ends is how its servers fared. */
static void check_final_state(struct sim *sim, const struct sim_rollout *r,
                              enum rollout_state state)
{
    uint32_t failed = 0;
    uint32_t left = 0; /* not undone */
    for (uint32_t i = 0; i < plan_server_count(r->plan); i++) {
        const struct sim_fact *f = &r->facts[i];
        failed += !f->resolved && f->undone && f->undone_as == EXECUTION_ROLLBACK_FAILED;
        left += f->started && !f->resolved && !sim_is_undone(f);
    }
    if (state == ROLLOUT_ROLLED_BACK && (failed > 0 || (r->scope == SCOPE_ALL && left > 0)))
        sim_fail(sim, "%s: it ends as rolled back, and %u servers are not", r->id, left);
    if (state == ROLLOUT_ROLLBACK_FAILED && left == 0)
        sim_fail(sim, "%s: its rollback failed, and all is undone", r->id);
    if (state != ROLLOUT_ROLLBACK_FAILED && failed > 0)
        sim_fail(sim, "%s: it ends as %s, and the undo of %u servers failed", r->id,
                 rollout_state_names[state], failed);
    if (state == ROLLOUT_SUCCEEDED && r->stopped)
        sim_fail(sim, "%s: it was stopped, and ends as succeeded", r->id);
}

static void rollout_over(struct sim *sim, struct sim_rollout *r, const struct event *event)
{
    static const enum sim_path paths[ROLLOUT_STATE_COUNT] = {
        [ROLLOUT_SUCCEEDED] = PATH_SUCCEEDED,
        [ROLLOUT_FAILED] = PATH_FAILED,
        [ROLLOUT_CANCELLED] = PATH_CANCELLED,
        [ROLLOUT_ROLLED_BACK] = PATH_ROLLED_BACK,
        [ROLLOUT_ROLLBACK_FAILED] = PATH_ROLLBACK_FAILED,
    };
    bool otherwise = r->settled_since && event->rollout_state != r->state;
    if (r->ended && !otherwise)
        sim_fail(sim, "%s: it ends twice", r->id);
    if (!rollout_state_final(event->rollout_state))
        sim_fail(sim, "%s: it ends as %s", r->id, rollout_state_names[event->rollout_state]);
    if (r->ended)
        sim_hit(sim, PATH_CONCLUDED_AGAIN);
    else if (r->closed)
        sim_hit(sim, PATH_ENDED_AGAIN);
    else
        sim->ended++;
    check_final_state(sim, r, event->rollout_state);
    r->ended = r->closed = true;
    r->paused = false;
    r->settled_since = false;
    r->state = event->rollout_state;
    sim_hit(sim, paths[event->rollout_state]);
    if (r->check)
        sim_hit(sim, r->state == ROLLOUT_SUCCEEDED ? PATH_CHECK_SUCCEEDED : PATH_CHECK_FAILED);
    sim_trace(sim, "%s has ended: %s", r->id, rollout_state_names[r->state]);
}

/* What was settled by hand is given back when a person wants all undone, but for what is as good as
 * undone. */
static void release_settled(struct sim_rollout *r)
{
    for (uint32_t i = 0; i < plan_server_count(r->plan); i++) {
        struct sim_fact *f = &r->facts[i];
        if (!f->resolved || sim_is_undone(f))
            continue;
        f->resolved = false;
        f->undone = false; /* what was heard of it meanwhile changed nothing */
    }
}

static void rollout_stopped(struct sim *sim, struct sim_rollout *r, int scope, bool by_person)
{
    if (by_person && scope == SCOPE_ALL && (!r->stopped || r->scope != SCOPE_ALL))
        release_settled(r);
    r->stopped_ms = r->stopped ? r->stopped_ms : sim->now_ms;
    r->scope = !r->stopped || scope == SCOPE_ALL ? scope : r->scope;
    r->stopped = true;
    r->paused = false;
}

static void rollback_ordered(struct sim *sim, struct sim_rollout *r, const struct event *event)
{
    bool whole = event->server == EVENT_NO_SERVER;
    sim_hit(sim, !whole     ? PATH_ROLLBACK_SERVERS
                 : r->ended ? PATH_ROLLBACK_ENDED
                            : PATH_ROLLBACK_UNDER_WAY);
    if (event->force)
        sim_hit(sim, PATH_ROLLBACK_FORCED);
    if (whole && !r->closed)
        rollout_stopped(sim, r, SCOPE_ALL, true);
    for (uint32_t i = 0; i < plan_server_count(r->plan); i++) {
        struct sim_fact *f = &r->facts[i];
        if (whole ? r->closed && f->started && !sim_is_undone(f) && !f->standing
                  : i == event->server)
            fact_ordered(sim, r, f, event->force);
    }
    if (whole && r->closed)
        r->scope = SCOPE_ALL;
    r->reopened = r->reopened || r->ended;
    r->ended = r->released = false;
}

void sim_check_command(struct sim *sim, const char *text)
{
    if (text != NULL && text[0] == '#')
        sim->people.durable[strtoul(text + 1, NULL, 10) % SIM_MAX_COMMANDS] = true;
}

static void take_rollout_event(struct sim *sim, uint32_t rollout, const struct event *event)
{
    struct sim_rollout *r = &sim->rollouts[rollout];
    if (event->type == EVENT_ROLLOUT_CREATED) {
        if (event->check != r->check)
            sim_fail(sim, "%s: it begins as %s", r->id, event->check ? "a check" : "no check");
        r->created = true;
        r->place = sim->orchestrator.disk.count;
    } else if (event->type == EVENT_BATCH_STARTED) {
        if (r->stopped)
            sim_fail(sim, "%s: a batch begins after it was stopped", r->id);
        r->opened += event->count;
    } else if (event->type == EVENT_CANCEL_REQUESTED) {
        rollout_stopped(sim, r, event->undoing && !r->check ? SCOPE_ALL : SCOPE_NONE, true);
    } else if (event->type == EVENT_THRESHOLD_EXCEEDED) {
        rollout_stopped(sim, r,
                        r->check     ? SCOPE_NONE
                        : r->stopped ? r->scope
                                     : r->plan->rollback_scope,
                        false);
    } else if (event->type == EVENT_ROLLBACK_STARTED) {
        r->undo_begun = true;
    } else if (event->type == EVENT_ROLLOUT_PAUSED || event->type == EVENT_ROLLOUT_RESUMED) {
        r->paused = event->type == EVENT_ROLLOUT_PAUSED;
    } else if (event->type == EVENT_ROLLOUT_ENDED) {
        rollout_over(sim, r, event);
    }
    if (event->type == EVENT_THRESHOLD_EXCEEDED)
        sim_hit(sim, PATH_THRESHOLD);
    else if (event->type == EVENT_CANARY_PASSED)
        sim_hit(sim, PATH_CANARY_PASSED);
}

void sim_check_event(struct sim *sim, uint32_t rollout, const struct event *event)
{
    const struct sim_rollout *r = &sim->rollouts[rollout];
    sim_trace(sim, "durable: %s %" PRIu64 " %s server %d step %d (%s)", r->id, event->seq,
              event_type_names[event->type], (int)event->server, event->step,
              event->message == NULL ? "" : event->message);
    if (event->type != EVENT_ROLLOUT_CREATED && !r->created)
        sim_fail(sim, "%s: %s before it was created", r->id, event_type_names[event->type]);
    if (event_is_input(event->type) && event->agent_seq == 0)
        sim_check_command(sim, event->message);
    if (event->type == EVENT_ROLLBACK_REQUESTED)
        rollback_ordered(sim, &sim->rollouts[rollout], event);
    else if (event->server == EVENT_NO_SERVER)
        take_rollout_event(sim, rollout, event);
    else
        take_server_event(sim, rollout, event);
}
