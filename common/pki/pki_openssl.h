/*
 * pki_openssl: what lies behind the opaque types, for this folder and for common/net, which hand
 * them to OpenSSL. Nobody else includes it.
 *
 * OpenSSL keeps a queue of errors per thread, and its TLS takes what it finds there for its own:
 * every function of this folder leaves the queue empty.
 *
 * Threading: no shared state. I/O: none.
 */
#pragma once

#include "common/base/cleanup.h"
#include "common/base/error.h"
#include "common/pki/pki_cert.h"
#include "common/pki/pki_key.h"
#include "common/pki/pki_verify.h"

#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/x509.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef STACK_OF(X509) pki_stack;

struct pki_key {
    EVP_PKEY *pkey;
};

struct pki_certs {
    pki_stack *list; /* at least one */
};

DEFINE_CLEANUP(pki_key_free, struct pki_key)
DEFINE_CLEANUP(pki_certs_free, struct pki_certs)
DEFINE_CLEANUP(EVP_PKEY_free, EVP_PKEY)
DEFINE_CLEANUP(X509_free, X509)
DEFINE_CLEANUP(X509_REQ_free, X509_REQ)
DEFINE_CLEANUP(X509_STORE_free, X509_STORE)
DEFINE_CLEANUP(X509_STORE_CTX_free, X509_STORE_CTX)
DEFINE_CLEANUP(BIO_free_all, BIO)

/* Sets "<text>: <what OpenSSL says>" and takes OpenSSL's errors away. The code is ERR_NO_MEMORY
 * when that is what it says, else `code`. */
enum error_code pki_error(struct error *err, enum error_code code, const char *fmt, ...)
    PRINTF_LIKE(3, 4);

/* Takes ownership on success only. */
enum error_code pki_key_wrap(EVP_PKEY *pkey, struct pki_key **ret_key,
                             struct error *err) MUST_CHECK;
enum error_code pki_certs_wrap(pki_stack *list, struct pki_certs **ret_certs,
                               struct error *err) MUST_CHECK;
void pki_stack_free(pki_stack *list);
DEFINE_CLEANUP(pki_stack_free, pki_stack)

/* Another owner of the same: neither is ever changed. */
enum error_code pki_key_share(const struct pki_key *key, struct pki_key **ret_key,
                              struct error *err) MUST_CHECK;
enum error_code pki_certs_share(const struct pki_certs *certs, struct pki_certs **ret_certs,
                                struct error *err) MUST_CHECK;

/* The private key in a PEM text; `name` is for messages. ERR_INVALID. */
enum error_code pki_pkey_parse(const char *pem, size_t len, const char *name, EVP_PKEY **ret_pkey,
                               struct error *err) MUST_CHECK;
/* Writes a private key behind what the BIO has. */
enum error_code pki_pkey_write(EVP_PKEY *pkey, BIO *bio, struct error *err) MUST_CHECK;
/* A private key's file, read as pki_key_load says; `check` says whether it is of the right kind.
 * The file is written for its owner alone, and replaced as a whole. */
enum error_code pki_pkey_load(const char *path,
                              enum error_code (*check)(const EVP_PKEY *pkey, const char *name,
                                                       struct error *err),
                              EVP_PKEY **ret_pkey, struct error *err) MUST_CHECK;
enum error_code pki_pkey_save(EVP_PKEY *pkey, const char *path, struct error *err) MUST_CHECK;
/* ERR_INVALID unless it is a key on P-256. */
enum error_code pki_pkey_check(const EVP_PKEY *pkey, const char *name,
                               struct error *err) MUST_CHECK;

/* The key of a request that it has signed; caller owns. ERR_INVALID, ERR_LIMIT. */
enum error_code pki_csr_read(const char *pem, EVP_PKEY **ret_pkey, struct error *err) MUST_CHECK;

/* The facts of one certificate. ERR_INVALID: it has none that could be relied on. */
enum error_code pki_x509_facts(X509 *x509, struct pki_facts *ret_facts,
                               struct error *err) MUST_CHECK;
/* SHA-256 of a key's public half (SubjectPublicKeyInfo), lower-case hexadecimal. */
enum error_code pki_pkey_fingerprint(EVP_PKEY *pkey, char ret_hex[PKI_FINGERPRINT_MAX],
                                     struct error *err) MUST_CHECK;
bool pki_x509_fingerprint(const X509 *x509, char ret_hex[PKI_FINGERPRINT_MAX]);
int64_t pki_asn1_time_ms(const ASN1_TIME *time); /* INT64_MIN when it is no time */
enum { PKI_NAME_TEXT_MAX = 72 };
/* "CN=Kitsune CA 1f2e..." for messages; cut to fit. */
void pki_name_text(const X509_NAME *name, char ret_text[PKI_NAME_TEXT_MAX]);
enum { PKI_TIME_TEXT_MAX = 32 };
/* "2026-11-21T06:25:56Z" */
void pki_time_text(int64_t wall_ms, char ret_text[PKI_TIME_TEXT_MAX]);

/* What pki_verify does, for a chain that a TLS peer sent. `rest` may be NULL or contain the leaf.
 * *ret_reason, when it is refused: the X509_V_ERR_ that comes closest. */
enum error_code pki_x509_verify(X509 *leaf, pki_stack *rest, const struct pki_check *check,
                                int *ret_reason, struct error *err) MUST_CHECK;
