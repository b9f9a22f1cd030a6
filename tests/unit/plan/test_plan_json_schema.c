#include "common/base/cleanup.h"
#include "handlers/catalog.h"
#include "support_plan_json.h"

#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { SCHEMA_MAX = 1024 * 1024 };

static struct json_doc *schema_of(const struct step_catalog *catalog)
{
    AUTO_BUF struct buf b = BUF_INIT;
    plan_schema(&b, catalog);
    assert_int_equal(buf_check(&b, NULL), ERR_OK);
    struct json_doc *doc = NULL;
    struct error err = {0};
    enum error_code code = json_parse(b.data, b.len, SCHEMA_MAX, &doc, &err);
    if (code != ERR_OK)
        print_error("%s\n", err.message);
    assert_int_equal(code, ERR_OK);
    return doc;
}

static const struct json_value *item(const struct json_value *array, size_t i)
{
    const struct json_value *value = json_first(array);
    for (; value && i > 0; i--)
        value = json_next(value);
    assert_non_null(value);
    return value;
}

static const struct json_value *get(const struct json_value *object, const char *name)
{
    const struct json_value *value = json_get(object, name);
    if (!value)
        print_error("no \"%s\"\n", name);
    assert_non_null(value);
    return value;
}

static const struct json_value *steps_of(const struct json_value *root)
{
    const struct json_value *tied = item(get(root, "allOf"), 2);
    return get(get(get(tied, "properties"), "steps"), "items");
}

static void a_schema_says_which_draft_it_follows(void **state)
{
    (void)state;
    struct json_doc *doc = schema_of(&handler_catalog);
    assert_string_equal(json_string(get(json_root(doc), "$schema")),
                        "https://json-schema.org/draft/2020-12/schema");
    json_free(doc);
}

static void a_schema_has_every_field_of_a_plan(void **state)
{
    (void)state;
    struct json_doc *doc = schema_of(&handler_catalog);
    const struct json_value *plan = item(get(json_root(doc), "allOf"), 0);
    const struct json_value *properties = get(plan, "properties");
    static const char *const names[] = {"name",  "serverID",        "servers",  "vars",   "secrets",
                                        "steps", "rolloutStrategy", "rollback", "signing"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        (void)get(properties, names[i]);
    assert_int_equal(json_count(properties), ARRAY_LEN(names));
    assert_false(json_bool(get(plan, "additionalProperties")));
    json_free(doc);
}

static void a_schema_has_each_step_type_with_its_params(void **state)
{
    (void)state;
    struct json_doc *doc = schema_of(&handler_catalog);
    const struct json_value *steps = steps_of(json_root(doc));
    const struct json_value *rules = get(steps, "allOf");
    assert_int_equal(json_count(rules), handler_catalog.count);
    for (size_t i = 0; i < handler_catalog.count; i++) {
        const struct step_type *type = handler_catalog.types[i];
        const struct json_value *rule = item(rules, i);
        const struct json_value *is = get(get(get(rule, "if"), "properties"), "type");
        assert_string_equal(json_string(get(is, "const")), type->name);
        const struct json_value *then = get(rule, "then");
        const struct json_value *params = get(get(then, "properties"), "params");
        bool any_required = false;
        for (size_t f = 0; f < type->params->count; f++) {
            (void)get(get(params, "properties"), type->params->fields[f].name);
            any_required = any_required || (type->params->fields[f].flags & JSON_REQUIRED) != 0;
        }
        /* Of a script's one of two is; an upgrade of security alone names no package; a reboot
         * needs none. */
        if (any_required)
            assert_string_equal(json_string(item(get(then, "required"), 0)), "params");
        else
            assert_true(type == &script_type || type == &yum_upgrade_type || type == &reboot_type);
    }
    json_free(doc);
}

static void params_may_be_left_out_where_none_is_required(void **state)
{
    (void)state;
    static const struct json_table empty = {.name = "none", .size = 8};
    static const struct step_type nothing = {
        .name = "nothing", .doc = "Nothing.", .params = &empty};
    static const struct step_type *const types[] = {&nothing};
    static const struct step_catalog catalog = {types, 1};
    struct json_doc *doc = schema_of(&catalog);
    const struct json_value *rule = item(get(steps_of(json_root(doc)), "allOf"), 0);
    assert_null(json_get(get(rule, "then"), "required"));
    json_free(doc);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_schema_says_which_draft_it_follows),
        cmocka_unit_test(a_schema_has_every_field_of_a_plan),
        cmocka_unit_test(a_schema_has_each_step_type_with_its_params),
        cmocka_unit_test(params_may_be_left_out_where_none_is_required),
    };
    return cmocka_run_group_tests_name("plan_json_schema", tests, NULL, NULL);
}
