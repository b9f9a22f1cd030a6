/* What goes wrong with packages: repositories, scriptlets, programs, disks and locks. */
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

/* ---- What goes wrong --------------------------------------------------------------------- */

static void a_version_that_is_not_to_be_had_changes_nothing(void **state)
{
    struct bed bed;
    yum_open(&bed, *state);
    run_yum(&bed, UPGRADE, HANDLER_PREPARE, DEMO("9.9-1"));
    assert_int_equal(bed.result.outcome, HANDLER_FAILED);
    assert_true(bed.result.has_exit_code);
    assert_int_equal(bed.result.exit_code, 1);
    assert_true(bed.result.retryable);
    assert_message(&bed, "dnf upgrade: exit status 1: ");
    assert_non_null(strstr(bed.output.data, "kitsune-demo-9.9-1"));
    assert_installed(&bed, "kitsune-demo", "1.0-1");
    yum_close(&bed);
}

static void a_root_that_is_not_there_is_named(void **state)
{
    (void)state;
    struct bed bed;
    bed_open(&bed);
    bed.host.installroot = bed_path(&bed, "no-root");
    run_yum(&bed, UPGRADE, HANDLER_PREPARE, GLIBC);
    assert_int_equal(bed.result.outcome, HANDLER_FAILED);
    assert_message(&bed, "no-root");
    assert_int_equal(access(bed.host.installroot, F_OK), -1);
    bed_close(&bed);
}

static void a_repository_that_went_away_changes_nothing(void **state)
{
    struct bed bed;
    yum_open_with_repo(&bed, *state);
    run_ok(&bed, UPGRADE, HANDLER_PREPARE, DEMO("2.0-1"));
    bed_remove_tree(bed_path(&bed, "repo"));
    run_yum(&bed, UPGRADE, HANDLER_EXECUTE, DEMO("2.0-1"));
    assert_int_equal(bed.result.outcome, HANDLER_FAILED);
    assert_false(bed.result.changed);
    assert_true(bed.result.retryable);
    assert_message(&bed, "nothing was changed");
    assert_installed(&bed, "kitsune-demo", "1.0-1");
    yum_close(&bed);
}

/* The transaction is the one that was prepared, whatever there is by now. */
static void what_a_repository_has_got_since_does_not_come_along(void **state)
{
    const struct yum_fixture *f = *state;
    struct bed bed;
    char package[PATH_MAX];
    yum_open_with_repo(&bed, f);
    yum_repo_prune(&bed, "kitsune-demo-2.0-1.noarch.rpm");
    run_ok(&bed, UPGRADE, HANDLER_PREPARE, "{\"package\":\"kitsune-demo\"}");
    (void)snprintf(package, sizeof(package), "%s/kitsune-demo-2.0-1.noarch.rpm", f->repo);
    run_program((const char *const[]){"cp", package, bed_path(&bed, "repo"), NULL});
    run_program((const char *const[]){"createrepo_c", "--quiet", bed_path(&bed, "repo"), NULL});
    bed_remove_tree(bed_path(&bed, "root/var/cache/dnf"));
    run_ok(&bed, UPGRADE, HANDLER_EXECUTE, "{\"package\":\"kitsune-demo\"}");
    assert_installed(&bed, "kitsune-demo", "1.1-1");
    yum_close(&bed);
}

static void a_package_that_nobody_signed_is_refused_where_signatures_are_wanted(void **state)
{
    struct bed bed;
    char text[PATH_MAX];
    yum_open_with_repo(&bed, *state);
    (void)snprintf(text, sizeof(text),
                   "[kitsune]\nname=Local\nbaseurl=file://%s\nenabled=1\ngpgcheck=1\n",
                   bed_path(&bed, "repo"));
    bed_write(bed_path(&bed, "root/etc/yum.repos.d/kitsune.repo"), text);
    run_yum(&bed, UPGRADE, HANDLER_PREPARE, DEMO("2.0-1"));
    assert_int_equal(bed.result.outcome, HANDLER_FAILED);
    assert_message(&bed, "GPG");
    assert_installed(&bed, "kitsune-demo", "1.0-1");
    yum_close(&bed);
}

static void a_scriptlet_that_refuses_fails_the_step_and_it_can_be_undone(void **state)
{
    static const char params[] = "{\"package\":\"kitsune-faulty\",\"version\":\"2.0\"}";
    struct bed bed;
    yum_open(&bed, *state);
    AUTO_FREE char *before = yum_snapshot(&bed);
    run_ok(&bed, UPGRADE, HANDLER_PREPARE, params);
    run_yum(&bed, UPGRADE, HANDLER_EXECUTE, params);
    assert_int_equal(bed.result.outcome, HANDLER_FAILED);
    run_ok(&bed, UPGRADE, HANDLER_ROLLBACK, params);
    AUTO_FREE char *undone = yum_snapshot(&bed);
    assert_string_equal(undone, before);
    yum_close(&bed);
}

static void a_scriptlet_that_fails_afterwards_is_told_of(void **state)
{
    static const char params[] = "{\"package\":\"kitsune-faulty\",\"version\":\"3.0\"}";
    struct bed bed;
    yum_open(&bed, *state);
    run_ok(&bed, UPGRADE, HANDLER_PREPARE, params);
    run_ok(&bed, UPGRADE, HANDLER_EXECUTE, params);
    assert_message(&bed, "a scriptlet failed, see the output");
    assert_installed(&bed, "kitsune-faulty", "3.0-1");
    yum_close(&bed);
}

static void a_program_that_did_nothing_is_found_out(void **state)
{
    struct bed bed;
    yum_open(&bed, *state);
    run_ok(&bed, UPGRADE, HANDLER_PREPARE, GLIBC);
    use_program(&bed, "#!/bin/sh\necho \"$@\"\n");
    run_yum(&bed, UPGRADE, HANDLER_EXECUTE, GLIBC);
    assert_int_equal(bed.result.outcome, HANDLER_FAILED);
    assert_message(&bed, "ended well; the packages are not as the transaction should have left");
    assert_non_null(strstr(bed.output.data, "--setopt=*.includepkgs=glibc-0:" GLIBC_NEW ".noarch"));
    assert_non_null(strstr(bed.output.data, " upgrade glibc-" GLIBC_NEW "\n"));
    yum_close(&bed);
}

static void what_somebody_else_installs_meanwhile_is_told_and_stays(void **state)
{
    const struct yum_fixture *f = *state;
    struct bed bed;
    char text[PATH_MAX];
    yum_open(&bed, f);
    run_ok(&bed, UPGRADE, HANDLER_PREPARE, DEMO("2.0-1"));
    (void)snprintf(text, sizeof(text),
                   "#!/bin/sh\ndnf \"$@\" && rpm --root %s -i %s/kitsune-fresh-1.0-1.noarch.rpm\n",
                   bed.host.installroot, f->repo);
    use_program(&bed, text);
    run_ok(&bed, UPGRADE, HANDLER_EXECUTE, DEMO("2.0-1"));
    assert_string_equal(bed.result.message,
                        "kitsune-demo 1.0-1 -> 2.0-1; somebody else has changed others meanwhile: "
                        "kitsune-fresh 1.0-1 has come");
    run_ok(&bed, UPGRADE, HANDLER_ROLLBACK, DEMO("2.0-1"));
    assert_installed(&bed, "kitsune-demo", "1.0-1");
    assert_installed(&bed, "kitsune-fresh", "1.0-1");
    yum_close(&bed);
}

static void a_program_that_does_not_say_what_it_would_do_is_refused(void **state)
{
    struct bed bed;
    yum_open(&bed, *state);
    use_program(&bed, "#!/bin/sh\necho Updating and loading repositories:\n");
    run_yum(&bed, UPGRADE, HANDLER_PREPARE, DEMO("2.0-1"));
    assert_int_equal(bed.result.outcome, HANDLER_FAILED);
    assert_false(bed.result.retryable);
    assert_message(&bed, "does not say what it would do; dnf 4 or yum is needed");
    run_yum(&bed, UPGRADE, HANDLER_CHECK, DEMO("2.0-1"));
    assert_int_equal(bed.result.outcome, HANDLER_FAILED);
    yum_close(&bed);
}

static void a_missing_program_fails_for_good(void **state)
{
    struct bed bed;
    yum_open(&bed, *state);
    bed.host.yum_program = "/no/such/yum";
    run_yum(&bed, UPGRADE, HANDLER_PREPARE, GLIBC);
    assert_int_equal(bed.result.outcome, HANDLER_FAILED);
    assert_false(bed.result.retryable);
    assert_message(&bed, "/no/such/yum: no such program");
    yum_close(&bed);
}

static void a_cancel_ends_the_program(void **state)
{
    struct bed bed;
    yum_open(&bed, *state);
    use_program(&bed, "#!/bin/sh\necho ready\nexec sleep 1000\n");
    bed.cancel_at = "ready";
    run_yum(&bed, UPGRADE, HANDLER_PREPARE, GLIBC);
    assert_int_equal(bed.result.outcome, HANDLER_CANCELLED);
    assert_true(bed.duration_ms < 30000);
    yum_close(&bed);
}

static void a_cancel_while_the_database_is_read_starts_no_program(void **state)
{
    struct bed bed;
    yum_open(&bed, *state);
    use_program(&bed, "#!/bin/sh\necho started\n");
    bed.cancel_at = "";
    run_yum(&bed, UPGRADE, HANDLER_PREPARE, GLIBC);
    assert_int_equal(bed.result.outcome, HANDLER_CANCELLED);
    assert_int_equal(bed.output.len, 0);
    yum_close(&bed);
}

/* Runs out of room in the middle of a package, as on a full disk. */
static void a_disk_that_is_full_fails_the_step_and_it_can_be_undone(void **state)
{
    static const char params[] = "{\"package\":\"kitsune-big\"}";
    struct bed bed;
    yum_open(&bed, *state);
    AUTO_FREE char *before = yum_snapshot(&bed);
    run_ok(&bed, UPGRADE, HANDLER_PREPARE, params);
    use_program(&bed, "#!/bin/sh\nulimit -f 600\nexec dnf \"$@\"\n"); /* 300 KiB a file */
    run_yum(&bed, UPGRADE, HANDLER_EXECUTE, params);
    assert_int_equal(bed.result.outcome, HANDLER_FAILED);
    assert_true(bed.result.retryable);
    bed.host.yum_program = NULL;
    run_ok(&bed, UPGRADE, HANDLER_ROLLBACK, params);
    AUTO_FREE char *undone = yum_snapshot(&bed);
    assert_string_equal(undone, before);
    yum_close(&bed);
}

/* ---- Locks ------------------------------------------------------------------------------- */

/* A process that holds rpm's lock until its input ends. Returns that input's writing end. */
static int lock_hold(const struct bed *bed, pid_t *ret_pid)
{
    int input[2], ready[2];
    char byte = 0;
    char *relative = rpmExpand("%{?_rpmlock_path}", NULL);
    char path[PATH_MAX];
    (void)snprintf(path, sizeof(path), "%s%s", bed->host.installroot, relative);
    free(relative);
    assert_int_equal(pipe2(input, O_CLOEXEC), 0);
    assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
    *ret_pid = fork();
    if (*ret_pid == 0) {
        struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
        int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
        bool locked = fd >= 0 && fcntl(fd, F_SETLK, &lock) == 0;
        (void)close(input[1]);
        (void)write(ready[1], locked ? "y" : "n", 1);
        (void)read(input[0], &byte, 1);
        _exit(0);
    }
    assert_int_equal(close(input[0]), 0);
    assert_int_equal(close(ready[1]), 0);
    assert_int_equal(read(ready[0], &byte, 1), 1);
    assert_int_equal(byte, 'y');
    assert_int_equal(close(ready[0]), 0);
    return input[1];
}

struct holder {
    int fd;
    pid_t pid;
};

static void lock_let_go(void *ctx)
{
    const struct holder *holder = ctx;
    assert_int_equal(close(holder->fd), 0);
    assert_int_equal(waitpid(holder->pid, NULL, 0), holder->pid);
}

static void a_lock_that_others_hold_is_waited_for_and_told_of(void **state)
{
    struct bed bed;
    struct holder holder;
    yum_open(&bed, *state);
    run_ok(&bed, UPGRADE, HANDLER_PREPARE, DEMO("2.0-1"));
    holder.fd = lock_hold(&bed, &holder.pid);
    bed.call_at = "which changes packages";
    bed.call = lock_let_go;
    bed.call_ctx = &holder;
    run_ok(&bed, UPGRADE, HANDLER_EXECUTE, DEMO("2.0-1"));
    assert_null(bed.call_at);
    holder.fd = lock_hold(&bed, &holder.pid);
    bed.call_at = "which changes packages";
    run_ok(&bed, UPGRADE, HANDLER_ROLLBACK, DEMO("2.0-1"));
    assert_null(bed.call_at);
    assert_installed(&bed, "kitsune-demo", "1.0-1");
    yum_close(&bed);
}

static void a_lock_is_not_waited_for_for_ever(void **state)
{
    static const char params[] =
        "{\"package\":\"kitsune-demo\",\"version\":\"2.0\",\"lockTimeout\":0}";
    struct bed bed;
    struct holder holder;
    yum_open(&bed, *state);
    run_ok(&bed, UPGRADE, HANDLER_PREPARE, params);
    holder.fd = lock_hold(&bed, &holder.pid);
    bed.call_at = "has held the lock of the package database for 0 s";
    bed.call = lock_let_go;
    bed.call_ctx = &holder;
    run_yum(&bed, UPGRADE, HANDLER_EXECUTE, params);
    assert_null(bed.call_at);
    assert_int_equal(bed.result.outcome, HANDLER_FAILED);
    assert_true(bed.result.retryable);
    assert_message(&bed, "has held the lock of the package database for 0 s");
    assert_installed(&bed, "kitsune-demo", "1.0-1");
    yum_close(&bed);
}

static void another_dnf_is_waited_for(void **state)
{
    struct bed bed;
    yum_open(&bed, *state);
    use_program(&bed, "#!/bin/sh\ncd \"${0%/*}\"\nif [ ! -e tried ]; then\n    touch tried\n"
                      "    exit 200\nfi\nexec dnf \"$@\"\n");
    run_ok(&bed, UPGRADE, HANDLER_PREPARE, DEMO("2.0-1"));
    assert_non_null(strstr(bed.output.data, "waiting for another dnf, which holds the lock\n"));
    use_program(&bed, "#!/bin/sh\nexit 200\n");
    run_yum(&bed, UPGRADE, HANDLER_PREPARE, "{\"package\":\"kitsune-demo\",\"lockTimeout\":0}");
    assert_int_equal(bed.result.outcome, HANDLER_FAILED);
    assert_true(bed.result.retryable);
    assert_int_equal(bed.result.exit_code, 200);
    use_program(&bed, "#!/bin/sh\nexit 200\n");
    bed.cancel_at = "waiting for another dnf";
    run_yum(&bed, UPGRADE, HANDLER_PREPARE, DEMO("2.0-1"));
    assert_int_equal(bed.result.outcome, HANDLER_CANCELLED);
    yum_close(&bed);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_version_that_is_not_to_be_had_changes_nothing),
        cmocka_unit_test(a_root_that_is_not_there_is_named),
        cmocka_unit_test(a_repository_that_went_away_changes_nothing),
        cmocka_unit_test(what_a_repository_has_got_since_does_not_come_along),
        cmocka_unit_test(a_package_that_nobody_signed_is_refused_where_signatures_are_wanted),
        cmocka_unit_test(a_scriptlet_that_refuses_fails_the_step_and_it_can_be_undone),
        cmocka_unit_test(a_scriptlet_that_fails_afterwards_is_told_of),
        cmocka_unit_test(a_program_that_did_nothing_is_found_out),
        cmocka_unit_test(what_somebody_else_installs_meanwhile_is_told_and_stays),
        cmocka_unit_test(a_program_that_does_not_say_what_it_would_do_is_refused),
        cmocka_unit_test(a_missing_program_fails_for_good),
        cmocka_unit_test(a_cancel_ends_the_program),
        cmocka_unit_test(a_cancel_while_the_database_is_read_starts_no_program),
        cmocka_unit_test(a_disk_that_is_full_fails_the_step_and_it_can_be_undone),
        cmocka_unit_test(a_lock_that_others_hold_is_waited_for_and_told_of),
        cmocka_unit_test(a_lock_is_not_waited_for_for_ever),
        cmocka_unit_test(another_dnf_is_waited_for),
    };
    return YUM_MAIN(argc, argv, tests);
}
