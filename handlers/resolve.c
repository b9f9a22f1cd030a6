#include "handlers/resolve.h"

#include "common/base/alloc.h"
#include "common/base/cleanup.h"
#include "handlers/offload.h"

#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

struct resolve {
    struct offload *offload;
    char *host;
    char service[8];
    struct resolve_reply reply;
    struct resolved resolved;
};

static void resolve_free(struct resolve *r)
{
    if (!r)
        return;
    mem_free(r->host);
    mem_free(r);
}
DEFINE_CLEANUP(resolve_free, struct resolve)

static void job_work(void *job)
{
    struct resolve *r = job;
    struct addrinfo *found = NULL;
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
    int rc = getaddrinfo(r->host, r->service, &hints, &found);
    if (rc != 0) {
        r->resolved.failure = gai_strerror(rc);
        return;
    }
    for (const struct addrinfo *a = found; a && r->resolved.count < RESOLVE_MAX; a = a->ai_next) {
        if (a->ai_family == AF_INET || a->ai_family == AF_INET6)
            memcpy(&r->resolved.addresses[r->resolved.count++], a->ai_addr, a->ai_addrlen);
    }
    freeaddrinfo(found);
    if (r->resolved.count == 0)
        r->resolved.failure = "it has no address";
}

static void job_done(void *job)
{
    struct resolve *r = job;
    r->reply.done(r->reply.ctx, &r->resolved);
}

static void job_free(void *job)
{
    resolve_free(job);
}

enum error_code resolve_start(uv_loop_t *loop, const char *host, uint16_t port,
                              struct resolve_reply reply, struct resolve **ret_resolve,
                              struct error *err)
{
    static const struct offload_job what = {job_work, job_done, job_free};
    AUTO(resolve_free) struct resolve *r = MEM_NEW(struct resolve);
    if (r)
        r->host = mem_strdup(host);
    if (!r || !r->host)
        return error_set(err, ERR_NO_MEMORY, NULL);
    (void)snprintf(r->service, sizeof(r->service), "%u", port);
    r->reply = reply;
    struct offload *offload;
    enum error_code code = offload_start(loop, &what, r, &offload, err);
    if (code != ERR_OK)
        return code;
    r->offload = offload;
    *ret_resolve = TAKE(r);
    return ERR_OK;
}

void resolve_abandon(struct resolve *r)
{
    offload_abandon(r->offload);
}
