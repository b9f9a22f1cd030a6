/* dispatch_internal: what the files of this folder share. See dispatcher.h. */
#pragma once

#include "common/base/alloc.h"
#include "common/base/array.h"
#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/id.h"
#include "common/base/output.h"
#include "common/base/timers.h"
#include "common/wire/wire.h"
#include "orchestrator/dispatch/dispatcher.h"

/* Failing to add to a hash must be an error, not the end of the process. */
#define HASH_NONFATAL_OOM 1
#include <uthash.h>

enum timer_kind {
    TIMER_START,     /* slot: the agent has not taken the execution on */
    TIMER_RECONNECT, /* slot: started, its agent is away */
    TIMER_BATCH,     /* rollout: the delay before the next batch */
    TIMER_SILENCE    /* session: nothing heard */
};

/* One server of one rollout: its place in the server's queue and what is to be said to the agent.
 */
struct slot {
    struct rollout *rollout;
    struct server *server;
    struct slot *prev, *next; /* in the server's queue */
    struct timer timer;       /* TIMER_START or TIMER_RECONNECT */
    struct output *live;      /* what the running step has printed; NULL: nothing yet */
    uint32_t index;           /* in the plan */
    int32_t live_step, live_attempt;
    bool queued;    /* in the server's queue */
    bool wanted;    /* the engine said start, and it has not settled */
    bool sent;      /* an execute has gone out, or may have before a restart */
    bool rollback;  /* the engine said undo, and it has not settled */
    bool missing;   /* it was in hand, and the last hello did not list it */
    bool lost;      /* the agent came back without any record of it */
    uint8_t cancel; /* 0: no, 1: after the running step, 2: now */
};

struct rollout {
    struct dispatcher *d;
    char id[ID_BUFFER];
    char by[ID_BUFFER]; /* "": not said */
    struct plan *plan;
    struct engine *engine;
    struct slot *slots;
    uint32_t slot_count;
    char *steps_json; /* the execute frames' steps, made when first needed */
    size_t steps_len;
    uint64_t last_seq; /* of the last event appended */
    int64_t created_ms, ended_ms;
    struct timer batch_timer;
    uint32_t batch_due;
    uint32_t appends; /* under way: the rollout must stay */
    bool open;        /* counted among the open ones */
    bool queued;      /* its slots are in the servers' queues */
    uint64_t used;    /* when an ended one was last looked at */
    UT_hash_handle hh;
};

struct server {
    char id[ID_BUFFER];
    struct session *session; /* NULL: not connected */
    struct slot *head, *tail;
    uint32_t queue_length;
    char *version, *hostname, *instance, *boot_id, *peer;
    struct array handlers; /* char * */
    int64_t since_ms;
    UT_hash_handle hh;
};

struct session {
    struct dispatcher *d;
    void *conn;
    struct server *server; /* NULL: no hello yet, or replaced */
    char peer[64];
    int64_t heard_ms;
    struct timer timer;
    bool closing;
    bool proven; /* something was heard since the welcome */
    struct session *prev, *next;
};

struct dispatcher {
    struct dispatcher_config config;
    struct timers timers;
    struct rollout *rollouts; /* by id */
    struct server *servers;   /* by id */
    struct server **sorted;   /* by id, for lists; rebuilt when a server was added */
    size_t sorted_count;
    bool sorted_stale;
    struct session *sessions;
    uint64_t uses;
    size_t ended_loaded;
    bool failed;      /* fatal was called: nothing goes out any more */
    struct buf frame; /* scratch for one frame */
    struct dispatcher_stats stats;
};

/* ---- fleet.c: servers
 * ---------------------------------------------------------------------------- */

struct server *fleet_find(struct dispatcher *d, const char *id);
/* Finds or adds. ERR_LIMIT, ERR_NO_MEMORY. */
enum error_code fleet_get(struct dispatcher *d, const char *id, struct server **ret_server,
                          struct error *err) MUST_CHECK;
void fleet_describe(struct server *server, const struct wire_hello *hello, const char *peer);
void fleet_free(struct dispatcher *d);

/* ---- rollout.c: one rollout's life in memory, and its transactions
 * ------------------------------- */

/* Takes plan over on success. */
enum error_code rollout_new(struct dispatcher *d, const char *id, struct plan *plan,
                            struct engine *engine, struct rollout **ret_rollout,
                            struct error *err) MUST_CHECK;
void rollout_free(struct rollout *r);
struct rollout *rollout_find(struct dispatcher *d, const char *id);
/* Finds, or loads from the journal. ERR_NOT_FOUND. */
enum error_code rollout_get(struct dispatcher *d, const char *id, struct rollout **ret_rollout,
                            struct error *err) MUST_CHECK;
/* Drops it when nothing of it is under way. */
bool rollout_forget(struct rollout *r);
/* Drops ended rollouts that nobody looked at for longest, down to DISPATCH_ENDED_KEPT. */
void rollout_evict(struct dispatcher *d);

/* What is to happen once an append is durable. */
struct effect {
    struct rollout *rollout;
    struct decision *decisions; /* without notes */
    size_t count, capacity;
    uint64_t last_seq;
    /* To be acknowledged: */
    char server[ID_BUFFER]; /* "" : nobody */
    int64_t agent_seq;
    /* To be answered: */
    dispatcher_done done;
    void *done_ctx;
};

/* A transaction: events applied to the engine and on their way to the journal, as one append. */
struct tx {
    struct rollout *rollout;
    struct journal_append *append;
    struct effect *effect;
    size_t applied;
};
enum error_code tx_begin(struct tx *tx, struct rollout *r, struct error *err) MUST_CHECK;
/* Stamps time and number, applies, records event and notes. On an error nothing has changed and the
 * transaction can go on; but once memory is out after the engine has moved on, fatal is called. */
enum error_code tx_apply(struct tx *tx, struct event *event, struct error *err) MUST_CHECK;
enum error_code tx_output(struct tx *tx, uint32_t server, uint32_t step, int32_t attempt,
                          const char *text, struct error *err) MUST_CHECK;
/* Gives it to the journal; when nothing was applied it is dropped. False in that case. */
bool tx_commit(struct tx *tx);
void tx_abandon(struct tx *tx);
/* One event alone; a stale or impossible one is passed over. */
void rollout_apply(struct rollout *r, struct event *event);
/* The same; `done` (may be NULL) is called once it is durable, and not at all when it was passed
 * over.
 */
void rollout_apply_then(struct rollout *r, struct event *event, dispatcher_done done, void *ctx);
struct event rollout_event(enum event_type type, uint32_t server);
void dispatch_fatal(struct dispatcher *d, const struct error *err);

/* ---- queue.c: slots, and what goes out to agents
 * -------------------------------------------------- */

void queue_enter(struct slot *slot);
/* Takes all of a rollout's slots out of the queues and lets the next ones go. */
void queue_release(struct rollout *r);
void queue_decide(struct rollout *r, const struct decision *decision);
/* Says to a server that has (again) a session what is to be said. */
void queue_connected(struct server *server, const struct wire_hello *hello);
/* The session's agent has answered: what its hello said is how it is now. */
void queue_proven(struct server *server);
void queue_disconnected(struct server *server);
/* After an event about that slot: timers and flags follow the engine. */
void queue_settle(struct slot *slot);
void queue_timer(struct slot *slot, enum timer_kind kind);
/* After a restart: deadlines for executions whose agents are not here. */
void queue_resume(struct rollout *r);
void queue_arm(struct dispatcher *d, struct timer *timer, enum timer_kind kind, void *owner,
               int64_t delay_ms);
/* Sends d->frame to a server; false when it has no session. */
bool queue_send(struct server *server, const struct wire_frame *frame);

/* ---- session.c ----------------------------------------------------------------------------------
 */

void session_timer(struct session *s);
void session_fault(struct session *s, const char *why);
void session_free_all(struct dispatcher *d);
