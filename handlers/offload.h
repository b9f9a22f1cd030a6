/*
 * offload: work that blocks for an unknown time, on a thread of its own: the resolver's, whose time
 * limits are not ours, would hold up everybody else's work in libuv's pool.
 *
 * Work cannot be cut off; it can be abandoned, after which nothing is heard of it.
 *
 * Threading: the loop's thread, but for `work`. I/O: what the work does.
 */
#pragma once

#include "common/base/error.h"

#include <uv.h>

struct offload;

struct offload_job {
    void (*work)(void *job); /* on the thread */
    void (*done)(void *job); /* on the loop, after work; not when it was abandoned */
    void (*free)(void *job); /* once, last; on either thread */
};

/* Takes ownership of `job` on success only. ERR_UNAVAILABLE: no thread can be had; ERR_NO_MEMORY.
 */
enum error_code offload_start(uv_loop_t *loop, const struct offload_job *what, void *job,
                              struct offload **ret_offload, struct error *err) MUST_CHECK;
/* Only before `done`. The loop is free of it in its next round. */
void offload_abandon(struct offload *o);
