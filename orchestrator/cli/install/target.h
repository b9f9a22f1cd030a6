/*
 * target: one host that gets an agent: how ssh finds it, and its server id. Pure.
 */
#pragma once

#include "common/base/error.h"
#include "common/base/id.h"

#include <stddef.h>

enum {
    TARGET_NAME_MAX = 256,
    TARGET_USER_MAX = 64,
    TARGET_PATH_MAX = 512,
    TARGET_PORT_MAX = 65535
};

struct target {
    char server[ID_BUFFER];         /* its id in plans */
    char host[TARGET_NAME_MAX];     /* a name, an address, or an alias of ssh's configuration */
    char address[TARGET_NAME_MAX];  /* where it is, if an inventory says so; else "" */
    char user[TARGET_USER_MAX];     /* "": as ssh's configuration says */
    int port;                       /* 0: as ssh's configuration says */
    char key_file[TARGET_PATH_MAX]; /* "": as ssh's configuration says */
};

/* "[SERVER=][USER@]HOST[:PORT]"; an IPv6 address with a port stands in brackets. Without SERVER the
 * server id is HOST, which must then be one. ERR_INVALID says what is wrong. */
enum error_code target_parse(const char *text, struct target *ret_target,
                             struct error *err) MUST_CHECK;
/* Whether a text may be given to ssh as a host: a name or an address, and no option. */
bool target_host_valid(const char *host);
/* 1 to TARGET_PORT_MAX; 0: it is no port. */
int target_port(const char *text);
