#include "common/base/alloc.h"
#include "common/base/cleanup.h"
#include "handlers/builtin.h"
#include "handlers/gate.h"
#include "handlers/http_fetch.h"
#include "handlers/offload.h"

struct http_check {
    struct gate gate; /* first */
    struct request *request;
};

/* One probe, on a thread of its own: TLS and regular expressions take their time. The thread reads
 * the run's params, so it is waited for. */
struct request {
    struct http_check *check;
    struct http_fetch *fetch;
    struct http_outcome outcome;
};

static struct http_check *http_of(struct gate *g)
{
    return (struct http_check *)(void *)g;
}

static void request_free(struct request *r)
{
    if (!r)
        return;
    http_fetch_free(r->fetch);
    mem_free(r);
}
DEFINE_CLEANUP(request_free, struct request)

static void job_work(void *job)
{
    struct request *r = job;
    http_fetch_run(r->fetch, &r->outcome);
}

static void job_done(void *job)
{
    struct request *r = job;
    struct http_check *c = r->check;
    struct error err = {0};
    c->request = NULL;
    if (!r->outcome.broken) {
        gate_probed(&c->gate, r->outcome.healthy, "%s", r->outcome.text);
        return;
    }
    (void)error_set(&err, ERR_INVALID, "%s", r->outcome.text);
    gate_broken(&c->gate, &err);
}

static void job_free(void *job)
{
    request_free(job);
}

static enum error_code request_start(struct http_check *c, struct error *err)
{
    static const struct offload_job what = {job_work, job_done, job_free};
    struct offload *offload;
    AUTO(request_free) struct request *r = MEM_NEW(struct request);
    if (!r)
        return error_set(err, ERR_NO_MEMORY, NULL);
    r->check = c;
    enum error_code code = http_fetch_new(c->gate.run->params, &r->fetch, err);
    if (code == ERR_OK)
        code = offload_start(c->gate.run->host->loop, &what, r, &offload, err);
    if (code == ERR_OK)
        c->request = TAKE(r);
    return code;
}

static void http_probe(struct gate *g)
{
    struct error err = {0};
    if (request_start(http_of(g), &err) != ERR_OK)
        gate_probed(g, false, "%s", err.message);
}

static void http_stop(struct gate *g)
{
    http_fetch_stop(http_of(g)->request->fetch);
}

static void http_free(struct gate *g)
{
    mem_free(http_of(g));
}

static void http_execute(struct handler_run *run)
{
    static const struct gate_prober prober = {http_probe, http_stop, http_free};
    const struct http_check_params *params = run->params;
    struct http_check *c = MEM_NEW(struct http_check);
    if (c)
        gate_start(&c->gate, &prober, &params->gate, run);
    else
        handler_fail(run, true, "out of memory");
}

/* Other methods than these may change something where the request goes to. */
static void http_check(struct handler_run *run)
{
    const struct http_check_params *params = run->params;
    if (params->method == HTTP_POST)
        handler_succeed(run, false, "not probed: a POST may change something");
    else
        gate_check(run, http_execute);
}

static void http_cancel(struct handler_run *run)
{
    gate_cancel(run->state);
}

const struct handler http_check_handler = {
    .type = &http_check_type,
    .prepare = handler_nothing,
    .execute = http_execute,
    .rollback = handler_nothing,
    .check = http_check,
    .cancel = http_cancel,
};
