#include "handlers/catalog.h"

#include "common/base/cleanup.h"
#include "unit/handlers/support_params.h"

#include <stdio.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { TEXT_MAX = 1024 };

/* The params as they are written back. */
static void assert_written(const struct step_type *type, const char *params_json,
                           const char *expected)
{
    AUTO_BUF struct buf b = BUF_INIT;
    void *params = good(type, params_json);
    json_encode(&b, type->params, params);
    step_params_free(type, params);
    assert_string_equal(b.data, expected);
    /* What was written is read as the same. */
    AUTO_BUF struct buf again = BUF_INIT;
    params = good(type, b.data);
    json_encode(&again, type->params, params);
    step_params_free(type, params);
    assert_string_equal(again.data, expected);
}

/* ---- All gates --------------------------------------------------------------------------- */

static void gates_have_the_usual_times_and_thresholds(void **state)
{
    (void)state;
    struct tcp_check_params *params = good(&tcp_check_type, "{\"port\":22}");
    assert_int_equal(params->gate.interval_ms, 5000);
    assert_int_equal(params->gate.timeout_ms, 5000);
    assert_int_equal(params->gate.success_threshold, 1);
    assert_int_equal(params->gate.failure_threshold, 3);
    step_params_free(&tcp_check_type, params);
    params = good(&tcp_check_type, "{\"port\":22,\"interval\":\"1m30s\",\"timeout\":0.5,"
                                   "\"successThreshold\":2,\"failureThreshold\":1}");
    assert_int_equal(params->gate.interval_ms, 90000);
    assert_int_equal(params->gate.timeout_ms, 500);
    assert_int_equal(params->gate.success_threshold, 2);
    assert_int_equal(params->gate.failure_threshold, 1);
    step_params_free(&tcp_check_type, params);
}

static void wrong_times_and_thresholds_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *param, *path, *message;
    } wrong[] = {
        {"\"interval\":0", "params.interval", "between 0.05 and"},
        {"\"interval\":\"soon\"", "params.interval", "soon"},
        {"\"timeout\":\"10ms\"", "params.timeout", "between 0.05 and"},
        {"\"timeout\":86401", "params.timeout", "between 0.05 and 86400"},
        {"\"successThreshold\":0", "params.successThreshold", "between 1 and"},
        {"\"failureThreshold\":1.5", "params.failureThreshold", "whole number"},
        {"\"failureTreshold\":1", "params.failureTreshold", "failureThreshold"},
    };
    static const struct {
        const struct step_type *type;
        const char *params;
    } gates[] = {{&http_check_type, "\"url\":\"http://a\""},
                 {&tcp_check_type, "\"port\":1"},
                 {&command_check_type, "\"command\":\"true\""}};
    for (size_t g = 0; g < ARRAY_LEN(gates); g++) {
        for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
            char text[TEXT_MAX];
            (void)snprintf(text, sizeof(text), "{%s,%s}", gates[g].params, wrong[i].param);
            assert_wrong(gates[g].type, text, wrong[i].path, wrong[i].message);
        }
    }
}

/* ---- http_check -------------------------------------------------------------------------- */

static void addresses_are_http_without_a_user(void **state)
{
    (void)state;
    static const char *const right[] = {
        "http://localhost", "https://web-1.example.com/", "HTTP://127.0.0.1:8080/healthz?a=b&c#d",
        "http://[::1]:80/", "https://[fe80::1]",          "http://a?x=@:80"};
    static const char *const wrong[] = {
        "",           "localhost",       "ftp://a/",          "http:/a",       "http://",
        "http:///x",  "http://a:0/",     "http://a:65536/",   "http://a:x/",   "http://u:p@a/",
        "http://a b", "http://[::1/",    "http://[]/",        "http://a\\\\b", "http://a/\\u0001",
        "http://:80", "http://\\u00e4/", "file:///etc/passwd"};
    for (size_t i = 0; i < ARRAY_LEN(right) + ARRAY_LEN(wrong); i++) {
        char text[TEXT_MAX];
        bool good_one = i < ARRAY_LEN(right);
        (void)snprintf(text, sizeof(text), "{\"url\":\"%s\"}",
                       good_one ? right[i] : wrong[i - ARRAY_LEN(right)]);
        if (good_one)
            assert_good(&http_check_type, text);
        else
            assert_wrong(&http_check_type, text, "params.url", "http");
    }
    assert_wrong(&http_check_type, "{}", "params.url", "required");
    assert_wrong(&http_check_type, "{\"url\":\"http://a\",\"proxy\":\"a:80\"}", "params.proxy",
                 "http");
}

static void statuses_are_numbers_and_classes(void **state)
{
    (void)state;
    static const struct {
        const char *text, *written; /* NULL: wrong */
    } cases[] = {
        {"200", "[200]"},
        {"\"2xx\"", "[\"2xx\"]"},
        {"\"4XX\"", "[\"4xx\"]"},
        {"[503,\"2xx\",200,301]", "[\"2xx\",301,503]"},
        {"[]", NULL},
        {"[99]", NULL},
        {"600", NULL},
        {"200.5", NULL},
        {"\"6xx\"", NULL},
        {"\"2x\"", NULL},
        {"\"200\"", NULL},
        {"[[200]]", NULL},
        {"{}", NULL},
        {"true", NULL},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char text[TEXT_MAX], written[TEXT_MAX];
        (void)snprintf(text, sizeof(text), "{\"url\":\"http://a\",\"expectStatus\":%s}",
                       cases[i].text);
        (void)snprintf(written, sizeof(written),
                       "{\"url\":\"http://a\",\"method\":\"GET\",\"expectStatus\":%s,"
                       "\"insecureSkipVerify\":false,\"interval\":5,\"timeout\":5,"
                       "\"successThreshold\":1,\"failureThreshold\":3}",
                       cases[i].written ? cases[i].written : "");
        if (cases[i].written)
            assert_written(&http_check_type, text, written);
        else
            assert_wrong(&http_check_type, text, "params.expectStatus", "\"2xx\"");
    }
}

static void statuses_left_out_are_2xx(void **state)
{
    (void)state;
    struct http_check_params *params = good(&http_check_type, "{\"url\":\"http://a\"}");
    assert_true(http_status_wanted(&params->expect_status, 200));
    assert_true(http_status_wanted(&params->expect_status, 299));
    assert_false(http_status_wanted(&params->expect_status, 199));
    assert_false(http_status_wanted(&params->expect_status, 300));
    assert_false(http_status_wanted(&params->expect_status, 0));
    assert_false(http_status_wanted(&params->expect_status, 999));
    step_params_free(&http_check_type, params);
}

static void headers_are_texts_by_name(void **state)
{
    (void)state;
    struct http_check_params *params =
        good(&http_check_type, "{\"url\":\"http://a\",\"headers\":{\"X-A\":\"1\",\"X-B\":\"\"}}");
    assert_int_equal(params->headers.count, 2);
    assert_string_equal(ARRAY_AT(&params->headers, struct http_header, 1)->name, "X-B");
    assert_string_equal(ARRAY_AT(&params->headers, struct http_header, 0)->value, "1");
    step_params_free(&http_check_type, params);
    assert_good(&http_check_type, "{\"url\":\"http://a\",\"headers\":{}}");
    static const char *const wrong[] = {"[]",
                                        "\"a\"",
                                        "{\"X A\":\"1\"}",
                                        "{\"\":\"1\"}",
                                        "{\"X:\":\"1\"}",
                                        "{\"X\":1}",
                                        "{\"Y\":\"1\",\"X\":\"a\\r\\nEvil: 1\"}"};
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        char text[TEXT_MAX];
        (void)snprintf(text, sizeof(text), "{\"url\":\"http://a\",\"headers\":%s}", wrong[i]);
        assert_wrong(&http_check_type, text, "params.headers", "headers");
    }
}

static void a_regular_expression_must_be_one_that_ends(void **state)
{
    (void)state;
    static const char *const right[] = {"^ok$", "a{2,3}|[0-9]+", "(a{10}){100}", "\\\\{999999",
                                        "\\\\(x\\\\)"};
    static const char *const wrong[] = {"(",        "a{2", "[z", "(a)\\\\1", "((a{255}){255}){255}",
                                        "a{1,1001}"};
    for (size_t i = 0; i < ARRAY_LEN(right) + ARRAY_LEN(wrong); i++) {
        char text[TEXT_MAX];
        bool good_one = i < ARRAY_LEN(right);
        (void)snprintf(text, sizeof(text), "{\"url\":\"http://a\",\"expectBodyRegex\":\"%s\"}",
                       good_one ? right[i] : wrong[i - ARRAY_LEN(right)]);
        if (good_one)
            assert_good(&http_check_type, text);
        else
            assert_wrong(&http_check_type, text, "params.expectBodyRegex", "regular expression");
    }
}

static void redirects_are_not_followed_where_one_is_expected(void **state)
{
    (void)state;
    static const struct {
        const char *params;
        int64_t most;
    } cases[] = {{"", 5},
                 {",\"expectStatus\":[200,404]", 5},
                 {",\"expectStatus\":301", 0},
                 {",\"expectStatus\":[\"2xx\",\"3xx\"]", 0},
                 {",\"expectStatus\":301,\"maxRedirects\":2", 2},
                 {",\"maxRedirects\":0", 0}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char text[TEXT_MAX];
        (void)snprintf(text, sizeof(text), "{\"url\":\"http://a\"%s}", cases[i].params);
        void *params = good(&http_check_type, text);
        assert_int_equal(http_redirects_max(params), cases[i].most);
        step_params_free(&http_check_type, params);
    }
}

static void params_that_say_nothing_together_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *params, *path;
    } cases[] = {
        {"\"body\":\"x\"", "params.body"},
        {"\"method\":\"HEAD\",\"expectBody\":\"x\"", "params.expectBody"},
        {"\"method\":\"HEAD\",\"expectBodyRegex\":\"x\"", "params.expectBodyRegex"},
        {"\"caFile\":\"/a.pem\",\"insecureSkipVerify\":true", "params.caFile"},
        {"\"caFile\":\"a.pem\"", "params.caFile"},
        {"\"connectTo\":\"a:b\"", "params.connectTo"},
        {"\"connectTo\":\"\"", "params.connectTo"},
        {"\"method\":\"DELETE\"", "params.method"},
        {"\"maxRedirects\":21", "params.maxRedirects"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char text[TEXT_MAX];
        (void)snprintf(text, sizeof(text), "{\"url\":\"http://a\",%s}", cases[i].params);
        assert_wrong(&http_check_type, text, cases[i].path, "");
    }
    assert_good(&http_check_type, "{\"url\":\"http://a\",\"connectTo\":\"[::1]:8080\"}");
    assert_wrong(&http_check_type, "{\"url\":\"http://a\",\"connectTo\":\"::1\"}",
                 "params.connectTo", "[::1]:8443");
}

/* ---- tcp_check, command_check ------------------------------------------------------------ */

static void tcp_check_takes_a_host_and_a_port(void **state)
{
    (void)state;
    static const char *const hosts[] = {"localhost", "::1", "10.0.0.1", "web-1.example.com"};
    static const char *const wrong[] = {"a b", "http://a", "[::1]", "u@a"};
    for (size_t i = 0; i < ARRAY_LEN(hosts) + ARRAY_LEN(wrong); i++) {
        char text[TEXT_MAX];
        bool good_one = i < ARRAY_LEN(hosts);
        (void)snprintf(text, sizeof(text), "{\"port\":80,\"host\":\"%s\"}",
                       good_one ? hosts[i] : wrong[i - ARRAY_LEN(hosts)]);
        if (good_one)
            assert_good(&tcp_check_type, text);
        else
            assert_wrong(&tcp_check_type, text, "params.host", "host");
    }
    assert_wrong(&tcp_check_type, "{\"host\":\"a\"}", "params.port", "required");
    assert_wrong(&tcp_check_type, "{\"port\":0}", "params.port", "between 1 and 65535");
    assert_wrong(&tcp_check_type, "{\"port\":65536}", "params.port", "between 1 and 65535");
    assert_wrong(&tcp_check_type, "{\"port\":1,\"expect\":\"\"}", "params.expect", "empty");
}

static void command_check_takes_a_program_and_its_args(void **state)
{
    (void)state;
    struct command_check_params *params =
        good(&command_check_type, "{\"command\":\"sh\",\"args\":[\"-c\",\"true\"]}");
    assert_string_equal(params->command, "sh");
    assert_int_equal(params->args.count, 2);
    step_params_free(&command_check_type, params);
    assert_wrong(&command_check_type, "{}", "params.command", "required");
    assert_wrong(&command_check_type, "{\"command\":\"sh\",\"script\":\"sh\"}", "params.script",
                 "unknown");
    AUTO_BUF struct buf b = BUF_INIT;
    buf_puts(&b, "{\"command\":\"a\",\"args\":[");
    for (int i = 0; i < 5; i++) {
        buf_printf(&b, "%s\"%0131000d\"", i > 0 ? "," : "", 0);
    }
    buf_puts(&b, "]}");
    assert_wrong(&command_check_type, b.data, "params.args", "bytes together");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gates_have_the_usual_times_and_thresholds),
        cmocka_unit_test(wrong_times_and_thresholds_are_refused),
        cmocka_unit_test(addresses_are_http_without_a_user),
        cmocka_unit_test(statuses_are_numbers_and_classes),
        cmocka_unit_test(statuses_left_out_are_2xx),
        cmocka_unit_test(headers_are_texts_by_name),
        cmocka_unit_test(a_regular_expression_must_be_one_that_ends),
        cmocka_unit_test(redirects_are_not_followed_where_one_is_expected),
        cmocka_unit_test(params_that_say_nothing_together_are_refused),
        cmocka_unit_test(tcp_check_takes_a_host_and_a_port),
        cmocka_unit_test(command_check_takes_a_program_and_its_args),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
