/*
 * states: the states of rollouts, executions and steps, and what an agent can report of them. Names
 * are those of the wire, the journal and the API. Pure.
 */
#pragma once

#include <stdbool.h>

#define ROLLOUT_STATES(X)                                                                          \
    X(ROLLOUT_PENDING, "pending")                                                                  \
    X(ROLLOUT_RUNNING, "running")                                                                  \
    X(ROLLOUT_PAUSED, "paused")                                                                    \
    X(ROLLOUT_SUCCEEDED, "succeeded")                                                              \
    X(ROLLOUT_FAILED, "failed")                                                                    \
    X(ROLLOUT_CANCELLED, "cancelled")                                                              \
    X(ROLLOUT_ROLLING_BACK, "rolling_back")                                                        \
    X(ROLLOUT_ROLLED_BACK, "rolled_back")                                                          \
    X(ROLLOUT_ROLLBACK_FAILED, "rollback_failed")

/* What an agent's journal and its reports say of an execution, in order. */
#define REPORT_TYPES(X)                                                                            \
    X(REPORT_STARTED, "started")               /* the execution was taken on */                    \
    X(REPORT_STEP_STARTED, "step_started")     /* an attempt of a step begins */                   \
    X(REPORT_STEP_RETRYING, "step_retrying")   /* an attempt failed, another will come */          \
    X(REPORT_STEP_REBOOTING, "step_rebooting") /* the step runs again when the server is back */   \
    X(REPORT_STEP_REBOOTED, "step_rebooted")   /* it is back, and the step runs again */           \
    X(REPORT_STEP_ENDED, "step_ended")         /* succeeded, failed, timed_out or skipped */       \
    X(REPORT_CONFIRMING, "confirming")         /* all steps done; waits to be heard (plan.h) */    \
    X(REPORT_ENDED, "ended")                   /* succeeded, failed, timed_out or cancelled */     \
    X(REPORT_ROLLBACK_STARTED, "rollback_started") /* undoing begins */                            \
    X(REPORT_STEP_ROLLED_BACK, "step_rolled_back") /* rolled_back or rollback_failed */            \
    X(REPORT_ROLLED_BACK, "rolled_back")           /* the execution: rolled_back, rollback_failed */

/* States of an execution (one server) and of a step; design: states. */
#define EXECUTION_STATES(X)                                                                        \
    X(EXECUTION_PENDING, "pending")                                                                \
    X(EXECUTION_QUEUED, "queued")                                                                  \
    X(EXECUTION_RUNNING, "running")                                                                \
    X(EXECUTION_SUCCEEDED, "succeeded")                                                            \
    X(EXECUTION_FAILED, "failed")                                                                  \
    X(EXECUTION_TIMED_OUT, "timed_out")                                                            \
    X(EXECUTION_UNREACHABLE, "unreachable")                                                        \
    X(EXECUTION_UNKNOWN, "unknown")                                                                \
    X(EXECUTION_CANCELLED, "cancelled")                                                            \
    X(EXECUTION_SKIPPED, "skipped")                                                                \
    X(EXECUTION_ROLLING_BACK, "rolling_back")                                                      \
    X(EXECUTION_ROLLED_BACK, "rolled_back")                                                        \
    X(EXECUTION_ROLLBACK_FAILED, "rollback_failed")
#define STEP_STATES(X)                                                                             \
    X(STEP_PENDING, "pending")                                                                     \
    X(STEP_RUNNING, "running")                                                                     \
    X(STEP_SUCCEEDED, "succeeded")                                                                 \
    X(STEP_FAILED, "failed")                                                                       \
    X(STEP_TIMED_OUT, "timed_out")                                                                 \
    X(STEP_SKIPPED, "skipped")                                                                     \
    X(STEP_ROLLED_BACK, "rolled_back")                                                             \
    X(STEP_ROLLBACK_FAILED, "rollback_failed")

#define X(value, name) value,
enum rollout_state { ROLLOUT_STATES(X) ROLLOUT_STATE_COUNT };
enum execution_state { EXECUTION_STATES(X) EXECUTION_STATE_COUNT };
enum step_state { STEP_STATES(X) STEP_STATE_COUNT };
enum report_type { REPORT_TYPES(X) REPORT_TYPE_COUNT };
#undef X

/* Indexed by the enum; static storage. */
extern const char *const rollout_state_names[ROLLOUT_STATE_COUNT];
extern const char *const execution_state_names[EXECUTION_STATE_COUNT];
extern const char *const step_state_names[STEP_STATE_COUNT];
extern const char *const report_type_names[REPORT_TYPE_COUNT];

/* True in a state that a rollout never leaves by itself. */
bool rollout_state_final(enum rollout_state state);
