#include "common/base/cleanup.h"
#include "common/json/json.h"
#include "orchestrator/cli/cli.h"
#include "unit/cli/support_run.h"

#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define SERVERS "\"servers\":[\"w1\",\"w2\",\"w3\",\"w4\",\"w5\",\"w6\",\"w7\",\"w8\"]"
#define STEP(more) "{\"name\":\"s\",\"type\":\"echo\",\"params\":{\"message\":\"m\"}" more "}"
#define PLAN                                                                                       \
    "{" SERVERS ",\"steps\":[" STEP("") "],\"rolloutStrategy\":{\"type\":\"Rolling\",\"batchSize"  \
                                        "\":2,\"maxFailures\":2}}"

static void what_goes_well_is_told(void **state)
{
    (void)state;
    struct run run = {.in = PLAN};
    run_cli(&run, "simulate -");
    assert_string_equal(run.err, "");
    assert_int_equal(run.status, CLI_OK);
    assert_string_equal(run.out, "succeeded after 20s\n"
                                 "servers    8: 8 succeeded\n"
                                 "touched    8 servers, at most 2 at once\n"
                                 "batches    4 of 4\n");
    run_cli(&run, "simulate - --step-time 1m30s");
    assert_string_equal(run.err, "");
    contains(run.out, "succeeded after 6m\n");
    run_done(&run);
}

static void failures_give_the_outcome_and_its_exit_status(void **state)
{
    (void)state;
    struct run run = {.in = PLAN};
    run_cli(&run, "simulate - --fail 100%");
    assert_int_equal(run.status, CLI_ROLLED_BACK);
    assert_string_equal(run.out, "rolled_back after 20s: 3 of 8 servers failed, 2 allowed\n"
                                 "servers    8: 4 failed, 4 skipped, 4 rolled back\n"
                                 "touched    4 servers, at most 2 at once\n"
                                 "batches    2 of 4\n");
    run_cli(&run, "simulate - --unreachable 100%");
    assert_int_equal(run.status, CLI_ROLLED_BACK);
    contains(run.out, "touched    0 servers");
    run_done(&run);
}

static void the_seed_decides_which_servers_fail(void **state)
{
    (void)state;
    struct run first = {.in = PLAN};
    struct run again = {.in = PLAN};
    bool differs = false;
    run_cli(&first, "simulate - --fail 30% --unreachable 10% --seed 1 -o json");
    run_cli(&again, "simulate - --fail 30% --unreachable 10% -o json");
    assert_string_equal(first.out, again.out);
    for (int seed = 2; seed < 20 && !differs; seed++) {
        char words[80];
        (void)snprintf(words, sizeof(words),
                       "simulate - --fail 30%% --unreachable 10%% --seed %d -o json", seed);
        run_cli(&again, words);
        differs = first.status != again.status;
    }
    assert_true(differs);
    run_done(&first);
    run_done(&again);
}

static void a_simulation_is_a_document_too(void **state)
{
    (void)state;
    struct run run = {.in = PLAN};
    struct json_doc *doc = NULL;
    run_cli(&run, "simulate - --fail 100% --seed 5 --step-time 0.5 -o json");
    assert_int_equal(run.status, CLI_ROLLED_BACK);
    assert_int_equal(json_parse(run.out, strlen(run.out), 1 << 20, &doc, NULL), ERR_OK);
    const struct json_value *root = json_root(doc);
    assert_string_equal(json_string(json_get(root, "state")), "rolled_back");
    assert_string_equal(json_string(json_get(root, "reason")), "3 of 8 servers failed, 2 allowed");
    assert_true(json_number(json_get(root, "durationSeconds")) == 2.0);
    assert_true(json_number(json_get(root, "touched")) == 4);
    assert_true(json_number(json_get(root, "peakInFlight")) == 2);
    assert_true(json_number(json_get(root, "seed")) == 5);
    assert_true(json_number(json_get(json_get(root, "counts"), "skipped")) == 4);
    json_free(doc);
    run_done(&run);
}

static void a_plan_in_which_nothing_can_fail_is_told(void **state)
{
    (void)state;
    struct run run = {.in = "{" SERVERS ",\"steps\":[" STEP(",\"required\":false") "]}"};
    run_cli(&run, "simulate - --fail 100%");
    assert_int_equal(run.status, CLI_OK);
    assert_string_equal(run.err,
                        "kitsune: no step's failure is its server's, so that no server fails\n");
    run_cli(&run, "simulate -");
    assert_string_equal(run.err, "");
    run_done(&run);
}

static void odds_that_make_no_sense_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *words;
        const char *message;
    } cases[] = {
        {"simulate - --fail 2", "--fail: \"2\" is not a percentage such as \"2%\""},
        {"simulate - --unreachable 101%", "--unreachable: \"101%\" is not a percentage"},
        {"simulate - --fail 60% --unreachable 50%", "together more than 100%"},
        {"simulate - --step-time soon", "--step-time: "},
        {"simulate - --step-time 721h", "--step-time: \"721h\" is more than 30 days"},
        {"simulate - --seed -1", "--seed: \"-1\" is not a number from 0"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct run run = {.in = PLAN};
        run_cli(&run, cases[i].words);
        assert_int_equal(run.status, CLI_USAGE);
        assert_string_equal(run.out, "");
        contains(run.err, cases[i].message);
        run_done(&run);
    }
}

static void a_plan_with_faults_is_not_simulated(void **state)
{
    (void)state;
    struct run run = {.in = "{" SERVERS ",\"steps\":[]}"};
    run_cli(&run, "simulate -");
    assert_int_equal(run.status, CLI_USAGE);
    assert_string_equal(run.out, "");
    contains(run.err, "standard input: steps: ");
    run_done(&run);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_goes_well_is_told),
        cmocka_unit_test(failures_give_the_outcome_and_its_exit_status),
        cmocka_unit_test(the_seed_decides_which_servers_fail),
        cmocka_unit_test(a_simulation_is_a_document_too),
        cmocka_unit_test(a_plan_in_which_nothing_can_fail_is_told),
        cmocka_unit_test(odds_that_make_no_sense_are_refused),
        cmocka_unit_test(a_plan_with_faults_is_not_simulated),
    };
    if (!setlocale(LC_CTYPE, "C.UTF-8"))
        return EXIT_FAILURE;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
