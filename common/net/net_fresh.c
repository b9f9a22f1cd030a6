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
    TIME_MS = NET_HANDSHAKE_SECONDS * 1000, /* for the handshake, and then for the first request */
    ANSWER_MAX = 512
};

/* ---- Those there are --------------------------------------------------------------------------
 */

static int64_t now_ms(const struct net *net)
{
    return (int64_t)uv_now(net->loop);
}

static void list_add(struct net_fresh_list *list, struct net_fresh *fresh)
{
    struct net *net = fresh->server->net;
    fresh->list = list;
    fresh->since_ms = now_ms(net);
    fresh->next = NULL;
    fresh->prev = list->last;
    if (fresh->prev != NULL)
        fresh->prev->next = fresh;
    else
        list->first = fresh;
    list->last = fresh;
    list->count++;
    if (!uv_is_active((uv_handle_t *)&net->fresh_timer))
        (void)uv_timer_start(&net->fresh_timer, net_fresh_timer, TIME_MS, 0);
}

static void list_remove(struct net_fresh *fresh)
{
    struct net_fresh_list *list = fresh->list;
    if (list == NULL)
        return;
    if (fresh->prev != NULL)
        fresh->prev->next = fresh->next;
    else
        list->first = fresh->next;
    if (fresh->next != NULL)
        fresh->next->prev = fresh->prev;
    else
        list->last = fresh->prev;
    list->count--;
    fresh->list = NULL;
}

static void fresh_drop(struct net_fresh *fresh, const char *reason)
{
    net_fresh_set_reason(fresh, reason);
    list_remove(fresh);
    net_kill(fresh->server->net, fresh->wsi);
}

/* Returns when the next one's time is over; INT64_MAX: never. */
static int64_t list_drop_late(struct net *net, struct net_fresh_list *list)
{
    while (list->first != NULL && list->first->since_ms + TIME_MS <= now_ms(net))
        fresh_drop(list->first, "TLS handshake not done in time");
    return list->first == NULL ? INT64_MAX : list->first->since_ms + TIME_MS;
}

void net_fresh_timer(uv_timer_t *timer)
{
    struct net *net = timer->data;
    int64_t one_ms = list_drop_late(net, &net->handshakes);
    int64_t other_ms = list_drop_late(net, &net->greetings);
    int64_t next_ms = one_ms < other_ms ? one_ms : other_ms;
    if (next_ms != INT64_MAX)
        (void)uv_timer_start(timer, net_fresh_timer, (uint64_t)(next_ms - now_ms(net)), 0);
}

/* False when it is us who are slow: what it has sent waits to be read. */
static bool peer_owes(const struct net_fresh *fresh)
{
    int waiting = 0;
    return ioctl(fresh->fd, FIONREAD, &waiting) == 0 && waiting == 0;
}

bool net_fresh_room(struct net *net)
{
    if (net->handshakes.count < NET_HANDSHAKES_MAX)
        return true;
    int64_t before_ms = now_ms(net) - NET_HANDSHAKE_PATIENCE_MS;
    struct net_fresh *fresh = net->handshakes.first;
    while (fresh != NULL && fresh->since_ms < before_ms && !peer_owes(fresh))
        fresh = fresh->next;
    if (fresh == NULL || fresh->since_ms >= before_ms)
        return false;
    fresh_drop(fresh, "TLS handshake too slow, and others are waiting");
    return true;
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
    fresh->fd = fd;
    net_peer_name(fd, fresh->peer);
    list_add(&server->net->handshakes, fresh);
    return fresh;
}

void net_fresh_adopted(struct net_fresh *fresh, struct lws *wsi)
{
    fresh->wsi = wsi;
    (void)SSL_set_app_data(lws_get_ssl(wsi), fresh);
}

void net_fresh_done(struct net_fresh *fresh)
{
    if (fresh->list == NULL)
        return; /* too late */
    fresh->done = true;
    list_remove(fresh);
    list_add(&fresh->server->net->greetings, fresh);
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
    if (fresh->done || config->refused == NULL)
        return;
    const char *reason = fresh->reason;
    if (reason[0] == '\0' && fresh->heard)
        reason = "connection lost";
    if (reason[0] != '\0')
        config->refused(config->ctx, fresh->peer, reason);
}

void net_fresh_gone(struct net_fresh *fresh)
{
    struct net *net = fresh->server->net;
    list_remove(fresh);
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
    list_remove(fresh);
    mem_free(fresh);
}

bool net_fresh_callback(struct net_fresh *fresh, struct lws *wsi, enum lws_callback_reasons reason)
{
    switch ((int)reason) {
    case LWS_CALLBACK_HTTP:
    case LWS_CALLBACK_HTTP_CONFIRM_UPGRADE:
    case LWS_CALLBACK_FILTER_PROTOCOL_CONNECTION:
        fresh_settle(fresh, wsi);
        return true;
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
