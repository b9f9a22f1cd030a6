#include "unit/handlers/support_peer.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

/* ---- Connections ------------------------------------------------------------------------- */

static ssize_t call_read(struct peer_call *call, void *data, size_t len)
{
    return call->ssl ? SSL_read(call->ssl, data, (int)len) : recv(call->fd, data, len, 0);
}

bool peer_write(struct peer_call *call, const void *data, size_t len)
{
    const char *at = data;
    while (len > 0) {
        ssize_t n =
            call->ssl ? SSL_write(call->ssl, at, (int)len) : send(call->fd, at, len, MSG_NOSIGNAL);
        if (n <= 0)
            return false;
        at += n;
        len -= (size_t)n;
    }
    return true;
}

bool peer_say(struct peer_call *call, const char *text)
{
    return peer_write(call, text, strlen(text));
}

void peer_read_request(struct peer_call *call)
{
    size_t len = 0, wanted = PEER_REQUEST_MAX;
    while (len < wanted && len + 1 < PEER_REQUEST_MAX) {
        ssize_t n = call_read(call, call->request + len, PEER_REQUEST_MAX - 1 - len);
        if (n <= 0)
            break;
        len += (size_t)n;
        call->request[len] = '\0';
        const char *end = strstr(call->request, "\r\n\r\n");
        const char *body = strstr(call->request, "Content-Length: ");
        if (end)
            wanted = (size_t)(end - call->request) + 4 +
                     (body ? strtoul(body + strlen("Content-Length: "), NULL, 10) : 0);
    }
    memcpy(call->peer->last_request, call->request, sizeof(call->request));
}

void peer_answer(struct peer_call *call, int status, const char *headers, const char *body)
{
    char head[1024];
    peer_read_request(call);
    (void)snprintf(head, sizeof(head),
                   "HTTP/1.1 %d Whatever\r\nContent-Length: %zu\r\nConnection: close\r\n%s\r\n",
                   status, strlen(body), headers);
    if (peer_say(call, head))
        (void)peer_say(call, body);
}

void peer_await_end(struct peer_call *call)
{
    char chunk[4096];
    while (call_read(call, chunk, sizeof(chunk)) > 0)
        continue;
}

/* ---- The server -------------------------------------------------------------------------- */

static void serve_one(struct peer *p, int fd)
{
    static _Thread_local struct peer_call call;
    bool ready = true;
    call = (struct peer_call){.peer = p, .number = ++p->calls, .fd = fd};
    if (p->tls) {
        call.ssl = SSL_new(p->tls);
        SSL_set_fd(call.ssl, fd);
        ready = SSL_accept(call.ssl) == 1;
    }
    if (ready)
        p->serve(&call);
    if (call.ssl && ready)
        (void)SSL_shutdown(call.ssl);
    SSL_free(call.ssl);
    /* What the other side sends meanwhile would turn the end into a reset. */
    (void)shutdown(fd, SHUT_WR);
    struct peer_call rest = {.fd = fd};
    peer_await_end(&rest);
    (void)close(fd);
}

static void *peer_main(void *argument)
{
    struct peer *p = argument;
    bool ending = false;
    for (;;) {
        struct pollfd fds[] = {{.fd = p->listen_fd, .events = POLLIN},
                               {.fd = p->end_fd, .events = POLLIN}};
        /* Who connected before the end is served, too. */
        int fd = accept(p->listen_fd, NULL, NULL);
        if (fd >= 0)
            serve_one(p, fd);
        else if (ending)
            return NULL;
        else if (poll(fds, 2, -1) > 0)
            ending = fds[1].revents != 0;
    }
}

static int bind_at(const char *address, uint16_t port, uint16_t *ret_port)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(port)};
    socklen_t len = sizeof(at);
    int one = 1;
    assert_int_equal(inet_pton(AF_INET, address, &at.sin_addr), 1);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)), 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof(at)), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &len), 0);
    *ret_port = ntohs(at.sin_port);
    return fd;
}

void peer_open(struct peer *p)
{
    p->listen_fd = bind_at(p->address ? p->address : "127.0.0.1", p->port, &p->port);
    p->calls = 0;
    /* OpenSSL writes to connections that the other side has ended. */
    (void)signal(SIGPIPE, SIG_IGN);
    assert_int_equal(listen(p->listen_fd, 16), 0);
    assert_int_equal(fcntl(p->listen_fd, F_SETFL, O_NONBLOCK), 0);
    p->end_fd = eventfd(0, EFD_CLOEXEC);
    assert_true(p->end_fd >= 0);
    assert_int_equal(pthread_create(&p->thread, NULL, peer_main, p), 0);
}

void peer_close(struct peer *p)
{
    assert_int_equal(eventfd_write(p->end_fd, 1), 0);
    assert_int_equal(pthread_join(p->thread, NULL), 0);
    assert_int_equal(close(p->listen_fd), 0);
    assert_int_equal(close(p->end_fd), 0);
    SSL_CTX_free(p->tls);
    p->tls = NULL;
}

uint16_t peer_refusing_port(int *ret_fd)
{
    uint16_t port;
    *ret_fd = bind_at("127.0.0.1", 0, &port);
    return port;
}

/* ---- Certificates ------------------------------------------------------------------------ */

static void add_extension(X509 *cert, int nid, const char *value)
{
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, NULL, nid, value);
    assert_non_null(extension);
    assert_int_equal(X509_add_ext(cert, extension, -1), 1);
    X509_EXTENSION_free(extension);
}

SSL_CTX *peer_certificate(const char *pem_path)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *cert = X509_new();
    SSL_CTX *tls = SSL_CTX_new(TLS_server_method());
    assert_true(key && cert && tls);
    assert_int_equal(X509_set_version(cert, 2), 1);
    assert_int_equal(ASN1_INTEGER_set(X509_get_serialNumber(cert), 1), 1);
    assert_non_null(X509_gmtime_adj(X509_getm_notBefore(cert), -3600));
    assert_non_null(X509_gmtime_adj(X509_getm_notAfter(cert), 3600));
    X509_NAME *name = X509_get_subject_name(cert);
    assert_int_equal(X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC,
                                                (const unsigned char *)"peer", -1, -1, 0),
                     1);
    assert_int_equal(X509_set_issuer_name(cert, name), 1);
    assert_int_equal(X509_set_pubkey(cert, key), 1);
    add_extension(cert, NID_basic_constraints, "critical,CA:TRUE");
    add_extension(cert, NID_subject_alt_name, "IP:127.0.0.1,DNS:kitsune.test");
    assert_true(X509_sign(cert, key, EVP_sha256()) > 0);

    FILE *file = fopen(pem_path, "we");
    assert_non_null(file);
    assert_int_equal(PEM_write_X509(file, cert), 1);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(SSL_CTX_use_certificate(tls, cert), 1);
    assert_int_equal(SSL_CTX_use_PrivateKey(tls, key), 1);
    X509_free(cert);
    EVP_PKEY_free(key);
    return tls;
}
