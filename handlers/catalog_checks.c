/* The health gates: http_check, tcp_check, command_check. */
#include "handlers/catalog_internal.h"

#include <stdio.h>
#include <string.h>

enum {
    URL_BYTES_MAX = 2048,
    HOST_BYTES_MAX = 255,
    EXPECT_BYTES_MAX = 4096,
    REGEX_BYTES_MAX = 512,
    SEND_BYTES_MAX = 65536,
    THRESHOLD_MAX = 1000,
    REDIRECTS_MAX = 20,
    PORT_MAX = 65535,
    PROBE_SECONDS_MAX = 86400
};
#define PROBE_SECONDS_MIN 0.05

/* What all gates take, in the member `gate` of their params. */
#define GATE_FIELDS(type_)                                                                         \
    {.name = "interval",                                                                           \
     .type = JSON_SECONDS,                                                                         \
     JSON_AT(type_, gate.interval_ms),                                                             \
     .flags = JSON_HAS_DEFAULT | JSON_SECONDS_TEXT,                                                \
     .min = PROBE_SECONDS_MIN,                                                                     \
     .max = PROBE_SECONDS_MAX,                                                                     \
     .fallback = 5,                                                                                \
     .doc = "From the start of one probe to the start of the next: a number of seconds, or a "     \
            "text such as \"500ms\". Probes never overlap: one that takes longer is followed by "  \
            "the next at once."},                                                                  \
        {.name = "timeout",                                                                        \
         .type = JSON_SECONDS,                                                                     \
         JSON_AT(type_, gate.timeout_ms),                                                          \
         .flags = JSON_HAS_DEFAULT | JSON_SECONDS_TEXT,                                            \
         .min = PROBE_SECONDS_MIN,                                                                 \
         .max = PROBE_SECONDS_MAX,                                                                 \
         .fallback = 5,                                                                            \
         .doc = "How long one probe may take; one that takes longer has failed. The step's own "   \
                "timeoutSeconds bounds all of them together."},                                    \
        {.name = "successThreshold",                                                               \
         .type = JSON_INT,                                                                         \
         JSON_AT(type_, gate.success_threshold),                                                   \
         .flags = JSON_HAS_DEFAULT,                                                                \
         .min = 1,                                                                                 \
         .max = THRESHOLD_MAX,                                                                     \
         .fallback = 1,                                                                            \
         .doc = "So many probes in a row must succeed; then the step has succeeded."},             \
    {                                                                                              \
        .name = "failureThreshold", .type = JSON_INT, JSON_AT(type_, gate.failure_threshold),      \
        .flags = JSON_HAS_DEFAULT, .min = 1, .max = THRESHOLD_MAX, .fallback = 3,                  \
        .doc = "When so many probes in a row have failed, the server is unhealthy and the step "   \
               "has failed."                                                                       \
    }

#define GATE_UNDO_DOC "Nothing: there is nothing to undo, and the server is not probed again."

/* ---- http_check -------------------------------------------------------------------------- */

static const struct json_enum http_methods = {http_method_names, HTTP_METHOD_COUNT};

static const struct json_field http_check_fields[] = {
    {.name = "url",
     .type = JSON_STRING,
     JSON_AT(struct http_check_params, url),
     .flags = JSON_REQUIRED,
     .max = URL_BYTES_MAX,
     .check = catalog_check_url,
     .doc = "The address to ask, http:// or https://."},
    {.name = "method",
     .type = JSON_ENUM,
     JSON_AT(struct http_check_params, method),
     .flags = JSON_HAS_DEFAULT,
     .fallback = HTTP_GET,
     .values = &http_methods,
     .doc = "The request's method."},
    {.name = "expectStatus",
     .type = JSON_CUSTOM,
     JSON_AT(struct http_check_params, expect_status),
     .flags = JSON_OMIT_EMPTY,
     .custom = &catalog_statuses_custom,
     .doc = "The status that a healthy server answers with: a number, a class such as \"2xx\", or "
            "a list of them. Left out: \"2xx\"."},
    {.name = "expectBody",
     .type = JSON_STRING,
     JSON_AT(struct http_check_params, expect_body),
     .flags = JSON_OMIT_EMPTY,
     .min = 1,
     .max = EXPECT_BYTES_MAX,
     .doc = "A text that must be in the first MiB of the answer's body."},
    {.name = "expectBodyRegex",
     .type = JSON_STRING,
     JSON_AT(struct http_check_params, expect_body_regex),
     .flags = JSON_OMIT_EMPTY,
     .min = 1,
     .max = REGEX_BYTES_MAX,
     .check = catalog_check_regex,
     .doc = "A POSIX extended regular expression that must match in the first MiB of the body."},
    {.name = "headers",
     .type = JSON_CUSTOM,
     JSON_AT(struct http_check_params, headers),
     .flags = JSON_OMIT_EMPTY | JSON_SECRETS,
     .custom = &catalog_headers_custom,
     .doc = "Headers of the request, an object of texts by name. Their values are not printed."},
    {.name = "body",
     .type = JSON_STRING,
     JSON_AT(struct http_check_params, body),
     .flags = JSON_OMIT_EMPTY | JSON_SECRETS,
     .min = 1,
     .max = SEND_BYTES_MAX,
     .doc = "The body of a POST."},
    {.name = "maxRedirects",
     .type = JSON_INT,
     JSON_AT(struct http_check_params, max_redirects),
     JSON_HAS(struct http_check_params, has_max_redirects),
     .max = REDIRECTS_MAX,
     .doc = "How many redirects are followed. Left out: 5, or none where expectStatus has a status "
            "of 3xx in it."},
    {.name = "connectTo",
     .type = JSON_STRING,
     JSON_AT(struct http_check_params, connect_to),
     .flags = JSON_OMIT_EMPTY,
     .max = HOST_BYTES_MAX,
     .check = catalog_check_place,
     .doc = "HOST or HOST:PORT to connect to instead of the address's own, which still is the one "
            "asked for and, with https, the one whose certificate is expected. With 127.0.0.1 this "
            "very server is asked, not whichever one the name leads to."},
    {.name = "proxy",
     .type = JSON_STRING,
     JSON_AT(struct http_check_params, proxy),
     .flags = JSON_OMIT_EMPTY,
     .max = URL_BYTES_MAX,
     .check = catalog_check_url,
     .doc = "The address of a proxy. Left out: none, also when the environment names one."},
    {.name = "caFile",
     .type = JSON_STRING,
     JSON_AT(struct http_check_params, ca_file),
     .flags = JSON_OMIT_EMPTY,
     .max = PATH_BYTES_MAX,
     .check = catalog_check_file_path,
     .doc = "A file of PEM certificates that are trusted in place of the system's."},
    {.name = "insecureSkipVerify",
     .type = JSON_BOOL,
     JSON_AT(struct http_check_params, insecure_skip_verify),
     .flags = JSON_HAS_DEFAULT,
     .doc = "True: any certificate is taken, whoever it is for and whoever made it."},
    GATE_FIELDS(struct http_check_params),
};
static const struct json_table http_check_table =
    PARAMS_TABLE("http_check", struct http_check_params, http_check_fields,
                 "What to ask, and which answers are healthy.");

static void goes_not_with(const char *path, const char *field, const char *why, struct problems *ps)
{
    char place[PROBLEM_PATH_MAX];
    (void)snprintf(place, sizeof(place), "%s.%s", path, field);
    problems_add(ps, place, "%s", why);
}

static void http_check_check(const void *params, const char *path, struct problems *ps)
{
    const struct http_check_params *http = params;
    if (http->body && http->method != HTTP_POST)
        goes_not_with(path, "body", "goes with method \"POST\" alone", ps);
    if (http->method == HTTP_HEAD && (http->expect_body || http->expect_body_regex))
        goes_not_with(path, http->expect_body ? "expectBody" : "expectBodyRegex",
                      "cannot be looked for: the answer to a HEAD has no body", ps);
    if (http->ca_file && http->insecure_skip_verify)
        goes_not_with(path, "caFile", "says nothing with insecureSkipVerify; leave one of them out",
                      ps);
}

const struct step_type http_check_type = {
    .name = "http_check",
    .doc =
        "A health gate: asks an HTTP server and fails the server when it is unhealthy. It is "
        "probed again and again, until successThreshold probes in a row have succeeded or "
        "failureThreshold in a row have failed. Each probe is a connection of its own. The "
        "thresholds are this step's retry: a server that was found unhealthy is not tried again.",
    .undo_doc = GATE_UNDO_DOC,
    .traits = STEP_TYPE_IDEMPOTENT,
    .params = &http_check_table,
    .check = http_check_check,
};

/* ---- tcp_check --------------------------------------------------------------------------- */

static const struct json_field tcp_check_fields[] = {
    {.name = "host",
     .type = JSON_STRING,
     JSON_AT(struct tcp_check_params, host),
     .flags = JSON_OMIT_EMPTY,
     .min = 1,
     .max = HOST_BYTES_MAX,
     .check = catalog_check_host,
     .doc = "The host's name or address. Left out: localhost. All addresses of a name are tried; "
            "one that answers is enough."},
    {.name = "port",
     .type = JSON_INT,
     JSON_AT(struct tcp_check_params, port),
     .flags = JSON_REQUIRED,
     .min = 1,
     .max = PORT_MAX,
     .doc = "The TCP port."},
    {.name = "send",
     .type = JSON_STRING,
     JSON_AT(struct tcp_check_params, send),
     .flags = JSON_OMIT_EMPTY,
     .min = 1,
     .max = SEND_BYTES_MAX,
     .doc = "What is sent once the connection is there, such as \"PING\\r\\n\"."},
    {.name = "expect",
     .type = JSON_STRING,
     JSON_AT(struct tcp_check_params, expect),
     .flags = JSON_OMIT_EMPTY,
     .min = 1,
     .max = EXPECT_BYTES_MAX,
     .doc = "A text that must come, within the first 64 KiB. Left out: the connection is enough."},
    GATE_FIELDS(struct tcp_check_params),
};
static const struct json_table tcp_check_table =
    PARAMS_TABLE("tcp_check", struct tcp_check_params, tcp_check_fields,
                 "Where to connect, and what is to come.");

const struct step_type tcp_check_type = {
    .name = "tcp_check",
    .doc = "A health gate: connects to a TCP port and fails the server when nobody answers there. "
           "It is probed again and again, until successThreshold probes in a row have succeeded or "
           "failureThreshold in a row have failed. The thresholds are this step's retry: a server "
           "that was found unhealthy is not tried again.",
    .undo_doc = GATE_UNDO_DOC,
    .traits = STEP_TYPE_IDEMPOTENT,
    .params = &tcp_check_table,
};

/* ---- command_check ----------------------------------------------------------------------- */

static const struct json_field command_check_fields[] = {
    {.name = "command",
     .type = JSON_STRING,
     JSON_AT(struct command_check_params, command),
     .flags = JSON_REQUIRED,
     .min = 1,
     .max = PATH_BYTES_MAX,
     .doc = "The program to run: a path, or a name that is looked up in PATH. No shell takes "
            "part. Exit status 0 is healthy. It must change nothing: it is never undone."},
    {.name = "args",
     .type = JSON_ARRAY,
     JSON_AT(struct command_check_params, args),
     .flags = JSON_OMIT_EMPTY,
     .max = ARGS_MAX,
     .item = &catalog_arg_item,
     .doc = "The program's arguments."},
    GATE_FIELDS(struct command_check_params),
};
static const struct json_table command_check_table =
    PARAMS_TABLE("command_check", struct command_check_params, command_check_fields,
                 "Which program tells whether the server is healthy.");

static void command_check_check(const void *params, const char *path, struct problems *ps)
{
    const struct command_check_params *command = params;
    catalog_check_args(&command->args, path, ps);
}

const struct step_type command_check_type = {
    .name = "command_check",
    .doc =
        "A health gate: runs a program and fails the server when it ends with another status than "
        "0. It is run again and again, until successThreshold runs in a row have succeeded or "
        "failureThreshold in a row have failed. The program finds in its environment what a "
        "script does, and is ended with all it has started when its time is over. The thresholds "
        "are this step's retry: a server that was found unhealthy is not tried again.",
    .undo_doc = GATE_UNDO_DOC,
    .traits = STEP_TYPE_IDEMPOTENT,
    .params = &command_check_table,
    .check = command_check_check,
};
