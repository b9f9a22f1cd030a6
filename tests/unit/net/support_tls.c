#include "unit/net/support_tls.h"

#include "common/base/clock.h"
#include "common/pki/pki_openssl.h"

#include <errno.h>
#include <openssl/err.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static const int64_t day_ms = INT64_C(24) * TLS_HOUR_MS;

/* ---- Certificates -----------------------------------------------------------------------------
 */

static struct pki_ca *ca_make(void)
{
    /* Begun a while ago, so that it can have signed what has expired by now. */
    const struct pki_validity validity = {.now_ms = clock_wall_ms() - 30 * day_ms,
                                          .lifetime_ms = 365 * day_ms};
    struct pki_ca *ca = NULL;
    struct error err = {0};
    if (pki_ca_new(&validity, &ca, &err) != ERR_OK)
        fail_msg("%s", err.message);
    return ca;
}

struct pki_certs *tls_sign_server(const struct pki_ca *ca, const struct pki_key *key,
                                  const char *host, int64_t begin_ms, int64_t lifetime_ms)
{
    const char *const local[] = {"127.0.0.1", "::1", "localhost", NULL};
    const char *const one[] = {host, NULL};
    const struct pki_validity validity = {.now_ms = clock_wall_ms() + begin_ms,
                                          .lifetime_ms = lifetime_ms};
    struct pki_certs *certs = NULL;
    struct error err = {0};
    if (pki_ca_sign_server(ca, key, host == NULL ? local : one, &validity, &certs, &err) != ERR_OK)
        fail_msg("%s", err.message);
    return certs;
}

struct pki_certs *tls_sign_agent(const struct pki_ca *ca, const struct pki_key *key,
                                 const char *identity, int64_t begin_ms, int64_t lifetime_ms)
{
    const struct pki_validity validity = {.now_ms = clock_wall_ms() + begin_ms,
                                          .lifetime_ms = lifetime_ms};
    struct pki_certs *certs = NULL;
    struct error err = {0};
    struct buf csr = BUF_INIT;
    if (pki_csr_new(key, &csr, &err) != ERR_OK ||
        pki_ca_sign_client(ca, csr.data, identity, &validity, &certs, &err) != ERR_OK)
        fail_msg("%s", err.message);
    buf_done(&csr);
    return certs;
}

void tls_world_make(struct tls_world *w)
{
    struct error err = {0};
    struct pki_facts facts;
    *w = (struct tls_world){.ca = ca_make(), .other_ca = ca_make()};
    assert_int_equal(pki_key_new(&w->key, &err), ERR_OK);
    assert_int_equal(pki_key_new(&w->agent_key, &err), ERR_OK);
    w->server = tls_sign_server(w->ca, w->key, NULL, 0, TLS_HOUR_MS);
    w->agent = tls_sign_agent(w->ca, w->agent_key, "kitsune:agent:web-1", 0, TLS_HOUR_MS);
    assert_int_equal(pki_certs_facts(pki_ca_certs(w->ca), 0, &facts, &err), ERR_OK);
    memcpy(w->fingerprint, facts.fingerprint, sizeof(w->fingerprint));
}

void tls_world_free(struct tls_world *w)
{
    pki_certs_free(w->agent);
    pki_certs_free(w->server);
    pki_key_free(w->agent_key);
    pki_key_free(w->key);
    pki_ca_free(w->other_ca);
    pki_ca_free(w->ca);
}

/* ---- Servers and clients ----------------------------------------------------------------------
 */

struct net_tls_server tls_server_config(const struct tls_world *w)
{
    return (struct net_tls_server){
        .certs = w->server, .key = w->key, .client_ca = pki_ca_certs(w->ca)};
}

void tls_start_with(struct fixture *f, const struct net_tls_server *tls)
{
    struct net_server_config config = fixture_config(f);
    config.tls = tls;
    fixture_start(f, &config);
}

void tls_start(struct fixture *f, const struct tls_world *w)
{
    const struct net_tls_server tls = tls_server_config(w);
    tls_start_with(f, &tls);
}

struct net_tls_client tls_client_config(const struct tls_world *w, bool own_certificate)
{
    return (struct net_tls_client){.ca = pki_ca_certs(w->ca),
                                   .certs = own_certificate ? w->agent : NULL,
                                   .key = own_certificate ? w->agent_key : NULL};
}

const char *tls_url(const struct fixture *f, const char *host)
{
    static char url[128];
    (void)snprintf(url, sizeof(url), "wss://%s:%u", host, net_server_port(f->server));
    return url;
}

static void connect_begin(struct client *c, struct fixture *f, const char *host,
                          const struct net_tls_client *tls)
{
    struct net_client_config config = client_config(c, tls_url(f, host));
    config.tls = tls;
    if (client_begin(c, f, &config) != ERR_OK)
        fail_msg("%s", c->reason);
}

void tls_connect(struct client *c, struct fixture *f, const struct net_tls_client *tls)
{
    connect_begin(c, f, "127.0.0.1", tls);
    while (c->opened == 0 && c->closed == 0)
        run_turn(f);
    if (c->closed != 0)
        fail_msg("%s", c->reason);
}

void tls_connect_fails(struct client *c, struct fixture *f, const char *host,
                       const struct net_tls_client *tls)
{
    connect_begin(c, f, host, tls);
    run_until(f, &c->closed, 1);
    assert_int_equal(c->opened, 0);
}

/* ---- A peer of the test's own -----------------------------------------------------------------
 */

void tls_raw_connect(struct tls_raw *t, struct fixture *f)
{
    *t = (struct tls_raw){0};
    raw_connect(&t->r, f, net_server_port(f->server));
    t->ctx = SSL_CTX_new(TLS_client_method());
    assert_non_null(t->ctx);
    t->ssl = SSL_new(t->ctx);
    assert_non_null(t->ssl);
    SSL_set_bio(t->ssl, BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
    SSL_set_connect_state(t->ssl);
}

void tls_raw_use(struct tls_raw *t, const struct pki_certs *certs, const struct pki_key *key)
{
    assert_int_equal(
        SSL_use_cert_and_key(t->ssl, sk_X509_value(certs->list, 0), key->pkey, NULL, 1), 1);
}

/* What OpenSSL has to say goes to the server. False: nobody takes it any more. */
static bool flush(struct tls_raw *t)
{
    char *data = NULL;
    long len = BIO_get_mem_data(SSL_get_wbio(t->ssl), &data);
    for (long sent = 0; sent < len;) {
        ssize_t n = send(t->r.fd, data + sent, (size_t)(len - sent), MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n > 0)
            sent += n;
        else if (n < 0 && errno == EAGAIN)
            run_turn(t->r.f);
        else
            return false;
    }
    (void)BIO_reset(SSL_get_wbio(t->ssl));
    return true;
}

/* What has come goes to OpenSSL. */
static void feed(struct tls_raw *t)
{
    if (t->r.in.len > 0)
        (void)BIO_write(SSL_get_rbio(t->ssl), t->r.in.data, (int)t->r.in.len);
    buf_clear(&t->r.in);
}

bool tls_raw_handshake(struct tls_raw *t)
{
    for (;;) {
        ERR_clear_error();
        int n = SSL_do_handshake(t->ssl);
        int why = SSL_get_error(t->ssl, n);
        if (!flush(t) || (n != 1 && why != SSL_ERROR_WANT_READ))
            return false;
        if (n == 1)
            return true;
        if (t->r.eof && t->r.in.len == 0)
            return false;
        raw_wait(&t->r);
        feed(t);
    }
}

void tls_raw_send(struct tls_raw *t, const void *data, size_t len)
{
    assert_int_equal(SSL_write(t->ssl, data, (int)len), (int)len);
    assert_true(flush(t));
}

void tls_raw_puts(struct tls_raw *t, const char *text)
{
    tls_raw_send(t, text, strlen(text));
}

bool tls_raw_try(struct tls_raw *t, const char *text)
{
    return SSL_write(t->ssl, text, (int)strlen(text)) > 0 && flush(t);
}

void tls_raw_expect(struct tls_raw *t, const char *text)
{
    size_t before = t->in.len;
    for (;;) {
        char piece[16384];
        int n = 0;
        feed(t);
        while ((n = SSL_read(t->ssl, piece, sizeof(piece))) > 0)
            buf_append(&t->in, piece, (size_t)n);
        if (t->in.len > (text[0] == '\0' ? before : 0) &&
            memmem(t->in.data, t->in.len, text, strlen(text)) != NULL)
            return;
        if (t->r.eof && t->r.in.len == 0)
            fail_msg("closed before \"%s\"; received: %.1000s", text,
                     t->in.data == NULL ? "" : t->in.data);
        raw_wait(&t->r);
    }
}

void tls_raw_flush(struct tls_raw *t)
{
    assert_true(flush(t));
}

void tls_raw_close(struct tls_raw *t)
{
    SSL_free(t->ssl);
    SSL_CTX_free(t->ctx);
    buf_done(&t->in);
    raw_close(&t->r);
}
