/* Bytes on the disk are flipped behind the journal's back, at many places: it shows what was
 * written, or says that it cannot. */
#include "unit/agent/support_journal.h"

#include "common/base/cleanup.h"

#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { FLIP_STEP = 101, ENTRIES = 3 }; /* a prime: the places fall differently into each row */
static const char spec[] = "{\"v\":1,\"type\":\"execute\",\"the frame\":\"as it came\"}";
static const char undo[] = "{\"path\":\"/etc/app.conf\",\"existed\":true}";

/* One execution that has all that there can be, and another one. */
static void fill(struct rig *r)
{
    struct wire_entry entries[ENTRIES];
    struct undo_capture capture = {2, (char *)(uintptr_t)undo};
    for (int64_t i = 0; i < ENTRIES; i++)
        entries[i] = journal_entry(i + 1, REPORT_STARTED, EXECUTION_RUNNING);
    struct undo_append a = journal_append_of(r, "r1");
    a.spec = spec;
    a.spec_len = strlen(spec);
    a.entries = entries;
    a.entry_count = ENTRIES;
    a.captures = &capture;
    a.capture_count = 1;
    journal_append(r, &a);
    journal_append_ended(r, "r2", 2);
}

static bool spec_is_as_written(const struct undo_image *image)
{
    if (image->spec_damaged)
        return false;
    assert_non_null(image->spec);
    assert_int_equal(image->spec_len, strlen(spec));
    assert_memory_equal(image->spec, spec, image->spec_len);
    return true;
}

static void entries_are_as_written(const struct undo_image *image)
{
    assert_int_equal(image->entries.count, ENTRIES);
    for (size_t i = 0; i < ENTRIES; i++) {
        const struct wire_entry *entry = ARRAY_AT(&image->entries, struct wire_entry, i);
        assert_int_equal(entry->seq, i + 1);
        assert_int_equal(entry->type, REPORT_STARTED);
        assert_int_equal(entry->time_ms, 5);
        assert_int_equal(entry->state, EXECUTION_RUNNING);
    }
}

/* Looks at all that a journal tells which was opened in spite of a flip; true when something of it
 * is known to be damaged. */
static bool look(struct rig *r)
{
    struct error err = {0};
    struct undo_image image = {0};
    char *text = NULL;
    if (undo_journal_load(r->j, "s1", "r1", &image, &err) != ERR_OK)
        fail_msg("%s", err.message);
    bool damaged = !spec_is_as_written(&image);
    entries_are_as_written(&image);
    undo_image_done(&image);
    if (undo_journal_capture(r->j, "s1", "r1", 2, &text, &err) != ERR_OK)
        damaged = true;
    else
        assert_string_equal(text, undo);
    mem_free(text);
    return damaged;
}

static void flip(const char *path, off_t at)
{
    unsigned char byte = 0;
    int fd = open(path, O_RDWR);
    assert_true(fd >= 0);
    assert_int_equal(pread(fd, &byte, 1, at), 1);
    byte = (unsigned char)~byte;
    assert_int_equal(pwrite(fd, &byte, 1, at), 1);
    assert_int_equal(close(fd), 0);
}

static void expect_refusal(const struct rig *r, enum error_code code, const struct error *err,
                           off_t at)
{
    /* What looks like the journal of a newer version is told from a damaged one by nothing. */
    if (code != ERR_CORRUPT && code != ERR_UNSUPPORTED)
        fail_msg("flipped at %lld: %s: %s", (long long)at, error_code_name(code), err->message);
    if (strstr(err->message, r->folder.path) == NULL)
        fail_msg("flipped at %lld, and the file is not named: %s", (long long)at, err->message);
}

static void a_flipped_byte_is_refused_or_found_where_it_is_read_or_changes_nothing(void **state)
{
    struct rig *r = *state;
    struct stat st;
    char path[FOLDER_PATH_MAX];
    int refused = 0;
    int found = 0;
    fill(r);
    (void)snprintf(path, sizeof(path), "%s", folder_path(&r->folder, "agent.db"));
    undo_journal_close(TAKE(r->j));
    assert_int_equal(stat(path, &st), 0);
    AUTO_FREE char *sound = malloc((size_t)st.st_size);
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    assert_int_equal(fread(sound, 1, (size_t)st.st_size, file), st.st_size);
    assert_int_equal(fclose(file), 0);
    for (off_t at = 0; at < st.st_size; at += at < 100 ? 3 : FLIP_STEP) {
        struct error err = {0};
        const struct undo_journal_config config = journal_config(r, r->folder.path);
        file = fopen(path, "wb");
        assert_non_null(file);
        assert_int_equal(fwrite(sound, 1, (size_t)st.st_size, file), st.st_size);
        assert_int_equal(fclose(file), 0);
        flip(path, at);
        enum error_code code = undo_journal_open(&config, &r->j, &err);
        if (code != ERR_OK) {
            expect_refusal(r, code, &err, at);
            refused++;
            continue;
        }
        bool damaged = look(r);
        found += damaged;
        /* It was seen at the start already. */
        if (damaged && !undo_journal_damaged(r->j, &err))
            fail_msg("flipped at %lld: not seen", (long long)at);
        undo_journal_close(TAKE(r->j));
    }
    assert_true(refused > 20);
    assert_true(found > 0);
}

/* Runs SQL past the journal. */
static void outside(struct rig *r, const char *sql)
{
    sqlite3 *db = NULL;
    undo_journal_close(TAKE(r->j));
    assert_int_equal(sqlite3_open(folder_path(&r->folder, "agent.db"), &db), SQLITE_OK);
    if (sqlite3_exec(db, sql, NULL, NULL, NULL) != SQLITE_OK)
        fail_msg("%s: %s", sql, sqlite3_errmsg(db));
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
}

static void a_damaged_entry_keeps_the_agent_from_starting_and_is_named(void **state)
{
    static const char *const damages[][2] = {
        {"UPDATE entries SET entry = replace(entry, 'started', 'stbrted') WHERE seq = 2",
         "execution 1 of the journal: entry 2: damaged"},
        {"DELETE FROM entries WHERE execution = 1 AND seq = 2",
         "execution 1 of the journal: damaged"},
        {"UPDATE executions SET acked_seq = 9 WHERE id = 2", "execution 2 of the journal: damaged"},
        {"UPDATE executions SET settled = 3 WHERE id = 1", "execution 1 of the journal: damaged"},
    };
    struct rig *r = *state;
    fill(r);
    for (size_t i = 0; i < ARRAY_LEN(damages); i++) {
        struct error err = {0};
        const struct undo_journal_config config = journal_config(r, r->folder.path);
        outside(r, damages[i][0]);
        assert_int_equal(undo_journal_open(&config, &r->j, &err), ERR_CORRUPT);
        if (strstr(err.message, damages[i][1]) == NULL)
            fail_msg("%s: %s", damages[i][0], err.message);
        assert_null(r->j);
        outside(r, "PRAGMA foreign_keys=ON; DELETE FROM executions");
        journal_open(r);
        fill(r);
    }
}

static void a_damaged_capture_is_told_at_the_start_and_refused_when_it_is_read(void **state)
{
    struct rig *r = *state;
    struct error err = {0};
    char *text = NULL;
    fill(r);
    assert_false(undo_journal_damaged(r->j, &err));
    outside(r, "UPDATE captures SET undo = replace(undo, '/etc/', '/usr/')");
    journal_open(r);
    assert_true(undo_journal_damaged(r->j, &err));
    assert_string_equal(err.message, "execution 1 of the journal: capture of step 2: damaged");
    assert_int_equal(undo_journal_capture(r->j, "s1", "r1", 2, &text, &err), ERR_CORRUPT);
    assert_null(text);
    assert_int_equal(journal_entry_count(r, "r1"), ENTRIES);
}

static void without_a_sum_only_what_an_older_version_wrote_is_taken(void **state)
{
    struct rig *r = *state;
    struct error err = {0};
    fill(r);
    outside(r,
            "UPDATE entries SET sum = NULL; UPDATE meta SET value = '2' WHERE name = 'unsummed'");
    journal_open(r);
    assert_int_equal(journal_entry_count(r, "r1"), ENTRIES);
    outside(r, "UPDATE meta SET value = '0' WHERE name = 'unsummed'");
    const struct undo_journal_config config = journal_config(r, r->folder.path);
    assert_int_equal(undo_journal_open(&config, &r->j, &err), ERR_CORRUPT);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, journal_set_up, journal_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_flipped_byte_is_refused_or_found_where_it_is_read_or_changes_nothing),
        TEST(a_damaged_entry_keeps_the_agent_from_starting_and_is_named),
        TEST(a_damaged_capture_is_told_at_the_start_and_refused_when_it_is_read),
        TEST(without_a_sum_only_what_an_older_version_wrote_is_taken),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
