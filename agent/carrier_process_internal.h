/*
 * carrier_process_internal: what the parts of carrier_process share: carrier_process.c, the other
 * process's life; carrier_process_ops.c, what is under way through it.
 *
 * Threading: the loop's thread. I/O: the channel.
 */
#pragma once

#include "agent/carrier_process.h"
#include "agent/channel_pipe.h"
#include "common/base/alloc.h"

#define uthash_malloc(size_bytes) mem_alloc(size_bytes)
#define uthash_free(ptr, size_bytes) mem_free(ptr)
#define HASH_NONFATAL_OOM 1
#include <uthash.h>

enum carried_kind { CARRIED_CONN, CARRIED_POST, CARRIED_FETCH };

/* A connection, a request, or a download. */
struct carried {
    struct carrier_conn conn; /* first: what the others get is its address */
    struct carrier_post post;
    struct carrier_fetch fetch;
    uint32_t id;
    enum carried_kind kind;
    bool open, closing; /* a download is open once it has begun */
    size_t queued;      /* bytes that are not known to be sent */
    size_t max_message;
    int64_t deadline_ms; /* monotonic: something must have come until then; 0: nothing has to */
    bool overdue;        /* it was so when it was looked at last */
    struct carrier_conn_events events;
    void (*done)(void *ctx, int status, const char *body, size_t len, const char *failure);
    /* Of a download: */
    void (*began)(void *ctx, struct carrier_fetch *fetch, int64_t offset, int64_t total_bytes);
    void (*data)(void *ctx, struct carrier_fetch *fetch, const char *data, size_t len);
    void (*fetched)(void *ctx, int status, const char *failure);
    int64_t offset; /* asked for, then how far it has come */
    int64_t total_bytes;
    size_t credit; /* bytes that may come */
    uint32_t silence_ms;
    void *ctx;
    UT_hash_handle hh;
};

struct carrier_process {
    struct carrier base;
    struct carrier_process_config config;
    struct sandbox_user user;
    struct channel_pipe pipe;
    uv_process_t process;
    uv_timer_t timer; /* of restarts, and of what is overdue */
    struct carried *all;
    uint32_t last_id;
    bool up;                      /* there is a process, and it is talked to */
    bool untold;                  /* it has gone away by itself, and that was not logged yet */
    bool pipe_open, process_open; /* handles */
    int64_t since_ms;
    uint32_t deaths; /* in a row */
    bool ending;
    void (*done)(void *ctx);
    void *done_ctx;
};

static inline struct carrier_process *carrier_process_of(const struct carrier *c)
{
    return (struct carrier_process *)(uintptr_t)c;
}

/* ---- carrier_process.c ------------------------------------------------------------------------
 */

/* Something has to come within so many ms, or the process hangs; 0: nothing has to. */
void carrier_process_expect(struct carrier_process *cp, struct carried *x, int64_t within_ms);
/* Ends what is under way, then the process: the `end` of carrier_ops. */
void carrier_process_end(struct carrier *c, void (*done)(void *ctx), void *ctx);

/* ---- carrier_process_ops.c --------------------------------------------------------------------
 */

extern const struct carrier_ops carrier_process_ops;
/* A frame about something under way. False: it breaks the rules. */
bool carried_frame(struct carrier_process *cp, const struct channel_frame *frame);
/* Tells its owner that it is over, and frees it. */
void carried_end(struct carrier_process *cp, struct carried *x, enum net_end end,
                 const char *reason);
