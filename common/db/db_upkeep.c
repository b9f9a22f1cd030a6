#include "common/base/buf.h"
#include "common/base/cleanup.h"
#include "common/db/db_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    CHECK_MAX_FINDINGS = 100,
    COPY_PAGES = 256, /* between two questions whether to go on */
    AUTO_VACUUM_INCREMENTAL = 2
};

/* ---- Age -------------------------------------------------------------------------------- */

static int64_t file_written_ms(const char *path)
{
    struct stat st;
    if (stat(path, &st) != 0)
        return 0;
    return (int64_t)st.st_mtim.tv_sec * 1000 + st.st_mtim.tv_nsec / 1000000;
}

int64_t db_last_written_ms(const char *path)
{
    AUTO_BUF struct buf log = BUF_INIT;
    int64_t written_ms = file_written_ms(path);
    buf_printf(&log, "%s-wal", path);
    int64_t log_ms = buf_check(&log, NULL) == ERR_OK ? file_written_ms(log.data) : 0;
    return log_ms > written_ms ? log_ms : written_ms;
}

/* ---- Checking --------------------------------------------------------------------------- */

/* SQLite's findings can have several lines. */
static enum error_code check_tell(const char *finding, void (*each)(void *ctx, const char *finding),
                                  void *ctx, struct error *err)
{
    char text[ERROR_MESSAGE_MAX];
    if (finding == NULL)
        return error_set(err, ERR_NO_MEMORY, NULL);
    if (strcmp(finding, "ok") == 0)
        return ERR_OK;
    size_t len = strnlen(finding, sizeof(text) - 1);
    memcpy(text, finding, len);
    text[len] = '\0';
    for (char *end = text; (end = strchr(end, '\n')) != NULL;)
        *end = ' ';
    each(ctx, text);
    return ERR_OK;
}

enum error_code db_check(struct db *db, void (*each)(void *ctx, const char *finding), void *ctx,
                         struct error *err)
{
    char sql[48];
    sqlite3_stmt *stmt = NULL;
    (void)snprintf(sql, sizeof(sql), "PRAGMA integrity_check(%d)", CHECK_MAX_FINDINGS);
    if (sqlite3_prepare_v2(db->handle, sql, -1, &stmt, NULL) != SQLITE_OK)
        return db_fail(db, err);
    enum error_code code = ERR_OK;
    int result = SQLITE_ROW;
    while (code == ERR_OK && (result = db_step_raw(stmt)) == SQLITE_ROW)
        code = check_tell((const char *)sqlite3_column_text(stmt, 0), each, ctx, err);
    if (code == ERR_OK && result != SQLITE_DONE)
        code = db_fail(db, err);
    (void)sqlite3_finalize(stmt);
    return code;
}

/* ---- Giving space back ------------------------------------------------------------------ */

enum error_code db_give_back(struct db *db, int pages, bool *ret_more, struct error *err)
{
    int64_t mode = 0;
    int64_t before = 0;
    int64_t after = 0;
    char sql[48];
    enum error_code code = db_query_int(db, "PRAGMA auto_vacuum", &mode, err);
    if (code == ERR_OK && mode != AUTO_VACUUM_INCREMENTAL) {
        *ret_more = false;
        return ERR_OK;
    }
    if (code == ERR_OK)
        code = db_query_int(db, "PRAGMA freelist_count", &before, err);
    (void)snprintf(sql, sizeof(sql), "PRAGMA incremental_vacuum(%d)", pages);
    if (code == ERR_OK)
        code = db_exec(db, sql, err);
    if (code == ERR_OK)
        code = db_query_int(db, "PRAGMA freelist_count", &after, err);
    if (code == ERR_OK)
        *ret_more = after > 0 && after < before;
    return code;
}

/* ---- Copying ---------------------------------------------------------------------------- */

static enum error_code copy_fail(sqlite3 *to, const char *path, int result, struct error *err)
{
    int errnum = errno;
    if ((result & 0xff) == SQLITE_FULL || errnum == ENOSPC || errnum == EDQUOT)
        return error_set(err, ERR_NO_SPACE, "%s: no space left for the copy", path);
    if ((result & 0xff) == SQLITE_CORRUPT || (result & 0xff) == SQLITE_NOTADB)
        return error_set(err, ERR_CORRUPT, "%s: the database is damaged: %s", path,
                         sqlite3_errstr(result));
    if ((result & 0xff) == SQLITE_NOMEM)
        return error_set(err, ERR_NO_MEMORY, NULL);
    return error_set(err, ERR_IO, "%s: %s", path, to == NULL ? "" : sqlite3_errmsg(to));
}

static enum error_code copy_pages(struct db *from, sqlite3 *to, const char *path,
                                  bool (*stop)(void *ctx), void *ctx, struct error *err)
{
    sqlite3_backup *backup = sqlite3_backup_init(to, "main", from->handle, "main");
    if (backup == NULL)
        return copy_fail(to, path, sqlite3_extended_errcode(to), err);
    int result = SQLITE_OK;
    bool stopped = false;
    while (result == SQLITE_OK && !stopped) {
        errno = 0;
        result = sqlite3_backup_step(backup, COPY_PAGES);
        stopped = stop(ctx);
    }
    enum error_code code = ERR_OK;
    if (result != SQLITE_DONE)
        code = stopped && result == SQLITE_OK
                   ? error_set(err, ERR_CANCELLED, "%s: the copy was given up", path)
                   : copy_fail(to, path, result, err);
    (void)sqlite3_backup_finish(backup);
    return code;
}

/* The copy says of itself that it has a log beside it, as the original has; it has none. */
static enum error_code copy_into(struct db *from, sqlite3 *to, const char *path,
                                 bool (*stop)(void *ctx), void *ctx, struct error *err)
{
    /* Nobody relies on the file before it is whole. */
    int result = sqlite3_exec(to, "PRAGMA synchronous=OFF", NULL, NULL, NULL);
    if (result != SQLITE_OK)
        return copy_fail(to, path, result, err);
    enum error_code code = copy_pages(from, to, path, stop, ctx, err);
    if (code != ERR_OK)
        return code;
    errno = 0;
    result = sqlite3_exec(to, "PRAGMA journal_mode=DELETE", NULL, NULL, NULL);
    return result == SQLITE_OK ? ERR_OK : copy_fail(to, path, result, err);
}

static enum error_code copy_snapshot(struct db *db, const char *path, bool (*stop)(void *ctx),
                                     void *ctx, struct error *err)
{
    sqlite3 *to = NULL;
    int64_t version = 0;
    /* Held over the whole copy: it sees one state, and does not begin anew with each commit. */
    enum error_code code = db_exec(db, "BEGIN", err);
    if (code == ERR_OK)
        code = db_query_int(db, "SELECT count(*) FROM sqlite_schema", &version, err);
    if (code == ERR_OK) {
        int result = sqlite3_open_v2(path, &to, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL);
        code = result == SQLITE_OK ? copy_into(db, to, path, stop, ctx, err)
                                   : copy_fail(to, path, result, err);
        (void)sqlite3_close(to);
    }
    db_rollback(db);
    return code;
}

enum error_code db_copy(struct db *db, const char *path, bool (*stop)(void *ctx), void *ctx,
                        struct error *err)
{
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, S_IRUSR | S_IWUSR);
    if (fd < 0)
        return error_errno(err, errno, "%s: cannot make the copy", path);
    (void)close(fd);
    enum error_code code = copy_snapshot(db, path, stop, ctx, err);
    if (code != ERR_OK)
        (void)unlink(path);
    return code;
}
