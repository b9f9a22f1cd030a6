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
/* Makes durable what the step's folder holds, and the folders above it, and says how many bytes its
 * files have. A folder that is empty or not there needs nothing. A failure to make something
 * durable is ERR_IO whatever caused it: to try again would not show that it is. */
enum error_code undo_files_sync(const char *root, const char *server, const char *rollout,
                                uint32_t step, int64_t *ret_bytes, struct error *err) MUST_CHECK;
/* Removes the folders of all the rollout's steps on that server. */
enum error_code undo_files_remove(const char *root, const char *server, const char *rollout,
                                  struct error *err) MUST_CHECK;
/* Calls `each` for every folder of a rollout that there is, which it may remove; stops at the first
 * code that is not ERR_OK and returns it. */
enum error_code undo_files_each(const char *root,
                                enum error_code (*each)(void *ctx, const char *server,
                                                        const char *rollout, struct error *err),
                                void *ctx, struct error *err) MUST_CHECK;
