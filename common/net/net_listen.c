/*
 * Listening and accepting are done here and not by lws, which neither says why a port could not be
 * had nor stands it when file descriptors run out: it would spin on the connection it cannot take.
 */
#include "common/net/net_internal.h"

#include "common/base/cleanup.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

static const char unix_prefix[] = "unix:";

enum {
    ACCEPTS_PER_TURN = 64,
    TLS_ACCEPTS_PER_TURN = 8, /* each costs a millisecond, and others wait for their turn */
    BACKLOG = 4096,
    ACCEPT_RETRY_MS = 250 /* when others in the process hold the descriptors, nobody tells */
};

static void on_incoming(uv_poll_t *handle, int status, int events);

/* ---- Accepting --------------------------------------------------------------------------------
 */

static void listen_start(struct net_server *server)
{
    server->paused = false;
    (void)uv_poll_start(&server->poll, UV_READABLE, on_incoming);
}

static bool room(const struct net_server *server)
{
    return server->net->connections < server->net->connection_max &&
           (server->ssl_ctx == NULL || net_fresh_room(server->net));
}

void net_listen_resume(struct net *net)
{
    if (net->closing)
        return;
    for (struct net_server *server = net->servers; server != NULL; server = server->next) {
        if (server->paused && room(server))
            listen_start(server);
    }
}

static void on_accept_timer(uv_timer_t *handle)
{
    struct net *net = handle->data;
    net_listen_resume(net);
    bool waiting = false;
    for (const struct net_server *server = net->servers; server != NULL; server = server->next)
        waiting = waiting || server->paused;
    if (waiting)
        (void)uv_timer_start(handle, on_accept_timer, ACCEPT_RETRY_MS, 0);
}

/* Those who wait stay in the kernel's backlog until a connection goes. */
static void listen_pause(struct net_server *server)
{
    server->paused = true;
    (void)uv_poll_stop(&server->poll);
    (void)uv_timer_start(&server->net->accept_timer, on_accept_timer, ACCEPT_RETRY_MS, 0);
}

static void take(struct net_server *server, int fd)
{
    struct net *net = server->net;
    int on = 1;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    (void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
    struct net_fresh *fresh = NULL;
    if (server->ssl_ctx != NULL) {
        fresh = net_fresh_new(server, fd);
        if (fresh == NULL) {
            (void)close(fd);
            return;
        }
    }
    lws_adopt_desc_t adopt = {
        .vh = server->vhost,
        .type = (lws_adoption_type)(LWS_ADOPT_SOCKET | LWS_ADOPT_HTTP |
                                    (fresh != NULL ? LWS_ADOPT_ALLOW_SSL : 0)),
        .fd = {.sockfd = fd},
        .opaque = fresh != NULL ? &fresh->entry : &server->entry,
    };
    net->adopting = fresh;
    /* A connection that lws gives up half-way has its WSI_DESTROY without a user pointer. */
    struct lws *wsi = lws_adopt_descriptor_vhost_via_info(&adopt);
    bool mine = net->adopting != NULL; /* else its end has come already */
    net->adopting = NULL;
    if (wsi == NULL) {
        if (mine)
            net_fresh_gone(fresh);
        return;
    }
    lws_set_wsi_user(wsi, net);
    net->connections++;
    if (mine)
        net_fresh_adopted(fresh, wsi);
}

static void on_incoming(uv_poll_t *handle, int status, int events)
{
    (void)status;
    (void)events;
    struct net_server *server = handle->data;
    struct net *net = server->net;
    int most = server->ssl_ctx == NULL ? ACCEPTS_PER_TURN : TLS_ACCEPTS_PER_TURN;
    for (int i = 0; i < most && !net->closing; i++) {
        if (!room(server)) {
            listen_pause(server);
            return;
        }
        int fd = accept4(server->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            take(server, fd);
            continue;
        }
        if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
            listen_pause(server);
        if (errno != ECONNABORTED && errno != EINTR)
            return;
    }
}

/* ---- Listening --------------------------------------------------------------------------------
 */

static bool address_parse(const char *host, uint16_t port, struct sockaddr_storage *ret_address,
                          socklen_t *ret_len)
{
    struct sockaddr_storage address = {0};
    struct sockaddr_in *v4 = (struct sockaddr_in *)&address;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&address;
    if (uv_ip4_addr(strcmp(host, "localhost") == 0 ? "127.0.0.1" : host, port, v4) == 0)
        *ret_len = sizeof(*v4);
    else if (uv_ip6_addr(host, port, v6) == 0)
        *ret_len = sizeof(*v6);
    else
        return false;
    *ret_address = address;
    return true;
}

static enum error_code listen_error(const struct net_server_config *config, int errnum,
                                    struct error *err)
{
    bool v6 = strchr(config->host, ':') != NULL;
    char where[NET_PEER_MAX + 16];
    (void)snprintf(where, sizeof(where), v6 ? "[%.60s]:%u" : "%.60s:%u", config->host,
                   (unsigned)config->port);
    switch (errnum) {
    case EADDRINUSE:
        return error_set(err, ERR_BUSY,
                         "%s is in use: another program listens there; stop it, or choose another "
                         "port",
                         where);
    case EADDRNOTAVAIL:
        return error_set(err, ERR_INVALID,
                         "%s is not an address of this machine; choose one of its own, or 0.0.0.0 "
                         "for all",
                         where);
    case EACCES:
        return error_set(err, ERR_DENIED,
                         "no permission to listen on %s: ports below 1024 need root", where);
    default:
        return error_errno(err, errnum, "listening on %s", where);
    }
}

static enum error_code socket_listen(const struct net_server_config *config, int *ret_fd,
                                     uint16_t *ret_port, struct error *err)
{
    struct sockaddr_storage address;
    socklen_t len = 0;
    if (!address_parse(config->host, config->port, &address, &len))
        return error_set(err, ERR_INVALID,
                         "\"%.80s\" is not an address: give one of this machine such as 127.0.0.1, "
                         "or 0.0.0.0 for all",
                         config->host);
    AUTO_CLOSE int fd =
        socket(address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_TCP);
    if (fd < 0)
        return error_errno(err, errno, "listening socket");
    int on = 1; /* a restart need not wait for old connections; it does not share a live port */
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0 ||
        bind(fd, (struct sockaddr *)&address, len) != 0 || listen(fd, BACKLOG) != 0 ||
        getsockname(fd, (struct sockaddr *)&address, &len) != 0)
        return listen_error(config, errno, err);
    *ret_port = ntohs(address.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&address)->sin6_port
                                                    : ((struct sockaddr_in *)&address)->sin_port);
    *ret_fd = fd_take(&fd);
    return ERR_OK;
}

void net_server_free(struct net_server *server)
{
    if (server == NULL)
        return;
    if (server->fd >= 0)
        (void)close(server->fd);
    pki_certs_free(server->client_ca);
    mem_free(server->unix_path);
    mem_free(server->host);
    mem_free(server->websocket_path);
    mem_free(server->websocket_protocol);
    mem_free(server);
}
DEFINE_CLEANUP(net_server_free, struct net_server)

static enum error_code server_make(struct net *net, const struct net_server_config *config,
                                   struct net_server **ret_server, struct error *err)
{
    AUTO(net_server_free) struct net_server *server = MEM_NEW(struct net_server);
    if (server == NULL)
        return error_set(err, ERR_NO_MEMORY, NULL);
    server->entry.kind = NET_ENTRY_SERVER;
    server->linger.kind = NET_ENTRY_LINGER;
    server->net = net;
    server->vhost = net->vhost;
    server->fd = -1;
    server->config = *config;
    server->config.tls = NULL; /* copied, and not to be looked at later */
    server->host = mem_strdup(config->host);
    server->websocket_path =
        config->websocket_path == NULL ? NULL : mem_strdup(config->websocket_path);
    server->websocket_protocol =
        config->websocket_protocol == NULL ? NULL : mem_strdup(config->websocket_protocol);
    if (server->host == NULL ||
        (config->websocket_path != NULL && server->websocket_path == NULL) ||
        (config->websocket_protocol != NULL && server->websocket_protocol == NULL))
        return error_set(err, ERR_NO_MEMORY, NULL);
    server->config.host = server->host;
    server->config.websocket_path = server->websocket_path;
    server->config.websocket_protocol = server->websocket_protocol;
    if (strncmp(config->host, unix_prefix, sizeof(unix_prefix) - 1) == 0) {
        server->unix_path = mem_strdup(config->host + sizeof(unix_prefix) - 1);
        if (server->unix_path == NULL)
            return error_set(err, ERR_NO_MEMORY, NULL);
    }
    *ret_server = TAKE(server);
    return ERR_OK;
}

static enum error_code server_listen(struct net_server *server,
                                     const struct net_server_config *config, struct error *err)
{
    enum error_code code = ERR_OK;
    if (config->websocket_protocol != NULL)
        code = net_subprotocol_add(server->net, config->websocket_protocol, err);
    if (code == ERR_OK && config->tls != NULL)
        code = net_tls_server_check(config->tls, err);
    if (code != ERR_OK)
        return code;
    code = server->unix_path != NULL ? net_unix_listen(server, err)
                                     : socket_listen(config, &server->fd, &server->port, err);
    if (code == ERR_OK && config->tls != NULL)
        code = net_tls_server_start(server, config->tls, err);
    return code;
}

enum error_code net_server_new(struct net *net, const struct net_server_config *config,
                               struct net_server **ret_server, struct error *err)
{
    if (net->closing)
        return error_set(err, ERR_UNAVAILABLE, "shutting down");
    AUTO(net_server_free) struct net_server *server = NULL;
    enum error_code code = server_make(net, config, &server, err);
    if (code != ERR_OK)
        return code;
    assert(server != NULL);
    code = server_listen(server, config, err);
    int failed = 0;
    if (code == ERR_OK)
        failed = uv_poll_init_socket(net->loop, &server->poll, server->fd);
    if (failed != 0)
        code = error_errno(err, -failed, "watching the listening socket");
    if (code != ERR_OK) {
        net_unix_remove(server);
        if (server->ssl_ctx != NULL) /* it outlives the server */
            (void)SSL_CTX_set_app_data(server->ssl_ctx, NULL);
        return code;
    }
    server->poll.data = server;
    server->next = net->servers;
    net->servers = server;
    net->listeners++;
    listen_start(server);
    *ret_server = TAKE(server);
    return ERR_OK;
}

uint16_t net_server_port(const struct net_server *server)
{
    return server->port;
}

static void on_listener_closed(uv_handle_t *handle)
{
    struct net_server *server = handle->data;
    (void)close(server->fd);
    server->fd = -1;
    server->net->listeners--;
    net_check_done(server->net);
}

void net_listen_close(struct net_server *server)
{
    net_unix_remove(server);
    uv_close((uv_handle_t *)&server->poll, on_listener_closed);
}
