/*
 * lws makes a server's SSL_CTX and does the reading and writing; what is asked of a client's
 * certificate, and what is told of a handshake that fails, is here.
 */
#include "common/net/net_internal.h"

#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/pki/pki_openssl.h"

#include <openssl/ssl.h>

DEFINE_CLEANUP(SSL_CTX_free, SSL_CTX)

typedef STACK_OF(X509_NAME) name_stack;

static void names_free(name_stack *names)
{
    sk_X509_NAME_pop_free(names, X509_NAME_free);
}
DEFINE_CLEANUP(names_free, name_stack)

/* The CAs' names go to the client, so that a browser asks its user about nothing that is of no use
 * here. NULL when memory is out. */
static name_stack *names_of(const struct pki_certs *ca)
{
    AUTO(names_free) name_stack *names = sk_X509_NAME_new_null();
    if (names == NULL)
        return NULL;
    for (int i = 0; ca != NULL && i < sk_X509_num(ca->list); i++) {
        X509_NAME *name = X509_NAME_dup(X509_get_subject_name(sk_X509_value(ca->list, i)));
        if (name == NULL || sk_X509_NAME_push(names, name) == 0) {
            X509_NAME_free(name);
            return NULL;
        }
    }
    return TAKE(names);
}

/* Changes all of it or, on failure, nothing. */
static enum error_code ctx_fill(SSL_CTX *ctx, const struct net_tls_server *tls, struct error *err)
{
    enum error_code code = pki_pair_check(tls->key, tls->certs, "the server's certificate", err);
    if (code != ERR_OK)
        return code;
    AUTO(names_free) name_stack *names = names_of(tls->client_ca);
    if (names == NULL)
        return pki_error(err, ERR_NO_MEMORY, "preparing TLS");
    code = net_tls_use(ctx, NULL, tls->certs, tls->key, err);
    if (code != ERR_OK)
        return code;
    SSL_CTX_set0_CA_list(ctx, TAKE(names));
    SSL_CTX_set_verify(ctx, tls->client_ca == NULL ? SSL_VERIFY_NONE : SSL_VERIFY_PEER, NULL);
    return ERR_OK;
}

enum error_code net_tls_server_check(const struct net_tls_server *tls, struct error *err)
{
    AUTO(SSL_CTX_free) SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
    if (ctx == NULL)
        return pki_error(err, ERR_NO_MEMORY, "preparing TLS");
    enum error_code code = net_tls_ctx_prepare(ctx, err);
    if (code == ERR_OK)
        code = ctx_fill(ctx, tls, err);
    return code;
}

/* ---- During a handshake -----------------------------------------------------------------------
 */

/* NULL: it has spoken already. */
static struct net_fresh *fresh_of(const SSL *ssl, const struct net_server *server)
{
    struct net_fresh *fresh = SSL_get_app_data(ssl);
    return fresh != NULL ? fresh : server->net->adopting;
}

static int on_verify(X509_STORE_CTX *store, void *arg)
{
    (void)arg;
    SSL *ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
    const struct net_server *server = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));
    struct net_fresh *fresh = fresh_of(ssl, server);
    int reason = X509_V_ERR_UNSPECIFIED;
    struct error err = {0};
    const struct pki_check check = {
        .ca = server->client_ca,
        .purpose = PKI_PURPOSE_CLIENT,
        .now_ms = clock_wall_ms(),
        .name = "the client's certificate",
    };
    enum error_code code = ERR_DENIED;
    if (check.ca != NULL)
        code = pki_x509_verify(X509_STORE_CTX_get0_cert(store),
                               X509_STORE_CTX_get0_untrusted(store), &check, &reason, &err);
    if (code != ERR_OK && fresh != NULL)
        net_fresh_set_reason(fresh, err.message);
    X509_STORE_CTX_set_error(store, code == ERR_OK ? X509_V_OK : reason);
    return code == ERR_OK ? 1 : 0;
}

static void on_info(const SSL *ssl, int where, int ret)
{
    const struct net_server *server = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));
    struct net_fresh *fresh = server == NULL ? NULL : fresh_of(ssl, server);
    if (fresh == NULL)
        return;
    char reason[ERROR_MESSAGE_MAX];
    if (where == SSL_CB_READ_ALERT && !fresh->done) {
        net_tls_alert(NET_SERVER_SIDE, ret, reason, sizeof(reason));
        net_fresh_set_reason(fresh, reason);
    }
    if ((where & SSL_CB_HANDSHAKE_DONE) != 0)
        net_fresh_done(fresh);
    if (where == SSL_CB_ACCEPT_EXIT)
        fresh->heard = BIO_number_read(SSL_get_rbio(ssl)) > 0;
    if (where == SSL_CB_ACCEPT_EXIT && ret <= 0)
        net_fresh_refuse(fresh);
}

/* ---- Making one -------------------------------------------------------------------------------
 */

enum error_code net_tls_server_start(struct net_server *server, const struct net_tls_server *tls,
                                     struct error *err)
{
    struct net *net = server->net;
    AUTO(pki_certs_free) struct pki_certs *client_ca = NULL;
    enum error_code code = ERR_OK;
    if (tls->client_ca != NULL)
        code = pki_certs_share(tls->client_ca, &client_ca, err);
    if (code == ERR_OK)
        code = net_tls_client_ctx(net, err); /* lws wants one for each vhost */
    if (code != ERR_OK)
        return code;
    net->vhost_ctx = NULL;
    struct lws_vhost *vhost = net_vhost_new(net, "TLS server", true);
    SSL_CTX *ctx = net->vhost_ctx;
    if (vhost == NULL || ctx == NULL)
        return error_set(err, ERR_NO_MEMORY, NULL);
    code = net_tls_ctx_prepare(ctx, err);
    if (code == ERR_OK)
        code = ctx_fill(ctx, tls, err);
    if (code != ERR_OK)
        return code;
    /* lws would let a client choose another server of this process by name. */
    (void)SSL_CTX_set_tlsext_servername_callback(ctx, NULL);
    SSL_CTX_set_cert_verify_callback(ctx, on_verify, NULL);
    SSL_CTX_set_info_callback(ctx, on_info);
    (void)SSL_CTX_set_app_data(ctx, server);
    server->vhost = vhost;
    server->ssl_ctx = ctx;
    server->client_ca = TAKE(client_ca);
    return ERR_OK;
}

enum error_code net_server_set_tls(struct net_server *server, const struct net_tls_server *tls,
                                   struct error *err)
{
    if (server->ssl_ctx == NULL)
        return error_set(err, ERR_INVALID, "the server was not started with TLS");
    AUTO(pki_certs_free) struct pki_certs *client_ca = NULL;
    enum error_code code = net_tls_server_check(tls, err);
    if (code == ERR_OK && tls->client_ca != NULL)
        code = pki_certs_share(tls->client_ca, &client_ca, err);
    if (code == ERR_OK)
        code = ctx_fill(server->ssl_ctx, tls, err);
    if (code != ERR_OK)
        return code;
    pki_certs_free(server->client_ca);
    server->client_ca = TAKE(client_ca);
    return ERR_OK;
}
