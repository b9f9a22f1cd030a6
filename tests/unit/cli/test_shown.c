#include "common/base/alloc.h"
#include "orchestrator/cli/shown.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static const struct shown_key first = {"web-1", "upgrade", 1};
static const struct shown_key second = {"web-1", "upgrade", 2};
static const struct shown_key other = {"web-2", "upgrade", 1};

static struct shown_part live(struct shown *s, const struct shown_key *key, int64_t offset,
                              size_t len)
{
    struct shown_part part = {0};
    assert_int_equal(shown_live(s, key, offset, len, &part, NULL), ERR_OK);
    return part;
}

static struct shown_part kept(struct shown *s, const struct shown_key *key, size_t len, bool whole)
{
    struct shown_part part = {0};
    assert_int_equal(shown_kept(s, key, len, whole, &part, NULL), ERR_OK);
    return part;
}

static void live_pieces_follow_one_another(void **state)
{
    (void)state;
    AUTO(shown_free) struct shown *s = shown_new();
    assert_int_equal(live(s, &first, 0, 10).from, 0);
    assert_int_equal(live(s, &first, 10, 5).from, 0);
    assert_int_equal(live(s, &other, 0, 5).from, 0);
    /* At the end the journal has just what was shown. */
    assert_int_equal(kept(s, &first, 15, true).from, 15);
    assert_false(kept(s, &first, 15, true).again);
}

static void a_live_piece_that_was_shown_is_not_shown_again(void **state)
{
    (void)state;
    AUTO(shown_free) struct shown *s = shown_new();
    assert_int_equal(kept(s, &first, 12, true).from, 0);
    assert_int_equal(live(s, &first, 0, 10).from, 10);
    assert_int_equal(live(s, &first, 10, 10).from, 2);
    assert_int_equal(live(s, &first, 20, 10).from, 0);
}

static void what_live_output_missed_at_its_end_is_made_up_for(void **state)
{
    (void)state;
    AUTO(shown_free) struct shown *s = shown_new();
    (void)live(s, &first, 0, 10);
    assert_int_equal(kept(s, &first, 30, true).from, 10);
    assert_int_equal(kept(s, &first, 30, true).from, 30);
}

static void after_a_gap_the_whole_is_shown_again(void **state)
{
    (void)state;
    AUTO(shown_free) struct shown *s = shown_new();
    (void)live(s, &first, 0, 10);
    assert_int_equal(live(s, &first, 20, 10).from, 0);
    struct shown_part part = kept(s, &first, 30, true);
    assert_int_equal(part.from, 0);
    assert_true(part.again);
    assert_false(kept(s, &first, 30, true).again);
}

static void a_further_attempt_begins_anew_and_ends_the_one_before(void **state)
{
    (void)state;
    AUTO(shown_free) struct shown *s = shown_new();
    (void)live(s, &first, 0, 10);
    assert_int_equal(live(s, &second, 0, 4).from, 0);
    assert_int_equal(live(s, &first, 10, 3).from, 3);
    assert_int_equal(kept(s, &first, 13, true).from, 13);
    assert_int_equal(kept(s, &second, 4, true).from, 4);
}

static void head_and_tail_are_shown_once(void **state)
{
    (void)state;
    AUTO(shown_free) struct shown *s = shown_new();
    assert_int_equal(kept(s, &first, 70000, false).from, 0);
    assert_int_equal(kept(s, &first, 70000, false).from, 70000);
    /* Seen live from its beginning: nothing is missing. */
    (void)live(s, &other, 0, 100000);
    assert_int_equal(kept(s, &other, 70000, false).from, 70000);
}

static void want_of_memory_is_said(void **state)
{
    (void)state;
    bool done = false;
    for (uint64_t n = 0; !done; n++) {
        AUTO(shown_free) struct shown *s = NULL;
        struct shown_part part = {0};
        mem_fail_after(n);
        s = shown_new();
        enum error_code code = s ? shown_live(s, &first, 0, 1, &part, NULL) : ERR_NO_MEMORY;
        mem_fail_never();
        done = code == ERR_OK;
        assert_true(done || code == ERR_NO_MEMORY);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(live_pieces_follow_one_another),
        cmocka_unit_test(a_live_piece_that_was_shown_is_not_shown_again),
        cmocka_unit_test(what_live_output_missed_at_its_end_is_made_up_for),
        cmocka_unit_test(after_a_gap_the_whole_is_shown_again),
        cmocka_unit_test(a_further_attempt_begins_anew_and_ends_the_one_before),
        cmocka_unit_test(head_and_tail_are_shown_once),
        cmocka_unit_test(want_of_memory_is_said),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
