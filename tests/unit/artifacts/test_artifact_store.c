#include "unit/artifacts/support_store.h"

#include "common/base/alloc.h"
#include "common/base/cleanup.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static const char text[] = TEXT;

/* ---- Uploads ----------------------------------------------------------------------------------
 */

static void what_is_put_in_pieces_is_there_when_the_last_one_has_come(void **state)
{
    struct world *w = *state;
    struct artifact_facts facts;
    char hex[HEX_BUFFER];
    half_put(w, hex);
    assert_true(found(w, hex, &facts));
    assert_false(facts.whole);
    assert_false(is_there(w, hex));
    struct ended ended = put(w, hex, FIRST, text + FIRST, LEN - FIRST);
    assert_int_equal(ended.code, ERR_OK);
    assert_true(ended.whole);
    is_whole(w, hex);
    assert_true(found(w, hex, &facts));
    assert_string_equal(facts.name, "app.tar");
    assert_string_equal(facts.by, "eve");
    assert_int_equal(facts.created_ms, 1000);
    struct stat st;
    assert_int_equal(lstat(path_of(w, hex), &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
}

static void content_of_no_bytes_is_content(void **state)
{
    struct world *w = *state;
    char hex[HEX_BUFFER];
    hex_of("", 0, hex);
    struct ended ended = begun(w, hex, 0);
    assert_int_equal(ended.code, ERR_OK);
    assert_false(ended.whole);
    assert_true(put(w, hex, 0, NULL, 0).whole);
    is_whole(w, hex);
}

static void what_is_there_is_known_with_all_that_was_said_of_it_after_a_restart(void **state)
{
    struct world *w = *state;
    struct artifact_facts facts;
    char hex[HEX_BUFFER];
    stored(w, text, hex);
    world_again(w);
    is_whole(w, hex);
    assert_true(found(w, hex, &facts));
    assert_string_equal(facts.name, "app.tar");
    assert_string_equal(facts.by, "eve");
    assert_int_equal(facts.created_ms, 1000);
    assert_int_equal(artifact_store_stats(w->store).bytes, LEN);
    assert_int_equal(artifact_store_stats(w->store).count, 1);
}

static void an_upload_goes_on_where_it_was_after_a_restart(void **state)
{
    struct world *w = *state;
    char hex[HEX_BUFFER];
    half_put(w, hex);
    world_again(w);
    struct ended ended = begun(w, hex, LEN);
    assert_int_equal(ended.offset, FIRST);
    assert_false(ended.whole);
    assert_true(put(w, hex, FIRST, text + FIRST, LEN - FIRST).whole);
    is_whole(w, hex);
}

/* The program died when the last bytes were written, and before they were told of. */
static void an_upload_that_has_all_its_bytes_is_ended_by_an_empty_piece(void **state)
{
    struct world *w = *state;
    char hex[HEX_BUFFER];
    char part[HEX_BUFFER + 8];
    half_put(w, hex);
    world_close(w);
    (void)snprintf(part, sizeof(part), "%s.part", hex);
    file_make(w, part, text);
    world_open(w);
    struct ended ended = begun(w, hex, LEN);
    assert_int_equal(ended.offset, LEN);
    assert_false(ended.whole);
    assert_false(is_there(w, hex));
    assert_true(put(w, hex, LEN, NULL, 0).whole);
    is_whole(w, hex);
}

static void bytes_that_a_crash_has_spoiled_are_found_and_nothing_is_kept(void **state)
{
    struct world *w = *state;
    char hex[HEX_BUFFER];
    char part[HEX_BUFFER + 8];
    half_put(w, hex);
    world_close(w);
    (void)snprintf(part, sizeof(part), "%s.part", hex);
    file_make(w, part, "??????????");
    world_open(w);
    struct ended ended = put(w, hex, FIRST, text + FIRST, LEN - FIRST);
    assert_int_equal(ended.code, ERR_CORRUPT);
    assert_false(ended.there);
    nothing_is_left(w, hex);
    assert_int_equal(begun(w, hex, LEN).offset, 0);
    assert_true(put(w, hex, 0, text, LEN).whole);
}

static void content_that_is_not_what_was_said_is_thrown_away(void **state)
{
    struct world *w = *state;
    char hex[HEX_BUFFER];
    hex_of("other", 5, hex);
    assert_int_equal(begun(w, hex, LEN).code, ERR_OK);
    struct ended ended = put(w, hex, 0, text, LEN);
    assert_int_equal(ended.code, ERR_CORRUPT);
    assert_non_null(strstr(ended.message, hex));
    nothing_is_left(w, hex);
    assert_int_equal(artifact_store_stats(w->store).bytes, 0);
    assert_int_equal(artifact_store_stats(w->store).uploads, 0);
}

static void a_piece_for_another_place_is_refused_with_the_right_one(void **state)
{
    struct world *w = *state;
    char hex[HEX_BUFFER];
    half_put(w, hex);
    const int64_t wrong[] = {0, FIRST - 1, FIRST + 1, LEN};
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        struct ended ended = put(w, hex, wrong[i], text, 1);
        assert_int_equal(ended.code, ERR_CONFLICT);
        assert_int_equal(ended.offset, FIRST);
    }
    assert_true(put(w, hex, FIRST, text + FIRST, LEN - FIRST).whole);
}

static void more_than_was_said_and_what_was_not_begun_are_refused(void **state)
{
    struct world *w = *state;
    char hex[HEX_BUFFER];
    hex_of(text, LEN, hex);
    assert_int_equal(put(w, hex, 0, text, LEN).code, ERR_NOT_FOUND);
    half_put(w, hex);
    struct ended ended = put(w, hex, FIRST, text, LEN);
    assert_int_equal(ended.code, ERR_INVALID);
    assert_int_equal(ended.offset, FIRST);
}

static void to_begin_again_tells_how_far_it_is_and_another_size_is_refused(void **state)
{
    struct world *w = *state;
    char hex[HEX_BUFFER];
    half_put(w, hex);
    assert_int_equal(begun(w, hex, LEN).offset, FIRST);
    assert_int_equal(begun(w, hex, LEN + 1).code, ERR_CONFLICT);
    assert_true(put(w, hex, FIRST, text + FIRST, LEN - FIRST).whole);
    assert_true(begun(w, hex, LEN).whole);
    assert_int_equal(begun(w, hex, LEN + 1).code, ERR_CONFLICT);
    /* An answer that was lost: the last piece comes once more. */
    assert_true(put(w, hex, FIRST, text + FIRST, LEN - FIRST).whole);
    assert_int_equal(artifact_store_stats(w->store).count, 1);
}

static void two_who_upload_the_same_at_once_share_one_upload(void **state)
{
    struct world *w = *state;
    struct ended a = {0};
    struct ended b = {0};
    char hex[HEX_BUFFER];
    hex_of(text, LEN, hex);
    begin(w, hex, LEN, &a);
    begin(w, hex, LEN, &b);
    piece(w, hex, 0, text, FIRST, &a);
    piece(w, hex, 0, text, FIRST, &b);
    wait_for(w, &a, 2);
    wait_for(w, &b, 2);
    assert_int_equal(a.code, ERR_OK);
    assert_int_equal(b.code, ERR_CONFLICT);
    assert_int_equal(b.offset, FIRST);
    piece(w, hex, FIRST, text + FIRST, LEN - FIRST, &b);
    piece(w, hex, FIRST, text + FIRST, LEN - FIRST, &a);
    wait_for(w, &a, 3);
    wait_for(w, &b, 3);
    assert_true(b.code == ERR_OK && b.whole);
    assert_true(a.code == ERR_OK && a.whole);
    assert_int_equal(artifact_store_stats(w->store).count, 1);
    assert_int_equal(artifact_store_stats(w->store).uploads, 0);
}

/* More than is hashed in one go, and none of it while it was written. */
static void a_large_file_is_hashed_again_piece_by_piece_after_a_restart(void **state)
{
    enum { LARGE = ARTIFACT_SUM_PIECE + 12345, TAIL = 45 };
    struct world *w = *state;
    AUTO_FREE char *large = mem_alloc(LARGE);
    char hex[HEX_BUFFER];
    assert_non_null(large);
    for (size_t i = 0; i < LARGE; i++)
        large[i] = (char)(i * 7 + i / 1000);
    hex_of(large, LARGE, hex);
    assert_int_equal(begun(w, hex, LARGE).code, ERR_OK);
    for (size_t at = 0; at < LARGE - TAIL;) {
        size_t len =
            LARGE - TAIL - at < ARTIFACT_PIECE_MAX ? LARGE - TAIL - at : ARTIFACT_PIECE_MAX;
        assert_int_equal(put(w, hex, (int64_t)at, large + at, len).code, ERR_OK);
        at += len;
    }
    world_again(w);
    assert_true(put(w, hex, LARGE - TAIL, large + LARGE - TAIL, TAIL).whole);
    is_whole(w, hex);
}

/* ---- What is found at the start ---------------------------------------------------------------
 */

static void what_belongs_to_nothing_is_removed_at_the_start_and_the_rest_is_left(void **state)
{
    struct world *w = *state;
    char hex[HEX_BUFFER];
    char names[4][HEX_BUFFER + 16];
    static const char *const suffixes[] = {".part", ".json", ".json.new"};
    for (size_t i = 0; i < ARRAY_LEN(suffixes); i++) {
        hex_of(suffixes[i], strlen(suffixes[i]), hex);
        (void)snprintf(names[i], sizeof(names[i]), "%s%s", hex, suffixes[i]);
        file_make(w, names[i], "{\"size\":3,\"created\":\"2026-11-21T06:25:56.123Z\"}");
    }
    file_make(w, "README", "somebody else's");
    stored(w, text, hex);
    world_again(w);
    for (size_t i = 0; i < ARRAY_LEN(suffixes); i++)
        assert_false(is_there(w, names[i]));
    assert_true(is_there(w, "README"));
    is_whole(w, hex);
    assert_int_equal(artifact_store_stats(w->store).count, 1);
}

static void an_upload_with_more_bytes_than_it_may_have_is_begun_anew(void **state)
{
    struct world *w = *state;
    char hex[HEX_BUFFER];
    char part[HEX_BUFFER + 8];
    half_put(w, hex);
    world_close(w);
    (void)snprintf(part, sizeof(part), "%s.part", hex);
    file_make(w, part, "more bytes than it was said to have at first");
    world_open(w);
    nothing_is_left(w, hex);
}

static void content_whose_record_is_lost_or_damaged_is_there_all_the_same(void **state)
{
    static const char *const records[] = {NULL, "", "{", "{\"size\":\"x\"}"};
    struct world *w = *state;
    struct artifact_facts facts;
    char hex[HEX_BUFFER];
    char record[HEX_BUFFER + 8];
    stored(w, text, hex);
    (void)snprintf(record, sizeof(record), "%s.json", hex);
    for (size_t i = 0; i < ARRAY_LEN(records); i++) {
        world_close(w);
        if (records[i] == NULL)
            assert_int_equal(remove(path_of(w, record)), 0);
        else
            file_make(w, record, records[i]);
        world_open(w);
        is_whole(w, hex);
        assert_true(found(w, hex, &facts));
        assert_int_equal(facts.size_bytes, LEN);
        assert_string_equal(facts.name, "");
    }
}

static void a_folder_that_cannot_be_made_is_named(void **state)
{
    struct world *w = *state;
    struct artifact_store *store = NULL;
    struct error err = {0};
    struct artifact_store_config config = w->config;
    config.dir = "/nowhere/at/all";
    assert_int_equal(artifact_store_open(&config, &store, &err), ERR_NOT_FOUND);
    assert_non_null(strstr(err.message, "/nowhere/at/all"));
    assert_null(store);
}

static void who_waits_when_it_is_closed_is_told_and_what_was_done_stays(void **state)
{
    struct world *w = *state;
    struct ended ended = {0};
    char hex[HEX_BUFFER];
    half_put(w, hex);
    piece(w, hex, FIRST, text + FIRST, LEN - FIRST, &ended);
    begin(w, hex, LEN, &ended);
    artifact_store_close(w->store);
    assert_int_equal(ended.times, 2);
    assert_int_equal(ended.code, ERR_CANCELLED);
    w->store = NULL;
    world_again(w);
    /* The piece was on its way to the disk: it is there. */
    assert_int_equal(begun(w, hex, LEN).offset, LEN);
    assert_true(put(w, hex, LEN, NULL, 0).whole);
}

/* ---- Looking ----------------------------------------------------------------------------------
 */

static void the_first_digits_are_enough_if_no_other_begins_so(void **state)
{
    struct world *w = *state;
    struct error err = {0};
    char hex[HEX_BUFFER];
    char name[HEX_BUFFER + 8];
    char got[HEX_BUFFER] = "";
    stored(w, text, hex);
    (void)snprintf(name, sizeof(name), "sha256:%.6s", hex);
    assert_int_equal(artifact_store_resolve(w->store, name, got, &err), ERR_OK);
    assert_string_equal(got, hex);
    assert_int_equal(artifact_store_resolve(w->store, hex, got, &err), ERR_OK);
    /* Another one that begins so; its content is of no interest. */
    char twin[HEX_BUFFER];
    memcpy(twin, hex, sizeof(twin));
    twin[10] = twin[10] == '0' ? '1' : '0';
    file_make(w, twin, "");
    world_again(w);
    assert_int_equal(artifact_store_resolve(w->store, name, got, &err), ERR_CONFLICT);
    assert_int_equal(artifact_store_resolve(w->store, twin, got, &err), ERR_OK);
    assert_string_equal(got, twin);
    static const char *const none[] = {"", "sha256:", "abc", "sha256:abc", "xyzw", "ABCDEF"};
    for (size_t i = 0; i < ARRAY_LEN(none); i++)
        assert_int_equal(artifact_store_resolve(w->store, none[i], got, &err), ERR_INVALID);
    name[7] = name[7] == '0' ? '1' : '0';
    assert_int_equal(artifact_store_resolve(w->store, name, got, &err), ERR_NOT_FOUND);
}

struct walk {
    char seen[8][HEX_BUFFER];
    size_t count, limit;
};

static bool walk_each(void *ctx, const struct artifact_facts *facts)
{
    struct walk *walk = ctx;
    if (walk->count == walk->limit)
        return false;
    memcpy(walk->seen[walk->count++], facts->digest, HEX_BUFFER);
    return true;
}

static void all_are_told_of_in_the_order_of_their_digits_and_from_any_place_on(void **state)
{
    struct world *w = *state;
    struct error err = {0};
    char hex[HEX_BUFFER];
    struct walk all = {.limit = 8};
    stored(w, "a", hex);
    stored(w, "b", hex);
    stored(w, "c", hex);
    half_put(w, hex);
    assert_int_equal(artifact_store_each(w->store, NULL, walk_each, &all, &err), ERR_OK);
    assert_int_equal(all.count, 4);
    for (size_t i = 1; i < all.count; i++)
        assert_true(strcmp(all.seen[i - 1], all.seen[i]) < 0);
    struct walk rest = {.limit = 1};
    assert_int_equal(artifact_store_each(w->store, all.seen[1], walk_each, &rest, &err), ERR_OK);
    assert_int_equal(rest.count, 1);
    assert_string_equal(rest.seen[0], all.seen[2]);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, world_setup, world_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_is_put_in_pieces_is_there_when_the_last_one_has_come),
        TEST(content_of_no_bytes_is_content),
        TEST(what_is_there_is_known_with_all_that_was_said_of_it_after_a_restart),
        TEST(an_upload_goes_on_where_it_was_after_a_restart),
        TEST(an_upload_that_has_all_its_bytes_is_ended_by_an_empty_piece),
        TEST(bytes_that_a_crash_has_spoiled_are_found_and_nothing_is_kept),
        TEST(content_that_is_not_what_was_said_is_thrown_away),
        TEST(a_piece_for_another_place_is_refused_with_the_right_one),
        TEST(more_than_was_said_and_what_was_not_begun_are_refused),
        TEST(to_begin_again_tells_how_far_it_is_and_another_size_is_refused),
        TEST(two_who_upload_the_same_at_once_share_one_upload),
        TEST(a_large_file_is_hashed_again_piece_by_piece_after_a_restart),
        TEST(what_belongs_to_nothing_is_removed_at_the_start_and_the_rest_is_left),
        TEST(an_upload_with_more_bytes_than_it_may_have_is_begun_anew),
        TEST(content_whose_record_is_lost_or_damaged_is_there_all_the_same),
        TEST(a_folder_that_cannot_be_made_is_named),
        TEST(who_waits_when_it_is_closed_is_told_and_what_was_done_stays),
        TEST(the_first_digits_are_enough_if_no_other_begins_so),
        TEST(all_are_told_of_in_the_order_of_their_digits_and_from_any_place_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
