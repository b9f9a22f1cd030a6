/*
 * pki_verify: whether a certificate is to be believed (RFC 5280, section 6; names by RFC 6125).
 *
 * Time is a parameter. Nothing is looked up elsewhere: revocation is the caller's, by serial
 * number.
 *
 * Threading: no shared state. I/O: none.
 */
#pragma once

#include "common/base/error.h"
#include "common/pki/pki_cert.h"

#include <stdint.h>

enum pki_purpose {
    PKI_PURPOSE_SERVER, /* may answer as a TLS server */
    PKI_PURPOSE_CLIENT  /* may show itself as a TLS client */
};

/* What is asked of a certificate. */
struct pki_check {
    const struct pki_certs *ca; /* those who may have signed it; NULL: see ca_fingerprint */
    /* The SHA-256 fingerprint of the one who may have signed it, where that certificate is not at
     * hand but among those presented. Colons and upper case are fine. */
    const char *ca_fingerprint;
    enum pki_purpose purpose;
    const char *host; /* DNS name or IP address that it must be for; NULL: any */
    int64_t now_ms;   /* wall clock */
    const char *name; /* in messages: "the server's certificate" */
};

/* The first certificate is the one in question, the others may lead up to the CA. ERR_DENIED: the
 * message says which rule it breaks and what to do. */
enum error_code pki_verify(const struct pki_certs *certs, const struct pki_check *check,
                           struct error *err) MUST_CHECK;
/* ERR_INVALID: not 64 hexadecimal digits, with or without colons. */
enum error_code pki_fingerprint_parse(const char *text, char ret_hex[PKI_FINGERPRINT_MAX],
                                      struct error *err) MUST_CHECK;
