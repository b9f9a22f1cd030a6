#include "handlers/process.h"

#include "common/base/alloc.h"
#include "common/base/cleanup.h"
#include "handlers/cgroup.h"
#include "handlers/proctree.h"
#include "handlers/spawn.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <unistd.h>

/*
 * libuv's own uv_spawn() reaps a child the moment it ends, which frees its number for others while
 * members of its group may still live. Here the program is started with posix_spawn and stays a
 * zombie until its tree is gone. Ends of processes arrive through pidfds: those of the program and
 * of each process that a scan found are in one epoll set, and the loop watches that.
 */

enum {
    CHUNK_BYTES = 64 * 1024,
    DRAIN_MAX = 2 * 1024 * 1024, /* read at the end; more than a pipe holds */
    KILL_ROUNDS_MAX = 200,       /* scans that found new processes to kill */
    KILL_WAIT_MS = 30 * 1000,    /* for killed processes to be gone; some may hang in the kernel */
    RETRY_MS = 50,               /* until the next scan, for what cannot be watched */
    MARKED_WAIT_MS = 5 * 1000,
    UNKNOWN_RETRY_MS = 10, /* until what could not be seen is looked at again, and how often: a
                            * process may truly have an empty environment */
    UNKNOWN_SCANS_MAX = 10,
    HANDLES = 3
};

enum phase {
    PHASE_RUNNING,
    PHASE_LINGERING,   /* the program has ended, others of its tree have not */
    PHASE_TERMINATING, /* TERM was sent */
    PHASE_KILLING,     /* KILL was sent, and is to each that turns up */
    PHASE_CLOSING
};

struct process {
    uv_loop_t *loop;
    void *ctx;
    void (*output)(void *ctx, const char *data, size_t len);
    void (*exited)(void *ctx, int64_t exit_code, int signal);
    int64_t kill_grace_ms, linger_ms;
    char *mark_variable; /* "KITSUNE_RUN=<mark>" */

    pid_t pid;
    uint64_t start_time;
    int leader_fd; /* its pidfd */
    int epoll_fd;
    enum phase phase;
    bool leader_ended, output_ended;
    int64_t exit_code;
    int signal;

    struct proctree tree; /* as the last scan found it */
    size_t watched;       /* of it, still alive */
    int kill_rounds;
    bool seen_others;     /* a scan found more than the program itself */
    int unknown_scans;    /* the last ones that found nothing but the same to be looked at again */
    uint64_t unknown_sum; /* which they are; see proctree.h */
    int clean_scans;      /* the last ones that found nothing */

    bool scanning, scan_again;
    uv_work_t scan;
    struct proctree_query query;
    struct proctree found;
    enum error_code scan_code;

    uv_poll_t poll;
    uv_pipe_t pipe;
    uv_timer_t timer;
    uint64_t deadline_ms; /* of the phase, on the loop's clock */
    int closed;
    char chunk[CHUNK_BYTES];
};

static void phase_enter(struct process *p, enum phase phase);
static void scan_request(struct process *p);

static void process_free(struct process *p)
{
    if (!p)
        return;
    if (p->leader_fd >= 0)
        (void)close(p->leader_fd);
    if (p->epoll_fd >= 0)
        (void)close(p->epoll_fd);
    proctree_done(&p->tree);
    mem_free(p->mark_variable);
    mem_free(p);
}
DEFINE_CLEANUP(process_free, struct process)

/* ---- The end ----------------------------------------------------------------------------- */

static void handle_closed(uv_handle_t *handle)
{
    struct process *p = handle->data;
    if (++p->closed < HANDLES)
        return;
    p->exited(p->ctx, p->exit_code, p->signal);
    process_free(p);
}

/* What the tree wrote before it ended is in the pipe still. A process outside of the tree that was
 * handed the pipe cannot hold the end up. */
static void output_drain(struct process *p)
{
    uv_os_fd_t fd;
    size_t total = 0;
    if (p->output_ended || uv_fileno((const uv_handle_t *)&p->pipe, &fd) != 0)
        return;
    while (total < DRAIN_MAX) {
        ssize_t len = read(fd, p->chunk, sizeof(p->chunk));
        if (len < 0 && errno == EINTR)
            continue;
        if (len <= 0)
            return;
        p->output(p->ctx, p->chunk, (size_t)len);
        total += (size_t)len;
    }
}

static void process_finish(struct process *p)
{
    output_drain(p);
    p->phase = PHASE_CLOSING;
    (void)waitpid(p->pid, NULL, WNOHANG);
    uv_close((uv_handle_t *)&p->poll, handle_closed);
    uv_close((uv_handle_t *)&p->pipe, handle_closed);
    uv_close((uv_handle_t *)&p->timer, handle_closed);
}

static void process_give_up(struct process *p)
{
    static const char text[] = "\nsome processes of this step could not be ended\n";
    p->output(p->ctx, text, sizeof(text) - 1);
    if (!p->leader_ended)
        p->signal = SIGKILL;
    process_finish(p);
}

/* ---- The tree ---------------------------------------------------------------------------- */

static void scan_work(uv_work_t *work)
{
    struct process *p = work->data;
    p->scan_code = proctree_scan(&p->query, &p->found, NULL);
}

static void watch(struct process *p, int pidfd)
{
    struct epoll_event event = {.events = EPOLLIN, .data = {.fd = pidfd}};
    if (epoll_ctl(p->epoll_fd, EPOLL_CTL_ADD, pidfd, &event) == 0)
        p->watched++;
}

static void unwatch(const struct process *p, int pidfd)
{
    (void)epoll_ctl(p->epoll_fd, EPOLL_CTL_DEL, pidfd, NULL);
}

static void tree_replace(struct process *p)
{
    for (size_t i = 0; i < p->tree.watched; i++)
        unwatch(p, p->tree.pidfds[i]);
    proctree_done(&p->tree);
    p->tree = p->found;
    p->found = (struct proctree){0};
    p->watched = 0;
    for (size_t i = 0; i < p->tree.watched; i++)
        watch(p, p->tree.pidfds[i]);
}

static void timer_fired(uv_timer_t *timer);

static void timer_arm(struct process *p, uint64_t at_ms)
{
    uint64_t now = uv_now(p->loop);
    int rc = uv_timer_start(&p->timer, timer_fired, at_ms > now ? at_ms - now : 0, 0);
    assert(rc == 0);
}

static void timer_fired(uv_timer_t *timer)
{
    struct process *p = timer->data;
    if (uv_now(p->loop) < p->deadline_ms) {
        /* It was set for a further scan, after which it is the phase's again. */
        timer_arm(p, p->deadline_ms);
        scan_request(p);
        return;
    }
    switch (p->phase) {
    case PHASE_LINGERING:
        phase_enter(p, PHASE_TERMINATING);
        return;
    case PHASE_TERMINATING:
        phase_enter(p, PHASE_KILLING);
        return;
    case PHASE_KILLING:
        /* A scan under way holds the memory; its end gives up. */
        p->kill_rounds = KILL_ROUNDS_MAX;
        if (!p->scanning)
            process_give_up(p);
        return;
    case PHASE_RUNNING:
    case PHASE_CLOSING:
        return;
    }
}

static void timer_retry(struct process *p, uint64_t after_ms)
{
    uint64_t retry = uv_now(p->loop) + after_ms;
    timer_arm(p, retry < p->deadline_ms ? retry : p->deadline_ms);
}

/* Nothing of the tree was found. A process that forks and ends all the time can slip through one
 * scan, so where there was more than the program itself one is not enough. */
static void tree_absent(struct process *p)
{
    bool over = false;
    if (p->tree.unknown > 0) {
        p->clean_scans = 0;
        /* What is only starting another program is soon known, or gone and followed by another. */
        if (p->tree.unknown_sum != p->unknown_sum)
            p->unknown_scans = 0;
        p->unknown_sum = p->tree.unknown_sum;
        over = ++p->unknown_scans > UNKNOWN_SCANS_MAX;
    } else {
        over = ++p->clean_scans > (p->seen_others ? 1 : 0);
    }
    if (over)
        process_finish(p);
    else if (p->tree.unknown > 0)
        timer_retry(p, UNKNOWN_RETRY_MS);
    else
        scan_request(p);
}

static void scan_over(uv_work_t *work, int status)
{
    struct process *p = work->data;
    assert(status == 0);
    bool again = p->scan_again;
    bool complete = p->scan_code == ERR_OK;
    p->scanning = p->scan_again = false;
    tree_replace(p);
    if (complete && p->tree.alive == 0 && p->leader_ended) {
        tree_absent(p);
        return;
    }
    p->seen_others = p->seen_others || p->tree.alive > 0;
    p->unknown_scans = p->clean_scans = 0;
    if (p->phase == PHASE_KILLING && ++p->kill_rounds > KILL_ROUNDS_MAX) {
        process_give_up(p);
        return;
    }
    if (again) {
        scan_request(p);
    } else if (!complete || p->watched < p->tree.alive) {
        timer_retry(p, RETRY_MS);
    }
}

static int phase_signal(enum phase phase)
{
    switch (phase) {
    case PHASE_TERMINATING:
        return SIGTERM;
    case PHASE_KILLING:
        return SIGKILL;
    case PHASE_RUNNING:
    case PHASE_LINGERING:
    case PHASE_CLOSING:
        return 0;
    }
    return 0;
}

/* Signals the group now, and looks for all others on the thread pool. */
static void scan_request(struct process *p)
{
    int signal = phase_signal(p->phase);
    if (signal != 0) {
        /* The unreaped program keeps the group's number. */
        (void)kill(-p->pid, signal);
        (void)kill(-p->pid, SIGCONT);
    }
    if (p->scanning) {
        p->scan_again = true;
        return;
    }
    p->scanning = true;
    p->query = (struct proctree_query){
        .mark = p->mark_variable + sizeof(PROCTREE_MARK_VARIABLE) - 1,
        .leader = p->pid,
        .leader_start = p->start_time,
        .signal = signal,
    };
    int rc = uv_queue_work(p->loop, &p->scan, scan_work, scan_over);
    assert(rc == 0);
}

static void phase_enter(struct process *p, enum phase phase)
{
    int64_t wait_ms = phase == PHASE_LINGERING     ? p->linger_ms
                      : phase == PHASE_TERMINATING ? p->kill_grace_ms
                                                   : KILL_WAIT_MS;
    p->phase = phase;
    uv_update_time(p->loop);
    p->deadline_ms = uv_now(p->loop) + (uint64_t)wait_ms;
    timer_arm(p, p->deadline_ms);
    scan_request(p);
}

/* ---- Events ------------------------------------------------------------------------------ */

static void leader_end(struct process *p)
{
    siginfo_t info = {0};
    if (waitid(P_PID, (id_t)p->pid, &info, WEXITED | WNOHANG | WNOWAIT) != 0 || info.si_pid == 0)
        return;
    unwatch(p, p->leader_fd);
    p->leader_ended = true;
    if (info.si_code == CLD_EXITED)
        p->exit_code = info.si_status;
    else
        p->signal = info.si_status;
    if (p->phase == PHASE_RUNNING)
        phase_enter(p, PHASE_LINGERING);
    else if (p->watched == 0)
        scan_request(p);
}

/* Processes have ended. */
static void ends_ready(uv_poll_t *poll, int status, int uv_events)
{
    struct process *p = poll->data;
    struct epoll_event events[32];
    (void)status;
    (void)uv_events;
    int count = epoll_wait(p->epoll_fd, events, (int)ARRAY_LEN(events), 0);
    for (int i = 0; i < count; i++) {
        if (events[i].data.fd == p->leader_fd) {
            leader_end(p);
            continue;
        }
        unwatch(p, events[i].data.fd);
        p->watched--;
        if (p->watched == 0)
            scan_request(p);
    }
}

static void output_buffer(uv_handle_t *handle, size_t suggested, uv_buf_t *ret)
{
    struct process *p = handle->data;
    (void)suggested;
    *ret = uv_buf_init(p->chunk, sizeof(p->chunk));
}

static void output_ready(uv_stream_t *stream, ssize_t len, const uv_buf_t *buffer)
{
    struct process *p = stream->data;
    if (len > 0) {
        p->output(p->ctx, buffer->base, (size_t)len);
    } else if (len < 0) {
        p->output_ended = true;
        (void)uv_read_stop(stream);
    }
}

/* ---- The start --------------------------------------------------------------------------- */

/* Puts the running program under the loop's eyes. */
static enum error_code process_attach(struct process *p, struct error *err)
{
    p->leader_fd = pidfd_open(p->pid, 0);
    if (p->leader_fd < 0)
        return error_set(err, ERR_UNAVAILABLE, "cannot watch it: %s", strerror(errno));
    /* It is not reaped, so only a want of descriptors can hide it. */
    if (proctree_start_time(p->pid, &p->start_time, err) != ERR_OK)
        return error_set(err, ERR_UNAVAILABLE, "cannot read /proc/%d", p->pid);
    struct epoll_event event = {.events = EPOLLIN, .data = {.fd = p->leader_fd}};
    if (epoll_ctl(p->epoll_fd, EPOLL_CTL_ADD, p->leader_fd, &event) != 0)
        return error_set(err, ERR_UNAVAILABLE, "cannot watch it: %s", strerror(errno));
    int rc = uv_poll_init(p->loop, &p->poll, p->epoll_fd);
    if (rc != 0)
        return error_set(err, ERR_UNAVAILABLE, "cannot watch it: %s", uv_strerror(rc));
    return ERR_OK;
}

static void process_begin(struct process *p, int read_fd)
{
    int rc = uv_pipe_init(p->loop, &p->pipe, 0);
    assert(rc == 0);
    rc = uv_pipe_open(&p->pipe, read_fd);
    assert(rc == 0);
    rc = uv_timer_init(p->loop, &p->timer);
    assert(rc == 0);
    p->poll.data = p->pipe.data = p->timer.data = p->scan.data = p;
    rc = uv_poll_start(&p->poll, UV_READABLE, ends_ready);
    assert(rc == 0);
    rc = uv_read_start((uv_stream_t *)&p->pipe, output_buffer, output_ready);
    assert(rc == 0);
}

static struct process *process_new(const struct process_config *config)
{
    AUTO(process_free) struct process *p = MEM_NEW(struct process);
    if (!p)
        return NULL;
    p->leader_fd = p->epoll_fd = -1;
    p->loop = config->loop;
    p->ctx = config->ctx;
    p->output = config->output;
    p->exited = config->exited;
    p->kill_grace_ms = config->kill_grace_ms;
    p->linger_ms = config->linger_ms > 0 ? config->linger_ms : config->kill_grace_ms;
    size_t size = sizeof(PROCTREE_MARK_VARIABLE) + strlen(config->mark);
    p->mark_variable = mem_alloc(size);
    if (!p->mark_variable)
        return NULL;
    (void)snprintf(p->mark_variable, size, PROCTREE_MARK_VARIABLE "%s", config->mark);
    return TAKE(p);
}

enum error_code process_start(const struct process_config *config, struct process **ret_process,
                              struct error *err)
{
    assert(config->loop && config->program && config->mark && config->output && config->exited);
    AUTO_CLOSE int output_fd = -1;
    AUTO(process_free) struct process *p = process_new(config);
    if (!p)
        return error_set(err, ERR_NO_MEMORY, NULL);
    p->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (p->epoll_fd < 0)
        return error_set(err, ERR_UNAVAILABLE, "cannot watch processes: %s", strerror(errno));
    enum error_code code = spawn_program(config, p->mark_variable, &p->pid, &output_fd, err);
    if (code != ERR_OK)
        return code;
    code = process_attach(p, err);
    if (code != ERR_OK) {
        (void)kill(-p->pid, SIGKILL);
        (void)waitpid(p->pid, NULL, 0);
        return error_wrap(err, "%s", config->program);
    }
    process_begin(p, output_fd);
    output_fd = -1;
    *ret_process = TAKE(p);
    return ERR_OK;
}

void process_kill(struct process *p)
{
    if (p->phase == PHASE_RUNNING || p->phase == PHASE_LINGERING)
        phase_enter(p, PHASE_TERMINATING);
}

int process_pid(const struct process *p)
{
    return p->pid;
}

/* ---- What an earlier agent left behind --------------------------------------------------- */

/* Waits for them to end; false when some did not in time. */
static bool tree_await_end(const struct proctree *tree)
{
    struct pollfd fds[PROCTREE_WATCH_MAX];
    size_t left = tree->watched;
    for (size_t i = 0; i < tree->watched; i++)
        fds[i] = (struct pollfd){.fd = tree->pidfds[i], .events = POLLIN};
    while (left > 0) {
        int rc = poll(fds, tree->watched, MARKED_WAIT_MS);
        if (rc == 0 || (rc < 0 && errno != EINTR))
            return false;
        for (size_t i = 0; rc > 0 && i < tree->watched; i++) {
            if (fds[i].fd >= 0 && fds[i].revents != 0) {
                fds[i].fd = -1;
                left--;
            }
        }
    }
    return true;
}

size_t process_kill_marked(const char *mark)
{
    const struct proctree_query query = {.mark = mark, .signal = SIGKILL};
    size_t found = 0;
    int unknown_scans = 0;
    uint64_t unknown_sum = 0;
    for (int round = 0; round < KILL_ROUNDS_MAX; round++) {
        struct proctree tree = {0};
        if (proctree_scan(&query, &tree, NULL) != ERR_OK)
            break;
        if (tree.alive == 0) {
            unknown_scans = tree.unknown_sum == unknown_sum ? unknown_scans : 0;
            unknown_sum = tree.unknown_sum;
            if (tree.unknown == 0 || ++unknown_scans > UNKNOWN_SCANS_MAX)
                break;
            /* Nothing tells when a program has started. */
            (void)poll(NULL, 0, UNKNOWN_RETRY_MS);
            continue;
        }
        found += tree.alive;
        bool ended = tree_await_end(&tree);
        proctree_done(&tree);
        if (!ended)
            break;
    }
    char name[CGROUP_NAME_MAX];
    cgroup_name(mark, name);
    cgroup_end_named(name);
    return found;
}
