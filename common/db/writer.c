#include "common/db/writer.h"

#include "common/base/alloc.h"
#include "common/base/failpoint.h"

#include <assert.h>
#include <pthread.h>
#include <signal.h>

/* A first-in, first-out list through writer_work.next. */
struct work_list {
    struct writer_work *head, *tail;
    uint64_t count;
};

struct writer {
    struct db *db; /* the writer's thread alone, from writer_new to its end */
    void (*wake)(void *ctx);
    void *wake_ctx;
    pthread_t thread;

    pthread_mutex_t mutex;  /* guards what follows */
    pthread_cond_t more;    /* submitted, retry or stop changed */
    pthread_cond_t settled; /* a group was settled, or the thread rests */
    struct work_list submitted;
    struct work_list completed;
    bool resting; /* the thread waits for more */
    bool retry;
    bool stop;
    bool stalled;
    bool final;
    struct error why; /* of the stall */
    struct writer_stats stats;
};

/* ---- Lists ------------------------------------------------------------------------------ */

static void list_push(struct work_list *list, struct writer_work *work)
{
    work->next = NULL;
    if (list->tail == NULL)
        list->head = work;
    else
        list->tail->next = work;
    list->tail = work;
    list->count++;
}

/* Puts all of `from` behind `to`. */
static void list_move(struct work_list *to, struct work_list *from)
{
    if (from->head == NULL)
        return;
    if (to->tail == NULL)
        to->head = from->head;
    else
        to->tail->next = from->head;
    to->tail = from->tail;
    to->count += from->count;
    *from = (struct work_list){0};
}

/* Takes the first `count` works, whose last one is `last`, off `from` and puts them behind `to`. */
static void list_move_part(struct work_list *to, struct work_list *from, uint64_t count,
                           struct writer_work *last)
{
    struct work_list part = {.head = from->head, .tail = last, .count = count};
    from->head = last->next;
    if (from->head == NULL)
        from->tail = NULL;
    from->count -= count;
    last->next = NULL;
    list_move(to, &part);
}

/* ---- A group in one transaction (writer's thread, no lock held) ------------------------- */

/* The head of the backlog: what one transaction takes. */
struct group {
    struct writer_work *first, *last;
    uint64_t count;
};

static struct group group_of(const struct work_list *backlog)
{
    struct group g = {.first = backlog->head, .last = backlog->head, .count = 1};
    while (g.count < WRITER_MAX_GROUP && g.last->next != NULL) {
        g.last = g.last->next;
        g.count++;
    }
    return g;
}

/* True when the failure is of this work alone: the storage is well and would take other work. */
static bool failure_is_of_work(struct db *db, enum error_code code)
{
    switch (code) {
    case ERR_INVALID:
    case ERR_NOT_FOUND:
    case ERR_EXISTS:
    case ERR_CONFLICT:
    case ERR_STALE:
    case ERR_LIMIT:
    case ERR_UNAVAILABLE:
    case ERR_TIMEOUT:
    case ERR_CANCELLED:
    case ERR_PROTOCOL:
    case ERR_UNSUPPORTED:
    case ERR_INTERNAL:
        return db_in_transaction(db);
    case ERR_OK:
    case ERR_NO_MEMORY:
    case ERR_IO:
    case ERR_NO_SPACE:
    case ERR_DENIED:
    case ERR_BUSY:
    case ERR_CORRUPT:
    case ERROR_CODE_COUNT:
        break;
    }
    return false;
}

/* Nothing was written and the cause can pass: worth another try. */
static bool failure_can_pass(enum error_code code)
{
    return code == ERR_NO_SPACE || code == ERR_BUSY || code == ERR_DENIED;
}

/* The fast path. *ret_single: a work failed for reasons of its own. */
static enum error_code apply_all(struct db *db, const struct group *g, bool *ret_single,
                                 struct error *err)
{
    struct writer_work *end = g->last->next;
    for (struct writer_work *work = g->first; work != end; work = work->next) {
        work->result = ERR_OK;
        enum error_code code = work->apply(db, work, err);
        if (code != ERR_OK) {
            *ret_single = failure_is_of_work(db, code);
            return code;
        }
    }
    return ERR_OK;
}

static enum error_code apply_in_savepoint(struct db *db, struct writer_work *work,
                                          struct error *err)
{
    enum error_code code = db_savepoint(db, err);
    if (code != ERR_OK)
        return code;
    work->result = work->apply(db, work, err);
    if (work->result == ERR_OK)
        return db_savepoint_keep(db, err);
    if (!failure_is_of_work(db, work->result))
        return work->result;
    return db_savepoint_undo(db, err);
}

/* The slow path, after a work failed for reasons of its own: each work in a savepoint. */
static enum error_code apply_each(struct db *db, const struct group *g, struct error *err)
{
    struct writer_work *end = g->last->next;
    for (struct writer_work *work = g->first; work != end; work = work->next) {
        enum error_code code = apply_in_savepoint(db, work, err);
        if (code != ERR_OK)
            return code;
    }
    return ERR_OK;
}

static enum error_code group_try(struct db *db, const struct group *g, bool each, bool *ret_single,
                                 struct error *err)
{
    enum error_code code = db_begin(db, err);
    if (code == ERR_OK)
        code = each ? apply_each(db, g, err) : apply_all(db, g, ret_single, err);
    if (code == ERR_OK && FAILPOINT_FAILS(FAIL_WRITER_COMMIT))
        code = error_set(err, ERR_IO, "a failpoint says so");
    if (code == ERR_OK)
        code = db_commit(db, err);
    if (code == ERR_OK)
        FAILPOINT(FAIL_WRITER_COMMITTED);
    else
        db_rollback(db);
    return code;
}

static enum error_code group_commit(struct db *db, const struct group *g, struct error *err)
{
    bool single = false;
    enum error_code code = group_try(db, g, false, &single, err);
    if (code != ERR_OK && single)
        code = group_try(db, g, true, &single, err);
    return code;
}

/* ---- The thread ------------------------------------------------------------------------- */

/* With the lock: everything that waits completes with the final error. */
static void complete_all(struct writer *w, struct work_list *backlog)
{
    for (struct writer_work *work = backlog->head; work != NULL; work = work->next)
        work->result = w->why.code;
    w->stats.queued -= backlog->count;
    list_move(&w->completed, backlog);
}

/* With the lock: what became of a group. `last_try`: a stall is no longer waited out. */
static void group_settle(struct writer *w, struct work_list *backlog, const struct group *g,
                         enum error_code code, const struct error *err)
{
    if (code == ERR_OK) {
        list_move_part(&w->completed, backlog, g->count, g->last);
        w->stalled = false;
        w->stats.transactions++;
        w->stats.works += g->count;
        w->stats.queued -= g->count;
        if (w->stats.largest_group < g->count)
            w->stats.largest_group = g->count;
        return;
    }
    w->stalled = true;
    w->why = *err;
    w->why.code = code;
    if (!failure_can_pass(code) || w->stop) {
        w->final = true;
        complete_all(w, backlog);
    }
}

/* With the lock: waits until there is something to do; false at the end. */
static bool wait_for_work(struct writer *w, struct work_list *backlog)
{
    for (;;) {
        bool fresh = w->submitted.head != NULL;
        list_move(backlog, &w->submitted);
        bool hold = w->stalled && !fresh && !w->retry && !w->stop;
        w->retry = false;
        if (backlog->head != NULL && !hold)
            return true;
        if (w->stop)
            return false;
        w->resting = true;
        (void)pthread_cond_signal(&w->settled);
        (void)pthread_cond_wait(&w->more, &w->mutex);
        w->resting = false;
    }
}

static void *writer_thread(void *arg)
{
    struct writer *w = arg;
    struct work_list backlog = {0};
    (void)pthread_mutex_lock(&w->mutex);
    while (wait_for_work(w, &backlog)) {
        if (w->final) {
            complete_all(w, &backlog);
        } else {
            (void)pthread_mutex_unlock(&w->mutex);
            struct group g = group_of(&backlog);
            struct error err = {0};
            enum error_code code = group_commit(w->db, &g, &err);
            (void)pthread_mutex_lock(&w->mutex);
            group_settle(w, &backlog, &g, code, &err);
        }
        (void)pthread_cond_signal(&w->settled);
        (void)pthread_mutex_unlock(&w->mutex);
        w->wake(w->wake_ctx);
        (void)pthread_mutex_lock(&w->mutex);
    }
    (void)pthread_mutex_unlock(&w->mutex);
    return NULL;
}

/* ---- The owner's side ------------------------------------------------------------------- */

/* Signals are the owner's business; the writer's thread takes none. */
static int thread_start(struct writer *w)
{
    sigset_t all;
    sigset_t before;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    int errnum = pthread_create(&w->thread, NULL, writer_thread, w);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    return errnum;
}

enum error_code writer_new(struct db *db, void (*wake)(void *ctx), void *wake_ctx,
                           struct writer **ret_writer, struct error *err)
{
    struct writer *w = MEM_NEW(struct writer);
    if (w == NULL)
        return error_set(err, ERR_NO_MEMORY, NULL);
    w->db = db;
    w->wake = wake;
    w->wake_ctx = wake_ctx;
    (void)pthread_mutex_init(&w->mutex, NULL);
    (void)pthread_cond_init(&w->more, NULL);
    (void)pthread_cond_init(&w->settled, NULL);
    int errnum = thread_start(w);
    if (errnum != 0) {
        (void)pthread_cond_destroy(&w->settled);
        (void)pthread_cond_destroy(&w->more);
        (void)pthread_mutex_destroy(&w->mutex);
        mem_free(w);
        return error_errno(err, errnum, "cannot start the writer's thread");
    }
    *ret_writer = w;
    return ERR_OK;
}

void writer_submit(struct writer *w, struct writer_work *work)
{
    assert(work->apply != NULL);
    (void)pthread_mutex_lock(&w->mutex);
    assert(!w->stop);
    list_push(&w->submitted, work);
    w->stats.queued++;
    (void)pthread_cond_signal(&w->more);
    (void)pthread_mutex_unlock(&w->mutex);
}

struct writer_work *writer_collect(struct writer *w)
{
    (void)pthread_mutex_lock(&w->mutex);
    struct writer_work *works = w->completed.head;
    w->completed = (struct work_list){0};
    (void)pthread_mutex_unlock(&w->mutex);
    return works;
}

bool writer_stalled(struct writer *w, bool *ret_final, struct error *ret_why)
{
    (void)pthread_mutex_lock(&w->mutex);
    bool stalled = w->stalled;
    if (ret_final != NULL)
        *ret_final = w->final;
    if (ret_why != NULL && stalled)
        *ret_why = w->why;
    (void)pthread_mutex_unlock(&w->mutex);
    return stalled;
}

void writer_retry(struct writer *w)
{
    (void)pthread_mutex_lock(&w->mutex);
    w->retry = true;
    (void)pthread_cond_signal(&w->more);
    (void)pthread_mutex_unlock(&w->mutex);
}

void writer_wait(struct writer *w)
{
    (void)pthread_mutex_lock(&w->mutex);
    /* A thread that rests and has been given something is about to wake. */
    while (w->completed.head == NULL && (!w->resting || w->submitted.head != NULL || w->retry))
        (void)pthread_cond_wait(&w->settled, &w->mutex);
    (void)pthread_mutex_unlock(&w->mutex);
}

struct writer_stats writer_stats(struct writer *w)
{
    (void)pthread_mutex_lock(&w->mutex);
    struct writer_stats stats = w->stats;
    (void)pthread_mutex_unlock(&w->mutex);
    return stats;
}

struct writer_work *writer_free(struct writer *w)
{
    if (w == NULL)
        return NULL;
    (void)pthread_mutex_lock(&w->mutex);
    w->stop = true;
    (void)pthread_cond_signal(&w->more);
    (void)pthread_mutex_unlock(&w->mutex);
    (void)pthread_join(w->thread, NULL);

    /* The thread ends only with nothing left to do. */
    assert(w->submitted.head == NULL);
    struct writer_work *works = w->completed.head;
    db_close(w->db);
    (void)pthread_cond_destroy(&w->settled);
    (void)pthread_cond_destroy(&w->more);
    (void)pthread_mutex_destroy(&w->mutex);
    mem_free(w);
    return works;
}
