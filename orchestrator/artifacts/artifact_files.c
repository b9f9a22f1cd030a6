#include "orchestrator/artifacts/artifact_files.h"

#include "common/base/buf.h"
#include "common/base/cleanup.h"
#include "common/json/json.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#define FOLDER "artifacts"
#define PART ".part"
#define RECORD ".json"
#define FRESH_RECORD ".json.new"

enum { FILE_NAME_MAX = ARTIFACT_DIGEST_DIGITS + 16, RECORD_MAX = 4096 };

/* ---- Names -------------------------------------------------------------------------------------
 */

struct file_name {
    char text[FILE_NAME_MAX];
};

static struct file_name file_of(const char *digest, const char *suffix)
{
    struct file_name name;
    (void)snprintf(name.text, sizeof(name.text), "%s%s", digest, suffix);
    return name;
}

/* The digits that a name begins with, and what follows. False: it does not begin so. */
static bool name_split(const char *name, char ret_digest[ARTIFACT_DIGEST_BUFFER],
                       const char **ret_suffix)
{
    static const char digits[] = "0123456789abcdef";
    if (strspn(name, digits) != ARTIFACT_DIGEST_DIGITS)
        return false;
    memcpy(ret_digest, name, ARTIFACT_DIGEST_DIGITS);
    ret_digest[ARTIFACT_DIGEST_DIGITS] = '\0';
    *ret_suffix = name + ARTIFACT_DIGEST_DIGITS;
    return true;
}

static enum error_code remove_one(int dir_fd, const struct file_name *name, struct error *err)
{
    if (unlinkat(dir_fd, name->text, 0) == 0 || errno == ENOENT)
        return ERR_OK;
    return error_errno(err, errno, "cannot remove " FOLDER "/%s", name->text);
}

static enum error_code folder_sync(int dir_fd, struct error *err)
{
    return fsync(dir_fd) == 0 ? ERR_OK : error_errno(err, errno, "cannot sync " FOLDER);
}

enum error_code artifact_files_open(const char *dir, int *ret_fd, struct error *err)
{
    AUTO_CLOSE int data_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (data_fd < 0)
        return error_errno(err, errno, "%s", dir);
    if (mkdirat(data_fd, FOLDER, 0700) != 0 && errno != EEXIST)
        return error_errno(err, errno, "%s/" FOLDER, dir);
    int fd = openat(data_fd, FOLDER, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fsync(data_fd) != 0) {
        enum error_code code = error_errno(err, errno, "%s/" FOLDER, dir);
        if (fd >= 0)
            (void)close(fd);
        return code;
    }
    *ret_fd = fd;
    return ERR_OK;
}

/* ---- The record --------------------------------------------------------------------------------
 */

struct record_document {
    char *name, *by;
    int64_t size, created_ms;
};
static const struct json_field record_fields[] = {
    {.name = "size",
     .type = JSON_INT,
     JSON_AT(struct record_document, size),
     .flags = JSON_REQUIRED,
     .max = (double)JSON_INT_MAX,
     .doc = "Bytes."},
    {.name = "name",
     .type = JSON_STRING,
     JSON_AT(struct record_document, name),
     .flags = JSON_OMIT_EMPTY,
     .max = ARTIFACT_NAME_MAX,
     .doc = "For people."},
    {.name = "by",
     .type = JSON_STRING,
     JSON_AT(struct record_document, by),
     .flags = JSON_OMIT_EMPTY,
     .max = ID_MAX,
     .doc = "Who began to upload it."},
    {.name = "created",
     .type = JSON_CUSTOM,
     JSON_AT(struct record_document, created_ms),
     .custom = &json_time_custom,
     .doc = "When that was."},
};
static const struct json_table record_table =
    JSON_TABLE_OPEN("Artifact", struct record_document, record_fields, "Beside an artifact.");

static void record_take(struct artifact_record *record, const struct record_document *document)
{
    if (document->name != NULL)
        memcpy(record->name, document->name, strnlen(document->name, ARTIFACT_NAME_MAX));
    if (document->by != NULL)
        memcpy(record->by, document->by, strnlen(document->by, ID_MAX));
    record->size_bytes = document->size;
    record->created_ms = document->created_ms;
}

/* False: there is none, or it cannot be read: it says nothing that the content needs. */
static bool record_read(int dir_fd, const char *digest, struct artifact_record *ret_record)
{
    const struct file_name name = file_of(digest, RECORD);
    struct record_document document = {0};
    char text[RECORD_MAX];
    AUTO_CLOSE int fd = openat(dir_fd, name.text, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    ssize_t len = fd < 0 ? -1 : read(fd, text, sizeof(text));
    if (len <= 0 ||
        json_read(text, (size_t)len, RECORD_MAX, &record_table, &document, NULL) != ERR_OK)
        return false;
    *ret_record = (struct artifact_record){0};
    record_take(ret_record, &document);
    json_release(&record_table, &document);
    return true;
}

static enum error_code write_all(int fd, const char *data, size_t len, int64_t offset,
                                 struct error *err)
{
    while (len > 0) {
        ssize_t done = pwrite(fd, data, len, (off_t)offset);
        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            return error_errno(err, done == 0 ? EIO : errno, "cannot write an artifact");
        data += done;
        len -= (size_t)done;
        offset += done;
    }
    return ERR_OK;
}

static enum error_code record_text(const struct artifact_record *record, struct buf *text,
                                   struct error *err)
{
    struct record_document document = {.size = record->size_bytes,
                                       .created_ms = record->created_ms};
    document.name = mem_strdup(record->name);
    document.by = mem_strdup(record->by);
    if (document.name == NULL || document.by == NULL)
        text->failed = ERR_NO_MEMORY;
    if (document.name != NULL && document.name[0] == '\0')
        mem_free(TAKE(document.name));
    if (document.by != NULL && document.by[0] == '\0')
        mem_free(TAKE(document.by));
    json_encode(text, &record_table, &document);
    buf_putc(text, '\n');
    json_release(&record_table, &document);
    return buf_check(text, err);
}

static enum error_code record_write(int dir_fd, const char *digest,
                                    const struct artifact_record *record, struct error *err)
{
    AUTO_BUF struct buf text = BUF_INIT;
    const struct file_name fresh = file_of(digest, FRESH_RECORD);
    const struct file_name name = file_of(digest, RECORD);
    enum error_code code = record_text(record, &text, err);
    if (code != ERR_OK)
        return code;
    AUTO_CLOSE int fd = openat(dir_fd, fresh.text, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return error_errno(err, errno, "cannot make " FOLDER "/%s", fresh.text);
    code = write_all(fd, text.data, text.len, 0, err);
    if (code == ERR_OK && fsync(fd) != 0)
        code = error_errno(err, errno, "cannot sync " FOLDER "/%s", fresh.text);
    if (code == ERR_OK && renameat(dir_fd, fresh.text, dir_fd, name.text) != 0)
        code = error_errno(err, errno, "cannot rename " FOLDER "/%s", fresh.text);
    if (code != ERR_OK)
        (void)unlinkat(dir_fd, fresh.text, 0);
    return code;
}

/* ---- What is there -----------------------------------------------------------------------------
 */

/* What a file says about the artifact whose digits its name begins with. */
struct scan {
    int dir_fd;
    enum error_code (*each)(void *ctx, const struct artifact_found *found, struct error *err);
    void *ctx;
};

static int64_t file_size(int dir_fd, const struct file_name *name)
{
    struct stat st;
    if (fstatat(dir_fd, name->text, &st, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISREG(st.st_mode))
        return -1;
    return st.st_size;
}

static enum error_code scan_whole(const struct scan *s, const char *digest, struct error *err)
{
    const struct file_name name = file_of(digest, "");
    struct artifact_found found = {.whole = true};
    memcpy(found.digest, digest, sizeof(found.digest));
    found.offset_bytes = file_size(s->dir_fd, &name);
    if (found.offset_bytes < 0)
        return ERR_OK;
    (void)record_read(s->dir_fd, digest, &found.record);
    found.record.size_bytes = found.offset_bytes;
    return s->each(s->ctx, &found, err);
}

/* Without its record nobody knows how much of it is missing. */
static enum error_code scan_part(const struct scan *s, const char *digest, struct error *err)
{
    const struct file_name whole = file_of(digest, "");
    const struct file_name part = file_of(digest, PART);
    struct artifact_found found = {0};
    memcpy(found.digest, digest, sizeof(found.digest));
    found.offset_bytes = file_size(s->dir_fd, &part);
    if (file_size(s->dir_fd, &whole) >= 0)
        return remove_one(s->dir_fd, &part, err);
    if (found.offset_bytes < 0 || !record_read(s->dir_fd, digest, &found.record) ||
        found.offset_bytes > found.record.size_bytes)
        return artifact_files_remove(s->dir_fd, digest, err);
    return s->each(s->ctx, &found, err);
}

static enum error_code scan_record(const struct scan *s, const char *digest, struct error *err)
{
    const struct file_name whole = file_of(digest, "");
    const struct file_name part = file_of(digest, PART);
    const struct file_name record = file_of(digest, RECORD);
    if (file_size(s->dir_fd, &whole) >= 0 || file_size(s->dir_fd, &part) >= 0)
        return ERR_OK;
    return remove_one(s->dir_fd, &record, err);
}

static enum error_code scan_name(const struct scan *s, const char *name, struct error *err)
{
    char digest[ARTIFACT_DIGEST_BUFFER];
    const char *suffix = NULL;
    if (!name_split(name, digest, &suffix))
        return ERR_OK; /* somebody else's, and none of ours */
    if (suffix[0] == '\0')
        return scan_whole(s, digest, err);
    if (strcmp(suffix, PART) == 0)
        return scan_part(s, digest, err);
    if (strcmp(suffix, RECORD) == 0)
        return scan_record(s, digest, err);
    const struct file_name fresh = file_of(digest, FRESH_RECORD);
    return strcmp(suffix, FRESH_RECORD) == 0 ? remove_one(s->dir_fd, &fresh, err) : ERR_OK;
}

enum error_code artifact_files_scan(int dir_fd,
                                    enum error_code (*each)(void *ctx,
                                                            const struct artifact_found *found,
                                                            struct error *err),
                                    void *ctx, struct error *err)
{
    const struct scan s = {dir_fd, each, ctx};
    const struct dirent *entry = NULL;
    enum error_code code = ERR_OK;
    int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    if (dir == NULL) {
        code = error_errno(err, errno, "cannot read " FOLDER);
        if (fd >= 0)
            (void)close(fd);
        return code;
    }
    while (code == ERR_OK && (errno = 0, entry = readdir(dir)) != NULL)
        code = scan_name(&s, entry->d_name, err);
    if (code == ERR_OK && errno != 0)
        code = error_errno(err, errno, "cannot read " FOLDER);
    (void)closedir(dir);
    return code;
}

/* ---- An upload ---------------------------------------------------------------------------------
 */

enum error_code artifact_files_room(int dir_fd, int64_t need, int64_t free_min, struct error *err)
{
    struct statvfs fs;
    if (fstatvfs(dir_fd, &fs) != 0)
        return error_errno(err, errno, "cannot ask how much of the disk is free");
    int64_t free_bytes = 0;
    if (__builtin_mul_overflow(fs.f_bavail, fs.f_frsize, &free_bytes))
        free_bytes = INT64_MAX;
    if (free_bytes >= free_min && free_bytes - free_min >= need)
        return ERR_OK;
    return error_set(err, ERR_NO_SPACE,
                     "the orchestrator's disk has %lld bytes free, of which %lld stay free: "
                     "%lld more do not fit",
                     (long long)free_bytes, (long long)free_min, (long long)need);
}

enum error_code artifact_files_begin(int dir_fd, const char *digest,
                                     const struct artifact_record *record, struct error *err)
{
    const struct file_name part = file_of(digest, PART);
    enum error_code code = record_write(dir_fd, digest, record, err);
    if (code != ERR_OK)
        return code;
    AUTO_CLOSE int fd = openat(dir_fd, part.text, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd >= 0)
        return ERR_OK;
    code = error_errno(err, errno, "cannot make " FOLDER "/%s", part.text);
    error_ignore(artifact_files_remove(dir_fd, digest, NULL));
    return code;
}

enum error_code artifact_files_append(int dir_fd, const char *digest, int64_t offset,
                                      const char *data, size_t len, struct error *err)
{
    const struct file_name part = file_of(digest, PART);
    AUTO_CLOSE int fd = openat(dir_fd, part.text, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return error_errno(err, errno, FOLDER "/%s", part.text);
    enum error_code code = write_all(fd, data, len, offset, err);
    /* After a restart the file's length tells how far it has come. */
    if (code != ERR_OK && ftruncate(fd, (off_t)offset) != 0)
        return code;
    /* So that not all of it is left for the sync at the end. */
    if (code == ERR_OK)
        (void)sync_file_range(fd, (off_t)offset, (off_t)len, SYNC_FILE_RANGE_WRITE);
    return code;
}

enum error_code artifact_files_read(int dir_fd, const char *digest, bool whole, int *ret_fd,
                                    struct error *err)
{
    const struct file_name name = file_of(digest, whole ? "" : PART);
    int fd = openat(dir_fd, name.text, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return error_errno(err, errno, FOLDER "/%s", name.text);
    *ret_fd = fd;
    return ERR_OK;
}

enum error_code artifact_files_keep(int dir_fd, const char *digest, struct error *err)
{
    const struct file_name part = file_of(digest, PART);
    const struct file_name whole = file_of(digest, "");
    AUTO_CLOSE int fd = openat(dir_fd, part.text, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0 || fsync(fd) != 0)
        return error_errno(err, errno, "cannot sync " FOLDER "/%s", part.text);
    if (renameat(dir_fd, part.text, dir_fd, whole.text) != 0)
        return error_errno(err, errno, "cannot rename " FOLDER "/%s", part.text);
    return folder_sync(dir_fd, err);
}

enum error_code artifact_files_remove(int dir_fd, const char *digest, struct error *err)
{
    static const char *const suffixes[] = {"", PART, RECORD, FRESH_RECORD};
    for (size_t i = 0; i < ARRAY_LEN(suffixes); i++) {
        const struct file_name name = file_of(digest, suffixes[i]);
        enum error_code code = remove_one(dir_fd, &name, err);
        if (code != ERR_OK)
            return code;
    }
    return folder_sync(dir_fd, err);
}
