/* Whom the client takes for the orchestrator, and to whom it sends a token. */
#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "orchestrator/cli/client.h"
#include "orchestrator/cli/download.h"
#include "orchestrator/cli/sse.h"
#include "unit/cli/support_folder.h"
#include "unit/cli/support_server.h"

#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define TOKEN "kit_secret"
#define SENT "GET /x [Authorization: Bearer " TOKEN "]"

static struct folder folder;
static struct trust good, foreign, misnamed;
static const struct canned table[] = {
    {.request = "GET /x ", .body = "{}"},
    {.request = "GET /events ", .body = "data: x\n\n", .end = CANNED_HOLD}};

static int setup(void **state)
{
    (void)state;
    folder_make(&folder);
    trust_make(&good, &folder, "good", "127.0.0.1");
    trust_make(&foreign, &folder, "foreign", "127.0.0.1");
    trust_make(&misnamed, &folder, "misnamed", "kitsune.example.org");
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    trust_done(&good);
    trust_done(&foreign);
    trust_done(&misnamed);
    folder_remove(&folder);
    return 0;
}

static struct server *serve(const char *pair)
{
    return server_start_with(
        &(struct server_config){.table = table, .count = ARRAY_LEN(table), .pair = pair});
}

static struct client *make(const char *url, const char *ca)
{
    const struct client_config config = {.url = url, .ca = ca, .token = TOKEN};
    struct client *client = NULL;
    struct error err = {0};
    if (client_new(&config, &client, &err) != ERR_OK)
        fail_msg("%s", err.message);
    return client;
}

static enum error_code get(struct client *client, struct error *err)
{
    AUTO_ANSWER struct answer answer = {0};
    struct request request = {.method = "GET", .path = "/x", .repeatable = true};
    enum error_code code = client_call(client, &request, &answer, err);
    if (code == ERR_OK)
        assert_int_equal(answer.status, 200);
    return code;
}

static void a_token_goes_to_one_whom_the_ca_vouches_for(void **state)
{
    (void)state;
    struct server *server = serve(good.pair_file);
    AUTO(client_free) struct client *client = make(server_url(server), good.ca);
    assert_int_equal(get(client, NULL), ERR_OK);
    assert_int_equal(server_asked(server, SENT), 1);
    server_stop(server);
}

/* Nothing is sent, and nothing is tried again. */
static void distrusted(const char *pair, const char *ca, const char *why)
{
    struct server *server = serve(pair);
    AUTO(client_free) struct client *client = make(server_url(server), ca);
    struct error err = {0};
    int64_t begun = clock_mono_ms();
    assert_int_equal(get(client, &err), ERR_DENIED);
    assert_true(clock_mono_ms() - begun < CLIENT_REPEAT_MS);
    if (!strstr(err.message, why))
        fail_msg("\"%s\" is not in: %s", why, err.message);
    assert_int_equal(server_asked(server, "GET"), 0);
    server_stop(server);
}

static void another_ca_another_name_or_none_at_all_is_not_trusted(void **state)
{
    (void)state;
    distrusted(foreign.pair_file, good.ca, "its certificate is not to be trusted: ");
    distrusted(misnamed.pair_file, misnamed.ca, "127.0.0.1");
    /* The machine does not know it. */
    distrusted(good.pair_file, NULL, "its certificate is not to be trusted: ");
}

static void tls_before_1_3_is_not_spoken(void **state)
{
    (void)state;
    struct server *server = server_start_with(&(struct server_config){
        .table = table, .count = 1, .pair = good.pair_file, .old_tls = true});
    AUTO(client_free) struct client *client = make(server_url(server), good.ca);
    struct error err = {0};
    assert_int_equal(get(client, &err), ERR_DENIED);
    assert_non_null(strstr(err.message, "there is no TLS 1.3 to be had"));
    server_stop(server);
}

static void streams_and_downloads_trust_no_other_and_send_the_token(void **state)
{
    (void)state;
    struct server *server = serve(good.pair_file);
    AUTO(client_free) struct client *client = make(server_url(server), good.ca);
    AUTO(client_free) struct client *wrong = make(server_url(server), foreign.ca);
    AUTO(stream_free) struct stream *stream = NULL;
    AUTO(stream_free) struct stream *none = NULL;
    AUTO_ANSWER struct answer answer = {0};
    struct sse_event e = {0};
    struct error err = {0};
    assert_int_equal(stream_open(client, "/events", 0, &stream, NULL), ERR_OK);
    assert_int_equal(stream_next(stream, INT64_MAX, -1, &e, &err), STREAM_CONNECTED);
    assert_int_equal(stream_next(stream, INT64_MAX, -1, &e, &err), STREAM_EVENT);
    assert_int_equal(server_asked(server, "GET /events [Authorization: Bearer " TOKEN "]"), 1);
    assert_int_equal(stream_open(wrong, "/events", 0, &none, NULL), ERR_OK);
    assert_int_equal(stream_next(none, INT64_MAX, -1, &e, &err), STREAM_CLOSED);
    assert_int_equal(err.code, ERR_DENIED);
    assert_int_equal(client_download(client, "/y", NULL, NULL, &answer, &err), ERR_OK);
    assert_int_equal(server_asked(server, "GET /y [Authorization: Bearer " TOKEN "]"), 1);
    assert_int_equal(client_download(wrong, "/y", NULL, NULL, &answer, &err), ERR_DENIED);
    assert_int_equal(server_asked(server, "GET"), 2);
    server_stop(server);
}

static void one_that_will_trust_anybody_sends_no_token(void **state)
{
    (void)state;
    struct server *server = serve(foreign.pair_file);
    AUTO(client_free) struct client *client = NULL;
    const struct client_config config = {
        .url = server_url(server), .token = TOKEN, .anybody = true};
    assert_int_equal(client_new(&config, &client, NULL), ERR_OK);
    assert_int_equal(get(client, NULL), ERR_OK);
    assert_int_equal(server_asked(server, "GET /x"), 1);
    assert_int_equal(server_asked(server, SENT), 0);
    server_stop(server);
}

static void without_tls_a_token_stays_on_this_machine(void **state)
{
    (void)state;
    static const char *const away[] = {"http://192.0.2.1:7233",   "http://kitsune.example.org",
                                       "http://[2001:db8::1]:1",  "http://localhost.example.org",
                                       "http://127.example.org/", "http://0.0.0.0:1"};
    static const char *const here[] = {"http://127.0.0.1:1", "http://127.9.9.9",   "http://[::1]:1",
                                       "http://localhost/",  "unix:///run/x.sock", "https://away"};
    for (size_t i = 0; i < ARRAY_LEN(away); i++) {
        const struct client_config config = {.url = away[i], .token = TOKEN};
        const struct client_config silent = {.url = away[i]};
        AUTO(client_free) struct client *client = NULL;
        struct error err = {0};
        if (client_new(&config, &client, &err) != ERR_INVALID)
            fail_msg("a token goes to %s", away[i]);
        assert_non_null(strstr(err.message, "use https://"));
        assert_null(strstr(err.message, TOKEN));
        assert_int_equal(client_new(&silent, &client, NULL), ERR_OK);
    }
    for (size_t i = 0; i < ARRAY_LEN(here); i++) {
        AUTO(client_free) struct client *client = make(here[i], NULL);
        assert_non_null(client);
    }
}

static void a_plain_url_to_one_that_speaks_tls_is_told_at_once(void **state)
{
    (void)state;
    struct server *server = serve(good.pair_file);
    AUTO_BUF struct buf url = BUF_INIT;
    buf_printf(&url, "http%s", server_url(server) + strlen("https"));
    AUTO(client_free) struct client *client = make(url.data, NULL);
    struct error err = {0};
    assert_int_equal(get(client, &err), ERR_DENIED);
    assert_string_equal(err.message, "it speaks TLS: its URL begins with https://");
    server_stop(server);
}

static void a_unix_socket_is_asked_like_any_other(void **state)
{
    (void)state;
    char path[FOLDER_PATH];
    struct server *server = server_start_with(&(struct server_config){
        .table = table, .count = 2, .socket = folder_path(&folder, "api.sock", path)});
    AUTO(client_free) struct client *client = make(server_url(server), NULL);
    AUTO(stream_free) struct stream *stream = NULL;
    struct sse_event e = {0};
    assert_int_equal(get(client, NULL), ERR_OK);
    assert_int_equal(server_asked(server, SENT), 1);
    assert_int_equal(stream_open(client, "/events", 0, &stream, NULL), ERR_OK);
    assert_int_equal(stream_next(stream, INT64_MAX, -1, &e, NULL), STREAM_CONNECTED);
    server_stop(server);
}

static void without_memory_there_is_no_client(void **state)
{
    (void)state;
    static const char *const urls[] = {"https://127.0.0.1:1/", "unix:///run/x.sock"};
    for (size_t i = 0; i < ARRAY_LEN(urls); i++) {
        const struct client_config config = {.url = urls[i], .ca = good.ca, .token = TOKEN};
        enum error_code code = ERR_NO_MEMORY;
        uint64_t n = 0;
        for (; code != ERR_OK; n++) {
            struct client *client = NULL;
            assert_true(n < 100);
            mem_fail_after(n);
            code = client_new(&config, &client, NULL);
            mem_fail_never();
            assert_true(code == ERR_NO_MEMORY || code == ERR_OK);
            assert_int_equal(client != NULL, code == ERR_OK);
            client_free(client);
        }
        assert_true(n > 3);
    }
}

/* ---- Too many requests ----------------------------------------------------------------------- */

static const struct canned busy[] = {
    {.request = "GET /x ", .status = 429, .headers = "Retry-After: 1\r\n", .body = "{}", .uses = 1},
    {.request = "GET /x ", .body = "{}"},
    {.request = "GET /late ", .status = 429, .headers = "retry-after: 3600\r\n", .body = "{}"},
    {.request = "POST /x ", .status = 429, .headers = "Retry-After: 1\r\n", .body = "{}"}};

static void too_many_requests_are_waited_out_as_long_as_asked(void **state)
{
    (void)state;
    struct server *server = server_start(busy, ARRAY_LEN(busy));
    AUTO(client_free) struct client *client = make(server_url(server), NULL);
    int64_t begun = clock_mono_ms();
    assert_int_equal(get(client, NULL), ERR_OK);
    assert_true(clock_mono_ms() - begun >= 1000);
    assert_int_equal(server_asked(server, "GET /x"), 2);
    server_stop(server);
}

static void too_long_a_wait_and_what_cannot_be_repeated_come_back(void **state)
{
    (void)state;
    static const struct request requests[] = {
        {.method = "GET", .path = "/late", .repeatable = true}, {.method = "POST", .path = "/x"}};
    struct server *server = server_start(busy, ARRAY_LEN(busy));
    AUTO(client_free) struct client *client = make(server_url(server), NULL);
    for (size_t i = 0; i < ARRAY_LEN(requests); i++) {
        AUTO_ANSWER struct answer answer = {0};
        assert_int_equal(client_call(client, &requests[i], &answer, NULL), ERR_OK);
        assert_int_equal(answer.status, API_TOO_MANY);
        assert_int_equal(answer.retry_after_s, i == 0 ? 3600 : 1);
        assert_int_equal(server_asked(server, requests[i].method), 1);
    }
    server_stop(server);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_token_goes_to_one_whom_the_ca_vouches_for),
        cmocka_unit_test(another_ca_another_name_or_none_at_all_is_not_trusted),
        cmocka_unit_test(tls_before_1_3_is_not_spoken),
        cmocka_unit_test(streams_and_downloads_trust_no_other_and_send_the_token),
        cmocka_unit_test(one_that_will_trust_anybody_sends_no_token),
        cmocka_unit_test(without_tls_a_token_stays_on_this_machine),
        cmocka_unit_test(a_plain_url_to_one_that_speaks_tls_is_told_at_once),
        cmocka_unit_test(a_unix_socket_is_asked_like_any_other),
        cmocka_unit_test(without_memory_there_is_no_client),
        cmocka_unit_test(too_many_requests_are_waited_out_as_long_as_asked),
        cmocka_unit_test(too_long_a_wait_and_what_cannot_be_repeated_come_back),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
