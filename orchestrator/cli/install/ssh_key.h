/*
 * ssh_key: what can be seen of a private key's file without its passphrase.
 *
 * Threading: no shared state. I/O: reads the file.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

enum ssh_key_kind {
    SSH_KEY_NONE,      /* no such file, or no private key in it */
    SSH_KEY_PLAIN,     /* usable as it is */
    SSH_KEY_RSA,       /* usable as it is, and an RSA key */
    SSH_KEY_ENCRYPTED, /* its passphrase is wanted */
    SSH_KEY_KIND_COUNT
};

enum { SSH_KEY_BYTES_MAX = 32 * 1024 };

enum ssh_key_kind ssh_key_look(const char *path);
/* The same of a text in PEM or in OpenSSH's form. */
enum ssh_key_kind ssh_key_kind_of(const char *text);
/* Whether PATH.pub holds this public key, given as it goes over the wire. */
bool ssh_key_public_is(const char *path, const unsigned char *blob, size_t len);
