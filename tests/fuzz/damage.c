#include "tests/fuzz/damage.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

enum { PAGE = 4096, DAMAGES_MAX = 64 };

/* ---- Damage ---------------------------------------------------------------------------------- */

static size_t offset_read(struct fuzz_input *in, size_t size)
{
    size_t offset = fuzz_byte(in);
    offset |= (size_t)fuzz_byte(in) << 8;
    offset |= (size_t)fuzz_byte(in) << 16;
    return offset % size;
}

static void put(struct image *image, size_t at, const uint8_t *bytes, size_t len)
{
    for (size_t i = 0; i < len && at + i < image->size; i++)
        image->bytes[at + i] = bytes[i];
}

static void damage_bytes(struct image *image, struct fuzz_input *in)
{
    size_t at = offset_read(in, image->size);
    size_t len = fuzz_byte(in) % 32 + 1;
    len = len < in->left ? len : in->left;
    put(image, at, in->at, len);
    in->at += len;
    in->left -= len;
}

static void damage_page(struct image *image, struct fuzz_input *in)
{
    size_t pages = image->size / PAGE;
    size_t from = fuzz_byte(in) % pages;
    size_t to = fuzz_byte(in) % pages;
    memmove(image->bytes + to * PAGE, image->bytes + from * PAGE, PAGE);
}

bool damage_apply(struct image *image, struct fuzz_input *in)
{
    struct image before = {malloc(image->size), image->size};
    assert(before.bytes != NULL);
    memcpy(before.bytes, image->bytes, image->size);
    for (int i = 0; in->left > 0 && i < DAMAGES_MAX && image->size >= PAGE; i++) {
        size_t at;
        switch (fuzz_byte(in) % 4) {
        case 0:
        case 1:
            damage_bytes(image, in);
            break;
        case 2:
            at = offset_read(in, image->size);
            image->bytes[at] ^= (uint8_t)(1U << fuzz_byte(in) % 8);
            break;
        case 3:
            if (fuzz_byte(in) % 4 == 0)
                image->size = offset_read(in, image->size);
            else
                damage_page(image, in);
            break;
        }
    }
    bool changed =
        before.size != image->size || memcmp(before.bytes, image->bytes, image->size) != 0;
    free(before.bytes);
    return changed;
}

/* ---- The folder ------------------------------------------------------------------------------ */

static char folder[FOLDER_PATH_MAX];

static void clear_at(const char *path)
{
    DIR *dir = opendir(path);
    assert(dir != NULL);
    for (const struct dirent *entry = readdir(dir); entry != NULL; entry = readdir(dir)) {
        char below[4096];
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        int len = snprintf(below, sizeof(below), "%s/%s", path, entry->d_name);
        assert(len > 0 && (size_t)len < sizeof(below));
        if (unlink(below) == 0)
            continue;
        clear_at(below);
        int removed = rmdir(below);
        assert(removed == 0);
    }
    (void)closedir(dir);
}

void folder_clear(const char *path)
{
    clear_at(path);
}

static void folder_remove(void)
{
    clear_at(folder);
    (void)rmdir(folder);
}

const char *folder_make(void)
{
    bool in_memory = access("/dev/shm", W_OK) == 0;
    (void)snprintf(folder, sizeof(folder), "%s/kitsune-fuzz-XXXXXX",
                   in_memory ? "/dev/shm" : "/tmp");
    const char *made = mkdtemp(folder);
    assert(made != NULL);
    int registered = atexit(folder_remove);
    assert(registered == 0);
    return folder;
}

const char *folder_path(const char *path, const char *name)
{
    static char full[FOLDER_PATH_MAX + 64];
    (void)snprintf(full, sizeof(full), "%s/%s", path, name);
    return full;
}

/* ---- Files ----------------------------------------------------------------------------------- */

struct image file_read(const char *path)
{
    struct stat st = {0};
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    assert(fd >= 0 && fstat(fd, &st) == 0);
    struct image image = {malloc((size_t)st.st_size + 1), (size_t)st.st_size};
    assert(image.bytes != NULL);
    ssize_t got = read(fd, image.bytes, image.size);
    assert(got == st.st_size);
    (void)close(fd);
    return image;
}

void file_write(const char *path, const uint8_t *bytes, size_t size)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert(fd >= 0);
    ssize_t put_in = write(fd, bytes, size);
    assert(put_in == (ssize_t)size);
    (void)close(fd);
}

ssize_t __wrap_getrandom(void *bytes, size_t size, unsigned flags)
{
    static uint8_t next;
    uint8_t *at = bytes;
    (void)flags;
    for (size_t i = 0; i < size; i++)
        at[i] = next++;
    return (ssize_t)size;
}
