/*
 * access: who may do what on this orchestrator: tokens of people, enrolment and certificates of
 * agents. Kept in DIR/access.db, apart from the journal, so that neither can fill or damage the
 * other; the audit log (audit.h) is in the same file.
 *
 * Secrets are 256 random bits and are never stored: what is stored is their SHA-256, which is
 * enough for secrets that nobody chose. A secret is told once, by the call that makes it.
 *
 * Questions are answered from memory. Changes are durable before `done` says so; a revocation
 * counts from the call on.
 *
 * Threading: all calls on the owner's thread; `wake` comes on another one and must only signal the
 * owner's loop, which then calls access_collect. I/O: the data directory.
 */
#pragma once

#include "common/base/array.h"
#include "common/base/buf.h"
#include "common/base/cleanup.h"
#include "common/base/error.h"
#include "common/base/id.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct access;

enum {
    ACCESS_SECRET_BYTES = 32,
    ACCESS_SECRET_BUFFER = 4 + 43 + 1, /* prefix, base64url without padding, NUL */
    ACCESS_MAX_TOKENS = 10000,
    ACCESS_MAX_SCOPE = 256,        /* patterns or step types in one scope */
    ACCESS_MAX_CERTIFICATES = 8,   /* of one server, good at once */
    ACCESS_SERIAL_BUFFER = 41,     /* hexadecimal, RFC 5280 section 4.1.2.2: at most 20 bytes */
    ACCESS_FINGERPRINT_BUFFER = 65 /* SHA-256, hexadecimal */
};

/* In rising order: each may do what those before it may. */
#define ACCESS_ROLES(X)                                                                            \
    X(ROLE_NOBODY, "nobody")     /* not authenticated */                                           \
    X(ROLE_VIEWER, "viewer")     /* looks */                                                       \
    X(ROLE_OPERATOR, "operator") /* starts, stops and undoes rollouts */                           \
    X(ROLE_ADMIN, "admin")       /* gives access, to people and agents */
#define X(value, name) value,
enum access_role { ACCESS_ROLES(X) ROLE_COUNT };
#undef X
extern const char *const access_role_names[ROLE_COUNT];
bool access_role_parse(const char *text, enum access_role *ret_role);

/* What a token is confined to. Empty lists: no confinement. */
struct access_scope {
    struct array servers; /* const char *; ids, in which * stands for any characters */
    struct array steps;   /* const char *; step types */
};
/* True when the scope lets the server, or the step type, be used. */
bool access_scope_server(const struct access_scope *scope, const char *server);
bool access_scope_step(const struct access_scope *scope, const char *type);

/* Opens or makes DIR/access.db (DIR must exist; mode 0600). */
enum error_code access_open(const char *dir, void (*wake)(void *ctx), void *wake_ctx,
                            struct access **ret_access, struct error *err) MUST_CHECK;
/* Waits until what was changed is durable, calls the remaining `done`s, closes. NULL is fine. */
void access_close(struct access *a);
/* Calls the `done`s of what has become durable. After each wake. */
void access_collect(struct access *a);
/* True while nothing can be made durable (*ret_final: never again). access_retry tries again. */
bool access_stalled(struct access *a, bool *ret_final, struct error *ret_why);
void access_retry(struct access *a);

/* `err` is NULL on ERR_OK. Comes out of access_collect or access_close. */
typedef void (*access_done)(void *ctx, enum error_code result, const struct error *err);

/* ---- People ------------------------------------------------------------------------------------
 */

struct access_token {
    const char *name; /* an id, unique among those that are not revoked */
    enum access_role role;
    struct access_scope scope;
    int64_t created_ms, expires_ms; /* wall clock; expires 0: never */
    const char *created_by;         /* NULL: not said */
};
/* Makes a token; the secret is *ret_secret. ERR_EXISTS: the name is taken; ERR_LIMIT; ERR_INVALID
 * (a name that is no id, a role of nobody, a time that is past by created_ms). On an error `done`
 * is not called. Everything is copied. */
enum error_code access_token_create(struct access *a, const struct access_token *token,
                                    char ret_secret[ACCESS_SECRET_BUFFER], access_done done,
                                    void *ctx, struct error *err) MUST_CHECK;
/* ERR_NOT_FOUND. */
enum error_code access_token_revoke(struct access *a, const char *name, access_done done, void *ctx,
                                    struct error *err) MUST_CHECK;
/* The token that the secret belongs to (borrowed until the next change). ERR_DENIED: none, or it
 * has expired by now_ms; the message does not say which tokens there are. */
enum error_code access_authenticate(struct access *a, const char *secret, int64_t now_ms,
                                    const struct access_token **ret_token,
                                    struct error *err) MUST_CHECK;
/* One that is good, by its name; false when there is none. Borrowed as above. */
bool access_token(struct access *a, const char *name, int64_t now_ms,
                  const struct access_token **ret_token);
/* All that are not revoked, by name. Return false to stop. */
void access_tokens(struct access *a, bool (*each)(void *ctx, const struct access_token *token),
                   void *ctx);

/* ---- Agents ------------------------------------------------------------------------------------
 */

/* A ticket lets one agent enrol once as that server until it expires; a later one for the server
 * takes the place of one that was not used. ERR_CONFLICT: the server has a certificate that is
 * good; `replace` revokes those when the ticket is used. */
struct access_ticket {
    const char *server;
    int64_t created_ms, expires_ms;
    bool replace;
};
enum error_code access_ticket_create(struct access *a, const struct access_ticket *ticket,
                                     char ret_secret[ACCESS_SECRET_BUFFER], access_done done,
                                     void *ctx, struct error *err) MUST_CHECK;

struct access_certificate {
    const char *serial; /* hexadecimal, lower case */
    const char *server;
    const char *fingerprint;
    int64_t issued_ms, not_after_ms;
    /* Of one that is enrolled, for access_enrolled: by what its key is known again, and itself.
     * NULL: it is not asked for again. */
    const char *key, *pem;
};
/* Uses a ticket up and records the certificate that was signed for it, together. ERR_DENIED: no
 * such ticket, used, expired, or for another server. ERR_CONFLICT: as access_ticket_create. The
 * certificate may be handed out when `done` has come. */
enum error_code access_enrol(struct access *a, const char *secret,
                             const struct access_certificate *certificate, access_done done,
                             void *ctx, struct error *err) MUST_CHECK;
/* An agent that asks again with a ticket that is used, since the answer was lost. */
struct access_again {
    const char *secret, *server;
    const char *key; /* as in access_certificate */
    int64_t now_ms;
};
/* Appends the certificate that the same ticket and key were given. ERR_DENIED: they were given
 * none, or the ticket has expired, or the certificate was revoked; ERR_BUSY: it is on its way to
 * the disk. */
enum error_code access_enrolled(struct access *a, const struct access_again *again, struct buf *out,
                                struct error *err) MUST_CHECK;
/* Whether the ticket would do, before anything is signed. ERR_DENIED, ERR_CONFLICT. */
enum error_code access_ticket_check(struct access *a, const char *secret, const char *server,
                                    int64_t now_ms, struct error *err) MUST_CHECK;
/* Records one that was renewed by a good one, which stays good until it expires. Of more than
 * ACCESS_MAX_CERTIFICATES that are good the oldest others are revoked: nobody has them, or somebody
 * who should not. */
enum error_code access_renew(struct access *a, const char *serial,
                             const struct access_certificate *certificate, access_done done,
                             void *ctx, struct error *err) MUST_CHECK;
/* ERR_DENIED: not known here, revoked, or expired by now_ms; the message says which. */
enum error_code access_certificate_check(struct access *a, const char *serial, const char *server,
                                         int64_t now_ms, struct error *err) MUST_CHECK;
/* Revokes every certificate of the server, and a ticket that was not used. ERR_NOT_FOUND: there is
 * none. */
enum error_code access_agent_revoke(struct access *a, const char *server, int64_t now_ms,
                                    access_done done, void *ctx, struct error *err) MUST_CHECK;
/* The certificate of a server that expires last; false when there is none that is good. Borrowed
 * until the next change. */
bool access_agent(struct access *a, const char *server, int64_t now_ms,
                  struct access_certificate *ret_certificate);
/* The same of every server that has one, by server, after `after` (NULL: from the first). Return
 * false to stop. */
void access_agents(struct access *a, const char *after, int64_t now_ms,
                   bool (*each)(void *ctx, const struct access_certificate *certificate),
                   void *ctx);

struct access_stats {
    size_t tokens;   /* that are not revoked */
    size_t agents;   /* servers with a good certificate */
    size_t expiring; /* of which none is good any more by soon_ms */
};
struct access_stats access_stats(struct access *a, int64_t now_ms, int64_t soon_ms);
