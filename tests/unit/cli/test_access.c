/* token, agent and audit commands, and what is said of refusals. */
#include "common/base/cleanup.h"
#include "orchestrator/cli/cli.h"
#include "unit/cli/support_folder.h"
#include "unit/cli/support_run.h"
#include "unit/cli/support_server.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define SECRET "kit_0123456789abcdef"
#define HASH "aa00000000000000000000000000000000000000000000000000000000000055"
#define ABOUT                                                                                      \
    "{\"name\":\"deploy\",\"role\":\"operator\",\"created\":\"2026-11-21T06:00:00.000Z\","         \
    "\"createdBy\":\"alice\",\"expires\":\"2027-02-19T06:00:00.000Z\",\"servers\":[\"web-*\","     \
    "\"db-1\"],\"steps\":[\"echo\"]}"
#define AGENT(server, connected)                                                                   \
    "{\"server\":\"" server "\",\"serial\":\"1f\",\"fingerprint\":\"ab\",\"issued\":"              \
    "\"2026-11-21T06:00:00.000Z\",\"expires\":\"2099-12-21T06:00:00.000Z\","                       \
    "\"connected\":" connected "}"
#define ENTRY(seq, result)                                                                         \
    "{\"seq\":" seq ",\"time\":\"2026-11-21T06:00:00.000Z\",\"who\":\"alice\",\"role\":\"admin\"," \
    "\"peer\":\"127.0.0.1:5\",\"action\":\"token.create\",\"target\":\"deploy\",\"result\":"       \
    "\"" result "\",\"hash\":\"" HASH "\"}"

struct play {
    struct server *server;
    struct run run;
};

static void play(struct play *p, const struct canned *table, size_t count, const char *words)
{
    if (!p->server)
        p->server = server_start(table, count);
    p->run.url = server_url(p->server);
    run_cli(&p->run, words);
}

static void play_done(struct play *p)
{
    run_done(&p->run);
    server_stop(p->server);
}

static struct folder folder;

static int setup(void **state)
{
    (void)state;
    folder_make(&folder);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    folder_remove(&folder);
    return 0;
}

/* ---- Tokens ---------------------------------------------------------------------------------- */

static const struct canned made[] = {{.request = "POST /v1/tokens ",
                                      .status = 201,
                                      .body = "{\"token\":\"" SECRET "\",\"about\":" ABOUT "}"},
                                     {.request = "POST /v1/tokens/deploy/revoke ", .body = ABOUT},
                                     {.request = "GET /v1/tokens ",
                                      .body =
                                          "{\"tokens\":[" ABOUT ",{\"name\":\"old\",\"role\":"
                                          "\"admin\",\"created\":\"2026-11-21T06:00:00.000Z\"}]}"}};

static void a_new_tokens_secret_is_alone_on_the_output(void **state)
{
    (void)state;
    struct play p = {0};
    play(&p, made, ARRAY_LEN(made),
         "token create deploy --role operator --ttl 90d --servers web-* --steps echo --servers "
         "db-1");
    assert_int_equal(p.run.status, CLI_OK);
    assert_string_equal(p.run.out, SECRET "\n");
    contains(p.run.err,
             "kitsune: token deploy: operator, until 2027-02-19 06:00:00 UTC; changes on "
             "web-*, db-1; steps echo; it is told this once");
    assert_null(strstr(p.run.err, SECRET));
    assert_int_equal(server_asked(p.server, "POST /v1/tokens {\"name\":\"deploy\",\"role\":"
                                            "\"operator\",\"ttlSeconds\":7776000,\"servers\":"
                                            "[\"web-*\",\"db-1\"],\"steps\":[\"echo\"]}"),
                     1);
    play(&p, NULL, 0, "token create deploy --role admin -o json");
    contains(p.run.out, "\"token\": \"" SECRET "\"");
    assert_int_equal(
        server_asked(p.server, "POST /v1/tokens {\"name\":\"deploy\",\"role\":\"admin\"}"), 1);
    play_done(&p);
}

static void a_secret_goes_into_a_new_file_for_its_owner_alone(void **state)
{
    (void)state;
    struct play p = {0};
    char path[FOLDER_PATH];
    char words[512];
    (void)snprintf(words, sizeof(words), "token create deploy --role viewer --out %s",
                   folder_path(&folder, "t", path));
    play(&p, made, ARRAY_LEN(made), words);
    assert_int_equal(p.run.status, CLI_OK);
    assert_string_equal(p.run.out, "");
    assert_null(strstr(p.run.err, SECRET));
    char *text = folder_text(&folder, "t");
    assert_string_equal(text, SECRET "\n");
    assert_int_equal(folder_mode(&folder, "t"), 0600);
    /* Nothing is made that could not be told. */
    play(&p, NULL, 0, words);
    assert_int_equal(p.run.status, CLI_USAGE);
    contains(p.run.err, "there is such a file already");
    assert_int_equal(server_asked(p.server, "POST"), 1);
    free(text);
    play_done(&p);
}

static void a_file_for_a_secret_that_was_refused_is_not_left_behind(void **state)
{
    (void)state;
    struct play p = {0};
    char path[FOLDER_PATH];
    char words[512];
    (void)snprintf(words, sizeof(words), "agent ticket web-1 --out %s",
                   folder_path(&folder, "t", path));
    play(&p, NULL, 0, words);
    assert_int_equal(p.run.status, CLI_USAGE);
    assert_null(folder_text(&folder, "t"));
    play_done(&p);
}

static void what_is_no_role_or_time_is_refused_before_it_is_sent(void **state)
{
    (void)state;
    static const struct {
        const char *words, *message;
    } cases[] = {
        {"token create x", "--role is missing: viewer, operator or admin"},
        {"token create x --role viewer --ttl soon", "--ttl: \"soon\" is not a duration"},
        {"token create x --role viewer --ttl 9999d", "--ttl: it must be from 1s to 3650d"},
        {"token create x --role viewer --ttl 10ms", "--ttl: it must be from 1s to "},
        {"agent ticket x --ttl 31d", "--ttl: it must be from 1s to 30d"},
        {"audit verify --head 12", "--head: \"12\" is not SEQ:HASH"},
        {"audit verify --head 0:" HASH, "is not SEQ:HASH"},
        {"audit verify --head 5:" HASH "&x=1", "is not SEQ:HASH"},
    };
    struct play p = {0};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        play(&p, made, ARRAY_LEN(made), cases[i].words);
        assert_int_equal(p.run.status, CLI_USAGE);
        contains(p.run.err, cases[i].message);
        assert_string_equal(p.run.out, "");
    }
    char *log = server_log(p.server);
    assert_string_equal(log, "");
    free(log);
    play_done(&p);
}

static void tokens_are_listed_and_revoked(void **state)
{
    (void)state;
    struct play p = {0};
    play(&p, made, ARRAY_LEN(made), "token list");
    assert_string_equal(
        p.run.out,
        "NAME    ROLE      EXPIRES (UTC)        CREATED (UTC)        BY     SERVERS      STEPS\n"
        "deploy  operator  2027-02-19 06:00:00  2026-11-21 06:00:00  alice  web-*, db-1  echo\n"
        "old     admin     never                2026-11-21 06:00:00  -      all          all\n");
    play(&p, NULL, 0, "token revoke deploy");
    assert_int_equal(p.run.status, CLI_OK);
    contains(p.run.out, "token deploy is revoked");
    play(&p, NULL, 0, "token revoke deploy -o json");
    contains(p.run.out, "\"name\": \"deploy\"");
    assert_int_equal(server_asked(p.server, "POST /v1/tokens/deploy/revoke"), 2);
    play_done(&p);
}

/* ---- Agents ---------------------------------------------------------------------------------- */

static const struct canned fleet[] = {
    {.request = "POST /v1/agents/web-1/ticket ",
     .status = 201,
     .body = "{\"token\":\"" SECRET "\",\"server\":\"web-1\",\"expires\":"
             "\"2026-11-21T07:00:00.000Z\",\"caFingerprint\":\"ff00\",\"ca\":\"PEM\"}"},
    {.request = "GET /v1/agents?limit=100 ",
     .body = "{\"agents\":[" AGENT("a", "true") "," AGENT("b", "false") "],\"next\":\"b\"}"},
    {.request = "GET /v1/agents?limit=98&after=b ",
     .body = "{\"agents\":[" AGENT("c", "true") "]}"},
    {.request = "GET /v1/agents?limit=1 ",
     .body = "{\"agents\":[" AGENT("a", "true") "],\"next\":\"a\"}"},
    {.request = "POST /v1/agents/web-1/revoke ", .body = AGENT("web-1", "false")}};

static void a_ticket_is_alone_on_the_output_and_says_how_it_is_used(void **state)
{
    (void)state;
    struct play p = {0};
    play(&p, fleet, ARRAY_LEN(fleet), "agent ticket web-1 --ttl 10m --replace");
    assert_int_equal(p.run.status, CLI_OK);
    assert_string_equal(p.run.out, SECRET "\n");
    contains(p.run.err, "until 2026-11-21 07:00:00 UTC");
    contains(p.run.err, "kitsune-agent --server-id web-1 --orchestrator https://HOST:7233 "
                        "--ca-fingerprint ff00 "
                        "--enrol-token-file FILE");
    assert_null(strstr(p.run.err, SECRET));
    assert_int_equal(server_asked(p.server, "POST /v1/agents/web-1/ticket {\"ttlSeconds\":600,"
                                            "\"replace\":true}"),
                     1);
    play_done(&p);
}

static void agents_come_in_pages_with_expiry_and_connection(void **state)
{
    (void)state;
    struct play p = {0};
    play(&p, fleet, ARRAY_LEN(fleet), "agent list");
    assert_string_equal(p.run.out,
                        "SERVER  CONNECTED  EXPIRES (UTC)        ISSUED (UTC)         SERIAL\n"
                        "a       yes        2099-12-21 06:00:00  2026-11-21 06:00:00  1f\n"
                        "b       no         2099-12-21 06:00:00  2026-11-21 06:00:00  1f\n"
                        "c       yes        2099-12-21 06:00:00  2026-11-21 06:00:00  1f\n");
    assert_string_equal(p.run.err, "");
    play(&p, NULL, 0, "agent list -n 1");
    contains(p.run.err, "there are more than these 1: --all shows them");
    play(&p, NULL, 0, "agent list -n 1 -o json");
    contains(p.run.out, "\"next\": \"a\"");
    play_done(&p);
}

static void an_agent_is_revoked_with_a_reason(void **state)
{
    (void)state;
    struct play p = {0};
    play(&p, fleet, ARRAY_LEN(fleet), "agent revoke web-1 --reason stolen");
    assert_int_equal(p.run.status, CLI_OK);
    contains(p.run.out, "the agent of server web-1 is revoked");
    char *log = server_log(p.server);
    contains(log, "\"reason\":\"stolen\"");
    free(log);
    play_done(&p);
}

/* ---- The audit log --------------------------------------------------------------------------- */

/* Hashes worked out from audit.h by another program. */
#define HASH_1 "f844b1bdfd5169464b4a36550afce173dce51c9ad8bcb11aa4f6149cd9ffca16"
#define HASH_2 "0b8e7b57449db519cb3a75da7036b506f1484da279a9a3bbb621304395508d9e"
#define HASH_3 "249a22f7af2f73414733ae02b6e647b4fd2c2967fa2d5b468d0b23251923eb6e"
#define AT "\"time\":\"2026-11-21T06:00:00.007Z\""
#define ENTRY_1(who_)                                                                              \
    "{\"seq\":1," AT ",\"who\":\"" who_ "\",\"role\":\"admin\",\"peer\":\"127.0.0.1:5\","          \
    "\"action\":\"token.create\",\"target\":\"deploy\",\"result\":\"ok\",\"hash\":\"" HASH_1 "\"}"
#define ENTRY_2                                                                                    \
    "{\"seq\":2," AT ",\"peer\":\"[::1]:5\",\"action\":\"read\",\"target\":\"/v1/\u00fc\","        \
    "\"result\":\"denied\",\"detail\":\"a \\\"b\\\"\\n\",\"hash\":\"" HASH_2 "\"}"
#define ENTRY_3                                                                                    \
    "{\"seq\":3," AT ",\"who\":\"alice\",\"role\":\"admin\",\"action\":\"backup\",\"result\":"     \
    "\"ok\",\"detail\":\"x;3:y\",\"hash\":\"" HASH_3 "\"}"

static const struct canned audit[] = {
    {.request = "GET /v1/audit?after=0&limit=100 ",
     .body = "{\"entries\":[" ENTRY("1", "ok") "," ENTRY("2", "denied") "],\"next\":2}"},
    {.request = "GET /v1/audit?after=2&limit=98 ",
     .body = "{\"entries\":[" ENTRY("3", "ok") "],\"next\":0}"},
    {.request = "GET /v1/audit?after=1&limit=1 ",
     .body = "{\"entries\":[" ENTRY("2", "denied") "],\"next\":2}"},
    {.request = "GET /v1/audit?after=0&limit=500 ",
     .body = "{\"entries\":[" ENTRY_1("alice") "," ENTRY_2 "],\"next\":2}"},
    {.request = "GET /v1/audit?after=2&limit=500 ",
     .body = "{\"entries\":[" ENTRY_3 "],\"next\":0}"}};

static void the_audit_log_is_listed_in_pages(void **state)
{
    (void)state;
    struct play p = {0};
    play(&p, audit, ARRAY_LEN(audit), "audit list");
    assert_int_equal(p.run.status, CLI_OK);
    contains(p.run.out,
             "SEQ  TIME (UTC)           WHO    ROLE   FROM         ACTION        TARGET  "
             "RESULT  DETAIL\n"
             "  1  2026-11-21 06:00:00  alice  admin  127.0.0.1:5  token.create  deploy  "
             "ok      -\n"
             "  2  2026-11-21 06:00:00  alice  admin  127.0.0.1:5  token.create  deploy  "
             "denied  -\n"
             "  3  ");
    play(&p, NULL, 0, "audit list --after 1 --limit 1");
    contains(p.run.err, "there are more: --after 2 shows the next");
    play(&p, NULL, 0, "audit list --after 1 --limit 1 -o json");
    contains(p.run.out, "\"next\": \"2\"");
    play_done(&p);
}

static void the_head_of_a_whole_log_is_alone_on_the_output(void **state)
{
    (void)state;
    struct play p = {0};
    play(&p, audit, ARRAY_LEN(audit), "audit verify");
    assert_string_equal(p.run.out, "3:" HASH_3 "\n");
    assert_int_equal(p.run.status, CLI_OK);
    contains(p.run.err, "the audit log is whole: 3 entries");
    play(&p, NULL, 0, "audit verify --head 2:" HASH_2);
    assert_int_equal(p.run.status, CLI_OK);
    assert_string_equal(p.run.out, "3:" HASH_3 "\n");
    play(&p, NULL, 0, "audit verify -o json");
    contains(p.run.out, "\"whole\": true");
    play_done(&p);
}

static void not_whole(const char *page, const char *words, const char *why)
{
    const struct canned table[] = {{.request = "GET /v1/audit?after=0&limit=500 ", .body = page}};
    struct play p = {0};
    play(&p, table, 1, words);
    assert_int_equal(p.run.status, CLI_USAGE);
    assert_string_equal(p.run.out, "");
    contains(p.run.err, "it was tampered with, or is damaged: ");
    contains(p.run.err, why);
    char json[256];
    (void)snprintf(json, sizeof(json), "%s -o json", words);
    play(&p, NULL, 0, json);
    assert_int_equal(p.run.status, CLI_USAGE);
    contains(p.run.out, "\"whole\": false");
    play_done(&p);
}

static void a_log_that_is_not_whole_fails_and_prints_no_head(void **state)
{
    (void)state;
    not_whole("{\"entries\":[" ENTRY_1("eve") "," ENTRY_2 "],\"next\":0}", "audit verify",
              "entry 1 does not fit its hash");
    not_whole("{\"entries\":[" ENTRY_1("alice") "," ENTRY_3 "],\"next\":0}", "audit verify",
              "entry 2 is missing");
    not_whole("{\"entries\":[" ENTRY_2 "],\"next\":0}", "audit verify", "entry 1 is missing");
    /* Cut off at its end it is whole, but for those who kept the head. */
    not_whole("{\"entries\":[" ENTRY_1("alice") "," ENTRY_2 "],\"next\":0}",
              "audit verify --head 3:" HASH_3, "no longer has entry 3 as it was kept");
    not_whole("{\"entries\":[" ENTRY_1("alice") "," ENTRY_2 "],\"next\":0}",
              "audit verify --head 2:" HASH_3, "no longer has entry 2 as it was kept");
}

/* ---- Refusals -------------------------------------------------------------------------------- */

static const struct canned refusals[] = {
    {.request = "GET /v1/servers",
     .status = 401,
     .body = "{\"title\":\"Not authenticated\",\"status\":401}"},
    {.request = "GET /v1/tokens",
     .status = 403,
     .body = "{\"title\":\"Not allowed\",\"detail\":\"it takes an admin\",\"status\":403}"},
    {.request = "GET /v1/agents",
     .status = 429,
     .headers = "Retry-After: 3600\r\n",
     .body = "{\"title\":\"Too many failures\",\"status\":429}"}};

static void a_refusal_says_what_helps(void **state)
{
    (void)state;
    struct play p = {0};
    play(&p, refusals, ARRAY_LEN(refusals), "servers");
    assert_int_equal(p.run.status, CLI_USAGE);
    assert_string_equal(
        p.run.err, "kitsune: Not authenticated\n  no token was sent: \"kitsune login URL\", or "
                   "name a token with --token-file or KITSUNE_TOKEN_FILE\n");
    p.run.env = (const char *const[]){"KITSUNE_TOKEN=" SECRET, NULL};
    play(&p, NULL, 0, "servers");
    contains(p.run.err, "  the token of KITSUNE_TOKEN is not accepted: ");
    assert_null(strstr(p.run.err, SECRET));
    play(&p, NULL, 0, "token list");
    assert_string_equal(p.run.err, "kitsune: Not allowed: it takes an admin\n");
    play(&p, NULL, 0, "agent list");
    assert_string_equal(p.run.err, "kitsune: Too many failures\n  try again in 3600 s\n");
    play_done(&p);
}

static void a_secret_is_told_by_no_command_and_no_error(void **state)
{
    (void)state;
    static const char *const words[] = {"whoami",          "servers", "show x",
                                        "watch x",         "logs x",  "backup /dev/null/x",
                                        "submit /dev/null"};
    static const char *const env[] = {"KITSUNE_TOKEN=" SECRET, NULL};
    static const char *const far[] = {"KITSUNE_TOKEN=" SECRET,
                                      "KITSUNE_ORCHESTRATOR=http://192.0.2.1:1", NULL};
    struct play p = {.run = {.env = env}};
    for (size_t i = 0; i < ARRAY_LEN(words); i++) {
        play(&p, refusals, ARRAY_LEN(refusals), words[i]);
        assert_null(strstr(p.run.err, SECRET));
        assert_null(strstr(p.run.out, SECRET));
    }
    p.run.env = far;
    p.run.url = NULL;
    run_cli(&p.run, "servers");
    assert_int_equal(p.run.status, CLI_USAGE);
    contains(p.run.err, "KITSUNE_ORCHESTRATOR: no token is sent to http://192.0.2.1:1");
    assert_null(strstr(p.run.err, SECRET));
    play_done(&p);
}

/* ---- The socket of an orchestrator on this machine ------------------------------------------- */

static const struct canned local[] = {{.request = "GET /v1/tokens ", .body = "{\"tokens\":[]}"}};

static void an_orchestrator_of_this_machine_is_found_by_its_socket(void **state)
{
    (void)state;
    char path[FOLDER_PATH];
    struct run run = {.local_socket = folder_path(&folder, "api.sock", path)};
    struct server *server =
        server_start_with(&(struct server_config){.table = local, .count = 1, .socket = path});
    run_cli(&run, "token list");
    assert_int_equal(run.status, CLI_OK);
    assert_int_equal(server_asked(server, "GET /v1/tokens"), 1);
    server_stop(server);
    run_done(&run);
}

/* Whether somebody tries something out on the port that is asked when nothing is said. */
static bool default_port_is_taken(void)
{
    enum { DEFAULT_PORT = 7233 };
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(DEFAULT_PORT)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool taken = connect(fd, (const struct sockaddr *)&address, sizeof(address)) == 0;
    (void)close(fd);
    return taken;
}

static void a_socket_that_is_not_for_this_user_is_told_of(void **state)
{
    (void)state;
    char path[FOLDER_PATH];
    if (default_port_is_taken())
        skip();
    bool root = geteuid() == 0;
    struct run run = {.local_socket = folder_path(&folder, "api.sock", path)};
    struct server *server =
        server_start_with(&(struct server_config){.table = local, .count = 1, .socket = path});
    assert_int_equal(chmod(path, 0), 0);
    assert_int_equal(root ? seteuid(65534) : 0, 0);
    run_cli(&run, "token list");
    assert_int_equal(root ? seteuid(0) : 0, 0);
    assert_int_equal(run.status, CLI_UNREACHABLE);
    contains(run.err, "cannot reach the orchestrator at http://127.0.0.1:7233: ");
    contains(run.err, "api.sock of the one on this machine is not open to you: use sudo, have "
                      "yourself added to its group, or log in");
    server_stop(server);
    run_done(&run);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_new_tokens_secret_is_alone_on_the_output),
        TEST(a_secret_goes_into_a_new_file_for_its_owner_alone),
        TEST(a_file_for_a_secret_that_was_refused_is_not_left_behind),
        TEST(what_is_no_role_or_time_is_refused_before_it_is_sent),
        TEST(tokens_are_listed_and_revoked),
        TEST(a_ticket_is_alone_on_the_output_and_says_how_it_is_used),
        TEST(agents_come_in_pages_with_expiry_and_connection),
        TEST(an_agent_is_revoked_with_a_reason),
        TEST(the_audit_log_is_listed_in_pages),
        TEST(the_head_of_a_whole_log_is_alone_on_the_output),
        TEST(a_log_that_is_not_whole_fails_and_prints_no_head),
        TEST(a_refusal_says_what_helps),
        TEST(a_secret_is_told_by_no_command_and_no_error),
        TEST(an_orchestrator_of_this_machine_is_found_by_its_socket),
        TEST(a_socket_that_is_not_for_this_user_is_told_of),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
