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

#define STEPS                                                                                      \
    "\"steps\":[{\"name\":\"write\",\"type\":\"file_write\",\"params\":{\"path\":\"/etc/motd\","   \
    "\"content\":\"x\"}},{\"name\":\"say\",\"type\":\"echo\",\"params\":{\"message\":\"m\"}},"     \
    "{\"name\":\"run\",\"type\":\"script\",\"params\":{\"script\":\"true\",\"rollback_script\":"   \
    "\"true\"}},{\"name\":\"once\",\"type\":\"script\",\"params\":{\"script\":\"true\"}}]"
#define SERVERS_3 "\"servers\":[\"web-1\",\"web-2\",\"web-3\"]"

/* A plan of so many servers. Caller frees. */
static char *plan_text(int servers, const char *strategy)
{
    char *text = NULL;
    size_t len = 0;
    FILE *f = open_memstream(&text, &len);
    assert_non_null(f);
    (void)fprintf(f, "{\"servers\":[");
    for (int i = 1; i <= servers; i++)
        (void)fprintf(f, "%s\"web-%d\"", i > 1 ? "," : "", i);
    (void)fprintf(f, "],\"rolloutStrategy\":{%s}," STEPS "}", strategy);
    (void)fclose(f);
    return text;
}

static void a_preview_tells_all_there_is_to_know(void **state)
{
    (void)state;
    struct run run = {.in = "{\"name\":\"p\"," SERVERS_3 "," STEPS
                            ",\"rolloutStrategy\":{\"type\":\"Rolling\",\"batchSize\":2,"
                            "\"batchDelaySeconds\":30,\"maxParallel\":1}}"};
    run_cli(&run, "preview -");
    assert_string_equal(run.err, "");
    assert_int_equal(run.status, CLI_OK);
    assert_string_equal(run.out,
                        "plan       p\n"
                        "strategy   Rolling, 3 servers in 2 batches, at most 1 at once, 30s "
                        "between batches\n"
                        "stops      when a server fails or cannot be reached\n"
                        "then       all servers that were touched are undone\n"
                        "at worst   1 of 3 servers changed by a plan that fails on every server\n"
                        "\n"
                        "BATCH  SIZE  FIRST  LAST\n"
                        "    1     2  web-1  web-2\n"
                        "    2     1  web-3  web-3\n"
                        "\n"
                        "#  STEP   TYPE        UNDONE\n"
                        "1  write  file_write  yes\n"
                        "2  say    echo        changes nothing\n"
                        "3  run    script      yes\n"
                        "4  once   script      no: there is no rollback_script\n");
    run_done(&run);
}

static void limits_are_told_as_numbers_of_servers(void **state)
{
    (void)state;
    static const struct {
        const char *strategy;
        const char *stops;
        const char *worst;
    } cases[] = {
        {"\"type\":\"Parallel\",\"maxFailures\":-1", "at no number of failures", "40 of 40"},
        {"\"type\":\"Parallel\",\"maxFailures\":\"5%\"",
         "when more than 2 servers fail or cannot be reached", "40 of 40"},
        {"\"type\":\"Sequential\",\"maxFailures\":1,\"maxUnreachable\":0",
         "when more than 1 server fails, or when a server cannot be reached", "2 of 40"},
        {"\"type\":\"Sequential\",\"maxUnreachable\":\"10%\"",
         "when a server fails, or when more than 4 servers cannot be reached", "1 of 40"},
        {"\"type\":\"Canary\",\"canaryPercentage\":5,\"maxFailures\":-1",
         "when one of the 2 canary servers fails or cannot be reached; after them, at no number of "
         "failures",
         "2 of 40"},
        {"\"type\":\"Canary\",\"canaryPercentage\":1,\"maxFailures\":3",
         "when the canary server fails or cannot be reached; after it, when more than 3 servers "
         "fail or cannot be reached",
         "1 of 40"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char *text = plan_text(40, cases[i].strategy);
        char line[256];
        struct run run = {.in = text};
        run_cli(&run, "preview -");
        assert_int_equal(run.status, CLI_OK);
        (void)snprintf(line, sizeof(line), "\nstops      %s\n", cases[i].stops);
        contains(run.out, line);
        (void)snprintf(line, sizeof(line), "\nat worst   %s servers changed", cases[i].worst);
        contains(run.out, line);
        run_done(&run);
        free(text);
    }
}

static void of_many_batches_the_first_and_the_last_are_shown(void **state)
{
    (void)state;
    char *text = plan_text(30, "\"type\":\"Sequential\"");
    struct run run = {.in = text};
    run_cli(&run, "preview -");
    assert_int_equal(run.status, CLI_OK);
    contains(run.out,
             "    9     1  web-9   web-9\n   29     1  web-29  web-29\n   30     1  web-30  "
             "web-30\n19 more between them are not shown (--all shows them)\n");
    run_cli(&run, "preview - --all");
    contains(run.out, "   10     1  web-10  web-10\n");
    contains(run.out, "   28     1  web-28  web-28\n");
    assert_null(strstr(run.out, "not shown"));
    run_done(&run);
    free(text);
    text = plan_text(12, "\"type\":\"Sequential\"");
    run = (struct run){.in = text};
    run_cli(&run, "preview -");
    contains(run.out, "   10     1  web-10  web-10\n");
    assert_null(strstr(run.out, "not shown"));
    run_done(&run);
    free(text);
}

static int64_t number_at(const struct json_value *root, const char *name)
{
    const struct json_value *v = json_get(root, name);
    return v && json_kind(v) == JSON_IS_NUMBER ? (int64_t)json_number(v) : -1;
}

static void a_preview_is_a_document_too(void **state)
{
    (void)state;
    char *text = plan_text(30, "\"type\":\"Canary\",\"maxFailures\":\"10%\",\"batchSize\":9,"
                               "\"maxUnreachable\":-1");
    struct run run = {.in = text};
    struct json_doc *doc = NULL;
    run_cli(&run, "preview - -o json");
    assert_int_equal(run.status, CLI_OK);
    assert_int_equal(json_parse(run.out, strlen(run.out), 1 << 20, &doc, NULL), ERR_OK);
    const struct json_value *root = json_root(doc);
    assert_string_equal(json_string(json_get(root, "strategy")), "Canary");
    assert_string_equal(json_string(json_get(root, "rollback")), "all");
    assert_int_equal(number_at(root, "servers"), 30);
    assert_int_equal(number_at(root, "canary"), 3);
    assert_int_equal(number_at(root, "failuresAllowed"), 3);
    assert_int_equal(number_at(root, "blastRadius"), 3);
    assert_null(json_get(root, "unreachableAllowed"));
    assert_false(json_bool(json_get(root, "unreachableFail")));
    assert_false(json_bool(json_get(root, "undoable")));
    assert_int_equal(json_count(json_get(root, "batches")), 4);
    assert_int_equal(json_count(json_get(root, "steps")), 4);
    const struct json_value *first = json_first(json_get(root, "batches"));
    assert_int_equal(number_at(first, "size"), 3);
    assert_string_equal(json_string(json_get(first, "last")), "web-3");
    contains(run.out, "\"lacks\": \"there is no rollback_script\"");
    json_free(doc);
    run_done(&run);
    free(text);
}

static void a_plan_whose_failures_never_stop_it_is_said_to_be_so(void **state)
{
    (void)state;
    struct run run = {.in =
                          "{" SERVERS_3 ",\"steps\":[{\"name\":\"s\",\"type\":\"echo\",\"params\":"
                          "{\"message\":\"m\"},\"required\":false}]}"};
    run_cli(&run, "preview -");
    assert_int_equal(run.status, CLI_OK);
    contains(run.out, "3 of 3 servers changed by a bad plan: no step's failure is its server's\n");
    run_done(&run);
}

static void a_plan_with_faults_is_not_previewed(void **state)
{
    (void)state;
    struct run run = {.in = "{" SERVERS_3 "," STEPS
                            ",\"rolloutStrategy\":{\"type\":\"Parallel\",\"maxTouched\":2}}"};
    run_cli(&run, "preview -");
    assert_int_equal(run.status, CLI_USAGE);
    assert_string_equal(run.out, "");
    assert_string_equal(run.err,
                        "standard input: rolloutStrategy.maxTouched: the plan names 3 servers, and "
                        "at most 2 may be touched\n"
                        "kitsune: standard input: the plan has 1 fault\n");
    run_done(&run);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_preview_tells_all_there_is_to_know),
        cmocka_unit_test(limits_are_told_as_numbers_of_servers),
        cmocka_unit_test(of_many_batches_the_first_and_the_last_are_shown),
        cmocka_unit_test(a_preview_is_a_document_too),
        cmocka_unit_test(a_plan_whose_failures_never_stop_it_is_said_to_be_so),
        cmocka_unit_test(a_plan_with_faults_is_not_previewed),
    };
    if (!setlocale(LC_CTYPE, "C.UTF-8"))
        return EXIT_FAILURE;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
