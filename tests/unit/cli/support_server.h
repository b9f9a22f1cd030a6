/*
 * support_server: an HTTP server on a free port of the loopback, or on a Unix socket, in threads of
 * its own, that gives canned answers and writes down what it was asked.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

enum canned_end {
    CANNED_KEEP = 0,  /* a whole answer; the connection lives on */
    CANNED_CLOSE,     /* a stream that ends after the body */
    CANNED_HOLD,      /* a stream that stays open after the body */
    CANNED_INTERRUPT, /* the same, and this process gets a SIGINT */
    CANNED_DROP       /* no answer: the connection is closed after the request */
};

struct canned {
    const char *request; /* "GET /v1/rollouts/r1?": how the request line begins */
    int status;          /* 0: 200 */
    const char *headers; /* further ones, each ended by CRLF; NULL: none */
    const char *body;
    enum canned_end end;
    int uses; /* how often it is given; 0: always */
};

struct server;

/* The first answer that fits and is not used up is given; 404 when there is none. The table is
 * borrowed. */
struct server *server_start(const struct canned *table, size_t count);
/* Beyond the answers; zeroes are as server_start has it. */
struct server_config {
    const struct canned *table;
    size_t count;
    const char *pair;   /* TLS, with the key and the certificates of this file */
    bool old_tls;       /* nothing newer than TLS 1.2 */
    const char *socket; /* on a Unix socket of this path */
};
struct server *server_start_with(const struct server_config *config);
const char *server_url(const struct server *s);
/* What was asked, a line for each request: "GET /path [Last-Event-ID: 7]
 * [Authorization: Bearer x] BODY", the headers where they were sent. Caller frees. */
char *server_log(struct server *s);
/* How many requests began so. */
size_t server_asked(struct server *s, const char *request);
void server_stop(struct server *s);

/* The URL of a port that nobody listens on, and nobody else can get before the socket that is given
 * back is closed. */
int server_nowhere(char *ret_url, size_t size);
