#include "common/base/alloc.h"
#include "common/base/buf.h"
#include "common/base/cleanup.h"
#include "common/base/text.h"
#include "common/json/json.h"
#include "handlers/builtin.h"
#include "handlers/process.h"
#include "handlers/rpmdb.h"
#include "handlers/yum_plan.h"

#include <assert.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

/*
 * An execute or rollback asks the package database what is installed, plans the changes, runs dnf
 * once for each verb among them, and asks again: the second plan must be empty.
 *
 * A check plans the changes too, and has dnf resolve each of them (--assumeno) without asking
 * again.
 *
 * The database is asked on the thread pool, dnf runs as a process; one of them is under way at any
 * time.
 */

enum {
    INSTANCES_MAX = 1024,
    FIXED_ARGUMENTS = 8,
    TAIL_MAX = 256, /* of dnf's output, for the message */
    CONFLICT_TEXT_MAX = 512,
    /* rpm puts TERM off until its transaction is over, and a transaction that is killed leaves the
     * package database in between. */
    KILL_GRACE_MIN_MS = 60 * 1000
};

/* ---- What prepare captures --------------------------------------------------------------- */

struct yum_undo {
    char *package;
    struct array installed; /* struct rpm_package */
};

static const struct json_field package_fields[] = {
    {.name = "name",
     .type = JSON_STRING,
     JSON_AT(struct rpm_package, name),
     .flags = JSON_REQUIRED,
     .min = 1,
     .doc = "Its name."},
    {.name = "epoch",
     .type = JSON_INT,
     JSON_AT(struct rpm_package, epoch),
     .min = 0,
     .max = UINT32_MAX,
     .doc = "Its epoch; 0 when it has none."},
    {.name = "version",
     .type = JSON_STRING,
     JSON_AT(struct rpm_package, version),
     .flags = JSON_REQUIRED,
     .doc = "Its version."},
    {.name = "release",
     .type = JSON_STRING,
     JSON_AT(struct rpm_package, release),
     .flags = JSON_REQUIRED,
     .doc = "Its release."},
    {.name = "arch",
     .type = JSON_STRING,
     JSON_AT(struct rpm_package, arch),
     .flags = JSON_REQUIRED,
     .doc = "Its architecture."},
};
static const struct json_table package_table =
    JSON_TABLE("package", struct rpm_package, package_fields, "An installed package.");
static const struct json_field package_item = {.type = JSON_OBJECT, .table = &package_table};

static const struct json_field undo_fields[] = {
    {.name = "package",
     .type = JSON_STRING,
     JSON_AT(struct yum_undo, package),
     .flags = JSON_REQUIRED,
     .min = 1,
     .doc = "What the step names."},
    {.name = "installed",
     .type = JSON_ARRAY,
     JSON_AT(struct yum_undo, installed),
     .flags = JSON_REQUIRED,
     .min = 1,
     .max = INSTANCES_MAX,
     .item = &package_item,
     .doc = "Each instance that was installed."},
};
static const struct json_table undo_table =
    JSON_TABLE("yum_upgrade undo", struct yum_undo, undo_fields, "A package as it was.");

static void undo_done(struct yum_undo *undo)
{
    json_release(&undo_table, undo);
}
#define AUTO_UNDO __attribute__((cleanup(undo_done)))
#define AUTO_INSTALLED __attribute__((cleanup(rpm_installed_done)))

/* ---- A run ------------------------------------------------------------------------------- */

enum stage { STAGE_PLAN, STAGE_CHANGE, STAGE_CHECK };

struct yum {
    struct handler_run *run;
    enum stage stage;
    bool cancelled;
    uv_work_t work;
    bool working;
    struct process *process; /* NULL when none runs */
    const char *program;
    enum yum_verb verb; /* of the command under way */
    bool changed;       /* a command was run */
    char tail[TAIL_MAX];
    size_t tail_len;

    /* Results of the work. */
    enum error_code code;
    struct error err;
    struct yum_plan plan;
    char *undo;
    char conflict[CONFLICT_TEXT_MAX]; /* "": none */
};

static void changes_next(struct yum *y, enum yum_verb from);

static void yum_finish(struct yum *y, struct handler_result *result)
{
    struct handler_run *run = y->run;
    if (y->cancelled)
        result->outcome = HANDLER_CANCELLED;
    result->undo = TAKE(y->undo);
    yum_plan_done(&y->plan);
    run->state = NULL;
    mem_free(y);
    handler_finish(run, result);
}

static const char *installroot(const struct handler_run *run)
{
    const struct yum_upgrade_params *params = run->params;
    return params->installroot ? params->installroot : run->host->installroot;
}

/* ---- On the thread pool ------------------------------------------------------------------ */

/* What is installed; ERR_CONFLICT when a transaction was cut off, which nothing here mends. */
static enum error_code look(const struct handler_run *run, const char *package,
                            struct rpm_installed *ret_installed, struct error *err)
{
    enum error_code code = rpmdb_installed(installroot(run), package, ret_installed, err);
    if (code != ERR_OK || !ret_installed->clash)
        return code;
    return error_set(err, ERR_CONFLICT,
                     "two versions of %s are installed over each other: a package transaction was "
                     "cut off (`dnf check` and `dnf remove --duplicates` settle it)",
                     package);
}

static enum error_code capture(const struct handler_run *run, char **ret_text, struct error *err)
{
    const struct yum_upgrade_params *params = run->params;
    AUTO_INSTALLED struct rpm_installed installed = {0};
    AUTO_BUF struct buf text = {.max = HANDLER_UNDO_MAX};
    AUTO_FREE char *package = mem_strdup(params->package);
    enum error_code code = look(run, params->package, &installed, err);
    if (code != ERR_OK)
        return code;
    if (installed.packages.count == 0)
        return error_set(err, ERR_NOT_FOUND,
                         "%s is not installed; yum_upgrade changes installed packages only",
                         params->package);
    if (!package)
        return error_set(err, ERR_NO_MEMORY, NULL);
    const struct yum_undo undo = {.package = package, .installed = installed.packages};
    json_encode(&text, &undo_table, &undo);
    code = buf_check(&text, err);
    if (code != ERR_OK)
        return code;
    *ret_text = buf_take(&text, NULL);
    return *ret_text ? ERR_OK : error_set(err, ERR_NO_MEMORY, NULL);
}

static enum error_code plan_execute(const struct handler_run *run, struct yum_plan *ret_plan,
                                    struct error *err)
{
    const struct yum_upgrade_params *params = run->params;
    AUTO_INSTALLED struct rpm_installed installed = {0};
    __attribute__((cleanup(rpm_version_done))) struct rpm_version wanted = {0};
    enum error_code code = rpm_version_parse(params->version, &wanted, err);
    if (code == ERR_OK)
        code = look(run, params->package, &installed, err);
    if (code != ERR_OK)
        return code;
    if (installed.packages.count == 0)
        return error_set(err, ERR_NOT_FOUND, "%s is not installed", params->package);
    return yum_plan_wanted(&installed.packages, &wanted, installed.arch_given, ret_plan, err);
}

/* Whether somebody else has changed the package since; says what was found, and what was expected.
 */
static enum error_code conflict_find(struct yum *y, const struct yum_undo *undo,
                                     const struct array *installed)
{
    const struct yum_upgrade_params *params = y->run->params;
    char found[YUM_REASON_MAX], before[YUM_REASON_MAX];
    __attribute__((cleanup(rpm_version_done))) struct rpm_version wanted = {0};
    enum error_code code = rpm_version_parse(params->version, &wanted, &y->err);
    if (code != ERR_OK)
        return code;
    const struct rpm_package *foreign = yum_plan_foreign(&undo->installed, installed, &wanted);
    if (!foreign)
        return ERR_OK;
    yum_package_text(foreign, found, sizeof(found));
    yum_package_text(ARRAY_AT(&undo->installed, struct rpm_package, 0), before, sizeof(before));
    (void)snprintf(
        y->conflict, sizeof(y->conflict),
        "changed by somebody else since: %.100s is at %.80s, expected were %.80s as this "
        "step left it, or %.80s as it was before",
        foreign->name, found, params->version, before);
    return ERR_OK;
}

static enum error_code plan_rollback(struct yum *y)
{
    const struct handler_run *run = y->run;
    struct error *err = &y->err;
    AUTO_UNDO struct yum_undo undo = {0};
    AUTO_INSTALLED struct rpm_installed installed = {0};
    enum error_code code =
        json_read(run->undo, strlen(run->undo), HANDLER_UNDO_MAX, &undo_table, &undo, err);
    if (code != ERR_OK)
        return error_wrap(err, "what prepare captured");
    code = look(run, undo.package, &installed, err);
    if (code != ERR_OK)
        return code;
    /* Later it would be about what dnf itself has just done. */
    if (y->stage == STAGE_PLAN && !run->force) {
        code = conflict_find(y, &undo, &installed.packages);
        if (code != ERR_OK || y->conflict[0] != '\0')
            return code;
    }
    return yum_plan_back(&undo.installed, &installed.packages, &y->plan, err);
}

static void yum_work(uv_work_t *work)
{
    struct yum *y = work->data;
    switch (y->run->operation) {
    case HANDLER_PREPARE:
        y->code = capture(y->run, &y->undo, &y->err);
        return;
    case HANDLER_EXECUTE:
    case HANDLER_CHECK:
        y->code = plan_execute(y->run, &y->plan, &y->err);
        return;
    case HANDLER_ROLLBACK:
        y->code = plan_rollback(y);
        return;
    }
}

/* ---- dnf --------------------------------------------------------------------------------- */

/* Keeps the end of the output. */
static void tail_add(struct yum *y, const char *data, size_t len)
{
    if (len >= TAIL_MAX) {
        data += len - TAIL_MAX;
        len = TAIL_MAX;
    }
    size_t kept = y->tail_len < TAIL_MAX - len ? y->tail_len : TAIL_MAX - len;
    memmove(y->tail, y->tail + y->tail_len - kept, kept);
    memcpy(y->tail + kept, data, len);
    y->tail_len = kept + len;
}

/* The last line of it that is not empty, when it is fit to be shown. */
static const char *tail_line(const struct yum *y, int *ret_len)
{
    size_t end = y->tail_len;
    while (end > 0 && (y->tail[end - 1] == '\n' || y->tail[end - 1] == ' '))
        end--;
    size_t begin = end;
    while (begin > 0 && y->tail[begin - 1] != '\n')
        begin--;
    *ret_len = (int)(end - begin);
    return end > begin && text_utf8_valid(y->tail + begin, end - begin, NULL) ? y->tail + begin
                                                                              : NULL;
}

static void command_output(void *ctx, const char *data, size_t len)
{
    struct yum *y = ctx;
    tail_add(y, data, len);
    y->run->output(y->run, data, len);
}

static void command_failed(struct yum *y, int64_t exit_code, int signal)
{
    struct handler_result result = {.changed = y->changed};
    int len = 0;
    const char *line = tail_line(y, &len);
    if (signal != 0) {
        const char *name = sigabbrev_np(signal);
        result_fail(&result, true, "%s was killed by signal %d (%s)", y->program, signal,
                    name ? name : "?");
    } else {
        result.has_exit_code = true;
        result.exit_code = exit_code;
        result_fail(&result, true, "%s %s: exit status %" PRId64 "%s%.*s", y->program,
                    yum_verb_name(y->verb), exit_code, line ? ": " : "", line ? len : 0,
                    line ? line : "");
    }
    yum_finish(y, &result);
}

/* Told not to go on, dnf ends as if it had failed, but for its last line: it has resolved all. */
static bool resolved(const struct yum *y, int64_t exit_code, int signal)
{
    static const char *const ends[] = {"Operation aborted.", "Exiting on user command"};
    int len = 0;
    const char *line = tail_line(y, &len);
    for (size_t i = 0; i < ARRAY_LEN(ends) && line && signal == 0 && exit_code == 1; i++) {
        if ((size_t)len == strlen(ends[i]) && memcmp(line, ends[i], (size_t)len) == 0)
            return true;
    }
    return false;
}

static void command_exited(void *ctx, int64_t exit_code, int signal)
{
    struct yum *y = ctx;
    y->process = NULL;
    if (y->run->operation == HANDLER_CHECK && resolved(y, exit_code, signal))
        exit_code = 0;
    if (signal != 0 || exit_code != 0 || y->cancelled)
        command_failed(y, exit_code, signal);
    else
        changes_next(y, (enum yum_verb)(y->verb + 1));
}

static enum error_code program_start(struct yum *y, const char *const *args, struct error *err)
{
    const struct handler_run *run = y->run;
    const char *const candidates[] = {run->host->yum_program ? run->host->yum_program : "dnf",
                                      run->host->yum_program ? NULL : "yum"};
    /* Messages and names of files come as UTF-8 and in English, whatever the agent's locale is. */
    const char *const env[] = {"LC_ALL=C.UTF-8", NULL};
    int64_t grace_ms = run->host->kill_grace_ms;
    char mark[HANDLER_MARK_MAX];
    handler_mark(run->host->server_id, run->rollout, run->step, mark);
    struct process_config config = {
        .loop = run->host->loop,
        .args = args,
        .env = env,
        .mark = mark,
        .kill_grace_ms = grace_ms > KILL_GRACE_MIN_MS ? grace_ms : KILL_GRACE_MIN_MS,
        .linger_ms = grace_ms,
        .ctx = y,
        .output = command_output,
        .exited = command_exited,
    };
    enum error_code code = ERR_NOT_FOUND;
    for (size_t i = 0; i < ARRAY_LEN(candidates) && candidates[i] && code == ERR_NOT_FOUND; i++) {
        config.program = y->program = candidates[i];
        code = process_start(&config, &y->process, err);
    }
    return code;
}

static enum error_code command_start(struct yum *y, struct error *err)
{
    const struct array *specs = &y->plan.specs[y->verb];
    const char *root = installroot(y->run);
    AUTO_BUF struct buf root_option = BUF_INIT;
    AUTO_FREE const char **args = mem_array(specs->count + FIXED_ARGUMENTS, sizeof(*args));
    size_t count = 0;
    if (!args)
        return error_set(err, ERR_NO_MEMORY, NULL);
    args[count++] = y->run->operation == HANDLER_CHECK ? "--assumeno" : "-y";
    if (root && strcmp(root, "/") != 0) {
        buf_printf(&root_option, "--installroot=%s", root);
        enum error_code code = buf_check(&root_option, err);
        if (code != ERR_OK)
            return code;
        args[count++] = root_option.data;
    }
    /* Says why the version cannot be had, where it would pass it over. */
    args[count++] = "--setopt=best=True";
    /* Takes no package away that the step does not name. */
    args[count++] = "--setopt=clean_requirements_on_remove=False";
    args[count++] = yum_verb_name(y->verb);
    assert(count < FIXED_ARGUMENTS);
    for (size_t i = 0; i < specs->count; i++)
        args[count++] = *ARRAY_AT(specs, char *, i);
    y->tail_len = 0;
    return program_start(y, args, err);
}

/* ---- The course of a run ----------------------------------------------------------------- */

static void finish_unchanged(struct yum *y)
{
    const struct yum_upgrade_params *params = y->run->params;
    struct handler_result result = {0};
    switch (y->run->operation) {
    case HANDLER_PREPARE:
        result_succeed(&result, false, "captured");
        break;
    case HANDLER_EXECUTE:
        result_succeed(&result, y->changed, "%s is at %s%s", params->package, params->version,
                       y->changed ? "" : " already");
        break;
    case HANDLER_CHECK:
        result_succeed(&result, false, "%s is at %s already", params->package, params->version);
        break;
    case HANDLER_ROLLBACK:
        result_succeed(&result, false, "%s is as it was", params->package);
        break;
    }
    yum_finish(y, &result);
}

static void finish_checked(struct yum *y)
{
    struct handler_result result = {0};
    result_succeed(&result, true, "would change %s", y->plan.change);
    yum_finish(y, &result);
}

static void finish_unmet(struct yum *y)
{
    struct handler_result result = {.changed = y->changed};
    const struct yum_upgrade_params *params = y->run->params;
    bool advise = y->run->operation == HANDLER_EXECUTE && !strchr(params->version, ':');
    result_fail(&result, true, "%s ended well, but %s%s", y->program, y->plan.reason,
                advise ? " (a package with an epoch needs it in the version, as in 1:2.0-1)" : "");
    yum_finish(y, &result);
}

static void plan_ready(uv_work_t *work, int status)
{
    struct yum *y = work->data;
    y->working = false;
    if (status == UV_ECANCELED || y->cancelled) {
        struct handler_result result = {0};
        yum_finish(y, &result);
    } else if (y->code != ERR_OK) {
        struct handler_result result = {.changed = y->changed};
        result_fail_error(&result, &y->err);
        yum_finish(y, &result);
    } else if (y->conflict[0] != '\0') {
        struct handler_result result = {0};
        result_conflict(&result, y->run, "%s", y->conflict);
        yum_finish(y, &result);
    } else if (y->plan.count == 0) {
        finish_unchanged(y);
    } else if (y->stage == STAGE_CHECK) {
        finish_unmet(y);
    } else {
        y->stage = STAGE_CHANGE;
        changes_next(y, (enum yum_verb)0);
    }
}

static void plan_request(struct yum *y, enum stage stage)
{
    y->stage = stage;
    y->working = true;
    yum_plan_done(&y->plan);
    int rc = uv_queue_work(y->run->host->loop, &y->work, yum_work, plan_ready);
    assert(rc == 0);
}

/* Runs dnf for the next verb that has something to change; after the last, looks what came of it.
 */
static void changes_next(struct yum *y, enum yum_verb from)
{
    struct error err = {0};
    y->verb = from;
    while (y->verb < YUM_VERB_COUNT && y->plan.specs[y->verb].count == 0)
        y->verb++;
    if (y->verb == YUM_VERB_COUNT) {
        if (y->run->operation == HANDLER_CHECK)
            finish_checked(y);
        else
            plan_request(y, STAGE_CHECK);
        return;
    }
    if (command_start(y, &err) == ERR_OK) {
        y->changed = y->run->operation != HANDLER_CHECK;
        return;
    }
    struct handler_result result = {.changed = y->changed};
    result_fail_error(&result, &err);
    yum_finish(y, &result);
}

static void yum_start(struct handler_run *run)
{
    struct yum *y = MEM_NEW(struct yum);
    if (!y) {
        handler_fail(run, true, "out of memory");
        return;
    }
    y->run = run;
    y->work.data = y;
    run->state = y;
    plan_request(y, STAGE_PLAN);
}

static void yum_cancel(struct handler_run *run)
{
    struct yum *y = run->state;
    if (!y)
        return;
    y->cancelled = true;
    if (y->process)
        process_kill(y->process);
    else if (y->working)
        (void)uv_cancel((uv_req_t *)&y->work);
}

const struct handler yum_upgrade_handler = {
    .type = &yum_upgrade_type,
    .prepare = yum_start,
    .execute = yum_start,
    .rollback = yum_start,
    .check = yum_start,
    .cancel = yum_cancel,
};
