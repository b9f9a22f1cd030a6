/* script: what is sent to a host's shell: values, remote.sh, and the function that is called. Pure.
 */
#pragma once

#include "common/base/buf.h"

/* The texts of remote.sh, and of the agent's unit and users as its packages have them. */
extern const char script_remote[];
extern const char script_unit[];
extern const char script_users[];

/* "name='value'", quoted so that the shell takes the value as it is. */
void script_value(struct buf *b, const char *name, const char *value);
/* remote.sh and the call; behind the values. */
void script_call(struct buf *b, const char *function);
/* The unit for a program in `binary`: the package's, with its path replaced. */
void script_put_unit(struct buf *b, const char *binary);
