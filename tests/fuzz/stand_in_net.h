/*
 * stand_in_net: common/net/net.h without sockets, for programs that are linked without the real
 * one. Requests and connections come from the test; what is answered and sent is kept.
 *
 * One server at most. What it keeps comes straight from malloc; the requests' own texts and the
 * queues take their memory through common/base/alloc.h, and fail as the real ones do.
 */
#pragma once

#include "common/base/buf.h"
#include "common/net/net.h"

#include <stdbool.h>
#include <stddef.h>

/* One request and its answer. */
struct net_request {
    enum net_method method;
    char *path;  /* without the query */
    char *query; /* items decoded and with a NUL behind each; another NUL ends them */
    char *accept, *last_event_id;
    char *body;
    size_t body_len;
    void *data;
    void (*writable)(void *ctx, struct net_request *req);
    bool wants, streaming, ended, broken;
    int status; /* 0: not answered */
    unsigned answers;
    char content_type[64];
    struct buf answer;
    struct net_request *next;
};

/* One connection of an agent, and the frames that were sent on it, each with a newline. */
struct net_conn {
    struct net_conn *next;
    void *ctx;
    bool closed; /* by either side */
    bool told;   /* the closed callback has come */
    struct buf sent;
};

/* "/path?query", decoded as the real one does. */
struct net_request *stand_net_request(enum net_method method, const char *target, const char *body,
                                      size_t len);
/* Hands it to the server; afterwards what it asks for is called by stand_net_pump. */
void stand_net_give(struct net_request *req);
/* Calls `writable` as long as it is wanted, of every open request; at most `rounds` times each. */
void stand_net_pump(int rounds);
/* The peer is gone, or the answer is out: the server is told, and it is freed. */
void stand_net_close(struct net_request *req);
/* NULL: it was refused. */
struct net_conn *stand_net_connect(void);
void stand_net_message(struct net_conn *conn, const char *data, size_t len);
/* The connection is over; frees it. */
void stand_net_disconnect(struct net_conn *conn);
/* Tells of connections that the server closed. The conn stays, for its `sent`. */
void stand_net_settle(struct net_conn *conn);
/* Forgets the server. */
void stand_net_done(void);
