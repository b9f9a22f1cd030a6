/*
 * journal_internal: what the SQLite journal's files share. For this folder alone.
 *
 *   journal_sqlite.c   opening, closing, the way of an append through the writer
 *   journal_append.c   an append: filled on the owner's thread, applied on the writer's
 *   journal_read.c     reading
 *   journal_replay.c   a rollout's engine out of its events
 *   journal_lock.c     the data directory and its lock
 *   journal_schema.c   tables and statements
 */
#pragma once

#include "common/base/id.h"
#include "orchestrator/journal/journal.h"

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

struct journal_append {
    struct writer_work work; /* first: the writer hands it back */
    char rollout[ID_BUFFER];
    uint64_t expected_seq;

    bool create;
    char *name, *by, *plan_text; /* name and by may be NULL */
    size_t plan_len;

    struct append_event *events;
    size_t event_count, event_capacity;
    struct buf texts; /* the events' JSON, one behind the other */
    struct append_output *outputs, **outputs_end;
    bool has_summary;
    struct journal_summary summary;

    void (*done)(void *ctx, enum error_code result, const struct error *err);
    void *ctx;
    struct error why; /* of apply; the writer's thread until collected */
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
    int64_t unsummed; /* rollouts up to this number may have rows without a sum */
    int lock;         /* descriptor */
    struct db *reader;
    struct writer *writer; /* NULL once closing has ended its thread */
    struct error end;      /* then: why nothing becomes durable any more */
    uint64_t appended, settled;
    struct barrier *barriers; /* ring, in order of `after` */
    size_t barrier_first, barrier_count, barrier_capacity;
    struct writer_work *late, **late_end; /* given after the writer's end */
    bool collecting;
};

/* ---- journal_append.c --------------------------------------------------------------------------
 */

/* The writer's callback. */
enum error_code append_apply(struct db *db, struct writer_work *work, struct error *err);
/* Whether the rollout is to be looked at after a restart: not ended, or undo is owed. */
bool summary_is_open(const struct journal_summary *summary);

/* ---- journal_lock.c ----------------------------------------------------------------------------
 */

/* Makes the directory where it is missing, and holds its lock: *ret_fd, which the caller closes.
 * ERR_BUSY names the holder. */
enum error_code journal_lock(const char *dir, int *ret_fd, struct error *err) MUST_CHECK;

/* ---- journal_read.c ----------------------------------------------------------------------------
 */

/* A rollout's summary as it is stored. ERR_NOT_FOUND. */
enum error_code rollout_read_summary(struct db *db, const char *id,
                                     struct journal_summary *ret_summary,
                                     struct error *err) MUST_CHECK;
/* A row of JOURNAL_ROLLOUT_GET and its like: ERR_CORRUPT when it is not what was written. `unsummed`
 * as in struct journal. */
enum error_code rollout_read_row(struct db_stmt *s, int64_t unsummed,
                                 struct journal_rollout *ret_rollout,
                                 struct error *err) MUST_CHECK;
/* Whether the row that `s` stands on holds what was written, by its sum. */
bool event_row_sound(struct db_stmt *s, int64_t unsummed);
bool output_row_sound(struct db_stmt *s, int64_t key, int64_t unsummed);
/* A rollout's number. ERR_NOT_FOUND. */
enum error_code rollout_find_num(struct db *db, const char *id, int64_t *ret_num,
                                 uint64_t *ret_last_seq, struct error *err) MUST_CHECK;
