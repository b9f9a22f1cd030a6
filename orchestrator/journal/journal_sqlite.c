#include "common/base/alloc.h"
#include "common/base/buf.h"
#include "common/base/cleanup.h"
#include "orchestrator/journal/journal_internal.h"
#include "orchestrator/journal/journal_schema.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
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
        return "; restore the data directory from a backup, or start with another one";
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
    return error_set(err, code, "%s%s", why->message, remedy(code));
}

static enum error_code meta_get(struct db *db, const char *name, struct buf *b, struct error *err)
{
    struct db_stmt *s = NULL;
    enum error_code code = db_use(db, JOURNAL_META_GET, &s, err);
    if (code != ERR_OK)
        return code;
    bool row = false;
    db_bind_text(s, 1, name, strlen(name));
    code = db_step(s, &row, err);
    if (code == ERR_OK && row) {
        size_t len = 0;
        const char *text = db_column_text(s, 0, &len);
        if (text != NULL)
            buf_append(b, text, len);
        code = text == NULL ? error_set(err, ERR_NO_MEMORY, NULL) : buf_check(b, err);
    }
    db_reset(s);
    return code;
}

static enum error_code meta_put(struct db *db, const char *name, const char *value,
                                struct error *err)
{
    struct db_stmt *s = NULL;
    enum error_code code = db_use(db, JOURNAL_META_PUT, &s, err);
    if (code != ERR_OK)
        return code;
    db_bind_text(s, 1, name, strlen(name));
    db_bind_text(s, 2, value, strlen(value));
    return db_run(s, err);
}

/* The name the journal was given when it was made. */
static enum error_code identity_load(struct journal *j, struct db *db, struct error *err)
{
    AUTO_BUF struct buf text = BUF_INIT;
    enum error_code code = meta_get(db, "identity", &text, err);
    if (code != ERR_OK)
        return code;
    if (text.len == 0) {
        char fresh[ID_RANDOM_LEN + 1];
        code = id_random(fresh, err);
        if (code == ERR_OK)
            code = meta_put(db, "identity", fresh, err);
        if (code != ERR_OK)
            return code;
        buf_puts(&text, fresh);
    }
    j->identity = buf_take(&text, NULL);
    return j->identity == NULL ? error_set(err, ERR_NO_MEMORY, NULL) : ERR_OK;
}

static enum error_code epoch_raise(struct journal *j, struct db *db, struct error *err)
{
    AUTO_BUF struct buf text = BUF_INIT;
    enum error_code code = meta_get(db, "epoch", &text, err);
    if (code != ERR_OK)
        return code;
    int64_t before = text.len == 0 ? 0 : strtoll(text.data, NULL, 10);
    buf_clear(&text);
    buf_put_int(&text, before + 1);
    code = buf_check(&text, err);
    if (code == ERR_OK)
        code = meta_put(db, "epoch", text.data, err);
    if (code == ERR_OK)
        j->epoch = before + 1;
    return code;
}

static enum error_code begin_epoch(struct journal *j, struct db *db, struct error *err)
{
    enum error_code code = db_begin(db, err);
    if (code != ERR_OK)
        return code;
    code = identity_load(j, db, err);
    if (code == ERR_OK)
        code = epoch_raise(j, db, err);
    if (code == ERR_OK)
        code = db_commit(db, err);
    if (code != ERR_OK)
        db_rollback(db);
    return code;
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
    if (code == ERR_OK)
        code = begin_epoch(j, db, err);
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
    enum error_code code = journal_lock(dir, &j->lock, err);
    if (code != ERR_OK)
        return code; /* says what to do itself */
    struct error why = {0};
    code = stores_open(j, wake, wake_ctx, &why);
    if (code != ERR_OK)
        return with_remedy(code, &why, err);
    *ret_journal = TAKE(j);
    return ERR_OK;
}

const char *journal_identity(const struct journal *j)
{
    return j->identity;
}

int64_t journal_epoch(const struct journal *j)
{
    return j->epoch;
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

static void append_settle(struct journal *j, struct journal_append *a)
{
    enum error_code result = a->work.result;
    struct error why = a->why;
    if (result != ERR_OK && why.code != result) {
        /* It failed with its group, and the writer knows why. */
        why = (struct error){0};
        (void)journal_stalled(j, NULL, &why);
        if (why.code != result)
            error_ignore(error_set(&why, result, NULL));
    }
    j->settled++;
    if (a->done != NULL)
        a->done(a->ctx, result, result == ERR_OK ? NULL : &why);
    journal_append_free(a);
    barriers_fire(j);
}

static void settle_all(struct journal *j, struct writer_work *works)
{
    j->collecting = true;
    while (works != NULL) {
        struct writer_work *next = works->next;
        append_settle(j, (struct journal_append *)works);
        works = next;
    }
    j->collecting = false;
}

void journal_append(struct journal *j, struct journal_append *a,
                    void (*done)(void *ctx, enum error_code result, const struct error *err),
                    void *ctx)
{
    a->done = done;
    a->ctx = ctx;
    j->appended++;
    if (j->writer != NULL) {
        writer_submit(j->writer, &a->work);
        return;
    }
    a->work.result = error_set(&a->why, ERR_UNAVAILABLE, CLOSED);
    a->work.next = NULL;
    *(j->late_end == NULL ? &j->late : j->late_end) = &a->work;
    j->late_end = &a->work.next;
}

void journal_collect(struct journal *j)
{
    assert(!j->collecting); /* a `done` must not collect: it would break the order */
    settle_all(j, writer_collect(j->writer));
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
