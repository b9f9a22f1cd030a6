/* array_push: makes a counted array longer by one; its capacity follows from its count. */
#pragma once

#include "common/base/alloc.h"
#include "common/base/array.h"

#include <stddef.h>
#include <string.h>

enum { ARRAY_PUSH_FIRST = 8 };

/* The new last item, zeroed and counted; NULL when memory is out, and then nothing has changed.
 * Only for arrays that grew by this alone. */
static inline void *array_push(struct array *a, size_t item_size)
{
    size_t n = a->count;
    if (n == 0 || (n >= ARRAY_PUSH_FIRST && (n & (n - 1)) == 0)) {
        void *items = mem_realloc(a->items, (n == 0 ? ARRAY_PUSH_FIRST : n * 2) * item_size);
        if (!items)
            return NULL;
        a->items = items;
    }
    void *item = (char *)a->items + n * item_size;
    memset(item, 0, item_size);
    a->count++;
    return item;
}
