/*
 * file_node_internal: what the files of file_node.h share.
 *
 *   file_node.c       what is at a path, told, looked at and compared
 *   file_node_copy.c  kept in a step's folder, and brought back
 *
 * Threading and I/O: as there.
 */
#pragma once

#include "handlers/file_node.h"

enum { COPY_NAME_MAX = 64 }; /* of a name in a step's folder */

/* Opens a folder itself, following no link. Caller owns. */
enum error_code file_node_open_folder(const struct file_place *place, int *ret_fd,
                                      struct error *err) MUST_CHECK;
/* False when one of them is NULL. */
bool file_node_text_equal(const char *a, const char *b);
