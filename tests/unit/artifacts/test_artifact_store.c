#include "unit/artifacts/support_store.h"

#include "common/base/alloc.h"
#include "common/base/cleanup.h"
#include "orchestrator/artifacts/artifact_check.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static const char text[] = "some content that is put in pieces";
enum { LEN = sizeof(text) - 1, FIRST = 10 };

static int setup(void **state)
{
    struct world *w = calloc(1, sizeof(*w));
    assert_non_null(w);
    world_begin(w);
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    world_end(*state);
    free(*state);
    return 0;
}

/* One of which the first piece is there. */
static void half_put(struct world *w, char ret_hex[HEX_BUFFER])
{
    hex_of(text, LEN, ret_hex);
    assert_int_equal(begun(w, ret_hex, LEN).code, ERR_OK);
    struct ended ended = put(w, ret_hex, 0, text, FIRST);
    assert_int_equal(ended.code, ERR_OK);
    assert_int_equal(ended.offset, FIRST);
}

static void is_whole(struct world *w, const char *hex)
{
    struct artifact_facts facts;
    char part[HEX_BUFFER + 8];
    (void)snprintf(part, sizeof(part), "%s.part", hex);
    assert_true(found(w, hex, &facts));
    assert_true(facts.whole);
    assert_int_equal(facts.offset_bytes, facts.size_bytes);
    assert_int_equal(length_of(w, hex), facts.size_bytes);
    assert_false(is_there(w, part));
}

static void nothing_is_left(const struct world *w, const char *hex)
{
    static const char *const suffixes[] = {"", ".part", ".json", ".json.new"};
    assert_false(found(w, hex, NULL));
    for (size_t i = 0; i < ARRAY_LEN(suffixes); i++) {
        char name[HEX_BUFFER + 16];
        (void)snprintf(name, sizeof(name), "%s%s", hex, suffixes[i]);
        assert_false(is_there(w, name));
    }
}

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

/* ---- Room -------------------------------------------------------------------------------------
 */

static void the_limit_is_for_all_together_and_deleting_makes_room(void **state)
{
    struct world *w = *state;
    char first[HEX_BUFFER];
    char hex[HEX_BUFFER];
    world_close(w);
    w->config.max_bytes = LEN + 10;
    world_open(w);
    stored(w, text, first);
    hex_of("12345678901", 11, hex);
    struct ended ended = begun(w, hex, LEN + 11);
    assert_int_equal(ended.code, ERR_LIMIT);
    assert_non_null(strstr(ended.message, "--artifact-max-size"));
    ended = begun(w, hex, 11);
    assert_int_equal(ended.code, ERR_NO_SPACE);
    assert_non_null(strstr(ended.message, "kitsune artifact delete"));
    assert_false(ended.there);
    nothing_is_left(w, hex);
    /* What is under way counts in full. */
    hex_of("1234567890", 10, hex);
    assert_int_equal(begun(w, hex, 10).code, ERR_OK);
    char other[HEX_BUFFER];
    hex_of("1", 1, other);
    assert_int_equal(begun(w, other, 1).code, ERR_NO_SPACE);
    assert_int_equal(deleted(w, hex).code, ERR_OK);
    assert_int_equal(begun(w, other, 1).code, ERR_OK);
}

static void a_disk_without_room_refuses_and_loses_nothing(void **state)
{
    struct world *w = *state;
    char hex[HEX_BUFFER];
    char other[HEX_BUFFER];
    half_put(w, hex);
    world_close(w);
    w->config.free_min_bytes = INT64_MAX;
    world_open(w);
    struct ended ended = put(w, hex, FIRST, text + FIRST, LEN - FIRST);
    assert_int_equal(ended.code, ERR_NO_SPACE);
    assert_int_equal(ended.offset, FIRST);
    hex_of("x", 1, other);
    assert_int_equal(begun(w, other, 1).code, ERR_NO_SPACE);
    nothing_is_left(w, other);
    assert_int_equal(artifact_store_stats(w->store).uploads, 1);
    w->config.free_min_bytes = 0;
    world_again(w);
    assert_true(put(w, hex, FIRST, text + FIRST, LEN - FIRST).whole);
}

static void a_write_that_fails_half_way_counts_for_nothing(void **state)
{
    struct world *w = *state;
    struct rlimit before;
    char hex[HEX_BUFFER];
    char part[HEX_BUFFER + 8];
    half_put(w, hex);
    (void)snprintf(part, sizeof(part), "%s.part", hex);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    const struct rlimit small = {FIRST + 5, before.rlim_max};
    (void)signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    struct ended ended = put(w, hex, FIRST, text + FIRST, LEN - FIRST);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_int_not_equal(ended.code, ERR_OK);
    assert_int_equal(ended.offset, FIRST);
    assert_int_equal(length_of(w, part), FIRST);
    assert_true(put(w, hex, FIRST, text + FIRST, LEN - FIRST).whole);
}

static void uploads_at_once_are_bounded(void **state)
{
    struct world *w = *state;
    char hex[HEX_BUFFER];
    for (int i = 0; i < ARTIFACT_UPLOADS_MAX; i++) {
        hex_of((const char *)&i, sizeof(i), hex);
        assert_int_equal(begun(w, hex, 9).code, ERR_OK);
    }
    char one_more[HEX_BUFFER];
    hex_of(text, LEN, one_more);
    assert_int_equal(begun(w, one_more, LEN).code, ERR_LIMIT);
    assert_int_equal(deleted(w, hex).code, ERR_OK);
    assert_int_equal(begun(w, one_more, LEN).code, ERR_OK);
}

static void want_of_memory_is_told_and_loses_nothing(void **state)
{
    struct world *w = *state;
    char hex[HEX_BUFFER];
    struct ended ended = {.code = ERR_NO_MEMORY};
    hex_of(text, LEN, hex);
    for (uint64_t n = 0; ended.code != ERR_OK; n++) {
        assert_int_equal(ended.code, ERR_NO_MEMORY);
        ended = (struct ended){0};
        mem_fail_after(n);
        begin(w, hex, LEN, &ended);
        mem_fail_never();
        wait_for(w, &ended, 1);
    }
    for (ended.code = ERR_NO_MEMORY; ended.code != ERR_OK;) {
        static uint64_t n;
        char *copy = mem_strndup(text, LEN);
        const struct artifact_piece whole = {.digest = hex, .data = copy, .len = LEN};
        ended = (struct ended){0};
        mem_fail_after(n++);
        artifact_store_piece(w->store, &whole, ended_done, &ended);
        mem_fail_never();
        wait_for(w, &ended, 1);
        assert_true(ended.code == ERR_OK || ended.code == ERR_NO_MEMORY);
        assert_true(n < 10);
    }
    assert_true(ended.whole);
    is_whole(w, hex);
}

/* ---- Removing --------------------------------------------------------------------------------
 */

static void what_is_deleted_is_gone_and_can_come_again(void **state)
{
    struct world *w = *state;
    char hex[HEX_BUFFER];
    stored(w, text, hex);
    struct ended ended = {0};
    artifact_store_delete(w->store, hex, ended_done, &ended);
    assert_false(found(w, hex, NULL)); /* from the call on */
    wait_for(w, &ended, 1);
    assert_int_equal(ended.code, ERR_OK);
    nothing_is_left(w, hex);
    assert_int_equal(artifact_store_stats(w->store).count, 0);
    assert_int_equal(artifact_store_stats(w->store).bytes, 0);
    assert_int_equal(deleted(w, hex).code, ERR_NOT_FOUND);
    stored(w, text, hex);
    is_whole(w, hex);
}

static void what_is_asked_of_one_is_done_in_order(void **state)
{
    struct world *w = *state;
    struct ended ended = {0};
    struct ended removed = {0};
    struct ended anew = {0};
    char hex[HEX_BUFFER];
    hex_of(text, LEN, hex);
    begin(w, hex, LEN, &ended);
    piece(w, hex, 0, text, LEN, &ended);
    artifact_store_delete(w->store, hex, ended_done, &removed);
    begin(w, hex, LEN, &anew);
    wait_for(w, &anew, 1);
    assert_int_equal(ended.times, 2);
    assert_true(ended.whole);
    assert_int_equal(removed.code, ERR_OK);
    assert_int_equal(anew.code, ERR_OK);
    assert_int_equal(anew.offset, 0);
    assert_true(found(w, hex, NULL));
    assert_true(put(w, hex, 0, text, LEN).whole);
}

/* An upload that comes to nothing must not hide the next one behind a removal that found nothing.
 */
static void a_removal_behind_an_upload_that_fails_leaves_no_trace(void **state)
{
    struct world *w = *state;
    struct ended ended = {0};
    struct ended removed = {0};
    struct ended anew = {0};
    char hex[HEX_BUFFER];
    hex_of("other", 5, hex);
    assert_int_equal(begun(w, hex, LEN).code, ERR_OK);
    piece(w, hex, 0, text, LEN, &ended);
    artifact_store_delete(w->store, hex, ended_done, &removed);
    begin(w, hex, 5, &anew);
    wait_for(w, &anew, 1);
    assert_int_equal(ended.code, ERR_CORRUPT);
    assert_int_equal(removed.code, ERR_NOT_FOUND);
    assert_int_equal(anew.code, ERR_OK);
    assert_true(found(w, hex, NULL));
}

static void an_upload_that_nobody_goes_on_with_is_removed_and_no_other(void **state)
{
    struct world *w = *state;
    char whole[HEX_BUFFER];
    char hex[HEX_BUFFER];
    stored(w, "x", whole);
    half_put(w, hex);
    artifact_store_expire(w->store);
    (void)uv_run(&w->loop, UV_RUN_NOWAIT);
    assert_true(found(w, hex, NULL)); /* it is young */
    world_close(w);
    w->config.stale_ms = 0;
    world_open(w);
    artifact_store_expire(w->store);
    world_again(w);
    nothing_is_left(w, hex);
    is_whole(w, whole);
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

/* ---- Checking ---------------------------------------------------------------------------------
 */

static void note_finding(void *ctx, const char *name, const char *what)
{
    char *found = ctx;
    (void)snprintf(found, HEX_BUFFER + 64, "%s: %.60s", name, what);
}

static void a_check_finds_what_is_damaged_and_changes_nothing(void **state)
{
    struct world *w = *state;
    struct artifact_checked checked = {0};
    struct error err = {0};
    char found_text[HEX_BUFFER + 64] = "";
    char good[HEX_BUFFER];
    char bad[HEX_BUFFER];
    char part[HEX_BUFFER];
    stored(w, "good", good);
    stored(w, "to be damaged", bad);
    half_put(w, part);
    assert_int_equal(artifact_check(w->dir, note_finding, found_text, &checked, &err), ERR_OK);
    assert_int_equal(checked.count, 2);
    assert_int_equal(checked.findings, 0);
    assert_int_equal(checked.bytes, 4 + 13);
    file_make(w, bad, "to be damageD");
    assert_int_equal(artifact_check(w->dir, note_finding, found_text, &checked, &err), ERR_OK);
    assert_int_equal(checked.findings, 1);
    assert_memory_equal(found_text, bad, ARTIFACT_DIGEST_DIGITS);
    assert_non_null(strstr(found_text, "is damaged"));
    assert_int_equal(begun(w, part, LEN).offset, FIRST);
    assert_int_equal(artifact_check("/nowhere", note_finding, found_text, &checked, &err), ERR_OK);
    assert_int_equal(checked.count, 0);
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

/* ---- Reading ----------------------------------------------------------------------------------
 */

struct got {
    int times;
    enum error_code code;
    char data[LEN + 1];
    size_t len;
};

static void got_done(void *ctx, enum error_code result, const char *data, size_t len)
{
    struct got *got = ctx;
    got->times++;
    got->code = result;
    got->len = len;
    memset(got->data, 0, sizeof(got->data));
    if (len > 0)
        memcpy(got->data, data, len);
}

static void read_and_wait(struct world *w, struct artifact_reader *reader, int64_t offset,
                          size_t len, struct got *got)
{
    int before = got->times;
    artifact_reader_read(reader, offset, len, got_done, got);
    assert_int_equal(got->times, before);
    while (got->times == before)
        (void)uv_run(&w->loop, UV_RUN_ONCE);
}

static void a_reader_reads_any_part_and_reads_on_what_is_deleted(void **state)
{
    struct world *w = *state;
    struct error err = {0};
    struct artifact_reader *reader = NULL;
    struct got got = {0};
    char hex[HEX_BUFFER];
    half_put(w, hex);
    assert_int_equal(artifact_reader_open(w->store, hex, &reader, &err), ERR_NOT_FOUND);
    assert_true(put(w, hex, FIRST, text + FIRST, LEN - FIRST).whole);
    assert_int_equal(artifact_reader_open(w->store, hex, &reader, &err), ERR_OK);
    read_and_wait(w, reader, 0, LEN, &got);
    assert_string_equal(got.data, text);
    assert_int_equal(deleted(w, hex).code, ERR_OK);
    struct artifact_reader *late = NULL;
    assert_int_equal(artifact_reader_open(w->store, hex, &late, &err), ERR_NOT_FOUND);
    read_and_wait(w, reader, 5, 7, &got);
    assert_int_equal(got.len, 7);
    assert_memory_equal(got.data, text + 5, 7);
    read_and_wait(w, reader, LEN, 5, &got);
    assert_int_equal(got.code, ERR_OK);
    assert_int_equal(got.len, 0);
    artifact_reader_close(reader);
}

static void a_reader_that_is_closed_hears_nothing_more(void **state)
{
    struct world *w = *state;
    struct error err = {0};
    struct artifact_reader *reader = NULL;
    struct got got = {0};
    char hex[HEX_BUFFER];
    stored(w, text, hex);
    assert_int_equal(artifact_reader_open(w->store, hex, &reader, &err), ERR_OK);
    artifact_reader_read(reader, 0, LEN, got_done, &got);
    artifact_reader_close(reader);
    world_again(w);
    assert_int_equal(got.times, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

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
        TEST(the_limit_is_for_all_together_and_deleting_makes_room),
        TEST(a_disk_without_room_refuses_and_loses_nothing),
        TEST(a_write_that_fails_half_way_counts_for_nothing),
        TEST(uploads_at_once_are_bounded),
        TEST(want_of_memory_is_told_and_loses_nothing),
        TEST(what_is_deleted_is_gone_and_can_come_again),
        TEST(what_is_asked_of_one_is_done_in_order),
        TEST(a_removal_behind_an_upload_that_fails_leaves_no_trace),
        TEST(an_upload_that_nobody_goes_on_with_is_removed_and_no_other),
        TEST(what_belongs_to_nothing_is_removed_at_the_start_and_the_rest_is_left),
        TEST(an_upload_with_more_bytes_than_it_may_have_is_begun_anew),
        TEST(content_whose_record_is_lost_or_damaged_is_there_all_the_same),
        TEST(a_folder_that_cannot_be_made_is_named),
        TEST(who_waits_when_it_is_closed_is_told_and_what_was_done_stays),
        TEST(a_check_finds_what_is_damaged_and_changes_nothing),
        TEST(the_first_digits_are_enough_if_no_other_begins_so),
        TEST(all_are_told_of_in_the_order_of_their_digits_and_from_any_place_on),
        TEST(a_reader_reads_any_part_and_reads_on_what_is_deleted),
        TEST(a_reader_that_is_closed_hears_nothing_more),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
