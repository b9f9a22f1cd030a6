#include "common/pki/pki_ca.h"
#include "common/pki/pki_openssl.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <string.h>

enum error_code pki_csr_new(const struct pki_key *key, struct buf *out, struct error *err)
{
    AUTO(X509_REQ_free) X509_REQ *req = X509_REQ_new();
    AUTO(BIO_free_all) BIO *bio = BIO_new(BIO_s_mem());
    if (req == NULL || bio == NULL || X509_REQ_set_version(req, 0) != 1 ||
        X509_REQ_set_pubkey(req, key->pkey) != 1 ||
        X509_REQ_sign(req, key->pkey, EVP_sha256()) == 0 || PEM_write_bio_X509_REQ(bio, req) != 1)
        return pki_error(err, ERR_INTERNAL, "making a certificate request");
    char *text = NULL;
    long len = BIO_get_mem_data(bio, &text);
    buf_append(out, text, (size_t)len);
    return buf_check(out, err);
}

enum error_code pki_csr_read(const char *pem, EVP_PKEY **ret_pkey, struct error *err)
{
    size_t len = strnlen(pem, PKI_CSR_MAX + 1);
    if (len > PKI_CSR_MAX)
        return error_set(err, ERR_LIMIT, "certificate request: longer than %d bytes", PKI_CSR_MAX);
    AUTO(BIO_free_all) BIO *bio = BIO_new_mem_buf(pem, (int)len);
    if (bio == NULL)
        return pki_error(err, ERR_NO_MEMORY, "certificate request");
    AUTO(X509_REQ_free) X509_REQ *req = PEM_read_bio_X509_REQ(bio, NULL, NULL, NULL);
    if (req == NULL)
        return pki_error(err, ERR_INVALID, "that is no certificate request");
    AUTO(EVP_PKEY_free) EVP_PKEY *pkey = X509_REQ_get_pubkey(req);
    if (pkey == NULL)
        return pki_error(err, ERR_INVALID, "certificate request: its key cannot be read");
    enum error_code code = pki_pkey_check(pkey, "certificate request", err);
    if (code != ERR_OK)
        return code;
    if (X509_REQ_verify(req, pkey) != 1)
        return pki_error(err, ERR_INVALID,
                         "certificate request: its signature is not by the key in it");
    ERR_clear_error();
    *ret_pkey = TAKE(pkey);
    return ERR_OK;
}

enum error_code pki_csr_key(const char *pem, char ret_hex[PKI_FINGERPRINT_MAX], struct error *err)
{
    AUTO(EVP_PKEY_free) EVP_PKEY *pkey = NULL;
    enum error_code code = pki_csr_read(pem, &pkey, err);
    return code == ERR_OK ? pki_pkey_fingerprint(pkey, ret_hex, err) : code;
}
