/*
 * What TLS costs: connections per second, CPU of either end, and memory of an idle connection, with
 * and without it. Agents and server are two processes on loopback.
 *
 *     bench_tls [CONNECTIONS [AT_ONCE]]
 *
 * Each connection is a WebSocket that is opened and kept; with TLS both ends show a certificate.
 */
#include "common/base/clock.h"
#include "common/net/net.h"
#include "common/net/net_tls.h"
#include "common/pki/pki_ca.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    CONNECTIONS = 4000,
    AT_ONCE = 64,
    DAY_MS = 24 * 3600 * 1000,
    CONNECT_MS = 60000,
    MESSAGE_MAX = 65536
};

struct usage {
    double cpu_s;
    long rss_kib;
    unsigned conns;
};

struct identity {
    struct pki_ca *ca;
    struct pki_key *server_key;
    struct pki_certs *server;
    struct pki_key *agent_key;
    struct pki_certs *agent;
};

static void check(enum error_code code, const struct error *err)
{
    if (code == ERR_OK)
        return;
    (void)fprintf(stderr, "bench_tls: %s\n", err->message);
    exit(1);
}

static void identity_make(struct identity *id)
{
    static const char *const hosts[] = {"127.0.0.1", NULL};
    const struct pki_validity day = {.now_ms = clock_wall_ms(), .lifetime_ms = DAY_MS};
    struct error err = {0};
    struct buf csr = BUF_INIT;
    check(pki_ca_new(&day, &id->ca, &err), &err);
    check(pki_key_new(&id->server_key, &err), &err);
    check(pki_key_new(&id->agent_key, &err), &err);
    check(pki_ca_sign_server(id->ca, id->server_key, hosts, &day, &id->server, &err), &err);
    check(pki_csr_new(id->agent_key, &csr, &err), &err);
    check(pki_ca_sign_client(id->ca, csr.data, "kitsune:agent:web-1", &day, &id->agent, &err),
          &err);
    buf_done(&csr);
}

static struct usage usage_now(unsigned conns)
{
    struct rusage r = {0};
    (void)getrusage(RUSAGE_SELF, &r);
    struct usage u = {.conns = conns};
    u.cpu_s = (double)(r.ru_utime.tv_sec + r.ru_stime.tv_sec) +
              (double)(r.ru_utime.tv_usec + r.ru_stime.tv_usec) / 1e6;
    FILE *status = fopen("/proc/self/status", "re");
    char line[256];
    while (status != NULL && fgets(line, sizeof(line), status) != NULL) {
        if (strncmp(line, "VmRSS:", 6) == 0)
            u.rss_kib = strtol(line + 6, NULL, 10);
    }
    if (status != NULL)
        (void)fclose(status);
    return u;
}

/* ---- The server's process ---------------------------------------------------------------------
 */

struct server {
    unsigned conns;
    int control;
};

static void on_message(void *ctx, struct net_conn *conn, const char *data, size_t len)
{
    (void)ctx;
    (void)conn;
    (void)data;
    (void)len;
}

static void on_gone(void *ctx, struct net_conn *conn, const char *reason)
{
    (void)ctx;
    (void)conn;
    (void)reason;
}

static bool on_websocket(void *ctx, struct net_conn *conn, void **ret_ctx)
{
    (void)conn;
    struct server *s = ctx;
    s->conns++;
    *ret_ctx = s;
    return true;
}

static void on_request(void *ctx, struct net_request *req)
{
    (void)ctx;
    net_respond(req, 404, NULL, NULL, "", 0);
}

static void on_request_closed(void *ctx, struct net_request *req)
{
    (void)ctx;
    (void)req;
}

/* A byte asks for the figures; the end of it ends the server. */
static void on_control(uv_poll_t *poll, int status, int events)
{
    (void)status;
    (void)events;
    struct server *s = poll->data;
    char byte = 0;
    if (read(s->control, &byte, 1) != 1)
        _exit(0);
    struct usage u = usage_now(s->conns);
    if (write(s->control, &u, sizeof(u)) != (ssize_t)sizeof(u))
        _exit(1);
}

static void serve(int control, const struct identity *id)
{
    struct server s = {.control = control};
    uv_loop_t loop;
    uv_poll_t poll;
    struct net *net = NULL;
    struct net_server *server = NULL;
    struct error err = {0};
    const struct net_tls_server tls = {.certs = id == NULL ? NULL : id->server,
                                       .key = id == NULL ? NULL : id->server_key,
                                       .client_ca = id == NULL ? NULL : pki_ca_certs(id->ca)};
    const struct net_server_config config = {
        .host = "127.0.0.1",
        .tls = id == NULL ? NULL : &tls,
        .max_body = 1024,
        .max_message = MESSAGE_MAX,
        .websocket_path = "/ws",
        .ctx = &s,
        .request = on_request,
        .request_closed = on_request_closed,
        .websocket = on_websocket,
        .events = {.message = on_message, .closed = on_gone},
    };
    (void)uv_loop_init(&loop);
    check(net_new(&loop, 0, &net, &err), &err);
    check(net_server_new(net, &config, &server, &err), &err);
    uint16_t port = net_server_port(server);
    if (write(control, &port, sizeof(port)) != (ssize_t)sizeof(port))
        _exit(1);
    (void)uv_poll_init(&loop, &poll, control);
    poll.data = &s;
    (void)uv_poll_start(&poll, UV_READABLE, on_control);
    (void)uv_run(&loop, UV_RUN_DEFAULT);
    _exit(0);
}

/* ---- The agents' process ----------------------------------------------------------------------
 */

struct agents {
    struct net *net;
    struct net_client_config config;
    unsigned wanted;
    unsigned begun;
    unsigned opened;
};

static void agents_begin(struct agents *a)
{
    struct error err = {0};
    struct net_conn *conn = NULL;
    if (a->begun == a->wanted)
        return;
    a->begun++;
    check(net_connect(a->net, &a->config, &conn, &err), &err);
}

static void on_opened(void *ctx, struct net_conn *conn)
{
    (void)conn;
    struct agents *a = ctx;
    a->opened++;
    agents_begin(a);
}

static void on_lost(void *ctx, struct net_conn *conn, const char *reason)
{
    (void)ctx;
    (void)conn;
    (void)fprintf(stderr, "bench_tls: connection lost: %s\n", reason);
    exit(1);
}

static struct usage ask(int control)
{
    struct usage u = {0};
    if (write(control, "?", 1) != 1 || read(control, &u, sizeof(u)) != (ssize_t)sizeof(u))
        exit(1);
    return u;
}

static void measure(const char *name, const struct identity *id, unsigned connections,
                    unsigned at_once)
{
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0)
        exit(1);
    pid_t child = fork();
    if (child == 0) {
        (void)close(pair[0]);
        serve(pair[1], id);
    }
    (void)close(pair[1]);
    uint16_t port = 0;
    if (read(pair[0], &port, sizeof(port)) != (ssize_t)sizeof(port))
        exit(1);

    char url[64];
    (void)snprintf(url, sizeof(url), "%s://127.0.0.1:%u", id == NULL ? "ws" : "wss", port);
    const struct net_tls_client tls = {.ca = id == NULL ? NULL : pki_ca_certs(id->ca),
                                       .certs = id == NULL ? NULL : id->agent,
                                       .key = id == NULL ? NULL : id->agent_key};
    uv_loop_t loop;
    struct error err = {0};
    struct agents a = {
        .wanted = connections,
        .config = {.url = url,
                   .tls = id == NULL ? NULL : &tls,
                   .websocket_path = "/ws",
                   .max_message = MESSAGE_MAX,
                   .connect_timeout_ms = CONNECT_MS,
                   .ctx = &a,
                   .events = {.message = on_message, .closed = on_lost, .opened = on_opened}}};
    (void)uv_loop_init(&loop);
    check(net_new(&loop, 0, &a.net, &err), &err);
    struct usage before = ask(pair[0]);
    struct usage own_before = usage_now(0);
    int64_t began_us = clock_mono_us();
    for (unsigned i = 0; i < at_once; i++)
        agents_begin(&a);
    while (a.opened < connections)
        (void)uv_run(&loop, UV_RUN_ONCE);
    double took_s = (double)(clock_mono_us() - began_us) / 1e6;
    struct usage own = usage_now(0);
    struct usage after = ask(pair[0]);
    (void)printf("%-6s %8.0f connections/s  server %6.0f us CPU, %5.1f KiB  agent %6.0f us CPU, "
                 "%5.1f KiB, each\n",
                 name, connections / took_s, 1e6 * (after.cpu_s - before.cpu_s) / connections,
                 (double)(after.rss_kib - before.rss_kib) / connections,
                 1e6 * (own.cpu_s - own_before.cpu_s) / connections,
                 (double)(own.rss_kib - own_before.rss_kib) / connections);
    (void)fflush(stdout);
    (void)close(pair[0]);
    (void)waitpid(child, NULL, 0);
}

/* In a process of its own, so that one measurement does not find the other's memory. */
static void measure_apart(const char *name, const struct identity *id, unsigned connections,
                          unsigned at_once)
{
    pid_t child = fork();
    if (child == 0) {
        measure(name, id, connections, at_once);
        _exit(0);
    }
    int status = -1;
    if (waitpid(child, &status, 0) != child || status != 0)
        exit(1);
}

int main(int argc, char **argv)
{
    unsigned connections = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : CONNECTIONS;
    unsigned at_once = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 10) : AT_ONCE;
    struct rlimit limit = {0};
    (void)getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &limit);
    if (limit.rlim_cur < connections + 100) {
        (void)fprintf(stderr, "bench_tls: %u connections need more file descriptors\n",
                      connections);
        return 1;
    }
    struct identity id = {0};
    identity_make(&id);
    measure_apart("plain", NULL, connections, at_once);
    measure_apart("TLS", &id, connections, at_once);
    return 0;
}
