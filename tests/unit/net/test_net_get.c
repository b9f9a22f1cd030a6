#include "common/base/cleanup.h"
#include "common/net/net_get.h"
#include "unit/net/support_tls.h"

#include <arpa/inet.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { BODY_BYTES = 3 * 1024 * 1024, WINDOW = 64 * 1024, PATIENCE_MS = 20000 };

static struct tls_world world;
static char *body; /* no two pieces of it are alike */

static int make_world(void **state)
{
    (void)state;
    tls_world_make(&world);
    body = malloc(BODY_BYTES);
    assert_non_null(body);
    for (uint32_t i = 0; i < BODY_BYTES; i++)
        body[i] = (char)((i * 2654435761U) >> 23);
    return 0;
}

static int free_world(void **state)
{
    (void)state;
    tls_world_free(&world);
    free(body);
    return 0;
}

/* What came of a request. */
struct outcome {
    struct net_get *get;
    unsigned began, done, pieces;
    int64_t offset, total, len;
    size_t held; /* came, and was not yet given back as credit */
    bool keeps;  /* gives nothing back */
    bool gives_up;
    bool equal; /* to the body from the offset on */
    int status;
    char failure[256];
};

static void on_began(void *ctx, int64_t offset, int64_t total_bytes)
{
    struct outcome *o = ctx;
    o->began++;
    o->offset = offset;
    o->total = total_bytes;
    assert_int_equal(o->done, 0);
}

static void on_data(void *ctx, const char *data, size_t len)
{
    struct outcome *o = ctx;
    assert_int_equal(o->began, 1);
    int64_t at = o->offset + o->len;
    o->pieces++;
    o->equal = o->equal && at + (int64_t)len <= BODY_BYTES && memcmp(body + at, data, len) == 0;
    o->len += (int64_t)len;
    o->held += len;
    assert_true(o->held <= WINDOW);
    if (o->gives_up) {
        net_get_cancel(o->get);
    } else if (!o->keeps) {
        o->held -= len;
        net_get_more(o->get, len);
    }
}

static void on_done(void *ctx, int status, const char *failure)
{
    struct outcome *o = ctx;
    o->done++;
    o->status = status;
    (void)snprintf(o->failure, sizeof(o->failure), "%s", failure == NULL ? "" : failure);
}

static struct net_get_config config_of(struct outcome *o, const char *url)
{
    return (struct net_get_config){
        .url = url,
        .path = "/thing",
        .credit = WINDOW,
        .silence_ms = PATIENCE_MS,
        .ctx = o,
        .began = on_began,
        .data = on_data,
        .done = on_done,
    };
}

static void begin(struct fixture *f, struct outcome *o, const struct net_get_config *config)
{
    struct error err = {0};
    o->equal = true;
    if (net_get_start(f->net, config, &o->get, &err) != ERR_OK)
        fail_msg("%s", err.message);
    assert_int_equal(o->done, 0);
}

static void get(struct fixture *f, struct outcome *o, const struct net_get_config *config)
{
    begin(f, o, config);
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

static char seen_range[64], seen_identity[PKI_IDENTITY_MAX];

static void answer_all(struct fixture *f, struct net_request *req)
{
    (void)f;
    const char *range = net_request_header(req, "range");
    const struct pki_facts *who = net_request_identity(req);
    (void)snprintf(seen_range, sizeof(seen_range), "%s", range == NULL ? "" : range);
    (void)snprintf(seen_identity, sizeof(seen_identity), "%s", who == NULL ? "" : who->identity);
    assert_int_equal(net_request_method(req), NET_GET);
    assert_string_equal(net_request_path(req), "/thing");
    net_respond(req, 200, "application/octet-stream", NULL, body, BODY_BYTES);
}

static const char *content_range; /* what answer_rest says */

static void answer_rest(struct fixture *f, struct net_request *req)
{
    (void)f;
    const char *range = net_request_header(req, "range");
    assert_non_null(range);
    (void)snprintf(seen_range, sizeof(seen_range), "%s", range);
    size_t from = strtoul(range + strlen("bytes="), NULL, 10);
    net_respond(req, 206, "application/octet-stream", content_range, body + from,
                BODY_BYTES - from);
}

static void answer_nothing(struct fixture *f, struct net_request *req)
{
    (void)f;
    net_respond(req, 200, "application/octet-stream", NULL, "", 0);
}

static void answer_no(struct fixture *f, struct net_request *req)
{
    (void)f;
    net_respond(req, 404, "application/problem+json", NULL, "{}", 2);
}

static void answer_elsewhere(struct fixture *f, struct net_request *req)
{
    (void)f;
    net_respond(req, 302, "text/plain", "Location: /other\r\n", "", 0);
}

static void answer_unmeasured(struct fixture *f, struct net_request *req)
{
    (void)f;
    struct error err = {0};
    net_stream_begin(req, 200, "application/octet-stream", NULL);
    assert_int_equal(net_stream_send(req, "some", 4, &err), ERR_OK);
    net_stream_end(req);
}

static void answer_never(struct fixture *f, struct net_request *req)
{
    (void)f;
    (void)req;
}

/* ---- Tests ------------------------------------------------------------------------------------
 */

static void a_body_comes_in_pieces_as_it_is(void **state)
{
    (void)state;
    struct fixture f;
    struct outcome o = {0};
    fixture_start(&f, NULL);
    f.answer = answer_all;
    const struct net_get_config config = config_of(&o, plain_url(&f));
    get(&f, &o, &config);
    assert_int_equal(o.status, 200);
    assert_string_equal(o.failure, "");
    assert_string_equal(seen_range, "");
    assert_int_equal(o.total, BODY_BYTES);
    assert_int_equal(o.len, BODY_BYTES);
    assert_true(o.equal && o.pieces >= BODY_BYTES / NET_GET_PIECE_MAX);
    fixture_stop(&f);
}

static void over_tls_too_and_each_knows_the_other(void **state)
{
    (void)state;
    struct fixture f;
    struct outcome o = {0};
    const struct net_tls_client own = tls_client_config(&world, true);
    tls_start(&f, &world);
    f.answer = answer_all;
    struct net_get_config config = config_of(&o, tls_url(&f, "localhost"));
    config.tls = &own;
    get(&f, &o, &config);
    assert_int_equal(o.status, 200);
    assert_string_equal(o.failure, "");
    assert_int_equal(o.len, BODY_BYTES);
    assert_true(o.equal);
    assert_string_equal(seen_identity, "kitsune:agent:web-1");
    fixture_stop(&f);
}

static void a_server_of_another_ca_is_asked_nothing(void **state)
{
    (void)state;
    struct fixture f;
    struct outcome o = {0};
    const struct net_tls_client tls = {.ca = pki_ca_certs(world.other_ca)};
    tls_start(&f, &world);
    f.answer = answer_all;
    struct net_get_config config = config_of(&o, tls_url(&f, "127.0.0.1"));
    config.tls = &tls;
    get(&f, &o, &config);
    assert_int_equal(o.status, 0);
    assert_non_null(strstr(o.failure, "the server's certificate"));
    assert_int_equal(f.requests, 0);
    fixture_stop(&f);
}

/* The peer has all of it to give, and nothing comes but what there is credit for, also when time
 * passes; then it goes on. */
static void no_more_comes_than_there_is_credit_for(struct fixture *f, const char *url,
                                                   const struct net_tls_client *tls)
{
    struct outcome o = {.keeps = true};
    struct net_get_config config = config_of(&o, url);
    config.tls = tls;
    f->answer = answer_all;
    begin(f, &o, &config);
    while (o.held < WINDOW)
        run_turn(f);
    unsigned turns = f->turns;
    run_for(f, 100);
    assert_int_equal(o.len, WINDOW);
    assert_int_equal(o.done, 0);
    assert_true(f->turns - turns < 100); /* and nobody turns in circles meanwhile */
    while (o.done == 0) {
        size_t held = o.held;
        o.held = 0;
        net_get_more(o.get, held);
        while (o.held == 0 && o.done == 0)
            run_turn(f);
    }
    assert_string_equal(o.failure, "");
    assert_int_equal(o.len, BODY_BYTES);
    assert_true(o.equal);
}

static void what_there_is_no_credit_for_waits_with_the_peer(void **state)
{
    (void)state;
    struct fixture f;
    fixture_start(&f, NULL);
    no_more_comes_than_there_is_credit_for(&f, plain_url(&f), NULL);
    fixture_stop(&f);
}

static void so_it_does_over_tls(void **state)
{
    (void)state;
    struct fixture f;
    const struct net_tls_client own = tls_client_config(&world, true);
    tls_start(&f, &world);
    no_more_comes_than_there_is_credit_for(&f, tls_url(&f, "127.0.0.1"), &own);
    fixture_stop(&f);
}

static void one_without_credit_is_not_too_slow(void **state)
{
    (void)state;
    struct fixture f;
    struct outcome o = {.keeps = true};
    fixture_start(&f, NULL);
    f.answer = answer_all;
    struct net_get_config config = config_of(&o, plain_url(&f));
    config.silence_ms = 300;
    begin(&f, &o, &config);
    while (o.held < WINDOW)
        run_turn(&f);
    run_for(&f, 600);
    assert_int_equal(o.done, 0);
    net_get_cancel(o.get);
    fixture_stop(&f);
    assert_int_equal(o.done, 0);
}

static void silence_has_its_bound(void **state)
{
    (void)state;
    struct fixture f;
    struct outcome o = {0};
    fixture_start(&f, NULL);
    f.answer = answer_never;
    struct net_get_config config = config_of(&o, plain_url(&f));
    config.silence_ms = 100;
    get(&f, &o, &config);
    assert_int_equal(o.status, 0);
    assert_string_equal(o.failure, "timed out after 100 ms");
    fixture_stop(&f);
}

static void it_goes_on_from_an_offset(void **state)
{
    (void)state;
    struct fixture f;
    struct outcome o = {0};
    char range[96];
    fixture_start(&f, NULL);
    f.answer = answer_rest;
    (void)snprintf(range, sizeof(range), "Content-Range: bytes 1000000-%d/%d\r\n", BODY_BYTES - 1,
                   BODY_BYTES);
    content_range = range;
    struct net_get_config config = config_of(&o, plain_url(&f));
    config.offset = 1000000;
    get(&f, &o, &config);
    assert_string_equal(seen_range, "bytes=1000000-");
    assert_int_equal(o.status, 206);
    assert_string_equal(o.failure, "");
    assert_int_equal(o.offset, 1000000);
    assert_int_equal(o.total, BODY_BYTES);
    assert_int_equal(o.len, BODY_BYTES - 1000000);
    assert_true(o.equal);
    fixture_stop(&f);
}

static void a_server_that_knows_no_ranges_gives_all_of_it(void **state)
{
    (void)state;
    struct fixture f;
    struct outcome o = {0};
    fixture_start(&f, NULL);
    f.answer = answer_all;
    struct net_get_config config = config_of(&o, plain_url(&f));
    config.offset = 1000000;
    get(&f, &o, &config);
    assert_string_equal(seen_range, "bytes=1000000-");
    assert_int_equal(o.status, 200);
    assert_int_equal(o.offset, 0);
    assert_int_equal(o.len, BODY_BYTES);
    assert_true(o.equal);
    fixture_stop(&f);
}

static void a_part_that_was_not_asked_for_is_a_failure(void **state)
{
    (void)state;
    static const char *const wrong[] = {
        NULL,
        "Content-Range: bytes 999999-3145727/3145728\r\n",
        "Content-Range: bytes 1000000-3145726/3145728\r\n",
        "Content-Range: bytes 1000000-3145727/3145729\r\n",
        "Content-Range: bytes 1000000-3145727/*\r\n",
        "Content-Range: bytes 1000000-3145727/3145728 \x01\r\n",
        "Content-Range: bytes 1000000--1/0\r\n",
        "Content-Range: bytes 1000000-99999999999999999999/3145728\r\n",
        "Content-Range: lines 1000000-3145727/3145728\r\n",
    };
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        struct fixture f;
        struct outcome o = {0};
        fixture_start(&f, NULL);
        f.answer = answer_rest;
        content_range = wrong[i];
        struct net_get_config config = config_of(&o, plain_url(&f));
        config.offset = 1000000;
        get(&f, &o, &config);
        assert_int_equal(o.began, 0);
        assert_int_equal(o.len, 0);
        assert_true(o.failure[0] != '\0');
        fixture_stop(&f);
    }
}

static void an_empty_body_is_whole(void **state)
{
    (void)state;
    struct fixture f;
    struct outcome o = {0};
    fixture_start(&f, NULL);
    f.answer = answer_nothing;
    const struct net_get_config config = config_of(&o, plain_url(&f));
    get(&f, &o, &config);
    assert_int_equal(o.status, 200);
    assert_string_equal(o.failure, "");
    assert_int_equal(o.began, 1);
    assert_int_equal(o.total, 0);
    fixture_stop(&f);
}

static void refused_or_sent_elsewhere(void (*answer)(struct fixture *, struct net_request *),
                                      int status)
{
    struct fixture f;
    struct outcome o = {0};
    fixture_start(&f, NULL);
    f.answer = answer;
    const struct net_get_config config = config_of(&o, plain_url(&f));
    get(&f, &o, &config);
    assert_int_equal(o.status, status);
    assert_int_equal(o.began, 0);
    assert_int_equal(f.requests, 1);
    assert_true(o.failure[0] != '\0');
    fixture_stop(&f);
}

static void a_refusal_comes_with_its_status(void **state)
{
    (void)state;
    refused_or_sent_elsewhere(answer_no, 404);
}

static void a_redirect_is_not_followed(void **state)
{
    (void)state;
    refused_or_sent_elsewhere(answer_elsewhere, 302);
}

static void an_answer_that_does_not_say_its_length_is_a_failure(void **state)
{
    (void)state;
    refused_or_sent_elsewhere(answer_unmeasured, 200);
}

/* A server of the test's own, which says what no decent one does, and then ends. */
struct speaker {
    uv_tcp_t listening, peer;
    const char *text;
    uv_write_t said;
    uv_shutdown_t ended;
};

static void speaker_alloc(uv_handle_t *handle, size_t size, uv_buf_t *ret)
{
    static char room[1024];
    (void)handle;
    (void)size;
    *ret = uv_buf_init(room, sizeof(room));
}

static void speaker_read(uv_stream_t *stream, ssize_t len, const uv_buf_t *data)
{
    struct speaker *s = stream->data;
    (void)data;
    if (len <= 0)
        return;
    const uv_buf_t text = uv_buf_init((char *)(uintptr_t)s->text, (unsigned)strlen(s->text));
    assert_int_equal(uv_read_stop(stream), 0);
    assert_int_equal(uv_write(&s->said, stream, &text, 1, NULL), 0);
    assert_int_equal(uv_shutdown(&s->ended, stream, NULL), 0);
}

static void speaker_connected(uv_stream_t *stream, int status)
{
    struct speaker *s = stream->data;
    assert_int_equal(status, 0);
    assert_int_equal(uv_accept(stream, (uv_stream_t *)&s->peer), 0);
    assert_int_equal(uv_read_start((uv_stream_t *)&s->peer, speaker_alloc, speaker_read), 0);
}

static void answered_raw(const char *text, struct outcome *o)
{
    struct fixture f;
    struct speaker s = {.text = text};
    struct sockaddr_in address;
    int len = sizeof(address);
    char url[64];
    fixture_start_without_server(&f);
    assert_int_equal(uv_ip4_addr("127.0.0.1", 0, &address), 0);
    assert_int_equal(uv_tcp_init(&f.loop, &s.listening), 0);
    assert_int_equal(uv_tcp_init(&f.loop, &s.peer), 0);
    s.listening.data = s.peer.data = &s;
    assert_int_equal(uv_tcp_bind(&s.listening, (const struct sockaddr *)&address, 0), 0);
    assert_int_equal(uv_listen((uv_stream_t *)&s.listening, 1, speaker_connected), 0);
    assert_int_equal(uv_tcp_getsockname(&s.listening, (struct sockaddr *)&address, &len), 0);
    (void)snprintf(url, sizeof(url), "http://127.0.0.1:%u", ntohs(address.sin_port));
    const struct net_get_config config = config_of(o, url);
    get(&f, o, &config);
    uv_close((uv_handle_t *)&s.peer, NULL);
    uv_close((uv_handle_t *)&s.listening, NULL);
    fixture_stop(&f);
}

static void an_answer_that_is_cut_off_is_a_failure(void **state)
{
    (void)state;
    struct outcome o = {0};
    answered_raw("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfive", &o);
    assert_int_equal(o.began, 1);
    assert_int_equal(o.total, 10);
    assert_int_equal(o.len, 4);
    assert_int_equal(o.status, 200);
    assert_true(o.failure[0] != '\0');
}

static void what_comes_behind_the_end_is_not_handed_on(void **state)
{
    (void)state;
    struct outcome o = {0};
    answered_raw("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfive and more", &o);
    assert_int_equal(o.len, 4);
}

static void a_length_that_is_none_is_a_failure(void **state)
{
    (void)state;
    struct outcome o = {0}, twice = {0};
    answered_raw("HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nfive", &o);
    assert_int_equal(o.began, 0);
    answered_raw("HTTP/1.1 200 OK\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nfive", &twice);
    assert_int_equal(twice.began, 0);
}

static void one_that_is_given_up_in_the_middle_says_nothing_any_more(void **state)
{
    (void)state;
    struct fixture f;
    struct outcome o = {.gives_up = true};
    fixture_start(&f, NULL);
    f.answer = answer_all;
    const struct net_get_config config = config_of(&o, plain_url(&f));
    begin(&f, &o, &config);
    run_until(&f, &o.pieces, 1);
    run_for(&f, 50);
    fixture_stop(&f);
    assert_int_equal(o.pieces, 1);
    assert_int_equal(o.done, 0);
}

static void one_under_way_ends_with_the_net(void **state)
{
    (void)state;
    struct fixture f;
    struct outcome o = {0};
    fixture_start(&f, NULL);
    f.answer = answer_never;
    const struct net_get_config config = config_of(&o, plain_url(&f));
    begin(&f, &o, &config);
    run_until(&f, &f.requests, 1);
    fixture_stop(&f);
    assert_int_equal(o.done, 1);
    assert_string_equal(o.failure, "shutting down");
}

static void nobody_listening_is_said(void **state)
{
    (void)state;
    struct fixture f;
    struct outcome o = {0};
    fixture_start_without_server(&f);
    const struct net_get_config config = config_of(&o, "http://127.0.0.1:1");
    get(&f, &o, &config);
    assert_int_equal(o.status, 0);
    assert_non_null(strstr(o.failure, "refused"));
    fixture_stop(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_body_comes_in_pieces_as_it_is),
        cmocka_unit_test(over_tls_too_and_each_knows_the_other),
        cmocka_unit_test(a_server_of_another_ca_is_asked_nothing),
        cmocka_unit_test(what_there_is_no_credit_for_waits_with_the_peer),
        cmocka_unit_test(so_it_does_over_tls),
        cmocka_unit_test(one_without_credit_is_not_too_slow),
        cmocka_unit_test(silence_has_its_bound),
        cmocka_unit_test(it_goes_on_from_an_offset),
        cmocka_unit_test(a_server_that_knows_no_ranges_gives_all_of_it),
        cmocka_unit_test(a_part_that_was_not_asked_for_is_a_failure),
        cmocka_unit_test(an_empty_body_is_whole),
        cmocka_unit_test(a_refusal_comes_with_its_status),
        cmocka_unit_test(a_redirect_is_not_followed),
        cmocka_unit_test(an_answer_that_does_not_say_its_length_is_a_failure),
        cmocka_unit_test(an_answer_that_is_cut_off_is_a_failure),
        cmocka_unit_test(what_comes_behind_the_end_is_not_handed_on),
        cmocka_unit_test(a_length_that_is_none_is_a_failure),
        cmocka_unit_test(one_that_is_given_up_in_the_middle_says_nothing_any_more),
        cmocka_unit_test(one_under_way_ends_with_the_net),
        cmocka_unit_test(nobody_listening_is_said),
    };
    return cmocka_run_group_tests(tests, make_world, free_world);
}
