/*
 * name_map: things by name. The things are the caller's and embed a node as their first member.
 *
 * Threading: one thread at a time. I/O: none.
 */
#pragma once

#include "common/base/error.h"

#include <stddef.h>
#include <stdint.h>

struct name_node {
    char *name; /* the owner's; must not change while it is in a map */
    uint64_t hash;
    struct name_node *next; /* of the same bucket */
};

struct name_map {
    struct name_node **buckets;
    size_t bucket_count; /* a power of two, or 0 */
    size_t count;
    size_t popped; /* buckets before this one are empty */
};

/* NULL: there is none of that name. */
struct name_node *name_map_find(const struct name_map *map, const char *name);
/* No node of that name may be there. ERR_NO_MEMORY. */
enum error_code name_map_add(struct name_map *map, struct name_node *node,
                             struct error *err) MUST_CHECK;
void name_map_remove(struct name_map *map, struct name_node *node);
/* Takes any node out, to free it; NULL when the map is empty. */
struct name_node *name_map_pop(struct name_map *map);
/* Frees what the map itself holds; it must be empty. */
void name_map_done(struct name_map *map);
