#include "orchestrator/cli/install/pool.h"

#include "common/base/cleanup.h"
#include "common/base/clock.h"

#include <assert.h>
#include <time.h>

struct pool {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    struct job *jobs;
    size_t count;
    size_t next;            /* the first that nobody has taken */
    enum job_stage *stages; /* by job */
    size_t *ended;          /* numbers of jobs, in the order of their ends */
    size_t ended_count;
    bool news;
};

static void note_stage(void *ctx, struct job *job, enum job_stage stage)
{
    struct pool *p = job->pool;
    (void)ctx; /* the other hooks' */
    (void)pthread_mutex_lock(&p->mutex);
    p->stages[job - p->jobs] = stage;
    p->news = true;
    (void)pthread_cond_signal(&p->changed);
    (void)pthread_mutex_unlock(&p->mutex);
}

static void *work(void *ctx)
{
    struct pool *p = ctx;
    (void)pthread_mutex_lock(&p->mutex);
    while (p->next < p->count) {
        size_t mine = p->next++;
        (void)pthread_mutex_unlock(&p->mutex);
        job_run(&p->jobs[mine]);
        (void)pthread_mutex_lock(&p->mutex);
        p->stages[mine] = JOB_ENDED;
        p->ended[p->ended_count++] = mine;
        p->news = true;
        (void)pthread_cond_signal(&p->changed);
    }
    (void)pthread_mutex_unlock(&p->mutex);
    return NULL;
}

/* ---- News --------------------------------------------------------------------------------------
 */

struct telling {
    struct pool *pool;
    const struct pool_listener *listener;
    struct pool_view *views;
    size_t told; /* of those that ended */
    int64_t last_ms;
};

/* Until something has changed, but not before the last news have stood a while. */
static void wait_news(struct telling *t)
{
    struct pool *p = t->pool;
    while (!p->news)
        (void)pthread_cond_wait(&p->changed, &p->mutex);
    int64_t until = t->last_ms + POOL_NEWS_MS;
    struct timespec at = {.tv_sec = until / 1000, .tv_nsec = until % 1000 * 1000000};
    while (p->ended_count < p->count && clock_mono_ms() < until)
        (void)pthread_cond_timedwait(&p->changed, &p->mutex, &at);
    p->news = false;
}

static void tell(struct telling *t)
{
    struct pool *p = t->pool;
    size_t count = 0;
    size_t ended = p->ended_count;
    for (size_t i = 0; i < p->next; i++) {
        if (p->stages[i] != JOB_ENDED)
            t->views[count++] = (struct pool_view){&p->jobs[i], p->stages[i]};
    }
    size_t left = p->count - ended;
    /* The listener may take its time: it draws, and waits while somebody types a password. */
    (void)pthread_mutex_unlock(&p->mutex);
    for (; t->told < ended; t->told++)
        t->listener->ended(t->listener->ctx, &p->jobs[p->ended[t->told]]);
    t->listener->news(t->listener->ctx, t->views, count, left);
    t->last_ms = clock_mono_ms();
    (void)pthread_mutex_lock(&p->mutex);
}

/* ---- Threads -----------------------------------------------------------------------------------
 */

static bool pool_init(struct pool *p)
{
    pthread_condattr_t attributes;
    if (pthread_condattr_init(&attributes) != 0)
        return false;
    /* No deadline moves with the wall clock. */
    bool made = pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC) == 0 &&
                pthread_cond_init(&p->changed, &attributes) == 0;
    (void)pthread_condattr_destroy(&attributes);
    if (made && pthread_mutex_init(&p->mutex, NULL) != 0) {
        (void)pthread_cond_destroy(&p->changed);
        made = false;
    }
    return made;
}

static void follow(struct pool *p, const struct pool_listener *listener, struct pool_view *views)
{
    struct telling t = {.pool = p, .listener = listener, .views = views};
    (void)pthread_mutex_lock(&p->mutex);
    while (t.told < p->count) {
        wait_news(&t);
        tell(&t);
    }
    (void)pthread_mutex_unlock(&p->mutex);
}

enum error_code pool_run(struct job *jobs, size_t count, size_t parallel, struct job_hooks *hooks,
                         const struct pool_listener *listener, struct error *err)
{
    struct pool p = {.jobs = jobs, .count = count};
    AUTO_FREE enum job_stage *stages = mem_array(count, sizeof(*stages));
    AUTO_FREE size_t *ended = mem_array(count, sizeof(*ended));
    AUTO_FREE struct pool_view *views = mem_array(count, sizeof(*views));
    pthread_t threads[POOL_PARALLEL_MAX];
    size_t started = 0;
    assert(parallel >= 1 && parallel <= POOL_PARALLEL_MAX);
    if (!stages || !ended || !views || !pool_init(&p))
        return error_set(err, ERR_NO_MEMORY, NULL);
    p.stages = stages;
    p.ended = ended;
    hooks->stage = note_stage;
    for (size_t i = 0; i < count; i++)
        jobs[i].pool = &p;
    while (started < parallel && started < count &&
           pthread_create(&threads[started], NULL, work, &p) == 0)
        started++;
    /* Fewer threads than were wanted do all of it too. */
    if (started > 0 || count == 0)
        follow(&p, listener, views);
    for (size_t i = 0; i < started; i++)
        (void)pthread_join(threads[i], NULL);
    (void)pthread_cond_destroy(&p.changed);
    (void)pthread_mutex_destroy(&p.mutex);
    return started > 0 || count == 0 ? ERR_OK : error_set(err, ERR_IO, "no thread can be started");
}
