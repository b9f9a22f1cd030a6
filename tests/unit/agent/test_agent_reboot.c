/* Steps that have the server rebooted, on the real host; what reboots it is a command of the
 * test's. */
#include "common/base/cleanup.h"
#include "unit/agent/support_agent.h"

#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define REBOOT_STEP "{\"name\":\"reboot\",\"type\":\"reboot\",\"params\":{\"timeout\":7}}"

static char command[1024];

/* An agent in that boot, whose reboots are noted in the file "asked", or refused. */
static void boot(struct agent_rig *r, const char *boot_id, bool refuses)
{
    agent_rig_end(r, 0);
    (void)snprintf(command, sizeof(command), "echo asked >>%s; exit %d",
                   folder_path(&r->folder, "asked"), refuses ? 3 : 0);
    r->boot_id = boot_id;
    r->reboots_by = command;
    agent_rig_begin(r);
    agent_rig_connect(r, 1);
}

/* Until the machine is about to go down. */
static void await_down(struct agent_rig *r)
{
    while (r->host->reboot != HOST_REBOOT_COMING) {
        agent_rig_pass(r);
    }
}

static size_t times_asked(const struct agent_rig *r)
{
    const char *text = file_get(folder_path(&r->folder, "asked"));
    size_t lines = 0;
    for (; text && *text; text++)
        lines += *text == '\n';
    return lines;
}

static void a_step_goes_on_in_another_boot_when_its_reboot_was_made_known(void **state)
{
    struct agent_rig *r = *state;
    boot(r, "boot-1", false);
    agent_rig_execute(r, "r1", agent_rig_join(REBOOT_STEP, ECHO_STEP));
    await_down(r);
    assert_non_null(strstr(agent_rig_sent(r), "3:rebooting0.1"));
    assert_int_equal(r->agent->first->acked_seq, 3);
    assert_int_equal(times_asked(r), 1);
    boot(r, "boot-2", false);
    agent_rig_await(r, "4:rebooted0.1");
    agent_rig_await(r, "5:0=succeeded");
    agent_rig_await(r, "ended=succeeded");
    agent_rig_settle(r);
    assert_int_equal(times_asked(r), 1);
}

static void in_the_same_boot_it_is_asked_for_again(void **state)
{
    struct agent_rig *r = *state;
    boot(r, "boot-1", false);
    agent_rig_execute(r, "r1", REBOOT_STEP);
    await_down(r);
    for (int i = 1; i < EXECUTOR_MAX_REBOOT_ASKS; i++) {
        boot(r, "boot-1", false);
        await_down(r);
    }
    boot(r, "boot-1", false);
    agent_rig_await(r, "ended=failed+undo");
    assert_int_equal(times_asked(r), EXECUTOR_MAX_REBOOT_ASKS);
    assert_non_null(strstr(r->messages.data, "asked to reboot 3 times"));
    agent_rig_settle(r);
}

static void a_cancel_now_before_it_is_known_asks_nobody(void **state)
{
    struct agent_rig *r = *state;
    boot(r, "boot-1", false);
    r->ack = false;
    agent_rig_execute(r, "r1", REBOOT_STEP);
    agent_rig_await(r, "3:rebooting0.1");
    agent_rig_frame(r, CANCEL("r1", "true"));
    agent_rig_await(r, "ended=cancelled");
    r->ack = true;
    agent_rig_ack(r, "r1", 5);
    agent_rig_settle(r);
    assert_int_equal(access(folder_path(&r->folder, "asked"), F_OK), -1);
    assert_int_equal(r->host->reboot, HOST_REBOOT_NONE);
}

static void a_refusal_is_not_the_end_but_a_cancel_then_is(void **state)
{
    struct agent_rig *r = *state;
    boot(r, "boot-1", true);
    agent_rig_execute(r, "r1", REBOOT_STEP);
    while (!(r->agent->run && r->agent->run->operation.type == EXECUTOR_REBOOT &&
             r->agent->run->reboot == REBOOT_NONE && !r->agent->held && times_asked(r) > 0))
        agent_rig_pass(r);
    agent_rig_frame(r, CANCEL("r1", "false"));
    agent_rig_await(r, "ended=cancelled");
    agent_rig_settle(r);
    assert_int_equal(times_asked(r), 1);
}

static void a_cancel_while_it_is_away_lets_no_further_step_begin(void **state)
{
    struct agent_rig *r = *state;
    boot(r, "boot-1", false);
    agent_rig_execute(r, "r1", agent_rig_join(REBOOT_STEP, ECHO_STEP));
    await_down(r);
    boot(r, "boot-2", false);
    agent_rig_frame(r, CANCEL("r1", "false"));
    agent_rig_await(r, "ended=cancelled");
    assert_null(strstr(agent_rig_sent(r), "1="));
    agent_rig_settle(r);
}

static void without_an_orchestrator_that_knows_of_it_a_step_fails(void **state)
{
    struct agent_rig *r = *state;
    r->old_orchestrator = true;
    boot(r, "boot-1", false);
    agent_rig_execute(r, "r1", REBOOT_STEP);
    agent_rig_await(r, "ended=failed+undo");
    assert_non_null(strstr(r->messages.data, "too old to wait for a reboot"));
    agent_rig_settle(r);
}

static void without_a_boot_id_a_step_fails(void **state)
{
    struct agent_rig *r = *state;
    boot(r, "", false);
    agent_rig_execute(r, "r1", REBOOT_STEP);
    agent_rig_await(r, "ended=failed+undo");
    assert_non_null(strstr(r->messages.data, "boot id cannot be read"));
    agent_rig_settle(r);
}

static void a_held_agent_begins_nothing_and_can_be_cancelled(void **state)
{
    struct agent_rig *r = *state;
    boot(r, "boot-1", false);
    agent_hold(r->agent, true);
    agent_rig_execute(r, "r1", agent_rig_write(r, "new"));
    agent_rig_await(r, "1:started");
    assert_true(r->agent->run->held);
    agent_rig_frame(r, CANCEL("r1", "false"));
    agent_rig_await(r, "ended=cancelled");
    agent_rig_settle(r);
    agent_rig_execute(r, "r2", ECHO_STEP);
    agent_rig_await(r, "[r2 1:started");
    agent_hold(r->agent, false);
    agent_rig_await(r, "ended=succeeded");
    agent_rig_settle(r);
}

static void an_agent_ends_while_the_command_waits_for_that(void **state)
{
    struct agent_rig *r = *state;
    boot(r, "boot-1", false);
    agent_rig_end(r, 0);
    int gate = agent_rig_gate(r);
    (void)snprintf(command, sizeof(command), "echo asked >>%s/asked; read x <%s/gate",
                   r->folder.path, r->folder.path);
    agent_rig_begin(r);
    agent_rig_connect(r, 1);
    agent_rig_execute(r, "r1", REBOOT_STEP);
    while (times_asked(r) == 0)
        agent_rig_pass(r);
    agent_rig_end(r, 0);
    agent_rig_open_gate(gate);
    assert_int_equal(waitpid(-1, NULL, 0) > 0, true);
    assert_int_equal(close(gate), 0);
    r->boot_id = "boot-2";
    agent_rig_begin(r);
    agent_rig_connect(r, 1);
    agent_rig_await(r, "ended=succeeded");
    agent_rig_settle(r);
}

static void that_a_reboot_is_required_is_told_with_the_next_report_alone(void **state)
{
    struct agent_rig *r = *state;
    boot(r, "boot-1", false);
    agent_rig_execute(r, "r1", ECHO_STEP);
    agent_rig_await(r, "ended=succeeded");
    agent_rig_settle(r);
    assert_null(r->facts.data);
    r->host->reboot_need.add(r->host, "glibc");
    agent_rig_execute(r, "r2", ECHO_STEP);
    agent_rig_await(r, "[r2 1:started");
    agent_rig_await(r, "ended=succeeded");
    agent_rig_settle(r);
    assert_non_null(strstr(r->facts.data, "\"rebootReasons\":[\"glibc\""));
    assert_ptr_equal(strchr(r->facts.data, '\n'), r->facts.data + r->facts.len - 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, agent_rig_set_up, agent_rig_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_step_goes_on_in_another_boot_when_its_reboot_was_made_known),
        TEST(in_the_same_boot_it_is_asked_for_again),
        TEST(a_cancel_now_before_it_is_known_asks_nobody),
        TEST(a_refusal_is_not_the_end_but_a_cancel_then_is),
        TEST(a_cancel_while_it_is_away_lets_no_further_step_begin),
        TEST(without_an_orchestrator_that_knows_of_it_a_step_fails),
        TEST(without_a_boot_id_a_step_fails),
        TEST(an_agent_ends_while_the_command_waits_for_that),
        TEST(that_a_reboot_is_required_is_told_with_the_next_report_alone),
        TEST(a_held_agent_begins_nothing_and_can_be_cancelled),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
