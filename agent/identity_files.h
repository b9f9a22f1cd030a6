/*
 * identity_files: what an agent is known by, on disk: below DIR/identity, SERVER.pem (its key and
 * certificate in one file), SERVER.key (a key for which a certificate is being asked: it is there
 * before anybody is asked, so that an answer that is lost loses nothing), ca.crt (the CA that the
 * certificate came from).
 *
 * Each change replaces one file as a whole; any of them can be the last one before a crash.
 *
 * Threading: one thread at a time. I/O: these files, and the ticket's.
 */
#pragma once

#include "common/base/error.h"
#include "common/pki/pki_cert.h"
#include "common/pki/pki_file.h"
#include "common/pki/pki_key.h"

#include <stdbool.h>

enum { IDENTITY_PATH_MAX = 1024, IDENTITY_TICKET_MAX = 128 };

struct identity_paths {
    char data_dir[IDENTITY_PATH_MAX];
    char folder[IDENTITY_PATH_MAX];
    char pair[IDENTITY_PATH_MAX];
    char key[IDENTITY_PATH_MAX];
    char ca[IDENTITY_PATH_MAX];
    char ticket[IDENTITY_PATH_MAX]; /* "": there is none */
};

/* ERR_LIMIT: DIR is too long. `ticket` may be NULL. */
enum error_code identity_paths_set(struct identity_paths *paths, const char *data_dir,
                                   const char *server, const char *ticket,
                                   struct error *err) MUST_CHECK;

/* ERR_NOT_FOUND: there is none. Else those of pki_pair_load. Removes a key that was asked for and
 * has its certificate now. */
enum error_code identity_pair_load(const struct identity_paths *paths, struct pki_key **ret_key,
                                   struct pki_certs **ret_certs, struct error *err) MUST_CHECK;
/* The key that a certificate is to be asked for: the one that is there, or a new one, which is
 * saved. */
enum error_code identity_key(const struct identity_paths *paths, struct pki_key **ret_key,
                             struct error *err) MUST_CHECK;
/* Saves key and certificate in the place of those that were there, then forgets the key that was
 * asked for. */
enum error_code identity_pair_save(const struct identity_paths *paths, const struct pki_key *key,
                                   const struct pki_certs *certs, struct error *err) MUST_CHECK;

/* The ticket's secret. ERR_NOT_FOUND: there is none. Else those of pki_secret_read; ERR_INVALID:
 * there is no ticket in it. */
enum error_code identity_ticket_read(const struct identity_paths *paths,
                                     struct pki_secret *ret_ticket, struct error *err) MUST_CHECK;
bool identity_ticket_there(const struct identity_paths *paths);
/* It is used up. */
enum error_code identity_ticket_remove(const struct identity_paths *paths,
                                       struct error *err) MUST_CHECK;
