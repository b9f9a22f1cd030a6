/*
 * artifact_cache: the files in which artifacts are kept on a server: DATA/artifacts/HEX, whole
 * ones, named by their SHA-256, and HEX.part, what has come of one so far. All together are
 * bounded; what was used least recently goes first, but nothing that is held.
 *
 * A part is what was written before the process ended, however it ended. What a power cut has left
 * of it may be something else, so nothing counts before its SHA-256 was looked at, also of a file
 * that was whole once.
 *
 * Threading: any thread; one digest is on one thread at a time. All but hold and release block.
 * I/O: files.
 */
#pragma once

#include "common/base/error.h"
#include "common/plan/artifact.h"

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#define ARTIFACT_CACHE_FOLDER "artifacts"
#define ARTIFACT_CACHE_MAX_BYTES_DEFAULT (INT64_C(2) * 1024 * 1024 * 1024)

struct artifact_cache;

/* Makes the folder, 0700. `max_bytes`: 0 is no bound. */
enum error_code artifact_cache_open(const char *data_dir, int64_t max_bytes,
                                    struct artifact_cache **ret_cache,
                                    struct error *err) MUST_CHECK;
void artifact_cache_close(struct artifact_cache *c); /* NULL is fine */

/* What is held is not removed, until it is released as often. ERR_NO_MEMORY. */
enum error_code artifact_cache_hold(struct artifact_cache *c, const char *digest,
                                    struct error *err) MUST_CHECK;
void artifact_cache_release(struct artifact_cache *c, const char *digest);

struct artifact_file {
    int fd; /* at its beginning; -1: none */
    int64_t size_bytes;
};

/* Opens the whole one for reading, verified. Without one fd is -1; one that is damaged is removed,
 * *ret_damaged. ERR_CANCELLED: *stop became true meanwhile. */
enum error_code artifact_cache_find(struct artifact_cache *c, const char *digest,
                                    const atomic_bool *stop, struct artifact_file *ret_file,
                                    bool *ret_damaged, struct error *err) MUST_CHECK;
/* Opens what has come so far for writing, empty where there is nothing. */
enum error_code artifact_cache_part(struct artifact_cache *c, const char *digest,
                                    struct artifact_file *ret_part, struct error *err) MUST_CHECK;
/* Writes at the part's end, size_bytes, which grows by it. On a full disk others are removed. */
enum error_code artifact_cache_append(struct artifact_cache *c, struct artifact_file *part,
                                      const void *data, size_t len, struct error *err) MUST_CHECK;
/* Begins the part anew. */
enum error_code artifact_cache_empty(struct artifact_cache *c, struct artifact_file *part,
                                     struct error *err) MUST_CHECK;
/* Makes the part durable, verifies it and makes it the whole one. ERR_CORRUPT: it is something
 * else; it is empty now. ERR_CANCELLED as above. */
enum error_code artifact_cache_finish(struct artifact_cache *c, const char *digest,
                                      struct artifact_file *part, const atomic_bool *stop,
                                      struct error *err) MUST_CHECK;
/* Removes what there is no room for, with so many bytes more to come. What cannot be removed stays.
 */
void artifact_cache_trim(struct artifact_cache *c, int64_t coming_bytes);
