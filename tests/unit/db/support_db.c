#include "unit/db/support_db.h"

#include <assert.h>
#include <errno.h>
#include <ftw.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void tmp_dir_init(struct tmp_dir *dir)
{
    (void)snprintf(dir->path, sizeof(dir->path), "/tmp/kitsune-test-XXXXXX");
    const char *made = mkdtemp(dir->path);
    assert(made != NULL);
    (void)made;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

void tmp_dir_done(struct tmp_dir *dir)
{
    (void)nftw(dir->path, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

const char *tmp_dir_file(const struct tmp_dir *dir, const char *name)
{
    static _Thread_local char path[256];
    (void)snprintf(path, sizeof(path), "%s/%s", dir->path, name);
    return path;
}

/* The disk: SQLite's own VFS with two functions of its files replaced. Its files are of two kinds,
 * with locks (the database) and without (the log). */
struct disk_kind {
    sqlite3_io_methods methods; /* first: a file's methods lead here */
    const sqlite3_io_methods *real;
};
struct disk {
    sqlite3_vfs vfs;
    sqlite3_vfs *real;
    struct disk_kind kinds[2];
    atomic_int sync_result, sync_errno, write_result, write_errno;
};
static struct disk disk;

static const sqlite3_io_methods *real_methods(const sqlite3_file *file)
{
    return ((const struct disk_kind *)(const void *)file->pMethods)->real;
}

static void set_errno(int errnum)
{
    if (errnum != 0)
        errno = errnum;
}

static int disk_sync(sqlite3_file *file, int flags)
{
    int result = atomic_load(&disk.sync_result);
    if (result != SQLITE_OK) {
        set_errno(atomic_load(&disk.sync_errno));
        return result;
    }
    return real_methods(file)->xSync(file, flags);
}

static int disk_write(sqlite3_file *file, const void *data, int len, sqlite3_int64 offset)
{
    int result = atomic_load(&disk.write_result);
    if (result != SQLITE_OK) {
        set_errno(atomic_load(&disk.write_errno));
        return result;
    }
    return real_methods(file)->xWrite(file, data, len, offset);
}

static int disk_last_errno(sqlite3_vfs *vfs, int len, char *text)
{
    (void)vfs;
    (void)len;
    (void)text;
    return errno;
}

static int disk_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *file, int flags,
                     int *ret_flags)
{
    (void)vfs;
    int result = disk.real->xOpen(disk.real, name, file, flags, ret_flags);
    if (result != SQLITE_OK)
        return result;
    struct disk_kind *kind = &disk.kinds[(flags & SQLITE_OPEN_MAIN_DB) != 0 ? 0 : 1];
    if (kind->real == NULL) {
        kind->real = file->pMethods;
        kind->methods = *file->pMethods;
        kind->methods.xSync = disk_sync;
        kind->methods.xWrite = disk_write;
    }
    assert(file->pMethods == kind->real);
    file->pMethods = &kind->methods;
    return SQLITE_OK;
}

void disk_install(void)
{
    disk_fail_sync(SQLITE_OK, 0);
    disk_fail_write(SQLITE_OK, 0);
    disk.real = sqlite3_vfs_find("unix");
    assert(disk.real != NULL);
    disk.vfs = *disk.real;
    disk.vfs.zName = "kitsune-test-disk";
    disk.vfs.xOpen = disk_open;
    disk.vfs.xGetLastError = disk_last_errno;
    int result = sqlite3_vfs_register(&disk.vfs, 1);
    assert(result == SQLITE_OK);
    (void)result;
}

void disk_remove(void)
{
    (void)sqlite3_vfs_unregister(&disk.vfs);
    (void)sqlite3_vfs_register(disk.real, 1);
}

void disk_fail_sync(int result, int errnum)
{
    atomic_store(&disk.sync_errno, errnum);
    atomic_store(&disk.sync_result, result);
}

void disk_fail_write(int result, int errnum)
{
    atomic_store(&disk.write_errno, errnum);
    atomic_store(&disk.write_result, result);
}
