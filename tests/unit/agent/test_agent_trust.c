/* An agent with trusted keys: what it lets begin, and what it remembers of that. */
#include "common/base/cleanup.h"
#include "unit/agent/support_agent.h"
#include "unit/agent/support_sealed.h"

#include <stdio.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static struct sealed_rig sealed;

static int set_up(void **state)
{
    sealed_rig_init(&sealed);
    int status = agent_rig_set_up(state);
    struct agent_rig *r = *state;
    r->agent->config.trust = sealed.trust;
    agent_rig_connect(r, 1);
    return status;
}

static int tear_down(void **state)
{
    int status = agent_rig_tear_down(state);
    sealed_rig_done(&sealed);
    return status;
}

static void restart(struct agent_rig *r)
{
    agent_rig_restart(r);
    r->agent->config.trust = sealed.trust;
    agent_rig_connect(r, 1);
}

static void execute(struct agent_rig *r, const char *rollout, uint32_t server)
{
    AUTO_FREE char *frame = sealed_rig_frame(&sealed, rollout, server);
    agent_rig_frame(r, frame);
}

static void assert_spent(struct agent_rig *r, const char *rollout)
{
    char found[ID_BUFFER];
    assert_int_equal(
        undo_journal_nonce(r->host->journal, "s1", sealed.plan->signing.nonce, found, NULL),
        ERR_OK);
    assert_string_equal(found, rollout);
}

static void nothing_is_begun_before_it_is_durable_that_it_is_spent(void **state)
{
    struct agent_rig *r = *state;
    sealed_rig_sign(&sealed, ECHO_STEP);
    execute(r, "r1", 1);
    /* A step that changes nothing would be over by now. */
    assert_true(r->agent->run->held);
    assert_false(r->agent->run->busy);
    agent_rig_await(r, "ended=succeeded");
    assert_spent(r, "r1");
}

static void what_is_not_signed_is_refused_and_can_be_undone_as_if_it_had_run(void **state)
{
    struct agent_rig *r = *state;
    agent_rig_execute(r, "r1", ECHO_STEP);
    assert_null(r->agent->run);
    agent_rig_await(r, "over=");
    assert_string_equal(agent_rig_sent(r),
                        "[r1 1:started 2:ended=failed+undo 3:undoing 4:over=rolled_back]");
    assert_string_equal(
        r->messages.data,
        "refused: the plan is not signed, and this agent runs only what its trusted "
        "keys have signed\n");
    agent_rig_frame(r, ROLLBACK("r1"));
    agent_rig_settle(r);
    assert_null(strstr(agent_rig_sent(r), "over=rollback_failed"));
}

static void nothing_is_kept_of_what_is_refused_but_that_it_was(void **state)
{
    struct agent_rig *r = *state;
    struct undo_image image = {0};
    sealed_rig_sign(&sealed, ECHO_STEP);
    execute(r, "r1", 0);
    agent_rig_await(r, "over=");
    assert_non_null(strstr(r->messages.data, "server s1 is not among those of the signed plan"));
    assert_int_equal(undo_journal_load(r->host->journal, "s1", "r1", &image, NULL), ERR_OK);
    assert_null(image.spec);
    undo_image_done(&image);
    /* Nor is it spent. */
    execute(r, "r2", 1);
    agent_rig_await(r, "[r2 ");
    agent_rig_await(r, "ended=succeeded");
}

static void what_was_run_is_not_run_again(void **state)
{
    struct agent_rig *r = *state;
    sealed_rig_sign(&sealed, agent_rig_shell(r, "s", "echo x >> %s/count", ""));
    execute(r, "r1", 1);
    execute(r, "r2", 1); /* while the first is not durable yet */
    agent_rig_await(r, "[r2 ");
    agent_rig_await(r, "ended=succeeded");
    agent_rig_settle(r);
    restart(r);
    execute(r, "r3", 1);
    agent_rig_await(r, "[r3 ");
    assert_non_null(strstr(r->messages.data, "was run on this server already, by rollout r1"));
    assert_string_equal(file_get(folder_path(&r->folder, "count")), "x\n");
}

static void what_is_cancelled_while_it_waits_is_spent_too(void **state)
{
    struct agent_rig *r = *state;
    sealed_rig_sign(&sealed, agent_rig_shell(r, "s", AT_GATE, ""));
    int gate = agent_rig_gate(r);
    execute(r, "r1", 1);
    agent_rig_await(r, "begun");
    sealed_rig_sign(&sealed, agent_rig_shell(r, "s", "echo x >> %s/count", ""));
    execute(r, "r2", 1);
    agent_rig_frame(r, CANCEL("r2", "true"));
    agent_rig_await(r, "ended=cancelled");
    assert_spent(r, "r2");
    execute(r, "r3", 1);
    agent_rig_open_gate(gate);
    agent_rig_await(r, "ended=succeeded");
    assert_non_null(strstr(r->messages.data, "by rollout r2"));
    assert_string_equal(file_get(folder_path(&r->folder, "count")), "");
}

static void what_expires_while_it_waits_for_its_turn_is_refused(void **state)
{
    struct agent_rig *r = *state;
    sealed_rig_sign(&sealed, agent_rig_shell(r, "s", AT_GATE, ""));
    int gate = agent_rig_gate(r);
    execute(r, "r1", 1);
    agent_rig_await(r, "begun");
    sealed_rig_sign(&sealed, agent_rig_shell(r, "s", "echo x >> %s/count", ""));
    execute(r, "r2", 1);
    execution_find(r->agent, "r2")->expires_ms = 1;
    agent_rig_open_gate(gate);
    agent_rig_await(r, "[r2 ");
    agent_rig_settle(r);
    assert_non_null(strstr(r->messages.data, "refused: the signed plan expired at 1970"));
    struct undo_image image = {0};
    assert_int_equal(undo_journal_load(r->host->journal, "s1", "r2", &image, NULL), ERR_OK);
    assert_null(image.spec);
    undo_image_done(&image);
    assert_string_equal(file_get(folder_path(&r->folder, "count")), "");
}

static void what_has_begun_goes_on_past_its_time_and_whatever_is_trusted_then(void **state)
{
    struct agent_rig *r = *state;
    struct sealed_rig others;
    sealed_rig_init(&others);
    sealed_rig_sign(&sealed,
                    agent_rig_join(agent_rig_write(r, "new"),
                                   agent_rig_shell(r, "s", AT_GATE, ",\"onInterrupt\":\"retry\"")));
    int gate = agent_rig_gate(r);
    execute(r, "r1", 1);
    agent_rig_await(r, "begun1");
    agent_rig_end(r, 0);
    agent_rig_begin(r);
    r->agent->config.trust = others.trust;
    agent_rig_connect(r, 1);
    agent_rig_open_gate(gate);
    agent_rig_await(r, "ended=succeeded");
    agent_rig_frame(r, ROLLBACK("r1"));
    agent_rig_await(r, "over=rolled_back");
    assert_string_equal(file_get(folder_path(&r->folder, "target")), "");
    sealed_rig_done(&others);
}

static void an_undo_by_force_is_done_without(void **state)
{
    struct agent_rig *r = *state;
    sealed_rig_sign(&sealed, agent_rig_write(r, "new"));
    execute(r, "r1", 1);
    agent_rig_await(r, "ended=succeeded");
    file_fill(folder_path(&r->folder, "target"), "somebody's");
    agent_rig_frame(r, ROUND("r1", "1", "true"));
    agent_rig_await(r, "over=rollback_failed");
    assert_non_null(strstr(agent_rig_sent(r), "+conflict"));
    assert_string_equal(file_get(folder_path(&r->folder, "target")), "somebody's");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
        TEST(nothing_is_begun_before_it_is_durable_that_it_is_spent),
        TEST(what_is_not_signed_is_refused_and_can_be_undone_as_if_it_had_run),
        TEST(nothing_is_kept_of_what_is_refused_but_that_it_was),
        TEST(what_was_run_is_not_run_again),
        TEST(what_is_cancelled_while_it_waits_is_spent_too),
        TEST(what_expires_while_it_waits_for_its_turn_is_refused),
        TEST(what_has_begun_goes_on_past_its_time_and_whatever_is_trusted_then),
        TEST(an_undo_by_force_is_done_without),
#undef TEST
    };
    return cmocka_run_group_tests_name("agent_trust", tests, NULL, NULL);
}
