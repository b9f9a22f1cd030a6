#include "handlers/fileio.h"

#include "common/base/failpoint.h"
#include "common/base/text.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { CHUNK_BYTES = 64 * 1024 };

/* ---- Places ------------------------------------------------------------------------------ */

enum error_code file_place_open(const char *path, struct file_place *ret_place, struct error *err)
{
    struct file_place place = FILE_PLACE_INIT;
    char folder[PATH_MAX];
    const char *slash = strrchr(path, '/');
    if (path[0] != '/' || slash[1] == '\0')
        return error_set(err, ERR_INVALID, "%s: not the absolute path of a file", path);
    if (strlen(path) >= sizeof(place.path) || strlen(slash + 1) >= sizeof(place.name))
        return error_set(err, ERR_INVALID, "the path is too long");
    size_t folder_len = slash == path ? 1 : (size_t)(slash - path);
    memcpy(folder, path, folder_len);
    folder[folder_len] = '\0';
    memcpy(place.path, path, strlen(path) + 1);
    memcpy(place.name, slash + 1, strlen(slash + 1) + 1);
    place.dir_fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (place.dir_fd < 0) {
        if (errno == ENOENT)
            return error_set(err, ERR_NOT_FOUND, "the folder %s does not exist", folder);
        return error_errno(err, errno, "cannot open the folder %s", folder);
    }
    *ret_place = place;
    return ERR_OK;
}

void file_place_close(struct file_place *place)
{
    if (place->dir_fd >= 0)
        (void)close(place->dir_fd);
    place->dir_fd = -1;
}

/* ---- Bytes ------------------------------------------------------------------------------- */

/* Short only at the end of the file. */
static enum error_code read_at(int fd, void *data, size_t len, uint64_t offset, size_t *ret_len,
                               struct error *err)
{
    size_t done = 0;
    while (done < len) {
        ssize_t got = pread(fd, (char *)data + done, len - done, (off_t)(offset + done));
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return error_errno(err, errno, "cannot read");
        if (got == 0)
            break;
        done += (size_t)got;
    }
    *ret_len = done;
    return ERR_OK;
}

static enum error_code write_all(int fd, const char *data, size_t len, struct error *err)
{
    while (len > 0) {
        ssize_t done = write(fd, data, len);
        if (done < 0 && errno == EINTR)
            continue;
        if (done < 0)
            return error_errno(err, errno, "cannot write");
        data += done;
        len -= (size_t)done;
    }
    return ERR_OK;
}

static enum error_code stop_check(const atomic_bool *stop, struct error *err)
{
    return stop && atomic_load(stop) ? error_set(err, ERR_CANCELLED, NULL) : ERR_OK;
}

static enum error_code copy_bytes(int fd, const struct file_source *source, struct error *err)
{
    char chunk[CHUNK_BYTES];
    uint64_t offset = 0;
    if (source->fd < 0)
        return write_all(fd, source->data, source->len, err);
    for (;;) {
        size_t len = 0;
        enum error_code code = read_at(source->fd, chunk, sizeof(chunk), offset, &len, err);
        if (code != ERR_OK || len == 0)
            return code;
        offset += len;
        if (offset > source->len)
            return error_set(err, ERR_BUSY, "it grows: somebody else is writing to it");
        code = stop_check(source->stop, err);
        if (code == ERR_OK)
            code = write_all(fd, chunk, len, err);
        if (code != ERR_OK)
            return code;
    }
}

enum error_code file_read(int fd, size_t max, struct buf *b, struct error *err)
{
    char chunk[CHUNK_BYTES];
    uint64_t offset = 0;
    for (;;) {
        size_t len = 0;
        enum error_code code = read_at(fd, chunk, sizeof(chunk), offset, &len, err);
        if (code != ERR_OK || len == 0)
            return code == ERR_OK ? buf_check(b, err) : code;
        offset += len;
        if (offset > max)
            return error_set(err, ERR_BUSY, "it grows: somebody else is writing to it");
        buf_append(b, chunk, len);
    }
}

static enum error_code digest_bytes(EVP_MD_CTX *ctx, int fd, const atomic_bool *stop,
                                    struct error *err)
{
    char chunk[CHUNK_BYTES];
    uint64_t offset = 0;
    for (;;) {
        size_t len = 0;
        enum error_code code = read_at(fd, chunk, sizeof(chunk), offset, &len, err);
        if (code == ERR_OK)
            code = stop_check(stop, err);
        if (code != ERR_OK || len == 0)
            return code;
        if (EVP_DigestUpdate(ctx, chunk, len) != 1)
            return error_set(err, ERR_INTERNAL, "SHA-256 failed");
        offset += len;
    }
}

enum error_code file_digest(int fd, char ret_digest[FILE_DIGEST_TEXT], struct error *err)
{
    return file_digest_until(fd, NULL, ret_digest, err);
}

enum error_code file_digest_until(int fd, const atomic_bool *stop,
                                  char ret_digest[FILE_DIGEST_TEXT], struct error *err)
{
    unsigned char bytes[EVP_MAX_MD_SIZE];
    unsigned int len = 0;
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    if (!ctx)
        return error_set(err, ERR_NO_MEMORY, NULL);
    enum error_code code = EVP_DigestInit_ex(ctx, EVP_sha256(), NULL) == 1
                               ? digest_bytes(ctx, fd, stop, err)
                               : error_set(err, ERR_INTERNAL, "SHA-256 is not available");
    if (code == ERR_OK && EVP_DigestFinal_ex(ctx, bytes, &len) != 1)
        code = error_set(err, ERR_INTERNAL, "SHA-256 failed");
    EVP_MD_CTX_free(ctx);
    if (code != ERR_OK)
        return code;
    assert(2 * len + 1 == FILE_DIGEST_TEXT);
    text_hex(bytes, len, ret_digest);
    return ERR_OK;
}

enum error_code data_digest(const char *data, size_t len, char ret_digest[FILE_DIGEST_TEXT],
                            struct error *err)
{
    unsigned char bytes[EVP_MAX_MD_SIZE];
    unsigned int digest_len = 0;
    if (EVP_Digest(data, len, bytes, &digest_len, EVP_sha256(), NULL) != 1)
        return error_set(err, ERR_INTERNAL, "SHA-256 failed");
    assert(2 * digest_len + 1 == FILE_DIGEST_TEXT);
    text_hex(bytes, digest_len, ret_digest);
    return ERR_OK;
}

enum error_code file_holds(int fd, const char *data, size_t len, bool *ret_same, struct error *err)
{
    char chunk[CHUNK_BYTES];
    size_t offset = 0;
    for (;;) {
        size_t got = 0;
        enum error_code code = read_at(fd, chunk, sizeof(chunk), offset, &got, err);
        if (code != ERR_OK)
            return code;
        bool same = got <= len - offset && memcmp(chunk, data + offset, got) == 0;
        offset += got;
        if (!same || got < sizeof(chunk)) {
            *ret_same = same && offset == len;
            return ERR_OK;
        }
    }
}

/* ---- Replacing --------------------------------------------------------------------------- */

static enum error_code temp_fill(int fd, const struct file_source *source,
                                 const struct file_meta *meta, struct error *err)
{
    enum error_code code = copy_bytes(fd, source, err);
    if (code == ERR_OK)
        code = file_meta_write(fd, meta, err);
    if (code == ERR_OK && fsync(fd) != 0)
        code = error_errno(err, errno, "cannot make it durable");
    return code;
}

enum error_code file_place_sync(const struct file_place *place, struct error *err)
{
    if (fsync(place->dir_fd) != 0)
        return error_errno(err, errno, "%s: cannot make its folder durable", place->path);
    return ERR_OK;
}

enum error_code file_stage(const struct file_place *place, const char *temp_name,
                           const struct file_source *source, const struct file_meta *meta,
                           struct error *err)
{
    if (unlinkat(place->dir_fd, temp_name, 0) != 0 && errno != ENOENT)
        return error_errno(err, errno, "%s: cannot remove %s beside it", place->path, temp_name);
    AUTO_CLOSE int fd =
        openat(place->dir_fd, temp_name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return error_errno(err, errno, "%s: cannot make a file beside it", place->path);
    if (temp_fill(fd, source, meta, err) == ERR_OK)
        return ERR_OK;
    (void)unlinkat(place->dir_fd, temp_name, 0);
    return error_wrap(err, "%s", place->path);
}

enum error_code file_put(const struct file_place *place, const char *temp_name, struct error *err)
{
    FAILPOINT(FAIL_FILE_REPLACE);
    if (renameat(place->dir_fd, temp_name, place->dir_fd, place->name) != 0) {
        int errnum = errno;
        (void)unlinkat(place->dir_fd, temp_name, 0);
        return error_errno(err, errnum, "%s: cannot put the new file in its place", place->path);
    }
    FAILPOINT(FAIL_FILE_REPLACED);
    return file_place_sync(place, err);
}

enum error_code file_replace(const struct file_place *place, const char *temp_name,
                             const struct file_source *source, const struct file_meta *meta,
                             struct error *err)
{
    enum error_code code = file_stage(place, temp_name, source, meta, err);
    return code == ERR_OK ? file_put(place, temp_name, err) : code;
}

enum error_code file_remove(const struct file_place *place, struct error *err)
{
    if (unlinkat(place->dir_fd, place->name, 0) != 0 && errno != ENOENT)
        return error_errno(err, errno, "cannot remove %s", place->path);
    FAILPOINT(FAIL_FILE_REMOVED);
    return file_place_sync(place, err);
}
