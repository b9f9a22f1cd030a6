#include "unit/pki/support_pki.h"

#include "common/base/alloc.h"
#include "common/pki/pki_verify.h"

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static const struct pki_validity hour = {.now_ms = NOW_MS, .lifetime_ms = HOUR_MS};

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

static void assert_extensions(X509 *x509, size_t count, const int *nids)
{
    assert_int_equal(X509_get_ext_count(x509), count);
    for (size_t i = 0; i < count; i++) {
        if (X509_get_ext_by_NID(x509, nids[i], -1) < 0)
            fail_msg("it has no %s", OBJ_nid2sn(nids[i]));
    }
}

static void a_ca_may_sign_and_nothing_else(void **state)
{
    (void)state;
    static const int nids[] = {NID_basic_constraints, NID_key_usage, NID_subject_key_identifier};
    struct pki_ca *ca = ca_make();
    X509 *x509 = first_of(pki_ca_certs(ca));
    assert_extensions(x509, 3, nids);
    assert_int_equal(X509_get_version(x509), 2);
    assert_int_equal(X509_check_ca(x509), 1);
    assert_int_equal(X509_get_pathlen(x509), 0);
    assert_int_equal(X509_get_key_usage(x509), KU_KEY_CERT_SIGN | KU_CRL_SIGN);
    assert_int_equal(X509_get_signature_nid(x509), NID_ecdsa_with_SHA256);
    assert_true(X509_get_extension_flags(x509) & EXFLAG_SS);
    char *name = X509_NAME_oneline(X509_get_subject_name(x509), NULL, 0);
    assert_memory_equal(name, "/CN=Kitsune CA ", 15);
    assert_int_equal(strlen(name), 15 + 16);
    OPENSSL_free(name);
    X509_free(x509);
    pki_ca_free(ca);
}

static void a_ca_comes_back_from_its_files(void **state)
{
    (void)state;
    struct folder f;
    struct error err = {0};
    folder_make(&f);
    const char *key_path = folder_file(&f, "ca.key");
    const char *cert_path = folder_file(&f, "ca.pem");
    struct pki_ca *ca = ca_make();
    struct pki_ca *again = NULL;
    assert_int_equal(pki_ca_save(ca, key_path, cert_path, &err), ERR_OK);
    assert_int_equal(file_mode(key_path), 0600);
    assert_int_equal(file_mode(cert_path), 0644);
    assert_int_equal(pki_ca_load(key_path, cert_path, &again, &err), ERR_OK);

    struct pki_key *key = key_make();
    struct pki_certs *agent = agent_make(again, key, NOW_MS, HOUR_MS);
    const struct pki_check check = {
        .ca = pki_ca_certs(ca), .purpose = PKI_PURPOSE_CLIENT, .now_ms = NOW_MS, .name = "agent"};
    assert_int_equal(pki_verify(agent, &check, &err), ERR_OK);
    pki_certs_free(agent);
    pki_key_free(key);
    pki_ca_free(again);
    pki_ca_free(ca);
    folder_remove(&f);
}

static void a_ca_whose_files_do_not_fit_is_refused(void **state)
{
    (void)state;
    struct folder f;
    struct error err = {0};
    folder_make(&f);
    const char *key_path = folder_file(&f, "ca.key");
    const char *cert_path = folder_file(&f, "ca.pem");
    struct pki_ca *ca = ca_make();
    struct pki_ca *other = ca_make();
    struct pki_ca *again = NULL;
    assert_int_equal(pki_ca_load(key_path, cert_path, &again, &err), ERR_NOT_FOUND);
    assert_int_equal(pki_ca_save(ca, key_path, cert_path, &err), ERR_OK);
    assert_int_equal(pki_certs_save(pki_ca_certs(other), cert_path, &err), ERR_OK);
    assert_int_equal(pki_ca_load(key_path, cert_path, &again, &err), ERR_CONFLICT);

    struct pki_key *key = key_make();
    struct pki_certs *server = server_make(ca, key, NOW_MS, HOUR_MS);
    assert_int_equal(pki_key_save(key, key_path, &err), ERR_OK);
    assert_int_equal(pki_certs_save(server, cert_path, &err), ERR_OK);
    assert_int_equal(pki_ca_load(key_path, cert_path, &again, &err), ERR_INVALID);
    assert_non_null(strstr(err.message, "is not one of a CA"));
    assert_null(again);
    pki_certs_free(server);
    pki_key_free(key);
    pki_ca_free(other);
    pki_ca_free(ca);
    folder_remove(&f);
}

static void a_servers_certificate_is_for_its_hosts(void **state)
{
    (void)state;
    static const int nids[] = {NID_basic_constraints,
                               NID_key_usage,
                               NID_ext_key_usage,
                               NID_subject_key_identifier,
                               NID_authority_key_identifier,
                               NID_subject_alt_name};
    struct pki_ca *ca = ca_make();
    struct pki_key *key = key_make();
    struct pki_certs *server = server_make(ca, key, NOW_MS, HOUR_MS);
    X509 *x509 = first_of(server);
    assert_extensions(x509, 6, nids);
    assert_int_equal(X509_check_ca(x509), 0);
    assert_int_equal(X509_get_key_usage(x509), KU_DIGITAL_SIGNATURE);
    assert_int_equal(X509_get_extended_key_usage(x509), XKU_SSL_SERVER);
    assert_int_equal(X509_check_host(x509, "orchestrator.example.org", 0, 0, NULL), 1);
    assert_int_equal(X509_check_host(x509, "other.example.org", 0, 0, NULL), 0);
    assert_int_equal(X509_check_ip_asc(x509, "192.0.2.7", 0), 1);
    assert_int_equal(X509_check_ip_asc(x509, "2001:db8::7", 0), 1);
    assert_int_equal(X509_check_ip_asc(x509, "192.0.2.8", 0), 0);
    X509_free(x509);
    pki_certs_free(server);
    pki_key_free(key);
    pki_ca_free(ca);
}

static void what_is_no_host_is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {"",      "*.example.org", "host:7233",   "[::1]",
                                      "a b",   "a,DNS:b",       "http://host", ".host",
                                      "-host", "h\xc3\xb6st",   "a\nDNS:b",    "fe80::1%eth0"};
    struct pki_ca *ca = ca_make();
    struct pki_key *key = key_make();
    struct pki_certs *certs = NULL;
    struct error err = {0};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        const char *const hosts[] = {"good.example.org", bad[i], NULL};
        if (pki_ca_sign_server(ca, key, hosts, &hour, &certs, &err) != ERR_INVALID)
            fail_msg("\"%s\" is taken", bad[i]);
    }
    static const char *const none[] = {NULL};
    assert_int_equal(pki_ca_sign_server(ca, key, none, &hour, &certs, &err), ERR_INVALID);
    char long_name[300];
    memset(long_name, 'a', sizeof(long_name) - 1);
    long_name[sizeof(long_name) - 1] = '\0';
    const char *const too_long[] = {long_name, NULL};
    assert_int_equal(pki_ca_sign_server(ca, key, too_long, &hour, &certs, &err), ERR_INVALID);
    long_name[253] = '\0'; /* and its common name is cut */
    assert_int_equal(pki_ca_sign_server(ca, key, too_long, &hour, &certs, &err), ERR_OK);
    pki_certs_free(certs);
    pki_key_free(key);
    pki_ca_free(ca);
}

static void an_agents_certificate_names_the_agent_alone(void **state)
{
    (void)state;
    static const int nids[] = {NID_basic_constraints,
                               NID_key_usage,
                               NID_ext_key_usage,
                               NID_subject_key_identifier,
                               NID_authority_key_identifier,
                               NID_subject_alt_name};
    struct pki_ca *ca = ca_make();
    struct pki_key *key = key_make();
    struct pki_certs *agent = agent_make(ca, key, NOW_MS, HOUR_MS);
    X509 *x509 = first_of(agent);
    assert_int_equal(pki_certs_count(agent), 1);
    assert_extensions(x509, 6, nids);
    assert_int_equal(X509_check_ca(x509), 0);
    assert_int_equal(X509_get_key_usage(x509), KU_DIGITAL_SIGNATURE);
    assert_int_equal(X509_get_extended_key_usage(x509), XKU_SSL_CLIENT);
    char *name = X509_NAME_oneline(X509_get_subject_name(x509), NULL, 0);
    assert_string_equal(name, "/CN=web-1");
    OPENSSL_free(name);
    X509_free(x509);
    pki_certs_free(agent);
    pki_key_free(key);
    pki_ca_free(ca);
}

/* ---- Requests ---------------------------------------------------------------------------------
 */

static char *text_of(X509_REQ *req)
{
    BIO *bio = BIO_new(BIO_s_mem());
    assert_int_equal(PEM_write_bio_X509_REQ(bio, req), 1);
    char *data = NULL;
    long len = BIO_get_mem_data(bio, &data);
    char *text = mem_strndup(data, (size_t)len);
    assert_non_null(text);
    (void)BIO_free(bio);
    return text;
}

/* A request that asks for everything that it should not get. */
static char *greedy_request(EVP_PKEY *pkey, EVP_PKEY *signer)
{
    static const struct {
        int nid;
        const char *value;
    } wishes[] = {
        {NID_basic_constraints, "critical,CA:TRUE"},
        {NID_key_usage, "critical,keyCertSign,digitalSignature"},
        {NID_ext_key_usage, "serverAuth,clientAuth"},
        {NID_subject_alt_name, "URI:kitsune:agent:db-1,DNS:orchestrator.example.org"},
    };
    X509_REQ *req = X509_REQ_new();
    assert_int_equal(X509_NAME_add_entry_by_txt(X509_REQ_get_subject_name(req), "CN", MBSTRING_ASC,
                                                (const unsigned char *)"db-1", -1, -1, 0),
                     1);
    STACK_OF(X509_EXTENSION) *list = sk_X509_EXTENSION_new_null();
    for (size_t i = 0; i < sizeof(wishes) / sizeof(wishes[0]); i++) {
        X509_EXTENSION *wish = X509V3_EXT_conf_nid(NULL, NULL, wishes[i].nid, wishes[i].value);
        assert_non_null(wish);
        assert_int_not_equal(sk_X509_EXTENSION_push(list, wish), 0);
    }
    assert_int_equal(X509_REQ_add_extensions(req, list), 1);
    sk_X509_EXTENSION_pop_free(list, X509_EXTENSION_free);
    assert_int_equal(X509_REQ_set_pubkey(req, pkey), 1);
    assert_int_not_equal(X509_REQ_sign(req, signer, EVP_sha256()), 0);
    char *text = text_of(req);
    X509_REQ_free(req);
    return text;
}

static void a_request_that_asks_for_more_gets_none_of_it(void **state)
{
    (void)state;
    struct error err = {0};
    struct pki_ca *ca = ca_make();
    EVP_PKEY *pkey = EVP_EC_gen("P-256");
    char *csr = greedy_request(pkey, pkey);
    struct pki_certs *certs = NULL;
    assert_int_equal(pki_ca_sign_client(ca, csr, "kitsune:agent:web-1", &hour, &certs, &err),
                     ERR_OK);
    X509 *x509 = first_of(certs);
    struct pki_facts facts;
    assert_int_equal(pki_certs_facts(certs, 0, &facts, &err), ERR_OK);
    assert_string_equal(facts.identity, "kitsune:agent:web-1");
    assert_int_equal(EVP_PKEY_eq(X509_get0_pubkey(x509), pkey), 1);
    assert_int_equal(X509_check_ca(x509), 0);
    assert_int_equal(X509_get_key_usage(x509), KU_DIGITAL_SIGNATURE);
    assert_int_equal(X509_get_extended_key_usage(x509), XKU_SSL_CLIENT);
    assert_int_equal(X509_check_host(x509, "orchestrator.example.org", 0, 0, NULL), 0);
    char *name = X509_NAME_oneline(X509_get_subject_name(x509), NULL, 0);
    assert_string_equal(name, "/CN=web-1");
    OPENSSL_free(name);
    X509_free(x509);
    pki_certs_free(certs);
    mem_free(csr);
    EVP_PKEY_free(pkey);
    pki_ca_free(ca);
}

static void a_request_signed_by_another_key_is_refused(void **state)
{
    (void)state;
    struct error err = {0};
    struct pki_ca *ca = ca_make();
    EVP_PKEY *stolen = EVP_EC_gen("P-256");
    EVP_PKEY *own = EVP_EC_gen("P-256");
    char *csr = greedy_request(stolen, own);
    struct pki_certs *certs = NULL;
    assert_int_equal(pki_ca_sign_client(ca, csr, "kitsune:agent:web-1", &hour, &certs, &err),
                     ERR_INVALID);
    assert_non_null(strstr(err.message, "its signature is not by the key in it"));
    assert_null(certs);
    mem_free(csr);
    EVP_PKEY_free(own);
    EVP_PKEY_free(stolen);
    pki_ca_free(ca);
}

static void a_request_with_a_key_of_another_kind_is_refused(void **state)
{
    (void)state;
    struct error err = {0};
    struct pki_ca *ca = ca_make();
    EVP_PKEY *keys[] = {EVP_RSA_gen(1024), EVP_EC_gen("P-384")};
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        char *csr = greedy_request(keys[i], keys[i]);
        struct pki_certs *certs = NULL;
        assert_int_equal(pki_ca_sign_client(ca, csr, "kitsune:agent:web-1", &hour, &certs, &err),
                         ERR_INVALID);
        assert_non_null(strstr(err.message, "only keys on the curve P-256"));
        mem_free(csr);
        EVP_PKEY_free(keys[i]);
    }
    pki_ca_free(ca);
}

static void what_is_no_request_is_refused(void **state)
{
    (void)state;
    struct error err = {0};
    struct pki_ca *ca = ca_make();
    struct pki_certs *certs = NULL;
    char big[PKI_CSR_MAX + 2];
    memset(big, 'A', sizeof(big) - 1);
    big[sizeof(big) - 1] = '\0';
    static const char *const bad[] = {
        "", "nonsense",
        "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(pki_ca_sign_client(ca, bad[i], "kitsune:agent:a", &hour, &certs, &err),
                         ERR_INVALID);
    assert_int_equal(pki_ca_sign_client(ca, big, "kitsune:agent:a", &hour, &certs, &err),
                     ERR_LIMIT);
    assert_null(certs);
    pki_ca_free(ca);
}

static void what_is_no_identity_is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {"",
                                      "web-1",
                                      "kitsune:",
                                      "kitsune:agent:",
                                      "kitsune:agent:.hidden",
                                      "kitsune:agent:a b",
                                      "kitsune:agent:a,URI:kitsune:agent:b",
                                      "kitsune:agent:a/../b",
                                      "kitsune:agent:a\n",
                                      "http://example.org"};
    struct error err = {0};
    struct pki_ca *ca = ca_make();
    struct pki_key *key = key_make();
    struct buf csr = BUF_INIT;
    struct pki_certs *certs = NULL;
    assert_int_equal(pki_csr_new(key, &csr, &err), ERR_OK);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        if (pki_ca_sign_client(ca, csr.data, bad[i], &hour, &certs, &err) != ERR_INVALID)
            fail_msg("\"%s\" is taken", bad[i]);
    }
    /* The longest server id there is. */
    char longest[PKI_IDENTITY_MAX + 1] = "kitsune:agent:";
    memset(longest + 14, 'x', 128);
    assert_int_equal(pki_ca_sign_client(ca, csr.data, longest, &hour, &certs, &err), ERR_OK);
    struct pki_facts facts;
    assert_int_equal(pki_certs_facts(certs, 0, &facts, &err), ERR_OK);
    assert_string_equal(facts.identity, longest);
    pki_certs_free(certs);
    memset(longest + 14, 'x', PKI_IDENTITY_MAX - 14);
    certs = NULL;
    assert_int_equal(pki_ca_sign_client(ca, csr.data, longest, &hour, &certs, &err), ERR_INVALID);
    buf_done(&csr);
    pki_key_free(key);
    pki_ca_free(ca);
}

/* ---- Time -------------------------------------------------------------------------------------
 */

static void nothing_lasts_longer_than_the_ca(void **state)
{
    (void)state;
    struct error err = {0};
    struct pki_ca *ca = ca_make();
    struct pki_key *key = key_make();
    struct pki_certs *agent = agent_make(ca, key, NOW_MS, INT64_C(3650) * DAY_MS);
    struct pki_facts facts;
    struct pki_facts of_ca;
    assert_int_equal(pki_certs_facts(agent, 0, &facts, &err), ERR_OK);
    assert_int_equal(pki_certs_facts(pki_ca_certs(ca), 0, &of_ca, &err), ERR_OK);
    assert_true(of_ca.not_after_ms == NOW_MS + INT64_C(365) * DAY_MS);
    assert_true(facts.not_after_ms == of_ca.not_after_ms);
    pki_certs_free(agent);
    pki_key_free(key);
    pki_ca_free(ca);
}

static void a_ca_out_of_its_time_signs_nothing(void **state)
{
    (void)state;
    static const int64_t times[] = {NOW_MS - HOUR_MS, NOW_MS + INT64_C(366) * DAY_MS};
    static const char *const hosts[] = {"host", NULL};
    struct error err = {0};
    struct pki_ca *ca = ca_make();
    struct pki_key *key = key_make();
    for (size_t i = 0; i < 2; i++) {
        const struct pki_validity validity = {.now_ms = times[i], .lifetime_ms = HOUR_MS};
        struct pki_certs *certs = NULL;
        assert_int_equal(pki_ca_sign_server(ca, key, hosts, &validity, &certs, &err), ERR_DENIED);
        assert_non_null(strstr(err.message, "valid from 2027-01-15T07:55:00Z to "
                                            "2028-01-15T08:00:00Z"));
        assert_non_null(strstr(err.message, "check the clock"));
    }
    const struct pki_validity none = {.now_ms = NOW_MS, .lifetime_ms = 0};
    struct pki_certs *certs = NULL;
    struct pki_ca *second = NULL;
    assert_int_equal(pki_ca_sign_server(ca, key, hosts, &none, &certs, &err), ERR_INVALID);
    assert_int_equal(pki_ca_new(&none, &second, &err), ERR_INVALID);
    pki_key_free(key);
    pki_ca_free(ca);
}

/* ---- Memory -----------------------------------------------------------------------------------
 */

static void whatever_allocation_fails_nothing_leaks(void **state)
{
    (void)state;
    struct folder f;
    folder_make(&f);
    const char *key_path = folder_file(&f, "ca.key");
    const char *cert_path = folder_file(&f, "ca.pem");
    bool done = false;
    for (uint64_t n = 0; !done; n++) {
        struct error err = {0};
        struct pki_ca *ca = NULL;
        struct pki_ca *again = NULL;
        struct pki_key *key = NULL;
        struct pki_certs *certs = NULL;
        struct buf csr = BUF_INIT;
        mem_fail_after(n);
        enum error_code code = pki_ca_new(&hour, &ca, &err);
        if (code == ERR_OK)
            code = pki_ca_save(ca, key_path, cert_path, &err);
        if (code == ERR_OK)
            code = pki_ca_load(key_path, cert_path, &again, &err);
        if (code == ERR_OK)
            code = pki_key_new(&key, &err);
        if (code == ERR_OK)
            code = pki_csr_new(key, &csr, &err);
        if (code == ERR_OK)
            code = pki_ca_sign_client(again, csr.data, "kitsune:agent:a", &hour, &certs, &err);
        done = mem_fail_count() == 0;
        mem_fail_never();
        assert_int_equal(code, done ? ERR_OK : ERR_NO_MEMORY);
        buf_done(&csr);
        pki_certs_free(certs);
        pki_key_free(key);
        pki_ca_free(again);
        pki_ca_free(ca);
    }
    folder_remove(&f);
}

static void the_key_of_a_request_is_known_again(void **state)
{
    (void)state;
    struct error err = {0};
    char first[PKI_FINGERPRINT_MAX], again[PKI_FINGERPRINT_MAX], other[PKI_FINGERPRINT_MAX];
    struct pki_key *one = key_make();
    struct pki_key *two = key_make();
    AUTO_BUF struct buf a = BUF_INIT;
    AUTO_BUF struct buf b = BUF_INIT;
    AUTO_BUF struct buf c = BUF_INIT;
    assert_int_equal(pki_csr_new(one, &a, &err), ERR_OK);
    assert_int_equal(pki_csr_new(one, &b, &err), ERR_OK);
    assert_int_equal(pki_csr_new(two, &c, &err), ERR_OK);
    assert_int_equal(pki_csr_key(a.data, first, &err), ERR_OK);
    assert_int_equal(pki_csr_key(b.data, again, &err), ERR_OK);
    assert_int_equal(pki_csr_key(c.data, other, &err), ERR_OK);
    assert_string_not_equal(a.data, b.data); /* a signature is another one each time */
    assert_string_equal(first, again);
    assert_string_not_equal(first, other);
    assert_int_equal(strlen(first), 64);
    assert_int_equal(pki_csr_key("nothing", first, &err), ERR_INVALID);
    pki_key_free(one);
    pki_key_free(two);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_key_of_a_request_is_known_again),
        cmocka_unit_test(a_ca_may_sign_and_nothing_else),
        cmocka_unit_test(a_ca_comes_back_from_its_files),
        cmocka_unit_test(a_ca_whose_files_do_not_fit_is_refused),
        cmocka_unit_test(a_servers_certificate_is_for_its_hosts),
        cmocka_unit_test(what_is_no_host_is_refused),
        cmocka_unit_test(an_agents_certificate_names_the_agent_alone),
        cmocka_unit_test(a_request_that_asks_for_more_gets_none_of_it),
        cmocka_unit_test(a_request_signed_by_another_key_is_refused),
        cmocka_unit_test(a_request_with_a_key_of_another_kind_is_refused),
        cmocka_unit_test(what_is_no_request_is_refused),
        cmocka_unit_test(what_is_no_identity_is_refused),
        cmocka_unit_test(nothing_lasts_longer_than_the_ca),
        cmocka_unit_test(a_ca_out_of_its_time_signs_nothing),
        cmocka_unit_test(whatever_allocation_fails_nothing_leaks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
