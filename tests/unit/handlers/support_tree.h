/* support_tree: all of a folder as one text, so that what was there before and after is compared in
 * every respect: names, kinds, modes, owners, times, bytes, targets, extended attributes. */
#pragma once

#include <stdbool.h>

/* Of the folder and of all below it; caller owns (mem_free). A folder's time is that of its
 * entries' last change: it is left out of the outermost one, and of all unless `folder_times`. */
char *tree_text(const char *path, bool folder_times);
/* That it is as it was; frees both. */
void assert_tree(const char *path, bool folder_times, char *before);
/* A tree with something of everything: files with modes, owners, times and attributes of their own,
 * links, folders, an empty file, an empty folder, a file of binary bytes. */
void tree_make(const char *path);
