/* input: takes a fuzzer's bytes apart from their beginning, as the targets that want more than one
 * text need it. Parts are copied to memory of exactly their size, so that a step too far is seen.
 */
#pragma once

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

struct fuzz_input {
    const uint8_t *at;
    size_t left;
};

static inline uint8_t fuzz_byte(struct fuzz_input *in)
{
    if (in->left == 0)
        return 0;
    in->left--;
    return *in->at++;
}

/* The text up to the next newline (or the end), with a NUL behind it, which the caller frees; NULL
 * when nothing is left. */
static inline char *fuzz_line(struct fuzz_input *in, size_t *ret_len)
{
    if (in->left == 0)
        return NULL;
    const uint8_t *end = memchr(in->at, '\n', in->left);
    size_t len = end != NULL ? (size_t)(end - in->at) : in->left;
    char *line = malloc(len + 1);
    assert(line != NULL);
    memcpy(line, in->at, len);
    line[len] = '\0';
    in->at += len;
    in->left -= len;
    if (in->left > 0)
        (void)fuzz_byte(in);
    if (ret_len != NULL)
        *ret_len = len;
    return line;
}
