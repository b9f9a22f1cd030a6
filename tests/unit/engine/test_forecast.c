#include "orchestrator/engine/forecast.h"

#include "common/base/alloc.h"
#include "common/base/cleanup.h"
#include "simulation/rng.h"
#include "unit/engine/support_plan.h"

#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static const struct forecast_odds all_well = {.seed = 1, .step_ms = 1000, .undo_ms = 500};

static struct forecast foresee(const struct plan *plan, const struct forecast_odds *odds)
{
    struct forecast f;
    struct error err = {0};
    if (forecast_run(plan, odds, NULL, NULL, &f, &err) != ERR_OK)
        fail_msg("%s", err.message);
    const struct engine_counts *c = &f.counts;
    assert_int_equal(c->succeeded + c->failed + c->unreachable + c->cancelled + c->skipped,
                     f.servers);
    assert_int_equal(f.touched, c->succeeded + c->failed + c->cancelled);
    assert_int_equal(c->pending + c->in_flight + c->unknown + c->rollback_failed, 0);
    assert_true(rollout_state_final(f.state));
    return f;
}

/* ---- A rollout that goes well -------------------------------------------------------------- */

static void without_failures_all_servers_succeed(void **state)
{
    (void)state;
    AUTO(plan_free) struct plan *plan = plan_of(10, 3);
    plan->strategy.type = STRATEGY_PARALLEL;
    struct forecast f = foresee(plan, &all_well);
    assert_int_equal(f.state, ROLLOUT_SUCCEEDED);
    assert_string_equal(f.reason, "");
    assert_int_equal(f.counts.succeeded, 10);
    assert_int_equal(f.touched, 10);
    assert_int_equal(f.peak_in_flight, 10);
    assert_int_equal(f.batches, 1);
    assert_int_equal(f.batch_count, 1);
}

static void the_duration_follows_from_the_strategy(void **state)
{
    (void)state;
    AUTO(plan_free) struct plan *plan = plan_of(10, 3);
    assert_int_equal(foresee(plan, &all_well).duration_ms, 30000);
    plan->strategy.type = STRATEGY_PARALLEL;
    assert_int_equal(foresee(plan, &all_well).duration_ms, 3000);
    plan->strategy.max_parallel = 4;
    assert_int_equal(foresee(plan, &all_well).duration_ms, 9000);
    plan->strategy.type = STRATEGY_ROLLING;
    plan->strategy.max_parallel = 0;
    plan->strategy.batch_delay_ms = 60000;
    plan_set_batches(plan, &(struct plan_size){.value = 4}, 1);
    struct forecast f = foresee(plan, &all_well);
    assert_int_equal(f.duration_ms, 3 * 3000 + 2 * 60000);
    assert_int_equal(f.batches, 3);
    assert_int_equal(f.peak_in_flight, 4);
}

/* ---- Failures ------------------------------------------------------------------------------ */

static void what_fails_stops_the_rollout_and_is_undone(void **state)
{
    (void)state;
    struct forecast_odds odds = all_well;
    odds.failing_percent = 100;
    AUTO(plan_free) struct plan *plan = rolling_of(10, 2);
    plan->strategy.max_failures = limit_of(3);
    struct forecast f = foresee(plan, &odds);
    assert_int_equal(f.state, ROLLOUT_ROLLED_BACK);
    assert_string_equal(f.reason, "4 of 10 servers failed, 3 allowed");
    assert_int_equal(f.counts.failed, 4);
    assert_int_equal(f.counts.rolled_back, 4);
    assert_int_equal(f.counts.skipped, 6);
    assert_int_equal(f.touched, 4);
    assert_int_equal(f.batches, 2);
    assert_int_equal(f.batch_count, 5);
    assert_int_equal(f.duration_ms, 2 * (1000 + 500));
}

static void a_scope_of_none_undoes_nothing(void **state)
{
    (void)state;
    struct forecast_odds odds = all_well;
    odds.failing_percent = 100;
    AUTO(plan_free) struct plan *plan = sequential_of(5);
    plan->rollback_scope = SCOPE_NONE;
    struct forecast f = foresee(plan, &odds);
    assert_int_equal(f.state, ROLLOUT_FAILED);
    assert_int_equal(f.counts.failed, 1);
    assert_int_equal(f.counts.rolled_back, 0);
    assert_int_equal(f.duration_ms, 1000);
}

/* With one failing server, those beside it finish the step they are in. */
static void servers_in_flight_finish_their_step_when_the_rollout_stops(void **state)
{
    (void)state;
    AUTO(plan_free) struct plan *plan = plan_of(8, 3);
    plan->strategy.type = STRATEGY_PARALLEL;
    bool seen = false;
    for (uint64_t seed = 1; seed <= 50 && !seen; seed++) {
        struct forecast_odds odds = all_well;
        odds.failing_percent = 15;
        odds.seed = seed;
        struct forecast f = foresee(plan, &odds);
        if (f.counts.cancelled == 0)
            continue;
        seen = true;
        assert_int_equal(f.state, ROLLOUT_ROLLED_BACK);
        assert_int_equal(f.counts.rolled_back, 8);
        assert_int_equal(f.counts.succeeded, 0);
    }
    assert_true(seen);
}

static void an_unreachable_server_takes_its_time_and_is_not_touched(void **state)
{
    (void)state;
    struct forecast_odds odds = all_well;
    odds.unreachable_percent = 100;
    AUTO(plan_free) struct plan *plan = sequential_of(5);
    plan->strategy.start_timeout_ms = 7000;
    plan->strategy.max_failures = limit_of(1);
    struct forecast f = foresee(plan, &odds);
    assert_int_equal(f.counts.unreachable, 2);
    assert_int_equal(f.counts.skipped, 3);
    assert_int_equal(f.touched, 0);
    assert_int_equal(f.duration_ms, 14000);
    plan->strategy.max_unreachable.kind = LIMIT_NONE;
    f = foresee(plan, &odds);
    assert_int_equal(f.state, ROLLOUT_SUCCEEDED);
    assert_int_equal(f.counts.unreachable, 5);
}

/* What waits for servers that do not answer is taken back when the rollout stops: it does not last
 * until they are given up. */
static void work_that_nobody_took_on_is_withdrawn(void **state)
{
    (void)state;
    AUTO(plan_free) struct plan *plan = parallel_of(20);
    plan->strategy.start_timeout_ms = 300000;
    bool seen = false;
    for (uint64_t seed = 1; seed <= 50 && !seen; seed++) {
        struct forecast_odds odds = all_well;
        odds.failing_percent = 20;
        odds.unreachable_percent = 20;
        odds.seed = seed;
        struct forecast f = foresee(plan, &odds);
        seen = f.counts.skipped > 0 && f.counts.failed > 0;
        assert_int_equal(f.counts.unreachable, 0);
        if (seen)
            assert_true(f.duration_ms < 10000);
    }
    assert_true(seen);
}

static void only_steps_that_decide_fail(void **state)
{
    (void)state;
    struct forecast_odds odds = all_well;
    odds.failing_percent = 100;
    AUTO(plan_free) struct plan *plan = plan_of(4, 3);
    plan->strategy.max_failures.kind = LIMIT_NONE;
    plan->rollback_scope = SCOPE_NONE;
    ARRAY_AT(&plan->steps, struct plan_step, 0)->required = false;
    ARRAY_AT(&plan->steps, struct plan_step, 1)->continue_on_failure = true;
    struct forecast f = foresee(plan, &odds);
    assert_int_equal(f.counts.failed, 4);
    assert_int_equal(f.duration_ms, 4 * 3000);
    assert_true(forecast_can_fail(plan));
    ARRAY_AT(&plan->steps, struct plan_step, 2)->required = false;
    f = foresee(plan, &odds);
    assert_int_equal(f.counts.succeeded, 4);
    assert_false(forecast_can_fail(plan));
}

/* ---- Chance -------------------------------------------------------------------------------- */

static void the_share_of_servers_that_fare_badly_is_as_asked(void **state)
{
    (void)state;
    struct forecast_odds odds = all_well;
    odds.failing_percent = 2;
    odds.unreachable_percent = 1;
    AUTO(plan_free) struct plan *plan = parallel_of(50000);
    plan->strategy.max_failures.kind = LIMIT_NONE;
    struct forecast f = foresee(plan, &odds);
    assert_in_range(f.counts.failed, 900, 1100);
    assert_in_range(f.counts.unreachable, 430, 570);
}

static void what_becomes_of_a_server_does_not_depend_on_the_strategy(void **state)
{
    (void)state;
    struct forecast_odds odds = all_well;
    odds.failing_percent = 10;
    odds.unreachable_percent = 10;
    AUTO(plan_free) struct plan *parallel = parallel_of(200);
    AUTO(plan_free) struct plan *rolling = rolling_of(200, 7);
    parallel->strategy.max_failures.kind = LIMIT_NONE;
    rolling->strategy.max_failures.kind = LIMIT_NONE;
    struct forecast a = foresee(parallel, &odds);
    struct forecast b = foresee(rolling, &odds);
    assert_true(a.counts.failed > 0 && a.counts.unreachable > 0);
    assert_int_equal(a.counts.failed, b.counts.failed);
    assert_int_equal(a.counts.unreachable, b.counts.unreachable);
}

/* A plan of any strategy, limits and scope. */
static struct plan *any_plan(struct rng *rng, uint32_t servers, uint32_t steps)
{
    struct plan *plan = plan_of(servers, steps);
    struct plan_strategy *s = &plan->strategy;
    s->type = (int)rng_below(rng, STRATEGY_COUNT);
    s->canary_percentage = rng_between(rng, 1, 100);
    s->start_timeout_ms = 1500;
    s->max_parallel = rng_chance(rng, 50) ? rng_between(rng, 1, 9) : 0;
    s->batch_delay_ms = rng_chance(rng, 30) ? 700 : 0;
    if (rng_chance(rng, 70)) {
        struct plan_size sizes[3];
        uint32_t count = rng_between(rng, 1, 3);
        for (uint32_t i = 0; i < count; i++)
            sizes[i] = size_of(rng_between(rng, 1, 12));
        plan_set_batches(plan, sizes, count);
    }
    if (rng_chance(rng, 90))
        s->max_failures = limit_of(rng_below(rng, 12));
    else
        s->max_failures.kind = LIMIT_NONE;
    if (rng_chance(rng, 50))
        s->max_unreachable = limit_of(rng_below(rng, 12));
    plan->rollback_scope = (int)rng_below(rng, SCOPE_COUNT);
    return plan;
}

/* A forecast's trace, applied to an engine as a journal is. */
struct replay {
    struct engine *engine;
    uint64_t seq;
    int64_t time_ms;
    uint64_t sum; /* of all that was told, in order */
};

static void replay_event(void *ctx, const struct event *event)
{
    struct replay *r = ctx;
    struct decision d;
    assert_int_equal(event->seq, ++r->seq);
    assert_true(event->time_ms >= r->time_ms);
    r->time_ms = event->time_ms;
    r->sum = r->sum * 31 + (uint64_t)event->type * 1000 + event->server + (uint64_t)event->time_ms;
    assert_int_equal(engine_apply(r->engine, event, NULL), ERR_OK);
    while (engine_next(r->engine, &d))
        continue;
}

static uint64_t replay(const struct plan *plan, const struct forecast_odds *odds,
                       struct forecast *ret)
{
    struct replay r = {0};
    assert_int_equal(engine_new(plan, &r.engine, NULL), ERR_OK);
    assert_int_equal(forecast_run(plan, odds, replay_event, &r, ret, NULL), ERR_OK);
    struct engine_counts counts = engine_counts(r.engine);
    assert_int_equal(engine_state(r.engine), ret->state);
    assert_string_equal(engine_reason(r.engine), ret->reason);
    assert_memory_equal(&counts, &ret->counts, sizeof(counts));
    assert_int_equal(r.time_ms, ret->duration_ms);
    engine_free(r.engine);
    return r.sum;
}

static void the_trace_is_the_rollouts_journal_and_follows_from_the_seed(void **state)
{
    (void)state;
    struct rng rng;
    uint32_t differences = 0;
    rng_init(&rng, 7);
    for (uint32_t round = 0; round < 200; round++) {
        AUTO(plan_free) struct plan *plan = any_plan(&rng, rng_between(&rng, 1, 40), 2);
        struct forecast_odds odds = {rng_below(&rng, 60), rng_below(&rng, 40), round, 1000, 300};
        struct forecast first;
        struct forecast again;
        uint64_t sum = replay(plan, &odds, &first);
        assert_int_equal(replay(plan, &odds, &again), sum);
        odds.seed += 1000;
        differences += replay(plan, &odds, &again) != sum;
    }
    assert_true(differences > 100);
}

static void memory_that_runs_out_is_told(void **state)
{
    (void)state;
    AUTO(plan_free) struct plan *plan = rolling_of(5, 2);
    struct forecast f = {.servers = 77};
    enum error_code code = ERR_NO_MEMORY;
    uint64_t allowed = 0;
    for (; code != ERR_OK; allowed++) {
        assert_int_equal(f.servers, 77);
        mem_fail_after(allowed);
        code = forecast_run(plan, &all_well, NULL, NULL, &f, NULL);
        mem_fail_never();
        assert_true(code == ERR_OK || code == ERR_NO_MEMORY);
    }
    assert_true(allowed > 3);
    assert_int_equal(f.servers, 5);
}

/* ---- The blast radius ---------------------------------------------------------------------- */

enum { WORLD_MAX = 80 };
enum fate { WAITS, IN_FLIGHT, FAILED, UNDOING, NOT_REACHED };

/* A rollout in which every server that takes its work on fails; a test picks the order. */
struct world {
    struct engine *engine;
    uint32_t servers;
    enum fate fates[WORLD_MAX];
    bool stopped, over;
};

static void world_event(struct world *w, struct event event)
{
    struct decision d;
    assert_int_equal(engine_apply(w->engine, &event, NULL), ERR_OK);
    while (engine_next(w->engine, &d)) {
        if (d.type == DECISION_START)
            w->fates[d.server] = IN_FLIGHT;
        w->over |= d.type == DECISION_END;
        w->stopped |= d.type == DECISION_NOTE && d.note.type == EVENT_THRESHOLD_EXCEEDED;
    }
}

static struct event event_of(enum event_type type, uint32_t server)
{
    return (struct event){.type = type, .server = server, .step = EVENT_NO_STEP};
}

static void world_init(struct world *w, const struct plan *plan)
{
    *w = (struct world){.servers = plan_server_count(plan)};
    assert_int_equal(engine_new(plan, &w->engine, NULL), ERR_OK);
    world_event(w, event_of(EVENT_ROLLOUT_CREATED, EVENT_NO_SERVER));
}

static void world_take_on(struct world *w, uint32_t server)
{
    struct event event = event_of(EVENT_EXECUTION_STARTED, server);
    event.agent_seq = 1;
    world_event(w, event);
}

static void world_fail(struct world *w, uint32_t server, bool undoing)
{
    world_take_on(w, server);
    struct event event = event_of(EVENT_EXECUTION_ENDED, server);
    event.agent_seq = 2;
    event.state = EXECUTION_FAILED;
    event.undoing = undoing;
    w->fates[server] = undoing ? UNDOING : FAILED;
    world_event(w, event);
}

static void world_undone(struct world *w, uint32_t server)
{
    struct event event = event_of(EVENT_EXECUTION_ROLLED_BACK, server);
    event.agent_seq = 3;
    event.state = EXECUTION_ROLLED_BACK;
    w->fates[server] = FAILED;
    world_event(w, event);
}

static void world_give_up(struct world *w, uint32_t server)
{
    w->fates[server] = NOT_REACHED;
    world_event(w, event_of(EVENT_EXECUTION_UNREACHABLE, server));
}

/* How many have been changed now that it stopped: those in flight had all taken their work on, and
 * no one knew of it yet. */
static uint32_t world_changed(struct world *w)
{
    uint32_t changed = 0;
    for (uint32_t i = 0; i < w->servers; i++) {
        if (w->fates[i] == IN_FLIGHT)
            world_take_on(w, i);
        changed += engine_execution(w->engine, i)->started;
    }
    return changed;
}

/* The worst of all ways in which it can go. The order among servers of a batch changes nothing but
 * names, so it is always the first one in flight whose end is told; how it ends is the choice: bit
 * n of `choices` for the end number n. */
static uint32_t worst_of_all(const struct plan *plan)
{
    uint32_t worst = 0;
    for (uint32_t choices = 0; choices < 1U << plan_server_count(plan); choices++) {
        struct world w;
        world_init(&w, plan);
        for (uint32_t i = 0; !w.stopped && !w.over; i++) {
            uint32_t server = 0;
            while (w.fates[server] != IN_FLIGHT)
                server++;
            if (choices & 1U << i)
                world_give_up(&w, server);
            else
                world_fail(&w, server, false);
        }
        uint32_t changed = world_changed(&w);
        worst = changed > worst ? changed : worst;
        engine_free(w.engine);
    }
    return worst;
}

/* Tries every limit on the plan, and frees it. */
static void expect_exact(struct plan *plan)
{
    static const struct plan_limit limits[] = {
        {.kind = LIMIT_ABSENT},
        {.kind = LIMIT_SIZE, .size = {.value = 0}},
        {.kind = LIMIT_SIZE, .size = {.value = 1}},
        {.kind = LIMIT_SIZE, .size = {.value = 2}},
        {.kind = LIMIT_SIZE, .size = {.value = 4}},
        {.kind = LIMIT_NONE},
    };
    plan->rollback_scope = SCOPE_NONE;
    for (size_t f = 0; f < ARRAY_LEN(limits); f++) {
        for (size_t u = 0; u < ARRAY_LEN(limits); u++) {
            plan->strategy.max_failures = limits[f];
            plan->strategy.max_unreachable = limits[u];
            uint32_t worst = worst_of_all(plan);
            if (forecast_blast_radius(plan) != worst)
                fail_msg("strategy %d, %u servers, parallel %d, failures %zu, unreachable %zu: "
                         "said %u, was %u",
                         plan->strategy.type, plan_server_count(plan),
                         (int)plan->strategy.max_parallel, f, u, forecast_blast_radius(plan),
                         worst);
        }
    }
    plan_free(plan);
}

static void the_blast_radius_is_the_worst_of_all_small_rollouts(void **state)
{
    (void)state;
    for (uint32_t servers = 1; servers <= 6; servers++) {
        expect_exact(sequential_of(servers));
        for (uint32_t parallel = 0; parallel <= 3; parallel++) {
            struct plan *plan = parallel_of(servers);
            plan->strategy.max_parallel = parallel;
            expect_exact(plan);
            for (uint32_t size = 1; size <= 4; size++) {
                plan = rolling_of(servers, size);
                plan->strategy.max_parallel = parallel;
                expect_exact(plan);
            }
            plan = rolling_of(servers, 1);
            plan_set_batches(plan, (struct plan_size[]){size_of(1), size_of(2), size_of(3)}, 3);
            plan->strategy.max_parallel = parallel;
            expect_exact(plan);
            plan = rolling_of(servers, 1);
            plan_set_batches(plan, (struct plan_size[]){size_of(3), size_of_percent(20)}, 2);
            plan->strategy.max_parallel = parallel;
            expect_exact(plan);
            plan = canary_of(servers, 40);
            plan->strategy.max_parallel = parallel;
            expect_exact(plan);
        }
    }
}

/* One in flight or undoing, at random. */
static uint32_t any_at_work(const struct world *w, struct rng *rng)
{
    uint32_t found = 0;
    uint32_t server = 0;
    for (uint32_t i = 0; i < w->servers; i++) {
        if (w->fates[i] == IN_FLIGHT || w->fates[i] == UNDOING)
            server = rng_below(rng, ++found) == 0 ? i : server;
    }
    assert_true(found > 0);
    return server;
}

static void the_blast_radius_is_not_exceeded_by_any_rollout(void **state)
{
    (void)state;
    struct rng rng;
    rng_init(&rng, 3);
    for (uint32_t round = 0; round < 20000; round++) {
        AUTO(plan_free) struct plan *plan = any_plan(&rng, rng_between(&rng, 1, WORLD_MAX), 1);
        uint32_t reachable = rng_between(&rng, 20, 100);
        struct world w;
        plan->strategy.batch_delay_ms = 0;
        plan->rollback_scope = SCOPE_NONE;
        world_init(&w, plan);
        while (!w.stopped && !w.over) {
            uint32_t server = any_at_work(&w, &rng);
            if (w.fates[server] == UNDOING)
                world_undone(&w, server);
            else if (rng_chance(&rng, reachable))
                world_fail(&w, server, rng_chance(&rng, 30));
            else
                world_give_up(&w, server);
        }
        uint32_t changed = world_changed(&w);
        engine_free(w.engine);
        if (changed > forecast_blast_radius(plan))
            fail_msg("round %u: said %u, was %u", round, forecast_blast_radius(plan), changed);
    }
}

static void a_forecast_of_a_bad_change_stays_in_the_blast_radius(void **state)
{
    (void)state;
    struct rng rng;
    rng_init(&rng, 5);
    for (uint32_t round = 0; round < 500; round++) {
        AUTO(plan_free) struct plan *plan = any_plan(&rng, rng_between(&rng, 1, 200), 2);
        struct forecast_odds odds = {.seed = round, .step_ms = 1000, .undo_ms = 300};
        odds.unreachable_percent = rng_below(&rng, 50);
        odds.failing_percent = 100 - odds.unreachable_percent;
        assert_true(foresee(plan, &odds).touched <= forecast_blast_radius(plan));
    }
}

static void a_plan_that_cannot_fail_reaches_all_servers(void **state)
{
    (void)state;
    AUTO(plan_free) struct plan *plan = sequential_of(9);
    assert_int_equal(forecast_blast_radius(plan), 1);
    ARRAY_AT(&plan->steps, struct plan_step, 0)->required = false;
    assert_int_equal(forecast_blast_radius(plan), 9);
}

/* 45 servers in batches of 1, 5, 23: with two failures allowed, two servers may have failed in the
 * second batch, of which all are in flight when the third failure is known. */
static void a_blast_radius_is_worked_out_as_the_manual_does(void **state)
{
    (void)state;
    AUTO(plan_free) struct plan *plan = rolling_of(45, 1);
    plan_set_batches(plan,
                     (struct plan_size[]){size_of(1), size_of_percent(10), size_of_percent(50)}, 3);
    plan->strategy.max_failures = limit_of_percent(5);
    assert_int_equal(forecast_blast_radius(plan), 6);
    plan->strategy.max_parallel = 3;
    assert_int_equal(forecast_blast_radius(plan), 5);
    plan->strategy.max_parallel = 0;
    plan->strategy.max_unreachable = limit_of(4);
    assert_int_equal(forecast_blast_radius(plan), 25);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_failures_all_servers_succeed),
        cmocka_unit_test(the_duration_follows_from_the_strategy),
        cmocka_unit_test(what_fails_stops_the_rollout_and_is_undone),
        cmocka_unit_test(a_scope_of_none_undoes_nothing),
        cmocka_unit_test(servers_in_flight_finish_their_step_when_the_rollout_stops),
        cmocka_unit_test(an_unreachable_server_takes_its_time_and_is_not_touched),
        cmocka_unit_test(work_that_nobody_took_on_is_withdrawn),
        cmocka_unit_test(only_steps_that_decide_fail),
        cmocka_unit_test(the_share_of_servers_that_fare_badly_is_as_asked),
        cmocka_unit_test(what_becomes_of_a_server_does_not_depend_on_the_strategy),
        cmocka_unit_test(the_trace_is_the_rollouts_journal_and_follows_from_the_seed),
        cmocka_unit_test(memory_that_runs_out_is_told),
        cmocka_unit_test(the_blast_radius_is_the_worst_of_all_small_rollouts),
        cmocka_unit_test(the_blast_radius_is_not_exceeded_by_any_rollout),
        cmocka_unit_test(a_forecast_of_a_bad_change_stays_in_the_blast_radius),
        cmocka_unit_test(a_plan_that_cannot_fail_reaches_all_servers),
        cmocka_unit_test(a_blast_radius_is_worked_out_as_the_manual_does),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
