#include "common/base/alloc.h"
#include "common/base/buf.h"
#include "common/base/cleanup.h"
#include "common/base/text.h"
#include "common/json/json.h"
#include "handlers/file_write_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    LINKS_MAX = 40,
    /* Of a file that is written over: it is copied first. */
    CAPTURE_MAX_BYTES = 256 * 1024 * 1024,
    PATH_SHOWN = 200 /* where a message has more to say */
};

static const char ORIGINAL[] = "original";

/* ---- What prepare captures --------------------------------------------------------------- */

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

void file_undo_done(struct file_undo *undo)
{
    json_release(&undo_table, undo);
}

enum error_code file_undo_read(const struct handler_run *run, struct file_undo *ret_undo,
                               struct error *err)
{
    enum error_code code =
        json_read(run->undo, strlen(run->undo), HANDLER_UNDO_MAX, &undo_table, ret_undo, err);
    return code == ERR_OK ? ERR_OK : error_wrap(err, "what prepare captured");
}

/* The end of a long path says more than its beginning. */
static const char *path_shown(const char *path)
{
    size_t len = strlen(path);
    if (len <= PATH_SHOWN)
        return path;
    path += len - PATH_SHOWN;
    while ((*path & 0xC0) == 0x80) /* not from within a character */
        path++;
    return path;
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
    const struct file_source source = {.fd = fd, .len = (size_t)undo->meta.size};
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

/* Whether the file may be copied at all; ERR_LIMIT, and the result says why. */
static enum error_code original_check(const struct handler_run *run, const struct file_undo *undo,
                                      struct handler_result *result)
{
    int64_t size = undo->meta.size;
    if (size > CAPTURE_MAX_BYTES)
        result_fail(result, false,
                    "%s has %" PRId64
                    " bytes: to be undone it would have to be copied, and no file "
                    "of more than %d MiB is; nothing was changed",
                    path_shown(undo->path), size, CAPTURE_MAX_BYTES / 1024 / 1024);
    else if (!room_fits(run, size))
        result_no_room(result, run, size);
    else
        return ERR_OK;
    return ERR_LIMIT;
}

static enum error_code place_find(const struct handler_run *run, struct file_place *ret_place,
                                  int *ret_fd, struct error *err)
{
    char path[PATH_MAX];
    enum error_code code = path_resolve(run->params, path, err);
    if (code != ERR_OK)
        return code;
    if (!text_utf8_valid(path, strlen(path), NULL))
        return error_set(err, ERR_UNSUPPORTED, "the path that the link leads to is not UTF-8");
    code = file_place_open(path, ret_place, err);
    return code == ERR_OK ? file_write_open(ret_place, ret_fd, err) : code;
}

enum error_code file_write_locate(const struct handler_run *run, struct handler_result *result,
                                  struct file_place *ret_place, int *ret_fd, struct error *err)
{
    AUTO_UNDO struct file_undo undo = {0};
    enum error_code code = place_find(run, ret_place, ret_fd, err);
    if (code != ERR_OK || *ret_fd < 0)
        return code;
    code = file_meta_read(*ret_fd, &undo.meta, err);
    undo.path = code == ERR_OK ? mem_strdup(ret_place->path) : NULL;
    if (code == ERR_OK && !undo.path)
        code = error_set(err, ERR_NO_MEMORY, NULL);
    return code == ERR_OK ? original_check(run, &undo, result) : code;
}

static enum error_code capture(const struct handler_run *run, struct buf *ret_undo,
                               struct handler_result *result, struct error *err)
{
    AUTO_PLACE struct file_place place = FILE_PLACE_INIT;
    AUTO_UNDO struct file_undo undo = {0};
    AUTO_CLOSE int fd = -1;
    char digest[FILE_DIGEST_TEXT] = "";
    enum error_code code = place_find(run, &place, &fd, err);
    if (code != ERR_OK)
        return code;
    undo.path = mem_strdup(place.path);
    if (!undo.path)
        return error_set(err, ERR_NO_MEMORY, NULL);
    if (fd >= 0) {
        undo.existed = true;
        code = file_meta_read(fd, &undo.meta, err);
        if (code != ERR_OK)
            return error_wrap(err, "%s", place.path);
        code = original_check(run, &undo, result);
        if (code == ERR_OK)
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

void file_prepare_work(const struct handler_run *run, struct handler_result *result)
{
    struct error err = {0};
    AUTO_BUF struct buf text = {.max = HANDLER_UNDO_MAX};
    enum error_code code = capture(run, &text, result, &err);
    if (code == ERR_OK) {
        result->undo = buf_take(&text, NULL);
        if (!result->undo)
            code = error_set(&err, ERR_NO_MEMORY, NULL);
    }
    if (code == ERR_OK)
        result_succeed(result, false, "captured");
    else if (result->message[0] == '\0')
        result_fail_error(result, &err);
}

/* ---- What is there instead --------------------------------------------------------------- */

enum present {
    PRESENT_NOTHING,
    PRESENT_ORIGINAL,       /* as prepare found it */
    PRESENT_ORIGINAL_BYTES, /* but for its mode, owner or attributes */
    PRESENT_OURS,           /* the bytes that this step writes */
    PRESENT_FOREIGN,        /* somebody else's */
    PRESENT_FOREIGN_KIND    /* not even a file */
};

enum { FOUND_TEXT_MAX = 320, BYTES_TEXT_MAX = 64, DIGEST_SHOWN = 12 };

struct finding {
    enum present present;
    bool is_folder;
    char text[FOUND_TEXT_MAX]; /* of the foreign ones: "/etc/motd has 12 bytes (sha256 ...)" */
};

static void bytes_text(int64_t size, const char *digest, char ret_text[BYTES_TEXT_MAX])
{
    (void)snprintf(ret_text, BYTES_TEXT_MAX, "%" PRId64 " bytes (sha256 %.*s)", size, DIGEST_SHOWN,
                   digest);
}

static enum error_code finding_classify(const struct handler_run *run, const struct file_undo *undo,
                                        int fd, struct finding *ret_finding, struct error *err)
{
    const struct file_write_params *params = run->params;
    AUTO_META struct file_meta meta = {0};
    char digest[FILE_DIGEST_TEXT], bytes[BYTES_TEXT_MAX];
    bool ours = false;
    enum error_code code = file_digest(fd, digest, err);
    if (code == ERR_OK)
        code = file_meta_read(fd, &meta, err);
    if (code == ERR_OK)
        code = file_holds(fd, params->content, strlen(params->content), &ours, err);
    if (code != ERR_OK)
        return code;
    if (undo->existed && undo->sha256 && strcmp(digest, undo->sha256) == 0)
        ret_finding->present =
            file_meta_equal(&meta, &undo->meta) ? PRESENT_ORIGINAL : PRESENT_ORIGINAL_BYTES;
    else
        ret_finding->present = ours ? PRESENT_OURS : PRESENT_FOREIGN;
    bytes_text(meta.size, digest, bytes);
    (void)snprintf(ret_finding->text, FOUND_TEXT_MAX, "%s has %s", path_shown(undo->path), bytes);
    return ERR_OK;
}

static enum error_code finding_make(const struct handler_run *run, const struct file_undo *undo,
                                    const struct file_place *place, struct finding *ret_finding,
                                    struct error *err)
{
    AUTO_CLOSE int fd = -1;
    enum error_code code = file_write_open(place, &fd, err);
    *ret_finding = (struct finding){.present = PRESENT_NOTHING};
    if (code == ERR_INVALID) {
        struct stat st;
        ret_finding->present = PRESENT_FOREIGN_KIND;
        ret_finding->is_folder =
            fstatat(place->dir_fd, place->name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
            S_ISDIR(st.st_mode);
        (void)snprintf(ret_finding->text, FOUND_TEXT_MAX, "%s", err->message);
        return ERR_OK;
    }
    if (code != ERR_OK || fd < 0)
        return code;
    return finding_classify(run, undo, fd, ret_finding, err);
}

/* Says that somebody else has been there; the result is the operation's. */
static enum error_code conflict_tell(const struct handler_run *run, const struct file_undo *undo,
                                     const struct finding *finding, struct handler_result *result,
                                     struct error *err)
{
    const struct file_write_params *params = run->params;
    size_t len = strlen(params->content);
    char digest[FILE_DIGEST_TEXT], left[BYTES_TEXT_MAX], before[BYTES_TEXT_MAX] = "nothing";
    enum error_code code = data_digest(params->content, len, digest, err);
    if (code != ERR_OK)
        return code;
    bytes_text((int64_t)len, digest, left);
    if (undo->existed && undo->sha256)
        bytes_text(undo->meta.size, undo->sha256, before);
    result_conflict(result, run,
                    "changed by somebody else since: %s, expected were %s as this step left it, or "
                    "%s as it was before",
                    finding->text, left, before);
    return ERR_CONFLICT;
}

/* ---- rollback ---------------------------------------------------------------------------- */

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
    const struct file_source source = {.fd = fd, .len = (size_t)undo->meta.size};
    return file_replace(place, temp, &source, &undo->meta, err);
}

/* ERR_CONFLICT: the result says so already. */
static enum error_code undo_apply(const struct handler_run *run, const struct file_undo *undo,
                                  const struct file_place *place, struct handler_result *result,
                                  struct error *err)
{
    char temp[NAME_MAX + 1];
    struct finding finding;
    file_write_temp(run, place, temp);
    (void)unlinkat(place->dir_fd, temp, 0);
    enum error_code code = finding_make(run, undo, place, &finding, err);
    if (code != ERR_OK)
        return code;
    bool foreign = finding.present == PRESENT_FOREIGN || finding.present == PRESENT_FOREIGN_KIND;
    if (foreign && !run->force)
        return conflict_tell(run, undo, &finding, result, err);
    if (finding.is_folder)
        return error_set(err, ERR_INVALID, "%s; remove it first", finding.text);
    if (finding.present == PRESENT_ORIGINAL ||
        (finding.present == PRESENT_NOTHING && !undo->existed)) {
        code = file_place_sync(place, err); /* perhaps by an earlier run that was cut off */
        if (code == ERR_OK)
            result_succeed(result, false, "%s is as it was", undo->path);
        return code;
    }
    code = undo->existed ? original_restore(run, undo, place, temp, err) : file_remove(place, err);
    if (code == ERR_OK)
        result_succeed(result, false, "%s %s%s", undo->path, undo->existed ? "restored" : "removed",
                       foreign ? ", over what somebody else had left there" : "");
    return code;
}

void file_rollback_work(const struct handler_run *run, struct handler_result *result)
{
    struct error err = {0};
    AUTO_UNDO struct file_undo undo = {0};
    AUTO_PLACE struct file_place place = FILE_PLACE_INIT;
    enum error_code code = file_undo_read(run, &undo, &err);
    if (code == ERR_OK) {
        code = file_place_open(undo.path, &place, &err);
        if (code == ERR_OK)
            code = undo_apply(run, &undo, &place, result, &err);
        else if (code == ERR_NOT_FOUND && !undo.existed)
            result_succeed(result, false, "%s is gone with its folder", undo.path);
    }
    if (code != ERR_OK && result->message[0] == '\0')
        result_fail_error(result, &err);
}
