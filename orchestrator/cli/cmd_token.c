/* token create, token list, token revoke. */
#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "orchestrator/api/api_doc_access.h"
#include "orchestrator/cli/commands.h"
#include "orchestrator/cli/secret_out.h"
#include "orchestrator/cli/words.h"

#include <string.h>

/* ---- create ------------------------------------------------------------------------------------
 */

/* The items of a list option; each is owned. */
static enum error_code copy_items(const struct options *o, enum option_id id, struct array *ret,
                                  struct error *err)
{
    char **texts = mem_array(o->item_count, sizeof(*texts));
    ret->items = texts;
    for (size_t i = 0; texts && i < o->item_count; i++) {
        if (o->items[i].id != id)
            continue;
        texts[ret->count] = mem_strdup(o->items[i].text);
        if (!texts[ret->count])
            return error_set(err, ERR_NO_MEMORY, NULL);
        ret->count++;
    }
    return texts ? ERR_OK : error_set(err, ERR_NO_MEMORY, NULL);
}

int cli_ttl(struct cli *cli, int64_t max_s, int64_t *ret_s)
{
    struct error err = {0};
    char longest[CLOCK_TEXT_MAX];
    int64_t ms = 0;
    if (!option_given(&cli->options, OPT_TTL))
        return CLI_OK;
    if (duration_parse(cli->options.texts[OPT_TTL], &ms, &err) != ERR_OK) {
        (void)error_wrap(&err, "--ttl");
        return cli_fail(cli, &err);
    }
    if (ms < 1000 || ms / 1000 > max_s) {
        duration_format(max_s * 1000, longest);
        cli_say(cli, "--ttl: it must be from 1s to %s", longest);
        return CLI_USAGE;
    }
    *ret_s = ms / 1000;
    return CLI_OK;
}

/* The request's document. CLI_OK, or an exit status after a message. */
static int create_body(struct cli *cli, struct buf *body)
{
    const struct options *o = &cli->options;
    struct api_token_request request = {.name = mem_strdup(o->args[0]),
                                        .role = mem_strdup(o->texts[OPT_ROLE])};
    struct error err = {0};
    int status = cli_ttl(cli, API_TOKEN_TTL_MAX_S, &request.ttl_s);
    enum error_code code = copy_items(o, OPT_SERVERS, &request.servers, &err);
    if (code == ERR_OK)
        code = copy_items(o, OPT_STEPS, &request.steps, &err);
    if (code == ERR_OK && (!request.name || !request.role))
        code = error_set(&err, ERR_NO_MEMORY, NULL);
    if (code == ERR_OK) {
        json_encode(body, &api_token_request_table, &request);
        code = buf_check(body, &err);
    }
    json_release(&api_token_request_table, &request);
    if (status != CLI_OK)
        return status;
    return code == ERR_OK ? CLI_OK : cli_fail(cli, &err);
}

/* "operator, until 2026-11-21 06:25:56 UTC; servers web-*; steps echo" */
static void put_about(struct buf *b, const struct api_token *about)
{
    render_text(b, about->role);
    if (about->expires) {
        buf_puts(b, ", until ");
        render_time(b, about->expires);
        buf_puts(b, " UTC");
    } else {
        buf_puts(b, ", until it is revoked");
    }
    if (about->servers.count > 0) {
        buf_puts(b, "; changes on ");
        words_list(b, &about->servers);
    }
    if (about->steps.count > 0) {
        buf_puts(b, "; steps ");
        words_list(b, &about->steps);
    }
}

static int report_made(struct cli *cli, struct secret_out *out, const struct answer *answer,
                       const struct api_token_made *made)
{
    AUTO_BUF struct buf about = BUF_INIT;
    struct error err = {0};
    if (cli->options.json && !out->file)
        return cli_write_json(cli, answer->body.data, answer->body.len) ? CLI_OK : CLI_USAGE;
    int status = secret_out_put(out, made->token);
    if (status != CLI_OK)
        return status;
    if (cli->options.json)
        return cli_write_table(cli, &api_token_table, &made->about) ? CLI_OK : CLI_USAGE;
    put_about(&about, &made->about);
    if (buf_check(&about, &err) != ERR_OK)
        return cli_fail(cli, &err);
    cli_say(cli, "token %s: %s; it is told this once: keep it as safe as a password%s%s",
            made->about.name, about.data, out->file ? "; it is in " : "",
            out->file ? out->file : "");
    return CLI_OK;
}

int cmd_token_create(struct cli *cli)
{
    AUTO_SECRET_OUT struct secret_out out = {.fd = -1};
    AUTO_ANSWER struct answer answer = {0};
    AUTO_BUF struct buf body = BUF_INIT;
    struct api_token_made made = {0};
    if (!option_given(&cli->options, OPT_ROLE)) {
        cli_say(cli, "token create: --role is missing: viewer, operator or admin");
        return CLI_USAGE;
    }
    int status = create_body(cli, &body);
    if (status == CLI_OK)
        status = secret_out_open(&out, cli);
    if (status != CLI_OK)
        return status;
    struct request request = {
        .method = "POST", .path = "/v1/tokens", .body = body.data, .len = body.len};
    status = cli_call(cli, &request, &answer);
    if (status != CLI_OK)
        return status;
    status = cli_decode(cli, &answer, &api_token_made_table, &made);
    if (status == CLI_OK)
        status = report_made(cli, &out, &answer, &made);
    if (made.token)
        explicit_bzero(made.token, strlen(made.token));
    json_release(&api_token_made_table, &made);
    return status;
}

/* ---- list, revoke ------------------------------------------------------------------------------
 */

static void list_cell(struct table *table, const struct array *items)
{
    AUTO_BUF struct buf b = BUF_INIT;
    if (items->count > 0)
        words_list(&b, items);
    else
        buf_puts(&b, "all");
    table_cell(table, INK_NONE, b.data);
}

static void put_token(struct table *table, const struct api_token *t, int64_t now_ms)
{
    int64_t expires_ms = t->expires ? render_time_ms(t->expires) : INT64_MAX;
    AUTO_BUF struct buf expires = BUF_INIT;
    if (t->expires)
        render_time(&expires, t->expires);
    else
        buf_puts(&expires, "never");
    table_cell(table, INK_NONE, t->name);
    table_cell(table, INK_NONE, t->role);
    table_cell(table, expires_ms <= now_ms ? INK_BAD : INK_NONE, expires.data);
    table_cell_time(table, t->created);
    table_cell(table, INK_NONE, t->created_by);
    list_cell(table, &t->servers);
    list_cell(table, &t->steps);
}

int cmd_token_list(struct cli *cli)
{
    static const struct column columns[] = {
        {"NAME", false}, {"ROLE", false},    {"EXPIRES (UTC)", false}, {"CREATED (UTC)", false},
        {"BY", false},   {"SERVERS", false}, {"STEPS", false}};
    AUTO_ANSWER struct answer answer = {0};
    AUTO_TABLE struct table table = {0};
    AUTO_BUF struct buf b = BUF_INIT;
    struct api_token_list list = {0};
    int status = cli_get(cli, "/v1/tokens", &answer);
    if (status != CLI_OK)
        return status;
    if (cli->options.json)
        return cli_write_json(cli, answer.body.data, answer.body.len) ? CLI_OK : CLI_USAGE;
    status = cli_decode(cli, &answer, &api_token_list_table, &list);
    if (status == CLI_OK) {
        int64_t now_ms = clock_wall_ms();
        table_init(&table, columns, ARRAY_LEN(columns));
        for (size_t i = 0; i < list.tokens.count; i++)
            put_token(&table, ARRAY_AT(&list.tokens, struct api_token, i), now_ms);
        table_flush(&table, &cli->style, &b);
        status = cli_write(cli, &b) ? CLI_OK : CLI_USAGE;
    }
    json_release(&api_token_list_table, &list);
    return status;
}

int cmd_token_revoke(struct cli *cli)
{
    AUTO_BUF struct buf path = BUF_INIT;
    AUTO_BUF struct buf line = BUF_INIT;
    AUTO_ANSWER struct answer answer = {0};
    struct error err = {0};
    buf_puts(&path, "/v1/tokens/");
    url_put(&path, cli->options.args[0]);
    buf_puts(&path, "/revoke");
    if (buf_check(&path, &err) != ERR_OK)
        return cli_fail(cli, &err);
    struct request request = {.method = "POST", .path = path.data};
    int status = cli_call(cli, &request, &answer);
    if (status != CLI_OK)
        return status;
    if (cli->options.json)
        return cli_write_json(cli, answer.body.data, answer.body.len) ? CLI_OK : CLI_USAGE;
    buf_puts(&line, "token ");
    render_text(&line, cli->options.args[0]);
    buf_puts(&line, " is revoked: nobody has access by it any more\n");
    return cli_write(cli, &line) ? CLI_OK : CLI_USAGE;
}
