/*
 * carrier_process: a carrier whose sockets another process has. That process is this program again
 * (see network.h), without privileges and believed nothing: what comes from it is checked, and when
 * it breaks the rules, hangs or dies it is ended and started anew, after a pause that grows.
 *
 * Threading: the loop's thread. I/O: starts the process, and talks to it through a socket pair.
 */
#pragma once

#include "agent/carrier.h"
#include "agent/sandbox.h"
#include "common/base/log.h"

#include <uv.h>

enum {
    CARRIER_RESTART_FIRST_MS = 100,
    CARRIER_RESTART_MAX_MS = 30000,
    CARRIER_LIVED_MS = 60 * 1000, /* one that lived so long is started again at once */
    CARRIER_PATIENCE_MS = 10000,
    CARRIER_END_MS = 2000 /* for it to end when it is not wanted any more */
};

struct carrier_process_config {
    uv_loop_t *loop;
    const struct sandbox_user *user; /* NULL: it stays the one that this process has; copied */
    uint32_t files;                  /* descriptors that it may have */
    enum log_format log_format;
    enum log_level log_level;
    int64_t patience_ms; /* with an answer that is overdue; 0: CARRIER_PATIENCE_MS */
};

/* Starts the process. Errors: those of starting a program. After a failure the loop has to be run
 * once more before it can be closed. */
enum error_code carrier_process_new(const struct carrier_process_config *config,
                                    struct carrier **ret_carrier, struct error *err) MUST_CHECK;
/* The process; 0: there is none at the moment. For tests. */
int carrier_process_pid(const struct carrier *c);
