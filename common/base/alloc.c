#include "common/base/alloc.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* Thread-local, so that a test that starves one thread leaves the others alone. */
static _Thread_local bool failing;
static _Thread_local bool failing_once;
static _Thread_local uint64_t successes_left;
static _Thread_local uint64_t failures;

static inline bool allowed(void)
{
    if (__builtin_expect(!failing, 1))
        return true;
    if (successes_left > 0) {
        successes_left--;
        return true;
    }
    failures++;
    failing = !failing_once;
    return false;
}

/* A size of 0 may give NULL from the C library, which would read as "out of memory". */
static inline size_t at_least_one(size_t size_bytes)
{
    return size_bytes > 0 ? size_bytes : 1;
}

void *mem_alloc(size_t size_bytes)
{
    return allowed() ? malloc(at_least_one(size_bytes)) : NULL;
}

void *mem_zalloc(size_t size_bytes)
{
    return allowed() ? calloc(1, at_least_one(size_bytes)) : NULL;
}

void *mem_array(size_t count, size_t size_bytes)
{
    size_t total;
    if (__builtin_mul_overflow(count, size_bytes, &total))
        return NULL;
    return mem_zalloc(total);
}

void *mem_realloc(void *p, size_t size_bytes)
{
    return allowed() ? realloc(p, at_least_one(size_bytes)) : NULL;
}

char *mem_strdup(const char *s)
{
    return mem_strndup(s, strlen(s));
}

char *mem_strndup(const char *s, size_t len)
{
    size_t used = strnlen(s, len);
    char *copy = mem_alloc(used + 1);
    if (copy == NULL)
        return NULL;
    memcpy(copy, s, used);
    copy[used] = '\0';
    return copy;
}

void mem_free(void *p)
{
    free(p);
}

static void fail_from(uint64_t n, bool once)
{
    failing = true;
    failing_once = once;
    successes_left = n;
    failures = 0;
}

void mem_fail_after(uint64_t n)
{
    fail_from(n, false);
}

void mem_fail_once(uint64_t n)
{
    fail_from(n, true);
}

void mem_fail_never(void)
{
    failing = false;
}

uint64_t mem_fail_count(void)
{
    return failures;
}
