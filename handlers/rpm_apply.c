#include "handlers/rpm_apply.h"

#include "common/base/cleanup.h"
#include "handlers/rpm_tool.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <rpm/rpmcallback.h>
#include <rpm/rpmlib.h>
#include <rpm/rpmmacro.h>
#include <rpm/rpmps.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define MARK_NAME "begun"
enum { LOCK_POLL_MS = 200 };

/* ---- The lock ---------------------------------------------------------------------------- */

/* The process that holds rpm's lock; 0 when none does. */
static pid_t lock_holder(const char *root)
{
    char path[PATH_MAX];
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    char *relative = rpmExpand("%{?_rpmlock_path}", NULL);
    (void)snprintf(path, sizeof(path), "%s%s", strcmp(root, "/") == 0 ? "" : root, relative);
    free(relative);
    AUTO_CLOSE int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0 || fcntl(fd, F_GETLK, &lock) != 0 || lock.l_type == F_UNLCK)
        return 0;
    return lock.l_pid > 0 ? lock.l_pid : 1;
}

static int64_t now_ms(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* rpm itself waits for its lock without an end, so it is begun when the lock is free. */
enum error_code rpm_lock_wait(const char *root, int64_t seconds, struct error *err)
{
    const struct timespec pause = {.tv_nsec = LOCK_POLL_MS * 1000000L};
    int64_t until = now_ms() + seconds * 1000;
    pid_t told = 0;
    for (pid_t holder; (holder = lock_holder(root)) != 0;) {
        if (holder != told)
            (void)printf("waiting for process %d, which changes packages\n", (int)holder);
        (void)fflush(stdout);
        told = holder;
        if (now_ms() >= until)
            return error_set(err, ERR_BUSY,
                             "process %d has held the lock of the package database for %" PRId64
                             " s",
                             (int)holder, seconds);
        (void)nanosleep(&pause, NULL);
    }
    return ERR_OK;
}

/* ---- The mark ---------------------------------------------------------------------------- */

bool rpm_mark_is_there(const char *dir)
{
    char path[PATH_MAX];
    (void)snprintf(path, sizeof(path), "%s/" MARK_NAME, dir);
    return access(path, F_OK) == 0;
}

enum error_code rpm_mark_make(const char *dir, struct error *err)
{
    if (mkdir(dir, 0700) != 0 && errno != EEXIST)
        return error_errno(err, errno, "%s", dir);
    AUTO_CLOSE int dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    AUTO_CLOSE int fd =
        dir_fd < 0 ? -1 : openat(dir_fd, MARK_NAME, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0 || fsync(fd) != 0 || fsync(dir_fd) != 0)
        return error_errno(err, errno, "cannot mark in %s that a transaction begins", dir);
    return ERR_OK;
}

enum error_code rpm_mark_remove(const char *dir, struct error *err)
{
    char path[PATH_MAX];
    (void)snprintf(path, sizeof(path), "%s/" MARK_NAME, dir);
    if (unlink(path) != 0 && errno != ENOENT)
        return error_errno(err, errno, "%s", path);
    return ERR_OK;
}

/* ---- The transaction --------------------------------------------------------------------- */

static void progress_tell(Header header, const char *what)
{
    char text[RPM_TEXT_MAX];
    const struct rpm_package p = rpm_read_package(header);
    rpm_package_nevra(&p, text);
    (void)printf("%s %s\n", what, text);
    (void)fflush(stdout);
}

static void *progress(const void *h, const rpmCallbackType what, const rpm_loff_t amount,
                      const rpm_loff_t total, fnpyKey key, rpmCallbackData data)
{
    static FD_t open_file; /* one at a time */
    Header header = (Header)(uintptr_t)h;
    (void)amount;
    (void)data;
    if (what == RPMCALLBACK_INST_OPEN_FILE) {
        open_file = key ? Fopen(key, "r.ufdio") : NULL;
        return open_file;
    }
    if (what == RPMCALLBACK_INST_CLOSE_FILE) {
        (void)Fclose(open_file);
        open_file = NULL;
    } else if (what == RPMCALLBACK_INST_START && header) {
        progress_tell(header, "installing");
    } else if (what == RPMCALLBACK_UNINST_START && header) {
        progress_tell(header, "erasing");
    } else if (what == RPMCALLBACK_SCRIPT_ERROR && header) {
        progress_tell(header, total == RPMRC_OK ? "a scriptlet failed (passed over) of"
                                                : "a scriptlet failed of");
    } else if ((what == RPMCALLBACK_UNPACK_ERROR || what == RPMCALLBACK_CPIO_ERROR) && header) {
        progress_tell(header, "cannot unpack");
    }
    return NULL;
}

static enum error_code problems_tell(rpmts ts, const char *what, struct error *err)
{
    char first[160] = "";
    rpmps problems = rpmtsProblems(ts);
    rpmpsi it = rpmpsInitIterator(problems);
    for (rpmProblem problem; (problem = rpmpsiNext(it)) != NULL;) {
        char *text = rpmProblemString(problem);
        (void)printf("%s\n", text);
        if (first[0] == '\0')
            (void)snprintf(first, sizeof(first), "%s", text);
        free(text);
    }
    rpmpsFreeIterator(it);
    rpmpsFree(problems);
    return error_set(err, ERR_CONFLICT, "%s: %s", what, first[0] ? first : rpm_read_complaint());
}

static enum error_code file_install(rpmts ts, const char *path, bool beside, struct error *err)
{
    char nevra[RPM_TEXT_MAX];
    Header header = rpm_read_file(ts, path, err);
    if (!header)
        return err->code;
    const struct rpm_package p = rpm_read_package(header);
    rpm_package_nevra(&p, nevra);
    Header there = rpm_read_header(ts, nevra);
    /* What is there of this very version may be damaged, so it is put there anew. */
    int rc = there ? rpmtsAddReinstallElement(ts, header, path)
                   : rpmtsAddInstallElement(ts, header, path, beside ? 0 : 1, NULL);
    headerFree(there);
    headerFree(header);
    return rc == 0
               ? ERR_OK
               : error_set(err, ERR_INTERNAL, "%s cannot be added: %s", path, rpm_read_complaint());
}

static enum error_code change_collect(rpmts ts, const struct rpm_change *change, struct error *err)
{
    enum error_code code = ERR_OK;
    const char *how = "install";
    for (int i = 0; i < change->count && code == ERR_OK; i++) {
        const char *word = change->args[i];
        if (strcmp(word, "install") == 0 || strcmp(word, "beside") == 0 ||
            strcmp(word, "erase") == 0) {
            how = word;
        } else if (strcmp(how, "erase") != 0) {
            code = file_install(ts, word, strcmp(how, "beside") == 0, err);
        } else {
            Header header = rpm_read_header(ts, word);
            if (header && rpmtsAddEraseElement(ts, header, 0) != 0)
                code = error_set(err, ERR_INTERNAL, "%s cannot be erased", word);
            headerFree(header);
        }
    }
    return code;
}

static enum error_code change_run(rpmts ts, struct error *err)
{
    rpmps problems;
    if (rpmtsCheck(ts) != 0)
        return error_set(err, ERR_INTERNAL, "%s", rpm_read_complaint());
    problems = rpmtsProblems(ts);
    bool refused = rpmpsNumProblems(problems) > 0;
    rpmpsFree(problems);
    if (refused)
        return problems_tell(ts, "other packages stand against it", err);
    if (rpmtsOrder(ts) != 0)
        return error_set(err, ERR_INTERNAL, "the packages cannot be put into an order");
    rpmtsClean(ts);
    if (rpmtsSetNotifyCallback(ts, progress, NULL) != 0)
        return error_set(err, ERR_INTERNAL, "the transaction cannot be told of");
    if (rpmtsRun(ts, NULL, RPMPROB_FILTER_OLDPACKAGE | RPMPROB_FILTER_REPLACEPKG) != 0)
        return problems_tell(ts, "rpm could not do it", err);
    return ERR_OK;
}

/* Before the transaction: what it puts in place may not be mixed with what an earlier one left. */
static void temporaries_clean(rpmts ts, const struct rpm_change *change)
{
    for (int i = 0; i < change->count; i++) {
        struct error err = {0};
        bool is_file = change->args[i][0] == '/';
        Header header = is_file ? rpm_read_file(ts, change->args[i], &err)
                                : rpm_read_header(ts, change->args[i]);
        if (header)
            rpm_leftovers_of(change->root, header);
        headerFree(header);
    }
}

enum error_code rpm_apply(const struct rpm_change *change, struct error *err)
{
    char paths[PATH_MAX];
    bool cut_off = rpm_mark_is_there(change->dir);
    enum error_code code = rpm_mark_make(change->dir, err);
    rpmts ts = code == ERR_OK ? rpm_read_open(change->root, true, err) : NULL;
    if (!ts)
        return err->code;
    if (cut_off)
        temporaries_clean(ts, change);
    code = change_collect(ts, change, err);
    if (code == ERR_OK && rpmtsNElements(ts) > 0)
        code = change_run(ts, err);
    rpmtsEmpty(ts);
    (void)snprintf(paths, sizeof(paths), "%s/" RPM_TOOL_PATHS, change->dir);
    const struct rpm_paths left = {.root = change->root, .folders_only = !cut_off};
    if (code == ERR_OK)
        code = rpm_leftovers_remove(ts, &left, paths, err);
    rpmtsFree(ts);
    return code;
}
