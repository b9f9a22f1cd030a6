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

/* Reads the body, {} when there is none. False: answered here. The caller releases it. */
static bool call_body(struct api_call *call, const struct json_table *table, void *ret)
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

/* ---- Orders to a rollout
 * ------------------------------------------------------------------------------ */

static void call_order(struct api_call *call, const char *id, const struct dispatcher_order *order)
{
    struct error err = {0};
    call_await(call, 202);
    enum error_code code =
        dispatcher_order(call->api->config.dispatcher, id, order, call_rollout_done, call, &err);
    if (code != ERR_OK)
        call_refused(call, code, &err);
}

void handle_rollout_cancel(struct api_call *call)
{
    char id[ID_BUFFER];
    struct api_cancel body = {0};
    if (!call_rollout_id(call, id) || !call_body(call, &api_cancel_table, &body))
        return;
    const struct dispatcher_order order = {.command = COMMAND_CANCEL,
                                           .now = body.now,
                                           .rollback = body.rollback,
                                           .by = body.by,
                                           .reason = body.reason};
    call_order(call, id, &order);
    json_release(&api_cancel_table, &body);
}

static void call_request(struct api_call *call, enum dispatcher_command command)
{
    char id[ID_BUFFER];
    struct api_request body = {0};
    if (!call_rollout_id(call, id) || !call_body(call, &api_request_table, &body))
        return;
    const struct dispatcher_order order = {
        .command = command, .by = body.by, .reason = body.reason};
    call_order(call, id, &order);
    json_release(&api_request_table, &body);
}

void handle_rollout_pause(struct api_call *call)
{
    call_request(call, COMMAND_PAUSE);
}

void handle_rollout_resume(struct api_call *call)
{
    call_request(call, COMMAND_RESUME);
}

void handle_rollout_rollback(struct api_call *call)
{
    char id[ID_BUFFER];
    struct error err = {0};
    struct api_rollback body = {0};
    if (!call_rollout_id(call, id) || !call_body(call, &api_rollback_table, &body))
        return;
    const struct dispatcher_rollback order = {.servers = body.servers.items,
                                              .server_count = body.servers.count,
                                              .now = body.now,
                                              .force = body.force,
                                              .by = body.by,
                                              .reason = body.reason};
    call_await(call, 202);
    enum error_code code = dispatcher_rollback(call->api->config.dispatcher, id, &order,
                                               call_rollout_done, call, &err);
    if (code != ERR_OK)
        call_refused(call, code, &err);
    json_release(&api_rollback_table, &body);
}

void handle_server_resolve(struct api_call *call)
{
    char id[ID_BUFFER];
    struct error err = {0};
    struct api_resolve body = {0};
    if (!call_rollout_id(call, id) || !call_body(call, &api_resolve_table, &body))
        return;
    const struct dispatcher_resolve resolve = {.server = call->params[1],
                                               .as = (enum execution_state)body.as,
                                               .by = body.by,
                                               .reason = body.reason};
    call_await(call, 202);
    enum error_code code = dispatcher_resolve(call->api->config.dispatcher, id, &resolve,
                                              call_rollout_done, call, &err);
    if (code != ERR_OK)
        call_refused(call, code, &err);
    json_release(&api_resolve_table, &body);
}

/* ---- Orders to a server
 * ------------------------------------------------------------------------------- */

static bool call_server_id(struct api_call *call)
{
    struct error err = {0};
    if (id_valid(call->params[0]))
        return true;
    (void)error_set(&err, ERR_INVALID, "\"%s\" is no server id", call->params[0]);
    call_error(call, err.code, &err);
    return false;
}

void handle_server_lock(struct api_call *call)
{
    struct error err = {0};
    struct api_lock body = {0};
    if (!call_server_id(call) || !call_body(call, &api_lock_table, &body))
        return;
    const struct dispatcher_lock lock = {
        .server = call->params[0], .by = body.by, .reason = body.reason};
    call_await(call, 200);
    enum error_code code =
        dispatcher_lock(call->api->config.dispatcher, &lock, call_server_done, call, &err);
    if (code != ERR_OK)
        call_refused(call, code, &err);
    json_release(&api_lock_table, &body);
}

void handle_server_unlock(struct api_call *call)
{
    struct error err = {0};
    struct api_unlock body = {0};
    if (!call_server_id(call) || !call_body(call, &api_unlock_table, &body))
        return;
    const struct dispatcher_lock lock = {.server = call->params[0], .by = body.by};
    call_await(call, 200);
    enum error_code code =
        dispatcher_unlock(call->api->config.dispatcher, &lock, call_server_done, call, &err);
    if (code != ERR_OK)
        call_refused(call, code, &err);
    json_release(&api_unlock_table, &body);
}
