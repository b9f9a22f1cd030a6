/* The commands against an orchestrator of canned answers, and those that need none. */
#include "common/base/cleanup.h"
#include "common/json/json.h"
#include "common/plan/plan.h"
#include "orchestrator/cli/cli.h"
#include "unit/cli/support_docs.h"
#include "unit/cli/support_run.h"
#include "unit/cli/support_server.h"

#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

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

static void contains(const char *text, const char *part)
{
    if (!strstr(text, part))
        fail_msg("\"%s\" is not in:\n%s", part, text);
}

/* Nothing is there: every request fails. */
static char nowhere[64];

static void expect_json(const char *text)
{
    struct json_doc *doc = NULL;
    struct error err = {0};
    if (json_parse(text, strlen(text), 1 << 24, &doc, &err) != ERR_OK)
        fail_msg("%s:\n%s", err.message, text);
    json_free(doc);
}

/* ---- Without an orchestrator -------------------------------------------------------------------
 */

static void a_valid_plan_is_summed_up(void **state)
{
    (void)state;
    struct run run = {.in = PLAN};
    run_cli(&run, "validate -");
    assert_int_equal(run.status, CLI_OK);
    assert_string_equal(run.out,
                        "standard input: valid: Sequential, 2 servers, 1 step, 2 batches\n");
    run_cli(&run, "validate - -o json");
    assert_int_equal(run.status, CLI_OK);
    expect_json(run.out);
    contains(run.out, "\"valid\": true");
    run_done(&run);
}

static void all_faults_of_a_plan_are_told_at_once(void **state)
{
    (void)state;
    struct run run = {.in = BAD_PLAN};
    run_cli(&run, "validate -");
    assert_int_equal(run.status, CLI_USAGE);
    assert_string_equal(run.out, "");
    contains(run.err, "standard input: servers[1]: ");
    contains(run.err, "standard input: steps[0].type: \"ech\" is not a step type");
    contains(run.err, "standard input: x: ");
    contains(run.err, "the plan has 3 faults");
    run_cli(&run, "validate - -o json");
    assert_int_equal(run.status, CLI_USAGE);
    expect_json(run.out);
    contains(run.out, "\"path\": \"steps[0].type\"");
    run_done(&run);
}

static void a_plan_that_cannot_be_read_is_named(void **state)
{
    (void)state;
    struct run run = {0};
    run_cli(&run, "validate /nonexistent/plan.json");
    assert_int_equal(run.status, CLI_USAGE);
    assert_string_equal(
        run.err, "kitsune: /nonexistent/plan.json: cannot be opened: No such file or directory\n");
    run_cli(&run, "validate /");
    assert_int_equal(run.status, CLI_USAGE);
    contains(run.err, "kitsune: /: cannot be ");
    run_done(&run);
}

static void a_plan_that_is_too_long_is_refused(void **state)
{
    (void)state;
    char *text = malloc((size_t)PLAN_MAX_BYTES + 2);
    assert_non_null(text);
    memset(text, ' ', (size_t)PLAN_MAX_BYTES + 1);
    text[(size_t)PLAN_MAX_BYTES + 1] = '\0';
    struct run run = {.in = text};
    run_cli(&run, "validate -");
    assert_int_equal(run.status, CLI_USAGE);
    assert_true(strlen(run.err) > 0);
    run_done(&run);
    free(text);
}

static void step_types_are_documented_without_an_orchestrator(void **state)
{
    (void)state;
    struct run run = {.url = nowhere};
    run_cli(&run, "handlers");
    assert_int_equal(run.status, CLI_OK);
    contains(run.out, "yum_upgrade    yes");
    run_cli(&run, "handlers file_write");
    assert_int_equal(run.status, CLI_OK);
    contains(run.out, "PARAM ");
    contains(run.out, "mode            string            no        ");
    contains(run.out, "Rollback: ");
    run_cli(&run, "handlers echo -o json");
    expect_json(run.out);
    run_cli(&run, "handlers -o json");
    expect_json(run.out);
    run_cli(&run, "handlers ech");
    assert_int_equal(run.status, CLI_USAGE);
    assert_string_equal(run.err,
                        "kitsune: there is no step type \"ech\": there are command_check, "
                        "directory, echo, file_remove, file_write, http_check, script, service, "
                        "sleep, symlink, tcp_check, yum_install, yum_remove, yum_upgrade\n");
    run_done(&run);
}

static void the_schema_is_json(void **state)
{
    (void)state;
    struct run run = {0};
    run_cli(&run, "schema");
    assert_int_equal(run.status, CLI_OK);
    expect_json(run.out);
    contains(run.out, "\"rolloutStrategy\"");
    run_done(&run);
}

static void version_and_help_are_told(void **state)
{
    (void)state;
    struct run run = {0};
    run_cli(&run, "version");
    assert_string_equal(run.out, "kitsune " KITSUNE_VERSION "\n");
    run_cli(&run, "--version -o json");
    expect_json(run.out);
    run_cli(&run, "help submit");
    contains(run.out, "Usage: kitsune submit PLAN.json");
    char *help = strdup(run.out);
    run_cli(&run, "submit --help");
    assert_string_equal(run.out, help);
    free(help);
    run_cli(&run, "help");
    contains(run.out, "Commands:");
    run_cli(&run, "help sumbit");
    assert_int_equal(run.status, CLI_USAGE);
    contains(run.err, "did you mean \"submit\"?");
    run_cli(&run, "");
    assert_int_equal(run.status, CLI_USAGE);
    contains(run.err, "kitsune: a command is missing");
    run_done(&run);
}

static void every_command_that_asks_says_when_nobody_is_there(void **state)
{
    (void)state;
    static const char *const commands_that_ask[] = {"list",
                                                    "show r1",
                                                    "show r1 --all",
                                                    "show r1 --server a",
                                                    "watch r1",
                                                    "events r1",
                                                    "events r1 -f",
                                                    "logs r1",
                                                    "logs r1 -f",
                                                    "cancel r1",
                                                    "pause r1",
                                                    "resume r1",
                                                    "servers",
                                                    "server web-1",
                                                    "submit -",
                                                    "list --all",
                                                    "rollback r",
                                                    "retry r1",
                                                    "lock a -m x",
                                                    "unlock a",
                                                    "resolve r1 a --as failed -m x"};
    char expected[256];
    (void)snprintf(expected, sizeof(expected),
                   "kitsune: cannot reach the orchestrator at %s: connection refused (is "
                   "kitsune-orchestrator running? --orchestrator or KITSUNE_ORCHESTRATOR names "
                   "another)\n",
                   nowhere);
    for (size_t i = 0; i < ARRAY_LEN(commands_that_ask); i++) {
        struct run run = {.url = nowhere, .in = PLAN};
        run_cli(&run, commands_that_ask[i]);
        assert_int_equal(run.status, CLI_UNREACHABLE);
        assert_string_equal(run.err, expected);
        assert_string_equal(run.out, "");
        run_done(&run);
    }
}

static const char *env_none(const char *name)
{
    (void)name;
    return NULL;
}

static void a_closed_pipe_ends_the_program_quietly(void **state)
{
    (void)state;
    char program[] = "kitsune";
    char command[] = "help";
    char *argv[] = {program, command, NULL};
    char *err = NULL;
    size_t err_len = 0;
    int fds[2];
    assert_int_equal(pipe(fds), 0);
    (void)close(fds[0]);
    struct cli_io io = {.in = stdin,
                        .out = fdopen(fds[1], "w"),
                        .err = open_memstream(&err, &err_len),
                        .env = env_none};
    void (*before)(int) = signal(SIGPIPE, SIG_IGN);
    assert_int_equal(cli_run(2, argv, &io), CLI_PIPE);
    (void)fclose(io.out);
    (void)fclose(io.err);
    (void)signal(SIGPIPE, before);
    assert_string_equal(err, "");
    free(err);
}

static void a_full_disk_is_told(void **state)
{
    (void)state;
    char program[] = "kitsune";
    char command[] = "schema";
    char *argv[] = {program, command, NULL};
    char *err = NULL;
    size_t err_len = 0;
    struct cli_io io = {.in = stdin,
                        .out = fopen("/dev/full", "we"),
                        .err = open_memstream(&err, &err_len),
                        .env = env_none};
    assert_non_null(io.out);
    assert_int_equal(cli_run(2, argv, &io), CLI_USAGE);
    (void)fclose(io.out);
    (void)fclose(io.err);
    assert_string_equal(err, "kitsune: cannot write the output: No space left on device\n");
    free(err);
}

/* ---- submit ------------------------------------------------------------------------------------
 */

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

/* ---- events, logs, orders ----------------------------------------------------------------------
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

static void orders_say_who_and_why(void **state)
{
    (void)state;
    char *doc = taken_on();
    const struct canned table[] = {
        {.request = "POST /v1/rollouts/r%2F1/", .status = 202, .body = doc}};
    struct server *server = server_start(table, 1);
    struct run run = {.url = server_url(server)};
    run_cli(&run, "cancel r/1 --now --rollback --reason wrong");
    assert_int_equal(run.status, CLI_OK);
    assert_string_equal(run.out, "rollout r1: cancel requested; it is running\n");
    run_cli(&run, "pause r/1 --reason load");
    assert_int_equal(run.status, CLI_OK);
    run_cli(&run, "resume r/1 -o json");
    expect_json(run.out);
    char *log = server_log(server);
    contains(log, "POST /v1/rollouts/r%2F1/cancel {\"now\":true,\"rollback\":true,\"by\":\"");
    contains(log, ",\"reason\":\"wrong\"}\n");
    contains(log, "POST /v1/rollouts/r%2F1/pause {\"by\":\"");
    contains(log, "POST /v1/rollouts/r%2F1/resume {\"by\":\"");
    free(log);
    run_done(&run);
    server_stop(server);
    free(doc);
}

/* A port that nobody listens on: of a server that is gone. */
static int find_nowhere(void **state)
{
    (void)state;
    struct server *server = server_start(NULL, 0);
    (void)snprintf(nowhere, sizeof(nowhere), "%s", server_url(server));
    server_stop(server);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_valid_plan_is_summed_up),
        cmocka_unit_test(all_faults_of_a_plan_are_told_at_once),
        cmocka_unit_test(a_plan_that_cannot_be_read_is_named),
        cmocka_unit_test(a_plan_that_is_too_long_is_refused),
        cmocka_unit_test(step_types_are_documented_without_an_orchestrator),
        cmocka_unit_test(the_schema_is_json),
        cmocka_unit_test(version_and_help_are_told),
        cmocka_unit_test(every_command_that_asks_says_when_nobody_is_there),
        cmocka_unit_test(a_closed_pipe_ends_the_program_quietly),
        cmocka_unit_test(a_full_disk_is_told),
        cmocka_unit_test(a_plan_with_faults_is_not_sent),
        cmocka_unit_test(a_submission_always_has_an_id_and_its_repeat_the_same),
        cmocka_unit_test(a_chosen_id_and_no_wait_are_sent),
        cmocka_unit_test(submit_and_watch_give_the_outcome),
        cmocka_unit_test(a_refusal_is_told_with_all_its_faults),
        cmocka_unit_test(an_answer_that_is_no_document_is_told),
        cmocka_unit_test(rollouts_are_listed_page_by_page),
        cmocka_unit_test(servers_are_listed_with_what_is_not_shown),
        cmocka_unit_test(the_servers_that_failed_come_first_when_there_are_many),
        cmocka_unit_test(all_servers_come_page_by_page),
        cmocka_unit_test(one_servers_steps_are_shown),
        cmocka_unit_test(events_come_page_by_page),
        cmocka_unit_test(outputs_are_shown_under_their_steps),
        cmocka_unit_test(orders_say_who_and_why),
    };
    if (!setlocale(LC_CTYPE, "C.UTF-8"))
        return EXIT_FAILURE;
    return cmocka_run_group_tests(tests, find_nowhere, NULL);
}
