/*
 * engine_model: what must hold of a rollout, worked out a second time and in another way.
 *
 * The model keeps plain facts per server (started, ended, silent, undone ...) from the events that
 * were accepted, and works out by looking at all servers what the engine keeps in counters and
 * cursors. Every decision is checked when it is taken, everything that can be seen after each
 * event. The first thing that does not hold is kept as `failure`.
 *
 * The parts: engine_model.c has the facts and the events, engine_model_order.c people's orders
 * about what was done, engine_model_decision.c the decisions, engine_model_view.c what is seen.
 */
#pragma once

#include "orchestrator/engine/engine.h"

#include <stdbool.h>
#include <stdint.h>

enum { MODEL_MAX_SERVERS = 64, MODEL_MAX_STEPS = 4, MODEL_FAILURE_SIZE = 256 };

struct model_server {
    bool queued, slot, started, touched, ended, silent, stray;
    bool undoing, undo_asked, undone, undo_failed;
    bool round_open;     /* it said that it began to undo, and not yet how that ended */
    bool ordered;        /* a person wants it undone, and it was not told since */
    bool resolved;       /* settled by hand */
    bool told, told_now; /* to stop, since it came (back) to work */
    bool out_of_turn;    /* to be undone without regard to the others' order */
    bool keeps_place;    /* was settled while it waited to be undone */
    bool was_resolved;   /* at any time */
    bool changed;        /* a step changed something (a check: would), or may have */
    bool unchanged;      /* it succeeded without */
    uint32_t batch;      /* from 0 */
    enum execution_state outcome;
    enum execution_state rest_state; /* what it is when it is at rest and its undo is no matter */
    enum step_state steps[MODEL_MAX_STEPS];
    bool step_conflicts[MODEL_MAX_STEPS];
    bool conflict, force;
    int64_t rounds, undo_round;
    int64_t away_ms; /* for its reboot */
};

struct model {
    const struct plan *plan;
    uint32_t count;
    struct model_server servers[MODEL_MAX_SERVERS];
    uint32_t batch_size[MODEL_MAX_SERVERS];
    uint32_t batch_count;
    uint32_t batch_due; /* batches below may start as far as delays go */
    uint32_t most_slots;
    bool check; /* it changes nothing */
    bool created, paused, stopped, stop_now, tripped, canary_passed;
    bool undo_begun, over;
    bool closed, reopened, whole_ordered; /* at any time */
    enum plan_scope scope;
    uint32_t undo_planned;
    bool conclude_due;   /* a server was settled after the end */
    uint32_t undo_noted; /* servers that the next rollback_started is about */
    uint32_t trip_count;
    /* Seen, each at most once, but for what comes again when it is opened again. */
    bool note_trip, note_undo, note_end, end, end_checked;
    enum rollout_state final_state;
    char failure[MODEL_FAILURE_SIZE];
};

enum model_opinion { MODEL_REFUSES, MODEL_TAKES, MODEL_EITHER };

void model_init(struct model *m, const struct plan *plan);
/* Whether a rollback_requested or execution_resolved is to be accepted. */
enum model_opinion model_opinion(const struct model *m, const struct event *event);
/* An event that the engine accepted, before its decisions are taken. */
void model_event(struct model *m, const struct event *event);
/* A decision; `again` when it is given again after a replay. */
void model_decision(struct model *m, const struct decision *d, bool again);
/* After all decisions of an event were taken. */
void model_check(struct model *m, const struct engine *e);
/* At work as far as is known: it was started or told to undo, and is neither settled nor silent. */
bool model_busy(const struct model_server *s);
/* What it is expected to be. */
enum execution_state model_state(const struct model *m, const struct model_server *s);
void model_fail(struct model *m, const char *fmt, ...) PRINTF_LIKE(2, 3);
