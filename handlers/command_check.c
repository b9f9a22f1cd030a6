#include "common/base/alloc.h"
#include "handlers/builtin.h"
#include "handlers/gate.h"
#include "handlers/program.h"

struct command_check {
    struct gate gate; /* first */
    struct process *process;
};

static struct command_check *command_of(struct gate *g)
{
    return (struct command_check *)(void *)g;
}

static void command_output(void *ctx, const char *data, size_t len)
{
    const struct command_check *c = ctx;
    c->gate.run->output(c->gate.run, data, len);
}

static void command_exited(void *ctx, int64_t exit_code, int signal)
{
    struct command_check *c = ctx;
    char text[PROGRAM_END_MAX];
    program_end_text(exit_code, signal, text);
    c->process = NULL;
    gate_probed(&c->gate, signal == 0 && exit_code == 0, "%s", text);
}

static void command_probe(struct gate *g)
{
    struct command_check *c = command_of(g);
    const struct command_check_params *params = g->run->params;
    struct error err = {0};
    const struct program what = {
        .path = params->command,
        .args = &params->args,
        .ctx = c,
        .output = command_output,
        .exited = command_exited,
    };
    if (program_start(g->run, &what, &c->process, &err) != ERR_OK)
        gate_broken(g, &err);
}

static void command_stop(struct gate *g)
{
    process_kill(command_of(g)->process);
}

static void command_free(struct gate *g)
{
    mem_free(command_of(g));
}

static void command_execute(struct handler_run *run)
{
    static const struct gate_prober prober = {command_probe, command_stop, command_free};
    const struct command_check_params *params = run->params;
    struct command_check *c = MEM_NEW(struct command_check);
    if (c)
        gate_start(&c->gate, &prober, &params->gate, run);
    else
        handler_fail(run, true, "out of memory");
}

static void command_check(struct handler_run *run)
{
    gate_check(run, command_execute);
}

static void command_cancel(struct handler_run *run)
{
    gate_cancel(run->state);
}

const struct handler command_check_handler = {
    .type = &command_check_type,
    .prepare = handler_nothing,
    .execute = command_execute,
    .rollback = handler_nothing,
    .check = command_check,
    .cancel = command_cancel,
};
