/*
 * artifact_files: the files of one artifact; see artifact_store.h for which there are. Each
 * function leaves what was there before when it fails, unless it says otherwise.
 *
 * Threading: no shared state; blocking, so for the thread pool. Nobody else may be at work on the
 * same artifact. I/O: files.
 */
#pragma once

#include "common/base/error.h"
#include "common/base/id.h"
#include "orchestrator/artifacts/artifact_store.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What is kept beside the content. */
struct artifact_record {
    char name[ARTIFACT_NAME_MAX + 1]; /* "": none */
    char by[ID_BUFFER];               /* "": not known */
    int64_t size_bytes;
    int64_t created_ms;
};

/* What is found of one. */
struct artifact_found {
    char digest[ARTIFACT_DIGEST_BUFFER];
    struct artifact_record record; /* of one that is whole without a record: its size alone */
    int64_t offset_bytes;          /* bytes that are there */
    bool whole;
};

/* Opens DIR/artifacts, and makes it when it is not there. Caller owns. */
enum error_code artifact_files_open(const char *dir, int *ret_fd, struct error *err) MUST_CHECK;
/* Tells of all that is there; what belongs to nothing, or to an upload that cannot go on, is
 * removed. `each` gives ERR_OK to go on. */
enum error_code artifact_files_scan(int dir_fd,
                                    enum error_code (*each)(void *ctx,
                                                            const struct artifact_found *found,
                                                            struct error *err),
                                    void *ctx, struct error *err) MUST_CHECK;

/* ERR_NO_SPACE: fewer than `free_min` bytes would be free after `need` more. */
enum error_code artifact_files_room(int dir_fd, int64_t need, int64_t free_min,
                                    struct error *err) MUST_CHECK;
/* The record, durably, and an empty upload. */
enum error_code artifact_files_begin(int dir_fd, const char *digest,
                                     const struct artifact_record *record,
                                     struct error *err) MUST_CHECK;
/* Adds to an upload that has `offset` bytes. ERR_NO_SPACE, ERR_IO. */
enum error_code artifact_files_append(int dir_fd, const char *digest, int64_t offset,
                                      const char *data, size_t len, struct error *err) MUST_CHECK;
/* Opens an upload's content, or that of a whole one, to read. ERR_NOT_FOUND. Caller owns. */
enum error_code artifact_files_read(int dir_fd, const char *digest, bool whole, int *ret_fd,
                                    struct error *err) MUST_CHECK;
/* Makes an upload a whole one, durably. When it fails nothing may be trusted, and the caller
 * removes all of it. */
enum error_code artifact_files_keep(int dir_fd, const char *digest, struct error *err) MUST_CHECK;
/* Removes all of it, durably, the content first. What is not there is fine. */
enum error_code artifact_files_remove(int dir_fd, const char *digest, struct error *err) MUST_CHECK;
