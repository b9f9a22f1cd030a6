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
    must(HANDLER_PREPARE, params);
    assert_string_equal(links_list(), before);
    must(HANDLER_EXECUTE, params);
    assert_true(bed.result.changed);
    expect_output("linked /etc/systemd/system/multi-user.target.wants/t.service to ");
    assert_string_equal(unit_property("t", "UnitFileState"), "enabled");
    assert_non_null(strstr(links_list(), "t-alias.service"));
    must(HANDLER_EXECUTE, params);
    assert_false(bed.result.changed);
    must(HANDLER_ROLLBACK, params);
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
    must(HANDLER_PREPARE, params);
    must(HANDLER_EXECUTE, params);
    assert_true(bed.result.changed);
    assert_string_equal(unit_property("t", "UnitFileState"), "disabled");
    assert_null(strstr(links_list(), "t.service"));
    must(HANDLER_ROLLBACK, params);
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
    must(HANDLER_PREPARE, params);
    must(HANDLER_EXECUTE, params);
    assert_string_equal(unit_property("t@a", "UnitFileState"), "enabled");
    must(HANDLER_ROLLBACK, params);
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
    must(HANDLER_PREPARE, guard);
    captured = bed.undo;
    bed.undo = NULL;
    must(HANDLER_PREPARE, guard);
    must(HANDLER_EXECUTE, guard);
    /* So that it is undone whatever it found. */
    assert_true(bed.result.changed);
    bed_write("/tmp/t.conf", "bad\n");
    must(HANDLER_PREPARE, restart);
    must_fail(HANDLER_EXECUTE, restart, "the restart of t.service failed");
    must(HANDLER_ROLLBACK, restart);
    assert_string_equal(bed.result.message, "t.service is left to an earlier step: it is failed");
    bed_write("/tmp/t.conf", "good 1\n");
    free(bed.undo);
    bed.undo = captured;
    must(HANDLER_ROLLBACK, guard);
    assert_active("t");
    assert_string_equal(shell("cat /tmp/t.running"), "good 1");
}

static void deferring_still_stops_what_did_not_run(void **state)
{
    (void)state;
    const char *params = T(",\"state\":\"restarted\",\"undo\":\"deferred\"");
    unit_add("t.service", READY);
    must(HANDLER_PREPARE, params);
    must(HANDLER_EXECUTE, params);
    must(HANDLER_ROLLBACK, params);
    assert_inactive("t");
}

static void undo_can_reload(void **state)
{
    (void)state;
    const char *params = T(",\"state\":\"reloaded\",\"undo\":\"reload\"" QUICK);
    unit_add("t.service", SLEEPER "ExecReload=/bin/sh -c 'echo x >> /tmp/reloads'\n");
    (void)shell("systemctl start t; rm -f /tmp/reloads");
    must(HANDLER_PREPARE, params);
    must(HANDLER_EXECUTE, params);
    must(HANDLER_ROLLBACK, params);
    assert_string_equal(shell("wc -l < /tmp/reloads"), "2");
    (void)shell("systemctl stop t");
    must(HANDLER_ROLLBACK, params);
    assert_active("t");
}

static void undo_says_when_the_unit_is_gone(void **state)
{
    (void)state;
    const char *stop = T(",\"state\":\"stopped\"" QUICK);
    unit_add("t.service", SLEEPER);
    (void)shell("systemctl start t");
    must(HANDLER_PREPARE, stop);
    must(HANDLER_EXECUTE, stop);
    units_remove("t.service");
    must_fail(HANDLER_ROLLBACK, stop, "t.service ran before, and its unit file is gone");
    assert_false(bed.result.retryable);
}

static void undo_that_does_not_come_up_has_failed(void **state)
{
    (void)state;
    const char *params = T(",\"state\":\"stopped\"");
    unit_add("t.service", WITH_CONFIG);
    bed_write("/tmp/t.conf", "good\n");
    (void)shell("systemctl start t");
    must(HANDLER_PREPARE, params);
    must(HANDLER_EXECUTE, params);
    bed_write("/tmp/t.conf", "bad\n");
    must_fail(HANDLER_ROLLBACK, params, "the start of t.service failed");
    assert_true(bed.result.retryable);
}

/* ---- Connections ------------------------------------------------------------------------- */

static void a_lost_connection_fails_the_step(void **state)
{
    (void)state;
    const char *params = T(",\"state\":\"started\"");
    struct watcher w = {.path = "/tmp/began"};
    unit_add("t.service", NEVER_UP);
    must(HANDLER_PREPARE, params);
    watcher_start(&w);
    must_fail(HANDLER_EXECUTE, params, "the connection to systemd was lost");
    watcher_join(&w);
    assert_true(bed.result.retryable);
    must(HANDLER_ROLLBACK, params);
    assert_inactive("t");
}

static void the_message_bus_itself_can_be_restarted(void **state)
{
    (void)state;
    const char *params = "{\"name\":\"dbus\",\"state\":\"restarted\",\"settleSeconds\":0}";
    must(HANDLER_PREPARE, params);
    must(HANDLER_EXECUTE, params);
    assert_active("dbus");
}

static void without_the_managers_own_socket_the_bus_is_used(void **state)
{
    (void)state;
    const char *params = T(",\"state\":\"started\",\"enabled\":true" QUICK);
    unit_add("t.service", SLEEPER "[Install]\nWantedBy=multi-user.target\n");
    (void)shell("mv /run/systemd/private /run/systemd/private.away");
    must(HANDLER_PREPARE, params);
    must(HANDLER_EXECUTE, params);
    assert_string_equal(bed.result.message, "t.service is active, enabled, was started");
    must(HANDLER_ROLLBACK, params);
    (void)shell("mv /run/dbus/system_bus_socket /run/dbus/away");
    must_fail(HANDLER_EXECUTE, params, "systemd cannot be reached: No such file");
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
    must_fail(HANDLER_PREPARE, T(",\"state\":\"started\""), "systemd does not run on this server");
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
    must(HANDLER_PREPARE, T(",\"state\":\"started\",\"enabled\":true"));
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

int main(void)
{
    const struct CMUnitTest tests[] = {
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
