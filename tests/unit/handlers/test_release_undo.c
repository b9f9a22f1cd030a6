/* A release step is undone: what is there afterwards is what was there before, in every respect,
 * from wherever its execute was cut off. */
#include "handlers/release_internal.h"
#include "unit/handlers/support_release.h"

#include "common/base/alloc.h"
#include "common/base/cleanup.h"
#include "common/base/failpoint.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define NAMED(name) ",\"stripComponents\":1,\"name\":\"" name "\""

/* The hidden name of this step. */
static const char *hidden(const struct site *site, const char *name)
{
    static char path[2 * NAME_MAX];
    char temp[NAME_MAX + 1];
    const struct handler_run run = {
        .host = &site->bed.host, .rollout = "rollout-1", .step = site->bed.step};
    release_temp_name(&run, name, temp);
    (void)snprintf(path, sizeof(path), "app/releases/%s", temp);
    return path;
}

/* ---- All is as it was -------------------------------------------------------------------- */

static void a_first_release_is_gone_again(void **state)
{
    (void)state;
    struct site site;
    site_open(&site);
    const char *params = site_new_params(&site, "");
    char *before = site_tree(&site);
    site_run(&site, params);
    site_expect(&site, "releases/new", "new");
    site_ok(&site, HANDLER_ROLLBACK, params);
    site_said(&site, "/app/current is again nothing");
    assert_tree(bed_path(&site.bed, "app"), false, before);
    before = site_tree(&site);
    site_ok(&site, HANDLER_ROLLBACK, params);
    site_said(&site, "/app/current is as it was, nothing");
    assert_tree(bed_path(&site.bed, "app"), false, before);
    site_close(&site);
}

static void folders_that_were_made_go_as_far_as_they_are_empty(void **state)
{
    (void)state;
    struct site site;
    char params[2 * PATH_MAX];
    site_open(&site);
    (void)snprintf(params, sizeof(params),
                   "{\"source\":\"%s\",\"path\":\"%s/a/b\",\"createParents\":true}",
                   site_archive(&site, "1"), site.bed.dir);
    site_run(&site, params);
    assert_true(site_has(&site, "a/b/current/app/VERSION"));
    site_ok(&site, HANDLER_ROLLBACK, params);
    assert_false(site_has(&site, "a"));
    site_ok(&site, HANDLER_ROLLBACK, params);
    site_run(&site, params);
    bed_write(bed_path(&site.bed, "a/theirs"), "x");
    site_ok(&site, HANDLER_ROLLBACK, params);
    site_said(&site, "/a is not empty and stays");
    assert_false(site_has(&site, "a/b"));
    assert_true(site_has(&site, "a/theirs"));
    site_close(&site);
}

static void a_release_and_what_it_replaced_come_back_in_every_respect(void **state)
{
    (void)state;
    struct site site;
    site_open(&site);
    site_fill(&site);
    const char *params = site_new_params(&site, ",\"keep\":1");
    char *before = site_tree(&site);
    char *old = tree_text(bed_path(&site.bed, "app/releases/1"), true);
    char *current = tree_text(bed_path(&site.bed, "app/releases/2"), true);
    site_run(&site, params);
    assert_string_equal(site_releases(&site), "2 new");
    site_expect(&site, "releases/new", "new");
    site_ok(&site, HANDLER_ROLLBACK, params);
    site_said(&site, "/app/current is again a symbolic link to releases/2; 1 is there again");
    assert_tree(bed_path(&site.bed, "app"), false, before);
    assert_tree(bed_path(&site.bed, "app/releases/1"), true, old);
    assert_tree(bed_path(&site.bed, "app/releases/2"), true, current);
    site_expect(&site, "releases/2", "2");
    /* And it is a release as before, of which a check and a further step know. */
    before = site_tree(&site);
    site_ok(&site, HANDLER_ROLLBACK, params);
    assert_tree(bed_path(&site.bed, "app"), false, before);
    site_ok(&site, HANDLER_CHECK, params);
    site_said(&site, "; would remove 1");
    site_close(&site);
}

static void a_link_of_another_tool_comes_back_as_it_was(void **state)
{
    (void)state;
    struct site site;
    const struct timespec times[2] = {{.tv_sec = 7}, {.tv_sec = 1111111111, .tv_nsec = 5}};
    site_open(&site);
    site_fill(&site);
    const char *target = bed_path(&site.bed, "app/releases/1");
    const char *path = bed_path(&site.bed, "app/current");
    assert_int_equal(unlink(path), 0);
    assert_int_equal(symlink(target, path), 0);
    assert_int_equal(utimensat(AT_FDCWD, path, times, AT_SYMLINK_NOFOLLOW), 0);
    const char *params = site_new_params(&site, "");
    char *before = site_tree(&site);
    site_run(&site, params);
    site_ok(&site, HANDLER_ROLLBACK, params);
    assert_tree(bed_path(&site.bed, "app"), false, before);
    site_close(&site);
}

static void a_switch_to_a_release_that_was_there_leaves_it_there(void **state)
{
    (void)state;
    struct site site;
    site_open(&site);
    site_deploy(&site, "1", "");
    site_deploy(&site, "2", "");
    const char *params = site_params(&site, site_archive(&site, "1"), NAMED("1"));
    char *before = site_tree(&site);
    site_run(&site, params);
    site_expect(&site, "releases/1", "1");
    site_ok(&site, HANDLER_ROLLBACK, params);
    assert_tree(bed_path(&site.bed, "app"), false, before);
    site_close(&site);
}

static void a_release_that_another_rollout_has_made_is_left_there(void **state)
{
    (void)state;
    struct site site;
    site_open(&site);
    const char *params = site_new_params(&site, "");
    site_run(&site, params);
    const char *marker = bed_path(&site.bed, "app/releases/new/.kitsune-release");
    AUTO_FREE char *text = bed_read(marker);
    assert_non_null(text);
    char *rollout = strstr(text, "rollout-1");
    assert_non_null(rollout);
    rollout[strlen("rollout-")] = '2';
    bed_write(marker, text);
    site_ok(&site, HANDLER_ROLLBACK, params);
    assert_string_equal(site_current(&site), "");
    assert_string_equal(site_releases(&site), "new");
    site_close(&site);
}

/* ---- Cut off ----------------------------------------------------------------------------- */

static void nothing_was_done(struct site *site, const char *params)
{
    (void)site;
    (void)params;
}

static void half_unpacked(struct site *site, const char *params)
{
    (void)params;
    tree_make(bed_path(&site->bed, hidden(site, "new")));
    assert_int_equal(chmod(bed_path(&site->bed, hidden(site, "new")), 0500), 0);
}

static void unpacked_and_not_switched(struct site *site, const char *params)
{
    char target[PATH_MAX];
    (void)snprintf(target, sizeof(target), "%s", site_current(site));
    site_ok(site, HANDLER_EXECUTE, params);
    assert_int_equal(unlink(bed_path(&site->bed, "app/current")), 0);
    assert_int_equal(symlink(target, bed_path(&site->bed, "app/current")), 0);
    /* What else comes later is not done either: the old release is there. */
    site_ok(site, HANDLER_ROLLBACK, params);
    site_ok(site, HANDLER_EXECUTE, params);
}

static void the_old_one_half_removed(struct site *site, const char *params)
{
    site_ok(site, HANDLER_EXECUTE, params);
    tree_make(bed_path(&site->bed, hidden(site, "1")));
}

static void a_link_lies_beside_it(struct site *site, const char *params)
{
    char temp[NAME_MAX + 1], path[2 * NAME_MAX];
    const struct handler_run run = {
        .host = &site->bed.host, .rollout = "rollout-1", .step = site->bed.step};
    (void)params;
    release_temp_name(&run, "current", temp);
    (void)snprintf(path, sizeof(path), "app/%s", temp);
    assert_int_equal(symlink("releases/new", bed_path(&site->bed, path)), 0);
}

static void wherever_it_was_cut_off_it_is_undone_or_done_again(void **state)
{
    (void)state;
    static void (*const cuts[])(struct site * site, const char *params) = {
        nothing_was_done,         half_unpacked,         unpacked_and_not_switched,
        the_old_one_half_removed, a_link_lies_beside_it,
    };
    for (size_t i = 0; i < ARRAY_LEN(cuts); i++) {
        struct site site;
        site_open(&site);
        site_fill(&site);
        const char *params = site_new_params(&site, ",\"keep\":1");
        char *before = site_tree(&site);
        site_ok(&site, HANDLER_PREPARE, params);
        cuts[i](&site, params);
        site_ok(&site, HANDLER_ROLLBACK, params);
        assert_tree(bed_path(&site.bed, "app"), false, before);
        before = site_tree(&site);
        cuts[i](&site, params);
        site_ok(&site, HANDLER_EXECUTE, params);
        site_expect(&site, "releases/new", "new");
        assert_string_equal(site_releases(&site), "2 new");
        site_ok(&site, HANDLER_ROLLBACK, params);
        assert_tree(bed_path(&site.bed, "app"), false, before);
        site_close(&site);
    }
}

#ifdef KITSUNE_FAILPOINTS
/* This program once more, which executes the step with what it is told: a folder, what prepare
 * captured there, and the params. */
static int execute_main(char **argv)
{
    struct site site;
    bed_open(&site.bed);
    shelf_open(&site.shelf, &site.bed);
    bed_remove_tree(site.bed.dir);
    (void)snprintf(site.bed.dir, sizeof(site.bed.dir), "%s", argv[1]);
    (void)snprintf(site.bed.undo_dir, sizeof(site.bed.undo_dir), "%s/undo", argv[1]);
    site.bed.undo = argv[2];
    if (failpoint_setup(NULL) == ERR_OK)
        bed_run(&site.bed, "release", HANDLER_EXECUTE, argv[3]);
    return EXIT_FAILURE;
}

/* Executes in a process of its own, which is killed where `point` says. */
static void killed_at(struct site *site, char *point, const char *params)
{
    int status = 0;
    char program[] = "test", *copy = mem_strdup(params);
    char *argv[] = {program, site->bed.dir, site->bed.undo, copy, NULL}, *env[] = {point, NULL};
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        (void)execve("/proc/self/exe", argv, env);
        _exit(EXIT_FAILURE);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    mem_free(copy);
}

static void killed_at_the_switch_it_is_undone_or_done_again(void **state)
{
    (void)state;
    /* The new link lies beside the old one; it is in its place, and nothing old is removed yet. */
    char beside[] = "KITSUNE_FAILPOINT=file.replace=kill@1";
    char in_place[] = "KITSUNE_FAILPOINT=file.replaced=kill@1";
    char *points[] = {beside, in_place};
    for (size_t i = 0; i < ARRAY_LEN(points); i++) {
        struct site site;
        site_open(&site);
        site_fill(&site);
        const char *params = site_new_params(&site, ",\"keep\":1");
        char *before = site_tree(&site);
        site_ok(&site, HANDLER_PREPARE, params);
        killed_at(&site, points[i], params);
        assert_string_equal(site_releases(&site), "1 2 new");
        if (i == 0)
            site_expect(&site, "releases/2", "2");
        else
            site_expect(&site, "releases/new", "new");
        site_ok(&site, HANDLER_ROLLBACK, params);
        assert_tree(bed_path(&site.bed, "app"), false, before);
        before = site_tree(&site);
        killed_at(&site, points[i], params);
        site_ok(&site, HANDLER_EXECUTE, params);
        site_expect(&site, "releases/new", "new");
        assert_string_equal(site_releases(&site), "2 new");
        site_ok(&site, HANDLER_ROLLBACK, params);
        assert_tree(bed_path(&site.bed, "app"), false, before);
        site_close(&site);
    }
}
#endif

/* Cancels as soon as something is made in the folder that it watches. */
struct canceller {
    struct bed *bed;
    int watch;
};

static void *cancel_at_once(void *argument)
{
    struct canceller *c = argument;
    char events[4096] __attribute__((aligned(__alignof__(struct inotify_event))));
    assert_true(read(c->watch, events, sizeof(events)) > 0);
    bed_cancel(c->bed);
    return NULL;
}

enum { MANY = 20000 };

static const char *many_files(struct site *site)
{
    struct made *entries = mem_array(MANY + 1, sizeof(*entries));
    char(*names)[16] = mem_array(MANY, sizeof(*names));
    assert_true(entries && names);
    for (int i = 0; i < MANY; i++) {
        (void)snprintf(names[i], sizeof(names[i]), "f%d", i);
        entries[i].name = names[i];
    }
    const char *source = shelf_put(&site->shelf, entries, PACKING_ZSTD);
    mem_free(entries);
    mem_free(names);
    return source;
}

static void cancelled_in_mid_unpack_it_leaves_nothing(void **state)
{
    (void)state;
    struct site site;
    pthread_t thread;
    site_open(&site);
    site_deploy(&site, "1", "");
    const char *params = site_params(&site, many_files(&site), ",\"name\":\"new\"");
    char *before = site_tree(&site);
    site_ok(&site, HANDLER_PREPARE, params);
    struct canceller canceller = {.bed = &site.bed, .watch = inotify_init1(IN_CLOEXEC)};
    assert_true(
        inotify_add_watch(canceller.watch, bed_path(&site.bed, "app/releases"), IN_CREATE) >= 0);
    assert_int_equal(pthread_create(&thread, NULL, cancel_at_once, &canceller), 0);
    bed_run(&site.bed, "release", HANDLER_EXECUTE, params);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(close(canceller.watch), 0);
    assert_int_equal(site.bed.result.outcome, HANDLER_CANCELLED);
    assert_tree(bed_path(&site.bed, "app"), false, before);
    site_close(&site);
}

static void cancelled_while_it_waits_for_the_artifact_it_asks_no_more(void **state)
{
    (void)state;
    struct site site;
    site_open(&site);
    const char *params = site_new_params(&site, "");
    site_ok(&site, HANDLER_PREPARE, params);
    char *before = site_tree(&site);
    site.shelf.holds = true;
    bed_run(&site.bed, "release", HANDLER_EXECUTE, params);
    assert_int_equal(site.bed.result.outcome, HANDLER_CANCELLED);
    assert_int_equal(site.shelf.cancels, 1);
    site.bed.cancel_at = "";
    bed_run(&site.bed, "release", HANDLER_EXECUTE, params);
    assert_int_equal(site.bed.result.outcome, HANDLER_CANCELLED);
    assert_int_equal(site.shelf.gets, 1);
    assert_tree(bed_path(&site.bed, "app"), false, before);
    site_close(&site);
}

/* ---- Somebody else ----------------------------------------------------------------------- */

static void a_link_that_somebody_has_switched_is_a_conflict(void **state)
{
    (void)state;
    struct site site;
    site_open(&site);
    site_fill(&site);
    char *first = site_tree(&site);
    const char *params = site_new_params(&site, ",\"keep\":1");
    site_run(&site, params);
    assert_int_equal(unlink(bed_path(&site.bed, "app/current")), 0);
    assert_int_equal(symlink("releases/theirs", bed_path(&site.bed, "app/current")), 0);
    char *before = site_tree(&site);
    site_fails(&site, HANDLER_ROLLBACK, params,
               "/app/current was changed by somebody else since: it is a symbolic link to "
               "releases/theirs, expected were a symbolic link to releases/new as this step left "
               "it, or a symbolic link to releases/2 as it was before; it stays as it is");
    assert_true(site.bed.result.conflict);
    assert_tree(bed_path(&site.bed, "app"), false, before);
    site.bed.force = true;
    site_ok(&site, HANDLER_ROLLBACK, params);
    site_said(&site, ", over what somebody else had left there");
    assert_tree(bed_path(&site.bed, "app"), false, first);
    site_close(&site);
}

static void what_is_no_link_any_more_is_a_conflict_and_no_folder_is_removed(void **state)
{
    (void)state;
    struct site site;
    site_open(&site);
    const char *params = site_new_params(&site, "");
    site_run(&site, params);
    assert_int_equal(unlink(bed_path(&site.bed, "app/current")), 0);
    assert_int_equal(mkdir(bed_path(&site.bed, "app/current"), 0755), 0);
    site_fails(&site, HANDLER_ROLLBACK, params, "it is a folder, expected were");
    assert_true(site.bed.result.conflict);
    site.bed.force = true;
    site_fails(&site, HANDLER_ROLLBACK, params, "/app/current is a folder");
    assert_true(site_has(&site, "app/releases/new"));
    site_close(&site);
}

static void work_that_somebody_has_put_into_the_release_is_kept(void **state)
{
    (void)state;
    struct site site;
    site_open(&site);
    site_fill(&site);
    char *first = site_tree(&site);
    const char *params = site_new_params(&site, ",\"keep\":1");
    site_run(&site, params);
    bed_write(bed_path(&site.bed, "app/releases/new/upload"), "work");
    /* The application is back all the same. */
    site_ok(&site, HANDLER_ROLLBACK, params);
    site_said(&site, "; releases/new stays: something in it was changed since it was unpacked");
    site_expect(&site, "releases/2", "2");
    assert_string_equal(site_releases(&site), "1 2 new");
    assert_true(site_has(&site, "app/releases/new/upload"));
    site.bed.force = true;
    site_ok(&site, HANDLER_ROLLBACK, params);
    assert_tree(bed_path(&site.bed, "app"), false, first);
    site_close(&site);
}

static void a_release_that_another_link_leads_to_stays(void **state)
{
    (void)state;
    struct site site;
    site_open(&site);
    site_fill(&site);
    const char *params = site_new_params(&site, "");
    site_run(&site, params);
    assert_int_equal(symlink("releases/new", bed_path(&site.bed, "app/staging")), 0);
    site.bed.force = true;
    site_ok(&site, HANDLER_ROLLBACK, params);
    site_said(&site, "; releases/new stays: a link leads to it");
    site_expect(&site, "releases/2", "2");
    assert_true(site_has(&site, "app/staging/VERSION"));
    site_close(&site);
}

static void there_is_no_way_back_to_a_release_that_is_gone(void **state)
{
    (void)state;
    struct site site;
    site_open(&site);
    site_fill(&site);
    const char *params = site_new_params(&site, "");
    site_run(&site, params);
    bed_remove_tree(bed_path(&site.bed, "app/releases/2"));
    char *before = site_tree(&site);
    site_fails(&site, HANDLER_ROLLBACK, params, "releases/2, to which ");
    site_said(&site, "/app/current led before, is not there any more; it stays as it is");
    assert_true(site.bed.result.conflict);
    assert_tree(bed_path(&site.bed, "app"), false, before);
    site.bed.force = true;
    site_ok(&site, HANDLER_ROLLBACK, params);
    assert_string_equal(site_current(&site), "releases/2");
    site_close(&site);
}

static void an_old_release_that_is_there_again_stays_as_it_is(void **state)
{
    (void)state;
    struct site site;
    site_open(&site);
    site_fill(&site);
    const char *params = site_new_params(&site, ",\"keep\":1");
    site_run(&site, params);
    assert_int_equal(mkdir(bed_path(&site.bed, "app/releases/1"), 0755), 0);
    bed_write(bed_path(&site.bed, "app/releases/1/theirs"), "x");
    char *theirs = tree_text(bed_path(&site.bed, "app/releases/1"), true);
    site_ok(&site, HANDLER_ROLLBACK, params);
    assert_tree(bed_path(&site.bed, "app/releases/1"), true, theirs);
    site_expect(&site, "releases/2", "2");
    site_close(&site);
}

static void what_was_kept_and_is_damaged_is_found_before_anything_is_touched(void **state)
{
    (void)state;
    struct site site;
    site_open(&site);
    site_fill(&site);
    const char *params = site_new_params(&site, ",\"keep\":1");
    site_run(&site, params);
    char *before = site_tree(&site);
    int fd = open(bed_path(&site.bed, "undo/old-0.tar.zst"), O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, "X", 1, 40), 1);
    assert_int_equal(close(fd), 0);
    site_fails(&site, HANDLER_ROLLBACK, params, "what was kept of the release 1 is damaged");
    assert_tree(bed_path(&site.bed, "app"), false, before);
    before = site_tree(&site);
    assert_int_equal(unlink(bed_path(&site.bed, "undo/old-0.tar.zst")), 0);
    site_fails(&site, HANDLER_ROLLBACK, params, "cannot open what was kept of the release 1");
    assert_tree(bed_path(&site.bed, "app"), false, before);
    site_close(&site);
}

static void folders_that_are_gone_are_an_error_where_something_belongs_into_them(void **state)
{
    (void)state;
    struct site site;
    site_open(&site);
    const char *params = site_new_params(&site, "");
    site_run(&site, params);
    bed_remove_tree(bed_path(&site.bed, "app"));
    site_ok(&site, HANDLER_ROLLBACK, params);
    assert_int_equal(mkdir(bed_path(&site.bed, "app"), 0755), 0);
    site_fill(&site);
    params = site_new_params(&site, ",\"keep\":1");
    site_run(&site, params);
    bed_remove_tree(bed_path(&site.bed, "app"));
    site_fails(&site, HANDLER_ROLLBACK, params, "/app/releases/new does not exist any more");
    site_close(&site);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_first_release_is_gone_again),
        cmocka_unit_test(folders_that_were_made_go_as_far_as_they_are_empty),
        cmocka_unit_test(a_release_and_what_it_replaced_come_back_in_every_respect),
        cmocka_unit_test(a_link_of_another_tool_comes_back_as_it_was),
        cmocka_unit_test(a_switch_to_a_release_that_was_there_leaves_it_there),
        cmocka_unit_test(a_release_that_another_rollout_has_made_is_left_there),
        cmocka_unit_test(wherever_it_was_cut_off_it_is_undone_or_done_again),
#ifdef KITSUNE_FAILPOINTS
        cmocka_unit_test(killed_at_the_switch_it_is_undone_or_done_again),
#endif
        cmocka_unit_test(cancelled_in_mid_unpack_it_leaves_nothing),
        cmocka_unit_test(cancelled_while_it_waits_for_the_artifact_it_asks_no_more),
        cmocka_unit_test(a_link_that_somebody_has_switched_is_a_conflict),
        cmocka_unit_test(what_is_no_link_any_more_is_a_conflict_and_no_folder_is_removed),
        cmocka_unit_test(work_that_somebody_has_put_into_the_release_is_kept),
        cmocka_unit_test(a_release_that_another_link_leads_to_stays),
        cmocka_unit_test(there_is_no_way_back_to_a_release_that_is_gone),
        cmocka_unit_test(an_old_release_that_is_there_again_stays_as_it_is),
        cmocka_unit_test(what_was_kept_and_is_damaged_is_found_before_anything_is_touched),
        cmocka_unit_test(folders_that_are_gone_are_an_error_where_something_belongs_into_them),
    };
#ifdef KITSUNE_FAILPOINTS
    if (argc == 4)
        return execute_main(argv);
#endif
    (void)argc;
    (void)argv;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
