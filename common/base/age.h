/*
 * age: what time it is for whoever removes what has become old.
 *
 * A wall clock that jumps ahead makes everything old at once, and what is removed then is gone. So
 * a clock that is more than a day ahead of what is known of it (it has run for so long since it was
 * last believed) is not believed before it has said so for a day, in which somebody may put it
 * right. One that goes back is believed at once: it only keeps things longer.
 *
 * Threading: one thread at a time. I/O: none.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum { AGE_AHEAD_MS = 24 * 3600 * 1000, AGE_DOUBT_MS = 24 * 3600 * 1000 };

struct age {
    int64_t wall_ms, mono_ms; /* the two clocks when the wall clock was last believed */
    int64_t doubted_since_ms; /* on the monotonic clock */
    bool doubted;
};

/* `last_ms`: when, by the wall clock, something was last written; 0: never. */
void age_init(struct age *a, int64_t last_ms, int64_t wall_ms, int64_t mono_ms);
/* The time to compare with. *ret_doubted: the wall clock is ahead, and not believed yet. */
int64_t age_now(struct age *a, int64_t wall_ms, int64_t mono_ms, bool *ret_doubted);
