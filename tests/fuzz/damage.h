/*
 * damage: what a disk may do to a file, told by a fuzzer's bytes; and the folder in memory in which
 * a store is laid out anew for each input.
 */
#pragma once

#include "tests/fuzz/input.h"

enum { FOLDER_PATH_MAX = 64 };

/* The bytes of a file. */
struct image {
    uint8_t *bytes;
    size_t size;
};

/* Applies what the input says, as long as it says something: bytes that are others, a flipped bit,
 * a page that is where another belongs, an end that is missing. True when anything is different. */
bool damage_apply(struct image *image, struct fuzz_input *in);

/* A folder of its own in memory, made once and removed when the program ends. */
const char *folder_make(void);
/* Removes everything in it. */
void folder_clear(const char *folder);
/* folder/name, static until the next call. */
const char *folder_path(const char *folder, const char *name);
struct image file_read(const char *path);
void file_write(const char *path, const uint8_t *bytes, size_t size);

/* The random bytes that the product asks for are the same in every run, so that a finding can be
 * seen again: linked in by --wrap=getrandom. */
ssize_t __wrap_getrandom(void *bytes, size_t size, unsigned flags);
