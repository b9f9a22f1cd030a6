/* pause, resume, cancel. */
#include "common/base/cleanup.h"
#include "common/plan/states.h"
#include "orchestrator/api/api_doc.h"
#include "orchestrator/cli/commands.h"

#include <string.h>

/* Posts what is asked for and prints the rollout as it is then. */
static int post(struct cli *cli, const char *action, const struct buf *body)
{
    AUTO_BUF struct buf path = BUF_INIT;
    AUTO_BUF struct buf b = BUF_INIT;
    AUTO_ANSWER struct answer answer = {0};
    struct error err = {0};
    struct api_rollout rollout = {0};
    buf_puts(&path, "/v1/rollouts/");
    url_put(&path, cli->options.args[0]);
    buf_printf(&path, "/%s", action);
    if (buf_check(&path, &err) != ERR_OK || buf_check(body, &err) != ERR_OK)
        return cli_fail(cli, &err);
    struct request request = {
        .method = "POST", .path = path.data, .body = body->data, .len = body->len};
    int status = cli_call(cli, &request, &answer);
    if (status != CLI_OK)
        return status;
    if (cli->options.json)
        return cli_write_json(cli, answer.body.data, answer.body.len) ? CLI_OK : CLI_USAGE;
    status = cli_decode(cli, &answer, &api_rollout_table, &rollout);
    if (status == CLI_OK) {
        buf_puts(&b, "rollout ");
        render_text(&b, rollout.id);
        buf_printf(&b, ": %s requested; it is ", action);
        render_ink(&b, &cli->style, rollout_ink((enum rollout_state)rollout.state),
                   rollout_state_names[rollout.state]);
        buf_putc(&b, '\n');
        status = cli_write(cli, &b) ? CLI_OK : CLI_USAGE;
    }
    json_release(&api_rollout_table, &rollout);
    return status;
}

static int post_request(struct cli *cli, const char *action)
{
    AUTO_BUF struct buf by = BUF_INIT;
    AUTO_BUF struct buf body = BUF_INIT;
    AUTO_FREE char *reason = NULL;
    struct error err = {0};
    const char *given = cli->options.texts[OPT_REASON];
    if (cli_by(cli, &by, &err) != ERR_OK)
        return cli_fail(cli, &err);
    if (given && !(reason = mem_strdup(given))) {
        error_ignore(error_set(&err, ERR_NO_MEMORY, NULL));
        return cli_fail(cli, &err);
    }
    struct api_request request = {.by = by.data, .reason = reason};
    json_encode(&body, &api_request_table, &request);
    return post(cli, action, &body);
}

int cmd_pause(struct cli *cli)
{
    return post_request(cli, "pause");
}

int cmd_resume(struct cli *cli)
{
    return post_request(cli, "resume");
}

int cmd_cancel(struct cli *cli)
{
    AUTO_BUF struct buf by = BUF_INIT;
    AUTO_BUF struct buf body = BUF_INIT;
    AUTO_FREE char *reason = NULL;
    struct error err = {0};
    const char *given = cli->options.texts[OPT_REASON];
    if (cli_by(cli, &by, &err) != ERR_OK)
        return cli_fail(cli, &err);
    if (given && !(reason = mem_strdup(given))) {
        error_ignore(error_set(&err, ERR_NO_MEMORY, NULL));
        return cli_fail(cli, &err);
    }
    struct api_cancel cancel = {.now = option_given(&cli->options, OPT_NOW),
                                .rollback = option_given(&cli->options, OPT_ROLLBACK),
                                .by = by.data,
                                .reason = reason};
    json_encode(&body, &api_cancel_table, &cancel);
    return post(cli, "cancel", &body);
}
