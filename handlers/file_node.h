/*
 * file_node: what is at a path: nothing, a file, a symbolic link or a folder, with all that it has
 * besides; kept in a step's folder, compared, and brought back. Every handler that changes files
 * captures and undoes with it. Of a folder it is the folder itself, without what is in it.
 *
 * Threading: no shared state; blocking, so for the thread pool. I/O: files.
 */
#pragma once

#include "handlers/builtin.h"
#include "handlers/fileio.h"

#define FILE_KINDS(X)                                                                              \
    X(FILE_NOTHING, "nothing")                                                                     \
    X(FILE_REGULAR, "file")                                                                        \
    X(FILE_LINK, "symlink")                                                                        \
    X(FILE_FOLDER, "folder")                                                                       \
    X(FILE_SPECIAL, "special") /* a device, a socket, a pipe: never kept */
#define X(value, name) value,
enum file_kind { FILE_KINDS(X) FILE_KIND_COUNT };
#undef X

struct file_node {
    char *path; /* links in it followed where the step says so */
    int kind;   /* enum file_kind */
    struct file_meta meta;
    char *sha256;  /* of a file's bytes; NULL: not looked at */
    char *target;  /* of a link */
    int64_t names; /* of a file: how many it has (hard links) */
    char *copy;    /* the name of a file's bytes in the step's folder */
};
extern const struct json_table file_node_table;

void file_node_done(struct file_node *node);
#define AUTO_NODE __attribute__((cleanup(file_node_done)))

/* What a step left, or is to leave, at a path. */
struct file_left {
    enum file_kind kind;
    char sha256[FILE_DIGEST_TEXT]; /* of a file */
    const char *target;            /* of a link */
};

/* The most that is copied of one file; a file that is larger cannot be brought back. */
enum { FILE_KEPT_MAX_BYTES = 256 * 1024 * 1024 };

/* Opens a regular file. *ret_fd is -1 when there is nothing; ERR_INVALID for what is no regular
 * file, with a message such as "PATH is a folder". */
enum error_code file_open(const struct file_place *place, int *ret_fd,
                          struct error *err) MUST_CHECK;

/* All but a file's bytes. */
enum error_code file_node_look(const struct file_place *place, struct file_node *ret_node,
                               struct error *err) MUST_CHECK;
/* With the digest of a file's bytes. */
enum error_code file_node_read(const struct file_place *place, struct file_node *ret_node,
                               struct error *err) MUST_CHECK;
/* Whether it could be kept: ERR_INVALID for what is special; ERR_LIMIT for what is too large, of
 * which the result says why. */
enum error_code file_node_check(const struct handler_run *run, const struct file_node *node,
                                struct handler_result *result, struct error *err) MUST_CHECK;
/* Looks at it and puts what it takes to bring it back into the step's folder, under the name
 * `copy`; durable when it returns. Errors as of file_node_check; ERR_BUSY: it changes meanwhile. */
enum error_code file_node_keep(const struct handler_run *run, const struct file_place *place,
                               const char *copy, struct file_node *ret_node,
                               struct handler_result *result, struct error *err) MUST_CHECK;

enum file_match {
    FILE_SAME,         /* in every respect; of folders not the times */
    FILE_SAME_CONTENT, /* but for its mode, owner, times or attributes */
    FILE_DIFFERENT
};
/* Both with digests. */
enum file_match file_node_compare(const struct file_node *a, const struct file_node *b);
bool file_node_left(const struct file_node *now, const struct file_left *left);

/* Brings back what was kept, in place of whatever is there but a folder, and durably. *ret_apart: a
 * file that had other names is a file of its own now, since it was written to under one of them. */
enum error_code file_node_restore(const struct handler_run *run, const struct file_node *kept,
                                  const struct file_place *place, bool *ret_apart,
                                  struct error *err) MUST_CHECK;
/* A folder's times, once all that belongs into it is in it again. */
enum error_code file_node_restore_times(const struct file_node *kept,
                                        const struct file_place *place,
                                        struct error *err) MUST_CHECK;
/* Removes what is there; of a folder only an empty one. Durable when it returns. */
enum error_code file_node_remove(const struct file_place *place, struct error *err) MUST_CHECK;

/* The name under which something new is made before it is put in its place: the same for all
 * operations of a step, so that the next one removes what a crash has left. */
void file_temp_name(const struct handler_run *run, const struct file_place *place,
                    char ret_name[NAME_MAX + 1]);

/* ERR_INVALID, with "PATH is a folder" and the like. */
enum error_code file_node_refuse(const struct file_node *node, struct error *err);
/* A size of FILE_SIZE_UNKNOWN is left out. "12 bytes (sha256 ab12...)", "a symbolic link to a", "a
 * folder", "nothing". */
enum { FILE_TEXT_MAX = 320, FILE_SIZE_UNKNOWN = -1 };
void file_left_text(const struct file_left *left, int64_t size, char ret_text[FILE_TEXT_MAX]);
void file_node_text(const struct file_node *node, char ret_text[FILE_TEXT_MAX]);
/* The end of a path, where a message has more to say: it says more than its beginning. */
const char *file_path_shown(const char *path);
