/* Submitting, against an orchestrator of canned answers. */
#include "common/base/cleanup.h"
#include "common/json/json.h"
#include "common/plan/plan.h"
#include "orchestrator/cli/cli.h"
#include "unit/cli/support_docs.h"
#include "unit/cli/support_run.h"
#include "unit/cli/support_server.h"

#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define PLAN                                                                                       \
    "{\"name\":\"p\",\"servers\":[\"web-1\",\"web-2\"],\"steps\":[{\"name\":\"say\",\"type\":"     \
    "\"echo\",\"params\":{\"message\":\"hi\"}}]}"
#define BAD_PLAN                                                                                   \
    "{\"servers\":[\"web-1\",\"web-1\"],\"steps\":[{\"name\":\"s\",\"type\":\"ech\"}],\"x\":1}"

static char *taken_on(void)
{
    struct doc_rollout r = {.state = ROLLOUT_RUNNING, .last_seq = 3, .servers = 2};
    return doc_rollout(&r);
}

static void a_plan_with_faults_is_not_sent(void **state)
{
    (void)state;
    struct server *server = server_start(NULL, 0);
    struct run run = {.url = server_url(server), .in = BAD_PLAN};
    run_cli(&run, "submit -");
    assert_int_equal(run.status, CLI_USAGE);
    contains(run.err, "the plan has 3 faults");
    assert_int_equal(server_asked(server, ""), 0);
    run_done(&run);
    server_stop(server);
}

static void a_submission_always_has_an_id_and_its_repeat_the_same(void **state)
{
    (void)state;
    char *doc = taken_on();
    const struct canned table[] = {
        {.request = "POST /v1/rollouts?id=", .end = CANNED_DROP, .uses = 1},
        {.request = "POST /v1/rollouts?id=", .status = 201, .body = doc}};
    struct server *server = server_start(table, 2);
    struct run run = {.url = server_url(server), .in = PLAN};
    run_cli(&run, "submit -");
    assert_int_equal(run.status, CLI_OK);
    assert_string_equal(run.err, "");
    /* The id alone, for scripts. */
    assert_int_equal(strlen(run.out), 17);
    char request[128];
    (void)snprintf(request, sizeof(request), "POST /v1/rollouts?id=%.16s&by=", run.out);
    assert_int_equal(server_asked(server, request), 2);
    char *log = server_log(server);
    contains(log, "%40");
    contains(log, PLAN);
    free(log);
    run_done(&run);
    server_stop(server);
    free(doc);
}

static void a_chosen_id_and_no_wait_are_sent(void **state)
{
    (void)state;
    char *doc = taken_on();
    const struct canned table[] = {
        {.request = "POST /v1/rollouts?id=r1&", .status = 200, .body = doc}};
    struct server *server = server_start(table, 1);
    struct run run = {.url = server_url(server), .in = PLAN};
    run_cli(&run, "submit - --id r1 --no-wait");
    assert_int_equal(run.status, CLI_OK);
    assert_string_equal(run.out, "r1\n");
    contains(run.err, "rollout r1 was submitted before; nothing new was started");
    char *log = server_log(server);
    contains(log, "&wait=false ");
    free(log);
    run_cli(&run, "submit - --id r1 -o json");
    expect_json(run.out);
    run_cli(&run, "submit - --id -x");
    assert_int_equal(run.status, CLI_USAGE);
    contains(run.err, "--id: \"-x\" is not an id");
    run_done(&run);
    server_stop(server);
    free(doc);
}

static void submit_and_watch_give_the_outcome(void **state)
{
    (void)state;
    char *doc = taken_on();
    struct doc_rollout r = {.state = ROLLOUT_FAILED, .last_seq = 9, .servers = 2};
    char *last = doc_rollout(&r);
    const struct canned table[] = {
        {.request = "POST /v1/rollouts?id=r1&", .status = 201, .body = doc},
        {.request = "GET /v1/rollouts/r1?", .body = last}};
    struct server *server = server_start(table, 2);
    struct run run = {.url = server_url(server), .in = PLAN};
    run_cli(&run, "submit - --id r1 --watch");
    assert_int_equal(run.status, CLI_FAILED);
    assert_string_equal(run.out, "r1\nrollout r1 failed after 1m30s; of 2: \n");
    run_done(&run);
    server_stop(server);
    free(doc);
    free(last);
}

static void a_refusal_is_told_with_all_its_faults(void **state)
{
    (void)state;
    static const struct canned table[] = {
        {.request = "POST ",
         .status = 422,
         .body = "{\"title\":\"Invalid plan\",\"status\":422,\"detail\":\"2 faults\",\"errors\":["
                 "{\"path\":\"steps[0]\",\"message\":\"no\\u001b[2J\"},"
                 "{\"path\":\"\",\"message\":\"bad\"}]}"}};
    struct server *server = server_start(table, 1);
    struct run run = {.url = server_url(server), .in = PLAN};
    run_cli(&run, "submit -");
    assert_int_equal(run.status, CLI_USAGE);
    assert_string_equal(run.err, "kitsune: Invalid plan: 2 faults\n"
                                 "  steps[0]: no\\x1b[2J\n"
                                 "  bad\n");
    run_done(&run);
    server_stop(server);
}

static void an_answer_that_is_no_document_is_told(void **state)
{
    (void)state;
    static const struct canned table[] = {
        {.request = "GET /v1/servers/a", .body = "<html>"},
        {.request = "GET /v1/servers/b", .status = 502, .body = "<html>"}};
    struct server *server = server_start(table, 2);
    struct run run = {.url = server_url(server)};
    run_cli(&run, "server a");
    assert_int_equal(run.status, CLI_USAGE);
    contains(run.err, "is not what the API promises");
    run_cli(&run, "server b");
    assert_int_equal(run.status, CLI_USAGE);
    assert_string_equal(run.err, "kitsune: the orchestrator answered with HTTP status 502\n");
    run_done(&run);
    server_stop(server);
}

int main(void)
{
    if (!setlocale(LC_CTYPE, "C.UTF-8"))
        return EXIT_FAILURE;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_plan_with_faults_is_not_sent),
        cmocka_unit_test(a_submission_always_has_an_id_and_its_repeat_the_same),
        cmocka_unit_test(a_chosen_id_and_no_wait_are_sent),
        cmocka_unit_test(submit_and_watch_give_the_outcome),
        cmocka_unit_test(a_refusal_is_told_with_all_its_faults),
        cmocka_unit_test(an_answer_that_is_no_document_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
