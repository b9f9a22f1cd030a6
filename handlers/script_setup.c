#include "handlers/script_setup.h"

#include "common/base/alloc.h"
#include "common/base/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static const char TEXT_PATH[] = "/proc/self/fd/3"; /* process_setup.text_fd */
static const char SHELL[] = "/bin/sh";

void script_setup_init(struct script_setup *setup)
{
    *setup = (struct script_setup){.group = CGROUP_INIT, .stdin_fd = -1, .text_fd = -1};
    setup->process = PROCESS_SETUP_INIT;
}

static void descriptor_close(int *fd)
{
    if (*fd >= 0)
        (void)close(*fd);
    *fd = -1;
}

void script_setup_done(struct script_setup *setup)
{
    descriptor_close(&setup->stdin_fd);
    descriptor_close(&setup->text_fd);
    descriptor_close(&setup->group.procs_fd);
}

static bool has_limits(const struct script_limits *limits)
{
    return limits->memory_bytes > 0 || limits->pids > 0 || limits->cpu_seconds > 0;
}

bool script_setup_is_needed(const struct script_params *params)
{
    return params->user || params->standard_input || has_limits(&params->limits);
}

/* ---- Files in memory --------------------------------------------------------------------- */

static enum error_code memory_fill(int fd, const char *text, const struct account *user,
                                   struct error *err)
{
    for (size_t left = strlen(text); left > 0;) {
        ssize_t len = write(fd, text, left);
        if (len < 0 && errno == EINTR)
            continue;
        if (len < 0)
            return error_errno(err, errno, "cannot write a file in memory");
        text += len;
        left -= (size_t)len;
    }
    if (fchmod(fd, 0700) != 0 || (user && fchown(fd, user->uid, user->gid) != 0) ||
        fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL) != 0 ||
        lseek(fd, 0, SEEK_SET) != 0)
        return error_errno(err, errno, "cannot seal a file in memory");
    return ERR_OK;
}

/* Nobody can change it any more, and but for root only that user can open it. */
static enum error_code memory_file(const char *name, const char *text, const struct account *user,
                                   int *ret_fd, struct error *err)
{
    int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0)
        return error_set(err, ERR_UNAVAILABLE, "cannot make a file in memory: %s", strerror(errno));
    enum error_code code = memory_fill(fd, text, user, err);
    if (code == ERR_OK)
        *ret_fd = fd;
    else
        (void)close(fd);
    return code;
}

/* ---- What is made first ------------------------------------------------------------------ */

static enum error_code user_make(const char *text, struct script_setup *setup, struct error *err)
{
    enum error_code code = account_find(text, &setup->user, err);
    if (code != ERR_OK)
        return code;
    if (geteuid() != 0 && setup->user.uid != geteuid())
        return error_set(err, ERR_DENIED, "cannot run as %s: the agent does not run as root",
                         setup->user.name);
    setup->process.user = &setup->user;
    return ERR_OK;
}

static void limits_tell(const struct script_limits *limits, const struct cgroup *group,
                        char ret_text[LIMITS_TEXT_MAX])
{
    static const char *const holders[] = {"rlimit", "control group"};
    size_t len = (size_t)snprintf(ret_text, LIMITS_TEXT_MAX, "limits:");
    if (limits->memory_bytes > 0)
        len += (size_t)snprintf(ret_text + len, LIMITS_TEXT_MAX - len,
                                " memory %" PRId64 " bytes (%s)", limits->memory_bytes,
                                holders[group->has_memory]);
    if (limits->pids > 0)
        len +=
            (size_t)snprintf(ret_text + len, LIMITS_TEXT_MAX - len, " processes %" PRId64 " (%s)",
                             limits->pids, holders[group->has_pids]);
    if (limits->cpu_seconds > 0)
        len += (size_t)snprintf(ret_text + len, LIMITS_TEXT_MAX - len,
                                " processor %" PRId64 " s (rlimit)", limits->cpu_seconds);
    (void)snprintf(ret_text + len, LIMITS_TEXT_MAX - len, "%s\n",
                   group->procs_fd < 0 ? "; no control group could be made" : "");
}

/* What the control group holds needs no rlimit: one of memory counts what is only reserved, and one
 * of processes all of the user's. */
static void limits_make(const struct handler_run *run, const struct script_limits *limits,
                        struct script_setup *setup)
{
    const struct cgroup_limits bounds = {.memory_bytes = limits->memory_bytes,
                                         .pids = limits->pids};
    char mark[HANDLER_MARK_MAX], name[CGROUP_NAME_MAX];
    struct error err = {0};
    handler_mark(run->host->server_id, run->rollout, run->step, mark);
    cgroup_name(mark, name);
    if (cgroup_make(name, &bounds, &setup->group, &err) != ERR_OK)
        setup->group = CGROUP_INIT;
    setup->process.procs_fd = setup->group.procs_fd;
    setup->process.address_space_bytes = setup->group.has_memory ? 0 : limits->memory_bytes;
    setup->process.pids = setup->group.has_pids ? 0 : limits->pids;
    setup->process.cpu_seconds = limits->cpu_seconds;
    limits_tell(limits, &setup->group, setup->limits_text);
}

enum error_code script_setup_make(const struct handler_run *run, struct script_setup *setup,
                                  struct error *err)
{
    const struct script_params *params = run->params;
    enum error_code code = params->user ? user_make(params->user, setup, err) : ERR_OK;
    if (code != ERR_OK || run->operation == HANDLER_PREPARE)
        return code;
    if (params->standard_input)
        code = memory_file("kitsune-stdin", params->standard_input, setup->process.user,
                           &setup->stdin_fd, err);
    if (code == ERR_OK && has_limits(&params->limits))
        limits_make(run, &params->limits, setup);
    return code;
}

/* ---- A program --------------------------------------------------------------------------- */

enum error_code script_setup_program(struct script_setup *setup, const struct script_params *params,
                                     const struct script_source *source, struct program *program,
                                     struct error *err)
{
    descriptor_close(&setup->text_fd);
    setup->has_interpreter = false;
    program->path = source->program;
    if (source->text) {
        enum error_code code =
            memory_file("kitsune-script", source->text, setup->process.user, &setup->text_fd, err);
        if (code != ERR_OK)
            return code;
        setup->has_interpreter = params->interpreter || strncmp(source->text, "#!", 2) != 0;
        program->path = !setup->has_interpreter ? TEXT_PATH
                        : params->interpreter   ? params->interpreter
                                                : SHELL;
    }
    /* The one before has read it. */
    if (setup->stdin_fd >= 0 && lseek(setup->stdin_fd, 0, SEEK_SET) != 0)
        return error_errno(err, errno, "cannot rewind its standard input");
    setup->process.stdin_fd = setup->stdin_fd;
    setup->process.text_fd = setup->text_fd;
    setup->process.umask = params->umask ? (int)strtoul(params->umask, NULL, 8) : -1;
    bool plain = setup->stdin_fd < 0 && setup->text_fd < 0 && !params->umask && !params->user &&
                 !has_limits(&params->limits);
    program->setup = plain ? NULL : &setup->process;
    return ERR_OK;
}

enum error_code script_setup_args(const struct array *args, void **ret_items,
                                  struct array *ret_args, struct error *err)
{
    const char **items = mem_array(args->count + 1, sizeof(*items));
    if (!items)
        return error_set(err, ERR_NO_MEMORY, NULL);
    items[0] = TEXT_PATH;
    for (size_t i = 0; i < args->count; i++)
        items[i + 1] = *ARRAY_AT(args, char *, i);
    *ret_items = items;
    *ret_args = (struct array){.items = items, .count = args->count + 1};
    return ERR_OK;
}

/* ---- The end ----------------------------------------------------------------------------- */

bool script_setup_has_group(const struct script_setup *setup)
{
    return setup->group.procs_fd >= 0;
}

void script_setup_end(struct script_setup *setup)
{
    setup->out_of_memory = cgroup_was_out_of_memory(&setup->group);
    setup->group_left = !cgroup_end(&setup->group);
}
