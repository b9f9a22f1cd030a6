/*
 * buf: a growable run of bytes with a bound.
 *
 * Appending never fails half-way: when memory is out or the bound would be passed the buffer keeps
 * what it had, remembers the failure (`failed`) and ignores later appends; buf_check() at the end
 * tells. That keeps encoders free of a check per append.
 *
 * Threading: one thread at a time. I/O: none.
 */
#pragma once

#include "common/base/error.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

struct buf {
    char *data; /* owned; always NUL-terminated once anything was appended; else NULL */
    size_t len; /* bytes, without the NUL */
    size_t capacity;
    size_t max; /* most bytes ever held; 0: BUF_DEFAULT_MAX */
    enum error_code failed;
};

enum { BUF_DEFAULT_MAX = 256 * 1024 * 1024 };

#define BUF_INIT ((struct buf){0})

void buf_append(struct buf *b, const void *data, size_t len);
void buf_puts(struct buf *b, const char *s);
void buf_putc(struct buf *b, char c);
void buf_printf(struct buf *b, const char *fmt, ...) PRINTF_LIKE(2, 3);
void buf_put_int(struct buf *b, int64_t value);   /* decimal, without printf */
void buf_put_number(struct buf *b, double value); /* shortest text that reads back the same */

/* ERR_OK, or why an append failed (ERR_NO_MEMORY, ERR_LIMIT). */
enum error_code buf_check(const struct buf *b, struct error *err) MUST_CHECK;
/* Makes room for `extra` more bytes. */
enum error_code buf_reserve(struct buf *b, size_t extra, struct error *err) MUST_CHECK;
/* Empties it and keeps the memory; forgets a failure. */
void buf_clear(struct buf *b);
/* Takes the first `len` bytes away. */
void buf_consume(struct buf *b, size_t len);
/* Hands the text over (caller owns, mem_free), "" when nothing was appended. NULL when memory is
 * out or an append failed: half a text is never handed over. */
char *buf_take(struct buf *b, size_t *ret_len);
void buf_done(struct buf *b);

#define AUTO_BUF __attribute__((cleanup(buf_done)))
