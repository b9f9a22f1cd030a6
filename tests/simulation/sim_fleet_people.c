/* Plans, and people who submit them, again and again where no answer came, and who pause, resume
 * and cancel. Once faults have ceased they see to it that everything was submitted and nothing
 * stays paused. */
#include "simulation/sim_fleet.h"

#include "common/base/alloc.h"
#include "common/base/cleanup.h"
#include "common/plan/plan_json.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum {
    ACT_MAX_MS = 2500,
    SUBMIT_UNTIL_MS = 60000,
    FEW = 4,
    MANY_ONCE_IN = 10,
    /* worlds */ REGRET_MAX_MS = 150
};

/* ---- Plans ----------------------------------------------------------------------------------- */

static void write_step(struct sim *sim, struct buf *b, uint32_t number)
{
    static const char *const types[] = {"set", "set", "run", "set", "run", "wait", "note"};
    static const char *const interrupts[] = {"default", "default", "retry", "fail"};
    struct rng *rng = &sim->rng;
    buf_printf(b, "%s{\"name\":\"step-%u\",\"type\":\"%s\",\"params\":{\"key\":%u}",
               number == 0 ? "" : ",", number, types[rng_below(rng, ARRAY_LEN(types))],
               rng_below(rng, SIM_KEYS));
    buf_printf(b, ",\"timeoutSeconds\":%u,\"onInterrupt\":\"%s\"", rng_between(rng, 1, 5),
               interrupts[rng_below(rng, ARRAY_LEN(interrupts))]);
    if (rng_chance(rng, 20))
        buf_puts(b, ",\"required\":false");
    if (rng_chance(rng, 60))
        buf_printf(b, ",\"retry\":{\"maximumAttempts\":%u,\"initialIntervalSeconds\":1}",
                   rng_between(rng, 1, 5));
    buf_putc(b, '}');
}

static void write_strategy(struct sim *sim, struct buf *b)
{
    static const char *const types[] = {"Parallel", "Sequential", "Rolling", "Canary"};
    struct rng *rng = &sim->rng;
    const char *type = types[rng_below(rng, ARRAY_LEN(types))];
    buf_printf(b, "\"rolloutStrategy\":{\"type\":\"%s\"", type);
    if (strcmp(type, "Rolling") == 0 || (strcmp(type, "Canary") == 0 && rng_chance(rng, 50)))
        buf_printf(b, ",\"batchSize\":%u", rng_between(rng, 1, 3));
    if (strcmp(type, "Canary") == 0)
        buf_printf(b, ",\"canaryPercentage\":%u", rng_between(rng, 10, 60));
    if (rng_chance(rng, 40))
        buf_printf(b, ",\"batchDelaySeconds\":%u", rng_between(rng, 1, 5));
    if (rng_chance(rng, 50))
        buf_printf(b, ",\"maxFailures\":%d", (int)rng_between(rng, 0, 4) - 1);
    if (rng_chance(rng, 20))
        buf_printf(b, ",\"maxUnreachable\":%u", rng_below(rng, 3));
    if (rng_chance(rng, 30))
        buf_printf(b, ",\"maxParallel\":%u", rng_between(rng, 1, 3));
    buf_printf(b, ",\"startTimeoutSeconds\":%u,\"reconnectTimeoutSeconds\":%u}",
               rng_between(rng, 3, 60), rng_between(rng, 3, 40));
}

/* Some of the servers, in an order of the plan's own. */
static void write_servers(struct sim *sim, struct sim_rollout *r, struct buf *b)
{
    uint32_t order[SIM_MAX_SERVERS];
    uint32_t count = rng_between(&sim->rng, 1, sim->node_count);
    for (uint32_t i = 0; i < sim->node_count; i++)
        order[i] = i;
    buf_puts(b, "\"servers\":[");
    for (uint32_t i = 0; i < count; i++) {
        uint32_t pick = rng_between(&sim->rng, i, sim->node_count - 1);
        uint32_t node = order[pick];
        order[pick] = order[i];
        r->node_of[i] = node;
        buf_printf(b, "%s\"%s\"", i == 0 ? "" : ",", sim->nodes[node].id);
    }
    buf_puts(b, "],");
}

static struct plan *plan_from(const char *text)
{
    struct plan *plan = NULL;
    struct error err = {0};
    enum error_code code = plan_read(text, strlen(text), &plan, &err);
    if (code != ERR_OK)
        (void)fprintf(stderr, "%s\n%s\n", text, err.message);
    assert(code == ERR_OK);
    return plan;
}

static void make_rollout(struct sim *sim, uint32_t number)
{
    static const char *const scopes[] = {"all", "all", "failed", "none"};
    struct sim_rollout *r = &sim->rollouts[number];
    AUTO_BUF struct buf b = BUF_INIT;
    (void)snprintf(r->id, sizeof(r->id), "r-%u", number + 1);
    buf_putc(&b, '{');
    write_servers(sim, r, &b);
    buf_puts(&b, "\"steps\":[");
    uint32_t steps = rng_between(&sim->rng, 1, SIM_MAX_STEPS);
    for (uint32_t i = 0; i < steps; i++)
        write_step(sim, &b, i);
    buf_puts(&b, "],");
    write_strategy(sim, &b);
    buf_printf(&b, ",\"rollback\":{\"scope\":\"%s\"}}",
               scopes[rng_below(&sim->rng, ARRAY_LEN(scopes))]);
    r->text = sim_checked(buf_take(&b, NULL));
    r->plan = plan_from(r->text);
    r->no_wait = rng_chance(&sim->rng, 20);
    r->submit_at_ms = number == 0 ? 0 : rng_between(&sim->rng, 0, SUBMIT_UNTIL_MS);
}

void sim_people_init(struct sim *sim)
{
    sim->rollout_count =
        rng_between(&sim->rng, 1, rng_once_in(&sim->rng, MANY_ONCE_IN) ? SIM_MAX_ROLLOUTS : FEW);
    for (uint32_t i = 0; i < sim->rollout_count; i++) {
        make_rollout(sim, i);
        sim_trace(sim, "%s: %s", sim->rollouts[i].id, sim->rollouts[i].text);
    }
    sim_after(sim, rng_below(&sim->rng, ACT_MAX_MS), EV_PEOPLE, 0, 0);
}

void sim_people_free(struct sim *sim)
{
    for (uint32_t i = 0; i < sim->rollout_count; i++) {
        mem_free(sim->rollouts[i].text);
        plan_free(sim->rollouts[i].plan);
    }
}

/* ---- Commands -------------------------------------------------------------------------------- */

static struct sim_command *command_new(struct sim *sim, uint32_t rollout, bool submit)
{
    struct sim_people *p = &sim->people;
    if (p->count == SIM_MAX_COMMANDS)
        return NULL;
    struct sim_command *c = &p->commands[p->count];
    *c = (struct sim_command){sim, rollout, p->count, submit};
    p->count++;
    return c;
}

/* An answer: what was asked is durable, or the orchestrator died. */
static void answered(void *ctx, enum error_code result, const struct error *err, const char *id)
{
    const struct sim_command *c = ctx;
    struct sim *sim = c->sim;
    (void)err;
    if (result != ERR_OK) {
        if (sim->orchestrator.running && !sim->orchestrator.dying)
            sim_fail(sim, "%s: a command ended in %s", id, error_code_name(result));
        sim_hit(sim, PATH_ANSWER_LOST);
        return;
    }
    if (!sim->orchestrator.running)
        return;
    sim_trace(sim, "%s: command %u is answered", id, c->token);
    if (c->submit && !sim->rollouts[c->rollout].created)
        sim_fail(sim, "%s: its submitting is acknowledged and not durable", id);
    if (!c->submit && !sim->people.durable[c->token])
        sim_fail(sim, "%s: command %u is acknowledged and not durable", id, c->token);
    if (c->submit)
        sim->rollouts[c->rollout].asked = ASK_ANSWERED;
}

static void submit_refused(struct sim *sim, struct sim_rollout *r, enum error_code code,
                           const struct error *err)
{
    if (code == ERR_BUSY && r->no_wait) {
        sim_hit(sim, PATH_NO_WAIT_REFUSED);
        if (r->created)
            sim_fail(sim, "%s: it exists, and is refused", r->id);
        r->asked = ASK_REFUSED;
    } else if (code != ERR_NO_SPACE && code != ERR_UNAVAILABLE) {
        sim_fail(sim, "%s: submitting: %s", r->id, err->message);
    }
}

static void submit(struct sim *sim, uint32_t rollout)
{
    struct sim_rollout *r = &sim->rollouts[rollout];
    struct sim_command *c = command_new(sim, rollout, true);
    const struct dispatcher_submit request = {
        .id = r->id, .by = "somebody", .no_wait = r->no_wait, .done = answered, .ctx = c};
    struct error err = {0};
    bool created = r->created;
    bool repeat = false;
    if (c == NULL)
        return;
    struct plan *plan = plan_from(r->text);
    enum error_code code =
        dispatcher_submit(sim->orchestrator.dispatcher, plan, &request, &repeat, &err);
    sim_trace(sim, "%s is submitted: %s", r->id, error_code_name(code));
    if (code != ERR_OK) {
        plan_free(plan);
        submit_refused(sim, r, code, &err);
        return;
    }
    if (repeat)
        sim_hit(sim, PATH_SUBMIT_REPEATED);
    else if (created)
        sim_fail(sim, "%s: the same id gave another rollout", r->id);
    if (r->asked == ASK_NOT_YET)
        r->asked = ASK_SENT;
}

/* An id that there is, with the plan of another. */
static void submit_other(struct sim *sim, uint32_t rollout)
{
    struct sim_rollout *r = &sim->rollouts[rollout];
    const struct sim_rollout *other = &sim->rollouts[(rollout + 1) % sim->rollout_count];
    struct sim_command *c = command_new(sim, rollout, true);
    const struct dispatcher_submit request = {.id = r->id, .done = answered, .ctx = c};
    struct error err = {0};
    bool repeat = false;
    if (c == NULL || other == r || !r->created || strcmp(r->text, other->text) == 0)
        return;
    struct plan *plan = plan_from(other->text);
    enum error_code code =
        dispatcher_submit(sim->orchestrator.dispatcher, plan, &request, &repeat, &err);
    if (code != ERR_OK)
        plan_free(plan);
    if (code == ERR_EXISTS)
        sim_hit(sim, PATH_SUBMIT_OTHER);
    else if (code != ERR_NO_SPACE && code != ERR_UNAVAILABLE)
        sim_fail(sim, "%s: another plan under its id: %s", r->id, error_code_name(code));
}

static void order(struct sim *sim, uint32_t rollout, struct dispatcher_order what)
{
    static const enum sim_path paths[] = {[COMMAND_PAUSE] = PATH_PAUSED,
                                          [COMMAND_RESUME] = PATH_RESUMED,
                                          [COMMAND_CANCEL] = PATH_CANCEL_NOW};
    struct sim_rollout *r = &sim->rollouts[rollout];
    struct sim_command *c = command_new(sim, rollout, false);
    char token[SIM_NAME_MAX];
    struct error err = {0};
    if (c == NULL)
        return;
    (void)snprintf(token, sizeof(token), "#%u", c->token);
    what.reason = token;
    what.by = "somebody";
    enum error_code code =
        dispatcher_order(sim->orchestrator.dispatcher, r->id, &what, answered, c, &err);
    sim_trace(sim, "%s: command %u: %d %s", r->id, c->token, (int)what.command,
              code == ERR_OK ? "" : err.message);
    if (code == ERR_OK && (what.command != COMMAND_CANCEL || what.now))
        sim_hit(sim, paths[what.command]);
    if (code == ERR_OK && what.command == COMMAND_CANCEL && what.rollback)
        sim_hit(sim, PATH_CANCEL_UNDOING);
    if (code == ERR_NOT_FOUND && r->created)
        sim_fail(sim, "%s: it exists and is not found", r->id);
    else if (code != ERR_OK && code != ERR_NOT_FOUND && code != ERR_CONFLICT &&
             code != ERR_NO_SPACE && code != ERR_UNAVAILABLE)
        sim_fail(sim, "%s: a command: %s", r->id, err.message);
}

static void order_cancel(struct sim *sim, uint32_t rollout)
{
    const struct dispatcher_order cancel = {
        .command = COMMAND_CANCEL,
        .now = rng_chance(&sim->rng, 50),
        .rollback = rng_chance(&sim->rng, 50),
    };
    order(sim, rollout, cancel);
}

static void order_something(struct sim *sim, uint32_t rollout)
{
    static const struct dispatcher_order pause = {.command = COMMAND_PAUSE};
    static const struct dispatcher_order resume = {.command = COMMAND_RESUME};
    uint32_t choice = rng_below(&sim->rng, 10);
    if (choice >= 8)
        order_cancel(sim, rollout);
    else
        order(sim, rollout, choice >= 4 ? resume : pause);
}

/* ---- What people do -------------------------------------------------------------------------- */

static void do_something(struct sim *sim)
{
    uint32_t rollout = rng_below(&sim->rng, sim->rollout_count);
    struct sim_rollout *r = &sim->rollouts[rollout];
    uint32_t choice = rng_below(&sim->rng, 100);
    if (r->asked == ASK_NOT_YET || r->asked == ASK_SENT) {
        if (sim->now_ms >= r->submit_at_ms)
            submit(sim, rollout);
        if (r->asked == ASK_SENT && rng_chance(&sim->rng, 8)) /* and think better of it */
            sim_after(sim, rng_below(&sim->rng, REGRET_MAX_MS), EV_PEOPLE, rollout, 1);
    } else if (r->asked == ASK_ANSWERED && choice < 10) {
        submit(sim, rollout);
    } else if (r->asked == ASK_ANSWERED && choice < 15) {
        submit_other(sim, rollout);
    } else if (r->asked == ASK_ANSWERED && choice < (r->ended ? 20U : 45U)) {
        order_something(sim, rollout);
    }
}

static void tidy_up(struct sim *sim)
{
    static const struct dispatcher_order resume = {.command = COMMAND_RESUME};
    for (uint32_t i = 0; i < sim->rollout_count; i++) {
        const struct sim_rollout *r = &sim->rollouts[i];
        if (r->asked == ASK_NOT_YET || r->asked == ASK_SENT)
            submit(sim, i);
        else if (r->paused && !r->ended && !r->stopped)
            order(sim, i, resume);
    }
}

void sim_people_act(struct sim *sim, uint32_t who, uint64_t token)
{
    if (token != 0) {
        if (sim->orchestrator.running)
            order_cancel(sim, who);
        return;
    }
    if (sim->orchestrator.running) {
        if (sim_faulty(sim))
            do_something(sim);
        else
            tidy_up(sim);
    }
    sim_after(sim, rng_between(&sim->rng, 1, ACT_MAX_MS), EV_PEOPLE, 0, 0);
}
