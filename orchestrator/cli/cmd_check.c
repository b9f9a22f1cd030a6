/* What a check has found: equal results once, with the servers that gave them. */
#include "common/base/alloc.h"
#include "common/base/cleanup.h"
#include "orchestrator/api/api_doc.h"
#include "orchestrator/cli/commands.h"
#include "orchestrator/cli/server_ranges.h"
#include "orchestrator/cli/words.h"

#include <string.h>

enum {
    STATUS_NOT_FOUND = 404,
    GROUPS_MAX = 100, /* different results of one step */
    INDENT = 4
};

/* Servers of which a step gave the same result. */
struct group {
    int state; /* enum step_state */
    bool changed;
    char *message; /* NULL: none */
    char *first;   /* server */
    struct server_ranges servers;
};

struct step_groups {
    char *name;
    struct array groups; /* struct group */
    int64_t others;      /* servers beyond GROUPS_MAX results */
};

struct findings {
    struct array steps; /* struct step_groups */
};

/* ---- Gathering ---------------------------------------------------------------------------------
 */

static void group_done(struct group *g)
{
    mem_free(g->message);
    mem_free(g->first);
    server_ranges_done(&g->servers);
}

static void findings_done(struct findings *f)
{
    for (size_t i = 0; i < f->steps.count; i++) {
        struct step_groups *s = ARRAY_AT(&f->steps, struct step_groups, i);
        for (size_t k = 0; k < s->groups.count; k++)
            group_done(ARRAY_AT(&s->groups, struct group, k));
        mem_free(s->groups.items);
        mem_free(s->name);
    }
    mem_free(f->steps.items);
}

static bool same_text(const char *a, const char *b)
{
    return a && b ? strcmp(a, b) == 0 : a == b;
}

static struct group *group_find(struct step_groups *s, const struct api_step *step)
{
    for (size_t i = 0; i < s->groups.count; i++) {
        struct group *g = ARRAY_AT(&s->groups, struct group, i);
        if (g->state == step->state && g->changed == step->changed &&
            same_text(g->message, step->message))
            return g;
    }
    return NULL;
}

/* NULL: out of memory. */
static struct group *group_add(struct step_groups *s, const struct api_step *step,
                               const char *server)
{
    struct group g = {.state = step->state,
                      .changed = step->changed,
                      .message = step->message ? mem_strdup(step->message) : NULL,
                      .first = mem_strdup(server)};
    if (!s->groups.items)
        s->groups.items = mem_array(GROUPS_MAX, sizeof(struct group));
    if (!s->groups.items || !g.first || (step->message && !g.message)) {
        group_done(&g);
        return NULL;
    }
    struct group *added = ARRAY_AT(&s->groups, struct group, s->groups.count);
    s->groups.count++;
    *added = g;
    return added;
}

static enum error_code take_step(struct step_groups *s, const struct api_step *step,
                                 const char *server, struct error *err)
{
    if (!s->name && !(s->name = mem_strdup(step->name)))
        return error_set(err, ERR_NO_MEMORY, NULL);
    if (step->state == STEP_PENDING || step->state == STEP_RUNNING)
        return ERR_OK;
    struct group *g = group_find(s, step);
    if (!g && s->groups.count == GROUPS_MAX) {
        s->others++;
        return ERR_OK;
    }
    if (!g && !(g = group_add(s, step, server)))
        return error_set(err, ERR_NO_MEMORY, NULL);
    server_ranges_add(&g->servers, server);
    return ERR_OK;
}

static enum error_code take_execution(struct findings *f, const struct api_execution *e,
                                      struct error *err)
{
    if (f->steps.count == 0 && e->steps.count > 0) {
        f->steps.items = mem_array(e->steps.count, sizeof(struct step_groups));
        if (!f->steps.items)
            return error_set(err, ERR_NO_MEMORY, NULL);
        f->steps.count = e->steps.count;
    }
    enum error_code code = ERR_OK;
    for (size_t i = 0; i < e->steps.count && i < f->steps.count && code == ERR_OK; i++)
        code = take_step(ARRAY_AT(&f->steps, struct step_groups, i),
                         ARRAY_AT(&e->steps, struct api_step, i), e->server, err);
    return code;
}

/* Page by page: of a large fleet the results are few. */
static int gather(struct cli *cli, const char *id, struct findings *f)
{
    int64_t offset = 0;
    for (bool more = true; more;) {
        AUTO_BUF struct buf path = BUF_INIT;
        struct api_rollout page = {0};
        struct error err = {0};
        buf_puts(&path, "/v1/rollouts/");
        url_put(&path, id);
        buf_printf(&path, "?limit=%d&offset=%lld", API_PAGE_MAX, (long long)offset);
        enum error_code code = buf_check(&path, &err);
        if (code != ERR_OK)
            return cli_fail(cli, &err);
        int status = cli_get_table(cli, path.data, &api_rollout_table, &page);
        for (size_t i = 0; i < page.executions.count && status == CLI_OK && code == ERR_OK; i++)
            code = take_execution(f, ARRAY_AT(&page.executions, struct api_execution, i), &err);
        offset += (int64_t)page.executions.count;
        more = page.more > 0 && page.executions.count > 0;
        json_release(&api_rollout_table, &page);
        if (status != CLI_OK)
            return status;
        if (code != ERR_OK)
            return cli_fail(cli, &err);
    }
    return CLI_OK;
}

/* ---- Printing ----------------------------------------------------------------------------------
 */

static enum ink line_ink(const char *line, size_t len)
{
    if (len > 1 && line[0] == '@' && line[1] == '@')
        return INK_DIM;
    if (len > 2 && (memcmp(line, "---", 3) == 0 || memcmp(line, "+++", 3) == 0))
        return INK_BOLD;
    return len > 0 && line[0] == '+' ? INK_GOOD : len > 0 && line[0] == '-' ? INK_BAD : INK_NONE;
}

static void put_lines(struct buf *b, const struct style *style, const char *text, size_t len)
{
    while (len > 0) {
        const char *newline = memchr(text, '\n', len);
        size_t line = newline ? (size_t)(newline - text) : len;
        enum ink ink = line_ink(text, line);
        buf_printf(b, "%*s", INDENT, "");
        render_ink_begin(b, style, ink);
        render_lines(b, text, line);
        render_ink_end(b, style, ink);
        buf_putc(b, '\n');
        size_t taken = newline ? line + 1 : line;
        text += taken;
        len -= taken;
    }
}

/* What there is to see of the change: the output of the group's first server. */
static int put_output(struct cli *cli, const char *id, const struct group *g, size_t number,
                      struct buf *b)
{
    AUTO_BUF struct buf path = BUF_INIT;
    AUTO_ANSWER struct answer answer = {0};
    struct error err = {0};
    buf_puts(&path, "/v1/rollouts/");
    url_put(&path, id);
    buf_puts(&path, "/servers/");
    url_put(&path, g->first);
    buf_printf(&path, "/steps/%zu/output", number);
    if (buf_check(&path, &err) != ERR_OK)
        return cli_fail(cli, &err);
    struct request request = {.method = "GET", .path = path.data, .repeatable = true};
    int status = cli_ask(cli, &request, &answer);
    if (status != CLI_OK || answer.status == STATUS_NOT_FOUND)
        return status;
    if (answer.status >= API_REFUSED)
        return cli_refused(cli, &answer);
    put_lines(b, &cli->style, answer.body.data, answer.body.len);
    return CLI_OK;
}

static int put_group(struct cli *cli, const char *id, const struct group *g, size_t number,
                     struct buf *b)
{
    bool good = g->state == STEP_SUCCEEDED;
    const char *word = step_state_names[g->state];
    if (good)
        word = g->changed ? "would change" : "unchanged";
    buf_puts(b, "  ");
    render_ink(b, &cli->style, good ? (g->changed ? INK_WARN : INK_GOOD) : INK_BAD, word);
    buf_puts(b, " on ");
    server_ranges_put(&g->servers, b);
    if (g->message) {
        buf_puts(b, ": ");
        render_text(b, g->message);
    }
    buf_putc(b, '\n');
    return g->changed || !good ? put_output(cli, id, g, number, b) : CLI_OK;
}

static int put_step(struct cli *cli, const char *id, const struct step_groups *s, size_t number)
{
    AUTO_BUF struct buf b = BUF_INIT;
    int status = CLI_OK;
    if (s->groups.count == 0)
        return CLI_OK;
    buf_printf(&b, "step %zu (", number);
    render_text(&b, s->name);
    buf_puts(&b, ")\n");
    for (size_t i = 0; i < s->groups.count && status == CLI_OK; i++)
        status = put_group(cli, id, ARRAY_AT(&s->groups, struct group, i), number, &b);
    if (s->others > 0) {
        buf_puts(&b, "  other results on ");
        words_servers(&b, s->others);
        buf_puts(&b, " (kitsune show --all -o json)\n");
    }
    if (status != CLI_OK)
        return status;
    return cli_write(cli, &b) ? CLI_OK : CLI_USAGE;
}

int check_show(struct cli *cli, const char *id)
{
    __attribute__((cleanup(findings_done))) struct findings f = {0};
    int status = gather(cli, id, &f);
    for (size_t i = 0; i < f.steps.count && status == CLI_OK; i++)
        status = put_step(cli, id, ARRAY_AT(&f.steps, struct step_groups, i), i + 1);
    return status;
}
