/*
 * pki_cert: certificates (X.509 version 3, RFC 5280) in PEM (RFC 7468): one, or several in the
 * order of the text. What somebody presents is its own certificate first; what somebody trusts is a
 * set.
 *
 * Threading: one thread at a time. I/O: the files named.
 */
#pragma once

#include "common/base/buf.h"
#include "common/base/error.h"
#include "common/pki/pki_file.h"
#include "common/pki/pki_key.h"

#include <stddef.h>
#include <stdint.h>

struct pki_certs;

enum {
    PKI_CERTS_MAX = 8,           /* certificates in one text */
    PKI_PEM_MAX = 64 * 1024,     /* bytes of a text */
    PKI_IDENTITY_MAX = 160,      /* with the NUL */
    PKI_SERIAL_MAX = 20 * 2 + 1, /* RFC 5280, 4.1.2.2: at most 20 octets */
    PKI_FINGERPRINT_MAX = 32 * 2 + 1
};

/* What a certificate says. */
struct pki_facts {
    /* The URI that it names, "kitsune:agent:web-1"; "" when it names none, or more than one. */
    char identity[PKI_IDENTITY_MAX];
    char serial[PKI_SERIAL_MAX];           /* lower-case hexadecimal, at least 32 digits */
    char fingerprint[PKI_FINGERPRINT_MAX]; /* SHA-256 of the whole, lower-case hexadecimal */
    int64_t not_before_ms;                 /* wall clock */
    int64_t not_after_ms;
};

/* `name` says in messages what the text is: a path, "the server's certificate". ERR_INVALID: it has
 * no certificate, or one is damaged; ERR_LIMIT. */
enum error_code pki_certs_parse(const char *pem, size_t len, const char *name,
                                struct pki_certs **ret_certs, struct error *err) MUST_CHECK;
enum error_code pki_certs_load(const char *path, struct pki_certs **ret_certs,
                               struct error *err) MUST_CHECK;
/* Readable for everybody; replaces the file as a whole. */
enum error_code pki_certs_save(const struct pki_certs *certs, const char *path,
                               struct error *err) MUST_CHECK;
/* Appends the PEM text. */
enum error_code pki_certs_pem(const struct pki_certs *certs, struct buf *out,
                              struct error *err) MUST_CHECK;
void pki_certs_free(struct pki_certs *certs);

size_t pki_certs_count(const struct pki_certs *certs);
/* ERR_INVALID: what it says cannot be relied on (no time, a serial number that is too long). */
enum error_code pki_certs_facts(const struct pki_certs *certs, size_t index,
                                struct pki_facts *ret_facts, struct error *err) MUST_CHECK;

/* ---- A key and its certificate ----------------------------------------------------------------
 * In one file, so that a crash between the two cannot leave a key without its certificate.
 */

/* ERR_CONFLICT: the (first) certificate is another key's. `name` is for the message. */
enum error_code pki_pair_check(const struct pki_key *key, const struct pki_certs *certs,
                               const char *name, struct error *err) MUST_CHECK;
/* As pki_key_load, and ERR_CONFLICT as above. */
enum error_code pki_pair_load(const char *path, struct pki_key **ret_key,
                              struct pki_certs **ret_certs, struct error *err) MUST_CHECK;
/* The text of such a file, and back: for handing a pair to another process of the same program.
 * `name` is for messages. */
enum error_code pki_pair_text(const struct pki_key *key, const struct pki_certs *certs,
                              struct pki_secret *ret_text, struct error *err) MUST_CHECK;
enum error_code pki_pair_parse(const struct pki_secret *text, const char *name,
                               struct pki_key **ret_key, struct pki_certs **ret_certs,
                               struct error *err) MUST_CHECK;
enum error_code pki_pair_save(const struct pki_key *key, const struct pki_certs *certs,
                              const char *path, struct error *err) MUST_CHECK;
