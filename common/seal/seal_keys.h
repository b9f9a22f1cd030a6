/*
 * seal_keys: the keys of the people who may sign plans, and how many of them must have signed one.
 * As text, one a line, with comments behind #:
 *
 *     threshold 2
 *     ed25519 3b6a27bcceb6a42d62a3a8d02a6f0d73653215771de243a63ac048a18b59da29 alice@bastion
 *
 * Threading: constants once read. I/O: seal_keys_load reads the file.
 */
#pragma once

#include "common/base/cleanup.h"
#include "common/pki/pki_sign.h"
#include "common/seal/seal.h"

enum {
    SEAL_KEYS_MAX = 64,
    SEAL_KEY_NAME_MAX = 64,                                                       /* bytes */
    SEAL_KEYS_FILE_MAX = 64 * 1024,                                               /* bytes */
    SEAL_KEY_LINE_MAX = 8 + 2 * PKI_SIGN_PUBLIC_BYTES + 1 + SEAL_KEY_NAME_MAX + 1 /* with the NUL */
};

struct seal_key {
    struct pki_public public;
    char id[PKI_SIGN_KEY_ID_MAX];
    char name[SEAL_KEY_NAME_MAX + 1]; /* "": it has none */
};

struct seal_keys;

/* `name` is for messages: ERR_INVALID says the line and what would be right. ERR_NO_MEMORY. Caller
 * owns. */
enum error_code seal_keys_parse(const char *name, const char *text, size_t len,
                                struct seal_keys **ret_keys, struct error *err) MUST_CHECK;
/* The same of a file, whoever it belongs to. Also the errors of pki_file_read. */
enum error_code seal_keys_load(const char *path, struct seal_keys **ret_keys,
                               struct error *err) MUST_CHECK;
void seal_keys_free(struct seal_keys *keys); /* NULL is fine */
DEFINE_CLEANUP(seal_keys_free, struct seal_keys)

uint32_t seal_keys_threshold(const struct seal_keys *keys);
size_t seal_keys_count(const struct seal_keys *keys);
const struct seal_key *seal_keys_at(const struct seal_keys *keys, size_t i);

/* Whether that key has signed those bytes; also when it stands there several times, each with
 * another signature. ERR_NOT_FOUND: there is none by it; ERR_DENIED: none that is there fits. */
enum error_code seal_key_check(const struct seal_key *key, const struct plan_signing *signing,
                               const struct buf *statement, struct error *err) MUST_CHECK;
/* Whether enough of the keys have. ERR_DENIED says whose are missing. */
enum error_code seal_keys_check(const struct seal_keys *keys, const struct plan_signing *signing,
                                const struct buf *statement, struct error *err) MUST_CHECK;

/* A key's line, without a newline. */
void seal_key_line(const struct seal_key *key, char ret_line[SEAL_KEY_LINE_MAX]);
/* A key of that name; what a name may not have is left out of it. */
enum error_code seal_key_of(const struct pki_public *public, const char *name,
                            struct seal_key *ret_key, struct error *err) MUST_CHECK;
