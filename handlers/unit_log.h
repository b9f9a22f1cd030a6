/*
 * unit_log: the last lines that a unit wrote to the journal, for people who wonder why it failed.
 *
 * Threading: no shared state; blocking. I/O: the journal's files.
 */
#pragma once

#include "common/base/buf.h"

enum { UNIT_LOG_LINES = 10, UNIT_LOG_LINE_MAX = 512 };

/* Appends up to UNIT_LOG_LINES lines, oldest first, of the run of a unit that `invocation` names;
 * none when there is no journal or nothing in it. Waits a moment for what is just being written. */
void unit_log_read(const char *invocation, struct buf *lines);
