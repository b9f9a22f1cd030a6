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

static const char *params_of(const struct bed *bed, const char *name)
{
    static char text[PATH_MAX];
    (void)snprintf(text, sizeof(text), "{\"path\":\"%s/%s\"}", bed->dir, name);
    return text;
}

static void run_ok(struct bed *bed, enum handler_operation operation, const char *name)
{
    bed_run(bed, "file_remove", operation, params_of(bed, name));
    if (bed->result.outcome != HANDLER_OK)
        fail_msg("%s", bed->result.message);
}

static void run_fails(struct bed *bed, enum handler_operation operation, const char *name,
                      const char *text)
{
    bed_run(bed, "file_remove", operation, params_of(bed, name));
    assert_int_equal(bed->result.outcome, HANDLER_FAILED);
    if (!strstr(bed->result.message, text))
        fail_msg("\"%s\" is not in \"%s\"", text, bed->result.message);
}

static bool is_there(const struct bed *bed, const char *name)
{
    struct stat st;
    return lstat(bed_path(bed, name), &st) == 0;
}

static void what_is_removed_comes_back_in_every_respect(void **state)
{
    (void)state;
    static const char *const names[] = {"t/text", "t/sub/binary", "t/sub/none", "t/sub/link"};
    struct bed bed;
    bed_open(&bed);
    tree_make(bed_path(&bed, "t"));
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        char *before = tree_text(bed_path(&bed, "t"), false);
        run_ok(&bed, HANDLER_CHECK, names[i]);
        assert_true(bed.result.changed);
        assert_non_null(strstr(bed.result.message, "would remove"));
        run_ok(&bed, HANDLER_PREPARE, names[i]);
        assert_true(is_there(&bed, names[i]));
        run_ok(&bed, HANDLER_EXECUTE, names[i]);
        assert_true(bed.result.changed);
        assert_false(is_there(&bed, names[i]));
        run_ok(&bed, HANDLER_CHECK, names[i]);
        assert_false(bed.result.changed);
        run_ok(&bed, HANDLER_EXECUTE, names[i]);
        assert_false(bed.result.changed);
        run_ok(&bed, HANDLER_ROLLBACK, names[i]);
        assert_tree(bed_path(&bed, "t"), false, before);
    }
    bed_close(&bed);
}

static void what_is_not_there_is_fine_and_stays_so(void **state)
{
    (void)state;
    static const char *const names[] = {"none", "no/such/folder"};
    struct bed bed;
    bed_open(&bed);
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        run_ok(&bed, HANDLER_CHECK, names[i]);
        assert_false(bed.result.changed);
        run_ok(&bed, HANDLER_PREPARE, names[i]);
        run_ok(&bed, HANDLER_EXECUTE, names[i]);
        assert_false(bed.result.changed);
        run_ok(&bed, HANDLER_ROLLBACK, names[i]);
        assert_false(is_there(&bed, names[i]));
    }
    bed_close(&bed);
}

static void a_folder_and_what_is_special_are_refused(void **state)
{
    (void)state;
    struct bed bed;
    bed_open(&bed);
    assert_int_equal(mkdir(bed_path(&bed, "d"), 0755), 0);
    assert_int_equal(mkfifo(bed_path(&bed, "p"), 0600), 0);
    run_fails(&bed, HANDLER_PREPARE, "d", "is a folder; a step of type directory removes it");
    run_fails(&bed, HANDLER_CHECK, "d", "is a folder");
    run_fails(&bed, HANDLER_PREPARE, "p", "is not a regular file");
    run_fails(&bed, HANDLER_CHECK, "p", "is not a regular file");
    bed_close(&bed);
}

static void what_was_put_there_since_is_a_conflict(void **state)
{
    (void)state;
    struct bed bed;
    bed_open(&bed);
    bed_write(bed_path(&bed, "f"), "before");
    run_ok(&bed, HANDLER_PREPARE, "f");
    run_ok(&bed, HANDLER_EXECUTE, "f");
    bed_write(bed_path(&bed, "f"), "theirs");
    run_fails(&bed, HANDLER_ROLLBACK, "f",
              "expected were nothing as this step left it, or 6 bytes");
    assert_true(bed.result.conflict);
    bed.force = true;
    run_ok(&bed, HANDLER_ROLLBACK, "f");
    AUTO_FREE char *text = bed_read(bed_path(&bed, "f"));
    assert_string_equal(text, "before");
    bed_close(&bed);
}

static void what_was_changed_after_it_was_captured_is_not_removed(void **state)
{
    (void)state;
    struct bed bed;
    bed_open(&bed);
    bed_write(bed_path(&bed, "f"), "before");
    run_ok(&bed, HANDLER_PREPARE, "f");
    bed_write(bed_path(&bed, "f"), "theirs");
    run_fails(&bed, HANDLER_EXECUTE, "f", "changed by somebody else after it was captured");
    AUTO_FREE char *text = bed_read(bed_path(&bed, "f"));
    assert_string_equal(text, "theirs");
    bed_close(&bed);
}

static void a_file_of_two_names_is_one_of_them_again(void **state)
{
    (void)state;
    struct bed bed;
    struct stat one, other;
    bed_open(&bed);
    bed_write(bed_path(&bed, "f"), "shared");
    assert_int_equal(link(bed_path(&bed, "f"), bed_path(&bed, "g")), 0);
    run_ok(&bed, HANDLER_PREPARE, "f");
    run_ok(&bed, HANDLER_EXECUTE, "f");
    run_ok(&bed, HANDLER_ROLLBACK, "f");
    assert_int_equal(stat(bed_path(&bed, "f"), &one), 0);
    assert_int_equal(stat(bed_path(&bed, "g"), &other), 0);
    assert_int_equal(one.st_ino, other.st_ino);

    /* Written to under its other name: what is brought back is what was there. */
    run_ok(&bed, HANDLER_PREPARE, "f");
    run_ok(&bed, HANDLER_EXECUTE, "f");
    bed_write(bed_path(&bed, "g"), "newer");
    run_ok(&bed, HANDLER_ROLLBACK, "f");
    assert_non_null(strstr(bed.result.message, "as a file of its own"));
    AUTO_FREE char *text = bed_read(bed_path(&bed, "f"));
    AUTO_FREE char *newer = bed_read(bed_path(&bed, "g"));
    assert_string_equal(text, "shared");
    assert_string_equal(newer, "newer");
    bed_close(&bed);
}

static void an_undo_before_anything_was_done_touches_nothing(void **state)
{
    (void)state;
    struct bed bed;
    struct stat before, after;
    bed_open(&bed);
    bed_write(bed_path(&bed, "f"), "x");
    assert_int_equal(stat(bed_path(&bed, "f"), &before), 0);
    run_ok(&bed, HANDLER_PREPARE, "f");
    run_ok(&bed, HANDLER_ROLLBACK, "f");
    assert_int_equal(stat(bed_path(&bed, "f"), &after), 0);
    assert_int_equal(before.st_ino, after.st_ino);
    bed_close(&bed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_removed_comes_back_in_every_respect),
        cmocka_unit_test(what_is_not_there_is_fine_and_stays_so),
        cmocka_unit_test(a_folder_and_what_is_special_are_refused),
        cmocka_unit_test(what_was_put_there_since_is_a_conflict),
        cmocka_unit_test(what_was_changed_after_it_was_captured_is_not_removed),
        cmocka_unit_test(a_file_of_two_names_is_one_of_them_again),
        cmocka_unit_test(an_undo_before_anything_was_done_touches_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
