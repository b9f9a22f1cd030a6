/*
 * What the orchestrator's journal gives to readers, with every allocation of SQLite failing, the
 * small ones too: a text that could not be had must not be taken for one that is not there, nor for
 * damage.
 */
#include "alloc/alloc_sqlite.h"
#include "alloc/journal_world.h"
#include "common/base/id.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static bool take_rollout(void *ctx, const struct journal_rollout *r)
{
    return journal_look_rollout(&((struct journal_world *)ctx)->text, r);
}

static bool take_event(void *ctx, uint64_t seq, const char *type, const char *json, size_t len)
{
    return journal_look_event(&((struct journal_world *)ctx)->text, seq, type, json, len);
}

/* What is read comes into w->text, which may fail as well. */
static enum error_code read_end(struct journal_world *w, enum error_code code, struct error *err)
{
    return code == ERR_OK ? buf_check(&w->text, err) : code;
}

static enum error_code run_scan(void *world, struct error *err)
{
    struct journal_world *w = world;
    buf_clear(&w->text);
    return read_end(w, journal_scan_open(w->rig.journal, take_rollout, w, err), err);
}

static enum error_code run_list(void *world, struct error *err)
{
    struct journal_world *w = world;
    buf_clear(&w->text);
    return read_end(w, journal_list(w->rig.journal, "r-open", 10, take_rollout, w, err), err);
}

static enum error_code run_get(void *world, struct error *err)
{
    struct journal_world *w = world;
    buf_clear(&w->text);
    return read_end(w, journal_get(w->rig.journal, "r-done", take_rollout, w, err), err);
}

static enum error_code run_resolve(void *world, struct error *err)
{
    struct journal_world *w = world;
    char id[ID_BUFFER] = "";
    buf_clear(&w->text);
    enum error_code code = journal_resolve(w->rig.journal, "r-d", id, err);
    buf_puts(&w->text, id);
    return read_end(w, code, err);
}

static enum error_code run_load(void *world, struct error *err)
{
    struct journal_world *w = world;
    struct plan *plan = NULL;
    struct engine *engine = NULL;
    uint64_t last_seq = 0;
    buf_clear(&w->text);
    enum error_code code = journal_load(w->rig.journal, "r-done", &plan, &engine, &last_seq, err);
    if (code == ERR_OK)
        buf_printf(&w->text, "%s %llu", rollout_state_names[engine_state(engine)],
                   (unsigned long long)last_seq);
    engine_free(engine);
    plan_free(plan);
    return read_end(w, code, err);
}

static enum error_code run_plan_text(void *world, struct error *err)
{
    struct journal_world *w = world;
    buf_done(&w->text);
    return journal_plan_text(w->rig.journal, "r-done", &w->text, err);
}

static enum error_code run_events(void *world, struct error *err)
{
    struct journal_world *w = world;
    buf_clear(&w->text);
    return read_end(w, journal_events(w->rig.journal, "r-done", 2, 5, take_event, w, err), err);
}

static enum error_code run_message(void *world, struct error *err)
{
    struct journal_world *w = world;
    buf_done(&w->text);
    return journal_event_message(w->rig.journal, "r-done", 6, &w->text, err);
}

static enum error_code run_output(void *world, struct error *err)
{
    struct journal_world *w = world;
    int32_t attempt = 0;
    buf_done(&w->text);
    return journal_output(w->rig.journal, "r-done", 1, 1, &w->text, &attempt, err);
}

static void what_is_read_is_whole_or_not_given(void **state)
{
    (void)state;
    journal_sweep_reading("journal: scan", run_scan);
    journal_sweep_reading("journal: list", run_list);
    journal_sweep_reading("journal: get", run_get);
    journal_sweep_reading("journal: resolve", run_resolve);
    journal_sweep_reading("journal: load", run_load);
    journal_sweep_reading("journal: plan", run_plan_text);
    journal_sweep_reading("journal: events", run_events);
    journal_sweep_reading("journal: message", run_message);
    journal_sweep_reading("journal: output", run_output);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_read_is_whole_or_not_given),
    };
    alloc_sqlite_install(true);
    return cmocka_run_group_tests(tests, journal_live, journal_forget);
}
