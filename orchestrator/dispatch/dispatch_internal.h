/*
 * dispatch_internal: what the files of this folder share. See dispatcher.h.
 *
 *   dispatcher.c  life, deadlines, views
 *   submit.c      new rollouts: submitted, or retried
 *   order.c       what people order of a rollout
 *   lock.c        servers that people lock
 *   rollout.c     a rollout in memory, and its transactions
 *   queue.c       the servers' queues, and what goes out to agents
 *   session.c     what agents say
 *   fleet.c       the servers that are known
 *   sealed.c      signed plans
 *   mention.c     the artifacts that plans name
 */
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
#define uthash_malloc(size_bytes) mem_alloc(size_bytes)
#define uthash_free(p, size_bytes) mem_free(p)
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
    struct slot *prev, *next; /* in the server's queue, or in its list of those apart */
    struct timer timer;       /* TIMER_START or TIMER_RECONNECT */
    struct output *live;      /* what the running step has printed; NULL: nothing yet */
    uint32_t index;           /* in the plan */
    int32_t live_step, live_attempt;
    bool queued;     /* in the server's queue */
    bool apart;      /* not queued, and an order stands, or its agent has it in hand, or returns */
    bool standing;   /* the engine has an order to its agent; ahead of the journal */
    bool touched;    /* the journal knows, or is about to, that it was touched */
    bool undone;     /* the same: that this was undone */
    bool wanted;     /* the engine said start, and it has not settled */
    bool sent;       /* an execute has gone out, or may have before a restart */
    bool rollback;   /* the engine said undo, and that stands: */
    bool undo_force; /* so, and in that round, as far as is durable */
    int64_t undo_round;
    bool returning; /* it was unknown, and the last hello listed it: a report of it comes */
    bool missing;   /* it was in hand, and the last hello did not list it */
    bool lost;      /* the agent came back without any record of it */
    uint8_t cancel; /* 0: no, 1: after the running step, 2: now */
};

struct rollout {
    struct dispatcher *d;
    char id[ID_BUFFER];
    char by[ID_BUFFER];       /* "": not said */
    char retry_of[ID_BUFFER]; /* "": no retry */
    struct plan *plan;
    struct engine *engine;
    struct slot *slots;
    uint32_t slot_count;
    char *steps_json; /* the execute frames' steps, made when first needed */
    size_t steps_len;
    enum { VALUES_UNKNOWN, VALUES_NO, VALUES_YES } values; /* see plan_has_values */
    struct sealed *sealed;     /* of a signed plan, made when first needed */
    struct mentions *mentions; /* the artifacts that its plan names, found when first needed */
    uint64_t last_seq;         /* of the last event appended */
    int64_t created_ms, ended_ms;
    struct timer batch_timer;
    uint32_t batch_due;
    uint32_t appends;  /* under way: the rollout must stay */
    uint32_t standing; /* slots with an order that stands: it must stay, too */
    bool open;         /* counted among the open ones: slots of it are in the servers' queues */
    uint64_t used;     /* when an ended one was last looked at */
    UT_hash_handle hh;
};

/* A lock that a person has set. */
struct lock {
    bool set;
    bool changing; /* it is being made durable, or that it is over */
    int64_t time_ms;
    char *by, *reason; /* by: NULL: not said */
};

struct server {
    char id[ID_BUFFER];
    struct session *session; /* NULL: not connected */
    struct slot *head, *tail;
    struct slot *apart; /* see struct slot */
    uint32_t queue_length;
    struct lock lock;
    int64_t undo_bytes, undo_max_bytes; /* as its agent said last */
    bool checks, values, secrets;       /* the same: it knows checks, vars and when, and secrets */
    char *labels, *facts;               /* the same; sets as JSON, NULL: none */
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
    char *bound;          /* the server that it has shown to be; NULL: it need not be any */
    int64_t not_after_ms; /* of what has shown that */
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
    struct plan *durable_plan; /* of the view given last, while the journal was stalled */
    struct engine *durable_engine;
    bool failed;      /* fatal was called: nothing goes out any more */
    struct buf frame; /* scratch for one frame */
    struct dispatcher_stats stats;
};

/* ---- durable.c: views while the journal is stalled
 * --------------------------------------------- */

/* The engine is ahead of the journal, and not for the moment of a commit alone. */
bool durable_is_behind(const struct rollout *r);
/* Changes the view to what is durable. ERR_NOT_FOUND: nothing of it is. */
enum error_code durable_view(const struct rollout *r, struct rollout_view *view,
                             struct error *err) MUST_CHECK;
void durable_forget(struct dispatcher *d);

/* ---- fleet.c: servers
 * ---------------------------------------------------------------------------- */

struct server *fleet_find(struct dispatcher *d, const char *id);
/* Finds or adds. ERR_LIMIT, ERR_NO_MEMORY. */
enum error_code fleet_get(struct dispatcher *d, const char *id, struct server **ret_server,
                          struct error *err) MUST_CHECK;
void fleet_describe(struct dispatcher *d, struct server *server, const struct wire_hello *hello,
                    const char *peer);
/* Its agent has found them out anew. */
void fleet_take_facts(struct server *server, const char *facts);
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
/* Makes a rollout that has not ended an open one: it enters the queues of the servers that it
 * holds. Again: of those that it holds by now. */
void rollout_open(struct rollout *r);
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
    struct slot *settled; /* a person has settled it, and its agent goes on; NULL: none */
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
/* Drops it: nothing was applied, or fatal was called, and half of what was applied must not become
 * durable. */
void tx_abandon(struct tx *tx);
/* Has what an order changed about an undo that stands said once it is durable. */
enum error_code tx_tell_undo(struct tx *tx, uint32_t server, struct error *err) MUST_CHECK;
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
/* It is in its server's list of those apart if it belongs there. */
void queue_sort(struct slot *slot);
/* Lets the first of a queue go when the engine wants it. */
void queue_pump(struct server *server);
/* A lock was set: what was not sent to its agent is not waited for. */
void queue_locked(struct server *server);
/* Takes all of a rollout's slots out of the queues and lets the next ones go. */
void queue_release(struct rollout *r);
void queue_decide(struct rollout *r, const struct decision *decision);
/* Says to a server that has (again) a session what is to be said. */
void queue_connected(struct server *server, const struct wire_hello *hello);
/* Has an agent stop that came back, at work on what a person has settled since. */
void queue_stop_settled(struct slot *slot);
/* The session's agent has answered: what its hello said is how it is now. */
void queue_proven(struct server *server);
/* A step has that server rebooted, and it is not known to be back. */
bool queue_reboots(const struct server *server);
void queue_disconnected(struct server *server);
/* When its agent has it in hand and is away, that is not waited for for ever. */
void queue_await(struct slot *slot);
/* After an event about that slot: timers and flags follow the engine. */
void queue_settle(struct slot *slot);
void queue_timer(struct slot *slot, enum timer_kind kind);
/* After a restart: deadlines for executions whose agents are not here. */
void queue_resume(struct rollout *r);
void queue_arm(struct dispatcher *d, struct timer *timer, enum timer_kind kind, void *owner,
               int64_t delay_ms);
/* Sends d->frame to a server; false when it has no session. */
bool queue_send(struct server *server, const struct wire_frame *frame);

/* ---- sealed.c: signed plans
 * ----------------------------------------------------------------------- */

/* Refuses a signed plan that no agent would run: changed since it was signed, or not of this time.
 * ERR_CONFLICT. Agents check the signatures. */
enum error_code sealed_check(const struct plan *plan, int64_t now_ms, struct error *err) MUST_CHECK;
/* What an execute for that server says of it beside the steps. What `ret` points at is borrowed
 * until the next call for the rollout. */
enum error_code sealed_fill(struct rollout *r, uint32_t server, struct wire_seal *ret,
                            struct error *err) MUST_CHECK;
void sealed_free(struct sealed *sealed); /* NULL is fine */

/* ---- mention.c ----------------------------------------------------------------------------------
 */

void mentions_free(struct mentions *mentions); /* NULL is fine */

/* ---- lock.c -------------------------------------------------------------------------------------
 */

/* Takes the locks that stand from the journal. */
enum error_code lock_restore(struct dispatcher *d, struct error *err) MUST_CHECK;
void lock_done(struct lock *lock);
/* "locked by WHO: REASON" */
void lock_describe(const struct lock *lock, struct buf *b);

/* ---- dispatcher.c -------------------------------------------------------------------------------
 */

/* A command that cannot be made durable now is refused at once, rather than left to hang. */
enum error_code dispatcher_writable(struct dispatcher *d, struct error *err) MUST_CHECK;

/* ---- session.c ----------------------------------------------------------------------------------
 */

void session_timer(struct session *s);
void session_fault(struct session *s, const char *why);
void session_free_all(struct dispatcher *d);
