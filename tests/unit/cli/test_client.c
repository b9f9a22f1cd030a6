#include "common/base/cleanup.h"
#include "orchestrator/cli/client.h"
#include "orchestrator/cli/sse.h"
#include "unit/cli/support_server.h"

#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static struct client *make(const char *url)
{
    struct client *client = NULL;
    struct error err = {0};
    if (client_new(&(struct client_config){.url = url}, &client, &err) != ERR_OK)
        fail_msg("%s", err.message);
    return client;
}

static void names_are_percent_encoded(void **state)
{
    (void)state;
    AUTO_BUF struct buf b = BUF_INIT;
    url_put(&b, "aZ09-._~ /?#%&+\xc3\xbc\n");
    assert_string_equal(b.data, "aZ09-._~%20%2F%3F%23%25%26%2B%C3%BC%0A");
}

static void urls_that_are_none_are_refused(void **state)
{
    (void)state;
    static const char *const urls[] = {"",
                                       "localhost:7233",
                                       "ftp://host",
                                       "http://",
                                       "http://host:99999999",
                                       "http://host/?x=1",
                                       "http://host/#x",
                                       "http://ho st",
                                       "https://me:secret@host",
                                       "unix:",
                                       "unix://run/x",
                                       "unix:x"};
    for (size_t i = 0; i < ARRAY_LEN(urls); i++) {
        struct client *client = NULL;
        struct error err = {0};
        if (client_new(&(struct client_config){.url = urls[i]}, &client, &err) != ERR_INVALID)
            fail_msg("%s was taken", urls[i]);
        assert_null(client);
    }
}

static void a_url_may_have_a_path_and_a_slash_at_its_end(void **state)
{
    (void)state;
    static const struct canned table[] = {{.request = "GET /proxy/healthz ", .body = "{}"}};
    struct server *server = server_start(table, 1);
    AUTO_BUF struct buf url = BUF_INIT;
    AUTO_ANSWER struct answer answer = {0};
    buf_printf(&url, "%s/proxy//", server_url(server));
    AUTO(client_free) struct client *client = make(url.data);
    struct request request = {.method = "GET", .path = "/healthz"};
    assert_int_equal(client_call(client, &request, &answer, NULL), ERR_OK);
    assert_int_equal(answer.status, 200);
    server_stop(server);
}

static void an_answer_that_was_lost_is_asked_for_again(void **state)
{
    (void)state;
    static const struct canned table[] = {
        {.request = "POST /v1/rollouts", .end = CANNED_DROP, .uses = 2},
        {.request = "POST /v1/rollouts",
         .status = 201,
         .headers = "X-Kitsune-Attempt: 7\r\n",
         .body = "{\"a\":1}"}};
    struct server *server = server_start(table, 2);
    AUTO(client_free) struct client *client = make(server_url(server));
    AUTO_ANSWER struct answer answer = {0};
    struct request request = {
        .method = "POST", .path = "/v1/rollouts?id=a", .body = "{}", .len = 2, .repeatable = true};
    assert_int_equal(client_call(client, &request, &answer, NULL), ERR_OK);
    assert_int_equal(answer.status, 201);
    assert_int_equal(answer.attempt, 7);
    assert_string_equal(answer.body.data, "{\"a\":1}");
    assert_int_equal(server_asked(server, "POST /v1/rollouts?id=a {}"), 3);
    server_stop(server);
}

static void a_request_that_cannot_be_repeated_is_sent_once(void **state)
{
    (void)state;
    static const struct canned table[] = {{.request = "POST /x", .end = CANNED_DROP}};
    struct server *server = server_start(table, 1);
    AUTO(client_free) struct client *client = make(server_url(server));
    AUTO_ANSWER struct answer answer = {0};
    struct error err = {0};
    struct request request = {.method = "POST", .path = "/x"};
    assert_int_equal(client_call(client, &request, &answer, &err), ERR_IO);
    assert_int_equal(server_asked(server, "POST /x"), 1);
    server_stop(server);
}

static void nobody_there_is_told_from_a_lost_answer(void **state)
{
    (void)state;
    char url[64];
    int nowhere = server_nowhere(url, sizeof(url));
    AUTO(client_free) struct client *client = make(url);
    AUTO_ANSWER struct answer answer = {0};
    struct error err = {0};
    struct request request = {.method = "GET", .path = "/x", .repeatable = true};
    assert_int_equal(client_call(client, &request, &answer, &err), ERR_UNAVAILABLE);
    assert_string_equal(err.message, "connection refused");
    assert_int_equal(close(nowhere), 0);
}

/* ---- Streams -----------------------------------------------------------------------------------
 */

static void a_stream_gives_its_events_and_then_its_end(void **state)
{
    (void)state;
    static const struct canned table[] = {{.request = "GET /events ",
                                           .body = "id: 8\nevent: a\ndata: one\n\n"
                                                   "id: 9\nevent: b\ndata: two\n\n",
                                           .end = CANNED_CLOSE}};
    struct server *server = server_start(table, 1);
    AUTO(client_free) struct client *client = make(server_url(server));
    AUTO(stream_free) struct stream *stream = NULL;
    struct sse_event e = {0};
    struct error err = {0};
    assert_int_equal(stream_open(client, "/events", 7, &stream, NULL), ERR_OK);
    assert_int_equal(stream_next(stream, INT64_MAX, -1, &e, &err), STREAM_CONNECTED);
    assert_int_equal(stream_next(stream, INT64_MAX, -1, &e, &err), STREAM_EVENT);
    assert_string_equal(e.type, "a");
    assert_string_equal(e.id, "8");
    assert_int_equal(stream_next(stream, INT64_MAX, -1, &e, &err), STREAM_EVENT);
    assert_string_equal(e.data, "two");
    assert_int_equal(stream_next(stream, INT64_MAX, -1, &e, &err), STREAM_CLOSED);
    assert_string_equal(err.message, "the orchestrator closed the connection");
    assert_int_equal(server_asked(server, "GET /events [Last-Event-ID: 7]"), 1);
    server_stop(server);
}

static void a_stream_that_is_refused_says_why(void **state)
{
    (void)state;
    struct server *server = server_start(NULL, 0);
    AUTO(client_free) struct client *client = make(server_url(server));
    AUTO(stream_free) struct stream *stream = NULL;
    struct sse_event e = {0};
    assert_int_equal(stream_open(client, "/events", 0, &stream, NULL), ERR_OK);
    assert_int_equal(stream_next(stream, INT64_MAX, -1, &e, NULL), STREAM_REFUSED);
    assert_int_equal(stream_answer(stream)->status, 404);
    assert_non_null(strstr(stream_answer(stream)->body.data, "Not found"));
    server_stop(server);
}

static void a_deadline_ends_the_waiting_and_not_the_stream(void **state)
{
    (void)state;
    static const struct canned table[] = {
        {.request = "GET /events ", .body = "data: x\n\n", .end = CANNED_HOLD}};
    struct server *server = server_start(table, 1);
    AUTO(client_free) struct client *client = make(server_url(server));
    AUTO(stream_free) struct stream *stream = NULL;
    struct sse_event e = {0};
    assert_int_equal(stream_open(client, "/events", 0, &stream, NULL), ERR_OK);
    assert_int_equal(stream_next(stream, 0, -1, &e, NULL), STREAM_DEADLINE);
    assert_int_equal(stream_next(stream, INT64_MAX, -1, &e, NULL), STREAM_CONNECTED);
    assert_int_equal(stream_next(stream, INT64_MAX, -1, &e, NULL), STREAM_EVENT);
    assert_int_equal(stream_next(stream, 0, -1, &e, NULL), STREAM_DEADLINE);
    server_stop(server);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_are_percent_encoded),
        cmocka_unit_test(urls_that_are_none_are_refused),
        cmocka_unit_test(a_url_may_have_a_path_and_a_slash_at_its_end),
        cmocka_unit_test(an_answer_that_was_lost_is_asked_for_again),
        cmocka_unit_test(a_request_that_cannot_be_repeated_is_sent_once),
        cmocka_unit_test(nobody_there_is_told_from_a_lost_answer),
        cmocka_unit_test(a_stream_gives_its_events_and_then_its_end),
        cmocka_unit_test(a_stream_that_is_refused_says_why),
        cmocka_unit_test(a_deadline_ends_the_waiting_and_not_the_stream),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
