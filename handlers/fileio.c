#include "handlers/fileio.h"

#include "common/base/failpoint.h"
#include "common/base/text.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

enum {
    CHUNK_BYTES = 64 * 1024,
    ATTRIBUTE_NAMES_MAX = 64 * 1024, /* XATTR_LIST_MAX, and of a value XATTR_SIZE_MAX */
    ATTRIBUTE_VALUE_MAX = 64 * 1024,
    ATTRIBUTES_MAX = 1024
};

/* ---- Places ------------------------------------------------------------------------------ */

enum error_code file_place_open(const char *path, struct file_place *ret_place, struct error *err)
{
    struct file_place place = FILE_PLACE_INIT;
    char folder[PATH_MAX];
    const char *slash = strrchr(path, '/');
    if (path[0] != '/' || slash[1] == '\0')
        return error_set(err, ERR_INVALID, "%s: not the absolute path of a file", path);
    if (strlen(path) >= sizeof(place.path) || strlen(slash + 1) >= sizeof(place.name))
        return error_set(err, ERR_INVALID, "the path is too long");
    size_t folder_len = slash == path ? 1 : (size_t)(slash - path);
    memcpy(folder, path, folder_len);
    folder[folder_len] = '\0';
    memcpy(place.path, path, strlen(path) + 1);
    memcpy(place.name, slash + 1, strlen(slash + 1) + 1);
    place.dir_fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (place.dir_fd < 0) {
        if (errno == ENOENT)
            return error_set(err, ERR_NOT_FOUND, "the folder %s does not exist", folder);
        return error_errno(err, errno, "cannot open the folder %s", folder);
    }
    *ret_place = place;
    return ERR_OK;
}

void file_place_close(struct file_place *place)
{
    if (place->dir_fd >= 0)
        (void)close(place->dir_fd);
    place->dir_fd = -1;
}

/* ---- Bytes ------------------------------------------------------------------------------- */

/* Short only at the end of the file. */
static enum error_code read_at(int fd, void *data, size_t len, uint64_t offset, size_t *ret_len,
                               struct error *err)
{
    size_t done = 0;
    while (done < len) {
        ssize_t got = pread(fd, (char *)data + done, len - done, (off_t)(offset + done));
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return error_errno(err, errno, "cannot read");
        if (got == 0)
            break;
        done += (size_t)got;
    }
    *ret_len = done;
    return ERR_OK;
}

static enum error_code write_all(int fd, const char *data, size_t len, struct error *err)
{
    while (len > 0) {
        ssize_t done = write(fd, data, len);
        if (done < 0 && errno == EINTR)
            continue;
        if (done < 0)
            return error_errno(err, errno, "cannot write");
        data += done;
        len -= (size_t)done;
    }
    return ERR_OK;
}

static enum error_code copy_bytes(int fd, const struct file_source *source, struct error *err)
{
    char chunk[CHUNK_BYTES];
    uint64_t offset = 0;
    if (source->fd < 0)
        return write_all(fd, source->data, source->len, err);
    for (;;) {
        size_t len = 0;
        enum error_code code = read_at(source->fd, chunk, sizeof(chunk), offset, &len, err);
        if (code != ERR_OK || len == 0)
            return code;
        offset += len;
        if (offset > source->len)
            return error_set(err, ERR_BUSY, "it grows: somebody else is writing to it");
        code = write_all(fd, chunk, len, err);
        if (code != ERR_OK)
            return code;
    }
}

enum error_code file_read(int fd, size_t max, struct buf *b, struct error *err)
{
    char chunk[CHUNK_BYTES];
    uint64_t offset = 0;
    for (;;) {
        size_t len = 0;
        enum error_code code = read_at(fd, chunk, sizeof(chunk), offset, &len, err);
        if (code != ERR_OK || len == 0)
            return code == ERR_OK ? buf_check(b, err) : code;
        offset += len;
        if (offset > max)
            return error_set(err, ERR_BUSY, "it grows: somebody else is writing to it");
        buf_append(b, chunk, len);
    }
}

static enum error_code digest_bytes(EVP_MD_CTX *ctx, int fd, struct error *err)
{
    char chunk[CHUNK_BYTES];
    uint64_t offset = 0;
    for (;;) {
        size_t len = 0;
        enum error_code code = read_at(fd, chunk, sizeof(chunk), offset, &len, err);
        if (code != ERR_OK || len == 0)
            return code;
        if (EVP_DigestUpdate(ctx, chunk, len) != 1)
            return error_set(err, ERR_INTERNAL, "SHA-256 failed");
        offset += len;
    }
}

static void hex_write(const unsigned char *bytes, size_t len, char *ret_text)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < len; i++) {
        ret_text[2 * i] = digits[bytes[i] >> 4];
        ret_text[2 * i + 1] = digits[bytes[i] & 15];
    }
    ret_text[2 * len] = '\0';
}

enum error_code file_digest(int fd, char ret_digest[FILE_DIGEST_TEXT], struct error *err)
{
    unsigned char bytes[EVP_MAX_MD_SIZE];
    unsigned int len = 0;
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    if (!ctx)
        return error_set(err, ERR_NO_MEMORY, NULL);
    enum error_code code = EVP_DigestInit_ex(ctx, EVP_sha256(), NULL) == 1
                               ? digest_bytes(ctx, fd, err)
                               : error_set(err, ERR_INTERNAL, "SHA-256 is not available");
    if (code == ERR_OK && EVP_DigestFinal_ex(ctx, bytes, &len) != 1)
        code = error_set(err, ERR_INTERNAL, "SHA-256 failed");
    EVP_MD_CTX_free(ctx);
    if (code != ERR_OK)
        return code;
    assert(2 * len + 1 == FILE_DIGEST_TEXT);
    hex_write(bytes, len, ret_digest);
    return ERR_OK;
}

enum error_code data_digest(const char *data, size_t len, char ret_digest[FILE_DIGEST_TEXT],
                            struct error *err)
{
    unsigned char bytes[EVP_MAX_MD_SIZE];
    unsigned int digest_len = 0;
    if (EVP_Digest(data, len, bytes, &digest_len, EVP_sha256(), NULL) != 1)
        return error_set(err, ERR_INTERNAL, "SHA-256 failed");
    assert(2 * digest_len + 1 == FILE_DIGEST_TEXT);
    hex_write(bytes, digest_len, ret_digest);
    return ERR_OK;
}

enum error_code file_holds(int fd, const char *data, size_t len, bool *ret_same, struct error *err)
{
    char chunk[CHUNK_BYTES];
    size_t offset = 0;
    for (;;) {
        size_t got = 0;
        enum error_code code = read_at(fd, chunk, sizeof(chunk), offset, &got, err);
        if (code != ERR_OK)
            return code;
        bool same = got <= len - offset && memcmp(chunk, data + offset, got) == 0;
        offset += got;
        if (!same || got < sizeof(chunk)) {
            *ret_same = same && offset == len;
            return ERR_OK;
        }
    }
}

/* ---- Extended attributes ----------------------------------------------------------------- */

static const struct json_field attribute_fields[] = {
    {.name = "name",
     .type = JSON_STRING,
     JSON_AT(struct file_attribute, name),
     .flags = JSON_REQUIRED,
     .doc = "Its name."},
    {.name = "value",
     .type = JSON_STRING,
     JSON_AT(struct file_attribute, value),
     .flags = JSON_REQUIRED,
     .doc = "Its bytes in hexadecimal."},
};
static const struct json_table attribute_table =
    JSON_TABLE("attribute", struct file_attribute, attribute_fields, "An extended attribute.");
static const struct json_field attribute_item = {.type = JSON_OBJECT, .table = &attribute_table};

static const struct json_field meta_fields[] = {
    {.name = "mode",
     .type = JSON_INT,
     JSON_AT(struct file_meta, mode),
     .flags = JSON_REQUIRED,
     .min = FILE_KEEP,
     .max = 07777,
     .doc = "Permission bits."},
    {.name = "uid",
     .type = JSON_INT,
     JSON_AT(struct file_meta, uid),
     .flags = JSON_REQUIRED,
     .min = FILE_KEEP,
     .max = UINT32_MAX,
     .doc = "Owner."},
    {.name = "gid",
     .type = JSON_INT,
     JSON_AT(struct file_meta, gid),
     .flags = JSON_REQUIRED,
     .min = FILE_KEEP,
     .max = UINT32_MAX,
     .doc = "Group."},
    {.name = "mtimeSeconds",
     .type = JSON_INT,
     JSON_AT(struct file_meta, mtime_s),
     .flags = JSON_REQUIRED,
     .doc = "When it was last written, in seconds since 1970."},
    {.name = "mtimeNanoseconds",
     .type = JSON_INT,
     JSON_AT(struct file_meta, mtime_ns),
     .flags = JSON_REQUIRED,
     .min = FILE_KEEP,
     .max = 999999999,
     .doc = "And its fraction."},
    {.name = "size",
     .type = JSON_INT,
     JSON_AT(struct file_meta, size),
     .flags = JSON_REQUIRED,
     .min = 0,
     .max = (double)JSON_INT_MAX,
     .doc = "Bytes."},
    {.name = "attributes",
     .type = JSON_ARRAY,
     JSON_AT(struct file_meta, attributes),
     .flags = JSON_OMIT_EMPTY,
     .max = ATTRIBUTES_MAX,
     .item = &attribute_item,
     .doc = "Extended attributes."},
};
const struct json_table file_meta_table =
    JSON_TABLE("file", struct file_meta, meta_fields, "What a file has besides its bytes.");

/* The kernel keeps these itself, from the content. */
static bool kept_by_kernel(const char *name)
{
    return strcmp(name, "security.ima") == 0 || strcmp(name, "security.evm") == 0;
}

/* Its value as hexadecimal text, or NULL in *ret when there is none of that name. */
static enum error_code attribute_read(int fd, const char *name, char **ret_value, struct error *err)
{
    unsigned char bytes[ATTRIBUTE_VALUE_MAX];
    ssize_t len = fgetxattr(fd, name, bytes, sizeof(bytes));
    *ret_value = NULL;
    if (len < 0 && (errno == ENODATA || errno == ENOTSUP))
        return ERR_OK;
    if (len < 0)
        return error_errno(err, errno, "cannot read the attribute %s", name);
    char *value = mem_alloc(2 * (size_t)len + 1);
    if (!value)
        return error_set(err, ERR_NO_MEMORY, NULL);
    hex_write(bytes, (size_t)len, value);
    *ret_value = value;
    return ERR_OK;
}

static enum error_code attribute_add(int fd, const char *name, struct array *attributes,
                                     struct error *err)
{
    struct file_attribute *slot = ARRAY_AT(attributes, struct file_attribute, attributes->count);
    char *value = NULL;
    if (!text_utf8_valid(name, strlen(name), NULL))
        return error_set(err, ERR_UNSUPPORTED, "the name of an attribute is not UTF-8");
    enum error_code code = attribute_read(fd, name, &value, err);
    if (code != ERR_OK || !value)
        return code;
    slot->name = mem_strdup(name);
    slot->value = value;
    attributes->count++; /* from here the array owns both */
    return slot->name ? ERR_OK : error_set(err, ERR_NO_MEMORY, NULL);
}

static enum error_code attributes_read(int fd, struct array *attributes, struct error *err)
{
    char names[ATTRIBUTE_NAMES_MAX];
    ssize_t len = flistxattr(fd, names, sizeof(names));
    if (len < 0 && errno == ENOTSUP)
        return ERR_OK;
    if (len < 0)
        return error_errno(err, errno, "cannot list the attributes");
    size_t count = 0;
    for (const char *name = names; name < names + len; name += strlen(name) + 1)
        count++;
    if (count == 0)
        return ERR_OK;
    if (count > ATTRIBUTES_MAX)
        return error_set(err, ERR_LIMIT, "more than %d extended attributes", ATTRIBUTES_MAX);
    attributes->items = mem_array(count, sizeof(struct file_attribute));
    if (!attributes->items)
        return error_set(err, ERR_NO_MEMORY, NULL);
    for (const char *name = names; name < names + len; name += strlen(name) + 1) {
        enum error_code code =
            kept_by_kernel(name) ? ERR_OK : attribute_add(fd, name, attributes, err);
        if (code != ERR_OK)
            return code;
    }
    return ERR_OK;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static enum error_code attribute_write(int fd, const struct file_attribute *a, struct error *err)
{
    unsigned char bytes[ATTRIBUTE_VALUE_MAX];
    AUTO_FREE char *present = NULL;
    enum error_code code = attribute_read(fd, a->name, &present, err);
    if (code != ERR_OK)
        return code;
    /* A label that the new file was given anyway may need no right to be set. */
    if (present && strcmp(present, a->value) == 0)
        return ERR_OK;
    size_t len = strlen(a->value) / 2;
    if (strlen(a->value) % 2 != 0 || len > sizeof(bytes))
        return error_set(err, ERR_CORRUPT, "the value of the attribute %s", a->name);
    for (size_t i = 0; i < len; i++) {
        int high = hex_digit(a->value[2 * i]), low = hex_digit(a->value[2 * i + 1]);
        if (high < 0 || low < 0)
            return error_set(err, ERR_CORRUPT, "the value of the attribute %s", a->name);
        bytes[i] = (unsigned char)(high * 16 + low);
    }
    if (fsetxattr(fd, a->name, bytes, len, 0) != 0)
        return error_errno(err, errno, "cannot set the attribute %s", a->name);
    return ERR_OK;
}

/* ---- Meta data --------------------------------------------------------------------------- */

enum error_code file_meta_read(int fd, struct file_meta *ret_meta, struct error *err)
{
    struct stat st;
    if (fstat(fd, &st) != 0)
        return error_errno(err, errno, "cannot look at it");
    struct file_meta meta = {
        .mode = st.st_mode & 07777,
        .uid = st.st_uid,
        .gid = st.st_gid,
        .mtime_s = st.st_mtim.tv_sec,
        .mtime_ns = st.st_mtim.tv_nsec,
        .size = st.st_size,
    };
    enum error_code code = attributes_read(fd, &meta.attributes, err);
    if (code != ERR_OK) {
        json_release(&file_meta_table, &meta);
        return code;
    }
    *ret_meta = meta;
    return ERR_OK;
}

static const struct file_attribute *attribute_find(const struct file_meta *meta, const char *name)
{
    for (size_t i = 0; i < meta->attributes.count; i++) {
        const struct file_attribute *a = ARRAY_AT(&meta->attributes, struct file_attribute, i);
        if (strcmp(a->name, name) == 0)
            return a;
    }
    return NULL;
}

bool file_meta_equal(const struct file_meta *a, const struct file_meta *b)
{
    if (a->mode != b->mode || a->uid != b->uid || a->gid != b->gid || a->size != b->size ||
        a->mtime_s != b->mtime_s || a->mtime_ns != b->mtime_ns ||
        a->attributes.count != b->attributes.count)
        return false;
    for (size_t i = 0; i < a->attributes.count; i++) {
        const struct file_attribute *left = ARRAY_AT(&a->attributes, struct file_attribute, i);
        const struct file_attribute *right = attribute_find(b, left->name);
        if (!right || strcmp(left->value, right->value) != 0)
            return false;
    }
    return true;
}

void file_meta_drop(struct file_meta *meta, const char *name)
{
    for (size_t i = 0; i < meta->attributes.count; i++) {
        struct file_attribute *a = ARRAY_AT(&meta->attributes, struct file_attribute, i);
        if (strcmp(a->name, name) != 0)
            continue;
        mem_free(a->name);
        mem_free(a->value);
        *a = *ARRAY_AT(&meta->attributes, struct file_attribute, --meta->attributes.count);
        return;
    }
}

/* Owner first: changing it takes set-user-id bits and capabilities away. The mode after the ACL,
 * whose mask it is. */
static enum error_code meta_write(int fd, const struct file_meta *meta, struct error *err)
{
    if ((meta->uid != FILE_KEEP || meta->gid != FILE_KEEP) &&
        fchown(fd, (uid_t)meta->uid, (gid_t)meta->gid) != 0)
        return error_errno(err, errno, "cannot set the owner");
    for (size_t i = 0; i < meta->attributes.count; i++) {
        enum error_code code =
            attribute_write(fd, ARRAY_AT(&meta->attributes, struct file_attribute, i), err);
        if (code != ERR_OK)
            return code;
    }
    if (meta->mode != FILE_KEEP && fchmod(fd, (mode_t)meta->mode) != 0)
        return error_errno(err, errno, "cannot set the mode");
    const struct timespec times[2] = {
        {.tv_nsec = UTIME_OMIT},
        {.tv_sec = (time_t)meta->mtime_s, .tv_nsec = (long)meta->mtime_ns},
    };
    if (meta->mtime_ns != FILE_KEEP && futimens(fd, times) != 0)
        return error_errno(err, errno, "cannot set the time");
    return ERR_OK;
}

/* ---- Replacing --------------------------------------------------------------------------- */

static enum error_code temp_fill(int fd, const struct file_source *source,
                                 const struct file_meta *meta, struct error *err)
{
    enum error_code code = copy_bytes(fd, source, err);
    if (code == ERR_OK)
        code = meta_write(fd, meta, err);
    if (code == ERR_OK && fsync(fd) != 0)
        code = error_errno(err, errno, "cannot make it durable");
    return code;
}

enum error_code file_place_sync(const struct file_place *place, struct error *err)
{
    if (fsync(place->dir_fd) != 0)
        return error_errno(err, errno, "%s: cannot make its folder durable", place->path);
    return ERR_OK;
}

enum error_code file_replace(const struct file_place *place, const char *temp_name,
                             const struct file_source *source, const struct file_meta *meta,
                             struct error *err)
{
    if (unlinkat(place->dir_fd, temp_name, 0) != 0 && errno != ENOENT)
        return error_errno(err, errno, "%s: cannot remove %s beside it", place->path, temp_name);
    AUTO_CLOSE int fd =
        openat(place->dir_fd, temp_name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return error_errno(err, errno, "%s: cannot make a file beside it", place->path);
    enum error_code code = temp_fill(fd, source, meta, err);
    FAILPOINT(FAIL_FILE_REPLACE);
    if (code == ERR_OK && renameat(place->dir_fd, temp_name, place->dir_fd, place->name) != 0)
        code = error_errno(err, errno, "cannot put the new file in its place");
    if (code != ERR_OK) {
        (void)unlinkat(place->dir_fd, temp_name, 0);
        return error_wrap(err, "%s", place->path);
    }
    FAILPOINT(FAIL_FILE_REPLACED);
    return file_place_sync(place, err);
}

enum error_code file_remove(const struct file_place *place, struct error *err)
{
    if (unlinkat(place->dir_fd, place->name, 0) != 0 && errno != ENOENT)
        return error_errno(err, errno, "cannot remove %s", place->path);
    FAILPOINT(FAIL_FILE_REMOVED);
    return file_place_sync(place, err);
}
