#include "common/json/json_internal.h"

#include "common/base/text.h"

#include <string.h>

enum { INDENT = 2 };

/* True for a byte that stands for itself in a string: ASCII that needs no escape. */
static inline bool is_plain(unsigned char c)
{
    return c >= 0x20 && c < 0x80 && c != '"' && c != '\\';
}

static void write_escape(struct buf *b, unsigned char c)
{
    static const char short_forms[128] = {
        ['"'] = '"',  ['\\'] = '\\', ['\b'] = 'b', ['\f'] = 'f',
        ['\n'] = 'n', ['\r'] = 'r',  ['\t'] = 't',
    };
    static const char hex[] = "0123456789abcdef";
    if (c == '\0') {
        buf_puts(b, TEXT_REPLACEMENT);
    } else if (short_forms[c] != '\0') {
        char escape[2] = {'\\', short_forms[c]};
        buf_append(b, escape, sizeof(escape));
    } else {
        char escape[6] = {'\\', 'u', '0', '0', hex[c >> 4], hex[c & 0xF]};
        buf_append(b, escape, sizeof(escape));
    }
}

void json_write_string(struct buf *b, const char *s, size_t len)
{
    size_t start = 0; /* of the run that is copied as it is */
    size_t at = 0;
    buf_putc(b, '"');
    while (at < len) {
        unsigned char c = (unsigned char)s[at];
        if (is_plain(c)) {
            at++;
            continue;
        }
        bool valid;
        size_t next = text_utf8_next(s + at, len - at, &valid);
        if (c < 0x80 || !valid) {
            buf_append(b, s + start, at - start);
            if (valid)
                write_escape(b, c);
            else
                buf_puts(b, TEXT_REPLACEMENT);
            start = at + next;
        }
        at += next;
    }
    buf_append(b, s + start, at - start);
    buf_putc(b, '"');
}

static void write_scalar(struct buf *b, const struct json_value *v)
{
    switch (json_kind(v)) {
    case JSON_IS_BOOL:
        buf_puts(b, json_bool(v) ? "true" : "false");
        break;
    case JSON_IS_NUMBER:
        buf_put_number(b, json_number(v));
        break;
    case JSON_IS_STRING:
        json_write_string(b, json_string(v), strlen(json_string(v)));
        break;
    case JSON_IS_NULL:
    case JSON_IS_ARRAY:
    case JSON_IS_OBJECT:
        buf_puts(b, "null");
        break;
    }
}

static void write_line(struct buf *b, size_t depth)
{
    buf_putc(b, '\n');
    for (size_t i = 0; i < depth * INDENT; i++)
        buf_putc(b, ' ');
}

/* Depth is bounded by JSON_DEPTH_MAX, which json_parse keeps. */
static void write_value(struct buf *b, const struct json_value *v, bool pretty, size_t depth)
{
    enum json_kind kind = json_kind(v);
    if (kind != JSON_IS_ARRAY && kind != JSON_IS_OBJECT) {
        write_scalar(b, v);
        return;
    }
    const struct json_value *child = json_first(v);
    bool lines = pretty && child != NULL;
    buf_putc(b, kind == JSON_IS_ARRAY ? '[' : '{');
    for (; child != NULL; child = json_next(child)) {
        if (lines)
            write_line(b, depth + 1);
        if (kind == JSON_IS_OBJECT) {
            json_write_string(b, json_name(child), strlen(json_name(child)));
            buf_puts(b, pretty ? ": " : ":");
        }
        write_value(b, child, pretty, depth + 1);
        if (json_next(child) != NULL)
            buf_putc(b, ',');
    }
    if (lines)
        write_line(b, depth);
    buf_putc(b, kind == JSON_IS_ARRAY ? ']' : '}');
}

void json_write_value(struct buf *b, const struct json_value *v)
{
    write_value(b, v, false, 0);
}

void json_write_pretty(struct buf *b, const struct json_value *v)
{
    write_value(b, v, true, 0);
}
