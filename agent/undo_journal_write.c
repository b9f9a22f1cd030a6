#include "agent/undo_journal_internal.h"

#include "common/base/buf.h"
#include "common/base/cleanup.h"
#include "common/base/failpoint.h"
#include "common/base/id.h"

#include <assert.h>
#include <string.h>

enum { EXPIRE_MAX = 256 }; /* executions removed in one transaction */

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
    struct slice nonce;
    bool has_spec, has_nonce, replaces, settled;
    bool more;      /* what was to be done was more than fits into one transaction */
    int64_t number; /* last_seq, the acknowledged one, the epoch, or the oldest time to keep */
    int64_t time_ms;
    int64_t restarts;
    int64_t nonce_expires_ms;
    int64_t kept_bytes, freed_bytes; /* for undo, by this work */
    int64_t expired_to, expiring_to; /* executions looked at: up to the last transaction, in this */
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
    db_bind_int(s, 7, w->restarts);
    if (w->has_spec)
        db_bind_int(s, 8,
                    undo_sum_spec(w->texts + w->server.at, w->texts + w->name.at,
                                  w->texts + w->spec.at, w->spec.len));
    code = db_step(s, &row, err);
    if (code == ERR_OK) {
        assert(row);
        *ret_id = db_column_int(s, 0);
        code = db_step(s, &row, err); /* the row is written once the statement has ended */
    }
    db_reset(s);
    return code;
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

/* The one of that name goes that is past its retention. Files of it that cannot be removed are
 * written over when there are new ones. */
static enum error_code apply_replace(struct db *db, struct work *w, struct error *err)
{
    struct db_stmt *s;
    bool row = false;
    int64_t id = 0, bytes = 0;
    enum error_code code = db_use(db, UNDO_REPLACED, &s, err);
    if (code != ERR_OK)
        return code;
    bind_slice(s, 1, w, w->server);
    bind_slice(s, 2, w, w->name);
    code = db_step(s, &row, err);
    if (code == ERR_OK && row) {
        id = db_column_int(s, 0);
        bytes = db_column_int(s, 1);
    }
    db_reset(s);
    if (code != ERR_OK || !row)
        return code;
    error_ignore(undo_files_remove(w->journal->files_root, w->texts + w->server.at,
                                   w->texts + w->name.at, NULL));
    w->freed_bytes += bytes;
    return delete_execution(db, id, err);
}

static enum error_code apply_entry(struct db *db, const struct work *w, const struct item *item,
                                   int64_t id, struct error *err)
{
    struct db_stmt *s;
    enum error_code code = db_use(db, UNDO_ENTRY_PUT, &s, err);
    if (code != ERR_OK)
        return code;
    db_bind_int(s, 1, id);
    db_bind_int(s, 2, item->number);
    bind_slice(s, 3, w, item->text);
    db_bind_int(s, 4, undo_sum_item(id, item->number, w->texts + item->text.at, item->text.len));
    return db_run(s, err);
}

static enum error_code apply_capture(struct db *db, struct work *w, const struct item *item,
                                     int64_t id, struct error *err)
{
    struct db_stmt *s;
    int64_t bytes = 0;
    enum error_code code =
        undo_files_sync(w->journal->files_root, w->texts + w->server.at, w->texts + w->name.at,
                        (uint32_t)item->number, &bytes, err);
    if (code == ERR_OK)
        code = db_use(db, UNDO_CAPTURE_PUT, &s, err);
    if (code != ERR_OK)
        return code;
    bytes += (int64_t)item->text.len;
    db_bind_int(s, 1, id);
    db_bind_int(s, 2, item->number);
    bind_slice(s, 3, w, item->text);
    db_bind_int(s, 4, bytes);
    db_bind_int(s, 5, undo_sum_item(id, item->number, w->texts + item->text.at, item->text.len));
    code = db_run(s, err);
    if (code == ERR_OK && db_changes(db) > 0)
        w->kept_bytes += bytes;
    return code;
}

static enum error_code apply_nonce(struct db *db, const struct work *w, struct error *err)
{
    struct db_stmt *s;
    enum error_code code = db_use(db, UNDO_NONCE_PUT, &s, err);
    if (code != ERR_OK)
        return code;
    bind_slice(s, 1, w, w->server);
    bind_slice(s, 2, w, w->nonce);
    bind_slice(s, 3, w, w->name);
    db_bind_int(s, 4, w->nonce_expires_ms);
    db_bind_int(s, 5,
                undo_sum_nonce(w->texts + w->server.at, w->texts + w->nonce.at,
                               w->texts + w->name.at, w->nonce_expires_ms));
    return db_run(s, err);
}

static enum error_code apply_append(struct db *db, struct writer_work *base, struct error *err)
{
    struct work *w = (struct work *)(void *)base;
    int64_t id = 0;
    w->kept_bytes = w->freed_bytes = 0; /* it may not be the first time */
    enum error_code code = w->replaces ? apply_replace(db, w, err) : ERR_OK;
    if (code == ERR_OK)
        code = apply_execution(db, w, &id, err);
    if (code == ERR_OK && w->has_nonce)
        code = apply_nonce(db, w, err);
    for (size_t i = 0; i < w->item_count && code == ERR_OK; i++)
        code = i < w->entry_count ? apply_entry(db, w, &w->items[i], id, err)
                                  : apply_capture(db, w, &w->items[i], id, err);
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

/* Removes the first execution after *id that may go. Its files go first: were it the other way
 * round, a crash in between would leave files that nobody knows of. One whose files cannot be
 * removed stays, for another day; it must not keep the journal from being written. */
static enum error_code expire_one(struct db *db, struct work *w, int64_t *id, bool *ret_more,
                                  struct error *err)
{
    struct db_stmt *s;
    int64_t bytes = 0;
    enum error_code code = db_use(db, UNDO_EXPIRED, &s, err);
    if (code != ERR_OK)
        return code;
    db_bind_int(s, 1, w->number);
    db_bind_int(s, 2, *id);
    bool gone = false;
    code = db_step(s, ret_more, err);
    if (code == ERR_OK && *ret_more) {
        *id = db_column_int(s, 0);
        bytes = db_column_int(s, 1);
        const char *server = db_column_text(s, 2, NULL);
        const char *rollout = db_column_text(s, 3, NULL);
        /* Names that are none would lead out of the folder. */
        gone = server && rollout && id_valid(server) && id_valid(rollout) &&
               undo_files_remove(w->journal->files_root, server, rollout, NULL) == ERR_OK;
    }
    db_reset(s);
    if (gone) {
        FAILPOINT(FAIL_AGENT_EXPIRE);
        code = delete_execution(db, *id, err);
    }
    w->freed_bytes += gone && code == ERR_OK ? bytes : 0;
    return code;
}

static enum error_code expire_nonces(struct db *db, const struct work *w, struct error *err)
{
    struct db_stmt *s;
    enum error_code code = db_use(db, UNDO_NONCES_EXPIRE, &s, err);
    if (code != ERR_OK)
        return code;
    db_bind_int(s, 1, w->number);
    return db_run(s, err);
}

static enum error_code apply_expire(struct db *db, struct writer_work *base, struct error *err)
{
    struct work *w = (struct work *)(void *)base;
    enum error_code code = ERR_OK;
    int64_t id = w->expired_to;
    w->more = true;
    w->freed_bytes = 0;
    for (int i = 0; i < EXPIRE_MAX && w->more && code == ERR_OK; i++)
        code = expire_one(db, w, &id, &w->more, err);
    w->expiring_to = id;
    if (code == ERR_OK && !w->more)
        code = expire_nonces(db, w, err);
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
    w->has_nonce = append->nonce != NULL;
    if (append->nonce)
        w->nonce = text_put(&texts, append->nonce, strlen(append->nonce));
    w->nonce_expires_ms = append->nonce_expires_ms;
    w->replaces = append->replaces;
    w->settled = append->settled;
    w->time_ms = append->time_ms;
    w->restarts = append->restarts;
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

enum error_code undo_journal_expire(struct undo_journal *j, int64_t time_ms,
                                    void (*done)(void *ctx, enum error_code result), void *ctx,
                                    struct error *err)
{
    struct work *w = work_new(j, apply_expire);
    if (w) {
        w->done = done;
        w->ctx = ctx;
    }
    return submit_number(j, w, "", "", time_ms - j->retention_ms, err);
}

void undo_works_complete(struct undo_journal *j, struct writer_work *works)
{
    while (works) {
        struct work *w = (struct work *)(void *)works;
        works = works->next;
        if (w->base.result == ERR_OK)
            j->usage.used_bytes += w->kept_bytes - w->freed_bytes;
        /* Between two portions the others have their turn. */
        if (w->base.result == ERR_OK && w->more && j->writer) {
            w->expired_to = w->expiring_to;
            writer_submit(j->writer, &w->base);
            continue;
        }
        if (w->done)
            w->done(w->ctx, w->base.result);
        work_free(w);
    }
}
