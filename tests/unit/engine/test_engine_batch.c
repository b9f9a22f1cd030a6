#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "unit/engine/support_plan.h"
#include "unit/engine/support_rollout.h"

static void a_sequential_rollout_takes_one_server_after_the_other(void **state)
{
    (void)state;
    struct rollout *r = rollout_of(sequential_of(2));
    assert_string_equal(created(r), "rollout_started batch_started(1,1) start(0)");
    assert_int_equal(engine_state(rollout_engine(r)), ROLLOUT_RUNNING);
    assert_string_equal(begins(r, 0), "");
    assert_string_equal(ends(r, 0, EXECUTION_SUCCEEDED),
                        "batch_ended(1,1) batch_started(2,1) start(1)");
    assert_string_equal(succeeds(r, 1), "batch_ended(2,1) rollout_ended(succeeded) end");
    assert_int_equal(engine_state(rollout_engine(r)), ROLLOUT_SUCCEEDED);
    assert_string_equal(engine_reason(rollout_engine(r)), "");
    assert_string_equal(counts(r), "0 0 2 0 0 0 0 0 / 0 0");
    rollout_free(r);
}

static void a_parallel_rollout_starts_all_at_once(void **state)
{
    (void)state;
    struct rollout *r = rollout_of(parallel_of(3));
    assert_string_equal(created(r),
                        "rollout_started batch_started(1,3) start(0) start(1) start(2)");
    assert_string_equal(succeeds(r, 2), "");
    assert_string_equal(succeeds(r, 0), "");
    assert_string_equal(succeeds(r, 1), "batch_ended(1,3) rollout_ended(succeeded) end");
    rollout_free(r);
}

static void a_cap_makes_a_sliding_window(void **state)
{
    (void)state;
    struct plan *plan = parallel_of(4);
    plan->strategy.max_parallel = 2;
    struct rollout *r = rollout_of(plan);
    assert_string_equal(created(r), "rollout_started batch_started(1,4) start(0) start(1)");
    assert_string_equal(succeeds(r, 1), "start(2)");
    assert_string_equal(succeeds(r, 2), "start(3)");
    assert_string_equal(succeeds(r, 0), "");
    assert_string_equal(succeeds(r, 3), "batch_ended(1,4) rollout_ended(succeeded) end");
    rollout_free(r);
}

static void a_server_that_undoes_itself_keeps_its_slot_until_it_is_done(void **state)
{
    (void)state;
    struct plan *plan = parallel_of(3);
    plan->strategy.max_parallel = 1;
    plan->strategy.max_failures = limit_of(3);
    struct rollout *r = rollout_of(plan);
    (void)created(r);
    assert_string_equal(fails_and_undoes(r, 0), "");
    assert_string_equal(counts(r), "2 0 0 1 0 0 0 0 / 0 0");
    assert_string_equal(undone(r, 0), "start(1)");
    assert_string_equal(server_is(r, 0), "rolled_back/failed");
    rollout_free(r);
}

static void a_batch_waits_for_all_of_the_one_ahead(void **state)
{
    (void)state;
    struct rollout *r = rollout_of(rolling_of(5, 2));
    assert_int_equal(engine_batch_count(rollout_engine(r)), 3);
    assert_int_equal(engine_batch(rollout_engine(r)), 0);
    assert_string_equal(created(r), "rollout_started batch_started(1,2) start(0) start(1)");
    assert_int_equal(engine_batch(rollout_engine(r)), 1);
    assert_string_equal(succeeds(r, 1), "");
    assert_string_equal(succeeds(r, 0), "batch_ended(1,2) batch_started(2,2) start(2) start(3)");
    assert_string_equal(succeeds(r, 2), "");
    assert_string_equal(succeeds(r, 3), "batch_ended(2,2) batch_started(3,1) start(4)");
    assert_string_equal(succeeds(r, 4), "batch_ended(3,1) rollout_ended(succeeded) end");
    rollout_free(r);
}

static void a_list_of_batch_sizes_grows_and_its_last_one_repeats(void **state)
{
    (void)state;
    struct plan *plan = rolling_of(10, 1);
    plan_set_batches(plan, (const struct plan_size[]){size_of(1), size_of_percent(40)}, 2);
    plan->strategy.max_parallel = 1;
    struct rollout *r = rollout_of(plan);
    assert_int_equal(engine_batch_count(rollout_engine(r)), 4);
    (void)created(r);
    assert_string_equal(succeeds(r, 0), "batch_ended(1,1) batch_started(2,4) start(1)");
    assert_string_equal(succeeds(r, 1), "start(2)");
    (void)succeeds(r, 2);
    (void)succeeds(r, 3);
    assert_string_equal(succeeds(r, 4), "batch_ended(2,4) batch_started(3,4) start(5)");
    rollout_free(r);
}

static void between_batches_the_delay_is_waited_for(void **state)
{
    (void)state;
    struct plan *plan = rolling_of(2, 1);
    plan->strategy.batch_delay_ms = 1500;
    struct rollout *r = rollout_of(plan);
    (void)created(r);
    assert_string_equal(succeeds(r, 0), "batch_ended(1,1) delay(2,1500)");
    assert_string_equal(standing(r), "delay(2,1500)");
    assert_string_equal(batch_due(r, 2), "batch_started(2,1) start(1)");
    assert_string_equal(batch_due(r, 2), "refused: stale");
    assert_string_equal(succeeds(r, 1), "batch_ended(2,1) rollout_ended(succeeded) end");
    rollout_free(r);
}

static void a_batch_that_is_not_waited_for_cannot_be_due(void **state)
{
    (void)state;
    struct plan *plan = rolling_of(3, 1);
    plan->strategy.batch_delay_ms = 10;
    struct rollout *r = rollout_of(plan);
    (void)created(r);
    assert_string_equal(batch_due(r, 2), "refused: invalid");
    (void)succeeds(r, 0);
    assert_string_equal(batch_due(r, 3), "refused: invalid");
    assert_string_equal(batch_due(r, 1), "refused: stale");
    rollout_free(r);
}

static void a_canary_that_succeeds_lets_the_rest_go(void **state)
{
    (void)state;
    struct rollout *r = rollout_of(canary_of(4, 50));
    assert_string_equal(created(r), "rollout_started batch_started(1,2) start(0) start(1)");
    assert_string_equal(succeeds(r, 0), "");
    assert_string_equal(succeeds(r, 1),
                        "batch_ended(1,2) canary_passed(2) batch_started(2,2) start(2) start(3)");
    rollout_free(r);
}

static void any_failure_in_the_canary_aborts_whatever_is_allowed(void **state)
{
    (void)state;
    struct plan *plan = canary_of(4, 50);
    plan->strategy.max_failures.kind = LIMIT_NONE;
    struct rollout *r = rollout_of(plan);
    (void)created(r);
    assert_string_equal(fails(r, 0), "threshold_exceeded(1) cancel(1)");
    assert_string_equal(engine_reason(rollout_engine(r)), "1 of 2 canary servers failed");
    assert_string_equal(counts(r), "0 1 0 1 0 0 0 2 / 0 0");
    rollout_free(r);
}

static void an_unreachable_canary_aborts_even_with_a_limit_of_its_own(void **state)
{
    (void)state;
    struct plan *plan = canary_of(4, 25);
    plan->strategy.max_unreachable.kind = LIMIT_NONE;
    struct rollout *r = rollout_of(plan);
    (void)created(r);
    assert_string_equal(unreachable(r, 0),
                        "threshold_exceeded(1) batch_ended(1,1) rollback_started(0) "
                        "rollout_ended(rolled_back) end");
    rollout_free(r);
}

static void after_the_canary_the_plans_tolerance_counts(void **state)
{
    (void)state;
    struct plan *plan = canary_of(3, 10);
    plan->strategy.max_failures = limit_of(1);
    struct rollout *r = rollout_of(plan);
    (void)created(r);
    (void)succeeds(r, 0);
    assert_string_equal(fails(r, 1), "");
    assert_string_equal(succeeds(r, 2), "batch_ended(2,2) rollout_ended(succeeded) end");
    assert_string_equal(engine_reason(rollout_engine(r)),
                        "1 of 3 servers did not succeed, as the plan allows");
    rollout_free(r);
}

static void one_failure_more_than_allowed_stops_the_rollout_at_once(void **state)
{
    (void)state;
    struct plan *plan = parallel_of(100);
    plan->strategy.max_parallel = 4;
    plan->strategy.max_failures = limit_of_percent(2);
    struct rollout *r = rollout_of(plan);
    (void)created(r);
    assert_string_equal(fails(r, 0), "start(4)");
    assert_string_equal(fails(r, 1), "start(5)");
    assert_string_equal(fails(r, 2), "threshold_exceeded(3) cancel(3) cancel(4) cancel(5)");
    assert_string_equal(engine_reason(rollout_engine(r)), "3 of 100 servers failed, 2 allowed");
    assert_string_equal(counts(r), "0 3 0 3 0 0 0 94 / 0 0");
    assert_string_equal(server_is(r, 99), "skipped");
    assert_string_equal(server_is(r, 6), "skipped");
    assert_string_equal(begins(r, 3), "");
    rollout_free(r);
}

static void each_sort_of_failure_counts(void **state)
{
    (void)state;
    static const struct {
        enum execution_state end;
        const char *counts;
    } cases[] = {{EXECUTION_FAILED, "0 1 0 1 0 0 0 0 / 0 0"},
                 {EXECUTION_TIMED_OUT, "0 1 0 1 0 0 0 0 / 0 0"},
                 {EXECUTION_UNKNOWN, "0 1 0 0 0 1 0 0 / 0 0"},
                 {EXECUTION_UNREACHABLE, "0 1 0 0 1 0 0 0 / 0 0"},
                 {EXECUTION_CANCELLED, "0 1 0 0 0 0 1 0 / 0 0"}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct rollout *r = rollout_of(parallel_of(2));
        (void)created(r);
        const char *said;
        if (cases[i].end == EXECUTION_UNREACHABLE) {
            said = unreachable(r, 0);
        } else {
            (void)begins(r, 0);
            said = cases[i].end == EXECUTION_UNKNOWN ? unknown(r, 0) : ends(r, 0, cases[i].end);
        }
        assert_string_equal(said, "threshold_exceeded(1) cancel(1)");
        assert_string_equal(counts(r), cases[i].counts);
        rollout_free(r);
    }
}

static void unreachable_servers_can_have_a_limit_of_their_own(void **state)
{
    (void)state;
    struct plan *plan = parallel_of(4);
    plan->strategy.max_unreachable = limit_of(1);
    struct rollout *r = rollout_of(plan);
    (void)created(r);
    assert_string_equal(unreachable(r, 0), "");
    assert_string_equal(unreachable(r, 1), "threshold_exceeded(2) cancel(2) cancel(3)");
    assert_string_equal(engine_reason(rollout_engine(r)), "2 of 4 servers unreachable, 1 allowed");
    rollout_free(r);
}

static void without_a_limit_every_server_may_fail(void **state)
{
    (void)state;
    struct plan *plan = parallel_of(2);
    plan->strategy.max_failures.kind = LIMIT_NONE;
    struct rollout *r = rollout_of(plan);
    (void)created(r);
    assert_string_equal(fails(r, 0), "");
    assert_string_equal(fails(r, 1), "batch_ended(1,2) rollout_ended(succeeded) end");
    rollout_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_sequential_rollout_takes_one_server_after_the_other),
        cmocka_unit_test(a_parallel_rollout_starts_all_at_once),
        cmocka_unit_test(a_cap_makes_a_sliding_window),
        cmocka_unit_test(a_server_that_undoes_itself_keeps_its_slot_until_it_is_done),
        cmocka_unit_test(a_batch_waits_for_all_of_the_one_ahead),
        cmocka_unit_test(a_list_of_batch_sizes_grows_and_its_last_one_repeats),
        cmocka_unit_test(between_batches_the_delay_is_waited_for),
        cmocka_unit_test(a_batch_that_is_not_waited_for_cannot_be_due),
        cmocka_unit_test(a_canary_that_succeeds_lets_the_rest_go),
        cmocka_unit_test(any_failure_in_the_canary_aborts_whatever_is_allowed),
        cmocka_unit_test(an_unreachable_canary_aborts_even_with_a_limit_of_its_own),
        cmocka_unit_test(after_the_canary_the_plans_tolerance_counts),
        cmocka_unit_test(one_failure_more_than_allowed_stops_the_rollout_at_once),
        cmocka_unit_test(each_sort_of_failure_counts),
        cmocka_unit_test(unreachable_servers_can_have_a_limit_of_their_own),
        cmocka_unit_test(without_a_limit_every_server_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
