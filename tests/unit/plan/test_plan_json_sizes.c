#include "common/base/cleanup.h"
#include "support_plan_json.h"

#include <stdio.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static struct plan *rolling(const char *batch_size)
{
    char text[2048];
    (void)snprintf(text, sizeof(text), STRATEGY("\"type\":\"Rolling\",\"batchSize\":%s"),
                   batch_size);
    return parse_good(text);
}

static void assert_wrong(const char *field, const char *value, const char *path,
                         const char *message)
{
    char text[2048];
    (void)snprintf(text, sizeof(text), STRATEGY("\"type\":\"Rolling\",\"%s\":%s"), field, value);
    assert_problem(text, path, message);
}

static void a_batch_size_is_a_number_or_a_share(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool percent;
        double value;
    } cases[] = {
        {"1", false, 1},
        {"200000", false, 200000},
        {"7.0", false, 7},
        {"\"1%\"", true, 1},
        {"\"100%\"", true, 100},
        {"\"12.5%\"", true, 12.5},
        {"\"0.1%\"", true, 0.1},
        {"\"33.333333%\"", true, 33.333333},
        {"\"007%\"", true, 7},
        {"\"100.000000%\"", true, 100},
        {"\"0.000001%\"", true, 0.000001},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        AUTO(plan_free) struct plan *plan = rolling(cases[i].text);
        assert_int_equal(plan->strategy.batch_sizes.count, 1);
        const struct plan_size *size = ARRAY_AT(&plan->strategy.batch_sizes, struct plan_size, 0);
        assert_int_equal(size->percent, cases[i].percent);
        assert_true(size->value == cases[i].value);
    }
}

static void a_wrong_batch_size_is_told_what_is_right(void **state)
{
    (void)state;
    static const char *const wrong[] = {
        "0",
        "-1",
        "1.5",
        "200001",
        "1e300",
        "true",
        "{}",
        "\"\"",
        "\"%\"",
        "\"0%\"",
        "\"0.0%\"",
        "\"101%\"",
        "\"-5%\"",
        "\"5\"",
        "\"5 %\"",
        "\" 5%\"",
        "\"5%%\"",
        "\"0x10%\"",
        "\"1e1%\"",
        "\"inf%\"",
        "\"nan%\"",
        "\"5.%\"",
        "\".5%\"",
        "\"+5%\"",
        "\"100.000001%\"",
        "\"0.0000001%\"",
        "\"5,5%\"",
        "\"99999999999999999999%\"",
    };
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++)
        assert_wrong("batchSize", wrong[i], "rolloutStrategy.batchSize",
                     "a whole number of servers, 1 to 200000, or a percentage");
}

static void a_list_of_batch_sizes_grows(void **state)
{
    (void)state;
    AUTO(plan_free) struct plan *plan = rolling("[1,1,\"10%\",5,\"10%\",\"50%\",5]");
    assert_int_equal(plan->strategy.batch_sizes.count, 7);
    assert_wrong("batchSize", "[5,4]", "rolloutStrategy.batchSize[1]", "smaller than [0]");
    assert_wrong("batchSize", "[5,\"1%\",4]", "rolloutStrategy.batchSize[2]", "smaller than [0]");
    assert_wrong("batchSize", "[\"50%\",9,\"49.9%\"]", "rolloutStrategy.batchSize[2]",
                 "must not shrink");
}

static void a_wrong_size_in_a_list_is_named(void **state)
{
    (void)state;
    assert_wrong("batchSize", "[1,\"0%\",2]", "rolloutStrategy.batchSize[1]", "percentage");
    assert_wrong("batchSize", "[[1]]", "rolloutStrategy.batchSize[0]", "percentage");
    assert_wrong("batchSize", "[]", "rolloutStrategy.batchSize", "1 to 64");
}

static void a_list_has_at_most_64_sizes(void **state)
{
    (void)state;
    for (int count = PLAN_MAX_BATCH_SIZES; count <= PLAN_MAX_BATCH_SIZES + 1; count++) {
        char list[1024];
        size_t used = 0;
        for (int i = 0; i < count; i++)
            used += (size_t)snprintf(list + used, sizeof(list) - used, "%c%d", i > 0 ? ',' : '[',
                                     i + 1);
        (void)snprintf(list + used, sizeof(list) - used, "]");
        if (count > PLAN_MAX_BATCH_SIZES)
            assert_wrong("batchSize", list, "rolloutStrategy.batchSize", "1 to 64");
        else
            plan_free(rolling(list));
    }
}

static void a_limit_is_a_number_a_share_or_none(void **state)
{
    (void)state;
    static const char *const fields[] = {"maxFailures", "maxUnreachable"};
    static const char *const wrong[] = {"-2",      "0.5", "-0.5", "200001", "\"101%\"", "\"-1\"",
                                        "\"-1%\"", "[1]", "true", "{}",     "\"\""};
    for (size_t f = 0; f < ARRAY_LEN(fields); f++) {
        char path[64];
        (void)snprintf(path, sizeof(path), "rolloutStrategy.%s", fields[f]);
        for (size_t i = 0; i < ARRAY_LEN(wrong); i++)
            assert_wrong(fields[f], wrong[i], path, "or -1 for no limit");
    }
    AUTO(plan_free)
    struct plan *plan =
        parse_good(STRATEGY("\"type\":\"Rolling\",\"maxFailures\":-1,\"maxUnreachable\":\"2.5%\""));
    assert_int_equal(plan->strategy.max_failures.kind, LIMIT_NONE);
    assert_int_equal(plan->strategy.max_unreachable.kind, LIMIT_SIZE);
    assert_true(plan->strategy.max_unreachable.size.percent);
    assert_true(plan->strategy.max_unreachable.size.value == 2.5);
}

static void an_unreachable_limit_of_zero_is_not_the_same_as_none_given(void **state)
{
    (void)state;
    AUTO(plan_free)
    struct plan *plan = parse_good(STRATEGY("\"type\":\"Rolling\",\"maxUnreachable\":0"));
    AUTO_FREE char *text = written(plan);
    assert_non_null(strstr(text, "\"maxUnreachable\":0"));
    uint32_t allowed = 9;
    assert_true(plan_unreachable_allowed(plan, &allowed));
    assert_int_equal(allowed, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_batch_size_is_a_number_or_a_share),
        cmocka_unit_test(a_wrong_batch_size_is_told_what_is_right),
        cmocka_unit_test(a_list_of_batch_sizes_grows),
        cmocka_unit_test(a_wrong_size_in_a_list_is_named),
        cmocka_unit_test(a_list_has_at_most_64_sizes),
        cmocka_unit_test(a_limit_is_a_number_a_share_or_none),
        cmocka_unit_test(an_unreachable_limit_of_zero_is_not_the_same_as_none_given),
    };
    return cmocka_run_group_tests_name("plan_json_sizes", tests, NULL, NULL);
}
