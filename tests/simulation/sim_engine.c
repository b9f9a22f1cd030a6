/*
 * sim_engine: whole rollouts against made-up fleets, from a seed.
 *
 *     sim_engine --seed N [--seeds COUNT] [--verbose]
 *
 * Each seed makes a plan, a fleet whose agents succeed, fail, fall silent and come back, people who
 * pause, resume, cancel, roll back and settle servers by hand, and an orchestrator that crashes: it
 * then has only its journal, from which the engine is made anew. Reports are repeated, lost and
 * late. After every event the engine is held against engine_model, and at the end against what the
 * agents really did. From COUNT 1000 on, each path that matters must have been taken by some seed.
 */
#include "simulation/engine_world.h"

#include "common/base/alloc.h"
#include "common/base/cleanup.h"
#include "common/base/clock.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    TICKS_MAX = 60000,
    COVERAGE_FROM = 1000 /* seeds */
};

/* ---- Crashes ------------------------------------------------------------------------------- */

static bool same_view(const struct engine *a, const struct engine *b, const struct plan *plan)
{
    struct engine_counts ca = engine_counts(a);
    struct engine_counts cb = engine_counts(b);
    bool same = engine_state(a) == engine_state(b) && memcmp(&ca, &cb, sizeof(ca)) == 0 &&
                engine_batch(a) == engine_batch(b) &&
                strcmp(engine_reason(a), engine_reason(b)) == 0;
    for (uint32_t i = 0; i < plan_server_count(plan); i++) {
        const struct execution *x = engine_execution(a, i);
        const struct execution *y = engine_execution(b, i);
        same = same && x->state == y->state && x->outcome == y->outcome &&
               x->started == y->started && x->touched == y->touched && x->undoing == y->undoing &&
               x->unchanged == y->unchanged && x->undo_round == y->undo_round &&
               x->undo_force == y->undo_force && x->conflict == y->conflict &&
               x->resolved == y->resolved && x->step == y->step &&
               x->last_agent_seq == y->last_agent_seq && x->started_ms == y->started_ms &&
               x->ended_ms == y->ended_ms && x->reason_seq == y->reason_seq;
        for (uint32_t k = 0; k < plan_step_count(plan); k++) {
            const struct step_record *s = engine_step(a, i, k);
            const struct step_record *t = engine_step(b, i, k);
            same = same && s->state == t->state && s->attempt == t->attempt &&
                   s->changed == t->changed && s->conflict == t->conflict &&
                   s->reason_seq == t->reason_seq;
        }
    }
    return same;
}

static struct engine *replay(struct world *w, uint32_t events)
{
    struct engine *e = NULL;
    struct decision dropped;
    enum error_code code = engine_new(w->plan, &e, NULL);
    assert(code == ERR_OK);
    for (uint32_t i = 0; i < events; i++) {
        if (engine_apply(e, &w->journal[i], NULL) != ERR_OK)
            model_fail(&w->model, "the replay refuses event %u", i + 1);
        while (engine_next(e, &dropped))
            continue;
    }
    return e;
}

static bool same_decision(const struct decision *a, const struct decision *b)
{
    return a->type == b->type && a->server == b->server && a->now == b->now &&
           a->batch == b->batch && a->delay_ms == b->delay_ms;
}

/* The engine that ran and the one made from the journal must give the same, now and from now on. */
static void compare_standing(struct world *w, struct engine *fresh)
{
    struct decision a;
    struct decision b;
    engine_resume(w->engine);
    engine_resume(fresh);
    bool more = true;
    while (more) {
        more = engine_next(w->engine, &a);
        if (more != engine_next(fresh, &b) || (more && !same_decision(&a, &b))) {
            model_fail(&w->model, "after a replay other decisions stand");
            return;
        }
    }
}

static void count_crash(struct world *w)
{
    const struct model *m = &w->model;
    if (world_over(w))
        hit(w, PATH_CRASH_OVER);
    else if (m->reopened)
        hit(w, PATH_CRASH_REOPENED);
    else if (m->note_undo)
        hit(w, PATH_CRASH_UNDOING);
    else if (m->stopped)
        hit(w, PATH_CRASH_STOPPING);
    else
        hit(w, w->delay_until > 0 ? PATH_CRASH_DELAY : PATH_CRASH_FORWARD);
}

static void crash(struct world *w)
{
    if (w->verbose)
        (void)printf("%5u  crash\n", w->tick);
    count_crash(w);
    struct engine *fresh = replay(w, w->journal_len);
    if (!same_view(w->engine, fresh, w->plan))
        model_fail(&w->model, "after a replay other things are seen");
    compare_standing(w, fresh);
    engine_free(w->engine);
    w->engine = fresh;
    memset(w->lines, 0, sizeof(w->lines));
    w->delay_until = 0;
    engine_resume(w->engine);
    take_decisions(w, true);
    model_check(&w->model, w->engine);
}

/* ---- A rollout ----------------------------------------------------------------------------- */

static void tick(struct world *w)
{
    bool faults = w->tick < FAULTS_UNTIL;
    for (uint32_t i = 0; i < w->servers && !w->model.failure[0]; i++)
        tick_server(w, i);
    if (w->delay_until > 0 && w->tick >= w->delay_until && !w->model.failure[0]) {
        struct event due = event_about(EVENT_BATCH_DUE, EVENT_NO_SERVER);
        due.batch = w->delay_batch;
        w->delay_until = 0;
        if (!w->model.stopped)
            send_event(w, due);
    }
    if (faults && rng_once_in(&w->rng, w->command_every) && !w->model.failure[0])
        people_act(w);
    if (!faults && w->model.paused)
        send_event(w, event_about(EVENT_RESUME_REQUESTED, EVENT_NO_SERVER));
    if (faults && rng_once_in(&w->rng, w->crash_every) && !w->model.failure[0])
        crash(w);
    w->tick++;
}

/* Nothing more will happen: the rollout has ended, and whoever can be heard has said all. */
static bool is_quiet(const struct world *w)
{
    if (!world_over(w))
        return false;
    for (uint32_t i = 0; i < w->servers; i++) {
        const struct agent *a = &w->agents[i];
        const struct line *line = &w->lines[i];
        bool gone = a->answers_from == UINT32_MAX ||
                    (w->tick >= a->silent_from && a->silent_until == UINT32_MAX);
        bool at_work =
            a->phase == AGENT_RUNNING || a->phase == AGENT_UNDOING || a->acked < a->entry_count;
        bool waits = line->execute || line->cancel || line->rollback;
        if (!gone && (at_work || waits))
            return false;
        if (model_busy(&w->model.servers[i]))
            return false;
    }
    return true;
}

static bool journal_says(const struct agent *a, enum event_type type, enum execution_state state)
{
    for (int64_t i = 0; i < a->entry_count; i++)
        if (a->entries[i].type == type && a->entries[i].state == state)
            return true;
    return false;
}

/* Every step that has begun, the half-done one too. */
static bool all_undone(const struct agent *a)
{
    for (uint32_t k = 0; k < MODEL_MAX_STEPS; k++)
        if (a->begun[k] && !a->undone[k])
            return false;
    return true;
}

/* What is shown against what the agents did: success is theirs, and what had to be undone is. */
static void check_server_truth(struct world *w, uint32_t i)
{
    const struct model *m = &w->model;
    const struct model_server *s = &m->servers[i];
    const struct agent *a = &w->agents[i];
    const struct execution *x = engine_execution(w->engine, i);
    bool rolled_back = x->state == EXECUTION_ROLLED_BACK && !x->resolved;
    if (x->outcome == EXECUTION_SUCCEEDED && !s->was_resolved &&
        !journal_says(a, EVENT_EXECUTION_ENDED, EXECUTION_SUCCEEDED))
        model_fail(&w->model, "server %u is said to have succeeded, and has not", i);
    if (rolled_back &&
        !(journal_says(a, EVENT_EXECUTION_ROLLED_BACK, EXECUTION_ROLLED_BACK) && all_undone(a)))
        model_fail(&w->model, "server %u is said to be rolled back, and is not", i);
    bool all = (m->stopped && m->scope == SCOPE_ALL) || m->whole_ordered;
    bool given_away = x->outcome == EXECUTION_UNREACHABLE || x->outcome == EXECUTION_SKIPPED;
    bool changed = a->phase != AGENT_IDLE && a->phase != AGENT_UNDONE;
    if ((all || given_away) && !w->check && connected(w, a) && changed && !s->was_resolved)
        model_fail(&w->model, "server %u was changed and is not undone", i);
    if (s->ordered && connected(w, a))
        model_fail(&w->model, "server %u was ordered to be undone and never told", i);
}

static void check_truth(struct world *w)
{
    for (uint32_t i = 0; i < w->servers; i++)
        check_server_truth(w, i);
}

static void run_until_quiet(struct world *w)
{
    while (!w->model.failure[0] && !is_quiet(w)) {
        if (w->tick == TICKS_MAX)
            model_fail(&w->model, "no end in sight");
        tick(w);
    }
}

static void run(struct world *w)
{
    struct event created = event_about(EVENT_ROLLOUT_CREATED, EVENT_NO_SERVER);
    created.check = w->check;
    send_event(w, created);
    run_until_quiet(w);
    for (; w->afterwards > 0 && !w->model.failure[0]; w->afterwards--) {
        people_order(w);
        run_until_quiet(w);
    }
    if (!w->model.failure[0])
        check_truth(w);
    /* A replay cut short anywhere must do, too: it is what a crash at that event would have met. */
    if (!w->model.failure[0])
        engine_free(replay(w, rng_below(&w->rng, w->journal_len + 1)));
}

/* True when all held. */
static bool run_seed(struct world *w, uint64_t seed, uint64_t *paths, bool verbose)
{
    world_init(w, seed, paths, verbose);
    run(w);
    if (w->model.failure[0])
        (void)fprintf(stderr,
                      "seed %" PRIu64 ", tick %u: %s\nreproduce: sim_engine --seed %" PRIu64
                      " --verbose\n",
                      seed, w->tick, w->model.failure, seed);
    bool held = !w->model.failure[0];
    world_done(w);
    return held;
}

static bool all_paths_taken(const uint64_t paths[PATH_COUNT], bool verbose)
{
    bool all = true;
    for (size_t i = 0; i < PATH_COUNT; i++) {
        if (verbose || paths[i] == 0)
            (void)fprintf(paths[i] == 0 ? stderr : stdout, "%10" PRIu64 "  %s\n", paths[i],
                          path_names[i]);
        all = all && paths[i] > 0;
    }
    if (!all)
        (void)fprintf(stderr, "some paths were never taken\n");
    return all;
}

static bool parse_number(const char *text, uint64_t *ret)
{
    char *end = NULL;
    if (!text || *text < '0' || *text > '9')
        return false;
    *ret = strtoull(text, &end, 10);
    return *end == '\0';
}

int main(int argc, char **argv)
{
    uint64_t seed = 1;
    uint64_t seeds = 1;
    bool verbose = false;
    for (int i = 1; i < argc; i++) {
        bool understood = true;
        if (strcmp(argv[i], "--verbose") == 0)
            verbose = true;
        else if (strcmp(argv[i], "--seed") == 0)
            understood = parse_number(argv[++i], &seed);
        else if (strcmp(argv[i], "--seeds") == 0)
            understood = parse_number(argv[++i], &seeds);
        else
            understood = false;
        if (!understood) {
            (void)fprintf(stderr, "usage: sim_engine [--seed N] [--seeds COUNT] [--verbose]\n");
            return 1;
        }
    }

    uint64_t paths[PATH_COUNT] = {0};
    AUTO_FREE struct world *w = MEM_NEW(struct world);
    assert(w);
    int64_t began_us = clock_mono_us();
    for (uint64_t i = 0; i < seeds; i++)
        if (!run_seed(w, seed + i, paths, verbose && seeds == 1))
            return 2;
    double seconds = (double)(clock_mono_us() - began_us) / 1e6;
    (void)printf("%" PRIu64 " rollouts from seed %" PRIu64 " in %.1f s: %.0f rollouts/s\n", seeds,
                 seed, seconds, (double)seeds / seconds);
    if (seeds >= COVERAGE_FROM && !all_paths_taken(paths, verbose))
        return 3;
    return 0;
}
