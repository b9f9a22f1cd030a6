/*
 * The dispatcher, from a plan that comes in to two servers that are undone, with every allocation
 * of every step of it failing. The orchestrator may refuse, drop a connection, or say that it
 * cannot go on and be started again; in the end everything is as if memory had never been out.
 */
#include "alloc/rollout_play.h"
#include "common/base/alloc.h"

#include <stdio.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { STEPS_MAX = 500 };

static void steps(struct play *p, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        (void)play_step(p);
}

static void begin_at(void *world)
{
    struct play *p = world;
    const unsigned *step = p->base.param;
    play_begin(p);
    steps(p, *step);
}

static enum error_code run_step(void *world, struct error *err)
{
    (void)err;
    (void)play_step(world);
    return ERR_OK;
}

static void nothing_is_lost_at_any_step_of_a_rollout(void **state)
{
    struct play whole = {0};
    unsigned count = 0;
    uint64_t points = 0;
    (void)state;
    play_begin(&whole);
    while (play_step(&whole))
        count++;
    play_end(&whole);
    assert_true(count > 30 && count < STEPS_MAX);
    for (unsigned step = 0; step < count; step++) {
        char name[64];
        (void)snprintf(name, sizeof(name), "dispatch: step %u of %u", step + 1, count);
        const struct alloc_op op = {.name = name,
                                    .world_size = sizeof(struct play),
                                    .param = &step,
                                    .begin = begin_at,
                                    .run = run_step,
                                    .look = play_look,
                                    .end = play_end,
                                    .once_only = true};
        points += alloc_sweep(&op);
    }
    print_message("dispatch: %llu allocations in %u steps\n", (unsigned long long)points, count);
}

/* As many steps as it takes for both servers to be at work. */
static void begin_at_work(void *world)
{
    struct play *p = world;
    play_begin(p);
    for (int i = 0; p->agents[0].acked < 2; i++) {
        assert_true(i < STEPS_MAX);
        (void)play_step(p);
    }
    /* The connections end with the process. */
    for (size_t i = 0; i < PLAY_AGENTS; i++) {
        struct play_agent *a = &p->agents[i];
        stand_net_disconnect(a->conn);
        *a = (struct play_agent){.acked = a->acked, .sent = a->acked, .known = a->known};
    }
}

static enum error_code run_restart(void *world, struct error *err)
{
    struct play *p = world;
    return world_restart(&p->world, err);
}

static void a_start_takes_up_everything_or_nothing(void **state)
{
    (void)state;
    const struct alloc_op op = {.name = "dispatch: start",
                                .world_size = sizeof(struct play),
                                .begin = begin_at_work,
                                .run = run_restart,
                                .look = play_look,
                                .end = play_end};
    assert_true(alloc_sweep(&op) > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_lost_at_any_step_of_a_rollout),
        cmocka_unit_test(a_start_takes_up_everything_or_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
