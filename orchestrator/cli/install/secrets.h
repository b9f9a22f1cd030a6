/*
 * secrets: passwords and passphrases: each is asked for once, whoever of many wants it, and wiped
 * in the end. One that was refused is not tried on further hosts.
 *
 * Threading: any thread; one asks while the others wait. I/O: what `ask` does.
 */
#pragma once

#include "common/base/cleanup.h"
#include "common/base/error.h"

#include <stddef.h>

enum { SECRET_MAX = 1024, SECRETS_MAX = 64 };

struct secrets;

/* Reads one from a person, without its newline. Called by one thread at a time. */
typedef enum error_code secrets_ask_fn(void *ctx, const char *prompt, char *ret, size_t size,
                                       struct error *err);

struct secrets *secrets_new(secrets_ask_fn *ask, void *ctx); /* NULL: no memory */
void secrets_free(struct secrets *secrets);
DEFINE_CLEANUP(secrets_free, struct secrets)

/* The secret of that name, which the prompt shows: "password of root", "passphrase of FILE". The
 * caller wipes *ret (secret_wipe). ERR_DENIED: it was refused before; and what `ask` says. */
enum error_code secrets_get(struct secrets *secrets, const char *name, char ret[SECRET_MAX],
                            struct error *err) MUST_CHECK;
/* How it did. One refusal before any success makes it bad for all. */
void secrets_used(struct secrets *secrets, const char *name, bool good);

void secret_wipe(char secret[SECRET_MAX]);
#define AUTO_WIPED __attribute__((cleanup(secret_wiped)))
static inline void secret_wiped(char (*secret)[SECRET_MAX])
{
    secret_wipe(*secret);
}
