#include "handlers/tree.h"
#include "unit/handlers/support_run.h"
#include "unit/handlers/support_tree.h"

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

static int folder_of(const struct bed *bed)
{
    int fd = open(bed->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(fd >= 0);
    return fd;
}

static struct tree_sum sum_of(const struct bed *bed, const char *except)
{
    struct tree_sum sum = {0};
    struct error err = {0};
    AUTO_CLOSE int fd = folder_of(bed);
    if (tree_sum(fd, "t", except, NULL, &sum, &err) != ERR_OK)
        fail_msg("%s", err.message);
    return sum;
}

/* The sum is another than it was, which becomes *sum. */
static void assert_other(const struct bed *bed, uint64_t *sum)
{
    uint64_t now = sum_of(bed, NULL).sum;
    assert_int_not_equal(now, *sum);
    *sum = now;
}

static void each_change_changes_the_sum(void **state)
{
    (void)state;
    struct bed bed;
    const struct timespec times[2] = {{.tv_sec = 5}, {.tv_sec = 1234567890, .tv_nsec = 123456790}};
    bed_open(&bed);
    tree_make(bed_path(&bed, "t"));
    struct tree_sum first = sum_of(&bed, NULL);
    assert_int_equal(first.entries, 6);
    assert_int_equal(first.bytes, 20);
    uint64_t sum = first.sum;
    assert_int_equal(sum_of(&bed, NULL).sum, sum);
    assert_int_equal(chmod(bed_path(&bed, "t/text"), 0600), 0);
    assert_other(&bed, &sum);
    assert_int_equal(utimensat(AT_FDCWD, bed_path(&bed, "t/text"), times, 0), 0);
    assert_other(&bed, &sum);
    assert_int_equal(truncate(bed_path(&bed, "t/text"), 3), 0);
    assert_int_equal(utimensat(AT_FDCWD, bed_path(&bed, "t/text"), times, 0), 0);
    assert_other(&bed, &sum);
    assert_int_equal(rename(bed_path(&bed, "t/text"), bed_path(&bed, "t/sub/text")), 0);
    assert_other(&bed, &sum);
    assert_int_equal(unlink(bed_path(&bed, "t/sub/link")), 0);
    assert_other(&bed, &sum);
    assert_int_equal(symlink("a", bed_path(&bed, "t/l")), 0);
    assert_other(&bed, &sum);
    assert_int_equal(unlink(bed_path(&bed, "t/l")), 0);
    assert_int_equal(symlink("b", bed_path(&bed, "t/l")), 0);
    assert_other(&bed, &sum);
    assert_int_equal(mkdir(bed_path(&bed, "t/new"), 0755), 0);
    assert_other(&bed, &sum);
    if (geteuid() == 0) {
        assert_int_equal(lchown(bed_path(&bed, "t/l"), 7, 8), 0);
        assert_other(&bed, &sum);
    }
    bed_close(&bed);
}

static void the_folder_itself_and_an_exception_are_left_out(void **state)
{
    (void)state;
    struct bed bed;
    bed_open(&bed);
    tree_make(bed_path(&bed, "t"));
    uint64_t sum = sum_of(&bed, "mine").sum;
    bed_write(bed_path(&bed, "t/mine"), "x");
    assert_int_equal(chmod(bed_path(&bed, "t"), 0700), 0);
    assert_int_equal(sum_of(&bed, "mine").sum, sum);
    assert_int_not_equal(sum_of(&bed, NULL).sum, sum);
    bed_write(bed_path(&bed, "t/sub/mine"), "x");
    assert_int_not_equal(sum_of(&bed, "mine").sum, sum);
    bed_close(&bed);
}

static void what_a_link_leads_to_is_not_removed(void **state)
{
    (void)state;
    struct bed bed;
    struct error err = {0};
    bed_open(&bed);
    tree_make(bed_path(&bed, "t"));
    tree_make(bed_path(&bed, "outside"));
    char *before = tree_text(bed_path(&bed, "outside"), true);
    assert_int_equal(symlink("../outside", bed_path(&bed, "t/away")), 0);
    assert_int_equal(symlink("outside", bed_path(&bed, "link")), 0);
    assert_int_equal(chmod(bed_path(&bed, "t/sub"), 0500), 0);
    AUTO_CLOSE int fd = folder_of(&bed);
    assert_int_equal(tree_remove(fd, "link", NULL, &err), ERR_INVALID);
    assert_int_equal(tree_remove(fd, "t", NULL, &err), ERR_OK);
    assert_int_equal(access(bed_path(&bed, "t"), F_OK), -1);
    assert_int_equal(tree_remove(fd, "t", NULL, &err), ERR_OK);
    assert_tree(bed_path(&bed, "outside"), true, before);
    bed_close(&bed);
}

static void what_is_too_deep_or_cancelled_is_an_error(void **state)
{
    (void)state;
    struct bed bed;
    struct error err = {0};
    struct tree_sum sum = {0};
    atomic_bool cancelled = true;
    char path[PATH_MAX / 2];
    bed_open(&bed);
    tree_make(bed_path(&bed, "t"));
    AUTO_CLOSE int fd = folder_of(&bed);
    assert_int_equal(tree_sum(fd, "t", NULL, &cancelled, &sum, &err), ERR_CANCELLED);
    assert_int_equal(tree_remove(fd, "t", &cancelled, &err), ERR_CANCELLED);
    (void)snprintf(path, sizeof(path), "t");
    for (int i = 0; i < TREE_DEPTH_MAX; i++) {
        memcpy(path + strlen(path), "/d", 3);
        assert_int_equal(mkdir(bed_path(&bed, path), 0755), 0);
    }
    assert_int_equal(tree_sum(fd, "t", NULL, NULL, &sum, &err), ERR_LIMIT);
    bed_close(&bed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_change_changes_the_sum),
        cmocka_unit_test(the_folder_itself_and_an_exception_are_left_out),
        cmocka_unit_test(what_a_link_leads_to_is_not_removed),
        cmocka_unit_test(what_is_too_deep_or_cancelled_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
