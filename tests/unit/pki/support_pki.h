/*
 * support_pki: a folder of its own for a test, and certificates in one line. The time is the
 * test's.
 */
#pragma once

#include "common/pki/pki_ca.h"
#include "common/pki/pki_file.h"

#include <stdint.h>
#include <sys/types.h>

#define NOW_MS INT64_C(1800000000000) /* 2027-01-15T08:00:00Z */

enum { HOUR_MS = 3600 * 1000, DAY_MS = 24 * HOUR_MS, PATH_ROOM = 256 };

struct folder {
    char path[64];
};

void folder_make(struct folder *f);
void folder_remove(struct folder *f);
/* The path of a file in it, in one of a few buffers that are used in turn. */
const char *folder_file(const struct folder *f, const char *name);
void file_put(const char *path, const char *text, mode_t mode);
mode_t file_mode(const char *path);

struct pki_ca *ca_make(void); /* valid for a year from NOW_MS */
/* For the hosts "orchestrator.example.org", 192.0.2.7 and 2001:db8::7; key and certificate. */
struct pki_certs *server_make(const struct pki_ca *ca, const struct pki_key *key, int64_t now_ms,
                              int64_t lifetime_ms);
/* "kitsune:agent:web-1" */
struct pki_certs *agent_make(const struct pki_ca *ca, const struct pki_key *key, int64_t now_ms,
                             int64_t lifetime_ms);
struct pki_key *key_make(void);
