/* file_validate: execute of file_write with a program that says whether the new file is right: the
 * file is made beside the old one (on the pool), the program is run on it (on the loop), and it is
 * put in its place or removed (on the pool). */
#include "common/base/alloc.h"
#include "common/base/buf.h"
#include "common/base/cleanup.h"
#include "handlers/artifact_wait.h"
#include "handlers/file_write_internal.h"
#include "handlers/program.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

struct validation {
    uv_work_t request;
    struct handler_run *run;
    struct artifact_wait wait; /* where the content is an artifact */
    struct file_source content;
    atomic_bool stop; /* the first part is not to go on */
    struct file_staged staged;
    struct process *process;
    bool is_staging; /* the first part is queued or under way */
    bool is_right, cancelled;
    enum error_code code;
    struct error err;
    struct handler_result result;
};

static void validation_finish(struct validation *v)
{
    struct handler_run *run = v->run;
    struct handler_result result = v->result;
    if (v->cancelled && result.outcome != HANDLER_OK)
        result.outcome = HANDLER_CANCELLED;
    file_staged_done(&v->staged);
    artifact_wait_done(&v->wait);
    run->state = NULL;
    mem_free(v);
    handler_finish(run, &result);
}

static void pool_run(struct validation *v, uv_work_cb work, uv_after_work_cb over)
{
    int rc = uv_queue_work(v->run->host->loop, &v->request, work, over);
    assert(rc == 0);
}

/* ---- At last: in its place, or away ------------------------------------------------------ */

static void put_work(uv_work_t *request)
{
    struct validation *v = request->data;
    if (!v->is_right)
        file_write_discard(&v->staged);
    else
        v->code = file_write_put(v->run, &v->staged, &v->err);
}

static void put_over(uv_work_t *request, int status)
{
    struct validation *v = request->data;
    if (status == UV_ECANCELED)
        result_fail(&v->result, true, "cancelled");
    else if (v->is_right && v->code == ERR_OK)
        file_write_tell(v->run, true, v->content.len, &v->result);
    else if (v->is_right)
        result_fail_error(&v->result, &v->err);
    validation_finish(v);
}

/* ---- In between: the program ------------------------------------------------------------- */

static void program_output(void *ctx, const char *data, size_t len)
{
    const struct validation *v = ctx;
    v->run->output(v->run, data, len);
}

static void program_exited(void *ctx, int64_t exit_code, int signal)
{
    struct validation *v = ctx;
    const struct file_write_params *params = v->run->params;
    char text[PROGRAM_END_MAX];
    v->process = NULL;
    v->is_right = signal == 0 && exit_code == 0 && !v->cancelled;
    if (!v->is_right) {
        program_end_text(exit_code, signal, text);
        result_fail(&v->result, false, "%s stays as it is: %s: %s", params->path,
                    *ARRAY_AT(&params->validate, char *, 0), text);
        v->result.has_exit_code = signal == 0;
        v->result.exit_code = exit_code;
    }
    pool_run(v, put_work, put_over);
}

/* An argument with each %s replaced. */
static char *argument_make(const char *text, const char *path, bool *ret_has_path)
{
    AUTO_BUF struct buf b = BUF_INIT;
    for (const char *at; (at = strstr(text, "%s")); text = at + 2) {
        buf_append(&b, text, (size_t)(at - text));
        buf_puts(&b, path);
        *ret_has_path = true;
    }
    buf_puts(&b, text);
    return buf_take(&b, NULL);
}

static void arguments_free(struct array *args)
{
    for (size_t i = 0; i < args->count; i++)
        mem_free(*ARRAY_AT(args, char *, i));
    mem_free(args->items);
}

static enum error_code arguments_make(const struct array *validate, const char *path,
                                      struct array *ret_args, struct error *err)
{
    bool has_path = false;
    ret_args->items = mem_array(validate->count, sizeof(char *));
    if (!ret_args->items)
        return error_set(err, ERR_NO_MEMORY, NULL);
    for (size_t i = 1; i <= validate->count; i++) {
        if (i == validate->count && has_path)
            break;
        char *text = i < validate->count
                         ? argument_make(*ARRAY_AT(validate, char *, i), path, &has_path)
                         : mem_strdup(path);
        if (!text)
            return error_set(err, ERR_NO_MEMORY, NULL);
        *ARRAY_AT(ret_args, char *, ret_args->count++) = text;
    }
    return ERR_OK;
}

static enum error_code program_run(struct validation *v, struct error *err)
{
    const struct file_write_params *params = v->run->params;
    char path[PATH_MAX + NAME_MAX + 2];
    struct array args = {0};
    const char *whole = v->staged.place.path;
    int folder_len = (int)(strrchr(whole, '/') - whole);
    (void)snprintf(path, sizeof(path), "%.*s/%s", folder_len, whole, v->staged.temp);
    enum error_code code = arguments_make(&params->validate, path, &args, err);
    if (code == ERR_OK) {
        const struct program what = {
            .path = *ARRAY_AT(&params->validate, char *, 0),
            .args = &args,
            .ctx = v,
            .output = program_output,
            .exited = program_exited,
        };
        code = program_start(v->run, &what, &v->process, err);
    }
    arguments_free(&args);
    return code;
}

/* ---- First: beside the old one ----------------------------------------------------------- */

static void stage_work(uv_work_t *request)
{
    struct validation *v = request->data;
    if (atomic_load(&v->stop))
        v->code = error_set(&v->err, ERR_CANCELLED, NULL);
    else if (v->code == ERR_OK)
        v->code = file_write_stage(v->run, &v->content, &v->staged, &v->err);
}

static void stage_over(uv_work_t *request, int status)
{
    struct validation *v = request->data;
    struct error err = {0};
    v->is_staging = false;
    if (status == UV_ECANCELED) {
        v->result.outcome = HANDLER_CANCELLED;
        validation_finish(v);
    } else if (v->code != ERR_OK || v->staged.same) {
        if (v->code != ERR_OK)
            result_fail_error(&v->result, &v->err);
        else
            file_write_tell(v->run, false, v->content.len, &v->result);
        validation_finish(v);
    } else if (v->cancelled) {
        result_fail(&v->result, true, "cancelled");
        pool_run(v, put_work, put_over);
    } else if (program_run(v, &err) != ERR_OK) {
        (void)error_wrap(&err, "validate");
        result_fail_error(&v->result, &err);
        pool_run(v, put_work, put_over);
    }
}

static void stage_start(struct validation *v)
{
    v->content = file_write_content(v->run->params, &v->wait.artifact, &v->stop);
    pool_run(v, stage_work, stage_over);
}

static void supplied(void *ctx, const struct error *err)
{
    struct validation *v = ctx;
    if (err) {
        v->err = *err;
        v->code = err->code;
    }
    stage_start(v);
}

void file_validate_start(struct handler_run *run)
{
    struct validation *v = MEM_NEW(struct validation);
    if (!v) {
        handler_fail(run, true, "out of memory");
        return;
    }
    v->run = run;
    v->staged = FILE_STAGED_INIT;
    v->request.data = v;
    v->is_staging = true;
    run->state = v;
    v->wait = ARTIFACT_WAIT_INIT;
    v->wait.run = run;
    v->wait.ctx = v;
    v->wait.over = supplied;
    const struct file_write_params *params = run->params;
    if (params->source)
        v->code = artifact_wait_start(&v->wait, params->source, 0, &v->err);
    if (!params->source || v->code != ERR_OK)
        stage_start(v);
}

void file_validate_cancel(struct handler_run *run)
{
    struct validation *v = run->state;
    const struct file_write_params *params = run->params;
    if (!v)
        return;
    v->cancelled = true;
    /* What runs on the pool is over soon; only the first part may be left out, or copies for
     * long. */
    if (v->process) {
        process_kill(v->process);
    } else if (v->is_staging) {
        atomic_store(&v->stop, params->source != NULL);
        if (artifact_wait_cancel(&v->wait))
            stage_start(v);
        else
            (void)uv_cancel((uv_req_t *)&v->request);
    }
}
