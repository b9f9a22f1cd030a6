/* What the package handlers keep for the way back, and what becomes of it. */
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

/* ---- The way back ------------------------------------------------------------------------ */

static void an_undo_needs_no_repository(void **state)
{
    struct bed bed;
    yum_open_with_repo(&bed, *state);
    AUTO_FREE char *before = yum_snapshot(&bed);
    run_ok(&bed, UPGRADE, HANDLER_PREPARE, "{\"package\":\"kitsune-suite\"}");
    run_ok(&bed, UPGRADE, HANDLER_EXECUTE, "{\"package\":\"kitsune-suite\"}");
    assert_installed(&bed, "kitsune-suite-common", "2.0-1");
    bed_remove_tree(bed_path(&bed, "repo"));
    run_ok(&bed, UPGRADE, HANDLER_ROLLBACK, "{\"package\":\"kitsune-suite\"}");
    AUTO_FREE char *undone = yum_snapshot(&bed);
    assert_string_equal(undone, before);
    yum_close(&bed);
}

static void what_could_not_be_undone_is_refused_before_anything_changes(void **state)
{
    struct bed bed;
    yum_open_with_repo(&bed, *state);
    yum_repo_prune(&bed, "kitsune-demo-1.0-1.noarch.rpm");
    run_yum(&bed, UPGRADE, HANDLER_PREPARE, DEMO("2.0-1"));
    assert_int_equal(bed.result.outcome, HANDLER_FAILED);
    assert_false(bed.result.retryable);
    assert_message(&bed, "kitsune-demo 1.0-1 is in no repository any more");
    assert_message(&bed, "nothing was changed");
    assert_installed(&bed, "kitsune-demo", "1.0-1");
    run_yum(&bed, UPGRADE, HANDLER_CHECK, DEMO("2.0-1"));
    assert_int_equal(bed.result.outcome, HANDLER_FAILED);
    assert_message(&bed, "could not be undone");
    yum_close(&bed);
}

static void it_goes_on_without_a_way_back_only_where_that_is_allowed(void **state)
{
    static const char params[] =
        "{\"package\":\"kitsune-demo\",\"version\":\"2.0\",\"requireUndo\":false}";
    struct bed bed;
    yum_open_with_repo(&bed, *state);
    yum_repo_prune(&bed, "kitsune-demo-1.0-1.noarch.rpm");
    run_ok(&bed, UPGRADE, HANDLER_CHECK, params);
    assert_true(bed.result.changed);
    assert_message(&bed, "cannot be undone (kitsune-demo 1.0-1 is in no repository any more)");
    run_ok(&bed, UPGRADE, HANDLER_PREPARE, params);
    assert_non_null(strstr(bed.output.data, "cannot be undone: kitsune-demo 1.0-1"));
    run_ok(&bed, UPGRADE, HANDLER_EXECUTE, params);
    assert_installed(&bed, "kitsune-demo", "2.0-1");
    run_yum(&bed, UPGRADE, HANDLER_ROLLBACK, params);
    assert_int_equal(bed.result.outcome, HANDLER_FAILED);
    assert_false(bed.result.retryable);
    assert_message(&bed, "cannot be undone: kitsune-demo 1.0-1");
    assert_installed(&bed, "kitsune-demo", "2.0-1");
    yum_close(&bed);
}

static void a_package_in_dnfs_cache_is_kept_too(void **state)
{
    const struct yum_fixture *f = *state;
    struct bed bed;
    char package[PATH_MAX];
    yum_open_with_repo(&bed, f);
    yum_repo_prune(&bed, "kitsune-demo-1.0-1.noarch.rpm");
    const char *cache = bed_path(&bed, "root/var/cache/dnf/kitsune-0123456789abcdef/packages");
    (void)snprintf(package, sizeof(package), "%s/kitsune-demo-1.0-1.noarch.rpm", f->repo);
    run_program((const char *const[]){"mkdir", "-p", cache, NULL});
    run_program((const char *const[]){"cp", package, cache, NULL});
    run_ok(&bed, UPGRADE, HANDLER_PREPARE, DEMO("2.0-1"));
    run_ok(&bed, UPGRADE, HANDLER_EXECUTE, DEMO("2.0-1"));
    run_ok(&bed, UPGRADE, HANDLER_ROLLBACK, DEMO("2.0-1"));
    assert_installed(&bed, "kitsune-demo", "1.0-1");
    yum_close(&bed);
}

static void what_does_not_fit_into_the_undo_store_is_not_begun(void **state)
{
    struct bed bed;
    yum_open(&bed, *state);
    bed.room.max_bytes = 1024;
    run_yum(&bed, UPGRADE, HANDLER_PREPARE, DEMO("2.0-1"));
    assert_int_equal(bed.result.outcome, HANDLER_FAILED);
    assert_true(bed.result.no_room);
    assert_int_equal(access(bed_path(&bed, "undo/kitsune-demo-1.0-1.noarch.rpm"), F_OK), -1);
    yum_close(&bed);
}

static void a_package_removed_since_is_installed_again_by_the_undo(void **state)
{
    struct bed bed;
    char option[PATH_MAX];
    yum_open(&bed, *state);
    run_ok(&bed, UPGRADE, HANDLER_PREPARE, DEMO("1.1-1"));
    (void)snprintf(option, sizeof(option), "--installroot=%s", bed.host.installroot);
    run_program((const char *const[]){"dnf", "-y", "-q", option, "remove", "kitsune-demo", NULL});
    assert_installed(&bed, "kitsune-demo", "");
    run_ok(&bed, UPGRADE, HANDLER_ROLLBACK, DEMO("1.1-1"));
    assert_installed(&bed, "kitsune-demo", "1.0-1");
    yum_close(&bed);
}

static void a_version_that_somebody_else_installed_since_stays_unless_forced(void **state)
{
    struct bed bed;
    char option[PATH_MAX];
    yum_open(&bed, *state);
    run_ok(&bed, UPGRADE, HANDLER_PREPARE, DEMO("1.1-1"));
    run_ok(&bed, UPGRADE, HANDLER_EXECUTE, DEMO("1.1-1"));
    (void)snprintf(option, sizeof(option), "--installroot=%s", bed.host.installroot);
    run_program(
        (const char *const[]){"dnf", "-y", "-q", option, "upgrade", "kitsune-demo-2.0-1", NULL});
    run_yum(&bed, UPGRADE, HANDLER_ROLLBACK, DEMO("1.1-1"));
    assert_int_equal(bed.result.outcome, HANDLER_FAILED);
    assert_true(bed.result.conflict);
    assert_false(bed.result.retryable);
    assert_message(&bed, "kitsune-demo is at 2.0-1, and this step was about kitsune-demo 1.0-1 -> "
                         "1.1-1; it stays as it is (`kitsune rollback rollout-1 ");
    assert_installed(&bed, "kitsune-demo", "2.0-1");
    bed.force = true;
    run_ok(&bed, UPGRADE, HANDLER_ROLLBACK, DEMO("1.1-1"));
    assert_false(bed.result.conflict);
    assert_installed(&bed, "kitsune-demo", "1.0-1");
    yum_close(&bed);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_undo_needs_no_repository),
        cmocka_unit_test(what_could_not_be_undone_is_refused_before_anything_changes),
        cmocka_unit_test(it_goes_on_without_a_way_back_only_where_that_is_allowed),
        cmocka_unit_test(a_package_in_dnfs_cache_is_kept_too),
        cmocka_unit_test(what_does_not_fit_into_the_undo_store_is_not_begun),
        cmocka_unit_test(a_package_removed_since_is_installed_again_by_the_undo),
        cmocka_unit_test(a_version_that_somebody_else_installed_since_stays_unless_forced),
    };
    return YUM_MAIN(argc, argv, tests);
}
