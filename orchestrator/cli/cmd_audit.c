/* audit list, audit verify. */
#include "common/base/cleanup.h"
#include "orchestrator/access/audit_chain.h"
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
 * All entries are fetched and their hashes made here: an orchestrator that was taken over would say
 * of itself that all is well.
 */

/* "SEQ:HASH". False: it is none. */
static bool head_parse(const char *text, struct audit_head *ret_head)
{
    char *end = NULL;
    errno = 0;
    long long seq = isdigit((unsigned char)*text) ? strtoll(text, &end, 10) : 0;
    if (errno != 0 || seq < 1 || !end || *end != ':' || strlen(end + 1) != AUDIT_HASH_BUFFER - 1 ||
        strspn(end + 1, "0123456789abcdef") != AUDIT_HASH_BUFFER - 1)
        return false;
    ret_head->seq = seq;
    memcpy(ret_head->hash, end + 1, AUDIT_HASH_BUFFER);
    return true;
}

static enum error_code walk_page(struct audit_walk *walk, const struct api_audit_page *page,
                                 struct error *err)
{
    enum error_code code = ERR_OK;
    for (size_t i = 0; code == ERR_OK && i < page->entries.count; i++) {
        const struct api_audit_entry *e = ARRAY_AT(&page->entries, struct api_audit_entry, i);
        const struct audit_entry entry = {.seq = e->seq,
                                          .time_ms = render_time_ms(e->time),
                                          .who = e->who,
                                          .role = e->role,
                                          .peer = e->peer,
                                          .action = e->action,
                                          .target = e->target,
                                          .result = e->result,
                                          .detail = e->detail,
                                          .hash = e->hash};
        code = audit_walk_on(walk, &entry, err);
    }
    return code;
}

/* CLI_OK, or an exit status after a message; what is wrong with the log itself is in *ret_fault. */
static int walk_log(struct cli *cli, struct audit_walk *walk, struct error *ret_fault)
{
    int status = CLI_OK;
    bool more = true;
    while (status == CLI_OK && more && ret_fault->code == ERR_OK) {
        AUTO_BUF struct buf path = BUF_INIT;
        struct api_audit_page page = {0};
        struct error err = {0};
        buf_printf(&path, "/v1/audit?after=%lld&limit=%d", (long long)walk->head.seq, LIST_PAGE);
        if (buf_check(&path, &err) != ERR_OK)
            return cli_fail(cli, &err);
        status = cli_get_table(cli, path.data, &api_audit_page_table, &page);
        if (status == CLI_OK && walk_page(walk, &page, ret_fault) == ERR_NO_MEMORY)
            status = cli_fail(cli, ret_fault);
        more = page.next > 0 && page.entries.count > 0;
        json_release(&api_audit_page_table, &page);
    }
    if (status == CLI_OK && ret_fault->code == ERR_OK)
        error_ignore(audit_walk_end(walk, ret_fault));
    return status;
}

static int report_whole(struct cli *cli, const struct audit_head *head)
{
    AUTO_BUF struct buf line = BUF_INIT;
    if (head->seq == 0) {
        cli_say(cli, "the audit log is empty");
        return CLI_OK;
    }
    buf_printf(&line, "%lld:%s\n", (long long)head->seq, head->hash);
    if (!cli_write(cli, &line))
        return CLI_USAGE;
    cli_say(
        cli,
        "the audit log is whole: %lld entries; keep the line above on another machine, and give "
        "it to --head next time",
        (long long)head->seq);
    return CLI_OK;
}

static int report_json(struct cli *cli, const struct audit_walk *walk, struct error *fault)
{
    AUTO_FREE char *hash = mem_strdup(walk->head.hash);
    struct error err = {0};
    if (!hash) {
        error_ignore(error_set(&err, ERR_NO_MEMORY, NULL));
        return cli_fail(cli, &err);
    }
    const struct api_audit_state state = {.whole = fault->code == ERR_OK,
                                          .fault = fault->code == ERR_OK ? NULL : fault->message,
                                          .seq = walk->head.seq,
                                          .hash = hash};
    return cli_write_table(cli, &api_audit_state_table, &state) ? CLI_OK : CLI_USAGE;
}

int cmd_audit_verify(struct cli *cli)
{
    struct audit_head kept = {0};
    struct audit_walk walk;
    struct error fault = {0};
    const char *head = cli->options.texts[OPT_HEAD];
    if (head && !head_parse(head, &kept)) {
        cli_say(cli,
                "--head: \"%.100s\" is not SEQ:HASH, the line that \"kitsune audit verify\" prints",
                head);
        return CLI_USAGE;
    }
    audit_walk_begin(&walk, head ? &kept : NULL);
    int status = walk_log(cli, &walk, &fault);
    if (status != CLI_OK)
        return status;
    if (fault.code != ERR_OK)
        cli_say(cli, "it was tampered with, or is damaged: %s", fault.message);
    if (cli->options.json)
        status = report_json(cli, &walk, &fault);
    else if (fault.code == ERR_OK)
        status = report_whole(cli, &walk.head);
    return status == CLI_OK && fault.code != ERR_OK ? CLI_USAGE : status;
}
