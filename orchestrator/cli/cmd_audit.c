/* audit list, audit verify. */
#include "common/base/cleanup.h"
#include "orchestrator/api/api_doc_access.h"
#include "orchestrator/cli/commands.h"
#include "orchestrator/cli/rows.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* ---- list --------------------------------------------------------------------------------------
 */

static const struct column columns[] = {
    {"SEQ", true},     {"TIME (UTC)", false}, {"WHO", false},    {"ROLE", false},  {"FROM", false},
    {"ACTION", false}, {"TARGET", false},     {"RESULT", false}, {"DETAIL", false}};

static void put_entry(struct table *table, const struct api_audit_entry *e)
{
    bool ok = e->result && strcmp(e->result, "ok") == 0;
    table_cell_int(table, INK_NONE, e->seq);
    table_cell_time(table, e->time);
    table_cell(table, INK_NONE, e->who);
    table_cell(table, INK_NONE, e->role);
    table_cell(table, INK_NONE, e->peer);
    table_cell(table, INK_NONE, e->action);
    table_cell(table, INK_NONE, e->target);
    table_cell(table, ok ? INK_NONE : INK_BAD, e->result);
    table_cell(table, INK_NONE, e->detail);
}

static bool put_page(struct cli *cli, struct rows *rows, struct table *table,
                     const struct api_audit_page *page)
{
    AUTO_BUF struct buf b = BUF_INIT;
    for (size_t i = 0; i < page->entries.count; i++) {
        const struct api_audit_entry *e = ARRAY_AT(&page->entries, struct api_audit_entry, i);
        if (!cli->options.json)
            put_entry(table, e);
        else if (!rows_put(rows, e))
            return false;
    }
    if (!cli->options.json)
        table_flush(table, &cli->style, &b);
    return cli_write(cli, &b);
}

enum { LIST_PAGE = 500 };

struct listing {
    struct rows *rows;
    struct table *table;
    int64_t left;  /* rows still wanted */
    int64_t after; /* where the next page begins */
    bool more;
};

static int next_page(struct cli *cli, struct listing *l)
{
    AUTO_BUF struct buf path = BUF_INIT;
    struct error err = {0};
    struct api_audit_page page = {0};
    buf_printf(&path, "/v1/audit?after=%lld&limit=%lld", (long long)l->after,
               (long long)(l->left < LIST_PAGE ? l->left : LIST_PAGE));
    if (buf_check(&path, &err) != ERR_OK)
        return cli_fail(cli, &err);
    int status = cli_get_table(cli, path.data, &api_audit_page_table, &page);
    if (status == CLI_OK) {
        status = put_page(cli, l->rows, l->table, &page) ? CLI_OK : CLI_USAGE;
        l->left -= (int64_t)page.entries.count;
        /* One that does not go on would never end. */
        l->more = page.next > l->after && page.entries.count > 0;
        l->after = page.next;
    }
    json_release(&api_audit_page_table, &page);
    return status;
}

int cmd_audit_list(struct cli *cli)
{
    enum { LIMIT_DEFAULT = 100 };
    AUTO_ROWS struct rows rows = {0};
    AUTO_TABLE struct table table = {0};
    AUTO_BUF struct buf next = BUF_INIT;
    struct listing l = {.rows = &rows, .table = &table, .left = LIMIT_DEFAULT};
    int status = CLI_OK;
    rows_init(&rows, cli, "entries", &api_audit_entry_table);
    table_init(&table, columns, ARRAY_LEN(columns));
    if (option_given(&cli->options, OPT_ALL))
        l.left = INT64_MAX;
    else if (option_given(&cli->options, OPT_LIMIT))
        l.left = cli->options.numbers[OPT_LIMIT];
    if (option_given(&cli->options, OPT_AFTER))
        l.after = cli->options.numbers[OPT_AFTER];
    do
        status = next_page(cli, &l);
    while (status == CLI_OK && l.more && l.left > 0);
    if (status != CLI_OK)
        return status;
    buf_put_int(&next, l.after);
    if (cli->options.json)
        return rows_end(&rows, l.more ? next.data : NULL) ? CLI_OK : CLI_USAGE;
    if (l.more)
        cli_say(cli, "there are more: --after %lld shows the next, --all all of them",
                (long long)l.after);
    return CLI_OK;
}

/* ---- verify ------------------------------------------------------------------------------------
 */

enum { HASH_DIGITS = 64 };

/* "SEQ:HASH". False: it is none. */
static bool head_parse(const char *text, long long *ret_seq, const char **ret_hash)
{
    char *end = NULL;
    errno = 0;
    long long seq = isdigit((unsigned char)*text) ? strtoll(text, &end, 10) : 0;
    if (errno != 0 || seq < 1 || !end || *end != ':' || strlen(end + 1) != HASH_DIGITS ||
        strspn(end + 1, "0123456789abcdef") != HASH_DIGITS)
        return false;
    *ret_seq = seq;
    *ret_hash = end + 1;
    return true;
}

static int report_state(struct cli *cli, const struct answer *answer)
{
    AUTO_BUF struct buf head = BUF_INIT;
    struct api_audit_state state = {0};
    int status = cli_decode(cli, answer, &api_audit_state_table, &state);
    bool whole = status == CLI_OK && state.whole;
    if (status == CLI_OK && !whole)
        cli_say(cli, "the audit log was tampered with, or is damaged: %s",
                state.fault ? state.fault : "the orchestrator does not say where");
    if (status == CLI_OK && cli->options.json) {
        status = cli_write_json(cli, answer->body.data, answer->body.len) ? CLI_OK : CLI_USAGE;
    } else if (whole && state.seq == 0) {
        cli_say(cli, "the audit log is empty");
    } else if (whole) {
        buf_printf(&head, "%lld:", (long long)state.seq);
        render_text(&head, state.hash);
        buf_putc(&head, '\n');
        status = cli_write(cli, &head) ? CLI_OK : CLI_USAGE;
        cli_say(cli,
                "the audit log is whole: %lld entries; keep the line above on another machine, and "
                "give it to --head next time",
                (long long)state.seq);
    }
    json_release(&api_audit_state_table, &state);
    return status == CLI_OK && !whole ? CLI_USAGE : status;
}

int cmd_audit_verify(struct cli *cli)
{
    AUTO_BUF struct buf path = BUF_INIT;
    AUTO_ANSWER struct answer answer = {0};
    struct error err = {0};
    long long seq = 0;
    const char *hash = NULL;
    const char *head = cli->options.texts[OPT_HEAD];
    if (head && !head_parse(head, &seq, &hash)) {
        cli_say(cli,
                "--head: \"%.100s\" is not SEQ:HASH, the line that \"kitsune audit verify\" prints",
                head);
        return CLI_USAGE;
    }
    buf_puts(&path, "/v1/audit/verify");
    if (head)
        buf_printf(&path, "?seq=%lld&hash=%s", seq, hash);
    if (buf_check(&path, &err) != ERR_OK)
        return cli_fail(cli, &err);
    int status = cli_get(cli, path.data, &answer);
    return status == CLI_OK ? report_state(cli, &answer) : status;
}
