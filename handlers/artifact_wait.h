/*
 * artifact_wait: a run's wait for an artifact; embedded in a handler's state.
 *
 * Threading: the loop's thread. I/O: whoever stands behind the host's artifacts.
 */
#pragma once

#include "handlers/handler.h"

#include <stdbool.h>
#include <stdint.h>

struct artifact_wait {
    struct handler_run *run;
    struct artifact_request *request; /* NULL: it does not wait */
    /* What has come of it; fd is -1 when it could not be had, and the size is what is known of it.
     */
    struct artifact artifact;
    void *ctx;
    void (*over)(void *ctx, const struct error *err); /* NULL: it is here */
};
#define ARTIFACT_WAIT_INIT ((struct artifact_wait){.artifact = {.fd = -1}})

/* Asks for the artifact of that name; `over` follows later, unless the wait is cancelled. Errors:
 * ERR_UNSUPPORTED: this host has no artifacts; those of artifact_source.get. */
enum error_code artifact_wait_start(struct artifact_wait *w, const char *name, int64_t max_bytes,
                                    struct error *err) MUST_CHECK;
/* True: it waited, and `over` does not come any more. */
bool artifact_wait_cancel(struct artifact_wait *w);
/* Closes what came. */
void artifact_wait_done(struct artifact_wait *w);
