/* api: a request's life, and its answer. */
#include "orchestrator/api/api_internal.h"

#include "common/plan/plan.h"
#include "common/wire/wire.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SOCKET_MODE = 0600, SOCKET_GROUP_MODE = 0660 };

/* ---- A call's life ------------------------------------------------------------------------------
 */

void call_free(struct api_call *call)
{
    if (call->req != NULL || call->pending > 0)
        return;
    while (call->texts != NULL) {
        struct api_text *text = call->texts;
        call->texts = text->next;
        mem_free(text);
    }
    if (call->secret && call->held.data != NULL)
        explicit_bzero(call->held.data, call->held.capacity);
    buf_done(&call->held);
    if (call->order != NULL)
        call->order_free(call->order);
    mem_free(call);
}

char *call_keep(struct api_call *call, const char *text, size_t len)
{
    if (text == NULL)
        return NULL;
    struct api_text *kept = mem_alloc(sizeof(*kept) + len + 1);
    if (kept == NULL) {
        call->short_of_memory = true;
        return NULL;
    }
    memcpy(kept->text, text, len);
    kept->text[len] = '\0';
    kept->next = call->texts;
    call->texts = kept;
    return kept->text;
}

char *call_keep_string(struct api_call *call, const char *text)
{
    return call_keep(call, text, text == NULL ? 0 : strlen(text));
}

char *call_time(struct api_call *call, int64_t wall_ms)
{
    char text[CLOCK_TEXT_MAX];
    if (wall_ms == 0)
        return NULL;
    clock_format(wall_ms, text);
    return call_keep(call, text, strlen(text));
}

/* ---- Answers
 * ------------------------------------------------------------------------------------- */

/* X(code, HTTP status, title) */
#define API_STATUSES(X)                                                                            \
    X(ERR_OK, 200, "OK")                                                                           \
    X(ERR_NO_MEMORY, 503, "Out of memory")                                                         \
    X(ERR_INVALID, 400, "Invalid request")                                                         \
    X(ERR_NOT_FOUND, 404, "Not found")                                                             \
    X(ERR_EXISTS, 409, "Already exists")                                                           \
    X(ERR_CONFLICT, 409, "Not possible now")                                                       \
    X(ERR_STALE, 409, "Already done")                                                              \
    X(ERR_LIMIT, 413, "Limit exceeded")                                                            \
    X(ERR_IO, 500, "Input/output error")                                                           \
    X(ERR_NO_SPACE, 507, "No space left")                                                          \
    X(ERR_DENIED, 403, "Permission denied")                                                        \
    X(ERR_BUSY, 409, "In use")                                                                     \
    X(ERR_UNAVAILABLE, 503, "Not available")                                                       \
    X(ERR_TIMEOUT, 504, "Timed out")                                                               \
    X(ERR_CANCELLED, 409, "Cancelled")                                                             \
    X(ERR_CORRUPT, 500, "Data is corrupt")                                                         \
    X(ERR_PROTOCOL, 400, "Protocol violation")                                                     \
    X(ERR_UNSUPPORTED, 501, "Not supported")                                                       \
    X(ERR_INTERNAL, 500, "Internal error")

static const struct {
    int status;
    const char *title;
} api_statuses[ERROR_CODE_COUNT] = {
#define X(code, status, title) [code] = {status, title},
    API_STATUSES(X)
#undef X
};

void call_text(struct api_call *call, int status, const char *type, const struct buf *body)
{
    if (call->req == NULL)
        return;
    if (buf_check(body, NULL) != ERR_OK || call->short_of_memory) {
        static const char sorry[] = "{\"title\":\"Out of memory\",\"status\":503}";
        net_respond(call->req, 503, "application/problem+json", NULL, sorry, sizeof(sorry) - 1);
        return;
    }
    net_respond(call->req, status, type, call->headers, body->data == NULL ? "" : body->data,
                body->len);
}

static void call_encoded(struct api_call *call, int status, const char *type,
                         const struct json_table *table, const void *document)
{
    AUTO_BUF struct buf body = BUF_INIT;
    json_encode(&body, table, document);
    buf_putc(&body, '\n');
    call_text(call, status, type, &body);
    if (call->secret && body.data != NULL)
        explicit_bzero(body.data, body.capacity);
}

void call_document(struct api_call *call, int status, const struct json_table *table,
                   const void *document)
{
    call_encoded(call, status, "application/json", table, document);
}

static void call_held(void *ctx)
{
    struct api_call *call = ctx;
    call->pending--;
    call_text(call, call->status, "application/json", &call->held);
    call_free(call);
}

void call_document_durable(struct api_call *call, int status, const struct json_table *table,
                           const void *document)
{
    struct journal *journal = call->api->config.journal;
    json_encode(&call->held, table, document);
    buf_putc(&call->held, '\n');
    call->status = status;
    call->pending++;
    /* In a stall it is a view of what is durable, and there is no barrier that would pass. */
    if (journal_stalled(journal, NULL, NULL)) {
        call_held(call);
    } else if (!journal_barrier(journal, call_held, call)) {
        call->pending--;
        call_error(call, ERR_NO_MEMORY, NULL);
    }
}

void call_problem(struct api_call *call, int status, const struct api_problem *problem)
{
    call_encoded(call, status, "application/problem+json", &api_problem_table, problem);
}

void call_error(struct api_call *call, enum error_code code, const struct error *err)
{
    char type[] = "about:blank";
    int status = api_statuses[code].status;
    if (call->audited)
        call_audit_refusal(call, code, err == NULL ? NULL : err->message);
    struct api_problem problem = {
        .type = type,
        .title = call_keep(call, api_statuses[code].title, strlen(api_statuses[code].title)),
        .status = status,
        .detail = err == NULL ? NULL : call_keep(call, err->message, strlen(err->message)),
    };
    call_problem(call, status, &problem);
}

bool call_rollout_id(struct api_call *call, char ret_id[ID_BUFFER])
{
    struct error err = {0};
    struct rollout_view view;
    enum error_code code =
        id_valid(call->params[0])
            ? dispatcher_rollout(call->api->config.dispatcher, call->params[0], &view, &err)
            : error_set(&err, ERR_NOT_FOUND, "no rollout has the id \"%s\"", call->params[0]);
    if (code == ERR_OK) {
        memcpy(ret_id, call->params[0], ID_BUFFER);
        return true;
    }
    if (code == ERR_NOT_FOUND)
        code = journal_resolve(call->api->config.journal, call->params[0], ret_id, &err);
    if (code != ERR_OK)
        call_error(call, code, &err);
    return code == ERR_OK;
}

bool call_query_number(struct api_call *call, const char *name, int64_t max, int64_t fallback,
                       int64_t *ret_value)
{
    const char *text = net_request_query(call->req, name);
    *ret_value = fallback;
    if (text == NULL)
        return true;
    char *end = NULL;
    long long value = strtoll(text, &end, 10);
    if (end == text || *end != '\0' || value < 0 || value > max) {
        struct error err;
        (void)error_set(&err, ERR_INVALID, "query parameter \"%s\" must be a number from 0 to %lld",
                        name, (long long)max);
        call_error(call, err.code, &err);
        return false;
    }
    *ret_value = value;
    return true;
}

/* ---- Requests
 * ------------------------------------------------------------------------------------- */

static void call_handle(struct api_call *call)
{
    if (call->req != NULL)
        call->route->handle(call);
}

static void call_after_barrier(void *ctx)
{
    struct api_call *call = ctx;
    call->pending--;
    call_handle(call);
    call_free(call);
}

static struct api_call *call_new(struct api *api, struct net_request *req)
{
    struct api_call *call = MEM_NEW(struct api_call);
    if (call == NULL) {
        net_respond(req, 503, "text/plain", NULL, "out of memory\n", 14);
        return NULL;
    }
    call->api = api;
    call->req = req;
    net_request_set_data(req, call);
    (void)snprintf(call->peer, sizeof(call->peer), "%s", net_request_peer(req));
    return call;
}

/* What anybody may send is small: else anybody could have memory held for him. False: answered. */
static bool call_may_send(struct api_call *call)
{
    struct error err = {0};
    const char *length = net_request_header(call->req, "content-length");
    size_t max = call->route->role == API_ANYBODY ? API_OPEN_BODY_MAX : call->route->body_max;
    if (max == 0 || length == NULL || strtoull(length, NULL, 10) <= max)
        return true;
    (void)error_set(&err, ERR_LIMIT, "the body may have at most %zu bytes here", max);
    call_error(call, err.code, &err);
    return false;
}

/* Whoever is refused has his body not even kept. */
static void api_head(void *ctx, struct net_request *req)
{
    struct api_call *call = call_new(ctx, req);
    if (call != NULL && call_route(call) && call_admit(call))
        (void)call_may_send(call);
}

static void api_request(void *ctx, struct net_request *req)
{
    struct api *api = ctx;
    struct api_call *call = net_request_data(req);
    bool known = call != NULL;
    if (!known)
        call = call_new(api, req);
    if (call == NULL || (known ? !call_admit_still(call) : !call_route(call) || !call_admit(call)))
        return;
    /* While the disk is full nothing becomes durable, and reading goes on. */
    if (call->route->barrier && !journal_stalled(api->config.journal, NULL, NULL)) {
        call->pending++;
        if (!journal_barrier(api->config.journal, call_after_barrier, call)) {
            call->pending--;
            call_error(call, ERR_NO_MEMORY, NULL);
        }
        return;
    }
    call_handle(call);
}

static void api_refused(void *ctx, const char *peer, const char *reason)
{
    struct api *api = ctx;
    char key[THROTTLE_KEY_BUFFER];
    api->refusals.handshakes++;
    throttle_address(peer, key);
    if (api->config.refused != NULL && throttle_note(api->handshakes, key, clock_mono_ms()).tell)
        api->config.refused(api->config.ctx, peer, reason);
}

static void api_request_closed(void *ctx, struct net_request *req)
{
    (void)ctx;
    struct api_call *call = net_request_data(req);
    if (call == NULL)
        return;
    call->req = NULL;
    if (call->stream != NULL)
        stream_free(call->stream);
    call->stream = NULL;
    if (call->pending == 0)
        call_backup_free(call);
    call_download_free(call);
    call_free(call);
}

/* ---- Lifetime
 * --------------------------------------------------------------------------------------- */

static enum error_code api_listen(struct net *net, struct api *api, struct error *err)
{
    const struct api_config *config = &api->config;
    struct net_server_config server = {
        .host = config->host,
        .port = config->port,
        .tls = config->access == NULL ? NULL : identity_tls(config->identity),
        .max_body = PLAN_MAX_BYTES,
        .max_message = WIRE_MAX_BYTES,
        .websocket_path = "/v1/agent",
        .websocket_protocol = "kitsune.v1",
        .ctx = api,
        .head = api_head,
        .request = api_request,
        .request_closed = api_request_closed,
        .websocket = session_begin,
        .events = session_events,
        .refused = api_refused,
    };
    enum error_code code = net_server_new(net, &server, &api->server, err);
    if (code != ERR_OK || config->socket == NULL)
        return code;
    server.host = config->socket;
    server.tls = NULL;
    server.websocket_path = NULL; /* an agent there could show nothing */
    server.unix_mode = config->socket_group == NULL ? SOCKET_MODE : SOCKET_GROUP_MODE;
    return net_server_new(net, &server, &api->local, err);
}

enum error_code api_new(struct net *net, const struct api_config *config, struct api **ret_api,
                        struct error *err)
{
    struct api *api = MEM_NEW(struct api);
    if (api == NULL)
        return error_set(err, ERR_NO_MEMORY, NULL);
    api->config = *config;
    enum error_code code = gatekeeping_new(api, err);
    if (code == ERR_OK)
        code = api_listen(net, api, err);
    if (code != ERR_OK) {
        api_free(api);
        return code;
    }
    *ret_api = api;
    return ERR_OK;
}

void api_free(struct api *api)
{
    if (api == NULL)
        return;
    gatekeeping_free(api);
    mem_free(api);
}

uint16_t api_port(const struct api *api)
{
    return net_server_port(api->server);
}

enum error_code api_renewed(struct api *api, struct error *err)
{
    return net_server_set_tls(api->server, identity_tls(api->config.identity), err);
}
