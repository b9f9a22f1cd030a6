#include "orchestrator/cli/plan_file.h"

#include "handlers/catalog.h"

#include <errno.h>
#include <string.h>

static int read_all(struct cli *cli, FILE *in, struct plan_file *file)
{
    char piece[65536];
    size_t n = 0;
    struct error err = {0};
    /* One byte more than a plan may have, so that the parser sees that it is too long. */
    file->text.max = (size_t)PLAN_MAX_BYTES + sizeof(piece);
    while (file->text.len <= PLAN_MAX_BYTES && (n = fread(piece, 1, sizeof(piece), in)) > 0)
        buf_append(&file->text, piece, n);
    if (ferror(in)) {
        cli_say(cli, "%s: cannot be read: %s", file->name, strerror(errno));
        return CLI_USAGE;
    }
    return buf_check(&file->text, &err) == ERR_OK ? CLI_OK : cli_fail(cli, &err);
}

static int check(struct cli *cli, struct plan_file *file)
{
    struct error err = {0};
    enum error_code code = plan_parse(file->text.len > 0 ? file->text.data : "", file->text.len,
                                      &handler_catalog, &file->plan, &file->problems, &err);
    if (code == ERR_OK || (code != ERR_NO_MEMORY && file->problems.count > 0))
        return CLI_OK;
    cli_say(cli, "%s: %s", file->name, err.message);
    return CLI_USAGE;
}

int plan_file_read(struct cli *cli, const char *name, struct plan_file *ret_file)
{
    int status = CLI_OK;
    ret_file->name = name;
    if (strcmp(name, "-") == 0) {
        ret_file->name = "standard input";
        status = read_all(cli, cli->io->in, ret_file);
    } else {
        FILE *in = fopen(name, "re");
        if (!in) {
            cli_say(cli, "%s: cannot be opened: %s", name, strerror(errno));
            return CLI_USAGE;
        }
        status = read_all(cli, in, ret_file);
        (void)fclose(in);
    }
    return status == CLI_OK ? check(cli, ret_file) : status;
}

int plan_file_read_good(struct cli *cli, const char *name, struct plan_file *ret_file)
{
    int status = plan_file_read(cli, name, ret_file);
    if (status != CLI_OK || ret_file->plan)
        return status;
    plan_file_say_faults(cli, ret_file);
    return CLI_USAGE;
}

void plan_file_say_faults(struct cli *cli, const struct plan_file *file)
{
    AUTO_BUF struct buf b = BUF_INIT;
    plan_file_faults(file, &b);
    if (b.len > 0 && fwrite(b.data, 1, b.len, cli->io->err) == b.len)
        (void)fflush(cli->io->err);
    cli_say(cli, "%s: the plan has %zu fault%s", file->name, file->problems.total,
            file->problems.total == 1 ? "" : "s");
}

void plan_file_faults(const struct plan_file *file, struct buf *b)
{
    const struct problems *ps = &file->problems;
    for (size_t i = 0; i < ps->count; i++) {
        render_text(b, file->name);
        buf_puts(b, ": ");
        render_text(b, ps->items[i].path);
        buf_puts(b, ps->items[i].path[0] ? ": " : "");
        render_text(b, ps->items[i].message);
        buf_putc(b, '\n');
    }
    if (ps->total > ps->count) {
        render_text(b, file->name);
        buf_printf(b, ": and %zu more\n", ps->total - ps->count);
    }
}

void plan_file_done(struct plan_file *file)
{
    buf_done(&file->text);
    plan_free(file->plan);
    problems_done(&file->problems);
}

uint32_t plan_batches(const struct plan *plan)
{
    uint32_t batches = 0;
    for (uint32_t left = plan_server_count(plan); left > 0; batches++) {
        uint32_t size = plan_batch_size(plan, batches, left);
        left -= size < left ? size : left;
    }
    return batches;
}
