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

enum { OPTIONS_MAX_HOST = 256 };
#define OPTIONS_MAX_EPOCH INT64_C(1000000000000) /* far above what starting can reach */

struct options {
    char host[OPTIONS_MAX_HOST]; /* default 127.0.0.1 */
    uint16_t port;               /* default 7233; 0: a free one */
    const char *data_dir;        /* default /var/lib/kitsune-orchestrator */
    int64_t heartbeat_ms;        /* default 15000 */
    int64_t retain_ms;           /* ended rollouts are kept so long; default 90 days; 0: forever */
    bool check;                  /* look for damage and end */
    bool accept_restored;        /* go on with a journal that was restored from a backup */
    int64_t accept_epoch;        /* in an epoch not below this; 0: not said */
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
