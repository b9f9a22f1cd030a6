#include "common/base/alloc.h"
#include "common/base/buf.h"
#include "common/base/text.h"
#include "handlers/builtin.h"
#include "handlers/program.h"

#include <string.h>

enum { COMMAND_SHOWN_MAX = 400 }; /* bytes of a command line in a message */

struct script {
    struct handler_run *run;
    struct process *process;
    bool checking; /* check_script runs */
    bool cancelled;
};

static void script_start(struct script *s, const char *program);

/* ---- Ends -------------------------------------------------------------------------------- */

static void script_finish(struct script *s, struct handler_result *result)
{
    struct handler_run *run = s->run;
    if (s->cancelled)
        result->outcome = HANDLER_CANCELLED;
    run->state = NULL;
    mem_free(s);
    handler_finish(run, result);
}

/* As a person would type it, so that what is one argument is seen to be one. */
static void put_word(struct buf *b, const char *word)
{
    static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
                                "%+,-./:=@_";
    if (word[0] != '\0' && word[strspn(word, plain)] == '\0') {
        buf_puts(b, word);
        return;
    }
    buf_putc(b, '\'');
    for (; *word; word++) {
        if (*word == '\'')
            buf_puts(b, "'\\''");
        else
            buf_putc(b, *word);
    }
    buf_putc(b, '\'');
}

static void command_write(const struct script_params *params, struct buf *b)
{
    put_word(b, params->script);
    for (size_t i = 0; i < params->args.count; i++) {
        buf_putc(b, ' ');
        put_word(b, *ARRAY_AT(&params->args, char *, i));
    }
}

/* That the script would run. The whole command is printed where the message has no room for it. */
static void would_run(struct script *s, const char *why)
{
    AUTO_BUF struct buf command = BUF_INIT;
    struct handler_result result = {0};
    command_write(s->run->params, &command);
    if (buf_check(&command, NULL) != ERR_OK) {
        result_fail(&result, true, "out of memory");
    } else {
        size_t len = text_utf8_cut(command.data, command.len, COMMAND_SHOWN_MAX);
        bool cut = len < command.len;
        result_succeed(&result, true, "would run: %.*s%s%s", (int)len, command.data,
                       cut ? "..." : "", why);
        buf_putc(&command, '\n');
        if (cut && buf_check(&command, NULL) == ERR_OK)
            s->run->output(s->run, command.data, command.len);
    }
    script_finish(s, &result);
}

/* check_script has ended. */
static void checked(struct script *s, int64_t exit_code, int signal)
{
    const struct script_params *params = s->run->params;
    char text[PROGRAM_END_MAX];
    struct handler_result result = {.has_exit_code = signal == 0, .exit_code = exit_code};
    program_end_text(exit_code, signal, text);
    s->checking = false;
    if (signal != 0 || s->cancelled) {
        result_fail(&result, true, "check_script: %s", text);
        script_finish(s, &result);
    } else if (exit_code == 0) {
        result_succeed(&result, false, "nothing to do: check_script: %s", text);
        script_finish(s, &result);
    } else if (s->run->operation == HANDLER_CHECK) {
        would_run(s, "");
    } else {
        script_start(s, params->script);
    }
}

static void ended(struct script *s, int64_t exit_code, int signal)
{
    char text[PROGRAM_END_MAX];
    struct handler_result result = {.has_exit_code = signal == 0, .exit_code = exit_code};
    program_end_text(exit_code, signal, text);
    if (signal == 0 && exit_code == 0)
        result_succeed(&result, true, "%s", text);
    else
        result_fail(&result, true, "%s", text);
    script_finish(s, &result);
}

/* ---- Programs ---------------------------------------------------------------------------- */

static void script_output(void *ctx, const char *data, size_t len)
{
    const struct script *s = ctx;
    s->run->output(s->run, data, len);
}

static void script_exited(void *ctx, int64_t exit_code, int signal)
{
    struct script *s = ctx;
    s->process = NULL;
    if (s->checking)
        checked(s, exit_code, signal);
    else
        ended(s, exit_code, signal);
}

static void script_start(struct script *s, const char *program)
{
    const struct script_params *params = s->run->params;
    struct error err = {0};
    const struct program what = {
        .path = program,
        .args = &params->args,
        .is_check = s->checking,
        .ctx = s,
        .output = script_output,
        .exited = script_exited,
    };
    if (program_start(s->run, &what, &s->process, &err) == ERR_OK)
        return;
    struct handler_result result = {0};
    if (s->checking)
        (void)error_wrap(&err, "check_script");
    result_fail_error(&result, &err);
    script_finish(s, &result);
}

/* ---- The operations ---------------------------------------------------------------------- */

/* NULL: memory is out, and the run is over. */
static struct script *script_new(struct handler_run *run)
{
    struct script *s = MEM_NEW(struct script);
    if (!s) {
        handler_fail(run, true, "out of memory");
        return NULL;
    }
    s->run = run;
    run->state = s;
    return s;
}

static void script_execute(struct handler_run *run)
{
    const struct script_params *params = run->params;
    struct script *s = script_new(run);
    if (!s)
        return;
    s->checking = params->check_script != NULL;
    script_start(s, s->checking ? params->check_script : params->script);
}

static void script_rollback(struct handler_run *run)
{
    const struct script_params *params = run->params;
    if (!params->rollback_script) {
        handler_succeed(run, false, "nothing to undo with: the step has no rollback_script");
        return;
    }
    struct script *s = script_new(run);
    if (s)
        script_start(s, params->rollback_script);
}

static void script_check(struct handler_run *run)
{
    const struct script_params *params = run->params;
    struct script *s = script_new(run);
    if (!s)
        return;
    s->checking = params->check_script != NULL;
    if (s->checking)
        script_start(s, params->check_script);
    else
        would_run(s, " (what it changes is not known: no check_script)");
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
    .check = script_check,
    .cancel = script_cancel,
};
