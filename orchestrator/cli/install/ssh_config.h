/*
 * ssh_config: how a host is reached: what ssh_config(5) says of it.
 *
 * OpenSSH's own client reads its own files: `ssh -G HOST` prints what applies, with Host and Match
 * patterns, Include and "the first one counts" done as it does them. Where there is no ssh, its
 * defaults apply.
 *
 * Threading: no shared state. I/O: ssh_config_resolve starts ssh and waits for it.
 */
#pragma once

#include "common/base/error.h"
#include "orchestrator/cli/install/target.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { SSH_CONFIG_FILES_MAX = 16, SSH_CONFIG_TEXT_MAX = 1024 };

struct ssh_config {
    char alias[TARGET_NAME_MAX];    /* as it was named */
    char host[TARGET_NAME_MAX];     /* where to connect to */
    char key_name[TARGET_NAME_MAX]; /* known_hosts knows it by: host, or HostKeyAlias */
    char user[TARGET_USER_MAX];
    int port;
    char keys[SSH_CONFIG_FILES_MAX][TARGET_PATH_MAX]; /* private keys, in order */
    size_t key_count;
    bool keys_only;                  /* IdentitiesOnly */
    char agent[SSH_CONFIG_TEXT_MAX]; /* IdentityAgent's socket; "": SSH_AUTH_SOCK; "none" */
    char known[SSH_CONFIG_FILES_MAX][TARGET_PATH_MAX]; /* known_hosts files, the user's first */
    size_t known_count;
    size_t known_user_count;         /* of them, the user's */
    bool accept_new;                 /* StrictHostKeyChecking accept-new */
    char jump[SSH_CONFIG_TEXT_MAX];  /* ProxyJump; "": none */
    char proxy[SSH_CONFIG_TEXT_MAX]; /* ProxyCommand; "": none */
    bool ipv4_only, ipv6_only;
    int64_t timeout_ms; /* ConnectTimeout; 0: none */
    bool aliased;       /* the port was said to be that of the alias, not of the address */
};

/* Who asks: for ~ and for tokens. */
struct ssh_self {
    const char *home, *user;
};

/* Takes over what `ssh -G` printed. ERR_INVALID: it lacks a host. */
enum error_code ssh_config_parse(const char *text, const struct target *target,
                                 const struct ssh_self *self, struct ssh_config *ret_config,
                                 struct error *err) MUST_CHECK;
/* The same without ssh: its defaults. */
void ssh_config_defaults(const struct target *target, const struct ssh_self *self,
                         struct ssh_config *ret_config);
/* "~/", and %d %h %i %n %p %r %u %% in a file's name or a command. False: it does not fit, or a
 * token is not known. */
bool ssh_config_expand(const char *text, const struct ssh_config *config,
                       const struct ssh_self *self, char *ret, size_t size);

/* Asks ssh, with `file` (NULL: its usual files) as its configuration. Without an ssh on this
 * machine the defaults are given. ERR_INVALID: ssh does not like its configuration. */
enum error_code ssh_config_resolve(const struct target *target, const char *file,
                                   const struct ssh_self *self, struct ssh_config *ret_config,
                                   struct error *err) MUST_CHECK;
