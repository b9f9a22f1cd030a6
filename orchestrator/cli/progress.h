/*
 * progress: what a person who watches a rollout is told: the counts, and a line for each event that
 * matters. Pure: a picture of the rollout and then its events go in, text comes out.
 *
 * Threading: one thread at a time. I/O: none.
 */
#pragma once

#include "common/base/buf.h"
#include "common/base/cleanup.h"
#include "orchestrator/api/api_doc.h"
#include "orchestrator/cli/render.h"

#include <stdbool.h>
#include <stdint.h>

struct progress;

struct progress_view {
    const char *id, *name; /* name: NULL: none */
    enum rollout_state state;
    bool check;
    int64_t servers;
    int64_t running;          /* their agents are at work */
    struct api_counts counts; /* in_flight: not kept up */
    int64_t batch, batches;   /* batch 0: none yet */
    int64_t batch_servers;    /* 0: not known */
    int64_t undo;             /* servers to undo; 0: not known, or none */
    int64_t undone_before;    /* undone, or given up, before this rollback */
};

/* From the rollout with its running servers among the executions. ERR_NO_MEMORY. Caller owns. */
enum error_code progress_new(const struct api_rollout *rollout, struct progress **ret_progress,
                             struct error *err) MUST_CHECK;
/* Adds servers that were running in the picture (further pages of it). */
enum error_code progress_add_running(struct progress *p, const struct array *executions,
                                     struct error *err) MUST_CHECK;
void progress_free(struct progress *p); /* NULL is fine */
DEFINE_CLEANUP(progress_free, struct progress)

/* Takes an event in. When it matters, a line for people (no time, no newline, harmless) is appended
 * to `line` and *ret_ink is set. ERR_NO_MEMORY. */
enum error_code progress_apply(struct progress *p, const struct api_event *event, struct buf *line,
                               enum ink *ret_ink, struct error *err) MUST_CHECK;
/* Borrowed until the next call. */
const struct progress_view *progress_view(const struct progress *p);
