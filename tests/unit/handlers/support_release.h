/* support_release: the release step run in a bed, on the folder "app" there, with archives made by
 * the test. */
#pragma once

#include "unit/handlers/support_archive.h"
#include "unit/handlers/support_run.h"
#include "unit/handlers/support_tree.h"

#define END                                                                                        \
    {                                                                                              \
        .name = NULL                                                                               \
    }

struct site {
    struct bed bed;
    struct shelf shelf;
};

/* The folder "app" is there, and empty. */
void site_open(struct site *site);
void site_close(struct site *site);
/* Params for the folder "app"; `more` begins with a comma. Good until the 8th next call. */
const char *site_params(const struct site *site, const char *source, const char *more);
/* A small archive of its own: app/VERSION holds `version`; beside it something of everything. */
const char *site_archive(struct site *site, const char *version);
/* Of the release "new". */
const char *site_new_params(struct site *site, const char *more);
/* Prepares and executes. */
void site_run(struct site *site, const char *params);
void site_ok(struct site *site, enum handler_operation operation, const char *params);
/* Fails, with that in its message. */
void site_fails(struct site *site, enum handler_operation operation, const char *params,
                const char *text);
void site_said(const struct site *site, const char *text);
/* Prepares and executes the release `version`, as its own rollout's step would, with `more`. */
void site_deploy(struct site *site, const char *version, const char *more);
/* Two releases, "1", which has something of everything, and "2", to which the link leads. */
void site_fill(struct site *site);
/* Where the link "current" leads: "releases/2"; "" when there is none. */
const char *site_current(const struct site *site);
void site_expect(const struct site *site, const char *target, const char *version);
bool site_has(const struct site *site, const char *name);
/* What is in "app/releases", sorted, hidden names too: "1 2". */
const char *site_releases(const struct site *site);
/* The text of all of "app". */
char *site_tree(const struct site *site);
