#include "handlers/unit.h"

#include "common/base/alloc.h"
#include "common/base/cleanup.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

#define X(value, name) [value] = (name),
const char *const unit_job_names[UNIT_JOB_COUNT] = {UNIT_JOBS(X)};
#undef X

static void texts_done(struct array *texts)
{
    for (size_t i = 0; i < texts->count; i++)
        mem_free(*ARRAY_AT(texts, char *, i));
    mem_free(texts->items);
    *texts = (struct array){0};
}

void unit_done(struct unit *u)
{
    texts_done(&u->names);
    texts_done(&u->drop_ins);
}

/* ---- States ------------------------------------------------------------------------------ */

static bool one_of(const char *text, const char *const *texts, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(text, texts[i]) == 0)
            return true;
    }
    return false;
}
#define ONE_OF(text, ...)                                                                          \
    one_of(text, (const char *const[]){__VA_ARGS__},                                               \
           sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *))

bool unit_exists(const struct unit *u)
{
    return strcmp(u->load_state, "not-found") != 0;
}

bool unit_is_up(const struct unit *u)
{
    return ONE_OF(u->active_state, "active", "reloading", "refreshing");
}

bool unit_is_down(const struct unit *u)
{
    return ONE_OF(u->active_state, "inactive", "failed");
}

bool unit_is_meant_up(const struct unit *u)
{
    return unit_is_up(u) || strcmp(u->active_state, "activating") == 0;
}

bool unit_is_enabled(const struct unit *u)
{
    return ONE_OF(u->file_state, "enabled", "enabled-runtime");
}

/* ---- What can be done -------------------------------------------------------------------- */

static enum error_code check_loaded(const struct unit *u, struct error *err)
{
    if (!unit_exists(u))
        return error_set(err, ERR_NOT_FOUND, "there is no unit %s", u->id);
    if (!ONE_OF(u->load_state, "loaded", "masked", "merged"))
        return error_set(err, ERR_INVALID, "%s cannot be loaded (%s)%s%s", u->id, u->load_state,
                         u->load_error[0] != '\0' ? ": " : "", u->load_error);
    return ERR_OK;
}

static enum error_code check_enabling(const struct unit *u, struct error *err)
{
    if (strcmp(u->file_state, "static") == 0)
        return error_set(err, ERR_UNSUPPORTED,
                         "%s cannot be enabled: its file has no [Install] section, other units "
                         "start it",
                         u->id);
    if (ONE_OF(u->file_state, "", "generated", "transient", "bad"))
        return error_set(err, ERR_UNSUPPORTED, "%s cannot be enabled: %s%s", u->id,
                         u->file_state[0] != '\0' ? "its unit file is " : "it has no unit file",
                         u->file_state);
    return ERR_OK;
}

enum error_code unit_check(const struct unit *u, const struct service_params *params,
                           struct error *err)
{
    bool enable = params->has_enabled && params->enabled;
    enum error_code code = check_loaded(u, err);
    if (code != ERR_OK)
        return code;
    if (strcmp(u->load_state, "masked") == 0) {
        if (enable || (params->state != SERVICE_STOPPED && params->state != SERVICE_LEAVE))
            return error_set(err, ERR_DENIED, "%s is masked: unmask it first", u->id);
        if (params->state == SERVICE_STOPPED && !unit_is_down(u))
            return error_set(err, ERR_DENIED,
                             "%s is masked and runs: once stopped it could not be started again",
                             u->id);
        return ERR_OK;
    }
    return enable && !unit_is_enabled(u) ? check_enabling(u, err) : ERR_OK;
}

bool unit_needs_enabling(const struct unit *u, const struct service_params *params)
{
    if (!params->has_enabled)
        return false;
    /* What a reboot forgets is not enabled for good. */
    return params->enabled ? strcmp(u->file_state, "enabled") != 0 : unit_is_enabled(u);
}

enum error_code unit_job_forward(const struct unit *u, const struct service_params *params,
                                 enum unit_job *ret_job, struct error *err)
{
    enum unit_job job = UNIT_JOB_NONE;
    switch ((enum service_state)params->state) {
    case SERVICE_STARTED:
        job = unit_is_up(u) ? UNIT_JOB_NONE : UNIT_JOB_START;
        break;
    case SERVICE_STOPPED:
        job = unit_is_down(u) ? UNIT_JOB_NONE : UNIT_JOB_STOP;
        break;
    case SERVICE_RESTARTED:
        job = UNIT_JOB_RESTART;
        break;
    case SERVICE_RELOADED:
        if (!unit_is_up(u))
            return error_set(err, ERR_CONFLICT, "%s does not run (%s), so it cannot reload", u->id,
                             u->active_state);
        if (!u->can_reload)
            return error_set(err, ERR_UNSUPPORTED,
                             "%s cannot reload: use \"restarted\" in place of \"reloaded\"", u->id);
        job = UNIT_JOB_RELOAD;
        break;
    case SERVICE_LEAVE:
    case SERVICE_STATE_COUNT:
        break;
    }
    *ret_job = job;
    return ERR_OK;
}

enum unit_job unit_job_back(const struct unit *u, const struct service_params *params, bool was_up)
{
    if (!was_up)
        return unit_is_down(u) ? UNIT_JOB_NONE : UNIT_JOB_STOP;
    switch ((enum service_undo)params->undo) {
    case SERVICE_UNDO_DEFERRED:
        return UNIT_JOB_NONE;
    case SERVICE_UNDO_RESTART:
        return UNIT_JOB_RESTART;
    case SERVICE_UNDO_RELOAD:
        if (unit_is_up(u))
            return u->can_reload ? UNIT_JOB_RELOAD : UNIT_JOB_RESTART;
        return UNIT_JOB_START;
    case SERVICE_UNDO_RESTORE:
    case SERVICE_UNDO_COUNT:
        break;
    }
    return unit_is_up(u) ? UNIT_JOB_NONE : UNIT_JOB_START;
}

/* ---- What became of it ------------------------------------------------------------------- */

void unit_ending_text(const struct unit *u, char ret_text[UNIT_ENDING_MAX])
{
    char main_end[64] = "";
    const char *name = sigabbrev_np(u->main_status);
    if (u->main_code == CLD_EXITED)
        (void)snprintf(main_end, sizeof(main_end), "exit status %d", u->main_status);
    else if (u->main_code == CLD_KILLED || u->main_code == CLD_DUMPED)
        (void)snprintf(main_end, sizeof(main_end), "killed by signal %d (%s)", u->main_status,
                       name ? name : "?");
    bool result = u->result[0] != '\0';
    bool both = result && main_end[0] != '\0';
    ret_text[0] = '\0';
    if (result || main_end[0] != '\0')
        (void)snprintf(ret_text, UNIT_ENDING_MAX, " (%s%s%s%s)", result ? "Result " : "", u->result,
                       both ? ", " : "", main_end);
}

/* systemd unloads what is over and done with, and then knows nothing of it. */
static bool condition_failed(const struct unit *u)
{
    return u->condition_usec > 0 && !u->condition_met;
}

static bool ran_to_its_end(const struct unit *u)
{
    return strcmp(u->type, "oneshot") == 0 && !u->remain_after_exit &&
           strcmp(u->active_state, "inactive") == 0 && strcmp(u->result, "success") == 0;
}

static enum error_code verdict_up(const struct unit *u, const struct unit *before,
                                  struct error *err)
{
    char ending[UNIT_ENDING_MAX];
    unit_ending_text(u, ending);
    if (condition_failed(u) && !unit_is_up(u))
        return error_set(err, ERR_IO, "%s was not started: a condition in its unit file is not met",
                         u->id);
    if (u->condition_usec == 0 && unit_is_down(u))
        return error_set(
            err, ERR_IO,
            "%s is %s, and systemd has unloaded it: it ended by itself, or a condition "
            "in its unit file is not met",
            u->id, u->active_state);
    if (!unit_is_up(u))
        return error_set(err, ERR_IO, "%s did not stay up: it is %s, %s%s", u->id, u->active_state,
                         u->sub_state, ending);
    if (before &&
        (before->restarts != u->restarts || strcmp(before->invocation, u->invocation) != 0))
        return error_set(err, ERR_IO, "%s did not stay up: systemd had to start it again%s", u->id,
                         ending);
    return ERR_OK;
}

enum error_code unit_verdict(const struct unit *u, enum unit_job job, const struct unit *before,
                             struct error *err)
{
    switch (job) {
    case UNIT_JOB_START:
    case UNIT_JOB_RESTART:
        return ran_to_its_end(u) && !condition_failed(u) ? ERR_OK : verdict_up(u, before, err);
    case UNIT_JOB_RELOAD:
        return verdict_up(u, before, err);
    case UNIT_JOB_STOP:
        if (!unit_is_down(u))
            return error_set(err, ERR_IO, "%s is not down: it is %s, %s", u->id, u->active_state,
                             u->sub_state);
        return ERR_OK;
    case UNIT_JOB_NONE:
    case UNIT_JOB_COUNT:
        break;
    }
    return ERR_OK;
}

int64_t unit_settle_ms(const struct unit *u, enum unit_job job, const struct service_params *params)
{
    if (job == UNIT_JOB_NONE || job == UNIT_JOB_STOP || !unit_is_up(u))
        return 0;
    if (params->has_settle)
        return params->settle_ms;
    /* The others tell systemd when they are up. */
    return ONE_OF(u->type, "simple", "exec", "idle") ? SERVICE_SETTLE_MS : 0;
}
