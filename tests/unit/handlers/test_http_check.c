#include "unit/handlers/support_http.h"

#include "common/base/alloc.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* ---- Answers ----------------------------------------------------------------------------- */

static void an_answer_of_2xx_is_healthy(void **state)
{
    (void)state;
    struct test t;
    test_open(&t, serve_ok, "/healthz?full=1");
    check(&t, "");
    assert_healthy(&t);
    assert_string_equal(t.bed.result.message, "healthy: HTTP 200");
    assert_ptr_equal(strstr(t.bed.output.data, "probe 1: healthy: HTTP 200 ("), t.bed.output.data);
    test_close(&t);
    assert_ptr_equal(strstr(t.peer.last_request, "GET /healthz?full=1 HTTP/1.1\r\n"),
                     t.peer.last_request);
    assert_non_null(strstr(t.peer.last_request, "\r\nUser-Agent: kitsune-agent/"));
    assert_int_equal(t.peer.calls, 1);
}

/* What the path of the test's URL ends with. */
static int path_number(const struct test *t)
{
    char *end = NULL;
    const char *text = strrchr(t->url, '/') + 1;
    long number = strtol(text, &end, 10);
    assert_true(end != text && *end == '\0' && number >= 0 && number < 1000);
    return (int)number;
}

/* Answers with the status that its path names. */
static void serve_status(struct peer_call *call)
{
    peer_answer(call, path_number(call->peer->ctx), "", "");
}

static void the_status_decides(void **state)
{
    (void)state;
    static const struct {
        const char *path, *params;
        bool healthy;
    } cases[] = {
        {"/200", "", true},
        {"/204", "", true},
        {"/299", "", true},
        {"/301", "", false},
        {"/404", "", false},
        {"/503", "", false},
        {"/503", ",\"expectStatus\":503", true},
        {"/200", ",\"expectStatus\":503", false},
        {"/302", ",\"expectStatus\":\"3xx\"", true},
        {"/404", ",\"expectStatus\":[200,\"4xx\"]", true},
        {"/201", ",\"expectStatus\":[200,\"4xx\"]", false},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct test t;
        char message[32];
        char params[128];
        test_open(&t, serve_status, cases[i].path);
        (void)snprintf(params, sizeof(params), "%s,\"failureThreshold\":1", cases[i].params);
        check(&t, params);
        (void)snprintf(message, sizeof(message), "HTTP %s", cases[i].path + 1);
        if (cases[i].healthy)
            assert_healthy(&t);
        else
            assert_unhealthy(&t, message);
        test_close(&t);
    }
}

static void the_body_must_hold_what_is_expected(void **state)
{
    (void)state;
    static const struct {
        const char *params, *message; /* NULL: healthy */
    } cases[] = {
        {",\"expectBody\":\"green\"", NULL},
        {",\"expectBody\":\"red\"", "HTTP 200, and expectBody is not in the body"},
        {",\"expectBodyRegex\":\"^status: (green|yellow)$\"", NULL},
        {",\"expectBodyRegex\":\"^green\"", "expectBodyRegex does not match the body"},
        {",\"expectBody\":\"green\",\"expectBodyRegex\":\"red\"", "expectBodyRegex"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct test t;
        char params[256];
        test_open(&t, serve_ok, "/");
        (void)snprintf(params, sizeof(params), "%s,\"failureThreshold\":1", cases[i].params);
        check(&t, params);
        if (cases[i].message)
            assert_unhealthy(&t, cases[i].message);
        else
            assert_healthy(&t);
        test_close(&t);
    }
}

static void serve_binary(struct peer_call *call)
{
    static const char body[] = "a\0b\nstate=\0up\n\n";
    peer_read_request(call);
    (void)peer_say(call, "HTTP/1.0 200 OK\r\n\r\n");
    (void)peer_write(call, body, sizeof(body));
}

static void a_body_may_hold_any_bytes(void **state)
{
    (void)state;
    struct test t;
    test_open(&t, serve_binary, "/");
    check(&t, ",\"expectBody\":\"up\",\"expectBodyRegex\":\"^state=\"");
    assert_healthy(&t);
    test_close(&t);
}

/* Without an end. */
static void serve_giant(struct peer_call *call)
{
    static const char chunk[65536] = {'x'};
    peer_read_request(call);
    (void)peer_say(call, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nbegin");
    while (peer_write(call, chunk, sizeof(chunk)))
        continue;
}

static void of_a_giant_body_the_first_mebibyte_is_read(void **state)
{
    (void)state;
    struct test t;
    test_open(&t, serve_giant, "/");
    check(&t, "");
    assert_healthy(&t);
    check(&t, ",\"expectBody\":\"begin\"");
    assert_healthy(&t);
    check(&t, ",\"expectBody\":\"end\",\"failureThreshold\":1");
    assert_unhealthy(&t, "not in the body's first MiB");
    test_close(&t);
}

static void serve_endless_headers(struct peer_call *call)
{
    peer_read_request(call);
    (void)peer_say(call, "HTTP/1.1 200 OK\r\n");
    while (peer_say(call, "X-Filler: xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\r\n"))
        continue;
}

static void headers_without_an_end_are_unhealthy(void **state)
{
    (void)state;
    struct test t;
    test_open(&t, serve_endless_headers, "/");
    check(&t, ",\"failureThreshold\":1");
    assert_unhealthy(&t, "the headers of the answer are longer than 256 KiB");
    test_close(&t);
}

static void serve_nonsense(struct peer_call *call)
{
    peer_read_request(call);
    (void)peer_say(call, "SSH-2.0-nothing \x1b[31m\r\n");
}

static void an_answer_that_is_no_http_is_unhealthy(void **state)
{
    (void)state;
    struct test t;
    test_open(&t, serve_nonsense, "/");
    check(&t, ",\"failureThreshold\":1");
    assert_unhealthy(&t, "HTTP/0.9");
    test_close(&t);
}

/* ---- Requests ---------------------------------------------------------------------------- */

static void method_headers_and_body_are_sent(void **state)
{
    (void)state;
    struct test t;
    test_open(&t, serve_ok, "/rpc");
    check(&t, ",\"method\":\"POST\",\"body\":\"{}\",\"headers\":{\"X-Token\":\"secret\","
              "\"X-Empty\":\"\",\"Content-Type\":\"application/json\"}");
    assert_healthy(&t);
    assert_null(strstr(t.bed.output.data, "secret"));
    test_close(&t);
    static const char *const parts[] = {"POST /rpc HTTP/1.1\r\n", "\r\nX-Token: secret\r\n",
                                        "\r\nX-Empty:\r\n",
                                        "\r\nContent-Type: application/json\r\n", "\r\n\r\n{}"};
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++)
        assert_non_null(strstr(t.peer.last_request, parts[i]));
}

static void other_methods_are_sent(void **state)
{
    (void)state;
    static const char *const methods[] = {"HEAD", "OPTIONS", "POST"};
    for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++) {
        struct test t;
        char params[64];
        test_open(&t, serve_ok, "/");
        (void)snprintf(params, sizeof(params), ",\"method\":\"%s\"", methods[i]);
        check(&t, params);
        assert_healthy(&t);
        test_close(&t);
        assert_ptr_equal(strstr(t.peer.last_request, methods[i]), t.peer.last_request);
    }
}

static void connect_to_asks_this_server_by_another_name(void **state)
{
    (void)state;
    struct test t;
    char params[64];
    test_open(&t, serve_ok, "/");
    (void)snprintf(params, sizeof(params), ",\"connectTo\":\"127.0.0.1:%u\"", t.peer.port);
    (void)snprintf(t.url, sizeof(t.url), "http://kitsune.test/");
    check(&t, params);
    assert_healthy(&t);
    (void)snprintf(t.url, sizeof(t.url), "http://kitsune.test:%u/", t.peer.port);
    check(&t, ",\"connectTo\":\"127.0.0.1\"");
    assert_healthy(&t);
    test_close(&t);
    assert_non_null(strstr(t.peer.last_request, "\r\nHost: kitsune.test:"));
}

static void a_proxy_is_used_only_when_it_is_given(void **state)
{
    (void)state;
    struct test t;
    char params[64];
    int refusing;
    char nobody[64];
    (void)snprintf(nobody, sizeof(nobody), "http://127.0.0.1:%u", peer_refusing_port(&refusing));
    test_open(&t, serve_ok, "/");
    assert_int_equal(setenv("http_proxy", nobody, 1), 0);
    check(&t, ",\"failureThreshold\":1");
    assert_healthy(&t);
    assert_int_equal(setenv("no_proxy", "*", 1), 0);
    (void)snprintf(params, sizeof(params), ",\"proxy\":\"http://127.0.0.1:%u\"", t.peer.port);
    (void)snprintf(t.url, sizeof(t.url), "http://kitsune.test/x");
    check(&t, params);
    assert_healthy(&t);
    assert_int_equal(unsetenv("http_proxy"), 0);
    assert_int_equal(unsetenv("no_proxy"), 0);
    test_close(&t);
    assert_int_equal(close(refusing), 0);
    assert_non_null(strstr(t.peer.last_request, "GET http://kitsune.test/x HTTP/1.1\r\n"));
}

/* ---- Redirects --------------------------------------------------------------------------- */

/* As many redirects to /1, /2, ... as the path says, then 200. */
static void serve_redirects(struct peer_call *call)
{
    char header[64];
    if (call->number > path_number(call->peer->ctx)) {
        peer_answer(call, 200, "", "arrived");
        return;
    }
    (void)snprintf(header, sizeof(header), "Location: /hop%d\r\n", call->number);
    peer_answer(call, 302, header, "not the body");
}

static void redirects_are_followed_within_a_bound(void **state)
{
    (void)state;
    static const struct {
        const char *path, *params, *message; /* NULL: healthy */
        int calls;
    } cases[] = {
        {"/5", ",\"expectBody\":\"arrived\"", NULL, 6},
        {"/6", "", "redirects", 6},
        {"/3", ",\"maxRedirects\":2", "redirects", 3},
        {"/1", ",\"maxRedirects\":0", "HTTP 302 to http://127.0.0.1", 1},
        {"/1", ",\"expectStatus\":302", NULL, 1},
        {"/1", ",\"expectStatus\":[200,302],\"maxRedirects\":1,\"expectBody\":\"arrived\"", NULL,
         2},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct test t;
        char params[256];
        test_open(&t, serve_redirects, cases[i].path);
        (void)snprintf(params, sizeof(params), "%s,\"failureThreshold\":1", cases[i].params);
        check(&t, params);
        if (cases[i].message)
            assert_unhealthy(&t, cases[i].message);
        else
            assert_healthy(&t);
        test_close(&t);
        assert_int_equal(t.peer.calls, cases[i].calls);
    }
}

static void serve_redirect_to_a_file(struct peer_call *call)
{
    peer_answer(call, 302, "Location: file:///etc/passwd\r\n", "");
}

static void a_redirect_to_something_else_than_http_is_not_followed(void **state)
{
    (void)state;
    struct test t;
    test_open(&t, serve_redirect_to_a_file, "/");
    check(&t, ",\"failureThreshold\":1,\"expectBody\":\"root\"");
    assert_unhealthy(&t, "file");
    test_close(&t);
}

/* ---- TLS --------------------------------------------------------------------------------- */

static void a_certificate_of_an_unknown_authority_is_unhealthy(void **state)
{
    (void)state;
    struct test t;
    test_open_tls(&t, serve_ok);
    check(&t, ",\"failureThreshold\":1");
    assert_unhealthy(&t, "certificate");
    check(&t, ",\"insecureSkipVerify\":true");
    assert_healthy(&t);
    test_close(&t);
}

static void a_ca_file_is_trusted(void **state)
{
    (void)state;
    struct test t;
    char params[PATH_MAX];
    test_open_tls(&t, serve_ok);
    (void)snprintf(params, sizeof(params), ",\"failureThreshold\":1,\"caFile\":\"%s\"",
                   bed_path(&t.bed, "ca.pem"));
    check(&t, params);
    assert_healthy(&t);
    (void)snprintf(t.url, sizeof(t.url), "https://localhost:%u/", t.peer.port);
    check(&t, params);
    assert_unhealthy(&t, "localhost");
    (void)snprintf(t.url, sizeof(t.url), "https://kitsune.test:%u/", t.peer.port);
    (void)snprintf(params, sizeof(params), ",\"connectTo\":\"127.0.0.1\",\"caFile\":\"%s\"",
                   bed_path(&t.bed, "ca.pem"));
    check(&t, params);
    assert_healthy(&t);
    test_close(&t);
}

static void a_missing_ca_file_fails_for_good(void **state)
{
    (void)state;
    struct test t;
    test_open_tls(&t, serve_ok);
    check(&t, ",\"caFile\":\"/no/such/file.pem\"");
    assert_unhealthy(&t, "/no/such/file.pem");
    assert_int_equal(t.bed.output.len, 0);
    test_close(&t);
}

/* ---- The rest ---------------------------------------------------------------------------- */

static void there_is_nothing_to_prepare_or_undo(void **state)
{
    (void)state;
    static const enum handler_operation operations[] = {HANDLER_PREPARE, HANDLER_ROLLBACK};
    struct bed bed;
    bed_open(&bed);
    for (size_t i = 0; i < 2; i++) {
        bed_run(&bed, "http_check", operations[i], "{\"url\":\"http://127.0.0.1:1/\"}");
        assert_int_equal(bed.result.outcome, HANDLER_OK);
        assert_int_equal(bed.output.len, 0);
    }
    bed_close(&bed);
}

static void keep_result(struct handler_run *run, const struct handler_result *result)
{
    struct bed *bed = run->ctx;
    bed->result = *result;
}

static void ignore_output(struct handler_run *run, const char *data, size_t len)
{
    (void)run;
    (void)data;
    (void)len;
}

static void memory_running_out_fails_the_check(void **state)
{
    (void)state;
    struct test t;
    test_open(&t, serve_ok, "/");
    struct http_check_params params = {
        .url = t.url,
        .gate = {.interval_ms = 1,
                 .timeout_ms = 20000,
                 .success_threshold = 1,
                 .failure_threshold = 1},
    };
    uint64_t failed = 1;
    for (uint64_t n = 0; failed > 0; n++) {
        struct handler_run run = {.host = &t.bed.host,
                                  .handler = handler_find("http_check"),
                                  .operation = HANDLER_EXECUTE,
                                  .params = &params,
                                  .output = ignore_output,
                                  .done = keep_result,
                                  .ctx = &t.bed};
        mem_fail_after(n);
        handler_start(&run);
        assert_int_equal(uv_run(&t.bed.loop, UV_RUN_DEFAULT), 0);
        failed = mem_fail_count();
        mem_fail_never();
        /* Without memory for the line of a probe there is no line. */
        bool ok = t.bed.result.outcome == HANDLER_OK;
        assert_true(ok || (failed > 0 && strstr(t.bed.result.message, "out of memory")));
        assert_true(n > 0 || !ok);
    }
    test_close(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_answer_of_2xx_is_healthy),
        cmocka_unit_test(the_status_decides),
        cmocka_unit_test(the_body_must_hold_what_is_expected),
        cmocka_unit_test(a_body_may_hold_any_bytes),
        cmocka_unit_test(of_a_giant_body_the_first_mebibyte_is_read),
        cmocka_unit_test(headers_without_an_end_are_unhealthy),
        cmocka_unit_test(an_answer_that_is_no_http_is_unhealthy),
        cmocka_unit_test(method_headers_and_body_are_sent),
        cmocka_unit_test(other_methods_are_sent),
        cmocka_unit_test(connect_to_asks_this_server_by_another_name),
        cmocka_unit_test(a_proxy_is_used_only_when_it_is_given),
        cmocka_unit_test(redirects_are_followed_within_a_bound),
        cmocka_unit_test(a_redirect_to_something_else_than_http_is_not_followed),
        cmocka_unit_test(a_certificate_of_an_unknown_authority_is_unhealthy),
        cmocka_unit_test(a_ca_file_is_trusted),
        cmocka_unit_test(a_missing_ca_file_fails_for_good),
        cmocka_unit_test(there_is_nothing_to_prepare_or_undo),
        cmocka_unit_test(memory_running_out_fails_the_check),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
