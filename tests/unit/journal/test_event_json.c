#include "common/base/alloc.h"
#include "common/base/buf.h"
#include "common/base/cleanup.h"
#include "common/plan/plan_json.h"
#include "orchestrator/journal/event_json.h"
#include "unit/journal/support_journal.h"

#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static int setup(void **state)
{
    struct plan *plan = NULL;
    if (plan_read(rig_plan_text, strlen(rig_plan_text), &plan, NULL) != ERR_OK)
        return -1;
    *state = plan;
    return 0;
}

static int teardown(void **state)
{
    plan_free(*state);
    return 0;
}

static void expect_text(const struct plan *plan, const struct event *event, const char *text)
{
    AUTO_BUF struct buf b = BUF_INIT;
    event_write(&b, plan, event);
    assert_int_equal(buf_check(&b, NULL), ERR_OK);
    assert_string_equal(b.data, text);
}

static void expect_same_text(const char *a, const char *b)
{
    if (a == NULL || b == NULL)
        assert_ptr_equal(a, b);
    else
        assert_string_equal(a, b);
}

/* Writes and reads back; all that the event has must return. */
static void expect_round_trip(const struct plan *plan, const struct event *event)
{
    AUTO_BUF struct buf b = BUF_INIT;
    event_write(&b, plan, event);
    assert_int_equal(buf_check(&b, NULL), ERR_OK);
    struct event back;
    struct event_doc *hold = NULL;
    struct error err = {0};
    if (event_read(b.data, b.len, plan, &back, &hold, &err) != ERR_OK)
        fail_msg("%s: %s", b.data, err.message);
    expect_same_text(back.message, event->message);
    expect_same_text(back.by, event->by);
    expect_same_text(back.retry_of, event->retry_of);
    /* The texts have been compared; what remains is compared whole, padding excepted. */
    back.message = event->message;
    back.by = event->by;
    assert_int_equal(back.type, event->type);
    assert_int_equal(back.seq, event->seq);
    assert_int_equal(back.time_ms, event->time_ms);
    assert_int_equal(back.server, event->server);
    assert_int_equal(back.step, event->step);
    assert_int_equal(back.attempt, event->attempt);
    assert_int_equal(back.agent_seq, event->agent_seq);
    assert_int_equal(back.agent_time_ms, event->agent_time_ms);
    assert_int_equal(back.duration_ms, event->duration_ms);
    assert_int_equal(back.state, event->state);
    assert_int_equal(back.step_state, event->step_state);
    assert_int_equal(back.rollout_state, event->rollout_state);
    assert_int_equal(back.undoing, event->undoing);
    assert_int_equal(back.now, event->now);
    assert_int_equal(back.force, event->force);
    assert_int_equal(back.conflict, event->conflict);
    assert_int_equal(back.changed, event->changed);
    assert_int_equal(back.check, event->check);
    assert_int_equal(back.has_exit_code, event->has_exit_code);
    assert_int_equal(back.exit_code, event->exit_code);
    assert_int_equal(back.batch, event->batch);
    assert_int_equal(back.count, event->count);
    event_hold_free(hold);
}

static void a_step_that_failed_reads_as_documented(void **state)
{
    struct event event = rig_event(EVENT_STEP_ENDED, 1);
    event.seq = 7;
    event.time_ms = INT64_C(1795242356123);
    event.step = 0;
    event.attempt = 1;
    event.step_state = STEP_FAILED;
    event.has_exit_code = true;
    event.exit_code = 3;
    event.message = "exit status 3";
    expect_text(*state, &event,
                "{\"seq\":7,\"time\":\"2026-11-21T06:25:56.123Z\",\"type\":\"step_ended\","
                "\"server\":\"s2\",\"step\":\"one\",\"attempt\":1,\"state\":\"failed\","
                "\"exitCode\":3,\"message\":\"exit status 3\"}");
}

static void a_server_settled_by_hand_reads_as_documented(void **state)
{
    struct event event = rig_event(EVENT_EXECUTION_RESOLVED, 1);
    event.seq = 9;
    event.time_ms = INT64_C(1795242356123);
    event.state = EXECUTION_ROLLED_BACK;
    event.message = "put back by hand";
    event.by = "root@host";
    expect_text(*state, &event,
                "{\"seq\":9,\"time\":\"2026-11-21T06:25:56.123Z\","
                "\"type\":\"execution_resolved\",\"server\":\"s2\",\"state\":\"rolled_back\","
                "\"message\":\"put back by hand\",\"by\":\"root@host\"}");
}

static void what_does_not_apply_is_left_out(void **state)
{
    struct event event = rig_event(EVENT_ROLLOUT_CREATED, EVENT_NO_SERVER);
    event.seq = 1;
    event.time_ms = 0;
    expect_text(*state, &event,
                "{\"seq\":1,\"time\":\"1970-01-01T00:00:00.000Z\",\"type\":\"rollout_created\"}");
}

static void every_type_comes_back_as_it_was(void **state)
{
    for (int type = 0; type < EVENT_TYPE_COUNT; type++) {
        struct event event = rig_event((enum event_type)type, 2);
        event.seq = (uint64_t)type + 1;
        expect_round_trip(*state, &event);
    }
}

static void every_field_comes_back_as_it_was(void **state)
{
    struct event event = {
        .type = EVENT_STEP_ENDED,
        .seq = UINT32_MAX,
        .time_ms = INT64_C(4102444799999),
        .server = 0,
        .step = 1,
        .attempt = 100,
        .agent_seq = INT64_C(1) << 50,
        .agent_time_ms = 1,
        .duration_ms = INT64_C(1) << 40,
        .step_state = STEP_ROLLBACK_FAILED,
        .undoing = true,
        .now = true,
        .force = true,
        .conflict = true,
        .changed = true,
        .has_exit_code = true,
        .exit_code = -1,
        .batch = UINT32_MAX,
        .count = UINT32_MAX,
        .message = "a \"quoted\"\nline, caf\xc3\xa9",
        .by = "root@host",
        .retry_of = "r-1",
        .check = true,
    };
    expect_round_trip(*state, &event);
    event.has_exit_code = false;
    event.exit_code = 0;
    event.message = NULL;
    expect_round_trip(*state, &event);
    event.has_exit_code = true; /* an exit status of 0 is not none */
    expect_round_trip(*state, &event);
}

static void every_state_comes_back_as_it_was(void **state)
{
    for (int i = 0; i < STEP_STATE_COUNT; i++) {
        struct event event = rig_event(EVENT_STEP_ENDED, 0);
        event.seq = 1;
        event.step_state = (enum step_state)i;
        expect_round_trip(*state, &event);
    }
    for (int i = 0; i < EXECUTION_STATE_COUNT; i++) {
        struct event event = rig_event(EVENT_EXECUTION_ENDED, 0);
        event.seq = 1;
        event.state = (enum execution_state)i;
        expect_round_trip(*state, &event);
    }
    for (int i = 0; i < ROLLOUT_STATE_COUNT; i++) {
        struct event event = rig_event(EVENT_ROLLOUT_ENDED, EVENT_NO_SERVER);
        event.seq = 1;
        event.rollout_state = (enum rollout_state)i;
        expect_round_trip(*state, &event);
    }
}

static void times_come_back_to_the_millisecond(void **state)
{
    /* Among them a leap day, the last second of a year, and the turn of a century. */
    static const int64_t times[] = {1,
                                    999,
                                    INT64_C(951782399999),
                                    INT64_C(951782400000),
                                    INT64_C(4107542399001),
                                    INT64_C(1798761599999),
                                    INT64_C(253402300799999)};
    for (size_t i = 0; i < ARRAY_LEN(times); i++) {
        struct event event = rig_event(EVENT_BATCH_DUE, EVENT_NO_SERVER);
        event.seq = 1;
        event.time_ms = times[i];
        event.agent_time_ms = times[i];
        expect_round_trip(*state, &event);
    }
}

static void an_agents_mad_clock_does_not_make_an_event_unreadable(void **state)
{
    static const int64_t times[] = {INT64_C(253402300800000), INT64_MAX / 2, -1, INT64_MIN};
    for (size_t i = 0; i < ARRAY_LEN(times); i++) {
        struct event event = rig_event(EVENT_STEP_STARTED, 0);
        event.seq = 1;
        event.agent_time_ms = times[i];
        AUTO_BUF struct buf b = BUF_INIT;
        event_write(&b, *state, &event);
        struct event back;
        struct event_doc *hold = NULL;
        assert_int_equal(event_read(b.data, b.len, *state, &back, &hold, NULL), ERR_OK);
        assert_int_equal(back.agent_time_ms, 0);
        event_hold_free(hold);
    }
}

static void a_message_that_is_no_text_is_kept_readable(void **state)
{
    struct event event = rig_event(EVENT_STEP_ENDED, 0);
    event.seq = 1;
    event.message = "bad \xff\xfe byte \x01";
    AUTO_BUF struct buf b = BUF_INIT;
    event_write(&b, *state, &event);
    struct event back;
    struct event_doc *hold = NULL;
    assert_int_equal(event_read(b.data, b.len, *state, &back, &hold, NULL), ERR_OK);
    assert_non_null(strstr(back.message, "\xef\xbf\xbd"));
    event_hold_free(hold);
}

static void damage_is_refused(void **state)
{
#define HEAD "{\"seq\":1,\"time\":\"2026-11-21T06:25:56.123Z\",\"type\":"
    static const char *const texts[] = {
        "",
        "{}",
        "[]",
        HEAD "\"rollout_created\"",
        HEAD "\"no_such_type\"}",
        HEAD "\"step_started\",\"server\":\"s9\"}",
        HEAD "\"step_started\",\"step\":\"nine\"}",
        HEAD "\"step_ended\"}",
        HEAD "\"step_ended\",\"state\":\"cancelled\"}",
        HEAD "\"execution_ended\",\"state\":\"paused\"}",
        HEAD "\"rollout_ended\",\"state\":\"timed_out\"}",
        HEAD "\"rollout_created\",\"state\":\"failed\"}",
        HEAD "\"rollout_created\",\"batch\":4294967296}",
        HEAD "\"rollout_created\",\"batch\":-1}",
        HEAD "\"rollout_created\",\"attempt\":2147483648}",
        HEAD "\"rollout_created\",\"more\":1}",
        "{\"seq\":0,\"time\":\"2026-11-21T06:25:56.123Z\",\"type\":\"rollout_created\"}",
        "{\"seq\":1,\"time\":\"2026-11-21T06:25:56Z\",\"type\":\"rollout_created\"}",
        "{\"seq\":1,\"time\":\"2026-13-21T06:25:56.123Z\",\"type\":\"rollout_created\"}",
        "{\"seq\":1,\"time\":\"2026-11-21T24:25:56.123Z\",\"type\":\"rollout_created\"}",
        "{\"seq\":1,\"time\":\"2026-11-21 06:25:56.123Z\",\"type\":\"rollout_created\"}",
        "{\"seq\":1,\"time\":17,\"type\":\"rollout_created\"}",
    };
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        struct event event;
        struct event_doc *hold = NULL;
        struct error err = {0};
        if (event_read(texts[i], strlen(texts[i]), *state, &event, &hold, &err) != ERR_CORRUPT)
            fail_msg("not refused: %s", texts[i]);
        assert_null(hold);
        assert_true(err.message[0] != '\0');
    }
}

static void reading_survives_want_of_memory(void **state)
{
    struct event event = rig_event(EVENT_STEP_ENDED, 1);
    event.seq = 1;
    event.step = 1;
    event.message = "why";
    event.by = "who";
    AUTO_BUF struct buf b = BUF_INIT;
    event_write(&b, *state, &event);
    enum error_code code = ERR_NO_MEMORY;
    for (uint64_t n = 0; code != ERR_OK; n++) {
        struct event back;
        struct event_doc *hold = NULL;
        mem_fail_after(n);
        code = event_read(b.data, b.len, *state, &back, &hold, NULL);
        mem_fail_never();
        assert_true(code == ERR_OK || code == ERR_NO_MEMORY);
        assert_in_range(n, 0, 200);
        event_hold_free(hold);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_step_that_failed_reads_as_documented),
        cmocka_unit_test(a_server_settled_by_hand_reads_as_documented),
        cmocka_unit_test(what_does_not_apply_is_left_out),
        cmocka_unit_test(every_type_comes_back_as_it_was),
        cmocka_unit_test(every_field_comes_back_as_it_was),
        cmocka_unit_test(every_state_comes_back_as_it_was),
        cmocka_unit_test(times_come_back_to_the_millisecond),
        cmocka_unit_test(an_agents_mad_clock_does_not_make_an_event_unreadable),
        cmocka_unit_test(a_message_that_is_no_text_is_kept_readable),
        cmocka_unit_test(damage_is_refused),
        cmocka_unit_test(reading_survives_want_of_memory),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
