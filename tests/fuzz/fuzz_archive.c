/* Any bytes as an archive: whatever becomes of them, nothing outside of the folder is touched, what
 * is in it is files, folders and links without special bits and within the limits, measuring says
 * nothing else than unpacking, and what is there is packed and comes back the same. */
#include "common/base/cleanup.h"
#include "handlers/archive.h"
#include "handlers/file_meta.h"
#include "handlers/tree.h"
#include "tests/fuzz/fuzz.h"

#include <assert.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { BYTES_MAX = 1024 * 1024, ENTRIES_MAX = 64 };

static char folder[64];
static int folder_fd = -1;

static void folder_gone(void)
{
    error_ignore(tree_remove(AT_FDCWD, folder, NULL, NULL));
}

/* A folder in memory, with one in it that nothing may touch. */
static void folder_begin(void)
{
    bool in_memory = access("/dev/shm", W_OK) == 0;
    (void)snprintf(folder, sizeof(folder), "%s/kitsune-fuzz-XXXXXX",
                   in_memory ? "/dev/shm" : "/tmp");
    const char *made = mkdtemp(folder);
    assert(made != NULL);
    int registered = atexit(folder_gone);
    assert(registered == 0);
    folder_fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert(folder_fd >= 0);
    int rc = mkdirat(folder_fd, "outside", 0755);
    assert(rc == 0);
}

static int folder_new(const char *name)
{
    enum error_code code = tree_remove(folder_fd, name, NULL, NULL);
    assert(code == ERR_OK);
    int rc = mkdirat(folder_fd, name, 0755);
    assert(rc == 0);
    int fd = openat(folder_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert(fd >= 0);
    return fd;
}

static int file_in_memory(const uint8_t *data, size_t size)
{
    int fd = memfd_create("archive", MFD_CLOEXEC);
    assert(fd >= 0);
    ssize_t done = write(fd, data, size);
    assert(done == (ssize_t)size);
    return fd;
}

static enum error_code item_check(void *ctx, const struct tree_item *item, struct error *err)
{
    mode_t kind = item->st.stx_mode & S_IFMT;
    int64_t *bytes = ctx;
    (void)err;
    assert(kind == S_IFREG || kind == S_IFDIR || kind == S_IFLNK);
    assert((item->st.stx_mode & 07000) == 0);
    assert(strcmp(item->path, "mine") != 0);
    if (kind == S_IFREG && item->st.stx_nlink == 1)
        *bytes += (int64_t)item->st.stx_size;
    return ERR_OK;
}

static void outside_check(void)
{
    struct tree_sum sum = {0};
    enum error_code code = tree_sum(folder_fd, "outside", NULL, NULL, &sum, NULL);
    assert(code == ERR_OK && sum.entries == 0);
}

/* What is in "out" is packed and comes back. */
static void again_check(void)
{
    struct error err = {0};
    struct tree_sum first = {0}, second = {0};
    struct archive_totals totals = {0};
    const struct archive_rules exact = {.uid = FILE_KEEP, .gid = FILE_KEEP, .exact = true};
    AUTO_CLOSE int archive = file_in_memory((const uint8_t *)"", 0);
    AUTO_CLOSE int again = folder_new("again");
    enum error_code code = tree_sum(folder_fd, "out", NULL, NULL, &first, &err);
    if (code == ERR_OK)
        code = archive_pack(folder_fd, "out", archive, 0, NULL, &err);
    /* Where a link leads need be no UTF-8. */
    if (code == ERR_UNSUPPORTED)
        return;
    if (code == ERR_OK)
        code = archive_unpack(archive, again, &exact, &totals, &err);
    if (code == ERR_OK)
        code = tree_sum(folder_fd, "again", NULL, NULL, &second, &err);
    if (code != ERR_OK)
        (void)fprintf(stderr, "%s\n", err.message);
    assert(code == ERR_OK && first.sum == second.sum && first.entries == second.entries);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct error err = {0};
    struct archive_totals totals = {0}, measured = {0};
    int64_t bytes = 0;
    const struct tree_visitor visitor = {.visit = item_check, .ctx = &bytes};
    if (size == 0)
        return 0;
    if (folder_fd < 0)
        folder_begin();
    /* The first byte says how it is unpacked. */
    const struct archive_rules rules = {
        .strip_components = data[0] & 3,
        .max_bytes = BYTES_MAX,
        .max_entries = ENTRIES_MAX,
        .uid = FILE_KEEP,
        .gid = FILE_KEEP,
        .reserved = "mine",
    };
    AUTO_CLOSE int archive = file_in_memory(data + 1, size - 1);
    AUTO_CLOSE int out = folder_new("out");
    enum error_code code = archive_unpack(archive, out, &rules, &totals, &err);
    assert(code == ERR_OK || err.message[0] != '\0');
    assert(code != ERR_INTERNAL && code != ERR_CANCELLED);
    enum error_code walked = tree_walk(folder_fd, "out", &visitor, &err);
    assert(walked == ERR_OK && bytes <= BYTES_MAX);
    outside_check();
    if (code != ERR_OK)
        return 0;
    code = archive_measure(archive, &rules, &measured, &err);
    assert(code == ERR_OK && measured.entries == totals.entries && measured.bytes == totals.bytes);
    again_check();
    return 0;
}
