#include "orchestrator/api/api_doc_access.h"

#include "common/base/id.h"
#include "orchestrator/api/api_doc_internal.h"

#define INPUT(name_, struct_, member_, flags_, max_, doc_)                                         \
    {                                                                                              \
        .name = (name_), .type = JSON_STRING, JSON_AT(struct_, member_), .flags = (flags_),        \
        .min = ((flags_)&JSON_REQUIRED) ? 1 : 0, .max = (max_), .doc = (doc_)                      \
    }
#define TTL(struct_, max_, doc_)                                                                   \
    {                                                                                              \
        .name = "ttlSeconds", .type = JSON_INT, JSON_AT(struct_, ttl_s), .flags = JSON_OMIT_EMPTY, \
        .min = 0, .max = (max_), .doc = (doc_)                                                     \
    }

/* ---- People ------------------------------------------------------------------------------------
 */

static const struct json_field pattern_item = {
    .type = JSON_STRING, .min = 1, .max = ID_MAX, .doc = "A server's id; * stands for anything."};
static const struct json_field type_item = {
    .type = JSON_STRING, .min = 1, .max = ID_MAX, .doc = "A step type."};

#define SCOPE_SERVERS(struct_)                                                                     \
    LIST_MAYBE("servers", struct_, servers, pattern_item,                                          \
               "The servers that it is confined to; absent: all.")
#define SCOPE_STEPS(struct_)                                                                       \
    LIST_MAYBE("steps", struct_, steps, type_item,                                                 \
               "The step types that it is confined to; absent: all.")

static const struct json_field principal_fields[] = {
    TEXT("name", struct api_principal, name, "A token's name, a local user, or an agent's id."),
    TEXT("role", struct api_principal, role, "nobody, viewer, operator or admin."),
    TEXT_MAYBE("expires", struct api_principal, expires, "Absent: it does not expire."),
    SCOPE_SERVERS(struct api_principal),
    SCOPE_STEPS(struct api_principal),
};
const struct json_table api_principal_table = JSON_TABLE_OPEN(
    "Principal", struct api_principal, principal_fields, "Whom a request is taken to be from.");

static const struct json_field token_request_fields[] = {
    INPUT("name", struct api_token_request, name, JSON_REQUIRED, ID_MAX,
          "An id that no other good token has."),
    INPUT("role", struct api_token_request, role, JSON_REQUIRED, ID_MAX,
          "viewer, operator or admin."),
    TTL(struct api_token_request, API_TOKEN_TTL_MAX_S, "It expires after; absent or 0: never."),
    SCOPE_SERVERS(struct api_token_request),
    SCOPE_STEPS(struct api_token_request),
};
const struct json_table api_token_request_table = JSON_TABLE(
    "TokenRequest", struct api_token_request, token_request_fields, "A token to be made.");

static const struct json_field token_fields[] = {
    TEXT("name", struct api_token, name, "Its name, in the audit log too."),
    TEXT("role", struct api_token, role, "viewer, operator or admin."),
    TEXT("created", struct api_token, created, "When it was made."),
    TEXT_MAYBE("createdBy", struct api_token, created_by, "By whom."),
    TEXT_MAYBE("expires", struct api_token, expires, "Absent: it does not expire."),
    SCOPE_SERVERS(struct api_token),
    SCOPE_STEPS(struct api_token),
};
const struct json_table api_token_table =
    JSON_TABLE_OPEN("Token", struct api_token, token_fields, "A token, without its secret.");
static const struct json_field token_item = OF_TABLE(api_token_table);

static const struct json_field token_made_fields[] = {
    TEXT("token", struct api_token_made, token, "The secret: told here and never again."),
    {.name = "about",
     .type = JSON_OBJECT,
     JSON_AT(struct api_token_made, about),
     .flags = JSON_REQUIRED,
     .table = &api_token_table,
     .doc = "What it is good for."},
};
const struct json_table api_token_made_table =
    JSON_TABLE_OPEN("TokenMade", struct api_token_made, token_made_fields, "A new token.");

static const struct json_field token_list_fields[] = {
    LIST("tokens", struct api_token_list, tokens, token_item, "By name."),
};
const struct json_table api_token_list_table = JSON_TABLE_OPEN(
    "TokenList", struct api_token_list, token_list_fields, "The tokens that are not revoked.");

/* ---- Agents ------------------------------------------------------------------------------------
 */

static const struct json_field ticket_request_fields[] = {
    TTL(struct api_ticket_request, API_TICKET_TTL_MAX_S, "It expires after; absent or 0: an hour."),
    FLAG_MAYBE("replace", struct api_ticket_request, replace,
               "Also where the server has a good certificate; that one is revoked by its use."),
};
const struct json_table api_ticket_request_table =
    JSON_TABLE("TicketRequest", struct api_ticket_request, ticket_request_fields,
               "A ticket to be made, with which one agent can enrol once.");

static const struct json_field ticket_fields[] = {
    TEXT("token", struct api_ticket, token, "The secret: told here and never again."),
    TEXT("server", struct api_ticket, server, "Whom it lets enrol."),
    TEXT("expires", struct api_ticket, expires, "It has to be used until then."),
    TEXT("caFingerprint", struct api_ticket, ca_fingerprint,
         "SHA-256 of the CA's certificate, by which the agent knows the orchestrator."),
    TEXT("ca", struct api_ticket, ca, "The CA's certificate, in PEM."),
};
const struct json_table api_ticket_table =
    JSON_TABLE_OPEN("Ticket", struct api_ticket, ticket_fields, "A ticket for enrolment.");

static const struct json_field enrol_fields[] = {
    INPUT("token", struct api_enrol, token, JSON_REQUIRED, API_SECRET_MAX, "The ticket's secret."),
    INPUT("server", struct api_enrol, server, JSON_REQUIRED, ID_MAX, "The server's id."),
    INPUT("csr", struct api_enrol, csr, JSON_REQUIRED, API_PEM_MAX,
          "A request for a certificate (PKCS #10, PEM); only its key counts."),
};
const struct json_table api_enrol_table =
    JSON_TABLE("Enrol", struct api_enrol, enrol_fields, "An agent asks for its first certificate.");

static const struct json_field renew_fields[] = {
    INPUT("csr", struct api_renew, csr, JSON_REQUIRED, API_PEM_MAX,
          "A request for a certificate (PKCS #10, PEM); only its key counts."),
};
const struct json_table api_renew_table =
    JSON_TABLE("Renew", struct api_renew, renew_fields, "An agent asks for its next certificate.");

static const struct json_field identity_fields[] = {
    TEXT("certificate", struct api_identity, certificate, "The agent's certificate, in PEM."),
    TEXT("ca", struct api_identity, ca, "The CA's certificate, in PEM."),
    TEXT("expires", struct api_identity, expires, "When the certificate expires."),
};
const struct json_table api_identity_table =
    JSON_TABLE_OPEN("Identity", struct api_identity, identity_fields, "What an agent is known by.");

static const struct json_field agent_fields[] = {
    TEXT("server", struct api_agent, server, "The server's id."),
    TEXT("serial", struct api_agent, serial, "Of its certificate."),
    TEXT("fingerprint", struct api_agent, fingerprint, "SHA-256 of its certificate."),
    TEXT("issued", struct api_agent, issued, "When it was signed."),
    TEXT("expires", struct api_agent, expires, "When it expires."),
    FLAG("connected", struct api_agent, connected, "The server's agent is connected."),
};
const struct json_table api_agent_table =
    JSON_TABLE_OPEN("Agent", struct api_agent, agent_fields, "A server's identity.");
static const struct json_field agent_item = OF_TABLE(api_agent_table);

static const struct json_field agent_list_fields[] = {
    LIST("agents", struct api_agent_list, agents, agent_item, "By server."),
    TEXT_MAYBE("next", struct api_agent_list, next,
               "`after` of the next page; absent: there are no more."),
};
const struct json_table api_agent_list_table = JSON_TABLE_OPEN(
    "AgentList", struct api_agent_list, agent_list_fields, "Servers with a good certificate.");

/* ---- The audit log -----------------------------------------------------------------------------
 */

static const struct json_field audit_entry_fields[] = {
    COUNT("seq", struct api_audit_entry, seq, "Its number, from 1, without gaps."),
    TEXT("time", struct api_audit_entry, time, "When."),
    TEXT_MAYBE("who", struct api_audit_entry, who,
               "A token's name, a local user, an agent's id; absent: not known."),
    TEXT_MAYBE("role", struct api_audit_entry, role, "In which role."),
    TEXT_MAYBE("peer", struct api_audit_entry, peer, "From where."),
    TEXT("action", struct api_audit_entry, action, "What was asked for: rollout.submit."),
    TEXT_MAYBE("target", struct api_audit_entry, target, "Of which rollout, server or token."),
    TEXT("result", struct api_audit_entry, result, "ok, or why it was refused."),
    TEXT_MAYBE("detail", struct api_audit_entry, detail, "More, for people."),
    TEXT("hash", struct api_audit_entry, hash, "SHA-256 over this entry and the hash before it."),
};
const struct json_table api_audit_entry_table = JSON_TABLE_OPEN(
    "AuditEntry", struct api_audit_entry, audit_entry_fields, "What somebody did, or tried to.");
static const struct json_field audit_entry_item = OF_TABLE(api_audit_entry_table);

static const struct json_field audit_page_fields[] = {
    LIST("entries", struct api_audit_page, entries, audit_entry_item, "The oldest first."),
    COUNT("next", struct api_audit_page, next, "`after` of the next page; 0: there are no more."),
};
const struct json_table api_audit_page_table =
    JSON_TABLE_OPEN("AuditPage", struct api_audit_page, audit_page_fields, "Of the audit log.");

static const struct json_field audit_state_fields[] = {
    FLAG("whole", struct api_audit_state, whole, "Every entry fits the one before it."),
    TEXT_MAYBE("fault", struct api_audit_state, fault, "The first that does not, and why."),
    COUNT("seq", struct api_audit_state, seq, "The last entry's number."),
    TEXT("hash", struct api_audit_state, hash, "The last entry's hash."),
};
const struct json_table api_audit_state_table = JSON_TABLE_OPEN(
    "AuditState", struct api_audit_state, audit_state_fields, "Whether the audit log is whole.");
