/*
 * db_log: looks at a database's write-ahead log before SQLite takes it over.
 *
 * SQLite takes what is whole at the log's beginning and drops the rest in silence: right for what a
 * crash has torn, since nobody was told that it was durable. But a commit is begun only when the
 * one before it is on disk; so where a whole commit and something behind it stand after a place
 * that is not whole, that place was whole once, and what would be dropped was relied on.
 *
 * Threading: no shared state. I/O: reads the log; changes nothing.
 */
#pragma once

#include "common/base/error.h"

#include <stdint.h>

struct db_log {
    int64_t commits;    /* whole ones, which SQLite is going to take over */
    int64_t torn_bytes; /* behind them, of one that was not finished */
};

/* The log of the database at `path`; none, or an empty one, is fine. ERR_CORRUPT: damaged, with the
 * place. ERR_IO and its like: it cannot be read. */
enum error_code db_log_look(const char *path, struct db_log *ret_log, struct error *err) MUST_CHECK;
