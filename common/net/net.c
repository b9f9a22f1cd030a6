#include "common/net/net_internal.h"

#include "common/base/cleanup.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>

enum {
    FDS_RESERVE_MAX = 64,    /* kept free of connections, for what else the process opens */
    FDS_SMALL_MAX = 256,     /* up to here lws's compact tables, which it scans, are fast enough */
    HEADER_BYTES_MAX = 8192, /* of one request, path included */
    HEADER_POOL_MAX = 1024,  /* requests whose headers are held at once; further ones wait */
    SERVICE_BUFFER = 16 * 1024,
    KEEPALIVE_SECONDS = 60 /* an idle HTTP connection is kept */
};

/* ---- lws's events -----------------------------------------------------------------------------
 */

static int closed_without_entry(enum lws_callback_reasons reason)
{
    switch ((int)reason) {
    case LWS_CALLBACK_HTTP:
    case LWS_CALLBACK_HTTP_BODY:
    case LWS_CALLBACK_HTTP_BODY_COMPLETION:
    case LWS_CALLBACK_HTTP_WRITEABLE:
    case LWS_CALLBACK_HTTP_CONFIRM_UPGRADE:
    case LWS_CALLBACK_FILTER_PROTOCOL_CONNECTION:
    case LWS_CALLBACK_ESTABLISHED:
    case LWS_CALLBACK_CLIENT_ESTABLISHED:
    case LWS_CALLBACK_RECEIVE:
    case LWS_CALLBACK_CLIENT_RECEIVE:
    case LWS_CALLBACK_SERVER_WRITEABLE:
    case LWS_CALLBACK_CLIENT_WRITEABLE:
    case LWS_CALLBACK_CLIENT_APPEND_HANDSHAKE_HEADER:
    case LWS_CALLBACK_CLIENT_HTTP_WRITEABLE:
    case LWS_CALLBACK_ESTABLISHED_CLIENT_HTTP:
    case LWS_CALLBACK_RECEIVE_CLIENT_HTTP:
    case LWS_CALLBACK_RECEIVE_CLIENT_HTTP_READ:
    case LWS_CALLBACK_COMPLETED_CLIENT_HTTP:
    case LWS_CALLBACK_TIMER:
        return -1;
    default:
        return 0;
    }
}

static int dispatch(struct lws *wsi, enum lws_callback_reasons reason, void *in, size_t len)
{
    struct net_entry *entry = lws_get_opaque_user_data(wsi);
    if (entry == NULL)
        return closed_without_entry(reason);
    if (entry->kind == NET_ENTRY_CONN)
        return net_conn_callback((struct net_conn *)entry, reason, in, len);
    return net_http_callback(entry, wsi, reason, in, len);
}

int net_callback(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in,
                 size_t len)
{
    switch ((int)reason) {
    case LWS_CALLBACK_WSI_DESTROY: {
        int result = dispatch(wsi, reason, in, len);
        if (user != NULL) { /* an accepted connection; see net_listen.c */
            struct net *net = user;
            net->connections--;
            net_listen_resume(net);
        }
        return result;
    }
    case LWS_CALLBACK_OPENSSL_LOAD_EXTRA_SERVER_VERIFY_CERTS: /* the wsi is a false one */
        ((struct net *)lws_context_user(lws_get_context(wsi)))->vhost_ctx = user;
        return 0;
    case LWS_CALLBACK_HTTP:
    case LWS_CALLBACK_HTTP_BODY:
    case LWS_CALLBACK_HTTP_BODY_COMPLETION:
    case LWS_CALLBACK_HTTP_WRITEABLE:
    case LWS_CALLBACK_CLOSED_HTTP:
    case LWS_CALLBACK_HTTP_CONFIRM_UPGRADE:
    case LWS_CALLBACK_FILTER_PROTOCOL_CONNECTION:
    case LWS_CALLBACK_ESTABLISHED:
    case LWS_CALLBACK_CLIENT_ESTABLISHED:
    case LWS_CALLBACK_CLIENT_CONNECTION_ERROR:
    case LWS_CALLBACK_RECEIVE:
    case LWS_CALLBACK_CLIENT_RECEIVE:
    case LWS_CALLBACK_SERVER_WRITEABLE:
    case LWS_CALLBACK_CLIENT_WRITEABLE:
    case LWS_CALLBACK_WS_PEER_INITIATED_CLOSE:
    case LWS_CALLBACK_CLOSED:
    case LWS_CALLBACK_CLIENT_CLOSED:
    case LWS_CALLBACK_CLIENT_APPEND_HANDSHAKE_HEADER:
    case LWS_CALLBACK_CLIENT_HTTP_WRITEABLE:
    case LWS_CALLBACK_ESTABLISHED_CLIENT_HTTP:
    case LWS_CALLBACK_RECEIVE_CLIENT_HTTP:
    case LWS_CALLBACK_RECEIVE_CLIENT_HTTP_READ:
    case LWS_CALLBACK_COMPLETED_CLIENT_HTTP:
    case LWS_CALLBACK_CLOSED_CLIENT_HTTP:
    case LWS_CALLBACK_TIMER:
        return dispatch(wsi, reason, in, len);
    case LWS_CALLBACK_RAW_ADOPT: /* what CONNECT leads to */
    case LWS_CALLBACK_RAW_RX:
    case LWS_CALLBACK_RAW_WRITEABLE:
        return -1;
    default:
        return 0;
    }
}

void net_wake(struct net *net)
{
    lws_cancel_service(net->lws);
}

void net_kill(struct net *net, struct lws *wsi)
{
    lws_set_timeout(wsi, PENDING_TIMEOUT_USER_REASON_BASE, LWS_TO_KILL_ASYNC);
    net_wake(net);
}

void net_peer_name(int fd, char ret_peer[NET_PEER_MAX])
{
    struct sockaddr_storage address = {0};
    socklen_t len = sizeof(address);
    char ip[INET6_ADDRSTRLEN] = "unknown";
    (void)snprintf(ret_peer, NET_PEER_MAX, "%s", ip);
    if (getpeername(fd, (struct sockaddr *)&address, &len) != 0)
        return;
    if (address.ss_family == AF_INET6) {
        const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)&address;
        if (inet_ntop(AF_INET6, &v6->sin6_addr, ip, sizeof(ip)) != NULL)
            (void)snprintf(ret_peer, NET_PEER_MAX, "[%s]:%u", ip, ntohs(v6->sin6_port));
    } else if (address.ss_family == AF_INET) {
        const struct sockaddr_in *v4 = (const struct sockaddr_in *)&address;
        if (inet_ntop(AF_INET, &v4->sin_addr, ip, sizeof(ip)) != NULL)
            (void)snprintf(ret_peer, NET_PEER_MAX, "%s:%u", ip, ntohs(v4->sin_port));
    } else if (address.ss_family == AF_UNIX) {
        struct ucred user = {0};
        len = sizeof(user);
        if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &user, &len) == 0)
            (void)snprintf(ret_peer, NET_PEER_MAX, "unix uid %u pid %d", (unsigned)user.uid,
                           (int)user.pid);
    }
}

/* ---- Making a context -------------------------------------------------------------------------
 */

static void protocol_fill(struct lws_protocols *protocol, const char *name)
{
    *protocol = (struct lws_protocols){
        .name = name,
        .callback = net_callback,
        .rx_buffer_size = NET_RX_PIECE_MAX,
        .tx_packet_size = NET_PIECE_MAX + 64, /* a piece and its WebSocket header in one write */
    };
}

/* lws copies the table when the vhost is made, but not the names: a name filled in later is found.
 */
static void protocols_fill(struct net *net)
{
    protocol_fill(&net->protocols[0], ""); /* no name: none is announced to the peer */
    for (size_t i = 0; i < NET_SUBPROTOCOLS_MAX; i++) {
        (void)snprintf(net->subprotocols[i], NET_SUBPROTOCOL_NAME_MAX, "?%zu", i);
        protocol_fill(&net->protocols[i + 1], net->subprotocols[i]);
    }
}

enum error_code net_subprotocol_add(struct net *net, const char *name, struct error *err)
{
    size_t len = strlen(name);
    if (len == 0 || len >= NET_SUBPROTOCOL_NAME_MAX || strspn(name, "?,; \t\r\n") != 0 ||
        strpbrk(name, ",; \t\r\n") != NULL)
        return error_set(err, ERR_INVALID, "WebSocket subprotocol \"%.80s\": not a name", name);
    for (size_t i = 0; i < net->subprotocol_count; i++) {
        if (strcmp(net->subprotocols[i], name) == 0)
            return ERR_OK;
    }
    if (net->subprotocol_count == NET_SUBPROTOCOLS_MAX)
        return error_set(err, ERR_LIMIT, "more than %d WebSocket subprotocols",
                         NET_SUBPROTOCOLS_MAX);
    memcpy(net->subprotocols[net->subprotocol_count++], name, len + 1);
    return ERR_OK;
}

struct handle_slot {
    const uv_handle_t *handle;
};

struct handle_list {
    struct handle_slot *slots;
    size_t count;
    size_t capacity;
};

static bool handle_may_be_lws(const uv_handle_t *handle)
{
    return handle->type == UV_IDLE || handle->type == UV_TIMER;
}

static void handle_count(uv_handle_t *handle, void *arg)
{
    size_t *count = arg;
    if (handle_may_be_lws(handle))
        (*count)++;
}

static void handle_collect(uv_handle_t *handle, void *arg)
{
    struct handle_list *list = arg;
    if (handle_may_be_lws(handle) && list->count < list->capacity)
        list->slots[list->count++].handle = handle;
}

struct handle_search {
    struct net *net;
    const struct handle_list *before;
};

static void handle_find_new(uv_handle_t *handle, void *arg)
{
    const struct handle_search *search = arg;
    if (!handle_may_be_lws(handle))
        return;
    for (size_t i = 0; i < search->before->count; i++) {
        if (search->before->slots[i].handle == handle)
            return;
    }
    search->net->lws_handles[handle->type == UV_IDLE ? 0 : 1] = handle;
}

/* lws does not say when a context on a foreign loop has let go of it. Its last two handles do: they
 * are those that come to be with the context, and net_close waits until they are gone. */
static enum error_code context_create(struct net *net, struct lws_context_creation_info *info,
                                      struct error *err)
{
    size_t handles = 0;
    uv_walk(net->loop, handle_count, &handles);
    AUTO_FREE struct handle_slot *slots = mem_array(handles, sizeof(*slots));
    if (slots == NULL)
        return error_set(err, ERR_NO_MEMORY, NULL);
    struct handle_list before = {.slots = slots, .capacity = handles};
    uv_walk(net->loop, handle_collect, &before);

    /* lws does not clean up when it gets no file descriptor half-way. */
    int probe = eventfd(0, EFD_CLOEXEC);
    if (probe < 0)
        return error_errno(err, errno, "file descriptor for the network");
    (void)close(probe);

    net->lws = lws_create_context(info);
    if (net->lws == NULL)
        return error_set(err, ERR_INTERNAL,
                         "libwebsockets does not start (is its libuv plugin installed?)");
    struct handle_search search = {.net = net, .before = &before};
    uv_walk(net->loop, handle_find_new, &search);
    assert(net->lws_handles[0] != NULL && net->lws_handles[1] != NULL);
    return ERR_OK;
}

static void size_tables(struct net *net, uint32_t max_fds, struct lws_context_creation_info *info)
{
    struct rlimit limit = {.rlim_cur = 1024};
    (void)getrlimit(RLIMIT_NOFILE, &limit);
    uint32_t most = limit.rlim_cur > UINT32_MAX ? UINT32_MAX : (uint32_t)limit.rlim_cur;
    if (max_fds != 0 && max_fds < most)
        most = max_fds;
    if (max_fds != 0 && max_fds <= FDS_SMALL_MAX)
        info->fd_limit_per_thread = max_fds;
    uint32_t reserve = most / 8 < FDS_RESERVE_MAX ? most / 8 : FDS_RESERVE_MAX;
    net->connection_max = most - reserve;
}

/* What a context and its vhosts have in common. */
static struct lws_context_creation_info lws_info(struct net *net)
{
    return (struct lws_context_creation_info){
        .port = CONTEXT_PORT_NO_LISTEN,
        .options = LWS_SERVER_OPTION_LIBUV | LWS_SERVER_OPTION_EXPLICIT_VHOSTS |
                   LWS_SERVER_OPTION_VALIDATE_UTF8,
        .user = net,
        .protocols = net->protocols,
        .vhost_name = "net",
        .timeout_secs = NET_BODY_SECONDS,
        .timeout_secs_ah_idle = NET_HANDSHAKE_SECONDS,
        .keepalive_timeout = KEEPALIVE_SECONDS,
        .connect_timeout_secs = NET_BODY_SECONDS, /* a dial has its own, shorter one */
        .max_http_header_data = HEADER_BYTES_MAX,
        .max_http_header_pool = HEADER_POOL_MAX,
        .pt_serv_buf_size = SERVICE_BUFFER,
        .retry_and_idle_policy = &net->idle_policy,
        .http_proxy_address = "", /* else lws takes one from the environment */
        .alpn = "http/1.1",
        .ka_time = 60,
        .ka_interval = 10,
        .ka_probes = 6,
    };
}

static enum error_code lws_start(struct net *net, uint32_t max_fds, struct error *err)
{
    lws_set_log_level(0, NULL); /* what there is to say comes back as errors and reasons */
    void *loops[1] = {net->loop};
    struct lws_context_creation_info info = lws_info(net);
    info.foreign_loops = loops;
    info.options |= LWS_SERVER_OPTION_DO_SSL_GLOBAL_INIT;
    size_tables(net, max_fds, &info);
    enum error_code code = context_create(net, &info, err);
    if (code != ERR_OK)
        return code;
    info = lws_info(net);
    net->vhost = lws_create_vhost(net->lws, &info);
    if (net->vhost == NULL)
        return error_set(err, ERR_NO_MEMORY, NULL);
    return ERR_OK;
}

struct lws_vhost *net_vhost_new(struct net *net, const char *name, bool tls_server)
{
    struct lws_context_creation_info info = lws_info(net);
    info.vhost_name = name;
    info.options |= LWS_SERVER_OPTION_DO_SSL_GLOBAL_INIT;
    info.provided_client_ssl_ctx = net->tls_ctx; /* else lws makes one, with the system's CAs */
    assert(net->tls_ctx != NULL);
    if (tls_server) {
        info.port = CONTEXT_PORT_NO_LISTEN_SERVER; /* with the other one there is no TLS */
        info.options |= LWS_SERVER_OPTION_CREATE_VHOST_SSL_CTX;
    }
    return lws_create_vhost(net->lws, &info);
}

static void on_before_poll(uv_prepare_t *handle)
{
    ((struct net *)handle->data)->polling = true;
}

static void on_after_poll(uv_check_t *handle)
{
    ((struct net *)handle->data)->polling = false;
}

static void handles_init(struct net *net)
{
    (void)uv_idle_init(net->loop, &net->closer);
    (void)uv_timer_init(net->loop, &net->accept_timer);
    (void)uv_timer_init(net->loop, &net->fresh_timer);
    (void)uv_prepare_init(net->loop, &net->before_poll);
    (void)uv_check_init(net->loop, &net->after_poll);
    net->closer.data = net;
    net->accept_timer.data = net;
    net->fresh_timer.data = net;
    net->before_poll.data = net;
    net->after_poll.data = net;
    net->handles = 5;
    (void)uv_prepare_start(&net->before_poll, on_before_poll);
    (void)uv_check_start(&net->after_poll, on_after_poll);
}

enum error_code net_new(uv_loop_t *loop, uint32_t max_fds, struct net **ret_net, struct error *err)
{
    AUTO_FREE struct net *net = MEM_NEW(struct net);
    if (net == NULL)
        return error_set(err, ERR_NO_MEMORY, NULL);
    net->loop = loop;
    protocols_fill(net);
    enum error_code code = lws_start(net, max_fds, err);
    if (code != ERR_OK && net->lws == NULL)
        return code;

    handles_init(net);
    struct net *made = TAKE(net);
    if (code != ERR_OK) {
        net_close(made, NULL, NULL);
        return code;
    }
    *ret_net = made;
    return ERR_OK;
}

/* ---- Closing ----------------------------------------------------------------------------------
 */

static void on_handle_closed(uv_handle_t *handle)
{
    struct net *net = handle->data;
    net->handles--;
    if (net->handles > 0)
        return;
    while (net->servers != NULL) {
        struct net_server *server = net->servers;
        net->servers = server->next;
        net_server_free(server);
    }
    void (*done)(void *) = net->done;
    void *ctx = net->done_ctx;
    SSL_CTX_free(net->tls_ctx);
    mem_free(net);
    if (done != NULL)
        done(ctx);
}

void net_check_done(struct net *net)
{
    if (!net->torn_down || net->lws != NULL || net->dials > 0 || net->watches > 0 ||
        net->listeners > 0 || net->linger_count > 0 || uv_is_closing((uv_handle_t *)&net->closer))
        return;
    uv_close((uv_handle_t *)&net->closer, on_handle_closed);
    uv_close((uv_handle_t *)&net->accept_timer, on_handle_closed);
    uv_close((uv_handle_t *)&net->fresh_timer, on_handle_closed);
    uv_close((uv_handle_t *)&net->before_poll, on_handle_closed);
    uv_close((uv_handle_t *)&net->after_poll, on_handle_closed);
}

static void tear_down(struct net *net)
{
    while (net->requests != NULL)
        net_request_finish(net->requests);
    while (net->conns != NULL)
        net_conn_finish(net->conns, "shutting down");
    for (struct net_server *server = net->servers; server != NULL; server = server->next)
        net_listen_close(server);
    net_linger_stop_all(net);
    net->torn_down = true;
    lws_context_destroy(net->lws);
}

struct handle_presence {
    const struct net *net;
    bool found;
};

static void handle_presence_check(uv_handle_t *handle, void *arg)
{
    struct handle_presence *presence = arg;
    if (handle == presence->net->lws_handles[0] || handle == presence->net->lws_handles[1])
        presence->found = true;
}

/* Runs in each turn of the loop: lws closes its sockets in one and its own handles in the next. */
static void on_closer(uv_idle_t *handle)
{
    struct net *net = handle->data;
    if (!net->torn_down) {
        tear_down(net);
        return;
    }
    struct handle_presence presence = {.net = net};
    uv_walk(net->loop, handle_presence_check, &presence);
    if (presence.found)
        return;
    (void)uv_idle_stop(&net->closer);
    lws_context_destroy(net->lws); /* the second call frees it */
    net->lws = NULL;
    net_check_done(net);
}

void net_close(struct net *net, void (*done)(void *ctx), void *ctx)
{
    assert(!net->closing);
    net->closing = true;
    net->done = done;
    net->done_ctx = ctx;
    (void)uv_timer_stop(&net->accept_timer);
    (void)uv_timer_stop(&net->fresh_timer);
    (void)uv_idle_start(&net->closer, on_closer);
}
