#include "common/net/net_internal.h"

#include "common/base/cleanup.h"

#include <arpa/inet.h>
#include <assert.h>
#include <ctype.h>
#include <stdio.h>
#include <string.h>

enum {
    HOST_MAX = 256, /* a DNS name has at most 253 */
    HTTP_PORT = 80
};

/* ---- URLs -------------------------------------------------------------------------------------
 */

struct net_url {
    char host[HOST_MAX]; /* without brackets */
    uint16_t port;
    bool v6;
    const char *path; /* within the text that was parsed; "" when there is none */
};

static enum error_code url_scheme(const char **url, struct error *err)
{
    static const struct {
        const char *prefix;
        bool tls;
    } schemes[] = {{"ws://", false}, {"http://", false}, {"wss://", true}, {"https://", true}};
    for (size_t i = 0; i < ARRAY_LEN(schemes); i++) {
        size_t len = strlen(schemes[i].prefix);
        if (strncasecmp(*url, schemes[i].prefix, len) != 0)
            continue;
        if (schemes[i].tls)
            return error_set(err, ERR_UNSUPPORTED,
                             "URL \"%.100s\": TLS is not available yet; use http:// or ws://",
                             *url);
        *url += len;
        return ERR_OK;
    }
    return error_set(err, ERR_INVALID,
                     "URL \"%.100s\": it must begin with http:// or ws://, as in "
                     "http://127.0.0.1:7233",
                     *url);
}

static bool host_character(char c, bool v6)
{
    if (v6)
        return isxdigit((unsigned char)c) || c == ':' || c == '.' || c == '%';
    return isalnum((unsigned char)c) || c == '.' || c == '-' || c == '_';
}

static bool url_host(const char **rest, struct net_url *url)
{
    const char *p = *rest;
    url->v6 = *p == '[';
    if (url->v6)
        p++;
    size_t len = 0;
    while (host_character(p[len], url->v6))
        len++;
    if (len == 0 || len >= HOST_MAX)
        return false;
    memcpy(url->host, p, len);
    url->host[len] = '\0';
    p += len;
    if (url->v6) {
        struct in6_addr address;
        if (*p++ != ']' || inet_pton(AF_INET6, url->host, &address) != 1)
            return false;
    }
    *rest = p;
    return true;
}

static bool url_port(const char **rest, uint16_t *ret_port)
{
    const char *p = *rest;
    if (*p != ':')
        return true;
    p++;
    unsigned port = 0;
    size_t digits = 0;
    for (; isdigit((unsigned char)p[digits]) && digits < 6; digits++)
        port = port * 10 + (unsigned)(p[digits] - '0');
    if (digits == 0 || port == 0 || port > UINT16_MAX)
        return false;
    *ret_port = (uint16_t)port;
    *rest = p + digits;
    return true;
}

static bool url_path(const char *path)
{
    if (*path != '\0' && *path != '/')
        return false;
    for (const char *p = path; *p != '\0'; p++) {
        if (!isgraph((unsigned char)*p) || *p == '?' || *p == '#')
            return false;
    }
    return strlen(path) < NET_MAX_PATH;
}

static enum error_code url_parse(const char *text, struct net_url *ret_url, struct error *err)
{
    const char *rest = text;
    enum error_code code = url_scheme(&rest, err);
    if (code != ERR_OK)
        return code;
    struct net_url url = {.port = HTTP_PORT};
    if (strpbrk(rest, "@") != NULL)
        return error_set(err, ERR_INVALID, "URL: a user name or password cannot be given in it");
    if (!url_host(&rest, &url))
        return error_set(err, ERR_INVALID,
                         "URL \"%.100s\": no valid host in it (an IPv6 address goes in brackets)",
                         text);
    if (!url_port(&rest, &url.port))
        return error_set(err, ERR_INVALID, "URL \"%.100s\": the port must be 1 to 65535", text);
    if (!url_path(rest))
        return error_set(err, ERR_INVALID,
                         "URL \"%.100s\": after the host and port only a path may follow", text);
    url.path = rest;
    *ret_url = url;
    return ERR_OK;
}

enum error_code net_url_check(const char *url, struct error *err)
{
    struct net_url parsed;
    return url_parse(url, &parsed, err);
}

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
    char host[HOST_MAX];
    char host_header[HOST_MAX + 16];
    char failure[NET_REASON_MAX];
};

static void dial_free(struct net_dial *dial)
{
    if (dial == NULL)
        return;
    if (dial->addresses != NULL)
        uv_freeaddrinfo(dial->addresses);
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
        .vhost = dial->net->vhost,
        .address = text,
        .port = dial->port,
        .ssl_connection = LCCSCF_HTTP_NO_FOLLOW_REDIRECT,
        .path = dial->path,
        .host = dial->host_header,
        .protocol = dial->protocol,
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

int net_dial_failed(struct net_conn *conn, const char *why)
{
    struct net_dial *dial = conn->dial;
    if (conn->wsi != NULL)
        lws_set_opaque_user_data(conn->wsi, NULL);
    conn->wsi = NULL;
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

static enum error_code dial_new(struct net *net, const struct net_client_config *config,
                                struct net_dial **ret_dial, struct error *err)
{
    struct net_url url = {0};
    enum error_code code = url_parse(config->url, &url, err);
    if (code == ERR_OK && config->websocket_protocol != NULL)
        code = net_subprotocol_add(net, config->websocket_protocol, err);
    if (code != ERR_OK)
        return code;
    AUTO(dial_free) struct net_dial *dial = MEM_NEW(struct net_dial);
    if (dial == NULL)
        return error_set(err, ERR_NO_MEMORY, NULL);
    dial->net = net;
    dial->port = url.port;
    dial->timeout_ms = config->connect_timeout_ms;
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
    uv_update_time(net->loop); /* else what this turn has taken already would be missing */
    (void)uv_timer_start(&started->timer, on_timeout, started->timeout_ms, 0);
    *ret_conn = conn;
    return ERR_OK;
}
