/* What a release step makes, checks and refuses. Undo is in test_release_undo.c. */
#include "unit/handlers/support_release.h"

#include "common/base/alloc.h"
#include "common/base/buf.h"
#include "common/base/cleanup.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define NAMED(name) ",\"stripComponents\":1,\"name\":\"" name "\""

static struct stat stat_of(const struct site *site, const char *name)
{
    struct stat st;
    if (lstat(bed_path(&site->bed, name), &st) != 0)
        fail_msg("%s: %s", name, strerror(errno));
    return st;
}

/* ---- Making ------------------------------------------------------------------------------ */

static void the_archive_becomes_a_release_and_the_link_leads_there(void **state)
{
    (void)state;
    struct site site;
    char expected[2 * PATH_MAX];
    site_open(&site);
    const char *params = site_params(&site, site_archive(&site, "one"), NAMED("1.0"));
    char *before = site_tree(&site);
    mode_t mask = umask(077);
    site_ok(&site, HANDLER_PREPARE, params);
    assert_int_equal(site.shelf.gets, 0);
    assert_tree(bed_path(&site.bed, "app"), false, before);
    site_ok(&site, HANDLER_EXECUTE, params);
    (void)umask(mask);
    assert_true(site.bed.result.changed);
    assert_int_equal(site.shelf.gets, 1);
    (void)snprintf(expected, sizeof(expected),
                   "%s/app/current leads to releases/1.0 (5 files, folders and links, 13 bytes); "
                   "before there was nothing",
                   site.bed.dir);
    assert_string_equal(site.bed.result.message, expected);
    site_expect(&site, "releases/1.0", "one");
    assert_string_equal(site_releases(&site), "1.0");
    assert_int_equal(stat_of(&site, "app/releases").st_mode & 07777, 0755);
    assert_int_equal(stat_of(&site, "app/releases/1.0").st_mode & 07777, 0755);
    assert_int_equal(stat_of(&site, "app/releases/1.0/bin").st_mode & 07777, 0700);
    assert_int_equal(stat_of(&site, "app/releases/1.0/bin/run").st_nlink, 2);
    assert_int_equal(stat_of(&site, "app/releases/1.0/.kitsune-release").st_mode & 07777, 0644);
    site_close(&site);
}

static void a_release_that_is_there_is_not_unpacked_again(void **state)
{
    (void)state;
    struct site site;
    site_open(&site);
    site_deploy(&site, "1", "");
    ino_t before = stat_of(&site, "app/releases/1/VERSION").st_ino;
    const char *params = site_params(&site, site_archive(&site, "1"), NAMED("1"));
    site_ok(&site, HANDLER_CHECK, params);
    assert_false(site.bed.result.changed);
    site_said(&site, "/app/current already leads to releases/1");
    site_run(&site, params);
    assert_false(site.bed.result.changed);
    site_said(&site, "/app/current already leads to releases/1");
    assert_int_equal(site.shelf.gets, 1);
    /* Back to an older one: nothing is fetched, the link is switched. */
    site_deploy(&site, "2", "");
    assert_int_equal(site.shelf.gets, 2);
    site_ok(&site, HANDLER_CHECK, params);
    assert_true(site.bed.result.changed);
    site_said(&site, "lead to releases/1; there is a symbolic link to releases/2");
    site_run(&site, params);
    assert_true(site.bed.result.changed);
    site_said(&site, "leads to releases/1, which was there already; before there was a symbolic "
                     "link to releases/2");
    assert_int_equal(site.shelf.gets, 2);
    site_expect(&site, "releases/1", "1");
    assert_int_equal(stat_of(&site, "app/releases/1/VERSION").st_ino, before);
    /* Somebody has been in it: that is told. */
    site_deploy(&site, "3", "");
    bed_write(bed_path(&site.bed, "app/releases/1/VERSION"), "patched");
    site_run(&site, params);
    site_said(&site, "which was there already, changed since it was unpacked");
    site_close(&site);
}

static void without_a_name_it_is_that_of_the_artifact(void **state)
{
    (void)state;
    struct site site;
    char expected[64];
    site_open(&site);
    const char *source = site_archive(&site, "one");
    (void)snprintf(expected, sizeof(expected), "releases/%.12s", source + strlen("sha256:"));
    site_run(&site, site_params(&site, source, ",\"link\":\"live\""));
    assert_string_equal(site_current(&site), "");
    char target[64] = "";
    assert_true(readlink(bed_path(&site.bed, "app/live"), target, sizeof(target) - 1) > 0);
    assert_string_equal(target, expected);
    assert_true(site_has(&site, "app/live/app/VERSION")); /* nothing is stripped */
    site_close(&site);
}

static void all_of_it_is_the_owners(void **state)
{
    (void)state;
    struct site site;
    if (geteuid() != 0)
        skip();
    site_open(&site);
    site_run(&site, site_params(&site, site_archive(&site, "one"),
                                NAMED("1") ",\"owner\":\"71\",\"group\":\"72\""));
    static const char *const names[] = {"app/releases/1", "app/releases/1/VERSION",
                                        "app/releases/1/bin", "app/releases/1/log"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        assert_int_equal(stat_of(&site, names[i]).st_uid, 71);
        assert_int_equal(stat_of(&site, names[i]).st_gid, 72);
    }
    /* What others of the application are made by is not. */
    assert_int_equal(stat_of(&site, "app/releases").st_uid, 0);
    assert_int_equal(stat_of(&site, "app/current").st_uid, 0);
    site_close(&site);
}

static void what_the_archive_says_of_its_folder_holds(void **state)
{
    (void)state;
    struct site site;
    static const struct made entries[] = {{.name = "./", .mode = 0511}, {.name = "./f"}, END};
    site_open(&site);
    site_run(&site, site_params(&site, shelf_put(&site.shelf, entries, PACKING_ZSTD), ""));
    assert_int_equal(stat_of(&site, "app/current/.").st_mode & 07777, 0511);
    site_close(&site);
}

static void folders_on_the_way_are_made_only_when_asked_for(void **state)
{
    (void)state;
    struct site site;
    char params[2 * PATH_MAX];
    site_open(&site);
    const char *source = site_archive(&site, "one");
    (void)snprintf(params, sizeof(params), "{\"source\":\"%s\",\"path\":\"%s/a/b\"}", source,
                   site.bed.dir);
    site_fails(&site, HANDLER_PREPARE, params, "/a does not exist");
    site_fails(&site, HANDLER_CHECK, params, "/a does not exist");
    (void)snprintf(params, sizeof(params),
                   "{\"source\":\"%s\",\"path\":\"%s/a/b\",\"createParents\":true}", source,
                   site.bed.dir);
    site_run(&site, params);
    assert_true(site_has(&site, "a/b/current/app/VERSION"));
    (void)snprintf(params, sizeof(params), "{\"source\":\"%s\",\"path\":\"%s/c\"}", source,
                   site.bed.dir);
    site_run(&site, params);
    assert_true(site_has(&site, "c/current/app/VERSION"));
    site_close(&site);
}

static void dropped_bits_are_told(void **state)
{
    (void)state;
    struct site site;
    static const struct made entries[] = {{.name = "su", .mode = 04755}, END};
    site_open(&site);
    site_run(&site, site_params(&site, shelf_put(&site.shelf, entries, PACKING_NONE), ""));
    site_said(&site, "; 1 had set-id or sticky bits, which were dropped");
    site_close(&site);
}

/* ---- Old releases ------------------------------------------------------------------------ */

static void releases_beyond_those_to_keep_are_removed_oldest_first(void **state)
{
    (void)state;
    struct site site;
    site_open(&site);
    for (int i = 9; i > 4; i--) {
        char name[4];
        (void)snprintf(name, sizeof(name), "%d", i);
        site_deploy(&site, name, "");
    }
    assert_string_equal(site_releases(&site), "5 6 7 8 9");
    site_deploy(&site, "4", "");
    site_said(&site, "; 9 removed");
    assert_string_equal(site_releases(&site), "4 5 6 7 8");
    const char *params = site_params(&site, site_archive(&site, "3"), NAMED("3") ",\"keep\":3");
    site_ok(&site, HANDLER_CHECK, params);
    site_said(&site, "; would remove 8, 7, 6");
    site_deploy(&site, "3", ",\"keep\":3");
    site_said(&site, "; 8 removed, 7 removed, 6 removed");
    assert_string_equal(site_releases(&site), "3 4 5");
    /* A lower number alone is something to do. */
    params = site_params(&site, site_archive(&site, "3"), NAMED("3") ",\"keep\":2");
    site_ok(&site, HANDLER_CHECK, params);
    assert_true(site.bed.result.changed);
    site_run(&site, params);
    assert_true(site.bed.result.changed);
    assert_string_equal(site_releases(&site), "3 4");
    site_deploy(&site, "2", ",\"keep\":0");
    site_deploy(&site, "1", ",\"keep\":0");
    assert_string_equal(site_releases(&site), "1 2 3 4");
    site_close(&site);
}

static void what_a_link_leads_to_is_never_removed(void **state)
{
    (void)state;
    struct site site;
    char absolute[PATH_MAX];
    site_open(&site);
    site_deploy(&site, "1", "");
    site_deploy(&site, "2", "");
    site_deploy(&site, "3", "");
    /* As another tool would have switched to the oldest one; and somebody's own link. */
    (void)snprintf(absolute, sizeof(absolute), "%s", bed_path(&site.bed, "app/releases/1"));
    assert_int_equal(unlink(bed_path(&site.bed, "app/current")), 0);
    assert_int_equal(symlink(absolute, bed_path(&site.bed, "app/current")), 0);
    assert_int_equal(symlink("./releases/2", bed_path(&site.bed, "app/staging")), 0);
    site_deploy(&site, "4", ",\"keep\":1");
    assert_string_equal(site_releases(&site), "1 2 4");
    site_deploy(&site, "5", ",\"keep\":1");
    assert_string_equal(site_releases(&site), "2 4 5");
    site_close(&site);
}

static void what_no_release_step_has_made_is_left_alone(void **state)
{
    (void)state;
    struct site site;
    site_open(&site);
    site_deploy(&site, "1", "");
    assert_int_equal(mkdir(bed_path(&site.bed, "app/releases/20250101"), 0755), 0);
    bed_write(bed_path(&site.bed, "app/releases/notes"), "x");
    assert_int_equal(symlink("1", bed_path(&site.bed, "app/releases/latest")), 0);
    site_deploy(&site, "2", ",\"keep\":1");
    site_deploy(&site, "3", ",\"keep\":1");
    assert_string_equal(site_releases(&site), "2 20250101 3 latest notes");
    site_close(&site);
}

static void what_cannot_be_kept_for_undo_is_not_removed_and_told(void **state)
{
    (void)state;
    struct site site;
    site_open(&site);
    site_deploy(&site, "1", "");
    site_deploy(&site, "2", "");
    site_deploy(&site, "3", "");
    site.bed.room = (struct handler_room){.used_bytes = 1000, .max_bytes = 1100 + 16 * 1024};
    site_deploy(&site, "4", ",\"keep\":2");
    site_said(&site, "; 1 stays: no room for it: it takes more than 100 bytes, 2 stays: no room");
    site.bed.room.used_bytes = 1100;
    assert_string_equal(site_releases(&site), "1 2 3 4");
    site_deploy(&site, "5", ",\"keep\":2");
    site_said(&site, "1 stays: there is no room for more (--undo-max-size)");
    site.bed.room = (struct handler_room){0};
    assert_int_equal(mkfifo(bed_path(&site.bed, "app/releases/2/pipe"), 0600), 0);
    site_deploy(&site, "6", ",\"keep\":2");
    site_said(&site, "; 1 removed, 2 stays: pipe is neither file, folder nor link, 3 removed");
    assert_string_equal(site_releases(&site), "2 5 6");
    site_close(&site);
}

static void what_was_changed_after_it_was_kept_is_not_removed(void **state)
{
    (void)state;
    struct site site;
    site_open(&site);
    site_deploy(&site, "1", "");
    site_deploy(&site, "2", "");
    const char *params = site_params(&site, site_archive(&site, "3"), NAMED("3") ",\"keep\":1");
    site_ok(&site, HANDLER_PREPARE, params);
    bed_write(bed_path(&site.bed, "app/releases/1/upload"), "work");
    site_ok(&site, HANDLER_EXECUTE, params);
    site_said(&site, "; 1 stays: it was changed after it was kept");
    assert_true(site_has(&site, "app/releases/1/upload"));
    site_close(&site);
}

/* ---- Refused ----------------------------------------------------------------------------- */

static void a_name_that_is_taken_is_an_error_that_says_what_to_do(void **state)
{
    (void)state;
    struct site site;
    site_open(&site);
    site_deploy(&site, "1", "");
    const char *other = site_params(&site, site_archive(&site, "other"), NAMED("1"));
    char *before = site_tree(&site);
    site_fails(&site, HANDLER_PREPARE, other,
               "...; give this release another name, or remove that folder");
    assert_false(site.bed.result.retryable);
    site_fails(&site, HANDLER_CHECK, other, "releases/1 is there, made from sha256:");
    const char *unstripped = site_params(&site, site_archive(&site, "1"), ",\"name\":\"1\"");
    site_fails(&site, HANDLER_PREPARE, unstripped, "unpacked with other stripComponents");
    assert_int_equal(mkdir(bed_path(&site.bed, "app/releases/2"), 0755), 0);
    site_fails(&site, HANDLER_PREPARE, site_params(&site, site_archive(&site, "2"), NAMED("2")),
               "releases/2 is there, and no release step has made it; remove it");
    assert_int_equal(rmdir(bed_path(&site.bed, "app/releases/2")), 0);
    assert_tree(bed_path(&site.bed, "app"), false, before);
    site_close(&site);
}

static void what_is_no_link_or_no_folder_is_refused(void **state)
{
    (void)state;
    struct site site;
    site_open(&site);
    const char *params = site_params(&site, site_archive(&site, "1"), NAMED("1"));
    bed_write(bed_path(&site.bed, "app/current"), "x");
    site_fails(&site, HANDLER_PREPARE, params, "/app/current is a file");
    site_fails(&site, HANDLER_CHECK, params, "/app/current is a file");
    assert_int_equal(unlink(bed_path(&site.bed, "app/current")), 0);
    assert_int_equal(mkdir(bed_path(&site.bed, "app/current"), 0755), 0);
    site_fails(&site, HANDLER_PREPARE, params, "/app/current is a folder");
    assert_int_equal(rmdir(bed_path(&site.bed, "app/current")), 0);
    assert_int_equal(mkdir(bed_path(&site.bed, "elsewhere"), 0755), 0);
    assert_int_equal(symlink("../elsewhere", bed_path(&site.bed, "app/releases")), 0);
    site_fails(&site, HANDLER_PREPARE, params, "/app/releases is no folder");
    assert_int_equal(unlink(bed_path(&site.bed, "app/releases")), 0);
    site_fails(&site, HANDLER_PREPARE,
               site_params(&site, site_archive(&site, "1"), ",\"owner\":\"no-such-user\""),
               "there is no user no-such-user");
    assert_int_equal(rmdir(bed_path(&site.bed, "elsewhere")), 0);
    site_close(&site);
}

static void a_hostile_archive_changes_nothing_and_is_found_by_a_check(void **state)
{
    (void)state;
    struct site site;
    static const struct made through[] = {{.name = "ok"},
                                          {.name = "l", .kind = S_IFLNK, .text = ".."},
                                          {.name = "l/evil", .text = "x"},
                                          END};
    static const struct made mine[] = {{.name = ".kitsune-release", .text = "{}"}, END};
    static const struct made bomb[] = {{.name = "zeros", .zeros = 2 * 1024 * 1024}, END};
    site_open(&site);
    site_deploy(&site, "1", "");
    const struct {
        const char *params, *text;
    } all[] = {
        {site_params(&site, shelf_put(&site.shelf, through, PACKING_GZIP), ""),
         "the archive cannot be unpacked: l: the entry goes through a symbolic link"},
        {site_params(&site, shelf_put(&site.shelf, mine, PACKING_GZIP), ""),
         "the archive cannot be unpacked: .kitsune-release: the name is the step's own"},
        {site_params(&site, shelf_put(&site.shelf, bomb, PACKING_GZIP), ",\"maxSize\":\"1M\""),
         "the archive cannot be unpacked: zeros: with it more than 1048576 bytes are unpacked"},
    };
    for (size_t i = 0; i < ARRAY_LEN(all); i++) {
        char *before = site_tree(&site);
        site_fails(&site, HANDLER_CHECK, all[i].params, all[i].text);
        site_ok(&site, HANDLER_PREPARE, all[i].params);
        site_fails(&site, HANDLER_EXECUTE, all[i].params, all[i].text);
        assert_false(site.bed.result.retryable);
        assert_tree(bed_path(&site.bed, "app"), false, before);
    }
    site_close(&site);
}

static void an_artifact_that_cannot_be_had_fails_the_step(void **state)
{
    (void)state;
    struct site site;
    struct error away = {0};
    site_open(&site);
    const char *params = site_params(
        &site, "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef", "");
    site_ok(&site, HANDLER_PREPARE, params);
    site_fails(&site, HANDLER_EXECUTE, params, ": there is no such artifact");
    assert_false(site.bed.result.retryable);
    error_ignore(error_set(&away, ERR_UNAVAILABLE, "no connection"));
    site.shelf.fails = &away;
    site_fails(&site, HANDLER_EXECUTE, params, ": no connection");
    assert_true(site.bed.result.retryable);
    site.bed.host.artifacts = NULL;
    site_fails(&site, HANDLER_EXECUTE, params, "there are no artifacts to be had here");
    assert_string_equal(site_releases(&site), "");
    site_close(&site);
}

/* ---- check ------------------------------------------------------------------------------- */

static void a_check_says_what_would_be_done(void **state)
{
    (void)state;
    struct site site;
    char expected[2 * PATH_MAX];
    site_open(&site);
    const char *params = site_params(&site, site_archive(&site, "one"), NAMED("1"));
    site_ok(&site, HANDLER_CHECK, params);
    assert_true(site.bed.result.changed);
    (void)snprintf(expected, sizeof(expected),
                   "would unpack 5 files, folders and links (13 bytes); would have "
                   "%s/app/current lead to releases/1; there is nothing",
                   site.bed.dir);
    assert_string_equal(site.bed.result.message, expected);
    assert_int_equal(site.shelf.gets, 1);
    site_run(&site, params);
    site_ok(&site, HANDLER_CHECK, params);
    assert_false(site.bed.result.changed);
    assert_int_equal(site.shelf.gets, 2); /* not needed to say that */
    site_close(&site);
}

/* ---- Documentation ----------------------------------------------------------------------- */

/* The text with `from`, which must be in it, replaced. */
static char *replaced(char *text, const char *from, const char *to)
{
    struct buf b = BUF_INIT;
    char *at = strstr(text, from);
    assert_non_null(at);
    buf_append(&b, text, (size_t)(at - text));
    buf_puts(&b, to);
    buf_puts(&b, at + strlen(from));
    mem_free(text);
    text = buf_take(&b, NULL);
    assert_non_null(text);
    return text;
}

/* The first object "params" behind a place in a text. */
static char *params_behind(const char *text, const char *place)
{
    const char *at = strstr(text, place);
    assert_non_null(at);
    at = strstr(at, "\"params\": {");
    assert_non_null(at);
    at = strchr(at, '{');
    return mem_strndup(at, (size_t)(strchr(at, '}') - at) + 1);
}

static char *fitted(struct site *site, char *params, const char *path)
{
    char digest[128] = "", number[32];
    const char *at = strstr(params, "sha256:");
    assert_non_null(at);
    (void)snprintf(digest, sizeof(digest), "%.71s", at);
    params = replaced(params, digest, site_archive(site, "1.4.2"));
    params = replaced(params, path, bed_path(&site->bed, "app"));
    (void)snprintf(number, sizeof(number), ": \"%u\"", geteuid());
    if (strstr(params, "\"owner\": \"app\""))
        params = replaced(params, ": \"app\"", number);
    (void)snprintf(number, sizeof(number), ": \"%u\"", getegid());
    if (strstr(params, "\"group\": \"app\""))
        params = replaced(params, ": \"app\"", number);
    return params;
}

static void runs_and_is_undone(const char *dir, const char *file, const char *place,
                               const char *path)
{
    struct site site;
    char full[PATH_MAX];
    (void)snprintf(full, sizeof(full), KITSUNE_SOURCE_DIR "/%s/%s", dir, file);
    site_open(&site);
    AUTO_FREE char *text = bed_read(full);
    assert_non_null(text);
    AUTO_FREE char *params = fitted(&site, params_behind(text, place), path);
    char *before = site_tree(&site);
    site_ok(&site, HANDLER_CHECK, params);
    assert_true(site.bed.result.changed);
    site_run(&site, params);
    site_expect(&site, "releases/1.4.2", "1.4.2");
    site_ok(&site, HANDLER_ROLLBACK, params);
    assert_tree(bed_path(&site.bed, "app"), false, before);
    site_close(&site);
}

static void the_plans_that_are_documented_run(void **state)
{
    (void)state;
    runs_and_is_undone("docs", "handlers.md", "\n## release\n", "/srv/app");
    runs_and_is_undone("plans", "release.json", "\"type\": \"release\"",
                       "/tmp/kitsune-release/app");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_archive_becomes_a_release_and_the_link_leads_there),
        cmocka_unit_test(a_release_that_is_there_is_not_unpacked_again),
        cmocka_unit_test(without_a_name_it_is_that_of_the_artifact),
        cmocka_unit_test(all_of_it_is_the_owners),
        cmocka_unit_test(what_the_archive_says_of_its_folder_holds),
        cmocka_unit_test(folders_on_the_way_are_made_only_when_asked_for),
        cmocka_unit_test(dropped_bits_are_told),
        cmocka_unit_test(releases_beyond_those_to_keep_are_removed_oldest_first),
        cmocka_unit_test(what_a_link_leads_to_is_never_removed),
        cmocka_unit_test(what_no_release_step_has_made_is_left_alone),
        cmocka_unit_test(what_cannot_be_kept_for_undo_is_not_removed_and_told),
        cmocka_unit_test(what_was_changed_after_it_was_kept_is_not_removed),
        cmocka_unit_test(a_name_that_is_taken_is_an_error_that_says_what_to_do),
        cmocka_unit_test(what_is_no_link_or_no_folder_is_refused),
        cmocka_unit_test(a_hostile_archive_changes_nothing_and_is_found_by_a_check),
        cmocka_unit_test(an_artifact_that_cannot_be_had_fails_the_step),
        cmocka_unit_test(a_check_says_what_would_be_done),
        cmocka_unit_test(the_plans_that_are_documented_run),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
