/*
 * api: the HTTP API and the agents' WebSocket, in front of the dispatcher.
 *
 * Every request is matched against one table of routes (api_routes), answered from the dispatcher
 * or the journal, and, where it changed something, only once the change is durable. Faults are RFC
 * 9457 problem documents. The documents are those of api_doc.h, the whole is described in
 * docs/openapi.json.
 *
 * Threading: the loop's thread. I/O: through net.
 */
#pragma once

#include "common/base/error.h"
#include "common/net/net.h"
#include "orchestrator/dispatch/dispatcher.h"
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
        1024 * 1024 /* bytes of live output queued on a stream before some is left out */
};

struct api_config {
    struct journal *journal;
    struct dispatcher *dispatcher;
    const char *host;
    uint16_t port;
    const char *held; /* why nothing is acted upon (borrowed); NULL: as usual */
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

struct api_route {
    enum net_method method;
    const char *pattern; /* "/v1/rollouts/{id}/events" */
    void (*handle)(struct api_call *call);
    bool barrier; /* answered only when all that was decided before is durable */
};
/* The table; ends after *ret_count. */
const struct api_route *api_routes(size_t *ret_count);
