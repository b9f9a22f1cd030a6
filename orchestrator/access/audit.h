/*
 * audit: the log of who did what: appended to, never changed, each entry bound to the one before it
 * by its hash, so that an entry that was altered, taken out or put in between is found.
 *
 * An entry's hash is SHA-256 over the former entry's hash (64 hexadecimal digits, zeroes before the
 * first) and the entry's fields, each with its length in front. Cutting entries off the end leaves
 * a chain that is whole: who wants to notice that keeps the head (number and hash) elsewhere, and
 * audit_verify compares it.
 *
 * Threading: as access.h. I/O: DIR/access.db.
 */
#pragma once

#include "orchestrator/access/access.h"

enum { AUDIT_HASH_BUFFER = 65, AUDIT_MAX_TEXT = 1024, AUDIT_MAX_READ = 1000 };

struct audit_entry {
    int64_t seq;        /* from 1, without gaps; set when it is appended */
    int64_t time_ms;    /* wall clock */
    const char *who;    /* a token's name, "uid 0", an agent's id; NULL: not known */
    const char *role;   /* NULL: none */
    const char *peer;   /* "127.0.0.1:51234" */
    const char *action; /* "rollout.submit" */
    const char *target; /* a rollout, a server, a token; NULL: none */
    const char *result; /* "ok", or the code of the refusal */
    const char *detail; /* for people; NULL: none */
    const char *hash;   /* set when it is appended */
};

/* Appends; texts are copied, cut at AUDIT_MAX_TEXT, and made well-formed UTF-8, and an empty one is
 * none, so that the hash is the same for those who get them as JSON. `done` may be NULL. */
enum error_code audit_append(struct access *a, const struct audit_entry *entry, access_done done,
                             void *ctx, struct error *err) MUST_CHECK;
/* Entries after `after`, at most `limit`, that are durable. Return false to stop. */
enum error_code audit_read(struct access *a, int64_t after, uint32_t limit,
                           bool (*each)(void *ctx, const struct audit_entry *entry), void *ctx,
                           struct error *err) MUST_CHECK;

struct audit_head {
    int64_t seq; /* 0: the log is empty */
    char hash[AUDIT_HASH_BUFFER];
};
/* Walks the whole log. ERR_CORRUPT names the first entry that does not fit, and why. `expected`
 * (may be NULL): a head that was kept; ERR_CORRUPT when the log no longer has it. *ret_head: the
 * present one. */
enum error_code audit_verify(struct access *a, const struct audit_head *expected,
                             struct audit_head *ret_head, struct error *err) MUST_CHECK;

/* The same in steps of AUDIT_MAX_READ entries, for who has other things to do meanwhile; the walk
 * is begun by audit_walk_begin (audit_chain.h). *ret_over: it was the last one. */
struct audit_walk;
enum error_code audit_verify_on(struct access *a, struct audit_walk *walk, bool *ret_over,
                                struct error *err) MUST_CHECK;

/* Looks at what is on the disk and changes nothing: the database itself, tokens, tickets and
 * certificates, and the audit log as audit_verify does. ERR_NOT_FOUND: there is none. */
enum error_code access_check(const char *dir, struct audit_head *ret_head,
                             struct error *err) MUST_CHECK;
