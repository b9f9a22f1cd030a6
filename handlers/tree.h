/*
 * tree: a folder and all that is in it. No symbolic link in it is followed, and what is mounted in
 * it is refused, so that nothing outside of it is touched, whoever may write into it meanwhile.
 *
 * Threading: no shared state; blocking, so for the thread pool. I/O: files.
 */
#pragma once

#include "common/base/error.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

enum { TREE_DEPTH_MAX = 128 }; /* folders in each other; deeper ones are ERR_LIMIT */

/* One of it, borrowed for a call. */
struct tree_item {
    int dir_fd;       /* the folder that it is in */
    const char *name; /* its name there */
    const char *path; /* below the tree's folder; "" is that folder itself */
    struct statx st;
};

struct tree_visitor {
    /* Each one, a folder before what is in it. Anything but ERR_OK ends the walk. */
    enum error_code (*visit)(void *ctx, const struct tree_item *item, struct error *err);
    /* A folder, after what is in it; may be NULL. */
    enum error_code (*leave)(void *ctx, const struct tree_item *item, struct error *err);
    void *ctx;
    const atomic_bool *cancelled; /* ends it with ERR_CANCELLED; NULL: never */
};
/* `name` in the folder dir_fd. ERR_NOT_FOUND: it is not there; ERR_INVALID: it is no folder, or
 * something is mounted in it. */
enum error_code tree_walk(int dir_fd, const char *name, const struct tree_visitor *visitor,
                          struct error *err) MUST_CHECK;

/* What all of it comes to, but for the folder itself: two sums are the same unless a name, a kind,
 * a mode, an owner, where a link leads, or a file's size or time is another. */
struct tree_sum {
    uint64_t sum;
    int64_t entries, bytes; /* bytes: of files */
};
/* `except` (NULL: none) is passed over: a name at the top. */
enum error_code tree_sum(int dir_fd, const char *name, const char *except,
                         const atomic_bool *cancelled, struct tree_sum *ret_sum,
                         struct error *err) MUST_CHECK;

/* Removes all of it. What is not there is fine. */
enum error_code tree_remove(int dir_fd, const char *name, const atomic_bool *cancelled,
                            struct error *err) MUST_CHECK;
