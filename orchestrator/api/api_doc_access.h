/*
 * api_doc_access: the documents about who may do what: tokens of people, tickets and certificates
 * of agents, the audit log. As api_doc.h, of which this is a part.
 *
 * Secrets are in here in two places: the answer that makes a token or a ticket tells it, once; and
 * api_enrol takes one. Whoever decodes or encodes these wipes them.
 *
 * Threading: constants. I/O: none.
 */
#pragma once

#include "common/base/array.h"
#include "common/json/json.h"

#include <stdbool.h>
#include <stdint.h>

enum {
    API_TOKEN_TTL_MAX_S = 10 * 365 * 24 * 3600,
    API_TICKET_TTL_DEFAULT_S = 3600,
    API_TICKET_TTL_MAX_S = 30 * 24 * 3600,
    API_SECRET_MAX = 128,     /* bytes of a token or ticket */
    API_PEM_MAX = 64 * 1024,  /* bytes of certificates in a document */
    API_AUDIT_PAGE_MAX = 1000 /* entries in one answer */
};

/* ---- People ------------------------------------------------------------------------------------
 * GET /v1/whoami -> api_principal: whom the request was taken to be from.
 */
struct api_principal {
    char *name;           /* a token's name, "uid 0", an agent's id; "nobody" */
    char *role;           /* nobody, viewer, operator, admin */
    char *expires;        /* NULL: never */
    struct array servers; /* char *: patterns that it is confined to; none: all */
    struct array steps;   /* char *: step types that it is confined to; none: all */
};
extern const struct json_table api_principal_table;

/* POST /v1/tokens (admin) with api_token_request -> 201 api_token_made. POST
 * /v1/tokens/NAME/revoke (admin) -> api_token. GET /v1/tokens (admin) -> {"tokens":[...]}. */
struct api_token_request {
    char *name;           /* an id that no other good token has */
    char *role;           /* viewer, operator, admin */
    int64_t ttl_s;        /* 0: it does not expire */
    struct array servers; /* char * */
    struct array steps;   /* char * */
};
struct api_token {
    char *name, *role;
    char *created, *created_by, *expires;
    struct array servers, steps; /* char * */
};
struct api_token_made {
    char *token; /* the secret: told here and never again */
    struct api_token about;
};
struct api_token_list {
    struct array tokens; /* struct api_token */
};
extern const struct json_table api_token_request_table, api_token_table, api_token_made_table,
    api_token_list_table;

/* ---- Agents ------------------------------------------------------------------------------------
 * GET /v1/ca (anybody) -> the CA's certificate in PEM, application/x-pem-file.
 *
 * POST /v1/agents/SERVER/ticket (admin) with api_ticket_request -> 201 api_ticket.
 */
struct api_ticket_request {
    int64_t ttl_s; /* 0: API_TICKET_TTL_DEFAULT_S */
    bool replace;  /* also where the server has a good certificate: that one is revoked when the
                      ticket is used */
};
struct api_ticket {
    char *token; /* the secret: told here and never again */
    char *server, *expires;
    char *ca_fingerprint; /* SHA-256, 64 hexadecimal digits */
    char *ca;             /* PEM */
};
extern const struct json_table api_ticket_request_table, api_ticket_table;

/* POST /v1/enrol (anybody who has a ticket) with api_enrol -> api_identity. The same ticket with
 * the same key, until it expires, is answered with the same certificate: an answer that was lost
 * loses nothing. POST /v1/renew (an agent, over TLS with its certificate) with api_renew ->
 * api_identity, for the server that the certificate names. */
struct api_enrol {
    char *token, *server;
    char *csr; /* PKCS #10 in PEM */
};
struct api_renew {
    char *csr;
};
struct api_identity {
    char *certificate; /* PEM: the agent's */
    char *ca;          /* PEM */
    char *expires;
};
extern const struct json_table api_enrol_table, api_renew_table, api_identity_table;

/* GET /v1/agents (viewer) -> {"agents":[...],"next":ID|absent}; ?limit= &after=ID: the servers that
 * have a certificate that is good. POST /v1/agents/SERVER/revoke (admin) with api_request
 * (api_doc.h)
 * -> api_agent: every certificate and ticket of the server is void from then on, and a session of
 * it is ended. */
struct api_agent {
    char *server, *serial, *fingerprint;
    char *issued, *expires;
    bool connected;
};
struct api_agent_list {
    struct array agents; /* struct api_agent */
    char *next;
};
extern const struct json_table api_agent_table, api_agent_list_table;

/* ---- The audit log -----------------------------------------------------------------------------
 * GET /v1/audit (admin) -> {"entries":[...],"next":SEQ}; ?after=SEQ &limit=, oldest first; next is
 * the `after` of the next page, 0: no more. GET /v1/audit/verify (admin) -> api_audit_state; ?seq=
 * and ?hash=: a head that was kept elsewhere, which the log must still have.
 */
struct api_audit_entry {
    int64_t seq;
    char *time;
    char *who, *role, *peer, *action, *target, *result, *detail;
    char *hash;
};
struct api_audit_page {
    struct array entries; /* struct api_audit_entry */
    int64_t next;
};
struct api_audit_state {
    bool whole;
    char *fault; /* the first entry that does not fit, and why; NULL: none */
    int64_t seq; /* of the last entry */
    char *hash;  /* of the last entry */
};
extern const struct json_table api_audit_entry_table, api_audit_page_table, api_audit_state_table;
