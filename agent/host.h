/*
 * host: agents on a libuv loop, with the real network, journal, handlers and clock. All agents of a
 * host share one data directory; most hosts have one agent.
 *
 * Threading: the loop's thread. I/O: all of it.
 */
#pragma once

#include "common/base/error.h"
#include "common/base/log.h"
#include "common/values/value_set.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

struct host;

enum {
    HOST_KILL_GRACE_MS = 5000, /* between TERM and KILL, for what steps started */
    HOST_STALL_RETRY_MS = 5000 /* while there is no space on the disk */
};

struct host_config {
    uv_loop_t *loop;
    const char *orchestrator;        /* URL; borrowed */
    const char *ca, *ca_fingerprint; /* see identity_config; borrowed, as the next one */
    const char *ticket; /* a file; of several agents each one's is this with "." and its id behind
                           it */
    bool several;       /* agents */
    /* The network's side is a process of its own. */
    bool apart;
    enum log_format log_format; /* that process's, as the next one */
    enum log_level log_level;
    const char *data_dir;
    const char *installroot;        /* NULL: /; borrowed */
    const struct value_set *labels; /* of each agent's server; NULL: none; borrowed */
    const char *reboot_command;     /* for sh; NULL: systemd is asked; borrowed */
    const char *trusted_keys;       /* a file for trust_load; NULL: unsigned plans are run too */
    int64_t retention_ms;           /* see undo_journal_config, as the next one */
    int64_t undo_max_bytes;
    int64_t artifact_max_bytes; /* kept of artifacts; 0: no limit */
    /* Nothing can be made durable any more, or memory is out: to be stopped. Called once. */
    void (*failed)(void *ctx, const struct error *err);
    void *ctx;
};

/* Opens the journal. Errors: those of undo_journal_open; ERR_INVALID: the URL. After a failure the
 * loop has to be run once more before it can be closed. */
enum error_code host_new(const struct host_config *config, struct host **ret_host,
                         struct error *err) MUST_CHECK;
/* Before host_start. ERR_INVALID: not an id; ERR_EXISTS. */
enum error_code host_add(struct host *h, const char *server, struct error *err) MUST_CHECK;
/* The agents go on with what is open, and begin to connect. */
void host_start(struct host *h);
/* Begins nothing more; gives what runs `grace_ms` to end, then ends it; makes everything durable
 * and says goodbye. Calls `done` when the loop holds nothing of it any more; host_free may be
 * called in it. A second call shortens the time. */
void host_stop(struct host *h, int64_t grace_ms, void (*done)(void *ctx), void *ctx);
/* After `done` of host_stop. NULL is fine. */
void host_free(struct host *h);

size_t host_connected(const struct host *h); /* agents that are welcomed */
