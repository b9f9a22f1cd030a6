/*
 * rpm_read: what librpm says of installed packages and of package files. For the rpm tool alone.
 *
 * Threading: one thread. I/O: the package database, files.
 */
#pragma once

#include "common/base/error.h"
#include "handlers/rpm_package.h"

#include <rpm/header.h>
#include <rpm/rpmts.h>

/* A transaction set for what is installed below `root`; NULL with `err` set on failure. */
rpmts rpm_read_open(const char *root, bool write, struct error *err);
/* All that is installed; keys of repositories are left out. */
enum error_code rpm_read_installed(rpmts ts, struct rpm_set *ret_set, struct error *err) MUST_CHECK;
/* The header of an installed package, NULL when it is not there. Caller owns: headerFree. */
Header rpm_read_header(rpmts ts, const char *nevra);
/* Whether a file of the package that nobody is meant to edit is gone or has other bytes. */
bool rpm_read_damaged(const char *root, Header header);
/* The packages that are files in a folder; others are passed over. A file that is no package or is
 * damaged is an error. `each` gets every header, borrowed; may be NULL. */
struct rpm_read_each {
    enum error_code (*each)(void *ctx, Header header, struct error *err);
    void *ctx;
};
enum error_code rpm_read_files(rpmts ts, const char *dir, const struct rpm_read_each *each,
                               struct rpm_set *ret_set, struct error *err) MUST_CHECK;
/* The header of a package file, digests checked. Caller owns: headerFree. */
Header rpm_read_file(rpmts ts, const char *path, struct error *err);
/* Borrowed from the header. */
struct rpm_package rpm_read_package(Header header);
/* What librpm complained of first since rpm_read_open(); "" when of nothing. */
const char *rpm_read_complaint(void);
