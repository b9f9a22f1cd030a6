/*
 * dispatcher: the open rollouts, the servers with their queues, and the agents' sessions.
 *
 * What comes in (commands of people, agents' frames, deadlines) becomes an event; the engine takes
 * it; event and notes go to the journal; and only when they are durable do the decisions that
 * followed from them go out: frames to agents, acknowledgements, answers to people. The engine is
 * therefore ahead of the journal by at most what is being committed, and nobody outside sees it
 * before it is durable.
 *
 * Each server has a queue of rollouts in the order of their submission. A rollout enters the queues
 * of all its servers at once, so rollouts wait only for older ones and never for each other in a
 * ring; the one at the head holds the server until it ends. One that has ended and is opened again
 * to be undone enters the queues of the servers that it undoes, where nobody is in them.
 *
 * No sockets, no loop, no clock in here: sessions, time and the deadline come through
 * dispatcher_config, and the journal by its own seam (journal.h), so that a simulator can run this
 * very code.
 *
 * Threading: one thread. I/O: none of its own.
 */
#pragma once

#include "common/base/buf.h"
#include "common/base/error.h"
#include "common/plan/plan.h"
#include "orchestrator/engine/engine.h"
#include "orchestrator/journal/journal.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct dispatcher;

enum {
    DISPATCH_MAX_OPEN = 1000,       /* rollouts that have not ended */
    DISPATCH_MAX_SERVERS = 1000000, /* servers known */
    DISPATCH_ENDED_KEPT = 8         /* ended rollouts kept in memory for readers */
};

/* An agent did what none does that is what it should be: what was tried, and was refused. */
struct dispatcher_alarm {
    const char *what;   /* "agent.hello", "agent.report", "agent.frame" */
    const char *server; /* that it is known as, or says that it is; NULL: nobody's */
    const char *peer;
    const char *detail;
};

struct dispatcher_config {
    struct journal *journal; /* borrowed until dispatcher_free */
    int64_t heartbeat_ms;    /* what agents are told; a session is silent after three */
    /* Why nothing may be dispatched (borrowed): rollouts can be looked at, paused and cancelled on
     * paper, but no agent is welcomed, no deadline passes, and a submit is refused with this. NULL:
     * as usual. */
    const char *held;
    void *ctx;
    int64_t (*now_mono_ms)(void *ctx);
    int64_t (*now_wall_ms)(void *ctx);
    /* The earliest deadline may have changed: see dispatcher_next_deadline. */
    void (*rearm)(void *ctx);
    /* Sends a frame on a session's connection; false: it is closing (its end will be told). */
    bool (*send)(void *conn, const char *data, size_t len);
    void (*close)(void *conn, uint16_t code, const char *reason);
    /* Something about a rollout is durable: readers of its events can go on. */
    void (*changed)(void *ctx, const char *rollout, uint64_t last_seq);
    /* Live output of a running step, as JSON text; nothing is kept of it here. */
    void (*output)(void *ctx, const char *rollout, const char *json, size_t len);
    /* The journal has failed for good, or memory is out where nothing can be undone: the process
     * must end; a restart goes on from the journal. */
    void (*fatal)(void *ctx, const struct error *err);
    /* For the log: what went on between the dispatcher and a server. */
    void (*note)(void *ctx, const char *what, const char *server, const char *detail);
    /* May be NULL. */
    void (*alarm)(void *ctx, const struct dispatcher_alarm *alarm);
};

/* Loads what has not ended from the journal and goes on with it. */
enum error_code dispatcher_new(const struct dispatcher_config *config,
                               struct dispatcher **ret_dispatcher, struct error *err) MUST_CHECK;
/* After journal_close: no append is under way any more. NULL is fine. */
void dispatcher_free(struct dispatcher *d);

/* False when nothing is due ever. */
bool dispatcher_next_deadline(const struct dispatcher *d, int64_t *ret_mono_ms);
/* Does what is due. */
void dispatcher_tick(struct dispatcher *d);

/* ---- Commands ----------------------------------------------------------------------------------
 */

/* The answer to a command, once durable; `id` is the rollout's. */
typedef void (*dispatcher_done)(void *ctx, enum error_code result, const struct error *err,
                                const char *id);

struct dispatcher_submit {
    const char *id;       /* NULL: a random one */
    const char *by;       /* NULL: not said */
    bool check;           /* change nothing: see engine.h */
    bool no_wait;         /* refuse (ERR_BUSY) when another rollout holds one of the servers */
    dispatcher_done done; /* NULL: no answer is wanted */
    void *ctx;
};

/* Begins a rollout. Takes the plan over on success only. The same id with the same plan answers
 * with the rollout that is there (*ret_repeat, set before `done` can come), with another plan,
 * or a check for what was none, ERR_EXISTS. ERR_LIMIT: DISPATCH_MAX_OPEN. ERR_CONFLICT: of a
 * signed plan, which was changed since, or has expired, or may not begin yet. On any error `done`
 * is not called; on success it may come before this returns. */
enum error_code dispatcher_submit(struct dispatcher *d, struct plan *plan,
                                  const struct dispatcher_submit *request, bool *ret_repeat,
                                  struct error *err) MUST_CHECK;

/* The same with the plan of a rollout that has ended, over those of its servers that are not
 * succeeded, linked to it; a check's retry is a check. ERR_NOT_FOUND: no such rollout;
 * ERR_CONFLICT: it has not ended, nothing of it is left to do, or its plan is signed; ERR_EXISTS: a
 * rollout with the wanted id that is not its retry. */
enum error_code dispatcher_retry(struct dispatcher *d, const char *of,
                                 const struct dispatcher_submit *request, bool *ret_repeat,
                                 struct error *err) MUST_CHECK;

enum dispatcher_command { COMMAND_PAUSE, COMMAND_RESUME, COMMAND_CANCEL };
struct dispatcher_order {
    enum dispatcher_command command;
    bool now, rollback; /* cancel */
    const char *by, *reason;
};
/* ERR_NOT_FOUND; ERR_CONFLICT with why it is not possible now. */
enum error_code dispatcher_order(struct dispatcher *d, const char *id,
                                 const struct dispatcher_order *order, dispatcher_done done,
                                 void *ctx, struct error *err) MUST_CHECK;

/* Undoes a rollout, also one that has ended: that is opened again and holds the servers that are
 * undone until it ends once more. */
struct dispatcher_rollback {
    const char *const *servers; /* these alone, out of turn */
    size_t server_count;        /* 0: all that was touched */
    bool now;                   /* all: end running steps too */
    bool force; /* these: also where somebody else, or a later rollout, changed it */
    const char *by, *reason;
};
/* ERR_NOT_FOUND: no such rollout, or server in it. ERR_INVALID: force without, or now with servers.
 * ERR_CONFLICT: there is nothing to undo, or it is under way; or a server is locked, or held or
 * waited for by another rollout, or touched by a later one that is not undone (this not when
 * forced). ERR_LIMIT: DISPATCH_MAX_OPEN. Then nothing has changed. */
enum error_code dispatcher_rollback(struct dispatcher *d, const char *id,
                                    const struct dispatcher_rollback *order, dispatcher_done done,
                                    void *ctx, struct error *err) MUST_CHECK;

/* How a person found, or left, a server that is unknown or could not be rolled back. */
struct dispatcher_resolve {
    const char *server;
    enum execution_state as; /* succeeded, failed or rolled_back */
    const char *by, *reason;
};
/* ERR_NOT_FOUND: no such rollout, or server in it. ERR_CONFLICT: it is not in such a state. */
enum error_code dispatcher_resolve(struct dispatcher *d, const char *id,
                                   const struct dispatcher_resolve *resolve, dispatcher_done done,
                                   void *ctx, struct error *err) MUST_CHECK;

/* A server on which nothing new is to begin; what is under way goes on. */
struct dispatcher_lock {
    const char *server; /* may be one that nobody has seen yet */
    const char *by;     /* NULL: not said */
    const char *reason; /* of a lock, not NULL */
};
/* `done` gives the server's id. ERR_CONFLICT: it is locked already (by whom), or not. */
enum error_code dispatcher_lock(struct dispatcher *d, const struct dispatcher_lock *lock,
                                dispatcher_done done, void *ctx, struct error *err) MUST_CHECK;
enum error_code dispatcher_unlock(struct dispatcher *d, const struct dispatcher_lock *lock,
                                  dispatcher_done done, void *ctx, struct error *err) MUST_CHECK;

/* ---- Agents' sessions --------------------------------------------------------------------------
 */

struct session;

/* A connection came; the session waits for its hello. `conn` is what send and close get; `peer` is
 * copied. */
enum error_code dispatcher_session_open(struct dispatcher *d, void *conn, const char *peer,
                                        struct session **ret_session, struct error *err) MUST_CHECK;
/* Whom it has shown to be, before its first frame: it can say hello as that server alone, and is
 * ended after not_after_ms (wall clock). `server` is copied. */
enum error_code dispatcher_session_bind(struct session *s, const char *server, int64_t not_after_ms,
                                        struct error *err) MUST_CHECK;
/* Ends every session of a server, or bound to it, at once: nothing more is taken from them. */
void dispatcher_server_end(struct dispatcher *d, const char *server, const char *reason);
/* One frame. Protocol faults close the connection. */
void dispatcher_session_frame(struct session *s, const char *data, size_t len);
/* The connection is gone; frees the session. `reason` is for the log. */
void dispatcher_session_closed(struct session *s, const char *reason);

/* ---- Views (borrowed until the next call that changes something)
 * --------------------------------- */

struct rollout_view {
    const char *id, *by, *retry_of; /* the last two may be NULL */
    const struct plan *plan;
    const struct engine *engine;
    uint64_t last_seq;
    int64_t created_ms, ended_ms;
};
/* Loads an ended rollout when needed. ERR_NOT_FOUND. What it shows may be on its way to the disk:
 * it may be told once a barrier that is set now has passed. While the journal is stalled it shows
 * what is durable. */
enum error_code dispatcher_rollout(struct dispatcher *d, const char *id,
                                   struct rollout_view *ret_view, struct error *err) MUST_CHECK;
/* Lets an ended rollout go out of memory, since the journal is about to remove it. False when
 * something of it is still under way. */
bool dispatcher_forget(struct dispatcher *d, const char *id);
/* The rollout that this one's execution on a server waits for; NULL when none. */
const char *dispatcher_waiting_for(struct dispatcher *d, const char *id, uint32_t server);
bool dispatcher_connected(struct dispatcher *d, const char *server);
/* Appends what a running step has printed so far; false when nothing is known of it. */
bool dispatcher_live_output(struct dispatcher *d, const char *id, uint32_t server, uint32_t step,
                            struct buf *b, int32_t *ret_attempt);

/* ---- Artifacts: which plan names which, anywhere in its params and vars. Found once per plan
 * -----
 */

/* Whether a server may have it for the sake of that rollout: it is one of the rollout's, and the
 * plan names it. ERR_NOT_FOUND: no. */
enum error_code dispatcher_artifact_for(struct dispatcher *d, const char *id, const char *server,
                                        const char *digest, struct error *err) MUST_CHECK;
/* Whether no rollout that has not ended names it. ERR_CONFLICT: which one does. */
enum error_code dispatcher_artifact_free(struct dispatcher *d, const char *digest,
                                         struct error *err) MUST_CHECK;

struct server_view {
    const char *id;
    bool connected;
    const char *version, *hostname, *peer; /* NULL: never seen */
    const char *labels, *facts;            /* sets as JSON, see value_json.h; NULL: none */
    int64_t since_ms;    /* wall clock; connected since, or gone since; 0: never seen */
    const char *rollout; /* that holds it; NULL */
    uint32_t waiting;
    const char *const *handlers;
    size_t handler_count;
    int64_t undo_bytes, undo_max_bytes; /* kept by its agent for undo, and at most (0: no limit) */
    bool locked;
    const char *locked_by, *lock_reason; /* locked_by may be NULL */
    int64_t locked_ms;
};
/* Servers by id, after `after` (NULL: from the first). Stops when `each` returns false. */
enum error_code dispatcher_servers(struct dispatcher *d, const char *after,
                                   bool (*each)(void *ctx, const struct server_view *v), void *ctx,
                                   struct error *err) MUST_CHECK;
enum error_code dispatcher_server(struct dispatcher *d, const char *id,
                                  struct server_view *ret_view, struct error *err) MUST_CHECK;

enum { DISPATCH_UNDO_HIGH_PERCENT = 80 }; /* of undo_max_bytes */
struct dispatcher_stats {
    size_t open, servers, connected, locked;
    size_t undo_high;    /* servers whose agents keep more than DISPATCH_UNDO_HIGH_PERCENT */
    uint64_t undo_bytes; /* kept by all agents, as they said last */
    uint64_t events, reports, duplicates, executes, rollbacks, outputs;
};
struct dispatcher_stats dispatcher_stats(const struct dispatcher *d);
