#include "common/net/net_fetch.h"

#include "common/base/cleanup.h"
#include "common/net/net_internal.h"

#include <assert.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <string.h>

enum { READ_MAX = 4096 };

struct net_fetch {
    struct net_conn *conn; /* until it is closed */
    void *ctx;
    void (*done)(void *ctx, int status, const char *body, size_t len, const char *failure);
    char *content_type;
    unsigned char *body; /* LWS_PRE bytes of headroom, then len bytes */
    size_t len;
    struct buf answer;
    int status; /* 0: no answer has begun */
    bool sent;
    bool whole; /* the answer has come to its end */
};

static void fetch_free(struct net_fetch *fetch)
{
    if (fetch == NULL)
        return;
    if (fetch->body != NULL)
        OPENSSL_cleanse(fetch->body, LWS_PRE + fetch->len);
    mem_free(fetch->body);
    mem_free(fetch->content_type);
    buf_done(&fetch->answer);
    mem_free(fetch);
}
DEFINE_CLEANUP(fetch_free, struct net_fetch)

/* ---- lws's events -----------------------------------------------------------------------------
 */

static int add_headers(struct net_conn *conn, unsigned char **at, size_t room)
{
    const struct net_fetch *fetch = conn->fetch;
    unsigned char *end = *at + room;
    if (lws_add_http_header_by_token(conn->wsi, WSI_TOKEN_HTTP_CONTENT_TYPE,
                                     (const unsigned char *)fetch->content_type,
                                     (int)strlen(fetch->content_type), at, end) != 0 ||
        lws_add_http_header_content_length(conn->wsi, fetch->len, at, end) != 0)
        return -1;
    lws_client_http_body_pending(conn->wsi, 1);
    lws_callback_on_writable(conn->wsi);
    return 0;
}

static int send_body(struct net_conn *conn)
{
    struct net_fetch *fetch = conn->fetch;
    if (fetch->sent)
        return 0;
    fetch->sent = true;
    lws_client_http_body_pending(conn->wsi, 0);
    int written = lws_write(conn->wsi, fetch->body + LWS_PRE, fetch->len, LWS_WRITE_HTTP_FINAL);
    return written < (int)fetch->len ? -1 : 0;
}

/* lws calls back with what it has read, perhaps with the end, too. */
static int read_more(struct lws *wsi)
{
    char buffer[LWS_PRE + READ_MAX];
    char *at = buffer + LWS_PRE;
    int room = READ_MAX;
    return lws_http_client_read(wsi, &at, &room) < 0 ? -1 : 0;
}

static int take_body(struct net_conn *conn, const char *data, size_t len)
{
    struct buf *answer = &conn->fetch->answer;
    struct error err = {0};
    buf_append(answer, data, len);
    if (buf_check(answer, &err) == ERR_OK)
        return 0;
    net_conn_finish(conn, answer->failed == ERR_LIMIT ? "the answer is too long" : err.message);
    return -1;
}

/* Where nothing was sent another address is as good. */
static int fetch_failed(struct net_conn *conn, const char *why)
{
    if (!conn->fetch->sent)
        return net_dial_failed(conn, why);
    char reason[ERROR_MESSAGE_MAX];
    const char *in_tls = net_dial_tls_failure(conn->dial);
    (void)snprintf(reason, sizeof(reason), "%s", in_tls != NULL ? in_tls : why);
    net_conn_finish(conn, reason);
    return -1;
}

int net_fetch_callback(struct net_conn *conn, enum lws_callback_reasons reason, void *in,
                       size_t len)
{
    switch ((int)reason) {
    case LWS_CALLBACK_CLIENT_APPEND_HANDSHAKE_HEADER:
        return add_headers(conn, in, len);
    case LWS_CALLBACK_CLIENT_HTTP_WRITEABLE:
        return send_body(conn);
    case LWS_CALLBACK_ESTABLISHED_CLIENT_HTTP:
        conn->fetch->status = (int)lws_http_client_http_response(conn->wsi);
        return 0;
    case LWS_CALLBACK_RECEIVE_CLIENT_HTTP:
        return read_more(conn->wsi);
    case LWS_CALLBACK_RECEIVE_CLIENT_HTTP_READ:
        return take_body(conn, in, len);
    case LWS_CALLBACK_COMPLETED_CLIENT_HTTP:
        conn->fetch->whole = conn->fetch->status != 0;
        net_conn_finish(conn, "it is done");
        return -1;
    case LWS_CALLBACK_CLIENT_CONNECTION_ERROR:
        return fetch_failed(conn, in == NULL ? "connection failed" : in);
    case LWS_CALLBACK_CLOSED_CLIENT_HTTP:
    case LWS_CALLBACK_WSI_DESTROY:
        return fetch_failed(conn, "the connection was lost before the answer was there");
    default:
        return 0;
    }
}

/* ---- Life -------------------------------------------------------------------------------------
 */

static void fetch_closed(void *ctx, struct net_conn *conn, const char *reason)
{
    struct net_fetch *fetch = ctx;
    const struct buf *answer = &fetch->answer;
    (void)conn;
    if (fetch->done != NULL && fetch->whole)
        fetch->done(fetch->ctx, fetch->status, answer->data == NULL ? "" : answer->data,
                    answer->len, NULL);
    else if (fetch->done != NULL)
        fetch->done(fetch->ctx, 0, NULL, 0, reason);
    fetch_free(fetch);
}

static enum error_code fetch_new(const struct net_fetch_config *config,
                                 struct net_fetch **ret_fetch, struct error *err)
{
    if (config->len > NET_FETCH_BODY_MAX)
        return error_set(err, ERR_LIMIT, "a request of more than %d bytes", NET_FETCH_BODY_MAX);
    AUTO(fetch_free) struct net_fetch *fetch = MEM_NEW(struct net_fetch);
    if (fetch == NULL)
        return error_set(err, ERR_NO_MEMORY, NULL);
    fetch->ctx = config->ctx;
    fetch->done = config->done;
    fetch->content_type = mem_strdup(config->content_type);
    fetch->body = mem_alloc(LWS_PRE + config->len);
    if (fetch->content_type == NULL || fetch->body == NULL)
        return error_set(err, ERR_NO_MEMORY, NULL);
    fetch->len = config->len;
    fetch->answer.max = config->max_answer;
    memcpy(fetch->body + LWS_PRE, config->body, config->len);
    *ret_fetch = TAKE(fetch);
    return ERR_OK;
}

enum error_code net_fetch_post(struct net *net, const struct net_fetch_config *config,
                               struct net_fetch **ret_fetch, struct error *err)
{
    AUTO(fetch_free) struct net_fetch *fetch = NULL;
    enum error_code code = fetch_new(config, &fetch, err);
    if (code != ERR_OK)
        return code;
    assert(fetch != NULL);
    const struct net_client_config client = {
        .url = config->url,
        .tls = config->tls,
        .websocket_path = config->path,
        .max_message = config->max_answer,
        .connect_timeout_ms = config->timeout_ms,
        .ctx = fetch,
        .events = {.closed = fetch_closed},
    };
    struct net_conn *conn = NULL;
    code = net_connect(net, &client, &conn, err);
    if (code != ERR_OK)
        return code;
    fetch->conn = conn;
    conn->fetch = fetch;
    *ret_fetch = TAKE(fetch);
    return ERR_OK;
}

void net_fetch_cancel(struct net_fetch *fetch)
{
    fetch->done = NULL;
    net_conn_close(fetch->conn, 1001, "given up");
}
