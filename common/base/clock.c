#include "common/base/clock.h"

#include <assert.h>
#include <stdio.h>
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
