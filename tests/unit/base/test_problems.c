#include "common/base/problems.h"

#include "common/base/alloc.h"

#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void no_problem_is_no_error(void **state)
{
    (void)state;
    struct problems ps = {0};
    assert_int_equal(problems_check(&ps, NULL), ERR_OK);
    problems_done(&ps);
}

static void the_first_problem_is_the_errors_message(void **state)
{
    (void)state;
    struct problems ps = {0};
    struct error err;
    problems_add(&ps, "steps[2].name", "must be %s", "a string");
    problems_add(&ps, "", "is odd");
    assert_int_equal(problems_check(&ps, &err), ERR_INVALID);
    assert_string_equal(err.message, "steps[2].name: must be a string");
    assert_string_equal(ps.items[1].path, "");
    assert_string_equal(ps.items[1].message, "is odd");
    problems_done(&ps);
    problems_add(&ps, "", "the document is odd");
    assert_int_equal(problems_check(&ps, &err), ERR_INVALID);
    assert_string_equal(err.message, "the document is odd");
    problems_done(&ps);
}

static void past_the_bound_only_the_count_goes_on(void **state)
{
    (void)state;
    struct problems ps = {0};
    for (int i = 0; i < PROBLEMS_MAX + 50; i++)
        problems_add(&ps, "p", "%d", i);
    assert_int_equal(ps.count, PROBLEMS_MAX);
    assert_int_equal(ps.total, PROBLEMS_MAX + 50);
    assert_string_equal(ps.items[PROBLEMS_MAX - 1].message, "99");
    problems_done(&ps);
}

static void long_paths_and_messages_are_cut_between_characters(void **state)
{
    (void)state;
    char text[1024];
    for (size_t i = 0; i < 200; i++)
        memcpy(text + 3 * i, "\xE2\x82\xAC", 3);
    text[600] = '\0';
    struct problems ps = {0};
    problems_add(&ps, text, "%s", text);
    assert_int_equal(strlen(ps.items[0].path), (PROBLEM_PATH_MAX - 1) / 3 * 3);
    assert_int_equal(strlen(ps.items[0].message), (PROBLEM_TEXT_MAX - 1) / 3 * 3);
    problems_done(&ps);
}

static void a_problem_without_memory_is_counted_and_told(void **state)
{
    (void)state;
    /* One failing allocation at each place where the list grows. */
    for (uint64_t n = 0; n < 3; n++) {
        struct problems ps = {0};
        struct error err;
        mem_fail_after(n);
        for (int i = 0; i < 10; i++)
            problems_add(&ps, "p", "m");
        mem_fail_never();
        assert_int_equal(ps.total, 10);
        assert_true(ps.no_memory);
        assert_int_equal(problems_check(&ps, &err), ERR_NO_MEMORY);
        problems_done(&ps);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_problem_is_no_error),
        cmocka_unit_test(the_first_problem_is_the_errors_message),
        cmocka_unit_test(past_the_bound_only_the_count_goes_on),
        cmocka_unit_test(long_paths_and_messages_are_cut_between_characters),
        cmocka_unit_test(a_problem_without_memory_is_counted_and_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
