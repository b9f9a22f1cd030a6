/*
 * payload: what is uploaded: the agent's program, or its package.
 *
 * Threading: read alone once it is made. I/O: reads a file.
 */
#pragma once

#include "common/base/buf.h"
#include "common/base/error.h"
#include "orchestrator/cli/install/facts.h"

#include <stdbool.h>
#include <stddef.h>

enum { PAYLOAD_BYTES_MAX = 256 * 1024 * 1024 };

enum payload_kind { PAYLOAD_BINARY, PAYLOAD_DEB, PAYLOAD_RPM, PAYLOAD_KIND_COUNT };
extern const char *const payload_kind_names[PAYLOAD_KIND_COUNT]; /* as remote.sh calls them */

struct payload {
    enum payload_kind kind;
    const char *path; /* borrowed */
    struct buf data;
    char sum[FACTS_SUM_MAX];      /* SHA-256, hexadecimal */
    char machine[FACTS_TEXT_MAX]; /* as uname -m names it; "": not known */
};

void payload_done(struct payload *payload);
/* ERR_NOT_FOUND, ERR_DENIED, ERR_IO, ERR_LIMIT; ERR_INVALID: it is neither an ELF program nor a
 * package, or not of the kind that is wanted (`package`). */
enum error_code payload_load(const char *path, bool package, struct payload *ret_payload,
                             struct error *err) MUST_CHECK;
/* What a file's first bytes and name say it is. False: nothing that can be installed. */
bool payload_look(const char *path, const unsigned char *data, size_t len,
                  enum payload_kind *ret_kind, char ret_machine[FACTS_TEXT_MAX]);
/* SHA-256 of bytes, hexadecimal. */
void payload_sum(const void *data, size_t len, char ret[FACTS_SUM_MAX]);
