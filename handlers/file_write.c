#include "common/base/alloc.h"
#include "common/base/cleanup.h"
#include "handlers/account.h"
#include "handlers/file_run.h"
#include "handlers/file_write_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { LINKS_MAX = 40, DEFAULT_MODE = 0644, SECRET_MODE = 0600 };

struct file_source file_write_content(const struct file_write_params *params,
                                      const struct artifact *artifact, const atomic_bool *stop)
{
    if (params->source)
        return (struct file_source){
            .fd = artifact->fd, .len = (size_t)artifact->size_bytes, .stop = stop};
    if (params->content_base64.given)
        return (struct file_source){
            .fd = -1, .data = params->content_base64.data, .len = params->content_base64.len};
    return (struct file_source){.fd = -1, .data = params->content, .len = strlen(params->content)};
}

struct file_source file_write_run_content(const struct handler_run *run)
{
    return file_write_content(run->params, file_run_artifact(run), file_run_stop(run));
}

enum error_code file_write_same(const struct file_write_params *params,
                                const struct file_source *content, int fd, bool *ret_same,
                                struct error *err)
{
    char digest[FILE_DIGEST_TEXT];
    struct stat st;
    if (!params->source)
        return file_holds(fd, content->data, content->len, ret_same, err);
    if (fstat(fd, &st) != 0)
        return error_errno(err, errno, "%s", params->path);
    *ret_same = false;
    if (st.st_size != (off_t)content->len)
        return ERR_OK;
    enum error_code code = file_digest_until(fd, content->stop, digest, err);
    *ret_same = code == ERR_OK && strcmp(digest, artifact_digest(params->source)) == 0;
    return code;
}

enum error_code file_write_digest(const struct file_write_params *params,
                                  const struct file_source *content,
                                  char ret_digest[FILE_DIGEST_TEXT], struct error *err)
{
    if (!params->source)
        return data_digest(content->data, content->len, ret_digest, err);
    (void)snprintf(ret_digest, FILE_DIGEST_TEXT, "%s", artifact_digest(params->source));
    return ERR_OK;
}

/* ---- Where ------------------------------------------------------------------------------- */

/* Where the link at `path` leads, as the path of what is no link, there or not. */
static enum error_code links_follow(char path[PATH_MAX], struct error *err)
{
    for (int i = 0; i < LINKS_MAX; i++) {
        char target[PATH_MAX], joined[PATH_MAX];
        ssize_t len = readlink(path, target, sizeof(target) - 1);
        if (len < 0)
            return errno == EINVAL || errno == ENOENT ? ERR_OK
                                                      : error_errno(err, errno, "%s", path);
        target[len] = '\0';
        const char *slash = strrchr(path, '/');
        int folder_len = target[0] == '/' ? 0 : (int)(slash - path) + 1;
        int joined_len = snprintf(joined, sizeof(joined), "%.*s%s", folder_len, path, target);
        if (joined_len < 0 || (size_t)joined_len >= sizeof(joined))
            return error_set(err, ERR_INVALID, "%s: the path it leads to is too long", path);
        memcpy(path, joined, (size_t)joined_len + 1);
    }
    return error_set(err, ERR_INVALID, "%s: too many symbolic links", path);
}

static enum error_code path_resolve(const struct file_write_params *params, char ret_path[PATH_MAX],
                                    struct error *err)
{
    char target[PATH_MAX];
    if (strlen(params->path) >= PATH_MAX)
        return error_set(err, ERR_INVALID, "the path is too long");
    memcpy(ret_path, params->path, strlen(params->path) + 1);
    if (params->follow_symlinks)
        return links_follow(ret_path, err);
    ssize_t len = readlink(params->path, target, sizeof(target) - 1);
    if (len < 0)
        return ERR_OK;
    target[len] = '\0';
    return error_set(err, ERR_INVALID,
                     "%s is a symbolic link to %s; set followSymlinks to write through it",
                     params->path, target);
}

enum error_code file_write_place(const struct handler_run *run, struct file_undo *undo,
                                 struct file_place *ret_place, bool *ret_missing, struct error *err)
{
    const struct file_write_params *params = run->params;
    char path[PATH_MAX];
    enum error_code code = path_resolve(params, path, err);
    if (code != ERR_OK)
        return code;
    code = file_undo_place(path, params->create_parents, undo, ret_place, ret_missing, err);
    if (code == ERR_OK && *ret_missing)
        memcpy(ret_place->path, path, strlen(path) + 1);
    return code;
}

/* ---- What -------------------------------------------------------------------------------- */

static enum error_code meta_wanted(const struct handler_run *run, int present_fd,
                                   struct file_meta *meta, struct error *err)
{
    const struct file_write_params *params = run->params;
    enum error_code code = ERR_OK;
    *meta = FILE_META_INIT;
    meta->mode = run->secret ? SECRET_MODE : DEFAULT_MODE;
    if (present_fd >= 0) {
        code = file_meta_read(present_fd, meta, err);
        if (code != ERR_OK)
            return code;
        meta->mtime_s = meta->mtime_ns = FILE_KEEP;
        /* The right was given to other bytes. */
        file_meta_drop(meta, "security.capability");
    }
    if (params->mode)
        meta->mode = (int64_t)(strtoul(params->mode, NULL, 8) & 07777);
    if (params->owner)
        code = account_user_id(params->owner, &meta->uid, err);
    if (code == ERR_OK && params->group)
        code = account_group_id(params->group, &meta->gid, err);
    return code;
}

static enum error_code same_already(const struct file_write_params *params,
                                    const struct file_source *content, int fd,
                                    const struct file_meta *wanted, bool *ret_same,
                                    struct error *err)
{
    struct stat st;
    *ret_same = false;
    if (fd < 0)
        return ERR_OK;
    if (fstat(fd, &st) != 0)
        return error_errno(err, errno, "%s", params->path);
    if ((st.st_mode & 07777) != (mode_t)wanted->mode || (int64_t)st.st_uid != wanted->uid ||
        (int64_t)st.st_gid != wanted->gid)
        return ERR_OK;
    return file_write_same(params, content, fd, ret_same, err);
}

enum error_code file_write_wanted(const struct handler_run *run, const struct file_source *content,
                                  int present_fd, struct file_meta *ret_meta, bool *ret_same,
                                  struct error *err)
{
    enum error_code code = meta_wanted(run, present_fd, ret_meta, err);
    return code == ERR_OK ? same_already(run->params, content, present_fd, ret_meta, ret_same, err)
                          : code;
}

/* ---- prepare ----------------------------------------------------------------------------- */

/* The place of the copy that the step leaves beside the file. */
static enum error_code backup_place(const char *path, const char *name,
                                    struct file_place *ret_place, struct error *err)
{
    char beside[PATH_MAX];
    int folder_len = (int)(strrchr(path, '/') - path);
    int len = snprintf(beside, sizeof(beside), "%.*s/%s", folder_len, path, name);
    if (len < 0 || (size_t)len >= sizeof(beside))
        return error_set(err, ERR_INVALID, "the path of the backup is too long");
    return file_place_open(beside, ret_place, err);
}

static enum error_code backup_capture(const struct handler_run *run, struct file_undo *undo,
                                      struct handler_result *result, struct error *err)
{
    const struct file_write_params *params = run->params;
    AUTO_PLACE struct file_place place = FILE_PLACE_INIT;
    enum error_code code = backup_place(file_undo_main(undo)->path, params->backup, &place, err);
    if (code == ERR_OK)
        code = file_undo_keep(run, &place, undo, result, err);
    if (code != ERR_OK)
        return code;
    const struct file_node *node = ARRAY_AT(&undo->nodes, struct file_node, 1);
    return node->kind == FILE_FOLDER ? file_node_refuse(node, err) : ERR_OK;
}

static enum error_code capture(const struct handler_run *run, struct file_undo *undo,
                               struct handler_result *result, struct error *err)
{
    const struct file_write_params *params = run->params;
    AUTO_PLACE struct file_place place = FILE_PLACE_INIT;
    AUTO_META struct file_meta wanted = {0};
    AUTO_CLOSE int fd = -1;
    bool missing = false;
    enum error_code code = file_write_place(run, undo, &place, &missing, err);
    if (code == ERR_OK)
        code = missing ? file_undo_nothing(place.path, undo, err) : file_open(&place, &fd, err);
    if (code == ERR_OK && !missing)
        code = file_undo_keep(run, &place, undo, result, err);
    /* A user that does not exist is told before anything is changed. */
    if (code == ERR_OK)
        code = meta_wanted(run, fd, &wanted, err);
    if (code == ERR_OK && params->backup && fd >= 0)
        code = backup_capture(run, undo, result, err);
    return code;
}

static void prepare_work(const struct handler_run *run, struct handler_result *result,
                         struct buf *shown)
{
    struct error err = {0};
    AUTO_UNDO struct file_undo undo = {0};
    (void)shown;
    enum error_code code = capture(run, &undo, result, &err);
    file_undo_prepared(&undo, code, result, &err);
}

/* ---- execute ----------------------------------------------------------------------------- */

void file_staged_done(struct file_staged *staged)
{
    file_place_close(&staged->place);
    file_undo_done(&staged->undo);
}

enum error_code file_write_stage(const struct handler_run *run, const struct file_source *content,
                                 struct file_staged *staged, struct error *err)
{
    AUTO_META struct file_meta wanted = {0};
    AUTO_CLOSE int fd = -1;
    enum error_code code = file_undo_read(run, &staged->undo, err);
    if (code == ERR_OK)
        code = file_undo_make_folders(&staged->undo, err);
    if (code == ERR_OK)
        code = file_place_open(file_undo_main(&staged->undo)->path, &staged->place, err);
    if (code == ERR_OK)
        code = file_open(&staged->place, &fd, err);
    if (code == ERR_OK)
        code = file_write_wanted(run, content, fd, &wanted, &staged->same, err);
    if (code != ERR_OK)
        return code;
    file_temp_name(run, &staged->place, staged->temp);
    if (!staged->same)
        return file_stage(&staged->place, staged->temp, content, &wanted, err);
    /* An earlier run may have been cut off, also between putting it there and its sync. */
    file_write_discard(staged);
    return file_place_sync(&staged->place, err);
}

/* As prepare found the file: an earlier attempt may have changed it. */
static enum error_code backup_write(const struct handler_run *run, const struct file_undo *undo,
                                    struct error *err)
{
    const struct file_write_params *params = run->params;
    AUTO_PLACE struct file_place place = FILE_PLACE_INIT;
    struct file_node node = *file_undo_main(undo); /* what it holds stays the other's */
    char temp[NAME_MAX + 1];
    bool apart = false;
    if (!params->backup || undo->nodes.count < 2)
        return ERR_OK;
    node.names = 1;
    enum error_code code = backup_place(node.path, params->backup, &place, err);
    if (code != ERR_OK)
        return code;
    file_temp_name(run, &place, temp);
    (void)unlinkat(place.dir_fd, temp, 0);
    return file_node_restore(run, &node, &place, &apart, err);
}

enum error_code file_write_put(const struct handler_run *run, const struct file_staged *staged,
                               struct error *err)
{
    enum error_code code = backup_write(run, &staged->undo, err);
    if (code == ERR_OK)
        return file_put(&staged->place, staged->temp, err);
    file_write_discard(staged);
    return error_wrap(err, "backup");
}

void file_write_discard(const struct file_staged *staged)
{
    (void)unlinkat(staged->place.dir_fd, staged->temp, 0);
}

void file_write_tell(const struct handler_run *run, bool changed, size_t len,
                     struct handler_result *result)
{
    const struct file_write_params *params = run->params;
    if (changed)
        result_succeed(result, true, "wrote %zu bytes to %s", len, params->path);
    else
        result_succeed(result, false, "%s is so already", params->path);
}

static void execute_work(const struct handler_run *run, struct handler_result *result,
                         struct buf *shown)
{
    struct error err = {0};
    struct file_staged staged = FILE_STAGED_INIT;
    const struct file_source content = file_write_run_content(run);
    (void)shown;
    enum error_code code = file_write_stage(run, &content, &staged, &err);
    if (code == ERR_OK && !staged.same)
        code = file_write_put(run, &staged, &err);
    if (code == ERR_OK)
        file_write_tell(run, !staged.same, content.len, result);
    else
        result_fail_error(result, &err);
    file_staged_done(&staged);
}

/* ---- rollback ---------------------------------------------------------------------------- */

static enum error_code left_find(const struct handler_run *run, const struct file_undo *undo,
                                 size_t i, struct file_left *ret_left, int64_t *ret_size,
                                 struct error *err)
{
    static const struct artifact none = {.fd = -1}; /* its digest is known without it */
    const struct file_write_params *params = run->params;
    const struct file_source content = file_write_content(params, &none, NULL);
    const struct file_node *node = file_undo_main(undo);
    *ret_left = (struct file_left){.kind = FILE_REGULAR};
    if (i == 0) {
        *ret_size = params->source ? FILE_SIZE_UNKNOWN : (int64_t)content.len;
        return file_write_digest(params, &content, ret_left->sha256, err);
    }
    *ret_size = node->meta.size;
    if (node->sha256)
        (void)snprintf(ret_left->sha256, sizeof(ret_left->sha256), "%s", node->sha256);
    return ERR_OK;
}

static void rollback_work(const struct handler_run *run, struct handler_result *result,
                          struct buf *shown)
{
    (void)shown;
    file_undo_rollback(run, left_find, result);
}

/* ---- The handler ------------------------------------------------------------------------- */

/* With the artifact where there is one: one that cannot be had is to be known before anything is
 * changed. */
static void work_start(struct handler_run *run, int64_t max_bytes, file_work work)
{
    const struct file_write_params *params = run->params;
    if (params->source)
        file_run_start_with(run, params->source, max_bytes, work);
    else
        file_run_start(run, work);
}

static void write_prepare(struct handler_run *run)
{
    work_start(run, 0, prepare_work);
}

static bool is_validated(const struct handler_run *run)
{
    const struct file_write_params *params = run->params;
    return run->operation == HANDLER_EXECUTE && params->validate.count > 0;
}

static void write_execute(struct handler_run *run)
{
    if (is_validated(run))
        file_validate_start(run);
    else
        work_start(run, 0, execute_work);
}

static void write_rollback(struct handler_run *run)
{
    file_run_start(run, rollback_work);
}

static void write_check(struct handler_run *run)
{
    /* One that is not shown is not fetched: that it can be had, and its size, is known all the
     * same.
     */
    work_start(run, FILE_WRITE_TEXT_MAX, file_check_work);
}

static void write_cancel(struct handler_run *run)
{
    if (is_validated(run))
        file_validate_cancel(run);
    else
        file_run_cancel(run);
}

const struct handler file_write_handler = {
    .type = &file_write_type,
    .prepare = write_prepare,
    .execute = write_execute,
    .rollback = write_rollback,
    .check = write_check,
    .cancel = write_cancel,
};
