#include "handlers/file_run.h"

#include "common/base/alloc.h"
#include "handlers/artifact_wait.h"
#include "handlers/builtin.h"

#include <assert.h>

struct file_run {
    uv_work_t request;
    struct handler_run *run;
    file_work work;
    struct artifact_wait wait;
    atomic_bool stop;  /* only where there is an artifact */
    struct error lack; /* why there is none */
    struct handler_result result;
    struct buf shown;
};

static void file_run_work(uv_work_t *request)
{
    struct file_run *f = request->data;
    if (atomic_load(&f->stop))
        f->result.outcome = HANDLER_CANCELLED;
    else if (f->lack.code != ERR_OK)
        result_fail_error(&f->result, &f->lack);
    else
        f->work(f->run, &f->result, &f->shown);
}

static void file_run_over(uv_work_t *request, int status)
{
    struct file_run *f = request->data;
    struct handler_run *run = f->run;
    struct handler_result result = f->result;
    if (status == UV_ECANCELED || (result.outcome == HANDLER_FAILED && atomic_load(&f->stop)))
        result.outcome = HANDLER_CANCELLED;
    else if (f->shown.len > 0)
        run->output(run, f->shown.data, f->shown.len);
    run->state = NULL;
    buf_done(&f->shown);
    artifact_wait_done(&f->wait);
    mem_free(f);
    handler_finish(run, &result);
}

static void file_run_queue(struct file_run *f)
{
    int rc = uv_queue_work(f->run->host->loop, &f->request, file_run_work, file_run_over);
    assert(rc == 0);
}

static struct file_run *file_run_new(struct handler_run *run, file_work work)
{
    struct file_run *f = MEM_NEW(struct file_run);
    if (!f) {
        handler_fail(run, true, "out of memory");
        return NULL;
    }
    f->run = run;
    f->work = work;
    f->wait = ARTIFACT_WAIT_INIT;
    f->request.data = f;
    run->state = f;
    return f;
}

void file_run_start(struct handler_run *run, file_work work)
{
    struct file_run *f = file_run_new(run, work);
    if (f)
        file_run_queue(f);
}

static void file_run_supplied(void *ctx, const struct error *err)
{
    struct file_run *f = ctx;
    if (err && err->code != ERR_LIMIT)
        f->lack = *err;
    file_run_queue(f);
}

void file_run_start_with(struct handler_run *run, const char *name, int64_t max_bytes,
                         file_work work)
{
    struct file_run *f = file_run_new(run, work);
    if (!f)
        return;
    f->wait.run = run;
    f->wait.ctx = f;
    f->wait.over = file_run_supplied;
    if (artifact_wait_start(&f->wait, name, max_bytes, &f->lack) != ERR_OK)
        file_run_queue(f);
}

const struct artifact *file_run_artifact(const struct handler_run *run)
{
    return &((const struct file_run *)run->state)->wait.artifact;
}

const atomic_bool *file_run_stop(const struct handler_run *run)
{
    return &((const struct file_run *)run->state)->stop;
}

void file_run_cancel(struct handler_run *run)
{
    struct file_run *f = run->state;
    if (!f)
        return;
    if (f->wait.run)
        atomic_store(&f->stop, true);
    /* One that waited ends from the loop, as one that works. */
    if (f->wait.run && artifact_wait_cancel(&f->wait))
        file_run_queue(f);
    else
        (void)uv_cancel((uv_req_t *)&f->request);
}
