/* support_folder: a temporary folder with files, and TLS for a server in it. */
#pragma once

#include <stddef.h>
#include <sys/types.h>

enum { FOLDER_PATH = 256 };

struct folder {
    char path[96];
};
void folder_make(struct folder *f);
void folder_remove(struct folder *f); /* with all that is in it */
/* "FOLDER/name"; the caller gives the room. */
const char *folder_path(const struct folder *f, const char *name, char ret_path[FOLDER_PATH]);
/* Writes a file, and the folders on the way, and gives its path. */
const char *folder_put(const struct folder *f, const char *name, const char *text, mode_t mode,
                       char ret_path[FOLDER_PATH]);
/* A file's text; NULL: there is none. Caller frees. */
char *folder_text(const struct folder *f, const char *name);
mode_t folder_mode(const struct folder *f, const char *name);

/* A CA, and a certificate of it for a server on 127.0.0.1. */
struct trust {
    char *ca;             /* PEM */
    char fingerprint[65]; /* of the CA */
    char ca_file[FOLDER_PATH], pair_file[FOLDER_PATH];
};
/* As NAME-ca.pem and NAME-pair.pem in the folder, for `host`. */
void trust_make(struct trust *t, const struct folder *f, const char *name, const char *host);
void trust_done(struct trust *t);
