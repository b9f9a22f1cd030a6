/*
 * sum: what the content of a stored row sums up to, kept beside it, so that a damaged row is told
 * from a sound one (a database itself looks only at a page's structure).
 *
 * 64 bits, against decay and not against forgery: changing any one 8 bytes of what was added always
 * changes the sum. What is stored by one version is read by the next: it stays as it is.
 *
 * Pure.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define SUM_INIT UINT64_C(0x4b49544a00000001)

uint64_t sum_int(uint64_t sum, int64_t value);
/* NULL is another text than an empty one. */
uint64_t sum_text(uint64_t sum, const char *text, size_t len);
uint64_t sum_string(uint64_t sum, const char *text);
