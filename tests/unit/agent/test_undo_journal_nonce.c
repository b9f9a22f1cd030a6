/* That a signed plan was run is known for as long as it could be run again. */
#include "unit/agent/support_journal.h"

#include "common/base/cleanup.h"

#include <sqlite3.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define NONCE "000102030405060708090a0b0c0d0e0f"
#define DAYS(n) ((n)*INT64_C(86400000))

static void append_spent(struct rig *r, const char *rollout, int64_t expires_ms, bool replaces)
{
    struct wire_entry entry = journal_entry(1, REPORT_ENDED, EXECUTION_SUCCEEDED);
    struct undo_append a = journal_append_of(r, rollout);
    a.entries = &entry;
    a.entry_count = 1;
    a.settled = true;
    a.replaces = replaces;
    a.nonce = NONCE;
    a.nonce_expires_ms = expires_ms;
    journal_append(r, &a);
}

/* Which rollout it was spent for; "": none. Static storage. */
static const char *spent_for(struct rig *r, const char *server, const char *nonce)
{
    static char rollout[ID_BUFFER];
    struct error err = {0};
    enum error_code code = undo_journal_nonce(r->j, server, nonce, rollout, &err);
    assert_true(code == ERR_OK || code == ERR_NOT_FOUND);
    return code == ERR_OK ? rollout : "";
}

static void expire(struct rig *r, int64_t time_ms)
{
    struct error err = {0};
    assert_int_equal(undo_journal_expire(r->j, time_ms, NULL, NULL, &err), ERR_OK);
    journal_reopen(r);
}

static void a_nonce_is_spent_with_what_it_is_appended_with(void **state)
{
    struct rig *r = *state;
    assert_string_equal(spent_for(r, "s1", NONCE), "");
    append_spent(r, "r1", NOW_MS + DAYS(1), false);
    assert_string_equal(spent_for(r, "s1", NONCE), "r1");
    assert_string_equal(spent_for(r, "s2", NONCE), "");
    assert_string_equal(spent_for(r, "s1", "f" NONCE), "");
    journal_reopen(r);
    assert_string_equal(spent_for(r, "s1", NONCE), "r1");
}

static void the_first_rollout_that_spent_it_stays(void **state)
{
    struct rig *r = *state;
    append_spent(r, "r1", NOW_MS + DAYS(1), false);
    append_spent(r, "r2", NOW_MS + DAYS(9), false);
    assert_string_equal(spent_for(r, "s1", NONCE), "r1");
}

static void it_outlives_its_execution_until_it_has_expired_for_as_long_as_that_is_kept(void **state)
{
    struct rig *r = *state;
    struct undo_status status;
    struct error err = {0};
    append_spent(r, "r1", NOW_MS + DAYS(20), false);
    assert_int_equal(undo_journal_ack(r->j, "s1", "r1", 1, &err), ERR_OK);
    expire(r, NOW_MS + DAYS(31));
    assert_int_equal(undo_journal_find(r->j, "s1", "r1", NOW_MS, &status, &err), ERR_NOT_FOUND);
    assert_string_equal(spent_for(r, "s1", NONCE), "r1");
    expire(r, NOW_MS + DAYS(49));
    assert_string_equal(spent_for(r, "s1", NONCE), "r1");
    expire(r, NOW_MS + DAYS(51));
    assert_string_equal(spent_for(r, "s1", NONCE), "");
}

static void it_outlives_an_execution_that_is_replaced(void **state)
{
    struct rig *r = *state;
    append_spent(r, "r1", NOW_MS + DAYS(99), false);
    struct wire_entry entry = journal_entry(1, REPORT_ENDED, EXECUTION_FAILED);
    struct undo_append a = journal_append_of(r, "r1");
    a.entries = &entry;
    a.entry_count = 1;
    a.replaces = true;
    journal_append(r, &a);
    assert_string_equal(spent_for(r, "s1", NONCE), "r1");
}

static void one_that_is_damaged_is_told(void **state)
{
    struct rig *r = *state;
    sqlite3 *db = NULL;
    struct error what = {0};
    append_spent(r, "r1", NOW_MS + DAYS(1), false);
    journal_reopen(r);
    assert_false(undo_journal_damaged(r->j, &what));
    undo_journal_close(TAKE(r->j));
    assert_int_equal(sqlite3_open(folder_path(&r->folder, "agent.db"), &db), SQLITE_OK);
    assert_int_equal(
        sqlite3_exec(db, "UPDATE nonces SET expires_ms = expires_ms - 1", NULL, NULL, NULL),
        SQLITE_OK);
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
    journal_open(r);
    assert_true(undo_journal_damaged(r->j, &what));
    assert_non_null(strstr(what.message, "a nonce"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, journal_set_up, journal_tear_down)
        TEST(a_nonce_is_spent_with_what_it_is_appended_with),
        TEST(the_first_rollout_that_spent_it_stays),
        TEST(it_outlives_its_execution_until_it_has_expired_for_as_long_as_that_is_kept),
        TEST(it_outlives_an_execution_that_is_replaced),
        TEST(one_that_is_damaged_is_told),
#undef TEST
    };
    return cmocka_run_group_tests_name("undo_journal_nonce", tests, NULL, NULL);
}
