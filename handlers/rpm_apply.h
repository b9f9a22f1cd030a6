/*
 * rpm_apply: one transaction of librpm, waited for, marked and cleaned up after. For the rpm tool
 * alone.
 *
 * Threading: one thread. I/O: the package database, files, standard output.
 */
#pragma once

#include "common/base/error.h"
#include "handlers/rpm_read.h"

#include <stdbool.h>
#include <stdio.h>

/* What is to be done, as the tool's arguments say it. Borrowed. */
struct rpm_change {
    const char *root;
    const char *dir;
    char *const *args; /* "install" FILE... "beside" FILE... "erase" NEVRA... */
    int count;
};

/* Returns when no other process holds the lock; ERR_BUSY when one did for too long. */
enum error_code rpm_lock_wait(const char *root, int64_t seconds, struct error *err) MUST_CHECK;
/* The mark of a transaction that was begun. */
bool rpm_mark_is_there(const char *dir);
enum error_code rpm_mark_make(const char *dir, struct error *err) MUST_CHECK;
enum error_code rpm_mark_remove(const char *dir, struct error *err) MUST_CHECK;

enum error_code rpm_apply(const struct rpm_change *change, struct error *err) MUST_CHECK;

/* Appends the paths of a package that do not exist below `root` to a stream, and the folders above
 * them, which rpm makes and leaves, too. */
struct rpm_paths {
    const char *root;
    FILE *stream;
    bool folders_only; /* removing: rpm has removed all others */
};
enum error_code rpm_leftovers_note(void *paths, Header header, struct error *err);
/* Removes what is there of the paths noted in `file` and belongs to no package, folders only when
 * they are empty, and the files that rpm was writing to put them in place. */
enum error_code rpm_leftovers_remove(rpmts ts, const struct rpm_paths *paths, const char *file,
                                     struct error *err) MUST_CHECK;
/* The files that rpm was writing in a package's folders. */
void rpm_leftovers_of(const char *root, Header header);
