/* api_session: agents' connections. */
#include "orchestrator/api/api_internal.h"

enum { CLOSE_POLICY = 1008 /* RFC 6455 section 7.4.1 */ };

void handle_agent_get(struct api_call *call)
{
    struct error err;
    (void)error_set(&err, ERR_INVALID, "agents connect here with a WebSocket upgrade");
    call_error(call, err.code, &err);
}

/* Whose the connection is. ERR_DENIED says why it is nobody's. */
static enum error_code session_identify(struct api *api, struct net_conn *conn,
                                        struct caller *ret_caller, int64_t *ret_not_after_ms,
                                        struct error *err)
{
    const struct pki_facts *facts = net_conn_identity(conn);
    if (facts == NULL)
        return error_set(err, ERR_DENIED, "it shows no certificate: agents enrol first");
    *ret_not_after_ms = facts->not_after_ms;
    return caller_of_agent(api, facts, ret_caller, err);
}

/* It is told why, which is nothing that it could not find out. */
static bool session_refuse(struct api *api, struct net_conn *conn, const struct error *why)
{
    const struct pki_facts *facts = net_conn_identity(conn);
    const char *server = facts == NULL ? NULL : identity_server(facts->identity);
    const struct dispatcher_alarm alarm = {.what = "agent.connect",
                                           .server = server,
                                           .peer = net_conn_peer(conn),
                                           .detail = why->message};
    (void)api_alarm(api, &alarm);
    net_conn_close(conn, CLOSE_POLICY, why->message);
    return true;
}

bool session_begin(void *ctx, struct net_conn *conn, void **ret_ctx)
{
    struct api *api = ctx;
    struct session *session = NULL;
    struct caller caller = {0};
    struct error err = {0};
    int64_t not_after_ms = 0;
    *ret_ctx = NULL;
    if (api->stopping)
        return false;
    if (api->config.access != NULL &&
        session_identify(api, conn, &caller, &not_after_ms, &err) != ERR_OK)
        return session_refuse(api, conn, &err);
    if (dispatcher_session_open(api->config.dispatcher, conn, net_conn_peer(conn), &session,
                                NULL) != ERR_OK)
        return false;
    if (api->config.access != NULL &&
        dispatcher_session_bind(session, caller.name, not_after_ms, NULL) != ERR_OK) {
        dispatcher_session_closed(session, "out of memory");
        return false;
    }
    *ret_ctx = session;
    return true;
}

static void session_message(void *ctx, struct net_conn *conn, const char *data, size_t len)
{
    (void)conn;
    if (ctx != NULL)
        dispatcher_session_frame(ctx, data, len);
}

static void session_closed(void *ctx, struct net_conn *conn, const char *reason)
{
    (void)conn;
    if (ctx != NULL)
        dispatcher_session_closed(ctx, reason);
}

const struct net_conn_events session_events = {.message = session_message,
                                               .closed = session_closed};

bool api_conn_send(void *conn, const char *data, size_t len)
{
    struct error err;
    return net_conn_send(conn, data, len, &err) == ERR_OK;
}

void api_conn_close(void *conn, uint16_t code, const char *reason)
{
    net_conn_close(conn, code, reason);
}

bool api_alarm(struct api *api, const struct dispatcher_alarm *alarm)
{
    api->refusals.agents++;
    return audit_alarm(api, alarm);
}
