/*
 * arguments: what a program is told, by the file that one of its options names and by its command
 * line. Both are given to the same option code (config.h), the file first, so that the command line
 * can say otherwise. What stands behind --help or --version is not looked at.
 *
 * Threading: not with getopt(3) in another thread. I/O: arguments_file reads the file.
 */
#pragma once

#include "common/base/log.h"
#include "common/config/config.h"

/* Finds use->except on the command line and has the file that it names given to use->take.
 * *ret_config stays as it is when there is none. ERR_INVALID: an option that is not known or lacks
 * its value; else as config_load. */
enum error_code arguments_file(int argc, char **argv, const struct config_use *use,
                               struct config **ret_config, struct error *err) MUST_CHECK;
/* Gives each option of the command line, but for use->except, to use->take; the value is of argv,
 * NULL for an option without one. ERR_INVALID: also something that is no option. */
enum error_code arguments_take(int argc, char **argv, const struct config_use *use,
                               struct error *err) MUST_CHECK;

/* The values of --log-format and --log-level, which all have. ERR_INVALID. */
enum error_code arguments_log_format(const char *value, enum log_format *ret_format,
                                     struct error *err) MUST_CHECK;
enum error_code arguments_log_level(const char *value, enum log_level *ret_level,
                                    struct error *err) MUST_CHECK;
