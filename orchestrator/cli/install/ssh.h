/*
 * ssh: one connection to one host, and commands over it, over libssh2.
 *
 * The host's key has to be known (known_hosts.h) before anything else is said. Keys of an agent are
 * tried first, then key files, then passwords, which are asked for. What is to be done as root goes
 * through sudo where the user is not root; its password goes over standard input when sudo asks,
 * and never into an argument.
 *
 * Threading: one thread per connection. I/O: sockets, key files; blocks, with a bound on silence.
 */
#pragma once

#include "common/base/buf.h"
#include "common/base/cleanup.h"
#include "common/base/error.h"
#include "orchestrator/cli/install/secrets.h"
#include "orchestrator/cli/install/ssh_config.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    SSH_CONNECT_MS = 15000,    /* to connect, and for each answer until one is in */
    SSH_SILENCE_MS = 60000,    /* of a command, where its job says nothing else */
    SSH_OUTPUT_MAX = 64 * 1024 /* bytes kept of what a command prints, of each kind */
};

struct ssh;

struct ssh_options {
    struct secrets *secrets; /* borrowed */
    bool accept_new;         /* take the key of a host that nothing is known of */
    const char *config_file; /* ssh's configuration, for a jump; NULL: its usual files */
    int64_t timeout_ms;      /* without a byte from the host; 0: SSH_CONNECT_MS */
};

/* Before the first connection, in one thread. */
enum error_code ssh_global_init(struct error *err) MUST_CHECK;
void ssh_global_done(void);

/* Connects and logs in. ERR_UNAVAILABLE: not reached; ERR_DENIED: no key or password will do;
 * ERR_CONFLICT: the host's key is not the known one; ERR_TIMEOUT; ERR_PROTOCOL. Caller owns. */
enum error_code ssh_open(const struct ssh_config *config, const struct ssh_options *options,
                         struct ssh **ret_ssh, struct error *err) MUST_CHECK;
void ssh_close(struct ssh *ssh); /* NULL is fine */
DEFINE_CLEANUP(ssh_close, struct ssh)

struct ssh_job {
    const char
        *script; /* for sh, run as root; it goes over standard input, so it may hold secrets */
    size_t script_len;
    const void *data; /* what the script reads from standard input, to its end */
    size_t data_len;
    int64_t silence_ms; /* how long it may say and take nothing */
};

struct ssh_result {
    int status;          /* the exit status; -1: it was killed */
    struct buf out, err; /* cut at SSH_OUTPUT_MAX */
};
void ssh_result_done(struct ssh_result *result);
#define AUTO_SSH_RESULT __attribute__((cleanup(ssh_result_done)))

/* Runs a script as root. ERR_OK with whatever it ended with. ERR_DENIED: it may not become root,
 * and why; ERR_IO: the connection is lost; ERR_TIMEOUT. */
enum error_code ssh_run(struct ssh *ssh, const struct ssh_job *job, struct ssh_result *ret_result,
                        struct error *err) MUST_CHECK;
