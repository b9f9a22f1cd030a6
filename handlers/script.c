#include "common/base/alloc.h"
#include "handlers/builtin.h"
#include "handlers/program.h"

struct script {
    struct handler_run *run;
    struct process *process;
    bool cancelled;
};

static void script_output(void *ctx, const char *data, size_t len)
{
    const struct script *s = ctx;
    s->run->output(s->run, data, len);
}

static void script_result(const struct script *s, int64_t exit_code, int signal,
                          struct handler_result *r)
{
    char text[PROGRAM_END_MAX];
    program_end_text(exit_code, signal, text);
    r->has_exit_code = signal == 0;
    r->exit_code = exit_code;
    if (signal == 0 && exit_code == 0)
        result_succeed(r, true, "%s", text);
    else
        result_fail(r, true, "%s", text);
    if (s->cancelled)
        r->outcome = HANDLER_CANCELLED;
}

static void script_exited(void *ctx, int64_t exit_code, int signal)
{
    struct script *s = ctx;
    struct handler_run *run = s->run;
    struct handler_result result = {0};
    script_result(s, exit_code, signal, &result);
    run->state = NULL;
    mem_free(s);
    handler_finish(run, &result);
}

static void script_start(struct handler_run *run, const char *program)
{
    const struct script_params *params = run->params;
    struct error err = {0};
    struct script *s = MEM_NEW(struct script);
    if (!s) {
        handler_fail(run, true, "out of memory");
        return;
    }
    s->run = run;
    run->state = s;
    const struct program what = {
        .path = program,
        .args = &params->args,
        .ctx = s,
        .output = script_output,
        .exited = script_exited,
    };
    if (program_start(run, &what, &s->process, &err) != ERR_OK) {
        run->state = NULL;
        mem_free(s);
        handler_fail_error(run, &err);
    }
}

static void script_execute(struct handler_run *run)
{
    const struct script_params *params = run->params;
    script_start(run, params->script);
}

static void script_rollback(struct handler_run *run)
{
    const struct script_params *params = run->params;
    if (params->rollback_script)
        script_start(run, params->rollback_script);
    else
        handler_succeed(run, false, "nothing to undo with: the step has no rollback_script");
}

static void script_cancel(struct handler_run *run)
{
    struct script *s = run->state;
    if (!s)
        return;
    s->cancelled = true;
    process_kill(s->process);
}

const struct handler script_handler = {
    .type = &script_type,
    .prepare = handler_nothing,
    .execute = script_execute,
    .rollback = script_rollback,
    .cancel = script_cancel,
};
