/*
 * api: the HTTP API and the agents' WebSocket, in front of the dispatcher.
 *
 * Every request is matched against one table of routes (api_routes), which also says who may come;
 * it is answered from the dispatcher or the journal, and, where it changed something, only once the
 * change is durable. Faults are RFC 9457 problem documents. The documents are those of api_doc.h,
 * the whole is described in docs/openapi.json.
 *
 * With access, whoever asks is known by a bearer token, as an agent by his certificate, or on the
 * Unix socket by what the kernel says; and what he is about to do is in the audit log before it is
 * done. Without, everybody may do everything: for one's own machine alone.
 *
 * Threading: the loop's thread. I/O: through net.
 */
#pragma once

#include "common/base/error.h"
#include "common/net/net.h"
#include "orchestrator/access/access.h"
#include "orchestrator/artifacts/artifact_store.h"
#include "orchestrator/dispatch/dispatcher.h"
#include "orchestrator/identity.h"
#include "orchestrator/journal/journal.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct api;
struct api_call;

enum {
    API_MAX_STREAMS = 4096, /* event streams at once */
    API_STREAM_BATCH = 256, /* events read for a stream in one go */
    API_OUTPUT_QUEUE_MAX =
        1024 * 1024, /* bytes of live output queued on a stream before some is left out */
    API_OPEN_BODY_MAX = 64 * 1024, /* bytes of a body that comes without a token */
    API_FAILURES_MAX = 10,         /* of authentication, from one address in a minute */
    API_RENEWALS_MAX = 6,          /* of one server's certificate in a minute */
    API_TOLD_MAX = 120,      /* refusals written down one by one in a minute; more are counted */
    API_PIECES_MAX = 64,     /* pieces of artifacts on their way to the disk */
    API_DOWNLOADS_MAX = 512, /* artifacts being handed out at once */
    API_TICK_MS = 5000       /* how often api_tick is to be called */
};

struct api_config {
    struct journal *journal;
    struct dispatcher *dispatcher;
    struct artifact_store *artifacts; /* NULL: there are none */
    const char *host;
    uint16_t port;
    const char *held; /* why nothing is acted upon (borrowed); NULL: as usual */
    /* All borrowed until api_free. access NULL: no TLS, and everybody may do everything. */
    struct access *access;
    struct identity *identity;    /* with access */
    int64_t agent_certificate_ms; /* how long an agent's certificate is to be good */
    const char *socket;           /* "unix:/path": there too; NULL: not */
    const gid_t *socket_group;    /* whose members are operators there; NULL: nobody's */
    /* A connection came to nothing in the TLS handshake: for the log. NULL: not wanted. */
    void (*refused)(void *ctx, const char *peer, const char *reason);
    void *ctx;
};

/* Listens. Errors: as net_server_new. */
enum error_code api_new(struct net *net, const struct api_config *config, struct api **ret_api,
                        struct error *err) MUST_CHECK;
/* After net_close has called done. NULL is fine. */
void api_free(struct api *api);
uint16_t api_port(const struct api *api);

/* To be called by the dispatcher's hooks. */
void api_changed(struct api *api, const char *rollout, uint64_t last_seq);
void api_output(struct api *api, const char *rollout, const char *json, size_t len);
/* The dispatcher's send and close hooks: conn is a struct net_conn. */
bool api_conn_send(void *conn, const char *data, size_t len);
void api_conn_close(void *conn, uint16_t code, const char *reason);
/* Ends all event streams, before net_close. */
void api_stop(struct api *api);
/* Every API_TICK_MS: writes down what was refused and not told, and ends the streams of those whose
 * token is not good any more. */
void api_tick(struct api *api);
/* From the next connection on, identity's present certificate is shown. */
enum error_code api_renewed(struct api *api, struct error *err) MUST_CHECK;
/* The dispatcher's alarm hook. False: there were many of that one, and it is counted only. */
bool api_alarm(struct api *api, const struct dispatcher_alarm *alarm);

/* Who may come. In rising order but for the last: each may what those before it may. */
enum api_role {
    API_NO_RULE, /* nobody: a route that lacks a rule */
    API_ANYBODY, /* without any token */
    API_VIEWER,
    API_OPERATOR,
    API_ADMIN,
    API_AGENT, /* an agent with its certificate, and no other */
    API_ROLE_COUNT
};
extern const char *const api_role_names[API_ROLE_COUNT];

struct api_route {
    enum net_method method;
    const char *pattern; /* "/v1/rollouts/{id}/events" */
    void (*handle)(struct api_call *call);
    bool barrier; /* answered only when all that was decided before is durable */
    enum api_role role;
    const char *action; /* in the audit log, of what changes or gives away something; NULL: reads */
    size_t body_max;    /* bytes; 0: as many as a plan may have */
};
/* The table; ends after *ret_count. */
const struct api_route *api_routes(size_t *ret_count);
