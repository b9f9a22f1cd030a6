#include "unit/pki/support_pki.h"

#include "common/pki/pki_verify.h"

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

struct world {
    struct pki_ca *ca;
    struct pki_ca *other_ca;
    struct pki_key *key;
    struct pki_certs *server;
    struct pki_certs *agent;
    struct error err;
};

static int world_make(void **state)
{
    static struct world w;
    w = (struct world){.ca = ca_make(), .other_ca = ca_make(), .key = key_make()};
    w.server = server_make(w.ca, w.key, NOW_MS, DAY_MS);
    w.agent = agent_make(w.ca, w.key, NOW_MS, HOUR_MS);
    *state = &w;
    return 0;
}

static int world_free(void **state)
{
    struct world *w = *state;
    pki_certs_free(w->agent);
    pki_certs_free(w->server);
    pki_key_free(w->key);
    pki_ca_free(w->other_ca);
    pki_ca_free(w->ca);
    return 0;
}

static struct pki_check server_check(const struct world *w)
{
    return (struct pki_check){
        .ca = pki_ca_certs(w->ca),
        .purpose = PKI_PURPOSE_SERVER,
        .host = "orchestrator.example.org",
        .now_ms = NOW_MS,
        .name = "the server's certificate",
    };
}

static struct pki_check agent_check(const struct world *w)
{
    return (struct pki_check){
        .ca = pki_ca_certs(w->ca),
        .purpose = PKI_PURPOSE_CLIENT,
        .now_ms = NOW_MS,
        .name = "the client's certificate",
    };
}

static void assert_refused(struct world *w, const struct pki_certs *certs,
                           const struct pki_check *check, const char *text)
{
    w->err = (struct error){0};
    assert_int_equal(pki_verify(certs, check, &w->err), ERR_DENIED);
    if (strstr(w->err.message, text) == NULL || strstr(w->err.message, check->name) == NULL)
        fail_msg("expected \"%s\": %s", text, w->err.message);
}

static void good_certificates_are_believed(void **state)
{
    struct world *w = *state;
    const struct pki_check of_server = server_check(w);
    const struct pki_check of_agent = agent_check(w);
    assert_int_equal(pki_verify(w->server, &of_server, &w->err), ERR_OK);
    assert_int_equal(pki_verify(w->agent, &of_agent, &w->err), ERR_OK);
}

static void one_of_several_cas_may_have_signed(void **state)
{
    struct world *w = *state;
    struct buf text = BUF_INIT;
    struct pki_certs *both = NULL;
    assert_int_equal(pki_certs_pem(pki_ca_certs(w->other_ca), &text, &w->err), ERR_OK);
    assert_int_equal(pki_certs_pem(pki_ca_certs(w->ca), &text, &w->err), ERR_OK);
    assert_int_equal(pki_certs_parse(text.data, text.len, "cas", &both, &w->err), ERR_OK);
    struct pki_check check = agent_check(w);
    check.ca = both;
    assert_int_equal(pki_verify(w->agent, &check, &w->err), ERR_OK);
    pki_certs_free(both);
    buf_done(&text);
}

static void an_expired_one_is_refused_with_the_day(void **state)
{
    struct world *w = *state;
    struct pki_check check = agent_check(w);
    check.now_ms = NOW_MS + HOUR_MS - 1000;
    assert_int_equal(pki_verify(w->agent, &check, &w->err), ERR_OK);
    check.now_ms = NOW_MS + HOUR_MS + 1000;
    assert_refused(w, w->agent, &check,
                   "\"CN=web-1\" has expired on 2027-01-15T09:00:00Z, and it is "
                   "2027-01-15T09:00:01Z here: renew it, or check the clock");
}

static void one_of_the_future_is_refused_with_the_day(void **state)
{
    struct world *w = *state;
    struct pki_check check = agent_check(w);
    check.now_ms = NOW_MS - PKI_BACKDATE_MS;
    assert_int_equal(pki_verify(w->agent, &check, &w->err), ERR_OK);
    check.now_ms = NOW_MS - PKI_BACKDATE_MS - 1000;
    assert_refused(w, w->agent, &check, "is not valid before 2027-01-15T07:55:00Z");
    assert_non_null(strstr(w->err.message, "check the clocks"));
}

static void an_expired_ca_is_named(void **state)
{
    struct world *w = *state;
    const struct pki_validity minute = {.now_ms = NOW_MS, .lifetime_ms = 60 * 1000};
    struct pki_ca *brief = NULL;
    assert_int_equal(pki_ca_new(&minute, &brief, &w->err), ERR_OK);
    struct pki_certs *agent = agent_make(brief, w->key, NOW_MS, HOUR_MS);
    struct pki_check check = agent_check(w);
    check.ca = pki_ca_certs(brief);
    check.now_ms = NOW_MS + DAY_MS;
    assert_refused(w, agent, &check, "\"CN=Kitsune CA ");
    assert_non_null(strstr(w->err.message, "has expired on 2027-01-15T08:01:00Z"));
    pki_certs_free(agent);
    pki_ca_free(brief);
}

static void one_signed_by_another_ca_is_refused_with_both_names(void **state)
{
    struct world *w = *state;
    struct pki_certs *agent = agent_make(w->other_ca, w->key, NOW_MS, HOUR_MS);
    const struct pki_check check = agent_check(w);
    assert_refused(w, agent, &check, "was signed by \"CN=Kitsune CA ");
    assert_non_null(strstr(w->err.message, "and trusted here is \"CN=Kitsune CA "));
    pki_certs_free(agent);
}

static void nobody_signs_for_himself(void **state)
{
    struct world *w = *state;
    const struct pki_check check = agent_check(w);
    assert_refused(w, pki_ca_certs(w->other_ca), &check, "was signed by");
}

static void a_certificate_for_one_purpose_is_none_for_another(void **state)
{
    struct world *w = *state;
    struct pki_check as_server = server_check(w);
    as_server.host = NULL;
    const struct pki_check as_client = agent_check(w);
    assert_refused(w, w->agent, &as_server, "is not one for a server");
    assert_refused(w, w->server, &as_client, "is not one for a client");
}

static void one_for_another_host_is_refused_with_the_names(void **state)
{
    struct world *w = *state;
    static const char *const good[] = {"orchestrator.example.org",
                                       "Orchestrator.Example.ORG",
                                       "orchestrator.example.org.",
                                       "192.0.2.7",
                                       "2001:db8::7",
                                       "2001:db8:0::7",
                                       "2001:db8::7%eth0"};
    static const char *const bad[] = {
        "example.org",  "x.orchestrator.example.org", "192.0.2.8", "2001:db8::8", "", "localhost",
        "*.example.org"};
    struct pki_check check = server_check(w);
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        check.host = good[i];
        if (pki_verify(w->server, &check, &w->err) != ERR_OK)
            fail_msg("%s: %s", good[i], w->err.message);
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        check.host = bad[i];
        assert_refused(w, w->server, &check,
                       "is for orchestrator.example.org, 192.0.2.7, 2001:db8::7, not for ");
    }
}

/* ---- The CA's fingerprint instead of the CA ---------------------------------------------------
 */

static void the_fingerprint_of_the_ca_is_enough(void **state)
{
    struct world *w = *state;
    struct pki_facts facts;
    struct pki_facts leaf;
    assert_int_equal(pki_certs_facts(pki_ca_certs(w->ca), 0, &facts, &w->err), ERR_OK);
    assert_int_equal(pki_certs_facts(w->server, 0, &leaf, &w->err), ERR_OK);
    struct pki_check check = server_check(w);
    check.ca = NULL;
    check.ca_fingerprint = facts.fingerprint;
    assert_int_equal(pki_verify(w->server, &check, &w->err), ERR_OK);
    check.host = "other.example.org"; /* all else is asked as ever */
    assert_refused(w, w->server, &check, "not for other.example.org");
    check.host = "orchestrator.example.org";
    check.now_ms = NOW_MS + 2 * (int64_t)DAY_MS;
    assert_refused(w, w->server, &check, "has expired");
    check.now_ms = NOW_MS;

    assert_refused(w, w->agent, &check, "does not come from the CA with the fingerprint");
    assert_int_equal(pki_certs_facts(pki_ca_certs(w->other_ca), 0, &facts, &w->err), ERR_OK);
    assert_refused(w, w->server, &check, "does not come from the CA with the fingerprint");
    check.ca_fingerprint = leaf.fingerprint; /* whose owner has signed nothing */
    assert_int_equal(pki_verify(w->server, &check, &w->err), ERR_DENIED);
}

/* One shows the right CA's certificate beside one that this CA has not signed. */
static void a_ca_that_is_merely_shown_signs_nothing(void **state)
{
    struct world *w = *state;
    struct pki_facts facts;
    struct buf text = BUF_INIT;
    struct pki_certs *forged = NULL;
    struct pki_certs *foreign = server_make(w->other_ca, w->key, NOW_MS, HOUR_MS);
    assert_int_equal(pki_certs_facts(pki_ca_certs(w->ca), 0, &facts, &w->err), ERR_OK);
    assert_int_equal(pki_certs_pem(foreign, &text, &w->err), ERR_OK);
    assert_int_equal(pki_certs_pem(pki_ca_certs(w->ca), &text, &w->err), ERR_OK);
    assert_int_equal(pki_certs_parse(text.data, text.len, "forged", &forged, &w->err), ERR_OK);
    struct pki_check check = server_check(w);
    check.ca = NULL;
    check.ca_fingerprint = facts.fingerprint;
    assert_refused(w, forged, &check, "was signed by");
    pki_certs_free(forged);
    pki_certs_free(foreign);
    buf_done(&text);
}

static void fingerprints_are_taken_as_people_write_them(void **state)
{
    struct world *w = *state;
    char hex[PKI_FINGERPRINT_MAX];
    assert_int_equal(
        pki_fingerprint_parse("AB:cd:0000000000000000000000000000000000000000000000000000"
                              "0000:00:ff",
                              hex, &w->err),
        ERR_OK);
    assert_string_equal(hex, "abcd0000000000000000000000000000000000000000000000000000000000ff");
    static const char *const bad[] = {
        "",
        "ab",
        "abcd0000000000000000000000000000000000000000000000000000000000f",
        "abcd0000000000000000000000000000000000000000000000000000000000fff",
        "abcd0000000000000000000000000000000000000000000000000000000000fg",
        "sha256:abcd00000000000000000000000000000000000000000000000000000000"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(pki_fingerprint_parse(bad[i], hex, &w->err), ERR_INVALID);
}

/* ---- Forgeries --------------------------------------------------------------------------------
 */

static X509 *first_of(const struct pki_certs *certs)
{
    struct error err = {0};
    struct buf text = BUF_INIT;
    assert_int_equal(pki_certs_pem(certs, &text, &err), ERR_OK);
    BIO *bio = BIO_new_mem_buf(text.data, (int)text.len);
    X509 *x509 = PEM_read_bio_X509(bio, NULL, NULL, NULL);
    assert_non_null(x509);
    (void)BIO_free(bio);
    buf_done(&text);
    return x509;
}

/* The key's own certificate, signed by `signer` as if it were `issuer`. */
static struct pki_certs *forge(EVP_PKEY *pkey, X509 *issuer, EVP_PKEY *signer, bool usage)
{
    X509 *x509 = X509_new();
    assert_int_equal(X509_set_version(x509, 2), 1);
    assert_int_equal(ASN1_INTEGER_set(X509_get_serialNumber(x509), 7), 1);
    assert_non_null(ASN1_TIME_set(X509_getm_notBefore(x509), NOW_MS / 1000 - 60));
    assert_non_null(ASN1_TIME_set(X509_getm_notAfter(x509), NOW_MS / 1000 + 3600));
    assert_int_equal(X509_NAME_add_entry_by_txt(X509_get_subject_name(x509), "CN", MBSTRING_ASC,
                                                (const unsigned char *)"web-2", -1, -1, 0),
                     1);
    assert_int_equal(X509_set_issuer_name(x509, X509_get_subject_name(issuer)), 1);
    assert_int_equal(X509_set_pubkey(x509, pkey), 1);
    static const struct {
        int nid;
        const char *value;
    } extensions[] = {{NID_authority_key_identifier, "keyid:always"},
                      {NID_subject_key_identifier, "hash"},
                      {NID_ext_key_usage, "clientAuth"}};
    X509V3_CTX ctx = {0};
    X509V3_set_ctx(&ctx, issuer, x509, NULL, NULL, 0);
    for (size_t i = 0; i < (usage ? 3 : 2); i++) {
        X509_EXTENSION *extension =
            X509V3_EXT_conf_nid(NULL, &ctx, extensions[i].nid, extensions[i].value);
        assert_int_equal(X509_add_ext(x509, extension, -1), 1);
        X509_EXTENSION_free(extension);
    }
    assert_int_not_equal(X509_sign(x509, signer, EVP_sha256()), 0);
    BIO *bio = BIO_new(BIO_s_mem());
    assert_int_equal(PEM_write_bio_X509(bio, x509), 1);
    char *text = NULL;
    long len = BIO_get_mem_data(bio, &text);
    struct pki_certs *certs = NULL;
    struct error err = {0};
    assert_int_equal(pki_certs_parse(text, (size_t)len, "forged", &certs, &err), ERR_OK);
    (void)BIO_free(bio);
    X509_free(x509);
    return certs;
}

static void one_in_the_cas_name_by_another_key_is_refused(void **state)
{
    struct world *w = *state;
    EVP_PKEY *own = EVP_EC_gen("P-256");
    X509 *ca = first_of(pki_ca_certs(w->ca));
    struct pki_certs *forged = forge(own, ca, own, true);
    const struct pki_check check = agent_check(w);
    assert_refused(w, forged, &check, "it is damaged or forged");
    pki_certs_free(forged);
    X509_free(ca);
    EVP_PKEY_free(own);
}

/* An agent's key signs for another agent, and shows its own certificate as the signer's. */
static void an_agent_cannot_sign_for_another(void **state)
{
    struct world *w = *state;
    struct buf csr = BUF_INIT;
    struct buf text = BUF_INIT;
    struct pki_certs *agent = NULL;
    struct pki_certs *forged = NULL;
    struct pki_certs *chain = NULL;
    EVP_PKEY *own = EVP_EC_gen("P-256");
    X509_REQ *req = X509_REQ_new();
    assert_int_equal(X509_REQ_set_pubkey(req, own), 1);
    assert_int_not_equal(X509_REQ_sign(req, own, EVP_sha256()), 0);
    BIO *bio = BIO_new(BIO_s_mem());
    assert_int_equal(PEM_write_bio_X509_REQ(bio, req), 1);
    char *pem = NULL;
    long len = BIO_get_mem_data(bio, &pem);
    buf_append(&csr, pem, (size_t)len);
    const struct pki_validity hour = {.now_ms = NOW_MS, .lifetime_ms = HOUR_MS};
    assert_int_equal(
        pki_ca_sign_client(w->ca, csr.data, "kitsune:agent:web-1", &hour, &agent, &w->err), ERR_OK);

    X509 *web1 = first_of(agent);
    forged = forge(own, web1, own, true);
    assert_int_equal(pki_certs_pem(forged, &text, &w->err), ERR_OK);
    assert_int_equal(pki_certs_pem(agent, &text, &w->err), ERR_OK);
    assert_int_equal(pki_certs_parse(text.data, text.len, "chain", &chain, &w->err), ERR_OK);
    const struct pki_check check = agent_check(w);
    assert_refused(w, chain, &check, "\"CN=web-1\": invalid CA certificate");
    pki_certs_free(chain);
    pki_certs_free(forged);
    pki_certs_free(agent);
    X509_free(web1);
    (void)BIO_free(bio);
    X509_REQ_free(req);
    EVP_PKEY_free(own);
    buf_done(&csr);
    buf_done(&text);
}

static EVP_PKEY *key_of(const struct pki_ca *ca)
{
    struct folder f;
    struct error err = {0};
    folder_make(&f);
    const char *path = folder_file(&f, "ca.key");
    assert_int_equal(pki_ca_save(ca, path, folder_file(&f, "ca.pem"), &err), ERR_OK);
    FILE *file = fopen(path, "re");
    assert_non_null(file);
    EVP_PKEY *pkey = PEM_read_PrivateKey(file, NULL, NULL, NULL);
    assert_non_null(pkey);
    (void)fclose(file);
    folder_remove(&f);
    return pkey;
}

static void one_that_names_no_purpose_has_none(void **state)
{
    struct world *w = *state;
    EVP_PKEY *own = EVP_EC_gen("P-256");
    EVP_PKEY *signer = key_of(w->ca);
    X509 *ca = first_of(pki_ca_certs(w->ca));
    struct pki_certs *for_all = forge(own, ca, signer, false);
    struct pki_certs *for_clients = forge(own, ca, signer, true);
    const struct pki_check check = agent_check(w);
    assert_refused(w, for_all, &check, "is not one for a client");
    assert_int_equal(pki_verify(for_clients, &check, &w->err), ERR_OK);
    pki_certs_free(for_clients);
    pki_certs_free(for_all);
    X509_free(ca);
    EVP_PKEY_free(signer);
    EVP_PKEY_free(own);
}

static void two_identities_are_none(void **state)
{
    struct world *w = *state;
    EVP_PKEY *own = EVP_EC_gen("P-256");
    static const char *const wishes[] = {
        "URI:kitsune:agent:a,URI:kitsune:agent:b",
        "URI:kitsune:agent:a b",
        "DNS:kitsune",
    };
    for (size_t i = 0; i < sizeof(wishes) / sizeof(wishes[0]); i++) {
        X509 *x509 = X509_new();
        assert_int_equal(X509_set_version(x509, 2), 1);
        assert_int_equal(ASN1_INTEGER_set(X509_get_serialNumber(x509), 7), 1);
        assert_non_null(ASN1_TIME_set(X509_getm_notBefore(x509), NOW_MS / 1000));
        assert_non_null(ASN1_TIME_set(X509_getm_notAfter(x509), NOW_MS / 1000));
        assert_int_equal(X509_set_pubkey(x509, own), 1);
        X509_EXTENSION *names = X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, wishes[i]);
        assert_int_equal(X509_add_ext(x509, names, -1), 1);
        assert_int_not_equal(X509_sign(x509, own, EVP_sha256()), 0);
        BIO *bio = BIO_new(BIO_s_mem());
        assert_int_equal(PEM_write_bio_X509(bio, x509), 1);
        char *text = NULL;
        long len = BIO_get_mem_data(bio, &text);
        struct pki_certs *certs = NULL;
        struct pki_facts facts;
        assert_int_equal(pki_certs_parse(text, (size_t)len, "odd", &certs, &w->err), ERR_OK);
        assert_int_equal(pki_certs_facts(certs, 0, &facts, &w->err), ERR_OK);
        assert_string_equal(facts.identity, "");
        assert_string_equal(facts.serial, "00000000000000000000000000000007");
        pki_certs_free(certs);
        (void)BIO_free(bio);
        X509_EXTENSION_free(names);
        X509_free(x509);
    }
    EVP_PKEY_free(own);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_certificates_are_believed),
        cmocka_unit_test(one_of_several_cas_may_have_signed),
        cmocka_unit_test(an_expired_one_is_refused_with_the_day),
        cmocka_unit_test(one_of_the_future_is_refused_with_the_day),
        cmocka_unit_test(an_expired_ca_is_named),
        cmocka_unit_test(one_signed_by_another_ca_is_refused_with_both_names),
        cmocka_unit_test(nobody_signs_for_himself),
        cmocka_unit_test(a_certificate_for_one_purpose_is_none_for_another),
        cmocka_unit_test(one_for_another_host_is_refused_with_the_names),
        cmocka_unit_test(the_fingerprint_of_the_ca_is_enough),
        cmocka_unit_test(a_ca_that_is_merely_shown_signs_nothing),
        cmocka_unit_test(fingerprints_are_taken_as_people_write_them),
        cmocka_unit_test(one_in_the_cas_name_by_another_key_is_refused),
        cmocka_unit_test(an_agent_cannot_sign_for_another),
        cmocka_unit_test(one_that_names_no_purpose_has_none),
        cmocka_unit_test(two_identities_are_none),
    };
    return cmocka_run_group_tests(tests, world_make, world_free);
}
