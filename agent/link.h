/*
 * link: one agent's connection to its orchestrator. It connects, introduces the agent, keeps the
 * connection alive, and connects again when it is lost: after a random time below a bound that
 * doubles, so that a fleet that lost its orchestrator does not come back all at once.
 *
 * Threading: the loop's thread. I/O: through the carrier.
 */
#pragma once

#include "agent/carrier.h"
#include "agent/ticker.h"
#include "common/base/buf.h"
#include "common/base/error.h"
#include "common/wire/wire.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LINK_PATH "/v1/agent"
#define LINK_PROTOCOL "kitsune.v1"

enum {
    LINK_BACKOFF_FIRST_MS = 200,
    LINK_BACKOFF_MAX_MS = 30000,
    LINK_SPREAD_MS = 1000, /* the first reconnect comes within this, at a random time */
    LINK_CONNECT_TIMEOUT_MS = 10000,
    LINK_WELCOME_TIMEOUT_MS = 30000,
    LINK_SILENT_HEARTBEATS = 3, /* so many without hearing anything: the connection is dead */
    LINK_DROPPABLE_QUEUE_MAX = 1024 * 1024 /* above this, what may be dropped is */
};

struct link;

struct link_events {
    void *ctx;
    /* Appends the hello frame. */
    void (*hello)(void *ctx, struct buf *b);
    /* Anything but ERR_OK refuses the orchestrator; the message is for the log. */
    enum error_code (*welcome)(void *ctx, const struct wire_welcome *welcome, struct error *err);
    /* A frame after the welcome; what it takes out of `frame` it owns. Anything but ERR_OK ends the
     * connection. */
    enum error_code (*frame)(void *ctx, struct wire_frame *frame, const char *text, size_t len,
                             struct error *err);
    /* Only after a welcome that was not refused. */
    void (*lost)(void *ctx, const char *reason);
    /* Fills in what goes with the URL: whom to trust, and as whom to come. Before each attempt; may
     * be NULL. */
    void (*peer)(void *ctx, struct carrier_peer *peer);
    /* A connection that came to its end before a welcome, other than by being lost. May be NULL. */
    void (*refused)(void *ctx, enum net_end end);
};

struct link_config {
    struct carrier *carrier; /* borrowed */
    struct ticker *ticker;   /* borrowed; one alarm is reserved by the caller */
    const char *url;         /* borrowed; net_url_check'd */
    const char *server;      /* for log lines; borrowed */
    struct link_events events;
};

enum error_code link_new(const struct link_config *config, struct link **ret_link,
                         struct error *err) MUST_CHECK;
/* Begins to connect. */
void link_start(struct link *l);
/* Says goodbye after what is queued, and connects no more; `closed` is called when the connection
 * is gone, perhaps before this returns. */
void link_stop(struct link *l, void (*closed)(void *ctx), void *ctx);
/* The connection must be gone: before link_start or after `closed`. NULL is fine. */
void link_free(struct link *l);

/* Queues a frame; false when there is no welcomed connection, or it is being dropped. One that may
 * be dropped is when the peer reads slowly. */
bool link_send(struct link *l, const char *data, size_t len, bool droppable);
/* Ends the connection, and connects again later. */
void link_drop(struct link *l, const char *reason);
/* Gives up the connection that there is, or the attempt under way, and connects anew at once; after
 * a failure in the usual times. The next welcome is of a connection made after this call. */
void link_renew(struct link *l);
bool link_up(const struct link *l);

/* Pure: the delay before attempt number `attempt` (from 0) since the connection was good. `random`
 * is uniform over its range. `had_welcome`: it had come about before. */
int64_t link_backoff_ms(uint32_t attempt, bool had_welcome, uint32_t random);
