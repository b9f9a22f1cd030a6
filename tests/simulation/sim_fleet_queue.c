#include "simulation/sim_fleet.h"

#include "common/base/alloc.h"

#include <assert.h>

enum { CAPACITY_FIRST = 256 };

static bool before(const struct sim_event *a, const struct sim_event *b)
{
    return a->at_ms < b->at_ms || (a->at_ms == b->at_ms && a->order < b->order);
}

static void swap(struct sim_event *a, struct sim_event *b)
{
    struct sim_event held = *a;
    *a = *b;
    *b = held;
}

void sim_after(struct sim *sim, int64_t delay_ms, enum sim_event_kind kind, uint32_t who,
               uint64_t token)
{
    struct sim_queue *q = &sim->queue;
    assert(delay_ms >= 0);
    if (q->count == q->capacity) {
        q->capacity = q->capacity == 0 ? CAPACITY_FIRST : q->capacity * 2;
        q->heap = sim_checked(mem_realloc(q->heap, q->capacity * sizeof(*q->heap)));
    }
    size_t i = q->count++;
    q->heap[i] = (struct sim_event){sim->now_ms + delay_ms, q->order++, kind, who, token};
    while (i > 0 && before(&q->heap[i], &q->heap[(i - 1) / 2])) {
        swap(&q->heap[i], &q->heap[(i - 1) / 2]);
        i = (i - 1) / 2;
    }
}

bool sim_queue_pop(struct sim_queue *q, struct sim_event *ret_event)
{
    if (q->count == 0)
        return false;
    *ret_event = q->heap[0];
    q->heap[0] = q->heap[--q->count];
    for (size_t i = 0;;) {
        size_t first = i;
        for (size_t child = 2 * i + 1; child <= 2 * i + 2 && child < q->count; child++)
            if (before(&q->heap[child], &q->heap[first]))
                first = child;
        if (first == i)
            return true;
        swap(&q->heap[i], &q->heap[first]);
        i = first;
    }
}

void sim_queue_done(struct sim_queue *q)
{
    mem_free(q->heap);
    *q = (struct sim_queue){0};
}
