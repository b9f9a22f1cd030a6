#include "handlers/file_node_internal.h"

#include "common/base/alloc.h"
#include "common/base/cleanup.h"
#include "common/base/id.h"
#include "common/base/text.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    TEMP_NAME_KEPT = 200, /* of the file's own name, so that the whole stays below NAME_MAX */
    DIGEST_SHOWN = 12,
    PATH_SHOWN = 200
};

static const char *const kind_names[FILE_KIND_COUNT] = {
#define X(value, name) [value] = (name),
    FILE_KINDS(X)
#undef X
};
static const struct json_enum kind_values = {kind_names, FILE_KIND_COUNT};

static const struct json_field node_fields[] = {
    {.name = "path",
     .type = JSON_STRING,
     JSON_AT(struct file_node, path),
     .flags = JSON_REQUIRED,
     .min = 1,
     .max = PATH_MAX,
     .doc = "Where it is."},
    {.name = "kind",
     .type = JSON_ENUM,
     JSON_AT(struct file_node, kind),
     .flags = JSON_REQUIRED,
     .values = &kind_values,
     .doc = "What it is."},
    {.name = "meta",
     .type = JSON_OBJECT,
     JSON_AT(struct file_node, meta),
     .flags = JSON_REQUIRED,
     .table = &file_meta_table,
     .doc = "What it has besides its content."},
    {.name = "sha256",
     .type = JSON_STRING,
     JSON_AT(struct file_node, sha256),
     .flags = JSON_OMIT_EMPTY,
     .max = FILE_DIGEST_TEXT,
     .doc = "Of a file's bytes."},
    {.name = "target",
     .type = JSON_STRING,
     JSON_AT(struct file_node, target),
     .flags = JSON_OMIT_EMPTY,
     .max = PATH_MAX,
     .doc = "Where a symbolic link leads."},
    {.name = "names",
     .type = JSON_INT,
     JSON_AT(struct file_node, names),
     .flags = JSON_OMIT_EMPTY,
     .max = (double)JSON_INT_MAX,
     .doc = "How many names a file has."},
    {.name = "copy",
     .type = JSON_STRING,
     JSON_AT(struct file_node, copy),
     .flags = JSON_OMIT_EMPTY,
     .max = COPY_NAME_MAX,
     .doc = "The name of its bytes beside the journal."},
};
const struct json_table file_node_table =
    JSON_TABLE("what was at a path", struct file_node, node_fields, "What was at a path.");

void file_node_done(struct file_node *node)
{
    json_release(&file_node_table, node);
}

/* ---- Texts ------------------------------------------------------------------------------- */

void file_temp_name(const struct handler_run *run, const struct file_place *place,
                    char ret_name[NAME_MAX + 1])
{
    char mark[HANDLER_MARK_MAX];
    handler_mark(run->host->server_id, run->rollout, run->step, mark);
    int kept = (int)text_utf8_cut(place->name, strlen(place->name), TEMP_NAME_KEPT);
    int len = snprintf(ret_name, NAME_MAX + 1, ".%.*s.kitsune-%016" PRIx64, kept, place->name,
                       id_hash(mark));
    assert(len > 0 && len <= NAME_MAX);
}

const char *file_path_shown(const char *path)
{
    size_t len = strlen(path);
    if (len <= PATH_SHOWN)
        return path;
    path += len - PATH_SHOWN;
    while ((*path & 0xC0) == 0x80) /* not from within a character */
        path++;
    return path;
}

void file_left_text(const struct file_left *left, int64_t size, char ret_text[FILE_TEXT_MAX])
{
    switch (left->kind) {
    case FILE_NOTHING:
        (void)snprintf(ret_text, FILE_TEXT_MAX, "nothing");
        return;
    case FILE_REGULAR:
        if (size == FILE_SIZE_UNKNOWN)
            (void)snprintf(ret_text, FILE_TEXT_MAX, "sha256 %.*s", DIGEST_SHOWN, left->sha256);
        else
            (void)snprintf(ret_text, FILE_TEXT_MAX, "%" PRId64 " bytes (sha256 %.*s)", size,
                           DIGEST_SHOWN, left->sha256);
        return;
    case FILE_LINK:
        (void)snprintf(ret_text, FILE_TEXT_MAX, "a symbolic link to %s",
                       left->target ? file_path_shown(left->target) : "?");
        return;
    case FILE_FOLDER:
        (void)snprintf(ret_text, FILE_TEXT_MAX, "a folder");
        return;
    case FILE_SPECIAL:
    case FILE_KIND_COUNT:
        break;
    }
    (void)snprintf(ret_text, FILE_TEXT_MAX, "no regular file");
}

void file_node_text(const struct file_node *node, char ret_text[FILE_TEXT_MAX])
{
    struct file_left as = {.kind = (enum file_kind)node->kind, .target = node->target};
    if (node->sha256)
        (void)snprintf(as.sha256, sizeof(as.sha256), "%s", node->sha256);
    file_left_text(&as, node->meta.size, ret_text);
}

enum error_code file_node_refuse(const struct file_node *node, struct error *err)
{
    static const char *const texts[FILE_KIND_COUNT] = {
        [FILE_NOTHING] = "is not there",          [FILE_REGULAR] = "is a file",
        [FILE_LINK] = "is a symbolic link",       [FILE_FOLDER] = "is a folder",
        [FILE_SPECIAL] = "is not a regular file",
    };
    return error_set(err, ERR_INVALID, "%s %s", node->path, texts[node->kind]);
}

/* ---- Looking ----------------------------------------------------------------------------- */

enum error_code file_open(const struct file_place *place, int *ret_fd, struct error *err)
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

static enum error_code look_at_file(const struct file_place *place, struct file_node *node,
                                    bool with_digest, struct error *err)
{
    AUTO_CLOSE int fd = -1;
    struct stat st;
    char digest[FILE_DIGEST_TEXT];
    enum error_code code = file_open(place, &fd, err);
    if (code != ERR_OK)
        return code;
    if (fd < 0 || fstat(fd, &st) != 0)
        return error_set(err, ERR_BUSY, "%s is being changed by somebody else", place->path);
    node->names = (int64_t)st.st_nlink;
    code = file_meta_read(fd, &node->meta, err);
    if (code != ERR_OK || !with_digest)
        return code;
    code = file_digest(fd, digest, err);
    if (code != ERR_OK)
        return code;
    node->sha256 = mem_strdup(digest);
    return node->sha256 ? ERR_OK : error_set(err, ERR_NO_MEMORY, NULL);
}

static enum error_code look_at_link(const struct file_place *place, struct file_node *node,
                                    struct error *err)
{
    char target[PATH_MAX];
    ssize_t len = readlinkat(place->dir_fd, place->name, target, sizeof(target) - 1);
    if (len < 0)
        return error_errno(err, errno, "%s", place->path);
    if (!text_utf8_valid(target, (size_t)len, NULL))
        return error_set(err, ERR_UNSUPPORTED, "%s: the path that it leads to is not UTF-8",
                         place->path);
    node->target = mem_strndup(target, (size_t)len);
    if (!node->target)
        return error_set(err, ERR_NO_MEMORY, NULL);
    return file_meta_read_link(place->dir_fd, place->name, &node->meta, err);
}

enum error_code file_node_open_folder(const struct file_place *place, int *ret_fd,
                                      struct error *err)
{
    *ret_fd = openat(place->dir_fd, place->name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    return *ret_fd >= 0 ? ERR_OK : error_errno(err, errno, "cannot open %s", place->path);
}

static enum error_code look_at_folder(const struct file_place *place, struct file_node *node,
                                      struct error *err)
{
    AUTO_CLOSE int fd = -1;
    enum error_code code = file_node_open_folder(place, &fd, err);
    return code == ERR_OK ? file_meta_read(fd, &node->meta, err) : code;
}

static enum error_code node_look(const struct file_place *place, bool with_digest,
                                 struct file_node *node, struct error *err)
{
    struct stat st = {0};
    enum error_code code = ERR_OK;
    node->path = mem_strdup(place->path);
    if (!node->path)
        return error_set(err, ERR_NO_MEMORY, NULL);
    if (fstatat(place->dir_fd, place->name, &st, AT_SYMLINK_NOFOLLOW) != 0) {
        node->kind = FILE_NOTHING;
        return errno == ENOENT ? ERR_OK : error_errno(err, errno, "%s", place->path);
    }
    switch (st.st_mode & S_IFMT) {
    case S_IFREG:
        node->kind = FILE_REGULAR;
        code = look_at_file(place, node, with_digest, err);
        break;
    case S_IFLNK:
        node->kind = FILE_LINK;
        code = look_at_link(place, node, err);
        break;
    case S_IFDIR:
        node->kind = FILE_FOLDER;
        code = look_at_folder(place, node, err);
        break;
    default:
        node->kind = FILE_SPECIAL;
        break;
    }
    return code;
}

static enum error_code node_make(const struct file_place *place, bool with_digest,
                                 struct file_node *ret_node, struct error *err)
{
    struct file_node node = {0};
    enum error_code code = node_look(place, with_digest, &node, err);
    if (code == ERR_OK)
        *ret_node = node;
    else
        file_node_done(&node);
    return code;
}

enum error_code file_node_look(const struct file_place *place, struct file_node *ret_node,
                               struct error *err)
{
    return node_make(place, false, ret_node, err);
}

enum error_code file_node_read(const struct file_place *place, struct file_node *ret_node,
                               struct error *err)
{
    return node_make(place, true, ret_node, err);
}

/* ---- Comparing --------------------------------------------------------------------------- */

bool file_node_text_equal(const char *a, const char *b)
{
    return a && b && strcmp(a, b) == 0;
}

/* A folder's size and times are those of what is in it. */
static bool folder_equal(const struct file_meta *a, const struct file_meta *b)
{
    struct file_meta left = *a; /* the attributes stay the other's */
    left.size = b->size;
    left.mtime_s = b->mtime_s;
    left.mtime_ns = b->mtime_ns;
    return file_meta_equal(&left, b);
}

enum file_match file_node_compare(const struct file_node *a, const struct file_node *b)
{
    if (a->kind != b->kind)
        return FILE_DIFFERENT;
    switch ((enum file_kind)a->kind) {
    case FILE_NOTHING:
        return FILE_SAME;
    case FILE_REGULAR:
        if (!file_node_text_equal(a->sha256, b->sha256))
            return FILE_DIFFERENT;
        return file_meta_equal(&a->meta, &b->meta) ? FILE_SAME : FILE_SAME_CONTENT;
    case FILE_LINK:
        if (!file_node_text_equal(a->target, b->target))
            return FILE_DIFFERENT;
        return file_meta_equal(&a->meta, &b->meta) ? FILE_SAME : FILE_SAME_CONTENT;
    case FILE_FOLDER:
        return folder_equal(&a->meta, &b->meta) ? FILE_SAME : FILE_SAME_CONTENT;
    case FILE_SPECIAL:
    case FILE_KIND_COUNT:
        break;
    }
    return FILE_DIFFERENT;
}

bool file_node_left(const struct file_node *now, const struct file_left *left)
{
    if (now->kind != (int)left->kind)
        return false;
    switch (left->kind) {
    case FILE_NOTHING:
    case FILE_FOLDER:
        return true;
    case FILE_REGULAR:
        return file_node_text_equal(now->sha256, left->sha256);
    case FILE_LINK:
        return file_node_text_equal(now->target, left->target);
    case FILE_SPECIAL:
    case FILE_KIND_COUNT:
        break;
    }
    return false;
}
