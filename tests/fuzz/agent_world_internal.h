/*
 * agent_world_internal: what its parts share: agent_world.c, and agent_world_store.c for the store
 * and the disk below it.
 */
#pragma once

#include "common/base/alloc.h"
#include "tests/fuzz/agent_world.h"

#include <assert.h>

struct pending {
    struct pending *next;
    struct stored copy; /* of what the append brings */
    bool expires;       /* an expiry, and no append */
    bool replaces, settled;
    int64_t restarts;
    char nonce[PLAN_NONCE_DIGITS + 1]; /* "": none */
    void (*done)(void *ctx, enum error_code result);
    void *ctx;
};

static inline void *world_checked(void *p)
{
    assert(p != NULL);
    return p;
}

static inline bool world_has_memory(void)
{
    void *p = mem_alloc(1);
    mem_free(p);
    return p != NULL;
}

/* ---- agent_world_store.c --------------------------------------------------------------------- */

/* The seam, with the world behind it. */
struct agent_store world_store(struct agent_world *w);
const struct stored_nonce *stored_nonce_find(const struct agent_world *w, const char *nonce);
struct stored *stored_find(struct agent_world *w, const char *rollout);
void stored_done(struct stored *s);
/* The first that waits; there is one. */
struct pending *pending_take(struct agent_world *w);
/* Its effect on the disk. */
void pending_apply(struct agent_world *w, struct pending *p);
void pending_free(struct pending *p);
