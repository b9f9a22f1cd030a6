#include "handlers/file_node.h"
#include "unit/handlers/support_run.h"
#include "unit/handlers/support_tree.h"

#include "common/base/alloc.h"
#include "common/base/cleanup.h"

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
    (void)snprintf(text, sizeof(text), "{\"path\":\"%s/%s\",\"target\":\"releases/2\"%s}", bed->dir,
                   name, more);
    return text;
}

static void run_ok(struct bed *bed, enum handler_operation operation, const char *params)
{
    bed_run(bed, "symlink", operation, params);
    if (bed->result.outcome != HANDLER_OK)
        fail_msg("%s", bed->result.message);
}

static void run_fails(struct bed *bed, enum handler_operation operation, const char *params,
                      const char *text)
{
    bed_run(bed, "symlink", operation, params);
    assert_int_equal(bed->result.outcome, HANDLER_FAILED);
    if (!strstr(bed->result.message, text))
        fail_msg("\"%s\" is not in \"%s\"", text, bed->result.message);
}

static void assert_leads(const struct bed *bed, const char *name, const char *target)
{
    char text[PATH_MAX] = "";
    ssize_t len = readlink(bed_path(bed, name), text, sizeof(text) - 1);
    if (!target)
        assert_int_equal(len, -1);
    else
        assert_string_equal(text, target);
}

static void a_new_link_is_made_and_gone_again(void **state)
{
    (void)state;
    struct bed bed;
    struct stat st;
    bed_open(&bed);
    const char *params = params_of(&bed, "app/current", ",\"createParents\":true");
    run_ok(&bed, HANDLER_CHECK, params);
    assert_true(bed.result.changed);
    assert_non_null(strstr(bed.result.message, "there is nothing"));
    run_ok(&bed, HANDLER_PREPARE, params);
    run_ok(&bed, HANDLER_EXECUTE, params);
    assert_true(bed.result.changed);
    assert_leads(&bed, "app/current", "releases/2");
    run_ok(&bed, HANDLER_CHECK, params);
    assert_false(bed.result.changed);
    run_ok(&bed, HANDLER_EXECUTE, params);
    assert_false(bed.result.changed);
    run_ok(&bed, HANDLER_ROLLBACK, params);
    assert_int_equal(lstat(bed_path(&bed, "app"), &st), -1);
    bed_close(&bed);
}

static void a_link_and_a_file_that_were_there_come_back(void **state)
{
    (void)state;
    struct bed bed;
    bed_open(&bed);
    tree_make(bed_path(&bed, "t"));
    char *before = tree_text(bed_path(&bed, "t"), false);
    const char *params = params_of(&bed, "t/sub/link", "");
    run_ok(&bed, HANDLER_CHECK, params);
    assert_non_null(strstr(bed.result.message, "there is a symbolic link to ../text"));
    run_ok(&bed, HANDLER_PREPARE, params);
    run_ok(&bed, HANDLER_EXECUTE, params);
    assert_leads(&bed, "t/sub/link", "releases/2");
    run_ok(&bed, HANDLER_ROLLBACK, params);
    assert_tree(bed_path(&bed, "t"), false, before);

    before = tree_text(bed_path(&bed, "t"), false);
    run_fails(&bed, HANDLER_PREPARE, params_of(&bed, "t/text", ""),
              "is a file; set force to replace it");
    params = params_of(&bed, "t/text", ",\"force\":true");
    run_ok(&bed, HANDLER_PREPARE, params);
    run_ok(&bed, HANDLER_EXECUTE, params);
    assert_leads(&bed, "t/text", "releases/2");
    run_ok(&bed, HANDLER_ROLLBACK, params);
    assert_tree(bed_path(&bed, "t"), false, before);
    bed_close(&bed);
}

static void a_link_that_was_led_elsewhere_since_is_a_conflict(void **state)
{
    (void)state;
    struct bed bed;
    bed_open(&bed);
    const char *params = params_of(&bed, "l", "");
    assert_int_equal(symlink("releases/1", bed_path(&bed, "l")), 0);
    run_ok(&bed, HANDLER_PREPARE, params);
    run_ok(&bed, HANDLER_EXECUTE, params);
    assert_int_equal(unlink(bed_path(&bed, "l")), 0);
    assert_int_equal(symlink("releases/3", bed_path(&bed, "l")), 0);
    run_fails(&bed, HANDLER_ROLLBACK, params,
              "/l is a symbolic link to releases/3, expected were a symbolic link to releases/2 as "
              "this step left it, or a symbolic link to releases/1 as it was before");
    assert_true(bed.result.conflict);
    assert_leads(&bed, "l", "releases/3");
    bed.force = true;
    run_ok(&bed, HANDLER_ROLLBACK, params);
    assert_leads(&bed, "l", "releases/1");
    bed_close(&bed);
}

static void a_folder_is_never_replaced(void **state)
{
    (void)state;
    struct bed bed;
    bed_open(&bed);
    assert_int_equal(mkdir(bed_path(&bed, "d"), 0755), 0);
    run_fails(&bed, HANDLER_PREPARE, params_of(&bed, "d", ",\"force\":true"), "/d is a folder");
    run_fails(&bed, HANDLER_CHECK, params_of(&bed, "d", ",\"force\":true"), "/d is a folder");
    run_fails(&bed, HANDLER_PREPARE, params_of(&bed, "no/l", ""), "does not exist");
    bed_close(&bed);
}

/* The name beside it under which the link is made. */
static const char *temp_of(const struct bed *bed, const char *name)
{
    struct file_place place = FILE_PLACE_INIT;
    const struct handler_run run = {.host = &bed->host, .rollout = "rollout-1", .step = bed->step};
    char temp[NAME_MAX + 1];
    (void)snprintf(place.name, sizeof(place.name), "%s", name);
    file_temp_name(&run, &place, temp);
    return bed_path(bed, temp);
}

static void what_a_crash_left_beside_it_is_removed(void **state)
{
    (void)state;
    struct bed bed;
    struct stat st;
    bed_open(&bed);
    const char *params = params_of(&bed, "l", "");
    run_ok(&bed, HANDLER_PREPARE, params);
    assert_int_equal(symlink("half", temp_of(&bed, "l")), 0);
    run_ok(&bed, HANDLER_EXECUTE, params);
    assert_leads(&bed, "l", "releases/2");
    assert_int_equal(lstat(temp_of(&bed, "l"), &st), -1);
    assert_int_equal(symlink("half", temp_of(&bed, "l")), 0);
    run_ok(&bed, HANDLER_ROLLBACK, params);
    assert_int_equal(lstat(bed_path(&bed, "l"), &st), -1);
    assert_int_equal(lstat(temp_of(&bed, "l"), &st), -1);
    bed_close(&bed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_new_link_is_made_and_gone_again),
        cmocka_unit_test(a_link_and_a_file_that_were_there_come_back),
        cmocka_unit_test(a_link_that_was_led_elsewhere_since_is_a_conflict),
        cmocka_unit_test(a_folder_is_never_replaced),
        cmocka_unit_test(what_a_crash_left_beside_it_is_removed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
