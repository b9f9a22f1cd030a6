#include "agent/carrier_net.h"

#include "common/base/alloc.h"
#include "common/base/cleanup.h"
#include "common/net/net_fetch.h"
#include "common/net/net_get.h"
#include "common/net/net_tls.h"
#include "common/pki/pki_cert.h"
#include "common/pki/pki_file.h"

#include <string.h>

struct carrier_net {
    struct carrier base;
    struct net *net;
};

struct net_carried {
    struct carrier_conn base;
    struct net_conn *conn;
    struct carrier_conn_events events;
    void *ctx;
    bool forgotten;
};

struct net_posted {
    struct carrier_post base;
    struct net_fetch *fetch;
    void (*done)(void *ctx, int status, const char *body, size_t len, const char *failure);
    void *ctx;
};

struct net_fetched {
    struct carrier_fetch base;
    struct net_get *get;
    struct carrier_fetch_config config; /* its texts are not looked at later */
};

static struct net *net_of(const struct carrier *c)
{
    return ((const struct carrier_net *)c)->net;
}

/* ---- Texts made into what net wants -----------------------------------------------------------
 */

struct credentials {
    struct net_tls_client tls;
    struct pki_certs *ca, *certs;
    struct pki_key *key;
};

static void credentials_done(struct credentials *c)
{
    pki_certs_free(c->ca);
    pki_certs_free(c->certs);
    pki_key_free(c->key);
}

static enum error_code credentials_read(const struct carrier_peer *peer, struct credentials *c,
                                        struct error *err)
{
    enum error_code code = ERR_OK;
    if (peer->ca)
        code = pki_certs_parse(peer->ca, strlen(peer->ca), "the CA's certificate", &c->ca, err);
    if (code == ERR_OK && peer->pair) {
        const struct pki_secret pair = {.data = (char *)(uintptr_t)peer->pair,
                                        .len = strlen(peer->pair)};
        code = pki_pair_parse(&pair, "the agent's certificate", &c->key, &c->certs, err);
    }
    c->tls = (struct net_tls_client){.ca = c->ca,
                                     .ca_fingerprint = c->ca ? NULL : peer->ca_fingerprint,
                                     .certs = c->certs,
                                     .key = c->key};
    return code;
}

/* ---- Connections ------------------------------------------------------------------------------
 */

static void conn_opened(void *ctx, struct net_conn *conn)
{
    struct net_carried *nc = ctx;
    (void)conn;
    if (!nc->forgotten)
        nc->events.opened(nc->ctx, &nc->base);
}

static void conn_message(void *ctx, struct net_conn *conn, const char *data, size_t len)
{
    struct net_carried *nc = ctx;
    (void)conn;
    if (!nc->forgotten)
        nc->events.message(nc->ctx, &nc->base, data, len);
}

static void conn_drained(void *ctx, struct net_conn *conn)
{
    struct net_carried *nc = ctx;
    (void)conn;
    if (!nc->forgotten && nc->events.drained)
        nc->events.drained(nc->ctx, &nc->base);
}

static void conn_closed(void *ctx, struct net_conn *conn, const char *reason)
{
    struct net_carried *nc = ctx;
    if (!nc->forgotten)
        nc->events.closed(nc->ctx, &nc->base, net_conn_end(conn), reason);
    mem_free(nc);
}

static enum error_code on_net_connect(struct carrier *c, const struct carrier_conn_config *config,
                                      struct carrier_conn **ret_conn, struct error *err)
{
    struct credentials credentials = {0};
    AUTO_FREE struct net_carried *nc = MEM_NEW(struct net_carried);
    if (!nc)
        return error_set(err, ERR_NO_MEMORY, NULL);
    nc->base.carrier = c;
    nc->events = config->events;
    nc->ctx = config->ctx;
    bool tls = net_url_tls(config->peer.url);
    const struct net_client_config client = {
        .url = config->peer.url,
        .tls = tls ? &credentials.tls : NULL,
        .websocket_path = config->path,
        .websocket_protocol = config->protocol,
        .max_message = config->max_message,
        .connect_timeout_ms = config->timeout_ms,
        .ctx = nc,
        .events = {.message = conn_message,
                   .closed = conn_closed,
                   .drained = conn_drained,
                   .opened = conn_opened},
    };
    enum error_code code = tls ? credentials_read(&config->peer, &credentials, err) : ERR_OK;
    if (code == ERR_OK)
        code = net_connect(net_of(c), &client, &nc->conn, err);
    credentials_done(&credentials);
    if (code == ERR_OK)
        *ret_conn = &TAKE(nc)->base;
    return code;
}

static enum error_code on_net_send(struct carrier_conn *conn, const char *data, size_t len,
                                   struct error *err)
{
    return net_conn_send(((struct net_carried *)conn)->conn, data, len, err);
}

static size_t on_net_queued(const struct carrier_conn *conn)
{
    return net_conn_queued(((const struct net_carried *)conn)->conn);
}

static void on_net_close(struct carrier_conn *conn, uint16_t code, const char *reason)
{
    net_conn_close(((struct net_carried *)conn)->conn, code, reason);
}

static void on_net_forget(struct carrier_conn *conn, uint16_t code, const char *reason)
{
    struct net_carried *nc = (struct net_carried *)conn;
    nc->forgotten = true;
    net_conn_close(nc->conn, code, reason);
}

/* ---- Requests ---------------------------------------------------------------------------------
 */

static void post_done(void *ctx, int status, const char *body, size_t len, const char *failure)
{
    AUTO_FREE struct net_posted *np = ctx;
    np->done(np->ctx, status, body, len, failure);
}

static enum error_code on_net_post(struct carrier *c, const struct carrier_post_config *config,
                                   struct carrier_post **ret_post, struct error *err)
{
    struct credentials credentials = {0};
    AUTO_FREE struct net_posted *np = MEM_NEW(struct net_posted);
    if (!np)
        return error_set(err, ERR_NO_MEMORY, NULL);
    np->base.carrier = c;
    np->done = config->done;
    np->ctx = config->ctx;
    bool tls = net_url_tls(config->peer.url);
    const struct net_fetch_config fetch = {
        .url = config->peer.url,
        .tls = tls ? &credentials.tls : NULL,
        .path = config->path,
        .content_type = "application/json",
        .body = config->body,
        .len = config->len,
        .max_answer = CARRIER_ANSWER_MAX,
        .timeout_ms = config->timeout_ms,
        .ctx = np,
        .done = post_done,
    };
    enum error_code code = tls ? credentials_read(&config->peer, &credentials, err) : ERR_OK;
    if (code == ERR_OK)
        code = net_fetch_post(net_of(c), &fetch, &np->fetch, err);
    credentials_done(&credentials);
    if (code == ERR_OK)
        *ret_post = &TAKE(np)->base;
    return code;
}

static void on_net_post_cancel(struct carrier_post *post)
{
    struct net_posted *np = (struct net_posted *)post;
    net_fetch_cancel(np->fetch);
    mem_free(np);
}

/* ---- Downloads --------------------------------------------------------------------------------
 */

static void fetch_began(void *ctx, int64_t offset, int64_t total_bytes)
{
    struct net_fetched *nf = ctx;
    nf->config.began(nf->config.ctx, &nf->base, offset, total_bytes);
}

static void fetch_data(void *ctx, const char *data, size_t len)
{
    struct net_fetched *nf = ctx;
    nf->config.data(nf->config.ctx, &nf->base, data, len);
}

static void fetch_done(void *ctx, int status, const char *failure)
{
    AUTO_FREE struct net_fetched *nf = ctx;
    nf->config.done(nf->config.ctx, status, failure);
}

static enum error_code on_net_fetch(struct carrier *c, const struct carrier_fetch_config *config,
                                    struct carrier_fetch **ret_fetch, struct error *err)
{
    struct credentials credentials = {0};
    AUTO_FREE struct net_fetched *nf = MEM_NEW(struct net_fetched);
    if (!nf)
        return error_set(err, ERR_NO_MEMORY, NULL);
    nf->base.carrier = c;
    nf->config = *config;
    bool tls = net_url_tls(config->peer.url);
    const struct net_get_config get = {
        .url = config->peer.url,
        .tls = tls ? &credentials.tls : NULL,
        .path = config->path,
        .offset = config->offset,
        .credit = CARRIER_FETCH_WINDOW,
        .silence_ms = config->silence_ms,
        .ctx = nf,
        .began = fetch_began,
        .data = fetch_data,
        .done = fetch_done,
    };
    enum error_code code = tls ? credentials_read(&config->peer, &credentials, err) : ERR_OK;
    if (code == ERR_OK)
        code = net_get_start(net_of(c), &get, &nf->get, err);
    credentials_done(&credentials);
    if (code == ERR_OK)
        *ret_fetch = &TAKE(nf)->base;
    return code;
}

static void on_net_fetch_more(struct carrier_fetch *fetch, size_t bytes)
{
    net_get_more(((struct net_fetched *)fetch)->get, bytes);
}

static void on_net_fetch_cancel(struct carrier_fetch *fetch)
{
    struct net_fetched *nf = (struct net_fetched *)fetch;
    net_get_cancel(nf->get);
    mem_free(nf);
}

/* ---- Life -------------------------------------------------------------------------------------
 */

static void on_net_end(struct carrier *c, void (*done)(void *ctx), void *ctx)
{
    net_close(net_of(c), done, ctx);
    mem_free(c);
}

static const struct carrier_ops ops = {
    .connect = on_net_connect,
    .send = on_net_send,
    .queued = on_net_queued,
    .close = on_net_close,
    .forget = on_net_forget,
    .post = on_net_post,
    .post_cancel = on_net_post_cancel,
    .fetch = on_net_fetch,
    .fetch_more = on_net_fetch_more,
    .fetch_cancel = on_net_fetch_cancel,
    .end = on_net_end,
};

enum error_code carrier_net_new(struct net *net, struct carrier **ret_carrier, struct error *err)
{
    struct carrier_net *cn = MEM_NEW(struct carrier_net);
    if (!cn)
        return error_set(err, ERR_NO_MEMORY, NULL);
    cn->base.ops = &ops;
    cn->net = net;
    *ret_carrier = &cn->base;
    return ERR_OK;
}
