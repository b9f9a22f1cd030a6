#include "common/base/cleanup.h"
#include "unit/agent/support_journal.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* ---- Tests ------------------------------------------------------------------------------- */

static void what_was_appended_is_there_after_a_restart(void **state)
{
    struct rig *r = *state;
    struct error err = {0};
    struct undo_image image = {0};
    struct wire_entry entries[] = {journal_entry(1, REPORT_STARTED, EXECUTION_RUNNING),
                                   journal_entry(2, REPORT_STEP_ENDED, STEP_FAILED)};
    entries[1].step = 3;
    entries[1].attempt = 2;
    entries[1].has_exit_code = true;
    entries[1].exit_code = 7;
    entries[1].message = (char *)(uintptr_t) "it broke";
    entries[1].output = (char *)(uintptr_t) "two\nlines";
    struct undo_capture capture = {3, (char *)(uintptr_t) "{\"a\":1}"};
    struct undo_append a = journal_append_of(r, "r1");
    a.spec = "{spec}";
    a.spec_len = strlen(a.spec);
    a.entries = entries;
    a.entry_count = 2;
    a.captures = &capture;
    a.capture_count = 1;
    a.restarts = 2;
    journal_append(r, &a);
    journal_reopen(r);
    assert_int_equal(undo_journal_load(r->j, "s1", "r1", &image, &err), ERR_OK);
    assert_string_equal(image.spec, "{spec}");
    assert_int_equal(image.spec_len, 6);
    assert_int_equal(image.status.last_seq, 2);
    assert_int_equal(image.status.restarts, 2);
    assert_false(image.status.settled);
    assert_int_equal(image.entries.count, 2);
    const struct wire_entry *second = ARRAY_AT(&image.entries, struct wire_entry, 1);
    assert_int_equal(second->seq, 2);
    assert_int_equal(second->type, REPORT_STEP_ENDED);
    assert_int_equal(second->step, 3);
    assert_int_equal(second->attempt, 2);
    assert_int_equal(second->state, STEP_FAILED);
    assert_true(second->has_exit_code);
    assert_int_equal(second->exit_code, 7);
    assert_string_equal(second->message, "it broke");
    assert_string_equal(second->output, "two\nlines");
    assert_int_equal(image.captured.count, 1);
    assert_int_equal(*ARRAY_AT(&image.captured, int64_t, 0), 3);
    undo_image_done(&image);
}

static void the_instance_is_made_once(void **state)
{
    struct rig *r = *state;
    char first[ID_BUFFER];
    (void)snprintf(first, sizeof(first), "%s", undo_journal_instance(r->j));
    assert_true(id_valid(first));
    journal_reopen(r);
    assert_string_equal(undo_journal_instance(r->j), first);
}

static void an_entry_that_is_there_stays_as_it_is(void **state)
{
    struct rig *r = *state;
    struct error err = {0};
    struct undo_image image = {0};
    journal_append_ended(r, "r1", 2);
    struct wire_entry again = journal_entry(2, REPORT_ENDED, EXECUTION_FAILED);
    struct undo_append a = journal_append_of(r, "r1");
    a.entries = &again;
    a.entry_count = 1;
    journal_append(r, &a);
    assert_int_equal(undo_journal_load(r->j, "s1", "r1", &image, &err), ERR_OK);
    assert_int_equal(image.entries.count, 2);
    assert_int_equal(ARRAY_AT(&image.entries, struct wire_entry, 1)->state, EXECUTION_SUCCEEDED);
    undo_image_done(&image);
}

static void the_first_capture_of_a_step_wins(void **state)
{
    struct rig *r = *state;
    struct error err = {0};
    char *undo = NULL;
    struct undo_capture capture = {0, (char *)(uintptr_t) "{\"was\":\"original\"}"};
    struct undo_append a = journal_append_of(r, "r1");
    a.captures = &capture;
    a.capture_count = 1;
    journal_append(r, &a);
    capture.undo = (char *)(uintptr_t) "{\"was\":\"half changed\"}";
    journal_append(r, &a);
    assert_int_equal(undo_journal_capture(r->j, "s1", "r1", 0, &undo, &err), ERR_OK);
    assert_string_equal(undo, "{\"was\":\"original\"}");
    mem_free(undo);
    assert_int_equal(undo_journal_capture(r->j, "s1", "r1", 1, &undo, &err), ERR_NOT_FOUND);
}

static void the_first_spec_wins(void **state)
{
    struct rig *r = *state;
    struct error err = {0};
    struct undo_image image = {0};
    struct undo_append a = journal_append_of(r, "r1");
    a.spec = "one";
    a.spec_len = 3;
    journal_append(r, &a);
    a.spec = "two";
    journal_append(r, &a);
    a.spec = NULL;
    journal_append(r, &a);
    assert_int_equal(undo_journal_load(r->j, "s1", "r1", &image, &err), ERR_OK);
    assert_string_equal(image.spec, "one");
    undo_image_done(&image);
}

static enum error_code collect_name(void *ctx, const char *rollout,
                                    const struct undo_status *status, struct error *err)
{
    char *names = ctx;
    size_t len = strlen(names);
    (void)err;
    (void)snprintf(names + len, 256 - len, "%s/%d ", rollout, (int)status->last_seq);
    return ERR_OK;
}

static void open_executions_are_those_that_go_on_or_are_not_acknowledged(void **state)
{
    struct rig *r = *state;
    struct error err = {0};
    char names[256] = "";
    journal_append_ended(r, "acknowledged", 3);
    journal_append_ended(r, "half", 3);
    struct undo_append a = journal_append_of(r, "running");
    struct wire_entry started = journal_entry(1, REPORT_STARTED, EXECUTION_RUNNING);
    a.entries = &started;
    a.entry_count = 1;
    journal_append(r, &a);
    a = journal_append_of(r, "other");
    a.server = "s2";
    a.entries = &started;
    a.entry_count = 1;
    journal_append(r, &a);
    assert_int_equal(undo_journal_ack(r->j, "s1", "acknowledged", 3, &err), ERR_OK);
    assert_int_equal(undo_journal_ack(r->j, "s1", "half", 2, &err), ERR_OK);
    assert_int_equal(undo_journal_ack(r->j, "s1", "running", 1, &err), ERR_OK);
    journal_reopen(r);
    assert_int_equal(undo_journal_open_executions(r->j, "s1", collect_name, names, &err), ERR_OK);
    assert_string_equal(names, "half/3 running/1 ");
}

static void an_acknowledgement_never_goes_back(void **state)
{
    struct rig *r = *state;
    struct error err = {0};
    journal_append_ended(r, "r1", 3);
    assert_int_equal(undo_journal_ack(r->j, "s1", "r1", 3, &err), ERR_OK);
    assert_int_equal(undo_journal_ack(r->j, "s1", "r1", 1, &err), ERR_OK);
    journal_reopen(r);
    assert_int_equal(journal_status(r, "r1").acked_seq, 3);
}

static void entries_are_read_in_portions(void **state)
{
    struct rig *r = *state;
    struct error err = {0};
    journal_append_ended(r, "r1", 8);
    int64_t at = 0;
    size_t portions = 0;
    while (at < 8) {
        const struct undo_portion portion = {at, portions == 0 ? 1 : SIZE_MAX, 3};
        struct array entries = {0};
        assert_int_equal(undo_journal_entries(r->j, "s1", "r1", &portion, &entries, &err), ERR_OK);
        assert_int_equal(entries.count, portions == 0 ? 1 : portions == 3 ? 1 : 3);
        for (size_t i = 0; i < entries.count; i++)
            assert_int_equal(ARRAY_AT(&entries, struct wire_entry, i)->seq, ++at);
        undo_entries_done(&entries);
        portions++;
    }
    assert_int_equal(portions, 4);
}

static void the_highest_epoch_of_each_orchestrator_is_kept(void **state)
{
    struct rig *r = *state;
    struct error err = {0};
    int64_t epoch = -1;
    assert_int_equal(undo_journal_save_epoch(r->j, "s1", "o1", 5, &err), ERR_OK);
    assert_int_equal(undo_journal_save_epoch(r->j, "s1", "o1", 4, &err), ERR_OK);
    assert_int_equal(undo_journal_save_epoch(r->j, "s1", "o2", 1, &err), ERR_OK);
    journal_reopen(r);
    assert_int_equal(undo_journal_epoch(r->j, "s1", "o1", &epoch, &err), ERR_OK);
    assert_int_equal(epoch, 5);
    assert_int_equal(undo_journal_epoch(r->j, "s1", "o2", &epoch, &err), ERR_OK);
    assert_int_equal(epoch, 1);
    assert_int_equal(undo_journal_epoch(r->j, "s2", "o1", &epoch, &err), ERR_OK);
    assert_int_equal(epoch, 0);
}

static void a_folder_is_private_and_its_path_is_absolute(void **state)
{
    struct rig *r = *state;
    struct error err = {0};
    char path[UNDO_FILES_PATH_MAX];
    struct stat st;
    assert_int_equal(undo_journal_folder(r->j, "s1", "r1", 12, path, &err), ERR_OK);
    assert_int_equal(path[0], '/');
    assert_string_equal(path + strlen(path) - 14, "/undo/s1/r1/12");
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0700);
    assert_int_equal(undo_journal_folder(r->j, "s1", "r1", 12, path, &err), ERR_OK);
}

static void a_capture_with_files_is_made_durable_with_them(void **state)
{
    struct rig *r = *state;
    struct error err = {0};
    char path[UNDO_FILES_PATH_MAX];
    char file[UNDO_FILES_PATH_MAX + 16];
    struct undo_capture capture = {0, (char *)(uintptr_t) "{}"};
    assert_int_equal(undo_journal_folder(r->j, "s1", "r1", 0, path, &err), ERR_OK);
    (void)snprintf(file, sizeof(file), "%s/original", path);
    file_fill(file, "bytes");
    (void)snprintf(file, sizeof(file), "%s/link", path);
    assert_int_equal(symlink("/nowhere", file), 0);
    (void)snprintf(file, sizeof(file), "%s/deeper", path);
    assert_int_equal(mkdir(file, 0700), 0);
    struct undo_append a = journal_append_of(r, "r1");
    a.captures = &capture;
    a.capture_count = 1;
    journal_append(r, &a);
    assert_int_equal(r->result, ERR_OK);
}

static void a_second_agent_on_the_same_directory_is_refused(void **state)
{
    struct rig *r = *state;
    struct error err = {0};
    struct undo_journal *second = NULL;
    char want[2 * FOLDER_PATH_MAX];
    const struct undo_journal_config config = journal_config(r, r->folder.path);
    assert_int_equal(undo_journal_open(&config, &second, &err), ERR_BUSY);
    (void)snprintf(want, sizeof(want), "another agent runs on the data directory \"%s\"",
                   r->folder.path);
    assert_string_equal(err.message, want);
    assert_null(second);
}

static void a_directory_that_cannot_be_used_is_refused(void **state)
{
    struct rig *r = *state;
    struct error err = {0};
    struct undo_journal *j = NULL;
    struct undo_journal_config config = journal_config(r, "/proc/nowhere");
    assert_int_not_equal(undo_journal_open(&config, &j, &err), ERR_OK);
    assert_non_null(strstr(err.message, "/proc/nowhere"));
    file_fill(folder_path(&r->folder, "file"), "");
    config.data_dir = folder_path(&r->folder, "file");
    assert_int_not_equal(undo_journal_open(&config, &j, &err), ERR_OK);
    assert_null(j);
}

/* The child dies without closing anything, right after it was told that its append is durable. */
static void what_is_durable_survives_a_kill(void **state)
{
    struct rig *r = *state;
    int status = 0;
    undo_journal_close(r->j);
    r->j = NULL;
    pid_t child = fork();
    if (child == 0) {
        journal_open(r);
        journal_append_ended(r, "r1", 4);
        _exit(42);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 42);
    journal_open(r);
    assert_int_equal(journal_entry_count(r, "r1"), 4);
    assert_true(journal_status(r, "r1").settled);
}

static void want_of_memory_takes_nothing(void **state)
{
    struct rig *r = *state;
    struct error err = {0};
    struct wire_entry e = journal_entry(1, REPORT_STARTED, EXECUTION_RUNNING);
    struct undo_append a = journal_append_of(r, "r1");
    a.spec = "{}";
    a.spec_len = 2;
    a.entries = &e;
    a.entry_count = 1;
    enum error_code code = ERR_NO_MEMORY;
    for (uint64_t n = 0; code == ERR_NO_MEMORY; n++) {
        assert_true(n < 100);
        mem_fail_after(n);
        code = undo_journal_append(r->j, &a, &err);
        mem_fail_never();
    }
    assert_int_equal(code, ERR_OK);
    journal_await(r, 1);
    code = ERR_NO_MEMORY;
    for (uint64_t n = 0; code == ERR_NO_MEMORY; n++) {
        struct undo_image image = {0};
        assert_true(n < 200);
        mem_fail_after(n);
        code = undo_journal_load(r->j, "s1", "r1", &image, &err);
        mem_fail_never();
        undo_image_done(&image);
    }
    assert_int_equal(code, ERR_OK);
    undo_journal_close(r->j);
    r->j = NULL;
    code = ERR_NO_MEMORY;
    for (uint64_t n = 0; code == ERR_NO_MEMORY; n++) {
        const struct undo_journal_config config = journal_config(r, r->folder.path);
        assert_true(n < 200);
        mem_fail_after(n);
        code = undo_journal_open(&config, &r->j, &err);
        mem_fail_never();
    }
    assert_int_equal(code, ERR_OK);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, journal_set_up, journal_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_was_appended_is_there_after_a_restart),
        TEST(the_instance_is_made_once),
        TEST(an_entry_that_is_there_stays_as_it_is),
        TEST(the_first_capture_of_a_step_wins),
        TEST(the_first_spec_wins),
        TEST(open_executions_are_those_that_go_on_or_are_not_acknowledged),
        TEST(an_acknowledgement_never_goes_back),
        TEST(entries_are_read_in_portions),
        TEST(the_highest_epoch_of_each_orchestrator_is_kept),
        TEST(a_folder_is_private_and_its_path_is_absolute),
        TEST(a_capture_with_files_is_made_durable_with_them),
        TEST(a_second_agent_on_the_same_directory_is_refused),
        TEST(a_directory_that_cannot_be_used_is_refused),
        TEST(what_is_durable_survives_a_kill),
        TEST(want_of_memory_takes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
