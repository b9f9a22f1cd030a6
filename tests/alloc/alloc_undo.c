/*
 * The agent's own journal, SQLite's memory included. Where the writer's thread is out of memory the
 * journal has ended: it is opened again, and has all or nothing of what was given to it.
 */
#include "agent/undo_journal_internal.h"
#include "alloc/alloc.h"
#include "alloc/alloc_sqlite.h"
#include "common/base/alloc.h"

#include <ftw.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define NOW_MS INT64_C(1795242356123)
#define LONG_AFTER_MS (NOW_MS + 2 * UNDO_RETENTION_DEFAULT_MS)

static const char spec[] = "{\"v\":1,\"type\":\"execute\"}";

struct world {
    struct alloc_world base;
    char dir[64];
    struct undo_journal *journal;
    struct buf text;
    enum error_code result;
    unsigned done;
};

static void no_wake(void *ctx)
{
    (void)ctx;
}

static enum error_code run_open(void *world, struct error *err)
{
    struct world *w = world;
    const struct undo_journal_config config = {.data_dir = w->dir, .wake = no_wake};
    return undo_journal_open(&config, &w->journal, err);
}

static void reopen(struct world *w)
{
    struct error err = {0};
    undo_journal_close(w->journal);
    w->journal = NULL;
    if (run_open(w, &err) != ERR_OK)
        fail_msg("%s", err.message);
}

/* ---- Writing --------------------------------------------------------------------------------- */

static void take_done(void *ctx, enum error_code result)
{
    struct world *w = ctx;
    w->done++;
    w->result = result;
}

static enum error_code append(struct world *w, const char *rollout, bool settled, struct error *err)
{
    char message[] = "why", output[] = "printed\n", undo[] = "{\"existed\":false}";
    const struct wire_entry entries[] = {
        {.seq = 1, .type = REPORT_STARTED, .step = -1, .state = EXECUTION_RUNNING},
        {.seq = 2,
         .type = REPORT_STEP_ENDED,
         .attempt = 1,
         .state = STEP_FAILED,
         .message = message,
         .output = output},
    };
    const struct undo_capture capture = {.step = 0, .undo = undo};
    const struct undo_append append = {
        .server = "s1",
        .rollout = rollout,
        .spec = spec,
        .spec_len = sizeof(spec) - 1,
        .entries = entries,
        .entry_count = 2,
        .captures = &capture,
        .capture_count = 1,
        .settled = settled,
        .time_ms = NOW_MS,
        .nonce = rollout,
        .nonce_expires_ms = NOW_MS,
        .done = take_done,
        .ctx = w,
    };
    return undo_journal_append(w->journal, &append, err);
}

/* To the end of what was given to the writer. */
static enum error_code written(struct world *w, enum error_code code, struct error *err)
{
    bool final = false;
    if (code != ERR_OK)
        return code;
    while (writer_stats(w->journal->writer).queued > 0)
        writer_wait(w->journal->writer);
    undo_journal_collect(w->journal);
    if (!undo_journal_stalled(w->journal, &final, err))
        return ERR_OK;
    assert_true(final);
    return err->code;
}

static enum error_code write_all(void *world, struct error *err)
{
    struct world *w = world;
    enum error_code code = append(w, "r-new", false, err);
    if (code == ERR_OK)
        code = undo_journal_ack(w->journal, "s1", "r-new", 1, err);
    if (code == ERR_OK)
        code = undo_journal_save_epoch(w->journal, "s1", "o", 7, err);
    return written(w, code, err);
}

static enum error_code expire(void *world, struct error *err)
{
    struct world *w = world;
    return written(w, undo_journal_expire(w->journal, LONG_AFTER_MS, NULL, NULL, err), err);
}

/* The agent ends and starts again. */
static enum error_code write_again(void *world, struct error *err)
{
    reopen(world);
    return write_all(world, err);
}

static enum error_code expire_again(void *world, struct error *err)
{
    reopen(world);
    return expire(world, err);
}

/* ---- Worlds ---------------------------------------------------------------------------------- */

static void begin_folder(void *world)
{
    struct world *w = world;
    (void)snprintf(w->dir, sizeof(w->dir), "%s/kitsune-alloc-XXXXXX",
                   access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    assert_non_null(mkdtemp(w->dir));
}

/* One execution that is over and acknowledged, one that is not. */
static void begin_open(void *world)
{
    struct world *w = world;
    struct error err = {0};
    begin_folder(world);
    reopen(w);
    enum error_code code = append(w, "r-old", true, &err);
    if (code == ERR_OK)
        code = undo_journal_ack(w->journal, "s1", "r-old", 2, &err);
    if (code == ERR_OK)
        code = append(w, "r-open", false, &err);
    if (code == ERR_OK)
        code = undo_journal_save_epoch(w->journal, "s1", "o", 3, &err);
    if (written(w, code, &err) != ERR_OK)
        fail_msg("%s", err.message);
}

static void begin_closed(void *world)
{
    struct world *w = world;
    begin_open(world);
    undo_journal_close(w->journal);
    w->journal = NULL;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

static void end(void *world)
{
    struct world *w = world;
    undo_journal_close(w->journal);
    buf_done(&w->text);
    (void)nftw(w->dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

/* ---- Reading --------------------------------------------------------------------------------- */

static enum error_code each_open(void *ctx, const char *rollout, const struct undo_status *status,
                                 struct error *err)
{
    (void)err;
    buf_printf(&((struct world *)ctx)->text, "%s %" PRId64 "/%" PRId64 " %d\n", rollout,
               status->acked_seq, status->last_seq, status->settled);
    return ERR_OK;
}

static void put_entries(struct buf *b, const struct array *entries)
{
    for (size_t i = 0; i < entries->count; i++)
        json_encode(b, &wire_entry_table, ARRAY_AT(entries, struct wire_entry, i));
}

static enum error_code read_end(struct world *w, enum error_code code, struct error *err)
{
    return code == ERR_OK ? buf_check(&w->text, err) : code;
}

static enum error_code run_executions(void *world, struct error *err)
{
    struct world *w = world;
    buf_clear(&w->text);
    return read_end(w, undo_journal_open_executions(w->journal, "s1", each_open, w, err), err);
}

static enum error_code run_find(void *world, struct error *err)
{
    struct world *w = world;
    struct undo_status status = {0};
    buf_clear(&w->text);
    enum error_code code = undo_journal_find(w->journal, "s1", "r-old", NOW_MS, &status, err);
    buf_printf(&w->text, "%" PRId64, status.last_seq);
    return read_end(w, code, err);
}

static enum error_code run_load(void *world, struct error *err)
{
    struct world *w = world;
    struct undo_image image = {0};
    buf_clear(&w->text);
    enum error_code code = undo_journal_load(w->journal, "s1", "r-open", &image, err);
    buf_printf(&w->text, "%s %zu ", image.spec == NULL ? "none" : image.spec, image.captured.count);
    put_entries(&w->text, &image.entries);
    undo_image_done(&image);
    return read_end(w, code, err);
}

static enum error_code run_entries(void *world, struct error *err)
{
    static const struct undo_portion portion = {.after_seq = 1, .max_bytes = 99, .max_count = 9};
    struct world *w = world;
    struct array entries = {0};
    buf_clear(&w->text);
    enum error_code code =
        undo_journal_entries(w->journal, "s1", "r-open", &portion, &entries, err);
    put_entries(&w->text, &entries);
    undo_entries_done(&entries);
    return read_end(w, code, err);
}

static enum error_code run_capture(void *world, struct error *err)
{
    struct world *w = world;
    char *undo = NULL;
    buf_clear(&w->text);
    enum error_code code = undo_journal_capture(w->journal, "s1", "r-open", 0, &undo, err);
    buf_puts(&w->text, undo == NULL ? "" : undo);
    mem_free(undo);
    return read_end(w, code, err);
}

static enum error_code run_nonce(void *world, struct error *err)
{
    struct world *w = world;
    char rollout[ID_BUFFER] = "";
    buf_clear(&w->text);
    enum error_code code = undo_journal_nonce(w->journal, "s1", "r-open", rollout, err);
    buf_puts(&w->text, rollout);
    return read_end(w, code, err);
}

static enum error_code run_epoch(void *world, struct error *err)
{
    struct world *w = world;
    int64_t epoch = -1;
    buf_clear(&w->text);
    enum error_code code = undo_journal_epoch(w->journal, "s1", "o", &epoch, err);
    buf_printf(&w->text, "%" PRId64, epoch);
    return read_end(w, code, err);
}

static void look_text(void *world, struct buf *b)
{
    const struct world *w = world;
    buf_append(b, w->text.len > 0 ? w->text.data : "", w->text.len);
}

/* All there is, as the next agent sees it. */
static void look_all(void *world, struct buf *b)
{
    struct world *w = world;
    struct undo_status status = {0};
    struct error err = {0};
    int64_t epoch = 0;
    char spent[ID_BUFFER] = "none";
    assert_int_equal(run_executions(world, &err), ERR_OK);
    look_text(world, b);
    error_ignore(undo_journal_nonce(w->journal, "s1", "r-old", spent, &err));
    buf_printf(b, "spent: %s\n", spent);
    enum error_code found = undo_journal_find(w->journal, "s1", "r-old", NOW_MS, &status, &err);
    assert_int_equal(undo_journal_epoch(w->journal, "s1", "o", &epoch, &err), ERR_OK);
    buf_printf(b, "r-old: %s, epoch %" PRId64, error_code_name(found), epoch);
}

/* ---- Tests ----------------------------------------------------------------------------------- */

static struct alloc_op op_of(const char *name, void (*begin)(void *),
                             enum error_code (*run)(void *, struct error *),
                             void (*look)(void *, struct buf *))
{
    return (struct alloc_op){.name = name,
                             .world_size = sizeof(struct world),
                             .begin = begin,
                             .run = run,
                             .look = look,
                             .end = end};
}

static void sweep_reading(const char *name, enum error_code (*run)(void *, struct error *))
{
    struct alloc_op op = op_of(name, begin_open, run, look_text);
    op.lasting = true;
    assert_true(alloc_sweep(&op) > 0);
}

static void a_journal_is_opened_or_left_as_it_was(void **state)
{
    (void)state;
    struct alloc_op fresh = op_of("undo: open, new", begin_folder, run_open, look_all);
    struct alloc_op there = op_of("undo: open", begin_closed, run_open, look_all);
    fresh.stride = there.stride = 29;
    assert_true(alloc_sweep(&fresh) > 0);
    assert_true(alloc_sweep(&there) > 0);
}

static void what_is_read_is_whole_or_not_given(void **state)
{
    (void)state;
    sweep_reading("undo: open executions", run_executions);
    sweep_reading("undo: find", run_find);
    sweep_reading("undo: load", run_load);
    sweep_reading("undo: entries", run_entries);
    sweep_reading("undo: capture", run_capture);
    sweep_reading("undo: nonce", run_nonce);
    sweep_reading("undo: epoch", run_epoch);
}

static void an_append_is_taken_or_left(void **state)
{
    (void)state;
    struct alloc_op op = op_of("undo: write", begin_open, write_all, look_all);
    assert_true(alloc_sweep(&op) > 0);
}

static void what_cannot_be_written_is_not_there(void **state)
{
    (void)state;
    struct alloc_op op = op_of("undo: write (its thread)", begin_open, write_all, look_all);
    op.again = write_again;
    op.failing = &alloc_sqlite_others;
    op.stride = 4;
    assert_true(alloc_sweep(&op) > 0);
}

static void what_is_old_goes_whole_or_another_time(void **state)
{
    (void)state;
    struct alloc_op op = op_of("undo: expire (its thread)", begin_open, expire, look_all);
    op.again = expire_again;
    op.failing = &alloc_sqlite_others;
    op.stride = 4;
    assert_true(alloc_sweep(&op) > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_journal_is_opened_or_left_as_it_was),
        cmocka_unit_test(what_is_read_is_whole_or_not_given),
        cmocka_unit_test(an_append_is_taken_or_left),
        cmocka_unit_test(what_cannot_be_written_is_not_there),
        cmocka_unit_test(what_is_old_goes_whole_or_another_time),
    };
    alloc_sqlite_install(true);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
