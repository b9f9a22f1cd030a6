/* api_internal: what the files of this folder share. */
#pragma once

#include "common/base/alloc.h"
#include "common/base/buf.h"
#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/id.h"
#include "orchestrator/access/access.h"
#include "orchestrator/access/throttle.h"
#include "orchestrator/api/api.h"
#include "orchestrator/api/api_doc.h"
#include "orchestrator/api/api_doc_access.h"
#include "orchestrator/api/api_doc_artifacts.h"

enum { API_MAX_PARAMS = 3, API_PARAM_MAX = PLAN_MAX_NAME, API_PEER_BUFFER = 80 };

/* Who asks. */
enum caller_kind {
    CALLER_NOBODY,
    CALLER_ANYBODY, /* without access: all may everything */
    CALLER_TOKEN,
    CALLER_LOCAL, /* over the Unix socket */
    CALLER_AGENT
};
struct caller {
    enum caller_kind kind;
    enum access_role role;
    int64_t created_ms;   /* of a token: one of the same name that came after it is another */
    char name[ID_BUFFER]; /* a token's, "uid 0", a server; "": nobody's */
    char serial[ACCESS_SERIAL_BUFFER]; /* an agent's certificate's */
};

/* One request under way. Lives until it is answered (or its peer is gone) and nothing that was
 * started for it is pending. */
struct api_call {
    struct api *api;
    struct net_request *req; /* NULL: closed */
    const struct api_route *route;
    char params[API_MAX_PARAMS][API_PARAM_MAX + 1]; /* what {..} in the pattern matched, in order */
    struct caller caller;
    char peer[API_PEER_BUFFER];
    uint32_t pending;
    int status;                         /* of an answer that waits for the journal */
    bool audited;                       /* what it is about to do is in the audit log */
    bool secret;                        /* the answer holds one: it is wiped */
    const char *headers;                /* further ones of the answer; NULL: none */
    const char *target;                 /* in the audit log; lives with the call */
    void (*act)(struct api_call *call); /* once it is in the audit log */
    void *order;                        /* what was asked for, until the call ends */
    void (*order_free)(void *order);
    bool repeat;          /* a submit that was known already */
    bool short_of_memory; /* something of the answer is missing: it is not given */
    struct buf held;      /* the answer's body, that waits for the journal */
    struct stream *stream;
    struct api_backup *backup;
    struct api_download *download;
    struct api_text *texts; /* freed with the call */
};

/* A text that lives as long as its call. */
struct api_text {
    struct api_text *next;
    char text[];
};

/* An event stream of one rollout. */
struct stream {
    struct api_call *call;
    char rollout[ID_BUFFER];
    uint64_t sent_seq;
    uint64_t end_seq; /* of the last end of the rollout that was sent; 0: none */
    bool ended;
    bool broken; /* an event could not be sent: the reader is to come again */
    struct stream *prev, *next;
};

/* What was refused, since the start. */
struct refusals {
    uint64_t unknown;    /* no token, or none that is good */
    uint64_t forbidden;  /* more than the role or the scope lets */
    uint64_t agents;     /* agents' certificates, and what agents said */
    uint64_t handshakes; /* that came to no TLS */
};

struct api {
    struct api_config config;
    struct net_server *server;
    struct net_server *local;   /* the Unix socket; NULL: none */
    struct throttle *failures;  /* of authentication, by address */
    struct throttle *forbidden; /* what was known and refused, by name */
    struct throttle *renewals;  /* by server */
    struct throttle *handshakes;
    struct refusals refusals;
    struct stream *streams;
    size_t stream_count;
    size_t backups;           /* being made or handed out */
    size_t pieces, downloads; /* of artifacts */
    bool stopping;
};

/* ---- api.c -------------------------------------------------------------------------------------
 */

/* Answers with a document, or a problem when it cannot be encoded or lacks something. */
void call_document(struct api_call *call, int status, const struct json_table *table,
                   const void *document);
void call_text(struct api_call *call, int status, const char *type, const struct buf *body);
/* The same, of something that may not be durable yet: it goes out when it is. */
void call_document_durable(struct api_call *call, int status, const struct json_table *table,
                           const void *document);
void call_error(struct api_call *call, enum error_code code, const struct error *err);
void call_problem(struct api_call *call, int status, const struct api_problem *problem);
void call_free(struct api_call *call);
/* Copies a text for as long as the call lives; NULL when memory is out (then no document is
 * answered) or the text is NULL. */
char *call_keep(struct api_call *call, const char *text, size_t len);
char *call_keep_string(struct api_call *call, const char *text);
char *call_time(struct api_call *call, int64_t wall_ms); /* NULL for 0 */
/* The full id that a path's {id} means: an id or a unique prefix. Answers itself when there is
 * none. */
bool call_rollout_id(struct api_call *call, char ret_id[ID_BUFFER]);
/* A number from the query within bounds, `fallback` when absent. Answers itself (400) when not
 * right. */
bool call_query_number(struct api_call *call, const char *name, int64_t max, int64_t fallback,
                       int64_t *ret_value);

/* ---- api_routes.c ------------------------------------------------------------------------------
 */

/* The route that the request is for. False: there is none, and it was answered. */
bool call_route(struct api_call *call);

/* ---- api_access.c: who asks, and what he may ----------------------------------------------------
 */

enum error_code gatekeeping_new(struct api *api, struct error *err) MUST_CHECK;
void gatekeeping_free(struct api *api);
/* Finds out who asks, and whether the route is for him. False: answered. Nothing of the body has
 * been looked at. */
bool call_admit(struct api_call *call);
/* The same again when the body is there, for one who was let in when it was not. */
bool call_admit_still(struct api_call *call);
/* An agent that shows a certificate. ERR_DENIED says what is wrong with it. */
enum error_code caller_of_agent(struct api *api, const struct pki_facts *facts,
                                struct caller *ret_caller, struct error *err) MUST_CHECK;
/* Whether the caller's scope lets him change a server; whether all servers and steps of a plan.
 * False: answered. */
bool call_may_server(struct api_call *call, const char *server);
bool call_may_plan(struct api_call *call, const struct plan *plan);
bool call_may_rollout(struct api_call *call, const char *id);
/* Not for those whom a scope confines: they would give away what they do not have. */
bool call_may_unconfined(struct api_call *call);
/* Who it is to be recorded as: the caller's name, or what he says when he has none. NULL: nobody's.
 */
const char *call_by(const struct api_call *call, const char *said);
/* A secret that was no good, on a route that anybody may use. Answers. */
void call_bad_secret(struct api_call *call, const struct error *err);
/* The token's scope and role, for a caller with one; NULL: none, or it is not good any more. */
const struct access_token *caller_token(const struct api *api, const struct caller *caller);

/* ---- api_audit.c -------------------------------------------------------------------------------
 */

void handle_audit_list(struct api_call *call);
void handle_audit_verify(struct api_call *call);
/* Has it written down that the caller is about to do what the route is for, to `target` (copied),
 * and then calls act, even if the peer has gone meanwhile. `detail` may be NULL. */
void call_change(struct api_call *call, const char *target, const char *detail,
                 void (*act)(struct api_call *call));
/* Writes down how something ended that was refused. Nothing waits for it. */
void call_audit_refusal(struct api_call *call, enum error_code code, const char *detail);
/* The same of what no request has asked for. False: it is counted only. */
bool audit_alarm(struct api *api, const struct dispatcher_alarm *alarm);
/* What was not written down one by one. */
void audit_untold(struct api *api, bool all);

/* ---- api_tokens.c ------------------------------------------------------------------------------
 */

void handle_whoami(struct api_call *call);
void handle_token_create(struct api_call *call);
void handle_token_list(struct api_call *call);
void handle_token_revoke(struct api_call *call);

/* ---- api_agents.c ------------------------------------------------------------------------------
 */

void handle_ca(struct api_call *call);
void handle_agent_ticket(struct api_call *call);
void handle_agent_list(struct api_call *call);
void handle_agent_revoke(struct api_call *call);
void handle_enrol(struct api_call *call);
void handle_renew(struct api_call *call);

/* ---- api_session.c: agents' connections --------------------------------------------------------
 */

void handle_agent_get(struct api_call *call);
bool session_begin(void *ctx, struct net_conn *conn, void **ret_ctx);
extern const struct net_conn_events session_events;

/* ---- api_rollouts.c
 * ------------------------------------------------------------------------------ */
void handle_rollout_list(struct api_call *call);
void handle_rollout_get(struct api_call *call);
/* Answers with the rollout's document. */
void call_rollout(struct api_call *call, int status, const char *id);

/* ---- api_submit.c
 * -------------------------------------------------------------------------------- */
void handle_plan_validate(struct api_call *call);
void handle_rollout_submit(struct api_call *call);
void handle_rollout_retry(struct api_call *call);

/* ---- api_orders.c
 * -------------------------------------------------------------------------------- */
void handle_rollout_cancel(struct api_call *call);
void handle_rollout_pause(struct api_call *call);
void handle_rollout_resume(struct api_call *call);
void handle_rollout_rollback(struct api_call *call);
void handle_server_resolve(struct api_call *call);
void handle_server_lock(struct api_call *call);
void handle_server_unlock(struct api_call *call);
/* Reads the body, {} when there is none. False: answered here. The caller releases it. */
bool call_body(struct api_call *call, const struct json_table *table, void *ret);
/* A server's id in the path. False: answered here. */
bool call_server_id(struct api_call *call);
/* What was asked for is on its way to the dispatcher, which answers through call_rollout_done with
 * that status; or it was refused after all. */
void call_await(struct api_call *call, int status);
void call_refused(struct api_call *call, enum error_code code, const struct error *err);
void call_rollout_done(void *ctx, enum error_code result, const struct error *err, const char *id);

/* ---- api_events.c
 * -------------------------------------------------------------------------------- */
void handle_rollout_events(struct api_call *call);
void handle_step_output(struct api_call *call);
void stream_free(struct stream *stream);
/* Ends it at once, with its connection. */
void stream_break(struct stream *stream);

/* ---- api_backup.c
 * -------------------------------------------------------------------------------- */
void handle_backup(struct api_call *call);
void call_backup_free(struct api_call *call);

/* ---- api_artifacts.c ---------------------------------------------------------------------------
 */

void handle_artifact_begin(struct api_call *call);
void handle_artifact_piece(struct api_call *call);
void handle_artifact_list(struct api_call *call);
void handle_artifact_get(struct api_call *call);
void handle_artifact_delete(struct api_call *call);
/* Whether there is a store; the digits that the path names. False: answered. */
bool call_artifacts(struct api_call *call);
bool call_digest(struct api_call *call, char ret_digest[ARTIFACT_DIGEST_BUFFER]);

/* ---- api_download.c ----------------------------------------------------------------------------
 */

void handle_artifact_content(struct api_call *call);
void handle_agent_artifact(struct api_call *call);
void call_download_free(struct api_call *call);

/* ---- api_servers.c
 * ------------------------------------------------------------------------------- */
void handle_server_list(struct api_call *call);
void handle_server_get(struct api_call *call);
/* Answers with the server's document. */
void call_server(struct api_call *call, int status, const char *id);

/* ---- api_fleet.c
 * --------------------------------------------------------------------------------- */
void handle_handler_list(struct api_call *call);
void handle_handler_get(struct api_call *call);
void handle_health(struct api_call *call);
void handle_ready(struct api_call *call);
void handle_metrics(struct api_call *call);
