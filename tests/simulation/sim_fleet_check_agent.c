/* What must hold of an agent: what it does to its host, judged by the host, and what it says of
 * that.
 */
#include "simulation/sim_fleet.h"

#include "agent/executor.h"
#include "common/base/cleanup.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum {
    TOLD_MS = 8000,      /* within so long a server that is there hears what is decided */
    DEATHS_MAX = 6,      /* of agents by the same prepare, with those by chance */
    ABOUT_EXECUTION = -1 /* a journal entry's step */
};

/* ---- An operation begins --------------------------------------------------------------------- */

/* Nothing of this may be so when an operation that can change the host begins. */
static void check_change(struct sim_node *n, const struct sim_operation *op)
{
    struct sim *sim = n->sim;
    const struct sim_store_execution *x = sim_store_find(n, op->rollout);
    const char *id = sim->rollouts[op->rollout].id;
    if (!n->traces[op->rollout].sent)
        sim_fail(sim, "%s: step %u of %s begins, and it waits", n->id, op->step, id);
    if (n->holder != SIM_MAX_ROLLOUTS && n->holder != op->rollout)
        sim_fail(sim, "%s: %s changes the host while %s is under way", n->id, id,
                 sim->rollouts[n->holder].id);
    if (n->orphan.active && n->orphan.operation != HANDLER_PREPARE)
        sim_fail(sim, "%s: step %u of %s begins beside one that an earlier agent left", n->id,
                 op->step, id);
    if ((op->traits & STEP_TYPE_INSTANT) != 0 && op->operation == HANDLER_EXECUTE)
        return;
    if (x == NULL || ((op->traits & STEP_TYPE_CHANGES) != 0 && x->captures[op->step] == NULL))
        sim_fail(sim, "%s: step %u of %s begins before the way back is durable", n->id, op->step,
                 id);
}

/* Whoever can be told has been told by now that nothing is to go forward any more. */
static void check_stopped(struct sim_node *n, const struct sim_operation *op)
{
    struct sim *sim = n->sim;
    const struct sim_rollout *r = &sim->rollouts[op->rollout];
    const struct net_conn *c = sim_net_of(sim, n);
    int64_t limit_ms = sim->now_ms - TOLD_MS - 4 * (int64_t)sim->profile.commit_ms;
    uint32_t server = 0;
    if (!sim_rollout_server(sim, op->rollout, n->index, &server) || r->facts[server].unreachable ||
        r->facts[server].withdrawn || r->facts[server].resolved)
        return; /* its place was given away; it may have been away as that was to be said */
    if (!r->stopped || r->stopped_ms > limit_ms || n->reachable_ms > limit_ms ||
        sim->orchestrator.writable_ms > limit_ms || sim->orchestrator.disk.full)
        return;
    if (c != NULL && c->session != NULL && link_up(n->link) && !c->broken &&
        !c->blocked[TO_AGENT] && !c->blocked[TO_ORCHESTRATOR] && !c->closing[TO_AGENT] &&
        !c->closing[TO_ORCHESTRATOR])
        sim_fail(sim, "%s: step %u of %s begins long after it was stopped", n->id, op->step, r->id);
}

/* The same attempt runs again when it wanted a reboot and had it, and for nothing else. */
static void check_rebooted(struct sim_node *n, const struct sim_operation *op)
{
    struct sim *sim = n->sim;
    const char *id = sim->rollouts[op->rollout].id;
    struct sim_trace *t = &n->traces[op->rollout];
    if (t->reboot_boot[op->step] == 0 || t->reboot_boot[op->step] >= n->boot)
        sim_fail(sim, "%s: step %u of %s runs again, and its server was not rebooted", n->id,
                 op->step, id);
    if (!sim_store_says(n, op->rollout, REPORT_STEP_REBOOTED, op->step))
        sim_fail(sim, "%s: step %u of %s goes on after a reboot, and that is not durable", n->id,
                 op->step, id);
    if (op->reboots > EXECUTOR_MAX_REBOOTS)
        sim_fail(sim, "%s: step %u of %s has had too many reboots", n->id, op->step, id);
    sim_hit(sim, op->reboots > 1 ? PATH_REBOOT_TWICE : PATH_REBOOT_RAN_ON);
    t->reboot_boot[op->step] = 0;
}

static void check_execute(struct sim_node *n, const struct sim_operation *op)
{
    struct sim *sim = n->sim;
    const char *id = sim->rollouts[op->rollout].id;
    struct sim_trace *t = &n->traces[op->rollout];
    bool instant = (op->traits & STEP_TYPE_INSTANT) != 0;
    if (t->undoing_ever || sim_store_says(n, op->rollout, REPORT_ENDED, ABOUT_EXECUTION))
        sim_fail(sim, "%s: step %u of %s begins after undoing did", n->id, op->step, id);
    for (uint32_t i = op->step + 1; i < SIM_MAX_STEPS; i++)
        if (t->began[i])
            sim_fail(sim, "%s: step %u of %s begins after step %u", n->id, op->step, id, i);
    if (op->reboots > 0 && op->attempt == t->attempt[op->step])
        check_rebooted(n, op);
    else if (!instant && op->attempt <= t->attempt[op->step])
        sim_fail(sim, "%s: attempt %" PRId64 " of step %u of %s runs again", n->id, op->attempt,
                 op->step, id);
    if (!instant && !sim_store_says(n, op->rollout, REPORT_STEP_STARTED, op->step))
        sim_fail(sim, "%s: step %u of %s begins and that is not durable", n->id, op->step, id);
    check_stopped(n, op);
    if (!t->touched[op->key] && sim_changes(op)) {
        t->touched[op->key] = true;
        t->toucher[op->key] = op->step;
        t->base[op->key] = t->captured[op->step];
    }
    t->began[op->step] = !instant;
    t->dirty[op->step] = t->dirty[op->step] || sim_changes(op);
    t->attempt[op->step] = op->attempt;
    t->done[op->step] = false;
    if (op->attempt > 1)
        sim_hit(sim, PATH_RETRIED);
}

/* Steps that are undone already are on record as such, and are left alone, but by force. */
static bool is_recorded_undone(const struct sim_node *n, const struct sim_operation *op)
{
    const struct sim_store_execution *x = sim_store_find(n, op->rollout);
    bool undone = false;
    for (size_t i = 0; x != NULL && i < x->entry_count; i++)
        if (x->entries[i].type == REPORT_STEP_ROLLED_BACK && x->entries[i].step == op->step)
            undone = x->entries[i].state == STEP_ROLLED_BACK;
    return undone;
}

/* A step that is on record as having changed nothing. */
static bool is_recorded_unchanged(const struct sim_node *n, const struct sim_operation *op)
{
    const struct sim_store_execution *x = sim_store_find(n, op->rollout);
    for (size_t i = 0; x != NULL && i < x->entry_count; i++)
        if (x->entries[i].type == REPORT_STEP_ENDED && x->entries[i].step == op->step)
            return x->entries[i].state == STEP_SUCCEEDED && !x->entries[i].changed;
    return false;
}

static void check_undo(struct sim_node *n, const struct sim_operation *op)
{
    struct sim *sim = n->sim;
    const char *id = sim->rollouts[op->rollout].id;
    const struct sim_rollout *r = &sim->rollouts[op->rollout];
    struct sim_trace *t = &n->traces[op->rollout];
    uint32_t server = 0;
    if (sim_store_count(n, op->rollout, REPORT_ROLLBACK_STARTED) <=
        sim_store_count(n, op->rollout, REPORT_ROLLED_BACK))
        sim_fail(sim, "%s: %s is being undone and that is not durable", n->id, id);
    if (is_recorded_unchanged(n, op))
        sim_fail(sim, "%s: step %u of %s is undone, and changed nothing", n->id, op->step, id);
    if (!op->force && is_recorded_undone(n, op))
        sim_fail(sim, "%s: step %u of %s is undone a second time", n->id, op->step, id);
    if ((int32_t)op->step > t->undo_at)
        sim_fail(sim, "%s: step %u of %s is undone after step %d", n->id, op->step, id, t->undo_at);
    if (!t->began[op->step] && (op->traits & STEP_TYPE_INSTANT) == 0 &&
        !sim_store_says(n, op->rollout, REPORT_STEP_STARTED, op->step))
        sim_fail(sim, "%s: step %u of %s is undone and never began", n->id, op->step, id);
    if (op->force && sim_rollout_server(sim, op->rollout, n->index, &server) &&
        !r->facts[server].forced)
        sim_fail(sim, "%s: step %u of %s is undone by force, which nobody wanted", n->id, op->step,
                 id);
    if (op->attempt > 1)
        sim_hit(sim, PATH_UNDO_RETRIED);
    t->undo_at = (int32_t)op->step;
    t->undo_began[op->step] = true;
    t->undoing_ever = true;
}

/* A check looks, in its turn, and does nothing else. */
static void check_check(struct sim_node *n, const struct sim_operation *op)
{
    struct sim *sim = n->sim;
    const struct sim_rollout *r = &sim->rollouts[op->rollout];
    if ((op->operation == HANDLER_CHECK) != r->check)
        sim_fail(sim, "%s: an operation of kind %d in %s, which is %s", n->id, (int)op->operation,
                 r->id, r->check ? "a check" : "none");
    if (op->operation != HANDLER_CHECK)
        return;
    if (!n->traces[op->rollout].sent)
        sim_fail(sim, "%s: step %u of %s is checked, and it waits", n->id, op->step, r->id);
    if (n->holder != SIM_MAX_ROLLOUTS && n->holder != op->rollout)
        sim_fail(sim, "%s: %s is checked while %s is under way", n->id, r->id,
                 sim->rollouts[n->holder].id);
    check_stopped(n, op);
    n->traces[op->rollout].done[op->step] = false;
    if (op->attempt > 1)
        sim_hit(sim, PATH_CHECK_RETRIED);
}

void sim_check_operation(struct sim_node *n, const struct sim_operation *op, const char *undo)
{
    static const char field[] = "\"v\":";
    struct sim_trace *t = &n->traces[op->rollout];
    const char *at = undo == NULL ? NULL : strstr(undo, field);
    uint64_t captured = at == NULL ? 0 : strtoull(at + sizeof(field) - 1, NULL, 10);
    if (t->amnesia)
        return;
    check_check(n, op);
    if (op->operation == HANDLER_CHECK)
        return;
    if (op->operation == HANDLER_PREPARE) {
        if (t->began[op->step] && (op->traits & STEP_TYPE_CHANGES) != 0)
            sim_fail(n->sim, "%s: step %u of %s is captured after it began", n->id, op->step,
                     n->sim->rollouts[op->rollout].id);
        return;
    }
    check_change(n, op);
    if ((op->traits & STEP_TYPE_CHANGES) != 0 && captured != t->captured[op->step])
        sim_fail(n->sim, "%s: step %u of %s is given another capture than its first", n->id,
                 op->step, n->sim->rollouts[op->rollout].id);
    if (op->operation == HANDLER_EXECUTE)
        check_execute(n, op);
    else
        check_undo(n, op);
    if ((op->traits & STEP_TYPE_INSTANT) == 0)
        n->holder = op->rollout;
}

/* ---- What an agent says of its host ---------------------------------------------------------- */

static bool tolerated(const struct plan_step *step)
{
    return !step->required || step->continue_on_failure;
}

/* With a plan that wants it, success is what the orchestrator has confirmed over a connection that
 * was made after the steps were done; what it did not is undone, whatever the plan says of
 * failures. `next`: what is recorded with it, or NULL. */
static void check_confirmed(struct sim_node *n, uint32_t rollout, const struct wire_entry *entry,
                            const struct wire_entry *next)
{
    struct sim *sim = n->sim;
    const struct sim_rollout *r = &sim->rollouts[rollout];
    const struct sim_trace *t = &n->traces[rollout];
    bool undone_next = next != NULL && next->type == REPORT_ROLLBACK_STARTED;
    bool succeeded = entry->state == EXECUTION_SUCCEEDED;
    if (r->plan->confirm_timeout_ms == 0 || r->check)
        return;
    if (succeeded && !t->confirmed && !(t->confirm_seq == 0 && undone_next))
        sim_fail(sim, "%s says that %s succeeded, and nobody confirmed it", n->id, r->id);
    if (t->confirm_seq > 0 && entry->state == EXECUTION_FAILED && (!entry->undoing || !undone_next))
        sim_fail(sim, "%s says that %s was not confirmed, and does not undo it", n->id, r->id);
    if (t->confirm_seq == 0)
        return;
    sim_hit(sim, succeeded                          ? PATH_CONFIRMED
                 : entry->state == EXECUTION_FAILED ? PATH_NOT_CONFIRMED
                                                    : PATH_CONFIRM_CANCELLED);
}

static void check_said_ended(struct sim_node *n, uint32_t rollout, const struct wire_entry *entry)
{
    struct sim *sim = n->sim;
    const struct sim_rollout *r = &sim->rollouts[rollout];
    const struct sim_trace *t = &n->traces[rollout];
    uint32_t server = 0;
    (void)sim_rollout_server(sim, rollout, n->index, &server);
    bool good = true;
    for (uint32_t i = 0; i < plan_step_count(r->plan); i++)
        good = good && (t->done[i] || tolerated(plan_step(r->plan, i)));
    if (entry->state == EXECUTION_SUCCEEDED && !good)
        sim_fail(sim, "%s says that %s succeeded, and it did not", n->id, r->id);
    if ((entry->state == EXECUTION_FAILED || entry->state == EXECUTION_TIMED_OUT) && t->bad == 0 &&
        t->confirm_seq == 0)
        sim_fail(sim, "%s says that %s failed, and all went well", n->id, r->id);
    if (entry->state == EXECUTION_CANCELLED && !r->stopped && !r->facts[server].ordered &&
        !r->facts[server].resolved && !sim_given_up(&r->facts[server]))
        sim_fail(sim, "%s says that %s was cancelled, and nobody did", n->id, r->id);
    if (entry->state == EXECUTION_CANCELLED && entry->message != NULL &&
        strstr(entry->message, "before it began") != NULL)
        sim_hit(sim, PATH_TOMBSTONE);
    if (entry->undoing)
        sim_hit(sim, PATH_OWN_UNDO);
}

/* A value is as it was before, or others wrote over what undo had brought back. */
static bool is_restored(const struct sim_node *n, const struct sim_trace *t, uint32_t key)
{
    return !t->touched[key] || n->values[key] == t->base[key] ||
           (t->restored[key] && t->overwritten[key]);
}

/* Every step that began was undone, or that was tried; rolled back: the host is as it was before.
 */
static void check_said_undone(struct sim_node *n, uint32_t rollout, const struct wire_entry *entry)
{
    struct sim *sim = n->sim;
    const struct sim_rollout *r = &sim->rollouts[rollout];
    const struct sim_trace *t = &n->traces[rollout];
    const struct sim_store_entry *last = sim_store_last(n, rollout, REPORT_ROLLED_BACK);
    bool failed = entry->state == EXECUTION_ROLLBACK_FAILED;
    uint32_t server = 0;
    bool settled = sim_rollout_server(sim, rollout, n->index, &server) && r->facts[server].settled;
    if (last != NULL && last->state == EXECUTION_ROLLED_BACK && !settled)
        sim_fail(sim, "%s says again that %s is undone", n->id, r->id);
    for (uint32_t i = 0; i < plan_step_count(r->plan); i++)
        if (t->dirty[i] && !t->undo_began[i] && !t->undone[i] && !(failed && t->bad_undos > 0))
            sim_fail(sim, "%s says that %s is undone, and step %u is not", n->id, r->id, i);
    for (uint32_t i = 0; i < SIM_KEYS && !failed; i++)
        if (!is_restored(n, t, i))
            sim_fail(sim, "%s says that %s is undone, and value %u is %" PRIx64 ", was %" PRIx64,
                     n->id, r->id, i, n->values[i], t->base[i]);
    if (failed)
        sim_hit(sim, PATH_UNDO_FAILED);
    if (failed && t->bad_undos == 0)
        sim_fail(sim, "%s says that %s could not be undone, and all went well", n->id, r->id);
}

static void said_undo_begins(struct sim_node *n, uint32_t rollout)
{
    struct sim_trace *t = &n->traces[rollout];
    if (sim_store_says(n, rollout, REPORT_ENDED, EVENT_NO_STEP))
        sim_hit(n->sim, PATH_TOLD_UNDO);
    t->undo_at = SIM_MAX_STEPS;
    t->bad_undos = 0;
    t->conflict = false;
    memset(t->undo_began, 0, sizeof(t->undo_began));
}

static void said_confirming(struct sim_node *n, uint32_t rollout, const struct wire_entry *entry)
{
    struct sim *sim = n->sim;
    const struct sim_rollout *r = &sim->rollouts[rollout];
    struct sim_trace *t = &n->traces[rollout];
    if (r->plan->confirm_timeout_ms == 0 || r->check)
        sim_fail(sim, "%s waits for %s to be confirmed, which needs it not", n->id, r->id);
    for (uint32_t i = 0; i < plan_step_count(r->plan); i++)
        if (!t->done[i] && !tolerated(plan_step(r->plan, i)))
            sim_fail(sim, "%s waits for %s to be confirmed, and step %u is not done", n->id, r->id,
                     i);
    t->confirm_seq = entry->seq;
    t->confirm_from = sim->net.count;
    t->confirmed = false;
    n->confirming = true;
}

static void check_message(struct sim_node *n, const char *message)
{
    static const struct {
        const char *text;
        enum sim_path path;
    } said[] = {
        {"died during this step", PATH_KILLED_BY_STEP},
        {"stopped while this step ran", PATH_IN_DOUBT_FAILED},
        {"stopped during the attempt before", PATH_IN_DOUBT_RETRIED},
        {"times while preparing this step", PATH_PREPARE_DEADLY},
        {"times while undoing this step", PATH_UNDO_DEADLY},
        {"times while checking this step", PATH_CHECK_DEADLY},
        {"depends on a change of step", PATH_CHECK_DEPENDS},
        {"wants another reboot", PATH_REBOOT_ENDLESS},
        {"asked to reboot", PATH_REBOOT_VAIN},
    };
    for (size_t i = 0; i < ARRAY_LEN(said); i++)
        if (strstr(message, said[i].text) != NULL)
            sim_hit(n->sim, said[i].path);
}

static void check_entry(struct sim_node *n, uint32_t rollout, const struct wire_entry *entry,
                        const struct wire_entry *next)
{
    bool ends = false;
    if (entry->type == REPORT_ENDED) {
        check_said_ended(n, rollout, entry);
        check_confirmed(n, rollout, entry, next);
        ends = !entry->undoing;
        n->confirming = false;
    } else if (entry->type == REPORT_ROLLED_BACK) {
        check_said_undone(n, rollout, entry);
        ends = true;
    } else if (entry->type == REPORT_ROLLBACK_STARTED) {
        said_undo_begins(n, rollout);
    } else if (entry->type == REPORT_CONFIRMING) {
        said_confirming(n, rollout, entry);
    } else if (entry->type == REPORT_STEP_ROLLED_BACK && entry->conflict &&
               !n->traces[rollout].conflict) {
        sim_fail(n->sim, "%s says that somebody else changed what %s left, and nobody did", n->id,
                 n->sim->rollouts[rollout].id);
    }
    check_message(n, entry->message == NULL ? "" : entry->message);
    if (ends && n->holder == rollout)
        n->holder = SIM_MAX_ROLLOUTS;
}

void sim_check_append(struct sim_node *n, uint32_t rollout, const struct undo_append *append)
{
    if (rollout == SIM_MAX_ROLLOUTS)
        return;
    if (n->sim->rollouts[rollout].check && append->capture_count > 0)
        sim_fail(n->sim, "%s: something is captured for a check", n->id);
    for (size_t i = 0; i < append->entry_count; i++) {
        const struct wire_entry *entry = &append->entries[i];
        sim_trace(n->sim, "%s records %s %" PRId64 " %s step %" PRId64 " (%s)", n->id,
                  n->sim->rollouts[rollout].id, entry->seq, report_type_names[entry->type],
                  entry->step, entry->message == NULL ? "" : entry->message);
        if (!n->traces[rollout].amnesia)
            check_entry(n, rollout, entry,
                        i + 1 < append->entry_count ? &append->entries[i + 1] : NULL);
    }
}
