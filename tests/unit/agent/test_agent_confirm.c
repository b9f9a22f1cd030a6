#include "common/base/cleanup.h"
#include "unit/agent/support_agent.h"

#include <stdio.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { LONG_MS = 600000, SHORT_MS = 50 };

static const char *target_of(const struct agent_rig *r)
{
    return folder_path(&r->folder, "target");
}

/* Has the agent write "new" over "old", to be confirmed, by a plan that undoes nothing by itself.
 */
static void execute_to_confirm(struct agent_rig *r, int confirm_ms)
{
    AUTO_BUF struct buf b = BUF_INIT;
    file_fill(target_of(r), "old");
    buf_printf(&b,
               "{\"v\":1,\"type\":\"execute\",\"rollout\":\"r1\",\"epoch\":1,"
               "\"rollbackOnFailure\":false,\"confirmMs\":%d,\"steps\":[%s]}",
               confirm_ms, agent_rig_write(r, "new"));
    agent_rig_frame(r, b.data);
}

/* All is done, the agent has dropped its connection, and waits for another. */
static void reach_confirmation(struct agent_rig *r)
{
    agent_rig_connect(r, 1);
    execute_to_confirm(r, LONG_MS);
    agent_rig_await(r, "4:confirming");
    while (r->renewals == 0)
        (void)uv_run(&r->loop, UV_RUN_ONCE);
    assert_false(r->agent->connected);
    assert_string_equal(file_get(target_of(r)), "new");
    (void)agent_rig_sent(r);
}

static void it_succeeds_when_it_is_heard_over_a_new_connection(void **state)
{
    struct agent_rig *r = *state;
    reach_confirmation(r);
    assert_string_equal(agent_rig_hello(r), "r1/4 ");
    agent_rig_connect(r, 1);
    agent_rig_await(r, "ended=succeeded");
    assert_non_null(strstr(agent_rig_sent(r), "4:confirming][r1 5:ended=succeeded]"));
    assert_int_equal(r->renewals, 1);
    agent_rig_settle(r);
    assert_string_equal(agent_rig_hello(r), "");
    assert_string_equal(file_get(target_of(r)), "new");
}

/* The connection is not dropped here, so that what comes over it is seen not to count. */
static void what_comes_over_the_old_connection_is_no_confirmation(void **state)
{
    struct agent_rig *r = *state;
    r->keeps_connection = true;
    r->ack = false;
    agent_rig_connect(r, 1);
    execute_to_confirm(r, LONG_MS);
    agent_rig_await(r, "4:confirming");
    while (r->renewals == 0)
        (void)uv_run(&r->loop, UV_RUN_ONCE);
    agent_rig_ack(r, "r1", 4);
    assert_non_null(r->agent->run);
    assert_false(r->agent->run->finished);
    /* A new one that says nothing of it is none either. */
    agent_disconnected(r->agent);
    (void)agent_rig_sent(r);
    agent_rig_connect(r, 1);
    assert_string_equal(agent_rig_sent(r), "[r1 4:confirming]");
    agent_rig_ack(r, "r1", 3);
    assert_false(r->agent->run->finished);
    agent_rig_ack(r, "r1", 4);
    agent_rig_await(r, "5:ended=succeeded");
}

static void when_nobody_is_heard_in_time_it_undoes_itself_and_tells_later(void **state)
{
    struct agent_rig *r = *state;
    agent_rig_connect(r, 1);
    execute_to_confirm(r, SHORT_MS);
    agent_rig_await(r, "4:confirming");
    agent_rig_settle(r);
    assert_string_equal(file_get(target_of(r)), "old");
    (void)agent_rig_sent(r);
    agent_rig_connect(r, 1);
    const char *sent = agent_rig_sent(r);
    assert_non_null(strstr(sent, "4:confirming 5:ended=failed+undo 6:undoing 7:0=rolled_back "
                                 "8:over=rolled_back]"));
    assert_non_null(strstr(r->messages.data, "not confirmed within 0.05 s: "));
}

/* An acknowledgement that an earlier agent had does not count either. */
static void after_a_restart_it_waits_anew_and_wants_to_hear_it_again(void **state)
{
    struct agent_rig *r = *state;
    r->keeps_connection = true;
    r->ack = false;
    agent_rig_connect(r, 1);
    execute_to_confirm(r, LONG_MS);
    agent_rig_await(r, "4:confirming");
    while (r->renewals == 0)
        (void)uv_run(&r->loop, UV_RUN_ONCE);
    agent_rig_ack(r, "r1", 4);
    r->keeps_connection = false;
    agent_rig_restart(r);
    while (r->renewals == 1)
        (void)uv_run(&r->loop, UV_RUN_ONCE);
    assert_string_equal(file_get(target_of(r)), "new");
    (void)agent_rig_sent(r);
    agent_rig_connect(r, 1);
    assert_string_equal(agent_rig_sent(r), "[r1 4:confirming]");
    agent_rig_ack(r, "r1", 4);
    agent_rig_await(r, "[r1 5:ended=succeeded]");
}

static void after_a_restart_it_can_still_be_too_late(void **state)
{
    struct agent_rig *r = *state;
    agent_rig_connect(r, 1);
    execute_to_confirm(r, 2000);
    agent_rig_await(r, "4:confirming");
    agent_rig_restart(r);
    agent_rig_settle(r);
    assert_string_equal(file_get(target_of(r)), "old");
    agent_rig_connect(r, 1);
    assert_non_null(strstr(agent_rig_sent(r), "5:ended=failed+undo"));
}

static void a_cancel_and_a_rollback_end_the_wait(void **state)
{
    struct agent_rig *r = *state;
    reach_confirmation(r);
    r->ack = false;
    agent_rig_connect(r, 1);
    agent_rig_frame(r, CANCEL("r1", "false"));
    agent_rig_await(r, "5:ended=cancelled]");
    assert_string_equal(file_get(target_of(r)), "new");
    agent_rig_frame(r, ROLLBACK("r1"));
    agent_rig_await(r, "over=rolled_back");
    assert_string_equal(file_get(target_of(r)), "old");
}

static void a_rollback_in_the_wait_undoes_it(void **state)
{
    struct agent_rig *r = *state;
    reach_confirmation(r);
    r->ack = false;
    agent_rig_connect(r, 1);
    agent_rig_frame(r, ROLLBACK("r1"));
    agent_rig_await(r, "over=rolled_back");
    assert_non_null(strstr(agent_rig_sent(r), "5:ended=cancelled+undo 6:undoing"));
    assert_string_equal(file_get(target_of(r)), "old");
    assert_non_null(strstr(r->messages.data, "cancelled before it was confirmed"));
}

static void an_agent_that_stops_in_the_wait_neither_ends_nor_undoes_it(void **state)
{
    struct agent_rig *r = *state;
    reach_confirmation(r);
    agent_rig_end(r, 30000); /* at once: there is nothing to wait for */
    assert_string_equal(file_get(target_of(r)), "new");
    agent_rig_begin(r);
    assert_string_equal(agent_rig_hello(r), "r1/4 ");
}

/* The next execution has to wait: one that cut the network off must not be followed by another. */
static void nothing_else_begins_in_the_wait(void **state)
{
    struct agent_rig *r = *state;
    reach_confirmation(r);
    r->ack = false;
    agent_rig_connect(r, 1);
    agent_rig_execute(r, "r2", ECHO_STEP);
    assert_null(strstr(agent_rig_sent(r), "[r2"));
    agent_rig_ack(r, "r1", 4);
    agent_rig_await(r, "[r2 1:started");
    assert_non_null(strstr(agent_rig_sent(r), "[r1 5:ended=succeeded]"));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, agent_rig_set_up, agent_rig_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(it_succeeds_when_it_is_heard_over_a_new_connection),
        TEST(what_comes_over_the_old_connection_is_no_confirmation),
        TEST(when_nobody_is_heard_in_time_it_undoes_itself_and_tells_later),
        TEST(after_a_restart_it_waits_anew_and_wants_to_hear_it_again),
        TEST(after_a_restart_it_can_still_be_too_late),
        TEST(a_cancel_and_a_rollback_end_the_wait),
        TEST(a_rollback_in_the_wait_undoes_it),
        TEST(an_agent_that_stops_in_the_wait_neither_ends_nor_undoes_it),
        TEST(nothing_else_begins_in_the_wait),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
