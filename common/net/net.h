/*
 * net: HTTP/1.1 and WebSocket on a libuv loop, both ends, over libwebsockets. The only place that
 * knows libwebsockets.
 *
 * Everything sent is queued in bounded buffers: a peer that stops reading is dropped when its bound
 * is passed and harms nobody else. Callbacks come on the loop's thread; a conn or request passed to
 * one is borrowed until its closed callback returns.
 *
 * Threading: all calls on the loop's thread. I/O: sockets.
 */
#pragma once

#include "common/base/buf.h"
#include "common/base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <uv.h>

enum {
    NET_MAX_PATH = 2048,
    NET_MAX_HEADER_VALUE = 1024,
    NET_CONN_QUEUE_MAX = 32 * 1024 * 1024, /* bytes waiting to be sent on one connection */
    NET_HANDSHAKE_SECONDS = 10,            /* to finish a TLS handshake, then a request's headers */
    NET_BODY_SECONDS = 60                  /* to finish a request's body */
};

struct net;            /* a libwebsockets context on a loop */
struct net_server;     /* a listening address */
struct net_request;    /* one HTTP request being served */
struct net_conn;       /* one WebSocket, either end */
struct net_tls_server; /* see net_tls.h */
struct net_tls_client;

/* max_fds: connections to size tables for; 0: the process's limit. */
enum error_code net_new(uv_loop_t *loop, uint32_t max_fds, struct net **ret_net,
                        struct error *err) MUST_CHECK;
/* Closes servers and connections (their closed callbacks come), then frees; `done` is called when
 * the loop holds nothing of it any more. */
void net_close(struct net *net, void (*done)(void *ctx), void *ctx);

/* ---- WebSocket connections, either end ------------------------------------------------------ */

struct net_conn_events {
    /* A whole message (fragments put together), at most max_message bytes; text only. */
    void (*message)(void *ctx, struct net_conn *conn, const char *data, size_t len);
    /* Called once, last; also when a client's connection never came about. `reason` is for a log
     * line. The conn is gone when it returns. */
    void (*closed)(void *ctx, struct net_conn *conn, const char *reason);
    /* The queue has become empty. May be NULL. */
    void (*drained)(void *ctx, struct net_conn *conn);
    /* Client only: the upgrade is done. */
    void (*opened)(void *ctx, struct net_conn *conn);
};

/* Queues one text message (copied). ERR_LIMIT: the queue's bound is passed, ERR_NO_MEMORY; the
 * connection is being dropped. ERR_UNAVAILABLE: it is closing. */
enum error_code net_conn_send(struct net_conn *conn, const char *data, size_t len,
                              struct error *err) MUST_CHECK;
size_t net_conn_queued(const struct net_conn *conn); /* bytes not yet written */
/* Closes after what is queued has gone out (at most a few seconds); `reason` goes to the peer. No
 * message callback comes afterwards. */
void net_conn_close(struct net_conn *conn, uint16_t code, const char *reason);
void net_conn_set_ctx(struct net_conn *conn, void *ctx); /* the ctx that the events get */
const char *net_conn_peer(const struct net_conn *conn);  /* "127.0.0.1:51234"; static to the conn */

/* ---- Server ---------------------------------------------------------------------------------- */

enum net_method { NET_GET, NET_POST, NET_PUT, NET_DELETE, NET_HEAD, NET_OTHER_METHOD };

struct net_server_config {
    /* Address to listen on: "127.0.0.1", "::1", "0.0.0.0", or "unix:/run/kitsune/api.sock". */
    const char *host;
    uint16_t port;      /* 0: a free one, see net_server_port; not used for a Unix socket */
    uint32_t unix_mode; /* who may connect to a Unix socket; 0: 0600 */
    const struct net_tls_server *tls; /* NULL: plain */
    size_t max_body;                  /* bytes of a request's body; more is answered by 413 */
    size_t max_message;         /* bytes of a WebSocket message; more ends the connection (1009) */
    const char *websocket_path; /* "/v1/agent": GET with Upgrade there becomes a conn */
    const char *websocket_protocol; /* subprotocol to agree on; NULL: none */
    void *ctx;
    /* The head of a request whose body is to come, which may be answered here: then the body is not
     * kept, and request() is not called, but request_closed is. May be NULL. */
    void (*head)(void *ctx, struct net_request *req);
    /* A request whose body is complete. Answer now or later by net_respond or a stream. */
    void (*request)(void *ctx, struct net_request *req);
    /* The answer is out or the peer is gone: called once for each that head() or request() was
     * called for, last. */
    void (*request_closed)(void *ctx, struct net_request *req);
    /* A WebSocket came; returns false to refuse it. Set *ret_ctx for its events. */
    bool (*websocket)(void *ctx, struct net_conn *conn, void **ret_ctx);
    struct net_conn_events events; /* of the server's conns (opened is not used) */
    /* A connection came to nothing in the TLS handshake; for a log line. Anybody can cause any
     * number of these. May be NULL. */
    void (*refused)(void *ctx, const char *peer, const char *reason);
};

/* Listens. ERR_BUSY: the port is taken, or somebody listens on that Unix socket (one that nobody
 * listens on any more is replaced); ERR_DENIED; ERR_INVALID: no such address, or the certificate is
 * unusable. The message names address and remedy. */
enum error_code net_server_new(struct net *net, const struct net_server_config *config,
                               struct net_server **ret_server, struct error *err) MUST_CHECK;
uint16_t net_server_port(const struct net_server *server);

enum net_method net_request_method(const struct net_request *req);
const char *net_request_path(const struct net_request *req); /* without the query */
/* A query parameter, percent-decoded; NULL when it is not there. Static to the request. */
const char *net_request_query(struct net_request *req, const char *name);
/* A request header by lower-case name ("accept", "last-event-id", "authorization"); NULL when it is
 * not there, or longer than NET_MAX_HEADER_VALUE. Once a stream has begun only those asked for
 * before are known. */
const char *net_request_header(struct net_request *req, const char *name);
const char *net_request_body(const struct net_request *req, size_t *ret_len);
/* Hands the body over (caller owns, mem_free), which is empty here from then on. NULL: there is
 * none. */
char *net_request_take_body(struct net_request *req, size_t *ret_len);
const char *net_request_peer(const struct net_request *req);
/* Who is at the other end of a Unix socket, as the kernel says. False: it is none, or the peer is
 * gone. */
bool net_request_peer_user(const struct net_request *req, uid_t *ret_uid, pid_t *ret_pid);
/* Whether that one is in a group, also as the kernel says. */
bool net_request_peer_in_group(const struct net_request *req, gid_t group);
/* Wipes what is kept here of a header, or (NULL) of the body: for secrets, once they have been
 * looked at. libwebsockets' own copy of a header stays until another takes its place. */
void net_request_wipe(struct net_request *req, const char *name);
void net_request_set_data(struct net_request *req,
                          void *data); /* the server's user's own pointer */
void *net_request_data(const struct net_request *req);

/* Answers in full (body copied). `headers`: further ones as "Name: value\r\n..."; may be NULL. HEAD
 * gets no body. When memory is out the connection is closed. */
void net_respond(struct net_request *req, int status, const char *content_type, const char *headers,
                 const char *body, size_t len);
/* Answers piece by piece: begin, then send as `writable` asks for more, then end. `writable` is
 * called when everything queued has gone out. */
void net_stream_begin(struct net_request *req, int status, const char *content_type,
                      void (*writable)(void *ctx, struct net_request *req));
/* The same with more in its head. */
struct net_stream_head {
    int status;
    const char *content_type;
    const char *headers; /* as net_respond's; NULL: none */
    int64_t
        length_bytes; /* that will be sent: a Content-Length. An end before that breaks it off */
};
void net_stream_begin_sized(struct net_request *req, const struct net_stream_head *head,
                            void (*writable)(void *ctx, struct net_request *req));
enum error_code net_stream_send(struct net_request *req, const char *data, size_t len,
                                struct error *err) MUST_CHECK;
/* Bytes queued and not yet written. */
size_t net_stream_queued(const struct net_request *req);
/* Asks for a writable callback, now or when the queue is empty. */
void net_stream_want(struct net_request *req);
void net_stream_end(struct net_request *req);
/* Gives the answer up: the connection is closed without the mark that it was whole. */
void net_stream_break(struct net_request *req);

/* ---- Client ---------------------------------------------------------------------------------- */

struct net_client_config {
    const char *url; /* wss://HOST:PORT, https://..., or without TLS ws://, http://; [v6] in
                        brackets; a path is put before websocket_path */
    const struct net_tls_client *tls; /* for wss:// and https:// only, and needed there */
    const char *websocket_path;
    const char *websocket_protocol; /* NULL: none */
    size_t max_message;
    uint32_t connect_timeout_ms;
    void *ctx;
    struct net_conn_events events;
};

/* Checks a URL without connecting. ERR_INVALID says what is wrong with it. */
enum error_code net_url_check(const char *url, struct error *err) MUST_CHECK;
bool net_url_tls(const char *url); /* a good URL that asks for TLS */
/* True when it leads nowhere but to this machine. */
bool net_url_loopback(const char *url);
bool net_host_loopback(const char *host);
/* Why a client's connection has come to its end, as far as that calls for different remedies. */
enum net_end {
    NET_END_LOST,        /* it was not reached, or is gone */
    NET_END_NOT_TRUSTED, /* the server's certificate is not good */
    NET_END_NOT_ADMITTED /* the server does not take ours, or closed with 1008 (policy) */
};
/* In its closed callback. */
enum net_end net_conn_end(const struct net_conn *conn);
/* Begins to connect (name resolution off the loop's thread); ends in opened or in closed.
 * ERR_INVALID: the URL, or TLS where the URL asks for none or the other way round. */
enum error_code net_connect(struct net *net, const struct net_client_config *config,
                            struct net_conn **ret_conn, struct error *err) MUST_CHECK;
