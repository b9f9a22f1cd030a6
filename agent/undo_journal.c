#include "agent/undo_journal_internal.h"

#include "common/base/buf.h"
#include "common/base/cleanup.h"

#include <assert.h>
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
    EXPIRE_MAX = 256, /* executions removed in one transaction */
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
};

static const char *const statements[UNDO_STATEMENT_COUNT] = {
    [UNDO_META_GET] = "SELECT value FROM meta WHERE name = ?1",
    [UNDO_META_PUT] = "INSERT INTO meta (name, value) VALUES (?1, ?2)",
    [UNDO_EXECUTION_PUT] =
        "INSERT INTO executions (server, rollout, spec, last_seq, settled, changed_ms, undo_deaths)"
        " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT (server, rollout) DO UPDATE SET"
        " spec = coalesce(spec, excluded.spec), last_seq = max(last_seq, excluded.last_seq),"
        " settled = excluded.settled, changed_ms = excluded.changed_ms,"
        " undo_deaths = excluded.undo_deaths RETURNING id",
    [UNDO_EXECUTION_ACK] = "UPDATE executions SET acked_seq = max(acked_seq, ?3)"
                           " WHERE server = ?1 AND rollout = ?2",
    /* What is written first stays: a capture of a second try would be of the half-changed host. */
    [UNDO_ENTRY_PUT] = "INSERT OR IGNORE INTO entries (execution, seq, entry) VALUES (?1, ?2, ?3)",
    [UNDO_CAPTURE_PUT] =
        "INSERT OR IGNORE INTO captures (execution, step, undo) VALUES (?1, ?2, ?3)",
    [UNDO_EPOCH_PUT] = "INSERT INTO epochs (server, orchestrator, epoch) VALUES (?1, ?2, ?3)"
                       " ON CONFLICT DO UPDATE SET epoch = max(epoch, excluded.epoch)",
    [UNDO_EXPIRED] = "SELECT id, server, rollout FROM executions WHERE changed_ms < ?1"
                     " AND id > ?2 AND NOT " OPEN_CONDITION " ORDER BY id LIMIT 1",
    [UNDO_EXECUTION_DELETE] = "DELETE FROM executions WHERE id = ?1",
    [UNDO_OPEN] = "SELECT last_seq, acked_seq, settled, undo_deaths, rollout FROM executions"
                  " WHERE server = ?1 AND " OPEN_CONDITION " ORDER BY id",
    [UNDO_FIND] = "SELECT last_seq, acked_seq, settled, undo_deaths, changed_ms, id, spec"
                  " FROM executions WHERE server = ?1 AND rollout = ?2",
    [UNDO_ENTRIES] = "SELECT entry FROM entries WHERE execution ="
                     " (SELECT id FROM executions WHERE server = ?1 AND rollout = ?2)"
                     " AND seq > ?3 ORDER BY seq",
    [UNDO_CAPTURED] = "SELECT step FROM captures WHERE execution ="
                      " (SELECT id FROM executions WHERE server = ?1 AND rollout = ?2)",
    [UNDO_CAPTURE] = "SELECT undo FROM captures WHERE execution ="
                     " (SELECT id FROM executions WHERE server = ?1 AND rollout = ?2)"
                     " AND step = ?3",
    [UNDO_EPOCH_GET] = "SELECT epoch FROM epochs WHERE server = ?1 AND orchestrator = ?2",
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

static enum error_code instance_read(struct db *db, char ret[ID_BUFFER], bool *ret_there,
                                     struct error *err)
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
            code = error_set(err, ERR_CORRUPT, "the agent's identity is damaged");
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
    if (code == ERR_OK)
        code = instance_read(db, j->instance, &there, err);
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
        code = folder_sync(config->data_dir, err);
    if (code != ERR_OK) {
        undo_journal_close(j);
        return code;
    }
    *ret_journal = j;
    return ERR_OK;
}

const char *undo_journal_instance(const struct undo_journal *j)
{
    return j->instance;
}

/* ---- Work for the writer's thread ---------------------------------------------------------- */

/* Where a text lies in a work's `texts`. */
struct slice {
    size_t at, len;
};

struct item {
    int64_t number; /* of the entry or the step */
    struct slice text;
};

/* One allocation holds what a work needs, so that it is independent of whoever submitted it. */
struct work {
    struct writer_work base; /* first: the writer hands it back */
    const struct undo_journal *journal;
    void (*done)(void *ctx, enum error_code result);
    void *ctx;
    struct slice server, name, spec; /* name: the rollout or the orchestrator */
    bool has_spec, settled;
    int64_t number; /* last_seq, the acknowledged one, the epoch, or the oldest time to keep */
    int64_t time_ms;
    int64_t undo_deaths;
    size_t entry_count;
    size_t item_count; /* entries, then captures */
    struct item *items;
    char *texts;
};

static void bind_slice(struct db_stmt *s, int index, const struct work *w, struct slice slice)
{
    db_bind_text(s, index, w->texts + slice.at, slice.len);
}

static enum error_code apply_execution(struct db *db, const struct work *w, int64_t *ret_id,
                                       struct error *err)
{
    struct db_stmt *s;
    bool row = false;
    enum error_code code = db_use(db, UNDO_EXECUTION_PUT, &s, err);
    if (code != ERR_OK)
        return code;
    bind_slice(s, 1, w, w->server);
    bind_slice(s, 2, w, w->name);
    if (w->has_spec)
        bind_slice(s, 3, w, w->spec);
    db_bind_int(s, 4, w->number);
    db_bind_int(s, 5, w->settled);
    db_bind_int(s, 6, w->time_ms);
    db_bind_int(s, 7, w->undo_deaths);
    code = db_step(s, &row, err);
    if (code == ERR_OK) {
        assert(row);
        *ret_id = db_column_int(s, 0);
        code = db_step(s, &row, err); /* the row is written once the statement has ended */
    }
    db_reset(s);
    return code;
}

static enum error_code apply_append(struct db *db, struct writer_work *base, struct error *err)
{
    const struct work *w = (const struct work *)(const void *)base;
    int64_t id = 0;
    enum error_code code = apply_execution(db, w, &id, err);
    for (size_t i = 0; i < w->item_count && code == ERR_OK; i++) {
        struct db_stmt *s;
        bool entry = i < w->entry_count;
        if (!entry)
            code = undo_files_sync(w->journal->files_root, w->texts + w->server.at,
                                   w->texts + w->name.at, (uint32_t)w->items[i].number, err);
        if (code == ERR_OK)
            code = db_use(db, entry ? UNDO_ENTRY_PUT : UNDO_CAPTURE_PUT, &s, err);
        if (code != ERR_OK)
            return code;
        db_bind_int(s, 1, id);
        db_bind_int(s, 2, w->items[i].number);
        bind_slice(s, 3, w, w->items[i].text);
        code = db_run(s, err);
    }
    return code;
}

/* An acknowledgement or an epoch: (server, name, number). */
static enum error_code apply_number(struct db *db, const struct work *w,
                                    enum undo_statement statement, struct error *err)
{
    struct db_stmt *s;
    enum error_code code = db_use(db, statement, &s, err);
    if (code != ERR_OK)
        return code;
    bind_slice(s, 1, w, w->server);
    bind_slice(s, 2, w, w->name);
    db_bind_int(s, 3, w->number);
    return db_run(s, err);
}

static enum error_code apply_ack(struct db *db, struct writer_work *base, struct error *err)
{
    return apply_number(db, (const struct work *)(const void *)base, UNDO_EXECUTION_ACK, err);
}

static enum error_code apply_epoch(struct db *db, struct writer_work *base, struct error *err)
{
    return apply_number(db, (const struct work *)(const void *)base, UNDO_EPOCH_PUT, err);
}

static enum error_code delete_execution(struct db *db, int64_t id, struct error *err)
{
    struct db_stmt *s;
    enum error_code code = db_use(db, UNDO_EXECUTION_DELETE, &s, err);
    if (code != ERR_OK)
        return code;
    db_bind_int(s, 1, id);
    return db_run(s, err);
}

/* Removes the first execution after *id that may go. Its files go first: were it the other way
 * round, a crash in between would leave files that nobody knows of. One whose files cannot be
 * removed stays, for another day; it must not keep the journal from being written. */
static enum error_code expire_one(struct db *db, const struct work *w, int64_t *id, bool *ret_more,
                                  struct error *err)
{
    struct db_stmt *s;
    enum error_code code = db_use(db, UNDO_EXPIRED, &s, err);
    if (code != ERR_OK)
        return code;
    db_bind_int(s, 1, w->number);
    db_bind_int(s, 2, *id);
    bool gone = false;
    code = db_step(s, ret_more, err);
    if (code == ERR_OK && *ret_more) {
        *id = db_column_int(s, 0);
        const char *server = db_column_text(s, 1, NULL);
        const char *rollout = db_column_text(s, 2, NULL);
        /* Names that are none would lead out of the folder. */
        gone = server && rollout && id_valid(server) && id_valid(rollout) &&
               undo_files_remove(w->journal->files_root, server, rollout, NULL) == ERR_OK;
    }
    db_reset(s);
    return gone ? delete_execution(db, *id, err) : code;
}

static enum error_code apply_expire(struct db *db, struct writer_work *base, struct error *err)
{
    const struct work *w = (const struct work *)(const void *)base;
    enum error_code code = ERR_OK;
    bool more = true;
    int64_t id = 0;
    for (int i = 0; i < EXPIRE_MAX && more && code == ERR_OK; i++)
        code = expire_one(db, w, &id, &more, err);
    return code;
}

/* ---- Handing work in ----------------------------------------------------------------------- */

static struct slice text_put(struct buf *b, const char *text, size_t len)
{
    struct slice slice = {.at = b->len, .len = len};
    buf_append(b, text, len);
    buf_putc(b, '\0');
    return slice;
}

static void work_free(struct work *w)
{
    if (!w)
        return;
    mem_free(w->items);
    mem_free(w->texts);
    mem_free(w);
}
DEFINE_CLEANUP(work_free, struct work)

static struct work *work_new(const struct undo_journal *j,
                             enum error_code (*apply)(struct db *db, struct writer_work *work,
                                                      struct error *err))
{
    struct work *w = MEM_NEW(struct work);
    if (w) {
        w->base.apply = apply;
        w->journal = j;
    }
    return w;
}

static void put_entries(struct work *w, struct buf *texts, const struct undo_append *append)
{
    for (size_t i = 0; i < append->entry_count; i++) {
        const struct wire_entry *entry = &append->entries[i];
        size_t at = texts->len;
        json_encode(texts, &wire_entry_table, entry);
        w->items[i] = (struct item){entry->seq, {at, texts->len - at}};
        if (entry->seq > w->number)
            w->number = entry->seq;
    }
    for (size_t i = 0; i < append->capture_count; i++) {
        const struct undo_capture *capture = &append->captures[i];
        w->items[append->entry_count + i] =
            (struct item){capture->step, text_put(texts, capture->undo, strlen(capture->undo))};
    }
}

enum error_code undo_journal_append(struct undo_journal *j, const struct undo_append *append,
                                    struct error *err)
{
    AUTO(work_free) struct work *w = work_new(j, apply_append);
    AUTO_BUF struct buf texts = BUF_INIT;
    size_t count = append->entry_count + append->capture_count;
    if (!w || !(w->items = mem_array(count, sizeof(*w->items))))
        return error_set(err, ERR_NO_MEMORY, NULL);
    w->server = text_put(&texts, append->server, strlen(append->server));
    w->name = text_put(&texts, append->rollout, strlen(append->rollout));
    w->has_spec = append->spec != NULL;
    if (append->spec)
        w->spec = text_put(&texts, append->spec, append->spec_len);
    w->settled = append->settled;
    w->time_ms = append->time_ms;
    w->undo_deaths = append->undo_deaths;
    w->entry_count = append->entry_count;
    w->item_count = count;
    put_entries(w, &texts, append);
    enum error_code code = buf_check(&texts, err);
    if (code != ERR_OK)
        return code;
    w->texts = buf_take(&texts, NULL);
    if (!w->texts)
        return error_set(err, ERR_NO_MEMORY, NULL);
    w->done = append->done;
    w->ctx = append->ctx;
    writer_submit(j->writer, &TAKE(w)->base);
    return ERR_OK;
}

static enum error_code submit_number(struct undo_journal *j, struct work *work, const char *server,
                                     const char *name, int64_t number, struct error *err)
{
    AUTO(work_free) struct work *w = work;
    AUTO_BUF struct buf texts = BUF_INIT;
    if (!w)
        return error_set(err, ERR_NO_MEMORY, NULL);
    w->server = text_put(&texts, server, strlen(server));
    w->name = text_put(&texts, name, strlen(name));
    w->number = number;
    w->texts = buf_take(&texts, NULL);
    if (!w->texts)
        return error_set(err, ERR_NO_MEMORY, NULL);
    writer_submit(j->writer, &TAKE(w)->base);
    return ERR_OK;
}

enum error_code undo_journal_ack(struct undo_journal *j, const char *server, const char *rollout,
                                 int64_t seq, struct error *err)
{
    return submit_number(j, work_new(j, apply_ack), server, rollout, seq, err);
}

enum error_code undo_journal_save_epoch(struct undo_journal *j, const char *server,
                                        const char *orchestrator, int64_t epoch, struct error *err)
{
    return submit_number(j, work_new(j, apply_epoch), server, orchestrator, epoch, err);
}

enum error_code undo_journal_expire(struct undo_journal *j, int64_t time_ms, struct error *err)
{
    return submit_number(j, work_new(j, apply_expire), "", "", time_ms - j->retention_ms, err);
}

static void works_complete(struct writer_work *works)
{
    while (works) {
        struct work *w = (struct work *)(void *)works;
        works = works->next;
        if (w->done)
            w->done(w->ctx, w->base.result);
        work_free(w);
    }
}

void undo_journal_collect(struct undo_journal *j)
{
    works_complete(writer_collect(j->writer));
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
        works_complete(writer_free(j->writer));
    if (j->lock_fd >= 0)
        (void)close(j->lock_fd);
    mem_free(j);
}
