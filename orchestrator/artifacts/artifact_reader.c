/* artifact_reader: reading one, on the thread pool: what is not in memory may take its time. */
#include "orchestrator/artifacts/artifact_internal.h"

#include <assert.h>
#include <fcntl.h>

struct artifact_reader {
    uv_loop_t *loop;
    int fd;
    uv_fs_t request;
    bool busy, closed;
    void (*done)(void *ctx, enum error_code result, const char *data, size_t len);
    void *ctx;
    char piece[ARTIFACT_READ_MAX];
};

enum error_code artifact_reader_open(struct artifact_store *store, const char *digest,
                                     struct artifact_reader **ret_reader, struct error *err)
{
    const struct artifact_entry *entry = artifact_entry_find(store, digest);
    if (entry == NULL || entry->state != ARTIFACT_WHOLE || entry->leaving)
        return error_set(err, ERR_NOT_FOUND, "there is no artifact " ARTIFACT_PREFIX "%s", digest);
    struct artifact_reader *reader = MEM_NEW(struct artifact_reader);
    if (reader == NULL)
        return error_set(err, ERR_NO_MEMORY, NULL);
    enum error_code code = artifact_files_read(store->dir_fd, digest, true, &reader->fd, err);
    if (code != ERR_OK) {
        mem_free(reader);
        return code;
    }
    (void)posix_fadvise(reader->fd, 0, 0, POSIX_FADV_SEQUENTIAL);
    reader->loop = store->config.loop;
    *ret_reader = reader;
    return ERR_OK;
}

static void reader_free(struct artifact_reader *reader)
{
    (void)close(reader->fd);
    mem_free(reader);
}

static void reader_read_done(uv_fs_t *request)
{
    struct artifact_reader *reader = request->data;
    ssize_t len = request->result;
    uv_fs_req_cleanup(request);
    reader->busy = false;
    if (reader->closed)
        reader_free(reader);
    else if (len < 0)
        reader->done(reader->ctx, ERR_IO, NULL, 0);
    else
        reader->done(reader->ctx, ERR_OK, reader->piece, (size_t)len);
}

void artifact_reader_read(struct artifact_reader *reader, int64_t offset_bytes, size_t len,
                          void (*done)(void *ctx, enum error_code result, const char *data,
                                       size_t len),
                          void *ctx)
{
    assert(!reader->busy);
    const uv_buf_t piece = {.base = reader->piece,
                            .len = len < ARTIFACT_READ_MAX ? len : ARTIFACT_READ_MAX};
    reader->busy = true;
    reader->done = done;
    reader->ctx = ctx;
    reader->request.data = reader;
    int rc = uv_fs_read(reader->loop, &reader->request, reader->fd, &piece, 1, offset_bytes,
                        reader_read_done);
    assert(rc == 0);
}

void artifact_reader_close(struct artifact_reader *reader)
{
    if (reader == NULL)
        return;
    reader->closed = true;
    if (!reader->busy)
        reader_free(reader);
}
