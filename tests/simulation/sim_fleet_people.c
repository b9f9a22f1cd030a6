/* People who submit rollouts, again and again where no answer came, and who pause, resume and
 * cancel them. Once faults have ceased they see to it that everything was submitted, nothing stays
 * paused and no server locked. */
#include "simulation/sim_fleet.h"

#include "common/base/alloc.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum {
    ACT_MAX_MS = 2500,
    FEW = 4,
    MANY_ONCE_IN = 10, /* worlds */
    REGRET_MAX_MS = 150
};

void sim_people_init(struct sim *sim)
{
    sim->rollout_count =
        rng_between(&sim->rng, 1, rng_once_in(&sim->rng, MANY_ONCE_IN) ? SIM_MAX_ROLLOUTS : FEW);
    for (uint32_t i = 0; i < sim->rollout_count; i++)
        sim_plan_make(sim, i);
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

struct sim_command *sim_command_new(struct sim *sim, const struct sim_command *command)
{
    struct sim_people *p = &sim->people;
    if (p->count == SIM_MAX_COMMANDS)
        return NULL;
    struct sim_command *c = &p->commands[p->count];
    *c = *command;
    c->sim = sim;
    c->token = p->count++;
    return c;
}

/* An answer: what was asked is durable, or the orchestrator died. */
void sim_command_answered(void *ctx, enum error_code result, const struct error *err,
                          const char *id)
{
    const struct sim_command *c = ctx;
    struct sim *sim = c->sim;
    (void)err;
    if (result != ERR_OK) {
        if (sim->orchestrator.running && !sim->orchestrator.dying)
            sim_fail(sim, "%s: a command ended in %s", id, error_code_name(result));
        sim_hit(sim, PATH_ANSWER_LOST);
        sim->people.lost = *c;
        return;
    }
    if (!sim->orchestrator.running)
        return;
    sim_trace(sim, "%s: command %u is answered", id, c->token);
    if (c->kind == SIM_SUBMIT && !sim->rollouts[c->rollout].created)
        sim_fail(sim, "%s: its submitting is acknowledged and not durable", id);
    if (c->kind != SIM_SUBMIT && !sim->people.durable[c->token])
        sim_fail(sim, "%s: command %u is acknowledged and not durable", id, c->token);
    if (c->kind == SIM_SUBMIT)
        sim->rollouts[c->rollout].asked = ASK_ANSWERED;
    if (c->kind == SIM_LOCK)
        sim->people.locking[c->server] = false;
}

static void submit_refused(struct sim *sim, struct sim_rollout *r, enum error_code code,
                           const struct error *err)
{
    if (code == ERR_BUSY && r->no_wait) {
        sim_hit(sim, strstr(err->message, "is locked") != NULL ? PATH_LOCK_NO_WAIT
                                                               : PATH_NO_WAIT_REFUSED);
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
    const struct sim_command what = {.kind = SIM_SUBMIT, .rollout = rollout};
    struct error err = {0};
    bool created = r->created;
    bool repeat = false;
    if (r->retry) {
        sim_order_retry(sim, rollout);
        return;
    }
    struct sim_command *c = sim_command_new(sim, &what);
    const struct dispatcher_submit request = {.id = r->id,
                                              .by = "somebody",
                                              .check = r->check,
                                              .no_wait = r->no_wait,
                                              .done = sim_command_answered,
                                              .ctx = c};
    if (c == NULL)
        return;
    struct plan *plan = sim_plan_read(r->text);
    enum error_code code =
        dispatcher_submit(sim->orchestrator.dispatcher, plan, &request, &repeat, &err);
    sim_trace(sim, "%s is submitted: %s", r->id, error_code_name(code));
    if (!repeat)
        sim_check_submitted(sim, rollout, code);
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
    const struct sim_command what = {.kind = SIM_SUBMIT, .rollout = rollout};
    struct error err = {0};
    bool repeat = false;
    /* A retry's plan can be the same as that of the rollout that it retries. */
    if (other == r || !r->created || r->retry || other->retry || strcmp(r->text, other->text) == 0)
        return;
    struct sim_command *c = sim_command_new(sim, &what);
    const struct dispatcher_submit request = {.id = r->id, .done = sim_command_answered, .ctx = c};
    if (c == NULL)
        return;
    struct plan *plan = sim_plan_read(other->text);
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
    const struct sim_command command = {.kind = SIM_ORDER, .rollout = rollout};
    struct sim_command *c = sim_command_new(sim, &command);
    char token[SIM_NAME_MAX];
    struct error err = {0};
    if (c == NULL)
        return;
    (void)snprintf(token, sizeof(token), "#%u", c->token);
    what.reason = token;
    what.by = "somebody";
    enum error_code code =
        dispatcher_order(sim->orchestrator.dispatcher, r->id, &what, sim_command_answered, c, &err);
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

static bool is_for_submitting(const struct sim_rollout *r)
{
    return r->asked == ASK_NOT_YET || r->asked == ASK_SENT;
}

static void submit_and_regret(struct sim *sim, uint32_t rollout)
{
    const struct sim_rollout *r = &sim->rollouts[rollout];
    if (sim->now_ms >= r->submit_at_ms)
        submit(sim, rollout);
    if (r->asked == ASK_SENT && rng_chance(&sim->rng, 8)) /* and think better of it */
        sim_after(sim, rng_below(&sim->rng, REGRET_MAX_MS), EV_PEOPLE, rollout, 1);
}

static void do_something(struct sim *sim)
{
    uint32_t rollout = rng_below(&sim->rng, sim->rollout_count);
    struct sim_rollout *r = &sim->rollouts[rollout];
    uint32_t choice = rng_below(&sim->rng, 100);
    sim_order_again(sim);
    if (sim->profile.locking && rng_chance(&sim->rng, 20))
        sim_order_lock_something(sim);
    if (sim->profile.meddling && rng_chance(&sim->rng, 8))
        sim_host_meddle(&sim->nodes[rng_below(&sim->rng, sim->node_count)]);
    if (is_for_submitting(r))
        submit_and_regret(sim, rollout);
    else if (r->asked != ASK_ANSWERED)
        return;
    else if (choice < 10)
        submit(sim, rollout);
    else if (choice < 15)
        submit_other(sim, rollout);
    else if (choice < (r->ended ? 17U : 40U))
        order_something(sim, rollout);
    else if (choice < (r->ended ? 60U : 48U))
        sim_order_something(sim, rollout);
}

static void tidy_up(struct sim *sim)
{
    static const struct dispatcher_order resume = {.command = COMMAND_RESUME};
    for (uint32_t i = 0; i < sim->node_count; i++)
        if (sim->orchestrator.disk.locks[i].locked)
            sim_order_lock(sim, i, false);
    for (uint32_t i = 0; i < sim->rollout_count; i++) {
        const struct sim_rollout *r = &sim->rollouts[i];
        if (is_for_submitting(r))
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
