/*
 * seal: what exactly is signed of a plan: bytes in one fixed form, made from the plan as it is
 * understood and not from its text, so that whoever is about to act on it makes them anew from what
 * he will do. docs/signing.md describes them and says why.
 *
 * The statement, which the signatures are over, has hashes in it for the steps, the strategy and
 * the servers (seal_tree.h): an agent gets the steps in full, and of the servers only the proof
 * that it is one of them.
 *
 * Threading: no shared state. I/O: none.
 */
#pragma once

#include "common/base/buf.h"
#include "common/base/error.h"
#include "common/plan/plan.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    SEAL_HASH_BYTES = 32,
    SEAL_HASH_TEXT = 2 * SEAL_HASH_BYTES + 1, /* hexadecimal digits, with the NUL */
    /* How far clocks may be apart: that of the host that signs, and those of the agents. */
    SEAL_CLOCK_TOLERANCE_MS = 2 * 60 * 1000
};

/* SHA-256. */
struct seal_hash {
    uint8_t bytes[SEAL_HASH_BYTES];
};

/* What the plan says, in the form in which an agent knows it too. */
struct seal_statement {
    const char *name; /* of the plan; NULL: it has none */
    struct seal_hash steps, strategy, servers;
    uint32_t server_count;
    int scope; /* enum plan_scope */
    int64_t confirm_ms;
    const struct plan_signing *signing; /* version, nonce and times: not its signatures */
};

/* `steps`: struct plan_step, as they are to be run, with placeholders as they stand in the plan;
 * `vars`, `secrets`: see struct plan. ERR_NO_MEMORY, ERR_LIMIT. */
enum error_code seal_hash_steps(const struct array *steps, const char *vars, const char *secrets,
                                struct seal_hash *ret, struct error *err) MUST_CHECK;
enum error_code seal_hash_strategy(const struct plan_strategy *strategy, struct seal_hash *ret,
                                   struct error *err) MUST_CHECK;
/* Appends the bytes that are signed. ERR_UNSUPPORTED: another version than this one;
 * ERR_INVALID: a nonce that is none. */
enum error_code seal_write(const struct seal_statement *statement, struct buf *out,
                           struct error *err) MUST_CHECK;
/* Of those bytes: what `signing` carries as its digest. */
enum error_code seal_hash_bytes(const void *data, size_t len, struct seal_hash *ret,
                                struct error *err) MUST_CHECK;
/* Whether it is the time to begin. ERR_STALE: too late or too early, with both times. */
enum error_code seal_check_time(const struct plan_signing *signing, int64_t now_ms,
                                struct error *err) MUST_CHECK;
