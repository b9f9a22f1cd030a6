/* What the journal keeps of servers: who touched them, and locks. */
#include "unit/journal/support_journal.h"

#include "common/base/alloc.h"
#include "common/base/buf.h"
#include "common/base/cleanup.h"

#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* ---- Touches ---------------------------------------------------------------------------- */

static void touch(struct rig *rig, const char *id, uint64_t seq, uint32_t server, bool undone)
{
    struct journal_append *a = NULL;
    assert_int_equal(journal_append_new(id, seq, &a, NULL), ERR_OK);
    assert_int_equal(journal_append_touch(a, rig->plan, server, undone, NULL), ERR_OK);
    journal_append(rig->journal, a, rig_settled, rig);
    assert_true(rig_wait(rig, rig->settled + 1));
    assert_int_equal(rig->last_result, ERR_OK);
}

static bool take_touch(void *ctx, const struct journal_touch *t)
{
    buf_printf(ctx, "%s%s ", t->rollout, t->undone ? "(undone)" : "");
    return true;
}

static void expect_touches(struct rig *rig, const char *server, uint32_t limit, const char *wanted)
{
    AUTO_BUF struct buf b = BUF_INIT;
    buf_puts(&b, "");
    assert_int_equal(journal_touches(rig->journal, server, limit, take_touch, &b, NULL), ERR_OK);
    assert_string_equal(b.data == NULL ? "" : b.data, wanted);
}

static void expect_later(struct rig *rig, const char *rollout, const char *server,
                         const char *wanted)
{
    char id[129] = "?";
    assert_int_equal(journal_later_touch(rig->journal, rollout, server, id, NULL), ERR_OK);
    assert_string_equal(id, wanted);
}

static void three_rollouts(struct rig *rig)
{
    rig_rollout(rig, "r1", ROLLOUT_SUCCEEDED);
    rig_rollout(rig, "r2", ROLLOUT_SUCCEEDED);
    rig_rollout(rig, "r3", ROLLOUT_SUCCEEDED);
}

static void the_newest_that_touched_a_server_come_first(void **state)
{
    struct rig *rig = *state;
    three_rollouts(rig);
    touch(rig, "r2", 2, 0, false);
    touch(rig, "r1", 2, 0, true);
    touch(rig, "r3", 2, 0, false);
    touch(rig, "r3", 2, 1, false);
    expect_touches(rig, "s1", 10, "r3 r2 r1(undone) ");
    expect_touches(rig, "s1", 2, "r3 r2 ");
    expect_touches(rig, "s2", 10, "r3 ");
    expect_touches(rig, "s3", 10, "");
    touch(rig, "r3", 2, 0, true);
    expect_touches(rig, "s1", 1, "r3(undone) ");
}

static void a_later_touch_stands_until_it_is_undone(void **state)
{
    struct rig *rig = *state;
    char id[129];
    three_rollouts(rig);
    touch(rig, "r1", 2, 0, false);
    expect_later(rig, "r1", "s1", "");
    touch(rig, "r2", 2, 0, false);
    touch(rig, "r3", 2, 0, false);
    touch(rig, "r3", 2, 1, false);
    expect_later(rig, "r1", "s1", "r3");
    expect_later(rig, "r2", "s1", "r3");
    expect_later(rig, "r3", "s1", "");
    touch(rig, "r3", 2, 0, true);
    expect_later(rig, "r1", "s1", "r2");
    expect_later(rig, "r2", "s1", "");
    expect_later(rig, "r1", "s2", "r3");
    assert_int_equal(journal_later_touch(rig->journal, "nobody", "s1", id, NULL), ERR_NOT_FOUND);
}

static void a_touch_of_an_append_that_fails_is_not_there(void **state)
{
    struct rig *rig = *state;
    struct journal_append *a = NULL;
    three_rollouts(rig);
    assert_int_equal(journal_append_new("r1", 7, &a, NULL), ERR_OK);
    assert_int_equal(journal_append_touch(a, rig->plan, 0, false, NULL), ERR_OK);
    journal_append(rig->journal, a, rig_settled, rig);
    assert_true(rig_wait(rig, rig->settled + 1));
    assert_int_equal(rig->last_result, ERR_CONFLICT);
    expect_touches(rig, "s1", 10, "");
}

static void a_damaged_touch_is_refused_where_it_is_read(void **state)
{
    struct rig *rig = *state;
    char id[129];
    three_rollouts(rig);
    touch(rig, "r2", 2, 0, true);
    rig_tamper(rig, "UPDATE touch SET undone = 0");
    assert_int_equal(journal_later_touch(rig->journal, "r1", "s1", id, NULL), ERR_CORRUPT);
}

static bool may_go(void *ctx, const char *id)
{
    (void)id;
    *(int *)ctx += 1;
    return true;
}

static void gone(void *ctx, enum error_code result, const struct error *err, uint64_t removed)
{
    (void)err;
    assert_int_equal(result, ERR_OK);
    assert_int_equal(removed, 2);
    *(int *)ctx = -1;
}

static void a_touch_goes_with_its_rollout(void **state)
{
    struct rig *rig = *state;
    int progress = 0;
    rig_rollout(rig, "r1", ROLLOUT_SUCCEEDED);
    rig_rollout(rig, "r2", ROLLOUT_SUCCEEDED);
    rig_rollout(rig, "r3", ROLLOUT_RUNNING);
    touch(rig, "r1", 2, 0, false);
    touch(rig, "r2", 2, 0, false);
    touch(rig, "r3", 2, 0, false);
    const struct journal_retention how = {
        .before_ms = INT64_MAX, .may = may_go, .done = gone, .ctx = &progress};
    assert_int_equal(journal_retain(rig->journal, &how, NULL), ERR_OK);
    while (progress != -1)
        assert_true(rig_collect_next(rig));
    expect_touches(rig, "s1", 10, "r3 ");
    rig_close(rig);
    /* Fails unless there is one row left. */
    rig_tamper(rig, "CREATE TABLE proof AS SELECT 1 / (count(*) = 1) AS one FROM touch;"
                    "CREATE TABLE none(x NOT NULL); INSERT INTO none SELECT one FROM proof;"
                    "DROP TABLE none; DROP TABLE proof");
    rig_open(rig);
}

/* ---- Journals from before ----------------------------------------------------------------- */

/* As a version had it that knew nothing of servers. */
static const char former_schema[] = "ALTER TABLE rollout DROP COLUMN retry_of;"
                                    "ALTER TABLE rollout DROP COLUMN is_check;"
                                    "ALTER TABLE rollout DROP COLUMN unchanged;"
                                    "DROP TABLE touch; DROP TABLE server_lock;"
                                    "PRAGMA user_version = 2";

static void ignore_finding(void *ctx, const struct journal_finding *finding)
{
    (void)ctx;
    (void)finding;
}

static uint64_t findings_of(struct rig *rig)
{
    struct journal_checked checked = {0};
    struct error err = {0};
    if (journal_check(rig->dir, ignore_finding, NULL, &checked, &err) != ERR_OK)
        fail_msg("%s", err.message);
    return checked.findings;
}

static void a_journal_from_before_learns_what_was_touched(void **state)
{
    struct rig *rig = *state;
    (void)rig_succeeded(rig, "r1");
    (void)rig_succeeded(rig, "r2");
    rig_close(rig);
    rig_tamper(rig, former_schema);
    rig_open(rig);
    expect_touches(rig, "s1", 10, "r2 r1 ");
    expect_later(rig, "r1", "s3", "r2");
    (void)rig_succeeded(rig, "r3");
    expect_touches(rig, "s1", 10, "r3 r2 r1 ");
    rig_close(rig);
    assert_int_equal(findings_of(rig), 0);
    rig_open(rig);
}

static bool take_unchanged(void *ctx, const struct journal_rollout *r)
{
    *(uint32_t *)ctx = r->summary.counts.unchanged;
    return false;
}

/* Before, it was not counted, and the servers were in the way of older rollouts' undo. */
static void a_journal_from_before_learns_what_changed_nothing(void **state)
{
    struct rig *rig = *state;
    uint32_t unchanged = 0;
    (void)rig_succeeded(rig, "r1");
    (void)rig_succeeded(rig, "r2");
    rig_close(rig);
    rig_tamper(rig, "ALTER TABLE rollout DROP COLUMN is_check;"
                    "ALTER TABLE rollout DROP COLUMN unchanged;"
                    "DELETE FROM meta WHERE name = 'sum';"
                    "UPDATE meta SET value = 2 WHERE name = 'unsummed';"
                    "UPDATE event SET json = replace(json, ',\"changed\":true', ''), sum = NULL"
                    " WHERE key >> 32 = 2;"
                    "PRAGMA user_version = 3");
    rig_open(rig);
    expect_later(rig, "r1", "s1", "");
    assert_int_equal(journal_get(rig->journal, "r2", take_unchanged, &unchanged, NULL), ERR_OK);
    assert_int_equal(unchanged, 3);
    assert_int_equal(journal_get(rig->journal, "r1", take_unchanged, &unchanged, NULL), ERR_OK);
    assert_int_equal(unchanged, 0);
    rig_close(rig);
    assert_int_equal(findings_of(rig), 0);
    rig_open(rig);
}

static void what_was_not_learnt_yet_is_no_finding_and_is_learnt_later(void **state)
{
    struct rig *rig = *state;
    (void)rig_succeeded(rig, "r1");
    (void)rig_succeeded(rig, "r2");
    rig_close(rig);
    /* Ended after the newest. */
    rig_tamper(rig, "DELETE FROM touch WHERE key >> 18 = 1;"
                    "INSERT INTO meta(name, value) VALUES('untouched', '1')");
    assert_int_equal(findings_of(rig), 0);
    rig_open(rig);
    expect_touches(rig, "s2", 10, "r2 r1 ");
    rig_close(rig);
    rig_tamper(rig, "DELETE FROM touch WHERE key >> 18 = 1");
    assert_int_equal(findings_of(rig), 3);
    rig_open(rig);
}

static void a_damaged_rollout_does_not_keep_the_others_from_being_learnt(void **state)
{
    struct rig *rig = *state;
    (void)rig_succeeded(rig, "r1");
    (void)rig_succeeded(rig, "r2");
    (void)rig_succeeded(rig, "r3");
    rig_close(rig);
    rig_tamper(rig, former_schema);
    rig_tamper(rig, "DELETE FROM meta WHERE name = 'sum';"
                    "UPDATE meta SET value = 3 WHERE name = 'unsummed';"
                    "UPDATE event SET json = replace(json, 'agentSeq\":2', 'agentSeq\":3'),"
                    " sum = NULL WHERE key >> 32 = 2");
    rig_open(rig);
    expect_touches(rig, "s1", 10, "r3 r1 ");
}

static bool take_owed(void *ctx, const struct journal_rollout *r)
{
    *(bool *)ctx = r->summary.undo_owed;
    return true;
}

/* A server that is told to undo, falls silent in it, and is told again whenever it comes. */
static void owed_rollout(struct rig *rig, const char *id, bool owed)
{
    struct journal_append *a = NULL;
    struct event events[8];
    size_t count = 0;
    uint64_t seq = 0;
    AUTO(engine_free) struct engine *engine = NULL;
    events[count++] = rig_event(EVENT_ROLLOUT_CREATED, EVENT_NO_SERVER);
    events[count] = rig_event(EVENT_EXECUTION_STARTED, 0);
    events[count++].agent_seq = 1;
    events[count] = rig_event(EVENT_CANCEL_REQUESTED, EVENT_NO_SERVER);
    events[count++].undoing = true;
    events[count++] = rig_event(EVENT_EXECUTION_WITHDRAWN, 1);
    events[count++] = rig_event(EVENT_EXECUTION_WITHDRAWN, 2);
    events[count] = rig_event(EVENT_EXECUTION_ENDED, 0);
    events[count].state = EXECUTION_CANCELLED;
    events[count++].agent_seq = 2;
    events[count++] = rig_event(EVENT_EXECUTION_UNKNOWN, 0);
    assert_int_equal(engine_new(rig->plan, &engine, NULL), ERR_OK);
    assert_int_equal(journal_append_new(id, 1, &a, NULL), ERR_OK);
    assert_int_equal(
        journal_append_create(a, rig->plan, rig_plan_text, strlen(rig_plan_text), NULL, NULL),
        ERR_OK);
    for (size_t i = 0; i < count; i++) {
        struct decision decision;
        struct error err = {0};
        events[i].seq = ++seq;
        if (engine_apply(engine, &events[i], &err) != ERR_OK)
            fail_msg("%zu: %s", i, err.message);
        assert_int_equal(journal_append_event(a, rig->plan, &events[i], NULL), ERR_OK);
        while (engine_next(engine, &decision)) {
            if (decision.type != DECISION_NOTE)
                continue;
            assert_int_equal(journal_append_event(a, rig->plan, &decision.note, NULL), ERR_OK);
            seq++;
        }
    }
    const struct journal_summary summary = {.state = engine_state(engine),
                                            .counts = engine_counts(engine),
                                            .servers = 3,
                                            .created_ms = 1,
                                            .ended_ms = 2,
                                            .undo_owed = owed};
    assert_int_equal(summary.state, ROLLOUT_ROLLBACK_FAILED);
    journal_append_summary(a, &summary);
    journal_append(rig->journal, a, rig_settled, rig);
    assert_true(rig_wait(rig, rig->settled + 1));
    assert_int_equal(rig->last_result, ERR_OK);
}

static void a_journal_from_before_learns_what_is_owed(void **state)
{
    struct rig *rig = *state;
    bool owed = false;
    owed_rollout(rig, "r1", false);
    rig_close(rig);
    assert_int_equal(findings_of(rig), 1);
    rig_tamper(rig, former_schema);
    rig_open(rig);
    assert_int_equal(journal_scan_open(rig->journal, take_owed, &owed, NULL), ERR_OK);
    assert_true(owed);
    rig_close(rig);
    assert_int_equal(findings_of(rig), 0);
    rig_open(rig);
}

static void undo_that_is_said_to_be_owed_and_is_not_is_a_finding(void **state)
{
    struct rig *rig = *state;
    struct journal_append *a = NULL;
    const struct journal_summary summary = {.state = ROLLOUT_SUCCEEDED,
                                            .counts = {.succeeded = 3},
                                            .servers = 3,
                                            .created_ms = 1,
                                            .ended_ms = 2,
                                            .undo_owed = true};
    uint64_t last = rig_succeeded(rig, "r1");
    owed_rollout(rig, "r2", true);
    rig_close(rig);
    assert_int_equal(findings_of(rig), 0);
    rig_open(rig);
    assert_int_equal(journal_append_new("r1", last + 1, &a, NULL), ERR_OK);
    journal_append_summary(a, &summary);
    journal_append(rig->journal, a, rig_settled, rig);
    rig_close(rig);
    assert_int_equal(findings_of(rig), 1);
    rig_open(rig);
}

/* ---- Locks ------------------------------------------------------------------------------ */

static void put_lock(struct rig *rig, const struct journal_server_lock *lock)
{
    assert_int_equal(journal_put_lock(rig->journal, lock, rig_settled, rig, NULL), ERR_OK);
    assert_true(rig_wait(rig, rig->settled + 1));
    assert_int_equal(rig->last_result, ERR_OK);
}

static bool take_lock(void *ctx, const struct journal_server_lock *lock)
{
    buf_printf(ctx, "%s %s by %s: %s at %lld; %s %lld\n", lock->server,
               lock->locked ? "locked" : "free", lock->by == NULL ? "-" : lock->by, lock->reason,
               (long long)lock->time_ms, lock->unlocked_by == NULL ? "-" : lock->unlocked_by,
               (long long)lock->unlocked_ms);
    return true;
}

static void expect_locks(struct rig *rig, const char *wanted)
{
    AUTO_BUF struct buf b = BUF_INIT;
    buf_puts(&b, "");
    assert_int_equal(journal_locks(rig->journal, take_lock, &b, NULL), ERR_OK);
    assert_string_equal(b.data == NULL ? "" : b.data, wanted);
}

static const struct journal_server_lock lock_b = {
    .server = "b", .locked = true, .by = "me", .reason = "disk swap", .time_ms = 7};

static void a_lock_stands_until_it_is_taken_away_and_then_is_on_record(void **state)
{
    struct rig *rig = *state;
    AUTO_BUF struct buf b = BUF_INIT;
    const struct journal_server_lock lock_a = {.server = "a", .locked = true, .reason = "x"};
    struct journal_server_lock over = lock_b;
    over.locked = false;
    over.unlocked_by = "you";
    over.unlocked_ms = 9;
    expect_locks(rig, "");
    put_lock(rig, &lock_b);
    put_lock(rig, &lock_a);
    rig_close(rig);
    rig_open(rig);
    expect_locks(rig, "a locked by -: x at 0; - 0\nb locked by me: disk swap at 7; - 0\n");
    put_lock(rig, &over);
    expect_locks(rig, "a locked by -: x at 0; - 0\n");
    assert_int_equal(journal_get_lock(rig->journal, "b", take_lock, &b, NULL), ERR_OK);
    assert_string_equal(b.data, "b free by me: disk swap at 7; you 9\n");
    assert_int_equal(journal_get_lock(rig->journal, "c", take_lock, &b, NULL), ERR_NOT_FOUND);
    rig_close(rig);
    assert_int_equal(findings_of(rig), 0);
    rig_open(rig);
}

static void a_damaged_lock_is_found_and_refused(void **state)
{
    struct rig *rig = *state;
    struct error err = {0};
    put_lock(rig, &lock_b);
    rig_close(rig);
    rig_tamper(rig, "UPDATE server_lock SET locked = 0");
    assert_int_equal(findings_of(rig), 1);
    assert_int_equal(journal_open(rig->dir, rig_wake, rig, &rig->journal, &err), ERR_CORRUPT);
    assert_non_null(strstr(err.message, "lock of server b"));
}

static void a_lock_keeps_its_place_among_appends(void **state)
{
    struct rig *rig = *state;
    struct event created = rig_event(EVENT_ROLLOUT_CREATED, EVENT_NO_SERVER);
    rig_append(rig, "r1", 1, true, &created, 1);
    assert_int_equal(journal_put_lock(rig->journal, &lock_b, rig_settled, rig, NULL), ERR_OK);
    rig_append(rig, "r2", 1, true, &created, 1);
    /* Closing waits for it, too. */
    rig_close(rig);
    assert_int_equal(rig->settled, 3);
    rig_open(rig);
    expect_locks(rig, "b locked by me: disk swap at 7; - 0\n");
}

static void a_lock_without_memory_is_refused_and_not_told(void **state)
{
    struct rig *rig = *state;
    uint64_t before = rig->settled;
    enum error_code code = ERR_NO_MEMORY;
    uint64_t n = 0;
    for (; code != ERR_OK; n++) {
        mem_fail_after(n);
        code = journal_put_lock(rig->journal, &lock_b, rig_settled, rig, NULL);
        mem_fail_never();
        assert_true(code == ERR_OK || code == ERR_NO_MEMORY);
    }
    assert_true(n > 2);
    assert_true(rig_wait(rig, before + 1));
    assert_int_equal(rig->last_result, ERR_OK);
}

static int setup(void **state)
{
    struct rig *rig = malloc(sizeof(*rig));
    rig_init(rig);
    rig_open(rig);
    *state = rig;
    return 0;
}

static int teardown(void **state)
{
    rig_done(*state);
    free(*state);
    return 0;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_newest_that_touched_a_server_come_first),
        TEST(a_later_touch_stands_until_it_is_undone),
        TEST(a_touch_of_an_append_that_fails_is_not_there),
        TEST(a_damaged_touch_is_refused_where_it_is_read),
        TEST(a_touch_goes_with_its_rollout),
        TEST(a_journal_from_before_learns_what_was_touched),
        TEST(a_journal_from_before_learns_what_changed_nothing),
        TEST(what_was_not_learnt_yet_is_no_finding_and_is_learnt_later),
        TEST(a_damaged_rollout_does_not_keep_the_others_from_being_learnt),
        TEST(a_journal_from_before_learns_what_is_owed),
        TEST(undo_that_is_said_to_be_owed_and_is_not_is_a_finding),
        TEST(a_lock_stands_until_it_is_taken_away_and_then_is_on_record),
        TEST(a_damaged_lock_is_found_and_refused),
        TEST(a_lock_keeps_its_place_among_appends),
        TEST(a_lock_without_memory_is_refused_and_not_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
