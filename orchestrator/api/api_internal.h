/* api_internal: what the files of this folder share. */
#pragma once

#include "common/base/alloc.h"
#include "common/base/buf.h"
#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/id.h"
#include "orchestrator/api/api.h"
#include "orchestrator/api/api_doc.h"

enum { API_MAX_PARAMS = 3, API_PARAM_MAX = PLAN_MAX_NAME };

/* One request under way. Lives until it is answered (or its peer is gone) and nothing that was
 * started for it is pending. */
struct api_call {
    struct api *api;
    struct net_request *req; /* NULL: closed */
    const struct api_route *route;
    char params[API_MAX_PARAMS][API_PARAM_MAX + 1]; /* what {..} in the pattern matched, in order */
    uint32_t pending;
    int status;           /* of an answer that waits for the journal */
    bool repeat;          /* a submit that was known already */
    bool short_of_memory; /* something of the answer is missing: it is not given */
    struct buf held;      /* the answer's body, that waits for the journal */
    struct stream *stream;
    struct api_backup *backup;
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

struct api {
    struct api_config config;
    struct net_server *server;
    struct stream *streams;
    size_t stream_count;
    size_t backups; /* being made or handed out */
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

/* ---- api_backup.c
 * -------------------------------------------------------------------------------- */
void handle_backup(struct api_call *call);
void call_backup_free(struct api_call *call);

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
