#include "handlers/rpm_tool.h"

#include "common/base/buf.h"
#include "common/base/cleanup.h"
#include "handlers/rpm_apply.h"
#include "handlers/rpm_read.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <limits.h>
#include <rpm/rpmlib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

static enum error_code set_print(const struct rpm_set *set, struct error *err)
{
    AUTO_BUF struct buf text = BUF_INIT;
    json_encode(&text, &rpm_set_table, set);
    buf_putc(&text, '\n');
    enum error_code code = buf_check(&text, err);
    if (code == ERR_OK && fwrite(text.data, 1, text.len, stdout) != text.len)
        code = error_errno(err, errno, "standard output");
    return code;
}

/* ---- list -------------------------------------------------------------------------------- */

static void damage_look(rpmts ts, const char *root, const char *nevra, struct rpm_set *set)
{
    char text[RPM_TEXT_MAX];
    Header header = rpm_read_header(ts, nevra);
    bool damaged = header && rpm_read_damaged(root, header);
    headerFree(header);
    for (size_t i = 0; damaged && i < set->packages.count; i++) {
        struct rpm_package *p = ARRAY_AT(&set->packages, struct rpm_package, i);
        rpm_package_nevra(p, text);
        if (strcmp(text, nevra) == 0)
            p->damaged = true;
    }
}

static enum error_code tool_list(int count, char **args, struct error *err)
{
    AUTO_SET struct rpm_set set = {0};
    const char *root = args[0];
    rpmts ts = rpm_read_open(root, false, err);
    if (!ts)
        return err->code;
    enum error_code code = rpm_read_installed(ts, &set, err);
    for (int i = 2; i < count && code == ERR_OK; i++)
        damage_look(ts, root, args[i], &set);
    set.begun = rpm_mark_is_there(args[1]);
    if (set.begun && code == ERR_OK)
        set.unsound = rpmtsVerifyDB(ts) != 0;
    rpmtsFree(ts);
    return code == ERR_OK ? set_print(&set, err) : code;
}

/* ---- files ------------------------------------------------------------------------------- */

static enum error_code files_read(rpmts ts, int count, char **args, struct rpm_set *ret_set,
                                  struct error *err)
{
    const char *dir = args[0];
    if (count < 3)
        return rpm_read_files(ts, dir, NULL, ret_set, err);
    FILE *stream = fopen(args[2], "we");
    if (!stream)
        return error_errno(err, errno, "%s", args[2]);
    struct rpm_paths paths = {.root = args[1], .stream = stream};
    const struct rpm_read_each each = {rpm_leftovers_note, &paths};
    enum error_code code = rpm_read_files(ts, dir, &each, ret_set, err);
    if (fclose(stream) != 0 && code == ERR_OK)
        code = error_errno(err, errno, "%s", args[2]);
    return code;
}

static enum error_code tool_files(int count, char **args, struct error *err)
{
    AUTO_SET struct rpm_set set = {0};
    if (rpmReadConfigFiles(NULL, NULL) != 0)
        return error_set(err, ERR_IO, "cannot read rpm's configuration");
    rpmts ts = rpmtsCreate();
    if (!ts)
        return error_set(err, ERR_NO_MEMORY, NULL);
    enum error_code code = files_read(ts, count, args, &set, err);
    rpmtsFree(ts);
    return code == ERR_OK ? set_print(&set, err) : code;
}

/* ---- keep -------------------------------------------------------------------------------- */

static enum error_code file_copy(const char *from, const char *to, struct error *err)
{
    struct stat st;
    AUTO_CLOSE int in = open(from, O_RDONLY | O_CLOEXEC);
    AUTO_CLOSE int out = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (in < 0 || out < 0 || fstat(in, &st) != 0)
        return error_errno(err, errno, "%s", in < 0 ? from : to);
    for (off_t left = st.st_size; left > 0;) {
        ssize_t len = sendfile(out, in, NULL, (size_t)left);
        if (len <= 0)
            return error_errno(err, len < 0 ? errno : EIO, "%s", to);
        left -= len;
    }
    return ERR_OK;
}

/* What an earlier transaction fetched may be there when no repository has it any more. */
static enum error_code cache_search(const char *root, const char *dir, const char *nevra,
                                    struct error *err)
{
    static const char *const caches[] = {"dnf/*/packages", "libdnf5/*/packages",
                                         "yum/*/*/*/packages"};
    char name[RPM_TEXT_MAX], pattern[PATH_MAX], to[PATH_MAX];
    enum error_code code = ERR_OK;
    bool found = false;
    (void)snprintf(name, sizeof(name), "%s", nevra);
    /* Names of files have no epoch. */
    char *colon = strchr(name, ':');
    char *dash = colon;
    while (dash && dash > name && *dash != '-')
        dash--;
    if (!dash || dash == name)
        return ERR_OK;
    memmove(dash + 1, colon + 1, strlen(colon + 1) + 1);
    for (size_t i = 0; i < ARRAY_LEN(caches) && !found; i++) {
        glob_t matches;
        (void)snprintf(pattern, sizeof(pattern), "%s/var/cache/%s/%s.rpm",
                       strcmp(root, "/") == 0 ? "" : root, caches[i], name);
        found = glob(pattern, GLOB_NOSORT, NULL, &matches) == 0;
        (void)snprintf(to, sizeof(to), "%s/%s.rpm", dir, name);
        if (found)
            code = file_copy(matches.gl_pathv[0], to, err);
        globfree(&matches);
    }
    return code;
}

static bool holds(const struct rpm_set *set, const char *nevra)
{
    char text[RPM_TEXT_MAX];
    bool found = false;
    for (size_t i = 0; i < set->packages.count && !found; i++) {
        rpm_package_nevra(rpm_package_at(&set->packages, i), text);
        found = strcmp(text, nevra) == 0;
    }
    return found;
}

static enum error_code tool_keep(int count, char **args, struct error *err)
{
    AUTO_SET struct rpm_set set = {0};
    rpmts ts = rpm_read_open(args[1], false, err);
    if (!ts)
        return err->code;
    enum error_code code = rpm_read_files(ts, args[0], NULL, &set, err);
    for (int i = 2; i < count && code == ERR_OK; i++) {
        if (!holds(&set, args[i]))
            code = cache_search(args[1], args[0], args[i], err);
    }
    rpm_set_done(&set);
    if (code == ERR_OK)
        code = rpm_read_files(ts, args[0], NULL, &set, err);
    rpmtsFree(ts);
    return code == ERR_OK ? set_print(&set, err) : code;
}

/* ---- begin and apply --------------------------------------------------------------------- */

static enum error_code wait_turn(char **args, struct error *err)
{
    if (rpmReadConfigFiles(NULL, NULL) != 0)
        return error_set(err, ERR_IO, "cannot read rpm's configuration");
    return rpm_lock_wait(args[0], strtoll(args[2], NULL, 10), err);
}

static enum error_code tool_begin(int count, char **args, struct error *err)
{
    (void)count;
    enum error_code code = wait_turn(args, err);
    return code == ERR_OK ? rpm_mark_make(args[1], err) : code;
}

static enum error_code tool_apply(int count, char **args, struct error *err)
{
    const struct rpm_change change = {
        .root = args[0], .dir = args[1], .args = args + 3, .count = count - 3};
    enum error_code code = wait_turn(args, err);
    return code == ERR_OK ? rpm_apply(&change, err) : code;
}

/* ---- Tidying ----------------------------------------------------------------------------- */

static enum error_code files_remove(const char *dir, struct error *err)
{
    char path[PATH_MAX];
    enum error_code code = ERR_OK;
    DIR *folder = opendir(dir);
    if (!folder)
        return errno == ENOENT ? ERR_OK : error_errno(err, errno, "%s", dir);
    for (const struct dirent *entry; (entry = readdir(folder)) != NULL;) {
        int len = snprintf(path, sizeof(path), "%s/%s", dir, entry->d_name);
        if (entry->d_type != DT_DIR && len > 0 && (size_t)len < sizeof(path) && unlink(path) != 0 &&
            code == ERR_OK)
            code = error_errno(err, errno, "%s", path);
    }
    (void)closedir(folder);
    return code;
}

static enum error_code tool_unmark(int count, char **args, struct error *err)
{
    (void)count;
    return rpm_mark_remove(args[0], err);
}

static enum error_code tool_end(int count, char **args, struct error *err)
{
    char dir[PATH_MAX];
    (void)count;
    (void)snprintf(dir, sizeof(dir), "%s/" RPM_TOOL_NEW, args[0]);
    enum error_code code = files_remove(dir, err);
    if (code == ERR_OK && rmdir(dir) != 0 && errno != ENOENT)
        code = error_errno(err, errno, "%s", dir);
    return code == ERR_OK ? rpm_mark_remove(args[0], err) : code;
}

static enum error_code tool_drop(int count, char **args, struct error *err)
{
    enum error_code code = tool_end(count, args, err);
    return code == ERR_OK ? files_remove(args[0], err) : code;
}

/* ---- All --------------------------------------------------------------------------------- */

static const struct mode {
    const char *name;
    int least; /* arguments */
    enum error_code (*run)(int count, char **args, struct error *err);
} modes[] = {
    {"list", 2, tool_list},   {"files", 1, tool_files}, {"keep", 2, tool_keep},
    {"begin", 3, tool_begin}, {"apply", 3, tool_apply}, {"unmark", 1, tool_unmark},
    {"end", 1, tool_end},     {"drop", 1, tool_drop},
};

bool rpm_tool_asked(int argc, char **argv)
{
    return argc > 1 && strcmp(argv[1], RPM_TOOL) == 0;
}

int rpm_tool_main(int argc, char **argv)
{
    struct error err = {0};
    const struct mode *mode = NULL;
    for (size_t i = 0; i < ARRAY_LEN(modes) && argc > 2; i++) {
        if (strcmp(argv[2], modes[i].name) == 0 && argc - 3 >= modes[i].least)
            mode = &modes[i];
    }
    enum error_code code = mode ? mode->run(argc - 3, argv + 3, &err)
                                : error_set(&err, ERR_INVALID, "the rpm tool was asked wrongly");
    if (code != ERR_OK)
        (void)printf("%s\n", err.message);
    if (fflush(stdout) != 0 && code == ERR_OK)
        return EXIT_FAILURE;
    if (code == ERR_BUSY)
        return RPM_TOOL_LOCKED;
    return code == ERR_OK ? EXIT_SUCCESS : EXIT_FAILURE;
}
