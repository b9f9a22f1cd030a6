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

/* Nothing is there: every request fails. */
static char nowhere[64];

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
    run_cli(&run, "handlers file_write -o json");
    contains(run.out, "\"x-secrets\"");
    run_cli(&run, "handlers echo -o json");
    expect_json(run.out);
    run_cli(&run, "handlers -o json");
    expect_json(run.out);
    run_cli(&run, "handlers ech");
    assert_int_equal(run.status, CLI_USAGE);
    assert_string_equal(
        run.err, "kitsune: there is no step type \"ech\": there are command_check, "
                 "directory, echo, file_remove, file_write, http_check, reboot, release, script, "
                 "service, sleep, symlink, tcp_check, yum_install, yum_remove, yum_upgrade\n");
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

/* ---- orders ----------------------------------------------------------------------
 */

static void orders_say_who_and_why(void **state)
{
    (void)state;
    struct doc_rollout r = {.state = ROLLOUT_RUNNING, .last_seq = 3, .servers = 2};
    char *doc = doc_rollout(&r);
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

static int find_nowhere(void **state)
{
    static int fd;
    fd = server_nowhere(nowhere, sizeof(nowhere));
    *state = &fd;
    return 0;
}

static int leave_nowhere(void **state)
{
    return close(*(int *)*state);
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
        cmocka_unit_test(orders_say_who_and_why),
    };
    if (!setlocale(LC_CTYPE, "C.UTF-8"))
        return EXIT_FAILURE;
    return cmocka_run_group_tests(tests, find_nowhere, leave_nowhere);
}
