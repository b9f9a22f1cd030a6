/*
 * job: one host, from the first connection to its agent seen by the orchestrator, or gone.
 *
 * A change that is not seen to work is taken back before the job ends. Nothing is uploaded or
 * restarted where all is as it should be.
 *
 * Threading: one thread per job; hooks are called on it. I/O: SSH, and what the hooks do.
 */
#pragma once

#include "common/base/error.h"
#include "orchestrator/cli/install/decide.h"
#include "orchestrator/cli/install/ssh.h"
#include "orchestrator/cli/install/target.h"

#include <stdbool.h>
#include <stdint.h>

/* X(constant, word) */
#define JOB_STAGES(X)                                                                              \
    X(JOB_WAITING, "waiting")                                                                      \
    X(JOB_CONNECT, "connect")                                                                      \
    X(JOB_UPLOAD, "upload")                                                                        \
    X(JOB_ENROL, "enrol")                                                                          \
    X(JOB_START, "start")                                                                          \
    X(JOB_VERIFY, "verify")                                                                        \
    X(JOB_REMOVE, "remove")                                                                        \
    X(JOB_ENDED, "ended")
enum job_stage {
#define X(constant, word) constant,
    JOB_STAGES(X)
#undef X
        JOB_STAGE_COUNT
};
extern const char *const job_stage_names[JOB_STAGE_COUNT];

#define JOB_RESULTS(X)                                                                             \
    X(JOB_FAILED, "failed")                                                                        \
    X(JOB_INSTALLED, "installed")                                                                  \
    X(JOB_UPGRADED, "upgraded")                                                                    \
    X(JOB_UNCHANGED, "unchanged")                                                                  \
    X(JOB_UNINSTALLED, "uninstalled")                                                              \
    X(JOB_PLANNED, "planned")
enum job_result {
#define X(constant, word) constant,
    JOB_RESULTS(X)
#undef X
        JOB_RESULT_COUNT
};
extern const char *const job_result_names[JOB_RESULT_COUNT];

enum { JOB_TEXT_MAX = 512, JOB_TOKEN_MAX = 512, JOB_SEEN_MS = 60000 };

struct job_seen {
    bool connected;
    char since[64];
};

struct job;
struct pool;

/* What a job needs of others. Each may be called by several jobs at once. */
struct job_hooks {
    void *ctx;
    /* A ticket for the server; the caller wipes it. */
    enum error_code (*ticket)(void *ctx, const char *server, bool replace, char ret[JOB_TOKEN_MAX],
                              struct error *err);
    /* What the orchestrator knows of the server; one that it does not know is not connected. */
    enum error_code (*seen)(void *ctx, const char *server, struct job_seen *ret, struct error *err);
    /* Makes the server's certificate void; that it has none is fine. */
    enum error_code (*revoke)(void *ctx, const char *server, struct error *err);
    /* A stage begins. */
    void (*stage)(void *ctx, struct job *job, enum job_stage stage);
};

struct job_options {
    struct wanted wanted; /* all but the server */
    struct ssh_options ssh;
    struct ssh_self self;
    bool dry_run, purge;
    int64_t seen_ms; /* how long the orchestrator may take to see the agent; 0: JOB_SEEN_MS */
};

struct job {
    const struct target *target;
    const struct job_options *options; /* borrowed */
    const struct job_hooks *hooks;     /* borrowed */
    struct pool *pool;                 /* that runs it, which sets it; see pool.h */
    /* Its outcome, once it has run. */
    enum job_result result;
    enum job_stage stage;    /* the one under way, or in which it failed */
    char text[JOB_TEXT_MAX]; /* why it failed, or what was done */
};

void job_run(struct job *job);
