#include "agent/undo_files.h"

#include "common/base/cleanup.h"
#include "common/base/id.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

enum { FOLDER_MODE = 0700, DEPTH_MAX = 32, OPEN_FOLDER = O_RDONLY | O_DIRECTORY | O_CLOEXEC };

/* ---- Making ------------------------------------------------------------------------------ */

static enum error_code folder_make(const char *path, struct error *err)
{
    if (mkdir(path, FOLDER_MODE) == 0 || errno == EEXIST)
        return ERR_OK;
    return error_errno(err, errno, "cannot make the folder \"%s\"", path);
}

enum error_code undo_files_make(const char *root, const char *server, const char *rollout,
                                uint32_t step, char ret_path[UNDO_FILES_PATH_MAX],
                                struct error *err)
{
    assert(id_valid(server) && id_valid(rollout));
    char path[UNDO_FILES_PATH_MAX];
    size_t root_len = strlen(root);
    int len = snprintf(path, sizeof(path), "%s/%s/%s/%" PRIu32, root, server, rollout, step);
    if (len < 0 || (size_t)len >= sizeof(path))
        return error_set(err, ERR_LIMIT, "the path of the data directory is too long");
    enum error_code code = ERR_OK;
    for (char *slash = strchr(path + root_len + 1, '/'); slash && code == ERR_OK;
         slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        code = folder_make(path, err);
        *slash = '/';
    }
    if (code == ERR_OK)
        code = folder_make(path, err);
    if (code == ERR_OK)
        memcpy(ret_path, path, (size_t)len + 1);
    return code;
}

/* ---- Reading folders --------------------------------------------------------------------- */

static void folder_close_auto(DIR **folder)
{
    if (*folder)
        (void)closedir(*folder);
}
#define AUTO_FOLDER __attribute__((cleanup(folder_close_auto)))

/* NULL with errno set when it cannot be read. */
static DIR *folder_open(int parent, const char *name)
{
    int fd = openat(parent, name, OPEN_FOLDER | O_NOFOLLOW);
    if (fd < 0)
        return NULL;
    DIR *folder = fdopendir(fd);
    if (!folder)
        (void)close(fd);
    return folder;
}

/* The next name in it but "." and "..", or NULL. */
static const char *folder_next(DIR *folder)
{
    const struct dirent *entry;
    while ((entry = readdir(folder)) != NULL) {
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            return entry->d_name;
    }
    return NULL;
}

/* ---- Making durable ---------------------------------------------------------------------- */

/* After a failed fsync the kernel may hold the lost bytes for written, so that the next one would
 * succeed: not even one for want of space may be tried again. */
static enum error_code sync_fd(int fd, const char *name, struct error *err)
{
    if (fsync(fd) == 0)
        return ERR_OK;
    error_ignore(error_errno(err, errno, "cannot make \"%s\" durable", name));
    if (err)
        err->code = ERR_IO;
    return ERR_IO;
}

static enum error_code sync_file(int parent, const char *name, struct error *err)
{
    AUTO_CLOSE int fd = openat(parent, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0 && errno == ELOOP)
        return ERR_OK; /* a symbolic link lives in its folder */
    if (fd < 0)
        return error_errno(err, errno, "cannot open \"%s\" to make it durable", name);
    return sync_fd(fd, name, err);
}

/* What a folder was found to hold. */
struct holding {
    bool any;
    int64_t bytes;
};

static enum error_code sync_folder(int parent, const char *name, int depth, struct holding *held,
                                   struct error *err)
{
    AUTO_FOLDER DIR *folder = folder_open(parent, name);
    if (!folder && errno == ENOENT)
        return ERR_OK;
    if (!folder || depth == DEPTH_MAX)
        return error_errno(err, folder ? ELOOP : errno, "cannot read the folder \"%s\"", name);
    bool any = false;
    const char *entry;
    while ((entry = folder_next(folder)) != NULL) {
        struct stat st;
        enum error_code code = ERR_OK;
        any = true;
        if (fstatat(dirfd(folder), entry, &st, AT_SYMLINK_NOFOLLOW) != 0)
            return error_errno(err, errno, "cannot look at \"%s\"", entry);
        if (S_ISDIR(st.st_mode))
            code = sync_folder(dirfd(folder), entry, depth + 1, held, err);
        else if (S_ISREG(st.st_mode))
            code = sync_file(dirfd(folder), entry, err);
        held->bytes += S_ISREG(st.st_mode) ? st.st_size : 0;
        if (code != ERR_OK)
            return code;
    }
    held->any = held->any || any;
    return any ? sync_fd(dirfd(folder), name, err) : ERR_OK;
}

enum error_code undo_files_sync(const char *root, const char *server, const char *rollout,
                                uint32_t step, int64_t *ret_bytes, struct error *err)
{
    struct holding held = {0};
    *ret_bytes = 0;
    AUTO_CLOSE int root_fd = open(root, OPEN_FOLDER);
    if (root_fd < 0)
        return error_errno(err, errno, "cannot open the folder \"%s\"", root);
    AUTO_CLOSE int server_fd = openat(root_fd, server, OPEN_FOLDER | O_NOFOLLOW);
    AUTO_CLOSE int rollout_fd =
        server_fd < 0 ? -1 : openat(server_fd, rollout, OPEN_FOLDER | O_NOFOLLOW);
    if (rollout_fd < 0 && errno == ENOENT)
        return ERR_OK;
    if (rollout_fd < 0)
        return error_errno(err, errno, "cannot open the undo folder of \"%s\"", rollout);
    char name[16];
    (void)snprintf(name, sizeof(name), "%" PRIu32, step);
    enum error_code code = sync_folder(rollout_fd, name, 0, &held, err);
    if (code == ERR_OK && held.any)
        code = sync_fd(rollout_fd, rollout, err);
    if (code == ERR_OK && held.any)
        code = sync_fd(server_fd, server, err);
    if (code == ERR_OK && held.any)
        code = sync_fd(root_fd, root, err);
    *ret_bytes = held.bytes;
    return code;
}

/* ---- Removing ---------------------------------------------------------------------------- */

static enum error_code remove_at(int parent, const char *name, int depth, struct error *err)
{
    if (unlinkat(parent, name, 0) == 0 || errno == ENOENT)
        return ERR_OK;
    if (errno != EISDIR && errno != EPERM)
        return error_errno(err, errno, "cannot remove \"%s\"", name);
    AUTO_FOLDER DIR *folder = folder_open(parent, name);
    if (!folder || depth == DEPTH_MAX)
        return error_errno(err, folder ? ELOOP : errno, "cannot read the folder \"%s\"", name);
    const char *entry;
    while ((entry = folder_next(folder)) != NULL) {
        enum error_code code = remove_at(dirfd(folder), entry, depth + 1, err);
        if (code != ERR_OK)
            return code;
    }
    if (unlinkat(parent, name, AT_REMOVEDIR) != 0 && errno != ENOENT)
        return error_errno(err, errno, "cannot remove the folder \"%s\"", name);
    return ERR_OK;
}

enum error_code undo_files_remove(const char *root, const char *server, const char *rollout,
                                  struct error *err)
{
    assert(id_valid(server) && id_valid(rollout));
    AUTO_CLOSE int root_fd = open(root, OPEN_FOLDER);
    if (root_fd < 0)
        return error_errno(err, errno, "cannot open the folder \"%s\"", root);
    AUTO_CLOSE int server_fd = openat(root_fd, server, OPEN_FOLDER | O_NOFOLLOW);
    if (server_fd < 0)
        return errno == ENOENT ? ERR_OK
                               : error_errno(err, errno, "cannot open the folder \"%s\"", server);
    return remove_at(server_fd, rollout, 0, err);
}

/* ---- Finding ------------------------------------------------------------------------------ */

enum error_code undo_files_each(const char *root,
                                enum error_code (*each)(void *ctx, const char *server,
                                                        const char *rollout, struct error *err),
                                void *ctx, struct error *err)
{
    AUTO_FOLDER DIR *servers = folder_open(AT_FDCWD, root);
    if (!servers)
        return error_errno(err, errno, "cannot read the folder \"%s\"", root);
    const char *server;
    while ((server = folder_next(servers)) != NULL) {
        AUTO_FOLDER DIR *rollouts = id_valid(server) ? folder_open(dirfd(servers), server) : NULL;
        const char *rollout;
        while (rollouts && (rollout = folder_next(rollouts)) != NULL) {
            enum error_code code = id_valid(rollout) ? each(ctx, server, rollout, err) : ERR_OK;
            if (code != ERR_OK)
                return code;
        }
    }
    return ERR_OK;
}
