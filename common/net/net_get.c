#include "common/net/net_get.h"

#include "common/base/cleanup.h"
#include "common/net/net_internal.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { HTTP_OK = 200, HTTP_PARTIAL = 206, DECIMAL = 10, NUMBER_MAX = 64, CLOSE_AWAY = 1001 };

struct net_get {
    struct net_conn *conn; /* until it is closed */
    struct net_get_config config;
    size_t credit;
    int64_t left_bytes; /* of the body */
    int status;         /* 0: no answer has begun */
    bool sent, began;
    bool waits; /* something has come and there is no credit for it */
    bool whole; /* all of the body has come */
};

/* ---- The head ---------------------------------------------------------------------------------
 */

static int add_range(struct net_conn *conn, unsigned char **at, size_t room)
{
    struct net_get *get = conn->get;
    char range[NUMBER_MAX];
    get->sent = true;
    if (get->config.offset == 0)
        return 0;
    int len = snprintf(range, sizeof(range), "bytes=%" PRId64 "-", get->config.offset);
    return lws_add_http_header_by_token(conn->wsi, WSI_TOKEN_HTTP_RANGE,
                                        (const unsigned char *)range, len, at, *at + room) == 0
               ? 0
               : -1;
}

/* A number at the beginning of a text; -1: there is none that fits. */
static int64_t number_take(const char **text)
{
    char *end = NULL;
    if (**text < '0' || **text > '9')
        return -1;
    errno = 0;
    long long value = strtoll(*text, &end, DECIMAL);
    *text = end;
    return errno == 0 ? (int64_t)value : -1;
}

static bool header_copy(const struct net_get *get, enum lws_token_indexes token,
                        char ret_text[NUMBER_MAX])
{
    return lws_hdr_copy(get->conn->wsi, ret_text, NUMBER_MAX, token) > 0;
}

/* Content-Length, and with 206 Content-Range: "bytes FIRST-LAST/TOTAL". False: the answer is not
 * one to what was asked. */
static bool head_read(struct net_get *get, int64_t *ret_offset, int64_t *ret_total)
{
    char text[NUMBER_MAX];
    static const char unit[] = "bytes ";
    const char *at = text;
    if (!header_copy(get, WSI_TOKEN_HTTP_CONTENT_LENGTH, text))
        return false;
    get->left_bytes = number_take(&at);
    if (get->left_bytes < 0 || *at != '\0')
        return false;
    *ret_offset = 0;
    *ret_total = get->left_bytes;
    if (get->status == HTTP_OK)
        return true;
    if (!header_copy(get, WSI_TOKEN_HTTP_CONTENT_RANGE, text) ||
        strncmp(text, unit, strlen(unit)) != 0)
        return false;
    at = text + strlen(unit);
    *ret_offset = number_take(&at);
    bool good = *at == '-' && *ret_offset == get->config.offset;
    at += good ? 1 : 0;
    int64_t last = good ? number_take(&at) : -1;
    good = good && *at == '/';
    at += good ? 1 : 0;
    *ret_total = good ? number_take(&at) : -1;
    return good && *at == '\0' && last >= *ret_offset && last - *ret_offset < get->left_bytes &&
           last - *ret_offset + 1 == get->left_bytes && *ret_total == last + 1;
}

static int get_over(struct net_get *get, const char *why)
{
    net_conn_finish(get->conn, why);
    return -1;
}

static int take_head(struct net_get *get)
{
    int64_t offset = 0, total = 0;
    get->status = (int)lws_http_client_http_response(get->conn->wsi);
    if (get->status != HTTP_OK && get->status != HTTP_PARTIAL)
        return get_over(get, "the answer's status");
    if (!head_read(get, &offset, &total))
        return get_over(get, "the answer does not say how long it is, or is not what was asked "
                             "for");
    get->began = true;
    net_dial_patience(get->conn->dial, true);
    if (get->config.began != NULL)
        get->config.began(get->config.ctx, offset, total);
    get->whole = get->left_bytes == 0;
    return get->whole ? get_over(get, "it is done") : 0;
}

/* ---- The body ---------------------------------------------------------------------------------
 */

static int take_data(struct net_get *get, const char *data, size_t len)
{
    if (get->conn->closing) /* given up */
        return 0;
    if (len > get->credit || (uint64_t)len > (uint64_t)get->left_bytes)
        return get_over(get, "the answer is longer than it said");
    get->credit -= len;
    get->left_bytes -= (int64_t)len;
    net_dial_patience(get->conn->dial, get->credit > 0);
    get->config.data(get->config.ctx, data, len);
    return 0;
}

/* lws calls back with what it has read, perhaps with the end, too. Without credit it is told that
 * nothing is to be read: what is there stays with the kernel. */
static int read_more(struct net_conn *conn)
{
    const struct net_get *get = conn->get;
    char buffer[LWS_PRE + NET_GET_PIECE_MAX];
    char *at = buffer + LWS_PRE;
    if (conn->closing)
        return 0;
    if (get->credit == 0) {
        conn->get->waits = true;
        return lws_rx_flow_control(conn->wsi, 0) < 0 ? -1 : 0;
    }
    int room = get->credit < NET_GET_PIECE_MAX ? (int)get->credit : NET_GET_PIECE_MAX;
    return lws_http_client_read(conn->wsi, &at, &room) < 0 ? -1 : 0;
}

/* There is credit again. */
static int go_on(struct net_conn *conn)
{
    struct net_get *get = conn->get;
    if (!get->waits || get->credit == 0 || conn->closing)
        return 0;
    get->waits = false;
    return read_more(conn);
}

/* Where nothing was sent another address is as good. */
static int get_failed(struct net_conn *conn, const char *why)
{
    if (!conn->get->sent)
        return net_dial_failed(conn, why);
    char reason[ERROR_MESSAGE_MAX];
    const char *in_tls = net_dial_tls_failure(conn->dial);
    (void)snprintf(reason, sizeof(reason), "%s", in_tls != NULL ? in_tls : why);
    return get_over(conn->get, reason);
}

int net_get_callback(struct net_conn *conn, enum lws_callback_reasons reason, void *in, size_t len)
{
    struct net_get *get = conn->get;
    switch ((int)reason) {
    case LWS_CALLBACK_CLIENT_APPEND_HANDSHAKE_HEADER:
        return add_range(conn, in, len);
    case LWS_CALLBACK_ESTABLISHED_CLIENT_HTTP:
        return take_head(get);
    case LWS_CALLBACK_CLIENT_HTTP_WRITEABLE:
        return go_on(conn);
    case LWS_CALLBACK_RECEIVE_CLIENT_HTTP:
        return read_more(conn);
    case LWS_CALLBACK_RECEIVE_CLIENT_HTTP_READ:
        return take_data(get, in, len);
    case LWS_CALLBACK_COMPLETED_CLIENT_HTTP:
        get->whole = get->began && get->left_bytes == 0;
        return get_over(get, get->whole ? "it is done" : "the answer ended early");
    case LWS_CALLBACK_CLIENT_CONNECTION_ERROR:
        return get_failed(conn, in == NULL ? "connection failed" : in);
    case LWS_CALLBACK_CLOSED_CLIENT_HTTP:
    case LWS_CALLBACK_WSI_DESTROY:
        return get_failed(conn, "the connection was lost before all of the answer was there");
    default:
        return 0;
    }
}

/* ---- Life -------------------------------------------------------------------------------------
 */

static void get_closed(void *ctx, struct net_conn *conn, const char *reason)
{
    AUTO_FREE struct net_get *get = ctx;
    (void)conn;
    if (get->config.done != NULL)
        get->config.done(get->config.ctx, get->status, get->whole ? NULL : reason);
}

enum error_code net_get_start(struct net *net, const struct net_get_config *config,
                              struct net_get **ret_get, struct error *err)
{
    AUTO_FREE struct net_get *get = MEM_NEW(struct net_get);
    if (get == NULL)
        return error_set(err, ERR_NO_MEMORY, NULL);
    assert(config->offset >= 0);
    get->config = *config; /* of its texts none is looked at later */
    get->credit = config->credit;
    const struct net_client_config client = {
        .url = config->url,
        .tls = config->tls,
        .websocket_path = config->path,
        .max_message = NET_GET_PIECE_MAX,
        .connect_timeout_ms = config->silence_ms,
        .ctx = get,
        .events = {.closed = get_closed},
    };
    struct net_conn *conn = NULL;
    enum error_code code = net_connect(net, &client, &conn, err);
    if (code != ERR_OK)
        return code;
    get->conn = conn;
    conn->get = get;
    *ret_get = TAKE(get);
    return ERR_OK;
}

void net_get_more(struct net_get *get, size_t bytes)
{
    bool had = get->credit > 0;
    get->credit += bytes;
    if (had || !get->began || get->conn->closing || bytes == 0)
        return;
    net_dial_patience(get->conn->dial, true);
    if (!get->waits)
        return;
    /* First: lws lets nobody write who may not read. */
    (void)lws_rx_flow_control(get->conn->wsi, 1);
    lws_callback_on_writable(get->conn->wsi);
    net_wake(get->conn->net);
}

void net_get_cancel(struct net_get *get)
{
    get->config.done = NULL;
    net_conn_close(get->conn, CLOSE_AWAY, "given up");
}
