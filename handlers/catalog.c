#include "handlers/catalog_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    ARGS_TOTAL_MAX = 512 * 1024, /* leaves room for the environment in ARG_MAX */
    PACKAGE_BYTES_MAX = 255,
    OWNER_BYTES_MAX = 256
};

/* ---- Rules for strings ------------------------------------------------------------------- */

const char *catalog_check_file_path(const char *s)
{
    const char *last = strrchr(s, '/');
    if (s[0] == '/' && last[1] != '\0' && strcmp(last, "/.") != 0 && strcmp(last, "/..") != 0)
        return NULL;
    return "the absolute path of a file, such as \"/etc/motd\"";
}

static const char *check_installroot(const char *s)
{
    if (strcmp(s, "/") == 0 || (s[0] == '/' && s[strlen(s) - 1] != '/'))
        return NULL;
    return "the absolute path of a folder, without a slash at its end";
}

static const char *check_mode(const char *s)
{
    size_t len = strlen(s);
    if (strspn(s, "01234567") == len && (len == 3 || len == 4 || (len == 5 && s[0] == '0')))
        return NULL;
    return "an octal mode as text, such as \"0644\" or \"4755\"";
}

/* Names go to getpwnam(3) and the like; what no user database has is refused here. */
static const char *check_owner(const char *s)
{
    const char *rule = "a name or a number from 0 to 4294967294";
    if (s[strspn(s, "0123456789")] == '\0')
        return strlen(s) <= 10 && strtoull(s, NULL, 10) < UINT32_MAX ? NULL : rule;
    if (s[0] == '-')
        return rule;
    for (const char *c = s; *c; c++) {
        if ((unsigned char)*c <= ' ' || *c == 0x7f || *c == ':' || *c == '/')
            return rule;
    }
    return NULL;
}

#define LETTERS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
#define DIGITS "0123456789"

/* These go to dnf's command line, where a leading '-' would be an option, '*' a pattern and '/' a
 * file. */
static bool package_text(const char *s)
{
    return s[0] != '-' && s[strspn(s, LETTERS DIGITS "._+:~^-")] == '\0';
}

static const char *check_package(const char *s)
{
    return package_text(s) ? NULL
                           : "a package's name, such as \"nginx\" or \"nginx.x86_64\": letters, "
                             "digits and ._+:~^-, no \"-\" at the start";
}

static const char *check_version(const char *s)
{
    return package_text(s) ? NULL
                           : "a version, such as \"1.20.1\", \"1.20.1-14\" or \"1:1.20.1-14\": "
                             "letters, digits and ._+:~^-, no \"-\" at the start";
}

/* ---- echo -------------------------------------------------------------------------------- */

static const struct json_field echo_fields[] = {
    {.name = "message",
     .type = JSON_STRING,
     JSON_AT(struct echo_params, message),
     .flags = JSON_REQUIRED,
     .max = 65536,
     .doc = "The text to print."},
};
static const struct json_table echo_table =
    PARAMS_TABLE("echo", struct echo_params, echo_fields, "What to print.");

const struct step_type echo_type = {
    .name = "echo",
    .doc = "Prints a message into the step's output. It changes nothing, so it serves to mark a "
           "place in a rollout or to try a plan out.",
    .undo_doc = "Nothing: there is nothing to undo.",
    .traits = STEP_TYPE_IDEMPOTENT | STEP_TYPE_INSTANT,
    .params = &echo_table,
};

/* ---- sleep ------------------------------------------------------------------------------- */

static const struct json_field sleep_fields[] = {
    {.name = "duration",
     .type = JSON_SECONDS,
     JSON_AT(struct sleep_params, duration_ms),
     .flags = JSON_REQUIRED | JSON_SECONDS_TEXT,
     .max = PLAN_MAX_SECONDS,
     .doc = "How long to wait: a number of seconds, fractions included, or a text such as "
            "\"1m30s\". At most 30 days."},
};
static const struct json_table sleep_table =
    PARAMS_TABLE("sleep", struct sleep_params, sleep_fields, "How long to wait.");

const struct step_type sleep_type = {
    .name = "sleep",
    .doc =
        "Waits, for instance to let a service settle before the next step looks at it. The step's "
        "timeout must be longer than the wait.",
    .undo_doc = "Nothing: there is nothing to undo, and the wait is not repeated.",
    .traits = STEP_TYPE_IDEMPOTENT,
    .params = &sleep_table,
};

/* ---- script ------------------------------------------------------------------------------ */

const struct json_field catalog_arg_item = {
    .type = JSON_STRING, .max = ARG_BYTES_MAX, .doc = "One argument, passed on as it is."};

static const struct json_field script_fields[] = {
    {.name = "script",
     .type = JSON_STRING,
     JSON_AT(struct script_params, script),
     .flags = JSON_REQUIRED,
     .min = 1,
     .max = PATH_BYTES_MAX,
     .doc = "The program to run: a path, or a name that is looked up in PATH. No shell takes part; "
            "for a shell line give \"sh\" here and \"-c\" and the line as args."},
    {.name = "args",
     .type = JSON_ARRAY,
     JSON_AT(struct script_params, args),
     .flags = JSON_OMIT_EMPTY,
     .max = ARGS_MAX,
     .item = &catalog_arg_item,
     .doc = "The program's arguments."},
    {.name = "rollback_script",
     .type = JSON_STRING,
     JSON_AT(struct script_params, rollback_script),
     .flags = JSON_OMIT_EMPTY,
     .min = 1,
     .max = PATH_BYTES_MAX,
     .doc =
         "The program that undoes what the script did, run with the same args. It must cope with "
         "a script that was cut off half-way or never began."},
    {.name = "check_script",
     .type = JSON_STRING,
     JSON_AT(struct script_params, check_script),
     .flags = JSON_OMIT_EMPTY,
     .min = 1,
     .max = PATH_BYTES_MAX,
     .doc = "A program that says whether there is anything to do, run with the same args; it must "
            "change nothing. Exit status 0: there is not, and the script is not run. Any other: "
            "there is. Left out: the script is always run, and a check says that it would be."},
};
static const struct json_table script_table = PARAMS_TABLE(
    "script", struct script_params, script_fields, "Which program to run, and which undoes it.");

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

static void script_check(const void *params, const char *path, struct problems *ps)
{
    const struct script_params *script = params;
    catalog_check_args(&script->args, path, ps);
}

static const char *script_undo_lacks(const void *params)
{
    const struct script_params *script = params;
    return script->rollback_script ? NULL : "there is no rollback_script";
}

const struct step_type script_type = {
    .name = "script",
    .doc =
        "Runs a program on the server. Exit status 0 is success. What it leaves running is ended "
        "after a grace time. What it prints is kept, of a long output the beginning and the end. "
        "It finds KITSUNE_SERVER_ID, KITSUNE_ROLLOUT, KITSUNE_STEP, KITSUNE_ATTEMPT and "
        "KITSUNE_PHASE (check, execute or rollback) in its environment. A script is tried once "
        "unless "
        "the step's retry says more.",
    .undo_doc =
        "Runs rollback_script with the same args. Without one the step cannot be undone, and "
        "rolling back passes over it.",
    .traits = STEP_TYPE_CHANGES,
    .params = &script_table,
    .check = script_check,
    .undo_lacks = script_undo_lacks,
};

/* ---- file_write -------------------------------------------------------------------------- */

static const struct json_field file_write_fields[] = {
    {.name = "path",
     .type = JSON_STRING,
     JSON_AT(struct file_write_params, path),
     .flags = JSON_REQUIRED,
     .min = 1,
     .max = PATH_BYTES_MAX,
     .check = catalog_check_file_path,
     .doc = "The file to write, as an absolute path. Its folder must exist."},
    {.name = "content",
     .type = JSON_STRING,
     JSON_AT(struct file_write_params, content),
     .flags = JSON_REQUIRED,
     .doc = "The whole content of the file, UTF-8 text; may be empty. At most 1 MiB."},
    {.name = "mode",
     .type = JSON_STRING,
     JSON_AT(struct file_write_params, mode),
     .flags = JSON_OMIT_EMPTY,
     .check = check_mode,
     .doc = "The file's mode, octal and as text, such as \"0644\". Left out: the mode of the file "
            "that is there, or 0644 for a new one."},
    {.name = "owner",
     .type = JSON_STRING,
     JSON_AT(struct file_write_params, owner),
     .flags = JSON_OMIT_EMPTY,
     .min = 1,
     .max = OWNER_BYTES_MAX,
     .check = check_owner,
     .doc =
         "The file's owner, a user's name or number. Left out: that of the file that is there, or "
         "the agent's for a new one."},
    {.name = "group",
     .type = JSON_STRING,
     JSON_AT(struct file_write_params, group),
     .flags = JSON_OMIT_EMPTY,
     .min = 1,
     .max = OWNER_BYTES_MAX,
     .check = check_owner,
     .doc = "The file's group, by name or number. Left out: that of the file that is there, or the "
            "agent's for a new one."},
    {.name = "followSymlinks",
     .type = JSON_BOOL,
     JSON_AT(struct file_write_params, follow_symlinks),
     .flags = JSON_HAS_DEFAULT,
     .doc = "True: when path is a symbolic link the file it leads to is written. False: a symbolic "
            "link at path is an error."},
};
static const struct json_table file_write_table =
    PARAMS_TABLE("file_write", struct file_write_params, file_write_fields,
                 "Which file, and what it shall hold.");

const struct step_type file_write_type = {
    .name = "file_write",
    .doc =
        "Writes a file in one piece: whoever reads it meanwhile sees either the old content or "
        "the new one, never a part. When the file has that content, mode and owner already, it is "
        "left alone.",
    .undo_doc = "Brings back the file's bytes, mode, owner, group and extended attributes as they "
                "were, or removes the file when there was none. When someone else has changed the "
                "file since, it is left as it is and the rollback fails and says so.",
    .traits = STEP_TYPE_IDEMPOTENT | STEP_TYPE_CHANGES,
    .params = &file_write_table,
};

/* ---- yum_upgrade ------------------------------------------------------------------------- */

static const struct json_field yum_upgrade_fields[] = {
    {.name = "package",
     .type = JSON_STRING,
     JSON_AT(struct yum_upgrade_params, package),
     .flags = JSON_REQUIRED,
     .min = 1,
     .max = PACKAGE_BYTES_MAX,
     .check = check_package,
     .doc =
         "The package's name, with \".ARCH\" after it where several architectures are installed."},
    {.name = "version",
     .type = JSON_STRING,
     JSON_AT(struct yum_upgrade_params, version),
     .flags = JSON_REQUIRED,
     .min = 1,
     .max = PACKAGE_BYTES_MAX,
     .check = check_version,
     .doc = "The version to bring it to: VERSION, VERSION-RELEASE or EPOCH:VERSION-RELEASE."},
    {.name = "installroot",
     .type = JSON_STRING,
     JSON_AT(struct yum_upgrade_params, installroot),
     .flags = JSON_OMIT_EMPTY,
     .min = 1,
     .max = PATH_BYTES_MAX,
     .check = check_installroot,
     .doc = "The root of the system whose packages are meant. Left out: the agent's own setting, "
            "which is / unless it was started otherwise."},
};
static const struct json_table yum_upgrade_table =
    PARAMS_TABLE("yum_upgrade", struct yum_upgrade_params, yum_upgrade_fields,
                 "Which package, to which version.");

const struct step_type yum_upgrade_type = {
    .name = "yum_upgrade",
    .doc = "Brings an installed package to a version, with dnf or else yum, from the repositories "
           "that the server has; a version older than the installed one is a downgrade. When the "
           "package has that version already, nothing is done.",
    .undo_doc =
        "Brings the package back to exactly the versions that were installed before. Other "
        "packages that the upgrade took along stay as they are, unless the old version needs "
        "others. The repositories must still have the old version.",
    .traits = STEP_TYPE_IDEMPOTENT | STEP_TYPE_CHANGES,
    .params = &yum_upgrade_table,
};

/* ---- All --------------------------------------------------------------------------------- */

static const struct step_type *const types[] = {
    &command_check_type, &echo_type,  &file_write_type, &http_check_type,  &script_type,
    &service_type,       &sleep_type, &tcp_check_type,  &yum_upgrade_type,
};
const struct step_catalog handler_catalog = {types, sizeof(types) / sizeof(types[0])};
