#include "common/base/alloc.h"
#include "common/base/buf.h"
#include "common/base/cleanup.h"
#include "unit/journal/support_journal.h"

#include <sqlite3.h>
#include <stdio.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static int setup(void **state)
{
    static struct rig rig;
    rig_init(&rig);
    rig_open(&rig);
    *state = &rig;
    return 0;
}

static int teardown(void **state)
{
    rig_done(*state);
    return 0;
}

/* ---- Lists ------------------------------------------------------------------------------ */

struct names {
    char text[256];
    size_t stop_after, count;
    struct journal_summary last;
};

static bool take_name(void *ctx, const struct journal_rollout *r)
{
    struct names *names = ctx;
    size_t len = strlen(names->text);
    (void)snprintf(names->text + len, sizeof(names->text) - len, "%s%s", len > 0 ? " " : "", r->id);
    names->last = r->summary;
    assert_string_equal(r->name, "a plan");
    assert_string_equal(r->by, "me");
    assert_int_equal(r->last_seq, 1);
    return ++names->count != names->stop_after;
}

static void expect_list(struct rig *rig, const char *before, uint32_t limit, const char *expected)
{
    struct names names = {0};
    assert_int_equal(journal_list(rig->journal, before, limit, take_name, &names, NULL), ERR_OK);
    assert_string_equal(names.text, expected);
}

static void lists_give_the_newest_first_in_pages(void **state)
{
    struct rig *rig = *state;
    expect_list(rig, NULL, 10, "");
    rig_rollout(rig, "b", ROLLOUT_SUCCEEDED);
    rig_rollout(rig, "a", ROLLOUT_RUNNING);
    rig_rollout(rig, "c", ROLLOUT_FAILED);
    expect_list(rig, NULL, 10, "c a b");
    expect_list(rig, NULL, 2, "c a");
    expect_list(rig, "a", 2, "b");
    expect_list(rig, "b", 2, "");
    expect_list(rig, NULL, 0, "");
    struct names names = {0};
    assert_int_equal(journal_list(rig->journal, "nobody", 2, take_name, &names, NULL),
                     ERR_NOT_FOUND);
    names.stop_after = 1;
    assert_int_equal(journal_list(rig->journal, NULL, 10, take_name, &names, NULL), ERR_OK);
    assert_string_equal(names.text, "c");
}

static void the_scan_gives_what_is_not_over_oldest_first(void **state)
{
    struct rig *rig = *state;
    for (int i = 0; i < ROLLOUT_STATE_COUNT; i++)
        rig_rollout(rig, rollout_state_names[i], (enum rollout_state)i);
    struct names names = {0};
    assert_int_equal(journal_scan_open(rig->journal, take_name, &names, NULL), ERR_OK);
    /* A rollback that failed may be needed by a server that was silent; nothing was ordered of it.
     */
    assert_string_equal(names.text, "pending running paused rolling_back rollback_failed");
    assert_false(names.last.undo_owed);
}

static void a_rollout_that_owes_an_undo_is_scanned_though_it_ended(void **state)
{
    struct rig *rig = *state;
    rig_rollout(rig, "r1", ROLLOUT_CANCELLED);
    struct names names = {0};
    assert_int_equal(journal_scan_open(rig->journal, take_name, &names, NULL), ERR_OK);
    assert_string_equal(names.text, "");

    struct journal_append *a = NULL;
    struct journal_summary summary = {.state = ROLLOUT_CANCELLED, .undo_owed = true};
    assert_int_equal(journal_append_new("r1", 2, &a, NULL), ERR_OK);
    journal_append_summary(a, &summary);
    journal_append(rig->journal, a, rig_settled, rig);
    assert_true(rig_wait(rig, 2));
    assert_int_equal(journal_scan_open(rig->journal, take_name, &names, NULL), ERR_OK);
    assert_string_equal(names.text, "r1");
    assert_true(names.last.undo_owed);
}

static bool take_summary(void *ctx, const struct journal_rollout *r)
{
    *(struct journal_summary *)ctx = r->summary;
    return true;
}

static void a_summary_comes_back_as_it_was(void **state)
{
    struct rig *rig = *state;
    rig_rollout(rig, "r1", ROLLOUT_PENDING);
    struct journal_summary summary = {
        .state = ROLLOUT_PAUSED,
        .servers = UINT32_MAX,
        .check = true,
        .created_ms = 11,
        .ended_ms = 12,
        .counts = {.pending = 1,
                   .in_flight = 2,
                   .succeeded = 3,
                   .failed = 4,
                   .unreachable = 5,
                   .unknown = 6,
                   .cancelled = 7,
                   .skipped = 8,
                   .rolled_back = 9,
                   .rollback_failed = 10,
                   .unchanged = 11},
    };
    struct journal_append *a = NULL;
    assert_int_equal(journal_append_new("r1", 2, &a, NULL), ERR_OK);
    journal_append_summary(a, &summary);
    journal_append(rig->journal, a, rig_settled, rig);
    assert_true(rig_wait(rig, 2));
    struct journal_summary back = {0};
    assert_int_equal(journal_get(rig->journal, "r1", take_summary, &back, NULL), ERR_OK);
    assert_memory_equal(&back.counts, &summary.counts, sizeof(back.counts));
    assert_int_equal(back.state, summary.state);
    assert_int_equal(back.servers, summary.servers);
    assert_int_equal(back.check, summary.check);
    assert_int_equal(back.created_ms, summary.created_ms);
    assert_int_equal(back.ended_ms, summary.ended_ms);
    struct error err = {0};
    assert_int_equal(journal_get(rig->journal, "r2", take_summary, &back, &err), ERR_NOT_FOUND);
    assert_non_null(strstr(err.message, "r2"));
}

static void a_unique_prefix_names_a_rollout(void **state)
{
    struct rig *rig = *state;
    static const char *const ids[] = {"deploy", "deploy-1", "deploy-2", "other", "Other"};
    static const struct {
        const char *prefix, *id;
        enum error_code code;
    } cases[] = {
        {"deploy", "deploy", ERR_OK}, /* itself, though others begin so */
        {"deploy-", NULL, ERR_CONFLICT}, {"deploy-2", "deploy-2", ERR_OK},
        {"o", "other", ERR_OK},          {"O", "Other", ERR_OK},
        {"d", NULL, ERR_CONFLICT},       {"x", NULL, ERR_NOT_FOUND},
        {"otherx", NULL, ERR_NOT_FOUND}, {"", NULL, ERR_NOT_FOUND},
        {"%", NULL, ERR_NOT_FOUND},
    };
    for (size_t i = 0; i < ARRAY_LEN(ids); i++)
        rig_rollout(rig, ids[i], ROLLOUT_RUNNING);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char id[129] = "untouched";
        enum error_code code = journal_resolve(rig->journal, cases[i].prefix, id, NULL);
        if (code != cases[i].code)
            fail_msg("\"%s\": %s", cases[i].prefix, error_code_name(code));
        assert_string_equal(id, cases[i].id == NULL ? "untouched" : cases[i].id);
    }
}

/* ---- Events and outputs ----------------------------------------------------------------- */

struct seen {
    uint64_t first, last, count;
};

static bool see_event(void *ctx, uint64_t seq, const char *type, const char *json, size_t len)
{
    struct seen *seen = ctx;
    assert_int_equal(strlen(json), len);
    assert_true(strlen(type) > 0);
    char head[40];
    (void)snprintf(head, sizeof(head), "{\"seq\":%llu,", (unsigned long long)seq);
    assert_memory_equal(json, head, strlen(head));
    if (seen->count == 0)
        seen->first = seq;
    seen->last = seq;
    seen->count++;
    return true;
}

static struct seen events_after(struct rig *rig, const char *id, uint64_t after, uint32_t limit)
{
    struct seen seen = {0};
    assert_int_equal(journal_events(rig->journal, id, after, limit, see_event, &seen, NULL),
                     ERR_OK);
    return seen;
}

static void events_are_read_on_from_a_number(void **state)
{
    struct rig *rig = *state;
    enum { COUNT = 1200 };
    AUTO_FREE struct event *events = mem_array(COUNT, sizeof(*events));
    assert_non_null(events);
    for (size_t i = 0; i < COUNT; i++)
        events[i] = rig_event(EVENT_BATCH_ENDED, EVENT_NO_SERVER);
    rig_rollout(rig, "r0", ROLLOUT_RUNNING);
    rig_append(rig, "r1", 1, true, events, COUNT);
    assert_true(rig_wait(rig, 2));
    rig_rollout(rig, "r2", ROLLOUT_RUNNING);

    struct seen seen = events_after(rig, "r1", 0, 10);
    assert_int_equal(seen.first, 1);
    assert_int_equal(seen.count, 10);
    seen = events_after(rig, "r1", COUNT - 5, 10);
    assert_int_equal(seen.first, COUNT - 4);
    assert_int_equal(seen.last, COUNT);
    assert_int_equal(events_after(rig, "r1", COUNT, 10).count, 0);
    assert_int_equal(events_after(rig, "r1", UINT64_MAX, 10).count, 0);
    assert_int_equal(events_after(rig, "r1", 0, UINT32_MAX).count, JOURNAL_MAX_READ);
    assert_int_equal(events_after(rig, "r0", 0, 10).count, 1);
    assert_int_equal(
        journal_events(rig->journal, "nobody", 0, 10, see_event, &(struct seen){0}, NULL),
        ERR_NOT_FOUND);
}

static void a_message_and_a_plan_are_read_alone(void **state)
{
    struct rig *rig = *state;
    struct event events[2] = {rig_event(EVENT_ROLLOUT_CREATED, EVENT_NO_SERVER),
                              rig_event(EVENT_STEP_STARTED, 0)};
    events[1].message = "line one\nline \"two\"";
    rig_append(rig, "r1", 1, true, events, 2);
    assert_true(rig_wait(rig, 1));
    AUTO_BUF struct buf b = BUF_INIT;
    buf_puts(&b, ">");
    assert_int_equal(journal_event_message(rig->journal, "r1", 1, &b, NULL), ERR_OK);
    assert_string_equal(b.data, ">");
    assert_int_equal(journal_event_message(rig->journal, "r1", 2, &b, NULL), ERR_OK);
    assert_string_equal(b.data, ">line one\nline \"two\"");
    assert_int_equal(journal_event_message(rig->journal, "r1", 3, &b, NULL), ERR_NOT_FOUND);
    assert_int_equal(journal_event_message(rig->journal, "r1", 0, &b, NULL), ERR_NOT_FOUND);
    buf_clear(&b);
    assert_int_equal(journal_plan_text(rig->journal, "r1", &b, NULL), ERR_OK);
    assert_string_equal(b.data, rig_plan_text);
    assert_int_equal(journal_plan_text(rig->journal, "r2", &b, NULL), ERR_NOT_FOUND);
}

static void put_output(struct rig *rig, uint64_t seq, int32_t attempt, const char *text)
{
    struct journal_append *a = NULL;
    struct journal_output output = {2, 1, attempt, text, strlen(text)};
    assert_int_equal(journal_append_new("r1", seq, &a, NULL), ERR_OK);
    assert_int_equal(journal_append_output(a, &output, NULL), ERR_OK);
    journal_append(rig->journal, a, rig_settled, rig);
    assert_true(rig_wait(rig, rig->settled + 1));
    assert_int_equal(rig->last_result, ERR_OK);
}

static void expect_output(struct rig *rig, int32_t attempt, const char *text)
{
    AUTO_BUF struct buf b = BUF_INIT;
    int32_t got = 0;
    assert_int_equal(journal_output(rig->journal, "r1", 2, 1, &b, &got, NULL), ERR_OK);
    assert_int_equal(got, attempt);
    assert_string_equal(b.data, text);
}

static void the_last_attempts_output_is_kept(void **state)
{
    struct rig *rig = *state;
    AUTO_BUF struct buf b = BUF_INIT;
    int32_t attempt = 0;
    rig_rollout(rig, "r1", ROLLOUT_RUNNING);
    assert_int_equal(journal_output(rig->journal, "r1", 2, 1, &b, &attempt, NULL), ERR_NOT_FOUND);
    put_output(rig, 2, 1, "first");
    expect_output(rig, 1, "first");
    put_output(rig, 2, 1, "first, and more");
    expect_output(rig, 1, "first, and more");
    put_output(rig, 2, 2, "second");
    expect_output(rig, 2, "second");
    put_output(rig, 2, 1, "late");
    expect_output(rig, 2, "second");
    /* Its neighbours have none. */
    assert_int_equal(journal_output(rig->journal, "r1", 2, 0, &b, &attempt, NULL), ERR_NOT_FOUND);
    assert_int_equal(journal_output(rig->journal, "r1", 1, 1, &b, &attempt, NULL), ERR_NOT_FOUND);
    assert_int_equal(journal_output(rig->journal, "r1", 2, 300, &b, &attempt, NULL), ERR_NOT_FOUND);
    assert_int_equal(journal_output(rig->journal, "r2", 2, 1, &b, &attempt, NULL), ERR_NOT_FOUND);
}

static void the_size_grows_with_what_is_kept(void **state)
{
    struct rig *rig = *state;
    int64_t before = journal_size_bytes(rig->journal);
    rig_rollout(rig, "r1", ROLLOUT_RUNNING);
    assert_true(journal_size_bytes(rig->journal) > before);
}

/* ---- Replay ----------------------------------------------------------------------------- */

static void a_replay_gives_the_state_that_was(void **state)
{
    struct rig *rig = *state;
    AUTO(engine_free) struct engine *engine = NULL;
    assert_int_equal(engine_new(rig->plan, &engine, NULL), ERR_OK);
    uint64_t last = rig_live(rig, "r1", engine);
    assert_int_equal(engine_state(engine), ROLLOUT_SUCCEEDED);

    AUTO(plan_free) struct plan *plan = NULL;
    AUTO(engine_free) struct engine *again = NULL;
    uint64_t last_seq = 0;
    struct error err = {0};
    rig_close(rig);
    rig_open(rig);
    if (journal_load(rig->journal, "r1", &plan, &again, &last_seq, &err) != ERR_OK)
        fail_msg("%s", err.message);
    assert_int_equal(last_seq, last);
    assert_int_equal(engine_state(again), ROLLOUT_SUCCEEDED);
    struct engine_counts a = engine_counts(engine);
    struct engine_counts b = engine_counts(again);
    assert_memory_equal(&a, &b, sizeof(a));
    for (uint32_t server = 0; server < 3; server++) {
        assert_memory_equal(engine_execution(engine, server), engine_execution(again, server),
                            sizeof(struct execution));
        for (uint32_t step = 0; step < 2; step++)
            assert_memory_equal(engine_step(engine, server, step), engine_step(again, server, step),
                                sizeof(struct step_record));
    }
    struct decision decision;
    assert_false(engine_next(again, &decision));
    assert_int_equal(journal_load(rig->journal, "r9", &plan, &again, &last_seq, NULL),
                     ERR_NOT_FOUND);
}

static void tamper(struct rig *rig, const char *sql)
{
    char path[128];
    (void)snprintf(path, sizeof(path), "%s/journal.db", rig->dir);
    sqlite3 *handle = NULL;
    assert_int_equal(sqlite3_open(path, &handle), SQLITE_OK);
    assert_int_equal(sqlite3_exec(handle, sql, NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_close(handle), SQLITE_OK);
}

static void an_event_that_does_not_fit_is_named(void **state)
{
    static const struct {
        const char *sql, *words;
    } cases[] = {
        {"DELETE FROM event WHERE key & 0xffffffff = 5", "event 5 "},
        {"DELETE FROM event WHERE key & 0xffffffff > 5", "event 6 "},
        {"UPDATE event SET json = '{' WHERE key & 0xffffffff = 6", "event 6 "},
        {"UPDATE event SET json = replace(json, '\"seq\":7', '\"seq\":8')"
         " WHERE key & 0xffffffff = 7",
         "event 7 "},
        {"UPDATE event SET json = replace(json, '\"agentSeq\":6', '\"agentSeq\":9')",
         "does not fit"},
        {"UPDATE plan SET text = '{}'", "its plan"},
    };
    struct rig *shared = *state;
    rig_close(shared);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct rig rig;
        rig_init(&rig);
        rig_open(&rig);
        struct engine *engine = NULL;
        assert_int_equal(engine_new(rig.plan, &engine, NULL), ERR_OK);
        (void)rig_live(&rig, "r1", engine);
        engine_free(engine);
        tamper(&rig, cases[i].sql);
        struct plan *plan = NULL;
        struct engine *again = NULL;
        uint64_t last_seq = 0;
        struct error err = {0};
        assert_int_equal(journal_load(rig.journal, "r1", &plan, &again, &last_seq, &err),
                         ERR_CORRUPT);
        if (strstr(err.message, cases[i].words) == NULL || strstr(err.message, "r1") == NULL)
            fail_msg("not named: %s", err.message);
        assert_null(plan);
        assert_null(again);
        rig_done(&rig);
    }
}

static void a_replay_survives_want_of_memory(void **state)
{
    struct rig *rig = *state;
    AUTO(engine_free) struct engine *engine = NULL;
    assert_int_equal(engine_new(rig->plan, &engine, NULL), ERR_OK);
    (void)rig_live(rig, "r1", engine);
    enum error_code code = ERR_NO_MEMORY;
    for (uint64_t n = 0; code != ERR_OK; n++) {
        AUTO(plan_free) struct plan *plan = NULL;
        AUTO(engine_free) struct engine *again = NULL;
        uint64_t last_seq = 0;
        mem_fail_after(n);
        code = journal_load(rig->journal, "r1", &plan, &again, &last_seq, NULL);
        mem_fail_never();
        assert_true(code == ERR_OK || code == ERR_NO_MEMORY);
        assert_int_equal(again != NULL, code == ERR_OK);
        assert_in_range(n, 0, 5000);
    }
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(lists_give_the_newest_first_in_pages),
        TEST(the_scan_gives_what_is_not_over_oldest_first),
        TEST(a_rollout_that_owes_an_undo_is_scanned_though_it_ended),
        TEST(a_summary_comes_back_as_it_was),
        TEST(a_unique_prefix_names_a_rollout),
        TEST(events_are_read_on_from_a_number),
        TEST(a_message_and_a_plan_are_read_alone),
        TEST(the_last_attempts_output_is_kept),
        TEST(the_size_grows_with_what_is_kept),
        TEST(a_replay_gives_the_state_that_was),
        TEST(an_event_that_does_not_fit_is_named),
        TEST(a_replay_survives_want_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
