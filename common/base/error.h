/*
 * error: what went wrong, in a fixed-size value that the caller owns.
 *
 * Every function that can fail returns an error code and takes `struct error *err` as its last
 * argument. The caller provides the storage; nothing here allocates, logs or prints.
 * `err` may be NULL where only the code matters.
 *
 * Threading: no shared state. I/O: none.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/* X(constant, wire name, default text) */
#define ERROR_CODES(X)                                                                             \
    X(ERR_OK, "ok", "success")                                                                     \
    X(ERR_NO_MEMORY, "no_memory", "out of memory")                                                 \
    X(ERR_INVALID, "invalid", "invalid input")                                                     \
    X(ERR_NOT_FOUND, "not_found", "not found")                                                     \
    X(ERR_EXISTS, "exists", "already exists")                                                      \
    X(ERR_CONFLICT, "conflict", "conflicts with the present state")                                \
    X(ERR_STALE, "stale", "already known")                                                         \
    X(ERR_LIMIT, "limit", "a limit was exceeded")                                                  \
    X(ERR_IO, "io", "input/output error")                                                          \
    X(ERR_NO_SPACE, "no_space", "no space left on device")                                         \
    X(ERR_DENIED, "denied", "permission denied")                                                   \
    X(ERR_BUSY, "busy", "in use")                                                                  \
    X(ERR_UNAVAILABLE, "unavailable", "not available")                                             \
    X(ERR_TIMEOUT, "timeout", "timed out")                                                         \
    X(ERR_CANCELLED, "cancelled", "cancelled")                                                     \
    X(ERR_CORRUPT, "corrupt", "data is corrupt")                                                   \
    X(ERR_PROTOCOL, "protocol", "protocol violation")                                              \
    X(ERR_UNSUPPORTED, "unsupported", "not supported")                                             \
    X(ERR_INTERNAL, "internal", "internal error")

enum error_code {
#define X(code, name, text) code,
    ERROR_CODES(X)
#undef X
        ERROR_CODE_COUNT
};

enum { ERROR_MESSAGE_MAX = 256 };

struct error {
    enum error_code code;
    char message[ERROR_MESSAGE_MAX]; /* NUL-terminated; cut at a UTF-8 boundary when too long */
};

/* On a function whose result must be looked at. */
#define MUST_CHECK __attribute__((warn_unused_result))
#define PRINTF_LIKE(fmt, first) __attribute__((format(printf, fmt, first)))

/* Sets code and message and returns the code, so that `return error_set(err, ...)` reads well.
 * A NULL fmt takes the code's default text. */
enum error_code error_set(struct error *err, enum error_code code, const char *fmt, ...)
    PRINTF_LIKE(3, 4);

/* Puts "<context>: " before the message that is there, and returns err's code (ERR_INTERNAL when
 * err is NULL). */
enum error_code error_wrap(struct error *err, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* Sets an error from an errno value (ENOSPC -> ERR_NO_SPACE, EACCES -> ERR_DENIED, ...); the
 * message is "<context>: <strerror>". */
enum error_code error_errno(struct error *err, int errnum, const char *fmt, ...) PRINTF_LIKE(3, 4);

/* The wire name of a code ("not_found"); static storage. */
const char *error_code_name(enum error_code code);

/* Says that a result is deliberately not looked at (gcc ignores a (void) cast on MUST_CHECK). */
static inline void error_ignore(enum error_code code)
{
    (void)code;
}
