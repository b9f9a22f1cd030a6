/*
 * plan_index: from a server's id to its number in the plan. Open addressing over numbers; the names
 * stay where the plan keeps them and are handed in with each call.
 *
 * The hash has no secret: whoever may submit a plan may run anything on the servers anyway.
 *
 * Threading: one thread while adding, any number while finding. I/O: none.
 */
#pragma once

#include "common/base/cleanup.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct plan_index;

/* Room for `count` names. NULL when memory is out. Caller owns. */
struct plan_index *plan_index_new(size_t count);
void plan_index_free(struct plan_index *index); /* NULL is fine */
DEFINE_CLEANUP(plan_index_free, struct plan_index)

/* Adds names[number]. False when that name is there already; *ret_first is then its number. No more
 * may be added than there is room for. */
bool plan_index_add(struct plan_index *index, char *const *names, uint32_t number,
                    uint32_t *ret_first);
bool plan_index_find(const struct plan_index *index, char *const *names, const char *name,
                     uint32_t *ret_number);
