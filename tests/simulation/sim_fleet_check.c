/* What must hold, of the whole and at the end. The orchestrator is judged by what is on its own
 * disk and on the agents', the agents by what really happened to their hosts; nothing is believed
 * that an engine says of itself.
 *
 * Which function checks what, one line an invariant:
 *
 *   1  what is acknowledged survives: sim_command_answered, check "ack" in sim_check_frame
 *   2  the journal has no gap: append_apply in sim_journal.c
 *   3  a replay gives the same state: sim_check_replay
 *   4  each attempt runs once: check_execute in sim_fleet_check_agent.c
 *   5  succeeded is what the server's journal says: check_reported, check_said_ended
 *   6  each result is recorded once, and in the end all are: check_reported, check_settled_server
 *   7  steps, executions and rollouts end once, but for what a person orders: fact_ended,
 * fact_undone, rollout_over 8  nothing goes forward after a stop: check_execute in
 * sim_fleet_check_frame.c, check_stopped 9  servers in flight are within the plan's bounds:
 * sim_check_summary 10  steps in order; batches in order: check_execute in both files 11  nobody
 * beyond the canary before its verdict: check_execute (batches), take_rollout_event 12  what began
 * is undone, last first, with the first capture: sim_check_operation, check_undo, check_said_undone
 *  13  rolled back if and only if all that was needed is: check_final_state; a server only if its
 * host is as it was before: check_said_undone, check_settled_server 14  one rollout changes a
 * server at a time, also when opened again, and nothing changes one that waits or is locked:
 * check_change, check_execute in sim_fleet_check_frame.c 15  the highest epoch is the one that
 * counts: sim_check_end; no agent obeys a lower one: link_frame in sim_fleet_agent.c would fail 16
 * all comes to rest once faults cease, every undo that is owed done: is_over in sim_fleet_world.c,
 * check_settled_server 17  the counts make the number of servers, and are those of the outcomes:
 * sim_check_summary 18  bounded: SIM_MAX_* and the barriers of sim_journal.c; deaths in prepare:
 * sim_host_half 19  no repeat is taken for news: check_reported 20  a server that is slow or gone
 * changes no other's outcome: all_ended in sim_fleet_world.c, since rollouts end without those that
 * are gone; check_said_ended by each server's own host
 *
 *  And of checks: nothing is prepared, executed, undone or captured: check_check in
 *  sim_fleet_check_agent.c, sim_check_append; what changed nothing is not undone: check_undo.
 *
 *  And of orders: an ended rollout is not opened again over a later one's touch, a lock, or another
 *  rollout on the server, and is where nothing speaks against it: sim_check_ordered; what goes out
 * to be undone was wanted, in the next round, by force only when a person said so: check_rollback,
 *  check_undo; what is not confirmed over a new connection is undone and no success:
 * check_confirmed; locks outlive restarts: sim_check_locks; touches are those that were reported:
 * sim_check_touches; a retry is of what did not succeed: sim_check_retry.
 */
#include "simulation/sim_fleet.h"

#include "common/base/alloc.h"
#include "common/base/cleanup.h"

#include <inttypes.h>
#include <string.h>

/* ---- Summaries, touches, locks, retries ------------------------------------------------------ */

static uint32_t count_outcome(const struct sim_rollout *r, enum execution_state outcome)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < plan_server_count(r->plan); i++)
        count += r->facts[i].outcome == outcome;
    return count;
}

static void check_outcomes(struct sim *sim, const struct sim_rollout *r,
                           const struct engine_counts *c)
{
    uint32_t failed = count_outcome(r, EXECUTION_FAILED) + count_outcome(r, EXECUTION_TIMED_OUT);
    if (c->succeeded != count_outcome(r, EXECUTION_SUCCEEDED) || c->failed != failed ||
        c->unknown != count_outcome(r, EXECUTION_UNKNOWN) ||
        c->unreachable != count_outcome(r, EXECUTION_UNREACHABLE) ||
        c->cancelled != count_outcome(r, EXECUTION_CANCELLED))
        sim_fail(sim, "%s: the counts are not those of its servers' outcomes", r->id);
}

static void check_unchanged(struct sim *sim, const struct sim_rollout *r,
                            const struct journal_summary *summary)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < plan_server_count(r->plan); i++)
        count += r->facts[i].unchanged;
    if (summary->check != r->check)
        sim_fail(sim, "%s: it is %s in lists", r->id, summary->check ? "a check" : "no check");
    if (summary->counts.unchanged != count)
        sim_fail(sim, "%s: %u servers are counted as unchanged, and %u are", r->id,
                 summary->counts.unchanged, count);
}

void sim_check_summary(struct sim *sim, uint32_t rollout, const struct journal_summary *summary)
{
    const struct sim_rollout *r = &sim->rollouts[rollout];
    const struct engine_counts *c = &summary->counts;
    uint32_t sum = c->pending + c->in_flight + c->succeeded + c->failed + c->unreachable +
                   c->unknown + c->cancelled + c->skipped;
    if (sum != summary->servers || sum != plan_server_count(r->plan))
        sim_fail(sim, "%s: the counts make %u servers of %u", r->id, sum, summary->servers);
    check_outcomes(sim, r, c);
    check_unchanged(sim, r, summary);
    if (r->ended != rollout_state_final(summary->state) || (r->ended && summary->state != r->state))
        sim_fail(sim, "%s: it is %s in lists and has ended as %s", r->id,
                 rollout_state_names[summary->state], rollout_state_names[r->state]);
    uint32_t batch = plan_server_count(r->plan);
    if (!r->stopped && c->in_flight > plan_parallel(r->plan, batch))
        sim_fail(sim, "%s: %u servers in flight", r->id, c->in_flight);
}

void sim_check_touches(struct sim *sim, const struct sim_disk_rollout *disk)
{
    const struct sim_rollout *r = &sim->rollouts[disk->number];
    for (uint32_t i = 0; i < plan_server_count(r->plan); i++) {
        const struct sim_fact *f = &r->facts[i];
        enum sim_touch touch = !f->touched           ? TOUCH_NONE
                               : sim_left_nothing(f) ? TOUCH_UNDONE
                                                     : TOUCH_STANDS;
        /* One that a person had settled as undone counts so until its undo by order begins. */
        if (touch != disk->touches[i] && !(f->settled && f->standing))
            sim_fail(sim, "%s: the touch of server %u is on record as %d, and is %d", r->id, i,
                     (int)disk->touches[i], (int)touch);
    }
}

void sim_check_locks(struct sim *sim)
{
    for (uint32_t i = 0; i < sim->node_count; i++) {
        struct server_view view = {0};
        struct error err = {0};
        bool locked = sim->orchestrator.disk.locks[i].locked;
        bool known = dispatcher_server(sim->orchestrator.dispatcher, sim->nodes[i].id, &view,
                                       &err) == ERR_OK;
        if (locked != (known && view.locked))
            sim_fail(sim, "%s: its lock did not outlive a restart", sim->nodes[i].id);
        if (locked)
            sim_hit(sim, PATH_LOCK_RESTORED);
    }
}

static bool has_succeeded(const struct sim_fact *f)
{
    if (f->resolved)
        return f->resolved_as == EXECUTION_SUCCEEDED;
    return f->ended && f->ended_as == EXECUTION_SUCCEEDED && !f->undoing && !f->undone;
}

/* It came back, and what it did is unwanted, or perhaps so. */
static bool is_undone_anyhow(const struct sim_fact *f)
{
    return (sim_given_up(f) || f->unknown) && !f->undone;
}

void sim_check_retry(struct sim *sim, uint32_t rollout, const char *of, const char *plan)
{
    struct sim_rollout *r = &sim->rollouts[rollout];
    const struct sim_rollout *first = &sim->rollouts[r->retry_of];
    if (!r->retry || strcmp(first->id, of) != 0)
        sim_fail(sim, "%s: it is no retry of %s", r->id, of);
    r->text = sim_checked(mem_strdup(plan));
    r->plan = sim_plan_read(plan);
    for (uint32_t i = 0; i < plan_server_count(r->plan); i++)
        r->node_of[i] = sim_node_find(sim, plan_server(r->plan, i));
    for (uint32_t i = 0; i < plan_server_count(first->plan); i++) {
        const struct sim_fact *f = &first->facts[i];
        uint32_t number = 0;
        bool retried = plan_server_find(r->plan, plan_server(first->plan, i), &number);
        /* One whose undo is to come may count as either, until it begins. */
        if (!f->standing && !is_undone_anyhow(f) && retried == has_succeeded(f))
            sim_fail(sim, "%s: server %u of %s %s retried", r->id, i, of,
                     retried ? "succeeded and is" : "did not succeed and is not");
    }
}

/* ---- Orders ---------------------------------------------------------------------------------- */

/* All that was ever decided is durable, so what the disk says is how it is. */
static bool is_settled(const struct sim *sim)
{
    return sim_journal_idle(sim->orchestrator.journal);
}

/* An order to undo has this server undone, without regard to turns: it is at rest and was started.
 */
static bool is_for_undo(const struct sim_fact *f)
{
    return f->started && f->ended && !f->round_open && !f->standing && !f->silent &&
           !is_undone_anyhow(f) && !sim_is_undone(f);
}

/* Another rollout is on the server, or waits for it; `perhaps`: one that was opened again counts
 * for all its servers. */
static bool is_held(const struct sim *sim, uint32_t rollout, uint32_t node, bool perhaps)
{
    for (uint32_t i = 0; i < sim->rollout_count; i++) {
        const struct sim_rollout *other = &sim->rollouts[i];
        uint32_t number = 0;
        if (i != rollout && other->created && !other->closed &&
            sim_rollout_server(sim, i, node, &number))
            return true;
        if (i != rollout && other->created && !other->ended &&
            sim_rollout_server(sim, i, node, &number) && (perhaps || other->facts[number].held))
            return true;
    }
    return false;
}

/* A later rollout has changed the server, and that is not undone. */
static bool is_overtaken(const struct sim *sim, uint32_t rollout, uint32_t node)
{
    const struct sim_rollout *r = &sim->rollouts[rollout];
    for (uint32_t i = 0; i < sim->rollout_count; i++) {
        const struct sim_rollout *later = &sim->rollouts[i];
        uint32_t number = 0;
        if (later->created && later->place > r->place &&
            sim_rollout_server(sim, i, node, &number) && later->facts[number].touched &&
            !sim_left_nothing(&later->facts[number]))
            return true;
    }
    return false;
}

/* A rollout that had let go of its servers was opened again for this one. */
static void check_reopened(struct sim *sim, const struct sim_command *c, uint32_t server)
{
    const struct sim_rollout *r = &sim->rollouts[c->rollout];
    uint32_t node = r->node_of[server];
    if (sim_is_locked(sim, node))
        sim_fail(sim, "%s is opened again on %s, which is locked", r->id, sim->nodes[node].id);
    if (is_held(sim, c->rollout, node, false))
        sim_fail(sim, "%s is opened again on %s, which another one holds", r->id,
                 sim->nodes[node].id);
    if (!r->facts[server].touched || !is_overtaken(sim, c->rollout, node))
        return;
    if (!c->force)
        sim_fail(sim, "%s is opened again on %s, where a later one is not undone", r->id,
                 sim->nodes[node].id);
    sim_hit(sim, PATH_FORCED_LATER);
}

/* Nothing speaks against undoing all that is named, of a rollout that has let go of its servers. */
static bool must_be_taken(const struct sim *sim, const struct sim_command *c)
{
    const struct sim_rollout *r = &sim->rollouts[c->rollout];
    if (!is_settled(sim) || !r->released || r->check || c->servers == 0)
        return false;
    for (uint32_t i = 0; i < plan_server_count(r->plan); i++) {
        uint32_t node = r->node_of[i];
        bool named = (c->servers & (1U << i)) != 0;
        if (named && (!is_for_undo(&r->facts[i]) || sim_is_locked(sim, node) ||
                      is_held(sim, c->rollout, node, true) ||
                      (!c->force && is_overtaken(sim, c->rollout, node))))
            return false;
    }
    return true;
}

static void check_rollback_ordered(struct sim *sim, const struct sim_command *c,
                                   enum error_code code, const struct error *err)
{
    const struct sim_rollout *r = &sim->rollouts[c->rollout];
    if (r->check) {
        if (code == ERR_OK)
            sim_fail(sim, "%s: the undo of a check is ordered", r->id);
        sim_hit(sim, PATH_CHECK_UNDO_REFUSED);
        return;
    }
    if (code != ERR_OK) {
        sim_hit(sim, strstr(err->message, "later and is not undone") != NULL ? PATH_ROLLBACK_LATER
                     : strstr(err->message, "is held by rollout") != NULL    ? PATH_ROLLBACK_HELD
                     : strstr(err->message, "is locked") != NULL             ? PATH_ROLLBACK_LOCKED
                                                                 : PATH_ROLLBACK_REFUSED);
        if (code == ERR_CONFLICT && must_be_taken(sim, c))
            sim_fail(sim, "%s: a rollback is refused that can be: %s", r->id, err->message);
        return;
    }
    for (uint32_t i = 0; i < plan_server_count(r->plan) && r->released; i++)
        if (c->servers == 0 ? is_settled(sim) && is_for_undo(&r->facts[i])
                            : (c->servers & (1U << i)) != 0)
            check_reopened(sim, c, i);
}

static void check_resolve_ordered(struct sim *sim, const struct sim_command *c,
                                  enum error_code code)
{
    const struct sim_rollout *r = &sim->rollouts[c->rollout];
    const struct sim_fact *f = &r->facts[c->server];
    bool failed = f->undone && !sim_is_undone(f) && !f->round_open && !f->standing;
    if (r->check && c->as == EXECUTION_ROLLED_BACK)
        return;
    if (code == ERR_CONFLICT && is_settled(sim) && f->started && !f->resolved &&
        (f->silent || failed) && r->closed)
        sim_fail(sim, "%s: server %u cannot be settled by hand", r->id, c->server);
}

static void check_lock_ordered(struct sim *sim, const struct sim_command *c, enum error_code code)
{
    const struct sim_node *n = &sim->nodes[c->server];
    bool locked = sim_is_locked(sim, c->server);
    sim_hit(sim, code != ERR_OK ? PATH_LOCK_REFUSED : c->locks ? PATH_LOCKED : PATH_UNLOCKED);
    if (is_settled(sim) && code == ERR_CONFLICT && locked != c->locks)
        sim_fail(sim, "%s: it is %s and cannot be %s", n->id, locked ? "locked" : "not locked",
                 locked ? "unlocked" : "locked");
    if (code == ERR_OK && locked == c->locks)
        sim_fail(sim, "%s: it is %s twice", n->id, locked ? "locked" : "unlocked");
}

void sim_check_ordered(struct sim *sim, const struct sim_command *c, enum error_code code,
                       const struct error *err)
{
    const char *id = c->kind == SIM_LOCK ? sim->nodes[c->server].id : sim->rollouts[c->rollout].id;
    if (code != ERR_OK && code != ERR_CONFLICT && code != ERR_NO_SPACE && code != ERR_UNAVAILABLE)
        sim_fail(sim, "%s: an order: %s", id, err->message);
    if (c->kind == SIM_ROLLBACK)
        check_rollback_ordered(sim, c, code, err);
    else if (c->kind == SIM_RESOLVE)
        check_resolve_ordered(sim, c, code);
    else if (c->kind == SIM_LOCK && code != ERR_NO_SPACE && code != ERR_UNAVAILABLE)
        check_lock_ordered(sim, c, code);
}

/* One that does not want to wait is taken when it need not, and then alone. */
void sim_check_submitted(struct sim *sim, uint32_t rollout, enum error_code code)
{
    const struct sim_rollout *r = &sim->rollouts[rollout];
    bool waits = false;
    bool may_wait = false;
    for (uint32_t i = 0; i < plan_server_count(r->plan); i++) {
        uint32_t node = r->node_of[i];
        waits = waits || sim_is_locked(sim, node) || is_held(sim, rollout, node, false);
        may_wait = may_wait || waits || is_held(sim, rollout, node, true);
    }
    if (!r->no_wait || !is_settled(sim))
        return;
    if (code == ERR_OK && waits)
        sim_fail(sim, "%s is taken, and would have to wait", r->id);
    if (code == ERR_BUSY && !may_wait)
        sim_fail(sim, "%s is refused, and need not wait", r->id);
}

/* ---- Replay ---------------------------------------------------------------------------------- */

static bool same_execution(const struct execution *x, const struct execution *y)
{
    return x->state == y->state && x->outcome == y->outcome && x->started == y->started &&
           x->undoing == y->undoing && x->step == y->step &&
           x->last_agent_seq == y->last_agent_seq && x->started_ms == y->started_ms &&
           x->ended_ms == y->ended_ms && x->reason_seq == y->reason_seq &&
           x->touched == y->touched && x->undo_force == y->undo_force &&
           x->conflict == y->conflict && x->resolved == y->resolved &&
           x->unchanged == y->unchanged && x->undo_round == y->undo_round;
}

static bool same_engine(const struct engine *a, const struct engine *b, const struct plan *plan)
{
    struct engine_counts ca = engine_counts(a);
    struct engine_counts cb = engine_counts(b);
    bool same = engine_state(a) == engine_state(b) && memcmp(&ca, &cb, sizeof(ca)) == 0 &&
                strcmp(engine_reason(a), engine_reason(b)) == 0;
    for (uint32_t i = 0; i < plan_server_count(plan); i++) {
        same = same && same_execution(engine_execution(a, i), engine_execution(b, i)) &&
               engine_standing(a, i) == engine_standing(b, i) &&
               engine_holds(a, i) == engine_holds(b, i) &&
               engine_needs_undo(a, i) == engine_needs_undo(b, i);
        for (uint32_t k = 0; k < plan_step_count(plan); k++)
            same = same && engine_step(a, i, k)->state == engine_step(b, i, k)->state &&
                   engine_step(a, i, k)->attempt == engine_step(b, i, k)->attempt;
    }
    return same;
}

void sim_check_replay(struct sim *sim)
{
    const struct sim_orchestrator *o = &sim->orchestrator;
    for (uint32_t i = 0; i < sim->rollout_count && o->running && sim_journal_idle(o->journal);
         i++) {
        AUTO(plan_free) struct plan *plan = NULL;
        AUTO(engine_free) struct engine *engine = NULL;
        struct rollout_view view;
        uint64_t last_seq = 0;
        struct error err = {0};
        if (!sim->rollouts[i].created || journal_load(o->journal, sim->rollouts[i].id, &plan,
                                                      &engine, &last_seq, &err) != ERR_OK)
            continue;
        if (dispatcher_rollout(o->dispatcher, sim->rollouts[i].id, &view, &err) != ERR_OK ||
            view.last_seq != last_seq || !same_engine(view.engine, engine, plan))
            sim_fail(sim, "%s: a replay gives another state", sim->rollouts[i].id);
    }
}

/* ---- The end --------------------------------------------------------------------------------- */

/* Of a server that is here, all is known, and all is done that was to be. */
static void check_settled_server(struct sim *sim, uint32_t rollout, uint32_t server,
                                 const struct execution *x)
{
    const struct sim_rollout *r = &sim->rollouts[rollout];
    const struct sim_fact *f = &r->facts[server];
    const struct sim_node *n = &sim->nodes[r->node_of[server]];
    const struct sim_trace *t = &n->traces[rollout];
    const struct sim_store_execution *stored = sim_store_find(n, rollout);
    const struct sim_store_entry *undone = sim_store_last(n, rollout, REPORT_ROLLED_BACK);
    bool began = false;
    for (uint32_t i = 0; i < SIM_MAX_STEPS; i++)
        began = began || t->began[i];
    if (t->amnesia || n->gone)
        return;
    if ((stored == NULL ? 0 : stored->last_seq) != x->last_agent_seq)
        sim_fail(sim, "%s: %s has %" PRId64 " entries, and %" PRId64 " are recorded", r->id, n->id,
                 stored == NULL ? 0 : stored->last_seq, x->last_agent_seq);
    if (began && !x->started)
        sim_fail(sim, "%s: %s was changed, and that is not known", r->id, n->id);
    if (x->state == EXECUTION_UNKNOWN || x->state == EXECUTION_QUEUED ||
        x->state == EXECUTION_RUNNING || x->state == EXECUTION_ROLLING_BACK)
        sim_fail(sim, "%s: %s is here, and how it fares is %s", r->id, n->id,
                 execution_state_names[x->state]);
    if (x->resolved != f->resolved || (f->resolved && x->state != f->resolved_as))
        sim_fail(sim, "%s: %s is %s, and was settled otherwise", r->id, n->id,
                 execution_state_names[x->state]);
    if (f->resolved)
        return;
    bool over = x->state == EXECUTION_ROLLED_BACK || x->state == EXECUTION_ROLLBACK_FAILED;
    if (r->check && (over || f->touched))
        sim_fail(sim, "%s: %s is %s by a check", r->id, n->id, execution_state_names[x->state]);
    if (f->standing && !f->undone)
        sim_fail(sim, "%s: the undo of %s was ordered, and is not done", r->id, n->id);
    if (began && r->stopped && r->scope == SCOPE_ALL && !over)
        sim_fail(sim, "%s: %s was changed, and is not undone", r->id, n->id);
    if (began && sim_given_up(f) && !over)
        sim_fail(sim, "%s: %s began after its time, and is not undone", r->id, n->id);
    if (over && (undone == NULL || undone->state != (int)x->state))
        sim_fail(sim, "%s: %s is said to be %s, and is not", r->id, n->id,
                 execution_state_names[x->state]);
}

void sim_check_end(struct sim *sim)
{
    sim_check_replay(sim);
    for (uint32_t i = 0; i < sim->rollout_count; i++) {
        const struct sim_rollout *r = &sim->rollouts[i];
        struct rollout_view view;
        struct error err = {0};
        if (r->asked == ASK_REFUSED)
            continue;
        if (dispatcher_rollout(sim->orchestrator.dispatcher, r->id, &view, &err) != ERR_OK) {
            sim_fail(sim, "%s: at the end: %s", r->id, err.message);
            continue;
        }
        if (i >= DISPATCH_ENDED_KEPT)
            sim_hit(sim, PATH_EVICTED);
        for (uint32_t k = 0; k < plan_server_count(r->plan); k++)
            check_settled_server(sim, i, k, engine_execution(view.engine, k));
    }
    for (uint32_t i = 0; i < sim->node_count; i++)
        if (!sim->nodes[i].gone && sim->nodes[i].store.epoch != sim->orchestrator.disk.epoch)
            sim_fail(sim, "%s: the epoch that it knows is not the last", sim->nodes[i].id);
    if (dispatcher_stats(sim->orchestrator.dispatcher).duplicates > 0)
        sim_hit(sim, PATH_DUPLICATE);
}
