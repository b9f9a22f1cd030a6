#include "common/pki/pki_file.h"

#include "common/base/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PATH_TEXT_MAX = 4096 };

/* ---- Writing ----------------------------------------------------------------------------------
 */

static int write_all(int fd, const char *data, size_t len)
{
    while (len > 0) {
        ssize_t n = write(fd, data, len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return errno;
        data += n;
        len -= (size_t)n;
    }
    return 0;
}

/* Makes the file under its temporary name, durable. Returns an errno. */
static int write_fresh(const char *fresh, const void *data, size_t len, mode_t mode)
{
    (void)unlink(fresh); /* what a crash has left */
    AUTO_CLOSE int fd = open(fresh, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return errno;
    int failed = write_all(fd, data, len);
    if (failed == 0 && fchmod(fd, mode) != 0) /* whatever the umask is */
        failed = errno;
    if (failed == 0 && fsync(fd) != 0)
        failed = errno;
    return failed;
}

static int folder_sync(const char *path)
{
    char folder[PATH_TEXT_MAX];
    const char *slash = strrchr(path, '/');
    if (slash == NULL)
        (void)snprintf(folder, sizeof(folder), ".");
    else
        (void)snprintf(folder, sizeof(folder), "%.*s", (int)(slash - path + 1), path);
    AUTO_CLOSE int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return fd < 0 || fsync(fd) != 0 ? errno : 0;
}

enum error_code pki_file_write(const char *path, const void *data, size_t len, mode_t mode,
                               struct error *err)
{
    char fresh[PATH_TEXT_MAX];
    int fresh_len = snprintf(fresh, sizeof(fresh), "%s.new", path);
    if (fresh_len < 0 || (size_t)fresh_len >= sizeof(fresh))
        return error_set(err, ERR_LIMIT, "%.100s: the path is too long", path);
    int failed = write_fresh(fresh, data, len, mode);
    if (failed == 0 && rename(fresh, path) != 0)
        failed = errno;
    if (failed != 0) {
        (void)unlink(fresh);
        return error_errno(err, failed, "writing %.150s", path);
    }
    failed = folder_sync(path);
    if (failed != 0)
        return error_errno(err, failed, "writing the folder of %.150s", path);
    return ERR_OK;
}

/* ---- Reading ----------------------------------------------------------------------------------
 */

static int fd_take(int *fd)
{
    int taken = *fd;
    *fd = -1;
    return taken;
}

/* Opens a regular file of at most max bytes. */
static enum error_code file_open(const char *path, size_t max, int *ret_fd, struct stat *ret_info,
                                 struct error *err)
{
    AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a FIFO would hang */
    if (fd < 0 || fstat(fd, ret_info) != 0)
        return error_errno(err, errno, "reading %.150s", path);
    if (!S_ISREG(ret_info->st_mode))
        return error_set(err, ERR_INVALID, "%.150s: not a regular file", path);
    if ((size_t)ret_info->st_size > max)
        return error_set(err, ERR_LIMIT, "%.150s: longer than the %zu bytes that it may have", path,
                         max);
    *ret_fd = fd_take(&fd);
    return ERR_OK;
}

/* Reads up to the end. False, with errno: it failed, or the file grows meanwhile. */
static bool read_all(int fd, char *to, size_t capacity, size_t *ret_len)
{
    size_t len = 0;
    for (;;) {
        ssize_t n = read(fd, to + len, capacity - len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return false;
        if (n == 0)
            break;
        len += (size_t)n;
        if (len == capacity) {
            errno = EBUSY;
            return false;
        }
    }
    *ret_len = len;
    return true;
}

enum error_code pki_file_read(const char *path, size_t max, struct buf *out, struct error *err)
{
    AUTO_CLOSE int fd = -1;
    struct stat info = {0};
    enum error_code code = file_open(path, max, &fd, &info, err);
    if (code != ERR_OK)
        return code;
    size_t capacity = (size_t)info.st_size + 1;
    AUTO_FREE char *data = mem_alloc(capacity);
    if (data == NULL)
        return error_set(err, ERR_NO_MEMORY, NULL);
    size_t len = 0;
    if (!read_all(fd, data, capacity, &len))
        return error_errno(err, errno, "reading %.150s", path);
    buf_append(out, data, len);
    return buf_check(out, err);
}

static enum error_code secret_check_owner(const char *path, const struct stat *info,
                                          struct error *err)
{
    if (info->st_uid != geteuid() && info->st_uid != 0)
        return error_set(err, ERR_DENIED,
                         "%.120s belongs to another user (%u), who could change it: chown it to "
                         "the user that this runs as",
                         path, (unsigned)info->st_uid);
    if ((info->st_mode & (S_IRWXG | S_IRWXO)) != 0)
        return error_set(err, ERR_DENIED,
                         "%.120s is open to others (mode %04o), and what is in it may be known by "
                         "now: chmod 600 it, or replace it",
                         path, (unsigned)(info->st_mode & 07777));
    return ERR_OK;
}

enum error_code pki_secret_read(const char *path, size_t max, struct pki_secret *ret_secret,
                                struct error *err)
{
    AUTO_CLOSE int fd = -1;
    struct stat info = {0};
    enum error_code code = file_open(path, max, &fd, &info, err);
    if (code == ERR_OK)
        code = secret_check_owner(path, &info, err);
    if (code != ERR_OK)
        return code;
    size_t capacity = (size_t)info.st_size + 1;
    AUTO_SECRET struct pki_secret secret = {.data = OPENSSL_zalloc(capacity), .len = capacity - 1};
    if (secret.data == NULL)
        return error_set(err, ERR_NO_MEMORY, NULL);
    size_t len = 0;
    if (!read_all(fd, secret.data, capacity, &len))
        return error_errno(err, errno, "reading %.150s", path);
    secret.data[len] = '\0';
    *ret_secret = (struct pki_secret){.data = TAKE(secret.data), .len = len};
    return ERR_OK;
}

enum error_code pki_secret_copy(const char *text, size_t len, struct pki_secret *ret_secret,
                                struct error *err)
{
    char *data = OPENSSL_zalloc(len + 1);
    if (data == NULL)
        return error_set(err, ERR_NO_MEMORY, NULL);
    memcpy(data, text, len);
    *ret_secret = (struct pki_secret){.data = data, .len = len};
    return ERR_OK;
}

void pki_secret_done(struct pki_secret *secret)
{
    if (secret->data != NULL)
        OPENSSL_clear_free(secret->data, secret->len + 1);
    *secret = (struct pki_secret){0};
}
