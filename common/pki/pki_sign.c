#include "common/pki/pki_sign.h"

#include "common/base/text.h"
#include "common/pki/pki_file.h"
#include "common/pki/pki_openssl.h"

#include <assert.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <stdio.h>

enum { ID_BYTES = (PKI_SIGN_KEY_ID_MAX - 1) / 2 };

struct pki_signer {
    EVP_PKEY *pkey;
};

DEFINE_CLEANUP(EVP_MD_CTX_free, EVP_MD_CTX)

/* ---- Private keys -----------------------------------------------------------------------------
 */

static enum error_code signer_wrap(EVP_PKEY *pkey, struct pki_signer **ret_signer,
                                   struct error *err)
{
    struct pki_signer *signer = MEM_NEW(struct pki_signer);
    if (signer == NULL)
        return error_set(err, ERR_NO_MEMORY, NULL);
    signer->pkey = pkey;
    *ret_signer = signer;
    return ERR_OK;
}

void pki_signer_free(struct pki_signer *signer)
{
    if (signer == NULL)
        return;
    EVP_PKEY_free(signer->pkey);
    mem_free(signer);
}

enum error_code pki_signer_new(struct pki_signer **ret_signer, struct error *err)
{
    AUTO(EVP_PKEY_free) EVP_PKEY *pkey = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
    if (pkey == NULL)
        return pki_error(err, ERR_INTERNAL, "making a signing key");
    enum error_code code = signer_wrap(pkey, ret_signer, err);
    if (code == ERR_OK)
        pkey = NULL;
    return code;
}

static enum error_code ed25519_check(const EVP_PKEY *pkey, const char *name, struct error *err)
{
    if (EVP_PKEY_is_a(pkey, "ED25519") == 1)
        return ERR_OK;
    ERR_clear_error();
    return error_set(err, ERR_INVALID, "%.100s: not an Ed25519 key", name);
}

enum error_code pki_signer_load(const char *path, struct pki_signer **ret_signer, struct error *err)
{
    AUTO(EVP_PKEY_free) EVP_PKEY *pkey = NULL;
    enum error_code code = pki_pkey_load(path, ed25519_check, &pkey, err);
    if (code == ERR_OK)
        code = signer_wrap(pkey, ret_signer, err);
    if (code == ERR_OK)
        pkey = NULL;
    return code;
}

enum error_code pki_signer_save(const struct pki_signer *signer, const char *path,
                                struct error *err)
{
    return pki_pkey_save(signer->pkey, path, err);
}

static enum error_code public_of(const EVP_PKEY *pkey, struct pki_public *ret_public,
                                 struct error *err)
{
    struct pki_public key;
    size_t len = sizeof(key.bytes);
    if (EVP_PKEY_get_raw_public_key(pkey, key.bytes, &len) != 1 || len != sizeof(key.bytes))
        return pki_error(err, ERR_INTERNAL, "reading a public key");
    *ret_public = key;
    return ERR_OK;
}

enum error_code pki_signer_public(const struct pki_signer *signer, struct pki_public *ret_public,
                                  struct error *err)
{
    return public_of(signer->pkey, ret_public, err);
}

/* ---- Signatures -------------------------------------------------------------------------------
 */

enum error_code pki_sign(const struct pki_signer *signer, const void *data, size_t len,
                         uint8_t ret_signature[PKI_SIGNATURE_BYTES], struct error *err)
{
    AUTO(EVP_MD_CTX_free) EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    size_t signature_len = PKI_SIGNATURE_BYTES;
    if (ctx == NULL || EVP_DigestSignInit(ctx, NULL, NULL, NULL, signer->pkey) != 1 ||
        EVP_DigestSign(ctx, ret_signature, &signature_len, data, len) != 1 ||
        signature_len != PKI_SIGNATURE_BYTES)
        return pki_error(err, ERR_INTERNAL, "signing");
    return ERR_OK;
}

static EVP_PKEY *public_pkey(const struct pki_public *key)
{
    return EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, key->bytes, sizeof(key->bytes));
}

enum error_code pki_sign_check(const struct pki_public *key, const void *data, size_t len,
                               const uint8_t signature[PKI_SIGNATURE_BYTES], struct error *err)
{
    AUTO(EVP_MD_CTX_free) EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    AUTO(EVP_PKEY_free) EVP_PKEY *pkey = public_pkey(key);
    if (ctx == NULL || pkey == NULL || EVP_DigestVerifyInit(ctx, NULL, NULL, NULL, pkey) != 1)
        return pki_error(err, ERR_INTERNAL, "checking a signature");
    bool good = EVP_DigestVerify(ctx, signature, PKI_SIGNATURE_BYTES, data, len) == 1;
    ERR_clear_error();
    if (!good)
        return error_set(err, ERR_DENIED, "the signature does not fit");
    return ERR_OK;
}

/* ---- Public keys ------------------------------------------------------------------------------
 */

enum error_code pki_public_parse(const char *pem, size_t len, const char *name,
                                 struct pki_public *ret_public, struct error *err)
{
    if (len > PKI_PEM_MAX)
        return error_set(err, ERR_LIMIT, "%.100s: longer than any key", name);
    AUTO(BIO_free_all) BIO *bio = BIO_new_mem_buf(pem, (int)len);
    if (bio == NULL)
        return pki_error(err, ERR_NO_MEMORY, "%.100s", name);
    AUTO(EVP_PKEY_free) EVP_PKEY *pkey = PEM_read_bio_PUBKEY(bio, NULL, NULL, NULL);
    if (pkey == NULL)
        return pki_error(err, ERR_INVALID, "%.100s: there is no public key in it", name);
    ERR_clear_error();
    enum error_code code = ed25519_check(pkey, name, err);
    if (code == ERR_OK)
        code = public_of(pkey, ret_public, err);
    return code;
}

enum error_code pki_public_pem(const struct pki_public *key, struct buf *out, struct error *err)
{
    AUTO(EVP_PKEY_free) EVP_PKEY *pkey = public_pkey(key);
    AUTO(BIO_free_all) BIO *bio = BIO_new(BIO_s_mem());
    if (pkey == NULL || bio == NULL || PEM_write_bio_PUBKEY(bio, pkey) != 1)
        return pki_error(err, ERR_INTERNAL, "writing a public key as text");
    char *text = NULL;
    long len = BIO_get_mem_data(bio, &text);
    buf_append(out, text, (size_t)len);
    return buf_check(out, err);
}

enum error_code pki_public_id(const struct pki_public *key, char ret_id[PKI_SIGN_KEY_ID_MAX],
                              struct error *err)
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    if (EVP_Digest(key->bytes, sizeof(key->bytes), digest, NULL, EVP_sha256(), NULL) != 1)
        return pki_error(err, ERR_INTERNAL, "naming a key");
    text_hex(digest, ID_BYTES, ret_id);
    return ERR_OK;
}
