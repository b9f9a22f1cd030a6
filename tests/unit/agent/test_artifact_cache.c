#include "agent/artifact_cache.h"
#include "unit/agent/support_artifacts.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* The disk is full when this is 0. */
static int64_t disk_bytes = INT64_MAX;
ssize_t __real_pwrite(int fd, const void *data, size_t len, off_t offset);
ssize_t __wrap_pwrite(int fd, const void *data, size_t len, off_t offset);
ssize_t __wrap_pwrite(int fd, const void *data, size_t len, off_t offset)
{
    if (disk_bytes < (int64_t)len) {
        errno = ENOSPC;
        return -1;
    }
    if (disk_bytes != INT64_MAX)
        disk_bytes -= (int64_t)len;
    return __real_pwrite(fd, data, len, offset);
}

static int set_up(void **state)
{
    disk_bytes = INT64_MAX;
    return rig_set_up(state);
}

static void with_bound(struct rig *r, int64_t max_bytes)
{
    cache_stop(r);
    r->max_bytes = max_bytes;
    cache_start(r);
}

static void what_was_used_least_recently_goes_first(void **state)
{
    struct rig *r = *state;
    struct outcome o;
    const struct content *a = content_add(&r->server, LITTLE, 1);
    const struct content *b = content_add(&r->server, LITTLE, 2);
    const struct content *c = content_add(&r->server, LITTLE, 3);
    with_bound(r, 2 * LITTLE + LITTLE / 2);
    get(r, &o, a->digest);
    assert_holds(&o, a);
    get(r, &o, b->digest);
    assert_holds(&o, b);
    get(r, &o, a->digest); /* b is the older one now */
    assert_holds(&o, a);
    get(r, &o, c->digest);
    assert_holds(&o, c);
    cache_stop(r);
    assert_int_equal(cache_size(r, a->digest, ""), LITTLE);
    assert_int_equal(cache_size(r, b->digest, ""), -1);
    assert_int_equal(cache_size(r, c->digest, ""), LITTLE);
    /* A bound that is lower than before holds from the start. */
    r->max_bytes = LITTLE;
    cache_start(r);
    cache_stop(r);
    assert_int_equal(cache_size(r, a->digest, ""), -1);
    assert_int_equal(cache_size(r, c->digest, ""), LITTLE);
}

static void one_over_the_bound_is_handed_out_and_not_kept(void **state)
{
    struct rig *r = *state;
    struct outcome o;
    const struct content *content = content_add(&r->server, MUCH, 1);
    with_bound(r, LITTLE);
    get(r, &o, content->digest);
    cache_stop(r);
    assert_int_equal(cache_size(r, content->digest, ""), -1);
    assert_holds(&o, content);
}

static void a_full_disk_is_said_and_what_is_not_needed_makes_room(void **state)
{
    struct rig *r = *state;
    struct outcome o;
    const struct content *old = content_add(&r->server, LITTLE, 1);
    const struct content *content = content_add(&r->server, LITTLE, 2);
    get(r, &o, old->digest);
    assert_holds(&o, old);
    disk_bytes = 0;
    get(r, &o, content->digest);
    assert_int_equal(o.code, ERR_NO_SPACE);
    assert_non_null(strstr(o.message, "No space left"));
    assert_non_null(strstr(o.message, "/artifacts"));
    assert_int_equal(cache_size(r, old->digest, ""), -1);
    disk_bytes = INT64_MAX;
    get(r, &o, content->digest);
    assert_holds(&o, content);
}

static void what_is_held_is_not_removed_before_it_is_released(void **state)
{
    struct rig *r = *state;
    struct artifact_cache *cache = NULL;
    struct error err = {0};
    const struct content *a = content_add(&r->server, LITTLE, 1);
    const struct content *b = content_add(&r->server, LITTLE, 2);
    cache_stop(r);
    assert_int_equal(artifact_cache_open(r->folder.path, LITTLE / 2, &cache, &err), ERR_OK);
    write_file(cache_path(r, a->digest, ""), a->data, LITTLE);
    write_file(cache_path(r, b->digest, ".part"), b->data, LITTLE);
    assert_int_equal(artifact_cache_hold(cache, a->digest, &err), ERR_OK);
    assert_int_equal(artifact_cache_hold(cache, a->digest, &err), ERR_OK);
    assert_int_equal(artifact_cache_hold(cache, b->digest, &err), ERR_OK);
    artifact_cache_release(cache, a->digest);
    artifact_cache_trim(cache, 0);
    assert_int_equal(cache_size(r, a->digest, ""), LITTLE);
    assert_int_equal(cache_size(r, b->digest, ".part"), LITTLE);
    artifact_cache_release(cache, b->digest);
    artifact_cache_trim(cache, 0);
    assert_int_equal(cache_size(r, a->digest, ""), LITTLE);
    assert_int_equal(cache_size(r, b->digest, ".part"), -1);
    artifact_cache_release(cache, a->digest);
    artifact_cache_trim(cache, 0);
    assert_int_equal(cache_size(r, a->digest, ""), -1);
    artifact_cache_close(cache);
}

/* For all that is to come, before the first byte of it. */
static void room_is_made_before_it_comes(void **state)
{
    struct rig *r = *state;
    struct outcome o;
    const struct content *old = content_add(&r->server, LITTLE, 1);
    const struct content *content = content_add(&r->server, MUCH, 2);
    with_bound(r, MUCH + LITTLE / 2);
    get(r, &o, old->digest);
    assert_holds(&o, old);
    r->server.cut_bytes = 100;
    ask(r, &o, content->digest, 0);
    AWAIT(r, o.bytes >= 100);
    assert_int_equal(cache_size(r, old->digest, ""), -1);
    r->agent.source.cancel(r->agent.source.ctx, o.request);
}

/* Nothing of somebody else's in the folder is touched, and no link is followed out of it. */
static void what_is_no_artifact_stays(void **state)
{
    struct rig *r = *state;
    struct outcome o;
    const struct content *content = content_add(&r->server, LITTLE, 1);
    const struct content *linked = content_add(&r->server, LITTLE, 2);
    char target[512];
    (void)snprintf(target, sizeof(target), "%s/target", r->folder.path);
    write_file(target, "precious", 8);
    write_file(cache_path(r, "notes", ""), "mine", 4);
    assert_int_equal(symlink(target, cache_path(r, linked->digest, ".part")), 0);
    get(r, &o, linked->digest);
    assert_int_not_equal(o.code, ERR_OK);
    assert_string_equal(file_get(target), "precious");
    with_bound(r, 1);
    get(r, &o, content->digest);
    assert_holds(&o, content);
    cache_stop(r);
    assert_int_equal(cache_size(r, "notes", ""), 4);
    assert_string_equal(file_get(target), "precious");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, rig_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_was_used_least_recently_goes_first),
        TEST(one_over_the_bound_is_handed_out_and_not_kept),
        TEST(a_full_disk_is_said_and_what_is_not_needed_makes_room),
        TEST(what_is_held_is_not_removed_before_it_is_released),
        TEST(room_is_made_before_it_comes),
        TEST(what_is_no_artifact_stays),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
