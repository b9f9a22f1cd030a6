/* What a script's programs are given: texts, users, environments, limits. */
#include "handlers/cgroup.h"
#include "unit/handlers/support_run.h"

#include "common/base/alloc.h"
#include "common/base/cleanup.h"

#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void run_ok(struct bed *bed, enum handler_operation operation, const char *params)
{
    bed_run(bed, "script", operation, params);
    if (bed->result.outcome != HANDLER_OK)
        fail_msg("%s\n%s", bed->result.message, bed->output.data ? bed->output.data : "");
}

static void run_fails(struct bed *bed, enum handler_operation operation, const char *params,
                      const char *text)
{
    bed_run(bed, "script", operation, params);
    assert_int_equal(bed->result.outcome, HANDLER_FAILED);
    if (!strstr(bed->result.message, text))
        fail_msg("\"%s\" is not in \"%s\"", text, bed->result.message);
}

/* ---- Texts ------------------------------------------------------------------------------- */

static void a_text_is_run_by_the_shell_and_is_in_no_argument(void **state)
{
    (void)state;
    struct bed bed;
    bed_open(&bed);
    run_ok(
        &bed, HANDLER_EXECUTE,
        "{\"inline\":\"# nobody-sees-this\\necho \\\"$1|$2\\\"\\n"
        "tr '\\\\0' ' ' </proc/$$/cmdline | grep -c nobody-sees-this\\nstat -Lc %a /proc/$$/fd/3\\n"
        "exit 0\",\"args\":[\"a b\",\"c\"]}");
    assert_string_equal(bed.output.data, "a b|c\n0\n700\n");
    bed_close(&bed);
}

static void a_text_says_in_its_first_line_what_runs_it(void **state)
{
    (void)state;
    struct bed bed;
    bed_open(&bed);
    run_ok(&bed, HANDLER_EXECUTE,
           "{\"inline\":\"#!/usr/bin/env -S sed -n 2p\\nthe second line\\n\"}");
    assert_string_equal(bed.output.data, "the second line\n");
    run_ok(&bed, HANDLER_EXECUTE, "{\"inline\":\"one\\ntwo\\n\",\"interpreter\":\"tac\"}");
    assert_string_equal(bed.output.data, "two\none\n");
    run_fails(&bed, HANDLER_EXECUTE, "{\"inline\":\"x\",\"interpreter\":\"/no/such\"}",
              "/no/such: no such program");
    bed_close(&bed);
}

static void a_text_that_is_running_cannot_be_changed(void **state)
{
    (void)state;
    struct bed bed;
    bed_open(&bed);
    run_ok(&bed, HANDLER_EXECUTE,
           "{\"inline\":\"(echo echo changed >/proc/self/fd/3) 2>/dev/null || echo no\\n\"}");
    assert_string_equal(bed.output.data, "no\n");
    bed_close(&bed);
}

static void a_text_checks_and_a_text_undoes(void **state)
{
    (void)state;
    struct bed bed;
    char params[PATH_MAX];
    bed_open(&bed);
    (void)snprintf(params, sizeof(params),
                   "{\"inline\":\"echo $KITSUNE_PHASE >$1\",\"rollbackInline\":\"rm $1\","
                   "\"checkInline\":\"test -e $1\",\"args\":[\"%s/f\"]}",
                   bed.dir);
    run_ok(&bed, HANDLER_CHECK, params);
    assert_true(bed.result.changed);
    assert_non_null(strstr(bed.result.message, "would run: a text of 23 bytes /tmp/"));
    assert_string_equal(bed.output.data, "echo $KITSUNE_PHASE >$1");
    run_ok(&bed, HANDLER_PREPARE, params);
    run_ok(&bed, HANDLER_EXECUTE, params);
    assert_true(bed.result.changed);
    AUTO_FREE char *text = bed_read(bed_path(&bed, "f"));
    assert_string_equal(text, "execute\n");
    run_ok(&bed, HANDLER_EXECUTE, params);
    assert_false(bed.result.changed);
    run_ok(&bed, HANDLER_CHECK, params);
    assert_false(bed.result.changed);
    run_ok(&bed, HANDLER_ROLLBACK, params);
    assert_null(bed_read(bed_path(&bed, "f")));
    bed_close(&bed);
}

/* ---- Surroundings ------------------------------------------------------------------------ */

static void it_has_the_environment_folder_mask_and_input_that_are_asked_for(void **state)
{
    (void)state;
    struct bed bed;
    struct stat st;
    char params[PATH_MAX];
    bed_open(&bed);
    (void)snprintf(
        params, sizeof(params),
        "{\"script\":\"sh\",\"args\":[\"-c\",\"pwd; echo \\\"$A|$PATH\\\"; cat; >made\"],"
        "\"env\":{\"A\":\"a=b c\",\"PATH\":\"/usr/bin:/bin\"},\"cwd\":\"%s\","
        "\"umask\":\"0027\",\"stdin\":\"one\\ntwo\"}",
        bed.dir);
    run_ok(&bed, HANDLER_EXECUTE, params);
    char expected[PATH_MAX];
    (void)snprintf(expected, sizeof(expected), "%s\na=b c|/usr/bin:/bin\none\ntwo", bed.dir);
    assert_string_equal(bed.output.data, expected);
    assert_int_equal(stat(bed_path(&bed, "made"), &st), 0);
    assert_int_equal(st.st_mode & 0777, 0640);
    run_fails(&bed, HANDLER_EXECUTE, "{\"script\":\"true\",\"cwd\":\"/no/such\",\"umask\":\"022\"}",
              "/no/such: no such folder to run true in");
    bed_close(&bed);
}

/* The check reads it first; the script finds all of it again. */
static void each_program_finds_its_standard_input_from_the_beginning(void **state)
{
    (void)state;
    struct bed bed;
    bed_open(&bed);
    run_ok(
        &bed, HANDLER_EXECUTE,
        "{\"script\":\"cat\",\"checkInline\":\"cat >/dev/null; exit 1\",\"stdin\":\"all of it\"}");
    assert_string_equal(bed.output.data, "all of it");
    bed_close(&bed);
}

static void it_has_no_other_descriptors(void **state)
{
    (void)state;
    struct bed bed;
    bed_open(&bed);
    int extra = dup2(STDERR_FILENO, 60);
    assert_int_equal(extra, 60);
    /* 3 is that of the listing itself. */
    run_ok(&bed, HANDLER_EXECUTE,
           "{\"script\":\"ls\",\"args\":[\"/proc/self/fd\"],\"umask\":\"022\"}");
    assert_string_equal(bed.output.data, "0\n1\n2\n3\n");
    assert_int_equal(close(extra), 0);
    bed_close(&bed);
}

static void it_leads_a_session_of_its_own(void **state)
{
    (void)state;
    struct bed bed;
    long pid = 0, group = 0, session = 0;
    bed_open(&bed);
    run_ok(&bed, HANDLER_EXECUTE,
           "{\"inline\":\"read a b c d e f g </proc/self/stat; echo $a $e $f\"}");
    assert_int_equal(sscanf(bed.output.data, "%ld %ld %ld", &pid, &group, &session), 3);
    assert_true(pid > 0 && pid == group && pid == session);
    /* Signals are as they are by default, whatever the agent ignores. */
    void (*before)(int) = signal(SIGPIPE, SIG_IGN);
    run_ok(&bed, HANDLER_EXECUTE, "{\"inline\":\"grep -E '^Sig(Blk|Ign)' /proc/self/status\"}");
    assert_string_equal(bed.output.data, "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n");
    (void)signal(SIGPIPE, before);
    bed_close(&bed);
}

static void the_exit_codes_that_are_success_are_the_plans(void **state)
{
    (void)state;
    struct bed bed;
    bed_open(&bed);
    const char *params = "{\"inline\":\"exit $1\",\"rollbackInline\":\"exit 4\",\"args\":[\"3\"],"
                         "\"successExitCodes\":[3,4]}";
    run_ok(&bed, HANDLER_EXECUTE, params);
    assert_true(bed.result.changed);
    assert_int_equal(bed.result.exit_code, 3);
    run_ok(&bed, HANDLER_ROLLBACK, params);
    run_fails(&bed, HANDLER_EXECUTE, "{\"inline\":\"exit 0\",\"successExitCodes\":[3]}",
              "exit status 0");
    bed_close(&bed);
}

/* ---- Users ------------------------------------------------------------------------------- */

static void it_runs_as_the_user_with_its_groups(void **state)
{
    (void)state;
    struct bed bed;
    char expected[512];
    if (geteuid() != 0)
        skip();
    const struct passwd *user = getpwnam("nobody");
    assert_non_null(user);
    (void)snprintf(expected, sizeof(expected), "%u %u %u\nnobody %s\nyes\n", user->pw_uid,
                   user->pw_gid, user->pw_gid, user->pw_dir);
    bed_open(&bed);
    const char *params =
        "{\"inline\":\"echo $(id -u) $(id -g) $(id -G)\\necho $USER $HOME\\n"
        "grep -q '^CapEff:.*0000000000000000' /proc/self/status && echo yes\",\"user\":\"nobody\"}";
    run_ok(&bed, HANDLER_PREPARE, params);
    run_ok(&bed, HANDLER_EXECUTE, params);
    assert_string_equal(bed.output.data, expected);
    /* What it may not enter or run is told as such. */
    assert_int_equal(chmod(bed.dir, 0700), 0);
    char closed[PATH_MAX];
    (void)snprintf(closed, sizeof(closed),
                   "{\"script\":\"true\",\"user\":\"nobody\",\"cwd\":\"%s\"}", bed.dir);
    run_fails(&bed, HANDLER_EXECUTE, closed, "not allowed to run it as nobody in /tmp/");
    bed_close(&bed);
}

static void a_user_that_does_not_exist_fails_before_anything_is_done(void **state)
{
    (void)state;
    struct bed bed;
    bed_open(&bed);
    const char *params = "{\"script\":\"true\",\"user\":\"no-such-user\"}";
    run_fails(&bed, HANDLER_PREPARE, params, "there is no user no-such-user");
    assert_false(bed.result.retryable);
    run_fails(&bed, HANDLER_EXECUTE, params, "there is no user no-such-user");
    run_fails(&bed, HANDLER_PREPARE, "{\"script\":\"true\",\"user\":\"4000000001\"}",
              "there is no user 4000000001");
    bed_close(&bed);
}

/* The first ignores the signal, the other has left its session; neither is the agent's user. */
static void all_that_it_has_started_is_ended(void **state)
{
    (void)state;
    struct bed bed;
    if (geteuid() != 0)
        skip();
    bed_open(&bed);
    bed.cancel_at = "ready";
    bed_run(
        &bed, "script", HANDLER_EXECUTE,
        "{\"inline\":\"trap '' TERM\\nsetsid -f sh -c 'trap \\\"\\\" TERM; echo ready; while :; do "
        "sleep 1; done'\\nwhile :; do sleep 1; done\",\"user\":\"nobody\"}");
    assert_int_equal(bed.result.outcome, HANDLER_CANCELLED);
    assert_true(bed.duration_ms < 60000);
    bed_close(&bed);
}

/* ---- Limits ------------------------------------------------------------------------------ */

static void what_uses_too_much_is_stopped(void **state)
{
    (void)state;
    struct bed bed;
    bed_open(&bed);
    run_fails(&bed, HANDLER_EXECUTE,
              "{\"inline\":\"while :; do :; done\",\"limits\":{\"cpuSeconds\":1}}",
              "killed by signal 24 (XCPU)");
    assert_non_null(strstr(bed.output.data, "limits: processor 1 s (rlimit)"));
    bed_run(&bed, "script", HANDLER_EXECUTE,
            "{\"script\":\"tail\",\"args\":[\"/dev/zero\"],\"limits\":{\"memory\":\"64M\"}}");
    assert_int_equal(bed.result.outcome, HANDLER_FAILED);
    assert_non_null(strstr(bed.output.data, "limits: memory 67108864 bytes ("));
    bed_close(&bed);
}

/* Whether this process may make groups at all. */
static bool has_groups(void)
{
    struct cgroup group = CGROUP_INIT;
    const struct cgroup_limits none = {0};
    if (cgroup_make("kitsune-test-probe", &none, &group, NULL) != ERR_OK)
        return false;
    assert_true(cgroup_end(&group));
    return true;
}

static void nothing_in_a_control_group_outlives_the_step(void **state)
{
    (void)state;
    struct bed bed;
    if (!has_groups())
        skip();
    bed_open(&bed);
    char params[2 * PATH_MAX], name[CGROUP_NAME_MAX], mark[HANDLER_MARK_MAX], path[PATH_MAX];
    /* Neither the mark nor the session nor a parent leads to it. */
    (void)snprintf(params, sizeof(params),
                   "{\"inline\":\"env -i setsid -f sh -c 'echo $$ >%s/pid; exec sleep 1000' "
                   ">/dev/null 2>&1 </dev/null\\nuntil test -s %s/pid; do sleep 0.01; done\\n"
                   "grep -o 'kitsune-step-.*' /proc/self/cgroup\",\"limits\":{\"cpuSeconds\":60}}",
                   bed.dir, bed.dir);
    run_ok(&bed, HANDLER_EXECUTE, params);
    handler_mark(bed.host.server_id, "rollout-1", bed.step, mark);
    cgroup_name(mark, name);
    assert_non_null(strstr(bed.output.data, name));
    AUTO_FREE char *pid = bed_read(bed_path(&bed, "pid"));
    assert_non_null(pid);
    /* It is init's to be reaped. */
    (void)snprintf(path, sizeof(path), "/proc/%ld/status", strtol(pid, NULL, 10));
    AUTO_FREE char *status = bed_read(path);
    assert_true(!status || strstr(status, "State:\tZ"));
    bed_close(&bed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_text_is_run_by_the_shell_and_is_in_no_argument),
        cmocka_unit_test(a_text_says_in_its_first_line_what_runs_it),
        cmocka_unit_test(a_text_that_is_running_cannot_be_changed),
        cmocka_unit_test(a_text_checks_and_a_text_undoes),
        cmocka_unit_test(it_has_the_environment_folder_mask_and_input_that_are_asked_for),
        cmocka_unit_test(each_program_finds_its_standard_input_from_the_beginning),
        cmocka_unit_test(it_has_no_other_descriptors),
        cmocka_unit_test(it_leads_a_session_of_its_own),
        cmocka_unit_test(the_exit_codes_that_are_success_are_the_plans),
        cmocka_unit_test(it_runs_as_the_user_with_its_groups),
        cmocka_unit_test(a_user_that_does_not_exist_fails_before_anything_is_done),
        cmocka_unit_test(all_that_it_has_started_is_ended),
        cmocka_unit_test(what_uses_too_much_is_stopped),
        cmocka_unit_test(nothing_in_a_control_group_outlives_the_step),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
