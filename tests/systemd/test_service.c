#include "systemd/support_systemd.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* ---- Running and not running ------------------------------------------------------------- */

static void a_service_is_started_and_stopped_again(void **state)
{
    (void)state;
    const char *params = T(",\"state\":\"started\"" QUICK);
    unit_add("t.service", SLEEPER);
    must(HANDLER_PREPARE, params);
    assert_inactive("t");
    must(HANDLER_EXECUTE, params);
    assert_true(bed.result.changed);
    assert_string_equal(bed.result.message, "t.service is active, was started");
    expect_output("start: t.service is active, running\n");
    assert_active("t");
    must(HANDLER_ROLLBACK, params);
    assert_inactive("t");
    assert_string_equal(bed.result.message, "t.service is inactive again");
    /* It can run again. */
    must(HANDLER_ROLLBACK, params);
    assert_inactive("t");
}

static void what_is_so_already_is_left_alone(void **state)
{
    (void)state;
    const char *params = T(",\"state\":\"started\",\"enabled\":false" QUICK);
    unit_add("t.service", SLEEPER "[Install]\nWantedBy=multi-user.target\n");
    (void)shell("systemctl start t");
    const char *pid = unit_property("t", "MainPID");
    must(HANDLER_PREPARE, params);
    must(HANDLER_EXECUTE, params);
    assert_false(bed.result.changed);
    assert_string_equal(bed.result.message, "t.service is so already: active, disabled");
    must(HANDLER_ROLLBACK, params);
    assert_string_equal(unit_property("t", "MainPID"), pid);
    must(HANDLER_EXECUTE, T(",\"enabled\":false"));
    assert_false(bed.result.changed);
}

static void a_service_is_stopped_and_started_again(void **state)
{
    (void)state;
    const char *params = T(",\"state\":\"stopped\"" QUICK);
    unit_add("t.service", SLEEPER);
    (void)shell("systemctl start t");
    must(HANDLER_PREPARE, params);
    must(HANDLER_EXECUTE, params);
    assert_true(bed.result.changed);
    assert_inactive("t");
    must(HANDLER_EXECUTE, params);
    assert_false(bed.result.changed);
    must(HANDLER_ROLLBACK, params);
    assert_active("t");
}

static void a_restart_is_a_new_process(void **state)
{
    (void)state;
    char before[32];
    const char *params = T(",\"state\":\"restarted\"" QUICK);
    unit_add("t.service", SLEEPER);
    (void)shell("systemctl start t");
    (void)snprintf(before, sizeof(before), "%s", unit_property("t", "MainPID"));
    must(HANDLER_PREPARE, params);
    must(HANDLER_EXECUTE, params);
    assert_true(bed.result.changed);
    assert_active("t");
    assert_string_not_equal(unit_property("t", "MainPID"), before);
    (void)snprintf(before, sizeof(before), "%s", unit_property("t", "MainPID"));
    must(HANDLER_ROLLBACK, params);
    assert_active("t");
    assert_string_equal(unit_property("t", "MainPID"), before);
}

static void restarting_what_does_not_run_starts_it(void **state)
{
    (void)state;
    const char *params = T(",\"state\":\"restarted\"" QUICK);
    unit_add("t.service", SLEEPER);
    must(HANDLER_PREPARE, params);
    must(HANDLER_EXECUTE, params);
    assert_active("t");
    must(HANDLER_ROLLBACK, params);
    assert_inactive("t");
}

static void a_reload_keeps_the_process(void **state)
{
    (void)state;
    char before[32];
    const char *params = T(",\"state\":\"reloaded\"" QUICK);
    unit_add("t.service", SLEEPER "ExecReload=/bin/touch /tmp/reloaded\n");
    must(HANDLER_PREPARE, params);
    must_fail(HANDLER_EXECUTE, params, "t.service does not run (inactive)");
    assert_false(bed.result.retryable);
    (void)shell("systemctl start t; rm -f /tmp/reloaded");
    (void)snprintf(before, sizeof(before), "%s", unit_property("t", "MainPID"));
    must(HANDLER_EXECUTE, params);
    assert_string_equal(shell("ls /tmp/reloaded"), "/tmp/reloaded");
    assert_string_equal(unit_property("t", "MainPID"), before);
    unit_add("t.service", SLEEPER);
    must_fail(HANDLER_EXECUTE, params, "t.service cannot reload: use \"restarted\"");
    assert_false(bed.result.retryable);
}

static void a_oneshot_that_runs_to_its_end_has_started(void **state)
{
    (void)state;
    const char *params = T(",\"state\":\"started\"");
    unit_add("t.service", "[Service]\nType=oneshot\nExecStart=/bin/true\n");
    must(HANDLER_PREPARE, params);
    must(HANDLER_EXECUTE, params);
    assert_true(bed.result.changed);
    must(HANDLER_ROLLBACK, params);
}

static void a_timer_is_a_unit_too(void **state)
{
    (void)state;
    const char *params = "{\"name\":\"t.timer\",\"state\":\"started\",\"enabled\":true}";
    unit_add("t.service", SLEEPER);
    unit_add("t.timer", "[Timer]\nOnCalendar=2100-01-01\n[Install]\nWantedBy=timers.target\n");
    must(HANDLER_PREPARE, params);
    must(HANDLER_EXECUTE, params);
    assert_active("t.timer");
    assert_string_equal(unit_property("t.timer", "UnitFileState"), "enabled");
    must(HANDLER_ROLLBACK, params);
    assert_inactive("t.timer");
    assert_string_equal(unit_property("t.timer", "UnitFileState"), "disabled");
    units_remove("t.timer");
}

/* ---- Failing ----------------------------------------------------------------------------- */

static void a_service_that_dies_at_once_has_failed(void **state)
{
    (void)state;
    const char *params = T(",\"state\":\"started\"");
    unit_add("t.service", "[Service]\nExecStart=/bin/sh -c 'sleep 0.2; echo port 80 is taken; "
                          "exit 3'\n");
    must(HANDLER_PREPARE, params);
    must_fail(HANDLER_EXECUTE, params,
              "t.service did not stay up: it is failed, failed (Result exit-code, exit status 3)");
    assert_true(bed.result.retryable);
    assert_true(bed.duration_ms >= 1900); /* as long as services that do not tell get */
    expect_output("the last lines of its log:\n");
    expect_output("  port 80 is taken\n");
    must(HANDLER_ROLLBACK, params);
    /* Without settling nobody sees it die. */
    must(HANDLER_EXECUTE, T(",\"state\":\"started\"" QUICK));
}

static void a_service_that_cannot_start_has_failed(void **state)
{
    (void)state;
    const char *params = T(",\"state\":\"started\"");
    unit_add("t.service", "[Service]\nType=oneshot\nRemainAfterExit=yes\n"
                          "ExecStart=/bin/sh -c 'echo no config; exit 2'\n");
    must(HANDLER_PREPARE, params);
    must_fail(HANDLER_EXECUTE, params, "the start of t.service failed");
    expect_output("t.service is failed, failed (Result exit-code, exit status 2)\n");
    expect_output("  no config\n");
    unit_add("t.service", "[Service]\nType=oneshot\nRemainAfterExit=yes\n"
                          "ExecStart=/bin/sh -c 'echo no port; exit 2'\n");
    must_fail(HANDLER_EXECUTE, params, "the start of t.service failed");
    expect_output("  no port\n");
    assert_null(strstr(bed.output.data, "no config"));
    must(HANDLER_ROLLBACK, params);
    /* It was not failed before. */
    assert_inactive("t");
}

static void a_service_that_systemd_must_start_again_has_failed(void **state)
{
    (void)state;
    const char *params = T(",\"state\":\"restarted\",\"settleSeconds\":1");
    unit_add("t.service", "[Unit]\nStartLimitIntervalSec=0\n[Service]\nRestart=always\n"
                          "RestartSec=10ms\nExecStart=/bin/sleep 0.3\n");
    must(HANDLER_PREPARE, params);
    must_fail(HANDLER_EXECUTE, params, "t.service did not stay up");
    must(HANDLER_ROLLBACK, params);
    assert_inactive("t");
}

static void a_service_that_tells_when_it_is_up_is_not_waited_for(void **state)
{
    (void)state;
    const char *params = T(",\"state\":\"started\"");
    unit_add("t.service", "[Service]\nType=forking\nExecStart=/bin/sh -c 'sleep 1000 & sleep "
                          "0.2'\nPIDFile=\n");
    must(HANDLER_PREPARE, params);
    must(HANDLER_EXECUTE, params);
    assert_true(bed.duration_ms < 1900);
    assert_active("t");
}

static void a_condition_that_is_not_met_is_told(void **state)
{
    (void)state;
    const char *params = T(",\"state\":\"started\"");
    unit_add("t.service", "[Unit]\nConditionPathExists=/no/such/file\n" SLEEPER);
    must(HANDLER_PREPARE, params);
    must_fail(HANDLER_EXECUTE, params, "a condition in its unit file is not met");
    must(HANDLER_ROLLBACK, params);
}

static void a_dependency_that_fails_is_told(void **state)
{
    (void)state;
    const char *params = T(",\"state\":\"started\"");
    unit_write("other.service", "[Service]\nType=oneshot\nExecStart=/bin/false\n");
    unit_add("t.service", "[Unit]\nRequires=other.service\nAfter=other.service\n" SLEEPER);
    must(HANDLER_PREPARE, params);
    must_fail(HANDLER_EXECUTE, params, "failed, since a unit that it needs failed");
    must(HANDLER_ROLLBACK, params);
}

/* Attempts of a step must not use up what systemd allows, nor what undo needs. */
static void a_start_limit_is_not_in_the_way(void **state)
{
    (void)state;
    const char *params = T(",\"state\":\"restarted\"" QUICK);
    unit_add("t.service", "[Unit]\nStartLimitBurst=1\nStartLimitIntervalSec=3600\n" SLEEPER);
    (void)shell("systemctl start t");
    must(HANDLER_PREPARE, params);
    for (int i = 0; i < 3; i++)
        must(HANDLER_EXECUTE, params);
    (void)shell("systemctl stop t");
    must(HANDLER_ROLLBACK, params);
    assert_active("t");
}

static void what_takes_too_long_is_called_off(void **state)
{
    (void)state;
    const char *params = T(",\"state\":\"started\",\"timeout\":\"300ms\"");
    unit_add("t.service", "[Service]\nType=notify\nExecStart=/bin/sleep 1000\n");
    must(HANDLER_PREPARE, params);
    must_fail(HANDLER_EXECUTE, params,
              "the start of t.service took longer than 300ms and was called off");
    assert_true(bed.result.retryable);
    assert_string_equal(shell("systemctl list-jobs --no-legend | awk '$2 == \"t.service\"'"), "");
    must(HANDLER_ROLLBACK, params);
    assert_inactive("t");
}

/* ---- Cancelling -------------------------------------------------------------------------- */

static void cancelling_calls_the_job_off(void **state)
{
    (void)state;
    const char *params = T(",\"state\":\"started\"");
    struct watcher w = {.bed = &bed, .path = "/tmp/began"};
    unit_add("t.service", NEVER_UP);
    must(HANDLER_PREPARE, params);
    watcher_start(&w);
    bed_run(&bed, "service", HANDLER_EXECUTE, params);
    watcher_join(&w);
    assert_int_equal(bed.result.outcome, HANDLER_CANCELLED);
    assert_true(bed.duration_ms < 20000);
    assert_string_equal(shell("systemctl list-jobs --no-legend | awk '$2 == \"t.service\"'"), "");
    must(HANDLER_ROLLBACK, params);
    assert_inactive("t");
}

static void cancelling_at_once_or_while_it_settles_ends(void **state)
{
    (void)state;
    const char *params = T(",\"state\":\"started\",\"settleSeconds\":3600");
    struct watcher w = {.bed = &bed, .path = "/tmp/began"};
    unit_add("t.service", "[Service]\nExecStart=/bin/sh -c 'sleep 0.2; echo x > /tmp/began; "
                          "sleep 1000'\n");
    must(HANDLER_PREPARE, params);
    bed.cancel_at = "";
    bed_run(&bed, "service", HANDLER_EXECUTE, params);
    assert_int_equal(bed.result.outcome, HANDLER_CANCELLED);
    watcher_start(&w);
    bed_run(&bed, "service", HANDLER_EXECUTE, params);
    watcher_join(&w);
    assert_int_equal(bed.result.outcome, HANDLER_CANCELLED);
    bed.cancel_at = "restart: ";
    bed_run(&bed, "service", HANDLER_EXECUTE, T(",\"state\":\"restarted\"" QUICK));
    assert_int_equal(bed.result.outcome, HANDLER_CANCELLED);
    must(HANDLER_ROLLBACK, params);
    assert_inactive("t");
}

/* ---- Unit files -------------------------------------------------------------------------- */

static void a_changed_unit_file_is_read_first(void **state)
{
    (void)state;
    const char *params = T(",\"state\":\"restarted\"" QUICK);
    /* New, and nobody has told systemd. */
    unit_write("t.service", SLEEPER);
    must(HANDLER_PREPARE, params);
    must(HANDLER_EXECUTE, params);
    assert_active("t");
    unit_write("t.service", "[Service]\nExecStart=/bin/sleep 2000\n");
    must(HANDLER_EXECUTE, params);
    assert_non_null(strstr(unit_property("t", "ExecStart"), "sleep 2000"));
    assert_string_equal(shell("cat /proc/%s/cmdline | tr '\\0' ' '", unit_property("t", "MainPID")),
                        "/bin/sleep 2000 ");
}

static void what_cannot_be_done_is_refused_before_anything_is(void **state)
{
    (void)state;
    const char *start = T(",\"state\":\"started\"");
    must_fail(HANDLER_PREPARE, start, "there is no unit t.service");
    assert_false(bed.result.retryable);
    bed_write("/run/systemd/system/t.service", SLEEPER);
    (void)shell("systemctl mask t 2>&1");
    must_fail(HANDLER_PREPARE, start, "t.service is masked: unmask it first");
    assert_false(bed.result.retryable);
    must(HANDLER_PREPARE, T(",\"state\":\"stopped\""));
    (void)shell("systemctl unmask t 2>&1; systemctl start t; systemctl mask t 2>&1");
    must_fail(HANDLER_PREPARE, T(",\"state\":\"stopped\""), "could not be started again");
    (void)shell("systemctl unmask t 2>&1");
    must_fail(HANDLER_PREPARE, T(",\"enabled\":true"), "no [Install] section");
    must(HANDLER_PREPARE, T(",\"enabled\":false"));
    unit_add("t.service", "[Service]\nExecStart=not-absolute/x\n");
    must_fail(HANDLER_PREPARE, start, "t.service cannot be loaded (bad-setting)");
}

static void a_unit_is_known_by_its_other_names(void **state)
{
    (void)state;
    const char *params = "{\"name\":\"other\",\"state\":\"started\",\"settleSeconds\":0}";
    unit_write("t.service", SLEEPER "[Install]\nAlias=other.service\nWantedBy=multi-user.target\n");
    (void)shell("ln -s t.service /etc/systemd/system/other.service");
    must(HANDLER_PREPARE, params);
    must(HANDLER_EXECUTE, params);
    expect_output("other.service is a name of t.service\n");
    assert_active("t");
    must(HANDLER_ROLLBACK, params);
    assert_inactive("t");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_service_is_started_and_stopped_again),
        TEST(what_is_so_already_is_left_alone),
        TEST(a_service_is_stopped_and_started_again),
        TEST(a_restart_is_a_new_process),
        TEST(restarting_what_does_not_run_starts_it),
        TEST(a_reload_keeps_the_process),
        TEST(a_oneshot_that_runs_to_its_end_has_started),
        TEST(a_timer_is_a_unit_too),
        TEST(a_service_that_dies_at_once_has_failed),
        TEST(a_service_that_cannot_start_has_failed),
        TEST(a_service_that_systemd_must_start_again_has_failed),
        TEST(a_service_that_tells_when_it_is_up_is_not_waited_for),
        TEST(a_condition_that_is_not_met_is_told),
        TEST(a_dependency_that_fails_is_told),
        TEST(a_start_limit_is_not_in_the_way),
        TEST(what_takes_too_long_is_called_off),
        TEST(cancelling_calls_the_job_off),
        TEST(cancelling_at_once_or_while_it_settles_ends),
        TEST(a_changed_unit_file_is_read_first),
        TEST(what_cannot_be_done_is_refused_before_anything_is),
        TEST(a_unit_is_known_by_its_other_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
