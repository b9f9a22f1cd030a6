#include "common/json/json.h"

#include "common/base/cleanup.h"
#include "common/base/clock.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { PLENTY = 64 * 1024 * 1024 };

static struct json_doc *parsed(const char *text)
{
    struct json_doc *doc = NULL;
    struct error err;
    if (json_parse(text, strlen(text), PLENTY, &doc, &err) != ERR_OK)
        fail_msg("%s: %s", text, err.message);
    return doc;
}

static void assert_refused_len(const char *text, size_t len, enum error_code code,
                               const char *message)
{
    struct json_doc *doc = NULL;
    struct error err;
    assert_int_equal(json_parse(text, len, PLENTY, &doc, &err), code);
    assert_null(doc);
    assert_string_equal(err.message, message);
}

static void assert_refused(const char *text, const char *message)
{
    assert_refused_len(text, strlen(text), ERR_INVALID, message);
}

static void values_of_every_kind_are_read(void **state)
{
    (void)state;
    struct json_doc *doc = parsed(
        " {\"a\":[1,-2.5e1,\"x\\u00e9\\n\\ud83d\\ude00\"],\"b\":true,\"c\":null,\"d\":{}} \n");
    const struct json_value *root = json_root(doc);
    assert_int_equal(json_kind(root), JSON_IS_OBJECT);
    assert_int_equal(json_count(root), 4);
    const struct json_value *a = json_get(root, "a");
    assert_int_equal(json_kind(a), JSON_IS_ARRAY);
    const struct json_value *item = json_first(a);
    assert_true(json_number(item) == 1);
    item = json_next(item);
    assert_true(json_number(item) == -25);
    item = json_next(item);
    assert_string_equal(json_string(item), "x\xC3\xA9\n\xF0\x9F\x98\x80");
    assert_null(json_next(item));
    assert_true(json_bool(json_get(root, "b")));
    assert_int_equal(json_kind(json_get(root, "c")), JSON_IS_NULL);
    assert_string_equal(json_name(json_first(root)), "a");
    assert_null(json_name(root));
    assert_null(json_first(json_get(root, "d")));
    assert_null(json_get(root, "A"));
    assert_null(json_next(root));
    json_free(doc);
}

static void asking_for_another_kind_gives_nothing(void **state)
{
    (void)state;
    struct json_doc *doc = parsed("{\"s\":\"x\",\"n\":1}");
    const struct json_value *s = json_get(json_root(doc), "s");
    const struct json_value *n = json_get(json_root(doc), "n");
    assert_null(json_string(n));
    assert_true(json_number(s) == 0);
    assert_false(json_bool(s));
    assert_null(json_get(s, "x"));
    assert_int_equal(json_count(n), 0);
    json_free(doc);
    json_free(NULL);
}

static void a_single_value_is_a_document(void **state)
{
    (void)state;
    static const char *const texts[] = {"5",    "-0", "true", "false", "null",
                                        "\"\"", "[]", "{}",   "1e5",   "\xEF\xBB\xBF{}"};
    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        json_free(parsed(texts[i]));
}

static void the_text_need_not_end_with_a_nul(void **state)
{
    (void)state;
    static const char *const texts[] = {"5", "[1]", "null", "\"ab\"", "{\"a\":1}"};
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        /* On the heap to the byte, so that a sanitizer sees a read past the end. */
        size_t len = strlen(texts[i]);
        AUTO_FREE char *text = mem_alloc(len);
        struct json_doc *doc = NULL;
        memcpy(text, texts[i], len);
        assert_int_equal(json_parse(text, len, len, &doc, NULL), ERR_OK);
        json_free(doc);
    }
}

static void what_is_not_json_is_refused_with_its_place(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        const char *message;
    } cases[] = {
        {"", "line 1, column 1: the text ends where a value is expected"},
        {"  \n ", "line 2, column 2: the text ends where a value is expected"},
        {"{\"a\":1,}", "line 1, column 8: no comma may stand before a closing bracket"},
        {"[1,]", "line 1, column 4: no comma may stand before a closing bracket"},
        {"[1 2]", "line 1, column 4: ',' or ']' is expected"},
        {"{\"a\":1 \"b\":2}", "line 1, column 8: ',' or '}' is expected"},
        {"{\"a\" 1}", "line 1, column 6: ':' is expected after a member name"},
        {"{a:1}", "line 1, column 2: a member name in double quotes is expected"},
        {"{\n  \"caf\xC3\xA9\": x}", "line 2, column 11: a value is expected"},
        {"'a'", "line 1, column 1: a value is expected"},
        {"nul", "line 1, column 1: a value is expected"},
        {"True", "line 1, column 1: a value is expected"},
        {"NaN", "line 1, column 1: a value is expected"},
        {"+1", "line 1, column 1: a value is expected"},
        {"01", "line 1, column 2: a number must not begin with 0"},
        {"-", "line 1, column 2: a digit is expected"},
        {"1.", "line 1, column 3: a digit is expected"},
        {".5", "line 1, column 1: a value is expected"},
        {"1e", "line 1, column 3: a digit is expected"},
        {"0x10", "line 1, column 2: nothing may follow the value"},
        {"1 2", "line 1, column 3: nothing may follow the value"},
        {"{}}", "line 1, column 3: nothing may follow the value"},
        {"[", "line 1, column 2: the text ends where a value is expected"},
        {"\"abc", "line 1, column 5: the text ends in a string"},
        {"\"a\\", "line 1, column 4: no such escape in a string"},
        {"\"\\x\"", "line 1, column 3: no such escape in a string"},
        {"\"\\u12g4\"", "line 1, column 6: \\u takes four hexadecimal digits"},
        {"\"\\uZZZZ\"", "line 1, column 4: \\u takes four hexadecimal digits"},
        {"\"\\u0000\"", "line 1, column 8: a NUL in a string"},
        {"\"\\ud800\"", "line 1, column 8: half of a surrogate pair in a string"},
        {"\"\\ud800\\u0041\"", "line 1, column 14: half of a surrogate pair in a string"},
        {"\"\\udc00\"", "line 1, column 8: half of a surrogate pair in a string"},
        {"\"a\nb\"", "line 1, column 3: a control character in a string must be escaped"},
        {"[1, \"\xC3\"]", "line 1, column 6: the text is not UTF-8"},
        {"\"\xED\xA0\x80\"", "line 1, column 2: the text is not UTF-8"},
        {"\x01{}", "line 1, column 1: a value is expected"},
        {"{} // no", "line 1, column 4: nothing may follow the value"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        assert_refused(cases[i].text, cases[i].message);
}

static void a_nul_in_the_text_is_refused(void **state)
{
    (void)state;
    assert_refused_len("[1]\0", 4, ERR_INVALID, "line 1, column 4: a NUL in the text");
    assert_refused_len("\"a\0b\"", 5, ERR_INVALID, "line 1, column 3: a NUL in the text");
}

static void a_name_that_comes_twice_is_refused_with_its_place(void **state)
{
    (void)state;
    assert_refused("{\"a\":1,\n \"b\":{\"a\":2},\n \"a\":3}",
                   "line 3, column 2: a member is there twice: \"a\"");
    assert_refused("[{}, {\"x\": {\"k\": [1, 2], \"k\": 0}}]",
                   "line 1, column 26: a member is there twice: \"k\"");
    /* Escaped, it is the same name. */
    assert_refused("{\"a\":1,\"\\u0061\":2}", "line 1, column 8: a member is there twice: \"a\"");
    assert_refused("{\"\":1,\"\":2}", "line 1, column 7: a member is there twice: \"\"");
    assert_refused("{\"\\u001b[2J\":1,\"\\u001b[2J\":2}",
                   "line 1, column 16: a member is there twice: \"\\u001b[2J\"");
}

static void names_in_different_case_are_different(void **state)
{
    (void)state;
    json_free(parsed("{\"a\":1,\"A\":2}"));
}

static void numbers_beyond_a_double_are_refused_with_their_place(void **state)
{
    (void)state;
    assert_refused("[1, 1e999]", "line 1, column 5: a number that is too large");
    assert_refused("{\"a\":\n-1e400}", "line 2, column 1: a number that is too large");
    json_free(parsed("1e-999"));
}

static void a_number_of_too_many_characters_is_refused(void **state)
{
    (void)state;
    char text[JSON_NUMBER_MAX + 2];
    memset(text, '1', sizeof(text));
    text[JSON_NUMBER_MAX + 1] = '\0';
    assert_refused(text, "line 1, column 1: a number of too many characters");
    text[JSON_NUMBER_MAX] = '\0';
    struct json_doc *doc = parsed(text);
    assert_true(json_number(json_root(doc)) > 1e62);
    json_free(doc);
}

/* `depth` brackets of a kind, and as many closing ones. */
static char *nested(size_t depth, const char *open, char close)
{
    size_t open_len = strlen(open);
    char *text = mem_alloc(depth * (open_len + 1) + 2);
    assert_non_null(text);
    for (size_t i = 0; i < depth; i++)
        memcpy(text + i * open_len, open, open_len);
    text[depth * open_len] = '1';
    memset(text + depth * open_len + 1, close, depth);
    text[depth * (open_len + 1) + 1] = '\0';
    return text;
}

static void brackets_are_nested_so_deep_and_no_deeper(void **state)
{
    (void)state;
    static const size_t too_deep[] = {JSON_DEPTH_MAX + 1, 10000, 1000000};
    AUTO_FREE char *deepest = nested(JSON_DEPTH_MAX, "[", ']');
    json_free(parsed(deepest));
    for (size_t i = 0; i < ARRAY_LEN(too_deep); i++) {
        AUTO_FREE char *arrays = nested(too_deep[i], "[", ']');
        AUTO_FREE char *objects = nested(too_deep[i], "{\"a\":", '}');
        assert_refused_len(arrays, strlen(arrays), ERR_LIMIT,
                           "line 1, column 65: brackets are nested too deeply");
        assert_refused_len(objects, strlen(objects), ERR_LIMIT,
                           "line 1, column 321: brackets are nested too deeply");
    }
}

static void a_text_past_the_bound_is_refused(void **state)
{
    (void)state;
    struct json_doc *doc = NULL;
    struct error err;
    assert_int_equal(json_parse("[1]", 3, 2, &doc, &err), ERR_LIMIT);
    assert_string_equal(err.message, "a text of 3 bytes, more than the 2 that are taken");
    assert_int_equal(json_parse("[1]", 3, 3, &doc, &err), ERR_OK);
    json_free(doc);
}

static void too_many_values_are_refused(void **state)
{
    (void)state;
    size_t len = 2 * (size_t)JSON_VALUES_MAX + 1;
    AUTO_FREE char *text = mem_alloc(len);
    assert_non_null(text);
    for (size_t i = 0; i < len; i++)
        text[i] = i % 2 == 0 ? ',' : '1';
    text[0] = '[';
    text[len - 1] = ']';
    /* JSON_VALUES_MAX numbers in an array, which is a value too. */
    assert_refused_len(text, len, ERR_LIMIT, "line 1, column 8388608: too many values");
}

/* An object of `count` members, the last with the name of member number `last`. */
static void big_object(struct buf *b, size_t count, size_t last)
{
    buf_putc(b, '{');
    for (size_t i = 0; i < count; i++)
        buf_printf(b, "%s\"m%zu\":0", i > 0 ? "," : "", i + 1 < count ? i : last);
    buf_putc(b, '}');
    assert_int_equal(buf_check(b, NULL), ERR_OK);
}

static void an_object_of_many_members_takes_no_quadratic_time(void **state)
{
    (void)state;
    enum { MEMBERS = 400000 };
    AUTO_BUF struct buf fine = BUF_INIT;
    AUTO_BUF struct buf twice = BUF_INIT;
    struct json_doc *doc = NULL;
    struct error err;
    big_object(&fine, MEMBERS, MEMBERS);
    big_object(&twice, MEMBERS, 5);
    int64_t began_ms = clock_mono_ms();
    assert_int_equal(json_parse(fine.data, fine.len, PLENTY, &doc, &err), ERR_OK);
    assert_int_equal(json_count(json_root(doc)), MEMBERS);
    json_free(doc);
    assert_int_equal(json_parse(twice.data, twice.len, PLENTY, &doc, &err), ERR_INVALID);
    assert_non_null(strstr(err.message, "a member is there twice: \"m5\""));
    /* Each with each would be 8 * 10^10 comparisons. */
    assert_true(clock_mono_ms() - began_ms < 30000);
}

static void a_duplicate_is_found_in_objects_of_any_size(void **state)
{
    (void)state;
    for (size_t count = 2; count < 40; count++) {
        for (size_t last = 0; last < count - 1; last++) {
            AUTO_BUF struct buf b = BUF_INIT;
            struct json_doc *doc = NULL;
            struct error err;
            char expected[64];
            big_object(&b, count, last);
            (void)snprintf(expected, sizeof(expected), "a member is there twice: \"m%zu\"", last);
            assert_int_equal(json_parse(b.data, b.len, PLENTY, &doc, &err), ERR_INVALID);
            assert_non_null(strstr(err.message, expected));
            /* It is the second of the two that is named: the last member begins behind the last
             * comma. */
            (void)snprintf(expected, sizeof(expected),
                           "column %zu:", (size_t)(strrchr(b.data, ',') - b.data) + 2);
            assert_non_null(strstr(err.message, expected));
        }
    }
}

static void parsing_survives_each_allocation_that_fails(void **state)
{
    (void)state;
    AUTO_BUF struct buf b = BUF_INIT;
    big_object(&b, 100, 100);
    enum error_code code;
    uint64_t n = 0;
    do {
        struct json_doc *doc = NULL;
        struct error err;
        mem_fail_after(n++);
        code = json_parse(b.data, b.len, PLENTY, &doc, &err);
        mem_fail_never();
        if (code != ERR_OK) {
            assert_int_equal(code, ERR_NO_MEMORY);
            assert_null(doc);
        }
        json_free(doc);
    } while (code != ERR_OK);
    assert_true(n >= 3);
}

enum { PARSES = 2000, THREADS = 4 };

/* Parses many times; counts in *ret how often the values came out right. */
static void *parse_many(void *ret)
{
    int *right = ret;
    for (int i = 0; i < PARSES; i++) {
        struct json_doc *doc = NULL;
        char text[64];
        int len = snprintf(text, sizeof(text), "{\"a\":[%d,\"x%d\"],\"b\":{\"c\":null}}", i, i);
        if (json_parse(text, (size_t)len, PLENTY, &doc, NULL) != ERR_OK)
            continue;
        const struct json_value *number = json_first(json_get(json_root(doc), "a"));
        *right += (int)json_number(number) == i;
        *right += strtol(json_string(json_next(number)) + 1, NULL, 10) == i;
        json_free(doc);
    }
    return NULL;
}

static void threads_parse_side_by_side(void **state)
{
    (void)state;
    pthread_t threads[THREADS];
    int right[THREADS] = {0};
    for (size_t i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, parse_many, &right[i]), 0);
    for (size_t i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        assert_int_equal(right[i], 2 * PARSES);
    }
}

static void a_document_costs_one_allocation(void **state)
{
    (void)state;
    static const char text[] = "{\"a\":[1,2,3,\"\\u0041\\n\",\"\"],\"bbbb\":{\"c\":\"d\"},\"\":{}}";
    struct json_doc *doc = NULL;
    mem_fail_after(1);
    enum error_code code = json_parse(text, strlen(text), PLENTY, &doc, NULL);
    mem_fail_never();
    assert_int_equal(code, ERR_OK);
    json_free(doc);
}

static void every_beginning_of_a_text_is_refused(void **state)
{
    (void)state;
    static const char text[] = "{\"a\":[1,-2.5e1,\"x\\u00e9\\n\\ud83d\\ude00\"],\"b\":true,\"c\":"
                               "null,\"d\":{\"\xE2\x82\xAC\":0}}";
    for (size_t len = 0; len < strlen(text); len++) {
        AUTO_FREE char *piece = mem_alloc(len + 1);
        struct json_doc *doc = NULL;
        memcpy(piece, text, len);
        assert_int_equal(json_parse(piece, len, PLENTY, &doc, NULL), ERR_INVALID);
        assert_null(doc);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_of_every_kind_are_read),
        cmocka_unit_test(asking_for_another_kind_gives_nothing),
        cmocka_unit_test(a_single_value_is_a_document),
        cmocka_unit_test(the_text_need_not_end_with_a_nul),
        cmocka_unit_test(what_is_not_json_is_refused_with_its_place),
        cmocka_unit_test(a_nul_in_the_text_is_refused),
        cmocka_unit_test(a_name_that_comes_twice_is_refused_with_its_place),
        cmocka_unit_test(names_in_different_case_are_different),
        cmocka_unit_test(numbers_beyond_a_double_are_refused_with_their_place),
        cmocka_unit_test(a_number_of_too_many_characters_is_refused),
        cmocka_unit_test(brackets_are_nested_so_deep_and_no_deeper),
        cmocka_unit_test(a_text_past_the_bound_is_refused),
        cmocka_unit_test(too_many_values_are_refused),
        cmocka_unit_test(an_object_of_many_members_takes_no_quadratic_time),
        cmocka_unit_test(a_duplicate_is_found_in_objects_of_any_size),
        cmocka_unit_test(parsing_survives_each_allocation_that_fails),
        cmocka_unit_test(threads_parse_side_by_side),
        cmocka_unit_test(a_document_costs_one_allocation),
        cmocka_unit_test(every_beginning_of_a_text_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
