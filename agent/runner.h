/*
 * runner: carries out the operations of one agent's steps by their handlers, one at a time. It
 * decodes the step's params (from the same table as the orchestrator did), keeps head and tail of
 * what the step prints, and passes it on live. It alone knows secrets (secrets.h): it fills them
 * into the params immediately before the handler begins, and takes them out of all that the handler
 * says.
 *
 * Threading: the loop's thread. I/O: what the handlers do.
 */
#pragma once

#include "agent/ticker.h"
#include "common/base/error.h"
#include "common/plan/plan.h"
#include "handlers/handler.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct runner;

/* Live output: at most RUNNER_LIVE_MAX bytes each RUNNER_LIVE_MS; what is more is left out of it,
 * and only the offset tells. */
enum { RUNNER_LIVE_MAX = 16 * 1024, RUNNER_LIVE_MS = 100 };

/* One operation; borrowed until it is over. */
struct runner_operation {
    enum handler_operation operation;
    const char *rollout;
    const struct plan_step *step;
    int64_t attempt;
    int64_t reboots;          /* see handler_run */
    const char *undo;         /* what prepare captured; NULL: nothing */
    const char *undo_dir;     /* the step's own folder; NULL: of a type that changes nothing */
    struct handler_room room; /* prepare */
    bool force;               /* rollback */
    int32_t depends;          /* check: see handler_run; -1: none */
    const char *depends_name; /* of that step */
    const char *secrets;      /* where the plan's are, see plan.h; NULL: it has none */
    const char *planned;      /* step->params_json as in the plan; needed where there are secrets */
    const char *values;       /* what texts with secrets name beside; NULL: nothing */
};

struct runner_config {
    const struct handler_host *host; /* borrowed */
    struct ticker *ticker;           /* borrowed; one alarm is reserved by the caller */
    void *ctx;
    /* The operation is over; another may be started at once. `output`: NULL when it printed
     * nothing. Both are borrowed for the call. */
    void (*done)(void *ctx, const struct handler_result *result, const char *output);
    void (*live)(void *ctx, int64_t offset, const char *text);
};

enum error_code runner_new(const struct runner_config *config, struct runner **ret_runner,
                           struct error *err) MUST_CHECK;
/* Nothing may be under way. NULL is fine. */
void runner_free(struct runner *r);
/* Always ends in `done`, perhaps before this returns; also when there is no such handler, when the
 * params are wrong, or memory is out. */
void runner_start(struct runner *r, const struct runner_operation *operation);
/* Asks the operation under way to end early; nothing when there is none. */
void runner_cancel(struct runner *r);
/* Ends the programs of a step that an earlier agent left behind, and removes their files. */
void runner_clean(struct runner *r, const char *rollout, const char *step);
bool runner_busy(const struct runner *r);
