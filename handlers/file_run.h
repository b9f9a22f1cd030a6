/*
 * file_run: an operation that blocks, run on libuv's thread pool. It is over soon, so it is not cut
 * off once begun; but for one that has to do with an artifact, which may be large.
 *
 * Threading: the loop's thread, but for the work. I/O: what the work does.
 */
#pragma once

#include "common/base/buf.h"
#include "handlers/handler.h"

#include <stdatomic.h>

/* On a thread of the pool. `shown` is printed on the loop, afterwards; the run is only read. */
typedef void (*file_work)(const struct handler_run *run, struct handler_result *result,
                          struct buf *shown);

/* Ends in handler_finish. */
void file_run_start(struct handler_run *run, file_work work);
/* The same, once the artifact `name` is there. One of more than `max_bytes` (0: any) is not
 * fetched, and the work begins without it. */
void file_run_start_with(struct handler_run *run, const char *name, int64_t max_bytes,
                         file_work work);
/* For the work of such a run. One that was too large has fd -1, and its size. */
const struct artifact *file_run_artifact(const struct handler_run *run);
/* The same: becomes true when the run is cancelled, for what copies files; the work then fails with
 * ERR_CANCELLED. */
const atomic_bool *file_run_stop(const struct handler_run *run);
/* handler.cancel of a run that was started so. */
void file_run_cancel(struct handler_run *run);
