/*
 * pool: many jobs, some of them at a time, each on a thread of its own, and what becomes of them as
 * it happens.
 *
 * Threading: pool_run's thread gets the news; jobs run on others. I/O: none of its own.
 */
#pragma once

#include "common/base/error.h"
#include "orchestrator/cli/install/job.h"

#include <pthread.h>
#include <stddef.h>

enum { POOL_PARALLEL_DEFAULT = 16, POOL_PARALLEL_MAX = 256 };

struct pool_view {
    const struct job *job;
    enum job_stage stage;
};

struct pool_listener {
    void *ctx;
    /* A job has ended: it is the listener's to read from now on. */
    void (*ended)(void *ctx, const struct job *job);
    /* Something has changed: the jobs under way, and how many are left. At most every
     * POOL_NEWS_MS, and in the end. */
    void (*news)(void *ctx, const struct pool_view *views, size_t count, size_t left);
};
enum { POOL_NEWS_MS = 100 };

/* Runs all of them to their ends; the listener is called on this thread. `hooks.stage` is the
 * pool's own: it is set in *hooks, which all jobs point at. ERR_NO_MEMORY, ERR_IO: no thread can be
 * started, and nothing was done. */
enum error_code pool_run(struct job *jobs, size_t count, size_t parallel, struct job_hooks *hooks,
                         const struct pool_listener *listener, struct error *err) MUST_CHECK;
