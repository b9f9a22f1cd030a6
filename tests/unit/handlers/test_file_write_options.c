/* What file_write does beyond the file itself: bytes, folders, a backup, a validation. */
#include "handlers/file_node.h"
#include "unit/handlers/support_run.h"
#include "unit/handlers/support_tree.h"

#include "common/base/alloc.h"
#include "common/base/cleanup.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* Params for a file of the bed. */
static const char *params_of(const struct bed *bed, const char *name, const char *more)
{
    static char text[PATH_MAX];
    (void)snprintf(text, sizeof(text), "{\"path\":\"%s/%s\"%s}", bed->dir, name, more);
    return text;
}

static void run_ok(struct bed *bed, enum handler_operation operation, const char *params)
{
    bed_run(bed, "file_write", operation, params);
    if (bed->result.outcome != HANDLER_OK)
        fail_msg("%s", bed->result.message);
}

static void run_fails(struct bed *bed, enum handler_operation operation, const char *params,
                      const char *text)
{
    bed_run(bed, "file_write", operation, params);
    assert_int_equal(bed->result.outcome, HANDLER_FAILED);
    if (!strstr(bed->result.message, text))
        fail_msg("\"%s\" is not in \"%s\"", text, bed->result.message);
}

static bool is_there(const struct bed *bed, const char *name)
{
    struct stat st;
    return lstat(bed_path(bed, name), &st) == 0;
}

static void assert_text(const struct bed *bed, const char *name, const char *expected)
{
    AUTO_FREE char *text = bed_read(bed_path(bed, name));
    assert_non_null(text);
    assert_string_equal(text, expected);
}

/* ---- contentBase64 ----------------------------------------------------------------------- */

static void bytes_of_any_kind_are_written_and_taken_back(void **state)
{
    (void)state;
    static const char expected[] = {0, 1, (char)0xff, 'a', 0, '\n'};
    struct bed bed;
    char bytes[16];
    bed_open(&bed);
    assert_int_equal(mkdir(bed_path(&bed, "t"), 0755), 0);
    bed_write(bed_path(&bed, "t/f"), "before");
    char *before = tree_text(bed_path(&bed, "t"), false);
    const char *params = params_of(&bed, "t/f", ",\"contentBase64\":\"AAH/YQAK\"");
    run_ok(&bed, HANDLER_CHECK, params);
    assert_true(bed.result.changed);
    assert_non_null(strstr(bed.result.message, "6 bytes (sha256 "));
    run_ok(&bed, HANDLER_PREPARE, params);
    run_ok(&bed, HANDLER_EXECUTE, params);
    assert_true(bed.result.changed);
    int fd = open(bed_path(&bed, "t/f"), O_RDONLY | O_CLOEXEC);
    assert_int_equal(read(fd, bytes, sizeof(bytes)), sizeof(expected));
    assert_memory_equal(bytes, expected, sizeof(expected));
    assert_int_equal(close(fd), 0);
    run_ok(&bed, HANDLER_EXECUTE, params);
    assert_false(bed.result.changed);
    run_ok(&bed, HANDLER_ROLLBACK, params);
    assert_tree(bed_path(&bed, "t"), false, before);
    /* A new file of bytes is told without a diff. */
    params = params_of(&bed, "t/new", ",\"contentBase64\":\"AAH/YQAK\"");
    run_ok(&bed, HANDLER_CHECK, params);
    assert_non_null(strstr(bed.result.message, "6 bytes, mode 0644; sha256 "));
    assert_int_equal(bed.output.len, 0);
    bed_close(&bed);
}

/* ---- createParents ----------------------------------------------------------------------- */

static void folders_are_made_for_it_and_gone_again(void **state)
{
    (void)state;
    struct bed bed;
    bed_open(&bed);
    assert_int_equal(mkdir(bed_path(&bed, "t"), 0755), 0);
    char *before = tree_text(bed_path(&bed, "t"), false);
    run_fails(&bed, HANDLER_PREPARE, params_of(&bed, "t/a//b/f", ",\"content\":\"x\""),
              "does not exist");
    const char *params = params_of(&bed, "t/a//b/f", ",\"content\":\"x\",\"createParents\":true");
    run_ok(&bed, HANDLER_CHECK, params);
    assert_non_null(strstr(bed.result.message, "makes 2 folders, from "));
    run_ok(&bed, HANDLER_PREPARE, params);
    assert_false(is_there(&bed, "t/a"));
    run_ok(&bed, HANDLER_EXECUTE, params);
    assert_text(&bed, "t/a/b/f", "x");
    run_ok(&bed, HANDLER_ROLLBACK, params);
    assert_tree(bed_path(&bed, "t"), false, before);
    run_ok(&bed, HANDLER_ROLLBACK, params);
    bed_close(&bed);
}

static void a_folder_that_was_there_stays(void **state)
{
    (void)state;
    struct bed bed;
    bed_open(&bed);
    assert_int_equal(mkdir(bed_path(&bed, "a"), 0755), 0);
    const char *params = params_of(&bed, "a/b/f", ",\"content\":\"x\",\"createParents\":true");
    run_ok(&bed, HANDLER_PREPARE, params);
    run_ok(&bed, HANDLER_EXECUTE, params);
    run_ok(&bed, HANDLER_ROLLBACK, params);
    assert_true(is_there(&bed, "a"));
    assert_false(is_there(&bed, "a/b"));
    bed_close(&bed);
}

static void a_way_through_what_does_not_exist_is_refused(void **state)
{
    (void)state;
    struct bed bed;
    bed_open(&bed);
    run_fails(&bed, HANDLER_PREPARE,
              params_of(&bed, "no/../f", ",\"content\":\"x\",\"createParents\":true"),
              "goes through a folder that does not exist");
    bed_write(bed_path(&bed, "file"), "x");
    run_fails(&bed, HANDLER_PREPARE,
              params_of(&bed, "file/d/f", ",\"content\":\"x\",\"createParents\":true"),
              "Not a directory");
    bed_close(&bed);
}

/* ---- backup ------------------------------------------------------------------------------ */

static void what_was_there_is_left_beside_it_until_it_is_undone(void **state)
{
    (void)state;
    struct bed bed;
    struct stat st;
    bed_open(&bed);
    tree_make(bed_path(&bed, "t"));
    char *before = tree_text(bed_path(&bed, "t"), false);
    const char *params = params_of(&bed, "t/text", ",\"content\":\"new\",\"backup\":\"text.old\"");
    run_ok(&bed, HANDLER_CHECK, params);
    assert_non_null(strstr(bed.result.message, "keeps what is there as text.old"));
    run_ok(&bed, HANDLER_PREPARE, params);
    assert_false(is_there(&bed, "t/text.old"));
    run_ok(&bed, HANDLER_EXECUTE, params);
    assert_text(&bed, "t/text", "new");
    assert_text(&bed, "t/text.old", "a text\n");
    assert_int_equal(stat(bed_path(&bed, "t/text.old"), &st), 0);
    assert_int_equal(st.st_mode & 07777, 04751);
    assert_int_equal(st.st_uid, 1234);
    /* A retry has the file of the first attempt before it, and leaves the backup. */
    run_ok(&bed, HANDLER_EXECUTE, params);
    assert_text(&bed, "t/text.old", "a text\n");
    run_ok(&bed, HANDLER_ROLLBACK, params);
    assert_tree(bed_path(&bed, "t"), false, before);
    bed_close(&bed);
}

static void a_backup_of_an_earlier_time_comes_back_too(void **state)
{
    (void)state;
    struct bed bed;
    bed_open(&bed);
    assert_int_equal(mkdir(bed_path(&bed, "t"), 0755), 0);
    bed_write(bed_path(&bed, "t/f"), "second");
    bed_write(bed_path(&bed, "t/f.old"), "first");
    char *before = tree_text(bed_path(&bed, "t"), false);
    const char *params = params_of(&bed, "t/f", ",\"content\":\"third\",\"backup\":\"f.old\"");
    run_ok(&bed, HANDLER_PREPARE, params);
    run_ok(&bed, HANDLER_EXECUTE, params);
    assert_text(&bed, "t/f.old", "second");
    run_ok(&bed, HANDLER_ROLLBACK, params);
    assert_tree(bed_path(&bed, "t"), false, before);
    bed_close(&bed);
}

static void a_conflict_at_the_backup_leaves_all_as_it_is(void **state)
{
    (void)state;
    struct bed bed;
    bed_open(&bed);
    bed_write(bed_path(&bed, "f"), "before");
    const char *params = params_of(&bed, "f", ",\"content\":\"new\",\"backup\":\"f.old\"");
    run_ok(&bed, HANDLER_PREPARE, params);
    run_ok(&bed, HANDLER_EXECUTE, params);
    bed_write(bed_path(&bed, "f.old"), "theirs");
    run_fails(&bed, HANDLER_ROLLBACK, params, "/f.old has 6 bytes");
    assert_true(bed.result.conflict);
    assert_text(&bed, "f", "new");
    assert_text(&bed, "f.old", "theirs");
    bed_close(&bed);
}

static void a_new_file_leaves_no_backup(void **state)
{
    (void)state;
    struct bed bed;
    bed_open(&bed);
    const char *params = params_of(&bed, "f", ",\"content\":\"new\",\"backup\":\"f.old\"");
    run_ok(&bed, HANDLER_PREPARE, params);
    run_ok(&bed, HANDLER_EXECUTE, params);
    assert_false(is_there(&bed, "f.old"));
    run_ok(&bed, HANDLER_ROLLBACK, params);
    assert_false(is_there(&bed, "f"));
    bed_close(&bed);
}

/* ---- validate ---------------------------------------------------------------------------- */

static void a_file_that_is_right_takes_its_place(void **state)
{
    (void)state;
    struct bed bed;
    bed_open(&bed);
    bed_write(bed_path(&bed, "f"), "old");
    assert_int_equal(chmod(bed_path(&bed, "f"), 0640), 0);
    /* It is run on a file beside it, which has all that the new one is to have. */
    const char *params = params_of(
        &bed, "f",
        ",\"content\":\"right\",\"validate\":[\"sh\",\"-c\",\"grep -q right %s && stat -c "
        "'mode %a' %s && cat $(dirname %s)/f\"]");
    run_ok(&bed, HANDLER_PREPARE, params);
    run_ok(&bed, HANDLER_EXECUTE, params);
    assert_true(bed.result.changed);
    assert_string_equal(bed.output.data, "mode 640\nold");
    assert_text(&bed, "f", "right");
    run_ok(&bed, HANDLER_EXECUTE, params);
    assert_false(bed.result.changed);
    assert_int_equal(bed.output.len, 0);
    run_ok(&bed, HANDLER_ROLLBACK, params);
    assert_text(&bed, "f", "old");
    bed_close(&bed);
}

static void a_file_that_is_wrong_leaves_the_old_one(void **state)
{
    (void)state;
    struct bed bed;
    bed_open(&bed);
    assert_int_equal(mkdir(bed_path(&bed, "t"), 0755), 0);
    bed_write(bed_path(&bed, "t/f"), "old");
    char *before = tree_text(bed_path(&bed, "t"), false);
    /* Without %s the path comes last. */
    const char *params =
        params_of(&bed, "t/f",
                  ",\"content\":\"wrong\",\"backup\":\"f.old\",\"validate\":[\"sh\","
                  "\"-c\",\"echo line 1: $(cat $0); exit 3\"]");
    run_ok(&bed, HANDLER_PREPARE, params);
    run_fails(&bed, HANDLER_EXECUTE, params, "/t/f stays as it is: sh: exit status 3");
    assert_false(bed.result.retryable);
    assert_int_equal(bed.result.exit_code, 3);
    assert_string_equal(bed.output.data, "line 1: wrong\n");
    assert_tree(bed_path(&bed, "t"), false, before);
    before = tree_text(bed_path(&bed, "t"), false);
    params = params_of(&bed, "t/f", ",\"content\":\"x\",\"validate\":[\"/no/such/program\"]");
    run_fails(&bed, HANDLER_EXECUTE, params, "validate: /no/such/program: no such program");
    assert_tree(bed_path(&bed, "t"), false, before);
    bed_close(&bed);
}

static void a_validation_can_be_cut_off(void **state)
{
    (void)state;
    struct bed bed;
    bed_open(&bed);
    assert_int_equal(mkdir(bed_path(&bed, "t"), 0755), 0);
    bed_write(bed_path(&bed, "t/f"), "old");
    char *before = tree_text(bed_path(&bed, "t"), false);
    const char *params = params_of(
        &bed, "t/f",
        ",\"content\":\"x\",\"validate\":[\"sh\",\"-c\",\"echo begun; sleep 1000\",\"sh\"]");
    run_ok(&bed, HANDLER_PREPARE, params);
    bed.cancel_at = "begun";
    bed_run(&bed, "file_write", HANDLER_EXECUTE, params);
    assert_int_equal(bed.result.outcome, HANDLER_CANCELLED);
    assert_tree(bed_path(&bed, "t"), false, before);
    before = tree_text(bed_path(&bed, "t"), false);
    bed.cancel_at = "";
    bed_run(&bed, "file_write", HANDLER_EXECUTE, params);
    assert_int_equal(bed.result.outcome, HANDLER_CANCELLED);
    assert_tree(bed_path(&bed, "t"), false, before);
    bed_close(&bed);
}

/* ---- Names ------------------------------------------------------------------------------- */

static void a_file_of_two_names_is_one_of_them_again(void **state)
{
    (void)state;
    struct bed bed;
    struct stat one, other;
    bed_open(&bed);
    bed_write(bed_path(&bed, "f"), "shared");
    assert_int_equal(link(bed_path(&bed, "f"), bed_path(&bed, "g")), 0);
    const char *params = params_of(&bed, "f", ",\"content\":\"new\",\"backup\":\"f.old\"");
    run_ok(&bed, HANDLER_PREPARE, params);
    run_ok(&bed, HANDLER_EXECUTE, params);
    assert_text(&bed, "g", "shared");
    /* The backup is a file of its own: what is written to one of them is not in the other. */
    assert_int_equal(stat(bed_path(&bed, "f.old"), &one), 0);
    assert_int_equal(stat(bed_path(&bed, "g"), &other), 0);
    assert_true(one.st_ino != other.st_ino);
    run_ok(&bed, HANDLER_ROLLBACK, params);
    assert_int_equal(stat(bed_path(&bed, "f"), &one), 0);
    assert_int_equal(one.st_ino, other.st_ino);
    bed_close(&bed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_of_any_kind_are_written_and_taken_back),
        cmocka_unit_test(folders_are_made_for_it_and_gone_again),
        cmocka_unit_test(a_folder_that_was_there_stays),
        cmocka_unit_test(a_way_through_what_does_not_exist_is_refused),
        cmocka_unit_test(what_was_there_is_left_beside_it_until_it_is_undone),
        cmocka_unit_test(a_backup_of_an_earlier_time_comes_back_too),
        cmocka_unit_test(a_conflict_at_the_backup_leaves_all_as_it_is),
        cmocka_unit_test(a_new_file_leaves_no_backup),
        cmocka_unit_test(a_file_that_is_right_takes_its_place),
        cmocka_unit_test(a_file_that_is_wrong_leaves_the_old_one),
        cmocka_unit_test(a_validation_can_be_cut_off),
        cmocka_unit_test(a_file_of_two_names_is_one_of_them_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
