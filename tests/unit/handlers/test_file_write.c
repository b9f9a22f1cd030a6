#include "handlers/fileio.h"
#include "unit/handlers/support_run.h"

#include "common/base/alloc.h"
#include "common/base/cleanup.h"

#include <dirent.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* All that must be the same after an undo. */
struct look {
    char *bytes; /* NULL: not there */
    struct stat st;
    char attribute[64];
    ssize_t attribute_len;
};

static struct look look_at(const char *path)
{
    struct look look = {.bytes = bed_read(path)};
    if (look.bytes) {
        assert_int_equal(lstat(path, &look.st), 0);
        look.attribute_len =
            lgetxattr(path, "user.kitsune.test", look.attribute, sizeof(look.attribute));
    }
    return look;
}

static void assert_same(struct look *before, struct look *after)
{
    assert_non_null(before->bytes);
    assert_non_null(after->bytes);
    assert_string_equal(before->bytes, after->bytes);
    assert_int_equal(before->st.st_mode, after->st.st_mode);
    assert_int_equal(before->st.st_uid, after->st.st_uid);
    assert_int_equal(before->st.st_gid, after->st.st_gid);
    assert_int_equal(before->st.st_size, after->st.st_size);
    assert_int_equal(before->st.st_mtim.tv_sec, after->st.st_mtim.tv_sec);
    assert_int_equal(before->st.st_mtim.tv_nsec, after->st.st_mtim.tv_nsec);
    assert_int_equal(before->attribute_len, after->attribute_len);
    if (before->attribute_len > 0)
        assert_memory_equal(before->attribute, after->attribute, (size_t)before->attribute_len);
    mem_free(before->bytes);
    mem_free(after->bytes);
}

/* The folder holds the undo folder and these many others. */
static void assert_files(const struct bed *bed, size_t expected)
{
    size_t count = 0;
    DIR *dir = opendir(bed->dir);
    assert_non_null(dir);
    for (const struct dirent *item; (item = readdir(dir));)
        count += strcmp(item->d_name, ".") != 0 && strcmp(item->d_name, "..") != 0 ? 1 : 0;
    assert_int_equal(closedir(dir), 0);
    assert_int_equal(count, expected + 1);
}

static void assert_text(const char *path, const char *expected)
{
    AUTO_FREE char *text = bed_read(path);
    assert_non_null(text);
    assert_string_equal(text, expected);
}

/* Params for the file "f" of the bed. */
static const char *params_of(const struct bed *bed, const char *content, const char *more)
{
    static char text[PATH_MAX];
    (void)snprintf(text, sizeof(text), "{\"path\":\"%s/f\",\"content\":\"%s\"%s}", bed->dir,
                   content, more);
    return text;
}

static void run_ok(struct bed *bed, enum handler_operation operation, const char *params)
{
    bed_run(bed, "file_write", operation, params);
    if (bed->result.outcome != HANDLER_OK)
        fail_msg("%s", bed->result.message);
}

static void run_fails(struct bed *bed, enum handler_operation operation, const char *params,
                      const char *text)
{
    bed_run(bed, "file_write", operation, params);
    assert_int_equal(bed->result.outcome, HANDLER_FAILED);
    if (!strstr(bed->result.message, text))
        fail_msg("\"%s\" is not in \"%s\"", text, bed->result.message);
}

static void assert_message(const struct bed *bed, const char *text)
{
    if (!strstr(bed->result.message, text))
        fail_msg("\"%s\" is not in \"%s\"", text, bed->result.message);
}

/* A file with marks of its own in every respect. */
static void make_original(const char *path)
{
    const struct timespec times[2] = {{.tv_sec = 1, .tv_nsec = 0},
                                      {.tv_sec = 1234567890, .tv_nsec = 123456789}};
    bed_write(path, "the original\n");
    assert_int_equal(chown(path, 1234, 4321), 0);
    assert_int_equal(chmod(path, 04751), 0);
    if (setxattr(path, "user.kitsune.test", "v\0\xff", 3, 0) != 0)
        print_message("[  NOTE    ] no extended attributes on this file system\n");
    assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
}

static void a_file_comes_back_in_every_respect(void **state)
{
    (void)state;
    struct bed bed;
    bed_open(&bed);
    const char *path = bed_path(&bed, "f");
    const char *params = params_of(&bed, "new", "");
    make_original(path);
    struct look before = look_at(path);
    run_ok(&bed, HANDLER_PREPARE, params);
    run_ok(&bed, HANDLER_EXECUTE, params);
    assert_true(bed.result.changed);
    struct look between = look_at(path);
    assert_string_equal(between.bytes, "new");
    mem_free(between.bytes);
    /* What the step does not name stays. */
    assert_int_equal(between.st.st_mode, before.st.st_mode);
    assert_int_equal(between.st.st_uid, 1234);
    assert_int_equal(between.st.st_gid, 4321);
    assert_int_equal(between.attribute_len, before.attribute_len);
    assert_true(between.st.st_mtim.tv_sec > before.st.st_mtim.tv_sec);
    run_ok(&bed, HANDLER_ROLLBACK, params);
    struct look after = look_at(path);
    assert_same(&before, &after);
    assert_files(&bed, 1);
    bed_close(&bed);
}

static void rolling_back_twice_changes_nothing_more(void **state)
{
    (void)state;
    struct bed bed;
    bed_open(&bed);
    const char *path = bed_path(&bed, "f");
    const char *params = params_of(&bed, "new", "");
    make_original(path);
    run_ok(&bed, HANDLER_PREPARE, params);
    run_ok(&bed, HANDLER_EXECUTE, params);
    run_ok(&bed, HANDLER_ROLLBACK, params);
    struct look first = look_at(path);
    run_ok(&bed, HANDLER_ROLLBACK, params);
    struct look second = look_at(path);
    assert_int_equal(first.st.st_ino, second.st.st_ino);
    assert_same(&first, &second);
    bed_close(&bed);
}

static void rolling_back_what_was_never_executed_does_not_touch_the_file(void **state)
{
    (void)state;
    struct bed bed;
    bed_open(&bed);
    const char *path = bed_path(&bed, "f");
    const char *params = params_of(&bed, "new", "");
    make_original(path);
    struct look before = look_at(path);
    run_ok(&bed, HANDLER_PREPARE, params);
    run_ok(&bed, HANDLER_ROLLBACK, params);
    struct look after = look_at(path);
    assert_int_equal(before.st.st_ino, after.st.st_ino);
    assert_same(&before, &after);
    bed_close(&bed);
}

static void a_file_that_was_not_there_is_gone_again(void **state)
{
    (void)state;
    struct bed bed;
    bed_open(&bed);
    const char *path = bed_path(&bed, "f");
    const char *params = params_of(&bed, "new", "");
    struct stat st;
    mode_t mask = umask(077);
    run_ok(&bed, HANDLER_PREPARE, params);
    run_ok(&bed, HANDLER_EXECUTE, params);
    (void)umask(mask);
    assert_true(bed.result.changed);
    assert_text(path, "new");
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0644);
    run_ok(&bed, HANDLER_ROLLBACK, params);
    assert_files(&bed, 0);
    run_ok(&bed, HANDLER_ROLLBACK, params);
    bed_close(&bed);
}

static void mode_owner_and_group_are_set_by_name_or_number(void **state)
{
    (void)state;
    struct bed bed;
    bed_open(&bed);
    const char *path = bed_path(&bed, "f");
    const struct passwd *user = getpwnam("daemon");
    const struct group *group = getgrnam("adm");
    struct stat st;
    assert_non_null(user);
    assert_non_null(group);
    uid_t uid = user->pw_uid;
    gid_t gid = group->gr_gid;
    const char *params =
        params_of(&bed, "x", ",\"mode\":\"2750\",\"owner\":\"daemon\",\"group\":\"adm\"");
    run_ok(&bed, HANDLER_PREPARE, params);
    run_ok(&bed, HANDLER_EXECUTE, params);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 02750);
    assert_int_equal(st.st_uid, uid);
    assert_int_equal(st.st_gid, gid);
    params = params_of(&bed, "x", ",\"mode\":\"0600\",\"owner\":\"77\",\"group\":\"88\"");
    run_ok(&bed, HANDLER_EXECUTE, params);
    assert_true(bed.result.changed);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_int_equal(st.st_uid, 77);
    assert_int_equal(st.st_gid, 88);
    bed_close(&bed);
}

static void an_unknown_owner_fails_and_nothing_is_written(void **state)
{
    (void)state;
    struct bed bed;
    bed_open(&bed);
    const char *params = params_of(&bed, "x", ",\"owner\":\"no-such-user\"");
    run_fails(&bed, HANDLER_PREPARE, params, "there is no user no-such-user");
    assert_false(bed.result.retryable);
    assert_files(&bed, 0);
    params = params_of(&bed, "x", ",\"group\":\"no-such-group\"");
    run_fails(&bed, HANDLER_PREPARE, params, "there is no group no-such-group");
    assert_files(&bed, 0);
    bed_close(&bed);
}

static void a_file_that_is_so_already_is_left_alone(void **state)
{
    (void)state;
    struct bed bed;
    bed_open(&bed);
    const char *path = bed_path(&bed, "f");
    struct stat before, after;
    bed_write(path, "same");
    assert_int_equal(stat(path, &before), 0);
    const char *params = params_of(&bed, "same", "");
    run_ok(&bed, HANDLER_PREPARE, params);
    run_ok(&bed, HANDLER_EXECUTE, params);
    assert_false(bed.result.changed);
    assert_int_equal(stat(path, &after), 0);
    assert_int_equal(before.st_ino, after.st_ino);
    run_ok(&bed, HANDLER_EXECUTE, params_of(&bed, "same", ",\"mode\":\"0640\""));
    assert_true(bed.result.changed);
    run_ok(&bed, HANDLER_EXECUTE, params_of(&bed, "samE", ",\"mode\":\"0640\""));
    assert_true(bed.result.changed);
    run_ok(&bed, HANDLER_EXECUTE, params_of(&bed, "samE!", ",\"mode\":\"0640\""));
    assert_true(bed.result.changed);
    bed_close(&bed);
}

static void empty_content_makes_an_empty_file(void **state)
{
    (void)state;
    struct bed bed;
    bed_open(&bed);
    const char *path = bed_path(&bed, "f");
    const char *params = params_of(&bed, "", "");
    bed_write(path, "full");
    run_ok(&bed, HANDLER_PREPARE, params);
    run_ok(&bed, HANDLER_EXECUTE, params);
    assert_true(bed.result.changed);
    assert_text(path, "");
    run_ok(&bed, HANDLER_EXECUTE, params);
    assert_false(bed.result.changed);
    run_ok(&bed, HANDLER_ROLLBACK, params);
    assert_text(path, "full");
    bed_close(&bed);
}

static void a_large_file_comes_back(void **state)
{
    (void)state;
    struct bed bed;
    bed_open(&bed);
    const char *path = bed_path(&bed, "f");
    const char *params = params_of(&bed, "small", "");
    enum { LINES = 100000 };
    struct buf text = BUF_INIT;
    for (int i = 0; i < LINES; i++)
        buf_printf(&text, "line %d\n", i);
    bed_write(path, text.data);
    run_ok(&bed, HANDLER_PREPARE, params);
    run_ok(&bed, HANDLER_EXECUTE, params);
    assert_text(path, "small");
    run_ok(&bed, HANDLER_ROLLBACK, params);
    assert_text(path, text.data);
    buf_done(&text);
    bed_close(&bed);
}

static void a_symbolic_link_is_refused(void **state)
{
    (void)state;
    struct bed bed;
    bed_open(&bed);
    bed_write(bed_path(&bed, "target"), "kept");
    assert_int_equal(symlink("target", bed_path(&bed, "f")), 0);
    run_fails(&bed, HANDLER_PREPARE, params_of(&bed, "x", ""),
              "/f is a symbolic link to target; set followSymlinks to write through it");
    assert_false(bed.result.retryable);
    assert_text(bed_path(&bed, "target"), "kept");
    bed_close(&bed);
}

static void a_link_that_came_after_prepare_is_not_written_through(void **state)
{
    (void)state;
    struct bed bed;
    bed_open(&bed);
    const char *params = params_of(&bed, "x", "");
    run_ok(&bed, HANDLER_PREPARE, params);
    bed_write(bed_path(&bed, "target"), "kept");
    assert_int_equal(symlink("target", bed_path(&bed, "f")), 0);
    run_fails(&bed, HANDLER_EXECUTE, params, "is a symbolic link");
    run_fails(&bed, HANDLER_ROLLBACK, params, "is a symbolic link");
    assert_text(bed_path(&bed, "target"), "kept");
    bed_close(&bed);
}

static void links_are_followed_when_the_step_says_so(void **state)
{
    (void)state;
    struct bed bed;
    bed_open(&bed);
    const char *params = params_of(&bed, "x", ",\"followSymlinks\":true");
    assert_int_equal(mkdir(bed_path(&bed, "sub"), 0755), 0);
    const char *target = bed_path(&bed, "sub/target");
    make_original(target);
    assert_int_equal(symlink("second", bed_path(&bed, "f")), 0);
    assert_int_equal(symlink(bed_path(&bed, "third"), bed_path(&bed, "second")), 0);
    assert_int_equal(symlink("./sub/target", bed_path(&bed, "third")), 0);
    struct look before = look_at(target);
    run_ok(&bed, HANDLER_PREPARE, params);
    run_ok(&bed, HANDLER_EXECUTE, params);
    assert_text(target, "x");
    /* The link leads elsewhere by now; the undo is for the file that was written. */
    assert_int_equal(unlink(bed_path(&bed, "f")), 0);
    run_ok(&bed, HANDLER_ROLLBACK, params);
    struct look after = look_at(target);
    assert_same(&before, &after);
    bed_close(&bed);
}

static void a_link_to_nothing_yet_is_followed_too(void **state)
{
    (void)state;
    struct bed bed;
    bed_open(&bed);
    const char *params = params_of(&bed, "x", ",\"followSymlinks\":true");
    assert_int_equal(symlink("target", bed_path(&bed, "f")), 0);
    run_ok(&bed, HANDLER_PREPARE, params);
    run_ok(&bed, HANDLER_EXECUTE, params);
    assert_text(bed_path(&bed, "target"), "x");
    run_ok(&bed, HANDLER_ROLLBACK, params);
    assert_files(&bed, 1);
    bed_close(&bed);
}

static void links_in_a_circle_are_refused(void **state)
{
    (void)state;
    struct bed bed;
    bed_open(&bed);
    assert_int_equal(symlink("g", bed_path(&bed, "f")), 0);
    assert_int_equal(symlink("f", bed_path(&bed, "g")), 0);
    run_fails(&bed, HANDLER_PREPARE, params_of(&bed, "x", ",\"followSymlinks\":true"),
              "too many symbolic links");
    bed_close(&bed);
}

static void a_folder_or_a_fifo_is_refused(void **state)
{
    (void)state;
    struct bed bed;
    bed_open(&bed);
    assert_int_equal(mkdir(bed_path(&bed, "f"), 0755), 0);
    run_fails(&bed, HANDLER_PREPARE, params_of(&bed, "x", ""), "/f is a folder");
    assert_int_equal(rmdir(bed_path(&bed, "f")), 0);
    assert_int_equal(mkfifo(bed_path(&bed, "f"), 0644), 0);
    run_fails(&bed, HANDLER_PREPARE, params_of(&bed, "x", ""), "/f is not a regular file");
    bed_close(&bed);
}

static void a_missing_folder_is_named(void **state)
{
    (void)state;
    struct bed bed;
    char params[PATH_MAX];
    char expected[PATH_MAX];
    bed_open(&bed);
    (void)snprintf(params, sizeof(params), "{\"path\":\"%s/no/f\",\"content\":\"x\"}", bed.dir);
    (void)snprintf(expected, sizeof(expected), "the folder %s/no does not exist", bed.dir);
    run_fails(&bed, HANDLER_PREPARE, params, expected);
    assert_false(bed.result.retryable);
    bed_close(&bed);
}

static void an_undo_of_a_file_whose_folder_is_gone_has_nothing_to_do(void **state)
{
    (void)state;
    struct bed bed;
    char params[PATH_MAX];
    bed_open(&bed);
    (void)snprintf(params, sizeof(params), "{\"path\":\"%s/d/f\",\"content\":\"x\"}", bed.dir);
    assert_int_equal(mkdir(bed_path(&bed, "d"), 0755), 0);
    run_ok(&bed, HANDLER_PREPARE, params);
    run_ok(&bed, HANDLER_EXECUTE, params);
    bed_remove_tree(bed_path(&bed, "d"));
    run_ok(&bed, HANDLER_ROLLBACK, params);
    bed_close(&bed);
}

static void a_damaged_copy_fails_loudly_and_the_file_stays(void **state)
{
    (void)state;
    struct bed bed;
    bed_open(&bed);
    const char *path = bed_path(&bed, "f");
    const char *params = params_of(&bed, "new", "");
    bed_write(path, "the original");
    run_ok(&bed, HANDLER_PREPARE, params);
    run_ok(&bed, HANDLER_EXECUTE, params);
    bed_write(bed_path(&bed, "undo/original"), "the 0riginal");
    run_fails(&bed, HANDLER_ROLLBACK, params, "is damaged");
    assert_text(path, "new");
    assert_int_equal(unlink(bed_path(&bed, "undo/original")), 0);
    run_fails(&bed, HANDLER_ROLLBACK, params, "cannot open the kept copy");
    assert_text(path, "new");
    bed_close(&bed);
}

static void what_somebody_else_wrote_since_is_not_clobbered(void **state)
{
    (void)state;
    struct bed bed;
    bed_open(&bed);
    const char *path = bed_path(&bed, "f");
    const char *params = params_of(&bed, "new", "");
    bed_write(path, "old");
    run_ok(&bed, HANDLER_PREPARE, params);
    run_ok(&bed, HANDLER_EXECUTE, params);
    bed_write(path, "theirs");
    run_fails(&bed, HANDLER_ROLLBACK, params, "changed by somebody else since: ");
    assert_true(bed.result.conflict);
    assert_false(bed.result.retryable);
    assert_message(&bed,
                   "/f has 6 bytes (sha256 4c55a8552a2c), expected were 3 bytes (sha256 "
                   "11507a0e2f5e) as this step left it, or 3 bytes (sha256 cba06b5736fa) as it "
                   "was before; it stays as it is (`kitsune rollback rollout-1 --server ");
    assert_message(&bed, " --force` undoes the step all the same)");
    assert_text(path, "theirs");
    /* When it was removed nothing of theirs is lost. */
    assert_int_equal(unlink(path), 0);
    run_ok(&bed, HANDLER_ROLLBACK, params);
    assert_text(path, "old");
    bed_close(&bed);
}

static void with_force_it_comes_back_over_what_somebody_else_wrote(void **state)
{
    (void)state;
    struct bed bed;
    bed_open(&bed);
    const char *path = bed_path(&bed, "f");
    const char *params = params_of(&bed, "new", "");
    make_original(path);
    struct look before = look_at(path);
    run_ok(&bed, HANDLER_PREPARE, params);
    run_ok(&bed, HANDLER_EXECUTE, params);
    bed_write(path, "theirs");
    bed.force = true;
    run_ok(&bed, HANDLER_ROLLBACK, params);
    assert_message(&bed, "restored, over what somebody else had left there");
    struct look after = look_at(path);
    assert_same(&before, &after);
    bed_close(&bed);
}

static void with_force_a_file_that_was_not_there_is_gone_whoever_wrote_it_since(void **state)
{
    (void)state;
    struct bed bed;
    bed_open(&bed);
    const char *path = bed_path(&bed, "f");
    const char *params = params_of(&bed, "new", "");
    run_ok(&bed, HANDLER_PREPARE, params);
    run_ok(&bed, HANDLER_EXECUTE, params);
    bed_write(path, "theirs");
    run_fails(&bed, HANDLER_ROLLBACK, params, "or nothing as it was before");
    assert_true(bed.result.conflict);
    assert_text(path, "theirs");
    bed.force = true;
    run_ok(&bed, HANDLER_ROLLBACK, params);
    assert_files(&bed, 0);
    bed_close(&bed);
}

static void what_is_no_file_any_more_is_somebody_elses_too(void **state)
{
    (void)state;
    struct bed bed;
    struct stat st;
    bed_open(&bed);
    const char *path = bed_path(&bed, "f");
    const char *params = params_of(&bed, "new", "");
    bed_write(path, "old");
    run_ok(&bed, HANDLER_PREPARE, params);
    run_ok(&bed, HANDLER_EXECUTE, params);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(symlink("/nowhere", path), 0);
    run_fails(&bed, HANDLER_ROLLBACK, params, "is a symbolic link");
    assert_true(bed.result.conflict);
    bed.force = true;
    run_ok(&bed, HANDLER_ROLLBACK, params);
    assert_int_equal(lstat(path, &st), 0);
    assert_true(S_ISREG(st.st_mode));
    assert_text(path, "old");
    assert_int_equal(unlink(path), 0);
    assert_int_equal(mkdir(path, 0755), 0);
    /* A folder may hold anything: not even force removes it. */
    run_fails(&bed, HANDLER_ROLLBACK, params, "is a folder; remove it first");
    assert_false(bed.result.conflict);
    bed.force = false;
    run_fails(&bed, HANDLER_ROLLBACK, params, "is a folder, expected were");
    assert_true(bed.result.conflict);
    assert_int_equal(lstat(path, &st), 0);
    assert_true(S_ISDIR(st.st_mode));
    bed_close(&bed);
}

static void what_to_do_about_a_conflict_is_never_cut_off(void **state)
{
    (void)state;
    struct bed bed;
    char name[NAME_MAX + 1], folder[PATH_MAX], params[PATH_MAX + 512];
    bed_open(&bed);
    memset(name, 'n', sizeof(name));
    name[NAME_MAX] = '\0';
    (void)snprintf(folder, sizeof(folder), "%s", bed.dir);
    for (int depth = 0; depth < 8; depth++) {
        size_t len = strlen(folder);
        (void)snprintf(folder + len, sizeof(folder) - len, "/%.200s", name);
        assert_int_equal(mkdir(folder, 0755), 0);
    }
    (void)snprintf(params, sizeof(params), "{\"path\":\"%s/%s\",\"content\":\"x\"}", folder, name);
    (void)snprintf(folder + strlen(folder), sizeof(folder) - strlen(folder), "/%s", name);
    run_ok(&bed, HANDLER_PREPARE, params);
    bed_write(folder, "theirs");
    run_fails(&bed, HANDLER_ROLLBACK, params, "--force` undoes the step all the same)");
    assert_message(&bed, "expected were 1 bytes (sha256 ");
    bed_close(&bed);
}

/* ---- What prepare may keep --------------------------------------------------------------- */

static void a_file_too_large_to_be_kept_is_not_written_over(void **state)
{
    (void)state;
    struct bed bed;
    bed_open(&bed);
    const char *path = bed_path(&bed, "f");
    const char *params = params_of(&bed, "new", "");
    bed_write(path, "");
    assert_int_equal(truncate(path, 256 * 1024 * 1024 + 1), 0);
    run_fails(&bed, HANDLER_PREPARE, params,
              "has 268435457 bytes: to be undone it would have to be copied, and no file of more "
              "than 256 MiB is; nothing was changed");
    assert_false(bed.result.no_room);
    assert_false(bed.result.retryable);
    assert_int_equal(access(bed_path(&bed, "undo/original"), F_OK), -1);
    bed_close(&bed);
}

static void a_file_for_which_there_is_no_room_is_not_copied(void **state)
{
    (void)state;
    struct bed bed;
    bed_open(&bed);
    const char *path = bed_path(&bed, "f");
    const char *params = params_of(&bed, "new", "");
    bed_write(path, "");
    assert_int_equal(truncate(path, 2048), 0);
    bed.room =
        (struct handler_room){.used_bytes = 1024 * 1024 + 1, .max_bytes = 1024 * 1024 + 2048};
    run_fails(&bed, HANDLER_PREPARE, params,
              "undoing it would need 2.0K, and of the 1.0M that this agent may keep for undo 1.0M "
              "are used; nothing was changed (raise --undo-max-size of kitsune-agent, or lower its "
              "--undo-retention)");
    assert_true(bed.result.no_room);
    assert_int_equal(access(bed_path(&bed, "undo/original"), F_OK), -1);
    bed.room.used_bytes = 1024 * 1024 + 4096;
    run_fails(&bed, HANDLER_PREPARE, params, "undoing it would need");
    bed.room.used_bytes = 512;
    run_ok(&bed, HANDLER_PREPARE, params);
    bed.room.used_bytes = bed.room.max_bytes; /* it is of no concern any more */
    run_ok(&bed, HANDLER_EXECUTE, params);
    run_ok(&bed, HANDLER_ROLLBACK, params);
    bed_close(&bed);
}

static void even_what_undo_needs_to_know_takes_room(void **state)
{
    (void)state;
    struct bed bed;
    bed_open(&bed);
    const char *params = params_of(&bed, "new", "");
    bed.room = (struct handler_room){.used_bytes = 90, .max_bytes = 100};
    run_fails(&bed, HANDLER_PREPARE, params, "undoing it would need");
    assert_true(bed.result.no_room);
    assert_string_equal(bed.undo, "{}"); /* nothing was handed on */
    bed_close(&bed);
}

static void a_file_that_grows_while_it_is_copied_is_given_up(void **state)
{
    (void)state;
    struct bed bed;
    struct error err = {0};
    bed_open(&bed);
    bed_write(bed_path(&bed, "from"), "more than was seen");
    AUTO_CLOSE int fd = open(bed_path(&bed, "from"), O_RDONLY | O_CLOEXEC);
    AUTO_PLACE struct file_place place = FILE_PLACE_INIT;
    const struct file_meta meta = FILE_META_INIT;
    const struct file_source source = {.fd = fd, .len = 4};
    assert_int_equal(file_place_open(bed_path(&bed, "to"), &place, &err), ERR_OK);
    assert_int_equal(file_replace(&place, "to.part", &source, &meta, &err), ERR_BUSY);
    assert_files(&bed, 1);
    bed_close(&bed);
}

static void a_run_that_was_cut_off_leaves_nothing_after_the_next(void **state)
{
    (void)state;
    struct bed bed;
    char mark[HANDLER_MARK_MAX], name[64];
    bed_open(&bed);
    const char *params = params_of(&bed, "new", "");
    run_ok(&bed, HANDLER_PREPARE, params);
    handler_mark(bed.host.server_id, "rollout-1", bed.step, mark);
    /* FNV-1a, as the name of the file is built. */
    uint64_t hash = UINT64_C(14695981039346656037);
    for (const char *c = mark; *c; c++)
        hash = (hash ^ (unsigned char)*c) * UINT64_C(1099511628211);
    (void)snprintf(name, sizeof(name), ".f.kitsune-%016llx", (unsigned long long)hash);
    bed_write(bed_path(&bed, name), "half of");
    run_ok(&bed, HANDLER_EXECUTE, params);
    assert_files(&bed, 1);
    assert_text(bed_path(&bed, "f"), "new");
    bed_write(bed_path(&bed, name), "half of");
    run_ok(&bed, HANDLER_EXECUTE, params);
    assert_false(bed.result.changed);
    assert_files(&bed, 1);
    bed_write(bed_path(&bed, name), "half of");
    run_ok(&bed, HANDLER_ROLLBACK, params);
    assert_files(&bed, 0);
    bed_close(&bed);
}

static void a_name_of_greatest_length_can_be_written(void **state)
{
    (void)state;
    struct bed bed;
    char name[NAME_MAX + 1], params[PATH_MAX];
    bed_open(&bed);
    memset(name, 'n', NAME_MAX);
    name[NAME_MAX] = '\0';
    (void)snprintf(params, sizeof(params), "{\"path\":\"%s/%s\",\"content\":\"x\"}", bed.dir, name);
    run_ok(&bed, HANDLER_PREPARE, params);
    run_ok(&bed, HANDLER_EXECUTE, params);
    assert_text(bed_path(&bed, name), "x");
    run_ok(&bed, HANDLER_ROLLBACK, params);
    assert_files(&bed, 0);
    bed_close(&bed);
}

static void a_retry_after_a_failure_ends_as_a_first_try_would(void **state)
{
    (void)state;
    struct bed bed;
    bed_open(&bed);
    const char *path = bed_path(&bed, "f");
    const char *params = params_of(&bed, "new", "");
    make_original(path);
    struct look before = look_at(path);
    run_ok(&bed, HANDLER_PREPARE, params);
    run_ok(&bed, HANDLER_EXECUTE, params);
    run_ok(&bed, HANDLER_EXECUTE, params);
    assert_false(bed.result.changed);
    run_ok(&bed, HANDLER_ROLLBACK, params);
    struct look after = look_at(path);
    assert_same(&before, &after);
    bed_close(&bed);
}

static void a_write_that_fails_leaves_the_old_file(void **state)
{
    (void)state;
    struct bed bed;
    struct rlimit old, limit;
    bed_open(&bed);
    const char *path = bed_path(&bed, "f");
    const char *params = params_of(&bed, "much more than eight bytes", "");
    bed_write(path, "old");
    run_ok(&bed, HANDLER_PREPARE, params);
    /* This process's files may not grow beyond some bytes for a while. */
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    limit = old;
    limit.rlim_cur = 8;
    assert_true(signal(SIGXFSZ, SIG_IGN) != SIG_ERR);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    bed_run(&bed, "file_write", HANDLER_EXECUTE, params);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    assert_int_equal(bed.result.outcome, HANDLER_FAILED);
    assert_non_null(strstr(bed.result.message, "cannot write: File too large"));
    assert_text(path, "old");
    assert_files(&bed, 1);
    run_ok(&bed, HANDLER_EXECUTE, params);
    assert_text(path, "much more than eight bytes");
    run_ok(&bed, HANDLER_ROLLBACK, params);
    assert_text(path, "old");
    bed_close(&bed);
}

static void wait_for_post(uv_work_t *work)
{
    uv_sem_wait(work->data);
}

static void post(uv_timer_t *timer)
{
    uv_sem_post(timer->data);
    uv_close((uv_handle_t *)timer, NULL);
}

/* The one thread of the pool is busy until the loop turns, so the operation cannot have begun. */
static void a_cancel_before_it_began_is_honoured(void **state)
{
    (void)state;
    struct bed bed;
    uv_sem_t released;
    uv_work_t blocker = {.data = &released};
    uv_timer_t release = {.data = &released};
    bed_open(&bed);
    const char *params = params_of(&bed, "new", "");
    bed_write(bed_path(&bed, "f"), "old");
    run_ok(&bed, HANDLER_PREPARE, params);
    assert_int_equal(uv_sem_init(&released, 0), 0);
    assert_int_equal(uv_queue_work(&bed.loop, &blocker, wait_for_post, NULL), 0);
    assert_int_equal(uv_timer_init(&bed.loop, &release), 0);
    assert_int_equal(uv_timer_start(&release, post, 0, 0), 0);
    bed.cancel_at = "";
    bed_run(&bed, "file_write", HANDLER_EXECUTE, params);
    assert_int_equal(bed.result.outcome, HANDLER_CANCELLED);
    assert_text(bed_path(&bed, "f"), "old");
    uv_sem_destroy(&released);
    bed_close(&bed);
}

static void what_prepare_captured_being_damaged_fails_the_undo(void **state)
{
    (void)state;
    struct bed bed;
    bed_open(&bed);
    const char *params = params_of(&bed, "new", "");
    run_ok(&bed, HANDLER_PREPARE, params);
    mem_free(bed.undo);
    bed.undo = mem_strdup("{\"path\":\"/etc/passwd\"}");
    run_fails(&bed, HANDLER_ROLLBACK, params, "what prepare captured");
    bed_close(&bed);
}

int main(void)
{
    /* Before the pool is first used: see the test of cancelling. */
    assert_int_equal(setenv("UV_THREADPOOL_SIZE", "1", 1), 0);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_file_comes_back_in_every_respect),
        cmocka_unit_test(rolling_back_twice_changes_nothing_more),
        cmocka_unit_test(rolling_back_what_was_never_executed_does_not_touch_the_file),
        cmocka_unit_test(a_file_that_was_not_there_is_gone_again),
        cmocka_unit_test(mode_owner_and_group_are_set_by_name_or_number),
        cmocka_unit_test(an_unknown_owner_fails_and_nothing_is_written),
        cmocka_unit_test(a_file_that_is_so_already_is_left_alone),
        cmocka_unit_test(empty_content_makes_an_empty_file),
        cmocka_unit_test(a_large_file_comes_back),
        cmocka_unit_test(a_symbolic_link_is_refused),
        cmocka_unit_test(a_link_that_came_after_prepare_is_not_written_through),
        cmocka_unit_test(links_are_followed_when_the_step_says_so),
        cmocka_unit_test(a_link_to_nothing_yet_is_followed_too),
        cmocka_unit_test(links_in_a_circle_are_refused),
        cmocka_unit_test(a_folder_or_a_fifo_is_refused),
        cmocka_unit_test(a_missing_folder_is_named),
        cmocka_unit_test(an_undo_of_a_file_whose_folder_is_gone_has_nothing_to_do),
        cmocka_unit_test(a_damaged_copy_fails_loudly_and_the_file_stays),
        cmocka_unit_test(what_somebody_else_wrote_since_is_not_clobbered),
        cmocka_unit_test(with_force_it_comes_back_over_what_somebody_else_wrote),
        cmocka_unit_test(with_force_a_file_that_was_not_there_is_gone_whoever_wrote_it_since),
        cmocka_unit_test(what_is_no_file_any_more_is_somebody_elses_too),
        cmocka_unit_test(what_to_do_about_a_conflict_is_never_cut_off),
        cmocka_unit_test(a_file_too_large_to_be_kept_is_not_written_over),
        cmocka_unit_test(a_file_for_which_there_is_no_room_is_not_copied),
        cmocka_unit_test(even_what_undo_needs_to_know_takes_room),
        cmocka_unit_test(a_file_that_grows_while_it_is_copied_is_given_up),
        cmocka_unit_test(a_run_that_was_cut_off_leaves_nothing_after_the_next),
        cmocka_unit_test(a_name_of_greatest_length_can_be_written),
        cmocka_unit_test(a_retry_after_a_failure_ends_as_a_first_try_would),
        cmocka_unit_test(a_write_that_fails_leaves_the_old_file),
        cmocka_unit_test(a_cancel_before_it_began_is_honoured),
        cmocka_unit_test(what_prepare_captured_being_damaged_fails_the_undo),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
