/* What people order, against an orchestrator of canned answers. */
#include "common/base/cleanup.h"
#include "common/json/json.h"
#include "orchestrator/cli/cli.h"
#include "unit/cli/support_docs.h"
#include "unit/cli/support_run.h"
#include "unit/cli/support_server.h"

#include <locale.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static char name_1[] = "web-1";
static char message[] = "somebody else has changed /etc/x";

/* A rollout in a state, with one server in another. */
static char *picture(int state, int server_state, bool conflict)
{
    struct api_execution e = {.server = name_1,
                              .state = server_state,
                              .outcome = EXECUTION_SUCCEEDED,
                              .conflict = conflict,
                              .message = conflict ? message : NULL};
    struct doc_rollout r = {
        .state = state, .last_seq = 9, .servers = 2, .executions = &e, .count = 1};
    return doc_rollout(&r);
}

static void a_rollback_says_who_what_and_why(void **state)
{
    (void)state;
    char *doc = picture(ROLLOUT_ROLLING_BACK, EXECUTION_ROLLING_BACK, false);
    const struct canned table[] = {
        {.request = "POST /v1/rollouts/r/rollback ", .status = 202, .body = doc}};
    struct server *server = server_start(table, 1);
    struct run run = {.url = server_url(server)};
    run_cli(&run, "rollback r --reason leak --now");
    assert_int_equal(run.status, CLI_OK);
    assert_string_equal(run.out, "rollout r1: rollback requested; it is rolling_back\n");
    run_cli(&run, "rollback r -s web-1 --server=web-2 --force");
    assert_int_equal(run.status, CLI_OK);
    run_cli(&run, "rollback r --force");
    assert_int_equal(run.status, CLI_USAGE);
    contains(run.err, "--force is for single servers");
    assert_int_equal(server_asked(server, "POST"), 2);
    char *log = server_log(server);
    contains(log, "POST /v1/rollouts/r/rollback {\"now\":true,\"by\":\"");
    contains(log, ",\"reason\":\"leak\"}\n");
    contains(log, "{\"servers\":[\"web-1\",\"web-2\"],\"force\":true,\"by\":\"");
    free(log);
    run_done(&run);
    server_stop(server);
    free(doc);
}

/* `rollback r1 --watch` and more words, when it ends so. */
static void expect_watched(const char *words, int end_state, int server_state, int status)
{
    char *asked = picture(ROLLOUT_ROLLING_BACK, EXECUTION_ROLLING_BACK, false);
    char *end = picture(end_state, server_state, server_state == EXECUTION_ROLLBACK_FAILED);
    const struct canned table[] = {
        {.request = "POST /v1/rollouts/r1/rollback ", .status = 202, .body = asked},
        {.request = "GET /v1/rollouts/r1?", .body = end}};
    struct server *server = server_start(table, 2);
    struct run run = {.url = server_url(server)};
    run_cli(&run, words);
    if (run.status != status)
        fail_msg("\"%s\", %s, %s: %d", words, rollout_state_names[end_state],
                 execution_state_names[server_state], run.status);
    if (status == CLI_ROLLBACK_FAILED && strstr(words, "--server"))
        contains(run.err, "server web-1 is ");
    run_done(&run);
    server_stop(server);
    free(asked);
    free(end);
}

static void the_exit_status_tells_whether_what_was_asked_for_is_undone(void **state)
{
    (void)state;
    static const char all[] = "rollback r1 --watch";
    static const char one[] = "rollback r1 --server web-1 --watch";
    expect_watched(all, ROLLOUT_ROLLED_BACK, EXECUTION_ROLLED_BACK, CLI_OK);
    expect_watched(all, ROLLOUT_CANCELLED, EXECUTION_SKIPPED, CLI_OK);
    expect_watched(all, ROLLOUT_ROLLBACK_FAILED, EXECUTION_ROLLED_BACK, CLI_ROLLBACK_FAILED);
    /* One server, whatever became of the rollout. */
    expect_watched(one, ROLLOUT_SUCCEEDED, EXECUTION_ROLLED_BACK, CLI_OK);
    expect_watched(one, ROLLOUT_ROLLBACK_FAILED, EXECUTION_ROLLED_BACK, CLI_OK);
    expect_watched(one, ROLLOUT_ROLLED_BACK, EXECUTION_ROLLBACK_FAILED, CLI_ROLLBACK_FAILED);
    expect_watched(one, ROLLOUT_FAILED, EXECUTION_UNKNOWN, CLI_ROLLBACK_FAILED);
}

static void a_refused_rollback_says_what_stands_in_the_way(void **state)
{
    (void)state;
    static const struct canned table[] = {
        {.request = "POST /v1/rollouts/r1/rollback ",
         .status = 409,
         .body = "{\"title\":\"Not possible now\",\"status\":409,\"detail\":\"rollout r2\"}"}};
    struct server *server = server_start(table, 1);
    struct run run = {.url = server_url(server)};
    run_cli(&run, "rollback r1 --watch");
    assert_int_equal(run.status, CLI_USAGE);
    assert_string_equal(run.err, "kitsune: Not possible now: rollout r2\n");
    run_done(&run);
    server_stop(server);
}

static void a_server_is_settled_with_a_state_and_a_reason(void **state)
{
    (void)state;
    char *doc = picture(ROLLOUT_ROLLED_BACK, EXECUTION_ROLLED_BACK, false);
    const struct canned table[] = {
        {.request = "POST /v1/rollouts/r1/servers/web-1/resolve ", .status = 202, .body = doc}};
    struct server *server = server_start(table, 1);
    struct run run = {.url = server_url(server)};
    run_cli(&run, "resolve r1 web-1 --as rolled_back --reason reinstalled");
    assert_int_equal(run.status, CLI_OK);
    assert_string_equal(run.out,
                        "rollout r1: web-1 is settled as rolled_back; it is rolled_back\n");
    char *log = server_log(server);
    contains(log, "{\"as\":\"rolled_back\",\"by\":\"");
    contains(log, ",\"reason\":\"reinstalled\"}\n");
    free(log);
    run_cli(&run, "resolve r1 web-1 --as rolled_back");
    assert_int_equal(run.status, CLI_USAGE);
    contains(run.err, "--reason is missing");
    run_cli(&run, "resolve r1 web-1 --reason x");
    contains(run.err, "--as is missing");
    run_cli(&run, "resolve r1 web-1 --as suceeded --reason x");
    contains(run.err, "did you mean \"succeeded\"?");
    run_cli(&run, "resolve r1 web-1 --as unreachable --reason x");
    assert_int_equal(run.status, CLI_USAGE);
    assert_int_equal(server_asked(server, "POST"), 1);
    run_done(&run);
    server_stop(server);
    free(doc);
}

static void a_retry_is_asked_for_under_an_id_and_its_repeat_under_the_same(void **state)
{
    (void)state;
    char *doc = picture(ROLLOUT_RUNNING, EXECUTION_QUEUED, false);
    const struct canned table[] = {
        {.request = "POST /v1/rollouts/r1/retry?id=r2&by=", .end = CANNED_DROP, .uses = 1},
        {.request = "POST /v1/rollouts/r1/retry?id=r2&by=", .status = 201, .body = doc},
        {.request = "POST /v1/rollouts/r1/retry?id=", .status = 201, .body = doc}};
    struct server *server = server_start(table, 3);
    struct run run = {.url = server_url(server)};
    run_cli(&run, "retry r1 --id r2 --no-wait");
    assert_int_equal(run.status, CLI_OK);
    assert_string_equal(run.out, "r2\n");
    assert_int_equal(server_asked(server, "POST"), 2);
    char *log = server_log(server);
    contains(log, "&wait=false\n");
    free(log);
    run_cli(&run, "retry r1");
    assert_int_equal(strlen(run.out), 17);
    run_done(&run);
    server_stop(server);
    free(doc);
}

static void a_lock_tells_who_and_why(void **state)
{
    (void)state;
    static const struct canned table[] = {
        {.request = "POST /v1/servers/a/lock ",
         .body = "{\"id\":\"a\",\"connected\":false,\"waiting\":0,\"handlers\":[],\"rollout\":"
                 "\"r1\",\"lock\":{\"locked\":true,\"reason\":\"r\"}}"},
        {.request = "POST /v1/servers/a/unlock ",
         .body = "{\"id\":\"a\",\"connected\":false,\"waiting\":0,\"handlers\":[],\"lock\":{"
                 "\"locked\":false,\"reason\":\"r\"}}"}};
    struct server *server = server_start(table, 2);
    struct run run = {.url = server_url(server)};
    run_cli(&run, "lock a");
    assert_int_equal(run.status, CLI_USAGE);
    contains(run.err, "--reason is missing");
    run_cli(&run, "lock a --reason disk");
    assert_int_equal(run.status, CLI_OK);
    assert_string_equal(run.out,
                        "server a is locked: nothing new begins there; rollout r1 holds it\n");
    run_cli(&run, "unlock a");
    assert_string_equal(run.out, "server a is unlocked\n");
    char *log = server_log(server);
    contains(log, "POST /v1/servers/a/lock {\"by\":\"");
    contains(log, ",\"reason\":\"disk\"}\n");
    contains(log, "POST /v1/servers/a/unlock {\"by\":\"");
    free(log);
    run_done(&run);
    server_stop(server);
}

static void a_servers_lock_and_what_touched_it_are_shown(void **state)
{
    (void)state;
    static const struct canned table[] = {
        {.request = "GET /v1/servers/a ",
         .body = "{\"id\":\"a\",\"connected\":false,\"waiting\":0,\"handlers\":[],\"undoBytes\":"
                 "1536,\"undoMaxBytes\":4294967296,\"lock\":{\"locked\":true,\"by\":\"me\","
                 "\"reason\":\"disk\",\"since\":\"2026-11-21T06:00:00.000Z\"},\"touchedBy\":["
                 "{\"rollout\":\"r2\",\"created\":\"2026-11-21T06:00:00.000Z\",\"undone\":false},"
                 "{\"rollout\":\"r1\",\"created\":\"2026-11-20T06:00:00.000Z\",\"undone\":true}]}"},
        {.request = "GET /v1/servers/b ",
         .body = "{\"id\":\"b\",\"connected\":false,\"waiting\":0,\"handlers\":[],\"lock\":{"
                 "\"locked\":false,\"by\":\"me\",\"reason\":\"disk\",\"unlockedBy\":\"you\","
                 "\"unlocked\":\"2026-11-22T06:00:00.000Z\"}}"}};
    struct server *server = server_start(table, 2);
    struct run run = {.url = server_url(server)};
    run_cli(&run, "server a");
    assert_int_equal(run.status, CLI_OK);
    contains(run.out, "lock       locked by me on 2026-11-21 06:00:00 UTC: disk\n");
    contains(run.out, "undo data  1.5 KiB of at most 4.0 GiB\n");
    contains(run.out, "TOUCHED BY  CREATED (UTC)        UNDONE\n"
                      "r2          2026-11-21 06:00:00  no\n"
                      "r1          2026-11-20 06:00:00  yes\n");
    run_cli(&run, "server b");
    contains(run.out, "lock       unlocked by you on 2026-11-22 06:00:00 UTC; it was: disk\n");
    contains(run.out, "undo data  0 bytes\n");
    run_done(&run);
    server_stop(server);
}

static void conflicts_locks_and_retries_are_shown(void **state)
{
    (void)state;
    char by[] = "me", why[] = "disk", step_name[] = "conf", origin[] = "r0";
    struct api_step step = {
        .name = step_name, .state = STEP_ROLLBACK_FAILED, .attempt = 1, .conflict = true};
    struct api_execution e[] = {
        {.server = name_1,
         .state = EXECUTION_ROLLBACK_FAILED,
         .outcome = EXECUTION_SUCCEEDED,
         .conflict = true,
         .message = message,
         .steps = {.items = &step, .count = 1}},
        {.server = name_1, .state = EXECUTION_QUEUED, .locked_by = by, .lock_reason = why},
        {.server = name_1, .state = EXECUTION_FAILED, .resolved = true}};
    char id[] = "r1", created[] = "2026-11-21T06:00:00.000Z", strategy[] = "Parallel";
    struct api_rollout r = {.id = id,
                            .retry_of = origin,
                            .state = ROLLOUT_RUNNING,
                            .created = created,
                            .strategy = strategy,
                            .servers = 3,
                            .executions = {.items = e, .count = 3}};
    char *doc = doc_encode(&api_rollout_table, &r);
    const struct canned table[] = {{.request = "GET /v1/rollouts/r1?", .body = doc}};
    struct server *server = server_start(table, 1);
    struct run run = {.url = server_url(server)};
    run_cli(&run, "show r1");
    assert_int_equal(run.status, CLI_OK);
    contains(run.out, "retry of  r0\n");
    contains(run.out, "rollback_failed (succeeded), conflict  ");
    contains(run.out, "somebody else has changed /etc/x\n");
    contains(run.out, "locked by me: disk\n");
    contains(run.out, "failed, by hand");
    run_cli(&run, "show r1 --server web-1");
    contains(run.out, "conf  rollback_failed, conflict");
    run_done(&run);
    server_stop(server);
    free(doc);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_rollback_says_who_what_and_why),
        cmocka_unit_test(the_exit_status_tells_whether_what_was_asked_for_is_undone),
        cmocka_unit_test(a_refused_rollback_says_what_stands_in_the_way),
        cmocka_unit_test(a_server_is_settled_with_a_state_and_a_reason),
        cmocka_unit_test(a_retry_is_asked_for_under_an_id_and_its_repeat_under_the_same),
        cmocka_unit_test(a_lock_tells_who_and_why),
        cmocka_unit_test(a_servers_lock_and_what_touched_it_are_shown),
        cmocka_unit_test(conflicts_locks_and_retries_are_shown),
    };
    if (!setlocale(LC_CTYPE, "C.UTF-8"))
        return EXIT_FAILURE;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
