/*
 * fileio: one file, replaced as a whole or not at all, and what is known of it captured and given
 * back: mode, owner, times and extended attributes (among them ACLs, SELinux labels, capabilities).
 *
 * Threading: no shared state; blocking, so for the thread pool. I/O: files.
 */
#pragma once

#include "common/base/array.h"
#include "common/base/buf.h"
#include "common/base/cleanup.h"
#include "common/base/error.h"
#include "common/json/json.h"

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { FILE_DIGEST_TEXT = 65, FILE_KEEP = -1 };

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

struct file_attribute {
    char *name;
    char *value; /* hexadecimal */
};

/* Numbers are FILE_KEEP where a replacement leaves what the new file has from its making. */
struct file_meta {
    int64_t mode, uid, gid;
    int64_t mtime_s, mtime_ns;
    int64_t size;
    struct array attributes; /* struct file_attribute */
};
#define FILE_META_INIT                                                                             \
    ((struct file_meta){.mode = FILE_KEEP,                                                         \
                        .uid = FILE_KEEP,                                                          \
                        .gid = FILE_KEEP,                                                          \
                        .mtime_s = FILE_KEEP,                                                      \
                        .mtime_ns = FILE_KEEP})
extern const struct json_table file_meta_table;

/* Released with json_release and the table above. */
enum error_code file_meta_read(int fd, struct file_meta *ret_meta, struct error *err) MUST_CHECK;
bool file_meta_equal(const struct file_meta *a, const struct file_meta *b);
/* Forgets an attribute that stands for the present content alone. */
void file_meta_drop(struct file_meta *meta, const char *name);

/* The SHA-256 of all of a file, from its beginning, in hexadecimal. */
enum error_code file_digest(int fd, char ret_digest[FILE_DIGEST_TEXT],
                            struct error *err) MUST_CHECK;
enum error_code data_digest(const char *data, size_t len, char ret_digest[FILE_DIGEST_TEXT],
                            struct error *err) MUST_CHECK;
/* Whether a file holds exactly these bytes. */
enum error_code file_holds(int fd, const char *data, size_t len, bool *ret_same,
                           struct error *err) MUST_CHECK;

/* Appends all that a file holds, from its beginning. A file that has more than `max` bytes is
 * ERR_BUSY: it was smaller when it was looked at. */
enum error_code file_read(int fd, size_t max, struct buf *b, struct error *err) MUST_CHECK;

/* Where the new bytes come from: a file of at most `len` bytes, from its beginning, or, with fd -1,
 * memory. A file that has more, since somebody writes to it, is ERR_BUSY. */
struct file_source {
    int fd;
    const char *data;
    size_t len;
};

/* Puts a new file in place of the one at `place`, or where there was none; durable when it returns.
 * The bytes are gathered under `temp_name` in the same folder; a file of that name that was left
 * there is removed first. On failure the old file is untouched and nothing is left. */
enum error_code file_replace(const struct file_place *place, const char *temp_name,
                             const struct file_source *source, const struct file_meta *meta,
                             struct error *err) MUST_CHECK;
/* Removes the file, durably. One that is not there is fine. */
/* What was put in its place, or removed, is so after a power cut too. */
enum error_code file_place_sync(const struct file_place *place, struct error *err) MUST_CHECK;
enum error_code file_remove(const struct file_place *place, struct error *err) MUST_CHECK;
