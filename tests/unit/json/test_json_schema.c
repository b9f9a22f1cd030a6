#include "common/json/json.h"

#include "common/base/cleanup.h"
#include "unit/json/support_tables.h"

#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* The schema of a thing, parsed; it must be JSON without duplicates. */
static struct json_doc *thing_schema(void)
{
    AUTO_BUF struct buf b = BUF_INIT;
    struct json_doc *doc = NULL;
    struct error err;
    json_schema(&b, &thing_table);
    assert_int_equal(buf_check(&b, NULL), ERR_OK);
    if (json_parse(b.data, b.len, b.len, &doc, &err) != ERR_OK)
        fail_msg("%s", err.message);
    return doc;
}

static void assert_property(const struct json_doc *doc, const char *name, const char *expected)
{
    AUTO_BUF struct buf b = BUF_INIT;
    const struct json_value *properties = json_get(json_root(doc), "properties");
    json_write_value(&b, json_get(properties, name));
    assert_string_equal(b.data, expected);
}

static void a_table_becomes_a_closed_object(void **state)
{
    (void)state;
    struct json_doc *doc = thing_schema();
    const struct json_value *root = json_root(doc);
    AUTO_BUF struct buf required = BUF_INIT;
    assert_string_equal(json_string(json_get(root, "$schema")),
                        "https://json-schema.org/draft/2020-12/schema");
    assert_string_equal(json_string(json_get(root, "type")), "object");
    assert_string_equal(json_string(json_get(root, "title")), "thing");
    assert_string_equal(json_string(json_get(root, "description")), "A thing of every kind.");
    assert_int_equal(json_kind(json_get(root, "additionalProperties")), JSON_IS_BOOL);
    assert_false(json_bool(json_get(root, "additionalProperties")));
    json_write_value(&required, json_get(root, "required"));
    assert_string_equal(required.data, "[\"name\"]");
    assert_int_equal(json_count(json_get(root, "properties")), thing_table.count);
    json_free(doc);
}

static void seconds_that_may_be_a_text_say_so(void **state)
{
    (void)state;
    AUTO_BUF struct buf b = BUF_INIT;
    static const struct json_field field = {
        .type = JSON_SECONDS, .flags = JSON_SECONDS_TEXT, .max = 9, .doc = "A wait."};
    json_schema_field(&b, &field);
    assert_string_equal(b.data, "{\"anyOf\":[{\"type\":\"number\",\"minimum\":0,\"maximum\":9},"
                                "{\"type\":\"string\"}],\"description\":\"A wait.\"}");
}

static void every_kind_of_field_has_its_schema(void **state)
{
    (void)state;
    struct json_doc *doc = thing_schema();
    assert_property(doc, "name",
                    "{\"type\":\"string\",\"maxLength\":32,\"description\":\"What it is "
                    "\\\"called\\\".\"}");
    assert_property(doc, "on", "{\"type\":\"boolean\",\"default\":true}");
    assert_property(doc, "count", "{\"type\":\"integer\",\"minimum\":-5,\"maximum\":100}");
    assert_property(doc, "ratio", "{\"type\":\"number\"}");
    assert_property(doc, "delaySeconds",
                    "{\"type\":\"number\",\"minimum\":0,\"maximum\":3600,\"default\":1.5}");
    assert_property(doc, "color", "{\"enum\":[\"red\",\"green\"],\"default\":\"green\"}");
    assert_property(doc, "limits",
                    "{\"type\":\"object\",\"title\":\"limits\",\"properties\":{\"attempts\":{"
                    "\"type\":\"integer\",\"minimum\":1,\"maximum\":10,\"description\":"
                    "\"Attempts.\",\"default\":3},\"factor\":{\"type\":\"number\",\"minimum\":1,"
                    "\"default\":2.5}},\"required\":[],\"additionalProperties\":false,"
                    "\"description\":\"What is allowed.\"}");
    assert_property(doc, "tags",
                    "{\"type\":\"array\",\"items\":{\"type\":\"string\",\"minLength\":1,"
                    "\"maxLength\":64}}");
    assert_property(doc, "grid",
                    "{\"type\":\"array\",\"items\":{\"type\":\"array\",\"items\":{\"type\":"
                    "\"integer\"}}}");
    assert_property(doc, "extra",
                    "{\"type\":[\"null\",\"boolean\",\"number\",\"string\",\"array\","
                    "\"object\"]}");
    assert_property(doc, "options", "{\"type\":\"object\"}");
    assert_property(doc, "share", "{\"type\":\"string\",\"pattern\":\"^[0-9]+%$\"}");
    json_free(doc);
}

static void the_bounds_of_an_array_are_those_of_its_items_number(void **state)
{
    (void)state;
    struct json_doc *doc = thing_schema();
    const struct json_value *parts = json_get(json_get(json_root(doc), "properties"), "parts");
    assert_true(json_number(json_get(parts, "minItems")) == 1);
    assert_true(json_number(json_get(parts, "maxItems")) == 3);
    assert_string_equal(json_string(json_get(json_get(parts, "items"), "title")), "part");
    json_free(doc);
}

static void an_open_table_allows_other_members(void **state)
{
    (void)state;
    static const struct json_table open = {.name = "open", .size = 1, .open = true};
    AUTO_BUF struct buf b = BUF_INIT;
    json_schema(&b, &open);
    assert_string_equal(b.data,
                        "{\"$schema\":\"https://json-schema.org/draft/2020-12/schema\",\"type\":"
                        "\"object\",\"title\":\"open\",\"properties\":{},\"required\":[],"
                        "\"additionalProperties\":true}");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_table_becomes_a_closed_object),
        cmocka_unit_test(every_kind_of_field_has_its_schema),
        cmocka_unit_test(seconds_that_may_be_a_text_say_so),
        cmocka_unit_test(the_bounds_of_an_array_are_those_of_its_items_number),
        cmocka_unit_test(an_open_table_allows_other_members),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
