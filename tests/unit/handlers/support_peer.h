/*
 * support_peer: a TCP server in a thread of its own, whose connections a test's function serves
 * one after the other; with or without TLS.
 */
#pragma once

#include <openssl/ssl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { PEER_REQUEST_MAX = 8192 };

struct peer;

/* One connection, for as long as it is served. */
struct peer_call {
    struct peer *peer;
    int number; /* from 1 */
    int fd;
    SSL *ssl; /* NULL: none */
    char request[PEER_REQUEST_MAX];
};

struct peer {
    /* Set by the test before peer_open. */
    void (*serve)(struct peer_call *call);
    void *ctx;
    const char *address; /* NULL: 127.0.0.1 */
    uint16_t port;       /* 0: a free one, put here */
    SSL_CTX *tls;        /* NULL: none */
    char last_request[PEER_REQUEST_MAX];
    int calls; /* read it after peer_close */

    pthread_t thread;
    int listen_fd, end_fd;
};

void peer_open(struct peer *p);
/* After all who have connected were served. */
void peer_close(struct peer *p);
/* A port of 127.0.0.1 that refuses, until the descriptor is closed. */
uint16_t peer_refusing_port(int *ret_fd);

/* ---- For `serve` ------------------------------------------------------------------------- */

/* Reads up to the empty line that ends a request's headers, and as much body as it announces. */
void peer_read_request(struct peer_call *call);
/* False when the other side is gone. */
bool peer_write(struct peer_call *call, const void *data, size_t len);
bool peer_say(struct peer_call *call, const char *text);
/* Reads the request and answers it; `headers` are whole lines. */
void peer_answer(struct peer_call *call, int status, const char *headers, const char *body);
/* Until the other side ends the connection. */
void peer_await_end(struct peer_call *call);

/* ---- Certificates ------------------------------------------------------------------------ */

/* A key and a certificate for 127.0.0.1 and kitsune.test that is its own authority, for `tls`;
 * writes the certificate to a file. */
SSL_CTX *peer_certificate(const char *pem_path);
