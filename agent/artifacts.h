/*
 * artifacts: what stands behind handlers/artifact.h on an agent: artifacts are fetched from the
 * orchestrator through the carrier, kept in a cache (artifact_cache.h) and handed out once their
 * SHA-256 was looked at, each time. Those who want the same one at the same time share one fetch. A
 * fetch that is cut off goes on where it was, after a random time below a bound that doubles, for
 * as long as somebody wants it, and after a restart of the agent.
 *
 * Threading: the loop's thread; files are read and written on libuv's thread pool. I/O: through the
 * carrier, and the cache's files.
 */
#pragma once

#include "agent/carrier.h"
#include "agent/ticker.h"
#include "common/base/error.h"
#include "handlers/artifact.h"

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#define ARTIFACTS_PATH "/v1/agent/artifacts/"

enum {
    ARTIFACTS_FETCHES_MAX = 4,    /* at once; others wait */
    ARTIFACTS_SILENCE_MS = 30000, /* of the orchestrator, in the middle of one */
    ARTIFACTS_ALARMS = 1          /* to be reserved of the ticker */
};

struct artifacts;

struct artifacts_config {
    uv_loop_t *loop;
    struct carrier *carrier; /* borrowed, as all that follow */
    struct ticker *ticker;
    const char *url;      /* the orchestrator's */
    const char *data_dir; /* the cache is in its folder "artifacts" */
    int64_t max_bytes;    /* of the cache; 0: no bound */
};

/* One agent, who asks as itself. Embedded, and filled in by its owner but for `source`. */
struct artifacts_agent {
    struct artifacts *artifacts;
    const char *server; /* for log lines */
    void *ctx;
    /* Fills in what goes with the URL. False: it has no certificate yet. */
    bool (*peer)(void *ctx, struct carrier_peer *peer);
    struct artifact_source source; /* for handler_host.artifacts */
};

/* Opens the cache. */
enum error_code artifacts_new(const struct artifacts_config *config,
                              struct artifacts **ret_artifacts, struct error *err) MUST_CHECK;
void artifacts_agent_init(struct artifacts_agent *agent);
/* Gives up what is under way (whoever still waits for one is told) and calls `done` when nothing of
 * it runs any more, perhaps before this returns; it is freed then. Before the carrier's end. */
void artifacts_close(struct artifacts *a, void (*done)(void *ctx), void *ctx);
