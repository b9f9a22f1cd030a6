/*
 * A TLS server's connection until its first request. lws is patient with these, and a handshake is
 * dear: their time and their number are bounded here.
 */
#include "common/net/net_internal.h"

#include "common/base/cleanup.h"

#include <openssl/err.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

enum {
    HANDSHAKE_MS = NET_HANDSHAKE_SECONDS * 1000,
    ANSWER_MAX = 512,
    SLACK_MS = 200 /* lws has a clock of its own, which may be ahead by this */
};

/* ---- The handshakes under way -----------------------------------------------------------------
 */

static int64_t now_ms(const struct net *net)
{
    return (int64_t)uv_now(net->loop);
}

static void handshake_link(struct net_fresh *fresh)
{
    struct net *net = fresh->server->net;
    fresh->prev = net->handshakes_last;
    if (fresh->prev != NULL)
        fresh->prev->next = fresh;
    else
        net->handshakes = fresh;
    net->handshakes_last = fresh;
    net->handshake_count++;
}

static void handshake_unlink(struct net_fresh *fresh)
{
    struct net *net = fresh->server->net;
    if (fresh->prev == NULL && net->handshakes != fresh)
        return;
    if (fresh->prev != NULL)
        fresh->prev->next = fresh->next;
    else
        net->handshakes = fresh->next;
    if (fresh->next != NULL)
        fresh->next->prev = fresh->prev;
    else
        net->handshakes_last = fresh->prev;
    fresh->prev = NULL;
    fresh->next = NULL;
    net->handshake_count--;
}

/* False when it is us who are slow: what it has sent waits to be read. */
static bool peer_owes(const struct net_fresh *fresh)
{
    int waiting = 0;
    return ioctl(fresh->fd, FIONREAD, &waiting) == 0 && waiting == 0;
}

bool net_fresh_room(struct net *net)
{
    if (net->handshake_count < NET_HANDSHAKES_MAX)
        return true;
    int64_t before = now_ms(net) - NET_HANDSHAKE_PATIENCE_MS;
    for (struct net_fresh *fresh = net->handshakes; fresh != NULL && fresh->began_ms < before;
         fresh = fresh->next) {
        if (fresh->wsi == NULL || !peer_owes(fresh))
            continue;
        net_fresh_set_reason(fresh, "TLS handshake too slow, and others are waiting");
        handshake_unlink(fresh);
        net_kill(net, fresh->wsi);
        return true;
    }
    return false;
}

/* ---- One of them ------------------------------------------------------------------------------
 */

struct net_fresh *net_fresh_new(struct net_server *server, int fd)
{
    struct net_fresh *fresh = MEM_NEW(struct net_fresh);
    if (fresh == NULL)
        return NULL;
    fresh->entry.kind = NET_ENTRY_FRESH;
    fresh->server = server;
    fresh->began_ms = now_ms(server->net);
    fresh->fd = fd;
    net_peer_name(fd, fresh->peer);
    handshake_link(fresh);
    return fresh;
}

void net_fresh_adopted(struct net_fresh *fresh, struct lws *wsi)
{
    fresh->wsi = wsi;
    (void)SSL_set_app_data(lws_get_ssl(wsi), fresh);
    lws_set_timer_usecs(wsi, (lws_usec_t)NET_HANDSHAKE_SECONDS * LWS_USEC_PER_SEC);
}

void net_fresh_done(struct net_fresh *fresh)
{
    fresh->done = true;
    handshake_unlink(fresh);
    net_listen_resume(fresh->server->net);
}

void net_fresh_set_reason(struct net_fresh *fresh, const char *reason)
{
    if (fresh->reason[0] == '\0')
        (void)snprintf(fresh->reason, sizeof(fresh->reason), "%s", reason);
}

/* One who speaks plain HTTP gets an answer that he can read. */
static void plain_answer(char *ret_text, size_t room)
{
    static const char body[] = "{\"type\":\"about:blank\",\"title\":\"Bad Request\",\"status\":400,"
                               "\"detail\":\"TLS is spoken here: use https:// or wss://\"}\n";
    (void)snprintf(ret_text, room,
                   "HTTP/1.1 400 Bad Request\r\nContent-Type: application/problem+json\r\n"
                   "Content-Length: %zu\r\nConnection: close\r\n\r\n%s",
                   sizeof(body) - 1, body);
}

void net_fresh_refuse(struct net_fresh *fresh)
{
    char reason[ERROR_MESSAGE_MAX];
    if (fresh->done || !fresh->heard || !net_tls_failure(NET_SERVER_SIDE, reason, sizeof(reason)))
        return; /* whoever looks whether the port is open does just that */
    unsigned long what = ERR_peek_error();
    bool plain_http =
        ERR_GET_LIB(what) == ERR_LIB_SSL && ERR_GET_REASON(what) == SSL_R_HTTP_REQUEST;
    net_fresh_set_reason(fresh, reason);
    char answer[ANSWER_MAX];
    plain_answer(answer, sizeof(answer));
    net_linger_start(fresh->server->net, fresh->fd, plain_http ? answer : NULL);
}

/* ---- Its end ----------------------------------------------------------------------------------
 */

static void fresh_report(const struct net_fresh *fresh)
{
    const struct net_server_config *config = &fresh->server->config;
    const struct net *net = fresh->server->net;
    if (fresh->done || config->refused == NULL)
        return;
    const char *reason = fresh->reason;
    bool late = now_ms(net) - fresh->began_ms >= HANDSHAKE_MS - SLACK_MS;
    if (reason[0] == '\0' && late)
        reason = "TLS handshake not done in time";
    if (reason[0] == '\0' && fresh->heard)
        reason = "connection lost";
    if (reason[0] != '\0')
        config->refused(config->ctx, fresh->peer, reason);
}

void net_fresh_gone(struct net_fresh *fresh)
{
    struct net *net = fresh->server->net;
    handshake_unlink(fresh);
    if (net->adopting == fresh)
        net->adopting = NULL;
    if (!net->closing)
        fresh_report(fresh);
    mem_free(fresh);
}

/* It is a server's connection like any other from now on. */
static void fresh_settle(struct net_fresh *fresh, struct lws *wsi)
{
    lws_set_opaque_user_data(wsi, &fresh->server->entry);
    (void)SSL_set_app_data(lws_get_ssl(wsi), NULL);
    handshake_unlink(fresh);
    mem_free(fresh);
}

bool net_fresh_callback(struct net_fresh *fresh, struct lws *wsi, enum lws_callback_reasons reason,
                        int *ret_result)
{
    *ret_result = 0;
    switch ((int)reason) {
    case LWS_CALLBACK_HTTP:
    case LWS_CALLBACK_HTTP_CONFIRM_UPGRADE:
    case LWS_CALLBACK_FILTER_PROTOCOL_CONNECTION:
        fresh_settle(fresh, wsi);
        return true;
    case LWS_CALLBACK_TIMER:
        *ret_result = -1;
        return false;
    case LWS_CALLBACK_CLOSED_HTTP:
    case LWS_CALLBACK_WSI_DESTROY:
        lws_set_opaque_user_data(wsi, NULL);
        if (lws_get_ssl(wsi) != NULL)
            (void)SSL_set_app_data(lws_get_ssl(wsi), NULL);
        net_fresh_gone(fresh);
        return false;
    default:
        return false;
    }
}
