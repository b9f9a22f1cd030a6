/*
 * outputs: what a program puts out for later steps: lines NAME=VALUE that it appends to a file of
 * its own, whose path it finds in its environment (KITSUNE_OUTPUT). A name has letters, digits, _
 * and -; a value is the text behind the first =; a later line replaces an earlier one of its name.
 *
 * Threading: one thread at a time. I/O: a small file in /tmp, held open and removed at the end.
 */
#pragma once

#include "common/base/error.h"

#include <sys/types.h>

enum { OUTPUTS_PATH_MAX = 64, OUTPUTS_MAX_BYTES = 64 * 1024 };

struct outputs {
    int fd; /* -1: none */
    char path[OUTPUTS_PATH_MAX];
};
#define OUTPUTS_INIT ((struct outputs){.fd = -1})

/* Makes the file anew, for this user alone ((uid_t)-1: the agent's). `mark`: see handler_mark.
 * ERR_IO, ERR_NO_SPACE, ... */
enum error_code outputs_open(struct outputs *o, const char *mark, uid_t uid,
                             struct error *err) MUST_CHECK;
/* Removes what an agent that died left behind of the step with that mark. */
void outputs_clean(const char *mark);
/* What is in the file, as a set of values in JSON (value_json.h); *ret_json NULL: nothing. Caller
 * owns. ERR_INVALID says which line is wrong; ERR_LIMIT: more than OUTPUTS_MAX_BYTES. */
enum error_code outputs_read(const struct outputs *o, char **ret_json,
                             struct error *err) MUST_CHECK;
/* Removes it; nothing when there is none. */
void outputs_close(struct outputs *o);
