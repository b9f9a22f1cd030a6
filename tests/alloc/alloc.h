/*
 * alloc: an operation is carried out again and again, and each time another one of its allocations
 * fails: the first, the second, ... until there is none left that could. First with all that follow
 * failing too, as when memory is out; then alone, as when it was out for a moment: then nobody can
 * count on a later failure to tell of what an earlier one left out.
 *
 * Each time the operation must either do all that it does when there is memory, or say
 * ERR_NO_MEMORY; leak nothing; and leave its world in such a state that the same operation, with
 * memory, does all of it.
 */
#pragma once

#include "common/base/buf.h"
#include "common/base/error.h"

#include <stdbool.h>
#include <stdint.h>

/* Makes allocations fail and counts those that did; NULL: mem_fail_after and its like, which speak
 * of the test's own thread. */
struct alloc_failing {
    void (*after)(uint64_t n);
    void (*once)(uint64_t n);
    void (*never)(void);
    uint64_t (*count)(void);
};

struct alloc_op {
    const char *name; /* for the figures that are printed */
    size_t world_size;
    const void *param; /* handed on to the functions in the world: see alloc_world */
    /* Makes the world, which is zeroed; with memory. NULL: nothing to make. */
    void (*begin)(void *world);
    /* The operation. Memory fails in here and nowhere else. */
    enum error_code (*run)(void *world, struct error *err);
    /* Appends what there is to see of it; with memory. NULL: the code is all. */
    void (*look)(void *world, struct buf *b);
    /* What is done instead of `run` when that has failed; with memory. NULL: `run` once more. */
    enum error_code (*again)(void *world, struct error *err);
    void (*end)(void *world); /* NULL: nothing to end */
    /* True when `code` is right though it is not ERR_NO_MEMORY. NULL: none is. */
    bool (*accept)(const void *world, enum error_code code);
    bool once_only; /* it cannot be repeated: what it consumed is gone */
    /* One world for all tries, so that each finds what the failures before it have left: first as
     * long as none succeeds, then each with memory in between. */
    bool lasting;
    /* Of an operation that takes long and has thousands of allocations: only each so-manieth fails,
     * unless KITSUNE_ALLOC_ALL is in the environment. 0: each. */
    unsigned stride;
    const struct alloc_failing *failing;
};

/* Every world begins with it. */
struct alloc_world {
    const void *param;
};

/* Fails the cmocka test when something does not hold. The number of allocations that can fail. */
uint64_t alloc_sweep(const struct alloc_op *op);
