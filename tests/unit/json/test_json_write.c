#include "common/json/json.h"

#include "common/base/cleanup.h"
#include "common/base/text.h"

#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { PLENTY = 1024 * 1024 };

static struct json_doc *parsed(const char *text, size_t len)
{
    struct json_doc *doc = NULL;
    struct error err;
    if (json_parse(text, len, PLENTY, &doc, &err) != ERR_OK)
        fail_msg("%s", err.message);
    return doc;
}

static void assert_string(const char *s, size_t len, const char *expected)
{
    AUTO_BUF struct buf b = BUF_INIT;
    json_write_string(&b, s, len);
    assert_string_equal(b.data, expected);
}

static void strings_are_escaped_where_json_asks_for_it(void **state)
{
    (void)state;
    assert_string("", 0, "\"\"");
    assert_string("plain", 5, "\"plain\"");
    assert_string("a\"b\\c/d", 7, "\"a\\\"b\\\\c/d\"");
    assert_string("\b\f\n\r\t\x01\x1F\x7F", 8, "\"\\b\\f\\n\\r\\t\\u0001\\u001f\x7F\"");
    assert_string("\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80", 9,
                  "\"\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80\"");
}

static void what_json_cannot_carry_is_replaced(void **state)
{
    (void)state;
    assert_string("a\0b", 3, "\"a" TEXT_REPLACEMENT "b\"");
    assert_string("a\xFF\xE2\x82z", 5, "\"a" TEXT_REPLACEMENT TEXT_REPLACEMENT "z\"");
    assert_string("\xE2\x82\xAC", 2, "\"" TEXT_REPLACEMENT "\"");
}

static void any_bytes_can_be_read_after_they_were_written(void **state)
{
    (void)state;
    uint64_t seed = 99;
    for (int i = 0; i < 3000; i++) {
        char bytes[24];
        for (size_t j = 0; j < sizeof(bytes); j++) {
            seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
            bytes[j] = (char)(seed >> 56);
        }
        AUTO_BUF struct buf b = BUF_INIT;
        json_write_string(&b, bytes, sizeof(bytes));
        struct json_doc *doc = parsed(b.data, b.len);
        AUTO_BUF struct buf again = BUF_INIT;
        json_write_value(&again, json_root(doc));
        assert_string_equal(again.data, b.data);
        json_free(doc);
    }
}

static void values_are_written_compactly(void **state)
{
    (void)state;
    static const char text[] =
        " { \"a\" : [ 1 , -2.5 , 1e+300 , true , false , null , \"\\u00e9\\n\" ] ,"
        " \"b\\\"c\" : { } , \"d\" : [ ] , \"e\" : { \"f\" : [ { } ] } } ";
    AUTO_BUF struct buf b = BUF_INIT;
    struct json_doc *doc = parsed(text, strlen(text));
    json_write_value(&b, json_root(doc));
    assert_string_equal(b.data, "{\"a\":[1,-2.5,1e+300,true,false,null,\"\xC3\xA9\\n\"],"
                                "\"b\\\"c\":{},\"d\":[],\"e\":{\"f\":[{}]}}");
    json_free(doc);
}

static void values_are_written_indented(void **state)
{
    (void)state;
    static const char text[] = "{\"a\":[1,{\"b\":null}],\"c\":{},\"d\":[]}";
    AUTO_BUF struct buf b = BUF_INIT;
    struct json_doc *doc = parsed(text, strlen(text));
    json_write_pretty(&b, json_root(doc));
    assert_string_equal(b.data, "{\n"
                                "  \"a\": [\n"
                                "    1,\n"
                                "    {\n"
                                "      \"b\": null\n"
                                "    }\n"
                                "  ],\n"
                                "  \"c\": {},\n"
                                "  \"d\": []\n"
                                "}");
    json_free(doc);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(strings_are_escaped_where_json_asks_for_it),
        cmocka_unit_test(what_json_cannot_carry_is_replaced),
        cmocka_unit_test(any_bytes_can_be_read_after_they_were_written),
        cmocka_unit_test(values_are_written_compactly),
        cmocka_unit_test(values_are_written_indented),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
