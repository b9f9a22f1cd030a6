/* Vars, conditions and placeholders: what can be known without a server. */
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

/* A plan with these vars and steps; static. */
static const char *plan_text(const char *vars, const char *steps)
{
    static char text[4096];
    (void)snprintf(text, sizeof(text), "{\"servers\":[\"a\"],\"vars\":%s,\"steps\":[%s]}", vars,
                   steps);
    return text;
}

#define SLEEP(name_, duration_)                                                                    \
    "{\"name\":\"" name_ "\",\"type\":\"sleep\",\"params\":{\"duration\":\"" duration_ "\"}}"
#define ECHO(name_, message_, more_)                                                               \
    "{\"name\":\"" name_ "\",\"type\":\"echo\",\"params\":{\"message\":\"" message_ "\"}" more_ "}"
#define SCRIPT(name_)                                                                              \
    "{\"name\":\"" name_ "\",\"type\":\"script\",\"params\":{\"script\":\"true\"}}"

static void params_stay_as_they_were_written(void **state)
{
    (void)state;
    AUTO(plan_free)
    struct plan *plan = parse_good(plan_text("{\"a\":{\"b\":2}}", SLEEP("s", "${vars.a.b}")));
    assert_string_equal(plan->vars_json, "{\"a.b\":2}");
    assert_string_equal(plan_step(plan, 0)->params_json, "{\"duration\":\"${vars.a.b}\"}");
    assert_true(plan_has_values(plan));
}

static void what_is_written_is_read_again(void **state)
{
    (void)state;
    struct plan *read = NULL;
    AUTO(plan_free)
    struct plan *plan = parse_good(
        plan_text("{\"a\":[1,\"x\",true]}", ECHO("s", "m", ",\"when\":\"1 in vars.a\"")));
    AUTO_FREE char *text = written(plan);
    assert_int_equal(plan_read(text, strlen(text), &read, NULL), ERR_OK);
    AUTO_FREE char *again = written(read);
    assert_string_equal(text, again);
    assert_string_equal(plan_step(read, 0)->when, "1 in vars.a");
    plan_free(read);
}

static void empty_vars_are_none(void **state)
{
    (void)state;
    AUTO(plan_free) struct plan *plan = parse_good(plan_text("{}", ECHO("s", "m", "")));
    assert_null(plan->vars_json);
    assert_false(plan_has_values(plan));
}

static void params_with_vars_alone_are_checked_as_filled_in(void **state)
{
    (void)state;
    assert_problem(plan_text("{\"d\":\"soon\"}", SLEEP("s", "${vars.d}")),
                   "steps[0].params.duration", "");
    assert_problem(plan_text("{\"d\":-1}", SLEEP("s", "${vars.d}")), "steps[0].params.duration",
                   "");
    assert_problem(plan_text("{\"d\":[1]}", ECHO("s", "x${vars.d}", "")), "steps[0].params.message",
                   "vars.d is a list");
    plan_free(parse_good(plan_text("{\"d\":1}", SLEEP("s", "${vars.d}"))));
    plan_free(parse_good(plan_text("{\"d\":\"2\"}", SLEEP("s", "${vars.d}"))));
    plan_free(parse_good(plan_text("{\"d\":7}", ECHO("s", "${vars.d}", ""))));
}

static void a_value_that_the_server_knows_alone_is_left_to_it_and_all_else_is_checked(void **state)
{
    (void)state;
    plan_free(parse_good(plan_text("{}", SLEEP("s", "${server.labels.d}"))));
    plan_free(parse_good(plan_text("{}", SLEEP("s", "${facts.cpus}m"))));
    assert_problem(plan_text("{}", "{\"name\":\"s\",\"type\":\"tcp_check\",\"params\":{"
                                   "\"port\":\"${server.labels.p}\",\"hots\":\"x\"}}"),
                   "steps[0].params.hots", "unknown parameter");
    assert_problem(plan_text("{}", "{\"name\":\"s\",\"type\":\"file_write\",\"params\":{"
                                   "\"path\":\"rel\",\"content\":\"${facts.arch}\"}}"),
                   "steps[0].params.path", "");
}

static void names_that_cannot_be_had_are_told_with_their_place(void **state)
{
    (void)state;
    assert_problem(plan_text("{\"a\":1}", ECHO("s", "${vars.b}", "")), "steps[0].params.message",
                   "vars.b is not defined");
    assert_problem(plan_text("{}", ECHO("s", "${steps.t.outputs.x}", "") "," SCRIPT("t")),
                   "steps[0].params.message", "no step before this one is named \"t\"");
    assert_problem(plan_text("{}", ECHO("s", "m", "") "," ECHO("t", "${steps.s.outputs.x}", "")),
                   "steps[1].params.message", "a step of type echo puts nothing out");
    plan_free(parse_good(plan_text("{}", SCRIPT("s") "," ECHO("t", "${steps.s.outputs.x}", ""))));
    plan_free(parse_good(plan_text("{}", ECHO("s", "$${vars.b} ${HOME}", ""))));
}

static void conditions_are_checked(void **state)
{
    (void)state;
    assert_problem(plan_text("{}", ECHO("s", "m", ",\"when\":\"server.id = 'a'\"")),
                   "steps[0].when", "column");
    assert_problem(plan_text("{}", ECHO("s", "m", ",\"when\":\"vars.x == 1\"")), "steps[0].when",
                   "vars.x is not defined");
    assert_problem(plan_text("{}", ECHO("s", "m", ",\"when\":\"steps.s.outputs.x == '1'\"")),
                   "steps[0].when", "no step before this one");
    plan_free(parse_good(plan_text("{}", ECHO("s", "m", ",\"when\":\"not defined vars.x\""))));
}

static void vars_that_are_no_values_are_refused(void **state)
{
    (void)state;
    assert_has_problem(plan_text("{\"a\":[[1]]}", ECHO("s", "m", "")), "vars", "list");
    assert_has_problem(plan_text("{\"a b\":1}", ECHO("s", "m", "")), "vars", "");
    assert_has_problem(plan_text("[1]", ECHO("s", "m", "")), "vars", "object");
}

static void whether_a_step_can_be_undone_is_told_of_placeholders_too(void **state)
{
    (void)state;
    enum step_undo undo = STEP_UNDO_NOTHING;
    const char *lacks = NULL;
    struct plan_step step = {
        .name = "s",
        .type = "script",
        .params_json = "{\"script\":\"x\",\"rollback_script\":\"${server.labels.x}\"}",
    };
    assert_int_equal(step_undo_find(&handler_catalog, &step, &undo, &lacks, NULL), ERR_OK);
    assert_int_equal(undo, STEP_UNDO_YES);
    step.params_json = "{\"script\":\"${server.labels.x}\"}";
    assert_int_equal(step_undo_find(&handler_catalog, &step, &undo, &lacks, NULL), ERR_OK);
    assert_int_equal(undo, STEP_UNDO_NO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(params_stay_as_they_were_written),
        cmocka_unit_test(what_is_written_is_read_again),
        cmocka_unit_test(empty_vars_are_none),
        cmocka_unit_test(params_with_vars_alone_are_checked_as_filled_in),
        cmocka_unit_test(a_value_that_the_server_knows_alone_is_left_to_it_and_all_else_is_checked),
        cmocka_unit_test(names_that_cannot_be_had_are_told_with_their_place),
        cmocka_unit_test(conditions_are_checked),
        cmocka_unit_test(vars_that_are_no_values_are_refused),
        cmocka_unit_test(whether_a_step_can_be_undone_is_told_of_placeholders_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
