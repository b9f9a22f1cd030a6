/* The engine: made, played through, forecast. It allocates when it is made and never after. */
#include "alloc/alloc.h"
#include "alloc/plans.h"
#include "common/base/alloc.h"
#include "common/plan/plan_json.h"
#include "orchestrator/engine/forecast.h"

#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

struct world {
    struct alloc_world base;
    struct plan *plan;
    struct engine *engine;
    struct forecast forecast;
    struct buf trace;
};

static void begin(void *world)
{
    struct world *w = world;
    const char *text = w->base.param;
    assert_int_equal(plan_read(text, strlen(text), &w->plan, NULL), ERR_OK);
}

static void end(void *world)
{
    struct world *w = world;
    engine_free(w->engine);
    plan_free(w->plan);
    buf_done(&w->trace);
}

/* ---- A whole rollout ------------------------------------------------------------------------- */

static struct event report(enum event_type type, uint32_t server, int64_t agent_seq)
{
    return (struct event){
        .type = type, .server = server, .step = EVENT_NO_STEP, .agent_seq = agent_seq};
}

static void apply(struct engine *e, struct event event, struct buf *b)
{
    struct decision decision;
    struct error err = {0};
    if (engine_apply(e, &event, &err) != ERR_OK)
        fail_msg("%s: %s", event_type_names[event.type], err.message);
    while (engine_next(e, &decision)) {
        if (decision.type == DECISION_NOTE)
            buf_printf(b, "%s\n", event_type_names[decision.note.type]);
    }
}

static void apply_step(struct engine *e, uint32_t server, int64_t agent_seq, int32_t step,
                       enum step_state state, struct buf *b)
{
    struct event event = report(EVENT_STEP_ENDED, server, agent_seq);
    event.step = step;
    event.attempt = 1;
    event.step_state = state;
    apply(e, event, b);
}

/* Server a succeeds, b fails and undoes itself, a is undone. */
static void play(struct engine *e, struct buf *b)
{
    struct event ended = report(EVENT_EXECUTION_ENDED, 0, 4);
    apply(e, report(EVENT_ROLLOUT_CREATED, EVENT_NO_SERVER, 0), b);
    apply(e, report(EVENT_EXECUTION_STARTED, 0, 1), b);
    apply_step(e, 0, 2, 0, STEP_SUCCEEDED, b);
    apply_step(e, 0, 3, 1, STEP_SUCCEEDED, b);
    ended.state = EXECUTION_SUCCEEDED;
    apply(e, ended, b);
    apply(e, report(EVENT_EXECUTION_STARTED, 1, 1), b);
    apply_step(e, 1, 2, 0, STEP_FAILED, b);
    ended = report(EVENT_EXECUTION_ENDED, 1, 3);
    ended.state = EXECUTION_FAILED;
    ended.undoing = true;
    apply(e, ended, b);
    for (uint32_t server = 2; server-- > 0;) {
        int64_t seq = server == 0 ? 5 : 4;
        apply(e, report(EVENT_EXECUTION_ROLLBACK_STARTED, server, seq), b);
        struct event undone = report(EVENT_EXECUTION_ROLLED_BACK, server, seq + 1);
        undone.state = EXECUTION_ROLLED_BACK;
        apply(e, undone, b);
    }
    buf_printf(b, "%s: %s\n", rollout_state_names[engine_state(e)], engine_reason(e));
}

static enum error_code run_new(void *world, struct error *err)
{
    struct world *w = world;
    return engine_new(w->plan, &w->engine, err);
}

/* All memory is out while it plays: it must not matter. The text is written beforehand. */
static void look_played(void *world, struct buf *b)
{
    struct world *w = world;
    assert_int_equal(buf_reserve(b, 4096, NULL), ERR_OK);
    mem_fail_after(0);
    play(w->engine, b);
    uint64_t failed = mem_fail_count();
    mem_fail_never();
    assert_int_equal(failed, 0);
    assert_int_equal(engine_state(w->engine), ROLLOUT_ROLLED_BACK);
}

/* ---- A forecast ------------------------------------------------------------------------------ */

static void trace(void *ctx, const struct event *event)
{
    struct world *w = ctx;
    buf_printf(&w->trace, "%s\n", event_type_names[event->type]);
}

static enum error_code run_forecast(void *world, struct error *err)
{
    struct world *w = world;
    const struct forecast_odds odds = {.failing_percent = 50, .seed = 3, .step_ms = 1};
    buf_clear(&w->trace);
    enum error_code code = forecast_run(w->plan, &odds, trace, w, &w->forecast, err);
    return code == ERR_OK ? buf_check(&w->trace, err) : code;
}

static void look_forecast(void *world, struct buf *b)
{
    struct world *w = world;
    buf_printf(b, "%s %s %u\n", rollout_state_names[w->forecast.state], w->forecast.reason,
               w->forecast.touched);
    buf_append(b, w->trace.data, w->trace.len);
}

static void a_rollout_needs_memory_at_its_beginning_alone(void **state)
{
    (void)state;
    const struct alloc_op op = {.name = "engine: new, and a rollout",
                                .world_size = sizeof(struct world),
                                .param = plan_of_two_servers,
                                .begin = begin,
                                .run = run_new,
                                .look = look_played,
                                .end = end};
    assert_true(alloc_sweep(&op) > 0);
}

static void a_forecast_is_whole_or_refused(void **state)
{
    (void)state;
    const struct alloc_op op = {.name = "engine: forecast",
                                .world_size = sizeof(struct world),
                                .param = plan_of_all_fields,
                                .begin = begin,
                                .run = run_forecast,
                                .look = look_forecast,
                                .end = end};
    assert_true(alloc_sweep(&op) > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_rollout_needs_memory_at_its_beginning_alone),
        cmocka_unit_test(a_forecast_is_whole_or_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
