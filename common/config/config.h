/*
 * config: a program's configuration file: `key = value`, one a line, where the keys are the
 * program's long options without their dashes. Comments begin with # or ;, also behind a value
 * (then after a blank). There are no sections.
 *
 *     # /etc/kitsune/agent.conf
 *     server-id = web-1
 *     data-dir = /var/lib/kitsune-agent   ; the default
 *
 * The lines are given to the program's own option code one after the other, so that an option means
 * the same in both places, and every fault is told with file and line.
 *
 * The format is inih's (libinih), and so is the limit on a line.
 *
 * Threading: no shared state. I/O: reads the file.
 */
#pragma once

#include "common/base/cleanup.h"
#include "common/base/error.h"

#include <getopt.h>
#include <stddef.h>

enum {
    CONFIG_MAX_BYTES = 256 * 1024, /* of the file */
    CONFIG_MAX_LINE = 198          /* bytes of a line, without its end */
};

struct config; /* holds the texts that were given out */

struct config_use {
    /* Options with a value may stand in the file; those without one (--help) may not. */
    const struct option *options; /* as for getopt_long, ends with zeroes */
    const char *except;           /* the option that names the file itself, left out; may be NULL */
    void *ctx;
    /* Takes one: `key` is the option's val, `value` lives until config_free. */
    enum error_code (*take)(void *ctx, int key, const char *value, struct error *err);
};

/* Reads the file and gives each line to use->take. ERR_INVALID names file and line, what is wrong
 * and what would be right; ERR_NOT_FOUND, ERR_DENIED, ERR_LIMIT, ERR_NO_MEMORY. Caller owns. */
enum error_code config_load(const char *path, const struct config_use *use,
                            struct config **ret_config, struct error *err) MUST_CHECK;
/* The same for a text; `path` is for messages. */
enum error_code config_parse(const char *path, const char *text, size_t len,
                             const struct config_use *use, struct config **ret_config,
                             struct error *err) MUST_CHECK;
void config_free(struct config *config); /* NULL is fine */
DEFINE_CLEANUP(config_free, struct config)
