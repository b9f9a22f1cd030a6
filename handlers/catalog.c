#include "handlers/catalog_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PACKAGE_BYTES_MAX = 255 };

/* ---- Rules for strings ------------------------------------------------------------------- */

static const char *check_installroot(const char *s)
{
    if (strcmp(s, "/") == 0 || (s[0] == '/' && s[strlen(s) - 1] != '/'))
        return NULL;
    return "the absolute path of a folder, without a slash at its end";
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
    &command_check_type, &directory_type,  &echo_type,      &file_remove_type,
    &file_write_type,    &http_check_type, &script_type,    &service_type,
    &sleep_type,         &symlink_type,    &tcp_check_type, &yum_upgrade_type,
};
const struct step_catalog handler_catalog = {types, sizeof(types) / sizeof(types[0])};
