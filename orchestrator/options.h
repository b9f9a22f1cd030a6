/*
 * options: what kitsune-orchestrator is told on its command line, and in the file that --config
 * names. I/O: reads that file.
 */
#pragma once

#include "common/base/error.h"
#include "common/base/log.h"
#include "common/config/config.h"

#include <stdbool.h>
#include <stdint.h>

enum { OPTIONS_MAX_HOST = 256, OPTIONS_MAX_HOSTS = 24 };
#define OPTIONS_MAX_EPOCH INT64_C(1000000000000) /* far above what starting can reach */

struct options {
    char host[OPTIONS_MAX_HOST];  /* default 127.0.0.1 */
    uint16_t port;                /* default 7233; 0: a free one */
    const char *data_dir;         /* default /var/lib/kitsune-orchestrator */
    int64_t heartbeat_ms;         /* default 15000 */
    int64_t retain_ms;            /* ended rollouts are kept so long; default 90 days; 0: forever */
    int64_t artifact_max_bytes;   /* of all artifacts together; default 20 GiB; 0: no limit */
    bool insecure_dev;            /* plain HTTP, on a loopback address, and everybody may all */
    const char *socket;           /* path of a Unix socket to serve on too; NULL: none */
    const char *socket_group;     /* whose members are operators there; NULL: nobody's */
    int64_t agent_certificate_ms; /* how long one is good; default 30 days */
    int64_t server_certificate_ms; /* default 1 year */
    bool init;                     /* make CA, certificate and the first token, and end: */
    const char *hosts[OPTIONS_MAX_HOSTS + 1]; /* ended by NULL */
    size_t host_count;
    const char *token_file; /* where the token goes; NULL: standard output */
    bool renew;             /* the server's certificate alone */
    bool check;             /* look for damage and end */
    bool accept_restored;   /* go on with a journal that was restored from a backup */
    int64_t accept_epoch;   /* in an epoch not below this; 0: not said */
    enum log_format log_format;
    enum log_level log_level;
    bool help, version;
    struct config *config; /* holds the texts that came from the file; NULL: there was none */
};

/* Reads the arguments, and the file that --config names. ERR_INVALID says in one line what is wrong
 * and what would be right. Texts are borrowed from argv. Caller owns: options_done. */
enum error_code options_parse(int argc, char **argv, struct options *ret_options,
                              struct error *err) MUST_CHECK;
/* "ADDR:PORT", "[V6]:PORT", "ADDR" or ":PORT". */
enum error_code options_parse_listen(const char *text, struct options *options,
                                     struct error *err) MUST_CHECK;
void options_done(struct options *options);
extern const char options_help[];
