/* support_folder: a temporary folder for one test. */
#pragma once

enum { FOLDER_PATH_MAX = 256 };

struct folder {
    char path[FOLDER_PATH_MAX];
};

void folder_make(struct folder *f);
void folder_remove(const struct folder *f);
/* The path of `name` in it; static storage, good until the fourth call after. */
const char *folder_path(const struct folder *f, const char *name);
void file_fill(const char *path, const char *text);
/* Static storage; "" when it is not there. */
const char *file_get(const char *path);
