/*
 * secrets: those of a plan, as they are found on this server for one operation: in the agent's
 * environment, or in files. They are looked up by the runner, immediately before a handler begins,
 * and are gone when it has ended.
 *
 * A file must be a regular one, belong to root or to the agent's user, and be writable by nobody
 * else. One newline at its end is not part of the secret. A secret is UTF-8 text without NUL, of
 * MASK_SECRET_MIN bytes to SECRET_MAX_BYTES.
 *
 * From the first one on the process writes no core (pki_keys_protect), and overwrites what it frees
 * (mem_wipe_freed).
 *
 * Threading: one thread at a time for each. I/O: reads files; they are small.
 */
#pragma once

#include "agent/mask.h"
#include "common/base/error.h"

#include <stdbool.h>

enum {
    SECRET_MAX_BYTES = 64 * 1024,
    SECRETS_MAX_BYTES = 256 * 1024 /* of one plan's together */
};

struct secrets;

/* `refs`: see struct plan, secrets_json. `planned`: the params of a step as they are in the plan;
 * those that they name must be found, the others may be missing. ERR_NOT_FOUND, ERR_DENIED,
 * ERR_INVALID, ERR_LIMIT: which one and why; never what it is. ERR_NO_MEMORY. Caller owns. */
enum error_code secrets_find(const char *refs, const char *planned, struct secrets **ret_secrets,
                             struct error *err) MUST_CHECK;
void secrets_free(struct secrets *s); /* wipes them; NULL is fine */
/* Whether `planned` names any. */
bool secrets_used(const struct secrets *s);
/* Fills them in: `params` is what has become of `planned`, `values` (may be NULL) what texts with
 * secrets name beside. ERR_CORRUPT: `values` are none; ERR_LIMIT, ERR_NO_MEMORY. Caller owns. */
enum error_code secrets_fill(const struct secrets *s, const char *planned, const char *params,
                             const char *values, char **ret_params, struct error *err) MUST_CHECK;
/* A mask of all that were found; NULL: there is none. ERR_NO_MEMORY. Caller owns. */
enum error_code secrets_mask(const struct secrets *s, struct mask **ret_mask,
                             struct error *err) MUST_CHECK;
