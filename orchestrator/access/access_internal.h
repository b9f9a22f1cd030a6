/* access_internal: what the files of this folder share. See access.h. */
#pragma once

#include "common/base/alloc.h"
#include "common/db/db.h"
#include "common/db/writer.h"
#include "orchestrator/access/access.h"
#include "orchestrator/access/audit.h"

/* Failing to add to a hash must be an error, not the end of the process. */
#define HASH_NONFATAL_OOM 1
#include <uthash.h>

enum { HASH_BUFFER = 65 };

enum access_statement {
    ACCESS_TOKEN_ADD,
    ACCESS_TOKEN_REVOKE,
    ACCESS_TOKENS,
    ACCESS_TICKET_PUT,
    ACCESS_TICKET_DROP,
    ACCESS_TICKETS,
    ACCESS_ENROLMENT_PUT,
    ACCESS_ENROLMENT_DROP,
    ACCESS_ENROLMENT_GET,
    ACCESS_CERTIFICATE_ADD,
    ACCESS_CERTIFICATE_REVOKE,
    ACCESS_CERTIFICATES_TIDY,
    ACCESS_CERTIFICATES_REVOKE,
    ACCESS_CERTIFICATES,
    ACCESS_AUDIT_HEAD,
    ACCESS_AUDIT_ADD,
    ACCESS_AUDIT_AFTER,
    ACCESS_STATEMENT_COUNT
};
extern const struct db_schema access_schema;

/* Of ACCESS_TOKENS. */
enum token_column {
    TOKEN_NAME,
    TOKEN_HASH,
    TOKEN_ROLE,
    TOKEN_SERVERS,
    TOKEN_STEPS,
    TOKEN_CREATED,
    TOKEN_EXPIRES,
    TOKEN_BY
};
/* Of ACCESS_TICKETS. */
enum ticket_column { TICKET_SERVER, TICKET_HASH, TICKET_EXPIRES, TICKET_REPLACE };
/* Of ACCESS_ENROLMENT_GET. */
enum enrolment_column {
    ENROLMENT_HASH,
    ENROLMENT_KEY,
    ENROLMENT_SERIAL,
    ENROLMENT_PEM,
    ENROLMENT_EXPIRES
};
/* Of ACCESS_CERTIFICATES. */
enum certificate_column {
    CERTIFICATE_SERIAL,
    CERTIFICATE_SERVER,
    CERTIFICATE_FINGERPRINT,
    CERTIFICATE_ISSUED,
    CERTIFICATE_NOT_AFTER,
    CERTIFICATE_REVOKED
};
/* Of ACCESS_AUDIT_AFTER and ACCESS_AUDIT_HEAD. */
enum audit_column {
    AUDIT_SEQ,
    AUDIT_HASH,
    AUDIT_TIME,
    AUDIT_WHO,
    AUDIT_ROLE,
    AUDIT_PEER,
    AUDIT_ACTION,
    AUDIT_TARGET,
    AUDIT_RESULT,
    AUDIT_DETAIL
};

struct token {
    struct access_token view; /* its texts are below */
    char name[ID_BUFFER], by[ID_BUFFER];
    char hash[HASH_BUFFER];
    char *servers, *steps; /* the scope's items, each with its NUL */
    UT_hash_handle hh;     /* by hash */
};

struct certificate {
    char serial[ACCESS_SERIAL_BUFFER];
    char fingerprint[ACCESS_FINGERPRINT_BUFFER];
    struct agent *agent;
    struct certificate *next; /* of the same agent */
    int64_t issued_ms, not_after_ms;
    bool revoked;
    UT_hash_handle hh; /* by serial */
};

/* A server that has, or may get, certificates. */
struct agent {
    char server[ID_BUFFER];
    char ticket[HASH_BUFFER]; /* "": none */
    int64_t ticket_expires_ms;
    bool ticket_replace;
    char used[HASH_BUFFER];           /* the ticket that was used last, since the start; "": none */
    struct certificate *certificates; /* the newest first */
    UT_hash_handle hh;                /* by server */
};

struct access {
    struct writer *writer;
    struct db *reader; /* read-only, for the audit log */
    struct token *tokens;
    size_t token_count;
    struct agent *agents;
    bool agents_sorted;
    struct certificate *certificates;
};

/* One change on its way to the disk. */
struct change {
    struct writer_work work;
    struct access *access;
    access_done done;
    void *ctx;
    struct error error; /* why apply refused */
    char name[ID_BUFFER], by[ID_BUFFER];
    char hash[HASH_BUFFER];
    char serial[ACCESS_SERIAL_BUFFER];
    char dropped[ACCESS_SERIAL_BUFFER]; /* another that is revoked with it; "": none */
    char ticket[HASH_BUFFER], key[HASH_BUFFER];
    enum access_role role;
    char *servers, *steps, *pem;
    int64_t first_ms, last_ms; /* created and expires, issued and not after */
    int64_t ticket_ms;         /* expires */
    bool replace;
    struct audit_entry audit; /* texts owned */
};

/* ---- access.c: changes --------------------------------------------------------------------- */

/* A change that applies itself by `apply`. NULL: memory is out, and the error is set. */
struct change *change_new(struct access *a,
                          enum error_code (*apply)(struct db *db, struct change *change,
                                                   struct error *err),
                          access_done done, void *ctx, struct error *err);
void change_submit(struct change *change);
void change_free(struct change *change);
DEFINE_CLEANUP(change_free, struct change)

/* "": the text is NULL or too long to be one. */
void text_put(char *ret, size_t size, const char *text);
enum error_code secret_make(const char *prefix, char ret_secret[ACCESS_SECRET_BUFFER],
                            char ret_hash[HASH_BUFFER], struct error *err) MUST_CHECK;
/* SHA-256 in hexadecimal. */
enum error_code sha256_hex(const void *data, size_t len, char ret_hash[HASH_BUFFER],
                           struct error *err) MUST_CHECK;
void bind_text(struct db_stmt *s, int index, const char *text);

/* ---- The other files: what open and close call ---------------------------------------------- */

enum error_code tokens_load(struct access *a, struct db *db, struct error *err) MUST_CHECK;
void tokens_free(struct access *a);
/* NULL: none. */
struct agent *agent_find(struct access *a, const char *server);
/* Finds or adds; NULL with the error set: memory is out. */
struct agent *agent_get(struct access *a, const char *server, struct error *err);
struct certificate *certificate_find(struct access *a, const char *serial);
enum error_code certificate_add(struct access *a, const struct access_certificate *from,
                                bool revoked, struct error *err) MUST_CHECK;
void certificate_hash_remove(struct access *a, struct certificate *c);
/* The good one that expires last; NULL. */
const struct certificate *certificate_good(const struct agent *agent, int64_t now_ms);
enum error_code agents_load(struct access *a, struct db *db, struct error *err) MUST_CHECK;
void agents_free(struct access *a);
