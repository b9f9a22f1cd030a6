#include "handlers/offload.h"

#include "common/base/alloc.h"

#include <semaphore.h>
#include <stdatomic.h>
#include <stdbool.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

struct job {
    uv_loop_t loop;
    sem_t may_end, freed;
    atomic_bool worked;
    bool done;
};

static void job_open(struct job *j)
{
    *j = (struct job){0};
    assert_int_equal(uv_loop_init(&j->loop), 0);
    assert_int_equal(sem_init(&j->may_end, 0, 0), 0);
    assert_int_equal(sem_init(&j->freed, 0, 0), 0);
}

static void job_close(struct job *j)
{
    assert_int_equal(uv_loop_close(&j->loop), 0);
    assert_int_equal(sem_destroy(&j->may_end), 0);
    assert_int_equal(sem_destroy(&j->freed), 0);
}

static void job_work(void *job)
{
    struct job *j = job;
    assert_int_equal(sem_wait(&j->may_end), 0);
    atomic_store(&j->worked, true);
}

static void job_done(void *job)
{
    struct job *j = job;
    assert_true(atomic_load(&j->worked));
    j->done = true;
}

static void job_free(void *job)
{
    struct job *j = job;
    (void)sem_post(&j->freed);
}

static const struct offload_job what = {job_work, job_done, job_free};

static void work_is_done_on_another_thread_and_told_on_the_loop(void **state)
{
    (void)state;
    struct job j;
    struct offload *o;
    job_open(&j);
    assert_int_equal(sem_post(&j.may_end), 0);
    assert_int_equal(offload_start(&j.loop, &what, &j, &o, NULL), ERR_OK);
    assert_int_equal(uv_run(&j.loop, UV_RUN_DEFAULT), 0);
    assert_true(j.done);
    assert_int_equal(sem_wait(&j.freed), 0);
    job_close(&j);
}

static void abandoned_work_ends_unheard_and_does_not_hold_the_loop(void **state)
{
    (void)state;
    struct job j;
    struct offload *o;
    job_open(&j);
    assert_int_equal(offload_start(&j.loop, &what, &j, &o, NULL), ERR_OK);
    offload_abandon(o);
    /* The work is under way still. */
    assert_int_equal(uv_run(&j.loop, UV_RUN_DEFAULT), 0);
    assert_int_equal(sem_trywait(&j.freed), -1);
    assert_int_equal(sem_post(&j.may_end), 0);
    assert_int_equal(sem_wait(&j.freed), 0);
    assert_false(j.done);
    job_close(&j);
}

/* Whichever of the two comes first, it is freed once and told at most once. */
static void abandoning_races_the_end(void **state)
{
    (void)state;
    for (int i = 0; i < 200; i++) {
        struct job j;
        struct offload *o;
        job_open(&j);
        assert_int_equal(offload_start(&j.loop, &what, &j, &o, NULL), ERR_OK);
        assert_int_equal(sem_post(&j.may_end), 0);
        if (i % 2 == 0) {
            while (!atomic_load(&j.worked))
                continue;
        }
        offload_abandon(o);
        assert_int_equal(uv_run(&j.loop, UV_RUN_DEFAULT), 0);
        assert_int_equal(sem_wait(&j.freed), 0);
        assert_int_equal(sem_trywait(&j.freed), -1);
        assert_false(j.done);
        job_close(&j);
    }
}

static void without_memory_nothing_begins(void **state)
{
    (void)state;
    struct job j;
    struct offload *o = NULL;
    job_open(&j);
    mem_fail_after(0);
    assert_int_equal(offload_start(&j.loop, &what, &j, &o, NULL), ERR_NO_MEMORY);
    mem_fail_never();
    assert_null(o);
    job_close(&j);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(work_is_done_on_another_thread_and_told_on_the_loop),
        cmocka_unit_test(abandoned_work_ends_unheard_and_does_not_hold_the_loop),
        cmocka_unit_test(abandoning_races_the_end),
        cmocka_unit_test(without_memory_nothing_begins),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
