/*
 * artifacts_internal: what the parts of artifacts share: artifacts.c, who wants what, and what
 * becomes of it; artifacts_fetch.c, from the orchestrator into the part.
 *
 * Threading: the loop's thread, but for what an item's job works on. I/O: as artifacts.h says.
 */
#pragma once

#include "agent/artifact_cache.h"
#include "agent/artifacts.h"
#include "common/base/buf.h"

#include <stdatomic.h>

enum { ARTIFACTS_SAID_MAX = 200 };

/* Somebody who waits. */
struct artifact_request {
    struct artifact_request *next;
    struct item *item;
    const struct artifacts_agent *agent;
    char *rollout;
    int64_t max_bytes;
    void *ctx;
    void (*progress)(void *ctx, int64_t bytes, int64_t total_bytes);
    void (*done)(void *ctx, const struct artifact *artifact, const struct error *err);
};

enum item_state {
    ITEM_LOOKING,  /* whether it is in the cache */
    ITEM_WAITING,  /* for its time (due_ms), or for others to be done */
    ITEM_FETCHING, /* also what came is written */
    ITEM_CHECKING  /* all has come */
};

enum item_job { JOB_LOOK, JOB_WRITE, JOB_FINISH };

/* One artifact that somebody wants. */
struct item {
    struct artifacts *artifacts;
    struct item *prev, *next;
    char digest[ARTIFACT_DIGEST_BUFFER];
    struct artifact_request *requests; /* none: it goes once its job is over */
    enum item_state state;
    /* The job on the pool, which has `file`, `writing` and what follows them to itself. */
    uv_work_t work;
    bool working;
    enum item_job job;
    struct artifact_file file; /* the part, in the end the whole one */
    struct buf writing;
    bool whole, damaged, anew; /* found: JOB_LOOK; the part begins anew: JOB_WRITE */
    int64_t coming_bytes;      /* to make room for first; 0: nothing */
    enum error_code code;
    struct error err;
    atomic_bool stop;
    /* The fetch. */
    struct carrier_fetch *fetch;          /* NULL: there is none */
    const struct artifact_request *asker; /* as whom; NULL: who is gone */
    struct buf coming;                    /* and not yet being written */
    int64_t begun_bytes;                  /* what was there when it began */
    int64_t total_bytes;                  /* 0: not known */
    bool over;                            /* it has ended, so: */
    int status;
    char failure[ARTIFACTS_SAID_MAX]; /* "": all of it has come */
    bool resumed;                     /* part of it is of an earlier fetch */
    uint32_t attempts;
    int64_t due_ms;
    int64_t since_ms;
    char said[ARTIFACTS_SAID_MAX]; /* the present trouble, as it was logged */
};

struct artifacts {
    struct artifacts_config config;
    struct artifact_cache *cache;
    struct item *items;
    size_t fetching;
    struct alarm alarm; /* the next item's time */
    uint64_t random;
    uv_work_t trim;
    bool trimming, trim_again;
    bool closing;
    void (*closed)(void *ctx);
    void *closed_ctx;
};

/* ---- artifacts.c ------------------------------------------------------------------------------
 */

void item_work(struct item *item, enum item_job job);
/* What waits is looked at, from the loop: the caller may be in the middle of something. */
void artifacts_pump_soon(struct artifacts *a);
/* Everybody who wants it is told that it cannot be had, and it goes. */
void item_fail(struct item *item, const struct error *err);
/* Ends one request so. The item may be gone afterwards when it was the last. */
void request_fail(struct artifact_request *request, const struct error *err);
/* It goes, unless its job is under way or somebody wants it. True: it is gone, or as good as. */
bool item_drop(struct item *item);
/* It waits for its time, which comes after so many ms. */
void item_wait(struct item *item, int64_t delay_ms);

/* ---- artifacts_fetch.c ------------------------------------------------------------------------
 */

void item_fetch(struct item *item);
/* Gives the fetch up, if there is one; what came and was not written is lost. */
void item_fetch_stop(struct item *item);
/* A JOB_WRITE is over, without a failure. */
void item_written(struct item *item);
/* Again later. */
void item_retry(struct item *item, const char *reason);
