#include "unit/cli/support_server.h"

#include <arpa/inet.h>
#include <assert.h>
#include <netinet/in.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum {
    CONNECTIONS_MAX = 64,
    REQUEST_MAX = 1024 * 1024,
    ANSWERS_MAX = 64,
    TLS_HANDSHAKE = 0x16 /* what TLS begins with */
};

struct server {
    const struct canned *table;
    size_t count;
    int used[ANSWERS_MAX];
    int listener, stop;
    char url[160];
    SSL_CTX *tls; /* NULL: none */
    pthread_t acceptor;
    pthread_t threads[CONNECTIONS_MAX];
    size_t thread_count;
    pthread_mutex_t lock;
    char *log;
    size_t log_len;
    FILE *log_file;
};

struct connection {
    struct server *server;
    int fd;
    SSL *ssl;
    char *in;
    size_t len;
};

/* Waits until the descriptor is readable; false: the server stops. */
static bool readable(const struct server *s, int fd)
{
    struct pollfd fds[] = {{.fd = fd, .events = POLLIN}, {.fd = s->stop, .events = POLLIN}};
    return poll(fds, 2, -1) > 0 && !fds[1].revents;
}

static ssize_t receive(const struct connection *c, char *to, size_t len)
{
    return c->ssl ? SSL_read(c->ssl, to, (int)len) : recv(c->fd, to, len, 0);
}

static void send_all(const struct connection *c, const char *data, size_t len)
{
    while (len > 0) {
        ssize_t n =
            c->ssl ? SSL_write(c->ssl, data, (int)len) : send(c->fd, data, len, MSG_NOSIGNAL);
        if (n <= 0)
            return;
        data += n;
        len -= (size_t)n;
    }
}

/* Reads one request into c->in; its length, or 0 at the end of the connection. */
static size_t read_request(struct connection *c)
{
    for (;;) {
        c->in[c->len] = '\0';
        const char *end = strstr(c->in, "\r\n\r\n");
        if (end) {
            const char *length = strcasestr(c->in, "\r\ncontent-length:");
            size_t body = length && length < end ? strtoul(length + 17, NULL, 10) : 0;
            size_t total = (size_t)(end - c->in) + 4 + body;
            if (c->len >= total)
                return total;
        }
        bool waiting = c->ssl && SSL_pending(c->ssl) > 0;
        if (c->len >= REQUEST_MAX || (!waiting && !readable(c->server, c->fd)))
            return 0;
        ssize_t n = receive(c, c->in + c->len, REQUEST_MAX - c->len);
        if (n <= 0 || c->in[0] == TLS_HANDSHAKE)
            return 0;
        c->len += (size_t)n;
    }
}

static void write_header(struct server *s, const char *request, const char *end, const char *name)
{
    const char *header = strcasestr(request, name);
    if (header && header < end)
        (void)fprintf(s->log_file, " [%.*s]", (int)strcspn(header + 2, "\r"), header + 2);
}

static void write_down(struct server *s, const char *request, size_t total)
{
    size_t line = strcspn(request, "\r");
    const char *version = memmem(request, line, " HTTP/1.1", 9);
    const char *end = strstr(request, "\r\n\r\n");
    assert(end);
    (void)fprintf(s->log_file, "%.*s", version ? (int)(version - request) : (int)line, request);
    write_header(s, request, end, "\r\nlast-event-id:");
    write_header(s, request, end, "\r\nauthorization:");
    if (total > (size_t)(end + 4 - request))
        (void)fprintf(s->log_file, " %.*s", (int)(request + total - end - 4), end + 4);
    (void)fputc('\n', s->log_file);
    (void)fflush(s->log_file);
}

static struct canned pick(struct server *s, const char *request, size_t total)
{
    struct canned found = {.status = 404, .body = "{\"title\":\"Not found\",\"status\":404}"};
    (void)pthread_mutex_lock(&s->lock);
    write_down(s, request, total);
    for (size_t i = 0; i < s->count; i++) {
        const struct canned *a = &s->table[i];
        if (strncmp(request, a->request, strlen(a->request)) != 0 ||
            (a->uses > 0 && s->used[i] >= a->uses))
            continue;
        s->used[i]++;
        found = *a;
        break;
    }
    (void)pthread_mutex_unlock(&s->lock);
    return found;
}

/* False: the connection is over. */
static bool answer(struct connection *c, const struct canned *a)
{
    char head[512];
    const char *body = a->body ? a->body : "";
    int status = a->status ? a->status : 200;
    char byte = 0;
    if (a->end == CANNED_DROP)
        return false;
    bool stream = a->end != CANNED_KEEP;
    int n =
        snprintf(head, sizeof(head), "HTTP/1.1 %d X\r\nContent-Type: %s\r\n%s", status,
                 stream ? "text/event-stream" : "application/json", a->headers ? a->headers : "");
    assert(n > 0 && (size_t)n < sizeof(head));
    send_all(c, head, (size_t)n);
    n = stream ? snprintf(head, sizeof(head), "Connection: close\r\n\r\n")
               : snprintf(head, sizeof(head), "Content-Length: %zu\r\n\r\n", strlen(body));
    send_all(c, head, (size_t)n);
    send_all(c, body, strlen(body));
    if (a->end == CANNED_INTERRUPT)
        (void)kill(getpid(), SIGINT);
    /* Until the peer goes, or the server stops. */
    if ((a->end == CANNED_HOLD || a->end == CANNED_INTERRUPT) && readable(c->server, c->fd))
        (void)receive(c, &byte, 1);
    return a->end == CANNED_KEEP;
}

static void *serve(void *arg)
{
    struct connection *c = arg;
    bool more = !c->ssl || SSL_accept(c->ssl) == 1;
    while (more) {
        size_t total = read_request(c);
        if (total == 0)
            break;
        struct canned a = pick(c->server, c->in, total);
        memmove(c->in, c->in + total, c->len - total);
        c->len -= total;
        more = answer(c, &a);
    }
    if (c->ssl && more)
        (void)SSL_shutdown(c->ssl);
    SSL_free(c->ssl);
    (void)close(c->fd);
    free(c->in);
    free(c);
    return NULL;
}

static void *accept_all(void *arg)
{
    struct server *s = arg;
    while (readable(s, s->listener)) {
        int fd = accept4(s->listener, NULL, NULL, SOCK_CLOEXEC);
        if (fd < 0)
            continue;
        struct connection *c = calloc(1, sizeof(*c));
        assert(c && s->thread_count < CONNECTIONS_MAX);
        c->server = s;
        c->fd = fd;
        c->in = malloc(REQUEST_MAX + 1);
        assert(c->in);
        if (s->tls) {
            c->ssl = SSL_new(s->tls);
            assert(c->ssl);
            int taken = SSL_set_fd(c->ssl, fd);
            assert(taken == 1);
        }
        int rc = pthread_create(&s->threads[s->thread_count], NULL, serve, c);
        assert(rc == 0);
        s->thread_count++;
    }
    return NULL;
}

static int listen_tcp(struct server *s)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t len = sizeof(address);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int rc = bind(fd, (struct sockaddr *)&address, sizeof(address));
    assert(rc == 0);
    rc = getsockname(fd, (struct sockaddr *)&address, &len);
    assert(rc == 0);
    (void)snprintf(s->url, sizeof(s->url), "http%s://127.0.0.1:%d", s->tls ? "s" : "",
                   ntohs(address.sin_port));
    return fd;
}

static int listen_unix(struct server *s, const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert(strlen(path) < sizeof(address.sun_path));
    memcpy(address.sun_path, path, strlen(path));
    int rc = bind(fd, (struct sockaddr *)&address, sizeof(address));
    assert(rc == 0);
    (void)snprintf(s->url, sizeof(s->url), "unix://%s", path);
    return fd;
}

static SSL_CTX *tls_context(const struct server_config *config)
{
    SSL_CTX *tls = SSL_CTX_new(TLS_server_method());
    assert(tls);
    int rc = SSL_CTX_use_certificate_chain_file(tls, config->pair);
    assert(rc == 1);
    rc = SSL_CTX_use_PrivateKey_file(tls, config->pair, SSL_FILETYPE_PEM);
    assert(rc == 1);
    rc = config->old_tls ? (int)SSL_CTX_set_max_proto_version(tls, TLS1_2_VERSION) : 1;
    assert(rc == 1);
    return tls;
}

struct server *server_start_with(const struct server_config *config)
{
    struct server *s = calloc(1, sizeof(*s));
    sigset_t all;
    sigset_t old;
    assert(s && config->count <= ANSWERS_MAX);
    s->table = config->table;
    s->count = config->count;
    s->tls = config->pair ? tls_context(config) : NULL;
    s->log_file = open_memstream(&s->log, &s->log_len);
    s->stop = eventfd(0, EFD_CLOEXEC);
    s->listener = config->socket ? listen_unix(s, config->socket) : listen_tcp(s);
    int rc = listen(s->listener, CONNECTIONS_MAX);
    assert(rc == 0);
    (void)pthread_mutex_init(&s->lock, NULL);
    /* Signals are for the test's own thread. */
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &old);
    rc = pthread_create(&s->acceptor, NULL, accept_all, s);
    assert(rc == 0);
    (void)pthread_sigmask(SIG_SETMASK, &old, NULL);
    return s;
}

struct server *server_start(const struct canned *table, size_t count)
{
    return server_start_with(&(struct server_config){.table = table, .count = count});
}

const char *server_url(const struct server *s)
{
    return s->url;
}

char *server_log(struct server *s)
{
    (void)pthread_mutex_lock(&s->lock);
    char *copy = strdup(s->log ? s->log : "");
    (void)pthread_mutex_unlock(&s->lock);
    assert(copy);
    return copy;
}

size_t server_asked(struct server *s, const char *request)
{
    size_t count = 0;
    char *log = server_log(s);
    for (const char *line = log; *line; line += strcspn(line, "\n") + 1)
        count += strncmp(line, request, strlen(request)) == 0 ? 1 : 0;
    free(log);
    return count;
}

void server_stop(struct server *s)
{
    ssize_t n = write(s->stop, &(uint64_t){1}, sizeof(uint64_t));
    assert(n == (ssize_t)sizeof(uint64_t));
    (void)pthread_join(s->acceptor, NULL);
    for (size_t i = 0; i < s->thread_count; i++)
        (void)pthread_join(s->threads[i], NULL);
    (void)close(s->listener);
    (void)close(s->stop);
    (void)fclose(s->log_file);
    (void)pthread_mutex_destroy(&s->lock);
    SSL_CTX_free(s->tls);
    free(s->log);
    free(s);
}

int server_nowhere(char *ret_url, size_t size)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(address);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert(fd >= 0);
    int rc = bind(fd, (struct sockaddr *)&address, len);
    assert(rc == 0);
    rc = getsockname(fd, (struct sockaddr *)&address, &len);
    assert(rc == 0);
    (void)snprintf(ret_url, size, "http://127.0.0.1:%u", ntohs(address.sin_port));
    return fd;
}
