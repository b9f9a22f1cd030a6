#include "orchestrator/cli/install/inventory_internal.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { RANGE_LENGTH_MAX = 32, RANGE_NUMBER_MAX = 1000000 };

/* One bound of a range; *ret_width is how many digits it has. */
static bool take_bound(const char *text, size_t len, bool *ret_letter, long *ret, int *ret_width)
{
    char copy[RANGE_LENGTH_MAX + 1];
    if (len == 0 || len > RANGE_LENGTH_MAX)
        return false;
    *ret_letter = len == 1 && isalpha((unsigned char)*text);
    if (*ret_letter) {
        *ret = (unsigned char)*text;
        return true;
    }
    memcpy(copy, text, len);
    copy[len] = '\0';
    if (strspn(copy, "0123456789") != len)
        return false;
    errno = 0;
    *ret = strtol(copy, NULL, 10);
    *ret_width = (int)len;
    return errno == 0 && *ret <= RANGE_NUMBER_MAX;
}

static enum error_code bad_range(const char *pattern, struct error *err)
{
    return error_set(err, ERR_INVALID,
                     "\"%.64s\": a range is of the form [01:10], [1:9:2] or [a:f], the lower first",
                     pattern);
}

enum error_code range_find(const char *pattern, struct range *ret_range, struct error *err)
{
    struct range range = {.found = true, .step = 1};
    const char *open = strchr(pattern, '[');
    /* An IPv6 address stands in brackets too, at the start and with nothing that is no address. */
    const char *close = open ? strchr(open, ']') : NULL;
    bool letters_to = false;
    int width_to = 0;
    if (!open) {
        *ret_range = (struct range){0};
        return ERR_OK;
    }
    if (!close)
        return bad_range(pattern, err);
    const char *colon = memchr(open, ':', (size_t)(close - open));
    const char *second = colon ? memchr(colon + 1, ':', (size_t)(close - colon - 1)) : NULL;
    if (open == pattern || open[-1] == '=' || open[-1] == '@') {
        *ret_range = (struct range){0};
        return ERR_OK;
    }
    if (!colon)
        return bad_range(pattern, err);
    const char *to_end = second ? second : close;
    if (!take_bound(open + 1, (size_t)(colon - open - 1), &range.letters, &range.from,
                    &range.width) ||
        !take_bound(colon + 1, (size_t)(to_end - colon - 1), &letters_to, &range.to, &width_to) ||
        letters_to != range.letters || range.from > range.to)
        return bad_range(pattern, err);
    if (second) {
        bool letter = false;
        int width = 0;
        if (!take_bound(second + 1, (size_t)(close - second - 1), &letter, &range.step, &width) ||
            letter || range.step < 1)
            return bad_range(pattern, err);
    }
    range.begin = (size_t)(open - pattern);
    range.end = (size_t)(close - pattern) + 1;
    *ret_range = range;
    return ERR_OK;
}
