#include "unit/handlers/support_file.h"

#include "common/base/alloc.h"
#include "common/base/cleanup.h"

#include <dirent.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

struct look look_at(const char *path)
{
    struct look look = {.bytes = bed_read(path)};
    if (look.bytes) {
        assert_int_equal(lstat(path, &look.st), 0);
        look.attribute_len =
            lgetxattr(path, "user.kitsune.test", look.attribute, sizeof(look.attribute));
    }
    return look;
}

void assert_same_look(struct look *before, struct look *after)
{
    assert_non_null(before->bytes);
    assert_non_null(after->bytes);
    assert_string_equal(before->bytes, after->bytes);
    assert_int_equal(before->st.st_mode, after->st.st_mode);
    assert_int_equal(before->st.st_uid, after->st.st_uid);
    assert_int_equal(before->st.st_gid, after->st.st_gid);
    assert_int_equal(before->st.st_size, after->st.st_size);
    assert_int_equal(before->st.st_mtim.tv_sec, after->st.st_mtim.tv_sec);
    assert_int_equal(before->st.st_mtim.tv_nsec, after->st.st_mtim.tv_nsec);
    assert_int_equal(before->attribute_len, after->attribute_len);
    if (before->attribute_len > 0)
        assert_memory_equal(before->attribute, after->attribute, (size_t)before->attribute_len);
    mem_free(before->bytes);
    mem_free(after->bytes);
}

void assert_file_count(const struct bed *bed, size_t expected)
{
    size_t count = 0;
    DIR *dir = opendir(bed->dir);
    assert_non_null(dir);
    for (const struct dirent *item; (item = readdir(dir));)
        count += strcmp(item->d_name, ".") != 0 && strcmp(item->d_name, "..") != 0 ? 1 : 0;
    assert_int_equal(closedir(dir), 0);
    assert_int_equal(count, expected + 1);
}

void assert_file_text(const char *path, const char *expected)
{
    AUTO_FREE char *text = bed_read(path);
    assert_non_null(text);
    assert_string_equal(text, expected);
}

const char *write_params(const struct bed *bed, const char *content, const char *more)
{
    static char text[PATH_MAX];
    (void)snprintf(text, sizeof(text), "{\"path\":\"%s/f\",\"content\":\"%s\"%s}", bed->dir,
                   content, more);
    return text;
}

void write_ok(struct bed *bed, enum handler_operation operation, const char *params)
{
    bed_run(bed, "file_write", operation, params);
    if (bed->result.outcome != HANDLER_OK)
        fail_msg("%s", bed->result.message);
}

void write_fails(struct bed *bed, enum handler_operation operation, const char *params,
                 const char *text)
{
    bed_run(bed, "file_write", operation, params);
    assert_int_equal(bed->result.outcome, HANDLER_FAILED);
    if (!strstr(bed->result.message, text))
        fail_msg("\"%s\" is not in \"%s\"", text, bed->result.message);
}

void write_said(const struct bed *bed, const char *text)
{
    if (!strstr(bed->result.message, text))
        fail_msg("\"%s\" is not in \"%s\"", text, bed->result.message);
}

void make_original(const char *path)
{
    const struct timespec times[2] = {{.tv_sec = 1, .tv_nsec = 0},
                                      {.tv_sec = 1234567890, .tv_nsec = 123456789}};
    bed_write(path, "the original\n");
    assert_int_equal(chown(path, 1234, 4321), 0);
    assert_int_equal(chmod(path, 04751), 0);
    if (setxattr(path, "user.kitsune.test", "v\0\xff", 3, 0) != 0)
        print_message("[  NOTE    ] no extended attributes on this file system\n");
    assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
}
