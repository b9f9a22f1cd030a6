/*
 * handler: what carries out one type of step on the host.
 *
 * A handler has four operations, each of which starts on the loop and ends by calling
 * handler_finish() exactly once, then or later:
 *
 *   prepare   captures what undo needs and changes nothing. Its result's `undo` (a JSON object) and
 *             any files it put into run->undo_dir are made durable before execute begins. It runs
 *             once per step: a retry uses the first capture. When what it is to keep does not fit
 *             into run->room, it keeps nothing and says `no_room`.
 *   execute   makes the change. It may run again after a half-done run when the type is idempotent.
 *   rollback  brings back what prepare captured, also after an execute that was cut off half-way or
 *             never began. It can run again. When what is there is neither what execute left nor
 *             what prepare captured, it changes nothing and says `conflict`, unless run->force.
 *   check     says whether execute would change anything (`changed`) and what: in the message, and
 *             where there is more to see (a diff) as output. It changes nothing, keeps nothing, and
 *             is safe at any time. What cannot be told fails. Where an earlier step of the plan
 *             would change something (run->depends), what is there now is not what execute would
 *             find.
 *
 * cancel() asks a running operation to end early; it still finishes through handler_finish (outcome
 * HANDLER_CANCELLED). Nothing that it started may outlive it.
 *
 * A handler keeps its state in run->state, never in globals: many runs are under way at once.
 *
 * Threading: called on the loop's thread; blocking work goes to libuv's thread pool. I/O: yes.
 */
#pragma once

#include "common/base/error.h"
#include "handlers/artifact.h"
#include "handlers/catalog.h"
#include "handlers/reboot_need.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

enum handler_operation { HANDLER_PREPARE, HANDLER_EXECUTE, HANDLER_ROLLBACK, HANDLER_CHECK };
enum handler_outcome { HANDLER_OK, HANDLER_FAILED, HANDLER_CANCELLED };

enum { HANDLER_MESSAGE_MAX = 1024, HANDLER_UNDO_MAX = 1024 * 1024 };

struct handler_result {
    enum handler_outcome outcome;
    bool changed;    /* execute: the host is different from before; check: it would be */
    bool retryable;  /* HANDLER_FAILED: another attempt may succeed */
    bool conflict;   /* rollback, HANDLER_FAILED: somebody else has changed it since */
    bool no_room;    /* prepare, HANDLER_FAILED: what it would keep does not fit */
    bool reboot;     /* execute, HANDLER_OK: not done yet. The server is to be rebooted, and then
                      * execute runs again, with one more of run->reboots */
    int64_t away_ms; /* reboot: so long the server may be away; 0: as usual */
    bool has_exit_code;
    int64_t exit_code;
    char message[HANDLER_MESSAGE_MAX]; /* why it failed, or a line about what was done */
    char *undo;    /* prepare: JSON object, mem_ memory, taken over by handler_finish; NULL: {} */
    char *outputs; /* execute: a set of values as JSON, for later steps; the same; NULL: none */
};

/* What every run on this host shares; borrowed for the run. */
struct handler_host {
    uv_loop_t *loop;
    const char *server_id;
    const char *installroot;                 /* package handlers act below it; NULL: / */
    const char *yum_program;                 /* NULL: dnf, else yum, as found in PATH */
    int64_t kill_grace_ms;                   /* between TERM and KILL */
    const struct artifact_source *artifacts; /* NULL: there is none to be had */
    const struct reboot_need *reboot_need;   /* NULL: it is not kept */
};

/* How much may be kept for undo on this host. */
struct handler_room {
    int64_t used_bytes;
    int64_t max_bytes; /* 0: no limit */
};

struct handler;

/* One operation under way. Zeroed and filled in by the caller, who owns it until `done` returns. */
struct handler_run {
    const struct handler_host *host;
    const struct handler *handler;
    enum handler_operation operation;
    const char *rollout;      /* for the environment of what is started: KITSUNE_ROLLOUT */
    const char *step;         /* the step's name: KITSUNE_STEP */
    int64_t attempt;          /* KITSUNE_ATTEMPT */
    int64_t reboots;          /* execute: so often the server was rebooted for this step so far */
    const void *params;       /* decoded by handler->type->params */
    const char *undo;         /* rollback, execute: what prepare captured; "{}" when nothing */
    const char *undo_dir;     /* exists, 0700, this step's own; prepare may put files there */
    struct handler_room room; /* prepare */
    bool secret;              /* params have secrets: no diff, sum or value of them is told */
    bool force;               /* rollback: also over what somebody else has changed */
    int32_t depends; /* check: the first earlier step, from 0, that would change something */
    const char *depends_name; /* its name; NULL: there is none */
    /* What the step prints; any bytes. */
    void (*output)(struct handler_run *run, const char *data, size_t len);
    /* Called once; the run may be freed in it. `result` is borrowed for the call. */
    void (*done)(struct handler_run *run, const struct handler_result *result);
    void *ctx;   /* the caller's */
    void *state; /* the handler's */
    bool finished;
};

struct handler {
    const struct step_type *type;
    void (*prepare)(struct handler_run *run);
    void (*execute)(struct handler_run *run);
    void (*rollback)(struct handler_run *run);
    void (*check)(struct handler_run *run);
    void (*cancel)(struct handler_run *run); /* NULL: its operations are over at once */
};

/* The implementation of a step type; NULL when there is none. */
const struct handler *handler_find(const char *type);

/* Starts run->operation. Always ends in run->done, perhaps before this returns. */
void handler_start(struct handler_run *run);
/* Asks it to end early; nothing when it has ended. */
void handler_cancel(struct handler_run *run);

/* For handlers: ends the run. Takes result->undo over. Asserts that it is called once. */
void handler_finish(struct handler_run *run, struct handler_result *result);
/* Shorthands for the common ends. */
void handler_succeed(struct handler_run *run, bool changed, const char *fmt, ...) PRINTF_LIKE(3, 4);
void handler_fail(struct handler_run *run, bool retryable, const char *fmt, ...) PRINTF_LIKE(3, 4);

/* The mark (process.h) of the programs that a step starts on this server: the same for all its
 * operations and attempts, so that a restarted agent can end what an earlier one left behind. */
enum { HANDLER_MARK_MAX = 320 };
void handler_mark(const char *server_id, const char *rollout, const char *step,
                  char ret_mark[HANDLER_MARK_MAX]);
