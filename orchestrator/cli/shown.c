#include "orchestrator/cli/shown.h"

#include "common/base/alloc.h"
#include "common/base/buf.h"

#include <string.h>

#define HASH_NONFATAL_OOM 1
#define uthash_malloc(size) mem_alloc(size)
#define uthash_free(p, size) mem_free(p)
#include <uthash.h>

/* The last attempt of one step on one server. */
struct entry {
    char *name; /* server, a newline, step: neither id nor name holds one */
    int64_t attempt;
    int64_t end; /* of what was shown, in all that the attempt printed */
    bool gap;    /* something before `end` was not shown */
    UT_hash_handle hh;
};

struct shown {
    struct entry *entries;
};

struct shown *shown_new(void)
{
    return MEM_NEW(struct shown);
}

void shown_free(struct shown *shown)
{
    struct entry *e = NULL;
    struct entry *next = NULL;
    if (!shown)
        return;
    HASH_ITER (hh, shown->entries, e, next) {
        HASH_DEL(shown->entries, e);
        mem_free(e->name);
        mem_free(e);
    }
    mem_free(shown);
}

static enum error_code find(struct shown *shown, const struct shown_key *key, struct entry **ret,
                            struct error *err)
{
    AUTO_BUF struct buf name = BUF_INIT;
    struct entry *e = NULL;
    buf_puts(&name, key->server);
    buf_putc(&name, '\n');
    buf_puts(&name, key->step);
    enum error_code code = buf_check(&name, err);
    if (code != ERR_OK)
        return code;
    HASH_FIND(hh, shown->entries, name.data, name.len, e);
    if (!e) {
        e = MEM_NEW(struct entry);
        if (!e || !(e->name = mem_strdup(name.data))) {
            mem_free(e);
            return error_set(err, ERR_NO_MEMORY, NULL);
        }
        HASH_ADD_KEYPTR(hh, shown->entries, e->name, name.len, e);
        if (!e->hh.tbl) {
            mem_free(e->name);
            mem_free(e);
            return error_set(err, ERR_NO_MEMORY, NULL);
        }
    }
    if (key->attempt > e->attempt) {
        e->attempt = key->attempt;
        e->end = 0;
        e->gap = false;
    }
    *ret = e;
    return ERR_OK;
}

enum error_code shown_live(struct shown *shown, const struct shown_key *key, int64_t offset,
                           size_t len, struct shown_part *ret_part, struct error *err)
{
    struct entry *e = NULL;
    enum error_code code = find(shown, key, &e, err);
    if (code != ERR_OK)
        return code;
    *ret_part = (struct shown_part){.from = len};
    int64_t end = offset + (int64_t)len;
    if (key->attempt < e->attempt || end <= e->end)
        return ERR_OK;
    ret_part->from = offset < e->end ? (size_t)(e->end - offset) : 0;
    e->gap = e->gap || offset > e->end;
    e->end = end;
    return ERR_OK;
}

enum error_code shown_kept(struct shown *shown, const struct shown_key *key, size_t len, bool whole,
                           struct shown_part *ret_part, struct error *err)
{
    struct entry *e = NULL;
    enum error_code code = find(shown, key, &e, err);
    if (code != ERR_OK)
        return code;
    *ret_part = (struct shown_part){.from = len};
    if (key->attempt < e->attempt)
        return ERR_OK;
    if (e->gap) {
        ret_part->from = 0;
        ret_part->again = true;
    } else if (whole && (int64_t)len > e->end) {
        ret_part->from = (size_t)e->end;
    } else if (!whole && e->end == 0) {
        ret_part->from = 0;
    }
    e->gap = false;
    if ((int64_t)len > e->end)
        e->end = (int64_t)len;
    return ERR_OK;
}
