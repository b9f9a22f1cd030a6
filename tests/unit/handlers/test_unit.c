#include "handlers/unit.h"

#include "common/base/cleanup.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* ---- Help -------------------------------------------------------------------------------- */

static struct unit unit_in(const char *active_state)
{
    struct unit u = {.id = "a.service",
                     .load_state = "loaded",
                     .file_state = "disabled",
                     .result = "success",
                     .type = "notify"};
    (void)snprintf(u.active_state, sizeof(u.active_state), "%s", active_state);
    return u;
}

static enum unit_job forward(const char *active_state, enum service_state state)
{
    struct unit u = unit_in(active_state);
    const struct service_params params = {.state = (int)state};
    enum unit_job job = UNIT_JOB_COUNT;
    u.can_reload = true;
    assert_int_equal(unit_job_forward(&u, &params, &job, NULL), ERR_OK);
    return job;
}

static enum unit_job back(const char *active_state, enum service_undo undo, bool was_up)
{
    struct unit u = unit_in(active_state);
    const struct service_params params = {.undo = (int)undo};
    return unit_job_back(&u, &params, was_up);
}

/* ---- Jobs -------------------------------------------------------------------------------- */

static void a_job_is_asked_for_where_the_state_is_another(void **state)
{
    (void)state;
    static const struct {
        const char *active;
        enum unit_job start, stop;
    } cases[] = {
        {"active", UNIT_JOB_NONE, UNIT_JOB_STOP},
        {"reloading", UNIT_JOB_NONE, UNIT_JOB_STOP},
        {"activating", UNIT_JOB_START, UNIT_JOB_STOP}, /* joins what is under way, and waits */
        {"deactivating", UNIT_JOB_START, UNIT_JOB_STOP},
        {"inactive", UNIT_JOB_START, UNIT_JOB_NONE},
        {"failed", UNIT_JOB_START, UNIT_JOB_NONE},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        assert_int_equal(forward(cases[i].active, SERVICE_STARTED), cases[i].start);
        assert_int_equal(forward(cases[i].active, SERVICE_STOPPED), cases[i].stop);
        assert_int_equal(forward(cases[i].active, SERVICE_RESTARTED), UNIT_JOB_RESTART);
        assert_int_equal(forward(cases[i].active, SERVICE_LEAVE), UNIT_JOB_NONE);
    }
    assert_int_equal(forward("active", SERVICE_RELOADED), UNIT_JOB_RELOAD);
}

static void only_what_runs_and_can_reload_is_reloaded(void **state)
{
    (void)state;
    const struct service_params params = {.state = SERVICE_RELOADED};
    struct unit u = unit_in("inactive");
    enum unit_job job;
    u.can_reload = true;
    assert_int_equal(unit_job_forward(&u, &params, &job, NULL), ERR_CONFLICT);
    u = unit_in("active");
    assert_int_equal(unit_job_forward(&u, &params, &job, NULL), ERR_UNSUPPORTED);
}

static void undo_brings_back_whether_it_ran(void **state)
{
    (void)state;
    static const char *const up[] = {"active", "reloading"};
    static const char *const down[] = {"inactive", "failed"};
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(back(up[i], SERVICE_UNDO_RESTORE, true), UNIT_JOB_NONE);
        assert_int_equal(back(down[i], SERVICE_UNDO_RESTORE, true), UNIT_JOB_START);
        assert_int_equal(back(up[i], SERVICE_UNDO_RESTART, true), UNIT_JOB_RESTART);
        assert_int_equal(back(down[i], SERVICE_UNDO_RESTART, true), UNIT_JOB_RESTART);
        assert_int_equal(back(down[i], SERVICE_UNDO_RELOAD, true), UNIT_JOB_START);
        assert_int_equal(back(down[i], SERVICE_UNDO_DEFERRED, true), UNIT_JOB_NONE);
        for (int undo = 0; undo < SERVICE_UNDO_COUNT; undo++) {
            assert_int_equal(back(up[i], (enum service_undo)undo, false), UNIT_JOB_STOP);
            assert_int_equal(back(down[i], (enum service_undo)undo, false), UNIT_JOB_NONE);
        }
    }
    assert_int_equal(back("activating", SERVICE_UNDO_RESTORE, false), UNIT_JOB_STOP);
    assert_int_equal(back("active", SERVICE_UNDO_RELOAD, true), UNIT_JOB_RESTART);
}

static void a_unit_on_its_way_up_is_brought_back_up(void **state)
{
    (void)state;
    static const struct {
        const char *active;
        bool meant_up;
    } cases[] = {{"active", true},        {"activating", true}, {"reloading", true},
                 {"deactivating", false}, {"inactive", false},  {"failed", false}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct unit u = unit_in(cases[i].active);
        assert_int_equal(unit_is_meant_up(&u), cases[i].meant_up);
    }
}

/* ---- Enabling ---------------------------------------------------------------------------- */

static void links_change_where_they_are_others(void **state)
{
    (void)state;
    static const struct {
        const char *file_state;
        bool for_enable, for_disable;
    } cases[] = {{"enabled", false, true},
                 {"enabled-runtime", true, true},
                 {"disabled", true, false},
                 {"static", true, false},
                 {"", true, false}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct unit u = unit_in("active");
        struct service_params params = {.has_enabled = true, .enabled = true};
        (void)snprintf(u.file_state, sizeof(u.file_state), "%s", cases[i].file_state);
        assert_int_equal(unit_needs_enabling(&u, &params), cases[i].for_enable);
        params.enabled = false;
        assert_int_equal(unit_needs_enabling(&u, &params), cases[i].for_disable);
        params.has_enabled = false;
        assert_false(unit_needs_enabling(&u, &params));
    }
}

static void what_cannot_be_done_or_undone_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *load, *active, *file;
        struct service_params params;
        enum error_code code;
    } cases[] = {
        {"loaded", "active", "static", {.state = SERVICE_STOPPED}, ERR_OK},
        {"not-found", "inactive", "", {.state = SERVICE_STOPPED}, ERR_NOT_FOUND},
        {"bad-setting", "inactive", "bad", {.state = SERVICE_STARTED}, ERR_INVALID},
        {"error", "inactive", "", {.state = SERVICE_STARTED}, ERR_INVALID},
        {"masked", "inactive", "masked", {.state = SERVICE_STARTED}, ERR_DENIED},
        {"masked", "inactive", "masked", {.undo = SERVICE_UNDO_RESTART}, ERR_OK},
        {"masked", "inactive", "masked", {.state = SERVICE_STOPPED}, ERR_OK},
        {"masked", "active", "masked", {.state = SERVICE_STOPPED}, ERR_DENIED},
        {"masked", "inactive", "masked", {.has_enabled = true, .enabled = true}, ERR_DENIED},
        {"masked", "inactive", "masked", {.has_enabled = true}, ERR_OK},
        {"loaded", "active", "static", {.has_enabled = true, .enabled = true}, ERR_UNSUPPORTED},
        {"loaded", "active", "generated", {.has_enabled = true, .enabled = true}, ERR_UNSUPPORTED},
        {"loaded", "active", "", {.has_enabled = true, .enabled = true}, ERR_UNSUPPORTED},
        {"loaded", "active", "static", {.has_enabled = true}, ERR_OK},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct unit u = unit_in(cases[i].active);
        (void)snprintf(u.load_state, sizeof(u.load_state), "%s", cases[i].load);
        (void)snprintf(u.file_state, sizeof(u.file_state), "%s", cases[i].file);
        assert_int_equal(unit_check(&u, &cases[i].params, NULL), cases[i].code);
    }
}

/* ---- What became of it ------------------------------------------------------------------- */

static void assert_verdict(const struct unit *u, enum unit_job job, const struct unit *before,
                           const char *expected)
{
    struct error err = {0};
    enum error_code code = unit_verdict(u, job, before, &err);
    assert_int_equal(code, expected ? ERR_IO : ERR_OK);
    if (expected)
        assert_string_equal(err.message, expected);
}

static void a_unit_that_did_not_stay_up_is_told_with_its_end(void **state)
{
    (void)state;
    struct unit u = unit_in("failed");
    u.condition_usec = 1;
    u.condition_met = true;
    (void)snprintf(u.sub_state, sizeof(u.sub_state), "failed");
    (void)snprintf(u.result, sizeof(u.result), "signal");
    u.main_code = CLD_KILLED;
    u.main_status = SIGSEGV;
    assert_verdict(&u, UNIT_JOB_START, NULL,
                   "a.service did not stay up: it is failed, failed (Result signal, killed by "
                   "signal 11 (SEGV))");
    assert_verdict(&u, UNIT_JOB_RELOAD, NULL,
                   "a.service did not stay up: it is failed, failed (Result signal, killed by "
                   "signal 11 (SEGV))");
    assert_verdict(&u, UNIT_JOB_STOP, NULL, NULL);
    u = unit_in("deactivating");
    (void)snprintf(u.sub_state, sizeof(u.sub_state), "stop-sigterm");
    assert_verdict(&u, UNIT_JOB_STOP, NULL,
                   "a.service is not down: it is deactivating, stop-sigterm");
}

static void a_unit_that_came_up_again_did_not_stay_up(void **state)
{
    (void)state;
    struct unit before = unit_in("active");
    struct unit u = unit_in("active");
    assert_verdict(&u, UNIT_JOB_START, &before, NULL);
    u.restarts = 1;
    assert_verdict(&u, UNIT_JOB_START, &before,
                   "a.service did not stay up: systemd had to start it again (Result success)");
    u.restarts = 0;
    (void)snprintf(u.invocation, sizeof(u.invocation), "77");
    assert_verdict(&u, UNIT_JOB_RESTART, &before,
                   "a.service did not stay up: systemd had to start it again (Result success)");
}

static void a_oneshot_may_be_over(void **state)
{
    (void)state;
    struct unit u = unit_in("inactive");
    (void)snprintf(u.type, sizeof(u.type), "oneshot");
    assert_verdict(&u, UNIT_JOB_START, NULL, NULL);
    u.condition_usec = 1;
    assert_verdict(&u, UNIT_JOB_START, NULL,
                   "a.service was not started: a condition in its unit file is not met");
    u.condition_met = true;
    u.remain_after_exit = true;
    (void)snprintf(u.sub_state, sizeof(u.sub_state), "dead");
    assert_verdict(&u, UNIT_JOB_START, NULL,
                   "a.service did not stay up: it is inactive, dead (Result success)");
}

static void services_that_do_not_tell_are_looked_at_again(void **state)
{
    (void)state;
    static const struct {
        const char *type, *active;
        enum unit_job job;
        struct service_params params;
        int64_t settle_ms;
    } cases[] = {
        {"simple", "active", UNIT_JOB_START, {0}, SERVICE_SETTLE_MS},
        {"exec", "active", UNIT_JOB_RESTART, {0}, SERVICE_SETTLE_MS},
        {"idle", "active", UNIT_JOB_RELOAD, {0}, SERVICE_SETTLE_MS},
        {"notify", "active", UNIT_JOB_START, {0}, 0},
        {"forking", "active", UNIT_JOB_START, {0}, 0},
        {"", "active", UNIT_JOB_START, {0}, 0},
        {"notify", "active", UNIT_JOB_START, {.has_settle = true, .settle_ms = 5}, 5},
        {"simple", "active", UNIT_JOB_START, {.has_settle = true}, 0},
        {"simple", "failed", UNIT_JOB_START, {0}, 0},
        {"simple", "active", UNIT_JOB_STOP, {0}, 0},
        {"simple", "active", UNIT_JOB_NONE, {0}, 0},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct unit u = unit_in(cases[i].active);
        (void)snprintf(u.type, sizeof(u.type), "%s", cases[i].type);
        assert_int_equal(unit_settle_ms(&u, cases[i].job, &cases[i].params), cases[i].settle_ms);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_job_is_asked_for_where_the_state_is_another),
        cmocka_unit_test(only_what_runs_and_can_reload_is_reloaded),
        cmocka_unit_test(undo_brings_back_whether_it_ran),
        cmocka_unit_test(a_unit_on_its_way_up_is_brought_back_up),
        cmocka_unit_test(links_change_where_they_are_others),
        cmocka_unit_test(what_cannot_be_done_or_undone_is_refused),
        cmocka_unit_test(a_unit_that_did_not_stay_up_is_told_with_its_end),
        cmocka_unit_test(a_unit_that_came_up_again_did_not_stay_up),
        cmocka_unit_test(a_oneshot_may_be_over),
        cmocka_unit_test(services_that_do_not_tell_are_looked_at_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
