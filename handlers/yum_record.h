/*
 * yum_record: what a package step keeps for its undo, the transaction that it makes: which packages
 * go, which come, and how far what is installed is along the way between the two. Pure.
 */
#pragma once

#include "common/base/buf.h"
#include "common/base/error.h"
#include "handlers/rpm_package.h"

#include <stdbool.h>
#include <stddef.h>

/* Also the document that prepare captures. */
struct yum_record {
    /* struct rpm_package each. Packages that the transaction takes away, whose `file` is the name
     * of the kept package in the step's folder, and whose `damaged` says how it was before; */
    struct array before;
    struct array after;  /* that it brings; */
    struct array beside; /* and the other instances that there are of their names. */
    bool kept;           /* of all of `before` the package is kept */
};
extern const struct json_table yum_record_table;
void yum_record_done(struct yum_record *record);
#define AUTO_RECORD __attribute__((cleanup(yum_record_done)))

/* Reads what dnf, told to be verbose, says that it would do, and appends it to `before` and
 * `after`. `installed` is what was installed at that time. ERR_PROTOCOL when it does not fit. */
enum error_code yum_record_resolve(const char *output, size_t len, const struct array *installed,
                                   struct yum_record *record, struct error *err) MUST_CHECK;
/* The same of what it says when it is asked to reinstall all of `before`: takes each that it could
 * for kept. */
enum error_code yum_record_offered(const char *output, size_t len, struct yum_record *record,
                                   struct error *err) MUST_CHECK;
/* Fills `beside`. */
enum error_code yum_record_beside(const struct array *installed, struct yum_record *record,
                                  struct error *err) MUST_CHECK;
/* Takes the kept files over from what a folder holds; `kept` is whether there is one of each. */
enum error_code yum_record_keep(const struct array *files, struct yum_record *record,
                                struct error *err) MUST_CHECK;
/* The first of `before` that has no file; NULL when there is none. */
const struct rpm_package *yum_record_lacks(const struct yum_record *record);

enum yum_state {
    YUM_STATE_BEFORE,  /* all as it was */
    YUM_STATE_AFTER,   /* all as the transaction leaves it */
    YUM_STATE_BETWEEN, /* neither: cut off, or packages are gone */
    YUM_STATE_FOREIGN  /* there is one that neither the transaction nor the time before knows */
};
/* `ret_foreign` may be NULL. The set's marks are taken into account: a transaction that may not
 * have ended has neither begun nor ended for certain. */
enum yum_state yum_record_state(const struct yum_record *record, const struct rpm_set *set,
                                const struct rpm_package **ret_foreign);

/* Whether `to` is what the transaction makes of `from`, and nothing else has changed; tells what
 * has. */
bool yum_record_explains(const struct yum_record *record, const struct array *from,
                         const struct array *to, struct buf *what);

/* "nginx 1.20-1 -> 1.22-1", "nginx-mod-x 1.22-1 (new)", "nginx-old 1.0-1 (removed)": a line each.
 */
void yum_record_tell(const struct yum_record *record, struct buf *lines);
/* The first `most` of them in one line, and how many more there are. */
void yum_record_summary(const struct yum_record *record, size_t most, struct buf *text);
/* Names of packages of `after` with which a running system goes on with the old code until it is
 * restarted; empty when there are none. */
void yum_record_reboot(const struct yum_record *record, struct buf *names);
/* The same, one by one. */
void yum_record_each_reboot(const struct yum_record *record,
                            void (*each)(void *ctx, const char *name), void *ctx);
