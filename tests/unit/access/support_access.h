/* support_access: an access store in a temporary folder, and what its `done`s said. */
#pragma once

#include "orchestrator/access/access.h"

struct store {
    char folder[64];
    struct access *access;
    int done;             /* how many came */
    enum error_code last; /* what the last one said */
};

int store_setup(void **state);
int store_teardown(void **state);
/* Waits until all that was changed is durable, by closing; then opens it again. */
void store_reopen(struct store *s);
void store_done(void *ctx, enum error_code result, const struct error *err);
/* Runs a statement on the file of a store that is closed meanwhile. */
void store_tamper(struct store *s, const char *sql);
