/*
 * file_run: an operation that blocks, run on libuv's thread pool. It is over soon, so it is not cut
 * off once begun.
 *
 * Threading: the loop's thread, but for the work. I/O: what the work does.
 */
#pragma once

#include "common/base/buf.h"
#include "handlers/handler.h"

/* On a thread of the pool. `shown` is printed on the loop, afterwards; the run is only read. */
typedef void (*file_work)(const struct handler_run *run, struct handler_result *result,
                          struct buf *shown);

/* Ends in handler_finish. */
void file_run_start(struct handler_run *run, file_work work);
/* handler.cancel of a run that was started so. */
void file_run_cancel(struct handler_run *run);
