#include "common/base/cleanup.h"
#include "common/base/text.h"
#include "handlers/directory_internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- What is in a folder ----------------------------------------------------------------- */

/* A walk over all that is in a folder, folders before what is in them. */
struct walk {
    const struct handler_run *run;
    struct handler_result *result;
    bool keeps;   /* prepare; else it only looks */
    dev_t device; /* of the folder itself */
};

static DIR *folder_open(const char *path, struct error *err)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *folder = fd >= 0 ? fdopendir(fd) : NULL;
    if (folder)
        return folder;
    (void)error_errno(err, errno, "cannot read the folder %s", path);
    if (fd >= 0)
        (void)close(fd);
    return NULL;
}

static enum error_code entry_take(struct walk *w, const char *path, struct file_undo *undo,
                                  struct error *err)
{
    AUTO_PLACE struct file_place place = FILE_PLACE_INIT;
    struct stat st;
    if (!text_utf8_valid(path, strlen(path), NULL))
        return error_set(err, ERR_UNSUPPORTED, "a name in a folder to be removed is not UTF-8");
    if (lstat(path, &st) != 0)
        return error_errno(err, errno, "%s", path);
    if (st.st_dev != w->device)
        return error_set(err, ERR_INVALID, "%s is another file system", path);
    if (undo->nodes.count >= FILE_UNDO_NODES_MAX)
        return error_set(
            err, ERR_LIMIT,
            "%s and what is in it are more than %d files and folders: to be undone all "
            "would have to be kept; nothing was changed",
            file_path_shown(file_undo_main(undo)->path), FILE_UNDO_NODES_MAX);
    enum error_code code = file_place_open(path, &place, err);
    if (code != ERR_OK)
        return code;
    return w->keeps ? file_undo_keep(w->run, &place, undo, w->result, err)
                    : file_undo_look(w->run, &place, undo, w->result, err);
}

static enum error_code folder_walk(struct walk *w, const char *path, struct file_undo *undo,
                                   struct error *err)
{
    enum error_code code = ERR_OK;
    DIR *folder = folder_open(path, err);
    if (!folder)
        return err->code;
    for (const struct dirent *item; code == ERR_OK && (item = readdir(folder));) {
        char entry[PATH_MAX];
        if (strcmp(item->d_name, ".") == 0 || strcmp(item->d_name, "..") == 0)
            continue;
        int len = snprintf(entry, sizeof(entry), "%s/%s", path, item->d_name);
        code = len > 0 && (size_t)len < sizeof(entry)
                   ? entry_take(w, entry, undo, err)
                   : error_set(err, ERR_INVALID, "a path in it is too long");
    }
    (void)closedir(folder);
    return code;
}

static enum error_code folder_is_empty(const char *path, bool *ret_empty, struct error *err)
{
    DIR *folder = folder_open(path, err);
    if (!folder)
        return err->code;
    *ret_empty = true;
    for (const struct dirent *item; *ret_empty && (item = readdir(folder));)
        *ret_empty = strcmp(item->d_name, ".") == 0 || strcmp(item->d_name, "..") == 0;
    (void)closedir(folder);
    return ERR_OK;
}

enum error_code directory_capture_content(const struct handler_run *run, struct file_undo *undo,
                                          struct handler_result *result, struct error *err)
{
    const struct directory_params *params = run->params;
    struct walk w = {.run = run, .result = result, .keeps = run->operation == HANDLER_PREPARE};
    struct stat st;
    bool empty = false;
    if (file_undo_main(undo)->kind == FILE_NOTHING)
        return ERR_OK;
    enum error_code code = folder_is_empty(params->path, &empty, err);
    if (code != ERR_OK || empty)
        return code;
    if (!params->recursive)
        return error_set(err, ERR_INVALID, "%s is not empty; set recursive to remove what is in it",
                         params->path);
    if (lstat(params->path, &st) != 0)
        return error_errno(err, errno, "%s", params->path);
    w.device = st.st_dev;
    /* What is found is added at the end, so that the list is its own queue. */
    for (size_t i = 0; code == ERR_OK && i < undo->nodes.count; i++) {
        const struct file_node *node = ARRAY_AT(&undo->nodes, struct file_node, i);
        if (node->kind != FILE_FOLDER)
            continue;
        char path[PATH_MAX]; /* the list may move */
        memcpy(path, node->path, strlen(node->path) + 1);
        code = folder_walk(&w, path, undo, err);
    }
    return code;
}

/* ---- execute ----------------------------------------------------------------------------- */

enum error_code directory_remove(const struct file_undo *undo, bool *ret_changed, struct error *err)
{
    *ret_changed = false;
    for (size_t i = undo->nodes.count; i-- > 0;) {
        bool changed = false;
        enum error_code code =
            file_undo_remove(ARRAY_AT(&undo->nodes, struct file_node, i), &changed, err);
        if (code != ERR_OK)
            return code;
        *ret_changed = *ret_changed || changed;
    }
    return ERR_OK;
}

/* ---- check ------------------------------------------------------------------------------- */

static enum error_code content_tell(const struct handler_run *run, struct handler_result *result,
                                    struct buf *shown, struct error *err)
{
    const struct directory_params *params = run->params;
    AUTO_UNDO struct file_undo undo = {0};
    AUTO_PLACE struct file_place place = FILE_PLACE_INIT;
    enum error_code code = file_place_open(params->path, &place, err);
    if (code == ERR_OK)
        code = file_undo_look(run, &place, &undo, result, err);
    if (code == ERR_OK)
        code = directory_capture_content(run, &undo, result, err);
    if (code != ERR_OK)
        return code;
    for (size_t i = 0; i < undo.nodes.count; i++) {
        const struct file_node *node = ARRAY_AT(&undo.nodes, struct file_node, i);
        buf_printf(shown, "- %s%s\n", node->path, node->kind == FILE_FOLDER ? "/" : "");
    }
    code = buf_check(shown, err);
    if (code == ERR_OK && undo.nodes.count == 1)
        result_succeed(result, true, "would remove %s, which is empty", params->path);
    else if (code == ERR_OK)
        result_succeed(result, true,
                       "would remove %s with %zu files and folders in it, %" PRId64 " bytes",
                       params->path, undo.nodes.count - 1, undo.kept_bytes);
    return code;
}

enum error_code directory_check_absent(const struct handler_run *run, const struct file_node *now,
                                       enum error_code code, struct handler_result *result,
                                       struct buf *shown, struct error *err)
{
    const struct directory_params *params = run->params;
    if (code == ERR_NOT_FOUND || (code == ERR_OK && now->kind == FILE_NOTHING)) {
        result_succeed(result, false, "%s is not there", params->path);
        return ERR_OK;
    }
    return code == ERR_OK ? content_tell(run, result, shown, err) : code;
}
