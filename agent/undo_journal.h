/*
 * undo_journal: what an agent must not forget, in its data directory: the executions taken on, the
 * entries of their reports, what undoing each step needs, and the highest epoch seen. All agents of
 * a process share one.
 *
 * Appending is asynchronous: what was handed in during a commit goes into the next one together,
 * and `done` comes once it is on disk. Reading shows what is on disk.
 *
 * Threading: all calls on the owner's thread; commits run on a thread of their own. I/O: SQLite,
 * and the undo folders (undo_files.h).
 */
#pragma once

#include "agent/undo_files.h"
#include "common/base/array.h"
#include "common/base/error.h"
#include "common/base/id.h"
#include "common/db/db_log.h"
#include "common/wire/wire.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define UNDO_RETENTION_DEFAULT_MS (INT64_C(30) * 24 * 3600 * 1000)
#define UNDO_MAX_BYTES_DEFAULT (INT64_C(4) * 1024 * 1024 * 1024)

struct undo_journal;

struct undo_journal_config {
    const char *data_dir; /* made (0700) when it is not there */
    int64_t retention_ms; /* how long an execution is kept after it ended; 0: the default */
    int64_t max_bytes;    /* of what is kept for undo; 0: no limit. For undo_journal_usage alone */
    /* Called on another thread when undo_journal_collect has something to do: it must only signal
     * the owner's loop. */
    void (*wake)(void *ctx);
    void *wake_ctx;
};

/* ERR_BUSY: another agent runs on that directory; ERR_DENIED, ERR_NO_SPACE, ERR_CORRUPT, ...; the
 * message is a line for people. */
enum error_code undo_journal_open(const struct undo_journal_config *config,
                                  struct undo_journal **ret_journal, struct error *err) MUST_CHECK;
/* Blocks until all that was appended is on disk or has failed; the `done`s still due come in it. */
void undo_journal_close(struct undo_journal *j); /* NULL is fine */

/* What a crash had left in its log; see db_log.h. */
struct db_log undo_journal_log_found(const struct undo_journal *j);
/* A record that is not what was written: what needs it fails, all else can go on. False when none
 * was seen. */
bool undo_journal_damaged(const struct undo_journal *j, struct error *ret_what);
/* Made once with the data directory; borrowed until close. */
const char *undo_journal_instance(const struct undo_journal *j);
/* The one that was open before on that directory was not closed: its process died. */
bool undo_journal_died(const struct undo_journal *j);

/* ---- Writing ------------------------------------------------------------------------------- */

struct undo_capture {
    int64_t step;
    char *undo; /* JSON object */
};

/* Everything in it becomes durable together, or not at all. Copied, except by `ctx`. */
struct undo_append {
    const char *server;
    const char *rollout;
    const char *spec; /* the execute frame as it came; NULL: known already, or there is none */
    size_t spec_len;
    const struct wire_entry *entries;
    size_t entry_count;
    const struct undo_capture *captures; /* with the files in their steps' folders */
    size_t capture_count;
    bool replaces;    /* what is on record of this execution is past its retention: it goes first */
    bool settled;     /* after this, nothing is left to do but to have the entries acknowledged */
    int64_t time_ms;  /* wall clock */
    int64_t restarts; /* see undo_status */
    const char *nonce; /* of the signed plan that it is of, spent with this; NULL: none */
    int64_t nonce_expires_ms;
    /* ERR_OK once durable. Any other code is final: nothing can be made durable any more. */
    void (*done)(void *ctx, enum error_code result);
    void *ctx;
};

/* ERR_NO_MEMORY: nothing was taken. Entries and captures that are there already stay as they are.
 */
enum error_code undo_journal_append(struct undo_journal *j, const struct undo_append *append,
                                    struct error *err) MUST_CHECK;
/* Notes that entries up to `seq` are acknowledged. */
enum error_code undo_journal_ack(struct undo_journal *j, const char *server, const char *rollout,
                                 int64_t seq, struct error *err) MUST_CHECK;
/* Notes the highest epoch seen of an orchestrator; what is appended later is durable only with it.
 */
enum error_code undo_journal_save_epoch(struct undo_journal *j, const char *server,
                                        const char *orchestrator, int64_t epoch,
                                        struct error *err) MUST_CHECK;
/* Removes executions that ended longer ago than the retention and are acknowledged to the end, and
 * their undo folders; a portion in one transaction, until none is left; and nonces that expired
 * longer ago. `done` (may be NULL) is called when that is so. ERR_NO_MEMORY: nothing was begun. */
enum error_code undo_journal_expire(struct undo_journal *j, int64_t time_ms,
                                    void (*done)(void *ctx, enum error_code result), void *ctx,
                                    struct error *err) MUST_CHECK;

/* To be called on the owner's thread after a wake: calls the `done`s that are due. */
void undo_journal_collect(struct undo_journal *j);
/* True while nothing can be written, with the reason; *ret_final: for good (restart needed). */
bool undo_journal_stalled(struct undo_journal *j, bool *ret_final, struct error *ret_why);
/* Tries again after a stall that is not final. */
void undo_journal_retry(struct undo_journal *j);

/* ---- Reading ------------------------------------------------------------------------------- */

/* What is known of an execution at a glance. */
struct undo_status {
    int64_t last_seq;
    int64_t acked_seq;
    bool settled;
    int64_t restarts; /* agents that began to go on with it since its last entry */
};

/* What is kept for undo by all agents of the process: files and captures. */
struct undo_usage {
    int64_t used_bytes; /* what is being written is counted when it is durable */
    int64_t max_bytes;  /* 0: no limit */
};
struct undo_usage undo_journal_usage(const struct undo_journal *j);

/* An execution in full, to go on with it. */
struct undo_image {
    struct undo_status status;
    char *spec; /* NULL: none was ever received, or it is damaged */
    size_t spec_len;
    bool spec_damaged;
    struct array entries;  /* struct wire_entry */
    struct array captured; /* int64_t, numbers of the steps */
};
void undo_image_done(struct undo_image *image);

/* Calls `each` for every execution of the server that is not settled or not acknowledged to the
 * end, oldest first; stops at the first code that is not ERR_OK and returns it. */
enum error_code undo_journal_open_executions(
    struct undo_journal *j, const char *server,
    enum error_code (*each)(void *ctx, const char *rollout, const struct undo_status *status,
                            struct error *err),
    void *ctx, struct error *err) MUST_CHECK;
/* ERR_NOT_FOUND: no such execution. ERR_STALE: it is past its retention and may go at any moment;
 * who begins one of that name anew says so by undo_append.replaces. */
enum error_code undo_journal_find(struct undo_journal *j, const char *server, const char *rollout,
                                  int64_t time_ms, struct undo_status *ret_status,
                                  struct error *err) MUST_CHECK;
/* Caller owns: undo_image_done. ERR_NOT_FOUND; ERR_CORRUPT: an entry that cannot be read. */
enum error_code undo_journal_load(struct undo_journal *j, const char *server, const char *rollout,
                                  struct undo_image *ret_image, struct error *err) MUST_CHECK;
/* How much to read at once: at least one entry if there is any after after_seq. */
struct undo_portion {
    int64_t after_seq;
    size_t max_bytes; /* of their text */
    size_t max_count;
};
/* *ret_entries: struct wire_entry. Caller owns: undo_entries_done. */
enum error_code undo_journal_entries(struct undo_journal *j, const char *server,
                                     const char *rollout, const struct undo_portion *portion,
                                     struct array *ret_entries, struct error *err) MUST_CHECK;
void undo_entries_done(struct array *entries);
/* What prepare captured for the step. Caller owns. ERR_NOT_FOUND. */
enum error_code undo_journal_capture(struct undo_journal *j, const char *server,
                                     const char *rollout, uint32_t step, char **ret_undo,
                                     struct error *err) MUST_CHECK;
/* Which rollout a nonce was spent for; it is kept for the retention after it expired, whatever
 * becomes of the execution. ERR_NOT_FOUND. */
enum error_code undo_journal_nonce(struct undo_journal *j, const char *server, const char *nonce,
                                   char ret_rollout[ID_BUFFER], struct error *err) MUST_CHECK;
/* 0 when none was seen. */
enum error_code undo_journal_epoch(struct undo_journal *j, const char *server,
                                   const char *orchestrator, int64_t *ret_epoch,
                                   struct error *err) MUST_CHECK;
/* The step's own folder, made when it is not there. */
enum error_code undo_journal_folder(struct undo_journal *j, const char *server, const char *rollout,
                                    uint32_t step, char ret_path[UNDO_FILES_PATH_MAX],
                                    struct error *err) MUST_CHECK;
