/*
 * yum_plan: which changes take the installed instances of a package to where they should be.
 * Decides for yum_upgrade's execute, rollback and checks; none of it runs anything. Pure.
 */
#pragma once

#include "common/base/array.h"
#include "common/base/error.h"
#include "handlers/rpmdb.h"

#include <stdbool.h>
#include <stddef.h>

enum yum_verb { YUM_UPGRADE, YUM_DOWNGRADE, YUM_INSTALL, YUM_REMOVE, YUM_VERB_COUNT };
const char *yum_verb_name(enum yum_verb verb);

enum { YUM_REASON_MAX = 160 };

/* Changes to make; none: all is as it should be. Zero-initialise. */
struct yum_plan {
    struct array specs[YUM_VERB_COUNT]; /* char *: what dnf is told to change */
    size_t count;                       /* of all verbs */
    char reason[YUM_REASON_MAX];        /* the first: "glibc is at 2.34-100, not 2.34-168" */
    char change[YUM_REASON_MAX];        /* the first one forward: "glibc 2.34-100 -> 2.34-168" */
};

/* To the version that a step asks for: on each architecture on which the package is installed. */
enum error_code yum_plan_wanted(const struct array *installed, const struct rpm_version *wanted,
                                bool arch_given, struct yum_plan *ret_plan,
                                struct error *err) MUST_CHECK;
/* An instance that is neither one of those recorded nor of the version that the step asks for, so
 * that somebody else has put it there; NULL when there is none. Borrowed from `installed`. */
const struct rpm_package *yum_plan_foreign(const struct array *recorded,
                                           const struct array *installed,
                                           const struct rpm_version *wanted);
/* "2.34-100.el9_6", "1:1.0-1". */
void yum_package_text(const struct rpm_package *p, char *ret_text, size_t size);
/* Back to exactly the instances that were recorded. */
enum error_code yum_plan_back(const struct array *recorded, const struct array *installed,
                              struct yum_plan *ret_plan, struct error *err) MUST_CHECK;
void yum_plan_done(struct yum_plan *plan);
