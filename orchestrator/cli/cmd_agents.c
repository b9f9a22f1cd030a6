/* agent ticket, agent list, agent revoke. */
#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "orchestrator/api/api_doc.h"
#include "orchestrator/api/api_doc_access.h"
#include "orchestrator/cli/commands.h"
#include "orchestrator/cli/rows.h"
#include "orchestrator/cli/secret_out.h"

#include <string.h>
#include <strings.h>

/* "/v1/agents/SERVER/ticket" */
static enum error_code agent_path(struct cli *cli, const char *tail, struct buf *path,
                                  struct error *err)
{
    buf_puts(path, "/v1/agents/");
    url_put(path, cli->options.args[0]);
    buf_puts(path, tail);
    return buf_check(path, err);
}

/* ---- ticket ------------------------------------------------------------------------------------
 */

/* Agents come by no other way: not over the socket. */
static bool is_https(const char *url)
{
    return strncasecmp(url, "https:", 6) == 0;
}

static int report_ticket(struct cli *cli, struct secret_out *out, const struct answer *answer,
                         const struct api_ticket *ticket)
{
    AUTO_BUF struct buf expires = BUF_INIT;
    const char *url = client_url(cli->client);
    struct error err = {0};
    if (cli->options.json && !out->file)
        return cli_write_json(cli, answer->body.data, answer->body.len) ? CLI_OK : CLI_USAGE;
    int status = secret_out_put(out, ticket->token);
    if (status != CLI_OK)
        return status;
    render_time(&expires, ticket->expires);
    if (buf_check(&expires, &err) != ERR_OK)
        return cli_fail(cli, &err);
    cli_say(cli,
            "a ticket for server %s, good for one agent until %s UTC; with it in a file of mode "
            "0600, on that server:",
            ticket->server, expires.data);
    cli_say(cli,
            "  kitsune-agent --server-id %s --orchestrator %s --ca-fingerprint %s "
            "--enrol-token-file %s",
            ticket->server, is_https(url) ? url : "https://HOST:7233", ticket->ca_fingerprint,
            out->file ? out->file : "FILE");
    return CLI_OK;
}

int cmd_agent_ticket(struct cli *cli)
{
    AUTO_SECRET_OUT struct secret_out out = {.fd = -1};
    AUTO_ANSWER struct answer answer = {0};
    AUTO_BUF struct buf path = BUF_INIT;
    AUTO_BUF struct buf body = BUF_INIT;
    struct error err = {0};
    struct api_ticket ticket = {0};
    struct api_ticket_request wanted = {.replace = option_given(&cli->options, OPT_REPLACE)};
    int status = cli_ttl(cli, API_TICKET_TTL_MAX_S, &wanted.ttl_s);
    if (status != CLI_OK)
        return status;
    json_encode(&body, &api_ticket_request_table, &wanted);
    if (agent_path(cli, "/ticket", &path, &err) != ERR_OK || buf_check(&body, &err) != ERR_OK)
        return cli_fail(cli, &err);
    status = secret_out_open(&out, cli);
    if (status != CLI_OK)
        return status;
    struct request request = {
        .method = "POST", .path = path.data, .body = body.data, .len = body.len};
    status = cli_call(cli, &request, &answer);
    if (status != CLI_OK)
        return status;
    status = cli_decode(cli, &answer, &api_ticket_table, &ticket);
    if (status == CLI_OK)
        status = report_ticket(cli, &out, &answer, &ticket);
    if (ticket.token)
        explicit_bzero(ticket.token, strlen(ticket.token));
    json_release(&api_ticket_table, &ticket);
    return status;
}

/* ---- list --------------------------------------------------------------------------------------
 */

enum { LIST_PAGE = 500 };

struct listing {
    struct rows rows;
    struct table table;
    int64_t left; /* rows still wanted */
    char *after;  /* where the next page begins; NULL: at the start, or no more */
    int64_t shown;
};

static void listing_done(struct listing *l)
{
    rows_done(&l->rows);
    table_done(&l->table);
    mem_free(l->after);
}

static bool put_agents(struct cli *cli, struct listing *l, const struct api_agent_list *page)
{
    AUTO_BUF struct buf b = BUF_INIT;
    int64_t now_ms = clock_wall_ms();
    for (size_t i = 0; i < page->agents.count; i++) {
        const struct api_agent *a = ARRAY_AT(&page->agents, struct api_agent, i);
        if (cli->options.json) {
            if (!rows_put(&l->rows, a))
                return false;
            continue;
        }
        AUTO_BUF struct buf expires = BUF_INIT;
        render_time(&expires, a->expires);
        table_cell(&l->table, INK_NONE, a->server);
        table_cell(&l->table, a->connected ? INK_GOOD : INK_BAD, a->connected ? "yes" : "no");
        table_cell(&l->table, render_time_ms(a->expires) <= now_ms ? INK_BAD : INK_NONE,
                   expires.data);
        table_cell_time(&l->table, a->issued);
        table_cell(&l->table, INK_NONE, a->serial);
    }
    if (!cli->options.json)
        table_flush(&l->table, &cli->style, &b);
    return cli_write(cli, &b);
}

static int next_page(struct cli *cli, struct listing *l)
{
    AUTO_BUF struct buf path = BUF_INIT;
    struct error err = {0};
    struct api_agent_list page = {0};
    buf_printf(&path, "/v1/agents?limit=%lld",
               (long long)(l->left < LIST_PAGE ? l->left : LIST_PAGE));
    if (l->after) {
        buf_puts(&path, "&after=");
        url_put(&path, l->after);
    }
    if (buf_check(&path, &err) != ERR_OK)
        return cli_fail(cli, &err);
    int status = cli_get_table(cli, path.data, &api_agent_list_table, &page);
    if (status == CLI_OK) {
        status = put_agents(cli, l, &page) ? CLI_OK : CLI_USAGE;
        l->left -= (int64_t)page.agents.count;
        l->shown += (int64_t)page.agents.count;
        mem_free(l->after);
        l->after = page.agents.count > 0 ? TAKE(page.next) : NULL;
    }
    json_release(&api_agent_list_table, &page);
    return status;
}

int cmd_agent_list(struct cli *cli)
{
    static const struct column columns[] = {{"SERVER", false},
                                            {"CONNECTED", false},
                                            {"EXPIRES (UTC)", false},
                                            {"ISSUED (UTC)", false},
                                            {"SERIAL", false}};
    __attribute__((cleanup(listing_done))) struct listing l = {.left = API_PAGE_DEFAULT};
    int status = CLI_OK;
    rows_init(&l.rows, cli, "agents", &api_agent_table);
    table_init(&l.table, columns, ARRAY_LEN(columns));
    if (option_given(&cli->options, OPT_ALL))
        l.left = INT64_MAX;
    else if (option_given(&cli->options, OPT_LIMIT))
        l.left = cli->options.numbers[OPT_LIMIT];
    do
        status = next_page(cli, &l);
    while (status == CLI_OK && l.after && l.left > 0);
    if (status == CLI_OK && cli->options.json)
        return rows_end(&l.rows, l.after) ? CLI_OK : CLI_USAGE;
    if (status == CLI_OK && l.after)
        cli_say(cli, "there are more than these %lld: --all shows them", (long long)l.shown);
    return status;
}

/* ---- revoke ------------------------------------------------------------------------------------
 */

int cmd_agent_revoke(struct cli *cli)
{
    AUTO_BUF struct buf path = BUF_INIT;
    AUTO_BUF struct buf body = BUF_INIT;
    AUTO_BUF struct buf by = BUF_INIT;
    AUTO_BUF struct buf line = BUF_INIT;
    AUTO_ANSWER struct answer answer = {0};
    AUTO_FREE char *reason = NULL;
    struct error err = {0};
    const char *given = cli->options.texts[OPT_REASON];
    enum error_code code = cli_by(cli, &by, &err);
    if (code == ERR_OK && given && !(reason = mem_strdup(given)))
        code = error_set(&err, ERR_NO_MEMORY, NULL);
    if (code == ERR_OK)
        code = agent_path(cli, "/revoke", &path, &err);
    if (code == ERR_OK) {
        const struct api_request wanted = {.by = by.data, .reason = reason};
        json_encode(&body, &api_request_table, &wanted);
        code = buf_check(&body, &err);
    }
    if (code != ERR_OK)
        return cli_fail(cli, &err);
    struct request request = {
        .method = "POST", .path = path.data, .body = body.data, .len = body.len};
    int status = cli_call(cli, &request, &answer);
    if (status != CLI_OK)
        return status;
    if (cli->options.json)
        return cli_write_json(cli, answer.body.data, answer.body.len) ? CLI_OK : CLI_USAGE;
    buf_puts(&line, "the agent of server ");
    render_text(&line, cli->options.args[0]);
    buf_puts(&line, " is revoked: its certificates and tickets are void\n");
    return cli_write(cli, &line) ? CLI_OK : CLI_USAGE;
}
