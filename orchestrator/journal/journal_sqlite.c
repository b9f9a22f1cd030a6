#include "common/base/alloc.h"
#include "common/base/buf.h"
#include "common/base/cleanup.h"
#include "orchestrator/journal/journal_internal.h"
#include "orchestrator/journal/journal_schema.h"

#include <assert.h>
#include <string.h>
#include <unistd.h>

enum { BARRIERS_FIRST = 256 };
#define CLOSED "the journal is closed" /* to a `done` that appends at the very end */

/* ---- Opening ------------------------------------------------------------------------------------
 */

/* What a person can do about it, said behind the error; "" where the message says it all. */
static const char *remedy(enum error_code code)
{
    switch (code) {
    case ERR_NO_SPACE:
        return "; make room on that file system and start again";
    case ERR_DENIED:
        return "; run as the owner of the data directory, and check that it is writable";
    case ERR_CORRUPT:
        return "; --check lists all that is damaged; restore from a backup";
    case ERR_IO:
        return "; check the disk (see the kernel's log)";
    case ERR_UNSUPPORTED:
        return "; use the version that wrote it, or a newer one";
    case ERR_BUSY:
        return "; end the program that has it open";
    case ERR_OK:
    case ERR_NO_MEMORY:
    case ERR_INVALID:
    case ERR_NOT_FOUND:
    case ERR_EXISTS:
    case ERR_CONFLICT:
    case ERR_STALE:
    case ERR_LIMIT:
    case ERR_UNAVAILABLE:
    case ERR_TIMEOUT:
    case ERR_CANCELLED:
    case ERR_PROTOCOL:
    case ERR_INTERNAL:
    case ERROR_CODE_COUNT:
        break;
    }
    return "";
}

static enum error_code with_remedy(enum error_code code, const struct error *why, struct error *err)
{
    /* A long message must not push the remedy out. */
    const char *what = remedy(code);
    int room = ERROR_MESSAGE_MAX - 1 - (int)strlen(what);
    return error_set(err, code, "%.*s%s", room, why->message, what);
}

DEFINE_CLEANUP(db_close, struct db)

static enum error_code stores_open(struct journal *j, void (*wake)(void *ctx), void *wake_ctx,
                                   struct error *err)
{
    AUTO_BUF struct buf path = BUF_INIT;
    buf_printf(&path, "%s/journal.db", j->dir);
    enum error_code code = buf_check(&path, err);
    if (code != ERR_OK)
        return code;
    AUTO(db_close) struct db *db = NULL;
    code = db_open(path.data, DB_READ_WRITE, &journal_schema, &db, err);
    if (code == ERR_OK) {
        j->log_found = db_log_found(db);
        code = record_read(j, db, err);
    }
    /* The steps of the schema and the statements are fixed: they fail so only on tables that are
     * not what they were made as. */
    if (code == ERR_INTERNAL)
        code = error_set(err, ERR_CORRUPT, "%s: its tables are damaged", path.data);
    if (code == ERR_OK)
        code = check_open(j, db, err);
    if (code == ERR_OK)
        code = upgrade(j, db, err);
    if (code == ERR_OK)
        code = epoch_begin(j, db, err);
    if (code == ERR_OK)
        code = db_open(path.data, DB_READ_ONLY, &journal_schema, &j->reader, err);
    if (code == ERR_OK)
        code = writer_new(db, wake, wake_ctx, &j->writer, err);
    if (code == ERR_OK)
        (void)TAKE(db);
    return code;
}

DEFINE_CLEANUP(journal_close, struct journal)

enum error_code journal_open(const char *dir, void (*wake)(void *ctx), void *wake_ctx,
                             struct journal **ret_journal, struct error *err)
{
    AUTO(journal_close) struct journal *j = MEM_NEW(struct journal);
    if (j == NULL)
        return error_set(err, ERR_NO_MEMORY, NULL);
    j->lock = -1;
    j->barrier_capacity = BARRIERS_FIRST;
    j->barriers = mem_array(j->barrier_capacity, sizeof(*j->barriers));
    j->dir = mem_strdup(dir);
    if (j->barriers == NULL || j->dir == NULL)
        return error_set(err, ERR_NO_MEMORY, NULL);
    enum error_code code = journal_lock(dir, true, &j->lock, err);
    if (code != ERR_OK)
        return code; /* says what to do itself */
    backup_sweep(dir);
    j->wake = wake;
    j->wake_ctx = wake_ctx;
    struct error why = {0};
    code = stores_open(j, wake, wake_ctx, &why);
    if (code != ERR_OK)
        return with_remedy(code, &why, err);
    *ret_journal = TAKE(j);
    return ERR_OK;
}

enum error_code journal_accept_restored(const char *dir, int64_t epoch, struct error *err)
{
    AUTO(journal_close) struct journal *j = MEM_NEW(struct journal);
    AUTO(db_close) struct db *db = NULL;
    AUTO_BUF struct buf path = BUF_INIT;
    int64_t known = 0;
    if (j == NULL)
        return error_set(err, ERR_NO_MEMORY, NULL);
    j->lock = -1;
    j->dir = mem_strdup(dir);
    buf_printf(&path, "%s/journal.db", dir);
    if (j->dir == NULL || buf_check(&path, NULL) != ERR_OK)
        return error_set(err, ERR_NO_MEMORY, NULL);
    enum error_code code = journal_lock(dir, true, &j->lock, err);
    if (code != ERR_OK)
        return code;
    struct error why = {0};
    code = db_open(path.data, DB_READ_WRITE, &journal_schema, &db, &why);
    if (code == ERR_OK)
        code = record_read(j, db, &why);
    if (code == ERR_INTERNAL)
        code = error_set(&why, ERR_CORRUPT, "%s: its tables are damaged", path.data);
    if (code == ERR_OK)
        code = epoch_file_read(dir, &known, &why);
    if (code != ERR_OK)
        return with_remedy(code, &why, err);
    /* What opening it adds one to. */
    int64_t base = j->epoch > known ? j->epoch : known;
    base = epoch - 1 > base ? epoch - 1 : base;
    return base == j->epoch ? ERR_OK : record_write(j, db, base, err);
}

const char *journal_identity(const struct journal *j)
{
    return j->identity;
}

int64_t journal_epoch(const struct journal *j)
{
    return j->epoch;
}

bool journal_held(const struct journal *j, struct error *ret_why)
{
    bool held = j->held.code != ERR_OK;
    if (held && ret_why != NULL)
        *ret_why = j->held;
    return held;
}

struct db_log journal_log_found(const struct journal *j)
{
    return j->log_found;
}

const char *journal_dir(const struct journal *j)
{
    return j->dir;
}

/* ---- Barriers --------------------------------------------------------------------------- */

static struct barrier *barrier_at(struct journal *j, size_t i)
{
    return &j->barriers[(j->barrier_first + i) % j->barrier_capacity];
}

static void barriers_grow(struct journal *j)
{
    size_t capacity = j->barrier_capacity * 2;
    struct barrier *barriers = mem_array(capacity, sizeof(*barriers));
    if (barriers == NULL)
        return;
    for (size_t i = 0; i < j->barrier_count; i++)
        barriers[i] = *barrier_at(j, i);
    mem_free(j->barriers);
    j->barriers = barriers;
    j->barrier_first = 0;
    j->barrier_capacity = capacity;
}

bool journal_barrier(struct journal *j, void (*done)(void *ctx), void *ctx)
{
    if (j->settled == j->appended) {
        done(ctx);
        return true;
    }
    /* Grown well before it is full: memory that is out for a moment is not felt. */
    if (j->barrier_count >= j->barrier_capacity / 2)
        barriers_grow(j);
    if (j->barrier_count == j->barrier_capacity)
        return false;
    j->barrier_count++;
    *barrier_at(j, j->barrier_count - 1) = (struct barrier){j->appended, done, ctx};
    return true;
}

static void barriers_fire(struct journal *j)
{
    while (j->barrier_count > 0 && barrier_at(j, 0)->after <= j->settled) {
        struct barrier b = *barrier_at(j, 0);
        j->barrier_first = (j->barrier_first + 1) % j->barrier_capacity;
        j->barrier_count--;
        b.done(b.ctx);
    }
}

/* ---- An append's way -------------------------------------------------------------------- */

static void work_settle(struct journal *j, struct journal_work *w)
{
    enum error_code result = w->work.result;
    struct error why = w->why;
    if (result != ERR_OK && why.code != result) {
        /* It failed with its group, and the writer knows why. */
        why = (struct error){0};
        (void)journal_stalled(j, NULL, &why);
        if (why.code != result)
            error_ignore(error_set(&why, result, NULL));
    }
    j->settled++;
    if (w->done != NULL)
        w->done(w->ctx, result, result == ERR_OK ? NULL : &why);
    w->free(w);
    barriers_fire(j);
}

static void settle_all(struct journal *j, struct writer_work *works)
{
    j->collecting = true;
    while (works != NULL) {
        struct writer_work *next = works->next;
        if (retain_owns(j, works))
            retain_settle(j);
        else
            work_settle(j, (struct journal_work *)works);
        works = next;
    }
    j->collecting = false;
}

void work_submit(struct journal *j, struct journal_work *w,
                 void (*done)(void *ctx, enum error_code result, const struct error *err),
                 void *ctx)
{
    w->done = done;
    w->ctx = ctx;
    j->appended++;
    if (j->writer != NULL) {
        writer_submit(j->writer, &w->work);
        return;
    }
    w->work.result = error_set(&w->why, ERR_UNAVAILABLE, CLOSED);
    w->work.next = NULL;
    *(j->late_end == NULL ? &j->late : j->late_end) = &w->work;
    j->late_end = &w->work.next;
}

void journal_append(struct journal *j, struct journal_append *a,
                    void (*done)(void *ctx, enum error_code result, const struct error *err),
                    void *ctx)
{
    work_submit(j, &a->w, done, ctx);
}

void journal_collect(struct journal *j)
{
    assert(!j->collecting); /* a `done` must not collect: it would break the order */
    settle_all(j, writer_collect(j->writer));
    backup_collect(j);
}

bool journal_stalled(struct journal *j, bool *ret_final, struct error *ret_why)
{
    if (j->writer != NULL)
        return writer_stalled(j->writer, ret_final, ret_why);
    if (ret_final != NULL)
        *ret_final = true;
    if (ret_why != NULL)
        *ret_why = j->end;
    return true;
}

void journal_retry(struct journal *j)
{
    if (j->writer != NULL)
        writer_retry(j->writer);
}

struct writer_stats journal_stats(struct journal *j)
{
    return j->writer == NULL ? (struct writer_stats){0} : writer_stats(j->writer);
}

int64_t journal_size_bytes(struct journal *j)
{
    return db_size_bytes(j->reader);
}

/* ---- Closing ---------------------------------------------------------------------------- */

/* A `done` may append more, which is made durable as well. A stall is given one more try. */
static void drain(struct journal *j)
{
    bool retried = false;
    while (j->settled < j->appended) {
        writer_wait(j->writer);
        journal_collect(j);
        if (!writer_stalled(j->writer, NULL, NULL))
            continue;
        if (retried)
            return;
        retried = true;
        writer_retry(j->writer);
    }
}

void journal_close(struct journal *j)
{
    if (j == NULL)
        return;
    backup_stop(j);
    retain_stop(j);
    if (j->writer != NULL) {
        drain(j);
        error_ignore(error_set(&j->end, ERR_UNAVAILABLE, CLOSED));
        (void)writer_stalled(j->writer, NULL, &j->end);
        /* The writer's connection goes last, as it then takes the log into the database. After a
         * stall it cannot, and the `done`s that are still to come may read. */
        if (j->settled == j->appended)
            db_close(TAKE(j->reader));
        struct writer *writer = TAKE(j->writer);
        settle_all(j, writer_free(writer));
    }
    while (j->late != NULL) {
        j->late_end = NULL;
        settle_all(j, TAKE(j->late));
    }
    db_close(j->reader);
    if (j->lock >= 0)
        (void)close(j->lock); /* last: the lock ends with it */
    mem_free(j->barriers);
    mem_free(j->identity);
    mem_free(j->dir);
    mem_free(j);
}
