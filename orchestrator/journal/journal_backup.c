/* journal_backup: a consistent copy of the database, made on a thread of its own. */
#include "common/base/alloc.h"
#include "common/base/buf.h"
#include "common/base/cleanup.h"
#include "orchestrator/journal/journal_internal.h"
#include "orchestrator/journal/journal_schema.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

/* What must stay free beside the copy, so that it does not take the journal's own space. */
#define SPACE_LEFT_FREE (INT64_C(64) * 1024 * 1024)

struct backup {
    char *from, *path;
    void (*wake)(void *ctx);
    void *wake_ctx;
    void (*done)(void *ctx, enum error_code result, const struct error *err, int fd,
                 int64_t size_bytes);
    void *ctx;
    pthread_t thread;

    pthread_mutex_t mutex; /* guards what follows */
    bool stop;
    bool ended; /* then the rest is the owner's */
    enum error_code code;
    struct error why;
    int fd;
    int64_t size_bytes;
};

/* ---- The thread ------------------------------------------------------------------------- */

static bool backup_stopped(void *ctx)
{
    struct backup *b = ctx;
    (void)pthread_mutex_lock(&b->mutex);
    bool stop = b->stop;
    (void)pthread_mutex_unlock(&b->mutex);
    return stop;
}

DEFINE_CLEANUP(db_close, struct db)

static enum error_code space_check(const struct backup *b, struct db *db, struct error *err)
{
    struct statvfs fs;
    if (statvfs(b->from, &fs) != 0)
        return error_errno(err, errno, "%s", b->from);
    int64_t size = db_size_bytes(db);
    uint64_t left = (uint64_t)fs.f_bavail * fs.f_frsize;
    if (left < (uint64_t)(size + SPACE_LEFT_FREE))
        return error_set(
            err, ERR_NO_SPACE, "a backup needs %lld MiB for a while beside %s, and there are %llu",
            (long long)((size + SPACE_LEFT_FREE) >> 20), b->from, (unsigned long long)(left >> 20));
    return ERR_OK;
}

static enum error_code backup_copy(struct backup *b, struct error *err)
{
    AUTO(db_close) struct db *db = NULL;
    enum error_code code = db_open(b->from, DB_READ_ONLY, &journal_schema, &db, err);
    if (code == ERR_OK)
        code = space_check(b, db, err);
    if (code == ERR_OK)
        code = db_copy(db, b->path, backup_stopped, b, err);
    return code;
}

/* What is damaged already is not handed out as a backup. */
static enum error_code backup_verify(const struct backup *b, struct error *err)
{
    AUTO(db_close) struct db *db = NULL;
    enum error_code code = db_open(b->path, DB_READ_ONLY, &journal_schema, &db, err);
    return code == ERR_OK ? db_verify(db, err) : code;
}

static enum error_code backup_make(struct backup *b, int *ret_fd, int64_t *ret_size,
                                   struct error *err)
{
    struct stat st = {0};
    enum error_code code = backup_copy(b, err);
    if (code != ERR_OK)
        return code;
    code = backup_verify(b, err);
    AUTO_CLOSE int fd = code == ERR_OK ? open(b->path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC) : -1;
    if (code == ERR_OK && (fd < 0 || fstat(fd, &st) != 0))
        code = error_errno(err, errno, "%s", b->path);
    /* From here on it ends with its descriptor. */
    (void)unlink(b->path);
    if (code != ERR_OK)
        return code;
    *ret_size = (int64_t)st.st_size;
    *ret_fd = fd_take(&fd);
    return ERR_OK;
}

static void *backup_thread(void *arg)
{
    struct backup *b = arg;
    struct error why = {0};
    int fd = -1;
    int64_t size = 0;
    enum error_code code = backup_make(b, &fd, &size, &why);
    (void)pthread_mutex_lock(&b->mutex);
    b->code = code;
    b->why = why;
    b->fd = fd;
    b->size_bytes = size;
    b->ended = true;
    (void)pthread_mutex_unlock(&b->mutex);
    b->wake(b->wake_ctx);
    return NULL;
}

/* ---- The owner's side ------------------------------------------------------------------- */

static void backup_free(struct backup *b)
{
    if (b == NULL)
        return;
    (void)pthread_mutex_destroy(&b->mutex);
    mem_free(b->from);
    mem_free(b->path);
    mem_free(b);
}
DEFINE_CLEANUP(backup_free, struct backup)

static char *path_in(const char *dir, const char *name)
{
    AUTO_BUF struct buf b = BUF_INIT;
    buf_printf(&b, "%s/%s", dir, name);
    return buf_take(&b, NULL);
}

/* Signals are the owner's business. */
static int thread_start(struct backup *b)
{
    sigset_t all;
    sigset_t before;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    int errnum = pthread_create(&b->thread, NULL, backup_thread, b);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    return errnum;
}

enum error_code journal_backup(struct journal *j,
                               void (*done)(void *ctx, enum error_code result,
                                            const struct error *err, int fd, int64_t size_bytes),
                               void *ctx, struct error *err)
{
    if (j->backup != NULL)
        return error_set(err, ERR_BUSY, "a backup is being made already");
    AUTO(backup_free) struct backup *b = MEM_NEW(struct backup);
    if (b == NULL)
        return error_set(err, ERR_NO_MEMORY, NULL);
    (void)pthread_mutex_init(&b->mutex, NULL);
    b->from = path_in(j->dir, "journal.db");
    b->path = path_in(j->dir, BACKUP_FILE);
    if (b->from == NULL || b->path == NULL)
        return error_set(err, ERR_NO_MEMORY, NULL);
    b->wake = j->wake;
    b->wake_ctx = j->wake_ctx;
    b->done = done;
    b->ctx = ctx;
    b->fd = -1;
    (void)unlink(b->path);
    int errnum = thread_start(b);
    if (errnum != 0)
        return error_errno(err, errnum, "cannot start a thread for the backup");
    j->backup = TAKE(b);
    return ERR_OK;
}

static void backup_settle(struct journal *j)
{
    AUTO(backup_free) struct backup *b = TAKE(j->backup);
    (void)pthread_join(b->thread, NULL);
    b->done(b->ctx, b->code, b->code == ERR_OK ? NULL : &b->why, b->fd, b->size_bytes);
}

void backup_collect(struct journal *j)
{
    if (j->backup == NULL)
        return;
    (void)pthread_mutex_lock(&j->backup->mutex);
    bool ended = j->backup->ended;
    (void)pthread_mutex_unlock(&j->backup->mutex);
    if (ended)
        backup_settle(j);
}

void backup_stop(struct journal *j)
{
    if (j->backup == NULL)
        return;
    (void)pthread_mutex_lock(&j->backup->mutex);
    j->backup->stop = true;
    (void)pthread_mutex_unlock(&j->backup->mutex);
    backup_settle(j);
}

void backup_sweep(const char *dir)
{
    AUTO_FREE char *path = path_in(dir, BACKUP_FILE);
    if (path != NULL)
        (void)unlink(path);
}
