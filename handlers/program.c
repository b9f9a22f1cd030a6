#include "handlers/program.h"

#include "common/base/alloc.h"
#include "common/base/buf.h"
#include "common/base/cleanup.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { ENVIRONMENT_COUNT = 5 };

/* The texts of the environment, one after the other, each ended by a NUL. */
static enum error_code environment_write(const struct handler_run *run,
                                         const struct program *program, struct buf *b,
                                         struct error *err)
{
    static const char *const phases[] = {
        [HANDLER_PREPARE] = "prepare",
        [HANDLER_EXECUTE] = "execute",
        [HANDLER_ROLLBACK] = "rollback",
        [HANDLER_CHECK] = "check",
    };
    buf_printf(b, "KITSUNE_SERVER_ID=%s", run->host->server_id);
    buf_putc(b, '\0');
    buf_printf(b, "KITSUNE_ROLLOUT=%s", run->rollout);
    buf_putc(b, '\0');
    buf_printf(b, "KITSUNE_STEP=%s", run->step);
    buf_putc(b, '\0');
    buf_printf(b, "KITSUNE_ATTEMPT=%" PRId64, run->attempt);
    buf_putc(b, '\0');
    buf_printf(b, "KITSUNE_PHASE=%s",
               program->is_check ? phases[HANDLER_CHECK] : phases[run->operation]);
    buf_putc(b, '\0');
    return buf_check(b, err);
}

enum error_code program_start(const struct handler_run *run, const struct program *program,
                              struct process **ret_process, struct error *err)
{
    char mark[HANDLER_MARK_MAX];
    AUTO_BUF struct buf texts = BUF_INIT;
    enum error_code code = environment_write(run, program, &texts, err);
    if (code != ERR_OK)
        return code;
    const char *env[ENVIRONMENT_COUNT + 1] = {NULL};
    const char *text = texts.data;
    for (size_t i = 0; i < ENVIRONMENT_COUNT; i++) {
        env[i] = text;
        text += strlen(text) + 1;
    }
    AUTO_FREE const char **args = mem_array(program->args->count + 1, sizeof(*args));
    if (!args)
        return error_set(err, ERR_NO_MEMORY, NULL);
    for (size_t i = 0; i < program->args->count; i++)
        args[i] = *ARRAY_AT(program->args, char *, i);
    handler_mark(run->host->server_id, run->rollout, run->step, mark);
    const struct process_config config = {
        .loop = run->host->loop,
        .program = program->path,
        .args = args,
        .env = env,
        .mark = mark,
        .kill_grace_ms = run->host->kill_grace_ms,
        .ctx = program->ctx,
        .output = program->output,
        .exited = program->exited,
    };
    return process_start(&config, ret_process, err);
}

void program_end_text(int64_t exit_code, int signal, char ret_text[PROGRAM_END_MAX])
{
    const char *name = signal != 0 ? sigabbrev_np(signal) : NULL;
    if (signal != 0)
        (void)snprintf(ret_text, PROGRAM_END_MAX, "killed by signal %d (%s)", signal,
                       name ? name : "?");
    else
        (void)snprintf(ret_text, PROGRAM_END_MAX, "exit status %" PRId64, exit_code);
}
