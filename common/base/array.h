/* array: a counted, heap-allocated run of equal items; what a JSON array decodes to. */
#pragma once

#include <stddef.h>

struct array {
    void *items;  /* owned by the struct that holds the array */
    size_t count; /* items, not bytes */
};

/* The item at `i` as a pointer to `type`; the caller has checked i < count. */
#define ARRAY_AT(array_ptr, type, i) (&((type *)(array_ptr)->items)[(i)])
