#include "orchestrator/cli/fresh_file.h"

#include "common/base/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

bool fresh_file_write(struct fresh_file *f, const char *data, size_t len)
{
    while (len > 0) {
        ssize_t written = write(f->fd, data, len);
        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0) {
            f->errnum = errno;
            return false;
        }
        data += written;
        len -= (size_t)written;
    }
    return true;
}

int fresh_file_fail(const struct fresh_file *f, int errnum)
{
    cli_say(f->cli, "%s: %s", f->file, strerror(errnum));
    return CLI_USAGE;
}

static int fresh_file_exists(const struct fresh_file *f)
{
    cli_say(f->cli, "%s exists already (--force replaces it)", f->file);
    return CLI_USAGE;
}

int fresh_file_begin(struct fresh_file *f)
{
    AUTO_BUF struct buf name = BUF_INIT;
    struct stat st;
    f->fd = -1;
    if (!option_given(&f->cli->options, OPT_FORCE) && lstat(f->file, &st) == 0)
        return fresh_file_exists(f);
    buf_printf(&name, "%s.XXXXXX", f->file);
    f->fresh = buf_take(&name, NULL);
    if (f->fresh == NULL)
        return fresh_file_fail(f, ENOMEM);
    f->fd = mkostemp(f->fresh, O_CLOEXEC); /* mode 0600 */
    return f->fd < 0 ? fresh_file_fail(f, errno) : CLI_OK;
}

/* Without --force a file that came meanwhile stays; where the file system cannot promise that, one
 * that is there is looked for once more. */
static int fresh_file_rename(const struct fresh_file *f)
{
    if (option_given(&f->cli->options, OPT_FORCE))
        return rename(f->fresh, f->file) == 0 ? 0 : errno;
    if (renameat2(AT_FDCWD, f->fresh, AT_FDCWD, f->file, RENAME_NOREPLACE) == 0)
        return 0;
    if (errno != EINVAL && errno != ENOSYS)
        return errno;
    struct stat st;
    if (lstat(f->file, &st) == 0)
        return EEXIST;
    return rename(f->fresh, f->file) == 0 ? 0 : errno;
}

static int sync_dir_of(const char *file)
{
    AUTO_FREE char *copy = mem_strdup(file);
    if (copy == NULL)
        return ENOMEM;
    AUTO_CLOSE int fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return fd >= 0 && fsync(fd) == 0 ? 0 : errno;
}

int fresh_file_keep(struct fresh_file *f)
{
    if (fsync(f->fd) != 0)
        return fresh_file_fail(f, errno);
    int errnum = fresh_file_rename(f);
    if (errnum == EEXIST)
        return fresh_file_exists(f);
    if (errnum != 0)
        return fresh_file_fail(f, errnum);
    mem_free(TAKE(f->fresh)); /* it has its name now */
    errnum = sync_dir_of(f->file);
    return errnum == 0 ? CLI_OK : fresh_file_fail(f, errnum);
}

void fresh_file_done(struct fresh_file *f)
{
    if (f->fd >= 0)
        (void)close(f->fd);
    if (f->fresh != NULL && f->fd >= 0)
        (void)unlink(f->fresh);
    mem_free(f->fresh);
}
