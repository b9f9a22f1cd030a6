#include "unit/journal/support_journal.h"

#include "common/base/alloc.h"
#include "common/base/cleanup.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* All findings, a line each: "FILE ROLLOUT SEQ WHAT". */
struct findings {
    struct buf lines;
    struct journal_checked checked;
};

static void keep_finding(void *ctx, const struct journal_finding *finding)
{
    struct findings *f = ctx;
    buf_printf(&f->lines, "%s %s %llu %s\n", finding->file,
               finding->rollout == NULL ? "-" : finding->rollout, (unsigned long long)finding->seq,
               finding->what);
}

static struct findings check(struct rig *rig)
{
    struct findings f = {0};
    struct error err = {0};
    if (journal_check(rig->dir, keep_finding, &f, &f.checked, &err) != ERR_OK)
        fail_msg("%s", err.message);
    return f;
}

static void a_sound_journal_has_no_finding(void **state)
{
    struct rig *rig = *state;
    uint64_t events = rig_succeeded(rig, "r1") + rig_succeeded(rig, "r2");
    rig_close(rig);
    struct findings f = check(rig);
    if (f.checked.findings != 0)
        fail_msg("%s", f.lines.data);
    assert_int_equal(f.checked.rollouts, 2);
    assert_int_equal(f.checked.events, events);
    assert_int_equal(f.checked.outputs, 12);
    assert_true(f.checked.size_bytes > 4096);
}

static void an_empty_journal_is_sound(void **state)
{
    struct rig *rig = *state;
    rig_close(rig);
    assert_int_equal(check(rig).checked.findings, 0);
}

static void nothing_is_changed(void **state)
{
    struct rig *rig = *state;
    size_t before_len = 0;
    size_t log_len = 0;
    size_t len = 0;
    (void)rig_succeeded(rig, "r1");
    /* As after a crash: with what is only in the log. */
    char *log = rig_read_file(rig, "journal.db-wal", &log_len);
    char *before = rig_read_file(rig, "journal.db", &before_len);
    int64_t epoch = journal_epoch(rig->journal);
    rig_close(rig);
    rig_write_file(rig, "journal.db", before, before_len);
    rig_write_file(rig, "journal.db-wal", log, log_len);

    struct findings f = check(rig);
    assert_int_equal(f.checked.findings, 0);
    assert_int_equal(f.checked.rollouts, 1);
    char *after = rig_read_file(rig, "journal.db", &len);
    assert_int_equal(len, before_len);
    assert_memory_equal(after, before, len);
    free(after);
    after = rig_read_file(rig, "journal.db-wal", &len);
    assert_int_equal(len, log_len);
    assert_memory_equal(after, log, len);
    free(after);
    free(before);
    free(log);
    rig_open(rig);
    assert_int_equal(journal_epoch(rig->journal), epoch + 1);
}

static void a_journal_in_use_is_not_checked(void **state)
{
    struct rig *rig = *state;
    struct findings f = {0};
    struct error err = {0};
    assert_int_equal(journal_check(rig->dir, keep_finding, &f, &f.checked, &err), ERR_BUSY);
    assert_non_null(strstr(err.message, "in use"));
}

static void a_folder_without_a_journal_is_left_alone(void **state)
{
    struct rig *rig = *state;
    struct findings f = {0};
    char dir[128];
    (void)snprintf(dir, sizeof(dir), "%s/none", rig->dir);
    assert_int_equal(journal_check(dir, keep_finding, &f, &f.checked, NULL), ERR_NOT_FOUND);
    assert_int_not_equal(access(dir, F_OK), 0);
}

static void damage_is_named_with_rollout_and_event(void **state)
{
    static const struct {
        const char *sql, *words;
    } cases[] = {
        {"UPDATE event SET json = json || ' ' WHERE key & 0xffffffff = 5",
         " r1 5 damaged: its sum does not fit\n"},
        {"DELETE FROM event WHERE key & 0xffffffff = 7", " r1 7 missing, up to the one before "},
        {"DELETE FROM event WHERE key & 0xffffffff > 8", " r1 8 its record says that the last "},
        {"UPDATE event SET json = replace(json, '\"agentSeq\":6', '\"agentSeq\":9'), sum = NULL;"
         " UPDATE meta SET value = 99 WHERE name = 'unsummed';"
         " DELETE FROM meta WHERE name = 'sum'",
         " r1 "},
        {"UPDATE plan SET text = replace(text, 'echo', 'ecno')", " r1 0 its plan is damaged\n"},
        {"DELETE FROM plan", "has lost its plan"},
        {"UPDATE rollout SET succeeded = 2", " r1 0 its record is damaged (state or counts)\n"},
        {"UPDATE rollout SET name = 'b plan'", " r1 0 its record is damaged (id, name or "},
        {"UPDATE rollout SET state = 'gone'", "unknown state"},
        {"UPDATE rollout SET state = 'failed', sum = NULL;"
         " UPDATE meta SET value = 99 WHERE name = 'unsummed';"
         " DELETE FROM meta WHERE name = 'sum'",
         " r1 0 its summary says failed, its events say succeeded\n"},
        {"UPDATE rollout SET failed = 1, sum = NULL;"
         " UPDATE meta SET value = 99 WHERE name = 'unsummed';"
         " DELETE FROM meta WHERE name = 'sum'",
         " r1 0 the counts of its summary are not those of its events\n"},
        {"UPDATE output SET text = 'x' WHERE rowid = (SELECT min(rowid) FROM output)",
         " r1 0 an output is damaged"},
        {"UPDATE event SET sum = NULL WHERE key & 0xffffffff = 9", " r1 9 damaged"},
        {"INSERT INTO event(key, type, json, sum) VALUES((9 << 32) | 1, 'x', 'y', 0)",
         " - 0 an event of rollout number 9, which is not there\n"},
        {"UPDATE meta SET value = 77 WHERE name = 'epoch'", "identity and epoch"},
        {"UPDATE rollout SET retry_of = 'r0'", " r1 0 its record is damaged (id, name or "},
        {"UPDATE rollout SET is_check = 1", " r1 0 its record is damaged (state or counts)\n"},
        {"UPDATE rollout SET unchanged = 1", " r1 0 its record is damaged (state or counts)\n"},
        {"UPDATE touch SET undone = 1 WHERE server = 's2'",
         " r1 0 the record of a touched server "},
        {"DELETE FROM touch WHERE server = 's2'",
         " r1 0 that it touched server s2 is not recorded"},
        {"DELETE FROM touch WHERE server = 's3'",
         " r1 0 that it touched server s3 is not recorded"},
        {"UPDATE touch SET key = key + 1 WHERE server = 's3'", " r1 0 the record of a touched "},
        {"INSERT INTO touch(key, server, undone, sum) VALUES(9 << 18, 's1', 0, 0)",
         " - 0 a touched server of rollout number 9, which is not there\n"},
        {"UPDATE rollout SET open = 2", " r1 0 its record is damaged (state or counts)\n"},
        {"DROP TABLE output", "its tables are damaged"},
    };
    struct rig *shared = *state;
    rig_close(shared);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct rig rig;
        rig_init(&rig);
        rig_open(&rig);
        (void)rig_succeeded(&rig, "r1");
        rig_close(&rig);
        rig_tamper(&rig, cases[i].sql);
        struct findings f = check(&rig);
        if (f.checked.findings == 0)
            fail_msg("%s: not found", cases[i].sql);
        if (strstr(f.lines.data, cases[i].words) == NULL ||
            strstr(f.lines.data, rig_path(&rig, "journal.db")) == NULL)
            fail_msg("%s: not named: %s", cases[i].sql, f.lines.data);
        buf_done(&f.lines);
        rig_done(&rig);
    }
}

static void a_file_that_is_no_database_is_a_finding(void **state)
{
    struct rig *rig = *state;
    rig_close(rig);
    rig_write_file(rig, "journal.db", "not a database, by far", 22);
    struct findings f = check(rig);
    assert_int_equal(f.checked.findings, 1);
    assert_non_null(strstr(f.lines.data, "journal.db"));
    buf_done(&f.lines);
}

static void rows_from_before_there_were_sums_are_taken_as_they_are(void **state)
{
    struct rig *rig = *state;
    (void)rig_succeeded(rig, "old");
    rig_close(rig);
    /* What the first schema had. */
    rig_tamper(rig, "DROP INDEX rollout_ended; DROP TABLE removed;"
                    "ALTER TABLE rollout DROP COLUMN made_sum; ALTER TABLE rollout DROP COLUMN sum;"
                    "ALTER TABLE plan DROP COLUMN sum; ALTER TABLE event DROP COLUMN sum;"
                    "ALTER TABLE output DROP COLUMN sum;"
                    "ALTER TABLE rollout DROP COLUMN retry_of;"
                    "ALTER TABLE rollout DROP COLUMN is_check;"
                    "ALTER TABLE rollout DROP COLUMN unchanged;"
                    "DROP TABLE touch; DROP TABLE server_lock;"
                    "DELETE FROM meta WHERE name IN ('unsummed', 'sum');"
                    "PRAGMA user_version = 1");
    rig_open(rig);
    uint64_t last = rig_succeeded(rig, "new");
    AUTO(plan_free) struct plan *plan = NULL;
    AUTO(engine_free) struct engine *engine = NULL;
    uint64_t last_seq = 0;
    assert_int_equal(journal_load(rig->journal, "old", &plan, &engine, &last_seq, NULL), ERR_OK);
    assert_int_equal(last_seq, last);
    rig_close(rig);
    struct findings f = check(rig);
    if (f.checked.findings != 0)
        fail_msg("%s", f.lines.data);
    /* A new row without a sum is not one from before. */
    rig_tamper(rig, "UPDATE event SET sum = NULL");
    f = check(rig);
    assert_non_null(strstr(f.lines.data, " new 1 damaged"));
    assert_null(strstr(f.lines.data, " old "));
    buf_done(&f.lines);
}

static void checking_survives_want_of_memory(void **state)
{
    struct rig *rig = *state;
    (void)rig_succeeded(rig, "r1");
    rig_close(rig);
    enum error_code code = ERR_NO_MEMORY;
    for (uint64_t n = 0; code != ERR_OK; n++) {
        struct findings f = {0};
        mem_fail_after(n);
        code = journal_check(rig->dir, keep_finding, &f, &f.checked, NULL);
        mem_fail_never();
        assert_true(code == ERR_OK || code == ERR_NO_MEMORY);
        assert_null(f.lines.data);
        assert_in_range(n, 0, 2000);
    }
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
        TEST(a_sound_journal_has_no_finding),
        TEST(an_empty_journal_is_sound),
        TEST(nothing_is_changed),
        TEST(a_journal_in_use_is_not_checked),
        TEST(a_folder_without_a_journal_is_left_alone),
        TEST(damage_is_named_with_rollout_and_event),
        TEST(a_file_that_is_no_database_is_a_finding),
        TEST(checking_survives_want_of_memory),
        TEST(rows_from_before_there_were_sums_are_taken_as_they_are),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
