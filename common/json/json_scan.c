#include "common/json/json_internal.h"

#include "common/base/text.h"

#include <string.h>

static bool fail(struct json_scan *s, const char *fault)
{
    s->code = ERR_INVALID;
    s->fault = fault;
    return false;
}

static bool fail_limit(struct json_scan *s, const char *fault)
{
    s->code = ERR_LIMIT;
    s->fault = fault;
    return false;
}

/* The byte at pos; NUL, which stands nowhere in a text that gets this far, at the end. */
static char peek(const struct json_scan *s)
{
    if (s->pos == s->len)
        return '\0';
    return s->text[s->pos];
}

static void skip_space(struct json_scan *s)
{
    while (s->pos < s->len) {
        char c = s->text[s->pos];
        if (c != ' ' && c != '\n' && c != '\t' && c != '\r')
            break;
        s->pos++;
    }
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* Four hexadecimal digits at pos; -1 when there are not four. */
static int hex_read(struct json_scan *s)
{
    int value = 0;
    for (int i = 0; i < 4; i++, s->pos++) {
        char c = peek(s);
        int digit;
        if (is_digit(c))
            digit = c - '0';
        else if (c >= 'a' && c <= 'f')
            digit = c - 'a' + 10;
        else if (c >= 'A' && c <= 'F')
            digit = c - 'A' + 10;
        else
            return -1;
        value = value * 16 + digit;
    }
    return value;
}

/* What follows "\u". */
static bool scan_unicode_escape(struct json_scan *s)
{
    int first = hex_read(s);
    if (first < 0)
        return fail(s, "\\u takes four hexadecimal digits");
    if (first == 0)
        return fail(s, "a NUL in a string");
    if (first < 0xD800 || first > 0xDFFF)
        return true;
    if (first <= 0xDBFF && s->len - s->pos >= 6 && memcmp(s->text + s->pos, "\\u", 2) == 0) {
        s->pos += 2;
        int second = hex_read(s);
        if (second >= 0xDC00 && second <= 0xDFFF)
            return true;
    }
    return fail(s, "half of a surrogate pair in a string");
}

/* What follows a backslash. */
static bool scan_escape(struct json_scan *s)
{
    char c = peek(s);
    if (c == 'u') {
        s->pos++;
        return scan_unicode_escape(s);
    }
    if (c == '\0' || strchr("\"\\/bfnrt", c) == NULL)
        return fail(s, "no such escape in a string");
    s->pos++;
    return true;
}

static bool scan_string(struct json_scan *s)
{
    size_t start = ++s->pos;
    while (s->pos < s->len) {
        unsigned char c = (unsigned char)s->text[s->pos];
        if (c == '"') {
            s->strings++;
            s->string_bytes += s->pos - start;
            s->pos++;
            return true;
        }
        if (c < 0x20)
            return fail(s, "a control character in a string must be escaped");
        s->pos++;
        if (c == '\\' && !scan_escape(s))
            return false;
    }
    return fail(s, "the text ends in a string");
}

static bool scan_digits(struct json_scan *s)
{
    if (!is_digit(peek(s)))
        return fail(s, "a digit is expected");
    while (is_digit(peek(s)))
        s->pos++;
    return true;
}

static bool scan_number(struct json_scan *s)
{
    size_t start = s->pos;
    if (peek(s) == '-')
        s->pos++;
    if (peek(s) == '0') {
        s->pos++;
        if (is_digit(peek(s)))
            return fail(s, "a number must not begin with 0");
    } else if (!scan_digits(s)) {
        return false;
    }
    if (peek(s) == '.') {
        s->pos++;
        if (!scan_digits(s))
            return false;
    }
    if (peek(s) == 'e' || peek(s) == 'E') {
        s->pos++;
        if (peek(s) == '+' || peek(s) == '-')
            s->pos++;
        if (!scan_digits(s))
            return false;
    }
    if (s->pos - start > JSON_NUMBER_MAX) {
        s->pos = start;
        return fail(s, "a number of too many characters");
    }
    return true;
}

static bool scan_word(struct json_scan *s, const char *word)
{
    size_t len = strlen(word);
    if (s->len - s->pos < len || memcmp(s->text + s->pos, word, len) != 0)
        return fail(s, "a value is expected");
    s->pos += len;
    return true;
}

static bool scan_value(struct json_scan *s, int depth);

static bool scan_member(struct json_scan *s, int depth)
{
    if (peek(s) != '"')
        return fail(s, "a member name in double quotes is expected");
    size_t name_pos = s->pos;
    if (!scan_string(s))
        return false;
    skip_space(s);
    if (peek(s) != ':')
        return fail(s, "':' is expected after a member name");
    s->pos++;
    s->name_pos = name_pos;
    return scan_value(s, depth);
}

/* An object or array, from its opening bracket to its closing one. */
static bool scan_nested(struct json_scan *s, int depth, char closing)
{
    if (depth >= JSON_DEPTH_MAX)
        return fail_limit(s, "brackets are nested too deeply");
    s->pos++;
    skip_space(s);
    if (peek(s) == closing) {
        s->pos++;
        return true;
    }
    for (;;) {
        skip_space(s);
        if (peek(s) == closing)
            return fail(s, "no comma may stand before a closing bracket");
        if (!(closing == '}' ? scan_member(s, depth + 1) : scan_value(s, depth + 1)))
            return false;
        skip_space(s);
        if (peek(s) == closing) {
            s->pos++;
            return true;
        }
        if (peek(s) != ',')
            return fail(s, closing == '}' ? "',' or '}' is expected" : "',' or ']' is expected");
        s->pos++;
    }
}

static bool scan_value(struct json_scan *s, int depth)
{
    skip_space(s);
    if (s->pos == s->len)
        return fail(s, "the text ends where a value is expected");
    if (s->values == JSON_VALUES_MAX)
        return fail_limit(s, "too many values");
    if (s->values++ == s->wanted) {
        s->found_value = s->pos;
        s->found_name = s->name_pos;
    }
    switch (peek(s)) {
    case '{':
        return scan_nested(s, depth, '}');
    case '[':
        return scan_nested(s, depth, ']');
    case '"':
        return scan_string(s);
    case 't':
        return scan_word(s, "true");
    case 'f':
        return scan_word(s, "false");
    case 'n':
        return scan_word(s, "null");
    default:
        if (peek(s) != '-' && !is_digit(peek(s)))
            return fail(s, "a value is expected");
        return scan_number(s);
    }
}

bool json_scan(struct json_scan *s)
{
    static const char bom[] = "\xEF\xBB\xBF";
    if (!text_utf8_valid(s->text, s->len, &s->pos))
        return fail(s, "the text is not UTF-8");
    const char *nul = s->len > 0 ? memchr(s->text, '\0', s->len) : NULL;
    if (nul != NULL) {
        s->pos = (size_t)(nul - s->text);
        return fail(s, "a NUL in the text");
    }
    if (s->len >= strlen(bom) && memcmp(s->text, bom, strlen(bom)) == 0)
        s->pos = strlen(bom);
    if (!scan_value(s, 0))
        return false;
    skip_space(s);
    if (s->pos != s->len)
        return fail(s, "nothing may follow the value");
    return true;
}
