#include "common/base/buf.h"

#include "common/base/alloc.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    CAPACITY_FIRST = 256,
    INT_TEXT_MAX = 20,   /* "-9223372036854775808" */
    NUMBER_TEXT_MAX = 32 /* "-1.7976931348623157e+308" */
};

/* Beyond this a double skips whole numbers. */
static const double whole_max = 9007199254740992.0;

/* Makes room for `extra` bytes and the NUL. */
static enum error_code buf_grow(struct buf *b, size_t extra)
{
    size_t max = b->max > 0 ? b->max : BUF_DEFAULT_MAX;
    if (max > PTRDIFF_MAX / 2)
        max = PTRDIFF_MAX / 2; /* so that no sum below overflows */
    if (extra > max || b->len > max - extra)
        return ERR_LIMIT;
    size_t needed = b->len + extra + 1;
    if (needed <= b->capacity)
        return ERR_OK;
    size_t capacity = b->capacity > 0 ? b->capacity : CAPACITY_FIRST;
    while (capacity < needed)
        capacity *= 2;
    if (capacity > max + 1)
        capacity = max + 1;
    char *data = mem_realloc(b->data, capacity);
    if (data == NULL)
        return ERR_NO_MEMORY;
    b->data = data;
    b->capacity = capacity;
    return ERR_OK;
}

/* The place for `extra` bytes and a NUL, or NULL when the buffer failed, now or before. */
static inline char *buf_room(struct buf *b, size_t extra)
{
    if (__builtin_expect(b->failed != ERR_OK, 0))
        return NULL;
    /* A buffer with memory always has len < capacity, and capacity - 1 <= max. */
    if (b->data == NULL || extra >= b->capacity - b->len) {
        b->failed = buf_grow(b, extra);
        if (b->failed != ERR_OK)
            return NULL;
    }
    return b->data + b->len;
}

void buf_append(struct buf *b, const void *data, size_t len)
{
    char *room = buf_room(b, len);
    if (room == NULL)
        return;
    if (len > 0)
        memcpy(room, data, len);
    room[len] = '\0';
    b->len += len;
}

void buf_puts(struct buf *b, const char *s)
{
    buf_append(b, s, strlen(s));
}

void buf_putc(struct buf *b, char c)
{
    char *room = buf_room(b, 1);
    if (room == NULL)
        return;
    room[0] = c;
    room[1] = '\0';
    b->len++;
}

void buf_printf(struct buf *b, const char *fmt, ...)
{
    if (b->failed != ERR_OK)
        return;
    va_list args, again;
    va_start(args, fmt);
    va_copy(again, args);
    /* The first try goes into what room there is; most texts fit. */
    size_t spare = b->data != NULL ? b->capacity - b->len : 0;
    int len = vsnprintf(spare > 0 ? b->data + b->len : NULL, spare, fmt, args);
    if (len < 0) {
        b->failed = ERR_INTERNAL;
    } else if ((size_t)len < spare) {
        b->len += (size_t)len;
    } else {
        if (spare > 0)
            b->data[b->len] = '\0';
        char *room = buf_room(b, (size_t)len);
        if (room != NULL) {
            (void)vsnprintf(room, (size_t)len + 1, fmt, again);
            b->len += (size_t)len;
        }
    }
    va_end(again);
    va_end(args);
}

void buf_put_int(struct buf *b, int64_t value)
{
    char text[INT_TEXT_MAX];
    size_t at = sizeof(text);
    /* Unsigned, because INT64_MIN has no positive counterpart. */
    uint64_t rest = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
    do {
        text[--at] = (char)('0' + rest % 10);
        rest /= 10;
    } while (rest > 0);
    if (value < 0)
        text[--at] = '-';
    buf_append(b, text + at, sizeof(text) - at);
}

void buf_put_number(struct buf *b, double value)
{
    if (!isfinite(value)) {
        buf_puts(b, "null"); /* JSON knows no other way to say that there is no number */
        return;
    }
    if (value > -whole_max && value < whole_max && (double)(int64_t)value == value) {
        buf_put_int(b, (int64_t)value);
        return;
    }
    char text[NUMBER_TEXT_MAX];
    int len = 0;
    for (int digits = 15; digits <= 17; digits++) {
        len = snprintf(text, sizeof(text), "%.*g", digits, value);
        if (strtod(text, NULL) == value)
            break;
    }
    assert(len > 0 && (size_t)len < sizeof(text));
    buf_append(b, text, (size_t)len);
}

enum error_code buf_check(const struct buf *b, struct error *err)
{
    if (b->failed == ERR_OK)
        return ERR_OK;
    if (b->failed == ERR_LIMIT)
        return error_set(err, ERR_LIMIT, "a text of more than %zu bytes",
                         b->max > 0 ? b->max : (size_t)BUF_DEFAULT_MAX);
    return error_set(err, b->failed, NULL);
}

enum error_code buf_reserve(struct buf *b, size_t extra, struct error *err)
{
    if (b->failed == ERR_OK && buf_room(b, extra) != NULL) {
        b->data[b->len] = '\0';
        return ERR_OK;
    }
    return buf_check(b, err);
}

void buf_clear(struct buf *b)
{
    b->len = 0;
    b->failed = ERR_OK;
    if (b->data != NULL)
        b->data[0] = '\0';
}

void buf_consume(struct buf *b, size_t len)
{
    assert(len <= b->len);
    if (len == 0)
        return;
    memmove(b->data, b->data + len, b->len - len + 1);
    b->len -= len;
}

char *buf_take(struct buf *b, size_t *ret_len)
{
    char *text = buf_room(b, 0) != NULL ? b->data : NULL;
    if (text == NULL)
        return NULL;
    text[b->len] = '\0';
    if (ret_len != NULL)
        *ret_len = b->len;
    *b = (struct buf){.max = b->max};
    return text;
}

void buf_done(struct buf *b)
{
    mem_free(b->data);
    *b = (struct buf){.max = b->max};
}
