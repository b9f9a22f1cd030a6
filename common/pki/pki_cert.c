#include "common/pki/pki_cert.h"

#include "common/base/text.h"
#include "common/pki/pki_file.h"
#include "common/pki/pki_openssl.h"

#include <assert.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <string.h>

enum {
    SERIAL_BYTES_MAX = (PKI_SERIAL_MAX - 1) / 2,
    SERIAL_BYTES_MIN = 16, /* shorter ones get zeros in front: one number has one text */
    FINGERPRINT_BYTES = (PKI_FINGERPRINT_MAX - 1) / 2
};

/* ---- Reading ----------------------------------------------------------------------------------
 */

/* True at the end of the text, too: that is what this error means. */
static bool pem_ended(void)
{
    unsigned long what = ERR_peek_last_error();
    return ERR_GET_LIB(what) == ERR_LIB_PEM && ERR_GET_REASON(what) == PEM_R_NO_START_LINE;
}

static enum error_code list_read(BIO *bio, const char *name, pki_stack *list, struct error *err)
{
    for (;;) {
        AUTO(X509_free) X509 *x509 = PEM_read_bio_X509(bio, NULL, NULL, NULL);
        if (x509 == NULL)
            break;
        if (sk_X509_num(list) == PKI_CERTS_MAX)
            return error_set(err, ERR_LIMIT, "%.100s: more than %d certificates", name,
                             PKI_CERTS_MAX);
        if (sk_X509_push(list, x509) == 0)
            return error_set(err, ERR_NO_MEMORY, NULL);
        x509 = NULL;
    }
    if (!pem_ended())
        return pki_error(err, ERR_INVALID, "%.100s: a certificate in it is damaged", name);
    ERR_clear_error();
    if (sk_X509_num(list) == 0)
        return error_set(err, ERR_INVALID,
                         "%.100s: there is no certificate in it (\"-----BEGIN CERTIFICATE-----\")",
                         name);
    return ERR_OK;
}

enum error_code pki_certs_parse(const char *pem, size_t len, const char *name,
                                struct pki_certs **ret_certs, struct error *err)
{
    if (len > PKI_PEM_MAX)
        return error_set(err, ERR_LIMIT, "%.100s: longer than %d bytes", name, PKI_PEM_MAX);
    AUTO(BIO_free_all) BIO *bio = BIO_new_mem_buf(pem, (int)len);
    AUTO(pki_stack_free) pki_stack *list = sk_X509_new_null();
    if (bio == NULL || list == NULL)
        return pki_error(err, ERR_NO_MEMORY, "%.100s", name);
    enum error_code code = list_read(bio, name, list, err);
    if (code == ERR_OK)
        code = pki_certs_wrap(list, ret_certs, err);
    if (code == ERR_OK)
        list = NULL;
    return code;
}

enum error_code pki_certs_load(const char *path, struct pki_certs **ret_certs, struct error *err)
{
    AUTO_BUF struct buf text = BUF_INIT;
    enum error_code code = pki_file_read(path, PKI_PEM_MAX, &text, err);
    if (code != ERR_OK)
        return code;
    return pki_certs_parse(text.data == NULL ? "" : text.data, text.len, path, ret_certs, err);
}

/* ---- Writing ----------------------------------------------------------------------------------
 */

static enum error_code list_write(const struct pki_certs *certs, BIO *bio, struct error *err)
{
    for (int i = 0; i < sk_X509_num(certs->list); i++) {
        if (PEM_write_bio_X509(bio, sk_X509_value(certs->list, i)) != 1)
            return pki_error(err, ERR_INTERNAL, "writing a certificate as text");
    }
    return ERR_OK;
}

enum error_code pki_certs_pem(const struct pki_certs *certs, struct buf *out, struct error *err)
{
    AUTO(BIO_free_all) BIO *bio = BIO_new(BIO_s_mem());
    if (bio == NULL)
        return pki_error(err, ERR_NO_MEMORY, "writing a certificate as text");
    enum error_code code = list_write(certs, bio, err);
    if (code != ERR_OK)
        return code;
    char *text = NULL;
    long len = BIO_get_mem_data(bio, &text);
    buf_append(out, text, (size_t)len);
    return buf_check(out, err);
}

enum error_code pki_certs_save(const struct pki_certs *certs, const char *path, struct error *err)
{
    AUTO_BUF struct buf text = BUF_INIT;
    enum error_code code = pki_certs_pem(certs, &text, err);
    if (code == ERR_OK)
        code = pki_file_write(path, text.data, text.len, 0644, err);
    return code;
}

/* ---- What it says -----------------------------------------------------------------------------
 */

bool pki_x509_fingerprint(const X509 *x509, char ret_hex[PKI_FINGERPRINT_MAX])
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned len = 0;
    bool had = X509_digest(x509, EVP_sha256(), digest, &len) == 1 && len == FINGERPRINT_BYTES;
    ERR_clear_error();
    if (had)
        text_hex(digest, FINGERPRINT_BYTES, ret_hex);
    return had;
}

static bool serial_text(const X509 *x509, char ret_text[PKI_SERIAL_MAX])
{
    const ASN1_INTEGER *serial = X509_get0_serialNumber(x509);
    const unsigned char *bytes = ASN1_STRING_get0_data(serial);
    int len = ASN1_STRING_length(serial);
    if (ASN1_STRING_type(serial) != V_ASN1_INTEGER || len < 1 || len > SERIAL_BYTES_MAX)
        return false;
    size_t zeros = len < SERIAL_BYTES_MIN ? SERIAL_BYTES_MIN - (size_t)len : 0;
    memset(ret_text, '0', 2 * zeros);
    text_hex(bytes, (size_t)len, ret_text + 2 * zeros);
    return true;
}

/* A URI among the names; NULL when it is none, or not one line of plain characters. */
static const char *uri_of(const GENERAL_NAME *name)
{
    int type = 0;
    const ASN1_STRING *value = GENERAL_NAME_get0_value(name, &type);
    if (type != GEN_URI)
        return NULL;
    const char *text = (const char *)ASN1_STRING_get0_data(value);
    size_t len = (size_t)ASN1_STRING_length(value);
    if (len >= PKI_IDENTITY_MAX || strlen(text) != len)
        return "";
    for (size_t i = 0; i < len; i++) {
        if (text[i] <= ' ' || text[i] > '~')
            return "";
    }
    return text;
}

/* False: its names cannot be read. */
static bool identity_text(const X509 *x509, char ret_text[PKI_IDENTITY_MAX])
{
    int critical = 0;
    GENERAL_NAMES *names = X509_get_ext_d2i(x509, NID_subject_alt_name, &critical, NULL);
    if (names == NULL)
        return critical == -1; /* it has no such field */
    size_t count = 0;
    for (int i = 0; i < sk_GENERAL_NAME_num(names); i++) {
        const char *uri = uri_of(sk_GENERAL_NAME_value(names, i));
        if (uri == NULL)
            continue;
        count++;
        (void)stpncpy(ret_text, uri, PKI_IDENTITY_MAX - 1);
    }
    GENERAL_NAMES_free(names);
    if (count != 1)
        ret_text[0] = '\0';
    return true;
}

enum error_code pki_x509_facts(X509 *x509, struct pki_facts *ret_facts, struct error *err)
{
    struct pki_facts facts = {
        .not_before_ms = pki_asn1_time_ms(X509_get0_notBefore(x509)),
        .not_after_ms = pki_asn1_time_ms(X509_get0_notAfter(x509)),
    };
    bool had = facts.not_before_ms != INT64_MIN && facts.not_after_ms != INT64_MIN &&
               serial_text(x509, facts.serial) && pki_x509_fingerprint(x509, facts.fingerprint) &&
               identity_text(x509, facts.identity);
    ERR_clear_error();
    if (!had)
        return error_set(err, ERR_INVALID,
                         "the certificate's times, serial number or names are malformed");
    *ret_facts = facts;
    return ERR_OK;
}

size_t pki_certs_count(const struct pki_certs *certs)
{
    return (size_t)sk_X509_num(certs->list);
}

enum error_code pki_certs_facts(const struct pki_certs *certs, size_t index,
                                struct pki_facts *ret_facts, struct error *err)
{
    assert(index < pki_certs_count(certs));
    return pki_x509_facts(sk_X509_value(certs->list, (int)index), ret_facts, err);
}

/* ---- A key and its certificate ----------------------------------------------------------------
 */

enum error_code pki_pair_check(const struct pki_key *key, const struct pki_certs *certs,
                               const char *name, struct error *err)
{
    const EVP_PKEY *certified = X509_get0_pubkey(sk_X509_value(certs->list, 0));
    bool same = certified != NULL && EVP_PKEY_eq(certified, key->pkey) == 1;
    ERR_clear_error();
    if (!same)
        return error_set(err, ERR_CONFLICT,
                         "%.120s: the key does not belong to the certificate; use the key that the "
                         "certificate was made for, or have a new one signed for this key",
                         name);
    return ERR_OK;
}

enum error_code pki_pair_parse(const struct pki_secret *text, const char *name,
                               struct pki_key **ret_key, struct pki_certs **ret_certs,
                               struct error *err)
{
    AUTO(EVP_PKEY_free) EVP_PKEY *pkey = NULL;
    AUTO(pki_key_free) struct pki_key *key = NULL;
    AUTO(pki_certs_free) struct pki_certs *certs = NULL;
    enum error_code code = pki_pkey_parse(text->data, text->len, name, &pkey, err);
    if (code == ERR_OK)
        code = pki_pkey_check(pkey, name, err);
    if (code == ERR_OK)
        code = pki_key_wrap(pkey, &key, err);
    if (code != ERR_OK)
        return code;
    pkey = NULL;
    /* Not from the beginning: on its way past the key OpenSSL would leave a copy of it in memory.
     */
    const char *rest = strstr(text->data, "-----BEGIN CERTIFICATE-----");
    code = pki_certs_parse(rest == NULL ? "" : rest, rest == NULL ? 0 : strlen(rest), name, &certs,
                           err);
    if (code != ERR_OK)
        return code;
    assert(key != NULL && certs != NULL);
    code = pki_pair_check(key, certs, name, err);
    if (code != ERR_OK)
        return code;
    *ret_key = TAKE(key);
    *ret_certs = TAKE(certs);
    return ERR_OK;
}

enum error_code pki_pair_load(const char *path, struct pki_key **ret_key,
                              struct pki_certs **ret_certs, struct error *err)
{
    AUTO_SECRET struct pki_secret text = {0};
    enum error_code code = pki_secret_read(path, PKI_PEM_MAX, &text, err);
    if (code == ERR_OK)
        code = pki_pair_parse(&text, path, ret_key, ret_certs, err);
    return code;
}

/* The BIO's memory is wiped when it is freed. */
static enum error_code pair_write(const struct pki_key *key, const struct pki_certs *certs,
                                  BIO *bio, struct error *err)
{
    enum error_code code = pki_pkey_write(key->pkey, bio, err);
    return code == ERR_OK ? list_write(certs, bio, err) : code;
}

enum error_code pki_pair_text(const struct pki_key *key, const struct pki_certs *certs,
                              struct pki_secret *ret_text, struct error *err)
{
    AUTO(BIO_free_all) BIO *bio = BIO_new(BIO_s_secmem());
    if (bio == NULL)
        return pki_error(err, ERR_NO_MEMORY, "a key and its certificate as text");
    enum error_code code = pair_write(key, certs, bio, err);
    if (code != ERR_OK)
        return code;
    char *text = NULL;
    long len = BIO_get_mem_data(bio, &text);
    char *copy = OPENSSL_zalloc((size_t)len + 1);
    if (copy == NULL)
        return pki_error(err, ERR_NO_MEMORY, "a key and its certificate as text");
    memcpy(copy, text, (size_t)len);
    *ret_text = (struct pki_secret){.data = copy, .len = (size_t)len};
    return ERR_OK;
}

enum error_code pki_pair_save(const struct pki_key *key, const struct pki_certs *certs,
                              const char *path, struct error *err)
{
    enum error_code code = pki_pair_check(key, certs, path, err);
    if (code != ERR_OK)
        return code;
    AUTO(BIO_free_all) BIO *bio = BIO_new(BIO_s_secmem());
    if (bio == NULL)
        return pki_error(err, ERR_NO_MEMORY, "%.100s", path);
    code = pair_write(key, certs, bio, err);
    if (code != ERR_OK)
        return code;
    char *text = NULL;
    long len = BIO_get_mem_data(bio, &text);
    return pki_file_write(path, text, (size_t)len, 0600, err);
}
