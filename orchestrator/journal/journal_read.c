#include "common/base/cleanup.h"
#include "common/json/json.h"
#include "orchestrator/journal/event_json.h"
#include "orchestrator/journal/journal_internal.h"
#include "orchestrator/journal/journal_schema.h"

#include <string.h>

/* ---- Help ------------------------------------------------------------------------------- */

enum error_code rollout_find_num(struct db *db, const char *id, int64_t *ret_num,
                                 uint64_t *ret_last_seq, struct error *err)
{
    struct db_stmt *s = NULL;
    enum error_code code = db_use(db, JOURNAL_ROLLOUT_FIND, &s, err);
    if (code != ERR_OK)
        return code;
    bool row = false;
    db_bind_text(s, 1, id, strlen(id));
    code = db_step(s, &row, err);
    if (code == ERR_OK && !row)
        code = error_set(err, ERR_NOT_FOUND, "no rollout %s", id);
    if (code == ERR_OK) {
        *ret_num = db_column_int(s, FIND_COLUMN_NUM);
        *ret_last_seq = (uint64_t)db_column_int(s, FIND_COLUMN_LAST_SEQ);
    }
    db_reset(s);
    return code;
}

static enum error_code find_num(struct journal *j, const char *id, int64_t *ret_num,
                                struct error *err)
{
    uint64_t last_seq = 0;
    return rollout_find_num(j->reader, id, ret_num, &last_seq, err);
}

static uint32_t capped(uint32_t limit)
{
    return limit < JOURNAL_MAX_READ ? limit : JOURNAL_MAX_READ;
}

/* Steps a bound statement for one row whose text column goes to `b`. */
static enum error_code take_text(struct db_stmt *s, int column, struct buf *b, bool *ret_row,
                                 struct error *err)
{
    enum error_code code = db_step(s, ret_row, err);
    if (code != ERR_OK || !*ret_row)
        return code;
    size_t len = 0;
    const char *text = db_column_text(s, column, &len);
    if (text == NULL)
        return error_set(err, ERR_NO_MEMORY, NULL);
    buf_append(b, text, len);
    return buf_check(b, err);
}

/* ---- Rollouts --------------------------------------------------------------------------- */

static bool state_parse(const char *name, enum rollout_state *ret_state)
{
    for (int i = 0; name != NULL && i < ROLLOUT_STATE_COUNT; i++) {
        if (strcmp(rollout_state_names[i], name) == 0) {
            *ret_state = (enum rollout_state)i;
            return true;
        }
    }
    return false;
}

static uint32_t column_count(struct db_stmt *s, int column)
{
    return (uint32_t)db_column_int(s, column);
}

static enum error_code row_read(struct db_stmt *s, struct journal_rollout *ret_rollout,
                                struct error *err)
{
    struct journal_rollout r = {
        .id = db_column_text(s, COLUMN_ID, NULL),
        .name = db_column_text(s, COLUMN_NAME, NULL),
        .by = db_column_text(s, COLUMN_BY, NULL),
        .last_seq = (uint64_t)db_column_int(s, COLUMN_LAST_SEQ),
        .summary =
            {
                .servers = column_count(s, COLUMN_SERVERS),
                .created_ms = db_column_int(s, COLUMN_CREATED_MS),
                .ended_ms = db_column_int(s, COLUMN_ENDED_MS),
                .counts =
                    {
                        .pending = column_count(s, COLUMN_PENDING),
                        .in_flight = column_count(s, COLUMN_IN_FLIGHT),
                        .succeeded = column_count(s, COLUMN_SUCCEEDED),
                        .failed = column_count(s, COLUMN_FAILED),
                        .unreachable = column_count(s, COLUMN_UNREACHABLE),
                        .unknown = column_count(s, COLUMN_UNKNOWN),
                        .cancelled = column_count(s, COLUMN_CANCELLED),
                        .skipped = column_count(s, COLUMN_SKIPPED),
                        .rolled_back = column_count(s, COLUMN_ROLLED_BACK),
                        .rollback_failed = column_count(s, COLUMN_ROLLBACK_FAILED),
                    },
            },
    };
    const char *state = db_column_text(s, COLUMN_STATE, NULL);
    if (r.id == NULL || state == NULL)
        return error_set(err, ERR_NO_MEMORY, NULL);
    if (!state_parse(state, &r.summary.state))
        return error_set(err, ERR_CORRUPT, "journal: rollout %s has the unknown state \"%s\"", r.id,
                         state);
    r.summary.undo_owed =
        rollout_state_final(r.summary.state) && db_column_int(s, COLUMN_OPEN) != 0;
    *ret_rollout = r;
    return ERR_OK;
}

/* Gives the rows of a bound statement; resets it. */
static enum error_code each_rollout(struct db_stmt *s,
                                    bool (*each)(void *ctx, const struct journal_rollout *r),
                                    void *ctx, size_t *ret_count, struct error *err)
{
    enum error_code code = ERR_OK;
    bool more = true;
    size_t count = 0;
    while (more) {
        struct journal_rollout r;
        code = db_step(s, &more, err);
        if (code != ERR_OK || !more)
            break;
        code = row_read(s, &r, err);
        if (code != ERR_OK)
            break;
        count++;
        more = each(ctx, &r);
    }
    db_reset(s);
    *ret_count = count;
    return code;
}

enum error_code journal_scan_open(struct journal *j,
                                  bool (*each)(void *ctx, const struct journal_rollout *r),
                                  void *ctx, struct error *err)
{
    struct db_stmt *s = NULL;
    size_t count = 0;
    enum error_code code = db_use(j->reader, JOURNAL_ROLLOUTS_OPEN, &s, err);
    return code == ERR_OK ? each_rollout(s, each, ctx, &count, err) : code;
}

enum error_code journal_list(struct journal *j, const char *before_id, uint32_t limit,
                             bool (*each)(void *ctx, const struct journal_rollout *r), void *ctx,
                             struct error *err)
{
    int64_t before = INT64_MAX;
    enum error_code code = ERR_OK;
    if (before_id != NULL)
        code = find_num(j, before_id, &before, err);
    struct db_stmt *s = NULL;
    size_t count = 0;
    if (code == ERR_OK)
        code = db_use(j->reader, JOURNAL_ROLLOUTS_BEFORE, &s, err);
    if (code != ERR_OK)
        return code;
    db_bind_int(s, 1, before);
    db_bind_int(s, 2, capped(limit));
    return each_rollout(s, each, ctx, &count, err);
}

enum error_code journal_get(struct journal *j, const char *id,
                            bool (*each)(void *ctx, const struct journal_rollout *r), void *ctx,
                            struct error *err)
{
    struct db_stmt *s = NULL;
    enum error_code code = db_use(j->reader, JOURNAL_ROLLOUT_GET, &s, err);
    if (code != ERR_OK)
        return code;
    size_t count = 0;
    db_bind_text(s, 1, id, strlen(id));
    code = each_rollout(s, each, ctx, &count, err);
    if (code == ERR_OK && count == 0)
        code = error_set(err, ERR_NOT_FOUND, "no rollout %s", id);
    return code;
}

/* The first two ids from `from` on and before `to`; an exact match stands alone. */
static enum error_code resolve_step(struct db_stmt *s, const char *prefix, char ret_id[ID_BUFFER],
                                    struct error *err)
{
    bool row = false;
    enum error_code code = db_step(s, &row, err);
    if (code != ERR_OK)
        return code;
    if (!row)
        return error_set(err, ERR_NOT_FOUND, "no rollout %s", prefix);
    size_t len = 0;
    const char *id = db_column_text(s, 0, &len);
    if (id == NULL)
        return error_set(err, ERR_NO_MEMORY, NULL);
    if (len > ID_MAX)
        return error_set(err, ERR_CORRUPT, "journal: a rollout id of %zu bytes", len);
    char first[ID_BUFFER];
    memcpy(first, id, len + 1);
    if (strcmp(first, prefix) != 0) {
        code = db_step(s, &row, err);
        if (code == ERR_OK && row)
            code = error_set(err, ERR_CONFLICT, "several rollouts begin with %s", prefix);
    }
    if (code == ERR_OK)
        memcpy(ret_id, first, len + 1);
    return code;
}

enum error_code journal_resolve(struct journal *j, const char *prefix, char ret_id[129],
                                struct error *err)
{
    /* Ids have no character as high as DEL, so it ends the range of those that begin so. */
    if (!id_valid(prefix))
        return error_set(err, ERR_NOT_FOUND, "no rollout %s", prefix);
    AUTO_BUF struct buf end = BUF_INIT;
    buf_printf(&end, "%s\x7f", prefix);
    struct db_stmt *s = NULL;
    enum error_code code = buf_check(&end, err);
    if (code == ERR_OK)
        code = db_use(j->reader, JOURNAL_RESOLVE, &s, err);
    if (code != ERR_OK)
        return code;
    db_bind_text(s, 1, prefix, strlen(prefix));
    db_bind_text(s, 2, end.data, end.len);
    code = resolve_step(s, prefix, ret_id, err);
    db_reset(s);
    return code;
}

enum error_code journal_plan_text(struct journal *j, const char *id, struct buf *b,
                                  struct error *err)
{
    int64_t num = 0;
    struct db_stmt *s = NULL;
    enum error_code code = find_num(j, id, &num, err);
    if (code == ERR_OK)
        code = db_use(j->reader, JOURNAL_PLAN_GET, &s, err);
    if (code != ERR_OK)
        return code;
    bool row = false;
    db_bind_int(s, 1, num);
    code = take_text(s, 0, b, &row, err);
    db_reset(s);
    if (code == ERR_OK && !row)
        code = error_set(err, ERR_CORRUPT, "journal: rollout %s has lost its plan", id);
    return code;
}

/* ---- Events and outputs ----------------------------------------------------------------- */

/* NOLINTNEXTLINE(readability-function-size): journal.h gives the parameters */
enum error_code journal_events(struct journal *j, const char *id, uint64_t after_seq,
                               uint32_t limit,
                               bool (*each)(void *ctx, uint64_t seq, const char *type,
                                            const char *json, size_t len),
                               void *ctx, struct error *err)
{
    int64_t num = 0;
    struct db_stmt *s = NULL;
    enum error_code code = find_num(j, id, &num, err);
    if (code != ERR_OK || after_seq >= JOURNAL_MAX_SEQ)
        return code;
    code = db_use(j->reader, JOURNAL_EVENTS_AFTER, &s, err);
    if (code != ERR_OK)
        return code;
    db_bind_int(s, 1, event_key(num, after_seq));
    db_bind_int(s, 2, event_key(num, JOURNAL_MAX_SEQ));
    db_bind_int(s, 3, capped(limit));
    bool more = true;
    while (more) {
        code = db_step(s, &more, err);
        if (code != ERR_OK || !more)
            break;
        size_t len = 0;
        const char *type = db_column_text(s, EVENT_COLUMN_TYPE, NULL);
        const char *json = db_column_text(s, EVENT_COLUMN_JSON, &len);
        if (type == NULL || json == NULL) {
            code = error_set(err, ERR_NO_MEMORY, NULL);
            break;
        }
        more = each(ctx, (uint64_t)db_column_int(s, EVENT_COLUMN_KEY) & JOURNAL_MAX_SEQ, type, json,
                    len);
    }
    db_reset(s);
    return code;
}

DEFINE_CLEANUP(json_free, struct json_doc)

enum error_code journal_event_message(struct journal *j, const char *id, uint64_t seq,
                                      struct buf *b, struct error *err)
{
    int64_t num = 0;
    struct db_stmt *s = NULL;
    enum error_code code = find_num(j, id, &num, err);
    if (code == ERR_OK && (seq == 0 || seq > JOURNAL_MAX_SEQ))
        code = error_set(err, ERR_NOT_FOUND, "rollout %s has no event %llu", id,
                         (unsigned long long)seq);
    if (code == ERR_OK)
        code = db_use(j->reader, JOURNAL_EVENT_GET, &s, err);
    if (code != ERR_OK)
        return code;
    bool row = false;
    AUTO_BUF struct buf text = BUF_INIT;
    db_bind_int(s, 1, event_key(num, seq));
    code = take_text(s, 0, &text, &row, err);
    db_reset(s);
    if (code == ERR_OK && !row)
        code = error_set(err, ERR_NOT_FOUND, "rollout %s has no event %llu", id,
                         (unsigned long long)seq);
    if (code != ERR_OK)
        return code;

    AUTO(json_free) struct json_doc *doc = NULL;
    code = json_parse(text.data, text.len, EVENT_MAX_BYTES, &doc, err);
    if (code != ERR_OK && code != ERR_NO_MEMORY)
        return error_set(err, ERR_CORRUPT, "journal: rollout %s: event %llu is damaged", id,
                         (unsigned long long)seq);
    if (code != ERR_OK)
        return code;
    const struct json_value *message = json_get(json_root(doc), "message");
    if (message != NULL && json_kind(message) == JSON_IS_STRING)
        buf_puts(b, json_string(message));
    return buf_check(b, err);
}

/* NOLINTNEXTLINE(readability-function-size): journal.h gives the parameters */
enum error_code journal_output(struct journal *j, const char *id, uint32_t server, uint32_t step,
                               struct buf *b, int32_t *ret_attempt, struct error *err)
{
    int64_t num = 0;
    struct db_stmt *s = NULL;
    enum error_code code = find_num(j, id, &num, err);
    if (code == ERR_OK && (server >= PLAN_MAX_SERVERS || step >= PLAN_MAX_STEPS))
        code = error_set(err, ERR_NOT_FOUND, "rollout %s has no such server or step", id);
    if (code == ERR_OK)
        code = db_use(j->reader, JOURNAL_OUTPUT_GET, &s, err);
    if (code != ERR_OK)
        return code;
    bool row = false;
    db_bind_int(s, 1, output_key(num, server, step));
    code = take_text(s, OUTPUT_COLUMN_TEXT, b, &row, err);
    if (code == ERR_OK && row)
        *ret_attempt = (int32_t)db_column_int(s, OUTPUT_COLUMN_ATTEMPT);
    db_reset(s);
    if (code == ERR_OK && !row)
        code = error_set(err, ERR_NOT_FOUND, "rollout %s: nothing was printed there", id);
    return code;
}
