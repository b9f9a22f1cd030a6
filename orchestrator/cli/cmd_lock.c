/* lock and unlock. */
#include "common/base/cleanup.h"
#include "orchestrator/api/api_doc.h"
#include "orchestrator/cli/commands.h"

static int report(struct cli *cli, const struct answer *answer)
{
    AUTO_BUF struct buf b = BUF_INIT;
    struct api_server server = {0};
    if (cli->options.json)
        return cli_write_json(cli, answer->body.data, answer->body.len) ? CLI_OK : CLI_USAGE;
    int status = cli_decode(cli, answer, &api_server_table, &server);
    if (status == CLI_OK) {
        bool locked = server.has_lock && server.lock.locked;
        buf_puts(&b, "server ");
        render_text(&b, server.id);
        buf_puts(&b, locked ? " is locked: nothing new begins there" : " is unlocked");
        if (server.rollout && locked) {
            buf_puts(&b, "; rollout ");
            render_text(&b, server.rollout);
            buf_puts(&b, " holds it");
        }
        buf_putc(&b, '\n');
        status = cli_write(cli, &b) ? CLI_OK : CLI_USAGE;
    }
    json_release(&api_server_table, &server);
    return status;
}

static int post(struct cli *cli, const char *action, const struct buf *body)
{
    AUTO_BUF struct buf path = BUF_INIT;
    AUTO_ANSWER struct answer answer = {0};
    struct error err = {0};
    buf_puts(&path, "/v1/servers/");
    url_put(&path, cli->options.args[0]);
    buf_printf(&path, "/%s", action);
    if (buf_check(&path, &err) != ERR_OK || buf_check(body, &err) != ERR_OK)
        return cli_fail(cli, &err);
    struct request request = {
        .method = "POST", .path = path.data, .body = body->data, .len = body->len};
    int status = cli_call(cli, &request, &answer);
    return status == CLI_OK ? report(cli, &answer) : status;
}

int cmd_lock(struct cli *cli)
{
    AUTO_BUF struct buf by = BUF_INIT;
    AUTO_BUF struct buf body = BUF_INIT;
    AUTO_FREE char *reason = NULL;
    struct error err = {0};
    const char *given = cli->options.texts[OPT_REASON];
    if (!given) {
        cli_say(cli, "lock: --reason is missing: it is told to whoever meets the lock");
        return CLI_USAGE;
    }
    if (cli_by(cli, &by, &err) != ERR_OK)
        return cli_fail(cli, &err);
    if (!(reason = mem_strdup(given))) {
        error_ignore(error_set(&err, ERR_NO_MEMORY, NULL));
        return cli_fail(cli, &err);
    }
    const struct api_lock lock = {.by = by.data, .reason = reason};
    json_encode(&body, &api_lock_table, &lock);
    return post(cli, "lock", &body);
}

int cmd_unlock(struct cli *cli)
{
    AUTO_BUF struct buf by = BUF_INIT;
    AUTO_BUF struct buf body = BUF_INIT;
    struct error err = {0};
    if (cli_by(cli, &by, &err) != ERR_OK)
        return cli_fail(cli, &err);
    const struct api_unlock unlock = {.by = by.data};
    json_encode(&body, &api_unlock_table, &unlock);
    return post(cli, "unlock", &body);
}
