#include "unit/handlers/support_http.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* ---- Thresholds -------------------------------------------------------------------------- */

/* What each connection gets: '+' is healthy; past the end the last one holds. */
static const char *pattern;

static void serve_pattern(struct peer_call *call)
{
    size_t last = strlen(pattern) - 1;
    size_t i = (size_t)call->number - 1 < last ? (size_t)call->number - 1 : last;
    peer_answer(call, pattern[i] == '+' ? 200 : 500, "", "");
}

static void thresholds_count_probes_in_a_row(void **state)
{
    (void)state;
    static const struct {
        const char *pattern, *params;
        bool healthy;
        int probes;
    } cases[] = {
        {"+", ",\"successThreshold\":3", true, 3},
        {"-", "", false, 3},
        {"-", ",\"failureThreshold\":1", false, 1},
        {"--+", "", true, 3},
        {"-+-+-++", ",\"successThreshold\":2,\"failureThreshold\":2", true, 7},
        {"+-+--+", ",\"successThreshold\":2,\"failureThreshold\":2", false, 5},
        {"++-++-+++", ",\"successThreshold\":3,\"failureThreshold\":2", true, 9},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct test t;
        pattern = cases[i].pattern;
        test_open(&t, serve_pattern, "/");
        check(&t, cases[i].params);
        if (cases[i].healthy)
            assert_healthy(&t);
        else
            assert_unhealthy(&t, "HTTP 500");
        test_close(&t);
        assert_int_equal(t.peer.calls, cases[i].probes);
    }
}

static void each_probe_is_told_in_a_line(void **state)
{
    (void)state;
    struct test t;
    pattern = "-+";
    test_open(&t, serve_pattern, "/");
    check(&t, ",\"successThreshold\":2");
    assert_healthy(&t);
    assert_string_equal(t.bed.result.message, "healthy after 3 probes: HTTP 200");
    assert_non_null(strstr(t.bed.output.data, "probe 1: unhealthy: HTTP 500 ("));
    assert_non_null(strstr(t.bed.output.data, "\nprobe 2: healthy: HTTP 200 ("));
    assert_non_null(strstr(t.bed.output.data, "\nprobe 3: healthy: HTTP 200 ("));
    test_close(&t);
}

static void the_interval_is_kept(void **state)
{
    (void)state;
    struct test t;
    test_open(&t, serve_ok, "/");
    check_timed(&t, "\"timeout\":20,\"interval\":0.2,\"successThreshold\":3");
    assert_healthy(&t);
    assert_true(t.bed.duration_ms >= 390);
    test_close(&t);
}

/* ---- No answer --------------------------------------------------------------------------- */

static void serve_nothing(struct peer_call *call)
{
    peer_await_end(call);
}

static void a_server_that_does_not_answer_is_unhealthy(void **state)
{
    (void)state;
    struct test t;
    test_open(&t, serve_nothing, "/");
    check_timed(&t, "\"timeout\":\"200ms\",\"interval\":\"100ms\",\"failureThreshold\":2");
    assert_unhealthy(&t, "2 probes in a row failed, the last: no answer within 200ms");
    assert_true(t.bed.duration_ms >= 400);
    assert_true(t.bed.duration_ms < 20000);
    test_close(&t);
    assert_int_equal(t.peer.calls, 2);
}

static void serve_then_cancel(struct peer_call *call)
{
    struct test *t = call->peer->ctx;
    peer_read_request(call);
    bed_cancel(&t->bed);
    peer_await_end(call);
}

static void cancelling_in_a_probe_ends_at_once(void **state)
{
    (void)state;
    struct test t;
    test_open(&t, serve_then_cancel, "/");
    check_timed(&t, "\"timeout\":3600");
    assert_int_equal(t.bed.result.outcome, HANDLER_CANCELLED);
    assert_true(t.bed.duration_ms < 20000);
    test_close(&t);
}

static void cancelling_before_the_first_answer_ends_at_once(void **state)
{
    (void)state;
    struct test t;
    test_open(&t, serve_nothing, "/");
    t.bed.cancel_at = "";
    check_timed(&t, "\"timeout\":3600");
    assert_int_equal(t.bed.result.outcome, HANDLER_CANCELLED);
    assert_true(t.bed.duration_ms < 20000);
    test_close(&t);
}

static void cancelling_between_probes_ends_at_once(void **state)
{
    (void)state;
    struct test t;
    test_open(&t, serve_ok, "/");
    t.bed.cancel_at = "probe 1";
    check_timed(&t, "\"timeout\":\"20s\",\"interval\":3600,\"successThreshold\":2");
    assert_int_equal(t.bed.result.outcome, HANDLER_CANCELLED);
    assert_true(t.bed.duration_ms < 20000);
    test_close(&t);
}

static void a_refused_connection_is_unhealthy(void **state)
{
    (void)state;
    struct bed bed;
    char params[256];
    int refusing;
    bed_open(&bed);
    (void)snprintf(params, sizeof(params), "{\"url\":\"http://127.0.0.1:%u/\"," QUICK "}",
                   peer_refusing_port(&refusing));
    bed_run(&bed, "http_check", HANDLER_EXECUTE, params);
    assert_int_equal(bed.result.outcome, HANDLER_FAILED);
    assert_non_null(strstr(bed.result.message, "Connection refused"));
    assert_non_null(strstr(bed.output.data, "probe 3: unhealthy: "));
    bed_close(&bed);
    assert_int_equal(close(refusing), 0);
}

static void a_name_without_an_address_is_unhealthy(void **state)
{
    (void)state;
    struct bed bed;
    bed_open(&bed);
    /* A label is too long for any name server to be asked. */
    bed_run(
        &bed, "http_check", HANDLER_EXECUTE,
        "{\"url\":\"http://aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
        ".test/\"," QUICK ",\"failureThreshold\":1}");
    assert_int_equal(bed.result.outcome, HANDLER_FAILED);
    assert_non_null(strstr(bed.result.message, "Could not resolve host"));
    bed_close(&bed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(thresholds_count_probes_in_a_row),
        cmocka_unit_test(each_probe_is_told_in_a_line),
        cmocka_unit_test(the_interval_is_kept),
        cmocka_unit_test(a_server_that_does_not_answer_is_unhealthy),
        cmocka_unit_test(cancelling_in_a_probe_ends_at_once),
        cmocka_unit_test(cancelling_before_the_first_answer_ends_at_once),
        cmocka_unit_test(cancelling_between_probes_ends_at_once),
        cmocka_unit_test(a_refused_connection_is_unhealthy),
        cmocka_unit_test(a_name_without_an_address_is_unhealthy),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
