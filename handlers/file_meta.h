/*
 * file_meta: what a file, a folder or a symbolic link has besides its content, captured and given
 * back: mode, owner, times and extended attributes (among them ACLs, SELinux labels, capabilities).
 *
 * Threading: no shared state; blocking, so for the thread pool. I/O: files.
 */
#pragma once

#include "common/base/array.h"
#include "common/base/error.h"
#include "common/json/json.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { FILE_KEEP = -1 };

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

/* Released with file_meta_done. */
enum error_code file_meta_read(int fd, struct file_meta *ret_meta, struct error *err) MUST_CHECK;
/* The same of a symbolic link, which cannot be opened. */
enum error_code file_meta_read_link(int dir_fd, const char *name, struct file_meta *ret_meta,
                                    struct error *err) MUST_CHECK;
void file_meta_done(struct file_meta *meta);
#define AUTO_META __attribute__((cleanup(file_meta_done)))

bool file_meta_equal(const struct file_meta *a, const struct file_meta *b);
/* Forgets an attribute that stands for the present content alone. */
void file_meta_drop(struct file_meta *meta, const char *name);
enum error_code file_meta_write(int fd, const struct file_meta *meta, struct error *err) MUST_CHECK;
enum error_code file_meta_write_link(int dir_fd, const char *name, const struct file_meta *meta,
                                     struct error *err) MUST_CHECK;
