/* whoami: whom the orchestrator takes this to be, and where that comes from. */
#include "common/base/cleanup.h"
#include "orchestrator/api/api_doc_access.h"
#include "orchestrator/cli/commands.h"
#include "orchestrator/cli/words.h"

static void put_field(struct buf *b, const char *name, const char *value)
{
    buf_printf(b, "%-14s", name);
    render_text(b, value && *value ? value : "-");
    buf_putc(b, '\n');
}

static void put_list(struct buf *b, const char *name, const struct array *items)
{
    buf_printf(b, "%-14s", name);
    if (items->count > 0)
        words_list(b, items);
    else
        buf_puts(b, "all");
    buf_putc(b, '\n');
}

static void put_source(const struct cli *cli, struct buf *b)
{
    const struct profile_value *url = &cli->profile.values[PROFILE_ORCHESTRATOR];
    const struct profile_value *ca = &cli->profile.values[PROFILE_CA];
    const char *token = profile_token_from(&cli->profile);
    buf_printf(b, "%-14s", "orchestrator");
    render_text(b, url->text);
    buf_puts(b, " (");
    render_text(b, url->from ? url->from : "nobody named one");
    buf_puts(b, ")\n");
    if (ca->text)
        put_field(b, "ca", ca->text);
    put_field(b, "token", token ? token : "none");
}

int cmd_whoami(struct cli *cli)
{
    AUTO_BUF struct buf b = BUF_INIT;
    AUTO_ANSWER struct answer answer = {0};
    struct api_principal who = {0};
    int status = cli_get(cli, "/v1/whoami", &answer);
    if (status != CLI_OK)
        return status;
    if (cli->options.json)
        return cli_write_json(cli, answer.body.data, answer.body.len) ? CLI_OK : CLI_USAGE;
    status = cli_decode(cli, &answer, &api_principal_table, &who);
    if (status == CLI_OK) {
        put_field(&b, "name", who.name);
        put_field(&b, "role", who.role);
        buf_printf(&b, "%-14s", "expires");
        if (who.expires)
            render_time(&b, who.expires);
        else
            buf_puts(&b, "never");
        buf_putc(&b, '\n');
        put_list(&b, "servers", &who.servers);
        put_list(&b, "steps", &who.steps);
        put_source(cli, &b);
        status = cli_write(cli, &b) ? CLI_OK : CLI_USAGE;
    }
    json_release(&api_principal_table, &who);
    return status;
}
