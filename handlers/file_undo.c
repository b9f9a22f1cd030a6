#include "handlers/file_undo.h"

#include "common/base/alloc.h"
#include "common/base/cleanup.h"
#include "common/base/text.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FOLDERS_MADE_MAX = 64, MADE_MODE = 0755, COPY_NAME_MAX = 32 };

/* ---- The document ------------------------------------------------------------------------ */

static const struct json_field node_item = {.type = JSON_OBJECT, .table = &file_node_table};
static const struct json_field folder_item = {.type = JSON_STRING, .min = 1, .max = PATH_MAX};
static const struct json_field undo_fields[] = {
    {.name = "nodes",
     .type = JSON_ARRAY,
     JSON_AT(struct file_undo, nodes),
     .flags = JSON_REQUIRED,
     .min = 1,
     .max = FILE_UNDO_NODES_MAX,
     .item = &node_item,
     .doc = "What was there."},
    {.name = "made",
     .type = JSON_ARRAY,
     JSON_AT(struct file_undo, made),
     .flags = JSON_OMIT_EMPTY,
     .max = FOLDERS_MADE_MAX,
     .item = &folder_item,
     .doc = "Folders that were not there."},
};
const struct json_table file_undo_table = JSON_TABLE("undo of files", struct file_undo, undo_fields,
                                                     "What was there before a step changed it.");

void file_undo_done(struct file_undo *undo)
{
    json_release(&file_undo_table, undo);
}

enum error_code file_undo_read(const struct handler_run *run, struct file_undo *ret_undo,
                               struct error *err)
{
    enum error_code code =
        json_read(run->undo, strlen(run->undo), HANDLER_UNDO_MAX, &file_undo_table, ret_undo, err);
    return code == ERR_OK ? ERR_OK : error_wrap(err, "what prepare captured");
}

static const struct file_node *node_at(const struct file_undo *undo, size_t i)
{
    return ARRAY_AT(&undo->nodes, struct file_node, i);
}

const struct file_node *file_undo_main(const struct file_undo *undo)
{
    return node_at(undo, 0);
}

/* ---- prepare ----------------------------------------------------------------------------- */

/* Makes room for one more, zeroed, and counts it. */
static void *array_grow(struct array *array, size_t size)
{
    char *items = mem_realloc(array->items, (array->count + 1) * size);
    if (!items)
        return NULL;
    array->items = items;
    memset(items + array->count * size, 0, size);
    return items + size * array->count++;
}

static struct file_node *node_add(struct file_undo *undo, struct error *err)
{
    struct file_node *node = NULL;
    if (undo->nodes.count >= FILE_UNDO_NODES_MAX) {
        (void)error_set(err, ERR_LIMIT, "more than %d files and folders", FILE_UNDO_NODES_MAX);
        return NULL;
    }
    node = array_grow(&undo->nodes, sizeof(*node));
    if (!node)
        (void)error_set(err, ERR_NO_MEMORY, NULL);
    return node;
}

/* Of one file more, file_node_keep says. */
static enum error_code room_check(const struct handler_run *run, const struct file_undo *undo,
                                  const struct file_node *node, struct handler_result *result)
{
    int64_t all = undo->kept_bytes + node->meta.size;
    if (undo->kept_bytes == 0 || node->kind != FILE_REGULAR)
        return ERR_OK;
    if (all > FILE_KEPT_MAX_BYTES)
        result_fail(result, false,
                    "%s and what is in it have more than %d MiB: to be undone it would all have to "
                    "be copied; nothing was changed",
                    file_path_shown(file_undo_main(undo)->path), FILE_KEPT_MAX_BYTES / 1024 / 1024);
    else if (!room_fits(run, all))
        result_no_room(result, run, all);
    else
        return ERR_OK;
    return ERR_LIMIT;
}

enum error_code file_undo_look(const struct handler_run *run, const struct file_place *place,
                               struct file_undo *undo, struct handler_result *result,
                               struct error *err)
{
    struct file_node *node = node_add(undo, err);
    enum error_code code = node ? file_node_look(place, node, err) : err->code;
    if (code == ERR_OK)
        code = room_check(run, undo, node, result);
    if (code == ERR_OK)
        code = file_node_check(run, node, result, err);
    if (code == ERR_OK && node->kind == FILE_REGULAR)
        undo->kept_bytes += node->meta.size;
    return code;
}

enum error_code file_undo_keep(const struct handler_run *run, const struct file_place *place,
                               struct file_undo *undo, struct handler_result *result,
                               struct error *err)
{
    char copy[COPY_NAME_MAX] = "original";
    size_t i = undo->nodes.count;
    int64_t before_bytes = undo->kept_bytes;
    if (i > 0)
        (void)snprintf(copy, sizeof(copy), "original-%zu", i);
    enum error_code code = file_undo_look(run, place, undo, result, err);
    if (code != ERR_OK)
        return code;
    struct file_node *node = ARRAY_AT(&undo->nodes, struct file_node, i);
    file_node_done(node);
    code = file_node_keep(run, place, copy, node, result, err);
    undo->kept_bytes = before_bytes;
    if (code == ERR_OK && node->kind == FILE_REGULAR)
        undo->kept_bytes += node->meta.size;
    return code;
}

enum error_code file_undo_nothing(const char *path, struct file_undo *undo, struct error *err)
{
    struct file_node *node = node_add(undo, err);
    if (!node)
        return err->code;
    node->path = mem_strdup(path);
    return node->path ? ERR_OK : error_set(err, ERR_NO_MEMORY, NULL);
}

static enum error_code folder_missing(const char *path, size_t len, struct array *made,
                                      struct error *err)
{
    if (made->count >= FOLDERS_MADE_MAX)
        return error_set(err, ERR_LIMIT, "%s: more than %d folders would have to be made", path,
                         FOLDERS_MADE_MAX);
    char **slot = array_grow(made, sizeof(*slot));
    if (slot)
        *slot = mem_strndup(path, len);
    return slot && *slot ? ERR_OK : error_set(err, ERR_NO_MEMORY, NULL);
}

/* The folders on the way to `path` that do not exist. One that is missing leads nowhere, so from
 * there on "." and ".." cannot be meant. */
static enum error_code folders_missing(const char *path, struct array *made, struct error *err)
{
    const char *last = strrchr(path, '/');
    bool missing = false;
    for (const char *at = path; at < last;) {
        const char *name = at + strspn(at, "/");
        const char *end = name + strcspn(name, "/");
        char folder[PATH_MAX];
        struct stat st;
        at = end;
        if (name == end || end > last)
            break;
        if ((size_t)(end - path) >= sizeof(folder))
            return error_set(err, ERR_INVALID, "the path is too long");
        memcpy(folder, path, (size_t)(end - path));
        folder[end - path] = '\0';
        if (!missing && stat(folder, &st) == 0)
            continue;
        if (!missing && errno != ENOENT)
            return error_errno(err, errno, "%s", folder);
        if (missing && name[0] == '.' && (end - name == 1 || (end - name == 2 && name[1] == '.')))
            return error_set(err, ERR_INVALID, "%s goes through a folder that does not exist",
                             path);
        missing = true;
        enum error_code code = folder_missing(path, (size_t)(end - path), made, err);
        if (code != ERR_OK)
            return code;
    }
    return ERR_OK;
}

enum error_code file_undo_place(const char *path, bool make_parents, struct file_undo *undo,
                                struct file_place *ret_place, bool *ret_missing, struct error *err)
{
    *ret_missing = false;
    if (!text_utf8_valid(path, strlen(path), NULL))
        return error_set(err, ERR_UNSUPPORTED, "the path that the link leads to is not UTF-8");
    enum error_code code = file_place_open(path, ret_place, err);
    if (code != ERR_NOT_FOUND || !make_parents)
        return code;
    *ret_missing = true;
    return folders_missing(path, &undo->made, err);
}

void file_undo_prepared(const struct file_undo *undo, enum error_code code,
                        struct handler_result *result, struct error *err)
{
    AUTO_BUF struct buf text = {.max = HANDLER_UNDO_MAX};
    if (code == ERR_OK) {
        json_encode(&text, &file_undo_table, undo);
        code = buf_check(&text, err);
    }
    if (code == ERR_OK) {
        result->undo = buf_take(&text, NULL);
        if (!result->undo)
            code = error_set(err, ERR_NO_MEMORY, NULL);
    }
    if (code == ERR_OK)
        result_succeed(result, false, "captured");
    else if (result->message[0] == '\0')
        result_fail_error(result, err);
}

/* ---- execute ----------------------------------------------------------------------------- */

static enum error_code folder_make(const char *path, struct error *err)
{
    AUTO_PLACE struct file_place place = FILE_PLACE_INIT;
    enum error_code code = file_place_open(path, &place, err);
    if (code != ERR_OK)
        return code;
    if (mkdirat(place.dir_fd, place.name, MADE_MODE) != 0) {
        struct stat st;
        if (errno == EEXIST && fstatat(place.dir_fd, place.name, &st, 0) == 0 &&
            S_ISDIR(st.st_mode))
            return ERR_OK;
        return error_errno(err, errno, "cannot make the folder %s", path);
    }
    /* Whatever the agent's umask is. */
    if (fchmodat(place.dir_fd, place.name, MADE_MODE, 0) != 0)
        return error_errno(err, errno, "cannot set the mode of the folder %s", path);
    return file_place_sync(&place, err);
}

enum error_code file_undo_make_folders(const struct file_undo *undo, struct error *err)
{
    for (size_t i = 0; i < undo->made.count; i++) {
        enum error_code code = folder_make(*ARRAY_AT(&undo->made, char *, i), err);
        if (code != ERR_OK)
            return code;
    }
    return ERR_OK;
}

enum error_code file_undo_remove(const struct file_node *node, bool *ret_changed, struct error *err)
{
    AUTO_PLACE struct file_place place = FILE_PLACE_INIT;
    AUTO_NODE struct file_node now = {0};
    *ret_changed = false;
    enum error_code code = file_place_open(node->path, &place, err);
    if (code == ERR_NOT_FOUND)
        return ERR_OK;
    if (code == ERR_OK)
        code = file_node_read(&place, &now, err);
    if (code != ERR_OK)
        return code;
    if (now.kind == FILE_NOTHING) /* perhaps by an earlier run that was cut off */
        return file_place_sync(&place, err);
    if (file_node_compare(node, &now) == FILE_DIFFERENT)
        return error_set(err, ERR_CONFLICT, "%s was changed by somebody else after it was captured",
                         file_path_shown(node->path));
    code = file_node_remove(&place, err);
    *ret_changed = code == ERR_OK;
    return code;
}

/* ---- rollback: what is there now --------------------------------------------------------- */

enum finding {
    FINDING_BEFORE,  /* as prepare found it */
    FINDING_OURS,    /* as the step left it, or something that may be overwritten without loss */
    FINDING_FOREIGN, /* somebody else's */
};

struct rollback {
    const struct handler_run *run;
    const struct file_undo *undo;
    file_left_find find;
    struct handler_result *result;
    size_t changed; /* paths that were brought back */
    bool over_foreign, apart;
    const char *kept_folder; /* one that was made and is not empty now */
};

/* A node as it is looked at. */
struct look {
    const struct file_node *before;
    struct file_place place;
    bool gone; /* with its folder */
    struct file_node now;
    struct file_left left;
    int64_t left_size;
    enum finding finding;
};
#define LOOK_INIT ((struct look){.place = FILE_PLACE_INIT})

static void look_done(struct look *look)
{
    file_place_close(&look->place);
    file_node_done(&look->now);
}
#define AUTO_LOOK __attribute__((cleanup(look_done)))

static enum finding look_judge(const struct look *look)
{
    const struct file_node *now = &look->now;
    if (file_node_compare(look->before, now) == FILE_SAME)
        return FINDING_BEFORE;
    if (now->kind == FILE_NOTHING || file_node_left(now, &look->left) ||
        file_node_compare(look->before, now) == FILE_SAME_CONTENT)
        return FINDING_OURS;
    return FINDING_FOREIGN;
}

static enum error_code look_make(const struct rollback *r, size_t i, struct look *look,
                                 struct error *err)
{
    char temp[NAME_MAX + 1];
    look->before = node_at(r->undo, i);
    enum error_code code = file_place_open(look->before->path, &look->place, err);
    if (code == ERR_NOT_FOUND) {
        look->gone = true;
        look->finding = look->before->kind == FILE_NOTHING ? FINDING_BEFORE : FINDING_OURS;
        return ERR_OK;
    }
    if (code != ERR_OK)
        return code;
    file_temp_name(r->run, &look->place, temp);
    (void)unlinkat(look->place.dir_fd, temp, 0);
    code = file_node_read(&look->place, &look->now, err);
    if (code == ERR_OK)
        code = r->find(r->run, r->undo, i, &look->left, &look->left_size, err);
    if (code == ERR_OK)
        look->finding = look_judge(look);
    return code;
}

static bool folder_is_empty(const struct file_place *place)
{
    int fd = openat(place->dir_fd, place->name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *folder = fd >= 0 ? fdopendir(fd) : NULL;
    bool empty = true;
    if (!folder) {
        if (fd >= 0)
            (void)close(fd);
        return false;
    }
    for (const struct dirent *item; empty && (item = readdir(folder));)
        empty = strcmp(item->d_name, ".") == 0 || strcmp(item->d_name, "..") == 0;
    (void)closedir(folder);
    return empty;
}

/* Says that somebody else has been there. */
static enum error_code conflict_tell(const struct rollback *r, const struct look *look,
                                     struct error *err)
{
    char now[FILE_TEXT_MAX], left[FILE_TEXT_MAX], before[FILE_TEXT_MAX];
    const char *path = file_path_shown(look->before->path);
    file_node_text(&look->now, now);
    file_left_text(&look->left, look->left_size, left);
    file_node_text(look->before, before);
    result_conflict(r->result, r->run,
                    "changed by somebody else since: %s %s %s, expected were %s as this step left "
                    "it, or %s as it was before",
                    path, look->now.kind == FILE_REGULAR ? "has" : "is", now, left, before);
    return error_set(err, ERR_CONFLICT, "%s was changed by somebody else", path);
}

/* Before anything is touched. ERR_CONFLICT: the result says so already. */
static enum error_code node_allowed(struct rollback *r, size_t i, struct error *err)
{
    AUTO_LOOK struct look look = LOOK_INIT;
    enum error_code code = look_make(r, i, &look, err);
    if (code != ERR_OK)
        return code;
    if (look.finding == FINDING_FOREIGN && !r->run->force)
        return conflict_tell(r, &look, err);
    if (look.finding == FINDING_BEFORE || look.now.kind != FILE_FOLDER ||
        look.before->kind == FILE_FOLDER)
        return ERR_OK;
    if (look.finding == FINDING_FOREIGN)
        return error_set(err, ERR_INVALID, "%s is a folder; remove it first",
                         file_path_shown(look.before->path));
    if (folder_is_empty(&look.place))
        return ERR_OK;
    if (r->run->force)
        return error_set(err, ERR_INVALID, "the folder %s is not empty; remove it first",
                         file_path_shown(look.before->path));
    result_conflict(r->result, r->run, "the folder %s holds what this step has not put into it",
                    file_path_shown(look.before->path));
    return error_set(err, ERR_CONFLICT, "%s is not empty", look.before->path);
}

/* ---- rollback: bringing back ------------------------------------------------------------- */

static enum error_code node_bring_back(struct rollback *r, size_t i, struct error *err)
{
    AUTO_LOOK struct look look = LOOK_INIT;
    bool apart = false;
    enum error_code code = look_make(r, i, &look, err);
    if (code != ERR_OK)
        return code;
    if (look.gone)
        return look.finding == FINDING_BEFORE
                   ? ERR_OK
                   : error_set(err, ERR_NOT_FOUND, "the folder of %s does not exist any more",
                               look.before->path);
    if (look.finding == FINDING_BEFORE) /* perhaps by an earlier run that was cut off */
        return file_place_sync(&look.place, err);
    code = file_node_restore(r->run, look.before, &look.place, &apart, err);
    if (code != ERR_OK)
        return code;
    r->changed++;
    r->apart = r->apart || apart;
    r->over_foreign = r->over_foreign || look.finding == FINDING_FOREIGN;
    return ERR_OK;
}

/* Folders that the step had removed, innermost first. */
static enum error_code times_bring_back(const struct rollback *r, struct error *err)
{
    for (size_t i = r->undo->nodes.count; i-- > 0;) {
        const struct file_node *node = node_at(r->undo, i);
        AUTO_PLACE struct file_place place = FILE_PLACE_INIT;
        struct file_left left = {.kind = FILE_NOTHING};
        int64_t size = 0;
        if (node->kind != FILE_FOLDER)
            continue;
        enum error_code code = r->find(r->run, r->undo, i, &left, &size, err);
        if (code == ERR_OK && left.kind != FILE_NOTHING)
            continue;
        if (code == ERR_OK)
            code = file_place_open(node->path, &place, err);
        if (code == ERR_OK)
            code = file_node_restore_times(node, &place, err);
        if (code != ERR_OK)
            return code;
    }
    return ERR_OK;
}

enum error_code file_undo_remove_folders(const struct file_undo *undo, size_t *ret_removed,
                                         const char **ret_kept, struct error *err)
{
    *ret_removed = 0;
    *ret_kept = NULL;
    for (size_t i = undo->made.count; i-- > 0;) {
        const char *path = *ARRAY_AT(&undo->made, char *, i);
        AUTO_PLACE struct file_place place = FILE_PLACE_INIT;
        enum error_code code = file_place_open(path, &place, err);
        if (code == ERR_NOT_FOUND)
            continue;
        if (code != ERR_OK)
            return code;
        if (unlinkat(place.dir_fd, place.name, AT_REMOVEDIR) == 0) {
            ++*ret_removed;
            code = file_place_sync(&place, err);
        } else if (errno == ENOTEMPTY || errno == EEXIST || errno == ENOTDIR) {
            *ret_kept = path;
            return ERR_OK;
        } else if (errno != ENOENT) {
            code = error_errno(err, errno, "cannot remove the folder %s", path);
        }
        if (code != ERR_OK)
            return code;
    }
    return ERR_OK;
}

static void rollback_tell(const struct rollback *r)
{
    const struct file_node *node = file_undo_main(r->undo);
    const char *what = r->changed == 0              ? "is as it was"
                       : node->kind == FILE_NOTHING ? "removed"
                                                    : "restored";
    result_succeed(r->result, false, "%s %s%s%s%s%s%s", node->path, what,
                   r->over_foreign ? ", over what somebody else had left there" : "",
                   r->apart ? ", as a file of its own: under another name of it somebody has "
                              "written to it since"
                            : "",
                   r->kept_folder ? "; the folder " : "", r->kept_folder ? r->kept_folder : "",
                   r->kept_folder ? " is not empty and stays" : "");
}

void file_undo_rollback(const struct handler_run *run, file_left_find find,
                        struct handler_result *result)
{
    struct error err = {0};
    AUTO_UNDO struct file_undo undo = {0};
    struct rollback r = {.run = run, .undo = &undo, .find = find, .result = result};
    size_t folders = 0;
    enum error_code code = file_undo_read(run, &undo, &err);
    for (size_t i = 0; code == ERR_OK && i < undo.nodes.count; i++)
        code = node_allowed(&r, i, &err);
    for (size_t i = 0; code == ERR_OK && i < undo.nodes.count; i++)
        code = node_bring_back(&r, i, &err);
    if (code == ERR_OK)
        code = times_bring_back(&r, &err);
    if (code == ERR_OK)
        code = file_undo_remove_folders(&undo, &folders, &r.kept_folder, &err);
    r.changed += folders;
    if (code == ERR_OK)
        rollback_tell(&r);
    else if (result->message[0] == '\0')
        result_fail_error(result, &err);
}

enum error_code file_left_nothing(const struct handler_run *run, const struct file_undo *undo,
                                  size_t i, struct file_left *ret_left, int64_t *ret_size,
                                  struct error *err)
{
    (void)run;
    (void)undo;
    (void)i;
    (void)err;
    *ret_left = (struct file_left){.kind = FILE_NOTHING};
    *ret_size = 0;
    return ERR_OK;
}
