/* What file_write keeps for undo, and when it may be used: of all handlers of files, see
 * file_undo.h. */
#include "handlers/fileio.h"
#include "unit/handlers/support_file.h"

#include "common/base/alloc.h"
#include "common/base/cleanup.h"

#include <dirent.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void rolling_back_twice_changes_nothing_more(void **state)
{
    (void)state;
    struct bed bed;
    bed_open(&bed);
    const char *path = bed_path(&bed, "f");
    const char *params = write_params(&bed, "new", "");
    make_original(path);
    write_ok(&bed, HANDLER_PREPARE, params);
    write_ok(&bed, HANDLER_EXECUTE, params);
    write_ok(&bed, HANDLER_ROLLBACK, params);
    struct look first = look_at(path);
    write_ok(&bed, HANDLER_ROLLBACK, params);
    struct look second = look_at(path);
    assert_int_equal(first.st.st_ino, second.st.st_ino);
    assert_same_look(&first, &second);
    bed_close(&bed);
}

static void rolling_back_what_was_never_executed_does_not_touch_the_file(void **state)
{
    (void)state;
    struct bed bed;
    bed_open(&bed);
    const char *path = bed_path(&bed, "f");
    const char *params = write_params(&bed, "new", "");
    make_original(path);
    struct look before = look_at(path);
    write_ok(&bed, HANDLER_PREPARE, params);
    write_ok(&bed, HANDLER_ROLLBACK, params);
    struct look after = look_at(path);
    assert_int_equal(before.st.st_ino, after.st.st_ino);
    assert_same_look(&before, &after);
    bed_close(&bed);
}

static void an_undo_of_a_file_whose_folder_is_gone_has_nothing_to_do(void **state)
{
    (void)state;
    struct bed bed;
    char params[PATH_MAX];
    bed_open(&bed);
    (void)snprintf(params, sizeof(params), "{\"path\":\"%s/d/f\",\"content\":\"x\"}", bed.dir);
    assert_int_equal(mkdir(bed_path(&bed, "d"), 0755), 0);
    write_ok(&bed, HANDLER_PREPARE, params);
    write_ok(&bed, HANDLER_EXECUTE, params);
    bed_remove_tree(bed_path(&bed, "d"));
    write_ok(&bed, HANDLER_ROLLBACK, params);
    bed_close(&bed);
}

static void a_damaged_copy_fails_loudly_and_the_file_stays(void **state)
{
    (void)state;
    struct bed bed;
    bed_open(&bed);
    const char *path = bed_path(&bed, "f");
    const char *params = write_params(&bed, "new", "");
    bed_write(path, "the original");
    write_ok(&bed, HANDLER_PREPARE, params);
    write_ok(&bed, HANDLER_EXECUTE, params);
    bed_write(bed_path(&bed, "undo/original"), "the 0riginal");
    write_fails(&bed, HANDLER_ROLLBACK, params, "is damaged");
    assert_file_text(path, "new");
    assert_int_equal(unlink(bed_path(&bed, "undo/original")), 0);
    write_fails(&bed, HANDLER_ROLLBACK, params, "cannot open the kept copy");
    assert_file_text(path, "new");
    bed_close(&bed);
}

static void what_somebody_else_wrote_since_is_not_clobbered(void **state)
{
    (void)state;
    struct bed bed;
    bed_open(&bed);
    const char *path = bed_path(&bed, "f");
    const char *params = write_params(&bed, "new", "");
    bed_write(path, "old");
    write_ok(&bed, HANDLER_PREPARE, params);
    write_ok(&bed, HANDLER_EXECUTE, params);
    bed_write(path, "theirs");
    write_fails(&bed, HANDLER_ROLLBACK, params, "changed by somebody else since: ");
    assert_true(bed.result.conflict);
    assert_false(bed.result.retryable);
    write_said(&bed, "/f has 6 bytes (sha256 4c55a8552a2c), expected were 3 bytes (sha256 "
                     "11507a0e2f5e) as this step left it, or 3 bytes (sha256 cba06b5736fa) as it "
                     "was before; it stays as it is (`kitsune rollback rollout-1 --server ");
    write_said(&bed, " --force` undoes the step all the same)");
    assert_file_text(path, "theirs");
    /* When it was removed nothing of theirs is lost. */
    assert_int_equal(unlink(path), 0);
    write_ok(&bed, HANDLER_ROLLBACK, params);
    assert_file_text(path, "old");
    bed_close(&bed);
}

static void with_force_it_comes_back_over_what_somebody_else_wrote(void **state)
{
    (void)state;
    struct bed bed;
    bed_open(&bed);
    const char *path = bed_path(&bed, "f");
    const char *params = write_params(&bed, "new", "");
    make_original(path);
    struct look before = look_at(path);
    write_ok(&bed, HANDLER_PREPARE, params);
    write_ok(&bed, HANDLER_EXECUTE, params);
    bed_write(path, "theirs");
    bed.force = true;
    write_ok(&bed, HANDLER_ROLLBACK, params);
    write_said(&bed, "restored, over what somebody else had left there");
    struct look after = look_at(path);
    assert_same_look(&before, &after);
    bed_close(&bed);
}

static void with_force_a_file_that_was_not_there_is_gone_whoever_wrote_it_since(void **state)
{
    (void)state;
    struct bed bed;
    bed_open(&bed);
    const char *path = bed_path(&bed, "f");
    const char *params = write_params(&bed, "new", "");
    write_ok(&bed, HANDLER_PREPARE, params);
    write_ok(&bed, HANDLER_EXECUTE, params);
    bed_write(path, "theirs");
    write_fails(&bed, HANDLER_ROLLBACK, params, "or nothing as it was before");
    assert_true(bed.result.conflict);
    assert_file_text(path, "theirs");
    bed.force = true;
    write_ok(&bed, HANDLER_ROLLBACK, params);
    assert_file_count(&bed, 0);
    bed_close(&bed);
}

static void what_is_no_file_any_more_is_somebody_elses_too(void **state)
{
    (void)state;
    struct bed bed;
    struct stat st;
    bed_open(&bed);
    const char *path = bed_path(&bed, "f");
    const char *params = write_params(&bed, "new", "");
    bed_write(path, "old");
    write_ok(&bed, HANDLER_PREPARE, params);
    write_ok(&bed, HANDLER_EXECUTE, params);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(symlink("/nowhere", path), 0);
    write_fails(&bed, HANDLER_ROLLBACK, params, "is a symbolic link");
    assert_true(bed.result.conflict);
    bed.force = true;
    write_ok(&bed, HANDLER_ROLLBACK, params);
    assert_int_equal(lstat(path, &st), 0);
    assert_true(S_ISREG(st.st_mode));
    assert_file_text(path, "old");
    assert_int_equal(unlink(path), 0);
    assert_int_equal(mkdir(path, 0755), 0);
    /* A folder may hold anything: not even force removes it. */
    write_fails(&bed, HANDLER_ROLLBACK, params, "is a folder; remove it first");
    assert_false(bed.result.conflict);
    bed.force = false;
    write_fails(&bed, HANDLER_ROLLBACK, params, "is a folder, expected were");
    assert_true(bed.result.conflict);
    assert_int_equal(lstat(path, &st), 0);
    assert_true(S_ISDIR(st.st_mode));
    bed_close(&bed);
}

static void what_to_do_about_a_conflict_is_never_cut_off(void **state)
{
    (void)state;
    struct bed bed;
    char name[NAME_MAX + 1], folder[PATH_MAX], params[PATH_MAX + 512];
    bed_open(&bed);
    memset(name, 'n', sizeof(name));
    name[NAME_MAX] = '\0';
    (void)snprintf(folder, sizeof(folder), "%s", bed.dir);
    for (int depth = 0; depth < 8; depth++) {
        size_t len = strlen(folder);
        (void)snprintf(folder + len, sizeof(folder) - len, "/%.200s", name);
        assert_int_equal(mkdir(folder, 0755), 0);
    }
    (void)snprintf(params, sizeof(params), "{\"path\":\"%s/%s\",\"content\":\"x\"}", folder, name);
    (void)snprintf(folder + strlen(folder), sizeof(folder) - strlen(folder), "/%s", name);
    write_ok(&bed, HANDLER_PREPARE, params);
    bed_write(folder, "theirs");
    write_fails(&bed, HANDLER_ROLLBACK, params, "--force` undoes the step all the same)");
    write_said(&bed, "expected were 1 bytes (sha256 ");
    bed_close(&bed);
}

static void a_file_too_large_to_be_kept_is_not_written_over(void **state)
{
    (void)state;
    struct bed bed;
    bed_open(&bed);
    const char *path = bed_path(&bed, "f");
    const char *params = write_params(&bed, "new", "");
    bed_write(path, "");
    assert_int_equal(truncate(path, 256 * 1024 * 1024 + 1), 0);
    write_fails(&bed, HANDLER_PREPARE, params,
                "has 268435457 bytes: to be undone it would have to be copied, and no file of more "
                "than 256 MiB is; nothing was changed");
    assert_false(bed.result.no_room);
    assert_false(bed.result.retryable);
    assert_int_equal(access(bed_path(&bed, "undo/original"), F_OK), -1);
    bed_close(&bed);
}

static void a_file_for_which_there_is_no_room_is_not_copied(void **state)
{
    (void)state;
    struct bed bed;
    bed_open(&bed);
    const char *path = bed_path(&bed, "f");
    const char *params = write_params(&bed, "new", "");
    bed_write(path, "");
    assert_int_equal(truncate(path, 2048), 0);
    bed.room =
        (struct handler_room){.used_bytes = 1024 * 1024 + 1, .max_bytes = 1024 * 1024 + 2048};
    write_fails(
        &bed, HANDLER_PREPARE, params,
        "undoing it would need 2.0K, and of the 1.0M that this agent may keep for undo 1.0M "
        "are used; nothing was changed (raise --undo-max-size of kitsune-agent, or lower its "
        "--undo-retention)");
    assert_true(bed.result.no_room);
    assert_int_equal(access(bed_path(&bed, "undo/original"), F_OK), -1);
    bed.room.used_bytes = 1024 * 1024 + 4096;
    write_fails(&bed, HANDLER_PREPARE, params, "undoing it would need");
    bed.room.used_bytes = 512;
    write_ok(&bed, HANDLER_PREPARE, params);
    bed.room.used_bytes = bed.room.max_bytes; /* it is of no concern any more */
    write_ok(&bed, HANDLER_EXECUTE, params);
    write_ok(&bed, HANDLER_ROLLBACK, params);
    bed_close(&bed);
}

static void even_what_undo_needs_to_know_takes_room(void **state)
{
    (void)state;
    struct bed bed;
    bed_open(&bed);
    const char *params = write_params(&bed, "new", "");
    bed.room = (struct handler_room){.used_bytes = 90, .max_bytes = 100};
    write_fails(&bed, HANDLER_PREPARE, params, "undoing it would need");
    assert_true(bed.result.no_room);
    assert_string_equal(bed.undo, "{}"); /* nothing was handed on */
    bed_close(&bed);
}

static void what_prepare_captured_being_damaged_fails_the_undo(void **state)
{
    (void)state;
    struct bed bed;
    bed_open(&bed);
    const char *params = write_params(&bed, "new", "");
    write_ok(&bed, HANDLER_PREPARE, params);
    mem_free(bed.undo);
    bed.undo = mem_strdup("{\"path\":\"/etc/passwd\"}");
    write_fails(&bed, HANDLER_ROLLBACK, params, "what prepare captured");
    bed_close(&bed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rolling_back_twice_changes_nothing_more),
        cmocka_unit_test(rolling_back_what_was_never_executed_does_not_touch_the_file),
        cmocka_unit_test(an_undo_of_a_file_whose_folder_is_gone_has_nothing_to_do),
        cmocka_unit_test(a_damaged_copy_fails_loudly_and_the_file_stays),
        cmocka_unit_test(what_somebody_else_wrote_since_is_not_clobbered),
        cmocka_unit_test(with_force_it_comes_back_over_what_somebody_else_wrote),
        cmocka_unit_test(with_force_a_file_that_was_not_there_is_gone_whoever_wrote_it_since),
        cmocka_unit_test(what_is_no_file_any_more_is_somebody_elses_too),
        cmocka_unit_test(what_to_do_about_a_conflict_is_never_cut_off),
        cmocka_unit_test(a_file_too_large_to_be_kept_is_not_written_over),
        cmocka_unit_test(a_file_for_which_there_is_no_room_is_not_copied),
        cmocka_unit_test(even_what_undo_needs_to_know_takes_room),
        cmocka_unit_test(what_prepare_captured_being_damaged_fails_the_undo),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
