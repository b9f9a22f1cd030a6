/* preview: what a plan will do, and what a bad one can do, before it is started. */
#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "handlers/catalog.h"
#include "orchestrator/cli/commands.h"
#include "orchestrator/cli/plan_file.h"
#include "orchestrator/cli/words.h"
#include "orchestrator/engine/forecast.h"

#include <inttypes.h>

enum {
    BATCHES_SHOWN = 12, /* no more than these are shown in full */
    BATCHES_FIRST = 9,
    BATCHES_LAST = 2
};
_Static_assert(BATCHES_FIRST + BATCHES_LAST < BATCHES_SHOWN, "something is left out between");

/* ---- The document ------------------------------------------------------------------------------
 * Its texts are borrowed from the plan or static. */

struct preview_batch {
    int64_t number, size;
    const char *first, *last; /* servers */
};

struct preview_step {
    const char *name, *type, *lacks;
    int undo; /* enum step_undo */
};

struct preview {
    const char *name, *strategy, *scope;
    int64_t servers, canary;
    bool has_failures, has_unreachable; /* there is such a limit */
    bool unreachable_fail;              /* they count as failures */
    int64_t failures, unreachable;
    int64_t blast_radius;
    bool undoable;
    struct array batches, steps;
};

static const struct json_enum undos = {step_undo_names, STEP_UNDO_COUNT};

static const struct json_field batch_fields[] = {
    {.name = "number", .type = JSON_INT, JSON_AT(struct preview_batch, number)},
    {.name = "size", .type = JSON_INT, JSON_AT(struct preview_batch, size)},
    {.name = "first", .type = JSON_STRING, JSON_AT(struct preview_batch, first)},
    {.name = "last", .type = JSON_STRING, JSON_AT(struct preview_batch, last)},
};
static const struct json_table batch_table =
    JSON_TABLE("batch", struct preview_batch, batch_fields, "Servers that go together.");
static const struct json_field batch_item = {.type = JSON_OBJECT, .table = &batch_table};

static const struct json_field step_fields[] = {
    {.name = "name", .type = JSON_STRING, JSON_AT(struct preview_step, name)},
    {.name = "type", .type = JSON_STRING, JSON_AT(struct preview_step, type)},
    {.name = "undo", .type = JSON_ENUM, JSON_AT(struct preview_step, undo), .values = &undos},
    {.name = "lacks",
     .type = JSON_STRING,
     JSON_AT(struct preview_step, lacks),
     .flags = JSON_OMIT_EMPTY},
};
static const struct json_table step_table =
    JSON_TABLE("step", struct preview_step, step_fields, "A step, and whether it can be undone.");
static const struct json_field step_item = {.type = JSON_OBJECT, .table = &step_table};

static const struct json_field preview_fields[] = {
    {.name = "name", .type = JSON_STRING, JSON_AT(struct preview, name), .flags = JSON_OMIT_EMPTY},
    {.name = "strategy", .type = JSON_STRING, JSON_AT(struct preview, strategy)},
    {.name = "rollback", .type = JSON_STRING, JSON_AT(struct preview, scope)},
    {.name = "servers", .type = JSON_INT, JSON_AT(struct preview, servers)},
    {.name = "canary", .type = JSON_INT, JSON_AT(struct preview, canary), .flags = JSON_OMIT_EMPTY},
    {.name = "failuresAllowed",
     .type = JSON_INT,
     JSON_AT(struct preview, failures),
     JSON_HAS(struct preview, has_failures)},
    {.name = "unreachableAllowed",
     .type = JSON_INT,
     JSON_AT(struct preview, unreachable),
     JSON_HAS(struct preview, has_unreachable)},
    {.name = "unreachableFail", .type = JSON_BOOL, JSON_AT(struct preview, unreachable_fail)},
    {.name = "blastRadius", .type = JSON_INT, JSON_AT(struct preview, blast_radius)},
    {.name = "undoable", .type = JSON_BOOL, JSON_AT(struct preview, undoable)},
    {.name = "steps", .type = JSON_ARRAY, JSON_AT(struct preview, steps), .item = &step_item},
    {.name = "batches", .type = JSON_ARRAY, JSON_AT(struct preview, batches), .item = &batch_item},
};
static const struct json_table preview_table =
    JSON_TABLE("Preview", struct preview, preview_fields, "What a plan will do.");

static void preview_done(struct preview *p)
{
    mem_free(p->batches.items);
    mem_free(p->steps.items);
}
#define AUTO_PREVIEW __attribute__((cleanup(preview_done)))

static enum error_code find_batches(const struct plan *plan, struct array *ret, struct error *err)
{
    uint32_t count = plan_batches(plan);
    uint32_t servers = plan_server_count(plan);
    struct preview_batch *batches = mem_array(count, sizeof(*batches));
    if (!batches)
        return error_set(err, ERR_NO_MEMORY, NULL);
    uint32_t first = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t size = plan_batch_size(plan, i, servers - first);
        batches[i] = (struct preview_batch){.number = (int64_t)i + 1,
                                            .size = size,
                                            .first = plan_server(plan, first),
                                            .last = plan_server(plan, first + size - 1)};
        first += size;
    }
    *ret = (struct array){.items = batches, .count = count};
    return ERR_OK;
}

static enum error_code find_steps(const struct plan *plan, struct preview *p, struct error *err)
{
    uint32_t count = plan_step_count(plan);
    struct preview_step *steps = mem_array(count, sizeof(*steps));
    if (!steps)
        return error_set(err, ERR_NO_MEMORY, NULL);
    p->steps = (struct array){.items = steps, .count = count};
    p->undoable = true;
    for (uint32_t i = 0; i < count; i++) {
        const struct plan_step *step = plan_step(plan, i);
        enum step_undo undo = STEP_UNDO_NO;
        enum error_code code = step_undo_find(&handler_catalog, step, &undo, &steps[i].lacks, err);
        if (code != ERR_OK)
            return code;
        steps[i].name = step->name;
        steps[i].type = step->type;
        steps[i].undo = (int)undo;
        p->undoable = p->undoable && undo != STEP_UNDO_NO;
    }
    return ERR_OK;
}

static enum error_code preview_of(const struct plan *plan, struct preview *p, struct error *err)
{
    uint32_t failures = plan_failures_allowed(plan);
    uint32_t unreachable = 0;
    bool apart = plan_unreachable_allowed(plan, &unreachable);
    p->name = plan->name;
    p->strategy = plan_strategy_name((enum plan_strategy_type)plan->strategy.type);
    p->scope = plan_scope_name((enum plan_scope)plan->rollback_scope);
    p->servers = plan_server_count(plan);
    if (plan->strategy.type == STRATEGY_CANARY)
        p->canary = plan_batch_size(plan, 0, plan_server_count(plan));
    p->has_failures = failures < UINT32_MAX;
    p->failures = failures;
    p->has_unreachable = apart && unreachable < UINT32_MAX;
    p->unreachable = unreachable;
    p->unreachable_fail = !apart;
    p->blast_radius = forecast_blast_radius(plan);
    enum error_code code = find_batches(plan, &p->batches, err);
    return code == ERR_OK ? find_steps(plan, p, err) : code;
}

/* ---- Words -------------------------------------------------------------------------------------
 */

static void put_name(struct buf *b, const char *name)
{
    buf_printf(b, "%-11s", name);
}

static void put_strategy(struct buf *b, const struct plan *plan, const struct preview *p)
{
    char delay[CLOCK_TEXT_MAX];
    put_name(b, "strategy");
    buf_printf(b, "%s, ", p->strategy);
    words_servers(b, p->servers);
    buf_printf(b, " in %zu batch%s", p->batches.count, p->batches.count == 1 ? "" : "es");
    if (plan->strategy.max_parallel > 0)
        buf_printf(b, ", at most %" PRId64 " at once", plan->strategy.max_parallel);
    if (plan->strategy.batch_delay_ms > 0) {
        duration_format(plan->strategy.batch_delay_ms, delay);
        buf_printf(b, ", %s between batches", delay);
    }
    buf_putc(b, '\n');
}

/* "more than 2 servers fail", "a server fails". */
static void put_excess(struct buf *b, int64_t allowed, const char *one, const char *many)
{
    if (allowed == 0) {
        buf_printf(b, "a server %s", one);
        return;
    }
    buf_puts(b, "more than ");
    words_servers(b, allowed);
    buf_printf(b, " %s", allowed == 1 ? one : many);
}

static void put_limits(struct buf *b, const struct preview *p)
{
    put_name(b, "stops");
    if (p->canary == 1)
        buf_puts(b, "when the canary server fails or cannot be reached; after it, ");
    else if (p->canary > 1)
        buf_printf(b,
                   "when one of the %" PRId64
                   " canary servers fails or cannot be reached; after them, ",
                   p->canary);
    if (p->has_failures) {
        buf_puts(b, "when ");
        put_excess(b, p->failures, "fails", "fail");
        buf_puts(b, p->unreachable_fail ? " or cannot be reached" : "");
    } else {
        buf_puts(b, "at no number of failures");
    }
    if (p->has_unreachable) {
        buf_puts(b, ", or when ");
        put_excess(b, p->unreachable, "cannot be reached", "cannot be reached");
    }
    buf_putc(b, '\n');
}

static void put_undo(struct buf *b, const struct plan *plan)
{
    static const char *const texts[SCOPE_COUNT] = {
        [SCOPE_ALL] = "all servers that were touched are undone",
        [SCOPE_FAILED] = "the servers that failed are undone",
        [SCOPE_NONE] = "nothing is undone",
    };
    put_name(b, "then");
    buf_printf(b, "%s\n", texts[plan->rollback_scope]);
}

static void put_blast_radius(struct cli *cli, struct buf *b, const struct plan *plan,
                             const struct preview *p)
{
    AUTO_BUF struct buf text = BUF_INIT;
    put_name(b, "at worst");
    buf_printf(&text, "%" PRId64 " of ", p->blast_radius);
    words_servers(&text, p->servers);
    render_ink(b, &cli->style, INK_BOLD, text.data);
    if (!forecast_can_fail(plan))
        buf_puts(b, " changed by a bad plan: no step's failure is its server's\n");
    else
        buf_puts(b, " changed by a plan that fails on every server\n");
}

static void put_batches(struct cli *cli, struct buf *b, const struct array *batches)
{
    static const struct column columns[] = {
        {"BATCH", true}, {"SIZE", true}, {"FIRST", false}, {"LAST", false}};
    AUTO_TABLE struct table table = {0};
    bool all = option_given(&cli->options, OPT_ALL) || batches->count <= BATCHES_SHOWN;
    size_t first = all ? batches->count : BATCHES_FIRST;
    size_t last = all ? batches->count : batches->count - BATCHES_LAST;
    table_init(&table, columns, ARRAY_LEN(columns));
    for (size_t i = 0; i < batches->count; i = i + 1 == first ? last : i + 1) {
        const struct preview_batch *batch = ARRAY_AT(batches, struct preview_batch, i);
        table_cell_int(&table, INK_NONE, batch->number);
        table_cell_int(&table, INK_NONE, batch->size);
        table_cell(&table, INK_NONE, batch->first);
        table_cell(&table, INK_NONE, batch->last);
    }
    table_flush(&table, &cli->style, b);
    if (last > first)
        buf_printf(b, "%zu more between them are not shown (--all shows them)\n", last - first);
}

static void put_steps(struct cli *cli, struct buf *b, const struct array *steps)
{
    static const struct column columns[] = {
        {"#", true}, {"STEP", false}, {"TYPE", false}, {"UNDONE", false}};
    static const char *const texts[STEP_UNDO_COUNT] = {
        [STEP_UNDO_YES] = "yes",
        [STEP_UNDO_NOTHING] = "changes nothing",
        [STEP_UNDO_NO] = "no: ",
    };
    static const enum ink inks[STEP_UNDO_COUNT] = {
        [STEP_UNDO_YES] = INK_GOOD, [STEP_UNDO_NOTHING] = INK_NONE, [STEP_UNDO_NO] = INK_BAD};
    AUTO_TABLE struct table table = {0};
    table_init(&table, columns, ARRAY_LEN(columns));
    table.wrap = true;
    for (size_t i = 0; i < steps->count; i++) {
        const struct preview_step *step = ARRAY_AT(steps, struct preview_step, i);
        AUTO_BUF struct buf undo = BUF_INIT;
        buf_printf(&undo, "%s%s", texts[step->undo], step->lacks ? step->lacks : "");
        table_cell_int(&table, INK_NONE, (int64_t)i + 1);
        table_cell(&table, INK_NONE, step->name);
        table_cell(&table, INK_NONE, step->type);
        table_cell(&table, inks[step->undo], undo.data);
    }
    table_flush(&table, &cli->style, b);
}

int cmd_preview(struct cli *cli)
{
    AUTO_PLAN_FILE struct plan_file file = {0};
    AUTO_PREVIEW struct preview p = {0};
    AUTO_BUF struct buf b = BUF_INIT;
    struct error err = {0};
    int status = plan_file_read_good(cli, cli->options.args[0], &file);
    if (status != CLI_OK)
        return status;
    if (preview_of(file.plan, &p, &err) != ERR_OK)
        return cli_fail(cli, &err);
    if (cli->options.json)
        return cli_write_table(cli, &preview_table, &p) ? CLI_OK : CLI_USAGE;
    if (p.name) {
        put_name(&b, "plan");
        render_text(&b, p.name);
        buf_putc(&b, '\n');
    }
    put_strategy(&b, file.plan, &p);
    put_limits(&b, &p);
    put_undo(&b, file.plan);
    put_blast_radius(cli, &b, file.plan, &p);
    buf_putc(&b, '\n');
    put_batches(cli, &b, &p.batches);
    buf_putc(&b, '\n');
    put_steps(cli, &b, &p.steps);
    return cli_write(cli, &b) ? CLI_OK : CLI_USAGE;
}
