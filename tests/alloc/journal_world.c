#include "alloc/journal_world.h"

#include <stdlib.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

bool journal_look_rollout(void *ctx, const struct journal_rollout *r)
{
    buf_printf(ctx, "%s %s %s %s %u of %u, %llu\n", r->id, r->name == NULL ? "-" : r->name,
               r->by == NULL ? "-" : r->by, rollout_state_names[r->summary.state],
               r->summary.counts.succeeded, r->summary.servers, (unsigned long long)r->last_seq);
    return true;
}

bool journal_look_event(void *ctx, uint64_t seq, const char *type, const char *json, size_t len)
{
    (void)type;
    buf_printf(ctx, "%llu ", (unsigned long long)seq);
    buf_append(ctx, json, len);
    buf_putc(ctx, '\n');
    return true;
}

void journal_look_text(void *world, struct buf *b)
{
    const struct journal_world *w = world;
    buf_append(b, w->text.len > 0 ? w->text.data : "", w->text.len);
}

void journal_end(void *world)
{
    struct journal_world *w = world;
    journal_append_free(w->append);
    buf_done(&w->text);
    rig_done(&w->rig);
}

/* An empty folder. */
void journal_begin_folder(void *world)
{
    rig_init_in_memory(&((struct journal_world *)world)->rig);
}

/* What the folder of a journal holds with a rollout that was lived through, and closed. */
static struct {
    char *journal, *epoch;
    size_t journal_len, epoch_len;
} lived;

int journal_live(void **state)
{
    struct rig rig;
    (void)state;
    rig_init_in_memory(&rig);
    rig_open(&rig);
    (void)rig_succeeded(&rig, "r-done");
    rig_rollout(&rig, "r-open", ROLLOUT_RUNNING);
    rig_close(&rig);
    lived.journal = rig_read_file(&rig, "journal.db", &lived.journal_len);
    lived.epoch = rig_read_file(&rig, "epoch", &lived.epoch_len);
    rig_done(&rig);
    return 0;
}

int journal_forget(void **state)
{
    (void)state;
    free(lived.journal);
    free(lived.epoch);
    return 0;
}

void journal_begin_closed(void *world)
{
    struct journal_world *w = world;
    rig_init_in_memory(&w->rig);
    rig_write_file(&w->rig, "journal.db", lived.journal, lived.journal_len);
    rig_write_file(&w->rig, "epoch", lived.epoch, lived.epoch_len);
}

void journal_begin_open(void *world)
{
    struct journal_world *w = world;
    journal_begin_closed(world);
    rig_open(&w->rig);
}

struct alloc_op journal_op(const char *name, void (*begin)(void *),
                           enum error_code (*run)(void *, struct error *),
                           void (*look)(void *, struct buf *))
{
    return (struct alloc_op){.name = name,
                             .world_size = sizeof(struct journal_world),
                             .begin = begin,
                             .run = run,
                             .look = look,
                             .end = journal_end};
}

void journal_sweep(const char *name, void (*begin)(void *),
                   enum error_code (*run)(void *, struct error *),
                   void (*look)(void *, struct buf *))
{
    struct alloc_op op = journal_op(name, begin, run, look);
    assert_true(alloc_sweep(&op) > 0);
}

void journal_sweep_long(const char *name, void (*begin)(void *),
                        enum error_code (*run)(void *, struct error *),
                        void (*look)(void *, struct buf *))
{
    struct alloc_op op = journal_op(name, begin, run, look);
    op.stride = 11;
    assert_true(alloc_sweep(&op) > 0);
}

/* One journal for all tries. */
void journal_sweep_reading(const char *name, enum error_code (*run)(void *, struct error *))
{
    struct alloc_op op = journal_op(name, journal_begin_open, run, journal_look_text);
    op.lasting = true;
    assert_true(alloc_sweep(&op) > 0);
}
