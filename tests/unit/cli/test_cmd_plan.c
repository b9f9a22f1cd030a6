#include "orchestrator/cli/cli.h"
#include "unit/cli/support_docs.h"
#include "unit/cli/support_run.h"
#include "unit/cli/support_server.h"

#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define PLAN(rollback)                                                                             \
    "{\"servers\":[\"web-1\"],\"steps\":[{\"name\":\"say\",\"type\":\"echo\",\"params\":{"         \
    "\"message\":\"m\"}},{\"name\":\"run\",\"type\":\"script\",\"params\":{\"script\":\"true\""    \
    ",\"rollback_script\":\"true\"}},{\"name\":\"last\",\"type\":\"script\",\"params\":{"          \
    "\"script\":\"true\"" rollback "}}]}"

static void a_step_that_cannot_be_undone_keeps_a_plan_from_being_sent(void **state)
{
    (void)state;
    struct doc_rollout r = {.state = ROLLOUT_RUNNING, .servers = 1};
    char *doc = doc_rollout(&r);
    const struct canned table[] = {
        {.request = "POST /v1/rollouts?id=", .status = 201, .body = doc}};
    struct server *server = server_start(table, 1);
    struct run run = {.url = server_url(server), .in = PLAN("")};
    run_cli(&run, "submit - --id r1 --require-undo");
    assert_int_equal(run.status, CLI_USAGE);
    assert_string_equal(run.out, "");
    assert_string_equal(run.err,
                        "kitsune: standard input: steps[2] (last) cannot be undone: there is no "
                        "rollback_script\n"
                        "kitsune: standard input: not submitted: --require-undo, and 1 step cannot "
                        "be undone\n");
    char *log = server_log(server);
    assert_string_equal(log, "");
    free(log);
    run_cli(&run, "submit - --id r1");
    assert_int_equal(run.status, CLI_OK);
    run_done(&run);
    server_stop(server);
    free(doc);
}

static void a_plan_that_can_be_undone_is_sent(void **state)
{
    (void)state;
    struct doc_rollout r = {.state = ROLLOUT_RUNNING, .servers = 1};
    char *doc = doc_rollout(&r);
    const struct canned table[] = {
        {.request = "POST /v1/rollouts?id=", .status = 201, .body = doc}};
    struct server *server = server_start(table, 1);
    struct run run = {.url = server_url(server), .in = PLAN(",\"rollback_script\":\"true\"")};
    run_cli(&run, "submit - --id r1 --require-undo");
    assert_string_equal(run.err, "");
    assert_int_equal(run.status, CLI_OK);
    assert_string_equal(run.out, "r1\n");
    run_done(&run);
    server_stop(server);
    free(doc);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_step_that_cannot_be_undone_keeps_a_plan_from_being_sent),
        cmocka_unit_test(a_plan_that_can_be_undone_is_sent),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
