#include "common/base/alloc.h"
#include "common/base/cleanup.h"
#include "handlers/rpm_tool.h"
#include "unit/handlers/support_yum.h"

#include <fcntl.h>
#include <rpm/rpmmacro.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* Before, after, and after the undo: the packages, and every file of them. */
static void assert_undone_exactly(void **state, const char *type, const char *params)
{
    struct bed bed;
    yum_open(&bed, *state);
    AUTO_FREE char *before = yum_snapshot(&bed);
    run_ok(&bed, type, HANDLER_PREPARE, params);
    AUTO_FREE char *prepared = yum_snapshot(&bed);
    assert_string_equal(prepared, before);
    run_ok(&bed, type, HANDLER_EXECUTE, params);
    assert_true(bed.result.changed);
    AUTO_FREE char *after = yum_snapshot(&bed);
    assert_string_not_equal(after, before);
    run_ok(&bed, type, HANDLER_EXECUTE, params);
    assert_false(bed.result.changed);
    run_ok(&bed, type, HANDLER_ROLLBACK, params);
    assert_true(bed.result.changed);
    AUTO_FREE char *undone = yum_snapshot(&bed);
    assert_string_equal(undone, before);
    run_ok(&bed, type, HANDLER_ROLLBACK, params);
    assert_false(bed.result.changed);
    yum_close(&bed);
}

static void an_upgrade_is_made_and_undone(void **state)
{
    struct bed bed;
    yum_open(&bed, *state);
    run_ok(&bed, UPGRADE, HANDLER_PREPARE, GLIBC);
    assert_installed(&bed, "glibc", GLIBC_OLD);
    run_ok(&bed, UPGRADE, HANDLER_EXECUTE, GLIBC);
    assert_true(bed.result.changed);
    assert_string_equal(bed.result.message,
                        "glibc " GLIBC_OLD " -> " GLIBC_NEW "; reboot required: glibc");
    assert_installed(&bed, "glibc", GLIBC_NEW);
    char *text = bed_read(bed_path(&bed, "root/usr/share/doc/glibc/version"));
    assert_string_equal(text, GLIBC_NEW "\n");
    mem_free(text);
    run_ok(&bed, UPGRADE, HANDLER_EXECUTE, GLIBC);
    assert_false(bed.result.changed);
    run_ok(&bed, UPGRADE, HANDLER_ROLLBACK, GLIBC);
    assert_string_equal(bed.result.message, "as before: undone glibc " GLIBC_OLD " -> " GLIBC_NEW);
    assert_installed(&bed, "glibc", GLIBC_OLD);
    yum_close(&bed);
}

static void packages_are_undone_to_the_byte(void **state)
{
    assert_undone_exactly(state, UPGRADE, "{\"package\":\"kitsune-big\"}");
}

static void what_came_along_and_what_was_replaced_is_undone_too(void **state)
{
    assert_undone_exactly(state, UPGRADE, "{\"package\":\"kitsune-grown\"}");
}

static void an_install_is_made_and_undone(void **state)
{
    assert_undone_exactly(state, "yum_install", "{\"package\":[\"kitsune-fresh\",\"glibc\"]}");
}

static void a_removal_is_made_and_undone(void **state)
{
    assert_undone_exactly(state, "yum_remove", "{\"package\":\"kitsune-big\"}");
}

static void packages_in_a_list_are_brought_to_the_latest_and_back(void **state)
{
    assert_undone_exactly(state, UPGRADE, "{\"package\":[\"kitsune-suite\",\"kitsune-demo\"]}");
}

static void a_downgrade_is_made_and_undone(void **state)
{
    struct bed bed;
    yum_open(&bed, *state);
    run_ok(&bed, UPGRADE, HANDLER_PREPARE, DEMO("2.0-1"));
    run_ok(&bed, UPGRADE, HANDLER_EXECUTE, DEMO("2.0-1"));
    assert_installed(&bed, "kitsune-demo", "2.0-1");
    run_ok(&bed, UPGRADE, HANDLER_PREPARE, DEMO("1.1"));
    run_ok(&bed, UPGRADE, HANDLER_EXECUTE, DEMO("1.1"));
    assert_installed(&bed, "kitsune-demo", "1.1-1");
    run_ok(&bed, UPGRADE, HANDLER_ROLLBACK, DEMO("1.1"));
    assert_installed(&bed, "kitsune-demo", "2.0-1");
    yum_close(&bed);
}

static void an_architecture_can_be_named(void **state)
{
    static const char good[] = "{\"package\":\"kitsune-demo.noarch\",\"version\":\"1.1-1\"}";
    static const char other[] = "{\"package\":\"kitsune-demo.s390x\",\"version\":\"1.1-1\"}";
    struct bed bed;
    yum_open(&bed, *state);
    run_ok(&bed, UPGRADE, HANDLER_PREPARE, good);
    run_ok(&bed, UPGRADE, HANDLER_EXECUTE, good);
    assert_installed(&bed, "kitsune-demo", "1.1-1");
    run_ok(&bed, UPGRADE, HANDLER_ROLLBACK, good);
    assert_installed(&bed, "kitsune-demo", "1.0-1");
    run_yum(&bed, UPGRADE, HANDLER_PREPARE, other);
    assert_int_equal(bed.result.outcome, HANDLER_FAILED);
    assert_false(bed.result.retryable);
    assert_string_equal(
        bed.result.message,
        "kitsune-demo.s390x is not installed; yum_upgrade changes installed packages only");
    yum_close(&bed);
}

static void a_higher_epoch_is_newer_whatever_the_version_says(void **state)
{
    static const char second[] = "{\"package\":\"kitsune-epoch\",\"version\":\"2:0.5-1\"}";
    static const char first[] = "{\"package\":\"kitsune-epoch\",\"version\":\"1:1.0-1\"}";
    struct bed bed;
    yum_open(&bed, *state);
    run_ok(&bed, UPGRADE, HANDLER_PREPARE, second);
    run_ok(&bed, UPGRADE, HANDLER_EXECUTE, second);
    assert_installed(&bed, "kitsune-epoch", "2:0.5-1");
    run_ok(&bed, UPGRADE, HANDLER_PREPARE, first);
    run_ok(&bed, UPGRADE, HANDLER_EXECUTE, first);
    assert_installed(&bed, "kitsune-epoch", "1:1.0-1");
    run_ok(&bed, UPGRADE, HANDLER_ROLLBACK, first);
    assert_installed(&bed, "kitsune-epoch", "2:0.5-1");
    yum_close(&bed);
}

static void a_version_installed_beside_the_old_one_is_removed_by_the_undo(void **state)
{
    static const char params[] = "{\"package\":\"kitsune-kernel\",\"version\":\"6.0-1\"}";
    struct bed bed;
    yum_open(&bed, *state);
    run_ok(&bed, UPGRADE, HANDLER_PREPARE, params);
    run_ok(&bed, UPGRADE, HANDLER_EXECUTE, params);
    assert_installed(&bed, "kitsune-kernel", "5.0-1 6.0-1");
    assert_message(&bed, "kitsune-kernel 6.0-1 (new)");
    run_ok(&bed, UPGRADE, HANDLER_ROLLBACK, params);
    assert_installed(&bed, "kitsune-kernel", "5.0-1");
    yum_close(&bed);
}

static void security_takes_only_what_an_advisory_is_about(void **state)
{
    static const char params[] = "{\"security\":true}";
    struct bed bed;
    yum_open(&bed, *state);
    run_ok(&bed, UPGRADE, HANDLER_PREPARE, params);
    run_ok(&bed, UPGRADE, HANDLER_EXECUTE, params);
    assert_string_equal(bed.result.message, "kitsune-demo 1.0-1 -> 1.1-1");
    assert_installed(&bed, "glibc", GLIBC_OLD);
    run_ok(&bed, UPGRADE, HANDLER_ROLLBACK, params);
    assert_installed(&bed, "kitsune-demo", "1.0-1");
    yum_close(&bed);
}

static void what_stands_in_the_way_goes_only_where_that_is_allowed(void **state)
{
    static const char refused[] = "{\"package\":\"kitsune-rival\"}";
    static const char allowed[] = "{\"package\":\"kitsune-rival\",\"allowErasing\":true}";
    struct bed bed;
    yum_open(&bed, *state);
    run_yum(&bed, "yum_install", HANDLER_PREPARE, refused);
    assert_int_equal(bed.result.outcome, HANDLER_FAILED);
    assert_message(&bed, "kitsune-epoch");
    yum_close(&bed);
    assert_undone_exactly(state, "yum_install", allowed);
}

static void what_needs_a_package_is_removed_only_where_that_is_allowed(void **state)
{
    static const char refused[] = "{\"package\":\"kitsune-suite-common\"}";
    static const char allowed[] = "{\"package\":\"kitsune-suite-common\",\"allowErasing\":true}";
    struct bed bed;
    yum_open(&bed, *state);
    run_yum(&bed, "yum_remove", HANDLER_PREPARE, refused);
    assert_int_equal(bed.result.outcome, HANDLER_FAILED);
    assert_message(&bed, "kitsune-suite would be removed too");
    yum_close(&bed);
    assert_undone_exactly(state, "yum_remove", allowed);
}

static void repositories_can_be_disabled_for_a_step(void **state)
{
    static const char params[] = "{\"package\":\"kitsune-demo\",\"disableRepos\":[\"kitsune\"]}";
    static const char both[] = "{\"package\":\"kitsune-demo\",\"disableRepos\":[\"*\"],"
                               "\"enableRepos\":[\"kitsune\"]}";
    struct bed bed;
    yum_open(&bed, *state);
    run_yum(&bed, UPGRADE, HANDLER_PREPARE, params);
    assert_int_equal(bed.result.outcome, HANDLER_FAILED);
    assert_message(&bed, "no enabled repositories");
    run_ok(&bed, UPGRADE, HANDLER_PREPARE, both);
    run_ok(&bed, UPGRADE, HANDLER_EXECUTE, both);
    assert_installed(&bed, "kitsune-demo", "2.0-1");
    yum_close(&bed);
}

/* ---- Check ------------------------------------------------------------------------------- */

static void a_check_tells_what_would_change_and_changes_nothing(void **state)
{
    struct bed bed;
    yum_open(&bed, *state);
    AUTO_FREE char *before = yum_snapshot(&bed);
    run_ok(&bed, UPGRADE, HANDLER_CHECK, "{\"package\":\"kitsune-grown\"}");
    assert_true(bed.result.changed);
    assert_string_equal(bed.result.message,
                        "would change kitsune-fresh 1.0-1 (new), kitsune-grown 1.0-1 -> 2.0-1, "
                        "kitsune-legacy 1.0-1 (removed)");
    assert_non_null(strstr(bed.output.data, "kitsune-legacy 1.0-1 (removed)\n"));
    run_ok(&bed, "yum_remove", HANDLER_CHECK, "{\"package\":\"kitsune-demo\"}");
    assert_string_equal(bed.result.message, "would change kitsune-demo 1.0-1 (removed)");
    AUTO_FREE char *after = yum_snapshot(&bed);
    assert_string_equal(after, before);
    yum_close(&bed);
}

static void what_dnf_cannot_resolve_fails_the_check(void **state)
{
    struct bed bed;
    yum_open(&bed, *state);
    run_yum(&bed, UPGRADE, HANDLER_CHECK, DEMO("7.0"));
    assert_int_equal(bed.result.outcome, HANDLER_FAILED);
    assert_false(bed.result.changed);
    assert_message(&bed, "upgrade: exit status 1: ");
    assert_installed(&bed, "kitsune-demo", "1.0-1");
    yum_close(&bed);
}

static void a_check_of_what_is_so_already_finds_nothing(void **state)
{
    struct bed bed;
    yum_open(&bed, *state);
    run_ok(&bed, UPGRADE, HANDLER_CHECK, DEMO("1.0-1"));
    assert_false(bed.result.changed);
    assert_string_equal(bed.result.message, "kitsune-demo is at 1.0-1 already");
    run_ok(&bed, "yum_remove", HANDLER_CHECK, "{\"package\":\"kitsune-fresh\"}");
    assert_false(bed.result.changed);
    assert_string_equal(bed.result.message, "kitsune-fresh: nothing to do");
    run_ok(&bed, "yum_install", HANDLER_CHECK, "{\"package\":\"kitsune-demo\"}");
    assert_false(bed.result.changed);
    yum_close(&bed);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_upgrade_is_made_and_undone),
        cmocka_unit_test(packages_are_undone_to_the_byte),
        cmocka_unit_test(what_came_along_and_what_was_replaced_is_undone_too),
        cmocka_unit_test(an_install_is_made_and_undone),
        cmocka_unit_test(a_removal_is_made_and_undone),
        cmocka_unit_test(packages_in_a_list_are_brought_to_the_latest_and_back),
        cmocka_unit_test(a_downgrade_is_made_and_undone),
        cmocka_unit_test(an_architecture_can_be_named),
        cmocka_unit_test(a_higher_epoch_is_newer_whatever_the_version_says),
        cmocka_unit_test(a_version_installed_beside_the_old_one_is_removed_by_the_undo),
        cmocka_unit_test(security_takes_only_what_an_advisory_is_about),
        cmocka_unit_test(what_stands_in_the_way_goes_only_where_that_is_allowed),
        cmocka_unit_test(what_needs_a_package_is_removed_only_where_that_is_allowed),
        cmocka_unit_test(repositories_can_be_disabled_for_a_step),
        cmocka_unit_test(a_check_tells_what_would_change_and_changes_nothing),
        cmocka_unit_test(what_dnf_cannot_resolve_fails_the_check),
        cmocka_unit_test(a_check_of_what_is_so_already_finds_nothing),
    };
    return YUM_MAIN(argc, argv, tests);
}
