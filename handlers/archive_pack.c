/* archive_pack: a folder as an archive from which archive_unpack makes it again, exactly. */
#include "common/base/alloc.h"
#include "common/base/cleanup.h"
#include "common/base/text.h"
#include "handlers/archive_internal.h"
#include "handlers/tree.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

/* What an entry has besides may take a MiB in all where it is read. */
enum { ATTRIBUTES_MAX_BYTES = 256 * 1024 };

struct pack {
    struct archive *a;
    struct archive_entry_linkresolver *links;
    int fd, errnum;
    int64_t written, max_bytes;
    bool full;
    const atomic_bool *cancelled;
    char block[ARCHIVE_BLOCK_BYTES];
};

/* ---- Writing ----------------------------------------------------------------------------- */

static bool is_cancelled(const struct pack *p)
{
    return p->cancelled && atomic_load(p->cancelled);
}

static la_ssize_t block_write(struct archive *a, void *ctx, const void *block, size_t len)
{
    struct pack *p = ctx;
    ssize_t done = -1;
    p->full = p->full || (p->max_bytes > 0 && (int64_t)len > p->max_bytes - p->written);
    if (!p->full && !is_cancelled(p)) {
        do
            done = write(p->fd, block, len);
        while (done < 0 && errno == EINTR);
        p->errnum = done < 0 ? errno : 0;
    }
    if (done < 0)
        archive_set_error(a, EIO, "it cannot be written");
    p->written += done > 0 ? done : 0;
    return done;
}

static enum error_code write_failed(const struct pack *p, struct error *err)
{
    if (is_cancelled(p))
        return error_set(err, ERR_CANCELLED, NULL);
    if (p->full)
        return error_set(err, ERR_LIMIT, "it takes more than %" PRId64 " bytes", p->max_bytes);
    if (p->errnum != 0)
        return error_errno(err, p->errnum, "cannot write an archive");
    return archive_say(p->a, ERR_INTERNAL, "cannot make an archive", err);
}

static enum error_code writer_open(struct pack *p, struct error *err)
{
    p->a = archive_write_new();
    p->links = archive_entry_linkresolver_new();
    if (!p->a || !p->links)
        return error_set(err, ERR_NO_MEMORY, NULL);
    archive_entry_linkresolver_set_strategy(p->links, ARCHIVE_FORMAT_TAR_PAX_INTERCHANGE);
    /* The attributes' names in the form that takes any of them. */
    if (archive_write_set_format_pax(p->a) != ARCHIVE_OK ||
        archive_write_add_filter_zstd(p->a) != ARCHIVE_OK ||
        archive_write_set_format_option(p->a, "pax", "xattrheader", "LIBARCHIVE") != ARCHIVE_OK ||
        archive_write_set_bytes_in_last_block(p->a, 1) != ARCHIVE_OK)
        return archive_say(p->a, ERR_UNSUPPORTED, "libarchive", err);
    return archive_write_open2(p->a, p, NULL, block_write, NULL, NULL) == ARCHIVE_OK
               ? ERR_OK
               : write_failed(p, err);
}

/* ---- One entry --------------------------------------------------------------------------- */

static enum error_code attributes_put(const struct file_meta *meta, struct archive_entry *entry,
                                      struct error *err)
{
    size_t total = 0;
    for (size_t i = 0; i < meta->attributes.count; i++) {
        const struct file_attribute *a = ARRAY_AT(&meta->attributes, struct file_attribute, i);
        size_t len = strlen(a->value) / 2;
        AUTO_FREE unsigned char *bytes = mem_alloc(len + 1);
        total += len + strlen(a->name);
        if (total > ATTRIBUTES_MAX_BYTES)
            return error_set(err, ERR_LIMIT, "more than %d bytes of extended attributes",
                             ATTRIBUTES_MAX_BYTES);
        if (!bytes)
            return error_set(err, ERR_NO_MEMORY, NULL);
        if (!text_unhex(a->value, bytes, len))
            return error_set(err, ERR_INTERNAL, "the attribute %s", a->name);
        archive_entry_xattr_add_entry(entry, a->name, bytes, len);
    }
    return ERR_OK;
}

static enum error_code meta_put(const struct tree_item *item, const struct file_meta *meta,
                                struct archive_entry *entry, struct error *err)
{
    const struct statx *st = &item->st;
    archive_entry_set_pathname(entry, item->path[0] != '\0' ? item->path : ".");
    archive_entry_set_filetype(entry, st->stx_mode & S_IFMT);
    archive_entry_set_perm(entry, (mode_t)meta->mode);
    archive_entry_set_uid(entry, meta->uid);
    archive_entry_set_gid(entry, meta->gid);
    archive_entry_set_mtime(entry, (time_t)meta->mtime_s, (long)meta->mtime_ns);
    archive_entry_set_size(entry, S_ISREG(st->stx_mode) ? meta->size : 0);
    archive_entry_set_nlink(entry, st->stx_nlink);
    archive_entry_set_ino64(entry, (la_int64_t)st->stx_ino);
    archive_entry_set_dev(entry, makedev(st->stx_dev_major, st->stx_dev_minor));
    return attributes_put(meta, entry, err);
}

/* Opens a file or folder; of a link it is the place where it leads. */
static enum error_code item_read(const struct tree_item *item, int *ret_fd, char target[PATH_MAX],
                                 struct file_meta *meta, struct error *err)
{
    target[0] = '\0';
    if (S_ISLNK(item->st.stx_mode)) {
        ssize_t len = readlinkat(item->dir_fd, item->name, target, PATH_MAX - 1);
        target[len > 0 ? len : 0] = '\0';
        if (len < 0)
            return error_errno(err, errno, "%s", archive_name_shown(item->path));
        return file_meta_read_link(item->dir_fd, item->name, meta, err);
    }
    *ret_fd =
        openat(item->dir_fd, item->name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (*ret_fd < 0)
        return error_errno(err, errno, "cannot open %s", archive_name_shown(item->path));
    return file_meta_read(*ret_fd, meta, err);
}

/* A file that has become shorter is found by the caller, who compares; one that has become longer
 * is cut where it was. */
static enum error_code bytes_write(struct pack *p, int fd, int64_t size, struct error *err)
{
    for (int64_t done = 0; done < size;) {
        size_t wanted =
            size - done < ARCHIVE_BLOCK_BYTES ? (size_t)(size - done) : (size_t)ARCHIVE_BLOCK_BYTES;
        ssize_t got = pread(fd, p->block, wanted, done);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return error_errno(err, errno, "cannot read it");
        if (got == 0)
            return error_set(err, ERR_BUSY, "it is being changed by somebody else");
        if (is_cancelled(p) || archive_write_data(p->a, p->block, (size_t)got) != got)
            return write_failed(p, err);
        done += got;
    }
    return ERR_OK;
}

static enum error_code entry_write(struct pack *p, struct archive_entry **entry, int fd,
                                   struct error *err)
{
    struct archive_entry *spare = NULL;
    archive_entry_linkify(p->links, entry, &spare);
    int64_t size = archive_entry_size_is_set(*entry) ? archive_entry_size(*entry) : 0;
    /* A warning is about what could not be written as it is. */
    if (archive_write_header(p->a, *entry) != ARCHIVE_OK)
        return write_failed(p, err);
    return size > 0 ? bytes_write(p, fd, size, err) : ERR_OK;
}

static bool is_utf8(const char *text)
{
    return text_utf8_valid(text, strlen(text), NULL);
}

static enum error_code item_pack(void *ctx, const struct tree_item *item, struct error *err)
{
    struct pack *p = ctx;
    AUTO_META struct file_meta meta = {0};
    AUTO_CLOSE int fd = -1;
    char target[PATH_MAX];
    mode_t kind = item->st.stx_mode & S_IFMT;
    if (kind != S_IFREG && kind != S_IFDIR && kind != S_IFLNK)
        return error_set(err, ERR_INVALID, "%s is neither file, folder nor link",
                         archive_name_shown(item->path));
    enum error_code code = item_read(item, &fd, target, &meta, err);
    if (code != ERR_OK)
        return code;
    if (!is_utf8(item->path) || !is_utf8(target))
        return error_set(err, ERR_UNSUPPORTED, "a name in it is not UTF-8");
    struct archive_entry *entry = archive_entry_new();
    if (!entry)
        return error_set(err, ERR_NO_MEMORY, NULL);
    code = meta_put(item, &meta, entry, err);
    if (code == ERR_OK && kind == S_IFLNK)
        archive_entry_set_symlink(entry, target);
    if (code == ERR_OK)
        code = entry_write(p, &entry, fd, err);
    archive_entry_free(entry);
    return code == ERR_OK || code == ERR_CANCELLED
               ? code
               : error_wrap(err, "%s", archive_name_shown(item->path));
}

/* ---- All of it --------------------------------------------------------------------------- */

static enum error_code pack(struct pack *p, int dir_fd, const char *name, struct error *err)
{
    AUTO_LOCALE struct archive_locale names = archive_locale_begin();
    const struct tree_visitor visitor = {.visit = item_pack, .ctx = p, .cancelled = p->cancelled};
    enum error_code code = writer_open(p, err);
    if (code == ERR_OK)
        code = tree_walk(dir_fd, name, &visitor, err);
    if (code == ERR_OK && archive_write_close(p->a) != ARCHIVE_OK)
        code = write_failed(p, err);
    if (p->a)
        (void)archive_write_free(p->a);
    if (p->links)
        archive_entry_linkresolver_free(p->links);
    return code;
}

/* What was packed can be unpacked, and is what is there. */
static enum error_code pack_verify(const struct pack *p, const struct tree_sum *sum,
                                   struct error *err)
{
    const struct archive_rules rules = {
        .uid = FILE_KEEP, .gid = FILE_KEEP, .exact = true, .cancelled = p->cancelled};
    struct archive_totals totals = {0};
    enum error_code code = archive_measure(p->fd, &rules, &totals, err);
    if (code == ERR_OK && totals.entries != sum->entries)
        code = error_set(err, ERR_INTERNAL, "the archive has %" PRId64 " of %" PRId64 " entries",
                         totals.entries, sum->entries);
    return code;
}

enum error_code archive_pack(int dir_fd, const char *name, int archive_fd, int64_t max_bytes,
                             const atomic_bool *cancelled, struct error *err)
{
    struct tree_sum before = {0}, after = {0};
    AUTO_FREE struct pack *p = MEM_NEW(struct pack);
    if (!p)
        return error_set(err, ERR_NO_MEMORY, NULL);
    p->fd = archive_fd;
    p->max_bytes = max_bytes;
    p->cancelled = cancelled;
    enum error_code code = tree_sum(dir_fd, name, NULL, cancelled, &before, err);
    if (code == ERR_OK)
        code = pack(p, dir_fd, name, err);
    if (code == ERR_OK)
        code = tree_sum(dir_fd, name, NULL, cancelled, &after, err);
    if (code == ERR_OK && before.sum != after.sum)
        code = error_set(err, ERR_BUSY, "%s is being changed by somebody else", name);
    return code == ERR_OK ? pack_verify(p, &before, err) : code;
}
