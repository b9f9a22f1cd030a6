#include "common/base/buf.h"
#include "common/base/cleanup.h"
#include "orchestrator/journal/journal_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PID_TEXT_MAX = 16 };

/* The name of a new directory is durable once its parent was synced. */
static enum error_code sync_parent(int dir_fd, const char *dir, struct error *err)
{
    AUTO_CLOSE int parent = openat(dir_fd, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (parent < 0 || fsync(parent) != 0)
        return error_errno(err, errno, "%s: cannot sync the directory above it", dir);
    return ERR_OK;
}

static enum error_code dir_prepare(const char *dir, bool make, int *ret_fd, struct error *err)
{
    bool made = make && mkdir(dir, S_IRWXU) == 0;
    if (make && !made && errno != EEXIST)
        return error_errno(err, errno, "%s: cannot make the data directory", dir);
    AUTO_CLOSE int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return error_errno(err, errno, "%s: cannot open the data directory", dir);
    if (made && fchmod(fd, S_IRWXU) != 0)
        return error_errno(err, errno, "%s: cannot set the mode", dir);
    if (made) {
        enum error_code code = sync_parent(fd, dir, err);
        if (code != ERR_OK)
            return code;
    }
    /* One that is there is left as it is, but who can write into it could replace the journal. */
    struct stat st;
    if (fstat(fd, &st) != 0)
        return error_errno(err, errno, "%s", dir);
    if ((st.st_mode & S_IWOTH) != 0)
        return error_set(err, ERR_DENIED,
                         "%s: anybody may write into this directory; make it private (chmod 0700)",
                         dir);
    *ret_fd = fd_take(&fd);
    return ERR_OK;
}

/* Who holds the lock, as far as it is written there: "" or " (process 123)". */
static void holder_read(int fd, struct buf *b)
{
    char text[PID_TEXT_MAX + 1] = {0};
    if (pread(fd, text, PID_TEXT_MAX, 0) <= 0)
        return;
    char *end = NULL;
    long pid = strtol(text, &end, 10);
    if (pid > 0 && end != text && *end == '\n')
        buf_printf(b, " (process %ld)", pid);
}

/* For people only, so a full disk does not matter. */
static void holder_write(int fd)
{
    AUTO_BUF struct buf text = BUF_INIT;
    buf_put_int(&text, getpid());
    buf_putc(&text, '\n');
    if (buf_check(&text, NULL) != ERR_OK || ftruncate(fd, 0) != 0 ||
        pwrite(fd, text.data, text.len, 0) < 0)
        return;
}

enum error_code journal_lock(const char *dir, bool make, int *ret_fd, struct error *err)
{
    AUTO_CLOSE int dir_fd = -1;
    enum error_code code = dir_prepare(dir, make, &dir_fd, err);
    if (code != ERR_OK)
        return code;
    AUTO_CLOSE int fd = openat(
        dir_fd, "lock", O_RDWR | (make ? O_CREAT : 0) | O_NOFOLLOW | O_CLOEXEC, S_IRUSR | S_IWUSR);
    if (fd < 0 && !make && errno == ENOENT)
        return ERR_OK; /* no orchestrator was ever here */
    if (fd < 0)
        return error_errno(err, errno, "%s/lock: cannot open", dir);
    /* Belongs to the open file, so it holds within one process too, and ends with the holder. */
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        if (errno != EWOULDBLOCK)
            return error_errno(err, errno, "%s/lock: cannot lock", dir);
        AUTO_BUF struct buf holder = BUF_INIT;
        holder_read(fd, &holder);
        return error_set(err, ERR_BUSY, "%s: in use by another orchestrator%s", dir,
                         holder.data == NULL ? "" : holder.data);
    }
    holder_write(fd);
    *ret_fd = fd_take(&fd);
    return ERR_OK;
}
