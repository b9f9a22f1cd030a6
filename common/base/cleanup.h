/*
 * cleanup: ownership that ends with the scope.
 *
 *     AUTO_FREE char *text = NULL;                      freed when the scope ends
 *     return TAKE(text);                                handed over: text is NULL afterwards
 *
 * DEFINE_CLEANUP(plan_free, struct plan) defines the function that AUTO(plan_free) names.
 */
#pragma once

#include "common/base/alloc.h"

#include <unistd.h>

/* Hands a pointer over and forgets it here. */
#define TAKE(p)                                                                                    \
    __extension__({                                                                                \
        __typeof__(p) *take_from_ = &(p);                                                          \
        __typeof__(p) take_value_ = *take_from_;                                                   \
        *take_from_ = NULL;                                                                        \
        take_value_;                                                                               \
    })

#define DEFINE_CLEANUP(free_function, type)                                                        \
    static inline __attribute__((unused)) void free_function##_auto(                               \
        type **p) /* NOLINT(bugprone-macro-parentheses): a type takes none */                      \
    {                                                                                              \
        free_function(*p);                                                                         \
    }
#define AUTO(free_function) __attribute__((cleanup(free_function##_auto)))

static inline __attribute__((unused)) void mem_free_auto(void *p)
{
    mem_free(*(void **)p);
}
#define AUTO_FREE __attribute__((cleanup(mem_free_auto)))

static inline __attribute__((unused)) void fd_close_auto(const int *fd)
{
    if (*fd >= 0)
        (void)close(*fd);
}
#define AUTO_CLOSE __attribute__((cleanup(fd_close_auto)))

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))
