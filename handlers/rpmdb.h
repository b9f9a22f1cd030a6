/*
 * rpmdb: what the package database says is installed, through librpm, which also compares versions.
 * Only reads: packages are changed by dnf.
 *
 * Threading: any thread; librpm is not reentrant, so queries wait for each other. I/O: the
 * database.
 */
#pragma once

#include "common/base/array.h"
#include "common/base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct rpm_package {
    char *name;
    int64_t epoch; /* 0 when it has none */
    char *version;
    char *release;
    char *arch;
};

/* What a plan asks for: "VERSION", "VERSION-RELEASE" or "EPOCH:VERSION-RELEASE". What is left out
 * stands for any. */
struct rpm_version {
    bool has_epoch;
    int64_t epoch;
    char *version;
    char *release; /* NULL: any */
};

struct rpm_installed {
    struct array packages; /* struct rpm_package, owned; none is no error */
    bool arch_given;       /* the question named an architecture */
    bool clash;            /* two instances of one architecture hold different bytes for one file */
};

/* All installed instances of `package` (a name, or name.arch), below `root` (NULL: /). Caller owns:
 * rpm_installed_done(). Instances that clash cannot have been installed side by side: a transaction
 * was cut off after the new one came and before the old one went. */
enum error_code rpmdb_installed(const char *root, const char *package,
                                struct rpm_installed *ret_installed, struct error *err) MUST_CHECK;
void rpm_installed_done(struct rpm_installed *installed);

/* ERR_INVALID, ERR_NO_MEMORY. Caller owns: rpm_version_done(). */
enum error_code rpm_version_parse(const char *text, struct rpm_version *ret_version,
                                  struct error *err) MUST_CHECK;
void rpm_version_done(struct rpm_version *version);

/* As strcmp: above 0 when what is wanted is newer than the package, 0 when the package is it. */
int rpm_version_compare(const struct rpm_version *wanted, const struct rpm_package *package);
/* By epoch, version and release, in this order. */
int rpm_package_compare(const struct rpm_package *a, const struct rpm_package *b);
