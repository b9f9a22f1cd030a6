#include "handlers/catalog_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

/* ---- All --------------------------------------------------------------------------------- */

static const struct step_type *const types[] = {
    &command_check_type, &directory_type, &echo_type,        &file_remove_type, &file_write_type,
    &http_check_type,    &release_type,   &script_type,      &service_type,     &sleep_type,
    &symlink_type,       &tcp_check_type, &yum_install_type, &yum_remove_type,  &yum_upgrade_type,
};
const struct step_catalog handler_catalog = {types, sizeof(types) / sizeof(types[0])};
