#include "common/base/alloc.h"
#include "common/base/cleanup.h"
#include "common/base/id.h"
#include "common/base/text.h"
#include "common/json/json.h"
#include "handlers/file_write_internal.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <inttypes.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    TEMP_NAME_KEPT = 200, /* of the file's own name, so that the whole stays below NAME_MAX */
    DEFAULT_MODE = 0644,
    USER_RECORD_MAX = 1024 * 1024
};

void file_write_temp(const struct handler_run *run, const struct file_place *place,
                     char ret_name[NAME_MAX + 1])
{
    char mark[HANDLER_MARK_MAX];
    handler_mark(run->host->server_id, run->rollout, run->step, mark);
    int kept = (int)text_utf8_cut(place->name, strlen(place->name), TEMP_NAME_KEPT);
    int len = snprintf(ret_name, NAME_MAX + 1, ".%.*s.kitsune-%016" PRIx64, kept, place->name,
                       id_hash(mark));
    assert(len > 0 && len <= NAME_MAX);
}

/* ---- The file as it is ------------------------------------------------------------------- */

enum error_code file_write_open(const struct file_place *place, int *ret_fd, struct error *err)
{
    struct stat st;
    *ret_fd = -1;
    if (fstatat(place->dir_fd, place->name, &st, AT_SYMLINK_NOFOLLOW) != 0)
        return errno == ENOENT ? ERR_OK : error_errno(err, errno, "%s", place->path);
    if (S_ISDIR(st.st_mode))
        return error_set(err, ERR_INVALID, "%s is a folder", place->path);
    if (S_ISLNK(st.st_mode))
        return error_set(err, ERR_INVALID, "%s is a symbolic link", place->path);
    if (!S_ISREG(st.st_mode))
        return error_set(err, ERR_INVALID, "%s is not a regular file", place->path);
    int fd = openat(place->dir_fd, place->name,
                    O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (fd < 0)
        return error_errno(err, errno, "cannot open %s", place->path);
    /* It may have been changed for something else since. */
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
        (void)close(fd);
        return error_set(err, ERR_INVALID, "%s is not a regular file", place->path);
    }
    *ret_fd = fd;
    return ERR_OK;
}

void file_meta_done(struct file_meta *meta)
{
    json_release(&file_meta_table, meta);
}

/* ---- execute ----------------------------------------------------------------------------- */

static enum error_code user_find(const char *name, char *record, size_t size, int64_t *ret_id,
                                 struct error *err)
{
    struct passwd entry, *found = NULL;
    int rc = getpwnam_r(name, &entry, record, size, &found);
    if (rc == ERANGE)
        return ERR_LIMIT;
    if (rc != 0)
        return error_errno(err, rc, "cannot look the user %s up", name);
    if (!found)
        return error_set(err, ERR_NOT_FOUND, "there is no user %s", name);
    *ret_id = entry.pw_uid;
    return ERR_OK;
}

static enum error_code group_find(const char *name, char *record, size_t size, int64_t *ret_id,
                                  struct error *err)
{
    struct group entry, *found = NULL;
    int rc = getgrnam_r(name, &entry, record, size, &found);
    if (rc == ERANGE)
        return ERR_LIMIT;
    if (rc != 0)
        return error_errno(err, rc, "cannot look the group %s up", name);
    if (!found)
        return error_set(err, ERR_NOT_FOUND, "there is no group %s", name);
    *ret_id = entry.gr_gid;
    return ERR_OK;
}

typedef enum error_code (*id_finder)(const char *name, char *record, size_t size, int64_t *ret_id,
                                     struct error *err);

/* A name or a number. A group's record grows with its members, so the room for it does too. */
static enum error_code id_resolve(const char *text, id_finder find, int64_t *ret_id,
                                  struct error *err)
{
    char *end = NULL;
    if (text[0] >= '0' && text[0] <= '9') {
        errno = 0;
        unsigned long long number = strtoull(text, &end, 10);
        if (errno == 0 && *end == '\0' && number < UINT32_MAX) {
            *ret_id = (int64_t)number;
            return ERR_OK;
        }
    }
    for (size_t size = 4096; size <= USER_RECORD_MAX; size *= 4) {
        AUTO_FREE char *record = mem_alloc(size);
        if (!record)
            return error_set(err, ERR_NO_MEMORY, NULL);
        enum error_code code = find(text, record, size, ret_id, err);
        if (code != ERR_LIMIT)
            return code;
    }
    return error_set(err, ERR_LIMIT, "the record of %s is too large", text);
}

/* What the new file is to have: as the step says, else as the file there has it. */
static enum error_code meta_wanted(const struct file_write_params *params, int present_fd,
                                   struct file_meta *meta, struct error *err)
{
    enum error_code code = ERR_OK;
    *meta = FILE_META_INIT;
    meta->mode = DEFAULT_MODE;
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
        code = id_resolve(params->owner, user_find, &meta->uid, err);
    if (code == ERR_OK && params->group)
        code = id_resolve(params->group, group_find, &meta->gid, err);
    return code;
}

static enum error_code same_already(int fd, const struct file_write_params *params,
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
    return file_holds(fd, params->content, strlen(params->content), ret_same, err);
}

enum error_code file_write_wanted(const struct file_write_params *params, int present_fd,
                                  struct file_meta *ret_meta, bool *ret_same, struct error *err)
{
    enum error_code code = meta_wanted(params, present_fd, ret_meta, err);
    return code == ERR_OK ? same_already(present_fd, params, ret_meta, ret_same, err) : code;
}

static enum error_code write_content(const struct handler_run *run, bool *ret_changed,
                                     struct error *err)
{
    const struct file_write_params *params = run->params;
    AUTO_UNDO struct file_undo undo = {0};
    AUTO_PLACE struct file_place place = FILE_PLACE_INIT;
    AUTO_META struct file_meta wanted = {0};
    AUTO_CLOSE int fd = -1;
    char temp[NAME_MAX + 1];
    bool same = false;
    enum error_code code = file_undo_read(run, &undo, err);
    if (code == ERR_OK)
        code = file_place_open(undo.path, &place, err);
    if (code == ERR_OK)
        code = file_write_open(&place, &fd, err);
    if (code == ERR_OK)
        code = file_write_wanted(params, fd, &wanted, &same, err);
    if (code != ERR_OK)
        return code;
    file_write_temp(run, &place, temp);
    if (same) {
        /* An earlier run may have been cut off, also between putting it there and its sync. */
        (void)unlinkat(place.dir_fd, temp, 0);
        *ret_changed = false;
        return file_place_sync(&place, err);
    }
    const struct file_source source = {
        .fd = -1, .data = params->content, .len = strlen(params->content)};
    code = file_replace(&place, temp, &source, &wanted, err);
    *ret_changed = code == ERR_OK;
    return code;
}

static void execute_work(const struct handler_run *run, struct handler_result *result)
{
    const struct file_write_params *params = run->params;
    struct error err = {0};
    bool changed = false;
    if (write_content(run, &changed, &err) != ERR_OK)
        result_fail_error(result, &err);
    else if (changed)
        result_succeed(result, true, "wrote %zu bytes to %s", strlen(params->content),
                       params->path);
    else
        result_succeed(result, false, "%s is so already", params->path);
}

/* ---- The runs ---------------------------------------------------------------------------- */

/* All of it blocks, and is over soon: it is not cut off once begun. */
struct file_run {
    uv_work_t work;
    struct handler_run *run;
    void (*operation)(const struct handler_run *run, struct handler_result *result);
    struct handler_result result;
    struct buf shown; /* check: to be printed, on the loop */
};

static void file_work(uv_work_t *work)
{
    struct file_run *f = work->data;
    if (f->operation)
        f->operation(f->run, &f->result);
    else
        file_check_work(f->run, &f->result, &f->shown);
}

static void file_over(uv_work_t *work, int status)
{
    struct file_run *f = work->data;
    struct handler_run *run = f->run;
    struct handler_result result = f->result;
    if (status == UV_ECANCELED)
        result.outcome = HANDLER_CANCELLED;
    else if (f->shown.len > 0)
        run->output(run, f->shown.data, f->shown.len);
    run->state = NULL;
    buf_done(&f->shown);
    mem_free(f);
    handler_finish(run, &result);
}

/* `operation`: NULL: check. */
static void file_start(struct handler_run *run,
                       void (*operation)(const struct handler_run *, struct handler_result *))
{
    struct file_run *f = MEM_NEW(struct file_run);
    if (!f) {
        handler_fail(run, true, "out of memory");
        return;
    }
    f->run = run;
    f->operation = operation;
    f->work.data = f;
    run->state = f;
    int rc = uv_queue_work(run->host->loop, &f->work, file_work, file_over);
    assert(rc == 0);
}

static void file_prepare(struct handler_run *run)
{
    file_start(run, file_prepare_work);
}

static void file_execute(struct handler_run *run)
{
    file_start(run, execute_work);
}

static void file_rollback(struct handler_run *run)
{
    file_start(run, file_rollback_work);
}

static void file_check(struct handler_run *run)
{
    file_start(run, NULL);
}

static void file_cancel(struct handler_run *run)
{
    struct file_run *f = run->state;
    if (f)
        (void)uv_cancel((uv_req_t *)&f->work);
}

const struct handler file_write_handler = {
    .type = &file_write_type,
    .prepare = file_prepare,
    .execute = file_execute,
    .rollback = file_rollback,
    .check = file_check,
    .cancel = file_cancel,
};
