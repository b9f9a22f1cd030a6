#include "common/plan/plan.h"

#include "common/base/alloc.h"
#include "support_plan.h"

#include <stdio.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define SET_BATCHES(plan, ...)                                                                     \
    do {                                                                                           \
        const double sizes_[] = {__VA_ARGS__};                                                     \
        plan_set_batches((plan), sizes_, ARRAY_LEN(sizes_));                                       \
    } while (0)

static struct plan_limit limit_of(double value, bool percent)
{
    return (struct plan_limit){.kind = LIMIT_SIZE, .size = {.percent = percent, .value = value}};
}

/* ---- Finding ----------------------------------------------------------------------------- */

static void every_server_is_found_by_its_id(void **state)
{
    (void)state;
    AUTO(plan_free) struct plan *plan = plan_of(1000, STRATEGY_PARALLEL);
    for (uint32_t i = 0; i < plan_server_count(plan); i++) {
        uint32_t found = UINT32_MAX;
        assert_true(plan_server_find(plan, plan_server(plan, i), &found));
        assert_int_equal(found, i);
    }
    uint32_t found = 77;
    assert_false(plan_server_find(plan, "s-1000", &found));
    assert_false(plan_server_find(plan, "", &found));
    assert_int_equal(found, 77);
}

static void a_plan_without_servers_finds_none(void **state)
{
    (void)state;
    AUTO(plan_free) struct plan *plan = plan_of(0, STRATEGY_PARALLEL);
    uint32_t found;
    assert_false(plan_server_find(plan, "s-0", &found));
    assert_int_equal(plan_batch_size(plan, 0, 0), 0);
}

static void a_step_is_found_by_its_name(void **state)
{
    (void)state;
    AUTO(plan_free) struct plan *plan = plan_of(1, STRATEGY_PARALLEL);
    uint32_t found;
    assert_true(plan_step_find(plan, "second", &found));
    assert_int_equal(found, 1);
    assert_false(plan_step_find(plan, "third", &found));
}

static void a_server_named_twice_is_refused(void **state)
{
    (void)state;
    AUTO(plan_free) struct plan *plan = plan_of(5, STRATEGY_PARALLEL);
    (void)snprintf(*ARRAY_AT(&plan->servers, char *, 4), 4, "s-1");
    struct error err;
    assert_int_equal(plan_finish(plan, &err), ERR_EXISTS);
    assert_non_null(strstr(err.message, "servers[4]"));
    assert_non_null(strstr(err.message, "servers[1]"));
}

static void finishing_a_plan_again_keeps_it_whole(void **state)
{
    (void)state;
    AUTO(plan_free) struct plan *plan = plan_of(5, STRATEGY_PARALLEL);
    assert_int_equal(plan_finish(plan, NULL), ERR_OK);
    uint32_t found;
    assert_true(plan_server_find(plan, "s-4", &found));
}

static void finishing_without_memory_is_an_error(void **state)
{
    (void)state;
    AUTO(plan_free) struct plan *plan = plan_of(5, STRATEGY_PARALLEL);
    mem_fail_after(0);
    enum error_code code = plan_finish(plan, NULL);
    mem_fail_never();
    assert_int_equal(code, ERR_NO_MEMORY);
    uint32_t found;
    assert_true(plan_server_find(plan, "s-4", &found));
}

static void the_largest_plan_is_indexed(void **state)
{
    (void)state;
    AUTO(plan_free) struct plan *plan = plan_of(PLAN_MAX_SERVERS, STRATEGY_PARALLEL);
    uint32_t found;
    assert_true(plan_server_find(plan, "s-199999", &found));
    assert_int_equal(found, PLAN_MAX_SERVERS - 1);
}

static void nothing_can_be_freed(void **state)
{
    (void)state;
    plan_free(NULL);
}

/* ---- Batches ----------------------------------------------------------------------------- */

static void parallel_is_one_batch_of_all(void **state)
{
    (void)state;
    AUTO(plan_free) struct plan *plan = plan_of(50, STRATEGY_PARALLEL);
    assert_int_equal(plan_batch_size(plan, 0, 50), 50);
}

static void sequential_takes_one_at_a_time(void **state)
{
    (void)state;
    AUTO(plan_free) struct plan *plan = plan_of(50, STRATEGY_SEQUENTIAL);
    assert_int_equal(plan_batch_size(plan, 0, 50), 1);
    assert_int_equal(plan_batch_size(plan, 49, 1), 1);
    assert_int_equal(plan_batch_size(plan, 50, 0), 0);
}

static void rolling_without_a_size_takes_one_at_a_time(void **state)
{
    (void)state;
    AUTO(plan_free) struct plan *plan = plan_of(50, STRATEGY_ROLLING);
    assert_int_equal(plan_batch_size(plan, 0, 50), 1);
}

static void the_last_batch_takes_what_is_left(void **state)
{
    (void)state;
    AUTO(plan_free) struct plan *plan = plan_of(50, STRATEGY_ROLLING);
    SET_BATCHES(plan, 20);
    assert_int_equal(plan_batch_size(plan, 0, 50), 20);
    assert_int_equal(plan_batch_size(plan, 1, 30), 20);
    assert_int_equal(plan_batch_size(plan, 2, 10), 10);
}

static void the_last_size_of_a_list_repeats(void **state)
{
    (void)state;
    AUTO(plan_free) struct plan *plan = plan_of(100, STRATEGY_ROLLING);
    SET_BATCHES(plan, 1, -10, -25);
    assert_int_equal(plan_batch_size(plan, 0, 100), 1);
    assert_int_equal(plan_batch_size(plan, 1, 99), 10);
    assert_int_equal(plan_batch_size(plan, 2, 89), 25);
    assert_int_equal(plan_batch_size(plan, 3, 64), 25);
    assert_int_equal(plan_batch_size(plan, 5, 14), 14);
}

static void a_share_of_servers_is_rounded_up(void **state)
{
    (void)state;
    AUTO(plan_free) struct plan *plan = plan_of(31, STRATEGY_ROLLING);
    SET_BATCHES(plan, -10);
    assert_int_equal(plan_batch_size(plan, 0, 31), 4);
    SET_BATCHES(plan, -0.001);
    assert_int_equal(plan_batch_size(plan, 0, 31), 1);
    SET_BATCHES(plan, -100);
    assert_int_equal(plan_batch_size(plan, 0, 31), 31);
}

/* Every whole and every half percent of every small fleet, against arithmetic in whole numbers. */
static void shares_are_exact(void **state)
{
    (void)state;
    static const uint32_t fleets[] = {1,  2,   3,   7,   9,    10,    11,    29,    30,     31,
                                      99, 100, 101, 999, 1000, 12345, 65537, 99999, 100000, 200000};
    for (size_t f = 0; f < ARRAY_LEN(fleets); f++) {
        uint64_t n = fleets[f];
        AUTO(plan_free) struct plan *plan = plan_of(fleets[f], STRATEGY_ROLLING);
        for (uint64_t tenths = 1; tenths <= 1000; tenths++) {
            double percent = (double)tenths / 10;
            SET_BATCHES(plan, -percent);
            plan->strategy.max_failures = limit_of(percent, true);
            plan->strategy.canary_percentage = percent;
            uint64_t up = (n * tenths + 999) / 1000;
            assert_int_equal(plan_batch_size(plan, 0, fleets[f]), up);
            assert_int_equal(plan_failures_allowed(plan), n * tenths / 1000);
            plan->strategy.type = STRATEGY_CANARY;
            assert_int_equal(plan_batch_size(plan, 0, fleets[f]), up);
            plan->strategy.type = STRATEGY_ROLLING;
        }
    }
}

static void a_third_of_a_percent_keeps_its_decimals(void **state)
{
    (void)state;
    AUTO(plan_free) struct plan *plan = plan_of(100000, STRATEGY_ROLLING);
    SET_BATCHES(plan, -33.333333);
    assert_int_equal(plan_batch_size(plan, 0, 100000), 33334);
    plan->strategy.max_failures = limit_of(0.000999, true);
    assert_int_equal(plan_failures_allowed(plan), 0);
    plan->strategy.max_failures = limit_of(0.001, true);
    assert_int_equal(plan_failures_allowed(plan), 1);
}

static void a_canary_comes_before_all_the_rest(void **state)
{
    (void)state;
    AUTO(plan_free) struct plan *plan = plan_of(25, STRATEGY_CANARY);
    assert_int_equal(plan_batch_size(plan, 0, 25), 3);
    assert_int_equal(plan_batch_size(plan, 1, 22), 22);
}

static void a_canary_is_at_least_one_server(void **state)
{
    (void)state;
    AUTO(plan_free) struct plan *plan = plan_of(3, STRATEGY_CANARY);
    plan->strategy.canary_percentage = 0.0000001;
    assert_int_equal(plan_batch_size(plan, 0, 3), 1);
}

static void the_rest_after_a_canary_can_go_in_batches(void **state)
{
    (void)state;
    AUTO(plan_free) struct plan *plan = plan_of(100, STRATEGY_CANARY);
    SET_BATCHES(plan, 5, -50);
    assert_int_equal(plan_batch_size(plan, 0, 100), 10);
    assert_int_equal(plan_batch_size(plan, 1, 90), 5);
    assert_int_equal(plan_batch_size(plan, 2, 85), 50);
    assert_int_equal(plan_batch_size(plan, 3, 35), 35);
}

static void every_plan_comes_to_its_end(void **state)
{
    (void)state;
    for (int type = 0; type < STRATEGY_COUNT; type++) {
        for (uint32_t servers = 1; servers < 60; servers++) {
            AUTO(plan_free) struct plan *plan = plan_of(servers, (enum plan_strategy_type)type);
            SET_BATCHES(plan, -1, 2, -7.5);
            uint32_t left = servers;
            for (uint32_t batch = 0; left > 0; batch++) {
                uint32_t size = plan_batch_size(plan, batch, left);
                assert_in_range(size, 1, left);
                left -= size;
                assert_true(batch < 60);
            }
        }
    }
}

static void max_parallel_caps_a_batch(void **state)
{
    (void)state;
    AUTO(plan_free) struct plan *plan = plan_of(10, STRATEGY_PARALLEL);
    assert_int_equal(plan_parallel(plan, 10), 10);
    plan->strategy.max_parallel = 4;
    assert_int_equal(plan_parallel(plan, 10), 4);
    assert_int_equal(plan_parallel(plan, 3), 3);
}

/* ---- Limits ------------------------------------------------------------------------------ */

static void without_a_limit_no_server_may_fail(void **state)
{
    (void)state;
    AUTO(plan_free) struct plan *plan = plan_of(10, STRATEGY_PARALLEL);
    assert_int_equal(plan_failures_allowed(plan), 0);
}

static void a_limit_of_failures_is_rounded_down(void **state)
{
    (void)state;
    AUTO(plan_free) struct plan *plan = plan_of(19, STRATEGY_PARALLEL);
    plan->strategy.max_failures = limit_of(10, true);
    assert_int_equal(plan_failures_allowed(plan), 1);
    plan->strategy.max_failures = limit_of(5, true);
    assert_int_equal(plan_failures_allowed(plan), 0);
    plan->strategy.max_failures = limit_of(100, true);
    assert_int_equal(plan_failures_allowed(plan), 19);
    plan->strategy.max_failures = limit_of(7, false);
    assert_int_equal(plan_failures_allowed(plan), 7);
}

static void no_limit_is_not_mistaken_for_a_large_one(void **state)
{
    (void)state;
    AUTO(plan_free) struct plan *plan = plan_of(10, STRATEGY_PARALLEL);
    plan->strategy.max_failures.kind = LIMIT_NONE;
    assert_true(plan_failures_allowed(plan) == UINT32_MAX);
    plan->strategy.max_failures = limit_of(1e18, false);
    assert_true(plan_failures_allowed(plan) == UINT32_MAX - 1);
}

static void unreachable_servers_have_a_limit_only_when_one_is_given(void **state)
{
    (void)state;
    AUTO(plan_free) struct plan *plan = plan_of(20, STRATEGY_PARALLEL);
    uint32_t allowed = 5;
    assert_false(plan_unreachable_allowed(plan, &allowed));
    assert_int_equal(allowed, 5);
    plan->strategy.max_unreachable = limit_of(10, true);
    assert_true(plan_unreachable_allowed(plan, &allowed));
    assert_int_equal(allowed, 2);
    plan->strategy.max_unreachable.kind = LIMIT_NONE;
    assert_true(plan_unreachable_allowed(plan, &allowed));
    assert_true(allowed == UINT32_MAX);
}

static void strategies_and_scopes_have_their_names(void **state)
{
    (void)state;
    assert_string_equal(plan_strategy_name(STRATEGY_PARALLEL), "Parallel");
    assert_string_equal(plan_strategy_name(STRATEGY_CANARY), "Canary");
    assert_string_equal(plan_scope_name(SCOPE_FAILED), "failed");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_server_is_found_by_its_id),
        cmocka_unit_test(a_plan_without_servers_finds_none),
        cmocka_unit_test(a_step_is_found_by_its_name),
        cmocka_unit_test(a_server_named_twice_is_refused),
        cmocka_unit_test(finishing_a_plan_again_keeps_it_whole),
        cmocka_unit_test(finishing_without_memory_is_an_error),
        cmocka_unit_test(the_largest_plan_is_indexed),
        cmocka_unit_test(nothing_can_be_freed),
        cmocka_unit_test(parallel_is_one_batch_of_all),
        cmocka_unit_test(sequential_takes_one_at_a_time),
        cmocka_unit_test(rolling_without_a_size_takes_one_at_a_time),
        cmocka_unit_test(the_last_batch_takes_what_is_left),
        cmocka_unit_test(the_last_size_of_a_list_repeats),
        cmocka_unit_test(a_share_of_servers_is_rounded_up),
        cmocka_unit_test(shares_are_exact),
        cmocka_unit_test(a_third_of_a_percent_keeps_its_decimals),
        cmocka_unit_test(a_canary_comes_before_all_the_rest),
        cmocka_unit_test(a_canary_is_at_least_one_server),
        cmocka_unit_test(the_rest_after_a_canary_can_go_in_batches),
        cmocka_unit_test(every_plan_comes_to_its_end),
        cmocka_unit_test(max_parallel_caps_a_batch),
        cmocka_unit_test(without_a_limit_no_server_may_fail),
        cmocka_unit_test(a_limit_of_failures_is_rounded_down),
        cmocka_unit_test(no_limit_is_not_mistaken_for_a_large_one),
        cmocka_unit_test(unreachable_servers_have_a_limit_only_when_one_is_given),
        cmocka_unit_test(strategies_and_scopes_have_their_names),
    };
    return cmocka_run_group_tests_name("plan", tests, NULL, NULL);
}
