/*
 * yum_plan: what dnf is asked for, so that packages come to be as a step wants them. Pure.
 */
#pragma once

#include "common/base/array.h"
#include "common/base/error.h"
#include "handlers/catalog.h"
#include "handlers/rpm_package.h"

#include <stdbool.h>
#include <stddef.h>

#define YUM_VERBS(X)                                                                               \
    X(YUM_UPGRADE, "upgrade")                                                                      \
    X(YUM_DOWNGRADE, "downgrade")                                                                  \
    X(YUM_INSTALL, "install") /* also brings what is installed to a version, either way */         \
    X(YUM_REMOVE, "remove")                                                                        \
    X(YUM_UPGRADE_MINIMAL, "upgrade-minimal") /* to the lowest version with an advisory */
#define X(value, name) value,
enum yum_verb { YUM_VERBS(X) YUM_VERB_COUNT };
#undef X
extern const char *const yum_verb_names[YUM_VERB_COUNT];

/* Zero-initialise. */
struct yum_plan {
    bool needed; /* false: all is as it should be */
    enum yum_verb verb;
    struct array specs; /* char *, owned; none: all that is installed */
};

/* What a step of the type (its usual verb) with these params needs, where `installed` is installed.
 * ERR_NOT_FOUND: a package that is to be upgraded is not installed. */
enum error_code yum_plan_make(enum yum_verb type, const struct yum_params *params,
                              const struct array *installed, struct yum_plan *ret_plan,
                              struct error *err) MUST_CHECK;
void yum_plan_done(struct yum_plan *plan);
#define AUTO_PLAN __attribute__((cleanup(yum_plan_done)))
