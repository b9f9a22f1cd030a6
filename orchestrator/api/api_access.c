/* api_access: who asks, and what he may. */
#include "orchestrator/api/api_internal.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

enum { MINUTE_MS = 60 * 1000 };

const char *const api_role_names[API_ROLE_COUNT] = {
    [API_NO_RULE] = "no rule",   [API_ANYBODY] = "anybody", [API_VIEWER] = "viewer",
    [API_OPERATOR] = "operator", [API_ADMIN] = "admin",     [API_AGENT] = "agent",
};

enum error_code gatekeeping_new(struct api *api, struct error *err)
{
    const struct throttle_config failures = {API_FAILURES_MAX, API_TOLD_MAX, MINUTE_MS};
    const struct throttle_config renewals = {API_RENEWALS_MAX, API_TOLD_MAX, MINUTE_MS};
    if (api->config.access == NULL)
        return ERR_OK;
    enum error_code code = throttle_new(&failures, &api->failures, err);
    if (code == ERR_OK)
        code = throttle_new(&failures, &api->forbidden, err);
    if (code == ERR_OK)
        code = throttle_new(&failures, &api->handshakes, err);
    return code == ERR_OK ? throttle_new(&renewals, &api->renewals, err) : code;
}

void gatekeeping_free(struct api *api)
{
    throttle_free(api->failures);
    throttle_free(api->forbidden);
    throttle_free(api->handshakes);
    throttle_free(api->renewals);
}

/* ---- Refusals ---------------------------------------------------------------------------------
 */

static void call_refuse_plainly(struct api_call *call, int status, const char *why)
{
    static const struct {
        int status;
        const char *title;
    } titles[] = {{401, "Not authenticated"}, {403, "Not allowed"}, {429, "Too many attempts"}};
    char type[] = "about:blank";
    struct api_problem problem = {
        .type = type, .status = status, .detail = call_keep_string(call, why)};
    for (size_t i = 0; i < ARRAY_LEN(titles); i++) {
        if (titles[i].status == status)
            problem.title = call_keep_string(call, titles[i].title);
    }
    call_problem(call, status, &problem);
}

/* A secret has 256 random bits and is not found by trying, so the limit is not what keeps anybody
 * out: it keeps the log small and the disk free. Who has a good token is let in all the same, or
 * else anybody behind the same address could lock the operators out. */
static void call_too_many(struct api_call *call, int64_t wait_ms)
{
    char header[64];
    int len = snprintf(header, sizeof(header), "Retry-After: %" PRId64 "\r\n", wait_ms / 1000 + 1);
    call->headers = call_keep(call, header, (size_t)len);
    call_refuse_plainly(call, 429,
                        "too many attempts without a good token came from this address; wait, and "
                        "mend what asks");
}

void call_bad_secret(struct api_call *call, const struct error *err)
{
    struct api *api = call->api;
    char key[THROTTLE_KEY_BUFFER];
    api->refusals.unknown++;
    throttle_address(net_request_peer(call->req), key);
    const struct throttle_verdict verdict = throttle_note(api->failures, key, clock_mono_ms());
    if (verdict.tell)
        call_audit_refusal(call, ERR_DENIED, err->message);
    if (verdict.over)
        call_too_many(call, verdict.wait_ms);
    else
        call_error(call, err->code, err);
}

static void call_unknown(struct api_call *call, const char *why)
{
    struct api *api = call->api;
    char key[THROTTLE_KEY_BUFFER];
    uid_t uid = 0;
    pid_t pid = 0;
    api->refusals.unknown++;
    throttle_address(net_request_peer(call->req), key);
    const struct throttle_verdict verdict = throttle_note(api->failures, key, clock_mono_ms());
    if (verdict.tell)
        call_audit_refusal(call, ERR_DENIED, why);
    if (verdict.over && !net_request_peer_user(call->req, &uid, &pid)) {
        call_too_many(call, verdict.wait_ms);
        return;
    }
    call->headers = "WWW-Authenticate: Bearer realm=\"kitsune\"\r\n";
    call_refuse_plainly(call, 401, why);
}

static void call_forbidden(struct api_call *call, const char *why)
{
    struct api *api = call->api;
    api->refusals.forbidden++;
    const char *key = call->caller.name[0] != '\0' ? call->caller.name : "nobody";
    if (throttle_note(api->forbidden, key, clock_mono_ms()).tell)
        call_audit_refusal(call, ERR_DENIED, why);
    call_refuse_plainly(call, 403, why);
}

/* ---- Who it is --------------------------------------------------------------------------------
 */

static enum error_code caller_of_token(struct api_call *call, const char *header, struct error *err)
{
    static const char scheme[] = "Bearer ";
    const struct access_token *token = NULL;
    if (strncasecmp(header, scheme, sizeof(scheme) - 1) != 0)
        return error_set(err, ERR_DENIED, "the authorization must be \"Bearer\" and a token");
    const char *secret = header + sizeof(scheme) - 1;
    secret += strspn(secret, " ");
    enum error_code code =
        access_authenticate(call->api->config.access, secret, clock_wall_ms(), &token, err);
    if (code != ERR_OK)
        return code;
    call->caller =
        (struct caller){.kind = CALLER_TOKEN, .role = token->role, .created_ms = token->created_ms};
    memcpy(call->caller.name, token->name, strlen(token->name));
    return ERR_OK;
}

static void caller_of_user(struct api_call *call, uid_t uid)
{
    const gid_t *group = call->api->config.socket_group;
    struct caller *caller = &call->caller;
    caller->kind = CALLER_LOCAL;
    (void)snprintf(caller->name, sizeof(caller->name), "uid %u", (unsigned)uid);
    if (uid == 0 || uid == geteuid())
        caller->role = ROLE_ADMIN;
    else if (group != NULL && net_request_peer_in_group(call->req, *group))
        caller->role = ROLE_OPERATOR;
}

enum error_code caller_of_agent(struct api *api, const struct pki_facts *facts,
                                struct caller *ret_caller, struct error *err)
{
    const char *server = identity_server(facts->identity);
    if (server == NULL)
        return error_set(err, ERR_DENIED, "the certificate is no agent's");
    enum error_code code =
        access_certificate_check(api->config.access, facts->serial, server, clock_wall_ms(), err);
    if (code != ERR_OK)
        return code;
    *ret_caller = (struct caller){.kind = CALLER_AGENT};
    memcpy(ret_caller->name, server, strlen(server));
    memcpy(ret_caller->serial, facts->serial, strlen(facts->serial));
    return ERR_OK;
}

/* What is said outright counts before what is known of the connection. */
static enum error_code call_identify(struct api_call *call, struct error *err)
{
    uid_t uid = 0;
    pid_t pid = 0;
    const char *header = net_request_header(call->req, "authorization");
    if (header != NULL) {
        enum error_code code = caller_of_token(call, header, err);
        net_request_wipe(call->req, "authorization");
        return code;
    }
    if (net_request_peer_user(call->req, &uid, &pid)) {
        caller_of_user(call, uid);
        return ERR_OK;
    }
    const struct pki_facts *facts = net_request_identity(call->req);
    return facts == NULL ? ERR_OK : caller_of_agent(call->api, facts, &call->caller, err);
}

/* ---- What he may ------------------------------------------------------------------------------
 */

static bool role_suffices(enum api_role wanted, const struct caller *caller)
{
    switch (wanted) {
    case API_ANYBODY:
        return true;
    case API_VIEWER:
        return caller->role >= ROLE_VIEWER;
    case API_OPERATOR:
        return caller->role >= ROLE_OPERATOR;
    case API_ADMIN:
        return caller->role >= ROLE_ADMIN;
    case API_AGENT:
        return caller->kind == CALLER_AGENT;
    case API_NO_RULE:
    case API_ROLE_COUNT:
        return false;
    }
    return false;
}

static void call_role_too_small(struct api_call *call)
{
    char why[256];
    const struct caller *caller = &call->caller;
    enum api_role wanted = call->route->role;
    assert(wanted < API_ROLE_COUNT);
    if (wanted == API_AGENT)
        (void)snprintf(why, sizeof(why), "this is for agents, which show a certificate");
    else if (caller->kind == CALLER_AGENT)
        (void)snprintf(why, sizeof(why), "an agent may not do this");
    else
        (void)snprintf(why, sizeof(why), "this needs the role %s, and %.64s is %s",
                       api_role_names[wanted], caller->name, access_role_names[caller->role]);
    call_forbidden(call, why);
}

const struct access_token *caller_token(const struct api *api, const struct caller *caller)
{
    const struct access_token *token = NULL;
    if (caller->kind != CALLER_TOKEN ||
        !access_token(api->config.access, caller->name, clock_wall_ms(), &token))
        return NULL;
    bool same = token->created_ms == caller->created_ms && token->role == caller->role;
    return same ? token : NULL;
}

/* What confines the caller; *ret_scope NULL: nothing does. False: answered here, since the token
 * was revoked while the request waited. */
static bool call_confined(struct api_call *call, const struct access_scope **ret_scope)
{
    *ret_scope = NULL;
    if (call->caller.kind != CALLER_TOKEN)
        return true;
    const struct access_token *token = caller_token(call->api, &call->caller);
    if (token == NULL) {
        call_unknown(call, "the token is not good any more");
        return false;
    }
    *ret_scope = &token->scope;
    return true;
}

/* A browser sends what any page asks it to send, and a name that leads here can be anybody's: where
 * nobody is asked who he is, pages from elsewhere are kept out by what they cannot choose. */
static bool call_from_here(struct api_call *call)
{
    char host[NET_MAX_HEADER_VALUE] = "";
    char own[NET_MAX_HEADER_VALUE + 8] = "";
    const char *named = net_request_header(call->req, "host");
    const char *origin = net_request_header(call->req, "origin");
    if (named == NULL)
        return origin == NULL;
    const char *start = named[0] == '[' ? named + 1 : named;
    (void)snprintf(host, sizeof(host), "%.*s", (int)strcspn(start, named[0] == '[' ? "]" : ":"),
                   start);
    (void)snprintf(own, sizeof(own), "http://%s", named);
    return net_host_loopback(host) && (origin == NULL || strcmp(origin, own) == 0);
}

static bool call_admit_all(struct api_call *call)
{
    call->caller = (struct caller){.kind = CALLER_ANYBODY, .role = ROLE_ADMIN};
    if (call_from_here(call))
        return true;
    call_refuse_plainly(call, 403, "with --insecure-dev no page from elsewhere is let in");
    return false;
}

bool call_admit_still(struct api_call *call)
{
    const struct access_scope *scope = NULL;
    return call_confined(call, &scope);
}

bool call_admit(struct api_call *call)
{
    struct error err = {0};
    if (call->api->config.access == NULL)
        return call_admit_all(call);
    if (call->route->role == API_ANYBODY)
        return true;
    if (call_identify(call, &err) != ERR_OK) {
        call_unknown(call, err.message);
        return false;
    }
    if (role_suffices(call->route->role, &call->caller))
        return true;
    if (call->caller.kind == CALLER_NOBODY && call->route->role != API_AGENT)
        call_unknown(call, "this needs a token: \"Authorization: Bearer kit_...\"");
    else
        call_role_too_small(call);
    return false;
}

/* ---- Scope ------------------------------------------------------------------------------------
 */

static bool scope_lets_server(struct api_call *call, const struct access_scope *scope,
                              const char *server)
{
    char why[256];
    if (access_scope_server(scope, server))
        return true;
    (void)snprintf(why, sizeof(why), "server \"%.128s\" is outside of what this token may change",
                   server);
    call_forbidden(call, why);
    return false;
}

static bool scope_lets_step(struct api_call *call, const struct access_scope *scope,
                            const struct plan_step *step)
{
    char why[256];
    if (access_scope_step(scope, step->type))
        return true;
    (void)snprintf(why, sizeof(why),
                   "step \"%.80s\" is of type %.64s, which is outside of what this token may use",
                   step->name, step->type);
    call_forbidden(call, why);
    return false;
}

bool call_may_server(struct api_call *call, const char *server)
{
    const struct access_scope *scope = NULL;
    return call_confined(call, &scope) && (scope == NULL || scope_lets_server(call, scope, server));
}

bool call_may_plan(struct api_call *call, const struct plan *plan)
{
    const struct access_scope *scope = NULL;
    if (!call_confined(call, &scope))
        return false;
    if (scope == NULL)
        return true;
    for (uint32_t i = 0; i < plan_server_count(plan) && scope->servers.count > 0; i++) {
        if (!scope_lets_server(call, scope, plan_server(plan, i)))
            return false;
    }
    for (uint32_t i = 0; i < plan_step_count(plan); i++) {
        if (!scope_lets_step(call, scope, plan_step(plan, i)))
            return false;
    }
    return true;
}

bool call_may_rollout(struct api_call *call, const char *id)
{
    struct rollout_view view;
    struct error err = {0};
    if (call->caller.kind != CALLER_TOKEN)
        return true;
    enum error_code code = dispatcher_rollout(call->api->config.dispatcher, id, &view, &err);
    if (code == ERR_OK)
        return call_may_plan(call, view.plan);
    call_error(call, code, &err);
    return false;
}

bool call_may_unconfined(struct api_call *call)
{
    const struct access_scope *scope = NULL;
    if (!call_confined(call, &scope))
        return false;
    if (scope == NULL || (scope->servers.count == 0 && scope->steps.count == 0))
        return true;
    call_forbidden(call, "a token that is confined to servers or step types cannot do this");
    return false;
}

const char *call_by(const struct api_call *call, const char *said)
{
    const struct caller *caller = &call->caller;
    bool may_say = caller->kind == CALLER_ANYBODY || caller->kind == CALLER_LOCAL;
    if ((may_say && said != NULL) || caller->name[0] == '\0')
        return may_say ? said : NULL;
    return caller->name;
}
