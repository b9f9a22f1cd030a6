/*
 * timers: many deadlines, one clock. A binary heap over entries that the caller embeds; arming,
 * disarming and expiring are O(log n). Pure: time comes in as a number, so a simulation can own it.
 *
 * Threading: one thread at a time. I/O: none.
 */
#pragma once

#include "common/base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Embedded in what it is for; zero-initialised means not armed. */
struct timer {
    int64_t deadline_ms; /* monotonic */
    size_t slot;         /* 1-based place in the heap; 0: not armed. Owned by timers */
    int kind;            /* the owner's own mark */
    void *owner;         /* the owner's own pointer */
};

struct timers {
    struct timer **heap;
    size_t count, capacity;
};

/* Arms (or moves) a timer. ERR_NO_MEMORY. The timer must stay in place until disarmed or expired.
 */
enum error_code timers_arm(struct timers *ts, struct timer *t, int64_t deadline_ms,
                           struct error *err) MUST_CHECK;
void timers_disarm(struct timers *ts, struct timer *t); /* not armed: nothing */
/* The earliest deadline; false when none is armed. */
bool timers_next(const struct timers *ts, int64_t *ret_deadline_ms);
/* Takes one timer whose deadline is <= now (earliest first), or NULL. */
struct timer *timers_pop(struct timers *ts, int64_t now_ms);
void timers_done(struct timers *ts);
