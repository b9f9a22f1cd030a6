#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/log.h"
#include "unit/agent/support_agent.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define ROLLBACK_AGAIN(rollout)                                                                    \
    "{\"v\":1,\"type\":\"rollback\",\"rollout\":\"" rollout "\",\"epoch\":1,\"round\":2}"

/* ---- Executions -------------------------------------------------------------------------- */

static void an_execution_is_reported_when_it_is_durable(void **state)
{
    struct agent_rig *r = *state;
    agent_rig_connect(r, 1);
    agent_rig_execute(r, "r1", ECHO_STEP);
    assert_string_equal(agent_rig_sent(r), "");
    agent_rig_await(r, "ended");
    /* Nothing in it had to be waited for, so it is one report. */
    assert_string_equal(agent_rig_sent(r), "[r1 1:started 2:0=succeeded 3:ended=succeeded]");
    assert_non_null(strstr(r->last_outputs.data, "hello"));
    assert_string_equal(agent_rig_hello(r), "");
}

static void a_step_that_changes_the_host_is_on_record_before_it_begins(void **state)
{
    struct agent_rig *r = *state;
    agent_rig_connect(r, 1);
    agent_rig_execute(r, "r1", agent_rig_write(r, "new"));
    while (!r->sent.data || !strstr(r->sent.data, "begun")) {
        assert_string_equal(file_get(folder_path(&r->folder, "target")), "");
        (void)uv_run(&r->loop, UV_RUN_ONCE);
    }
    agent_rig_await(r, "ended");
    assert_non_null(strstr(agent_rig_sent(r), "0=succeeded"));
    assert_string_equal(file_get(folder_path(&r->folder, "target")), "new");
}

static void a_failing_execution_brings_the_file_back(void **state)
{
    struct agent_rig *r = *state;
    file_fill(folder_path(&r->folder, "target"), "old");
    agent_rig_connect(r, 1);
    agent_rig_execute(r, "r1",
                      agent_rig_join(agent_rig_write(r, "new"),
                                     agent_rig_shell(r, "s", "cat %s/target; exit 3", "")));
    agent_rig_await(r, "over=");
    const char *sent = agent_rig_sent(r);
    assert_non_null(strstr(sent, "1=failed"));
    assert_non_null(strstr(sent, "ended=failed+undo"));
    assert_non_null(strstr(sent, "over=rolled_back"));
    assert_non_null(strstr(r->last_outputs.data, "new"));
    assert_non_null(strstr(r->messages.data, "step 2 (s): exit status 3"));
    assert_string_equal(file_get(folder_path(&r->folder, "target")), "old");
}

static void wrong_params_fail_the_step_without_another_attempt(void **state)
{
    struct agent_rig *r = *state;
    agent_rig_connect(r, 1);
    agent_rig_execute(r, "r1",
                      "{\"name\":\"e\",\"type\":\"echo\",\"params\":{\"massage\":\"x\"},"
                      "\"retry\":{\"maximumAttempts\":3}}");
    agent_rig_await(r, "over=");
    assert_null(strstr(agent_rig_sent(r), "retrying"));
    assert_non_null(strstr(r->messages.data, "massage"));
}

static void a_step_type_that_is_not_known_fails(void **state)
{
    struct agent_rig *r = *state;
    agent_rig_connect(r, 1);
    agent_rig_execute(r, "r1", "{\"name\":\"e\",\"type\":\"teleport\"}");
    agent_rig_await(r, "over=rolled_back");
    assert_non_null(strstr(agent_rig_sent(r), "2:0=failed 3:ended=failed+undo"));
    assert_non_null(strstr(r->messages.data, "this agent has no step type \"teleport\""));
}

static void a_step_is_stopped_at_its_time_limit(void **state)
{
    struct agent_rig *r = *state;
    agent_rig_connect(r, 1);
    agent_rig_execute(r, "r1", agent_rig_shell(r, "s", "sleep 600", ",\"timeoutSeconds\":0.2"));
    agent_rig_await(r, "over=");
    assert_non_null(strstr(agent_rig_sent(r), "0=timed_out"));
}

static void a_failed_attempt_is_followed_by_another(void **state)
{
    struct agent_rig *r = *state;
    agent_rig_connect(r, 1);
    agent_rig_execute(
        r, "r1",
        agent_rig_shell(r, "s", "echo x >> %s/count; test $KITSUNE_ATTEMPT = 2",
                        ",\"retry\":{\"maximumAttempts\":3,\"initialIntervalSeconds\":0.01}"));
    agent_rig_await(r, "ended=");
    const char *sent = agent_rig_sent(r);
    assert_non_null(strstr(sent, "retrying0.1"));
    assert_non_null(strstr(sent, "0=succeeded"));
    assert_string_equal(file_get(folder_path(&r->folder, "count")), "x\nx\n");
}

static void executions_run_one_at_a_time_in_order_of_arrival(void **state)
{
    struct agent_rig *r = *state;
    agent_rig_connect(r, 1);
    agent_rig_execute(r, "r1", agent_rig_shell(r, "s", "echo one >> %s/log; sleep 0.2", ""));
    agent_rig_execute(r, "r2", agent_rig_shell(r, "s", "echo two >> %s/log", ""));
    agent_rig_execute(r, "r3", agent_rig_shell(r, "s", "echo three >> %s/log", ""));
    agent_rig_settle(r);
    assert_string_equal(file_get(folder_path(&r->folder, "log")), "one\ntwo\nthree\n");
}

static void live_output_comes_while_the_step_runs(void **state)
{
    struct agent_rig *r = *state;
    AUTO_CLOSE int gate = agent_rig_gate(r);
    agent_rig_connect(r, 1);
    agent_rig_execute(r, "r1", agent_rig_shell(r, "s", "echo first; " AT_GATE "; echo end", ""));
    while (!r->output.data)
        (void)uv_run(&r->loop, UV_RUN_ONCE);
    assert_string_equal(r->output.data, "0:first\n");
    agent_rig_open_gate(gate);
    agent_rig_await(r, "ended=");
    assert_string_equal(r->output.data, "0:first\n6:end\n");
    assert_string_equal(r->last_outputs.data, "first\nend\n\n");
}

/* ---- At least once, applied once ------------------------------------------------------------ */

static void an_execute_that_comes_twice_runs_once(void **state)
{
    struct agent_rig *r = *state;
    agent_rig_connect(r, 1);
    agent_rig_execute(r, "r1", agent_rig_shell(r, "s", "echo x >> %s/count", ""));
    agent_rig_execute(r, "r1", agent_rig_shell(r, "s", "echo x >> %s/count", ""));
    agent_rig_await(r, "ended=");
    agent_rig_settle(r);
    (void)agent_rig_sent(r);
    agent_rig_execute(r, "r1", agent_rig_shell(r, "s", "echo x >> %s/count", ""));
    agent_rig_settle(r);
    /* Who asks again does not know how it ended. */
    assert_string_equal(agent_rig_sent(r),
                        "[r1 1:started 2:begun0.1 3:0=succeeded 4:ended=succeeded]");
    agent_rig_restart(r);
    agent_rig_connect(r, 1);
    agent_rig_execute(r, "r1", agent_rig_shell(r, "s", "echo x >> %s/count", ""));
    agent_rig_settle(r);
    assert_string_equal(agent_rig_sent(r),
                        "[r1 1:started 2:begun0.1 3:0=succeeded 4:ended=succeeded]");
    assert_string_equal(file_get(folder_path(&r->folder, "count")), "x\n");
}

static void what_is_not_acknowledged_is_sent_again_after_a_reconnect(void **state)
{
    struct agent_rig *r = *state;
    r->ack = false;
    agent_rig_connect(r, 1);
    agent_rig_execute(r, "r1", ECHO_STEP);
    agent_rig_await(r, "ended");
    (void)agent_rig_sent(r);
    agent_rig_ack(r, "r1", 1);
    agent_disconnected(r->agent);
    assert_string_equal(agent_rig_hello(r), "r1/3 ");
    agent_rig_connect(r, 1);
    assert_string_equal(agent_rig_sent(r), "[r1 2:0=succeeded 3:ended=succeeded]");
    agent_rig_restart(r);
    assert_string_equal(agent_rig_hello(r), "r1/3 ");
    agent_rig_connect(r, 1);
    assert_string_equal(agent_rig_sent(r), "[r1 2:0=succeeded 3:ended=succeeded]");
    agent_rig_ack(r, "r1", 3);
    assert_string_equal(agent_rig_hello(r), "");
    agent_rig_restart(r);
    assert_string_equal(agent_rig_hello(r), "");
}

static void without_a_connection_everything_goes_on(void **state)
{
    struct agent_rig *r = *state;
    agent_rig_connect(r, 1);
    agent_rig_execute(r, "r1", agent_rig_join(agent_rig_shell(r, "a", "sleep 0.1", ""), ECHO_STEP));
    agent_disconnected(r->agent);
    agent_rig_settle(r);
    assert_string_equal(agent_rig_sent(r), "");
    agent_rig_connect(r, 1);
    assert_string_equal(agent_rig_sent(r),
                        "[r1 1:started 2:begun0.1 3:0=succeeded 4:1=succeeded 5:ended=succeeded]");
}

static void a_report_that_did_not_go_out_goes_out_later(void **state)
{
    struct agent_rig *r = *state;
    agent_rig_connect(r, 1);
    r->refuse_sends = true;
    agent_rig_execute(r, "r1", ECHO_STEP);
    agent_rig_settle(r);
    r->refuse_sends = false;
    agent_disconnected(r->agent);
    agent_rig_connect(r, 1);
    assert_string_equal(agent_rig_sent(r), "[r1 1:started 2:0=succeeded 3:ended=succeeded]");
}

/* ---- Cancel and rollback -------------------------------------------------------------------- */

static void a_cancel_at_once_ends_the_running_step(void **state)
{
    struct agent_rig *r = *state;
    agent_rig_connect(r, 1);
    agent_rig_execute(r, "r1", agent_rig_shell(r, "s", "sleep 600", ""));
    agent_rig_await(r, "begun0.1");
    agent_rig_frame(r, CANCEL("r1", "true"));
    agent_rig_await(r, "ended=cancelled]");
    assert_non_null(strstr(agent_rig_sent(r), "0=failed"));
    agent_rig_frame(r, ROLLBACK("r1"));
    agent_rig_await(r, "over=rolled_back");
}

static void a_cancel_lets_the_running_step_finish(void **state)
{
    struct agent_rig *r = *state;
    AUTO_CLOSE int gate = agent_rig_gate(r);
    agent_rig_connect(r, 1);
    agent_rig_execute(r, "r1",
                      agent_rig_join(agent_rig_shell(r, "a", AT_GATE, ""),
                                     agent_rig_shell(r, "b", "touch %s/never", "")));
    agent_rig_await(r, "begun0.1");
    agent_rig_frame(r, CANCEL("r1", "false"));
    agent_rig_open_gate(gate);
    agent_rig_await(r, "ended=");
    assert_non_null(strstr(agent_rig_sent(r), "0=succeeded"));
    assert_int_equal(access(folder_path(&r->folder, "never"), F_OK), -1);
}

static void a_cancel_that_overtakes_its_execute_wins(void **state)
{
    struct agent_rig *r = *state;
    agent_rig_connect(r, 1);
    agent_rig_frame(r, CANCEL("r1", "true"));
    agent_rig_await(r, "ended=cancelled");
    agent_rig_restart(r);
    agent_rig_connect(r, 1);
    (void)agent_rig_sent(r);
    agent_rig_execute(r, "r1", agent_rig_shell(r, "s", "touch %s/never", ""));
    agent_rig_settle(r);
    assert_string_equal(agent_rig_sent(r), "[r1 1:started 2:ended=cancelled]");
    assert_int_equal(access(folder_path(&r->folder, "never"), F_OK), -1);
}

static void what_waits_in_the_queue_can_be_cancelled_and_rolled_back(void **state)
{
    struct agent_rig *r = *state;
    AUTO_CLOSE int gate = agent_rig_gate(r);
    agent_rig_connect(r, 1);
    agent_rig_execute(r, "r1", agent_rig_shell(r, "s", AT_GATE, ""));
    agent_rig_execute(r, "r2", agent_rig_shell(r, "s", "touch %s/never", ""));
    agent_rig_execute(r, "r3", agent_rig_shell(r, "s", "touch %s/never", ""));
    agent_rig_frame(r, CANCEL("r2", "false"));
    agent_rig_frame(r, ROLLBACK("r3"));
    agent_rig_await(r, "[r2 1:started 2:ended=cancelled]");
    agent_rig_await(r, "[r3 1:started 2:ended=cancelled+undo 3:undoing 4:over=rolled_back]");
    agent_rig_open_gate(gate);
    agent_rig_await(r, "ended=succeeded");
    agent_rig_settle(r);
    assert_int_equal(access(folder_path(&r->folder, "never"), F_OK), -1);
}

static void a_finished_execution_is_undone_on_request(void **state)
{
    struct agent_rig *r = *state;
    file_fill(folder_path(&r->folder, "target"), "old");
    agent_rig_connect(r, 1);
    agent_rig_execute(r, "r1", agent_rig_write(r, "new"));
    agent_rig_await(r, "ended=succeeded");
    agent_rig_settle(r);
    agent_rig_restart(r);
    agent_rig_connect(r, 1);
    assert_string_equal(file_get(folder_path(&r->folder, "target")), "new");
    (void)agent_rig_sent(r);
    agent_rig_frame(r, ROLLBACK("r1"));
    agent_rig_await(r, "over=");
    assert_string_equal(agent_rig_sent(r), "[r1 5:undoing][r1 6:0=rolled_back 7:over=rolled_back]");
    assert_string_equal(file_get(folder_path(&r->folder, "target")), "old");
    /* Asked once more, the report stands. */
    agent_rig_settle(r);
    agent_rig_frame(r, ROLLBACK("r1"));
    agent_rig_await(r, "over=");
    agent_rig_settle(r);
    assert_non_null(strstr(agent_rig_sent(r), "7:over=rolled_back]"));
}

static void a_rollback_of_what_is_not_known_cannot_succeed(void **state)
{
    struct agent_rig *r = *state;
    agent_rig_connect(r, 1);
    agent_rig_frame(r, ROLLBACK("r1"));
    agent_rig_await(r, "over=");
    assert_string_equal(agent_rig_sent(r), "[r1 1:over=rollback_failed]");
    assert_non_null(strstr(r->messages.data, "no record of this rollout on this server"));
}

/* Further entries would get numbers that the orchestrator has from the agent before it. */
static void what_is_not_known_is_answered_alike_however_often_its_undo_is_ordered(void **state)
{
    struct agent_rig *r = *state;
    agent_rig_connect(r, 1);
    agent_rig_frame(r, ROLLBACK("r1"));
    agent_rig_await(r, "over=");
    agent_rig_settle(r);
    (void)agent_rig_sent(r);
    agent_rig_frame(r, ROLLBACK_AGAIN("r1"));
    agent_rig_await(r, "over=");
    agent_rig_settle(r);
    assert_string_equal(agent_rig_sent(r), "[r1 1:over=rollback_failed]");
    agent_rig_restart(r);
    agent_rig_connect(r, 1);
    agent_rig_settle(r);
    (void)agent_rig_sent(r);
    agent_rig_frame(r, ROLLBACK_AGAIN("r1"));
    agent_rig_await(r, "over=");
    agent_rig_settle(r);
    assert_string_equal(agent_rig_sent(r), "[r1 1:over=rollback_failed]");
}

/* Each is asked for while what was recorded before it is on its way to the disk. */
static void an_order_to_undo_waits_for_the_record_that_it_goes_by(void **state)
{
    struct agent_rig *r = *state;
    agent_rig_connect(r, 1);
    agent_rig_frame(r, ROLLBACK("r1"));
    agent_rig_frame(r, ROLLBACK("r1"));
    agent_rig_frame(r, CANCEL("r2", "true"));
    agent_rig_frame(r, ROLLBACK("r2"));
    agent_rig_settle(r);
    assert_false(r->failed);
    const char *sent = agent_rig_sent(r);
    assert_non_null(strstr(sent, "[r1 1:over=rollback_failed]"));
    assert_non_null(strstr(sent, "[r2 1:started 2:ended=cancelled]"));
    assert_non_null(strstr(sent, "3:undoing 4:over=rolled_back]"));
}

static void set_true(void *ctx, enum error_code result)
{
    assert_int_equal(result, ERR_OK);
    *(bool *)ctx = true;
}

/* Its further entries would be taken for the news that they are not. */
static void what_expires_while_its_undo_waits_is_answered_as_unknown(void **state)
{
    struct agent_rig *r = *state;
    AUTO_CLOSE int gate = agent_rig_gate(r);
    struct error err = {0};
    bool expired = false;
    agent_rig_connect(r, 1);
    agent_rig_execute(r, "r1", agent_rig_write(r, "new"));
    agent_rig_await(r, "ended=succeeded");
    agent_rig_settle(r);
    agent_rig_execute(r, "r2", agent_rig_shell(r, "s", AT_GATE, ""));
    agent_rig_await(r, "[r2 1:started");
    agent_rig_frame(r, ROLLBACK("r1"));
    int64_t later_ms = clock_wall_ms() + 2 * UNDO_RETENTION_DEFAULT_MS;
    assert_int_equal(undo_journal_expire(r->host->journal, later_ms, set_true, &expired, &err),
                     ERR_OK);
    while (!expired)
        (void)uv_run(&r->loop, UV_RUN_ONCE);
    (void)agent_rig_sent(r);
    agent_rig_open_gate(gate);
    agent_rig_await(r, "over=");
    assert_non_null(strstr(agent_rig_sent(r), "[r1 1:over=rollback_failed]"));
    agent_rig_settle(r);
}

static void a_rollback_waits_for_the_execution_under_way(void **state)
{
    struct agent_rig *r = *state;
    AUTO_CLOSE int gate = agent_rig_gate(r);
    agent_rig_connect(r, 1);
    agent_rig_execute(r, "r1", agent_rig_write(r, "new"));
    agent_rig_await(r, "ended=succeeded");
    agent_rig_settle(r);
    agent_rig_execute(r, "r2", agent_rig_shell(r, "s", AT_GATE, ""));
    agent_rig_await(r, "[r2 1:started");
    (void)agent_rig_sent(r);
    agent_rig_frame(r, ROLLBACK("r1"));
    agent_rig_open_gate(gate);
    agent_rig_await(r, "over=");
    const char *sent = agent_rig_sent(r);
    assert_true(strstr(sent, "ended=succeeded") < strstr(sent, "undoing"));
}

/* ---- Epochs -------------------------------------------------------------------------------- */

static enum error_code welcome_of(struct agent_rig *r, const char *orchestrator, int64_t epoch)
{
    struct error err = {0};
    const struct wire_welcome welcome = {
        .orchestrator = (char *)(uintptr_t)orchestrator, .epoch = epoch, .heartbeat_ms = 1000};
    return agent_welcome(r->agent, &welcome, &err);
}

static void an_orchestrator_on_old_data_is_refused(void **state)
{
    struct agent_rig *r = *state;
    assert_int_equal(welcome_of(r, "o1", 7), ERR_OK);
    assert_int_equal(welcome_of(r, "o1", 6), ERR_STALE);
    assert_int_equal(welcome_of(r, "o2", 1), ERR_OK);
    assert_int_equal(welcome_of(r, "o1", 7), ERR_OK);
    agent_rig_restart(r);
    assert_int_equal(welcome_of(r, "o1", 6), ERR_STALE);
    assert_int_equal(welcome_of(r, "o1", 8), ERR_OK);
}

static void a_command_of_an_older_epoch_is_refused(void **state)
{
    struct agent_rig *r = *state;
    struct wire_frame frame;
    struct error err = {0};
    const char *json = ROLLBACK("r1");
    agent_rig_connect(r, 2);
    assert_int_equal(wire_decode(json, strlen(json), &frame, &err), ERR_OK);
    assert_int_equal(agent_receive(r->agent, &frame, json, strlen(json), &err), ERR_STALE);
    wire_frame_done(&frame);
    agent_rig_settle(r);
    assert_string_equal(agent_rig_sent(r), "");
}

/* ---- Restarts ------------------------------------------------------------------------------ */

static void an_agent_that_stops_lets_the_running_step_end(void **state)
{
    struct agent_rig *r = *state;
    agent_rig_connect(r, 1);
    agent_rig_execute(r, "r1",
                      agent_rig_join(agent_rig_shell(r, "a", "echo a >> %s/log; sleep 0.2", ""),
                                     agent_rig_shell(r, "b", "echo b >> %s/log", "")));
    agent_rig_await(r, "begun0.1");
    agent_rig_end(r, 30000);
    assert_non_null(strstr(r->sent.data, "0=succeeded"));
    assert_string_equal(file_get(folder_path(&r->folder, "log")), "a\n");
}

static void a_step_that_was_interrupted_has_failed_and_is_undone(void **state)
{
    struct agent_rig *r = *state;
    file_fill(folder_path(&r->folder, "target"), "old");
    agent_rig_connect(r, 1);
    agent_rig_execute(
        r, "r1",
        agent_rig_join(agent_rig_write(r, "new"), agent_rig_shell(r, "s", "sleep 600", "")));
    agent_rig_await(r, "begun1.1");
    agent_rig_restart(r);
    agent_rig_settle(r);
    assert_string_equal(file_get(folder_path(&r->folder, "target")), "old");
    (void)agent_rig_sent(r);
    agent_rig_connect(r, 1);
    const char *sent = agent_rig_sent(r);
    assert_non_null(strstr(sent, "1=failed"));
    assert_non_null(strstr(sent, "ended=failed+undo"));
    assert_non_null(strstr(sent, "over=rolled_back"));
    assert_non_null(strstr(r->messages.data, "whether it took effect is not known"));
}

static void an_idempotent_step_that_a_crash_cut_off_is_run_again(void **state)
{
    struct agent_rig *r = *state;
    agent_rig_until_killed(
        r, agent_rig_join(agent_rig_shell(r, "a", "echo a >> %s/log", ""),
                          agent_rig_shell(r, "s",
                                          "cd %s; test -e died || { touch died; kill -9 $PPID; }",
                                          ",\"onInterrupt\":\"retry\"")));
    agent_rig_settle(r);
    agent_rig_connect(r, 1);
    const char *sent = agent_rig_sent(r);
    assert_non_null(strstr(sent, "4:begun1.1 5:begun1.2 6:1=succeeded 7:ended=succeeded"));
    assert_string_equal(file_get(folder_path(&r->folder, "log")), "a\n");
}

static void a_step_that_a_crash_cut_off_and_that_may_not_run_again_has_failed(void **state)
{
    struct agent_rig *r = *state;
    file_fill(folder_path(&r->folder, "target"), "old");
    agent_rig_until_killed(
        r,
        agent_rig_join(agent_rig_write(r, "new"),
                       agent_rig_shell(r, "s", "echo x >> %s/count; kill -9 $PPID; sleep 1", "")));
    agent_rig_settle(r);
    agent_rig_connect(r, 1);
    assert_non_null(strstr(agent_rig_sent(r), "1=failed"));
    assert_string_equal(file_get(folder_path(&r->folder, "count")), "x\n");
    assert_string_equal(file_get(folder_path(&r->folder, "target")), "old");
}

static void a_step_that_kills_its_agent_every_time_is_given_up(void **state)
{
    struct agent_rig *r = *state;
    const char *step = agent_rig_shell(r, "s", "echo x >> %s/count; kill -9 $PPID; sleep 1",
                                       ",\"onInterrupt\":\"retry\"");
    r->ack = false;
    agent_rig_end(r, 0);
    for (int death = 0; death < EXECUTOR_MAX_INTERRUPTED; death++) {
        int status = 0;
        pid_t child = fork();
        if (child == 0) {
            agent_rig_begin(r);
            agent_rig_connect(r, 1);
            agent_rig_execute(r, "r1", step);
            agent_rig_settle(r);
            _exit(0);
        }
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFSIGNALED(status));
    }
    agent_rig_begin(r);
    agent_rig_settle(r);
    agent_rig_connect(r, 1);
    assert_non_null(strstr(agent_rig_sent(r), "begun0.3 5:0=failed"));
    assert_non_null(strstr(r->messages.data, "the agent died during this step 3 times"));
    assert_string_equal(file_get(folder_path(&r->folder, "count")), "x\nx\nx\n");
}

static void an_interrupted_rollback_goes_on(void **state)
{
    struct agent_rig *r = *state;
    char steps[4096];
    file_fill(folder_path(&r->folder, "target"), "old");
    file_fill(folder_path(&r->folder, "undo.sh"),
              "#!/bin/sh\ncd \"$1\"; test -e died || { touch died; kill -9 $PPID; sleep 1; }\n");
    (void)snprintf(steps, sizeof(steps),
                   "%s,{\"name\":\"u\",\"type\":\"script\",\"params\":{\"script\":\"/bin/false\","
                   "\"args\":[\"%s\"],\"rollback_script\":\"%s/undo.sh\"}}",
                   agent_rig_write(r, "new"), r->folder.path, r->folder.path);
    assert_int_equal(chmod(folder_path(&r->folder, "undo.sh"), 0700), 0);
    agent_rig_until_killed(r, steps);
    assert_string_equal(file_get(folder_path(&r->folder, "target")), "new");
    agent_rig_settle(r);
    assert_string_equal(file_get(folder_path(&r->folder, "target")), "old");
    agent_rig_connect(r, 1);
    assert_non_null(strstr(agent_rig_sent(r), "1=rolled_back"));
}

/* ---- Want of memory ------------------------------------------------------------------------ */

/* Takes an execute on while every allocation after the first `n` fails. False when none had to. */
static bool run_short_of_memory(struct agent_rig *r, uint64_t n)
{
    AUTO_BUF struct buf b = BUF_INIT;
    struct wire_frame frame;
    struct error err = {0};
    buf_printf(&b,
               "{\"v\":1,\"type\":\"execute\",\"rollout\":\"r1\",\"epoch\":1,"
               "\"rollbackOnFailure\":true,\"steps\":[%s]}",
               agent_rig_join(ECHO_STEP, agent_rig_write(r, "new")));
    assert_int_equal(wire_decode(b.data, b.len, &frame, &err), ERR_OK);
    agent_rig_connect(r, 1);
    r->refuse_sends = true;
    mem_fail_after(n);
    enum error_code code = agent_receive(r->agent, &frame, b.data, b.len, &err);
    while (!r->failed && (r->agent->run || r->agent->batches > 0))
        (void)uv_run(&r->loop, UV_RUN_ONCE);
    uint64_t failures = mem_fail_count();
    mem_fail_never();
    assert_true(failures > 0 || (code == ERR_OK && !r->failed));
    wire_frame_done(&frame);
    return failures > 0;
}

/* Whatever failed, the agent that is started next brings it to an end, or knows nothing of it. */
static void want_of_memory_at_any_point_loses_nothing(void **state)
{
    struct agent_rig *r = *state;
    for (uint64_t n = 0;; n++) {
        assert_true(n < 500);
        r->failed = false;
        file_fill(folder_path(&r->folder, "target"), "old");
        bool short_of_memory = run_short_of_memory(r, n);
        agent_rig_restart(r);
        agent_rig_settle(r);
        r->refuse_sends = false;
        agent_rig_connect(r, 1);
        const char *sent = agent_rig_sent(r);
        bool succeeded = strstr(sent, "ended=succeeded") != NULL;
        if (sent[0] != '\0')
            assert_true(succeeded || strstr(sent, "over=rolled_back") != NULL);
        assert_string_equal(file_get(folder_path(&r->folder, "target")), succeeded ? "new" : "old");
        if (!short_of_memory) {
            assert_true(n > 30); /* it was short of memory at many points */
            break;
        }
        agent_rig_done(r);
        agent_rig_init(r);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, agent_rig_set_up, agent_rig_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(an_execution_is_reported_when_it_is_durable),
        TEST(a_step_that_changes_the_host_is_on_record_before_it_begins),
        TEST(a_failing_execution_brings_the_file_back),
        TEST(wrong_params_fail_the_step_without_another_attempt),
        TEST(a_step_type_that_is_not_known_fails),
        TEST(a_step_is_stopped_at_its_time_limit),
        TEST(a_failed_attempt_is_followed_by_another),
        TEST(executions_run_one_at_a_time_in_order_of_arrival),
        TEST(live_output_comes_while_the_step_runs),
        TEST(an_execute_that_comes_twice_runs_once),
        TEST(what_is_not_acknowledged_is_sent_again_after_a_reconnect),
        TEST(without_a_connection_everything_goes_on),
        TEST(a_report_that_did_not_go_out_goes_out_later),
        TEST(a_cancel_at_once_ends_the_running_step),
        TEST(a_cancel_lets_the_running_step_finish),
        TEST(a_cancel_that_overtakes_its_execute_wins),
        TEST(what_waits_in_the_queue_can_be_cancelled_and_rolled_back),
        TEST(a_finished_execution_is_undone_on_request),
        TEST(a_rollback_of_what_is_not_known_cannot_succeed),
        TEST(what_is_not_known_is_answered_alike_however_often_its_undo_is_ordered),
        TEST(an_order_to_undo_waits_for_the_record_that_it_goes_by),
        TEST(what_expires_while_its_undo_waits_is_answered_as_unknown),
        TEST(a_rollback_waits_for_the_execution_under_way),
        TEST(an_orchestrator_on_old_data_is_refused),
        TEST(a_command_of_an_older_epoch_is_refused),
        TEST(an_agent_that_stops_lets_the_running_step_end),
        TEST(a_step_that_was_interrupted_has_failed_and_is_undone),
        TEST(an_idempotent_step_that_a_crash_cut_off_is_run_again),
        TEST(a_step_that_a_crash_cut_off_and_that_may_not_run_again_has_failed),
        TEST(a_step_that_kills_its_agent_every_time_is_given_up),
        TEST(an_interrupted_rollback_goes_on),
        TEST(want_of_memory_at_any_point_loses_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
