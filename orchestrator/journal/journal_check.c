/* journal_check: looking for damage, whole or in short. */
#include "orchestrator/journal/journal_check.h"
#include "common/base/alloc.h"
#include "common/base/buf.h"
#include "common/base/cleanup.h"
#include "orchestrator/journal/journal_schema.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

enum { CHECK_ON_OPEN_MAX = 64 * 1024 * 1024 /* bytes: a fraction of a second */ };

static const char *without(const char *text, const char *start)
{
    size_t len = strlen(start);
    return strncmp(text, start, len) == 0 ? text + len : text;
}

/* The messages of errors begin with which rollout and event it is; here that stands apart. */
static const char *without_place(const char *what, const char *rollout, uint64_t seq)
{
    char place[ID_BUFFER + 64];
    (void)snprintf(place, sizeof(place), "journal: rollout %s: ", rollout);
    what = without(what, place);
    (void)snprintf(place, sizeof(place), "event %llu does not fit: ", (unsigned long long)seq);
    return without(what, place);
}

void check_found(struct check *c, const char *rollout, uint64_t seq, const char *what)
{
    const char *told = rollout == NULL ? what : without_place(what, rollout, seq);
    c->checked.findings++;
    const struct journal_finding finding = {
        .file = c->file, .rollout = rollout, .seq = seq, .what = told};
    c->each(c->ctx, &finding);
}

enum error_code check_found_or_fail(struct check *c, const char *rollout, uint64_t seq,
                                    enum error_code code, const struct error *why,
                                    struct error *err)
{
    if (code == ERR_CORRUPT)
        check_found(c, rollout, seq, why->message);
    else if (code != ERR_OK && err != NULL)
        *err = *why;
    return code == ERR_CORRUPT ? ERR_OK : code;
}

/* ---- One rollout ------------------------------------------------------------------------ */

static bool counts_same(const struct engine_counts *a, const struct engine_counts *b)
{
    return a->pending == b->pending && a->in_flight == b->in_flight &&
           a->succeeded == b->succeeded && a->failed == b->failed &&
           a->unreachable == b->unreachable && a->unknown == b->unknown &&
           a->cancelled == b->cancelled && a->skipped == b->skipped &&
           a->unchanged == b->unchanged && a->rolled_back == b->rolled_back &&
           a->rollback_failed == b->rollback_failed;
}

/* Undo that is owed keeps a rollout from being removed. */
static void check_owed(struct check *c, const struct subject *s, const struct replay *r)
{
    bool owed = false;
    for (uint32_t i = 0; i < plan_server_count(r->plan) && !owed; i++)
        owed = engine_standing(r->engine, i) != 0;
    owed = owed && rollout_state_final(engine_state(r->engine));
    if (owed != s->summary.undo_owed)
        check_found(c, s->id, 0,
                    owed ? "its events say that undo is owed, its summary does not"
                         : "its summary says that undo is owed, its events do not");
}

static void check_summary(struct check *c, const struct subject *s, const struct replay *r)
{
    char what[160];
    enum rollout_state state = engine_state(r->engine);
    struct engine_counts counts = engine_counts(r->engine);
    if (state != s->summary.state) {
        (void)snprintf(what, sizeof(what), "its summary says %s, its events say %s",
                       rollout_state_names[s->summary.state], rollout_state_names[state]);
        check_found(c, s->id, 0, what);
    }
    if (s->summary.servers != plan_server_count(r->plan)) {
        (void)snprintf(what, sizeof(what), "its summary says %u servers, its plan has %u",
                       s->summary.servers, plan_server_count(r->plan));
        check_found(c, s->id, 0, what);
    }
    if (s->num <= c->j->untouched)
        counts.unchanged = s->summary.counts.unchanged;
    if (s->summary.check != engine_is_check(r->engine))
        check_found(c, s->id, 0, "its summary and its events differ in whether it is a check");
    if (!counts_same(&counts, &s->summary.counts))
        check_found(c, s->id, 0, "the counts of its summary are not those of its events");
    if (s->num > c->j->untouched)
        check_owed(c, s, r);
}

/* The event that the statement stands on. */
static enum error_code check_event(struct check *c, const struct subject *subject,
                                   struct db_stmt *s, struct course *course, struct error *err)
{
    char what[96];
    struct error why = {0};
    uint64_t seq = (uint64_t)db_column_int(s, EVENT_COLUMN_KEY) & JOURNAL_MAX_SEQ;
    c->checked.events++;
    if (seq != course->last_seq + 1) {
        (void)snprintf(what, sizeof(what), "missing, up to the one before event %llu",
                       (unsigned long long)seq);
        check_found(c, subject->id, course->last_seq + 1, what);
        course->replaying = false;
    }
    course->last_seq = seq;
    if (!event_row_sound(s, c->j->unsummed)) {
        check_found(c, subject->id, seq, "damaged: its sum does not fit");
        course->replaying = false;
    }
    if (!course->replaying)
        return ERR_OK;
    enum error_code code = replay_row(&course->replay, s, &why);
    course->replaying = code == ERR_OK;
    return check_found_or_fail(c, subject->id, seq, code, &why, err);
}

static enum error_code check_events(struct check *c, const struct subject *subject,
                                    struct course *course, struct error *err)
{
    struct db_stmt *s = NULL;
    struct error why = {0};
    enum error_code code = db_use(c->db, JOURNAL_EVENTS_AFTER, &s, err);
    if (code != ERR_OK)
        return code;
    db_bind_int(s, 1, event_key(subject->num, 0));
    db_bind_int(s, 2, event_key(subject->num, JOURNAL_MAX_SEQ));
    db_bind_int(s, 3, -1); /* all of them */
    bool row = true;
    while (code == ERR_OK && row) {
        code = db_step(s, &row, &why);
        if (code != ERR_OK) {
            code = check_found_or_fail(c, subject->id, course->last_seq + 1, code, &why, err);
            course->replaying = false;
            break;
        }
        if (row)
            code = check_event(c, subject, s, course, err);
    }
    db_reset(s);
    if (code == ERR_OK && subject->sound && course->last_seq != subject->last_seq) {
        char what[96];
        (void)snprintf(what, sizeof(what), "its record says that the last event is number %llu",
                       (unsigned long long)subject->last_seq);
        check_found(c, subject->id, course->last_seq, what);
        course->replaying = false;
    }
    return code;
}

static enum error_code check_outputs(struct check *c, const struct subject *subject,
                                     struct error *err)
{
    struct db_stmt *s = NULL;
    struct error why = {0};
    enum error_code code = db_use(c->db, JOURNAL_OUTPUTS, &s, err);
    if (code != ERR_OK)
        return code;
    db_bind_int(s, 1, output_key(subject->num, 0, 0));
    db_bind_int(s, 2, output_key(subject->num + 1, 0, 0) - 1);
    bool row = true;
    for (;;) {
        code = db_step(s, &row, &why);
        if (code != ERR_OK || !row)
            break;
        c->checked.outputs++;
        int64_t key = db_column_int(s, OUTPUT_COLUMN_KEY);
        if (!output_row_sound(s, key, c->j->unsummed))
            check_found(c, subject->id, 0, "an output is damaged: its sum does not fit");
    }
    db_reset(s);
    return check_found_or_fail(c, subject->id, 0, code, &why, err);
}

static void course_done(struct course *course)
{
    replay_done(&course->replay);
}

static enum error_code check_rollout(struct check *c, const struct subject *subject,
                                     struct error *err)
{
    AUTO_BUF struct buf text = BUF_INIT;
    struct error why = {0};
    __attribute__((cleanup(course_done))) struct course course = {
        .replay = {.id = subject->id, .unsummed = c->j->unsummed}};
    c->checked.rollouts++;
    enum error_code code =
        plan_read_text(c->db, subject->id, subject->num, c->j->unsummed, &text, &why);
    if (code == ERR_OK && c->replays) {
        code = replay_begin(&course.replay, text.data, text.len, &why);
        course.replaying = code == ERR_OK;
    }
    code = check_found_or_fail(c, subject->id, 0, code, &why, err);
    if (code == ERR_OK)
        code = check_events(c, subject, &course, err);
    if (code == ERR_OK)
        code = check_outputs(c, subject, err);
    if (code == ERR_OK)
        code = check_touches(c, subject, &course, err);
    if (code == ERR_OK && course.replaying && subject->sound)
        check_summary(c, subject, &course.replay);
    return code;
}

/* ---- All of them ------------------------------------------------------------------------ */

static void check_file_finding(void *ctx, const char *finding)
{
    check_found(ctx, NULL, 0, finding);
}

/* Copies the row that `s` stands on. */
static enum error_code subject_take(struct check *c, struct db_stmt *s, struct subject *subject,
                                    struct error *err)
{
    struct journal_rollout r;
    struct error why = {0};
    size_t len = 0;
    const char *id = db_column_text(s, COLUMN_ID, &len);
    *subject = (struct subject){.num = db_column_int(s, COLUMN_NUM)};
    if (id == NULL && !db_column_null(s, COLUMN_ID))
        return error_set(err, ERR_NO_MEMORY, NULL);
    if (id != NULL)
        memcpy(subject->id, id, len < ID_MAX ? len : ID_MAX);
    enum error_code code = rollout_read_row(s, c->j->unsummed, &r, &why);
    if (code != ERR_OK)
        return check_found_or_fail(c, subject->id, 0, code, &why, err);
    subject->sound = true;
    subject->summary = r.summary;
    subject->last_seq = r.last_seq;
    return ERR_OK;
}

/* The rollout after number `after`; *ret_row: there is one. */
static enum error_code subject_next(struct check *c, int64_t after, struct subject *subject,
                                    bool *ret_row, struct error *err)
{
    struct db_stmt *s = NULL;
    struct error why = {0};
    enum error_code code = db_use(c->db, JOURNAL_ROLLOUTS_AFTER, &s, err);
    if (code != ERR_OK)
        return code;
    *ret_row = false;
    db_bind_int(s, 1, after);
    code = db_step(s, ret_row, &why);
    if (code != ERR_OK)
        code = check_found_or_fail(c, NULL, 0, code, &why, err);
    else if (*ret_row)
        code = subject_take(c, s, subject, err);
    db_reset(s);
    return code;
}

static enum error_code check_strays(struct check *c, struct error *err)
{
    struct db_stmt *s = NULL;
    struct error why = {0};
    bool row = true;
    enum error_code code = db_use(c->db, JOURNAL_STRAYS, &s, err);
    if (code != ERR_OK)
        return code;
    while ((code = db_step(s, &row, &why)) == ERR_OK && row) {
        char text[96];
        const char *what = db_column_text(s, STRAY_COLUMN_WHAT, NULL);
        (void)snprintf(text, sizeof(text), "%s of rollout number %lld, which is not there",
                       what == NULL ? "a row" : what,
                       (long long)db_column_int(s, STRAY_COLUMN_NUM));
        check_found(c, NULL, 0, text);
    }
    db_reset(s);
    return check_found_or_fail(c, NULL, 0, code, &why, err);
}

static enum error_code check_all(struct check *c, struct error *err)
{
    struct error why = {0};
    enum error_code code = db_check(c->db, check_file_finding, c, &why);
    code = check_found_or_fail(c, NULL, 0, code, &why, err);
    int64_t after = INT64_MIN;
    bool more = true;
    while (code == ERR_OK && more) {
        struct subject subject = {0};
        code = subject_next(c, after, &subject, &more, err);
        if (code != ERR_OK || !more)
            break;
        /* Where the tables themselves are damaged the order can be lost, and with it the end. */
        if (subject.num <= after) {
            check_found(c, NULL, 0, "its tables are damaged: the rollouts are in no order");
            break;
        }
        code = check_rollout(c, &subject, err);
        after = subject.num;
    }
    if (code == ERR_OK)
        code = check_strays(c, err);
    return code == ERR_OK ? check_locks(c, err) : code;
}

/* ---- When a journal is opened ----------------------------------------------------------- */

/* The first finding, as an error. */
static void check_keep_first(void *ctx, const struct journal_finding *finding)
{
    struct error *first = ctx;
    if (first->code != ERR_OK)
        return;
    error_ignore(error_set(first, ERR_CORRUPT, "%.80s", finding->what));
    if (finding->seq != 0)
        error_ignore(error_wrap(first, "event %llu", (unsigned long long)finding->seq));
    if (finding->rollout != NULL)
        error_ignore(error_wrap(first, "rollout %s", finding->rollout));
    error_ignore(error_wrap(first, "%s", finding->file));
}

/* Its statements are fixed, so what does not fit them is not the journal's schema. */
static enum error_code check_statements(struct db *db, const char *file, struct error *err)
{
    for (size_t i = 0; i < JOURNAL_STATEMENT_COUNT; i++) {
        struct db_stmt *s = NULL;
        struct error why = {0};
        enum error_code code = db_use(db, i, &s, &why);
        if (code == ERR_INTERNAL)
            return error_set(err, ERR_CORRUPT, "%s: its tables are damaged", file);
        if (code != ERR_OK)
            return error_set(err, code, "%s", why.message);
    }
    return ERR_OK;
}

enum error_code check_open(struct journal *j, struct db *db, struct error *err)
{
    AUTO_BUF struct buf file = BUF_INIT;
    struct error first = {0};
    buf_printf(&file, "%s/journal.db", j->dir);
    enum error_code code = buf_check(&file, err);
    if (code == ERR_OK)
        code = check_statements(db, file.data, err);
    if (code != ERR_OK || db_size_bytes(db) > CHECK_ON_OPEN_MAX)
        return code;
    struct check c = {.j = j, .db = db, .file = file.data, .each = check_keep_first, .ctx = &first};
    code = check_all(&c, err);
    if (code == ERR_OK && first.code != ERR_OK)
        code = error_set(err, first.code, "%s", first.message);
    return code;
}

/* ---- When a person asks ----------------------------------------------------------------- */

DEFINE_CLEANUP(journal_close, struct journal)

static enum error_code check_database(struct check *c, struct error *err)
{
    struct error why = {0};
    struct db_log log = {0};
    enum error_code code = db_log_look(c->file, &log, &why);
    if (code == ERR_OK)
        code = db_open(c->file, DB_READ_ONLY, &journal_schema, &c->j->reader, &why);
    if (code == ERR_OK) {
        c->db = c->j->reader;
        code = check_statements(c->db, c->file, &why);
    }
    if (code == ERR_OK)
        code = record_read(c->j, c->db, &why);
    if (code != ERR_OK)
        return check_found_or_fail(c, NULL, 0, code == ERR_INTERNAL ? ERR_CORRUPT : code, &why,
                                   err);
    c->checked.size_bytes = db_size_bytes(c->db);
    return check_all(c, err);
}

enum error_code journal_check(const char *dir,
                              void (*each)(void *ctx, const struct journal_finding *finding),
                              void *ctx, struct journal_checked *ret_checked, struct error *err)
{
    struct stat st;
    AUTO_BUF struct buf file = BUF_INIT;
    AUTO(journal_close) struct journal *j = MEM_NEW(struct journal);
    if (j == NULL)
        return error_set(err, ERR_NO_MEMORY, NULL);
    j->lock = -1;
    j->dir = mem_strdup(dir);
    buf_printf(&file, "%s/journal.db", dir);
    if (j->dir == NULL || buf_check(&file, NULL) != ERR_OK)
        return error_set(err, ERR_NO_MEMORY, NULL);
    if (stat(file.data, &st) != 0)
        return error_errno(err, errno, "%s", file.data);
    enum error_code code = journal_lock(dir, false, &j->lock, err);
    if (code != ERR_OK)
        return code;
    struct check c = {.j = j, .file = file.data, .replays = true, .each = each, .ctx = ctx};
    code = check_database(&c, err);
    if (code == ERR_OK)
        *ret_checked = c.checked;
    return code;
}
