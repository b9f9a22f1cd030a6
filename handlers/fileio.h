/*
 * fileio: one file, its bytes read, compared, and replaced as a whole or not at all.
 *
 * Threading: no shared state; blocking, so for the thread pool. I/O: files.
 */
#pragma once

#include "common/base/buf.h"
#include "common/base/cleanup.h"
#include "common/base/error.h"
#include "handlers/file_meta.h"

#include <limits.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { FILE_DIGEST_TEXT = 65 };

/* A file's place: its folder, opened, and its name in it. */
struct file_place {
    int dir_fd; /* -1: not open */
    char name[NAME_MAX + 1];
    char path[PATH_MAX]; /* for messages */
};
#define FILE_PLACE_INIT ((struct file_place){.dir_fd = -1})

/* ERR_NOT_FOUND names the folder that does not exist. */
enum error_code file_place_open(const char *path, struct file_place *ret_place,
                                struct error *err) MUST_CHECK;
void file_place_close(struct file_place *place);
#define AUTO_PLACE __attribute__((cleanup(file_place_close)))

/* The SHA-256 of all of a file, from its beginning, in hexadecimal. */
enum error_code file_digest(int fd, char ret_digest[FILE_DIGEST_TEXT],
                            struct error *err) MUST_CHECK;
/* The same, until *stop becomes true: ERR_CANCELLED. */
enum error_code file_digest_until(int fd, const atomic_bool *stop,
                                  char ret_digest[FILE_DIGEST_TEXT], struct error *err) MUST_CHECK;
enum error_code data_digest(const char *data, size_t len, char ret_digest[FILE_DIGEST_TEXT],
                            struct error *err) MUST_CHECK;
/* Whether a file holds exactly these bytes. */
enum error_code file_holds(int fd, const char *data, size_t len, bool *ret_same,
                           struct error *err) MUST_CHECK;

/* Appends all that a file holds, from its beginning. A file that has more than `max` bytes is
 * ERR_BUSY: it was smaller when it was looked at. */
enum error_code file_read(int fd, size_t max, struct buf *b, struct error *err) MUST_CHECK;

/* Where the new bytes come from: a file of at most `len` bytes, from its beginning, or, with fd -1,
 * memory. A file that has more, since somebody writes to it, is ERR_BUSY. Where it is large, `stop`
 * cuts the copying off when it becomes true: ERR_CANCELLED; NULL: it is not cut off. */
struct file_source {
    int fd;
    const char *data;
    size_t len;
    const atomic_bool *stop;
};

/* Puts a new file in place of the one at `place`, or where there was none; durable when it returns.
 * The bytes are gathered under `temp_name` in the same folder; a file of that name that was left
 * there is removed first. On failure the old file is untouched and nothing is left. */
enum error_code file_replace(const struct file_place *place, const char *temp_name,
                             const struct file_source *source, const struct file_meta *meta,
                             struct error *err) MUST_CHECK;
/* The parts of it: the new file beside the old one, complete and durable, which the caller renames
 * or removes; and putting it in its place, durably. */
enum error_code file_stage(const struct file_place *place, const char *temp_name,
                           const struct file_source *source, const struct file_meta *meta,
                           struct error *err) MUST_CHECK;
enum error_code file_put(const struct file_place *place, const char *temp_name,
                         struct error *err) MUST_CHECK;
/* What was put in its place, or removed, is so after a power cut too. */
enum error_code file_place_sync(const struct file_place *place, struct error *err) MUST_CHECK;
/* Removes the file, durably. One that is not there is fine. */
enum error_code file_remove(const struct file_place *place, struct error *err) MUST_CHECK;
