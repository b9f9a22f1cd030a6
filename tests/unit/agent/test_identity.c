#include "agent/carrier_net.h"
#include "agent/identity.h"
#include "agent/identity_rule.h"
#include "agent/identity_wire.h"
#include "common/base/alloc.h"
#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/json/json.h"
#include "common/net/net_tls.h"
#include "common/pki/pki_ca.h"
#include "unit/agent/support_folder.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { GUARD_MS = 60000, HOUR_MS = 3600 * 1000 };

/* What the orchestrator of a test does with what is asked of it. */
enum manner {
    SIGNS,
    LOSES,         /* signs, and the answer does not get through */
    DENIES,        /* 403 */
    SIGNS_OTHER,   /* for another server */
    SIGNS_FOREIGN, /* by another CA */
    SIGNS_OLD      /* for a key that it knows from before */
};

/* An identity, and an orchestrator that it asks over a real socket. */
struct rig {
    uv_loop_t loop;
    uv_timer_t guard;
    struct folder folder;
    struct net_server *server;
    struct carrier *carrier;
    struct ticker *ticker;
    struct identity *identity;
    char url[64];
    char ca_path[FOLDER_PATH_MAX], ticket_path[FOLDER_PATH_MAX];
    char fingerprint[PKI_FINGERPRINT_MAX];
    struct pki_ca *ca, *other_ca;
    struct pki_key *key, *old_key;
    /* The orchestrator: */
    enum manner manner;
    int64_t begun_ms, lifetime_ms; /* of what it signs; begun relative to now */
    int enrolments, renewals;
    char token[64], server_id[64], who[PKI_IDENTITY_MAX];
    /* The identity: */
    int changes;
    bool gone;
};

/* ---- The orchestrator --------------------------------------------------------------------- */

struct request {
    char *token, *server, *csr;
};
static const struct json_field request_fields[] = {
    {.name = "token", .type = JSON_STRING, JSON_AT(struct request, token), .doc = "."},
    {.name = "server", .type = JSON_STRING, JSON_AT(struct request, server), .doc = "."},
    {.name = "csr", .type = JSON_STRING, JSON_AT(struct request, csr), .doc = "."},
};
static const struct json_table request_table =
    JSON_TABLE("request", struct request, request_fields, ".");

static struct pki_certs *sign_for(struct rig *r, const char *csr)
{
    struct pki_certs *certs = NULL;
    struct error err = {0};
    struct buf old = BUF_INIT;
    const struct pki_validity validity = {.now_ms = clock_wall_ms() + r->begun_ms,
                                          .lifetime_ms = r->lifetime_ms};
    if (r->manner == SIGNS_OLD) {
        assert_int_equal(pki_csr_new(r->old_key, &old, &err), ERR_OK);
        csr = old.data;
    }
    if (pki_ca_sign_client(r->manner == SIGNS_FOREIGN ? r->other_ca : r->ca, csr,
                           r->manner == SIGNS_OTHER ? "kitsune:agent:web-2" : "kitsune:agent:web-1",
                           &validity, &certs, &err) != ERR_OK)
        fail_msg("%s", err.message);
    buf_done(&old);
    return certs;
}

static void answer_with(struct rig *r, struct net_request *req, const char *csr)
{
    struct buf pem = BUF_INIT, ca = BUF_INIT, b = BUF_INIT;
    struct error err = {0};
    struct pki_certs *certs = sign_for(r, csr);
    assert_int_equal(pki_certs_pem(certs, &pem, &err), ERR_OK);
    assert_int_equal(pki_certs_pem(pki_ca_certs(r->ca), &ca, &err), ERR_OK);
    buf_puts(&b, "{\"certificate\":");
    json_write_string(&b, pem.data, pem.len);
    buf_puts(&b, ",\"ca\":");
    json_write_string(&b, ca.data, ca.len);
    buf_puts(&b, ",\"expires\":\"some day\"}");
    net_respond(req, 200, "application/json", NULL, b.data, b.len);
    buf_done(&b);
    buf_done(&ca);
    buf_done(&pem);
    pki_certs_free(certs);
}

static void server_request(void *ctx, struct net_request *req)
{
    struct rig *r = ctx;
    struct request request;
    struct error err = {0};
    size_t len = 0;
    const char *body = net_request_body(req, &len);
    const struct pki_facts *who = net_request_identity(req);
    static const char no[] = "{\"title\":\"no\",\"detail\":\"that ticket is used\"}";
    if (json_read(body, len, 65536, &request_table, &request, &err) != ERR_OK)
        fail_msg("%s", err.message);
    bool enrols = strcmp(net_request_path(req), IDENTITY_ENROL_PATH) == 0;
    r->enrolments += enrols;
    r->renewals += strcmp(net_request_path(req), IDENTITY_RENEW_PATH) == 0;
    (void)snprintf(r->token, sizeof(r->token), "%s", request.token ? request.token : "");
    (void)snprintf(r->server_id, sizeof(r->server_id), "%s", request.server ? request.server : "");
    (void)snprintf(r->who, sizeof(r->who), "%s", who ? who->identity : "");
    if (r->manner == DENIES) {
        net_respond(req, 403, "application/problem+json", NULL, no, sizeof(no) - 1);
    } else if (r->manner == LOSES) {
        net_stream_begin(req, 200, "application/json", NULL);
        net_stream_break(req);
    } else {
        answer_with(r, req, request.csr);
    }
    json_release(&request_table, &request);
}

static void server_request_closed(void *ctx, struct net_request *req)
{
    (void)ctx;
    (void)req;
}

static void server_start(struct rig *r)
{
    static const char *const hosts[] = {"127.0.0.1", NULL};
    const struct pki_validity validity = {clock_wall_ms(), HOUR_MS};
    struct pki_certs *certs = NULL;
    struct error err = {0};
    if (pki_ca_sign_server(r->ca, r->key, hosts, &validity, &certs, &err) != ERR_OK)
        fail_msg("%s", err.message);
    const struct net_tls_server tls = {certs, r->key, pki_ca_certs(r->ca)};
    const struct net_server_config config = {
        .host = "127.0.0.1",
        .tls = &tls,
        .max_body = 65536,
        .ctx = r,
        .request = server_request,
        .request_closed = server_request_closed,
    };
    struct net *net = NULL;
    assert_int_equal(net_new(&r->loop, 64, &net, &err), ERR_OK);
    assert_int_equal(carrier_net_new(net, &r->carrier, &err), ERR_OK);
    if (net_server_new(net, &config, &r->server, &err) != ERR_OK)
        fail_msg("%s", err.message);
    (void)snprintf(r->url, sizeof(r->url), "https://127.0.0.1:%u", net_server_port(r->server));
    pki_certs_free(certs);
}

/* ---- The rig ------------------------------------------------------------------------------ */

static void guard_fired(uv_timer_t *guard)
{
    (void)guard;
    fail_msg("what was waited for did not come");
}

static void on_changed(void *ctx)
{
    ((struct rig *)ctx)->changes++;
}

static void identity_make(struct rig *r, const char *ca, const char *fingerprint)
{
    struct error err = {0};
    const struct identity_config config = {
        .carrier = r->carrier,
        .ticker = r->ticker,
        .data_dir = r->folder.path,
        .server = "web-1",
        .url = r->url,
        .ca = ca,
        .ca_fingerprint = fingerprint,
        .ticket = r->ticket_path,
        .ctx = r,
        .changed = on_changed,
    };
    assert_int_equal(identity_new(&config, &r->identity, &err), ERR_OK);
    identity_start(r->identity);
}

static void identity_end(struct rig *r)
{
    if (!r->identity)
        return;
    identity_stop(r->identity);
    identity_free(r->identity);
    r->identity = NULL;
}

static int set_up(void **state)
{
    struct error err = {0};
    struct rig *r = MEM_NEW(struct rig);
    /* Begun a while ago, so that it can have signed what is old by now. */
    const struct pki_validity validity = {clock_wall_ms() - 24 * (int64_t)HOUR_MS,
                                          1000 * (int64_t)HOUR_MS};
    struct pki_facts facts;
    assert_non_null(r);
    log_setup(LOG_LOGFMT, LOG_ERROR);
    folder_make(&r->folder);
    (void)snprintf(r->ca_path, sizeof(r->ca_path), "%s", folder_path(&r->folder, "ca-given"));
    (void)snprintf(r->ticket_path, sizeof(r->ticket_path), "%s", folder_path(&r->folder, "ticket"));
    assert_int_equal(pki_ca_new(&validity, &r->ca, &err), ERR_OK);
    assert_int_equal(pki_ca_new(&validity, &r->other_ca, &err), ERR_OK);
    assert_int_equal(pki_key_new(&r->key, &err), ERR_OK);
    assert_int_equal(pki_key_new(&r->old_key, &err), ERR_OK);
    assert_int_equal(pki_certs_save(pki_ca_certs(r->ca), r->ca_path, &err), ERR_OK);
    assert_int_equal(pki_certs_facts(pki_ca_certs(r->ca), 0, &facts, &err), ERR_OK);
    memcpy(r->fingerprint, facts.fingerprint, sizeof(r->fingerprint));
    r->lifetime_ms = HOUR_MS;
    assert_int_equal(uv_loop_init(&r->loop), 0);
    assert_int_equal(uv_timer_init(&r->loop, &r->guard), 0);
    assert_int_equal(uv_timer_start(&r->guard, guard_fired, GUARD_MS, 0), 0);
    assert_int_equal(ticker_new(&r->loop, &r->ticker, &err), ERR_OK);
    assert_int_equal(ticker_reserve(r->ticker, 1, &err), ERR_OK);
    server_start(r);
    *state = r;
    return 0;
}

static void gone(void *ctx)
{
    ((struct rig *)ctx)->gone = true;
}

static int tear_down(void **state)
{
    struct rig *r = *state;
    identity_end(r);
    carrier_end(r->carrier, gone, r);
    while (!r->gone)
        (void)uv_run(&r->loop, UV_RUN_ONCE);
    ticker_close(r->ticker, NULL, NULL);
    uv_close((uv_handle_t *)&r->guard, NULL);
    (void)uv_run(&r->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&r->loop), 0);
    pki_key_free(r->key);
    pki_key_free(r->old_key);
    pki_ca_free(r->ca);
    pki_ca_free(r->other_ca);
    folder_remove(&r->folder);
    mem_free(r);
    return 0;
}

#define AWAIT(r, condition)                                                                        \
    while (!(condition))                                                                           \
    (void)uv_run(&(r)->loop, UV_RUN_ONCE)

static void ticket_put(const struct rig *r)
{
    file_fill(r->ticket_path, "kit_secret\n");
    assert_int_equal(chmod(r->ticket_path, 0600), 0);
}

static bool is_there(const struct rig *r, const char *name)
{
    return access(folder_path(&r->folder, name), F_OK) == 0;
}

/* A certificate of the agent's on its disk, from so long ago and for so long. */
static void pair_put(struct rig *r, int64_t begun_ms, int64_t lifetime_ms)
{
    struct error err = {0};
    struct buf csr = BUF_INIT;
    r->begun_ms = begun_ms;
    r->lifetime_ms = lifetime_ms;
    assert_int_equal(pki_csr_new(r->old_key, &csr, &err), ERR_OK);
    struct pki_certs *certs = sign_for(r, csr.data);
    (void)mkdir(folder_path(&r->folder, "identity"), 0700);
    assert_int_equal(
        pki_pair_save(r->old_key, certs, folder_path(&r->folder, "identity/web-1.pem"), &err),
        ERR_OK);
    pki_certs_free(certs);
    buf_done(&csr);
    r->begun_ms = 0;
    r->lifetime_ms = HOUR_MS;
}

/* The one on disk is a pair, and of this CA. */
static void assert_pair_good(struct rig *r)
{
    struct pki_key *key = NULL;
    struct pki_certs *certs = NULL;
    struct pki_facts facts;
    struct error err = {0};
    if (pki_pair_load(folder_path(&r->folder, "identity/web-1.pem"), &key, &certs, &err) != ERR_OK)
        fail_msg("%s", err.message);
    assert_int_equal(pki_certs_facts(certs, 0, &facts, &err), ERR_OK);
    assert_string_equal(facts.identity, "kitsune:agent:web-1");
    pki_certs_free(certs);
    pki_key_free(key);
}

/* ---- Tests ------------------------------------------------------------------------------- */

static void it_enrols_with_its_ticket_and_uses_it_up(void **state)
{
    struct rig *r = *state;
    struct carrier_peer peer = {0};
    ticket_put(r);
    identity_make(r, r->ca_path, NULL);
    identity_peer(r->identity, &peer);
    assert_null(peer.pair);
    AWAIT(r, r->changes == 1);
    assert_string_equal(r->token, "kit_secret");
    assert_string_equal(r->server_id, "web-1");
    assert_pair_good(r);
    assert_false(is_there(r, "ticket"));
    assert_false(is_there(r, "identity/web-1.key"));
    identity_peer(r->identity, &peer);
    assert_non_null(peer.ca);
    assert_string_equal(peer.pair, file_get(folder_path(&r->folder, "identity/web-1.pem")));
    /* Started again it has all it needs. */
    identity_end(r);
    identity_make(r, r->ca_path, NULL);
    assert_int_equal(r->changes, 2);
    assert_int_equal(r->enrolments, 1);
}

static void by_the_fingerprint_alone_it_learns_the_ca(void **state)
{
    struct rig *r = *state;
    struct carrier_peer peer = {0};
    ticket_put(r);
    identity_make(r, NULL, r->fingerprint);
    AWAIT(r, r->changes == 1);
    identity_peer(r->identity, &peer);
    assert_string_equal(peer.ca_fingerprint, r->fingerprint);
    assert_string_equal(file_get(folder_path(&r->folder, "identity/ca.crt")), file_get(r->ca_path));
    /* From then on nobody has to say it. */
    identity_end(r);
    identity_make(r, NULL, NULL);
    assert_int_equal(r->changes, 2);
    identity_peer(r->identity, &peer);
    assert_string_equal(peer.ca, file_get(r->ca_path));
}

static void an_orchestrator_of_another_ca_gets_no_ticket(void **state)
{
    struct rig *r = *state;
    struct error err = {0};
    ticket_put(r);
    assert_int_equal(pki_certs_save(pki_ca_certs(r->other_ca), r->ca_path, &err), ERR_OK);
    identity_make(r, r->ca_path, NULL);
    int64_t until_ms = clock_mono_ms() + 3 * IDENTITY_RETRY_FIRST_MS / 2;
    AWAIT(r, clock_mono_ms() > until_ms);
    assert_int_equal(r->enrolments, 0);
    assert_true(is_there(r, "ticket"));
}

static void an_answer_that_is_lost_is_asked_for_again_with_the_same_key(void **state)
{
    struct rig *r = *state;
    char key[1024];
    r->manner = LOSES;
    ticket_put(r);
    identity_make(r, r->ca_path, NULL);
    AWAIT(r, r->enrolments == 1);
    (void)snprintf(key, sizeof(key), "%s", file_get(folder_path(&r->folder, "identity/web-1.key")));
    assert_non_null(strstr(key, "PRIVATE KEY"));
    AWAIT(r, r->enrolments == 2);
    assert_string_equal(file_get(folder_path(&r->folder, "identity/web-1.key")), key);
    /* Another process goes on with it, too. */
    identity_end(r);
    r->manner = SIGNS;
    identity_make(r, r->ca_path, NULL);
    AWAIT(r, r->changes == 1);
    const char *pair = file_get(folder_path(&r->folder, "identity/web-1.pem"));
    assert_int_equal(strncmp(pair, key, strlen(key)), 0);
    assert_false(is_there(r, "identity/web-1.key"));
}

static void a_crash_after_it_was_enrolled_leaves_nothing_to_do_but_tidying(void **state)
{
    struct rig *r = *state;
    struct error err = {0};
    ticket_put(r);
    pair_put(r, 0, HOUR_MS);
    assert_int_equal(pki_key_save(r->old_key, folder_path(&r->folder, "identity/web-1.key"), &err),
                     ERR_OK);
    identity_make(r, r->ca_path, NULL);
    assert_int_equal(r->changes, 1);
    assert_false(is_there(r, "identity/web-1.key"));
    /* The ticket is kept until it is certain that it is not needed. */
    assert_true(is_there(r, "ticket"));
    identity_welcomed(r->identity);
    assert_false(is_there(r, "ticket"));
    assert_int_equal(r->enrolments, 0);
}

static void what_was_signed_for_somebody_else_is_not_taken(void **state)
{
    static const enum manner manners[] = {SIGNS_OTHER, SIGNS_FOREIGN, SIGNS_OLD};
    struct rig *r = *state;
    for (size_t i = 0; i < 3; i++) {
        r->manner = manners[i];
        int before = r->enrolments;
        ticket_put(r);
        identity_make(r, r->ca_path, NULL);
        AWAIT(r, r->enrolments == before + 2);
        assert_int_equal(r->changes, 0);
        assert_false(is_there(r, "identity/web-1.pem"));
        assert_true(is_there(r, "ticket"));
        identity_end(r);
    }
}

static void a_ticket_that_is_refused_is_tried_again_later(void **state)
{
    struct rig *r = *state;
    r->manner = DENIES;
    ticket_put(r);
    identity_make(r, r->ca_path, NULL);
    AWAIT(r, r->enrolments == 2);
    r->manner = SIGNS;
    AWAIT(r, r->changes == 1);
    assert_pair_good(r);
}

static void it_renews_in_time_and_shows_who_asks(void **state)
{
    struct rig *r = *state;
    char before[4096];
    pair_put(r, -3 * (int64_t)HOUR_MS, 4 * (int64_t)HOUR_MS);
    (void)snprintf(before, sizeof(before), "%s",
                   file_get(folder_path(&r->folder, "identity/web-1.pem")));
    identity_make(r, r->ca_path, NULL);
    assert_int_equal(r->changes, 1);
    AWAIT(r, r->changes == 2);
    assert_int_equal(r->renewals, 1);
    assert_int_equal(r->enrolments, 0);
    assert_string_equal(r->who, "kitsune:agent:web-1");
    assert_string_equal(r->token, "");
    assert_string_not_equal(file_get(folder_path(&r->folder, "identity/web-1.pem")), before);
    assert_pair_good(r);
}

static void while_it_cannot_renew_it_keeps_what_it_has(void **state)
{
    struct rig *r = *state;
    struct carrier_peer peer = {0};
    r->manner = SIGNS;
    pair_put(r, -3 * (int64_t)HOUR_MS, 4 * (int64_t)HOUR_MS);
    r->manner = LOSES;
    identity_make(r, r->ca_path, NULL);
    AWAIT(r, r->renewals == 2);
    assert_int_equal(r->changes, 1);
    identity_peer(r->identity, &peer);
    assert_string_equal(peer.pair, file_get(folder_path(&r->folder, "identity/web-1.pem")));
    r->manner = SIGNS;
    AWAIT(r, r->changes == 2);
}

static void one_that_is_refused_enrols_anew_when_there_is_a_ticket(void **state)
{
    struct rig *r = *state;
    pair_put(r, 0, HOUR_MS);
    identity_make(r, r->ca_path, NULL);
    assert_int_equal(r->changes, 1);
    identity_refused(r->identity, NET_END_NOT_ADMITTED);
    assert_int_equal(r->changes, 1);
    ticket_put(r);
    identity_refused(r->identity, NET_END_NOT_ADMITTED);
    AWAIT(r, r->changes == 2);
    assert_int_equal(r->enrolments, 1);
    assert_string_equal(r->who, "");
    assert_false(is_there(r, "ticket"));
}

static void what_somebody_mends_on_disk_is_seen(void **state)
{
    struct rig *r = *state;
    struct carrier_peer peer = {0};
    struct error err = {0};
    pair_put(r, 0, HOUR_MS);
    assert_int_equal(pki_certs_save(pki_ca_certs(r->other_ca), r->ca_path, &err), ERR_OK);
    identity_make(r, r->ca_path, NULL);
    assert_int_equal(pki_certs_save(pki_ca_certs(r->ca), r->ca_path, &err), ERR_OK);
    identity_refused(r->identity, NET_END_NOT_TRUSTED);
    identity_peer(r->identity, &peer);
    assert_string_equal(peer.ca, file_get(r->ca_path));
    assert_non_null(peer.pair);
}

static void a_ticket_that_others_may_read_is_not_sent(void **state)
{
    struct rig *r = *state;
    ticket_put(r);
    assert_int_equal(chmod(r->ticket_path, 0644), 0);
    identity_make(r, r->ca_path, NULL);
    assert_int_equal(chmod(r->ticket_path, 0600), 0);
    assert_int_equal(r->enrolments, 0);
    AWAIT(r, r->changes == 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(it_enrols_with_its_ticket_and_uses_it_up),
        TEST(by_the_fingerprint_alone_it_learns_the_ca),
        TEST(an_orchestrator_of_another_ca_gets_no_ticket),
        TEST(an_answer_that_is_lost_is_asked_for_again_with_the_same_key),
        TEST(a_crash_after_it_was_enrolled_leaves_nothing_to_do_but_tidying),
        TEST(what_was_signed_for_somebody_else_is_not_taken),
        TEST(a_ticket_that_is_refused_is_tried_again_later),
        TEST(it_renews_in_time_and_shows_who_asks),
        TEST(while_it_cannot_renew_it_keeps_what_it_has),
        TEST(one_that_is_refused_enrols_anew_when_there_is_a_ticket),
        TEST(what_somebody_mends_on_disk_is_seen),
        TEST(a_ticket_that_others_may_read_is_not_sent),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
