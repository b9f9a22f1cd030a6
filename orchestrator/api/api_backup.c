/* api_backup: a copy of the journal, made while it runs and handed out as a file. */
#include "orchestrator/api/api_internal.h"

#include <errno.h>
#include <unistd.h>

enum { BACKUP_PIECE = 256 * 1024 /* bytes read and sent in one go */ };

/* A copy on its way to its reader. */
struct api_backup {
    int fd;
    int64_t sent, size;
};

void call_backup_free(struct api_call *call)
{
    if (call->backup == NULL)
        return;
    call->api->backups--;
    if (call->backup->fd >= 0)
        (void)close(call->backup->fd);
    mem_free(call->backup);
    call->backup = NULL;
}

/* The file is fresh in the page cache, so reading it keeps the loop for a moment only. What cannot
 * be read ends the connection without the mark that says the answer is whole. */
static void backup_writable(void *ctx, struct net_request *req)
{
    (void)ctx;
    struct api_call *call = net_request_data(req);
    struct api_backup *backup = call == NULL ? NULL : call->backup;
    if (backup == NULL)
        return;
    if (backup->sent == backup->size) {
        net_stream_end(req);
        return;
    }
    AUTO_FREE char *piece = mem_alloc(BACKUP_PIECE);
    ssize_t len = -1;
    if (piece != NULL)
        len = pread(backup->fd, piece, BACKUP_PIECE, (off_t)backup->sent);
    if (len <= 0 || net_stream_send(req, piece, (size_t)len, NULL) != ERR_OK) {
        net_stream_break(req);
        return;
    }
    backup->sent += len;
    net_stream_want(req);
}

static void backup_done(void *ctx, enum error_code result, const struct error *err, int fd,
                        int64_t size_bytes)
{
    struct api_call *call = ctx;
    call->pending--;
    call->backup->fd = fd;
    call->backup->size = size_bytes;
    if (call->req == NULL) {
        call_backup_free(call);
    } else if (result != ERR_OK) {
        call_backup_free(call);
        call_error(call, result, err);
    } else {
        net_stream_begin(call->req, 200, "application/vnd.sqlite3", backup_writable);
        net_stream_want(call->req);
    }
    call_free(call);
}

static void backup_make(struct api_call *call)
{
    struct api *api = call->api;
    struct error err = {0};
    enum error_code code = ERR_OK;
    /* One at a time, the handing out included: each is as large as the journal. */
    if (api->backups > 0)
        code = error_set(&err, ERR_BUSY, "another backup is being made; try again later");
    else if (api->stopping || call->req == NULL)
        code = error_set(&err, ERR_UNAVAILABLE, "the orchestrator is stopping");
    if (code == ERR_OK) {
        call->backup = MEM_NEW(struct api_backup);
        code = call->backup == NULL ? error_set(&err, ERR_NO_MEMORY, NULL) : ERR_OK;
    }
    if (code != ERR_OK) {
        call_error(call, code, &err);
        return;
    }
    call->backup->fd = -1;
    api->backups++;
    call->pending++;
    code = journal_backup(api->config.journal, backup_done, call, &err);
    if (code != ERR_OK) {
        call->pending--;
        call_backup_free(call);
        call_error(call, code, &err);
    }
}

void handle_backup(struct api_call *call)
{
    call_change(call, NULL, NULL, backup_make);
}
