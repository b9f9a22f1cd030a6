#include "unit/handlers/support_http.h"

#include <stdio.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

void test_open(struct test *t, void (*serve)(struct peer_call *call), const char *path)
{
    memset(t, 0, sizeof(*t));
    bed_open(&t->bed);
    t->peer.serve = serve;
    t->peer.ctx = t;
    peer_open(&t->peer);
    (void)snprintf(t->url, sizeof(t->url), "http://127.0.0.1:%u%s", t->peer.port, path);
}

void test_open_tls(struct test *t, void (*serve)(struct peer_call *call))
{
    memset(t, 0, sizeof(*t));
    bed_open(&t->bed);
    t->peer.serve = serve;
    t->peer.ctx = t;
    t->peer.tls = peer_certificate(bed_path(&t->bed, "ca.pem"));
    peer_open(&t->peer);
    (void)snprintf(t->url, sizeof(t->url), "https://127.0.0.1:%u/", t->peer.port);
}

void test_close(struct test *t)
{
    peer_close(&t->peer);
    bed_close(&t->bed);
}

void check_timed(struct test *t, const char *params)
{
    char text[2048];
    (void)snprintf(text, sizeof(text), "{\"url\":\"%s\",%s}", t->url, params);
    bed_run(&t->bed, "http_check", HANDLER_EXECUTE, text);
}

void check(struct test *t, const char *params)
{
    char text[1024];
    (void)snprintf(text, sizeof(text), QUICK "%s", params);
    check_timed(t, text);
}

void assert_healthy(const struct test *t)
{
    if (t->bed.result.outcome != HANDLER_OK)
        fail_msg("%s", t->bed.result.message);
    assert_false(t->bed.result.changed);
}

void assert_unhealthy(const struct test *t, const char *message)
{
    assert_int_equal(t->bed.result.outcome, HANDLER_FAILED);
    assert_false(t->bed.result.retryable);
    if (!strstr(t->bed.result.message, message))
        fail_msg("%s", t->bed.result.message);
}

void serve_ok(struct peer_call *call)
{
    peer_answer(call, 200, "", "status: green\n");
}
