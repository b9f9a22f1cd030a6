#include "common/json/json.h"

#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "unit/json/support_tables.h"

#include <stdio.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { PLENTY = 64 * 1024 * 1024 };

/* Decodes a text that is JSON; the problems stay in *ps. */
static void decode(const char *text, const struct json_table *table, const char *path, void *ret,
                   struct problems *ps)
{
    struct json_doc *doc = NULL;
    struct error err;
    if (json_parse(text, strlen(text), PLENTY, &doc, &err) != ERR_OK)
        fail_msg("%s: %s", text, err.message);
    json_decode(json_root(doc), table, path, ret, ps);
    json_free(doc);
}

/* All problems of a thing, one a line. */
static void assert_problems(const char *text, const char *expected)
{
    AUTO_BUF struct buf got = BUF_INIT;
    struct problems ps = {0};
    struct thing thing;
    decode(text, &thing_table, "", &thing, &ps);
    buf_puts(&got, "");
    for (size_t i = 0; i < ps.count; i++)
        buf_printf(&got, "%s: %s\n", ps.items[i].path, ps.items[i].message);
    assert_string_equal(got.data, expected);
    problems_done(&ps);
    json_release(&thing_table, &thing);
}

static void a_full_document_fills_every_field(void **state)
{
    (void)state;
    struct problems ps = {0};
    struct thing t;
    memset(&t, 0xA5, sizeof(t));
    decode(thing_full, &thing_table, "", &t, &ps);
    assert_int_equal(ps.total, 0);
    assert_string_equal(t.name, "caf\xC3\xA9 \"x\"\n");
    assert_false(t.on);
    assert_int_equal(t.count, -5);
    assert_true(t.ratio == 0.25);
    assert_int_equal(t.delay_ms, 7);
    assert_int_equal(t.color, COLOR_RED);
    assert_int_equal(t.limits.attempts, 2);
    assert_true(t.limits.factor == 1.5);
    assert_int_equal(t.parts.count, 2);
    assert_string_equal(ARRAY_AT(&t.parts, struct part, 1)->name, "b");
    assert_int_equal(ARRAY_AT(&t.parts, struct part, 1)->weight, 9);
    assert_true(ARRAY_AT(&t.parts, struct part, 0)->spare);
    assert_int_equal(t.tags.count, 2);
    assert_string_equal(*ARRAY_AT(&t.tags, char *, 1), "two");
    assert_int_equal(t.grid.count, 3);
    assert_int_equal(ARRAY_AT(&t.grid, struct array, 1)->count, 0);
    assert_int_equal(*ARRAY_AT(ARRAY_AT(&t.grid, struct array, 2), int64_t, 0), 3);
    assert_int_equal(ARRAY_AT(&t.shares, struct share, 1)->percent, 50);
    assert_string_equal(t.extra, "[1,{\"k\":null}]");
    assert_string_equal(t.options, "{\"deep\":{\"x\":[true]}}");
    assert_int_equal(t.share.percent, 5);
    assert_true(t.has_code);
    assert_int_equal(t.code, 0);
    json_release(&thing_table, &t);
    static const struct thing zero;
    assert_memory_equal(&t, &zero, sizeof(t));
    json_release(&thing_table, &t);
}

static void what_is_absent_has_its_fallback_or_is_zero(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "{\"name\":\"n\"}",
        "{\"name\":\"n\",\"on\":null,\"count\":null,\"ratio\":null,\"delaySeconds\":null,"
        "\"color\":null,\"limits\":null,\"parts\":null,\"tags\":null,\"extra\":null,"
        "\"options\":null,\"share\":null,\"code\":null}",
        "{\"limits\":{},\"name\":\"n\"}",
    };
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        struct problems ps = {0};
        struct thing t;
        decode(texts[i], &thing_table, "", &t, &ps);
        assert_int_equal(ps.total, 0);
        assert_true(t.on);
        assert_int_equal(t.count, 0);
        assert_int_equal(t.delay_ms, 1500);
        assert_int_equal(t.color, COLOR_GREEN);
        assert_int_equal(t.limits.attempts, 3);
        assert_true(t.limits.factor == 2.5);
        assert_null(t.parts.items);
        assert_null(t.extra);
        assert_false(t.has_code);
        json_release(&thing_table, &t);
    }
}

static void items_of_an_array_have_their_fallbacks_too(void **state)
{
    (void)state;
    struct problems ps = {0};
    struct thing t;
    decode("{\"name\":\"n\",\"parts\":[{\"name\":\"a\"},{\"name\":\"b\",\"weight\":1}]}",
           &thing_table, "", &t, &ps);
    assert_int_equal(ps.total, 0);
    assert_int_equal(ARRAY_AT(&t.parts, struct part, 0)->weight, 7);
    assert_int_equal(ARRAY_AT(&t.parts, struct part, 1)->weight, 1);
    json_release(&thing_table, &t);
}

static void a_faulty_value_leaves_the_fallback(void **state)
{
    (void)state;
    struct problems ps = {0};
    struct thing t;
    decode("{\"name\":\"n\",\"on\":1,\"limits\":{\"attempts\":99}}", &thing_table, "", &t, &ps);
    assert_int_equal(ps.total, 2);
    assert_true(t.on);
    assert_int_equal(t.limits.attempts, 3);
    problems_done(&ps);
    json_release(&thing_table, &t);
}

static void every_wrong_kind_is_named(void **state)
{
    (void)state;
    assert_problems("{\"name\":1,\"on\":\"yes\",\"count\":\"1\",\"ratio\":[],\"delaySeconds\":{},"
                    "\"color\":true,\"limits\":[],\"parts\":{},\"options\":[],\"share\":1}",
                    "name: must be a string, not a number\n"
                    "on: must be true or false, not a string\n"
                    "count: must be a whole number, not a string\n"
                    "ratio: must be a number, not an array\n"
                    "delaySeconds: must be a number of seconds, not an object\n"
                    "color: must be one of \"red\", \"green\", not a boolean\n"
                    "limits: must be an object, not an array\n"
                    "parts: must be an array, not an object\n"
                    "options: must be an object, not an array\n"
                    "share: must be a share such as \"10%\"\n");
    assert_problems("[]", ": must be an object, not an array\n");
    assert_problems("{\"name\":null}", "name: must be a string, not null\n");
    assert_problems("{\"name\":\"n\",\"tags\":[null]}", "tags[0]: must be a string, not null\n");
}

static void bounds_are_named(void **state)
{
    (void)state;
    assert_problems(
        "{\"name\":\"012345678901234567890123456789012\",\"count\":101,\"delaySeconds\":3600.5,"
        "\"limits\":{\"attempts\":0,\"factor\":0.5},\"parts\":[],\"tags\":[\"\",\"a b\"]}",
        "name: must be at most 32 bytes long, not 33\n"
        "count: must be between -5 and 100, not 101\n"
        "delaySeconds: must be between 0 and 3600 seconds, not 3600.5\n"
        "limits.attempts: must be between 1 and 10, not 0\n"
        "limits.factor: must be at least 1, not 0.5\n"
        "parts: must not be empty\n"
        "tags[0]: must not be empty\n"
        "tags[1]: must be a word, not \"a b\"\n");
    assert_problems("{\"name\":\"n\",\"parts\":[1,2,3,4]}",
                    "parts: must have at most 3 items, not 4\n");
    assert_problems("{\"name\":\"n\",\"count\":-6,\"delaySeconds\":-1}",
                    "count: must be between -5 and 100, not -6\n"
                    "delaySeconds: must be between 0 and 3600 seconds, not -1\n");
}

static void the_bounds_themselves_are_taken(void **state)
{
    (void)state;
    assert_problems("{\"name\":\"01234567890123456789012345678901\",\"count\":100,"
                    "\"delaySeconds\":3600,\"limits\":{\"attempts\":1,\"factor\":1},"
                    "\"parts\":[{\"name\":\"a\"},{\"name\":\"b\"},{\"name\":\"c\"}]}",
                    "");
    assert_problems("{\"name\":\"\",\"count\":-5,\"delaySeconds\":0,\"limits\":{\"attempts\":10,"
                    "\"factor\":1e300}}",
                    "");
}

static void only_whole_numbers_that_a_double_carries_are_integers(void **state)
{
    (void)state;
    assert_problems("{\"name\":\"n\",\"code\":1.5}", "code: must be a whole number, not 1.5\n");
    assert_problems("{\"name\":\"n\",\"code\":9007199254740992}",
                    "code: must be between -9007199254740991 and 9007199254740991, not "
                    "9007199254740992\n");
    assert_problems("{\"name\":\"n\",\"code\":-1e300}",
                    "code: must be between -9007199254740991 and 9007199254740991, not -1e+300\n");
    struct problems ps = {0};
    struct thing t;
    decode("{\"name\":\"n\",\"code\":-9007199254740991}", &thing_table, "", &t, &ps);
    assert_int_equal(ps.total, 0);
    assert_true(t.code == -JSON_INT_MAX);
    json_release(&thing_table, &t);
}

static void seconds_are_rounded_to_the_nearest_millisecond(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t ms;
    } cases[] = {
        {"{\"name\":\"n\",\"delaySeconds\":2.5}", 2500},
        {"{\"name\":\"n\",\"delaySeconds\":0.0004}", 0},
        {"{\"name\":\"n\",\"delaySeconds\":0.0006}", 1},
        {"{\"name\":\"n\",\"delaySeconds\":1.001}", 1001},
        {"{\"name\":\"n\",\"delaySeconds\":3599.9999}", 3600000},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct problems ps = {0};
        struct thing t;
        decode(cases[i].text, &thing_table, "", &t, &ps);
        assert_int_equal(ps.total, 0);
        assert_int_equal(t.delay_ms, cases[i].ms);
        json_release(&thing_table, &t);
    }
}

static void seconds_without_bounds_still_fit_the_milliseconds(void **state)
{
    (void)state;
    struct wait {
        int64_t ms;
    };
    static const struct json_field fields[] = {
        {.name = "wait", .type = JSON_SECONDS, JSON_AT(struct wait, ms)},
    };
    static const struct json_table table = JSON_TABLE("wait", struct wait, fields, NULL);
    struct problems ps = {0};
    struct wait wait;
    decode("{\"wait\":1e300}", &table, "", &wait, &ps);
    assert_int_equal(ps.total, 1);
    assert_string_equal(ps.items[0].message,
                        "must be between -9007199254740 and 9007199254740 seconds, not 1e+300");
    assert_int_equal(wait.ms, 0);
    problems_done(&ps);
    decode("{\"wait\":-1.5}", &table, "", &wait, &ps);
    assert_int_equal(ps.total, 0);
    assert_int_equal(wait.ms, -1500);
}

static void seconds_may_be_a_text_where_the_table_says_so(void **state)
{
    (void)state;
    struct wait {
        int64_t ms;
    };
    static const struct json_field fields[] = {
        {.name = "wait",
         .type = JSON_SECONDS,
         JSON_AT(struct wait, ms),
         .flags = JSON_SECONDS_TEXT | JSON_HAS_DEFAULT,
         .min = 0.1,
         .max = 60,
         .fallback = 5},
    };
    static const struct json_table table = JSON_TABLE("wait", struct wait, fields, NULL);
    static const struct {
        const char *text;
        int64_t ms;
        const char *message; /* NULL: right */
    } cases[] = {
        {"{\"wait\":\"500ms\"}", 500, NULL},
        {"{\"wait\":\"1m\"}", 60000, NULL},
        {"{\"wait\":0.5}", 500, NULL},
        {"{}", 5000, NULL},
        {"{\"wait\":\"1m1s\"}", 5000, "must be between 0.1 and 60 seconds, not 61"},
        {"{\"wait\":\"0s\"}", 5000, "must be between 0.1 and 60 seconds, not 0"},
        {"{\"wait\":[]}", 5000,
         "must be a number of seconds or a text such as \"1m30s\", not an array"},
        {"{\"wait\":\"soon\"}", 5000, ""},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct problems ps = {0};
        struct wait wait;
        decode(cases[i].text, &table, "", &wait, &ps);
        assert_int_equal(ps.total, cases[i].message ? 1 : 0);
        if (cases[i].message && cases[i].message[0] != '\0')
            assert_string_equal(ps.items[0].message, cases[i].message);
        assert_int_equal(wait.ms, cases[i].ms);
        problems_done(&ps);
    }
    assert_problems("{\"name\":\"n\",\"delaySeconds\":\"1s\"}",
                    "delaySeconds: must be a number of seconds, not a string\n");
}

static void misspelt_names_get_the_closest_one(void **state)
{
    (void)state;
    assert_problems("{\"name\":\"n\",\"elephant\":1}",
                    "elephant: unknown field (there are: name, on, count, ratio, delaySeconds, "
                    "color, limits, parts, tags, grid, shares, extra, options, share, code)\n");
    assert_problems(
        "{\"name\":\"n\",\"cuont\":1,\"limits\":{\"atempts\":1,\"zebra\":2},"
        "\"parts\":[{\"name\":\"a\"},{\"name\":\"b\",\"wieght\":1}],\"color\":\"gren\"}",
        "cuont: unknown field (did you mean \"count\"?)\n"
        "limits.atempts: unknown field (did you mean \"attempts\"?)\n"
        "limits.zebra: unknown field (there are: attempts, factor)\n"
        "parts[1].wieght: unknown property (did you mean \"weight\"?)\n"
        "color: must be one of \"red\", \"green\", not \"gren\" (did you mean "
        "\"green\"?)\n");
}

static void required_fields_are_missed_with_what_they_take(void **state)
{
    (void)state;
    assert_problems("{\"parts\":[{}]}", "parts[0].name: is required (a string)\n"
                                        "name: is required (a string)\n");
}

static void paths_begin_with_the_one_given(void **state)
{
    (void)state;
    struct problems ps = {0};
    struct thing t;
    decode("{\"nam\":1}", &thing_table, "steps[2].params", &t, &ps);
    assert_int_equal(ps.count, 2);
    assert_string_equal(ps.items[0].path, "steps[2].params.nam");
    assert_string_equal(ps.items[1].path, "steps[2].params.name");
    problems_done(&ps);
    json_release(&thing_table, &t);
    decode("7", &thing_table, "x", &t, &ps);
    assert_string_equal(ps.items[0].path, "x");
    problems_done(&ps);
}

static void odd_names_are_quoted_in_paths_and_messages(void **state)
{
    (void)state;
    assert_problems("{\"name\":\"n\",\"limits\":{\"a.b\\u001b[2J\":1,\"\":2}}",
                    "limits[\"a.b\\u001b[2J\"]: unknown field (there are: attempts, factor)\n"
                    "limits[\"\"]: unknown field (there are: attempts, factor)\n");
    assert_problems("{\"name\":\"n\",\"tags\":[\"x \\n\\u009b\"]}",
                    "tags[0]: must be a word, not \"x \\n\\u009b\"\n");
    assert_problems("{\"name\":\"n\",\"tags\":[\"a \xE2\x82\xAC\xE2\x82\xAC\xE2\x82\xAC\xE2\x82\xAC"
                    "\xE2\x82\xAC\xE2\x82\xAC\xE2\x82\xAC\xE2\x82\xAC\xE2\x82\xAC\xE2\x82\xAC"
                    "\xE2\x82\xAC\xE2\x82\xAC\xE2\x82\xAC\xE2\x82\xAC\xE2\x82\xAC\xE2\x82\xAC"
                    "\xE2\x82\xAC\xE2\x82\xAC\xE2\x82\xAC\xE2\x82\xAC\"]}",
                    "tags[0]: must be a word, not \"a \xE2\x82\xAC\xE2\x82\xAC\xE2\x82\xAC"
                    "\xE2\x82\xAC\xE2\x82\xAC\xE2\x82\xAC\xE2\x82\xAC\xE2\x82\xAC\xE2\x82\xAC"
                    "\xE2\x82\xAC\xE2\x82\xAC\xE2\x82\xAC\xE2\x82\xAC\xE2\x82\xAC\xE2\x82\xAC"
                    "\xE2\x82\xAC\xE2\x82\xAC\xE2\x82\xAC...\"\n");
}

static void an_open_table_passes_over_what_it_does_not_know(void **state)
{
    (void)state;
    struct note {
        char *text;
    };
    static const struct json_field fields[] = {
        {.name = "text", .type = JSON_STRING, JSON_AT(struct note, text)},
    };
    static const struct json_table table = JSON_TABLE_OPEN("note", struct note, fields, NULL);
    struct problems ps = {0};
    struct note note;
    decode("{\"later\":{\"x\":1},\"text\":\"t\",\"tex\":0}", &table, "", &note, &ps);
    assert_int_equal(ps.total, 0);
    assert_string_equal(note.text, "t");
    json_release(&table, &note);
}

static void fields_are_found_in_any_order(void **state)
{
    (void)state;
    struct problems ps = {0};
    struct thing t;
    decode("{\"code\":4,\"share\":\"1%\",\"count\":2,\"color\":\"red\",\"on\":false,"
           "\"name\":\"n\"}",
           &thing_table, "", &t, &ps);
    assert_int_equal(ps.total, 0);
    assert_int_equal(t.code, 4);
    assert_int_equal(t.share.percent, 1);
    assert_int_equal(t.count, 2);
    assert_int_equal(t.color, COLOR_RED);
    assert_false(t.on);
    assert_string_equal(t.name, "n");
    json_release(&thing_table, &t);
}

static void a_document_wrong_in_many_places_is_read_in_bounded_time(void **state)
{
    (void)state;
    enum { WRONG = 200000 };
    AUTO_BUF struct buf text = BUF_INIT;
    struct problems ps = {0};
    struct thing t;
    buf_puts(&text, "{\"name\":\"n\"");
    for (int i = 0; i < WRONG; i++)
        buf_printf(&text, ",\"durations%d\":1", i);
    buf_putc(&text, '}');
    int64_t began_ms = clock_mono_ms();
    decode(text.data, &thing_table, "", &t, &ps);
    assert_int_equal(ps.count, PROBLEMS_MAX);
    assert_int_equal(ps.total, WRONG);
    assert_true(clock_mono_ms() - began_ms < 30000);
    problems_done(&ps);
    json_release(&thing_table, &t);
}

static void reading_gives_the_first_problem_and_nothing_else(void **state)
{
    (void)state;
    static const struct thing zero;
    static const struct {
        const char *text;
        enum error_code code;
        const char *message;
    } cases[] = {
        {"{\"name\":\"n\",\"tags\":[\"a\",1,2]}", ERR_INVALID,
         "tags[1]: must be a string, not a number"},
        {"{\"name\":", ERR_INVALID, "line 1, column 9: the text ends where a value is expected"},
        {"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[", ERR_LIMIT,
         "line 1, column 65: brackets are nested too deeply"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct error err;
        struct thing t;
        memset(&t, 0xA5, sizeof(t));
        assert_int_equal(
            json_read(cases[i].text, strlen(cases[i].text), PLENTY, &thing_table, &t, &err),
            cases[i].code);
        assert_string_equal(err.message, cases[i].message);
        assert_memory_equal(&t, &zero, sizeof(t));
    }
}

static void reading_survives_each_allocation_that_fails(void **state)
{
    (void)state;
    static const struct thing zero;
    enum error_code code;
    uint64_t n = 0;
    struct thing t;
    do {
        struct error err;
        mem_fail_after(n++);
        code = json_read(thing_full, strlen(thing_full), PLENTY, &thing_table, &t, &err);
        mem_fail_never();
        if (code != ERR_OK) {
            assert_int_equal(code, ERR_NO_MEMORY);
            assert_int_equal(err.code, ERR_NO_MEMORY);
            assert_memory_equal(&t, &zero, sizeof(t));
        }
    } while (code != ERR_OK);
    /* The document, and each string, array and raw text. */
    assert_true(n > 14);
    assert_string_equal(t.name, "caf\xC3\xA9 \"x\"\n");
    json_release(&thing_table, &t);
}

static void a_half_decoded_struct_can_be_released(void **state)
{
    (void)state;
    for (uint64_t n = 0; n < 20; n++) {
        struct json_doc *doc = NULL;
        struct problems ps = {0};
        struct thing t;
        assert_int_equal(json_parse(thing_full, strlen(thing_full), PLENTY, &doc, NULL), ERR_OK);
        mem_fail_after(n);
        json_decode(json_root(doc), &thing_table, "", &t, &ps);
        uint64_t failed = mem_fail_count();
        mem_fail_never();
        assert_int_equal(ps.no_memory, failed > 0);
        json_release(&thing_table, &t);
        problems_done(&ps);
        json_free(doc);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_full_document_fills_every_field),
        cmocka_unit_test(what_is_absent_has_its_fallback_or_is_zero),
        cmocka_unit_test(items_of_an_array_have_their_fallbacks_too),
        cmocka_unit_test(a_faulty_value_leaves_the_fallback),
        cmocka_unit_test(every_wrong_kind_is_named),
        cmocka_unit_test(bounds_are_named),
        cmocka_unit_test(the_bounds_themselves_are_taken),
        cmocka_unit_test(only_whole_numbers_that_a_double_carries_are_integers),
        cmocka_unit_test(seconds_are_rounded_to_the_nearest_millisecond),
        cmocka_unit_test(seconds_without_bounds_still_fit_the_milliseconds),
        cmocka_unit_test(seconds_may_be_a_text_where_the_table_says_so),
        cmocka_unit_test(misspelt_names_get_the_closest_one),
        cmocka_unit_test(required_fields_are_missed_with_what_they_take),
        cmocka_unit_test(paths_begin_with_the_one_given),
        cmocka_unit_test(odd_names_are_quoted_in_paths_and_messages),
        cmocka_unit_test(an_open_table_passes_over_what_it_does_not_know),
        cmocka_unit_test(fields_are_found_in_any_order),
        cmocka_unit_test(a_document_wrong_in_many_places_is_read_in_bounded_time),
        cmocka_unit_test(reading_gives_the_first_problem_and_nothing_else),
        cmocka_unit_test(reading_survives_each_allocation_that_fails),
        cmocka_unit_test(a_half_decoded_struct_can_be_released),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
