/* simulate: a plan played through by the engine that will run it, with servers that fail. */
#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/plan/plan_json.h"
#include "orchestrator/api/api_doc.h"
#include "orchestrator/cli/commands.h"
#include "orchestrator/cli/plan_file.h"
#include "orchestrator/cli/words.h"
#include "orchestrator/engine/forecast.h"

#include <inttypes.h>

enum { DEFAULT_STEP_MS = 5000, DEFAULT_SEED = 1 };

struct simulation {
    int state; /* enum rollout_state */
    const char *reason;
    int64_t duration_ms;
    int64_t servers, touched, peak, batch, batches, seed;
    struct api_counts counts;
};

static const struct json_enum states = {rollout_state_names, ROLLOUT_STATE_COUNT};

static const struct json_field simulation_fields[] = {
    {.name = "state", .type = JSON_ENUM, JSON_AT(struct simulation, state), .values = &states},
    {.name = "reason",
     .type = JSON_STRING,
     JSON_AT(struct simulation, reason),
     .flags = JSON_OMIT_EMPTY},
    {.name = "durationSeconds", .type = JSON_SECONDS, JSON_AT(struct simulation, duration_ms)},
    {.name = "servers", .type = JSON_INT, JSON_AT(struct simulation, servers)},
    {.name = "touched", .type = JSON_INT, JSON_AT(struct simulation, touched)},
    {.name = "peakInFlight", .type = JSON_INT, JSON_AT(struct simulation, peak)},
    {.name = "batch", .type = JSON_INT, JSON_AT(struct simulation, batch)},
    {.name = "batches", .type = JSON_INT, JSON_AT(struct simulation, batches)},
    {.name = "seed", .type = JSON_INT, JSON_AT(struct simulation, seed)},
    {.name = "counts",
     .type = JSON_OBJECT,
     JSON_AT(struct simulation, counts),
     .table = &api_counts_table},
};
static const struct json_table simulation_table =
    JSON_TABLE("Simulation", struct simulation, simulation_fields, "How a simulation ended.");

static struct simulation simulation_of(const struct forecast *f, const struct forecast_odds *odds)
{
    const struct engine_counts *c = &f->counts;
    return (struct simulation){
        .state = (int)f->state,
        .reason = f->reason[0] ? f->reason : NULL,
        .duration_ms = f->duration_ms,
        .servers = f->servers,
        .touched = f->touched,
        .peak = f->peak_in_flight,
        .batch = f->batches,
        .batches = f->batch_count,
        .seed = (int64_t)odds->seed,
        .counts = {.pending = c->pending,
                   .in_flight = c->in_flight,
                   .succeeded = c->succeeded,
                   .failed = c->failed,
                   .unreachable = c->unreachable,
                   .unknown = c->unknown,
                   .cancelled = c->cancelled,
                   .skipped = c->skipped,
                   .rolled_back = c->rolled_back,
                   .rollback_failed = c->rollback_failed},
    };
}

/* ---- What it is asked --------------------------------------------------------------------------
 */

static enum error_code take_percent(const struct options *o, enum option_id id, double *ret,
                                    struct error *err)
{
    if (!option_given(o, id) || plan_percent_parse(o->texts[id], ret))
        return ERR_OK;
    return error_set(err, ERR_INVALID,
                     "--%s: \"%.64s\" is not a percentage such as \"2%%\", from 0%% to 100%%",
                     option_specs[id].name, o->texts[id]);
}

static enum error_code take_time(const struct options *o, enum option_id id, int64_t *ret_ms,
                                 struct error *err)
{
    const int64_t longest_ms = (int64_t)PLAN_MAX_SECONDS * 1000;
    if (!option_given(o, id))
        return ERR_OK;
    enum error_code code = duration_parse(o->texts[id], ret_ms, err);
    if (code != ERR_OK)
        return error_wrap(err, "--%s", option_specs[id].name);
    if (*ret_ms > longest_ms)
        return error_set(err, ERR_INVALID, "--%s: \"%.64s\" is more than 30 days",
                         option_specs[id].name, o->texts[id]);
    return ERR_OK;
}
_Static_assert(PLAN_MAX_SECONDS == 30 * 24 * 3600, "a message names this limit");

static enum error_code take_odds(const struct options *o, struct forecast_odds *ret,
                                 struct error *err)
{
    *ret = (struct forecast_odds){.seed = DEFAULT_SEED, .step_ms = DEFAULT_STEP_MS};
    if (option_given(o, OPT_SEED))
        ret->seed = (uint64_t)o->numbers[OPT_SEED];
    enum error_code code = take_percent(o, OPT_FAIL, &ret->failing_percent, err);
    if (code == ERR_OK)
        code = take_percent(o, OPT_UNREACHABLE, &ret->unreachable_percent, err);
    if (code == ERR_OK)
        code = take_time(o, OPT_STEP_TIME, &ret->step_ms, err);
    if (code != ERR_OK)
        return code;
    ret->undo_ms = ret->step_ms;
    if (ret->failing_percent + ret->unreachable_percent > 100)
        return error_set(err, ERR_INVALID,
                         "--fail and --unreachable are shares of the same servers, and together "
                         "more than 100%%");
    return ERR_OK;
}

/* ---- What came of it ---------------------------------------------------------------------------
 */

static bool write_words(struct cli *cli, const struct simulation *s)
{
    AUTO_BUF struct buf b = BUF_INIT;
    char duration[CLOCK_TEXT_MAX];
    enum rollout_state state = (enum rollout_state)s->state;
    duration_format(s->duration_ms, duration);
    render_ink(&b, &cli->style, rollout_ink(state), rollout_state_names[state]);
    buf_printf(&b, " after %s", duration);
    if (s->reason) {
        buf_puts(&b, ": ");
        render_text(&b, s->reason);
    }
    buf_printf(&b, "\nservers    %" PRId64 ": ", s->servers);
    words_counts(&b, &s->counts);
    buf_puts(&b, "\ntouched    ");
    words_servers(&b, s->touched);
    buf_printf(&b, ", at most %" PRId64 " at once", s->peak);
    buf_printf(&b, "\nbatches    %" PRId64 " of %" PRId64 "\n", s->batch, s->batches);
    return cli_write(cli, &b);
}

int cmd_simulate(struct cli *cli)
{
    AUTO_PLAN_FILE struct plan_file file = {0};
    struct forecast_odds odds;
    struct forecast f;
    struct error err = {0};
    if (take_odds(&cli->options, &odds, &err) != ERR_OK)
        return cli_fail(cli, &err);
    int status = plan_file_read_good(cli, cli->options.args[0], &file);
    if (status != CLI_OK)
        return status;
    if (forecast_run(file.plan, &odds, NULL, NULL, &f, &err) != ERR_OK)
        return cli_fail(cli, &err);
    struct simulation s = simulation_of(&f, &odds);
    if (odds.failing_percent > 0 && !forecast_can_fail(file.plan))
        cli_say(cli, "no step's failure is its server's, so that no server fails");
    bool ok =
        cli->options.json ? cli_write_table(cli, &simulation_table, &s) : write_words(cli, &s);
    return ok ? cli_outcome(f.state) : CLI_USAGE;
}
