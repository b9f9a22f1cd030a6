/*
 * file_undo: what the steps that change files capture, and how it is brought back. A step changes
 * some paths and may make the folders that lead to them; of each path it is kept what was there
 * (file_node.h). Rollback looks at all of them before it touches one: where something is neither
 * what the step left nor what was there before, it is somebody else's, a conflict, and all stays as
 * it is.
 *
 * Threading: no shared state; blocking, so for the thread pool. I/O: files.
 */
#pragma once

#include "handlers/file_node.h"

enum { FILE_UNDO_NODES_MAX = 1000 };

/* What prepare captures. Zero-initialise. */
struct file_undo {
    struct array nodes; /* struct file_node, in the order in which they are brought back */
    struct array made;  /* char *: folders that are not there yet, outermost first */
    int64_t kept_bytes; /* prepare: of all files so far */
};

extern const struct json_table file_undo_table;

enum error_code file_undo_read(const struct handler_run *run, struct file_undo *ret_undo,
                               struct error *err) MUST_CHECK;
void file_undo_done(struct file_undo *undo);
#define AUTO_UNDO __attribute__((cleanup(file_undo_done)))

/* The first one: the path that the step is about. */
const struct file_node *file_undo_main(const struct file_undo *undo);

/* ---- prepare ----------------------------------------------------------------------------- */

/* Captures what is at a place. Errors as of file_node_keep; ERR_LIMIT also where all files together
 * are too large, of which the result says why. */
enum error_code file_undo_keep(const struct handler_run *run, const struct file_place *place,
                               struct file_undo *undo, struct handler_result *result,
                               struct error *err) MUST_CHECK;
/* Only looks at it, as a check does: whether it could be kept. */
enum error_code file_undo_look(const struct handler_run *run, const struct file_place *place,
                               struct file_undo *undo, struct handler_result *result,
                               struct error *err) MUST_CHECK;
/* Opens the place of a path. Where its folder does not exist and may be made: *ret_missing, the
 * folders that are to be made are added to undo->made, and the place stays closed, with its path
 * and name. */
enum error_code file_undo_place(const char *path, bool make_parents, struct file_undo *undo,
                                struct file_place *ret_place, bool *ret_missing,
                                struct error *err) MUST_CHECK;
/* A path whose folder is to be made: there is nothing. */
enum error_code file_undo_nothing(const char *path, struct file_undo *undo,
                                  struct error *err) MUST_CHECK;
/* The end of a prepare: with ERR_OK the undo becomes the result's. */
void file_undo_prepared(const struct file_undo *undo, enum error_code code,
                        struct handler_result *result, struct error *err);

/* ---- execute ----------------------------------------------------------------------------- */

/* Makes the folders of undo->made that are not there, durably. */
enum error_code file_undo_make_folders(const struct file_undo *undo, struct error *err) MUST_CHECK;

/* Removes what was captured, durably; of folders only empty ones. What is there instead of it
 * stays: ERR_CONFLICT. What is not there is fine. */
enum error_code file_undo_remove(const struct file_node *node, bool *ret_changed,
                                 struct error *err) MUST_CHECK;

/* ---- rollback ---------------------------------------------------------------------------- */

/* What the step leaves at the path of undo->nodes[i]. */
typedef enum error_code (*file_left_find)(const struct handler_run *run,
                                          const struct file_undo *undo, size_t i,
                                          struct file_left *ret_left, int64_t *ret_size,
                                          struct error *err);
void file_undo_rollback(const struct handler_run *run, file_left_find find,
                        struct handler_result *result);
/* Removes the folders of undo->made, innermost first, as far as they are empty. *ret_kept: the one
 * that is not, borrowed; else NULL. */
enum error_code file_undo_remove_folders(const struct file_undo *undo, size_t *ret_removed,
                                         const char **ret_kept, struct error *err) MUST_CHECK;
/* The finder of a step that leaves nothing anywhere. */
enum error_code file_left_nothing(const struct handler_run *run, const struct file_undo *undo,
                                  size_t i, struct file_left *ret_left, int64_t *ret_size,
                                  struct error *err);
