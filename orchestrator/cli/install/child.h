/*
 * child: other programs that are started here: ssh for its configuration and its jumps.
 *
 * Threading: no shared state; descriptors are closed on exec. I/O: processes.
 */
#pragma once

#include "common/base/buf.h"
#include "common/base/error.h"

#include <sys/types.h>

/* Runs it to its end; *ret_status as wait(2) gives it. What it prints is appended to `out`, and
 * what it complains about to `complaint` (may be NULL: to where this program's goes).
 * ERR_NOT_FOUND: there is no such program; ERR_IO. */
enum error_code child_run(const char *const argv[], struct buf *out, struct buf *complaint,
                          int *ret_status, struct error *err) MUST_CHECK;
/* Starts it with a socket for standard input and output; the caller owns the descriptor. */
enum error_code child_connect(const char *const argv[], int *ret_fd, pid_t *ret_pid,
                              struct error *err) MUST_CHECK;
/* Ends it and waits for it. */
void child_end(pid_t pid);
