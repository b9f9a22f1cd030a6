/*
 * support_tls: a CA and what it has signed, servers and clients that speak TLS, and a TLS peer of
 * the test's own that does what no decent one does.
 */
#pragma once

#include "common/net/net_tls.h"
#include "common/pki/pki_ca.h"
#include "unit/net/support_net.h"

#include <openssl/ssl.h>

enum { TLS_HOUR_MS = 3600 * 1000 };

struct tls_world {
    struct pki_ca *ca;
    struct pki_ca *other_ca;
    struct pki_key *key;      /* the server's */
    struct pki_certs *server; /* for 127.0.0.1, ::1, localhost */
    struct pki_key *agent_key;
    struct pki_certs *agent;               /* kitsune:agent:web-1 */
    char fingerprint[PKI_FINGERPRINT_MAX]; /* the CA's */
};

void tls_world_make(struct tls_world *w);
void tls_world_free(struct tls_world *w);
/* Further certificates; begin_ms is relative to now. */
struct pki_certs *tls_sign_server(const struct pki_ca *ca, const struct pki_key *key,
                                  const char *host, int64_t begin_ms, int64_t lifetime_ms);
struct pki_certs *tls_sign_agent(const struct pki_ca *ca, const struct pki_key *key,
                                 const char *identity, int64_t begin_ms, int64_t lifetime_ms);

/* A fixture whose server speaks TLS with the world's certificate and takes the world's clients. */
void tls_start(struct fixture *f, const struct tls_world *w);
void tls_start_with(struct fixture *f, const struct net_tls_server *tls);
struct net_tls_server tls_server_config(const struct tls_world *w);
struct net_tls_client tls_client_config(const struct tls_world *w, bool own_certificate);
/* "wss://<host>:<the server's port>", static. */
const char *tls_url(const struct fixture *f, const char *host);
/* Connects and waits until it is open. */
void tls_connect(struct client *c, struct fixture *f, const struct net_tls_client *tls);
/* Connects and waits until it is closed; c->reason says why. */
void tls_connect_fails(struct client *c, struct fixture *f, const char *host,
                       const struct net_tls_client *tls);

/* A peer of the test's own: TLS by OpenSSL over a raw socket. */
struct tls_raw {
    struct raw r;
    SSL_CTX *ctx;
    SSL *ssl;
    struct buf in; /* decrypted */
};

/* Connects; the handshake is not begun. */
void tls_raw_connect(struct tls_raw *t, struct fixture *f);
void tls_raw_use(struct tls_raw *t, const struct pki_certs *certs, const struct pki_key *key);
/* True: done. False: it failed. */
bool tls_raw_handshake(struct tls_raw *t);
void tls_raw_puts(struct tls_raw *t, const char *text);
/* The same when the connection may have been closed meanwhile: false. */
bool tls_raw_try(struct tls_raw *t, const char *text);
void tls_raw_send(struct tls_raw *t, const void *data, size_t len);
/* Runs the loop until this text has come ("": until anything new has). */
void tls_raw_expect(struct tls_raw *t, const char *text);
void tls_raw_flush(struct tls_raw *t);
void tls_raw_close(struct tls_raw *t);
