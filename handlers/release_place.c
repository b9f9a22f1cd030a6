/* release_place: the folders, and what is in them. */
#include "common/base/cleanup.h"
#include "handlers/release_internal.h"
#include "handlers/tree.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { RELEASES_MAX = 10000 };

/* ---- Where it is ------------------------------------------------------------------------- */

void release_place_close(struct release_place *p)
{
    file_place_close(&p->link);
    file_place_close(&p->folder);
}

static enum error_code place_name(struct file_place *place, const char *folder, const char *name,
                                  struct error *err)
{
    int len = snprintf(place->path, sizeof(place->path), "%s/%s", folder, name);
    (void)snprintf(place->name, sizeof(place->name), "%s", name);
    return len > 0 && (size_t)len < sizeof(place->path)
               ? ERR_OK
               : error_set(err, ERR_LIMIT, "the path is too long");
}

static enum error_code folders_open(const struct release_params *params, struct release_place *p,
                                    struct error *err)
{
    p->link.dir_fd = open(params->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (p->link.dir_fd < 0)
        return errno == ENOENT ? ERR_OK : error_errno(err, errno, "%s", params->path);
    p->folder.dir_fd =
        openat(p->link.dir_fd, RELEASE_FOLDER, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (p->folder.dir_fd >= 0 || errno == ENOENT)
        return ERR_OK;
    if (errno == ENOTDIR || errno == ELOOP)
        return error_set(err, ERR_INVALID, "%s/" RELEASE_FOLDER " is no folder", params->path);
    return error_errno(err, errno, "%s/" RELEASE_FOLDER, params->path);
}

enum error_code release_place_open(const struct release_params *params,
                                   struct release_place *ret_place, struct error *err)
{
    struct release_place p = {.link = FILE_PLACE_INIT, .folder = FILE_PLACE_INIT};
    char name[RELEASE_NAME_MAX + 1];
    release_name(params, name);
    (void)snprintf(p.target, sizeof(p.target), RELEASE_FOLDER "/%s", name);
    enum error_code code =
        place_name(&p.link, params->path, params->link ? params->link : RELEASE_LINK, err);
    if (code == ERR_OK)
        code = place_name(&p.folder, params->path, p.target, err);
    if (code != ERR_OK)
        return code;
    (void)snprintf(p.folder.name, sizeof(p.folder.name), "%s", name);
    code = folders_open(params, &p, err);
    if (code == ERR_OK)
        *ret_place = p;
    else
        release_place_close(&p);
    return code;
}

void release_temp_name(const struct handler_run *run, const char *name, char ret_name[NAME_MAX + 1])
{
    struct file_place place = FILE_PLACE_INIT;
    (void)snprintf(place.name, sizeof(place.name), "%s", name);
    file_temp_name(run, &place, ret_name);
}

/* ---- Links ------------------------------------------------------------------------------- */

enum error_code release_link_check(const struct file_node *node, struct error *err)
{
    return node->kind == FILE_NOTHING || node->kind == FILE_LINK ? ERR_OK
                                                                 : file_node_refuse(node, err);
}

bool release_link_leads(const struct release_place *p, const struct file_node *node)
{
    return node->kind == FILE_LINK && strcmp(node->target, p->target) == 0;
}

/* An open folder once more, to be read from its beginning. */
static enum error_code entries_open(int folder_fd, DIR **ret_folder, struct error *err)
{
    int fd = openat(folder_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    *ret_folder = fd >= 0 ? fdopendir(fd) : NULL;
    if (*ret_folder)
        return ERR_OK;
    enum error_code code = error_errno(err, errno, "cannot read a folder of releases");
    if (fd >= 0)
        (void)close(fd);
    return code;
}

/* Two paths of one folder have the same device and inode, however they are written. */
enum error_code release_is_linked(const struct release_place *p, const char *name, bool *ret_linked,
                                  struct error *err)
{
    DIR *folder = NULL;
    struct stat release, st;
    *ret_linked = false;
    if (p->folder.dir_fd < 0 || fstatat(p->folder.dir_fd, name, &release, AT_SYMLINK_NOFOLLOW) != 0)
        return ERR_OK;
    enum error_code code = entries_open(p->link.dir_fd, &folder, err);
    if (code != ERR_OK || !folder)
        return code;
    for (const struct dirent *item; !*ret_linked && (item = readdir(folder));) {
        bool is_link = fstatat(p->link.dir_fd, item->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
                       S_ISLNK(st.st_mode);
        *ret_linked = is_link && fstatat(p->link.dir_fd, item->d_name, &st, 0) == 0 &&
                      st.st_dev == release.st_dev && st.st_ino == release.st_ino;
    }
    (void)closedir(folder);
    return ERR_OK;
}

/* ---- Sums -------------------------------------------------------------------------------- */

enum error_code release_sum(const struct release_place *p, const char *name, bool with_marker,
                            const atomic_bool *cancelled, char ret_sum[RELEASE_SUM_TEXT],
                            struct error *err)
{
    struct tree_sum sum = {0};
    enum error_code code =
        tree_sum(p->folder.dir_fd, name, with_marker ? NULL : RELEASE_MARKER, cancelled, &sum, err);
    (void)snprintf(ret_sum, RELEASE_SUM_TEXT, "%016" PRIx64, sum.sum);
    return code;
}

/* ---- Those beyond `keep` ----------------------------------------------------------------- */

struct found {
    char name[NAME_MAX + 1];
    int64_t time_ms;
    bool linked;
};

struct found_list {
    struct found *items;
    size_t count;
};

static void found_done(struct found_list *list)
{
    mem_free(list->items);
    list->items = NULL;
}

static enum error_code found_add(const struct release_place *p, const char *name,
                                 struct found_list *list, struct error *err)
{
    AUTO_MARKER struct release_marker marker = {0};
    enum release_presence presence = RELEASE_ABSENT;
    enum error_code code = release_look(p, name, &presence, &marker, err);
    /* What no release step has made is nobody's to remove. */
    if (code != ERR_OK || presence != RELEASE_THERE)
        return code;
    if (list->count >= RELEASES_MAX)
        return error_set(err, ERR_LIMIT, "more than %d releases", RELEASES_MAX);
    struct found *items = mem_realloc(list->items, (list->count + 1) * sizeof(*items));
    if (!items)
        return error_set(err, ERR_NO_MEMORY, NULL);
    list->items = items;
    struct found *found = &items[list->count++];
    *found = (struct found){.time_ms = marker.time_ms};
    (void)snprintf(found->name, sizeof(found->name), "%s", name);
    return release_is_linked(p, name, &found->linked, err);
}

static enum error_code found_all(const struct release_place *p, struct found_list *list,
                                 struct error *err)
{
    DIR *folder = NULL;
    enum error_code code = entries_open(p->folder.dir_fd, &folder, err);
    if (code != ERR_OK || !folder)
        return code;
    for (const struct dirent *item; code == ERR_OK && (item = readdir(folder));) {
        if (item->d_name[0] != '.' && strcmp(item->d_name, p->folder.name) != 0)
            code = found_add(p, item->d_name, list, err);
    }
    (void)closedir(folder);
    return code;
}

/* The latest first. */
static int found_compare(const void *a, const void *b)
{
    const struct found *left = a, *right = b;
    if (left->time_ms != right->time_ms)
        return left->time_ms > right->time_ms ? -1 : 1;
    return strcmp(right->name, left->name);
}

void release_names_done(struct array *names)
{
    for (size_t i = 0; i < names->count; i++)
        mem_free(*ARRAY_AT(names, char *, i));
    mem_free(names->items);
    *names = (struct array){0};
}

enum error_code release_old(const struct release_place *p, int64_t keep, struct array *ret_names,
                            struct error *err)
{
    __attribute__((cleanup(found_done))) struct found_list list = {0};
    if (keep == 0 || p->folder.dir_fd < 0)
        return ERR_OK;
    enum error_code code = found_all(p, &list, err);
    /* The new one is the first of them. */
    if (code != ERR_OK || !list.items || (int64_t)list.count <= keep - 1)
        return code;
    qsort(list.items, list.count, sizeof(*list.items), found_compare);
    /* NOLINTNEXTLINE(bugprone-sizeof-expression): an array of pointers it is */
    ret_names->items = mem_array(RELEASE_OLD_MAX, sizeof(char *));
    if (!ret_names->items)
        return error_set(err, ERR_NO_MEMORY, NULL);
    for (size_t i = list.count; i-- > (size_t)(keep - 1) && ret_names->count < RELEASE_OLD_MAX;) {
        if (list.items[i].linked)
            continue;
        char *name = mem_strdup(list.items[i].name);
        if (!name)
            return error_set(err, ERR_NO_MEMORY, NULL);
        *ARRAY_AT(ret_names, char *, ret_names->count++) = name;
    }
    return ERR_OK;
}

/* ---- Doing ------------------------------------------------------------------------------- */

enum error_code release_clean(const struct handler_run *run, const struct release_place *p,
                              const struct release_undo *undo, const atomic_bool *cancelled,
                              struct error *err)
{
    char temp[NAME_MAX + 1];
    if (p->link.dir_fd < 0)
        return ERR_OK;
    file_temp_name(run, &p->link, temp);
    (void)unlinkat(p->link.dir_fd, temp, 0);
    if (p->folder.dir_fd < 0)
        return ERR_OK;
    release_temp_name(run, p->folder.name, temp);
    enum error_code code = tree_remove(p->folder.dir_fd, temp, cancelled, err);
    for (size_t i = 0; code == ERR_OK && i < undo->old.count; i++) {
        release_temp_name(run, ARRAY_AT(&undo->old, struct release_kept, i)->name, temp);
        code = tree_remove(p->folder.dir_fd, temp, cancelled, err);
    }
    return code;
}

enum error_code release_remove(const struct handler_run *run, const struct release_place *p,
                               const char *name, const atomic_bool *cancelled, bool *ret_left,
                               struct error *err)
{
    char temp[NAME_MAX + 1];
    *ret_left = false;
    release_temp_name(run, name, temp);
    enum error_code code = tree_remove(p->folder.dir_fd, temp, cancelled, err);
    if (code != ERR_OK)
        return code;
    if (renameat(p->folder.dir_fd, name, p->folder.dir_fd, temp) != 0)
        return error_errno(err, errno, "cannot remove the release %s", name);
    *ret_left = true;
    code = file_place_sync(&p->folder, err);
    if (code == ERR_OK)
        code = tree_remove(p->folder.dir_fd, temp, cancelled, err);
    *ret_left = code != ERR_OK && code != ERR_CANCELLED;
    return code;
}

enum error_code release_put(const struct release_place *p, const char *temp, const char *name,
                            struct error *err)
{
    AUTO_CLOSE int fd =
        openat(p->folder.dir_fd, temp, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    /* One flush for all of its files: each by itself would take as many as there are. */
    if (fd < 0 || syncfs(fd) != 0)
        return error_errno(err, errno, "cannot make the release %s durable", name);
    if (renameat(p->folder.dir_fd, temp, p->folder.dir_fd, name) != 0)
        return error_errno(err, errno, "cannot give the release %s its name", name);
    return file_place_sync(&p->folder, err);
}
