#include "unit/handlers/support_tree.h"

#include "common/base/alloc.h"
#include "common/base/buf.h"
#include "unit/handlers/support_run.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void put_hex(struct buf *b, const char *data, size_t len)
{
    for (size_t i = 0; i < len; i++)
        buf_printf(b, "%02x", (unsigned char)data[i]);
}

static void put_attributes(struct buf *b, const char *path)
{
    char names[4096], value[4096];
    ssize_t len = llistxattr(path, names, sizeof(names));
    for (const char *name = names; len > 0 && name < names + len; name += strlen(name) + 1) {
        ssize_t size = lgetxattr(path, name, value, sizeof(value));
        buf_printf(b, " %s=", name);
        put_hex(b, value, size > 0 ? (size_t)size : 0);
    }
}

static void put_bytes(struct buf *b, const char *path)
{
    char chunk[4096];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    for (ssize_t len; (len = read(fd, chunk, sizeof(chunk))) > 0;)
        put_hex(b, chunk, (size_t)len);
    assert_int_equal(close(fd), 0);
}

static void put_one(struct buf *b, const char *path, const char *shown, bool time)
{
    struct stat st;
    char target[PATH_MAX] = "";
    assert_int_equal(lstat(path, &st), 0);
    buf_printf(b, "%s %o %u:%u", shown, st.st_mode, st.st_uid, st.st_gid);
    if (time)
        buf_printf(b, " %lld.%09ld", (long long)st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
    put_attributes(b, path);
    if (S_ISLNK(st.st_mode)) {
        assert_true(readlink(path, target, sizeof(target) - 1) > 0);
        buf_printf(b, " -> %s", target);
    } else if (S_ISREG(st.st_mode)) {
        buf_puts(b, " ");
        put_bytes(b, path);
    }
    buf_putc(b, '\n');
}

static void put_all(struct buf *b, const char *path, const char *shown, bool folder_times)
{
    struct dirent **items = NULL;
    int count = scandir(path, &items, NULL, alphasort);
    assert_true(count >= 0);
    for (int i = 0; i < count; i++) {
        char inner[PATH_MAX], name[PATH_MAX];
        struct stat st;
        (void)snprintf(inner, sizeof(inner), "%s/%s", path, items[i]->d_name);
        (void)snprintf(name, sizeof(name), "%s/%s", shown, items[i]->d_name);
        bool is_entry = strcmp(items[i]->d_name, ".") != 0 && strcmp(items[i]->d_name, "..") != 0;
        free(items[i]);
        if (!is_entry)
            continue;
        assert_int_equal(lstat(inner, &st), 0);
        put_one(b, inner, name, folder_times || !S_ISDIR(st.st_mode));
        if (S_ISDIR(st.st_mode))
            put_all(b, inner, name, folder_times);
    }
    free(items);
}

char *tree_text(const char *path, bool folder_times)
{
    struct buf b = BUF_INIT;
    put_one(&b, path, ".", false);
    put_all(&b, path, ".", folder_times);
    char *text = buf_take(&b, NULL);
    assert_non_null(text);
    return text;
}

void assert_tree(const char *path, bool folder_times, char *before)
{
    char *after = tree_text(path, folder_times);
    assert_string_equal(before, after);
    mem_free(before);
    mem_free(after);
}

static const char *below(const char *path, const char *name)
{
    static char paths[4][PATH_MAX];
    static size_t next;
    char *joined = paths[next++ % 4];
    (void)snprintf(joined, PATH_MAX, "%s/%s", path, name);
    return joined;
}

static void mark_file(const char *path, unsigned owner, unsigned mode, long when)
{
    const struct timespec times[2] = {{.tv_sec = when}, {.tv_sec = when, .tv_nsec = 123456789}};
    assert_int_equal(lchown(path, owner, owner + 1), 0);
    assert_int_equal(chmod(path, mode), 0);
    /* Not every file system has them. */
    (void)setxattr(path, "user.kitsune.test", "v\0\xff", 3, 0);
    assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
}

void tree_make(const char *path)
{
    static const char bytes[] = "\0\x01\xff binary \0";
    const struct timespec times[2] = {{.tv_sec = 5}, {.tv_sec = 1111111111, .tv_nsec = 7}};
    assert_int_equal(mkdir(path, 0755), 0);
    assert_int_equal(mkdir(below(path, "sub"), 0750), 0);
    assert_int_equal(mkdir(below(path, "sub/empty"), 0700), 0);
    bed_write(below(path, "text"), "a text\n");
    bed_write(below(path, "sub/none"), "");
    int fd = open(below(path, "sub/binary"), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, bytes, sizeof(bytes)), (ssize_t)sizeof(bytes));
    assert_int_equal(close(fd), 0);
    assert_int_equal(symlink("../text", below(path, "sub/link")), 0);
    assert_int_equal(lchown(below(path, "sub/link"), 77, 78), 0);
    assert_int_equal(utimensat(AT_FDCWD, below(path, "sub/link"), times, AT_SYMLINK_NOFOLLOW), 0);
    mark_file(below(path, "text"), 1234, 04751, 1234567890);
    mark_file(below(path, "sub/binary"), 12, 0600, 1000000000);
    mark_file(below(path, "sub/empty"), 21, 01777, 900000000);
    mark_file(below(path, "sub"), 31, 02750, 800000000);
    mark_file(path, 41, 0711, 700000000);
}
