#include "handlers/diff.h"

#include "common/base/alloc.h"
#include "common/base/cleanup.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

/*
 * The edits are found as E. Myers does ("An O(ND) difference algorithm and its variations", 1986):
 * for each number of edits d, how far one comes on each diagonal k (place in `from` minus place in
 * `to`). The rows of all d are kept, and the path is read backwards from them.
 */

struct line {
    const char *text;
    size_t len; /* with its newline, if it has one */
};

struct side {
    struct line *lines;
    size_t count;
    bool *edited; /* removed from `from`, or added in `to` */
};

struct diff {
    struct side from, to;
    size_t head, tail; /* lines that are the same at the beginning and at the end */
    int32_t **rows;    /* of each d: 2d + 1 places */
    size_t rows_count;
};

/* ---- Lines ------------------------------------------------------------------------------- */

static enum error_code side_init(struct side *s, const struct diff_text *text, struct error *err)
{
    const char *at = text->data;
    const char *end = text->data ? text->data + text->len : NULL;
    size_t count = 0;
    for (const char *p = at; p != end; count++) {
        const char *newline = memchr(p, '\n', (size_t)(end - p));
        p = newline ? newline + 1 : end;
    }
    s->lines = mem_array(count, sizeof(*s->lines));
    s->edited = mem_array(count, sizeof(*s->edited));
    if (!s->lines || !s->edited)
        return error_set(err, ERR_NO_MEMORY, NULL);
    for (s->count = 0; at != end; s->count++) {
        const char *newline = memchr(at, '\n', (size_t)(end - at));
        const char *next = newline ? newline + 1 : end;
        s->lines[s->count] = (struct line){at, (size_t)(next - at)};
        at = next;
    }
    return ERR_OK;
}

static bool same_line(const struct diff *d, size_t i, size_t j)
{
    const struct line *a = &d->from.lines[i];
    const struct line *b = &d->to.lines[j];
    return a->len == b->len && memcmp(a->text, b->text, a->len) == 0;
}

static void diff_done(struct diff *d)
{
    for (size_t i = 0; i < d->rows_count; i++)
        mem_free(d->rows[i]);
    mem_free(d->rows);
    mem_free(d->from.lines);
    mem_free(d->from.edited);
    mem_free(d->to.lines);
    mem_free(d->to.edited);
}

static void trim(struct diff *d)
{
    size_t least = d->from.count < d->to.count ? d->from.count : d->to.count;
    while (d->head < least && same_line(d, d->head, d->head))
        d->head++;
    while (d->tail < least - d->head &&
           same_line(d, d->from.count - d->tail - 1, d->to.count - d->tail - 1))
        d->tail++;
}

/* ---- Edits ------------------------------------------------------------------------------- */

/* Where diagonal k begins with d edits, from what d - 1 edits reached. */
static int32_t step_from(const int32_t *row, int32_t d, int32_t k)
{
    /* row[x + (d - 1)] is diagonal x */
    if (k == -d || (k != d && row[k - 1 + d - 1] < row[k + 1 + d - 1]))
        return row[k + 1 + d - 1]; /* a line of `to` is added */
    return row[k - 1 + d - 1] + 1; /* a line of `from` is removed */
}

/* Fills the row of d; true when the end is reached. */
static bool row_fill(const struct diff *diff, int32_t d)
{
    int32_t from = (int32_t)(diff->from.count - diff->head - diff->tail);
    int32_t to = (int32_t)(diff->to.count - diff->head - diff->tail);
    int32_t *row = diff->rows[d];
    for (int32_t k = -d; k <= d; k += 2) {
        int32_t i = d == 0 ? 0 : step_from(diff->rows[d - 1], d, k);
        while (i < from && i - k < to && i - k >= 0 &&
               same_line(diff, diff->head + (size_t)i, diff->head + (size_t)(i - k)))
            i++;
        row[k + d] = i;
        if (i >= from && i - k >= to)
            return true;
    }
    return false;
}

/* Marks what is edited, from the end of the path to its beginning. */
static void path_mark(struct diff *diff, int32_t d)
{
    int32_t i = (int32_t)(diff->from.count - diff->head - diff->tail);
    int32_t k = i - (int32_t)(diff->to.count - diff->head - diff->tail);
    for (; d > 0; d--) {
        const int32_t *row = diff->rows[d - 1];
        bool added = k == -d || (k != d && row[k - 1 + d - 1] < row[k + 1 + d - 1]);
        k += added ? 1 : -1;
        i = row[k + d - 1];
        if (added)
            diff->to.edited[diff->head + (size_t)(i - k)] = true;
        else
            diff->from.edited[diff->head + (size_t)i] = true;
    }
}

static void replace_all(struct diff *d)
{
    for (size_t i = d->head; i < d->from.count - d->tail; i++)
        d->from.edited[i] = true;
    for (size_t j = d->head; j < d->to.count - d->tail; j++)
        d->to.edited[j] = true;
}

static enum error_code edits_find(struct diff *diff, struct error *err)
{
    trim(diff);
    diff->rows = mem_array(DIFF_EDITS_MAX + 1, sizeof(*diff->rows));
    if (!diff->rows)
        return error_set(err, ERR_NO_MEMORY, NULL);
    for (int32_t d = 0; d <= DIFF_EDITS_MAX; d++) {
        diff->rows[d] = mem_array(2 * (size_t)d + 1, sizeof(int32_t));
        if (!diff->rows[d])
            return error_set(err, ERR_NO_MEMORY, NULL);
        diff->rows_count++;
        if (row_fill(diff, d)) {
            path_mark(diff, d);
            return ERR_OK;
        }
    }
    replace_all(diff);
    return ERR_OK;
}

/* ---- Hunks ------------------------------------------------------------------------------- */

/* A place in both texts. */
struct place {
    size_t i, j;
};

static char op_at(const struct diff *d, struct place p)
{
    if (p.i < d->from.count && d->from.edited[p.i])
        return '-';
    return p.j < d->to.count && d->to.edited[p.j] ? '+' : ' ';
}

static bool at_end(const struct diff *d, struct place p)
{
    return p.i == d->from.count && p.j == d->to.count;
}

static struct place step(const struct diff *d, struct place p)
{
    char op = op_at(d, p);
    p.i += op != '+';
    p.j += op != '-';
    return p;
}

/* Behind the hunk that begins at p: after the context of its last edit. */
static struct place hunk_end(const struct diff *d, struct place p)
{
    struct place end = p;
    size_t same = 0;
    bool edited = false;
    for (; !at_end(d, p) && (!edited || same <= 2 * (size_t)DIFF_CONTEXT); p = step(d, p)) {
        bool edit = op_at(d, p) != ' ';
        edited = edited || edit;
        same = edit ? 0 : same + 1;
        if (edit || (edited && same <= DIFF_CONTEXT) || !edited)
            end = step(d, p);
    }
    return end;
}

static void put_range(struct buf *b, char sign, size_t first, size_t count)
{
    buf_printf(b, "%c%zu", sign, count == 0 ? first : first + 1);
    if (count != 1)
        buf_printf(b, ",%zu", count);
}

static void put_line(struct buf *b, char op, const struct line *line)
{
    buf_putc(b, op);
    buf_append(b, line->text, line->len);
    if (line->text[line->len - 1] != '\n')
        buf_puts(b, "\n\\ No newline at end of file\n");
}

static void put_hunk(struct buf *b, const struct diff *d, struct place p, struct place end)
{
    buf_puts(b, "@@ ");
    put_range(b, '-', p.i, end.i - p.i);
    buf_putc(b, ' ');
    put_range(b, '+', p.j, end.j - p.j);
    buf_puts(b, " @@\n");
    while (p.i != end.i || p.j != end.j) {
        char op = op_at(d, p);
        put_line(b, op, op == '+' ? &d->to.lines[p.j] : &d->from.lines[p.i]);
        p = step(d, p);
    }
}

static void put_hunks(struct buf *b, const struct diff *d)
{
    struct place p = {0, 0};
    while (!at_end(d, p)) {
        struct place edit = p;
        while (!at_end(d, edit) && op_at(d, edit) == ' ')
            edit = step(d, edit);
        if (at_end(d, edit))
            return;
        size_t context = edit.i - p.i < DIFF_CONTEXT ? edit.i - p.i : DIFF_CONTEXT;
        struct place begin = {edit.i - context, edit.j - context};
        p = hunk_end(d, begin);
        put_hunk(b, d, begin, p);
    }
}

static size_t count_edited(const struct side *s)
{
    size_t count = 0;
    for (size_t i = 0; i < s->count; i++)
        count += s->edited[i];
    return count;
}

enum error_code diff_unified(struct buf *b, const struct diff_text *from,
                             const struct diff_text *to, struct diff_counts *ret_counts,
                             struct error *err)
{
    __attribute__((cleanup(diff_done))) struct diff d = {0};
    enum error_code code = side_init(&d.from, from, err);
    if (code == ERR_OK)
        code = side_init(&d.to, to, err);
    if (code == ERR_OK)
        code = edits_find(&d, err);
    if (code != ERR_OK)
        return code;
    const struct diff_counts counts = {count_edited(&d.to), count_edited(&d.from)};
    if (counts.added + counts.removed > 0) {
        buf_printf(b, "--- %s\n+++ %s\n", from->name ? from->name : "/dev/null",
                   to->name ? to->name : "/dev/null");
        put_hunks(b, &d);
    }
    code = buf_check(b, err);
    if (code == ERR_OK)
        *ret_counts = counts;
    return code;
}
