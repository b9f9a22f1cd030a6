#include "unit/handlers/support_run.h"
#include "unit/handlers/support_tree.h"

#include "common/base/alloc.h"
#include "common/base/cleanup.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static const char *params_of(const struct bed *bed, const char *name, const char *more)
{
    static char text[PATH_MAX];
    (void)snprintf(text, sizeof(text), "{\"path\":\"%s/%s\"%s}", bed->dir, name, more);
    return text;
}

static void run_ok(struct bed *bed, enum handler_operation operation, const char *params)
{
    bed_run(bed, "directory", operation, params);
    if (bed->result.outcome != HANDLER_OK)
        fail_msg("%s", bed->result.message);
}

static void run_fails(struct bed *bed, enum handler_operation operation, const char *params,
                      const char *text)
{
    bed_run(bed, "directory", operation, params);
    assert_int_equal(bed->result.outcome, HANDLER_FAILED);
    if (!strstr(bed->result.message, text))
        fail_msg("\"%s\" is not in \"%s\"", text, bed->result.message);
}

static bool is_there(const struct bed *bed, const char *name)
{
    struct stat st;
    return lstat(bed_path(bed, name), &st) == 0;
}

static void assert_mode(const struct bed *bed, const char *name, unsigned mode)
{
    struct stat st;
    assert_int_equal(lstat(bed_path(bed, name), &st), 0);
    assert_int_equal(st.st_mode & 07777, mode);
}

static void a_new_folder_is_made_and_gone_again(void **state)
{
    (void)state;
    struct bed bed;
    struct stat st;
    bed_open(&bed);
    const char *params = params_of(&bed, "a/b/c",
                                   ",\"mode\":\"2750\",\"owner\":\"7\",\"group\":\"8\","
                                   "\"createParents\":true");
    mode_t mask = umask(077);
    run_ok(&bed, HANDLER_CHECK, params);
    assert_true(bed.result.changed);
    assert_false(is_there(&bed, "a"));
    run_ok(&bed, HANDLER_PREPARE, params);
    assert_false(is_there(&bed, "a"));
    run_ok(&bed, HANDLER_EXECUTE, params);
    (void)umask(mask);
    assert_true(bed.result.changed);
    assert_mode(&bed, "a", 0755);
    assert_mode(&bed, "a/b", 0755);
    assert_mode(&bed, "a/b/c", 02750);
    assert_int_equal(stat(bed_path(&bed, "a/b/c"), &st), 0);
    assert_int_equal(st.st_uid, 7);
    assert_int_equal(st.st_gid, 8);
    run_ok(&bed, HANDLER_EXECUTE, params);
    assert_false(bed.result.changed);
    run_ok(&bed, HANDLER_CHECK, params);
    assert_false(bed.result.changed);
    run_ok(&bed, HANDLER_ROLLBACK, params);
    assert_false(is_there(&bed, "a"));
    run_ok(&bed, HANDLER_ROLLBACK, params);
    bed_close(&bed);
}

static void a_parent_that_holds_something_else_by_then_stays(void **state)
{
    (void)state;
    struct bed bed;
    bed_open(&bed);
    const char *params = params_of(&bed, "a/b", ",\"createParents\":true");
    run_ok(&bed, HANDLER_PREPARE, params);
    run_ok(&bed, HANDLER_EXECUTE, params);
    bed_write(bed_path(&bed, "a/theirs"), "x");
    run_ok(&bed, HANDLER_ROLLBACK, params);
    assert_non_null(strstr(bed.result.message, "/a is not empty and stays"));
    assert_true(is_there(&bed, "a/theirs"));
    assert_false(is_there(&bed, "a/b"));
    bed_close(&bed);
}

static void a_folder_gets_its_mode_and_owner_back_and_keeps_what_is_in_it(void **state)
{
    (void)state;
    struct bed bed;
    bed_open(&bed);
    tree_make(bed_path(&bed, "t"));
    const char *params = params_of(&bed, "t/sub", ",\"mode\":\"0700\",\"owner\":\"0\"");
    char *before = tree_text(bed_path(&bed, "t"), true);
    run_ok(&bed, HANDLER_CHECK, params);
    assert_non_null(strstr(bed.result.message, "mode 2750 -> 0700; owner 31 -> 0"));
    run_ok(&bed, HANDLER_PREPARE, params);
    run_ok(&bed, HANDLER_EXECUTE, params);
    assert_true(bed.result.changed);
    assert_mode(&bed, "t/sub", 0700);
    run_ok(&bed, HANDLER_ROLLBACK, params);
    assert_tree(bed_path(&bed, "t"), true, before);
    bed_close(&bed);
}

static void a_folder_somebody_has_filled_is_not_removed(void **state)
{
    (void)state;
    struct bed bed;
    bed_open(&bed);
    const char *params = params_of(&bed, "d", "");
    run_ok(&bed, HANDLER_PREPARE, params);
    run_ok(&bed, HANDLER_EXECUTE, params);
    bed_write(bed_path(&bed, "d/theirs"), "x");
    run_fails(&bed, HANDLER_ROLLBACK, params, "holds what this step has not put into it");
    assert_true(bed.result.conflict);
    bed.force = true;
    run_fails(&bed, HANDLER_ROLLBACK, params, "remove it first");
    assert_true(is_there(&bed, "d/theirs"));
    assert_int_equal(unlink(bed_path(&bed, "d/theirs")), 0);
    bed.force = false;
    run_ok(&bed, HANDLER_ROLLBACK, params);
    assert_false(is_there(&bed, "d"));
    bed_close(&bed);
}

static void what_is_no_folder_is_refused(void **state)
{
    (void)state;
    struct bed bed;
    bed_open(&bed);
    bed_write(bed_path(&bed, "f"), "x");
    assert_int_equal(symlink("/", bed_path(&bed, "l")), 0);
    run_fails(&bed, HANDLER_PREPARE, params_of(&bed, "f", ""), "is a file");
    run_fails(&bed, HANDLER_PREPARE, params_of(&bed, "l", ""), "is a symbolic link");
    run_fails(&bed, HANDLER_PREPARE, params_of(&bed, "l", ",\"state\":\"absent\""),
              "is a symbolic link");
    run_fails(&bed, HANDLER_PREPARE, params_of(&bed, "no/d", ""), "does not exist");
    run_fails(&bed, HANDLER_PREPARE, params_of(&bed, "d", ",\"owner\":\"no-such-user\""),
              "there is no user no-such-user");
    bed_close(&bed);
}

static void a_removed_tree_comes_back_in_every_respect(void **state)
{
    (void)state;
    struct bed bed;
    bed_open(&bed);
    assert_int_equal(mkdir(bed_path(&bed, "top"), 0755), 0);
    tree_make(bed_path(&bed, "top/t"));
    const char *params = params_of(&bed, "top/t", ",\"state\":\"absent\",\"recursive\":true");
    char *before = tree_text(bed_path(&bed, "top"), true);
    run_ok(&bed, HANDLER_CHECK, params);
    assert_non_null(strstr(bed.result.message, "with 6 files and folders in it, 20 bytes"));
    assert_non_null(strstr(bed.output.data, "/top/t/sub/empty/\n"));
    assert_tree(bed_path(&bed, "top"), true, tree_text(bed_path(&bed, "top"), true));
    run_ok(&bed, HANDLER_PREPARE, params);
    run_ok(&bed, HANDLER_EXECUTE, params);
    assert_true(bed.result.changed);
    assert_false(is_there(&bed, "top/t"));
    run_ok(&bed, HANDLER_ROLLBACK, params);
    assert_tree(bed_path(&bed, "top"), true, before);
    bed_close(&bed);
}

static void a_removal_that_was_cut_off_is_undone(void **state)
{
    (void)state;
    struct bed bed;
    bed_open(&bed);
    assert_int_equal(mkdir(bed_path(&bed, "top"), 0755), 0);
    tree_make(bed_path(&bed, "top/t"));
    const char *params = params_of(&bed, "top/t", ",\"state\":\"absent\",\"recursive\":true");
    char *before = tree_text(bed_path(&bed, "top"), true);
    run_ok(&bed, HANDLER_PREPARE, params);
    /* As far as it came. */
    assert_int_equal(unlink(bed_path(&bed, "top/t/sub/binary")), 0);
    assert_int_equal(rmdir(bed_path(&bed, "top/t/sub/empty")), 0);
    run_ok(&bed, HANDLER_ROLLBACK, params);
    assert_tree(bed_path(&bed, "top"), true, before);
    bed_close(&bed);
}

static void what_came_into_it_meanwhile_is_not_removed(void **state)
{
    (void)state;
    struct bed bed;
    bed_open(&bed);
    assert_int_equal(mkdir(bed_path(&bed, "top"), 0755), 0);
    tree_make(bed_path(&bed, "top/t"));
    const char *params = params_of(&bed, "top/t", ",\"state\":\"absent\",\"recursive\":true");
    run_ok(&bed, HANDLER_PREPARE, params);
    bed_write(bed_path(&bed, "top/t/sub/theirs"), "x");
    run_fails(&bed, HANDLER_EXECUTE, params, "/top/t/sub is not empty");
    assert_true(is_there(&bed, "top/t/sub/theirs"));
    run_ok(&bed, HANDLER_ROLLBACK, params);
    assert_true(is_there(&bed, "top/t/sub/theirs"));
    assert_true(is_there(&bed, "top/t/sub/binary"));
    bed_close(&bed);
}

static void what_cannot_be_kept_is_not_removed(void **state)
{
    (void)state;
    struct bed bed;
    bed_open(&bed);
    assert_int_equal(mkdir(bed_path(&bed, "d"), 0755), 0);
    const char *absent = ",\"state\":\"absent\"";
    const char *all = ",\"state\":\"absent\",\"recursive\":true";
    bed_write(bed_path(&bed, "d/f"), "x");
    run_fails(&bed, HANDLER_PREPARE, params_of(&bed, "d", absent), "is not empty; set recursive");
    run_fails(&bed, HANDLER_CHECK, params_of(&bed, "d", absent), "is not empty; set recursive");
    assert_int_equal(mkfifo(bed_path(&bed, "d/pipe"), 0600), 0);
    run_fails(&bed, HANDLER_PREPARE, params_of(&bed, "d", all), "/d/pipe is not a regular file");
    assert_int_equal(unlink(bed_path(&bed, "d/pipe")), 0);
    /* Each fits by itself. */
    assert_int_equal(truncate(bed_path(&bed, "d/f"), 3000), 0);
    bed_write(bed_path(&bed, "d/g"), "x");
    assert_int_equal(truncate(bed_path(&bed, "d/g"), 3000), 0);
    bed.room = (struct handler_room){.max_bytes = 5000};
    run_fails(&bed, HANDLER_PREPARE, params_of(&bed, "d", all), "undoing it would need");
    assert_true(bed.result.no_room);
    bed.room = (struct handler_room){0};
    for (int i = 0; i < 1000; i++) {
        char name[32];
        (void)snprintf(name, sizeof(name), "d/%d", i);
        assert_int_equal(symlink("x", bed_path(&bed, name)), 0);
    }
    run_fails(&bed, HANDLER_PREPARE, params_of(&bed, "d", all), "more than 1000 files and folders");
    assert_true(is_there(&bed, "d/999"));
    bed_close(&bed);
}

static void an_empty_folder_is_removed_and_comes_back(void **state)
{
    (void)state;
    struct bed bed;
    bed_open(&bed);
    tree_make(bed_path(&bed, "t"));
    const char *params = params_of(&bed, "t/sub/empty", ",\"state\":\"absent\"");
    char *before = tree_text(bed_path(&bed, "t"), false);
    run_ok(&bed, HANDLER_PREPARE, params);
    run_ok(&bed, HANDLER_EXECUTE, params);
    assert_true(bed.result.changed);
    assert_false(is_there(&bed, "t/sub/empty"));
    run_ok(&bed, HANDLER_EXECUTE, params);
    assert_false(bed.result.changed);
    run_ok(&bed, HANDLER_ROLLBACK, params);
    assert_tree(bed_path(&bed, "t"), false, before);
    params = params_of(&bed, "none", ",\"state\":\"absent\"");
    run_ok(&bed, HANDLER_PREPARE, params);
    run_ok(&bed, HANDLER_EXECUTE, params);
    assert_false(bed.result.changed);
    bed_close(&bed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_new_folder_is_made_and_gone_again),
        cmocka_unit_test(a_parent_that_holds_something_else_by_then_stays),
        cmocka_unit_test(a_folder_gets_its_mode_and_owner_back_and_keeps_what_is_in_it),
        cmocka_unit_test(a_folder_somebody_has_filled_is_not_removed),
        cmocka_unit_test(what_is_no_folder_is_refused),
        cmocka_unit_test(a_removed_tree_comes_back_in_every_respect),
        cmocka_unit_test(a_removal_that_was_cut_off_is_undone),
        cmocka_unit_test(what_came_into_it_meanwhile_is_not_removed),
        cmocka_unit_test(what_cannot_be_kept_is_not_removed),
        cmocka_unit_test(an_empty_folder_is_removed_and_comes_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
