/*
 * pki_key: private keys for certificates: ECDSA on P-256 (FIPS 186, RFC 5480), in files as PKCS #8
 * in PEM (RFC 5958, RFC 7468).
 *
 * A key leaves this folder and common/net as text only for another process of the same program
 * (pki_pair_text); it is wiped when it is freed. Key files are made for their owner alone, and one
 * that others could read is refused.
 *
 * Threading: a key may be used by one thread at a time. I/O: the files named.
 */
#pragma once

#include "common/base/error.h"

#include <stdbool.h>

struct pki_key;

/* Once, when a program starts, before its first key: keeps the process's memory from core dumps and
 * from debuggers of the same user. False: the system does not grant it. */
bool pki_keys_protect(void);

enum error_code pki_key_new(struct pki_key **ret_key, struct error *err) MUST_CHECK;
/* ERR_DENIED: others may read it, or it is somebody else's; ERR_NOT_FOUND; ERR_INVALID: no such key
 * in it. */
enum error_code pki_key_load(const char *path, struct pki_key **ret_key,
                             struct error *err) MUST_CHECK;
/* Replaces the file as a whole: after a crash there is the old or the new one. */
enum error_code pki_key_save(const struct pki_key *key, const char *path,
                             struct error *err) MUST_CHECK;
void pki_key_free(struct pki_key *key);
