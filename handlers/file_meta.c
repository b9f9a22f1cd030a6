#include "handlers/file_meta.h"

#include "common/base/text.h"
#include "handlers/fileio.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

enum {
    ATTRIBUTE_NAMES_MAX = 64 * 1024, /* XATTR_LIST_MAX, and of a value XATTR_SIZE_MAX */
    ATTRIBUTE_VALUE_MAX = 64 * 1024,
    ATTRIBUTES_MAX = 1024,
    LINK_PATH_MAX = NAME_MAX + 64
};

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

/* Whose attributes: an open file's, or, with a path, those of the symbolic link there, which cannot
 * be opened. */
struct subject {
    int fd;
    const char *link;
};

/* Its value as hexadecimal text, or NULL in *ret when there is none of that name. */
static enum error_code attribute_read(const struct subject *of, const char *name, char **ret_value,
                                      struct error *err)
{
    unsigned char bytes[ATTRIBUTE_VALUE_MAX];
    ssize_t len = of->link ? lgetxattr(of->link, name, bytes, sizeof(bytes))
                           : fgetxattr(of->fd, name, bytes, sizeof(bytes));
    *ret_value = NULL;
    if (len < 0 && (errno == ENODATA || errno == ENOTSUP))
        return ERR_OK;
    if (len < 0)
        return error_errno(err, errno, "cannot read the attribute %s", name);
    char *value = mem_alloc(2 * (size_t)len + 1);
    if (!value)
        return error_set(err, ERR_NO_MEMORY, NULL);
    text_hex(bytes, (size_t)len, value);
    *ret_value = value;
    return ERR_OK;
}

static enum error_code attribute_add(const struct subject *of, const char *name,
                                     struct array *attributes, struct error *err)
{
    struct file_attribute *slot = ARRAY_AT(attributes, struct file_attribute, attributes->count);
    char *value = NULL;
    if (!text_utf8_valid(name, strlen(name), NULL))
        return error_set(err, ERR_UNSUPPORTED, "the name of an attribute is not UTF-8");
    enum error_code code = attribute_read(of, name, &value, err);
    if (code != ERR_OK || !value)
        return code;
    slot->name = mem_strdup(name);
    slot->value = value;
    attributes->count++; /* from here the array owns both */
    return slot->name ? ERR_OK : error_set(err, ERR_NO_MEMORY, NULL);
}

static enum error_code attributes_read(const struct subject *of, struct array *attributes,
                                       struct error *err)
{
    char names[ATTRIBUTE_NAMES_MAX];
    ssize_t len = of->link ? llistxattr(of->link, names, sizeof(names))
                           : flistxattr(of->fd, names, sizeof(names));
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
            kept_by_kernel(name) ? ERR_OK : attribute_add(of, name, attributes, err);
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

static enum error_code attribute_write(const struct subject *of, const struct file_attribute *a,
                                       struct error *err)
{
    unsigned char bytes[ATTRIBUTE_VALUE_MAX];
    AUTO_FREE char *present = NULL;
    enum error_code code = attribute_read(of, a->name, &present, err);
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
    int rc = of->link ? lsetxattr(of->link, a->name, bytes, len, 0)
                      : fsetxattr(of->fd, a->name, bytes, len, 0);
    if (rc != 0)
        return error_errno(err, errno, "cannot set the attribute %s", a->name);
    return ERR_OK;
}

/* ---- Meta data --------------------------------------------------------------------------- */

/* A name in an open folder as a path. */
static const char *link_path(int dir_fd, const char *name, char ret_path[LINK_PATH_MAX])
{
    (void)snprintf(ret_path, LINK_PATH_MAX, "/proc/self/fd/%d/%s", dir_fd, name);
    return ret_path;
}

void file_meta_done(struct file_meta *meta)
{
    json_release(&file_meta_table, meta);
}

static enum error_code meta_read(const struct stat *stp, const struct subject *of,
                                 struct file_meta *ret_meta, struct error *err)
{
    const struct stat st = *stp;
    struct file_meta meta = {
        .mode = st.st_mode & 07777,
        .uid = st.st_uid,
        .gid = st.st_gid,
        .mtime_s = st.st_mtim.tv_sec,
        .mtime_ns = st.st_mtim.tv_nsec,
        .size = st.st_size,
    };
    enum error_code code = attributes_read(of, &meta.attributes, err);
    if (code != ERR_OK) {
        json_release(&file_meta_table, &meta);
        return code;
    }
    *ret_meta = meta;
    return ERR_OK;
}

enum error_code file_meta_read(int fd, struct file_meta *ret_meta, struct error *err)
{
    struct stat st;
    const struct subject of = {.fd = fd};
    if (fstat(fd, &st) != 0)
        return error_errno(err, errno, "cannot look at it");
    return meta_read(&st, &of, ret_meta, err);
}

enum error_code file_meta_read_link(int dir_fd, const char *name, struct file_meta *ret_meta,
                                    struct error *err)
{
    struct stat st;
    char path[LINK_PATH_MAX];
    const struct subject of = {.fd = -1, .link = link_path(dir_fd, name, path)};
    if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) != 0)
        return error_errno(err, errno, "cannot look at it");
    return meta_read(&st, &of, ret_meta, err);
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

static enum error_code attributes_write(const struct subject *of, const struct file_meta *meta,
                                        struct error *err)
{
    for (size_t i = 0; i < meta->attributes.count; i++) {
        enum error_code code =
            attribute_write(of, ARRAY_AT(&meta->attributes, struct file_attribute, i), err);
        if (code != ERR_OK)
            return code;
    }
    return ERR_OK;
}

/* Owner first: changing it takes set-user-id bits and capabilities away. The mode after the ACL,
 * whose mask it is. */
enum error_code file_meta_write(int fd, const struct file_meta *meta, struct error *err)
{
    const struct subject of = {.fd = fd};
    if ((meta->uid != FILE_KEEP || meta->gid != FILE_KEEP) &&
        fchown(fd, (uid_t)meta->uid, (gid_t)meta->gid) != 0)
        return error_errno(err, errno, "cannot set the owner");
    enum error_code code = attributes_write(&of, meta, err);
    if (code != ERR_OK)
        return code;
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

enum error_code file_meta_write_link(int dir_fd, const char *name, const struct file_meta *meta,
                                     struct error *err)
{
    char path[LINK_PATH_MAX];
    const struct subject of = {.fd = -1, .link = link_path(dir_fd, name, path)};
    if ((meta->uid != FILE_KEEP || meta->gid != FILE_KEEP) &&
        fchownat(dir_fd, name, (uid_t)meta->uid, (gid_t)meta->gid, AT_SYMLINK_NOFOLLOW) != 0)
        return error_errno(err, errno, "cannot set the owner");
    enum error_code code = attributes_write(&of, meta, err);
    if (code != ERR_OK)
        return code;
    const struct timespec times[2] = {
        {.tv_nsec = UTIME_OMIT},
        {.tv_sec = (time_t)meta->mtime_s, .tv_nsec = (long)meta->mtime_ns},
    };
    if (meta->mtime_ns != FILE_KEEP && utimensat(dir_fd, name, times, AT_SYMLINK_NOFOLLOW) != 0)
        return error_errno(err, errno, "cannot set the time");
    return ERR_OK;
}
