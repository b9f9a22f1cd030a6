/* api_agents: tickets with which agents enrol, and their certificates. */
#include "orchestrator/api/api_internal.h"

#include "common/pki/pki_ca.h"
#include "common/pki/pki_cert.h"

#include <stdio.h>
#include <string.h>

DEFINE_CLEANUP(pki_certs_free, struct pki_certs)

/* False: answered here. */
static bool call_has_identity(struct api_call *call)
{
    struct error err = {0};
    if (call->api->config.access != NULL && call->api->config.identity != NULL)
        return true;
    (void)error_set(&err, ERR_UNSUPPORTED,
                    "with --insecure-dev there is no TLS, and agents have no certificates");
    call_error(call, err.code, &err);
    return false;
}

void handle_ca(struct api_call *call)
{
    if (!call_has_identity(call))
        return;
    AUTO_BUF struct buf pem = BUF_INIT;
    buf_puts(&pem, identity_ca_pem(call->api->config.identity));
    call_text(call, 200, "application/x-pem-file", &pem);
}

/* ---- Tickets ----------------------------------------------------------------------------------
 */

struct ticket_order {
    struct api_ticket_request request;
    struct access_ticket ticket;
    char secret[ACCESS_SECRET_BUFFER];
};

static void ticket_order_free(void *p)
{
    struct ticket_order *order = p;
    json_release(&api_ticket_request_table, &order->request);
    explicit_bzero(order->secret, sizeof(order->secret));
    mem_free(order);
}

static void ticket_made(void *ctx, enum error_code result, const struct error *err)
{
    struct api_call *call = ctx;
    const struct identity *identity = call->api->config.identity;
    struct ticket_order *order = call->order;
    call->pending--;
    if (result == ERR_OK) {
        const struct api_ticket document = {
            .token = order->secret,
            .server = call->params[0],
            .expires = call_time(call, order->ticket.expires_ms),
            .ca_fingerprint = call_keep_string(call, identity_ca_fingerprint(identity)),
            .ca = call_keep_string(call, identity_ca_pem(identity)),
        };
        call->secret = true;
        call_document(call, 201, &api_ticket_table, &document);
    } else {
        call_error(call, result, err);
    }
    call_free(call);
}

static void ticket_create(struct api_call *call)
{
    struct error err = {0};
    struct ticket_order *order = call->order;
    enum error_code code = access_ticket_create(call->api->config.access, &order->ticket,
                                                order->secret, ticket_made, call, &err);
    if (code == ERR_OK)
        call->pending++;
    else
        call_error(call, code, &err);
}

void handle_agent_ticket(struct api_call *call)
{
    if (!call_has_identity(call) || !call_server_id(call) ||
        !call_may_server(call, call->params[0]))
        return;
    struct ticket_order *order = MEM_NEW(struct ticket_order);
    if (order == NULL) {
        call_error(call, ERR_NO_MEMORY, NULL);
        return;
    }
    call->order = order;
    call->order_free = ticket_order_free;
    if (!call_body(call, &api_ticket_request_table, &order->request))
        return;
    int64_t ttl_s = order->request.ttl_s == 0 ? API_TICKET_TTL_DEFAULT_S : order->request.ttl_s;
    int64_t now_ms = clock_wall_ms();
    order->ticket = (struct access_ticket){.server = call->params[0],
                                           .created_ms = now_ms,
                                           .expires_ms = now_ms + ttl_s * 1000,
                                           .replace = order->request.replace};
    call_change(call, call->params[0],
                order->request.replace ? "also in place of a certificate that is good" : NULL,
                ticket_create);
}

/* ---- Certificates -----------------------------------------------------------------------------
 */

struct identity_order {
    struct api_enrol enrol;
    struct api_renew renew;
    const char *csr;
    char server[ID_BUFFER];
    char key[PKI_FINGERPRINT_MAX];
    struct pki_facts facts;
    struct buf pem; /* the certificate */
};

static void text_wipe(char *text)
{
    if (text != NULL)
        explicit_bzero(text, strlen(text));
}

static void identity_order_free(void *p)
{
    struct identity_order *order = p;
    text_wipe(order->enrol.token);
    json_release(&api_enrol_table, &order->enrol);
    json_release(&api_renew_table, &order->renew);
    buf_done(&order->pem);
    mem_free(order);
}

static struct identity_order *identity_order(struct api_call *call)
{
    struct identity_order *order = MEM_NEW(struct identity_order);
    if (order == NULL)
        call_error(call, ERR_NO_MEMORY, NULL);
    call->order = order;
    call->order_free = identity_order_free;
    return order;
}

static void call_identity(struct api_call *call)
{
    const struct identity_order *order = call->order;
    const struct api_identity document = {
        .certificate = order->pem.data,
        .ca = call_keep_string(call, identity_ca_pem(call->api->config.identity)),
        .expires = call_time(call, order->facts.not_after_ms),
    };
    call_document(call, 200, &api_identity_table, &document);
}

static void identity_recorded(void *ctx, enum error_code result, const struct error *err)
{
    struct api_call *call = ctx;
    call->pending--;
    if (result == ERR_OK)
        call_identity(call);
    else
        call_error(call, result, err);
    call_free(call);
}

/* Signs what is handed out once it is on record. */
static enum error_code identity_prepare(const struct api_call *call, struct error *err)
{
    struct identity_order *order = call->order;
    AUTO(pki_certs_free) struct pki_certs *certs = NULL;
    const struct identity_request request = {.csr = order->csr,
                                             .server = order->server,
                                             .now_ms = clock_wall_ms(),
                                             .lifetime_ms = call->api->config.agent_certificate_ms};
    enum error_code code = pki_csr_key(order->csr, order->key, err);
    if (code == ERR_OK)
        code = identity_sign(call->api->config.identity, &request, &certs, err);
    if (code == ERR_OK)
        code = pki_certs_facts(certs, 0, &order->facts, err);
    return code == ERR_OK ? pki_certs_pem(certs, &order->pem, err) : code;
}

static struct access_certificate identity_certificate(const struct identity_order *order)
{
    return (struct access_certificate){
        .serial = order->facts.serial,
        .server = order->server,
        .fingerprint = order->facts.fingerprint,
        .issued_ms = clock_wall_ms(),
        .not_after_ms = order->facts.not_after_ms,
        .key = order->key,
        .pem = order->pem.data,
    };
}

/* ---- Enrolling --------------------------------------------------------------------------------
 */

static void enrol(struct api_call *call)
{
    struct error err = {0};
    const struct api *api = call->api;
    const struct identity_order *order = call->order;
    const struct access_certificate certificate = identity_certificate(order);
    enum error_code code = access_enrol(api->config.access, order->enrol.token, &certificate,
                                        identity_recorded, call, &err);
    if (code != ERR_OK) {
        call_error(call, code, &err);
        return;
    }
    call->pending++;
    /* Whatever was connected under that name had a certificate that this one replaces. */
    dispatcher_server_end(api->config.dispatcher, order->server, "its identity was replaced");
}

/* A ticket that is used, by the one who used it: the answer was lost. */
static void enrol_again(struct api_call *call, const struct error *why)
{
    struct error err = {0};
    struct pki_certs *certs = NULL;
    struct identity_order *order = call->order;
    const struct access_again again = {.secret = order->enrol.token,
                                       .server = order->server,
                                       .key = order->key,
                                       .now_ms = clock_wall_ms()};
    enum error_code code = pki_csr_key(order->csr, order->key, &err);
    if (code == ERR_OK)
        code = access_enrolled(call->api->config.access, &again, &order->pem, &err);
    if (code == ERR_OK)
        code = pki_certs_parse(order->pem.data, order->pem.len, "the certificate", &certs, &err);
    if (code == ERR_OK)
        code = pki_certs_facts(certs, 0, &order->facts, &err);
    pki_certs_free(certs);
    if (code == ERR_OK)
        call_identity(call);
    else if (code == ERR_BUSY)
        call_error(call, code, &err);
    else
        call_bad_secret(call, why);
}

void handle_enrol(struct api_call *call)
{
    struct error err = {0};
    struct identity_order *order = NULL;
    if (!call_has_identity(call) || (order = identity_order(call)) == NULL)
        return;
    bool read = call_body(call, &api_enrol_table, &order->enrol);
    net_request_wipe(call->req, NULL);
    if (!read)
        return;
    const struct api_enrol *asked = &order->enrol;
    (void)snprintf(order->server, sizeof(order->server), "%s", asked->server);
    order->csr = asked->csr;
    call->target = order->server;
    enum error_code code = access_ticket_check(call->api->config.access, asked->token,
                                               asked->server, clock_wall_ms(), &err);
    if (code == ERR_DENIED) {
        enrol_again(call, &err);
        return;
    }
    if (code == ERR_OK)
        code = identity_prepare(call, &err);
    if (code == ERR_OK) {
        call->caller.kind = CALLER_AGENT; /* which the ticket has shown */
        memcpy(call->caller.name, order->server, sizeof(call->caller.name));
        call_change(call, order->server, order->facts.serial, enrol);
    } else {
        call_error(call, code, &err);
    }
}

/* ---- Renewing ---------------------------------------------------------------------------------
 */

static void renew(struct api_call *call)
{
    struct error err = {0};
    const struct access_certificate certificate = identity_certificate(call->order);
    enum error_code code = access_renew(call->api->config.access, call->caller.serial, &certificate,
                                        identity_recorded, call, &err);
    if (code == ERR_OK)
        call->pending++;
    else
        call_error(call, code, &err);
}

/* An agent that asks without end must fill neither the log nor the list of certificates. */
static bool call_renews_too_often(struct api_call *call)
{
    struct error err = {0};
    if (!throttle_note(call->api->renewals, call->caller.name, clock_mono_ms()).over)
        return false;
    (void)error_set(&err, ERR_BUSY, "more than %d renewals in a minute; ask again later",
                    API_RENEWALS_MAX);
    call_error(call, err.code, &err);
    return true;
}

void handle_renew(struct api_call *call)
{
    struct error err = {0};
    struct identity_order *order = NULL;
    if (!call_has_identity(call) || call_renews_too_often(call) ||
        (order = identity_order(call)) == NULL || !call_body(call, &api_renew_table, &order->renew))
        return;
    memcpy(order->server, call->caller.name, sizeof(order->server));
    order->csr = order->renew.csr;
    enum error_code code = identity_prepare(call, &err);
    if (code == ERR_OK)
        call_change(call, order->server, order->facts.serial, renew);
    else
        call_error(call, code, &err);
}

/* ---- Those that there are ---------------------------------------------------------------------
 */

struct agent_page {
    struct api_call *call;
    struct api_agent_list document;
    size_t limit;
};

static struct api_agent agent_document(struct api_call *call, const struct access_certificate *c)
{
    return (struct api_agent){
        .server = call_keep_string(call, c->server),
        .serial = call_keep_string(call, c->serial),
        .fingerprint = call_keep_string(call, c->fingerprint),
        .issued = call_time(call, c->issued_ms),
        .expires = call_time(call, c->not_after_ms),
        .connected = dispatcher_connected(call->api->config.dispatcher, c->server),
    };
}

static bool agent_each(void *ctx, const struct access_certificate *certificate)
{
    struct agent_page *page = ctx;
    struct array *agents = &page->document.agents;
    if (agents->count == page->limit) {
        if (agents->count > 0)
            page->document.next = ARRAY_AT(agents, struct api_agent, agents->count - 1)->server;
        return false;
    }
    *ARRAY_AT(agents, struct api_agent, agents->count++) = agent_document(page->call, certificate);
    return true;
}

void handle_agent_list(struct api_call *call)
{
    int64_t limit = 0;
    if (!call_has_identity(call) ||
        !call_query_number(call, "limit", API_PAGE_MAX, API_PAGE_DEFAULT, &limit))
        return;
    struct agent_page page = {.call = call, .limit = (size_t)limit};
    page.document.agents.items = mem_array(page.limit, sizeof(struct api_agent));
    if (page.document.agents.items == NULL) {
        call_error(call, ERR_NO_MEMORY, NULL);
        return;
    }
    access_agents(call->api->config.access, net_request_query(call->req, "after"), clock_wall_ms(),
                  agent_each, &page);
    call_document(call, 200, &api_agent_list_table, &page.document);
    mem_free(page.document.agents.items);
}

/* ---- Revoking ---------------------------------------------------------------------------------
 */

static void agent_revoked(void *ctx, enum error_code result, const struct error *err)
{
    struct api_call *call = ctx;
    call->pending--;
    if (result == ERR_OK)
        call_text(call, 200, "application/json", &call->held);
    else
        call_error(call, result, err);
    call_free(call);
}

static void agent_revoke(struct api_call *call)
{
    struct error err = {0};
    const struct api_config *config = &call->api->config;
    const char *server = call->params[0];
    int64_t now_ms = clock_wall_ms();
    struct access_certificate certificate = {
        .serial = "", .server = server, .fingerprint = "", .not_after_ms = 0};
    (void)access_agent(config->access, server, now_ms, &certificate);
    struct api_agent document = agent_document(call, &certificate);
    enum error_code code =
        access_agent_revoke(config->access, server, now_ms, agent_revoked, call, &err);
    if (code != ERR_OK) {
        call_error(call, code, &err);
        return;
    }
    call->pending++;
    dispatcher_server_end(config->dispatcher, server, "its certificate was revoked");
    document.connected = false;
    json_encode(&call->held, &api_agent_table, &document);
    buf_putc(&call->held, '\n');
}

void handle_agent_revoke(struct api_call *call)
{
    if (!call_has_identity(call) || !call_server_id(call) ||
        !call_may_server(call, call->params[0]))
        return;
    struct api_request body = {0};
    if (!call_body(call, &api_request_table, &body))
        return;
    call_change(call, call->params[0], call_keep_string(call, body.reason), agent_revoke);
    json_release(&api_request_table, &body);
}
