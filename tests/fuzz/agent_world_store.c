#include "common/json/json.h"
#include "tests/fuzz/agent_world_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char *text_copy(const char *s, size_t len)
{
    char *copy = world_checked(malloc(len + 1));
    memcpy(copy, s, len);
    copy[len] = '\0';
    return copy;
}

static enum error_code no_memory(struct error *err)
{
    return error_set(err, ERR_NO_MEMORY, NULL);
}

/* ---- The disk -------------------------------------------------------------------------------- */

struct stored *stored_find(struct agent_world *w, const char *rollout)
{
    for (size_t i = 0; i < w->stored_count; i++)
        if (strcmp(w->disk[i].rollout, rollout) == 0)
            return &w->disk[i];
    return NULL;
}

static void stored_init(struct stored *s, const char *rollout)
{
    *s = (struct stored){0};
    (void)snprintf(s->rollout, sizeof(s->rollout), "%s", rollout);
}

static bool is_old(const struct stored *s)
{
    return s->old && s->status.settled && s->status.acked_seq >= s->status.last_seq;
}

struct stored *agent_world_store(struct agent_world *w, const char *rollout)
{
    struct stored *s = stored_find(w, rollout);
    if (s != NULL || w->stored_count == WORLD_EXECUTIONS)
        return s;
    s = &w->disk[w->stored_count++];
    stored_init(s, rollout);
    return s;
}

void stored_done(struct stored *s)
{
    for (size_t i = 0; i < s->entry_count; i++)
        free(s->entries[i]);
    for (size_t i = 0; i < WORLD_STEPS; i++)
        free(s->captures[i]);
    free(s->entries);
    free(s->spec);
}

bool stored_add_entry(struct stored *s, const char *text, size_t len)
{
    s->entries = world_checked(realloc(s->entries, (s->entry_count + 1) * sizeof(*s->entries)));
    s->entries[s->entry_count++] = text_copy(text, len);
    return true;
}

static void pending_put(struct agent_world *w, struct pending *p)
{
    *(w->pending_last != NULL ? &w->pending_last->next : &w->pending) = p;
    w->pending_last = p;
}

static enum error_code store_append(void *ctx, const struct undo_append *append, struct error *err)
{
    struct agent_world *w = ctx;
    if (!world_has_memory())
        return no_memory(err);
    struct pending *p = world_checked(calloc(1, sizeof(*p)));
    (void)snprintf(p->copy.rollout, sizeof(p->copy.rollout), "%s", append->rollout);
    if (append->spec != NULL) {
        p->copy.spec = text_copy(append->spec, append->spec_len);
        p->copy.spec_len = append->spec_len;
    }
    for (size_t i = 0; i < append->entry_count; i++) {
        struct buf b = BUF_INIT;
        json_encode(&b, &wire_entry_table, &append->entries[i]);
        if (buf_check(&b, err) != ERR_OK) {
            stored_done(&p->copy);
            free(p);
            buf_done(&b);
            return err->code;
        }
        (void)stored_add_entry(&p->copy, b.data, b.len);
        p->copy.status.last_seq = append->entries[i].seq;
        if (i == 0)
            p->copy.first_seq = append->entries[i].seq;
        buf_done(&b);
    }
    for (size_t i = 0; i < append->capture_count; i++) {
        int64_t step = append->captures[i].step;
        assert(step >= 0 && step < WORLD_STEPS);
        p->copy.captures[step] =
            text_copy(append->captures[i].undo, strlen(append->captures[i].undo));
    }
    if (append->nonce != NULL)
        (void)snprintf(p->nonce, sizeof(p->nonce), "%s", append->nonce);
    p->replaces = append->replaces;
    p->settled = append->settled;
    p->restarts = append->restarts;
    p->done = append->done;
    p->ctx = append->ctx;
    pending_put(w, p);
    return ERR_OK;
}

static enum error_code store_expire(void *ctx, int64_t time_ms,
                                    void (*done)(void *done_ctx, enum error_code result),
                                    void *done_ctx, struct error *err)
{
    struct agent_world *w = ctx;
    (void)time_ms;
    if (!world_has_memory())
        return no_memory(err);
    struct pending *p = world_checked(calloc(1, sizeof(*p)));
    p->expires = true;
    p->done = done;
    p->ctx = done_ctx;
    pending_put(w, p);
    return ERR_OK;
}

const struct stored_nonce *stored_nonce_find(const struct agent_world *w, const char *nonce)
{
    for (size_t i = 0; i < w->nonce_count; i++)
        if (strcmp(w->nonces[i].nonce, nonce) == 0)
            return &w->nonces[i];
    return NULL;
}

static void nonce_write(struct agent_world *w, const struct pending *p)
{
    const struct stored_nonce *there = stored_nonce_find(w, p->nonce);
    assert(there == NULL || strcmp(there->rollout, p->copy.rollout) == 0);
    if (there != NULL || p->nonce[0] == '\0' || w->nonce_count == WORLD_NONCES)
        return;
    struct stored_nonce *n = &w->nonces[w->nonce_count++];
    memcpy(n->nonce, p->nonce, sizeof(n->nonce));
    memcpy(n->rollout, p->copy.rollout, sizeof(n->rollout));
}

/* Entries come without a gap; what is there already stays as it is. */
static void disk_write(struct agent_world *w, struct pending *p)
{
    struct stored *s = agent_world_store(w, p->copy.rollout);
    assert(s != NULL);
    nonce_write(w, p);
    if (p->replaces) {
        stored_done(s);
        stored_init(s, p->copy.rollout);
    }
    if (s->spec == NULL) {
        s->spec = p->copy.spec;
        s->spec_len = p->copy.spec_len;
        p->copy.spec = NULL;
    }
    if (p->copy.entry_count > 0)
        assert(p->copy.first_seq == s->status.last_seq + 1);
    for (size_t i = 0; i < p->copy.entry_count; i++)
        (void)stored_add_entry(s, p->copy.entries[i], strlen(p->copy.entries[i]));
    if (p->copy.entry_count > 0)
        s->status.last_seq = p->copy.status.last_seq;
    for (size_t i = 0; i < WORLD_STEPS; i++) {
        if (s->captures[i] == NULL) {
            s->captures[i] = p->copy.captures[i];
            p->copy.captures[i] = NULL;
        }
    }
    s->status.settled = p->settled;
    s->status.restarts = p->restarts;
    s->old = false;
}

/* What is past its retention goes: that which is over, and known to be. */
static void disk_expire(struct agent_world *w)
{
    size_t kept = 0;
    for (size_t i = 0; i < w->stored_count; i++) {
        struct stored *s = &w->disk[i];
        if (is_old(s))
            stored_done(s);
        else
            w->disk[kept++] = *s;
    }
    w->stored_count = kept;
    w->usage.used_bytes = 0;
}

void pending_apply(struct agent_world *w, struct pending *p)
{
    if (p->expires)
        disk_expire(w);
    else
        disk_write(w, p);
}

struct pending *pending_take(struct agent_world *w)
{
    struct pending *p = w->pending;
    w->pending = p->next;
    if (w->pending == NULL)
        w->pending_last = NULL;
    return p;
}

void pending_free(struct pending *p)
{
    stored_done(&p->copy);
    free(p);
}

/* ---- The store's other calls ----------------------------------------------------------------- */

static enum error_code store_ack(void *ctx, const char *server, const char *rollout, int64_t seq,
                                 struct error *err)
{
    struct agent_world *w = ctx;
    struct stored *s = stored_find(w, rollout);
    (void)server;
    if (!world_has_memory())
        return no_memory(err);
    if (s != NULL && seq > s->status.acked_seq)
        s->status.acked_seq = seq;
    return ERR_OK;
}

static enum error_code store_save_epoch(void *ctx, const char *server, const char *orchestrator,
                                        int64_t epoch, struct error *err)
{
    struct agent_world *w = ctx;
    (void)server;
    if (!world_has_memory())
        return no_memory(err);
    (void)snprintf(w->orchestrator, sizeof(w->orchestrator), "%s", orchestrator);
    w->epoch = epoch;
    return ERR_OK;
}

static enum error_code store_epoch(void *ctx, const char *server, const char *orchestrator,
                                   int64_t *ret_epoch, struct error *err)
{
    const struct agent_world *w = ctx;
    (void)server;
    (void)err;
    *ret_epoch = strcmp(w->orchestrator, orchestrator) == 0 ? w->epoch : 0;
    return ERR_OK;
}

static enum error_code not_found(struct error *err)
{
    return error_set(err, ERR_NOT_FOUND, "no record");
}

static enum error_code store_nonce(void *ctx, const char *server, const char *nonce,
                                   char ret_rollout[ID_BUFFER], struct error *err)
{
    const struct stored_nonce *found = stored_nonce_find(ctx, nonce);
    (void)server;
    if (!world_has_memory())
        return no_memory(err);
    if (found == NULL)
        return not_found(err);
    memcpy(ret_rollout, found->rollout, ID_BUFFER);
    return ERR_OK;
}

static enum error_code
store_open_executions(void *ctx, const char *server,
                      enum error_code (*each)(void *each_ctx, const char *rollout,
                                              const struct undo_status *status, struct error *err),
                      void *each_ctx, struct error *err)
{
    struct agent_world *w = ctx;
    (void)server;
    for (size_t i = 0; i < w->stored_count; i++) {
        const struct stored *s = &w->disk[i];
        if (s->status.settled && s->status.acked_seq >= s->status.last_seq)
            continue;
        enum error_code code = each(each_ctx, s->rollout, &s->status, err);
        if (code != ERR_OK)
            return code;
    }
    return ERR_OK;
}

static enum error_code store_find(void *ctx, const char *server, const char *rollout,
                                  int64_t time_ms, struct undo_status *ret_status,
                                  struct error *err)
{
    const struct stored *s = stored_find(ctx, rollout);
    (void)server;
    (void)time_ms;
    if (s == NULL)
        return not_found(err);
    if (is_old(s))
        return error_set(err, ERR_STALE, "past its retention");
    *ret_status = s->status;
    return ERR_OK;
}

/* Reads as the real one does: an entry that is none makes all of it unreadable. */
static enum error_code entries_read(const struct stored *s, const struct undo_portion *portion,
                                    struct array *ret, struct error *err)
{
    struct wire_entry *items = mem_array(s->entry_count + 1, sizeof(*items));
    struct array entries = {.items = items};
    enum error_code code = items == NULL ? no_memory(err) : ERR_OK;
    for (size_t i = 0; i < s->entry_count && code == ERR_OK; i++) {
        struct wire_entry *entry = &items[entries.count];
        if (entries.count == portion->max_count)
            break;
        code = json_read(s->entries[i], strlen(s->entries[i]), WIRE_MAX_BYTES, &wire_entry_table,
                         entry, err);
        if (code == ERR_INVALID)
            code = error_set(err, ERR_CORRUPT, "an entry cannot be read");
        if (code == ERR_OK && entry->seq <= portion->after_seq)
            wire_entry_release(entry);
        else if (code == ERR_OK)
            entries.count++;
    }
    if (code != ERR_OK)
        undo_entries_done(&entries);
    else
        *ret = entries;
    return code;
}

static enum error_code store_load(void *ctx, const char *server, const char *rollout,
                                  struct undo_image *ret_image, struct error *err)
{
    static const struct undo_portion all = {.max_bytes = SIZE_MAX, .max_count = SIZE_MAX};
    const struct stored *s = stored_find(ctx, rollout);
    struct undo_image image = {0};
    (void)server;
    if (s == NULL)
        return not_found(err);
    image.status = s->status;
    int64_t *captured = mem_array(WORLD_STEPS, sizeof(*captured));
    image.captured.items = captured;
    for (size_t i = 0; i < WORLD_STEPS && captured != NULL; i++)
        if (s->captures[i] != NULL)
            captured[image.captured.count++] = (int64_t)i;
    enum error_code code = captured == NULL ? no_memory(err) : ERR_OK;
    if (code == ERR_OK && s->spec != NULL) {
        image.spec = mem_strndup(s->spec, s->spec_len);
        image.spec_len = s->spec_len;
        code = image.spec == NULL ? no_memory(err) : ERR_OK;
    }
    if (code == ERR_OK)
        code = entries_read(s, &all, &image.entries, err);
    if (code != ERR_OK)
        undo_image_done(&image);
    else
        *ret_image = image;
    return code;
}

static enum error_code store_entries(void *ctx, const char *server, const char *rollout,
                                     const struct undo_portion *portion, struct array *ret_entries,
                                     struct error *err)
{
    static const struct stored none;
    const struct stored *s = stored_find(ctx, rollout);
    (void)server;
    return entries_read(s == NULL ? &none : s, portion, ret_entries, err);
}

static enum error_code store_capture(void *ctx, const char *server, const char *rollout,
                                     uint32_t step, char **ret_undo, struct error *err)
{
    const struct stored *s = stored_find(ctx, rollout);
    (void)server;
    if (s == NULL || s->captures[step] == NULL)
        return not_found(err);
    char *undo = mem_strdup(s->captures[step]);
    if (undo == NULL)
        return no_memory(err);
    *ret_undo = undo;
    return ERR_OK;
}

static enum error_code store_folder(void *ctx, const char *server, const char *rollout,
                                    uint32_t step, char ret_path[UNDO_FILES_PATH_MAX],
                                    struct error *err)
{
    (void)ctx;
    (void)server;
    (void)err;
    (void)snprintf(ret_path, UNDO_FILES_PATH_MAX, "/nowhere/%s/%u", rollout, step);
    return ERR_OK;
}

static struct undo_usage store_usage(void *ctx)
{
    return ((struct agent_world *)ctx)->usage;
}

static bool store_stalled(void *ctx)
{
    return ((struct agent_world *)ctx)->stalled;
}

struct agent_store world_store(struct agent_world *w)
{
    return (struct agent_store){.ctx = w,
                                .append = store_append,
                                .ack = store_ack,
                                .save_epoch = store_save_epoch,
                                .epoch = store_epoch,
                                .nonce = store_nonce,
                                .open_executions = store_open_executions,
                                .find = store_find,
                                .load = store_load,
                                .entries = store_entries,
                                .capture = store_capture,
                                .folder = store_folder,
                                .usage = store_usage,
                                .expire = store_expire,
                                .stalled = store_stalled};
}
