#include "agent/artifact_cache.h"

#include "common/base/array.h"
#include "common/base/buf.h"
#include "common/base/cleanup.h"
#include "common/base/text.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <uv.h>

enum {
    FOLDER_MODE = 0700,
    FILE_MODE = 0600,
    CHUNK_BYTES = 128 * 1024,
    DIGEST_BYTES = ARTIFACT_DIGEST_DIGITS / 2,
    NAME_BUFFER = ARTIFACT_DIGEST_BUFFER + sizeof(".part")
};

/* Where a file goes to be removed, which may take its time, under no lock. */
static const char doomed_name[] = "removed";
static const char part_end[] = ".part";

struct held {
    char digest[ARTIFACT_DIGEST_BUFFER];
};

struct artifact_cache {
    char *path;
    int dir_fd;
    int64_t max_bytes;
    uv_mutex_t held_lock; /* of `held`; a rename at most is done under it */
    uv_mutex_t trim_lock; /* one is removing at a time */
    struct array held;    /* struct held, each as often as it is held */
};

/* ---- What is held -----------------------------------------------------------------------------
 */

static struct held *held_find(const struct artifact_cache *c, const char *digest)
{
    for (size_t i = 0; i < c->held.count; i++) {
        struct held *held = ARRAY_AT(&c->held, struct held, i);
        if (memcmp(held->digest, digest, ARTIFACT_DIGEST_DIGITS) == 0)
            return held;
    }
    return NULL;
}

enum error_code artifact_cache_hold(struct artifact_cache *c, const char *digest, struct error *err)
{
    assert(strlen(digest) == ARTIFACT_DIGEST_DIGITS);
    uv_mutex_lock(&c->held_lock);
    struct held *held = mem_realloc(c->held.items, (c->held.count + 1) * sizeof(*held));
    if (held) {
        c->held.items = held;
        memcpy(held[c->held.count++].digest, digest, ARTIFACT_DIGEST_BUFFER);
    }
    uv_mutex_unlock(&c->held_lock);
    return held ? ERR_OK : error_set(err, ERR_NO_MEMORY, NULL);
}

void artifact_cache_release(struct artifact_cache *c, const char *digest)
{
    uv_mutex_lock(&c->held_lock);
    struct held *held = held_find(c, digest);
    assert(held != NULL);
    *held = *ARRAY_AT(&c->held, struct held, --c->held.count);
    uv_mutex_unlock(&c->held_lock);
}

/* ---- Bytes ------------------------------------------------------------------------------------
 */

static void part_name(const char *digest, char ret_name[NAME_BUFFER])
{
    (void)snprintf(ret_name, NAME_BUFFER, "%.*s%s", ARTIFACT_DIGEST_DIGITS, digest, part_end);
}

static enum error_code digest_update(EVP_MD_CTX *ctx, int fd, const atomic_bool *stop,
                                     struct error *err)
{
    AUTO_FREE char *chunk = mem_alloc(CHUNK_BYTES);
    off_t offset = 0;
    if (!chunk)
        return error_set(err, ERR_NO_MEMORY, NULL);
    for (;;) {
        ssize_t len = pread(fd, chunk, CHUNK_BYTES, offset);
        if (len < 0 && errno == EINTR)
            continue;
        if (len < 0)
            return error_errno(err, errno, "reading an artifact");
        if (len == 0)
            return ERR_OK;
        if (atomic_load(stop))
            return error_set(err, ERR_CANCELLED, NULL);
        if (EVP_DigestUpdate(ctx, chunk, (size_t)len) != 1)
            return error_set(err, ERR_INTERNAL, "SHA-256");
        offset += len;
    }
}

/* ERR_CORRUPT: the file holds something else. */
static enum error_code verify(int fd, const char *digest, const atomic_bool *stop,
                              struct error *err)
{
    unsigned char bytes[DIGEST_BYTES];
    char text[ARTIFACT_DIGEST_BUFFER];
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    if (!ctx)
        return error_set(err, ERR_NO_MEMORY, NULL);
    enum error_code code = ERR_OK;
    if (EVP_DigestInit_ex(ctx, EVP_sha256(), NULL) != 1)
        code = error_set(err, ERR_INTERNAL, "SHA-256");
    if (code == ERR_OK)
        code = digest_update(ctx, fd, stop, err);
    if (code == ERR_OK && EVP_DigestFinal_ex(ctx, bytes, NULL) != 1)
        code = error_set(err, ERR_INTERNAL, "SHA-256");
    EVP_MD_CTX_free(ctx);
    if (code != ERR_OK)
        return code;
    text_hex(bytes, sizeof(bytes), text);
    if (memcmp(text, digest, ARTIFACT_DIGEST_DIGITS) == 0)
        return ERR_OK;
    return error_set(err, ERR_CORRUPT, "what came as sha256:%.*s is sha256:%s",
                     ARTIFACT_DIGEST_DIGITS, digest, text);
}

/* Opens a regular file of the folder. *ret_file has -1 when there is none. */
static enum error_code file_open(const struct artifact_cache *c, const char *name, int flags,
                                 struct artifact_file *ret_file, struct error *err)
{
    struct stat st;
    enum error_code code = ERR_OK;
    *ret_file = (struct artifact_file){.fd = -1};
    int fd = openat(c->dir_fd, name, flags | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, FILE_MODE);
    if (fd < 0 && errno == ENOENT)
        return ERR_OK;
    if (fd < 0 || fstat(fd, &st) != 0)
        code = error_errno(err, errno, "%s/%s", c->path, name);
    else if (!S_ISREG(st.st_mode))
        code = error_set(err, ERR_INVALID, "%s/%s is no regular file", c->path, name);
    else
        *ret_file = (struct artifact_file){fd, st.st_size};
    if (code != ERR_OK && fd >= 0)
        (void)close(fd);
    return code;
}

/* ---- Whole ones -------------------------------------------------------------------------------
 */

enum error_code artifact_cache_find(struct artifact_cache *c, const char *digest,
                                    const atomic_bool *stop, struct artifact_file *ret_file,
                                    bool *ret_damaged, struct error *err)
{
    struct artifact_file file = {.fd = -1};
    *ret_damaged = false;
    enum error_code code = file_open(c, digest, O_RDONLY, &file, err);
    if (code == ERR_OK && file.fd >= 0)
        code = verify(file.fd, digest, stop, err);
    if (code == ERR_OK && file.fd >= 0)
        (void)futimens(file.fd, NULL); /* used just now */
    if (code == ERR_OK) {
        *ret_file = file;
        return ERR_OK;
    }
    if (file.fd >= 0)
        (void)close(file.fd);
    if (code != ERR_CORRUPT)
        return code;
    *ret_damaged = true;
    *ret_file = (struct artifact_file){.fd = -1};
    if (unlinkat(c->dir_fd, digest, 0) != 0 && errno != ENOENT)
        return error_errno(err, errno, "removing %s/%s, which is damaged", c->path, digest);
    return ERR_OK;
}

enum error_code artifact_cache_finish(struct artifact_cache *c, const char *digest,
                                      struct artifact_file *part, const atomic_bool *stop,
                                      struct error *err)
{
    char name[NAME_BUFFER];
    part_name(digest, name);
    enum error_code code = verify(part->fd, digest, stop, err);
    if (code == ERR_CORRUPT) {
        struct error other = {0};
        return artifact_cache_empty(c, part, &other) == ERR_OK ? code : error_wrap(err, "%s", name);
    }
    if (code != ERR_OK)
        return code;
    if (fsync(part->fd) != 0 || renameat(c->dir_fd, name, c->dir_fd, digest) != 0 ||
        fsync(c->dir_fd) != 0)
        return error_errno(err, errno, "keeping %s/%s", c->path, digest);
    return ERR_OK;
}

/* ---- Parts ------------------------------------------------------------------------------------
 */

enum error_code artifact_cache_part(struct artifact_cache *c, const char *digest,
                                    struct artifact_file *ret_part, struct error *err)
{
    char name[NAME_BUFFER];
    part_name(digest, name);
    return file_open(c, name, O_RDWR | O_CREAT, ret_part, err);
}

enum error_code artifact_cache_empty(struct artifact_cache *c, struct artifact_file *part,
                                     struct error *err)
{
    if (ftruncate(part->fd, 0) != 0)
        return error_errno(err, errno, "%s", c->path);
    part->size_bytes = 0;
    return ERR_OK;
}

static enum error_code cache_remove(struct artifact_cache *c, int64_t keep_bytes);

/* 0, or what went wrong. */
static int write_on(struct artifact_file *part, const char **data, size_t *len)
{
    while (*len > 0) {
        ssize_t done = pwrite(part->fd, *data, *len, part->size_bytes);
        if (done < 0 && errno == EINTR)
            continue;
        if (done < 0)
            return errno;
        *data += done;
        *len -= (size_t)done;
        part->size_bytes += done;
    }
    return 0;
}

enum error_code artifact_cache_append(struct artifact_cache *c, struct artifact_file *part,
                                      const void *data, size_t len, struct error *err)
{
    const char *at = data;
    int failed = write_on(part, &at, &len);
    if ((failed == ENOSPC || failed == EDQUOT) && cache_remove(c, 0) == ERR_OK)
        failed = write_on(part, &at, &len);
    return failed == 0 ? ERR_OK : error_errno(err, failed, "keeping an artifact in %s", c->path);
}

/* ---- Room -------------------------------------------------------------------------------------
 */

struct kept {
    char name[NAME_BUFFER];
    int64_t size_bytes;
    struct timespec used;
};

static bool is_ours(const char *name)
{
    static const char digits[] = "0123456789abcdef";
    const char *end = name + strspn(name, digits);
    return end - name == ARTIFACT_DIGEST_DIGITS && (*end == '\0' || strcmp(end, part_end) == 0);
}

static int kept_compare(const void *a, const void *b)
{
    const struct timespec *x = &((const struct kept *)a)->used;
    const struct timespec *y = &((const struct kept *)b)->used;
    if (x->tv_sec != y->tv_sec)
        return x->tv_sec < y->tv_sec ? -1 : 1;
    return (x->tv_nsec > y->tv_nsec) - (x->tv_nsec < y->tv_nsec);
}

/* Adds what there is of that name, if it is one of these. */
static enum error_code kept_add(const struct artifact_cache *c, const char *name,
                                struct array *kept)
{
    struct stat st;
    if (!is_ours(name) || fstatat(c->dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) != 0)
        return ERR_OK;
    struct kept *items = mem_realloc(kept->items, (kept->count + 1) * sizeof(*items));
    if (!items)
        return ERR_NO_MEMORY;
    kept->items = items;
    struct kept *one = &items[kept->count++];
    (void)snprintf(one->name, sizeof(one->name), "%.*s", (int)sizeof(one->name) - 1, name);
    one->size_bytes = st.st_size;
    one->used = st.st_mtim;
    return ERR_OK;
}

/* All that is there, what was used least recently first. */
static enum error_code kept_list(const struct artifact_cache *c, struct array *ret_kept)
{
    enum error_code code = ERR_OK;
    int fd = openat(c->dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *folder = fd >= 0 ? fdopendir(fd) : NULL;
    if (!folder) {
        if (fd >= 0)
            (void)close(fd);
        return ERR_IO;
    }
    for (const struct dirent *item; code == ERR_OK && (item = readdir(folder));)
        code = kept_add(c, item->d_name, ret_kept);
    (void)closedir(folder);
    if (ret_kept->count > 0)
        qsort(ret_kept->items, ret_kept->count, sizeof(struct kept), kept_compare);
    return code;
}

/* False: it is held, or cannot be removed. */
static bool kept_remove(struct artifact_cache *c, const struct kept *kept)
{
    uv_mutex_lock(&c->held_lock);
    bool gone =
        !held_find(c, kept->name) && renameat(c->dir_fd, kept->name, c->dir_fd, doomed_name) == 0;
    uv_mutex_unlock(&c->held_lock);
    if (gone)
        (void)unlinkat(c->dir_fd, doomed_name, 0);
    return gone;
}

static enum error_code cache_remove(struct artifact_cache *c, int64_t keep_bytes)
{
    struct array all = {0};
    int64_t bytes = 0;
    uv_mutex_lock(&c->trim_lock);
    enum error_code code = kept_list(c, &all);
    for (size_t i = 0; i < all.count; i++)
        bytes += ARRAY_AT(&all, struct kept, i)->size_bytes;
    for (size_t i = 0; i < all.count && bytes > keep_bytes; i++) {
        const struct kept *kept = ARRAY_AT(&all, struct kept, i);
        if (kept_remove(c, kept))
            bytes -= kept->size_bytes;
    }
    uv_mutex_unlock(&c->trim_lock);
    mem_free(all.items);
    return code;
}

void artifact_cache_trim(struct artifact_cache *c, int64_t coming_bytes)
{
    if (c->max_bytes == 0)
        return;
    int64_t keep_bytes = coming_bytes < c->max_bytes ? c->max_bytes - coming_bytes : 0;
    error_ignore(cache_remove(c, keep_bytes));
}

/* ---- Life -------------------------------------------------------------------------------------
 */

static enum error_code folder_open(struct artifact_cache *c, const char *data_dir,
                                   struct error *err)
{
    AUTO_BUF struct buf path = BUF_INIT;
    buf_printf(&path, "%s/" ARTIFACT_CACHE_FOLDER, data_dir);
    c->path = buf_take(&path, NULL);
    if (!c->path)
        return error_set(err, ERR_NO_MEMORY, NULL);
    if (mkdir(c->path, FOLDER_MODE) != 0 && errno != EEXIST)
        return error_errno(err, errno, "%s", c->path);
    c->dir_fd = open(c->path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (c->dir_fd < 0 || fchmod(c->dir_fd, FOLDER_MODE) != 0)
        return error_errno(err, errno, "%s", c->path);
    (void)unlinkat(c->dir_fd, doomed_name, 0);
    return ERR_OK;
}

enum error_code artifact_cache_open(const char *data_dir, int64_t max_bytes,
                                    struct artifact_cache **ret_cache, struct error *err)
{
    struct artifact_cache *c = MEM_NEW(struct artifact_cache);
    if (!c)
        return error_set(err, ERR_NO_MEMORY, NULL);
    c->dir_fd = -1;
    c->max_bytes = max_bytes;
    int failed = uv_mutex_init(&c->held_lock);
    assert(failed == 0);
    failed = uv_mutex_init(&c->trim_lock);
    assert(failed == 0);
    enum error_code code = folder_open(c, data_dir, err);
    if (code != ERR_OK) {
        artifact_cache_close(c);
        return code;
    }
    *ret_cache = c;
    return ERR_OK;
}

void artifact_cache_close(struct artifact_cache *c)
{
    if (!c)
        return;
    assert(c->held.count == 0);
    if (c->dir_fd >= 0)
        (void)close(c->dir_fd);
    uv_mutex_destroy(&c->held_lock);
    uv_mutex_destroy(&c->trim_lock);
    mem_free(c->held.items);
    mem_free(c->path);
    mem_free(c);
}
