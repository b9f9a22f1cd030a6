/* What a check of `service` says, held against what execute then does. */
#include "systemd/support_systemd.h"

#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define INSTALL "[Install]\nWantedBy=multi-user.target\n"

/* All of systemd that a check could change. */
static const char *state_of(void)
{
    return shell("systemctl show t -p ActiveState,MainPID,UnitFileState,NeedDaemonReload,"
                 "InvocationID,Job; find /etc/systemd/system | sort");
}

static void expect_said(const char *params, bool changes, const char *message)
{
    char before[4096];
    (void)strncpy(before, state_of(), sizeof(before) - 1);
    before[sizeof(before) - 1] = '\0';
    must(HANDLER_CHECK, params);
    assert_int_equal(bed.result.changed, changes);
    assert_string_equal(bed.result.message, message);
    assert_string_equal(state_of(), before);
}

static void expect_truth(const char *params, bool changes, const char *message)
{
    expect_said(params, changes, message);
    must(HANDLER_PREPARE, params);
    must(HANDLER_EXECUTE, params);
    assert_int_equal(bed.result.changed, changes);
}

static void it_says_from_which_state_to_which(void **state)
{
    (void)state;
    unit_add("t.service", SLEEPER INSTALL);
    expect_truth(T(",\"state\":\"started\",\"enabled\":true" QUICK), true,
                 "would change t.service: inactive -> started, disabled -> enabled");
    expect_truth(T(",\"state\":\"started\",\"enabled\":true" QUICK), false,
                 "t.service is so already: active, enabled");
    expect_truth(T(",\"enabled\":false"), true, "would change t.service: enabled -> disabled");
    expect_truth(T(",\"state\":\"restarted\"" QUICK), true,
                 "would change t.service: active -> restarted");
    expect_truth(T(",\"state\":\"stopped\""), true, "would change t.service: active -> stopped");
}

static void what_guards_its_undo_counts_as_changed(void **state)
{
    (void)state;
    unit_add("t.service", SLEEPER);
    expect_truth(T(",\"state\":\"stopped\",\"undo\":\"restart\""), true,
                 "t.service is so already: inactive");
}

static void a_changed_unit_file_is_told_and_not_read(void **state)
{
    (void)state;
    unit_add("t.service", SLEEPER);
    (void)shell("systemctl start t");
    unit_write("t.service", READY);
    assert_string_equal(unit_property("t", "NeedDaemonReload"), "yes");
    expect_said(T(",\"state\":\"restarted\"" QUICK), true,
                "would change t.service: active -> restarted (its files were changed; systemd "
                "would read them anew first)");
    assert_string_equal(unit_property("t", "NeedDaemonReload"), "yes");
}

static void what_execute_would_refuse_fails(void **state)
{
    (void)state;
    must_fail(HANDLER_CHECK, T(",\"state\":\"started\""), "there is no unit t.service");
    unit_add("t.service", SLEEPER);
    must_fail(HANDLER_CHECK, T(",\"enabled\":true"), "no [Install] section");
    must_fail(HANDLER_CHECK, T(",\"state\":\"reloaded\""), "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(it_says_from_which_state_to_which),
        TEST(what_guards_its_undo_counts_as_changed),
        TEST(a_changed_unit_file_is_told_and_not_read),
        TEST(what_execute_would_refuse_fails),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
