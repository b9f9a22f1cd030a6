#include "orchestrator/access/throttle.h"

#include <stdio.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { LIMIT = 3, TELL = 1000, WINDOW = 1000, MANY = THROTTLE_SETS * THROTTLE_WAYS * 4 };

static struct throttle *make(uint32_t tell)
{
    struct throttle *t = NULL;
    const struct throttle_config config = {LIMIT, tell, WINDOW};
    assert_int_equal(throttle_new(&config, &t, NULL), ERR_OK);
    return t;
}

static void note(struct throttle *t, const char *key, int64_t now_ms, uint32_t times)
{
    for (uint32_t i = 0; i < times; i++)
        (void)throttle_note(t, key, now_ms);
}

static void more_than_the_limit_in_a_window_is_over(void **state)
{
    (void)state;
    AUTO(throttle_free) struct throttle *t = make(TELL);
    for (int i = 0; i < LIMIT; i++)
        assert_false(throttle_note(t, "a", 100 + i).over);
    struct throttle_verdict verdict = throttle_note(t, "a", 500);
    assert_true(verdict.over);
    assert_int_equal(verdict.wait_ms, 600);
    assert_false(throttle_note(t, "b", 500).over); /* somebody else's business */
    assert_true(throttle_note(t, "a", 1099).over);
    assert_false(throttle_note(t, "a", 1100).over); /* another window */
}

static void what_is_over_is_not_told_one_by_one_but_counted(void **state)
{
    (void)state;
    AUTO(throttle_free) struct throttle *t = make(TELL);
    uint32_t told = 0;
    for (int i = 0; i < 20; i++)
        told += throttle_note(t, "a", 10).tell;
    note(t, "b", 10, LIMIT + 2);
    assert_int_equal(told, LIMIT);
    assert_int_equal(throttle_untold(t, 500, false).count, 0); /* the window goes on */
    struct throttle_untold untold = throttle_untold(t, 1010, false);
    assert_int_equal(untold.count, 17 + 2);
    assert_int_equal(untold.keys, 2);
    assert_int_equal(untold.most, 17);
    assert_string_equal(untold.key, "a");
    assert_int_equal(throttle_untold(t, 9999, true).count, 0); /* once */
}

static void at_the_end_all_is_told(void **state)
{
    (void)state;
    AUTO(throttle_free) struct throttle *t = make(TELL);
    note(t, "a", 10, LIMIT + 5);
    assert_int_equal(throttle_untold(t, 11, true).count, 5);
}

static void nothing_is_lost_when_a_new_window_begins_before_it_was_told(void **state)
{
    (void)state;
    AUTO(throttle_free) struct throttle *t = make(TELL);
    note(t, "a", 10, LIMIT + 5);
    note(t, "a", 5000, LIMIT + 1);
    assert_int_equal(throttle_untold(t, 9000, false).count, 6);
}

/* Who makes others fail, or comes from many addresses, does not get rid of his own count. */
static void a_full_table_forgets_nobody_whose_window_goes_on(void **state)
{
    (void)state;
    AUTO(throttle_free) struct throttle *t = make(TELL);
    note(t, "mine", 0, LIMIT);
    for (int i = 0; i < MANY; i++) {
        char key[32];
        (void)snprintf(key, sizeof(key), "10.0.%d.%d", i / 256, i % 256);
        (void)throttle_note(t, key, 1);
    }
    assert_true(throttle_note(t, "mine", 2).over);
    /* Who comes late shares his count with all who do. */
    uint32_t over = 0;
    for (int i = 0; i < MANY; i++) {
        char key[32];
        (void)snprintf(key, sizeof(key), "10.1.%d.%d", i / 256, i % 256);
        over += throttle_note(t, key, 3).over;
    }
    assert_true(over > MANY / 2);
    /* And when the windows have ended, and what was not told is told, there is room again. */
    assert_true(throttle_untold(t, 5000, false).count > 0);
    assert_false(throttle_note(t, "new", 5000).over);
    assert_false(throttle_note(t, "new", 5000).over);
}

static void all_together_are_told_only_so_many_times_in_a_window(void **state)
{
    (void)state;
    AUTO(throttle_free) struct throttle *t = make(50);
    uint32_t told = 0;
    for (int i = 0; i < MANY; i++) {
        char key[32];
        (void)snprintf(key, sizeof(key), "10.0.%d.%d", i / 256, i % 256);
        told += throttle_note(t, key, 1).tell;
    }
    assert_int_equal(told, 50);
    assert_int_equal(throttle_untold(t, 5000, false).count, MANY - 50);
    assert_true(throttle_note(t, "a", 5000).tell);
}

static void a_clock_that_is_set_back_begins_anew(void **state)
{
    (void)state;
    AUTO(throttle_free) struct throttle *t = make(TELL);
    note(t, "a", 5000, LIMIT + 1);
    assert_false(throttle_note(t, "a", 10).over);
}

static void counts_as(const char *peer, const char *expected)
{
    char key[THROTTLE_KEY_BUFFER];
    throttle_address(peer, key);
    assert_string_equal(key, expected);
}

static void a_peer_is_counted_by_its_address_and_of_ipv6_by_its_network(void **state)
{
    (void)state;
    counts_as("10.0.0.1:51234", "10.0.0.1");
    counts_as("[2001:db8:1:2:3:4:5:6]:443", "2001:db8:1:2::/64");
    counts_as("[2001:db8:1:2:ffff::1]:9", "2001:db8:1:2::/64");
    counts_as("[2001:db8:1:3::1]:9", "2001:db8:1:3::/64");
    counts_as("[::1]:9", "::/64");
    counts_as("[::ffff:10.0.0.1]:9", "10.0.0.1"); /* the same as without IPv6 */
    counts_as("unix uid 0 pid 1", "unix uid 0 pid 1");
    counts_as("", "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(more_than_the_limit_in_a_window_is_over),
        cmocka_unit_test(what_is_over_is_not_told_one_by_one_but_counted),
        cmocka_unit_test(at_the_end_all_is_told),
        cmocka_unit_test(nothing_is_lost_when_a_new_window_begins_before_it_was_told),
        cmocka_unit_test(a_full_table_forgets_nobody_whose_window_goes_on),
        cmocka_unit_test(all_together_are_told_only_so_many_times_in_a_window),
        cmocka_unit_test(a_clock_that_is_set_back_begins_anew),
        cmocka_unit_test(a_peer_is_counted_by_its_address_and_of_ipv6_by_its_network),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
