/*
 * pki_file: files for keys, certificates and other secrets.
 *
 * Threading: no shared state; two writers of one path at once: one of them gets an error.
 * I/O: the files named.
 */
#pragma once

#include "common/base/buf.h"
#include "common/base/error.h"

#include <stddef.h>
#include <sys/types.h>

/* A secret in memory: wiped when it is let go. */
struct pki_secret {
    char *data; /* NUL-terminated */
    size_t len;
};

/* Replaces a file as a whole: what is at `path` after a crash is the old content or the new one.
 * The name with ".new" behind it is used on the way. */
enum error_code pki_file_write(const char *path, const void *data, size_t len, mode_t mode,
                               struct error *err) MUST_CHECK;
/* Appends a file's content. ERR_NOT_FOUND, ERR_DENIED; ERR_LIMIT: longer than max; ERR_INVALID: not
 * a regular file. */
enum error_code pki_file_read(const char *path, size_t max, struct buf *out,
                              struct error *err) MUST_CHECK;
/* The same for a secret. ERR_DENIED also when group or others have any right to the file, or when
 * it belongs to neither this user nor root: the message says how to put it right. */
enum error_code pki_secret_read(const char *path, size_t max, struct pki_secret *ret_secret,
                                struct error *err) MUST_CHECK;
/* Makes a secret of a text that the caller then wipes. ERR_NO_MEMORY. */
enum error_code pki_secret_copy(const char *text, size_t len, struct pki_secret *ret_secret,
                                struct error *err) MUST_CHECK;
void pki_secret_done(struct pki_secret *secret);
#define AUTO_SECRET __attribute__((cleanup(pki_secret_done)))
