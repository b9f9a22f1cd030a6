#include "agent/facts.h"
#include "agent/reboot_marks.h"
#include "common/base/cleanup.h"
#include "unit/agent/support_folder.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

DEFINE_CLEANUP(value_set_free, struct value_set)

static struct folder folder;
static struct reboot_marks marks;

static int setup(void **state)
{
    (void)state;
    folder_make(&folder);
    marks = (struct reboot_marks){folder.path, folder.path, "boot-1"};
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    folder_remove(&folder);
    return 0;
}

/* "1: " or "0: ", and the reasons. */
static const char *got(void)
{
    static char text[256];
    AUTO_BUF struct buf lines = BUF_INIT;
    bool needed = reboot_marks_get(&marks, &lines);
    (void)snprintf(text, sizeof(text), "%d: %s", needed, lines.data ? lines.data : "");
    return text;
}

static void keep(const char *what)
{
    struct error err = {0};
    if (reboot_marks_add(&marks, what, &err) != ERR_OK)
        fail_msg("%s", err.message);
}

static void a_mark_counts_until_the_next_boot(void **state)
{
    (void)state;
    assert_string_equal(got(), "0: ");
    keep("glibc");
    keep("kernel");
    keep("glibc");
    assert_string_equal(got(), "1: glibc\nkernel\n");
    marks.boot_id = "boot-10";
    assert_string_equal(got(), "0: ");
    keep("dbus");
    assert_string_equal(got(), "1: dbus\n");
}

static void where_the_boot_is_not_known_nothing_is_kept(void **state)
{
    struct error err = {0};
    (void)state;
    keep("glibc");
    marks.boot_id = "";
    assert_string_equal(got(), "0: ");
    assert_int_equal(reboot_marks_add(&marks, "kernel", &err), ERR_UNAVAILABLE);
}

static void a_name_that_is_no_line_is_refused(void **state)
{
    struct error err = {0};
    (void)state;
    assert_int_equal(reboot_marks_add(&marks, "a\nb", &err), ERR_INVALID);
    assert_string_equal(got(), "0: ");
}

static void a_file_that_is_damaged_says_nothing(void **state)
{
    (void)state;
    file_fill(folder_path(&folder, "reboot-required"), "boot-1");
    assert_string_equal(got(), "0: ");
    keep("glibc");
    assert_string_equal(got(), "1: glibc\n");
}

static void what_others_mark_counts_too(void **state)
{
    (void)state;
    assert_int_equal(mkdir(folder_path(&folder, "run"), 0700), 0);
    file_fill(folder_path(&folder, "run/reboot-required"), "*** System restart required ***\n");
    assert_string_equal(got(), "1: ");
    file_fill(folder_path(&folder, "run/reboot-required.pkgs"), "libssl3");
    keep("glibc");
    assert_string_equal(got(), "1: glibc\nlibssl3\n");
}

static void they_become_facts(void **state)
{
    AUTO(value_set_free) struct value_set *set = NULL;
    struct value v;
    (void)state;
    assert_int_equal(value_set_new(&set, NULL), ERR_OK);
    assert_int_equal(facts_collect_reboot(&marks, set, NULL), ERR_OK);
    assert_true(value_set_find(set, "rebootRequired", &v));
    assert_int_equal(v.kind, VALUE_BOOL);
    assert_false(v.yes);
    assert_false(value_set_find(set, "rebootReasons", &v));
    keep("glibc");
    keep("kernel-core");
    assert_int_equal(facts_collect_reboot(&marks, set, NULL), ERR_OK);
    assert_true(value_set_find(set, "rebootRequired", &v) && v.yes);
    assert_true(value_set_find(set, "rebootReasons", &v));
    assert_int_equal(v.count, 2);
    assert_string_equal(v.items[1].text, "kernel-core");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_mark_counts_until_the_next_boot), TEST(where_the_boot_is_not_known_nothing_is_kept),
        TEST(a_name_that_is_no_line_is_refused), TEST(a_file_that_is_damaged_says_nothing),
        TEST(what_others_mark_counts_too),       TEST(they_become_facts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
