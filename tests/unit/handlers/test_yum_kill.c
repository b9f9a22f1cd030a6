/* Package steps whose dnf, and whose own undo, are killed (KILL) at many moments: in the download,
 * between the files of a package, in the erase phase, in the writes of the package database, in a
 * scriptlet. Each time the step is in doubt and never done, and either way on from there ends in
 * exactly what a run without a kill ends in. */
#include "common/base/alloc.h"
#include "common/base/cleanup.h"
#include "handlers/rpm_tool.h"
#include "unit/handlers/support_yum.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define BIG "{\"package\":\"kitsune-big\"}"

/* System calls that such an upgrade makes, about how many of them, and how many points are tried.
 */
static const struct call {
    const char *name;
    unsigned about;
    unsigned points;
} calls[] = {
    {"renameat", 28, 4}, /* a file of a package is put in place */
    {"unlink", 8, 2},     {"unlinkat", 2, 1},
    {"pwrite64", 328, 3},                     /* the database, dnf's history */
    {"fdatasync", 31, 2}, {"openat", 700, 1}, /* reading what there is, fetching */
};

/* A bed that can be set back to the moment after prepare. */
struct range {
    struct bed bed;
    char *before, *after;
    unsigned killed;
};

static void copy_tree(const struct bed *bed, const char *from, const char *to)
{
    bed_remove_tree(bed_path(bed, to));
    run_program((const char *const[]){"cp", "-a", bed_path(bed, from), bed_path(bed, to), NULL});
}

static void set_back(struct range *r)
{
    copy_tree(&r->bed, "kept-root", "root");
    copy_tree(&r->bed, "kept-undo", "undo");
    r->bed.host.yum_program = NULL;
    r->bed.kill_at = NULL;
}

static void range_open(struct range *r, const struct yum_fixture *f)
{
    *r = (struct range){.killed = 0};
    yum_open(&r->bed, f);
    run_ok(&r->bed, UPGRADE, HANDLER_PREPARE, BIG);
    copy_tree(&r->bed, "root", "kept-root");
    copy_tree(&r->bed, "undo", "kept-undo");
    r->before = yum_snapshot(&r->bed);
    run_ok(&r->bed, UPGRADE, HANDLER_EXECUTE, BIG);
    r->after = yum_snapshot(&r->bed);
    set_back(r);
}

static void range_close(struct range *r)
{
    mem_free(r->before);
    mem_free(r->after);
    yum_close(&r->bed);
}

static void assert_snapshot(const struct range *r, const char *expected, const char *when)
{
    AUTO_FREE char *now = yum_snapshot(&r->bed);
    if (strcmp(now, expected) != 0) {
        print_message("%s:\n%s\n", when, now);
        assert_string_equal(now, expected);
    }
}

/* From wherever it was killed: forward and back, or back at once. */
static void assert_mended(struct range *r, bool forward, const char *when)
{
    r->bed.host.yum_program = NULL;
    if (forward) {
        run_ok(&r->bed, UPGRADE, HANDLER_EXECUTE, BIG);
        assert_snapshot(r, r->after, when);
    }
    run_ok(&r->bed, UPGRADE, HANDLER_ROLLBACK, BIG);
    assert_snapshot(r, r->before, when);
}

static void kill_point(struct range *r, const char *call, unsigned nth, bool forward)
{
    char text[512], when[96];
    (void)snprintf(when, sizeof(when), "killed at %s %u, then %s", call, nth,
                   forward ? "forward" : "back");
    (void)snprintf(text, sizeof(text),
                   "#!/bin/sh\nexec strace -f -q -o /dev/null -e trace=%s "
                   "-e inject=%s:signal=KILL:when=%u dnf \"$@\"\n",
                   call, call, nth);
    set_back(r);
    use_program(&r->bed, text);
    run_yum(&r->bed, UPGRADE, HANDLER_EXECUTE, BIG);
    if (r->bed.result.outcome == HANDLER_OK) {
        /* There were fewer of them, or it was dnf's last. */
        assert_snapshot(r, r->after, when);
    } else {
        assert_true(r->bed.result.retryable);
        r->killed++;
    }
    assert_mended(r, forward, when);
}

static void an_upgrade_killed_anywhere_can_be_completed_and_undone(void **state)
{
    struct range r;
    const char *given = getenv("KITSUNE_SEED");
    uint64_t seed = given ? strtoull(given, NULL, 10) : 7;
    uint64_t random = seed * 2862933555777941757U + 3037000493U;
    unsigned total = 0;
    print_message("seed %" PRIu64 " (KITSUNE_SEED)\n", seed);
    range_open(&r, *state);
    for (size_t i = 0; i < ARRAY_LEN(calls); i++) {
        for (unsigned k = 0; k < calls[i].points; k++, total++) {
            random = random * 6364136223846793005U + 1442695040888963407U;
            /* One point in each of equal parts. */
            unsigned part = calls[i].about / calls[i].points;
            unsigned nth = 1 + k * part + (unsigned)((random >> 33) % part);
            kill_point(&r, calls[i].name, nth, total % 2 == 0);
        }
    }
    print_message("%u of %u points were killed\n", r.killed, total);
    assert_true(r.killed >= total - 3);
    range_close(&r);
}

static void an_upgrade_killed_in_a_scriptlet_is_in_doubt(void **state)
{
    static const char *const lines[] = {"Running scriptlet: kitsune-big-2.0",
                                        "Upgrading        : kitsune-big-2.0",
                                        "Cleanup          : kitsune-big"};
    struct range r;
    range_open(&r, *state);
    for (size_t i = 0; i < ARRAY_LEN(lines); i++) {
        set_back(&r);
        r.bed.kill_at = lines[i];
        run_yum(&r.bed, UPGRADE, HANDLER_EXECUTE, BIG);
        assert_null(r.bed.kill_at);
        assert_int_equal(r.bed.result.outcome, HANDLER_FAILED);
        assert_message(&r.bed, "killed by signal 9 (KILL)");
        assert_mended(&r, i == 0, lines[i]);
    }
    range_close(&r);
}

/* All packages are there, and a scriptlet at the transaction's end may not have been run. */
static void an_upgrade_killed_when_all_is_there_is_in_doubt_too(void **state)
{
    struct range r;
    range_open(&r, *state);
    r.bed.kill_at = "Verifying        : kitsune-big";
    run_yum(&r.bed, UPGRADE, HANDLER_EXECUTE, BIG);
    assert_int_equal(r.bed.result.outcome, HANDLER_FAILED);
    assert_snapshot(&r, r.after, "killed at the end");
    assert_int_equal(unlink(bed_path(&r.bed, "root/scriptlets")), 0);
    run_ok(&r.bed, UPGRADE, HANDLER_EXECUTE, BIG);
    assert_true(r.bed.result.changed);
    AUTO_FREE char *scriptlets = bed_read(bed_path(&r.bed, "root/scriptlets"));
    assert_string_equal(scriptlets, "pre 1.0\npost 1.0\nposttrans 1.0\n"
                                    "pre 2.0\npost 2.0\nposttrans 2.0\n");
    assert_mended(&r, false, "killed at the end");
    range_close(&r);
}

static void an_undo_killed_anywhere_is_undone_by_the_next_one(void **state)
{
    static const char *const lines[] = {"installing kitsune-big-0:1.0", "erasing kitsune-big-0:2.0",
                                        "erasing kitsune-big-part-0:2.0"};
    struct range r;
    range_open(&r, *state);
    for (size_t i = 0; i < ARRAY_LEN(lines); i++) {
        set_back(&r);
        run_ok(&r.bed, UPGRADE, HANDLER_EXECUTE, BIG);
        r.bed.kill_at = lines[i];
        run_yum(&r.bed, UPGRADE, HANDLER_ROLLBACK, BIG);
        assert_null(r.bed.kill_at);
        if (r.bed.result.outcome != HANDLER_OK)
            assert_true(r.bed.result.retryable);
        run_ok(&r.bed, UPGRADE, HANDLER_ROLLBACK, BIG);
        assert_snapshot(&r, r.before, lines[i]);
    }
    range_close(&r);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_upgrade_killed_anywhere_can_be_completed_and_undone),
        cmocka_unit_test(an_upgrade_killed_in_a_scriptlet_is_in_doubt),
        cmocka_unit_test(an_upgrade_killed_when_all_is_there_is_in_doubt_too),
        cmocka_unit_test(an_undo_killed_anywhere_is_undone_by_the_next_one),
    };
    return YUM_MAIN(argc, argv, tests);
}
