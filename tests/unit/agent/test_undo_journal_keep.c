#include "common/base/cleanup.h"
#include "unit/agent/support_journal.h"

#include <errno.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* Stands in for the C library's: 0, or why it fails. */
static atomic_int fsync_errno;
int fsync(int fd)
{
    int errnum = atomic_load(&fsync_errno);
    if (errnum == 0)
        return (int)syscall(SYS_fsync, fd);
    errno = errnum;
    return -1;
}

static void an_old_execution_goes_with_its_files(void **state)
{
    struct rig *r = *state;
    struct error err = {0};
    char path[UNDO_FILES_PATH_MAX];
    char file[UNDO_FILES_PATH_MAX + 16];
    struct undo_status status;
    struct stat st;
    journal_append_ended(r, "old", 1);
    journal_append_ended(r, "unacknowledged", 1);
    assert_int_equal(undo_journal_folder(r->j, "s1", "old", 0, path, &err), ERR_OK);
    (void)snprintf(file, sizeof(file), "%s/original", path);
    file_fill(file, "bytes");
    assert_int_equal(undo_journal_ack(r->j, "s1", "old", 1, &err), ERR_OK);
    assert_int_equal(undo_journal_expire(r->j, NOW_MS + 29 * INT64_C(86400000), NULL, NULL, &err),
                     ERR_OK);
    journal_reopen(r);
    assert_int_equal(journal_entry_count(r, "old"), 1);
    assert_int_equal(stat(file, &st), 0);
    int64_t later_ms = NOW_MS + 31 * INT64_C(86400000);
    /* It may go at any moment from now on: it is not begun with again. */
    assert_int_equal(undo_journal_find(r->j, "s1", "old", later_ms, &status, &err), ERR_STALE);
    assert_int_equal(undo_journal_expire(r->j, later_ms, NULL, NULL, &err), ERR_OK);
    journal_reopen(r);
    assert_int_equal(undo_journal_find(r->j, "s1", "old", NOW_MS, &status, &err), ERR_NOT_FOUND);
    assert_int_equal(stat(path, &st), -1);
    assert_int_equal(journal_entry_count(r, "unacknowledged"), 1);
}

/* One from before its retention, whose place is wanted by a new one of the same name. */
static void what_is_too_old_gives_way_to_a_new_one_of_its_name(void **state)
{
    struct rig *r = *state;
    struct error err = {0};
    struct undo_image image = {0};
    struct undo_status status;
    char file[UNDO_FILES_PATH_MAX];
    journal_append_captured(r, "r1", 0, "{\"old\":1}", "old bytes");
    journal_append_ended(r, "r1", 4);
    assert_int_equal(undo_journal_ack(r->j, "s1", "r1", 4, &err), ERR_OK);
    journal_reopen(r);
    int64_t later_ms = NOW_MS + 31 * INT64_C(86400000);
    assert_int_equal(undo_journal_find(r->j, "s1", "r1", later_ms, &status, &err), ERR_STALE);
    struct wire_entry first = journal_entry(1, REPORT_STARTED, EXECUTION_RUNNING);
    first.time_ms = 77;
    struct undo_append a = journal_append_of(r, "r1");
    a.replaces = true;
    a.spec = "new";
    a.spec_len = 3;
    a.entries = &first;
    a.entry_count = 1;
    a.time_ms = later_ms;
    journal_append(r, &a);
    assert_int_equal(undo_journal_load(r->j, "s1", "r1", &image, &err), ERR_OK);
    assert_string_equal(image.spec, "new");
    assert_int_equal(image.entries.count, 1);
    assert_int_equal(ARRAY_AT(&image.entries, struct wire_entry, 0)->time_ms, 77);
    assert_int_equal(image.captured.count, 0);
    assert_int_equal(image.status.acked_seq, 0);
    undo_image_done(&image);
    assert_int_equal(undo_journal_usage(r->j).used_bytes, 0);
    journal_step_file(r, "r1", 0, file);
    assert_int_equal(access(file, F_OK), -1);
}

static void count_expired(void *ctx, enum error_code result)
{
    int *calls = ctx;
    assert_int_equal(result, ERR_OK);
    (*calls)++;
}

static void all_that_is_too_old_goes_however_much_it_is(void **state)
{
    struct rig *r = *state;
    struct error err = {0};
    enum { COUNT = 600 };
    struct wire_entry e = journal_entry(1, REPORT_ENDED, EXECUTION_SUCCEEDED);
    struct undo_status status;
    char name[16];
    int calls = 0;
    for (int i = 0; i < COUNT; i++) {
        (void)snprintf(name, sizeof(name), "r%d", i);
        struct undo_append a = journal_append_of(r, name);
        a.entries = &e;
        a.entry_count = 1;
        a.settled = true;
        assert_int_equal(undo_journal_append(r->j, &a, &err), ERR_OK);
        assert_int_equal(undo_journal_ack(r->j, "s1", name, 1, &err), ERR_OK);
    }
    journal_append_captured(r, "kept", 0, "{}", "bytes");
    journal_await(r, COUNT + 1);
    assert_int_equal(
        undo_journal_expire(r->j, NOW_MS + 31 * INT64_C(86400000), count_expired, &calls, &err),
        ERR_OK);
    while (calls == 0)
        journal_wait(r);
    for (int i = 0; i < COUNT; i++) {
        (void)snprintf(name, sizeof(name), "r%d", i);
        assert_int_equal(undo_journal_find(r->j, "s1", name, NOW_MS, &status, &err), ERR_NOT_FOUND);
    }
    assert_int_equal(calls, 1);
    assert_int_equal(undo_journal_usage(r->j).used_bytes, 2 + 5); /* of the open one */
}

/* ---- What is kept -------------------------------------------------------------------------- */

static void what_is_kept_for_undo_is_counted(void **state)
{
    struct rig *r = *state;
    struct error err = {0};
    assert_int_equal(undo_journal_usage(r->j).used_bytes, 0);
    assert_int_equal(undo_journal_usage(r->j).max_bytes, JOURNAL_MAX_BYTES);
    journal_append_captured(r, "r1", 0, "{\"a\":1}", "12345");
    assert_int_equal(undo_journal_usage(r->j).used_bytes, 12);
    journal_append_captured(r, "r1", 1, "{}", "123456789");
    assert_int_equal(undo_journal_usage(r->j).used_bytes, 23);
    /* A second capture of a step is none. */
    journal_append_captured(r, "r1", 1, "{\"late\":true}", "other bytes");
    assert_int_equal(undo_journal_usage(r->j).used_bytes, 23);
    journal_append_captured(r, "r2", 0, "{}", NULL);
    assert_int_equal(undo_journal_usage(r->j).used_bytes, 25);
    journal_append_ended(r, "r1", 1);
    assert_int_equal(undo_journal_ack(r->j, "s1", "r1", 1, &err), ERR_OK);
    journal_reopen(r);
    assert_int_equal(undo_journal_usage(r->j).used_bytes, 25);
    int calls = 0;
    assert_int_equal(
        undo_journal_expire(r->j, NOW_MS + 31 * INT64_C(86400000), count_expired, &calls, &err),
        ERR_OK);
    while (calls == 0)
        journal_wait(r);
    assert_int_equal(undo_journal_usage(r->j).used_bytes, 2);
}

/* As when an agent dies in a prepare before anything of the execution is durable. */
static void files_that_nobody_knows_of_are_gone_after_the_next_start(void **state)
{
    struct rig *r = *state;
    struct error err = {0};
    char known[UNDO_FILES_PATH_MAX], unknown[UNDO_FILES_PATH_MAX], folder[UNDO_FILES_PATH_MAX];
    journal_append_captured(r, "known", 0, "{}", "bytes");
    journal_step_file(r, "known", 0, known);
    journal_step_file(r, "unknown", 0, unknown);
    file_fill(unknown, "bytes");
    (void)snprintf(folder, sizeof(folder), "%s/undo/lost+found", r->folder.path);
    assert_int_equal(mkdir(folder, 0700), 0);
    journal_reopen(r);
    assert_string_equal(file_get(known), "bytes");
    assert_int_equal(access(unknown, F_OK), -1);
    assert_int_equal(access(folder, F_OK), 0);
    assert_int_equal(undo_journal_folder(r->j, "s1", "unknown", 0, folder, &err), ERR_OK);
}

/* ---- Life ---------------------------------------------------------------------------------- */

static void that_the_process_before_died_is_known(void **state)
{
    struct rig *r = *state;
    int status = 0;
    assert_false(undo_journal_died(r->j));
    journal_reopen(r);
    assert_false(undo_journal_died(r->j));
    undo_journal_close(r->j);
    r->j = NULL;
    pid_t child = fork();
    if (child == 0) {
        journal_open(r);
        _exit(42);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(WEXITSTATUS(status), 42);
    journal_open(r);
    assert_true(undo_journal_died(r->j));
    journal_reopen(r);
    assert_false(undo_journal_died(r->j));
}

/* The schema of the first version, with one execution in it. */
static const char *const first_version[] = {
    "PRAGMA application_id = 1262569290",
    "PRAGMA user_version = 1",
    "CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
    "CREATE TABLE epochs (server TEXT NOT NULL, orchestrator TEXT NOT NULL,"
    " epoch INTEGER NOT NULL, PRIMARY KEY (server, orchestrator)) WITHOUT ROWID",
    "CREATE TABLE executions (id INTEGER PRIMARY KEY, server TEXT NOT NULL,"
    " rollout TEXT NOT NULL, spec TEXT, last_seq INTEGER NOT NULL,"
    " acked_seq INTEGER NOT NULL DEFAULT 0, settled INTEGER NOT NULL,"
    " changed_ms INTEGER NOT NULL, undo_deaths INTEGER NOT NULL, UNIQUE (server, rollout))",
    "CREATE INDEX executions_open ON executions (server)"
    " WHERE (settled = 0 OR acked_seq < last_seq)",
    "CREATE TABLE entries (execution INTEGER NOT NULL REFERENCES executions (id)"
    " ON DELETE CASCADE, seq INTEGER NOT NULL, entry TEXT NOT NULL,"
    " PRIMARY KEY (execution, seq)) WITHOUT ROWID",
    "CREATE TABLE captures (execution INTEGER NOT NULL REFERENCES executions (id)"
    " ON DELETE CASCADE, step INTEGER NOT NULL, undo TEXT NOT NULL,"
    " PRIMARY KEY (execution, step)) WITHOUT ROWID",
    "INSERT INTO executions VALUES (1, 's1', 'r1', 'spec', 3, 2, 0, 5, 2)",
    "INSERT INTO entries VALUES (1, 1, '{}'), (1, 2, '{}'), (1, 3, '{}')",
    "INSERT INTO captures VALUES (1, 0, '{\"name\":\"ü\"}')",
};

static void a_journal_of_the_first_version_is_read(void **state)
{
    struct rig *r = *state;
    struct error err = {0};
    struct folder old;
    sqlite3 *db = NULL;
    struct undo_status status;
    char *undo = NULL;
    folder_make(&old);
    assert_int_equal(sqlite3_open(folder_path(&old, "agent.db"), &db), SQLITE_OK);
    for (size_t i = 0; i < ARRAY_LEN(first_version); i++)
        assert_int_equal(sqlite3_exec(db, first_version[i], NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
    undo_journal_close(r->j);
    const struct undo_journal_config config = journal_config(r, old.path);
    if (undo_journal_open(&config, &r->j, &err) != ERR_OK)
        fail_msg("%s", err.message);
    assert_int_equal(undo_journal_find(r->j, "s1", "r1", NOW_MS, &status, &err), ERR_OK);
    assert_int_equal(status.last_seq, 3);
    assert_int_equal(status.restarts, 2);
    assert_int_equal(undo_journal_capture(r->j, "s1", "r1", 0, &undo, &err), ERR_OK);
    assert_string_equal(undo, "{\"name\":\"ü\"}");
    mem_free(undo);
    assert_int_equal(undo_journal_usage(r->j).used_bytes, 13);
    journal_append_ended(r, "r1", 4);
    undo_journal_close(r->j);
    r->j = NULL;
    folder_remove(&old);
}

/* ---- A disk that fails ------------------------------------------------------------------- */

static void a_full_disk_is_waited_out_and_loses_nothing(void **state)
{
    struct rig *r = *state;
    struct error err = {0}, why = {0};
    bool final = true;
    struct wire_entry e = journal_entry(1, REPORT_STARTED, EXECUTION_RUNNING);
    struct undo_capture capture = {0, (char *)(uintptr_t) "{}"};
    struct undo_append a = journal_append_of(r, "r1");
    a.entries = &e;
    a.entry_count = 1;
    a.captures = &capture;
    a.capture_count = 1;
    disk_fail_write(SQLITE_FULL, ENOSPC);
    assert_int_equal(undo_journal_append(r->j, &a, &err), ERR_OK);
    while (!undo_journal_stalled(r->j, &final, &why))
        journal_wait(r);
    assert_false(final);
    assert_int_equal(why.code, ERR_NO_SPACE);
    assert_int_equal(r->done, 0);
    assert_int_equal(undo_journal_usage(r->j).used_bytes, 0);
    disk_fail_write(SQLITE_OK, 0);
    undo_journal_retry(r->j);
    journal_await(r, 1);
    assert_false(undo_journal_stalled(r->j, &final, &why));
    assert_int_equal(journal_entry_count(r, "r1"), 1);
    assert_int_equal(undo_journal_usage(r->j).used_bytes, 2); /* once, however often it was tried */
}

/* Appends and is told that it cannot be, for good: also when space was the reason. */
static void append_fails_for_good(struct rig *r, const struct undo_append *a)
{
    struct error err = {0};
    bool final = false;
    assert_int_equal(undo_journal_append(r->j, a, &err), ERR_OK);
    while (r->done == 0)
        journal_wait(r);
    assert_int_equal(r->result, ERR_IO);
    assert_true(undo_journal_stalled(r->j, &final, NULL));
    assert_true(final);
    undo_journal_retry(r->j);
    assert_int_equal(undo_journal_append(r->j, a, &err), ERR_OK);
    while (r->done == 1)
        journal_wait(r);
    assert_int_equal(r->result, ERR_IO);
}

static void a_failed_fsync_of_the_journal_is_final(void **state)
{
    struct rig *r = *state;
    struct wire_entry e = journal_entry(1, REPORT_STARTED, EXECUTION_RUNNING);
    struct undo_append a = journal_append_of(r, "r1");
    a.entries = &e;
    a.entry_count = 1;
    disk_fail_sync(SQLITE_IOERR_FSYNC, EIO);
    append_fails_for_good(r, &a);
}

static void a_failed_fsync_of_what_was_captured_is_final(void **state)
{
    struct rig *r = *state;
    static const int errors[] = {EIO, ENOSPC, EDQUOT};
    struct undo_capture capture = {0, (char *)(uintptr_t) "{}"};
    char file[UNDO_FILES_PATH_MAX];
    for (size_t i = 0; i < ARRAY_LEN(errors); i++) {
        journal_step_file(r, "r1", 0, file);
        file_fill(file, "bytes");
        struct undo_append a = journal_append_of(r, "r1");
        a.captures = &capture;
        a.capture_count = 1;
        atomic_store(&fsync_errno, errors[i]);
        append_fails_for_good(r, &a);
        atomic_store(&fsync_errno, 0);
        r->done = 0;
        journal_reopen(r);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, journal_set_up, journal_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(an_old_execution_goes_with_its_files),
        TEST(what_is_too_old_gives_way_to_a_new_one_of_its_name),
        TEST(all_that_is_too_old_goes_however_much_it_is),
        TEST(what_is_kept_for_undo_is_counted),
        TEST(files_that_nobody_knows_of_are_gone_after_the_next_start),
        TEST(that_the_process_before_died_is_known),
        TEST(a_journal_of_the_first_version_is_read),
        TEST(a_full_disk_is_waited_out_and_loses_nothing),
        TEST(a_failed_fsync_of_the_journal_is_final),
        TEST(a_failed_fsync_of_what_was_captured_is_final),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
