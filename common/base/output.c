#include "common/base/output.h"

#include "common/base/alloc.h"
#include "common/base/text.h"

#include <inttypes.h>
#include <string.h>

enum { HEAD_CAPACITY_FIRST = 512 };

static size_t min_of(size_t a, size_t b)
{
    return a < b ? a : b;
}

static bool head_reserve(struct output *o, size_t needed)
{
    if (needed <= o->head_capacity)
        return true;
    size_t capacity = o->head_capacity > 0 ? o->head_capacity : HEAD_CAPACITY_FIRST;
    while (capacity < needed)
        capacity *= 2;
    char *head = mem_realloc(o->head, capacity);
    if (head == NULL)
        return false;
    o->head = head;
    o->head_capacity = capacity;
    return true;
}

static void tail_write(struct output *o, const char *data, size_t len)
{
    size_t first = min_of(len, OUTPUT_TAIL_MAX - o->tail_pos);
    memcpy(o->tail + o->tail_pos, data, first);
    memcpy(o->tail, data + first, len - first);
    o->tail_pos = (o->tail_pos + len) % OUTPUT_TAIL_MAX;
}

enum error_code output_write(struct output *o, const void *data, size_t len, struct error *err)
{
    if (len == 0)
        return ERR_OK;
    const char *bytes = data;
    size_t to_head = min_of(len, OUTPUT_HEAD_MAX - o->head_len);
    size_t to_tail = len - to_head;

    /* Memory first, so that a failure leaves the output as it was. */
    if (!head_reserve(o, o->head_len + to_head))
        return error_set(err, ERR_NO_MEMORY, NULL);
    if (to_tail > 0 && o->tail == NULL) {
        o->tail = mem_alloc(OUTPUT_TAIL_MAX);
        if (o->tail == NULL)
            return error_set(err, ERR_NO_MEMORY, NULL);
    }
    memcpy(o->head + o->head_len, bytes, to_head);
    o->head_len += to_head;
    if (to_tail > 0) {
        size_t kept = min_of(to_tail, OUTPUT_TAIL_MAX);
        tail_write(o, bytes + len - kept, kept);
    }
    o->total += len;
    return ERR_OK;
}

/* How many bytes the tail holds. */
static size_t tail_len(const struct output *o)
{
    uint64_t past_head = o->total - o->head_len;
    return past_head < OUTPUT_TAIL_MAX ? (size_t)past_head : OUTPUT_TAIL_MAX;
}

bool output_truncated(const struct output *o)
{
    return o->total - o->head_len > OUTPUT_TAIL_MAX;
}

static void append_tail(const struct output *o, struct buf *b)
{
    size_t len = tail_len(o);
    if (len < OUTPUT_TAIL_MAX) {
        buf_append(b, o->tail, len);
    } else {
        buf_append(b, o->tail + o->tail_pos, OUTPUT_TAIL_MAX - o->tail_pos);
        buf_append(b, o->tail, o->tail_pos);
    }
}

/* Appends what is text in `raw`. A NUL would end the text early for whoever reads it as a string.
 */
static void append_text(struct buf *b, const struct buf *raw)
{
    size_t start = 0;
    size_t at = 0;
    while (at < raw->len) {
        bool valid;
        size_t next = text_utf8_next(raw->data + at, raw->len - at, &valid);
        if (!valid || raw->data[at] == '\0') {
            buf_append(b, raw->data + start, at - start);
            buf_puts(b, TEXT_REPLACEMENT);
            start = at + next;
        }
        at += next;
    }
    if (at > start)
        buf_append(b, raw->data + start, at - start);
}

void output_text(const struct output *o, struct buf *b)
{
    if (o->total == 0)
        return;
    AUTO_BUF struct buf raw = BUF_INIT;
    buf_append(&raw, o->head, o->head_len);
    if (output_truncated(o)) {
        append_text(b, &raw);
        buf_printf(b, "\n[... %" PRIu64 " bytes left out ...]\n",
                   o->total - o->head_len - OUTPUT_TAIL_MAX);
        buf_clear(&raw);
    }
    if (o->tail != NULL)
        append_tail(o, &raw);
    append_text(b, &raw);
    if (b->failed == ERR_OK)
        b->failed = raw.failed;
}

void output_done(struct output *o)
{
    mem_free(o->head);
    mem_free(o->tail);
    *o = OUTPUT_INIT;
}
