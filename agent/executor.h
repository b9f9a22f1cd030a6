/*
 * executor: the execution of one rollout on one server as pure sequencing. An event goes in,
 * actions come out.
 *
 *     executor_step(x, &event);                    what happened, with its time
 *     while (executor_next(x, &action)) ...        what to do about it, in this order
 *
 * All actions are taken before the next event goes in. Where an action says `durable_first`, what
 * was recorded so far (and a capture) is on disk before it is carried out.
 *
 * Of the operations (prepare, execute, undo) one is under way at a time; each ends in exactly one
 * event. Its time limit comes with it: when that passes, EXECUTOR_TIMER goes in. An operation's
 * limit and a wait (EXECUTOR_TIMER_START) are never under way together.
 *
 * Undoing goes in rounds: each begins with a record, undoes last first every executed step that is
 * not on record as rolled back (by force those before such a step too, once more), and ends with a
 * record. An order for round N is obeyed when fewer
 * than N rounds have begun; while one is under way it waits for its end.
 *
 * A step that is skipped, by what its preparing gives, counts as succeeded; there is nothing of it
 * to undo. A step that succeeded without having changed anything in any of its attempts is not
 * undone.
 *
 * In a check the steps are checked in turn instead: nothing is prepared, executed or undone, and
 * `changed` says that a step would change something. What follows a step that would is looked at in
 * a state that the run would not find, so its check is told (depends); one that fails then is no
 * failure, but depends on that change.
 *
 * A step that wants the server rebooted runs again after it, as the same attempt, with its time
 * limit anew: that it wants so is on record before the reboot is asked for, and that it runs again
 * before it does. A server that does not go down is asked again, and the step fails when that is of
 * no use. When it is back, orders that came meanwhile are waited for, for a while.
 *
 * After a restart: executor_new, executor_replay for every recorded entry, executor_captured for
 * every capture that exists, executor_resume. A step that began and has no recorded end is in
 * doubt; its plan and its type decide whether it is tried again or counted as failed.
 *
 * Threading: an executor belongs to one thread at a time. I/O: none; no clock; it allocates only in
 * executor_new.
 */
#pragma once

#include "common/base/cleanup.h"
#include "common/base/error.h"
#include "common/plan/plan.h"
#include "common/plan/states.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    EXECUTOR_DEFAULT_ATTEMPTS = 3, /* of a step whose type may safely run again */
    EXECUTOR_MAX_INTERRUPTED = 3,  /* deaths of the agent in one step, in preparing or undoing it */
    EXECUTOR_MAX_CONFIRM_RESTARTS = 10, /* so often the wait for the confirmation begins anew */
    EXECUTOR_MAX_REBOOTS = 10,          /* that one step may ask for */
    EXECUTOR_MAX_REBOOT_ASKS = 3,       /* so often a server that stays up is asked to reboot */
    EXECUTOR_REBOOT_WAIT_MS = 10000,    /* before it is asked once more */
    EXECUTOR_REBOOT_AWAY_MS = 600000,   /* so long it may be away when the step does not say */
    EXECUTOR_RETURN_WAIT_MS = 30000,    /* for orders, when it is back */
    EXECUTOR_UNDO_ATTEMPTS = 3,
    EXECUTOR_UNDO_WAIT_MS = 1000,         /* before the second attempt; doubles */
    EXECUTOR_UNDO_TIMEOUT_MIN_MS = 60000, /* an undo gets the step's timeout, at least this */
    EXECUTOR_MESSAGE_MAX = 1536,
    EXECUTOR_NO_STEP = -1
};

/* Why an execution that is not known cannot be undone. */
#define EXECUTOR_NO_RECORD "no record of this rollout on this server"

/* What the sequencing needs to know of a step's type. */
struct executor_traits {
    bool idempotent; /* running it again after a half-done run is right */
    bool instant;    /* done at once, changes nothing: needs no record that it began */
    bool inert;      /* changes nothing, however it ends; what is instant is so, too */
};

struct executor_config {
    const struct plan_step *steps;        /* borrowed until executor_free */
    const struct executor_traits *traits; /* one per step; borrowed for the call */
    size_t count;
    bool rollback_on_failure;
    bool cautious;      /* prepare, too, waits until what was recorded is on disk */
    int64_t confirm_ms; /* 0: no; else success counts only once it is confirmed in this time */
    bool check;
};

enum executor_event_type {
    EXECUTOR_BEGIN,    /* once, first */
    EXECUTOR_PREPARED, /* result */
    EXECUTOR_EXECUTED, /* result */
    EXECUTOR_UNDONE,   /* result */
    EXECUTOR_CHECKED,  /* result */
    EXECUTOR_STAYED,   /* result: the server was not rebooted. Never EXECUTOR_OK */
    EXECUTOR_TIMER,    /* the operation's limit has passed, or the wait is over */
    EXECUTOR_CANCEL,   /* now */
    EXECUTOR_ROLLBACK, /* round, force */
    EXECUTOR_CONFIRMED /* what EXECUTOR_CONFIRM asked for has come */
};

enum executor_outcome { EXECUTOR_OK, EXECUTOR_FAILED, EXECUTOR_STOPPED };

struct executor_result {
    enum executor_outcome outcome;
    bool changed;   /* executed; checked: it would be */
    bool skipped;   /* prepared, checked; EXECUTOR_OK: the step is not to be carried out here */
    bool reboot;    /* executed, EXECUTOR_OK: once more, after a reboot of the server */
    bool retryable; /* EXECUTOR_FAILED */
    bool conflict;  /* undone, EXECUTOR_FAILED: refused, since somebody else has changed it */
    bool has_exit_code;
    int64_t exit_code;
    int64_t duration_ms;
    int64_t away_ms;     /* reboot: so long the server may be away; 0: as usual */
    const char *message; /* NULL: none; borrowed for the call */
};

struct executor_event {
    enum executor_event_type type;
    int64_t time_ms; /* wall clock */
    bool now;        /* cancel: stop the running step too */
    int64_t round;   /* rollback: see wire_rollback */
    bool force;      /* rollback */
    struct executor_result result;
};

enum executor_action_type {
    EXECUTOR_RECORD,  /* record: an entry of journal and report */
    EXECUTOR_PREPARE, /* step, attempt, timeout_ms, durable_first */
    EXECUTOR_EXECUTE, /* step, attempt, timeout_ms, durable_first, reboots */
    EXECUTOR_UNDO,    /* step, attempt, timeout_ms, durable_first, force */
    EXECUTOR_CHECK,   /* step, attempt, timeout_ms, durable_first, depends */
    EXECUTOR_REBOOT, /* durable_first: reboot the server; as operations do, it ends in one event, or
                      * with the server */
    EXECUTOR_STOP,   /* ask the operation under way to end early */
    EXECUTOR_TIMER_START, /* delay_ms */
    EXECUTOR_TIMER_STOP,
    /* delay_ms, durable_first, fresh: what was recorded last (the end of the steps, or that the
     * server was to be rebooted) is to be acknowledged, over a connection that is made from now on
     * when `fresh`, else over one of this agent: EXECUTOR_CONFIRMED. A wait of delay_ms begins with
     * it. */
    EXECUTOR_CONFIRM,
    EXECUTOR_FINISHED /* it ended, and nothing is under way; a rollback may still come */
};

/* An entry, as the journal keeps it and the report carries it. */
struct executor_record {
    enum report_type type;
    int64_t time_ms;
    int32_t step; /* EXECUTOR_NO_STEP: about the execution as a whole */
    int64_t attempt;
    int state; /* enum step_state for step entries, enum execution_state for the others */
    bool undoing;
    bool force;
    bool conflict;
    bool changed;
    bool has_exit_code;
    int64_t exit_code;
    int64_t duration_ms;
    int64_t away_ms;
    const char *message; /* NULL: none; borrowed until the next executor_step */
};

struct executor_action {
    enum executor_action_type type;
    uint32_t step;
    int64_t attempt;
    int64_t timeout_ms;
    int64_t delay_ms;
    int64_t reboots; /* so often the server was rebooted for the step */
    bool durable_first;
    bool force;
    bool fresh;
    int32_t depends; /* the first step before it that would change something; EXECUTOR_NO_STEP */
    struct executor_record record;
};

struct executor;

/* A count of 0 is right: an execution of which only the end is known. Caller owns. */
enum error_code executor_new(const struct executor_config *config, struct executor **ret_executor,
                             struct error *err) MUST_CHECK;
void executor_free(struct executor *x); /* NULL is fine */
DEFINE_CLEANUP(executor_free, struct executor)

/* Never fails. An event that does not fit the present state (a cancel of what has ended, an order
 * to undo that was obeyed already) changes nothing. */
void executor_step(struct executor *x, const struct executor_event *event);
/* Takes the next action; false when there is none. */
bool executor_next(struct executor *x, struct executor_action *ret_action);

/* Takes in an entry recorded earlier, in order. ERR_CORRUPT: it names a step that does not exist or
 * has no place after those before it. */
enum error_code executor_replay(struct executor *x, const struct executor_record *record,
                                struct error *err) MUST_CHECK;
/* The step's first capture exists: it is not prepared again. */
void executor_captured(struct executor *x, uint32_t step);
/* After the replay, before executor_resume: the step that may have been under way when the
 * recording stopped, so that what it started can be ended. False when there is none. */
bool executor_interrupted(const struct executor *x, uint32_t *ret_step);
/* Goes on after the replay. `restarts`: how often an agent began to go on with it since the last
 * entry, this time included; it is durable before what may have killed the agent begins again.
 * `rebooted`: the server was, since it was recorded last that a step wants it so. Gives
 * EXECUTOR_FINISHED when nothing is left to do. */
void executor_resume(struct executor *x, int64_t time_ms, int64_t restarts, bool rebooted);
