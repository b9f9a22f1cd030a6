#include "orchestrator/engine/engine_internal.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>

/* ---- Batches ------------------------------------------------------------------------------- */

void batch_begin(struct engine *e)
{
    uint32_t size = plan_batch_size(e->plan, e->batch, e->server_count - e->next);
    assert(size > 0 && size <= e->server_count - e->next);
    e->phase = PHASE_BATCH;
    e->batch++;
    e->batch_first = e->next;
    e->batch_end = e->next + size;
    e->parallel = plan_parallel(e->plan, size);
    e->batch_open = true;
    e->batch_due = false;
    struct event *note = engine_note(e, EVENT_BATCH_STARTED);
    note->batch = e->batch;
    note->count = size;
}

static void start_server(struct engine *e, uint32_t server)
{
    struct server *s = &e->servers[server];
    e->next = server + 1;
    e->outcomes[EXECUTION_PENDING]++;
    e->slots++;
    if (e->slots > e->most_slots)
        e->most_slots = e->slots;
    s->slot = true;
    server_set_busy(e, s, true);
    server_set_state(e, s, EXECUTION_QUEUED);
    engine_ask(e, server, ASK_START);
}

void batch_start_servers(struct engine *e)
{
    while (e->next < e->batch_end && e->slots < e->parallel)
        start_server(e, e->next);
}

void batch_note_ended(struct engine *e)
{
    if (!e->batch_open)
        return;
    e->batch_open = false;
    struct event *note = engine_note(e, EVENT_BATCH_ENDED);
    note->batch = e->batch;
    note->count = e->next - e->batch_first;
}

static bool is_canary(const struct engine *e)
{
    return e->plan->strategy.type == STRATEGY_CANARY && e->batch == 1;
}

void batch_over(struct engine *e)
{
    batch_note_ended(e);
    if (is_canary(e))
        engine_note(e, EVENT_CANARY_PASSED)->count = e->batch_end;
    if (e->next == e->server_count) {
        e->phase = PHASE_CLOSING;
        return;
    }
    e->phase = PHASE_BETWEEN;
    e->ask_delay = e->plan->strategy.batch_delay_ms > 0;
    e->batch_due = !e->ask_delay;
}

/* ---- The threshold ------------------------------------------------------------------------- */

/* Servers that did not do what was wanted. While this is asked nothing is cancelled but what came
 * back from silence to be undone, and counted as a failure before. */
static uint32_t count_failures(const struct engine *e)
{
    uint32_t failures = e->outcomes[EXECUTION_FAILED] + e->outcomes[EXECUTION_TIMED_OUT] +
                        e->outcomes[EXECUTION_UNKNOWN] + e->outcomes[EXECUTION_CANCELLED];
    return failures + (e->unreachable_apart ? 0 : e->outcomes[EXECUTION_UNREACHABLE]);
}

static void trip(struct engine *e, uint32_t count)
{
    e->tripped = true;
    struct event *note = engine_note(e, EVENT_THRESHOLD_EXCEEDED);
    note->count = count;
    note->message = e->cause;
    engine_stop(e, STOP_GRACEFUL);
}

void threshold_check(struct engine *e)
{
    if (e->stop != STOP_NONE || e->closed)
        return;
    uint32_t failures = count_failures(e);
    uint32_t unreachable = e->unreachable_apart ? e->outcomes[EXECUTION_UNREACHABLE] : 0;
    if (is_canary(e) && failures + unreachable > 0) {
        (void)snprintf(e->cause, sizeof(e->cause),
                       "%" PRIu32 " of %" PRIu32 " canary servers failed", failures + unreachable,
                       e->batch_end);
        trip(e, failures + unreachable);
    } else if (failures > e->failures_allowed) {
        (void)snprintf(e->cause, sizeof(e->cause),
                       "%" PRIu32 " of %" PRIu32 " servers failed, %" PRIu32 " allowed", failures,
                       e->server_count, e->failures_allowed);
        trip(e, failures);
    } else if (unreachable > e->unreachable_allowed) {
        (void)snprintf(e->cause, sizeof(e->cause),
                       "%" PRIu32 " of %" PRIu32 " servers unreachable, %" PRIu32 " allowed",
                       unreachable, e->server_count, e->unreachable_allowed);
        trip(e, unreachable);
    }
}

/* ---- Stopping ------------------------------------------------------------------------------ */

void server_cancel(struct engine *e, uint32_t server)
{
    bool now = e->stop == STOP_NOW;
    struct server *s = &e->servers[server];
    s->asks &= (uint8_t)~ASK_START; /* nothing goes forward any more, not even what was decided */
    s->cancel = now ? STOP_NOW : STOP_GRACEFUL;
    engine_ask(e, server, now ? ASK_CANCEL_NOW : ASK_CANCEL);
}

void engine_cancel_servers(struct engine *e)
{
    for (uint32_t i = 0; i < e->next; i++) {
        const struct server *s = &e->servers[i];
        if (s->busy && !s->ended && s->cancel < e->stop)
            server_cancel(e, i);
    }
}

void engine_stop(struct engine *e, enum stop stop)
{
    e->stop = stop;
    e->phase = PHASE_DRAINING;
    /* A pause holds nothing any more: it waits for nobody to resume it. */
    e->state = ROLLOUT_RUNNING;
    e->ask_delay = false;
    engine_cancel_servers(e);
}
