#include "handlers/file_node_internal.h"

#include "common/base/alloc.h"
#include "common/base/cleanup.h"
#include "common/base/failpoint.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- Keeping ----------------------------------------------------------------------------- */

enum error_code file_node_check(const struct handler_run *run, const struct file_node *node,
                                struct handler_result *result, struct error *err)
{
    int64_t size = node->meta.size;
    if (node->kind == FILE_SPECIAL)
        return error_set(err, ERR_INVALID, "%s is not a regular file", node->path);
    if (node->kind != FILE_REGULAR)
        return ERR_OK;
    if (size > FILE_KEPT_MAX_BYTES)
        result_fail(result, false,
                    "%s has %" PRId64 " bytes: to be undone it would have to be copied, and no "
                    "file of more than %d MiB is; nothing was changed",
                    file_path_shown(node->path), size, FILE_KEPT_MAX_BYTES / 1024 / 1024);
    else if (!room_fits(run, size))
        result_no_room(result, run, size);
    else
        return ERR_OK;
    return ERR_LIMIT;
}

static enum error_code kept_place(const struct handler_run *run, const char *copy,
                                  struct file_place *ret_place, struct error *err)
{
    char path[PATH_MAX];
    if (snprintf(path, sizeof(path), "%s/%s", run->undo_dir, copy) >= (int)sizeof(path))
        return error_set(err, ERR_INVALID, "the path of the step's folder is too long");
    return file_place_open(path, ret_place, err);
}

static void link_name(const char *copy, char ret_name[COPY_NAME_MAX + 8])
{
    (void)snprintf(ret_name, COPY_NAME_MAX + 8, "%.*s.link", COPY_NAME_MAX - 1, copy);
}

/* A file of several names is kept by one more, so that undo makes the name one of the same file
 * again and not one of a copy. */
static enum error_code name_keep(const struct file_place *place, const struct file_place *copy,
                                 const struct file_node *node, struct error *err)
{
    char name[COPY_NAME_MAX + 8];
    link_name(copy->name, name);
    if (unlinkat(copy->dir_fd, name, 0) != 0 && errno != ENOENT)
        return error_errno(err, errno, "%s", name);
    if (linkat(place->dir_fd, place->name, copy->dir_fd, name, 0) == 0)
        return ERR_OK;
    if (errno != EXDEV)
        return error_errno(err, errno, "%s: cannot keep a name of it", place->path);
    return error_set(err, ERR_UNSUPPORTED,
                     "%s has %" PRId64 " names (hard links), and the agent's data is on another "
                     "file system: undo could not make it the same file again",
                     file_path_shown(place->path), node->names);
}

static enum error_code bytes_keep(const struct file_place *place, const struct file_place *copy,
                                  struct file_node *node, struct error *err)
{
    AUTO_CLOSE int fd = -1;
    AUTO_META struct file_meta after = {0};
    char temp[NAME_MAX + 8], digest[FILE_DIGEST_TEXT];
    struct file_meta private = FILE_META_INIT;
    private.mode = 0600;
    (void)snprintf(temp, sizeof(temp), "%s.part", copy->name);
    enum error_code code = file_open(place, &fd, err);
    if (code == ERR_OK && fd < 0)
        code = error_set(err, ERR_BUSY, "%s is gone", place->path);
    if (code != ERR_OK)
        return code;
    const struct file_source source = {.fd = fd, .len = (size_t)node->meta.size};
    code = file_replace(copy, temp, &source, &private, err);
    if (code != ERR_OK)
        return error_wrap(err, "cannot keep a copy");
    AUTO_CLOSE int copy_fd = openat(copy->dir_fd, copy->name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (copy_fd < 0)
        return error_errno(err, errno, "%s", copy->path);
    code = file_digest(copy_fd, digest, err);
    if (code == ERR_OK)
        code = file_meta_read(fd, &after, err);
    if (code == ERR_OK && !file_meta_equal(&node->meta, &after))
        code = error_set(err, ERR_BUSY, "%s is being changed by somebody else", place->path);
    if (code != ERR_OK)
        return code;
    node->sha256 = mem_strdup(digest);
    node->copy = mem_strdup(copy->name);
    return node->sha256 && node->copy ? ERR_OK : error_set(err, ERR_NO_MEMORY, NULL);
}

enum error_code file_node_keep(const struct handler_run *run, const struct file_place *place,
                               const char *copy, struct file_node *ret_node,
                               struct handler_result *result, struct error *err)
{
    AUTO_PLACE struct file_place kept = FILE_PLACE_INIT;
    AUTO_NODE struct file_node node = {0};
    enum error_code code = file_node_look(place, &node, err);
    if (code == ERR_OK)
        code = file_node_check(run, &node, result, err);
    if (code == ERR_OK && node.kind == FILE_REGULAR) {
        code = kept_place(run, copy, &kept, err);
        if (code == ERR_OK && node.names > 1)
            code = name_keep(place, &kept, &node, err);
        if (code == ERR_OK)
            code = bytes_keep(place, &kept, &node, err);
    }
    if (code != ERR_OK)
        return code;
    *ret_node = node;
    node = (struct file_node){0};
    return ERR_OK;
}

/* ---- Bringing back ----------------------------------------------------------------------- */

static enum error_code bytes_restore(const struct file_node *kept, const struct file_place *copy,
                                     const struct file_place *place, const char *temp,
                                     struct error *err)
{
    char digest[FILE_DIGEST_TEXT];
    AUTO_CLOSE int fd = openat(copy->dir_fd, copy->name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return error_errno(err, errno, "cannot open the kept copy %s", copy->path);
    enum error_code code = file_digest(fd, digest, err);
    if (code != ERR_OK)
        return code;
    if (!file_node_text_equal(kept->sha256, digest))
        return error_set(err, ERR_CORRUPT, "the kept copy %s is damaged; %s stays as it is",
                         copy->path, kept->path);
    const struct file_source source = {.fd = fd, .len = (size_t)kept->meta.size};
    return file_replace(place, temp, &source, &kept->meta, err);
}

/* Whether the file is, under its kept name, as it was. */
static enum error_code name_unchanged(const struct file_node *kept, const struct file_place *copy,
                                      const char *name, bool *ret_same, struct error *err)
{
    AUTO_META struct file_meta meta = {0};
    char digest[FILE_DIGEST_TEXT];
    AUTO_CLOSE int fd = openat(copy->dir_fd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    *ret_same = false;
    if (fd < 0)
        return errno == ENOENT ? ERR_OK : error_errno(err, errno, "%s", copy->path);
    enum error_code code = file_digest(fd, digest, err);
    if (code == ERR_OK)
        code = file_meta_read(fd, &meta, err);
    *ret_same = code == ERR_OK && file_node_text_equal(kept->sha256, digest) &&
                file_meta_equal(&kept->meta, &meta);
    return code;
}

static enum error_code file_restore(const struct handler_run *run, const struct file_node *kept,
                                    const struct file_place *place, bool *ret_apart,
                                    struct error *err)
{
    AUTO_PLACE struct file_place copy = FILE_PLACE_INIT;
    char temp[NAME_MAX + 1], name[COPY_NAME_MAX + 8];
    bool same = false;
    file_temp_name(run, place, temp);
    if (!kept->copy || strchr(kept->copy, '/'))
        return error_set(err, ERR_CORRUPT, "what prepare captured names no copy of %s", kept->path);
    enum error_code code = kept_place(run, kept->copy, &copy, err);
    link_name(kept->copy, name);
    if (code == ERR_OK && kept->names > 1)
        code = name_unchanged(kept, &copy, name, &same, err);
    if (code != ERR_OK)
        return code;
    if (!same) {
        *ret_apart = kept->names > 1;
        return bytes_restore(kept, &copy, place, temp, err);
    }
    if (linkat(copy.dir_fd, name, place->dir_fd, temp, 0) != 0)
        return error_errno(err, errno, "%s: cannot give it its name again", place->path);
    code = file_put(place, temp, err);
    /* rename(2) leaves it where both names are of one file already. */
    (void)unlinkat(place->dir_fd, temp, 0);
    return code;
}

static enum error_code link_restore(const struct handler_run *run, const struct file_node *kept,
                                    const struct file_place *place, struct error *err)
{
    char temp[NAME_MAX + 1];
    file_temp_name(run, place, temp);
    if (!kept->target)
        return error_set(err, ERR_CORRUPT, "what prepare captured names no target of %s",
                         kept->path);
    if (symlinkat(kept->target, place->dir_fd, temp) != 0)
        return error_errno(err, errno, "%s: cannot make a symbolic link beside it", place->path);
    enum error_code code = file_meta_write_link(place->dir_fd, temp, &kept->meta, err);
    if (code == ERR_OK)
        return file_put(place, temp, err);
    (void)unlinkat(place->dir_fd, temp, 0);
    return error_wrap(err, "%s", place->path);
}

static enum error_code folder_restore(const struct file_node *kept, const struct file_place *place,
                                      struct error *err)
{
    AUTO_CLOSE int fd = -1;
    struct stat st;
    struct file_meta meta = kept->meta; /* the attributes stay its own */
    meta.mtime_ns = FILE_KEEP;
    bool present = fstatat(place->dir_fd, place->name, &st, AT_SYMLINK_NOFOLLOW) == 0;
    if (present && !S_ISDIR(st.st_mode) && unlinkat(place->dir_fd, place->name, 0) != 0)
        return error_errno(err, errno, "cannot remove %s", place->path);
    if (mkdirat(place->dir_fd, place->name, 0700) != 0 && errno != EEXIST)
        return error_errno(err, errno, "cannot make the folder %s", place->path);
    enum error_code code = file_node_open_folder(place, &fd, err);
    if (code == ERR_OK)
        code = file_meta_write(fd, &meta, err);
    if (code == ERR_OK && fsync(fd) != 0)
        code = error_errno(err, errno, "cannot make it durable");
    return code == ERR_OK ? file_place_sync(place, err) : error_wrap(err, "%s", place->path);
}

enum error_code file_node_restore(const struct handler_run *run, const struct file_node *kept,
                                  const struct file_place *place, bool *ret_apart,
                                  struct error *err)
{
    *ret_apart = false;
    switch ((enum file_kind)kept->kind) {
    case FILE_NOTHING:
        return file_node_remove(place, err);
    case FILE_REGULAR:
        return file_restore(run, kept, place, ret_apart, err);
    case FILE_LINK:
        return link_restore(run, kept, place, err);
    case FILE_FOLDER:
        return folder_restore(kept, place, err);
    case FILE_SPECIAL:
    case FILE_KIND_COUNT:
        break;
    }
    return error_set(err, ERR_CORRUPT, "%s: what prepare captured is of no kind that is kept",
                     kept->path);
}

enum error_code file_node_restore_times(const struct file_node *kept,
                                        const struct file_place *place, struct error *err)
{
    AUTO_CLOSE int fd = -1;
    struct file_meta meta = FILE_META_INIT;
    meta.mtime_s = kept->meta.mtime_s;
    meta.mtime_ns = kept->meta.mtime_ns;
    enum error_code code = file_node_open_folder(place, &fd, err);
    return code == ERR_OK ? file_meta_write(fd, &meta, err) : code;
}

enum error_code file_node_remove(const struct file_place *place, struct error *err)
{
    struct stat st;
    if (fstatat(place->dir_fd, place->name, &st, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISDIR(st.st_mode))
        return file_remove(place, err);
    if (unlinkat(place->dir_fd, place->name, AT_REMOVEDIR) != 0) {
        if (errno == ENOTEMPTY || errno == EEXIST)
            return error_set(err, ERR_CONFLICT, "the folder %s is not empty", place->path);
        return error_errno(err, errno, "cannot remove the folder %s", place->path);
    }
    FAILPOINT(FAIL_FILE_REMOVED);
    return file_place_sync(place, err);
}
