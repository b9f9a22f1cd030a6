#include "common/db/db.h"

#include "common/base/buf.h"
#include "common/base/cleanup.h"
#include "common/db/db_internal.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

/* ---- Transactions ----------------------------------------------------------------------- */

enum error_code db_exec(struct db *db, const char *sql, struct error *err)
{
    errno = 0;
    if (sqlite3_exec(db->handle, sql, NULL, NULL, NULL) != SQLITE_OK)
        return db_fail(db, err);
    return ERR_OK;
}

enum error_code db_begin(struct db *db, struct error *err)
{
    return db_exec(db, "BEGIN IMMEDIATE", err);
}

enum error_code db_commit(struct db *db, struct error *err)
{
    return db_exec(db, "COMMIT", err);
}

void db_rollback(struct db *db)
{
    /* SQLite rolls back by itself on some failures; a second ROLLBACK would then be an error. */
    if (sqlite3_get_autocommit(db->handle) == 0)
        (void)sqlite3_exec(db->handle, "ROLLBACK", NULL, NULL, NULL);
}

bool db_in_transaction(struct db *db)
{
    return sqlite3_get_autocommit(db->handle) == 0;
}

enum error_code db_savepoint(struct db *db, struct error *err)
{
    return db_exec(db, "SAVEPOINT part", err);
}

enum error_code db_savepoint_keep(struct db *db, struct error *err)
{
    return db_exec(db, "RELEASE part", err);
}

enum error_code db_savepoint_undo(struct db *db, struct error *err)
{
    return db_exec(db, "ROLLBACK TO part; RELEASE part", err);
}

/* ---- Statements ------------------------------------------------------------------------- */

enum error_code db_use(struct db *db, size_t statement, struct db_stmt **ret_stmt,
                       struct error *err)
{
    assert(statement < db->schema->statement_count);
    struct db_stmt *s = &db->statements[statement];
    if (s->stmt == NULL) {
        const char *sql = db->schema->statements[statement];
        if (sqlite3_prepare_v3(db->handle, sql, -1, SQLITE_PREPARE_PERSISTENT, &s->stmt, NULL) !=
            SQLITE_OK)
            return db_fail(db, err);
        assert(s->stmt != NULL); /* an empty text is a programmer's error */
    }
    db_reset(s);
    *ret_stmt = s;
    return ERR_OK;
}

static void note_bind(struct db_stmt *s, int result)
{
    if (s->bind_failed == SQLITE_OK)
        s->bind_failed = result;
}

void db_bind_int(struct db_stmt *s, int index, int64_t value)
{
    note_bind(s, sqlite3_bind_int64(s->stmt, index, value));
}

void db_bind_text(struct db_stmt *s, int index, const char *text, size_t len)
{
    if (text == NULL)
        db_bind_null(s, index);
    else
        note_bind(s, sqlite3_bind_text64(s->stmt, index, text, len, SQLITE_STATIC, SQLITE_UTF8));
}

void db_bind_null(struct db_stmt *s, int index)
{
    note_bind(s, sqlite3_bind_null(s->stmt, index));
}

static enum error_code bind_fail(const struct db_stmt *s, struct error *err)
{
    enum error_code code = ERR_INTERNAL; /* no such parameter */
    if (s->bind_failed == SQLITE_NOMEM)
        code = ERR_NO_MEMORY;
    else if (s->bind_failed == SQLITE_TOOBIG)
        code = ERR_LIMIT;
    return error_set(err, code, "%s: %s", s->db->path, sqlite3_errstr(s->bind_failed));
}

int db_step_raw(sqlite3_stmt *stmt)
{
    errno = 0;
    return sqlite3_step(stmt);
}

enum error_code db_step(struct db_stmt *s, bool *ret_row, struct error *err)
{
    if (s->bind_failed != SQLITE_OK)
        return bind_fail(s, err);
    int result = db_step_raw(s->stmt);
    if (result != SQLITE_ROW && result != SQLITE_DONE)
        return db_fail(s->db, err);
    *ret_row = result == SQLITE_ROW;
    return ERR_OK;
}

enum error_code db_run(struct db_stmt *s, struct error *err)
{
    bool row = false;
    enum error_code code = db_step(s, &row, err);
    assert(!row);
    db_reset(s);
    return code;
}

int64_t db_column_int(struct db_stmt *s, int column)
{
    return sqlite3_column_int64(s->stmt, column);
}

bool db_column_null(struct db_stmt *s, int column)
{
    return sqlite3_column_type(s->stmt, column) == SQLITE_NULL;
}

const char *db_column_text(struct db_stmt *s, int column, size_t *ret_len)
{
    /* The text first: asking for it may convert the value, and the length is that of the result. */
    const char *text = (const char *)sqlite3_column_text(s->stmt, column);
    if (ret_len != NULL)
        *ret_len = text == NULL ? 0 : (size_t)sqlite3_column_bytes(s->stmt, column);
    return text;
}

void db_reset(struct db_stmt *s)
{
    /* Both only repeat what the last step said, which its caller was told. */
    (void)sqlite3_reset(s->stmt);
    (void)sqlite3_clear_bindings(s->stmt);
    s->bind_failed = SQLITE_OK;
}

int64_t db_last_rowid(struct db *db)
{
    return sqlite3_last_insert_rowid(db->handle);
}

int64_t db_changes(struct db *db)
{
    return sqlite3_changes64(db->handle);
}

/* ---- The file --------------------------------------------------------------------------- */

static int64_t file_size(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 ? (int64_t)st.st_size : 0;
}

int64_t db_size_bytes(struct db *db)
{
    AUTO_BUF struct buf wal = BUF_INIT;
    buf_printf(&wal, "%s-wal", db->path);
    int64_t size = file_size(db->path);
    if (buf_check(&wal, NULL) == ERR_OK)
        size += file_size(wal.data);
    return size;
}

enum error_code db_query_int(struct db *db, const char *sql, int64_t *ret_value, struct error *err)
{
    sqlite3_stmt *stmt = NULL;
    if (sqlite3_prepare_v2(db->handle, sql, -1, &stmt, NULL) != SQLITE_OK)
        return db_fail(db, err);
    enum error_code code = ERR_OK;
    if (db_step_raw(stmt) == SQLITE_ROW)
        *ret_value = sqlite3_column_int64(stmt, 0);
    else
        code = db_fail(db, err);
    (void)sqlite3_finalize(stmt);
    return code;
}

enum error_code db_verify(struct db *db, struct error *err)
{
    sqlite3_stmt *stmt = NULL;
    if (sqlite3_prepare_v2(db->handle, "PRAGMA quick_check(1)", -1, &stmt, NULL) != SQLITE_OK)
        return db_fail(db, err);
    enum error_code code = ERR_OK;
    if (db_step_raw(stmt) != SQLITE_ROW) {
        code = db_fail(db, err);
    } else {
        const char *finding = (const char *)sqlite3_column_text(stmt, 0);
        if (finding == NULL)
            code = error_set(err, ERR_NO_MEMORY, "%s: out of memory while checking", db->path);
        else if (strcmp(finding, "ok") != 0)
            code = error_set(err, ERR_CORRUPT, "%s: damaged: %s", db->path, finding);
    }
    (void)sqlite3_finalize(stmt);
    return code;
}
