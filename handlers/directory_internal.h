/*
 * directory_internal: of the directory handler the part that removes (directory_absent.c).
 *
 * Threading: no shared state; blocking, so for the thread pool. I/O: files.
 */
#pragma once

#include "handlers/file_undo.h"

/* prepare, the folder itself being captured: captures all that is in it; in a check it only looks.
 * Without `recursive` a
 * folder that is not empty is ERR_INVALID. */
enum error_code directory_capture_content(const struct handler_run *run, struct file_undo *undo,
                                          struct handler_result *result,
                                          struct error *err) MUST_CHECK;
/* execute: removes what was captured, and nothing else. */
enum error_code directory_remove(const struct file_undo *undo, bool *ret_changed,
                                 struct error *err) MUST_CHECK;
/* check; `code` and `err` are what looking at the folder came to. */
enum error_code directory_check_absent(const struct handler_run *run, const struct file_node *now,
                                       enum error_code code, struct handler_result *result,
                                       struct buf *shown, struct error *err) MUST_CHECK;
