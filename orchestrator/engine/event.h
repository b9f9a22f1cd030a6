/*
 * event: what happens to a rollout, as the engine takes it and the journal keeps it.
 *
 * There are two sorts. Inputs drive the engine: commands of people, what agents report, timers.
 * Notes are what the engine derived from an input, for people who follow along; they are journalled
 * with the input that caused them and passed over by a replay.
 *
 * Pure data.
 */
#pragma once

#include "common/plan/states.h"

#include <stdbool.h>
#include <stdint.h>

/* X(constant, wire name, is an input) */
#define EVENT_TYPES(X)                                                                             \
    X(EVENT_ROLLOUT_CREATED, "rollout_created", true)                                              \
    X(EVENT_EXECUTION_STARTED, "execution_started", true)       /* server */                       \
    X(EVENT_STEP_STARTED, "step_started", true)                 /* server step attempt */          \
    X(EVENT_STEP_RETRYING, "step_retrying", true)               /* server step attempt */          \
    X(EVENT_STEP_REBOOTING, "step_rebooting", true)             /* server step attempt away_ms */  \
    X(EVENT_STEP_REBOOTED, "step_rebooted", true)               /* server step attempt */          \
    X(EVENT_STEP_ENDED, "step_ended", true)                     /* server step state */            \
    X(EVENT_EXECUTION_CONFIRMING, "execution_confirming", true) /* server: waits to be heard */    \
    X(EVENT_EXECUTION_ENDED, "execution_ended", true)           /* server state undoing */         \
    X(EVENT_EXECUTION_ROLLBACK_STARTED, "execution_rollback_started", true) /* server */           \
    X(EVENT_STEP_ROLLED_BACK, "step_rolled_back", true)           /* server step state */          \
    X(EVENT_EXECUTION_ROLLED_BACK, "execution_rolled_back", true) /* server state */               \
    X(EVENT_EXECUTION_UNREACHABLE, "execution_unreachable", true) /* server: never started */      \
    X(EVENT_EXECUTION_UNKNOWN, "execution_unknown", true)         /* server: started, silent */    \
    X(EVENT_EXECUTION_WITHDRAWN, "execution_withdrawn", true)     /* server: never sent */         \
    X(EVENT_BATCH_DUE, "batch_due", true)                         /* batch: its delay passed */    \
    X(EVENT_PAUSE_REQUESTED, "pause_requested", true)             /* by reason */                  \
    X(EVENT_RESUME_REQUESTED, "resume_requested", true)           /* by reason */                  \
    X(EVENT_CANCEL_REQUESTED, "cancel_requested", true)           /* by reason now undoing */      \
    X(EVENT_ROLLBACK_REQUESTED, "rollback_requested", true)       /* by reason [server force] */   \
    X(EVENT_EXECUTION_RESOLVED, "execution_resolved", true)       /* server state by reason */     \
    X(EVENT_ROLLOUT_STARTED, "rollout_started", false)                                             \
    X(EVENT_BATCH_STARTED, "batch_started", false)           /* batch count */                     \
    X(EVENT_BATCH_ENDED, "batch_ended", false)               /* batch count */                     \
    X(EVENT_CANARY_PASSED, "canary_passed", false)           /* count */                           \
    X(EVENT_THRESHOLD_EXCEEDED, "threshold_exceeded", false) /* count message */                   \
    X(EVENT_ROLLBACK_STARTED, "rollback_started", false)     /* count: servers to undo */          \
    X(EVENT_ROLLOUT_PAUSED, "rollout_paused", false)                                               \
    X(EVENT_ROLLOUT_RESUMED, "rollout_resumed", false)                                             \
    X(EVENT_ROLLOUT_ENDED, "rollout_ended", false) /* rollout_state message */

#define X(value, name, input) value,
enum event_type { EVENT_TYPES(X) EVENT_TYPE_COUNT };
#undef X

extern const char *const event_type_names[EVENT_TYPE_COUNT];
bool event_is_input(enum event_type type);

#define EVENT_NO_SERVER UINT32_MAX
enum { EVENT_NO_STEP = -1 };

/* Orders of people carry `by` and, as `message`, the reason they gave:
 *   cancel_requested    nothing more starts; `undoing`: what was touched is undone afterwards;
 *                       `now`: running steps are ended
 *   rollback_requested  without a server: the rollout stops (`now` as above) and all that was
 *                       touched is undone; one that is over is opened again for it. With a server:
 *                       that one alone, in any phase; `force` only then
 *   execution_resolved  `state` succeeded, failed or rolled_back: how a person found or left a
 *                       server that is unknown or rollback_failed
 */

/* Texts are borrowed. What does not apply is zero (server: EVENT_NO_SERVER, step: EVENT_NO_STEP).
 */
struct event {
    enum event_type type;
    uint64_t seq;    /* in the rollout, from 1; set by whoever appends it */
    int64_t time_ms; /* wall clock of the orchestrator */
    uint32_t server; /* number in the plan */
    int32_t step;    /* number in the plan */
    int32_t attempt;
    int64_t agent_seq; /* number of the agent's report entry; 0: not from an agent */
    int64_t agent_time_ms;
    int64_t duration_ms;
    int64_t away_ms;                  /* step_rebooting: so long the server may be away */
    enum execution_state state;       /* execution events */
    enum step_state step_state;       /* step events */
    enum rollout_state rollout_state; /* rollout_ended */
    bool undoing;  /* execution_ended: the agent rolls back by itself; cancel: undo afterwards */
    bool now;      /* cancel: end running steps too */
    bool force;    /* undo also where somebody else has changed what the step left */
    bool conflict; /* step_rolled_back: refused, since somebody else has changed it */
    bool changed;  /* step_ended: it changed the host; of a check: it would */
    bool check;    /* rollout_created: a check; see engine.h */
    bool has_exit_code;
    int64_t exit_code;
    uint32_t batch; /* from 1 */
    uint32_t count;
    const char *message;  /* NULL: none */
    const char *by;       /* who asked; NULL */
    const char *retry_of; /* rollout_created: the rollout whose servers it retries; NULL */
};
