#include "common/base/clock.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static int64_t clock_read_us(clockid_t clock)
{
    struct timespec now;
    int rc = clock_gettime(clock, &now);
    assert(rc == 0);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

int64_t clock_wall_ms(void)
{
    return clock_read_us(CLOCK_REALTIME) / 1000;
}

int64_t clock_mono_ms(void)
{
    return clock_mono_us() / 1000;
}

int64_t clock_mono_us(void)
{
    return clock_read_us(CLOCK_MONOTONIC);
}

void clock_format(int64_t wall_ms, char ret_text[CLOCK_TEXT_MAX])
{
    int64_t seconds = wall_ms / 1000;
    int ms = (int)(wall_ms % 1000);
    if (ms < 0) {
        ms += 1000;
        seconds--;
    }
    time_t when = (time_t)seconds;
    struct tm tm;
    struct tm *known = gmtime_r(&when, &tm);
    assert(known != NULL); /* 64 bits of milliseconds stay within the years that struct tm holds */
    int len =
        snprintf(ret_text, CLOCK_TEXT_MAX, "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ", tm.tm_year + 1900,
                 tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec, ms);
    assert(len > 0 && len < CLOCK_TEXT_MAX);
}

/* The number that `len` digits make. */
static int digits(const char *s, int len)
{
    int value = 0;
    for (int i = 0; i < len; i++)
        value = value * 10 + (s[i] - '0');
    return value;
}

bool clock_parse(const char *text, int64_t *ret_wall_ms)
{
    static const char form[] = "0000-00-00T00:00:00.000Z";
    if (strlen(text) != sizeof(form) - 1)
        return false;
    for (size_t i = 0; i < sizeof(form) - 1; i++)
        if (form[i] == '0' ? text[i] < '0' || text[i] > '9' : text[i] != form[i])
            return false;
    struct tm tm = {
        .tm_year = digits(text, 4) - 1900,
        .tm_mon = digits(text + 5, 2) - 1,
        .tm_mday = digits(text + 8, 2),
        .tm_hour = digits(text + 11, 2),
        .tm_min = digits(text + 14, 2),
        .tm_sec = digits(text + 17, 2),
    };
    if (tm.tm_year < 70 || tm.tm_mon < 0 || tm.tm_mon > 11 || tm.tm_mday < 1 || tm.tm_mday > 31 ||
        tm.tm_hour > 23 || tm.tm_min > 59 || tm.tm_sec > 59)
        return false;
    int64_t ms = (int64_t)timegm(&tm) * 1000 + digits(text + 20, 3);
    char same[CLOCK_TEXT_MAX];
    clock_format(ms, same); /* the 31st of April is another day */
    if (strcmp(same, text) != 0)
        return false;
    *ret_wall_ms = ms;
    return true;
}
