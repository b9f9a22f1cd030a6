/* login: whom it trusts, what it sends when, and what it saves. */
#include "common/base/cleanup.h"
#include "orchestrator/cli/cli.h"
#include "unit/cli/support_folder.h"
#include "unit/cli/support_run.h"
#include "unit/cli/support_server.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define TOKEN "kit_secret"
#define WHO "{\"name\":\"alice\",\"role\":\"operator\",\"expires\":\"2027-01-01T00:00:00.000Z\"}"
#define WHOAMI "GET /v1/whoami [Authorization: Bearer " TOKEN "]"

static struct folder folder;
static struct trust good, foreign;
static char home[FOLDER_PATH + 8];
static const char *environment[] = {home, NULL, NULL};

static int setup(void **state)
{
    char path[FOLDER_PATH];
    (void)state;
    folder_make(&folder);
    trust_make(&good, &folder, "good", "127.0.0.1");
    trust_make(&foreign, &folder, "foreign", "127.0.0.1");
    (void)snprintf(home, sizeof(home), "HOME=%s", folder_path(&folder, "home", path));
    environment[1] = NULL;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    trust_done(&good);
    trust_done(&foreign);
    folder_remove(&folder);
    return 0;
}

/* An orchestrator whose /v1/ca gives `ca`. */
static struct canned answers[3];
static struct server *serve(const char *ca, const char *pair)
{
    answers[0] = (struct canned){.request = "GET /v1/ca ", .body = ca};
    answers[1] = (struct canned){.request = "GET /v1/whoami ", .body = WHO};
    answers[2] = (struct canned){.request = "GET /v1/tokens ", .body = "{\"tokens\":[]}"};
    return server_start_with(
        &(struct server_config){.table = answers, .count = ARRAY_LEN(answers), .pair = pair});
}

static void login(struct run *run, const struct server *server, const char *more)
{
    char words[512];
    (void)snprintf(words, sizeof(words), "login %s %s", server_url(server), more);
    run->env = environment;
    run_cli(run, words);
}

static void with_fingerprint(struct run *run, const struct server *server, const char *fingerprint)
{
    char more[128];
    (void)snprintf(more, sizeof(more), "--ca-fingerprint %s", fingerprint);
    login(run, server, more);
}

static void nothing_is_saved(void)
{
    assert_null(folder_text(&folder, "home/.config/kitsune/config"));
}

/* The name under which files of this server are kept: "127.0.0.1_1234". */
static void kept_name(const struct server *server, const char *kind, char ret[FOLDER_PATH])
{
    const char *port = strrchr(server_url(server), ':') + 1;
    (void)snprintf(ret, FOLDER_PATH, "home/.config/kitsune/127.0.0.1_%s.%s", port, kind);
}

static void what_it_saves_serves_the_other_commands(void **state)
{
    (void)state;
    struct server *server = serve(good.ca, good.pair_file);
    struct run run = {.in = TOKEN "\n"};
    char name[FOLDER_PATH];
    with_fingerprint(&run, server, good.fingerprint);
    if (run.status != CLI_OK)
        fail_msg("%s", run.err);
    contains(run.out, " as alice (operator, until 2027-01-01 00:00:00 UTC); saved in ");
    assert_string_equal(run.err, "");
    kept_name(server, "token", name);
    char *token = folder_text(&folder, name);
    assert_string_equal(token, TOKEN);
    assert_int_equal(folder_mode(&folder, name), 0600);
    assert_int_equal(folder_mode(&folder, "home/.config/kitsune/config"), 0600);
    assert_int_equal(folder_mode(&folder, "home/.config/kitsune"), 0700);
    char *profile = folder_text(&folder, "home/.config/kitsune/config");
    assert_null(strstr(profile, TOKEN));
    run.in = NULL;
    run_cli(&run, "whoami");
    assert_int_equal(run.status, CLI_OK);
    contains(run.out, "name          alice\nrole          operator\n");
    contains(run.out, ".config/kitsune/config)\n");
    assert_null(strstr(run.out, TOKEN));
    assert_int_equal(server_asked(server, WHOAMI), 2);
    run_done(&run);
    free(profile);
    free(token);
    server_stop(server);
}

static void the_token_is_sent_when_the_ca_was_found_good_and_not_before(void **state)
{
    (void)state;
    struct server *server = serve(good.ca, good.pair_file);
    struct run run = {.in = TOKEN "\n"};
    with_fingerprint(&run, server, good.fingerprint);
    char *log = server_log(server);
    assert_string_equal(log, "GET /v1/ca\n" WHOAMI "\n");
    free(log);
    run_done(&run);
    server_stop(server);
}

static void another_fingerprint_ends_it_and_nothing_is_sent(void **state)
{
    (void)state;
    struct server *server = serve(foreign.ca, foreign.pair_file);
    struct run run = {.in = TOKEN "\n"};
    with_fingerprint(&run, server, good.fingerprint);
    assert_int_equal(run.status, CLI_USAGE);
    contains(run.err, "another orchestrator, or somebody stands between. Nothing was sent");
    assert_int_equal(server_asked(server, "GET /v1/whoami"), 0);
    nothing_is_saved();
    run_done(&run);
    server_stop(server);
}

static void one_who_shows_the_ca_of_another_is_found_out(void **state)
{
    (void)state;
    /* The fingerprint is right, but this one's certificate is not that CA's. */
    struct server *server = serve(good.ca, foreign.pair_file);
    struct run run = {.in = TOKEN "\n"};
    with_fingerprint(&run, server, good.fingerprint);
    assert_int_equal(run.status, CLI_UNREACHABLE);
    contains(run.err, "its certificate is not to be trusted");
    assert_int_equal(server_asked(server, "GET /v1/whoami"), 0);
    nothing_is_saved();
    run_done(&run);
    server_stop(server);
}

static void a_ca_smuggled_in_behind_the_good_one_is_refused(void **state)
{
    (void)state;
    AUTO_BUF struct buf both = BUF_INIT;
    buf_puts(&both, good.ca);
    buf_puts(&both, foreign.ca);
    struct server *server = serve(both.data, foreign.pair_file);
    struct run run = {.in = TOKEN "\n"};
    with_fingerprint(&run, server, good.fingerprint);
    assert_int_equal(run.status, CLI_USAGE);
    contains(run.err, "is not one certificate, but 2");
    assert_int_equal(server_asked(server, "GET /v1/whoami"), 0);
    nothing_is_saved();
    run_done(&run);
    server_stop(server);
}

static void without_a_fingerprint_the_one_found_is_told_and_not_believed(void **state)
{
    (void)state;
    struct server *server = serve(good.ca, good.pair_file);
    struct run run = {.in = TOKEN "\n"};
    login(&run, server, "");
    assert_int_equal(run.status, CLI_USAGE);
    contains(run.err, "has a CA that this machine does not know");
    contains(run.err, good.fingerprint);
    assert_int_equal(server_asked(server, "GET /v1/whoami"), 0);
    nothing_is_saved();
    run_done(&run);
    server_stop(server);
}

static void a_ca_file_and_a_token_file_do_as_well(void **state)
{
    (void)state;
    struct server *server = serve(good.ca, good.pair_file);
    struct run run = {0};
    char file[FOLDER_PATH];
    char more[1024];
    (void)folder_put(&folder, "t", TOKEN "\n", 0600, file);
    (void)snprintf(more, sizeof(more), "--ca %s --token-file %s -o json", good.ca_file, file);
    login(&run, server, more);
    if (run.status != CLI_OK)
        fail_msg("%s", run.err);
    contains(run.out, "\"name\": \"alice\"");
    assert_int_equal(server_asked(server, WHOAMI), 1);
    assert_int_equal(server_asked(server, "GET /v1/ca"), 0);
    run_cli(&run, "token list");
    assert_int_equal(run.status, CLI_OK);
    run_done(&run);
    server_stop(server);
}

static void a_token_that_is_not_accepted_is_not_saved(void **state)
{
    (void)state;
    struct server *server = serve(good.ca, good.pair_file);
    answers[1].status = 401;
    answers[1].body = "{\"title\":\"Who are you?\",\"status\":401}";
    struct run run = {.in = TOKEN "\n"};
    with_fingerprint(&run, server, good.fingerprint);
    assert_int_equal(run.status, CLI_USAGE);
    contains(run.err, "does not accept this token; nothing was saved");
    assert_null(strstr(run.err, TOKEN));
    nothing_is_saved();
    run_done(&run);
    server_stop(server);
}

static void what_is_no_token_and_what_is_no_url_are_refused(void **state)
{
    (void)state;
    struct server *server = serve(good.ca, good.pair_file);
    struct run run = {.in = "not a token\n"};
    with_fingerprint(&run, server, good.fingerprint);
    assert_int_equal(run.status, CLI_USAGE);
    contains(run.err, "what was given holds no token");
    run.in = NULL;
    with_fingerprint(&run, server, good.fingerprint);
    contains(run.err, "login wants a token, typed or on standard input");
    with_fingerprint(&run, server, "12:34");
    contains(run.err, "--ca-fingerprint: ");
    run_cli(&run, "login http://127.0.0.1:7233");
    assert_int_equal(run.status, CLI_USAGE);
    contains(run.err, "does not begin with https:// (or unix://)");
    assert_int_equal(server_asked(server, "GET /v1/whoami"), 0);
    nothing_is_saved();
    run_done(&run);
    server_stop(server);
}

static void over_a_socket_no_token_is_asked_for(void **state)
{
    (void)state;
    char path[FOLDER_PATH];
    answers[1] = (struct canned){.request = "GET /v1/whoami ",
                                 .body = "{\"name\":\"uid 0\",\"role\":\"admin\"}"};
    struct server *server = server_start_with(&(struct server_config){
        .table = answers, .count = 3, .socket = folder_path(&folder, "api.sock", path)});
    struct run run = {0};
    login(&run, server, "");
    if (run.status != CLI_OK)
        fail_msg("%s", run.err);
    contains(run.out, " as uid 0 (admin); saved in ");
    run_cli(&run, "whoami");
    contains(run.out, "expires       never\nservers       all\nsteps         all\n");
    contains(run.out, "token         none\n");
    assert_int_equal(server_asked(server, "GET /v1/whoami"), 2);
    run_done(&run);
    server_stop(server);
}

static void a_variable_that_counts_more_is_told_of(void **state)
{
    (void)state;
    struct server *server = serve(good.ca, good.pair_file);
    struct run run = {.in = TOKEN "\n"};
    environment[1] = "KITSUNE_TOKEN=kit_other";
    with_fingerprint(&run, server, good.fingerprint);
    assert_int_equal(run.status, CLI_OK);
    contains(run.err, "KITSUNE_TOKEN is set in the environment and counts more");
    assert_null(strstr(run.err, "kit_other"));
    run_done(&run);
    server_stop(server);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(what_it_saves_serves_the_other_commands),
        TEST(the_token_is_sent_when_the_ca_was_found_good_and_not_before),
        TEST(another_fingerprint_ends_it_and_nothing_is_sent),
        TEST(one_who_shows_the_ca_of_another_is_found_out),
        TEST(a_ca_smuggled_in_behind_the_good_one_is_refused),
        TEST(without_a_fingerprint_the_one_found_is_told_and_not_believed),
        TEST(a_ca_file_and_a_token_file_do_as_well),
        TEST(a_token_that_is_not_accepted_is_not_saved),
        TEST(what_is_no_token_and_what_is_no_url_are_refused),
        TEST(over_a_socket_no_token_is_asked_for),
        TEST(a_variable_that_counts_more_is_told_of),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
