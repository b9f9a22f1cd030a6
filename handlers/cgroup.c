#include "handlers/cgroup.h"

#include "common/base/buf.h"
#include "common/base/cleanup.h"
#include "common/base/id.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

enum {
    TEXT_MAX = 256 * 1024,
    WAIT_MS = 5 * 1000, /* for what was killed to be gone */
    WAIT_ROUNDS_MAX = 100,
    MOVE_ROUNDS_MAX = 10,
    MAKE_TRIES = 3
};

/* Below the agent's own group, when that is handed over to it, the agent itself is in this one:
 * only a group without processes can have limits for those below it. */
static const char AGENT_GROUP[] = "kitsune-agent.self";
/* At the top, where the agent's own group is not handed over. */
static const char TOP_GROUP[] = "kitsune-steps";

void cgroup_name(const char *mark, char ret_name[CGROUP_NAME_MAX])
{
    (void)snprintf(ret_name, CGROUP_NAME_MAX, "kitsune-step-%016" PRIx64, id_hash(mark));
}

/* ---- Files ------------------------------------------------------------------------------- */

/* False: it cannot be read. The text is NUL-terminated. */
static bool text_read(const char *path, struct buf *text)
{
    char chunk[4096];
    AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    text->max = TEXT_MAX;
    for (ssize_t len; (len = read(fd, chunk, sizeof(chunk))) != 0;) {
        if (len < 0)
            return false;
        buf_append(text, chunk, (size_t)len);
    }
    buf_putc(text, '\0');
    return buf_check(text, NULL) == ERR_OK;
}

static bool join(char ret_path[PATH_MAX], const char *folder, const char *name)
{
    int len = snprintf(ret_path, PATH_MAX, "%s%s%s", folder, name[0] == '/' ? "" : "/", name);
    return len > 0 && len < PATH_MAX;
}

/* 0, or an errno. */
static int text_write(const char *folder, const char *name, const char *text)
{
    char path[PATH_MAX];
    if (!join(path, folder, name))
        return ENAMETOOLONG;
    AUTO_CLOSE int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return errno;
    return write(fd, text, strlen(text)) == (ssize_t)strlen(text) ? 0 : errno;
}

/* ---- Where ------------------------------------------------------------------------------- */

/* The fifth word of the line that names the type; "\040" and the like stay as they are, since no
 * such mount would be used. */
static bool mount_find(const char *mountinfo, char ret_mount[PATH_MAX])
{
    const char *type = strstr(mountinfo, " - cgroup2 ");
    if (!type)
        return false;
    const char *word = type;
    while (word > mountinfo && word[-1] != '\n')
        word--;
    for (int i = 0; i < 4; i++) {
        word += strcspn(word, " ");
        word += strspn(word, " ");
    }
    size_t len = strcspn(word, " ");
    if (word >= type || len == 0 || len >= PATH_MAX)
        return false;
    memcpy(ret_mount, word, len);
    ret_mount[len] = '\0';
    return true;
}

bool cgroup_locate(const char *mountinfo, const char *groups, char ret_mount[PATH_MAX],
                   char ret_own[PATH_MAX])
{
    const char *own = strncmp(groups, "0::", 3) == 0 ? groups : strstr(groups, "\n0::");
    if (!own || !mount_find(mountinfo, ret_mount))
        return false;
    own = strchr(own, '/');
    size_t len = own ? strcspn(own, "\n") : 0;
    if (len == 0 || len >= PATH_MAX)
        return false;
    memcpy(ret_own, own, len);
    ret_own[len] = '\0';
    return true;
}

/* The folders below which a group may be made, the better one first. */
enum { PLACES_MAX = 2 };
struct places {
    char paths[PLACES_MAX][PATH_MAX];
    size_t count;
};

static bool places_find(struct places *ret)
{
    AUTO_BUF struct buf mountinfo = BUF_INIT;
    AUTO_BUF struct buf groups = BUF_INIT;
    char mount[PATH_MAX], own[PATH_MAX];
    if (!text_read("/proc/self/mountinfo", &mountinfo) ||
        !text_read("/proc/self/cgroup", &groups) ||
        !cgroup_locate(mountinfo.data, groups.data, mount, own))
        return false;
    char *last = strrchr(own, '/');
    if (strcmp(last + 1, AGENT_GROUP) == 0)
        *(last == own ? last + 1 : last) = '\0';
    ret->count = 0;
    if (join(ret->paths[ret->count], mount, strcmp(own, "/") == 0 ? "" : own))
        ret->count++;
    if (geteuid() == 0 && join(ret->paths[ret->count], mount, TOP_GROUP))
        ret->count++;
    return ret->count > 0;
}

/* ---- Controllers ------------------------------------------------------------------------- */

static bool has_word(const char *text, const char *word)
{
    size_t len = strlen(word);
    for (const char *at = text; (at = strstr(at, word)); at += len) {
        if ((at == text || at[-1] == ' ') && strchr(" \n", at[len]))
            return true;
    }
    return false;
}

/* Whether systemd, or whoever made it, has handed the group over. */
static bool is_delegated(const char *path)
{
    char value[8];
    return getxattr(path, "user.delegate", value, sizeof(value)) > 0 ||
           getxattr(path, "trusted.delegate", value, sizeof(value)) > 0;
}

/* The group's processes, which are the agent's own, into one below it. */
static bool agent_move(const char *place)
{
    char inner[PATH_MAX], path[PATH_MAX];
    if (!join(inner, place, AGENT_GROUP) || !join(path, place, "cgroup.procs") ||
        (mkdir(inner, 0755) != 0 && errno != EEXIST))
        return false;
    for (int round = 0; round < MOVE_ROUNDS_MAX; round++) {
        AUTO_BUF struct buf pids = BUF_INIT;
        if (!text_read(path, &pids))
            return false;
        if (pids.data[0] == '\0')
            return true;
        char *rest = NULL;
        for (char *pid = strtok_r(pids.data, "\n", &rest); pid; pid = strtok_r(NULL, "\n", &rest))
            (void)text_write(inner, "cgroup.procs", pid);
    }
    return false;
}

/* Has the groups below `place` limited by that controller, as far as may be. */
static void controller_enable(const char *place, const char *name)
{
    AUTO_BUF struct buf offered = BUF_INIT;
    AUTO_BUF struct buf enabled = BUF_INIT;
    char path[PATH_MAX], word[32];
    if (!join(path, place, "cgroup.controllers") || !text_read(path, &offered) ||
        !has_word(offered.data, name) || !join(path, place, "cgroup.subtree_control") ||
        !text_read(path, &enabled) || has_word(enabled.data, name))
        return;
    (void)snprintf(word, sizeof(word), "+%s", name);
    if (text_write(place, "cgroup.subtree_control", word) == EBUSY && is_delegated(place) &&
        agent_move(place))
        (void)text_write(place, "cgroup.subtree_control", word);
}

void cgroup_limits_write(struct cgroup *group, const struct cgroup_limits *limits)
{
    char text[32];
    (void)snprintf(text, sizeof(text), "%" PRId64, limits->memory_bytes);
    group->has_memory =
        limits->memory_bytes > 0 && text_write(group->path, "memory.max", text) == 0;
    /* Else the limit is one of what stays in memory, and the rest goes to the disk. */
    if (group->has_memory)
        (void)text_write(group->path, "memory.swap.max", "0");
    (void)snprintf(text, sizeof(text), "%" PRId64, limits->pids);
    group->has_pids = limits->pids > 0 && text_write(group->path, "pids.max", text) == 0;
}

/* ---- Making ------------------------------------------------------------------------------ */

static bool is_top_group(const char *place)
{
    return strcmp(strrchr(place, '/') + 1, TOP_GROUP) == 0;
}

static bool top_group_make(const char *place)
{
    char top[PATH_MAX];
    memcpy(top, place, strlen(place) + 1);
    *strrchr(top, '/') = '\0';
    if (mkdir(place, 0755) != 0 && errno != EEXIST)
        return false;
    controller_enable(top, "memory");
    controller_enable(top, "pids");
    return true;
}

static bool group_make_at(const char *place, const char *name, const struct cgroup_limits *limits,
                          struct cgroup *ret_group)
{
    struct cgroup group = CGROUP_INIT;
    char path[PATH_MAX];
    if (is_top_group(place) && !top_group_make(place))
        return false;
    if (limits->memory_bytes > 0)
        controller_enable(place, "memory");
    if (limits->pids > 0)
        controller_enable(place, "pids");
    if (!join(group.path, place, name) || !join(path, group.path, "cgroup.procs") ||
        mkdir(group.path, 0755) != 0)
        return false;
    group.procs_fd = open(path, O_WRONLY | O_CLOEXEC);
    if (group.procs_fd < 0) {
        (void)rmdir(group.path);
        return false;
    }
    cgroup_limits_write(&group, limits);
    *ret_group = group;
    return true;
}

static bool is_enough(const struct cgroup *group, const struct cgroup_limits *limits)
{
    return (limits->memory_bytes == 0 || group->has_memory) &&
           (limits->pids == 0 || group->has_pids);
}

enum error_code cgroup_make(const char *name, const struct cgroup_limits *limits,
                            struct cgroup *ret_group, struct error *err)
{
    struct places places = {0};
    struct cgroup best = CGROUP_INIT;
    cgroup_end_named(name);
    if (!places_find(&places))
        return error_set(err, ERR_UNSUPPORTED, "there are no control groups of version 2");
    for (size_t i = 0; i < places.count; i++) {
        struct cgroup group = CGROUP_INIT;
        bool made = false;
        /* The top group goes with the last one in it, which may be just now. */
        for (int try = 0; !made && try < MAKE_TRIES; try++)
            made = group_make_at(places.paths[i], name, limits, &group);
        if (!made)
            continue;
        if (best.procs_fd >= 0 && !is_enough(&group, limits)) {
            (void)cgroup_end(&group);
            continue;
        }
        if (best.procs_fd >= 0)
            (void)cgroup_end(&best);
        best = group;
        if (is_enough(&best, limits))
            break;
    }
    if (best.procs_fd < 0)
        return error_set(err, ERR_UNSUPPORTED, "the agent may make no control group");
    *ret_group = best;
    return ERR_OK;
}

/* ---- Ending ------------------------------------------------------------------------------ */

bool cgroup_was_out_of_memory(const struct cgroup *group)
{
    AUTO_BUF struct buf events = BUF_INIT;
    char path[PATH_MAX];
    if (group->procs_fd < 0 || !join(path, group->path, "memory.events") ||
        !text_read(path, &events))
        return false;
    const char *kills = strstr(events.data, "oom_kill ");
    return kills && strtoull(kills + strlen("oom_kill "), NULL, 10) > 0;
}

/* Where the kernel has no cgroup.kill (before 5.14). */
static void kill_each(const char *path)
{
    AUTO_BUF struct buf pids = BUF_INIT;
    char file[PATH_MAX], *rest = NULL;
    if (!join(file, path, "cgroup.procs") || !text_read(file, &pids))
        return;
    for (char *pid = strtok_r(pids.data, "\n", &rest); pid; pid = strtok_r(NULL, "\n", &rest)) {
        long number = strtol(pid, NULL, 10);
        if (number > 1)
            (void)kill((pid_t)number, SIGKILL);
    }
}

/* A group with processes cannot be removed; the kernel tells when it has none any more. */
static bool leaf_remove(const char *path)
{
    char events[PATH_MAX];
    AUTO_CLOSE int fd = -1;
    if (join(events, path, "cgroup.events"))
        fd = open(events, O_RDONLY | O_CLOEXEC);
    for (int round = 0; round < WAIT_ROUNDS_MAX; round++) {
        char text[256];
        if (rmdir(path) == 0 || errno == ENOENT)
            return true;
        if (errno != EBUSY || fd < 0)
            return false;
        if (text_write(path, "cgroup.kill", "1") != 0)
            kill_each(path);
        if (pread(fd, text, sizeof(text), 0) < 0)
            return false;
        struct pollfd wait = {.fd = fd, .events = POLLPRI};
        if (rmdir(path) == 0)
            return true;
        if (poll(&wait, 1, WAIT_MS) == 0)
            return false;
    }
    return false;
}

static bool group_remove(const char *path)
{
    char place[PATH_MAX];
    if (!leaf_remove(path))
        return false;
    memcpy(place, path, strlen(path) + 1);
    *strrchr(place, '/') = '\0';
    if (is_top_group(place))
        (void)rmdir(place); /* unless there are others in it */
    return true;
}

bool cgroup_end(struct cgroup *group)
{
    if (group->procs_fd < 0)
        return true;
    (void)close(group->procs_fd);
    group->procs_fd = -1;
    return group_remove(group->path);
}

void cgroup_end_named(const char *name)
{
    struct places places = {0};
    if (!places_find(&places))
        return;
    for (size_t i = 0; i < places.count; i++) {
        char path[PATH_MAX];
        struct stat st;
        if (join(path, places.paths[i], name) && stat(path, &st) == 0)
            (void)group_remove(path);
    }
}
