#include "common/base/timers.h"

#include "common/base/alloc.h"

#include <assert.h>

enum { CAPACITY_FIRST = 16 };

/* Slots count from 1, so the parent of slot s is s / 2 and its children are 2s and 2s + 1. */
static struct timer *at_slot(const struct timers *ts, size_t slot)
{
    return ts->heap[slot - 1];
}

static void put(struct timers *ts, size_t slot, struct timer *t)
{
    ts->heap[slot - 1] = t;
    t->slot = slot;
}

static void sift_up(struct timers *ts, struct timer *t)
{
    size_t slot = t->slot;
    while (slot > 1 && t->deadline_ms < at_slot(ts, slot / 2)->deadline_ms) {
        put(ts, slot, at_slot(ts, slot / 2));
        slot /= 2;
    }
    put(ts, slot, t);
}

static void sift_down(struct timers *ts, struct timer *t)
{
    size_t slot = t->slot;
    while (slot * 2 <= ts->count) {
        size_t child = slot * 2;
        if (child < ts->count &&
            at_slot(ts, child + 1)->deadline_ms < at_slot(ts, child)->deadline_ms)
            child++;
        if (t->deadline_ms <= at_slot(ts, child)->deadline_ms)
            break;
        put(ts, slot, at_slot(ts, child));
        slot = child;
    }
    put(ts, slot, t);
}

enum error_code timers_arm(struct timers *ts, struct timer *t, int64_t deadline_ms,
                           struct error *err)
{
    if (t->slot == 0) {
        if (ts->count == ts->capacity) {
            size_t capacity = ts->capacity > 0 ? ts->capacity * 2 : CAPACITY_FIRST;
            struct timer **heap = mem_realloc(ts->heap, capacity * sizeof(struct timer *));
            if (heap == NULL)
                return error_set(err, ERR_NO_MEMORY, NULL);
            ts->heap = heap;
            ts->capacity = capacity;
        }
        ts->count++;
        put(ts, ts->count, t);
    }
    assert(at_slot(ts, t->slot) == t);
    t->deadline_ms = deadline_ms;
    sift_up(ts, t);
    sift_down(ts, t);
    return ERR_OK;
}

void timers_disarm(struct timers *ts, struct timer *t)
{
    if (t->slot == 0)
        return;
    assert(t->slot <= ts->count && at_slot(ts, t->slot) == t);
    struct timer *last = at_slot(ts, ts->count);
    ts->count--;
    if (last != t) {
        put(ts, t->slot, last);
        sift_up(ts, last);
        sift_down(ts, last);
    }
    t->slot = 0;
}

bool timers_next(const struct timers *ts, int64_t *ret_deadline_ms)
{
    if (ts->count == 0)
        return false;
    *ret_deadline_ms = at_slot(ts, 1)->deadline_ms;
    return true;
}

struct timer *timers_pop(struct timers *ts, int64_t now_ms)
{
    if (ts->count == 0 || at_slot(ts, 1)->deadline_ms > now_ms)
        return NULL;
    struct timer *t = at_slot(ts, 1);
    timers_disarm(ts, t);
    return t;
}

void timers_done(struct timers *ts)
{
    /* What is still armed may outlive the heap, and must not believe that it has a place in it. */
    for (size_t slot = 1; slot <= ts->count; slot++)
        at_slot(ts, slot)->slot = 0;
    mem_free(ts->heap);
    *ts = (struct timers){0};
}
