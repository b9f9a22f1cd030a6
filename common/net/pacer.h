/*
 * pacer: one deadline on a libuv loop, fair to those whose words are still in a socket.
 *
 * libuv runs timers before it reads sockets. A process that was stopped past a deadline and goes on
 * would therefore act on silence that was none. So when the deadline has passed, everything that
 * can be read is read first (one turn of the loop). And when it is noticed so late that the process
 * cannot have been running, that time is left out of the pacer's clock, with a grace in which the
 * others can make themselves heard: no deadline passes in it.
 *
 * Threading: the loop's thread. I/O: none but the loop and the monotonic clock.
 */
#pragma once

#include "common/base/error.h"

#include <stdint.h>
#include <uv.h>

struct pacer;

struct pacer_config {
    uv_loop_t *loop;
    int64_t late_ms;  /* noticed later than this: the process did not run */
    int64_t grace_ms; /* what is added then to the time left out */
    void (*due)(void *ctx);
    void *ctx;
};

enum error_code pacer_new(const struct pacer_config *config, struct pacer **ret_pacer,
                          struct error *err) MUST_CHECK;
/* Frees it once the loop holds nothing of it any more, then calls `done` (may be NULL). */
void pacer_close(struct pacer *p, void (*done)(void *ctx), void *ctx);

/* The monotonic clock without the time that was left out. Deadlines are of this clock. */
int64_t pacer_now_ms(struct pacer *p);
/* Sets the deadline, or moves it; `due` comes once, from the loop, never from within this. */
void pacer_set(struct pacer *p, int64_t deadline_ms);
void pacer_stop(struct pacer *p);
