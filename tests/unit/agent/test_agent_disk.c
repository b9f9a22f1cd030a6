#include "common/base/cleanup.h"
#include "unit/agent/support_agent.h"
#include "unit/db/support_db.h"

#include <errno.h>
#include <sqlite3.h>
#include <string.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static int set_up(void **state)
{
    disk_install();
    return agent_rig_set_up(state);
}

static int tear_down(void **state)
{
    disk_fail_write(SQLITE_OK, 0);
    disk_fail_sync(SQLITE_OK, 0);
    int result = agent_rig_tear_down(state);
    disk_remove();
    return result;
}

static const char *target_of(const struct agent_rig *r)
{
    return folder_path(&r->folder, "target");
}

static void await_stall(struct agent_rig *r)
{
    while (!r->host->stalled)
        (void)uv_run(&r->loop, UV_RUN_ONCE);
}

static void give_space(struct agent_rig *r)
{
    disk_fail_write(SQLITE_OK, 0);
    undo_journal_retry(r->host->journal);
}

static void on_a_full_disk_nothing_is_changed_until_there_is_space(void **state)
{
    struct agent_rig *r = *state;
    file_fill(target_of(r), "old");
    agent_rig_connect(r, 1);
    disk_fail_write(SQLITE_FULL, ENOSPC);
    agent_rig_execute(r, "r1", agent_rig_write(r, "new"));
    await_stall(r);
    while (!r->agent->run->held) /* the prepare is over, and the change is next */
        (void)uv_run(&r->loop, UV_RUN_ONCE);
    assert_string_equal(file_get(target_of(r)), "old");
    assert_string_equal(agent_rig_sent(r), "");
    give_space(r);
    agent_rig_await(r, "ended=succeeded");
    assert_string_equal(file_get(target_of(r)), "new");
    assert_false(r->host->stalled);
    assert_false(r->failed);
}

/* What is captured would go to the full disk too. */
static void while_the_disk_is_full_not_even_a_prepare_begins(void **state)
{
    struct agent_rig *r = *state;
    char folder[UNDO_FILES_PATH_MAX];
    agent_rig_connect(r, 1);
    r->ack = false;
    agent_rig_execute(r, "r0", ECHO_STEP);
    agent_rig_await(r, "ended=succeeded");
    agent_rig_settle(r);
    disk_fail_write(SQLITE_FULL, ENOSPC);
    agent_rig_ack(r, "r0", 3);
    await_stall(r);
    (void)agent_rig_sent(r);
    agent_rig_execute(r, "r1", agent_rig_write(r, "new"));
    assert_true(r->agent->run->held);
    (void)snprintf(folder, sizeof(folder), "%s/undo/s1/r1", folder_path(&r->folder, "data"));
    assert_int_equal(access(folder, F_OK), -1);
    agent_rig_frame(r, CANCEL("r1", "true")); /* is heard, and waits as well */
    give_space(r);
    agent_rig_await(r, "[r1 2:ended=cancelled]");
    assert_int_equal(access(target_of(r), F_OK), -1);
}

static void an_undo_waits_for_space_too(void **state)
{
    struct agent_rig *r = *state;
    file_fill(target_of(r), "old");
    agent_rig_connect(r, 1);
    agent_rig_execute(r, "r1", agent_rig_write(r, "new"));
    agent_rig_await(r, "ended=succeeded");
    agent_rig_settle(r);
    disk_fail_write(SQLITE_FULL, ENOSPC);
    agent_rig_frame(r, ROLLBACK("r1"));
    await_stall(r);
    assert_true(r->agent->run->held);
    assert_string_equal(file_get(target_of(r)), "new");
    give_space(r);
    agent_rig_await(r, "over=rolled_back");
    assert_string_equal(file_get(target_of(r)), "old");
}

/* A full disk keeps no agent from stopping; what was not written is asked for again. */
static void an_agent_can_stop_on_a_full_disk(void **state)
{
    struct agent_rig *r = *state;
    file_fill(target_of(r), "old");
    agent_rig_connect(r, 1);
    disk_fail_write(SQLITE_FULL, ENOSPC);
    agent_rig_execute(r, "r1", agent_rig_write(r, "new"));
    await_stall(r);
    agent_rig_end(r, 0);
    disk_fail_write(SQLITE_OK, 0);
    assert_string_equal(file_get(target_of(r)), "old");
    agent_rig_begin(r);
    agent_rig_connect(r, 1);
    agent_rig_execute(r, "r1", agent_rig_write(r, "new"));
    agent_rig_await(r, "ended=succeeded");
}

static void after_a_failed_fsync_the_agent_does_nothing_more(void **state)
{
    struct agent_rig *r = *state;
    file_fill(target_of(r), "old");
    agent_rig_connect(r, 1);
    disk_fail_sync(SQLITE_IOERR_FSYNC, EIO);
    agent_rig_execute(r, "r1", agent_rig_write(r, "new"));
    while (!r->failed)
        (void)uv_run(&r->loop, UV_RUN_ONCE);
    disk_fail_sync(SQLITE_OK, 0); /* too late: what the kernel dropped does not come back */
    undo_journal_retry(r->host->journal);
    assert_string_equal(file_get(target_of(r)), "old");
    assert_string_equal(agent_rig_sent(r), "");
    agent_rig_restart(r);
    agent_rig_settle(r);
    agent_rig_connect(r, 1);
    agent_rig_execute(r, "r1", agent_rig_write(r, "new"));
    agent_rig_await(r, "ended=succeeded");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(on_a_full_disk_nothing_is_changed_until_there_is_space),
        TEST(while_the_disk_is_full_not_even_a_prepare_begins),
        TEST(an_undo_waits_for_space_too),
        TEST(an_agent_can_stop_on_a_full_disk),
        TEST(after_a_failed_fsync_the_agent_does_nothing_more),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
