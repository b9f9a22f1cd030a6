/* What is on the disk is changed behind the journal's back, at many places: it shows a beginning of
 * what was written, or refuses. */
#include "unit/journal/support_journal.h"

#include "common/base/cleanup.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { ROLLOUTS = 3, EVENTS_MAX = 64 };
/* Between the places that are tried; primes, so that they fall differently into each page. The
 * first bytes, a header, are tried more closely. */
enum { HEADER = 100, HEADER_STEP = 3, FLIP_STEP = 197, CUT_STEP = 769, FLIP_LOG_STEP = 1009 };

static const char *const ids[ROLLOUTS] = {"first", "second", "third"};

/* What was written. */
struct original {
    char *events[ROLLOUTS][EVENTS_MAX];
    size_t counts[ROLLOUTS];
    size_t taking; /* the rollout whose events are being taken, or compared */
    size_t seen;
    char *db, *log; /* the files; the log NULL when there is none */
    size_t db_len, log_len;
};

static bool take_event(void *ctx, uint64_t seq, const char *type, const char *json, size_t len)
{
    (void)type;
    struct original *o = ctx;
    assert_in_range(seq, 1, EVENTS_MAX);
    o->events[o->taking][seq - 1] = strndup(json, len);
    o->counts[o->taking] = seq;
    return true;
}

/* Fills a journal, and keeps what is in it. With the log: as a crash leaves it. */
static void original_make(struct original *o, bool with_log)
{
    struct rig rig;
    *o = (struct original){0};
    rig_init_in_memory(&rig);
    rig_open(&rig);
    for (size_t i = 0; i < ROLLOUTS; i++)
        (void)rig_succeeded(&rig, ids[i]);
    for (size_t i = 0; i < ROLLOUTS; i++) {
        o->taking = i;
        assert_int_equal(journal_events(rig.journal, ids[i], 0, UINT32_MAX, take_event, o, NULL),
                         ERR_OK);
        assert_true(o->counts[i] > 15);
    }
    if (with_log)
        o->log = rig_read_file(&rig, "journal.db-wal", &o->log_len);
    else
        rig_close(&rig);
    o->db = rig_read_file(&rig, "journal.db", &o->db_len);
    assert_non_null(o->db);
    rig_done(&rig);
}

static void original_free(struct original *o)
{
    for (size_t i = 0; i < ROLLOUTS; i++)
        for (size_t k = 0; k < o->counts[i]; k++)
            free(o->events[i][k]);
    free(o->db);
    free(o->log);
}

static bool same_event(void *ctx, uint64_t seq, const char *type, const char *json, size_t len)
{
    struct original *o = ctx;
    assert_int_equal(seq, ++o->seen);
    assert_in_range(seq, 1, o->counts[o->taking]);
    const char *expected = o->events[o->taking][seq - 1];
    assert_int_equal(len, strlen(expected));
    assert_memory_equal(json, expected, len);
    assert_non_null(strstr(expected, type));
    return true;
}

static bool same_rollout(void *ctx, const struct journal_rollout *r)
{
    (void)ctx;
    bool known = false;
    for (size_t i = 0; i < ROLLOUTS; i++)
        known = known || strcmp(r->id, ids[i]) == 0;
    assert_true(known);
    assert_string_equal(r->name, "a plan");
    assert_string_equal(r->by, "me");
    assert_int_equal(r->summary.servers, 3);
    return true;
}

static void expect_sound_or_corrupt(enum error_code code, const struct error *err)
{
    if (code != ERR_OK && code != ERR_CORRUPT && code != ERR_NOT_FOUND)
        fail_msg("%s: %s", error_code_name(code), err->message);
}

/* Everything that can be read is as it was written; the number of events read. */
static size_t compare(struct rig *rig, struct original *o)
{
    struct error err = {0};
    size_t all = 0;
    expect_sound_or_corrupt(journal_list(rig->journal, NULL, UINT32_MAX, same_rollout, NULL, &err),
                            &err);
    for (o->taking = 0; o->taking < ROLLOUTS; o->taking++) {
        const char *id = ids[o->taking];
        struct plan *plan = NULL;
        struct engine *engine = NULL;
        uint64_t last_seq = 0;
        int32_t attempt = 0;
        AUTO_BUF struct buf text = BUF_INIT;
        o->seen = 0;
        expect_sound_or_corrupt(
            journal_events(rig->journal, id, 0, UINT32_MAX, same_event, o, &err), &err);
        all += o->seen;
        enum error_code code = journal_load(rig->journal, id, &plan, &engine, &last_seq, &err);
        expect_sound_or_corrupt(code, &err);
        if (code == ERR_OK)
            assert_in_range(last_seq, 1, o->counts[o->taking]);
        engine_free(engine);
        plan_free(plan);
        code = journal_output(rig->journal, id, 0, 0, &text, &attempt, &err);
        expect_sound_or_corrupt(code, &err);
        if (code == ERR_OK)
            assert_string_equal(text.data, "what it printed\n");
    }
    return all;
}

static void put_files(struct rig *rig, const struct original *o)
{
    rig_write_file(rig, "journal.db", o->db, o->db_len);
    rig_write_file(rig, "journal.db-wal", o->log, o->log_len);
    rig_write_file(rig, "journal.db-shm", NULL, 0);
    rig_write_file(rig, "epoch", NULL, 0);
}

/* SQLite's header says in two places what the file is to be used with; the change of a digit there
 * cannot be told from another program's word. */
static bool says_other_version(size_t offset)
{
    return offset == 18 || offset == 19 || (offset >= 60 && offset < 64);
}

/* True when it opened. */
static bool open_damaged(struct rig *rig, struct original *o, size_t offset)
{
    struct error err = {0};
    enum error_code code = journal_open(rig->dir, rig_wake, rig, &rig->journal, &err);
    if (code == ERR_OK) {
        (void)compare(rig, o);
        rig_close(rig);
        return true;
    }
    bool other = says_other_version(offset) && (code == ERR_UNSUPPORTED || code == ERR_DENIED);
    if (code != ERR_CORRUPT && !other)
        fail_msg("byte %zu: %s: %s", offset, error_code_name(code), err.message);
    if (code == ERR_CORRUPT &&
        (strstr(err.message, "journal.db") == NULL || strstr(err.message, "--check") == NULL ||
         strstr(err.message, "backup") == NULL))
        fail_msg("byte %zu: \"%s\" does not say which file and what to do", offset, err.message);
    return false;
}

static void a_changed_byte_is_noticed_or_does_no_harm(void **state)
{
    struct rig *rig = *state;
    static const unsigned char masks[] = {0x01, 0xff, 0x20, 0x04};
    struct original o;
    size_t opened = 0;
    size_t refused = 0;
    original_make(&o, false);
    for (size_t offset = 0; offset < o.db_len;
         offset += offset < HEADER ? HEADER_STEP : FLIP_STEP) {
        unsigned char was = (unsigned char)o.db[offset];
        o.db[offset] = (char)(was ^ masks[offset % ARRAY_LEN(masks)]);
        put_files(rig, &o);
        if (open_damaged(rig, &o, offset))
            opened++;
        else
            refused++;
        o.db[offset] = (char)was;
    }
    /* Free room within pages does no harm; what is written there is noticed. */
    assert_true(opened > 10);
    assert_true(refused > 10);
    original_free(&o);
}

static void a_byte_changed_while_it_runs_is_never_shown(void **state)
{
    struct rig *rig = *state;
    struct original o;
    original_make(&o, false);
    for (size_t offset = 4096; offset < o.db_len; offset += FLIP_STEP * 2) {
        char changed = (char)(o.db[offset] ^ 0x10);
        put_files(rig, &o);
        rig_open(rig);
        AUTO_CLOSE int fd = open(rig_path(rig, "journal.db"), O_WRONLY | O_CLOEXEC);
        assert_int_equal(pwrite(fd, &changed, 1, (off_t)offset), 1);
        (void)compare(rig, &o);
        rig_close(rig);
    }
    original_free(&o);
}

static void a_log_cut_anywhere_gives_a_beginning_of_what_was_written(void **state)
{
    struct rig *rig = *state;
    struct original o;
    size_t all = 0;
    size_t before = 0;
    original_make(&o, true);
    size_t whole = o.log_len;
    for (size_t i = 0; i < ROLLOUTS; i++)
        all += o.counts[i];
    for (size_t len = 0; len < whole; len += CUT_STEP) {
        o.log_len = len;
        put_files(rig, &o);
        rig_open(rig);
        size_t now = compare(rig, &o);
        assert_true(now >= before);
        before = now;
        rig_close(rig);
    }
    o.log_len = whole;
    put_files(rig, &o);
    rig_open(rig);
    assert_int_equal(compare(rig, &o), all);
    original_free(&o);
}

static void a_byte_changed_in_the_log_gives_a_beginning_of_what_was_written(void **state)
{
    struct rig *rig = *state;
    struct original o;
    original_make(&o, true);
    for (size_t offset = 0; offset < o.log_len;
         offset += offset < HEADER ? HEADER_STEP : FLIP_LOG_STEP) {
        o.log[offset] = (char)(o.log[offset] ^ 0x08);
        put_files(rig, &o);
        (void)open_damaged(rig, &o, SIZE_MAX);
        o.log[offset] = (char)(o.log[offset] ^ 0x08);
    }
    original_free(&o);
}

static int setup(void **state)
{
    struct rig *rig = malloc(sizeof(*rig));
    rig_init_in_memory(rig);
    *state = rig;
    return 0;
}

static int teardown(void **state)
{
    rig_done(*state);
    free(*state);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_changed_byte_is_noticed_or_does_no_harm, setup, teardown),
        cmocka_unit_test_setup_teardown(a_byte_changed_while_it_runs_is_never_shown, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_log_cut_anywhere_gives_a_beginning_of_what_was_written,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(
            a_byte_changed_in_the_log_gives_a_beginning_of_what_was_written, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
