#include "common/pki/pki_key.h"

#include "common/base/text.h"
#include "common/pki/pki_file.h"
#include "common/pki/pki_openssl.h"

#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <string.h>
#include <sys/prctl.h>

/* OpenSSL's secure heap would be the finer means. But it is of a fixed size and every TLS
 * connection keeps something in it: when it is full, handshakes fail. */
bool pki_keys_protect(void)
{
    return prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) == 0;
}

enum error_code pki_key_new(struct pki_key **ret_key, struct error *err)
{
    AUTO(EVP_PKEY_free) EVP_PKEY *pkey = EVP_EC_gen("P-256");
    if (pkey == NULL)
        return pki_error(err, ERR_INTERNAL, "making a key");
    enum error_code code = pki_key_wrap(pkey, ret_key, err);
    if (code == ERR_OK)
        pkey = NULL;
    return code;
}

/* ---- Text -------------------------------------------------------------------------------------
 */

/* Without it OpenSSL would ask on the terminal. */
static int on_passphrase(char *buf, int size, int writing, void *ctx)
{
    (void)buf;
    (void)size;
    (void)writing;
    *(bool *)ctx = true;
    return -1;
}

enum error_code pki_pkey_parse(const char *pem, size_t len, const char *name, EVP_PKEY **ret_pkey,
                               struct error *err)
{
    if (len > PKI_PEM_MAX)
        return error_set(err, ERR_LIMIT, "%.100s: longer than any key", name);
    AUTO(BIO_free_all) BIO *bio = BIO_new_mem_buf(pem, (int)len);
    if (bio == NULL)
        return pki_error(err, ERR_NO_MEMORY, "%.100s", name);
    bool encrypted = false;
    AUTO(EVP_PKEY_free)
    EVP_PKEY *pkey = PEM_read_bio_PrivateKey(bio, NULL, on_passphrase, &encrypted);
    if (pkey == NULL && encrypted)
        return pki_error(err, ERR_INVALID,
                         "%.100s: the key is encrypted; store it without a passphrase", name);
    if (pkey == NULL)
        return pki_error(err, ERR_INVALID, "%.100s: there is no private key in it that can be read",
                         name);
    ERR_clear_error();
    *ret_pkey = TAKE(pkey);
    return ERR_OK;
}

enum error_code pki_pkey_write(EVP_PKEY *pkey, BIO *bio, struct error *err)
{
    if (PEM_write_bio_PKCS8PrivateKey(bio, pkey, NULL, NULL, 0, NULL, NULL) != 1)
        return pki_error(err, ERR_INTERNAL, "writing a key as text");
    return ERR_OK;
}

enum error_code pki_pkey_check(const EVP_PKEY *pkey, const char *name, struct error *err)
{
    char curve[32] = "";
    size_t len = 0;
    if (EVP_PKEY_is_a(pkey, "EC") != 1 ||
        EVP_PKEY_get_group_name(pkey, curve, sizeof(curve), &len) != 1 ||
        strcmp(curve, "prime256v1") != 0) {
        ERR_clear_error();
        return error_set(err, ERR_INVALID, "%.100s: only keys on the curve P-256 are taken", name);
    }
    return ERR_OK;
}

enum error_code pki_pkey_fingerprint(EVP_PKEY *pkey, char ret_hex[PKI_FINGERPRINT_MAX],
                                     struct error *err)
{
    unsigned char *der = NULL;
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned size = 0;
    int len = i2d_PUBKEY(pkey, &der);
    bool had = len > 0 && EVP_Digest(der, (size_t)len, digest, &size, EVP_sha256(), NULL) == 1;
    OPENSSL_free(der);
    if (!had)
        return pki_error(err, ERR_INTERNAL, "the fingerprint of a key");
    text_hex(digest, size, ret_hex);
    return ERR_OK;
}

/* ---- Files ------------------------------------------------------------------------------------
 */

enum error_code pki_pkey_load(const char *path,
                              enum error_code (*check)(const EVP_PKEY *pkey, const char *name,
                                                       struct error *err),
                              EVP_PKEY **ret_pkey, struct error *err)
{
    AUTO_SECRET struct pki_secret text = {0};
    AUTO(EVP_PKEY_free) EVP_PKEY *pkey = NULL;
    enum error_code code = pki_secret_read(path, PKI_PEM_MAX, &text, err);
    if (code == ERR_OK)
        code = pki_pkey_parse(text.data, text.len, path, &pkey, err);
    if (code == ERR_OK)
        code = check(pkey, path, err);
    if (code == ERR_OK)
        *ret_pkey = TAKE(pkey);
    return code;
}

enum error_code pki_pkey_save(EVP_PKEY *pkey, const char *path, struct error *err)
{
    AUTO(BIO_free_all) BIO *bio = BIO_new(BIO_s_secmem()); /* wiped when it is freed */
    if (bio == NULL)
        return pki_error(err, ERR_NO_MEMORY, "%.100s", path);
    enum error_code code = pki_pkey_write(pkey, bio, err);
    if (code != ERR_OK)
        return code;
    char *text = NULL;
    long len = BIO_get_mem_data(bio, &text);
    return pki_file_write(path, text, (size_t)len, 0600, err);
}

enum error_code pki_key_load(const char *path, struct pki_key **ret_key, struct error *err)
{
    AUTO(EVP_PKEY_free) EVP_PKEY *pkey = NULL;
    enum error_code code = pki_pkey_load(path, pki_pkey_check, &pkey, err);
    if (code == ERR_OK)
        code = pki_key_wrap(pkey, ret_key, err);
    if (code == ERR_OK)
        pkey = NULL;
    return code;
}

enum error_code pki_key_save(const struct pki_key *key, const char *path, struct error *err)
{
    return pki_pkey_save(key->pkey, path, err);
}
