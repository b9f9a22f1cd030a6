/*
 * support_net: a loop with a net on it, a server that records what happens, WebSocket clients that
 * do the same, and raw peers that send any bytes. Everything on 127.0.0.1, on free ports, and ended
 * by a watchdog when it takes too long.
 */
#pragma once

#include "common/base/buf.h"
#include "common/net/net.h"

#include <stdbool.h>
#include <stddef.h>
#include <uv.h>

enum { TEST_MAX_BODY = 1024 * 1024, TEST_MAX_MESSAGE = 2 * 1024 * 1024 };

struct fixture {
    uv_loop_t loop;
    uv_timer_t watchdog;
    struct net *net;
    struct net_server *server;
    bool closed;
    bool late;      /* the watchdog has come */
    unsigned turns; /* of the loop, while the test waited */

    /* What the server saw. */
    void (*answer)(struct fixture *f, struct net_request *req); /* what request() does */
    struct net_request *last_request;
    unsigned requests;
    unsigned requests_closed;
    unsigned conns;
    unsigned conns_closed;
    unsigned messages;
    bool refuse;
    bool echo;
    struct net_conn *last_conn;
    struct buf last_message;
    char last_reason[256];
    unsigned refusals; /* TLS handshakes that failed */
    char last_refusal[256];
    char last_refused_peer[64];
};

struct client {
    struct fixture *f;
    struct net_conn *conn; /* NULL once closed */
    unsigned opened;
    unsigned closed;
    unsigned messages;
    unsigned drained;
    void (*on_message)(struct client *c, const char *data, size_t len);
    struct buf last_message;
    char reason[256];
};

/* A plain socket to the server. */
struct raw {
    struct fixture *f;
    uv_poll_t poll;
    int fd;
    bool eof;
    bool closed;
    struct buf in;
};

void fixture_start(struct fixture *f, const struct net_server_config *changes);
void fixture_start_without_server(struct fixture *f);
/* For a test that needs more time than most. */
void fixture_patience(struct fixture *f, unsigned ms);
void fixture_stop(struct fixture *f); /* checks that nothing is left on the loop */
/* The config that a fixture's server has; for changes. */
struct net_server_config fixture_config(struct fixture *f);
/* Runs the loop until *value >= wanted; fails the test when that takes too long. */
/* Waits for one event and runs the loop for it. */
void run_turn(struct fixture *f);
void run_until(struct fixture *f, const unsigned *value, unsigned wanted);
void run_until_true(struct fixture *f, const bool *value);
/* Runs the loop for a time. */
void run_for(struct fixture *f, unsigned ms);

void client_connect(struct client *c, struct fixture *f);
void client_connect_url(struct client *c, struct fixture *f, const char *url, unsigned timeout_ms);
void client_done(struct client *c);
struct net_client_config client_config(struct client *c, const char *url);
/* Begins to connect as `config` says; on failure the code and c->reason. */
enum error_code client_begin(struct client *c, struct fixture *f,
                             const struct net_client_config *config);

void raw_connect(struct raw *r, struct fixture *f, uint16_t port);
void raw_adopt(struct raw *r, struct fixture *f, int fd); /* a socket that is connected */
void raw_send(struct raw *r, const void *data, size_t len);
void raw_puts(struct raw *r, const char *text);
/* Runs the loop until the peer has received this text. */
void raw_expect(struct raw *r, const char *text);
/* Runs the loop until the server has closed the connection. */
void raw_expect_end(struct raw *r);
void raw_pause(struct raw *r); /* reads no more */
void raw_go_on(struct raw *r); /* reads again */
/* Runs the loop until something new has come, or the end. */
void raw_wait(struct raw *r);
void raw_close(struct raw *r);
/* Upgrades to a WebSocket on /ws. */
void raw_upgrade(struct raw *r);

/* A fixture whose server answers so, and a peer that is connected to it. */
void raw_start(struct fixture *f, struct raw *r,
               void (*answer)(struct fixture *f, struct net_request *req));
void raw_stop(struct fixture *f, struct raw *r);
/* 200, "fine\n". */
void answer_fine(struct fixture *f, struct net_request *req);

/* A socket that is bound, and perhaps listens, and that nobody serves: one that does not listen has
 * connections refused, and keeps the port from others. The caller closes it. */
int bound_socket(bool listening, uint16_t *ret_port);
