/*
 * server_ranges: many servers' names in a few words: "web-1..web-9, db-1 (10 servers)". Pure.
 */
#pragma once

#include "common/base/buf.h"

#include <stdint.h>

enum { SERVER_RANGES_MAX_BYTES = 400 }; /* of names; what is more is only counted */

/* Zero-initialise. */
struct server_ranges {
    struct buf text;         /* the ranges that are over */
    char *first, *last;      /* of the range that goes on; the same: one server so far */
    int64_t count, in_range; /* servers: all; of the range that goes on */
    int64_t unnamed;         /* servers that had no room */
};

/* In the order in which they are to be told. A failure of memory is the text's. */
void server_ranges_add(struct server_ranges *r, const char *server);
/* Appends them, made harmless, and how many they are when that is not plain. */
void server_ranges_put(const struct server_ranges *r, struct buf *b);
void server_ranges_done(struct server_ranges *r);
