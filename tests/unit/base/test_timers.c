#include "common/base/timers.h"

#include "common/base/alloc.h"

#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { MANY = 500 };

static uint64_t next_random(uint64_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    return *seed;
}

static void arm(struct timers *ts, struct timer *t, int64_t deadline_ms)
{
    assert_int_equal(timers_arm(ts, t, deadline_ms, NULL), ERR_OK);
}

static void timers_expire_earliest_first_and_not_before_their_time(void **state)
{
    (void)state;
    struct timers ts = {0};
    struct timer a = {.kind = 1}, b = {.kind = 2}, c = {.kind = 3};
    arm(&ts, &a, 30);
    arm(&ts, &b, 10);
    arm(&ts, &c, 20);
    int64_t next = 0;
    assert_true(timers_next(&ts, &next));
    assert_int_equal(next, 10);
    assert_null(timers_pop(&ts, 9));
    assert_ptr_equal(timers_pop(&ts, 20), &b);
    assert_int_equal(b.slot, 0);
    assert_ptr_equal(timers_pop(&ts, 20), &c);
    assert_null(timers_pop(&ts, 20));
    assert_ptr_equal(timers_pop(&ts, 1000), &a);
    assert_false(timers_next(&ts, &next));
    assert_null(timers_pop(&ts, INT64_MAX));
    timers_done(&ts);
}

static void arming_again_moves_the_deadline(void **state)
{
    (void)state;
    struct timers ts = {0};
    struct timer a = {0}, b = {0};
    arm(&ts, &a, 10);
    arm(&ts, &b, 20);
    arm(&ts, &a, 30);
    assert_int_equal(ts.count, 2);
    assert_ptr_equal(timers_pop(&ts, 100), &b);
    arm(&ts, &b, 5);
    assert_ptr_equal(timers_pop(&ts, 100), &b);
    assert_ptr_equal(timers_pop(&ts, 100), &a);
    timers_done(&ts);
}

static void a_disarmed_timer_never_expires(void **state)
{
    (void)state;
    struct timers ts = {0};
    struct timer a = {0}, b = {0};
    timers_disarm(&ts, &a);
    arm(&ts, &a, 1);
    arm(&ts, &b, 2);
    timers_disarm(&ts, &a);
    timers_disarm(&ts, &a);
    assert_ptr_equal(timers_pop(&ts, 100), &b);
    assert_null(timers_pop(&ts, 100));
    timers_done(&ts);
}

/* What the heap must hold: each timer knows its place, and no parent is later than its child. */
static void check_heap(const struct timers *ts)
{
    for (size_t slot = 1; slot <= ts->count; slot++) {
        const struct timer *t = ts->heap[slot - 1];
        assert_int_equal(t->slot, slot);
        assert_true(slot == 1 || ts->heap[slot / 2 - 1]->deadline_ms <= t->deadline_ms);
    }
}

static void any_order_of_arming_and_disarming_keeps_the_order(void **state)
{
    (void)state;
    static struct timer all[MANY];
    struct timers ts = {0};
    uint64_t seed = 42;
    for (int i = 0; i < 20000; i++) {
        struct timer *t = &all[next_random(&seed) % MANY];
        if (next_random(&seed) % 3 == 0)
            timers_disarm(&ts, t);
        else
            arm(&ts, t, (int64_t)(next_random(&seed) % 1000));
        if (i % 100 == 0)
            check_heap(&ts);
    }
    size_t armed = 0;
    for (size_t i = 0; i < MANY; i++)
        armed += all[i].slot != 0;
    assert_int_equal(armed, ts.count);
    int64_t last = -1;
    for (struct timer *t = timers_pop(&ts, 1000); t != NULL; t = timers_pop(&ts, 1000)) {
        assert_true(t->deadline_ms >= last);
        last = t->deadline_ms;
        armed--;
    }
    assert_int_equal(armed, 0);
    timers_done(&ts);
}

static void without_memory_a_timer_stays_unarmed(void **state)
{
    (void)state;
    static struct timer all[MANY];
    struct timers ts = {0};
    struct error err;
    memset(all, 0, sizeof(all));
    for (size_t i = 0; i < MANY; i++) {
        mem_fail_after(0);
        enum error_code code = timers_arm(&ts, &all[i], (int64_t)i, &err);
        mem_fail_never();
        if (code == ERR_OK)
            continue;
        assert_int_equal(code, ERR_NO_MEMORY);
        assert_int_equal(all[i].slot, 0);
        assert_int_equal(ts.count, i);
        arm(&ts, &all[i], (int64_t)i);
    }
    assert_int_equal(ts.count, MANY);
    timers_done(&ts);
}

static void ending_the_timers_disarms_them(void **state)
{
    (void)state;
    struct timers ts = {0};
    struct timer a = {0};
    arm(&ts, &a, 1);
    timers_done(&ts);
    assert_int_equal(a.slot, 0);
    arm(&ts, &a, 2);
    assert_ptr_equal(timers_pop(&ts, 2), &a);
    timers_done(&ts);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(timers_expire_earliest_first_and_not_before_their_time),
        cmocka_unit_test(arming_again_moves_the_deadline),
        cmocka_unit_test(a_disarmed_timer_never_expires),
        cmocka_unit_test(any_order_of_arming_and_disarming_keeps_the_order),
        cmocka_unit_test(without_memory_a_timer_stays_unarmed),
        cmocka_unit_test(ending_the_timers_disarms_them),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
