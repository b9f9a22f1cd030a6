/* ssh_internal: what the files of ssh share. */
#pragma once

#include "orchestrator/cli/install/ssh.h"

#include <libssh2.h>
#include <sys/types.h>

struct ssh {
    LIBSSH2_SESSION *session;
    int fd;
    pid_t jump; /* the ssh or proxy that stands between; 0: none */
    const struct ssh_config *config;
    struct ssh_options options;
    int root; /* -1: not known yet; 0: sudo is needed; 1: the user is root */
};

/* Waits until the socket is ready for what libssh2 wants. ERR_TIMEOUT: `deadline_ms` (monotonic) is
 * over. */
enum error_code ssh_wait(struct ssh *ssh, int64_t deadline_ms, struct error *err) MUST_CHECK;
/* "what: why", from libssh2's last error. */
enum error_code ssh_failure(struct ssh *ssh, enum error_code code, const char *what,
                            struct error *err);
/* When an answer must be in. */
int64_t ssh_deadline(const struct ssh *ssh);

/* Does a call of libssh2 until it is done: `rc` is then its result. */
#define SSH_REPEAT(ssh, rc, call, err)                                                             \
    __extension__({                                                                                \
        int64_t repeat_until_ = ssh_deadline(ssh);                                                 \
        enum error_code repeat_code_ = ERR_OK;                                                     \
        while (((rc) = (call)) == LIBSSH2_ERROR_EAGAIN &&                                          \
               (repeat_code_ = ssh_wait((ssh), repeat_until_, (err))) == ERR_OK)                   \
            ;                                                                                      \
        repeat_code_;                                                                              \
    })

/* A socket that leads to the host. */
enum error_code ssh_connect(struct ssh *ssh, struct error *err) MUST_CHECK;
enum error_code ssh_login(struct ssh *ssh, struct error *err) MUST_CHECK;
