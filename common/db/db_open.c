#include "common/base/alloc.h"
#include "common/base/cleanup.h"
#include "common/base/failpoint.h"
#include "common/db/db_internal.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { BUSY_TIMEOUT_MS = 5000, MODE_PRIVATE = S_IRUSR | S_IWUSR };

static const char pragmas_common[] =
    "PRAGMA foreign_keys=ON;"
    "PRAGMA mmap_size=0;" /* a read error shall be an error, not a signal */
    "PRAGMA cell_size_check=ON;"
    "PRAGMA trusted_schema=OFF;"
    "PRAGMA temp_store=MEMORY;"; /* nothing leaves the data directory */

/* 4000 pages are 16 MiB: rare enough to be cheap, small enough to be read back quickly after a
 * crash. After a checkpoint the log is cut to 64 MiB when a burst made it longer. */
static const char pragmas_write[] = "PRAGMA synchronous=FULL;"
                                    "PRAGMA wal_autocheckpoint=4000;"
                                    "PRAGMA journal_size_limit=67108864;"
                                    "PRAGMA cache_size=-16384;"; /* a large group in memory */

/* ---- The file --------------------------------------------------------------------------- */

/* Makes the file, or narrows the mode of one that is there. SQLite gives the same mode to the log
 * and the shared memory file. */
static enum error_code file_prepare(const char *path, struct error *err)
{
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, MODE_PRIVATE);
    if (fd >= 0) {
        /* The umask may have taken the owner's own bits away. */
        int errnum = fchmod(fd, MODE_PRIVATE) == 0 ? 0 : errno;
        (void)close(fd);
        return errnum == 0 ? ERR_OK : error_errno(err, errnum, "%s: cannot set the mode", path);
    }
    if (errno != EEXIST)
        return error_errno(err, errno, "%s: cannot make the database", path);

    /* By name from here on, never through a descriptor: closing one would drop the locks that
     * another connection of this process holds on the file. */
    struct stat st;
    if (lstat(path, &st) != 0)
        return error_errno(err, errno, "%s", path);
    if (!S_ISREG(st.st_mode))
        return error_set(err, ERR_DENIED, "%s: not a regular file", path);
    if ((st.st_mode & (S_IRWXG | S_IRWXO)) != 0 && chmod(path, MODE_PRIVATE) != 0)
        return error_errno(err, errno, "%s: cannot set the mode to 0600", path);
    return ERR_OK;
}

/* ---- Whose database, and which version -------------------------------------------------- */

/* A header that names a way of writing which SQLite does not know makes it take the database for
 * one that may only be read. Nothing else would tell that it is damaged, so it is looked at here,
 * through SQLite's own descriptor (see file_prepare). */
static enum error_code header_check(const struct db *db, struct error *err)
{
    enum { WRITE_VERSION_AT = 18, WRITE_VERSION_MAX = 2 };
    sqlite3_file *file = NULL;
    unsigned char version = 0;
    if (sqlite3_file_control(db->handle, "main", SQLITE_FCNTL_FILE_POINTER, (void *)&file) !=
            SQLITE_OK ||
        file == NULL || file->pMethods == NULL ||
        file->pMethods->xRead(file, &version, 1, WRITE_VERSION_AT) != SQLITE_OK)
        return ERR_OK; /* it has no header yet, or reading it fails for whoever comes next, too */
    if (version > WRITE_VERSION_MAX)
        return error_set(err, ERR_CORRUPT, "%s: its header is damaged", db->path);
    return ERR_OK;
}

static enum error_code identity_check(struct db *db, struct error *err)
{
    int64_t id = 0;
    int64_t version = 0;
    int64_t objects = 0;
    enum error_code code = db_query_int(db, "PRAGMA application_id", &id, err);
    if (code == ERR_OK)
        code = header_check(db, err);
    if (code == ERR_OK)
        code = db_query_int(db, "PRAGMA user_version", &version, err);
    if (code == ERR_OK)
        code = db_query_int(db, "SELECT count(*) FROM sqlite_schema", &objects, err);
    if (code != ERR_OK)
        return code;

    bool blank = id == 0 && version == 0 && objects == 0;
    if (!blank && (uint32_t)id != db->schema->application_id)
        return error_set(err, ERR_CORRUPT, "%s: is the database of another program", db->path);
    if (version < 0 || (size_t)version > db->schema->migration_count)
        return error_set(err, ERR_UNSUPPORTED,
                         "%s: made by a newer version of this program (schema %lld, this one knows "
                         "up to %zu)",
                         db->path, (long long)version, db->schema->migration_count);
    if (db->mode == DB_READ_ONLY && (size_t)version < db->schema->migration_count)
        return error_set(err, ERR_UNSUPPORTED,
                         "%s: made by an older version of this program and not yet brought up to "
                         "date (schema %lld of %zu)",
                         db->path, (long long)version, db->schema->migration_count);
    return ERR_OK;
}

static enum error_code version_get(struct db *db, size_t *ret_version, struct error *err)
{
    int64_t version = 0;
    enum error_code code = db_query_int(db, "PRAGMA user_version", &version, err);
    if (code == ERR_OK)
        *ret_version = (size_t)version; /* identity_check has seen that it is not negative */
    return code;
}

/* In a transaction: the next schema step with its version number. */
static enum error_code migrate_step(struct db *db, struct error *err)
{
    /* Read again under the lock: another process may have brought it up to date meanwhile. */
    size_t version = 0;
    enum error_code code = version_get(db, &version, err);
    if (code != ERR_OK || version >= db->schema->migration_count)
        return code;
    char mark[96];
    (void)snprintf(mark, sizeof(mark), "PRAGMA user_version=%zu; PRAGMA application_id=%d",
                   version + 1, (int)db->schema->application_id);
    code = db_exec(db, db->schema->migrations[version], err);
    if (code == ERR_OK)
        code = db_exec(db, mark, err);
    if (code != ERR_OK)
        return error_wrap(err, "schema step %zu", version + 1);
    return ERR_OK;
}

static enum error_code migrate(struct db *db, struct error *err)
{
    for (;;) {
        size_t version = 0;
        enum error_code code = version_get(db, &version, err);
        if (code != ERR_OK || version >= db->schema->migration_count)
            return code;
        code = db_begin(db, err);
        if (code == ERR_OK)
            code = migrate_step(db, err);
        FAILPOINT(FAIL_DB_MIGRATE);
        if (code == ERR_OK)
            code = db_commit(db, err);
        if (code != ERR_OK) {
            db_rollback(db);
            return code;
        }
    }
}

/* ---- Opening and closing ---------------------------------------------------------------- */

static enum error_code use_wal(struct db *db, struct error *err)
{
    sqlite3_stmt *stmt = NULL;
    if (sqlite3_prepare_v2(db->handle, "PRAGMA journal_mode=WAL", -1, &stmt, NULL) != SQLITE_OK)
        return db_fail(db, err);
    enum error_code code = ERR_OK;
    if (db_step_raw(stmt) != SQLITE_ROW) {
        code = db_fail(db, err);
    } else {
        const char *mode = (const char *)sqlite3_column_text(stmt, 0);
        if (mode == NULL || strcmp(mode, "wal") != 0)
            code = error_set(err, ERR_UNSUPPORTED,
                             "%s: this file system cannot hold a write-ahead log; use a local one",
                             db->path);
    }
    (void)sqlite3_finalize(stmt);
    return code;
}

static enum error_code configure(struct db *db, struct error *err)
{
    (void)sqlite3_extended_result_codes(db->handle, 1);
    (void)sqlite3_busy_timeout(db->handle, BUSY_TIMEOUT_MS);
    (void)sqlite3_db_config(db->handle, SQLITE_DBCONFIG_DEFENSIVE, 1, (int *)NULL);
    (void)sqlite3_db_config(db->handle, SQLITE_DBCONFIG_DQS_DML, 0, (int *)NULL);
    (void)sqlite3_db_config(db->handle, SQLITE_DBCONFIG_DQS_DDL, 0, (int *)NULL);
    enum error_code code = db_exec(db, pragmas_common, err);
    /* Whose file it is comes before anything that would change it. */
    if (code == ERR_OK)
        code = identity_check(db, err);
    if (code != ERR_OK || db->mode == DB_READ_ONLY)
        return code;
    /* Only a database that has no page yet can be given this. */
    if (db->schema->shrinks)
        code = db_exec(db, "PRAGMA auto_vacuum=INCREMENTAL", err);
    if (code == ERR_OK)
        code = use_wal(db, err);
    if (code == ERR_OK)
        code = db_exec(db, pragmas_write, err);
    if (code == ERR_OK)
        code = migrate(db, err);
    return code;
}

static enum error_code connect(struct db *db, struct error *err)
{
    if (db->mode == DB_READ_WRITE) {
        enum error_code code = file_prepare(db->path, err);
        if (code == ERR_OK)
            code = db_log_look(db->path, &db->log, err);
        if (code != ERR_OK)
            return code;
    }
    int flags = db->mode == DB_READ_WRITE ? SQLITE_OPEN_READWRITE : SQLITE_OPEN_READONLY;
    int result = sqlite3_open_v2(db->path, &db->handle, flags | SQLITE_OPEN_NOMUTEX, NULL);
    if (db->handle == NULL)
        return error_set(err, ERR_NO_MEMORY, "%s: out of memory", db->path);
    if (result != SQLITE_OK)
        return db_fail(db, err);
    return configure(db, err);
}

DEFINE_CLEANUP(db_close, struct db)

enum error_code db_open(const char *path, enum db_mode mode, const struct db_schema *schema,
                        struct db **ret_db, struct error *err)
{
    AUTO(db_close) struct db *db = MEM_NEW(struct db);
    if (db == NULL)
        return error_set(err, ERR_NO_MEMORY, NULL);
    db->mode = mode;
    db->schema = schema;
    db->path = mem_strdup(path);
    db->statements = mem_array(schema->statement_count, sizeof(*db->statements));
    if (db->path == NULL || db->statements == NULL)
        return error_set(err, ERR_NO_MEMORY, NULL);
    for (size_t i = 0; i < schema->statement_count; i++)
        db->statements[i].db = db;

    enum error_code code = connect(db, err);
    if (code != ERR_OK)
        return code;
    *ret_db = TAKE(db);
    return ERR_OK;
}

struct db_log db_log_found(const struct db *db)
{
    return db->log;
}

void db_close(struct db *db)
{
    if (db == NULL)
        return;
    for (size_t i = 0; db->statements != NULL && i < db->schema->statement_count; i++)
        (void)sqlite3_finalize(db->statements[i].stmt);
    if (db->handle != NULL) {
        db_rollback(db);
        /* The last connection to close does this by itself; beside a reader it is done here. What
         * stays in the log is durable there, so a failure loses nothing. */
        if (db->mode == DB_READ_WRITE)
            (void)sqlite3_wal_checkpoint_v2(db->handle, NULL, SQLITE_CHECKPOINT_PASSIVE, NULL,
                                            NULL);
        int result = sqlite3_close(db->handle);
        assert(result == SQLITE_OK); /* every statement is finalized above */
        (void)result;
    }
    mem_free(db->statements);
    mem_free(db->path);
    mem_free(db);
}
