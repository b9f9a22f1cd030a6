/*
 * journal_internal: what the SQLite journal's files share. For this folder alone.
 *
 *   journal_sqlite.c   opening, closing, the way of an append through the writer
 *   journal_append.c   an append: filled on the owner's thread, applied on the writer's
 *   journal_read.c     reading
 *   journal_server.c   what is kept of servers: locks, and which rollouts touched them
 *   journal_replay.c   a rollout's engine out of its events
 *   journal_upgrade.c  what journals of earlier versions lack, made of their events
 *   journal_lock.c     the data directory and its lock
 *   journal_check.c    looking for damage; journal_check_server.c: in what is kept of servers
 *   journal_backup.c   a copy, made while it runs
 *   journal_retain.c   removing old rollouts
 *   journal_record.c   identity and epoch, also beside the database
 *   journal_sum.c      sums of the rows
 *   journal_schema.c   tables and statements
 */
#pragma once

#include "common/base/id.h"
#include "orchestrator/journal/journal.h"

/* Hands a descriptor over and forgets it here. */
static inline int fd_take(int *fd)
{
    int taken = *fd;
    *fd = -1;
    return taken;
}

/* An event in journal_append.texts. */
struct append_event {
    enum event_type type;
    size_t offset, len;
};

struct append_output {
    struct append_output *next;
    uint32_t server, step;
    int32_t attempt;
    size_t len;
    char text[];
};

struct append_touch {
    uint32_t server;
    bool undone;
    size_t name; /* of the server, in journal_append.texts */
};

/* What is on its way through the writer, and whom to tell. */
struct journal_work {
    struct writer_work work; /* first: the writer hands it back */
    void (*done)(void *ctx, enum error_code result, const struct error *err);
    void *ctx;
    struct error why; /* of apply; the writer's thread until collected */
    void (*free)(struct journal_work *w);
};

struct journal_append {
    struct journal_work w; /* first */
    char rollout[ID_BUFFER];
    uint64_t expected_seq;

    bool create;
    char *name, *by, *retry_of, *plan_text; /* all but the last may be NULL */
    size_t plan_len;

    struct append_event *events;
    size_t event_count, event_capacity;
    struct buf texts; /* the events' JSON and the names of servers, one behind the other */
    struct append_touch *touches;
    size_t touch_count, touch_capacity;
    struct append_output *outputs, **outputs_end;
    bool has_summary;
    struct journal_summary summary;
};

/* Waits for the appends before it. */
struct barrier {
    uint64_t after; /* fires once so many appends were settled */
    void (*done)(void *ctx);
    void *ctx;
};

struct journal {
    char *dir;
    char *identity;
    int64_t epoch;
    int64_t unsummed;  /* rollouts up to this number may have rows without a sum */
    int64_t untouched; /* what those up to this number have touched is not recorded yet */
    int lock;          /* descriptor */
    struct db_log log_found;
    struct error held; /* why nothing may be acted upon; ERR_OK: not held */
    struct db *reader;
    struct writer *writer; /* NULL once closing has ended its thread */
    struct error end;      /* then: why nothing becomes durable any more */
    uint64_t appended, settled;
    struct barrier *barriers; /* ring, in order of `after` */
    size_t barrier_first, barrier_count, barrier_capacity;
    struct writer_work *late, **late_end; /* given after the writer's end */
    bool collecting;
    void (*wake)(void *ctx);
    void *wake_ctx;
    struct backup *backup; /* under way; NULL: none */
    struct retain *retain; /* under way; NULL: none */
};

/* In the row of a rollout: whether it is looked at after a restart, and kept however old it is. */
enum journal_row_open {
    ROW_CLOSED,
    ROW_OPEN, /* not ended, or undo was given up on */
    ROW_OWED  /* ended, and an order to an agent stands */
};

/* ---- journal_append.c --------------------------------------------------------------------------
 */

/* The writer's callback. */
enum error_code append_apply(struct db *db, struct writer_work *work, struct error *err);
enum journal_row_open summary_open(const struct journal_summary *summary);
/* Writes the summary into a rollout's row. */
enum error_code summary_write(struct db *db, int64_t num, const struct journal_summary *summary,
                              uint64_t last_seq, struct error *err) MUST_CHECK;

/* ---- journal_sqlite.c --------------------------------------------------------------------------
 */

/* Gives it to the writer: see journal_append. */
void work_submit(struct journal *j, struct journal_work *w,
                 void (*done)(void *ctx, enum error_code result, const struct error *err),
                 void *ctx);

/* ---- journal_server.c --------------------------------------------------------------------------
 */

/* What the journal says of a server in one rollout. */
struct touch {
    uint32_t server; /* number in the plan */
    const char *name;
    bool undone;
};
enum error_code touch_put(struct db *db, int64_t num, const struct touch *touch,
                          struct error *err) MUST_CHECK;
/* The row of JOURNAL_TOUCHES that `s` stands on, borrowed from it. ERR_CORRUPT. */
enum error_code touch_read(struct db_stmt *s, struct touch *ret_touch,
                           struct error *err) MUST_CHECK;
/* What the engine says of that server; false when it was not touched. */
bool touch_of(const struct engine *engine, uint32_t server, struct touch *ret_touch);
/* A row of JOURNAL_LOCKS. ERR_CORRUPT. */
enum error_code lock_read(struct db_stmt *s, struct journal_server_lock *ret_lock,
                          struct error *err) MUST_CHECK;

/* ---- journal_upgrade.c -------------------------------------------------------------------------
 */

/* Records what rollouts of an earlier version touched, a few in each transaction. Goes on where a
 * former start was ended. */
enum error_code upgrade(struct journal *j, struct db *db, struct error *err) MUST_CHECK;

/* ---- journal_lock.c ----------------------------------------------------------------------------
 */

/* Makes the directory where it is missing (if `make`), and holds its lock: *ret_fd, which the
 * caller closes. ERR_BUSY names the holder. */
enum error_code journal_lock(const char *dir, bool make, int *ret_fd, struct error *err) MUST_CHECK;

/* ---- journal_record.c --------------------------------------------------------------------------
 */

/* Reads identity ("" when there is none yet), epoch, `unsummed` and `untouched` into j.
 * ERR_CORRUPT. */
enum error_code record_read(struct journal *j, struct db *db, struct error *err) MUST_CHECK;
/* Writes them with this epoch, in a transaction of its own; makes an identity where there is none.
 */
enum error_code record_write(struct journal *j, struct db *db, int64_t epoch,
                             struct error *err) MUST_CHECK;
/* In a transaction: says that what rollouts up to that number touched is not recorded; 0: all is.
 */
enum error_code record_untouched(struct db *db, int64_t num, struct error *err) MUST_CHECK;
/* The highest epoch that DIR/epoch knows of; 0 when there is no such file. */
enum error_code epoch_file_read(const char *dir, int64_t *ret_epoch, struct error *err) MUST_CHECK;
enum error_code epoch_file_write(const char *dir, int64_t epoch, struct error *err) MUST_CHECK;
/* After record_read: raises the epoch, or holds the journal as it is: j->held. */
enum error_code epoch_begin(struct journal *j, struct db *db, struct error *err) MUST_CHECK;

/* ---- journal_read.c ----------------------------------------------------------------------------
 */

/* A rollout's summary as it is stored. ERR_NOT_FOUND. */
enum error_code rollout_read_summary(struct db *db, const char *id,
                                     struct journal_summary *ret_summary,
                                     struct error *err) MUST_CHECK;
/* A row of JOURNAL_ROLLOUT_GET and its like: ERR_CORRUPT when it is not what was written.
 * `unsummed` as in struct journal. */
enum error_code rollout_read_row(struct db_stmt *s, int64_t unsummed,
                                 struct journal_rollout *ret_rollout, struct error *err) MUST_CHECK;
/* A plan's text, appended to `b` (also a damaged one). ERR_CORRUPT. */
enum error_code plan_read_text(struct db *db, const char *id, int64_t num, int64_t unsummed,
                               struct buf *b, struct error *err) MUST_CHECK;
/* Whether the row that `s` stands on holds what was written, by its sum. */
bool event_row_sound(struct db_stmt *s, int64_t unsummed);
bool output_row_sound(struct db_stmt *s, int64_t key, int64_t unsummed);
/* A rollout's number. ERR_NOT_FOUND. */
enum error_code rollout_find_num(struct db *db, const char *id, int64_t *ret_num,
                                 uint64_t *ret_last_seq, struct error *err) MUST_CHECK;

/* ---- journal_replay.c --------------------------------------------------------------------------
 */

/* A rollout that is being rebuilt out of its events. */
struct replay {
    const char *id;
    struct plan *plan;
    struct engine *engine;
    uint64_t last_seq;
    int64_t unsummed; /* as in struct journal */
};

/* Plan and fresh engine; id and unsummed are set, the rest is zero. ERR_CORRUPT. To be ended by
 * replay_done in any case. */
enum error_code replay_begin(struct replay *r, const char *text, size_t len,
                             struct error *err) MUST_CHECK;
/* The row of JOURNAL_EVENTS_AFTER that the statement stands on. ERR_CORRUPT says what is wrong. */
enum error_code replay_row(struct replay *r, struct db_stmt *s, struct error *err) MUST_CHECK;
/* All events of rollout number `num`. */
enum error_code replay_all(struct replay *r, struct db *db, int64_t num,
                           struct error *err) MUST_CHECK;
void replay_done(struct replay *r);

/* ---- journal_check.c ---------------------------------------------------------------------------
 */

/* Checks a small database whole, without replaying; ERR_CORRUPT with the first finding. A larger
 * one would keep the service waiting: only its tables are looked at. */
enum error_code check_open(struct journal *j, struct db *db, struct error *err) MUST_CHECK;

/* ---- journal_backup.c --------------------------------------------------------------------------
 */

#define BACKUP_FILE "backup.tmp" /* in the data directory, while it is made */

/* Tells of a backup that has ended. */
void backup_collect(struct journal *j);
/* Gives up the one that is under way, and tells so. */
void backup_stop(struct journal *j);
/* Removes what a crash has left. */
void backup_sweep(const char *dir);

/* ---- journal_retain.c --------------------------------------------------------------------------
 */

bool retain_owns(const struct journal *j, const struct writer_work *work);
/* A piece of work came back from the writer. */
void retain_settle(struct journal *j);
/* A rollout that is about to go is found no more. */
bool retain_hides(const struct journal *j, const char *id);
/* The piece under way is the last. */
void retain_stop(struct journal *j);
