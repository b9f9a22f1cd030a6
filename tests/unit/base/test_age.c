#include "common/base/age.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define HOUR INT64_C(3600000)
#define DAY (24 * HOUR)
#define YEAR (365 * DAY)
#define NOW (INT64_C(20000) * DAY) /* some day in 2024 */

static void a_clock_that_runs_is_believed(void **state)
{
    struct age a;
    bool doubted = true;
    (void)state;
    age_init(&a, NOW - HOUR, NOW, 5);
    for (int64_t day = 0; day < 100; day++) {
        assert_int_equal(age_now(&a, NOW + day * DAY, 5 + day * DAY, &doubted), NOW + day * DAY);
        assert_false(doubted);
    }
}

static void one_that_jumps_ahead_is_believed_after_a_day(void **state)
{
    struct age a;
    bool doubted = false;
    (void)state;
    age_init(&a, NOW, NOW, 0);
    assert_int_equal(age_now(&a, NOW + YEAR + HOUR, HOUR, &doubted), NOW + HOUR);
    assert_true(doubted);
    assert_int_equal(age_now(&a, NOW + YEAR + DAY, DAY, &doubted), NOW + DAY);
    assert_true(doubted);
    assert_int_equal(age_now(&a, NOW + YEAR + DAY + HOUR, DAY + HOUR, &doubted),
                     NOW + YEAR + DAY + HOUR);
    assert_false(doubted);
}

static void one_that_is_put_right_was_never_believed(void **state)
{
    struct age a;
    bool doubted = false;
    (void)state;
    age_init(&a, NOW, NOW, 0);
    assert_int_equal(age_now(&a, NOW + YEAR, 0, &doubted), NOW);
    assert_int_equal(age_now(&a, NOW + 2 * HOUR, 2 * HOUR, &doubted), NOW + 2 * HOUR);
    assert_false(doubted);
    /* Another jump begins another day. */
    assert_int_equal(age_now(&a, NOW + YEAR, 20 * HOUR, &doubted), NOW + 20 * HOUR);
    assert_int_equal(age_now(&a, NOW + YEAR, 30 * HOUR, &doubted), NOW + 30 * HOUR);
    assert_true(doubted);
}

static void one_that_is_ahead_of_all_that_was_written_is_doubted_from_the_start(void **state)
{
    struct age a;
    bool doubted = false;
    (void)state;
    age_init(&a, NOW, NOW + YEAR, 7);
    assert_int_equal(age_now(&a, NOW + YEAR, 7, &doubted), NOW);
    assert_true(doubted);
    age_init(&a, 0, NOW + YEAR, 7);
    assert_int_equal(age_now(&a, NOW + YEAR, 7, &doubted), NOW + YEAR);
    assert_false(doubted);
}

static void one_that_goes_back_is_believed(void **state)
{
    struct age a;
    bool doubted = true;
    (void)state;
    age_init(&a, NOW, NOW - YEAR, 0);
    assert_int_equal(age_now(&a, NOW - YEAR, 0, &doubted), NOW - YEAR);
    assert_false(doubted);
    assert_int_equal(age_now(&a, NOW - 2 * YEAR, HOUR, &doubted), NOW - 2 * YEAR);
    assert_false(doubted);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_clock_that_runs_is_believed),
        cmocka_unit_test(one_that_jumps_ahead_is_believed_after_a_day),
        cmocka_unit_test(one_that_is_put_right_was_never_believed),
        cmocka_unit_test(one_that_is_ahead_of_all_that_was_written_is_doubted_from_the_start),
        cmocka_unit_test(one_that_goes_back_is_believed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
