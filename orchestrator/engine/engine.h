/*
 * engine: one rollout as a pure state machine. An event goes in, decisions come out.
 *
 *     engine_apply(e, &event, &err);              changes the state; O(1) amortised
 *     while (engine_next(e, &decision)) ...       what follows from it, one at a time
 *
 * The engine has no clock, no I/O, no randomness and allocates only in engine_new: what it decides
 * is a function of the plan and the events alone, so that replaying the events of the journal gives
 * the same state, always. The caller makes event and notes durable before it acts on a decision.
 *
 * After a replay the caller calls engine_resume(): engine_next() then gives once more all decisions
 * that stand (servers queued, undoing, waiting delays), and the receiver of each must take a repeat
 * for what it is.
 *
 * A rollout ends once, but for a rollback that a person orders (EVENT_ROLLBACK_REQUESTED): it opens
 * the rollout again, which rolls back and ends once more (rollback_started, rollout_ended,
 * DECISION_END). Nothing goes forward in it any more, and the outcomes of its servers stay as they
 * were at its first end. As long as a rollout is open, its end waits for every server that is
 * running or rolling back, whoever made it so: the caller tells the engine of each that falls
 * silent (EVENT_EXECUTION_UNKNOWN).
 *
 * An order for one server is carried out in any phase, out of turn. A server that is silent is
 * rollback_failed until it comes back, and undone then. Each order is a round of its own, with a
 * number (execution.undo_round), so that what could not be undone can be tried again.
 *
 * A server that nobody can hear, or whose undo failed, can be settled by a person
 * (EVENT_EXECUTION_RESOLVED). What its agent says later is kept on record and changes neither its
 * state nor its outcome; the rollout leaves it alone, until a person orders its undo, or that of
 * the whole rollout (one that was settled as rolled_back is left out then).
 *
 * A check (rollout_created says so) is a rollout that changes nothing: its agents say of each step
 * what it would change. Batches, limits and threshold are as ever; whatever comes of it, there is
 * nothing to undo, and an order to undo it is refused.
 *
 * Threading: an engine belongs to one thread at a time; engines share nothing.
 */
#pragma once

#include "common/base/error.h"
#include "common/plan/plan.h"
#include "common/plan/states.h"
#include "orchestrator/engine/event.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct engine;

enum decision_type {
    DECISION_START,       /* server: put its execution into its queue */
    DECISION_CANCEL,      /* server, now: stop it; withdraw it if it was never sent */
    DECISION_ROLLBACK,    /* server, undo_round, undo_force: undo its execution */
    DECISION_BATCH_DELAY, /* batch, delay_ms: send EVENT_BATCH_DUE for that batch after so long */
    DECISION_NOTE,        /* note: to be journalled with the event that was applied */
    DECISION_END          /* the rollout is over: its servers are free. Last decision of a rollout,
                             but for late returns of servers that were unknown, and for a rollback
                             that is ordered afterwards */
};

struct decision {
    enum decision_type type;
    uint32_t server;
    bool now;
    int64_t undo_round; /* rollback: as they were when it was decided */
    bool undo_force;
    uint32_t batch;
    int64_t delay_ms;
    struct event note; /* its texts are static or borrowed until the next engine_apply */
};

/* What is known of one server's execution. */
struct execution {
    enum execution_state state;
    enum execution_state outcome; /* the state before any undoing: PENDING until it ended */
    bool started;                 /* its agent took it on: it may have been changed */
    bool touched;                 /* a step that is not instant has begun */
    bool undoing;                 /* rolling back (by itself or as told) */
    bool undo_force;              /* undo also where somebody else has changed what it left */
    bool conflict;                /* its last undo was refused: somebody else has changed it */
    bool resolved;                /* a person settled it by hand */
    bool unchanged;               /* it succeeded, and no step of it changed (a check: would change)
                                     anything */
    int32_t step;                 /* the step under way or the one that failed; EVENT_NO_STEP */
    int64_t away_ms;              /* it is being rebooted by its step, and may be silent for so
                                     long; 0: it is not */
    /* Number of the last order to undo it, for its agent: how often that had begun to undo, as far
     * as was known, and one more. The same each time the order is given again. 0: never ordered. */
    int64_t undo_round;
    int64_t last_agent_seq;
    int64_t started_ms, ended_ms; /* wall clock of the orchestrator; 0: not yet */
    uint64_t reason_seq;          /* the event whose message says why it failed; 0: none */
};

struct step_record {
    enum step_state state;
    int32_t attempt;
    bool changed;  /* of a check: it would */
    bool conflict; /* rollback_failed: refused, since somebody else has changed what it left */
    bool has_exit_code;
    int64_t exit_code;
    int64_t duration_ms;
    uint64_t reason_seq; /* the event whose message says why; 0: none */
};

/* Servers by outcome; the sum of all is the number of servers, at every event. */
struct engine_counts {
    uint32_t pending;   /* no decision to start it yet */
    uint32_t in_flight; /* queued or running */
    uint32_t succeeded;
    uint32_t failed; /* failed and timed_out */
    uint32_t unreachable;
    uint32_t unknown;
    uint32_t cancelled;
    uint32_t skipped;
    uint32_t unchanged; /* of those that succeeded: nothing was, or in a check would be, changed */
    /* Of those that ended: */
    uint32_t rolled_back;
    uint32_t rollback_failed;
};

/* The plan is borrowed until engine_free. */
enum error_code engine_new(const struct plan *plan, struct engine **ret_engine,
                           struct error *err) MUST_CHECK;
void engine_free(struct engine *e); /* NULL is fine */
DEFINE_CLEANUP(engine_free, struct engine)

/* Applies an input (a note is passed over: ERR_OK). The first is EVENT_ROLLOUT_CREATED. ERR_STALE:
 * a repeat, or of something that is settled (nothing changed; a reporter is still to be
 * acknowledged). ERR_CONFLICT: not possible in this state, with a message for people. ERR_INVALID:
 * no such server or step, or a gap in an agent's numbering. Nothing has changed unless ERR_OK. */
enum error_code engine_apply(struct engine *e, const struct event *event,
                             struct error *err) MUST_CHECK;
/* Takes the next decision; false when there is none for now. */
bool engine_next(struct engine *e, struct decision *ret_decision);
/* Has the standing decisions given again. Call when engine_next has returned false. */
void engine_resume(struct engine *e);

enum rollout_state engine_state(const struct engine *e);
bool engine_is_check(const struct engine *e);
/* A person or the threshold has stopped it: no server is started any more. */
bool engine_stopping(const struct engine *e);
struct engine_counts engine_counts(const struct engine *e);
const struct plan *engine_plan(const struct engine *e);
/* Nothing of what it touched is left on the server: it was undone, or nothing was changed. */
bool engine_left_nothing(const struct engine *e, uint32_t server);
/* Borrowed until the next engine_apply. */
const struct execution *engine_execution(const struct engine *e, uint32_t server);
/* True when an order to undo the whole rollout would have this server undone (now, when it has been
 * stopped, or when it comes back): its agent took it on, it is not undone, and no undo of it is
 * under way or waits for its turn. */
bool engine_needs_undo(const struct engine *e, uint32_t server);
/* The orders to its agent that stand, as bits: those that engine_resume gives again. */
enum engine_order { ORDER_CANCEL = 1 << 0, ORDER_CANCEL_NOW = 1 << 1, ORDER_ROLLBACK = 1 << 2 };
unsigned engine_standing(const struct engine *e, uint32_t server);
/* False when the rollout has nothing to do with that server: it was opened again for others. Until
 * its first end it holds all its servers; then those that it undoes by a person's order, but for
 * one that was silent when it was ordered. */
bool engine_holds(const struct engine *e, uint32_t server);
/* Whether engine_apply would take this rollback_requested for one server. That it takes one for
 * another server changes nothing about that. */
enum error_code engine_check_rollback(const struct engine *e, const struct event *event,
                                      struct error *err) MUST_CHECK;
const struct step_record *engine_step(const struct engine *e, uint32_t server, uint32_t step);
/* The batch under way, from 1, and how many there will be (as the plan stands). */
uint32_t engine_batch(const struct engine *e);
uint32_t engine_batch_count(const struct engine *e);
/* Why it was stopped or ended as it did; "" when all is well. Static to the engine. */
const char *engine_reason(const struct engine *e);
