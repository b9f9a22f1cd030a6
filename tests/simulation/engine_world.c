#include "simulation/engine_world.h"

#include "unit/engine/support_plan.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

bool world_over(const struct world *w)
{
    return w->model.end;
}

/* ---- What is made up from the seed --------------------------------------------------------- */

static struct plan_limit make_limit(struct rng *rng, uint32_t servers)
{
    switch (rng_below(rng, 6)) {
    case 0:
        return (struct plan_limit){.kind = LIMIT_NONE};
    case 1:
    case 2:
        return (struct plan_limit){.kind = LIMIT_ABSENT};
    case 3:
        return limit_of_percent(rng_between(rng, 0, 60));
    default:
        return limit_of(rng_below(rng, servers / 2 + 1));
    }
}

static void make_batches(struct rng *rng, struct plan *plan)
{
    struct plan_size sizes[3];
    uint32_t count = rng_below(rng, 4);
    for (uint32_t i = 0; i < count; i++)
        sizes[i] = rng_chance(rng, 40) ? size_of_percent(rng_between(rng, 1, 60))
                                       : size_of(rng_between(rng, 1, 8));
    if (count > 0)
        plan_set_batches(plan, sizes, count);
}

static struct plan *make_plan(struct rng *rng)
{
    uint32_t servers = rng_chance(rng, 75) ? rng_between(rng, 1, 12) : rng_between(rng, 13, 60);
    struct plan *plan = plan_of(servers, rng_between(rng, 1, MODEL_MAX_STEPS - 1));
    struct plan_strategy *s = &plan->strategy;
    s->type = (int)rng_below(rng, STRATEGY_COUNT);
    make_batches(rng, plan);
    s->batch_delay_ms = rng_chance(rng, 30) ? rng_between(rng, 1, 30) : 0;
    s->max_failures = make_limit(rng, servers);
    if (rng_chance(rng, 30))
        s->max_unreachable = make_limit(rng, servers);
    s->canary_percentage = rng_between(rng, 1, 50);
    s->max_parallel = rng_chance(rng, 40) ? rng_between(rng, 1, 6) : 0;
    plan->rollback_scope = rng_chance(rng, 60) ? SCOPE_ALL : (int)rng_below(rng, SCOPE_COUNT);
    plan->confirm_timeout_ms = rng_chance(rng, 15) ? 1000 : 0;
    return plan;
}

static void make_agent(struct world *w, struct agent *a, uint32_t trouble_percent)
{
    struct rng *rng = &w->rng;
    *a = (struct agent){.fails_at = w->steps, .slowness = rng_between(rng, 1, 3)};
    a->silent_from = UINT32_MAX;
    a->undo_fails_at = rng_below(rng, w->steps);
    a->idle = rng_chance(rng, 25);
    if (!rng_chance(rng, trouble_percent))
        return;
    uint32_t when = rng_chance(rng, 70) ? rng_below(rng, 40) : rng_below(rng, 400);
    if (rng_chance(rng, 25))
        a->comes_and_goes = rng_between(rng, 5, 120);
    switch (rng_below(rng, 7)) {
    case 0:
    case 1:
        a->fails_at = rng_below(rng, w->steps);
        a->failure = rng_chance(rng, 75) ? EXECUTION_FAILED : EXECUTION_TIMED_OUT;
        a->undoes_itself =
            !w->check && w->plan->rollback_scope != SCOPE_NONE && rng_chance(rng, 90);
        a->undo_failures = rng_chance(rng, 20) ? rng_between(rng, 1, 2) : 0;
        break;
    case 2: /* cannot undo, should it have to */
        a->undo_failures = rng_chance(rng, 50) ? UINT32_MAX : rng_between(rng, 1, 3);
        a->undo_conflicts = rng_chance(rng, 50);
        break;
    case 3: /* never there, or late */
        a->answers_from = rng_chance(rng, 50) ? UINT32_MAX : when + START_TIMEOUT;
        break;
    case 4: /* gone for good, or for a while */
        a->silent_from = when;
        a->silent_until = rng_chance(rng, 40) ? UINT32_MAX : when + rng_between(rng, 1, 400);
        break;
    case 5: /* fails and is not heard of it for a while */
        a->fails_at = rng_below(rng, w->steps);
        a->failure = EXECUTION_FAILED;
        a->undoes_itself = !w->check && w->plan->rollback_scope != SCOPE_NONE;
        a->undo_failures = rng_chance(rng, 50) ? rng_between(rng, 1, 3) : 0;
        a->silent_from = when;
        a->silent_until = when + rng_between(rng, 20, 200);
        break;
    default:
        a->slowness = rng_between(rng, 4, 20);
        break;
    }
}

void world_init(struct world *w, uint64_t seed, uint64_t *paths, bool verbose)
{
    memset(w, 0, sizeof(*w));
    rng_init(&w->rng, seed);
    w->paths = paths;
    w->verbose = verbose;
    w->plan = make_plan(&w->rng);
    w->servers = plan_server_count(w->plan);
    w->steps = plan_step_count(w->plan);
    w->check = rng_chance(&w->rng, 12);
    uint32_t trouble = rng_chance(&w->rng, 20) ? 0 : rng_below(&w->rng, 60);
    for (uint32_t i = 0; i < w->servers; i++)
        make_agent(w, &w->agents[i], trouble);
    w->crash_every = rng_chance(&w->rng, 50) ? 0 : rng_between(&w->rng, 20, 400);
    w->command_every = rng_chance(&w->rng, 50) ? 0 : rng_between(&w->rng, 8, 150);
    w->repeat_percent = rng_below(&w->rng, 30);
    w->orders_left = rng_chance(&w->rng, 50) ? 0 : rng_between(&w->rng, 1, MAX_ORDERS);
    w->afterwards = rng_chance(&w->rng, 40) ? 0 : rng_between(&w->rng, 1, MAX_ORDERS);
    model_init(&w->model, w->plan);
    enum error_code code = engine_new(w->plan, &w->engine, NULL);
    assert(code == ERR_OK);
}

void world_done(struct world *w)
{
    engine_free(w->engine);
    plan_free(w->plan);
}

/* ---- The edge: decisions out, events in ---------------------------------------------------- */

static void tell(const struct world *w, const struct decision *d, bool again)
{
    static const char *const names[] = {
        [DECISION_START] = "start",       [DECISION_CANCEL] = "cancel",
        [DECISION_ROLLBACK] = "rollback", [DECISION_BATCH_DELAY] = "delay",
        [DECISION_NOTE] = "note",         [DECISION_END] = "end"};
    if (!w->verbose)
        return;
    if (d->type == DECISION_NOTE)
        (void)printf("        note %s batch %u count %u %s\n", event_type_names[d->note.type],
                     d->note.batch, d->note.count, d->note.message ? d->note.message : "");
    else
        (void)printf("        %s%s server %d%s\n", again ? "again: " : "", names[d->type],
                     (int)d->server, d->now ? " now" : "");
}

static void act_on(struct world *w, const struct decision *d)
{
    struct line *line = &w->lines[d->server < w->servers ? d->server : 0];
    switch (d->type) {
    case DECISION_START:
        line->execute = true;
        line->deadline = w->tick + START_TIMEOUT;
        break;
    case DECISION_CANCEL:
        line->cancel = true;
        line->cancel_now = d->now;
        if (line->deadline == 0)
            line->deadline = w->tick + SILENCE_TIMEOUT;
        break;
    case DECISION_ROLLBACK:
        line->rollback = true;
        line->round = engine_execution(w->engine, d->server)->undo_round;
        line->force = engine_execution(w->engine, d->server)->undo_force;
        line->deadline = w->tick + SILENCE_TIMEOUT;
        if (world_over(w))
            hit(w, PATH_LATE_ROLLBACK);
        break;
    case DECISION_BATCH_DELAY:
        w->delay_batch = d->batch;
        w->delay_until = w->tick + (uint32_t)d->delay_ms;
        hit(w, PATH_DELAY);
        break;
    case DECISION_NOTE:
        paths_note(w, &d->note);
        break;
    case DECISION_END:
        break;
    }
}

void take_decisions(struct world *w, bool again)
{
    struct decision d;
    while (!w->model.failure[0] && engine_next(w->engine, &d)) {
        tell(w, &d, again);
        model_decision(&w->model, &d, again);
        act_on(w, &d);
    }
}

enum error_code offer(struct world *w, struct event event)
{
    struct error err = {0};
    event.seq = w->journal_len + 1;
    event.time_ms = w->tick + 1;
    enum error_code code = engine_apply(w->engine, &event, &err);
    if (w->verbose)
        (void)printf("%5u  %s server %d entry %" PRId64 " step %d state %s%s: %s\n", w->tick,
                     event_type_names[event.type], (int)event.server, event.agent_seq, event.step,
                     execution_state_names[event.state], event.undoing ? " undoing" : "",
                     code == ERR_OK ? "ok" : err.message);
    if (code == ERR_OK) {
        assert(w->journal_len < MAX_JOURNAL);
        w->journal[w->journal_len++] = event;
        paths_event(w, &event);
        model_event(&w->model, &event);
    }
    take_decisions(w, false);
    model_check(&w->model, w->engine);
    return code;
}

void send_event(struct world *w, struct event event)
{
    enum error_code code = offer(w, event);
    if (code != ERR_OK)
        model_fail(&w->model, "%s of server %d was refused: %s", event_type_names[event.type],
                   (int)event.server, error_code_name(code));
}

struct event event_about(enum event_type type, uint32_t server)
{
    return (struct event){.type = type, .server = server, .step = EVENT_NO_STEP};
}
