#include "common/base/clock.h"

#include <string.h>
#include <time.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void the_wall_clock_is_the_systems(void **state)
{
    (void)state;
    int64_t before = (int64_t)time(NULL) - 1;
    int64_t ms = clock_wall_ms();
    int64_t after = (int64_t)time(NULL) + 1;
    assert_true(ms / 1000 >= before && ms / 1000 <= after);
}

static void the_monotonic_clock_never_goes_back(void **state)
{
    (void)state;
    int64_t last = clock_mono_us();
    for (int i = 0; i < 10000; i++) {
        int64_t now = clock_mono_us();
        assert_true(now >= last);
        last = now;
    }
    int64_t ms = clock_mono_ms();
    assert_true(ms >= last / 1000 && ms <= clock_mono_us() / 1000);
}

static void assert_formatted(int64_t ms, const char *expected)
{
    char text[CLOCK_TEXT_MAX];
    clock_format(ms, text);
    assert_string_equal(text, expected);
}

static void times_are_written_as_rfc_3339(void **state)
{
    (void)state;
    assert_formatted(0, "1970-01-01T00:00:00.000Z");
    assert_formatted(INT64_C(1700000000123), "2023-11-14T22:13:20.123Z");
    assert_formatted(INT64_C(951827696007), "2000-02-29T12:34:56.007Z");
    assert_formatted(-1, "1969-12-31T23:59:59.999Z");
}

static void any_time_at_all_fits_the_text(void **state)
{
    (void)state;
    char text[CLOCK_TEXT_MAX];
    clock_format(INT64_MAX, text);
    assert_int_equal(text[strlen(text) - 1], 'Z');
    clock_format(INT64_MIN, text);
    assert_int_equal(text[strlen(text) - 1], 'Z');
}

static void a_time_is_read_back_and_nothing_else_is(void **state)
{
    static const int64_t times[] = {0, 999, 951782400000, 1795672800123, 253402300799999};
    static const char *const wrong[] = {
        "",
        "2026-11-26T06:00:00Z",
        "2026-11-26T06:00:00.000",
        "2026-11-26T06:00:00.000+",
        "2026-11-26 06:00:00.000Z",
        "2026-13-26T06:00:00.000Z",
        "2026-00-26T06:00:00.000Z",
        "2026-11-00T06:00:00.000Z",
        "2026-11-31T06:00:00.000Z",
        "2026-02-29T06:00:00.000Z",
        "2026-11-26T24:00:00.000Z",
        "2026-11-26T06:60:00.000Z",
        "2026-11-26T06:00:60.000Z",
        "1969-12-31T23:59:59.999Z",
        "2026-11-26T06:00:00.000Zx",
        "2026-1 -26T06:00:00.000Z",
    };
    int64_t ms = 7;
    (void)state;
    for (size_t i = 0; i < sizeof(times) / sizeof(times[0]); i++) {
        char text[CLOCK_TEXT_MAX];
        clock_format(times[i], text);
        assert_true(clock_parse(text, &ms));
        assert_true(ms == times[i]);
    }
    ms = 7;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        assert_false(clock_parse(wrong[i], &ms));
    assert_int_equal(ms, 7);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_time_is_read_back_and_nothing_else_is),
        cmocka_unit_test(the_wall_clock_is_the_systems),
        cmocka_unit_test(the_monotonic_clock_never_goes_back),
        cmocka_unit_test(times_are_written_as_rfc_3339),
        cmocka_unit_test(any_time_at_all_fits_the_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
