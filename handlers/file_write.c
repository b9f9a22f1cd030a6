#include "common/base/alloc.h"
#include "common/base/buf.h"
#include "common/base/cleanup.h"
#include "common/base/id.h"
#include "common/base/text.h"
#include "common/json/json.h"
#include "handlers/builtin.h"
#include "handlers/fileio.h"

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
    LINKS_MAX = 40,
    TEMP_NAME_KEPT = 200, /* of the file's own name, so that the whole stays below NAME_MAX */
    DEFAULT_MODE = 0644,
    USER_RECORD_MAX = 1024 * 1024
};

static const char ORIGINAL[] = "original";

/* ---- What prepare captures --------------------------------------------------------------- */

struct file_undo {
    char *path; /* with links followed where the step says so */
    bool existed;
    struct file_meta meta;
    char *sha256; /* of the copy in the step's folder */
};

static const struct json_field undo_fields[] = {
    {.name = "path",
     .type = JSON_STRING,
     JSON_AT(struct file_undo, path),
     .flags = JSON_REQUIRED,
     .min = 1,
     .max = PATH_MAX,
     .doc = "The file, links followed."},
    {.name = "existed",
     .type = JSON_BOOL,
     JSON_AT(struct file_undo, existed),
     .flags = JSON_REQUIRED,
     .doc = "Whether it was there."},
    {.name = "meta",
     .type = JSON_OBJECT,
     JSON_AT(struct file_undo, meta),
     .flags = JSON_REQUIRED,
     .table = &file_meta_table,
     .doc = "What it had besides its bytes."},
    {.name = "sha256",
     .type = JSON_STRING,
     JSON_AT(struct file_undo, sha256),
     .max = FILE_DIGEST_TEXT,
     .doc = "Of its bytes, which are kept beside the journal."},
};
static const struct json_table undo_table =
    JSON_TABLE("file_write undo", struct file_undo, undo_fields, "A file before it was written.");

static void undo_done(struct file_undo *undo)
{
    json_release(&undo_table, undo);
}
#define AUTO_UNDO __attribute__((cleanup(undo_done)))

static void meta_done(struct file_meta *meta)
{
    json_release(&file_meta_table, meta);
}
#define AUTO_META __attribute__((cleanup(meta_done)))

static enum error_code undo_read(const struct handler_run *run, struct file_undo *ret,
                                 struct error *err)
{
    enum error_code code =
        json_read(run->undo, strlen(run->undo), HANDLER_UNDO_MAX, &undo_table, ret, err);
    return code == ERR_OK ? ERR_OK : error_wrap(err, "what prepare captured");
}

static void temp_name(const struct handler_run *run, const struct file_place *place,
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

/* Opens what is at a place. *ret_fd is -1 when there is nothing; ERR_INVALID for what is no regular
 * file. */
static enum error_code present_open(const struct file_place *place, int *ret_fd, struct error *err)
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

/* ---- prepare ----------------------------------------------------------------------------- */

/* Copies the file's bytes into the step's folder. */
static enum error_code original_save(const struct handler_run *run, int fd,
                                     const struct file_undo *undo, char digest[FILE_DIGEST_TEXT],
                                     struct error *err)
{
    char path[PATH_MAX];
    AUTO_PLACE struct file_place copy = FILE_PLACE_INIT;
    AUTO_META struct file_meta after = {0};
    struct file_meta private = FILE_META_INIT;
    private.mode = 0600;
    if (snprintf(path, sizeof(path), "%s/%s", run->undo_dir, ORIGINAL) >= (int)sizeof(path))
        return error_set(err, ERR_INVALID, "the path of the step's folder is too long");
    enum error_code code = file_place_open(path, &copy, err);
    if (code != ERR_OK)
        return code;
    const struct file_source source = {.fd = fd};
    code = file_replace(&copy, "original.part", &source, &private, err);
    if (code != ERR_OK)
        return error_wrap(err, "cannot keep a copy");
    AUTO_CLOSE int copy_fd = openat(copy.dir_fd, copy.name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (copy_fd < 0)
        return error_errno(err, errno, "%s", path);
    code = file_digest(copy_fd, digest, err);
    if (code == ERR_OK)
        code = file_meta_read(fd, &after, err);
    if (code == ERR_OK && !file_meta_equal(&undo->meta, &after))
        code = error_set(err, ERR_BUSY, "%s is being changed by somebody else", undo->path);
    return code;
}

static enum error_code capture(const struct handler_run *run, struct buf *ret_undo,
                               struct error *err)
{
    AUTO_PLACE struct file_place place = FILE_PLACE_INIT;
    AUTO_UNDO struct file_undo undo = {0};
    AUTO_CLOSE int fd = -1;
    char path[PATH_MAX];
    char digest[FILE_DIGEST_TEXT] = "";
    enum error_code code = path_resolve(run->params, path, err);
    if (code != ERR_OK)
        return code;
    if (!text_utf8_valid(path, strlen(path), NULL))
        return error_set(err, ERR_UNSUPPORTED, "the path that the link leads to is not UTF-8");
    code = file_place_open(path, &place, err);
    if (code == ERR_OK)
        code = present_open(&place, &fd, err);
    if (code != ERR_OK)
        return code;
    undo.path = mem_strdup(path);
    if (!undo.path)
        return error_set(err, ERR_NO_MEMORY, NULL);
    if (fd >= 0) {
        undo.existed = true;
        code = file_meta_read(fd, &undo.meta, err);
        if (code != ERR_OK)
            return error_wrap(err, "%s", path);
        code = original_save(run, fd, &undo, digest, err);
        if (code != ERR_OK)
            return code;
    }
    undo.sha256 = mem_strdup(digest);
    if (!undo.sha256)
        return error_set(err, ERR_NO_MEMORY, NULL);
    json_encode(ret_undo, &undo_table, &undo);
    return buf_check(ret_undo, err);
}

static void prepare_work(const struct handler_run *run, struct handler_result *result)
{
    struct error err = {0};
    AUTO_BUF struct buf text = {.max = HANDLER_UNDO_MAX};
    enum error_code code = capture(run, &text, &err);
    if (code == ERR_OK) {
        result->undo = buf_take(&text, NULL);
        if (!result->undo)
            code = error_set(&err, ERR_NO_MEMORY, NULL);
    }
    if (code == ERR_OK)
        result_succeed(result, false, "captured");
    else
        result_fail_error(result, &err);
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
    enum error_code code = undo_read(run, &undo, err);
    if (code == ERR_OK)
        code = file_place_open(undo.path, &place, err);
    if (code == ERR_OK)
        code = present_open(&place, &fd, err);
    if (code == ERR_OK)
        code = meta_wanted(params, fd, &wanted, err);
    if (code == ERR_OK)
        code = same_already(fd, params, &wanted, &same, err);
    if (code != ERR_OK)
        return code;
    temp_name(run, &place, temp);
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

/* ---- rollback ---------------------------------------------------------------------------- */

enum present {
    PRESENT_NOTHING,
    PRESENT_ORIGINAL,       /* as prepare found it */
    PRESENT_ORIGINAL_BYTES, /* but for its mode, owner or attributes */
    PRESENT_OURS,           /* the bytes that this step writes */
    PRESENT_FOREIGN         /* somebody else's */
};

static enum error_code present_classify(const struct handler_run *run, const struct file_undo *undo,
                                        int fd, enum present *ret_present, struct error *err)
{
    const struct file_write_params *params = run->params;
    AUTO_META struct file_meta meta = {0};
    char digest[FILE_DIGEST_TEXT];
    bool ours = false;
    if (fd < 0) {
        *ret_present = PRESENT_NOTHING;
        return ERR_OK;
    }
    enum error_code code = file_digest(fd, digest, err);
    if (code == ERR_OK)
        code = file_meta_read(fd, &meta, err);
    if (code == ERR_OK)
        code = file_holds(fd, params->content, strlen(params->content), &ours, err);
    if (code != ERR_OK)
        return code;
    if (undo->existed && undo->sha256 && strcmp(digest, undo->sha256) == 0)
        *ret_present =
            file_meta_equal(&meta, &undo->meta) ? PRESENT_ORIGINAL : PRESENT_ORIGINAL_BYTES;
    else
        *ret_present = ours ? PRESENT_OURS : PRESENT_FOREIGN;
    return ERR_OK;
}

static enum error_code original_restore(const struct handler_run *run, const struct file_undo *undo,
                                        const struct file_place *place, const char *temp,
                                        struct error *err)
{
    char path[PATH_MAX];
    char digest[FILE_DIGEST_TEXT];
    if (snprintf(path, sizeof(path), "%s/%s", run->undo_dir, ORIGINAL) >= (int)sizeof(path))
        return error_set(err, ERR_INVALID, "the path of the step's folder is too long");
    AUTO_CLOSE int fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return error_errno(err, errno, "cannot open the kept copy %s", path);
    enum error_code code = file_digest(fd, digest, err);
    if (code != ERR_OK)
        return code;
    if (!undo->sha256 || strcmp(digest, undo->sha256) != 0)
        return error_set(err, ERR_CORRUPT, "the kept copy %s is damaged; %s stays as it is", path,
                         undo->path);
    const struct file_source source = {.fd = fd};
    return file_replace(place, temp, &source, &undo->meta, err);
}

static enum error_code undo_apply(const struct handler_run *run, const struct file_undo *undo,
                                  const struct file_place *place, const char **ret_text,
                                  struct error *err)
{
    AUTO_CLOSE int fd = -1;
    char temp[NAME_MAX + 1];
    enum present present = PRESENT_NOTHING;
    temp_name(run, place, temp);
    (void)unlinkat(place->dir_fd, temp, 0);
    enum error_code code = present_open(place, &fd, err);
    if (code == ERR_OK)
        code = present_classify(run, undo, fd, &present, err);
    if (code != ERR_OK)
        return code;
    if (present == PRESENT_FOREIGN)
        return error_set(err, ERR_CONFLICT,
                         "%s was changed by somebody else since; it stays as it is", undo->path);
    if (present == PRESENT_ORIGINAL || (present == PRESENT_NOTHING && !undo->existed)) {
        *ret_text = "is as it was";
        return file_place_sync(place, err); /* perhaps by an earlier run that was cut off */
    }
    *ret_text = undo->existed ? "restored" : "removed";
    return undo->existed ? original_restore(run, undo, place, temp, err) : file_remove(place, err);
}

static void rollback_work(const struct handler_run *run, struct handler_result *result)
{
    struct error err = {0};
    AUTO_UNDO struct file_undo undo = {0};
    AUTO_PLACE struct file_place place = FILE_PLACE_INIT;
    const char *text = "is as it was";
    enum error_code code = undo_read(run, &undo, &err);
    if (code == ERR_OK) {
        code = file_place_open(undo.path, &place, &err);
        if (code == ERR_OK)
            code = undo_apply(run, &undo, &place, &text, &err);
        else if (code == ERR_NOT_FOUND && !undo.existed)
            code = ERR_OK; /* gone with its folder */
    }
    if (code == ERR_OK)
        result_succeed(result, false, "%s %s", undo.path, text);
    else
        result_fail_error(result, &err);
}

/* ---- The runs ---------------------------------------------------------------------------- */

/* All of it blocks, and is over soon: it is not cut off once begun. */
struct file_run {
    uv_work_t work;
    struct handler_run *run;
    void (*operation)(const struct handler_run *run, struct handler_result *result);
    struct handler_result result;
};

static void file_work(uv_work_t *work)
{
    struct file_run *f = work->data;
    f->operation(f->run, &f->result);
}

static void file_over(uv_work_t *work, int status)
{
    struct file_run *f = work->data;
    struct handler_run *run = f->run;
    struct handler_result result = f->result;
    if (status == UV_ECANCELED)
        result.outcome = HANDLER_CANCELLED;
    run->state = NULL;
    mem_free(f);
    handler_finish(run, &result);
}

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
    file_start(run, prepare_work);
}

static void file_execute(struct handler_run *run)
{
    file_start(run, execute_work);
}

static void file_rollback(struct handler_run *run)
{
    file_start(run, rollback_work);
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
    .cancel = file_cancel,
};
