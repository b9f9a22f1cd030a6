#include "unit/handlers/support_run.h"

#include "common/base/alloc.h"
#include "common/base/cleanup.h"
#include "handlers/rpmdb.h"

#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* Real packages in a real repository, installed below a folder: made once, copied for each test. */
struct fixture {
    char dir[64];
    char repo[80];
    char root[80]; /* the copied one */
};

static void run_program(const char *const *args)
{
    pid_t pid = 0;
    int status = 0;
    void *argv = mem_array(8, sizeof(char *));
    assert_non_null(argv);
    for (size_t i = 0; args[i]; i++) {
        assert_true(i < 7);
        ((const char **)argv)[i] = args[i];
    }
    posix_spawn_file_actions_t actions;
    assert_int_equal(posix_spawn_file_actions_init(&actions), 0);
    assert_int_equal(
        posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0), 0);
    assert_int_equal(posix_spawnp(&pid, args[0], &actions, NULL, argv, environ), 0);
    assert_int_equal(posix_spawn_file_actions_destroy(&actions), 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    mem_free(argv);
}

static int fixture_make(void **state)
{
    struct fixture *f = MEM_NEW(struct fixture);
    assert_non_null(f);
    (void)snprintf(f->dir, sizeof(f->dir), "/tmp/kitsune-rpm-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    (void)snprintf(f->repo, sizeof(f->repo), "%s/repo", f->dir);
    (void)snprintf(f->root, sizeof(f->root), "%s/root", f->dir);
    run_program((const char *const[]){KITSUNE_SOURCE_DIR "/dev/rpm-repo", f->repo, NULL});
    run_program((const char *const[]){KITSUNE_SOURCE_DIR "/dev/rpm-root", f->root, f->repo, NULL});
    *state = f;
    return 0;
}

static int fixture_remove(void **state)
{
    struct fixture *f = *state;
    bed_remove_tree(f->dir);
    mem_free(f);
    return 0;
}

static void open_with_root(struct bed *bed, const struct fixture *f)
{
    bed_open(bed);
    const char *root = bed_path(bed, "root");
    run_program((const char *const[]){"cp", "-a", f->root, root, NULL});
    bed->host.installroot = mem_strdup(root);
    assert_non_null(bed->host.installroot);
}

static void close_with_root(struct bed *bed)
{
    AUTO_FREE void *root = NULL;
    memcpy(&root, &bed->host.installroot, sizeof(root));
    bed_close(bed);
}

/* The instances that are installed: "1.0-1 1.1-1", oldest first; the epoch when it has one. */
static void assert_installed(const struct bed *bed, const char *package, const char *expected)
{
    struct rpm_installed installed = {0};
    struct buf text = BUF_INIT;
    assert_int_equal(rpmdb_installed(bed->host.installroot, package, &installed, NULL), ERR_OK);
    for (size_t i = 0; i < installed.packages.count; i++) {
        const struct rpm_package *p = ARRAY_AT(&installed.packages, struct rpm_package, i);
        if (p->epoch != 0)
            buf_printf(&text, "%lld:", (long long)p->epoch);
        buf_printf(&text, "%s-%s%s", p->version, p->release,
                   i + 1 < installed.packages.count ? " " : "");
    }
    assert_string_equal(text.data ? text.data : "", expected);
    buf_done(&text);
    rpm_installed_done(&installed);
}

static void run_yum(struct bed *bed, enum handler_operation operation, const char *package,
                    const char *version)
{
    char params[256];
    (void)snprintf(params, sizeof(params), "{\"package\":\"%s\",\"version\":\"%s\"}", package,
                   version);
    bed_run(bed, "yum_upgrade", operation, params);
}

static void run_ok(struct bed *bed, enum handler_operation operation, const char *package,
                   const char *version)
{
    run_yum(bed, operation, package, version);
    if (bed->result.outcome != HANDLER_OK)
        fail_msg("%s\n%s", bed->result.message, bed->output.data ? bed->output.data : "");
}

static void assert_message(const struct bed *bed, const char *text)
{
    if (!strstr(bed->result.message, text))
        fail_msg("\"%s\" is not in \"%s\"", text, bed->result.message);
}

#define GLIBC_OLD "2.34-100.el9_6"
#define GLIBC_NEW "2.34-168.0.1.el9_6.24"

static void an_upgrade_is_made_and_undone(void **state)
{
    struct bed bed;
    open_with_root(&bed, *state);
    run_ok(&bed, HANDLER_PREPARE, "glibc", GLIBC_NEW);
    assert_installed(&bed, "glibc", GLIBC_OLD);
    run_ok(&bed, HANDLER_EXECUTE, "glibc", GLIBC_NEW);
    assert_true(bed.result.changed);
    assert_true(bed.output.len > 0);
    assert_installed(&bed, "glibc", GLIBC_NEW);
    char *text = bed_read(bed_path(&bed, "root/usr/share/doc/glibc/version"));
    assert_string_equal(text, GLIBC_NEW "\n");
    mem_free(text);
    run_ok(&bed, HANDLER_EXECUTE, "glibc", GLIBC_NEW);
    assert_false(bed.result.changed);
    assert_int_equal(bed.output.len, 0);
    run_ok(&bed, HANDLER_ROLLBACK, "glibc", GLIBC_NEW);
    assert_installed(&bed, "glibc", GLIBC_OLD);
    run_ok(&bed, HANDLER_ROLLBACK, "glibc", GLIBC_NEW);
    assert_int_equal(bed.output.len, 0);
    close_with_root(&bed);
}

static void a_downgrade_is_made_and_undone(void **state)
{
    struct bed bed;
    open_with_root(&bed, *state);
    run_ok(&bed, HANDLER_PREPARE, "kitsune-demo", "2.0-1");
    run_ok(&bed, HANDLER_EXECUTE, "kitsune-demo", "2.0-1");
    assert_installed(&bed, "kitsune-demo", "2.0-1");
    run_ok(&bed, HANDLER_PREPARE, "kitsune-demo", "1.1-1");
    run_ok(&bed, HANDLER_EXECUTE, "kitsune-demo", "1.1-1");
    assert_installed(&bed, "kitsune-demo", "1.1-1");
    run_ok(&bed, HANDLER_ROLLBACK, "kitsune-demo", "1.1-1");
    assert_installed(&bed, "kitsune-demo", "2.0-1");
    close_with_root(&bed);
}

static void a_version_alone_stands_for_any_release(void **state)
{
    struct bed bed;
    open_with_root(&bed, *state);
    run_ok(&bed, HANDLER_EXECUTE, "glibc", "2.34");
    assert_false(bed.result.changed);
    run_ok(&bed, HANDLER_EXECUTE, "kitsune-demo", "1.1");
    assert_true(bed.result.changed);
    assert_installed(&bed, "kitsune-demo", "1.1-1");
    run_ok(&bed, HANDLER_EXECUTE, "kitsune-demo", "1.0");
    assert_installed(&bed, "kitsune-demo", "1.0-1");
    close_with_root(&bed);
}

static void a_check_says_from_which_version_to_which_and_changes_nothing(void **state)
{
    struct bed bed;
    open_with_root(&bed, *state);
    run_ok(&bed, HANDLER_CHECK, "kitsune-suite", "2.0-1");
    assert_true(bed.result.changed);
    assert_string_equal(bed.result.message, "would change kitsune-suite 1.0-1 -> 2.0-1");
    assert_non_null(strstr(bed.output.data, "kitsune-suite-common"));
    assert_installed(&bed, "kitsune-suite", "1.0-1");
    run_ok(&bed, HANDLER_PREPARE, "kitsune-suite", "2.0-1");
    run_ok(&bed, HANDLER_EXECUTE, "kitsune-suite", "2.0-1");
    assert_true(bed.result.changed);
    run_ok(&bed, HANDLER_CHECK, "kitsune-suite", "2.0-1");
    assert_false(bed.result.changed);
    assert_string_equal(bed.result.message, "kitsune-suite is at 2.0-1 already");
    assert_int_equal(bed.output.len, 0);
    run_ok(&bed, HANDLER_CHECK, "kitsune-suite", "1.0");
    assert_string_equal(bed.result.message, "would change kitsune-suite 2.0-1 -> 1.0");
    assert_installed(&bed, "kitsune-suite", "2.0-1");
    close_with_root(&bed);
}

static void what_dnf_cannot_resolve_fails_the_check(void **state)
{
    struct bed bed;
    open_with_root(&bed, *state);
    run_yum(&bed, HANDLER_CHECK, "kitsune-demo", "7.0");
    assert_int_equal(bed.result.outcome, HANDLER_FAILED);
    assert_false(bed.result.changed);
    assert_message(&bed, "upgrade: exit status 1: ");
    run_yum(&bed, HANDLER_CHECK, "no-such-package", "1.0");
    assert_int_equal(bed.result.outcome, HANDLER_FAILED);
    assert_message(&bed, "no-such-package is not installed");
    assert_installed(&bed, "kitsune-demo", "1.0-1");
    close_with_root(&bed);
}

static void an_architecture_can_be_named(void **state)
{
    struct bed bed;
    open_with_root(&bed, *state);
    run_ok(&bed, HANDLER_PREPARE, "kitsune-demo.noarch", "1.1-1");
    run_ok(&bed, HANDLER_EXECUTE, "kitsune-demo.noarch", "1.1-1");
    assert_installed(&bed, "kitsune-demo", "1.1-1");
    run_ok(&bed, HANDLER_ROLLBACK, "kitsune-demo.noarch", "1.1-1");
    assert_installed(&bed, "kitsune-demo", "1.0-1");
    run_yum(&bed, HANDLER_PREPARE, "kitsune-demo.s390x", "1.1-1");
    assert_int_equal(bed.result.outcome, HANDLER_FAILED);
    close_with_root(&bed);
}

static void a_higher_epoch_is_newer_whatever_the_version_says(void **state)
{
    struct bed bed;
    open_with_root(&bed, *state);
    run_ok(&bed, HANDLER_PREPARE, "kitsune-epoch", "2:0.5-1");
    run_ok(&bed, HANDLER_EXECUTE, "kitsune-epoch", "2:0.5-1");
    assert_installed(&bed, "kitsune-epoch", "2:0.5-1");
    run_ok(&bed, HANDLER_EXECUTE, "kitsune-epoch", "1:1.0-1");
    assert_installed(&bed, "kitsune-epoch", "1:1.0-1");
    run_ok(&bed, HANDLER_ROLLBACK, "kitsune-epoch", "1:1.0-1");
    assert_installed(&bed, "kitsune-epoch", "9.0-1");
    close_with_root(&bed);
}

static void what_must_go_along_goes_along_and_comes_back(void **state)
{
    struct bed bed;
    open_with_root(&bed, *state);
    run_ok(&bed, HANDLER_PREPARE, "kitsune-suite", "2.0-1");
    run_ok(&bed, HANDLER_EXECUTE, "kitsune-suite", "2.0-1");
    assert_installed(&bed, "kitsune-suite-common", "2.0-1");
    run_ok(&bed, HANDLER_ROLLBACK, "kitsune-suite", "2.0-1");
    assert_installed(&bed, "kitsune-suite", "1.0-1");
    assert_installed(&bed, "kitsune-suite-common", "1.0-1");
    close_with_root(&bed);
}

static void a_version_installed_beside_the_old_one_is_removed_by_the_undo(void **state)
{
    struct bed bed;
    open_with_root(&bed, *state);
    run_ok(&bed, HANDLER_PREPARE, "kitsune-kernel", "6.0-1");
    run_ok(&bed, HANDLER_EXECUTE, "kitsune-kernel", "6.0-1");
    assert_installed(&bed, "kitsune-kernel", "5.0-1 6.0-1");
    run_ok(&bed, HANDLER_ROLLBACK, "kitsune-kernel", "6.0-1");
    assert_installed(&bed, "kitsune-kernel", "5.0-1");
    assert_installed(&bed, "kitsune-demo", "1.0-1");
    close_with_root(&bed);
}

static void a_version_that_is_not_to_be_had_changes_nothing(void **state)
{
    struct bed bed;
    open_with_root(&bed, *state);
    run_ok(&bed, HANDLER_PREPARE, "kitsune-demo", "9.9-1");
    run_yum(&bed, HANDLER_EXECUTE, "kitsune-demo", "9.9-1");
    assert_int_equal(bed.result.outcome, HANDLER_FAILED);
    assert_true(bed.result.has_exit_code);
    assert_int_equal(bed.result.exit_code, 1);
    assert_true(bed.result.retryable);
    assert_message(&bed, "dnf upgrade: exit status 1: ");
    assert_non_null(strstr(bed.output.data, "kitsune-demo-9.9-1"));
    assert_installed(&bed, "kitsune-demo", "1.0-1");
    run_ok(&bed, HANDLER_ROLLBACK, "kitsune-demo", "9.9-1");
    assert_installed(&bed, "kitsune-demo", "1.0-1");
    close_with_root(&bed);
}

static void a_package_that_is_not_installed_is_refused(void **state)
{
    struct bed bed;
    open_with_root(&bed, *state);
    run_yum(&bed, HANDLER_PREPARE, "kitsune-other", "1.0");
    assert_int_equal(bed.result.outcome, HANDLER_FAILED);
    assert_false(bed.result.retryable);
    assert_string_equal(
        bed.result.message,
        "kitsune-other is not installed; yum_upgrade changes installed packages only");
    close_with_root(&bed);
}

static void a_root_that_is_not_there_is_named(void **state)
{
    (void)state;
    struct bed bed;
    bed_open(&bed);
    bed.host.installroot = bed_path(&bed, "no-root");
    run_yum(&bed, HANDLER_PREPARE, "glibc", "1.0");
    assert_int_equal(bed.result.outcome, HANDLER_FAILED);
    assert_message(&bed, "no-root");
    assert_int_equal(access(bed.host.installroot, F_OK), -1);
    bed_close(&bed);
}

static void a_package_removed_since_is_installed_again_by_the_undo(void **state)
{
    struct bed bed;
    char option[PATH_MAX];
    open_with_root(&bed, *state);
    run_ok(&bed, HANDLER_PREPARE, "kitsune-demo", "1.1-1");
    (void)snprintf(option, sizeof(option), "--installroot=%s", bed.host.installroot);
    run_program((const char *const[]){"dnf", "-y", "-q", option, "remove", "kitsune-demo", NULL});
    assert_installed(&bed, "kitsune-demo", "");
    run_ok(&bed, HANDLER_ROLLBACK, "kitsune-demo", "1.1-1");
    assert_installed(&bed, "kitsune-demo", "1.0-1");
    close_with_root(&bed);
}

static void a_version_that_somebody_else_installed_since_stays_unless_forced(void **state)
{
    struct bed bed;
    char option[PATH_MAX];
    open_with_root(&bed, *state);
    run_ok(&bed, HANDLER_PREPARE, "kitsune-demo", "1.1-1");
    run_ok(&bed, HANDLER_EXECUTE, "kitsune-demo", "1.1-1");
    (void)snprintf(option, sizeof(option), "--installroot=%s", bed.host.installroot);
    run_program(
        (const char *const[]){"dnf", "-y", "-q", option, "upgrade", "kitsune-demo-2.0-1", NULL});
    run_yum(&bed, HANDLER_ROLLBACK, "kitsune-demo", "1.1-1");
    assert_int_equal(bed.result.outcome, HANDLER_FAILED);
    assert_true(bed.result.conflict);
    assert_false(bed.result.retryable);
    assert_message(&bed, "kitsune-demo is at 2.0-1, expected were 1.1-1 as this step left it, or "
                         "1.0-1 as it was before; it stays as it is (`kitsune rollback rollout-1 ");
    assert_message(&bed, " --force`");
    assert_int_equal(bed.output.len, 0); /* no dnf was run */
    assert_installed(&bed, "kitsune-demo", "2.0-1");
    bed.force = true;
    run_ok(&bed, HANDLER_ROLLBACK, "kitsune-demo", "1.1-1");
    assert_false(bed.result.conflict);
    assert_installed(&bed, "kitsune-demo", "1.0-1");
    close_with_root(&bed);
}

/* As after a power failure between the new files' coming and the old package's going. */
static void a_transaction_that_was_cut_off_is_never_taken_for_success(void **state)
{
    const struct fixture *f = *state;
    struct bed bed;
    char package[PATH_MAX];
    open_with_root(&bed, f);
    run_ok(&bed, HANDLER_PREPARE, "kitsune-demo", "2.0-1");
    (void)snprintf(package, sizeof(package), "%s/kitsune-demo-2.0-1.noarch.rpm", f->repo);
    run_program((const char *const[]){"rpm", "--root", bed.host.installroot, "-i", "--force",
                                      package, NULL});
    assert_installed(&bed, "kitsune-demo", "1.0-1 2.0-1");
    run_yum(&bed, HANDLER_EXECUTE, "kitsune-demo", "2.0-1");
    assert_int_equal(bed.result.outcome, HANDLER_FAILED);
    assert_message(&bed, "two versions of kitsune-demo are installed over each other");
    run_yum(&bed, HANDLER_ROLLBACK, "kitsune-demo", "2.0-1");
    assert_int_equal(bed.result.outcome, HANDLER_FAILED);
    assert_int_equal(bed.output.len, 0);
    close_with_root(&bed);
}

/* A program in dnf's place. */
static void use_program(struct bed *bed, const char *text)
{
    const char *path = bed_path(bed, "yum");
    bed_write(path, text);
    assert_int_equal(chmod(path, 0755), 0);
    bed->host.yum_program = path;
}

static void a_program_that_did_nothing_is_found_out(void **state)
{
    struct bed bed;
    open_with_root(&bed, *state);
    run_ok(&bed, HANDLER_PREPARE, "glibc", GLIBC_NEW);
    use_program(&bed, "#!/bin/sh\necho \"$@\"\n");
    run_yum(&bed, HANDLER_EXECUTE, "glibc", GLIBC_NEW);
    assert_int_equal(bed.result.outcome, HANDLER_FAILED);
    assert_message(&bed, "ended well, but glibc is at " GLIBC_OLD ", not " GLIBC_NEW);
    assert_non_null(strstr(bed.output.data, "-y --installroot="));
    assert_non_null(strstr(bed.output.data, " upgrade glibc-" GLIBC_NEW "\n"));
    close_with_root(&bed);
}

static void a_program_that_fails_in_the_undo_fails_the_undo(void **state)
{
    struct bed bed;
    open_with_root(&bed, *state);
    run_ok(&bed, HANDLER_PREPARE, "glibc", GLIBC_NEW);
    run_ok(&bed, HANDLER_EXECUTE, "glibc", GLIBC_NEW);
    use_program(&bed, "#!/bin/sh\necho the last line\necho\nexit 7\n");
    run_yum(&bed, HANDLER_ROLLBACK, "glibc", GLIBC_NEW);
    assert_int_equal(bed.result.outcome, HANDLER_FAILED);
    assert_int_equal(bed.result.exit_code, 7);
    assert_message(&bed, "downgrade: exit status 7: the last line");
    assert_installed(&bed, "glibc", GLIBC_NEW);
    bed.host.yum_program = NULL;
    run_ok(&bed, HANDLER_ROLLBACK, "glibc", GLIBC_NEW);
    assert_installed(&bed, "glibc", GLIBC_OLD);
    close_with_root(&bed);
}

static void a_missing_program_fails_for_good(void **state)
{
    struct bed bed;
    open_with_root(&bed, *state);
    bed.host.yum_program = "/no/such/yum";
    run_yum(&bed, HANDLER_EXECUTE, "glibc", GLIBC_NEW);
    assert_int_equal(bed.result.outcome, HANDLER_FAILED);
    assert_false(bed.result.retryable);
    assert_message(&bed, "/no/such/yum: no such program");
    close_with_root(&bed);
}

static void a_cancel_ends_the_program(void **state)
{
    struct bed bed;
    open_with_root(&bed, *state);
    use_program(&bed, "#!/bin/sh\necho ready\nexec sleep 1000\n");
    bed.cancel_at = "ready";
    run_yum(&bed, HANDLER_EXECUTE, "glibc", GLIBC_NEW);
    assert_int_equal(bed.result.outcome, HANDLER_CANCELLED);
    assert_true(bed.duration_ms < 30000);
    close_with_root(&bed);
}

static void a_cancel_while_the_database_is_read_starts_no_program(void **state)
{
    struct bed bed;
    open_with_root(&bed, *state);
    use_program(&bed, "#!/bin/sh\necho started\n");
    bed.cancel_at = "";
    run_yum(&bed, HANDLER_EXECUTE, "glibc", GLIBC_NEW);
    assert_int_equal(bed.result.outcome, HANDLER_CANCELLED);
    assert_int_equal(bed.output.len, 0);
    close_with_root(&bed);
}

static const char *missing_tool(void)
{
    static const char *const tools[] = {"rpmbuild", "createrepo_c", "rpm", "dnf"};
    for (size_t i = 0; i < ARRAY_LEN(tools); i++) {
        char command[64];
        (void)snprintf(command, sizeof(command), "command -v %s >/dev/null", tools[i]);
        /* NOLINTNEXTLINE(cert-env33-c): fixed texts */
        if (system(command) != 0)
            return tools[i];
    }
    return NULL;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_upgrade_is_made_and_undone),
        cmocka_unit_test(a_downgrade_is_made_and_undone),
        cmocka_unit_test(a_version_alone_stands_for_any_release),
        cmocka_unit_test(a_check_says_from_which_version_to_which_and_changes_nothing),
        cmocka_unit_test(what_dnf_cannot_resolve_fails_the_check),
        cmocka_unit_test(an_architecture_can_be_named),
        cmocka_unit_test(a_higher_epoch_is_newer_whatever_the_version_says),
        cmocka_unit_test(what_must_go_along_goes_along_and_comes_back),
        cmocka_unit_test(a_version_installed_beside_the_old_one_is_removed_by_the_undo),
        cmocka_unit_test(a_version_that_is_not_to_be_had_changes_nothing),
        cmocka_unit_test(a_package_that_is_not_installed_is_refused),
        cmocka_unit_test(a_root_that_is_not_there_is_named),
        cmocka_unit_test(a_package_removed_since_is_installed_again_by_the_undo),
        cmocka_unit_test(a_version_that_somebody_else_installed_since_stays_unless_forced),
        cmocka_unit_test(a_transaction_that_was_cut_off_is_never_taken_for_success),
        cmocka_unit_test(a_program_that_did_nothing_is_found_out),
        cmocka_unit_test(a_program_that_fails_in_the_undo_fails_the_undo),
        cmocka_unit_test(a_missing_program_fails_for_good),
        cmocka_unit_test(a_cancel_ends_the_program),
        cmocka_unit_test(a_cancel_while_the_database_is_read_starts_no_program),
    };
    const char *missing = missing_tool();
    if (missing) {
        print_message("skipped: %s is not installed\n", missing);
        return 0;
    }
    return cmocka_run_group_tests(tests, fixture_make, fixture_remove);
}
