/* Which artifacts a plan names: found by the rule of a field, whatever the step type. */
#include "common/base/alloc.h"
#include "common/base/cleanup.h"
#include "common/plan/artifact.h"
#include "common/plan/plan_json.h"

#include <stdio.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define DIGITS "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcde"
#define ONE "sha256:" DIGITS "1"
#define TWO "sha256:" DIGITS "2"

struct inner {
    char *source;
};
struct params {
    char *source, *note;
    struct array more;  /* char * */
    struct array parts; /* struct inner */
    struct inner inner;
};

#define SOURCE(struct_)                                                                            \
    {                                                                                              \
        .name = "source", .type = JSON_STRING, JSON_AT(struct_, source), .flags = JSON_OMIT_EMPTY, \
        .check = artifact_check_name, .doc = "An artifact."                                        \
    }
static const struct json_field inner_fields[] = {SOURCE(struct inner)};
static const struct json_table inner_table =
    JSON_TABLE("inner", struct inner, inner_fields, "A part.");
static const struct json_field inner_item = {.type = JSON_OBJECT, .table = &inner_table};
static const struct json_field name_item = {
    .type = JSON_STRING, .check = artifact_check_name, .doc = "An artifact."};
static const struct json_field fields[] = {
    SOURCE(struct params),
    {.name = "note",
     .type = JSON_STRING,
     JSON_AT(struct params, note),
     .flags = JSON_OMIT_EMPTY,
     .doc = "Any text."},
    {.name = "more",
     .type = JSON_ARRAY,
     JSON_AT(struct params, more),
     .flags = JSON_OMIT_EMPTY,
     .item = &name_item,
     .doc = "Artifacts."},
    {.name = "parts",
     .type = JSON_ARRAY,
     JSON_AT(struct params, parts),
     .flags = JSON_OMIT_EMPTY,
     .item = &inner_item,
     .doc = "Parts."},
    {.name = "inner",
     .type = JSON_OBJECT,
     JSON_AT(struct params, inner),
     .table = &inner_table,
     .doc = "A part."},
};
static const struct json_table table = JSON_TABLE("unpack", struct params, fields, "Params.");
static const struct step_type type = {
    .name = "unpack", .doc = "Unpacks.", .undo_doc = "Nothing.", .params = &table};
static const struct step_type *const types[] = {&type};
static const struct step_catalog catalog = {types, ARRAY_LEN(types)};

static void put(void *ctx, const char *path, const char *digest)
{
    buf_printf(ctx, "%s=%s ", path, digest);
}

/* "PATH=DIGITS " of each; the caller frees. */
static char *named(const char *vars, const char *params)
{
    AUTO_BUF struct buf found = BUF_INIT;
    struct problems problems = {0};
    struct error err = {0};
    char text[4096];
    AUTO(plan_free) struct plan *plan = NULL;
    (void)snprintf(text, sizeof(text),
                   "{\"servers\":[\"a\"],\"vars\":%s,\"steps\":[{\"name\":\"none\",\"type\":"
                   "\"unpack\"},{\"name\":\"s\",\"type\":\"unpack\",\"params\":%s}]}",
                   vars, params);
    enum error_code code = plan_parse(text, strlen(text), &catalog, &plan, &problems, &err);
    if (code != ERR_OK)
        fail_msg("%s: %s", err.message, problems.count > 0 ? problems.items[0].message : "");
    assert_int_equal(plan_artifacts(plan, &catalog, put, &found, &err), ERR_OK);
    problems_done(&problems);
    return buf_take(&found, NULL);
}

static void expect(const char *vars, const char *params, const char *wanted)
{
    AUTO_FREE char *found = named(vars, params);
    assert_string_equal(found, wanted);
}

static void what_is_named_outright_is_found_with_its_path(void **state)
{
    (void)state;
    expect("{}", "{\"source\":\"" ONE "\"}", "steps[1].params.source=" DIGITS "1 ");
    expect("{}", "{\"more\":[\"" ONE "\",\"" TWO "\"]}",
           "steps[1].params.more[0]=" DIGITS "1 steps[1].params.more[1]=" DIGITS "2 ");
    expect("{}", "{\"parts\":[{},{\"source\":\"" TWO "\"}],\"inner\":{\"source\":\"" ONE "\"}}",
           "steps[1].params.parts[1].source=" DIGITS "2 steps[1].params.inner.source=" DIGITS "1 ");
    expect("{}", "{}", "");
}

static void a_text_that_is_no_artifacts_field_is_none(void **state)
{
    (void)state;
    expect("{}", "{\"note\":\"" ONE "\"}", "");
}

static void what_vars_alone_stand_for_is_found(void **state)
{
    (void)state;
    expect("{\"app\":\"" ONE "\"}", "{\"source\":\"${vars.app}\"}",
           "steps[1].params.source=" DIGITS "1 ");
    expect("{\"end\":\"2\"}", "{\"source\":\"sha256:" DIGITS "${vars.end}\"}",
           "steps[1].params.source=" DIGITS "2 ");
}

static void what_is_known_on_the_server_alone_is_not_looked_for(void **state)
{
    (void)state;
    expect("{\"app\":\"" ONE "\"}", "{\"source\":\"${server.labels.app}\",\"note\":\"" TWO "\"}",
           "");
    expect("{}", "{\"source\":\"sha256:${server.labels.app}\"}", "");
}

static void want_of_memory_is_told(void **state)
{
    (void)state;
    static const char text[] = "{\"servers\":[\"a\"],\"vars\":{\"app\":\"" ONE
                               "\"},\"steps\":[{\"name\":\"s\",\"type\":\"unpack\",\"params\":{"
                               "\"source\":\"${vars.app}\"}}]}";
    struct problems problems = {0};
    struct error err = {0};
    AUTO(plan_free) struct plan *plan = NULL;
    assert_int_equal(plan_parse(text, sizeof(text) - 1, &catalog, &plan, &problems, &err), ERR_OK);
    for (uint64_t n = 0;; n++) {
        AUTO_BUF struct buf found = BUF_INIT;
        assert_int_equal(buf_reserve(&found, 1024, NULL), ERR_OK);
        mem_fail_after(n);
        enum error_code code = plan_artifacts(plan, &catalog, put, &found, &err);
        mem_fail_never();
        if (code == ERR_OK) {
            assert_string_equal(found.data, "steps[0].params.source=" DIGITS "1 ");
            assert_true(n > 3);
            break;
        }
        assert_int_equal(code, ERR_NO_MEMORY);
    }
    problems_done(&problems);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_named_outright_is_found_with_its_path),
        cmocka_unit_test(a_text_that_is_no_artifacts_field_is_none),
        cmocka_unit_test(what_vars_alone_stand_for_is_found),
        cmocka_unit_test(what_is_known_on_the_server_alone_is_not_looked_for),
        cmocka_unit_test(want_of_memory_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
