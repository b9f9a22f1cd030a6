#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "unit/engine/support_plan.h"
#include "unit/engine/support_rollout.h"

static enum rollout_state state_of(struct rollout *r)
{
    return engine_state(rollout_engine(r));
}

static const char *reason_of(struct rollout *r)
{
    return engine_reason(rollout_engine(r));
}

static const char *undoes_step(struct rollout *r, uint32_t server, int32_t step,
                               enum step_state state, bool conflict)
{
    struct event event = entry(EVENT_STEP_ROLLED_BACK, server, step);
    event.step_state = state;
    event.conflict = conflict;
    return reports(r, event);
}

/* Its first step begins and ends, so that it may be changed. */
static void works(struct rollout *r, uint32_t server)
{
    (void)begins(r, server);
    (void)reports(r, entry(EVENT_STEP_STARTED, server, 0));
    struct event event = entry(EVENT_STEP_ENDED, server, 0);
    event.step_state = STEP_SUCCEEDED;
    (void)reports(r, event);
}

/* A rollout over so many servers in which all succeeded. */
static struct rollout *succeeded(struct plan *plan)
{
    struct rollout *r = rollout_of(plan);
    (void)created(r);
    for (uint32_t i = 0; i < plan_server_count(plan); i++) {
        works(r, i);
        (void)ends(r, i, EXECUTION_SUCCEEDED);
    }
    assert_int_equal(state_of(r), ROLLOUT_SUCCEEDED);
    return r;
}

/* Server 0 fell silent in its steps, and the rollout succeeded all the same. */
static struct rollout *succeeded_with_unknown(uint32_t servers)
{
    struct plan *plan = parallel_of(servers);
    plan->strategy.max_failures = limit_of(1);
    struct rollout *r = rollout_of(plan);
    (void)created(r);
    (void)begins(r, 0);
    (void)unknown(r, 0);
    for (uint32_t i = 1; i < servers; i++)
        (void)succeeds(r, i);
    return r;
}

/* ---- While it goes forward ----------------------------------------------------------------- */

static void a_rollout_that_is_ordered_back_stops_and_undoes_all(void **state)
{
    (void)state;
    struct plan *plan = rolling_of(4, 2);
    plan->rollback_scope = SCOPE_NONE;
    struct rollout *r = rollout_of(plan);
    (void)created(r);
    (void)succeeds(r, 0);
    (void)begins(r, 1);
    (void)paused(r);
    assert_string_equal(rollback_ordered(r), "cancel(1)");
    assert_string_equal(reason_of(r), "rollback ordered by bob");
    assert_string_equal(rollback_ordered(r), "refused: conflict");
    assert_string_equal(
        rollout_refusal(r),
        "the rollout is stopping already (rollback ordered by bob) and is undone then");
    assert_string_equal(ends(r, 1, EXECUTION_CANCELLED),
                        "batch_ended(1,2) rollback_started(2) rollback(1) rollback(0)");
    assert_string_equal(rollback_ordered(r), "refused: conflict");
    assert_string_equal(rollout_refusal(r), "the rollout is rolling back already: wait for its "
                                            "end, or order servers one by one");
    (void)undone(r, 0);
    assert_string_equal(undone(r, 1), "rollout_ended(rolled_back) end");
    assert_string_equal(reason_of(r), "rollback ordered by bob");
    rollout_free(r);
}

static void an_order_back_can_end_running_steps(void **state)
{
    (void)state;
    struct rollout *r = rollout_of(parallel_of(1));
    (void)created(r);
    (void)begins(r, 0);
    struct event event = entry(EVENT_ROLLBACK_REQUESTED, EVENT_NO_SERVER, EVENT_NO_STEP);
    assert_string_equal(rollback_ordered(r), "cancel(0)");
    event.now = true;
    assert_string_equal(apply(r, event), "cancel_now(0)");
    assert_string_equal(ends(r, 0, EXECUTION_CANCELLED),
                        "batch_ended(1,1) rollback_started(1) rollback(0)");
    rollout_free(r);

    r = rollout_of(parallel_of(1));
    (void)created(r);
    (void)begins(r, 0);
    assert_string_equal(apply(r, event), "cancel_now(0)");
    assert_string_equal(reason_of(r), "rollback ordered");
    rollout_free(r);
}

static void an_order_back_widens_a_stop_that_undoes_less(void **state)
{
    (void)state;
    struct plan *plan = parallel_of(3);
    plan->rollback_scope = SCOPE_FAILED;
    struct rollout *r = rollout_of(plan);
    (void)created(r);
    (void)succeeds(r, 0);
    (void)begins(r, 1);
    assert_string_equal(fails(r, 2), "threshold_exceeded(1) cancel(1)");
    assert_string_equal(rollback_ordered(r), "");
    assert_string_equal(ends(r, 1, EXECUTION_SUCCEEDED),
                        "batch_ended(1,3) rollback_started(3) rollback(2) rollback(1) rollback(0)");
    rollout_free(r);
}

static void an_order_back_comes_in_time_until_the_last_server_rests(void **state)
{
    (void)state;
    struct plan *plan = parallel_of(2);
    plan->rollback_scope = SCOPE_NONE;
    plan->strategy.max_failures = limit_of(1);
    struct rollout *r = rollout_of(plan);
    (void)created(r);
    (void)begins(r, 0);
    (void)unknown(r, 0);
    assert_string_equal(reports(r, entry(EVENT_STEP_STARTED, 0, 0)), "");
    (void)begins(r, 1);
    assert_string_equal(cancelled(r, false, false), "cancel(0) cancel(1)");
    assert_string_equal(ends(r, 1, EXECUTION_SUCCEEDED), "batch_ended(1,2)");
    assert_string_equal(rollback_ordered(r), "rollback_started(2) rollback(1)");
    assert_string_equal(ends(r, 0, EXECUTION_CANCELLED), "rollback(0)");
    (void)undone(r, 0);
    assert_string_equal(undone(r, 1), "rollout_ended(rolled_back) end");
    rollout_free(r);
}

static void a_rollout_that_has_not_begun_takes_no_order(void **state)
{
    (void)state;
    struct rollout *r = rollout_of(sequential_of(1));
    assert_string_equal(rollback_ordered(r), "refused: conflict");
    assert_string_equal(server_ordered(r, 0), "refused: conflict");
    assert_string_equal(resolved(r, 0, EXECUTION_FAILED), "refused: conflict");
    rollout_free(r);
}

static void a_server_is_undone_while_the_others_go_on(void **state)
{
    (void)state;
    struct rollout *r = rollout_of(sequential_of(3));
    (void)created(r);
    works(r, 0);
    (void)ends(r, 0, EXECUTION_SUCCEEDED);
    assert_string_equal(server_ordered(r, 0), "rollback(0)");
    assert_int_equal(state_of(r), ROLLOUT_RUNNING);
    assert_string_equal(server_is(r, 0), "rolling_back/succeeded");
    assert_string_equal(succeeds(r, 1), "batch_ended(2,1) batch_started(3,1) start(2)");
    assert_string_equal(standing(r), "rollback(0) start(2)");
    assert_string_equal(succeeds(r, 2), "batch_ended(3,1)");
    assert_string_equal(undone(r, 0), "rollout_ended(succeeded) end");
    assert_string_equal(server_is(r, 0), "rolled_back/succeeded");
    assert_string_equal(counts(r), "0 0 3 0 0 0 0 0 / 1 0");
    assert_string_equal(reason_of(r), "1 of 3 servers rolled back");
    rollout_free(r);
}

static void a_server_whose_ordered_undo_fails_is_loud_in_the_end(void **state)
{
    (void)state;
    struct rollout *r = rollout_of(sequential_of(2));
    (void)created(r);
    (void)succeeds(r, 0);
    (void)server_ordered(r, 0);
    assert_string_equal(undo_fails(r, 0), "");
    assert_string_equal(succeeds(r, 1), "batch_ended(2,1) rollout_ended(rollback_failed) end");
    assert_string_equal(reason_of(r), "rollback failed on 1 of 2 servers");
    rollout_free(r);
}

static void a_server_ordered_ahead_of_its_turn_is_undone_once(void **state)
{
    (void)state;
    struct plan *plan = rolling_of(4, 2);
    struct rollout *r = rollout_of(plan);
    (void)created(r);
    for (uint32_t i = 0; i < 3; i++)
        (void)succeeds(r, i);
    assert_string_equal(fails(r, 3), "threshold_exceeded(1) batch_ended(2,2) rollback_started(4) "
                                     "rollback(3) rollback(2)");
    assert_string_equal(server_forced(r, 0), "");
    assert_string_equal(server_ordered(r, 0), "refused: conflict");
    assert_string_equal(rollout_refusal(r), "web-1 (succeeded) is to be undone already: wait "
                                            "until others are, it is next");
    assert_string_equal(undone(r, 3), "rollback!(0,1)");
    assert_string_equal(undone(r, 2), "rollback(1)");
    (void)undone(r, 1);
    assert_string_equal(undone(r, 0), "rollout_ended(rolled_back) end");
    rollout_free(r);
}

static void a_server_beyond_the_scope_is_undone_when_ordered(void **state)
{
    (void)state;
    struct plan *plan = parallel_of(2);
    plan->rollback_scope = SCOPE_FAILED;
    struct rollout *r = rollout_of(plan);
    (void)created(r);
    (void)succeeds(r, 0);
    (void)begins(r, 1);
    (void)cancelled(r, false, false);
    assert_string_equal(server_ordered(r, 0), "rollback(0)");
    assert_string_equal(ends(r, 1, EXECUTION_CANCELLED), "batch_ended(1,2)");
    assert_string_equal(undone(r, 0), "rollout_ended(cancelled) end");
    rollout_free(r);
}

static void only_what_was_changed_and_rests_can_be_ordered(void **state)
{
    (void)state;
    struct plan *plan = parallel_of(4);
    plan->strategy.max_parallel = 3;
    plan->strategy.max_failures = limit_of(2);
    struct rollout *r = rollout_of(plan);
    (void)created(r);
    (void)begins(r, 0);
    (void)unreachable(r, 1);
    assert_string_equal(server_ordered(r, 0), "refused: conflict");
    assert_string_equal(rollout_refusal(r), "web-1 is at work (running): wait until it is at rest, "
                                            "or roll the whole rollout back");
    assert_string_equal(server_ordered(r, 1), "refused: conflict");
    assert_string_equal(rollout_refusal(r),
                        "web-2 was not started (unreachable): there is nothing to undo");
    assert_string_equal(server_ordered(r, 2), "refused: conflict");
    assert_string_equal(rollout_refusal(r), "web-3 is at work (queued): wait until it is at rest, "
                                            "or roll the whole rollout back");
    assert_string_equal(server_ordered(r, 4), "refused: invalid");
    (void)ends(r, 0, EXECUTION_SUCCEEDED);
    assert_string_equal(server_ordered(r, 0), "rollback(0)");
    assert_string_equal(server_ordered(r, 0), "refused: conflict");
    assert_string_equal(rollout_refusal(r), "web-1 is rolling back already: wait for how it ends");
    (void)undone(r, 0);
    assert_string_equal(server_ordered(r, 0), "refused: conflict");
    assert_string_equal(rollout_refusal(r),
                        "web-1 is rolled back already: there is nothing to undo");
    (void)cancelled(r, true, false);
    (void)withdrawn(r, 2);
    (void)withdrawn(r, 3);
    assert_string_equal(server_ordered(r, 3), "refused: conflict");
    assert_string_equal(rollout_refusal(r),
                        "web-4 was not started (skipped): there is nothing to undo");
    rollout_free(r);
}

static void a_rollback_is_forced_server_by_server(void **state)
{
    (void)state;
    struct rollout *r = succeeded(parallel_of(1));
    struct event event = entry(EVENT_ROLLBACK_REQUESTED, EVENT_NO_SERVER, EVENT_NO_STEP);
    event.force = true;
    assert_string_equal(apply(r, event), "refused: invalid");
    rollout_free(r);
}

/* ---- After the end ------------------------------------------------------------------------- */

static void an_ended_rollout_is_undone_latest_first_as_many_at_once_as_went_forward(void **state)
{
    (void)state;
    struct rollout *r = succeeded(rolling_of(4, 2));
    assert_string_equal(rollback_ordered(r), "rollback_started(4) rollback(3) rollback(2)");
    assert_int_equal(state_of(r), ROLLOUT_ROLLING_BACK);
    assert_string_equal(reason_of(r), "rollback ordered by bob");
    assert_string_equal(standing(r), "rollback(2) rollback(3)");
    assert_string_equal(rollback_ordered(r), "refused: conflict");
    assert_string_equal(paused(r), "refused: conflict");
    assert_string_equal(cancelled(r, true, true), "refused: conflict");
    assert_string_equal(undone(r, 3), "rollback(1)");
    assert_string_equal(undone(r, 2), "rollback(0)");
    assert_string_equal(undone(r, 1), "");
    assert_string_equal(undone(r, 0), "rollout_ended(rolled_back) end");
    assert_string_equal(counts(r), "0 0 4 0 0 0 0 0 / 4 0");
    assert_string_equal(reason_of(r), "rollback ordered by bob");
    assert_string_equal(rollback_ordered(r), "refused: conflict");
    assert_string_equal(rollout_refusal(r),
                        "the rollout has ended (rolled_back) and nothing is left to undo: every "
                        "server is rolled back, was never started, or is undone when its agent "
                        "comes back");
    rollout_free(r);
}

static void a_rollout_that_failed_and_undid_nothing_can_be_undone(void **state)
{
    (void)state;
    struct plan *plan = sequential_of(3);
    plan->rollback_scope = SCOPE_NONE;
    struct rollout *r = rollout_of(plan);
    (void)created(r);
    (void)succeeds(r, 0);
    assert_string_equal(fails(r, 1),
                        "threshold_exceeded(1) batch_ended(2,1) rollout_ended(failed) end");
    assert_string_equal(rollback_ordered(r), "rollback_started(2) rollback(1)");
    assert_string_equal(undone(r, 1), "rollback(0)");
    assert_string_equal(undone(r, 0), "rollout_ended(rolled_back) end");
    assert_string_equal(reason_of(r), "1 of 3 servers failed, 0 allowed; rollback ordered by bob");
    rollout_free(r);
}

static void what_is_undone_already_is_left_out(void **state)
{
    (void)state;
    struct plan *plan = sequential_of(3);
    plan->strategy.max_failures = limit_of(2);
    struct rollout *r = rollout_of(plan);
    (void)created(r);
    (void)succeeds(r, 0);
    (void)fails_and_undoes(r, 1);
    (void)undone(r, 1);
    assert_string_equal(unreachable(r, 2), "batch_ended(3,1) rollout_ended(succeeded) end");
    assert_true(engine_needs_undo(rollout_engine(r), 0));
    assert_false(engine_needs_undo(rollout_engine(r), 1));
    assert_false(engine_needs_undo(rollout_engine(r), 2));
    assert_string_equal(rollback_ordered(r), "rollback_started(1) rollback(0)");
    assert_false(engine_needs_undo(rollout_engine(r), 0));
    assert_string_equal(undone(r, 0), "rollout_ended(rolled_back) end");
    rollout_free(r);
}

static void undone_server_by_server_it_is_rolled_back_with_the_last(void **state)
{
    (void)state;
    struct rollout *r = succeeded(parallel_of(3));
    assert_string_equal(server_ordered(r, 1), "rollback_started(1) rollback(1)");
    assert_string_equal(server_ordered(r, 2), "rollback(2)");
    (void)undone(r, 1);
    assert_string_equal(undone(r, 2), "rollout_ended(succeeded) end");
    assert_string_equal(reason_of(r), "2 of 3 servers rolled back");
    assert_string_equal(server_ordered(r, 0), "rollback_started(1) rollback(0)");
    assert_string_equal(undone(r, 0), "rollout_ended(rolled_back) end");
    assert_string_equal(reason_of(r), "3 of 3 servers rolled back");
    rollout_free(r);
}

static void a_server_that_was_not_changed_does_not_keep_it_from_being_rolled_back(void **state)
{
    (void)state;
    struct rollout *r = rollout_of(parallel_of(2));
    (void)created(r);
    works(r, 0);
    (void)ends(r, 0, EXECUTION_SUCCEEDED);
    (void)begins(r, 1);
    (void)reports(r, entry(EVENT_STEP_RETRYING, 1, 0));
    struct event instant = entry(EVENT_STEP_ENDED, 1, 0);
    instant.step_state = STEP_SUCCEEDED;
    (void)reports(r, instant);
    assert_false(engine_execution(rollout_engine(r), 1)->touched);
    (void)ends(r, 1, EXECUTION_SUCCEEDED);
    (void)server_ordered(r, 0);
    assert_string_equal(undone(r, 0), "rollout_ended(rolled_back) end");
    rollout_free(r);
}

static void a_silent_server_keeps_it_from_being_rolled_back(void **state)
{
    (void)state;
    struct plan *plan = parallel_of(2);
    plan->strategy.max_failures = limit_of(1);
    struct rollout *r = rollout_of(plan);
    (void)created(r);
    works(r, 0);
    (void)ends(r, 0, EXECUTION_SUCCEEDED);
    (void)begins(r, 1);
    assert_string_equal(unknown(r, 1), "batch_ended(1,2) rollout_ended(succeeded) end");
    (void)server_ordered(r, 0);
    assert_string_equal(undone(r, 0), "rollout_ended(succeeded) end");
    assert_string_equal(
        reason_of(r),
        "1 of 2 servers did not succeed, as the plan allows; 1 of 2 servers rolled back");
    rollout_free(r);
}

static void the_outcomes_of_an_ended_rollout_stay_when_it_is_undone(void **state)
{
    (void)state;
    struct plan *plan = parallel_of(2);
    plan->strategy.max_failures = limit_of(1);
    struct rollout *r = rollout_of(plan);
    (void)created(r);
    (void)succeeds(r, 0);
    (void)begins(r, 1);
    assert_string_equal(unknown(r, 1), "batch_ended(1,2) rollout_ended(succeeded) end");
    assert_string_equal(rollback_ordered(r), "rollback_started(2) rollback(0)");
    assert_string_equal(server_is(r, 1), "rollback_failed/unknown");
    assert_string_equal(reports(r, entry(EVENT_STEP_STARTED, 1, 0)), "cancel(1)");
    assert_string_equal(standing(r), "rollback(0) cancel(1)");
    assert_string_equal(ends(r, 1, EXECUTION_FAILED), "rollback(1)");
    assert_string_equal(counts(r), "0 0 1 0 0 1 0 0 / 0 0");
    (void)undone(r, 0);
    assert_string_equal(undone(r, 1), "rollout_ended(rolled_back) end");
    rollout_free(r);
}

static void a_server_that_is_at_work_after_the_end_is_stopped_and_undone_too(void **state)
{
    (void)state;
    struct plan *plan = parallel_of(2);
    plan->strategy.max_failures = limit_of(1);
    struct rollout *r = rollout_of(plan);
    (void)created(r);
    (void)succeeds(r, 0);
    (void)begins(r, 1);
    (void)unknown(r, 1);
    assert_string_equal(reports(r, entry(EVENT_STEP_STARTED, 1, 0)), "");
    assert_int_equal(state_of(r), ROLLOUT_SUCCEEDED);
    assert_string_equal(server_ordered(r, 1), "refused: conflict");
    assert_string_equal(rollback_ordered(r), "rollback_started(2) cancel(1) rollback(0)");
    assert_string_equal(undone(r, 0), "");
    assert_string_equal(ends(r, 1, EXECUTION_SUCCEEDED), "rollback(1)");
    assert_string_equal(undone(r, 1), "rollout_ended(rolled_back) end");
    rollout_free(r);
}

/* ---- Rounds -------------------------------------------------------------------------------- */

static void an_undo_that_failed_is_tried_again_in_another_round(void **state)
{
    (void)state;
    struct rollout *r = succeeded(parallel_of(1));
    const struct execution *x = engine_execution(rollout_engine(r), 0);
    const struct step_record *step = engine_step(rollout_engine(r), 0, 0);
    assert_int_equal(x->undo_round, 0);
    (void)rollback_ordered(r);
    assert_int_equal(x->undo_round, 1);
    (void)undo_begins(r, 0);
    (void)undoes_step(r, 0, 0, STEP_ROLLBACK_FAILED, true);
    assert_true(x->conflict && step->conflict);
    assert_string_equal(undo_fails(r, 0), "rollout_ended(rollback_failed) end");
    assert_string_equal(reason_of(r), "rollback ordered by bob; rollback failed on 1 of 1 servers");
    assert_string_equal(rollback_ordered(r), "rollback_started(1) rollback(0,2)");
    assert_string_equal(standing(r), "rollback(0,2)");
    assert_true(x->conflict);
    assert_string_equal(undo_begins(r, 0), "");
    assert_false(x->conflict);
    assert_string_equal(standing(r), "rollback(0,2)");
    (void)undoes_step(r, 0, 0, STEP_ROLLED_BACK, false);
    assert_int_equal(step->state, STEP_ROLLED_BACK);
    assert_false(step->conflict);
    assert_string_equal(undone(r, 0), "rollout_ended(rolled_back) end");
    assert_string_equal(counts(r), "0 0 1 0 0 0 0 0 / 1 0");
    rollout_free(r);
}

static void force_stands_for_the_order_it_came_with(void **state)
{
    (void)state;
    struct rollout *r = succeeded(parallel_of(1));
    assert_string_equal(server_forced(r, 0), "rollback_started(1) rollback!(0,1)");
    assert_string_equal(standing(r), "rollback!(0,1)");
    (void)undo_begins(r, 0);
    assert_string_equal(undo_fails(r, 0), "rollout_ended(rollback_failed) end");
    assert_string_equal(server_ordered(r, 0), "rollback_started(1) rollback(0,2)");
    (void)undo_begins(r, 0);
    (void)undo_fails(r, 0);
    assert_string_equal(server_forced(r, 0), "rollback_started(1) rollback!(0,3)");
    rollout_free(r);
}

static void a_server_that_undid_itself_in_vain_is_ordered_in_its_second_round(void **state)
{
    (void)state;
    struct rollout *r = rollout_of(parallel_of(1));
    (void)created(r);
    (void)fails_and_undoes(r, 0);
    (void)undo_begins(r, 0);
    assert_string_equal(undo_fails(r, 0),
                        "batch_ended(1,1) rollback_started(0) rollout_ended(rollback_failed) end");
    assert_string_equal(server_ordered(r, 0), "rollback_started(1) rollback(0,2)");
    (void)undo_begins(r, 0);
    assert_string_equal(undone(r, 0), "rollout_ended(rolled_back) end");
    assert_string_equal(reason_of(r),
                        "1 of 1 servers failed, 0 allowed; 1 of 1 servers rolled back");
    rollout_free(r);
}

static void an_agent_undoes_no_more_often_than_it_was_told(void **state)
{
    (void)state;
    struct rollout *r = succeeded(parallel_of(1));
    (void)rollback_ordered(r);
    (void)undo_begins(r, 0);
    assert_string_equal(undo_begins(r, 0), "refused: conflict");
    (void)undo_fails(r, 0);
    assert_string_equal(undo_begins(r, 0), "refused: conflict");
    (void)rollback_ordered(r);
    (void)undo_begins(r, 0);
    (void)undone(r, 0);
    assert_string_equal(undo_begins(r, 0), "refused: conflict");
    rollout_free(r);

    r = succeeded_with_unknown(1);
    (void)resolved(r, 0, EXECUTION_FAILED);
    (void)ends(r, 0, EXECUTION_SUCCEEDED);
    (void)undo_begins(r, 0);
    assert_string_equal(undo_begins(r, 0), "refused: conflict");
    (void)undone(r, 0);
    assert_string_equal(undo_begins(r, 0), "refused: conflict");
    rollout_free(r);
}

static void in_a_round_steps_are_undone_once_and_last_first(void **state)
{
    (void)state;
    struct rollout *r = rollout_of(plan_of(1, 3));
    (void)created(r);
    (void)succeeds(r, 0);
    (void)rollback_ordered(r);
    assert_string_equal(undoes_step(r, 0, 2, STEP_ROLLED_BACK, false), "refused: conflict");
    (void)undo_begins(r, 0);
    assert_string_equal(undoes_step(r, 0, 2, STEP_ROLLED_BACK, false), "");
    assert_string_equal(undoes_step(r, 0, 1, STEP_ROLLBACK_FAILED, false), "");
    assert_string_equal(undoes_step(r, 0, 1, STEP_ROLLED_BACK, false), "refused: conflict");
    assert_string_equal(undoes_step(r, 0, 2, STEP_ROLLED_BACK, false), "refused: conflict");
    assert_string_equal(undoes_step(r, 0, 0, STEP_ROLLED_BACK, false), "");
    (void)undo_fails(r, 0);
    (void)rollback_ordered(r);
    (void)undo_begins(r, 0);
    assert_string_equal(undoes_step(r, 0, 2, STEP_ROLLED_BACK, false), "refused: conflict");
    assert_string_equal(undoes_step(r, 0, 1, STEP_ROLLED_BACK, false), "");
    rollout_free(r);
}

/* ---- Silent servers ------------------------------------------------------------------------ */

static void a_silent_server_that_is_ordered_is_undone_when_it_comes_back(void **state)
{
    (void)state;
    struct rollout *r = succeeded_with_unknown(2);
    assert_string_equal(server_ordered(r, 0),
                        "rollback_started(1) rollout_ended(rollback_failed) end");
    assert_string_equal(server_is(r, 0), "rollback_failed/unknown");
    assert_string_equal(server_ordered(r, 0), "refused: conflict");
    assert_string_equal(rollout_refusal(r), "web-1 (rollback_failed) is to be undone already: that "
                                            "begins when its agent comes back, or settle it by "
                                            "hand");
    assert_string_equal(server_forced(r, 0),
                        "rollback_started(1) rollout_ended(rollback_failed) end");
    assert_string_equal(server_forced(r, 0), "refused: conflict");
    assert_string_equal(standing(r), "");
    assert_string_equal(reports(r, entry(EVENT_STEP_STARTED, 0, 0)), "cancel(0)");
    assert_string_equal(ends(r, 0, EXECUTION_CANCELLED), "rollback!(0,1)");
    assert_string_equal(undone(r, 0), "");
    assert_string_equal(server_is(r, 0), "rolled_back/unknown");
    assert_int_equal(state_of(r), ROLLOUT_ROLLBACK_FAILED);
    rollout_free(r);
}

static void a_silent_server_can_be_ordered_while_the_others_go_forward(void **state)
{
    (void)state;
    struct plan *plan = sequential_of(2);
    plan->strategy.max_failures = limit_of(1);
    struct rollout *r = rollout_of(plan);
    (void)created(r);
    (void)begins(r, 0);
    (void)unknown(r, 0);
    assert_string_equal(server_ordered(r, 0), "");
    assert_string_equal(server_is(r, 0), "rollback_failed/unknown");
    assert_string_equal(reports(r, entry(EVENT_STEP_STARTED, 0, 0)), "cancel(0)");
    assert_string_equal(standing(r), "cancel(0) start(1)");
    assert_string_equal(ends(r, 0, EXECUTION_CANCELLED), "rollback(0)");
    assert_string_equal(counts(r), "0 1 0 0 0 0 1 0 / 0 0");
    assert_string_equal(undone(r, 0), "");
    assert_string_equal(succeeds(r, 1), "batch_ended(2,1) rollout_ended(succeeded) end");
    rollout_free(r);
}

static void the_end_of_the_rollback_waits_for_a_server_that_came_back(void **state)
{
    (void)state;
    struct rollout *r = succeeded_with_unknown(2);
    (void)rollback_ordered(r);
    (void)reports(r, entry(EVENT_STEP_STARTED, 0, 0));
    assert_string_equal(undone(r, 1), "");
    assert_string_equal(unknown(r, 0), "rollout_ended(rollback_failed) end");
    assert_string_equal(rollback_ordered(r), "refused: conflict");
    rollout_free(r);
}

static void a_server_that_falls_silent_when_ordered_owes_its_undo(void **state)
{
    (void)state;
    struct rollout *r = succeeded(parallel_of(1));
    (void)rollback_ordered(r);
    assert_string_equal(unknown(r, 0), "rollout_ended(rollback_failed) end");
    assert_string_equal(standing(r), "rollback(0)");
    assert_true(engine_needs_undo(rollout_engine(r), 0));
    assert_string_equal(server_forced(r, 0),
                        "rollback_started(1) rollout_ended(rollback_failed) end");
    assert_string_equal(standing(r), "rollback!(0,1)");
    (void)undo_begins(r, 0);
    assert_string_equal(undone(r, 0), "");
    assert_string_equal(server_is(r, 0), "rolled_back/succeeded");
    assert_string_equal(standing(r), "");
    rollout_free(r);
}

static void an_order_outlives_the_failure_of_a_round_that_began_before_it(void **state)
{
    (void)state;
    struct rollout *r = succeeded(parallel_of(1));
    (void)rollback_ordered(r);
    (void)undo_begins(r, 0);
    (void)unknown(r, 0);
    (void)server_forced(r, 0);
    assert_string_equal(standing(r), "rollback!(0,1)");
    assert_string_equal(undo_fails(r, 0), "rollback!(0,2)");
    (void)undo_begins(r, 0);
    assert_string_equal(undo_fails(r, 0), "");
    assert_string_equal(standing(r), "");
    rollout_free(r);
}

static void an_order_for_a_server_that_is_silent_in_its_own_undo_outlives_its_failure(void **state)
{
    (void)state;
    struct plan *plan = parallel_of(1);
    plan->strategy.max_failures = limit_of(1);
    struct rollout *r = rollout_of(plan);
    (void)created(r);
    (void)fails_and_undoes(r, 0);
    assert_string_equal(unknown(r, 0), "batch_ended(1,1) rollout_ended(rollback_failed) end");
    assert_string_equal(server_ordered(r, 0),
                        "rollback_started(1) rollout_ended(rollback_failed) end");
    assert_string_equal(standing(r), "");
    (void)undo_begins(r, 0);
    assert_string_equal(undo_fails(r, 0), "rollback(0,2)");
    rollout_free(r);
}

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
        cmocka_unit_test(a_rollout_that_is_ordered_back_stops_and_undoes_all),
        cmocka_unit_test(an_order_back_can_end_running_steps),
        cmocka_unit_test(an_order_back_widens_a_stop_that_undoes_less),
        cmocka_unit_test(an_order_back_comes_in_time_until_the_last_server_rests),
        cmocka_unit_test(a_rollout_that_has_not_begun_takes_no_order),
        cmocka_unit_test(a_server_is_undone_while_the_others_go_on),
        cmocka_unit_test(a_server_whose_ordered_undo_fails_is_loud_in_the_end),
        cmocka_unit_test(a_server_ordered_ahead_of_its_turn_is_undone_once),
        cmocka_unit_test(a_server_beyond_the_scope_is_undone_when_ordered),
        cmocka_unit_test(only_what_was_changed_and_rests_can_be_ordered),
        cmocka_unit_test(a_rollback_is_forced_server_by_server),
        cmocka_unit_test(an_ended_rollout_is_undone_latest_first_as_many_at_once_as_went_forward),
        cmocka_unit_test(a_rollout_that_failed_and_undid_nothing_can_be_undone),
        cmocka_unit_test(what_is_undone_already_is_left_out),
        cmocka_unit_test(undone_server_by_server_it_is_rolled_back_with_the_last),
        cmocka_unit_test(a_server_that_was_not_changed_does_not_keep_it_from_being_rolled_back),
        cmocka_unit_test(a_silent_server_keeps_it_from_being_rolled_back),
        cmocka_unit_test(the_outcomes_of_an_ended_rollout_stay_when_it_is_undone),
        cmocka_unit_test(a_server_that_is_at_work_after_the_end_is_stopped_and_undone_too),
        cmocka_unit_test(an_undo_that_failed_is_tried_again_in_another_round),
        cmocka_unit_test(force_stands_for_the_order_it_came_with),
        cmocka_unit_test(a_server_that_undid_itself_in_vain_is_ordered_in_its_second_round),
        cmocka_unit_test(an_agent_undoes_no_more_often_than_it_was_told),
        cmocka_unit_test(in_a_round_steps_are_undone_once_and_last_first),
        cmocka_unit_test(a_silent_server_that_is_ordered_is_undone_when_it_comes_back),
        cmocka_unit_test(a_silent_server_can_be_ordered_while_the_others_go_forward),
        cmocka_unit_test(the_end_of_the_rollback_waits_for_a_server_that_came_back),
        cmocka_unit_test(a_server_that_falls_silent_when_ordered_owes_its_undo),
        cmocka_unit_test(an_order_outlives_the_failure_of_a_round_that_began_before_it),
        cmocka_unit_test(an_order_for_a_server_that_is_silent_in_its_own_undo_outlives_its_failure),
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
        cmocka_unit_test(an_order_for_an_ended_rollout_takes_in_what_is_settled),
        cmocka_unit_test(a_server_settled_while_it_waits_for_its_turn_can_be_ordered_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
