#include "common/base/cleanup.h"
#include "common/json/json.h"
#include "orchestrator/journal/event_json.h"
#include "orchestrator/journal/journal_internal.h"
#include "orchestrator/journal/journal_schema.h"
#include "orchestrator/journal/journal_sum.h"

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

/* A row from before there were sums has none. */
static bool sum_fits(struct db_stmt *s, int column, int64_t sum, int64_t num, int64_t unsummed)
{
    return db_column_null(s, column) ? num <= unsummed : db_column_int(s, column) == sum;
}

static enum error_code find_num(struct journal *j, const char *id, int64_t *ret_num,
                                struct error *err)
{
    uint64_t last_seq = 0;
    if (retain_hides(j, id))
        return error_set(err, ERR_NOT_FOUND, "no rollout %s", id);
    return rollout_find_num(j->reader, id, ret_num, &last_seq, err);
}

static uint32_t capped(uint32_t limit)
{
    return limit < JOURNAL_MAX_READ ? limit : JOURNAL_MAX_READ;
}

/* Why there is no text in a column that always has one. */
static enum error_code text_missing(struct db_stmt *s, int column, struct error *err)
{
    return db_column_null(s, column)
               ? error_set(err, ERR_CORRUPT, "journal: a row without its text")
               : error_set(err, ERR_NO_MEMORY, NULL);
}

/* Appends a text column of the row that `s` stands on. */
static enum error_code take_text(struct db_stmt *s, int column, struct buf *b, struct error *err)
{
    size_t len = 0;
    const char *text = db_column_text(s, column, &len);
    if (text == NULL)
        return text_missing(s, column, err);
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

enum error_code rollout_read_row(struct db_stmt *s, int64_t unsummed,
                                 struct journal_rollout *ret_rollout, struct error *err)
{
    struct journal_rollout r = {
        .id = db_column_text(s, COLUMN_ID, NULL),
        .name = db_column_text(s, COLUMN_NAME, NULL),
        .by = db_column_text(s, COLUMN_BY, NULL),
        .retry_of = db_column_text(s, COLUMN_RETRY_OF, NULL),
        .last_seq = (uint64_t)db_column_int(s, COLUMN_LAST_SEQ),
        .summary =
            {
                .servers = column_count(s, COLUMN_SERVERS),
                .check = db_column_int(s, COLUMN_IS_CHECK) != 0,
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
                        .unchanged = column_count(s, COLUMN_UNCHANGED),
                        .rolled_back = column_count(s, COLUMN_ROLLED_BACK),
                        .rollback_failed = column_count(s, COLUMN_ROLLBACK_FAILED),
                    },
            },
    };
    const char *state = db_column_text(s, COLUMN_STATE, NULL);
    int64_t num = db_column_int(s, COLUMN_NUM);
    int64_t open = db_column_int(s, COLUMN_OPEN);
    if (r.id == NULL || state == NULL)
        return text_missing(s, r.id == NULL ? COLUMN_ID : COLUMN_STATE, err);
    if (!sum_fits(s, COLUMN_MADE_SUM, sum_made(num, &r), num, unsummed))
        return error_set(err, ERR_CORRUPT,
                         "journal: rollout %s: its record is damaged (id, name or submitter)",
                         r.id);
    if (!state_parse(state, &r.summary.state))
        return error_set(err, ERR_CORRUPT, "journal: rollout %s has the unknown state \"%s\"", r.id,
                         state);
    if (!sum_fits(s, COLUMN_SUM, sum_summary(num, &r.summary, open, r.last_seq), num, unsummed))
        return error_set(err, ERR_CORRUPT,
                         "journal: rollout %s: its record is damaged (state or counts)", r.id);
    r.summary.undo_owed = open == ROW_OWED;
    *ret_rollout = r;
    return ERR_OK;
}

/* Gives the rows of a bound statement; resets it. */
static enum error_code each_rollout(const struct journal *j, struct db_stmt *s,
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
        code = rollout_read_row(s, j->unsummed, &r, err);
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
    return code == ERR_OK ? each_rollout(j, s, each, ctx, &count, err) : code;
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
    return each_rollout(j, s, each, ctx, &count, err);
}

enum error_code journal_get(struct journal *j, const char *id,
                            bool (*each)(void *ctx, const struct journal_rollout *r), void *ctx,
                            struct error *err)
{
    struct db_stmt *s = NULL;
    if (retain_hides(j, id))
        return error_set(err, ERR_NOT_FOUND, "no rollout %s", id);
    enum error_code code = db_use(j->reader, JOURNAL_ROLLOUT_GET, &s, err);
    if (code != ERR_OK)
        return code;
    size_t count = 0;
    db_bind_text(s, 1, id, strlen(id));
    code = each_rollout(j, s, each, ctx, &count, err);
    if (code == ERR_OK && count == 0)
        code = error_set(err, ERR_NOT_FOUND, "no rollout %s", id);
    return code;
}

enum error_code rollout_read_summary(struct db *db, const char *id,
                                     struct journal_summary *ret_summary, struct error *err)
{
    struct db_stmt *s = NULL;
    bool row = false;
    struct journal_rollout r;
    enum error_code code = db_use(db, JOURNAL_ROLLOUT_GET, &s, err);
    if (code != ERR_OK)
        return code;
    db_bind_text(s, 1, id, strlen(id));
    code = db_step(s, &row, err);
    if (code == ERR_OK && !row)
        code = error_set(err, ERR_NOT_FOUND, "no rollout %s", id);
    if (code == ERR_OK)
        code = rollout_read_row(s, INT64_MAX, &r, err);
    if (code == ERR_OK)
        *ret_summary = r.summary;
    db_reset(s);
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
        return text_missing(s, 0, err);
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

enum error_code plan_read_text(struct db *db, const char *id, int64_t num, int64_t unsummed,
                               struct buf *b, struct error *err)
{
    struct db_stmt *s = NULL;
    enum error_code code = db_use(db, JOURNAL_PLAN_GET, &s, err);
    if (code != ERR_OK)
        return code;
    bool row = false;
    size_t from = b->len;
    db_bind_int(s, 1, num);
    code = db_step(s, &row, err);
    if (code == ERR_OK && !row)
        code = error_set(err, ERR_CORRUPT, "journal: rollout %s has lost its plan", id);
    if (code == ERR_OK)
        code = take_text(s, PLAN_COLUMN_TEXT, b, err);
    if (code == ERR_OK &&
        !sum_fits(s, PLAN_COLUMN_SUM, sum_plan(num, b->data + from, b->len - from), num, unsummed))
        code = error_set(err, ERR_CORRUPT, "journal: rollout %s: its plan is damaged", id);
    db_reset(s);
    return code;
}

enum error_code journal_plan_text(struct journal *j, const char *id, struct buf *b,
                                  struct error *err)
{
    int64_t num = 0;
    enum error_code code = find_num(j, id, &num, err);
    return code == ERR_OK ? plan_read_text(j->reader, id, num, j->unsummed, b, err) : code;
}

/* ---- Events and outputs ----------------------------------------------------------------- */

bool event_row_sound(struct db_stmt *s, int64_t unsummed)
{
    size_t len = 0;
    int64_t key = db_column_int(s, EVENT_COLUMN_KEY);
    const char *type = db_column_text(s, EVENT_COLUMN_TYPE, NULL);
    const char *json = db_column_text(s, EVENT_COLUMN_JSON, &len);
    return sum_fits(s, EVENT_COLUMN_SUM, sum_event(key, type, json, len), key >> EVENT_SEQ_BITS,
                    unsummed);
}

bool output_row_sound(struct db_stmt *s, int64_t key, int64_t unsummed)
{
    size_t len = 0;
    const char *text = db_column_text(s, OUTPUT_COLUMN_TEXT, &len);
    int64_t sum = sum_output(key, db_column_int(s, OUTPUT_COLUMN_ATTEMPT), text, len);
    return sum_fits(s, OUTPUT_COLUMN_SUM, sum, key >> (OUTPUT_SERVER_BITS + OUTPUT_STEP_BITS),
                    unsummed);
}

static enum error_code event_damaged(const char *id, uint64_t seq, struct error *err)
{
    return error_set(err, ERR_CORRUPT, "journal: rollout %s: event %llu is damaged", id,
                     (unsigned long long)seq);
}

/* An event as it is stored, borrowed from the statement that stands on it. */
struct event_row {
    uint64_t seq;
    const char *type, *json;
    size_t len;
};

/* The row that `s` stands on, which must be event number `seq`. */
static enum error_code event_row_take(const struct journal *j, const char *id, struct db_stmt *s,
                                      uint64_t seq, struct event_row *ret_row, struct error *err)
{
    struct event_row row = {.seq = (uint64_t)db_column_int(s, EVENT_COLUMN_KEY) & JOURNAL_MAX_SEQ};
    row.type = db_column_text(s, EVENT_COLUMN_TYPE, NULL);
    row.json = db_column_text(s, EVENT_COLUMN_JSON, &row.len);
    if (row.type == NULL || row.json == NULL)
        return text_missing(s, row.type == NULL ? EVENT_COLUMN_TYPE : EVENT_COLUMN_JSON, err);
    if (!event_row_sound(s, j->unsummed))
        return event_damaged(id, row.seq, err);
    if (row.seq != seq)
        return error_set(err, ERR_CORRUPT, "journal: rollout %s: event %llu is missing", id,
                         (unsigned long long)seq);
    *ret_row = row;
    return ERR_OK;
}

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
    for (uint64_t seq = after_seq + 1; more; seq++) {
        struct event_row row = {0};
        code = db_step(s, &more, err);
        if (code != ERR_OK || !more)
            break;
        code = event_row_take(j, id, s, seq, &row, err);
        if (code != ERR_OK)
            break;
        more = each(ctx, row.seq, row.type, row.json, row.len);
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
    code = db_step(s, &row, err);
    if (code == ERR_OK && !row)
        code = error_set(err, ERR_NOT_FOUND, "rollout %s has no event %llu", id,
                         (unsigned long long)seq);
    if (code == ERR_OK && !event_row_sound(s, j->unsummed))
        code = event_damaged(id, seq, err);
    if (code == ERR_OK)
        code = take_text(s, EVENT_COLUMN_JSON, &text, err);
    db_reset(s);
    if (code != ERR_OK)
        return code;

    AUTO(json_free) struct json_doc *doc = NULL;
    code = json_parse(text.data, text.len, EVENT_MAX_BYTES, &doc, err);
    if (code != ERR_OK && code != ERR_NO_MEMORY)
        return event_damaged(id, seq, err);
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
    int64_t key = output_key(num, server, step);
    db_bind_int(s, 1, key);
    code = db_step(s, &row, err);
    if (code == ERR_OK && !row)
        code = error_set(err, ERR_NOT_FOUND, "rollout %s: nothing was printed there", id);
    if (code == ERR_OK && !output_row_sound(s, key, j->unsummed))
        code = error_set(err, ERR_CORRUPT, "journal: rollout %s: the output of step %u is damaged",
                         id, step + 1);
    if (code == ERR_OK)
        code = take_text(s, OUTPUT_COLUMN_TEXT, b, err);
    if (code == ERR_OK)
        *ret_attempt = (int32_t)db_column_int(s, OUTPUT_COLUMN_ATTEMPT);
    db_reset(s);
    return code;
}
