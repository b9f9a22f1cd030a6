/*
 * executor_internal: what the parts of the executor share: executor.c (going forward),
 * executor_undo.c (undoing), executor_replay.c (after a restart).
 */
#pragma once

#include "agent/executor.h"

enum phase {
    PHASE_NEW,
    PHASE_PREPARING,
    PHASE_EXECUTING,
    PHASE_WAITING, /* for the next attempt */
    PHASE_UNDOING,
    PHASE_UNDO_WAITING,
    PHASE_ENDED,
    PHASE_ROLLED_BACK
};

/* Why the operation under way was asked to end. */
enum stop { STOP_NONE, STOP_TIMEOUT, STOP_CANCEL };

/* The longest chain that one event causes: a cancelled wait whose execution is undone, with nothing
 * to undo (TIMER_STOP, step ended, ended, rollback started, rolled back, FINISHED), and room. */
enum { QUEUE_MAX = 8 };

struct track {
    enum step_state state;
    int32_t attempt;     /* number of the last one */
    int32_t failures;    /* attempts that failed and were to be followed by another */
    int32_t interrupted; /* attempts that the agent's death cut off */
    bool open;           /* an attempt began, and its end is not recorded */
    bool executed;       /* the host may have been changed: part of a rollback */
    bool captured;
    bool undone; /* recorded as rolled back, or as impossible to roll back */
};

struct executor {
    const struct plan_step *steps;
    uint32_t count;
    bool rollback_on_failure;
    enum phase phase;
    enum stop stop;
    bool cancelled; /* no further step begins */
    bool rollback;  /* undo once it has ended */
    bool began, ended, undo_began, undo_wanted;
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

/* ---- executor.c ------------------------------------------------------------------------------ */

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
/* Begins step x->step, or ends the execution. */
void executor_forward(struct executor *x, int64_t time_ms);
void executor_attempt_begin(struct executor *x, int64_t time_ms, const char *message);
void executor_attempt_over(const struct executor *x, struct track *t);
/* Records the step's end; step_message says why. */
void executor_step_end(struct executor *x, int64_t time_ms, enum step_state state,
                       const struct executor_result *result);
/* The step has failed and is on record as such: the execution goes on or ends by it. */
void executor_step_failed(struct executor *x, int64_t time_ms);
/* The execution goes on when the step fails. */
bool executor_tolerates(const struct plan_step *step);

/* ---- executor_undo.c ------------------------------------------------------------------------- */

void executor_undo_begin(struct executor *x, int64_t time_ms);
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
