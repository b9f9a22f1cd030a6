/* archive_unpack: the entries of an archive, one after the other. Where they go is archive_place's.
 */
#include "common/base/alloc.h"
#include "common/base/cleanup.h"
#include "common/base/text.h"
#include "handlers/archive_internal.h"
#include "handlers/file_meta.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PLAIN_BITS = 0777, ALL_BITS = 07777 };

struct unpack {
    struct archive *a;
    const struct archive_rules *rules;
    struct archive_totals totals;
    int64_t seen, seen_bytes; /* of all entries, left out or not */
    struct archive_place place;
    /* The reader. */
    int fd, errnum;
    int64_t offset;
    char block[ARCHIVE_BLOCK_BYTES];
};

/* An entry as it is taken. */
struct taken {
    struct archive_entry *entry;
    const char *path; /* below the folder */
    int64_t size;
};

/* ---- Reading ----------------------------------------------------------------------------- */

static bool is_cancelled(const struct unpack *u)
{
    return u->rules->cancelled && atomic_load(u->rules->cancelled);
}

static la_ssize_t block_read(struct archive *a, void *ctx, const void **ret_block)
{
    struct unpack *u = ctx;
    ssize_t got = -1;
    *ret_block = u->block;
    if (!is_cancelled(u)) {
        do
            got = pread(u->fd, u->block, sizeof(u->block), u->offset);
        while (got < 0 && errno == EINTR);
        u->errnum = got < 0 ? errno : 0;
    }
    if (got < 0)
        archive_set_error(a, EIO, "it cannot be read");
    u->offset += got > 0 ? got : 0;
    return got;
}

/* Why libarchive has failed: it says in its own words also what it was told by the reader. */
static enum error_code read_failed(struct unpack *u, struct error *err)
{
    if (is_cancelled(u))
        return error_set(err, ERR_CANCELLED, NULL);
    if (u->errnum != 0)
        return error_errno(err, u->errnum, "cannot read the archive");
    return archive_say(u->a, ERR_CORRUPT, "the archive is damaged, or none", err);
}

/* An archive that was cut off between two entries looks whole but for the blocks of zeros behind
 * the last one, which libarchive takes where they are. *ret_entry NULL: there is no more. */
static enum error_code header_next(struct unpack *u, struct archive_entry **ret_entry,
                                   struct error *err)
{
    *ret_entry = NULL;
    int rc = u->seen > 0 ? archive_read_data_skip(u->a) : ARCHIVE_OK;
    if (rc != ARCHIVE_OK)
        return read_failed(u, err);
    la_int64_t before = archive_filter_bytes(u->a, 0);
    rc = archive_read_next_header(u->a, ret_entry);
    if (rc == ARCHIVE_EOF && archive_filter_bytes(u->a, 0) == before)
        return error_set(err, ERR_CORRUPT, "the archive is cut off: it has no end");
    /* A warning is about a name or an attribute that was lost. */
    if ((rc != ARCHIVE_OK && rc != ARCHIVE_EOF) || is_cancelled(u))
        return read_failed(u, err);
    *ret_entry = rc == ARCHIVE_OK ? *ret_entry : NULL;
    return ERR_OK;
}

static enum error_code reader_open(struct unpack *u, struct error *err)
{
    u->a = archive_read_new();
    if (!u->a)
        return error_set(err, ERR_NO_MEMORY, NULL);
    if (archive_read_support_format_tar(u->a) != ARCHIVE_OK ||
        archive_read_support_filter_gzip(u->a) != ARCHIVE_OK ||
        archive_read_support_filter_zstd(u->a) != ARCHIVE_OK ||
        archive_read_support_filter_xz(u->a) != ARCHIVE_OK ||
        archive_read_support_filter_bzip2(u->a) != ARCHIVE_OK ||
        archive_read_set_read_callback(u->a, block_read) != ARCHIVE_OK ||
        archive_read_set_callback_data(u->a, u) != ARCHIVE_OK)
        return archive_say(u->a, ERR_UNSUPPORTED, "libarchive", err);
    return archive_read_open1(u->a) == ARCHIVE_OK ? ERR_OK : read_failed(u, err);
}

/* ---- What an entry has besides ----------------------------------------------------------- */

static enum error_code attribute_take(struct file_attribute *slot, const char *name,
                                      const void *value, size_t size, struct error *err)
{
    slot->name = mem_strdup(name);
    slot->value = mem_alloc(2 * size + 1);
    if (!slot->name || !slot->value)
        return error_set(err, ERR_NO_MEMORY, NULL);
    text_hex(value, size, slot->value);
    return ERR_OK;
}

static enum error_code attributes_take(struct archive_entry *entry, struct file_meta *meta,
                                       struct error *err)
{
    const char *name = NULL;
    const void *value = NULL;
    size_t size = 0;
    int count = archive_entry_xattr_reset(entry);
    enum error_code code = ERR_OK;
    if (count <= 0)
        return ERR_OK;
    meta->attributes.items = mem_array((size_t)count, sizeof(struct file_attribute));
    if (!meta->attributes.items)
        return error_set(err, ERR_NO_MEMORY, NULL);
    while (code == ERR_OK && meta->attributes.count < (size_t)count &&
           archive_entry_xattr_next(entry, &name, &value, &size) == ARCHIVE_OK) {
        struct file_attribute *slot =
            ARRAY_AT(&meta->attributes, struct file_attribute, meta->attributes.count++);
        code = attribute_take(slot, name, value, size, err);
    }
    return code;
}

/* On failure too it is the caller's to release. */
static enum error_code meta_take(struct unpack *u, const struct taken *t, struct file_meta *meta,
                                 struct error *err)
{
    const struct archive_rules *rules = u->rules;
    mode_t mode = archive_entry_perm(t->entry) & ALL_BITS;
    *meta = FILE_META_INIT;
    meta->mode = (int64_t)(mode & (rules->exact ? ALL_BITS : PLAIN_BITS));
    meta->uid = rules->exact ? archive_entry_uid(t->entry) : rules->uid;
    meta->gid = rules->exact ? archive_entry_gid(t->entry) : rules->gid;
    if (!rules->exact && (mode & ~(mode_t)PLAIN_BITS) != 0)
        u->totals.dropped++;
    if (archive_entry_mtime_is_set(t->entry)) {
        meta->mtime_s = archive_entry_mtime(t->entry);
        meta->mtime_ns = archive_entry_mtime_nsec(t->entry);
    }
    return rules->exact ? attributes_take(t->entry, meta, err) : ERR_OK;
}

/* ---- Entries ----------------------------------------------------------------------------- */

static enum error_code write_at(int fd, const char *data, size_t len, int64_t offset,
                                const char *path, struct error *err)
{
    while (len > 0) {
        ssize_t done = pwrite(fd, data, len, offset);
        if (done < 0 && errno == EINTR)
            continue;
        if (done < 0)
            return archive_refuse_errno(path, errno, err);
        data += done;
        offset += done;
        len -= (size_t)done;
    }
    return ERR_OK;
}

/* fd -1: it is only read. */
static enum error_code data_take(struct unpack *u, const struct taken *t, int fd, struct error *err)
{
    const void *data = NULL;
    size_t len = 0;
    la_int64_t offset = 0;
    for (;;) {
        int rc = archive_read_data_block(u->a, &data, &len, &offset);
        if (rc == ARCHIVE_EOF)
            break;
        if (rc != ARCHIVE_OK || is_cancelled(u))
            return read_failed(u, err);
        if (offset < 0 || offset > t->size || (int64_t)len > t->size - offset)
            return error_set(err, ERR_CORRUPT, "%s: more bytes than it is said to have",
                             archive_name_shown(t->path));
        enum error_code code = fd < 0 ? ERR_OK : write_at(fd, data, len, offset, t->path, err);
        if (code != ERR_OK)
            return code;
    }
    /* What is at its end and not in the archive is a hole. */
    if (fd >= 0 && ftruncate(fd, t->size) != 0)
        return archive_refuse_errno(t->path, errno, err);
    return ERR_OK;
}

static enum error_code file_take(struct unpack *u, const struct taken *t, struct error *err)
{
    const char *name = NULL;
    AUTO_META struct file_meta meta = {0};
    AUTO_CLOSE int fd = -1;
    enum error_code code = archive_place_open(&u->place, t->path, &name, err);
    if (code == ERR_OK)
        code = archive_place_clear(&u->place, name, t->path, err);
    if (code == ERR_OK)
        code = meta_take(u, t, &meta, err);
    if (code != ERR_OK)
        return code;
    if (u->place.root_fd >= 0) {
        fd = openat(u->place.parent_fd, name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
                    0600);
        if (fd < 0)
            return archive_refuse_errno(t->path, errno, err);
    }
    code = data_take(u, t, fd, err);
    if (code != ERR_OK)
        return code;
    if (fd >= 0 && file_meta_write(fd, &meta, err) != ERR_OK)
        return error_wrap(err, "%s", archive_name_shown(t->path));
    u->totals.bytes += t->size;
    return ERR_OK;
}

static enum error_code folder_take(struct unpack *u, const struct taken *t, struct error *err)
{
    const char *name = NULL;
    struct stat st;
    AUTO_META struct file_meta meta = {0};
    enum error_code code = meta_take(u, t, &meta, err);
    if (code != ERR_OK)
        return code;
    if (t->path[0] != '\0') {
        const struct archive_known *known = archive_place_known(&u->place, t->path);
        code = archive_place_open(&u->place, t->path, &name, err);
        if (code == ERR_OK && known && known->is_link)
            code = archive_refuse(t->path, "the archive has a symbolic link of that name too", err);
    }
    if (code != ERR_OK)
        return code;
    if (name && u->place.root_fd >= 0 && mkdirat(u->place.parent_fd, name, 0700) != 0) {
        if (errno != EEXIST)
            return archive_refuse_errno(t->path, errno, err);
        if (fstatat(u->place.parent_fd, name, &st, AT_SYMLINK_NOFOLLOW) != 0 ||
            !S_ISDIR(st.st_mode))
            return archive_refuse(t->path, "the archive has something else of that name too", err);
    }
    u->totals.has_root = u->totals.has_root || t->path[0] == '\0';
    return archive_place_know(&u->place, t->path, false, &meta, err);
}

static enum error_code symlink_take(struct unpack *u, const struct taken *t, struct error *err)
{
    const char *name = NULL, *target = archive_entry_symlink(t->entry);
    AUTO_META struct file_meta meta = {0};
    struct file_meta none = FILE_META_INIT;
    if (!target || target[0] == '\0' || strlen(target) >= PATH_MAX)
        return archive_refuse(t->path, "where the symbolic link leads is no path", err);
    enum error_code code = archive_place_open(&u->place, t->path, &name, err);
    if (code == ERR_OK)
        code = archive_place_clear(&u->place, name, t->path, err);
    if (code == ERR_OK)
        code = archive_place_know(&u->place, t->path, true, &none, err);
    if (code != ERR_OK || u->place.root_fd < 0)
        return code;
    int64_t dropped = u->totals.dropped; /* a link's own bits say nothing */
    code = meta_take(u, t, &meta, err);
    u->totals.dropped = dropped;
    if (code != ERR_OK)
        return code;
    if (symlinkat(target, u->place.parent_fd, name) != 0)
        return archive_refuse_errno(t->path, errno, err);
    code = file_meta_write_link(u->place.parent_fd, name, &meta, err);
    return code == ERR_OK ? ERR_OK : error_wrap(err, "%s", archive_name_shown(t->path));
}

/* One more name of a file that came before, found as anything else is. */
static enum error_code hardlink_take(struct unpack *u, const struct taken *t, struct error *err)
{
    const char *name = NULL;
    struct archive_path of = {.text = ""};
    struct stat st;
    AUTO_CLOSE int fd = -1;
    enum error_code code =
        archive_path_make(archive_entry_hardlink(t->entry), u->rules->strip_components, &of, err);
    if (code == ERR_OK && (of.text[0] == '\0' || strcmp(of.text, t->path) == 0))
        code = error_set(err, ERR_INVALID, "it is none of the archive's files");
    if (code != ERR_OK)
        return error_wrap(err, "%s: a hard link", archive_name_shown(t->path));
    code = archive_place_open(&u->place, t->path, &name, err);
    if (code == ERR_OK)
        code = archive_place_clear(&u->place, name, t->path, err);
    if (code != ERR_OK || u->place.root_fd < 0)
        return code;
    const char *slash = strrchr(of.text, '/');
    const char *of_name = slash ? slash + 1 : of.text;
    code = archive_place_find(&u->place, of.text, &fd, err);
    if (code == ERR_OK && (fstatat(fd, of_name, &st, AT_SYMLINK_NOFOLLOW) != 0 ||
                           !(S_ISREG(st.st_mode) || S_ISLNK(st.st_mode))))
        code = error_set(err, ERR_INVALID, "%s is not in the archive before it",
                         archive_name_shown(of.text));
    if (code != ERR_OK)
        return error_wrap(err, "%s: a hard link", archive_name_shown(t->path));
    return linkat(fd, of_name, u->place.parent_fd, name, 0) == 0
               ? ERR_OK
               : archive_refuse_errno(t->path, errno, err);
}

static enum error_code kind_take(struct unpack *u, const struct taken *t, struct error *err)
{
    if (archive_entry_hardlink(t->entry))
        return hardlink_take(u, t, err);
    switch (archive_entry_filetype(t->entry)) {
    case AE_IFREG:
        return file_take(u, t, err);
    case AE_IFDIR:
        return folder_take(u, t, err);
    case AE_IFLNK:
        return symlink_take(u, t, err);
    case AE_IFBLK:
    case AE_IFCHR:
        return archive_refuse(t->path, "the entry is a device", err);
    case AE_IFIFO:
        return archive_refuse(t->path, "the entry is a pipe", err);
    case AE_IFSOCK:
        return archive_refuse(t->path, "the entry is a socket", err);
    default: /* of no enum */
        return archive_refuse(t->path, "the entry is neither file, folder nor link", err);
    }
}

/* Before anything of it is read: what it says of its size holds, or it is corrupt. */
static enum error_code limits_check(struct unpack *u, const struct archive_path *path,
                                    int64_t size_bytes, struct error *err)
{
    const struct archive_rules *rules = u->rules;
    int64_t max_entries = rules->max_entries > 0 ? rules->max_entries : ARCHIVE_ENTRIES_MAX;
    const char *shown = archive_name_shown(path->text);
    if (++u->seen > max_entries)
        return error_set(err, ERR_LIMIT, "%s: more than %" PRId64 " entries", shown, max_entries);
    if (size_bytes < 0)
        return error_set(err, ERR_CORRUPT, "%s: its size is below 0", shown);
    if (rules->max_bytes > 0 && size_bytes > rules->max_bytes - u->seen_bytes)
        return error_set(err, ERR_LIMIT, "%s: with it more than %" PRId64 " bytes are unpacked",
                         shown, rules->max_bytes);
    u->seen_bytes += rules->max_bytes > 0 ? size_bytes : 0;
    return ERR_OK;
}

static bool is_reserved(const struct unpack *u, const char *path)
{
    const char *reserved = u->rules->reserved;
    size_t len = reserved ? strlen(reserved) : 0;
    return reserved && strncmp(path, reserved, len) == 0 && (path[len] == '\0' || path[len] == '/');
}

static enum error_code entry_take(struct unpack *u, struct archive_entry *entry, struct error *err)
{
    struct archive_path path = {.text = ""};
    int64_t size_bytes = archive_entry_size_is_set(entry) ? archive_entry_size(entry) : 0;
    enum error_code code =
        archive_path_make(archive_entry_pathname(entry), u->rules->strip_components, &path, err);
    if (code == ERR_OK)
        code = limits_check(u, &path, size_bytes, err);
    if (code != ERR_OK)
        return code;
    const struct taken t = {.entry = entry, .path = path.text, .size = size_bytes};
    if (path.text[0] == '\0' && (path.components > 0 || u->rules->strip_components > 0))
        return ERR_OK; /* nothing is left of its name */
    if (path.text[0] == '\0' && archive_entry_filetype(entry) != AE_IFDIR)
        return error_set(err, ERR_INVALID, "an entry that is no folder has no name");
    if (is_reserved(u, path.text))
        return archive_refuse(path.text, "the name is the step's own", err);
    code = kind_take(u, &t, err);
    u->totals.entries += code == ERR_OK && path.text[0] != '\0' ? 1 : 0;
    return code;
}

/* ---- All of it --------------------------------------------------------------------------- */

static enum error_code entries_take(struct unpack *u, struct error *err)
{
    struct archive_entry *entry = NULL;
    enum error_code code = header_next(u, &entry, err);
    while (code == ERR_OK && entry) {
        code = entry_take(u, entry, err);
        if (code == ERR_OK)
            code = header_next(u, &entry, err);
    }
    if (code == ERR_OK && u->totals.entries == 0 && !u->rules->exact)
        code = error_set(err, ERR_INVALID,
                         u->seen > 0 ? "nothing is left of the archive's %" PRId64 " entries"
                                     : "there is nothing in the archive (%" PRId64 " entries)",
                         u->seen);
    return code == ERR_OK && u->place.root_fd >= 0 ? archive_place_finish(&u->place, err) : code;
}

static void unpack_done(struct unpack *u)
{
    archive_place_done(&u->place);
    if (u->a)
        (void)archive_read_free(u->a);
    mem_free(u);
}

static enum error_code unpack(int archive_fd, int folder_fd, const struct archive_rules *rules,
                              struct archive_totals *ret_totals, struct error *err)
{
    AUTO_LOCALE struct archive_locale names = archive_locale_begin();
    struct unpack *u = MEM_NEW(struct unpack);
    if (!u)
        return error_set(err, ERR_NO_MEMORY, NULL);
    u->rules = rules;
    u->fd = archive_fd;
    u->place = (struct archive_place){
        .root_fd = folder_fd, .parent_fd = -1, .uid = rules->uid, .gid = rules->gid};
    enum error_code code = reader_open(u, err);
    if (code == ERR_OK)
        code = entries_take(u, err);
    if (code == ERR_OK)
        *ret_totals = u->totals;
    unpack_done(u);
    return code;
}

enum error_code archive_unpack(int archive_fd, int folder_fd, const struct archive_rules *rules,
                               struct archive_totals *ret_totals, struct error *err)
{
    return unpack(archive_fd, folder_fd, rules, ret_totals, err);
}

enum error_code archive_measure(int archive_fd, const struct archive_rules *rules,
                                struct archive_totals *ret_totals, struct error *err)
{
    return unpack(archive_fd, -1, rules, ret_totals, err);
}
