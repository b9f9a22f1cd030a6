#include "orchestrator/cli/shown.h"

#include "common/base/alloc.h"
#include "common/base/buf.h"
#include "orchestrator/cli/name_map.h"

/* The last attempt of one step on one server. */
struct entry {
    struct name_node node; /* first: name_map gives pointers to it. The name: server, a newline,
                              step; neither id nor name holds one */
    int64_t attempt;
    int64_t end; /* of what was shown, in all that the attempt printed */
    bool gap;    /* something before `end` was not shown */
};

struct shown {
    struct name_map entries;
};

struct shown *shown_new(void)
{
    return MEM_NEW(struct shown);
}

static void entry_free(struct entry *e)
{
    mem_free(e->node.name);
    mem_free(e);
}

void shown_free(struct shown *shown)
{
    if (!shown)
        return;
    for (struct name_node *n = name_map_pop(&shown->entries); n; n = name_map_pop(&shown->entries))
        entry_free((struct entry *)n);
    name_map_done(&shown->entries);
    mem_free(shown);
}

/* NULL when memory is out. */
static struct entry *add(struct shown *shown, const char *name)
{
    struct entry *e = MEM_NEW(struct entry);
    if (!e)
        return NULL;
    e->node.name = mem_strdup(name);
    if (!e->node.name || name_map_add(&shown->entries, &e->node, NULL) != ERR_OK) {
        entry_free(e);
        return NULL;
    }
    return e;
}

/* The entry of a key, made when there is none; NULL when memory is out. */
static struct entry *find(struct shown *shown, const struct shown_key *key)
{
    AUTO_BUF struct buf name = BUF_INIT;
    buf_puts(&name, key->server);
    buf_putc(&name, '\n');
    buf_puts(&name, key->step);
    if (buf_check(&name, NULL) != ERR_OK)
        return NULL;
    struct entry *e = (struct entry *)name_map_find(&shown->entries, name.data);
    if (!e)
        e = add(shown, name.data);
    if (e && key->attempt > e->attempt) {
        e->attempt = key->attempt;
        e->end = 0;
        e->gap = false;
    }
    return e;
}

enum error_code shown_live(struct shown *shown, const struct shown_key *key, int64_t offset,
                           size_t len, struct shown_part *ret_part, struct error *err)
{
    struct entry *e = find(shown, key);
    if (!e)
        return error_set(err, ERR_NO_MEMORY, NULL);
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
    struct entry *e = find(shown, key);
    if (!e)
        return error_set(err, ERR_NO_MEMORY, NULL);
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
