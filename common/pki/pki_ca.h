/*
 * pki_ca: a certificate authority of one's own (RFC 5280): its key and certificate, and what it
 * signs. Path length 0: whom it signs can sign nobody.
 *
 * What a certificate says is the signer's decision alone. Of a request (PKCS #10, RFC 2986) only
 * the key is taken, once its signature has shown that the requester holds it.
 *
 * Threading: one thread at a time. I/O: the files named.
 */
#pragma once

#include "common/base/buf.h"
#include "common/base/error.h"
#include "common/pki/pki_cert.h"
#include "common/pki/pki_key.h"

#include <stddef.h>
#include <stdint.h>

struct pki_ca;

enum {
    PKI_BACKDATE_MS = 5 * 60 * 1000, /* begun earlier by this, for clocks that are behind */
    PKI_CSR_MAX = 8 * 1024,          /* bytes of a request's text */
    PKI_HOSTS_MAX = 32               /* names in a server's certificate */
};

/* From now_ms (wall clock) on, for so long; never longer than the CA itself lasts. */
struct pki_validity {
    int64_t now_ms;
    int64_t lifetime_ms;
};

/* Makes a key and a certificate of its own for it. The name ("Kitsune CA 5f0c...") has a part of
 * the key's fingerprint in it, so that messages tell two CAs apart. */
enum error_code pki_ca_new(const struct pki_validity *validity, struct pki_ca **ret_ca,
                           struct error *err) MUST_CHECK;
/* ERR_CONFLICT: the key is not the certificate's; ERR_INVALID: that is no CA's certificate. */
enum error_code pki_ca_load(const char *key_path, const char *cert_path, struct pki_ca **ret_ca,
                            struct error *err) MUST_CHECK;
/* The key first: where there is a certificate, there is its key. */
enum error_code pki_ca_save(const struct pki_ca *ca, const char *key_path, const char *cert_path,
                            struct error *err) MUST_CHECK;
void pki_ca_free(struct pki_ca *ca);
const struct pki_certs *pki_ca_certs(const struct pki_ca *ca); /* borrowed until it is freed */

/* A server's certificate for DNS names and IP addresses, with the CA's behind it: one who knows
 * only the CA's fingerprint finds it there. ERR_INVALID names the host that is none; ERR_DENIED:
 * the CA is expired or not yet valid. */
enum error_code pki_ca_sign_server(const struct pki_ca *ca, const struct pki_key *key,
                                   const char *const *hosts, const struct pki_validity *validity,
                                   struct pki_certs **ret_certs, struct error *err) MUST_CHECK;
/* A client's certificate for the key of a request. `identity`: "kitsune:agent:web-1", of letters,
 * digits and :._- ; becomes the certificate's only name of weight (SAN URI), the part behind the
 * last colon also its common name, for people. ERR_INVALID: not a request, or not signed by its own
 * key, or a key of another kind. */
enum error_code pki_ca_sign_client(const struct pki_ca *ca, const char *csr_pem,
                                   const char *identity, const struct pki_validity *validity,
                                   struct pki_certs **ret_certs, struct error *err) MUST_CHECK;

/* Appends a request for a certificate in PEM, signed by the key. It names nothing: see above. */
enum error_code pki_csr_new(const struct pki_key *key, struct buf *out,
                            struct error *err) MUST_CHECK;
/* By which the key of a request is known again: the SHA-256 of its SubjectPublicKeyInfo. Errors: as
 * pki_ca_sign_client. */
enum error_code pki_csr_key(const char *pem, char ret_hex[PKI_FINGERPRINT_MAX],
                            struct error *err) MUST_CHECK;
