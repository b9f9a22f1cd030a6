#include "orchestrator/cli/render.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <wchar.h>

/* ---- Characters --------------------------------------------------------------------------------
 */

/* One character of UTF-8; a byte that begins none counts as one by itself and gives U+FFFD. */
static size_t decode(const char *s, size_t len, uint32_t *ret)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    unsigned char c = (unsigned char)s[0];
    size_t need = c < 0x80 ? 1 : c < 0xc2 ? 0 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : c < 0xf5 ? 4 : 0;
    uint32_t value = need == 1 ? c : c & (0x7fU >> need);
    if (need == 0 || need > len) {
        *ret = 0xfffd;
        return 1;
    }
    for (size_t i = 1; i < need; i++) {
        unsigned char next = (unsigned char)s[i];
        if ((next & 0xc0) != 0x80) {
            *ret = 0xfffd;
            return 1;
        }
        value = (value << 6) | (next & 0x3fU);
    }
    bool surrogate = value >= 0xd800 && value <= 0xdfff;
    *ret = value >= least[need] && value <= 0x10ffff && !surrogate ? value : 0xfffd;
    return need;
}

/* What could move a cursor, or the reader: C0, DEL, C1, line separators, direction marks. */
static bool steers(uint32_t c)
{
    return c < 0x20 || (c >= 0x7f && c < 0xa0) || c == 0x61c || c == 0x200e || c == 0x200f ||
           (c >= 0x2028 && c <= 0x202e) || (c >= 0x2066 && c <= 0x2069) || c == 0xfeff;
}

static void put_visible(struct buf *b, uint32_t c)
{
    if (c == '\n')
        buf_puts(b, "\\n");
    else if (c == '\r')
        buf_puts(b, "\\r");
    else if (c == '\t')
        buf_puts(b, "\\t");
    else if (c < 0x100)
        buf_printf(b, "\\x%02x", (unsigned)c);
    else
        buf_printf(b, "\\u%04x", (unsigned)c);
}

static void put_character(struct buf *b, const char *s, size_t n, uint32_t c)
{
    if (steers(c))
        put_visible(b, c);
    else if (c == 0xfffd)
        buf_puts(b, "\xef\xbf\xbd");
    else
        buf_append(b, s, n);
}

void render_text(struct buf *b, const char *s)
{
    if (!s)
        return;
    for (size_t len = strlen(s), n = 0; len > 0; s += n, len -= n) {
        uint32_t c = 0;
        n = decode(s, len, &c);
        put_character(b, s, n, c);
    }
}

void render_lines(struct buf *b, const char *s, size_t len)
{
    for (size_t n = 0; len > 0; s += n, len -= n) {
        uint32_t c = 0;
        n = decode(s, len, &c);
        if (c == '\r') {
            /* With a newline it ends a line; alone it would let the next text hide this one. */
            if (len == 1 || s[1] != '\n')
                buf_putc(b, '\n');
        } else if (c == '\n' || c == '\t') {
            buf_putc(b, (char)c);
        } else {
            put_character(b, s, n, c);
        }
    }
}

void render_json(struct buf *b, const char *json, size_t len)
{
    for (size_t n = 0; len > 0; json += n, len -= n) {
        uint32_t c = 0;
        n = decode(json, len, &c);
        if (steers(c) && c != '\n' && c != '\t')
            buf_printf(b, "\\u%04x", (unsigned)c);
        else if (c == 0xfffd)
            buf_puts(b, "\xef\xbf\xbd");
        else
            buf_append(b, json, n);
    }
}

static size_t character_width(uint32_t c)
{
    int width = c < 0x80 ? 1 : wcwidth((wchar_t)c);
    return width < 0 ? 1 : (size_t)width;
}

size_t render_fit(const char *s, size_t len, size_t columns, size_t *ret_width)
{
    size_t at = 0;
    size_t width = 0;
    while (at < len) {
        uint32_t c = 0;
        size_t n = decode(s + at, len - at, &c);
        size_t more = character_width(c);
        if (width + more > columns)
            break;
        width += more;
        at += n;
    }
    *ret_width = width;
    return at;
}

size_t render_width(const char *s, size_t len)
{
    size_t width = 0;
    (void)render_fit(s, len, SIZE_MAX, &width);
    return width;
}

void render_wrapped(struct buf *b, const char *s, size_t len, size_t columns, size_t indent)
{
    size_t at = 0; /* column */
    const char *end = s + len;
    while (s < end) {
        const char *space = memchr(s, ' ', (size_t)(end - s));
        size_t word = space ? (size_t)(space - s) : (size_t)(end - s);
        size_t width = render_width(s, word);
        if (word > 0 && at > 0 && at + 1 + width > columns) {
            buf_putc(b, '\n');
            for (size_t i = 0; i < indent; i++)
                buf_putc(b, ' ');
            at = 0;
        }
        if (word > 0) {
            if (at > 0)
                buf_putc(b, ' ');
            buf_append(b, s, word);
            at += width + (at > 0 ? 1 : 0);
        }
        s += word + (space ? 1 : 0);
    }
}

/* ---- Colours -----------------------------------------------------------------------------------
 */

static const char *const ink_codes[INK_COUNT] = {
    [INK_NONE] = "",         [INK_GOOD] = "\033[32m", [INK_BAD] = "\033[31m",
    [INK_WARN] = "\033[33m", [INK_DIM] = "\033[2m",   [INK_BOLD] = "\033[1m",
};

void render_ink_begin(struct buf *b, const struct style *style, enum ink ink)
{
    if (style->colour && ink != INK_NONE)
        buf_puts(b, ink_codes[ink]);
}

void render_ink_end(struct buf *b, const struct style *style, enum ink ink)
{
    if (style->colour && ink != INK_NONE)
        buf_puts(b, "\033[0m");
}

void render_ink(struct buf *b, const struct style *style, enum ink ink, const char *s)
{
    render_ink_begin(b, style, ink);
    render_text(b, s);
    render_ink_end(b, style, ink);
}

enum ink rollout_ink(enum rollout_state state)
{
    switch (state) {
    case ROLLOUT_SUCCEEDED:
        return INK_GOOD;
    case ROLLOUT_FAILED:
    case ROLLOUT_ROLLED_BACK:
    case ROLLOUT_ROLLBACK_FAILED:
        return INK_BAD;
    case ROLLOUT_PAUSED:
    case ROLLOUT_CANCELLED:
    case ROLLOUT_ROLLING_BACK:
        return INK_WARN;
    case ROLLOUT_PENDING:
    case ROLLOUT_RUNNING:
    case ROLLOUT_STATE_COUNT:
        break;
    }
    return INK_NONE;
}

enum ink execution_ink(enum execution_state state)
{
    switch (state) {
    case EXECUTION_SUCCEEDED:
        return INK_GOOD;
    case EXECUTION_FAILED:
    case EXECUTION_TIMED_OUT:
    case EXECUTION_ROLLED_BACK:
    case EXECUTION_ROLLBACK_FAILED:
        return INK_BAD;
    case EXECUTION_UNREACHABLE:
    case EXECUTION_UNKNOWN:
    case EXECUTION_CANCELLED:
    case EXECUTION_ROLLING_BACK:
        return INK_WARN;
    case EXECUTION_PENDING:
    case EXECUTION_SKIPPED:
        return INK_DIM;
    case EXECUTION_QUEUED:
    case EXECUTION_RUNNING:
    case EXECUTION_STATE_COUNT:
        break;
    }
    return INK_NONE;
}

enum ink step_ink(enum step_state state)
{
    switch (state) {
    case STEP_SUCCEEDED:
        return INK_GOOD;
    case STEP_FAILED:
    case STEP_TIMED_OUT:
    case STEP_ROLLBACK_FAILED:
        return INK_BAD;
    case STEP_ROLLED_BACK:
        return INK_WARN;
    case STEP_PENDING:
    case STEP_SKIPPED:
        return INK_DIM;
    case STEP_RUNNING:
    case STEP_STATE_COUNT:
        break;
    }
    return INK_NONE;
}

/* ---- Times -------------------------------------------------------------------------------------
 */

void render_time(struct buf *b, const char *time)
{
    enum { DATE = 10, SECONDS = 19 };
    if (!time || !*time) {
        buf_putc(b, '-');
    } else if (strlen(time) > SECONDS && time[DATE] == 'T') {
        AUTO_FREE char *text = mem_strndup(time, SECONDS);
        if (!text) {
            b->failed = ERR_NO_MEMORY;
            return;
        }
        text[DATE] = ' ';
        render_text(b, text);
    } else {
        render_text(b, time);
    }
}

int64_t render_time_ms(const char *time)
{
    struct tm tm = {0};
    int64_t ms = 0;
    const char *rest = time ? strptime(time, "%Y-%m-%dT%H:%M:%S", &tm) : NULL;
    if (!rest)
        return -1;
    if (*rest == '.') {
        int64_t scale = 100;
        for (rest++; *rest >= '0' && *rest <= '9'; rest++, scale /= 10)
            ms += (*rest - '0') * scale;
    }
    return strcmp(rest, "Z") == 0 ? (int64_t)timegm(&tm) * 1000 + ms : -1;
}

void render_size(struct buf *b, int64_t bytes)
{
    static const char *const units[] = {"bytes", "KiB", "MiB", "GiB", "TiB"};
    double size = (double)bytes;
    size_t unit = 0;
    for (; size >= 1024 && unit + 1 < ARRAY_LEN(units); unit++)
        size /= 1024;
    buf_printf(b, unit == 0 ? "%.0f %s" : "%.1f %s", size, units[unit]);
}

/* ---- Tables ------------------------------------------------------------------------------------
 */

struct table_cell {
    size_t offset, len, width;
    enum ink ink;
};

enum { TABLE_GAP = 2, TABLE_LAST_MIN = 12 /* columns the last one gets at least */ };

void table_init(struct table *t, const struct column *columns, size_t count)
{
    assert(count > 0 && count <= TABLE_COLUMNS_MAX);
    *t = (struct table){.columns = columns, .column_count = count};
    for (size_t i = 0; i < count; i++)
        t->widths[i] = strlen(columns[i].heading);
}

void table_done(struct table *t)
{
    buf_done(&t->text);
    buf_done(&t->cells);
}

static void end_cell(struct table *t, enum ink ink, size_t offset)
{
    struct table_cell cell = {.offset = offset, .len = t->text.len - offset, .ink = ink};
    size_t column = t->cell_count % t->column_count;
    if (cell.len == 0) {
        buf_putc(&t->text, '-');
        cell.len = t->text.len - offset;
    }
    if (cell.len > 0)
        cell.width = render_width(t->text.data + offset, cell.len);
    if (cell.width > t->widths[column])
        t->widths[column] = cell.width;
    buf_append(&t->cells, &cell, sizeof(cell));
    t->cell_count++;
}

void table_cell(struct table *t, enum ink ink, const char *text)
{
    size_t offset = t->text.len;
    render_text(&t->text, text);
    end_cell(t, ink, offset);
}

void table_cell_int(struct table *t, enum ink ink, int64_t number)
{
    size_t offset = t->text.len;
    buf_put_int(&t->text, number);
    end_cell(t, ink, offset);
}

void table_cell_time(struct table *t, const char *time)
{
    size_t offset = t->text.len;
    render_time(&t->text, time);
    end_cell(t, INK_NONE, offset);
}

static void put_spaces(struct buf *b, size_t count)
{
    while (count-- > 0)
        buf_putc(b, ' ');
}

/* Where the last column begins. */
static size_t last_start(const struct table *t)
{
    size_t used = 0;
    for (size_t i = 0; i + 1 < t->column_count; i++)
        used += t->widths[i] + TABLE_GAP;
    return used;
}

/* Columns left for the last column; SIZE_MAX: as many as it wants. */
static size_t last_room(const struct table *t, const struct style *style)
{
    size_t page = style->columns > 0 ? (size_t)style->columns : SIZE_MAX;
    if (t->wrap && page > RENDER_PAGE)
        page = RENDER_PAGE;
    if (page == SIZE_MAX)
        return SIZE_MAX;
    size_t used = last_start(t);
    return used + TABLE_LAST_MIN < page ? page - used : TABLE_LAST_MIN;
}

/* The last cell of a row, wrapped, or cut with a mark, when it is too long. */
static void put_last(struct buf *b, const struct table *t, const struct style *style, const char *s,
                     size_t len)
{
    size_t width = 0;
    size_t room = last_room(t, style);
    if (t->wrap) {
        render_wrapped(b, s, len, room, last_start(t));
    } else if (render_width(s, len) <= room) {
        buf_append(b, s, len);
    } else {
        buf_append(b, s, render_fit(s, len, room - 1, &width));
        buf_puts(b, style->utf8 ? "\xe2\x80\xa6" : ">");
    }
}

static void put_cell(const struct table *t, const struct style *style, struct buf *b, size_t column,
                     const struct table_cell *cell, const char *text)
{
    bool last = column + 1 == t->column_count;
    size_t pad = t->widths[column] - cell->width;
    if (t->columns[column].right)
        put_spaces(b, pad);
    render_ink_begin(b, style, cell->ink);
    if (last)
        put_last(b, t, style, text, cell->len);
    else
        buf_append(b, text, cell->len);
    render_ink_end(b, style, cell->ink);
    if (!last)
        put_spaces(b, (t->columns[column].right ? 0 : pad) + TABLE_GAP);
    else
        buf_putc(b, '\n');
}

void table_flush(struct table *t, const struct style *style, struct buf *b)
{
    assert(t->cell_count % t->column_count == 0);
    if (t->text.failed != ERR_OK || t->cells.failed != ERR_OK) {
        b->failed = t->text.failed != ERR_OK ? t->text.failed : t->cells.failed;
        return;
    }
    for (size_t i = 0; !t->headed && i < t->column_count; i++) {
        const char *heading = t->columns[i].heading;
        struct table_cell cell = {
            .len = strlen(heading), .width = strlen(heading), .ink = INK_BOLD};
        put_cell(t, style, b, i, &cell, heading);
    }
    t->headed = true;
    for (size_t i = 0; i < t->cell_count; i++) {
        struct table_cell cell;
        memcpy(&cell, t->cells.data + i * sizeof(cell), sizeof(cell));
        put_cell(t, style, b, i % t->column_count, &cell, t->text.data + cell.offset);
    }
    buf_clear(&t->text);
    buf_clear(&t->cells);
    t->cell_count = 0;
}
