/*
 * artifact: content that the orchestrator stores, as a handler asks for it. Who stands behind this
 * fetches it, goes on where an earlier fetch was cut off, makes sure that its SHA-256 is the one
 * asked for, and may keep it for the next time.
 *
 * Threading: the loop's thread. I/O: whoever stands behind it.
 */
#pragma once

#include "common/base/error.h"
#include "common/plan/artifact.h"

#include <stdint.h>

struct artifact_request; /* one under way */

/* What was asked for, whole and verified. */
struct artifact {
    int fd; /* to read, at its beginning; taken over by `done`, who closes it */
    int64_t size_bytes;
};

struct artifact_wish {
    const char *digest;  /* copied */
    int64_t max_bytes;   /* a larger one is ERR_LIMIT, before any of it is fetched; 0: any */
    const char *rollout; /* which one it is for; copied */
    void *ctx;
    /* So far; `total_bytes` is 0 while it is not known. Of one that is too large it is called, too.
     * May be NULL. */
    void (*progress)(void *ctx, int64_t bytes, int64_t total_bytes);
    /* Once, never before get() returns. `artifact` is NULL when it could not be had, and `err` says
     * why: ERR_NOT_FOUND, ERR_DENIED, ERR_LIMIT and ERR_CORRUPT (it is not what it is said to be)
     * are of no use to try again; ERR_IO, ERR_NO_SPACE, ERR_UNAVAILABLE and others may be. */
    void (*done)(void *ctx, const struct artifact *artifact, const struct error *err);
};

struct artifact_source {
    void *ctx;
    /* Begins; waits for a connection as long as it takes. ERR_NO_MEMORY. */
    enum error_code (*get)(void *ctx, const struct artifact_wish *wish,
                           struct artifact_request **ret_request, struct error *err);
    /* `done` is not called any more. Before `done` only. */
    void (*cancel)(void *ctx, struct artifact_request *request);
};
