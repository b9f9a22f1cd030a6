/*
 * catalog: the step types and their params, without the implementations. The orchestrator and the
 * CLI validate plans and document step types with it; the agent decodes params with the same
 * tables.
 *
 * Threading: constants. I/O: none.
 */
#pragma once

#include "common/plan/plan_json.h"

#include <stdbool.h>
#include <stdint.h>

/* All step types, by name. */
extern const struct step_catalog handler_catalog;

extern const struct step_type echo_type;
extern const struct step_type sleep_type;
extern const struct step_type script_type;
extern const struct step_type file_write_type;
extern const struct step_type yum_upgrade_type;

struct echo_params {
    char *message;
};

struct sleep_params {
    int64_t duration_ms; /* a number of seconds, or a text such as "1m30s" */
};

struct script_params {
    char *script;          /* a program: a path, or a name looked up in PATH */
    struct array args;     /* char * */
    char *rollback_script; /* NULL: the step cannot be undone; gets the same args */
};

struct file_write_params {
    char *path;    /* absolute */
    char *content; /* may be empty */
    char *mode;    /* "0644", octal; NULL: that of the file there, else 0644 */
    char *owner;   /* name or number; NULL: that of the file there, else the agent's */
    char *group;
    bool follow_symlinks; /* false: a symlink at `path` is an error */
};

struct yum_upgrade_params {
    char *package;     /* a name, or name.arch */
    char *version;     /* VERSION, VERSION-RELEASE or EPOCH:VERSION-RELEASE */
    char *installroot; /* NULL: the agent's, which is / unless set */
};
