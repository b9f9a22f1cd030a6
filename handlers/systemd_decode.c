#include "handlers/systemd_decode.h"

#include "common/base/alloc.h"
#include "common/base/cleanup.h"
#include "common/base/text.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- Units ------------------------------------------------------------------------------- */

enum kind {
    KIND_TEXT,
    KIND_FLAG,
    KIND_INT,
    KIND_COUNT,
    KIND_TIME,
    KIND_TEXTS,
    KIND_ID,
    KIND_LOAD_ERROR
};

struct property {
    const char *name;
    const char *signature;
    enum kind kind;
    size_t offset, size;
};
#define AT(member)                                                                                 \
    .offset = offsetof(struct unit, member), .size = sizeof(((struct unit *)0)->member)

static const struct property properties[] = {
    {"Id", "s", KIND_TEXT, AT(id)},
    {"LoadState", "s", KIND_TEXT, AT(load_state)},
    {"ActiveState", "s", KIND_TEXT, AT(active_state)},
    {"SubState", "s", KIND_TEXT, AT(sub_state)},
    {"UnitFileState", "s", KIND_TEXT, AT(file_state)},
    {"Result", "s", KIND_TEXT, AT(result)},
    {"Type", "s", KIND_TEXT, AT(type)},
    {"InvocationID", "ay", KIND_ID, AT(invocation)},
    {"LoadError", "(ss)", KIND_LOAD_ERROR, AT(load_error)},
    {"FragmentPath", "s", KIND_TEXT, AT(fragment)},
    {"NeedDaemonReload", "b", KIND_FLAG, AT(need_reload)},
    {"CanReload", "b", KIND_FLAG, AT(can_reload)},
    {"RemainAfterExit", "b", KIND_FLAG, AT(remain_after_exit)},
    {"ConditionResult", "b", KIND_FLAG, AT(condition_met)},
    {"ConditionTimestampMonotonic", "t", KIND_TIME, AT(condition_usec)},
    {"InactiveExitTimestamp", "t", KIND_TIME, AT(began_usec)},
    {"ExecMainCode", "i", KIND_INT, AT(main_code)},
    {"ExecMainStatus", "i", KIND_INT, AT(main_status)},
    {"NRestarts", "u", KIND_COUNT, AT(restarts)},
    {"Names", "as", KIND_TEXTS, AT(names)},
    {"DropInPaths", "as", KIND_TEXTS, AT(drop_ins)},
};

static int read_text(sd_bus_message *m, char *ret, size_t size)
{
    const char *text;
    int rc = sd_bus_message_read(m, "s", &text);
    if (rc > 0)
        (void)snprintf(ret, size, "%s", text);
    return rc;
}

static int read_texts(sd_bus_message *m, struct array *ret)
{
    char **texts = NULL;
    size_t count = 0;
    int rc = sd_bus_message_read_strv(m, &texts);
    if (rc < 0)
        return rc;
    while (texts && texts[count])
        count++;
    ret->items = mem_array(count, sizeof(char *));
    for (size_t i = 0; i < count; i++) {
        char *copy = ret->items ? mem_strdup(texts[i]) : NULL;
        if (copy)
            *ARRAY_AT(ret, char *, ret->count++) = copy;
        else
            rc = -ENOMEM;
        free(texts[i]);
    }
    free(texts);
    return rc;
}

static int read_id(sd_bus_message *m, char *ret, size_t size)
{
    const void *bytes;
    size_t len;
    int rc = sd_bus_message_read_array(m, 'y', &bytes, &len);
    if (rc >= 0)
        text_hex(bytes, len < (size - 1) / 2 ? len : (size - 1) / 2, ret);
    return rc;
}

static int read_value(sd_bus_message *m, const struct property *p, struct unit *u)
{
    void *field = (char *)u + p->offset;
    const char *name = NULL, *text = NULL;
    int flag = 0;
    int rc = 0;
    switch (p->kind) {
    case KIND_TEXT:
        return read_text(m, field, p->size);
    case KIND_FLAG:
        rc = sd_bus_message_read(m, "b", &flag);
        *(bool *)field = flag != 0;
        return rc;
    case KIND_INT:
        return sd_bus_message_read(m, "i", field);
    case KIND_COUNT:
        return sd_bus_message_read(m, "u", field);
    case KIND_TIME:
        return sd_bus_message_read(m, "t", field);
    case KIND_TEXTS:
        return read_texts(m, field);
    case KIND_ID:
        return read_id(m, field, p->size);
    case KIND_LOAD_ERROR:
        rc = sd_bus_message_read(m, "(ss)", &name, &text);
        if (rc > 0)
            (void)snprintf(field, p->size, "%s", text);
        return rc;
    }
    return -EINVAL;
}

/* One member of the dictionary; what is not known, or is of another type than it was, is passed
 * over. */
static int read_property(sd_bus_message *m, struct unit *u)
{
    const char *name, *contents;
    char type;
    int rc = sd_bus_message_read(m, "s", &name);
    if (rc < 0)
        return rc;
    rc = sd_bus_message_peek_type(m, &type, &contents);
    if (rc < 0)
        return rc;
    for (size_t i = 0; i < ARRAY_LEN(properties); i++) {
        const struct property *p = &properties[i];
        if (strcmp(name, p->name) != 0 || strcmp(contents, p->signature) != 0)
            continue;
        rc = sd_bus_message_enter_container(m, 'v', contents);
        if (rc >= 0)
            rc = read_value(m, p, u);
        return rc < 0 ? rc : sd_bus_message_exit_container(m);
    }
    return sd_bus_message_skip(m, "v");
}

static int read_all(sd_bus_message *m, struct unit *u)
{
    int rc = sd_bus_message_enter_container(m, 'a', "{sv}");
    if (rc < 0)
        return rc;
    while ((rc = sd_bus_message_enter_container(m, 'e', "sv")) > 0) {
        rc = read_property(m, u);
        if (rc >= 0)
            rc = sd_bus_message_exit_container(m);
        if (rc < 0)
            return rc;
    }
    return rc;
}

enum error_code systemd_unit_decode(sd_bus_message *m, struct unit *unit, struct error *err)
{
    unit_done(unit);
    *unit = (struct unit){0};
    int rc = read_all(m, unit);
    if (rc == -ENOMEM)
        return error_set(err, ERR_NO_MEMORY, NULL);
    if (rc < 0 || unit->id[0] == '\0' || unit->active_state[0] == '\0')
        return error_set(err, ERR_PROTOCOL, "what systemd says of the unit is not understood");
    return ERR_OK;
}

/* ---- Errors ------------------------------------------------------------------------------ */

enum error_code systemd_error_decode(sd_bus_message *m, struct error *err)
{
    static const struct {
        const char *name;
        enum error_code code;
    } known[] = {
        {SD_BUS_ERROR_ACCESS_DENIED, ERR_DENIED},
        {SD_BUS_ERROR_INTERACTIVE_AUTHORIZATION_REQUIRED, ERR_DENIED},
        {SD_BUS_ERROR_INVALID_ARGS, ERR_INVALID},
        {"org.freedesktop.systemd1.NoSuchUnit", ERR_NOT_FOUND},
        {"org.freedesktop.systemd1.UnitMasked", ERR_DENIED},
        {"org.freedesktop.systemd1.OnlyByDependency", ERR_DENIED},
        {"org.freedesktop.systemd1.JobTypeNotApplicable", ERR_INVALID},
        {"org.freedesktop.systemd1.LoadFailed", ERR_INVALID},
    };
    const sd_bus_error *e = sd_bus_message_get_error(m);
    enum error_code code = ERR_UNAVAILABLE;
    if (!e)
        return ERR_OK;
    for (size_t i = 0; i < ARRAY_LEN(known); i++) {
        if (sd_bus_error_has_name(e, known[i].name))
            code = known[i].code;
    }
    return error_set(err, code, "%s", e->message ? e->message : e->name);
}

/* ---- Jobs -------------------------------------------------------------------------------- */

enum error_code systemd_job_result(const char *result, enum unit_job job, const char *unit,
                                   struct error *err)
{
    static const struct {
        const char *result;
        enum error_code code;
        const char *text; /* what "the start of x.service" did */
    } known[] = {
        {"canceled", ERR_BUSY, "was called off by somebody else"},
        {"timeout", ERR_TIMEOUT, "took longer than the unit file allows"},
        {"failed", ERR_IO, "failed"},
        {"dependency", ERR_IO, "failed, since a unit that it needs failed"},
        {"skipped", ERR_INVALID, "was skipped: the unit is in no state for it"},
        {"invalid", ERR_INVALID, "does not apply to the unit"},
        {"assert", ERR_IO, "failed: an assertion in the unit file does not hold"},
        {"unsupported", ERR_UNSUPPORTED, "is not supported here"},
        {"collected", ERR_IO, "failed: the unit was unloaded"},
        {"once", ERR_INVALID, "was refused: the unit starts only once"},
    };
    enum error_code code = ERR_IO;
    const char *text = result;
    if (strcmp(result, "done") == 0)
        return ERR_OK;
    for (size_t i = 0; i < ARRAY_LEN(known); i++) {
        if (strcmp(result, known[i].result) == 0) {
            code = known[i].code;
            text = known[i].text;
        }
    }
    return error_set(err, code, "the %s of %s %s", unit_job_names[job], unit, text);
}

/* ---- Enabling ---------------------------------------------------------------------------- */

static bool changes_read(sd_bus_message *m, bool flag_first, struct systemd_enabling *e)
{
    const char *kind, *path, *source;
    int installable = 1;
    size_t used = 0;
    if (flag_first && sd_bus_message_read(m, "b", &installable) < 0)
        return false;
    e->installable = installable != 0;
    if (sd_bus_message_enter_container(m, 'a', "(sss)") < 0)
        return false;
    int rc;
    while ((rc = sd_bus_message_read(m, "(sss)", &kind, &path, &source)) > 0) {
        bool link = strcmp(kind, "symlink") == 0;
        const char *what = link ? "linked" : strcmp(kind, "unlink") == 0 ? "removed" : kind;
        e->changes++;
        if (used >= sizeof(e->lines) - 1)
            continue;
        int len = snprintf(e->lines + used, sizeof(e->lines) - used, "%s %s%s%s\n", what, path,
                           link ? " to " : "", link ? source : "");
        used += len > 0 ? (size_t)len : 0;
    }
    return rc == 0;
}

enum error_code systemd_enabling_decode(sd_bus_message *m, bool flag_first,
                                        struct systemd_enabling *ret_enabling, struct error *err)
{
    struct systemd_enabling enabling = {0};
    if (!changes_read(m, flag_first, &enabling))
        return error_set(err, ERR_PROTOCOL, "systemd's answer is not understood");
    *ret_enabling = enabling;
    return ERR_OK;
}
