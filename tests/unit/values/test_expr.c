#include "common/values/expr.h"

#include "common/base/alloc.h"
#include "common/base/buf.h"
#include "common/base/cleanup.h"
#include "unit/values/support_scope.h"

#include <stdio.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

DEFINE_CLEANUP(expr_free, struct expr)

static void expect(const char *text, bool yes)
{
    AUTO(expr_free) struct expr *e = NULL;
    struct error err = {0};
    bool got = !yes;
    if (expr_parse(text, &e, &err) != ERR_OK || expr_test(e, &test_scope, &got, &err) != ERR_OK)
        fail_msg("%s: %s", text, err.message);
    if (got != yes)
        fail_msg("%s is %s", text, got ? "true" : "false");
}

static void refuse(const char *text, const char *message)
{
    AUTO(expr_free) struct expr *e = NULL;
    struct error err = {0};
    if (expr_parse(text, &e, &err) == ERR_OK)
        fail_msg("%s is taken", text);
    assert_string_equal(err.message, message);
}

static void fault(const char *text, enum error_code code, const char *message)
{
    AUTO(expr_free) struct expr *e = NULL;
    struct error err = {0};
    bool yes = false;
    assert_int_equal(expr_parse(text, &e, &err), ERR_OK);
    assert_int_equal(expr_test(e, &test_scope, &yes, &err), code);
    assert_string_equal(err.message, message);
}

static void values_of_one_kind_are_compared(void **state)
{
    (void)state;
    expect("facts.os.id == 'debian'", true);
    expect("facts.os.id != \"debian\"", false);
    expect("facts.cpus >= 4", true);
    expect("facts.cpus > 4", false);
    expect("facts.cpus < 4.5", true);
    expect("facts.cpus <= -1e3", false);
    expect("facts.virtual == true", true);
    expect("facts.virtual", true);
    expect("vars.port == 8080", true);
    expect("steps.get.outputs.sum == 'abc'", true);
    expect("'it\\'s' == \"it's\"", true);
}

static void texts_are_ordered_as_versions_are(void **state)
{
    (void)state;
    expect("facts.os.version < '12.10'", true);
    expect("facts.os.version > '9.13'", true);
    expect("facts.os.version >= '12.5'", true);
    expect("'1.9' > '1.10'", false);
}

static void in_looks_into_lists_and_texts(void **state)
{
    (void)state;
    expect("facts.os.id in ['debian', 'ubuntu']", true);
    expect("facts.os.id not in ['debian', 'ubuntu']", false);
    expect("'sdb' in facts.disks", true);
    expect("'sdc' in facts.disks", false);
    expect("4 in facts.disks", false);
    expect("4 in [1, 4]", true);
    expect("'x' in []", false);
    expect("'web' in server.id", true);
    expect("not 'db' in server.id", true);
}

static void or_is_weaker_than_and_and_that_than_not(void **state)
{
    (void)state;
    expect("true or false and false", true);
    expect("(true or false) and false", false);
    expect("not false and false", false);
    expect("not (false and false)", true);
    expect("not not true", true);
    expect("facts.cpus == 4 and server.labels.tier == 'front' or false", true);
}

static void what_is_decided_looks_no_further(void **state)
{
    (void)state;
    expect("true or vars.missing == 1", true);
    expect("false and vars.missing == 1", false);
    expect("defined vars.missing and vars.missing == 1", false);
    expect("defined vars.port and vars.port == 8080", true);
}

static void what_is_not_defined_is_named_with_what_would_define_it(void **state)
{
    (void)state;
    fault("vars.missing == 1", ERR_NOT_FOUND,
          "vars.missing is not defined: the plan has no such variable (\"vars\")");
    fault("server.labels.zone == 'a'", ERR_NOT_FOUND,
          "server.labels.zone is not defined: its agent has no such label (--label NAME=VALUE)");
    fault("'a' == facts.b", ERR_NOT_FOUND,
          "facts.b is not defined: its agent reports no such fact");
    fault("steps.get.outputs.x == 'a'", ERR_NOT_FOUND,
          "steps.get.outputs.x is not defined: no earlier step has put it out");
}

static void kinds_that_do_not_go_together_are_refused(void **state)
{
    (void)state;
    fault("facts.cpus == '4'", ERR_INVALID, "column 1: a number is compared with a text");
    fault("facts.os.id", ERR_INVALID, "column 1: expected true or false, and it is a text");
    fault("true and 1", ERR_INVALID, "column 10: expected true or false, and it is a number");
    fault("not server.id", ERR_INVALID, "column 5: expected true or false, and it is a text");
    fault("true < false", ERR_INVALID,
          "column 1: expected a text or a number, and it is true or false");
    fault("1 in 2", ERR_INVALID, "column 6: expected a list or a text, and it is a number");
    fault("1 in 'abc'", ERR_INVALID, "column 1: expected a text, and it is a number");
    fault("['a'] == ['a']", ERR_INVALID, "column 1: a list stands only to the right of \"in\"");
}

static void what_is_no_expression_is_refused_with_its_place(void **state)
{
    (void)state;
    static const char operand[] = "expected a text in quotes, a number, a list, or a name such as "
                                  "facts.os.id, vars.x, server.labels.x";
    char message[256];
    (void)snprintf(message, sizeof(message), "at the end: %s", operand);
    refuse("", message);
    refuse("true and", message);
    (void)snprintf(message, sizeof(message), "column 1, at \"os.id == 'a'\": %s", operand);
    refuse("os.id == 'a'", message);
    (void)snprintf(message, sizeof(message), "column 1, at \"facts\": %s", operand);
    refuse("facts", message);
    refuse("true true", "column 6, at \"true\": expected an operator, or the end");
    refuse("vars.a = 1", "column 8, at \"= 1\": expected an operator, or the end");
    refuse("(true", "at the end: expected an operator or )");
    refuse("1 in [1", "at the end: expected a comma or ]");
    refuse("'abc", "column 1: the text has no end");
    refuse("'a\\x'", "column 3, at \"\\x'\": expected \\\\, \\', \\\", \\n or \\t");
    refuse("vars.v > 1.2.3", "column 10, at \"1.2.3\": expected a number (a version is a text: "
                             "'1.2.3')");
    refuse("defined 3", "column 9, at \"3\": expected a name, such as facts.os.id");
    refuse("server.name == 'a'", "column 1, at \"server.name \": expected a text in quotes, a "
                                 "number, a list, or a name such as facts.os.id, vars.x, "
                                 "server.labels.x");
}

static void what_is_too_much_is_refused(void **state)
{
    (void)state;
    AUTO_BUF struct buf b = BUF_INIT;
    for (int i = 0; i < EXPR_DEPTH_MAX; i++)
        buf_putc(&b, '(');
    buf_puts(&b, "true");
    for (int i = 0; i < EXPR_DEPTH_MAX; i++)
        buf_putc(&b, ')');
    expect(b.data, true);
    buf_clear(&b);
    for (int i = 0; i <= EXPR_DEPTH_MAX; i++)
        buf_puts(&b, "not ");
    buf_puts(&b, "true");
    refuse(b.data, "column 132: nested more than 32 deep");
    buf_clear(&b);
    buf_puts(&b, "true");
    for (int i = 0; i < EXPR_NODES_MAX / 2; i++)
        buf_puts(&b, " or true");
    refuse(b.data, "more than 512 operands and operators");
    buf_clear(&b);
    for (int i = 0; i <= EXPR_TEXT_MAX; i++)
        buf_putc(&b, ' ');
    refuse(b.data, "longer than 4096 bytes");
}

static bool count_name(void *ctx, const char *name)
{
    struct buf *b = ctx;
    buf_printf(b, "%s ", name);
    return strcmp(name, "vars.stop") != 0;
}

static void the_names_are_told_but_for_those_asked_whether_they_are_defined(void **state)
{
    (void)state;
    AUTO_BUF struct buf b = BUF_INIT;
    AUTO(expr_free) struct expr *e = NULL;
    struct error err = {0};
    assert_int_equal(expr_parse("defined vars.a and vars.b == 1 or 'x' in [vars.b, facts.c] or "
                                "vars.stop or vars.d",
                                &e, &err),
                     ERR_OK);
    expr_names(e, count_name, &b);
    assert_string_equal(b.data, "vars.b vars.b facts.c vars.stop ");
}

static void no_memory_is_an_error(void **state)
{
    (void)state;
    for (uint64_t n = 0;; n++) {
        AUTO(expr_free) struct expr *e = NULL;
        struct error err = {0};
        mem_fail_after(n);
        enum error_code code = expr_parse("vars.a == 'b'", &e, &err);
        bool failed = mem_fail_count() > 0;
        mem_fail_never();
        assert_int_equal(code, failed ? ERR_NO_MEMORY : ERR_OK);
        if (!failed)
            return;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_of_one_kind_are_compared),
        cmocka_unit_test(texts_are_ordered_as_versions_are),
        cmocka_unit_test(in_looks_into_lists_and_texts),
        cmocka_unit_test(or_is_weaker_than_and_and_that_than_not),
        cmocka_unit_test(what_is_decided_looks_no_further),
        cmocka_unit_test(what_is_not_defined_is_named_with_what_would_define_it),
        cmocka_unit_test(kinds_that_do_not_go_together_are_refused),
        cmocka_unit_test(what_is_no_expression_is_refused_with_its_place),
        cmocka_unit_test(what_is_too_much_is_refused),
        cmocka_unit_test(the_names_are_told_but_for_those_asked_whether_they_are_defined),
        cmocka_unit_test(no_memory_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
