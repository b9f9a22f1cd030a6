/* artifact put, list, get, delete. */
#include "common/base/cleanup.h"
#include "orchestrator/cli/cli.h"
#include "unit/cli/support_folder.h"
#include "unit/cli/support_run.h"
#include "unit/cli/support_server.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define TEXT "hello world"
#define HEX "b94d27b9934d3e08a52e52d7da7dabfac484efe37a5380ee9088f7ace2efcde9" /* its SHA-256 */
#define STATE(offset, whole)                                                                       \
    "{\"sha256\":\"" HEX "\",\"size\":11,\"offset\":" offset ",\"whole\":" whole                   \
    ",\"name\":\"app.tar\",\"by\":\"eve\",\"created\":\"2026-11-21T06:00:00.000Z\"}"
#define WHOLE STATE("11", "true")
#define CONTENT "/v1/artifacts/" HEX "/content"
#define PROBLEM(status, more)                                                                      \
    "{\"title\":\"t\",\"status\":" status ",\"detail\":\"it is so\"" more "}"

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

/* artifact put of a file with TEXT, and further words. */
static void put(struct play *p, const struct canned *table, size_t count, const char *more)
{
    char path[FOLDER_PATH];
    char words[FOLDER_PATH + 64];
    (void)snprintf(words, sizeof(words), "artifact put %s%s",
                   folder_put(&folder, "app.tar", TEXT, 0600, path), more);
    play(p, table, count, words);
}

static void is_put(const struct play *p)
{
    assert_string_equal(p->run.err, "");
    assert_string_equal(p->run.out, "sha256:" HEX "\n");
    assert_int_equal(p->run.status, CLI_OK);
}

/* ---- put --------------------------------------------------------------------------------------
 */

static void a_file_is_hashed_begun_and_sent_and_its_name_alone_is_printed(void **state)
{
    static const struct canned table[] = {
        {.request = "POST /v1/artifacts ", .body = STATE("0", "false")},
        {.request = "PUT " CONTENT "?offset=0 ", .body = WHOLE}};
    struct play p = {0};
    (void)state;
    put(&p, table, ARRAY_LEN(table), "");
    is_put(&p);
    assert_int_equal(server_asked(p.server, "POST /v1/artifacts {\"sha256\":\"" HEX
                                            "\",\"size\":11,\"name\":\"app.tar\",\"by\":"),
                     1);
    assert_int_equal(server_asked(p.server, "PUT " CONTENT "?offset=0 " TEXT "\n"), 1);
    put(&p, NULL, 0, " --name other -o json");
    expect_json(p.run.out);
    contains(p.run.out, "\"sha256\": \"" HEX "\"");
    assert_int_equal(server_asked(p.server, "POST /v1/artifacts {\"sha256\":\"" HEX
                                            "\",\"size\":11,\"name\":\"other\",\"by\":"),
                     1);
    play_done(&p);
}

static void what_is_there_is_not_sent_again(void **state)
{
    static const struct canned whole[] = {{.request = "POST /v1/artifacts ", .body = WHOLE}};
    static const struct canned half[] = {
        {.request = "POST /v1/artifacts ", .body = STATE("6", "false")},
        {.request = "PUT " CONTENT "?offset=6 ", .body = WHOLE}};
    /* All came, and the orchestrator died before it was looked at. */
    static const struct canned unlooked[] = {
        {.request = "POST /v1/artifacts ", .body = STATE("11", "false")},
        {.request = "PUT " CONTENT "?offset=11 ", .body = WHOLE}};
    struct play p = {0};
    (void)state;
    put(&p, whole, ARRAY_LEN(whole), "");
    is_put(&p);
    assert_int_equal(server_asked(p.server, "PUT "), 0);
    play_done(&p);
    p = (struct play){0};
    put(&p, half, ARRAY_LEN(half), "");
    is_put(&p);
    assert_int_equal(server_asked(p.server, "PUT " CONTENT "?offset=6 world\n"), 1);
    play_done(&p);
    p = (struct play){0};
    put(&p, unlooked, ARRAY_LEN(unlooked), "");
    is_put(&p);
    assert_int_equal(server_asked(p.server, "PUT " CONTENT "?offset=11\n"), 1);
    play_done(&p);
}

static void it_goes_on_where_the_orchestrator_says(void **state)
{
    static const struct canned table[] = {
        {.request = "POST /v1/artifacts ", .body = STATE("0", "false")},
        {.request = "PUT " CONTENT "?offset=0 ",
         .status = 409,
         .body = PROBLEM("409", ",\"offset\":6")},
        {.request = "PUT " CONTENT "?offset=6 ", .body = WHOLE}};
    struct play p = {0};
    (void)state;
    put(&p, table, ARRAY_LEN(table), "");
    is_put(&p);
    assert_int_equal(server_asked(p.server, "PUT " CONTENT "?offset=6 world\n"), 1);
    play_done(&p);
}

static void a_conflict_that_tells_no_place_ends_it(void **state)
{
    static const struct canned table[] = {
        {.request = "POST /v1/artifacts ", .body = STATE("0", "false")},
        {.request = "PUT ", .status = 409, .body = PROBLEM("409", "")}};
    struct play p = {0};
    (void)state;
    put(&p, table, ARRAY_LEN(table), "");
    assert_int_equal(p.run.status, CLI_USAGE);
    contains(p.run.err, "it is so");
    assert_string_equal(p.run.out, "");
    play_done(&p);
}

/* A crash, or somebody else, may have spoiled what was there. */
static void what_others_have_begun_and_is_wrong_is_put_anew_once(void **state)
{
    static const struct canned table[] = {
        {.request = "POST /v1/artifacts ", .body = STATE("6", "false"), .uses = 1},
        {.request = "PUT " CONTENT "?offset=6 ", .status = 422, .body = PROBLEM("422", "")},
        {.request = "POST /v1/artifacts ", .body = STATE("0", "false")},
        {.request = "PUT " CONTENT "?offset=0 ", .body = WHOLE}};
    static const struct canned own[] = {
        {.request = "POST /v1/artifacts ", .body = STATE("0", "false")},
        {.request = "PUT ", .status = 422, .body = PROBLEM("422", "")}};
    struct play p = {0};
    (void)state;
    put(&p, table, ARRAY_LEN(table), "");
    is_put(&p);
    play_done(&p);
    p = (struct play){0};
    put(&p, own, ARRAY_LEN(own), "");
    assert_int_equal(p.run.status, CLI_USAGE);
    contains(p.run.err, "app.tar changed while it was read");
    assert_int_equal(server_asked(p.server, "PUT "), 1);
    play_done(&p);
}

static void an_upload_that_is_gone_is_begun_again(void **state)
{
    static const struct canned table[] = {
        {.request = "POST /v1/artifacts ", .body = STATE("6", "false"), .uses = 1},
        {.request = "PUT " CONTENT "?offset=6 ", .status = 404, .body = PROBLEM("404", "")},
        {.request = "POST /v1/artifacts ", .body = STATE("0", "false")},
        {.request = "PUT " CONTENT "?offset=0 ", .body = WHOLE}};
    struct play p = {0};
    (void)state;
    put(&p, table, ARRAY_LEN(table), "");
    is_put(&p);
    play_done(&p);
}

static void a_lost_answer_and_too_many_at_once_are_waited_out(void **state)
{
    static const struct canned table[] = {
        {.request = "POST /v1/artifacts ", .body = STATE("0", "false")},
        {.request = "PUT " CONTENT "?offset=0 ", .end = CANNED_DROP, .uses = 1},
        {.request = "PUT " CONTENT "?offset=0 ",
         .status = 429,
         .body = PROBLEM("429", ""),
         .uses = 1},
        {.request = "PUT " CONTENT "?offset=0 ", .body = STATE("6", "false")},
        {.request = "PUT " CONTENT "?offset=6 ", .body = WHOLE}};
    struct play p = {0};
    (void)state;
    put(&p, table, ARRAY_LEN(table), "");
    is_put(&p);
    play_done(&p);
}

static void what_does_not_fit_is_refused_with_the_reason(void **state)
{
    static const struct canned table[] = {
        {.request = "POST /v1/artifacts ", .status = 507, .body = PROBLEM("507", "")}};
    struct play p = {0};
    (void)state;
    put(&p, table, ARRAY_LEN(table), "");
    assert_int_equal(p.run.status, CLI_USAGE);
    contains(p.run.err, "it is so");
    assert_int_equal(server_asked(p.server, "PUT "), 0);
    play_done(&p);
}

static void one_that_is_not_reached_at_all_is_not_waited_for(void **state)
{
    struct run run = {.url = "http://127.0.0.1:1"};
    char path[FOLDER_PATH];
    char words[FOLDER_PATH + 64];
    (void)state;
    (void)snprintf(words, sizeof(words), "artifact put %s",
                   folder_put(&folder, "app.tar", TEXT, 0600, path));
    run_cli(&run, words);
    assert_int_equal(run.status, CLI_UNREACHABLE);
    assert_null(strstr(run.err, "is kept"));
    run_done(&run);
}

/* ---- list -------------------------------------------------------------------------------------
 */

#define ITEM(sha, name, size, offset, whole, day)                                                  \
    "{\"sha256\":\"" sha "\",\"size\":" size ",\"offset\":" offset ",\"whole\":" whole             \
    ",\"name\":\"" name "\",\"created\":\"2026-11-" day "T06:00:00.000Z\"}"

static void all_pages_are_listed_newest_first(void **state)
{
    static const struct canned table[] = {
        {.request = "GET /v1/artifacts?limit=1000 ",
         .body = "{\"artifacts\":[" ITEM("aa01", "old", "1", "1", "true", "01") "],"
                                                                                "\"next\":\"aa01\","
                                                                                "\"bytes\":9,"
                                                                                "\"maxBytes\":0}"},
        {.request = "GET /v1/artifacts?limit=1000&after=aa01 ",
         .body =
             "{\"artifacts\":[" ITEM("bb02", "new", "3145728", "1048576", "false", "03") "," ITEM(
                 "cc03", "middle\\u001b", "2048", "2048", "true", "02") "],\"bytes\":3147777,"
                                                                        "\"maxBytes\":4194304}"}};
    struct play p = {0};
    (void)state;
    play(&p, table, ARRAY_LEN(table), "artifact list");
    assert_int_equal(p.run.status, CLI_OK);
    const char *first = strstr(p.run.out, "sha256:bb02");
    const char *second = strstr(p.run.out, "sha256:cc03");
    const char *third = strstr(p.run.out, "sha256:aa01");
    assert_true(first && second && third && first < second && second < third);
    contains(p.run.out, "1.0 MiB of 3.0 MiB");
    contains(p.run.out, "2.0 KiB");
    contains(p.run.out, "3.0 MiB of at most 4.0 MiB are taken\n");
    assert_null(strchr(p.run.out, '\x1b'));
    play(&p, NULL, 0, "artifact list -o json");
    expect_json(p.run.out);
    contains(p.run.out, "\"maxBytes\": 4194304");
    contains(p.run.out, "\"sha256\": \"aa01\"");
    play_done(&p);
}

/* ---- get, delete ------------------------------------------------------------------------------
 */

static size_t files_in_folder(void)
{
    size_t count = 0;
    DIR *dir = opendir(folder.path);
    assert_non_null(dir);
    while (readdir(dir))
        count++;
    (void)closedir(dir);
    return count - 2; /* . and .. */
}

static void what_is_got_is_what_was_asked_for_or_is_not_kept(void **state)
{
    static const struct canned table[] = {
        {.request = "GET /v1/artifacts/sha256%3Ab94d ", .body = WHOLE},
        {.request = "GET " CONTENT " ", .body = TEXT, .uses = 1},
        {.request = "GET " CONTENT " ", .body = "hello w0rld"}};
    struct play p = {0};
    char path[FOLDER_PATH];
    char words[FOLDER_PATH + 64];
    (void)state;
    (void)snprintf(words, sizeof(words), "artifact get sha256:b94d %s",
                   folder_path(&folder, "out", path));
    play(&p, table, ARRAY_LEN(table), words);
    assert_string_equal(p.run.err, "");
    assert_int_equal(p.run.status, CLI_OK);
    contains(p.run.out, "out: 11 bytes\n");
    AUTO_FREE char *text = folder_text(&folder, "out");
    assert_string_equal(text, TEXT);
    assert_int_equal(folder_mode(&folder, "out"), 0600);
    play(&p, NULL, 0, words);
    contains(p.run.err, "exists already");
    (void)snprintf(words, sizeof(words), "artifact get sha256:b94d %s --force", path);
    play(&p, NULL, 0, words);
    assert_int_equal(p.run.status, CLI_USAGE);
    contains(p.run.err, "what came is not sha256:" HEX);
    AUTO_FREE char *still = folder_text(&folder, "out");
    assert_string_equal(still, TEXT);
    assert_int_equal(files_in_folder(), 1);
    play_done(&p);
}

static void what_cannot_be_got_leaves_no_file(void **state)
{
    static const struct canned table[] = {
        {.request = "GET /v1/artifacts/b94d ", .body = STATE("6", "false")},
        {.request = "GET " CONTENT " ", .status = 404, .body = PROBLEM("404", "")},
        {.request = "GET /v1/artifacts/odd1 ",
         .body = "{\"sha256\":\"../../x\",\"size\":1,\"offset\":1,\"whole\":true}"}};
    struct play p = {0};
    char path[FOLDER_PATH];
    char words[FOLDER_PATH + 64];
    (void)state;
    static const char *const names[] = {"b94d", "none", "odd1"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        (void)snprintf(words, sizeof(words), "artifact get %s %s", names[i],
                       folder_path(&folder, "out", path));
        play(&p, table, ARRAY_LEN(table), words);
        assert_int_equal(p.run.status, CLI_USAGE);
        assert_string_equal(p.run.out, "");
        assert_int_equal(files_in_folder(), 0);
    }
    play_done(&p);
}

static void the_full_name_is_what_is_deleted(void **state)
{
    static const struct canned table[] = {
        {.request = "GET /v1/artifacts/b94d ", .body = WHOLE},
        {.request = "DELETE /v1/artifacts/" HEX " ", .body = WHOLE, .uses = 2},
        {.request = "DELETE ", .status = 409, .body = PROBLEM("409", "")}};
    struct play p = {0};
    (void)state;
    play(&p, table, ARRAY_LEN(table), "artifact delete b94d");
    assert_int_equal(p.run.status, CLI_OK);
    assert_string_equal(p.run.out, "sha256:" HEX " is deleted: app.tar, 11 bytes\n");
    play(&p, NULL, 0, "artifact delete b94d -o json");
    expect_json(p.run.out);
    play(&p, NULL, 0, "artifact delete b94d");
    assert_int_equal(p.run.status, CLI_USAGE);
    contains(p.run.err, "it is so");
    play_done(&p);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_file_is_hashed_begun_and_sent_and_its_name_alone_is_printed),
        TEST(what_is_there_is_not_sent_again),
        TEST(it_goes_on_where_the_orchestrator_says),
        TEST(a_conflict_that_tells_no_place_ends_it),
        TEST(what_others_have_begun_and_is_wrong_is_put_anew_once),
        TEST(an_upload_that_is_gone_is_begun_again),
        TEST(a_lost_answer_and_too_many_at_once_are_waited_out),
        TEST(what_does_not_fit_is_refused_with_the_reason),
        TEST(one_that_is_not_reached_at_all_is_not_waited_for),
        TEST(all_pages_are_listed_newest_first),
        TEST(what_is_got_is_what_was_asked_for_or_is_not_kept),
        TEST(what_cannot_be_got_leaves_no_file),
        TEST(the_full_name_is_what_is_deleted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
