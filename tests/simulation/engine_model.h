/*
 * engine_model: what must hold of a rollout, worked out a second time and in another way.
 *
 * The model keeps plain facts per server (started, ended, silent, undone ...) from the events that
 * were accepted, and works out by looking at all servers what the engine keeps in counters and
 * cursors. Every decision is checked when it is taken, everything that can be seen after each
 * event. The first thing that does not hold is kept as `failure`.
 */
#pragma once

#include "orchestrator/engine/engine.h"

#include <stdbool.h>
#include <stdint.h>

enum { MODEL_MAX_SERVERS = 64, MODEL_MAX_STEPS = 4, MODEL_FAILURE_SIZE = 256 };

struct model_server {
    bool queued, slot, started, ended, silent, stray;
    bool undoing, undo_asked, undone, undo_failed;
    bool told, told_now; /* to stop, since it came (back) to work */
    bool came_late;      /* to rest, after undoing had begun */
    uint32_t batch;      /* from 0 */
    enum execution_state outcome;
    enum execution_state ended_as;
    enum step_state steps[MODEL_MAX_STEPS];
};

struct model {
    const struct plan *plan;
    uint32_t count;
    struct model_server servers[MODEL_MAX_SERVERS];
    uint32_t batch_size[MODEL_MAX_SERVERS];
    uint32_t batch_count;
    uint32_t batch_due; /* batches below may start as far as delays go */
    uint32_t most_slots;
    bool created, paused, stopped, stop_now, tripped, canary_passed;
    bool undo_begun, over;
    enum plan_scope scope;
    uint32_t undo_planned;
    uint32_t trip_count;
    bool note_trip, note_undo, note_end, end, end_checked; /* seen, each at most once */
    enum rollout_state final_state;
    char failure[MODEL_FAILURE_SIZE];
};

void model_init(struct model *m, const struct plan *plan);
/* An event that the engine accepted, before its decisions are taken. */
void model_event(struct model *m, const struct event *event);
/* A decision; `again` when it is given again after a replay. */
void model_decision(struct model *m, const struct decision *d, bool again);
/* After all decisions of an event were taken. */
void model_check(struct model *m, const struct engine *e);
/* At work as far as is known: it was started or told to undo, and is neither settled nor silent. */
bool model_busy(const struct model_server *s);
void model_fail(struct model *m, const char *fmt, ...) PRINTF_LIKE(2, 3);
