/* journal_retain: removing old rollouts, a small piece at a time. */
#include "common/base/alloc.h"
#include "common/base/cleanup.h"
#include "orchestrator/journal/journal_internal.h"
#include "orchestrator/journal/journal_schema.h"

#include <string.h>

/* What one piece takes of the writer's time: a few milliseconds. */
enum { PIECE_EVENTS = 500, PIECE_OUTPUTS = 64, PIECE_TOUCHES = 500, PIECE_PAGES = 256 };

enum retain_phase {
    RETAIN_LEFTOVERS, /* what an earlier run began to remove */
    RETAIN_EXPIRED,
    RETAIN_SPACE /* what was freed goes back to the file system */
};

struct retain {
    struct writer_work work; /* first: the writer hands it back */
    struct journal_retention how;
    enum retain_phase phase;
    int64_t num;        /* being removed */
    char id[ID_BUFFER]; /* being removed: nobody finds it any more; "": none */
    int64_t after_ms, after_num;
    uint64_t removed;
    bool stop;
    bool more; /* of apply; the writer's thread until collected */
    struct error why;
};

/* ---- On the writer's thread ------------------------------------------------------------- */

static enum error_code run_num(struct db *db, enum journal_statement statement, int64_t num,
                               struct error *err)
{
    struct db_stmt *s = NULL;
    enum error_code code = db_use(db, statement, &s, err);
    if (code != ERR_OK)
        return code;
    db_bind_int(s, 1, num);
    return db_run(s, err);
}

/* Rows of a table by their keys, at most `limit` of them. */
struct range {
    enum journal_statement statement;
    int64_t first, last;
    int limit;
};

static enum error_code drop_range(struct db *db, const struct range *range, bool *ret_more,
                                  struct error *err)
{
    struct db_stmt *s = NULL;
    enum error_code code = db_use(db, range->statement, &s, err);
    if (code != ERR_OK)
        return code;
    db_bind_int(s, 1, range->first);
    db_bind_int(s, 2, range->last);
    db_bind_int(s, 3, range->limit);
    code = db_run(s, err);
    if (code == ERR_OK)
        *ret_more = db_changes(db) == range->limit;
    return code;
}

/* The rollout goes at once, so that nobody sees half of it; its rows follow. */
static enum error_code remove_head(struct db *db, int64_t num, struct error *err)
{
    enum error_code code = run_num(db, JOURNAL_PLAN_DROP, num, err);
    if (code == ERR_OK)
        code = run_num(db, JOURNAL_ROLLOUT_DROP, num, err);
    if (code == ERR_OK && db_changes(db) > 0)
        code = run_num(db, JOURNAL_REMOVED_ADD, num, err);
    return code;
}

static enum error_code remove_piece(struct db *db, struct retain *r, struct error *err)
{
    const struct range events = {
        .statement = JOURNAL_EVENTS_DROP,
        .first = event_key(r->num, 0),
        .last = event_key(r->num, JOURNAL_MAX_SEQ),
        .limit = PIECE_EVENTS,
    };
    const struct range outputs = {
        .statement = JOURNAL_OUTPUTS_DROP,
        .first = output_key(r->num, 0, 0),
        .last = output_key(r->num + 1, 0, 0) - 1,
        .limit = PIECE_OUTPUTS,
    };
    const struct range touches = {
        .statement = JOURNAL_TOUCHES_DROP,
        .first = touch_key(r->num, 0),
        .last = touch_key(r->num + 1, 0) - 1,
        .limit = PIECE_TOUCHES,
    };
    enum error_code code = remove_head(db, r->num, err);
    if (code == ERR_OK)
        code = drop_range(db, &events, &r->more, err);
    if (code == ERR_OK && !r->more)
        code = drop_range(db, &outputs, &r->more, err);
    if (code == ERR_OK && !r->more)
        code = drop_range(db, &touches, &r->more, err);
    if (code == ERR_OK && !r->more)
        code = run_num(db, JOURNAL_REMOVED_DROP, r->num, err);
    return code;
}

static enum error_code retain_apply(struct db *db, struct writer_work *work, struct error *err)
{
    struct retain *r = (struct retain *)work;
    r->why = (struct error){0};
    enum error_code code = r->phase == RETAIN_SPACE
                               ? db_give_back(db, PIECE_PAGES, &r->more, &r->why)
                               : remove_piece(db, r, &r->why);
    if (code != ERR_OK && err != NULL)
        *err = r->why;
    return code;
}

/* ---- On the owner's thread -------------------------------------------------------------- */

/* Damaged tables can lose their order, and then there would be no end. */
static enum error_code in_order(bool ordered, struct error *err)
{
    return ordered ? ERR_OK : error_set(err, ERR_CORRUPT, "journal: its tables are damaged");
}

static enum error_code next_leftover(struct journal *j, struct retain *r, bool *ret_found,
                                     struct error *err)
{
    struct db_stmt *s = NULL;
    enum error_code code = db_use(j->reader, JOURNAL_REMOVED_NEXT, &s, err);
    if (code != ERR_OK)
        return code;
    int64_t after = r->num;
    db_bind_int(s, 1, after);
    code = db_step(s, ret_found, err);
    if (code == ERR_OK && *ret_found) {
        r->num = db_column_int(s, 0);
        code = in_order(r->num > after, err);
    }
    db_reset(s);
    return code;
}

/* The next expired rollout behind the last one looked at. */
static enum error_code expired_read(struct journal *j, struct retain *r, bool *ret_row,
                                    struct error *err)
{
    struct db_stmt *s = NULL;
    size_t len = 0;
    enum error_code code = db_use(j->reader, JOURNAL_EXPIRED, &s, err);
    if (code != ERR_OK)
        return code;
    db_bind_int(s, 1, r->after_ms);
    db_bind_int(s, 2, r->after_num);
    db_bind_int(s, 3, r->how.before_ms);
    code = db_step(s, ret_row, err);
    if (code == ERR_OK && *ret_row) {
        const char *id = db_column_text(s, EXPIRED_COLUMN_ID, &len);
        int64_t ended_ms = db_column_int(s, EXPIRED_COLUMN_ENDED_MS);
        r->num = db_column_int(s, EXPIRED_COLUMN_NUM);
        code = in_order(
            ended_ms > r->after_ms || (ended_ms == r->after_ms && r->num > r->after_num), err);
        r->after_ms = ended_ms;
        r->after_num = r->num;
        memset(r->id, 0, sizeof(r->id));
        if (code == ERR_OK && id == NULL)
            code = error_set(err, ERR_NO_MEMORY, NULL);
        else if (code == ERR_OK)
            memcpy(r->id, id, len < ID_MAX ? len : ID_MAX);
    }
    db_reset(s);
    return code;
}

static enum error_code next_expired(struct journal *j, struct retain *r, bool *ret_found,
                                    struct error *err)
{
    *ret_found = false;
    for (;;) {
        bool row = false;
        enum error_code code = expired_read(j, r, &row, err);
        if (code != ERR_OK || !row)
            return code;
        if (r->how.may(r->how.ctx, r->id)) {
            *ret_found = true;
            return ERR_OK;
        }
        r->id[0] = '\0';
    }
}

static void retain_end(struct journal *j, enum error_code code, const struct error *err)
{
    struct retain *r = TAKE(j->retain);
    struct journal_retention how = r->how;
    uint64_t removed = r->removed;
    struct error why = err == NULL ? (struct error){0} : *err;
    mem_free(r);
    how.done(how.ctx, code, code == ERR_OK ? NULL : &why, removed);
}

/* Finds what is next and gives it to the writer. */
static void retain_step(struct journal *j)
{
    struct retain *r = j->retain;
    struct error err = {0};
    bool found = false;
    enum error_code code = ERR_OK;
    if (r->phase == RETAIN_LEFTOVERS) {
        code = next_leftover(j, r, &found, &err);
        if (!found)
            r->phase = RETAIN_EXPIRED;
    }
    if (code == ERR_OK && !found && r->phase == RETAIN_EXPIRED) {
        code = next_expired(j, r, &found, &err);
        if (!found)
            r->phase = RETAIN_SPACE;
    }
    if (code != ERR_OK)
        retain_end(j, code, &err);
    else
        writer_submit(j->writer, &r->work);
}

void retain_settle(struct journal *j)
{
    struct retain *r = j->retain;
    enum error_code code = r->work.result;
    if (code != ERR_OK && r->why.code != code) {
        (void)journal_stalled(j, NULL, &r->why);
        r->why.code = code;
    }
    if (code == ERR_OK && (r->stop || j->writer == NULL))
        code = error_set(&r->why, ERR_CANCELLED, NULL);
    if (code != ERR_OK) {
        retain_end(j, code, &r->why);
        return;
    }
    if (r->more) {
        writer_submit(j->writer, &r->work);
        return;
    }
    r->removed += r->phase == RETAIN_EXPIRED;
    r->id[0] = '\0';
    if (r->phase == RETAIN_SPACE)
        retain_end(j, ERR_OK, NULL);
    else
        retain_step(j);
}

bool retain_owns(const struct journal *j, const struct writer_work *work)
{
    return j->retain != NULL && work == &j->retain->work;
}

bool retain_hides(const struct journal *j, const char *id)
{
    return j->retain != NULL && j->retain->id[0] != '\0' && strcmp(j->retain->id, id) == 0;
}

void retain_stop(struct journal *j)
{
    if (j->retain != NULL)
        j->retain->stop = true;
}

enum error_code journal_retain(struct journal *j, const struct journal_retention *how,
                               struct error *err)
{
    if (journal_held(j, err))
        return ERR_UNAVAILABLE;
    if (j->retain != NULL)
        return error_set(err, ERR_BUSY, "old rollouts are being removed already");
    struct retain *r = MEM_NEW(struct retain);
    if (r == NULL)
        return error_set(err, ERR_NO_MEMORY, NULL);
    r->work.apply = retain_apply;
    r->how = *how;
    r->after_ms = r->after_num = INT64_MIN;
    j->retain = r;
    retain_step(j);
    return ERR_OK;
}
