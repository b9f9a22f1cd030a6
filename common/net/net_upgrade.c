#include "common/net/net_internal.h"

#include <stdio.h>
#include <string.h>

enum { OFFER_MAX = 512, CLOSE_REFUSED = 1008, ANSWER_MAX = 512 };

/* Answers an upgrade that is not wanted, and has the connection closed. */
static int upgrade_refuse(struct lws *wsi, int status, const char *title, const char *detail)
{
    unsigned char answer[LWS_PRE + ANSWER_MAX];
    char body[ANSWER_MAX / 2];
    int body_len =
        snprintf(body, sizeof(body),
                 "{\"type\":\"about:blank\",\"title\":\"%s\",\"status\":%d,\"detail\":\"%s\"}\n",
                 title, status, detail);
    int len = snprintf((char *)answer + LWS_PRE, ANSWER_MAX,
                       "HTTP/1.1 %d %s\r\n"
                       "Content-Type: application/problem+json\r\n"
                       "Content-Length: %d\r\n"
                       "Connection: close\r\n\r\n%s",
                       status, title, body_len, body);
    if (body_len < 0 || len < 0 || len >= ANSWER_MAX)
        return -1;
    if (lws_write(wsi, answer + LWS_PRE, (size_t)len, LWS_WRITE_HTTP) < 0)
        return -1;
    return 1; /* answered */
}

static bool offers(struct lws *wsi, const char *protocol)
{
    char list[OFFER_MAX];
    if (lws_hdr_copy(wsi, list, sizeof(list), WSI_TOKEN_PROTOCOL) <= 0)
        return false;
    char *rest = NULL;
    for (char *name = strtok_r(list, ", \t", &rest); name != NULL;
         name = strtok_r(NULL, ", \t", &rest)) {
        if (strcmp(name, protocol) == 0)
            return true;
    }
    return false;
}

int net_upgrade_confirm(struct net_server *server, struct lws *wsi, const char *protocol)
{
    const struct net_server_config *config = &server->config;
    if (strcasecmp(protocol, "websocket") != 0)
        return upgrade_refuse(wsi, 400, "Bad Request", "only an upgrade to websocket is offered");
    char *path = NULL;
    int len = 0;
    if (lws_http_get_uri_and_method(wsi, &path, &len) != LWSHUMETH_GET)
        return upgrade_refuse(wsi, 405, "Method Not Allowed", "a WebSocket begins with GET");
    if (config->websocket_path == NULL || strcmp(path, config->websocket_path) != 0)
        return upgrade_refuse(wsi, 404, "Not Found", "there is no WebSocket at this path");
    /* Browsers let any page open a WebSocket to anywhere, and say so: none of them is meant here.
     */
    if (lws_hdr_total_length(wsi, WSI_TOKEN_ORIGIN) > 0)
        return upgrade_refuse(wsi, 403, "Forbidden", "a web page cannot open this WebSocket");
    if (config->websocket_protocol != NULL && !offers(wsi, config->websocket_protocol))
        return upgrade_refuse(wsi, 400, "Bad Request",
                              "the WebSocket subprotocol of this path was not offered");
    if (config->websocket_protocol == NULL && lws_hdr_total_length(wsi, WSI_TOKEN_PROTOCOL) > 0)
        return upgrade_refuse(wsi, 400, "Bad Request", "no WebSocket subprotocol is known here");
    return 0;
}

int net_upgrade_established(struct net_server *server, struct lws *wsi)
{
    const struct net_server_config *config = &server->config;
    struct net_conn *conn =
        net_conn_new(server->net, &config->events, config->ctx, config->max_message);
    if (conn == NULL)
        return -1;
    conn->wsi = wsi;
    conn->open = true;
    net_peer_name(lws_get_socket_fd(wsi), conn->peer);
    lws_set_opaque_user_data(wsi, &conn->entry);
    void *ctx = config->ctx;
    if (!config->websocket(config->ctx, conn, &ctx)) {
        net_conn_discard(conn);
        static unsigned char refused[] = "refused";
        lws_close_reason(wsi, (enum lws_close_status)CLOSE_REFUSED, refused, sizeof(refused) - 1);
        return -1;
    }
    conn->ctx = ctx;
    return 0;
}
