#include "orchestrator/artifacts/artifact_check.h"

#include "common/base/buf.h"
#include "common/base/cleanup.h"
#include "common/base/text.h"
#include "common/plan/artifact.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>

enum { READ_PIECE = 1024 * 1024 };

DEFINE_CLEANUP(EVP_MD_CTX_free, EVP_MD_CTX)

struct check {
    int dir_fd;
    char *piece;
    void (*found)(void *ctx, const char *name, const char *what);
    void *ctx;
    struct artifact_checked checked;
};

static enum error_code file_sum(struct check *c, int fd, EVP_MD_CTX *sum, struct error *err)
{
    for (;;) {
        ssize_t len = read(fd, c->piece, READ_PIECE);
        if (len < 0 && errno == EINTR)
            continue;
        if (len < 0)
            return error_errno(err, errno, "cannot be read");
        if (len == 0)
            return ERR_OK;
        c->checked.bytes += len;
        if (EVP_DigestUpdate(sum, c->piece, (size_t)len) != 1)
            return error_set(err, ERR_INTERNAL, "cannot be hashed");
    }
}

static enum error_code file_check(struct check *c, const char *name, struct error *err)
{
    AUTO(EVP_MD_CTX_free) EVP_MD_CTX *sum = EVP_MD_CTX_new();
    AUTO_CLOSE int fd = openat(c->dir_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    unsigned char bytes[EVP_MAX_MD_SIZE];
    unsigned len = 0;
    char digits[2 * EVP_MAX_MD_SIZE + 1] = "";
    if (fd < 0)
        return error_errno(err, errno, "cannot be opened");
    if (sum == NULL || EVP_DigestInit_ex(sum, EVP_sha256(), NULL) != 1)
        return error_set(err, ERR_NO_MEMORY, NULL);
    enum error_code code = file_sum(c, fd, sum, err);
    if (code != ERR_OK)
        return code;
    if (EVP_DigestFinal_ex(sum, bytes, &len) == 1)
        text_hex(bytes, len, digits);
    if (strcmp(digits, name) == 0)
        return ERR_OK;
    return error_set(err, ERR_CORRUPT,
                     "is damaged: its SHA-256 is another one; delete it and put it again (kitsune "
                     "artifact)");
}

static enum error_code name_check(struct check *c, const char *name, struct error *err)
{
    char whole[ARTIFACT_NAME_BUFFER + 1];
    struct error why = {0};
    int len = snprintf(whole, sizeof(whole), ARTIFACT_PREFIX "%s", name);
    if (len < 0 || (size_t)len >= sizeof(whole) || artifact_digest(whole) == NULL)
        return ERR_OK; /* an upload, or a record */
    c->checked.count++;
    enum error_code code = file_check(c, name, &why);
    if (code == ERR_NO_MEMORY)
        return error_set(err, code, NULL);
    if (code != ERR_OK) {
        c->checked.findings++;
        c->found(c->ctx, name, why.message);
    }
    return ERR_OK;
}

static enum error_code folder_check(struct check *c, DIR *dir, struct error *err)
{
    const struct dirent *entry = NULL;
    enum error_code code = ERR_OK;
    while (code == ERR_OK && (errno = 0, entry = readdir(dir)) != NULL)
        code = name_check(c, entry->d_name, err);
    if (code == ERR_OK && errno != 0)
        code = error_errno(err, errno, "cannot read the folder of the artifacts");
    return code;
}

enum error_code artifact_check(const char *dir,
                               void (*found)(void *ctx, const char *name, const char *what),
                               void *ctx, struct artifact_checked *ret_checked, struct error *err)
{
    AUTO_BUF struct buf path = BUF_INIT;
    AUTO_FREE char *piece = mem_alloc(READ_PIECE);
    struct check c = {.piece = piece, .found = found, .ctx = ctx};
    buf_printf(&path, "%s/artifacts", dir);
    if (piece == NULL || buf_check(&path, err) != ERR_OK)
        return error_set(err, ERR_NO_MEMORY, NULL);
    DIR *folder = opendir(path.data);
    enum error_code code = ERR_OK;
    if (folder == NULL) {
        code = errno == ENOENT ? ERR_OK : error_errno(err, errno, "%s", path.data);
    } else {
        c.dir_fd = dirfd(folder);
        code = folder_check(&c, folder, err);
        (void)closedir(folder);
    }
    if (code == ERR_OK)
        *ret_checked = c.checked;
    return code;
}
