/*
 * executor_internal: what the parts of the executor share: executor.c (events), executor_forward.c
 * (going forward), executor_reboot.c (a step reboots the server), executor_check.c (a check),
 * executor_undo.c (undoing), executor_replay.c (after a restart).
 */
#pragma once

#include "agent/executor.h"

enum phase {
    PHASE_NEW,
    PHASE_PREPARING,
    PHASE_EXECUTING,
    PHASE_WAITING,    /* for the next attempt */
    PHASE_CONFIRMING, /* all steps are done */
    PHASE_CHECKING,
    PHASE_REBOOTING,      /* it was asked for */
    PHASE_REBOOT_WAITING, /* it is to be asked for again */
    PHASE_RETURNING,      /* it is done: orders are waited for */
    PHASE_UNDOING,
    PHASE_UNDO_WAITING,
    PHASE_ENDED /* nothing is under way; perhaps undone */
};

/* Why the operation under way was asked to end. */
enum stop { STOP_NONE, STOP_TIMEOUT, STOP_CANCEL };

/* The longest chain that one event causes: a cancelled wait whose execution is undone twice, with
 * nothing to undo (TIMER_STOP, step ended, ended, twice rollback started and rolled back,
 * FINISHED), and room. */
enum { QUEUE_MAX = 10 };

struct track {
    enum step_state state;
    int32_t attempt;     /* number of the last one */
    int32_t failures;    /* attempts that failed and were to be followed by another */
    int32_t interrupted; /* attempts that the agent's death cut off */
    int32_t reboots;     /* that were made for it */
    bool rebooting;      /* the attempt that is open waits for one */
    bool open;           /* an attempt began, and its end is not recorded */
    bool executed;       /* the host may have been changed: part of a rollback */
    bool changed;        /* its end says so, or an attempt that did not succeed may have */
    bool captured;
    bool rolled_back; /* on record so, in whatever round */
    bool undone;      /* dealt with in the present round, or rolled back before it */
};

struct executor {
    const struct plan_step *steps;
    uint32_t count;
    bool rollback_on_failure;
    bool cautious, check;
    int64_t confirm_ms;
    enum phase phase;
    enum stop stop;
    bool cancelled; /* no further step begins */
    bool rollback;  /* undo once it has ended */
    bool began, confirming, ended, undo_wanted;
    bool undoing;       /* a round is under way */
    int64_t restarts;   /* since the last record */
    int64_t asks;       /* for the reboot that is due */
    int64_t undo_round; /* rounds begun */
    bool undo_force;    /* of the round under way, or of the first one to come */
    int64_t next_round; /* ordered while one is under way; 0: none */
    bool next_force;
    uint32_t step; /* the one under way; while undoing, all from here on are done with */
    int64_t undo_attempt;
    int64_t begun_ms;
    int64_t undo_began_ms;
    uint32_t undo_failures;
    size_t queue_head, queue_count;
    struct executor_action queue[QUEUE_MAX];
    char step_message[EXECUTOR_MESSAGE_MAX];
    char end_message[EXECUTOR_MESSAGE_MAX];
    char undo_message[EXECUTOR_MESSAGE_MAX];
    struct executor_traits *traits;
    struct track track[];
};

static inline const char *text_or_null(const char *text)
{
    return text[0] != '\0' ? text : NULL;
}

static inline int64_t since(int64_t from_ms, int64_t to_ms)
{
    return to_ms > from_ms ? to_ms - from_ms : 0; /* the wall clock may have been set back */
}

/* ---- executor_forward.c ------------------------------------------------------------------------
 */

/* The next action in the queue, to be filled in. */
struct executor_action *executor_emit(struct executor *x, enum executor_action_type type);
/* A record about the execution, or about x->step; to be filled in. */
struct executor_record *executor_note(struct executor *x, enum report_type type, int64_t time_ms);
struct executor_record *executor_note_step(struct executor *x, enum report_type type,
                                           int64_t time_ms, int64_t attempt, enum step_state state);
void executor_note_result(struct executor_record *r, const struct executor_result *result);
void executor_say(char text[EXECUTOR_MESSAGE_MAX], const char *fmt, ...) PRINTF_LIKE(2, 3);
void executor_say_step(const struct executor *x, char text[EXECUTOR_MESSAGE_MAX], const char *what);

void executor_begin(struct executor *x, int64_t time_ms);
/* Records that it has begun. */
void executor_start(struct executor *x, int64_t time_ms);
void executor_step_begin(struct executor *x, int64_t time_ms);
/* Begins step x->step, or ends the execution. */
void executor_forward(struct executor *x, int64_t time_ms);
void executor_attempt_begin(struct executor *x, int64_t time_ms, const char *message);
/* An attempt has ended, and that is on record with these: `state` is STEP_RUNNING when another one
 * will follow. Gives whether the step has changed the host, or in a check would. */
bool executor_attempt_over(const struct executor *x, struct track *t, enum step_state state,
                           bool changed);
/* Executes the attempt that is on record. */
void executor_attempt_run(struct executor *x);
/* Records the step's end; step_message says why. */
void executor_step_end(struct executor *x, int64_t time_ms, enum step_state state,
                       const struct executor_result *result);
/* The step has failed and is on record as such: the execution goes on or ends by it. */
void executor_step_failed(struct executor *x, int64_t time_ms);
/* The execution goes on when the step fails. */
bool executor_tolerates(const struct plan_step *step);
/* The step will not go on: it ends by the cancelling, if it had begun at all. */
void executor_step_cancelled(struct executor *x, int64_t time_ms,
                             const struct executor_result *result);
/* The step is not to be carried out on this server: the next one begins. */
void executor_step_skipped(struct executor *x, int64_t time_ms,
                           const struct executor_result *result);
void executor_prepared(struct executor *x, const struct executor_event *event);
void executor_executed(struct executor *x, const struct executor_event *event);
/* Says why an operation of the step did not succeed. */
void executor_explain(struct executor *x, const struct executor_result *result);
/* An attempt (or its prepare, or its check) has failed; step_message says why. */
void executor_attempt_failed(struct executor *x, int64_t time_ms,
                             const struct executor_result *result);
/* Waits, from the record on, for the confirmation. */
void executor_confirm_wait(struct executor *x);
void executor_confirm_failed(struct executor *x, int64_t time_ms);
void executor_end(struct executor *x, int64_t time_ms, enum execution_state outcome,
                  const char *message);

/* ---- executor_reboot.c -----------------------------------------------------------------------
 */

/* The step's execute has ended so. */
void executor_reboot_wanted(struct executor *x, const struct executor_event *event);
/* Asks for it, or asks again. */
void executor_reboot_ask(struct executor *x);
void executor_reboot_stayed(struct executor *x, const struct executor_event *event);
/* The wait for orders is over: the step runs again. */
void executor_reboot_over(struct executor *x, int64_t time_ms);
/* The agent is back, in the middle of a reboot; `rebooted`: that has been. */
void executor_reboot_resume(struct executor *x, int64_t time_ms, bool rebooted);

/* ---- executor_check.c ------------------------------------------------------------------------ */

void executor_check_begin(struct executor *x);
void executor_checked(struct executor *x, const struct executor_event *event);

/* ---- executor_undo.c ------------------------------------------------------------------------- */

/* Begins a round, by undo_force. */
void executor_undo_begin(struct executor *x, int64_t time_ms);
/* A round's beginning as it is on record. */
void executor_undo_began(struct executor *x, int64_t time_ms, bool force);
/* Undoes the last step before x->step that needs it, or ends the rollback. */
void executor_undo_next(struct executor *x, int64_t time_ms);
void executor_undo_attempt(struct executor *x);
void executor_undo_over(struct executor *x, const struct executor_event *event);
void executor_undo_failed(struct executor *x, int64_t time_ms,
                          const struct executor_result *result);
/* The last step before x->step that may have changed the host and is not dealt with yet. */
bool executor_undo_find(const struct executor *x, uint32_t *ret_step);
/* Remembers the first step that could not be undone, for the end's message. */
void executor_undo_count(struct executor *x, const char *what);
