#include "agent/undo_journal_internal.h"

#include "common/base/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

enum {
    APPLICATION_ID = 0x4b41474a, /* "KAGJ" */
    FOLDER_MODE = 0700,
    FILE_MODE = 0600,
    /* Below UNDO_FILES_PATH_MAX with two ids and a number behind it. */
    DATA_DIR_MAX = UNDO_FILES_PATH_MAX - 3 * ID_BUFFER
};

DEFINE_CLEANUP(db_close, struct db)

/* ---- Schema ------------------------------------------------------------------------------ */

/* What is left open is found by an index over it alone, so that a long history costs nothing. */
#define OPEN_CONDITION "(settled = 0 OR acked_seq < last_seq)"

static const char *const migrations[] = {
    "CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;"
    "CREATE TABLE epochs (server TEXT NOT NULL, orchestrator TEXT NOT NULL,"
    " epoch INTEGER NOT NULL, PRIMARY KEY (server, orchestrator)) WITHOUT ROWID;"
    "CREATE TABLE executions (id INTEGER PRIMARY KEY, server TEXT NOT NULL,"
    " rollout TEXT NOT NULL, spec TEXT, last_seq INTEGER NOT NULL,"
    " acked_seq INTEGER NOT NULL DEFAULT 0, settled INTEGER NOT NULL,"
    " changed_ms INTEGER NOT NULL, undo_deaths INTEGER NOT NULL, UNIQUE (server, rollout));"
    "CREATE INDEX executions_open ON executions (server) WHERE " OPEN_CONDITION ";"
    "CREATE TABLE entries (execution INTEGER NOT NULL REFERENCES executions (id)"
    " ON DELETE CASCADE, seq INTEGER NOT NULL, entry TEXT NOT NULL,"
    " PRIMARY KEY (execution, seq)) WITHOUT ROWID;"
    "CREATE TABLE captures (execution INTEGER NOT NULL REFERENCES executions (id)"
    " ON DELETE CASCADE, step INTEGER NOT NULL, undo TEXT NOT NULL,"
    " PRIMARY KEY (execution, step)) WITHOUT ROWID;",
    /* bytes: of the text, and of the files beside it (of older captures only the text is known). */
    "ALTER TABLE executions RENAME COLUMN undo_deaths TO restarts;"
    "ALTER TABLE captures ADD COLUMN bytes INTEGER NOT NULL DEFAULT 0;"
    "UPDATE captures SET bytes = length(CAST(undo AS BLOB));",
    /* Sums of the texts (undo_journal_check.c). Those of executions up to `unsummed` may have none.
     */
    "ALTER TABLE executions ADD COLUMN sum INTEGER;"
    "ALTER TABLE entries ADD COLUMN sum INTEGER;"
    "ALTER TABLE captures ADD COLUMN sum INTEGER;"
    "INSERT INTO meta (name, value) SELECT 'unsummed', coalesce(max(id), 0) FROM executions;",
    /* Of signed plans; they outlive their executions, which an expiry or `replaces` removes. */
    "CREATE TABLE nonces (server TEXT NOT NULL, nonce TEXT NOT NULL, rollout TEXT NOT NULL,"
    " expires_ms INTEGER NOT NULL, sum INTEGER NOT NULL, PRIMARY KEY (server, nonce))"
    " WITHOUT ROWID;",
};

static const char *const statements[UNDO_STATEMENT_COUNT] = {
    [UNDO_META_GET] = "SELECT value FROM meta WHERE name = ?1",
    [UNDO_META_PUT] = "INSERT INTO meta (name, value) VALUES (?1, ?2)",
    [UNDO_EXECUTION_PUT] =
        "INSERT INTO executions"
        " (server, rollout, spec, last_seq, settled, changed_ms, restarts, sum)"
        " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT (server, rollout) DO UPDATE SET"
        " sum = CASE WHEN spec IS NULL THEN excluded.sum ELSE sum END,"
        " spec = coalesce(spec, excluded.spec), last_seq = max(last_seq, excluded.last_seq),"
        " settled = excluded.settled, changed_ms = excluded.changed_ms,"
        " restarts = excluded.restarts RETURNING id",
    [UNDO_EXECUTION_ACK] = "UPDATE executions SET acked_seq = max(acked_seq, ?3)"
                           " WHERE server = ?1 AND rollout = ?2",
    /* What is written first stays: a capture of a second try would be of the half-changed host. */
    [UNDO_ENTRY_PUT] =
        "INSERT OR IGNORE INTO entries (execution, seq, entry, sum) VALUES (?1, ?2, ?3, ?4)",
    [UNDO_CAPTURE_PUT] = "INSERT OR IGNORE INTO captures (execution, step, undo, bytes, sum)"
                         " VALUES (?1, ?2, ?3, ?4, ?5)",
    [UNDO_EPOCH_PUT] = "INSERT INTO epochs (server, orchestrator, epoch) VALUES (?1, ?2, ?3)"
                       " ON CONFLICT DO UPDATE SET epoch = max(epoch, excluded.epoch)",
    [UNDO_NONCE_PUT] = "INSERT OR IGNORE INTO nonces (server, nonce, rollout, expires_ms, sum)"
                       " VALUES (?1, ?2, ?3, ?4, ?5)",
    [UNDO_NONCES_EXPIRE] = "DELETE FROM nonces WHERE expires_ms < ?1",
    [UNDO_NONCE_FIND] = "SELECT rollout FROM nonces WHERE server = ?1 AND nonce = ?2",
    [UNDO_EXPIRED] =
        "SELECT id, (SELECT coalesce(sum(bytes), 0) FROM captures WHERE execution = id),"
        " server, rollout FROM executions WHERE changed_ms < ?1"
        " AND id > ?2 AND NOT " OPEN_CONDITION " ORDER BY id LIMIT 1",
    [UNDO_REPLACED] =
        "SELECT id, (SELECT coalesce(sum(bytes), 0) FROM captures WHERE execution = id)"
        " FROM executions WHERE server = ?1 AND rollout = ?2",
    [UNDO_EXECUTION_DELETE] = "DELETE FROM executions WHERE id = ?1",
    [UNDO_OPEN] = "SELECT last_seq, acked_seq, settled, restarts, rollout FROM executions"
                  " WHERE server = ?1 AND " OPEN_CONDITION " ORDER BY id",
    [UNDO_FIND] = "SELECT last_seq, acked_seq, settled, restarts, changed_ms, id, spec, sum"
                  " FROM executions WHERE server = ?1 AND rollout = ?2",
    [UNDO_ENTRIES] = "SELECT entry, execution, seq, sum FROM entries WHERE execution ="
                     " (SELECT id FROM executions WHERE server = ?1 AND rollout = ?2)"
                     " AND seq > ?3 ORDER BY seq",
    [UNDO_CAPTURED] = "SELECT step FROM captures WHERE execution ="
                      " (SELECT id FROM executions WHERE server = ?1 AND rollout = ?2)",
    [UNDO_CAPTURE] = "SELECT undo, execution, step, sum FROM captures WHERE execution ="
                     " (SELECT id FROM executions WHERE server = ?1 AND rollout = ?2)"
                     " AND step = ?3",
    [UNDO_EPOCH_GET] = "SELECT epoch FROM epochs WHERE server = ?1 AND orchestrator = ?2",
    [UNDO_KEPT] = "SELECT coalesce(sum(bytes), 0) FROM captures",
    [UNDO_CHECK_EXECUTIONS] =
        "SELECT id, server, rollout, spec, sum, last_seq, acked_seq, settled,"
        " (SELECT count(*) FROM entries WHERE execution = id),"
        " (SELECT coalesce(max(seq), 0) FROM entries WHERE execution = id) FROM executions",
    [UNDO_CHECK_ENTRIES] = "SELECT entry, execution, seq, sum FROM entries",
    [UNDO_CHECK_CAPTURES] = "SELECT undo, execution, step, sum FROM captures",
    [UNDO_CHECK_NONCES] = "SELECT server, nonce, rollout, expires_ms, sum FROM nonces",
};

static const struct db_schema schema = {
    .application_id = APPLICATION_ID,
    .migrations = migrations,
    .migration_count = ARRAY_LEN(migrations),
    .statements = statements,
    .statement_count = ARRAY_LEN(statements),
};

/* ---- Opening ----------------------------------------------------------------------------- */

static enum error_code folder_make(const char *path, struct error *err)
{
    if (mkdir(path, FOLDER_MODE) != 0 && errno != EEXIST)
        return error_errno(err, errno, "cannot make the data directory \"%s\"", path);
    if (access(path, R_OK | W_OK | X_OK) != 0)
        return error_errno(err, errno, "cannot use the data directory \"%s\"", path);
    return ERR_OK;
}

static enum error_code folder_sync(const char *path, struct error *err)
{
    AUTO_CLOSE int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fsync(fd) != 0)
        return error_errno(err, errno, "cannot make the data directory \"%s\" durable", path);
    return ERR_OK;
}

static enum error_code lock_take(const char *data_dir, int *ret_fd, struct error *err)
{
    char path[UNDO_FILES_PATH_MAX];
    (void)snprintf(path, sizeof(path), "%s/lock", data_dir);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, FILE_MODE);
    if (fd < 0)
        return error_errno(err, errno, "cannot open \"%s\"", path);
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        int errnum = errno;
        (void)close(fd);
        if (errnum == EWOULDBLOCK)
            return error_set(err, ERR_BUSY, "another agent runs on the data directory \"%s\"",
                             data_dir);
        return error_errno(err, errnum, "cannot lock \"%s\"", path);
    }
    *ret_fd = fd;
    return ERR_OK;
}

/* The lock's file holds a mark while it is held. One that is there already was left by a process
 * that died. A disk that is full must not keep the agent from starting. */
static void life_begin(struct undo_journal *j)
{
    char mark = 'r';
    j->died = pread(j->lock_fd, &mark, 1, 0) == 1;
    if (!j->died && pwrite(j->lock_fd, &mark, 1, 0) == 1)
        (void)fsync(j->lock_fd);
}

static void life_end(const struct undo_journal *j)
{
    /* Where this is not possible the next agent takes this one for dead, and is the more careful.
     */
    int ended = ftruncate(j->lock_fd, 0);
    (void)ended;
}

static enum error_code instance_read(struct db *db, const char *path, char ret[ID_BUFFER],
                                     bool *ret_there, struct error *err)
{
    struct db_stmt *s;
    bool row = false;
    enum error_code code = db_use(db, UNDO_META_GET, &s, err);
    if (code != ERR_OK)
        return code;
    db_bind_text(s, 1, "instance", strlen("instance"));
    code = db_step(s, &row, err);
    if (code == ERR_OK && row) {
        const char *text = NULL;
        code = undo_column_text(s, 0, &text, NULL, err);
        if (code == ERR_OK && text && id_valid(text))
            (void)snprintf(ret, ID_BUFFER, "%s", text);
        else if (code == ERR_OK)
            code = error_set(err, ERR_CORRUPT, "%s: the agent's identity is damaged", path);
    }
    *ret_there = row;
    db_reset(s);
    return code;
}

static enum error_code instance_make(struct db *db, char ret[ID_BUFFER], struct error *err)
{
    struct db_stmt *s;
    char id[ID_RANDOM_LEN + 1];
    enum error_code code = id_random(id, err);
    if (code == ERR_OK)
        code = db_use(db, UNDO_META_PUT, &s, err);
    if (code != ERR_OK)
        return code;
    db_bind_text(s, 1, "instance", strlen("instance"));
    db_bind_text(s, 2, id, strlen(id));
    code = db_run(s, err);
    if (code == ERR_OK)
        (void)snprintf(ret, ID_BUFFER, "%s", id);
    return code;
}

static enum error_code databases_open(struct undo_journal *j,
                                      const struct undo_journal_config *config, struct error *err)
{
    char path[UNDO_FILES_PATH_MAX];
    AUTO(db_close) struct db *db = NULL;
    bool there = false;
    (void)snprintf(path, sizeof(path), "%s/agent.db", config->data_dir);
    enum error_code code = db_open(path, DB_READ_WRITE, &schema, &db, err);
    /* The steps of the schema are fixed: they fail so only on tables that are not what they were.
     */
    if (code == ERR_INTERNAL)
        code = error_set(err, ERR_CORRUPT, "%s: its tables are damaged", path);
    if (code == ERR_OK)
        j->log_found = db_log_found(db);
    if (code == ERR_OK)
        code = undo_journal_check(j, db, path, err);
    if (code == ERR_OK)
        code = instance_read(db, path, j->instance, &there, err);
    if (code == ERR_OK && !there)
        code = instance_make(db, j->instance, err);
    if (code == ERR_OK)
        code = db_open(path, DB_READ_ONLY, &schema, &j->reader, err);
    if (code == ERR_OK)
        code = writer_new(db, config->wake, config->wake_ctx, &j->writer, err);
    if (code == ERR_OK)
        (void)TAKE(db);
    return code;
}

/* Handlers are told of folders by their full path. */
static enum error_code files_root_find(struct undo_journal *j, const char *data_dir,
                                       struct error *err)
{
    char path[PATH_MAX];
    if (!realpath(data_dir, path))
        return error_errno(err, errno, "cannot use the data directory \"%s\"", data_dir);
    if (strlen(path) >= DATA_DIR_MAX)
        return error_set(err, ERR_LIMIT, "the path of the data directory is too long");
    (void)snprintf(j->files_root, sizeof(j->files_root), "%.*s/undo", (int)DATA_DIR_MAX, path);
    return ERR_OK;
}

enum error_code undo_journal_open(const struct undo_journal_config *config,
                                  struct undo_journal **ret_journal, struct error *err)
{
    if (strlen(config->data_dir) >= DATA_DIR_MAX)
        return error_set(err, ERR_LIMIT, "the path of the data directory is too long");
    struct undo_journal *j = MEM_NEW(struct undo_journal);
    if (!j)
        return error_set(err, ERR_NO_MEMORY, NULL);
    j->lock_fd = -1;
    j->usage.max_bytes = config->max_bytes;
    j->retention_ms = config->retention_ms > 0 ? config->retention_ms : UNDO_RETENTION_DEFAULT_MS;
    enum error_code code = folder_make(config->data_dir, err);
    if (code == ERR_OK)
        code = lock_take(config->data_dir, &j->lock_fd, err);
    if (code == ERR_OK)
        code = files_root_find(j, config->data_dir, err);
    if (code == ERR_OK)
        code = folder_make(j->files_root, err);
    if (code == ERR_OK)
        code = databases_open(j, config, err);
    if (code == ERR_OK)
        code = undo_journal_count(j, err);
    if (code == ERR_OK)
        code = folder_sync(config->data_dir, err);
    if (code != ERR_OK) {
        undo_journal_close(j);
        return code;
    }
    j->opened = true;
    life_begin(j);
    undo_journal_sweep(j);
    *ret_journal = j;
    return ERR_OK;
}

struct db_log undo_journal_log_found(const struct undo_journal *j)
{
    return j->log_found;
}

bool undo_journal_damaged(const struct undo_journal *j, struct error *ret_what)
{
    if (j->damage.code == ERR_OK)
        return false;
    *ret_what = j->damage;
    return true;
}

const char *undo_journal_instance(const struct undo_journal *j)
{
    return j->instance;
}

bool undo_journal_died(const struct undo_journal *j)
{
    return j->died;
}

struct undo_usage undo_journal_usage(const struct undo_journal *j)
{
    return j->usage;
}

/* ---- The writer ---------------------------------------------------------------------------- */

void undo_journal_collect(struct undo_journal *j)
{
    undo_works_complete(j, writer_collect(j->writer));
}

bool undo_journal_stalled(struct undo_journal *j, bool *ret_final, struct error *ret_why)
{
    return writer_stalled(j->writer, ret_final, ret_why);
}

void undo_journal_retry(struct undo_journal *j)
{
    writer_retry(j->writer);
}

void undo_journal_close(struct undo_journal *j)
{
    if (!j)
        return;
    /* The reader first: who closes last puts the log back into the database, and must be able to.
     */
    db_close(TAKE(j->reader));
    if (j->writer)
        undo_works_complete(j, writer_free(TAKE(j->writer)));
    if (j->opened)
        life_end(j);
    if (j->lock_fd >= 0)
        (void)close(j->lock_fd);
    mem_free(j);
}
