/* validate. */
#include "common/base/cleanup.h"
#include "orchestrator/api/api_doc.h"
#include "orchestrator/cli/commands.h"
#include "orchestrator/cli/plan_file.h"

#include <string.h>

enum { STATUS_INVALID = 422 };

/* The document that the API would give for the faults. The texts stay the file's. */
static bool write_problem(struct cli *cli, const struct plan_file *file)
{
    AUTO_BUF struct buf b = BUF_INIT;
    const struct problems *ps = &file->problems;
    AUTO_FREE struct api_plan_error *errors = mem_array(ps->count, sizeof(*errors));
    char type[] = "urn:kitsune:problem:invalid-plan";
    char title[] = "The plan is not valid";
    struct api_problem problem = {.type = type, .title = title, .status = STATUS_INVALID};
    if (!errors) {
        b.failed = ERR_NO_MEMORY;
        return cli_write(cli, &b);
    }
    for (size_t i = 0; i < ps->count; i++)
        errors[i] =
            (struct api_plan_error){.path = ps->items[i].path, .message = ps->items[i].message};
    problem.errors = (struct array){.items = errors, .count = ps->count};
    return cli_write_table(cli, &api_problem_table, &problem);
}

static bool write_valid(struct cli *cli, const struct plan_file *file)
{
    AUTO_BUF struct buf b = BUF_INIT;
    const struct plan *plan = file->plan;
    const char *strategy = plan_strategy_name((enum plan_strategy_type)plan->strategy.type);
    AUTO_FREE char *strategy_copy = mem_strdup(strategy);
    struct api_validation doc = {.valid = true,
                                 .name = plan->name,
                                 .strategy = strategy_copy,
                                 .servers = plan_server_count(plan),
                                 .steps = plan_step_count(plan),
                                 .batches = plan_batches(plan)};
    if (cli->options.json)
        return cli_write_table(cli, &api_validation_table, &doc);
    render_text(&b, file->name);
    buf_printf(&b, ": valid: %s, %lld server%s, %lld step%s, %lld batch%s\n", strategy,
               (long long)doc.servers, doc.servers == 1 ? "" : "s", (long long)doc.steps,
               doc.steps == 1 ? "" : "s", (long long)doc.batches, doc.batches == 1 ? "" : "es");
    return cli_write(cli, &b);
}

int cmd_validate(struct cli *cli)
{
    AUTO_PLAN_FILE struct plan_file file = {0};
    int status = plan_file_read(cli, cli->options.args[0], &file);
    if (status != CLI_OK)
        return status;
    if (file.plan)
        return write_valid(cli, &file) ? CLI_OK : CLI_USAGE;
    if (cli->options.json)
        (void)write_problem(cli, &file);
    else
        plan_file_say_faults(cli, &file);
    return CLI_USAGE;
}
