#include "common/net/net_fetch.h"
#include "unit/net/support_tls.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { ANSWER_MAX = 300 * 1024 };

static struct tls_world world;

static int make_world(void **state)
{
    (void)state;
    tls_world_make(&world);
    return 0;
}

static int free_world(void **state)
{
    (void)state;
    tls_world_free(&world);
    return 0;
}

/* What came of a request. */
struct outcome {
    unsigned done;
    int status;
    size_t len;
    char body[256]; /* its beginning */
    char failure[256];
};

static void on_done(void *ctx, int status, const char *body, size_t len, const char *failure)
{
    struct outcome *o = ctx;
    o->done++;
    o->status = status;
    o->len = len;
    assert_true((status == 0) == (failure != NULL));
    (void)snprintf(o->body, sizeof(o->body), "%s", body == NULL ? "" : body);
    (void)snprintf(o->failure, sizeof(o->failure), "%s", failure == NULL ? "" : failure);
}

static struct net_fetch *begin(struct fixture *f, struct outcome *o, const char *url,
                               const struct net_tls_client *tls)
{
    struct net_fetch *fetch = NULL;
    struct error err = {0};
    static const char body[] = "{\"a\":1}";
    const struct net_fetch_config config = {
        .url = url,
        .tls = tls,
        .path = "/v1/enrol",
        .content_type = "application/json",
        .body = body,
        .len = sizeof(body) - 1,
        .max_answer = ANSWER_MAX,
        .timeout_ms = 10000,
        .ctx = o,
        .done = on_done,
    };
    *o = (struct outcome){0};
    if (net_fetch_post(f->net, &config, &fetch, &err) != ERR_OK)
        fail_msg("%s", err.message);
    assert_int_equal(o->done, 0);
    return fetch;
}

static void fetch(struct fixture *f, struct outcome *o, const char *url,
                  const struct net_tls_client *tls)
{
    (void)begin(f, o, url, tls);
    run_until(f, &o->done, 1);
}

static const char *plain_url(const struct fixture *f)
{
    static char url[64];
    (void)snprintf(url, sizeof(url), "http://127.0.0.1:%u", net_server_port(f->server));
    return url;
}

/* ---- What servers answer ----------------------------------------------------------------------
 */

static char seen_type[64], seen_identity[PKI_IDENTITY_MAX];

static void answer_echo(struct fixture *f, struct net_request *req)
{
    (void)f;
    size_t len = 0;
    const char *type = net_request_header(req, "content-type");
    const struct pki_facts *who = net_request_identity(req);
    (void)snprintf(seen_type, sizeof(seen_type), "%s", type == NULL ? "" : type);
    (void)snprintf(seen_identity, sizeof(seen_identity), "%s", who == NULL ? "" : who->identity);
    assert_int_equal(net_request_method(req), NET_POST);
    assert_string_equal(net_request_path(req), "/v1/enrol");
    const char *body = net_request_body(req, &len);
    net_respond(req, 201, "application/json", NULL, body, len);
}

static void answer_no(struct fixture *f, struct net_request *req)
{
    (void)f;
    net_respond(req, 403, "application/problem+json", NULL, "{}", 2);
}

static size_t answer_size;

static void answer_much(struct fixture *f, struct net_request *req)
{
    (void)f;
    char *much = calloc(1, answer_size);
    assert_non_null(much);
    memset(much, 'x', answer_size);
    net_respond(req, 200, "text/plain", NULL, much, answer_size);
    free(much);
}

static void answer_half(struct fixture *f, struct net_request *req)
{
    (void)f;
    struct error err = {0};
    net_stream_begin(req, 200, "text/plain", NULL);
    assert_int_equal(net_stream_send(req, "half", 4, &err), ERR_OK);
    net_stream_break(req);
}

static void answer_never(struct fixture *f, struct net_request *req)
{
    (void)f;
    (void)req;
}

/* ---- Tests ------------------------------------------------------------------------------------
 */

static void a_body_is_posted_and_the_answer_comes_whole(void **state)
{
    (void)state;
    struct fixture f;
    struct outcome o;
    fixture_start(&f, NULL);
    f.answer = answer_echo;
    fetch(&f, &o, plain_url(&f), NULL);
    assert_int_equal(o.status, 201);
    assert_string_equal(o.body, "{\"a\":1}");
    assert_string_equal(seen_type, "application/json");
    assert_int_equal(f.requests, 1);
    fixture_stop(&f);
}

static void over_tls_each_knows_the_other(void **state)
{
    (void)state;
    struct fixture f;
    struct outcome o;
    const struct net_tls_client pinned = {.ca_fingerprint = world.fingerprint};
    const struct net_tls_client own = tls_client_config(&world, true);
    tls_start(&f, &world);
    f.answer = answer_echo;
    fetch(&f, &o, tls_url(&f, "localhost"), &pinned);
    assert_int_equal(o.status, 201);
    assert_string_equal(seen_identity, "");
    fetch(&f, &o, tls_url(&f, "127.0.0.1"), &own);
    assert_int_equal(o.status, 201);
    assert_string_equal(o.body, "{\"a\":1}");
    assert_string_equal(seen_identity, "kitsune:agent:web-1");
    fixture_stop(&f);
}

static void a_server_of_another_ca_is_told_nothing(void **state)
{
    (void)state;
    struct fixture f;
    struct outcome o;
    const struct net_tls_client tls = {.ca = pki_ca_certs(world.other_ca)};
    tls_start(&f, &world);
    f.answer = answer_echo;
    fetch(&f, &o, tls_url(&f, "127.0.0.1"), &tls);
    assert_int_equal(o.status, 0);
    assert_non_null(strstr(o.failure, "the server's certificate"));
    assert_int_equal(f.requests, 0);
    fixture_stop(&f);
}

static void an_own_certificate_that_is_refused_is_named_as_the_reason(void **state)
{
    (void)state;
    struct fixture f;
    struct outcome o;
    struct pki_certs *foreign =
        tls_sign_agent(world.other_ca, world.agent_key, "kitsune:agent:web-1", 0, TLS_HOUR_MS);
    const struct net_tls_client tls = {
        .ca = pki_ca_certs(world.ca), .certs = foreign, .key = world.agent_key};
    tls_start(&f, &world);
    f.answer = answer_echo;
    fetch(&f, &o, tls_url(&f, "127.0.0.1"), &tls);
    assert_int_equal(o.status, 0);
    assert_non_null(strstr(o.failure, "certificate that it was shown"));
    assert_int_equal(f.requests, 0);
    fixture_stop(&f);
    pki_certs_free(foreign);
}

static void a_refusal_comes_with_its_status(void **state)
{
    (void)state;
    struct fixture f;
    struct outcome o;
    fixture_start(&f, NULL);
    f.answer = answer_no;
    fetch(&f, &o, plain_url(&f), NULL);
    assert_int_equal(o.status, 403);
    assert_string_equal(o.body, "{}");
    fixture_stop(&f);
}

static void an_answer_may_be_as_long_as_was_said_and_not_longer(void **state)
{
    (void)state;
    struct fixture f;
    struct outcome o;
    fixture_start(&f, NULL);
    f.answer = answer_much;
    answer_size = ANSWER_MAX;
    fetch(&f, &o, plain_url(&f), NULL);
    assert_int_equal(o.status, 200);
    assert_int_equal(o.len, ANSWER_MAX);
    answer_size = ANSWER_MAX + 1;
    fetch(&f, &o, plain_url(&f), NULL);
    assert_int_equal(o.status, 0);
    assert_string_equal(o.failure, "the answer is too long");
    fixture_stop(&f);
}

static void half_an_answer_is_none(void **state)
{
    (void)state;
    struct fixture f;
    struct outcome o;
    fixture_start(&f, NULL);
    f.answer = answer_half;
    fetch(&f, &o, plain_url(&f), NULL);
    assert_int_equal(o.status, 0);
    assert_true(o.failure[0] != '\0');
    fixture_stop(&f);
}

static void nobody_listening_is_said(void **state)
{
    (void)state;
    struct fixture f;
    struct outcome o;
    fixture_start_without_server(&f);
    fetch(&f, &o, "http://127.0.0.1:1", NULL);
    assert_int_equal(o.status, 0);
    assert_non_null(strstr(o.failure, "refused"));
    fixture_stop(&f);
}

static void one_that_is_given_up_says_nothing_any_more(void **state)
{
    (void)state;
    struct fixture f;
    struct outcome o;
    fixture_start(&f, NULL);
    f.answer = answer_never;
    struct net_fetch *pending = begin(&f, &o, plain_url(&f), NULL);
    run_until(&f, &f.requests, 1);
    net_fetch_cancel(pending);
    fixture_stop(&f);
    assert_int_equal(o.done, 0);
}

static void one_under_way_ends_with_the_net(void **state)
{
    (void)state;
    struct fixture f;
    struct outcome o;
    fixture_start(&f, NULL);
    f.answer = answer_never;
    (void)begin(&f, &o, plain_url(&f), NULL);
    run_until(&f, &f.requests, 1);
    fixture_stop(&f);
    assert_int_equal(o.done, 1);
    assert_string_equal(o.failure, "shutting down");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_body_is_posted_and_the_answer_comes_whole),
        cmocka_unit_test(over_tls_each_knows_the_other),
        cmocka_unit_test(a_server_of_another_ca_is_told_nothing),
        cmocka_unit_test(an_own_certificate_that_is_refused_is_named_as_the_reason),
        cmocka_unit_test(a_refusal_comes_with_its_status),
        cmocka_unit_test(an_answer_may_be_as_long_as_was_said_and_not_longer),
        cmocka_unit_test(half_an_answer_is_none),
        cmocka_unit_test(nobody_listening_is_said),
        cmocka_unit_test(one_that_is_given_up_says_nothing_any_more),
        cmocka_unit_test(one_under_way_ends_with_the_net),
    };
    return cmocka_run_group_tests(tests, make_world, free_world);
}
