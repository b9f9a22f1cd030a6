#include "alloc/alloc_sqlite.h"

#include "common/base/alloc.h"

#include <assert.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <string.h>

/* Before each piece: its size, which SQLite asks for. */
enum { HEAD = 16 };

static pthread_t test_thread;

/* Of the other threads. */
static struct {
    pthread_mutex_t mutex;
    bool failing, once;
    uint64_t left, failed;
} others = {.mutex = PTHREAD_MUTEX_INITIALIZER};

static bool other_may(void)
{
    bool may = true;
    (void)pthread_mutex_lock(&others.mutex);
    if (others.failing && others.left > 0) {
        others.left--;
    } else if (others.failing) {
        others.failed++;
        others.failing = !others.once;
        may = false;
    }
    (void)pthread_mutex_unlock(&others.mutex);
    return may;
}

static void others_fail(uint64_t n, bool once)
{
    (void)pthread_mutex_lock(&others.mutex);
    others.failing = true;
    others.once = once;
    others.left = n;
    others.failed = 0;
    (void)pthread_mutex_unlock(&others.mutex);
}

static void others_after(uint64_t n)
{
    others_fail(n, false);
}

static void others_once(uint64_t n)
{
    others_fail(n, true);
}

static void others_never(void)
{
    (void)pthread_mutex_lock(&others.mutex);
    others.failing = false;
    (void)pthread_mutex_unlock(&others.mutex);
}

static uint64_t others_count(void)
{
    (void)pthread_mutex_lock(&others.mutex);
    uint64_t failed = others.failed;
    (void)pthread_mutex_unlock(&others.mutex);
    return failed;
}

const struct alloc_failing alloc_sqlite_others = {others_after, others_once, others_never,
                                                  others_count};

/* ---- SQLite's methods ------------------------------------------------------------------------ */

static void *piece_of(char *head, int size)
{
    if (head == NULL)
        return NULL;
    memcpy(head, &size, sizeof(size));
    return head + HEAD;
}

static void *sqlite_malloc(int size)
{
    if (pthread_equal(pthread_self(), test_thread) == 0 && !other_may())
        return NULL;
    return piece_of(mem_alloc((size_t)size + HEAD), size);
}

static void sqlite_free(void *p)
{
    if (p != NULL)
        mem_free((char *)p - HEAD);
}

static void *sqlite_realloc(void *p, int size)
{
    if (pthread_equal(pthread_self(), test_thread) == 0 && !other_may())
        return NULL;
    return piece_of(mem_realloc((char *)p - HEAD, (size_t)size + HEAD), size);
}

static int sqlite_size(void *p)
{
    int size = 0;
    if (p != NULL)
        memcpy(&size, (char *)p - HEAD, sizeof(size));
    return size;
}

static int sqlite_roundup(int size)
{
    return (size + 7) / 8 * 8;
}

static int sqlite_init(void *ctx)
{
    (void)ctx;
    return SQLITE_OK;
}

static void sqlite_shutdown(void *ctx)
{
    (void)ctx;
}

void alloc_sqlite_install(bool small)
{
    static const sqlite3_mem_methods methods = {.xMalloc = sqlite_malloc,
                                                .xFree = sqlite_free,
                                                .xRealloc = sqlite_realloc,
                                                .xSize = sqlite_size,
                                                .xRoundup = sqlite_roundup,
                                                .xInit = sqlite_init,
                                                .xShutdown = sqlite_shutdown};
    test_thread = pthread_self();
    int result = sqlite3_config(SQLITE_CONFIG_MALLOC, &methods);
    assert(result == SQLITE_OK);
    if (small)
        result = sqlite3_config(SQLITE_CONFIG_LOOKASIDE, 0, 0);
    assert(result == SQLITE_OK);
    result = sqlite3_initialize();
    assert(result == SQLITE_OK);
    (void)result;
}
