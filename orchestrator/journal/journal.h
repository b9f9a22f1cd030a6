/*
 * journal: the durable record of rollouts: their plans, events and outputs.
 *
 * The seam is small, because a second implementation on a replicated store will follow: append with
 * the expected sequence, load one rollout, scan the open ones, read on from a sequence number. The
 * SQLite implementation has one writer thread with group commit (common/db/writer.h) and a
 * read-only connection for the owner's thread.
 *
 * Nothing is acted on before it is durable: `done` of an append comes after the commit.
 *
 * Threading: all calls on the owner's thread; `wake` comes on threads of the journal's own and must
 * only signal the owner's loop, which then calls journal_collect. I/O: the data directory.
 */
#pragma once

#include "common/base/buf.h"
#include "common/base/cleanup.h"
#include "common/base/error.h"
#include "common/db/writer.h"
#include "common/plan/plan.h"
#include "orchestrator/engine/engine.h"
#include "orchestrator/engine/event.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct journal;

enum {
    JOURNAL_MAX_READ = 1000 /* events or rollouts given by one call */
};

/* Opens or makes DIR/journal.db (and DIR, mode 0700). Holds DIR/lock: ERR_BUSY when another process
 * has it, naming the directory and that process's pid. Raises the epoch durably. ERR_DENIED,
 * ERR_CORRUPT, ERR_NO_SPACE, ERR_IO name the file and the remedy. */
enum error_code journal_open(const char *dir, void (*wake)(void *ctx), void *wake_ctx,
                             struct journal **ret_journal, struct error *err) MUST_CHECK;
/* Waits until what was appended is durable, calls the remaining `done`s, closes. NULL is fine. */
void journal_close(struct journal *j);
const char *journal_identity(const struct journal *j); /* made once with the journal */
int64_t journal_epoch(const struct journal *j);        /* one more with each open */
const char *journal_dir(const struct journal *j);
struct db_log journal_log_found(const struct journal *j); /* what a crash had left; see db_log.h */
/* True when the database is older than DIR/epoch says: restored from a backup, or its log was lost.
 * Then the epoch was not raised and nothing of it may be acted upon; *ret_why (may be NULL) says
 * so, with the remedy. Identity is "" when there is none. */
bool journal_held(const struct journal *j, struct error *ret_why);

/* ---- Appending ---------------------------------------------------------------------------------
 */

/* What a rollout looks like from outside, for lists; written with the events that change it. */
struct journal_summary {
    enum rollout_state state;
    struct engine_counts counts;
    uint32_t servers;
    bool check; /* it changes nothing: see engine.h */
    int64_t created_ms;
    int64_t ended_ms; /* 0: not yet */
    bool undo_owed;   /* ended, and an order to an agent stands: journal_scan_open gives it */
};

/* All that is known of one step's output; replaces what was there for that attempt. */
struct journal_output {
    uint32_t server, step;
    int32_t attempt;
    const char *text; /* copied by journal_append_output */
    size_t len;
};

/* One atomic piece of one rollout's history. Made by journal_append_new, filled, then given away
 * by journal_append. */
struct journal_append;

/* `rollout` is copied. `expected_seq` is the sequence number that the first event gets; the append
 * fails with ERR_CONFLICT when the journal's next number is another. */
enum error_code journal_append_new(const char *rollout, uint64_t expected_seq,
                                   struct journal_append **ret_append,
                                   struct error *err) MUST_CHECK;
/* For the first append of a rollout: its canonical plan text, and who submitted it (copied). An id
 * that exists gives ERR_EXISTS when it is applied. */
enum error_code journal_append_create(struct journal_append *a, const struct plan *plan,
                                      const char *plan_json, size_t plan_len, const char *by,
                                      struct error *err) MUST_CHECK;
/* For the same append: the rollout whose servers it retries (copied). */
enum error_code journal_append_retry_of(struct journal_append *a, const char *rollout,
                                        struct error *err) MUST_CHECK;
/* Adds an event (texts copied); numbers run on from expected_seq. The plan gives the names of
 * server and step that are stored. */
enum error_code journal_append_event(struct journal_append *a, const struct plan *plan,
                                     const struct event *event, struct error *err) MUST_CHECK;
enum error_code journal_append_output(struct journal_append *a, const struct journal_output *output,
                                      struct error *err) MUST_CHECK;
/* Records that the rollout has changed a server, or may have, and whether that is undone; the last
 * one of a server counts. */
enum error_code journal_append_touch(struct journal_append *a, const struct plan *plan,
                                     uint32_t server, bool undone, struct error *err) MUST_CHECK;
void journal_append_summary(struct journal_append *a, const struct journal_summary *summary);
uint64_t journal_append_last_seq(const struct journal_append *a); /* of the last event added */
/* Gives it to the writer, which frees it after done(ctx, result): on the owner's thread, in order
 * of append, out of journal_collect or journal_close. `err` is NULL on ERR_OK. */
void journal_append(struct journal *j, struct journal_append *a,
                    void (*done)(void *ctx, enum error_code result, const struct error *err),
                    void *ctx);
void journal_append_free(struct journal_append *a); /* one that was not given away; NULL is fine */
/* Calls the `done`s of what has become durable. After each wake. */
void journal_collect(struct journal *j);
/* Calls done once all that was appended before is durable; at once when nothing is under way. When
 * an append before it fails, done comes after that append's own done, which has told of it. False,
 * and done is never called: out of memory. */
bool journal_barrier(struct journal *j, void (*done)(void *ctx), void *ctx);
/* True while appends cannot be made durable (out of space), or never again (*ret_final). */
bool journal_stalled(struct journal *j, bool *ret_final, struct error *ret_why);
void journal_retry(struct journal *j); /* tries again after a stall */
struct writer_stats journal_stats(struct journal *j);

/* ---- Reading (durable state only) --------------------------------------------------------------
 */

struct journal_rollout {
    const char *id, *name, *by; /* borrowed for the callback; all but id may be NULL */
    const char *retry_of;
    struct journal_summary summary;
    uint64_t last_seq;
};
/* Return false from a callback to stop. */

/* Rollouts that have not ended, oldest first; among them those that have, and of which an undo was
 * given up on or is still owed. */
enum error_code journal_scan_open(struct journal *j,
                                  bool (*each)(void *ctx, const struct journal_rollout *r),
                                  void *ctx, struct error *err) MUST_CHECK;
/* Newest first; only older than `before_id` when it is not NULL; at most `limit`. */
enum error_code journal_list(struct journal *j, const char *before_id, uint32_t limit,
                             bool (*each)(void *ctx, const struct journal_rollout *r), void *ctx,
                             struct error *err) MUST_CHECK;
/* One rollout by its id. ERR_NOT_FOUND. */
enum error_code journal_get(struct journal *j, const char *id,
                            bool (*each)(void *ctx, const struct journal_rollout *r), void *ctx,
                            struct error *err) MUST_CHECK;
/* The full id for a unique prefix. ERR_NOT_FOUND; ERR_CONFLICT when several begin so. */
enum error_code journal_resolve(struct journal *j, const char *prefix, char ret_id[129],
                                struct error *err) MUST_CHECK;
/* Plan (caller owns) and engine (caller owns; borrows the plan) with all events replayed. The
 * decisions of the replay have been taken and dropped; call engine_resume for the standing ones.
 * ERR_CORRUPT says which event does not fit. */
enum error_code journal_load(struct journal *j, const char *id, struct plan **ret_plan,
                             struct engine **ret_engine, uint64_t *ret_last_seq,
                             struct error *err) MUST_CHECK;
/* The plan's canonical text, appended to `b`. */
enum error_code journal_plan_text(struct journal *j, const char *id, struct buf *b,
                                  struct error *err) MUST_CHECK;
/* Events after `after_seq` as they are stored: one JSON object each, with "seq", "time", "type" and
 * what applies by name. At most `limit`. */
enum error_code journal_events(struct journal *j, const char *id, uint64_t after_seq,
                               uint32_t limit,
                               bool (*each)(void *ctx, uint64_t seq, const char *type,
                                            const char *json, size_t len),
                               void *ctx, struct error *err) MUST_CHECK;
/* The message of one event, appended to `b` (nothing when it has none). */
enum error_code journal_event_message(struct journal *j, const char *id, uint64_t seq,
                                      struct buf *b, struct error *err) MUST_CHECK;
/* The last attempt's output of a step, appended to `b`. ERR_NOT_FOUND. */
enum error_code journal_output(struct journal *j, const char *id, uint32_t server, uint32_t step,
                               struct buf *b, int32_t *ret_attempt, struct error *err) MUST_CHECK;

/* ---- Servers: locks that people set, and who touched what (journal_server.c) -------------------
 */

/* The last lock of a server. */
struct journal_server_lock {
    const char *server;
    bool locked;
    const char *by, *reason; /* of the lock; by may be NULL */
    int64_t time_ms;
    const char *unlocked_by; /* when not locked any more; may be NULL */
    int64_t unlocked_ms;
};
/* Makes it durable (texts copied), in order with appends; `done` comes as that of an append. */
enum error_code journal_put_lock(struct journal *j, const struct journal_server_lock *lock,
                                 void (*done)(void *ctx, enum error_code result,
                                              const struct error *err),
                                 void *ctx, struct error *err) MUST_CHECK;
/* The servers that are locked, by id. */
enum error_code journal_locks(struct journal *j,
                              bool (*each)(void *ctx, const struct journal_server_lock *lock),
                              void *ctx, struct error *err) MUST_CHECK;
/* The last lock of one server, also one that is over. ERR_NOT_FOUND: it never was locked. */
enum error_code journal_get_lock(struct journal *j, const char *server,
                                 bool (*each)(void *ctx, const struct journal_server_lock *lock),
                                 void *ctx, struct error *err) MUST_CHECK;

/* A rollout that began a step on a server which may have changed it. */
struct journal_touch {
    const char *rollout;
    int64_t created_ms; /* of the rollout */
    bool undone;
};
/* Those that touched a server, newest first; at most `limit`. */
enum error_code journal_touches(struct journal *j, const char *server, uint32_t limit,
                                bool (*each)(void *ctx, const struct journal_touch *touch),
                                void *ctx, struct error *err) MUST_CHECK;
/* The newest rollout submitted after `rollout` that touched the server and is not undone there.
 * *ret_id is "" when there is none. ERR_NOT_FOUND: no such rollout. */
enum error_code journal_later_touch(struct journal *j, const char *rollout, const char *server,
                                    char ret_id[129], struct error *err) MUST_CHECK;
/* Bytes on disk. */
int64_t journal_size_bytes(struct journal *j);

/* ---- Upkeep ------------------------------------------------------------------------------------
 */

struct journal_finding {
    const char *file;
    const char *rollout; /* NULL: of the file as a whole */
    uint64_t seq;        /* of the event; 0: none */
    const char *what;
};
struct journal_checked {
    uint64_t rollouts, events, outputs, findings;
    int64_t size_bytes;
};
/* Checks the journal in DIR without changing anything in it: SQLite's own check, every row's sum,
 * and each rollout's events replayed through a fresh engine and compared with its summary. Tells
 * each finding. ERR_OK also when there are some, and when the database cannot even be opened for
 * damage. ERR_BUSY: an orchestrator runs on it; ERR_NOT_FOUND: no journal there. */
enum error_code journal_check(const char *dir,
                              void (*each)(void *ctx, const struct journal_finding *finding),
                              void *ctx, struct journal_checked *ret_checked,
                              struct error *err) MUST_CHECK;

/* Says that a journal which journal_held is to go on: its next journal_open begins an epoch above
 * all that DIR/epoch knows of, and not below `epoch` (0: not said). ERR_BUSY and the like: as
 * journal_open. */
enum error_code journal_accept_restored(const char *dir, int64_t epoch,
                                        struct error *err) MUST_CHECK;

/* Makes a consistent copy of the database beside it, on a thread of its own; the journal goes on
 * meanwhile. `done` comes on the owner's thread, out of journal_collect or journal_close: with a
 * descriptor of the copy (the receiver closes it; the file has no name any more), or -1 and why
 * not. ERR_BUSY: one is being made; on an error `done` is not called. */
enum error_code journal_backup(struct journal *j,
                               void (*done)(void *ctx, enum error_code result,
                                            const struct error *err, int fd, int64_t size_bytes),
                               void *ctx, struct error *err) MUST_CHECK;

struct journal_retention {
    int64_t before_ms; /* wall clock: rollouts that ended before it go */
    /* Asked before a rollout is removed: false leaves it for another time. From true on it is not
     * found any more. */
    bool (*may)(void *ctx, const char *id);
    void (*done)(void *ctx, enum error_code result, const struct error *err, uint64_t removed);
    void *ctx;
};
/* Removes ended rollouts with their events and outputs, piece by piece between other work, and
 * gives the space back. Those with undo still owed stay. `done` comes out of journal_collect or
 * journal_close. ERR_BUSY: it is under way; ERR_UNAVAILABLE: journal_held. On an error `done` is
 * not called. */
enum error_code journal_retain(struct journal *j, const struct journal_retention *how,
                               struct error *err) MUST_CHECK;
