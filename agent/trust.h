/*
 * trust: what an agent with trusted keys demands of an execute before it takes it on: that enough
 * of those keys have signed exactly what it would do, for this server and for this time. Whether it
 * was done before is for the agent's journal to tell.
 *
 * The keys are read once, when the agent starts. docs/signing.md has the rules and the reasons.
 *
 * Threading: constants once read. I/O: trust_load reads the file.
 */
#pragma once

#include "common/base/cleanup.h"
#include "common/base/error.h"
#include "common/wire/wire.h"

#include <stddef.h>
#include <stdint.h>

struct trust;

/* Reads a file of seal_keys.h. ERR_DENIED: somebody else than root and this user could change it,
 * or a folder on the way to it; the message says how to put it right. ERR_INVALID, ERR_NOT_FOUND,
 * ERR_NO_MEMORY. Caller owns. */
enum error_code trust_load(const char *path, struct trust **ret_trust,
                           struct error *err) MUST_CHECK;
/* The same of keys from anywhere. */
enum error_code trust_parse(const char *name, const char *text, size_t len,
                            struct trust **ret_trust, struct error *err) MUST_CHECK;
void trust_free(struct trust *trust); /* NULL is fine */
DEFINE_CLEANUP(trust_free, struct trust)

/* "2 of 3": how many keys of how many must have signed. */
enum { TRUST_TEXT_MAX = 32 };
void trust_describe(const struct trust *trust, char ret_text[TRUST_TEXT_MAX]);

/* ERR_DENIED: it must not be begun, with why. ERR_NO_MEMORY, ERR_INTERNAL: that is not known. */
enum error_code trust_check(const struct trust *trust, const char *server,
                            const struct wire_execute *execute, int64_t now_ms,
                            struct error *err) MUST_CHECK;
