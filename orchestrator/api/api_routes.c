/* api_routes: what there is, and who may have it. */
#include "orchestrator/api/api_internal.h"

#include <string.h>

/* A route without a role is nobody's. What changes something, or hands out what only few may have,
 * has a name by which the audit log tells of it, and goes through call_change. */
static const struct api_route routes[] = {
    {NET_POST, "/v1/rollouts", handle_rollout_submit, false, API_OPERATOR, "rollout.submit", 0},
    {NET_GET, "/v1/rollouts", handle_rollout_list, true, API_VIEWER, NULL, 0},
    {NET_GET, "/v1/rollouts/{id}", handle_rollout_get, true, API_VIEWER, NULL, 0},
    {NET_GET, "/v1/rollouts/{id}/events", handle_rollout_events, true, API_VIEWER, NULL, 0},
    {NET_POST, "/v1/rollouts/{id}/cancel", handle_rollout_cancel, false, API_OPERATOR,
     "rollout.cancel", 0},
    {NET_POST, "/v1/rollouts/{id}/pause", handle_rollout_pause, false, API_OPERATOR,
     "rollout.pause", 0},
    {NET_POST, "/v1/rollouts/{id}/resume", handle_rollout_resume, false, API_OPERATOR,
     "rollout.resume", 0},
    /* What a later rollout did to a server is looked up among what is durable. */
    {NET_POST, "/v1/rollouts/{id}/rollback", handle_rollout_rollback, true, API_OPERATOR,
     "rollout.rollback", 0},
    {NET_POST, "/v1/rollouts/{id}/retry", handle_rollout_retry, false, API_OPERATOR,
     "rollout.retry", 0},
    {NET_POST, "/v1/rollouts/{id}/servers/{server}/resolve", handle_server_resolve, false,
     API_OPERATOR, "rollout.resolve", 0},
    {NET_GET, "/v1/rollouts/{id}/servers/{server}/steps/{step}/output", handle_step_output, true,
     API_VIEWER, NULL, 0},
    {NET_POST, "/v1/plans/validate", handle_plan_validate, false, API_VIEWER, NULL, 0},
    {NET_GET, "/v1/servers", handle_server_list, false, API_VIEWER, NULL, 0},
    {NET_GET, "/v1/servers/{id}", handle_server_get, true, API_VIEWER, NULL, 0},
    {NET_POST, "/v1/servers/{id}/lock", handle_server_lock, false, API_OPERATOR, "server.lock", 0},
    {NET_POST, "/v1/servers/{id}/unlock", handle_server_unlock, false, API_OPERATOR,
     "server.unlock", 0},
    {NET_GET, "/v1/handlers", handle_handler_list, false, API_VIEWER, NULL, 0},
    {NET_GET, "/v1/handlers/{type}", handle_handler_get, false, API_VIEWER, NULL, 0},
    {NET_POST, "/v1/artifacts", handle_artifact_begin, false, API_OPERATOR, "artifact.put",
     API_OPEN_BODY_MAX},
    {NET_GET, "/v1/artifacts", handle_artifact_list, false, API_VIEWER, NULL, 0},
    {NET_GET, "/v1/artifacts/{sha256}", handle_artifact_get, false, API_VIEWER, NULL, 0},
    {NET_DELETE, "/v1/artifacts/{sha256}", handle_artifact_delete, false, API_OPERATOR,
     "artifact.delete", 0},
    {NET_PUT, "/v1/artifacts/{sha256}/content", handle_artifact_piece, false, API_OPERATOR,
     "artifact.content", API_PIECE_MAX},
    {NET_GET, "/v1/artifacts/{sha256}/content", handle_artifact_content, false, API_VIEWER, NULL,
     0},
    {NET_GET, "/v1/agent/artifacts/{sha256}", handle_agent_artifact, false, API_AGENT, NULL, 0},
    {NET_GET, "/v1/agent", handle_agent_get, false, API_AGENT, NULL, 0},
    {NET_POST, "/v1/enrol", handle_enrol, false, API_ANYBODY, "agent.enrol", 0},
    {NET_POST, "/v1/renew", handle_renew, false, API_AGENT, "agent.renew", 0},
    {NET_GET, "/v1/ca", handle_ca, false, API_ANYBODY, NULL, 0},
    {NET_GET, "/v1/whoami", handle_whoami, false, API_VIEWER, NULL, 0},
    {NET_GET, "/v1/tokens", handle_token_list, false, API_ADMIN, NULL, 0},
    {NET_POST, "/v1/tokens", handle_token_create, false, API_ADMIN, "token.create", 0},
    {NET_POST, "/v1/tokens/{name}/revoke", handle_token_revoke, false, API_ADMIN, "token.revoke",
     0},
    {NET_GET, "/v1/agents", handle_agent_list, false, API_VIEWER, NULL, 0},
    {NET_POST, "/v1/agents/{server}/ticket", handle_agent_ticket, false, API_ADMIN, "agent.ticket",
     0},
    {NET_POST, "/v1/agents/{server}/revoke", handle_agent_revoke, false, API_ADMIN, "agent.revoke",
     0},
    {NET_GET, "/v1/audit", handle_audit_list, false, API_ADMIN, NULL, 0},
    {NET_GET, "/v1/audit/verify", handle_audit_verify, false, API_ADMIN, NULL, 0},
    {NET_GET, "/v1/backup", handle_backup, true, API_ADMIN, "backup", 0},
    {NET_GET, "/healthz", handle_health, false, API_ANYBODY, NULL, 0},
    {NET_GET, "/readyz", handle_ready, false, API_ANYBODY, NULL, 0},
    {NET_GET, "/metrics", handle_metrics, false, API_VIEWER, NULL, 0},
};

const struct api_route *api_routes(size_t *ret_count)
{
    *ret_count = ARRAY_LEN(routes);
    return routes;
}

/* Matches a path segment by segment; what {..} stands for goes into params. */
static bool route_match(const char *pattern, const char *path,
                        char params[API_MAX_PARAMS][API_PARAM_MAX + 1])
{
    size_t param = 0;
    while (*pattern != '\0' && *path != '\0') {
        if (*pattern != '{') {
            if (*pattern++ != *path++)
                return false;
            continue;
        }
        size_t len = strcspn(path, "/");
        if (len == 0 || len > API_PARAM_MAX || param == API_MAX_PARAMS)
            return false;
        memcpy(params[param], path, len);
        params[param++][len] = '\0';
        path += len;
        pattern = strchr(pattern, '}') + 1;
    }
    return *pattern == '\0' && *path == '\0';
}

static void call_no_route(struct api_call *call, bool path_known)
{
    char type[] = "about:blank";
    char missing[] = "Not found", method[] = "Method not allowed";
    char no_path[] = "there is nothing at this path", no_method[] = "not with this method";
    struct api_problem problem = {
        .type = type,
        .title = path_known ? method : missing,
        .status = path_known ? 405 : 404,
        .detail = path_known ? no_method : no_path,
    };
    call_problem(call, (int)problem.status, &problem);
}

bool call_route(struct api_call *call)
{
    enum net_method method = net_request_method(call->req);
    enum net_method wanted = method == NET_HEAD ? NET_GET : method;
    bool path_known = false;
    for (size_t i = 0; i < ARRAY_LEN(routes); i++) {
        if (!route_match(routes[i].pattern, net_request_path(call->req), call->params))
            continue;
        path_known = true;
        if (routes[i].method == wanted) {
            call->route = &routes[i];
            return true;
        }
    }
    call_no_route(call, path_known);
    return false;
}
