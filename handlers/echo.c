#include "handlers/builtin.h"

#include <string.h>

static void echo_execute(struct handler_run *run)
{
    const struct echo_params *params = run->params;
    run->output(run, params->message, strlen(params->message));
    run->output(run, "\n", 1);
    handler_succeed(run, false, "printed");
}

const struct handler echo_handler = {
    .type = &echo_type,
    .prepare = handler_nothing,
    .execute = echo_execute,
    .rollback = handler_nothing,
    .check = handler_changes_nothing,
};
