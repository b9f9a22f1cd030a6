#include "unit/pki/support_pki.h"

#include "common/pki/pki_sign.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void a_signature_holds_for_these_bytes_and_this_key(void **state)
{
    (void)state;
    struct error err = {0};
    struct pki_signer *signer = NULL;
    struct pki_signer *other = NULL;
    struct pki_public key;
    struct pki_public other_key;
    uint8_t signature[PKI_SIGNATURE_BYTES];
    assert_int_equal(pki_signer_new(&signer, &err), ERR_OK);
    assert_int_equal(pki_signer_new(&other, &err), ERR_OK);
    assert_int_equal(pki_signer_public(signer, &key, &err), ERR_OK);
    assert_int_equal(pki_signer_public(other, &other_key, &err), ERR_OK);
    assert_memory_not_equal(key.bytes, other_key.bytes, sizeof(key.bytes));
    assert_int_equal(pki_sign(signer, "plan", 4, signature, &err), ERR_OK);
    assert_int_equal(pki_sign_check(&key, "plan", 4, signature, &err), ERR_OK);
    assert_int_equal(pki_sign_check(&key, "plaN", 4, signature, &err), ERR_DENIED);
    assert_int_equal(pki_sign_check(&key, "plan", 3, signature, &err), ERR_DENIED);
    assert_int_equal(pki_sign_check(&other_key, "plan", 4, signature, &err), ERR_DENIED);
    for (size_t i = 0; i < sizeof(signature); i++) {
        signature[i] ^= 1;
        assert_int_equal(pki_sign_check(&key, "plan", 4, signature, &err), ERR_DENIED);
        signature[i] ^= 1;
    }
    assert_int_equal(pki_sign(signer, "", 0, signature, &err), ERR_OK);
    assert_int_equal(pki_sign_check(&key, "", 0, signature, &err), ERR_OK);
    pki_signer_free(other);
    pki_signer_free(signer);
}

/* RFC 8032, section 7.1, the second test. */
static void the_standards_example_is_verified(void **state)
{
    (void)state;
    static const struct pki_public key = {{0x3d, 0x40, 0x17, 0xc3, 0xe8, 0x43, 0x89, 0x5a,
                                           0x92, 0xb7, 0x0a, 0xa7, 0x4d, 0x1b, 0x7e, 0xbc,
                                           0x9c, 0x98, 0x2c, 0xcf, 0x2e, 0xc4, 0x96, 0x8c,
                                           0xc0, 0xcd, 0x55, 0xf1, 0x2a, 0xf4, 0x66, 0x0c}};
    static const uint8_t signature[PKI_SIGNATURE_BYTES] = {
        0x92, 0xa0, 0x09, 0xa9, 0xf0, 0xd4, 0xca, 0xb8, 0x72, 0x0e, 0x82, 0x0b, 0x5f,
        0x64, 0x25, 0x40, 0xa2, 0xb2, 0x7b, 0x54, 0x16, 0x50, 0x3f, 0x8f, 0xb3, 0x76,
        0x22, 0x23, 0xeb, 0xdb, 0x69, 0xda, 0x08, 0x5a, 0xc1, 0xe4, 0x3e, 0x15, 0x99,
        0x6e, 0x45, 0x8f, 0x36, 0x13, 0xd0, 0xf1, 0x1d, 0x8c, 0x38, 0x7b, 0x2e, 0xae,
        0xb4, 0x30, 0x2a, 0xee, 0xb0, 0x0d, 0x29, 0x16, 0x12, 0xbb, 0x0c, 0x00};
    struct error err = {0};
    assert_int_equal(pki_sign_check(&key, "\x72", 1, signature, &err), ERR_OK);
    assert_int_equal(pki_sign_check(&key, "\x73", 1, signature, &err), ERR_DENIED);
}

static void keys_come_back_from_their_files(void **state)
{
    (void)state;
    struct folder f;
    struct error err = {0};
    struct buf text = BUF_INIT;
    folder_make(&f);
    const char *path = folder_file(&f, "plans.key");
    struct pki_signer *signer = NULL;
    struct pki_signer *again = NULL;
    struct pki_public key;
    struct pki_public read;
    uint8_t signature[PKI_SIGNATURE_BYTES];
    assert_int_equal(pki_signer_new(&signer, &err), ERR_OK);
    assert_int_equal(pki_signer_save(signer, path, &err), ERR_OK);
    assert_int_equal(file_mode(path), 0600);
    assert_int_equal(pki_signer_load(path, &again, &err), ERR_OK);
    assert_int_equal(pki_sign(again, "plan", 4, signature, &err), ERR_OK);
    assert_int_equal(pki_signer_public(signer, &key, &err), ERR_OK);
    assert_int_equal(pki_sign_check(&key, "plan", 4, signature, &err), ERR_OK);
    assert_int_equal(pki_public_pem(&key, &text, &err), ERR_OK);
    assert_memory_equal(text.data, "-----BEGIN PUBLIC KEY-----\n", 27);
    assert_int_equal(pki_public_parse(text.data, text.len, "x.pub", &read, &err), ERR_OK);
    assert_memory_equal(read.bytes, key.bytes, sizeof(key.bytes));
    pki_signer_free(again);
    again = NULL;
    assert_int_equal(chmod(path, 0644), 0);
    assert_int_equal(pki_signer_load(path, &again, &err), ERR_DENIED);
    assert_null(again);
    pki_signer_free(signer);
    buf_done(&text);
    folder_remove(&f);
}

static void keys_of_another_kind_are_refused(void **state)
{
    (void)state;
    struct folder f;
    struct error err = {0};
    folder_make(&f);
    const char *path = folder_file(&f, "ec.key");
    struct pki_key *key = key_make();
    struct pki_signer *signer = NULL;
    struct pki_public public;
    assert_int_equal(pki_key_save(key, path, &err), ERR_OK);
    assert_int_equal(pki_signer_load(path, &signer, &err), ERR_INVALID);
    assert_non_null(strstr(err.message, "ec.key: not an Ed25519 key"));
    assert_int_equal(pki_public_parse("x", 1, "x.pub", &public, &err), ERR_INVALID);
    assert_non_null(strstr(err.message, "x.pub: there is no public key in it"));
    pki_key_free(key);
    folder_remove(&f);
}

/* Of 32 zeros: head -c 32 /dev/zero | sha256sum */
static void the_id_is_of_the_public_key(void **state)
{
    (void)state;
    struct error err = {0};
    struct pki_public key = {{0}};
    char id[PKI_SIGN_KEY_ID_MAX];
    assert_int_equal(pki_public_id(&key, id, &err), ERR_OK);
    assert_string_equal(id, "66687aadf862bd77");
    key.bytes[31] = 1;
    assert_int_equal(pki_public_id(&key, id, &err), ERR_OK);
    assert_string_not_equal(id, "66687aadf862bd77");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_signature_holds_for_these_bytes_and_this_key),
        cmocka_unit_test(the_standards_example_is_verified),
        cmocka_unit_test(keys_come_back_from_their_files),
        cmocka_unit_test(keys_of_another_kind_are_refused),
        cmocka_unit_test(the_id_is_of_the_public_key),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
