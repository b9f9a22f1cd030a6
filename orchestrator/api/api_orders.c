/* api_orders: what people order of a rollout, and of a server. */
#include "orchestrator/api/api_internal.h"

#include <string.h>

/* ---- Answers
 * ------------------------------------------------------------------------------------------ */

void call_await(struct api_call *call, int status)
{
    call->pending++;
    call->status = status;
}

void call_refused(struct api_call *call, enum error_code code, const struct error *err)
{
    call->pending--;
    call_error(call, code, err);
}

void call_rollout_done(void *ctx, enum error_code result, const struct error *err, const char *id)
{
    struct api_call *call = ctx;
    call->pending--;
    if (call->req != NULL) {
        if (result == ERR_OK)
            call_rollout(call, call->repeat ? 200 : call->status, id);
        else
            call_error(call, result, err);
    }
    call_free(call);
}

static void call_server_done(void *ctx, enum error_code result, const struct error *err,
                             const char *id)
{
    struct api_call *call = ctx;
    call->pending--;
    if (call->req != NULL) {
        if (result == ERR_OK)
            call_server(call, call->status, id);
        else
            call_error(call, result, err);
    }
    call_free(call);
}

bool call_body(struct api_call *call, const struct json_table *table, void *ret)
{
    struct error err = {0};
    size_t len = 0;
    const char *body = net_request_body(call->req, &len);
    enum error_code code = len == 0 ? json_read("{}", 2, 2, table, ret, &err)
                                    : json_read(body, len, PLAN_MAX_BYTES, table, ret, &err);
    if (code != ERR_OK)
        call_error(call, code, &err);
    return code == ERR_OK;
}

/* ---- What is asked for -------------------------------------------------------------------------
 */

struct order {
    const struct json_table *table; /* of the body */
    char id[ID_BUFFER];             /* the rollout, or the server */
    enum dispatcher_command command;
    union {
        struct api_cancel cancel;
        struct api_request request;
        struct api_rollback rollback;
        struct api_resolve resolve;
        struct api_lock lock;
        struct api_unlock unlock;
    } body;
};

static void order_free(void *p)
{
    struct order *order = p;
    json_release(order->table, &order->body);
    mem_free(order);
}

/* With the body read. NULL: answered here. */
static struct order *call_order_new(struct api_call *call, const struct json_table *table,
                                    const char *id)
{
    struct order *order = MEM_NEW(struct order);
    if (order == NULL) {
        call_error(call, ERR_NO_MEMORY, NULL);
        return NULL;
    }
    order->table = table;
    memcpy(order->id, id, strlen(id));
    call->order = order;
    call->order_free = order_free;
    return call_body(call, table, &order->body) ? order : NULL;
}

static struct order *call_rollout_order(struct api_call *call, const struct json_table *table)
{
    char id[ID_BUFFER];
    if (!call_rollout_id(call, id) || !call_may_rollout(call, id))
        return NULL;
    return call_order_new(call, table, id);
}

/* ---- Orders to a rollout
 * ------------------------------------------------------------------------------ */

static void call_order(struct api_call *call, const struct dispatcher_order *order)
{
    struct error err = {0};
    const struct order *asked = call->order;
    call_await(call, 202);
    enum error_code code = dispatcher_order(call->api->config.dispatcher, asked->id, order,
                                            call_rollout_done, call, &err);
    if (code != ERR_OK)
        call_refused(call, code, &err);
}

static void rollout_cancel(struct api_call *call)
{
    const struct order *asked = call->order;
    const struct api_cancel *body = &asked->body.cancel;
    const struct dispatcher_order order = {.command = COMMAND_CANCEL,
                                           .now = body->now,
                                           .rollback = body->rollback,
                                           .by = call_by(call, body->by),
                                           .reason = body->reason};
    call_order(call, &order);
}

void handle_rollout_cancel(struct api_call *call)
{
    const struct order *asked = call_rollout_order(call, &api_cancel_table);
    if (asked != NULL)
        call_change(call, asked->id, asked->body.cancel.reason, rollout_cancel);
}

static void rollout_request(struct api_call *call)
{
    const struct order *asked = call->order;
    const struct dispatcher_order order = {.command = asked->command,
                                           .by = call_by(call, asked->body.request.by),
                                           .reason = asked->body.request.reason};
    call_order(call, &order);
}

static void call_request(struct api_call *call, enum dispatcher_command command)
{
    struct order *asked = call_rollout_order(call, &api_request_table);
    if (asked == NULL)
        return;
    asked->command = command;
    call_change(call, asked->id, asked->body.request.reason, rollout_request);
}

void handle_rollout_pause(struct api_call *call)
{
    call_request(call, COMMAND_PAUSE);
}

void handle_rollout_resume(struct api_call *call)
{
    call_request(call, COMMAND_RESUME);
}

static void rollout_rollback(struct api_call *call)
{
    struct error err = {0};
    const struct order *asked = call->order;
    const struct api_rollback *body = &asked->body.rollback;
    const struct dispatcher_rollback order = {.servers = body->servers.items,
                                              .server_count = body->servers.count,
                                              .now = body->now,
                                              .force = body->force,
                                              .by = call_by(call, body->by),
                                              .reason = body->reason};
    call_await(call, 202);
    enum error_code code = dispatcher_rollback(call->api->config.dispatcher, asked->id, &order,
                                               call_rollout_done, call, &err);
    if (code != ERR_OK)
        call_refused(call, code, &err);
}

void handle_rollout_rollback(struct api_call *call)
{
    const struct order *asked = call_rollout_order(call, &api_rollback_table);
    if (asked != NULL)
        call_change(call, asked->id, asked->body.rollback.reason, rollout_rollback);
}

static void server_resolve(struct api_call *call)
{
    struct error err = {0};
    const struct order *asked = call->order;
    const struct api_resolve *body = &asked->body.resolve;
    const struct dispatcher_resolve resolve = {.server = call->params[1],
                                               .as = (enum execution_state)body->as,
                                               .by = call_by(call, body->by),
                                               .reason = body->reason};
    call_await(call, 202);
    enum error_code code = dispatcher_resolve(call->api->config.dispatcher, asked->id, &resolve,
                                              call_rollout_done, call, &err);
    if (code != ERR_OK)
        call_refused(call, code, &err);
}

void handle_server_resolve(struct api_call *call)
{
    const struct order *asked = call_rollout_order(call, &api_resolve_table);
    if (asked != NULL)
        call_change(call, asked->id, call->params[1], server_resolve);
}

/* ---- Orders to a server
 * ------------------------------------------------------------------------------- */

bool call_server_id(struct api_call *call)
{
    struct error err = {0};
    if (id_valid(call->params[0]))
        return true;
    (void)error_set(&err, ERR_INVALID, "\"%s\" is no server id", call->params[0]);
    call_error(call, err.code, &err);
    return false;
}

static struct order *call_server_order(struct api_call *call, const struct json_table *table)
{
    const char *server = call->params[0];
    if (!call_server_id(call) || !call_may_server(call, server))
        return NULL;
    return call_order_new(call, table, server);
}

static void server_lock(struct api_call *call)
{
    struct error err = {0};
    const struct order *asked = call->order;
    const struct dispatcher_lock lock = {.server = asked->id,
                                         .by = call_by(call, asked->body.lock.by),
                                         .reason = asked->body.lock.reason};
    call_await(call, 200);
    enum error_code code =
        dispatcher_lock(call->api->config.dispatcher, &lock, call_server_done, call, &err);
    if (code != ERR_OK)
        call_refused(call, code, &err);
}

void handle_server_lock(struct api_call *call)
{
    const struct order *asked = call_server_order(call, &api_lock_table);
    if (asked != NULL)
        call_change(call, asked->id, asked->body.lock.reason, server_lock);
}

static void server_unlock(struct api_call *call)
{
    struct error err = {0};
    const struct order *asked = call->order;
    const struct dispatcher_lock lock = {.server = asked->id,
                                         .by = call_by(call, asked->body.unlock.by)};
    call_await(call, 200);
    enum error_code code =
        dispatcher_unlock(call->api->config.dispatcher, &lock, call_server_done, call, &err);
    if (code != ERR_OK)
        call_refused(call, code, &err);
}

void handle_server_unlock(struct api_call *call)
{
    const struct order *asked = call_server_order(call, &api_unlock_table);
    if (asked != NULL)
        call_change(call, asked->id, NULL, server_unlock);
}
