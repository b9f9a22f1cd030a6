/*
 * problems: every fault of a document at once, each with its JSON path.
 *
 * Bounded: past PROBLEMS_MAX only the count goes on. Threading: one thread at a time. I/O: none.
 */
#pragma once

#include "common/base/error.h"

#include <stdbool.h>
#include <stddef.h>

enum { PROBLEMS_MAX = 100, PROBLEM_PATH_MAX = 192, PROBLEM_TEXT_MAX = 320 };

struct problem {
    char path[PROBLEM_PATH_MAX];    /* "steps[2].params.duration"; "" for the document itself */
    char message[PROBLEM_TEXT_MAX]; /* what is wrong and what would be right */
};

struct problems {
    struct problem *items; /* owned */
    size_t count;          /* kept */
    size_t total;          /* found, kept or not */
    bool no_memory;        /* one could not be kept for want of memory */
};

/* Adds one; never fails (a problem that cannot be stored is still counted in total). */
void problems_add(struct problems *ps, const char *path, const char *fmt, ...) PRINTF_LIKE(3, 4);
/* ERR_OK when there is none; else ERR_INVALID (ERR_NO_MEMORY) with the first one as message. */
enum error_code problems_check(const struct problems *ps, struct error *err) MUST_CHECK;
void problems_done(struct problems *ps);
