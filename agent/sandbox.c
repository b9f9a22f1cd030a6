#include "agent/sandbox.h"

#include "common/base/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum { NOBODY = 65534 };

/* ---- User and limits --------------------------------------------------------------------------
 */

bool sandbox_user_find(struct sandbox_user *ret_user)
{
    const struct passwd *user = getpwnam(SANDBOX_USER);
    *ret_user = (struct sandbox_user){NOBODY, NOBODY};
    if (user && user->pw_uid != 0)
        *ret_user = (struct sandbox_user){user->pw_uid, user->pw_gid};
    return user && user->pw_uid != 0;
}

static bool limit(__rlimit_resource_t what, rlim_t value)
{
    struct rlimit now;
    if (getrlimit(what, &now) != 0)
        return false;
    if (now.rlim_max != RLIM_INFINITY && value > now.rlim_max)
        value = now.rlim_max;
    const struct rlimit wanted = {value, value};
    return setrlimit(what, &wanted) == 0;
}

static bool become(const struct sandbox_user *user)
{
    return setgroups(0, NULL) == 0 && setresgid(user->gid, user->gid, user->gid) == 0 &&
           setresuid(user->uid, user->uid, user->uid) == 0 &&
           /* And there is no way back. */
           setuid(0) != 0 && setgid(0) != 0;
}

enum error_code sandbox_enter(const struct sandbox_user *user, uint32_t files, struct error *err)
{
    pid_t parent = getppid();
    if (!limit(RLIMIT_CORE, 0) || !limit(RLIMIT_FSIZE, 0) || !limit(RLIMIT_NOFILE, files) ||
        !limit(RLIMIT_MEMLOCK, 0) || !limit(RLIMIT_MSGQUEUE, 0))
        return error_errno(err, errno, "limiting the network process");
    if (user && !become(user))
        return error_errno(err, errno, "changing the network process's user to %u",
                           (unsigned)user->uid);
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0 ||
        prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) != 0)
        return error_errno(err, errno, "giving up the network process's rights");
    if (getppid() != parent)
        return error_set(err, ERR_CANCELLED, "the agent has ended");
    return ERR_OK;
}

/* ---- System calls -----------------------------------------------------------------------------
 */

/* What a loop, its threads, name resolution, TLS and malloc take. */
static const int allowed[] = {
    SCMP_SYS(accept4), /* for the listening that libuv tests itself with */
    SCMP_SYS(access),
    SCMP_SYS(bind), /* of name resolution's netlink socket */
    SCMP_SYS(brk),
    SCMP_SYS(clock_getres),
    SCMP_SYS(clock_gettime),
    SCMP_SYS(clock_nanosleep),
    SCMP_SYS(close),
    SCMP_SYS(connect),
    SCMP_SYS(dup),
    SCMP_SYS(dup2),
    SCMP_SYS(dup3),
    SCMP_SYS(epoll_create1),
    SCMP_SYS(epoll_ctl),
    SCMP_SYS(epoll_pwait),
    SCMP_SYS(epoll_wait),
    SCMP_SYS(eventfd2),
    SCMP_SYS(exit),
    SCMP_SYS(exit_group),
    SCMP_SYS(faccessat),
    SCMP_SYS(faccessat2),
    SCMP_SYS(fcntl),
    SCMP_SYS(fstat),
    SCMP_SYS(futex),
    SCMP_SYS(getcwd),
    SCMP_SYS(getdents64),
    SCMP_SYS(getegid),
    SCMP_SYS(geteuid),
    SCMP_SYS(getgid),
    SCMP_SYS(getpeername),
    SCMP_SYS(getpid),
    SCMP_SYS(getppid),
    SCMP_SYS(getrandom),
    SCMP_SYS(getrusage),
    SCMP_SYS(getsockname),
    SCMP_SYS(getsockopt),
    SCMP_SYS(gettid),
    SCMP_SYS(gettimeofday),
    SCMP_SYS(getuid),
    SCMP_SYS(lseek),
    SCMP_SYS(lstat),
    SCMP_SYS(madvise),
    SCMP_SYS(membarrier),
    SCMP_SYS(mremap),
    SCMP_SYS(munmap),
    SCMP_SYS(nanosleep),
    SCMP_SYS(newfstatat),
    SCMP_SYS(pipe2),
    SCMP_SYS(poll),
    SCMP_SYS(ppoll),
    SCMP_SYS(pread64),
    SCMP_SYS(pselect6),
    SCMP_SYS(read),
    SCMP_SYS(readlink),
    SCMP_SYS(readlinkat),
    SCMP_SYS(readv),
    SCMP_SYS(recvfrom),
    SCMP_SYS(recvmmsg),
    SCMP_SYS(recvmsg),
    SCMP_SYS(restart_syscall),
    SCMP_SYS(rseq),
    SCMP_SYS(rt_sigaction),
    SCMP_SYS(rt_sigprocmask),
    SCMP_SYS(rt_sigreturn),
    SCMP_SYS(sched_getaffinity),
    SCMP_SYS(sched_yield),
    SCMP_SYS(select),
    SCMP_SYS(sendmmsg),
    SCMP_SYS(sendmsg),
    SCMP_SYS(sendto),
    SCMP_SYS(set_robust_list),
    SCMP_SYS(setsockopt),
    SCMP_SYS(shutdown),
    SCMP_SYS(sigaltstack),
    SCMP_SYS(stat),
    SCMP_SYS(statx),
    SCMP_SYS(sysinfo),
    SCMP_SYS(time),
    SCMP_SYS(uname),
    SCMP_SYS(write),
    SCMP_SYS(writev),
};

/* Nothing but somebody else's code would do these. */
static const int deadly[] = {
    SCMP_SYS(bpf),
    SCMP_SYS(execve),
    SCMP_SYS(execveat),
    SCMP_SYS(init_module),
    SCMP_SYS(finit_module),
    SCMP_SYS(kexec_load),
    SCMP_SYS(mount),
    SCMP_SYS(process_vm_readv),
    SCMP_SYS(process_vm_writev),
    SCMP_SYS(ptrace),
    SCMP_SYS(setns),
    SCMP_SYS(unshare),
    SCMP_SYS(userfaultfd),
};

static bool rule(scmp_filter_ctx ctx, uint32_t action, int call)
{
    int failed = seccomp_rule_add(ctx, action, call, 0);
    /* One that this machine does not have cannot be called on it either. */
    return failed == 0 || failed == -EDOM || failed == -EINVAL;
}

static bool rule_if(scmp_filter_ctx ctx, int call, struct scmp_arg_cmp condition)
{
    int failed = seccomp_rule_add_array(ctx, SCMP_ACT_ALLOW, call, 1, &condition);
    return failed == 0 || failed == -EDOM || failed == -EINVAL;
}

#define ARG_MASKED(arg, mask, value)                                                               \
    ((struct scmp_arg_cmp){(arg), SCMP_CMP_MASKED_EQ, (mask), (value)})
#define ARG_IS(arg, value) ((struct scmp_arg_cmp){(arg), SCMP_CMP_EQ, (value), 0})

static bool rules_of_files(scmp_filter_ctx ctx)
{
    const scmp_datum_t writing = O_ACCMODE | O_CREAT | O_TRUNC;
    return rule_if(ctx, SCMP_SYS(open), ARG_MASKED(1, writing, O_RDONLY)) &&
           rule_if(ctx, SCMP_SYS(openat), ARG_MASKED(2, writing, O_RDONLY));
}

/* TCP, UDP, and what name resolution asks the kernel; no local sockets, no raw ones. */
static bool rules_of_sockets(scmp_filter_ctx ctx)
{
    static const int families[] = {AF_INET, AF_INET6};
    static const int types[] = {SOCK_STREAM, SOCK_DGRAM};
    const scmp_datum_t bits = ~(scmp_datum_t)(SOCK_CLOEXEC | SOCK_NONBLOCK);
    bool good = true;
    for (size_t f = 0; f < ARRAY_LEN(families); f++) {
        for (size_t t = 0; t < ARRAY_LEN(types) && good; t++) {
            const struct scmp_arg_cmp both[] = {ARG_IS(0, (scmp_datum_t)families[f]),
                                                ARG_MASKED(1, bits, (scmp_datum_t)types[t])};
            good = seccomp_rule_add_array(ctx, SCMP_ACT_ALLOW, SCMP_SYS(socket), 2, both) == 0;
        }
    }
    const struct scmp_arg_cmp netlink[] = {ARG_IS(0, AF_NETLINK), ARG_MASKED(1, bits, SOCK_RAW),
                                           ARG_IS(2, 0)};
    return good && seccomp_rule_add_array(ctx, SCMP_ACT_ALLOW, SCMP_SYS(socket), 3, netlink) == 0;
}

/* Threads and no processes; code comes from files alone. */
static bool rules_of_memory(scmp_filter_ctx ctx)
{
    const scmp_datum_t thread = CLONE_THREAD | CLONE_VM | CLONE_SIGHAND;
    return rule_if(ctx, SCMP_SYS(clone), ARG_MASKED(0, thread, thread)) &&
           /* Its arguments cannot be seen from here; the C library then takes the other one. */
           seccomp_rule_add(ctx, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0) == 0 &&
           rule_if(ctx, SCMP_SYS(mmap), ARG_MASKED(2, PROT_EXEC, 0)) &&
           rule_if(ctx, SCMP_SYS(mmap), ARG_MASKED(2, PROT_EXEC | PROT_WRITE, PROT_EXEC)) &&
           rule_if(ctx, SCMP_SYS(mprotect), ARG_MASKED(2, PROT_EXEC, 0));
}

/* Its own limits, read; names of its threads; signals to itself (abort); what loops ask of sockets.
 */
static bool rules_of_process(scmp_filter_ctx ctx)
{
    static const unsigned long controls[] = {FIONBIO, FIONREAD, FIOCLEX};
    bool good = rule_if(ctx, SCMP_SYS(prlimit64), ARG_IS(2, 0)) &&
                rule_if(ctx, SCMP_SYS(prctl), ARG_IS(0, PR_SET_NAME)) &&
                rule_if(ctx, SCMP_SYS(tgkill), ARG_IS(0, (scmp_datum_t)getpid()));
    for (size_t i = 0; i < ARRAY_LEN(controls) && good; i++)
        good = rule_if(ctx, SCMP_SYS(ioctl), ARG_IS(1, controls[i]));
    return good;
}

enum error_code sandbox_close(struct error *err)
{
    scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ERRNO(EPERM));
    if (!ctx)
        return error_set(err, ERR_NO_MEMORY, NULL);
    bool good = seccomp_attr_set(ctx, SCMP_FLTATR_CTL_TSYNC, 1) == 0;
    for (size_t i = 0; i < ARRAY_LEN(allowed) && good; i++)
        good = rule(ctx, SCMP_ACT_ALLOW, allowed[i]);
    for (size_t i = 0; i < ARRAY_LEN(deadly) && good; i++)
        good = rule(ctx, SCMP_ACT_KILL_PROCESS, deadly[i]);
    good = good && rules_of_files(ctx) && rules_of_sockets(ctx) && rules_of_memory(ctx) &&
           rules_of_process(ctx);
    int failed = good ? seccomp_load(ctx) : -EINVAL;
    seccomp_release(ctx);
    if (failed != 0)
        return error_errno(err, -failed, "closing the network process's sandbox");
    return ERR_OK;
}
