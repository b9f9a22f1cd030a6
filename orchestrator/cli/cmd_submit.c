/* submit and retry: new rollouts. */
#include "common/base/cleanup.h"
#include "common/base/id.h"
#include "handlers/catalog.h"
#include "orchestrator/api/api_doc.h"
#include "orchestrator/cli/commands.h"
#include "orchestrator/cli/plan_file.h"

#include <string.h>

enum { STATUS_OK = 200 };

/* Adds who asks for which id, and how. */
static enum error_code put_query(const struct cli *cli, const char *id, struct buf *path,
                                 struct error *err)
{
    AUTO_BUF struct buf by = BUF_INIT;
    enum error_code code = cli_by(cli, &by, err);
    if (code != ERR_OK)
        return code;
    buf_puts(path, "?id=");
    url_put(path, id);
    buf_puts(path, "&by=");
    url_put(path, by.data);
    if (option_given(&cli->options, OPT_NO_WAIT))
        buf_puts(path, "&wait=false");
    if (option_given(&cli->options, OPT_CHECK))
        buf_puts(path, "&check=true");
    return buf_check(path, err);
}

/* The id that a person chose, or a fresh one: with an id, a submission whose answer was lost is
 * repeated without a second rollout. */
static enum error_code pick_id(const struct cli *cli, char ret_id[ID_BUFFER], struct error *err)
{
    const char *given = cli->options.texts[OPT_ID];
    char fresh[ID_RANDOM_LEN + 1];
    if (given && !id_valid(given))
        return error_set(err, ERR_INVALID,
                         "--id: \"%.64s\" is not an id: 1 to %d letters, digits, \".\", \"_\" and "
                         "\"-\", the first one a letter or digit",
                         given, ID_MAX);
    enum error_code code = given ? ERR_OK : id_random(fresh, err);
    if (code == ERR_OK)
        memcpy(ret_id, given ? given : fresh, strlen(given ? given : fresh) + 1);
    return code;
}

static int post_new(struct cli *cli, const char *path, const struct buf *body, const char *id,
                    struct answer *ret_answer)
{
    struct error err = {0};
    int status = CLI_OK;
    struct client *client = cli_client(cli, &status);
    struct request request = {
        .method = "POST", .path = path, .body = body->data, .len = body->len, .repeatable = true};
    if (!client)
        return status;
    enum error_code code = client_call(client, &request, ret_answer, &err);
    if (code == ERR_UNAVAILABLE)
        return cli_unreachable(cli, err.message);
    if (code == ERR_DENIED)
        return cli_distrusted(cli, err.message);
    if (code == ERR_IO || code == ERR_TIMEOUT) {
        cli_say(cli,
                "the connection to the orchestrator at %s failed: %s; whether the rollout was "
                "taken on is not known: %s again with --id %s, which starts nothing twice",
                client_url(client), err.message, cli->options.command->name, id);
        return CLI_UNREACHABLE;
    }
    if (code != ERR_OK)
        return cli_fail(cli, &err);
    return ret_answer->status >= API_REFUSED ? cli_refused(cli, ret_answer) : CLI_OK;
}

static int report_submitted(struct cli *cli, const struct answer *answer, const char *id)
{
    AUTO_BUF struct buf b = BUF_INIT;
    bool watch = option_given(&cli->options, OPT_WATCH);
    if (answer->status == STATUS_OK)
        cli_say(cli, "rollout %s was submitted before; nothing new was started", id);
    if (cli->options.json) {
        bool ok = watch ? cli_write_json_line(cli, answer->body.data, answer->body.len)
                        : cli_write_json(cli, answer->body.data, answer->body.len);
        return ok ? CLI_OK : CLI_USAGE;
    }
    buf_printf(&b, "%s\n", id);
    if (!cli_write(cli, &b))
        return CLI_USAGE;
    if (!watch && cli->io->terminal)
        cli_say(cli, "submitted; \"kitsune watch %s\" follows it", id);
    return CLI_OK;
}

/* Asks for a rollout at `path`, and follows it when that is wanted. */
static int start(struct cli *cli, struct buf *path, const struct buf *body)
{
    AUTO_ANSWER struct answer answer = {0};
    struct error err = {0};
    struct api_rollout rollout = {0};
    char id[ID_BUFFER];
    if (pick_id(cli, id, &err) != ERR_OK || put_query(cli, id, path, &err) != ERR_OK)
        return cli_fail(cli, &err);
    int status = post_new(cli, path->data, body, id, &answer);
    if (status != CLI_OK)
        return status;
    status = cli_decode(cli, &answer, &api_rollout_table, &rollout);
    json_release(&api_rollout_table, &rollout);
    if (status == CLI_OK)
        status = report_submitted(cli, &answer, id);
    if (status == CLI_OK && option_given(&cli->options, OPT_WATCH))
        status = watch_rollout(cli, id);
    return status;
}

/* With --require-undo: CLI_OK when rolling back undoes all that the steps change; else names those
 * that stay. */
static int check_undo(struct cli *cli, const struct plan_file *file)
{
    struct error err = {0};
    uint32_t lasting = 0;
    for (uint32_t i = 0; i < plan_step_count(file->plan); i++) {
        const struct plan_step *step = plan_step(file->plan, i);
        enum step_undo undo = STEP_UNDO_NO;
        const char *lacks = NULL;
        if (step_undo_find(&handler_catalog, step, &undo, &lacks, &err) != ERR_OK)
            return cli_fail(cli, &err);
        if (undo != STEP_UNDO_NO)
            continue;
        cli_say(cli, "%s: steps[%u] (%s) cannot be undone: %s", file->name, i, step->name, lacks);
        lasting++;
    }
    if (lasting == 0)
        return CLI_OK;
    cli_say(cli, "%s: not submitted: --require-undo, and %u step%s cannot be undone", file->name,
            lasting, lasting == 1 ? "" : "s");
    return CLI_USAGE;
}

int cmd_submit(struct cli *cli)
{
    AUTO_PLAN_FILE struct plan_file file = {0};
    AUTO_BUF struct buf path = BUF_INIT;
    int status = plan_file_read_good(cli, cli->options.args[0], &file);
    if (status == CLI_OK && option_given(&cli->options, OPT_REQUIRE_UNDO))
        status = check_undo(cli, &file);
    buf_puts(&path, "/v1/rollouts");
    return status == CLI_OK ? start(cli, &path, &file.text) : status;
}

int cmd_retry(struct cli *cli)
{
    AUTO_BUF struct buf path = BUF_INIT;
    AUTO_BUF struct buf nothing = BUF_INIT;
    buf_puts(&path, "/v1/rollouts/");
    url_put(&path, cli->options.args[0]);
    buf_puts(&path, "/retry");
    return start(cli, &path, &nothing);
}
