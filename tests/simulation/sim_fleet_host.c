/* A server's own state, and the handlers that change it. How an operation fares follows from seed,
 * rollout, server, step, attempt and kind, whenever it happens.
 *
 * A host has a few values; a step writes its own mark into one of them, half-way first. prepare
 * captures the value that is there; undo brings it back, but never over what somebody else wrote.
 */
#include "simulation/sim_fleet.h"

#include "agent/executor.h"
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
    VALUE_HALF = 1,
    VALUE_ATTEMPT_SHIFT = 8,
    VALUE_STEP_SHIFT = 24,
    VALUE_ROLLOUT_SHIFT = 32,
    HANDLER_CODES = 5,
    VALUE_BY_HAND_SHIFT = 60, /* above all marks */
    KILLER_STEPS = 15,        /* where every operation is in trouble, one step in so many */
    PREPARE_DEATHS_MAX = 6,   /* of agents by the same prepare, with those of other causes */
    IDLE_PERCENT = 20,        /* of executes that find all done */
    REBOOTS_MAX = 3,          /* that most steps want */
    REBOOTS_ENDLESS = 12,     /* one step in so many that reboot wants more than it gets */
    AWAY_MAX_MS = 60000,
    CHECK_CHANGE_PERCENT = 60
};

enum fate { FATE_WELL, FATE_FAILS, FATE_FAILS_FOR_NOW, FATE_HANGS, FATE_KILLS_AGENT };

/* ---- Step types ------------------------------------------------------------------------------ */

static const struct step_type type_set = {.name = "set",
                                          .traits = STEP_TYPE_IDEMPOTENT | STEP_TYPE_CHANGES};
static const struct step_type type_run = {.name = "run", .traits = STEP_TYPE_CHANGES};
static const struct step_type type_wait = {.name = "wait", .traits = STEP_TYPE_IDEMPOTENT};
static const struct step_type type_note = {.name = "note",
                                           .traits = STEP_TYPE_IDEMPOTENT | STEP_TYPE_INSTANT};
/* These two have their server rebooted. */
static const struct step_type type_boot = {.name = "boot",
                                           .traits = STEP_TYPE_IDEMPOTENT | STEP_TYPE_CHANGES};
static const struct step_type type_migrate = {.name = "migrate", .traits = STEP_TYPE_CHANGES};
static const struct step_type *const types[] = {&type_boot, &type_migrate, &type_note,
                                                &type_run,  &type_set,     &type_wait};
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
    const uint64_t parts[] = {op->rollout,
                              n->index,
                              op->step,
                              (uint64_t)attempt,
                              (uint64_t)op->round,
                              (uint64_t)op->operation};
    for (size_t i = 0; i < ARRAY_LEN(parts); i++)
        key = key * UINT64_C(0x9e3779b97f4a7c15) + parts[i] + 1;
    rng_init(&rng, key);
    return rng;
}

/* How many reboots the step wants; its type says whether it wants any. */
static int64_t reboots_wanted(const struct sim_node *n, const struct sim_operation *op)
{
    struct rng rng = chance_of(n, op, 0);
    if (!op->boots || op->operation != HANDLER_EXECUTE)
        return 0;
    return rng_once_in(&rng, REBOOTS_ENDLESS) ? EXECUTOR_MAX_REBOOTS + 1
                                              : (int64_t)rng_below(&rng, REBOOTS_MAX);
}

static int64_t away_of(const struct sim_node *n, const struct sim_operation *op)
{
    struct rng rng = chance_of(n, op, 0);
    return rng_chance(&rng, 20) ? 0 : (int64_t)rng_between(&rng, 1000, AWAY_MAX_MS);
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

/* Some operations kill their agent every time. */
static bool is_killer(const struct sim_node *n, const struct sim_operation *op)
{
    struct rng rng = chance_of(n, op, 0);
    return (op->traits & STEP_TYPE_INSTANT) == 0 && !n->sim->profile.calm &&
           rng_below(&rng, 100 * KILLER_STEPS) < n->sim->profile.trouble;
}

/* ---- What an operation does to the host ------------------------------------------------------ */

/* What is there is neither what the step left nor what was captured. */
static bool is_of_others(const struct sim_node *n, const struct sim_operation *op)
{
    uint64_t value = n->values[op->key];
    return op->operation == HANDLER_ROLLBACK && sim_changes(op) && value != op->undo &&
           !is_marked(value, op->rollout, op->step);
}

/* Whoever undid something there sees it written over by others; `by`: not by that rollout. */
static void set_value(struct sim_node *n, uint32_t key, uint64_t value, uint32_t by)
{
    sim_trace(n->sim, "%s: value %u was %" PRIx64 ", is %" PRIx64, n->id, key, n->values[key],
              value);
    n->values[key] = value;
    for (uint32_t i = 0; i < SIM_MAX_ROLLOUTS; i++)
        if (i != by)
            n->traces[i].overwritten[key] = true;
}

static void touch(struct sim_node *n, const struct sim_operation *op, uint64_t value)
{
    if (is_of_others(n, op))
        sim_hit(n->sim, PATH_FORCED_OVER);
    set_value(n, op->key, value, op->rollout);
}

void sim_host_meddle(struct sim_node *n)
{
    uint32_t key = rng_below(&n->sim->rng, SIM_KEYS);
    sim_hit(n->sim, PATH_MEDDLED);
    set_value(n, key, (UINT64_C(1) << VALUE_BY_HAND_SHIFT) | ++n->sim->people.meddled,
              SIM_MAX_ROLLOUTS);
}

/* An undo that would write over what somebody else wrote meanwhile. */
static bool conflicts(const struct sim_node *n, const struct sim_operation *op)
{
    return !op->force && is_of_others(n, op);
}

static void change_half(struct sim_node *n, const struct sim_operation *op)
{
    if (sim_changes(op) && !op->idle && !conflicts(n, op))
        touch(n, op, mark_of(op, true));
}

static void change_whole(struct sim_node *n, const struct sim_operation *op)
{
    if (sim_changes(op) && !op->idle && !conflicts(n, op))
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
    if (op->fate != FATE_KILLS_AGENT)
        return;
    n->dying = true;
    bool looks = op->operation == HANDLER_PREPARE || op->operation == HANDLER_CHECK;
    if (looks && !n->traces[op->rollout].amnesia &&
        ++n->traces[op->rollout].deaths[op->step] > PREPARE_DEATHS_MAX)
        sim_fail(sim, "%s: step %u of %s has killed its agent %u times when looked at", n->id,
                 op->step, sim->rollouts[op->rollout].id, n->traces[op->rollout].deaths[op->step]);
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
    struct handler_result result = {.outcome = HANDLER_OK, .changed = sim_changes(op) && !op->idle};
    struct rng rng = chance_of(n, op, op->attempt);
    if (op->operation == HANDLER_CHECK)
        result.changed =
            (op->traits & STEP_TYPE_CHANGES) != 0 && rng_next(&rng) % 100 < CHECK_CHANGE_PERCENT;
    if (op->cancelled) {
        result.outcome = HANDLER_CANCELLED;
        (void)snprintf(result.message, sizeof(result.message), "stopped");
    } else if (conflicts(n, op)) {
        result.outcome = HANDLER_FAILED;
        result.conflict = true;
        (void)snprintf(result.message, sizeof(result.message), "changed by another since");
        sim_hit(n->sim, PATH_UNDO_CONFLICT);
    } else if (op->no_room) {
        result.outcome = HANDLER_FAILED;
        result.no_room = true;
        (void)snprintf(result.message, sizeof(result.message), "no room for what undo needs");
        sim_hit(n->sim, PATH_NO_ROOM);
    } else if (op->fate != FATE_WELL) {
        result.outcome = HANDLER_FAILED;
        result.retryable = op->fate == FATE_FAILS_FOR_NOW;
        result.has_exit_code = true;
        result.exit_code = 1 + (int64_t)(op->token % HANDLER_CODES);
        (void)snprintf(result.message, sizeof(result.message), "it did not work");
    } else if (op->reboots < reboots_wanted(n, op)) {
        result.reboot = true;
        result.away_ms = away_of(n, op);
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

static void restored(struct sim_node *n, const struct sim_operation *op)
{
    struct sim_trace *t = &n->traces[op->rollout];
    t->undone[op->step] = true;
    if (!sim_changes(op))
        return;
    t->restored[op->key] = true;
    t->overwritten[op->key] = false;
}

/* What found all done has changed nothing, unless an attempt before it has. */
static void executed(struct sim_node *n, const struct sim_operation *op, bool reboots)
{
    struct sim_trace *t = &n->traces[op->rollout];
    t->done[op->step] = !reboots;
    if (reboots) {
        t->reboot_boot[op->step] = n->boot;
        t->reboot_life[op->step] = n->life;
    }
    if (!op->idle || op->was_dirty || !sim_changes(op))
        return;
    t->dirty[op->step] = false;
    if (t->toucher[op->key] == op->step)
        t->touched[op->key] = false;
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
    bool planned = op->depends && result.outcome == HANDLER_FAILED;
    if (result.outcome != HANDLER_OK || (result.reboot && op->reboots == EXECUTOR_MAX_REBOOTS))
        count_bad(n, op);
    if (op->operation == HANDLER_CHECK)
        t->done[op->step] = result.outcome == HANDLER_OK || planned;
    else if (op->operation == HANDLER_EXECUTE && result.outcome == HANDLER_OK)
        executed(n, op, result.reboot);
    else if (result.outcome == HANDLER_OK && op->operation == HANDLER_PREPARE &&
             (op->traits & STEP_TYPE_CHANGES) != 0)
        capture(n, op, &result);
    else if (result.outcome == HANDLER_OK && op->operation == HANDLER_ROLLBACK)
        restored(n, op);
    t->conflict = t->conflict || result.conflict;
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

static void operation_run(struct sim_node *n, struct sim_operation *op)
{
    struct sim *sim = n->sim;
    struct rng rng = chance_of(n, op, op->attempt);
    uint32_t most = rng_chance(&rng, 50) ? SHORT_MS : sim->profile.long_ms;
    op->fate = is_killer(n, op) ? FATE_KILLS_AGENT : (uint32_t)fate_of(n, op, &rng);
    uint32_t duration_ms = rng_between(&rng, 0, most);
    op->idle = op->operation == HANDLER_EXECUTE && (op->traits & STEP_TYPE_IDEMPOTENT) != 0 &&
               op->fate == FATE_WELL && rng_chance(&rng, IDLE_PERCENT);
    if (duration_ms == 0 && op->fate == FATE_WELL) {
        operation_over(n, op); /* an operation may end before its start returns */
        return;
    }
    sim_after(sim, duration_ms / 2, EV_OPERATION_HALF, n->index, op->token);
    if (op->fate != FATE_HANGS && op->fate != FATE_KILLS_AGENT)
        sim_after(sim, duration_ms, EV_OPERATION_END, n->index, op->token);
}

/* Of a prepare for which room was made it is known that there was none. */
static void find_room(struct sim_node *n, struct sim_operation *op, const struct handler_room *room)
{
    bool keeps = op->operation == HANDLER_PREPARE && (op->traits & STEP_TYPE_CHANGES) != 0;
    op->no_room = keeps && room->max_bytes > 0 && room->used_bytes >= room->max_bytes;
    if (keeps && !op->no_room && n->wants_room)
        sim_hit(n->sim, PATH_ROOM_MADE);
    n->wants_room = op->no_room && !n->wants_room;
}

static void runner_start_seam(void *ctx, const struct runner_operation *operation)
{
    static const char *const names[] = {"prepares", "executes", "undoes", "checks"};
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
        .reboots = operation->reboots,
        .boots = type == &type_boot || type == &type_migrate,
        .traits = type->traits,
        .undo = number_after(operation->undo, "\"v\":"),
        .force = operation->force,
        .depends = operation->depends_name != NULL,
        .was_dirty = n->traces[rollout].dirty[step_number(sim, rollout, operation->step->name)],
    };
    if (operation->operation == HANDLER_ROLLBACK)
        n->operation.round = sim_store_count(n, rollout, REPORT_ROLLBACK_STARTED);
    find_room(n, &n->operation, &operation->room);
    if (n->dying) { /* it never began */
        n->operation.active = false;
        return;
    }
    sim_trace(sim, "%s %s step %u of %s, attempt %" PRId64, n->id, names[operation->operation],
              n->operation.step, operation->rollout, operation->attempt);
    sim_check_operation(n, &n->operation, operation->undo);
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
        [HANDLER_CHECK] = PATH_AGENT_MID_CHECK,
    };
    struct sim_operation *op = &n->operation;
    for (uint32_t i = 0; i < SIM_MAX_ROLLOUTS; i++) {
        n->traces[i].bad++;
        n->traces[i].bad_undos++;
        if (sim_store_last(n, i, REPORT_CONFIRMING) == NULL)
            n->traces[i].confirm_seq = 0; /* it was not on disk */
    }
    if (n->reboot)
        n->orphan.active = false;
    if (n->confirming)
        sim_hit(n->sim, PATH_CONFIRM_DEATH);
    n->confirming = n->wants_room = false;
    if (!op->active)
        return;
    sim_hit(n->sim, paths[op->operation]);
    op->active = false;
    if (n->reboot || op->fate == FATE_KILLS_AGENT || !sim_changes(op))
        return;
    op->orphan = op->active = true;
    n->orphan = *op;
    op->active = false;
}
