#include "handlers/tree.h"

#include "common/base/cleanup.h"
#include "common/base/sum.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

struct walk {
    const struct tree_visitor *visitor;
    char path[PATH_MAX]; /* of what is being visited, below the tree's folder */
    unsigned dev_major, dev_minor;
};

/* ---- Walking ----------------------------------------------------------------------------- */

static const char *shown(const struct tree_item *item)
{
    return item->path[0] != '\0' ? item->path : item->name;
}

/* What is gone by now, having been there a moment ago, somebody else has taken away. */
static enum error_code item_look(struct tree_item *item, struct error *err)
{
    if (statx(item->dir_fd, item->name, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT, STATX_BASIC_STATS,
              &item->st) == 0)
        return ERR_OK;
    if (errno != ENOENT)
        return error_errno(err, errno, "%s", shown(item));
    return item->path[0] == '\0'
               ? error_set(err, ERR_NOT_FOUND, "%s is not there", item->name)
               : error_set(err, ERR_BUSY, "%s is being changed by somebody else", item->path);
}

/* A folder that is mounted once more (a bind mount) has the same device. */
static bool is_mounted(const struct walk *w, const struct tree_item *item)
{
    return item->st.stx_dev_major != w->dev_major || item->st.stx_dev_minor != w->dev_minor ||
           (item->st.stx_attributes & STATX_ATTR_MOUNT_ROOT) != 0;
}

static enum error_code folder_open(const struct tree_item *item, DIR **ret_folder,
                                   struct error *err)
{
    int fd = openat(item->dir_fd, item->name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    *ret_folder = fd >= 0 ? fdopendir(fd) : NULL;
    if (*ret_folder)
        return ERR_OK;
    enum error_code code = error_errno(err, errno, "cannot read the folder %s", shown(item));
    if (fd >= 0)
        (void)close(fd);
    return code;
}

static enum error_code item_walk(struct walk *w, struct tree_item *item, int depth,
                                 struct error *err);

static enum error_code folder_walk(struct walk *w, const struct tree_item *item, int depth,
                                   struct error *err)
{
    DIR *folder = NULL;
    size_t len = strlen(w->path);
    if (depth >= TREE_DEPTH_MAX)
        return error_set(err, ERR_LIMIT, "%s: more than %d folders in each other", shown(item),
                         TREE_DEPTH_MAX);
    enum error_code code = folder_open(item, &folder, err);
    if (code != ERR_OK || !folder)
        return code;
    for (const struct dirent *entry; code == ERR_OK && (entry = readdir(folder));) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        int added = snprintf(w->path + len, sizeof(w->path) - len, "%s%s", len > 0 ? "/" : "",
                             entry->d_name);
        struct tree_item inner = {.dir_fd = dirfd(folder), .name = entry->d_name, .path = w->path};
        code = added > 0 && (size_t)added < sizeof(w->path) - len
                   ? item_walk(w, &inner, depth + 1, err)
                   : error_set(err, ERR_LIMIT, "a path in it is too long");
        w->path[len] = '\0';
    }
    (void)closedir(folder);
    return code;
}

static enum error_code item_walk(struct walk *w, struct tree_item *item, int depth,
                                 struct error *err)
{
    const struct tree_visitor *v = w->visitor;
    if (v->cancelled && atomic_load(v->cancelled))
        return error_set(err, ERR_CANCELLED, NULL);
    enum error_code code = item_look(item, err);
    if (code == ERR_OK && is_mounted(w, item))
        code = error_set(err, ERR_INVALID, "%s: something else is mounted there", shown(item));
    if (code == ERR_OK)
        code = v->visit(v->ctx, item, err);
    if (code != ERR_OK || !S_ISDIR(item->st.stx_mode))
        return code;
    code = folder_walk(w, item, depth, err);
    return code == ERR_OK && v->leave ? v->leave(v->ctx, item, err) : code;
}

enum error_code tree_walk(int dir_fd, const char *name, const struct tree_visitor *visitor,
                          struct error *err)
{
    struct walk w = {.visitor = visitor};
    struct tree_item item = {.dir_fd = dir_fd, .name = name, .path = w.path};
    enum error_code code = item_look(&item, err);
    if (code != ERR_OK)
        return code;
    if (!S_ISDIR(item.st.stx_mode))
        return error_set(err, ERR_INVALID, "%s is no folder", name);
    w.dev_major = item.st.stx_dev_major;
    w.dev_minor = item.st.stx_dev_minor;
    return item_walk(&w, &item, 0, err);
}

/* ---- What it comes to -------------------------------------------------------------------- */

struct summing {
    const char *except;
    struct tree_sum sum;
};

static enum error_code item_sum(void *ctx, const struct tree_item *item, struct error *err)
{
    struct summing *s = ctx;
    const struct statx *st = &item->st;
    if (item->path[0] == '\0' || (s->except && strcmp(item->path, s->except) == 0))
        return ERR_OK;
    uint64_t sum = sum_string(SUM_INIT, item->path);
    sum = sum_int(sum, st->stx_mode);
    sum = sum_int(sum, st->stx_uid);
    sum = sum_int(sum, st->stx_gid);
    if (S_ISREG(st->stx_mode)) {
        sum = sum_int(sum, (int64_t)st->stx_size);
        sum = sum_int(sum, st->stx_mtime.tv_sec);
        sum = sum_int(sum, st->stx_mtime.tv_nsec);
        s->sum.bytes += (int64_t)st->stx_size;
    } else if (S_ISLNK(st->stx_mode)) {
        char target[PATH_MAX];
        ssize_t len = readlinkat(item->dir_fd, item->name, target, sizeof(target));
        if (len < 0)
            return error_errno(err, errno, "%s", item->path);
        sum = sum_text(sum, target, (size_t)len);
    }
    s->sum.sum += sum; /* in whatever order they come */
    s->sum.entries++;
    return ERR_OK;
}

enum error_code tree_sum(int dir_fd, const char *name, const char *except,
                         const atomic_bool *cancelled, struct tree_sum *ret_sum, struct error *err)
{
    struct summing s = {.except = except};
    const struct tree_visitor visitor = {.visit = item_sum, .ctx = &s, .cancelled = cancelled};
    enum error_code code = tree_walk(dir_fd, name, &visitor, err);
    if (code == ERR_OK)
        *ret_sum = s.sum;
    return code;
}

/* ---- Removing ---------------------------------------------------------------------------- */

static enum error_code remove_visit(void *ctx, const struct tree_item *item, struct error *err)
{
    (void)ctx;
    if (!S_ISDIR(item->st.stx_mode)) {
        if (unlinkat(item->dir_fd, item->name, 0) != 0 && errno != ENOENT)
            return error_errno(err, errno, "cannot remove %s", item->path);
        return ERR_OK;
    }
    /* Who is not root needs a right to take something out of his own folder. */
    if ((item->st.stx_mode & 0700) != 0700 && item->st.stx_uid == geteuid()) {
        char path[64];
        AUTO_CLOSE int fd =
            openat(item->dir_fd, item->name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
        if (fd >= 0 && chmod(path, 0700) != 0)
            return error_errno(err, errno, "cannot open the folder %s", shown(item));
    }
    return ERR_OK;
}

static enum error_code remove_leave(void *ctx, const struct tree_item *item, struct error *err)
{
    (void)ctx;
    if (unlinkat(item->dir_fd, item->name, AT_REMOVEDIR) != 0 && errno != ENOENT)
        return error_errno(err, errno, "cannot remove the folder %s", shown(item));
    return ERR_OK;
}

enum error_code tree_remove(int dir_fd, const char *name, const atomic_bool *cancelled,
                            struct error *err)
{
    const struct tree_visitor visitor = {
        .visit = remove_visit, .leave = remove_leave, .cancelled = cancelled};
    enum error_code code = tree_walk(dir_fd, name, &visitor, err);
    return code == ERR_NOT_FOUND ? ERR_OK : code;
}
