/* A server's own state, and the handlers that change it. How an operation fares follows from seed,
 * rollout, server, step, attempt and kind, whenever it happens.
 *
 * A host has a few values; a step writes its own mark into one of them, half-way first. prepare
 * captures the value that is there; undo brings it back, but never over what somebody else wrote.
 */
#include "simulation/sim_fleet.h"

#include "common/base/alloc.h"
#include "common/base/cleanup.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    SHORT_MS = 60,
    STOP_MS = 40,
    TOLD_MS = 8000, /* within so long a server that is there hears what is decided */
    VALUE_HALF = 1,
    VALUE_ATTEMPT_SHIFT = 8,
    VALUE_STEP_SHIFT = 24,
    VALUE_ROLLOUT_SHIFT = 32,
    HANDLER_CODES = 5,
    KILLER_STEPS = 15,   /* where every operation is in trouble, one step in so many */
    ABOUT_EXECUTION = -1 /* a journal entry's step */
};

enum fate {
    FATE_WELL,
    FATE_FAILS,
    FATE_FAILS_FOR_NOW,
    FATE_HANGS,
    FATE_KILLS_AGENT /* execute alone */
};

/* ---- Step types ------------------------------------------------------------------------------ */

static const struct step_type type_set = {.name = "set",
                                          .traits = STEP_TYPE_IDEMPOTENT | STEP_TYPE_CHANGES};
static const struct step_type type_run = {.name = "run", .traits = STEP_TYPE_CHANGES};
static const struct step_type type_wait = {.name = "wait", .traits = STEP_TYPE_IDEMPOTENT};
static const struct step_type type_note = {.name = "note",
                                           .traits = STEP_TYPE_IDEMPOTENT | STEP_TYPE_INSTANT};
static const struct step_type *const types[] = {&type_note, &type_run, &type_set, &type_wait};
const struct step_catalog sim_catalog = {types, ARRAY_LEN(types)};

/* ---- Values ---------------------------------------------------------------------------------- */

static uint64_t mark(uint32_t rollout, uint32_t step)
{
    return ((uint64_t)(rollout + 1) << VALUE_ROLLOUT_SHIFT) | ((uint64_t)step << VALUE_STEP_SHIFT);
}

static bool is_marked(uint64_t value, uint32_t rollout, uint32_t step)
{
    return value >> VALUE_STEP_SHIFT == mark(rollout, step) >> VALUE_STEP_SHIFT;
}

static uint64_t mark_of(const struct sim_operation *op, bool half)
{
    return mark(op->rollout, op->step) | ((uint64_t)op->attempt << VALUE_ATTEMPT_SHIFT) |
           (half ? VALUE_HALF : 0);
}

/* ---- Fate ------------------------------------------------------------------------------------ */

/* The operation's own source of chance; attempt 0: that of the step as such. */
static struct rng chance_of(const struct sim_node *n, const struct sim_operation *op,
                            int64_t attempt)
{
    struct rng rng;
    uint64_t key = n->sim->seed;
    const uint64_t parts[] = {op->rollout, n->index, op->step, (uint64_t)attempt,
                              (uint64_t)op->operation};
    for (size_t i = 0; i < ARRAY_LEN(parts); i++)
        key = key * UINT64_C(0x9e3779b97f4a7c15) + parts[i] + 1;
    rng_init(&rng, key);
    return rng;
}

static enum fate fate_of(const struct sim_node *n, const struct sim_operation *op, struct rng *rng)
{
    uint32_t trouble = n->sim->profile.trouble;
    if (op->operation == HANDLER_PREPARE)
        return rng_chance(rng, trouble / 4)
                   ? (rng_chance(rng, 70) ? FATE_FAILS_FOR_NOW : FATE_FAILS)
                   : FATE_WELL;
    if (!rng_chance(rng, op->operation == HANDLER_EXECUTE ? trouble : trouble / 2))
        return FATE_WELL;
    uint32_t which = rng_below(rng, 100);
    if (which < 45)
        return FATE_FAILS_FOR_NOW;
    if (which < 80)
        return FATE_FAILS;
    return FATE_HANGS;
}

/* Some steps kill their agent every time. */
static bool is_killer(const struct sim_node *n, const struct sim_operation *op)
{
    struct rng rng = chance_of(n, op, 0);
    return op->operation == HANDLER_EXECUTE && (op->traits & STEP_TYPE_INSTANT) == 0 &&
           !n->sim->profile.calm && rng_below(&rng, 100 * KILLER_STEPS) < n->sim->profile.trouble;
}

/* ---- What an operation does to the host ------------------------------------------------------ */

static void touch(struct sim_node *n, const struct sim_operation *op, uint64_t value)
{
    sim_trace(n->sim, "%s: value %u was %" PRIx64 ", is %" PRIx64, n->id, op->key,
              n->values[op->key], value);
    n->values[op->key] = value;
}

static bool changes(const struct sim_operation *op)
{
    return (op->traits & STEP_TYPE_CHANGES) != 0 && op->operation != HANDLER_PREPARE;
}

/* An undo that would write over what somebody else wrote meanwhile. */
static bool conflicts(const struct sim_node *n, const struct sim_operation *op)
{
    uint64_t value = n->values[op->key];
    return op->operation == HANDLER_ROLLBACK && changes(op) && value != op->undo &&
           !is_marked(value, op->rollout, op->step);
}

static void change_half(struct sim_node *n, const struct sim_operation *op)
{
    if (changes(op) && !conflicts(n, op))
        touch(n, op, mark_of(op, true));
}

static void change_whole(struct sim_node *n, const struct sim_operation *op)
{
    if (changes(op) && !conflicts(n, op))
        touch(n, op, op->operation == HANDLER_EXECUTE ? mark_of(op, false) : op->undo);
}

static struct sim_operation *operation_of(struct sim_node *n, uint64_t token)
{
    if (n->operation.active && n->operation.token == token)
        return &n->operation;
    if (n->orphan.active && n->orphan.token == token)
        return &n->orphan;
    return NULL;
}

void sim_host_half(struct sim *sim, uint32_t who, uint64_t token)
{
    struct sim_node *n = &sim->nodes[who];
    struct sim_operation *op = operation_of(n, token);
    if (op == NULL || op->cancelled)
        return;
    change_half(n, op);
    if (op->orphan)
        return;
    agent_operation_output(n->agent, 0, "half of it is done\n");
    if (op->fate == FATE_KILLS_AGENT)
        n->dying = true;
}

/* ---- An operation's end ---------------------------------------------------------------------- */

static void capture(struct sim_node *n, const struct sim_operation *op,
                    struct handler_result *result)
{
    char text[64];
    (void)snprintf(text, sizeof(text), "{\"v\":%" PRIu64 "}", n->values[op->key]);
    result->undo = sim_checked(mem_strdup(text));
    struct sim_trace *t = &n->traces[op->rollout];
    t->captured[op->step] = n->values[op->key];
}

static void count_bad(struct sim_node *n, const struct sim_operation *op)
{
    struct sim_trace *t = &n->traces[op->rollout];
    if (op->operation == HANDLER_ROLLBACK)
        t->bad_undos++;
    else
        t->bad++;
}

static struct handler_result result_of(struct sim_node *n, struct sim_operation *op)
{
    struct handler_result result = {.outcome = HANDLER_OK, .changed = changes(op)};
    if (op->cancelled) {
        result.outcome = HANDLER_CANCELLED;
        (void)snprintf(result.message, sizeof(result.message), "stopped");
    } else if (conflicts(n, op)) {
        result.outcome = HANDLER_FAILED;
        (void)snprintf(result.message, sizeof(result.message), "changed by another since");
        sim_hit(n->sim, PATH_UNDO_CONFLICT);
    } else if (op->fate != FATE_WELL) {
        result.outcome = HANDLER_FAILED;
        result.retryable = op->fate == FATE_FAILS_FOR_NOW;
        result.has_exit_code = true;
        result.exit_code = 1 + (int64_t)(op->token % HANDLER_CODES);
        (void)snprintf(result.message, sizeof(result.message), "it did not work");
    }
    return result;
}

/* What failed or was stopped leaves the host as it was, half changed or changed. */
static void leave_host(struct sim_node *n, const struct sim_operation *op,
                       const struct handler_result *result)
{
    struct rng rng = chance_of(n, op, op->attempt);
    uint32_t how = (uint32_t)(rng_next(&rng) % 3);
    if (result->outcome == HANDLER_OK || how == 0)
        change_whole(n, op);
    else if (how == 1)
        change_half(n, op);
}

static void operation_over(struct sim_node *n, struct sim_operation *op)
{
    struct handler_result result = result_of(n, op);
    bool orphan = op->orphan;
    struct sim_trace *t = &n->traces[op->rollout];
    leave_host(n, op, &result);
    op->active = false;
    if (orphan) {
        sim_hit(n->sim, PATH_ORPHAN);
        return;
    }
    if (result.outcome != HANDLER_OK)
        count_bad(n, op);
    else if (op->operation == HANDLER_EXECUTE)
        t->done[op->step] = true;
    else if (op->operation == HANDLER_PREPARE && (op->traits & STEP_TYPE_CHANGES) != 0)
        capture(n, op, &result);
    agent_operation_done(n->agent, &result, "output of a step\n");
    mem_free(result.undo);
}

void sim_host_end(struct sim *sim, uint32_t who, uint64_t token)
{
    struct sim_node *n = &sim->nodes[who];
    struct sim_operation *op = operation_of(n, token);
    if (op != NULL)
        operation_over(n, op);
}

/* ---- The runner's seam ----------------------------------------------------------------------- */

static uint32_t step_number(const struct sim *sim, uint32_t rollout, const char *name)
{
    uint32_t step = 0;
    bool found = plan_step_find(sim->rollouts[rollout].plan, name, &step);
    assert(found);
    return step;
}

static uint64_t number_after(const char *text, const char *what)
{
    const char *at = text == NULL ? NULL : strstr(text, what);
    return at == NULL ? 0 : strtoull(at + strlen(what), NULL, 10);
}

/* Nothing of this may be so when an operation that can change the host begins. */
static void check_change(struct sim_node *n, const struct sim_operation *op)
{
    struct sim *sim = n->sim;
    const struct sim_store_execution *x = sim_store_find(n, op->rollout);
    const char *id = sim->rollouts[op->rollout].id;
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
        r->facts[server].withdrawn)
        return; /* its place was given away; it may have been away as that was to be said */
    if (!r->stopped || r->stopped_ms > limit_ms || n->reachable_ms > limit_ms ||
        sim->orchestrator.writable_ms > limit_ms || sim->orchestrator.disk.full)
        return;
    if (c != NULL && c->session != NULL && link_up(n->link) && !c->broken &&
        !c->blocked[TO_AGENT] && !c->blocked[TO_ORCHESTRATOR] && !c->closing[TO_AGENT] &&
        !c->closing[TO_ORCHESTRATOR])
        sim_fail(sim, "%s: step %u of %s begins long after it was stopped", n->id, op->step, r->id);
}

static void check_execute(struct sim_node *n, const struct sim_operation *op)
{
    struct sim *sim = n->sim;
    const char *id = sim->rollouts[op->rollout].id;
    struct sim_trace *t = &n->traces[op->rollout];
    bool instant = (op->traits & STEP_TYPE_INSTANT) != 0;
    if (t->undo_at != SIM_MAX_STEPS ||
        sim_store_says(n, op->rollout, REPORT_ENDED, ABOUT_EXECUTION))
        sim_fail(sim, "%s: step %u of %s begins after undoing did", n->id, op->step, id);
    for (uint32_t i = op->step + 1; i < SIM_MAX_STEPS; i++)
        if (t->began[i])
            sim_fail(sim, "%s: step %u of %s begins after step %u", n->id, op->step, id, i);
    if (!instant && op->attempt <= t->attempt[op->step])
        sim_fail(sim, "%s: attempt %" PRId64 " of step %u of %s runs again", n->id, op->attempt,
                 op->step, id);
    if (!instant && !sim_store_says(n, op->rollout, REPORT_STEP_STARTED, op->step))
        sim_fail(sim, "%s: step %u of %s begins and that is not durable", n->id, op->step, id);
    check_stopped(n, op);
    if (!t->touched[op->key] && changes(op)) {
        t->touched[op->key] = true;
        t->base[op->key] = n->values[op->key];
    }
    t->began[op->step] = !instant;
    t->attempt[op->step] = op->attempt;
    t->done[op->step] = false;
    if (op->attempt > 1)
        sim_hit(sim, PATH_RETRIED);
}

static void check_undo(struct sim_node *n, const struct sim_operation *op)
{
    struct sim *sim = n->sim;
    const char *id = sim->rollouts[op->rollout].id;
    struct sim_trace *t = &n->traces[op->rollout];
    if (sim_store_says(n, op->rollout, REPORT_ROLLED_BACK, ABOUT_EXECUTION))
        sim_fail(sim, "%s: %s is undone a second time", n->id, id);
    if ((int32_t)op->step > t->undo_at)
        sim_fail(sim, "%s: step %u of %s is undone after step %d", n->id, op->step, id, t->undo_at);
    if (!t->began[op->step] && (op->traits & STEP_TYPE_INSTANT) == 0 &&
        !sim_store_says(n, op->rollout, REPORT_STEP_STARTED, op->step))
        sim_fail(sim, "%s: step %u of %s is undone and never began", n->id, op->step, id);
    if (!sim_store_says(n, op->rollout, REPORT_ROLLBACK_STARTED, ABOUT_EXECUTION))
        sim_fail(sim, "%s: %s is being undone and that is not durable", n->id, id);
    if (op->attempt > 1)
        sim_hit(sim, PATH_UNDO_RETRIED);
    t->undo_at = (int32_t)op->step;
    t->undo_began[op->step] = true;
}

static void check_operation(struct sim_node *n, const struct sim_operation *op, const char *undo)
{
    struct sim_trace *t = &n->traces[op->rollout];
    if (t->amnesia)
        return;
    if (op->operation == HANDLER_PREPARE) {
        if (t->began[op->step] && (op->traits & STEP_TYPE_CHANGES) != 0)
            sim_fail(n->sim, "%s: step %u of %s is captured after it began", n->id, op->step,
                     n->sim->rollouts[op->rollout].id);
        return;
    }
    check_change(n, op);
    if ((op->traits & STEP_TYPE_CHANGES) != 0 &&
        number_after(undo, "\"v\":") != t->captured[op->step])
        sim_fail(n->sim, "%s: step %u of %s is given another capture than its first", n->id,
                 op->step, n->sim->rollouts[op->rollout].id);
    if (op->operation == HANDLER_EXECUTE)
        check_execute(n, op);
    else
        check_undo(n, op);
    if ((op->traits & STEP_TYPE_INSTANT) == 0)
        n->holder = op->rollout;
}

static void operation_run(struct sim_node *n, struct sim_operation *op)
{
    struct sim *sim = n->sim;
    struct rng rng = chance_of(n, op, op->attempt);
    uint32_t most = rng_chance(&rng, 50) ? SHORT_MS : sim->profile.long_ms;
    op->fate = is_killer(n, op) ? FATE_KILLS_AGENT : (uint32_t)fate_of(n, op, &rng);
    uint32_t duration_ms = rng_between(&rng, 0, most);
    if (duration_ms == 0 && op->fate == FATE_WELL) {
        operation_over(n, op); /* an operation may end before its start returns */
        return;
    }
    sim_after(sim, duration_ms / 2, EV_OPERATION_HALF, n->index, op->token);
    if (op->fate != FATE_HANGS && op->fate != FATE_KILLS_AGENT)
        sim_after(sim, duration_ms, EV_OPERATION_END, n->index, op->token);
}

static void runner_start_seam(void *ctx, const struct runner_operation *operation)
{
    static const char *const names[] = {"prepares", "executes", "undoes"};
    struct sim_node *n = ctx;
    struct sim *sim = n->sim;
    uint32_t rollout = sim_rollout_find(sim, operation->rollout);
    const struct step_type *type = step_catalog_find(&sim_catalog, operation->step->type);
    assert(rollout < SIM_MAX_ROLLOUTS && type != NULL && !n->operation.active);
    if (n->operations_to_live > 0 && --n->operations_to_live == 0) {
        sim_hit(sim, PATH_AGENT_BEFORE_OPERATION);
        n->dying = true;
    }
    n->operation = (struct sim_operation){
        .active = true,
        .token = ++n->operations,
        .operation = operation->operation,
        .rollout = rollout,
        .step = step_number(sim, rollout, operation->step->name),
        .key = (uint32_t)number_after(operation->step->params_json, "\"key\":"),
        .attempt = operation->attempt,
        .traits = type->traits,
        .undo = number_after(operation->undo, "\"v\":"),
    };
    if (n->dying) { /* it never began */
        n->operation.active = false;
        return;
    }
    sim_trace(sim, "%s %s step %u of %s, attempt %" PRId64, n->id, names[operation->operation],
              n->operation.step, operation->rollout, operation->attempt);
    check_operation(n, &n->operation, operation->undo);
    operation_run(n, &n->operation);
}

static void runner_cancel_seam(void *ctx)
{
    struct sim_node *n = ctx;
    struct sim_operation *op = &n->operation;
    if (!op->active || op->cancelled)
        return;
    if (op->fate == FATE_HANGS)
        sim_hit(n->sim, PATH_TIMED_OUT);
    /* It may be done before the signal reaches it. */
    if (op->fate != FATE_HANGS && rng_chance(&n->sim->rng, 20))
        return;
    op->cancelled = true;
    sim_after(n->sim, rng_between(&n->sim->rng, 1, STOP_MS), EV_OPERATION_END, n->index, op->token);
}

static void runner_clean_seam(void *ctx, const char *rollout, const char *step)
{
    struct sim_node *n = ctx;
    uint32_t number = sim_rollout_find(n->sim, rollout);
    if (!n->orphan.active || n->orphan.rollout != number ||
        n->orphan.step != step_number(n->sim, number, step))
        return;
    sim_trace(n->sim, "%s ends what was left of step %s of %s", n->id, step, rollout);
    sim_hit(n->sim, PATH_ORPHAN_ENDED);
    n->orphan.active = false;
}

void sim_host_seam(struct sim_node *n, struct agent_runner *ret_runner)
{
    *ret_runner =
        (struct agent_runner){n, runner_start_seam, runner_cancel_seam, runner_clean_seam};
}

void sim_host_abandon(struct sim_node *n)
{
    static const enum sim_path paths[] = {
        [HANDLER_PREPARE] = PATH_AGENT_MID_PREPARE,
        [HANDLER_EXECUTE] = PATH_AGENT_MID_EXECUTE,
        [HANDLER_ROLLBACK] = PATH_AGENT_MID_UNDO,
    };
    struct sim_operation *op = &n->operation;
    for (uint32_t i = 0; i < SIM_MAX_ROLLOUTS; i++) {
        n->traces[i].bad++;
        n->traces[i].bad_undos += n->traces[i].undo_at != SIM_MAX_STEPS;
    }
    if (n->reboot)
        n->orphan.active = false;
    if (!op->active)
        return;
    sim_hit(n->sim, paths[op->operation]);
    op->active = false;
    if (n->reboot || op->fate == FATE_KILLS_AGENT || !changes(op))
        return;
    op->orphan = op->active = true;
    n->orphan = *op;
    op->active = false;
}
