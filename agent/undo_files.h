/*
 * undo_files: the folders in which steps keep what does not fit into a text (a file's former
 * bytes), one per step: ROOT/<server>/<rollout>/<step number>/, mode 0700.
 *
 * Server and rollout are ids (id_valid), so that they are safe as names of folders.
 *
 * Threading: any thread. I/O: files, all calls block.
 */
#pragma once

#include "common/base/error.h"

#include <stddef.h>
#include <stdint.h>

enum { UNDO_FILES_PATH_MAX = 4096 };

/* Makes the step's folder, if it is not there, and writes its path. ERR_LIMIT: the path would be
 * too long. */
enum error_code undo_files_make(const char *root, const char *server, const char *rollout,
                                uint32_t step, char ret_path[UNDO_FILES_PATH_MAX],
                                struct error *err) MUST_CHECK;
/* Makes durable what the step's folder holds, and the folders above it. A folder that is empty or
 * not there needs nothing. */
enum error_code undo_files_sync(const char *root, const char *server, const char *rollout,
                                uint32_t step, struct error *err) MUST_CHECK;
/* Removes the folders of all the rollout's steps on that server. */
enum error_code undo_files_remove(const char *root, const char *server, const char *rollout,
                                  struct error *err) MUST_CHECK;
