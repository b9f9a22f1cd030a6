#include "common/base/alloc.h"
#include "common/base/cleanup.h"
#include "unit/agent/support_artifacts.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void one_is_fetched_verified_and_kept(void **state)
{
    struct rig *r = *state;
    struct outcome o;
    struct stat st;
    const struct content *content = content_add(&r->server, MUCH, 1);
    get(r, &o, content->digest);
    assert_holds(&o, content);
    assert_true(o.progresses > 1);
    assert_int_equal(o.bytes, MUCH);
    assert_int_equal(o.total, MUCH);
    char path[256];
    (void)snprintf(path, sizeof(path), "/v1/agent/artifacts/%s?rollout=patch-7", content->digest);
    assert_string_equal(r->server.path, path);
    assert_int_equal(stat(cache_path(r, content->digest, ""), &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(stat(cache_path(r, "", ""), &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
    assert_int_equal(cache_size(r, content->digest, ".part"), -1);
}

static void one_that_is_kept_is_not_fetched_again(void **state)
{
    struct rig *r = *state;
    struct outcome o;
    const struct content *content = content_add(&r->server, LITTLE, 1);
    get(r, &o, content->digest);
    assert_holds(&o, content);
    cache_stop(r);
    cache_start(r);
    get(r, &o, content->digest);
    assert_holds(&o, content);
    assert_int_equal(r->server.requests, 1);
}

static void an_empty_one_is_one_too(void **state)
{
    struct rig *r = *state;
    struct outcome o;
    const struct content *content = content_add(&r->server, 0, 1);
    get(r, &o, content->digest);
    assert_holds(&o, content);
}

static void one_that_was_damaged_on_the_disk_is_fetched_anew(void **state)
{
    struct rig *r = *state;
    struct outcome o;
    const struct content *content = content_add(&r->server, MUCH, 1);
    get(r, &o, content->digest);
    assert_holds(&o, content);
    int fd = open(cache_path(r, content->digest, ""), O_WRONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    char other = (char)~content->data[MUCH - 1];
    assert_int_equal(pwrite(fd, &other, 1, MUCH - 1), 1);
    assert_int_equal(close(fd), 0);
    get(r, &o, content->digest);
    assert_holds(&o, content);
    assert_int_equal(r->server.requests, 2);
    assert_int_equal(r->server.offsets[1], 0);
}

static void a_fetch_that_is_cut_off_goes_on_where_it_was(void **state)
{
    struct rig *r = *state;
    struct outcome o;
    const struct content *content = content_add(&r->server, MUCH, 1);
    r->server.cut_bytes = 1024 * 1024;
    r->server.cuts = 2;
    get(r, &o, content->digest);
    assert_holds(&o, content);
    assert_int_equal(r->server.requests, 3);
    assert_int_equal(r->server.offsets[1], 1024 * 1024);
    assert_int_equal(r->server.offsets[2], 2 * 1024 * 1024);
}

/* As after a kill: what was written is there, and nobody has said goodbye. */
static void what_an_earlier_process_has_left_is_gone_on_with(void **state)
{
    struct rig *r = *state;
    struct outcome o;
    const struct content *content = content_add(&r->server, MUCH, 1);
    write_file(cache_path(r, content->digest, ".part"), content->data, 123456);
    get(r, &o, content->digest);
    assert_holds(&o, content);
    assert_int_equal(r->server.requests, 1);
    assert_int_equal(r->server.offsets[0], 123456);
    assert_int_equal(cache_size(r, content->digest, ".part"), -1);
}

static void what_is_given_up_in_the_middle_is_gone_on_with_later(void **state)
{
    struct rig *r = *state;
    struct outcome o, again;
    const struct content *content = content_add(&r->server, MUCH, 1);
    r->server.cut_bytes = 1024 * 1024;
    ask(r, &o, content->digest, 0);
    AWAIT(r, o.bytes == 1024 * 1024);
    r->agent.source.cancel(r->agent.source.ctx, o.request);
    cache_stop(r);
    r->server.cut_bytes = 0;
    unsigned before = r->server.requests;
    cache_start(r);
    get(r, &again, content->digest);
    assert_holds(&again, content);
    assert_true(r->server.offsets[before] >= 1024 * 1024);
    assert_int_equal(o.done, 0);
}

static void a_part_that_is_all_of_it_needs_no_more(void **state)
{
    struct rig *r = *state;
    struct outcome o;
    const struct content *content = content_add(&r->server, LITTLE, 1);
    write_file(cache_path(r, content->digest, ".part"), content->data, LITTLE);
    get(r, &o, content->digest);
    assert_holds(&o, content);
    assert_int_equal(r->server.requests, 1);
}

static void a_part_that_is_something_else_is_begun_anew(void **state)
{
    struct rig *r = *state;
    struct outcome o;
    const struct content *content = content_add(&r->server, MUCH, 1);
    char *zeros = calloc(MUCH + 1, 1); /* as a power cut leaves it */
    assert_non_null(zeros);
    write_file(cache_path(r, content->digest, ".part"), zeros, LITTLE);
    get(r, &o, content->digest);
    assert_holds(&o, content);
    assert_int_equal(r->server.requests, 2);
    assert_int_equal(r->server.offsets[1], 0);
    /* Also one that is longer than all of it. */
    const struct content *other = content_add(&r->server, LITTLE, 2);
    write_file(cache_path(r, other->digest, ".part"), zeros, MUCH + 1);
    free(zeros);
    get(r, &o, other->digest);
    assert_holds(&o, other);
}

static void a_server_without_ranges_gives_it_from_its_beginning(void **state)
{
    struct rig *r = *state;
    struct outcome o;
    const struct content *content = content_add(&r->server, MUCH, 1);
    write_file(cache_path(r, content->digest, ".part"), content->data, 123456);
    r->server.no_ranges = true;
    get(r, &o, content->digest);
    assert_holds(&o, content);
    assert_int_equal(r->server.requests, 1);
    assert_int_equal(r->server.offsets[0], 123456);
}

static void other_bytes_are_not_handed_out_and_not_kept(void **state)
{
    struct rig *r = *state;
    struct outcome o;
    const struct content *content = content_add(&r->server, MUCH, 1);
    r->server.other_bytes = true;
    get(r, &o, content->digest);
    assert_int_equal(o.code, ERR_CORRUPT);
    assert_non_null(strstr(o.message, content->digest));
    assert_int_equal(r->server.requests, 1);
    assert_int_equal(cache_size(r, content->digest, ""), -1);
    assert_int_equal(cache_size(r, content->digest, ".part"), 0);
    r->server.other_bytes = false;
    get(r, &o, content->digest);
    assert_holds(&o, content);
}

static void what_is_not_given_ends_it_at_once(void **state)
{
    static const struct {
        int status;
        enum error_code code;
    } answers[] = {{404, ERR_NOT_FOUND},
                   {403, ERR_DENIED},
                   {401, ERR_DENIED},
                   {400, ERR_UNSUPPORTED},
                   {302, ERR_UNSUPPORTED}};
    struct rig *r = *state;
    const struct content *content = content_add(&r->server, LITTLE, 1);
    for (unsigned i = 0; i < ARRAY_LEN(answers); i++) {
        struct outcome o;
        r->server.status = answers[i].status;
        get(r, &o, content->digest);
        assert_int_equal(o.code, answers[i].code);
        assert_int_equal(r->server.requests, i + 1);
    }
}

static void trouble_of_the_server_is_waited_out(void **state)
{
    struct rig *r = *state;
    struct outcome o;
    const struct content *content = content_add(&r->server, LITTLE, 1);
    r->server.status = 503;
    r->server.statuses = 3;
    get(r, &o, content->digest);
    assert_holds(&o, content);
    assert_int_equal(r->server.requests, 4);
}

static void those_who_want_the_same_share_one_fetch(void **state)
{
    struct rig *r = *state;
    struct outcome a, b, c;
    const struct content *content = content_add(&r->server, MUCH, 1);
    ask(r, &a, content->digest, 0);
    ask(r, &b, content->digest, 0);
    AWAIT(r, a.bytes > 0);
    ask(r, &c, content->digest, 0);
    AWAIT(r, a.done && b.done && c.done);
    assert_int_equal(r->server.requests, 1);
    assert_holds(&a, content);
    assert_holds(&b, content);
    assert_holds(&c, content);
}

static void when_one_of_them_gives_up_the_others_get_it(void **state)
{
    struct rig *r = *state;
    struct outcome a, b;
    const struct content *content = content_add(&r->server, MUCH, 1);
    ask(r, &a, content->digest, 0);
    ask(r, &b, content->digest, 0);
    AWAIT(r, b.bytes > 0);
    r->agent.source.cancel(r->agent.source.ctx, a.request);
    AWAIT(r, b.done);
    assert_int_equal(a.done, 0);
    assert_int_equal(r->server.requests, 1);
    assert_holds(&b, content);
}

/* Whoever asks again right after giving up finds the file's job still under way. */
static void one_that_is_given_up_can_be_asked_for_again_at_once(void **state)
{
    struct rig *r = *state;
    struct outcome o;
    const struct content *content = content_add(&r->server, MUCH, 1);
    for (int i = 0; i < 8; i++) {
        ask(r, &o, content->digest, 0);
        int turns = i;
        while (turns-- > 0 && o.done == 0)
            (void)uv_run(&r->loop, UV_RUN_ONCE);
        if (o.done == 0)
            r->agent.source.cancel(r->agent.source.ctx, o.request);
        else
            assert_holds(&o, content);
    }
    get(r, &o, content->digest);
    assert_holds(&o, content);
}

static void one_that_is_too_large_is_not_fetched(void **state)
{
    struct rig *r = *state;
    struct outcome o, other;
    const struct content *content = content_add(&r->server, MUCH, 1);
    ask(r, &o, content->digest, MUCH - 1);
    AWAIT(r, o.done == 1);
    assert_int_equal(o.code, ERR_LIMIT);
    assert_int_equal(o.total, MUCH);
    assert_int_equal(cache_size(r, content->digest, ""), -1);
    assert_true(cache_size(r, content->digest, ".part") <= 0);
    /* Nor does it end the fetch for somebody else; and one that is kept has its size, too. */
    ask(r, &o, content->digest, 5);
    ask(r, &other, content->digest, MUCH);
    AWAIT(r, o.done && other.done);
    assert_int_equal(o.code, ERR_LIMIT);
    assert_holds(&other, content);
    ask(r, &o, content->digest, MUCH - 1);
    AWAIT(r, o.done == 1);
    assert_int_equal(o.code, ERR_LIMIT);
}

static void many_at_once_wait_for_each_other(void **state)
{
    struct rig *r = *state;
    struct outcome o[ARTIFACTS_FETCHES_MAX + 1];
    r->server.silent = true;
    for (unsigned i = 0; i < ARRAY_LEN(o); i++) {
        char digest[ARTIFACT_DIGEST_BUFFER];
        AWAIT(r, r->server.requests == i);
        memset(digest, 'a' + (int)i, sizeof(digest) - 1);
        digest[sizeof(digest) - 1] = '\0';
        ask(r, &o[i], digest, 0);
    }
    r->server.silent = false; /* the next one is told that there is no such */
    r->agent.source.cancel(r->agent.source.ctx, o[0].request);
    AWAIT(r, o[ARTIFACTS_FETCHES_MAX].done);
    assert_int_equal(o[ARTIFACTS_FETCHES_MAX].code, ERR_NOT_FOUND);
    assert_int_equal(r->server.requests, ARTIFACTS_FETCHES_MAX + 1);
    cache_stop(r); /* those that are under way are told */
    for (unsigned i = 1; i < ARTIFACTS_FETCHES_MAX; i++)
        assert_int_equal(o[i].code, ERR_UNAVAILABLE);
}

static void odd_names_are_refused(void **state)
{
    struct rig *r = *state;
    struct outcome o = {0};
    struct error err = {0};
    const struct content *content = content_add(&r->server, LITTLE, 1);
    struct artifact_wish wish = {
        .digest = "../../etc/shadow", .rollout = "patch-7", .ctx = &o, .done = outcome_done};
    assert_int_equal(r->agent.source.get(r->agent.source.ctx, &wish, &o.request, &err),
                     ERR_INVALID);
    wish.digest = content->digest;
    wish.rollout = "x&y";
    assert_int_equal(r->agent.source.get(r->agent.source.ctx, &wish, &o.request, &err),
                     ERR_INVALID);
}

/* Each allocation of the loop and all behind it fail in turn: it is had, or lacks memory, and can
 * be had afterwards. */
static void want_of_memory_is_said_and_passes(void **state)
{
    struct rig *r = *state;
    struct outcome o;
    const struct content *content = content_add(&r->server, LITTLE, 1);
    const struct artifact_wish wish = {
        .digest = content->digest, .rollout = "patch-7", .ctx = &o, .done = outcome_done};
    get(r, &o, content->digest);
    assert_holds(&o, content);
    bool failed = true;
    for (uint64_t n = 0; failed; n++) {
        struct error err = {0};
        o = (struct outcome){.artifact = {.fd = -1}};
        mem_fail_after(n);
        enum error_code code = r->agent.source.get(r->agent.source.ctx, &wish, &o.request, &err);
        AWAIT(r, code != ERR_OK || o.done == 1);
        failed = mem_fail_count() > 0;
        mem_fail_never();
        assert_true(failed || code == ERR_OK);
        if (code != ERR_OK || o.code != ERR_OK)
            assert_int_equal(code != ERR_OK ? code : o.code, ERR_NO_MEMORY);
        else
            assert_holds(&o, content);
        assert_true(n < 100);
    }
    get(r, &o, content->digest);
    assert_holds(&o, content);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, rig_set_up, rig_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(one_is_fetched_verified_and_kept),
        TEST(one_that_is_kept_is_not_fetched_again),
        TEST(an_empty_one_is_one_too),
        TEST(one_that_was_damaged_on_the_disk_is_fetched_anew),
        TEST(a_fetch_that_is_cut_off_goes_on_where_it_was),
        TEST(what_an_earlier_process_has_left_is_gone_on_with),
        TEST(what_is_given_up_in_the_middle_is_gone_on_with_later),
        TEST(a_part_that_is_all_of_it_needs_no_more),
        TEST(a_part_that_is_something_else_is_begun_anew),
        TEST(a_server_without_ranges_gives_it_from_its_beginning),
        TEST(other_bytes_are_not_handed_out_and_not_kept),
        TEST(what_is_not_given_ends_it_at_once),
        TEST(trouble_of_the_server_is_waited_out),
        TEST(those_who_want_the_same_share_one_fetch),
        TEST(when_one_of_them_gives_up_the_others_get_it),
        TEST(one_that_is_given_up_can_be_asked_for_again_at_once),
        TEST(one_that_is_too_large_is_not_fetched),
        TEST(many_at_once_wait_for_each_other),
        TEST(odd_names_are_refused),
        TEST(want_of_memory_is_said_and_passes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
