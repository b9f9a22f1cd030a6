/* What the tests of this folder share: temporary folders, and a disk that fails on demand. */
#pragma once

#include "common/db/db.h"

#include <stddef.h>

struct tmp_dir {
    char path[64];
};

/* Makes a folder of its own for one test; tmp_dir_done removes it with all that is in it. */
void tmp_dir_init(struct tmp_dir *dir);
void tmp_dir_done(struct tmp_dir *dir);
/* "<folder>/<name>"; static storage of the calling thread, good until the next call. */
const char *tmp_dir_file(const struct tmp_dir *dir, const char *name);

/* Every connection opened from here on goes through a disk that can be told to fail. */
void disk_install(void);
void disk_remove(void);
/* SQLite's result code that each later fsync (write) gives, with this errno (0: errno is left as it
 * is); SQLITE_OK: works again. */
void disk_fail_sync(int result, int errnum);
void disk_fail_write(int result, int errnum);
