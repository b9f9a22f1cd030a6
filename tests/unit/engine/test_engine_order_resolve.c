#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "unit/engine/support_plan.h"
#include "unit/engine/support_rollout.h"

/* ---- Settled by hand ----------------------------------------------------------------------- */

static void a_server_settled_as_succeeded_is_no_failure_any_more(void **state)
{
    (void)state;
    struct plan *plan = sequential_of(3);
    plan->strategy.max_failures = limit_of(1);
    struct rollout *r = rollout_of(plan);
    (void)created(r);
    (void)begins(r, 0);
    (void)unknown(r, 0);
    assert_string_equal(resolved(r, 0, EXECUTION_SUCCEEDED), "");
    assert_string_equal(server_is(r, 0), "succeeded");
    assert_string_equal(counts(r), "1 1 1 0 0 0 0 0 / 0 0");
    assert_true(engine_execution(rollout_engine(r), 0)->resolved);
    assert_int_equal(engine_execution(rollout_engine(r), 0)->reason_seq, 4);
    assert_string_equal(fails(r, 1), "batch_ended(2,1) batch_started(3,1) start(2)");
    assert_string_equal(succeeds(r, 2), "batch_ended(3,1) rollout_ended(succeeded) end");
    assert_string_equal(reason_of(r), "1 of 3 servers did not succeed, as the plan allows; 1 of 3 "
                                      "servers settled by hand");
    rollout_free(r);
}

static void a_server_settled_otherwise_is_a_failure(void **state)
{
    (void)state;
    static const enum execution_state as[] = {EXECUTION_FAILED, EXECUTION_ROLLED_BACK};
    for (int i = 0; i < 2; i++) {
        struct plan *plan = sequential_of(3);
        plan->strategy.max_failures = limit_of(1);
        struct rollout *r = rollout_of(plan);
        (void)created(r);
        (void)begins(r, 0);
        (void)unknown(r, 0);
        assert_string_equal(resolved(r, 0, as[i]), "");
        assert_int_equal(engine_execution(rollout_engine(r), 0)->outcome, EXECUTION_FAILED);
        assert_string_equal(counts(r), i == 0 ? "1 1 0 1 0 0 0 0 / 0 0" : "1 1 0 1 0 0 0 0 / 1 0");
        assert_string_equal(fails(r, 1), "threshold_exceeded(2) batch_ended(2,1) "
                                         "rollback_started(1) rollback(1)");
        assert_string_equal(undone(r, 1), "rollout_ended(rolled_back) end");
        rollout_free(r);
    }
}

static void settling_does_not_take_a_stop_back(void **state)
{
    (void)state;
    struct rollout *r = rollout_of(parallel_of(2));
    (void)created(r);
    (void)begins(r, 0);
    (void)begins(r, 1);
    assert_string_equal(unknown(r, 0), "threshold_exceeded(1) cancel(1)");
    assert_string_equal(resolved(r, 0, EXECUTION_SUCCEEDED), "");
    assert_string_equal(ends(r, 1, EXECUTION_CANCELLED),
                        "batch_ended(1,2) rollback_started(1) rollback(1)");
    assert_string_equal(server_is(r, 0), "succeeded");
    assert_string_equal(undone(r, 1), "rollout_ended(rolled_back) end");
    rollout_free(r);
}

static void an_ended_rollout_says_so_when_settling_changes_how_it_ended(void **state)
{
    (void)state;
    struct rollout *r = rollout_of(parallel_of(3));
    (void)created(r);
    (void)succeeds(r, 0);
    (void)begins(r, 1);
    (void)begins(r, 2);
    (void)unknown(r, 1);
    assert_string_equal(ends(r, 2, EXECUTION_CANCELLED),
                        "batch_ended(1,3) rollback_started(3) rollback(2) rollback(0)");
    (void)undo_fails(r, 2);
    assert_string_equal(undone(r, 0), "rollout_ended(rollback_failed) end");
    assert_string_equal(resolved(r, 1, EXECUTION_FAILED), "");
    assert_string_equal(server_is(r, 1), "failed");
    assert_string_equal(reason_of(r), "1 of 3 servers failed, 0 allowed; rollback failed on 1 of 3 "
                                      "servers; 1 of 3 servers settled by hand");
    assert_string_equal(resolved(r, 2, EXECUTION_ROLLED_BACK), "rollout_ended(rolled_back)");
    assert_string_equal(server_is(r, 2), "rolled_back/cancelled");
    assert_string_equal(counts(r), "0 0 1 1 0 0 1 0 / 2 0");
    assert_string_equal(reason_of(r),
                        "1 of 3 servers failed, 0 allowed; 2 of 3 servers settled by hand");
    rollout_free(r);
}

static void how_it_ended_is_not_looked_at_again_while_a_late_server_is_undone(void **state)
{
    (void)state;
    struct rollout *r = rollout_of(parallel_of(2));
    (void)created(r);
    (void)begins(r, 0);
    (void)begins(r, 1);
    (void)unknown(r, 0);
    assert_string_equal(unknown(r, 1), "batch_ended(1,2) rollback_started(2) "
                                       "rollout_ended(rollback_failed) end");
    assert_string_equal(ends(r, 0, EXECUTION_CANCELLED), "rollback(0)");
    assert_string_equal(resolved(r, 1, EXECUTION_ROLLED_BACK), "");
    assert_int_equal(state_of(r), ROLLOUT_ROLLBACK_FAILED);
    assert_string_equal(undone(r, 0), "rollout_ended(rolled_back)");
    assert_string_equal(counts(r), "0 0 0 1 0 1 0 0 / 2 0");
    rollout_free(r);
}

static void only_a_server_in_doubt_is_settled_and_once(void **state)
{
    (void)state;
    struct plan *plan = parallel_of(3);
    plan->strategy.max_failures = limit_of(2);
    struct rollout *r = rollout_of(plan);
    (void)created(r);
    assert_string_equal(resolved(r, 3, EXECUTION_FAILED), "refused: invalid");
    assert_string_equal(resolved(r, 0, EXECUTION_FAILED), "refused: conflict");
    assert_string_equal(rollout_refusal(r), "web-1 is queued: wait until it is at rest");
    (void)begins(r, 0);
    assert_string_equal(resolved(r, 0, EXECUTION_FAILED), "refused: conflict");
    assert_string_equal(rollout_refusal(r), "web-1 is running: wait until it is at rest");
    (void)unknown(r, 0);
    assert_string_equal(resolved(r, 0, EXECUTION_CANCELLED), "refused: invalid");
    (void)resolved(r, 0, EXECUTION_FAILED);
    assert_string_equal(resolved(r, 0, EXECUTION_SUCCEEDED), "refused: conflict");
    assert_string_equal(rollout_refusal(r),
                        "web-1 is settled already (failed): to change it, order its rollback");
    (void)succeeds(r, 1);
    assert_string_equal(resolved(r, 1, EXECUTION_FAILED), "refused: conflict");
    assert_string_equal(rollout_refusal(r), "web-2 is succeeded, which leaves nothing to settle: "
                                            "only a server that is unknown or rollback_failed is "
                                            "settled by hand");
    (void)unreachable(r, 2);
    assert_string_equal(resolved(r, 2, EXECUTION_FAILED), "refused: conflict");
    rollout_free(r);
}

static void what_a_settled_server_reports_is_kept_and_changes_nothing(void **state)
{
    (void)state;
    struct rollout *r = succeeded_with_unknown(2);
    const struct execution *x = engine_execution(rollout_engine(r), 0);
    (void)resolved(r, 0, EXECUTION_SUCCEEDED);
    assert_string_equal(reports(r, entry(EVENT_STEP_STARTED, 0, 0)), "");
    assert_true(x->touched);
    assert_int_equal(engine_step(rollout_engine(r), 0, 0)->state, STEP_RUNNING);
    assert_string_equal(server_is(r, 0), "succeeded");
    struct event event = entry(EVENT_STEP_ENDED, 0, 0);
    event.step_state = STEP_FAILED;
    event.message = "exit status 1";
    (void)reports(r, event);
    event = entry(EVENT_EXECUTION_ENDED, 0, EVENT_NO_STEP);
    event.state = EXECUTION_FAILED;
    event.undoing = true;
    event.message = "step 1: exit status 1";
    assert_string_equal(reports(r, event), "");
    assert_string_equal(undo_begins(r, 0), "");
    assert_string_equal(undoes_step(r, 0, 0, STEP_ROLLBACK_FAILED, true), "");
    assert_string_equal(undo_fails(r, 0), "");
    assert_string_equal(server_is(r, 0), "succeeded");
    assert_int_equal(engine_step(rollout_engine(r), 0, 0)->state, STEP_ROLLBACK_FAILED);
    assert_int_equal(x->last_agent_seq, 7);
    assert_int_equal(x->reason_seq, 6);
    assert_int_equal(x->step, EVENT_NO_STEP);
    assert_false(x->conflict);
    assert_string_equal(standing(r), "");
    assert_string_equal(counts(r), "0 0 2 0 0 0 0 0 / 0 0");
    assert_int_equal(state_of(r), ROLLOUT_SUCCEEDED);
    rollout_free(r);
}

static void nothing_is_owed_of_a_settled_server(void **state)
{
    (void)state;
    struct rollout *r = succeeded(parallel_of(1));
    (void)rollback_ordered(r);
    (void)unknown(r, 0);
    assert_string_equal(resolved(r, 0, EXECUTION_FAILED), "rollout_ended(rolled_back)");
    assert_string_equal(standing(r), "");
    assert_string_equal(server_is(r, 0), "failed/succeeded");
    /* It had heard of the order and carries it out. */
    assert_string_equal(undo_begins(r, 0), "");
    assert_string_equal(undone(r, 0), "");
    assert_string_equal(server_is(r, 0), "failed/succeeded");
    rollout_free(r);
}

static void a_settled_server_is_undone_when_a_person_orders_it(void **state)
{
    (void)state;
    struct rollout *r = succeeded_with_unknown(1);
    (void)resolved(r, 0, EXECUTION_ROLLED_BACK);
    assert_string_equal(rollback_ordered(r), "refused: conflict");
    assert_false(engine_needs_undo(rollout_engine(r), 0));
    assert_string_equal(server_ordered(r, 0),
                        "rollback_started(1) rollout_ended(rollback_failed) end");
    assert_false(engine_execution(rollout_engine(r), 0)->resolved);
    assert_string_equal(ends(r, 0, EXECUTION_SUCCEEDED), "rollback(0)");
    assert_string_equal(undone(r, 0), "");
    assert_string_equal(server_is(r, 0), "rolled_back/failed");
    rollout_free(r);
}

static void a_settled_server_that_undoes_in_silence_is_told_again_should_that_fail(void **state)
{
    (void)state;
    struct rollout *r = succeeded(parallel_of(1));
    (void)rollback_ordered(r);
    (void)unknown(r, 0);
    (void)resolved(r, 0, EXECUTION_SUCCEEDED);
    (void)undo_begins(r, 0);
    assert_string_equal(server_ordered(r, 0),
                        "rollback_started(1) rollout_ended(rollback_failed) end");
    assert_string_equal(undo_fails(r, 0), "rollback(0,2)");
    rollout_free(r);
}

static void a_settled_server_that_undoes_in_silence_is_not_told_to_by_an_order_for_all(void **state)
{
    (void)state;
    struct plan *plan = sequential_of(2);
    struct rollout *r = rollout_of(plan);
    (void)created(r);
    (void)succeeds(r, 0);
    (void)server_ordered(r, 0);
    (void)undo_begins(r, 0);
    (void)undoes_step(r, 0, 0, STEP_ROLLBACK_FAILED, true);
    (void)unknown(r, 0);
    (void)resolved(r, 0, EXECUTION_SUCCEEDED);
    assert_false(engine_execution(rollout_engine(r), 0)->conflict);
    assert_string_equal(rollback_ordered(r), "cancel(1)");
    assert_string_equal(server_is(r, 0), "rollback_failed/succeeded");
    assert_string_equal(withdrawn(r, 1), "batch_ended(2,1) rollout_ended(rollback_failed) end");
    assert_string_equal(undo_fails(r, 0), "");
    assert_string_equal(standing(r), "");
    rollout_free(r);
}

static void a_stop_leaves_settled_servers_alone_and_an_order_for_all_does_not(void **state)
{
    (void)state;
    struct plan *plan = parallel_of(4);
    plan->strategy.max_failures = limit_of(3);
    struct rollout *r = rollout_of(plan);
    (void)created(r);
    for (uint32_t i = 0; i < 3; i++) {
        (void)begins(r, i);
        (void)unknown(r, i);
    }
    (void)resolved(r, 0, EXECUTION_SUCCEEDED);
    (void)resolved(r, 1, EXECUTION_ROLLED_BACK);
    (void)begins(r, 3);
    assert_string_equal(rollback_ordered(r), "cancel(3)");
    assert_false(engine_execution(rollout_engine(r), 0)->resolved);
    assert_true(engine_execution(rollout_engine(r), 1)->resolved);
    assert_string_equal(ends(r, 3, EXECUTION_SUCCEEDED),
                        "batch_ended(1,4) rollback_started(3) rollback(3)");
    assert_string_equal(server_is(r, 0), "rollback_failed/succeeded");
    assert_string_equal(server_is(r, 1), "rolled_back/failed");
    assert_string_equal(undone(r, 3), "rollout_ended(rollback_failed) end");
    rollout_free(r);
}

static void a_settled_server_that_started_late_is_undone_at_once_by_an_order_for_all(void **state)
{
    (void)state;
    struct plan *plan = sequential_of(2);
    plan->strategy.max_failures = limit_of(1);
    struct rollout *r = rollout_of(plan);
    (void)created(r);
    (void)unreachable(r, 0);
    (void)begins(r, 0);
    (void)ends(r, 0, EXECUTION_CANCELLED);
    (void)undo_begins(r, 0);
    (void)undo_fails(r, 0);
    (void)resolved(r, 0, EXECUTION_FAILED);
    (void)begins(r, 1);
    assert_string_equal(rollback_ordered(r), "cancel(1) rollback(0,2)");
    rollout_free(r);
}

static void an_order_for_an_ended_rollout_takes_in_what_is_settled(void **state)
{
    (void)state;
    struct rollout *r = rollout_of(parallel_of(1));
    (void)created(r);
    (void)fails(r, 0);
    (void)undo_begins(r, 0);
    assert_string_equal(undo_fails(r, 0), "rollout_ended(rollback_failed) end");
    assert_string_equal(resolved(r, 0, EXECUTION_SUCCEEDED), "rollout_ended(rolled_back)");
    assert_true(engine_needs_undo(rollout_engine(r), 0));
    assert_string_equal(rollback_ordered(r), "rollback_started(1) rollback(0,2)");
    assert_string_equal(undone(r, 0), "rollout_ended(rolled_back) end");
    rollout_free(r);
}

static void a_server_settled_while_it_waits_for_its_turn_can_be_ordered_again(void **state)
{
    (void)state;
    struct rollout *r = succeeded(sequential_of(4));
    for (uint32_t i = 0; i < 4; i++) {
        (void)server_ordered(r, i);
        (void)undo_begins(r, i);
        (void)undo_fails(r, i);
    }
    assert_string_equal(server_ordered(r, 0), "rollback_started(1) rollback(0,2)");
    for (uint32_t i = 1; i < 4; i++)
        assert_string_equal(server_ordered(r, i), "");
    assert_string_equal(resolved(r, 1, EXECUTION_FAILED), "");
    assert_string_equal(server_forced(r, 1), "");
    assert_string_equal(resolved(r, 3, EXECUTION_FAILED), "");
    assert_string_equal(undone(r, 0), "rollback!(1,2)");
    assert_string_equal(undone(r, 1), "rollback(2,2)");
    assert_string_equal(undone(r, 2), "rollout_ended(succeeded) end");
    assert_string_equal(server_is(r, 3), "failed/succeeded");
    rollout_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_server_settled_as_succeeded_is_no_failure_any_more),
        cmocka_unit_test(a_server_settled_otherwise_is_a_failure),
        cmocka_unit_test(settling_does_not_take_a_stop_back),
        cmocka_unit_test(an_ended_rollout_says_so_when_settling_changes_how_it_ended),
        cmocka_unit_test(how_it_ended_is_not_looked_at_again_while_a_late_server_is_undone),
        cmocka_unit_test(only_a_server_in_doubt_is_settled_and_once),
        cmocka_unit_test(what_a_settled_server_reports_is_kept_and_changes_nothing),
        cmocka_unit_test(nothing_is_owed_of_a_settled_server),
        cmocka_unit_test(a_settled_server_is_undone_when_a_person_orders_it),
        cmocka_unit_test(a_settled_server_that_undoes_in_silence_is_told_again_should_that_fail),
        cmocka_unit_test(
            a_settled_server_that_undoes_in_silence_is_not_told_to_by_an_order_for_all),
        cmocka_unit_test(a_stop_leaves_settled_servers_alone_and_an_order_for_all_does_not),
        cmocka_unit_test(a_settled_server_that_started_late_is_undone_at_once_by_an_order_for_all),
        cmocka_unit_test(an_order_for_an_ended_rollout_takes_in_what_is_settled),
        cmocka_unit_test(a_server_settled_while_it_waits_for_its_turn_can_be_ordered_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
