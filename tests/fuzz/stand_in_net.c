#include "tests/fuzz/stand_in_net.h"

#include "common/base/alloc.h"
#include "common/net/net_tls.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct net_server {
    struct net_server_config config;
    struct net_request *open; /* given, and not closed */
};

static struct net_server *the_server;

static void *checked(void *p)
{
    assert(p != NULL);
    return p;
}

/* What is kept for the test must not fail when the product is out of memory. */
static void keep(struct buf *b, const char *data, size_t len)
{
    char *grown = checked(realloc(b->data, b->len + len + 1));
    memcpy(grown + b->len, data, len);
    b->data = grown;
    b->len += len;
    grown[b->len] = '\0';
}

static bool memory_is_there(void)
{
    void *p = mem_alloc(1);
    mem_free(p);
    return p != NULL;
}

/* ---- The server ------------------------------------------------------------------------------ */

enum error_code net_server_new(struct net *net, const struct net_server_config *config,
                               struct net_server **ret_server, struct error *err)
{
    (void)net;
    free(the_server); /* left by a test that has failed */
    the_server = NULL;
    if (!memory_is_there())
        return error_set(err, ERR_NO_MEMORY, NULL);
    the_server = checked(calloc(1, sizeof(*the_server)));
    the_server->config = *config;
    *ret_server = the_server;
    return ERR_OK;
}

uint16_t net_server_port(const struct net_server *server)
{
    return server->config.port;
}

void stand_net_done(void)
{
    assert(the_server == NULL || the_server->open == NULL);
    free(the_server);
    the_server = NULL;
}

/* ---- Requests: the test's side --------------------------------------------------------------- */

static int hex(char c)
{
    static const char digits[] = "0123456789abcdef";
    if (c >= 'A' && c <= 'F')
        c = (char)(c - 'A' + 'a');
    const char *found = c == '\0' ? NULL : strchr(digits, c);
    return found == NULL ? -1 : (int)(found - digits);
}

static char *query_decode(const char *s)
{
    char *query = checked(calloc(1, strlen(s) + 2));
    size_t used = 0;
    for (; *s != '\0'; s++) {
        char c = *s;
        if (c == '%' && hex(s[1]) >= 0 && hex(s[2]) >= 0) {
            c = (char)(hex(s[1]) * 16 + hex(s[2]));
            s += 2;
        } else if (c == '+') {
            c = ' ';
        }
        if (*s == '&')
            c = '\0';
        if (c == '\0' && (used == 0 || query[used - 1] == '\0'))
            continue; /* an empty item would read as the end of all */
        query[used++] = c;
    }
    return query;
}

static char *text_copy(const char *s, size_t len)
{
    char *copy = checked(malloc(len + 1));
    memcpy(copy, s, len);
    copy[len] = '\0';
    return copy;
}

struct net_request *stand_net_request(enum net_method method, const char *target, const char *body,
                                      size_t len)
{
    struct net_request *req = checked(calloc(1, sizeof(*req)));
    size_t path_len = strcspn(target, "?");
    req->method = method;
    req->path = text_copy(target, path_len);
    req->query = query_decode(target[path_len] == '?' ? target + path_len + 1 : "");
    req->body = text_copy(body, len);
    req->body_len = len;
    return req;
}

void stand_net_give(struct net_request *req)
{
    req->next = the_server->open;
    the_server->open = req;
    the_server->config.request(the_server->config.ctx, req);
}

void stand_net_pump(int rounds)
{
    for (int i = 0; i < rounds; i++) {
        for (struct net_request *req = the_server->open; req != NULL; req = req->next) {
            if (!req->wants || req->ended || req->broken)
                continue;
            req->wants = false;
            req->writable(the_server->config.ctx, req);
        }
    }
}

void stand_net_close(struct net_request *req)
{
    struct net_request **at = &the_server->open;
    while (*at != req)
        at = &(*at)->next;
    *at = req->next;
    the_server->config.request_closed(the_server->config.ctx, req);
    free(req->path);
    free(req->query);
    free(req->accept);
    free(req->last_event_id);
    free(req->body);
    free(req->answer.data);
    free(req);
}

bool net_request_peer_user(const struct net_request *req, uid_t *ret_uid, pid_t *ret_pid)
{
    (void)req;
    (void)ret_uid;
    (void)ret_pid;
    return false;
}

bool net_request_peer_in_group(const struct net_request *req, gid_t group)
{
    (void)req;
    (void)group;
    return false;
}

void net_request_wipe(struct net_request *req, const char *name)
{
    (void)req;
    (void)name;
}

const struct pki_facts *net_request_identity(struct net_request *req)
{
    (void)req;
    return NULL;
}

const struct pki_facts *net_conn_identity(struct net_conn *conn)
{
    (void)conn;
    return NULL;
}

enum error_code net_server_set_tls(struct net_server *server, const struct net_tls_server *tls,
                                   struct error *err)
{
    (void)server;
    (void)tls;
    return error_set(err, ERR_INVALID, "it is a plain one");
}

bool net_host_loopback(const char *host)
{
    return strcmp(host, "127.0.0.1") == 0;
}

/* ---- Requests: the product's side ------------------------------------------------------------ */

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
        if (strncmp(item, name, len) == 0 && item[len] == '=')
            return item + len + 1;
        if (strcmp(item, name) == 0)
            return item + len;
    }
    return NULL;
}

const char *net_request_header(struct net_request *req, const char *name)
{
    if (strcmp(name, "accept") == 0)
        return req->accept;
    return strcmp(name, "last-event-id") == 0 ? req->last_event_id : NULL;
}

const char *net_request_body(const struct net_request *req, size_t *ret_len)
{
    *ret_len = req->body_len;
    return req->body;
}

char *net_request_take_body(struct net_request *req, size_t *ret_len)
{
    *ret_len = req->body_len;
    char *copy = req->body_len > 0 ? mem_alloc(req->body_len) : NULL;
    if (copy != NULL) {
        memcpy(copy, req->body, req->body_len);
        req->body_len = 0;
    }
    return copy;
}

const char *net_request_peer(const struct net_request *req)
{
    (void)req;
    return "127.0.0.1:9";
}

void net_request_set_data(struct net_request *req, void *data)
{
    req->data = data;
}

void *net_request_data(const struct net_request *req)
{
    return req->data;
}

void net_respond(struct net_request *req, int status, const char *content_type, const char *headers,
                 const char *body, size_t len)
{
    (void)headers;
    req->answers++;
    req->ended = true;
    req->broken = !memory_is_there();
    req->status = req->broken ? 0 : status;
    (void)snprintf(req->content_type, sizeof(req->content_type), "%s", content_type);
    if (!req->broken)
        keep(&req->answer, body, len);
}

void net_stream_begin(struct net_request *req, int status, const char *content_type,
                      void (*writable)(void *ctx, struct net_request *req))
{
    req->answers++;
    req->status = status;
    req->streaming = true;
    req->writable = writable;
    (void)snprintf(req->content_type, sizeof(req->content_type), "%s", content_type);
}

void net_stream_begin_sized(struct net_request *req, const struct net_stream_head *head,
                            void (*writable)(void *ctx, struct net_request *req))
{
    net_stream_begin(req, head->status, head->content_type, writable);
}

enum error_code net_stream_send(struct net_request *req, const char *data, size_t len,
                                struct error *err)
{
    assert(req->streaming);
    if (!memory_is_there()) {
        req->broken = true;
        return error_set(err, ERR_NO_MEMORY, NULL);
    }
    keep(&req->answer, data, len);
    return ERR_OK;
}

size_t net_stream_queued(const struct net_request *req)
{
    (void)req;
    return 0;
}

void net_stream_want(struct net_request *req)
{
    req->wants = true;
}

void net_stream_end(struct net_request *req)
{
    req->ended = true;
}

void net_stream_break(struct net_request *req)
{
    req->broken = true;
}

/* ---- Connections ----------------------------------------------------------------------------- */

struct net_conn *stand_net_connect(void)
{
    struct net_conn *conn = checked(calloc(1, sizeof(*conn)));
    if (the_server->config.websocket(the_server->config.ctx, conn, &conn->ctx))
        return conn;
    free(conn);
    return NULL;
}

void stand_net_message(struct net_conn *conn, const char *data, size_t len)
{
    char *exact = text_copy(data, len);
    if (!conn->closed)
        the_server->config.events.message(conn->ctx, conn, exact, len);
    free(exact);
    stand_net_settle(conn);
}

void stand_net_settle(struct net_conn *conn)
{
    if (!conn->closed || conn->told)
        return;
    conn->told = true;
    the_server->config.events.closed(conn->ctx, conn, "over");
}

void stand_net_disconnect(struct net_conn *conn)
{
    if (conn == NULL)
        return;
    conn->closed = true;
    stand_net_settle(conn);
    free(conn->sent.data);
    free(conn);
}

enum error_code net_conn_send(struct net_conn *conn, const char *data, size_t len,
                              struct error *err)
{
    if (conn->closed)
        return error_set(err, ERR_UNAVAILABLE, "it is closing");
    if (!memory_is_there()) {
        conn->closed = true;
        return error_set(err, ERR_NO_MEMORY, NULL);
    }
    keep(&conn->sent, data, len);
    keep(&conn->sent, "\n", 1);
    return ERR_OK;
}

void net_conn_close(struct net_conn *conn, uint16_t code, const char *reason)
{
    (void)code;
    (void)reason;
    conn->closed = true;
}

const char *net_conn_peer(const struct net_conn *conn)
{
    (void)conn;
    return "127.0.0.1:9";
}
