/* service: units of systemd. */
#include "handlers/catalog_internal.h"

#include <stdio.h>
#include <string.h>

enum { SETTLE_SECONDS_MAX = 3600 };

#define X(value, name) [value] = (name),
const char *const service_state_names[SERVICE_STATE_COUNT] = {SERVICE_STATES(X)};
static const char *const service_undo_names[SERVICE_UNDO_COUNT] = {SERVICE_UNDOS(X)};
#undef X
static const struct json_enum states = {service_state_names, SERVICE_STATE_COUNT};
static const struct json_enum undos = {service_undo_names, SERVICE_UNDO_COUNT};

/* Kinds of unit that are services to people. Targets are not among them: starting one may end the
 * system. */
static const char *const suffixes[] = {".service", ".socket", ".timer", ".path", ".mount"};

static const char *suffix_of(const char *name)
{
    const char *dot = strrchr(name, '.');
    for (size_t i = 0; dot && i < ARRAY_LEN(suffixes); i++) {
        if (strcmp(dot, suffixes[i]) == 0)
            return suffixes[i];
    }
    return NULL;
}

void service_unit_name(const char *name, char ret_unit[UNIT_NAME_MAX + 1])
{
    (void)snprintf(ret_unit, UNIT_NAME_MAX + 1, "%s%s", name, suffix_of(name) ? "" : suffixes[0]);
}

static const char *check_name(const char *s)
{
    static const char *const others[] = {".target", ".slice", ".scope",
                                         ".device", ".swap",  ".automount"};
    const char *rule = "a unit's name, such as \"nginx\", \"getty@tty1.service\" or "
                       "\"backup.timer\": of a service, socket, timer, path or mount";
    const char *suffix = suffix_of(s);
    const char *dot = strrchr(s, '.');
    const char *at = strchr(s, '@');
    for (size_t i = 0; dot && i < ARRAY_LEN(others); i++) {
        if (strcmp(dot, others[i]) == 0)
            return rule;
    }
    size_t len = strlen(s) - (suffix ? strlen(suffix) : 0);
    if (len == 0 || s[0] == '-' || s[0] == '.' || s[0] == '@' ||
        s[strspn(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789:_.\\@-")])
        return rule;
    if (at && at + 1 == s + len)
        return "the name of an instance, such as \"getty@tty1\": a template cannot be started";
    return NULL;
}

static const struct json_field service_fields[] = {
    {.name = "name",
     .type = JSON_STRING,
     JSON_AT(struct service_params, name),
     .flags = JSON_REQUIRED,
     .min = 1,
     .max = UNIT_NAME_MAX - 8,
     .check = check_name,
     .doc = "The unit. Without a suffix it is a .service; .socket, .timer, .path and .mount are "
            "taken too."},
    {.name = "state",
     .type = JSON_ENUM,
     JSON_AT(struct service_params, state),
     .flags = JSON_OMIT_EMPTY,
     .values = &states,
     .doc = "What is done: \"started\" and \"stopped\" do nothing where it is so already, "
            "\"restarted\" restarts a unit that runs and starts one that does not, \"reloaded\" "
            "has a unit that runs read its configuration again. Left out: it is left as it is."},
    {.name = "enabled",
     .type = JSON_BOOL,
     JSON_AT(struct service_params, enabled),
     JSON_HAS(struct service_params, has_enabled),
     .doc = "Whether it is started when the server starts. Left out: as it is."},
    {.name = "settleSeconds",
     .type = JSON_SECONDS,
     JSON_AT(struct service_params, settle_ms),
     JSON_HAS(struct service_params, has_settle),
     .flags = JSON_SECONDS_TEXT,
     .max = SETTLE_SECONDS_MAX,
     .doc = "How long a unit that was started must stay up; one that dies within it has failed. "
            "It holds for undoing too. Left out: 2 "
            "seconds for services that do not tell systemd when they are up (Type simple, exec and "
            "idle), none for the others."},
    {.name = "timeout",
     .type = JSON_SECONDS,
     JSON_AT(struct service_params, timeout_ms),
     .flags = JSON_SECONDS_TEXT | JSON_OMIT_EMPTY,
     .max = PLAN_MAX_SECONDS,
     .doc = "How long systemd may take to do it; then it is called off, and the step has failed. "
            "Left out or 0: as long as the unit's own settings and the step's timeoutSeconds "
            "allow."},
    {.name = "undo",
     .type = JSON_ENUM,
     JSON_AT(struct service_params, undo),
     .flags = JSON_HAS_DEFAULT,
     .fallback = SERVICE_UNDO_RESTORE,
     .values = &undos,
     .doc = "What rolling back does. \"restore\": the unit runs or not, and is enabled or not, as "
            "before. \"restart\" or \"reload\": that, and a unit that ran before is restarted or "
            "reloaded, so that it takes up what the later steps' undo has brought back. "
            "\"deferred\": nothing, since an earlier step of the same unit does that; for a "
            "restart or reload alone."},
};
static const struct json_table service_table = PARAMS_TABLE(
    "service", struct service_params, service_fields, "Which unit, and what is to become of it.");

static void problem_at(const char *path, const char *field, const char *text, struct problems *ps)
{
    char place[PROBLEM_PATH_MAX];
    (void)snprintf(place, sizeof(place), "%s.%s", path, field);
    problems_add(ps, place, "%s", text);
}

static void service_check(const void *params, const char *path, struct problems *ps)
{
    const struct service_params *service = params;
    bool bounces = service->state == SERVICE_RESTARTED || service->state == SERVICE_RELOADED;
    if (service->undo == SERVICE_UNDO_DEFERRED && (!bounces || service->has_enabled))
        problem_at(path, "undo",
                   "\"deferred\" goes with state \"restarted\" or \"reloaded\" and without enabled",
                   ps);
    else if (service->state == SERVICE_LEAVE && !service->has_enabled &&
             service->undo == SERVICE_UNDO_RESTORE)
        problem_at(path, "state", "is missing: give state, or enabled, or an undo to do", ps);
}

const struct step_type service_type = {
    .name = "service",
    .doc =
        "Starts, stops, restarts or reloads a unit of systemd, and enables or disables it. It is "
        "done when the unit really is in that state: one that starts and dies has failed, and its "
        "last lines of log are in the output. A unit file that was changed on disk is read anew "
        "first. Where all is so already, nothing is done.",
    .undo_doc =
        "Brings the unit back to running or not running, and to the links that enabled it, as it "
        "was before, and sees that it is so. A unit file that was changed since is read anew "
        "first. See the parameter undo for restarts.",
    .traits = STEP_TYPE_IDEMPOTENT | STEP_TYPE_CHANGES,
    .params = &service_table,
    .check = service_check,
};
