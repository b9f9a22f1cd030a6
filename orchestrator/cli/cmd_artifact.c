/* artifact list, artifact get, artifact delete. */
#include "common/base/cleanup.h"
#include "common/base/text.h"
#include "common/plan/artifact.h"
#include "orchestrator/api/api_doc_artifacts.h"
#include "orchestrator/cli/commands.h"
#include "orchestrator/cli/download.h"
#include "orchestrator/cli/fresh_file.h"

#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

enum { LIST_PAGE = 1000 };

/* ---- list --------------------------------------------------------------------------------------
 */

/* All of them: they are sorted here, by age, and the pages are in the order of their digits. */
struct row {
    const struct api_artifact *artifact;
};
struct listing {
    struct api_artifact_list *pages;
    size_t page_count;
    const char *next; /* page; NULL: it was the last */
    int64_t bytes, max_bytes;
    struct row *rows;
    size_t count;
};

static void listing_done(struct listing *l)
{
    for (size_t i = 0; i < l->page_count; i++)
        json_release(&api_artifact_list_table, &l->pages[i]);
    mem_free(l->pages);
    mem_free(l->rows);
}

static int listing_page(struct cli *cli, struct listing *l)
{
    AUTO_BUF struct buf path = BUF_INIT;
    struct error err = {0};
    void *grown = mem_realloc(l->pages, (l->page_count + 1) * sizeof(*l->pages));
    buf_printf(&path, "/v1/artifacts?limit=%d", LIST_PAGE);
    if (l->next) {
        buf_puts(&path, "&after=");
        url_put(&path, l->next);
    }
    if (grown)
        l->pages = grown;
    if (!grown || buf_check(&path, &err) != ERR_OK) {
        (void)error_set(&err, ERR_NO_MEMORY, NULL);
        return cli_fail(cli, &err);
    }
    struct api_artifact_list *page = &l->pages[l->page_count++];
    *page = (struct api_artifact_list){0};
    int status = cli_get_table(cli, path.data, &api_artifact_list_table, page);
    l->next = page->next;
    l->bytes = page->bytes;
    l->max_bytes = page->max_bytes;
    return status;
}

static int newer_first(const void *a, const void *b)
{
    const struct api_artifact *left = ((const struct row *)a)->artifact;
    const struct api_artifact *right = ((const struct row *)b)->artifact;
    int order = strcmp(right->created ? right->created : "", left->created ? left->created : "");
    return order != 0 ? order : strcmp(left->sha256, right->sha256);
}

static int listing_sort(struct cli *cli, struct listing *l)
{
    struct error err = {0};
    size_t count = 0;
    for (size_t i = 0; i < l->page_count; i++)
        count += l->pages[i].artifacts.count;
    l->rows = mem_array(count, sizeof(*l->rows));
    if (!l->rows) {
        (void)error_set(&err, ERR_NO_MEMORY, NULL);
        return cli_fail(cli, &err);
    }
    for (size_t i = 0; i < l->page_count; i++) {
        const struct array *artifacts = &l->pages[i].artifacts;
        for (size_t k = 0; k < artifacts->count; k++)
            l->rows[l->count++].artifact = ARRAY_AT(artifacts, struct api_artifact, k);
    }
    if (l->count > 1)
        qsort(l->rows, l->count, sizeof(*l->rows), newer_first);
    return CLI_OK;
}

static int listing_json(struct cli *cli, const struct listing *l)
{
    AUTO_BUF struct buf b = BUF_INIT;
    buf_puts(&b, "{\"artifacts\":[");
    for (size_t i = 0; i < l->count; i++) {
        if (i > 0)
            buf_putc(&b, ',');
        json_encode(&b, &api_artifact_table, l->rows[i].artifact);
    }
    buf_printf(&b, "],\"bytes\":%lld,\"maxBytes\":%lld}", (long long)l->bytes,
               (long long)l->max_bytes);
    return b.failed == ERR_OK && cli_write_json(cli, b.data, b.len) ? CLI_OK : CLI_USAGE;
}

static void size_cell(struct table *table, const struct api_artifact *a)
{
    AUTO_BUF struct buf b = BUF_INIT;
    if (!a->whole) {
        render_size(&b, a->offset);
        buf_puts(&b, " of ");
    }
    render_size(&b, a->size);
    table_cell(table, a->whole ? INK_NONE : INK_WARN, b.data);
}

static int listing_table(struct cli *cli, const struct listing *l)
{
    static const struct column columns[] = {{"ARTIFACT", false},
                                            {"SIZE", true},
                                            {"CREATED (UTC)", false},
                                            {"BY", false},
                                            {"NAME", false}};
    AUTO_TABLE struct table table = {0};
    AUTO_BUF struct buf b = BUF_INIT;
    table_init(&table, columns, ARRAY_LEN(columns));
    for (size_t i = 0; i < l->count; i++) {
        AUTO_BUF struct buf name = BUF_INIT;
        const struct api_artifact *a = l->rows[i].artifact;
        buf_printf(&name, ARTIFACT_PREFIX "%s", a->sha256);
        table_cell(&table, INK_NONE, name.data);
        size_cell(&table, a);
        table_cell_time(&table, a->created);
        table_cell(&table, INK_NONE, a->by);
        table_cell(&table, INK_NONE, a->name);
    }
    table_flush(&table, &cli->style, &b);
    render_size(&b, l->bytes);
    if (l->max_bytes > 0) {
        buf_puts(&b, " of at most ");
        render_size(&b, l->max_bytes);
    }
    buf_puts(&b, " are taken\n");
    return cli_write(cli, &b) ? CLI_OK : CLI_USAGE;
}

int cmd_artifact_list(struct cli *cli)
{
    struct listing l = {0};
    int status = listing_page(cli, &l);
    while (status == CLI_OK && l.next)
        status = listing_page(cli, &l);
    if (status == CLI_OK)
        status = listing_sort(cli, &l);
    if (status == CLI_OK)
        status = cli->options.json ? listing_json(cli, &l) : listing_table(cli, &l);
    listing_done(&l);
    return status;
}

/* ---- Which one ---------------------------------------------------------------------------------
 */

struct choice {
    struct api_artifact artifact;
    char digest[ARTIFACT_DIGEST_BUFFER]; /* all of it, and nothing else */
};

/* By its name, or the first digits of it; the caller releases the artifact in any case. */
static int find(struct cli *cli, struct choice *ret)
{
    AUTO_BUF struct buf path = BUF_INIT;
    struct error err = {0};
    buf_puts(&path, "/v1/artifacts/");
    url_put(&path, cli->options.args[0]);
    if (buf_check(&path, &err) != ERR_OK)
        return cli_fail(cli, &err);
    int status = cli_get_table(cli, path.data, &api_artifact_table, &ret->artifact);
    if (status != CLI_OK)
        return status;
    if (strlen(ret->artifact.sha256) != ARTIFACT_DIGEST_DIGITS) {
        cli_say(cli, "the orchestrator's answer names no artifact");
        return CLI_USAGE;
    }
    memcpy(ret->digest, ret->artifact.sha256, ARTIFACT_DIGEST_DIGITS);
    return CLI_OK;
}

static enum error_code path_of(const struct choice *choice, const char *rest, struct buf *path,
                               struct error *err)
{
    buf_puts(path, "/v1/artifacts/");
    url_put(path, choice->digest);
    buf_puts(path, rest);
    return buf_check(path, err);
}

/* ---- get ---------------------------------------------------------------------------------------
 */

struct get {
    struct fresh_file out;
    EVP_MD_CTX *sum;
    int64_t len;
    bool summed;
};

static bool get_take(void *ctx, const char *data, size_t len)
{
    struct get *g = ctx;
    g->len += (int64_t)len;
    g->summed = g->summed && EVP_DigestUpdate(g->sum, data, len) == 1;
    return fresh_file_write(&g->out, data, len);
}

/* Whoever stands between could have changed it: what came is what was asked for, or is not kept. */
static int get_check(const struct get *g, const struct choice *choice)
{
    unsigned char bytes[EVP_MAX_MD_SIZE];
    unsigned len = 0;
    char digest[2 * EVP_MAX_MD_SIZE + 1] = "";
    if (g->summed && EVP_DigestFinal_ex(g->sum, bytes, &len) == 1)
        text_hex(bytes, len, digest);
    if (strcmp(digest, choice->digest) == 0)
        return CLI_OK;
    cli_say(g->out.cli,
            "what came is not " ARTIFACT_PREFIX "%s: it is damaged in the orchestrator's store; "
            "nothing was written to %s (kitsune artifact delete, and put it again)",
            choice->digest, g->out.file);
    return CLI_USAGE;
}

static int get_failed(const struct get *g, const struct error *err)
{
    struct cli *cli = g->out.cli;
    if (err->code == ERR_CANCELLED)
        return fresh_file_fail(&g->out, g->out.errnum);
    if (err->code == ERR_UNAVAILABLE)
        return cli_unreachable(cli, err->message);
    if (err->code == ERR_DENIED)
        return cli_distrusted(cli, err->message);
    if (err->code != ERR_IO && err->code != ERR_TIMEOUT)
        return cli_fail(cli, err);
    cli_say(cli, "the artifact was cut off: %s", err->message);
    return CLI_UNREACHABLE;
}

static int get_download(struct get *g, const struct choice *choice)
{
    AUTO_BUF struct buf path = BUF_INIT;
    AUTO_ANSWER struct answer answer = {0};
    struct error err = {0};
    int status = CLI_OK;
    struct client *client = cli_client(g->out.cli, &status);
    if (!client)
        return status;
    enum error_code code = path_of(choice, "/content", &path, &err);
    g->sum = EVP_MD_CTX_new();
    g->summed = g->sum && EVP_DigestInit_ex(g->sum, EVP_sha256(), NULL) == 1;
    if (code == ERR_OK)
        code = client_download(client, path.data, get_take, g, &answer, &err);
    if (code != ERR_OK)
        status = get_failed(g, &err);
    else if (answer.status >= API_REFUSED)
        status = cli_refused(g->out.cli, &answer);
    else
        status = get_check(g, choice);
    EVP_MD_CTX_free(TAKE(g->sum));
    return status;
}

static int get_say(const struct get *g, const struct api_artifact *a)
{
    struct cli *cli = g->out.cli;
    AUTO_BUF struct buf line = BUF_INIT;
    if (cli->options.json)
        return cli_write_table(cli, &api_artifact_table, a) ? CLI_OK : CLI_USAGE;
    render_text(&line, g->out.file);
    buf_printf(&line, ": %lld bytes\n", (long long)g->len);
    return cli_write(cli, &line) ? CLI_OK : CLI_USAGE;
}

int cmd_artifact_get(struct cli *cli)
{
    struct get g = {.out = {.cli = cli, .file = cli->options.args[1], .fd = -1}};
    struct choice choice = {0};
    int status = find(cli, &choice);
    if (status == CLI_OK)
        status = fresh_file_begin(&g.out);
    if (status == CLI_OK)
        status = get_download(&g, &choice);
    if (status == CLI_OK)
        status = fresh_file_keep(&g.out);
    if (status == CLI_OK)
        status = get_say(&g, &choice.artifact);
    fresh_file_done(&g.out);
    json_release(&api_artifact_table, &choice.artifact);
    return status;
}

/* ---- delete ------------------------------------------------------------------------------------
 */

static int delete_say(struct cli *cli, const struct answer *answer, const struct choice *choice)
{
    AUTO_BUF struct buf line = BUF_INIT;
    if (cli->options.json)
        return cli_write_json(cli, answer->body.data, answer->body.len) ? CLI_OK : CLI_USAGE;
    buf_printf(&line, ARTIFACT_PREFIX "%s is deleted: ", choice->digest);
    if (choice->artifact.name) {
        render_text(&line, choice->artifact.name);
        buf_puts(&line, ", ");
    }
    render_size(&line, choice->artifact.size);
    buf_putc(&line, '\n');
    return cli_write(cli, &line) ? CLI_OK : CLI_USAGE;
}

int cmd_artifact_delete(struct cli *cli)
{
    AUTO_BUF struct buf path = BUF_INIT;
    AUTO_ANSWER struct answer answer = {0};
    struct choice choice = {0};
    struct error err = {0};
    int status = find(cli, &choice);
    if (status == CLI_OK && path_of(&choice, "", &path, &err) != ERR_OK)
        status = cli_fail(cli, &err);
    const struct request request = {.method = "DELETE", .path = path.data};
    if (status == CLI_OK)
        status = cli_call(cli, &request, &answer);
    if (status == CLI_OK)
        status = delete_say(cli, &answer, &choice);
    json_release(&api_artifact_table, &choice.artifact);
    return status;
}
