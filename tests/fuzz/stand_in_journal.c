#include "tests/fuzz/stand_in_journal_internal.h"

#include "common/json/json.h"
#include "common/plan/plan_json.h"
#include "orchestrator/journal/event_json.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

DEFINE_CLEANUP(event_hold_free, struct event_doc)
DEFINE_CLEANUP(json_free, struct json_doc)

static void push(struct journal_append **list, struct journal_append *a)
{
    while (*list != NULL)
        list = &(*list)->next;
    a->next = NULL;
    *list = a;
}

struct journal_append *stand_find(const struct journal *j, const char *id)
{
    for (struct journal_append *r = j->rollouts; r != NULL; r = r->next)
        if (strcmp(r->id, id) == 0)
            return r;
    return NULL;
}

void stand_wait(struct journal *j, struct journal_append *a)
{
    push(&j->waiting, a);
}

static enum error_code not_found(const char *id, struct error *err)
{
    return error_set(err, ERR_NOT_FOUND, "no rollout %s", id);
}

static enum error_code no_memory(struct error *err)
{
    return error_set(err, ERR_NO_MEMORY, NULL);
}

/* ---- Life ------------------------------------------------------------------------------------ */

struct journal *stand_journal_new(void)
{
    return MEM_NEW(struct journal);
}

static void append_list_free(struct journal_append *list)
{
    while (list != NULL) {
        struct journal_append *next = list->next;
        journal_append_free(list);
        list = next;
    }
}

void stand_journal_free(struct journal *j)
{
    if (j == NULL)
        return;
    while (j->waiting != NULL)
        journal_collect(j);
    append_list_free(j->rollouts);
    while (j->locks != NULL) {
        struct stored_lock *next = j->locks->next;
        stand_lock_free(j->locks);
        j->locks = next;
    }
    mem_free(j);
}

bool stand_journal_idle(const struct journal *j)
{
    return j->waiting == NULL;
}

const char *stand_journal_id(const struct journal *j, size_t i)
{
    const struct journal_append *r = j->rollouts;
    for (; r != NULL && i > 0; i--)
        r = r->next;
    return r == NULL ? NULL : r->id;
}

const char *journal_identity(const struct journal *j)
{
    (void)j;
    return "stand-in";
}

int64_t journal_epoch(const struct journal *j)
{
    (void)j;
    return 1;
}

/* ---- Filling --------------------------------------------------------------------------------- */

enum error_code journal_append_new(const char *rollout, uint64_t expected_seq,
                                   struct journal_append **ret_append, struct error *err)
{
    struct journal_append *a = MEM_NEW(struct journal_append);
    if (a == NULL)
        return no_memory(err);
    assert(id_valid(rollout));
    memcpy(a->id, rollout, strlen(rollout) + 1);
    a->expected_seq = expected_seq;
    *ret_append = a;
    return ERR_OK;
}

void journal_append_free(struct journal_append *a)
{
    if (a == NULL)
        return;
    for (size_t i = 0; i < a->event_count; i++)
        mem_free(a->events[i].json);
    while (a->outputs != NULL) {
        struct stored_output *next = a->outputs->next;
        mem_free(a->outputs);
        a->outputs = next;
    }
    stand_touches_free(a->touches);
    stand_lock_free(a->lock);
    mem_free(a->events);
    mem_free(a->name);
    mem_free(a->by);
    mem_free(a->retry_of);
    mem_free(a->plan_text);
    mem_free(a);
}

enum error_code journal_append_create(struct journal_append *a, const struct plan *plan,
                                      const char *plan_json, size_t plan_len, const char *by,
                                      struct error *err)
{
    AUTO_FREE char *name = plan->name == NULL ? NULL : mem_strdup(plan->name);
    AUTO_FREE char *who = by == NULL ? NULL : mem_strdup(by);
    AUTO_FREE char *text = mem_strndup(plan_json, plan_len);
    if (text == NULL || (plan->name != NULL && name == NULL) || (by != NULL && who == NULL))
        return no_memory(err);
    a->name = TAKE(name);
    a->by = TAKE(who);
    a->plan_text = TAKE(text);
    a->plan_len = plan_len;
    a->create = true;
    return ERR_OK;
}

enum error_code journal_append_retry_of(struct journal_append *a, const char *rollout,
                                        struct error *err)
{
    assert(a->create && a->retry_of == NULL);
    a->retry_of = mem_strdup(rollout);
    return a->retry_of == NULL ? no_memory(err) : ERR_OK;
}

static bool reserve(struct journal_append *a)
{
    if (a->event_count < a->event_capacity)
        return true;
    size_t capacity = (a->event_count + 2) * 2;
    struct stored_event *events = mem_realloc(a->events, capacity * sizeof(*events));
    if (events == NULL)
        return false;
    a->events = events;
    a->event_capacity = capacity;
    return true;
}

enum error_code journal_append_event(struct journal_append *a, const struct plan *plan,
                                     const struct event *event, struct error *err)
{
    AUTO_BUF struct buf text = BUF_INIT;
    struct event numbered = *event;
    numbered.seq = journal_append_last_seq(a) + 1;
    event_write(&text, plan, &numbered);
    enum error_code code = buf_check(&text, err);
    if (code != ERR_OK)
        return code;
    if (!reserve(a))
        return no_memory(err);
    struct stored_event stored = {.type = event->type};
    stored.json = buf_take(&text, &stored.len);
    a->events[a->event_count++] = stored;
    return ERR_OK;
}

enum error_code journal_append_output(struct journal_append *a, const struct journal_output *output,
                                      struct error *err)
{
    struct stored_output *o = mem_alloc(sizeof(*o) + output->len + 1);
    if (o == NULL)
        return no_memory(err);
    *o = (struct stored_output){.next = a->outputs,
                                .server = output->server,
                                .step = output->step,
                                .attempt = output->attempt,
                                .len = output->len};
    memcpy(o->text, output->text, output->len);
    o->text[output->len] = '\0';
    a->outputs = o;
    return ERR_OK;
}

void journal_append_summary(struct journal_append *a, const struct journal_summary *summary)
{
    a->summary = *summary;
    a->has_summary = true;
}

uint64_t journal_append_last_seq(const struct journal_append *a)
{
    return a->expected_seq - 1 + a->event_count;
}

/* ---- Becoming durable ------------------------------------------------------------------------ */

void journal_append(struct journal *j, struct journal_append *a,
                    void (*done)(void *ctx, enum error_code result, const struct error *err),
                    void *ctx)
{
    a->done = done;
    a->ctx = ctx;
    j->appends++;
    push(&j->waiting, a);
}

/* Whoever appends keeps the order, so there is nothing that could be refused. The room comes
 * straight from the C library: what is durable does not fail for want of memory. */
static void apply(struct journal *j, struct journal_append *a)
{
    struct journal_append *r = stand_find(j, a->id);
    assert(a->create == (r == NULL) && a->event_count > 0 && a->has_summary);
    if (r == NULL) {
        assert(a->expected_seq == 1);
        push(&j->rollouts, a);
        return;
    }
    assert(a->expected_seq == r->event_count + 1);
    r->event_capacity = r->event_count + a->event_count;
    r->events = realloc(r->events, r->event_capacity * sizeof(*r->events));
    assert(r->events != NULL);
    memcpy(&r->events[r->event_count], a->events, a->event_count * sizeof(*a->events));
    r->event_count += a->event_count;
    a->event_count = 0;
    while (a->outputs != NULL) {
        struct stored_output *o = a->outputs;
        a->outputs = o->next;
        o->next = r->outputs;
        r->outputs = o;
    }
    stand_touches_apply(r, a);
    r->summary = a->summary;
    journal_append_free(a);
}

void journal_collect(struct journal *j)
{
    struct journal_append *waiting = TAKE(j->waiting);
    while (waiting != NULL) {
        struct journal_append *a = waiting;
        void (*done)(void *ctx, enum error_code result, const struct error *err) = a->done;
        void (*reached)(void *ctx) = a->reached;
        void *ctx = a->ctx;
        waiting = a->next;
        if (a->lock != NULL)
            stand_lock_apply(j, a);
        if (reached != NULL || a->id[0] == '\0')
            journal_append_free(a);
        else
            apply(j, a);
        if (reached != NULL)
            reached(ctx);
        else if (done != NULL)
            done(ctx, ERR_OK, NULL);
    }
}

bool journal_barrier(struct journal *j, void (*done)(void *ctx), void *ctx)
{
    if (j->waiting == NULL) {
        done(ctx);
        return true;
    }
    struct journal_append *a = MEM_NEW(struct journal_append);
    if (a == NULL)
        return false;
    a->reached = done;
    a->ctx = ctx;
    push(&j->waiting, a);
    return true;
}

bool journal_stalled(struct journal *j, bool *ret_final, struct error *ret_why)
{
    (void)j;
    (void)ret_why;
    if (ret_final != NULL)
        *ret_final = false;
    return false;
}

struct writer_stats journal_stats(struct journal *j)
{
    return (struct writer_stats){.works = j->appends};
}

int64_t journal_size_bytes(struct journal *j)
{
    (void)j;
    return 0;
}

enum error_code journal_backup(struct journal *j,
                               void (*done)(void *ctx, enum error_code result,
                                            const struct error *err, int fd, int64_t size_bytes),
                               void *ctx, struct error *err)
{
    (void)j;
    (void)done;
    (void)ctx;
    return error_set(err, ERR_UNAVAILABLE, "there is no file to copy");
}

/* ---- Reading --------------------------------------------------------------------------------- */

static struct journal_rollout record_of(const struct journal_append *r)
{
    struct journal_rollout record = {.id = r->id,
                                     .name = r->name,
                                     .by = r->by,
                                     .retry_of = r->retry_of,
                                     .summary = r->summary,
                                     .last_seq = r->event_count};
    return record;
}

/* As the real one's. */
static bool is_open(const struct journal_summary *summary)
{
    return !rollout_state_final(summary->state) || summary->undo_owed ||
           summary->state == ROLLOUT_ROLLBACK_FAILED;
}

enum error_code journal_scan_open(struct journal *j,
                                  bool (*each)(void *ctx, const struct journal_rollout *r),
                                  void *ctx, struct error *err)
{
    (void)err;
    for (const struct journal_append *r = j->rollouts; r != NULL; r = r->next) {
        struct journal_rollout record = record_of(r);
        if (is_open(&r->summary) && !each(ctx, &record))
            break;
    }
    return ERR_OK;
}

enum error_code journal_list(struct journal *j, const char *before_id, uint32_t limit,
                             bool (*each)(void *ctx, const struct journal_rollout *r), void *ctx,
                             struct error *err)
{
    const struct journal_append *before = before_id == NULL ? NULL : stand_find(j, before_id);
    if (before_id != NULL && before == NULL)
        return not_found(before_id, err);
    for (; limit > 0; limit--) {
        const struct journal_append *last = NULL;
        for (const struct journal_append *r = j->rollouts; r != before; r = r->next)
            last = r;
        if (last == NULL)
            break;
        struct journal_rollout record = record_of(last);
        if (!each(ctx, &record))
            break;
        before = last;
    }
    return ERR_OK;
}

enum error_code journal_get(struct journal *j, const char *id,
                            bool (*each)(void *ctx, const struct journal_rollout *r), void *ctx,
                            struct error *err)
{
    const struct journal_append *r = stand_find(j, id);
    if (r == NULL)
        return not_found(id, err);
    struct journal_rollout record = record_of(r);
    (void)each(ctx, &record);
    return ERR_OK;
}

enum error_code journal_resolve(struct journal *j, const char *prefix, char ret_id[129],
                                struct error *err)
{
    const struct journal_append *found = stand_find(j, prefix);
    size_t count = found != NULL;
    for (const struct journal_append *r = j->rollouts; found == NULL && r != NULL; r = r->next) {
        if (strncmp(r->id, prefix, strlen(prefix)) != 0)
            continue;
        count++;
        memcpy(ret_id, r->id, ID_BUFFER);
    }
    if (found != NULL)
        memcpy(ret_id, found->id, ID_BUFFER);
    if (count == 0)
        return not_found(prefix, err);
    return count == 1 ? ERR_OK : error_set(err, ERR_CONFLICT, "several begin with %s", prefix);
}

static enum error_code replay(struct engine *engine, const struct plan *plan,
                              const struct stored_event *stored, struct error *err)
{
    struct event event;
    struct decision decision;
    AUTO(event_hold_free) struct event_doc *hold = NULL;
    enum error_code code = event_read(stored->json, stored->len, plan, &event, &hold, err);
    if (code == ERR_OK)
        code = engine_apply(engine, &event, err);
    while (code == ERR_OK && engine_next(engine, &decision))
        continue;
    return code;
}

enum error_code journal_load(struct journal *j, const char *id, struct plan **ret_plan,
                             struct engine **ret_engine, uint64_t *ret_last_seq, struct error *err)
{
    const struct journal_append *r = stand_find(j, id);
    AUTO(plan_free) struct plan *plan = NULL;
    AUTO(engine_free) struct engine *engine = NULL;
    if (r == NULL)
        return not_found(id, err);
    enum error_code code = plan_read(r->plan_text, r->plan_len, &plan, err);
    if (code == ERR_OK)
        code = engine_new(plan, &engine, err);
    for (size_t i = 0; i < r->event_count && code == ERR_OK; i++)
        code = replay(engine, plan, &r->events[i], err);
    if (code != ERR_OK)
        return code;
    *ret_last_seq = r->event_count;
    *ret_engine = TAKE(engine);
    *ret_plan = TAKE(plan);
    return ERR_OK;
}

/* NOLINTNEXTLINE(readability-function-size): journal.h gives the parameters */
enum error_code journal_events(struct journal *j, const char *id, uint64_t after_seq,
                               uint32_t limit,
                               bool (*each)(void *ctx, uint64_t seq, const char *type,
                                            const char *json, size_t len),
                               void *ctx, struct error *err)
{
    const struct journal_append *r = stand_find(j, id);
    if (r == NULL)
        return not_found(id, err);
    for (uint64_t seq = after_seq + 1; seq <= r->event_count && limit > 0; seq++, limit--) {
        const struct stored_event *e = &r->events[seq - 1];
        if (!each(ctx, seq, event_type_names[e->type], e->json, e->len))
            break;
    }
    return ERR_OK;
}

enum error_code journal_event_message(struct journal *j, const char *id, uint64_t seq,
                                      struct buf *b, struct error *err)
{
    const struct journal_append *r = stand_find(j, id);
    AUTO(json_free) struct json_doc *doc = NULL;
    if (r == NULL || seq == 0 || seq > r->event_count)
        return not_found(id, err);
    const struct stored_event *e = &r->events[seq - 1];
    enum error_code code = json_parse(e->json, e->len, EVENT_MAX_BYTES, &doc, err);
    if (code != ERR_OK)
        return code;
    const struct json_value *message = json_get(json_root(doc), "message");
    if (message != NULL)
        buf_puts(b, json_string(message));
    return buf_check(b, err);
}

/* NOLINTNEXTLINE(readability-function-size): journal.h gives the parameters */
enum error_code journal_output(struct journal *j, const char *id, uint32_t server, uint32_t step,
                               struct buf *b, int32_t *ret_attempt, struct error *err)
{
    const struct journal_append *r = stand_find(j, id);
    const struct stored_output *last = NULL;
    for (const struct stored_output *o = r == NULL ? NULL : r->outputs; o != NULL; o = o->next) {
        /* The newest stands first; of two of one attempt the later one counts. */
        if (o->server == server && o->step == step && (last == NULL || o->attempt > last->attempt))
            last = o;
    }
    if (last == NULL)
        return not_found(id, err);
    buf_append(b, last->text, last->len);
    *ret_attempt = last->attempt;
    return buf_check(b, err);
}
