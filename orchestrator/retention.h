/*
 * retention: removes rollouts that ended long ago, every now and then.
 *
 * Threading: the loop's thread. I/O: through the journal.
 */
#pragma once

#include "common/base/age.h"
#include "orchestrator/dispatch/dispatcher.h"
#include "orchestrator/journal/journal.h"

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

struct retention {
    uv_timer_t timer;
    struct journal *journal;
    struct dispatcher *dispatcher;
    struct age age; /* of what may be removed; set before retention_start */
    int64_t retain_ms;
    bool clock_doubted;
};

/* Before the loop runs. False: it cannot be set up. */
bool retention_init(struct retention *r, uv_loop_t *loop);
/* From now on; both borrowed until retention_stop. */
void retention_start(struct retention *r, struct journal *journal, struct dispatcher *dispatcher,
                     int64_t retain_ms);
void retention_stop(struct retention *r);
void retention_close(struct retention *r);
