#include "common/base/alloc.h"
#include "common/base/cleanup.h"
#include "unit/journal/support_journal.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static int setup(void **state)
{
    static struct rig rig;
    rig_init(&rig);
    rig_open(&rig);
    *state = &rig;
    return 0;
}

static int teardown(void **state)
{
    rig_done(*state);
    return 0;
}

static const char *path_in(const struct rig *rig, const char *name)
{
    static char path[128];
    (void)snprintf(path, sizeof(path), "%s/%s", rig->dir, name);
    return path;
}

/* ---- Opening ------------------------------------------------------------------------------------
 */

static void the_epoch_rises_with_each_open_and_the_identity_stays(void **state)
{
    struct rig *rig = *state;
    AUTO_FREE char *identity = mem_strdup(journal_identity(rig->journal));
    assert_true(strlen(identity) > 0);
    assert_int_equal(journal_epoch(rig->journal), 1);
    for (int64_t epoch = 2; epoch < 5; epoch++) {
        rig_close(rig);
        rig_open(rig);
        assert_int_equal(journal_epoch(rig->journal), epoch);
        assert_string_equal(journal_identity(rig->journal), identity);
        assert_string_equal(journal_dir(rig->journal), rig->dir);
    }
}

static void a_second_orchestrator_is_refused_and_told_who_has_it(void **state)
{
    struct rig *rig = *state;
    struct journal *second = NULL;
    struct error err = {0};
    assert_int_equal(journal_open(rig->dir, rig_wake, rig, &second, &err), ERR_BUSY);
    assert_null(second);
    char process[32];
    (void)snprintf(process, sizeof(process), "(process %d)", (int)getpid());
    assert_non_null(strstr(err.message, process));
    assert_non_null(strstr(err.message, rig->dir));
    rig_rollout(rig, "still-works", ROLLOUT_RUNNING);
    assert_int_equal(journal_epoch(rig->journal), 1);
}

static void the_data_directory_is_made_private(void **state)
{
    struct rig *rig = *state;
    char dir[128];
    (void)snprintf(dir, sizeof(dir), "%s", path_in(rig, "fresh"));
    mode_t before = umask(0);
    struct journal *j = NULL;
    assert_int_equal(journal_open(dir, rig_wake, rig, &j, NULL), ERR_OK);
    (void)umask(before);
    struct stat st;
    assert_int_equal(stat(dir, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0700);
    assert_int_equal(stat(path_in(rig, "fresh/journal.db"), &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_int_equal(stat(path_in(rig, "fresh/lock"), &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    journal_close(j);
}

static void a_directory_that_anybody_can_write_is_refused(void **state)
{
    struct rig *rig = *state;
    char dir[128];
    (void)snprintf(dir, sizeof(dir), "%s", path_in(rig, "open"));
    assert_int_equal(mkdir(dir, 0700), 0);
    assert_int_equal(chmod(dir, 0777), 0);
    struct journal *j = NULL;
    struct error err = {0};
    assert_int_equal(journal_open(dir, rig_wake, rig, &j, &err), ERR_DENIED);
    assert_non_null(strstr(err.message, dir));
    assert_int_equal(journal_open("/no/such/place", rig_wake, rig, &j, &err), ERR_NOT_FOUND);
    assert_non_null(strstr(err.message, "/no/such/place"));
}

static void a_damaged_file_is_refused_with_a_remedy(void **state)
{
    struct rig *rig = *state;
    rig_close(rig);
    AUTO_CLOSE int fd = open(path_in(rig, "journal.db"), O_WRONLY | O_TRUNC);
    char junk[8192];
    memset(junk, 'x', sizeof(junk));
    assert_int_equal(write(fd, junk, sizeof(junk)), sizeof(junk));
    struct error err = {0};
    assert_int_equal(journal_open(rig->dir, rig_wake, rig, &rig->journal, &err), ERR_CORRUPT);
    assert_non_null(strstr(err.message, "journal.db"));
    assert_non_null(strstr(err.message, "backup"));
}

static void opening_survives_want_of_memory(void **state)
{
    struct rig *rig = *state;
    rig_close(rig);
    enum error_code code = ERR_NO_MEMORY;
    for (uint64_t n = 0; code != ERR_OK; n++) {
        mem_fail_after(n);
        code = journal_open(rig->dir, rig_wake, rig, &rig->journal, NULL);
        mem_fail_never();
        assert_true(code == ERR_OK || code == ERR_NO_MEMORY);
        assert_int_equal(rig->journal != NULL, code == ERR_OK);
        assert_in_range(n, 0, 200);
    }
}

/* ---- Appending -------------------------------------------------------------------------- */

struct seen {
    struct rig *rig;
    uint64_t count, last;
    size_t stop_after;
    char type[64];
};

static bool see_event(void *ctx, uint64_t seq, const char *type, const char *json, size_t len)
{
    struct seen *seen = ctx;
    assert_int_equal(strlen(json), len);
    assert_int_equal(seq, seen->last + 1);
    seen->last = seq;
    seen->count++;
    (void)snprintf(seen->type, sizeof(seen->type), "%s", type);
    return seen->stop_after == 0 || seen->count < seen->stop_after;
}

static uint64_t count_events(struct rig *rig, const char *id)
{
    struct seen seen = {.rig = rig};
    assert_int_equal(journal_events(rig->journal, id, 0, 1000, see_event, &seen, NULL), ERR_OK);
    return seen.count;
}

static void expect_durable(void *ctx, enum error_code result, const struct error *err)
{
    struct rig *rig = ctx;
    assert_int_equal(result, ERR_OK);
    assert_null(err);
    assert_int_equal(count_events(rig, "r1"), 1);
    rig->settled++;
}

static void an_append_can_be_read_when_it_is_done(void **state)
{
    struct rig *rig = *state;
    struct event event = rig_event(EVENT_ROLLOUT_CREATED, EVENT_NO_SERVER);
    struct journal_append *a = NULL;
    assert_int_equal(journal_append_new("r1", 1, &a, NULL), ERR_OK);
    assert_int_equal(
        journal_append_create(a, rig->plan, rig_plan_text, strlen(rig_plan_text), NULL, NULL),
        ERR_OK);
    assert_int_equal(journal_append_last_seq(a), 0);
    assert_int_equal(journal_append_event(a, rig->plan, &event, NULL), ERR_OK);
    assert_int_equal(journal_append_last_seq(a), 1);
    journal_append(rig->journal, a, expect_durable, rig);
    assert_true(rig_wait(rig, 1));
}

static void done_comes_in_the_order_of_appending(void **state)
{
    struct rig *rig = *state;
    enum { COUNT = 500 };
    struct event event = rig_event(EVENT_STEP_STARTED, 0);
    rig_rollout(rig, "r1", ROLLOUT_RUNNING);
    for (uint64_t i = 0; i < COUNT; i++)
        rig_append(rig, "r1", 2 + i, false, &event, 1); /* each needs the one before it */
    assert_true(rig_wait(rig, 1 + COUNT));
    assert_int_equal(rig->last_result, ERR_OK);
    assert_int_equal(count_events(rig, "r1"), 1 + COUNT);
    assert_true(journal_stats(rig->journal).transactions < 1 + COUNT);
}

static void a_wrong_sequence_is_a_conflict_and_leaves_no_trace(void **state)
{
    struct rig *rig = *state;
    struct event event = rig_event(EVENT_STEP_STARTED, 0);
    rig_rollout(rig, "r1", ROLLOUT_RUNNING);
    static const uint64_t wrong[] = {1, 3, 100};
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        rig_append(rig, "r1", wrong[i], false, &event, 1);
        assert_true(rig_wait(rig, rig->settled + 1));
        assert_int_equal(rig->last_result, ERR_CONFLICT);
        assert_non_null(strstr(rig->last_error.message, "r1"));
    }
    assert_int_equal(count_events(rig, "r1"), 1);
    assert_false(journal_stalled(rig->journal, NULL, NULL));
    rig_append(rig, "r1", 2, false, &event, 1);
    assert_true(rig_wait(rig, rig->settled + 1));
    assert_int_equal(rig->last_result, ERR_OK);
}

static void an_id_that_exists_is_refused_and_its_neighbours_are_kept(void **state)
{
    struct rig *rig = *state;
    struct event event = rig_event(EVENT_ROLLOUT_CREATED, EVENT_NO_SERVER);
    rig_rollout(rig, "r1", ROLLOUT_RUNNING);
    rig_append(rig, "r1", 1, true, &event, 1);
    assert_true(rig_wait(rig, 2));
    assert_int_equal(rig->last_result, ERR_EXISTS);
    rig_append(rig, "r2", 1, true, &event, 1);
    rig_append(rig, "r1", 1, true, &event, 1);
    rig_append(rig, "r3", 1, true, &event, 1);
    assert_true(rig_wait(rig, 5));
    assert_int_equal(rig->last_result, ERR_OK);
    assert_int_equal(count_events(rig, "r1"), 1);
    assert_int_equal(count_events(rig, "r2"), 1);
    assert_int_equal(count_events(rig, "r3"), 1);
}

static void an_append_to_an_unknown_rollout_is_refused(void **state)
{
    struct rig *rig = *state;
    struct event event = rig_event(EVENT_STEP_STARTED, 0);
    rig_append(rig, "nobody", 1, false, &event, 1);
    assert_true(rig_wait(rig, 1));
    assert_int_equal(rig->last_result, ERR_NOT_FOUND);
    struct journal_append *a = NULL;
    assert_int_equal(journal_append_new("no/id", 1, &a, NULL), ERR_INVALID);
}

static void an_append_survives_want_of_memory(void **state)
{
    struct rig *rig = *state;
    char text[2000];
    memset(text, 'm', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    struct event event = rig_event(EVENT_STEP_STARTED, 0);
    event.message = text;
    struct journal_output output = {0, 0, 1, text, sizeof(text) - 1};
    enum { EVENTS = 10 };
    struct journal_append *a = NULL;
    enum error_code code = ERR_NO_MEMORY;
    for (uint64_t n = 0; code != ERR_OK; n++) {
        assert_in_range(n, 0, 200);
        journal_append_free(a);
        a = NULL;
        mem_fail_after(n);
        code = journal_append_new("r1", 1, &a, NULL);
        if (code == ERR_OK)
            code = journal_append_create(a, rig->plan, rig_plan_text, strlen(rig_plan_text), "me",
                                         NULL);
        for (int i = 0; i < EVENTS && code == ERR_OK; i++)
            code = journal_append_event(a, rig->plan, &event, NULL);
        if (code == ERR_OK)
            code = journal_append_output(a, &output, NULL);
        mem_fail_never();
        assert_true(code == ERR_OK || code == ERR_NO_MEMORY);
    }
    journal_append(rig->journal, a, rig_settled, rig);
    assert_true(rig_wait(rig, 1));
    assert_int_equal(rig->last_result, ERR_OK);
    assert_int_equal(count_events(rig, "r1"), EVENTS);
}

static void an_append_goes_on_after_an_event_that_found_no_memory(void **state)
{
    struct rig *rig = *state;
    struct event event = rig_event(EVENT_ROLLOUT_CREATED, EVENT_NO_SERVER);
    struct journal_append *a = NULL;
    assert_int_equal(journal_append_new("r1", 1, &a, NULL), ERR_OK);
    assert_int_equal(
        journal_append_create(a, rig->plan, rig_plan_text, strlen(rig_plan_text), NULL, NULL),
        ERR_OK);
    assert_int_equal(journal_append_event(a, rig->plan, &event, NULL), ERR_OK);
    struct event large = rig_event(EVENT_STEP_STARTED, 0);
    char text[5000];
    memset(text, 'm', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    large.message = text;
    mem_fail_after(0);
    assert_int_equal(journal_append_event(a, rig->plan, &large, NULL), ERR_NO_MEMORY);
    mem_fail_never();
    assert_int_equal(journal_append_last_seq(a), 1);
    assert_int_equal(journal_append_event(a, rig->plan, &large, NULL), ERR_OK);
    journal_append(rig->journal, a, rig_settled, rig);
    assert_true(rig_wait(rig, 1));
    assert_int_equal(count_events(rig, "r1"), 2);
}

static void an_event_that_could_not_be_read_again_is_refused(void **state)
{
    struct rig *rig = *state;
    enum { TOO_LONG = 5 * 1024 * 1024 };
    AUTO_FREE char *text = mem_alloc(TOO_LONG + 1);
    assert_non_null(text);
    memset(text, 'm', TOO_LONG);
    text[TOO_LONG] = '\0';
    struct event event = rig_event(EVENT_STEP_STARTED, 0);
    event.message = text;
    struct journal_append *a = NULL;
    assert_int_equal(journal_append_new("r1", 1, &a, NULL), ERR_OK);
    assert_int_equal(journal_append_event(a, rig->plan, &event, NULL), ERR_LIMIT);
    journal_append_free(a);
}

/* ---- Barriers and closing --------------------------------------------------------------- */

struct mark {
    struct rig *rig;
    uint64_t settled_then;
    int calls;
};

static void take_mark(void *ctx)
{
    struct mark *mark = ctx;
    mark->settled_then = mark->rig->settled;
    mark->calls++;
}

static void a_barrier_waits_for_what_came_before_it_and_no_more(void **state)
{
    struct rig *rig = *state;
    struct event event = rig_event(EVENT_ROLLOUT_CREATED, EVENT_NO_SERVER);
    enum { COUNT = 1500 };
    AUTO_FREE struct mark *marks = mem_array(COUNT + 1, sizeof(*marks));
    assert_non_null(marks);
    marks[0].rig = rig;
    assert_true(journal_barrier(rig->journal, take_mark, &marks[0]));
    assert_int_equal(marks[0].calls, 1); /* nothing was under way */
    for (size_t i = 1; i <= COUNT; i++) {
        char id[16];
        (void)snprintf(id, sizeof(id), "r%zu", i);
        rig_append(rig, id, 1, true, &event, 1);
        marks[i].rig = rig;
        assert_true(journal_barrier(rig->journal, take_mark, &marks[i]));
        assert_int_equal(marks[i].calls, 0);
    }
    assert_true(rig_wait(rig, COUNT));
    for (size_t i = 1; i <= COUNT; i++) {
        assert_int_equal(marks[i].calls, 1);
        assert_int_equal(marks[i].settled_then, i);
    }
}

static void a_barrier_without_memory_says_so_only_when_it_has_no_place(void **state)
{
    struct rig *rig = *state;
    struct event event = rig_event(EVENT_ROLLOUT_CREATED, EVENT_NO_SERVER);
    struct mark mark = {.rig = rig};
    rig_append(rig, "r1", 1, true, &event, 1);
    int taken = 0;
    mem_fail_after(0);
    while (journal_barrier(rig->journal, take_mark, &mark))
        taken++;
    mem_fail_never();
    assert_true(taken >= 100);
    assert_true(rig_wait(rig, 1));
    assert_int_equal(mark.calls, taken);
}

static void append_more(void *ctx, enum error_code result, const struct error *err)
{
    struct rig *rig = ctx;
    struct event event = rig_event(EVENT_STEP_STARTED, 0);
    rig_settled(ctx, result, err);
    rig_append(rig, "r1", 2, false, &event, 1);
}

static void closing_makes_durable_what_a_done_still_appends(void **state)
{
    struct rig *rig = *state;
    struct event event = rig_event(EVENT_ROLLOUT_CREATED, EVENT_NO_SERVER);
    struct journal_append *a = NULL;
    struct mark mark = {.rig = rig};
    assert_int_equal(journal_append_new("r1", 1, &a, NULL), ERR_OK);
    assert_int_equal(
        journal_append_create(a, rig->plan, rig_plan_text, strlen(rig_plan_text), NULL, NULL),
        ERR_OK);
    assert_int_equal(journal_append_event(a, rig->plan, &event, NULL), ERR_OK);
    journal_append(rig->journal, a, append_more, rig);
    assert_true(journal_barrier(rig->journal, take_mark, &mark));
    rig_close(rig);
    assert_int_equal(rig->settled, 2);
    assert_int_equal(rig->last_result, ERR_OK);
    assert_int_equal(mark.calls, 1);
    rig_open(rig);
    assert_int_equal(count_events(rig, "r1"), 2);
}

/* ---- A crash ---------------------------------------------------------------------------- */

/* In a process of its own: appends without end, and writes the number of each event that is durable
 * to the pipe. */
static void crash_child(struct rig *rig, int out)
{
    rig_open(rig);
    struct event event = rig_event(EVENT_ROLLOUT_CREATED, EVENT_NO_SERVER);
    rig_append(rig, "r1", 1, true, &event, 1);
    event = rig_event(EVENT_BATCH_ENDED, EVENT_NO_SERVER); /* a note: always possible */
    for (uint64_t seq = 2;; seq++) {
        rig_append(rig, "r1", seq, false, &event, 1);
        journal_collect(rig->journal);
        if (rig->last_result != ERR_OK ||
            write(out, &rig->settled, sizeof(rig->settled)) != sizeof(rig->settled))
            _exit(1);
    }
}

static void what_was_durable_survives_a_kill(void **state)
{
    struct rig *rig = *state;
    rig_close(rig);
    for (int round = 0; round < 3; round++) {
        struct rig crashed;
        rig_init(&crashed);
        int ends[2];
        assert_int_equal(pipe(ends), 0);
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) {
            (void)close(ends[0]);
            crash_child(&crashed, ends[1]);
        }
        (void)close(ends[1]);
        uint64_t told = 0;
        while (told < 500 * (uint64_t)(round + 1))
            assert_int_equal(read(ends[0], &told, sizeof(told)), sizeof(told));
        assert_int_equal(kill(child, SIGKILL), 0);
        uint64_t last = told;
        while (read(ends[0], &last, sizeof(last)) == sizeof(last))
            told = last;
        (void)close(ends[0]);
        assert_int_equal(waitpid(child, NULL, 0), child);

        rig_open(&crashed);
        struct plan *plan = NULL;
        struct engine *engine = NULL;
        uint64_t kept = 0;
        assert_int_equal(journal_load(crashed.journal, "r1", &plan, &engine, &kept, NULL), ERR_OK);
        assert_true(kept >= told);
        engine_free(engine);
        plan_free(plan);
        rig_done(&crashed);
    }
}

/* ---- A full disk ------------------------------------------------------------------------ */

enum { CHILD_OK, CHILD_FAILED, CHILD_NOT_PERMITTED };

static void fill_disk(const char *path)
{
    AUTO_CLOSE int fd = open(path, O_WRONLY | O_CREAT, 0600);
    char block[4096] = {0};
    while (write(fd, block, sizeof(block)) > 0) {
    }
}

/* In a process and a mount namespace of its own, without cmocka, whose failures belong to the
 * parent: fills a file system of 1 MiB; `close_full`: and closes while it is full. */
static int child_on_full_disk(struct rig *rig, bool close_full)
{
    if (unshare(CLONE_NEWNS) != 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
        mount("tmpfs", rig->dir, "tmpfs", 0, "size=1m,mode=0700") != 0)
        return CHILD_NOT_PERMITTED;
    rig_open(rig);
    rig_rollout(rig, "r1", ROLLOUT_RUNNING);
    const char *filler = path_in(rig, "filler");
    fill_disk(filler);
    char text[100000];
    memset(text, 'm', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    struct event event = rig_event(EVENT_BATCH_ENDED, EVENT_NO_SERVER);
    event.message = text;
    rig_append(rig, "r1", 2, false, &event, 1);
    bool final = false;
    struct error why = {0};
    if (!rig_wait_stall(rig, &final, &why))
        return CHILD_FAILED;
    journal_collect(rig->journal);
    if (final || why.code != ERR_NO_SPACE || rig->settled != 1)
        return CHILD_FAILED;
    if (close_full) {
        rig_close(rig);
        return rig->settled == 2 && rig->last_result == ERR_NO_SPACE &&
                       strstr(rig->last_error.message, "journal.db") != NULL
                   ? CHILD_OK
                   : CHILD_FAILED;
    }
    if (unlink(filler) != 0)
        return CHILD_FAILED;
    journal_retry(rig->journal);
    if (!rig_wait(rig, 2) || rig->last_result != ERR_OK ||
        journal_stalled(rig->journal, NULL, NULL))
        return CHILD_FAILED;
    rig_close(rig);
    return CHILD_OK;
}

static void run_on_full_disk(struct rig *rig, bool close_full)
{
    rig_close(rig);
    (void)fflush(NULL);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0)
        _exit(child_on_full_disk(rig, close_full));
    int status = -1;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == CHILD_NOT_PERMITTED) {
        print_message("skipped: mounting a small file system is not permitted here\n");
        skip();
    }
    assert_int_equal(WEXITSTATUS(status), CHILD_OK);
}

static void a_full_disk_is_waited_out(void **state)
{
    run_on_full_disk(*state, false);
}

static void closing_on_a_full_disk_says_what_was_not_kept(void **state)
{
    run_on_full_disk(*state, true);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_epoch_rises_with_each_open_and_the_identity_stays),
        TEST(a_second_orchestrator_is_refused_and_told_who_has_it),
        TEST(the_data_directory_is_made_private),
        TEST(a_directory_that_anybody_can_write_is_refused),
        TEST(a_damaged_file_is_refused_with_a_remedy),
        TEST(opening_survives_want_of_memory),
        TEST(an_append_can_be_read_when_it_is_done),
        TEST(done_comes_in_the_order_of_appending),
        TEST(a_wrong_sequence_is_a_conflict_and_leaves_no_trace),
        TEST(an_id_that_exists_is_refused_and_its_neighbours_are_kept),
        TEST(an_append_to_an_unknown_rollout_is_refused),
        TEST(an_append_survives_want_of_memory),
        TEST(an_append_goes_on_after_an_event_that_found_no_memory),
        TEST(an_event_that_could_not_be_read_again_is_refused),
        TEST(a_barrier_waits_for_what_came_before_it_and_no_more),
        TEST(a_barrier_without_memory_says_so_only_when_it_has_no_place),
        TEST(closing_makes_durable_what_a_done_still_appends),
        TEST(what_was_durable_survives_a_kill),
        TEST(a_full_disk_is_waited_out),
        TEST(closing_on_a_full_disk_says_what_was_not_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
