#include "unit/handlers/support_archive.h"

#include "common/base/alloc.h"
#include "common/base/cleanup.h"
#include "handlers/fileio.h"

#include <archive.h>
#include <archive_entry.h>
#include <fcntl.h>
#include <locale.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* ---- Archives ---------------------------------------------------------------------------- */

static mode_t kind_of(const struct made *made)
{
    if (made->kind != 0)
        return made->kind;
    return made->name[0] != '\0' && made->name[strlen(made->name) - 1] == '/' ? S_IFDIR : S_IFREG;
}

static void write_zeros(struct archive *a, int64_t count)
{
    static const char zeros[64 * 1024];
    while (count > 0) {
        size_t len = count < (int64_t)sizeof(zeros) ? (size_t)count : sizeof(zeros);
        assert_int_equal(archive_write_data(a, zeros, len), (la_ssize_t)len);
        count -= (int64_t)len;
    }
}

static void write_entry(struct archive *a, const struct made *made)
{
    struct archive_entry *entry = archive_entry_new();
    assert_non_null(entry);
    mode_t kind = kind_of(made);
    size_t len = made->text && kind == S_IFREG ? strlen(made->text) : 0;
    archive_entry_set_pathname(entry, made->name);
    archive_entry_set_filetype(entry, kind);
    archive_entry_set_perm(entry, made->mode != 0 ? made->mode : kind == S_IFDIR ? 0755 : 0644);
    archive_entry_set_uid(entry, 4242);
    archive_entry_set_gid(entry, 4243);
    archive_entry_set_mtime(entry, made->time != 0 ? made->time : 1000000000, 0);
    if (made->hardlink)
        archive_entry_set_hardlink(entry, made->hardlink);
    else
        archive_entry_set_size(entry, made->zeros > 0 ? made->zeros : (int64_t)len);
    if (kind == S_IFLNK)
        archive_entry_set_symlink(entry, made->text);
    assert_true(archive_write_header(a, entry) >= ARCHIVE_WARN);
    if (made->zeros > 0)
        write_zeros(a, made->zeros);
    else if (len > 0 && !made->hardlink)
        assert_int_equal(archive_write_data(a, made->text, len), (la_ssize_t)len);
    archive_entry_free(entry);
}

static void write_all(const char *path, const struct made *entries, enum packing packing, bool raw)
{
    static int (*const filters[PACKING_COUNT])(struct archive *) = {
        [PACKING_NONE] = archive_write_add_filter_none,
        [PACKING_GZIP] = archive_write_add_filter_gzip,
        [PACKING_ZSTD] = archive_write_add_filter_zstd,
        [PACKING_XZ] = archive_write_add_filter_xz,
        [PACKING_BZIP2] = archive_write_add_filter_bzip2,
    };
    locale_t utf8 = newlocale(LC_CTYPE_MASK, raw ? "C" : "C.UTF-8", (locale_t)0);
    locale_t before = uselocale(utf8);
    struct archive *a = archive_write_new();
    assert_non_null(a);
    assert_int_equal(raw ? archive_write_set_format_ustar(a) : archive_write_set_format_pax(a),
                     ARCHIVE_OK);
    assert_int_equal(filters[packing](a), ARCHIVE_OK);
    /* The same entries are the same archive. */
    if (packing == PACKING_GZIP)
        assert_int_equal(archive_write_set_filter_option(a, "gzip", "timestamp", NULL), ARCHIVE_OK);
    assert_int_equal(archive_write_open_filename(a, path), ARCHIVE_OK);
    for (const struct made *made = entries; made->name; made++)
        write_entry(a, made);
    assert_int_equal(archive_write_close(a), ARCHIVE_OK);
    (void)archive_write_free(a);
    (void)uselocale(before);
    freelocale(utf8);
}

void archive_make(const char *path, const struct made *entries, enum packing packing)
{
    write_all(path, entries, packing, false);
}

void archive_make_raw(const char *path, const struct made *entries)
{
    write_all(path, entries, PACKING_NONE, true);
}

/* ---- Artifacts --------------------------------------------------------------------------- */

static void shelf_close(struct shelf *shelf)
{
    shelf->open = false;
    uv_close((uv_handle_t *)&shelf->answer, NULL);
}

static void shelf_answer(uv_async_t *async)
{
    struct shelf *shelf = async->data;
    struct error err = {0};
    char path[PATH_MAX];
    struct stat st;
    if (shelf->holds) {
        shelf->holds = false;
        bed_cancel(shelf->bed);
        return;
    }
    shelf_close(shelf);
    (void)snprintf(path, sizeof(path), "%s/shelf/%s", shelf->bed->dir, shelf->digest);
    struct artifact artifact = {.fd = open(path, O_RDONLY | O_CLOEXEC)};
    if (shelf->fails || artifact.fd < 0) {
        if (artifact.fd >= 0)
            (void)close(artifact.fd);
        error_ignore(error_set(&err, ERR_NOT_FOUND, "there is no such artifact"));
        shelf->wish.done(shelf->wish.ctx, NULL, shelf->fails ? shelf->fails : &err);
        return;
    }
    assert_int_equal(fstat(artifact.fd, &st), 0);
    artifact.size_bytes = st.st_size;
    shelf->wish.done(shelf->wish.ctx, &artifact, NULL);
}

static enum error_code shelf_get(void *ctx, const struct artifact_wish *wish,
                                 struct artifact_request **ret_request, struct error *err)
{
    struct shelf *shelf = ctx;
    (void)err;
    assert_false(shelf->open);
    assert_string_equal(wish->rollout, "rollout-1");
    shelf->wish = *wish;
    (void)snprintf(shelf->digest, sizeof(shelf->digest), "%s", wish->digest);
    shelf->gets++;
    shelf->open = true;
    assert_int_equal(uv_async_init(&shelf->bed->loop, &shelf->answer, shelf_answer), 0);
    shelf->answer.data = shelf;
    assert_int_equal(uv_async_send(&shelf->answer), 0);
    *ret_request = (struct artifact_request *)(void *)shelf;
    return ERR_OK;
}

static void shelf_cancel(void *ctx, struct artifact_request *request)
{
    struct shelf *shelf = ctx;
    assert_ptr_equal(request, shelf);
    assert_true(shelf->open);
    shelf->cancels++;
    shelf_close(shelf);
}

void shelf_open(struct shelf *shelf, struct bed *bed)
{
    *shelf = (struct shelf){.source = {.ctx = shelf, .get = shelf_get, .cancel = shelf_cancel},
                            .bed = bed};
    bed->host.artifacts = &shelf->source;
    assert_int_equal(mkdir(bed_path(bed, "shelf"), 0700), 0);
}

const char *shelf_put_file(struct shelf *shelf, const char *path)
{
    static char names[4][ARTIFACT_NAME_BUFFER];
    static size_t next;
    char *name = names[next++ % 4];
    char digest[FILE_DIGEST_TEXT], target[PATH_MAX];
    struct error err = {0};
    AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(file_digest(fd, digest, &err), ERR_OK);
    (void)snprintf(target, sizeof(target), "%s/shelf/%s", shelf->bed->dir, digest);
    assert_int_equal(rename(path, target), 0);
    (void)snprintf(name, ARTIFACT_NAME_BUFFER, ARTIFACT_PREFIX "%s", digest);
    return name;
}

const char *shelf_put(struct shelf *shelf, const struct made *entries, enum packing packing)
{
    char path[PATH_MAX];
    (void)snprintf(path, sizeof(path), "%s/shelf/new", shelf->bed->dir);
    archive_make(path, entries, packing);
    return shelf_put_file(shelf, path);
}
