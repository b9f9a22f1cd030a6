#include "common/base/alloc.h"
#include "common/base/cleanup.h"
#include "common/db/db.h"
#include "common/db/writer.h"
#include "unit/db/support_db.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { SQL_INSERT, SQL_COUNT, SQL_SUM_ORDER, SQL_FEW_PAGES, SQL_MANY_PAGES, SQL_NO_WAIT, SQL_N };

static const char *const statements[SQL_N] = {
    [SQL_INSERT] = "INSERT INTO item(id, filler) VALUES(?1, zeroblob(?2))",
    [SQL_COUNT] = "SELECT count(*) FROM item",
    /* How many rows have a smaller id than the row inserted before them. */
    [SQL_SUM_ORDER] =
        "SELECT count(*) FROM item a JOIN item b ON b.at = a.at + 1 WHERE b.id < a.id",
    [SQL_FEW_PAGES] = "PRAGMA max_page_count=30",
    [SQL_MANY_PAGES] = "PRAGMA max_page_count=1000000",
    [SQL_NO_WAIT] = "PRAGMA busy_timeout=0",
};
static const char *const migrations[] = {
    "CREATE TABLE item(at INTEGER PRIMARY KEY, id INTEGER UNIQUE, filler BLOB);",
};
static const struct db_schema schema = {0x4b495432, migrations, 1, statements, SQL_N, false};

enum { WAIT_SECONDS = 30, ROOM_KEEP = 0, ROOM_LITTLE, ROOM_AMPLE };

/* One writer under test, with what its callbacks touch. */
struct bench {
    struct tmp_dir dir;
    char path[256];
    struct writer *writer;

    pthread_mutex_t mutex;
    pthread_cond_t changed;
    uint64_t wakes;
    bool gate_shut;    /* works of kind "gate" wait here while shut */
    bool gate_reached; /* one waits */
    atomic_int room;
};

struct job {
    struct writer_work work;
    struct bench *bench;
    int64_t id;
    int64_t filler;
    bool gate;
    enum error_code refuse; /* fail with this after having written */
    int applied;
};

static void bench_wake(void *ctx)
{
    struct bench *b = ctx;
    (void)pthread_mutex_lock(&b->mutex);
    b->wakes++;
    (void)pthread_cond_broadcast(&b->changed);
    (void)pthread_mutex_unlock(&b->mutex);
}

static struct timespec deadline(void)
{
    struct timespec until;
    (void)clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += WAIT_SECONDS;
    return until;
}

static enum error_code set_room(struct db *db, int room, struct error *err)
{
    if (room == ROOM_KEEP)
        return ERR_OK;
    struct db_stmt *s = NULL;
    enum error_code code =
        db_use(db, room == ROOM_LITTLE ? SQL_FEW_PAGES : SQL_MANY_PAGES, &s, err);
    bool row = false;
    if (code == ERR_OK)
        code = db_step(s, &row, err);
    if (code == ERR_OK)
        db_reset(s);
    return code;
}

static enum error_code job_apply(struct db *db, struct writer_work *work, struct error *err)
{
    struct job *job = (struct job *)work; /* the work is its first member */
    struct bench *b = job->bench;
    job->applied++;
    if (job->gate) {
        (void)pthread_mutex_lock(&b->mutex);
        b->gate_reached = true;
        (void)pthread_cond_broadcast(&b->changed);
        while (b->gate_shut)
            (void)pthread_cond_wait(&b->changed, &b->mutex);
        (void)pthread_mutex_unlock(&b->mutex);
    }
    enum error_code code = set_room(db, atomic_exchange(&b->room, ROOM_KEEP), err);
    struct db_stmt *s = NULL;
    if (code == ERR_OK)
        code = db_use(db, SQL_INSERT, &s, err);
    if (code != ERR_OK)
        return code;
    db_bind_int(s, 1, job->id);
    db_bind_int(s, 2, job->filler);
    code = db_run(s, err);
    if (code == ERR_OK && job->refuse != ERR_OK)
        code = error_set(err, job->refuse, "refused");
    return code;
}

static int setup(void **state)
{
    static struct bench b;
    b = (struct bench){0};
    tmp_dir_init(&b.dir);
    (void)snprintf(b.path, sizeof(b.path), "%s/w.db", b.dir.path);
    (void)pthread_mutex_init(&b.mutex, NULL);
    (void)pthread_cond_init(&b.changed, NULL);
    *state = &b;
    return 0;
}

static int teardown(void **state)
{
    struct bench *b = *state;
    (void)pthread_cond_destroy(&b->changed);
    (void)pthread_mutex_destroy(&b->mutex);
    tmp_dir_done(&b->dir);
    return 0;
}

static struct bench *start(void **state)
{
    struct bench *b = *state;
    struct db *db = NULL;
    struct error err = {0};
    if (db_open(b->path, DB_READ_WRITE, &schema, &db, &err) != ERR_OK)
        fail_msg("%s", err.message);
    assert_int_equal(writer_new(db, bench_wake, b, &b->writer, NULL), ERR_OK);
    return b;
}

static struct job *submit(struct bench *b, struct job *job)
{
    job->work.apply = job_apply;
    job->bench = b;
    writer_submit(b->writer, &job->work);
    return job;
}

static void gate_shut(struct bench *b, struct job *job)
{
    job->gate = true;
    (void)pthread_mutex_lock(&b->mutex);
    b->gate_shut = true;
    b->gate_reached = false;
    (void)pthread_mutex_unlock(&b->mutex);
    submit(b, job);
    struct timespec until = deadline();
    (void)pthread_mutex_lock(&b->mutex);
    while (!b->gate_reached)
        assert_int_equal(pthread_cond_timedwait(&b->changed, &b->mutex, &until), 0);
    (void)pthread_mutex_unlock(&b->mutex);
}

static void gate_open(struct bench *b)
{
    (void)pthread_mutex_lock(&b->mutex);
    b->gate_shut = false;
    (void)pthread_cond_broadcast(&b->changed);
    (void)pthread_mutex_unlock(&b->mutex);
}

/* Waits for the wakes that come after `seen`. */
static uint64_t wait_wake(struct bench *b, uint64_t seen)
{
    struct timespec until = deadline();
    (void)pthread_mutex_lock(&b->mutex);
    while (b->wakes <= seen)
        if (pthread_cond_timedwait(&b->changed, &b->mutex, &until) != 0)
            break;
    uint64_t wakes = b->wakes;
    (void)pthread_mutex_unlock(&b->mutex);
    assert_true(wakes > seen);
    return wakes;
}

/* Collects until `count` works came back; checks that they come in the order of `jobs`. */
static void collect(struct bench *b, struct job *jobs, uint64_t count)
{
    uint64_t got = 0;
    uint64_t seen = 0;
    while (got < count) {
        seen = wait_wake(b, seen);
        struct writer_work *next = NULL;
        for (struct writer_work *work = writer_collect(b->writer); work != NULL; work = next) {
            next = work->next;
            assert_true(got < count);
            assert_ptr_equal(work, &jobs[got].work);
            got++;
        }
    }
}

/* Waits until the writer stalls. */
static bool wait_stall(struct bench *b, struct error *ret_why)
{
    uint64_t seen = 0;
    bool final = false;
    while (!writer_stalled(b->writer, &final, ret_why))
        seen = wait_wake(b, seen);
    return final;
}

static int64_t stored(struct bench *b, size_t statement)
{
    struct db *db = NULL;
    assert_int_equal(db_open(b->path, DB_READ_ONLY, &schema, &db, NULL), ERR_OK);
    struct db_stmt *s = NULL;
    bool row = false;
    assert_int_equal(db_use(db, statement, &s, NULL), ERR_OK);
    assert_int_equal(db_step(s, &row, NULL), ERR_OK);
    int64_t value = db_column_int(s, 0);
    db_close(db);
    return value;
}

static struct job *jobs_new(size_t count, int64_t filler)
{
    struct job *jobs = mem_array(count, sizeof(*jobs));
    assert_non_null(jobs);
    for (size_t i = 0; i < count; i++) {
        jobs[i].id = (int64_t)i;
        jobs[i].filler = filler;
    }
    return jobs;
}

static void work_is_durable_and_comes_back_in_order(void **state)
{
    struct bench *b = start(state);
    enum { COUNT = 20000 };
    AUTO_FREE struct job *jobs = jobs_new(COUNT, 10);
    for (size_t i = 0; i < COUNT; i++)
        submit(b, &jobs[i]);
    collect(b, jobs, COUNT);
    for (size_t i = 0; i < COUNT; i++) {
        assert_int_equal(jobs[i].work.result, ERR_OK);
        assert_int_equal(jobs[i].applied, 1);
    }
    assert_int_equal(stored(b, SQL_COUNT), COUNT);
    assert_int_equal(stored(b, SQL_SUM_ORDER), 0);
    struct writer_stats stats = writer_stats(b->writer);
    assert_int_equal(stats.works, COUNT);
    assert_int_equal(stats.queued, 0);
    assert_true(stats.transactions < COUNT);
    assert_false(writer_stalled(b->writer, NULL, NULL));
    assert_null(writer_free(b->writer));
}

static void what_comes_during_a_commit_shares_the_next_one(void **state)
{
    struct bench *b = start(state);
    enum { COUNT = 101 };
    AUTO_FREE struct job *jobs = jobs_new(COUNT, 10);
    gate_shut(b, &jobs[0]);
    for (size_t i = 1; i < COUNT; i++)
        submit(b, &jobs[i]);
    assert_int_equal(writer_stats(b->writer).queued, COUNT);
    gate_open(b);
    collect(b, jobs, COUNT);
    struct writer_stats stats = writer_stats(b->writer);
    assert_int_equal(stats.transactions, 2);
    assert_int_equal(stats.largest_group, COUNT - 1);
    assert_null(writer_free(b->writer));
}

static void a_group_is_bounded(void **state)
{
    struct bench *b = start(state);
    enum { COUNT = 1 + 2 * WRITER_MAX_GROUP + 1 };
    AUTO_FREE struct job *jobs = jobs_new(COUNT, 1);
    gate_shut(b, &jobs[0]);
    for (size_t i = 1; i < COUNT; i++)
        submit(b, &jobs[i]);
    gate_open(b);
    collect(b, jobs, COUNT);
    struct writer_stats stats = writer_stats(b->writer);
    assert_int_equal(stats.transactions, 4);
    assert_int_equal(stats.largest_group, WRITER_MAX_GROUP);
    assert_int_equal(stored(b, SQL_COUNT), COUNT);
    assert_null(writer_free(b->writer));
}

static void a_work_that_cannot_be_fails_alone_and_leaves_no_trace(void **state)
{
    struct bench *b = start(state);
    enum { COUNT = 10 };
    AUTO_FREE struct job *jobs = jobs_new(COUNT, 10);
    jobs[4].id = 3;                     /* breaks the unique constraint */
    jobs[6].refuse = ERR_STALE;         /* has written before it says no */
    jobs[COUNT - 1].refuse = ERR_LIMIT; /* the last one */
    gate_shut(b, &jobs[0]);
    for (size_t i = 1; i < COUNT; i++)
        submit(b, &jobs[i]);
    gate_open(b);
    collect(b, jobs, COUNT);
    for (size_t i = 0; i < COUNT; i++) {
        enum error_code expected = ERR_OK;
        if (i == 4)
            expected = ERR_CONFLICT;
        else
            expected = jobs[i].refuse;
        assert_int_equal(jobs[i].work.result, expected);
    }
    assert_int_equal(stored(b, SQL_COUNT), COUNT - 3);
    assert_int_equal(writer_stats(b->writer).transactions, 2);
    assert_false(writer_stalled(b->writer, NULL, NULL));
    assert_null(writer_free(b->writer));
}

static void out_of_space_waits_and_loses_nothing(void **state)
{
    struct bench *b = start(state);
    enum { COUNT = 100 };
    AUTO_FREE struct job *jobs = jobs_new(COUNT, 4000);
    gate_shut(b, &jobs[0]);
    atomic_store(&b->room, ROOM_LITTLE);
    for (size_t i = 1; i < COUNT; i++)
        submit(b, &jobs[i]);
    gate_open(b);
    struct error why = {0};
    assert_false(wait_stall(b, &why));
    assert_int_equal(why.code, ERR_NO_SPACE);
    assert_non_null(strstr(why.message, b->path));
    assert_int_equal(stored(b, SQL_COUNT), 1);
    assert_int_equal(writer_stats(b->writer).queued, COUNT - 1);

    atomic_store(&b->room, ROOM_AMPLE);
    writer_retry(b->writer);
    collect(b, jobs, COUNT);
    assert_false(writer_stalled(b->writer, NULL, NULL));
    assert_int_equal(stored(b, SQL_COUNT), COUNT);
    assert_int_equal(stored(b, SQL_SUM_ORDER), 0);
    assert_true(jobs[1].applied > 1);
    for (size_t i = 0; i < COUNT; i++)
        assert_int_equal(jobs[i].work.result, ERR_OK);
    assert_null(writer_free(b->writer));
}

static void more_work_ends_a_stall_too(void **state)
{
    struct bench *b = start(state);
    AUTO_FREE struct job *jobs = jobs_new(3, 10);
    jobs[1].filler = 400000;
    atomic_store(&b->room, ROOM_LITTLE);
    submit(b, &jobs[0]);
    submit(b, &jobs[1]);
    assert_false(wait_stall(b, NULL));
    atomic_store(&b->room, ROOM_AMPLE);
    submit(b, &jobs[2]);
    collect(b, jobs, 3);
    assert_false(writer_stalled(b->writer, NULL, NULL));
    assert_int_equal(stored(b, SQL_COUNT), 3);
    assert_null(writer_free(b->writer));
}

static void a_stall_at_the_end_fails_with_no_space(void **state)
{
    struct bench *b = start(state);
    AUTO_FREE struct job *jobs = jobs_new(2, 400000);
    atomic_store(&b->room, ROOM_LITTLE);
    submit(b, &jobs[0]);
    submit(b, &jobs[1]);
    assert_false(wait_stall(b, NULL));
    struct writer_work *works = writer_free(b->writer);
    assert_ptr_equal(works, &jobs[0].work);
    assert_ptr_equal(works->next, &jobs[1].work);
    assert_null(works->next->next);
    assert_int_equal(jobs[0].work.result, ERR_NO_SPACE);
    assert_int_equal(jobs[1].work.result, ERR_NO_SPACE);
    assert_int_equal(stored(b, SQL_COUNT), 0);
}

static void a_stall_at_the_end_is_tried_once_more(void **state)
{
    struct bench *b = start(state);
    AUTO_FREE struct job *jobs = jobs_new(2, 400000);
    atomic_store(&b->room, ROOM_LITTLE);
    submit(b, &jobs[0]);
    submit(b, &jobs[1]);
    assert_false(wait_stall(b, NULL));
    atomic_store(&b->room, ROOM_AMPLE);
    assert_ptr_equal(writer_free(b->writer), &jobs[0].work);
    assert_int_equal(jobs[0].work.result, ERR_OK);
    assert_int_equal(jobs[1].work.result, ERR_OK);
    assert_int_equal(stored(b, SQL_COUNT), 2);
}

static void a_locked_database_waits_and_loses_nothing(void **state)
{
    struct bench *b = *state;
    struct db *other = NULL;
    assert_int_equal(db_open(b->path, DB_READ_WRITE, &schema, &other, NULL), ERR_OK);
    struct db *db = NULL;
    assert_int_equal(db_open(b->path, DB_READ_WRITE, &schema, &db, NULL), ERR_OK);
    struct db_stmt *s = NULL;
    bool row = false;
    assert_int_equal(db_use(db, SQL_NO_WAIT, &s, NULL), ERR_OK);
    assert_int_equal(db_step(s, &row, NULL), ERR_OK);
    assert_int_equal(writer_new(db, bench_wake, b, &b->writer, NULL), ERR_OK);

    AUTO_FREE struct job *jobs = jobs_new(1, 10);
    assert_int_equal(db_begin(other, NULL), ERR_OK);
    submit(b, &jobs[0]);
    struct error why = {0};
    assert_false(wait_stall(b, &why));
    assert_int_equal(why.code, ERR_BUSY);
    db_rollback(other);
    db_close(other);
    writer_retry(b->writer);
    collect(b, jobs, 1);
    assert_int_equal(jobs[0].work.result, ERR_OK);
    assert_null(writer_free(b->writer));
}

static void a_failed_fsync_is_final(void **state)
{
    disk_install();
    struct bench *b = start(state);
    enum { COUNT = 6 };
    AUTO_FREE struct job *jobs = jobs_new(COUNT, 10);
    submit(b, &jobs[0]);
    collect(b, jobs, 1);
    gate_shut(b, &jobs[1]);
    disk_fail_sync(SQLITE_IOERR_FSYNC, ENOSPC);
    submit(b, &jobs[2]);
    submit(b, &jobs[3]);
    gate_open(b);
    collect(b, &jobs[1], 3);
    struct error why = {0};
    bool final = false;
    assert_true(writer_stalled(b->writer, &final, &why));
    assert_true(final);
    assert_int_equal(why.code, ERR_IO);
    disk_fail_sync(SQLITE_OK, 0); /* the disk being well again changes nothing */
    writer_retry(b->writer);
    submit(b, &jobs[4]);
    collect(b, &jobs[4], 1);
    submit(b, &jobs[5]);
    assert_ptr_equal(writer_free(b->writer), &jobs[5].work);
    assert_int_equal(jobs[0].work.result, ERR_OK);
    for (size_t i = 1; i < COUNT; i++)
        assert_int_equal(jobs[i].work.result, ERR_IO);
    assert_int_equal(jobs[2].applied, 0);
    disk_remove();
    assert_int_equal(stored(b, SQL_COUNT), 1);
}

static void a_file_system_that_is_read_only_for_a_while_is_waited_out(void **state)
{
    disk_install();
    struct bench *b = start(state);
    AUTO_FREE struct job *jobs = jobs_new(3, 10);
    submit(b, &jobs[0]);
    collect(b, jobs, 1);
    disk_fail_write(SQLITE_IOERR_WRITE, EROFS);
    submit(b, &jobs[1]);
    struct error why = {0};
    assert_false(wait_stall(b, &why));
    assert_int_equal(why.code, ERR_DENIED);
    assert_non_null(strstr(why.message, "Read-only file system"));
    assert_int_equal(stored(b, SQL_COUNT), 1);
    disk_fail_write(SQLITE_OK, 0);
    writer_retry(b->writer);
    collect(b, &jobs[1], 1);
    assert_int_equal(jobs[1].work.result, ERR_OK);
    assert_false(writer_stalled(b->writer, NULL, NULL));
    assert_null(writer_free(b->writer));
    disk_remove();
    assert_int_equal(stored(b, SQL_COUNT), 2);
}

static void waiting_ends_with_work_done_with_nothing_to_do_and_in_a_stall(void **state)
{
    struct bench *b = start(state);
    AUTO_FREE struct job *jobs = jobs_new(2, 10);
    writer_wait(b->writer); /* nothing to do */
    submit(b, &jobs[0]);
    writer_wait(b->writer);
    assert_ptr_equal(writer_collect(b->writer), &jobs[0].work);
    jobs[1].filler = 400000;
    atomic_store(&b->room, ROOM_LITTLE);
    submit(b, &jobs[1]);
    writer_wait(b->writer);
    assert_true(writer_stalled(b->writer, NULL, NULL));
    writer_retry(b->writer); /* still no room: it rests again */
    writer_wait(b->writer);
    assert_true(writer_stalled(b->writer, NULL, NULL));
    assert_true(jobs[1].applied >= 2);
    atomic_store(&b->room, ROOM_AMPLE);
    writer_retry(b->writer);
    writer_wait(b->writer);
    assert_ptr_equal(writer_collect(b->writer), &jobs[1].work);
    assert_null(writer_free(b->writer));
}

static void freeing_waits_for_what_was_submitted(void **state)
{
    struct bench *b = start(state);
    enum { COUNT = 3000 };
    AUTO_FREE struct job *jobs = jobs_new(COUNT, 10);
    for (size_t i = 0; i < COUNT; i++)
        submit(b, &jobs[i]);
    size_t got = 0;
    for (struct writer_work *work = writer_free(b->writer); work != NULL; work = work->next) {
        assert_ptr_equal(work, &jobs[got].work);
        assert_int_equal(work->result, ERR_OK);
        got++;
    }
    assert_int_equal(got, COUNT);
    assert_int_equal(stored(b, SQL_COUNT), COUNT);
    assert_null(writer_free(NULL));
}

static void a_writer_that_cannot_be_made_leaves_the_database(void **state)
{
    struct bench *b = *state;
    struct db *db = NULL;
    assert_int_equal(db_open(b->path, DB_READ_WRITE, &schema, &db, NULL), ERR_OK);
    mem_fail_after(0);
    enum error_code code = writer_new(db, bench_wake, b, &b->writer, NULL);
    mem_fail_never();
    assert_int_equal(code, ERR_NO_MEMORY);
    assert_int_equal(db_begin(db, NULL), ERR_OK);
    db_close(db);
}

/* ---- A disk that is really full --------------------------------------------------------- */

enum { CHILD_OK, CHILD_FAILED, CHILD_NOT_PERMITTED };

/* In a process and a mount namespace of its own: a file system of 1 MiB is filled, the writer
 * stalls, room is made, the writer goes on. Without cmocka, whose failures belong to the parent. */
static int child_on_full_disk(struct bench *b)
{
    if (unshare(CLONE_NEWNS) != 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
        mount("tmpfs", b->dir.path, "tmpfs", 0, "size=1m") != 0)
        return CHILD_NOT_PERMITTED;
    struct db *db = NULL;
    if (db_open(b->path, DB_READ_WRITE, &schema, &db, NULL) != ERR_OK ||
        writer_new(db, bench_wake, b, &b->writer, NULL) != ERR_OK)
        return CHILD_FAILED;

    char filler[256];
    (void)snprintf(filler, sizeof(filler), "%s", tmp_dir_file(&b->dir, "filler"));
    int fd = open(filler, O_WRONLY | O_CREAT, 0600);
    char block[4096] = {0};
    while (write(fd, block, sizeof(block)) > 0) {
    }
    (void)close(fd);

    static struct job jobs[8];
    for (size_t i = 0; i < ARRAY_LEN(jobs); i++) {
        jobs[i] = (struct job){.id = (int64_t)i, .filler = 20000};
        submit(b, &jobs[i]);
    }
    bool final = false;
    struct error why = {0};
    uint64_t seen = 0;
    while (!writer_stalled(b->writer, &final, &why))
        seen = wait_wake(b, seen);
    if (final || why.code != ERR_NO_SPACE)
        return CHILD_FAILED;
    if (unlink(filler) != 0)
        return CHILD_FAILED;
    writer_retry(b->writer);
    size_t got = 0;
    for (struct writer_work *work = writer_free(b->writer); work != NULL; work = work->next)
        got += work->result == ERR_OK ? 1 : 0;
    if (got != ARRAY_LEN(jobs) || stored(b, SQL_COUNT) != (int64_t)ARRAY_LEN(jobs))
        return CHILD_FAILED;
    return CHILD_OK;
}

static void a_disk_that_is_really_full_is_waited_out(void **state)
{
    struct bench *b = *state;
    (void)fflush(NULL);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0)
        _exit(child_on_full_disk(b));
    int status = -1;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == CHILD_NOT_PERMITTED) {
        print_message("skipped: mounting a small file system is not permitted here\n");
        skip();
    }
    assert_int_equal(WEXITSTATUS(status), CHILD_OK);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(work_is_durable_and_comes_back_in_order),
        TEST(what_comes_during_a_commit_shares_the_next_one),
        TEST(a_group_is_bounded),
        TEST(a_work_that_cannot_be_fails_alone_and_leaves_no_trace),
        TEST(out_of_space_waits_and_loses_nothing),
        TEST(more_work_ends_a_stall_too),
        TEST(a_stall_at_the_end_fails_with_no_space),
        TEST(a_stall_at_the_end_is_tried_once_more),
        TEST(a_locked_database_waits_and_loses_nothing),
        TEST(a_failed_fsync_is_final),
        TEST(a_file_system_that_is_read_only_for_a_while_is_waited_out),
        TEST(waiting_ends_with_work_done_with_nothing_to_do_and_in_a_stall),
        TEST(freeing_waits_for_what_was_submitted),
        TEST(a_writer_that_cannot_be_made_leaves_the_database),
        TEST(a_disk_that_is_really_full_is_waited_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
