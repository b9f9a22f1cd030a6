#include "common/base/clock.h"

#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void durations_are_read_to_the_millisecond(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t ms;
    } cases[] = {
        {"1m30s", 90000},   {"250ms", 250},
        {"2h", 7200000},    {"1.5s", 1500},
        {"2.5", 2500},      {"0", 0},
        {"0ms", 0},         {"10", 10000},
        {"1h1ms", 3600001}, {"1d2h3m4s5ms", 93784005},
        {"0.25h", 900000},  {"1.0005", 1001},
        {"0.0004s", 0},     {"1.9999999999s", 2000},
        {"00012s", 12000},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        int64_t ms = -1;
        assert_int_equal(duration_parse(cases[i].text, &ms, NULL), ERR_OK);
        assert_int_equal(ms, cases[i].ms);
    }
}

static void what_is_no_duration_is_refused_with_a_reason(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        const char *reason;
    } cases[] = {
        {"", "is not a duration"},
        {"abc", "is not a duration"},
        {"1x", "is not a duration"},
        {"1m30", "is not a duration"},
        {"30s1m", "is not a duration"},
        {"1s1s", "is not a duration"},
        {"1.", "is not a duration"},
        {".5", "is not a duration"},
        {"1.s", "is not a duration"},
        {" 1s", "is not a duration"},
        {"1s ", "is not a duration"},
        {"1 s", "is not a duration"},
        {"+1", "is not a duration"},
        {"1e3", "is not a duration"},
        {"inf", "is not a duration"},
        {"1S", "is not a duration"},
        {"-1s", "must not be negative"},
        {"99999999999999999999", "too long"},
        {"9223372036854775807h", "too long"},
        {"106751991168d", "too long"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        int64_t ms = -7;
        struct error err;
        assert_int_equal(duration_parse(cases[i].text, &ms, &err), ERR_INVALID);
        assert_non_null(strstr(err.message, cases[i].reason));
        assert_int_equal(ms, -7);
    }
}

static void durations_are_written_for_people(void **state)
{
    (void)state;
    static const struct {
        int64_t ms;
        const char *text;
    } cases[] = {
        {0, "0ms"},       {350, "350ms"},      {999, "999ms"},     {1000, "1s"},
        {1200, "1.2s"},   {59999, "59.9s"},    {60000, "1m"},      {90000, "1m30s"},
        {65000, "1m05s"}, {7200000, "2h"},     {7500000, "2h05m"}, {3599999, "59m59s"},
        {86400000, "1d"}, {93784005, "1d02h"}, {-5, "0ms"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char text[CLOCK_TEXT_MAX];
        duration_format(cases[i].ms, text);
        assert_string_equal(text, cases[i].text);
    }
}

static void what_is_written_can_be_read(void **state)
{
    (void)state;
    for (int64_t ms = 1; ms < INT64_MAX / 3; ms *= 3) {
        char text[CLOCK_TEXT_MAX];
        int64_t back = -1;
        duration_format(ms, text);
        assert_int_equal(duration_parse(text, &back, NULL), ERR_OK);
        /* Two units are shown: never more than is there, and at most a sixtieth less. */
        assert_true(back <= ms && ms - back <= ms / 10);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(durations_are_read_to_the_millisecond),
        cmocka_unit_test(what_is_no_duration_is_refused_with_a_reason),
        cmocka_unit_test(durations_are_written_for_people),
        cmocka_unit_test(what_is_written_can_be_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
