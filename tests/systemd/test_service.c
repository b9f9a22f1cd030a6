#include "systemd/support_systemd.h"

#include "common/base/alloc.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define SLEEPER "[Service]\nExecStart=/bin/sleep 1000\n"
/* Tells systemd when it is up, so that nothing is waited for. */
#define READY "[Service]\nType=exec\nExecStart=/bin/sleep 1000\n"

/* The parameters of a step about unit t.service. */
#define T(rest) "{\"name\":\"t\"" rest "}"
#define QUICK ",\"settleSeconds\":0"

static struct bed bed;

static int open_bed(void **state)
{
    (void)state;
    bed_open(&bed);
    return 0;
}

static int close_bed(void **state)
{
    (void)state;
    bed_close(&bed);
    units_remove("t.service other.service");
    return 0;
}

static void expect_output(const char *text)
{
    if (!bed.output.data || !strstr(bed.output.data, text))
        fail_msg("not in the output: %s\n%s", text, bed.output.data ? bed.output.data : "");
}

/* ---- Running and not running ------------------------------------------------------------- */

static void a_service_is_started_and_stopped_again(void **state)
{
    (void)state;
    const char *params = T(",\"state\":\"started\"" QUICK);
    unit_add("t.service", SLEEPER);
    must(&bed, HANDLER_PREPARE, params);
    assert_inactive("t");
    must(&bed, HANDLER_EXECUTE, params);
    assert_true(bed.result.changed);
    assert_string_equal(bed.result.message, "t.service is active, was started");
    expect_output("start: t.service is active, running\n");
    assert_active("t");
    must(&bed, HANDLER_ROLLBACK, params);
    assert_inactive("t");
    assert_string_equal(bed.result.message, "t.service is inactive again");
    /* It can run again. */
    must(&bed, HANDLER_ROLLBACK, params);
    assert_inactive("t");
}

static void what_is_so_already_is_left_alone(void **state)
{
    (void)state;
    const char *params = T(",\"state\":\"started\",\"enabled\":false" QUICK);
    unit_add("t.service", SLEEPER "[Install]\nWantedBy=multi-user.target\n");
    (void)shell("systemctl start t");
    const char *pid = unit_property("t", "MainPID");
    must(&bed, HANDLER_PREPARE, params);
    must(&bed, HANDLER_EXECUTE, params);
    assert_false(bed.result.changed);
    assert_string_equal(bed.result.message, "t.service is so already: active, disabled");
    must(&bed, HANDLER_ROLLBACK, params);
    assert_string_equal(unit_property("t", "MainPID"), pid);
    must(&bed, HANDLER_EXECUTE, T(",\"enabled\":false"));
    assert_false(bed.result.changed);
}

static void a_service_is_stopped_and_started_again(void **state)
{
    (void)state;
    const char *params = T(",\"state\":\"stopped\"" QUICK);
    unit_add("t.service", SLEEPER);
    (void)shell("systemctl start t");
    must(&bed, HANDLER_PREPARE, params);
    must(&bed, HANDLER_EXECUTE, params);
    assert_true(bed.result.changed);
    assert_inactive("t");
    must(&bed, HANDLER_EXECUTE, params);
    assert_false(bed.result.changed);
    must(&bed, HANDLER_ROLLBACK, params);
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
    must(&bed, HANDLER_PREPARE, params);
    must(&bed, HANDLER_EXECUTE, params);
    assert_true(bed.result.changed);
    assert_active("t");
    assert_string_not_equal(unit_property("t", "MainPID"), before);
    (void)snprintf(before, sizeof(before), "%s", unit_property("t", "MainPID"));
    must(&bed, HANDLER_ROLLBACK, params);
    assert_active("t");
    assert_string_equal(unit_property("t", "MainPID"), before);
}

static void restarting_what_does_not_run_starts_it(void **state)
{
    (void)state;
    const char *params = T(",\"state\":\"restarted\"" QUICK);
    unit_add("t.service", SLEEPER);
    must(&bed, HANDLER_PREPARE, params);
    must(&bed, HANDLER_EXECUTE, params);
    assert_active("t");
    must(&bed, HANDLER_ROLLBACK, params);
    assert_inactive("t");
}

static void a_reload_keeps_the_process(void **state)
{
    (void)state;
    char before[32];
    const char *params = T(",\"state\":\"reloaded\"" QUICK);
    unit_add("t.service", SLEEPER "ExecReload=/bin/touch /tmp/reloaded\n");
    must(&bed, HANDLER_PREPARE, params);
    must_fail(&bed, HANDLER_EXECUTE, params, "t.service does not run (inactive)");
    assert_false(bed.result.retryable);
    (void)shell("systemctl start t; rm -f /tmp/reloaded");
    (void)snprintf(before, sizeof(before), "%s", unit_property("t", "MainPID"));
    must(&bed, HANDLER_EXECUTE, params);
    assert_string_equal(shell("ls /tmp/reloaded"), "/tmp/reloaded");
    assert_string_equal(unit_property("t", "MainPID"), before);
    unit_add("t.service", SLEEPER);
    must_fail(&bed, HANDLER_EXECUTE, params, "t.service cannot reload: use \"restarted\"");
    assert_false(bed.result.retryable);
}

static void a_oneshot_that_runs_to_its_end_has_started(void **state)
{
    (void)state;
    const char *params = T(",\"state\":\"started\"");
    unit_add("t.service", "[Service]\nType=oneshot\nExecStart=/bin/true\n");
    must(&bed, HANDLER_PREPARE, params);
    must(&bed, HANDLER_EXECUTE, params);
    assert_true(bed.result.changed);
    must(&bed, HANDLER_ROLLBACK, params);
}

static void a_timer_is_a_unit_too(void **state)
{
    (void)state;
    const char *params = "{\"name\":\"t.timer\",\"state\":\"started\",\"enabled\":true}";
    unit_add("t.service", SLEEPER);
    unit_add("t.timer", "[Timer]\nOnCalendar=2100-01-01\n[Install]\nWantedBy=timers.target\n");
    must(&bed, HANDLER_PREPARE, params);
    must(&bed, HANDLER_EXECUTE, params);
    assert_active("t.timer");
    assert_string_equal(unit_property("t.timer", "UnitFileState"), "enabled");
    must(&bed, HANDLER_ROLLBACK, params);
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
    must(&bed, HANDLER_PREPARE, params);
    must_fail(&bed, HANDLER_EXECUTE, params,
              "t.service did not stay up: it is failed, failed (Result exit-code, exit status 3)");
    assert_true(bed.result.retryable);
    assert_true(bed.duration_ms >= 1900); /* as long as services that do not tell get */
    expect_output("the last lines of its log:\n");
    expect_output("  port 80 is taken\n");
    must(&bed, HANDLER_ROLLBACK, params);
    /* Without settling nobody sees it die. */
    must(&bed, HANDLER_EXECUTE, T(",\"state\":\"started\"" QUICK));
}

static void a_service_that_cannot_start_has_failed(void **state)
{
    (void)state;
    const char *params = T(",\"state\":\"started\"");
    unit_add("t.service", "[Service]\nType=oneshot\nRemainAfterExit=yes\n"
                          "ExecStart=/bin/sh -c 'echo no config; exit 2'\n");
    must(&bed, HANDLER_PREPARE, params);
    must_fail(&bed, HANDLER_EXECUTE, params, "the start of t.service failed");
    expect_output("t.service is failed, failed (Result exit-code, exit status 2)\n");
    expect_output("  no config\n");
    unit_add("t.service", "[Service]\nType=oneshot\nRemainAfterExit=yes\n"
                          "ExecStart=/bin/sh -c 'echo no port; exit 2'\n");
    must_fail(&bed, HANDLER_EXECUTE, params, "the start of t.service failed");
    expect_output("  no port\n");
    assert_null(strstr(bed.output.data, "no config"));
    must(&bed, HANDLER_ROLLBACK, params);
    /* It was not failed before. */
    assert_inactive("t");
}

static void a_service_that_systemd_must_start_again_has_failed(void **state)
{
    (void)state;
    const char *params = T(",\"state\":\"restarted\",\"settleSeconds\":1");
    unit_add("t.service", "[Unit]\nStartLimitIntervalSec=0\n[Service]\nRestart=always\n"
                          "RestartSec=10ms\nExecStart=/bin/sleep 0.3\n");
    must(&bed, HANDLER_PREPARE, params);
    must_fail(&bed, HANDLER_EXECUTE, params, "t.service did not stay up");
    must(&bed, HANDLER_ROLLBACK, params);
    assert_inactive("t");
}

static void a_service_that_tells_when_it_is_up_is_not_waited_for(void **state)
{
    (void)state;
    const char *params = T(",\"state\":\"started\"");
    unit_add("t.service", "[Service]\nType=forking\nExecStart=/bin/sh -c 'sleep 1000 & sleep "
                          "0.2'\nPIDFile=\n");
    must(&bed, HANDLER_PREPARE, params);
    must(&bed, HANDLER_EXECUTE, params);
    assert_true(bed.duration_ms < 1900);
    assert_active("t");
}

static void a_condition_that_is_not_met_is_told(void **state)
{
    (void)state;
    const char *params = T(",\"state\":\"started\"");
    unit_add("t.service", "[Unit]\nConditionPathExists=/no/such/file\n" SLEEPER);
    must(&bed, HANDLER_PREPARE, params);
    must_fail(&bed, HANDLER_EXECUTE, params, "a condition in its unit file is not met");
    must(&bed, HANDLER_ROLLBACK, params);
}

static void a_dependency_that_fails_is_told(void **state)
{
    (void)state;
    const char *params = T(",\"state\":\"started\"");
    unit_write("other.service", "[Service]\nType=oneshot\nExecStart=/bin/false\n");
    unit_add("t.service", "[Unit]\nRequires=other.service\nAfter=other.service\n" SLEEPER);
    must(&bed, HANDLER_PREPARE, params);
    must_fail(&bed, HANDLER_EXECUTE, params, "failed, since a unit that it needs failed");
    must(&bed, HANDLER_ROLLBACK, params);
}

/* Attempts of a step must not use up what systemd allows, nor what undo needs. */
static void a_start_limit_is_not_in_the_way(void **state)
{
    (void)state;
    const char *params = T(",\"state\":\"restarted\"" QUICK);
    unit_add("t.service", "[Unit]\nStartLimitBurst=1\nStartLimitIntervalSec=3600\n" SLEEPER);
    (void)shell("systemctl start t");
    must(&bed, HANDLER_PREPARE, params);
    for (int i = 0; i < 3; i++)
        must(&bed, HANDLER_EXECUTE, params);
    (void)shell("systemctl stop t");
    must(&bed, HANDLER_ROLLBACK, params);
    assert_active("t");
}

static void what_takes_too_long_is_called_off(void **state)
{
    (void)state;
    const char *params = T(",\"state\":\"started\",\"timeout\":\"300ms\"");
    unit_add("t.service", "[Service]\nType=notify\nExecStart=/bin/sleep 1000\n");
    must(&bed, HANDLER_PREPARE, params);
    must_fail(&bed, HANDLER_EXECUTE, params,
              "the start of t.service took longer than 300ms and was called off");
    assert_true(bed.result.retryable);
    assert_string_equal(shell("systemctl list-jobs --no-legend | awk '$2 == \"t.service\"'"), "");
    must(&bed, HANDLER_ROLLBACK, params);
    assert_inactive("t");
}

/* ---- Cancelling -------------------------------------------------------------------------- */

#define NEVER_UP "[Service]\nType=notify\nExecStart=/bin/sh -c 'echo x > /tmp/began; sleep 1000'\n"

static void cancelling_calls_the_job_off(void **state)
{
    (void)state;
    const char *params = T(",\"state\":\"started\"");
    struct watcher w = {.bed = &bed, .path = "/tmp/began"};
    unit_add("t.service", NEVER_UP);
    must(&bed, HANDLER_PREPARE, params);
    watcher_start(&w);
    bed_run(&bed, "service", HANDLER_EXECUTE, params);
    watcher_join(&w);
    assert_int_equal(bed.result.outcome, HANDLER_CANCELLED);
    assert_true(bed.duration_ms < 20000);
    assert_string_equal(shell("systemctl list-jobs --no-legend | awk '$2 == \"t.service\"'"), "");
    must(&bed, HANDLER_ROLLBACK, params);
    assert_inactive("t");
}

static void cancelling_at_once_or_while_it_settles_ends(void **state)
{
    (void)state;
    const char *params = T(",\"state\":\"started\",\"settleSeconds\":3600");
    struct watcher w = {.bed = &bed, .path = "/tmp/began"};
    unit_add("t.service", "[Service]\nExecStart=/bin/sh -c 'sleep 0.2; echo x > /tmp/began; "
                          "sleep 1000'\n");
    must(&bed, HANDLER_PREPARE, params);
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
    must(&bed, HANDLER_ROLLBACK, params);
    assert_inactive("t");
}

/* ---- Unit files -------------------------------------------------------------------------- */

static void a_changed_unit_file_is_read_first(void **state)
{
    (void)state;
    const char *params = T(",\"state\":\"restarted\"" QUICK);
    /* New, and nobody has told systemd. */
    unit_write("t.service", SLEEPER);
    must(&bed, HANDLER_PREPARE, params);
    must(&bed, HANDLER_EXECUTE, params);
    assert_active("t");
    unit_write("t.service", "[Service]\nExecStart=/bin/sleep 2000\n");
    must(&bed, HANDLER_EXECUTE, params);
    assert_non_null(strstr(unit_property("t", "ExecStart"), "sleep 2000"));
    assert_string_equal(shell("cat /proc/%s/cmdline | tr '\\0' ' '", unit_property("t", "MainPID")),
                        "/bin/sleep 2000 ");
}

static void what_cannot_be_done_is_refused_before_anything_is(void **state)
{
    (void)state;
    const char *start = T(",\"state\":\"started\"");
    must_fail(&bed, HANDLER_PREPARE, start, "there is no unit t.service");
    assert_false(bed.result.retryable);
    bed_write("/run/systemd/system/t.service", SLEEPER);
    (void)shell("systemctl mask t 2>&1");
    must_fail(&bed, HANDLER_PREPARE, start, "t.service is masked: unmask it first");
    assert_false(bed.result.retryable);
    must(&bed, HANDLER_PREPARE, T(",\"state\":\"stopped\""));
    (void)shell("systemctl unmask t 2>&1; systemctl start t; systemctl mask t 2>&1");
    must_fail(&bed, HANDLER_PREPARE, T(",\"state\":\"stopped\""), "could not be started again");
    (void)shell("systemctl unmask t 2>&1");
    must_fail(&bed, HANDLER_PREPARE, T(",\"enabled\":true"), "no [Install] section");
    must(&bed, HANDLER_PREPARE, T(",\"enabled\":false"));
    unit_add("t.service", "[Service]\nExecStart=not-absolute/x\n");
    must_fail(&bed, HANDLER_PREPARE, start, "t.service cannot be loaded (bad-setting)");
}

static void a_unit_is_known_by_its_other_names(void **state)
{
    (void)state;
    const char *params = "{\"name\":\"other\",\"state\":\"started\",\"settleSeconds\":0}";
    unit_write("t.service", SLEEPER "[Install]\nAlias=other.service\nWantedBy=multi-user.target\n");
    (void)shell("ln -s t.service /etc/systemd/system/other.service");
    must(&bed, HANDLER_PREPARE, params);
    must(&bed, HANDLER_EXECUTE, params);
    expect_output("other.service is a name of t.service\n");
    assert_active("t");
    must(&bed, HANDLER_ROLLBACK, params);
    assert_inactive("t");
}

/* ---- Enabling ---------------------------------------------------------------------------- */

static void enabling_is_undone_link_by_link(void **state)
{
    (void)state;
    char before[4096];
    const char *params = T(",\"enabled\":true,\"state\":\"started\"" QUICK);
    unit_write("other.service", SLEEPER "[Install]\nWantedBy=multi-user.target\n");
    unit_add("t.service", SLEEPER "[Install]\nWantedBy=multi-user.target\nAlias=t-alias.service\n"
                                  "Also=other.service\n");
    /* Disabling t would disable it too. */
    (void)shell("systemctl enable other 2>&1");
    (void)snprintf(before, sizeof(before), "%s", links_list());
    must(&bed, HANDLER_PREPARE, params);
    assert_string_equal(links_list(), before);
    must(&bed, HANDLER_EXECUTE, params);
    assert_true(bed.result.changed);
    expect_output("linked /etc/systemd/system/multi-user.target.wants/t.service to ");
    assert_string_equal(unit_property("t", "UnitFileState"), "enabled");
    assert_non_null(strstr(links_list(), "t-alias.service"));
    must(&bed, HANDLER_EXECUTE, params);
    assert_false(bed.result.changed);
    must(&bed, HANDLER_ROLLBACK, params);
    assert_string_equal(links_list(), before);
    assert_string_equal(unit_property("t", "UnitFileState"), "disabled");
    assert_string_equal(unit_property("other", "UnitFileState"), "enabled");
    assert_inactive("t");
    (void)shell("systemctl disable other 2>&1");
}

static void disabling_is_undone_link_by_link(void **state)
{
    (void)state;
    char before[4096];
    const char *params = T(",\"enabled\":false");
    unit_write("other.service", SLEEPER "[Install]\nWantedBy=multi-user.target\n");
    unit_add("t.service", SLEEPER "[Install]\nWantedBy=multi-user.target\nAlias=t-alias.service\n"
                                  "Also=other.service\n");
    (void)shell("systemctl enable t 2>&1");
    (void)snprintf(before, sizeof(before), "%s", links_list());
    must(&bed, HANDLER_PREPARE, params);
    must(&bed, HANDLER_EXECUTE, params);
    assert_true(bed.result.changed);
    assert_string_equal(unit_property("t", "UnitFileState"), "disabled");
    assert_null(strstr(links_list(), "t.service"));
    must(&bed, HANDLER_ROLLBACK, params);
    assert_string_equal(links_list(), before);
    assert_string_equal(unit_property("t", "UnitFileState"), "enabled");
    (void)shell("systemctl disable t other 2>&1");
}

static void an_instance_of_a_template_is_enabled(void **state)
{
    (void)state;
    char before[4096];
    const char *params = "{\"name\":\"t@a\",\"enabled\":true}";
    unit_add("t@.service", SLEEPER "[Install]\nWantedBy=multi-user.target\n");
    (void)shell("systemctl enable t@b 2>&1");
    (void)snprintf(before, sizeof(before), "%s", links_list());
    must(&bed, HANDLER_PREPARE, params);
    must(&bed, HANDLER_EXECUTE, params);
    assert_string_equal(unit_property("t@a", "UnitFileState"), "enabled");
    must(&bed, HANDLER_ROLLBACK, params);
    assert_string_equal(links_list(), before);
    (void)shell("systemctl disable t@b 2>&1");
    units_remove("t@.service");
}

/* ---- What undo does ---------------------------------------------------------------------- */

/* A service that fails with a configuration that it does not like. */
#define WITH_CONFIG                                                                                \
    "[Service]\nType=exec\nExecStartPre=/bin/grep -q good /tmp/t.conf\n"                           \
    "ExecStart=/bin/sh -c 'cp /tmp/t.conf /tmp/t.running; exec sleep 1000'\n"

static void a_step_before_the_change_restarts_once_it_is_undone(void **state)
{
    (void)state;
    const char *guard = T(",\"undo\":\"restart\"");
    const char *restart = T(",\"state\":\"restarted\",\"undo\":\"deferred\"");
    char *captured;
    unit_add("t.service", WITH_CONFIG);
    bed_write("/tmp/t.conf", "good 1\n");
    (void)shell("systemctl start t");
    must(&bed, HANDLER_PREPARE, guard);
    captured = bed.undo;
    bed.undo = NULL;
    must(&bed, HANDLER_PREPARE, guard);
    must(&bed, HANDLER_EXECUTE, guard);
    /* So that it is undone whatever it found. */
    assert_true(bed.result.changed);
    bed_write("/tmp/t.conf", "bad\n");
    must(&bed, HANDLER_PREPARE, restart);
    must_fail(&bed, HANDLER_EXECUTE, restart, "the restart of t.service failed");
    must(&bed, HANDLER_ROLLBACK, restart);
    assert_string_equal(bed.result.message, "t.service is left to an earlier step: it is failed");
    bed_write("/tmp/t.conf", "good 1\n");
    free(bed.undo);
    bed.undo = captured;
    must(&bed, HANDLER_ROLLBACK, guard);
    assert_active("t");
    assert_string_equal(shell("cat /tmp/t.running"), "good 1");
}

static void deferring_still_stops_what_did_not_run(void **state)
{
    (void)state;
    const char *params = T(",\"state\":\"restarted\",\"undo\":\"deferred\"");
    unit_add("t.service", READY);
    must(&bed, HANDLER_PREPARE, params);
    must(&bed, HANDLER_EXECUTE, params);
    must(&bed, HANDLER_ROLLBACK, params);
    assert_inactive("t");
}

static void undo_can_reload(void **state)
{
    (void)state;
    const char *params = T(",\"state\":\"reloaded\",\"undo\":\"reload\"" QUICK);
    unit_add("t.service", SLEEPER "ExecReload=/bin/sh -c 'echo x >> /tmp/reloads'\n");
    (void)shell("systemctl start t; rm -f /tmp/reloads");
    must(&bed, HANDLER_PREPARE, params);
    must(&bed, HANDLER_EXECUTE, params);
    must(&bed, HANDLER_ROLLBACK, params);
    assert_string_equal(shell("wc -l < /tmp/reloads"), "2");
    (void)shell("systemctl stop t");
    must(&bed, HANDLER_ROLLBACK, params);
    assert_active("t");
}

static void undo_says_when_the_unit_is_gone(void **state)
{
    (void)state;
    const char *stop = T(",\"state\":\"stopped\"" QUICK);
    unit_add("t.service", SLEEPER);
    (void)shell("systemctl start t");
    must(&bed, HANDLER_PREPARE, stop);
    must(&bed, HANDLER_EXECUTE, stop);
    units_remove("t.service");
    must_fail(&bed, HANDLER_ROLLBACK, stop, "t.service ran before, and its unit file is gone");
    assert_false(bed.result.retryable);
}

static void undo_that_does_not_come_up_has_failed(void **state)
{
    (void)state;
    const char *params = T(",\"state\":\"stopped\"");
    unit_add("t.service", WITH_CONFIG);
    bed_write("/tmp/t.conf", "good\n");
    (void)shell("systemctl start t");
    must(&bed, HANDLER_PREPARE, params);
    must(&bed, HANDLER_EXECUTE, params);
    bed_write("/tmp/t.conf", "bad\n");
    must_fail(&bed, HANDLER_ROLLBACK, params, "the start of t.service failed");
    assert_true(bed.result.retryable);
}

/* ---- Connections ------------------------------------------------------------------------- */

static void a_lost_connection_fails_the_step(void **state)
{
    (void)state;
    const char *params = T(",\"state\":\"started\"");
    struct watcher w = {.path = "/tmp/began"};
    unit_add("t.service", NEVER_UP);
    must(&bed, HANDLER_PREPARE, params);
    watcher_start(&w);
    must_fail(&bed, HANDLER_EXECUTE, params, "the connection to systemd was lost");
    watcher_join(&w);
    assert_true(bed.result.retryable);
    must(&bed, HANDLER_ROLLBACK, params);
    assert_inactive("t");
}

static void the_message_bus_itself_can_be_restarted(void **state)
{
    (void)state;
    const char *params = "{\"name\":\"dbus\",\"state\":\"restarted\",\"settleSeconds\":0}";
    must(&bed, HANDLER_PREPARE, params);
    must(&bed, HANDLER_EXECUTE, params);
    assert_active("dbus");
}

static void without_the_managers_own_socket_the_bus_is_used(void **state)
{
    (void)state;
    const char *params = T(",\"state\":\"started\",\"enabled\":true" QUICK);
    unit_add("t.service", SLEEPER "[Install]\nWantedBy=multi-user.target\n");
    (void)shell("mv /run/systemd/private /run/systemd/private.away");
    must(&bed, HANDLER_PREPARE, params);
    must(&bed, HANDLER_EXECUTE, params);
    assert_string_equal(bed.result.message, "t.service is active, enabled, was started");
    must(&bed, HANDLER_ROLLBACK, params);
    (void)shell("mv /run/dbus/system_bus_socket /run/dbus/away");
    must_fail(&bed, HANDLER_EXECUTE, params, "systemd cannot be reached: No such file");
    assert_true(bed.result.retryable);
    (void)shell("mv /run/dbus/away /run/dbus/system_bus_socket; "
                "mv /run/systemd/private.away /run/systemd/private");
    assert_inactive("t");
    assert_string_equal(unit_property("t", "UnitFileState"), "disabled");
}

static void where_systemd_does_not_run_it_says_so(void **state)
{
    (void)state;
    (void)shell("mv /run/systemd/system /run/systemd/system.away");
    must_fail(&bed, HANDLER_PREPARE, T(",\"state\":\"started\""),
              "systemd does not run on this server");
    (void)shell("mv /run/systemd/system.away /run/systemd/system");
}

/* ---- Memory ------------------------------------------------------------------------------ */

static void keep_result(struct handler_run *run, const struct handler_result *result)
{
    (void)run;
    bed.result = *result;
}

static void ignore_output(struct handler_run *run, const char *data, size_t len)
{
    (void)run;
    (void)data;
    (void)len;
}

static void memory_running_out_fails_the_step(void **state)
{
    (void)state;
    static char name[] = "t";
    const struct service_params params = {
        .name = name, .state = SERVICE_STARTED, .has_enabled = true, .enabled = true};
    static const enum handler_operation operations[] = {HANDLER_PREPARE, HANDLER_EXECUTE,
                                                        HANDLER_ROLLBACK};
    unit_add("t.service", READY "[Install]\nWantedBy=multi-user.target\n");
    must(&bed, HANDLER_PREPARE, T(",\"state\":\"started\",\"enabled\":true"));
    for (size_t i = 0; i < sizeof(operations) / sizeof(operations[0]); i++) {
        uint64_t failed = 1;
        for (uint64_t n = 0; failed > 0; n++) {
            struct handler_run run = {.host = &bed.host,
                                      .handler = handler_find("service"),
                                      .operation = operations[i],
                                      .params = &params,
                                      .undo = bed.undo,
                                      .output = ignore_output,
                                      .done = keep_result};
            mem_fail_after(n);
            handler_start(&run);
            assert_int_equal(uv_run(&bed.loop, UV_RUN_DEFAULT), 0);
            failed = mem_fail_count();
            mem_fail_never();
            bool ok = bed.result.outcome == HANDLER_OK;
            assert_true(failed > 0 ? strstr(bed.result.message, "out of memory") != NULL : ok);
        }
    }
    assert_inactive("t");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, open_bed, close_bed)

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
        TEST(enabling_is_undone_link_by_link),
        TEST(disabling_is_undone_link_by_link),
        TEST(an_instance_of_a_template_is_enabled),
        TEST(a_step_before_the_change_restarts_once_it_is_undone),
        TEST(deferring_still_stops_what_did_not_run),
        TEST(undo_can_reload),
        TEST(undo_says_when_the_unit_is_gone),
        TEST(undo_that_does_not_come_up_has_failed),
        TEST(a_lost_connection_fails_the_step),
        TEST(the_message_bus_itself_can_be_restarted),
        TEST(without_the_managers_own_socket_the_bus_is_used),
        TEST(where_systemd_does_not_run_it_says_so),
        TEST(memory_running_out_fails_the_step),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
