/*
 * log: one line per event on standard error, logfmt or JSON. Called by the edges only; libraries
 * return errors instead. A line is written with a single write(2), so lines of several threads do
 * not mix. Values are quoted and escaped as needed: a log line cannot be forged by its data.
 *
 *     log_info("agent connected", LOG_STR("server", id), LOG_INT("sessions", n), LOG_END);
 *
 * Threading: safe. I/O: writes to standard error.
 */
#pragma once

#include "common/base/error.h"

#include <stdbool.h>
#include <stdint.h>

#define LOG_LEVELS(X)                                                                              \
    X(LOG_DEBUG, "debug") X(LOG_INFO, "info") X(LOG_WARN, "warn") X(LOG_ERROR, "error")
enum log_level {
#define X(level, name) level,
    LOG_LEVELS(X)
#undef X
        LOG_LEVEL_COUNT
};

enum log_format { LOG_LOGFMT, LOG_JSON };

enum log_kind { LOG_KIND_END, LOG_KIND_STR, LOG_KIND_INT };
struct log_field {
    enum log_kind kind;
    const char *key;
    const char *text; /* NULL is written as an empty value */
    int64_t number;
};
#define LOG_STR(key_, text_) ((struct log_field){LOG_KIND_STR, (key_), (text_), 0})
#define LOG_INT(key_, number_) ((struct log_field){LOG_KIND_INT, (key_), NULL, (int64_t)(number_)})
#define LOG_END ((struct log_field){LOG_KIND_END, NULL, NULL, 0})

/* Process-wide; set once at the start of main. Lines below `level` are dropped. */
void log_setup(enum log_format format, enum log_level level);
/* "logfmt" or "json"; "debug".."error". False when the name is none of them. */
bool log_format_parse(const char *name, enum log_format *ret);
bool log_level_parse(const char *name, enum log_level *ret);

/* Fields by value, ended by LOG_END. */
void log_line(enum log_level level, const char *message, ...);
#define log_debug(...) log_line(LOG_DEBUG, __VA_ARGS__)
#define log_info(...) log_line(LOG_INFO, __VA_ARGS__)
#define log_warn(...) log_line(LOG_WARN, __VA_ARGS__)
#define log_error(...) log_line(LOG_ERROR, __VA_ARGS__)

/* Writes the line "ready <text>" to standard error, whatever the level. */
void log_ready(const char *text);
