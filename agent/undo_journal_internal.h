/* undo_journal_internal: what the parts of the undo journal share: undo_journal.c (schema, opening
 * and closing), undo_journal_write.c, undo_journal_read.c, undo_journal_check.c. */
#pragma once

#include "agent/undo_journal.h"
#include "common/db/db.h"
#include "common/db/writer.h"

enum undo_statement {
    UNDO_META_GET,
    UNDO_META_PUT,
    UNDO_EXECUTION_PUT,
    UNDO_EXECUTION_ACK,
    UNDO_ENTRY_PUT,
    UNDO_CAPTURE_PUT,
    UNDO_EPOCH_PUT,
    UNDO_NONCE_PUT,
    UNDO_NONCES_EXPIRE,
    UNDO_NONCE_FIND,
    UNDO_EXPIRED,
    UNDO_REPLACED,
    UNDO_EXECUTION_DELETE,
    UNDO_OPEN,
    UNDO_FIND,
    UNDO_ENTRIES,
    UNDO_CAPTURED,
    UNDO_CAPTURE,
    UNDO_EPOCH_GET,
    UNDO_KEPT,
    UNDO_CHECK_EXECUTIONS,
    UNDO_CHECK_ENTRIES,
    UNDO_CHECK_CAPTURES,
    UNDO_CHECK_NONCES,
    UNDO_STATEMENT_COUNT
};

struct undo_journal {
    struct db *reader;     /* the owner's thread's own connection; NULL while it closes */
    struct writer *writer; /* has the connection that writes */
    struct db_log log_found;
    int lock_fd;
    bool opened, died;
    int64_t retention_ms;
    struct error damage; /* one that leaves the rest usable; ERR_OK: none was seen */
    int64_t unsummed;    /* executions up to this number may have texts without a sum */
    struct undo_usage usage;
    char instance[ID_BUFFER];
    char files_root[UNDO_FILES_PATH_MAX]; /* constant once open: the writer's thread reads it */
};

/* ---- undo_journal_check.c ------------------------------------------------------------------ */

/* What the texts sum up to: the frame that an execution came in, an entry or a capture. */
int64_t undo_sum_spec(const char *server, const char *rollout, const char *spec, size_t len);
int64_t undo_sum_item(int64_t execution, int64_t number, const char *text, size_t len);
int64_t undo_sum_nonce(const char *server, const char *nonce, const char *rollout,
                       int64_t expires_ms);
/* Whether a row of UNDO_ENTRIES, UNDO_CAPTURE and their like holds what was written. */
enum error_code undo_item_check(const struct undo_journal *j, struct db_stmt *s, const char *what,
                                struct error *err) MUST_CHECK;
/* The same of a row with the spec in this column and its sum in the next. */
bool undo_spec_holds(const struct undo_journal *j, struct db_stmt *s, int64_t id, int column,
                     const char *server, const char *rollout);
/* When it is opened: reads `unsummed`, and looks all of it through unless that would take long;
 * then what is damaged is found when it is read. Sets j->damage. ERR_CORRUPT with the file and the
 * place. */
enum error_code undo_journal_check(struct undo_journal *j, struct db *db, const char *path,
                                   struct error *err) MUST_CHECK;

/* ---- The others ---------------------------------------------------------------------------- */

/* Takes back works that are over, and calls their `done`s. */
void undo_works_complete(struct undo_journal *j, struct writer_work *works);
/* Removes the folders of rollouts that the journal does not know: what was prepared by an agent
 * that died before anything of it was on record. */
void undo_journal_sweep(struct undo_journal *j);
/* Reads what is kept. */
enum error_code undo_journal_count(struct undo_journal *j, struct error *err) MUST_CHECK;
/* A column's text until the statement goes on; NULL where there is none. ERR_NO_MEMORY is not
 * mistaken for that. */
enum error_code undo_column_text(struct db_stmt *s, int column, const char **ret_text,
                                 size_t *ret_len, struct error *err) MUST_CHECK;
