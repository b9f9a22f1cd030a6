#include "agent/undo_journal_internal.h"
#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "unit/agent/support_agent.h"

#include <sqlite3.h>
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

#define DAY_MS INT64_C(86400000)

static const char *target_of(const struct agent_rig *r)
{
    return folder_path(&r->folder, "target");
}

/* Waits until it is on the disk that all was acknowledged. */
static void settle_acks(struct agent_rig *r, const char *rollout)
{
    struct undo_status status = {0};
    struct error err = {0};
    agent_rig_settle(r);
    for (;;) {
        assert_int_equal(undo_journal_find(r->host->journal, "s1", rollout, 0, &status, &err),
                         ERR_OK);
        if (status.acked_seq == status.last_seq)
            return;
        (void)uv_run(&r->loop, UV_RUN_ONCE);
    }
}

/* Runs r1, which writes "new" over "old", to its end; then somebody else writes "theirs". */
static void change_and_be_overtaken(struct agent_rig *r, const char *more_steps)
{
    file_fill(target_of(r), "old");
    agent_rig_connect(r, 1);
    agent_rig_execute(r, "r1",
                      more_steps ? agent_rig_join(agent_rig_write(r, "new"), more_steps)
                                 : agent_rig_write(r, "new"));
    agent_rig_await(r, "ended=succeeded");
    settle_acks(r, "r1");
    (void)agent_rig_sent(r);
    file_fill(target_of(r), "theirs");
}

/* ---- Rounds and conflicts ------------------------------------------------------------------ */

static void what_somebody_else_has_changed_stays_until_it_is_forced(void **state)
{
    struct agent_rig *r = *state;
    change_and_be_overtaken(r, NULL);
    agent_rig_frame(r, ROLLBACK("r1"));
    agent_rig_await(r, "over=");
    settle_acks(r, "r1");
    assert_string_equal(agent_rig_sent(r), "[r1 5:undoing][r1 6:0=rollback_failed+conflict "
                                           "7:over=rollback_failed]");
    assert_string_equal(file_get(target_of(r)), "theirs");
    assert_non_null(strstr(r->messages.data, "`kitsune rollback r1 --server s1 --force`"));
    /* The same order again, after a restart too, changes nothing: the report stands. */
    agent_rig_restart(r);
    agent_rig_connect(r, 1);
    agent_rig_frame(r, ROUND("r1", "1", "true"));
    agent_rig_await(r, "over=");
    settle_acks(r, "r1");
    assert_non_null(strstr(agent_rig_sent(r), "7:over=rollback_failed]"));
    assert_string_equal(file_get(target_of(r)), "theirs");
    agent_rig_frame(r, ROUND("r1", "2", "true"));
    agent_rig_await(r, "over=");
    agent_rig_settle(r);
    assert_string_equal(agent_rig_sent(r),
                        "[r1 8:undoing+force][r1 9:0=rolled_back 10:over=rolled_back]");
    assert_string_equal(file_get(target_of(r)), "old");
}

/* A step that does nothing, and whose undo waits at the gate; while its program is not there yet,
 * the undo fails. */
static const char *gated_undo(const struct agent_rig *r)
{
    static char step[1024];
    (void)snprintf(step, sizeof(step),
                   "{\"name\":\"u\",\"type\":\"script\",\"params\":{\"script\":\"/bin/true\","
                   "\"args\":[\"%s\"],\"rollback_script\":\"%s/undo.sh\"}}",
                   r->folder.path, r->folder.path);
    return step;
}

static void gated_undo_install(const struct agent_rig *r)
{
    file_fill(folder_path(&r->folder, "undo.sh"), "#!/bin/sh\nread x < \"$1/gate\"\n");
    assert_int_equal(chmod(folder_path(&r->folder, "undo.sh"), 0700), 0);
}

static void a_forced_round_goes_on_after_a_restart_and_is_still_forced(void **state)
{
    struct agent_rig *r = *state;
    AUTO_CLOSE int gate = agent_rig_gate(r);
    change_and_be_overtaken(r, gated_undo(r));
    agent_rig_frame(r, ROLLBACK("r1"));
    agent_rig_await(r, "over=rollback_failed");
    settle_acks(r, "r1");
    assert_non_null(strstr(agent_rig_sent(r), "0=rollback_failed+conflict 10:over="));
    gated_undo_install(r);
    agent_rig_frame(r, ROUND("r1", "2", "true"));
    agent_rig_await(r, "undoing+force");
    agent_rig_restart(r);
    agent_rig_open_gate(gate);
    agent_rig_settle(r);
    agent_rig_connect(r, 1);
    assert_non_null(
        strstr(agent_rig_sent(r), "1=rolled_back 13:0=rolled_back 14:over=rolled_back"));
    assert_string_equal(file_get(target_of(r)), "old");
}

static void a_round_that_is_ordered_while_one_is_under_way_follows_it(void **state)
{
    struct agent_rig *r = *state;
    AUTO_CLOSE int gate = agent_rig_gate(r);
    gated_undo_install(r);
    change_and_be_overtaken(r, gated_undo(r));
    agent_rig_frame(r, ROLLBACK("r1"));
    agent_rig_await(r, "undoing");
    agent_rig_frame(r, ROUND("r1", "2", "true"));
    agent_rig_open_gate(gate);
    agent_rig_await(r, "over=rolled_back");
    const char *sent = agent_rig_sent(r);
    assert_non_null(strstr(sent, "0=rollback_failed+conflict 10:over=rollback_failed"));
    assert_non_null(strstr(sent, "11:undoing+force"));
    assert_string_equal(file_get(target_of(r)), "old");
}

static void two_orders_before_its_turn_are_one_and_the_newer_counts(void **state)
{
    struct agent_rig *r = *state;
    AUTO_CLOSE int gate = agent_rig_gate(r);
    change_and_be_overtaken(r, NULL);
    agent_rig_execute(r, "r2", agent_rig_shell(r, "s", AT_GATE, ""));
    agent_rig_await(r, "[r2 1:started");
    agent_rig_frame(r, ROUND("r1", "2", "true"));
    agent_rig_frame(r, ROUND("r1", "1", "false"));
    agent_rig_open_gate(gate);
    agent_rig_await(r, "over=");
    assert_non_null(strstr(agent_rig_sent(r), "[r1 5:undoing+force]"));
    assert_string_equal(file_get(target_of(r)), "old");
}

/* Makes the record of r1 unreadable. */
static void damage_record(struct agent_rig *r)
{
    sqlite3 *db = NULL;
    char path[UNDO_FILES_PATH_MAX];
    (void)snprintf(path, sizeof(path), "%s/agent.db", folder_path(&r->folder, "data"));
    agent_rig_end(r, 0);
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, "UPDATE executions SET spec = 'x'", NULL, NULL, NULL),
                     SQLITE_OK);
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
    agent_rig_begin(r);
}

static void what_cannot_be_read_any_more_fails_once_for_each_round(void **state)
{
    struct agent_rig *r = *state;
    change_and_be_overtaken(r, NULL);
    damage_record(r);
    agent_rig_connect(r, 1);
    agent_rig_frame(r, ROLLBACK("r1"));
    agent_rig_await(r, "over=");
    settle_acks(r, "r1");
    assert_string_equal(agent_rig_sent(r), "[r1 5:undoing 6:over=rollback_failed]");
    assert_non_null(strstr(r->messages.data, "the record of this execution cannot be read"));
    agent_rig_frame(r, ROLLBACK("r1"));
    agent_rig_await(r, "over=");
    settle_acks(r, "r1");
    assert_non_null(strstr(agent_rig_sent(r), "6:over=rollback_failed]"));
    agent_rig_frame(r, ROUND("r1", "2", "true"));
    agent_rig_await(r, "over=");
    settle_acks(r, "r1");
    assert_string_equal(agent_rig_sent(r), "[r1 7:undoing+force 8:over=rollback_failed]");
    assert_string_equal(file_get(target_of(r)), "theirs");
    assert_false(r->failed);
}

/* ---- The first capture --------------------------------------------------------------------- */

static void every_round_goes_back_to_the_first_capture(void **state)
{
    struct agent_rig *r = *state;
    change_and_be_overtaken(r, NULL);
    agent_rig_frame(r, ROLLBACK("r1"));
    agent_rig_await(r, "over=rollback_failed");
    agent_rig_settle(r);
    agent_rig_frame(r, ROUND("r1", "2", "false"));
    agent_rig_await(r, "10:over=rollback_failed");
    agent_rig_settle(r);
    agent_rig_frame(r, ROUND("r1", "3", "true"));
    agent_rig_await(r, "over=rolled_back");
    assert_string_equal(file_get(target_of(r)), "old");
}

static struct {
    void (*start)(void *ctx, const struct runner_operation *operation);
    int prepares, prepares_to_live;
} killer;

/* In the runner's place: dies in a prepare, without a word to anybody. */
static void die_in_prepare(void *ctx, const struct runner_operation *operation)
{
    if (operation->operation == HANDLER_PREPARE && ++killer.prepares > killer.prepares_to_live)
        _exit(9);
    killer.start(ctx, operation);
}

/* An agent in a process of its own that dies in a prepare after so many; it is told to run r1, as
 * it would be whenever it connects. */
static void run_until_a_prepare(struct agent_rig *r, int prepares_to_live, const char *steps)
{
    int status = 0;
    pid_t child = fork();
    if (child == 0) {
        agent_rig_begin(r);
        killer.start = r->agent->config.runner.start;
        killer.prepares_to_live = prepares_to_live;
        r->agent->config.runner.start = die_in_prepare;
        agent_rig_connect(r, 1);
        agent_rig_execute(r, "r1", steps);
        agent_rig_settle(r);
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 9);
}

static void a_prepare_that_was_cut_off_is_done_again_and_a_whole_one_is_not(void **state)
{
    struct agent_rig *r = *state;
    char steps[4096];
    file_fill(target_of(r), "old");
    /* Both write the same file: "old" is the first one's capture, "new" the second one's. */
    (void)snprintf(steps, sizeof(steps), "%s", agent_rig_write(r, "new"));
    (void)snprintf(steps + strlen(steps), sizeof(steps) - strlen(steps), ",%s",
                   agent_rig_write(r, "newer"));
    char *name = strstr(strchr(steps, ','), "\"name\":\"w\"");
    assert_non_null(name);
    name[8] = 'x';
    agent_rig_end(r, 0);
    run_until_a_prepare(r, 1, steps);
    assert_string_equal(file_get(target_of(r)), "new");
    agent_rig_begin(r);
    agent_rig_settle(r);
    assert_string_equal(file_get(target_of(r)), "newer");
    agent_rig_connect(r, 1);
    agent_rig_await(r, "ended=succeeded");
    agent_rig_settle(r);
    (void)agent_rig_sent(r);
    agent_rig_frame(r, ROLLBACK("r1"));
    agent_rig_await(r, "over=rolled_back");
    assert_string_equal(file_get(target_of(r)), "old");
}

static void a_prepare_that_kills_its_agent_every_time_is_given_up(void **state)
{
    struct agent_rig *r = *state;
    const char *steps = agent_rig_write(r, "new");
    file_fill(target_of(r), "old");
    r->ack = false; /* how far the acknowledgements came before a death would be chance */
    agent_rig_end(r, 0);
    /* The first one dies before anything is on record; those after a death see to that first. */
    for (int death = 0; death < 1 + EXECUTOR_MAX_INTERRUPTED; death++)
        run_until_a_prepare(r, 0, steps);
    agent_rig_begin(r);
    assert_true(r->agent->cautious);
    agent_rig_settle(r);
    assert_false(r->agent->cautious); /* what has run to its end shows that not everything kills */
    agent_rig_connect(r, 1);
    assert_string_equal(
        agent_rig_sent(r),
        "[r1 1:started 2:0=failed 3:ended=failed+undo 4:undoing 5:over=rolled_back]");
    assert_non_null(strstr(r->messages.data, "the agent died 3 times while preparing this step"));
    assert_string_equal(file_get(target_of(r)), "old");
}

/* ---- Retention ----------------------------------------------------------------------------- */

static bool is_known(const struct agent_rig *r, const char *rollout)
{
    struct undo_status status;
    struct error err = {0};
    return undo_journal_find(r->host->journal, "s1", rollout, clock_wall_ms(), &status, &err) !=
           ERR_NOT_FOUND;
}

static void change_and_settle(struct agent_rig *r, const char *rollout, const char *content)
{
    agent_rig_connect(r, 1);
    agent_rig_execute(r, rollout, agent_rig_write(r, content));
    agent_rig_await(r, "ended=succeeded");
    settle_acks(r, rollout);
    (void)agent_rig_sent(r);
}

static void what_is_past_its_retention_goes_at_the_start_and_then_again_and_again(void **state)
{
    struct agent_rig *r = *state;
    change_and_settle(r, "r1", "one");
    assert_true(is_known(r, "r1"));
    r->retention_ms = 1;
    agent_rig_restart(r);
    while (is_known(r, "r1"))
        (void)uv_run(&r->loop, UV_RUN_ONCE);
    change_and_settle(r, "r2", "two");
    while (is_known(r, "r2"))
        (void)uv_run(&r->loop, UV_RUN_ONCE);
    assert_int_equal(undo_journal_usage(r->host->journal).used_bytes, 0);
}

static void after_its_retention_there_is_no_record_to_undo_by(void **state)
{
    struct agent_rig *r = *state;
    file_fill(target_of(r), "old");
    change_and_settle(r, "r1", "new");
    r->host->journal->retention_ms = -DAY_MS; /* too old, and nothing has removed it yet */
    agent_rig_frame(r, ROLLBACK("r1"));
    agent_rig_await(r, "over=");
    agent_rig_settle(r);
    assert_string_equal(agent_rig_sent(r), "[r1 1:over=rollback_failed]");
    assert_non_null(strstr(r->messages.data, "no record of this rollout on this server"));
    assert_string_equal(file_get(target_of(r)), "new");
    assert_false(r->failed);
}

static void an_id_that_is_used_again_after_the_retention_is_a_new_execution(void **state)
{
    struct agent_rig *r = *state;
    file_fill(target_of(r), "old");
    change_and_settle(r, "r1", "one");
    r->host->journal->retention_ms = -DAY_MS; /* too old, and nothing has removed it yet */
    change_and_settle(r, "r1", "two");
    r->host->journal->retention_ms = UNDO_RETENTION_DEFAULT_MS;
    agent_rig_restart(r);
    agent_rig_connect(r, 1);
    agent_rig_frame(r, ROLLBACK("r1"));
    agent_rig_await(r, "over=rolled_back");
    assert_non_null(strstr(agent_rig_sent(r), "[r1 5:undoing]"));
    assert_string_equal(file_get(target_of(r)), "one");
}

static void what_expires_while_an_order_waits_is_answered_all_the_same(void **state)
{
    struct agent_rig *r = *state;
    struct error err = {0};
    AUTO_CLOSE int gate = agent_rig_gate(r);
    change_and_settle(r, "r1", "new");
    agent_rig_execute(r, "r2", agent_rig_shell(r, "s", AT_GATE, ""));
    agent_rig_await(r, "[r2 1:started");
    agent_rig_frame(r, ROLLBACK("r1"));
    assert_int_equal(
        undo_journal_expire(r->host->journal, clock_wall_ms() + 31 * DAY_MS, NULL, NULL, &err),
        ERR_OK);
    while (is_known(r, "r1"))
        (void)uv_run(&r->loop, UV_RUN_ONCE);
    agent_rig_open_gate(gate);
    agent_rig_await(r, "over=");
    /* As what was never known is answered: without a record there is nothing to go on from. */
    assert_non_null(strstr(agent_rig_sent(r), "[r1 1:over=rollback_failed]"));
    assert_false(r->failed);
}

/* ---- The bound ----------------------------------------------------------------------------- */

enum { LARGE_BYTES = 3000, BOUND_BYTES = 5000 };

static void put_large(const char *path)
{
    char text[LARGE_BYTES + 1];
    memset(text, 'x', LARGE_BYTES);
    text[LARGE_BYTES] = '\0';
    file_fill(path, text);
}

static void bound_undo(struct agent_rig *r, int64_t retention_ms)
{
    agent_rig_end(r, 0);
    r->undo_max_bytes = BOUND_BYTES;
    r->retention_ms = retention_ms;
    agent_rig_begin(r);
    alarm_stop(r->host->ticker, &r->host->expire_alarm);
}

static void a_step_that_would_keep_too_much_fails_before_it_changes_anything(void **state)
{
    struct agent_rig *r = *state;
    bound_undo(r, 0);
    put_large(target_of(r));
    change_and_settle(r, "r1", "small");
    put_large(target_of(r));
    agent_rig_execute(r, "r2", agent_rig_write(r, "new"));
    agent_rig_await(r, "over=");
    assert_non_null(strstr(agent_rig_sent(r), "2:0=failed 3:ended=failed+undo"));
    assert_non_null(strstr(r->messages.data,
                           "undoing it would need 2.9K, and of the 4.9K that this "
                           "agent may keep for undo 3."));
    assert_non_null(strstr(r->messages.data, "(raise --undo-max-size"));
    assert_int_equal(strlen(file_get(target_of(r))), LARGE_BYTES);
    /* What keeps nothing, and what keeps little, still runs. */
    agent_rig_execute(r, "r3", agent_rig_shell(r, "s", "true", ""));
    agent_rig_await(r, "3:0=succeeded");
    agent_rig_settle(r);
    assert_true(is_known(r, "r1"));
}

static void what_is_past_its_retention_makes_room_first(void **state)
{
    struct agent_rig *r = *state;
    bound_undo(r, 1);
    put_large(target_of(r));
    change_and_settle(r, "r1", "small");
    put_large(target_of(r));
    change_and_settle(r, "r2", "new"); /* it succeeds */
    assert_string_equal(file_get(target_of(r)), "new");
    assert_false(is_known(r, "r1"));
    assert_true(is_known(r, "r2"));
}

/* In the store's place: what is to be called when old executions are gone. */
static struct {
    void (*done)(void *ctx, enum error_code result);
    void *ctx;
} held;

static enum error_code hold_expire(void *ctx, int64_t time_ms,
                                   void (*done)(void *done_ctx, enum error_code result),
                                   void *done_ctx, struct error *err)
{
    (void)ctx;
    (void)time_ms;
    (void)err;
    held.done = done;
    held.ctx = done_ctx;
    return ERR_OK;
}

/* r2 has found no room. */
static void reach_expiry(struct agent_rig *r)
{
    bound_undo(r, 0);
    put_large(target_of(r));
    change_and_settle(r, "r1", "small");
    put_large(target_of(r));
    held.done = NULL;
    r->agent->config.store.expire = hold_expire;
    agent_rig_execute(r, "r2", agent_rig_write(r, "new"));
    while (!held.done)
        (void)uv_run(&r->loop, UV_RUN_ONCE);
}

static void a_cancel_while_room_is_made_is_obeyed(void **state)
{
    struct agent_rig *r = *state;
    reach_expiry(r);
    agent_rig_frame(r, CANCEL("r2", "true"));
    held.done(held.ctx, ERR_OK);
    agent_rig_await(r, "2:ended=cancelled]");
    assert_int_equal(strlen(file_get(target_of(r))), LARGE_BYTES);
}

static void an_agent_can_be_stopped_while_room_is_made(void **state)
{
    struct agent_rig *r = *state;
    struct error err = {0};
    reach_expiry(r);
    assert_int_equal(undo_journal_expire(r->host->journal, 0, held.done, held.ctx, &err), ERR_OK);
    agent_rig_restart(r);
    agent_rig_settle(r);
    agent_rig_connect(r, 1);
    assert_non_null(strstr(agent_rig_sent(r), "2:0=failed"));
}

static struct undo_usage hello_usage(struct agent_rig *r)
{
    AUTO_BUF struct buf b = BUF_INIT;
    struct wire_frame frame;
    struct error err = {0};
    agent_hello(r->agent, &b);
    assert_int_equal(wire_decode(b.data, b.len, &frame, &err), ERR_OK);
    struct undo_usage usage = {frame.hello.undo_bytes, frame.hello.undo_max_bytes};
    wire_frame_done(&frame);
    return usage;
}

static void how_much_is_kept_is_told_and_warned_of_once(void **state)
{
    struct agent_rig *r = *state;
    struct error err = {0};
    bound_undo(r, 0);
    assert_int_equal(hello_usage(r).used_bytes, 0);
    assert_int_equal(hello_usage(r).max_bytes, BOUND_BYTES);
    put_large(target_of(r));
    change_and_settle(r, "r1", "small");
    int64_t used = hello_usage(r).used_bytes;
    assert_in_range(used, LARGE_BYTES, BOUND_BYTES * 80 / 100 - 1);
    assert_false(r->host->undo_high);
    char text[BOUND_BYTES];
    memset(text, 'y', sizeof(text));
    text[BOUND_BYTES * 80 / 100 - used] = '\0';
    file_fill(target_of(r), text);
    change_and_settle(r, "r2", "small");
    assert_true(hello_usage(r).used_bytes >= BOUND_BYTES * 80 / 100);
    assert_true(r->host->undo_high);
    assert_int_equal(
        undo_journal_expire(r->host->journal, clock_wall_ms() + 31 * DAY_MS, NULL, NULL, &err),
        ERR_OK);
    while (r->host->undo_high)
        (void)uv_run(&r->loop, UV_RUN_ONCE);
    assert_int_equal(hello_usage(r).used_bytes, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, agent_rig_set_up, agent_rig_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_somebody_else_has_changed_stays_until_it_is_forced),
        TEST(a_forced_round_goes_on_after_a_restart_and_is_still_forced),
        TEST(a_round_that_is_ordered_while_one_is_under_way_follows_it),
        TEST(two_orders_before_its_turn_are_one_and_the_newer_counts),
        TEST(what_cannot_be_read_any_more_fails_once_for_each_round),
        TEST(every_round_goes_back_to_the_first_capture),
        TEST(a_prepare_that_was_cut_off_is_done_again_and_a_whole_one_is_not),
        TEST(a_prepare_that_kills_its_agent_every_time_is_given_up),
        TEST(what_is_past_its_retention_goes_at_the_start_and_then_again_and_again),
        TEST(after_its_retention_there_is_no_record_to_undo_by),
        TEST(an_id_that_is_used_again_after_the_retention_is_a_new_execution),
        TEST(what_expires_while_an_order_waits_is_answered_all_the_same),
        TEST(a_step_that_would_keep_too_much_fails_before_it_changes_anything),
        TEST(what_is_past_its_retention_makes_room_first),
        TEST(a_cancel_while_room_is_made_is_obeyed),
        TEST(an_agent_can_be_stopped_while_room_is_made),
        TEST(how_much_is_kept_is_told_and_warned_of_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
