#include "common/base/alloc.h"

#include "common/base/cleanup.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* Every way to get memory, once; how many of them gave some. */
static int successes(void)
{
    int count = 0;
    void *got[6] = {mem_alloc(8),         mem_zalloc(8),   mem_array(2, 8),
                    mem_realloc(NULL, 8), mem_strdup("x"), mem_strndup("xy", 1)};
    for (size_t i = 0; i < ARRAY_LEN(got); i++) {
        count += got[i] != NULL;
        mem_free(got[i]);
    }
    return count;
}

static void zeroed_memory_is_zero(void **state)
{
    (void)state;
    static const char zeros[64];
    AUTO_FREE char *a = mem_zalloc(64);
    AUTO_FREE char *b = mem_array(8, 8);
    assert_memory_equal(a, zeros, 64);
    assert_memory_equal(b, zeros, 64);
}

static void sizes_of_zero_give_a_pointer(void **state)
{
    (void)state;
    AUTO_FREE void *a = mem_alloc(0);
    AUTO_FREE void *b = mem_array(0, 8);
    AUTO_FREE void *c = mem_realloc(mem_alloc(8), 0);
    assert_non_null(a);
    assert_non_null(b);
    assert_non_null(c);
}

static void an_array_too_large_for_memory_is_refused(void **state)
{
    (void)state;
    /* Not a constant, which the compiler would warn about. */
    volatile size_t half = SIZE_MAX / 2;
    assert_null(mem_array(half, 4));
}

static void a_copy_of_at_most_len_bytes_ends_with_a_nul(void **state)
{
    (void)state;
    const char unterminated[3] = {'a', 'b', 'c'};
    AUTO_FREE char *cut = mem_strndup(unterminated, 3);
    AUTO_FREE char *early = mem_strndup("ab", 100);
    AUTO_FREE char *whole = mem_strdup("hello");
    assert_string_equal(cut, "abc");
    assert_string_equal(early, "ab");
    assert_string_equal(whole, "hello");
}

static void allocations_fail_from_the_nth_on_until_told_otherwise(void **state)
{
    (void)state;
    for (int n = 0; n <= 6; n++) {
        mem_fail_after((uint64_t)n);
        int got = successes();
        uint64_t failed = mem_fail_count();
        mem_fail_never();
        assert_int_equal(got, n);
        assert_int_equal(failed, 6 - n);
    }
    assert_int_equal(successes(), 6);
}

static void one_allocation_alone_can_be_made_to_fail(void **state)
{
    (void)state;
    for (int n = 0; n < 6; n++) {
        mem_fail_once((uint64_t)n);
        int got = successes();
        uint64_t failed = mem_fail_count();
        mem_fail_never();
        assert_int_equal(got, 5);
        assert_int_equal(failed, 1);
    }
}

static void a_failed_realloc_keeps_what_was_there(void **state)
{
    (void)state;
    AUTO_FREE char *p = mem_strdup("kept");
    mem_fail_after(0);
    void *larger = mem_realloc(p, 1000);
    mem_fail_never();
    assert_null(larger);
    assert_string_equal(p, "kept");
}

static void *count_successes(void *ret)
{
    *(int *)ret = successes();
    return NULL;
}

static void one_threads_failures_are_not_anothers(void **state)
{
    (void)state;
    pthread_t thread;
    int got = 0;
    mem_fail_after(0);
    int rc = pthread_create(&thread, NULL, count_successes, &got);
    if (rc == 0)
        rc = pthread_join(thread, NULL);
    mem_fail_never();
    assert_int_equal(rc, 0);
    assert_int_equal(got, 6);
}

static void taking_a_pointer_forgets_it(void **state)
{
    (void)state;
    char *p = mem_strdup("x");
    char *before = p;
    AUTO_FREE char *taken = TAKE(p);
    assert_null(p);
    assert_ptr_equal(taken, before);
}

/* Whether it is overwritten cannot be seen from here: what is freed must not be read. */
static void what_is_overwritten_when_freed_is_whole_until_then(void **state)
{
    (void)state;
    mem_wipe_freed();
    char *text = mem_realloc(NULL, 4);
    assert_non_null(text);
    memcpy(text, "abc", 4);
    text = mem_realloc(text, 100000);
    assert_non_null(text);
    assert_string_equal(text, "abc");
    text = mem_realloc(text, 3);
    assert_non_null(text);
    assert_memory_equal(text, "abc", 3);
    mem_fail_after(0);
    assert_null(mem_realloc(text, 10));
    mem_fail_never();
    assert_memory_equal(text, "abc", 3);
    mem_free(text);
    mem_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(zeroed_memory_is_zero),
        cmocka_unit_test(sizes_of_zero_give_a_pointer),
        cmocka_unit_test(an_array_too_large_for_memory_is_refused),
        cmocka_unit_test(a_copy_of_at_most_len_bytes_ends_with_a_nul),
        cmocka_unit_test(allocations_fail_from_the_nth_on_until_told_otherwise),
        cmocka_unit_test(one_allocation_alone_can_be_made_to_fail),
        cmocka_unit_test(a_failed_realloc_keeps_what_was_there),
        cmocka_unit_test(one_threads_failures_are_not_anothers),
        cmocka_unit_test(taking_a_pointer_forgets_it),
        cmocka_unit_test(what_is_overwritten_when_freed_is_whole_until_then),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
