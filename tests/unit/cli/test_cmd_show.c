/* Lists, and one rollout with its servers, events and outputs, against an orchestrator of canned
 * answers. */
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

/* ---- list, servers -----------------------------------------------------------------------------
 */

#define SUMMARY(id, state)                                                                         \
    "{\"id\":\"" id "\",\"name\":\"n\",\"state\":\"" state                                         \
    "\",\"created\":\"2026-11-21T06:00:00.000Z\",\"servers\":3,\"counts\":{\"pending\":0,"         \
    "\"inFlight\":0,\"succeeded\":2,\"failed\":1,\"unreachable\":0,\"unknown\":0,\"cancelled\":0," \
    "\"skipped\":0,\"rolledBack\":0,\"rollbackFailed\":0}}"

static void rollouts_are_listed_page_by_page(void **state)
{
    (void)state;
    static const struct canned table[] = {
        {.request = "GET /v1/rollouts?limit=500 ",
         .body = "{\"rollouts\":[" SUMMARY("r2", "failed") "],\"next\":\"r2\"}"},
        {.request = "GET /v1/rollouts?limit=500&before=r2 ",
         .body = "{\"rollouts\":[" SUMMARY("r1", "succeeded") "]}"},
        {.request = "GET /v1/rollouts?limit=1 ",
         .body = "{\"rollouts\":[" SUMMARY("r2", "failed") "],\"next\":\"r2\"}"}};
    struct server *server = server_start(table, 3);
    struct run run = {.url = server_url(server)};
    run_cli(&run, "list --all");
    assert_int_equal(run.status, CLI_OK);
    assert_string_equal(run.out,
                        "ID  STATE   SERVERS  SUCCEEDED  FAILED  CREATED (UTC)        BY  NAME\n"
                        "r2  failed        3          2       1  2026-11-21 06:00:00  -   n\n"
                        "r1  succeeded        3          2       1  2026-11-21 06:00:00  -   n\n");
    run_cli(&run, "list --all -o json");
    expect_json(run.out);
    contains(run.out, "\"id\":\"r1\"");
    run_cli(&run, "list --limit 1 -o json");
    expect_json(run.out);
    contains(run.out, "\"next\": \"r2\"");
    run_done(&run);
    server_stop(server);
}

static void servers_are_listed_with_what_is_not_shown(void **state)
{
    (void)state;
    static const struct canned table[] = {
        {.request = "GET /v1/servers?limit=1 ",
         .body = "{\"servers\":[{\"id\":\"web-1\",\"connected\":true,\"waiting\":2,\"handlers\":["
                 "\"echo\"]}],\"next\":\"web-1\",\"connected\":5,\"known\":7}"},
        {.request = "GET /v1/servers/web-1 ",
         .body = "{\"id\":\"web-1\",\"connected\":false,\"version\":\"0.1.0\",\"waiting\":2,"
                 "\"handlers\":[\"echo\",\"sleep\"]}"}};
    struct server *server = server_start(table, 2);
    struct run run = {.url = server_url(server)};
    run_cli(&run, "servers -n 1");
    assert_int_equal(run.status, CLI_OK);
    contains(run.out,
             "web-1   yes        -            -        -              2  no      -     -\n");
    contains(run.out, "5 of 7 servers are connected; 6 are not shown (--all shows them)\n");
    run_cli(&run, "servers -n 1 -o json");
    expect_json(run.out);
    run_cli(&run, "server web-1");
    contains(run.out, "connected  no\n");
    contains(run.out, "handlers   echo sleep\n");
    run_cli(&run, "server web-1 -o json");
    expect_json(run.out);
    run_done(&run);
    server_stop(server);
}

/* ---- show --------------------------------------------------------------------------------------
 */

static char name_1[] = "web-1";
static char name_2[] = "web-2";
static char step_name[] = "upgrade";
static char message[] = "exit status 3";
static char started[] = "2026-11-21T06:00:00.000Z";
static char stopped[] = "2026-11-21T06:00:02.500Z";

static void the_servers_that_failed_come_first_when_there_are_many(void **state)
{
    (void)state;
    struct api_execution good = {
        .server = name_1, .state = EXECUTION_SUCCEEDED, .outcome = EXECUTION_SUCCEEDED};
    struct api_execution bad = {.server = name_2,
                                .state = EXECUTION_ROLLED_BACK,
                                .outcome = EXECUTION_FAILED,
                                .step = step_name,
                                .message = message,
                                .started = started,
                                .ended = stopped};
    struct doc_rollout r = {
        .state = ROLLOUT_FAILED, .servers = 500, .executions = &good, .count = 1};
    r.counts.succeeded = 499;
    r.counts.failed = 1;
    r.more = 499;
    char *some = doc_rollout(&r);
    r.more = 0;
    char *succeeded = doc_rollout(&r);
    r.executions = &bad;
    char *failed = doc_rollout(&r);
    r.count = 0;
    char *none = doc_rollout(&r);
    const struct canned table[] = {
        {.request = "GET /v1/rollouts/r1?limit=100 ", .body = some},
        {.request = "GET /v1/rollouts/r1?limit=100&state=failed ", .body = failed},
        {.request = "GET /v1/rollouts/r1?limit=99&state=rolled_back ", .body = failed},
        {.request = "GET /v1/rollouts/r1?limit=99&state=succeeded ", .body = succeeded},
        {.request = "GET /v1/rollouts/r1?limit=", .body = none}};
    struct server *server = server_start(table, 5);
    struct run run = {.url = server_url(server)};
    run_cli(&run, "show r1");
    assert_int_equal(run.status, CLI_OK);
    contains(run.out, "id        r1\n");
    contains(run.out, "servers   500: 499 succeeded, 1 failed\n");
    contains(run.out,
             "SERVER  STATE                 STEP     STARTED (UTC)        DURATION  MESSAGE\n"
             "web-2   rolled_back (failed)  upgrade  2026-11-21 06:00:00      2.5s  "
             "exit status 3\n"
             "web-1   succeeded             -        -                           -  -\n"
             "498 more not shown (--all, --state STATE, --server SERVER)\n");
    run_done(&run);
    server_stop(server);
    free(some);
    free(succeeded);
    free(failed);
    free(none);
}

static void all_servers_come_page_by_page(void **state)
{
    (void)state;
    struct api_execution e = {.server = name_1, .state = EXECUTION_SUCCEEDED};
    struct doc_rollout r = {.state = ROLLOUT_SUCCEEDED, .servers = 2, .executions = &e, .count = 1};
    r.more = 1;
    char *first = doc_rollout(&r);
    e.server = name_2;
    r.more = 0;
    char *second = doc_rollout(&r);
    const struct canned table[] = {
        {.request = "GET /v1/rollouts/r1?limit=1000 ", .body = first},
        {.request = "GET /v1/rollouts/r1?limit=1000&offset=1 ", .body = second}};
    struct server *server = server_start(table, 2);
    struct run run = {.url = server_url(server)};
    run_cli(&run, "show r1 --all");
    assert_int_equal(run.status, CLI_OK);
    contains(run.out, "web-1   succeeded  -     -                     -  -\nweb-2   succeeded");
    run_cli(&run, "show r1 --all -o json");
    expect_json(run.out);
    contains(run.out, "\"web-1\"");
    contains(run.out, "\"web-2\"");
    contains(run.out, "\"plan\":{");
    run_done(&run);
    server_stop(server);
    free(first);
    free(second);
}

static void one_servers_steps_are_shown(void **state)
{
    (void)state;
    char other[] = "check";
    struct api_step steps[] = {{.name = step_name,
                                .state = STEP_FAILED,
                                .attempt = 2,
                                .has_exit_code = true,
                                .exit_code = 3,
                                .changed = true,
                                .duration_ms = 1500,
                                .message = message},
                               {.name = other, .state = STEP_PENDING}};
    struct api_execution e = {.server = name_1,
                              .state = EXECUTION_FAILED,
                              .outcome = EXECUTION_FAILED,
                              .message = message,
                              .steps = {.items = steps, .count = 2}};
    struct doc_rollout r = {.state = ROLLOUT_FAILED, .servers = 1, .executions = &e, .count = 1};
    char *doc = doc_rollout(&r);
    const struct canned table[] = {{.request = "GET /v1/rollouts/r1?limit=1&server=", .body = doc}};
    struct server *server = server_start(table, 1);
    struct run run = {.url = server_url(server)};
    run_cli(&run, "show r1 --server web-1");
    assert_int_equal(run.status, CLI_OK);
    contains(run.out, "#  STEP     STATE    ATTEMPT  EXIT  CHANGED  DURATION  MESSAGE\n"
                      "1  upgrade  failed         2     3  yes          1.5s  exit status 3\n"
                      "2  check    pending        0     -  no              -  -\n");
    run_cli(&run, "show r1 --server web-1 -o json");
    expect_json(run.out);
    run_cli(&run, "show r1 --server web-9");
    assert_int_equal(run.status, CLI_USAGE);
    assert_string_equal(run.err, "kitsune: server web-9 is not in rollout r1\n");
    run_cli(&run, "show r1 --state faild");
    assert_int_equal(run.status, CLI_USAGE);
    contains(run.err, "there is no state \"faild\" (did you mean \"failed\"?)");
    run_done(&run);
    server_stop(server);
    free(doc);
}

/* ---- events, logs ----------------------------------------------------------------------------
 */

static void events_come_page_by_page(void **state)
{
    (void)state;
    static const struct canned table[] = {
        {.request = "GET /v1/rollouts/r1/events?after=4 ",
         .body = "{\"events\":[{\"seq\":5,\"time\":\"2026-11-21T06:00:05.000Z\",\"type\":"
                 "\"batch_started\",\"batch\":2,\"count\":10}],\"lastSeq\":5}"},
        {.request = "GET /v1/rollouts/r1/events?after=5 ",
         .body = "{\"events\":[],\"lastSeq\":5}"}};
    struct server *server = server_start(table, 2);
    struct run run = {.url = server_url(server)};
    run_cli(&run, "events r1 --after 4");
    assert_int_equal(run.status, CLI_OK);
    assert_string_equal(run.out, "SEQ  TIME (UTC)           EVENT          SERVER  STEP  DETAIL\n"
                                 "  5  2026-11-21 06:00:05  batch_started  -       -     batch 2, "
                                 "10 servers\n");
    run_cli(&run, "events r1 --after 4 -o json");
    expect_json(run.out);
    run_done(&run);
    server_stop(server);
}

static void outputs_are_shown_under_their_steps(void **state)
{
    (void)state;
    char first[] = "one";
    char second[] = "two";
    struct api_step steps[] = {{.name = first, .state = STEP_SUCCEEDED, .attempt = 1},
                               {.name = second, .state = STEP_FAILED, .attempt = 2}};
    struct api_execution e[] = {
        {.server = name_1, .state = EXECUTION_FAILED, .steps = {.items = steps, .count = 2}},
        {.server = name_2, .state = EXECUTION_PENDING}};
    struct doc_rollout r = {.state = ROLLOUT_FAILED, .servers = 2, .executions = e, .count = 2};
    char *doc = doc_rollout(&r);
    const struct canned table[] = {{.request = "GET /v1/rollouts/r1?limit=1000", .body = doc},
                                   {.request = "GET /v1/rollouts/r1/servers/web-1/steps/2/output",
                                    .headers = "X-Kitsune-Attempt: 2\r\n",
                                    .body = "50%\r100%\n\x1b[31mred"},
                                   {.request = "GET /v1/rollouts/r1/servers/web-1/steps/1/output",
                                    .headers = "X-Kitsune-Attempt: 1\r\n",
                                    .body = "hello\n"}};
    struct server *server = server_start(table, 3);
    struct run run = {.url = server_url(server)};
    run_cli(&run, "logs r1");
    assert_int_equal(run.status, CLI_OK);
    assert_string_equal(run.out, "== web-1 one (attempt 1)\nhello\n"
                                 "== web-1 two (attempt 2)\n50%\n100%\n\\x1b[31mred\n");
    run_cli(&run, "logs r1 --step two");
    assert_string_equal(run.out, "== web-1 two (attempt 2)\n50%\n100%\n\\x1b[31mred\n");
    run_cli(&run, "logs r1 --step 1 -o json");
    assert_string_equal(run.out, "{\"server\":\"web-1\",\"step\":\"one\",\"attempt\":1,"
                                 "\"offset\":0,\"text\":\"hello\\n\"}\n");
    run_cli(&run, "logs r1 --step 3");
    assert_int_equal(run.status, CLI_OK);
    assert_string_equal(run.err, "kitsune: there is no output\n");
    run_cli(&run, "logs r1 --server web-9");
    assert_int_equal(run.status, CLI_USAGE);
    assert_string_equal(run.err, "kitsune: server web-9 is not in rollout r1\n");
    run_done(&run);
    server_stop(server);
    free(doc);
}

int main(void)
{
    if (!setlocale(LC_CTYPE, "C.UTF-8"))
        return EXIT_FAILURE;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rollouts_are_listed_page_by_page),
        cmocka_unit_test(servers_are_listed_with_what_is_not_shown),
        cmocka_unit_test(the_servers_that_failed_come_first_when_there_are_many),
        cmocka_unit_test(all_servers_come_page_by_page),
        cmocka_unit_test(one_servers_steps_are_shown),
        cmocka_unit_test(events_come_page_by_page),
        cmocka_unit_test(outputs_are_shown_under_their_steps),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
