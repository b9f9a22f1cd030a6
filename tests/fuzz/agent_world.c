#include "tests/fuzz/agent_world.h"

#include "common/base/alloc.h"
#include "common/json/json.h"
#include "handlers/catalog.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct pending {
    struct pending *next;
    struct stored copy; /* of what the append brings */
    bool expires;       /* an expiry, and no append */
    bool replaces, settled;
    int64_t restarts;
    void (*done)(void *ctx, enum error_code result);
    void *ctx;
};

static void *checked(void *p)
{
    assert(p != NULL);
    return p;
}

static char *text_copy(const char *s, size_t len)
{
    char *copy = checked(malloc(len + 1));
    memcpy(copy, s, len);
    copy[len] = '\0';
    return copy;
}

static enum error_code no_memory(struct error *err)
{
    return error_set(err, ERR_NO_MEMORY, NULL);
}

static bool memory_is_there(void)
{
    void *p = mem_alloc(1);
    mem_free(p);
    return p != NULL;
}

/* ---- The disk -------------------------------------------------------------------------------- */

static struct stored *stored_find(struct agent_world *w, const char *rollout)
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

static void stored_done(struct stored *s)
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
    s->entries = checked(realloc(s->entries, (s->entry_count + 1) * sizeof(*s->entries)));
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
    if (!memory_is_there())
        return no_memory(err);
    struct pending *p = checked(calloc(1, sizeof(*p)));
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
    if (!memory_is_there())
        return no_memory(err);
    struct pending *p = checked(calloc(1, sizeof(*p)));
    p->expires = true;
    p->done = done;
    p->ctx = done_ctx;
    pending_put(w, p);
    return ERR_OK;
}

/* Entries come without a gap; what is there already stays as it is. */
static void disk_write(struct agent_world *w, struct pending *p)
{
    struct stored *s = agent_world_store(w, p->copy.rollout);
    assert(s != NULL);
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

static struct pending *pending_take(struct agent_world *w)
{
    struct pending *p = w->pending;
    w->pending = p->next;
    if (w->pending == NULL)
        w->pending_last = NULL;
    return p;
}

static void pending_free(struct pending *p)
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
    if (!memory_is_there())
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
    if (!memory_is_there())
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

static enum error_code not_found(struct error *err)
{
    return error_set(err, ERR_NOT_FOUND, "no record");
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

/* ---- The runner ------------------------------------------------------------------------------ */

static bool changes_host(const struct plan_step *step)
{
    const struct step_type *type = step_catalog_find(&handler_catalog, step->type);
    return type != NULL && (type->traits & STEP_TYPE_CHANGES) != 0;
}

/* The step's number: the folder that it was given ends with it. */
static size_t step_number(const struct runner_operation *operation)
{
    return strtoul(strrchr(operation->undo_dir, '/') + 1, NULL, 10);
}

/* What must be on the disk before the host is changed. */
static void check_durable(struct agent_world *w, const struct runner_operation *operation)
{
    const struct stored *s = stored_find(w, operation->rollout);
    assert(s != NULL && s->captures[step_number(operation)] != NULL);
    assert(operation->undo != NULL);
}

static void runner_begin(void *ctx, const struct runner_operation *operation)
{
    struct agent_world *w = ctx;
    assert(!w->busy && !w->failed && !w->stalled);
    w->busy = true;
    w->cancelled = false;
    w->operation = *operation;
    w->operations++;
    (void)snprintf(w->rollout, sizeof(w->rollout), "%s", operation->rollout);
    if (operation->operation == HANDLER_EXECUTE && changes_host(operation->step))
        check_durable(w, operation);
}

static void runner_stop(void *ctx)
{
    struct agent_world *w = ctx;
    w->cancelled = w->busy;
}

static void runner_tidy(void *ctx, const char *rollout, const char *step)
{
    (void)ctx;
    assert(rollout[0] != '\0' && step != NULL);
}

/* The next letter: f fails for good, r may be tried again, x fails with an exit code, n finds no
 * room for what it would keep, p prints; anything else, or none, goes well. */
static void operation_end(struct agent_world *w)
{
    struct handler_result result = {.outcome = HANDLER_OK};
    char letter = w->outcomes != NULL && *w->outcomes != '\0' ? *w->outcomes++ : w->usual;
    char undo[] = "{\"captured\":true}";
    bool changes = changes_host(w->operation.step);
    if (w->cancelled) {
        result.outcome = HANDLER_CANCELLED;
    } else if (letter == 'f' || letter == 'r' || letter == 'x') {
        result.outcome = HANDLER_FAILED;
        result.retryable = letter == 'r';
        result.has_exit_code = letter == 'x';
        result.exit_code = 3;
        (void)snprintf(result.message, sizeof(result.message), "it went wrong (%c)", letter);
    } else if (letter == 'n' && w->operation.operation == HANDLER_PREPARE) {
        result.outcome = HANDLER_FAILED;
        result.no_room = true;
        (void)snprintf(result.message, sizeof(result.message), "no room");
    } else if (w->operation.operation == HANDLER_PREPARE && changes) {
        result.undo = undo;
    } else if (changes) {
        result.changed = w->operation.operation == HANDLER_EXECUTE;
        w->changed[step_number(&w->operation)] = result.changed;
    }
    if (letter == 'p')
        agent_operation_output(w->agent, 0, "printed");
    w->busy = false;
    agent_operation_done(w->agent, &result, letter == 'p' ? "printed\n" : NULL);
}

/* ---- Link, clock, owner ---------------------------------------------------------------------- */

static bool link_out(void *ctx, const char *data, size_t len, bool droppable)
{
    struct agent_world *w = ctx;
    (void)droppable;
    if (w->refuse_sends)
        return false;
    if (!memory_is_there()) {
        /* As net does: the connection is given up. */
        w->refuse_sends = true;
        return false;
    }
    char *grown = checked(realloc(w->sent.data, w->sent.len + len + 2));
    memcpy(grown + w->sent.len, data, len);
    w->sent.data = grown;
    w->sent.len += len;
    grown[w->sent.len++] = '\n';
    grown[w->sent.len] = '\0';
    return true;
}

/* The connection that there is ends at once; another is made by agent_world_welcome. */
static void link_renew_now(void *ctx)
{
    struct agent_world *w = ctx;
    w->refuse_sends = true;
    agent_disconnected(w->agent);
}

static int64_t clock_now(void *ctx)
{
    return ((struct agent_world *)ctx)->now_ms;
}

static void clock_set(void *ctx, int64_t delay_ms)
{
    ((struct agent_world *)ctx)->alarm = true;
    assert(delay_ms >= 0);
}

static void clock_stop(void *ctx)
{
    ((struct agent_world *)ctx)->alarm = false;
}

static void owner_failed(void *ctx, const struct error *err)
{
    struct agent_world *w = ctx;
    assert(!w->failed);
    w->failed = !w->dying;
    w->why = *err;
}

static void owner_quiet(void *ctx)
{
    ((struct agent_world *)ctx)->quiet = true;
}

/* ---- Life ------------------------------------------------------------------------------------ */

void agent_world_init(struct agent_world *w)
{
    *w = (struct agent_world){.now_ms = INT64_C(1700000000000)};
}

enum error_code agent_world_start(struct agent_world *w, struct error *err)
{
    static char server[] = "s1", instance[] = "i1", version[] = "1";
    const struct agent_config config = {
        .identity = {.server = server, .instance = instance, .version = version},
        .catalog = &handler_catalog,
        .after_death = w->after_death,
        .link = {w, link_out, link_renew_now},
        .store = {w, store_append, store_ack, store_save_epoch, store_epoch, store_open_executions,
                  store_find, store_load, store_entries, store_capture, store_folder, store_usage,
                  store_expire, store_stalled},
        .runner = {w, runner_begin, runner_stop, runner_tidy},
        .clock = {w, clock_now, clock_now, clock_set, clock_stop},
        .owner = {w, owner_failed, owner_quiet},
    };
    w->failed = w->quiet = w->busy = w->alarm = w->refuse_sends = false;
    enum error_code code = agent_new(&config, &w->agent, err);
    if (code == ERR_OK)
        agent_start(w->agent);
    return code;
}

void agent_world_kill(struct agent_world *w)
{
    /* Whoever waits is told, so that nothing leaks; the agent does nothing more by then. */
    w->dying = true;
    while (w->pending != NULL) {
        struct pending *p = pending_take(w);
        p->done(p->ctx, ERR_UNAVAILABLE);
        pending_free(p);
    }
    agent_free(w->agent);
    w->agent = NULL;
    w->busy = w->alarm = w->dying = false;
}

void agent_world_done(struct agent_world *w)
{
    if (w->agent != NULL)
        agent_world_kill(w);
    for (size_t i = 0; i < w->stored_count; i++)
        stored_done(&w->disk[i]);
    free(w->sent.data);
}

enum error_code agent_world_welcome(struct agent_world *w, int64_t epoch, struct error *err)
{
    char name[] = "o";
    const struct wire_welcome welcome = {.orchestrator = name, .epoch = epoch, .heartbeat_ms = 1};
    w->refuse_sends = false;
    return agent_welcome(w->agent, &welcome, err);
}

enum error_code agent_world_frame(struct agent_world *w, const char *text, size_t len,
                                  struct error *err)
{
    struct wire_frame frame = {0};
    enum error_code code = wire_decode(text, len, &frame, err);
    if (code != ERR_OK)
        return code;
    /* A welcome comes by another way; an ack of no rollout answers a heartbeat, and ends there. */
    if (frame.type != WIRE_ACK || frame.ack.rollout != NULL)
        code = agent_receive(w->agent, &frame, text, len, err);
    wire_frame_done(&frame);
    return code;
}

enum error_code agent_world_ack_all(struct agent_world *w, struct error *err)
{
    for (size_t i = 0; i < w->stored_count; i++) {
        struct wire_frame frame = {
            .type = WIRE_ACK,
            .ack = {.rollout = w->disk[i].rollout, .seq = w->disk[i].status.last_seq}};
        enum error_code code = agent_receive(w->agent, &frame, "", 0, err);
        if (code != ERR_OK)
            return code;
    }
    return ERR_OK;
}

bool agent_world_step(struct agent_world *w)
{
    w->now_ms += 10;
    if (w->pending != NULL && !w->stalled) {
        struct pending *p = pending_take(w);
        if (p->expires)
            disk_expire(w);
        else
            disk_write(w, p);
        p->done(p->ctx, ERR_OK);
        pending_free(p);
        return true;
    }
    if (w->busy) {
        operation_end(w);
        return true;
    }
    if (!w->alarm || w->failed)
        return false;
    w->alarm = false;
    agent_alarm(w->agent);
    return true;
}
