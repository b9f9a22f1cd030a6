/*
 * archive_place: where entries go. Every folder on the way of one is opened by its name in the one
 * before, without following a link, and what is made is made new there. So it does not matter what
 * a name looks like, or what somebody puts in its way meanwhile.
 */
#include "common/base/alloc.h"
#include "common/base/cleanup.h"
#include "handlers/archive_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { IMPLIED_MODE = 0755 };

enum error_code archive_refuse(const char *path, const char *why, struct error *err)
{
    return error_set(err, ERR_INVALID, "%s: %s", archive_name_shown(path), why);
}

enum error_code archive_refuse_errno(const char *path, int errnum, struct error *err)
{
    return error_errno(err, errnum, "%s", archive_name_shown(path));
}

/* ---- What is known ----------------------------------------------------------------------- */

/* uthash's macros unfold into more than a function may hold; these are all there is of them here.
 */
/* NOLINTBEGIN(readability-function-size) */
struct archive_known *archive_place_known(const struct archive_place *p, const char *path)
{
    struct archive_known *known = NULL;
    HASH_FIND_STR(p->known, path, known);
    return known;
}

static bool known_put(struct archive_place *p, struct archive_known *known)
{
    HASH_ADD_KEYPTR(hh, p->known, known->path, strlen(known->path), known);
    return known->hh.tbl != NULL;
}

static void known_free(struct archive_known *known)
{
    mem_free(known->path);
    file_meta_done(&known->meta);
    mem_free(known);
}

static void known_drop(struct archive_place *p, struct archive_known *known)
{
    HASH_DEL(p->known, known);
    known_free(known);
}

static struct archive_known *known_last(const struct archive_place *p)
{
    return p->known ? ELMT_FROM_HH(p->known->hh.tbl, p->known->hh.tbl->tail) : NULL;
}
/* NOLINTEND(readability-function-size) */

/* Takes `meta` over; a later one of a folder stands for the earlier. */
enum error_code archive_place_know(struct archive_place *p, const char *path, bool is_link,
                                   struct file_meta *meta, struct error *err)
{
    struct archive_known *known = archive_place_known(p, path);
    if (!known) {
        known = MEM_NEW(struct archive_known);
        if (known)
            known->path = mem_strdup(path);
        if (!known || !known->path || !known_put(p, known)) {
            if (known)
                known_free(known);
            return error_set(err, ERR_NO_MEMORY, NULL);
        }
    }
    file_meta_done(&known->meta);
    known->is_link = is_link;
    known->meta = *meta;
    *meta = (struct file_meta){0};
    return ERR_OK;
}

static void known_forget(struct archive_place *p, const char *path)
{
    struct archive_known *known = archive_place_known(p, path);
    if (known)
        known_drop(p, known);
}

/* ---- Folders on the way ------------------------------------------------------------------ */

static enum error_code step_refuse(int dir_fd, const char *name, const char *path,
                                   struct error *err)
{
    struct stat st;
    if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISLNK(st.st_mode))
        return archive_refuse(path, "the entry goes through a symbolic link", err);
    return archive_refuse(path, "the entry goes through what is no folder", err);
}

static struct file_meta meta_implied(const struct archive_place *p)
{
    struct file_meta meta = FILE_META_INIT;
    meta.mode = IMPLIED_MODE;
    meta.uid = p->uid;
    meta.gid = p->gid;
    return meta;
}

/* One folder further. With `p` one that is not there is made. */
static enum error_code step_into(struct archive_place *p, int dir_fd, const char *name,
                                 const char *prefix, int *ret_fd, struct error *err)
{
    int flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
    int fd = openat(dir_fd, name, flags);
    if (fd < 0 && errno == ENOENT && p) {
        struct file_meta meta = meta_implied(p);
        if (mkdirat(dir_fd, name, 0700) != 0)
            return archive_refuse_errno(prefix, errno, err);
        enum error_code code = archive_place_know(p, prefix, false, &meta, err);
        if (code != ERR_OK)
            return code;
        fd = openat(dir_fd, name, flags);
    }
    if (fd < 0 && (errno == ENOTDIR || errno == ELOOP))
        return step_refuse(dir_fd, name, prefix, err);
    if (fd < 0)
        return archive_refuse_errno(prefix, errno, err);
    *ret_fd = fd;
    return ERR_OK;
}

/* Opens the folder of `path` below root_fd, step by step. */
static enum error_code parent_walk(struct archive_place *p, int root_fd, const char *path,
                                   int *ret_fd, struct error *err)
{
    char prefix[PATH_MAX];
    int fd = fcntl(root_fd, F_DUPFD_CLOEXEC, 0);
    if (fd < 0)
        return archive_refuse_errno(path, errno, err);
    (void)snprintf(prefix, sizeof(prefix), "%s", path);
    char *name = prefix;
    for (char *slash = strchr(name, '/'); slash; slash = strchr(name, '/')) {
        int next = -1;
        *slash = '\0';
        enum error_code code = step_into(p, fd, name, prefix, &next, err);
        *slash = '/';
        (void)close(fd);
        if (code != ERR_OK)
            return code;
        fd = next;
        name = slash + 1;
    }
    *ret_fd = fd;
    return ERR_OK;
}

enum error_code archive_place_find(const struct archive_place *p, const char *path, int *ret_fd,
                                   struct error *err)
{
    return parent_walk(NULL, p->root_fd, path, ret_fd, err);
}

static enum error_code links_check(const struct archive_place *p, const char *path,
                                   struct error *err)
{
    char prefix[PATH_MAX];
    (void)snprintf(prefix, sizeof(prefix), "%s", path);
    for (char *slash = strchr(prefix, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        const struct archive_known *known = archive_place_known(p, prefix);
        if (known && known->is_link)
            return archive_refuse(prefix, "the entry goes through a symbolic link", err);
        *slash = '/';
    }
    return ERR_OK;
}

/* Opens it as p->parent_fd, where it stays for the next entry. *ret_name is in `path`. */
enum error_code archive_place_open(struct archive_place *p, const char *path, const char **ret_name,
                                   struct error *err)
{
    const char *slash = strrchr(path, '/');
    size_t len = slash ? (size_t)(slash - path) : 0;
    *ret_name = slash ? slash + 1 : path;
    if (p->root_fd < 0)
        return links_check(p, path, err);
    if (p->parent_fd >= 0 && strlen(p->parent) == len && strncmp(p->parent, path, len) == 0)
        return ERR_OK;
    int fd = -1;
    enum error_code code = parent_walk(p, p->root_fd, path, &fd, err);
    if (code != ERR_OK)
        return code;
    if (p->parent_fd >= 0)
        (void)close(p->parent_fd);
    p->parent_fd = fd;
    memcpy(p->parent, path, len);
    p->parent[len] = '\0';
    return ERR_OK;
}

/* What an earlier entry of the same name has made: the later one counts. */
enum error_code archive_place_clear(struct archive_place *p, const char *name, const char *path,
                                    struct error *err)
{
    const struct archive_known *known = archive_place_known(p, path);
    if (known && !known->is_link)
        return archive_refuse(path, "the archive has a folder of that name too", err);
    known_forget(p, path);
    if (p->root_fd < 0 || unlinkat(p->parent_fd, name, 0) == 0 || errno == ENOENT)
        return ERR_OK;
    return archive_refuse_errno(path, errno, err);
}

/* ---- The end ------------------------------------------------------------------------------- */

/* Those that came last first, so that a folder that may not be entered any more is done with. */
enum error_code archive_place_finish(const struct archive_place *p, struct error *err)
{
    for (const struct archive_known *known = known_last(p); known; known = known->hh.prev) {
        AUTO_CLOSE int parent = -1;
        AUTO_CLOSE int fd = -1;
        const char *slash = strrchr(known->path, '/');
        enum error_code code = ERR_OK;
        if (known->is_link)
            continue;
        code = parent_walk(NULL, p->root_fd, known->path, &parent, err);
        if (code == ERR_OK)
            code = step_into(NULL, parent,
                             known->path[0] == '\0' ? "."
                             : slash                ? slash + 1
                                                    : known->path,
                             known->path, &fd, err);
        if (code == ERR_OK && file_meta_write(fd, &known->meta, err) != ERR_OK)
            code = error_wrap(err, "%s", archive_name_shown(known->path));
        if (code != ERR_OK)
            return code;
    }
    return ERR_OK;
}

void archive_place_done(struct archive_place *p)
{
    while (p->known)
        known_drop(p, p->known);
    if (p->parent_fd >= 0)
        (void)close(p->parent_fd);
    p->parent_fd = -1;
}
