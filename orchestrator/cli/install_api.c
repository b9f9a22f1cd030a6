#include "orchestrator/cli/install_api.h"

#include "common/base/cleanup.h"
#include "common/pki/pki_cert.h"
#include "orchestrator/api/api_doc.h"
#include "orchestrator/api/api_doc_access.h"

#include <stdio.h>
#include <string.h>

enum { STATUS_NOT_FOUND = 404 };
_Static_assert((int)FACTS_SUM_MAX == (int)PKI_FINGERPRINT_MAX, "both are SHA-256 in hexadecimal");
DEFINE_CLEANUP(pki_certs_free, struct pki_certs)

bool install_api_init(struct install_api *api, struct client *client)
{
    api->client = client;
    return pthread_mutex_init(&api->mutex, NULL) == 0;
}

void install_api_done(struct install_api *api)
{
    (void)pthread_mutex_destroy(&api->mutex);
}

static enum error_code call(struct install_api *api, const struct request *request,
                            struct answer *answer, struct error *err)
{
    (void)pthread_mutex_lock(&api->mutex);
    enum error_code code = client_call(api->client, request, answer, err);
    (void)pthread_mutex_unlock(&api->mutex);
    return code == ERR_OK ? code : error_wrap(err, "the orchestrator");
}

/* What a refusal says, on one line. */
static enum error_code refused(const struct answer *answer, struct error *err)
{
    struct api_problem p = {0};
    enum error_code code = ERR_DENIED;
    if (answer->body.len > 0 &&
        json_read(answer->body.data, answer->body.len, CLIENT_MAX_ANSWER, &api_problem_table, &p,
                  NULL) == ERR_OK &&
        (p.title || p.detail))
        code = error_set(err, ERR_DENIED, "the orchestrator refuses it: %.100s%s%.100s",
                         p.title ? p.title : "", p.title && p.detail ? ": " : "",
                         p.detail ? p.detail : "");
    else
        code = error_set(err, ERR_DENIED, "the orchestrator refuses it: HTTP status %ld",
                         answer->status);
    json_release(&api_problem_table, &p);
    return code;
}

static enum error_code path_of(struct buf *path, const char *head, const char *server,
                               const char *tail, struct error *err)
{
    buf_puts(path, head);
    url_put(path, server);
    buf_puts(path, tail);
    return buf_check(path, err);
}

enum error_code install_api_ticket(void *ctx, const char *server, bool replace,
                                   char ret[JOB_TOKEN_MAX], struct error *err)
{
    AUTO_BUF struct buf path = BUF_INIT;
    AUTO_BUF struct buf body = BUF_INIT;
    AUTO_ANSWER struct answer answer = {0};
    struct api_ticket ticket = {0};
    const struct api_ticket_request wanted = {.replace = replace};
    json_encode(&body, &api_ticket_request_table, &wanted);
    enum error_code code = path_of(&path, "/v1/agents/", server, "/ticket", err);
    if (code == ERR_OK)
        code = buf_check(&body, err);
    if (code != ERR_OK)
        return code;
    const struct request request = {
        .method = "POST", .path = path.data, .body = body.data, .len = body.len};
    code = call(ctx, &request, &answer, err);
    if (code == ERR_OK && answer.status >= API_REFUSED)
        code = refused(&answer, err);
    if (code == ERR_OK)
        code = json_read(answer.body.len > 0 ? answer.body.data : "", answer.body.len,
                         CLIENT_MAX_ANSWER, &api_ticket_table, &ticket, err);
    if (code == ERR_OK && strlen(ticket.token) >= JOB_TOKEN_MAX)
        code = error_set(err, ERR_PROTOCOL, "the orchestrator's ticket is too long");
    if (code == ERR_OK)
        memcpy(ret, ticket.token, strlen(ticket.token) + 1);
    if (ticket.token)
        explicit_bzero(ticket.token, strlen(ticket.token));
    json_release(&api_ticket_table, &ticket);
    return code;
}

enum error_code install_api_seen(void *ctx, const char *server, struct job_seen *ret,
                                 struct error *err)
{
    AUTO_BUF struct buf path = BUF_INIT;
    AUTO_ANSWER struct answer answer = {0};
    struct api_server s = {0};
    enum error_code code = path_of(&path, "/v1/servers/", server, "", err);
    if (code != ERR_OK)
        return code;
    const struct request request = {.method = "GET", .path = path.data};
    code = call(ctx, &request, &answer, err);
    if (code != ERR_OK)
        return code;
    if (answer.status == STATUS_NOT_FOUND) {
        *ret = (struct job_seen){0};
        return ERR_OK;
    }
    if (answer.status >= API_REFUSED)
        return refused(&answer, err);
    code = json_read(answer.body.len > 0 ? answer.body.data : "", answer.body.len,
                     CLIENT_MAX_ANSWER, &api_server_table, &s, err);
    if (code == ERR_OK) {
        ret->connected = s.connected;
        (void)snprintf(ret->since, sizeof(ret->since), "%s", s.since ? s.since : "");
    }
    json_release(&api_server_table, &s);
    return code;
}

enum error_code install_api_revoke(void *ctx, const char *server, struct error *err)
{
    static const char body[] = "{\"reason\":\"uninstalled\"}";
    AUTO_BUF struct buf path = BUF_INIT;
    AUTO_ANSWER struct answer answer = {0};
    enum error_code code = path_of(&path, "/v1/agents/", server, "/revoke", err);
    if (code != ERR_OK)
        return code;
    const struct request request = {.method = "POST",
                                    .path = path.data,
                                    .body = body,
                                    .len = sizeof(body) - 1,
                                    .repeatable = true};
    code = call(ctx, &request, &answer, err);
    if (code != ERR_OK || answer.status < API_REFUSED || answer.status == STATUS_NOT_FOUND)
        return code;
    return refused(&answer, err);
}

enum error_code install_api_ca(struct install_api *api, char ret[FACTS_SUM_MAX], struct error *err)
{
    AUTO_ANSWER struct answer answer = {0};
    AUTO(pki_certs_free) struct pki_certs *certs = NULL;
    struct pki_facts facts = {0};
    const struct request request = {.method = "GET", .path = "/v1/ca", .repeatable = true};
    enum error_code code = call(api, &request, &answer, err);
    if (code == ERR_OK && answer.status >= API_REFUSED)
        code = refused(&answer, err);
    if (code == ERR_OK)
        code = pki_certs_parse(answer.body.len > 0 ? answer.body.data : "", answer.body.len,
                               "the orchestrator's CA", &certs, err);
    if (code == ERR_OK)
        code = pki_certs_facts(certs, 0, &facts, err);
    if (code == ERR_OK)
        memcpy(ret, facts.fingerprint, FACTS_SUM_MAX);
    return code;
}
