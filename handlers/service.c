#include "handlers/builtin.h"
#include "handlers/service_run.h"
#include "handlers/unit_links.h"

#include "common/base/alloc.h"
#include "common/base/buf.h"
#include "common/base/cleanup.h"

#include <stdio.h>
#include <string.h>

/* ---- What is captured -------------------------------------------------------------------- */

static const struct json_field family_item = {.type = JSON_STRING, .doc = "A unit's name."};
static const struct json_field link_item = {.type = JSON_OBJECT, .table = &unit_link_table};

static const struct json_field capture_fields[] = {
    {.name = "unit",
     .type = JSON_STRING,
     JSON_AT(struct service_capture, unit),
     .flags = JSON_REQUIRED,
     .min = 1,
     .max = UNIT_NAME_MAX,
     .doc = "The unit's own name."},
    {.name = "wasUp",
     .type = JSON_BOOL,
     JSON_AT(struct service_capture, was_up),
     .flags = JSON_REQUIRED,
     .doc = "Whether it ran, or was on its way there."},
    {.name = "activeState",
     .type = JSON_STRING,
     JSON_AT(struct service_capture, active_state),
     .flags = JSON_REQUIRED,
     .doc = "What systemd called it."},
    {.name = "fileState",
     .type = JSON_STRING,
     JSON_AT(struct service_capture, file_state),
     .flags = JSON_REQUIRED,
     .doc = "What systemd said of its being enabled."},
    {.name = "hasLinks",
     .type = JSON_BOOL,
     JSON_AT(struct service_capture, has_links),
     .doc = "Whether the links were taken down."},
    {.name = "family",
     .type = JSON_ARRAY,
     JSON_AT(struct service_capture, family),
     .item = &family_item,
     .doc = "The units whose links are meant."},
    {.name = "links",
     .type = JSON_ARRAY,
     JSON_AT(struct service_capture, links),
     .item = &link_item,
     .doc = "The links that enabled them."},
};
const struct json_table service_capture_table = JSON_TABLE(
    "service undo", struct service_capture, capture_fields, "A unit before it was changed.");

/* Of the unit as it was read; the links are added after it. */
static enum error_code capture_unit(struct service_run *s, struct error *err)
{
    struct service_capture *c = &s->capture;
    c->unit = mem_strdup(s->unit.id);
    c->active_state = mem_strdup(s->unit.active_state);
    c->file_state = mem_strdup(s->unit.file_state);
    c->was_up = unit_is_meant_up(&s->unit);
    c->has_links = service_params_of(s)->has_enabled;
    return c->unit && c->active_state && c->file_state ? ERR_OK
                                                       : error_set(err, ERR_NO_MEMORY, NULL);
}

/* From here on by its own name, which jobs are told by. */
static void name_settle(struct service_run *s)
{
    if (strcmp(s->name, s->unit.id) != 0)
        service_say(s, "%s is a name of %s\n", s->name, s->unit.id);
    (void)snprintf(s->name, sizeof(s->name), "%s", s->unit.id);
}

/* ---- prepare ----------------------------------------------------------------------------- */

static void prepare_over(struct service_run *s)
{
    struct error err = {0};
    AUTO_BUF struct buf undo = BUF_INIT;
    json_encode(&undo, &service_capture_table, &s->capture);
    s->result.undo = buf_take(&undo, NULL);
    if (!s->result.undo) {
        (void)error_set(&err, ERR_NO_MEMORY, NULL);
        service_fail(s, &err);
        return;
    }
    result_succeed(&s->result, false, "%s is %s%s%s", s->unit.id, s->unit.active_state,
                   s->unit.file_state[0] != '\0' ? ", " : "", s->unit.file_state);
    service_end(s);
}

static enum error_code capture_links(struct service_run *s, struct error *err)
{
    struct service_capture *c = &s->capture;
    const struct unit *u = &s->unit;
    enum error_code code = unit_family_find(&unit_folders_system, &u->names, u->fragment,
                                            &u->drop_ins, &c->family, err);
    if (code == ERR_OK)
        code = unit_links_read(&unit_folders_system, &c->family, &c->links, err);
    return code;
}

static void prepare_known(struct service_run *s)
{
    struct error err = {0};
    if (unit_check(&s->unit, service_params_of(s), &err) != ERR_OK ||
        capture_unit(s, &err) != ERR_OK)
        service_fail(s, &err);
    else if (s->capture.has_links)
        service_work(s, capture_links, prepare_over);
    else
        prepare_over(s);
}

static void prepare_first(struct service_run *s)
{
    service_read_fresh(s, prepare_known);
}

static void service_prepare(struct handler_run *run)
{
    service_begin(run, prepare_first);
}

/* ---- execute ----------------------------------------------------------------------------- */

/* A step that only stands here for what its undo does must be undone, whatever it found. */
static void service_so_already(struct service_run *s, const char *more)
{
    const struct service_params *params = service_params_of(s);
    const struct unit *u = &s->unit;
    bool guards = params->undo == SERVICE_UNDO_RESTART || params->undo == SERVICE_UNDO_RELOAD;
    result_succeed(&s->result, guards, "%s is so already: %s%s%s%s", u->id, u->active_state,
                   params->has_enabled ? ", " : "", params->has_enabled ? u->file_state : "", more);
}

static void execute_over(struct service_run *s)
{
    const struct service_params *params = service_params_of(s);
    const struct unit *u = &s->unit;
    static const char *const done[UNIT_JOB_COUNT] = {
        [UNIT_JOB_NONE] = "",
        [UNIT_JOB_START] = ", was started",
        [UNIT_JOB_STOP] = ", was stopped",
        [UNIT_JOB_RESTART] = ", was restarted",
        [UNIT_JOB_RELOAD] = ", was reloaded",
    };
    if (s->changed)
        result_succeed(&s->result, true, "%s is %s%s%s%s", u->id, u->active_state,
                       params->has_enabled ? ", " : "", params->has_enabled ? u->file_state : "",
                       done[s->job]);
    else
        service_so_already(s, "");
    service_end(s);
}

static void execute_job(struct service_run *s)
{
    struct error err = {0};
    enum unit_job job;
    if (unit_job_forward(&s->unit, service_params_of(s), &job, &err) != ERR_OK)
        service_fail(s, &err);
    else
        service_job(s, job, execute_over);
}

static void execute_enabled(struct service_run *s)
{
    struct error err = {0};
    if (unit_needs_enabling(&s->unit, service_params_of(s)) &&
        strcmp(s->unit.file_state, "indirect") != 0) {
        (void)error_set(&err, ERR_IO, "%s is %s still", s->unit.id, s->unit.file_state);
        service_fail(s, &err);
        return;
    }
    execute_job(s);
}

static void execute_read_enabled(struct service_run *s)
{
    service_read(s, execute_enabled);
}

static void execute_known(struct service_run *s)
{
    struct error err = {0};
    name_settle(s);
    if (s->ending)
        return;
    if (unit_check(&s->unit, service_params_of(s), &err) != ERR_OK)
        service_fail(s, &err);
    else if (unit_needs_enabling(&s->unit, service_params_of(s)))
        service_enable(s, execute_read_enabled);
    else
        execute_job(s);
}

static void execute_first(struct service_run *s)
{
    service_read_fresh(s, execute_known);
}

static void service_execute(struct handler_run *run)
{
    service_begin(run, execute_first);
}

/* ---- rollback ---------------------------------------------------------------------------- */

static void rollback_over(struct service_run *s)
{
    const struct service_capture *c = &s->capture;
    const struct unit *u = &s->unit;
    struct error err = {0};
    bool left = service_params_of(s)->undo == SERVICE_UNDO_DEFERRED && c->was_up;
    if (c->has_links && unit_exists(u) && strcmp(u->file_state, c->file_state) != 0) {
        (void)error_set(&err, ERR_IO, "%s is %s, and was %s", u->id, u->file_state, c->file_state);
        service_fail(s, &err);
        return;
    }
    if (left)
        result_succeed(&s->result, false, "%s is left to an earlier step: it is %s", u->id,
                       u->active_state);
    else
        result_succeed(&s->result, false, "%s is %s again%s%s", u->id, u->active_state,
                       c->has_links ? ", " : "", c->has_links ? c->file_state : "");
    service_end(s);
}

static void rollback_reset(struct service_run *s)
{
    service_read(s, rollback_over);
}

/* A unit that failed in the step and was merely down before is no failed unit any more. */
static void rollback_job_over(struct service_run *s)
{
    if (strcmp(s->capture.active_state, "inactive") == 0 &&
        strcmp(s->unit.active_state, "failed") == 0)
        service_reset_failed(s, rollback_reset);
    else
        rollback_over(s);
}

static void rollback_job(struct service_run *s)
{
    const struct service_params *params = service_params_of(s);
    struct error err = {0};
    bool starts = s->capture.was_up && params->undo != SERVICE_UNDO_DEFERRED;
    if (!unit_exists(&s->unit) && starts && !unit_is_up(&s->unit)) {
        (void)error_set(&err, ERR_NOT_FOUND, "%s ran before, and its unit file is gone",
                        s->capture.unit);
        service_fail(s, &err);
        return;
    }
    service_job(s, unit_job_back(&s->unit, params, s->capture.was_up), rollback_job_over);
}

static void rollback_links_read(struct service_run *s)
{
    service_read(s, rollback_job);
}

/* The links are back; systemd is to know. */
static void rollback_links(struct service_run *s)
{
    service_reload(s, rollback_links_read);
}

static enum error_code links_back(struct service_run *s, struct error *err)
{
    bool changed = false;
    return unit_links_restore(&unit_folders_system, &s->capture.family, &s->capture.links, &changed,
                              err);
}

static void rollback_known(struct service_run *s)
{
    if (s->capture.has_links)
        service_work(s, links_back, rollback_links);
    else
        rollback_job(s);
}

static void rollback_first(struct service_run *s)
{
    struct error err = {0};
    const char *undo = s->run->undo;
    if (json_read(undo, strlen(undo), HANDLER_UNDO_MAX, &service_capture_table, &s->capture,
                  &err) != ERR_OK) {
        (void)error_wrap(&err, "what prepare captured");
        service_fail(s, &err);
        return;
    }
    (void)snprintf(s->name, sizeof(s->name), "%s", s->capture.unit);
    service_read_fresh(s, rollback_known);
}

static void service_rollback(struct handler_run *run)
{
    service_begin(run, rollback_first);
}

/* ---- check ------------------------------------------------------------------------------- */

static void check_over(struct service_run *s, enum unit_job job)
{
    static const char *const becomes[UNIT_JOB_COUNT] = {
        [UNIT_JOB_NONE] = "",           [UNIT_JOB_START] = "started",
        [UNIT_JOB_STOP] = "stopped",    [UNIT_JOB_RESTART] = "restarted",
        [UNIT_JOB_RELOAD] = "reloaded",
    };
    const struct service_params *params = service_params_of(s);
    const struct unit *u = &s->unit;
    bool enabling = unit_needs_enabling(u, params);
    const char *stale =
        u->need_reload ? " (its files were changed; systemd would read them anew first)" : "";
    char work[UNIT_STATE_MAX * 2] = "";
    if (job != UNIT_JOB_NONE)
        (void)snprintf(work, sizeof(work), " %s -> %s", u->active_state, becomes[job]);
    if (job != UNIT_JOB_NONE || enabling)
        result_succeed(&s->result, true, "would change %s:%s%s%s%s%s%s", u->id, work,
                       enabling && work[0] != '\0' ? "," : "", enabling ? " " : "",
                       enabling ? u->file_state : "",
                       !enabling         ? ""
                       : params->enabled ? " -> enabled"
                                         : " -> disabled",
                       stale);
    else
        service_so_already(s, stale);
    service_end(s);
}

/* As systemd has it: to have changed unit files read anew would be a change, too. */
static void check_known(struct service_run *s)
{
    struct error err = {0};
    enum unit_job job;
    name_settle(s);
    if (s->ending)
        return;
    if (unit_check(&s->unit, service_params_of(s), &err) != ERR_OK ||
        unit_job_forward(&s->unit, service_params_of(s), &job, &err) != ERR_OK)
        service_fail(s, &err);
    else
        check_over(s, job);
}

static void check_first(struct service_run *s)
{
    service_read(s, check_known);
}

static void service_check(struct handler_run *run)
{
    service_begin(run, check_first);
}

const struct handler service_handler = {
    .type = &service_type,
    .prepare = service_prepare,
    .execute = service_execute,
    .rollback = service_rollback,
    .check = service_check,
    .cancel = service_cancel,
};
