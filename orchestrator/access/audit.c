#include "orchestrator/access/access_internal.h"

#include "common/base/buf.h"
#include "common/base/text.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const char first_hash[] = "0000000000000000000000000000000000000000000000000000000000000000";
_Static_assert(sizeof(first_hash) == AUDIT_HASH_BUFFER, "as long as a hash");

/* ---- The chain ----------------------------------------------------------------------------- */

/* Each field with its length in front, so that nothing can move from one to the next. */
static void put_field(struct buf *b, const char *text)
{
    if (!text) {
        buf_puts(b, "-;");
        return;
    }
    buf_printf(b, "%zu:", strlen(text));
    buf_puts(b, text);
    buf_putc(b, ';');
}

static enum error_code entry_hash(const struct audit_entry *e, const char *before,
                                  char ret_hash[HASH_BUFFER], struct error *err)
{
    AUTO_BUF struct buf b = BUF_INIT;
    const char *const texts[] = {e->who,    e->role,   e->peer,  e->action,
                                 e->target, e->result, e->detail};
    buf_puts(&b, before);
    buf_printf(&b, "%" PRId64 ";%" PRId64 ";", e->seq, e->time_ms);
    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        put_field(&b, texts[i]);
    enum error_code code = buf_check(&b, err);
    return code == ERR_OK ? sha256_hex(b.data, b.len, ret_hash, err) : code;
}

/* ---- Appending ----------------------------------------------------------------------------- */

static enum error_code head_read(struct db *db, struct audit_head *ret_head, struct error *err)
{
    struct db_stmt *s = NULL;
    bool row = false;
    *ret_head = (struct audit_head){0};
    text_put(ret_head->hash, sizeof(ret_head->hash), first_hash);
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
    code = entry_hash(e, head.hash, hash, err);
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

static bool copy(const char *from, const char **ret)
{
    if (!from)
        return true;
    size_t len = strnlen(from, AUDIT_MAX_TEXT + 1);
    if (len > AUDIT_MAX_TEXT)
        len = text_utf8_cut(from, len, AUDIT_MAX_TEXT);
    *ret = mem_strndup(from, len);
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

static enum error_code walk_entry(struct audit_walk *w, const struct audit_entry *e,
                                  struct error *err)
{
    char hash[HASH_BUFFER];
    if (e->seq != w->head.seq + 1)
        return error_set(err, ERR_CORRUPT,
                         "the audit log: entry %" PRId64 " is missing: %" PRId64 " comes next",
                         w->head.seq + 1, e->seq);
    enum error_code code = entry_hash(e, w->head.hash, hash, err);
    if (code != ERR_OK)
        return code;
    if (!e->hash || strcmp(hash, e->hash) != 0)
        return error_set(err, ERR_CORRUPT,
                         "the audit log: entry %" PRId64 " does not fit its hash: it, or the one "
                         "before it, was altered",
                         e->seq);
    w->head.seq = e->seq;
    text_put(w->head.hash, sizeof(w->head.hash), hash);
    w->met = w->met || (w->expected.seq == e->seq && strcmp(w->expected.hash, hash) == 0);
    return ERR_OK;
}

static bool walk_each(void *ctx, const struct audit_entry *entry)
{
    struct step *step = ctx;
    step->code = walk_entry(step->walk, entry, step->err);
    return step->code == ERR_OK;
}

void audit_walk_begin(struct audit_walk *walk, const struct audit_head *expected)
{
    *walk = (struct audit_walk){0};
    text_put(walk->head.hash, sizeof(walk->head.hash), first_hash);
    if (expected)
        walk->expected = *expected;
    walk->met = walk->expected.seq == 0;
}

enum error_code audit_walk_on(struct access *a, struct audit_walk *walk, struct error *err)
{
    int64_t before = walk->head.seq;
    struct step step = {.walk = walk, .err = err};
    enum error_code code = audit_read(a, before, AUDIT_MAX_READ, walk_each, &step, err);
    if (code != ERR_OK || step.code != ERR_OK)
        return code != ERR_OK ? code : step.code;
    walk->over = walk->head.seq == before;
    if (walk->over && !walk->met)
        return error_set(err, ERR_CORRUPT,
                         "the audit log no longer has entry %" PRId64 " as it was kept: entries "
                         "were cut off or written anew",
                         walk->expected.seq);
    return ERR_OK;
}

enum error_code audit_verify(struct access *a, const struct audit_head *expected,
                             struct audit_head *ret_head, struct error *err)
{
    struct audit_walk walk;
    audit_walk_begin(&walk, expected);
    while (!walk.over) {
        enum error_code code = audit_walk_on(a, &walk, err);
        if (code != ERR_OK)
            return code;
    }
    *ret_head = walk.head;
    return ERR_OK;
}
