#include "common/pki/pki_openssl.h"
#include "unit/net/support_tls.h"

#include <openssl/err.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

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

static void assert_text(const char *text, const char *expected)
{
    if (strstr(text, expected) == NULL)
        fail_msg("expected \"%s\": \"%s\"", expected, text);
}

static void answer_ok(struct fixture *f, struct net_request *req)
{
    (void)f;
    net_respond(req, 200, "text/plain", NULL, "fine\n", 5);
}

/* ---- Who is who -------------------------------------------------------------------------------
 */

static void an_agent_and_a_server_know_each_other(void **state)
{
    (void)state;
    struct fixture f;
    struct client c;
    struct error err = {0};
    struct pki_facts expected;
    const struct net_tls_client tls = tls_client_config(&world, true);
    tls_start(&f, &world);
    tls_connect(&c, &f, &tls);
    const struct pki_facts *agent = net_conn_identity(f.last_conn);
    assert_non_null(agent);
    assert_string_equal(agent->identity, "kitsune:agent:web-1");
    assert_int_equal(pki_certs_facts(world.agent, 0, &expected, &err), ERR_OK);
    assert_string_equal(agent->serial, expected.serial);
    assert_string_equal(agent->fingerprint, expected.fingerprint);
    assert_true(agent->not_after_ms == expected.not_after_ms);
    assert_ptr_equal(net_conn_identity(f.last_conn), agent);

    const struct pki_facts *server = net_conn_identity(c.conn);
    assert_non_null(server);
    assert_int_equal(pki_certs_facts(world.server, 0, &expected, &err), ERR_OK);
    assert_string_equal(server->fingerprint, expected.fingerprint);
    assert_int_equal(f.refusals, 0);
    fixture_stop(&f);
    client_done(&c);
}

static void a_client_without_a_certificate_is_nobody(void **state)
{
    (void)state;
    struct fixture f;
    struct client c;
    const struct net_tls_client tls = tls_client_config(&world, false);
    tls_start(&f, &world);
    tls_connect(&c, &f, &tls);
    assert_null(net_conn_identity(f.last_conn));
    fixture_stop(&f);
}

static void a_plain_connection_has_no_identity(void **state)
{
    (void)state;
    struct fixture f;
    struct client c;
    fixture_start(&f, NULL);
    client_connect(&c, &f);
    assert_null(net_conn_identity(f.last_conn));
    assert_null(net_conn_identity(c.conn));
    fixture_stop(&f);
}

static void a_server_that_trusts_no_clients_asks_for_no_certificate(void **state)
{
    (void)state;
    struct fixture f;
    struct client c;
    struct net_tls_server server = tls_server_config(&world);
    const struct net_tls_client tls = tls_client_config(&world, true);
    server.client_ca = NULL;
    tls_start_with(&f, &server);
    tls_connect(&c, &f, &tls);
    assert_null(net_conn_identity(f.last_conn));
    fixture_stop(&f);
}

static void a_request_has_an_identity_too(void **state)
{
    (void)state;
    struct fixture f;
    struct tls_raw with;
    struct tls_raw without;
    tls_start(&f, &world);
    tls_raw_connect(&without, &f);
    assert_true(tls_raw_handshake(&without));
    tls_raw_puts(&without, "GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    run_until(&f, &f.requests, 1);
    assert_null(net_request_identity(f.last_request));
    answer_ok(&f, f.last_request);
    tls_raw_expect(&without, "fine\n");

    tls_raw_connect(&with, &f);
    tls_raw_use(&with, world.agent, world.agent_key);
    assert_true(tls_raw_handshake(&with));
    for (unsigned i = 0; i < 2; i++) { /* on a connection that is used again, too */
        tls_raw_puts(&with, "GET / HTTP/1.1\r\nHost: x\r\n\r\n");
        run_until(&f, &f.requests, 2 + i);
        const struct pki_facts *facts = net_request_identity(f.last_request);
        assert_non_null(facts);
        assert_string_equal(facts->identity, "kitsune:agent:web-1");
        answer_ok(&f, f.last_request);
        run_until(&f, &f.requests_closed, 2 + i);
    }
    tls_raw_close(&with);
    tls_raw_close(&without);
    fixture_stop(&f);
}

/* ---- A server that is not to be believed ------------------------------------------------------
 */

static void server_is_refused(const struct net_tls_server *server, const char *host,
                              const struct net_tls_client *client, const char *reason)
{
    struct fixture f;
    struct client c;
    tls_start_with(&f, server);
    tls_connect_fails(&c, &f, host, client);
    assert_text(c.reason, reason);
    run_until(&f, &f.refusals, 1);
    assert_text(f.last_refusal, "the client ended the TLS handshake: ");
    assert_memory_equal(f.last_refused_peer, "127.0.0.1:", 10);
    assert_int_equal(f.conns, 0);
    fixture_stop(&f);
}

static void a_server_of_another_ca_is_refused(void **state)
{
    (void)state;
    struct net_tls_server server = tls_server_config(&world);
    const struct net_tls_client client = tls_client_config(&world, true);
    struct pki_certs *foreign = tls_sign_server(world.other_ca, world.key, NULL, 0, TLS_HOUR_MS);
    server.certs = foreign;
    server_is_refused(&server, "127.0.0.1", &client, "the server's certificate was signed by ");
    pki_certs_free(foreign);
}

static void an_expired_server_is_refused(void **state)
{
    (void)state;
    struct net_tls_server server = tls_server_config(&world);
    const struct net_tls_client client = tls_client_config(&world, true);
    struct pki_certs *old =
        tls_sign_server(world.ca, world.key, NULL, INT64_C(-48) * TLS_HOUR_MS, TLS_HOUR_MS);
    server.certs = old;
    server_is_refused(&server, "127.0.0.1", &client, "has expired on ");
    pki_certs_free(old);
}

static void a_server_of_the_future_is_refused(void **state)
{
    (void)state;
    struct net_tls_server server = tls_server_config(&world);
    const struct net_tls_client client = tls_client_config(&world, true);
    struct pki_certs *young = tls_sign_server(world.ca, world.key, NULL, TLS_HOUR_MS, TLS_HOUR_MS);
    server.certs = young;
    server_is_refused(&server, "127.0.0.1", &client, "is not valid before ");
    pki_certs_free(young);
}

static void a_server_of_another_name_is_refused(void **state)
{
    (void)state;
    struct net_tls_server server = tls_server_config(&world);
    const struct net_tls_client client = tls_client_config(&world, true);
    struct pki_certs *other =
        tls_sign_server(world.ca, world.key, "other.example.org", 0, TLS_HOUR_MS);
    server.certs = other;
    server_is_refused(&server, "127.0.0.1", &client, "is for other.example.org, not for 127.0.0.1");
    server_is_refused(&server, "localhost", &client, "is for other.example.org, not for localhost");
    pki_certs_free(other);
}

static void an_agent_cannot_pose_as_the_server(void **state)
{
    (void)state;
    struct net_tls_server server = tls_server_config(&world);
    const struct net_tls_client client = tls_client_config(&world, true);
    server.certs = world.agent;
    server.key = world.agent_key;
    server_is_refused(&server, "127.0.0.1", &client, "is not one for a server");
}

/* ---- First contact ----------------------------------------------------------------------------
 */

static void the_cas_fingerprint_is_enough_for_a_first_contact(void **state)
{
    (void)state;
    struct fixture f;
    struct client c;
    const struct net_tls_client tls = {.ca_fingerprint = world.fingerprint};
    tls_start(&f, &world);
    tls_connect(&c, &f, &tls);
    const struct pki_facts *server = net_conn_identity(c.conn);
    assert_non_null(server);
    fixture_stop(&f);
}

static void another_cas_fingerprint_is_refused(void **state)
{
    (void)state;
    struct error err = {0};
    struct pki_facts facts;
    assert_int_equal(pki_certs_facts(pki_ca_certs(world.other_ca), 0, &facts, &err), ERR_OK);
    const struct net_tls_server server = tls_server_config(&world);
    const struct net_tls_client client = {.ca_fingerprint = facts.fingerprint};
    server_is_refused(&server, "127.0.0.1", &client,
                      "does not come from the CA with the fingerprint");
}

static void what_a_client_is_given_must_make_sense(void **state)
{
    (void)state;
    struct fixture f;
    struct client c;
    tls_start(&f, &world);
    struct net_tls_client tls = tls_client_config(&world, true);
    struct net_client_config config = client_config(&c, tls_url(&f, "127.0.0.1"));
    assert_int_equal(client_begin(&c, &f, &config), ERR_INVALID);
    assert_text(c.reason, "TLS needs the CA's certificate");

    char plain[64];
    (void)snprintf(plain, sizeof(plain), "http://127.0.0.1:%u", net_server_port(f.server));
    config = client_config(&c, plain);
    config.tls = &tls;
    assert_int_equal(client_begin(&c, &f, &config), ERR_INVALID);
    assert_text(c.reason, "it must begin with https:// or wss:// for TLS");

    char long_url[200] = "https://";
    memset(long_url + 8, 'h', 121);
    config = client_config(&c, long_url);
    config.tls = &tls;
    assert_int_equal(client_begin(&c, &f, &config), ERR_INVALID);
    assert_text(c.reason, "a host's name may have at most 120 bytes");

    config = client_config(&c, tls_url(&f, "127.0.0.1"));
    config.tls = &tls;
    tls.ca_fingerprint = world.fingerprint; /* and the CA as well: which of them counts? */
    assert_int_equal(client_begin(&c, &f, &config), ERR_INVALID);
    tls.ca = NULL;
    tls.ca_fingerprint = "1234";
    assert_int_equal(client_begin(&c, &f, &config), ERR_INVALID);
    tls = tls_client_config(&world, true);
    tls.key = world.key;
    assert_int_equal(client_begin(&c, &f, &config), ERR_CONFLICT);
    fixture_stop(&f);
}

static void ipv6_is_verified(void **state)
{
    (void)state;
    struct fixture f;
    struct client c;
    const struct net_tls_server server = tls_server_config(&world);
    struct net_server_config config = fixture_config(&f);
    config.host = "::1";
    config.tls = &server;
    int probe = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in6 address;
    assert_int_equal(uv_ip6_addr("::1", 0, &address), 0);
    bool available = probe >= 0 && bind(probe, (struct sockaddr *)&address, sizeof(address)) == 0;
    if (probe >= 0)
        (void)close(probe);
    if (!available)
        skip();
    fixture_start(&f, &config);
    const struct net_tls_client tls = tls_client_config(&world, true);
    struct net_client_config client = client_config(&c, tls_url(&f, "[::1]"));
    client.tls = &tls;
    assert_int_equal(client_begin(&c, &f, &client), ERR_OK);
    run_until(&f, &c.opened, 1);
    struct pki_certs *other = tls_sign_server(world.ca, world.key, "::2", 0, TLS_HOUR_MS);
    struct error err = {0};
    struct net_tls_server fresh = server;
    fresh.certs = other;
    assert_int_equal(net_server_set_tls(f.server, &fresh, &err), ERR_OK);
    struct client refused;
    tls_connect_fails(&refused, &f, "[::1]", &tls);
    assert_text(refused.reason, "is for ::2, not for ::1");
    pki_certs_free(other);
    fixture_stop(&f);
}

/* ---- A client that is not to be believed ------------------------------------------------------
 */

static void client_is_refused(const struct pki_certs *certs, const char *server_says,
                              const char *client_says)
{
    struct fixture f;
    struct client c;
    const struct net_tls_client tls = {
        .ca = pki_ca_certs(world.ca), .certs = certs, .key = world.agent_key};
    tls_start(&f, &world);
    tls_connect_fails(&c, &f, "127.0.0.1", &tls);
    assert_int_equal(f.refusals, 1);
    assert_text(f.last_refusal, server_says);
    assert_text(c.reason, client_says);
    assert_int_equal(f.conns, 0);
    assert_int_equal(f.requests, 0);
    fixture_stop(&f);
}

static void a_client_of_another_ca_is_refused(void **state)
{
    (void)state;
    struct pki_certs *certs =
        tls_sign_agent(world.other_ca, world.agent_key, "kitsune:agent:web-1", 0, TLS_HOUR_MS);
    client_is_refused(certs, "the client's certificate was signed by ",
                      "the server ended the TLS handshake: it does not trust the CA");
    pki_certs_free(certs);
}

static void an_expired_client_is_refused(void **state)
{
    (void)state;
    struct pki_certs *certs = tls_sign_agent(world.ca, world.agent_key, "kitsune:agent:web-1",
                                             INT64_C(-48) * TLS_HOUR_MS, TLS_HOUR_MS);
    client_is_refused(certs, "the client's certificate: \"CN=web-1\" has expired on ",
                      "by its clock the certificate that it was shown has expired");
    pki_certs_free(certs);
}

static void a_client_of_the_future_is_refused(void **state)
{
    (void)state;
    struct pki_certs *certs =
        tls_sign_agent(world.ca, world.agent_key, "kitsune:agent:web-1", TLS_HOUR_MS, TLS_HOUR_MS);
    client_is_refused(certs, "is not valid before ", "the server ended the TLS handshake: ");
    pki_certs_free(certs);
}

static void a_servers_certificate_makes_no_client(void **state)
{
    (void)state;
    struct pki_certs *certs = tls_sign_server(world.ca, world.agent_key, NULL, 0, TLS_HOUR_MS);
    client_is_refused(certs, "is not one for a client",
                      "the certificate that it was shown is for something else");
    pki_certs_free(certs);
}

/* ---- Other tongues ----------------------------------------------------------------------------
 */

static void a_client_of_tls_1_2_is_refused(void **state)
{
    (void)state;
    struct fixture f;
    struct tls_raw t;
    tls_start(&f, &world);
    tls_raw_connect(&t, &f);
    assert_int_equal(SSL_set_max_proto_version(t.ssl, TLS1_2_VERSION), 1);
    assert_false(tls_raw_handshake(&t));
    run_until(&f, &f.refusals, 1);
    assert_text(f.last_refusal, "the client does not speak TLS 1.3");
    tls_raw_close(&t);

    tls_raw_connect(&t, &f);
    assert_true(tls_raw_handshake(&t));
    assert_int_equal(SSL_version(t.ssl), TLS1_3_VERSION);
    tls_raw_close(&t);
    fixture_stop(&f);
}

static void plain_http_to_a_tls_port_is_told_so(void **state)
{
    (void)state;
    struct fixture f;
    struct raw r;
    tls_start(&f, &world);
    raw_connect(&r, &f, net_server_port(f.server));
    raw_puts(&r, "GET /v1/rollouts HTTP/1.1\r\nHost: x\r\n\r\n");
    raw_expect(&r, "HTTP/1.1 400 Bad Request\r\n");
    raw_expect(&r, "use https:// or wss://");
    raw_expect_end(&r);
    run_until(&f, &f.refusals, 1);
    assert_text(f.last_refusal, "it spoke plain HTTP where TLS is spoken");
    assert_int_equal(f.requests, 0);
    raw_close(&r);
    fixture_stop(&f);
}

static void an_agent_without_tls_learns_that_it_is_needed(void **state)
{
    (void)state;
    struct fixture f;
    struct client c;
    char url[64];
    tls_start(&f, &world);
    (void)snprintf(url, sizeof(url), "ws://127.0.0.1:%u", net_server_port(f.server));
    client_connect_url(&c, &f, url, 5000);
    run_until(&f, &c.closed, 1);
    assert_int_equal(c.opened, 0);
    assert_int_equal(f.conns, 0);
    fixture_stop(&f);
}

static void tls_to_a_plain_port_is_told_so(void **state)
{
    (void)state;
    struct fixture f;
    struct client c;
    const struct net_tls_client tls = tls_client_config(&world, true);
    fixture_start(&f, NULL);
    tls_connect_fails(&c, &f, "127.0.0.1", &tls);
    assert_text(c.reason, "TLS");
    fixture_stop(&f);
}

static void garbage_in_the_handshake_harms_nobody(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t len;
    } cases[] = {
        {"\x16\x03\x01\x00\x05garbage", 12},
        {"\x16\x03\x01\xff\xff", 5},
        {"\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 16},
        {"\x15\x03\x03\x00\x02\x02\x28", 7}, /* a fatal alert */
        {"\x17\x03\x03\x00\x03"
         "abc",
         8},                         /* data before any handshake */
        {"\x80\x2e\x01\x00\x02", 5}, /* SSL 2 */
        {"SSH-2.0-OpenSSH_9.2\r\n", 21},
    };
    struct fixture f;
    struct client c;
    const struct net_tls_client tls = tls_client_config(&world, true);
    tls_start(&f, &world);
    tls_connect(&c, &f, &tls);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct raw r;
        raw_connect(&r, &f, net_server_port(f.server));
        raw_send(&r, cases[i].bytes, cases[i].len);
        assert_int_equal(shutdown(r.fd, SHUT_WR), 0);
        raw_expect_end(&r);
        run_until(&f, &f.refusals, (unsigned)i + 1);
        assert_true(strlen(f.last_refusal) > 0);
        raw_close(&r);
    }
    assert_int_equal(net_conn_send(c.conn, "still here", 10, NULL), ERR_OK);
    run_until(&f, &c.messages, 1);
    fixture_stop(&f);
    client_done(&c);
}

static void who_only_looks_whether_the_port_is_open_is_not_reported(void **state)
{
    (void)state;
    struct fixture f;
    struct raw r;
    tls_start(&f, &world);
    raw_connect(&r, &f, net_server_port(f.server));
    assert_int_equal(shutdown(r.fd, SHUT_WR), 0);
    raw_expect_end(&r);
    run_for(&f, 20);
    assert_int_equal(f.refusals, 0);
    raw_close(&r);
    fixture_stop(&f);
}

static void a_session_is_not_taken_up_again(void **state)
{
    (void)state;
    struct fixture f;
    struct tls_raw t;
    f.answer = NULL;
    tls_start(&f, &world);
    f.answer = answer_ok;
    tls_raw_connect(&t, &f);
    assert_true(tls_raw_handshake(&t));
    tls_raw_puts(&t, "GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    tls_raw_expect(&t, "fine\n");
    const SSL_SESSION *session = SSL_get0_session(t.ssl);
    assert_int_equal(SSL_SESSION_is_resumable(session), 0); /* no ticket has come */
    assert_int_equal(SSL_SESSION_get_max_early_data(session), 0);
    tls_raw_close(&t);
    fixture_stop(&f);
}

/* ---- At run time ------------------------------------------------------------------------------
 */

static void a_new_certificate_serves_new_connections_and_drops_none(void **state)
{
    (void)state;
    struct fixture f;
    struct client before;
    struct client after;
    struct error err = {0};
    struct pki_facts expected;
    const struct net_tls_client tls = tls_client_config(&world, true);
    tls_start(&f, &world);
    tls_connect(&before, &f, &tls);
    struct pki_certs *renewed = tls_sign_server(world.ca, world.agent_key, NULL, 0, TLS_HOUR_MS);
    const struct net_tls_server server = {
        .certs = renewed, .key = world.agent_key, .client_ca = pki_ca_certs(world.ca)};
    assert_int_equal(net_server_set_tls(f.server, &server, &err), ERR_OK);
    tls_connect(&after, &f, &tls);
    assert_int_equal(pki_certs_facts(world.server, 0, &expected, &err), ERR_OK);
    assert_string_equal(net_conn_identity(before.conn)->fingerprint, expected.fingerprint);
    assert_int_equal(pki_certs_facts(renewed, 0, &expected, &err), ERR_OK);
    assert_string_equal(net_conn_identity(after.conn)->fingerprint, expected.fingerprint);
    assert_int_equal(net_conn_send(before.conn, "still here", 10, NULL), ERR_OK);
    run_until(&f, &before.messages, 1);
    assert_int_equal(before.closed, 0);
    pki_certs_free(renewed);
    fixture_stop(&f);
    client_done(&before);
    client_done(&after);
}

static void a_new_client_ca_counts_from_then_on(void **state)
{
    (void)state;
    struct fixture f;
    struct client clients[3];
    struct error err = {0};
    const struct net_tls_client tls = tls_client_config(&world, true);
    struct net_tls_server server = tls_server_config(&world);
    tls_start(&f, &world);
    tls_connect(&clients[0], &f, &tls);
    server.client_ca = pki_ca_certs(world.other_ca);
    assert_int_equal(net_server_set_tls(f.server, &server, &err), ERR_OK);
    tls_connect_fails(&clients[1], &f, "127.0.0.1", &tls);
    assert_text(f.last_refusal, "the client's certificate was signed by ");
    server.client_ca = NULL;
    assert_int_equal(net_server_set_tls(f.server, &server, &err), ERR_OK);
    tls_connect(&clients[2], &f, &tls);
    assert_null(net_conn_identity(f.last_conn));
    fixture_stop(&f);
}

static void an_unusable_certificate_changes_nothing(void **state)
{
    (void)state;
    struct fixture f;
    struct client c;
    struct error err = {0};
    const struct net_tls_client tls = tls_client_config(&world, true);
    struct net_tls_server server = tls_server_config(&world);
    tls_start(&f, &world);
    server.key = world.agent_key;
    assert_int_equal(net_server_set_tls(f.server, &server, &err), ERR_CONFLICT);
    assert_text(err.message, "the key does not belong to the certificate");
    tls_connect(&c, &f, &tls);
    assert_string_equal(net_conn_identity(f.last_conn)->identity, "kitsune:agent:web-1");

    struct net_server *second = NULL;
    struct net_server_config config = fixture_config(&f);
    config.tls = &server;
    assert_int_equal(net_server_new(f.net, &config, &second, &err), ERR_CONFLICT);
    assert_null(second);
    fixture_stop(&f);

    fixture_start(&f, NULL);
    server.key = world.key;
    assert_int_equal(net_server_set_tls(f.server, &server, &err), ERR_INVALID);
    fixture_stop(&f);
}

static void two_tls_servers_of_a_net_are_kept_apart(void **state)
{
    (void)state;
    struct fixture f;
    struct client c;
    struct error err = {0};
    struct net_server *second = NULL;
    struct pki_certs *certs = tls_sign_server(world.other_ca, world.key, NULL, 0, TLS_HOUR_MS);
    const struct net_tls_server other = {
        .certs = certs, .key = world.key, .client_ca = pki_ca_certs(world.other_ca)};
    tls_start(&f, &world);
    struct net_server_config config = fixture_config(&f);
    config.tls = &other;
    assert_int_equal(net_server_new(f.net, &config, &second, &err), ERR_OK);
    const struct net_tls_client tls = tls_client_config(&world, true);
    tls_connect(&c, &f, &tls);
    f.server = second;
    struct client refused;
    tls_connect_fails(&refused, &f, "127.0.0.1", &tls);
    /* Nor does one get to the first by asking the second for it by name. */
    struct tls_raw t;
    struct pki_facts expected;
    char fingerprint[PKI_FINGERPRINT_MAX];
    tls_raw_connect(&t, &f);
    assert_int_equal(SSL_set_tlsext_host_name(t.ssl, "TLS server"), 1);
    assert_true(tls_raw_handshake(&t));
    assert_int_equal(pki_certs_facts(certs, 0, &expected, &err), ERR_OK);
    assert_true(pki_x509_fingerprint(SSL_get0_peer_certificate(t.ssl), fingerprint));
    assert_string_equal(fingerprint, expected.fingerprint);
    tls_raw_close(&t);
    pki_certs_free(certs);
    fixture_stop(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_agent_and_a_server_know_each_other),
        cmocka_unit_test(a_client_without_a_certificate_is_nobody),
        cmocka_unit_test(a_plain_connection_has_no_identity),
        cmocka_unit_test(a_server_that_trusts_no_clients_asks_for_no_certificate),
        cmocka_unit_test(a_request_has_an_identity_too),
        cmocka_unit_test(a_server_of_another_ca_is_refused),
        cmocka_unit_test(an_expired_server_is_refused),
        cmocka_unit_test(a_server_of_the_future_is_refused),
        cmocka_unit_test(a_server_of_another_name_is_refused),
        cmocka_unit_test(an_agent_cannot_pose_as_the_server),
        cmocka_unit_test(the_cas_fingerprint_is_enough_for_a_first_contact),
        cmocka_unit_test(another_cas_fingerprint_is_refused),
        cmocka_unit_test(what_a_client_is_given_must_make_sense),
        cmocka_unit_test(ipv6_is_verified),
        cmocka_unit_test(a_client_of_another_ca_is_refused),
        cmocka_unit_test(an_expired_client_is_refused),
        cmocka_unit_test(a_client_of_the_future_is_refused),
        cmocka_unit_test(a_servers_certificate_makes_no_client),
        cmocka_unit_test(a_client_of_tls_1_2_is_refused),
        cmocka_unit_test(plain_http_to_a_tls_port_is_told_so),
        cmocka_unit_test(an_agent_without_tls_learns_that_it_is_needed),
        cmocka_unit_test(tls_to_a_plain_port_is_told_so),
        cmocka_unit_test(garbage_in_the_handshake_harms_nobody),
        cmocka_unit_test(who_only_looks_whether_the_port_is_open_is_not_reported),
        cmocka_unit_test(a_session_is_not_taken_up_again),
        cmocka_unit_test(a_new_certificate_serves_new_connections_and_drops_none),
        cmocka_unit_test(a_new_client_ca_counts_from_then_on),
        cmocka_unit_test(an_unusable_certificate_changes_nothing),
        cmocka_unit_test(two_tls_servers_of_a_net_are_kept_apart),
    };
    return cmocka_run_group_tests(tests, make_world, free_world);
}
