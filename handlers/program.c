#include "handlers/program.h"

#include "common/base/alloc.h"
#include "common/base/buf.h"
#include "common/base/cleanup.h"
#include "handlers/account.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static void variable_write(struct buf *b, const char *name, const char *value)
{
    buf_printf(b, "%s=%s", name, value);
    buf_putc(b, '\0');
}

static bool is_given(const struct array *env, const char *name)
{
    size_t len = strlen(name);
    for (size_t i = 0; env && i < env->count; i++) {
        const char *text = *ARRAY_AT(env, char *, i);
        if (strncmp(text, name, len) == 0 && text[len] == '=')
            return true;
    }
    return false;
}

static void user_write(const struct program *program, struct buf *b)
{
    const struct account *user = program->setup ? program->setup->user : NULL;
    if (!user)
        return;
    const struct {
        const char *name, *value;
    } variables[] = {{"HOME", user->home},
                     {"USER", user->name},
                     {"LOGNAME", user->name},
                     {"SHELL", user->shell}};
    for (size_t i = 0; i < ARRAY_LEN(variables); i++) {
        if (!is_given(program->env, variables[i].name))
            variable_write(b, variables[i].name, variables[i].value);
    }
}

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
    variable_write(b, "KITSUNE_SERVER_ID", run->host->server_id);
    variable_write(b, "KITSUNE_ROLLOUT", run->rollout);
    variable_write(b, "KITSUNE_STEP", run->step);
    buf_printf(b, "KITSUNE_ATTEMPT=%" PRId64, run->attempt);
    buf_putc(b, '\0');
    if (run->operation == HANDLER_EXECUTE) {
        buf_printf(b, "KITSUNE_REBOOTS=%" PRId64, run->reboots);
        buf_putc(b, '\0');
    }
    variable_write(b, "KITSUNE_PHASE",
                   program->is_check ? phases[HANDLER_CHECK] : phases[run->operation]);
    if (program->output_path)
        variable_write(b, "KITSUNE_OUTPUT", program->output_path);
    user_write(program, b);
    return buf_check(b, err);
}

/* Those texts, and after them the program's own; caller frees the list alone. NULL: no memory. */
static const char **environment_list(const struct buf *texts, const struct array *more)
{
    size_t count = 0, more_count = more ? more->count : 0;
    for (size_t i = 0; i < texts->len; i++)
        count += texts->data[i] == '\0' ? 1 : 0;
    const char **list = mem_array(count + more_count + 1, sizeof(*list));
    if (!list)
        return NULL;
    const char *text = texts->data;
    for (size_t i = 0; i < count; i++, text += strlen(text) + 1)
        list[i] = text;
    for (size_t i = 0; i < more_count; i++)
        list[count + i] = *ARRAY_AT(more, char *, i);
    return list;
}

enum error_code program_start(const struct handler_run *run, const struct program *program,
                              struct process **ret_process, struct error *err)
{
    char mark[HANDLER_MARK_MAX];
    AUTO_BUF struct buf texts = BUF_INIT;
    enum error_code code = environment_write(run, program, &texts, err);
    if (code != ERR_OK)
        return code;
    AUTO_FREE const char **env = environment_list(&texts, program->env);
    AUTO_FREE const char **args = mem_array(program->args->count + 1, sizeof(*args));
    if (!env || !args)
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
        .cwd = program->cwd,
        .setup = program->setup,
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
