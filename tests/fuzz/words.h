/* words: a command line out of a fuzzer's bytes: one word a line, the program's name before them.
 */
#pragma once

#include "tests/fuzz/input.h"

enum { WORDS_MAX = 32 };

struct words {
    int count; /* as argc */
    char *list[WORDS_MAX + 2];
};

static inline void words_read(struct words *w, struct fuzz_input *in)
{
    char *line;
    *w = (struct words){.count = 1, .list = {strdup("program")}};
    assert(w->list[0] != NULL);
    while (w->count <= WORDS_MAX && (line = fuzz_line(in, NULL)) != NULL)
        w->list[w->count++] = line;
}

/* A program may put them into another order, but none away. */
static inline void words_done(struct words *w)
{
    for (int i = 0; i < w->count; i++)
        free(w->list[i]);
}
