/*
 * throttle: how often something has happened for somebody, as for failed authentication from an
 * address: in windows of time, in a table of fixed size.
 *
 * Nobody gets rid of his own count: it stands until its window has ended, whoever else comes. When
 * there is no place left, all who come then share one.
 *
 * Pure: time comes in as a number. Threading: one thread at a time. I/O: none.
 */
#pragma once

#include "common/base/cleanup.h"
#include "common/base/error.h"
#include "common/base/id.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct throttle;

enum {
    THROTTLE_KEY_BUFFER = ID_BUFFER,
    THROTTLE_SETS = 128,
    THROTTLE_WAYS = 8 /* in a set; as many as the two make have a count of their own */
};

struct throttle_config {
    uint32_t limit;    /* that one may have in a window */
    uint32_t tell_max; /* of all together are told one by one in a window */
    int64_t window_ms;
};
enum error_code throttle_new(const struct throttle_config *config, struct throttle **ret_throttle,
                             struct error *err) MUST_CHECK;
void throttle_free(struct throttle *t);
DEFINE_CLEANUP(throttle_free, struct throttle)

/* Whom a peer ("10.0.0.1:51234", "[2001:db8::1]:443") is counted as: its address, of IPv6 the first
 * 64 bits, since who has one of those has them all. */
void throttle_address(const char *peer, char ret_key[THROTTLE_KEY_BUFFER]);

struct throttle_verdict {
    bool over;       /* more than the limit */
    bool tell;       /* to be written down; else it is in a later throttle_untold */
    int64_t wait_ms; /* until the window ends */
};
/* Counts one. */
struct throttle_verdict throttle_note(struct throttle *t, const char *key, int64_t now_ms);

/* What was not told, of the windows that have ended. */
struct throttle_untold {
    uint64_t count; /* 0: nothing */
    uint64_t keys;
    uint64_t most; /* of one key: */
    char key[THROTTLE_KEY_BUFFER];
};
/* Takes it out. `all`: of those that have not ended, too. */
struct throttle_untold throttle_untold(struct throttle *t, int64_t now_ms, bool all);
