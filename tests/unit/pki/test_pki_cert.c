#include "unit/pki/support_pki.h"

#include "common/pki/pki_sign.h"

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void a_key_comes_back_from_its_file(void **state)
{
    (void)state;
    struct folder f;
    struct error err = {0};
    folder_make(&f);
    const char *path = folder_file(&f, "a.key");
    struct pki_ca *ca = ca_make();
    struct pki_key *key = key_make();
    struct pki_key *again = NULL;
    struct pki_key *other = key_make();
    struct pki_certs *certs = agent_make(ca, key, NOW_MS, HOUR_MS);
    assert_int_equal(pki_key_save(key, path, &err), ERR_OK);
    assert_int_equal(file_mode(path), 0600);
    assert_int_equal(pki_key_load(path, &again, &err), ERR_OK);
    assert_int_equal(pki_pair_check(again, certs, "agent", &err), ERR_OK);
    assert_int_equal(pki_pair_check(other, certs, "agent.pem", &err), ERR_CONFLICT);
    assert_non_null(strstr(err.message, "agent.pem: the key does not belong to the certificate"));
    pki_certs_free(certs);
    pki_key_free(other);
    pki_key_free(again);
    pki_key_free(key);
    pki_ca_free(ca);
    folder_remove(&f);
}

static void a_key_that_others_may_read_is_refused(void **state)
{
    (void)state;
    struct folder f;
    struct error err = {0};
    folder_make(&f);
    const char *path = folder_file(&f, "a.key");
    struct pki_key *key = key_make();
    struct pki_key *again = NULL;
    assert_int_equal(pki_key_save(key, path, &err), ERR_OK);
    assert_int_equal(chmod(path, 0640), 0);
    assert_int_equal(pki_key_load(path, &again, &err), ERR_DENIED);
    assert_non_null(strstr(err.message, "a.key is open to others (mode 0640)"));
    assert_null(again);
    pki_key_free(key);
    folder_remove(&f);
}

/* As a person would who thinks that a passphrase can be given. */
static void encrypted_key_put(const char *path)
{
    EVP_PKEY *pkey = EVP_EC_gen("P-256");
    FILE *file = fopen(path, "we");
    static unsigned char passphrase[] = "secret";
    assert_non_null(pkey);
    assert_non_null(file);
    assert_int_equal(PEM_write_PrivateKey(file, pkey, EVP_aes_256_cbc(), passphrase,
                                          sizeof(passphrase) - 1, NULL, NULL),
                     1);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(chmod(path, 0600), 0);
    EVP_PKEY_free(pkey);
}

static void what_is_no_key_is_told(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        const char *expected;
    } cases[] = {
        {"", "there is no private key in it"},
        {"-----BEGIN PRIVATE KEY-----\nnonsense\n-----END PRIVATE KEY-----\n",
         "there is no private key in it"},
        {"-----BEGIN PRIVATE KEY-----\nAAAA\n", "there is no private key in it"},
    };
    struct folder f;
    struct error err = {0};
    folder_make(&f);
    const char *path = folder_file(&f, "bad.key");
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct pki_key *key = NULL;
        file_put(path, cases[i].text, 0600);
        assert_int_equal(pki_key_load(path, &key, &err), ERR_INVALID);
        if (strstr(err.message, cases[i].expected) == NULL ||
            strstr(err.message, "bad.key") == NULL)
            fail_msg("%zu: %s", i, err.message);
        assert_null(key);
    }
    struct pki_key *key = NULL;
    encrypted_key_put(path);
    assert_int_equal(pki_key_load(path, &key, &err), ERR_INVALID);
    assert_non_null(strstr(err.message, "bad.key: the key is encrypted"));
    struct pki_signer *signer = NULL; /* a key, and of no use here */
    assert_int_equal(pki_signer_new(&signer, &err), ERR_OK);
    assert_int_equal(pki_signer_save(signer, path, &err), ERR_OK);
    assert_int_equal(pki_key_load(path, &key, &err), ERR_INVALID);
    assert_non_null(strstr(err.message, "bad.key: only keys on the curve P-256"));
    pki_signer_free(signer);
    assert_int_equal(pki_key_load(folder_file(&f, "none.key"), &key, &err), ERR_NOT_FOUND);
    folder_remove(&f);
}

static void a_protected_process_cannot_be_dumped(void **state)
{
    (void)state;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0)
        _exit(pki_keys_protect() && prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) == 0 ? 0 : 1);
    int status = -1;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

static void certificates_come_back_from_their_file(void **state)
{
    (void)state;
    struct folder f;
    struct error err = {0};
    folder_make(&f);
    const char *path = folder_file(&f, "server.pem");
    struct pki_ca *ca = ca_make();
    struct pki_key *key = key_make();
    struct pki_certs *certs = server_make(ca, key, NOW_MS, DAY_MS);
    struct pki_certs *again = NULL;
    assert_int_equal(pki_certs_save(certs, path, &err), ERR_OK);
    assert_int_equal(file_mode(path), 0644);
    assert_int_equal(pki_certs_load(path, &again, &err), ERR_OK);
    assert_int_equal(pki_certs_count(again), 2);
    for (size_t i = 0; i < 2; i++) {
        struct pki_facts one;
        struct pki_facts two;
        assert_int_equal(pki_certs_facts(certs, i, &one, &err), ERR_OK);
        assert_int_equal(pki_certs_facts(again, i, &two, &err), ERR_OK);
        assert_string_equal(one.fingerprint, two.fingerprint);
        assert_string_equal(one.serial, two.serial);
    }
    struct pki_facts last;
    struct pki_facts of_ca;
    assert_int_equal(pki_certs_facts(again, 1, &last, &err), ERR_OK);
    assert_int_equal(pki_certs_facts(pki_ca_certs(ca), 0, &of_ca, &err), ERR_OK);
    assert_string_equal(last.fingerprint, of_ca.fingerprint);
    pki_certs_free(again);
    pki_certs_free(certs);
    pki_key_free(key);
    pki_ca_free(ca);
    folder_remove(&f);
}

static void a_certificate_says_who_and_until_when(void **state)
{
    (void)state;
    struct error err = {0};
    struct pki_ca *ca = ca_make();
    struct pki_key *key = key_make();
    struct pki_certs *agent = agent_make(ca, key, NOW_MS, DAY_MS);
    struct pki_certs *second = agent_make(ca, key, NOW_MS, DAY_MS);
    struct pki_certs *server = server_make(ca, key, NOW_MS, DAY_MS);
    struct pki_facts facts;
    struct pki_facts others;
    assert_int_equal(pki_certs_facts(agent, 0, &facts, &err), ERR_OK);
    assert_string_equal(facts.identity, "kitsune:agent:web-1");
    assert_true(facts.not_before_ms == NOW_MS - PKI_BACKDATE_MS);
    assert_true(facts.not_after_ms == NOW_MS + DAY_MS);
    assert_int_equal(strlen(facts.fingerprint), 64);
    assert_int_equal(strlen(facts.serial), 32);
    assert_int_equal(strspn(facts.serial, "0123456789abcdef"), 32);
    assert_int_equal(pki_certs_facts(second, 0, &others, &err), ERR_OK);
    assert_string_not_equal(facts.serial, others.serial);
    assert_string_not_equal(facts.fingerprint, others.fingerprint);
    assert_int_equal(pki_certs_facts(server, 0, &others, &err), ERR_OK);
    assert_string_equal(others.identity, "");
    pki_certs_free(server);
    pki_certs_free(second);
    pki_certs_free(agent);
    pki_key_free(key);
    pki_ca_free(ca);
}

static void what_is_no_certificate_is_told(void **state)
{
    (void)state;
    struct error err = {0};
    struct pki_certs *certs = NULL;
    struct buf text = BUF_INIT;
    struct pki_ca *ca = ca_make();
    assert_int_equal(pki_certs_parse("", 0, "ca.pem", &certs, &err), ERR_INVALID);
    assert_non_null(strstr(err.message, "ca.pem: there is no certificate in it"));
    static const char broken[] = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    assert_int_equal(pki_certs_parse(broken, strlen(broken), "ca.pem", &certs, &err), ERR_INVALID);
    assert_non_null(strstr(err.message, "ca.pem: a certificate in it is damaged"));

    assert_int_equal(pki_certs_pem(pki_ca_certs(ca), &text, &err), ERR_OK);
    size_t one = text.len;
    assert_int_equal(pki_certs_parse(text.data, one / 2, "ca.pem", &certs, &err), ERR_INVALID);
    buf_puts(&text, broken); /* a good one in front does not help */
    assert_int_equal(pki_certs_parse(text.data, text.len, "ca.pem", &certs, &err), ERR_INVALID);
    text.len = one;
    for (size_t i = 0; i < PKI_CERTS_MAX; i++)
        assert_int_equal(pki_certs_pem(pki_ca_certs(ca), &text, &err), ERR_OK);
    assert_int_equal(pki_certs_parse(text.data, text.len, "ca.pem", &certs, &err), ERR_LIMIT);
    assert_int_equal(pki_certs_parse(text.data, text.len - one, "ca.pem", &certs, &err), ERR_OK);
    assert_int_equal(pki_certs_count(certs), PKI_CERTS_MAX);
    pki_certs_free(certs);
    certs = NULL;
    assert_int_equal(pki_certs_parse(text.data, PKI_PEM_MAX + 1, "ca.pem", &certs, &err),
                     ERR_LIMIT);
    assert_null(certs);
    buf_done(&text);
    pki_ca_free(ca);
}

static void a_pair_lives_in_one_private_file(void **state)
{
    (void)state;
    struct folder f;
    struct error err = {0};
    folder_make(&f);
    const char *path = folder_file(&f, "identity.pem");
    struct pki_ca *ca = ca_make();
    struct pki_key *key = key_make();
    struct pki_key *other = key_make();
    struct pki_certs *certs = server_make(ca, key, NOW_MS, DAY_MS);
    struct pki_key *key_again = NULL;
    struct pki_certs *certs_again = NULL;
    assert_int_equal(pki_pair_save(other, certs, path, &err), ERR_CONFLICT);
    assert_int_not_equal(access(path, F_OK), 0);
    assert_int_equal(pki_pair_save(key, certs, path, &err), ERR_OK);
    assert_int_equal(file_mode(path), 0600);
    assert_int_equal(pki_pair_load(path, &key_again, &certs_again, &err), ERR_OK);
    assert_int_equal(pki_certs_count(certs_again), 2);
    assert_int_equal(pki_pair_check(key_again, certs, "x", &err), ERR_OK);
    pki_certs_free(certs_again);
    pki_key_free(key_again);
    key_again = NULL;
    certs_again = NULL;
    assert_int_equal(chmod(path, 0644), 0);
    assert_int_equal(pki_pair_load(path, &key_again, &certs_again, &err), ERR_DENIED);
    assert_int_equal(pki_key_save(key, path, &err), ERR_OK);
    assert_int_equal(pki_pair_load(path, &key_again, &certs_again, &err), ERR_INVALID);
    assert_non_null(strstr(err.message, "there is no certificate in it"));
    assert_null(key_again);
    assert_null(certs_again);
    pki_certs_free(certs);
    pki_key_free(other);
    pki_key_free(key);
    pki_ca_free(ca);
    folder_remove(&f);
}

static void a_pair_that_was_mixed_up_is_refused(void **state)
{
    (void)state;
    struct folder f;
    struct error err = {0};
    struct buf text = BUF_INIT;
    folder_make(&f);
    const char *path = folder_file(&f, "identity.pem");
    struct pki_ca *ca = ca_make();
    struct pki_key *key = key_make();
    struct pki_key *other = key_make();
    struct pki_certs *certs = agent_make(ca, other, NOW_MS, DAY_MS);
    assert_int_equal(pki_key_save(key, path, &err), ERR_OK);
    assert_int_equal(pki_file_read(path, PKI_PEM_MAX, &text, &err), ERR_OK);
    assert_int_equal(pki_certs_pem(certs, &text, &err), ERR_OK);
    file_put(path, text.data, 0600);
    struct pki_key *key_again = NULL;
    struct pki_certs *certs_again = NULL;
    assert_int_equal(pki_pair_load(path, &key_again, &certs_again, &err), ERR_CONFLICT);
    assert_null(key_again);
    buf_done(&text);
    pki_certs_free(certs);
    pki_key_free(other);
    pki_key_free(key);
    pki_ca_free(ca);
    folder_remove(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_key_comes_back_from_its_file),
        cmocka_unit_test(a_key_that_others_may_read_is_refused),
        cmocka_unit_test(what_is_no_key_is_told),
        cmocka_unit_test(a_protected_process_cannot_be_dumped),
        cmocka_unit_test(certificates_come_back_from_their_file),
        cmocka_unit_test(a_certificate_says_who_and_until_when),
        cmocka_unit_test(what_is_no_certificate_is_told),
        cmocka_unit_test(a_pair_lives_in_one_private_file),
        cmocka_unit_test(a_pair_that_was_mixed_up_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
