/*
 * diff: two texts compared line by line, shown as `diff -u` does. Pure.
 *
 * Threading: no shared state. I/O: none.
 */
#pragma once

#include "common/base/buf.h"
#include "common/base/error.h"

#include <stddef.h>

/* Texts that differ in more lines than this, one by one, are shown as replaced from the first line
 * that differs to the last: to find out what stayed between would take too long. */
enum { DIFF_EDITS_MAX = 1000, DIFF_CONTEXT = 3 };

struct diff_text {
    const char *name; /* in the head; NULL: there is no such file */
    const char *data;
    size_t len;
};
struct diff_counts {
    size_t added, removed; /* lines */
};

/* Appends what turns `from` into `to`; nothing when they are equal. ERR_NO_MEMORY, ERR_LIMIT. */
enum error_code diff_unified(struct buf *b, const struct diff_text *from,
                             const struct diff_text *to, struct diff_counts *ret_counts,
                             struct error *err) MUST_CHECK;
