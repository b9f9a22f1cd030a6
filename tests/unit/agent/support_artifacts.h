/*
 * support_artifacts: an agent that asks for artifacts, with a cache in a folder of its own and a
 * server that gives them, on a loop that is ended by a guard when it takes too long.
 */
#pragma once

#include "agent/artifacts.h"
#include "unit/agent/support_content.h"
#include "unit/agent/support_folder.h"

enum { MUCH = 3 * 1024 * 1024 + 17, LITTLE = 1000 }; /* bytes */

struct rig {
    uv_loop_t loop;
    uv_timer_t guard;
    struct folder folder;
    struct content_server server;
    struct carrier *carrier;
    struct ticker *ticker;
    struct artifacts *artifacts;
    struct artifacts_agent agent;
    int64_t max_bytes;
    bool gone;
};

/* What came of a request. */
struct outcome {
    struct rig *r;
    struct artifact_request *request;
    int done, progresses;
    int64_t bytes, total;
    struct artifact artifact;
    enum error_code code;
    char message[ERROR_MESSAGE_MAX];
};

#define AWAIT(r, condition)                                                                        \
    while (!(condition))                                                                           \
    (void)uv_run(&(r)->loop, UV_RUN_ONCE)

/* A cmocka fixture: *state is a rig whose cache is started. */
int rig_set_up(void **state);
int rig_tear_down(void **state);
void cache_start(struct rig *r);
void cache_stop(struct rig *r);

/* Asks without waiting. */
void ask(struct rig *r, struct outcome *o, const char *digest, int64_t max_bytes);
/* And with. */
void get(struct rig *r, struct outcome *o, const char *digest);
/* For a wish of the test's own, with the outcome as ctx. */
void outcome_done(void *ctx, const struct artifact *artifact, const struct error *err);
/* It was handed out, holds what it should, and is closed. */
void assert_holds(struct outcome *o, const struct content *content);

/* Of the file of a digest, with `end` behind it; borrowed until the next call. */
const char *cache_path(const struct rig *r, const char *digest, const char *end);
/* -1: it is not there. */
int64_t cache_size(const struct rig *r, const char *digest, const char *end);
void write_file(const char *path, const char *data, size_t len);
