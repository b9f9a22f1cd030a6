/*
 * rpm_package: packages as rpm knows them: their names and versions, compared as rpm does, and the
 * documents in which kitsune's own rpm tool (rpm_tool.h) and the package handlers speak of them.
 *
 * Threading: no shared state: of librpm only what compares and takes apart texts is used here. I/O:
 * none.
 */
#pragma once

#include "common/base/array.h"
#include "common/base/error.h"
#include "common/json/json.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct rpm_package {
    char *name;
    int64_t epoch; /* 0 when it has none */
    char *version;
    char *release;
    char *arch;
    /* Holds other bytes for a file than another instance of its name and architecture does. They
     * cannot have been installed side by side: a transaction was cut off after the new one came and
     * before the old one went. */
    bool clash;
    bool damaged; /* one of its files is gone or has other bytes; only where that was asked */
    char *file;   /* of a package that is a file: its name; else NULL */
    int64_t size_bytes;
};

/* What is installed, or what a folder holds. */
struct rpm_set {
    struct array packages; /* struct rpm_package */
    bool begun;   /* a transaction of this step was begun, and it is not known how it ended */
    bool unsound; /* so the database was looked through, and is damaged */
};
extern const struct json_field rpm_package_item;
extern const struct json_table rpm_package_table;
extern const struct json_table rpm_set_table;
enum { RPM_PACKAGES_MAX = 65536 };

static inline const struct rpm_package *rpm_package_at(const struct array *packages, size_t i)
{
    return ARRAY_AT(packages, const struct rpm_package, i);
}
void rpm_set_done(struct rpm_set *set);
#define AUTO_SET __attribute__((cleanup(rpm_set_done)))
/* Appends a copy. */
enum error_code rpm_packages_add(struct array *packages, const struct rpm_package *p,
                                 struct error *err) MUST_CHECK;
void rpm_packages_done(struct array *packages);

/* What a plan asks for: "VERSION", "VERSION-RELEASE" or "EPOCH:VERSION-RELEASE". What is left out
 * stands for any. */
struct rpm_version {
    bool has_epoch;
    int64_t epoch;
    char *version;
    char *release; /* NULL: any */
};
/* ERR_INVALID, ERR_NO_MEMORY. Caller owns: rpm_version_done(). */
enum error_code rpm_version_parse(const char *text, struct rpm_version *ret_version,
                                  struct error *err) MUST_CHECK;
void rpm_version_done(struct rpm_version *version);

/* As strcmp: above 0 when what is wanted is newer than the package, 0 when the package is it. */
int rpm_version_compare(const struct rpm_version *wanted, const struct rpm_package *package);
/* By epoch, version and release, in this order. */
int rpm_package_compare(const struct rpm_package *a, const struct rpm_package *b);
/* The same in name, version and architecture. */
bool rpm_package_same(const struct rpm_package *a, const struct rpm_package *b);
/* The instance in `packages` that is the same; NULL when there is none. */
const struct rpm_package *rpm_packages_find(const struct array *packages,
                                            const struct rpm_package *p);
/* Whether `text`, a name or NAME.ARCH, names the package. */
bool rpm_package_named(const struct rpm_package *p, const char *text);

enum { RPM_TEXT_MAX = 320 };
/* "2.34-100.el9_6", "1:1.0-1". */
void rpm_package_evr(const struct rpm_package *p, char ret_text[RPM_TEXT_MAX]);
/* "NAME-EPOCH:VERSION-RELEASE.ARCH", with the epoch always, as dnf and the rpm tool take it. */
void rpm_package_nevra(const struct rpm_package *p, char ret_text[RPM_TEXT_MAX]);
