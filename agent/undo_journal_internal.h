/* undo_journal_internal: what the parts of the undo journal share: undo_journal.c (schema, opening
 * and closing), undo_journal_write.c, undo_journal_read.c. */
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
    UNDO_STATEMENT_COUNT
};

struct undo_journal {
    struct db *reader;     /* the owner's thread's own connection; NULL while it closes */
    struct writer *writer; /* has the connection that writes */
    struct db_log log_found;
    int lock_fd;
    bool opened, died;
    int64_t retention_ms;
    struct undo_usage usage;
    char instance[ID_BUFFER];
    char files_root[UNDO_FILES_PATH_MAX]; /* constant once open: the writer's thread reads it */
};

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
