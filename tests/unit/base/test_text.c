#include "common/base/text.h"

#include "common/base/cleanup.h"

#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void well_formed_text_is_valid(void **state)
{
    (void)state;
    static const char *const valid[] = {
        "",
        "plain ascii, longer than eight bytes",
        "\xC2\x80 \xDF\xBF",
        "\xE0\xA0\x80 \xED\x9F\xBF \xEE\x80\x80 \xEF\xBF\xBF",
        "\xF0\x90\x80\x80 \xF4\x8F\xBF\xBF",
        "12345678\xE2\x82\xAC",
    };
    for (size_t i = 0; i < sizeof(valid) / sizeof(valid[0]); i++)
        assert_true(text_utf8_valid(valid[i], strlen(valid[i]), NULL));
}

static void ill_formed_text_is_refused_where_it_begins(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        size_t offset;
    } cases[] = {
        {"\x80", 0},                     /* a continuation byte alone */
        {"ab\xC3", 2},                   /* ends in a character */
        {"\xC0\xAF", 0},                 /* overlong */
        {"\xC1\xBF", 0},                 /* overlong */
        {"\xE0\x9F\xBF", 0},             /* overlong */
        {"\xF0\x8F\xBF\xBF", 0},         /* overlong */
        {"x\xED\xA0\x80", 1},            /* surrogate */
        {"\xF4\x90\x80\x80", 0},         /* past U+10FFFF */
        {"\xF5\x80\x80\x80", 0},         /* no lead byte */
        {"\xFF", 0},                     /* no lead byte */
        {"12345678\xE2\x82z", 8},        /* cut short */
        {"\xE2\x82\xAC\xF0\x9F\x98", 3}, /* ends in a character */
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        size_t offset = 999;
        assert_false(text_utf8_valid(cases[i].text, strlen(cases[i].text), &offset));
        assert_int_equal(offset, cases[i].offset);
        assert_false(text_utf8_valid(cases[i].text, strlen(cases[i].text), NULL));
    }
}

static void a_cut_never_splits_a_character(void **state)
{
    (void)state;
    const char *text = "a\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80z";
    static const size_t cuts[] = {0, 1, 1, 3, 3, 3, 6, 6, 6, 6, 10, 11, 11};
    for (size_t max = 0; max < sizeof(cuts) / sizeof(cuts[0]); max++)
        assert_int_equal(text_utf8_cut(text, strlen(text), max), cuts[max]);
}

static void a_cut_of_what_is_not_utf8_is_at_the_bound(void **state)
{
    (void)state;
    char rubbish[32];
    memset(rubbish, 0x80, sizeof(rubbish));
    assert_int_equal(text_utf8_cut(rubbish, sizeof(rubbish), 20), 20);
}

static void characters_come_one_by_one_with_rubbish_in_runs(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        size_t len;
        bool valid;
    } cases[] = {
        {"a", 1, true},         {"\xC3\xA9x", 2, true},     {"\xF0\x9F\x98\x80", 4, true},
        {"\x80\x80", 1, false}, {"\xE2\x82x", 2, false},    {"\xE2", 1, false},
        {"\xC0\x80", 1, false}, {"\xF0\x9F\x98", 3, false},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        bool valid;
        size_t len = text_utf8_next(cases[i].text, strlen(cases[i].text), &valid);
        assert_int_equal(len, cases[i].len);
        assert_int_equal(valid, cases[i].valid);
    }
    bool valid;
    assert_int_equal(text_utf8_next("a", 0, &valid), 0);
    assert_int_equal(text_utf8_next("\0", 1, &valid), 1);
}

static void what_a_terminal_acts_upon_is_escaped(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        const char *escape;
    } cases[] = {
        {"a", ""},
        {" ", ""},
        {"\xC3\xA9", ""},
        {"\xF0\x9F\x98\x80", ""},
        {"\n", "\\n"},
        {"\t", "\\t"},
        {"\r", "\\r"},
        {"\"", "\\\""},
        {"\\", "\\\\"},
        {"\x1B", "\\u001b"},
        {"\x7F", "\\u007f"},
        {"\xC2\x9B", "\\u009b"},
        {"\xC2\xA0", ""},
        {"\xE2\x80\xA8", "\\u2028"},
        {"\xE2\x80\xA9", "\\u2029"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char escape[TEXT_ESCAPE_MAX];
        size_t len = text_escape(cases[i].text, strlen(cases[i].text), escape);
        assert_int_equal(len, strlen(cases[i].escape));
        assert_memory_equal(escape, cases[i].escape, len);
    }
    char escape[TEXT_ESCAPE_MAX];
    assert_int_equal(text_escape("\0", 1, escape), 6);
    assert_memory_equal(escape, "\\u0000", 6);
}

static const char *const candidates[] = {"duration", "message", "path", "content", "id"};
static const size_t candidate_count = sizeof(candidates) / sizeof(candidates[0]);

static void a_misspelt_name_finds_the_one_that_was_meant(void **state)
{
    (void)state;
    assert_string_equal(text_closest("durration", candidates, candidate_count), "duration");
    assert_string_equal(text_closest("DURATION", candidates, candidate_count), "duration");
    assert_string_equal(text_closest("mesage", candidates, candidate_count), "message");
    assert_string_equal(text_closest("contents", candidates, candidate_count), "content");
    assert_string_equal(text_closest("pat", candidates, candidate_count), "path");
    assert_string_equal(text_closest("iD", candidates, candidate_count), "id");
    assert_string_equal(text_closest("ptah", candidates, candidate_count), "path");
    assert_string_equal(text_closest("Emssage", candidates, candidate_count), "message");
}

static void a_name_that_is_too_far_off_finds_none(void **state)
{
    (void)state;
    assert_null(text_closest("elephant", candidates, candidate_count));
    assert_null(text_closest("dur", candidates, candidate_count));
    assert_null(text_closest("x", candidates, candidate_count));
    assert_null(text_closest("", candidates, candidate_count));
    assert_null(text_closest("path", candidates, 0));
    /* Three changes in eight are more than a third; two are not. */
    assert_null(text_closest("xxxation", candidates, candidate_count));
    assert_string_equal(text_closest("xxration", candidates, candidate_count), "duration");
}

static void names_of_any_length_are_looked_at_in_bounded_time(void **state)
{
    (void)state;
    static char name[1024 * 1024];
    memset(name, 'd', sizeof(name) - 1);
    const char *const long_ones[] = {name, "duration"};
    assert_null(text_closest(name, long_ones, 2));
    assert_string_equal(text_closest("durations", long_ones, 2), "duration");
}

static void digits_are_read_in_one_form_alone(void **state)
{
    static const char *const wrong[] = {"", "0", "00", "00ffa", "00FF", "00fg", " 0ff", "00ff00"};
    uint8_t bytes[2] = {9, 9};
    char text[5];
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++)
        assert_false(text_unhex(wrong[i], bytes, sizeof(bytes)));
    assert_int_equal(bytes[0], 9);
    assert_true(text_unhex("0aff", bytes, sizeof(bytes)));
    assert_int_equal(bytes[0], 0x0a);
    assert_int_equal(bytes[1], 0xff);
    text_hex(bytes, sizeof(bytes), text);
    assert_string_equal(text, "0aff");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(digits_are_read_in_one_form_alone),
        cmocka_unit_test(well_formed_text_is_valid),
        cmocka_unit_test(ill_formed_text_is_refused_where_it_begins),
        cmocka_unit_test(a_cut_never_splits_a_character),
        cmocka_unit_test(a_cut_of_what_is_not_utf8_is_at_the_bound),
        cmocka_unit_test(characters_come_one_by_one_with_rubbish_in_runs),
        cmocka_unit_test(what_a_terminal_acts_upon_is_escaped),
        cmocka_unit_test(a_misspelt_name_finds_the_one_that_was_meant),
        cmocka_unit_test(a_name_that_is_too_far_off_finds_none),
        cmocka_unit_test(names_of_any_length_are_looked_at_in_bounded_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
