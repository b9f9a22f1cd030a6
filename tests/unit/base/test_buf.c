#include "common/base/buf.h"

#include "common/base/cleanup.h"

#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void appended_pieces_make_one_text(void **state)
{
    (void)state;
    AUTO_BUF struct buf b = BUF_INIT;
    buf_puts(&b, "a");
    buf_putc(&b, 'b');
    buf_append(&b, "cd", 2);
    buf_append(&b, NULL, 0);
    buf_printf(&b, "-%d-%s", 7, "x");
    assert_int_equal(buf_check(&b, NULL), ERR_OK);
    assert_string_equal(b.data, "abcd-7-x");
    assert_int_equal(b.len, 8);
}

static void an_empty_append_leaves_a_terminated_text(void **state)
{
    (void)state;
    AUTO_BUF struct buf b = BUF_INIT;
    buf_append(&b, NULL, 0);
    assert_string_equal(b.data, "");
}

static void growing_keeps_the_text_and_its_nul(void **state)
{
    (void)state;
    AUTO_BUF struct buf b = BUF_INIT;
    for (int i = 0; i < 5000; i++) {
        buf_putc(&b, (char)('a' + i % 26));
        assert_int_equal(b.data[b.len], '\0');
    }
    assert_int_equal(b.len, 5000);
    for (int i = 0; i < 5000; i++)
        assert_int_equal(b.data[i], 'a' + i % 26);
}

static void printf_of_any_length_fits(void **state)
{
    (void)state;
    char text[3001];
    for (size_t len = 0; len <= 3000; len += 50) {
        AUTO_BUF struct buf b = BUF_INIT;
        memset(text, 'x', len);
        text[len] = '\0';
        buf_printf(&b, "<%s>", text);
        buf_printf(&b, "<%s>", text);
        assert_int_equal(b.len, 2 * (len + 2));
        assert_int_equal(b.data[0], '<');
        assert_string_equal(b.data + b.len - 1, ">");
    }
}

static void the_bound_is_kept_to_the_byte(void **state)
{
    (void)state;
    struct error err;
    AUTO_BUF struct buf b = {.max = 5};
    buf_puts(&b, "12345");
    assert_int_equal(buf_check(&b, &err), ERR_OK);
    buf_putc(&b, '6');
    assert_int_equal(buf_check(&b, &err), ERR_LIMIT);
    assert_int_equal(err.code, ERR_LIMIT);
    assert_string_equal(b.data, "12345");
}

static void after_a_failure_appends_are_ignored(void **state)
{
    (void)state;
    AUTO_BUF struct buf b = {.max = 5};
    buf_puts(&b, "1234");
    buf_puts(&b, "too long");
    buf_putc(&b, '5');
    buf_put_int(&b, 5);
    buf_printf(&b, "5");
    assert_string_equal(b.data, "1234");
    assert_null(buf_take(&b, NULL));
    buf_clear(&b);
    buf_puts(&b, "again");
    assert_int_equal(buf_check(&b, NULL), ERR_OK);
    assert_string_equal(b.data, "again");
}

static void a_printf_past_the_bound_changes_nothing(void **state)
{
    (void)state;
    AUTO_BUF struct buf b = {.max = 300};
    buf_puts(&b, "kept");
    buf_printf(&b, "%0400d", 1);
    assert_int_equal(buf_check(&b, NULL), ERR_LIMIT);
    assert_string_equal(b.data, "kept");
    assert_int_equal(b.len, 4);
}

static void a_length_that_overflows_is_past_the_bound(void **state)
{
    (void)state;
    AUTO_BUF struct buf b = {.max = SIZE_MAX};
    buf_puts(&b, "x");
    assert_int_equal(buf_reserve(&b, SIZE_MAX, NULL), ERR_LIMIT);
    assert_int_equal(buf_reserve(&b, SIZE_MAX - 1, NULL), ERR_LIMIT);
    assert_string_equal(b.data, "x");
}

static void running_out_of_memory_is_remembered(void **state)
{
    (void)state;
    struct error err;
    AUTO_BUF struct buf b = BUF_INIT;
    mem_fail_after(0);
    buf_puts(&b, "x");
    mem_fail_never();
    buf_puts(&b, "y");
    assert_int_equal(buf_check(&b, &err), ERR_NO_MEMORY);
    assert_int_equal(b.len, 0);
}

static void reserved_room_needs_no_memory_later(void **state)
{
    (void)state;
    AUTO_BUF struct buf b = BUF_INIT;
    assert_int_equal(buf_reserve(&b, 1000, NULL), ERR_OK);
    mem_fail_after(0);
    for (int i = 0; i < 1000; i++)
        buf_putc(&b, 'x');
    mem_fail_never();
    assert_int_equal(buf_check(&b, NULL), ERR_OK);
    assert_int_equal(b.len, 1000);
}

static void a_reserve_without_memory_says_so(void **state)
{
    (void)state;
    struct error err;
    AUTO_BUF struct buf b = BUF_INIT;
    mem_fail_after(0);
    enum error_code code = buf_reserve(&b, 10, &err);
    mem_fail_never();
    assert_int_equal(code, ERR_NO_MEMORY);
    assert_int_equal(err.code, ERR_NO_MEMORY);
}

static void consuming_takes_the_first_bytes(void **state)
{
    (void)state;
    AUTO_BUF struct buf b = BUF_INIT;
    buf_consume(&b, 0);
    buf_puts(&b, "hello");
    buf_consume(&b, 2);
    assert_string_equal(b.data, "llo");
    buf_consume(&b, 3);
    assert_string_equal(b.data, "");
    assert_int_equal(b.len, 0);
}

static void a_taken_text_is_the_callers(void **state)
{
    (void)state;
    AUTO_BUF struct buf b = BUF_INIT;
    size_t len = 99;
    buf_puts(&b, "mine");
    AUTO_FREE char *text = buf_take(&b, &len);
    assert_string_equal(text, "mine");
    assert_int_equal(len, 4);
    assert_null(b.data);
    AUTO_FREE char *empty = buf_take(&b, &len);
    assert_string_equal(empty, "");
    assert_int_equal(len, 0);
}

static void integers_are_written_as_printf_would(void **state)
{
    (void)state;
    static const int64_t values[] = {0, 1, -1, 9, 10, -10, 12345, 100, -999, INT64_MAX, INT64_MIN};
    for (size_t i = 0; i < ARRAY_LEN(values); i++) {
        AUTO_BUF struct buf b = BUF_INIT;
        char expected[32];
        (void)snprintf(expected, sizeof(expected), "%" PRId64, values[i]);
        buf_put_int(&b, values[i]);
        assert_string_equal(b.data, expected);
    }
}

static void assert_number(double value, const char *expected)
{
    AUTO_BUF struct buf b = BUF_INIT;
    buf_put_number(&b, value);
    assert_string_equal(b.data, expected);
}

static void numbers_are_written_as_short_as_they_read_back(void **state)
{
    (void)state;
    assert_number(0, "0");
    assert_number(-0.0, "0");
    assert_number(2.0, "2");
    assert_number(-17, "-17");
    assert_number(0.1, "0.1");
    assert_number(1.5, "1.5");
    assert_number(9007199254740991.0, "9007199254740991");
    assert_number(1e300, "1e+300");
    assert_number(0.1 + 0.2, "0.30000000000000004");
    assert_number(NAN, "null");
    assert_number(-INFINITY, "null");
}

static void every_finite_number_reads_back_the_same(void **state)
{
    (void)state;
    uint64_t bits = 88172645463325252;
    for (int i = 0; i < 20000; i++) {
        double value;
        bits ^= bits << 13;
        bits ^= bits >> 7;
        bits ^= bits << 17;
        memcpy(&value, &bits, sizeof(value));
        if (!isfinite(value))
            continue;
        AUTO_BUF struct buf b = BUF_INIT;
        buf_put_number(&b, value);
        assert_true(strtod(b.data, NULL) == value);
    }
    AUTO_BUF struct buf b = BUF_INIT;
    buf_put_number(&b, -DBL_MAX);
    assert_true(strtod(b.data, NULL) == -DBL_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(appended_pieces_make_one_text),
        cmocka_unit_test(an_empty_append_leaves_a_terminated_text),
        cmocka_unit_test(growing_keeps_the_text_and_its_nul),
        cmocka_unit_test(printf_of_any_length_fits),
        cmocka_unit_test(the_bound_is_kept_to_the_byte),
        cmocka_unit_test(after_a_failure_appends_are_ignored),
        cmocka_unit_test(a_printf_past_the_bound_changes_nothing),
        cmocka_unit_test(a_length_that_overflows_is_past_the_bound),
        cmocka_unit_test(running_out_of_memory_is_remembered),
        cmocka_unit_test(reserved_room_needs_no_memory_later),
        cmocka_unit_test(a_reserve_without_memory_says_so),
        cmocka_unit_test(consuming_takes_the_first_bytes),
        cmocka_unit_test(a_taken_text_is_the_callers),
        cmocka_unit_test(integers_are_written_as_printf_would),
        cmocka_unit_test(numbers_are_written_as_short_as_they_read_back),
        cmocka_unit_test(every_finite_number_reads_back_the_same),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
