#include "common/base/clock.h"

#include "common/base/cleanup.h"

#include <stdio.h>
#include <string.h>

enum { FRACTION_DIGITS = 9 }; /* digits after the point that count */
static const int64_t fraction_one = 1000000000;

struct unit {
    const char *name;
    int64_t ms;
};
/* Largest first: a duration names its units in this order, each at most once. */
static const struct unit units[] = {
    {"d", 86400000}, {"h", 3600000}, {"m", 60000}, {"s", 1000}, {"ms", 1},
};

/* A decimal number, not negative, as a whole and billionths. */
struct decimal {
    int64_t whole;
    int64_t billionths;
};

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static enum error_code too_long(const char *text, struct error *err)
{
    return error_set(err, ERR_INVALID, "a duration of \"%.40s\" is too long", text);
}

static enum error_code not_a_duration(const char *text, struct error *err)
{
    return error_set(err, ERR_INVALID,
                     "\"%.40s\" is not a duration: write \"1m30s\", \"250ms\", \"2h\" or a number "
                     "of seconds",
                     text);
}

/* Reads a number at *at and moves *at behind it. */
static enum error_code decimal_read(const char *text, const char **at, struct decimal *ret,
                                    struct error *err)
{
    struct decimal number = {0, 0};
    const char *p = *at;
    if (!is_digit(*p))
        return not_a_duration(text, err);
    for (; is_digit(*p); p++) {
        if (__builtin_mul_overflow(number.whole, 10, &number.whole) ||
            __builtin_add_overflow(number.whole, *p - '0', &number.whole))
            return too_long(text, err);
    }
    if (*p == '.') {
        p++;
        if (!is_digit(*p))
            return not_a_duration(text, err);
        int64_t place = fraction_one;
        for (; is_digit(*p); p++) {
            place /= 10;
            number.billionths += place * (*p - '0');
        }
    }
    *at = p;
    *ret = number;
    return ERR_OK;
}

/* The unit at *at, which comes after units[first - 1]; NULL when there is none. */
static const struct unit *unit_read(const char **at, size_t first)
{
    size_t len = 0;
    while ((*at)[len] >= 'a' && (*at)[len] <= 'z')
        len++;
    for (size_t i = first; i < ARRAY_LEN(units); i++) {
        if (strlen(units[i].name) == len && memcmp(units[i].name, *at, len) == 0) {
            *at += len;
            return &units[i];
        }
    }
    return NULL;
}

/* Adds number * unit to *total_ms, rounded to the nearest millisecond. */
static bool total_add(int64_t *total_ms, struct decimal number, int64_t unit_ms)
{
    int64_t part = 0;
    /* At most 10^9 billionths of 86,400,000 ms: far from overflowing. */
    int64_t fraction = (number.billionths * unit_ms + fraction_one / 2) / fraction_one;
    return !__builtin_mul_overflow(number.whole, unit_ms, &part) &&
           !__builtin_add_overflow(*total_ms, part, total_ms) &&
           !__builtin_add_overflow(*total_ms, fraction, total_ms);
}

enum error_code duration_parse(const char *text, int64_t *ret_ms, struct error *err)
{
    if (text[0] == '-')
        return error_set(err, ERR_INVALID, "a duration must not be negative, as \"%.40s\" is",
                         text);
    int64_t total_ms = 0;
    size_t next_unit = 0;
    const char *at = text;
    do {
        struct decimal number = {0, 0};
        enum error_code code = decimal_read(text, &at, &number, err);
        if (code != ERR_OK)
            return code;
        int64_t unit_ms = 1000;
        /* Only a number that stands alone is one of seconds. */
        if (*at != '\0' || next_unit > 0) {
            const struct unit *unit = unit_read(&at, next_unit);
            if (unit == NULL)
                return not_a_duration(text, err);
            next_unit = (size_t)(unit - units) + 1;
            unit_ms = unit->ms;
        }
        if (!total_add(&total_ms, number, unit_ms))
            return too_long(text, err);
    } while (*at != '\0');
    *ret_ms = total_ms;
    return ERR_OK;
}

void duration_format(int64_t ms, char ret_text[CLOCK_TEXT_MAX])
{
    /* Cut, not rounded: what has not passed yet is not shown, and 59.99s never reads "60s". */
    int64_t left = ms > 0 ? ms : 0;
    if (left < 1000) {
        (void)snprintf(ret_text, CLOCK_TEXT_MAX, "%dms", (int)left);
        return;
    }
    if (left < 60000) {
        int tenths = (int)(left / 100);
        if (tenths % 10 == 0)
            (void)snprintf(ret_text, CLOCK_TEXT_MAX, "%ds", tenths / 10);
        else
            (void)snprintf(ret_text, CLOCK_TEXT_MAX, "%d.%ds", tenths / 10, tenths % 10);
        return;
    }
    /* The two largest units that matter. */
    size_t i = 0;
    while (left < units[i].ms)
        i++;
    int64_t large = left / units[i].ms;
    int small = (int)(left % units[i].ms / units[i + 1].ms);
    if (small == 0)
        (void)snprintf(ret_text, CLOCK_TEXT_MAX, "%lld%s", (long long)large, units[i].name);
    else
        (void)snprintf(ret_text, CLOCK_TEXT_MAX, "%lld%s%02d%s", (long long)large, units[i].name,
                       small, units[i + 1].name);
}
