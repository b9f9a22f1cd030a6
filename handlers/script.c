#include "common/base/alloc.h"
#include "common/base/buf.h"
#include "common/base/cleanup.h"
#include "handlers/builtin.h"
#include "handlers/process.h"

#include <inttypes.h>
#include <signal.h>
#include <string.h>

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
    if (signal != 0) {
        const char *name = sigabbrev_np(signal);
        result_fail(r, true, "killed by signal %d (%s)", signal, name ? name : "?");
    } else {
        r->has_exit_code = true;
        r->exit_code = exit_code;
        if (exit_code == 0)
            result_succeed(r, true, "exit status 0");
        else
            result_fail(r, true, "exit status %" PRId64, exit_code);
    }
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

/* The texts of the environment, one after the other, each ended by a NUL. */
static enum error_code environment_write(const struct handler_run *run, struct buf *b,
                                         struct error *err)
{
    const char *phase = run->operation == HANDLER_ROLLBACK ? "rollback" : "execute";
    buf_printf(b, "KITSUNE_SERVER_ID=%s", run->host->server_id);
    buf_putc(b, '\0');
    buf_printf(b, "KITSUNE_ROLLOUT=%s", run->rollout);
    buf_putc(b, '\0');
    buf_printf(b, "KITSUNE_STEP=%s", run->step);
    buf_putc(b, '\0');
    buf_printf(b, "KITSUNE_ATTEMPT=%" PRId64, run->attempt);
    buf_putc(b, '\0');
    buf_printf(b, "KITSUNE_PHASE=%s", phase);
    buf_putc(b, '\0');
    return buf_check(b, err);
}

enum { ENVIRONMENT_COUNT = 5 };

static enum error_code program_start(struct script *s, const char *program, struct error *err)
{
    const struct handler_run *run = s->run;
    const struct script_params *params = run->params;
    char mark[HANDLER_MARK_MAX];
    AUTO_BUF struct buf texts = BUF_INIT;
    enum error_code code = environment_write(run, &texts, err);
    if (code != ERR_OK)
        return code;
    const char *env[ENVIRONMENT_COUNT + 1] = {NULL};
    const char *text = texts.data;
    for (size_t i = 0; i < ENVIRONMENT_COUNT; i++) {
        env[i] = text;
        text += strlen(text) + 1;
    }
    AUTO_FREE const char **args = mem_array(params->args.count + 1, sizeof(*args));
    if (!args)
        return error_set(err, ERR_NO_MEMORY, NULL);
    for (size_t i = 0; i < params->args.count; i++)
        args[i] = *ARRAY_AT(&params->args, char *, i);
    handler_mark(run->host->server_id, run->rollout, run->step, mark);
    const struct process_config config = {
        .loop = run->host->loop,
        .program = program,
        .args = args,
        .env = env,
        .mark = mark,
        .kill_grace_ms = run->host->kill_grace_ms,
        .ctx = s,
        .output = script_output,
        .exited = script_exited,
    };
    return process_start(&config, &s->process, err);
}

static void script_start(struct handler_run *run, const char *program)
{
    struct error err = {0};
    struct script *s = MEM_NEW(struct script);
    if (!s) {
        handler_fail(run, true, "out of memory");
        return;
    }
    s->run = run;
    run->state = s;
    if (program_start(s, program, &err) != ERR_OK) {
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
