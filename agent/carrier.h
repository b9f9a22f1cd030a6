/*
 * carrier: what carries an agent's messages to its orchestrator and back. It knows nothing of what
 * is in them. Two stand behind this: carrier_net, on this process's own sockets, and
 * carrier_process, where another process without privileges has the sockets and speaks TLS.
 *
 * Threading: the loop's thread. I/O: whoever stands behind it.
 */
#pragma once

#include "common/base/error.h"
#include "common/net/net.h"

#include <stddef.h>
#include <stdint.h>

struct carrier;
struct carrier_conn;  /* one WebSocket */
struct carrier_post;  /* one request */
struct carrier_fetch; /* one download */

enum {
    CARRIER_ANSWER_MAX = 256 * 1024, /* bytes of an answer to a request */
    CARRIER_POST_MAX = 32 * 1024,    /* bytes of its body */
    /* Bytes of a download that came and were not yet done with: what each process holds of it. */
    CARRIER_FETCH_WINDOW = 1024 * 1024
};

/* Whom to connect to, and as whom. All borrowed for the call. */
struct carrier_peer {
    const char *url;
    /* For https:// and wss://, one of these: who may have signed the orchestrator's certificate. */
    const char *ca;             /* PEM */
    const char *ca_fingerprint; /* see pki_verify.h */
    const char *pair;           /* key and certificate of the agent in PEM; NULL: it has none */
};

struct carrier_conn_events {
    void (*opened)(void *ctx, struct carrier_conn *conn);
    void (*message)(void *ctx, struct carrier_conn *conn, const char *data, size_t len);
    /* All that was queued has been sent. May be NULL. */
    void (*drained)(void *ctx, struct carrier_conn *conn);
    /* Once, last, also of one that was never open; never before carrier_connect returns. */
    void (*closed)(void *ctx, struct carrier_conn *conn, enum net_end end, const char *reason);
};

struct carrier_conn_config {
    struct carrier_peer peer;
    const char *path, *protocol;
    size_t max_message;
    uint32_t timeout_ms; /* to connect */
    struct carrier_conn_events events;
    void *ctx;
};

struct carrier_post_config {
    struct carrier_peer peer;
    const char *path;
    const char *body; /* JSON */
    size_t len;
    uint32_t timeout_ms; /* for all of it */
    /* Once, never before carrier_post returns; see net_fetch.h. */
    void (*done)(void *ctx, int status, const char *body, size_t len, const char *failure);
    void *ctx;
};

struct carrier_fetch_config {
    struct carrier_peer peer;
    const char *path;
    int64_t offset; /* bytes that are there already */
    uint32_t
        silence_ms; /* for the next piece to come; what waits for carrier_fetch_more has time */
    /* Once, before any data: it begins at byte `offset` (the one asked for, or 0) of `total_bytes`.
     */
    void (*began)(void *ctx, struct carrier_fetch *fetch, int64_t offset, int64_t total_bytes);
    /* Any bytes, borrowed for the call, within total_bytes; no more of them than the window has
     * room for. */
    void (*data)(void *ctx, struct carrier_fetch *fetch, const char *data, size_t len);
    /* Once, last, never before carrier_fetch returns. `status` is HTTP's, 0: there was no answer;
     * `failure` is NULL when all of it has come. */
    void (*done)(void *ctx, int status, const char *failure);
    void *ctx;
};

/* The seam; what each does is said at the functions below. */
struct carrier_ops {
    enum error_code (*connect)(struct carrier *c, const struct carrier_conn_config *config,
                               struct carrier_conn **ret_conn, struct error *err);
    enum error_code (*send)(struct carrier_conn *conn, const char *data, size_t len,
                            struct error *err);
    size_t (*queued)(const struct carrier_conn *conn);
    void (*close)(struct carrier_conn *conn, uint16_t code, const char *reason);
    void (*forget)(struct carrier_conn *conn, uint16_t code, const char *reason);
    enum error_code (*post)(struct carrier *c, const struct carrier_post_config *config,
                            struct carrier_post **ret_post, struct error *err);
    void (*post_cancel)(struct carrier_post *post);
    enum error_code (*fetch)(struct carrier *c, const struct carrier_fetch_config *config,
                             struct carrier_fetch **ret_fetch, struct error *err);
    void (*fetch_more)(struct carrier_fetch *fetch, size_t bytes);
    void (*fetch_cancel)(struct carrier_fetch *fetch);
    void (*end)(struct carrier *c, void (*done)(void *ctx), void *ctx);
};

/* What each implementation's own struct begins with. */
struct carrier {
    const struct carrier_ops *ops;
};
struct carrier_conn {
    struct carrier *carrier;
};
struct carrier_post {
    struct carrier *carrier;
};
struct carrier_fetch {
    struct carrier *carrier;
};

/* Begins to connect; ends in opened or in closed. ERR_INVALID: the URL, or what is to be trusted or
 * shown. */
static inline MUST_CHECK enum error_code carrier_connect(struct carrier *c,
                                                         const struct carrier_conn_config *config,
                                                         struct carrier_conn **ret_conn,
                                                         struct error *err)
{
    return c->ops->connect(c, config, ret_conn, err);
}

/* Queues one message (copied). Anything but ERR_OK: the connection is being dropped. */
static inline MUST_CHECK enum error_code carrier_send(struct carrier_conn *conn, const char *data,
                                                      size_t len, struct error *err)
{
    return conn->carrier->ops->send(conn, data, len, err);
}

/* Bytes that have not yet been sent, about. */
static inline size_t carrier_queued(const struct carrier_conn *conn)
{
    return conn->carrier->ops->queued(conn);
}

/* See net_conn_close. */
static inline void carrier_close(struct carrier_conn *conn, uint16_t code, const char *reason)
{
    conn->carrier->ops->close(conn, code, reason);
}

/* The same, and no event comes any more. */
static inline void carrier_forget(struct carrier_conn *conn, uint16_t code, const char *reason)
{
    conn->carrier->ops->forget(conn, code, reason);
}

/* Posts JSON. ERR_INVALID as above; ERR_LIMIT. */
static inline MUST_CHECK enum error_code carrier_post(struct carrier *c,
                                                      const struct carrier_post_config *config,
                                                      struct carrier_post **ret_post,
                                                      struct error *err)
{
    return c->ops->post(c, config, ret_post, err);
}

/* `done` is not called any more. */
static inline void carrier_post_cancel(struct carrier_post *post)
{
    post->carrier->ops->post_cancel(post);
}

/* Begins a GET, with what is there already left out. ERR_INVALID as above. */
static inline MUST_CHECK enum error_code carrier_fetch(struct carrier *c,
                                                       const struct carrier_fetch_config *config,
                                                       struct carrier_fetch **ret_fetch,
                                                       struct error *err)
{
    return c->ops->fetch(c, config, ret_fetch, err);
}

/* So many bytes of its data are done with. */
static inline void carrier_fetch_more(struct carrier_fetch *fetch, size_t bytes)
{
    fetch->carrier->ops->fetch_more(fetch, bytes);
}

/* Nothing of it is called any more. */
static inline void carrier_fetch_cancel(struct carrier_fetch *fetch)
{
    fetch->carrier->ops->fetch_cancel(fetch);
}

/* Ends what is under way (closed and done come), frees the carrier, and calls `done` when the loop
 * holds nothing of it any more. */
static inline void carrier_end(struct carrier *c, void (*done)(void *ctx), void *ctx)
{
    c->ops->end(c, done, ctx);
}
