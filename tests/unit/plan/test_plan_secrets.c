/* References to secrets in a plan, and where placeholders of them may stand. */
#include "common/plan/plan_secrets.h"

#include "common/base/cleanup.h"
#include "handlers/catalog.h"
#include "support_plan_json.h"

#include <stdio.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* A plan with these secrets and one step; static. */
static const char *plan_text(const char *secrets, const char *type, const char *params)
{
    static char text[4096];
    (void)snprintf(text, sizeof(text),
                   "{\"servers\":[\"a\"],\"secrets\":%s,\"steps\":[{\"name\":\"s\",\"type\":\"%s\","
                   "\"params\":%s}]}",
                   secrets, type, params);
    return text;
}

#define TOKEN "{\"t\":{\"env\":\"TOKEN\"}}"
#define ECHO "echo", "{\"message\":\"m\"}"

static void references_are_kept_by_name_and_read_again(void **state)
{
    (void)state;
    AUTO_SECRETS struct plan_secrets secrets = {0};
    struct plan *read = NULL;
    AUTO(plan_free)
    struct plan *plan = parse_good(
        plan_text("{\"z.y\":{\"file\":\"/etc/z\"},\"a\":{\"env\":\"A_1\"},\"n\":null}", ECHO));
    assert_string_equal(plan->secrets_json,
                        "{\"a\":{\"env\":\"A_1\"},\"z.y\":{\"file\":\"/etc/z\"}}");
    AUTO_FREE char *text = written(plan);
    assert_int_equal(plan_read(text, strlen(text), &read, NULL), ERR_OK);
    AUTO_FREE char *again = written(read);
    assert_string_equal(text, again);
    plan_free(read);
    assert_int_equal(plan_secrets_read(plan->secrets_json, &secrets, NULL), ERR_OK);
    assert_int_equal(secrets.count, 2);
    assert_string_equal(plan_secrets_find(&secrets, "z.y")->file, "/etc/z");
    assert_string_equal(plan_secrets_find(&secrets, "a")->env, "A_1");
    assert_null(plan_secrets_find(&secrets, "z"));
}

static void no_references_are_none(void **state)
{
    (void)state;
    AUTO_SECRETS struct plan_secrets secrets = {0};
    AUTO(plan_free) struct plan *plan = parse_good(plan_text("{}", ECHO));
    assert_null(plan->secrets_json);
    assert_int_equal(plan_secrets_read(NULL, &secrets, NULL), ERR_OK);
    assert_int_equal(secrets.count, 0);
}

static void a_reference_says_one_of_the_two(void **state)
{
    (void)state;
    static const char *const wrong[][3] = {
        {"{\"t\":{}}", "secrets.t", "must say one of the two"},
        {"{\"t\":{\"env\":\"A\",\"file\":\"/a\"}}", "secrets.t", "must say one of the two"},
        {"{\"t\":{\"env\":\"A-B\"}}", "secrets.t.env", "a variable's name"},
        {"{\"t\":{\"env\":\"1A\"}}", "secrets.t.env", "a variable's name"},
        {"{\"t\":{\"file\":\"a\"}}", "secrets.t.file", "an absolute path"},
        {"{\"t\":{\"file\":\"/a\\nb\"}}", "secrets.t.file", "an absolute path"},
        {"{\"t\":{\"value\":\"x\"}}", "secrets.t.value", "unknown field"},
        {"{\"t\":\"x\"}", "secrets.t", "an object"},
        {"{\"t t\":{\"env\":\"A\"}}", "secrets", "\"t t\" is no name"},
        {"{\"t.\":{\"env\":\"A\"}}", "secrets", "\"t.\" is no name"},
        {"[]", "secrets", "must be an object"},
    };
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++)
        assert_has_problem(plan_text(wrong[i][0], ECHO), wrong[i][1], wrong[i][2]);
}

static void their_number_is_bounded(void **state)
{
    (void)state;
    for (int count = PLAN_MAX_SECRETS; count <= PLAN_MAX_SECRETS + 1; count++) {
        AUTO_BUF struct buf b = BUF_INIT;
        for (int i = 0; i < count; i++)
            buf_printf(&b, "%s\"s%d\":{\"env\":\"A\"}", i > 0 ? "," : "{", i);
        buf_puts(&b, "}");
        if (count > PLAN_MAX_SECRETS)
            assert_has_problem(plan_text(b.data, ECHO), "secrets", "at most 64 secrets");
        else
            plan_free(parse_good(plan_text(b.data, ECHO)));
    }
}

#define USE "\"x ${secrets.t}\""

static void secrets_stand_in_params_that_nobody_else_sees(void **state)
{
    (void)state;
    static const char *const right[][2] = {
        {"script", "{\"script\":\"x\",\"env\":{\"A\":" USE "},\"stdin\":" USE "}"},
        {"script",
         "{\"inline\":" USE ",\"rollbackInline\":" USE ",\"checkInline\":\"${secrets.t}\"}"},
        {"file_write", "{\"path\":\"/a\",\"content\":\"${secrets.t}\"}"},
        {"http_check", "{\"url\":\"http://a/\",\"method\":\"POST\",\"headers\":{\"A\":" USE
                       "},\"body\":" USE "}"},
    };
    for (size_t i = 0; i < ARRAY_LEN(right); i++) {
        AUTO(plan_free)
        struct plan *plan = parse_good(plan_text(TOKEN, right[i][0], right[i][1]));
        assert_true(plan_has_values(plan));
        assert_non_null(strstr(plan_step(plan, 0)->params_json, "${secrets.t}"));
    }
}

static void anywhere_else_they_are_an_error_that_says_where_they_may(void **state)
{
    (void)state;
    static const char *const wrong[][4] = {
        {"script", "{\"script\":\"x\",\"args\":[\"a\"," USE "]}", "steps[0].params.args[1]",
         "secrets.t: a secret cannot stand here, where others could see it; of type script it can "
         "stand in inline, rollbackInline, checkInline, env, stdin"},
        {"script", "{\"script\":" USE "}", "steps[0].params.script", "cannot stand here"},
        {"file_write", "{\"content\":\"c\",\"path\":\"/${secrets.t}\"}", "steps[0].params.path",
         "of type file_write it can stand in content"},
        {"http_check", "{\"url\":\"http://${secrets.t}/\"}", "steps[0].params.url",
         "it can stand in headers, body"},
        {"echo", "{\"message\":" USE "}", "steps[0].params.message",
         "secrets.t: a step of type echo can use no secrets"},
        {"script", "{\"inline\":\"${secrets.u}\"}", "steps[0].params.inline",
         "secrets.u is not defined: the plan's \"secrets\" have no such name"},
    };
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++)
        assert_problem(plan_text(TOKEN, wrong[i][0], wrong[i][1]), wrong[i][2], wrong[i][3]);
}

static void outside_of_params_they_are_an_error_too(void **state)
{
    (void)state;
    assert_problem("{\"servers\":[\"a\"],\"secrets\":" TOKEN ",\"vars\":{\"v\":[" USE "]},"
                   "\"steps\":[{\"name\":\"s\",\"type\":\"sleep\",\"params\":{\"duration\":1}}]}",
                   "vars.v[0]", "a secret cannot stand here");
    assert_problem("{\"name\":" USE ",\"servers\":[\"a\"],\"secrets\":" TOKEN
                   ",\"steps\":[{\"name\":\"s\",\"type\":\"sleep\",\"params\":{\"duration\":1}}]}",
                   "name", "a secret cannot stand here");
    assert_problem("{\"servers\":[\"a\"],\"secrets\":{\"t\":{\"env\":\"T\"},\"u\":{\"file\":"
                   "\"/${secrets.t}\"}},\"steps\":[{\"name\":\"s\",\"type\":\"sleep\",\"params\":{"
                   "\"duration\":1}}]}",
                   "secrets.u.file", "a secret cannot stand here");
    assert_problem("{\"servers\":[\"a\"],\"secrets\":" TOKEN ",\"steps\":[{\"name\":\"s\",\"type\":"
                   "\"sleep\",\"params\":{\"duration\":1},\"when\":\"secrets.t == 'a'\"}]}",
                   "steps[0].when", "a condition cannot use a secret");
}

static void what_only_looks_like_one_is_left_alone(void **state)
{
    (void)state;
    plan_free(parse_good(plan_text(TOKEN, "echo", "{\"message\":\"$${secrets.t} ${secrets}\"}")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(references_are_kept_by_name_and_read_again),
        cmocka_unit_test(no_references_are_none),
        cmocka_unit_test(a_reference_says_one_of_the_two),
        cmocka_unit_test(their_number_is_bounded),
        cmocka_unit_test(secrets_stand_in_params_that_nobody_else_sees),
        cmocka_unit_test(anywhere_else_they_are_an_error_that_says_where_they_may),
        cmocka_unit_test(outside_of_params_they_are_an_error_too),
        cmocka_unit_test(what_only_looks_like_one_is_left_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
