/*
 * options: what kitsune-agent is told on its command line, in its environment, and in the file
 * that --config names; what comes first of these counts most. I/O: reads that file.
 */
#pragma once

#include "common/base/array.h"
#include "common/base/error.h"
#include "common/base/log.h"
#include "common/config/config.h"
#include "common/values/value_set.h"

#include <stdbool.h>
#include <stdint.h>

struct options {
    struct array servers;     /* const char *; at least one */
    struct value_set *labels; /* NULL: none */
    const char *orchestrator;
    const char *data_dir;
    const char *ca; /* NULL: not given, as the next two */
    const char *ca_fingerprint;
    const char *ticket;         /* --enrol-token-file */
    const char *installroot;    /* NULL: / */
    const char *reboot_command; /* NULL: systemd is asked */
    const char *trusted_keys;   /* NULL: unsigned plans are run too */
    int64_t stop_timeout_ms;
    int64_t undo_retention_ms;
    int64_t undo_max_bytes;     /* 0: no limit, as the next one */
    int64_t artifact_max_bytes; /* --artifact-cache-max-size */
    enum log_format log_format;
    enum log_level log_level;
    bool one_process; /* the network's side is none of its own */
    bool help, version;
    struct config *config; /* holds the texts that came from the file; NULL: there was none */
};

/* What the environment says; NULL: nothing. */
struct options_environment {
    const char *server_id;    /* SERVER_ID */
    const char *orchestrator; /* KITSUNE_ORCHESTRATOR */
};

/* Reads the arguments, and the file that --config names. ERR_INVALID (ERR_UNSUPPORTED of a URL, see
 * net_url_check) says in one line what is wrong and what would be right. Texts are borrowed from
 * argv and the environment. The caller frees by options_done, also after a failure. */
enum error_code options_parse(int argc, char **argv, const struct options_environment *environment,
                              struct options *ret_options, struct error *err) MUST_CHECK;
void options_done(struct options *options);
extern const char options_help[];
