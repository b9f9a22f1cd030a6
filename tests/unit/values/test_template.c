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

/* ---- Secrets -----------------------------------------------------------------------------------
 */

static enum error_code note_later(void *ctx, const char *name, const struct value *value,
                                  struct error *err)
{
    struct buf *b = ctx;
    (void)err;
    buf_printf(b, "%s=%s ", name, value->kind == VALUE_TEXT ? value->text : "?");
    return ERR_OK;
}

static bool find_first(void *ctx, const char *name, struct value *ret)
{
    (void)ctx;
    return test_scope.find(test_scope.ctx, name, ret);
}

static bool find_secret(void *ctx, const char *name, struct value *ret)
{
    *ret = (struct value){.kind = VALUE_TEXT, .text = "t\"iger"};
    return strcmp(name, "secrets.s") == 0 || find_first(ctx, name, ret);
}

/* Both passes: what is left by the first is `left`, what it notes is `noted`. */
static void fill_twice(const char *json, const char *left, const char *noted, const char *wanted)
{
    AUTO_BUF struct buf notes = BUF_INIT;
    AUTO_BUF struct buf first = BUF_INIT;
    AUTO_BUF struct buf second = BUF_INIT;
    struct json_doc *planned = NULL, *filled = NULL;
    const struct value_scope early = {find_first, &notes, note_later};
    const struct value_scope late = {.find = find_secret};
    assert_int_equal(json_parse(json, strlen(json), 1 << 20, &planned, NULL), ERR_OK);
    assert_int_equal(template_json_fill(json_root(planned), "p", &early, &first, NULL), ERR_OK);
    assert_string_equal(first.data, left);
    assert_string_equal(notes.data ? notes.data : "", noted);
    assert_int_equal(json_parse(first.data, first.len, 1 << 20, &filled, NULL), ERR_OK);
    assert_int_equal(
        template_json_finish(json_root(planned), json_root(filled), "p", &late, &second, NULL),
        ERR_OK);
    assert_string_equal(second.data, wanted);
    json_free(planned);
    json_free(filled);
}

static void texts_with_secrets_are_filled_in_later(void **state)
{
    (void)state;
    fill_twice("{\"a\":\"${server.id}\",\"b\":[\"${secrets.s} on ${server.id}\",1]}",
               "{\"a\":\"web-1\",\"b\":[\"${secrets.s} on ${server.id}\",1]}", "server.id=web-1 ",
               "{\"a\":\"web-1\",\"b\":[\"t\\\"iger on web-1\",1]}");
    fill_twice("\"$${secrets.s} $${server.id} ${secrets.s}\"",
               "\"$${secrets.s} $${server.id} ${secrets.s}\"", "",
               "\"${secrets.s} ${server.id} t\\\"iger\"");
    assert_true(template_has_secret("a ${secrets.s}"));
    assert_false(template_has_secret("a $${secrets.s} ${vars.secrets.s}"));
}

/* vars.trick is "${secrets.s}". */
static void a_value_that_looks_like_a_secret_stays_what_it_is(void **state)
{
    (void)state;
    fill_twice("[\"${vars.trick}\",\"$${secrets.s}\",\"${vars.trick}${secrets.s}\"]",
               "[\"${secrets.s}\",\"${secrets.s}\",\"${vars.trick}${secrets.s}\"]",
               "vars.trick=${secrets.s} ",
               "[\"${secrets.s}\",\"${secrets.s}\",\"${secrets.s}t\\\"iger\"]");
}

static void what_stands_beside_a_secret_must_be_defined_at_once(void **state)
{
    (void)state;
    static const char json[] = "{\"a\":\"${secrets.s}${vars.no}\"}";
    AUTO_BUF struct buf b = BUF_INIT;
    struct json_doc *doc = NULL;
    struct error err = {0};
    const struct value_scope early = {find_first, &b, note_later};
    assert_int_equal(json_parse(json, strlen(json), 1 << 20, &doc, NULL), ERR_OK);
    assert_int_equal(template_json_fill(json_root(doc), "p", &early, &b, &err), ERR_NOT_FOUND);
    assert_non_null(strstr(err.message, "p.a: vars.no is not defined"));
    json_free(doc);
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
        cmocka_unit_test(texts_with_secrets_are_filled_in_later),
        cmocka_unit_test(a_value_that_looks_like_a_secret_stays_what_it_is),
        cmocka_unit_test(what_stands_beside_a_secret_must_be_defined_at_once),
        cmocka_unit_test(what_grows_too_long_is_refused),
        cmocka_unit_test(no_memory_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
