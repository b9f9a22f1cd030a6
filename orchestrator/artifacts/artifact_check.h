/*
 * artifact_check: whether stored content is what its name says; for a store that nobody uses.
 *
 * Threading: no shared state; blocking. I/O: reads DIR/artifacts, and changes nothing.
 */
#pragma once

#include "common/base/error.h"

#include <stdint.h>

struct artifact_checked {
    uint64_t count;    /* whole ones that were looked at */
    uint64_t findings; /* of these, that are damaged or cannot be read */
    int64_t bytes;
};

/* Hashes all that is whole and tells of what is not as it should be: the file's name, and what is
 * wrong. Without such a folder there is nothing to look at. ERR_IO, ERR_NO_MEMORY. */
enum error_code artifact_check(const char *dir,
                               void (*found)(void *ctx, const char *name, const char *what),
                               void *ctx, struct artifact_checked *ret_checked,
                               struct error *err) MUST_CHECK;
