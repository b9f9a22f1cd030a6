#include "common/values/template.h"

#include "common/base/alloc.h"
#include "common/base/cleanup.h"
#include "unit/values/support_scope.h"

#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void expect(const char *text, const char *wanted)
{
    AUTO_BUF struct buf b = BUF_INIT;
    struct error err = {0};
    if (template_fill(text, &test_scope, &b, &err) != ERR_OK)
        fail_msg("%s: %s", text, err.message);
    assert_string_equal(b.data ? b.data : "", wanted);
}

static void names_are_filled_in(void **state)
{
    (void)state;
    expect("", "");
    expect("no name", "no name");
    expect("${server.id}", "web-1");
    expect("http://${server.id}:${vars.port}/", "http://web-1:8080/");
    expect("virtual=${facts.virtual}", "virtual=true");
    expect("${server.id}${server.id}", "web-1web-1");
}

static void what_is_no_name_of_ours_stands_for_itself(void **state)
{
    (void)state;
    expect("${HOME} $HOME $ ${ ${} ${vars} ${vars.} ${server.name}", "${HOME} $HOME $ ${ ${} "
                                                                     "${vars} ${vars.} "
                                                                     "${server.name}");
    expect("${vars.port", "${vars.port");
    expect("${ vars.port }", "${ vars.port }");
    expect("$$", "$$");
    expect("$${HOME}", "$${HOME}");
    assert_false(template_has("${HOME}"));
    assert_true(template_has("a ${vars.x}"));
}

static void a_name_is_escaped_by_a_second_dollar(void **state)
{
    (void)state;
    expect("$${vars.port}", "${vars.port}");
    expect("$$${vars.port}", "$${vars.port}");
    assert_true(template_has("$${vars.port}"));
}

static void fill_json(const char *json, enum error_code wanted_code, const char *wanted)
{
    AUTO_BUF struct buf b = BUF_INIT;
    struct error err = {0};
    struct json_doc *doc = NULL;
    assert_int_equal(json_parse(json, strlen(json), 1 << 20, &doc, &err), ERR_OK);
    enum error_code code = template_json_fill(json_root(doc), "params", &test_scope, &b, &err);
    json_free(doc);
    if (code != wanted_code)
        fail_msg("%s: %s", json, err.message);
    assert_string_equal(code == ERR_OK ? b.data : err.message, wanted);
}

static void a_lone_name_keeps_its_kind(void **state)
{
    (void)state;
    fill_json("{\"port\":\"${vars.port}\",\"on\":\"${facts.virtual}\",\"d\":\"${facts.disks}\"}",
              ERR_OK, "{\"port\":8080,\"on\":true,\"d\":[\"sda\",\"sdb\"]}");
    fill_json("{\"port\":\"port ${vars.port}\"}", ERR_OK, "{\"port\":\"port 8080\"}");
}

static void json_is_filled_in_at_any_depth_and_nowhere_else(void **state)
{
    (void)state;
    fill_json("{\"${server.id}\":[1,null,true,{\"a\":[\"${server.id}\",\"$${server.id}\"]}]}",
              ERR_OK, "{\"${server.id}\":[1,null,true,{\"a\":[\"web-1\",\"${server.id}\"]}]}");
    fill_json("\"say \\\"${server.id}\\\"\"", ERR_OK, "\"say \\\"web-1\\\"\"");
}

static void a_fault_is_told_with_its_path(void **state)
{
    (void)state;
    fill_json("{\"a\":1,\"args\":[\"x\",{\"b\":\"${vars.no}\"}]}", ERR_NOT_FOUND,
              "params.args[1].b: vars.no is not defined: the plan has no such variable (\"vars\")");
    fill_json("{\"a\":\"on ${facts.disks}\"}", ERR_INVALID,
              "params.a: facts.disks is a list, which cannot stand among other text");
}

static bool put_name(void *ctx, const char *name)
{
    struct buf *b = ctx;
    buf_printf(b, "%s ", name);
    return strcmp(name, "vars.stop") != 0;
}

static void the_names_of_a_document_are_told(void **state)
{
    (void)state;
    static const char json[] = "{\"${vars.no}\":[\"${vars.a} ${facts.b}\",{\"c\":\"$${vars.no}\","
                               "\"d\":\"${vars.stop}\"}],\"e\":\"${vars.f}\"}";
    AUTO_BUF struct buf b = BUF_INIT;
    struct json_doc *doc = NULL;
    assert_int_equal(json_parse(json, strlen(json), 1 << 20, &doc, NULL), ERR_OK);
    template_json_names(json_root(doc), put_name, &b);
    json_free(doc);
    assert_string_equal(b.data, "vars.a facts.b vars.stop ");
}

static void what_grows_too_long_is_refused(void **state)
{
    (void)state;
    AUTO_BUF struct buf text = BUF_INIT;
    AUTO_BUF struct buf out = BUF_INIT;
    struct error err = {0};
    while (text.len <= VALUE_TEXT_MAX)
        buf_puts(&text, "long ");
    expect(text.data, text.data);
    buf_puts(&text, "${server.id}");
    assert_int_equal(template_fill(text.data, &test_scope, &out, &err), ERR_LIMIT);
    assert_string_equal(err.message, "longer than 65536 bytes with its values filled in");
}

static void no_memory_is_an_error(void **state)
{
    (void)state;
    static const char json[] = "{\"a\":[\"${server.id} and more than the first piece of memory\"]}";
    struct json_doc *doc = NULL;
    assert_int_equal(json_parse(json, strlen(json), 1 << 20, &doc, NULL), ERR_OK);
    for (uint64_t n = 0;; n++) {
        AUTO_BUF struct buf b = BUF_INIT;
        struct error err = {0};
        mem_fail_after(n);
        enum error_code code = template_json_fill(json_root(doc), "", &test_scope, &b, &err);
        bool failed = mem_fail_count() > 0;
        mem_fail_never();
        assert_int_equal(code, failed ? ERR_NO_MEMORY : ERR_OK);
        if (!failed)
            break;
    }
    json_free(doc);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_are_filled_in),
        cmocka_unit_test(what_is_no_name_of_ours_stands_for_itself),
        cmocka_unit_test(a_name_is_escaped_by_a_second_dollar),
        cmocka_unit_test(a_lone_name_keeps_its_kind),
        cmocka_unit_test(json_is_filled_in_at_any_depth_and_nowhere_else),
        cmocka_unit_test(a_fault_is_told_with_its_path),
        cmocka_unit_test(the_names_of_a_document_are_told),
        cmocka_unit_test(what_grows_too_long_is_refused),
        cmocka_unit_test(no_memory_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
