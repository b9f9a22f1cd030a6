/* text: what every part needs of UTF-8 and of names close to each other. Pure. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/* True when all `len` bytes are well-formed UTF-8 (RFC 3629: no surrogates, no overlong forms). On
 * false *ret_offset (may be NULL) is the first bad byte. */
bool text_utf8_valid(const char *s, size_t len, size_t *ret_offset);
/* The largest length <= max_len at which s can be cut without splitting a character. */
size_t text_utf8_cut(const char *s, size_t len, size_t max_len);
/* The bytes of the character that s begins with, 0 when len is 0. When they are ill-formed,
 * *ret_valid is false and the length is that of the run which one U+FFFD stands for. */
size_t text_utf8_next(const char *s, size_t len, bool *ret_valid);
/* U+FFFD, for what is not UTF-8. */
#define TEXT_REPLACEMENT "\xEF\xBF\xBD"
/* For where text is shown and must not be acted upon: writes what stands for the character of `len`
 * bytes at s (a quote, a backslash, a C0 or C1 control, a line separator) in the manner of JSON,
 * without a NUL, and returns its length; 0 when the character may stand as it is. */
enum { TEXT_ESCAPE_MAX = 8 };
size_t text_escape(const char *s, size_t len, char ret[TEXT_ESCAPE_MAX]);
/* The candidate closest to `name` (Levenshtein distance at most a third of its length, at least 1,
 * case ignored, two neighbours swapped being one change), or NULL when none is close. One that
 * shares no character with `name` is not close, nor is anything to a name of more than
 * TEXT_CLOSEST_MAX bytes. */
enum { TEXT_CLOSEST_MAX = 64 };
const char *text_closest(const char *name, const char *const *candidates, size_t count);
/* Writes bytes as lower-case hexadecimal digits and a NUL: 2 * len + 1 bytes. */
void text_hex(const void *bytes, size_t len, char *ret_text);
/* False: the text is not exactly `len` bytes written so. */
bool text_unhex(const char *text, void *ret_bytes, size_t len);
