/* Checks, against an orchestrator of canned answers. */
#include "orchestrator/cli/cli.h"
#include "unit/cli/support_run.h"
#include "unit/cli/support_server.h"

#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define PLAN                                                                                       \
    "{\"servers\":[\"web-1\"],\"steps\":[{\"name\":\"say\",\"type\":\"echo\",\"params\":"          \
    "{\"message\":\"hi\"}}]}"
#define STEP(name, changed, message)                                                               \
    "{\"name\":\"" name "\",\"state\":\"succeeded\",\"attempt\":1,\"changed\":" changed            \
    ",\"message\":\"" message "\"}"
#define SERVER(id, unchanged, steps)                                                               \
    "{\"server\":\"" id "\",\"state\":\"succeeded\",\"outcome\":\"succeeded\",\"connected\":true," \
    "\"unchanged\":" unchanged ",\"steps\":[" steps "]}"
#define ROLLOUT(state, servers, more)                                                              \
    "{\"id\":\"c1\",\"check\":true,\"state\":\"" state                                             \
    "\",\"created\":\"2026-11-21T06:00:00.000Z\",\"ended\":\"2026-11-21T06:00:02.000Z\","          \
    "\"strategy\":\"Parallel\",\"batch\":1,\"batches\":1,\"servers\":4,\"counts\":{\"pending\":0," \
    "\"inFlight\":0,\"succeeded\":4,\"failed\":0,\"unreachable\":0,\"unknown\":0,"                 \
    "\"cancelled\":0,\"skipped\":0,\"unchanged\":1,\"rolledBack\":0,\"rollbackFailed\":0},"        \
    "\"lastSeq\":9,\"plan\":{},\"executions\":[" servers "],\"more\":" more "}"

#define WRITES                                                                                     \
    STEP("write", "true", "would change /f (diff 1)") "," STEP("gate", "false", "healthy")
#define FIRST                                                                                      \
    SERVER("web-1", "false", WRITES)                                                               \
    "," SERVER("web-2", "false", WRITES) "," SERVER(                                               \
        "web-3", "false",                                                                          \
        STEP("write", "true", "would change /f (diff 2)") "," STEP("gate", "false", "healthy"))
#define SECOND                                                                                     \
    SERVER("web-4", "true",                                                                        \
           STEP("write", "false", "/f is so already") ","                                          \
                                                      "{\"name\":\"gate\",\"state\":\"failed\","   \
                                                      "\"message\":\"unhealthy\\u001b[2J\"}")

static const struct canned answers[] = {
    {.request = "GET /v1/rollouts/c1?limit=1000&offset=0 ", .body = ROLLOUT("failed", FIRST, "1")},
    {.request = "GET /v1/rollouts/c1?limit=1000&offset=3 ", .body = ROLLOUT("failed", SECOND, "0")},
    {.request = "GET /v1/rollouts/c1?limit=1 ", .body = ROLLOUT("failed", "", "4")},
    {.request = "GET /v1/rollouts/c1?limit=100 ", .body = ROLLOUT("failed", FIRST, "0")},
    {.request = "GET /v1/rollouts/c1?limit=1&server=web-1 ", .body = ROLLOUT("failed", FIRST, "0")},
    {.request = "GET /v1/rollouts/c1?state=running", .body = ROLLOUT("failed", "", "0")},
    {.request = "GET /v1/rollouts/c1/servers/web-1/steps/1/output ",
     .body = "--- /f\n+++ /f\n@@ -1 +1 @@\n-a\n+b\x1b[31m\n"},
    {.request = "GET /v1/rollouts/c1/servers/web-3/steps/1/output ", .body = "cut"},
};
enum { ANSWERS = sizeof(answers) / sizeof(answers[0]) };

static const char found[] = "step 1 (write)\n"
                            "  would change on web-1, web-2: would change /f (diff 1)\n"
                            "    --- /f\n    +++ /f\n    @@ -1 +1 @@\n    -a\n    +b\\x1b[31m\n"
                            "  would change on web-3: would change /f (diff 2)\n"
                            "    cut\n"
                            "  unchanged on web-4: /f is so already\n"
                            "step 2 (gate)\n"
                            "  unchanged on web-1..web-3 (3 servers): healthy\n"
                            "  failed on web-4: unhealthy\\x1b[2J\n";

static void equal_results_are_shown_once(void **state)
{
    (void)state;
    struct server *server = server_start(answers, ANSWERS);
    struct run run = {.url = server_url(server)};
    run_cli(&run, "show c1");
    assert_int_equal(run.status, CLI_OK);
    contains(run.out, "check     nothing is changed\n");
    contains(run.out, "servers   4: 4 succeeded, 1 unchanged\n");
    contains(run.out, found);
    contains(run.out, "web-1   would change");
    assert_int_equal(server_asked(server, "GET /v1/rollouts/c1/servers/web-2/"), 0);
    assert_int_equal(server_asked(server, "GET /v1/rollouts/c1/servers/web-1/steps/2/"), 0);
    run_done(&run);
    server_stop(server);
}

static void they_follow_when_it_was_watched(void **state)
{
    (void)state;
    struct server *server = server_start(answers, ANSWERS);
    struct run run = {.url = server_url(server)};
    run_cli(&run, "watch c1");
    assert_int_equal(run.status, CLI_FAILED);
    contains(run.out, "check c1 failed after 2s; of 4: 4 succeeded, 1 unchanged\n");
    contains(run.out, found);
    run_cli(&run, "watch c1 -o json");
    assert_int_equal(run.status, CLI_FAILED);
    assert_null(strstr(run.out, "would change on"));
    run_done(&run);
    server_stop(server);
}

static void one_servers_steps_say_what_they_would(void **state)
{
    (void)state;
    struct server *server = server_start(answers, ANSWERS);
    struct run run = {.url = server_url(server)};
    run_cli(&run, "show c1 --server web-1");
    assert_int_equal(run.status, CLI_OK);
    contains(run.out, "state     would change\n");
    contains(run.out, "1  write  would change");
    contains(run.out, "2  gate   unchanged");
    run_done(&run);
    server_stop(server);
}

static void without_an_output_there_is_the_message(void **state)
{
    (void)state;
    struct server *server = server_start(answers, 6);
    struct run run = {.url = server_url(server)};
    run_cli(&run, "show c1");
    assert_int_equal(run.status, CLI_OK);
    contains(run.out, "would change /f (diff 1)\n  would change on web-3");
    run_done(&run);
    server_stop(server);
}

static void it_is_submitted_as_one(void **state)
{
    (void)state;
    static const struct canned table[] = {
        {.request = "POST /v1/rollouts?id=c1", .status = 201, .body = ROLLOUT("running", "", "0")}};
    struct server *server = server_start(table, 1);
    struct run run = {.url = server_url(server), .in = PLAN};
    run_cli(&run, "submit - --id c1 --check");
    assert_int_equal(run.status, CLI_OK);
    run_cli(&run, "submit - --id c1");
    assert_int_equal(run.status, CLI_OK);
    char *log = server_log(server);
    char *second = strchr(log, '\n') + 1;
    const char *check = strstr(log, "&check=true ");
    assert_true(check && check < second);
    assert_null(strstr(second, "check"));
    free(log);
    run_done(&run);
    server_stop(server);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equal_results_are_shown_once),
        cmocka_unit_test(they_follow_when_it_was_watched),
        cmocka_unit_test(one_servers_steps_say_what_they_would),
        cmocka_unit_test(without_an_output_there_is_the_message),
        cmocka_unit_test(it_is_submitted_as_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
