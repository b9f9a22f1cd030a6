/* pause, resume, cancel, rollback, resolve. */
#include "common/base/cleanup.h"
#include "common/base/text.h"
#include "common/plan/states.h"
#include "orchestrator/api/api_doc.h"
#include "orchestrator/cli/commands.h"

#include <string.h>

/* ---- Asking ------------------------------------------------------------------------------------
 */

/* Who asks, and what for: texts of an order's document. False: after a message. */
static bool order_texts(struct cli *cli, char **ret_by, char **ret_reason)
{
    AUTO_BUF struct buf by = BUF_INIT;
    struct error err = {0};
    const char *reason = cli->options.texts[OPT_REASON];
    enum error_code code = cli_by(cli, &by, &err);
    if (code == ERR_OK) {
        *ret_by = buf_take(&by, NULL);
        *ret_reason = reason ? mem_strdup(reason) : NULL;
        if (!*ret_by || (reason && !*ret_reason))
            code = error_set(&err, ERR_NO_MEMORY, NULL);
    }
    if (code != ERR_OK)
        (void)cli_fail(cli, &err);
    return code == ERR_OK;
}

/* Posts an order to the rollout that is named; `tail` is its path. */
static int post(struct cli *cli, const char *tail, const struct buf *body, struct answer *ret)
{
    AUTO_BUF struct buf path = BUF_INIT;
    struct error err = {0};
    buf_puts(&path, "/v1/rollouts/");
    url_put(&path, cli->options.args[0]);
    buf_puts(&path, tail);
    if (buf_check(&path, &err) != ERR_OK || buf_check(body, &err) != ERR_OK)
        return cli_fail(cli, &err);
    struct request request = {
        .method = "POST", .path = path.data, .body = body->data, .len = body->len};
    return cli_call(cli, &request, ret);
}

/* "rollout ID: WHAT; it is STATE", or the answer as it is. */
static int report(struct cli *cli, const struct answer *answer, const struct api_rollout *rollout,
                  const char *what)
{
    AUTO_BUF struct buf b = BUF_INIT;
    bool ok = false;
    if (cli->options.json && option_given(&cli->options, OPT_WATCH)) {
        ok = cli_write_json_line(cli, answer->body.data, answer->body.len);
    } else if (cli->options.json) {
        ok = cli_write_json(cli, answer->body.data, answer->body.len);
    } else {
        buf_puts(&b, "rollout ");
        render_text(&b, rollout->id);
        buf_puts(&b, ": ");
        render_text(&b, what);
        buf_puts(&b, "; it is ");
        render_ink(&b, &cli->style, rollout_ink((enum rollout_state)rollout->state),
                   rollout_state_names[rollout->state]);
        buf_putc(&b, '\n');
        ok = cli_write(cli, &b);
    }
    return ok ? CLI_OK : CLI_USAGE;
}

/* An order with nothing to follow. */
static int order(struct cli *cli, const char *tail, const struct buf *body, const char *what)
{
    AUTO_ANSWER struct answer answer = {0};
    struct api_rollout rollout = {0};
    int status = post(cli, tail, body, &answer);
    if (status != CLI_OK)
        return status;
    status = cli_decode(cli, &answer, &api_rollout_table, &rollout);
    if (status == CLI_OK)
        status = report(cli, &answer, &rollout, what);
    json_release(&api_rollout_table, &rollout);
    return status;
}

/* ---- pause, resume, cancel ---------------------------------------------------------------------
 */

static int order_request(struct cli *cli, const char *tail, const char *what)
{
    AUTO_BUF struct buf body = BUF_INIT;
    struct api_request request = {0};
    int status = CLI_USAGE;
    if (order_texts(cli, &request.by, &request.reason)) {
        json_encode(&body, &api_request_table, &request);
        status = order(cli, tail, &body, what);
    }
    json_release(&api_request_table, &request);
    return status;
}

int cmd_pause(struct cli *cli)
{
    return order_request(cli, "/pause", "pause requested");
}

int cmd_resume(struct cli *cli)
{
    return order_request(cli, "/resume", "resume requested");
}

int cmd_cancel(struct cli *cli)
{
    AUTO_BUF struct buf body = BUF_INIT;
    struct api_cancel cancel = {.now = option_given(&cli->options, OPT_NOW),
                                .rollback = option_given(&cli->options, OPT_ROLLBACK)};
    int status = CLI_USAGE;
    if (order_texts(cli, &cancel.by, &cancel.reason)) {
        json_encode(&body, &api_cancel_table, &cancel);
        status = order(cli, "/cancel", &body, "cancel requested");
    }
    json_release(&api_cancel_table, &cancel);
    return status;
}

/* ---- rollback ----------------------------------------------------------------------------------
 */

static bool put_servers(struct cli *cli, struct api_rollback *rollback)
{
    const struct options *o = &cli->options;
    char **names = mem_array(o->server_count, sizeof(*names));
    rollback->servers = (struct array){.items = names};
    for (size_t i = 0; names && i < o->server_count; i++) {
        names[i] = mem_strdup(o->servers[i]);
        if (!names[i])
            break;
        rollback->servers.count++;
    }
    if (rollback->servers.count == o->server_count && names)
        return true;
    cli_say(cli, "out of memory");
    return false;
}

/* Whether the server is undone; else says what it is. CLI_OK, CLI_ROLLBACK_FAILED, or what went
 * wrong. */
static int check_undone(struct cli *cli, const char *id, const char *server)
{
    AUTO_BUF struct buf path = BUF_INIT;
    struct error err = {0};
    struct api_rollout rollout = {0};
    buf_puts(&path, "/v1/rollouts/");
    url_put(&path, id);
    buf_puts(&path, "?limit=1&server=");
    url_put(&path, server);
    if (buf_check(&path, &err) != ERR_OK)
        return cli_fail(cli, &err);
    int status = cli_get_table(cli, path.data, &api_rollout_table, &rollout);
    const struct api_execution *e = status == CLI_OK && rollout.executions.count > 0
                                        ? ARRAY_AT(&rollout.executions, struct api_execution, 0)
                                        : NULL;
    if (status == CLI_OK && (!e || e->state != EXECUTION_ROLLED_BACK)) {
        cli_say(cli, "server %s is %s%s%s", server,
                e ? execution_state_names[e->state] : "not in the rollout",
                e && e->message ? ": " : "", e && e->message ? e->message : "");
        status = CLI_ROLLBACK_FAILED;
    }
    json_release(&api_rollout_table, &rollout);
    return status;
}

/* Follows the rollout to its end. The exit status tells whether what was asked for was done, not
 * what became of the rollout. */
static int watch_rollback(struct cli *cli, const char *id)
{
    const struct options *o = &cli->options;
    int status = watch_rollout(cli, id);
    bool ended = status == CLI_OK || status == CLI_FAILED || status == CLI_ROLLED_BACK ||
                 status == CLI_ROLLBACK_FAILED;
    if (!ended)
        return status;
    /* One that is cancelled had nothing to undo. */
    if (o->server_count == 0)
        return status == CLI_ROLLED_BACK || status == CLI_FAILED ? CLI_OK : CLI_ROLLBACK_FAILED;
    status = CLI_OK;
    for (size_t i = 0; i < o->server_count; i++) {
        int undone = check_undone(cli, id, o->servers[i]);
        if (undone != CLI_OK && undone != CLI_ROLLBACK_FAILED)
            return undone;
        status = undone == CLI_OK ? status : undone;
    }
    return status;
}

static int rollback(struct cli *cli, const struct buf *body)
{
    AUTO_ANSWER struct answer answer = {0};
    struct api_rollout rollout = {0};
    int status = post(cli, "/rollback", body, &answer);
    if (status != CLI_OK)
        return status;
    status = cli_decode(cli, &answer, &api_rollout_table, &rollout);
    if (status == CLI_OK)
        status = report(cli, &answer, &rollout, "rollback requested");
    if (status == CLI_OK && option_given(&cli->options, OPT_WATCH))
        status = watch_rollback(cli, rollout.id);
    json_release(&api_rollout_table, &rollout);
    return status;
}

int cmd_rollback(struct cli *cli)
{
    AUTO_BUF struct buf body = BUF_INIT;
    struct api_rollback order = {.now = option_given(&cli->options, OPT_NOW),
                                 .force = option_given(&cli->options, OPT_FORCE)};
    int status = CLI_USAGE;
    if (order.force && cli->options.server_count == 0)
        cli_say(cli, "rollback: --force is for single servers: name them with --server");
    else if (put_servers(cli, &order) && order_texts(cli, &order.by, &order.reason)) {
        json_encode(&body, &api_rollback_table, &order);
        status = rollback(cli, &body);
    }
    json_release(&api_rollback_table, &order);
    return status;
}

/* ---- resolve -----------------------------------------------------------------------------------
 */

static bool read_state(struct cli *cli, int *ret_state)
{
    static const char *const names[] = {"succeeded", "failed", "rolled_back"};
    const char *given = cli->options.texts[OPT_AS];
    if (given && cli_enum_find(names, ARRAY_LEN(names), given) >= 0) {
        *ret_state = cli_enum_find(execution_state_names, EXECUTION_STATE_COUNT, given);
        return true;
    }
    const char *closest = given ? text_closest(given, names, ARRAY_LEN(names)) : NULL;
    if (!given)
        cli_say(cli, "resolve: --as is missing: succeeded, failed or rolled_back");
    else if (closest)
        cli_say(cli, "--as: \"%s\" is no state to settle on (did you mean \"%s\"?)", given,
                closest);
    else
        cli_say(cli, "--as: \"%s\" is no state to settle on: succeeded, failed or rolled_back",
                given);
    return false;
}

int cmd_resolve(struct cli *cli)
{
    AUTO_BUF struct buf body = BUF_INIT;
    AUTO_BUF struct buf tail = BUF_INIT;
    AUTO_BUF struct buf what = BUF_INIT;
    struct error err = {0};
    struct api_resolve resolve = {0};
    const char *server = cli->options.args[1];
    int status = CLI_USAGE;
    if (!read_state(cli, &resolve.as))
        return status;
    if (!option_given(&cli->options, OPT_REASON)) {
        cli_say(cli, "resolve: --reason is missing: how the server was settled, for the record");
        return status;
    }
    buf_puts(&tail, "/servers/");
    url_put(&tail, server);
    buf_puts(&tail, "/resolve");
    buf_printf(&what, "%s is settled as %s", server, execution_state_names[resolve.as]);
    if (buf_check(&tail, &err) != ERR_OK || buf_check(&what, &err) != ERR_OK)
        return cli_fail(cli, &err);
    if (order_texts(cli, &resolve.by, &resolve.reason)) {
        json_encode(&body, &api_resolve_table, &resolve);
        status = order(cli, tail.data, &body, what.data);
    }
    json_release(&api_resolve_table, &resolve);
    return status;
}
