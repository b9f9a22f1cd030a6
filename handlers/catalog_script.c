/* catalog_script: the params of the script step type. */
#include "handlers/catalog_internal.h"

#include "common/base/alloc.h"
#include "common/base/cleanup.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    ARGS_TOTAL_MAX = 512 * 1024, /* leaves room for the environment in ARG_MAX */
    ENV_MAX = 256,
    ENV_NAME_MAX = 255,
    ENV_VALUE_MAX = 65536,
    INLINE_MAX = 256 * 1024,
    STDIN_MAX = 1024 * 1024,
    EXIT_CODES_MAX = 256,
    PIDS_MAX = 4194304, /* the most that Linux has */
    CPU_SECONDS_MAX = 30 * 24 * 3600
};

#define LETTERS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
#define DIGITS "0123456789"

/* ---- Arguments --------------------------------------------------------------------------- */

const struct json_field catalog_arg_item = {
    .type = JSON_STRING, .max = ARG_BYTES_MAX, .doc = "One argument, passed on as it is."};

void catalog_check_args(const struct array *args, const char *path, struct problems *ps)
{
    size_t total = 0;
    for (size_t i = 0; i < args->count; i++)
        total += strlen(*ARRAY_AT(args, char *, i)) + 1;
    if (total <= ARGS_TOTAL_MAX)
        return;
    char args_path[PROBLEM_PATH_MAX];
    (void)snprintf(args_path, sizeof(args_path), "%s.args", path);
    problems_add(ps, args_path, "have %zu bytes together; a program is given at most %d", total,
                 (int)ARGS_TOTAL_MAX);
}

/* ---- Environment ------------------------------------------------------------------------- */

static void out_of_memory(struct problems *ps)
{
    ps->total++;
    ps->no_memory = true;
}

static void env_release(void *field)
{
    struct array *env = field;
    for (size_t i = 0; i < env->count; i++)
        mem_free(*ARRAY_AT(env, char *, i));
    mem_free(env->items);
    *env = (struct array){0};
}

/* False: there is a problem. */
static bool env_check(const char *name, const char *value, const char *path, struct problems *ps)
{
    size_t len = strlen(name);
    bool is_name = len > 0 && len <= ENV_NAME_MAX &&
                   name[strspn(name, LETTERS DIGITS "_")] == '\0' && !strchr(DIGITS, name[0]);
    if (!is_name)
        problems_add(
            ps, path,
            "\"%.40s\" is no variable's name: letters, digits and _, no digit at the start", name);
    else if (strncmp(name, "KITSUNE_", 8) == 0)
        problems_add(ps, path, "%s is set by the agent, as all that begin with KITSUNE_", name);
    else if (!value || strlen(value) > ENV_VALUE_MAX)
        problems_add(ps, path, "%s must be a string of at most %d bytes", name, (int)ENV_VALUE_MAX);
    else
        return true;
    return false;
}

static void env_decode(const struct json_value *v, const char *path, void *field,
                       struct problems *ps)
{
    struct array *env = field;
    size_t before = ps->total;
    if (json_kind(v) != JSON_IS_OBJECT || json_count(v) > ENV_MAX) {
        problems_add(ps, path,
                     "must be an object of at most %d variables, such as {\"LANG\": \"C\"}",
                     (int)ENV_MAX);
        return;
    }
    if (json_count(v) == 0)
        return;
    env->items = mem_array(json_count(v), sizeof(char *));
    if (!env->items) {
        out_of_memory(ps);
        return;
    }
    for (const struct json_value *item = json_first(v); item; item = json_next(item)) {
        const char *name = json_name(item), *value = json_string(item);
        if (!env_check(name, value, path, ps))
            continue;
        size_t size = strlen(name) + strlen(value) + 2;
        char *text = mem_alloc(size);
        if (!text) {
            out_of_memory(ps);
            break;
        }
        (void)snprintf(text, size, "%s=%s", name, value);
        *ARRAY_AT(env, char *, env->count++) = text;
    }
    if (ps->total != before)
        env_release(env);
}

static void env_encode(struct buf *b, const void *field)
{
    const struct array *env = field;
    buf_putc(b, '{');
    for (size_t i = 0; i < env->count; i++) {
        const char *text = *ARRAY_AT(env, char *, i);
        const char *value = strchr(text, '=') + 1;
        buf_puts(b, i > 0 ? "," : "");
        json_write_string(b, text, (size_t)(value - 1 - text));
        buf_putc(b, ':');
        json_write_string(b, value, strlen(value));
    }
    buf_putc(b, '}');
}

static bool env_empty(const void *field)
{
    return ((const struct array *)field)->count == 0;
}

static const struct json_custom env_custom = {
    .decode = env_decode,
    .encode = env_encode,
    .empty = env_empty,
    .release = env_release,
    .schema = "{\"type\":\"object\",\"maxProperties\":256,"
              "\"propertyNames\":{\"pattern\":\"^[A-Za-z_][A-Za-z0-9_]*$\",\"maxLength\":255},"
              "\"additionalProperties\":{\"type\":\"string\",\"maxLength\":65536}}",
    .size = sizeof(struct array),
};

/* ---- Sizes ------------------------------------------------------------------------------- */

#define SIZE_RULE "must be a number of bytes, or a text such as \"512M\" or \"2G\", at least 1M"
enum { MEMORY_MIN_BYTES = 1024 * 1024 };

static bool size_read(const struct json_value *v, double *ret_bytes)
{
    static const char units[] = "KMGT";
    const char *text = json_string(v);
    char *end = NULL;
    if (json_kind(v) == JSON_IS_NUMBER) {
        *ret_bytes = json_number(v);
        return true;
    }
    if (!text || !strchr(DIGITS, text[0]) || text[0] == '\0')
        return false;
    double bytes = (double)strtoull(text, &end, 10);
    const char *unit = *end != '\0' ? strchr(units, *end) : NULL;
    if (*end != '\0' && (!unit || end[1] != '\0'))
        return false;
    for (const char *u = units; unit && u <= unit; u++)
        bytes *= 1024;
    *ret_bytes = bytes;
    return true;
}

static void size_decode(const struct json_value *v, const char *path, void *field,
                        struct problems *ps)
{
    double bytes = 0;
    if (size_read(v, &bytes) && bytes >= MEMORY_MIN_BYTES && bytes <= (double)JSON_INT_MAX)
        *(int64_t *)field = (int64_t)bytes;
    else
        problems_add(ps, path, SIZE_RULE);
}

static void size_encode(struct buf *b, const void *field)
{
    buf_put_int(b, *(const int64_t *)field);
}

static bool size_empty(const void *field)
{
    return *(const int64_t *)field == 0;
}

const struct json_custom catalog_size_custom = {
    .decode = size_decode,
    .encode = size_encode,
    .empty = size_empty,
    .schema = "{\"oneOf\":[{\"type\":\"integer\",\"minimum\":1048576},"
              "{\"type\":\"string\",\"pattern\":\"^[0-9]+[KMGT]?$\"}]}",
    .size = sizeof(int64_t),
};

static const struct json_field limits_fields[] = {
    {.name = "memory",
     .type = JSON_CUSTOM,
     JSON_AT(struct script_limits, memory_bytes),
     .flags = JSON_OMIT_EMPTY,
     .custom = &catalog_size_custom,
     .doc = "Memory: a number of bytes, or a text such as \"512M\". In a control group that of all "
            "its "
            "processes together, else the address space of each one."},
    {.name = "pids",
     .type = JSON_INT,
     JSON_AT(struct script_limits, pids),
     .flags = JSON_OMIT_EMPTY,
     .min = 1,
     .max = PIDS_MAX,
     .doc = "Processes at once, threads counted. Without a control group it is all of the user's "
            "processes that are counted, and root is not held to it."},
    {.name = "cpuSeconds",
     .type = JSON_INT,
     JSON_AT(struct script_limits, cpu_seconds),
     .flags = JSON_OMIT_EMPTY,
     .min = 1,
     .max = CPU_SECONDS_MAX,
     .doc = "Processor time of each process, in seconds; past it, it is killed."},
};
static const struct json_table limits_table =
    JSON_TABLE("limits", struct script_limits, limits_fields, "What it may use at most.");

/* ---- script ------------------------------------------------------------------------------ */

static const struct json_field exit_code_item = {
    .type = JSON_INT, .min = 0, .max = 255, .doc = "An exit status."};

static const char *check_folder(const char *s)
{
    return s[0] == '/' ? NULL : "the absolute path of a folder, such as \"/srv/app\"";
}

static const char *check_umask(const char *s)
{
    size_t len = strlen(s);
    if (s[strspn(s, "01234567")] == '\0' && (len == 3 || (len == 4 && s[0] == '0')))
        return NULL;
    return "an octal mask as text, such as \"0027\"";
}

#define PROGRAM_FIELD(name_, member_, doc_)                                                        \
    {                                                                                              \
        .name = (name_), .type = JSON_STRING, JSON_AT(struct script_params, member_),              \
        .flags = JSON_OMIT_EMPTY, .min = 1, .max = PATH_BYTES_MAX, .doc = (doc_)                   \
    }
#define INLINE_FIELD(name_, member_, doc_)                                                         \
    {                                                                                              \
        .name = (name_), .type = JSON_STRING, JSON_AT(struct script_params, member_),              \
        .flags = JSON_OMIT_EMPTY | JSON_SECRETS, .min = 1, .max = INLINE_MAX, .doc = (doc_)        \
    }

static const struct json_field script_fields[] = {
    PROGRAM_FIELD("script", script,
                  "The program to run: a path, or a name that is looked up in PATH. No shell takes "
                  "part. Of script and inline one is required."),
    INLINE_FIELD(
        "inline", inline_text,
        "The text of a script, run by the interpreter, in place of script. It is in no file "
        "that others could read or change, and in no argument."),
    {.name = "args",
     .type = JSON_ARRAY,
     JSON_AT(struct script_params, args),
     .flags = JSON_OMIT_EMPTY,
     .max = ARGS_MAX,
     .item = &catalog_arg_item,
     .doc = "Arguments, for all of the step's scripts."},
    PROGRAM_FIELD(
        "rollback_script", rollback_script,
        "The program that undoes what the script did, run with the same args. It must cope "
        "with a script that was cut off half-way or never began."),
    INLINE_FIELD("rollbackInline", rollback_inline, "The text of it, in place of rollback_script."),
    PROGRAM_FIELD(
        "check_script", check_script,
        "A program that says whether there is anything to do, run with the same args; it "
        "must change nothing. Exit status 0: there is not, and the script is not run. Any "
        "other: there is. Left out: the script is always run, and a check says that it "
        "would be."),
    INLINE_FIELD("checkInline", check_inline, "The text of it, in place of check_script."),
    PROGRAM_FIELD(
        "interpreter", interpreter,
        "What runs the texts: a program that takes a file as its first argument. Left out: "
        "what the text's first line says after #!, else /bin/sh."),
    {.name = "env",
     .type = JSON_CUSTOM,
     JSON_AT(struct script_params, env),
     .flags = JSON_OMIT_EMPTY | JSON_SECRETS,
     .custom = &env_custom,
     .doc = "Environment variables, on top of the agent's own: an object of texts by name."},
    {.name = "cwd",
     .type = JSON_STRING,
     JSON_AT(struct script_params, cwd),
     .flags = JSON_OMIT_EMPTY,
     .min = 1,
     .max = PATH_BYTES_MAX,
     .check = check_folder,
     .doc = "The folder to run in, as an absolute path. Left out: /."},
    {.name = "user",
     .type = JSON_STRING,
     JSON_AT(struct script_params, user),
     .flags = JSON_OMIT_EMPTY,
     .min = 1,
     .max = OWNER_BYTES_MAX,
     .check = catalog_check_owner,
     .doc = "The user to run as, by name or number, with all of its groups, and with HOME, USER, "
            "LOGNAME and SHELL as it has them. Left out: the agent's."},
    {.name = "stdin",
     .type = JSON_STRING,
     JSON_AT(struct script_params, standard_input),
     .flags = JSON_OMIT_EMPTY | JSON_SECRETS,
     .max = STDIN_MAX,
     .doc = "What it finds on its standard input. Left out: nothing."},
    {.name = "umask",
     .type = JSON_STRING,
     JSON_AT(struct script_params, umask),
     .flags = JSON_OMIT_EMPTY,
     .check = check_umask,
     .doc =
         "The mask of the modes of new files, octal and as text, such as \"0027\". Left out: the "
         "agent's."},
    {.name = "successExitCodes",
     .type = JSON_ARRAY,
     JSON_AT(struct script_params, success_exit_codes),
     .flags = JSON_OMIT_EMPTY,
     .max = EXIT_CODES_MAX,
     .item = &exit_code_item,
     .doc = "The exit statuses that are success, of script and rollback. Left out: 0."},
    {.name = "limits",
     .type = JSON_OBJECT,
     JSON_AT(struct script_params, limits),
     .flags = JSON_OMIT_EMPTY,
     .table = &limits_table,
     .doc = "What each of the step's scripts may use at most."},
};
static const struct json_table script_table = PARAMS_TABLE(
    "script", struct script_params, script_fields, "Which program to run, and which undoes it.");

/* Two ways to say the same. */
static void one_of(const char *program, const char *text, const char *name, const char *other,
                   const char *path, struct problems *ps)
{
    char field[PROBLEM_PATH_MAX];
    (void)snprintf(field, sizeof(field), "%s.%s", path, name);
    if (program && text)
        problems_add(ps, field, "and %s exclude each other", other);
}

static void script_check(const void *params, const char *path, struct problems *ps)
{
    const struct script_params *s = params;
    char field[PROBLEM_PATH_MAX];
    catalog_check_args(&s->args, path, ps);
    (void)snprintf(field, sizeof(field), "%s.script", path);
    if (!s->script && !s->inline_text)
        problems_add(ps, field, "is required, or inline in its place");
    one_of(s->script, s->inline_text, "script", "inline", path, ps);
    one_of(s->rollback_script, s->rollback_inline, "rollback_script", "rollbackInline", path, ps);
    one_of(s->check_script, s->check_inline, "check_script", "checkInline", path, ps);
    (void)snprintf(field, sizeof(field), "%s.interpreter", path);
    if (s->interpreter && !s->inline_text && !s->rollback_inline && !s->check_inline)
        problems_add(ps, field, "is for inline texts, and there is none");
}

static const char *script_undo_lacks(const void *params)
{
    const struct script_params *script = params;
    return script->rollback_script || script->rollback_inline ? NULL
                                                              : "there is no rollback_script";
}

const struct step_type script_type = {
    .name = "script",
    .doc =
        "Runs a program on the server, or a text as a script. Exit status 0 is success. What it "
        "leaves running is ended "
        "after a grace time. What it prints is kept, of a long output the beginning and the end. "
        "It finds KITSUNE_SERVER_ID, KITSUNE_ROLLOUT, KITSUNE_STEP, KITSUNE_ATTEMPT and "
        "KITSUNE_PHASE (check, execute or rollback) in its environment, and in KITSUNE_OUTPUT a "
        "file to which it can append lines NAME=VALUE for later steps. A script is tried once "
        "unless the step's retry says more.",
    .undo_doc = "Runs rollback_script or rollbackInline with the same args. Without one the step "
                "cannot be undone, and "
                "rolling back passes over it.",
    .traits = STEP_TYPE_CHANGES | STEP_TYPE_OUTPUTS,
    .params = &script_table,
    .check = script_check,
    .undo_lacks = script_undo_lacks,
};
