#include "common/base/alloc.h"
#include "common/base/cleanup.h"
#include "orchestrator/journal/event_json.h"
#include "orchestrator/journal/journal_internal.h"
#include "orchestrator/journal/journal_schema.h"
#include "orchestrator/journal/journal_sum.h"

#include <assert.h>
#include <string.h>

/* ---- Filling (owner's thread) -------------------------------------------------------------------
 */

static void append_free(struct journal_work *w)
{
    journal_append_free((struct journal_append *)w);
}

enum error_code journal_append_new(const char *rollout, uint64_t expected_seq,
                                   struct journal_append **ret_append, struct error *err)
{
    if (!id_valid(rollout))
        return error_set(err, ERR_INVALID, "\"%s\" is no rollout id", rollout);
    struct journal_append *a = MEM_NEW(struct journal_append);
    if (a == NULL)
        return error_set(err, ERR_NO_MEMORY, NULL);
    memcpy(a->rollout, rollout, strlen(rollout) + 1);
    a->w.work.apply = append_apply;
    a->w.free = append_free;
    a->expected_seq = expected_seq;
    a->outputs_end = &a->outputs;
    *ret_append = a;
    return ERR_OK;
}

void journal_append_free(struct journal_append *a)
{
    if (a == NULL)
        return;
    while (a->outputs != NULL) {
        struct append_output *next = a->outputs->next;
        mem_free(a->outputs);
        a->outputs = next;
    }
    buf_done(&a->texts);
    mem_free(a->events);
    mem_free(a->touches);
    mem_free(a->plan_text);
    mem_free(a->by);
    mem_free(a->retry_of);
    mem_free(a->name);
    mem_free(a);
}

enum error_code journal_append_create(struct journal_append *a, const struct plan *plan,
                                      const char *plan_json, size_t plan_len, const char *by,
                                      struct error *err)
{
    assert(a->expected_seq == 1 && !a->create);
    AUTO_FREE char *name = plan->name == NULL ? NULL : mem_strdup(plan->name);
    AUTO_FREE char *who = by == NULL ? NULL : mem_strdup(by);
    AUTO_FREE char *text = mem_strndup(plan_json, plan_len);
    if (text == NULL || (plan->name != NULL && name == NULL) || (by != NULL && who == NULL))
        return error_set(err, ERR_NO_MEMORY, NULL);
    a->name = TAKE(name);
    a->by = TAKE(who);
    a->plan_text = TAKE(text);
    a->plan_len = strlen(a->plan_text);
    a->create = true;
    /* Until the caller says more of it. */
    if (!a->has_summary) {
        a->summary = (struct journal_summary){
            .state = ROLLOUT_PENDING,
            .counts = {.pending = plan_server_count(plan)},
            .servers = plan_server_count(plan),
        };
        a->has_summary = true;
    }
    return ERR_OK;
}

enum error_code journal_append_retry_of(struct journal_append *a, const char *rollout,
                                        struct error *err)
{
    assert(a->create && a->retry_of == NULL);
    a->retry_of = mem_strdup(rollout);
    return a->retry_of == NULL ? error_set(err, ERR_NO_MEMORY, NULL) : ERR_OK;
}

static enum error_code events_reserve(struct journal_append *a, struct error *err)
{
    if (a->event_count < a->event_capacity)
        return ERR_OK;
    size_t capacity = a->event_capacity == 0 ? 4 : a->event_capacity * 2;
    struct append_event *events = mem_realloc(a->events, capacity * sizeof(*events));
    if (events == NULL)
        return error_set(err, ERR_NO_MEMORY, NULL);
    a->events = events;
    a->event_capacity = capacity;
    return ERR_OK;
}

enum error_code journal_append_event(struct journal_append *a, const struct plan *plan,
                                     const struct event *event, struct error *err)
{
    enum error_code code = events_reserve(a, err);
    if (code != ERR_OK)
        return code;
    struct event numbered = *event;
    numbered.seq = journal_append_last_seq(a) + 1;
    if (numbered.seq > JOURNAL_MAX_SEQ)
        return error_set(err, ERR_LIMIT, "%s: has as many events as a rollout can have",
                         a->rollout);
    size_t offset = a->texts.len;
    event_write(&a->texts, plan, &numbered);
    code = buf_check(&a->texts, err);
    size_t len = a->texts.len - offset;
    if (code == ERR_OK && len > EVENT_MAX_BYTES)
        code = error_set(err, ERR_LIMIT, "an event of %zu bytes; at most %d are kept", len,
                         EVENT_MAX_BYTES);
    if (code != ERR_OK) {
        a->texts.len = offset; /* the append is as it was, and can go on */
        a->texts.failed = ERR_OK;
        return code;
    }
    a->events[a->event_count++] = (struct append_event){event->type, offset, len};
    return ERR_OK;
}

static struct append_touch *touch_find(struct journal_append *a, uint32_t server)
{
    for (size_t i = 0; i < a->touch_count; i++) {
        if (a->touches[i].server == server)
            return &a->touches[i];
    }
    return NULL;
}

enum error_code journal_append_touch(struct journal_append *a, const struct plan *plan,
                                     uint32_t server, bool undone, struct error *err)
{
    /* One report is of one server, so there are never many. */
    struct append_touch *there = touch_find(a, server);
    if (there != NULL) {
        there->undone = undone;
        return ERR_OK;
    }
    if (a->touch_count == a->touch_capacity) {
        size_t capacity = a->touch_capacity == 0 ? 1 : a->touch_capacity * 2;
        struct append_touch *touches = mem_realloc(a->touches, capacity * sizeof(*touches));
        if (touches == NULL)
            return error_set(err, ERR_NO_MEMORY, NULL);
        a->touches = touches;
        a->touch_capacity = capacity;
    }
    size_t name = a->texts.len;
    const char *text = plan_server(plan, server);
    buf_append(&a->texts, text, strlen(text) + 1);
    enum error_code code = buf_check(&a->texts, err);
    if (code == ERR_OK)
        a->touches[a->touch_count++] = (struct append_touch){server, undone, name};
    return code;
}

enum error_code journal_append_output(struct journal_append *a, const struct journal_output *output,
                                      struct error *err)
{
    assert(output->server < PLAN_MAX_SERVERS && output->step < PLAN_MAX_STEPS);
    struct append_output *copy = mem_alloc(sizeof(*copy) + output->len + 1);
    if (copy == NULL)
        return error_set(err, ERR_NO_MEMORY, NULL);
    *copy = (struct append_output){
        .server = output->server,
        .step = output->step,
        .attempt = output->attempt,
        .len = output->len,
    };
    if (output->len > 0)
        memcpy(copy->text, output->text, output->len);
    copy->text[output->len] = '\0';
    *a->outputs_end = copy;
    a->outputs_end = &copy->next;
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

/* ---- Applying (writer's thread) --------------------------------------------------------- */

static void bind_string(struct db_stmt *s, int index, const char *text)
{
    db_bind_text(s, index, text, text == NULL ? 0 : strlen(text));
}

static enum error_code next_num(struct db *db, int64_t *ret_num, struct error *err)
{
    struct db_stmt *s = NULL;
    bool row = false;
    enum error_code code = db_use(db, JOURNAL_ROLLOUT_NEXT, &s, err);
    if (code != ERR_OK)
        return code;
    code = db_step(s, &row, err);
    if (code == ERR_OK)
        *ret_num = db_column_int(s, 0);
    db_reset(s);
    return code;
}

static enum error_code apply_create(struct db *db, const struct journal_append *a, int64_t *ret_num,
                                    struct error *err)
{
    struct db_stmt *s = NULL;
    enum error_code code = next_num(db, ret_num, err);
    if (code == ERR_OK)
        code = db_use(db, JOURNAL_ROLLOUT_ADD, &s, err);
    if (code != ERR_OK)
        return code;
    db_bind_int(s, 1, *ret_num);
    bind_string(s, 2, a->rollout);
    bind_string(s, 3, a->name);
    bind_string(s, 4, a->by);
    bind_string(s, 5, a->retry_of);
    const struct journal_rollout made = {
        .id = a->rollout, .name = a->name, .by = a->by, .retry_of = a->retry_of};
    db_bind_int(s, 6, sum_made(*ret_num, &made));
    code = db_run(s, err);
    if (code == ERR_OK)
        code = db_use(db, JOURNAL_PLAN_ADD, &s, err);
    if (code != ERR_OK)
        return code;
    db_bind_int(s, 1, *ret_num);
    db_bind_text(s, 2, a->plan_text, a->plan_len);
    db_bind_int(s, 3, sum_plan(*ret_num, a->plan_text, a->plan_len));
    return db_run(s, err);
}

/* The rollout's row, made where the append begins it; checks that nothing came in between. */
static enum error_code apply_rollout(struct db *db, const struct journal_append *a,
                                     int64_t *ret_num, struct error *err)
{
    uint64_t last_seq = 0;
    enum error_code code = rollout_find_num(db, a->rollout, ret_num, &last_seq, err);
    if (code == ERR_OK && a->create)
        return error_set(err, ERR_EXISTS, "a rollout %s exists already", a->rollout);
    if (code == ERR_OK && last_seq + 1 != a->expected_seq)
        return error_set(err, ERR_CONFLICT, "%s: the journal's next event is number %llu, not %llu",
                         a->rollout, (unsigned long long)last_seq + 1,
                         (unsigned long long)a->expected_seq);
    if (code != ERR_NOT_FOUND || !a->create)
        return code;
    return apply_create(db, a, ret_num, err);
}

static enum error_code apply_events(struct db *db, const struct journal_append *a, int64_t num,
                                    struct error *err)
{
    for (size_t i = 0; i < a->event_count; i++) {
        const struct append_event *event = &a->events[i];
        struct db_stmt *s = NULL;
        enum error_code code = db_use(db, JOURNAL_EVENT_ADD, &s, err);
        if (code != ERR_OK)
            return code;
        int64_t key = event_key(num, a->expected_seq + i);
        const char *type = event_type_names[event->type];
        const char *json = a->texts.data + event->offset;
        db_bind_int(s, 1, key);
        bind_string(s, 2, type);
        db_bind_text(s, 3, json, event->len);
        db_bind_int(s, 4, sum_event(key, type, json, event->len));
        code = db_run(s, err);
        if (code != ERR_OK)
            return code;
    }
    return ERR_OK;
}

static enum error_code apply_outputs(struct db *db, const struct journal_append *a, int64_t num,
                                     struct error *err)
{
    for (const struct append_output *o = a->outputs; o != NULL; o = o->next) {
        struct db_stmt *s = NULL;
        enum error_code code = db_use(db, JOURNAL_OUTPUT_PUT, &s, err);
        if (code != ERR_OK)
            return code;
        int64_t key = output_key(num, o->server, o->step);
        db_bind_int(s, 1, key);
        db_bind_int(s, 2, o->attempt);
        db_bind_text(s, 3, o->text, o->len);
        db_bind_int(s, 4, sum_output(key, o->attempt, o->text, o->len));
        code = db_run(s, err);
        if (code != ERR_OK)
            return code;
    }
    return ERR_OK;
}

static enum error_code apply_touches(struct db *db, const struct journal_append *a, int64_t num,
                                     struct error *err)
{
    enum error_code code = ERR_OK;
    for (size_t i = 0; i < a->touch_count && code == ERR_OK; i++) {
        const struct touch touch = {.server = a->touches[i].server,
                                    .name = a->texts.data + a->touches[i].name,
                                    .undone = a->touches[i].undone};
        code = touch_put(db, num, &touch, err);
    }
    return code;
}

/* A rollout with an undo that was given up on is not removed either: the server may come back. */
enum journal_row_open summary_open(const struct journal_summary *summary)
{
    if (!rollout_state_final(summary->state))
        return ROW_OPEN;
    if (summary->undo_owed)
        return ROW_OWED;
    return summary->state == ROLLOUT_ROLLBACK_FAILED ? ROW_OPEN : ROW_CLOSED;
}

static void bind_summary(struct db_stmt *s, const struct journal_summary *summary)
{
    const struct engine_counts *counts = &summary->counts;
    bind_string(s, UPDATE_STATE, rollout_state_names[summary->state]);
    db_bind_int(s, UPDATE_OPEN, summary_open(summary));
    db_bind_int(s, UPDATE_CREATED_MS, summary->created_ms);
    db_bind_int(s, UPDATE_ENDED_MS, summary->ended_ms);
    db_bind_int(s, UPDATE_SERVERS, summary->servers);
    db_bind_int(s, UPDATE_PENDING, counts->pending);
    db_bind_int(s, UPDATE_IN_FLIGHT, counts->in_flight);
    db_bind_int(s, UPDATE_SUCCEEDED, counts->succeeded);
    db_bind_int(s, UPDATE_FAILED, counts->failed);
    db_bind_int(s, UPDATE_UNREACHABLE, counts->unreachable);
    db_bind_int(s, UPDATE_UNKNOWN, counts->unknown);
    db_bind_int(s, UPDATE_CANCELLED, counts->cancelled);
    db_bind_int(s, UPDATE_SKIPPED, counts->skipped);
    db_bind_int(s, UPDATE_ROLLED_BACK, counts->rolled_back);
    db_bind_int(s, UPDATE_ROLLBACK_FAILED, counts->rollback_failed);
    db_bind_int(s, UPDATE_IS_CHECK, summary->check);
    db_bind_int(s, UPDATE_UNCHANGED, counts->unchanged);
}

enum error_code summary_write(struct db *db, int64_t num, const struct journal_summary *summary,
                              uint64_t last_seq, struct error *err)
{
    struct db_stmt *s = NULL;
    enum error_code code = db_use(db, JOURNAL_ROLLOUT_UPDATE, &s, err);
    if (code != ERR_OK)
        return code;
    db_bind_int(s, UPDATE_NUM, num);
    bind_summary(s, summary);
    db_bind_int(s, UPDATE_LAST_SEQ, (int64_t)last_seq);
    db_bind_int(s, UPDATE_SUM, sum_summary(num, summary, summary_open(summary), last_seq));
    return db_run(s, err);
}

static enum error_code apply_summary(struct db *db, const struct journal_append *a, int64_t num,
                                     struct error *err)
{
    struct journal_summary summary = a->summary;
    enum error_code code =
        a->has_summary ? ERR_OK : rollout_read_summary(db, a->rollout, &summary, err);
    return code == ERR_OK ? summary_write(db, num, &summary, journal_append_last_seq(a), err)
                          : code;
}

enum error_code append_apply(struct db *db, struct writer_work *work, struct error *err)
{
    struct journal_append *a = (struct journal_append *)work;
    int64_t num = 0;
    struct error *why = &a->w.why;
    *why = (struct error){0};
    enum error_code code = apply_rollout(db, a, &num, why);
    if (code == ERR_OK)
        code = apply_events(db, a, num, why);
    if (code == ERR_OK)
        code = apply_outputs(db, a, num, why);
    if (code == ERR_OK)
        code = apply_touches(db, a, num, why);
    if (code == ERR_OK)
        code = apply_summary(db, a, num, why);
    if (code != ERR_OK && err != NULL)
        *err = *why;
    return code;
}
