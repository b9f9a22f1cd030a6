#include "handlers/proctree.h"

#include "common/base/alloc.h"
#include "common/base/cleanup.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <unistd.h>

enum {
    STAT_MAX = 1024, /* a line of /proc/PID/stat: 52 numbers and a name of 15 bytes */
    ENVIRON_CHUNK = 16 * 1024,
    PATH_BYTES = 64,
    KERNEL_THREAD_FLAG = 0x00200000 /* PF_KTHREAD of the flags in /proc/PID/stat */
};

struct entry {
    pid_t pid, parent, group, session;
    uint64_t start;
    bool alive;
    bool member;
    bool unknown;
};

struct table {
    struct entry *items;
    size_t count, capacity;
};

static void table_done(struct table *t)
{
    mem_free(t->items);
}

static void dir_close(DIR **dir)
{
    if (*dir)
        (void)closedir(*dir);
}

/* ---- One process ------------------------------------------------------------------------- */

/* False when it has ended meanwhile, which is nothing unusual. */
static bool entry_read(int proc_fd, pid_t pid, struct entry *ret)
{
    char path[PATH_BYTES];
    char text[STAT_MAX];
    (void)snprintf(path, sizeof(path), "%d/stat", pid);
    AUTO_CLOSE int fd = openat(proc_fd, path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    ssize_t len = read(fd, text, sizeof(text) - 1);
    if (len <= 0)
        return false;
    text[len] = '\0';
    /* The name is in brackets and may hold brackets itself. */
    const char *after_name = strrchr(text, ')');
    if (!after_name)
        return false;
    char state = 0;
    struct entry e = {.pid = pid};
    long threads = 0;
    unsigned flags = 0;
    /* Fields 3 to 6, 9, 20 and 22 of proc(5). */
    /* NOLINTNEXTLINE(cert-err34-c): the kernel's own numbers */
    int got = sscanf(after_name + 1,
                     " %c %d %d %d %*d %*d %u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %ld %*d "
                     "%" SCNu64,
                     &state, &e.parent, &e.group, &e.session, &flags, &threads, &e.start);
    if (got != 7)
        return false;
    /* A process whose first thread has ended shows as a zombie while its other threads go on. */
    bool kernel_thread = (flags & KERNEL_THREAD_FLAG) != 0;
    e.alive = ((state != 'Z' && state != 'X') || threads > 1) && !kernel_thread;
    *ret = e;
    return true;
}

/* A variable of an environment is looked for as the bytes stream by: `at` is how many of its bytes
 * have matched since the last NUL. */
struct matcher {
    const char *mark;
    size_t at;
    bool off; /* this variable is another one */
};

static char matcher_byte(const struct matcher *m, size_t at)
{
    size_t variable_len = sizeof(PROCTREE_MARK_VARIABLE) - 1;
    if (at < variable_len)
        return PROCTREE_MARK_VARIABLE[at];
    return m->mark[at - variable_len];
}

/* True when a chunk's bytes end the variable that is looked for. */
static bool matcher_feed(struct matcher *m, const char *data, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (m->off) {
            const char *end = memchr(data + i, '\0', len - i);
            if (!end)
                return false;
            i = (size_t)(end - data);
            m->off = false;
            m->at = 0;
            continue;
        }
        char expected = matcher_byte(m, m->at);
        if (data[i] != expected)
            m->off = data[i] != '\0';
        else if (expected == '\0')
            return true;
        m->at = data[i] == expected ? m->at + 1 : 0;
    }
    return false;
}

/* Sets e->member when its environment carries the mark, e->unknown when it has none to be seen. */
static void environment_look(int proc_fd, struct entry *e, const char *mark)
{
    char path[PATH_BYTES];
    char chunk[ENVIRON_CHUNK];
    (void)snprintf(path, sizeof(path), "%d/environ", e->pid);
    AUTO_CLOSE int fd = openat(proc_fd, path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    struct matcher m = {.mark = mark};
    size_t total = 0;
    for (;;) {
        ssize_t len = read(fd, chunk, sizeof(chunk));
        if (len < 0 && errno == EINTR)
            continue;
        if (len <= 0)
            break;
        total += (size_t)len;
        e->member = matcher_feed(&m, chunk, (size_t)len);
        if (e->member)
            return;
    }
    e->unknown = total == 0 && e->alive;
}

/* ---- All of them ------------------------------------------------------------------------- */

static enum error_code table_add(struct table *t, const struct entry *e, struct error *err)
{
    if (t->count == t->capacity) {
        size_t capacity = t->capacity ? t->capacity * 2 : 64;
        struct entry *items = mem_realloc(t->items, capacity * sizeof(*items));
        if (!items)
            return error_set(err, ERR_NO_MEMORY, NULL);
        t->items = items;
        t->capacity = capacity;
    }
    t->items[t->count++] = *e;
    return ERR_OK;
}

static enum error_code table_read(struct table *t, DIR *proc, const struct proctree_query *query,
                                  struct error *err)
{
    pid_t self = getpid();
    for (;;) {
        errno = 0;
        const struct dirent *item = readdir(proc);
        if (!item)
            return errno == 0 ? ERR_OK : error_errno(err, errno, "cannot read /proc");
        char *end = NULL;
        long pid = strtol(item->d_name, &end, 10);
        struct entry e;
        if (*end != '\0' || pid <= 0 || pid == self || pid == query->leader)
            continue;
        if (!entry_read(dirfd(proc), (pid_t)pid, &e) || e.start < query->leader_start)
            continue;
        if (query->leader != 0 &&
            (e.session == query->leader || e.group == query->leader || e.parent == query->leader))
            e.member = true;
        else
            environment_look(dirfd(proc), &e, query->mark);
        enum error_code code = table_add(t, &e, err);
        if (code != ERR_OK)
            return code;
    }
}

static int entry_order(const void *a, const void *b)
{
    const struct entry *left = a, *right = b;
    return (left->pid > right->pid) - (left->pid < right->pid);
}

/* What a member started is a member, whatever its environment says now. */
static void table_spread(struct table *t)
{
    qsort(t->items, t->count, sizeof(*t->items), entry_order);
    for (bool more = true; more;) {
        more = false;
        for (size_t i = 0; i < t->count; i++) {
            struct entry *e = &t->items[i];
            const struct entry key = {.pid = e->parent};
            if (e->member)
                continue;
            const struct entry *parent =
                bsearch(&key, t->items, t->count, sizeof(*t->items), entry_order);
            if (parent && parent->member)
                e->member = more = true;
        }
    }
}

/* Its pidfd, once it is sure that the number still means that process; -1 when it has ended, or
 * with *ret_unwatchable when no pidfd can be had. */
static int entry_open(int proc_fd, const struct entry *e, bool *ret_unwatchable)
{
    struct entry now;
    int fd = pidfd_open(e->pid, 0);
    *ret_unwatchable = fd < 0 && errno != ESRCH;
    if (fd < 0)
        return -1;
    if (entry_read(proc_fd, e->pid, &now) && now.start == e->start && now.alive)
        return fd;
    (void)close(fd);
    return -1;
}

static void signal_one(int fd, pid_t pid, int signal)
{
    if (fd >= 0) {
        (void)pidfd_send_signal(fd, signal, NULL, 0);
        /* A stopped process acts on a signal other than KILL when it goes on. */
        (void)pidfd_send_signal(fd, SIGCONT, NULL, 0);
    } else {
        (void)kill(pid, signal);
        (void)kill(pid, SIGCONT);
    }
}

static void tree_collect(const struct table *t, int proc_fd, const struct proctree_query *query,
                         struct proctree *tree)
{
    for (size_t i = 0; i < t->count; i++) {
        const struct entry *e = &t->items[i];
        bool unwatchable = false;
        if (!e->member || !e->alive)
            continue;
        int fd = entry_open(proc_fd, e, &unwatchable);
        if (fd < 0 && !unwatchable) {
            tree->unknown++;
            tree->unknown_sum += (uint64_t)e->pid;
            continue;
        }
        tree->alive++;
        if (query->signal != 0 && (query->leader == 0 || e->group != query->leader))
            signal_one(fd, e->pid, query->signal);
        if (fd >= 0 && tree->watched < PROCTREE_WATCH_MAX)
            tree->pidfds[tree->watched++] = fd;
        else if (fd >= 0)
            (void)close(fd);
    }
}

enum error_code proctree_scan(const struct proctree_query *query, struct proctree *ret_tree,
                              struct error *err)
{
    __attribute__((cleanup(table_done))) struct table table = {0};
    __attribute__((cleanup(dir_close))) DIR *proc = opendir("/proc");
    if (!proc)
        return error_errno(err, errno, "cannot read /proc");
    enum error_code code = table_read(&table, proc, query, err);
    if (code != ERR_OK)
        return code;
    if (table.count > 0)
        table_spread(&table);
    struct proctree tree = {0};
    size_t members = 0;
    for (size_t i = 0; i < table.count; i++) {
        members += table.items[i].member ? 1 : 0;
        if (table.items[i].unknown && !table.items[i].member) {
            tree.unknown++;
            tree.unknown_sum += (uint64_t)table.items[i].pid;
        }
    }
    if (members > 0) {
        size_t room = members < PROCTREE_WATCH_MAX ? members : PROCTREE_WATCH_MAX;
        tree.pidfds = mem_array(room, sizeof(*tree.pidfds));
        if (!tree.pidfds)
            return error_set(err, ERR_NO_MEMORY, NULL);
        tree_collect(&table, dirfd(proc), query, &tree);
    }
    *ret_tree = tree;
    return ERR_OK;
}

enum error_code proctree_start_time(pid_t pid, uint64_t *ret_start, struct error *err)
{
    struct entry e;
    AUTO_CLOSE int proc_fd = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (proc_fd < 0)
        return error_errno(err, errno, "cannot read /proc");
    if (!entry_read(proc_fd, pid, &e))
        return error_set(err, ERR_NOT_FOUND, "there is no process %d", pid);
    *ret_start = e.start;
    return ERR_OK;
}

void proctree_done(struct proctree *tree)
{
    for (size_t i = 0; i < tree->watched; i++)
        (void)close(tree->pidfds[i]);
    mem_free(tree->pidfds);
    *tree = (struct proctree){0};
}
