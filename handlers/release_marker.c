/* release_marker: what a release holds of itself, and what undo needs, as documents. */
#include "common/base/cleanup.h"
#include "common/base/error.h"
#include "handlers/account.h"
#include "handlers/release_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MARKER_MAX = 8192, MARKER_MODE = 0644, DIGEST_SHOWN = 19 /* "sha256:" and 12 digits */ };

/* ---- The documents ----------------------------------------------------------------------- */

#define TEXT_FIELD(type_, name_, member_, flags_, doc_)                                            \
    {                                                                                              \
        .name = (name_), .type = JSON_STRING, JSON_AT(type_, member_), .flags = (flags_),          \
        .max = PATH_MAX, .doc = (doc_)                                                             \
    }
#define NUMBER_FIELD(name_, member_, min_, doc_)                                                   \
    {                                                                                              \
        .name = (name_), .type = JSON_INT, JSON_AT(struct release_marker, member_),                \
        .flags = JSON_REQUIRED, .min = (min_), .max = (double)JSON_INT_MAX, .doc = (doc_)          \
    }

static const struct json_field marker_fields[] = {
    TEXT_FIELD(struct release_marker, "source", source, JSON_REQUIRED, "The archive."),
    NUMBER_FIELD("stripComponents", strip_components, 0, "How it was unpacked."),
    NUMBER_FIELD("uid", uid, FILE_KEEP, "Whose it became; -1: the agent's."),
    NUMBER_FIELD("gid", gid, FILE_KEEP, "Which group's."),
    TEXT_FIELD(struct release_marker, "rollout", rollout, JSON_REQUIRED, "Who has made it."),
    TEXT_FIELD(struct release_marker, "step", step, JSON_REQUIRED, "In which step."),
    {.name = "time",
     .type = JSON_CUSTOM,
     JSON_AT(struct release_marker, time_ms),
     .flags = JSON_REQUIRED,
     .custom = &json_time_custom,
     .doc = "When."},
    NUMBER_FIELD("entries", entries, 0, "How many files, folders and links it has."),
    NUMBER_FIELD("bytes", bytes, 0, "How many bytes its files have."),
    TEXT_FIELD(struct release_marker, "sum", sum, JSON_REQUIRED, "What it came to."),
};
static const struct json_table marker_table = JSON_TABLE_OPEN(
    "release", struct release_marker, marker_fields, "A release, as it was unpacked.");

static const struct json_field kept_fields[] = {
    TEXT_FIELD(struct release_kept, "name", name, JSON_REQUIRED, "The release."),
    TEXT_FIELD(struct release_kept, "archive", archive, JSON_OMIT_EMPTY, "All of it."),
    TEXT_FIELD(struct release_kept, "sha256", sha256, JSON_OMIT_EMPTY, "Of the archive."),
    TEXT_FIELD(struct release_kept, "sum", sum, JSON_OMIT_EMPTY, "What it came to."),
    TEXT_FIELD(struct release_kept, "why", why, JSON_OMIT_EMPTY, "Why it could not be kept."),
};
static const struct json_table kept_table =
    JSON_TABLE("old release", struct release_kept, kept_fields, "A release that is to go.");
static const struct json_field kept_item = {.type = JSON_OBJECT, .table = &kept_table};

static const struct json_field undo_fields[] = {
    {.name = "files",
     .type = JSON_OBJECT,
     JSON_AT(struct release_undo, files),
     .flags = JSON_REQUIRED,
     .table = &file_undo_table,
     .doc = "The link, and folders that were not there."},
    {.name = "led",
     .type = JSON_BOOL,
     JSON_AT(struct release_undo, led),
     .flags = JSON_REQUIRED,
     .doc = "The link led to something."},
    {.name = "old",
     .type = JSON_ARRAY,
     JSON_AT(struct release_undo, old),
     .flags = JSON_OMIT_EMPTY,
     .max = RELEASE_OLD_MAX,
     .item = &kept_item,
     .doc = "Releases that are to go."},
};
const struct json_table release_undo_table = JSON_TABLE(
    "undo of a release", struct release_undo, undo_fields, "What was there before a release.");

void release_undo_done(struct release_undo *undo)
{
    json_release(&release_undo_table, undo);
}

enum error_code release_undo_read(const struct handler_run *run, struct release_undo *ret_undo,
                                  struct error *err)
{
    enum error_code code = json_read(run->undo, strlen(run->undo), HANDLER_UNDO_MAX,
                                     &release_undo_table, ret_undo, err);
    return code == ERR_OK ? ERR_OK : error_wrap(err, "what prepare captured");
}

void release_marker_done(struct release_marker *m)
{
    json_release(&marker_table, m);
}

/* ---- Reading and writing ----------------------------------------------------------------- */

static enum error_code marker_read(int folder_fd, enum release_presence *ret_presence,
                                   struct release_marker *ret_marker, struct error *err)
{
    AUTO_BUF struct buf text = {.max = MARKER_MAX + 1};
    struct stat st;
    AUTO_CLOSE int fd =
        openat(folder_fd, RELEASE_MARKER, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    *ret_presence = RELEASE_FOREIGN;
    if (fd < 0 && errno != ENOENT && errno != ELOOP)
        return error_errno(err, errno, RELEASE_MARKER);
    if (fd < 0 || fstat(fd, &st) != 0 || !S_ISREG(st.st_mode) || st.st_size > MARKER_MAX)
        return ERR_OK;
    enum error_code code = file_read(fd, MARKER_MAX, &text, err);
    if (code != ERR_OK)
        return code;
    if (json_read(text.data ? text.data : "", text.len, MARKER_MAX, &marker_table, ret_marker,
                  NULL) == ERR_OK)
        *ret_presence = RELEASE_THERE;
    return ERR_OK;
}

enum error_code release_look(const struct release_place *p, const char *name,
                             enum release_presence *ret_presence, struct release_marker *ret_marker,
                             struct error *err)
{
    *ret_presence = RELEASE_ABSENT;
    if (p->folder.dir_fd < 0)
        return ERR_OK;
    AUTO_CLOSE int fd =
        openat(p->folder.dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT)
        return ERR_OK;
    *ret_presence = RELEASE_FOREIGN;
    if (fd < 0)
        return errno == ENOTDIR || errno == ELOOP
                   ? ERR_OK
                   : error_errno(err, errno, "cannot open the release %s", name);
    return marker_read(fd, ret_presence, ret_marker, err);
}

static enum error_code marker_put(int fd, const struct buf *text, struct error *err)
{
    for (size_t done = 0; done < text->len;) {
        ssize_t n = write(fd, text->data + done, text->len - done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return error_errno(err, errno, RELEASE_MARKER);
        done += (size_t)n;
    }
    return fchmod(fd, MARKER_MODE) == 0 ? ERR_OK : error_errno(err, errno, RELEASE_MARKER);
}

/* A release's folder may be one that nobody may write into. */
enum error_code release_marker_write(int folder_fd, const struct release_marker *m,
                                     struct error *err)
{
    AUTO_BUF struct buf text = {.max = MARKER_MAX};
    struct stat st;
    json_encode(&text, &marker_table, m);
    buf_putc(&text, '\n');
    enum error_code code = buf_check(&text, err);
    if (code != ERR_OK)
        return code;
    if (fstat(folder_fd, &st) != 0 || fchmod(folder_fd, (st.st_mode & 07777) | 0700) != 0)
        return error_errno(err, errno, RELEASE_MARKER);
    AUTO_CLOSE int fd = openat(folder_fd, RELEASE_MARKER,
                               O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return error_errno(err, errno, RELEASE_MARKER);
    code = marker_put(fd, &text, err);
    if (code == ERR_OK && fchmod(folder_fd, st.st_mode & 07777) != 0)
        code = error_errno(err, errno, "cannot set the mode");
    return code;
}

/* ---- What shall be there ----------------------------------------------------------------- */

enum error_code release_marker_wanted(const struct release_params *params,
                                      struct release_marker *ret_marker, struct error *err)
{
    struct release_marker m = {.source = params->source,
                               .strip_components = params->strip_components,
                               .uid = FILE_KEEP,
                               .gid = FILE_KEEP};
    enum error_code code = params->owner ? account_user_id(params->owner, &m.uid, err) : ERR_OK;
    if (code == ERR_OK && params->group)
        code = account_group_id(params->group, &m.gid, err);
    if (code == ERR_OK)
        *ret_marker = m;
    return code;
}

enum error_code release_usable(const struct release_place *p, enum release_presence presence,
                               const struct release_marker *now,
                               const struct release_marker *wanted, struct error *err)
{
    const char *path = p->target;
    switch (presence) {
    case RELEASE_ABSENT:
        return ERR_OK;
    case RELEASE_FOREIGN:
        return error_set(err, ERR_EXISTS,
                         "%s is there, and no release step has made it; remove it, or give this "
                         "release another name",
                         path);
    case RELEASE_THERE:
        break;
    }
    if (strcmp(now->source, wanted->source) != 0)
        return error_set(err, ERR_EXISTS,
                         "%s is there, made from %.*s...; give this release another name, or "
                         "remove that folder",
                         path, DIGEST_SHOWN, now->source);
    if (now->strip_components != wanted->strip_components || now->uid != wanted->uid ||
        now->gid != wanted->gid)
        return error_set(err, ERR_EXISTS,
                         "%s is there, unpacked with other stripComponents, owner or group; give "
                         "this release another name, or remove that folder",
                         path);
    return ERR_OK;
}
