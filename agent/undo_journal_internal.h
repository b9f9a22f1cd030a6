/* undo_journal_internal: what the writing and the reading half of the undo journal share. */
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
    UNDO_EXECUTION_DELETE,
    UNDO_OPEN,
    UNDO_FIND,
    UNDO_ENTRIES,
    UNDO_CAPTURED,
    UNDO_CAPTURE,
    UNDO_EPOCH_GET,
    UNDO_STATEMENT_COUNT
};

struct undo_journal {
    struct db *reader;     /* the owner's thread's own connection; NULL while it closes */
    struct writer *writer; /* has the connection that writes */
    int lock_fd;
    int64_t retention_ms;
    char instance[ID_BUFFER];
    char files_root[UNDO_FILES_PATH_MAX]; /* constant once open: the writer's thread reads it */
};

/* A column's text until the statement goes on; NULL where there is none. ERR_NO_MEMORY is not
 * mistaken for that. */
enum error_code undo_column_text(struct db_stmt *s, int column, const char **ret_text,
                                 size_t *ret_len, struct error *err) MUST_CHECK;
