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

#define ONE_STEP "\"steps\":[{\"name\":\"one\",\"type\":\"echo\",\"params\":{\"message\":\"m\"}}]"

/* ---- The document ------------------------------------------------------------------------ */

static void a_text_that_is_not_json_is_refused_with_its_place(void **state)
{
    (void)state;
    assert_problem("{\n  \"servers\": [\n}", "", "line 3");
    assert_problem("", "", "");
}

static void a_plan_must_be_an_object(void **state)
{
    (void)state;
    assert_problem("[]", "", "object");
    assert_problem("null", "", "object");
}

static void an_unknown_field_is_refused_with_the_one_meant(void **state)
{
    (void)state;
    assert_problem(PLAN_WITH(",\"rollBack\":{}"), "rollBack",
                   "unknown field (did you mean \"rollback\"?)");
    assert_problem(STRATEGY("\"type\":\"Rolling\",\"batchsize\":1"), "rolloutStrategy.batchsize",
                   "unknown field (did you mean \"batchSize\"?)");
    assert_problem(ECHO_WITH(",\"timeout\":5"), "steps[0].timeout", "unknown field");
    assert_problem(ECHO_WITH(",\"retry\":{\"maxAttempts\":5}"), "steps[0].retry.maxAttempts",
                   "unknown field");
}

static void all_faults_are_told_at_once(void **state)
{
    (void)state;
    static const char text[] =
        "{\"servers\":[\"web-1\",\"web 2\",\"web-1\",7],"
        "\"steps\":[{\"name\":\"a\",\"type\":\"ecko\"},{\"name\":\"a\",\"type\":\"sleep\","
        "\"params\":{\"durration\":1}},{\"type\":\"echo\"}],"
        "\"rolloutStrategy\":{\"type\":\"Rolling\",\"batchSize\":0,\"maxFailures\":\"x\"},"
        "\"rollback\":{\"scope\":\"some\"},\"nmae\":\"n\"}";
    assert_has_problem(text, "servers[1]", "server id");
    assert_has_problem(text, "servers[2]", "\"web-1\" is listed already (servers[0])");
    assert_has_problem(text, "servers[3]", "string");
    assert_has_problem(text, "steps[0].type", "did you mean \"echo\"?");
    assert_has_problem(text, "steps[1].name", "steps[0]");
    assert_has_problem(text, "steps[1].params.durration",
                       "unknown parameter (did you mean \"duration\"?)");
    assert_has_problem(text, "steps[1].params.duration", "is required");
    assert_has_problem(text, "steps[2].name", "is required");
    assert_has_problem(text, "steps[2].params.message", "is required");
    assert_has_problem(text, "rolloutStrategy.batchSize", "1 to 200000");
    assert_has_problem(text, "rolloutStrategy.maxFailures", "-1 for no limit");
    assert_has_problem(text, "rollback.scope", "\"all\"");
    assert_has_problem(text, "nmae", "did you mean \"name\"?");
}

static void a_scope_is_one_of_three(void **state)
{
    (void)state;
    assert_problem(PLAN_WITH(",\"rollback\":{\"scope\":\"All\"}"), "rollback.scope", "\"all\"");
}

static void a_name_has_no_control_characters(void **state)
{
    (void)state;
    assert_problem(PLAN_WITH(",\"name\":\"a\\u001b[2J\""), "name", "control characters");
    assert_problem(PLAN_WITH_STEP("{\"name\":\"a\\nb\",\"type\":\"echo\","
                                  "\"params\":{\"message\":\"\"}}"),
                   "steps[0].name", "control characters");
}

/* ---- Servers ----------------------------------------------------------------------------- */

static void servers_must_be_there(void **state)
{
    (void)state;
    assert_problem("{" ONE_STEP "}", "servers", "is required");
    assert_problem("{\"servers\":[]," ONE_STEP "}", "servers", "must not be empty");
    assert_problem("{\"servers\":\"web-1\"," ONE_STEP "}", "servers", "array");
}

static void servers_and_server_id_exclude_each_other(void **state)
{
    (void)state;
    assert_problem("{\"servers\":[\"a\"],\"serverID\":\"b\"," ONE_STEP "}", "serverID", "servers");
}

static void a_wrong_server_id_is_told_the_rule(void **state)
{
    (void)state;
    static const char *const wrong[] = {"\"-web\"", "\"web 1\"", "\"../x\"", "\"w\\u00fc\"",
                                        "\"a/b\""};
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        char text[512];
        (void)snprintf(text, sizeof(text), "{\"servers\":[\"ok\",%s]," ONE_STEP "}", wrong[i]);
        assert_problem(text, "servers[1]", "letters, digits");
        (void)snprintf(text, sizeof(text), "{\"serverID\":%s," ONE_STEP "}", wrong[i]);
        assert_problem(text, "serverID", "letters, digits");
    }
    assert_problem("{\"servers\":[\"\"]," ONE_STEP "}", "servers[0]", "empty");
}

static void a_server_id_has_at_most_128_characters(void **state)
{
    (void)state;
    char id[130];
    memset(id, 'a', sizeof(id) - 1);
    id[129] = '\0';
    char text[512];
    (void)snprintf(text, sizeof(text), "{\"servers\":[\"%s\"]," ONE_STEP "}", id);
    assert_problem(text, "servers[0]", "128");
    id[128] = '\0';
    (void)snprintf(text, sizeof(text), "{\"servers\":[\"%s\"]," ONE_STEP "}", id);
    plan_free(parse_good(text));
}

static void a_duplicate_server_is_refused_and_the_first_is_named(void **state)
{
    (void)state;
    assert_problem("{\"servers\":[\"a\",\"b\",\"c\",\"b\"]," ONE_STEP "}", "servers[3]",
                   "\"b\" is listed already (servers[1])");
}

static void servers_that_differ_in_case_are_two(void **state)
{
    (void)state;
    plan_free(parse_good("{\"servers\":[\"Web\",\"web\"]," ONE_STEP "}"));
}

/* ---- Steps ------------------------------------------------------------------------------- */

static void steps_must_be_there(void **state)
{
    (void)state;
    assert_problem("{\"servers\":[\"a\"]}", "steps", "is required");
    assert_problem("{\"servers\":[\"a\"],\"steps\":[]}", "steps", "must not be empty");
    assert_problem("{\"servers\":[\"a\"],\"steps\":[1]}", "steps[0]", "object");
}

static void a_duplicate_step_is_refused_and_the_first_is_named(void **state)
{
    (void)state;
#define ECHO "{\"name\":\"x\",\"type\":\"echo\",\"params\":{\"message\":\"\"}}"
    assert_problem(PLAN_WITH_STEP(ECHO "," ECHO), "steps[1].name",
                   "\"x\" is the name of steps[0] already");
#undef ECHO
}

static void an_unknown_step_type_is_told_the_one_meant_or_all(void **state)
{
    (void)state;
    assert_problem(PLAN_WITH_STEP("{\"name\":\"x\",\"type\":\"yum_upgrad\"}"), "steps[0].type",
                   "did you mean \"yum_upgrade\"?");
    assert_problem(PLAN_WITH_STEP("{\"name\":\"x\",\"type\":\"quux\"}"), "steps[0].type",
                   "command_check, directory, echo, file_remove, file_write, http_check, reboot, "
                   "script, service, "
                   "sleep, symlink, tcp_check, yum_install, yum_remove, yum_upgrade");
}

static void params_are_checked_with_their_path(void **state)
{
    (void)state;
    assert_problem(PLAN_WITH_STEP("{\"name\":\"x\",\"type\":\"echo\"}"), "steps[0].params.message",
                   "is required");
    assert_problem(PLAN_WITH_STEP("{\"name\":\"x\",\"type\":\"echo\",\"params\":null}"),
                   "steps[0].params.message", "is required");
    assert_problem(PLAN_WITH_STEP("{\"name\":\"x\",\"type\":\"echo\",\"params\":[]}"),
                   "steps[0].params", "object");
    assert_problem(PLAN_WITH_STEP("{\"name\":\"x\",\"type\":\"echo\",\"params\":{\"message\":1}}"),
                   "steps[0].params.message", "string");
    assert_problem(
        PLAN_WITH_STEP("{\"name\":\"x\",\"type\":\"sleep\",\"params\":{\"duration\":1,\"x\":2}}"),
        "steps[0].params.x", "unknown parameter");
}

static void bounds_of_a_step_are_kept(void **state)
{
    (void)state;
    assert_problem(ECHO_WITH(",\"timeoutSeconds\":0"), "steps[0].timeoutSeconds", "between");
    assert_problem(ECHO_WITH(",\"timeoutSeconds\":1e9"), "steps[0].timeoutSeconds", "2592000");
    assert_problem(ECHO_WITH(",\"required\":\"yes\""), "steps[0].required", "true or false");
    assert_problem(ECHO_WITH(",\"onInterrupt\":\"again\""), "steps[0].onInterrupt", "\"retry\"");
    assert_problem(ECHO_WITH(",\"retry\":{\"maximumAttempts\":0}"),
                   "steps[0].retry.maximumAttempts", "between 1 and 100");
    assert_problem(ECHO_WITH(",\"retry\":{\"maximumAttempts\":101}"),
                   "steps[0].retry.maximumAttempts", "100");
    assert_problem(ECHO_WITH(",\"retry\":{\"backoffCoefficient\":0.5}"),
                   "steps[0].retry.backoffCoefficient", "between 1 and 100");
    assert_problem(ECHO_WITH(",\"retry\":{\"nonRetryableExitCodes\":[64,0]}"),
                   "steps[0].retry.nonRetryableExitCodes[1]", "between 1 and 255");
    assert_problem(
        ECHO_WITH(",\"retry\":{\"initialIntervalSeconds\":5,\"maximumIntervalSeconds\":4}"),
        "steps[0].retry.maximumIntervalSeconds", "initialIntervalSeconds");
}

/* ---- Strategy ---------------------------------------------------------------------------- */

static void a_strategy_must_say_its_type(void **state)
{
    (void)state;
    assert_problem(STRATEGY("\"maxFailures\":1"), "rolloutStrategy.type", "is required");
    assert_problem(STRATEGY(""), "rolloutStrategy.type", "is required");
}

static void an_unknown_strategy_is_never_taken_for_another(void **state)
{
    (void)state;
    assert_problem(STRATEGY("\"type\":\"rolling\",\"batchSize\":2"), "rolloutStrategy.type",
                   "\"Rolling\"");
    assert_problem(STRATEGY("\"type\":\"BlueGreen\""), "rolloutStrategy.type", "\"Canary\"");
    assert_problem(PLAN_WITH(",\"rolloutStrategy\":\"Rolling\""), "rolloutStrategy", "object");
}

static void fields_that_a_strategy_does_not_have_are_refused(void **state)
{
    (void)state;
    assert_problem(STRATEGY("\"type\":\"Parallel\",\"batchSize\":2"), "rolloutStrategy.batchSize",
                   "maxParallel");
    assert_problem(STRATEGY("\"type\":\"Parallel\",\"batchDelaySeconds\":2"),
                   "rolloutStrategy.batchDelaySeconds", "Parallel has no batches");
    assert_problem(STRATEGY("\"type\":\"Sequential\",\"batchSize\":2"), "rolloutStrategy.batchSize",
                   "one server at a time");
    assert_problem(STRATEGY("\"type\":\"Sequential\",\"batchSize\":\"1%\""),
                   "rolloutStrategy.batchSize", "one server at a time");
    assert_problem(STRATEGY("\"type\":\"Sequential\",\"maxParallel\":2"),
                   "rolloutStrategy.maxParallel", "one server at a time");
    static const char *const types[] = {"Parallel", "Sequential", "Rolling"};
    for (size_t i = 0; i < ARRAY_LEN(types); i++) {
        char text[512];
        (void)snprintf(text, sizeof(text), STRATEGY("\"type\":\"%s\",\"canaryPercentage\":5"),
                       types[i]);
        assert_problem(text, "rolloutStrategy.canaryPercentage", "take the type Canary");
    }
}

static void fields_that_a_strategy_has_are_taken(void **state)
{
    (void)state;
    plan_free(parse_good(STRATEGY("\"type\":\"Sequential\",\"batchSize\":1,\"batchDelaySeconds\":5,"
                                  "\"maxFailures\":0")));
    plan_free(parse_good(STRATEGY("\"type\":\"Parallel\",\"maxParallel\":5,\"maxFailures\":-1")));
    plan_free(parse_good(STRATEGY("\"type\":\"Rolling\",\"batchSize\":\"10%\",\"maxParallel\":5")));
    plan_free(parse_good(STRATEGY("\"type\":\"Canary\",\"canaryPercentage\":100,\"batchSize\":2")));
}

static void a_canary_of_nothing_is_refused(void **state)
{
    (void)state;
    assert_problem(STRATEGY("\"type\":\"Canary\",\"canaryPercentage\":0"),
                   "rolloutStrategy.canaryPercentage", "more than 0");
    assert_problem(STRATEGY("\"type\":\"Canary\",\"canaryPercentage\":101"),
                   "rolloutStrategy.canaryPercentage", "100");
    assert_problem(STRATEGY("\"type\":\"Canary\",\"canaryPercentage\":\"10%\""),
                   "rolloutStrategy.canaryPercentage", "number");
}

static void bounds_of_a_strategy_are_kept(void **state)
{
    (void)state;
    assert_problem(STRATEGY("\"type\":\"Parallel\",\"maxParallel\":0"),
                   "rolloutStrategy.maxParallel", "between 1");
    assert_problem(STRATEGY("\"type\":\"Rolling\",\"batchDelaySeconds\":-1"),
                   "rolloutStrategy.batchDelaySeconds", "between 0");
    assert_problem(STRATEGY("\"type\":\"Rolling\",\"startTimeoutSeconds\":0"),
                   "rolloutStrategy.startTimeoutSeconds", "between");
}

static void a_plan_of_more_servers_than_may_be_touched_is_refused(void **state)
{
    (void)state;
    static const char plan[] = "{\"servers\":[\"a\",\"b\",\"c\"]," ONE_STEP
                               ",\"rolloutStrategy\":{\"type\":\"%s\",\"maxTouched\":%d}}";
    static const char *const types[] = {"Parallel", "Sequential", "Rolling", "Canary"};
    for (size_t i = 0; i < ARRAY_LEN(types); i++) {
        char text[512];
        (void)snprintf(text, sizeof(text), plan, types[i], 2);
        assert_problem(text, "rolloutStrategy.maxTouched",
                       "the plan names 3 servers, and at most 2 may be touched");
        (void)snprintf(text, sizeof(text), plan, types[i], 3);
        struct plan *good = parse_good(text);
        assert_int_equal(good->strategy.max_touched, 3);
        plan_free(good);
    }
    plan_free(parse_good("{\"serverID\":\"a\"," ONE_STEP
                         ",\"rolloutStrategy\":{\"type\":\"Parallel\",\"maxTouched\":1}}"));
    assert_problem(STRATEGY("\"type\":\"Parallel\",\"maxTouched\":0"), "rolloutStrategy.maxTouched",
                   "between 1");
    assert_problem(STRATEGY("\"type\":\"Parallel\",\"maxTouched\":\"10%\""),
                   "rolloutStrategy.maxTouched", "number");
}

/* ---- Signatures -------------------------------------------------------------------------- */

#define ZEROES_16 "0000000000000000"
#define ZEROES_64 ZEROES_16 ZEROES_16 ZEROES_16 ZEROES_16
#define SIGNATURE(key) "{\"key\":\"" key "\",\"signature\":\"" ZEROES_64 ZEROES_64 "\"}"
#define SIGNED(version, not_before, expires, signatures)                                           \
    PLAN_WITH(",\"signing\":{\"version\":" version ",\"nonce\":\"" ZEROES_16 ZEROES_16             \
              "\",\"notBefore\":\"" not_before "\",\"expires\":\"" expires                         \
              "\",\"digest\":\"" ZEROES_64 "\",\"signatures\":[" signatures "]}")
#define DAY_1 "2026-11-01T00:00:00.000Z"
#define DAY_2 "2026-11-02T00:00:00.000Z"
#define DAY_31 "2026-12-01T00:00:00.000Z"
#define LATER "2026-12-01T00:00:00.001Z"

static void signatures_are_kept_as_they_are(void **state)
{
    (void)state;
    AUTO(plan_free)
    struct plan *plan = parse_good(SIGNED("1", DAY_1, DAY_31, SIGNATURE(ZEROES_16)));
    assert_true(plan->is_signed);
    AUTO_FREE char *text = written(plan);
    assert_non_null(strstr(text, "\"expires\":\"" DAY_31 "\""));
    assert_same_plan(text, SIGNED("1", DAY_1, DAY_31, SIGNATURE(ZEROES_16)));
}

static void signatures_that_nobody_would_accept_are_faults(void **state)
{
    (void)state;
    assert_problem(SIGNED("2", DAY_1, DAY_2, SIGNATURE(ZEROES_16)), "signing.version",
                   "only version 1 is known here");
    assert_problem(SIGNED("1", DAY_1, DAY_1, SIGNATURE(ZEROES_16)), "signing.expires",
                   "must be later than notBefore");
    assert_problem(SIGNED("1", DAY_1, LATER, SIGNATURE(ZEROES_16)), "signing.expires",
                   "must be at most 30 days after notBefore");
    assert_problem(SIGNED("1", DAY_1, DAY_2, SIGNATURE(ZEROES_16) "," SIGNATURE(ZEROES_16)),
                   "signing.signatures[1].key", "has signed already (signatures[0])");
    assert_problem(SIGNED("1", DAY_1, DAY_2, ""), "signing.signatures", "must not be empty");
    assert_problem(SIGNED("1", DAY_1, DAY_2, SIGNATURE("000000000000000A")),
                   "signing.signatures[0].key", "lower-case hexadecimal digits");
    assert_problem(SIGNED("1", "today", DAY_2, SIGNATURE(ZEROES_16)), "signing.notBefore",
                   "must be a time like");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(signatures_are_kept_as_they_are),
        cmocka_unit_test(signatures_that_nobody_would_accept_are_faults),
        cmocka_unit_test(a_text_that_is_not_json_is_refused_with_its_place),
        cmocka_unit_test(a_plan_must_be_an_object),
        cmocka_unit_test(an_unknown_field_is_refused_with_the_one_meant),
        cmocka_unit_test(all_faults_are_told_at_once),
        cmocka_unit_test(a_scope_is_one_of_three),
        cmocka_unit_test(a_name_has_no_control_characters),
        cmocka_unit_test(servers_must_be_there),
        cmocka_unit_test(servers_and_server_id_exclude_each_other),
        cmocka_unit_test(a_wrong_server_id_is_told_the_rule),
        cmocka_unit_test(a_server_id_has_at_most_128_characters),
        cmocka_unit_test(a_duplicate_server_is_refused_and_the_first_is_named),
        cmocka_unit_test(servers_that_differ_in_case_are_two),
        cmocka_unit_test(steps_must_be_there),
        cmocka_unit_test(a_duplicate_step_is_refused_and_the_first_is_named),
        cmocka_unit_test(an_unknown_step_type_is_told_the_one_meant_or_all),
        cmocka_unit_test(params_are_checked_with_their_path),
        cmocka_unit_test(bounds_of_a_step_are_kept),
        cmocka_unit_test(a_strategy_must_say_its_type),
        cmocka_unit_test(an_unknown_strategy_is_never_taken_for_another),
        cmocka_unit_test(fields_that_a_strategy_does_not_have_are_refused),
        cmocka_unit_test(fields_that_a_strategy_has_are_taken),
        cmocka_unit_test(a_canary_of_nothing_is_refused),
        cmocka_unit_test(bounds_of_a_strategy_are_kept),
        cmocka_unit_test(a_plan_of_more_servers_than_may_be_touched_is_refused),
    };
    return cmocka_run_group_tests_name("plan_json_rules", tests, NULL, NULL);
}
