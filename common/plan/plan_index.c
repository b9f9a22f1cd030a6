#include "common/plan/plan_index.h"

#include "common/base/alloc.h"
#include "common/base/id.h"

#include <assert.h>
#include <string.h>

struct slot {
    uint32_t tag;    /* part of the hash: most other names are told apart without a look at them */
    uint32_t number; /* of the name, plus 1; 0: free */
};

struct plan_index {
    size_t mask; /* slots - 1; slots are a power of two, at least twice the names */
    size_t left; /* names for which there is room */
    struct slot slots[];
};

struct plan_index *plan_index_new(size_t count)
{
    assert(count < UINT32_MAX / 4);
    size_t slots = 8;
    while (slots < count * 2)
        slots *= 2;
    struct plan_index *index = mem_zalloc(sizeof(*index) + slots * sizeof(struct slot));
    if (!index)
        return NULL;
    index->mask = slots - 1;
    index->left = count;
    return index;
}

void plan_index_free(struct plan_index *index)
{
    mem_free(index);
}

/* The slot that holds `name`, or the free one where it belongs. */
static size_t find_slot(const struct plan_index *index, char *const *names, const char *name,
                        uint32_t *ret_tag)
{
    uint64_t hash = id_hash(name);
    hash = (hash ^ (hash >> 32)) * UINT64_C(0x9e3779b97f4a7c15);
    uint32_t tag = (uint32_t)hash;
    size_t at = (size_t)(hash >> 32) & index->mask;
    while (index->slots[at].number != 0) {
        const struct slot *slot = &index->slots[at];
        if (slot->tag == tag && strcmp(names[slot->number - 1], name) == 0)
            break;
        at = (at + 1) & index->mask;
    }
    *ret_tag = tag;
    return at;
}

bool plan_index_add(struct plan_index *index, char *const *names, uint32_t number,
                    uint32_t *ret_first)
{
    uint32_t tag;
    size_t at = find_slot(index, names, names[number], &tag);
    if (index->slots[at].number != 0) {
        *ret_first = index->slots[at].number - 1;
        return false;
    }
    assert(index->left > 0);
    index->left--;
    index->slots[at] = (struct slot){.tag = tag, .number = number + 1};
    return true;
}

bool plan_index_find(const struct plan_index *index, char *const *names, const char *name,
                     uint32_t *ret_number)
{
    uint32_t tag;
    size_t at = find_slot(index, names, name, &tag);
    if (index->slots[at].number == 0)
        return false;
    *ret_number = index->slots[at].number - 1;
    return true;
}
