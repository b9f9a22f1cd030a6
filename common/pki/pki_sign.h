/*
 * pki_sign: signatures over bytes: Ed25519 (RFC 8032), keys in PEM files (RFC 8410).
 *
 * Threading: no shared state; a signer may be used by one thread at a time. I/O: the files named.
 */
#pragma once

#include "common/base/buf.h"
#include "common/base/error.h"

#include <stddef.h>
#include <stdint.h>

enum {
    PKI_SIGN_PUBLIC_BYTES = 32,
    PKI_SIGNATURE_BYTES = 64,
    PKI_SIGN_KEY_ID_MAX = 16 + 1 /* with the NUL */
};

struct pki_signer; /* a private key */

struct pki_public {
    uint8_t bytes[PKI_SIGN_PUBLIC_BYTES];
};

enum error_code pki_signer_new(struct pki_signer **ret_signer, struct error *err) MUST_CHECK;
/* Refuses files that others may read, as pki_key_load does. */
enum error_code pki_signer_load(const char *path, struct pki_signer **ret_signer,
                                struct error *err) MUST_CHECK;
enum error_code pki_signer_save(const struct pki_signer *signer, const char *path,
                                struct error *err) MUST_CHECK;
void pki_signer_free(struct pki_signer *signer);
enum error_code pki_signer_public(const struct pki_signer *signer, struct pki_public *ret_public,
                                  struct error *err) MUST_CHECK;

enum error_code pki_sign(const struct pki_signer *signer, const void *data, size_t len,
                         uint8_t ret_signature[PKI_SIGNATURE_BYTES], struct error *err) MUST_CHECK;
/* ERR_DENIED: the signature is not this key's over these bytes. */
enum error_code pki_sign_check(const struct pki_public *key, const void *data, size_t len,
                               const uint8_t signature[PKI_SIGNATURE_BYTES],
                               struct error *err) MUST_CHECK;

/* The public key in a PEM text; `name` is for messages. ERR_INVALID. */
enum error_code pki_public_parse(const char *pem, size_t len, const char *name,
                                 struct pki_public *ret_public, struct error *err) MUST_CHECK;
enum error_code pki_public_pem(const struct pki_public *key, struct buf *out,
                               struct error *err) MUST_CHECK;
/* The first 16 hexadecimal digits of the SHA-256 of the 32 bytes. */
enum error_code pki_public_id(const struct pki_public *key, char ret_id[PKI_SIGN_KEY_ID_MAX],
                              struct error *err) MUST_CHECK;
