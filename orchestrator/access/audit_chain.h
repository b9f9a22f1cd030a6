/*
 * audit_chain: how the entries of the audit log hold together (see audit.h), for the orchestrator,
 * which makes them, and for whoever checks them elsewhere, as kitsune(1) does: what an orchestrator
 * says of its own log is worth nothing once that was taken over.
 *
 * Pure. Threading: no shared state. I/O: none.
 */
#pragma once

#include "orchestrator/access/audit.h"

/* The hash of an entry that comes behind the one with the hash `before`. NULL is another text than
 * an empty one. ERR_NO_MEMORY. */
enum error_code audit_chain_hash(const struct audit_entry *entry, const char *before,
                                 char ret_hash[AUDIT_HASH_BUFFER], struct error *err) MUST_CHECK;

/* A walk from the first entry to the last. */
struct audit_walk {
    struct audit_head head;            /* of the entries so far */
    const struct audit_head *expected; /* one that was kept; NULL: none */
    bool met;                          /* it is among them */
};
void audit_walk_begin(struct audit_walk *walk, const struct audit_head *expected);
/* The next entry. ERR_CORRUPT: it does not fit. */
enum error_code audit_walk_on(struct audit_walk *walk, const struct audit_entry *entry,
                              struct error *err) MUST_CHECK;
/* After the last. ERR_CORRUPT: the one that was kept is not in the log. */
enum error_code audit_walk_end(const struct audit_walk *walk, struct error *err) MUST_CHECK;
