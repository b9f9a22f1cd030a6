#include "common/base/cleanup.h"
#include "common/plan/plan_json.h"
#include "orchestrator/journal/event_json.h"
#include "orchestrator/journal/journal_internal.h"
#include "orchestrator/journal/journal_schema.h"

#include <string.h>

DEFINE_CLEANUP(event_hold_free, struct event_doc)

static enum error_code replay_corrupt(const struct replay *r, uint64_t seq, const char *why,
                                      struct error *err)
{
    return error_set(err, ERR_CORRUPT, "journal: rollout %s: event %llu does not fit: %s", r->id,
                     (unsigned long long)seq, why);
}

static enum error_code replay_event(struct replay *r, uint64_t seq, const char *json, size_t len,
                                    struct error *err)
{
    struct event event;
    struct error why = {0};
    AUTO(event_hold_free) struct event_doc *hold = NULL;
    enum error_code code = event_read(json, len, r->plan, &event, &hold, &why);
    if (code == ERR_OK && event.seq != seq)
        return replay_corrupt(r, seq, "it is stored under another number", err);
    if (code == ERR_OK)
        code = engine_apply(r->engine, &event, &why);
    if (code == ERR_NO_MEMORY)
        return error_set(err, code, NULL);
    if (code != ERR_OK)
        return replay_corrupt(r, seq, why.message, err);
    /* What was decided was acted upon, or will be asked for again by engine_resume. */
    struct decision decision;
    while (engine_next(r->engine, &decision)) {
    }
    return ERR_OK;
}

enum error_code replay_row(struct replay *r, struct db_stmt *s, struct error *err)
{
    uint64_t seq = (uint64_t)db_column_int(s, EVENT_COLUMN_KEY) & JOURNAL_MAX_SEQ;
    if (seq != r->last_seq + 1)
        return replay_corrupt(r, r->last_seq + 1, "it is missing", err);
    if (!event_row_sound(s, r->unsummed))
        return replay_corrupt(r, seq, "it is damaged", err);
    size_t len = 0;
    const char *json = db_column_text(s, EVENT_COLUMN_JSON, &len);
    if (json == NULL)
        return error_set(err, ERR_NO_MEMORY, NULL);
    r->last_seq = seq;
    return replay_event(r, seq, json, len, err);
}

enum error_code replay_begin(struct replay *r, const char *text, size_t len, struct error *err)
{
    struct error why = {0};
    enum error_code code = plan_read(text, len, &r->plan, &why);
    if (code != ERR_OK && code != ERR_NO_MEMORY)
        return error_set(err, ERR_CORRUPT, "journal: rollout %s: its plan: %s", r->id, why.message);
    if (code == ERR_OK)
        code = engine_new(r->plan, &r->engine, &why);
    if (code != ERR_OK)
        return error_set(err, code, "rollout %s: %s", r->id, why.message);
    return ERR_OK;
}

void replay_done(struct replay *r)
{
    engine_free(r->engine);
    plan_free(r->plan);
}

enum error_code replay_all(struct replay *r, struct db *db, int64_t num, struct error *err)
{
    struct db_stmt *s = NULL;
    enum error_code code = db_use(db, JOURNAL_EVENTS_AFTER, &s, err);
    if (code != ERR_OK)
        return code;
    db_bind_int(s, 1, event_key(num, 0));
    db_bind_int(s, 2, event_key(num, JOURNAL_MAX_SEQ));
    db_bind_int(s, 3, -1); /* all of them */
    bool row = true;
    while (code == ERR_OK && row) {
        code = db_step(s, &row, err);
        if (code == ERR_OK && row)
            code = replay_row(r, s, err);
    }
    db_reset(s);
    return code;
}

enum error_code journal_load(struct journal *j, const char *id, struct plan **ret_plan,
                             struct engine **ret_engine, uint64_t *ret_last_seq, struct error *err)
{
    int64_t num = 0;
    uint64_t last_seq = 0;
    AUTO_BUF struct buf text = BUF_INIT;
    enum error_code code = rollout_find_num(j->reader, id, &num, &last_seq, err);
    if (code == ERR_OK)
        code = journal_plan_text(j, id, &text, err);
    if (code != ERR_OK)
        return code;

    __attribute__((cleanup(replay_done))) struct replay r = {.id = id, .unsummed = j->unsummed};
    code = replay_begin(&r, text.data, text.len, err);
    if (code == ERR_OK)
        code = replay_all(&r, j->reader, num, err);
    /* Read after the row, so there can be more by now, but never less. */
    if (code == ERR_OK && r.last_seq < last_seq)
        code = replay_corrupt(&r, r.last_seq + 1, "it is missing", err);
    if (code != ERR_OK)
        return code;
    *ret_last_seq = r.last_seq;
    *ret_engine = TAKE(r.engine);
    *ret_plan = TAKE(r.plan);
    return ERR_OK;
}
