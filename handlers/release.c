/*
 * release: a tar unpacked into a folder of its own, and a symbolic link switched to it. See
 * release_internal.h for what is where.
 *
 * prepare keeps where the link led, and packs the releases that are to be removed. execute unpacks
 * under a hidden name, makes all of it durable, gives it its name, switches the link, and then
 * removes. rollback switches back first, so that there is always a whole release at the link.
 */
#include "common/base/alloc.h"
#include "common/base/cleanup.h"
#include "handlers/release_internal.h"

#include <assert.h>
#include <unistd.h>

/* ---- The end ----------------------------------------------------------------------------- */

void release_failed(struct release_run *r, const struct error *err)
{
    if (err->code == ERR_CANCELLED)
        r->result.outcome = HANDLER_CANCELLED;
    else if (r->result.message[0] == '\0')
        result_fail_error(&r->result, err);
}

static void run_finish(struct release_run *r)
{
    struct handler_run *run = r->run;
    struct handler_result result = r->result;
    if (r->shown.len > 0)
        run->output(run, r->shown.data, r->shown.len);
    if (r->artifact.fd >= 0)
        (void)close(r->artifact.fd);
    run->state = NULL;
    buf_done(&r->shown);
    mem_free(r);
    handler_finish(run, &result);
}

/* ---- The archive ------------------------------------------------------------------------- */

static void work_begin(struct release_run *r);

static void fetched(void *ctx, const struct artifact *artifact, const struct error *err)
{
    struct release_run *r = ctx;
    r->fetch = NULL;
    if (!artifact) {
        struct error why = *err;
        (void)error_wrap(&why, "%s", r->params->source);
        release_failed(r, &why);
        run_finish(r);
        return;
    }
    r->artifact = *artifact;
    work_begin(r);
}

static void fetch_begin(struct release_run *r)
{
    const struct artifact_source *source = r->run->host->artifacts;
    struct error err = {0};
    const struct artifact_wish wish = {
        .digest = artifact_digest(r->params->source),
        .rollout = r->run->rollout,
        .ctx = r,
        .done = fetched,
    };
    enum error_code code =
        source ? source->get(source->ctx, &wish, &r->fetch, &err)
               : error_set(&err, ERR_UNSUPPORTED, "there are no artifacts to be had here");
    if (code == ERR_OK)
        return;
    release_failed(r, &err);
    run_finish(r);
}

/* ---- The work ---------------------------------------------------------------------------- */

static void work_run(uv_work_t *request)
{
    struct release_run *r = request->data;
    r->work(r);
}

static void work_over(uv_work_t *request, int status)
{
    struct release_run *r = request->data;
    bool cancelled = status == UV_ECANCELED || atomic_load(&r->cancelled);
    bool fetches = r->wants_artifact && r->artifact.fd < 0;
    if (fetches && !cancelled) {
        fetch_begin(r);
        return;
    }
    /* One that was over when the word came is over. */
    if (status == UV_ECANCELED || fetches)
        r->result.outcome = HANDLER_CANCELLED;
    run_finish(r);
}

static void work_begin(struct release_run *r)
{
    r->wants_artifact = false;
    int rc = uv_queue_work(r->run->host->loop, &r->request, work_run, work_over);
    assert(rc == 0);
}

static void release_start(struct handler_run *run)
{
    static const release_work works[] = {
        [HANDLER_PREPARE] = release_prepare_work,
        [HANDLER_EXECUTE] = release_execute_work,
        [HANDLER_ROLLBACK] = release_rollback_work,
        [HANDLER_CHECK] = release_check_work,
    };
    struct release_run *r = MEM_NEW(struct release_run);
    if (!r) {
        handler_fail(run, true, "out of memory");
        return;
    }
    r->run = run;
    r->params = run->params;
    r->work = works[run->operation];
    r->request.data = r;
    r->artifact.fd = -1;
    atomic_init(&r->cancelled, false);
    run->state = r;
    work_begin(r);
}

static void release_cancel(struct handler_run *run)
{
    struct release_run *r = run->state;
    if (!r)
        return;
    atomic_store(&r->cancelled, true);
    if (!r->fetch) {
        (void)uv_cancel((uv_req_t *)&r->request);
        return;
    }
    const struct artifact_source *source = run->host->artifacts;
    source->cancel(source->ctx, r->fetch);
    r->result.outcome = HANDLER_CANCELLED;
    run_finish(r);
}

const struct handler release_handler = {
    .type = &release_type,
    .prepare = release_start,
    .execute = release_start,
    .rollback = release_start,
    .check = release_start,
    .cancel = release_cancel,
};
