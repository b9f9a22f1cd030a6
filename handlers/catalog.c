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

/* ---- reboot ------------------------------------------------------------------------------ */

enum { REBOOT_SECONDS_MIN = 1, REBOOT_SECONDS = 600, REBOOT_MESSAGE_MAX = 400 };

static const struct json_field reboot_fields[] = {
    {.name = "timeout",
     .type = JSON_SECONDS,
     JSON_AT(struct reboot_params, timeout_ms),
     .flags = JSON_HAS_DEFAULT | JSON_SECONDS_TEXT,
     .min = REBOOT_SECONDS_MIN,
     .max = PLAN_MAX_SECONDS,
     .fallback = REBOOT_SECONDS,
     .doc = "How long the server may be away: a number of seconds, or a text such as \"10m\". One "
            "that is not back by then is unknown."},
    {.name = "delay",
     .type = JSON_SECONDS,
     JSON_AT(struct reboot_params, delay_ms),
     .flags = JSON_HAS_DEFAULT | JSON_SECONDS_TEXT,
     .max = PLAN_MAX_SECONDS,
     .doc = "How long to wait before the server goes down. The step's timeoutSeconds must be "
            "longer."},
    {.name = "message",
     .type = JSON_STRING,
     JSON_AT(struct reboot_params, message),
     .max = REBOOT_MESSAGE_MAX,
     .doc = "Why, for those who follow the rollout and for the agent's log."},
    {.name = "onlyIfRequired",
     .type = JSON_BOOL,
     JSON_AT(struct reboot_params, only_if_required),
     .flags = JSON_HAS_DEFAULT,
     .doc = "Do nothing unless a reboot is required (facts.rebootRequired)."},
};
static const struct json_table reboot_table =
    PARAMS_TABLE("reboot", struct reboot_params, reboot_fields, "How to reboot.");

const struct step_type reboot_type = {
    .name = "reboot",
    .doc =
        "Reboots the server, waits until its agent is back in another boot, and goes on with the "
        "next step. While it is away it is not missed: only one that is not back in time is "
        "unknown.",
    .undo_doc = "Nothing: a reboot cannot be taken back, and undoing reboots no server.",
    .traits = STEP_TYPE_IDEMPOTENT | STEP_TYPE_CHANGES | STEP_TYPE_NO_UNDO,
    .params = &reboot_table,
};

/* ---- All --------------------------------------------------------------------------------- */

static const struct step_type *const types[] = {
    &command_check_type, &directory_type,   &echo_type,       &file_remove_type,
    &file_write_type,    &http_check_type,  &reboot_type,     &release_type,
    &script_type,        &service_type,     &sleep_type,      &symlink_type,
    &tcp_check_type,     &yum_install_type, &yum_remove_type, &yum_upgrade_type,
};
const struct step_catalog handler_catalog = {types, sizeof(types) / sizeof(types[0])};
