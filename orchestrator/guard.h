/*
 * guard: who may come in, as the running program has it: its identity, access and the audit log,
 * and their upkeep: what has become durable is collected, a full disk is tried again, and the
 * server's certificate is renewed in time.
 *
 * Threading: the loop's thread. I/O: DIR/pki, DIR/access.db, the log.
 */
#pragma once

#include "orchestrator/api/api.h"
#include "orchestrator/options.h"

#include <stdbool.h>
#include <uv.h>

struct guard {
    const struct options *options;
    struct access *access;     /* NULL: --insecure-dev */
    struct identity *identity; /* the same */
    struct api *api;           /* from guard_start to guard_stop */
    uv_async_t wake;           /* access has something */
    uv_timer_t tick;
    gid_t group;        /* of --socket-group */
    char *socket;       /* "unix:PATH"; NULL: none */
    bool uninitialised; /* so guard_open failed */
    bool stalled;
    bool renewal_failed; /* and it was said */
};

/* Before the loop runs. ERR_NOT_FOUND: the directory is not initialised, and how that is done. On
 * failure the program ends. */
enum error_code guard_open(struct guard *g, uv_loop_t *loop, const struct options *options,
                           struct error *err) MUST_CHECK;
/* What the API is to know of it. */
void guard_describe(const struct guard *g, struct api_config *config);
/* The API serves. ERR_DENIED: the socket cannot be given to its group. */
enum error_code guard_start(struct guard *g, struct api *api, struct error *err) MUST_CHECK;
void guard_stop(struct guard *g);
/* When the API has no connections any more, and before the dispatcher goes: those who wait for the
 * audit log are told. */
void guard_close(struct guard *g);
/* The dispatcher's alarm hook. */
void guard_alarm(struct guard *g, const struct dispatcher_alarm *alarm);
