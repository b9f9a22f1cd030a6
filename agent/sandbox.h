/*
 * sandbox: takes from this process all that its network side does not need. Nothing of it can be
 * had back.
 *
 * Threading: once, before there is a second thread. I/O: this process's rights.
 */
#pragma once

#include "common/base/error.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct sandbox_user {
    uid_t uid;
    gid_t gid;
};

/* The user that the network side is to run as; false: there is no such user, and "nobody" is filled
 * in. Reads the user database. */
#define SANDBOX_USER "kitsune-agent"
bool sandbox_user_find(struct sandbox_user *ret_user);

/* Limits, and the user (NULL: as it is): no privileges, no core dumps, no files written, and it
 * ends with its parent. `files`: descriptors that it may have. Errors: ERR_DENIED. */
enum error_code sandbox_enter(const struct sandbox_user *user, uint32_t files,
                              struct error *err) MUST_CHECK;
/* Last: only system calls that speaking to the network takes, for all threads to come. To start a
 * program, or to look into another process, ends this one (SIGSYS); anything else that is not
 * allowed fails with EPERM. */
enum error_code sandbox_close(struct error *err) MUST_CHECK;
