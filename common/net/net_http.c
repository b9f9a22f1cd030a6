#include "common/net/net_internal.h"

#include "common/base/cleanup.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

enum {
    LENGTH_DIGITS_MAX = 18,
    FRAGMENTS_MAX = 128,
    COMPLETIONS_MAX = 16 /* more often than any peer makes lws say it */
};

/* ---- Lifetime ---------------------------------------------------------------------------------
 */

static void request_free(struct net_request *req)
{
    if (req == NULL)
        return;
    while (req->headers != NULL) {
        struct net_header *header = req->headers;
        req->headers = header->next;
        mem_free(header->value);
        mem_free(header);
    }
    net_queue_done(&req->queue);
    buf_done(&req->body);
    mem_free(req->identity);
    mem_free(req->path);
    mem_free(req->query);
    mem_free(req);
}
DEFINE_CLEANUP(request_free, struct net_request)

void net_request_finish(struct net_request *req)
{
    struct net *net = req->net;
    if (req->prev != NULL)
        req->prev->next = req->next;
    else
        net->requests = req->next;
    if (req->next != NULL)
        req->next->prev = req->prev;
    net_watch_stop(req);
    lws_set_opaque_user_data(req->wsi, net->closing ? NULL : &req->server->entry);
    req->dropping = true;
    if (req->headed || req->announced)
        req->server->config.request_closed(req->server->config.ctx, req);
    request_free(req);
}

/* ---- Reading the head -------------------------------------------------------------------------
 */

static enum net_method method_of(int lws_method)
{
    switch (lws_method) {
    case LWSHUMETH_GET:
        return NET_GET;
    case LWSHUMETH_POST:
        return NET_POST;
    case LWSHUMETH_PUT:
        return NET_PUT;
    case LWSHUMETH_DELETE:
        return NET_DELETE;
    case LWSHUMETH_HEAD:
        return NET_HEAD;
    default:
        return NET_OTHER_METHOD;
    }
}

/* lws has split the query at '&' and decoded each part. */
static char *query_copy(struct lws *wsi)
{
    int total = lws_hdr_total_length(wsi, WSI_TOKEN_HTTP_URI_ARGS);
    size_t capacity = (size_t)(total < 0 ? 0 : total) + FRAGMENTS_MAX + 2;
    char *query = mem_zalloc(capacity);
    if (query == NULL)
        return NULL;
    size_t used = 0;
    for (int i = 0; i < FRAGMENTS_MAX; i++) {
        int len = lws_hdr_copy_fragment(wsi, query + used, (int)(capacity - used - 1),
                                        WSI_TOKEN_HTTP_URI_ARGS, i);
        if (len < 0)
            break;
        if (len > 0)
            used += (size_t)len + 1;
    }
    query[used] = '\0';
    return query;
}

/* True when a header that is a list of words has this one. */
static bool header_has_word(struct lws *wsi, enum lws_token_indexes token, const char *word)
{
    char list[NET_MAX_HEADER_VALUE];
    if (lws_hdr_copy(wsi, list, sizeof(list), token) <= 0)
        return false;
    char *rest = NULL;
    for (char *item = strtok_r(list, ", \t", &rest); item != NULL;
         item = strtok_r(NULL, ", \t", &rest)) {
        if (strcasecmp(item, word) == 0)
            return true;
    }
    return false;
}

/* False: it is not one plain number. Without the header it is 0. */
static bool content_length(struct lws *wsi, size_t *ret_length)
{
    *ret_length = 0;
    if (lws_hdr_total_length(wsi, WSI_TOKEN_HTTP_CONTENT_LENGTH) == 0)
        return true;
    char text[LENGTH_DIGITS_MAX + 2];
    int len = lws_hdr_copy(wsi, text, sizeof(text), WSI_TOKEN_HTTP_CONTENT_LENGTH);
    if (len <= 0 || len > LENGTH_DIGITS_MAX || strspn(text, "0123456789") != (size_t)len)
        return false;
    size_t length = 0;
    for (const char *p = text; *p != '\0'; p++)
        length = length * 10 + (size_t)(*p - '0');
    *ret_length = length;
    return true;
}

static struct net_request *request_new(struct net_server *server, struct lws *wsi, const char *path,
                                       int lws_method)
{
    AUTO(request_free) struct net_request *req = MEM_NEW(struct net_request);
    if (req == NULL)
        return NULL;
    req->entry.kind = NET_ENTRY_REQUEST;
    req->net = server->net;
    req->server = server;
    req->wsi = wsi;
    req->method = method_of(lws_method);
    req->path = mem_strdup(path);
    req->query = query_copy(wsi);
    if (req->path == NULL || req->query == NULL)
        return NULL;
    req->body.max = server->config.max_body;
    char version[16] = "";
    (void)lws_hdr_copy(wsi, version, sizeof(version), WSI_TOKEN_HTTP);
    req->http_1_1 = strcmp(version, "HTTP/1.1") == 0;
    req->keep_alive = req->http_1_1 && !header_has_word(wsi, WSI_TOKEN_CONNECTION, "close");
    net_peer_name(lws_get_socket_fd(wsi), req->peer);
    return TAKE(req);
}

static void request_link(struct net_request *req)
{
    struct net *net = req->net;
    req->next = net->requests;
    if (net->requests != NULL)
        net->requests->prev = req;
    net->requests = req;
    lws_set_opaque_user_data(req->wsi, &req->entry);
}

/* ---- From head to request() -------------------------------------------------------------------
 */

/* Answers without asking the server's user, who never hears of this request. */
static int request_refuse(struct net_request *req, int status, const char *detail)
{
    AUTO_BUF struct buf body = BUF_INIT;
    buf_printf(&body,
               "{\"type\":\"about:blank\",\"title\":\"%s\",\"status\":%d,\"detail\":\"%s\"}\n",
               net_status_phrase(status), status, detail);
    if (buf_check(&body, NULL) != ERR_OK)
        return -1;
    req->keep_alive = false;
    net_respond(req, status, "application/problem+json", NULL, body.data, body.len);
    return 0;
}

static void request_announce(struct net_request *req)
{
    req->body_complete = true;
    lws_set_timeout(req->wsi, NO_PENDING_TIMEOUT, 0);
    lws_rx_flow_control(req->wsi, 0); /* until the answer */
    req->announced = true;
    req->server->config.request(req->server->config.ctx, req);
}

/* True: it was answered, and its body is of no interest. */
static bool request_head(struct net_request *req)
{
    const struct net_server_config *config = &req->server->config;
    bool keep_alive = req->keep_alive;
    if (config->head == NULL)
        return false;
    req->headed = true;
    req->keep_alive = false; /* in an answer before the end of the body */
    config->head(config->ctx, req);
    if (req->answered)
        return true;
    req->keep_alive = keep_alive;
    return false;
}

/* lws takes a body to come for these even when no length says so. */
static bool method_implies_body(int lws_method)
{
    return lws_method == LWSHUMETH_POST || lws_method == LWSHUMETH_PUT ||
           lws_method == LWSHUMETH_PATCH;
}

/* Some wait to be told that their body is wanted. */
static int request_ask_body(struct lws *wsi)
{
    if (!header_has_word(wsi, WSI_TOKEN_HTTP_EXPECT, "100-continue"))
        return 0;
    static const char go_on[] = "HTTP/1.1 100 Continue\r\n\r\n";
    unsigned char answer[LWS_PRE + sizeof(go_on)];
    memcpy(answer + LWS_PRE, go_on, sizeof(go_on));
    return lws_write(wsi, answer + LWS_PRE, sizeof(go_on) - 1, LWS_WRITE_HTTP) < 0 ? -1 : 0;
}

static int request_begin(struct net_server *server, struct lws *wsi)
{
    char *path = NULL;
    int path_len = 0;
    int lws_method = lws_http_get_uri_and_method(wsi, &path, &path_len);
    if (lws_method < 0 || path == NULL)
        return -1;
    /* A request that lws takes from what it had read along with the one before it comes outside of
     * polling. When such a one has a body lws mistakes the head for the body, and may loop on it.
     */
    bool implied = method_implies_body(lws_method);
    bool has_length = lws_hdr_total_length(wsi, WSI_TOKEN_HTTP_CONTENT_LENGTH) > 0;
    if (!server->net->polling && (implied || has_length))
        return -1;
    struct net_request *req = request_new(server, wsi, path, lws_method);
    if (req == NULL)
        return -1;
    request_link(req);

    if (lws_hdr_total_length(wsi, WSI_TOKEN_HTTP_TRANSFER_ENCODING) > 0) {
        req->unread = implied;
        return request_refuse(req, 411, "a body must come with Content-Length");
    }
    if (!content_length(wsi, &req->body_expected))
        return request_refuse(req, 400, "Content-Length is not a number");
    req->unread = req->body_expected > 0;
    if (strlen(req->path) >= NET_MAX_PATH)
        return request_refuse(req, 414, "the path is too long");
    if (req->body_expected > server->config.max_body) {
        char detail[80];
        (void)snprintf(detail, sizeof(detail), "the body may have at most %zu bytes",
                       server->config.max_body);
        return request_refuse(req, 413, detail);
    }
    if (req->body_expected > 0) {
        if (request_head(req))
            return 0;
        lws_set_timer_usecs(wsi, (lws_usec_t)NET_BODY_SECONDS * LWS_USEC_PER_SEC);
        return request_ask_body(wsi);
    }
    if (implied && !has_length)
        req->keep_alive = false; /* lws would take the next request for the body */
    request_announce(req);
    return 0;
}

static int request_body(struct net_request *req, const char *data, size_t len)
{
    if (req->announced || req->answered || len == 0)
        return 0;
    buf_append(&req->body, data, len);
    return buf_check(&req->body, NULL) == ERR_OK ? 0 : -1;
}

static int request_body_complete(struct net_request *req)
{
    req->unread = false;
    if (req->completions++ == COMPLETIONS_MAX)
        return -1;
    if (!req->announced && !req->answered)
        request_announce(req);
    return 0;
}

/* ---- Writing the answer -----------------------------------------------------------------------
 */

static int request_written(struct net_request *req)
{
    struct lws *wsi = req->wsi;
    struct net_server *server = req->server;
    bool linger = req->unread;
    bool keep = req->keep_alive;
    net_request_finish(req);
    if (linger) {
        lws_set_opaque_user_data(wsi, &server->linger);
        /* Closing on a peer that still sends would take the answer away from it. */
        lws_set_timer_usecs(wsi, (lws_usec_t)NET_LINGER_MS * LWS_US_PER_MS);
        return 0;
    }
    if (!keep)
        return -1;
    return lws_http_transaction_completed(wsi) != 0 ? -1 : 0;
}

static int request_write(struct net_request *req)
{
    if (req->dropping)
        return 0;
    size_t before = req->queue.bytes;
    while (req->queue.head != NULL && before - req->queue.bytes < NET_TURN_MAX &&
           !lws_partial_buffered(req->wsi)) {
        if (!net_queue_write(&req->queue, req->wsi, false))
            return -1;
    }
    if (req->queue.head != NULL || lws_partial_buffered(req->wsi)) {
        net_watch_start(req);
        lws_callback_on_writable(req->wsi);
        return 0;
    }
    if (req->ended)
        return request_written(req);
    if (req->streaming && (req->want || before > 0)) {
        req->want = false;
        if (req->writable != NULL)
            req->writable(req->server->config.ctx, req);
    }
    return 0;
}

/* ---- lws's events -----------------------------------------------------------------------------
 */

static int request_callback(struct net_request *req, enum lws_callback_reasons reason, void *in,
                            size_t len)
{
    switch ((int)reason) {
    case LWS_CALLBACK_HTTP_BODY:
        return request_body(req, in, len);
    case LWS_CALLBACK_HTTP_BODY_COMPLETION:
        return request_body_complete(req);
    case LWS_CALLBACK_HTTP_WRITEABLE:
        return request_write(req);
    case LWS_CALLBACK_CLOSED_HTTP:
    case LWS_CALLBACK_CLOSED:
    case LWS_CALLBACK_WSI_DESTROY: {
        struct lws *wsi = req->wsi;
        net_request_finish(req);
        lws_set_opaque_user_data(wsi, NULL);
        return 0;
    }
    case LWS_CALLBACK_TIMER: /* it cannot be cancelled, and means the body alone */
        return req->announced || req->answered ? 0 : -1;
    case LWS_CALLBACK_HTTP: /* the one before is not answered yet */
        return -1;
    default:
        return 0;
    }
}

/* What a refused peer still sends is read away, for some time. */
static int linger_callback(struct lws *wsi, enum lws_callback_reasons reason)
{
    switch ((int)reason) {
    case LWS_CALLBACK_CLOSED_HTTP:
    case LWS_CALLBACK_WSI_DESTROY:
        lws_set_opaque_user_data(wsi, NULL);
        return 0;
    case LWS_CALLBACK_HTTP:
    case LWS_CALLBACK_HTTP_BODY_COMPLETION:
    case LWS_CALLBACK_HTTP_CONFIRM_UPGRADE:
    case LWS_CALLBACK_TIMER:
        return -1;
    default:
        return 0;
    }
}

static int connection_callback(struct net_server *server, struct lws *wsi,
                               enum lws_callback_reasons reason, void *in)
{
    switch ((int)reason) {
    case LWS_CALLBACK_HTTP:
        return request_begin(server, wsi);
    case LWS_CALLBACK_HTTP_CONFIRM_UPGRADE:
        return net_upgrade_confirm(server, wsi, in);
    case LWS_CALLBACK_FILTER_PROTOCOL_CONNECTION: {
        const char *agreed = lws_get_protocol(wsi)->name;
        const char *expected = server->config.websocket_protocol;
        return strcmp(agreed, expected == NULL ? "" : expected) == 0 ? 0 : -1;
    }
    case LWS_CALLBACK_ESTABLISHED:
        return net_upgrade_established(server, wsi);
    case LWS_CALLBACK_CLOSED_HTTP:
    case LWS_CALLBACK_CLOSED:
    case LWS_CALLBACK_WSI_DESTROY:
        lws_set_opaque_user_data(wsi, NULL);
        return 0;
    default:
        return 0;
    }
}

int net_http_callback(struct net_entry *entry, struct lws *wsi, enum lws_callback_reasons reason,
                      void *in, size_t len)
{
    if (entry->kind == NET_ENTRY_FRESH) {
        struct net_fresh *fresh = (struct net_fresh *)entry;
        entry = &fresh->server->entry;
        if (!net_fresh_callback(fresh, wsi, reason))
            return 0;
    }
    if (entry->kind == NET_ENTRY_REQUEST)
        return request_callback((struct net_request *)entry, reason, in, len);
    if (entry->kind == NET_ENTRY_LINGER)
        return linger_callback(wsi, reason);
    return connection_callback((struct net_server *)entry, wsi, reason, in);
}

/* ---- What the server's user asks --------------------------------------------------------------
 */

enum net_method net_request_method(const struct net_request *req)
{
    return req->method;
}

const char *net_request_path(const struct net_request *req)
{
    return req->path;
}

const char *net_request_query(struct net_request *req, const char *name)
{
    size_t len = strlen(name);
    for (const char *item = req->query; *item != '\0'; item += strlen(item) + 1) {
        if (strncmp(item, name, len) != 0)
            continue;
        if (item[len] == '=')
            return item + len + 1;
        if (item[len] == '\0')
            return item + len;
    }
    return NULL;
}

/* lws keeps headers that it knows by number and others by name. Negative: there is none. */
static int header_find(struct lws *wsi, const char *name, char ret_value[NET_MAX_HEADER_VALUE])
{
    char with_colon[NET_MAX_HEADER_VALUE];
    int name_len = snprintf(with_colon, sizeof(with_colon), "%s:", name);
    if (name_len < 0 || (size_t)name_len >= sizeof(with_colon))
        return -1;
    for (int token = 0; token < WSI_TOKEN_COUNT; token++) {
        const char *known = (const char *)lws_token_to_string((enum lws_token_indexes)token);
        if (known == NULL || strcmp(known, with_colon) != 0)
            continue;
        int len = lws_hdr_copy(wsi, ret_value, NET_MAX_HEADER_VALUE, (enum lws_token_indexes)token);
        return len > 0 ? len : -1;
    }
    return lws_hdr_custom_copy(wsi, ret_value, NET_MAX_HEADER_VALUE, with_colon, name_len);
}

static char *header_copy(struct lws *wsi, const char *name)
{
    char value[NET_MAX_HEADER_VALUE];
    int len = header_find(wsi, name, value);
    char *copy = len >= 0 ? mem_strndup(value, (size_t)len) : NULL;
    explicit_bzero(value, sizeof(value)); /* it may be a secret */
    return copy;
}

const char *net_request_header(struct net_request *req, const char *name)
{
    for (struct net_header *header = req->headers; header != NULL; header = header->next) {
        if (strcmp(header->name, name) == 0)
            return header->value;
    }
    size_t len = strlen(name);
    struct net_header *header = mem_zalloc(sizeof(*header) + len + 1);
    if (header == NULL)
        return NULL;
    memcpy(header->name, name, len + 1);
    header->value = req->streaming ? NULL : header_copy(req->wsi, name);
    header->next = req->headers;
    req->headers = header;
    return header->value;
}

static void header_wipe(struct net_header *header)
{
    if (header->value != NULL)
        explicit_bzero(header->value, strlen(header->value));
    mem_free(TAKE(header->value));
}

void net_request_wipe(struct net_request *req, const char *name)
{
    if (name == NULL) {
        if (req->body.data != NULL)
            explicit_bzero(req->body.data, req->body.capacity);
        req->body.len = 0;
        return;
    }
    for (struct net_header *header = req->headers; header != NULL; header = header->next) {
        if (strcmp(header->name, name) == 0)
            header_wipe(header);
    }
}

const char *net_request_body(const struct net_request *req, size_t *ret_len)
{
    *ret_len = req->body.len;
    return req->body.data == NULL ? "" : req->body.data;
}

char *net_request_take_body(struct net_request *req, size_t *ret_len)
{
    *ret_len = req->body.len;
    return req->body.data == NULL ? NULL : buf_take(&req->body, ret_len);
}

const char *net_request_peer(const struct net_request *req)
{
    return req->peer;
}

void net_request_set_data(struct net_request *req, void *data)
{
    req->data = data;
}

void *net_request_data(const struct net_request *req)
{
    return req->data;
}
