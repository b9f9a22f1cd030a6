/* Epochs beside the database, backups, and old rollouts that go. */
#include "unit/journal/support_journal.h"

#include "common/base/cleanup.h"

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

/* ---- Epochs ----------------------------------------------------------------------------- */

static void ignore_finding(void *ctx, const struct journal_finding *finding)
{
    (void)ctx;
    (void)finding;
}

static uint64_t findings_of(struct rig *rig)
{
    struct journal_checked checked = {0};
    struct error err = {0};
    if (journal_check(rig->dir, ignore_finding, NULL, &checked, &err) != ERR_OK)
        fail_msg("%s", err.message);
    return checked.findings;
}

/* Puts a database of epoch 1 into a folder that has seen epoch 3. */
static void restore_older(struct rig *rig)
{
    size_t len = 0;
    rig_close(rig);
    char *older = rig_read_file(rig, "journal.db", &len);
    rig_open(rig);
    rig_close(rig);
    rig_open(rig);
    assert_int_equal(journal_epoch(rig->journal), 3);
    rig_close(rig);
    rig_write_file(rig, "journal.db", older, len);
    free(older);
}

static void a_restored_journal_is_held_until_it_is_accepted(void **state)
{
    struct rig *rig = *state;
    struct error why = {0};
    (void)rig_succeeded(rig, "r1");
    assert_false(journal_held(rig->journal, &why));
    restore_older(rig);
    for (int i = 0; i < 2; i++) {
        rig_open(rig);
        assert_true(journal_held(rig->journal, &why));
        assert_int_equal(journal_epoch(rig->journal), 1);
        assert_non_null(strstr(why.message, "--accept-restored"));
        assert_non_null(strstr(why.message, rig->dir));
        rig_close(rig);
    }
    assert_int_equal(journal_accept_restored(rig->dir, 0, NULL), ERR_OK);
    rig_open(rig);
    assert_false(journal_held(rig->journal, NULL));
    assert_int_equal(journal_epoch(rig->journal), 4);
    rig_close(rig);
    rig_open(rig);
    assert_int_equal(journal_epoch(rig->journal), 5);
}

static void an_epoch_can_be_asked_for(void **state)
{
    struct rig *rig = *state;
    rig_close(rig);
    assert_int_equal(journal_accept_restored(rig->dir, 1000, NULL), ERR_OK);
    rig_open(rig);
    assert_int_equal(journal_epoch(rig->journal), 1000);
    rig_close(rig);
    /* Never a lower one. */
    assert_int_equal(journal_accept_restored(rig->dir, 10, NULL), ERR_OK);
    rig_open(rig);
    assert_int_equal(journal_epoch(rig->journal), 1001);
}

static void a_database_that_was_lost_is_held_too(void **state)
{
    struct rig *rig = *state;
    rig_close(rig);
    rig_write_file(rig, "journal.db", NULL, 0);
    rig_open(rig);
    assert_true(journal_held(rig->journal, NULL));
    assert_string_equal(journal_identity(rig->journal), "");
    rig_close(rig);
    assert_int_equal(journal_accept_restored(rig->dir, 0, NULL), ERR_OK);
    rig_open(rig);
    assert_int_equal(journal_epoch(rig->journal), 2);
    assert_true(strlen(journal_identity(rig->journal)) > 0);
}

static void an_epoch_that_cannot_be_read_is_refused(void **state)
{
    struct rig *rig = *state;
    struct error err = {0};
    rig_close(rig);
    rig_write_file(rig, "epoch", "x", 1);
    assert_int_equal(journal_open(rig->dir, rig_wake, rig, &rig->journal, &err), ERR_CORRUPT);
    assert_non_null(strstr(err.message, "/epoch"));
}

static void a_crash_between_database_and_file_does_not_hold(void **state)
{
    struct rig *rig = *state;
    rig_close(rig);
    rig_open(rig);
    rig_close(rig);
    rig_write_file(rig, "epoch", "1\n", 2);
    rig_open(rig);
    assert_false(journal_held(rig->journal, NULL));
    assert_int_equal(journal_epoch(rig->journal), 3);
}

static void a_journal_in_use_is_not_accepted(void **state)
{
    struct rig *rig = *state;
    assert_int_equal(journal_accept_restored(rig->dir, 0, NULL), ERR_BUSY);
}

/* ---- Backups ---------------------------------------------------------------------------- */

struct copy {
    size_t told;
    enum error_code result;
    struct error why;
    int fd;
    int64_t size;
};

static void keep_copy(void *ctx, enum error_code result, const struct error *err, int fd,
                      int64_t size_bytes)
{
    struct copy *c = ctx;
    *c = (struct copy){
        .told = c->told + 1,
        .result = result,
        .why = err == NULL ? (struct error){0} : *err,
        .fd = fd,
        .size = size_bytes,
    };
}

static void wait_copy(struct rig *rig, struct copy *c)
{
    while (c->told == 0)
        assert_true(rig_collect_next(rig));
}

static void a_backup_is_a_sound_journal_of_that_moment(void **state)
{
    struct rig *rig = *state;
    struct copy c = {.fd = -1};
    struct stat st;
    uint64_t last = rig_succeeded(rig, "r1");
    assert_int_equal(journal_backup(rig->journal, keep_copy, &c, NULL), ERR_OK);
    assert_int_equal(journal_backup(rig->journal, keep_copy, &c, NULL), ERR_BUSY);
    (void)rig_succeeded(rig, "r2"); /* while it is made */
    wait_copy(rig, &c);
    if (c.result != ERR_OK)
        fail_msg("%s", c.why.message);
    assert_int_equal(fstat(c.fd, &st), 0);
    assert_int_equal(st.st_size, c.size);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_not_equal(access(rig_path(rig, "backup.tmp"), F_OK), 0);
    char *data = malloc((size_t)c.size);
    assert_int_equal(pread(c.fd, data, (size_t)c.size, 0), c.size);
    (void)close(c.fd);

    struct rig other;
    rig_init(&other);
    rig_write_file(&other, "journal.db", data, (size_t)c.size);
    free(data);
    assert_int_equal(findings_of(&other), 0);
    rig_open(&other);
    assert_int_equal(journal_epoch(other.journal), journal_epoch(rig->journal) + 1);
    assert_string_equal(journal_identity(other.journal), journal_identity(rig->journal));
    AUTO(plan_free) struct plan *plan = NULL;
    AUTO(engine_free) struct engine *engine = NULL;
    uint64_t last_seq = 0;
    assert_int_equal(journal_load(other.journal, "r1", &plan, &engine, &last_seq, NULL), ERR_OK);
    assert_int_equal(last_seq, last);
    rig_done(&other);
}

static void closing_gives_a_backup_up(void **state)
{
    struct rig *rig = *state;
    struct copy c = {.fd = -1};
    assert_int_equal(journal_backup(rig->journal, keep_copy, &c, NULL), ERR_OK);
    rig_close(rig);
    assert_int_equal(c.told, 1);
    assert_true(c.result == ERR_OK || c.result == ERR_CANCELLED);
    if (c.result == ERR_OK)
        (void)close(c.fd);
    assert_int_not_equal(access(rig_path(rig, "backup.tmp"), F_OK), 0);
}

static void what_a_crash_left_of_a_backup_is_removed(void **state)
{
    struct rig *rig = *state;
    rig_close(rig);
    rig_write_file(rig, "backup.tmp", "half", 4);
    rig_open(rig);
    assert_int_not_equal(access(rig_path(rig, "backup.tmp"), F_OK), 0);
}

static void a_damaged_journal_is_not_handed_out(void **state)
{
    struct rig *rig = *state;
    struct copy c = {.fd = -1};
    size_t len = 0;
    (void)rig_succeeded(rig, "r1");
    rig_close(rig);
    rig_open(rig);
    char *data = rig_read_file(rig, "journal.db", &len);
    memset(data + 4096 * 3, 0xee, 4096);
    FILE *file = fopen(rig_path(rig, "journal.db"), "r+b");
    assert_non_null(file);
    assert_int_equal(fwrite(data, 1, len, file), len);
    assert_int_equal(fclose(file), 0);
    free(data);
    assert_int_equal(journal_backup(rig->journal, keep_copy, &c, NULL), ERR_OK);
    wait_copy(rig, &c);
    assert_int_equal(c.result, ERR_CORRUPT);
    assert_int_equal(c.fd, -1);
    assert_int_not_equal(access(rig_path(rig, "backup.tmp"), F_OK), 0);
}

/* ---- Retention -------------------------------------------------------------------------- */

struct sweep {
    size_t told;
    enum error_code result;
    uint64_t removed;
    size_t asked;
    const char *keep; /* said no to */
};

static bool sweep_may(void *ctx, const char *id)
{
    struct sweep *s = ctx;
    s->asked++;
    return s->keep == NULL || strcmp(s->keep, id) != 0;
}

static void sweep_done(void *ctx, enum error_code result, const struct error *err, uint64_t removed)
{
    struct sweep *s = ctx;
    (void)err;
    s->told++;
    s->result = result;
    s->removed = removed;
}

static void sweep_run(struct rig *rig, struct sweep *s, int64_t before_ms)
{
    const struct journal_retention how = {
        .before_ms = before_ms, .may = sweep_may, .done = sweep_done, .ctx = s};
    assert_int_equal(journal_retain(rig->journal, &how, NULL), ERR_OK);
    while (s->told == 0)
        assert_true(rig_collect_next(rig));
    assert_int_equal(s->result, ERR_OK);
}

static bool count_rollout(void *ctx, const struct journal_rollout *r)
{
    (void)r;
    (*(size_t *)ctx)++;
    return true;
}

static size_t rollouts_in(struct rig *rig)
{
    size_t count = 0;
    assert_int_equal(journal_list(rig->journal, NULL, UINT32_MAX, count_rollout, &count, NULL),
                     ERR_OK);
    return count;
}

static void old_rollouts_go_with_all_that_belongs_to_them(void **state)
{
    struct rig *rig = *state;
    struct sweep s = {0};
    int32_t attempt = 0;
    AUTO_BUF struct buf text = BUF_INIT;
    (void)rig_succeeded(rig, "r1");
    (void)rig_succeeded(rig, "r2");
    rig_rollout(rig, "running", ROLLOUT_RUNNING);
    rig_rollout(rig, "owing", ROLLOUT_ROLLBACK_FAILED);
    sweep_run(rig, &s, INT64_MAX);
    assert_int_equal(s.removed, 2);
    assert_int_equal(rollouts_in(rig), 2);
    assert_int_equal(journal_output(rig->journal, "r1", 0, 0, &text, &attempt, NULL),
                     ERR_NOT_FOUND);
    /* The id is free, and nothing of the old one is found under it. */
    uint64_t last = rig_succeeded(rig, "r1");
    AUTO(plan_free) struct plan *plan = NULL;
    AUTO(engine_free) struct engine *engine = NULL;
    uint64_t last_seq = 0;
    assert_int_equal(journal_load(rig->journal, "r1", &plan, &engine, &last_seq, NULL), ERR_OK);
    assert_int_equal(last_seq, last);
    rig_close(rig);
    rig_tamper(rig, "DELETE FROM plan WHERE rollout IN (3, 4); DELETE FROM event WHERE"
                    " key >> 32 IN (3, 4); DELETE FROM rollout WHERE num IN (3, 4)");
    assert_int_equal(findings_of(rig), 0);
}

static void younger_rollouts_stay(void **state)
{
    struct rig *rig = *state;
    struct sweep s = {0};
    int64_t ended = rig_event(EVENT_ROLLOUT_ENDED, EVENT_NO_SERVER).time_ms;
    (void)rig_succeeded(rig, "r1");
    sweep_run(rig, &s, ended);
    assert_int_equal(s.removed, 0);
    assert_int_equal(s.asked, 0);
    s = (struct sweep){0};
    sweep_run(rig, &s, ended + 1);
    assert_int_equal(s.removed, 1);
}

static void what_is_still_needed_is_passed_over(void **state)
{
    struct rig *rig = *state;
    struct sweep s = {.keep = "r1"};
    (void)rig_succeeded(rig, "r1");
    (void)rig_succeeded(rig, "r2");
    sweep_run(rig, &s, INT64_MAX);
    assert_int_equal(s.asked, 2);
    assert_int_equal(s.removed, 1);
    assert_int_equal(rollouts_in(rig), 1);
}

static void space_is_given_back(void **state)
{
    struct rig *rig = *state;
    struct sweep s = {0};
    for (int i = 0; i < 20; i++) {
        char id[16];
        (void)snprintf(id, sizeof(id), "r%d", i);
        (void)rig_succeeded(rig, id);
    }
    rig_close(rig);
    rig_open(rig);
    int64_t before = journal_size_bytes(rig->journal);
    sweep_run(rig, &s, INT64_MAX);
    assert_int_equal(s.removed, 20);
    rig_close(rig);
    rig_open(rig);
    assert_true(journal_size_bytes(rig->journal) < before / 2);
}

/* More than one piece takes: 500 events. */
static void a_large_rollout_goes_in_pieces_and_appends_go_between(void **state)
{
    struct rig *rig = *state;
    struct sweep s = {0};
    enum { EVENTS = 1700 };
    struct event *events = calloc(EVENTS, sizeof(*events));
    for (size_t i = 0; i < EVENTS; i++)
        events[i] = rig_event(EVENT_BATCH_ENDED, EVENT_NO_SERVER);
    rig_rollout(rig, "large", ROLLOUT_SUCCEEDED);
    rig_append(rig, "large", 2, false, events, EVENTS);
    free(events);
    assert_true(rig_wait(rig, rig->settled + 1));
    uint64_t before = journal_stats(rig->journal).works;
    const struct journal_retention how = {
        .before_ms = 3000, .may = sweep_may, .done = sweep_done, .ctx = &s};
    assert_int_equal(journal_retain(rig->journal, &how, NULL), ERR_OK);
    assert_int_equal(journal_retain(rig->journal, &how, NULL), ERR_BUSY);
    /* From now on it is not found, though it is all there. */
    size_t count = 0;
    assert_int_equal(journal_get(rig->journal, "large", count_rollout, &count, NULL),
                     ERR_NOT_FOUND);
    (void)rig_succeeded(rig, "beside");
    while (s.told == 0)
        assert_true(rig_collect_next(rig));
    assert_int_equal(s.removed, 1);
    assert_true(journal_stats(rig->journal).works >= before + 4);
    rig_close(rig);
    assert_int_equal(findings_of(rig), 0);
}

static void what_an_earlier_run_began_is_ended(void **state)
{
    struct rig *rig = *state;
    struct sweep s = {0};
    (void)rig_succeeded(rig, "r1");
    rig_close(rig);
    rig_tamper(rig, "DELETE FROM plan; DELETE FROM rollout; INSERT INTO removed VALUES(1);"
                    "DELETE FROM event WHERE key & 0xffffffff < 5");
    assert_int_equal(findings_of(rig), 0);
    rig_open(rig);
    /* Its number is not used again while its rows are there. */
    (void)rig_succeeded(rig, "r2");
    sweep_run(rig, &s, 0);
    rig_close(rig);
    rig_tamper(rig, "CREATE TABLE t(x CHECK(x = 0)); INSERT INTO t SELECT count(*) FROM removed;"
                    "INSERT INTO t SELECT count(*) FROM event WHERE key >> 32 = 1;"
                    "INSERT INTO t SELECT count(*) FROM output WHERE key >> 26 = 1; DROP TABLE t");
    assert_int_equal(findings_of(rig), 0);
}

static void closing_stops_it(void **state)
{
    struct rig *rig = *state;
    struct sweep s = {0};
    (void)rig_succeeded(rig, "r1");
    const struct journal_retention how = {
        .before_ms = INT64_MAX, .may = sweep_may, .done = sweep_done, .ctx = &s};
    assert_int_equal(journal_retain(rig->journal, &how, NULL), ERR_OK);
    rig_close(rig);
    assert_int_equal(s.told, 1);
    assert_int_equal(s.result, ERR_CANCELLED);
    assert_int_equal(findings_of(rig), 0);
}

static void a_held_journal_removes_nothing(void **state)
{
    struct rig *rig = *state;
    struct sweep s = {0};
    (void)rig_succeeded(rig, "r1");
    restore_older(rig);
    rig_open(rig);
    const struct journal_retention how = {
        .before_ms = INT64_MAX, .may = sweep_may, .done = sweep_done, .ctx = &s};
    assert_int_equal(journal_retain(rig->journal, &how, NULL), ERR_UNAVAILABLE);
    assert_int_equal(rollouts_in(rig), 1);
}

static int setup(void **state)
{
    struct rig *rig = malloc(sizeof(*rig));
    rig_init(rig);
    rig_open(rig);
    *state = rig;
    return 0;
}

static int teardown(void **state)
{
    rig_done(*state);
    free(*state);
    return 0;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_restored_journal_is_held_until_it_is_accepted),
        TEST(an_epoch_can_be_asked_for),
        TEST(a_database_that_was_lost_is_held_too),
        TEST(an_epoch_that_cannot_be_read_is_refused),
        TEST(a_crash_between_database_and_file_does_not_hold),
        TEST(a_journal_in_use_is_not_accepted),
        TEST(a_backup_is_a_sound_journal_of_that_moment),
        TEST(closing_gives_a_backup_up),
        TEST(what_a_crash_left_of_a_backup_is_removed),
        TEST(a_damaged_journal_is_not_handed_out),
        TEST(old_rollouts_go_with_all_that_belongs_to_them),
        TEST(younger_rollouts_stay),
        TEST(what_is_still_needed_is_passed_over),
        TEST(space_is_given_back),
        TEST(a_large_rollout_goes_in_pieces_and_appends_go_between),
        TEST(what_an_earlier_run_began_is_ended),
        TEST(closing_stops_it),
        TEST(a_held_journal_removes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
