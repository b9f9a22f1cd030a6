/*
 * shown: how far each step's output has been shown, so that what the journal keeps and what comes
 * live join without a gap and without a repeat. Pure.
 *
 * Threading: one thread at a time. I/O: none.
 */
#pragma once

#include "common/base/cleanup.h"
#include "common/base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct shown;

struct shown *shown_new(void);        /* NULL when memory is out. Caller owns. */
void shown_free(struct shown *shown); /* NULL is fine */
DEFINE_CLEANUP(shown_free, struct shown)

/* An attempt at a step on a server; texts borrowed for the call. */
struct shown_key {
    const char *server, *step;
    int64_t attempt;
};

/* What is to be shown of a text: bytes `from`..len. */
struct shown_part {
    size_t from;
    bool again; /* some was missed and cannot be fitted in: the whole is shown again */
};

/* A live piece of `len` bytes: `offset` is its place in all that the attempt printed.
 * ERR_NO_MEMORY. */
enum error_code shown_live(struct shown *shown, const struct shown_key *key, int64_t offset,
                           size_t len, struct shown_part *ret_part, struct error *err) MUST_CHECK;
/* The output as kept: `len` bytes, all of it so far, or (`whole` false) head and tail of it. */
enum error_code shown_kept(struct shown *shown, const struct shown_key *key, size_t len, bool whole,
                           struct shown_part *ret_part, struct error *err) MUST_CHECK;
