/*
 * known_hosts: whether a host's key is the one that is known, by OpenSSH's known_hosts files,
 * hashed names too. A host that is known by another key, of whatever type, is never taken for a new
 * one.
 *
 * Threading: known_hosts_add may be called from several threads (it locks the file); the rest
 * shares nothing. I/O: reads and appends to files.
 */
#pragma once

#include "common/base/error.h"
#include "orchestrator/cli/install/ssh_config.h"

#include <libssh2.h>
#include <stdbool.h>
#include <stddef.h>

enum known_result {
    KNOWN_MATCH,   /* this key is the host's */
    KNOWN_NEW,     /* nothing is known of the host */
    KNOWN_CHANGED, /* it is known by another key: at ret->file, ret->line */
    KNOWN_REVOKED  /* this key is marked as revoked there */
};

struct known_place {
    char file[TARGET_PATH_MAX];
    int line;
};

/* Looks a key up. Files that are not there are passed over; lines that libssh2 does not understand
 * (certificate authorities) too. ERR_IO, ERR_NO_MEMORY. */
enum error_code known_hosts_check(LIBSSH2_SESSION *session, const struct ssh_config *config,
                                  enum known_result *ret_result, struct known_place *ret_place,
                                  struct error *err) MUST_CHECK;
/* Makes the session ask first for a key of a type that the host is known by: one with several keys
 * is then not taken for a changed one. Before the handshake. */
void known_hosts_prefer(LIBSSH2_SESSION *session, const struct ssh_config *config);
/* Appends the session's key to the user's first file, which is made when it is not there. */
enum error_code known_hosts_add(LIBSSH2_SESSION *session, const struct ssh_config *config,
                                struct error *err) MUST_CHECK;

enum { KNOWN_NAME_MAX = TARGET_NAME_MAX + 16 };
/* "host", or "[host]:port" when it is not 22: how a known_hosts file names it. */
void known_hosts_name(const struct ssh_config *config, char ret[KNOWN_NAME_MAX]);
