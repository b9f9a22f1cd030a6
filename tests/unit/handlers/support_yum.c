#include "unit/handlers/support_yum.h"

#include "common/base/alloc.h"
#include "common/base/cleanup.h"
#include "handlers/rpm_read.h"

#include <fcntl.h>
#include <ftw.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { ARGS_MAX = 15 };

int start_program(const char *const *args, int output_fd)
{
    pid_t pid = 0;
    void *argv = mem_array(ARGS_MAX + 1, sizeof(char *));
    assert_non_null(argv);
    for (size_t i = 0; args[i]; i++) {
        assert_true(i < ARGS_MAX);
        ((const char **)argv)[i] = args[i];
    }
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    assert_int_equal(posix_spawnattr_init(&attributes), 0);
    assert_int_equal(posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP), 0);
    assert_int_equal(posix_spawn_file_actions_init(&actions), 0);
    if (output_fd < 0)
        assert_int_equal(
            posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0), 0);
    else
        assert_int_equal(posix_spawn_file_actions_adddup2(&actions, output_fd, STDOUT_FILENO), 0);
    assert_int_equal(posix_spawnp(&pid, args[0], &actions, &attributes, argv, environ), 0);
    assert_int_equal(posix_spawn_file_actions_destroy(&actions), 0);
    assert_int_equal(posix_spawnattr_destroy(&attributes), 0);
    mem_free(argv);
    return pid;
}

void run_program(const char *const *args)
{
    int status = 0;
    pid_t pid = start_program(args, -1);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

int yum_fixture_make(void **state)
{
    struct yum_fixture *f = MEM_NEW(struct yum_fixture);
    assert_non_null(f);
    (void)snprintf(f->dir, sizeof(f->dir), "/tmp/kitsune-rpm-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    (void)snprintf(f->repo, sizeof(f->repo), "%s/repo", f->dir);
    (void)snprintf(f->root, sizeof(f->root), "%s/root", f->dir);
    run_program((const char *const[]){KITSUNE_SOURCE_DIR "/dev/rpm-repo", f->repo, NULL});
    run_program((const char *const[]){KITSUNE_SOURCE_DIR "/dev/rpm-root", f->root, f->repo, NULL});
    *state = f;
    return 0;
}

int yum_fixture_remove(void **state)
{
    struct yum_fixture *f = *state;
    bed_remove_tree(f->dir);
    mem_free(f);
    return 0;
}

void yum_open(struct bed *bed, const struct yum_fixture *f)
{
    bed_open(bed);
    const char *root = bed_path(bed, "root");
    run_program((const char *const[]){"cp", "-a", f->root, root, NULL});
    bed->host.installroot = mem_strdup(root);
    assert_non_null(bed->host.installroot);
}

void yum_close(struct bed *bed)
{
    AUTO_FREE void *root = NULL;
    memcpy(&root, &bed->host.installroot, sizeof(root));
    bed_close(bed);
}

static void installed_read(const struct bed *bed, struct rpm_set *ret_set)
{
    struct error err = {0};
    rpmts ts = rpm_read_open(bed->host.installroot, false, &err);
    if (!ts || rpm_read_installed(ts, ret_set, &err) != ERR_OK)
        fail_msg("%s", err.message);
    rpmtsFree(ts);
}

void assert_installed(const struct bed *bed, const char *package, const char *expected)
{
    AUTO_SET struct rpm_set set = {0};
    char evr[RPM_TEXT_MAX];
    AUTO_BUF struct buf text = BUF_INIT;
    installed_read(bed, &set);
    for (size_t i = 0; i < set.packages.count; i++) {
        const struct rpm_package *p = rpm_package_at(&set.packages, i);
        if (strcmp(p->name, package) != 0)
            continue;
        rpm_package_evr(p, evr);
        buf_printf(&text, "%s%s", text.len > 0 ? " " : "", evr);
    }
    assert_string_equal(text.data ? text.data : "", expected);
}

/* ---- Snapshots --------------------------------------------------------------------------- */

/* nftw(3) has no room for a caller's own. */
static struct {
    struct buf text;
    size_t root_len;
} walk;

static uint64_t file_sum(const char *path)
{
    uint64_t sum = 14695981039346656037U;
    unsigned char chunk[65536];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    for (ssize_t len; (len = read(fd, chunk, sizeof(chunk))) > 0;) {
        for (ssize_t i = 0; i < len; i++)
            sum = (sum ^ chunk[i]) * 1099511628211U;
    }
    assert_int_equal(close(fd), 0);
    return sum;
}

static int path_take(const char *path, const struct stat *st, int type, struct FTW *at)
{
    static const char *const theirs[] = {"/var", "/root", "/etc", "/scriptlets",
                                         "/usr/lib/sysimage"};
    const char *name = path + walk.root_len;
    (void)type;
    (void)at;
    for (size_t i = 0; i < ARRAY_LEN(theirs); i++) {
        if (strncmp(name, theirs[i], strlen(theirs[i])) == 0)
            return 0;
    }
    buf_printf(&walk.text, "%s %o", name, (unsigned)st->st_mode);
    if (S_ISREG(st->st_mode))
        buf_printf(&walk.text, " %lld %016llx", (long long)st->st_size,
                   (unsigned long long)file_sum(path));
    buf_putc(&walk.text, '\n');
    return 0;
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* A walk comes by in no certain order. */
static void lines_sort(const char *text, struct buf *ret_sorted)
{
    AUTO_FREE char *copy = mem_strdup(text);
    size_t count = 0;
    for (const char *at = text; (at = strchr(at, '\n')) != NULL; at++)
        count++;
    AUTO_FREE char **lines = mem_array(count + 1, sizeof(*lines));
    char *save = NULL;
    assert_true(copy && lines);
    count = 0;
    for (char *line = strtok_r(copy, "\n", &save); line; line = strtok_r(NULL, "\n", &save))
        lines[count++] = line;
    qsort(lines, count, sizeof(*lines), by_text);
    for (size_t i = 0; i < count; i++)
        buf_printf(ret_sorted, "%s\n", lines[i]);
}

char *yum_snapshot(const struct bed *bed)
{
    AUTO_SET struct rpm_set set = {0};
    struct buf text = BUF_INIT;
    char nevra[RPM_TEXT_MAX];
    installed_read(bed, &set);
    for (size_t i = 0; i < set.packages.count; i++) {
        const struct rpm_package *p = rpm_package_at(&set.packages, i);
        rpm_package_nevra(p, nevra);
        buf_printf(&text, "%s%s\n", nevra, p->clash ? " clash" : "");
    }
    walk.root_len = strlen(bed->host.installroot);
    walk.text = BUF_INIT;
    assert_int_equal(nftw(bed->host.installroot, path_take, 16, FTW_PHYS), 0);
    lines_sort(walk.text.data, &text);
    buf_done(&walk.text);
    char *taken = buf_take(&text, NULL);
    assert_non_null(taken);
    return taken;
}

/* ---- Runs -------------------------------------------------------------------------------- */

void run_yum(struct bed *bed, const char *type, enum handler_operation operation,
             const char *params)
{
    bed_run(bed, type, operation, params);
}

void run_ok(struct bed *bed, const char *type, enum handler_operation operation, const char *params)
{
    run_yum(bed, type, operation, params);
    if (bed->result.outcome != HANDLER_OK)
        fail_msg("%s\n%s", bed->result.message, bed->output.data ? bed->output.data : "");
}

void assert_message(const struct bed *bed, const char *text)
{
    if (!strstr(bed->result.message, text))
        fail_msg("\"%s\" is not in \"%s\"\n%s", text, bed->result.message,
                 bed->output.data ? bed->output.data : "");
}

void use_program(struct bed *bed, const char *text)
{
    const char *path = bed_path(bed, "yum");
    bed_write(path, text);
    assert_int_equal(chmod(path, 0755), 0);
    bed->host.yum_program = path;
}

bool yum_missing_tool(void)
{
    static const char *const tools[] = {"rpmbuild", "createrepo_c", "modifyrepo_c", "rpm", "dnf"};
    for (size_t i = 0; i < ARRAY_LEN(tools); i++) {
        char command[64];
        (void)snprintf(command, sizeof(command), "command -v %s >/dev/null", tools[i]);
        /* NOLINTNEXTLINE(cert-env33-c): fixed texts */
        if (system(command) != 0) {
            print_message("skipped: %s is not installed\n", tools[i]);
            return true;
        }
    }
    return false;
}

void yum_open_with_repo(struct bed *bed, const struct yum_fixture *f)
{
    char text[PATH_MAX];
    yum_open(bed, f);
    run_program((const char *const[]){"cp", "-a", f->repo, bed_path(bed, "repo"), NULL});
    (void)snprintf(text, sizeof(text),
                   "[kitsune]\nname=Local\nbaseurl=file://%s\nenabled=1\ngpgcheck=0\n"
                   "metadata_expire=1\n",
                   bed_path(bed, "repo"));
    bed_write(bed_path(bed, "root/etc/yum.repos.d/kitsune.repo"), text);
    bed_remove_tree(bed_path(bed, "root/var/cache/dnf"));
}

void yum_repo_prune(struct bed *bed, const char *file)
{
    char path[PATH_MAX];
    (void)snprintf(path, sizeof(path), "%s/repo/%s", bed->dir, file);
    assert_int_equal(unlink(path), 0);
    run_program((const char *const[]){"createrepo_c", "--quiet", bed_path(bed, "repo"), NULL});
}
