/*
 * net_internal: what the parts of net share. Only files of this folder include it.
 *
 * Every lws connection ("wsi") carries in its opaque pointer a struct net_entry that says what it
 * is at present: a server's connection between requests, a request, or a WebSocket. Taking the
 * pointer away detaches the connection: whatever lws still does with it then concerns nobody.
 *
 * Threading: the loop's thread. I/O: sockets, through lws.
 */
#pragma once

#include "common/base/alloc.h"
#include "common/base/error.h"
#include "common/net/net.h"
#include "common/net/net_tls.h"

#include <libwebsockets.h>
#include <netdb.h>
#include <openssl/ssl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <uv.h>

enum {
    NET_SUBPROTOCOLS_MAX = 8,         /* different subprotocol names in one net */
    NET_SUBPROTOCOL_NAME_MAX = 64,    /* bytes, with the NUL */
    NET_PIECE_MAX = 64 * 1024,        /* most bytes handed to lws at once */
    NET_TURN_MAX = 4 * NET_PIECE_MAX, /* most bytes written before others have their turn */
    NET_RX_PIECE_MAX = 1024,          /* lws's receive buffer of each WebSocket */
    NET_PEER_MAX = 64,                /* "[v6 address]:port" */
    NET_REASON_MAX = 124,             /* a close reason on the wire, with the NUL */
    NET_CLOSE_SECONDS = 5,            /* for what is queued to go out after net_conn_close */
    NET_LINGER_MS = 2000,             /* to read away what a refused peer still sends */
    NET_HOST_MAX = 256,               /* a DNS name has at most 253 */
    NET_HANDSHAKES_MAX = 256,         /* TLS handshakes at once; further connections wait */
    NET_HANDSHAKE_PATIENCE_MS = 3000  /* with a peer that is silent, when others wait */
};

enum net_entry_kind {
    NET_ENTRY_FRESH,   /* a TLS server's connection before its first request */
    NET_ENTRY_SERVER,  /* a server's connection between requests */
    NET_ENTRY_LINGER,  /* one whose request was answered before it had come in whole */
    NET_ENTRY_REQUEST, /* one with a request */
    NET_ENTRY_CONN     /* a WebSocket */
};

struct net_entry {
    enum net_entry_kind kind;
};

/* One run of bytes to be sent, with the headroom that lws wants in front of it. */
struct net_segment {
    struct net_segment *next;
    size_t len;
    size_t sent;
    unsigned char data[]; /* LWS_PRE bytes of headroom, then len bytes */
};

struct net_queue {
    struct net_segment *head;
    struct net_segment *tail;
    size_t bytes; /* not yet handed to lws */
    size_t cost;  /* the same, with what the segments themselves take: this is what is bounded */
};

/* Each has been in it for at least as long as the next one. */
struct net_fresh_list {
    struct net_fresh *first;
    struct net_fresh *last;
    uint32_t count;
};

struct net {
    uv_loop_t *loop;
    struct lws_context *lws;
    struct lws_vhost *vhost;
    struct lws_vhost *tls_vhost; /* of TLS clients; NULL until there is one */
    SSL_CTX *tls_ctx;            /* theirs */
    SSL_CTX *vhost_ctx;          /* what lws has made for the vhost that is being made */
    struct net_tls_dial *tls_dials;
    struct net_fresh_list handshakes; /* under way */
    struct net_fresh_list greetings;  /* done, and no request yet */
    uv_timer_t fresh_timer;           /* ends those that take too long */
    struct net_fresh *adopting;       /* whose handshake may run before lws has given it out */
    struct net_linger *lingers;
    uint32_t linger_count;
    lws_retry_bo_t idle_policy;
    struct lws_protocols protocols[NET_SUBPROTOCOLS_MAX + 2];
    char subprotocols[NET_SUBPROTOCOLS_MAX][NET_SUBPROTOCOL_NAME_MAX];
    size_t subprotocol_count;
    uv_handle_t *lws_handles[2]; /* lws's own idle and timer; only compared, never looked into */
    uv_idle_t closer;            /* runs the steps of net_close */
    uv_timer_t accept_timer;     /* tries again after file descriptors ran out */
    uv_prepare_t before_poll;    /* these two mark */
    uv_check_t after_poll;       /* the part of a turn in which sockets are read */
    bool polling;
    uint32_t connection_max;
    uint32_t connections; /* accepted and not yet destroyed */
    uint32_t dials;       /* outgoing connections that still hold something of the loop */
    uint32_t watches;     /* struct net_watch not yet closed */
    uint32_t listeners;   /* listening handles not yet closed */
    uint32_t handles;     /* of those above: not yet closed */
    bool closing;
    bool torn_down;
    struct net_server *servers;
    struct net_conn *conns;
    struct net_request *requests;
    void (*done)(void *ctx);
    void *done_ctx;
};

struct net_server {
    struct net_entry entry;
    struct net_entry linger;
    struct net *net;
    struct net_server *next;
    struct net_server_config config; /* its strings are owned below */
    char *host;
    char *websocket_path;
    char *websocket_protocol;
    uv_poll_t poll;
    int fd;
    uint16_t port;
    bool paused;             /* no room for a new connection at present */
    struct lws_vhost *vhost; /* where its connections belong */
    SSL_CTX *ssl_ctx;        /* of a TLS server; lws owns it */
    struct pki_certs *client_ca;
    char *unix_path; /* NULL: it listens on an address */
    dev_t unix_dev;  /* what it has made there */
    ino_t unix_ino;
};

/* A TLS server's connection from accept to its first request. */
struct net_fresh {
    struct net_entry entry;
    struct net_server *server;
    struct net_fresh_list *list; /* where it is; NULL: it is being dropped */
    struct net_fresh *prev;
    struct net_fresh *next;
    struct lws *wsi;  /* NULL while lws adopts it */
    int64_t since_ms; /* in this list, by the loop's clock */
    bool done;        /* the handshake is */
    bool heard;       /* something has come */
    int fd;           /* the connection's; not to be used once lws closes it */
    char peer[NET_PEER_MAX];
    char reason[ERROR_MESSAGE_MAX];
};

struct net_dial;
struct net_fetch;
struct net_get;

struct net_conn {
    struct net_entry entry;
    struct net *net;
    struct net_conn *prev;
    struct net_conn *next;
    struct lws *wsi;            /* NULL while dialling, and when gone */
    struct net_dial *dial;      /* a client's, until it is open */
    struct net_fetch *fetch;    /* it is no WebSocket but a request, and never open */
    struct net_get *get;        /* the same, another kind of request */
    struct pki_facts *identity; /* once asked for */
    struct net_conn_events events;
    void *ctx;
    size_t max_message;
    struct net_queue queue;
    struct buf rx; /* fragments of the message that is coming in */
    char *reason;  /* why it closes, where known; owned */
    uint16_t close_code;
    enum net_end end;
    bool open;
    bool closing; /* no messages in, and no further ones out */
    char peer[NET_PEER_MAX];
};

/* A request header that was asked for. */
struct net_header {
    struct net_header *next;
    char *value; /* NULL: not there */
    char name[];
};

struct net_watch;

struct net_request {
    struct net_entry entry;
    struct net *net;
    struct net_server *server;
    struct net_request *prev;
    struct net_request *next;
    struct lws *wsi; /* NULL when the peer is gone */
    enum net_method method;
    char *path;
    char *query; /* "name=value" strings, each with its NUL; an empty one ends them */
    struct net_header *headers;
    struct pki_facts *identity; /* once asked for */
    struct buf body;
    size_t body_expected;
    struct net_queue queue;
    struct net_watch *watch;
    void (*writable)(void *ctx, struct net_request *req);
    void *data;
    bool headed;         /* head() was called */
    bool announced;      /* request() was called */
    uint8_t completions; /* how often lws said that the body is complete */
    bool body_complete;
    bool unread; /* more of its body is to come */
    bool http_1_1;
    bool keep_alive;
    bool chunked;
    bool sized;          /* the answer's length was said: */
    int64_t sized_bytes; /* so many are still to be sent */
    bool answered;
    bool streaming;
    bool ended;    /* the answer is complete in the queue */
    bool want;     /* a writable callback is owed */
    bool dropping; /* its connection is being killed */
    char peer[NET_PEER_MAX];
};

/* Hands a descriptor over and forgets it here. */
static inline int fd_take(int *fd)
{
    int taken = *fd;
    *fd = -1;
    return taken;
}

/* ---- net.c ------------------------------------------------------------------------------------
 */

int net_callback(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in,
                 size_t len);
/* A vhost for TLS; net->tls_ctx is there. NULL when memory is out. The name is static.
 * `tls_server`: it gets an SSL_CTX of its own, found in net->vhost_ctx. */
struct lws_vhost *net_vhost_new(struct net *net, const char *name, bool tls_server);
/* Makes a subprotocol known to lws. ERR_LIMIT, ERR_INVALID. */
enum error_code net_subprotocol_add(struct net *net, const char *name,
                                    struct error *err) MUST_CHECK;
/* lws looks at its timers only when something happens on a socket: this makes it look now. */
void net_wake(struct net *net);
/* After something that net_close waits for has gone. */
void net_check_done(struct net *net);
/* Kills a connection soon, never from within the caller. */
void net_kill(struct net *net, struct lws *wsi);
void net_peer_name(int fd, char ret_peer[NET_PEER_MAX]);

/* ---- net_queue.c ------------------------------------------------------------------------------
 */

/* A new segment of `len` bytes to be filled at net_segment_data(); NULL when memory is out. */
struct net_segment *net_segment_new(size_t len);
unsigned char *net_segment_data(struct net_segment *segment);
/* True when `len` more bytes keep the queue within NET_CONN_QUEUE_MAX. */
bool net_queue_fits(const struct net_queue *queue, size_t len);
void net_queue_push(struct net_queue *queue, struct net_segment *segment); /* takes ownership */
/* Writes one piece of the head: an HTTP body's, or a fragment of a text message. False: the
 * connection is lost. */
bool net_queue_write(struct net_queue *queue, struct lws *wsi, bool websocket);
void net_queue_done(struct net_queue *queue);

/* ---- net_conn.c -------------------------------------------------------------------------------
 */

struct net_conn *net_conn_new(struct net *net, const struct net_conn_events *events, void *ctx,
                              size_t max_message);
/* Detaches it from lws, calls closed and frees it. The reason it has itself wins over `reason`. */
void net_conn_finish(struct net_conn *conn, const char *reason);
/* Detaches and frees one that its user does not know. */
void net_conn_discard(struct net_conn *conn);
/* Remembers why it closes; the first reason stays. */
void net_conn_set_reason(struct net_conn *conn, const char *reason);
/* The lws events of a WebSocket; what lws's callback is to return. */
int net_conn_callback(struct net_conn *conn, enum lws_callback_reasons reason, void *in,
                      size_t len);

/* ---- net_url.c --------------------------------------------------------------------------------
 */

struct net_url {
    char host[NET_HOST_MAX]; /* without brackets */
    uint16_t port;
    bool tls;
    bool v6;
    const char *path; /* within the text that was parsed; "" when there is none */
};

enum error_code net_url_parse(const char *text, struct net_url *ret_url,
                              struct error *err) MUST_CHECK;

/* ---- net_tls.c --------------------------------------------------------------------------------
 */

enum net_side { NET_SERVER_SIDE, NET_CLIENT_SIDE };

/* What holds for every SSL_CTX here. */
enum error_code net_tls_ctx_prepare(SSL_CTX *ctx, struct error *err) MUST_CHECK;
/* Takes a certificate, those behind it and the key into use. One of ctx and ssl. */
enum error_code net_tls_use(SSL_CTX *ctx, SSL *ssl, const struct pki_certs *certs,
                            const struct pki_key *key, struct error *err) MUST_CHECK;
/* Why the handshake has failed: from OpenSSL's queue of errors, which stays; false when it is
 * empty. */
bool net_tls_failure(enum net_side side, char *ret_text, size_t room);
/* The same from an alert that the peer has sent. */
void net_tls_alert(enum net_side side, int alert, char *ret_text, size_t room);

/* ---- net_tls_server.c -------------------------------------------------------------------------
 */

/* Makes the server's SSL_CTX and vhost. */
enum error_code net_tls_server_start(struct net_server *server, const struct net_tls_server *tls,
                                     struct error *err) MUST_CHECK;
/* Checks without taking into use. */
enum error_code net_tls_server_check(const struct net_tls_server *tls,
                                     struct error *err) MUST_CHECK;

/* ---- net_fresh.c ------------------------------------------------------------------------------
 */

void net_fresh_timer(uv_timer_t *timer);
/* NULL when memory is out. */
struct net_fresh *net_fresh_new(struct net_server *server, int fd);
/* lws has adopted it. */
void net_fresh_adopted(struct net_fresh *fresh, struct lws *wsi);
/* True when another handshake may begin. Drops one that takes too long, when it must. */
bool net_fresh_room(struct net *net);
/* Its handshake is done. */
void net_fresh_done(struct net_fresh *fresh);
/* Why it will come to nothing; the first reason stays. */
void net_fresh_set_reason(struct net_fresh *fresh, const char *reason);
/* Its connection will be closed, and OpenSSL has said why. */
void net_fresh_refuse(struct net_fresh *fresh);
/* The lws events of it. True: it is a server's connection like any other from now on. */
bool net_fresh_callback(struct net_fresh *fresh, struct lws *wsi, enum lws_callback_reasons reason);
/* Frees it, and tells the server's user why there is nothing of it, if that is so. */
void net_fresh_gone(struct net_fresh *fresh);

/* ---- net_tls_client.c -------------------------------------------------------------------------
 */

/* Makes net->tls_ctx, which all of a net's TLS clients share, if it is not there. */
enum error_code net_tls_client_ctx(struct net *net, struct error *err) MUST_CHECK;

struct net_tls_dial; /* the TLS of a connection that is not open yet */

enum error_code net_tls_dial_new(struct net *net, const struct net_tls_client *tls,
                                 const char *host, struct net_tls_dial **ret_dial,
                                 struct error *err) MUST_CHECK;
void net_tls_dial_bind(struct net_tls_dial *dial, struct net_conn *conn);
void net_tls_dial_free(struct net_tls_dial *dial);
/* Why it failed, as far as that is known; NULL: not in TLS. */
const char *net_tls_dial_failure(struct net_tls_dial *dial);
/* The same in a word. */
enum net_end net_tls_dial_end(const struct net_tls_dial *dial);
/* The wsi's TLS has nothing more to do with its dial. */
void net_tls_forget(struct lws *wsi);

/* ---- net_linger.c -----------------------------------------------------------------------------
 */

/* For a connection that lws is about to close: sends the last words, if any, ends our side and
 * reads away what the peer still sends, so that it gets what was sent. The descriptor stays the
 * caller's.
 */
void net_linger_start(struct net *net, int fd, const char *last_words);
void net_linger_stop_all(struct net *net);

/* ---- net_unix.c -------------------------------------------------------------------------------
 */

/* Listens on server->unix_path. */
enum error_code net_unix_listen(struct net_server *server, struct error *err) MUST_CHECK;
/* Removes what it has made, unless somebody else has put something there. */
void net_unix_remove(const struct net_server *server);

/* ---- net_client.c -----------------------------------------------------------------------------
 */

/* A step of a connection that is not open yet: failed, or open. Returns what lws is to be told. */
int net_dial_failed(struct net_conn *conn, const char *why);
void net_dial_opened(struct net_conn *conn);
/* The conn does not wait for its dial any longer (it is closing). */
void net_dial_abandon(struct net_dial *dial);
/* Ends it from the loop, with the conn's reason. */
void net_dial_stop(struct net_dial *dial);
/* A request's, whose dial stays until its end: its time begins anew, or stands still. */
void net_dial_patience(struct net_dial *dial, bool runs);
/* What went wrong in its TLS; NULL: nothing. */
const char *net_dial_tls_failure(struct net_dial *dial);

/* ---- net_fetch.c ------------------------------------------------------------------------------
 */

/* The lws events of a conn that has a fetch; what lws's callback is to return. */
int net_fetch_callback(struct net_conn *conn, enum lws_callback_reasons reason, void *in,
                       size_t len);

/* ---- net_get.c --------------------------------------------------------------------------------
 */

/* The lws events of a conn that has a get; what lws's callback is to return. */
int net_get_callback(struct net_conn *conn, enum lws_callback_reasons reason, void *in, size_t len);

/* ---- net_listen.c -----------------------------------------------------------------------------
 */

/* A connection has gone: those waiting may be accepted. */
void net_listen_resume(struct net *net);
void net_listen_close(struct net_server *server);
void net_server_free(struct net_server *server);

/* ---- net_http.c -------------------------------------------------------------------------------
 */

/* The lws events of a server's connection while it speaks HTTP. */
int net_http_callback(struct net_entry *entry, struct lws *wsi, enum lws_callback_reasons reason,
                      void *in, size_t len);
/* Detaches it from lws, calls request_closed and frees it. */
void net_request_finish(struct net_request *req);

/* ---- net_answer.c -----------------------------------------------------------------------------
 */

const char *net_status_phrase(int status);
void net_request_writable(struct net_request *req); /* asks lws for a turn to write */

/* ---- net_upgrade.c ----------------------------------------------------------------------------
 */

int net_upgrade_confirm(struct net_server *server, struct lws *wsi, const char *protocol);
int net_upgrade_established(struct net_server *server, struct lws *wsi);

/* ---- net_watch.c ------------------------------------------------------------------------------
 */

void net_watch_start(struct net_request *req);
void net_watch_stop(struct net_request *req);
