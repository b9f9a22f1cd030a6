#include "common/net/net_internal.h"

#include "common/base/cleanup.h"

#include <arpa/inet.h>
#include <assert.h>
#include <stdio.h>
#include <string.h>

enum { TLS_HOST_MAX = 120 };

/* ---- Dialling ---------------------------------------------------------------------------------
 */

/* An outgoing connection until it is open: resolve, then try one address after the other. */
struct net_dial {
    struct net *net;
    struct net_conn *conn; /* NULL: nobody waits any longer */
    uv_getaddrinfo_t resolve;
    uv_timer_t timer;
    struct addrinfo *addresses;
    const struct addrinfo *next;
    uint32_t timeout_ms;
    bool resolving;
    bool attempting; /* inside a call to lws, which may fail before it returns */
    bool timer_open;
    bool probe_open;
    uv_tcp_t probe;
    uv_connect_t probe_connect;
    const struct addrinfo *tried; /* the address that failed last */
    char *protocol;               /* NULL: none */
    char *path;
    uint16_t port;
    char host[NET_HOST_MAX];
    char host_header[NET_HOST_MAX + 16];
    struct net_tls_dial *tls; /* NULL: plain */
    char failure[ERROR_MESSAGE_MAX];
};

static void dial_free(struct net_dial *dial)
{
    if (dial == NULL)
        return;
    if (dial->addresses != NULL)
        uv_freeaddrinfo(dial->addresses);
    net_tls_dial_free(dial->tls);
    mem_free(dial->protocol);
    mem_free(dial->path);
    mem_free(dial);
}
DEFINE_CLEANUP(dial_free, struct net_dial)

static void dial_check_done(struct net_dial *dial)
{
    if (dial->resolving || dial->timer_open || dial->probe_open)
        return;
    struct net *net = dial->net;
    dial_free(dial);
    net->dials--;
    net_check_done(net);
}

static void on_timer_closed(uv_handle_t *handle)
{
    struct net_dial *dial = handle->data;
    dial->timer_open = false;
    dial_check_done(dial);
}

static void on_probe_closed(uv_handle_t *handle)
{
    struct net_dial *dial = handle->data;
    dial->probe_open = false;
    dial_check_done(dial);
}

void net_dial_abandon(struct net_dial *dial)
{
    if (dial->conn != NULL && dial->conn->wsi != NULL)
        net_tls_forget(dial->conn->wsi);
    net_tls_dial_free(dial->tls);
    dial->tls = NULL;
    dial->conn = NULL;
    if (dial->probe_open)
        uv_close((uv_handle_t *)&dial->probe, on_probe_closed);
    if (dial->resolving)
        (void)uv_cancel((uv_req_t *)&dial->resolve);
    uv_close((uv_handle_t *)&dial->timer, on_timer_closed);
}

void net_dial_stop(struct net_dial *dial)
{
    dial->timeout_ms = 0;
    uv_timer_t *timer = &dial->timer;
    (void)uv_timer_start(timer, timer->timer_cb, 0, 0);
}

static void on_timeout(uv_timer_t *timer)
{
    struct net_dial *dial = timer->data;
    struct net_conn *conn = dial->conn;
    struct net *net = dial->net;
    struct lws *wsi = conn->wsi;
    char reason[NET_REASON_MAX];
    (void)snprintf(reason, sizeof(reason), "timed out after %u ms", (unsigned)dial->timeout_ms);
    net_conn_finish(conn, reason);
    if (wsi != NULL)
        net_kill(net, wsi);
}

/* Without running it keeps its callback, for net_dial_stop. */
void net_dial_patience(struct net_dial *dial, bool runs)
{
    if (dial->timeout_ms == 0) /* stopped */
        return;
    (void)uv_timer_stop(&dial->timer);
    if (!runs)
        return;
    uv_update_time(dial->net->loop);
    (void)uv_timer_start(&dial->timer, on_timeout, dial->timeout_ms, 0);
}

static void dial_address_text(const struct addrinfo *address, char ret_text[INET6_ADDRSTRLEN])
{
    const void *bytes =
        address->ai_family == AF_INET6
            ? (const void *)&((const struct sockaddr_in6 *)(const void *)address->ai_addr)
                  ->sin6_addr
            : (const void *)&((const struct sockaddr_in *)(const void *)address->ai_addr)->sin_addr;
    if (inet_ntop(address->ai_family, bytes, ret_text, INET6_ADDRSTRLEN) == NULL)
        ret_text[0] = '\0';
}

/* NULL: a WebSocket. */
static const char *method_of(const struct net_conn *conn)
{
    if (conn->get != NULL)
        return "GET";
    return conn->fetch != NULL ? "POST" : NULL;
}

/* False: it failed at once. */
static bool dial_attempt(struct net_dial *dial, const struct addrinfo *address)
{
    struct net_conn *conn = dial->conn;
    char text[INET6_ADDRSTRLEN];
    dial_address_text(address, text);
    (void)snprintf(conn->peer, sizeof(conn->peer), strchr(text, ':') != NULL ? "[%s]:%u" : "%s:%u",
                   text, (unsigned)dial->port);
    struct lws_client_connect_info info = {
        .context = dial->net->lws,
        .vhost = dial->tls != NULL ? dial->net->tls_vhost : dial->net->vhost,
        .address = text,
        .port = dial->port,
        .ssl_connection = LCCSCF_HTTP_NO_FOLLOW_REDIRECT | (dial->tls != NULL ? LCCSCF_USE_SSL : 0),
        .path = dial->path,
        .host = dial->host_header,
        .protocol = dial->protocol,
        .method = method_of(conn),
        .local_protocol_name = dial->net->protocols[0].name,
        .opaque_user_data = &conn->entry,
        .pwsi = &conn->wsi,
        .retry_and_idle_policy = &dial->net->idle_policy,
        .alpn = "http/1.1",
    };
    dial->attempting = true;
    struct lws *wsi = lws_client_connect_via_info(&info);
    dial->attempting = false;
    conn->wsi = wsi;
    if (wsi == NULL)
        return false;
    net_wake(dial->net);
    return true;
}

static void on_probed(uv_connect_t *req, int status)
{
    struct net_dial *dial = req->handle->data;
    if (dial->conn == NULL)
        return;
    if (status != 0)
        (void)snprintf(dial->failure, sizeof(dial->failure), "%s", uv_strerror(status));
    net_conn_finish(dial->conn, dial->failure);
}

static void address_set_port(struct sockaddr *address, uint16_t port)
{
    if (address->sa_family == AF_INET6)
        ((struct sockaddr_in6 *)(void *)address)->sin6_port = htons(port);
    else
        ((struct sockaddr_in *)(void *)address)->sin_port = htons(port);
}

/* lws keeps to itself why it could not connect. "Connection refused" and "no route" call for
 * different remedies, so the system is asked once more. */
static void dial_explain(struct net_dial *dial)
{
    (void)snprintf(dial->failure, sizeof(dial->failure), "closed before it was open");
    if (dial->tried == NULL || uv_tcp_init(dial->net->loop, &dial->probe) != 0) {
        net_conn_finish(dial->conn, dial->failure);
        return;
    }
    dial->probe.data = dial;
    dial->probe_open = true;
    address_set_port(dial->tried->ai_addr, dial->port);
    int failed =
        uv_tcp_connect(&dial->probe_connect, &dial->probe, dial->tried->ai_addr, on_probed);
    if (failed == 0)
        return;
    (void)snprintf(dial->failure, sizeof(dial->failure), "%s", uv_strerror(failed));
    net_conn_finish(dial->conn, dial->failure);
}

/* What it says when TCP did not come about, or ended before the answer. */
static bool lws_explained(const char *failure)
{
    static const char *const empty[] = {"", "Unable to connect", "closed before established"};
    for (size_t i = 0; i < ARRAY_LEN(empty); i++) {
        if (strcmp(failure, empty[i]) == 0)
            return false;
    }
    return true;
}

static void dial_next(struct net_dial *dial)
{
    while (dial->next != NULL) {
        dial->tried = dial->next;
        dial->next = dial->next->ai_next;
        if (dial_attempt(dial, dial->tried))
            return;
    }
    if (!lws_explained(dial->failure))
        dial_explain(dial);
    else
        net_conn_finish(dial->conn, dial->failure);
}

const char *net_dial_tls_failure(struct net_dial *dial)
{
    return dial->tls == NULL ? NULL : net_tls_dial_failure(dial->tls);
}

int net_dial_failed(struct net_conn *conn, const char *why)
{
    struct net_dial *dial = conn->dial;
    if (conn->wsi != NULL) {
        lws_set_opaque_user_data(conn->wsi, NULL);
        net_tls_forget(conn->wsi);
    }
    conn->wsi = NULL;
    const char *in_tls = net_dial_tls_failure(dial);
    if (in_tls != NULL)
        why = in_tls;
    conn->end = dial->tls == NULL ? NET_END_LOST : net_tls_dial_end(dial->tls);
    (void)snprintf(dial->failure, sizeof(dial->failure), "%s", why);
    if (!dial->attempting)
        dial_next(dial);
    return -1;
}

void net_dial_opened(struct net_conn *conn)
{
    struct net_dial *dial = conn->dial;
    conn->dial = NULL;
    net_dial_abandon(dial);
    conn->open = true;
    if (conn->queue.head != NULL)
        lws_callback_on_writable(conn->wsi);
    if (conn->events.opened != NULL)
        conn->events.opened(conn->ctx, conn);
}

static void on_resolved(uv_getaddrinfo_t *req, int status, struct addrinfo *addresses)
{
    struct net_dial *dial = req->data;
    dial->resolving = false;
    dial->addresses = addresses;
    if (dial->conn == NULL) {
        dial_check_done(dial);
        return;
    }
    if (status != 0) {
        char reason[NET_REASON_MAX];
        (void)snprintf(reason, sizeof(reason), "cannot resolve %.60s: %s", dial->host,
                       uv_strerror(status));
        net_conn_finish(dial->conn, reason);
        return;
    }
    dial->next = addresses;
    dial_next(dial);
}

static enum error_code dial_check(struct net *net, const struct net_client_config *config,
                                  struct net_url *ret_url, struct error *err)
{
    enum error_code code = net_url_parse(config->url, ret_url, err);
    if (code != ERR_OK)
        return code;
    if (ret_url->tls && config->tls == NULL)
        return error_set(err, ERR_INVALID,
                         "URL \"%.100s\": TLS needs the CA's certificate, or its fingerprint",
                         config->url);
    /* lws looks at so much of it in TLS; the port is in it, too. */
    if (ret_url->tls && strlen(ret_url->host) > TLS_HOST_MAX)
        return error_set(err, ERR_INVALID,
                         "URL \"%.100s...\": with TLS a host's name may have at most %d bytes",
                         config->url, TLS_HOST_MAX);
    /* Who has certificates means them to be used: this would be in the clear. */
    if (!ret_url->tls && config->tls != NULL)
        return error_set(err, ERR_INVALID,
                         "URL \"%.100s\": it must begin with https:// or wss:// for TLS",
                         config->url);
    return config->websocket_protocol == NULL
               ? ERR_OK
               : net_subprotocol_add(net, config->websocket_protocol, err);
}

static enum error_code dial_new(struct net *net, const struct net_client_config *config,
                                struct net_dial **ret_dial, struct error *err)
{
    struct net_url url = {0};
    enum error_code code = dial_check(net, config, &url, err);
    if (code != ERR_OK)
        return code;
    AUTO(dial_free) struct net_dial *dial = MEM_NEW(struct net_dial);
    if (dial == NULL)
        return error_set(err, ERR_NO_MEMORY, NULL);
    dial->net = net;
    dial->port = url.port;
    dial->timeout_ms = config->connect_timeout_ms;
    if (url.tls)
        code = net_tls_dial_new(net, config->tls, url.host, &dial->tls, err);
    if (code != ERR_OK)
        return code;
    (void)snprintf(dial->host, sizeof(dial->host), "%s", url.host);
    (void)snprintf(dial->host_header, sizeof(dial->host_header), url.v6 ? "[%s]:%u" : "%s:%u",
                   url.host, (unsigned)url.port);
    size_t before = strlen(url.path);
    while (before > 0 && url.path[before - 1] == '/')
        before--;
    size_t after = strlen(config->websocket_path);
    if (before + after >= NET_MAX_PATH)
        return error_set(err, ERR_INVALID, "URL: its path is too long");
    dial->path = mem_alloc(before + after + 1);
    dial->protocol =
        config->websocket_protocol == NULL ? NULL : mem_strdup(config->websocket_protocol);
    if (dial->path == NULL || (config->websocket_protocol != NULL && dial->protocol == NULL))
        return error_set(err, ERR_NO_MEMORY, NULL);
    memcpy(dial->path, url.path, before);
    memcpy(dial->path + before, config->websocket_path, after + 1);
    *ret_dial = TAKE(dial);
    return ERR_OK;
}

enum error_code net_connect(struct net *net, const struct net_client_config *config,
                            struct net_conn **ret_conn, struct error *err)
{
    if (net->closing)
        return error_set(err, ERR_UNAVAILABLE, "shutting down");
    AUTO(dial_free) struct net_dial *dial = NULL;
    enum error_code code = dial_new(net, config, &dial, err);
    if (code != ERR_OK)
        return code;
    assert(dial != NULL);
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_family = AF_UNSPEC};
    dial->resolve.data = dial;
    int failed = uv_getaddrinfo(net->loop, &dial->resolve, on_resolved, dial->host, NULL, &hints);
    if (failed != 0)
        return error_errno(err, -failed, "resolving %.100s", dial->host);
    struct net_dial *started = TAKE(dial);
    assert(started != NULL);
    started->resolving = true;
    net->dials++;
    (void)uv_timer_init(net->loop, &started->timer);
    started->timer.data = started;
    started->timer_open = true;
    struct net_conn *conn = net_conn_new(net, &config->events, config->ctx, config->max_message);
    if (conn == NULL) {
        net_dial_abandon(started);
        return error_set(err, ERR_NO_MEMORY, NULL);
    }
    (void)snprintf(conn->peer, sizeof(conn->peer), "%.50s:%u", started->host,
                   (unsigned)started->port);
    conn->dial = started;
    started->conn = conn;
    if (started->tls != NULL)
        net_tls_dial_bind(started->tls, conn);
    uv_update_time(net->loop); /* else what this turn has taken already would be missing */
    (void)uv_timer_start(&started->timer, on_timeout, started->timeout_ms, 0);
    *ret_conn = conn;
    return ERR_OK;
}
