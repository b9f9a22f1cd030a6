#include "orchestrator/access/access_internal.h"
#include "orchestrator/access/audit_chain.h"

#include "common/base/buf.h"
#include "common/base/text.h"

#include <string.h>

/* ---- Appending ----------------------------------------------------------------------------- */

static enum error_code head_read(struct db *db, struct audit_head *ret_head, struct error *err)
{
    struct db_stmt *s = NULL;
    bool row = false;
    struct audit_walk none;
    audit_walk_begin(&none, NULL);
    *ret_head = none.head;
    enum error_code code = db_use(db, ACCESS_AUDIT_HEAD, &s, err);
    if (code == ERR_OK)
        code = db_step(s, &row, err);
    if (code == ERR_OK && row) {
        ret_head->seq = db_column_int(s, AUDIT_SEQ);
        text_put(ret_head->hash, sizeof(ret_head->hash), db_column_text(s, AUDIT_HASH, NULL));
    }
    if (s)
        db_reset(s);
    return code;
}

/* On the writer's thread, which alone knows what comes before. */
static enum error_code apply_audit(struct db *db, struct change *c, struct error *err)
{
    struct audit_head head;
    struct db_stmt *s = NULL;
    char hash[HASH_BUFFER];
    struct audit_entry *e = &c->audit;
    enum error_code code = head_read(db, &head, err);
    if (code != ERR_OK)
        return code;
    e->seq = head.seq + 1;
    code = audit_chain_hash(e, head.hash, hash, err);
    if (code == ERR_OK)
        code = db_use(db, ACCESS_AUDIT_ADD, &s, err);
    if (code != ERR_OK)
        return code;
    db_bind_int(s, 1 + AUDIT_SEQ, e->seq);
    bind_text(s, 1 + AUDIT_HASH, hash);
    db_bind_int(s, 1 + AUDIT_TIME, e->time_ms);
    bind_text(s, 1 + AUDIT_WHO, e->who);
    bind_text(s, 1 + AUDIT_ROLE, e->role);
    bind_text(s, 1 + AUDIT_PEER, e->peer);
    bind_text(s, 1 + AUDIT_ACTION, e->action);
    bind_text(s, 1 + AUDIT_TARGET, e->target);
    bind_text(s, 1 + AUDIT_RESULT, e->result);
    bind_text(s, 1 + AUDIT_DETAIL, e->detail);
    return db_run(s, err);
}

/* Well-formed UTF-8, so that whoever gets the entry as JSON finds the same hash; an empty text is
 * none, for the same reason. False: memory is out. */
static bool copy(const char *from, const char **ret)
{
    AUTO_BUF struct buf b = BUF_INIT;
    bool valid = true;
    if (!from || !*from)
        return true;
    size_t len = strnlen(from, AUDIT_MAX_TEXT);
    for (size_t at = 0; at < len;) {
        size_t next = text_utf8_next(from + at, strnlen(from + at, len - at + 4), &valid);
        if (b.len + (valid ? next : sizeof(TEXT_REPLACEMENT) - 1) > AUDIT_MAX_TEXT)
            break;
        if (valid)
            buf_append(&b, from + at, next);
        else
            buf_puts(&b, TEXT_REPLACEMENT);
        at += next;
    }
    *ret = buf_take(&b, NULL);
    return *ret != NULL;
}

enum error_code audit_append(struct access *a, const struct audit_entry *entry, access_done done,
                             void *ctx, struct error *err)
{
    AUTO(change_free) struct change *c = change_new(a, apply_audit, done, ctx, err);
    if (!c)
        return ERR_NO_MEMORY;
    struct audit_entry *e = &c->audit;
    e->time_ms = entry->time_ms;
    if (!copy(entry->who, &e->who) || !copy(entry->role, &e->role) ||
        !copy(entry->peer, &e->peer) || !copy(entry->action, &e->action) ||
        !copy(entry->target, &e->target) || !copy(entry->result, &e->result) ||
        !copy(entry->detail, &e->detail))
        return error_set(err, ERR_NO_MEMORY, NULL);
    change_submit(TAKE(c));
    return ERR_OK;
}

/* ---- Reading ------------------------------------------------------------------------------- */

static struct audit_entry entry_of(struct db_stmt *s)
{
    return (struct audit_entry){
        .seq = db_column_int(s, AUDIT_SEQ),
        .time_ms = db_column_int(s, AUDIT_TIME),
        .who = db_column_text(s, AUDIT_WHO, NULL),
        .role = db_column_text(s, AUDIT_ROLE, NULL),
        .peer = db_column_text(s, AUDIT_PEER, NULL),
        .action = db_column_text(s, AUDIT_ACTION, NULL),
        .target = db_column_text(s, AUDIT_TARGET, NULL),
        .result = db_column_text(s, AUDIT_RESULT, NULL),
        .detail = db_column_text(s, AUDIT_DETAIL, NULL),
        .hash = db_column_text(s, AUDIT_HASH, NULL),
    };
}

enum error_code audit_read(struct access *a, int64_t after, uint32_t limit,
                           bool (*each)(void *ctx, const struct audit_entry *entry), void *ctx,
                           struct error *err)
{
    struct db_stmt *s = NULL;
    bool row = false;
    enum error_code code = db_use(a->reader, ACCESS_AUDIT_AFTER, &s, err);
    if (code != ERR_OK)
        return code;
    db_bind_int(s, 1, after);
    db_bind_int(s, 2, limit < AUDIT_MAX_READ ? limit : AUDIT_MAX_READ);
    while ((code = db_step(s, &row, err)) == ERR_OK && row) {
        const struct audit_entry entry = entry_of(s);
        if (!each(ctx, &entry))
            break;
    }
    db_reset(s);
    return code;
}

/* ---- Verifying ----------------------------------------------------------------------------- */

struct step {
    struct audit_walk *walk;
    enum error_code code;
    struct error *err;
};

static bool step_each(void *ctx, const struct audit_entry *entry)
{
    struct step *step = ctx;
    step->code = audit_walk_on(step->walk, entry, step->err);
    return step->code == ERR_OK;
}

enum error_code audit_verify_on(struct access *a, struct audit_walk *walk, bool *ret_over,
                                struct error *err)
{
    int64_t before = walk->head.seq;
    struct step step = {.walk = walk, .err = err};
    enum error_code code = audit_read(a, before, AUDIT_MAX_READ, step_each, &step, err);
    if (code != ERR_OK || step.code != ERR_OK)
        return code != ERR_OK ? code : step.code;
    *ret_over = walk->head.seq == before;
    return *ret_over ? audit_walk_end(walk, err) : ERR_OK;
}

enum error_code audit_verify(struct access *a, const struct audit_head *expected,
                             struct audit_head *ret_head, struct error *err)
{
    struct audit_walk walk;
    bool over = false;
    audit_walk_begin(&walk, expected);
    while (!over) {
        enum error_code code = audit_verify_on(a, &walk, &over, err);
        if (code != ERR_OK)
            return code;
    }
    *ret_head = walk.head;
    return ERR_OK;
}
