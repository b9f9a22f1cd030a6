/* Checks, and servers on which nothing changed. */
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "unit/engine/support_plan.h"
#include "unit/engine/support_rollout.h"

static struct rollout *check_of(struct plan *plan)
{
    struct rollout *r = rollout_of(plan);
    struct event event = entry(EVENT_ROLLOUT_CREATED, EVENT_NO_SERVER, EVENT_NO_STEP);
    event.check = true;
    (void)apply(r, event);
    assert_true(engine_is_check(rollout_engine(r)));
    return r;
}

/* One step is checked, and so ends the server. */
static const char *checked(struct rollout *r, uint32_t server, bool changes)
{
    (void)begins(r, server);
    struct event event = entry(EVENT_STEP_ENDED, server, 0);
    event.step_state = STEP_SUCCEEDED;
    event.changed = changes;
    (void)reports(r, event);
    return ends(r, server, EXECUTION_SUCCEEDED);
}

static void a_check_goes_through_its_batches_and_touches_nothing(void **state)
{
    (void)state;
    struct rollout *r = check_of(rolling_of(3, 2));
    assert_string_equal(checked(r, 0, true), "");
    assert_string_equal(checked(r, 1, false), "batch_ended(1,2) batch_started(2,1) start(2)");
    assert_string_equal(checked(r, 2, true), "batch_ended(2,1) rollout_ended(succeeded) end");
    assert_string_equal(reason_of(r), "2 of 3 servers would change");
    assert_int_equal(engine_counts(rollout_engine(r)).unchanged, 1);
    for (uint32_t i = 0; i < 3; i++) {
        assert_false(engine_execution(rollout_engine(r), i)->touched);
        assert_int_equal(engine_execution(rollout_engine(r), i)->unchanged, i == 1);
        assert_false(engine_needs_undo(rollout_engine(r), i));
    }
    rollout_free(r);
}

static void its_threshold_stops_it_and_nothing_is_undone(void **state)
{
    (void)state;
    struct rollout *r = check_of(parallel_of(3));
    (void)checked(r, 0, true);
    assert_string_equal(fails(r, 1), "threshold_exceeded(1) cancel(2)");
    assert_string_equal(ends(r, 2, EXECUTION_CANCELLED), "refused: conflict");
    (void)begins(r, 2);
    assert_string_equal(ends(r, 2, EXECUTION_CANCELLED),
                        "batch_ended(1,3) rollout_ended(failed) end");
    assert_string_equal(standing(r), "");
    rollout_free(r);
}

static void an_order_to_undo_it_is_refused(void **state)
{
    (void)state;
    struct rollout *r = check_of(parallel_of(2));
    (void)checked(r, 0, true);
    assert_string_equal(rollback_ordered(r), "refused: conflict");
    assert_string_equal(rollout_refusal(r),
                        "the rollout is a check, which changes nothing: there is nothing to undo");
    assert_string_equal(server_ordered(r, 0), "refused: conflict");
    struct event event = entry(EVENT_ROLLBACK_REQUESTED, 0, EVENT_NO_STEP);
    struct error err = {0};
    assert_int_equal(engine_check_rollback(rollout_engine(r), &event, &err), ERR_CONFLICT);
    (void)checked(r, 1, true);
    assert_string_equal(rollback_ordered(r), "refused: conflict");
    assert_string_equal(server_forced(r, 1), "refused: conflict");
    rollout_free(r);
}

static void cancelled_with_undo_it_is_cancelled(void **state)
{
    (void)state;
    struct rollout *r = check_of(parallel_of(2));
    (void)checked(r, 0, true);
    (void)begins(r, 1);
    assert_string_equal(cancelled(r, false, true), "cancel(1)");
    assert_string_equal(ends(r, 1, EXECUTION_CANCELLED),
                        "batch_ended(1,2) rollout_ended(cancelled) end");
    rollout_free(r);
}

static void who_comes_too_late_is_stopped_and_not_undone(void **state)
{
    (void)state;
    struct plan *plan = parallel_of(2);
    plan->strategy.max_failures = limit_of(1);
    struct rollout *r = check_of(plan);
    (void)unreachable(r, 0);
    assert_string_equal(begins(r, 0), "cancel(0)");
    assert_string_equal(ends(r, 0, EXECUTION_CANCELLED), "");
    (void)checked(r, 1, false);
    assert_int_equal(state_of(r), ROLLOUT_SUCCEEDED);
    assert_string_equal(standing(r), "");
    rollout_free(r);
}

static void an_agent_that_undoes_in_a_check_is_not_believed(void **state)
{
    (void)state;
    struct rollout *r = check_of(parallel_of(1));
    (void)begins(r, 0);
    struct event event = entry(EVENT_EXECUTION_ENDED, 0, EVENT_NO_STEP);
    event.state = EXECUTION_FAILED;
    event.undoing = true;
    assert_string_equal(reports(r, event), "refused: invalid");
    (void)ends(r, 0, EXECUTION_FAILED);
    event.type = EVENT_EXECUTION_ROLLBACK_STARTED;
    event.undoing = false;
    assert_string_equal(reports(r, event), "refused: invalid");
    rollout_free(r);
}

static void a_server_of_it_is_not_settled_as_rolled_back(void **state)
{
    (void)state;
    struct plan *plan = parallel_of(1);
    plan->strategy.max_failures = limit_of(1);
    struct rollout *r = check_of(plan);
    (void)begins(r, 0);
    (void)unknown(r, 0);
    assert_string_equal(resolved(r, 0, EXECUTION_ROLLED_BACK), "refused: conflict");
    assert_string_equal(resolved(r, 0, EXECUTION_FAILED), "");
    rollout_free(r);
}

/* ---- Servers on which nothing changed ------------------------------------------------------ */

static void step(struct rollout *r, uint32_t server, enum step_state state, bool changed)
{
    (void)reports(r, entry(EVENT_STEP_STARTED, server, 0));
    struct event event = entry(EVENT_STEP_ENDED, server, 0);
    event.step_state = state;
    event.changed = changed;
    (void)reports(r, event);
}

static void a_server_is_unchanged_when_it_succeeded_and_no_step_changed_anything(void **state)
{
    static const struct {
        enum step_state step;
        bool changed;
        enum execution_state end;
        bool unchanged;
    } cases[] = {
        {STEP_SUCCEEDED, false, EXECUTION_SUCCEEDED, true},
        {STEP_SUCCEEDED, true, EXECUTION_SUCCEEDED, false},
        {STEP_FAILED, false, EXECUTION_SUCCEEDED, false}, /* tolerated, and perhaps half done */
        {STEP_SUCCEEDED, false, EXECUTION_CANCELLED, false},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct plan *plan = parallel_of(1);
        plan->strategy.max_failures = limit_of(1);
        struct rollout *r = rollout_of(plan);
        (void)created(r);
        (void)begins(r, 0);
        step(r, 0, cases[i].step, cases[i].changed);
        assert_false(engine_left_nothing(rollout_engine(r), 0));
        (void)ends(r, 0, cases[i].end);
        assert_int_equal(engine_execution(rollout_engine(r), 0)->unchanged, cases[i].unchanged);
        assert_int_equal(engine_counts(rollout_engine(r)).unchanged, cases[i].unchanged);
        assert_int_equal(engine_left_nothing(rollout_engine(r), 0), cases[i].unchanged);
        assert_true(engine_execution(rollout_engine(r), 0)->touched);
        rollout_free(r);
    }
}

static void a_rollout_is_rolled_back_once_what_was_changed_is_undone(void **state)
{
    (void)state;
    struct rollout *r = rollout_of(parallel_of(2));
    (void)created(r);
    works(r, 0);
    (void)ends(r, 0, EXECUTION_SUCCEEDED);
    (void)begins(r, 1);
    step(r, 1, STEP_SUCCEEDED, false);
    (void)ends(r, 1, EXECUTION_SUCCEEDED);
    (void)server_ordered(r, 0);
    (void)undo_begins(r, 0);
    assert_string_equal(undone(r, 0), "rollout_ended(rolled_back) end");
    rollout_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_check_goes_through_its_batches_and_touches_nothing),
        cmocka_unit_test(its_threshold_stops_it_and_nothing_is_undone),
        cmocka_unit_test(an_order_to_undo_it_is_refused),
        cmocka_unit_test(cancelled_with_undo_it_is_cancelled),
        cmocka_unit_test(who_comes_too_late_is_stopped_and_not_undone),
        cmocka_unit_test(an_agent_that_undoes_in_a_check_is_not_believed),
        cmocka_unit_test(a_server_of_it_is_not_settled_as_rolled_back),
        cmocka_unit_test(a_server_is_unchanged_when_it_succeeded_and_no_step_changed_anything),
        cmocka_unit_test(a_rollout_is_rolled_back_once_what_was_changed_is_undone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
