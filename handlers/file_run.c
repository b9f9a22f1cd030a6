#include "handlers/file_run.h"

#include "common/base/alloc.h"

#include <assert.h>

struct file_run {
    uv_work_t request;
    struct handler_run *run;
    file_work work;
    struct handler_result result;
    struct buf shown;
};

static void file_run_work(uv_work_t *request)
{
    struct file_run *f = request->data;
    f->work(f->run, &f->result, &f->shown);
}

static void file_run_over(uv_work_t *request, int status)
{
    struct file_run *f = request->data;
    struct handler_run *run = f->run;
    struct handler_result result = f->result;
    if (status == UV_ECANCELED)
        result.outcome = HANDLER_CANCELLED;
    else if (f->shown.len > 0)
        run->output(run, f->shown.data, f->shown.len);
    run->state = NULL;
    buf_done(&f->shown);
    mem_free(f);
    handler_finish(run, &result);
}

void file_run_start(struct handler_run *run, file_work work)
{
    struct file_run *f = MEM_NEW(struct file_run);
    if (!f) {
        handler_fail(run, true, "out of memory");
        return;
    }
    f->run = run;
    f->work = work;
    f->request.data = f;
    run->state = f;
    int rc = uv_queue_work(run->host->loop, &f->request, file_run_work, file_run_over);
    assert(rc == 0);
}

void file_run_cancel(struct handler_run *run)
{
    struct file_run *f = run->state;
    if (f)
        (void)uv_cancel((uv_req_t *)&f->request);
}
