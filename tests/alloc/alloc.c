#include "alloc/alloc.h"

#include "common/base/alloc.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#ifdef __SANITIZE_ADDRESS__
#define HAS_LEAK_CHECK 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define HAS_LEAK_CHECK 1
#endif
#endif
#ifdef HAS_LEAK_CHECK
#include <sanitizer/lsan_interface.h>
#endif

enum { POINTS_MAX = 20000, LINE_MAX_BYTES = 400 };

static const struct alloc_failing own_thread = {mem_fail_after, mem_fail_once, mem_fail_never,
                                                mem_fail_count};

/* What one try gave. */
struct outcome {
    enum error_code code;
    struct error err;
    struct buf seen;
    uint64_t failed; /* allocations */
};

static void outcome_done(struct outcome *o)
{
    buf_done(&o->seen);
}

/* A sweep that failed leaves its memory behind; those after it are not to be blamed. */
static bool unfinished;

static bool leaks(void)
{
#ifdef HAS_LEAK_CHECK
    return !unfinished && __lsan_do_recoverable_leak_check() != 0;
#else
    return false;
#endif
}

static void *world_new(const struct alloc_op *op)
{
    struct alloc_world *world = calloc(1, op->world_size);
    assert_non_null(world);
    world->param = op->param;
    if (op->begin != NULL)
        op->begin(world);
    return world;
}

static void world_end(const struct alloc_op *op, void *world)
{
    if (op->end != NULL)
        op->end(world);
    free(world);
}

static unsigned stride(const struct alloc_op *op)
{
    return op->stride > 0 && getenv("KITSUNE_ALLOC_ALL") == NULL ? op->stride : 1;
}

static void look(const struct alloc_op *op, void *world, struct buf *b)
{
    if (op->look != NULL)
        op->look(world, b);
    assert_int_equal(buf_check(b, NULL), ERR_OK);
}

static bool same(const struct buf *a, const struct buf *b)
{
    return a->len == b->len && (a->len == 0 || memcmp(a->data, b->data, a->len) == 0);
}

/* The first line that is another in `a` than in `b`. */
static const char *other_line(const struct buf *a, const struct buf *b, char ret[LINE_MAX_BYTES])
{
    size_t at = 0, line = 0;
    for (; at < a->len && at < b->len && a->data[at] == b->data[at]; at++)
        line = a->data[at] == '\n' ? at + 1 : line;
    size_t len = a->len - line < LINE_MAX_BYTES - 1 ? a->len - line : LINE_MAX_BYTES - 1;
    memcpy(ret, a->len > 0 ? a->data + line : "", len);
    ret[len] = '\0';
    ret[strcspn(ret, "\n")] = '\0';
    return ret;
}

static void check_same(const struct alloc_op *op, const struct outcome *o,
                       const struct outcome *clean, const char *when, uint64_t n)
{
    if (o->code != clean->code)
        fail_msg("%s, %s (allocation %" PRIu64 "): %s: %s", op->name, when, n,
                 error_code_name(o->code), o->err.message);
    char got[LINE_MAX_BYTES], wanted[LINE_MAX_BYTES];
    if (!same(&o->seen, &clean->seen))
        fail_msg("%s, %s (allocation %" PRIu64 "): it has done something else:\n%s\nand not\n%s",
                 op->name, when, n, other_line(&o->seen, &clean->seen, got),
                 other_line(&clean->seen, &o->seen, wanted));
}

/* With memory, in the world that the failure has left. */
static void check_again(const struct alloc_op *op, void *world, const struct outcome *clean,
                        uint64_t n)
{
    struct outcome o = {0};
    enum error_code (*run)(void *, struct error *) = op->again != NULL ? op->again : op->run;
    o.code = run(world, &o.err);
    look(op, world, &o.seen);
    check_same(op, &o, clean, "with memory after it had failed", n);
    outcome_done(&o);
}

static void check_failed(const struct alloc_op *op, const void *world, const struct outcome *o,
                         uint64_t n)
{
    bool accepted = op->accept != NULL && op->accept(world, o->code);
    if (o->code != ERR_NO_MEMORY && !accepted)
        fail_msg("%s, allocation %" PRIu64 ": %s and not no_memory: %s", op->name, n,
                 error_code_name(o->code), o->err.message);
    if (!accepted)
        assert_true(o->err.code == ERR_NO_MEMORY && o->err.message[0] != '\0');
}

enum tried {
    TRIED_ALL,     /* there are no more allocations than those before */
    TRIED_NOTICED, /* one failed, and the operation said so */
    TRIED_PASSED   /* one failed, and it did all the same what it does */
};

/* One try with allocation number `n` failing. */
static enum tried try_one(const struct alloc_op *op, void *world, const struct outcome *clean,
                          bool once, uint64_t n)
{
    const struct alloc_failing *failing = op->failing != NULL ? op->failing : &own_thread;
    struct outcome o = {0};
    (once ? failing->once : failing->after)(n);
    o.code = op->run(world, &o.err);
    o.failed = failing->count();
    failing->never();
    /* What it does is done, and the failure went unnoticed; or it says so. */
    if (o.code == clean->code) {
        look(op, world, &o.seen);
        check_same(op, &o, clean, once ? "one failing" : "all failing from there", n);
    } else {
        assert_true(o.failed > 0);
        check_failed(op, world, &o, n);
    }
    outcome_done(&o);
    if (o.failed == 0)
        return TRIED_ALL;
    return o.code == clean->code ? TRIED_PASSED : TRIED_NOTICED;
}

/* Each try in a world of its own; the number of allocations that can fail. */
static uint64_t try_each(const struct alloc_op *op, const struct outcome *clean, bool once)
{
    for (uint64_t n = 0;; n += stride(op)) {
        void *world = world_new(op);
        assert_true(n < POINTS_MAX);
        enum tried tried = try_one(op, world, clean, once, n);
        if (tried == TRIED_NOTICED && !op->once_only)
            check_again(op, world, clean, n);
        world_end(op, world);
        if (tried == TRIED_ALL)
            return n;
    }
}

/* All tries in one world. What is made by the first success (a prepared statement) lasts, so there
 * are two parts: until then, and from then on. */
static uint64_t try_lasting(const struct alloc_op *op, const struct outcome *clean, bool once)
{
    void *world = world_new(op);
    uint64_t first = 0, later = 0;
    for (; try_one(op, world, clean, once, first) != TRIED_ALL; first += stride(op))
        assert_true(first < POINTS_MAX);
    for (; try_one(op, world, clean, once, later) != TRIED_ALL; later += stride(op))
        check_again(op, world, clean, later);
    world_end(op, world);
    return first + later;
}

uint64_t alloc_sweep(const struct alloc_op *op)
{
    struct outcome clean = {0};
    bool after_failure = unfinished;
    unfinished = true;
    void *world = world_new(op);
    clean.code = op->run(world, &clean.err);
    look(op, world, &clean.seen);
    world_end(op, world);
    uint64_t (*try)(const struct alloc_op *, const struct outcome *, bool) =
        op->lasting ? try_lasting : try_each;
    (void)try(op, &clean, false);
    uint64_t points = try(op, &clean, true);
    outcome_done(&clean);
    unfinished = after_failure;
    if (leaks())
        fail_msg("%s: memory is lost", op->name);
    print_message("%s: %" PRIu64 " allocations can fail\n", op->name, points);
    (void)fflush(stdout);
    return points;
}
