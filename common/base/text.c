#include "common/base/text.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

/* The bytes that may follow a lead byte first, and how many follow in all (RFC 3629, table 3-7 of
 * the Unicode standard). 0: not a lead byte. */
struct lead {
    unsigned char low, high;
    unsigned char count;
};

static struct lead lead_of(unsigned char c)
{
    if (c >= 0xC2 && c <= 0xDF)
        return (struct lead){0x80, 0xBF, 1};
    if (c == 0xE0)
        return (struct lead){0xA0, 0xBF, 2}; /* below: overlong */
    if (c == 0xED)
        return (struct lead){0x80, 0x9F, 2}; /* above: surrogates */
    if (c >= 0xE1 && c <= 0xEF)
        return (struct lead){0x80, 0xBF, 2};
    if (c == 0xF0)
        return (struct lead){0x90, 0xBF, 3}; /* below: overlong */
    if (c >= 0xF1 && c <= 0xF3)
        return (struct lead){0x80, 0xBF, 3};
    if (c == 0xF4)
        return (struct lead){0x80, 0x8F, 3}; /* above: past U+10FFFF */
    return (struct lead){0, 0, 0};
}

size_t text_utf8_next(const char *s, size_t len, bool *ret_valid)
{
    *ret_valid = true;
    if (len == 0)
        return 0;
    unsigned char first = (unsigned char)s[0];
    if (first < 0x80)
        return 1;
    struct lead lead = lead_of(first);
    *ret_valid = false;
    if (lead.count == 0)
        return 1;
    for (size_t i = 1; i <= lead.count; i++) {
        unsigned char low = i == 1 ? lead.low : 0x80;
        unsigned char high = i == 1 ? lead.high : 0xBF;
        if (i >= len || (unsigned char)s[i] < low || (unsigned char)s[i] > high)
            return i;
    }
    *ret_valid = true;
    return (size_t)lead.count + 1;
}

bool text_utf8_valid(const char *s, size_t len, size_t *ret_offset)
{
    size_t at = 0;
    while (at < len) {
        uint64_t eight;
        if (len - at >= sizeof(eight)) {
            memcpy(&eight, s + at, sizeof(eight));
            if ((eight & UINT64_C(0x8080808080808080)) == 0) {
                at += sizeof(eight);
                continue;
            }
        }
        bool valid;
        size_t next = text_utf8_next(s + at, len - at, &valid);
        if (!valid) {
            if (ret_offset != NULL)
                *ret_offset = at;
            return false;
        }
        at += next;
    }
    return true;
}

static bool is_continuation(char c)
{
    return ((unsigned char)c & 0xC0) == 0x80;
}

size_t text_utf8_cut(const char *s, size_t len, size_t max_len)
{
    if (len <= max_len)
        return len;
    size_t cut = max_len;
    while (cut > 0 && max_len - cut < 3 && is_continuation(s[cut]))
        cut--;
    /* A run of continuation bytes longer than any character's is no character to keep whole. */
    return is_continuation(s[cut]) ? max_len : cut;
}

/* True for what a terminal or a reader of lines would act upon: C0, DEL and C1 controls, and the
 * line and paragraph separators. */
static bool is_control(const unsigned char *c, size_t len)
{
    if (len == 1)
        return c[0] < 0x20 || c[0] == 0x7F;
    if (len == 2)
        return c[0] == 0xC2 && c[1] < 0xA0;
    return len == 3 && c[0] == 0xE2 && c[1] == 0x80 && (c[2] == 0xA8 || c[2] == 0xA9);
}

/* Of a character of at most three bytes. */
static unsigned code_point(const unsigned char *c, size_t len)
{
    if (len == 1)
        return c[0];
    if (len == 2)
        return (c[0] & 0x1FU) << 6 | (c[1] & 0x3FU);
    return (c[0] & 0x0FU) << 12 | (c[1] & 0x3FU) << 6 | (c[2] & 0x3FU);
}

size_t text_escape(const char *s, size_t len, char ret[TEXT_ESCAPE_MAX])
{
    static const char plain[] = "\"\\\n\t\r";
    static const char letters[] = "\"\\ntr";
    const unsigned char *c = (const unsigned char *)s;
    const char *short_form = len == 1 && *s != '\0' ? strchr(plain, *s) : NULL;
    if (short_form != NULL) {
        ret[0] = '\\';
        ret[1] = letters[short_form - plain];
        return 2;
    }
    if (!is_control(c, len))
        return 0;
    return (size_t)snprintf(ret, TEXT_ESCAPE_MAX, "\\u%04x", code_point(c, len));
}

static unsigned char fold(char c)
{
    return (unsigned char)(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
}

static size_t min_of(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* True when the two characters before a and those before b are the same, swapped. */
static bool is_swap(const char *a, const char *b)
{
    return fold(a[-1]) == fold(b[-2]) && fold(a[-2]) == fold(b[-1]);
}

/* Levenshtein distance of two names of at most TEXT_CLOSEST_MAX bytes, case ignored, with a swap of
 * neighbours, the commonest slip of all, counted as one change. */
static size_t distance(const char *a, size_t a_len, const char *b, size_t b_len)
{
    /* Row i holds the distances of a's first i characters to b's first j; three are needed. */
    size_t rows[3][TEXT_CLOSEST_MAX + 1];
    for (size_t j = 0; j <= b_len; j++)
        rows[0][j] = j;
    for (size_t i = 1; i <= a_len; i++) {
        size_t *row = rows[i % 3];
        const size_t *above = rows[(i - 1) % 3];
        row[0] = i;
        for (size_t j = 1; j <= b_len; j++) {
            size_t changed = above[j - 1] + (fold(a[i - 1]) != fold(b[j - 1]));
            row[j] = min_of(changed, min_of(above[j], row[j - 1]) + 1);
            if (i > 1 && j > 1 && is_swap(a + i, b + j))
                row[j] = min_of(row[j], rows[(i - 2) % 3][j - 2] + 1);
        }
    }
    return rows[a_len % 3][b_len];
}

const char *text_closest(const char *name, const char *const *candidates, size_t count)
{
    size_t len = strnlen(name, TEXT_CLOSEST_MAX + 1);
    if (len > TEXT_CLOSEST_MAX)
        return NULL;
    /* The first that is better than this wins. */
    size_t best = (len / 3 > 1 ? len / 3 : 1) + 1;
    best = min_of(best, len);
    const char *closest = NULL;
    for (size_t i = 0; i < count; i++) {
        size_t candidate_len = strnlen(candidates[i], TEXT_CLOSEST_MAX + 1);
        if (candidate_len > TEXT_CLOSEST_MAX)
            continue;
        size_t d = distance(name, len, candidates[i], candidate_len);
        if (d < best) {
            best = d;
            closest = candidates[i];
        }
    }
    return closest;
}

void text_hex(const void *bytes, size_t len, char *ret_text)
{
    static const char digits[] = "0123456789abcdef";
    const unsigned char *from = bytes;
    for (size_t i = 0; i < len; i++) {
        *ret_text++ = digits[from[i] >> 4];
        *ret_text++ = digits[from[i] & 15];
    }
    *ret_text = '\0';
}

static int digit_of(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool text_unhex(const char *text, void *ret_bytes, size_t len)
{
    unsigned char *bytes = ret_bytes;
    if (strlen(text) != 2 * len)
        return false;
    for (const char *at = text; *at; at++) {
        if (digit_of(*at) < 0)
            return false;
    }
    for (size_t i = 0; i < len; i++)
        bytes[i] = (unsigned char)((unsigned)digit_of(text[2 * i]) << 4 |
                                   (unsigned)digit_of(text[2 * i + 1]));
    return true;
}
