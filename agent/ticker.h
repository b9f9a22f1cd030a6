/*
 * ticker: the deadlines of everything on one loop, behind a single pacer (common/net/pacer.h): what
 * has come is looked at before a deadline is acted upon, and time in which the process did not run
 * counts for none.
 *
 * Arming never fails: room for every alarm is made beforehand, by ticker_reserve.
 *
 * Threading: the loop's thread. I/O: none but the loop.
 */
#pragma once

#include "common/base/error.h"
#include "common/base/timers.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

struct ticker;

/* Embedded in what it is for; `fired` and `ctx` are set once, before the first arming. */
struct alarm {
    struct timer timer;
    void (*fired)(void *ctx);
    void *ctx;
};

enum error_code ticker_new(uv_loop_t *loop, struct ticker **ret_ticker,
                           struct error *err) MUST_CHECK;
/* Frees it once the loop holds nothing of it any more, then calls `done` (may be NULL). Alarms that
 * are armed do not fire. */
void ticker_close(struct ticker *t, void (*done)(void *ctx), void *ctx);
/* Makes room for so many alarms more than before. */
enum error_code ticker_reserve(struct ticker *t, size_t alarms, struct error *err) MUST_CHECK;

/* Arms it, or moves it. */
void alarm_set(struct ticker *t, struct alarm *alarm, int64_t delay_ms);
void alarm_stop(struct ticker *t, struct alarm *alarm); /* not armed: nothing */
bool alarm_armed(const struct alarm *alarm);
