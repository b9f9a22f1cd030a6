/*
 * profile: which orchestrator is meant, by which CA it is known, and with whose token it is asked.
 * In this order, the first that says something counts:
 *
 *     --orchestrator URL        --ca FILE      --token-file FILE
 *     KITSUNE_ORCHESTRATOR      KITSUNE_CA     KITSUNE_TOKEN, then KITSUNE_TOKEN_FILE
 *     ~/.config/kitsune/config (below XDG_CONFIG_HOME when that is set)
 *     /etc/kitsune/kitsune.conf
 *     the socket of an orchestrator on this machine, or else http://127.0.0.1:7233
 *
 * What a file says of CA and token is for the orchestrator that it names (or, when it names none,
 * the other file): a token is never sent to another one because that was named on the command line.
 * A path in a file begins at the file's folder.
 *
 * Threading: one thread at a time. I/O: the files named; a try to connect to the socket.
 */
#pragma once

#include "common/base/error.h"
#include "common/pki/pki_file.h"

#include <stdbool.h>

#define PROFILE_DEFAULT_URL "http://127.0.0.1:7233"

enum profile_key {
    PROFILE_ORCHESTRATOR,
    PROFILE_CA,         /* a file */
    PROFILE_TOKEN_FILE, /* a file */
    PROFILE_KEYS
};

struct profile_sources {
    const char *given[PROFILE_KEYS];      /* on the command line; NULL: not */
    const char *(*env)(const char *name); /* getenv(3) */
    const char *system_file;              /* NULL: none */
    const char *socket;                   /* NULL: none */
};

struct profile_value {
    char *text; /* NULL: not said */
    char *from; /* "--ca", "KITSUNE_CA", a file; NULL: nobody said it */
};

struct profile {
    struct profile_value values[PROFILE_KEYS];
    const char *token;  /* of the environment, instead of a file; borrowed from it; NULL: none */
    bool socket_closed; /* there is one on this machine, which this user may not use */
};

/* ERR_INVALID names the file and the line. Caller owns. */
enum error_code profile_load(const struct profile_sources *sources, struct profile *ret_profile,
                             struct error *err) MUST_CHECK;
void profile_done(struct profile *profile);
#define AUTO_PROFILE __attribute__((cleanup(profile_done)))

/* Where the user's file is. ERR_NOT_FOUND: there is no home. Caller owns. */
enum error_code profile_user_file(const char *(*env)(const char *name), char **ret_path,
                                  struct error *err) MUST_CHECK;
/* The text of the user's file with these values. ERR_LIMIT, ERR_INVALID: one does not fit in. */
enum error_code profile_text(const char *const values[PROFILE_KEYS], struct buf *out,
                             struct error *err) MUST_CHECK;

/* Reads the token. ERR_NOT_FOUND: there is none; ERR_DENIED: others may read the file; ERR_INVALID.
 * Caller owns. */
enum error_code profile_token(const struct profile *profile, struct pki_secret *ret_token,
                              struct error *err) MUST_CHECK;
/* Where it comes from, for messages; NULL: there is none. */
const char *profile_token_from(const struct profile *profile);
/* Takes a token out of a text: one line of what can stand in a header. `name` says in messages what
 * the text is; nothing of the text does. ERR_INVALID. */
enum error_code profile_token_parse(const char *text, size_t len, const char *name,
                                    struct pki_secret *ret_token, struct error *err) MUST_CHECK;
