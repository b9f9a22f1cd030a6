/* script: what is sent to a host's shell: values, remote.sh, and the function that is called. Pure.
 */
#pragma once

#include "common/base/buf.h"

/* The text of remote.sh, and that of the agent's unit with the path of the program put in where it
 * is not of a package. */
extern const char script_remote[];
extern const char script_unit[];

/* "name='value'", quoted so that the shell takes the value as it is. */
void script_value(struct buf *b, const char *name, const char *value);
/* remote.sh and the call; behind the values. */
void script_call(struct buf *b, const char *function);
/* The unit for a program in `binary`: the package's, with its path replaced. */
void script_put_unit(struct buf *b, const char *binary);
