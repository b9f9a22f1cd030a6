/*
 * forecast: a rollout before it is started. The engine that will run it runs it here, over servers
 * that exist in numbers alone, on a clock that jumps from one event to the next.
 *
 * What is left out: retries (a step that fails does so once, for good), agents that fall silent
 * when they have begun, undos that fail. The same plan, odds and seed give the same forecast on
 * every machine.
 *
 * Threading: no shared state. I/O: none.
 */
#pragma once

#include "common/base/error.h"
#include "common/plan/plan.h"
#include "common/plan/states.h"
#include "orchestrator/engine/engine.h"
#include "orchestrator/engine/event.h"

#include <stdbool.h>
#include <stdint.h>

struct forecast_odds {
    /* The chance of each server; 0 to 100, and together no more than 100. */
    double failing_percent;     /* one of its steps that decide over it fails for good */
    double unreachable_percent; /* it never takes its work on */
    uint64_t seed;
    int64_t step_ms; /* that a step takes; at most PLAN_MAX_SECONDS, as undo_ms */
    int64_t undo_ms; /* that undoing a step takes */
};

struct forecast {
    enum rollout_state state; /* the rollout's end */
    char reason[ERROR_MESSAGE_MAX];
    int64_t duration_ms;
    struct engine_counts counts;
    uint32_t servers;
    uint32_t touched; /* servers that took their work on, and may have been changed */
    uint32_t batches; /* that began */
    uint32_t batch_count;
    uint32_t peak_in_flight; /* most servers that were queued or running at the same time */
};

/* Told of every event and note, in order, numbered from 1, with times that begin at 0. `event` is
 * borrowed for the call. */
typedef void (*forecast_trace)(void *ctx, const struct event *event);

/* `trace` may be NULL. ERR_NO_MEMORY. */
enum error_code forecast_run(const struct plan *plan, const struct forecast_odds *odds,
                             forecast_trace trace, void *ctx, struct forecast *ret_forecast,
                             struct error *err) MUST_CHECK;

/* True when a step of the plan can make its server fail; else nothing but silence can. */
bool forecast_can_fail(const struct plan *plan);

/*
 * How many servers a bad change reaches: one that fails on every server that takes it on. It is
 * the largest number of servers that can have been changed when the failures stop the rollout,
 * with results that arrive as late and in as bad an order as they can; all servers when failures
 * do not stop it. (A change that is right for nearly all servers can fail on the last ones, when
 * all the others have been changed. No limit on failures can tell that beforehand.)
 *
 * The rollout goes on until one failure more than allowed is known, so with F allowed
 *
 *   - F servers have failed without stopping it;
 *   - as many more as run at once may have begun by the time that the next failure is known: a
 *     server begins as soon as another one gives its place up, and those in flight count;
 *   - the batch that is under way bounds both: the next one begins only when all of this one have
 *     settled.
 *
 * Servers that cannot be reached are not changed. Where they have a limit of their own they still
 * fill batches up, and so let a later, larger batch begin before F servers have failed: each batch
 * that can be got to in this way is looked at. One that was given up as unreachable and takes its
 * work on later is stopped and undone, and is not counted.
 *
 * A failure among the canary is one too many, so that a bad change never leaves it.
 */
uint32_t forecast_blast_radius(const struct plan *plan);
