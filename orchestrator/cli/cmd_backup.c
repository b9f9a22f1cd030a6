/* backup: a copy of the orchestrator's journal as a file. */
#include "common/base/cleanup.h"
#include "orchestrator/cli/commands.h"
#include "orchestrator/cli/download.h"
#include "orchestrator/cli/fresh_file.h"

#include <string.h>

/* What is looked at of the copy's first page: see "The Database Header" of SQLite's file format. */
enum {
    HEADER_LEN = 100,
    HEADER_PAGE_SIZE = 16,  /* two bytes; 1 means 65536 */
    HEADER_PAGE_COUNT = 28, /* four bytes */
    HEADER_APPLICATION = 68,
    PAGE_SIZE_MAX = 65536
};

struct backup {
    struct fresh_file out;
    int64_t len;
    unsigned char header[HEADER_LEN];
};

static bool backup_take(void *ctx, const char *data, size_t len)
{
    struct backup *b = ctx;
    if (b->len < HEADER_LEN) {
        size_t room = (size_t)(HEADER_LEN - b->len);
        memcpy(b->header + b->len, data, len < room ? len : room);
    }
    b->len += (int64_t)len;
    return fresh_file_write(&b->out, data, len);
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

/* ---- The command -------------------------------------------------------------------------------
 */

static int backup_download(struct backup *b)
{
    AUTO_ANSWER struct answer answer = {0};
    struct error err = {0};
    int status = CLI_OK;
    struct client *client = cli_client(b->out.cli, &status);
    if (client == NULL)
        return status;
    enum error_code code = client_download(client, "/v1/backup", backup_take, b, &answer, &err);
    if (code == ERR_CANCELLED)
        return fresh_file_fail(&b->out, b->out.errnum);
    if (code == ERR_UNAVAILABLE)
        return cli_unreachable(b->out.cli, err.message);
    if (code == ERR_DENIED)
        return cli_distrusted(b->out.cli, err.message);
    if (code == ERR_IO || code == ERR_TIMEOUT) {
        cli_say(b->out.cli, "the backup was cut off: %s", err.message);
        return CLI_UNREACHABLE;
    }
    if (code != ERR_OK)
        return cli_fail(b->out.cli, &err);
    if (answer.status >= API_REFUSED)
        return cli_refused(b->out.cli, &answer);
    if (!backup_whole(b)) {
        cli_say(b->out.cli, "what came is not a whole journal; nothing was written to %s",
                b->out.file);
        return CLI_USAGE;
    }
    return CLI_OK;
}

static int backup_say(struct backup *b)
{
    AUTO_BUF struct buf line = BUF_INIT;
    if (b->out.cli->options.json) {
        buf_puts(&line, "{\"file\":");
        json_write_string(&line, b->out.file, strlen(b->out.file));
        buf_printf(&line, ",\"bytes\":%lld}", (long long)b->len);
        if (line.failed == ERR_OK)
            return cli_write_json(b->out.cli, line.data, line.len) ? CLI_OK : CLI_USAGE;
    } else {
        render_text(&line, b->out.file);
        buf_printf(&line, ": %lld bytes\n", (long long)b->len);
    }
    return cli_write(b->out.cli, &line) ? CLI_OK : CLI_USAGE;
}

int cmd_backup(struct cli *cli)
{
    struct backup b = {.out = {.cli = cli, .file = cli->options.args[0], .fd = -1}};
    int status = fresh_file_begin(&b.out);
    if (status == CLI_OK)
        status = backup_download(&b);
    if (status == CLI_OK)
        status = fresh_file_keep(&b.out);
    if (status == CLI_OK)
        status = backup_say(&b);
    fresh_file_done(&b.out);
    return status;
}
