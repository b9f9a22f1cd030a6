/*
 * db: a thin layer over SQLite: open with the product's pragmas, migrations, named statements.
 * SQLite's header is included in common/db and in the stores (journal_sqlite.c, undo_journal.c).
 *
 * Threading: a connection belongs to one thread at a time. I/O: the database file.
 */
#pragma once

#include "common/base/error.h"
#include "common/db/db_log.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct db; /* one connection with its prepared statements */

enum db_mode { DB_READ_WRITE, DB_READ_ONLY };

/* A schema step: SQL run once, in a transaction with the version number. Version = index + 1, kept
 * in PRAGMA user_version. A store made by a newer program is refused (ERR_UNSUPPORTED). */
struct db_schema {
    uint32_t application_id; /* PRAGMA application_id: says whose file it is */
    const char *const *migrations;
    size_t migration_count;
    const char *const *statements; /* SQL, indexed by the store's enum; prepared on first use */
    size_t statement_count;
    bool shrinks; /* a database made anew can give freed pages back: see db_give_back */
};

/* WAL, synchronous=FULL, foreign_keys=ON, busy timeout, cell size checks on; mode 0600. Errors:
 * ERR_CORRUPT (not a database, another program's, or, read-write, with a damaged log: db_log.h),
 * ERR_DENIED, ERR_NO_SPACE, ERR_BUSY, ERR_IO. Read-write it must be the only one that may write. */
enum error_code db_open(const char *path, enum db_mode mode, const struct db_schema *schema,
                        struct db **ret_db, struct error *err) MUST_CHECK;
/* What was found in the log when it was opened read-write: something, after a crash. */
struct db_log db_log_found(const struct db *db);
/* Checkpoints (read-write) and closes; NULL is fine. */
void db_close(struct db *db);

enum error_code db_begin(struct db *db, struct error *err) MUST_CHECK; /* IMMEDIATE */
enum error_code db_commit(struct db *db, struct error *err) MUST_CHECK;
void db_rollback(struct db *db);       /* also right when no transaction is open */
bool db_in_transaction(struct db *db); /* false too after a failure that made SQLite roll back */
/* A part of a transaction that can be undone alone; one at a time, not nested. */
enum error_code db_savepoint(struct db *db, struct error *err) MUST_CHECK;
enum error_code db_savepoint_keep(struct db *db, struct error *err) MUST_CHECK;
enum error_code db_savepoint_undo(struct db *db, struct error *err) MUST_CHECK;

/* A statement in use: bind (from 1), step, read columns (from 0), reset. Texts are bound without a
 * copy and must live until db_reset. */
struct db_stmt;
/* Never NULL on ERR_OK. The statement is reset and unbound. */
enum error_code db_use(struct db *db, size_t statement, struct db_stmt **ret_stmt,
                       struct error *err) MUST_CHECK;
void db_bind_int(struct db_stmt *s, int index, int64_t value);
void db_bind_text(struct db_stmt *s, int index, const char *text, size_t len); /* NULL: NULL */
void db_bind_null(struct db_stmt *s, int index);
/* *ret_row: true when a row is there, false at the end. Bind failures surface here. */
enum error_code db_step(struct db_stmt *s, bool *ret_row, struct error *err) MUST_CHECK;
/* For a statement that gives no rows: step and reset. */
enum error_code db_run(struct db_stmt *s, struct error *err) MUST_CHECK;
int64_t db_column_int(struct db_stmt *s, int column);
bool db_column_null(struct db_stmt *s, int column);
const char *db_column_text(struct db_stmt *s, int column,
                           size_t *ret_len); /* until step or reset */
void db_reset(struct db_stmt *s);
int64_t db_last_rowid(struct db *db);
int64_t db_changes(struct db *db);
/* Pages not yet checkpointed, size of the file in bytes: for metrics. */
int64_t db_size_bytes(struct db *db);

/* PRAGMA quick_check; ERR_CORRUPT with the first finding. */
enum error_code db_verify(struct db *db, struct error *err) MUST_CHECK;

/* ---- Upkeep (db_upkeep.c) ----------------------------------------------------------------------
 */

/* PRAGMA integrity_check: each finding on one line, at most 100. ERR_OK also when there are some.
 */
enum error_code db_check(struct db *db, void (*each)(void *ctx, const char *finding), void *ctx,
                         struct error *err) MUST_CHECK;
/* In a transaction: gives at most `pages` freed pages back to the file system (the file itself
 * becomes shorter with the next checkpoint). *ret_more: there are more. Nothing happens to a
 * database that was not made with db_schema.shrinks. */
enum error_code db_give_back(struct db *db, int pages, bool *ret_more,
                             struct error *err) MUST_CHECK;
/* When the database at `path` was last written to, by the wall clock; 0: there is none. */
int64_t db_last_written_ms(const char *path);
/* Copies one state of the database into a file that it makes (mode 0600), while others go on
 * writing. The copy has no log beside it. `stop` is asked now and then: true ends it with
 * ERR_CANCELLED. On an error no file is left. Not within a transaction. */
enum error_code db_copy(struct db *db, const char *path, bool (*stop)(void *ctx), void *ctx,
                        struct error *err) MUST_CHECK;
