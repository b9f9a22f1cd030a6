/*
 * unit_log: the last lines that a unit wrote to the journal, for people who wonder why it failed.
 *
 * Threading: no shared state; blocking. I/O: the journal's files.
 */
#pragma once

#include "common/base/buf.h"

#include <stdint.h>

enum { UNIT_LOG_LINES = 10, UNIT_LOG_LINE_MAX = 512 };

/* Appends up to UNIT_LOG_LINES lines, oldest first, that the unit wrote, or systemd about it, since
 * then (microseconds since 1970); none when there is no journal. Not told by the run of the unit
 * that they are of: the journal does not always know, of a program that ended at once. */
void unit_log_read(const char *unit, uint64_t since_usec, struct buf *lines);
