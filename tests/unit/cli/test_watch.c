/* watch, submit --watch, events --follow and logs --follow, against an orchestrator of canned
 * answers. */
#include "common/base/clock.h"
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

#define FIRST_LOOK "GET /v1/rollouts/r1?state=running&limit=1000"
#define LAST_LOOK "GET /v1/rollouts/r1?limit=1 "
#define EVENTS(after) "GET /v1/rollouts/r1/events?follow=true&after=" after

static char *running(int64_t last_seq)
{
    struct doc_rollout r = {.state = ROLLOUT_RUNNING, .last_seq = last_seq, .servers = 2};
    r.counts.pending = 2;
    return doc_rollout(&r);
}

static char *ended(enum rollout_state state, const char *reason)
{
    struct doc_rollout r = {.state = (int)state, .last_seq = 20, .reason = reason, .servers = 2};
    r.counts.succeeded = state == ROLLOUT_SUCCEEDED ? 2 : 1;
    r.counts.failed = 2 - r.counts.succeeded;
    return doc_rollout(&r);
}

static void lacks(const char *text, const char *part)
{
    if (strstr(text, part))
        fail_msg("\"%s\" is in:\n%s", part, text);
}

/* ---- To the end --------------------------------------------------------------------------------
 */

static void a_rollout_is_followed_to_its_end_line_by_line(void **state)
{
    (void)state;
    char *first = running(3);
    char *last = ended(ROLLOUT_ROLLED_BACK, "1 of 2 servers failed, 0 allowed");
    char *events = doc_join(
        doc_sse(4, "batch_started", ",\"batch\":1,\"count\":1"),
        doc_sse(5, "execution_started", ",\"server\":\"web-1\""),
        strdup("event: output\ndata: {\"server\":\"web-1\",\"step\":\"up\",\"attempt\":1,"
               "\"offset\":0,\"text\":\"noise\"}\n\n: keep-alive\n\n"),
        doc_sse(6, "step_ended",
                ",\"server\":\"web-1\",\"step\":\"up\",\"state\":\"failed\",\"message\":"
                "\"exit status 3\""),
        doc_sse(7, "execution_ended", ",\"server\":\"web-1\",\"state\":\"failed\""),
        doc_sse(8, "rollout_ended", ",\"state\":\"rolled_back\",\"message\":\"1 of 2\""), NULL);
    const struct canned table[] = {{.request = FIRST_LOOK, .body = first},
                                   {.request = EVENTS("3 "), .body = events, .end = CANNED_HOLD},
                                   {.request = LAST_LOOK, .body = last}};
    struct server *server = server_start(table, 3);
    struct run run = {.url = server_url(server)};
    run_cli(&run, "watch r1");
    assert_int_equal(run.status, CLI_ROLLED_BACK);
    assert_string_equal(run.err, "");
    assert_string_equal(run.out,
                        "rollout r1 (patch-web) is running: Rolling, 2 servers: 2 pending\n"
                        "2026-11-21 06:00:04Z batch 1 of 2 started: 1 server\n"
                        "2026-11-21 06:00:07Z web-1 failed at step up: exit status 3\n"
                        "2026-11-21 06:00:08Z rollout r1 rolled_back: 1 of 2\n"
                        "rollout r1 rolled_back after 1m30s; of 2: 1 succeeded, 1 failed; "
                        "1 of 2 servers failed, 0 allowed\n");
    run_done(&run);
    server_stop(server);
    free(first);
    free(last);
    free(events);
}

static void the_exit_status_tells_the_outcome(void **state)
{
    (void)state;
    static const struct {
        enum rollout_state state;
        int status;
    } cases[] = {{ROLLOUT_SUCCEEDED, 0},
                 {ROLLOUT_FAILED, 2},
                 {ROLLOUT_CANCELLED, 2},
                 {ROLLOUT_ROLLED_BACK, 3},
                 {ROLLOUT_ROLLBACK_FAILED, 4}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char *doc = ended(cases[i].state, NULL);
        const struct canned table[] = {{.request = FIRST_LOOK, .body = doc}};
        struct server *server = server_start(table, 1);
        struct run run = {.url = server_url(server)};
        run_cli(&run, "watch r1");
        assert_int_equal(run.status, cases[i].status);
        contains(run.out, rollout_state_names[cases[i].state]);
        run_done(&run);
        server_stop(server);
        free(doc);
    }
}

static void with_json_every_line_is_a_document(void **state)
{
    (void)state;
    char *first = running(3);
    char *last = ended(ROLLOUT_SUCCEEDED, NULL);
    char *events = doc_join(doc_sse(4, "rollout_started", ""),
                            doc_sse(5, "rollout_ended", ",\"state\":\"succeeded\""), NULL);
    const struct canned table[] = {{.request = FIRST_LOOK, .body = first},
                                   {.request = EVENTS("3 "), .body = events, .end = CANNED_HOLD},
                                   {.request = LAST_LOOK, .body = last}};
    struct server *server = server_start(table, 3);
    struct run run = {.url = server_url(server), .terminal = true};
    run_cli(&run, "watch r1 -o json");
    assert_int_equal(run.status, CLI_OK);
    assert_memory_equal(run.out, "{\"seq\":4,", 9);
    contains(run.out, "\n{\"seq\":5,");
    contains(run.out, "\n{\"id\":\"r1\",");
    lacks(run.out, "\033");
    run_done(&run);
    server_stop(server);
    free(first);
    free(last);
    free(events);
}

static void on_a_terminal_lines_are_drawn_again(void **state)
{
    (void)state;
    char *first = running(3);
    char *last = ended(ROLLOUT_SUCCEEDED, NULL);
    char *events = doc_join(doc_sse(4, "batch_started", ",\"batch\":1,\"count\":1"),
                            doc_sse(5, "rollout_ended", ",\"state\":\"succeeded\""), NULL);
    const struct canned table[] = {{.request = FIRST_LOOK, .body = first},
                                   {.request = EVENTS("3 "), .body = events, .end = CANNED_HOLD},
                                   {.request = LAST_LOOK, .body = last}};
    struct server *server = server_start(table, 3);
    struct run run = {.url = server_url(server), .terminal = true};
    run_cli(&run, "watch r1");
    assert_int_equal(run.status, CLI_OK);
    contains(run.out, "r1 (patch-web): running, batch 1 of 2");
    contains(run.out, "\033[2A\r");
    contains(run.out, "batch 1 of 2 started: 1 server\n");
    contains(run.out, "rollout r1 \033[32msucceeded\033[0m after 1m30s");
    run_done(&run);
    server_stop(server);
    free(first);
    free(last);
    free(events);
}

/* ---- Lost connections --------------------------------------------------------------------------
 */

static void a_lost_connection_is_made_again_and_nothing_comes_twice(void **state)
{
    (void)state;
    char *first = running(3);
    char *last = ended(ROLLOUT_SUCCEEDED, NULL);
    char *one = doc_join(doc_sse(4, "batch_started", ",\"batch\":1,\"count\":1"),
                         strdup("id: 5\nevent: batch_ended\ndata: {\"se"), NULL);
    char *two = doc_join(doc_sse(4, "batch_started", ",\"batch\":1,\"count\":1"),
                         doc_sse(5, "batch_ended", ",\"batch\":1,\"count\":1"),
                         doc_sse(6, "rollout_ended", ",\"state\":\"succeeded\""), NULL);
    const struct canned table[] = {
        {.request = FIRST_LOOK, .body = first},
        {.request = EVENTS("3 "), .body = one, .end = CANNED_CLOSE},
        {.request = LAST_LOOK, .end = CANNED_DROP, .uses = 1},
        {.request = LAST_LOOK, .status = 503, .body = "{}", .uses = 1},
        {.request = LAST_LOOK, .body = first, .uses = 1},
        {.request = EVENTS("4 "), .body = two, .end = CANNED_HOLD},
        {.request = LAST_LOOK, .body = last},
    };
    struct server *server = server_start(table, 7);
    struct run run = {.url = server_url(server)};
    run_cli(&run, "watch r1");
    assert_int_equal(run.status, CLI_OK);
    assert_string_equal(run.out,
                        "rollout r1 (patch-web) is running: Rolling, 2 servers: 2 pending\n"
                        "2026-11-21 06:00:04Z batch 1 of 2 started: 1 server\n"
                        "2026-11-21 06:00:05Z batch 1 of 2 ended\n"
                        "2026-11-21 06:00:06Z rollout r1 succeeded\n"
                        "rollout r1 succeeded after 1m30s; of 2: 2 succeeded\n");
    assert_string_equal(run.err, "kitsune: the connection to the orchestrator is lost (the "
                                 "orchestrator closed the connection); trying again\n"
                                 "kitsune: connected again\n");
    assert_int_equal(server_asked(server, EVENTS("4 [Last-Event-ID: 4]")), 1);
    run_done(&run);
    server_stop(server);
    free(first);
    free(last);
    free(one);
    free(two);
}

static void too_many_requests_are_waited_out_and_nothing_is_missed(void **state)
{
    (void)state;
    char *first = running(3);
    char *last = ended(ROLLOUT_SUCCEEDED, NULL);
    char *events = doc_sse(4, "rollout_ended", ",\"state\":\"succeeded\"");
    const struct canned table[] = {
        {.request = FIRST_LOOK, .body = first},
        {.request = EVENTS("3 "),
         .status = 429,
         .headers = "Retry-After: 1\r\n",
         .body = "{}",
         .uses = 1},
        {.request = LAST_LOOK, .body = first, .uses = 1},
        {.request = EVENTS("3 "), .body = events, .end = CANNED_HOLD},
        {.request = LAST_LOOK, .body = last},
    };
    struct server *server = server_start(table, 5);
    struct run run = {.url = server_url(server)};
    int64_t begun = clock_mono_ms();
    run_cli(&run, "watch r1");
    assert_int_equal(run.status, CLI_OK);
    assert_true(clock_mono_ms() - begun >= 1000);
    contains(run.err, "is lost (it has too many requests); trying again\n");
    run_done(&run);
    server_stop(server);
    free(first);
    free(last);
    free(events);
}

static void access_that_is_taken_away_ends_the_watching(void **state)
{
    (void)state;
    char *first = running(3);
    const struct canned table[] = {
        {.request = FIRST_LOOK, .body = first},
        {.request = EVENTS("3 "), .end = CANNED_CLOSE},
        {.request = LAST_LOOK, .status = 401, .body = "{\"title\":\"Not authenticated\"}"}};
    struct server *server = server_start(table, 3);
    struct run run = {.url = server_url(server)};
    run_cli(&run, "watch r1");
    assert_int_equal(run.status, CLI_USAGE);
    contains(run.err, "kitsune: Not authenticated\n  no token was sent");
    run_done(&run);
    server_stop(server);
    free(first);
}

static void an_end_that_came_while_the_connection_was_lost_is_found(void **state)
{
    (void)state;
    char *first = running(20);
    char *last = ended(ROLLOUT_FAILED, NULL);
    const struct canned table[] = {{.request = FIRST_LOOK, .body = first},
                                   {.request = EVENTS("20 "), .end = CANNED_CLOSE},
                                   {.request = LAST_LOOK, .body = last}};
    struct server *server = server_start(table, 3);
    struct run run = {.url = server_url(server)};
    run_cli(&run, "watch r1");
    assert_int_equal(run.status, CLI_FAILED);
    contains(run.out, "rollout r1 failed after 1m30s");
    run_done(&run);
    server_stop(server);
    free(first);
    free(last);
}

static void without_an_orchestrator_the_watching_is_given_up(void **state)
{
    (void)state;
    char *first = running(3);
    const struct canned table[] = {{.request = FIRST_LOOK, .body = first},
                                   {.request = "GET /", .end = CANNED_DROP}};
    struct server *server = server_start(table, 2);
    struct run run = {.url = server_url(server), .give_up_ms = 300};
    run_cli(&run, "watch r1");
    assert_int_equal(run.status, CLI_UNREACHABLE);
    contains(run.err, "is lost (");
    contains(run.err, "cannot reach the orchestrator at http://127.0.0.1:");
    run_done(&run);
    server_stop(server);
    free(first);
}

static void a_rollout_that_is_gone_is_not_waited_for(void **state)
{
    (void)state;
    char *first = running(3);
    const struct canned table[] = {{.request = FIRST_LOOK, .body = first}};
    struct server *server = server_start(table, 1);
    struct run run = {.url = server_url(server)};
    run_cli(&run, "watch r1");
    assert_int_equal(run.status, CLI_USAGE);
    contains(run.err, "Not found");
    run_done(&run);
    server_stop(server);
    free(first);
}

static void ctrl_c_leaves_the_rollout_running_and_says_so(void **state)
{
    (void)state;
    char *first = running(3);
    char *events = doc_sse(4, "batch_started", ",\"batch\":1,\"count\":1");
    const struct canned table[] = {
        {.request = FIRST_LOOK, .body = first},
        {.request = EVENTS("3 "), .body = events, .end = CANNED_INTERRUPT}};
    struct server *server = server_start(table, 2);
    struct run run = {.url = server_url(server)};
    run_cli(&run, "watch r1");
    assert_int_equal(run.status, CLI_INTERRUPTED);
    contains(run.err, "rollout r1 goes on; \"kitsune watch r1\" follows it again, "
                      "\"kitsune cancel r1\" stops it");
    assert_int_equal(server_asked(server, "POST"), 0);
    run_done(&run);
    server_stop(server);
    free(first);
    free(events);
}

/* ---- events and logs ---------------------------------------------------------------------------
 */

static void events_of_a_rollout_that_was_opened_again_are_followed_past_its_first_end(void **state)
{
    (void)state;
    char *open = running(4);
    char *first = doc_sse(3, "rollout_ended", ",\"state\":\"succeeded\"");
    char *events = doc_join(strdup(first), doc_sse(4, "rollback_requested", ""),
                            doc_sse(5, "rollout_ended", ",\"state\":\"rolled_back\""), NULL);
    struct doc_rollout over = {.state = ROLLOUT_ROLLED_BACK, .last_seq = 5, .servers = 2};
    char *ended = doc_rollout(&over);
    const struct canned table[] = {
        {.request = "GET /v1/rollouts/r?limit=1 ", .body = open, .uses = 1},
        {.request = "GET /v1/rollouts/r?limit=1 ", .body = ended},
        {.request = EVENTS("0 "), .body = events, .end = CANNED_HOLD}};
    struct server *server = server_start(table, 3);
    struct run run = {.url = server_url(server)};
    /* While it is open, and after it was closed again. */
    for (int i = 0; i < 2; i++) {
        run_cli(&run, "events r --follow");
        assert_int_equal(run.status, CLI_OK);
        contains(run.out, "5  2026-11-21 06:00:05  rollout_ended");
    }
    run_done(&run);
    server_stop(server);
    free(open);
    free(first);
    free(events);
    free(ended);
}

static void events_are_followed_as_a_table(void **state)
{
    (void)state;
    char *first = running(3);
    char *events =
        doc_join(doc_sse(1, "rollout_created", ",\"by\":\"root@bastion\""),
                 doc_sse(2, "step_ended",
                         ",\"server\":\"web-1\",\"step\":\"up\",\"attempt\":2,\"state\":\"failed\","
                         "\"exitCode\":3,\"durationMs\":1500,\"message\":\"exit status 3\""),
                 doc_sse(3, "rollout_ended", ",\"state\":\"failed\""), NULL);
    const struct canned table[] = {{.request = "GET /v1/rollouts/r?limit=1 ", .body = first},
                                   {.request = EVENTS("0 "), .body = events, .end = CANNED_HOLD}};
    struct server *server = server_start(table, 2);
    struct run run = {.url = server_url(server)};
    run_cli(&run, "events r --follow");
    assert_int_equal(run.status, CLI_OK);
    assert_string_equal(
        run.out,
        "SEQ  TIME (UTC)           EVENT            SERVER  STEP  DETAIL\n"
        "  1  2026-11-21 06:00:01  rollout_created  -       -     by root@bastion\n"
        "  2  2026-11-21 06:00:02  step_ended       web-1   up    failed, attempt 2, exit status 3,"
        " 1.5s: exit status 3\n"
        "  3  2026-11-21 06:00:03  rollout_ended    -       -     failed\n");
    run_cli(&run, "events r --follow -o json");
    assert_int_equal(run.status, CLI_OK);
    assert_memory_equal(run.out, "{\"seq\":1,", 9);
    run_done(&run);
    server_stop(server);
    free(first);
    free(events);
}

static char web_1[] = "web-1";
static char step_up[] = "up";

static char *running_step(void)
{
    struct api_step step = {.name = step_up, .state = STEP_RUNNING, .attempt = 1};
    struct api_execution e = {
        .server = web_1, .state = EXECUTION_RUNNING, .steps = {.items = &step, .count = 1}};
    struct doc_rollout r = {
        .state = ROLLOUT_RUNNING, .last_seq = 3, .servers = 1, .executions = &e, .count = 1};
    return doc_rollout(&r);
}

#define OUTPUT(offset, text)                                                                       \
    "event: output\ndata: {\"server\":\"web-1\",\"step\":\"up\",\"attempt\":1,\"offset\":" offset  \
    ",\"text\":\"" text "\"}\n\n"

static void live_output_joins_what_was_printed_before(void **state)
{
    (void)state;
    char *doc = running_step();
    char *events = doc_join(
        strdup(OUTPUT("0", "one\\ntwo") OUTPUT("7", "\\nthree\\n")),
        doc_sse(4, "step_ended",
                ",\"server\":\"web-1\",\"step\":\"up\",\"attempt\":1,\"state\":\"succeeded\""),
        doc_sse(5, "rollout_ended", ",\"state\":\"succeeded\""), NULL);
    static const char output[] = "GET /v1/rollouts/r1/servers/web-1/steps/1/output";
    const struct canned table[] = {
        {.request = "GET /v1/rollouts/r1?", .body = doc},
        {.request = EVENTS("3 "), .body = events, .end = CANNED_HOLD},
        {.request = output, .headers = "X-Kitsune-Attempt: 1\r\n", .body = "one\n", .uses = 2},
        {.request = output,
         .headers = "X-Kitsune-Attempt: 1\r\n",
         .body = "one\ntwo\nthree\nfour\n"},
    };
    struct server *server = server_start(table, 4);
    struct run run = {.url = server_url(server)};
    run_cli(&run, "logs r1 --follow");
    assert_int_equal(run.status, CLI_OK);
    assert_string_equal(run.out, "== web-1 up (attempt 1)\none\ntwo\nthree\nfour\n");
    assert_string_equal(run.err, "");
    run_done(&run);
    server_stop(server);
    free(doc);
    free(events);
}

static void live_output_of_other_servers_is_passed_over(void **state)
{
    (void)state;
    char *doc = running_step();
    char *events =
        doc_join(strdup("event: output\ndata: {\"server\":\"web-2\",\"step\":\"up\",\"attempt\":1,"
                        "\"offset\":0,\"text\":\"other\"}\n\n" OUTPUT("0", "mine")),
                 doc_sse(5, "rollout_ended", ",\"state\":\"succeeded\""), NULL);
    const struct canned table[] = {
        {.request = "GET /v1/rollouts/r1?", .body = doc},
        {.request = EVENTS("3 "), .body = events, .end = CANNED_HOLD},
    };
    struct server *server = server_start(table, 2);
    struct run run = {.url = server_url(server)};
    run_cli(&run, "logs r1 --follow --server web-1 --step 1 -o json");
    assert_int_equal(run.status, CLI_OK);
    assert_string_equal(run.out, "{\"server\":\"web-1\",\"step\":\"up\",\"attempt\":1,"
                                 "\"offset\":0,\"text\":\"mine\"}\n");
    run_done(&run);
    server_stop(server);
    free(doc);
    free(events);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_rollout_is_followed_to_its_end_line_by_line),
        cmocka_unit_test(the_exit_status_tells_the_outcome),
        cmocka_unit_test(with_json_every_line_is_a_document),
        cmocka_unit_test(on_a_terminal_lines_are_drawn_again),
        cmocka_unit_test(a_lost_connection_is_made_again_and_nothing_comes_twice),
        cmocka_unit_test(too_many_requests_are_waited_out_and_nothing_is_missed),
        cmocka_unit_test(access_that_is_taken_away_ends_the_watching),
        cmocka_unit_test(an_end_that_came_while_the_connection_was_lost_is_found),
        cmocka_unit_test(without_an_orchestrator_the_watching_is_given_up),
        cmocka_unit_test(a_rollout_that_is_gone_is_not_waited_for),
        cmocka_unit_test(ctrl_c_leaves_the_rollout_running_and_says_so),
        cmocka_unit_test(events_of_a_rollout_that_was_opened_again_are_followed_past_its_first_end),
        cmocka_unit_test(events_are_followed_as_a_table),
        cmocka_unit_test(live_output_joins_what_was_printed_before),
        cmocka_unit_test(live_output_of_other_servers_is_passed_over),
    };
    if (!setlocale(LC_CTYPE, "C.UTF-8"))
        return EXIT_FAILURE;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
