#include "common/base/alloc.h"

#include <malloc.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* Thread-local, so that a test that starves one thread leaves the others alone. */
static _Thread_local bool failing;
static _Thread_local bool failing_once;
static _Thread_local uint64_t successes_left;
static _Thread_local uint64_t failures;

/* Of the process: any thread may free what another has made. */
static atomic_bool wiping;

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
    if (!allowed())
        return NULL;
    if (!p || !atomic_load_explicit(&wiping, memory_order_relaxed))
        return realloc(p, at_least_one(size_bytes));
    size_t had = malloc_usable_size(p);
    void *moved = malloc(at_least_one(size_bytes));
    if (moved == NULL)
        return NULL;
    memcpy(moved, p, had < size_bytes ? had : size_bytes);
    mem_free(p);
    return moved;
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
    if (p && atomic_load_explicit(&wiping, memory_order_relaxed))
        explicit_bzero(p, malloc_usable_size(p));
    free(p);
}

void mem_wipe_freed(void)
{
    atomic_store_explicit(&wiping, true, memory_order_relaxed);
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
