#include "handlers/offload.h"

#include "common/base/alloc.h"

#include <assert.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>

struct offload {
    struct offload_job what;
    void *job;
    uv_async_t async;
    pthread_mutex_t mutex; /* for `abandoned`, which the loop alone sets, and for the job */
    bool abandoned;
    atomic_int holders; /* the thread and the loop */
};

static void offload_release(struct offload *o)
{
    if (atomic_fetch_sub(&o->holders, 1) > 1)
        return;
    o->what.free(o->job);
    (void)pthread_mutex_destroy(&o->mutex);
    mem_free(o);
}

static void *thread_main(void *argument)
{
    struct offload *o = argument;
    o->what.work(o->job);
    /* The handle is closed after `abandoned` is set, so it is open here. */
    (void)pthread_mutex_lock(&o->mutex);
    if (!o->abandoned)
        (void)uv_async_send(&o->async);
    (void)pthread_mutex_unlock(&o->mutex);
    offload_release(o);
    return NULL;
}

static void handle_closed(uv_handle_t *handle)
{
    struct offload *o = handle->data;
    /* What the thread did before it let go of the mutex is seen from here on. */
    (void)pthread_mutex_lock(&o->mutex);
    bool abandoned = o->abandoned;
    (void)pthread_mutex_unlock(&o->mutex);
    if (!abandoned)
        o->what.done(o->job);
    offload_release(o);
}

static void work_over(uv_async_t *async)
{
    if (!uv_is_closing((uv_handle_t *)async))
        uv_close((uv_handle_t *)async, handle_closed);
}

/* Signals are for the thread that the program began with. */
static int thread_start(struct offload *o)
{
    pthread_attr_t attributes;
    pthread_t thread;
    sigset_t all, before;
    int rc = pthread_attr_init(&attributes);
    if (rc != 0)
        return rc;
    (void)pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    rc = pthread_create(&thread, &attributes, thread_main, o);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    (void)pthread_attr_destroy(&attributes);
    return rc;
}

static void unstarted_closed(uv_handle_t *handle)
{
    struct offload *o = handle->data;
    (void)pthread_mutex_destroy(&o->mutex);
    mem_free(o);
}

enum error_code offload_start(uv_loop_t *loop, const struct offload_job *what, void *job,
                              struct offload **ret_offload, struct error *err)
{
    struct offload *o = MEM_NEW(struct offload);
    if (!o)
        return error_set(err, ERR_NO_MEMORY, NULL);
    o->what = *what;
    o->job = job;
    atomic_init(&o->holders, 2);
    int rc = uv_async_init(loop, &o->async, work_over);
    if (rc != 0) {
        mem_free(o);
        return error_set(err, ERR_UNAVAILABLE, "cannot watch a thread: %s", uv_strerror(rc));
    }
    o->async.data = o;
    rc = pthread_mutex_init(&o->mutex, NULL);
    assert(rc == 0);
    rc = thread_start(o);
    if (rc != 0) {
        uv_close((uv_handle_t *)&o->async, unstarted_closed);
        return error_set(err, ERR_UNAVAILABLE, "cannot start a thread: %s", strerror(rc));
    }
    *ret_offload = o;
    return ERR_OK;
}

void offload_abandon(struct offload *o)
{
    (void)pthread_mutex_lock(&o->mutex);
    o->abandoned = true;
    (void)pthread_mutex_unlock(&o->mutex);
    if (!uv_is_closing((uv_handle_t *)&o->async))
        uv_close((uv_handle_t *)&o->async, handle_closed);
}
