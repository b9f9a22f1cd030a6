/* A plan as a stranger may send it. What is accepted must survive being written and read, its steps
 * must reach an agent as they are, and the engine must bring it to an end. */
#include "common/plan/plan_json.h"
#include "common/wire/wire.h"
#include "handlers/catalog.h"
#include "orchestrator/engine/forecast.h"
#include "tests/fuzz/fuzz.h"

#include <assert.h>
#include <string.h>

enum { PLAYED_SERVERS_MAX = 64, PLAYED_STEPS_MAX = 16 };

static bool same(const struct buf *a, const struct buf *b)
{
    return a->len == b->len && memcmp(a->data, b->data, a->len) == 0;
}

/* The canonical form: it reads back to itself, and is a plan that would be accepted. */
static void check_canonical(const struct plan *plan)
{
    struct buf first = BUF_INIT, second = BUF_INIT, third = BUF_INIT;
    struct plan *read = NULL, *parsed = NULL;
    struct problems problems = {0};
    struct error err = {0};
    plan_write(&first, plan);
    assert(buf_check(&first, &err) == ERR_OK);
    enum error_code code = plan_read(first.data, first.len, &read, &err);
    assert(code == ERR_OK);
    plan_write(&second, read);
    assert(same(&first, &second));
    if (first.len <= PLAN_MAX_BYTES) {
        code = plan_parse(first.data, first.len, &handler_catalog, &parsed, &problems, &err);
        assert(code == ERR_OK && problems.total == 0);
        plan_write(&third, parsed);
        assert(same(&first, &third));
    }
    plan_free(read);
    plan_free(parsed);
    problems_done(&problems);
    buf_done(&first);
    buf_done(&second);
    buf_done(&third);
}

static void check_batches(const struct plan *plan)
{
    uint32_t left = plan_server_count(plan);
    for (uint32_t batch = 0; left > 0 && batch < 1000; batch++) {
        uint32_t size = plan_batch_size(plan, batch, left);
        assert(size >= 1 && size <= left);
        uint32_t parallel = plan_parallel(plan, size);
        assert(parallel >= 1 && parallel <= size);
        left -= size;
    }
    uint32_t blast = forecast_blast_radius(plan);
    assert(blast >= 1 && blast <= plan_server_count(plan));
}

/* What the agent reads of the steps is what the plan says. */
static void check_steps(const struct plan *plan)
{
    char id[] = "r1";
    struct error err = {0};
    struct wire_frame frame = {0};
    const struct wire_execute execute = {.rollout = id, .epoch = 1};
    struct buf steps = BUF_INIT, text = BUF_INIT, again = BUF_INIT;
    wire_encode_steps(&steps, plan);
    wire_encode_execute(&text, &execute, steps.data, steps.len);
    assert(buf_check(&text, &err) == ERR_OK);
    enum error_code code = wire_decode(text.data, text.len, &frame, &err);
    assert(code == ERR_OK && frame.execute.steps.count == plan->steps.count);
    const struct plan read = {.steps = frame.execute.steps};
    wire_encode_steps(&again, &read);
    assert(same(&steps, &again));
    for (uint32_t i = 0; i < plan_step_count(plan); i++) {
        enum step_undo undo = STEP_UNDO_COUNT;
        const char *lacks = NULL;
        code = step_undo_find(&handler_catalog, plan_step(plan, i), &undo, &lacks, &err);
        assert(code == ERR_OK && undo < STEP_UNDO_COUNT && (undo == STEP_UNDO_NO) == (lacks != 0));
    }
    wire_frame_done(&frame);
    buf_done(&steps);
    buf_done(&text);
    buf_done(&again);
}

static void check_played(const struct plan *plan, double failing_percent)
{
    const struct forecast_odds odds = {.failing_percent = failing_percent,
                                       .unreachable_percent = failing_percent / 4,
                                       .seed = 7,
                                       .step_ms = 1000,
                                       .undo_ms = 1000};
    struct forecast forecast;
    struct error err = {0};
    enum error_code code = forecast_run(plan, &odds, NULL, NULL, &forecast, &err);
    assert(code == ERR_OK);
    const struct engine_counts *c = &forecast.counts;
    assert(rollout_state_final(forecast.state));
    assert(c->pending + c->in_flight + c->succeeded + c->failed + c->unreachable + c->unknown +
               c->cancelled + c->skipped ==
           plan_server_count(plan));
    assert(c->in_flight == 0 && forecast.touched <= plan_server_count(plan));
    if (failing_percent == 0)
        assert(forecast.state == ROLLOUT_SUCCEEDED && c->succeeded == plan_server_count(plan));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct plan *plan = NULL;
    struct problems problems = {0};
    struct error err = {0};
    enum error_code code =
        plan_parse((const char *)data, size, &handler_catalog, &plan, &problems, &err);
    assert((code == ERR_OK) == (plan != NULL));
    assert((code == ERR_OK) == (problems.total == 0));
    assert(code == ERR_OK || err.message[0] != '\0');
    if (plan != NULL) {
        check_canonical(plan);
        check_batches(plan);
        check_steps(plan);
        if (plan_server_count(plan) <= PLAYED_SERVERS_MAX &&
            plan_step_count(plan) <= PLAYED_STEPS_MAX) {
            check_played(plan, 0);
            check_played(plan, 40);
        }
    }
    plan_free(plan);
    problems_done(&problems);
    return 0;
}
