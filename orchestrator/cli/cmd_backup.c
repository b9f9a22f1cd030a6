/* backup: a copy of the orchestrator's journal as a file. */
#include "common/base/cleanup.h"
#include "orchestrator/cli/commands.h"
#include "orchestrator/cli/download.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* What is looked at of the copy's first page: see "The Database Header" of SQLite's file format. */
enum {
    HEADER_LEN = 100,
    HEADER_PAGE_SIZE = 16,  /* two bytes; 1 means 65536 */
    HEADER_PAGE_COUNT = 28, /* four bytes */
    HEADER_APPLICATION = 68,
    PAGE_SIZE_MAX = 65536
};

struct backup {
    struct cli *cli;
    const char *file;
    char *fresh; /* the temporary file beside it */
    int fd;
    int64_t len;
    unsigned char header[HEADER_LEN];
    int errnum; /* of writing */
};

static bool backup_write(struct backup *b, const char *data, size_t len)
{
    while (len > 0) {
        ssize_t written = write(b->fd, data, len);
        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0) {
            b->errnum = errno;
            return false;
        }
        data += written;
        len -= (size_t)written;
    }
    return true;
}

static bool backup_take(void *ctx, const char *data, size_t len)
{
    struct backup *b = ctx;
    if (b->len < HEADER_LEN) {
        size_t room = (size_t)(HEADER_LEN - b->len);
        memcpy(b->header + b->len, data, len < room ? len : room);
    }
    b->len += (int64_t)len;
    return backup_write(b, data, len);
}

/* Whether all pages that the first one tells of have come, and it is a journal at all. */
static bool backup_whole(const struct backup *b)
{
    const unsigned char *h = b->header;
    if (b->len < HEADER_LEN || memcmp(h, "SQLite format 3", 16) != 0 ||
        memcmp(h + HEADER_APPLICATION, "KITJ", 4) != 0)
        return false;
    int64_t page = h[HEADER_PAGE_SIZE] << 8 | h[HEADER_PAGE_SIZE + 1];
    int64_t pages = 0;
    for (int i = 0; i < 4; i++)
        pages = pages << 8 | h[HEADER_PAGE_COUNT + i];
    return (page == 1 ? PAGE_SIZE_MAX : page) * pages == b->len;
}

static int backup_fail(struct backup *b, int errnum)
{
    cli_say(b->cli, "%s: %s", b->file, strerror(errnum));
    return CLI_USAGE;
}

/* ---- The file ----------------------------------------------------------------------------------
 */

static int backup_exists(struct backup *b)
{
    cli_say(b->cli, "%s exists already (--force replaces it)", b->file);
    return CLI_USAGE;
}

static int backup_begin(struct backup *b)
{
    AUTO_BUF struct buf name = BUF_INIT;
    struct stat st;
    if (!option_given(&b->cli->options, OPT_FORCE) && lstat(b->file, &st) == 0)
        return backup_exists(b);
    buf_printf(&name, "%s.XXXXXX", b->file);
    b->fresh = buf_take(&name, NULL);
    if (b->fresh == NULL)
        return backup_fail(b, ENOMEM);
    b->fd = mkostemp(b->fresh, O_CLOEXEC); /* mode 0600 */
    return b->fd < 0 ? backup_fail(b, errno) : CLI_OK;
}

/* Without --force a file that came meanwhile stays; where the file system cannot promise that, one
 * that is there is looked for once more. */
static int backup_rename(const struct backup *b)
{
    if (option_given(&b->cli->options, OPT_FORCE))
        return rename(b->fresh, b->file) == 0 ? 0 : errno;
    if (renameat2(AT_FDCWD, b->fresh, AT_FDCWD, b->file, RENAME_NOREPLACE) == 0)
        return 0;
    if (errno != EINVAL && errno != ENOSYS)
        return errno;
    struct stat st;
    if (lstat(b->file, &st) == 0)
        return EEXIST;
    return rename(b->fresh, b->file) == 0 ? 0 : errno;
}

static int sync_dir_of(const char *file)
{
    AUTO_FREE char *copy = mem_strdup(file);
    if (copy == NULL)
        return ENOMEM;
    AUTO_CLOSE int fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return fd >= 0 && fsync(fd) == 0 ? 0 : errno;
}

static int backup_keep(struct backup *b)
{
    if (fsync(b->fd) != 0)
        return backup_fail(b, errno);
    int errnum = backup_rename(b);
    if (errnum == EEXIST)
        return backup_exists(b);
    if (errnum != 0)
        return backup_fail(b, errnum);
    mem_free(TAKE(b->fresh)); /* it has its name now */
    errnum = sync_dir_of(b->file);
    return errnum == 0 ? CLI_OK : backup_fail(b, errnum);
}

static void backup_end(struct backup *b)
{
    if (b->fd >= 0)
        (void)close(b->fd);
    if (b->fresh != NULL && b->fd >= 0)
        (void)unlink(b->fresh);
    mem_free(b->fresh);
}

/* ---- The command -------------------------------------------------------------------------------
 */

static int backup_download(struct backup *b)
{
    AUTO_ANSWER struct answer answer = {0};
    struct error err = {0};
    int status = CLI_OK;
    struct client *client = cli_client(b->cli, &status);
    if (client == NULL)
        return status;
    enum error_code code = client_download(client, "/v1/backup", backup_take, b, &answer, &err);
    if (code == ERR_CANCELLED)
        return backup_fail(b, b->errnum);
    if (code == ERR_UNAVAILABLE)
        return cli_unreachable(b->cli, err.message);
    if (code == ERR_DENIED)
        return cli_distrusted(b->cli, err.message);
    if (code == ERR_IO || code == ERR_TIMEOUT) {
        cli_say(b->cli, "the backup was cut off: %s", err.message);
        return CLI_UNREACHABLE;
    }
    if (code != ERR_OK)
        return cli_fail(b->cli, &err);
    if (answer.status >= API_REFUSED)
        return cli_refused(b->cli, &answer);
    if (!backup_whole(b)) {
        cli_say(b->cli, "what came is not a whole journal; nothing was written to %s", b->file);
        return CLI_USAGE;
    }
    return CLI_OK;
}

static int backup_say(struct backup *b)
{
    AUTO_BUF struct buf line = BUF_INIT;
    if (b->cli->options.json) {
        buf_puts(&line, "{\"file\":");
        json_write_string(&line, b->file, strlen(b->file));
        buf_printf(&line, ",\"bytes\":%lld}", (long long)b->len);
        if (line.failed == ERR_OK)
            return cli_write_json(b->cli, line.data, line.len) ? CLI_OK : CLI_USAGE;
    } else {
        render_text(&line, b->file);
        buf_printf(&line, ": %lld bytes\n", (long long)b->len);
    }
    return cli_write(b->cli, &line) ? CLI_OK : CLI_USAGE;
}

int cmd_backup(struct cli *cli)
{
    struct backup b = {.cli = cli, .file = cli->options.args[0], .fd = -1};
    int status = backup_begin(&b);
    if (status == CLI_OK)
        status = backup_download(&b);
    if (status == CLI_OK)
        status = backup_keep(&b);
    if (status == CLI_OK)
        status = backup_say(&b);
    backup_end(&b);
    return status;
}
