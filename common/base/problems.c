#include "common/base/problems.h"

#include "common/base/alloc.h"
#include "common/base/text.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

enum { FIRST_CAPACITY = 4 };

/* Capacities are powers of two from FIRST_CAPACITY on, so the count alone says when one is full. */
static bool is_full(size_t count)
{
    return count == 0 || (count >= FIRST_CAPACITY && (count & (count - 1)) == 0);
}

/* A place for one more, or NULL when memory is out. */
static struct problem *problems_place(struct problems *ps)
{
    if (is_full(ps->count)) {
        size_t capacity = ps->count > 0 ? ps->count * 2 : FIRST_CAPACITY;
        struct problem *items = mem_realloc(ps->items, capacity * sizeof(*items));
        if (items == NULL)
            return NULL;
        ps->items = items;
    }
    return &ps->items[ps->count];
}

void problems_add(struct problems *ps, const char *path, const char *fmt, ...)
{
    ps->total++;
    if (ps->count >= PROBLEMS_MAX)
        return;
    struct problem *p = problems_place(ps);
    if (p == NULL) {
        ps->no_memory = true;
        return;
    }
    size_t path_len = text_utf8_cut(path, strlen(path), PROBLEM_PATH_MAX - 1);
    memcpy(p->path, path, path_len);
    p->path[path_len] = '\0';

    /* With room for the rest of the character that the cut may fall into. */
    char scratch[PROBLEM_TEXT_MAX + 4] = "";
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(scratch, sizeof(scratch), fmt, args);
    va_end(args);
    size_t len = text_utf8_cut(scratch, strlen(scratch), PROBLEM_TEXT_MAX - 1);
    memcpy(p->message, scratch, len);
    p->message[len] = '\0';
    ps->count++;
}

enum error_code problems_check(const struct problems *ps, struct error *err)
{
    if (ps->no_memory)
        return error_set(err, ERR_NO_MEMORY, NULL);
    if (ps->total == 0)
        return ERR_OK;
    const struct problem *first = &ps->items[0];
    if (first->path[0] == '\0')
        return error_set(err, ERR_INVALID, "%s", first->message);
    return error_set(err, ERR_INVALID, "%s: %s", first->path, first->message);
}

void problems_done(struct problems *ps)
{
    mem_free(ps->items);
    *ps = (struct problems){0};
}
