/*
 * clock: time, read at the edges only and handed inward as a number.
 *
 * Deadlines use the monotonic clock, records the wall clock, so a stepped wall clock moves no
 * timer. Threading: safe. I/O: none beyond clock_gettime(2).
 */
#pragma once

#include "common/base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

int64_t clock_wall_ms(void); /* milliseconds since 1970-01-01 UTC */
int64_t clock_mono_ms(void); /* milliseconds since an arbitrary start; never goes back */
int64_t clock_mono_us(void);

enum { CLOCK_TEXT_MAX = 32 };
/* "2026-11-21T06:25:56.123Z"; RFC 3339, UTC. */
void clock_format(int64_t wall_ms, char ret_text[CLOCK_TEXT_MAX]);
/* Reads what clock_format writes, of the years 1970 to 9999; false: it is not that. */
bool clock_parse(const char *text, int64_t *ret_wall_ms);
/* "1m30s", "250ms", "2h", "1.5s", or a plain number of seconds "2.5"; not negative.
 * ERR_INVALID says what is wrong with the text. */
enum error_code duration_parse(const char *text, int64_t *ret_ms, struct error *err) MUST_CHECK;
/* For people: "350ms", "1.2s", "1m30s", "2h05m". */
void duration_format(int64_t ms, char ret_text[CLOCK_TEXT_MAX]);
