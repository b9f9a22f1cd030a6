#include "orchestrator/cli/name_map.h"

#include "common/base/alloc.h"
#include "common/base/id.h"

#include <assert.h>
#include <string.h>

enum { FIRST_BUCKETS = 64 };

static struct name_node **bucket_of(const struct name_map *map, uint64_t hash)
{
    return &map->buckets[(size_t)hash & (map->bucket_count - 1)];
}

struct name_node *name_map_find(const struct name_map *map, const char *name)
{
    if (map->count == 0)
        return NULL;
    uint64_t hash = id_hash(name);
    struct name_node *node = *bucket_of(map, hash);
    while (node && (node->hash != hash || strcmp(node->name, name) != 0))
        node = node->next;
    return node;
}

static enum error_code grow(struct name_map *map, struct error *err)
{
    struct name_map larger = {.bucket_count =
                                  map->bucket_count > 0 ? map->bucket_count * 2 : FIRST_BUCKETS,
                              .count = map->count};
    larger.buckets = mem_array(larger.bucket_count, sizeof(struct name_node *));
    if (!larger.buckets)
        return error_set(err, ERR_NO_MEMORY, NULL);
    for (size_t i = 0; i < map->bucket_count; i++) {
        struct name_node *next = NULL;
        for (struct name_node *node = map->buckets[i]; node; node = next) {
            struct name_node **bucket = bucket_of(&larger, node->hash);
            next = node->next;
            node->next = *bucket;
            *bucket = node;
        }
    }
    mem_free(map->buckets);
    *map = larger;
    return ERR_OK;
}

enum error_code name_map_add(struct name_map *map, struct name_node *node, struct error *err)
{
    if (map->count >= map->bucket_count) {
        enum error_code code = grow(map, err);
        if (code != ERR_OK)
            return code;
    }
    node->hash = id_hash(node->name);
    struct name_node **bucket = bucket_of(map, node->hash);
    node->next = *bucket;
    *bucket = node;
    map->count++;
    map->popped = 0;
    return ERR_OK;
}

void name_map_remove(struct name_map *map, struct name_node *node)
{
    struct name_node **at = bucket_of(map, node->hash);
    while (*at != node) {
        assert(*at);
        at = &(*at)->next;
    }
    *at = node->next;
    map->count--;
}

struct name_node *name_map_pop(struct name_map *map)
{
    /* Emptied buckets stay empty, so emptying a whole map looks at each bucket once. */
    for (; map->count > 0 && map->popped < map->bucket_count; map->popped++) {
        struct name_node *node = map->buckets[map->popped];
        if (node) {
            map->buckets[map->popped] = node->next;
            map->count--;
            return node;
        }
    }
    return NULL;
}

void name_map_done(struct name_map *map)
{
    assert(map->count == 0);
    mem_free(map->buckets);
    *map = (struct name_map){0};
}
