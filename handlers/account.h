/*
 * account: users and groups of this server, by name or number.
 *
 * Threading: no shared state; a look-up may ask a directory over the network, so for the thread
 * pool. I/O: the user database (NSS).
 */
#pragma once

#include "common/base/error.h"

#include <stdint.h>
#include <sys/types.h>

/* A name, or a number, which need not be anybody's. ERR_NOT_FOUND: there is none of that name. */
enum error_code account_user_id(const char *text, int64_t *ret_uid, struct error *err) MUST_CHECK;
enum error_code account_group_id(const char *text, int64_t *ret_gid, struct error *err) MUST_CHECK;

/* What a program runs as. */
enum { ACCOUNT_GROUPS_MAX = 1024, ACCOUNT_TEXT_MAX = 4096 };
struct account {
    uid_t uid;
    gid_t gid;
    gid_t groups[ACCOUNT_GROUPS_MAX]; /* all of its groups, `gid` among them */
    size_t groups_count;
    char name[ACCOUNT_TEXT_MAX], home[ACCOUNT_TEXT_MAX], shell[ACCOUNT_TEXT_MAX];
};
/* By name or number; it must exist. ERR_NOT_FOUND; ERR_INVALID: too
 * large a record. */
enum error_code account_find(const char *text, struct account *ret_account,
                             struct error *err) MUST_CHECK;
