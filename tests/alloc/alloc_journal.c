/*
 * The orchestrator's journal, SQLite's memory included: opened, filled, written, looked at, copied,
 * relieved of what is old. Where the writer's thread is out of memory the journal has ended, as its
 * header says: it is opened again, and has all or nothing of what was given to it.
 */
#include "alloc/alloc_sqlite.h"
#include "alloc/journal_world.h"
#include "common/base/alloc.h"
#include "common/base/cleanup.h"

#include <string.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* ---- Opening --------------------------------------------------------------------------------- */

static enum error_code run_open(void *world, struct error *err)
{
    struct journal_world *w = world;
    return journal_open(w->rig.dir, rig_wake, &w->rig, &w->rig.journal, err);
}

static void look_list(void *world, struct buf *b)
{
    struct journal_world *w = world;
    struct error err = {0};
    if (journal_list(w->rig.journal, NULL, 10, journal_look_rollout, b, &err) != ERR_OK)
        fail_msg("%s", err.message);
}

static void a_journal_is_opened_or_left_as_it_was(void **state)
{
    (void)state;
    journal_sweep_long("journal: open, new", journal_begin_folder, run_open, look_list);
    journal_sweep_long("journal: open", journal_begin_closed, run_open, look_list);
}

static enum error_code run_accept(void *world, struct error *err)
{
    return journal_accept_restored(((struct journal_world *)world)->rig.dir, 9, err);
}

static void look_epoch(void *world, struct buf *b)
{
    struct journal_world *w = world;
    rig_open(&w->rig);
    buf_printf(b, "%lld", (long long)journal_epoch(w->rig.journal));
    rig_close(&w->rig);
}

static void a_restored_journal_is_accepted_or_not(void **state)
{
    (void)state;
    journal_sweep_long("journal: accept a restored one", journal_begin_closed, run_accept,
                       look_epoch);
}

static void take_finding(void *ctx, const struct journal_finding *finding)
{
    struct journal_world *w = ctx;
    w->findings++;
    buf_printf(&w->text, "%s %s\n", finding->rollout == NULL ? "" : finding->rollout,
               finding->what);
}

static enum error_code run_check(void *world, struct error *err)
{
    struct journal_world *w = world;
    struct journal_checked checked;
    w->findings = 0;
    return journal_check(w->rig.dir, take_finding, w, &checked, err);
}

static void look_findings(void *world, struct buf *b)
{
    buf_printf(b, "%llu findings", (unsigned long long)((struct journal_world *)world)->findings);
}

/* Whose summary does not fit its events: rig_rollout says what it likes. */
static void want_of_memory_is_no_damage(void **state)
{
    (void)state;
    journal_sweep_long("journal: check", journal_begin_closed, run_check, look_findings);
}

/* ---- Filling an append ----------------------------------------------------------------------- */

static enum error_code fill(struct journal_world *w, struct error *err)
{
    struct event created = rig_event(EVENT_ROLLOUT_CREATED, EVENT_NO_SERVER);
    struct event ended = rig_event(EVENT_STEP_ENDED, 1);
    const struct journal_output output = {
        .server = 1, .step = 0, .attempt = 1, .text = "printed", .len = 7};
    created.by = "me";
    ended.step = 0;
    ended.attempt = 1;
    ended.message = "a message";
    enum error_code code = journal_append_new("r-new", 1, &w->append, err);
    if (code == ERR_OK)
        code = journal_append_create(w->append, w->rig.plan, rig_plan_text, strlen(rig_plan_text),
                                     "me", err);
    if (code == ERR_OK)
        code = journal_append_event(w->append, w->rig.plan, &created, err);
    for (int i = 0; i < 8 && code == ERR_OK; i++)
        code = journal_append_event(w->append, w->rig.plan, &ended, err);
    if (code == ERR_OK)
        code = journal_append_output(w->append, &output, err);
    return code;
}

static enum error_code run_fill(void *world, struct error *err)
{
    struct journal_world *w = world;
    journal_append_free(TAKE(w->append));
    return fill(w, err);
}

static void look_append(void *world, struct buf *b)
{
    const struct journal_world *w = world;
    buf_printf(b, "up to %llu", (unsigned long long)journal_append_last_seq(w->append));
}

static void an_append_is_filled_or_free(void **state)
{
    (void)state;
    journal_sweep("journal: an append", journal_begin_folder, run_fill, look_append);
}

static enum error_code run_event(void *world, struct error *err)
{
    struct journal_world *w = world;
    struct event event = rig_event(EVENT_EXECUTION_STARTED, 2);
    return journal_append_event(w->append, w->rig.plan, &event, err);
}

static void begin_filled(void *world)
{
    struct journal_world *w = world;
    struct error err = {0};
    journal_begin_folder(world);
    assert_int_equal(fill(w, &err), ERR_OK);
    /* Nine there are; the arrays are full at sixteen. */
    for (int i = 0; i < 7; i++)
        assert_int_equal(run_event(world, &err), ERR_OK);
}

static void an_event_that_did_not_fit_leaves_the_append_as_it_was(void **state)
{
    (void)state;
    journal_sweep("journal: an event more", begin_filled, run_event, look_append);
}

/* ---- The writer's thread --------------------------------------------------------------------- */

static enum error_code write_append(void *world, struct error *err)
{
    struct journal_world *w = world;
    uint64_t settled = w->rig.settled;
    journal_append(w->rig.journal, TAKE(w->append), rig_settled, &w->rig);
    assert_true(rig_wait(&w->rig, settled + 1));
    *err = w->rig.last_error;
    return w->rig.last_result;
}

static void begin_written(void *world)
{
    struct error err = {0};
    journal_begin_open(world);
    assert_int_equal(fill(world, &err), ERR_OK);
}

/* The process ends, and starts again; what was not written is given once more. */
static enum error_code write_again(void *world, struct error *err)
{
    struct journal_world *w = world;
    bool final = false;
    assert_true(journal_stalled(w->rig.journal, &final, NULL) && final);
    rig_close(&w->rig);
    rig_open(&w->rig);
    enum error_code code = fill(w, err);
    return code == ERR_OK ? write_append(world, err) : code;
}

static void look_written(void *world, struct buf *b)
{
    struct journal_world *w = world;
    struct error err = {0};
    int32_t attempt = 0;
    look_list(world, b);
    if (journal_events(w->rig.journal, "r-new", 0, 100, journal_look_event, b, &err) != ERR_OK ||
        journal_output(w->rig.journal, "r-new", 1, 0, b, &attempt, &err) != ERR_OK)
        fail_msg("%s", err.message);
}

static void what_cannot_be_written_is_not_there(void **state)
{
    (void)state;
    struct alloc_op op =
        journal_op("journal: write (its thread)", begin_written, write_append, look_written);
    op.again = write_again;
    op.failing = &alloc_sqlite_others;
    op.stride = 4;
    assert_true(alloc_sweep(&op) > 0);
}

/* ---- Upkeep ---------------------------------------------------------------------------------- */

static void backed_up(void *ctx, enum error_code result, const struct error *err, int fd,
                      int64_t size_bytes)
{
    struct journal_world *w = ctx;
    w->ended = true;
    w->result = result;
    w->rig.last_error = err == NULL ? (struct error){0} : *err;
    if (fd >= 0) {
        buf_printf(&w->text, "%lld bytes", (long long)size_bytes);
        (void)close(fd);
    }
}

static void removed(void *ctx, enum error_code result, const struct error *err, uint64_t count)
{
    struct journal_world *w = ctx;
    w->ended = true;
    w->result = result;
    w->removed = count;
    w->rig.last_error = err == NULL ? (struct error){0} : *err;
}

static bool may_remove(void *ctx, const char *id)
{
    (void)ctx;
    (void)id;
    return true;
}

/* Both end with a wake. */
static enum error_code wait_end(struct journal_world *w, enum error_code code, struct error *err)
{
    while (code == ERR_OK && !w->ended)
        assert_true(rig_collect_next(&w->rig));
    if (code != ERR_OK)
        return code;
    *err = w->rig.last_error;
    return w->result;
}

static enum error_code run_backup(void *world, struct error *err)
{
    struct journal_world *w = world;
    w->ended = false;
    buf_clear(&w->text);
    enum error_code code = wait_end(w, journal_backup(w->rig.journal, backed_up, w, err), err);
    return code == ERR_OK ? buf_check(&w->text, err) : code;
}

static enum error_code run_retain(void *world, struct error *err)
{
    struct journal_world *w = world;
    const struct journal_retention how = {
        .before_ms = INT64_MAX, .may = may_remove, .done = removed, .ctx = w};
    w->ended = false;
    return wait_end(w, journal_retain(w->rig.journal, &how, err), err);
}

/* After the writer's end, as a process that starts again. */
static enum error_code retain_again(void *world, struct error *err)
{
    struct journal_world *w = world;
    rig_close(&w->rig);
    rig_open(&w->rig);
    return run_retain(world, err);
}

static void look_left(void *world, struct buf *b)
{
    struct journal_world *w = world;
    struct journal_checked checked;
    look_list(world, b);
    rig_close(&w->rig);
    w->findings = 0;
    assert_int_equal(journal_check(w->rig.dir, take_finding, w, &checked, NULL), ERR_OK);
    buf_printf(b, "%llu events\n", (unsigned long long)checked.events);
}

static void a_backup_is_whole_or_refused(void **state)
{
    (void)state;
    journal_sweep_reading("journal: backup", run_backup);
    struct alloc_op op = journal_op("journal: backup (its thread)", journal_begin_open, run_backup,
                                    journal_look_text);
    op.failing = &alloc_sqlite_others;
    op.lasting = true;
    op.stride = 11;
    assert_true(alloc_sweep(&op) > 0);
}

static void what_is_old_goes_whole_or_another_time(void **state)
{
    (void)state;
    journal_sweep("journal: retain", journal_begin_open, run_retain, look_left);
    struct alloc_op op =
        journal_op("journal: retain (its thread)", journal_begin_open, run_retain, look_left);
    op.again = retain_again;
    op.failing = &alloc_sqlite_others;
    op.stride = 4;
    assert_true(alloc_sweep(&op) > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_journal_is_opened_or_left_as_it_was),
        cmocka_unit_test(a_restored_journal_is_accepted_or_not),
        cmocka_unit_test(want_of_memory_is_no_damage),
        cmocka_unit_test(an_append_is_filled_or_free),
        cmocka_unit_test(an_event_that_did_not_fit_leaves_the_append_as_it_was),
        cmocka_unit_test(what_cannot_be_written_is_not_there),
        cmocka_unit_test(a_backup_is_whole_or_refused),
        cmocka_unit_test(what_is_old_goes_whole_or_another_time),
    };
    alloc_sqlite_install(false);
    return cmocka_run_group_tests(tests, journal_live, journal_forget);
}
