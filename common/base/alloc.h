/*
 * alloc: the one way memory is had, so that a test can make the Nth allocation fail.
 *
 * All return NULL when memory is out (or a test says so); callers turn that into ERR_NO_MEMORY.
 * Threading: safe from any thread; the failure counter is per thread. I/O: none.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

void *mem_alloc(size_t size_bytes) __attribute__((malloc, warn_unused_result));
void *mem_zalloc(size_t size_bytes) __attribute__((malloc, warn_unused_result));
/* Zeroed array; NULL when count * size overflows. A count of 0 gives a pointer that can be freed.
 */
void *mem_array(size_t count, size_t size_bytes) __attribute__((malloc, warn_unused_result));
void *mem_realloc(void *p, size_t size_bytes) __attribute__((warn_unused_result));
char *mem_strdup(const char *s) __attribute__((malloc, warn_unused_result));
char *mem_strndup(const char *s, size_t len) __attribute__((malloc, warn_unused_result));
void mem_free(void *p); /* NULL is fine */
/* From now on what this process frees is overwritten first, also what a realloc leaves behind. For
 * a process that has had a secret in its memory: copies of it are in buffers, documents, params. */
void mem_wipe_freed(void);

#define MEM_NEW(type) ((type *)mem_zalloc(sizeof(type)))

/* Tests only: after `n` further successful allocations on this thread, every later one fails until
 * mem_fail_never(). mem_fail_count() says how many failed since then. */
void mem_fail_after(uint64_t n);
/* The same for one allocation alone: those behind it succeed. */
void mem_fail_once(uint64_t n);
void mem_fail_never(void);
uint64_t mem_fail_count(void);
